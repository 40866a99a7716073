//! `.show`, `.alter`, `.alter-merge` and `.delete` of policies, of every kind and for every entity.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidewater_kql::KqlType;
use tidewater_kql::ast::Name;
use tidewater_kql::command::{PolicyCommand, PolicyKind, PolicyTarget, PolicyValue, PolicyVerb};
use tidewater_store::{Database, Expect, PropertyEdit, PropertyKey, PropertyOwner, Table};

use super::Request;
use super::row_security::{self, Secured};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::policies::{
    self, Given, MergePolicy, RestrictedViewAccessPolicy, RowLevelSecurityPolicy, ShardingPolicy, UpdatePolicy,
};
use crate::stored::{self, Entity, StoredExternal, StoredGraph, StoredView};
use crate::table::{Columns, TableBuilder};
use crate::updates;

const POLICY: Columns = &[
    ("PolicyName", KqlType::String),
    ("EntityName", KqlType::String),
    ("Policy", KqlType::String),
    ("ChildEntities", KqlType::String),
    ("EntityType", KqlType::String),
];

/// One entity whose policy a command is about.
enum Owner {
    Cluster,
    Database(Arc<Database>),
    Table(Arc<Database>, Arc<Table>),
    Column { database: Arc<Database>, table: Arc<Table>, name: String, at_rest: String },
    View(Arc<Database>, String),
    External(Arc<Database>, String),
    Graph(Arc<Database>, String),
}

/// Runs a command about a policy.
pub async fn run(request: &Request<'_>, command: PolicyCommand) -> Result<ResultTable> {
    if matches!(command.kind, PolicyKind::Capacity | PolicyKind::RequestClassification) {
        return super::workloads::policy(request, command).await;
    }
    if command.kind == PolicyKind::QueryWeakConsistency {
        return Err(Error::not_served(format!("the policy '{}'", command.kind.word())));
    }
    let owners = owners(request, &command.target)?;
    if command.verb == PolicyVerb::Show {
        return show(request, command.kind, &owners);
    }
    let mut edits = Vec::with_capacity(owners.len());
    for owner in &owners {
        edits.push(edit(request, &command, owner).await?);
    }
    let mut out = TableBuilder::new(POLICY);
    for (owner, (_, value)) in owners.iter().zip(&edits) {
        // What has gone belongs to nothing any more: the reference shows no type then.
        let entity_type = if value.is_some() { owner.entity_type() } else { "" };
        out.row(vec![
            command.kind.policy_name().into(),
            owner.entity_name().into(),
            policies::shown(command.kind, value.as_ref()).into(),
            "".into(),
            entity_type.into(),
        ]);
    }
    request.service.store().edit_properties(edits.into_iter().map(|(edit, _)| edit).collect()).await?;
    out.finish()
}

fn owners(request: &Request<'_>, target: &PolicyTarget) -> Result<Vec<Owner>> {
    let table = |name: &Name| {
        let (database, table) = request.table_at(&name.text)?;
        Ok(Owner::Table(Arc::clone(database), Arc::clone(table)))
    };
    let columns = |database: &Arc<Database>, table: &Arc<Table>| -> Vec<Owner> {
        let columns = table.columns().iter().map(|column| Owner::Column {
            database: Arc::clone(database),
            table: Arc::clone(table),
            name: column.name.clone(),
            at_rest: column.at_rest().to_string(),
        });
        columns.collect()
    };
    Ok(match target {
        PolicyTarget::Cluster => vec![Owner::Cluster],
        PolicyTarget::Database(None) => vec![Owner::Database(Arc::clone(request.database()?))],
        PolicyTarget::Database(Some(name)) => vec![Owner::Database(Arc::clone(request.named_database(&name.text)?))],
        PolicyTarget::AllDatabases => request.snapshot.databases().cloned().map(Owner::Database).collect(),
        PolicyTarget::Table(name) => vec![table(name)?],
        PolicyTarget::Tables(names) => names.iter().map(table).collect::<Result<_>>()?,
        PolicyTarget::AllTables => {
            let database = request.database()?;
            request.tables(database).map(|table| Owner::Table(Arc::clone(database), Arc::clone(table))).collect()
        }
        PolicyTarget::Column(name) => {
            // Each dot may be the one between table and column.
            let mut found = name.text.match_indices('.').filter_map(|(at, _)| {
                let (database, table) = request.table_at(&name.text[..at]).ok()?;
                let wanted = &name.text[at + 1..];
                columns(database, table)
                    .into_iter()
                    .find(|owner| matches!(owner, Owner::Column { name, .. } if name == wanted))
            });
            vec![found.next().ok_or_else(|| Error::entity_not_found("Column", &name.text))?]
        }
        PolicyTarget::AllColumns => {
            let database = request.database()?;
            request.tables(database).flat_map(|table| columns(database, table)).collect()
        }
        PolicyTarget::MaterializedView(name) => {
            let (database, name) = entity_at::<StoredView>(request, &name.text)?;
            vec![Owner::View(database, name)]
        }
        PolicyTarget::ExternalTable(name) => {
            let (database, name) = entity_at::<StoredExternal>(request, &name.text)?;
            vec![Owner::External(database, name)]
        }
        PolicyTarget::AllExternalTables => {
            let database = request.database()?;
            let names = stored::names::<StoredExternal>(&request.snapshot, database);
            names.into_iter().map(|name| Owner::External(Arc::clone(database), name)).collect()
        }
        PolicyTarget::GraphModel(name) => {
            let (database, name) = entity_at::<StoredGraph>(request, &name.text)?;
            vec![Owner::Graph(database, name)]
        }
        PolicyTarget::AllGraphModels => {
            let database = request.database()?;
            let names = stored::names::<StoredGraph>(&request.snapshot, database);
            names.into_iter().map(|name| Owner::Graph(Arc::clone(database), name)).collect()
        }
    })
}

/// An entity by its name in the request's database, or as `database.name`.
fn entity_at<E: Entity>(request: &Request<'_>, path: &str) -> Result<(Arc<Database>, String)> {
    let database = request.database()?;
    if stored::find::<E>(&request.snapshot, database, path).is_some() {
        return Ok((Arc::clone(database), path.to_string()));
    }
    for (at, _) in path.match_indices('.') {
        let name = &path[at + 1..];
        if let Some(database) = request.snapshot.database(&path[..at])
            && stored::find::<E>(&request.snapshot, database, name).is_some()
        {
            return Ok((Arc::clone(database), name.to_string()));
        }
    }
    Err(Error::entity_not_found(E::NOUN, path))
}

impl Owner {
    fn entity_type(&self) -> &'static str {
        match self {
            Owner::Cluster => "Cluster",
            Owner::Database(_) => "Database",
            Owner::Table(..) => "Table",
            Owner::Column { .. } => "Column",
            Owner::View(..) => "MaterializedView",
            Owner::External(..) => "ExternalTable",
            Owner::Graph(..) => "GraphModel",
        }
    }

    fn entity_name(&self) -> String {
        match self {
            Owner::Cluster => String::new(),
            Owner::Database(database) => format!("[{}]", database.name()),
            Owner::Table(database, table) => format!("[{}].[{}]", database.name(), table.name()),
            Owner::Column { database, table, name, .. } => {
                format!("[{}].[{}].[{name}]", database.name(), table.name())
            }
            Owner::View(database, name) | Owner::External(database, name) | Owner::Graph(database, name) => {
                format!("[{}].[{name}]", database.name())
            }
        }
    }

    /// The names of what inherits the policy, as a JSON list.
    fn children(&self, request: &Request<'_>) -> String {
        let names: Vec<&str> = match self {
            Owner::Cluster => request.databases().map(|database| database.name()).collect(),
            Owner::Database(database) => request.tables(database).map(|table| table.name()).collect(),
            _ => return String::new(),
        };
        Value::from(names).to_string()
    }

    /// The property of a cluster, database or table.
    fn property(&self) -> Option<PropertyOwner> {
        match self {
            Owner::Cluster => Some(PropertyOwner::Cluster),
            Owner::Database(database) => Some(PropertyOwner::Database(database.id())),
            Owner::Table(_, table) => Some(PropertyOwner::Table(table.id())),
            _ => None,
        }
    }

    /// The policy as the catalog has it.
    fn stored(&self, request: &Request<'_>, kind: PolicyKind) -> Option<Value> {
        let snapshot = &request.snapshot;
        if let Some(owner) = self.property() {
            return snapshot.property(&policies::key(owner, kind)).cloned();
        }
        match self {
            Owner::Column { table, at_rest, .. } => {
                snapshot.property(&policies::column_key(table, kind))?.get(at_rest).cloned()
            }
            Owner::View(database, name) => {
                stored::find::<StoredView>(snapshot, database, name)?.policies.remove(kind.word())
            }
            Owner::External(database, name) => {
                stored::find::<StoredExternal>(snapshot, database, name)?.policies.remove(kind.word())
            }
            Owner::Graph(database, name) => {
                stored::find::<StoredGraph>(snapshot, database, name)?.policies.remove(kind.word())
            }
            Owner::Cluster | Owner::Database(_) | Owner::Table(..) => None,
        }
    }

    /// The step that stores a policy, if nobody has changed it meanwhile.
    fn edit(
        &self,
        request: &Request<'_>,
        kind: PolicyKind,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Result<PropertyEdit> {
        let expect = |value: Option<Value>| value.map_or(Expect::Absent, Expect::Value);
        if let Some(owner) = self.property() {
            return Ok(PropertyEdit { key: policies::key(owner, kind), expect: expect(old), value: new });
        }
        let put = |policies: &BTreeMap<String, Value>| {
            let mut policies = policies.clone();
            match &new {
                Some(value) => policies.insert(kind.word().to_string(), value.clone()),
                None => policies.remove(kind.word()),
            };
            policies
        };
        let snapshot = &request.snapshot;
        match self {
            Owner::View(database, name) => {
                let old: StoredView = stored::found(snapshot, database, name)?;
                let new = StoredView { policies: put(&old.policies), ..old.clone() };
                stored::edit(database, name, Some(&old), Some(&new))
            }
            Owner::External(database, name) => {
                let old: StoredExternal = stored::found(snapshot, database, name)?;
                let new = StoredExternal { policies: put(&old.policies), ..old.clone() };
                stored::edit(database, name, Some(&old), Some(&new))
            }
            Owner::Graph(database, name) => {
                let old: StoredGraph = stored::found(snapshot, database, name)?;
                let new = StoredGraph { policies: put(&old.policies), ..old.clone() };
                stored::edit(database, name, Some(&old), Some(&new))
            }
            Owner::Column { table, at_rest, .. } => {
                let key: PropertyKey = policies::column_key(table, kind);
                let old = snapshot.property(&key).cloned();
                let mut columns = old.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
                match new {
                    Some(value) => columns.insert(at_rest.clone(), value),
                    None => columns.remove(at_rest),
                };
                let value = if columns.is_empty() { None } else { Some(Value::Object(columns)) };
                Ok(PropertyEdit { key, expect: expect(old), value })
            }
            Owner::Cluster | Owner::Database(_) | Owner::Table(..) => {
                Err(Error::internal("a policy has no place in the catalog"))
            }
        }
    }
}

fn show(request: &Request<'_>, kind: PolicyKind, owners: &[Owner]) -> Result<ResultTable> {
    let mut out = TableBuilder::new(POLICY);
    for owner in owners {
        let value = owner.stored(request, kind).or_else(|| default_of(kind, owner));
        out.row(vec![
            kind.policy_name().into(),
            owner.entity_name().into(),
            policies::shown(kind, value.as_ref()).into(),
            owner.children(request).into(),
            owner.entity_type().into(),
        ]);
    }
    out.finish()
}

/// What an entity has without anybody having set it. Source: the merge, sharding and callout policy pages.
fn default_of(kind: PolicyKind, owner: &Owner) -> Option<Value> {
    match (kind, owner) {
        (PolicyKind::Merge, Owner::Database(_)) => serde_json::to_value(MergePolicy::default()).ok(),
        (PolicyKind::Sharding, Owner::Database(_)) => serde_json::to_value(ShardingPolicy::default()).ok(),
        (PolicyKind::Callout, Owner::Cluster) => Some(Value::Array(Vec::new())),
        _ => None,
    }
}

async fn edit(request: &Request<'_>, command: &PolicyCommand, owner: &Owner) -> Result<(PropertyEdit, Option<Value>)> {
    let old = owner.stored(request, command.kind);
    if command.verb == PolicyVerb::Delete {
        return Ok((owner.edit(request, command.kind, old, None)?, None));
    }
    let given = Given {
        verb: command.verb,
        kind: command.kind,
        value: &command.value,
        table: match owner {
            Owner::Table(_, table) => Some(table),
            _ => None,
        },
        is_database: matches!(owner, Owner::Database(_)),
        now: request.context.now_ticks,
    };
    // What a merge does not name stays as it holds now, be it by default.
    let base = old.clone().or_else(|| default_of(command.kind, owner));
    let new = policies::changed(&given, base.as_ref())?;
    check_together(request, command.kind, owner, new.as_ref())?;
    if command.kind == PolicyKind::RowLevelSecurity {
        check_rows(request, command, owner, new.as_ref()).await?;
    }
    if command.kind == PolicyKind::Update
        && let (Owner::Table(_, table), Some(policy)) = (owner, new.as_ref().and_then(policies::parsed::<UpdatePolicy>))
    {
        updates::check(request.service, request.context, request.mark, &request.snapshot, table, &policy).await?;
    }
    Ok((owner.edit(request, command.kind, old, new.clone())?, new))
}

async fn check_rows(request: &Request<'_>, command: &PolicyCommand, owner: &Owner, new: Option<&Value>) -> Result<()> {
    let secured = match owner {
        Owner::Table(database, table) => Secured::Table(database, table),
        Owner::View(database, name) => Secured::View(database, name),
        // Source: row-level-security-policy page, limitations.
        _ => return Err(Error::bad_request("an external table cannot have a row level security policy")),
    };
    let allows_views = matches!(command.value, PolicyValue::RowLevelSecurity { allows_views: true, .. });
    match new.map(policies::parsed::<RowLevelSecurityPolicy>) {
        Some(Some(policy)) => row_security::check(request, &secured, &policy, allows_views).await,
        _ => Ok(()),
    }
}

/// Policies that exclude each other. Source: restricted view access policy page, limitations.
fn check_together(request: &Request<'_>, kind: PolicyKind, owner: &Owner, new: Option<&Value>) -> Result<()> {
    let Owner::Table(database, table) = owner else { return Ok(()) };
    let (snapshot, id) = (&request.snapshot, PropertyOwner::Table(table.id()));
    let clash = match kind {
        PolicyKind::RestrictedViewAccess => {
            let is_on = new.and_then(Value::as_bool) == Some(true);
            let is_source = |(_, view): &(String, StoredView)| view.source == table.id();
            if is_on
                && let Some((view, _)) = stored::all::<StoredView>(snapshot, database).iter().find(|it| is_source(it))
            {
                return Err(Error::bad_request(format!(
                    "table '{}' cannot have a restricted view access policy: it is the source of the materialized view '{view}'",
                    table.name()
                )));
            }
            is_on && policies::own::<RowLevelSecurityPolicy>(snapshot, id).is_some_and(|policy| policy.is_enabled)
        }
        PolicyKind::RowLevelSecurity => {
            new.and_then(|value| value["IsEnabled"].as_bool()) == Some(true)
                && policies::own::<RestrictedViewAccessPolicy>(snapshot, id).is_some_and(|policy| policy.0)
        }
        _ => false,
    };
    if clash {
        return Err(Error::bad_request(format!(
            "table '{}' cannot have both a row level security policy and a restricted view access policy",
            table.name()
        )));
    }
    Ok(())
}
