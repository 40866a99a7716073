//! The policies themselves: members in the order and with the defaults of the reference, each with its rules.
//!
//! Source: the policy's own page, named after it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_kql::KqlType;
use tidewater_kql::command::PolicyKind;
use tidewater_store::Table;

use super::{Moment, Period, Policy};

/// What is wrong with a policy, as a text for its author.
pub(crate) type Check = Result<(), String>;

/// Declares the kind of each policy type.
macro_rules! kinds {
    ($($name:ident = $kind:ident),* $(,)?) => {
        $(impl Policy for $name { const KIND: PolicyKind = PolicyKind::$kind; })*
    };
}

kinds! {
    AutoDeletePolicy = AutoDelete,
    CachingPolicy = Caching,
    CalloutPolicy = Callout,
    EncodingPolicy = Encoding,
    ExtentTagsRetentionPolicy = ExtentTagsRetention,
    IngestionBatchingPolicy = IngestionBatching,
    IngestionTimePolicy = IngestionTime,
    ManagedIdentityPolicy = ManagedIdentity,
    MergePolicy = Merge,
    MirroringPolicy = Mirroring,
    PartitioningPolicy = Partitioning,
    QueryAccelerationPolicy = QueryAcceleration,
    RestrictedViewAccessPolicy = RestrictedViewAccess,
    RetentionPolicy = Retention,
    RowLevelSecurityPolicy = RowLevelSecurity,
    RowOrderPolicy = RowOrder,
    SandboxPolicy = Sandbox,
    ShardingPolicy = Sharding,
    StreamingIngestionPolicy = StreamingIngestion,
    UpdatePolicy = Update,
}

/// How long data is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct RetentionPolicy {
    pub soft_delete_period: Period,
    pub recoverability: Recoverability,
}

/// Whether data that retention has dropped can be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Recoverability {
    Enabled,
    Disabled,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self { soft_delete_period: Period::days(365_000), recoverability: Recoverability::Enabled }
    }
}

impl RetentionPolicy {
    pub(crate) fn check(&self) -> Check {
        if self.soft_delete_period.0 < 0 {
            return Err("SoftDeletePeriod is negative".to_string());
        }
        Ok(())
    }
}

/// Which data is hot. Everything here is in one tier, so it decides what `datascope=hotcache` reads and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CachingPolicy {
    pub data_hot_span: HotSpan,
    pub index_hot_span: HotSpan,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot_windows: Vec<HotWindow>,
}

/// An age up to which something is hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HotSpan {
    pub value: Period,
}

/// A time whose data is hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HotWindow {
    pub min_value: Moment,
    pub max_value: Moment,
}

impl CachingPolicy {
    pub(crate) fn check(&self) -> Check {
        if self.data_hot_span.value.0 < 0 || self.index_hot_span.value.0 < 0 {
            return Err("a hot span is negative".to_string());
        }
        check_windows(&self.hot_windows)
    }

    /// Whether data of this creation time is hot now.
    pub(crate) fn is_hot(&self, created: i64, now: i64) -> bool {
        created >= now.saturating_sub(self.data_hot_span.value.0)
            || self.hot_windows.iter().any(|window| window.min_value.0 <= created && created < window.max_value.0)
    }
}

fn check_windows(windows: &[HotWindow]) -> Check {
    match windows.iter().any(|window| window.min_value >= window.max_value) {
        true => Err("a hot window ends before it begins".to_string()),
        false => Ok(()),
    }
}

/// Which extents are merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MergePolicy {
    pub row_count_upper_bound_for_merge: u64,
    #[serde(rename = "OriginalSizeMBUpperBoundForMerge")]
    pub original_size_mb_upper_bound_for_merge: u64,
    pub max_extents_to_merge: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_period: Option<Period>,
    pub max_range_in_hours: u64,
    pub allow_rebuild: bool,
    pub allow_merge: bool,
    pub lookback: Lookback,
}

/// Up to which age extents are merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Lookback {
    pub kind: LookbackKind,
    #[serde(default)]
    pub custom_period: Option<Period>,
}

/// How it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LookbackKind {
    Default,
    All,
    HotCache,
    Custom,
}

impl Default for MergePolicy {
    fn default() -> Self {
        Self {
            row_count_upper_bound_for_merge: 16_000_000,
            original_size_mb_upper_bound_for_merge: 30_000,
            max_extents_to_merge: 100,
            loop_period: None,
            max_range_in_hours: 24,
            allow_rebuild: true,
            allow_merge: true,
            lookback: Lookback { kind: LookbackKind::Default, custom_period: None },
        }
    }
}

impl MergePolicy {
    pub(crate) fn check(&self) -> Check {
        match (self.lookback.kind, self.lookback.custom_period) {
            (LookbackKind::Custom, None) => Err("a Lookback of kind Custom needs a CustomPeriod".to_string()),
            (LookbackKind::Custom, Some(period)) if period.0 <= 0 => Err("CustomPeriod is not positive".to_string()),
            (LookbackKind::Custom, _) | (_, None) => Ok(()),
            (_, Some(_)) => Err("a CustomPeriod is for a Lookback of kind Custom only".to_string()),
        }
    }
}

/// How large extents may become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ShardingPolicy {
    pub shard_engine_max_row_count: u64,
    pub shard_engine_max_extent_size_in_mb: u64,
    pub shard_engine_max_original_size_in_mb: u64,
}

impl Default for ShardingPolicy {
    fn default() -> Self {
        Self {
            shard_engine_max_row_count: 1_048_576,
            shard_engine_max_extent_size_in_mb: 8_192,
            shard_engine_max_original_size_in_mb: 3_072,
        }
    }
}

impl ShardingPolicy {
    pub(crate) fn check(&self) -> Check {
        let sizes = [self.shard_engine_max_extent_size_in_mb, self.shard_engine_max_original_size_in_mb];
        match self.shard_engine_max_row_count == 0 || sizes.contains(&0) {
            true => Err("a bound is zero".to_string()),
            false => Ok(()),
        }
    }
}

/// By which keys extents are kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PartitioningPolicy {
    #[serde(default)]
    pub partition_keys: Vec<PartitionKey>,
    #[serde(default)]
    pub effective_date_time: Option<Moment>,
    #[serde(default)]
    pub min_row_count_per_operation: u64,
    #[serde(default)]
    pub max_row_count_per_operation: u64,
    #[serde(default)]
    pub max_original_size_per_operation: u64,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", try_from = "RawKey")]
pub(crate) struct PartitionKey {
    pub column_name: String,
    pub kind: PartitionKind,
    pub properties: PartitionProperties,
}

/// How a key makes partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PartitionKind {
    Hash,
    UniformRange,
}

/// What each kind is given.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum PartitionProperties {
    Hash(HashKey),
    UniformRange(RangeKey),
}

/// A key before its kind says what its properties are.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawKey {
    column_name: String,
    kind: PartitionKind,
    properties: Value,
}

impl TryFrom<RawKey> for PartitionKey {
    type Error = serde_json::Error;

    fn try_from(raw: RawKey) -> Result<Self, serde_json::Error> {
        let properties = match raw.kind {
            PartitionKind::Hash => PartitionProperties::Hash(serde_json::from_value(raw.properties)?),
            PartitionKind::UniformRange => PartitionProperties::UniformRange(serde_json::from_value(raw.properties)?),
        };
        Ok(Self { column_name: raw.column_name, kind: raw.kind, properties })
    }
}

/// Partitions by a hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HashKey {
    #[serde(default = "xx_hash")]
    pub function: String,
    pub max_partition_count: u64,
    #[serde(default = "one")]
    pub seed: u64,
    #[serde(default = "uniform")]
    pub partition_assignment_mode: String,
}

fn xx_hash() -> String {
    "XxHash64".to_string()
}

fn uniform() -> String {
    "Uniform".to_string()
}

fn one() -> u64 {
    1
}

/// Partitions by ranges of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RangeKey {
    pub reference: Moment,
    pub range_size: Period,
    #[serde(default)]
    pub override_creation_time: bool,
}

impl PartitioningPolicy {
    pub(crate) fn check(&self, table: Option<&Table>) -> Check {
        let hashes = self.partition_keys.iter().filter(|key| key.kind == PartitionKind::Hash).count();
        if self.partition_keys.is_empty() || hashes > 1 || self.partition_keys.len() - hashes > 1 {
            return Err("it takes one hash key, one uniform range key, or one of each".to_string());
        }
        for key in &self.partition_keys {
            let wanted: &[KqlType] = match &key.properties {
                PartitionProperties::Hash(properties) => {
                    if properties.function != "XxHash64" {
                        return Err(format!(
                            "the function of a hash key must be XxHash64, not '{}'",
                            properties.function
                        ));
                    }
                    if !(2..=2048).contains(&properties.max_partition_count) {
                        return Err("MaxPartitionCount must be above 1 and at most 2048".to_string());
                    }
                    if properties.seed == 0 {
                        return Err("Seed must be positive".to_string());
                    }
                    let mode = properties.partition_assignment_mode.as_str();
                    if !["Uniform", "ByPartition"].iter().any(|known| known.eq_ignore_ascii_case(mode)) {
                        return Err(format!("PartitionAssignmentMode must be Uniform or ByPartition, not '{mode}'"));
                    }
                    &[KqlType::String, KqlType::Guid]
                }
                PartitionProperties::UniformRange(properties) => {
                    if properties.range_size.0 <= 0 {
                        return Err("RangeSize must be positive".to_string());
                    }
                    &[KqlType::DateTime]
                }
            };
            if let Some(table) = table {
                has_column(table, &key.column_name, wanted)?;
            }
        }
        Ok(())
    }
}

/// Whether a table has a column, of one of these types when any are given.
fn has_column(table: &Table, name: &str, types: &[KqlType]) -> Check {
    let Some(index) = table.schema().index_of(name) else {
        return Err(format!("table '{}' has no column '{name}'", table.name()));
    };
    let ty = table.schema().columns[index].ty;
    if !types.is_empty() && !types.contains(&ty) {
        let wanted: Vec<&str> = types.iter().map(|ty| ty.name()).collect();
        return Err(format!("column '{name}' is of type {}, not {}", ty.name(), wanted.join(" or ")));
    }
    Ok(())
}

/// In which order the rows of an extent are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RowOrderPolicy {
    pub row_order: Vec<SortKey>,
}

/// A column of a row order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SortKey {
    pub column_name: String,
    pub is_ascending: bool,
}

impl RowOrderPolicy {
    pub(crate) fn deserialize_value(value: &Value) -> Option<Self> {
        super::parsed(value)
    }

    /// `(a asc, b desc)`
    pub(crate) fn text(&self) -> String {
        let key = |key: &SortKey| format!("{} {}", key.column_name, if key.is_ascending { "asc" } else { "desc" });
        format!("({})", self.row_order.iter().map(key).collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn check(&self, table: Option<&Table>) -> Check {
        for (at, key) in self.row_order.iter().enumerate() {
            if self.row_order[..at].iter().any(|other| other.column_name == key.column_name) {
                return Err(format!("column '{}' is given twice", key.column_name));
            }
            if let Some(table) = table {
                has_column(table, &key.column_name, &[])?;
            }
        }
        Ok(())
    }
}

/// How long queued data waits for more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct IngestionBatchingPolicy {
    pub maximum_batching_time_span: Period,
    pub maximum_number_of_items: u64,
    #[serde(rename = "MaximumRawDataSizeMB")]
    pub maximum_raw_data_size_mb: u64,
}

impl Default for IngestionBatchingPolicy {
    fn default() -> Self {
        Self {
            maximum_batching_time_span: Period::seconds(300),
            maximum_number_of_items: 500,
            maximum_raw_data_size_mb: 1024,
        }
    }
}

impl IngestionBatchingPolicy {
    pub(crate) fn check(&self) -> Check {
        if !(Period::seconds(10)..=Period::seconds(1800)).contains(&self.maximum_batching_time_span) {
            return Err("MaximumBatchingTimeSpan must be between 00:00:10 and 00:30:00".to_string());
        }
        if !(1..=25_000).contains(&self.maximum_number_of_items) {
            return Err("MaximumNumberOfItems must be between 1 and 25000".to_string());
        }
        if !(100..=4096).contains(&self.maximum_raw_data_size_mb) {
            return Err("MaximumRawDataSizeMB must be between 100 and 4096".to_string());
        }
        Ok(())
    }
}

/// Whether rows may be streamed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamingIngestionPolicy {
    pub is_enabled: bool,
    #[serde(default)]
    pub hint_allocated_rate: Option<f64>,
}

impl StreamingIngestionPolicy {
    pub(crate) fn check(&self) -> Check {
        match self.hint_allocated_rate.is_some_and(|rate| rate < 0.0) {
            true => Err("HintAllocatedRate is negative".to_string()),
            false => Ok(()),
        }
    }
}

/// What is derived from the data of other tables; one entry per source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UpdatePolicy(pub Vec<Update>);

/// One source and what is made of its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(default = "yes")]
    pub is_enabled: bool,
    pub source: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_is_wild_card: bool,
    pub query: String,
    #[serde(default)]
    pub is_transactional: bool,
    #[serde(default)]
    pub propagate_ingestion_properties: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<String>,
}

fn yes() -> bool {
    true
}

impl UpdatePolicy {
    pub(crate) fn check(&self) -> Check {
        for update in &self.0 {
            if update.source.is_empty() || update.query.trim().is_empty() {
                return Err("each entry needs a Source and a Query".to_string());
            }
            if update.managed_identity.as_ref().is_some_and(|identity| !identity.is_empty()) {
                return Err(
                    "managed identities are not served; the query runs with the rights of the server".to_string()
                );
            }
        }
        Ok(())
    }
}

/// Whether ingestion times are kept. They always are here: views and cursors need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct IngestionTimePolicy {
    pub is_enabled: bool,
}

/// Whether only unrestricted viewers may read a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RestrictedViewAccessPolicy(pub bool);

/// The query that replaces a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RowLevelSecurityPolicy {
    pub is_enabled: bool,
    pub query: String,
}

/// When a table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AutoDeletePolicy {
    pub expiry_date: Moment,
    #[serde(default)]
    pub delete_if_not_empty: bool,
}

impl AutoDeletePolicy {
    pub(crate) fn check(&self, now: i64) -> Check {
        match self.expiry_date.0 <= now {
            true => Err("ExpiryDate must be in the future".to_string()),
            false => Ok(()),
        }
    }
}

/// How a column is encoded and indexed. Files here choose by what the data is like; the profile is kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct EncodingPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_policy_type: Option<String>,
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

/// The profiles of encodings.
const PROFILES: &[&str] = &["Identifier", "BigObject", "BigObject32", "Vector16"];

impl EncodingPolicy {
    /// A profile by its name in any case; `Null` is none.
    pub(crate) fn profile(name: &str) -> Result<Option<Self>, String> {
        if name.eq_ignore_ascii_case("null") {
            return Ok(None);
        }
        let profile = PROFILES.iter().find(|profile| profile.eq_ignore_ascii_case(name));
        let profile =
            profile.ok_or_else(|| format!("encoding '{name}' is not one of {}, Null", PROFILES.join(", ")))?;
        Ok(Some(Self { encoding_policy_type: Some(profile.to_string()), others: serde_json::Map::new() }))
    }
}

/// When tags of extents go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ExtentTagsRetentionPolicy(pub Vec<TagRetention>);

/// The tags of one prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagRetention {
    pub tag_prefix: String,
    pub retention_period: Period,
}

impl ExtentTagsRetentionPolicy {
    pub(crate) fn check(&self) -> Check {
        for entry in &self.0 {
            let prefix = entry.tag_prefix.as_str();
            if !prefix.ends_with(':') || prefix.matches(':').count() != 1 || prefix.len() < 2 {
                return Err(format!("TagPrefix '{prefix}' must end in its only colon"));
            }
            if entry.retention_period.0 < 0 {
                return Err("RetentionPeriod is negative".to_string());
            }
        }
        Ok(())
    }
}

/// Whether and how a table is mirrored for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MirroringPolicy {
    pub format: String,
    pub is_enabled: bool,
    pub partitions: Option<Value>,
    pub backfill: bool,
    pub effective_date_time: Option<Moment>,
    pub target_latency_in_minutes: u64,
}

impl Default for MirroringPolicy {
    fn default() -> Self {
        Self {
            format: "parquet".to_string(),
            is_enabled: true,
            partitions: None,
            backfill: false,
            effective_date_time: None,
            target_latency_in_minutes: 180,
        }
    }
}

impl MirroringPolicy {
    pub(crate) fn check(&self) -> Check {
        if self.format != "parquet" {
            return Err("Format must be parquet".to_string());
        }
        if !(5..=180).contains(&self.target_latency_in_minutes) {
            return Err("TargetLatencyInMinutes must be between 5 and 180".to_string());
        }
        if self.partitions.as_ref().is_some_and(|partitions| !partitions.is_null()) {
            return Err("partitions of a mirror are not served: it shows the table's own files".to_string());
        }
        if !self.is_enabled {
            return Err("a mirror that is switched off for one table is not served".to_string());
        }
        Ok(())
    }
}

/// Which data of an external table is kept near. Kept and shown; queries read the files themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueryAccelerationPolicy {
    pub is_enabled: bool,
    pub hot: Period,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot_windows: Vec<HotWindow>,
    #[serde(default = "five_minutes")]
    pub max_age: Period,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_date_time_column: Option<String>,
}

fn five_minutes() -> Period {
    Period::seconds(300)
}

impl QueryAccelerationPolicy {
    pub(crate) fn check(&self) -> Check {
        if self.hot < Period::days(1) {
            return Err("Hot must be at least 1.00:00:00".to_string());
        }
        if self.max_age < Period::seconds(60) {
            return Err("MaxAge must be at least 00:01:00".to_string());
        }
        check_windows(&self.hot_windows)
    }
}

/// Identities that a cluster may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ManagedIdentityPolicy(pub Vec<ManagedIdentity>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ManagedIdentity {
    pub object_id: String,
    pub allowed_usages: String,
}

impl ManagedIdentityPolicy {
    pub(crate) fn check(&self) -> Check {
        match self.0.first() {
            Some(identity) => Err(format!("managed identity '{}' is not assigned to this cluster", identity.object_id)),
            None => Ok(()),
        }
    }
}

/// Which addresses queries may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CalloutPolicy(pub Vec<Callout>);

/// A pattern of addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Callout {
    pub callout_type: String,
    pub callout_uri_regex: String,
    pub can_call: bool,
}

/// Source: the callout policy page's table of types.
const CALLOUTS: &[&str] = &[
    "kusto",
    "sql",
    "mysql",
    "postgresql",
    "azure_digital_twins",
    "cosmosdb",
    "sandbox_artifacts",
    "external_data",
    "webapi",
    "azure_openai",
];

impl CalloutPolicy {
    pub(crate) fn check(&self) -> Check {
        for callout in &self.0 {
            if !CALLOUTS.iter().any(|known| known.eq_ignore_ascii_case(&callout.callout_type)) {
                return Err(format!("CalloutType '{}' is not one of {}", callout.callout_type, CALLOUTS.join(", ")));
            }
            if let Err(error) = regex::Regex::new(&callout.callout_uri_regex) {
                return Err(format!("CalloutUriRegex is not a regular expression: {error}"));
            }
        }
        Ok(())
    }

    /// With further entries; one of the same type and pattern takes the new decision.
    pub(crate) fn merged(mut self, others: CalloutPolicy) -> Self {
        for other in others.0 {
            let known = self.0.iter_mut().find(|known| {
                known.callout_type == other.callout_type && known.callout_uri_regex == other.callout_uri_regex
            });
            match known {
                Some(known) => known.can_call = other.can_call,
                None => self.0.push(other),
            }
        }
        self
    }
}

/// Limits of sandboxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SandboxPolicy(pub Vec<Sandbox>);

/// Those of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sandbox {
    pub sandbox_kind: String,
    #[serde(default = "yes")]
    pub is_enabled: bool,
    #[serde(default)]
    pub initialize_on_startup: bool,
    #[serde(default)]
    pub target_count_per_node: Option<u64>,
    #[serde(default)]
    pub max_cpu_rate_per_sandbox: Option<u64>,
    #[serde(default)]
    pub max_memory_mb_per_sandbox: Option<u64>,
}

impl SandboxPolicy {
    pub(crate) fn check(&self) -> Check {
        let known = ["PythonExecution", "RExecution"];
        match self.0.iter().find(|sandbox| !known.contains(&sandbox.sandbox_kind.as_str())) {
            Some(sandbox) => Err(format!("SandboxKind '{}' is not one of {}", sandbox.sandbox_kind, known.join(", "))),
            None => Ok(()),
        }
    }
}
