//! Small appends: rows that arrive for one table at the same time share a file, its syncs and a commit.
//!
//! While one request writes, the others queue; whoever gets the table next writes for all that wait. Nobody waits for
//! company, so a lone request is as fast as it can be, and many are answered together.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::catalog::commit::{Commit, Committed};
use crate::catalog::plan;
use crate::error::Result;
use crate::id::TableId;
use crate::store::Store;

/// The queues of all tables that are being appended to.
#[derive(Default)]
pub(crate) struct Appends {
    tables: Mutex<HashMap<TableId, Arc<Queue>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<Arc<Append>>>,
    /// Held by whoever writes.
    writing: Mutex<()>,
}

struct Append {
    rows: Mutex<Option<RecordBatch>>,
    outcome: Mutex<Option<Result<Committed>>>,
}

/// Appends rows and returns when they are durable. Blocks.
pub(crate) fn append(store: &Store, appends: &Appends, table: TableId, rows: RecordBatch) -> Result<Committed> {
    let queue = Arc::clone(appends.tables.lock().entry(table).or_default());
    let append = Arc::new(Append { rows: Mutex::new(Some(rows)), outcome: Mutex::new(None) });
    queue.waiting.lock().push(Arc::clone(&append));
    let outcome = {
        let _turn = queue.writing.lock();
        let own = append.outcome.lock().take();
        match own {
            Some(outcome) => outcome,
            None => {
                let batch = std::mem::take(&mut *queue.waiting.lock());
                write_all(store, table, &batch);
                append.outcome.lock().take().unwrap_or(Err(crate::Error::Stopped))
            }
        }
    };
    // Nobody queues any more: forget the table.
    let mut tables = appends.tables.lock();
    if Arc::strong_count(&queue) == 2 {
        tables.remove(&table);
    }
    outcome
}

fn write_all(store: &Store, table: TableId, batch: &[Arc<Append>]) {
    let mut written: Vec<&Arc<Append>> = Vec::with_capacity(batch.len());
    let result = write_rows(store, table, batch, &mut written);
    match result {
        Ok(committed) => {
            for append in written {
                *append.outcome.lock() = Some(Ok(committed.clone()));
            }
        }
        Err(error) => {
            let open = batch.iter().filter(|append| append.outcome.lock().is_none());
            for append in open {
                *append.outcome.lock() = Some(Err(error.copy()));
            }
        }
    }
}

fn write_rows<'b>(
    store: &Store,
    table: TableId,
    batch: &'b [Arc<Append>],
    written: &mut Vec<&'b Arc<Append>>,
) -> Result<Committed> {
    let snapshot = store.snapshot();
    let mut writer = store.writer(&plan::table(&snapshot, table)?.target());
    for append in batch {
        let Some(rows) = append.rows.lock().take() else { continue };
        // Rows that do not fit are their sender's mistake alone.
        match writer.check(&rows) {
            Ok(()) => {
                writer.write(rows)?;
                written.push(append);
            }
            Err(error) => *append.outcome.lock() = Some(Err(error)),
        }
    }
    store.commit_blocking(Commit::new().add_all(writer.finish()?, &[]))
}
