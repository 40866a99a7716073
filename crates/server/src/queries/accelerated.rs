//! `POST /accelerated-queries`: small answers at once. Source: query-service-api section 17.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{Job, State as JobState};

use super::body::Sent;
use super::headers::Caller;
use super::problem::Problem;
use super::rows::{self, Window};
use super::{Answer, answer, results, submit};
use crate::app::App;

/// Rows of an answer; more are left out, as for interactive clients.
const MAX_ROWS: u64 = 50_000;
/// Bytes of an answer: it is made whole before it is sent.
const MAX_BYTES: usize = 64 << 20;
const MAX_DESCRIPTION_BYTES: usize = 1000;

pub(super) async fn run(State(app): State<App>, caller: Caller, Sent(body): Sent) -> Answer {
    if body.get("dbName").and_then(Value::as_str).is_none() {
        return Err(Problem::bad("dbName: expected sandbox:database"));
    }
    for field in ["ctasParameters", "insertIntoParameters"] {
        if body.get(field).is_some_and(|value| !value.is_null()) {
            return Err(Problem::bad(format!("{field}: an accelerated query only reads")));
        }
    }
    if body.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > MAX_DESCRIPTION_BYTES) {
        return Err(Problem::bad(format!("description: more than {MAX_DESCRIPTION_BYTES} bytes")));
    }
    let mut submission = submit::submission(&body, &caller)?;
    submission.client = "ACCELERATED_API".to_string();
    submission.reads_only = true;
    let request = submission.request.clone();
    let job = app.service().submit_job(&caller.tenant, submission).await?;
    app.service().wait_for_job(&job.id, std::time::Duration::from_secs(600)).await;
    let ended = app.service().job(&caller.tenant, &job.id, true).await?;
    match ended {
        Some(ended) if !ended.errors.is_empty() => return Ok(failed(&caller, &ended)),
        Some(ended) if ended.state == JobState::Success => {}
        Some(ended) => {
            return Err(Problem::new(StatusCode::CONFLICT, format!("the query ended as {}", ended.state.name())));
        }
        None => return Err(super::unknown(&job.id)),
    }
    let rows = results::kept(app.service().job_rows(&caller.tenant, &job.id, true).await?, &job.id)?;
    let mut properties = Map::new();
    for field in rows.schema.fields() {
        properties.insert(field.name().clone(), rows::xdm_type(field.data_type()));
    }
    let window = Window { offset: 0, limit: Some(MAX_ROWS), numbers_as_text: false };
    let items = tokio::task::spawn_blocking(move || {
        let mut out = Bounded { bytes: Vec::new() };
        rows::write_items(rows, window, &mut out).map(|()| out.bytes)
    });
    let items = items.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let items = items.map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            Problem::bad(format!("the rows take more than {MAX_BYTES} bytes; submit the query under /queries"))
        }
        _ => {
            tracing::error!(%error, "the rows of an accelerated query could not be read");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error stopped the request")
        }
    })?;
    let meta = json!({"_adhoc": {"type": "object", "meta:xdmType": "object", "properties": properties}});
    let mut text = format!("{{\"queryId\":{},\"resultsMeta\":{meta},\"results\":[", json!(job.id)).into_bytes();
    text.extend_from_slice(&items);
    text.extend_from_slice(format!("],\"request\":{request}}}").as_bytes());
    let headers = [
        (axum::http::header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json; charset=utf-8")),
        (axum::http::HeaderName::from_static("x-request-id"), caller.request_id.clone()),
    ];
    Ok((headers, text).into_response())
}

/// A failed statement: the error document with the entry of `errors`.
fn failed(caller: &Caller, job: &Job) -> Response {
    let message = job.errors.first().map_or("the query failed", |error| error.message.as_str());
    let body = json!({"message": message, "statusCode": 400, "queryId": job.id, "errors": job.errors});
    answer(caller, StatusCode::BAD_REQUEST, &body)
}

/// Memory up to a limit.
struct Bounded {
    bytes: Vec<u8>,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
