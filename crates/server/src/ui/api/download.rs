//! `POST /v1/page/download?format=parquet&table=1`: the rows of a query as a file, written as they come.
//!
//! The body is that of a query; `table` says which of its results is meant, from 1. Rights and limits are those of every
//! query. A fault after the first bytes breaks the body off, so that nobody takes half a file for a whole one; its reason
//! is in `.show queries` under the request's id.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{FutureExt, StreamExt};
use tidewater_service::context::DEFAULT_QUERY_TIMEOUT;
use tidewater_service::{Context, Error, FileEncoder, FileFormat};
use tokio_util::sync::CancellationToken;

use super::Asked;
use crate::app::App;
use crate::kusto::request::{Caller, Refusal, Request, SignedIn, read_body};
use crate::kusto::respond;
use crate::kusto::sink::{Coding, Gone, Sink};

/// What is asked for.
struct Wanted {
    format: FileFormat,
    /// Which result, from 0.
    table: usize,
}

impl Wanted {
    fn of(arguments: &[(String, String)]) -> Result<Wanted, Error> {
        let argument =
            |name: &str| arguments.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let name = argument("format").unwrap_or("csv");
        let format = FileFormat::parse(name).ok_or_else(|| {
            Error::bad_request(format!("format: found '{name}', expected csv, tsv, json, jsonl or parquet"))
        })?;
        let table = argument("table").unwrap_or("1");
        let number = table.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let table =
            number.ok_or_else(|| Error::bad_request(format!("table: found '{table}', expected a number from 1 on")))?;
        Ok(Wanted { format, table })
    }

    fn media_type(&self) -> &'static str {
        match self.format {
            FileFormat::Csv => "text/csv; charset=utf-8; header=present",
            FileFormat::Tsv => "text/tab-separated-values; charset=utf-8",
            FileFormat::Json => "application/json; charset=utf-8",
            FileFormat::JsonLines => "application/x-ndjson; charset=utf-8",
            FileFormat::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// The handler.
pub async fn post(
    State(app): State<App>,
    Query(arguments): Query<Vec<(String, String)>>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut asked = Asked::new(&headers, identity.clone(), "");
    let cancel = CancellationToken::new();
    let prepared = prepared(&app, &arguments, Caller::of(&headers, identity), &headers, body, cancel.clone()).await;
    let (wanted, context, text) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return respond::refused(&refusal, &asked.scene),
    };
    asked.scene.client_request_id = context.client_request_id.clone();
    asked.scene.activity_id = context.activity_id;
    asked.scene.database = context.database.clone();
    asked.scene.text = text.clone();
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    // Parquet is compressed in itself.
    let coding = if wanted.format == FileFormat::Parquet { Coding::Identity } else { Coding::accepted(accepted) };
    let (sink, messages) = Sink::new(coding);
    let sink = sink.with_patience(app.config().stall_timeout());
    let deadline = context.deadline;
    let media_type = wanted.media_type();
    let service = app.service().clone();
    app.service().spawn(async move {
        let work = async move {
            let answer = match service.query(context, &text).await {
                Ok(answer) => answer,
                Err(error) => return sink.fail(error).await,
            };
            written(answer.results, wanted, sink).await
        };
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            tracing::error!("writing a file panicked");
        }
    });
    let mut response = respond::answer(messages, cancel.drop_guard(), deadline, &asked.scene).await;
    if response.status() == StatusCode::OK {
        let out = response.headers_mut();
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        out.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn prepared(
    app: &App,
    arguments: &[(String, String)],
    mut caller: Caller,
    headers: &HeaderMap,
    body: Body,
    cancel: CancellationToken,
) -> Result<(Wanted, Context, String), Refusal> {
    let (limit, patience) = (app.config().max_query_body_bytes, app.config().stall_timeout());
    let body = read_body(headers, body, limit, patience).await?;
    let wanted = Wanted::of(arguments)?;
    let mut request = Request::of_body(&body)?;
    if let Some(id) = request.client_request_id.take()
        && !headers.contains_key(respond::CLIENT_REQUEST_ID)
    {
        caller.client_request_id = id;
    }
    if tidewater_service::is_command(&request.text) {
        return Err(Error::bad_request("only the rows of queries are written as files; this is a command").into());
    }
    let context = request.context(&caller, cancel, DEFAULT_QUERY_TIMEOUT)?;
    Ok((wanted, context, request.text))
}

/// Reads the results up to the wanted one, whose rows are written.
async fn written(results: Vec<tidewater_service::ResultTable>, wanted: Wanted, mut sink: Sink) -> Result<(), Gone> {
    let count = results.len();
    for (at, mut table) in results.into_iter().enumerate() {
        if at < wanted.table {
            // Results come in order, each to its end.
            while let Some(batch) = table.rows.next().await {
                if let Err(error) = batch {
                    return sink.fail(error).await;
                }
            }
            continue;
        }
        let mut encoder = match FileEncoder::new(wanted.format, table.schema.clone()) {
            Ok(encoder) => encoder,
            Err(error) => return sink.fail(error).await,
        };
        while let Some(batch) = table.rows.next().await {
            if let Err(error) = batch.and_then(|batch| encoder.write(&batch)) {
                return broken_off(sink, error).await;
            }
            encoder.take(&mut sink.buffer);
            sink.yield_chunk().await?;
        }
        return match encoder.finish(&mut sink.buffer) {
            Ok(()) => sink.finish().await,
            Err(error) => broken_off(sink, error).await,
        };
    }
    let message = format!("table: found {}, but the query has {count} results", wanted.table + 1);
    sink.fail(Error::bad_request(message)).await
}

/// Before the first byte a fault is told; after it, only the missing end tells of it.
async fn broken_off(sink: Sink, error: Error) -> Result<(), Gone> {
    if sink.begun() { Err(Gone) } else { sink.fail(error).await }
}
