//! `fsck`: what the catalog says against what is on disk.
//!
//! The catalog is the truth. A data file that it names and that is missing or damaged is an error that nothing here can
//! mend. What nobody names, and a mirror that says something else, are mended by the next start; with `repair` at once.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};

use datafusion::execution::context::{SessionConfig, SessionContext};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::{backup, queue, stamp};
use crate::catalog::snapshot::{Extent, ExtentList, Table};
use crate::catalog::sqlite::SqliteCatalog;
use crate::delta;
use crate::delta::folder::Folder;
use crate::error::{Error, Result};
use crate::extent::scan::ExtentTable;
use crate::extent::stats::Collector;
use crate::extent::sweep;
use crate::fault::Faults;
use crate::files::{self, DirectoryLock, Layout};
use crate::roots::{Place, Roots, sweep as sweep_roots};
use crate::store;

const UNNAMED: &str = "a data file that the catalog does not name; the next start removes it";

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Read every value of every file, and compare it with the catalog's statistics.
    pub deep: bool,
    /// Mend what can be mended without losing anything.
    pub repair: bool,
    /// Places beside the data directory that databases may have their files below.
    pub roots: Roots,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong: the next start does what is left to do.
    Info,
    /// The server mends it by itself.
    Warning,
    /// Data is missing or wrong.
    Error,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The database and table, or the file.
    pub place: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether it has been mended.
    pub repaired: bool,
}

/// What a check has seen.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Tables looked at.
    pub tables: u64,
    /// Data files looked at.
    pub files: u64,
    /// Rows that the catalog counts.
    pub rows: u64,
    /// Bytes of the data files.
    pub bytes: u64,
}

impl CheckReport {
    /// Whether nothing is left to mend.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired || finding.severity == Severity::Info)
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        place: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Finding {
        let at = self.findings.len();
        let finding = Finding { severity, place: place.into(), message: message.into(), repaired: false };
        self.findings.push(finding);
        &mut self.findings[at]
    }
}

/// Checks a data directory that no server works on.
///
/// *Errors*: what cannot be checked: a directory in use, of a newer format, without a catalog, or whose catalog cannot
/// be opened at all.
pub async fn check_directory(directory: &Path, options: CheckOptions) -> Result<CheckReport> {
    let root = std::path::absolute(directory).map_err(Error::io("resolve", directory))?;
    let layout = Layout::new(&root);
    if !layout.catalog().is_file() {
        return Err(Error::Invalid(format!("'{}' is no data directory: it has no catalog", directory.display())));
    }
    stamp::check(&root)?;
    let _lock = DirectoryLock::take(&layout)?;
    let mut report = CheckReport::default();
    for path in [layout.catalog(), layout.journal()].into_iter().filter(|path| path.is_file()) {
        let place = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match backup::integrity(&path) {
            Ok(faults) => {
                for fault in faults {
                    report.add(Severity::Error, &place, fault);
                }
            }
            Err(error) => {
                report.add(Severity::Error, &place, error.to_string());
            }
        }
    }
    if !root.join(stamp::VERSION).is_file() {
        let finding = report.add(Severity::Warning, stamp::VERSION, "the directory has no version stamp");
        if options.repair {
            stamp::write(&root)?;
            finding.repaired = true;
        }
    }
    let loaded = SqliteCatalog::open(&layout.catalog(), Faults::default()).and_then(|mut catalog| {
        // Nothing is dropped here, so nobody reads the other end.
        let (reaper, _) = mpsc::channel();
        store::load(&mut catalog, &layout, &options.roots, &reaper)
    });
    let snapshot = match loaded {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.add(Severity::Error, "catalog.sqlite", format!("the catalog cannot be read: {error}"));
            return Ok(report);
        }
    };
    queue::check(&layout, options.repair, &mut report)?;
    for database in snapshot.databases() {
        if let (Some(root), Place::Unknown(_)) = (database.root(), options.roots.place(&layout, database.root())) {
            let place = database.name();
            report.add(
                Severity::Error,
                place,
                format!("no setting says how to open its root '{root}' (database_roots)"),
            );
            continue;
        }
        for table in database.stored_tables() {
            report.tables += 1;
            let place = format!("{}.{}", database.name(), table.name());
            for extent in table.extents() {
                report.files += 1;
                report.rows += extent.rows();
                report.bytes += extent.bytes();
                let faults = match check_file(extent) {
                    Ok(()) if options.deep => check_values(table, extent).await,
                    Ok(()) => Vec::new(),
                    Err(fault) => vec![fault],
                };
                for fault in faults {
                    report.add(Severity::Error, &place, format!("extent {}: {fault}", extent.id()));
                }
            }
            check_mirror(table, &place, options.repair, &mut report)?;
        }
    }
    for path in sweep::unnamed(&layout, &snapshot)? {
        let place = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let finding = report.add(Severity::Info, place, UNNAMED);
        if options.repair {
            files::remove_file(&path)?;
            finding.repaired = true;
        }
    }
    for suspect in sweep_roots::suspects(&layout, &options.roots, &snapshot) {
        let shown = suspect.place.path("").display().to_string();
        match suspect.unnamed() {
            Ok(unnamed) => {
                for path in unnamed {
                    let finding = report.add(Severity::Info, format!("{shown}{path}"), UNNAMED);
                    if options.repair {
                        suspect.remove(&path)?;
                        finding.repaired = true;
                    }
                }
            }
            Err(error) => {
                report.add(Severity::Error, shown, error.to_string());
            }
        }
    }
    Ok(report)
}

/// A file by its size and its footer.
fn check_file(extent: &Extent) -> Result<(), String> {
    let shown = extent.file().path().display();
    let found = extent.file().length().map_err(|error| format!("its file '{shown}': {error}"))?;
    let found = found.ok_or_else(|| format!("its file '{shown}' is not there"))?;
    if found != extent.bytes() {
        return Err(format!("its file has {found} bytes, expected {}", extent.bytes()));
    }
    let file = extent.file().chunks(extent.bytes()).map_err(|error| format!("its file '{shown}': {error}"))?;
    let reader = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(file)));
    let reader = reader.map_err(|_| "its footer is damaged".to_string())?;
    let reader = reader.map_err(|error| format!("its footer is damaged: {error}"))?;
    let rows = reader.metadata().file_metadata().num_rows().unsigned_abs();
    if rows != extent.rows() {
        return Err(format!("its file has {rows} rows, expected {}", extent.rows()));
    }
    Ok(())
}

/// A file by all of its values.
async fn check_values(table: &Table, extent: &Arc<Extent>) -> Vec<String> {
    // First as Parquet, where every page is read whether or not a column of the table shows it.
    if let Err(fault) = read_all(extent) {
        return vec![fault];
    }
    match statistics(table, extent).await {
        Ok(faults) => faults,
        Err(error) => vec![format!("its values cannot be read: {error}")],
    }
}

fn read_all(extent: &Extent) -> Result<(), String> {
    let read = || -> Result<(), String> {
        let file = extent.file().chunks(extent.bytes()).map_err(|error| error.to_string())?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let batches = reader.build().map_err(|error| error.to_string())?;
        for batch in batches {
            batch.map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    let outcome = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("a page is damaged".to_string()));
    outcome.map_err(|error| format!("its values cannot be read: {error}"))
}

async fn statistics(table: &Table, extent: &Arc<Extent>) -> Result<Vec<String>> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let list = ExtentList::new(vec![Arc::clone(extent)]);
    let source = ExtentTable::of(table.name().to_string(), Arc::clone(table.shape()), list);
    let mut rows = context.read_table(Arc::new(source))?.execute_stream().await?;
    let mut collectors: Vec<Collector> = table.columns().iter().map(|column| Collector::new(column.ty)).collect();
    while let Some(batch) = rows.next().await {
        for (collector, array) in collectors.iter_mut().zip(batch?.columns()) {
            collector.add(array);
        }
    }
    let mut faults = Vec::new();
    for (column, collector) in table.columns().iter().zip(collectors) {
        let Some(known) = extent.column(column.at_rest()) else { continue };
        let found = collector.finish(known.tick);
        if found != *known {
            faults.push(format!("the catalog's statistics of column '{}' are not those of its values", column.name));
        }
    }
    Ok(faults)
}

/// The mirror, as other engines read it.
fn check_mirror(table: &Table, place: &str, repair: bool, report: &mut CheckReport) -> Result<()> {
    let log = Folder::of(table.directory())?;
    let message = match delta::live_files(&log) {
        Ok(None) => return Ok(()),
        Err(error @ Error::Unreachable { .. }) => {
            report.add(Severity::Error, place, format!("the Delta log cannot be read: {error}"));
            return Ok(());
        }
        Err(error) => format!("the Delta log cannot be read: {error}"),
        Ok(Some(live)) => {
            let named: HashSet<String> =
                table.extents().iter().map(|extent| extent.file().name().to_string()).collect();
            match live == named {
                true => return Ok(()),
                false => "the Delta log is behind the catalog".to_string(),
            }
        }
    };
    let finding = report.add(Severity::Warning, place, message);
    if repair {
        // The next start writes it anew.
        delta::remove_log(&log)?;
        finding.repaired = true;
    }
    Ok(())
}
