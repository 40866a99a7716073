//! Policies: what they are, where the catalog keeps them, which of them holds for what.
//!
//! A policy of a cluster, database or table is a property of kind `policy` whose name is the word that commands use
//! (`retention`, `row_level_security`). Those of a table's columns stand in one property per kind, by the column's name at
//! rest, which renames do not change. Materialized views, external tables and graph models carry theirs in their own
//! entity, so that they follow renames and go with it. A table without a policy has its database's; one of the database
//! falls back to the cluster's.

mod edit;
mod kinds;
mod upkeep;
mod values;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidewater_kql::command::PolicyKind;
use tidewater_store::{Database, PropertyKey, PropertyOwner, Snapshot, Table};

pub(crate) use edit::{Given, changed};
pub(crate) use kinds::*;
pub(crate) use upkeep::run as remove_what_is_old;
pub(crate) use values::{Moment, Period};

/// The kind of the properties that hold policies.
const PROPERTY: &str = "policy";
/// The kind of those that hold the policies of a table's columns.
const COLUMN_PROPERTY: &str = "column policy";

/// A kind of policy with a type of its own.
pub(crate) trait Policy: Serialize + DeserializeOwned {
    /// Which.
    const KIND: PolicyKind;
}

/// The property of a policy.
pub(crate) fn key(owner: PropertyOwner, kind: PolicyKind) -> PropertyKey {
    PropertyKey { owner, kind: PROPERTY.to_string(), name: kind.word().to_string() }
}

/// The property that holds the policies of a kind of all columns of a table.
pub(crate) fn column_key(table: &Table, kind: PolicyKind) -> PropertyKey {
    let owner = PropertyOwner::Table(table.id());
    PropertyKey { owner, kind: COLUMN_PROPERTY.to_string(), name: kind.word().to_string() }
}

/// A policy as its owner has it: what others pass on to it is not asked.
pub(crate) fn own<P: Policy>(snapshot: &Snapshot, owner: PropertyOwner) -> Option<P> {
    parsed(snapshot.property(&key(owner, P::KIND))?)
}

/// A stored policy. One that cannot be read is told in the log and taken for absent.
pub(crate) fn parsed<P: Policy>(value: &Value) -> Option<P> {
    match P::deserialize(value) {
        Ok(policy) => Some(policy),
        Err(error) => {
            tracing::error!(%error, kind = P::KIND.word(), "a policy of the catalog cannot be read");
            None
        }
    }
}

/// The policy that holds for a database: its own or the cluster's.
pub(crate) fn of_database<P: Policy>(snapshot: &Snapshot, database: &Database) -> Option<P> {
    own(snapshot, PropertyOwner::Database(database.id())).or_else(|| own(snapshot, PropertyOwner::Cluster))
}

/// The policy that holds for a table: its own, its database's, or the cluster's.
pub(crate) fn of_table<P: Policy>(snapshot: &Snapshot, table: &Table) -> Option<P> {
    own(snapshot, PropertyOwner::Table(table.id()))
        .or_else(|| own(snapshot, PropertyOwner::Database(table.database_id())))
        .or_else(|| own(snapshot, PropertyOwner::Cluster))
}

/// A policy as answers show it.
pub(crate) fn shown(kind: PolicyKind, value: Option<&Value>) -> String {
    match value {
        None => "null".to_string(),
        Some(value) if kind == PolicyKind::RowOrder => match RowOrderPolicy::deserialize_value(value) {
            Some(policy) => policy.text(),
            None => value.to_string(),
        },
        Some(value) => value.to_string(),
    }
}

/// The same of a typed policy that may be absent.
pub(crate) fn text<P: Policy>(policy: Option<P>) -> String {
    let value = policy.and_then(|policy| serde_json::to_value(policy).ok());
    shown(P::KIND, value.as_ref())
}
