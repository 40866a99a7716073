//! Storage: the transactional catalog, Parquet extents, their Delta mirror, job records and result files.
//!
//! Input: batches in engine types (`TableSchema::arrow()`) and changes of the catalog. Output: durable commits, and
//! table providers over one [`Snapshot`]. All input and output of the workspace stands here; nothing here knows KQL
//! text or HTTP.
//!
//! Invariants:
//! - A data file that no committed row names does not exist: files are synced before the commit that names them, and
//!   what a crash leaves over is swept at the next start.
//! - A snapshot never changes, and every file it names stays on disk while it lives.
//! - One process works on a data directory at a time.

mod append;
mod care;
pub(crate) mod catalog;
pub(crate) mod delta;
mod disk;
mod error;
pub(crate) mod extent;
mod fault;
pub(crate) mod files;
mod id;
mod jobs;
mod log;
mod results;
pub(crate) mod roots;
pub(crate) mod store;
mod task;

pub use care::backup::{BackupOptions, BackupReport, back_up, restore};
pub use care::check::{CheckOptions, CheckReport, Finding, Severity, check_directory};
pub use catalog::commit::{Commit, Committed, NewTable};
pub use catalog::dropped::DroppedTable;
pub use catalog::plan::{Alteration, COMPANION, CreateMode, FunctionSpec, TableSpec};
pub use catalog::snapshot::{Database, Extent, Shape, Snapshot, Table};
pub use catalog::{
    Catalog, Change, ColumnRow, DatabaseRow, Expect, ExtentRow, FunctionRow, PropertyEdit, PropertyKey, PropertyOwner,
    TableRow,
};
pub use disk::Room;
pub use error::{Entity, Error, ErrorKind, Result};
pub use extent::StagedExtent;
pub use extent::ledger::{ScanLedger, ScanTotals};
pub use extent::merge::{MergeReport, MergeRules};
pub use extent::order::{KeepOrder, TimeOrder};
pub use extent::rehome::ColumnSize;
pub use extent::scan::HIDDEN_COLUMNS;
pub use extent::stats::{Bound, ColumnStats};
pub use extent::write::{ExtentWriter, ExtentWriterTask, Target, WriteOptions};
pub use fault::{FaultPoint, Faults};
pub use files::DataFile;
pub use id::{DatabaseId, ExtentId, TableId};
pub use jobs::{JobCondition, JobMember, JobOrder, JobPage, JobRecord, JobStore};
pub use log::{Log, LogBounds, LogFilter, LogRecord};
pub use results::{ResultLimits, ResultRows, ResultStore, ResultWriter, RowsWriterTask};
pub use roots::guard::UNREACHABLE;
pub use roots::{Root, Roots};
pub use store::{AskedTexts, Clock, Store, StoreOptions};
pub use task::WriterTask;

/// Ticks of 100 ns from year 1 to 1970.
pub(crate) const UNIX_EPOCH_TICKS: i64 = tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
