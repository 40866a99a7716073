//! Tables that were dropped and can be brought back: internal tables under a name of their own, with a property that
//! tells what they were.

use serde_json::json;

use super::plan::{self, Draft};
use super::snapshot::{Database, Snapshot, Table};
use super::{Change, PropertyKey, PropertyOwner, TableRow};
use crate::error::{Entity, Error, Result};
use crate::id::TableId;
use crate::store::Store;

/// The property's kind.
const KIND: &str = "dropped";

/// A dropped table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTable {
    /// Its id.
    pub id: TableId,
    /// The name that it had.
    pub name: String,
    /// When it was dropped, in ticks.
    pub dropped: i64,
    /// The commit that dropped it.
    pub sequence: u64,
}

fn key(id: TableId) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Table(id), kind: KIND.to_string(), name: String::new() }
}

impl Snapshot {
    /// What a table was before it was dropped; `None` for one that was not.
    pub fn dropped_table(&self, id: TableId) -> Option<DroppedTable> {
        let value = self.property(&key(id))?;
        Some(DroppedTable {
            id,
            name: value.get("name")?.as_str()?.to_string(),
            dropped: value.get("dropped")?.as_i64()?,
            sequence: value.get("sequence")?.as_u64()?,
        })
    }

    /// The dropped tables of a database that can be brought back.
    pub fn dropped_tables(&self, database: &Database) -> Vec<DroppedTable> {
        let tables = database.stored_tables().filter(|table| table.row().internal);
        tables.filter_map(|table| self.dropped_table(table.id())).collect()
    }
}

impl Store {
    /// Drops tables so that [`Store::restore_table`] can bring them back.
    pub async fn retire_tables(&self, ids: Vec<TableId>) -> Result<()> {
        self.change(move |snapshot, draft| retire(snapshot, draft, &ids)).await.map(drop)
    }

    /// Brings a dropped table back under a name that is free.
    pub async fn restore_table(&self, id: TableId, name: &str) -> Result<std::sync::Arc<Table>> {
        let name = name.to_string();
        let ((), snapshot) = self.change(move |snapshot, draft| restore(snapshot, draft, id, &name)).await?;
        plan::table(&snapshot, id).cloned()
    }
}

fn retire(snapshot: &Snapshot, draft: &mut Draft, ids: &[TableId]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for id in ids.iter().filter(|id| seen.insert(**id)) {
        let table = plan::table(snapshot, *id)?;
        if table.row().internal {
            return Err(Error::not_found(Entity::Table, id));
        }
        let value = json!({ "name": table.name(), "dropped": draft.now, "sequence": draft.sequence });
        let row = TableRow { name: format!("$dropped {id}"), internal: true, ..table.row().clone() };
        draft.changes.push(Change::PutTable(row));
        draft.changes.push(Change::PutProperty { key: key(*id), value });
    }
    Ok(())
}

fn restore(snapshot: &Snapshot, draft: &mut Draft, id: TableId, name: &str) -> Result<()> {
    let table = plan::table(snapshot, id)?;
    if snapshot.dropped_table(id).is_none() {
        return Err(Error::not_found(Entity::Table, id));
    }
    plan::check_name(Entity::Table, name)?;
    if plan::database(snapshot, table.database_id())?.table(name).is_some() {
        return Err(Error::exists(Entity::Table, name));
    }
    draft.changes.push(Change::PutTable(TableRow { name: name.to_string(), internal: false, ..table.row().clone() }));
    draft.changes.push(Change::DropProperty(key(id)));
    Ok(())
}
