//! The store: one data directory, its catalog, its files.
//!
//! A change is planned against the newest snapshot, made durable by the catalog, and only then published. Requests
//! that arrive while a transaction is being synced wait together and share the next one (group commit).

use std::any::Any;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::ScalarUDF;
use parking_lot::{Mutex, RwLock};

use crate::append::{self, Appends};
use crate::care::stamp;
use crate::catalog::commit::{self, Commit, Committed, NewTable};
use crate::catalog::plan::{self, Alteration, CreateMode, Draft, FunctionSpec, TableSpec};
use crate::catalog::snapshot::{Assembly, Database, Removed, Snapshot, Table};
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Catalog, PropertyEdit, PropertyKey, PropertyOwner};
use crate::delta::Mirror;
use crate::disk::Room;
use crate::error::{Error, Result};
use crate::extent::merge::{self, MergeReport, MergeRules};
use crate::extent::scan::ExtentTable;
use crate::extent::sweep;
use crate::extent::write::{ExtentWriter, ExtentWriterTask, Target, WriteOptions};
use crate::fault::{FaultPoint, Faults};
use crate::files::{self, DirectoryLock, Doomed, Layout, Reaper, TableDirectory};
use crate::id::{DatabaseId, ExtentId, TableId};
use crate::jobs::JobStore;
use crate::log::{Log, LogBounds};
use crate::results::ResultStore;
use crate::roots::{self, Roots};

/// How a store works; the default is right for a server.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How data files are written.
    pub write: WriteOptions,
    /// Whether tables are mirrored as Delta tables.
    pub delta_mirror: bool,
    /// How long the mirror waits for further commits before it writes a log entry.
    pub delta_delay_ms: u64,
    /// Places beside the data directory that databases may have their files below.
    pub roots: Roots,
    /// How much of a disk stays free.
    pub room: Room,
    /// The texts that a function looks for in its first argument as whole terms, and whether it wants all of them: how
    /// scans ask the language's functions over lists which rows they can do without.
    pub asked_texts: AskedTexts,
    /// The time, in ticks.
    pub clock: Clock,
    /// Where tests make things fail.
    pub faults: Faults,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            write: WriteOptions::default(),
            delta_mirror: true,
            delta_delay_ms: 100,
            roots: Roots::default(),
            room: Room::default(),
            asked_texts: |_| None,
            clock: Clock::system(),
            faults: Faults::default(),
        }
    }
}

/// See [`StoreOptions::asked_texts`].
pub type AskedTexts = fn(&ScalarUDF) -> Option<(Vec<String>, bool)>;

/// A source of the current time in ticks.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        // Storage stamps what it creates itself; requests' own times come from their context.
        #[allow(clippy::disallowed_methods)]
        Self::new(|| {
            let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            crate::UNIX_EPOCH_TICKS + i64::try_from(unix.as_nanos() / 100).unwrap_or(i64::MAX / 2)
        })
    }

    /// Any clock.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now, in ticks.
    pub fn now(&self) -> i64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// One open data directory. Clones share it; the last one closes it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
    pub(crate) reaper: Reaper,
    current: RwLock<Arc<Snapshot>>,
    queue: Mutex<VecDeque<Arc<Ticket>>>,
    committer: Mutex<Committer>,
    appends: Appends,
    mirror: Option<Mirror>,
    jobs: JobStore,
    results: ResultStore,
    log: Log,
    /// Dropped last: another process may open the directory from then on.
    _lock: DirectoryLock,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

struct Committer {
    catalog: Box<dyn Catalog>,
    /// A commit failed and storage could not say afterwards whether it holds.
    uncertain: bool,
}

type Planned = Box<dyn Any + Send>;
type Answer = Result<(Planned, Arc<Snapshot>)>;
type PlanFn = Box<dyn FnOnce(&Snapshot, &mut Draft) -> Result<Planned> + Send>;

/// A change that waits for the next transaction.
struct Ticket {
    plan: Mutex<Option<PlanFn>>,
    outcome: Mutex<Option<Answer>>,
}

impl Store {
    /// Opens a data directory, creates it if it is missing, and sweeps what a crash has left.
    ///
    /// Errors: [`Error::Locked`] when another process has it open.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Store> {
        let root = absolute(directory)?;
        let layout = Layout::new(&root);
        files::create_directory(&root)?;
        stamp::check(&root)?;
        let lock = DirectoryLock::take(&layout)?;
        for path in [layout.databases(), layout.results(), layout.temporary()] {
            files::create_directory(&path)?;
        }
        let mut catalog = SqliteCatalog::open(&layout.catalog(), options.faults.clone())?;
        files::sync_directory(&root)?;
        stamp::write(&root)?;
        let reaper = files::start_reaper(options.faults.clone())?;
        let snapshot = Arc::new(load(&mut catalog, &layout, &options.roots, &reaper)?);
        sweep::sweep(&layout, &snapshot)?;
        let (gone, later) = roots::sweep::now(roots::sweep::suspects(&layout, &options.roots, &snapshot));
        let mirror = match options.delta_mirror {
            true => Some(Mirror::start(&options, &snapshot)?),
            false => None,
        };
        let jobs = JobStore::open(&layout.catalog(), options.clock.clone(), options.faults.clone())?;
        let results = ResultStore::open(&layout)?;
        let log = Log::new(layout.journal(), LogBounds::default(), options.clock.clone());
        let inner = Inner {
            log,
            layout,
            reaper,
            current: RwLock::new(snapshot),
            queue: Mutex::default(),
            committer: Mutex::new(Committer { catalog: Box::new(catalog), uncertain: false }),
            appends: Appends::default(),
            mirror,
            jobs,
            results,
            options,
            _lock: lock,
        };
        let inner = Arc::new(inner);
        roots::sweep::forget(&inner, &gone)?;
        roots::sweep::start(&inner, later)?;
        Ok(Store { inner })
    }

    /// The newest committed state; holding it keeps every file it names.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot()
    }

    /// The data directory, absolute.
    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Creates a database, at the root that settings give databases of this name.
    pub async fn create_database(&self, name: &str, mode: CreateMode) -> Result<Arc<Database>> {
        self.create_database_at(name, mode, None).await
    }

    /// Creates a database whose files lie at an address that a root covers.
    ///
    /// Errors: no root covers the address, or nothing can be written there now.
    pub async fn create_database_at(
        &self,
        name: &str,
        mode: CreateMode,
        address: Option<&str>,
    ) -> Result<Arc<Database>> {
        let roots = &self.inner.options.roots;
        let root = match address {
            Some(address) => Some(roots.covered(address).ok_or_else(|| roots::unknown(address))?),
            None => roots.of_database(name).map(str::to_string),
        };
        let (id, name) = (DatabaseId::random(), name.to_string());
        if let Some(root) = root.as_deref().filter(|_| self.snapshot().database(&name).is_none()) {
            plan::check_name(crate::error::Entity::Database, &name)?;
            let (place, name) = (roots.place(&self.inner.layout, Some(root)), name.clone());
            blocking(move || place.prepare(id, &name)).await?;
        }
        let (id, snapshot) = self.change(move |s, d| plan::create_database(s, d, &name, mode, (id, root))).await?;
        plan::database(&snapshot, id).cloned()
    }

    /// How much of a disk stays free.
    pub fn room(&self) -> Room {
        self.inner.options.room
    }

    /// The roots that settings give.
    pub fn roots(&self) -> &Roots {
        &self.inner.options.roots
    }

    /// Renames a database.
    pub async fn rename_database(&self, id: DatabaseId, name: &str) -> Result<()> {
        let name = name.to_string();
        self.change(move |s, d| plan::rename_database(s, d, id, &name)).await.map(drop)
    }

    /// Sets or removes a database's display name.
    pub async fn set_pretty_name(&self, id: DatabaseId, name: Option<String>) -> Result<()> {
        self.change(move |s, d| plan::set_pretty_name(s, d, id, name)).await.map(drop)
    }

    /// Drops a database with everything in it.
    pub async fn drop_database(&self, id: DatabaseId) -> Result<()> {
        self.change(move |s, d| plan::drop_database(s, d, id)).await.map(drop)
    }

    /// Creates a table, or with [`CreateMode::Merge`] adds the columns that it lacks.
    pub async fn create_table(&self, database: DatabaseId, spec: TableSpec, mode: CreateMode) -> Result<Arc<Table>> {
        let mut tables = self.create_tables(database, vec![spec], mode).await?;
        tables.pop().ok_or(Error::Stopped)
    }

    /// Creates several tables in one transaction.
    pub async fn create_tables(
        &self,
        database: DatabaseId,
        specs: Vec<TableSpec>,
        mode: CreateMode,
    ) -> Result<Vec<Arc<Table>>> {
        let plan = move |s: &Snapshot, d: &mut Draft| {
            let twice =
                specs.iter().enumerate().find(|(i, spec)| specs[..*i].iter().any(|other| other.name == spec.name));
            if let Some((_, spec)) = twice {
                return Err(Error::Invalid(format!("table '{}' is given twice", spec.name)));
            }
            specs.iter().map(|spec| plan::create_table(s, d, database, spec, mode)).collect::<Result<Vec<TableId>>>()
        };
        let (ids, snapshot) = self.change(plan).await?;
        ids.into_iter().map(|id| plan::table(&snapshot, id).cloned()).collect()
    }

    /// Alters a table; all steps in one transaction.
    pub async fn alter_table(&self, id: TableId, steps: Vec<Alteration>) -> Result<Arc<Table>> {
        let ((), snapshot) = self.change(move |s, d| plan::alter_table(s, d, id, &steps)).await?;
        plan::table(&snapshot, id).cloned()
    }

    /// Renames tables `(from, to)` of one database, all at once: names may swap.
    pub async fn rename_tables(&self, database: DatabaseId, pairs: Vec<(String, String)>) -> Result<()> {
        self.change(move |s, d| plan::rename_tables(s, d, database, &pairs)).await.map(drop)
    }

    /// Drops a table.
    pub async fn drop_table(&self, id: TableId) -> Result<()> {
        self.drop_tables(vec![id]).await
    }

    /// Drops tables in one transaction.
    pub async fn drop_tables(&self, ids: Vec<TableId>) -> Result<()> {
        self.change(move |s, d| plan::drop_tables(s, d, &ids)).await.map(drop)
    }

    /// Drops all extents of a table.
    pub async fn clear_table(&self, id: TableId) -> Result<()> {
        self.change(move |s, d| plan::clear_table(s, d, id)).await.map(drop)
    }

    /// Stores a function; [`CreateMode::Merge`] replaces one that is there.
    pub async fn put_function(&self, database: DatabaseId, spec: FunctionSpec, mode: CreateMode) -> Result<()> {
        self.change(move |s, d| plan::put_function(s, d, database, &spec, mode)).await.map(drop)
    }

    /// Drops a function.
    pub async fn drop_function(&self, database: DatabaseId, name: &str) -> Result<()> {
        self.drop_functions(database, vec![name.to_string()]).await
    }

    /// Drops functions in one transaction.
    pub async fn drop_functions(&self, database: DatabaseId, names: Vec<String>) -> Result<()> {
        self.change(move |s, d| plan::drop_functions(s, d, database, &names)).await.map(drop)
    }

    /// Sets a mapping, policy or other small value; `None` removes it.
    pub async fn put_property(&self, key: PropertyKey, value: Option<serde_json::Value>) -> Result<()> {
        self.change(move |s, d| plan::put_property(s, d, key, value)).await.map(drop)
    }

    /// Changes properties in one transaction; none of them when a condition does not hold.
    pub async fn edit_properties(&self, edits: Vec<PropertyEdit>) -> Result<()> {
        self.change(move |s, d| plan::edit_properties(s, d, edits)).await.map(drop)
    }

    /// Prepares a table that will exist when a [`Commit`] creates it; its data can be written before.
    pub fn new_table(&self, database: DatabaseId, spec: &TableSpec) -> Result<NewTable> {
        let snapshot = self.snapshot();
        let place = self.inner.options.roots.place(&self.inner.layout, plan::database(&snapshot, database)?.root());
        let row = plan::new_table_row(database, spec, self.inner.options.clock.now())?;
        let directory = TableDirectory::new(place, database, row.id, self.inner.reaper.clone());
        // Until the commit nobody names the directory, so it goes with this handle.
        directory.doom();
        Ok(NewTable { row, properties: spec.properties.clone(), directory })
    }

    /// A writer of data files for a table. It blocks: use it on a blocking thread, or take [`Store::writer_task`].
    pub fn writer(&self, target: &Target) -> ExtentWriter {
        let order = row_order(&self.snapshot(), target);
        let faults = self.inner.options.faults.clone();
        let writer = ExtentWriter::new(target.clone(), self.inner.options.write.clone(), faults);
        writer.with_order(order).with_room(self.inner.options.room)
    }

    /// A writer on a thread of its own, fed from async code with back-pressure.
    pub fn writer_task(&self, target: &Target) -> ExtentWriterTask {
        ExtentWriterTask::start(self.writer(target))
    }

    /// Commits data; returns when it is durable.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        let store = self.clone();
        blocking(move || store.commit_blocking(commit)).await
    }

    /// [`Store::commit`] for blocking threads.
    pub fn commit_blocking(&self, commit: Commit) -> Result<Committed> {
        let (outcome, snapshot) = self.inner.transact(move |s, d| commit::plan(s, d, commit))?;
        Ok(Committed { snapshot, extents: outcome.extents, skipped: outcome.skipped })
    }

    /// Appends a few rows, as a batch in the table's engine types; returns when they are durable. Requests for the same
    /// table that arrive together share a data file and a commit. For much data or for tags, take a writer.
    pub async fn append(&self, table: TableId, rows: RecordBatch) -> Result<Committed> {
        let store = self.clone();
        blocking(move || append::append(&store, &store.inner.appends, table, rows)).await
    }

    /// [`Store::append`] for blocking threads.
    pub fn append_blocking(&self, table: TableId, rows: RecordBatch) -> Result<Committed> {
        append::append(self, &self.inner.appends, table, rows)
    }

    /// The table as the engine reads it, in the state of a snapshot; its schema is `table.schema().arrow()`.
    pub fn provider(&self, table: &Table) -> Arc<dyn TableProvider> {
        Arc::new(ExtentTable::new(table, self.options().asked_texts))
    }

    /// The same with [`crate::HIDDEN_COLUMNS`] behind the table's own.
    pub fn provider_with_hidden(&self, table: &Table) -> Arc<dyn TableProvider> {
        Arc::new(ExtentTable::new(table, self.options().asked_texts).with_hidden())
    }

    /// Rewrites small extents as few large ones and swaps them in one commit.
    pub async fn merge_table(&self, id: TableId) -> Result<MergeReport> {
        merge::merge_table(self, id, &MergeRules::default()).await
    }

    /// The same within rules.
    pub async fn merge_table_by(&self, id: TableId, rules: &MergeRules) -> Result<MergeReport> {
        merge::merge_table(self, id, rules).await
    }

    /// Rewrites these extents as few and swaps them in one commit.
    pub async fn merge_extents(&self, id: TableId, extents: &[ExtentId]) -> Result<MergeReport> {
        merge::merge_extents(self, id, extents).await
    }

    /// Merges, in every table, the small extents that have become worth it, whatever their policies say.
    pub async fn merge_due(&self) -> Result<MergeReport> {
        merge::merge_due(self).await
    }

    /// Groups of a table's small extents that have become worth a merge each, for [`Store::merge_extents`].
    pub fn due_merges(&self, id: TableId, rules: &MergeRules) -> Vec<Vec<ExtentId>> {
        merge::due(self, id, rules)
    }

    /// The hook of tests; nothing happens at its points otherwise.
    pub fn faults(&self) -> &Faults {
        &self.inner.options.faults
    }

    /// What ran.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Records of jobs.
    pub fn jobs(&self) -> &JobStore {
        &self.inner.jobs
    }

    /// Files of results.
    pub fn results(&self) -> &ResultStore {
        &self.inner.results
    }

    /// Returns when the Delta mirror shows every commit that happened before the call.
    pub async fn flush_delta(&self) -> Result<()> {
        let store = self.clone();
        blocking(move || match &store.inner.mirror {
            None => Ok(()),
            Some(mirror) => mirror.flush(),
        })
        .await
    }

    /// Returns when every file that nobody could read at the time of the call is deleted.
    pub async fn flush_drops(&self) -> Result<()> {
        let store = self.clone();
        blocking(move || {
            let (done, wait) = std::sync::mpsc::sync_channel(1);
            store.inner.reaper.send(Doomed::Barrier(done)).map_err(|_| Error::Stopped)?;
            wait.recv().map_err(|_| Error::Stopped)
        })
        .await
    }

    /// Now, by the store's clock, in ticks.
    pub fn now(&self) -> i64 {
        self.inner.options.clock.now()
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    pub(crate) async fn change<T, F>(&self, plan: F) -> Result<(T, Arc<Snapshot>)>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, &mut Draft) -> Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.transact(plan)).await
    }
}

/// The columns that the table's row order policy sorts by, with whether they ascend; those that exist.
fn row_order(snapshot: &Snapshot, target: &Target) -> Vec<(usize, bool)> {
    let owner = PropertyOwner::Table(target.table());
    let key = PropertyKey { owner, kind: "policy".to_string(), name: "roworder".to_string() };
    let keys = snapshot.property(&key).and_then(|policy| policy.get("RowOrder")).and_then(serde_json::Value::as_array);
    let column = |key: &serde_json::Value| {
        let name = key.get("ColumnName")?.as_str()?;
        let at = target.shape.columns.iter().position(|column| column.name == name)?;
        Some((at, key.get("IsAscending").and_then(serde_json::Value::as_bool).unwrap_or(true)))
    };
    keys.into_iter().flatten().filter_map(column).collect()
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Stopped),
    }
}

fn absolute(directory: &Path) -> Result<PathBuf> {
    std::path::absolute(directory).map_err(Error::io("resolve", directory))
}

pub(crate) fn load(catalog: &mut dyn Catalog, layout: &Layout, roots: &Roots, reaper: &Reaper) -> Result<Snapshot> {
    let (sequence, changes) = catalog.load()?;
    Snapshot::default().apply(sequence, &changes, &Assembly::new(layout, roots, reaper), &mut Removed::default())
}

impl Inner {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// Plans a change and makes it durable; returns what the plan returned and the snapshot that shows it.
    pub(crate) fn transact<T, F>(&self, plan: F) -> Result<(T, Arc<Snapshot>)>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, &mut Draft) -> Result<T> + Send + 'static,
    {
        let plan: PlanFn =
            Box::new(move |snapshot, draft| plan(snapshot, draft).map(|value| Box::new(value) as Planned));
        let ticket = Arc::new(Ticket { plan: Mutex::new(Some(plan)), outcome: Mutex::new(None) });
        self.queue.lock().push_back(Arc::clone(&ticket));
        {
            // Whoever comes first works for all that wait; the others find their outcome when they get here.
            let mut committer = self.committer.lock();
            if ticket.outcome.lock().is_none() {
                let batch: Vec<_> = self.queue.lock().drain(..).collect();
                self.commit_batch(&mut committer, &batch);
            }
        }
        let outcome = ticket.outcome.lock().take().unwrap_or(Err(Error::Stopped))?;
        let (value, snapshot) = outcome;
        let value = value.downcast::<T>().map_err(|_| Error::Stopped)?;
        Ok((*value, snapshot))
    }

    fn commit_batch(&self, committer: &mut Committer, batch: &[Arc<Ticket>]) {
        if committer.uncertain
            && let Err(error) = self.reconcile(committer)
        {
            return answer_all(batch, error);
        }
        let before = self.snapshot();
        let sequence = before.sequence() + 1;
        let mut working = Arc::clone(&before);
        let mut assembly = Assembly::new(&self.layout, &self.options.roots, &self.reaper);
        let (mut changes, mut removed) = (Vec::new(), Removed::default());
        let mut ready: Vec<(&Arc<Ticket>, Planned)> = Vec::new();
        for ticket in batch {
            let Some(plan) = ticket.plan.lock().take() else { continue };
            let mut draft = Draft::new(&working, sequence, self.options.clock.now());
            let planned = plan(&working, &mut draft).and_then(|value| {
                if !draft.changes.is_empty() {
                    crate::catalog::plan::drop_companions(&working, &mut draft);
                    let mut own = Removed::default();
                    assembly.files.extend(draft.files);
                    assembly.directories.extend(draft.directories);
                    working = Arc::new(working.apply(sequence, &draft.changes, &assembly, &mut own)?);
                    changes.extend(draft.changes);
                    removed.extents.extend(own.extents);
                    removed.tables.extend(own.tables);
                    removed.touched.extend(own.touched);
                }
                Ok(value)
            });
            match planned {
                Ok(value) => ready.push((ticket, value)),
                Err(error) => *ticket.outcome.lock() = Some(Err(error)),
            }
        }
        if changes.is_empty() {
            for (ticket, value) in ready {
                *ticket.outcome.lock() = Some(Ok((value, Arc::clone(&before))));
            }
            return;
        }
        if let Err(error) = committer.catalog.commit(sequence, &changes) {
            match committer.catalog.sequence() {
                // The disk took it although the commit reported an error.
                Ok(stored) if stored == sequence => {
                    tracing::warn!(%error, "a commit that reported an error is durable")
                }
                Ok(_) => {
                    let tickets: Vec<_> = ready.into_iter().map(|(ticket, _)| Arc::clone(ticket)).collect();
                    return answer_all(&tickets, error);
                }
                Err(_) => {
                    // Nobody knows whether the rows are there, so their files must stay; a restart sweeps them if not.
                    assembly.files.values().for_each(|file| file.keep());
                    assembly.directories.values().for_each(|directory| directory.keep());
                    committer.uncertain = true;
                    let tickets: Vec<_> = ready.into_iter().map(|(ticket, _)| Arc::clone(ticket)).collect();
                    return answer_all(&tickets, error);
                }
            }
        }
        // A fault hook may end the process here; a returned error has nothing left to stop.
        let _ = self.options.faults.at(FaultPoint::Published);
        self.publish(working, &assembly, removed);
        let snapshot = self.snapshot();
        for (ticket, value) in ready {
            *ticket.outcome.lock() = Some(Ok((value, Arc::clone(&snapshot))));
        }
    }

    /// Makes committed changes visible.
    fn publish(&self, next: Arc<Snapshot>, assembly: &Assembly<'_>, removed: Removed) {
        assembly.files.values().for_each(|file| file.keep());
        assembly.directories.values().for_each(|directory| directory.keep());
        removed.extents.iter().for_each(|extent| extent.file().doom());
        removed.tables.iter().for_each(|table| table.directory().doom());
        *self.current.write() = Arc::clone(&next);
        if let Some(mirror) = &self.mirror {
            mirror.notify(next, removed);
        }
    }

    /// Finds out what holds after a commit whose end is unknown.
    fn reconcile(&self, committer: &mut Committer) -> Result<()> {
        let stored = committer.catalog.sequence()?;
        if stored != self.snapshot().sequence() {
            let loaded = load(committer.catalog.as_mut(), &self.layout, &self.options.roots, &self.reaper)?;
            *self.current.write() = Arc::new(loaded);
        }
        committer.uncertain = false;
        Ok(())
    }
}

/// Gives every ticket the error: itself to the first, its text to the others.
fn answer_all(tickets: &[Arc<Ticket>], error: Error) {
    let mut copies = (1..tickets.len()).map(|_| error.copy()).collect::<Vec<_>>();
    copies.push(error);
    for (ticket, error) in tickets.iter().zip(copies) {
        *ticket.outcome.lock() = Some(Err(error));
    }
}
