//! Work that nobody asks for: merging the small extents that many small ingestions leave.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewater_store::{Store, TableId};

/// A table with more small extents than this is merged.
const MAX_SMALL_EXTENTS: usize = 32;
/// Extents below this many rows are small.
const SMALL_ROWS: u64 = 250_000;

/// Which tables are being merged.
#[derive(Clone, Default)]
pub struct Maintenance {
    busy: Arc<Mutex<HashSet<TableId>>>,
}

impl Maintenance {
    /// Looks at a table that has just grown, and merges it in the background when it has many small extents.
    pub fn after_ingestion(&self, store: &Store, table: TableId, runtime: &tokio::runtime::Handle) {
        let snapshot = store.snapshot();
        let Some(known) = snapshot.table_by_id(table) else { return };
        let small = known.extents().iter().filter(|extent| extent.rows() < SMALL_ROWS).count();
        if small <= MAX_SMALL_EXTENTS || !self.busy.lock().insert(table) {
            return;
        }
        let (store, busy) = (store.clone(), Arc::clone(&self.busy));
        runtime.spawn(async move {
            if let Err(error) = store.merge_table(table).await {
                tracing::warn!(%error, table = %table, "extents could not be merged");
            }
            busy.lock().remove(&table);
        });
    }
}

/// The machine's memory and what of it is available; `None` where the system does not tell.
pub fn machine_memory_bytes() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}
