//! Streaming ingestion: `POST /v1/rest/ingest/{database}/{table}`. Source: kusto-rest section 9.
//!
//! The body is spooled to a file of the store when it is large, so that memory stays flat, and handed
//! to the service still packed: the decoder unpacks it in a stream.

use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tidewater_kql::KqlType;
use tidewater_service::context::DEFAULT_COMMAND_TIMEOUT;
use tidewater_service::ingest::{Header, IngestRequest, Packing, Payload, Spool};
use tidewater_service::{Error, IngestAnswer, RequestOptions};
use tokio_util::sync::CancellationToken;

use super::error::Scene;
use super::request::{Caller, ContentCoding, Refusal, SignedIn, content_coding, decode_argument, drain, read_body};
use super::respond;
use super::sink::Coding;
use super::v1::one_table;
use crate::app::App;

/// How many values did not fit their column and became null; the answer's table has no place for it.
const REJECTED_VALUES: HeaderName = HeaderName::from_static("x-tidewater-rejected-values");
/// The first of them in words: a JSON array of texts, percent-encoded.
const REJECTED_SAMPLES: HeaderName = HeaderName::from_static("x-tidewater-rejected-samples");
/// Bytes of that header; proxies take no more than some kilobytes.
const MAX_SAMPLES_BYTES: usize = 4096;
/// A body that names where the data is.
const MAX_NAMED_SOURCE_BYTES: usize = 64 * 1024;
/// Bodies up to this size stay in memory.
const MAX_MEMORY_BYTES: usize = 4 * 1024 * 1024;

/// The handler.
pub async fn post(
    State(app): State<App>,
    Path((database, table)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = Caller::of(&headers, identity);
    let scene = Scene {
        client_request_id: caller.client_request_id.clone(),
        activity_id: caller.activity_id,
        database: database.clone(),
        text: String::new(),
        activity: "DN.StreamingIngest",
    };
    match ingest(&app, &caller, &database, &table, query.as_deref().unwrap_or(""), &headers, body).await {
        Ok(answer) => {
            let mut response = respond::found(&scene, Coding::Identity, Body::from(written(&answer)));
            response.headers_mut().insert(REJECTED_VALUES, answer.rejected_values.into());
            if let Some(samples) = samples(&answer.rejected_samples) {
                response.headers_mut().insert(REJECTED_SAMPLES, samples);
            }
            response
        }
        Err(refusal) => respond::refused(&refusal, &scene),
    }
}

async fn ingest(
    app: &App,
    caller: &Caller,
    database: &str,
    table: &str,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<IngestAnswer, Refusal> {
    let cancel = CancellationToken::new();
    let guard = cancel.clone().drop_guard();
    let mut context = caller.context(database, cancel);
    context.options = RequestOptions::default();
    context.apply_options(DEFAULT_COMMAND_TIMEOUT)?;
    let mut request = arguments(table, query)?;
    request.packing = match content_coding(headers)? {
        ContentCoding::Identity => Packing::None,
        ContentCoding::Gzip => Packing::Gzip,
        ContentCoding::Deflate => Packing::Deflate,
    };
    // A wrong table or format is told before the data is taken in.
    if let Err(error) = app.service().check_ingest(&context, &request) {
        if !headers.contains_key(axum::http::header::EXPECT) {
            drain(body.into_data_stream()).await;
        }
        return Err(error.into());
    }
    match &mut request.source {
        Some(source) => *source = named_source(app, headers, body).await?,
        None => request.payload = spooled(app, body, app.config().max_ingest_body_bytes).await?,
    }
    let service = app.service().clone();
    let task = app.service().spawn(async move { service.ingest(context, request).await });
    let answer = match task.await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => Err(Error::internal("the ingestion's task panicked")),
        Err(_) => Err(Error::internal("the ingestion's task was stopped")),
    };
    guard.disarm();
    Ok(answer?)
}

fn arguments(table: &str, query: &str) -> Result<IngestRequest, Error> {
    let mut request = IngestRequest::new(table);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode_argument(value)?;
        let lower = value.to_ascii_lowercase();
        let flag = matches!(lower.as_str(), "true" | "1" | "yes");
        match name.to_ascii_lowercase().as_str() {
            "streamformat" => request.format = Some(value),
            "mappingname" | "mappingreference" if !value.is_empty() => request.mapping_name = Some(value),
            // Known by the body, which names the address.
            "sourcekind" if value.eq_ignore_ascii_case("uri") => request.source = Some(String::new()),
            "sourcekind" if value.is_empty() || value.eq_ignore_ascii_case("stream") => {}
            "sourcekind" => {
                return Err(Error::bad_request(format!(
                    "argument 'sourceKind' must be uri or stream, found '{value}'"
                )));
            }
            "ignorefirstrecord" if lower == "auto" => request.header = Header::Auto,
            "ignorefirstrecord" => request.header = if flag { Header::Yes } else { Header::No },
            "createtable" => request.create_table = flag,
            _ => {}
        }
    }
    Ok(request)
}

/// The address that a body names: `{"SourceUri": "https://..."}`.
async fn named_source(app: &App, headers: &HeaderMap, body: Body) -> Result<String, Refusal> {
    let body = read_body(headers, body, MAX_NAMED_SOURCE_BYTES, app.config().stall_timeout()).await?;
    let expected = || Error::bad_request("with sourceKind=uri the body must be {\"SourceUri\": \"https://...\"}");
    let named: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).map_err(|_| expected())?;
    let source = named.iter().find(|(name, _)| name.eq_ignore_ascii_case("sourceUri"));
    match source.and_then(|(_, value)| value.as_str()).map(str::trim) {
        Some(source) if !source.is_empty() => Ok(source.to_string()),
        _ => Err(expected().into()),
    }
}

/// Takes a body in: a small one into memory, a larger one into a file, one beyond the limit not at all.
pub async fn spooled(app: &App, body: Body, limit: u64) -> Result<Payload, Refusal> {
    let mut stream = body.into_data_stream();
    let mut memory = BytesMut::new();
    let mut spool: Option<Spool> = None;
    let mut total: u64 = 0;
    let patience = app.config().stall_timeout();
    while let Some(part) = tokio::time::timeout(patience, stream.next()).await.map_err(|_| Refusal::stalled())? {
        let part: Bytes = part.map_err(|error| Error::bad_request(format!("the request body broke off: {error}")))?;
        total += part.len() as u64;
        if total > limit {
            drain(stream).await;
            let error = Error::bad_request(format!("the request body exceeds the limit of {limit} bytes"));
            return Err(Refusal { status: Some(axum::http::StatusCode::PAYLOAD_TOO_LARGE), error });
        }
        match &mut spool {
            Some(spool) => spool.write(part).await?,
            None if memory.len() + part.len() > MAX_MEMORY_BYTES => {
                let mut file = app.service().spool().await?;
                file.write(memory.split().freeze()).await?;
                file.write(part).await?;
                spool = Some(file);
            }
            None => memory.extend_from_slice(&part),
        }
    }
    match spool {
        Some(spool) => Ok(spool.finish().await?),
        None => Ok(Payload::Bytes(memory.freeze())),
    }
}

/// As many samples as a header has room for.
fn samples(all: &[String]) -> Option<HeaderValue> {
    let mut text = String::new();
    for count in 1..=all.len() {
        let json = serde_json::to_string(&all[..count]).ok()?;
        let longer = percent_encoding::utf8_percent_encode(&json, percent_encoding::NON_ALPHANUMERIC).to_string();
        if longer.len() > MAX_SAMPLES_BYTES {
            break;
        }
        text = longer;
    }
    if text.is_empty() { None } else { HeaderValue::from_str(&text).ok() }
}

/// Clients parse every 200 as a version 1 answer.
fn written(answer: &IngestAnswer) -> Vec<u8> {
    let columns = [
        ("ConsumedRecordsCount", KqlType::Long),
        ("UpdatePolicyStatus", KqlType::String),
        ("UpdatePolicyFailureCode", KqlType::String),
        ("UpdatePolicyFailureReason", KqlType::String),
    ];
    one_table(&columns, &[vec![answer.rows.into(), "Inactive".into(), "Unknown".into(), serde_json::Value::Null]])
}
