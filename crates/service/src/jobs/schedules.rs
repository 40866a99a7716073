//! Schedules and their runs. A run is a job with a record of its own; for each time there is at most one, whatever
//! ends the process. Source: query-service-api section 15.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidewater_store::JobRecord;

use super::list::Keep;
use super::times::Times;
use super::{
    Cancelled, Filter, Job, Language, ListRequest, Page, ScheduledRun, Source, State, Submission, Tenant, body_of,
    now_micros, runner,
};
use crate::error::{Error, Result};
use crate::service::Service;

const KIND: &str = "schedule";
const RUN_KIND: &str = "run";
/// The built-in parameter with the time that a run stands for.
const TIME_PARAMETER: &str = "schedule_time";
/// The longest that the scheduler sleeps without looking.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Whether a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleState {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
}

impl ScheduleState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleState::Enabled => "ENABLED",
            ScheduleState::Disabled => "DISABLED",
        }
    }

    fn of(name: &str) -> ScheduleState {
        if name == ScheduleState::Enabled.name() { ScheduleState::Enabled } else { ScheduleState::Disabled }
    }
}

/// What somebody wants to have run.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// `query` as sent.
    pub query: Value,
    /// The same, read.
    pub submission: Submission,
    /// When.
    pub times: Times,
    /// Who.
    pub user: String,
}

/// A schedule. Times are microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// UUID.
    pub id: String,
    /// Whether it runs.
    pub state: ScheduleState,
    /// `query` as sent.
    pub query: Value,
    /// When.
    pub times: Times,
    /// Who made it.
    pub user: String,
    /// Who last changed it.
    pub updated_user: String,
    /// When it was made.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
    /// When it is due next; `None` when never, or while it is disabled.
    pub next: Option<i64>,
}

/// A change of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// `enable`
    Enable,
    /// `disable`
    Disable,
    /// Another cron expression.
    Cron(String),
}

/// A run of a schedule. Times are microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Run {
    /// UUID.
    pub id: String,
    /// Its schedule.
    pub schedule: String,
    /// `IN_PROGRESS`, `SUCCESS` or `FAILED`.
    pub state: String,
    /// Somebody asked for it, not the clock.
    pub is_external: bool,
    /// When it began.
    pub created: i64,
    /// When it last changed.
    pub updated: i64,
    /// The time it stands for.
    pub due: i64,
    /// Its job, while there is a record.
    pub job: Option<Job>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    query: Value,
    submission: Submission,
    times: Times,
    user: String,
    updated_user: String,
    next: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct RunBody {
    due: i64,
    external: bool,
    job: String,
}

fn unreadable(id: &str) -> Error {
    Error::internal(format!("the record of schedule {id} cannot be read"))
}

fn body(record: &JobRecord) -> Result<Body> {
    serde_json::from_value(record.value.clone()).map_err(|_| unreadable(&record.id))
}

fn value(body: &impl Serialize) -> Result<Value> {
    serde_json::to_value(body).map_err(|error| Error::internal(error.to_string()))
}

fn schedule_of(record: &JobRecord) -> Result<Schedule> {
    let Body { query, times, user, updated_user, next, .. } = body(record)?;
    let state = ScheduleState::of(&record.state);
    let next = next.filter(|_| state == ScheduleState::Enabled);
    let (id, created, updated) = (record.id.clone(), record.created, record.updated);
    Ok(Schedule { id, state, query, times, user, updated_user, created, updated, next })
}

fn run_of(record: &JobRecord) -> Result<Run> {
    let body: RunBody = serde_json::from_value(record.value.clone()).map_err(|_| unreadable(&record.id))?;
    let schedule = record.scope.rsplit('\n').next().unwrap_or_default().to_string();
    Ok(Run {
        id: record.id.clone(),
        schedule,
        state: record.state.clone(),
        is_external: body.external,
        created: record.created,
        updated: record.updated,
        due: body.due,
        job: None,
    })
}

/// The scope of a schedule's runs, under its tenant's.
fn runs_scope(scope: &str, schedule: &str) -> String {
    format!("{scope}\n{schedule}")
}

fn holds(filter: &Filter, record: &JobRecord) -> bool {
    let Ok(schedule) = schedule_of(record) else { return false };
    match filter.field.as_str() {
        "created" => filter.time(record.created),
        "userId" => filter.text(&schedule.user),
        "templateId" => {
            let id = schedule.query.get("templateId").or_else(|| schedule.query.get("templateID"));
            id.and_then(Value::as_str).is_some_and(|id| filter.text(id))
        }
        _ => false,
    }
}

fn run_holds(filter: &Filter, record: &JobRecord) -> bool {
    match filter.field.as_str() {
        "created" => filter.time(record.created),
        "state" => filter.text(&record.state),
        "externalTrigger" => filter.text(if record.value["external"] == true { "true" } else { "false" }),
        _ => false,
    }
}

impl Service {
    /// Stores a schedule, which is enabled from then on.
    ///
    /// *Errors*: times or a query that can never work.
    pub async fn create_schedule(&self, tenant: &Tenant, new: NewSchedule) -> Result<Schedule> {
        new.times.check()?;
        let due = new.times.start;
        self.check_submission(tenant, &timed(new.submission.clone(), due)).await?;
        // A start in the past is no request to make up for the time since.
        let now = now_micros();
        let next = if new.times.cron == "@once" { Some(due) } else { new.times.next(now, true) };
        let (user, updated_user) = (new.user.clone(), new.user);
        let body = Body { query: new.query, submission: new.submission, times: new.times, user, updated_user, next };
        let (id, value) = (uuid::Uuid::new_v4().to_string(), value(&body)?);
        let state = ScheduleState::Enabled.name().to_string();
        let record = self.store().jobs().insert(KIND, &tenant.scope(), &id, |_| (state, value)).await?;
        self.inner().jobs.schedules_changed.notify_one();
        schedule_of(&record)
    }

    /// The schedule with this id.
    pub async fn schedule(&self, tenant: &Tenant, id: &str) -> Result<Option<Schedule>> {
        self.seen_record(KIND, tenant, id).await?.as_ref().map(schedule_of).transpose()
    }

    /// Lists schedules.
    pub async fn list_schedules(&self, tenant: &Tenant, request: ListRequest) -> Result<Page<Schedule>> {
        let filters = request.filters.clone();
        let seen = self.seen(tenant);
        let keep: Keep =
            Arc::new(move |record| seen.holds(record) && filters.iter().all(|filter| holds(filter, record)));
        self.list_records(KIND, &tenant.scope(), &request, keep, schedule_of).await
    }

    /// Changes a schedule; tells whether there is one.
    ///
    /// *Errors*: a cron expression that cannot be read, a state that it is in already.
    pub async fn change_schedule(&self, tenant: &Tenant, id: &str, change: ScheduleChange, user: &str) -> Result<bool> {
        if self.seen_record(KIND, tenant, id).await?.is_none() {
            return Ok(false);
        }
        let (user, scope) = (user.to_string(), tenant.scope());
        let changed = self.store().jobs().update(KIND, &scope, id, move |record, _| -> Result<()> {
            let mut body = body(record)?;
            let state = ScheduleState::of(&record.state);
            let wanted = match &change {
                ScheduleChange::Enable => ScheduleState::Enabled,
                ScheduleChange::Disable => ScheduleState::Disabled,
                ScheduleChange::Cron(_) => state,
            };
            match change {
                ScheduleChange::Cron(cron) => {
                    body.times.cron = cron;
                    body.times.check()?;
                }
                ScheduleChange::Enable | ScheduleChange::Disable if wanted == state => {
                    return Err(Error::bad_request(format!("the schedule is {} already", state.name())));
                }
                ScheduleChange::Enable | ScheduleChange::Disable => {}
            }
            // What passed while it was off is not made up.
            body.next = body.times.next(now_micros(), false);
            body.updated_user = user;
            record.value = value(&body)?;
            record.state = wanted.name().to_string();
            Ok(())
        });
        let Some((_, outcome)) = changed.await? else { return Ok(false) };
        outcome?;
        self.inner().jobs.schedules_changed.notify_one();
        Ok(true)
    }

    /// Removes a schedule and the records of its runs; tells whether there was one.
    ///
    /// *Errors*: it is enabled, or a run of it has not ended.
    pub async fn delete_schedule(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        let Some(schedule) = self.schedule(tenant, id).await? else { return Ok(false) };
        if schedule.state == ScheduleState::Enabled {
            return Err(Error::bad_request("an enabled schedule cannot be deleted; disable it first"));
        }
        let runs = runs_scope(&tenant.scope(), id);
        if self.active_runs(&runs).await? > 0 {
            return Err(Error::bad_request("the schedule has a run that has not ended"));
        }
        let gone = self.store().jobs().remove(KIND, &tenant.scope(), id).await?;
        self.store().jobs().remove_scope(RUN_KIND, &runs).await?;
        Ok(gone)
    }

    /// Runs a schedule now; `None` when there is none.
    ///
    /// *Errors*: it is disabled, or has as many runs under way as it may.
    pub async fn trigger_schedule(&self, tenant: &Tenant, id: &str) -> Result<Option<Run>> {
        let scope = tenant.scope();
        let Some(record) = self.seen_record(KIND, tenant, id).await? else { return Ok(None) };
        if ScheduleState::of(&record.state) == ScheduleState::Disabled {
            return Err(Error::bad_request("the schedule is disabled"));
        }
        let body = body(&record)?;
        if self.active_runs(&runs_scope(&scope, id)).await? >= body.times.max_active_runs as usize {
            return Err(Error::bad_request("the schedule has as many active runs as maxActiveRuns allows"));
        }
        let run = uuid::Uuid::new_v4().to_string();
        self.begin_run(tenant, id, body.submission, now_micros(), &run, true).await
    }

    /// Lists the runs of a schedule; `None` when there is none.
    pub async fn list_runs(&self, tenant: &Tenant, id: &str, request: ListRequest) -> Result<Option<Page<Run>>> {
        if self.schedule(tenant, id).await?.is_none() {
            return Ok(None);
        }
        let filters = request.filters.clone();
        let keep: Keep = Arc::new(move |record| filters.iter().all(|filter| run_holds(filter, record)));
        let scope = runs_scope(&tenant.scope(), id);
        self.list_records(RUN_KIND, &scope, &request, keep, run_of).await.map(Some)
    }

    /// A run with its job.
    pub async fn run(&self, tenant: &Tenant, schedule: &str, id: &str) -> Result<Option<Run>> {
        if self.seen_record(KIND, tenant, schedule).await?.is_none() {
            return Ok(None);
        }
        let scope = runs_scope(&tenant.scope(), schedule);
        let Some(record) = self.store().jobs().get(RUN_KIND, &scope, id).await? else { return Ok(None) };
        let mut run = run_of(&record)?;
        let job = record.value["job"].as_str().unwrap_or_default();
        run.job = self.job(tenant, job, true).await?;
        Ok(Some(run))
    }

    /// Asks a run to end.
    pub async fn cancel_run(&self, tenant: &Tenant, schedule: &str, id: &str) -> Result<Cancelled> {
        match self.run(tenant, schedule, id).await? {
            None => Ok(Cancelled::Unknown),
            Some(Run { job: Some(job), .. }) => self.cancel_job(tenant, &job.id).await,
            Some(_) => Ok(Cancelled::AlreadyEnded),
        }
    }

    async fn active_runs(&self, scope: &str) -> Result<usize> {
        let is_active = |record: &JobRecord| record.state == State::InProgress.name();
        Ok(self.store().jobs().count(RUN_KIND, scope, is_active).await?)
    }

    /// Records a run and submits its job; `None` when this run was recorded before.
    async fn begin_run(
        &self,
        tenant: &Tenant,
        schedule: &str,
        submission: Submission,
        due: i64,
        id: &str,
        external: bool,
    ) -> Result<Option<Run>> {
        let scope = runs_scope(&tenant.scope(), schedule);
        let job = uuid::Uuid::new_v4().to_string();
        let value = value(&RunBody { due, external, job: job.clone() })?;
        let state = State::InProgress.name().to_string();
        let record = match self.store().jobs().insert(RUN_KIND, &scope, id, |_| (state, value)).await {
            Ok(record) => record,
            Err(tidewater_store::Error::Exists { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut submission = timed(submission, due);
        submission.schedule = Some(ScheduledRun { schedule: schedule.to_string(), run: id.to_string() });
        submission.client = "SCHEDULER".to_string();
        // Its maker's rights are those of now: groups and roles may have gone since, or the maker.
        let submitted = match self.present(&submission.identity) {
            Ok(identity) => self.submit_as(tenant, Submission { identity, ..submission }, job).await,
            Err(error) => Err(error),
        };
        if let Err(error) = submitted {
            tracing::warn!(%error, schedule, run = id, "a scheduled query could not be submitted");
            self.end_run(&tenant.scope(), schedule, id, State::Failed).await?;
        }
        run_of(&record).map(Some)
    }

    /// Notes the end of a run's job.
    pub(super) async fn end_run(&self, scope: &str, schedule: &str, id: &str, state: State) -> Result<()> {
        let name = if state == State::Success { State::Success.name() } else { State::Failed.name() };
        let scope = runs_scope(scope, schedule);
        self.store().jobs().update(RUN_KIND, &scope, id, |record, _| record.state = name.to_string()).await?;
        self.inner().jobs.schedules_changed.notify_one();
        Ok(())
    }

    /// Ends the runs whose jobs have ended, or were never submitted, when the process before this one did.
    pub(super) async fn recover_runs(&self) -> Result<()> {
        for record in self.store().jobs().in_states(RUN_KIND, &[State::InProgress.name()]).await? {
            let Some((scope, schedule)) = record.scope.rsplit_once('\n') else { continue };
            let job = record.value["job"].as_str().unwrap_or_default();
            let job = self.store().jobs().get(super::KIND, scope, job).await?;
            let state = match job.as_ref().map(body_of).transpose()? {
                Some((state, _)) if state.is_terminal() => state,
                Some(_) => continue,
                None => State::Failed,
            };
            self.end_run(scope, schedule, &record.id, state).await?;
        }
        Ok(())
    }

    /// Starts what is due until the service stops. To be called once, after recovery.
    pub fn start_scheduler(&self) {
        let service = self.clone();
        let stop = self.stop_token().clone();
        self.spawn(async move {
            loop {
                let sleep = match service.start_due().await {
                    Ok(Some(next)) => {
                        let micros = u64::try_from(next - now_micros()).unwrap_or(0);
                        Duration::from_micros(micros).clamp(Duration::from_millis(1), LONGEST_SLEEP)
                    }
                    Ok(None) => LONGEST_SLEEP,
                    Err(error) => {
                        tracing::error!(%error, "schedules could not be looked through");
                        LONGEST_SLEEP
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = service.inner().jobs.schedules_changed.notified() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
        });
    }

    /// Starts the runs that are due; tells when the next one is.
    async fn start_due(&self) -> Result<Option<i64>> {
        let mut earliest: Option<i64> = None;
        let mut sooner = |next: Option<i64>| earliest = [earliest, next].into_iter().flatten().min();
        for record in self.store().jobs().in_states(KIND, &[ScheduleState::Enabled.name()]).await? {
            let (Some(tenant), Ok(body)) = (Tenant::of_scope(&record.scope), body(&record)) else { continue };
            let now = now_micros();
            let Some(due) = body.next else { continue };
            if due > now {
                sooner(Some(due));
                continue;
            }
            let runs = runs_scope(&record.scope, &record.id);
            if self.active_runs(&runs).await? >= body.times.max_active_runs as usize {
                // The end of a run wakes the scheduler.
                continue;
            }
            let (turn, next) = body.times.turn(due, now);
            if let Some(turn) = turn {
                // The same time gives the same id: it never runs twice.
                let name = format!("{}\n{turn}", record.id);
                let run = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string();
                self.begin_run(&tenant, &record.id, body.submission, turn, &run, false).await?;
            }
            let moved = self.store().jobs().amend(KIND, &record.scope, &record.id, move |record| {
                // Somebody may have changed the schedule meanwhile.
                if record.value["next"] == json!(due) {
                    record.value["next"] = json!(next);
                }
            });
            moved.await?;
            sooner(next);
        }
        Ok(earliest)
    }
}

/// A submission with the built-in parameter, where its statement may use it.
fn timed(mut submission: Submission, due: i64) -> Submission {
    let uses_it = match &submission.source {
        Source::Sql(sql) if submission.language == Language::Kql => sql.contains(TIME_PARAMETER),
        Source::Sql(sql) => submission.parameters.is_some() || sql.contains(&format!("${TIME_PARAMETER}")),
        Source::Template(_) => true,
    };
    if uses_it {
        let time = chrono::DateTime::from_timestamp_micros(due).unwrap_or_default();
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        submission.parameters.get_or_insert_with(Map::new).entry(TIME_PARAMETER).or_insert(time.into());
    }
    submission
}

/// Notes the end of a job's run, if it is one.
pub(super) async fn after_job(service: &Service, run: &runner::Run, state: State) {
    if let Some(scheduled) = &run.body.schedule
        && let Err(error) = service.end_run(&run.scope, &scheduled.schedule, &scheduled.run, state).await
    {
        tracing::error!(%error, run = scheduled.run, "the end of a run could not be stored");
    }
}
