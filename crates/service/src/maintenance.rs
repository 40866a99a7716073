//! Work that nobody asks for: merging the small extents that many small ingestions leave.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewater_store::{MergeRules, Store, TableId};

use crate::policies::{self, CachingPolicy, LookbackKind, MergePolicy, Period};

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
            let rules = merge_rules(&store, table);
            let merged = match &rules {
                Some(rules) => store.merge_table_by(table, rules).await.map(drop),
                None => Ok(()),
            };
            if let Err(error) = merged {
                tracing::warn!(%error, table = %table, "extents could not be merged");
            }
            busy.lock().remove(&table);
        });
    }
}

/// What the table's merge policy allows; `None` when it allows no merges. A table without a policy is merged freely.
fn merge_rules(store: &Store, table: TableId) -> Option<MergeRules> {
    let snapshot = store.snapshot();
    let table = snapshot.table_by_id(table)?;
    let Some(policy) = policies::of_table::<MergePolicy>(&snapshot, table) else { return Some(MergeRules::default()) };
    let now = store.now();
    let since = match policy.lookback.kind {
        LookbackKind::Default => now.saturating_sub(Period::days(14).0),
        LookbackKind::All => i64::MIN,
        LookbackKind::HotCache => match policies::of_table::<CachingPolicy>(&snapshot, table) {
            Some(caching) => now.saturating_sub(caching.data_hot_span.value.0),
            None => i64::MIN,
        },
        LookbackKind::Custom => now.saturating_sub(policy.lookback.custom_period.map_or(i64::MAX, |period| period.0)),
    };
    (policy.allow_merge || policy.allow_rebuild).then(|| MergeRules {
        rows: policy.row_count_upper_bound_for_merge,
        original_bytes: policy.original_size_mb_upper_bound_for_merge.saturating_mul(1 << 20),
        extents: usize::try_from(policy.max_extents_to_merge).unwrap_or(usize::MAX).max(1),
        range: i64::try_from(policy.max_range_in_hours)
            .unwrap_or(i64::MAX)
            .saturating_mul(tidewater_kql::value::timespan::TICKS_PER_HOUR),
        since,
    })
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
