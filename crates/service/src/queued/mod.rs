//! Queued ingestion: files are named in messages, wait for others like them, and are ingested together.
//!
//! A message is a record of the store from the moment its sender is answered until its file's rows are visible or its
//! failure is told. A batch marks its table in the commit that makes its rows visible, and a table has one batch at a
//! time: so after a crash the mark tells whether a batch was committed, and no file is lost or ingested twice. Source:
//! kusto-rest section 10, ingestion-batching policy page.

mod blobs;
pub mod mailbox;
mod message;
mod resources;
mod run;
mod signed;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidewater_store::{JobRecord, JobStore};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use crate::context::{Context, now_ticks};
use crate::error::{Error, Fault, Result};
use crate::policies::{self, IngestionBatchingPolicy};
use crate::service::Service;

pub use blobs::{BlobInfo, Upload};
pub use mailbox::{Mail, Mailbox, Mailboxes};
pub use resources::{ACCOUNT, Resource};

use blobs::Blobs;
use message::Message;
use signed::SigningKey;

/// The kind of the records of messages.
const MESSAGES: &str = "queued ingestion";
/// A message that no batch has taken.
const WAITING: &str = "Waiting";
/// A message in a batch that may be committed already.
const BATCHED: &str = "Batched";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
const CANCELED: &str = "Canceled";
/// Messages that may wait.
const MAX_WAITING: usize = 100_000;
/// Bytes of a message. Source: Azure's queues take 64 KiB.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Files of one commit: each is open until it is read.
const MAX_BATCH_FILES: usize = 200;
/// Batches that run at once, of different tables.
const MAX_BATCHES: usize = 2;
/// How often what is old is removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// The queue of a service.
pub(crate) struct Queued {
    pub key: SigningKey,
    pub blobs: Blobs,
    pub mail: Mailboxes,
    jobs: JobStore,
    state: Mutex<State>,
    changed: Notify,
    slots: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    groups: HashMap<String, Group>,
    /// Tables with a batch under way, by database and name.
    busy: HashSet<(String, String)>,
    waiting: usize,
    /// Records made while those of the last process are read, which are not to be taken up twice; none afterwards.
    fresh: Option<HashSet<String>>,
}

/// Files that may be ingested together.
struct Group {
    items: VecDeque<Item>,
    bytes: u64,
    first: Instant,
    /// Whether it waits no longer.
    flush: bool,
}

/// A message with the record that keeps it.
#[derive(Clone, Debug)]
struct Item {
    scope: String,
    record: String,
    message: Message,
    bytes: u64,
    attempts: u64,
}

/// What became of a file of a tracked request.
#[derive(Clone, Debug)]
pub struct FileStatus {
    /// The client's id of it.
    pub source_id: String,
    /// Its address without secrets.
    pub url: String,
    /// `InProgress`, `Succeeded`, `Failed`, `Canceled`.
    pub status: &'static str,
    /// When it was taken in, in ticks.
    pub started: i64,
    /// When its status changed, in ticks.
    pub updated: i64,
    /// Code, `Permanent` or `Transient`, and words of a failure.
    pub failure: Option<(String, String, String)>,
}

/// A tracked request.
pub(crate) struct Operation {
    pub id: Uuid,
    pub database: String,
    pub table: String,
    pub files: Vec<FileStatus>,
}

/// A file that a command queues.
pub(crate) struct QueuedFile {
    /// A connection string.
    pub address: String,
    pub bytes: Option<u64>,
    /// Ingestion properties by lower-case name.
    pub properties: Vec<(String, String)>,
}

impl Queued {
    /// Opens the queue of a data directory.
    pub fn open(root: &Path, jobs: JobStore, room: tidewater_store::Room) -> Result<Queued> {
        let directory = root.join("queue");
        std::fs::create_dir_all(&directory)
            .map_err(|error| Error::internal(format!("cannot make the directory of the queue: {error}")))?;
        Ok(Queued {
            key: SigningKey::open(&directory)?,
            blobs: Blobs::open(&directory, room)?,
            mail: Mailboxes::new(jobs.clone()),
            jobs,
            state: Mutex::new(State { fresh: Some(HashSet::new()), ..State::default() }),
            changed: Notify::new(),
            slots: Arc::new(Semaphore::new(MAX_BATCHES)),
        })
    }

    /// Keeps a message, and has it ingested in its time.
    async fn put(&self, mut message: Message) -> Result<()> {
        if self.state.lock().waiting >= MAX_WAITING {
            return Err(Error::new(
                Fault::Throttled,
                format!("{MAX_WAITING} files wait to be ingested already; try again later"),
            ));
        }
        message.received = now_ticks();
        let bytes = match (message.raw_bytes, self.own_blob(&message.blob)) {
            (Some(bytes), _) => bytes,
            (None, Some(name)) => self.blobs.info(&name).await.map_or(0, |info| info.bytes),
            (None, None) => 0,
        };
        let scope = message.operation.map(|id| id.to_string()).unwrap_or_default();
        let record = Uuid::new_v4().to_string();
        let value = json!({"message": message, "bytes": bytes, "attempts": 0});
        if let Some(fresh) = &mut self.state.lock().fresh {
            fresh.insert(record.clone());
        }
        self.jobs.insert(MESSAGES, &scope, &record, move |_| (WAITING.to_string(), value)).await?;
        self.wait(Item { scope, record, message, bytes, attempts: 0 });
        Ok(())
    }

    /// Puts an item among those that wait.
    fn wait(&self, item: Item) {
        let mut state = self.state.lock();
        state.waiting += 1;
        let group = state.groups.entry(item.message.key()).or_insert_with(|| Group {
            items: VecDeque::new(),
            bytes: 0,
            first: Instant::now(),
            flush: false,
        });
        group.bytes += item.bytes;
        // What has failed before has waited already.
        group.flush |= item.message.flush || item.attempts > 0;
        group.items.push_back(item);
        drop(state);
        self.changed.notify_one();
    }

    /// The name of a blob of our own storage, if the address is one that we have signed.
    pub fn own_blob(&self, text: &str) -> Option<String> {
        let address = text.split(';').next().unwrap_or(text);
        let url = reqwest::Url::parse(address).ok()?;
        let (resource, name) = Resource::of_path(url.path())?;
        let query: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let is_ours = resource == Resource::Uploads && self.key.allows(resource.name(), &query, 'r', None);
        (is_ours && !name.is_empty()).then_some(name)
    }

    /// What has waited long enough, a batch per table; and when the next one will have.
    fn due(&self, service: &Service) -> (Vec<Vec<Item>>, Option<Instant>) {
        let snapshot = service.store().snapshot();
        let now = Instant::now();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut batches = Vec::new();
        let mut next: Option<Instant> = None;
        let mut slots = self.slots.available_permits();
        for group in state.groups.values_mut() {
            let Some(first) = group.items.front() else { continue };
            let place = (first.message.database.to_lowercase(), first.message.table.clone());
            let database = snapshot.database(&first.message.database);
            let table = database.and_then(|database| database.table(&first.message.table));
            // A table that is not there has nothing to wait for.
            let policy =
                table.map(|table| policies::of_table::<IngestionBatchingPolicy>(&snapshot, table).unwrap_or_default());
            let (files, bytes, span) = match &policy {
                Some(policy) => (
                    usize::try_from(policy.maximum_number_of_items).unwrap_or(usize::MAX).max(1),
                    policy.maximum_raw_data_size_mb.saturating_mul(1 << 20),
                    Duration::from_nanos(
                        u64::try_from(policy.maximum_batching_time_span.ticks()).unwrap_or(0).saturating_mul(100),
                    ),
                ),
                None => (1, 0, Duration::ZERO),
            };
            let until = group.first + span;
            group.flush |= group.items.len() >= files || group.bytes >= bytes || until <= now;
            if !group.flush {
                next = Some(next.map_or(until, |next| next.min(until)));
                continue;
            }
            if slots == 0 || state.busy.contains(&place) {
                // Whoever ends a batch looks again.
                continue;
            }
            let mut batch: Vec<Item> = Vec::new();
            let mut taken = 0;
            while batch.len() < files.min(MAX_BATCH_FILES)
                && (batch.is_empty() || taken < bytes)
                && let Some(item) = group.items.pop_front()
            {
                taken += item.bytes;
                group.bytes = group.bytes.saturating_sub(item.bytes);
                batch.push(item);
            }
            state.waiting = state.waiting.saturating_sub(batch.len());
            state.busy.insert(place);
            slots -= 1;
            batches.push(batch);
        }
        state.groups.retain(|_, group| !group.items.is_empty());
        (batches, next)
    }

    fn ended(&self, database: &str, table: &str) {
        self.state.lock().busy.remove(&(database.to_lowercase(), table.to_string()));
        self.changed.notify_one();
    }

    /// The addresses of uploads that messages still name.
    fn named(&self) -> Vec<String> {
        let state = self.state.lock();
        let items = state.groups.values().flat_map(|group| &group.items);
        items.filter_map(|item| self.own_blob(&item.message.blob)).collect()
    }
}

fn item_of(record: JobRecord) -> Option<Item> {
    let message: Message = serde_json::from_value(record.value.get("message")?.clone()).ok()?;
    let number = |name: &str| record.value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (bytes, attempts) = (number("bytes"), number("attempts"));
    Some(Item { scope: record.scope, record: record.id, message, bytes, attempts })
}

impl Service {
    /// Takes what waits to its tables until the service stops or nobody holds it.
    pub(crate) fn start_queue(&self) {
        let weak = self.downgrade();
        let stop = self.stop_token().clone();
        self.spawn(async move {
            let Some(service) = weak.upgrade() else { return };
            service.recover_queue().await;
            drop(service);
            let mut swept: Option<Instant> = None;
            loop {
                let Some(service) = weak.upgrade() else { return };
                let queued = &service.inner().queued;
                if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL) {
                    swept = Some(Instant::now());
                    service.sweep_queue().await;
                }
                let (batches, next) = queued.due(&service);
                for batch in batches {
                    let Ok(slot) = Arc::clone(&queued.slots).acquire_owned().await else { return };
                    let service = service.clone();
                    let Some(first) = batch.first() else { continue };
                    let place = (first.message.database.clone(), first.message.table.clone());
                    self::spawn_batch(service, batch, place, slot);
                }
                let patience = next.map_or(SWEEP_INTERVAL, |next| next.saturating_duration_since(Instant::now()));
                let patience = patience.min(SWEEP_INTERVAL);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = queued.changed.notified() => {}
                    () = tokio::time::sleep(patience) => {}
                }
            }
        });
    }

    async fn sweep_queue(&self) {
        let queued = &self.inner().queued;
        let now = now_ticks();
        #[allow(clippy::disallowed_methods, reason = "compared with the times of files")]
        queued.blobs.sweep(queued.named(), SystemTime::now()).await;
        let before = (now - mailbox::MAX_AGE_TICKS - tidewater_kql::value::datetime::UNIX_EPOCH_TICKS) / 10;
        let swept = queued.mail.sweep(now).await;
        let ended = queued.jobs.remove_before(MESSAGES, before).await.map_err(Error::from);
        for error in [swept.err(), ended.err()].into_iter().flatten() {
            tracing::error!(%error, "old records of queued ingestion could not be removed");
        }
    }

    /// Takes up what the last process has left: what its batches have committed is done, the rest waits again.
    async fn recover_queue(&self) {
        let queued = &self.inner().queued;
        let records = queued.jobs.in_states(MESSAGES, &[WAITING, BATCHED]).await;
        let fresh = queued.state.lock().fresh.take().unwrap_or_default();
        let mut records = match records {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, "the messages of queued ingestion cannot be read");
                return;
            }
        };
        records.retain(|record| !fresh.contains(&record.id));
        for record in records {
            let batch = record.value.get("batch").and_then(Value::as_str).map(str::to_string);
            let is_batched = record.state == BATCHED;
            let Some(item) = item_of(record) else { continue };
            match batch.filter(|_| is_batched) {
                Some(batch) if self.is_committed(&item, &batch) => self.succeeded(&item).await,
                _ => queued.wait(item),
            }
        }
    }

    /// Takes a client's message from its queue: base64 around JSON.
    pub async fn enqueue(&self, text: &[u8]) -> Result<()> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(Error::bad_request(format!("a message has at most {MAX_MESSAGE_BYTES} bytes")));
        }
        self.inner().queued.put(Message::of_queue(text)?).await
    }

    /// Takes the files that a REST request names; gives the id by which they are tracked, if that was asked for.
    pub async fn enqueue_files(&self, context: &Context, table: &str, body: &[u8]) -> Result<Option<Uuid>> {
        self.check_may_ingest(context, table)?;
        let (messages, is_tracked) = Message::of_rest(body, &context.database, table)?;
        // What can be refused now is refused now.
        for message in &messages {
            message.ingestion()?;
            if self.inner().queued.own_blob(&message.blob).is_none() {
                self.inner().external.check_address(&message.blob)?;
            }
        }
        let operation = is_tracked.then(Uuid::new_v4);
        for message in messages {
            let identity = Some((*context.identity).clone());
            let message = Message { identity, operation, application: context.application.clone(), ..message };
            self.inner().queued.put(message).await?;
        }
        Ok(operation)
    }

    /// What became of the files of a tracked request.
    pub async fn queued_files(&self, context: &Context, table: &str, operation: Uuid) -> Result<Vec<FileStatus>> {
        self.check_may_ingest(context, table)?;
        let found = self.queued_operation(operation).await?;
        match found.database.eq_ignore_ascii_case(&context.database) && found.table == table {
            true => Ok(found.files),
            false => Err(unknown_operation(operation)),
        }
    }

    /// A tracked request with its files.
    pub(crate) async fn queued_operation(&self, operation: Uuid) -> Result<Operation> {
        let page = tidewater_store::JobPage {
            order: tidewater_store::JobOrder::Created,
            descending: false,
            from: None,
            to: None,
            limit: MAX_WAITING,
        };
        let records = self.inner().queued.jobs.list(MESSAGES, &operation.to_string(), page, |_| true).await?;
        let ticks = |micros: i64| tidewater_kql::value::datetime::UNIX_EPOCH_TICKS + micros * 10;
        let mut found = Operation { id: operation, database: String::new(), table: String::new(), files: Vec::new() };
        for record in records {
            let (started, updated) = (ticks(record.created), ticks(record.updated));
            let status = match record.state.as_str() {
                SUCCEEDED => SUCCEEDED,
                FAILED => FAILED,
                CANCELED => CANCELED,
                _ => "InProgress",
            };
            let text = |name: &str| record.value.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
            let failure = (status == FAILED).then(|| (text("errorCode"), text("failureStatus"), text("details")));
            let Some(item) = item_of(record) else { continue };
            found.database = item.message.database.clone();
            found.table = item.message.table.clone();
            found.files.push(FileStatus {
                source_id: item.message.id.clone(),
                url: crate::external::location::shown(&item.message.blob).to_string(),
                status,
                started,
                updated,
                failure,
            });
        }
        if found.files.is_empty() { Err(unknown_operation(operation)) } else { Ok(found) }
    }

    /// Queues files for a table that the caller may ingest into; gives the id of the request.
    pub(crate) async fn queue_files(
        &self,
        context: &Context,
        table: &str,
        files: Vec<QueuedFile>,
        is_tracked: bool,
        flush: bool,
    ) -> Result<Uuid> {
        let operation = Uuid::new_v4();
        let mut messages = Vec::with_capacity(files.len());
        for QueuedFile { address, bytes, properties } in files {
            if self.inner().queued.own_blob(&address).is_none() {
                self.inner().external.check_address(&address)?;
            }
            let message = Message {
                identity: Some((*context.identity).clone()),
                operation: is_tracked.then_some(operation),
                application: context.application.clone(),
                raw_bytes: bytes,
                flush,
                properties,
                ..Message::of_file(address, &context.database, table)
            };
            message.ingestion()?;
            messages.push(message);
        }
        for message in messages {
            self.inner().queued.put(message).await?;
        }
        Ok(operation)
    }

    /// Gives up the files of a request that no batch has taken yet.
    pub(crate) async fn cancel_queued(&self, operation: Uuid) -> Result<()> {
        let queued = &self.inner().queued;
        let mut given_up = Vec::new();
        {
            let mut state = queued.state.lock();
            for group in state.groups.values_mut() {
                let (own, others): (VecDeque<Item>, VecDeque<Item>) =
                    group.items.drain(..).partition(|item| item.message.operation == Some(operation));
                group.items = others;
                group.bytes = group.items.iter().map(|item| item.bytes).sum();
                given_up.extend(own);
            }
            state.waiting = state.waiting.saturating_sub(given_up.len());
        }
        for item in given_up {
            let change = |record: &mut JobRecord, _| record.state = CANCELED.to_string();
            queued.jobs.update(MESSAGES, &item.scope, &item.record, change).await?;
        }
        Ok(())
    }

    /// Begins to take in a blob of our own storage, or a block of one.
    pub async fn upload(&self, name: &str, block: Option<&str>) -> Result<Upload> {
        self.inner().queued.blobs.create(name, block).await
    }

    /// Makes a blob of its blocks.
    pub async fn join_blocks(&self, name: &str, blocks: Vec<String>) -> Result<()> {
        self.inner().queued.blobs.join(name, blocks).await
    }

    /// What is known of a blob.
    pub async fn blob_info(&self, name: &str) -> Option<BlobInfo> {
        self.inner().queued.blobs.info(name).await
    }

    /// A blob's bytes from a place on.
    pub async fn read_blob(&self, name: &str, from: u64) -> Result<tokio::fs::File> {
        self.inner().queued.blobs.read(name, from).await
    }

    /// Removes a blob.
    pub async fn remove_blob(&self, name: &str) -> bool {
        self.inner().queued.blobs.remove(name).await
    }

    /// The queues and the table by which clients are told.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.inner().queued.mail
    }

    /// Whether the query of an address of our storage gives a permission.
    pub fn is_signed(&self, resource: Resource, query: &[(String, String)], permission: char) -> bool {
        self.inner().queued.key.allows(resource.name(), query, permission, Some(now_ticks()))
    }
}

fn spawn_batch(service: Service, batch: Vec<Item>, place: (String, String), slot: tokio::sync::OwnedSemaphorePermit) {
    let runner = service.clone();
    service.spawn(async move {
        runner.run_batch(batch).await;
        // The slot goes first: whoever is woken up looks for one.
        drop(slot);
        runner.inner().queued.ended(&place.0, &place.1);
    });
}

fn unknown_operation(operation: Uuid) -> Error {
    Error::entity_not_found("IngestionOperation", &operation.to_string())
}
