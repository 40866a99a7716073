//! `POST /queries`. Source: query-service-api sections 5 to 7.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{Idempotency, Job, Language, Source, Submission, Submitted, Target};

use super::body::Sent;
use super::headers::Caller;
use super::problem::Problem;
use super::rows::sql_type;
use super::{Answer, Arguments, answer, flag, object};
use crate::app::App;

/// The fields that `request` gives back.
const FIELDS: [&str; 9] = [
    "dbName",
    "language",
    "sql",
    "name",
    "description",
    "queryParameters",
    "templateId",
    "insertIntoParameters",
    "ctasParameters",
];

pub(super) async fn submit(
    State(app): State<App>,
    caller: Caller,
    Query(arguments): Arguments,
    headers: HeaderMap,
    Sent(body): Sent,
) -> Answer {
    let wait = preferred_wait(&headers);
    let submission = submission(&body, &caller)?;
    if flag(&arguments, "dryRun", false)? {
        return dry_run(&app, &caller, &submission).await;
    }
    let job = match idempotency(&headers, &body)? {
        None => app.service().submit_job(&caller.tenant, submission).await?,
        Some(key) => match app.service().submit_job_once(&caller.tenant, submission, key).await? {
            Submitted::New(job) | Submitted::Again(job) => job,
            Submitted::Conflict(why) => return Err(Problem::new(StatusCode::CONFLICT, why)),
        },
    };
    let job = waited(&app, &caller, job, wait).await?;
    let status = if wait.is_some() && job.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut object = object::query(&job, &caller.base);
    // The 202 has the specification's members and no other.
    if status == StatusCode::ACCEPTED
        && let Some(members) = object.as_object_mut()
    {
        members.retain(|name, _| !object::OPTIONAL.contains(&name.as_str()));
    }
    Ok(with_wait(answer(&caller, status, &object), wait))
}

/// The longest that an answer is held back.
const MAX_WAIT_SECONDS: u64 = 300;

/// `Prefer: wait=10`, in seconds. Source: RFC 7240.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let value = value.split(';').next()?.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("wait") { value.parse::<u64>().ok() } else { None }
    });
    seconds.map(|seconds| seconds.min(MAX_WAIT_SECONDS))
}

/// The job when it has ended or the wait is over.
pub(super) async fn waited(app: &App, caller: &Caller, job: Job, wait: Option<u64>) -> Result<Job, Problem> {
    let Some(seconds) = wait.filter(|_| !job.state.is_terminal()) else { return Ok(job) };
    app.service().wait_for_job(&job.id, std::time::Duration::from_secs(seconds)).await;
    Ok(app.service().job(&caller.tenant, &job.id, true).await?.unwrap_or(job))
}

/// Says that the wait was heeded.
pub(super) fn with_wait(mut response: Response, wait: Option<u64>) -> Response {
    if let Some(seconds) = wait
        && let Ok(value) = HeaderValue::from_str(&format!("wait={seconds}"))
    {
        response.headers_mut().insert("preference-applied", value);
    }
    response
}

/// `Idempotency-Key` and what stands for the body that it came with.
fn idempotency(headers: &HeaderMap, body: &Value) -> Result<Option<Idempotency>, Problem> {
    const MAX_KEY_BYTES: usize = 255;
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or("").trim().trim_matches('"');
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let message = format!("Idempotency-Key: expected a text of 1 to {MAX_KEY_BYTES} characters");
        return Err(Problem::bad(message));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, body.to_string().as_bytes());
    let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Idempotency { key: key.to_string(), fingerprint }))
}

/// What the statement would do, planned and not run.
async fn dry_run(app: &App, caller: &Caller, submission: &Submission) -> Answer {
    let dry = app.service().dry_run(&caller.tenant, submission).await?;
    let columns: Vec<Value> =
        dry.columns.iter().map(|(name, ty)| json!({"name": name, "type": sql_type(ty)})).collect();
    let tables = dry.reads.iter().map(|read| {
        let mut table = json!({"database": read.database, "name": read.name});
        if let Some((rows, bytes)) = read.size {
            table["rows"] = rows.into();
            table["bytes"] = bytes.into();
        }
        table
    });
    let tables: Vec<Value> = tables.collect();
    let sum = |value: fn(&(u64, u64)) -> u64| -> u64 {
        dry.reads.iter().filter_map(|read| read.size.as_ref()).map(value).sum()
    };
    let body = json!({
        "dryRun": true,
        "effectiveSQL": dry.sql,
        "schema": columns,
        "tables": tables,
        "estimatedRows": sum(|size| size.0),
        "estimatedBytes": sum(|size| size.1),
        "plan": dry.plan,
    });
    Ok(answer(caller, StatusCode::OK, &body))
}

/// Reads a body as what it submits.
pub(super) fn submission(body: &Value, caller: &Caller) -> Result<Submission, Problem> {
    let Some(members) = body.as_object() else {
        return Err(Problem::bad("found no JSON object as body, expected one"));
    };
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Problem::bad(format!("{name}: expected a text"))),
    };
    let object = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Problem::bad(format!("{name}: expected an object"))),
    };
    let template = match text("templateId")? {
        Some(id) => Some(id),
        None => text("templateID")?,
    };
    let language = match text("language")? {
        None => Language::Sql,
        Some(name) => Language::parse(name)
            .ok_or_else(|| Problem::bad(format!("language: found '{name}', expected sql or kql")))?,
    };
    text("name")?;
    text("description")?;
    let source = match (text("sql")?, template) {
        (Some(_), Some(_)) => return Err(Problem::bad("found both sql and templateId, expected one of them")),
        (None, Some(id)) => Source::Template(id.to_string()),
        (Some(sql), None) if !sql.trim().is_empty() => Source::Sql(sql.to_string()),
        _ => return Err(Problem::bad("sql: expected a statement")),
    };
    let target = match (object("ctasParameters")?, object("insertIntoParameters")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad("found both ctasParameters and insertIntoParameters, expected one of them"));
        }
        (Some(block), None) => Some(Target::Create(dataset_name(block, "ctasParameters")?)),
        (None, Some(block)) => Some(Target::Insert(dataset_name(block, "insertIntoParameters")?)),
        (None, None) => None,
    };
    let mut request = Map::new();
    for field in FIELDS {
        if let Some(value) = members.get(field) {
            request.insert(field.to_string(), value.clone());
        }
    }
    Ok(Submission {
        request: request.into(),
        source,
        language,
        parameters: object("queryParameters")?.cloned(),
        database: database(text("dbName")?, &caller.tenant.sandbox)?,
        target,
        client: "API".to_string(),
        user: caller.user.clone(),
        schedule: None,
        reads_only: false,
        identity: caller.identity.as_ref().clone(),
    })
}

fn dataset_name(block: &Map<String, Value>, name: &str) -> Result<String, Problem> {
    match block.get("datasetName").and_then(Value::as_str).map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_string()),
        _ => Err(Problem::bad(format!("{name}.datasetName: expected a table's name"))),
    }
}

/// `{sandbox}:{database}`, perhaps with a schema after `.` or `:`; `all` is `None`.
fn database(name: Option<&str>, sandbox: &str) -> Result<Option<String>, Problem> {
    let Some(name) = name else { return Ok(None) };
    let mut parts = name.splitn(2, ':');
    let (given, rest) = (parts.next().unwrap_or("").trim(), parts.next().unwrap_or("").trim());
    let database = rest.split([':', '.']).next().unwrap_or("");
    if given.is_empty() || database.is_empty() {
        return Err(Problem::bad(format!("dbName: found '{name}', expected sandbox:database, e.g. {sandbox}:all")));
    }
    if given != sandbox {
        return Err(Problem::bad(format!(
            "dbName: found the sandbox '{given}', expected '{sandbox}' as in x-sandbox-name"
        )));
    }
    Ok((database != "all").then(|| database.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        let mut headers = HeaderMap::new();
        assert_eq!(preferred_wait(&headers), None);
        headers.append("prefer", HeaderValue::from_static("return=minimal, Wait=10; x=1"));
        assert_eq!(preferred_wait(&headers), Some(10));
        headers.insert("prefer", HeaderValue::from_static("wait=99999"));
        assert_eq!(preferred_wait(&headers), Some(MAX_WAIT_SECONDS));
        headers.insert("prefer", HeaderValue::from_static("wait=soon"));
        assert_eq!(preferred_wait(&headers), None);
    }

    #[test]
    fn the_database_stands_between_sandbox_and_schema() {
        assert_eq!(database(Some("prod:all"), "prod").unwrap(), None);
        assert_eq!(database(Some("prod:Samples"), "prod").unwrap().as_deref(), Some("Samples"));
        assert_eq!(database(Some("prod:Samples.public"), "prod").unwrap().as_deref(), Some("Samples"));
        assert_eq!(database(Some("prod:all:x"), "prod").unwrap(), None);
        assert!(database(Some("dev:all"), "prod").is_err());
        assert!(database(Some("prod"), "prod").is_err());
    }
}
