//! Entities that the catalog keeps as JSON beside a database's tables and functions.
//!
//! Each kind is a property of its database, so every change of one is a transaction of the store and survives a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidewater_plan::ExternalSource;
use tidewater_store::{
    COMPANION, Database, Expect, PropertyEdit, PropertyKey, PropertyOwner, Snapshot, Table, TableId,
};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::views::ViewPlan;

/// A kind of entity.
pub(crate) trait Entity: Serialize + DeserializeOwned {
    /// The property's kind in the catalog.
    const KIND: &'static str;
    /// What messages call it.
    const NOUN: &'static str;
}

/// An external table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredExternal {
    pub folder: String,
    pub docstring: String,
    pub source: ExternalSource,
    #[serde(default)]
    pub mappings: BTreeMap<String, StoredMapping>,
    /// Policies by the words of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, serde_json::Value>,
}

/// A mapping of an external table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredMapping {
    pub text: String,
    pub updated: i64,
}

impl Entity for StoredExternal {
    const KIND: &'static str = "external table";
    const NOUN: &'static str = "ExternalTable";
}

/// An entity group: its entities as texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredGroup {
    pub entities: Vec<String>,
}

impl Entity for StoredGroup {
    const KIND: &'static str = "entity group";
    const NOUN: &'static str = "EntityGroup";
}

/// A stored query result; its rows are an internal table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredQueryResult {
    pub id: Uuid,
    pub table: TableId,
    pub principal: String,
    pub created: i64,
    pub expires: i64,
}

impl Entity for StoredQueryResult {
    const KIND: &'static str = "stored query result";
    const NOUN: &'static str = "StoredQueryResult";
}

/// A graph model with all its versions, oldest first, and its snapshots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredGraph {
    pub versions: Vec<GraphModelVersion>,
    #[serde(default)]
    pub snapshots: Vec<GraphSnapshot>,
    /// Policies by the words of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, serde_json::Value>,
}

/// A version of a graph model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GraphModelVersion {
    pub id: Uuid,
    pub created: i64,
    pub model: String,
}

/// A snapshot: an internal table per step of the model's version it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GraphSnapshot {
    pub name: String,
    pub created: i64,
    pub version: Uuid,
    pub tables: Vec<TableId>,
    pub nodes: u64,
    pub edges: u64,
}

impl Entity for StoredGraph {
    const KIND: &'static str = "graph model";
    const NOUN: &'static str = "GraphModel";
}

impl StoredGraph {
    /// The newest version.
    pub fn latest(&self) -> Option<&GraphModelVersion> {
        self.versions.last()
    }

    /// The version of a snapshot.
    pub fn version(&self, id: Uuid) -> Option<&GraphModelVersion> {
        self.versions.iter().find(|version| version.id == id)
    }
}

/// A materialized view. Its materialized part is an internal table of partial aggregates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredView {
    /// The source table.
    pub source: TableId,
    /// Its name when the view was defined, which the query uses.
    pub source_name: String,
    /// The text between the braces.
    pub query: String,
    /// The query in parts.
    pub plan: ViewPlan,
    #[serde(default)]
    pub folder: String,
    #[serde(default)]
    pub docstring: String,
    pub auto_update: bool,
    /// Ticks.
    pub lookback: Option<i64>,
    #[serde(default)]
    pub lookback_column: String,
    #[serde(default)]
    pub dimension_tables: Vec<String>,
    /// Records that came before this time are not in the view.
    pub effective: Option<i64>,
    pub enabled: bool,
    /// The internal table; none before something has been materialized.
    pub table: Option<TableId>,
    /// Everything of the source before this place in history is in the materialized part, or is not of the view.
    pub cursor: i64,
    /// Ticks of the last run, 0 for never.
    #[serde(default)]
    pub last_run: i64,
    /// The newest ingestion that is materialized, 0 for none.
    #[serde(default)]
    pub materialized_to: i64,
    /// What was wrong with the last run, if it failed.
    #[serde(default)]
    pub failure: Option<String>,
    /// Ticks of that failure.
    #[serde(default)]
    pub failed: i64,
    /// Policies by the words of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, serde_json::Value>,
}

impl Entity for StoredView {
    const KIND: &'static str = "materialized view";
    const NOUN: &'static str = "MaterializedView";
}

/// The property of an entity.
pub(crate) fn key<E: Entity>(database: &Database, name: &str) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Database(database.id()), kind: E::KIND.to_string(), name: name.to_string() }
}

/// An entity by its exact name. One that cannot be read is told in the log and taken for absent.
pub(crate) fn find<E: Entity>(snapshot: &Snapshot, database: &Database, name: &str) -> Option<E> {
    let value = snapshot.property(&key::<E>(database, name))?;
    match E::deserialize(value) {
        Ok(entity) => Some(entity),
        Err(error) => {
            tracing::error!(%error, kind = E::KIND, name, "an entity of the catalog cannot be read");
            None
        }
    }
}

/// An entity that a command names.
pub(crate) fn found<E: Entity>(snapshot: &Snapshot, database: &Database, name: &str) -> Result<E> {
    find(snapshot, database, name).ok_or_else(|| Error::entity_not_found(E::NOUN, name))
}

/// All entities of a kind, by name.
pub(crate) fn all<E: Entity>(snapshot: &Snapshot, database: &Database) -> Vec<(String, E)> {
    let owner = PropertyOwner::Database(database.id());
    let names = snapshot.properties(owner, E::KIND).map(|(name, _)| name.to_string());
    names.filter_map(|name| find(snapshot, database, &name).map(|entity| (name, entity))).collect()
}

/// The names of a kind.
pub(crate) fn names<E: Entity>(snapshot: &Snapshot, database: &Database) -> Vec<String> {
    let owner = PropertyOwner::Database(database.id());
    snapshot.properties(owner, E::KIND).map(|(name, _)| name.to_string()).collect()
}

/// The JSON of an entity.
pub(crate) fn json<E: Entity>(entity: &E) -> Result<serde_json::Value> {
    serde_json::to_value(entity).map_err(|error| Error::internal(format!("an entity cannot be stored: {error}")))
}

/// A step that writes an entity: over `old` if there is one, and only while it is as it was.
pub(crate) fn edit<E: Entity>(
    database: &Database,
    name: &str,
    old: Option<&E>,
    new: Option<&E>,
) -> Result<PropertyEdit> {
    let expect = match old {
        Some(old) => Expect::Value(json(old)?),
        None => Expect::Absent,
    };
    Ok(PropertyEdit { key: key::<E>(database, name), expect, value: new.map(json).transpose()? })
}

/// Steps that give what belongs to an entity to its new name.
pub(crate) fn moved_companions(
    snapshot: &Snapshot,
    database: &Database,
    kind: &str,
    from: &str,
    to: &str,
) -> Vec<PropertyEdit> {
    let ending = format!("{COMPANION}{kind}");
    let owner = PropertyOwner::Database(database.id());
    let keys = snapshot.keys_of(owner).filter(|key| key.name == from && key.kind.ends_with(&ending));
    keys.map(|key| PropertyEdit {
        key: PropertyKey { name: to.to_string(), ..key.clone() },
        expect: Expect::Anything,
        value: snapshot.property(key).cloned(),
    })
    .collect()
}

/// Refuses a name that a table, function or other entity of the database has. `of` is the kind that asks.
pub(crate) fn name_is_free(snapshot: &Snapshot, database: &Database, name: &str, of: &str) -> Result<()> {
    // A function may have the name of a table, which it hides.
    if of != "function" && database.table(name).is_some() {
        return Err(Error::entity_exists("Table", name));
    }
    if ![StoredExternal::KIND, "function"].contains(&of) && database.function(name).is_some() {
        return Err(Error::entity_exists("Function", name));
    }
    if ![StoredExternal::KIND, "function"].contains(&of) && find::<StoredExternal>(snapshot, database, name).is_some() {
        return Err(Error::entity_exists(StoredExternal::NOUN, name));
    }
    if of != StoredView::KIND && find::<StoredView>(snapshot, database, name).is_some() {
        return Err(Error::entity_exists(StoredView::NOUN, name));
    }
    Ok(())
}

/// The internal table of an entity.
pub(crate) fn rows_of(snapshot: &Snapshot, table: TableId) -> Option<&Arc<Table>> {
    snapshot.table_by_id(table)
}
