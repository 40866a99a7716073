//! `/schedules` and their runs. Source: query-service-api section 15.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{Cancelled, CatchUp, NewSchedule, Run, Schedule, ScheduleChange, Times};

use super::body::Sent;
use super::filter::{fields, instant};
use super::headers::Caller;
use super::list::Asked;
use super::problem::Problem;
use super::{Answer, Arguments, PREFIX, accepted, answer, object, submit};
use crate::app::App;

/// Times of `nextRuns`, which one schedule shows.
const MOST_NEXT_RUNS: usize = 5;

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no schedule '{id}'"))
}

fn unknown_run(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no run '{id}' of this schedule"))
}

/// The object on the wire; the answer to POST has no times of its own and shows the state before the first.
fn shown(schedule: &Schedule, base: &str, is_new: bool) -> Value {
    let href = format!("{base}{PREFIX}/schedules/{}", schedule.id);
    let times = &schedule.times;
    let mut when = json!({
        "schedule": times.cron,
        "startDate": object::milliseconds(times.start),
        "maxActiveRuns": times.max_active_runs,
    });
    if let Some(end) = times.end {
        when["endDate"] = object::milliseconds(end).into();
    }
    if let Some(zone) = &times.time_zone {
        when["timeZone"] = zone.as_str().into();
    }
    if times.catch_up != CatchUp::default() {
        when["catchUp"] = json!(times.catch_up);
    }
    let mut shown = json!({
        "id": schedule.id,
        "state": if is_new { "REGISTERING" } else { schedule.state.name() },
        "query": schedule.query,
        "schedule": when,
        "userId": schedule.user,
        "updatedUserId": schedule.updated_user,
        "version": 2,
    });
    if !is_new {
        shown["created"] = object::milliseconds(schedule.created).into();
        shown["updated"] = object::milliseconds(schedule.updated).into();
        shown["nextRun"] = schedule.next.map(object::milliseconds).into();
    }
    let link = |method: &str| json!({"href": href, "method": method});
    let runs = format!("{href}/runs");
    shown["_links"] = json!({
        "self": link("GET"),
        "enable": {"href": href, "method": "PATCH", "body": "{ \"op\": \"enable\" }"},
        "disable": {"href": href, "method": "PATCH", "body": "{ \"op\": \"disable\" }"},
        "delete": link("DELETE"),
        "runs": {"href": runs, "method": "GET"},
        "trigger": {"href": runs, "method": "POST"},
    });
    shown
}

/// A run as lists show it.
fn shown_run(run: &Run, base: &str) -> Value {
    let href = format!("{base}{PREFIX}/schedules/{}/runs/{}", run.schedule, run.id);
    json!({
        "state": run.state,
        "version": 1,
        "id": run.id,
        "externalTrigger": run.is_external,
        "created": object::milliseconds(run.created),
        "_links": {
            "self": {"href": href, "method": "GET"},
            "cancel": {"href": href, "method": "PATCH", "body": "{ \"op\": \"cancel\" }"},
        },
    })
}

fn times(given: Option<&Value>) -> Result<Times, Problem> {
    let Some(given) = given.and_then(Value::as_object) else {
        return Err(Problem::bad("schedule: expected an object with schedule and startDate"));
    };
    let text = |name: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim())),
        Some(_) => Err(Problem::bad(format!("schedule.{name}: expected a text"))),
    };
    let time = |name: &str| match text(name)? {
        None => Ok(None),
        Some(text) => match instant(text) {
            Some((micros, _)) => Ok(Some(micros)),
            None => {
                let expected = "expected a time such as 2026-01-01T00:00:00Z";
                Err(Problem::bad(format!("schedule.{name}: found '{text}', {expected}")))
            }
        },
    };
    let cron = text("schedule")?.ok_or_else(|| Problem::bad("schedule.schedule: expected a cron expression"))?;
    let start = time("startDate")?.ok_or_else(|| Problem::bad("schedule.startDate: expected a time"))?;
    let max_active_runs = match given.get("maxActiveRuns") {
        None | Some(Value::Null) => 1,
        Some(count) => count
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| Problem::bad("schedule.maxActiveRuns: expected a whole number"))?,
    };
    let catch_up = match text("catchUp")? {
        None => CatchUp::default(),
        Some(rule) => serde_json::from_value(rule.into())
            .map_err(|_| Problem::bad(format!("schedule.catchUp: found '{rule}', expected last, all or none")))?,
    };
    let time_zone = text("timeZone")?.map(str::to_string);
    Ok(Times { cron: cron.to_string(), time_zone, start, end: time("endDate")?, max_active_runs, catch_up })
}

pub(super) async fn create(State(app): State<App>, caller: Caller, Sent(body): Sent) -> Answer {
    let query = body.get("query").filter(|query| query.is_object());
    let query = query.ok_or_else(|| Problem::bad("query: expected an object as for POST /queries"))?;
    let new = NewSchedule {
        submission: submit::submission(query, &caller)?,
        times: times(body.get("schedule"))?,
        query: query.clone(),
        user: caller.user.clone(),
    };
    let schedule = app.service().create_schedule(&caller.tenant, new).await?;
    Ok(answer(&caller, StatusCode::ACCEPTED, &shown(&schedule, &caller.base, true)))
}

pub(super) async fn list(State(app): State<App>, caller: Caller, Query(arguments): Arguments) -> Answer {
    let asked = Asked::of(&arguments, "-created", fields::SCHEDULES)?;
    let page = app.service().list_schedules(&caller.tenant, asked.request.clone()).await?;
    let base = caller.base.as_str();
    let href = format!("{base}{PREFIX}/schedules");
    let body = asked.body("schedules", &href, &page, |schedule| shown(schedule, base, false));
    Ok(answer(&caller, StatusCode::OK, &body))
}

pub(super) async fn get_one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    let schedule = app.service().schedule(&caller.tenant, &id).await?.ok_or_else(|| unknown(&id))?;
    let mut body = shown(&schedule, &caller.base, false);
    let following = schedule.next.map(|next| schedule.times.following(next, MOST_NEXT_RUNS)).unwrap_or_default();
    body["nextRuns"] = following.into_iter().map(object::milliseconds).collect();
    Ok(answer(&caller, StatusCode::OK, &body))
}

/// Reads `{"body": [{"op": "replace", "path": "/state", "value": "enable"}]}`, the bare array, or `{"op": "enable"}`.
fn change(body: &Value) -> Result<ScheduleChange, Problem> {
    const EXPECTED: &str = "expected {\"body\": [{\"op\": \"replace\", \"path\": \"/state\", \"value\": \"enable\"}]}, \
                            \"disable\", or the path /schedule/schedule with a cron expression";
    let body = body.get("body").unwrap_or(body);
    let item = match body {
        Value::Array(items) if items.len() == 1 => &items[0],
        Value::Array(_) => return Err(Problem::bad(format!("found another number of changes than one, {EXPECTED}"))),
        other => other,
    };
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    match (text("op"), text("path"), text("value")) {
        ("enable", _, _) | ("replace", "/state", "enable") => Ok(ScheduleChange::Enable),
        ("disable", _, _) | ("replace", "/state", "disable") => Ok(ScheduleChange::Disable),
        ("replace", "/schedule/schedule", cron) if !cron.is_empty() => Ok(ScheduleChange::Cron(cron.to_string())),
        (op, path, value) => Err(Problem::bad(format!("found op '{op}', path '{path}', value '{value}'; {EXPECTED}"))),
    }
}

pub(super) async fn patch(State(app): State<App>, caller: Caller, Path(id): Path<String>, Sent(body): Sent) -> Answer {
    let change = change(&body)?;
    match app.service().change_schedule(&caller.tenant, &id, change, &caller.user).await? {
        true => Ok(accepted(&caller, "Request to patch accepted")),
        false => Err(unknown(&id)),
    }
}

pub(super) async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    match app.service().delete_schedule(&caller.tenant, &id).await? {
        true => Ok(accepted(&caller, "Schedule deleted")),
        false => Err(unknown(&id)),
    }
}

pub(super) async fn trigger(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    match app.service().trigger_schedule(&caller.tenant, &id).await? {
        Some(_) => Ok(accepted(&caller, "Request to trigger run of a scheduled query accepted.")),
        None => Err(unknown(&id)),
    }
}

pub(super) async fn runs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(arguments): Arguments,
) -> Answer {
    let asked = Asked::of(&arguments, "-created", fields::RUNS)?;
    let page = app.service().list_runs(&caller.tenant, &id, asked.request.clone()).await?;
    let page = page.ok_or_else(|| unknown(&id))?;
    let base = caller.base.as_str();
    let href = format!("{base}{PREFIX}/schedules/{id}/runs");
    Ok(answer(&caller, StatusCode::OK, &asked.body("runsSchedules", &href, &page, |run| shown_run(run, base))))
}

pub(super) async fn get_run(State(app): State<App>, caller: Caller, Path((id, run)): Path<(String, String)>) -> Answer {
    let found = app.service().run(&caller.tenant, &id, &run).await?.ok_or_else(|| unknown_run(&run))?;
    let base = caller.base.as_str();
    let mut shown = shown_run(&found, base);
    shown["scheduleId"] = found.schedule.as_str().into();
    let mut task = Map::new();
    let ended = found.state != "IN_PROGRESS";
    let until = if ended { found.updated } else { found.job.as_ref().map_or(found.updated, |job| job.updated) };
    task.insert("duration".into(), json!((until - found.created).max(0) / 1_000_000));
    task.insert("startDate".into(), object::milliseconds(found.created).into());
    task.insert("endDate".into(), if ended { object::milliseconds(found.updated).into() } else { Value::Null });
    task.insert("state".into(), found.state.as_str().into());
    let message = match &found.job {
        Some(job) => job.errors.first().map(|error| error.message.clone()).unwrap_or_default(),
        None => "the query was not submitted".to_string(),
    };
    task.insert("message".into(), message.into());
    task.insert("taskId".into(), found.job.as_ref().map_or(Value::Null, |job| job.id.as_str().into()));
    shown["taskStatusList"] = json!([task]);
    if let Some(job) = &found.job {
        shown["_links"]["query"] = json!({"href": format!("{base}{PREFIX}/queries/{}", job.id), "method": "GET"});
    }
    Ok(answer(&caller, StatusCode::OK, &shown))
}

pub(super) async fn patch_run(
    State(app): State<App>,
    caller: Caller,
    Path((id, run)): Path<(String, String)>,
    Sent(body): Sent,
) -> Answer {
    if body.get("op").and_then(Value::as_str).map(str::trim) != Some("cancel") {
        return Err(Problem::bad("expected a body {\"op\": \"cancel\"}"));
    }
    match app.service().cancel_run(&caller.tenant, &id, &run).await? {
        Cancelled::Unknown => Err(unknown_run(&run)),
        Cancelled::AlreadyEnded => {
            Err(Problem::new(StatusCode::CONFLICT, format!("the run '{run}' has ended already")))
        }
        Cancelled::Requested => Ok(accepted(&caller, "Request to cancel run of a scheduled query accepted")),
    }
}
