//! The Delta mirror: a `_delta_log` beside the data files, so that other engines read the tables.
//!
//! The catalog is the truth; the log follows it in the background. Each pass compares what the log says with what the
//! newest snapshot says and writes the difference as one version, so it does not matter which commits were missed: a
//! crash, a restart or a burst of commits all end in the same state. Files that a commit dropped stay on disk until
//! the log no longer names them. Every hundred versions a checkpoint sums up what they say, and old versions go.

mod checkpoint;
pub(crate) mod folder;
mod log;
mod schema;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::catalog::snapshot::{Removed, Snapshot, Table};
use crate::delta::folder::Folder;
use crate::delta::log::Log;
use crate::error::{Error, Result};
use crate::fault::Faults;
use crate::files::DELTA_LOG;
use crate::id::TableId;
use crate::store::StoreOptions;

/// The files that a table's log names as live.
pub(crate) fn live_files(folder: &Folder) -> Result<Option<HashSet<String>>> {
    if folder.names()?.is_empty() {
        return Ok(None);
    }
    Ok(Some(Log::read(folder)?.into_live()))
}

/// Takes a table's log away; the mirror writes it anew.
pub(crate) fn remove_log(folder: &Folder) -> Result<()> {
    folder.clear()
}

/// Time until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(30);

enum Message {
    Commit(Arc<Snapshot>, Removed),
    Flush(mpsc::SyncSender<()>),
}

/// The background writer of all tables' logs. Dropping it finishes what was committed.
#[derive(Debug)]
pub(crate) struct Mirror {
    sender: Option<mpsc::Sender<Message>>,
    worker: Option<JoinHandle<()>>,
}

impl Mirror {
    pub(crate) fn start(options: &StoreOptions, snapshot: &Arc<Snapshot>) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let mut worker = Worker {
            receiver,
            delay: Duration::from_millis(options.delta_delay_ms),
            faults: options.faults.clone(),
            logs: HashMap::new(),
            behind: Work::default(),
            refused: HashSet::new(),
        };
        // What was committed before the last end may not be mirrored yet.
        let tables =
            snapshot.databases().flat_map(|database| database.stored_tables()).map(|table| table.id()).collect();
        let first = Work { snapshot: Some(Arc::clone(snapshot)), tables, ..Work::default() };
        let thread = std::thread::Builder::new().name("tidewater-delta".into()).spawn(move || worker.run(first));
        let thread = thread.map_err(Error::io("start thread for", Path::new(DELTA_LOG)))?;
        Ok(Self { sender: Some(sender), worker: Some(thread) })
    }

    /// Tells of a commit. What it removed is held until the log shows it.
    pub(crate) fn notify(&self, snapshot: Arc<Snapshot>, removed: Removed) {
        if removed.touched.is_empty() && removed.tables.is_empty() {
            return;
        }
        if let Some(sender) = &self.sender {
            let _ = sender.send(Message::Commit(snapshot, removed));
        }
    }

    /// Returns when every commit told of before is mirrored.
    pub(crate) fn flush(&self) -> Result<()> {
        let (done, wait) = mpsc::sync_channel(1);
        let sender = self.sender.as_ref().ok_or(Error::Stopped)?;
        sender.send(Message::Flush(done)).map_err(|_| Error::Stopped)?;
        wait.recv().map_err(|_| Error::Stopped)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Commits that wait to be mirrored.
#[derive(Default)]
struct Work {
    snapshot: Option<Arc<Snapshot>>,
    tables: HashSet<TableId>,
    /// Keeps dropped files on disk until the log no longer names them.
    removed: Vec<Removed>,
    flushes: Vec<mpsc::SyncSender<()>>,
}

impl Work {
    fn take(&mut self, message: Message) {
        match message {
            Message::Commit(snapshot, removed) => {
                self.snapshot = Some(snapshot);
                self.tables.extend(&removed.touched);
                self.tables.extend(removed.tables.iter().map(|table| table.id()));
                self.removed.push(removed);
            }
            Message::Flush(done) => self.flushes.push(done),
        }
    }
}

struct Worker {
    receiver: mpsc::Receiver<Message>,
    delay: Duration,
    faults: Faults,
    logs: HashMap<TableId, Log>,
    /// Tables whose log could not be written, to be tried again.
    behind: Work,
    /// Tables that cannot be mirrored, so that each is reported once.
    refused: HashSet<TableId>,
}

impl Worker {
    fn run(&mut self, first: Work) {
        self.mirror(first);
        loop {
            let mut work = Work::default();
            let first = match self.behind.snapshot {
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.receiver.recv_timeout(AGAIN),
            };
            match first {
                Ok(message) => work.take(message),
                Err(RecvTimeoutError::Timeout) => {
                    let behind = std::mem::take(&mut self.behind);
                    self.mirror(behind);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Commits that come in a burst share a version, unless somebody waits.
            let deadline = Instant::now() + self.delay;
            let mut ended = false;
            while work.flushes.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.receiver.recv_timeout(left) {
                    Ok(message) => work.take(message),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        ended = true;
                        break;
                    }
                }
            }
            self.mirror(work);
            if ended {
                return;
            }
        }
    }

    fn mirror(&mut self, work: Work) {
        let Work { snapshot, tables, removed, flushes } = work;
        if let Some(snapshot) = snapshot {
            let mut down: HashSet<String> = HashSet::new();
            for id in tables {
                match snapshot.table_by_id(id) {
                    Some(table) => {
                        let address = table.directory().place().remote().map(|remote| remote.address());
                        // A store that does not answer is asked once.
                        let done = match address.is_some_and(|address| down.contains(address)) {
                            true => Err(Error::Stopped),
                            false => self.mirror_table(table, snapshot.sequence()),
                        };
                        if let Err(error) = done {
                            // It is tried again from what is there: by the next commit of the table, or in a while.
                            self.logs.remove(&id);
                            if let (Some(address), Error::Unreachable { .. }) = (address, &error) {
                                down.insert(address.to_string());
                            }
                            if self.behind.tables.insert(id) && !matches!(error, Error::Stopped) {
                                tracing::warn!(%error, table = table.name(), "delta log is behind the catalog");
                            }
                            self.behind.snapshot = Some(Arc::clone(&snapshot));
                        }
                    }
                    None => {
                        self.logs.remove(&id);
                        self.refused.remove(&id);
                    }
                }
            }
        }
        drop(removed);
        for done in flushes {
            let _ = done.send(());
        }
    }

    fn mirror_table(&mut self, table: &Table, sequence: u64) -> Result<()> {
        let id = table.id();
        let folder = Folder::of(table.directory())?;
        if let Err(reason) = schema::check(table.columns()) {
            if self.refused.insert(id) {
                tracing::info!(table = table.name(), %reason, "table is not mirrored as a Delta table");
            }
            self.logs.remove(&id);
            return folder.clear();
        }
        self.refused.remove(&id);
        // Another writer may take a version between reading and writing; then the log is read again.
        for _ in 0..5 {
            let log = match self.logs.remove(&id) {
                Some(log) => log,
                None => Log::read(&folder)?,
            };
            let written = log.follow(table, sequence, &self.faults)?;
            if let Some(log) = written {
                self.logs.insert(id, log);
                return Ok(());
            }
        }
        Err(Error::Invalid(format!("another process writes to '{}'", folder.shown("").display())))
    }
}
