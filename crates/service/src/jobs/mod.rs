//! Asynchronous SQL: jobs that outlive their request, their records and their states.
//!
//! A front submits a [`Submission`]; the record is stored before the answer, `runner` carries it out,
//! and every change of state goes through [`State::may_become`]. Source: query-service-api sections 3 to 12.

mod alerts;
mod away;
mod door;
mod kql;
mod list;
mod owners;
mod parameters;
mod queue;
mod results;
mod runner;
mod schedules;
mod session;
mod submit;
mod templates;
mod times;
mod views;

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_store::JobRecord;
use tokio_util::sync::CancellationToken;

pub use alerts::{Alert, AlertType};
pub use datafusion::common::ParamValues as StatementValues;
pub use door::{Asked, Described, Rows, SERVER_VERSION, SessionOwner, SqlAnswer, SqlSession};
pub use list::{Filter, ListRequest, Listed, Page};
pub use owners::{Directory, JobCaller};
pub use results::{JobRows, KeptRows};
pub use schedules::{NewSchedule, Run, Schedule, ScheduleChange, ScheduleState};
pub use submit::{DryRun, Idempotency, Source, Submission, Submitted, TableRead, Target};
pub use templates::{Template, TemplateText};
pub use tidewater_plan::sql::SqlFault;
pub use tidewater_store::ResultRows;
pub use times::{CatchUp, Times};

use crate::error::{Error, Result};
use crate::service::Service;
use crate::usage::Consumption;

pub(crate) const KIND: &str = "query";
/// Jobs that run at once; others wait in SUBMITTED.
const MAX_RUNNING: usize = 8;
/// Jobs of one tenant that run at once.
const MAX_RUNNING_EACH: usize = 5;
/// Jobs that wait or run; beyond it submissions are refused.
const MAX_WAITING: usize = 10_000;

/// Whose jobs: what one pair has, another does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// `x-gw-ims-org-id`.
    pub organisation: String,
    /// `x-sandbox-name`.
    pub sandbox: String,
    /// Who among its callers asks; `None` for the server itself.
    pub caller: Option<JobCaller>,
}

impl Tenant {
    pub(crate) fn scope(&self) -> String {
        // Neither header can hold a line break.
        format!("{}\n{}", self.organisation, self.sandbox)
    }

    fn of_scope(scope: &str) -> Option<Tenant> {
        let (organisation, sandbox) = scope.split_once('\n')?;
        Some(Tenant { organisation: organisation.to_string(), sandbox: sandbox.to_string(), caller: None })
    }
}

/// The states of a job. Source: query-service-api section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Waiting.
    Submitted,
    /// Running.
    InProgress,
    /// Done.
    Success,
    /// Ended by a fault.
    Failed,
    /// Cancelled.
    Killed,
    /// Ended by its time limit.
    Timeout,
}

impl State {
    const ALL: [State; 6] =
        [State::Submitted, State::InProgress, State::Success, State::Failed, State::Killed, State::Timeout];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            State::Submitted => "SUBMITTED",
            State::InProgress => "IN_PROGRESS",
            State::Success => "SUCCESS",
            State::Failed => "FAILED",
            State::Killed => "KILLED",
            State::Timeout => "TIMEOUT",
        }
    }

    fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Submitted | State::InProgress)
    }

    /// Whether the drawing of the specification has an arrow from here to `next`.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Submitted => matches!(next, State::InProgress | State::Killed | State::Failed),
            State::InProgress => next.is_terminal(),
            _ => false,
        }
    }
}

/// The language of a job's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// SQL.
    #[default]
    Sql,
    /// KQL: one query whose result is a table.
    Kql,
}

impl Language {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Language::Sql => "sql",
            Language::Kql => "kql",
        }
    }

    /// The language of a name.
    pub fn parse(name: &str) -> Option<Language> {
        [Language::Sql, Language::Kql].into_iter().find(|language| language.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// An entry of a job's `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// SQLSTATE.
    pub code: String,
    /// What happened.
    pub message: String,
    /// `USER_ERROR` or `SYSTEM_ERROR`.
    #[serde(rename = "errorType")]
    pub error_type: String,
}

/// What a record keeps beside id, state and times.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Body {
    request: Value,
    sql: String,
    effective_sql: Option<String>,
    /// `None` for all databases.
    database: Option<String>,
    target: Option<Target>,
    is_ctas: bool,
    is_insert: bool,
    client: String,
    user: String,
    row_count: u64,
    errors: Vec<JobError>,
    started: Option<i64>,
    references: Vec<(String, String)>,
    created_dataset: Option<(String, String)>,
    soft_deleted: bool,
    #[serde(default)]
    kept: Option<KeptRows>,
    #[serde(default)]
    template_name: Option<String>,
    #[serde(default)]
    schedule: Option<ScheduledRun>,
    #[serde(default)]
    language: Language,
    /// Nobody wrote it: a client asked what there is.
    #[serde(default)]
    hidden: bool,
    /// What it took.
    #[serde(default)]
    used: Option<Consumption>,
}

/// The run of a schedule that a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledRun {
    /// The schedule's id.
    pub schedule: String,
    /// The run's id.
    pub run: String,
}

/// A job as fronts show it. Times are microseconds since 1970, unique within the tenant.
#[derive(Clone, Debug)]
pub struct Job {
    /// UUID.
    pub id: String,
    /// The fields that the caller sent.
    pub request: Value,
    /// Where it stands.
    pub state: State,
    /// Rows returned or written; 0 unless SUCCESS.
    pub row_count: u64,
    /// Why it failed.
    pub errors: Vec<JobError>,
    /// It makes a table.
    pub is_ctas: bool,
    /// It inserts.
    pub is_insert: bool,
    /// Milliseconds, by section 3.
    pub elapsed_ms: i64,
    /// Submission.
    pub created: i64,
    /// Last change of state.
    pub updated: i64,
    /// Which door it came through.
    pub client: String,
    /// Who.
    pub user: String,
    /// The statement when it is not the one sent.
    pub effective_sql: Option<String>,
    /// Tables read: the ids of section 3.
    pub referenced_datasets: Vec<String>,
    /// The table a CTAS made.
    pub created_dataset: Option<String>,
    /// Until when its rows can be read; `None` when there are none or their time is over.
    pub rows_until: Option<i64>,
    /// The name of the template that it was made from.
    pub template_name: Option<String>,
    /// The run of a schedule that it is.
    pub schedule: Option<ScheduledRun>,
}

/// The 24 hexadecimal digits that name a table on this API: stable for a database and table name.
fn dataset_id(database: &str, table: &str) -> String {
    let name = format!("{database}\n{table}");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string()[..24].to_string()
}

fn body_of(record: &JobRecord) -> Result<(State, Body)> {
    let state = State::parse(&record.state);
    let body = serde_json::from_value(record.value.clone());
    match (state, body) {
        (Some(state), Ok(body)) => Ok((state, body)),
        _ => Err(Error::internal(format!("the record of job {} cannot be read", record.id))),
    }
}

fn job_of(record: &JobRecord, now_micros: i64) -> Result<Job> {
    let (state, body) = body_of(record)?;
    let elapsed_micros = match (state.is_terminal(), body.started) {
        (true, _) => record.updated - record.created,
        (false, Some(started)) => now_micros - started,
        (false, None) => 0,
    };
    Ok(Job {
        id: record.id.clone(),
        request: body.request,
        state,
        row_count: if state == State::Success { body.row_count } else { 0 },
        errors: body.errors,
        is_ctas: body.is_ctas,
        is_insert: body.is_insert,
        elapsed_ms: elapsed_micros.max(0) / 1000,
        created: record.created,
        updated: record.updated,
        client: body.client,
        user: body.user,
        effective_sql: body.effective_sql,
        referenced_datasets: body.references.iter().map(|(database, table)| dataset_id(database, table)).collect(),
        created_dataset: body.created_dataset.map(|(database, table)| dataset_id(&database, &table)),
        rows_until: body.kept.filter(|kept| state == State::Success && kept.until > now_micros).map(|kept| kept.until),
        template_name: body.template_name,
        schedule: body.schedule,
    })
}

/// A job as the register shows it.
pub(crate) struct RegisteredJob {
    pub(crate) job: Job,
    pub(crate) tenant: Tenant,
    pub(crate) language: Language,
    pub(crate) database: Option<String>,
    pub(crate) text: String,
    pub(crate) used: Option<Consumption>,
}

/// A record as the register shows it; `None` for what was soft-deleted, is hidden or cannot be read.
pub(crate) fn registered(record: &JobRecord) -> Option<RegisteredJob> {
    let (_, body) = body_of(record).ok()?;
    if body.soft_deleted || body.hidden {
        return None;
    }
    let text = body.effective_sql.unwrap_or(body.sql);
    Some(RegisteredJob {
        job: job_of(record, now_micros()).ok()?,
        tenant: Tenant::of_scope(&record.scope)?,
        language: body.language,
        database: body.database,
        text,
        used: body.used,
    })
}

/// Now, in microseconds since 1970.
fn now_micros() -> i64 {
    (crate::context::now_ticks() - tidewater_kql::value::datetime::UNIX_EPOCH_TICKS) / 10
}

/// What became of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// There is no such job.
    Unknown,
    /// It had ended already.
    AlreadyEnded,
    /// It will be KILLED soon.
    Requested,
}

/// What runs and waits in this process.
pub(crate) struct Running {
    /// When expired rows in the object store were looked for last.
    swept_away: std::sync::atomic::AtomicI64,
    /// When this process began, as records count time.
    began: i64,
    live: Mutex<HashMap<String, Live>>,
    queue: queue::Queue,
    engine: door::EngineCell,
    /// Wakes the scheduler: a schedule is new or other, or a run has ended.
    schedules_changed: tokio::sync::Notify,
    /// Wakes who sends alerts.
    alerts_noted: tokio::sync::Notify,
    /// Who principals are now.
    directory: std::sync::OnceLock<Directory>,
}

/// A job that has not ended.
#[derive(Clone, Default)]
struct Live {
    /// Asks it to end.
    cancel: CancellationToken,
    /// Tells that it has, and that its record says so.
    ended: CancellationToken,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            swept_away: Default::default(),
            began: now_micros(),
            live: Mutex::default(),
            engine: door::EngineCell::default(),
            queue: queue::Queue::new(MAX_RUNNING, MAX_RUNNING_EACH),
            schedules_changed: tokio::sync::Notify::new(),
            alerts_noted: tokio::sync::Notify::new(),
            directory: std::sync::OnceLock::new(),
        }
    }
}

impl Service {
    /// The job with this id; soft-deleted ones only when asked for.
    pub async fn job(&self, tenant: &Tenant, id: &str, with_deleted: bool) -> Result<Option<Job>> {
        let record = self.seen_record(KIND, tenant, id).await?;
        match record {
            Some(record) if with_deleted || !body_of(&record)?.1.soft_deleted => {
                job_of(&record, now_micros()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A record that the caller may see.
    async fn seen_record(&self, kind: &str, tenant: &Tenant, id: &str) -> Result<Option<JobRecord>> {
        let record = self.store().jobs().get(kind, &tenant.scope(), id).await?;
        Ok(record.filter(|record| self.seen(tenant).holds(record)))
    }

    /// Asks a job to end.
    pub async fn cancel_job(&self, tenant: &Tenant, id: &str) -> Result<Cancelled> {
        let Some(record) = self.seen_record(KIND, tenant, id).await? else {
            return Ok(Cancelled::Unknown);
        };
        if body_of(&record)?.0.is_terminal() {
            return Ok(Cancelled::AlreadyEnded);
        }
        let live = self.inner().jobs.live.lock().get(id).cloned();
        match live {
            Some(live) => {
                live.cancel.cancel();
                Ok(Cancelled::Requested)
            }
            // It ended between the two looks.
            None => Ok(Cancelled::AlreadyEnded),
        }
    }

    /// Waits until a job has ended, at most so long.
    pub async fn wait_for_job(&self, id: &str, most: std::time::Duration) {
        let live = self.inner().jobs.live.lock().get(id).cloned();
        if let Some(live) = live {
            // Who asked looks at the record afterwards, whatever happened here.
            let _ = tokio::time::timeout(most, live.ended.cancelled()).await;
        }
    }

    /// Hides a job from lists; tells whether there is one.
    pub async fn soft_delete_job(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        if self.seen_record(KIND, tenant, id).await?.is_none() {
            return Ok(false);
        }
        let hide = |record: &mut JobRecord| {
            record.value["soft_deleted"] = Value::Bool(true);
        };
        Ok(self.store().jobs().amend(KIND, &tenant.scope(), id, hide).await?.is_some())
    }

    /// Ends the jobs that a former process left unfinished: FAILED, 58000, or SUCCESS where what they write was
    /// committed. To be called once at the start.
    pub async fn recover_jobs(&self) -> Result<usize> {
        let left = self.store().jobs().in_states(KIND, &[State::Submitted.name(), State::InProgress.name()]).await?;
        for record in &left {
            // The data were there before the record could say so.
            if let Some(note) = self.store().jobs().note(&record.id).await?
                && let Ok(end) = serde_json::from_value::<runner::Written>(note)
            {
                runner::advance(self, &record.scope, &record.id, State::Success, move |body, _| end.tell(body)).await?;
                continue;
            }
            let error = JobError {
                code: "58000".into(),
                message: "the server stopped before the query ended".into(),
                error_type: "SYSTEM_ERROR".into(),
            };
            runner::advance(self, &record.scope, &record.id, State::Failed, move |body, _| body.errors = vec![error])
                .await?;
        }
        self.recover_runs().await?;
        self.recover_alerts(&left).await?;
        Ok(left.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_never_change() {
        for from in State::ALL {
            for to in State::ALL {
                assert!(!(from.is_terminal() && from.may_become(to)), "{from:?} to {to:?}");
                assert!(!(to == State::Submitted && from.may_become(to)));
            }
        }
        assert!(State::Submitted.may_become(State::InProgress) && !State::Submitted.may_become(State::Success));
    }

    #[test]
    fn dataset_ids_are_24_hexadecimal_digits_and_stable() {
        let id = dataset_id("Samples", "Flights");
        assert_eq!(id.len(), 24);
        assert_eq!(id, dataset_id("Samples", "Flights"));
        assert_ne!(id, dataset_id("Samples", "Planes"));
    }
}
