//! Workload groups, capacity, and the policies by which requests are told apart and bounded.

use serde_json::Value;
use tidewater_kql::KqlType;
use tidewater_kql::command::{PolicyCommand, PolicyKind, PolicyValue, PolicyVerb};
use tidewater_store::{Expect, PropertyEdit, PropertyKey, PropertyOwner};

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Fault, Result};
use crate::policies;
use crate::table::{Cell, Columns, TableBuilder};
use crate::workload::capacity::Resource;
use crate::workload::classify::Classification;
use crate::workload::definition::{Scope, check_built_in, checked, merged};
use crate::workload::{DEFAULT, INTERNAL, MAX_GROUPS, VIEWS, key};

const GROUP_COLUMNS: Columns = &[("WorkloadGroupName", KqlType::String), ("WorkloadGroup", KqlType::String)];

fn group_not_found(name: &str) -> Error {
    Error::entity_not_found("WorkloadGroup", name)
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::bad_request(format!("the definition is no JSON: {error}")))
}

fn refused(error: String) -> Error {
    Error::bad_request(format!("the definition is not valid: {error}"))
}

/// Stores a property of the cluster on the condition that it has not changed since it was read.
async fn store(request: &Request<'_>, key: PropertyKey, value: Option<Value>) -> Result<()> {
    let expect = match request.snapshot.property(&key) {
        Some(old) => Expect::Value(old.clone()),
        // What is not there need not go.
        None if value.is_none() => return Ok(()),
        None => Expect::Absent,
    };
    let store = request.service.store();
    store.edit_properties(vec![PropertyEdit { key, expect, value }]).await?;
    request.service.inner().workloads.reload(&store.snapshot());
    Ok(())
}

/// `.show workload_groups`, `.show workload_group G`
pub fn show(request: &Request<'_>, group: Option<&str>) -> Result<ResultTable> {
    let workloads = request.service.inner().workloads.get();
    let mut out = TableBuilder::new(GROUP_COLUMNS);
    for (name, value) in workloads.shown() {
        if group.is_none_or(|group| group == name) {
            out.row(vec![name.as_str().into(), value.to_string().into()]);
        }
    }
    match group {
        Some(group) if !workloads.shown().contains_key(group) => Err(group_not_found(group)),
        _ => out.finish(),
    }
}

/// `.create-or-alter workload_group G "JSON"`, `.alter-merge workload_group G "JSON"`
pub async fn put(request: &Request<'_>, group: &str, merge: bool, text: &str) -> Result<ResultTable> {
    let workloads = request.service.inner().workloads.get();
    let old = workloads.shown().get(group);
    let given = checked(&parsed(text)?).map_err(refused)?;
    let value = match (merge, old) {
        (true, Some(old)) => checked(&merged(old, &given)).map_err(refused)?,
        (true, None) => return Err(group_not_found(group)),
        (false, _) => given,
    };
    check_built_in(group, &value).map_err(refused)?;
    let is_name = !group.trim().is_empty() && group.chars().count() <= 128 && !group.starts_with('$');
    if old.is_none() {
        if !is_name {
            return Err(refused(format!("'{group}' cannot be the name of a workload group")));
        }
        let own = workloads.shown().keys().filter(|name| !is_built_in(name)).count();
        if own >= MAX_GROUPS {
            let message = format!("there are {MAX_GROUPS} workload groups already, and no more can be defined");
            return Err(Error::new(Fault::BadRequest, message));
        }
    }
    store(request, key(group), Some(value)).await?;
    show(request, Some(group))
}

fn is_built_in(name: &str) -> bool {
    [DEFAULT, INTERNAL, VIEWS].contains(&name)
}

/// `.drop workload_group G`; answers with those that are left.
pub async fn drop(request: &Request<'_>, group: &str) -> Result<ResultTable> {
    if is_built_in(group) {
        return Err(Error::bad_request(format!(
            "the workload group '{group}' belongs to the service and cannot be dropped"
        )));
    }
    if request.service.inner().workloads.get().known(group).is_none() {
        return Err(group_not_found(group));
    }
    store(request, key(group), None).await?;
    show(request, None)
}

const CAPACITY_COLUMNS: Columns = &[
    ("Resource", KqlType::String),
    ("Total", KqlType::Long),
    ("Consumed", KqlType::Long),
    ("Remaining", KqlType::Long),
    ("Origin", KqlType::String),
];

/// `.show capacity [resource] [with (scope = cluster | workloadgroup)]`
pub fn capacity(request: &Request<'_>, resource: Option<&str>, of_group: bool) -> Result<ResultTable> {
    let inner = request.service.inner();
    let workloads = inner.workloads.get();
    let resources: Vec<Resource> = match resource {
        None => Resource::ALL.to_vec(),
        Some(name) => {
            let found = Resource::ALL.iter().find(|resource| resource.name().eq_ignore_ascii_case(name));
            let names: Vec<&str> = Resource::ALL.iter().map(|resource| resource.name()).collect();
            let unknown = || format!("'{name}' is no resource with a capacity; expected one of {}", names.join(", "));
            vec![*found.ok_or_else(|| Error::bad_request(unknown()))?]
        }
    };
    let mut out = TableBuilder::new(CAPACITY_COLUMNS);
    for resource in resources {
        let (mut total, consumed) = (workloads.capacity.total(resource), inner.consumed.of(resource));
        let mut origin = resource.origin().to_string();
        let name = request.context.usage.workload_group();
        let limit = workloads.group(&name).definition.concurrent(Scope::Group);
        if let Some(limit) = limit.filter(|limit| of_group && *limit < total) {
            total = limit;
            origin = format!("RequestRateLimitPolicy/WorkloadGroup/{name}");
        }
        out.row(vec![
            resource.name().into(),
            total.into(),
            consumed.into(),
            total.saturating_sub(consumed).into(),
            origin.into(),
        ]);
    }
    out.finish()
}

/// `.show | .alter | .alter-merge | .delete cluster policy capacity | request_classification`
pub async fn policy(request: &Request<'_>, command: PolicyCommand) -> Result<ResultTable> {
    let inner = request.service.inner();
    let workloads = inner.workloads.get();
    let key = policies::key(PropertyOwner::Cluster, command.kind);
    let (text, query) = match &command.value {
        PolicyValue::Json { text, query } => (Some(text.as_str()), query.as_deref()),
        _ => (None, None),
    };
    let given = text.map(parsed).transpose()?;
    let new = match (command.kind, command.verb, given) {
        (_, PolicyVerb::Show, _) => return shown(request, command.kind),
        (_, PolicyVerb::Delete, _) => None,
        (PolicyKind::Capacity, verb, Some(given)) => {
            Some(workloads.capacity.altered(&given, verb == PolicyVerb::AlterMerge).map_err(refused)?)
        }
        (_, verb, Some(given)) => {
            let is_enabled = given.get("IsEnabled").or_else(|| given.get("isEnabled")).and_then(Value::as_bool);
            let is_enabled = is_enabled.ok_or_else(|| refused("IsEnabled must be true or false".to_string()))?;
            let function = match (query, verb, &workloads.classification) {
                (Some(query), ..) => query.trim().to_string(),
                (None, PolicyVerb::AlterMerge, Some(old)) => old.function.clone(),
                _ => return Err(refused("the function's body is missing behind '<|'".to_string())),
            };
            let policy = Classification { is_enabled, function };
            request.service.check_classification(request.context, &policy.function).await?;
            Some(policy.value())
        }
        (_, _, None) => return Err(refused("a JSON text is expected".to_string())),
    };
    store(request, key, new.clone()).await?;
    let mut out = TableBuilder::new(POLICY_COLUMNS);
    let value = match (command.kind, new) {
        (_, Some(value)) => value.to_string(),
        (PolicyKind::Capacity, None) => inner.workloads.get().capacity.value().to_string(),
        (_, None) => "null".to_string(),
    };
    out.row(vec![command.kind.policy_name().into(), "".into(), value.into(), "".into(), "".into()]);
    out.finish()
}

const POLICY_COLUMNS: Columns = &[
    ("PolicyName", KqlType::String),
    ("EntityName", KqlType::String),
    ("Policy", KqlType::String),
    ("ChildEntities", KqlType::String),
    ("EntityType", KqlType::String),
];

/// One of the two policies as it holds.
fn shown(request: &Request<'_>, kind: PolicyKind) -> Result<ResultTable> {
    let workloads = request.service.inner().workloads.get();
    let value = match (kind, &workloads.classification) {
        (PolicyKind::Capacity, _) => workloads.capacity.value().to_string(),
        (_, Some(policy)) => policy.value().to_string(),
        (_, None) => "null".to_string(),
    };
    let databases: Vec<Value> = request.snapshot.databases().map(|database| Value::from(database.name())).collect();
    let mut out = TableBuilder::new(POLICY_COLUMNS);
    let children: Cell = Value::from(databases).to_string().into();
    out.row(vec![kind.policy_name().into(), "".into(), value.into(), children, "Cluster".into()]);
    out.finish()
}
