//! Management commands about mappings, extents, records, columns, databases, scripts, plugins and exports.
//!
//! Made by the parser, run by the service. A query or command that another command runs is a [`Inner`]: its place in the
//! text, read when it runs.

use crate::ast::{Name, Property};
use crate::span::Span;
use crate::types::KqlType;

/// A query or a `.show` command inside another command.
pub type Inner = Span;

/// One of these commands.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum ManagementCommand {
    /// `.create | .create-or-alter | .alter | .alter-merge` `table T | database D` `ingestion KIND mapping "M" "[...]"`.
    PutMapping {
        mode: MappingMode,
        owner: MappingOwner,
        kind: String,
        mapping: String,
        text: String,
        properties: Vec<Property>,
    },
    /// `.show (table T | database [D] | cluster) ingestion [KIND] (mappings | mapping "M")`.
    ShowMappings { owner: MappingOwner, kind: Option<String>, mapping: Option<String> },
    /// `.drop (table T | database D) ingestion KIND mapping "M"`.
    DropMapping { owner: MappingOwner, kind: String, mapping: String },

    /// `.move [async] extents (all | (ids)) from table A to table B [with (...)]`, `... to table B <| query`.
    MoveExtents { is_async: bool, to: Name, chosen: ExtentChoice, properties: Vec<Property> },
    /// `.replace [async] extents in table T [with (...)] <| { to be dropped }, { to be moved }`.
    ReplaceExtents { is_async: bool, table: Name, drop: Inner, add: Inner, properties: Vec<Property> },
    /// `.drop extents`, `.drop extent`, `.drop-pretend extents`.
    DropExtents { pretend: bool, chosen: ExtentChoice, trim: Option<Trim>, limit: Option<u64> },
    /// `.alter | .alter-merge | .drop` `[async] table T extent tags [(tags)] [with (...)] [<| query]`.
    ExtentTags {
        is_async: bool,
        edit: TagEdit,
        table: Name,
        tags: Vec<String>,
        properties: Vec<Property>,
        query: Option<Inner>,
    },
    /// `.merge [async | dryrun] T (ids) [with (rebuild = true)]`.
    MergeExtents { is_async: bool, dry_run: bool, table: Name, ids: Vec<String> },
    /// `.show (database [D] | databases (D) | table T | tables (T) | cluster) extents ... metadata` and other forms.
    ShowExtentStatistics { database: Option<Name>, what: ExtentStatistics },

    /// `.delete [async] (table T | materialized-view V) records [with (...)] <| predicate`.
    DeleteRecords { is_async: bool, is_view: bool, table: Name, properties: Vec<Property>, query: Inner },
    /// `.update [async] table T delete D append A [with (...)] <| let D = ...; let A = ...;`.
    UpdateRecords { is_async: bool, table: Name, delete: Name, append: Name, properties: Vec<Property>, query: Inner },
    /// `.purge (table T | materialized-view V) records in database D [with (...)] <| predicate`,
    /// `.purge table T in database D allrecords [with (...)]`.
    Purge { is_view: bool, table: Name, database: Name, properties: Vec<Property>, predicate: Option<Inner> },
    /// `.show purges [id] [from 'a' [to 'b']] [in database D]`.
    ShowPurges { id: Option<String>, from: Option<String>, to: Option<String>, database: Option<Name> },
    /// `.cancel purge id`, `.cancel all purges [in database D]`.
    CancelPurges { id: Option<String>, database: Option<Name> },
    /// `.undo drop table T [as N] version = "v1.2"`.
    UndoDropTable { table: Name, new_name: Option<Name>, version: String },

    /// `.rename column T.C to N`, `.rename columns N = T.C, ...`: pairs of new name and path.
    RenameColumns { renames: Vec<(Name, Name)> },
    /// `.alter column T.C type = ty`.
    AlterColumnType { column: Name, ty: KqlType },
    /// `.drop column T.C [ifexists]`.
    DropColumn { column: Name, if_exists: bool },
    /// `.drop table T columns (a, b)`.
    DropColumns { table: Name, columns: Vec<Name> },
    /// `.alter | .alter-merge table T column-docstrings (a: "text", ...)`.
    ColumnDocstrings { table: Name, merge: bool, texts: Vec<(Name, String)> },
    /// `.show table T data statistics [with (...)]`.
    ShowDataStatistics { table: Name, properties: Vec<Property> },

    /// `.alter database [X] prettyname "p"`, `.drop database X prettyname`.
    PrettyName { database: Option<Name>, text: Option<String> },
    /// `.show database [X] ...`, `.show [cluster] databases [(X)] ...`.
    ShowDatabases { databases: DatabaseChoice, aspect: DatabaseAspect },
    /// `.show database X entity E [with (...)]`.
    ShowDatabaseEntity { database: Name, entity: Name },

    /// `.execute [database | cluster] script [with (...)] <| commands`.
    ExecuteScript { is_cluster: bool, properties: Vec<Property>, script: Inner },
    /// `.show diagnostics`.
    ShowDiagnostics,
    /// `.show cluster details`.
    ShowClusterDetails,
    /// `.show plugins`.
    ShowPlugins,
    /// `.enable plugin P`, `.disable plugin P`.
    EnablePlugin { plugin: String, enable: bool },

    /// `.export [async] [compressed] to FORMAT ("uri", ...) [with (...)] <| query`.
    Export {
        is_async: bool,
        compressed: bool,
        format: String,
        uris: Vec<String>,
        properties: Vec<Property>,
        query: Inner,
    },
    /// `.export [async] to table E [with (...)] <| query`.
    ExportToTable { is_async: bool, table: Name, properties: Vec<Property>, query: Inner },
    /// `.create-or-alter continuous-export N [over (T, ...)] to table E [with (...)] <| query`.
    PutContinuousExport { name: Name, over: Option<Vec<Name>>, table: Name, properties: Vec<Property>, query: Inner },
    /// `.show continuous-exports`, `.show continuous-export N [exported-artifacts | failures]`.
    ShowContinuousExports { name: Option<Name>, what: ShowContinuousExport },
    /// `.drop continuous-export N`.
    DropContinuousExport { name: Name },
    /// `.enable continuous-export N`, `.disable continuous-export N`.
    EnableContinuousExport { name: Name, enable: bool },
}

/// How a mapping is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingMode {
    /// `.create`: refused when it exists.
    Create,
    /// `.create-or-alter`
    CreateOrAlter,
    /// `.alter`: refused when it does not.
    Alter,
    /// `.alter-merge`: columns that are not given stay.
    AlterMerge,
}

/// Whose mappings a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingOwner {
    /// A table.
    Table(Name),
    /// A database; no name is the request's.
    Database(Option<Name>),
    /// Everything.
    Cluster,
}

/// Which extents.
#[derive(Clone, Debug, PartialEq)]
pub enum ExtentChoice {
    /// All of these tables that are older than so many ticks; no tables are all tables of the database.
    Tables {
        /// The tables.
        tables: Vec<Name>,
        /// The age in ticks.
        older: Option<i64>,
    },
    /// These, of a table if one is named.
    Ids {
        /// The extents.
        ids: Vec<String>,
        /// Their table.
        table: Option<Name>,
    },
    /// Those that a query gives.
    Query(Inner),
}

/// `trim by extentsize 10 MB`: the oldest extents go until the rest is as small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The size of the data before encoding counts, not that of the files.
    pub by_data_size: bool,
    /// The size that may stay.
    pub bytes: u64,
}

/// What is done with tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagEdit {
    /// `.alter`: these and no others.
    Set,
    /// `.alter-merge`: these too.
    Add,
    /// `.drop`
    Remove,
}

/// Figures about extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentStatistics {
    /// `.show database extents partitioning statistics`
    Partitioning,
    /// `.show database extent tags statistics`
    Tags,
}

/// Which databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseChoice {
    /// One; no name is the request's.
    One(Option<Name>),
    /// These; none are all.
    Many(Vec<Name>),
}

/// What is shown of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseAspect {
    /// Nothing said.
    Names,
    /// `details`, `verbose`
    Details,
    /// `identity`
    Identity,
    /// `policies`
    Policies,
    /// `datastats`
    DataStats,
    /// `metadata`
    Metadata,
    /// `schema violations`
    Violations,
    /// `keyvault secrets`
    KeyVaultSecrets,
}

/// What is shown of continuous exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowContinuousExport {
    /// Nothing said.
    Definition,
    /// `exported-artifacts`
    Artifacts,
    /// `failures`
    Failures,
}

impl ManagementCommand {
    /// Whether the command changes something.
    pub fn is_write(&self) -> bool {
        use ManagementCommand as M;
        !matches!(
            self,
            M::ShowMappings { .. }
                | M::ShowExtentStatistics { .. }
                | M::ShowPurges { .. }
                | M::ShowDataStatistics { .. }
                | M::ShowDatabases { .. }
                | M::ShowDatabaseEntity { .. }
                | M::ShowDiagnostics
                | M::ShowClusterDetails
                | M::ShowPlugins
                | M::ShowContinuousExports { .. }
        )
    }

    /// The command's name in journals.
    pub fn journal_name(&self) -> &'static str {
        use ManagementCommand as M;
        match self {
            M::PutMapping { owner: MappingOwner::Table(_), mode: MappingMode::Create, .. } => {
                "TableIngestionMappingCreate"
            }
            M::PutMapping { owner: MappingOwner::Table(_), .. } => "TableIngestionMappingAlter",
            M::PutMapping { mode: MappingMode::Create, .. } => "DatabaseIngestionMappingCreate",
            M::PutMapping { .. } => "DatabaseIngestionMappingAlter",
            M::DropMapping { owner: MappingOwner::Table(_), .. } => "TableIngestionMappingDrop",
            M::DropMapping { .. } => "DatabaseIngestionMappingDrop",
            M::MoveExtents { .. } => "ExtentsMove",
            M::ReplaceExtents { .. } => "ExtentsReplace",
            M::DropExtents { .. } => "ExtentsDrop",
            M::ExtentTags { edit: TagEdit::Remove, .. } => "ExtentTagsDrop",
            M::ExtentTags { .. } => "ExtentTagsAlter",
            M::MergeExtents { .. } => "ExtentsMerge",
            M::DeleteRecords { .. } => "TableRecordsDelete",
            M::UpdateRecords { .. } => "TableDataUpdate",
            M::Purge { .. } => "TableRecordsPurge",
            M::CancelPurges { .. } => "PurgeCancel",
            M::UndoDropTable { .. } => "TableDropUndo",
            M::RenameColumns { .. } => "ColumnRename",
            M::AlterColumnType { .. } => "ColumnAlterType",
            M::DropColumn { .. } => "ColumnDrop",
            M::DropColumns { .. } => "TableDropColumns",
            M::ColumnDocstrings { .. } => "TableAlterColumnDocStrings",
            M::PrettyName { text: Some(_), .. } => "DatabaseAlterPrettyName",
            M::PrettyName { .. } => "DatabaseDropPrettyName",
            M::ExecuteScript { is_cluster: false, .. } => "DatabaseScriptExecute",
            M::ExecuteScript { .. } => "ClusterScriptExecute",
            M::EnablePlugin { enable: true, .. } => "PluginEnable",
            M::EnablePlugin { .. } => "PluginDisable",
            M::Export { .. } => "DataExportToFile",
            M::ExportToTable { .. } => "DataExportToExternalTable",
            M::PutContinuousExport { .. } => "ContinuousExportCreateOrAlter",
            M::DropContinuousExport { .. } => "ContinuousExportDrop",
            M::EnableContinuousExport { enable: true, .. } => "ContinuousExportEnable",
            M::EnableContinuousExport { .. } => "ContinuousExportDisable",
            _ => "Show",
        }
    }
}
