//! The definition of a workload group: its policies as JSON, checked, in one spelling.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tidewater_plan::options::timespan_of;

use super::Machine;
use crate::context::{DEFAULT_QUERY_TIMEOUT, MAX_TIMEOUT};
use crate::limits::{MAX_BYTES, MAX_ROWS};

/// A limit, and whether a request may ask for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// The value; times in ticks.
    pub value: u64,
    /// Whether a request's own value counts instead, whatever it is.
    pub relaxable: bool,
}

impl Limit {
    /// What holds when a request asks for `asked`.
    pub fn with(limit: Option<Limit>, asked: Option<u64>) -> Option<u64> {
        match (limit, asked) {
            (None, asked) => asked,
            (Some(limit), None) => Some(limit.value),
            (Some(limit), Some(asked)) if limit.relaxable => Some(asked),
            (Some(limit), Some(asked)) => Some(limit.value.min(asked)),
        }
    }
}

/// The limits of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestLimits {
    pub query_memory: Option<Limit>,
    pub operator_memory: Option<Limit>,
    pub threads_percent: Option<Limit>,
    pub records: Option<Limit>,
    pub bytes: Option<Limit>,
    pub time: Option<Limit>,
}

/// To whom a rate limit applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All requests of the group together.
    Group,
    /// Those of each principal.
    Principal,
}

/// What a rate limit limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Requests that run at once.
    Concurrent(u64),
    /// Requests within a time.
    Requests { most: u64, window: Duration },
    /// Processor seconds within a time.
    CpuSeconds { most: u64, window: Duration },
}

/// The policies of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Definition {
    pub limits: RequestLimits,
    pub rates: Vec<(Scope, Rate)>,
    /// Whether requests over the group's concurrency wait.
    pub queues: bool,
}

type Checked<T> = Result<T, String>;

/// The members of the request limits policy: least and greatest value.
const LIMITS: &[(&str, Kind)] = &[
    ("DataScope", Kind::Word(&["All", "HotCache"])),
    ("MaxMemoryPerQueryPerNode", Kind::Number(1, i64::MAX)),
    ("MaxMemoryPerIterator", Kind::Number(1, i64::MAX)),
    ("MaxFanoutThreadsPercentage", Kind::Number(1, 100)),
    ("MaxFanoutNodesPercentage", Kind::Number(1, 100)),
    ("MaxResultRecords", Kind::Number(1, i64::MAX)),
    ("MaxResultBytes", Kind::Number(1, i64::MAX)),
    ("MaxExecutionTime", Kind::Span),
    ("QueryResultsCacheMaxAge", Kind::Span),
];

enum Kind {
    Word(&'static [&'static str]),
    Number(i64, i64),
    Span,
}

/// The requests that every other group may run at once.
const MOST_CONCURRENT: u64 = 10_000;

pub(super) fn of_default(machine: Machine) -> Value {
    const OPERATOR_BYTES: u64 = 5_368_709_120;
    let relaxable = |value: Value| json!({"IsRelaxable": true, "Value": value});
    json!({
        "RequestLimitsPolicy": {
            "DataScope": relaxable("All".into()),
            "MaxMemoryPerQueryPerNode": relaxable(machine.memory_bytes.into()),
            "MaxMemoryPerIterator": relaxable(OPERATOR_BYTES.min(machine.memory_bytes).into()),
            "MaxFanoutThreadsPercentage": relaxable(100.into()),
            "MaxFanoutNodesPercentage": relaxable(100.into()),
            "MaxResultRecords": relaxable(MAX_ROWS.into()),
            "MaxResultBytes": relaxable(MAX_BYTES.into()),
            "MaxExecutionTime": relaxable(span_text(DEFAULT_QUERY_TIMEOUT.as_nanos() as i64 / 100).into()),
        },
        "RequestRateLimitPolicies": [{
            "IsEnabled": true,
            "Scope": "WorkloadGroup",
            "LimitKind": "ConcurrentRequests",
            "Properties": {"MaxConcurrentRequests": machine.concurrent.min(MOST_CONCURRENT)},
        }],
        "RequestRateLimitsEnforcementPolicy": {
            "QueriesEnforcementLevel": "QueryHead",
            "CommandsEnforcementLevel": "Database",
        },
        // A server of its own for few people would rather let them wait than turn them away.
        "RequestQueuingPolicy": {"IsEnabled": true},
        "QueryConsistencyPolicy": {"QueryConsistency": {"IsRelaxable": true, "Value": "Strong"}},
    })
}

pub(super) fn of_internal() -> Value {
    json!({"RequestRateLimitPolicies": []})
}

pub(super) fn of_views(machine: Machine) -> Value {
    let fixed = |value: Value| json!({"IsRelaxable": false, "Value": value});
    json!({
        "RequestLimitsPolicy": {
            "MaxMemoryPerQueryPerNode": fixed(machine.memory_bytes.into()),
            "MaxMemoryPerIterator": fixed(machine.memory_bytes.into()),
            "MaxFanoutThreadsPercentage": fixed(100.into()),
            "MaxFanoutNodesPercentage": fixed(100.into()),
        },
    })
}

/// The members of a policy that users may set for `$materialized-views`.
const OF_VIEWS: &[&str] =
    &["MaxMemoryPerQueryPerNode", "MaxMemoryPerIterator", "MaxFanoutThreadsPercentage", "MaxFanoutNodesPercentage"];

fn span_text(ticks: i64) -> String {
    let mut out = Vec::new();
    tidewater_kql::value::timespan::write(ticks, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn object<'a>(value: &'a Value, what: &str) -> Checked<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| format!("{what} must be an object, found {value}"))
}

/// A member by its name in any case.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

fn refuse_others(members: &Map<String, Value>, known: &[&str], what: &str) -> Checked<()> {
    match members.keys().find(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name))) {
        Some(name) => Err(format!("{what} has no member '{name}'; it may have {}", known.join(", "))),
        None => Ok(()),
    }
}

fn flag(members: &Map<String, Value>, name: &str, absent: bool) -> Checked<bool> {
    match member(members, name) {
        None => Ok(absent),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("{name} must be true or false, found {other}")),
    }
}

fn number(members: &Map<String, Value>, name: &str, least: i64, most: i64) -> Checked<i64> {
    let value = member(members, name).ok_or_else(|| format!("{name} is missing"))?;
    match value.as_i64() {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{name} must be a whole number from {least} to {most}, found {value}")),
    }
}

fn word(members: &Map<String, Value>, name: &str, words: &[&'static str]) -> Checked<&'static str> {
    let value = member(members, name).ok_or_else(|| format!("{name} is missing"))?;
    let found = value.as_str().and_then(|text| words.iter().find(|word| word.eq_ignore_ascii_case(text)));
    found.copied().ok_or_else(|| format!("{name} must be one of {}, found {value}", words.join(", ")))
}

fn span(value: &Value, name: &str, most: Duration) -> Checked<i64> {
    let most_ticks = most.as_nanos() as i64 / 100;
    match timespan_of(value).filter(|_| value.is_string()) {
        Some(ticks) if (0..=most_ticks).contains(&ticks) => Ok(ticks),
        _ => Err(format!("{name} must be a timespan of at most {}, found {value}", span_text(most_ticks))),
    }
}

/// A definition in one spelling, members in the order of the documentation.
///
/// Errors: an unknown member, a value outside of its bounds.
pub(crate) fn checked(value: &Value) -> Checked<Value> {
    const MEMBERS: &[&str] = &[
        "RequestLimitsPolicy",
        "RequestRateLimitPolicies",
        "RequestRateLimitsEnforcementPolicy",
        "RequestQueuingPolicy",
        "QueryConsistencyPolicy",
    ];
    let members = object(value, "a workload group")?;
    refuse_others(members, MEMBERS, "a workload group")?;
    let mut out = Map::new();
    for name in MEMBERS {
        let Some(value) = member(members, name) else { continue };
        let value = match *name {
            "RequestLimitsPolicy" => limits(value)?,
            "RequestRateLimitPolicies" => {
                let list = value.as_array().ok_or_else(|| format!("{name} must be an array, found {value}"))?;
                Value::Array(list.iter().map(rate).collect::<Checked<_>>()?)
            }
            "RequestRateLimitsEnforcementPolicy" => {
                let members = object(value, name)?;
                refuse_others(members, &["QueriesEnforcementLevel", "CommandsEnforcementLevel"], name)?;
                let level = |name: &str, words: &[&'static str], absent: &'static str| match member(members, name) {
                    None => Ok(absent),
                    Some(_) => word(members, name, words),
                };
                json!({
                    "QueriesEnforcementLevel": level("QueriesEnforcementLevel", &["Cluster", "QueryHead"], "QueryHead")?,
                    "CommandsEnforcementLevel": level("CommandsEnforcementLevel", &["Cluster", "Database"], "Database")?,
                })
            }
            "RequestQueuingPolicy" => {
                let members = object(value, name)?;
                refuse_others(members, &["IsEnabled"], name)?;
                json!({"IsEnabled": flag(members, "IsEnabled", false)?})
            }
            _ => consistency(value)?,
        };
        out.insert(name.to_string(), value);
    }
    Ok(Value::Object(out))
}

fn limits(value: &Value) -> Checked<Value> {
    let members = object(value, "RequestLimitsPolicy")?;
    let names: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    refuse_others(members, &names, "RequestLimitsPolicy")?;
    let mut out = Map::new();
    for (name, kind) in LIMITS {
        let Some(limit) = member(members, name) else { continue };
        let limit = object(limit, name)?;
        refuse_others(limit, &["IsRelaxable", "Value"], name)?;
        let relaxable = flag(limit, "IsRelaxable", true)?;
        let Some(value) = member(limit, "Value") else { continue };
        let within = |error: String| format!("{name}: {error}");
        let value = match kind {
            Kind::Word(words) => Value::from(word(limit, "Value", words).map_err(within)?),
            Kind::Number(least, most) => Value::from(number(limit, "Value", *least, *most).map_err(within)?),
            Kind::Span if *name == "MaxExecutionTime" => span_text(span(value, name, MAX_TIMEOUT)?).into(),
            Kind::Span => span_text(span(value, name, Duration::from_secs(365 * 86_400))?).into(),
        };
        out.insert(name.to_string(), json!({"IsRelaxable": relaxable, "Value": value}));
    }
    Ok(Value::Object(out))
}

fn rate(value: &Value) -> Checked<Value> {
    let members = object(value, "a request rate limit policy")?;
    refuse_others(members, &["IsEnabled", "Scope", "LimitKind", "Properties"], "a request rate limit policy")?;
    let is_enabled = flag(members, "IsEnabled", true)?;
    let scope = word(members, "Scope", &["WorkloadGroup", "Principal"])?;
    let kind = word(members, "LimitKind", &["ConcurrentRequests", "ResourceUtilization"])?;
    let properties = member(members, "Properties").ok_or("Properties is missing")?;
    let properties = object(properties, "Properties")?;
    let properties = if kind == "ConcurrentRequests" {
        refuse_others(properties, &["MaxConcurrentRequests"], "Properties")?;
        json!({"MaxConcurrentRequests": number(properties, "MaxConcurrentRequests", 0, MOST_CONCURRENT as i64)?})
    } else {
        refuse_others(properties, &["ResourceKind", "MaxUtilization", "TimeWindow"], "Properties")?;
        let resource = word(properties, "ResourceKind", &["RequestCount", "TotalCpuSeconds"])?;
        let most = if resource == "RequestCount" { 16_777_215 } else { 828_000 };
        let window = member(properties, "TimeWindow").ok_or("TimeWindow is missing")?;
        let window = span(window, "TimeWindow", Duration::from_secs(3600))?;
        if window < 10_000_000 {
            return Err(format!("TimeWindow must be 00:00:01 at least, found {}", span_text(window)));
        }
        json!({
            "ResourceKind": resource,
            "MaxUtilization": number(properties, "MaxUtilization", 1, most)?,
            "TimeWindow": span_text(window),
        })
    };
    Ok(json!({"IsEnabled": is_enabled, "Scope": scope, "LimitKind": kind, "Properties": properties}))
}

fn consistency(value: &Value) -> Checked<Value> {
    let members = object(value, "QueryConsistencyPolicy")?;
    refuse_others(members, &["QueryConsistency", "CachedResultsMaxAge"], "QueryConsistencyPolicy")?;
    let mut out = Map::new();
    for name in ["QueryConsistency", "CachedResultsMaxAge"] {
        let Some(part) = member(members, name) else { continue };
        let part = object(part, name)?;
        refuse_others(part, &["IsRelaxable", "Value"], name)?;
        let relaxable = flag(part, "IsRelaxable", true)?;
        let value = match name {
            "QueryConsistency" => {
                const WORDS: &[&str] = &[
                    "Strong",
                    "Weak",
                    "WeakAffinitizedByQuery",
                    "WeakAffinitizedByDatabase",
                    "WeakAffinitizedBySessionId",
                ];
                Value::from(word(part, "Value", WORDS)?)
            }
            _ => match member(part, "Value") {
                None => Value::Null,
                Some(value) => span_text(span(value, name, Duration::from_secs(365 * 86_400))?).into(),
            },
        };
        out.insert(name.to_string(), json!({"IsRelaxable": relaxable, "Value": value}));
    }
    Ok(Value::Object(out))
}

/// A definition that takes over what another names: policies that are objects member by member, lists as a whole.
pub(crate) fn merged(old: &Value, new: &Value) -> Value {
    let (Some(old_members), Some(new_members)) = (old.as_object(), new.as_object()) else { return new.clone() };
    let mut out = old_members.clone();
    for (name, value) in new_members {
        let value = match (out.get(name), value) {
            (Some(old @ Value::Object(_)), Value::Object(_)) if name != "Properties" => merged(old, value),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// What the groups of the service must keep.
pub(crate) fn check_built_in(name: &str, value: &Value) -> Checked<()> {
    match name {
        super::INTERNAL => Err("the workload group 'internal' cannot be changed".to_string()),
        super::DEFAULT => {
            let limits = value.get("RequestLimitsPolicy").and_then(Value::as_object);
            let has = |name: &str| limits.is_some_and(|limits| limits.contains_key(name));
            let missing = LIMITS.iter().map(|(name, _)| *name);
            if let Some(name) = missing.filter(|name| *name != "QueryResultsCacheMaxAge").find(|name| !has(name)) {
                return Err(format!("the workload group 'default' must define the limit {name}"));
            }
            let is_limited = Definition::of(value)?.concurrent(Scope::Group).is_some();
            match is_limited {
                true => Ok(()),
                false => Err("the workload group 'default' must limit its concurrent requests".to_string()),
            }
        }
        super::VIEWS => {
            let members = object(value, "a workload group")?;
            refuse_others(members, &["RequestLimitsPolicy"], "the workload group '$materialized-views'")?;
            let limits = member(members, "RequestLimitsPolicy").and_then(Value::as_object);
            limits.map_or(Ok(()), |limits| {
                refuse_others(limits, OF_VIEWS, "the request limits policy of '$materialized-views'")
            })
        }
        _ => Definition::of(value).and_then(|definition| {
            match definition.queues && definition.concurrent(Scope::Group).is_none() {
                true => {
                    Err("requests can queue only where the concurrent requests of the group are limited".to_string())
                }
                false => Ok(()),
            }
        }),
    }
}

impl Definition {
    /// From a definition in its one spelling.
    pub fn of(value: &Value) -> Checked<Definition> {
        let value = checked(value)?;
        let limit = |name: &str| -> Option<Limit> {
            let limit = value.get("RequestLimitsPolicy")?.get(name)?;
            let own = limit.get("Value")?;
            let number = own.as_u64().or_else(|| timespan_of(own).map(|ticks| ticks.max(0) as u64))?;
            Some(Limit { value: number, relaxable: limit.get("IsRelaxable")?.as_bool()? })
        };
        let limits = RequestLimits {
            query_memory: limit("MaxMemoryPerQueryPerNode"),
            operator_memory: limit("MaxMemoryPerIterator"),
            threads_percent: limit("MaxFanoutThreadsPercentage"),
            records: limit("MaxResultRecords"),
            bytes: limit("MaxResultBytes"),
            time: limit("MaxExecutionTime"),
        };
        let list = value.get("RequestRateLimitPolicies").and_then(Value::as_array);
        let rates = list.into_iter().flatten().filter(|rate| rate["IsEnabled"] == true).filter_map(|rate| {
            let scope = if rate["Scope"] == "Principal" { Scope::Principal } else { Scope::Group };
            let properties = &rate["Properties"];
            if rate["LimitKind"] == "ConcurrentRequests" {
                return Some((scope, Rate::Concurrent(properties["MaxConcurrentRequests"].as_u64()?)));
            }
            let window = Duration::from_nanos(timespan_of(&properties["TimeWindow"])?.max(0) as u64 * 100);
            let most = properties["MaxUtilization"].as_u64()?;
            Some((
                scope,
                match properties["ResourceKind"] == "RequestCount" {
                    true => Rate::Requests { most, window },
                    false => Rate::CpuSeconds { most, window },
                },
            ))
        });
        let queues = value.pointer("/RequestQueuingPolicy/IsEnabled").and_then(Value::as_bool).unwrap_or(false);
        Ok(Definition { limits, rates: rates.collect(), queues })
    }

    /// The same with the default group's limits where it has none.
    pub fn over(mut self, base: &Definition) -> Definition {
        let (own, base) = (&mut self.limits, base.limits);
        own.query_memory = own.query_memory.or(base.query_memory);
        own.operator_memory = own.operator_memory.or(base.operator_memory);
        own.threads_percent = own.threads_percent.or(base.threads_percent);
        own.records = own.records.or(base.records);
        own.bytes = own.bytes.or(base.bytes);
        own.time = own.time.or(base.time);
        self
    }

    /// The least number of requests that may run at once.
    pub fn concurrent(&self, scope: Scope) -> Option<u64> {
        let of = |(own, rate): &(Scope, Rate)| match rate {
            Rate::Concurrent(most) if *own == scope => Some(*most),
            _ => None,
        };
        self.rates.iter().filter_map(of).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { memory_bytes: 1 << 30, concurrent: 20, cores: 2 };

    #[test]
    fn a_definition_is_told_in_one_spelling() {
        let given = json!({
            "requestlimitspolicy": {"MaxExecutiontime": {"IsRelaxable": false, "Value": "0:01:00"}, "DataScope": null},
            "RequestRateLimitsEnforcementpolicy": {"CommandsEnforcementLevel": "cluster"}
        });
        let value = checked(&given).unwrap();
        assert_eq!(
            value.to_string(),
            r#"{"RequestLimitsPolicy":{"MaxExecutionTime":{"IsRelaxable":false,"Value":"00:01:00"}},"RequestRateLimitsEnforcementPolicy":{"QueriesEnforcementLevel":"QueryHead","CommandsEnforcementLevel":"Cluster"}}"#
        );
        for wrong in [
            json!({"Nonsense": {}}),
            json!({"RequestLimitsPolicy": {"MaxResultRecords": {"Value": 0}}}),
            json!({"RequestLimitsPolicy": {"MaxExecutionTime": {"Value": "02:00:00"}}}),
            json!({"RequestRateLimitPolicies": [{"Scope": "Principal", "LimitKind": "ConcurrentRequests"}]}),
            json!({"RequestRateLimitPolicies": {}}),
            json!([]),
        ] {
            assert!(checked(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn built_in_groups_keep_what_they_must() {
        let default = of_default(MACHINE);
        assert!(check_built_in("default", &default).is_ok());
        assert!(check_built_in("default", &json!({})).is_err());
        let unlimited = merged(&default, &json!({"RequestRateLimitPolicies": []}));
        assert!(check_built_in("default", &unlimited).unwrap_err().contains("concurrent"));
        assert!(check_built_in("internal", &json!({})).is_err());
        assert!(check_built_in("$materialized-views", &of_views(MACHINE)).is_ok());
        assert!(check_built_in("$materialized-views", &json!({"RequestQueuingPolicy": {"IsEnabled": true}})).is_err());
        assert!(check_built_in("own", &json!({"RequestQueuingPolicy": {"IsEnabled": true}})).is_err());
    }

    #[test]
    fn limits_hold_unless_they_may_be_relaxed_and_are_taken_from_default() {
        let firm = Some(Limit { value: 10, relaxable: false });
        let soft = Some(Limit { value: 10, relaxable: true });
        assert_eq!(
            (Limit::with(firm, None), Limit::with(firm, Some(5)), Limit::with(firm, Some(50))),
            (Some(10), Some(5), Some(10))
        );
        assert_eq!((Limit::with(soft, Some(50)), Limit::with(None, None)), (Some(50), None));
        let base = Definition::of(&of_default(MACHINE)).unwrap();
        let own =
            Definition::of(&json!({"RequestLimitsPolicy": {"MaxResultRecords": {"Value": 7}}})).unwrap().over(&base);
        assert_eq!((own.limits.records.unwrap().value, own.limits.bytes.unwrap().value), (7, MAX_BYTES));
        assert_eq!((base.concurrent(Scope::Group), own.concurrent(Scope::Group)), (Some(20), None));
        assert_eq!(base.limits.time.unwrap().value, 2_400_000_000);
    }

    #[test]
    fn merging_keeps_what_is_not_named() {
        let old = of_default(MACHINE);
        let new =
            checked(&json!({"RequestLimitsPolicy": {"MaxResultRecords": {"IsRelaxable": false, "Value": 3}}})).unwrap();
        let both = merged(&old, &new);
        assert_eq!(both["RequestLimitsPolicy"]["MaxResultRecords"]["Value"], 3);
        assert_eq!(both["RequestLimitsPolicy"]["MaxResultBytes"], old["RequestLimitsPolicy"]["MaxResultBytes"]);
        assert_eq!(both["RequestRateLimitPolicies"], old["RequestRateLimitPolicies"]);
    }
}
