//! `POST /queries`. Source: query-service-api sections 5 to 7.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use tidewater_service::jobs::{Submission, Target};

use super::headers::{Caller, base_url};
use super::problem::Problem;
use super::{Answer, answer, body, object};
use crate::app::App;
use crate::kusto::request::SignedIn;

/// The fields that `request` gives back.
const FIELDS: [&str; 8] =
    ["dbName", "sql", "name", "description", "queryParameters", "templateId", "insertIntoParameters", "ctasParameters"];

pub(super) async fn submit(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    raw: axum::body::Body,
) -> Answer {
    let caller = Caller::of(&headers, &identity)?;
    let body = body::object(&headers, raw, app.config()).await?;
    let submission = submission(&body, &caller)?;
    let job = app.service().submit_job(&caller.tenant, submission).await?;
    let mut object = object::query(&job, &base_url(&headers, &app));
    // The 202 has the specification's members and no other.
    if let Some(members) = object.as_object_mut() {
        members.remove("effectiveSQL");
    }
    Ok(answer(&caller, StatusCode::ACCEPTED, &object))
}

fn submission(body: &Value, caller: &Caller) -> Result<Submission, Problem> {
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
    text("name")?;
    text("description")?;
    let sql = match (text("sql")?, template) {
        (Some(_), Some(_)) => return Err(Problem::bad("found both sql and templateId, expected one of them")),
        (None, Some(id)) => return Err(Problem::bad(format!("there is no query template '{id}'"))),
        (Some(sql), None) if !sql.trim().is_empty() => sql,
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
        sql: sql.to_string(),
        parameters: object("queryParameters")?.cloned(),
        database: database(text("dbName")?, &caller.tenant.sandbox)?,
        target,
        client: "API".to_string(),
        user: caller.user.clone(),
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
    fn the_database_stands_between_sandbox_and_schema() {
        assert_eq!(database(Some("prod:all"), "prod").unwrap(), None);
        assert_eq!(database(Some("prod:Samples"), "prod").unwrap().as_deref(), Some("Samples"));
        assert_eq!(database(Some("prod:Samples.public"), "prod").unwrap().as_deref(), Some("Samples"));
        assert_eq!(database(Some("prod:all:x"), "prod").unwrap(), None);
        assert!(database(Some("dev:all"), "prod").is_err());
        assert!(database(Some("prod"), "prod").is_err());
    }
}
