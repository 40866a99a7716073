//! From what a command gives to the policy that is stored: names of members put right, defaults filled in, rules checked.

use serde_json::{Map, Value};
use tidewater_kql::command::{PolicyKind, PolicyValue, PolicyVerb};
use tidewater_store::Table;

use super::*;
use crate::error::{Error, Result};

/// What a command asks for, and about whom.
pub(crate) struct Given<'a> {
    /// `.alter` or `.alter-merge`.
    pub verb: PolicyVerb,
    /// The kind.
    pub kind: PolicyKind,
    /// What is given.
    pub value: &'a PolicyValue,
    /// The table, when it is a table's policy.
    pub table: Option<&'a Table>,
    /// Whether it is a database's policy.
    pub is_database: bool,
    /// Now, in ticks.
    pub now: i64,
}

/// The policy after a command; `None` when it takes the policy away.
pub(crate) fn changed(given: &Given<'_>, old: Option<&Value>) -> Result<Option<Value>> {
    let old = match given.verb {
        PolicyVerb::AlterMerge => old,
        _ => None,
    };
    let refused =
        |error: String| Error::bad_request(format!("the policy '{}' is not valid: {error}", given.kind.word()));
    let value = match given.value {
        PolicyValue::None => return Ok(None),
        PolicyValue::Json { text, .. } => {
            let value: Value = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
            if value.is_null() {
                return Ok(None);
            }
            merged(given.kind, old, with_known_names(value))
        }
        PolicyValue::Flag(flag) if given.kind == PolicyKind::RestrictedViewAccess => Value::Bool(*flag),
        PolicyValue::Flag(flag) => serde_json::json!({ "IsEnabled": flag }),
        PolicyValue::Retention { soft_delete, recoverability } => {
            let mut members = Map::new();
            if let Some(ticks) = soft_delete {
                members.insert("SoftDeletePeriod".into(), json(Period(*ticks))?);
            }
            if let Some(enabled) = recoverability {
                members.insert("Recoverability".into(), Value::from(if *enabled { "Enabled" } else { "Disabled" }));
            }
            merged(given.kind, old, Value::Object(members))
        }
        PolicyValue::Caching { data, index, windows } => json(CachingPolicy {
            data_hot_span: HotSpan { value: Period(*data) },
            index_hot_span: HotSpan { value: Period(*index) },
            hot_windows: windows
                .iter()
                .map(|(from, to)| HotWindow { min_value: Moment(*from), max_value: Moment(*to) })
                .collect(),
        })?,
        PolicyValue::RowLevelSecurity { enabled, query, .. } => {
            json(RowLevelSecurityPolicy { is_enabled: *enabled, query: query.clone() })?
        }
        PolicyValue::RowOrder(keys) => {
            let mut order = old.and_then(parsed::<RowOrderPolicy>).unwrap_or_default().row_order;
            for (name, is_ascending) in keys {
                // A key that is there changes its direction; a new one comes last.
                match order.iter_mut().find(|key| given.verb == PolicyVerb::AlterMerge && key.column_name == name.text)
                {
                    Some(key) => key.is_ascending = *is_ascending,
                    None => order.push(SortKey { column_name: name.text.clone(), is_ascending: *is_ascending }),
                }
            }
            json(RowOrderPolicy { row_order: order })?
        }
        PolicyValue::Encoding(None) => return Ok(None),
        PolicyValue::Encoding(Some(profile)) => match EncodingPolicy::profile(profile).map_err(refused)? {
            Some(policy) => json(policy)?,
            None => return Ok(None),
        },
        PolicyValue::Mirroring { partitions, properties } => {
            let mut members = Map::new();
            if let Some(partitions) = partitions {
                members.insert("Partitions".into(), Value::from(partitions.as_str()));
            }
            for (name, text) in properties {
                let value = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
                members.insert(name.clone(), value);
            }
            merged(given.kind, old, with_known_names(Value::Object(members)))
        }
    };
    checked(given, value).map(Some)
}

fn json<T: Serialize>(value: T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::internal(format!("a policy cannot be stored: {error}")))
}

/// The value over the old one: members of an object one by one, entries of a list behind the old ones.
fn merged(kind: PolicyKind, old: Option<&Value>, new: Value) -> Value {
    match (old, new) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let mut all = old.clone();
            all.extend(new);
            Value::Object(all)
        }
        (Some(old), new) if kind == PolicyKind::Callout => {
            let both = (parsed::<CalloutPolicy>(old), serde_json::from_value::<CalloutPolicy>(new.clone()).ok());
            match both {
                (Some(old), Some(added)) => json(old.merged(added)).unwrap_or(new),
                _ => new,
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => Value::Array(old.iter().cloned().chain(new).collect()),
        (_, new) => new,
    }
}

/// The value as its type writes it, if it keeps the type's rules.
fn checked(given: &Given<'_>, value: Value) -> Result<Value> {
    use PolicyKind as K;
    let word = given.kind.word();
    match given.kind {
        K::AutoDelete => typed(word, value, |policy: &AutoDeletePolicy| policy.check(given.now)),
        K::Caching => typed(word, value, CachingPolicy::check),
        K::Callout => typed(word, value, CalloutPolicy::check),
        K::Encoding => typed(word, value, |_: &EncodingPolicy| Ok(())),
        K::ExtentTagsRetention => typed(word, value, ExtentTagsRetentionPolicy::check),
        K::IngestionBatching => typed(word, value, IngestionBatchingPolicy::check),
        K::IngestionTime => typed(word, value, |_: &IngestionTimePolicy| Ok(())),
        K::ManagedIdentity => typed(word, value, ManagedIdentityPolicy::check),
        K::Merge => typed(word, value, MergePolicy::check),
        K::Mirroring => typed(word, value, MirroringPolicy::check),
        K::Partitioning => partitioning(given, value),
        K::QueryAcceleration => typed(word, value, QueryAccelerationPolicy::check),
        K::RestrictedViewAccess => typed(word, value, |_: &RestrictedViewAccessPolicy| Ok(())),
        K::Retention => retention(given, value),
        K::RowLevelSecurity => typed(word, value, |_: &RowLevelSecurityPolicy| Ok(())),
        K::RowOrder => typed(word, value, |policy: &RowOrderPolicy| policy.check(given.table)),
        K::Sandbox => typed(word, value, SandboxPolicy::check),
        K::Sharding => typed(word, value, ShardingPolicy::check),
        K::StreamingIngestion => typed(word, value, StreamingIngestionPolicy::check),
        K::Update => typed(word, value, UpdatePolicy::check),
        K::Capacity | K::QueryWeakConsistency | K::RequestClassification => Ok(value),
    }
}

/// The rules of a type, and its own way of writing.
fn typed<P: Policy>(word: &str, value: Value, check: impl FnOnce(&P) -> Check) -> Result<Value> {
    let refused = |error: String| Error::bad_request(format!("the policy '{word}' is not valid: {error}"));
    let policy: P = serde_json::from_value(value).map_err(|error| refused(error.to_string()))?;
    check(&policy).map_err(refused)?;
    json(policy)
}

/// A soft-delete period of zero is for tables only, and what never was there cannot be brought back.
fn retention(given: &Given<'_>, value: Value) -> Result<Value> {
    let is_explicit = match given.value {
        PolicyValue::Retention { recoverability, .. } => *recoverability == Some(true),
        _ => value.get("Recoverability").and_then(Value::as_str) == Some("Enabled"),
    };
    let value = typed(given.kind.word(), value, |policy: &RetentionPolicy| {
        policy.check()?;
        let is_zero = policy.soft_delete_period.0 == 0;
        if is_zero && given.is_database {
            return Err("a SoftDeletePeriod of zero can be set for tables only".to_string());
        }
        if is_zero && is_explicit && policy.recoverability == Recoverability::Enabled {
            return Err("with a SoftDeletePeriod of zero Recoverability can only be Disabled".to_string());
        }
        Ok(())
    })?;
    match parsed::<RetentionPolicy>(&value) {
        Some(policy) if policy.soft_delete_period.0 == 0 => {
            json(RetentionPolicy { recoverability: Recoverability::Disabled, ..policy })
        }
        _ => Ok(value),
    }
}

/// A policy without a time holds for data from now on.
fn partitioning(given: &Given<'_>, value: Value) -> Result<Value> {
    let value = typed(given.kind.word(), value, |policy: &PartitioningPolicy| policy.check(given.table))?;
    match parsed::<PartitioningPolicy>(&value) {
        Some(policy) if policy.effective_date_time.is_none() => {
            json(PartitioningPolicy { effective_date_time: Some(Moment(given.now)), ..policy })
        }
        _ => Ok(value),
    }
}

/// Every member that some policy has: members of JSON are found in any case, as the service finds them.
const MEMBERS: &[&str] = &[
    "AllowMerge",
    "AllowRebuild",
    "AllowedUsages",
    "Backfill",
    "CalloutType",
    "CalloutUriRegex",
    "CanCall",
    "ColumnName",
    "CustomPeriod",
    "DataHotSpan",
    "DeleteIfNotEmpty",
    "EffectiveDateTime",
    "EncodingPolicyType",
    "ExpiryDate",
    "Format",
    "Function",
    "HintAllocatedRate",
    "Hot",
    "HotDateTimeColumn",
    "HotWindows",
    "IndexHotSpan",
    "InitializeOnStartup",
    "IsEnabled",
    "IsTransactional",
    "Kind",
    "Lookback",
    "LoopPeriod",
    "ManagedIdentity",
    "MaxAge",
    "MaxCpuRatePerSandbox",
    "MaxExtentsToMerge",
    "MaxMemoryMbPerSandbox",
    "MaxOriginalSizePerOperation",
    "MaxPartitionCount",
    "MaxRangeInHours",
    "MaxRowCountPerOperation",
    "MaxValue",
    "MaximumBatchingTimeSpan",
    "MaximumNumberOfItems",
    "MaximumRawDataSizeMB",
    "MinRowCountPerOperation",
    "MinValue",
    "ObjectId",
    "OriginalSizeMBUpperBoundForMerge",
    "OverrideCreationTime",
    "PartitionAssignmentMode",
    "PartitionKeys",
    "Partitions",
    "PropagateIngestionProperties",
    "Properties",
    "Query",
    "RangeSize",
    "Recoverability",
    "Reference",
    "RetentionPeriod",
    "RowCountUpperBoundForMerge",
    "SandboxKind",
    "Seed",
    "ShardEngineMaxExtentSizeInMb",
    "ShardEngineMaxOriginalSizeInMb",
    "ShardEngineMaxRowCount",
    "SoftDeletePeriod",
    "Source",
    "SourceIsWildCard",
    "TagPrefix",
    "TargetCountPerNode",
    "TargetLatencyInMinutes",
    "Value",
];

/// The JSON with the members' names as the reference writes them; the parser of JSON bounds its depth.
fn with_known_names(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(with_known_names).collect()),
        Value::Object(members) => {
            let renamed = members.into_iter().map(|(name, value)| {
                let known = MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(&name));
                (known.map_or(name, |known| known.to_string()), with_known_names(value))
            });
            Value::Object(renamed.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<'a>(kind: PolicyKind, verb: PolicyVerb, value: &'a PolicyValue) -> Given<'a> {
        Given { verb, kind, value, table: None, is_database: false, now: 0 }
    }

    fn json_value(text: &str) -> PolicyValue {
        PolicyValue::Json { text: text.to_string(), query: None }
    }

    fn alter(kind: PolicyKind, text: &str) -> Result<Option<Value>> {
        changed(&given(kind, PolicyVerb::Alter, &json_value(text)), None)
    }

    #[test]
    fn what_is_not_given_gets_its_default_and_names_may_have_any_case() {
        let policy = alter(PolicyKind::Retention, r#"{"softDeletePeriod": "10.00:00:00"}"#).unwrap().unwrap();
        assert_eq!(policy.to_string(), r#"{"SoftDeletePeriod":"10.00:00:00","Recoverability":"Enabled"}"#);
        let policy = alter(PolicyKind::Retention, "{}").unwrap().unwrap();
        assert_eq!(policy["SoftDeletePeriod"], "365000.00:00:00");
    }

    #[test]
    fn a_merge_keeps_what_it_does_not_name() {
        let old = alter(PolicyKind::IngestionBatching, r#"{"MaximumNumberOfItems": 7}"#).unwrap();
        let value = json_value(r#"{"MaximumBatchingTimeSpan": "00:00:30"}"#);
        let merge = given(PolicyKind::IngestionBatching, PolicyVerb::AlterMerge, &value);
        let new = changed(&merge, old.as_ref()).unwrap().unwrap();
        assert_eq!(new["MaximumNumberOfItems"], 7);
        assert_eq!(new["MaximumBatchingTimeSpan"], "00:00:30");
    }

    #[test]
    fn bounds_are_kept() {
        assert!(alter(PolicyKind::IngestionBatching, r#"{"MaximumNumberOfItems": 0}"#).is_err());
        assert!(alter(PolicyKind::StreamingIngestion, "{}").is_err(), "IsEnabled has no default");
        assert!(alter(PolicyKind::ExtentTagsRetention, r#"[{"TagPrefix":"a:b:","RetentionPeriod":"1d"}]"#).is_err());
        assert!(alter(PolicyKind::Merge, r#"{"Lookback":{"Kind":"Custom"}}"#).is_err());
        assert!(alter(PolicyKind::Partitioning, r#"{"PartitionKeys":[]}"#).is_err());
        assert!(alter(PolicyKind::Retention, "nonsense").is_err());
    }

    #[test]
    fn a_callout_of_the_same_pattern_is_decided_anew() {
        let first = r#"[{"CalloutType":"sql","CalloutUriRegex":"x","CanCall":true}]"#;
        let old = alter(PolicyKind::Callout, first).unwrap();
        let value = json_value(r#"[{"CalloutType":"sql","CalloutUriRegex":"x","CanCall":false}]"#);
        let new = changed(&given(PolicyKind::Callout, PolicyVerb::AlterMerge, &value), old.as_ref()).unwrap().unwrap();
        assert_eq!(new.as_array().unwrap().len(), 1);
        assert_eq!(new[0]["CanCall"], false);
    }

    #[test]
    fn nothing_is_kept_for_no_time_and_then_brought_back() {
        let value = PolicyValue::Retention { soft_delete: Some(0), recoverability: None };
        let new = changed(&given(PolicyKind::Retention, PolicyVerb::AlterMerge, &value), None).unwrap().unwrap();
        assert_eq!(new["Recoverability"], "Disabled");
        let value = PolicyValue::Retention { soft_delete: Some(0), recoverability: Some(true) };
        assert!(changed(&given(PolicyKind::Retention, PolicyVerb::AlterMerge, &value), None).is_err());
    }
}
