//! What runs now and what ran lately: the source of `.show queries`, `.show commands`, `.show operations`
//! and the target of `.cancel`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::{Context, now_ticks, ticks_of};
use crate::error::Error;

/// Finished requests that are remembered.
const MAX_FINISHED: usize = 1_000;
/// Bytes of a text that are remembered.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A query.
    Query,
    /// A management command, by its name in Kusto's journals.
    Command(&'static str),
}

/// A request as the journal shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Query or command.
    pub sort: Sort,
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
    /// `InProgress`, `Completed`, `Failed`, `Cancelled`.
    pub state: &'static str,
    /// Why it failed.
    pub failure: String,
    /// Request properties, as JSON.
    pub properties: String,
}

#[derive(Default)]
struct State {
    running: HashMap<Uuid, Running>,
    finished: VecDeque<Entry>,
}

struct Running {
    entry: Entry,
    began: Instant,
    cancel: CancellationToken,
    reason: Option<String>,
}

/// All requests. Clones share it.
#[derive(Clone, Default)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

/// A request that runs; dropping it notes its end.
pub struct Mark {
    journal: Journal,
    id: Uuid,
    failure: Mutex<Option<(&'static str, String)>>,
}

/// The request's options as a journal shows them. Source: request-properties page, `request_user`.
fn properties_of(context: &Context) -> String {
    const HIDDEN: &[&str] = &["request_user", "request_cross_cluster_token"];
    let shown = |(name, value): (&String, &serde_json::Value)| {
        let value = if HIDDEN.contains(&name.as_str()) { "******".into() } else { value.clone() };
        (name.clone(), value)
    };
    let options: serde_json::Map<_, _> = context.options.values().iter().map(shown).collect();
    let text = serde_json::Value::Object(options).to_string();
    if text.len() > MAX_TEXT_BYTES { "{}".to_string() } else { text }
}

impl Journal {
    /// Notes the start of a request.
    pub fn begin(&self, sort: Sort, context: &Context, text: &str) -> Arc<Mark> {
        let now = now_ticks();
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let entry = Entry {
            sort,
            client_request_id: context.client_request_id.clone(),
            activity_id: context.activity_id,
            text: text[..end].to_string(),
            database: context.database.clone(),
            principal: context.principal.clone(),
            user: context.user_or_principal().to_string(),
            application: context.application.clone(),
            started_ticks: now,
            updated_ticks: now,
            duration_ticks: 0,
            state: "InProgress",
            failure: String::new(),
            properties: properties_of(context),
        };
        // Piped commands and ingestion from queries run one request inside another under the same activity.
        let id = Uuid::new_v4();
        let running = Running { entry, began: Instant::now(), cancel: context.cancel.clone(), reason: None };
        self.state.lock().running.insert(id, running);
        metrics::gauge!("tidewater_running_requests").increment(1.0);
        Arc::new(Mark { journal: self.clone(), id, failure: Mutex::new(None) })
    }

    /// Cancels running queries with this client request id; tells how many.
    pub fn cancel(&self, client_request_id: &str, reason: &str) -> usize {
        let mut state = self.state.lock();
        let mut count = 0;
        for running in state.running.values_mut() {
            if running.entry.client_request_id == client_request_id && running.entry.sort == Sort::Query {
                running.reason = Some(reason.to_string());
                running.cancel.cancel();
                count += 1;
            }
        }
        count
    }

    /// Cancels a running command by its activity; tells its name and start.
    pub fn cancel_operation(&self, activity_id: Uuid) -> Option<(&'static str, i64)> {
        let state = self.state.lock();
        let running = state.running.values().find(|running| running.entry.activity_id == activity_id)?;
        let Sort::Command(kind) = running.entry.sort else { return None };
        running.cancel.cancel();
        Some((kind, running.entry.started_ticks))
    }

    /// Cancels everything: the server stops.
    pub fn cancel_all(&self) {
        for running in self.state.lock().running.values() {
            running.cancel.cancel();
        }
    }

    /// Requests by start, the running ones among them.
    pub fn entries(&self, running_only: bool) -> Vec<Entry> {
        let state = self.state.lock();
        let mut entries: Vec<Entry> = Vec::with_capacity(state.finished.len() + state.running.len());
        if !running_only {
            entries.extend(state.finished.iter().cloned());
        }
        for running in state.running.values() {
            let mut entry = running.entry.clone();
            entry.duration_ticks = ticks_of(running.began.elapsed());
            entry.updated_ticks = now_ticks();
            entries.push(entry);
        }
        entries.sort_by_key(|entry| entry.started_ticks);
        entries
    }
}

impl Mark {
    /// Notes that the request failed; the first failure counts.
    pub fn fail(&self, error: &Error) {
        let state = match error.code() {
            "QueryCancelled" => "Cancelled",
            _ => "Failed",
        };
        self.failure.lock().get_or_insert_with(|| (state, error.message().to_string()));
    }

    /// The error with the reason that somebody gave for cancelling the request, if that is what happened.
    pub fn explain(&self, error: Error) -> Error {
        if error.code() != "QueryCancelled" {
            return error;
        }
        let reason = self.journal.state.lock().running.get(&self.id).and_then(|running| running.reason.clone());
        Error::cancelled(reason.as_deref())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        metrics::gauge!("tidewater_running_requests").decrement(1.0);
        let mut state = self.journal.state.lock();
        let Some(running) = state.running.remove(&self.id) else { return };
        let mut entry = running.entry;
        entry.duration_ticks = ticks_of(running.began.elapsed());
        entry.updated_ticks = now_ticks();
        entry.state = "Completed";
        if let Some((state, failure)) = self.failure.get_mut().take() {
            entry.state = state;
            entry.failure = failure;
        }
        if state.finished.len() >= MAX_FINISHED {
            state.finished.pop_front();
        }
        state.finished.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_while_it_runs_and_after() {
        let journal = Journal::default();
        let mut context = Context::new("D");
        context.client_request_id = "c1".into();
        let mark = journal.begin(Sort::Query, &context, "T | count");
        assert_eq!(journal.entries(true).len(), 1);
        assert_eq!(journal.cancel("other", ""), 0);
        assert_eq!(journal.cancel("c1", "enough"), 1);
        assert!(context.cancel.is_cancelled());
        let error = mark.explain(Error::cancelled(None));
        assert!(error.message().ends_with("enough"));
        mark.fail(&error);
        drop(mark);
        assert!(journal.entries(true).is_empty());
        assert_eq!(journal.entries(false)[0].state, "Cancelled");
    }
}
