//! What one request reads: extents and rows of the tables it names, and what of them is looked at.
//!
//! Plans are made deep inside the engine, which hands no word from a request down to a scan. So the request's ledger is
//! known by the thread that plans or runs a part of it, for as long as it does ([`ScanLedger::enter`]).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricValue};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};

use crate::catalog::snapshot::ExtentList;
use crate::id::ExtentId;

thread_local! {
    static CURRENT: RefCell<Option<ScanLedger>> = const { RefCell::new(None) };
}

/// The account of one request. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ScanLedger {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Tables by the identity of their list of extents, which is held so that the address stays theirs.
    tables: Mutex<HashMap<usize, Arc<ExtentList>>>,
    /// Figures of scans, which the engine's copies of a scan share.
    scans: Mutex<Vec<ExecutionPlanMetricsSet>>,
    scanned: Mutex<Scanned>,
    planned_rows: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Scanned {
    extents: HashSet<ExtentId>,
    times: Option<(i64, i64)>,
}

/// The figures of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanTotals {
    /// Extents of all tables that the request reads from.
    pub extents: u64,
    /// Their rows.
    pub rows: u64,
    /// Extents of which data was read.
    pub scanned_extents: u64,
    /// Rows that were looked at.
    pub scanned_rows: u64,
    /// Bytes of data that were read.
    pub scanned_bytes: u64,
    /// When the oldest and the newest of the scanned extents were made, in ticks.
    pub scanned_times: Option<(i64, i64)>,
}

struct Entered(Option<ScanLedger>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl ScanLedger {
    /// Does work whose scans this ledger counts.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _before = Entered(CURRENT.replace(Some(self.clone())));
        work()
    }

    pub(crate) fn current() -> Option<ScanLedger> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Notes a table that is read.
    pub(crate) fn table(&self, list: &Arc<ExtentList>) {
        self.inner.tables.lock().insert(Arc::as_ptr(list) as usize, Arc::clone(list));
    }

    /// Notes a scan of as many rows as planning left.
    pub(crate) fn scan(&self, planned: u64, metrics: &ExecutionPlanMetricsSet) {
        self.inner.planned_rows.fetch_add(planned, Ordering::Relaxed);
        self.inner.scans.lock().push(metrics.clone());
    }

    /// The figures so far.
    pub fn totals(&self) -> ScanTotals {
        let mut totals = ScanTotals::default();
        for list in self.inner.tables.lock().values() {
            totals.extents += list.extents.len() as u64;
            totals.rows += list.extents.iter().map(|extent| extent.rows()).sum::<u64>();
        }
        let scanned = self.inner.scanned.lock();
        totals.scanned_extents = scanned.extents.len() as u64;
        totals.scanned_times = scanned.times;
        drop(scanned);
        totals.scanned_bytes = self.inner.bytes.load(Ordering::Relaxed);
        totals.scanned_rows = self.passed().0;
        totals
    }

    /// The part of the planned rows that scans have passed, looked at or not, from 0 to 1; 0 when nothing is scanned.
    pub fn progress(&self) -> f64 {
        let planned = self.inner.planned_rows.load(Ordering::Relaxed);
        if planned == 0 {
            return 0.0;
        }
        let (seen, pruned) = self.passed();
        ((seen + pruned) as f64 / planned as f64).min(1.0)
    }

    /// Rows that scans have looked at, and rows that pages' statistics have left out.
    fn passed(&self) -> (u64, u64) {
        let (mut seen, mut pruned) = (0, 0);
        for scan in self.inner.scans.lock().iter() {
            for metric in scan.clone_inner().iter() {
                match metric.value() {
                    MetricValue::OutputRows(rows) => seen += rows.value() as u64,
                    MetricValue::Count { name, count } if name == "pushdown_rows_pruned" => {
                        seen += count.value() as u64;
                    }
                    MetricValue::PruningMetrics { name, pruning_metrics } if name == "page_index_rows_pruned" => {
                        pruned += pruning_metrics.pruned() as u64;
                    }
                    _ => {}
                }
            }
        }
        (seen, pruned)
    }

    fn read(&self, extent: &Mark, bytes: u64) {
        self.inner.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut scanned = self.inner.scanned.lock();
        if scanned.extents.insert(extent.id) {
            let (least, most) = scanned.times.unwrap_or((extent.created, extent.created));
            scanned.times = Some((least.min(extent.created), most.max(extent.created)));
        }
    }
}

/// Which extent a file is; travels with it through plans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) id: ExtentId,
    pub(crate) created: i64,
}

/// Readers that tell a ledger what they read.
#[derive(Debug)]
pub(crate) struct CountingReaders<F> {
    pub(crate) inner: F,
    pub(crate) ledger: ScanLedger,
}

impl<F: ParquetFileReaderFactory> ParquetFileReaderFactory for CountingReaders<F> {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let mark = file.extension::<Mark>().copied();
        let reader = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(match mark {
            Some(mark) => Box::new(CountingReader { inner: reader, ledger: self.ledger.clone(), mark }),
            None => reader,
        })
    }
}

struct CountingReader {
    inner: Box<dyn AsyncFileReader + Send>,
    ledger: ScanLedger,
    mark: Mark,
}

impl AsyncFileReader for CountingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.ledger.read(&self.mark, range.end.saturating_sub(range.start));
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.ledger.read(&self.mark, ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum());
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        self.inner.get_metadata(options)
    }
}
