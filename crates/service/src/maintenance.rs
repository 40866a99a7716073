//! Work that nobody asks for: merging the small extents that many small ingestions leave.
//!
//! One task of the server goes round its tables every few seconds, and at once when an ingestion has left a table with
//! many small extents. What a table's merge policy does not allow is left alone. Each merge is a commit of its own and an
//! operation in the journal; one that is cut short by a shutdown or a failure has changed nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_store::{ExtentId, MergeRules, Store, TableId};
use tokio::sync::Notify;

use crate::context::Context;
use crate::error::Error;
use crate::journal::Sort;
use crate::policies::{self, CachingPolicy, LookbackKind, MergePolicy, Period};
use crate::service::Service;
use crate::workload::capacity::Resource;

/// A table with more small extents than this is looked at without delay.
const MAX_SMALL_EXTENTS: usize = 32;
/// Extents below this many rows are small.
const SMALL_ROWS: u64 = 250_000;
/// How often all tables are looked at.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a table whose merge has failed is left alone.
const PATIENCE: Duration = Duration::from_secs(60);
/// The program that journals name for what the server does by itself.
const APPLICATION: &str = "Tidewater.Maintenance";

/// What ingestions tell the task that merges.
#[derive(Clone, Default)]
pub struct Maintenance {
    wanted: Arc<Notify>,
}

impl Maintenance {
    /// Looks at a table that has just grown, and has it merged in the background when it has many small extents.
    pub fn after_ingestion(&self, store: &Store, table: TableId) {
        let snapshot = store.snapshot();
        let Some(known) = snapshot.table_by_id(table) else { return };
        let small = known.extents().iter().filter(|extent| extent.rows() < SMALL_ROWS).count();
        if small > MAX_SMALL_EXTENTS {
            self.wanted.notify_one();
        }
    }
}

impl Service {
    /// Merges what is worth it until the service stops or nobody holds it.
    pub(crate) fn start_merging(&self) {
        let (service, stop) = (self.downgrade(), self.stop_token().clone());
        let wanted = Arc::clone(&self.inner().maintenance.wanted);
        self.spawn(async move {
            let mut failed: HashMap<TableId, Instant> = HashMap::new();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = wanted.notified() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                let Some(service) = service.upgrade() else { return };
                // A merge that is dropped leaves nothing: what it has written goes with its writer.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = service.merge_round(&mut failed) => {}
                }
            }
        });
    }

    /// Merges what has become worth it in all tables.
    async fn merge_round(&self, failed: &mut HashMap<TableId, Instant>) {
        failed.retain(|_, since| since.elapsed() < PATIENCE);
        let snapshot = self.store().snapshot();
        let places: Vec<(String, TableId, String)> = snapshot
            .databases()
            .flat_map(|database| {
                let tables = database.stored_tables();
                tables.map(|table| (database.name().to_string(), table.id(), table.name().to_string()))
            })
            .collect();
        drop(snapshot);
        for (database, table, name) in places {
            if failed.contains_key(&table) {
                continue;
            }
            let Some(rules) = merge_rules(self.store(), table) else { continue };
            for group in self.store().due_merges(table, &rules) {
                if let Err(error) = self.merge_group(&database, &name, table, &group).await {
                    tracing::warn!(%error, table = name, "extents could not be merged");
                    failed.insert(table, Instant::now());
                    break;
                }
            }
        }
    }

    /// One merge as an operation of the journal.
    async fn merge_group(&self, database: &str, name: &str, table: TableId, group: &[ExtentId]) -> Result<(), Error> {
        let mut context = Context::new(database);
        context.application = APPLICATION.to_string();
        context.cancel = self.stop_token().child_token();
        let ids: Vec<String> = group.iter().map(ToString::to_string).collect();
        let text = format!(".merge ['{}'] ({})", name.replace('\'', "\\'"), ids.join(", "));
        let mark = self.inner().journal.begin(Sort::Command("ExtentsMerge"), &context, &text);
        let _counted = self.inner().consumed.begin(Resource::ExtentsMerge);
        let cancel = context.cancel.clone();
        let merged = tokio::select! {
            () = cancel.cancelled() => Err(Error::cancelled(None)),
            merged = self.store().merge_extents(table, group) => merged.map_err(Error::from),
        };
        match merged {
            Ok(report) => {
                metrics::counter!("tidewater_merged_extents_total").increment(report.merged.len() as u64);
                metrics::counter!("tidewater_merged_rows_total").increment(report.rows);
                Ok(())
            }
            Err(error) => {
                mark.fail(&error);
                Err(error)
            }
        }
    }
}

/// What the table's merge policy allows, or that of every table without one; `None` when it allows no merges.
fn merge_rules(store: &Store, table: TableId) -> Option<MergeRules> {
    let snapshot = store.snapshot();
    let table = snapshot.table_by_id(table)?;
    let policy = policies::of_table::<MergePolicy>(&snapshot, table).unwrap_or_default();
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
    // Every merge writes the rows again, as a rebuild does: one of the two allows it.
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
