//! Tables that were dropped: kept while their retention policy lets them be brought back. Source: undo-drop-table and
//! retention policy pages.

use tidewater_kql::KqlType;
use tidewater_kql::ast::Name;
use tidewater_kql::value::timespan::TICKS_PER_DAY;
use tidewater_store::{Database, Snapshot, Store, Table, TableId};

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::policies::{self, Recoverability, RetentionPolicy};
use crate::stored::{self, StoredView};
use crate::table::{Columns, TableBuilder};

/// How long a dropped table can be brought back. Source: retention policy page, "Recoverability".
const KEPT: i64 = 14 * TICKS_PER_DAY;

const RECOVERED: Columns = &[
    ("ExtentId", KqlType::Guid),
    ("NumberOfRecords", KqlType::Long),
    ("Status", KqlType::String),
    ("FailureReason", KqlType::String),
];

/// Drops tables, those that can be brought back in such a way that they can.
pub(super) async fn drop_tables(request: &Request<'_>, database: &Database, ids: Vec<TableId>) -> Result<()> {
    let (snapshot, store) = (&request.snapshot, request.service.store());
    let stays = |id: &TableId| snapshot.table_by_id(*id).is_some_and(|table| is_recoverable(snapshot, database, table));
    let (kept, gone): (Vec<TableId>, Vec<TableId>) = ids.into_iter().partition(stays);
    if !kept.is_empty() {
        store.retire_tables(kept).await?;
    }
    if !gone.is_empty() {
        store.drop_tables(gone).await?;
    }
    Ok(())
}

/// What nobody can have back is not kept: tables whose policy says so, and sources of views, which would go on to live.
fn is_recoverable(snapshot: &Snapshot, database: &Database, table: &Table) -> bool {
    let policy = policies::of_table::<RetentionPolicy>(snapshot, table).unwrap_or_default();
    policy.recoverability == Recoverability::Enabled
        && !stored::all::<StoredView>(snapshot, database).iter().any(|(_, view)| view.source == table.id())
}

/// Removes dropped tables that nobody can bring back any more.
pub(crate) async fn remove_old(store: &Store) {
    let snapshot = store.snapshot();
    let before = store.now().saturating_sub(KEPT);
    for database in snapshot.databases() {
        for table in snapshot.dropped_tables(database).into_iter().filter(|table| table.dropped < before) {
            if let Err(error) = store.drop_table(table.id).await {
                tracing::debug!(%error, table = table.name, "a dropped table waits for the next round");
            }
        }
    }
}

/// The commit that a version names: `v24.3` or `24.3`.
fn sequence_of(version: &str) -> Option<u64> {
    let text = version.trim().trim_start_matches(['v', 'V']);
    text.split('.').next()?.parse().ok()
}

/// `.undo drop table T [as N] version="v1.2"`
pub(super) async fn undo(
    request: &Request<'_>,
    table: &Name,
    new_name: Option<&Name>,
    version: &str,
) -> Result<ResultTable> {
    let database = request.database()?;
    let wanted = sequence_of(version)
        .ok_or_else(|| Error::bad_request(format!("'{version}' is no version of a database; 'v12.3' is expected")))?;
    let tables = request.snapshot.dropped_tables(database).into_iter();
    // Of several of one name the last one.
    let Some(found) = tables.filter(|dropped| dropped.name == table.text).max_by_key(|dropped| dropped.sequence) else {
        return Err(Error::bad_request(format!(
            "table '{}' was not dropped from database '{}', or can not be brought back any more",
            table.text,
            database.name()
        )));
    };
    if wanted >= found.sequence {
        return Err(Error::bad_request(format!(
            "table '{}' was dropped before version '{version}'; the version before it was dropped is expected, which \
             '.show database journal' tells",
            table.text
        )));
    }
    let name = new_name.unwrap_or(table);
    stored::name_is_free(&request.snapshot, database, &name.text, "table")?;
    let restored = request.service.store().restore_table(found.id, &name.text).await?;
    let mut out = TableBuilder::new(RECOVERED);
    for extent in restored.extents().iter() {
        out.row(vec![extent.id().0.into(), extent.rows().into(), "Recovered".into(), "".into()]);
    }
    out.finish()
}
