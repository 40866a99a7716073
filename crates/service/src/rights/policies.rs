//! Policies that narrow what a role may read: `restricted_view_access` and `row_level_security`.
//!
//! They are properties of kind `policy` of their table. Source: restricted-view-access-policy and
//! row-level-security-policy pages.

use tidewater_store::{PropertyKey, PropertyOwner, Snapshot, Table};

const KIND: &str = "policy";
const RESTRICTED_VIEW_ACCESS: &str = "restricted_view_access";

/// The key of a table's policy.
fn key(table: &Table, name: &str) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Table(table.id()), kind: KIND.to_string(), name: name.to_string() }
}

/// Whether only unrestricted viewers may read a table.
pub fn is_restricted(snapshot: &Snapshot, table: &Table) -> bool {
    snapshot.property(&key(table, RESTRICTED_VIEW_ACCESS)).is_some_and(|value| value.as_bool() != Some(false))
}
