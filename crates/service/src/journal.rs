//! What runs now and what ran lately: the source of `.show queries`, `.show commands`, `.show operations` and their
//! like, and the target of `.cancel`.
//!
//! What runs is known in memory; what has ended goes to the store's log, whose writer takes it off the request's path and
//! keeps it over restarts. A command that changes something is written down when it begins, too, so that one that a
//! crash has cut short is seen as abandoned afterwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidewater_store::{Log, LogFilter, LogRecord};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::{Context, now_ticks, ticks_of};
use crate::error::{Error, Fault, Result};
use crate::secrets::{cut, obfuscated};
use crate::table::Cell;
use crate::usage::{Consumption, Usage};

/// Bytes of a text that are remembered. Source: show-queries page.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Bytes of request properties that are remembered.
const MAX_PROPERTY_BYTES: usize = 16 * 1024;
/// Rows of an operation's result that are kept.
const MAX_RESULT_ROWS: usize = 10_000;

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A query.
    Query,
    /// A management command, by its name in Kusto's journals.
    Command(&'static str),
    /// Streaming ingestion.
    Streaming,
}

impl Sort {
    fn stream(self) -> &'static str {
        match self {
            Sort::Query => QUERIES,
            Sort::Command(_) => COMMANDS,
            Sort::Streaming => STREAMING,
        }
    }
}

/// The stream of queries.
pub const QUERIES: &str = "queries";
/// The stream of management commands.
pub const COMMANDS: &str = "commands";
/// The stream of streaming ingestion.
pub const STREAMING: &str = "streaming";
const EVENTS: &str = "events";
const RESULTS: &str = "results";

/// State of what runs.
pub const IN_PROGRESS: &str = "InProgress";
/// State of what has ended well.
pub const COMPLETED: &str = "Completed";
/// State of what was ended by a user.
pub const CANCELLED: &str = "Cancelled";
/// State of what a stopped process has left.
pub const ABANDONED: &str = "Abandoned";

/// A request as the journal shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// A command's name; empty for a query.
    pub command: String,
    /// The caller's id.
    pub client_request_id: String,
    /// Ours.
    pub activity_id: Uuid,
    /// The text, cut when long.
    pub text: String,
    /// Its database.
    pub database: String,
    /// Who asked.
    pub principal: String,
    /// Whom they named.
    pub user: String,
    /// With which program.
    pub application: String,
    /// When it began.
    pub started_ticks: i64,
    /// When it last changed.
    pub updated_ticks: i64,
    /// How long it took, or takes so far.
    pub duration_ticks: i64,
    /// `InProgress`, `Completed`, `Failed`, `Cancelled`, `Throttled`, `Abandoned`.
    pub state: String,
    /// Why it failed.
    pub failure: String,
    /// The failure's code.
    #[serde(default)]
    pub failure_code: String,
    /// Whether the same would fail again.
    #[serde(default)]
    pub is_permanent: bool,
    /// Request properties, as JSON.
    pub properties: String,
    /// The workload group it ran in.
    pub workload_group: String,
    /// What it used.
    pub consumption: Consumption,
    /// What an ingestion was about.
    #[serde(default)]
    pub data: Option<DataOperation>,
    /// It carries a job out, which has a record of its own.
    #[serde(default)]
    pub is_job: bool,
}

/// What an ingestion was about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DataOperation {
    /// The kind, as `.show data operations` names it.
    pub kind: String,
    /// The table.
    pub table: String,
    /// Where the data came from.
    pub source: String,
    /// How it was to be read, as JSON.
    pub properties: String,
    /// Bytes of the values.
    pub original_bytes: u64,
    /// Bytes of the new extents.
    pub bytes: u64,
    /// Rows of the new extents.
    pub rows: u64,
    /// New extents.
    pub extents: u64,
}

/// A change of metadata. Source: journal page.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Event {
    /// `CREATE-TABLE`, ...
    pub event: String,
    /// When.
    pub time: i64,
    /// Whose metadata; empty for the server's own.
    pub database: String,
    /// The entity before.
    pub entity: String,
    /// The entity after.
    pub updated_entity: String,
    /// The catalog's version after it.
    pub version: String,
    /// The catalog's version before it.
    pub original_version: String,
    /// What holds the entity.
    pub container: String,
    /// The entity's state before.
    pub original_state: String,
    /// The entity's state after.
    pub updated_state: String,
    /// The command.
    pub command: String,
    /// Who.
    pub principal: String,
    /// Our id of the request.
    pub activity_id: Uuid,
    /// The caller's id of the request.
    pub client_request_id: String,
    /// Whom they named.
    pub user: String,
}

/// What an asynchronous command has answered in the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Names and types of its columns.
    pub columns: Vec<(String, String)>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

struct Running {
    sort: Sort,
    entry: Entry,
    began: Instant,
    cancel: CancellationToken,
    usage: Usage,
    reason: Option<String>,
}

impl Running {
    /// The entry as it is now.
    fn entry(&self) -> Entry {
        let mut entry = self.entry.clone();
        entry.duration_ticks = ticks_of(self.began.elapsed());
        entry.updated_ticks = now_ticks();
        entry.consumption = self.usage.consumption();
        entry
    }
}

/// All requests. Clones share it.
#[derive(Clone)]
pub struct Journal {
    running: Arc<Mutex<HashMap<Uuid, Running>>>,
    log: Log,
}

/// A request that runs; dropping it notes its end.
pub struct Mark {
    journal: Journal,
    id: Uuid,
    failure: Mutex<Option<Failure>>,
    /// What the request holds until it ends: its right to run.
    held: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
}

struct Failure {
    state: &'static str,
    error: Error,
}

/// The request's options as a journal shows them. Source: request-properties page, `request_user`.
fn properties_of(context: &Context) -> String {
    const HIDDEN: &[&str] = &["request_user", "request_cross_cluster_token"];
    if context.options.values().is_empty() {
        return "{}".to_string();
    }
    let shown = |(name, value): (&String, &serde_json::Value)| {
        let value = if HIDDEN.contains(&name.as_str()) { "******".into() } else { value.clone() };
        (name.clone(), value)
    };
    let mut options: serde_json::Map<_, _> = context.options.values().iter().map(shown).collect();
    if context.options.flag("query_log_query_parameters") {
        let parameters = context.parameters.iter().map(|(name, value)| (name.clone(), value.clone()));
        options.insert("query_parameters".to_string(), serde_json::Value::Object(parameters.collect()));
    }
    let text = serde_json::Value::Object(options).to_string();
    if text.len() > MAX_PROPERTY_BYTES { "{}".to_string() } else { text }
}

impl Journal {
    /// A journal over a log. What a former process has left unfinished is ended there.
    pub fn new(log: Log) -> Journal {
        let failure = "the server stopped before the operation ended";
        let patch = json!({"state": ABANDONED, "failure": failure, "failure_code": "Abandoned"});
        log.amend(COMMANDS, IN_PROGRESS, ABANDONED, &patch);
        Journal { running: Arc::default(), log }
    }

    /// Notes the start of a request.
    pub fn begin(&self, sort: Sort, context: &Context, text: &str) -> Arc<Mark> {
        let now = now_ticks();
        let text = obfuscated(cut(text, MAX_TEXT_BYTES));
        let entry = Entry {
            command: match sort {
                Sort::Query => String::new(),
                Sort::Command(name) => name.to_string(),
                Sort::Streaming => "StreamingIngest".to_string(),
            },
            client_request_id: context.client_request_id.clone(),
            activity_id: context.activity_id,
            text: text.into_owned(),
            database: context.database.clone(),
            principal: context.principal.clone(),
            user: context.user_or_principal().to_string(),
            application: context.application.clone(),
            started_ticks: now,
            updated_ticks: now,
            state: IN_PROGRESS.to_string(),
            properties: properties_of(context),
            workload_group: "default".to_string(),
            ..Entry::default()
        };
        // Piped commands and ingestion from queries run one request inside another under the same activity.
        let id = Uuid::new_v4();
        let running = Running {
            sort,
            entry,
            began: Instant::now(),
            cancel: context.cancel.clone(),
            usage: context.usage.clone(),
            reason: None,
        };
        self.running.lock().insert(id, running);
        metrics::gauge!("tidewater_running_requests").increment(1.0);
        Arc::new(Mark { journal: self.clone(), id, failure: Mutex::new(None), held: Mutex::default() })
    }

    /// Cancels running queries with this client request id; tells how many.
    pub fn cancel(&self, client_request_id: &str, reason: &str) -> usize {
        let mut count = 0;
        for running in self.running.lock().values_mut() {
            if running.sort == Sort::Query && running.entry.client_request_id == client_request_id {
                running.reason = Some(reason.to_string());
                running.cancel.cancel();
                count += 1;
            }
        }
        count
    }

    /// Cancels a running command by its activity; tells its name and start.
    pub fn cancel_operation(&self, activity_id: Uuid, reason: &str) -> Option<(&'static str, i64)> {
        let mut state = self.running.lock();
        let is_it = |running: &&mut Running| running.entry.activity_id == activity_id;
        let running = state.values_mut().find(is_it)?;
        let Sort::Command(kind) = running.sort else { return None };
        running.reason = Some(reason.to_string());
        running.cancel.cancel();
        Some((kind, running.entry.started_ticks))
    }

    /// Cancels everything: the server stops.
    pub fn cancel_all(&self) {
        for running in self.running.lock().values() {
            running.cancel.cancel();
        }
    }

    /// What runs now, by start.
    pub fn running(&self, wanted: impl Fn(Sort) -> bool) -> Vec<Entry> {
        let state = self.running.lock();
        let mut entries: Vec<Entry> =
            state.values().filter(|running| wanted(running.sort)).map(Running::entry).collect();
        drop(state);
        entries.sort_by_key(|entry| entry.started_ticks);
        entries
    }

    /// What has ended, of one stream or of one activity in it, oldest first. Commands that run are left out.
    pub async fn ended(&self, stream: &'static str, activity: Option<Uuid>) -> Result<Vec<Entry>> {
        let entries: Vec<Entry> = self.read(stream, activity).await?;
        Ok(entries.into_iter().filter(|entry| entry.state != IN_PROGRESS).collect())
    }

    /// The changes of metadata, oldest first.
    pub async fn events(&self) -> Result<Vec<Event>> {
        self.read(EVENTS, None).await
    }

    /// What an asynchronous command answered.
    pub async fn outcome(&self, activity: Uuid) -> Result<Option<Outcome>> {
        Ok(self.read(RESULTS, Some(activity)).await?.pop())
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        stream: &'static str,
        activity: Option<Uuid>,
    ) -> Result<Vec<T>> {
        let filter = activity.map_or(LogFilter::All, LogFilter::Activity);
        let records = self.log.read(stream, filter).await?;
        // A record of another version may not be readable; the others are.
        Ok(records.iter().filter_map(|record| serde_json::from_str(&record.body).ok()).collect())
    }

    /// Notes a change of metadata.
    pub fn event(&self, event: Event) {
        let (key, activity) = (Uuid::new_v4(), event.activity_id);
        let bytes = event.command.len() + event.original_state.len() + event.updated_state.len() + 1024;
        self.put(EVENTS, key, activity, event.time, "", bytes, event);
    }

    /// Keeps what an asynchronous command has answered.
    pub fn keep_outcome(&self, activity: Uuid, mut outcome: Outcome) {
        outcome.rows.truncate(MAX_RESULT_ROWS);
        let bytes = outcome.rows.len() * outcome.columns.len() * 64 + 1024;
        self.put(RESULTS, Uuid::new_v4(), activity, now_ticks(), "", bytes, outcome);
    }

    /// Returns when everything noted so far is written.
    pub async fn flush(&self) -> Result<()> {
        Ok(self.log.flush().await?)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a record")]
    fn put(
        &self,
        stream: &'static str,
        key: Uuid,
        activity: Uuid,
        time: i64,
        state: &str,
        bytes: usize,
        body: impl Serialize + Send + 'static,
    ) {
        let state = state.to_string();
        let made = move || {
            let body = serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_string());
            LogRecord { stream, key, activity, time, state, body }
        };
        if !self.log.put(bytes, made) {
            metrics::counter!("tidewater_journal_lost_total").increment(1);
        }
    }

    fn put_entry(&self, id: Uuid, stream: &'static str, entry: Entry) {
        let bytes = entry.text.len() + entry.properties.len() + entry.failure.len() + 1024;
        let (activity, time, state) = (entry.activity_id, entry.started_ticks, entry.state.clone());
        self.put(stream, id, activity, time, &state, bytes, entry);
    }
}

impl Mark {
    /// Writes down that the request has begun, so that its end is missed if it does not come.
    pub fn announce(&self) {
        let begun = self.journal.running.lock().get(&self.id).map(|running| (running.sort, running.entry()));
        if let Some((sort, entry)) = begun {
            self.journal.put_entry(self.id, sort.stream(), entry);
        }
    }

    /// Holds something until the request has ended.
    pub fn keep(&self, what: impl std::any::Any + Send) {
        self.held.lock().push(Box::new(what));
    }

    /// Notes that the request failed; the first failure counts.
    pub fn fail(&self, error: &Error) {
        let state = match error.fault() {
            Fault::Cancelled => CANCELLED,
            Fault::Throttled | Fault::CommandThrottled | Fault::QuotaExceeded => "Throttled",
            _ => "Failed",
        };
        self.failure.lock().get_or_insert_with(|| Failure { state, error: error.clone() });
    }

    /// Notes something about the request.
    pub fn note(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(running) = self.journal.running.lock().get_mut(&self.id) {
            change(&mut running.entry);
        }
    }

    /// Notes something about the ingestion that the request is.
    pub fn note_data(&self, change: impl FnOnce(&mut DataOperation)) {
        self.note(|entry| change(entry.data.get_or_insert_default()));
    }

    /// The error with the reason that somebody gave for cancelling the request, if that is what happened.
    pub fn explain(&self, error: Error) -> Error {
        if !matches!(error.fault(), Fault::Cancelled) {
            return error;
        }
        let reason = self.journal.running.lock().get(&self.id).and_then(|running| running.reason.clone());
        Error::cancelled(reason.as_deref())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        metrics::gauge!("tidewater_running_requests").decrement(1.0);
        let Some(running) = self.journal.running.lock().remove(&self.id) else { return };
        let mut entry = running.entry;
        entry.duration_ticks = ticks_of(running.began.elapsed());
        entry.updated_ticks = now_ticks();
        entry.consumption = running.usage.consumption();
        entry.state = COMPLETED.to_string();
        if let Some(Failure { state, error }) = self.failure.get_mut().take() {
            entry.state = state.to_string();
            entry.failure = error.message().to_string();
            entry.failure_code = error.code().to_string();
            entry.is_permanent = error.is_permanent();
        }
        self.journal.put_entry(self.id, running.sort.stream(), entry);
    }
}

#[cfg(test)]
mod tests {
    use tidewater_store::{Store, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn a_request_is_shown_while_it_runs_and_after() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let journal = Journal::new(store.log().clone());
        let mut context = Context::new("D");
        context.client_request_id = "c1".into();
        let mark = journal.begin(Sort::Query, &context, "T | count");
        assert_eq!(journal.running(|sort| sort == Sort::Query).len(), 1);
        assert_eq!(journal.cancel("other", ""), 0);
        assert_eq!(journal.cancel("c1", "enough"), 1);
        assert!(context.cancel.is_cancelled());
        let error = mark.explain(Error::cancelled(None));
        assert!(error.message().ends_with("enough"));
        mark.fail(&error);
        drop(mark);
        assert!(journal.running(|_| true).is_empty());
        let ended = journal.ended(QUERIES, None).await.unwrap();
        assert_eq!((ended.len(), ended[0].state.as_str()), (1, CANCELLED));
        assert!(journal.ended(COMMANDS, None).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_command_that_a_crash_cut_short_is_abandoned_and_ended_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let context = Context::new("D");
        {
            let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
            let journal = Journal::new(store.log().clone());
            let cut = journal.begin(Sort::Command("TableSet"), &context, ".set T <| U");
            cut.announce();
            // What a killed process does not do.
            std::mem::forget(cut);
            let ended = journal.begin(Sort::Command("TableDrop"), &context, ".drop table T");
            ended.announce();
            drop(ended);
            journal.flush().await.unwrap();
        }
        let store = Store::open(directory.path(), StoreOptions::default());
        // The forgotten mark holds the log only, so the directory is free.
        let journal = Journal::new(store.unwrap().log().clone());
        let ended = journal.ended(COMMANDS, None).await.unwrap();
        let states: Vec<(&str, &str)> =
            ended.iter().map(|entry| (entry.command.as_str(), entry.state.as_str())).collect();
        assert_eq!(states, [("TableSet", ABANDONED), ("TableDrop", COMPLETED)]);
        assert!(ended[0].failure.contains("stopped"));
    }
}
