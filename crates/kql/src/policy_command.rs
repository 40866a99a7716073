//! Management commands about policies: `.show`, `.alter`, `.alter-merge` and `.delete` of any kind of policy of any
//! kind of entity that can have it.
//!
//! Made by the parser, run by the service. Which verbs and entities a kind knows stands in one table here, so that
//! the parser, the service and the names of commands agree.

use crate::ast::Name;
use crate::span::Span;

/// One command about a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyCommand {
    /// What is done.
    pub verb: PolicyVerb,
    /// Whose policy it is.
    pub target: PolicyTarget,
    /// Which policy.
    pub kind: PolicyKind,
    /// What the command gives.
    pub value: PolicyValue,
    /// Where the value stands in the text.
    pub value_span: Span,
}

/// What is done with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyVerb {
    /// `.show`
    Show,
    /// `.alter`: what is not given gets its default.
    Alter,
    /// `.alter-merge`: what is not given stays.
    AlterMerge,
    /// `.delete`
    Delete,
}

/// Whose policy a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyTarget {
    /// `cluster`
    Cluster,
    /// `database [X]`; no name is the request's database.
    Database(Option<Name>),
    /// `database *`
    AllDatabases,
    /// `table T`, `table X.T`
    Table(Name),
    /// `tables (T1, T2)`
    Tables(Vec<Name>),
    /// `table *`
    AllTables,
    /// `column T.C`, `column X.T.C`
    Column(Name),
    /// `column *`
    AllColumns,
    /// `materialized-view V`
    MaterializedView(Name),
    /// `external table E`
    ExternalTable(Name),
    /// `external table *`
    AllExternalTables,
    /// `graph_model M`
    GraphModel(Name),
    /// `graph_model *`
    AllGraphModels,
}

/// What a command gives as a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyValue {
    /// Nothing: `.show` and `.delete`.
    None,
    /// A JSON text, and the text of the query behind `<|` where a kind has one.
    Json {
        /// The JSON.
        text: String,
        /// The query.
        query: Option<String>,
    },
    /// `true`, `false`, `enable`, `disable`.
    Flag(bool),
    /// `softdelete = 10d [recoverability = disabled]`; ticks.
    Retention {
        /// The soft-delete period.
        soft_delete: Option<i64>,
        /// Whether what is dropped can be brought back.
        recoverability: Option<bool>,
    },
    /// `hot = 3d [, hot_window = a .. b]*`, `hotdata = 3d hotindex = 3d`; ticks.
    Caching {
        /// Age up to which data is hot.
        data: i64,
        /// The same of indexes.
        index: i64,
        /// Further times whose data is hot.
        windows: Vec<(i64, i64)>,
    },
    /// `enable "query"`, `disable "query"`.
    RowLevelSecurity {
        /// Whether it holds.
        enabled: bool,
        /// The query that replaces the table.
        query: String,
        /// `with (allowMaterializedViewsWithoutRowLevelSecurity = true)`
        allows_views: bool,
    },
    /// `(a asc, b desc)`: columns with whether they ascend.
    RowOrder(Vec<(Name, bool)>),
    /// `type = 'identifier'`; nothing clears the profile.
    Encoding(Option<String>),
    /// `[partition by (...)] dataformat = parquet [with (...)]`.
    Mirroring {
        /// The text of the partitions, brackets included.
        partitions: Option<String>,
        /// The properties with their values as JSON texts.
        properties: Vec<(String, String)>,
    },
}

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the word that commands call it by")]
pub enum PolicyKind {
    AutoDelete,
    Caching,
    Callout,
    Capacity,
    Encoding,
    ExtentTagsRetention,
    IngestionBatching,
    IngestionTime,
    ManagedIdentity,
    Merge,
    Mirroring,
    Partitioning,
    QueryAcceleration,
    QueryWeakConsistency,
    RequestClassification,
    RestrictedViewAccess,
    Retention,
    RowLevelSecurity,
    RowOrder,
    Sandbox,
    Sharding,
    StreamingIngestion,
    Update,
}

/// What is known of a kind.
struct Row {
    kind: PolicyKind,
    /// The word in commands.
    word: &'static str,
    /// The name in answers.
    policy_name: &'static str,
    /// The entities that can have it.
    owners: &'static [Owner],
    /// Whether `.alter-merge` knows it.
    merges: bool,
}

/// A kind of entity that policies belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Cluster,
    Database,
    Table,
    /// Several tables at once, `.alter` only.
    Tables,
    Column,
    View,
    External,
    Graph,
}

use Owner as O;
use PolicyKind as K;

const ROWS: &[Row] = &[
    row(K::AutoDelete, "auto_delete", "AutoDeletePolicy", &[O::Table], false),
    row(
        K::Caching,
        "caching",
        "CachingPolicy",
        &[O::Cluster, O::Database, O::Table, O::Tables, O::Column, O::View, O::Graph],
        false,
    ),
    row(K::Callout, "callout", "CalloutPolicy", &[O::Cluster], true),
    row(K::Capacity, "capacity", "CapacityPolicy", &[O::Cluster], true),
    row(K::Encoding, "encoding", "EncodingPolicy", &[O::Database, O::Table, O::Column], true),
    row(K::ExtentTagsRetention, "extent_tags_retention", "ExtentTagsRetentionPolicy", &[O::Database, O::Table], false),
    row(
        K::IngestionBatching,
        "ingestionbatching",
        "IngestionBatchingPolicy",
        &[O::Cluster, O::Database, O::Table, O::Tables],
        true,
    ),
    row(K::IngestionTime, "ingestiontime", "IngestionTimePolicy", &[O::Table, O::Tables], false),
    row(K::ManagedIdentity, "managed_identity", "ManagedIdentityPolicy", &[O::Cluster, O::Database], true),
    row(K::Merge, "merge", "ExtentsMergePolicy", &[O::Database, O::Table, O::Tables, O::View], true),
    row(K::Mirroring, "mirroring", "MirroringPolicy", &[O::Table], true),
    row(K::Partitioning, "partitioning", "PartitioningPolicy", &[O::Table, O::View], true),
    row(K::QueryAcceleration, "query_acceleration", "QueryAccelerationPolicy", &[O::External], true),
    row(K::QueryWeakConsistency, "query_weak_consistency", "QueryWeakConsistencyPolicy", &[O::Cluster], true),
    row(K::RequestClassification, "request_classification", "ClusterRequestClassificationPolicy", &[O::Cluster], true),
    row(K::RestrictedViewAccess, "restricted_view_access", "RestrictedViewAccessPolicy", &[O::Table, O::Tables], false),
    row(K::Retention, "retention", "RetentionPolicy", &[O::Database, O::Table, O::Tables, O::View, O::Graph], true),
    row(K::RowLevelSecurity, "row_level_security", "RowLevelSecurityPolicy", &[O::Table, O::View, O::External], false),
    row(K::RowOrder, "roworder", "RowOrderPolicy", &[O::Table, O::Tables], true),
    row(K::Sandbox, "sandbox", "SandboxPolicy", &[O::Cluster], false),
    row(K::Sharding, "sharding", "ShardingPolicy", &[O::Cluster, O::Database, O::Table], true),
    row(
        K::StreamingIngestion,
        "streamingingestion",
        "StreamingIngestionPolicy",
        &[O::Cluster, O::Database, O::Table],
        true,
    ),
    row(K::Update, "update", "UpdatePolicy", &[O::Table], true),
];

const fn row(
    kind: PolicyKind,
    word: &'static str,
    policy_name: &'static str,
    owners: &'static [Owner],
    merges: bool,
) -> Row {
    Row { kind, word, policy_name, owners, merges }
}

impl PolicyKind {
    /// The kind that commands call by this word.
    pub fn of_word(word: &str) -> Option<PolicyKind> {
        ROWS.iter().find(|row| row.word == word).map(|row| row.kind)
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = PolicyKind> {
        ROWS.iter().map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.kind == self).unwrap_or(&ROWS[0])
    }

    /// The word in commands: also the policy's name in the catalog.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The name in answers: `RetentionPolicy`.
    pub fn policy_name(self) -> &'static str {
        self.row().policy_name
    }

    /// Whether there is a command of this verb for this kind and this target.
    pub fn knows(self, verb: PolicyVerb, target: &PolicyTarget) -> bool {
        let row = self.row();
        let (owner, is_all) = match target {
            PolicyTarget::Cluster => (O::Cluster, false),
            PolicyTarget::Database(_) => (O::Database, false),
            PolicyTarget::AllDatabases => (O::Database, true),
            PolicyTarget::Table(_) => (O::Table, false),
            PolicyTarget::AllTables => (O::Table, true),
            PolicyTarget::Tables(_) => (O::Tables, false),
            PolicyTarget::Column(_) => (O::Column, false),
            PolicyTarget::AllColumns => (O::Column, true),
            PolicyTarget::MaterializedView(_) => (O::View, false),
            PolicyTarget::ExternalTable(_) => (O::External, false),
            PolicyTarget::AllExternalTables => (O::External, true),
            PolicyTarget::GraphModel(_) => (O::Graph, false),
            PolicyTarget::AllGraphModels => (O::Graph, true),
        };
        if !row.owners.contains(&owner) {
            return false;
        }
        match verb {
            PolicyVerb::Show => owner != O::Tables,
            PolicyVerb::Alter => !is_all,
            PolicyVerb::AlterMerge => !is_all && row.merges,
            PolicyVerb::Delete => !is_all && owner != O::Tables,
        }
    }
}

impl PolicyCommand {
    /// Whether the command changes something.
    pub fn is_write(&self) -> bool {
        self.verb != PolicyVerb::Show
    }

    /// The command's name in journals.
    pub fn journal_name(&self) -> &'static str {
        // Source: output of the .execute database script page.
        match (self.verb, self.kind) {
            (PolicyVerb::Show, _) => "PolicyShow",
            (PolicyVerb::Delete, _) => "PolicyDelete",
            (_, PolicyKind::Retention) => "RetentionPolicyAlter",
            (_, PolicyKind::Caching) => "CachingPolicyAlter",
            (_, PolicyKind::Update) => "UpdatePolicyAlter",
            (_, PolicyKind::Merge) => "MergePolicyAlter",
            (_, PolicyKind::StreamingIngestion) => "StreamingIngestionPolicyAlter",
            (_, PolicyKind::IngestionBatching) => "IngestionBatchingPolicyAlter",
            _ => "PolicyAlter",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row() {
        for kind in PolicyKind::all() {
            assert_eq!(PolicyKind::of_word(kind.word()), Some(kind));
            assert!(kind.policy_name().ends_with("Policy"));
        }
    }
}
