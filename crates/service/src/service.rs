//! The service itself: what all requests share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tidewater_plan::session::{BATCH_ROWS, SessionOptions, new_session};
use tidewater_store::{CreateMode, KeepOrder, Room, Store, StoreOptions, TimeOrder};
use tokio_util::sync::CancellationToken;

use crate::context::{DEFAULT_DATABASE, now_ticks};
use crate::error::{Error, Result};
use crate::external::External;
use crate::external::location::Policy;
use crate::external::objects::Stores;
use crate::journal::Journal;
use crate::limits::Admission;
use crate::maintenance::Maintenance;
use crate::queued::Queued;
use crate::rights::Rights;
use crate::rights::roles::{Role, Scope};
use crate::usage;
use crate::workload;

/// How a service works; zeros choose by the machine.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Memory that all queries share; 0 is half of the machine's.
    pub memory_bytes: usize,
    /// Requests that run at once; 0 is ten per core.
    pub max_concurrent: usize,
    /// Directories that `.ingest into` may read files from.
    pub ingest_directories: Vec<PathBuf>,
    /// Directories below which exports may write files.
    pub export_directories: Vec<PathBuf>,
    /// Directories whose files queries may read as external data.
    pub external_directories: Vec<PathBuf>,
    /// Addresses, hosts and patterns of hosts that queries may read external data from.
    pub external_urls: Vec<String>,
    /// Other servers that stand for object stores: `azure=URL`, `s3=URL`, `gs=URL`.
    pub storage_endpoints: Vec<String>,
    /// Bytes that stay free of every disk that is written to; 0 asks for nothing.
    pub min_free_disk_bytes: u64,
    /// Places that databases may have their files below: `NAME=ADDRESS[;how to sign in]`, or an address alone.
    pub database_roots: Vec<String>,
    /// Identities of this machine that connection strings may sign in by.
    pub managed_identities: Vec<String>,
    /// File with a database of addresses in MaxMind's form, for `geo_info_from_ip_address`.
    pub ip_database_file: Option<PathBuf>,
    /// Names by which queries may call this server a cluster, beside `localhost`; the first is its address.
    pub cluster_names: Vec<String>,
    /// Threads that a query is laid out for; 0 is one per core.
    pub threads: usize,
    /// Rows of the engine's batches; 0 is the engine's usual number.
    pub batch_rows: usize,
    /// Queries run as they are lowered, without the optimizer: for finding out whether a wrong answer is its work.
    pub unoptimized: bool,
    /// Seconds for which the rows of jobs are kept; 0 is a day.
    pub job_result_seconds: u64,
    /// Bytes that the rows of one job may take; 0 is no limit.
    pub job_result_bytes: u64,
    /// Bytes that the rows of all jobs may take; 0 is no limit.
    pub job_results_bytes: u64,
    /// Connection string of the place in an object store where rows of jobs are kept; empty: on disk.
    pub job_results_url: String,
    /// File that every alert is written to.
    pub alerts_file: Option<PathBuf>,
    /// Where queries run; the current runtime when absent.
    pub runtime: Option<tokio::runtime::Handle>,
    /// What `.show version` says.
    pub version: String,
    /// Whether rights are looked at, and who administers the server.
    pub rights: Rights,
    /// The functions library is there, as the database `Library`.
    pub library: bool,
}

/// Everything that requests need. Clones share it.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) options: ServiceOptions,
    pub(crate) session: SessionContext,
    pub(crate) runtime_env: Arc<RuntimeEnv>,
    pub(crate) journal: Journal,
    pub(crate) admission: Admission,
    pub(crate) workloads: workload::Current,
    pub(crate) consumed: workload::capacity::Consumed,
    pub(crate) maintenance: Maintenance,
    pub(crate) jobs: crate::jobs::Running,
    pub(crate) external: Arc<External>,
    pub(crate) queued: Queued,
    sql_session: SessionContext,
    pub(crate) started_ticks: i64,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
    stopping: AtomicBool,
}

/// A service that may be gone.
pub(crate) struct WeakService(std::sync::Weak<Inner>);

impl WeakService {
    /// The service while somebody holds it.
    pub(crate) fn upgrade(&self) -> Option<Service> {
        self.0.upgrade().map(|inner| Service { inner })
    }
}

impl Service {
    /// Opens the data directory and makes the default database if it is missing. Must be called on a runtime.
    pub fn open(directory: &Path, options: ServiceOptions) -> Result<Service> {
        let stores = Stores::new(&options.storage_endpoints, &options.managed_identities)?;
        let room = Room { least_bytes: options.min_free_disk_bytes };
        let roots = crate::roots::open(&options.database_roots, &stores)?;
        let asked_texts = tidewater_functions::operator::asked_texts;
        let store = Store::open(directory, StoreOptions { roots, room, asked_texts, ..StoreOptions::default() })?;
        Service::new(store, options)
    }

    /// A service over an open store.
    pub fn new(store: Store, options: ServiceOptions) -> Result<Service> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores } else { options.threads };
        let memory = if options.memory_bytes == 0 { default_memory_bytes() } else { options.memory_bytes };
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory), TOP_CONSUMERS);
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![store.root().join(SPILL_DIRECTORY)]));
        std::fs::create_dir_all(store.root().join(SPILL_DIRECTORY))
            .map_err(|error| Error::internal(format!("cannot make the directory for spilling: {error}")))?;
        let runtime_env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(spill)
            .build_arc()
            .map_err(Error::from)?;
        let batch_rows = if options.batch_rows == 0 { BATCH_ROWS } else { options.batch_rows };
        let session = |sql: bool| {
            new_session(&SessionOptions {
                target_partitions: threads,
                runtime: Arc::clone(&runtime_env),
                sql,
                batch_rows,
                storage_rules: vec![Arc::new(TimeOrder)],
                last_rules: vec![Arc::new(KeepOrder)],
                unoptimized: options.unoptimized,
            })
        };
        let (session, sql_session) = (session(false), session(true));
        let runtime = match &options.runtime {
            Some(runtime) => runtime.clone(),
            None => tokio::runtime::Handle::try_current()
                .map_err(|_| Error::internal("a service must be opened on a runtime"))?,
        };
        if let Some(path) = &options.ip_database_file {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            read.and_then(tidewater_functions::scalar::geo::addresses::set_database).map_err(|error| {
                let setting = tidewater_functions::scalar::geo::addresses::SETTING;
                Error::bad_request(format!("setting '{setting}': {}: {error}", path.display()))
            })?;
        }
        let policy = Policy::new(options.external_directories.clone(), &options.external_urls)?;
        let stores = Stores::new(&options.storage_endpoints, &options.managed_identities)?;
        let queued = Queued::open(store.root(), store.jobs().clone(), store.room())?;
        let external =
            Arc::new(External::new(policy, stores, store.root().join("tmp"), store.faults().clone(), store.room()));
        crate::export::unnamed::Marks::of(&external).sweep();
        let concurrent = if options.max_concurrent == 0 { cores * 10 } else { options.max_concurrent };
        let admission = Admission::new(concurrent);
        let machine =
            workload::Machine { memory_bytes: memory as u64, concurrent: concurrent as u64, cores: cores as u64 };
        let workloads = workload::Current::new(&store.snapshot(), machine);
        let journal = Journal::new(store.log().clone());
        usage::follow_tasks();
        let inner = Inner {
            store,
            options,
            session,
            runtime_env,
            journal,
            admission,
            workloads,
            consumed: workload::capacity::Consumed::default(),
            maintenance: Maintenance::default(),
            jobs: crate::jobs::Running::default(),
            external,
            queued,
            sql_session,
            started_ticks: now_ticks(),
            runtime,
            stop: CancellationToken::new(),
            stopping: AtomicBool::new(false),
        };
        let service = Service { inner: Arc::new(inner) };
        service.ensure_default_database()?;
        service.synchronize_library()?;
        service.start_upkeep();
        service.start_merging();
        service.start_queue();
        Ok(service)
    }

    /// Looks after views and stored results until the service stops or nobody holds it.
    fn start_upkeep(&self) {
        let service = Arc::downgrade(&self.inner);
        let stop = self.inner.stop.clone();
        self.inner.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
                }
                let Some(inner) = service.upgrade() else { return };
                Service { inner }.upkeep().await;
            }
        });
    }

    /// Clients fall back to this database, so it always exists.
    fn ensure_default_database(&self) -> Result<()> {
        if self.inner.store.snapshot().database(DEFAULT_DATABASE).is_some() {
            return Ok(());
        }
        let store = self.inner.store.clone();
        // Opening is synchronous, and may happen on a thread that drives futures already.
        let made = std::thread::scope(|scope| {
            let runtime = self.inner.runtime.clone();
            scope
                .spawn(move || runtime.block_on(store.create_database(DEFAULT_DATABASE, CreateMode::IfNotExists)))
                .join()
        });
        match made {
            Ok(made) => made.map(drop).map_err(Error::from),
            Err(_) => Err(Error::internal("making the default database panicked")),
        }
    }

    /// Brings the functions library where the options want it.
    fn synchronize_library(&self) -> Result<()> {
        let (store, is_wanted) = (self.inner.store.clone(), self.inner.options.library);
        // On a thread of its own for the same reason.
        let done = std::thread::scope(|scope| {
            let runtime = self.inner.runtime.clone();
            scope.spawn(move || runtime.block_on(crate::library::synchronize(&store, is_wanted))).join()
        });
        done.unwrap_or_else(|_| Err(Error::internal("making the functions library panicked")))
    }

    /// A handle that does not keep the service.
    pub(crate) fn downgrade(&self) -> WeakService {
        WeakService(Arc::downgrade(&self.inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The store, for the parts of the server that keep records of their own.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The engine's session for KQL.
    pub fn session(&self) -> &SessionContext {
        &self.inner.session
    }

    /// The engine's session for SQL, with the engine's own functions.
    pub fn sql_session(&self) -> &SessionContext {
        &self.inner.sql_session
    }

    /// Memory pool and disk manager that all runs share.
    pub fn runtime_env(&self) -> &Arc<RuntimeEnv> {
        &self.inner.runtime_env
    }

    /// Whether a command has made somebody administrator of the server.
    pub fn has_administrator(&self) -> bool {
        let snapshot = self.inner.store.snapshot();
        !Scope::Cluster.grants(&snapshot, Role::Admin).is_empty()
    }

    /// What `.show version` says.
    pub fn version(&self) -> &str {
        &self.inner.options.version
    }

    /// Runs a future where queries run, away from the caller's threads.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.runtime.spawn(future)
    }

    /// Ended when the server gives up what still runs.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Whether new requests are refused.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Relaxed)
    }

    /// Refuses new requests and cancels what runs.
    pub fn shut_down(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.stop.cancel();
        self.inner.journal.cancel_all();
    }
}

/// How often views and stored results are looked at.
const UPKEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
const TOP_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(3).expect("three is not zero");
/// Below the store's directory for what a restart may delete.
const SPILL_DIRECTORY: &str = "tmp/spill";

/// Half of the machine's memory, within reason.
fn default_memory_bytes() -> usize {
    const FALLBACK: usize = 2 << 30;
    const LEAST: usize = 256 << 20;
    match crate::maintenance::machine_memory_bytes() {
        Some((total, _)) => (total as usize / 2).max(LEAST),
        None => FALLBACK,
    }
}
