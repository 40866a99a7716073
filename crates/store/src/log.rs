//! A bounded log of small JSON records in a SQLite file beside the catalog: what ran, and how it ended.
//!
//! A thread of its own writes what requests hand over, in batches, so that no request waits for the disk unless it asks
//! to ([`Log::flush`]). A process that is killed loses at most the records of the last moment; the file itself holds.
//! The log never grows without bound, in memory or on disk, and a file that cannot be read is put aside: nothing else
//! depends on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::store::Clock;

/// Records that may wait for the writer.
const MAX_QUEUED: usize = 16_384;
/// Bytes of records that may wait for the writer.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Records of one transaction.
const MAX_BATCH: usize = 1_024;
/// How long a record may wait for others.
const BATCH_TIME: Duration = Duration::from_millis(200);
/// Records written between two looks at the bounds.
const RECORDS_PER_TRIM: usize = 2_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY, stream TEXT NOT NULL, key BLOB NOT NULL UNIQUE, activity BLOB NOT NULL,
  time INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS records_by_stream ON records (stream, seq);
CREATE INDEX IF NOT EXISTS records_by_activity ON records (activity);
";

/// How much of the past a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct LogBounds {
    /// Records of each stream.
    pub records: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Ticks from a record's time to its end.
    pub age_ticks: i64,
}

impl Default for LogBounds {
    fn default() -> Self {
        const TICKS_PER_DAY: i64 = 864_000_000_000;
        Self { records: 100_000, bytes: 512 << 20, age_ticks: 30 * TICKS_PER_DAY }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Which kind of thing it is about.
    pub stream: &'static str,
    /// Its identity: a later record with the same key takes its place.
    pub key: Uuid,
    /// The request it belongs to.
    pub activity: Uuid,
    /// When it began, in ticks.
    pub time: i64,
    /// Where it stands.
    pub state: String,
    /// A JSON object.
    pub body: String,
}

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFilter {
    /// All.
    All,
    /// Those of one request.
    Activity(Uuid),
}

/// Makes a record on the writer's thread.
type MakeRecord = Box<dyn FnOnce() -> LogRecord + Send>;

enum Message {
    Put(usize, MakeRecord),
    Amend { stream: &'static str, from: String, to: String, patch: String },
    Read { stream: &'static str, filter: LogFilter, reply: Reply<Vec<LogRecord>> },
    Flush(Reply<()>),
}

type Reply<T> = tokio::sync::oneshot::Sender<Result<T>>;

/// The log of a data directory. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    bounds: LogBounds,
    clock: Clock,
    /// Started by the first record or reader.
    worker: OnceLock<Option<Worker>>,
    queued_bytes: Arc<AtomicUsize>,
    hurry: Arc<Hurry>,
}

/// What wakes the writer before the end of its wait: a question, a full batch, or the end. Records alone do not, so
/// that requests do not pay for waking a thread.
#[derive(Debug, Default)]
struct Hurry {
    is_asked: Mutex<bool>,
    asked: Condvar,
    records: AtomicUsize,
}

impl Hurry {
    fn up(&self) {
        *self.is_asked.lock() = true;
        self.asked.notify_one();
    }

    /// A record more is there.
    fn record(&self) {
        if self.records.fetch_add(1, Ordering::Relaxed) + 1 == MAX_BATCH {
            self.up();
        }
    }

    /// Waits until there is a reason, at most [`BATCH_TIME`].
    fn wait(&self) {
        let mut is_asked = self.is_asked.lock();
        if !*is_asked {
            self.asked.wait_for(&mut is_asked, BATCH_TIME);
        }
        *is_asked = false;
        self.records.store(0, Ordering::Relaxed);
    }
}

struct Worker {
    sender: Option<SyncSender<Message>>,
    hurry: Arc<Hurry>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("path", &self.inner.path).finish()
    }
}

impl Log {
    pub(crate) fn new(path: PathBuf, bounds: LogBounds, clock: Clock) -> Log {
        let (queued_bytes, hurry) = (Arc::default(), Arc::default());
        Log { inner: Arc::new(Inner { path, bounds, clock, worker: OnceLock::new(), queued_bytes, hurry }) }
    }

    /// Hands a record over; it is made by the writer. `bytes` is about its size. Tells whether the writer keeps up:
    /// what it cannot take is lost.
    pub fn put(&self, bytes: usize, record: impl FnOnce() -> LogRecord + Send + 'static) -> bool {
        let queued = &self.inner.queued_bytes;
        if queued.load(Ordering::Relaxed) + bytes > MAX_QUEUED_BYTES {
            return false;
        }
        queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.send(Message::Put(bytes, Box::new(record)));
        if sent {
            self.inner.hurry.record();
        } else {
            queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// Moves all records of a stream from one state to another; `patch` is merged into their bodies.
    pub fn amend(&self, stream: &'static str, from: &str, to: &str, patch: &serde_json::Value) {
        let (from, to, patch) = (from.to_string(), to.to_string(), patch.to_string());
        self.send(Message::Amend { stream, from, to, patch });
        self.inner.hurry.up();
    }

    /// Returns when everything handed over before is written.
    pub async fn flush(&self) -> Result<()> {
        self.ask(Message::Flush).await
    }

    /// The records of a stream, oldest first, with everything that was handed over before.
    pub async fn read(&self, stream: &'static str, filter: LogFilter) -> Result<Vec<LogRecord>> {
        self.ask(|reply| Message::Read { stream, filter, reply }).await
    }

    /// Questions wait for room in the queue; records do not.
    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let Some(sender) = self.sender().cloned() else { return Err(Error::Stopped) };
        let message = message(reply);
        let rejected = match sender.try_send(message) {
            Ok(()) => None,
            Err(TrySendError::Full(message)) => Some(message),
            Err(TrySendError::Disconnected(_)) => return Err(Error::Stopped),
        };
        self.inner.hurry.up();
        if let Some(message) = rejected {
            crate::store::blocking(move || sender.send(message).map_err(|_| Error::Stopped)).await?;
            self.inner.hurry.up();
        }
        answer.await.map_err(|_| Error::Stopped)?
    }

    fn send(&self, message: Message) -> bool {
        self.sender().is_some_and(|sender| sender.try_send(message).is_ok())
    }

    fn sender(&self) -> Option<&SyncSender<Message>> {
        let worker = self.inner.worker.get_or_init(|| {
            let (sender, receiver) = sync_channel(MAX_QUEUED);
            let (path, bounds, clock) = (self.inner.path.clone(), self.inner.bounds, self.inner.clock.clone());
            let queued = Arc::clone(&self.inner.queued_bytes);
            let (hurry, waking) = (Arc::clone(&self.inner.hurry), Arc::clone(&self.inner.hurry));
            let thread = std::thread::Builder::new().name("tidewater-journal".into()).spawn(move || {
                Writer { path, bounds, clock, queued, since_trim: 0, connection: None }.run(&receiver, &hurry);
            });
            match thread {
                Ok(thread) => Some(Worker { sender: Some(sender), hurry: waking, thread: Mutex::new(Some(thread)) }),
                Err(error) => {
                    tracing::error!(%error, "the journal has no thread");
                    None
                }
            }
        });
        worker.as_ref()?.sender.as_ref()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without a sender the writer writes what it has and ends.
        self.sender = None;
        self.hurry.up();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

struct Writer {
    path: PathBuf,
    bounds: LogBounds,
    clock: Clock,
    queued: Arc<AtomicUsize>,
    since_trim: usize,
    connection: Option<Connection>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>, hurry: &Hurry) {
        match open(&self.path) {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => tracing::error!(%error, "the journal cannot be opened; what runs is not written down"),
        }
        let mut batch: Vec<(usize, MakeRecord)> = Vec::new();
        // Blocks while nothing comes; then waits for more without being woken by it.
        while let Ok(first) = receiver.recv() {
            let mut next = match first {
                first @ Message::Put(..) => {
                    hurry.wait();
                    Ok(first)
                }
                first => Ok(first),
            };
            loop {
                match next {
                    Ok(Message::Put(bytes, record)) => {
                        batch.push((bytes, record));
                        if batch.len() >= MAX_BATCH {
                            self.write(&mut batch);
                        }
                    }
                    Ok(other) => {
                        self.write(&mut batch);
                        self.answer(other);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        self.write(&mut batch);
                        return;
                    }
                }
                next = receiver.try_recv();
            }
            self.write(&mut batch);
        }
    }

    fn answer(&mut self, message: Message) {
        match message {
            Message::Put(..) => {}
            Message::Amend { stream, from, to, patch } => {
                let amended = self.connection().and_then(|connection| {
                    let sql =
                        "UPDATE records SET state = ?3, body = json_patch(body, ?4) WHERE stream = ?1 AND state = ?2";
                    Ok(connection.execute(sql, params![stream, from, to, patch])?)
                });
                if let Err(error) = amended {
                    tracing::error!(%error, "the journal of a former process cannot be ended");
                }
            }
            Message::Read { stream, filter, reply } => {
                // Whoever does not wait any longer needs no answer.
                let _gone = reply.send(self.connection().and_then(|connection| read(connection, stream, filter)));
            }
            Message::Flush(reply) => {
                let _gone = reply.send(self.connection().map(drop));
            }
        }
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Stopped)
    }

    fn write(&mut self, batch: &mut Vec<(usize, MakeRecord)>) {
        if batch.is_empty() {
            return;
        }
        let bytes: usize = batch.iter().map(|(bytes, _)| bytes).sum();
        let count = batch.len();
        let records: Vec<LogRecord> = batch.drain(..).map(|(_, record)| record()).collect();
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        let written = match &mut self.connection {
            Some(connection) => insert(connection, &records),
            None => return,
        };
        if let Err(error) = written {
            tracing::error!(%error, records = count, "records of the journal are lost");
        }
        self.since_trim += count;
        if self.since_trim >= RECORDS_PER_TRIM {
            self.since_trim = 0;
            let oldest = self.clock.now().saturating_sub(self.bounds.age_ticks);
            if let Some(connection) = &self.connection
                && let Err(error) = trim(connection, &self.bounds, oldest)
            {
                tracing::error!(%error, "the journal cannot be cut");
            }
        }
    }
}

/// Opens the file, or a new one when it cannot be read.
fn open(path: &Path) -> Result<Connection> {
    match connect(path) {
        Ok(connection) => Ok(connection),
        Err(error) => {
            tracing::error!(%error, "the journal cannot be read and is put aside");
            for suffix in ["", "-wal", "-shm"] {
                let from = with_suffix(path, suffix);
                let _absent = std::fs::rename(&from, with_suffix(path, &format!(".unreadable{suffix}")));
            }
            connect(path)
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What the system has is safe from the end of the process; a power failure may cost the last records.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn insert(connection: &mut Connection, records: &[LogRecord]) -> Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO records (stream, key, activity, time, state, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (key) DO UPDATE SET state = excluded.state, body = excluded.body",
        )?;
        for record in records {
            let LogRecord { stream, key, activity, time, state, body } = record;
            statement.execute(params![stream, &key.as_bytes()[..], &activity.as_bytes()[..], time, state, body])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read(connection: &Connection, stream: &'static str, filter: LogFilter) -> Result<Vec<LogRecord>> {
    let columns = "SELECT key, activity, time, state, body FROM records WHERE stream = ?1";
    let of_row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<LogRecord> {
        let id = |bytes: Vec<u8>| Uuid::from_slice(&bytes).unwrap_or_default();
        Ok(LogRecord {
            stream,
            key: id(row.get(0)?),
            activity: id(row.get(1)?),
            time: row.get(2)?,
            state: row.get(3)?,
            body: row.get(4)?,
        })
    };
    let rows = match filter {
        LogFilter::All => {
            let mut statement = connection.prepare_cached(&format!("{columns} ORDER BY seq"))?;
            let rows = statement.query_map(params![stream], of_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        }
        LogFilter::Activity(activity) => {
            let mut statement = connection.prepare_cached(&format!("{columns} AND activity = ?2 ORDER BY seq"))?;
            let rows = statement.query_map(params![stream, &activity.as_bytes()[..]], of_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        }
    };
    Ok(rows)
}

/// Takes away what is too old, then what is too much.
fn trim(connection: &Connection, bounds: &LogBounds, oldest: i64) -> Result<()> {
    connection.execute("DELETE FROM records WHERE time < ?1", [oldest])?;
    let streams: Vec<String> = {
        let mut statement = connection.prepare_cached("SELECT DISTINCT stream FROM records")?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect::<rusqlite::Result<_>>()?
    };
    for stream in streams {
        let sql = "DELETE FROM records WHERE stream = ?1 AND seq <=
                   (SELECT seq FROM records WHERE stream = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)";
        connection.execute(sql, params![stream, bounds.records as i64])?;
    }
    let used = |connection: &Connection| -> Result<u64> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok(pages.max(0) as u64 * pragma("page_size")?.max(0) as u64)
    };
    while used(connection)? > bounds.bytes {
        let sql = "DELETE FROM records WHERE seq <=
                   (SELECT seq FROM records ORDER BY seq LIMIT 1 OFFSET (SELECT count(*) / 5 FROM records))";
        if connection.execute(sql, [])? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u128, state: &str) -> LogRecord {
        let key = Uuid::from_u128(key);
        LogRecord { stream: "s", key, activity: key, time: 1, state: state.into(), body: r#"{"a":1}"#.into() }
    }

    fn log(path: &Path, bounds: LogBounds) -> Log {
        Log::new(path.join("journal.sqlite"), bounds, Clock::new(|| 2))
    }

    #[tokio::test]
    async fn records_survive_and_a_later_one_takes_the_place_of_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let first = log(directory.path(), LogBounds::default());
        assert!(first.put(1, || record(1, "begun")) && first.put(1, || record(2, "begun")));
        assert!(first.put(1, || record(1, "done")));
        drop(first);
        let second = log(directory.path(), LogBounds::default());
        second.amend("s", "begun", "lost", &serde_json::json!({"b": 2}));
        let found = second.read("s", LogFilter::All).await.unwrap();
        let states: Vec<&str> = found.iter().map(|record| record.state.as_str()).collect();
        assert_eq!(states, ["done", "lost"]);
        assert_eq!(found[1].body, r#"{"a":1,"b":2}"#);
        assert_eq!(second.read("s", LogFilter::Activity(Uuid::from_u128(2))).await.unwrap().len(), 1);
        assert!(second.read("t", LogFilter::All).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_past_is_bounded_by_records_and_age() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = LogBounds { records: 10, ..LogBounds::default() };
        let log = log(directory.path(), bounds);
        for key in 0..RECORDS_PER_TRIM as u128 {
            assert!(log.put(1, move || record(key, "done")));
            if key % 1000 == 0 {
                log.flush().await.unwrap();
            }
        }
        log.flush().await.unwrap();
        let left = log.read("s", LogFilter::All).await.unwrap();
        assert_eq!(left.len(), 10);
        assert_eq!(left[9].key, Uuid::from_u128(RECORDS_PER_TRIM as u128 - 1));
        let connection = connect(&directory.path().join("journal.sqlite")).unwrap();
        trim(&connection, &bounds, 2).unwrap();
        assert!(log.read("s", LogFilter::All).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_no_journal_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.sqlite");
        std::fs::write(&path, "this is no database, but long enough to be taken for one".repeat(100)).unwrap();
        let log = log(directory.path(), LogBounds::default());
        assert!(log.put(1, || record(1, "done")));
        assert_eq!(log.read("s", LogFilter::All).await.unwrap().len(), 1);
        assert!(with_suffix(&path, ".unreadable").exists());
    }
}
