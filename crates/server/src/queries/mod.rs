//! The Query Service API: SQL as asynchronous jobs, in the shape of Adobe's Query Service.
//!
//! Served below `/data/foundation/query` and at the root. This API's errors are
//! `{"message", "statusCode"}`; handlers answer `Result<Response, Problem>`.

mod accelerated;
mod alerts;
mod body;
mod filter;
mod headers;
mod list;
mod object;
mod problem;
mod results;
mod routes;
mod rows;
mod schedules;
mod schemas;
mod submit;
mod templates;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewater_service::jobs::Cancelled;

use crate::app::App;
use body::Sent;
use headers::Caller;
use problem::Problem;

type Answer = Result<Response, Problem>;
type Arguments = Query<Vec<(String, String)>>;

/// The path that Adobe's clients call.
pub const PREFIX: &str = "/data/foundation/query";

/// Every address of this API.
pub fn routes() -> Router<App> {
    let resources = || routes::router().method_not_allowed_fallback(wrong_method);
    resources().nest(PREFIX, resources())
}

/// Whether a path is this API's.
pub fn is_path(path: &str) -> bool {
    routes::is_path(path.strip_prefix(PREFIX).unwrap_or(path))
}

/// 404 for an address below the prefix that is none of this API's.
pub fn missing(method: &axum::http::Method, path: &str) -> Response {
    Problem::new(StatusCode::NOT_FOUND, format!("nothing is served at {method} {path}")).into_response()
}

/// 401, with the gateway's codes: nothing shown, or something void.
pub fn unauthorized(headers: &HeaderMap, reason: &str) -> Response {
    let code = if headers.contains_key("authorization") { "401013" } else { "403010" };
    Problem::new(StatusCode::UNAUTHORIZED, reason).code(code).into_response()
}

/// `GET /connection_parameters`: how to reach the PostgreSQL protocol. Source: query-service-api section 16.
async fn connection_parameters(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Answer {
    let Some(address) = app.postgres_address() else {
        let message =
            "the PostgreSQL protocol is not served here; the setting 'postgres_listen' says where it would be";
        return Err(Problem::new(StatusCode::NOT_FOUND, message));
    };
    // Clients reach it by the name that they reach this address by.
    let host = caller.base.split("://").nth(1).unwrap_or("").split('/').next().unwrap_or("");
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.split_once(' ')).map_or("", |(_, token)| token.trim());
    let body = json!({
        "username": caller.tenant.organisation,
        "dbName": format!("{}:all", caller.tenant.sandbox),
        "host": host,
        "port": address.port(),
        "token": token,
        "compressedToken": token,
        "websocketHost": host,
        "version": 1,
    });
    Ok(answer(&caller, StatusCode::OK, &body))
}

async fn wrong_method() -> Response {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not served at this address").into_response()
}

/// An answer of this API; the caller's request id goes back.
fn answer(caller: &Caller, status: StatusCode, body: &Value) -> Response {
    let mut response = crate::http::json(status, body);
    response.headers_mut().insert("x-request-id", caller.request_id.clone());
    response
}

/// The last value of an argument; empty counts as absent.
fn argument<'a>(arguments: &'a [(String, String)], name: &str) -> Option<&'a str> {
    arguments
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// A boolean argument in any case.
fn flag(arguments: &[(String, String)], name: &str, default: bool) -> Result<bool, Problem> {
    match argument(arguments, name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Problem::bad(format!("{name}: found '{other}', expected true or false"))),
    }
}

/// 404 for a query.
fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no query '{id}'"))
}

async fn get_one(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(arguments): Arguments,
    headers: HeaderMap,
) -> Answer {
    let with_deleted = !flag(&arguments, "excludeSoftDeleted", true)?;
    let job = app.service().job(&caller.tenant, &id, with_deleted).await?.ok_or_else(|| unknown(&id))?;
    let wait = submit::preferred_wait(&headers);
    let job = submit::waited(&app, &caller, job, wait).await?;
    let body = object::query(&job, &caller.base);
    Ok(submit::with_wait(answer(&caller, StatusCode::OK, &body), wait))
}

async fn patch_one(State(app): State<App>, caller: Caller, Path(id): Path<String>, Sent(body): Sent) -> Answer {
    let op = match &body {
        Value::Array(items) if items.len() == 1 => items[0].get("op"),
        other => other.get("op"),
    };
    match op.and_then(Value::as_str).map(str::trim) {
        Some("cancel") => match app.service().cancel_job(&caller.tenant, &id).await? {
            Cancelled::Unknown => Err(unknown(&id)),
            Cancelled::AlreadyEnded => {
                Err(Problem::new(StatusCode::CONFLICT, format!("the query '{id}' has ended already")))
            }
            Cancelled::Requested => Ok(accepted(&caller, "Query cancel request received")),
        },
        Some("soft_delete") => soft_delete(&app, &caller, &id).await,
        Some(other) => Err(Problem::bad(format!("op: found '{other}', expected cancel or soft_delete"))),
        None => Err(Problem::bad("expected a body {\"op\": \"cancel\"} or {\"op\": \"soft_delete\"}")),
    }
}

async fn delete_one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    soft_delete(&app, &caller, &id).await
}

async fn soft_delete(app: &App, caller: &Caller, id: &str) -> Answer {
    match app.service().soft_delete_job(&caller.tenant, id).await? {
        true => Ok(accepted(caller, "Query soft delete request received")),
        false => Err(unknown(id)),
    }
}

fn accepted(caller: &Caller, message: &str) -> Response {
    answer(caller, StatusCode::ACCEPTED, &json!({"message": message, "statusCode": 202}))
}
