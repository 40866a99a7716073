//! Queued ingestion over REST: where to upload, which files to ingest, what has become of them. Source: kusto-rest
//! section 10, queued-ingest-use-http and queued-ingest-status-http pages.

use axum::body::Body;
use axum::extract::{Extension, OriginalUri, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};
use tidewater_kql::value::datetime;
use tidewater_service::{Context, Error};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Scene;
use super::request::{Caller, Refusal, SignedIn, decode_argument, read_body};
use super::respond;
use super::sink::Coding;
use crate::app::App;

/// The body of a request that names files.
const MAX_BODY_BYTES: usize = 4 << 20;

fn scene(caller: &Caller, database: &str) -> Scene {
    Scene {
        client_request_id: caller.client_request_id.clone(),
        activity_id: caller.activity_id,
        database: database.to_string(),
        text: String::new(),
        activity: "DM.QueuedIngest",
    }
}

fn context(app: &App, caller: &Caller, headers: &HeaderMap, uri: &axum::http::Uri, database: &str) -> Context {
    let mut context = caller.context(database, CancellationToken::new());
    context.base_url = Some(app.base_url(headers, uri));
    context
}

fn answered(answer: Result<Value, Refusal>, scene: &Scene) -> Response {
    match answer {
        Ok(value) => respond::found(scene, Coding::Identity, Body::from(value.to_string())),
        Err(refusal) => respond::refused(&refusal, scene),
    }
}

/// `GET /v1/rest/ingestion/configuration`
pub async fn configuration(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Response {
    let caller = Caller::of(&headers, identity);
    let context = context(&app, &caller, &headers, &uri, "");
    let answer = app.service().upload_container(&context).map(|container| {
        json!({
            "containerSettings": {
                "containers": [{"path": container}],
                "lakeFolders": [],
                "refreshInterval": "01:00:00",
                "preferredUploadMethod": "Storage",
            },
            "ingestionSettings": {
                "maxBlobsPerBatch": 20,
                "maxDataSize": 6_442_450_944u64,
                "preferredIngestionMethod": "REST",
            },
        })
    });
    answered(answer.map_err(Refusal::from), &scene(&caller, ""))
}

/// `POST /v1/rest/ingestion/queued/{database}/{table}`
pub async fn post(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Path((database, table)): Path<(String, String)>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = Caller::of(&headers, identity);
    let context = context(&app, &caller, &headers, &uri, &database);
    let answer = async {
        let body = read_body(&headers, body, MAX_BODY_BYTES, app.config().stall_timeout()).await?;
        let operation = app.service().enqueue_files(&context, &table, &body).await?;
        Ok(json!({"ingestionOperationId": operation.map(|id| id.to_string()).unwrap_or_default()}))
    };
    answered(answer.await, &scene(&caller, &database))
}

/// `GET /v1/rest/ingestion/queued/{database}/{table}/{operation}`
pub async fn status(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Path((database, table, operation)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Response {
    let caller = Caller::of(&headers, identity);
    let context = context(&app, &caller, &headers, &uri, &database);
    let answer = async {
        let id = Uuid::parse_str(&operation)
            .map_err(|_| Error::bad_request(format!("'{operation}' is no id of an ingestion operation")))?;
        let files = app.service().queued_files(&context, &table, id).await?;
        let count = |status: &str| files.iter().filter(|file| file.status == status).count();
        let started = files.iter().map(|file| file.started).min().unwrap_or_default();
        let updated = files.iter().map(|file| file.updated).max().unwrap_or_default();
        let mut answer = json!({
            "startTime": moment(started),
            "lastUpdated": moment(updated),
            "status": {
                "Succeeded": count("Succeeded"),
                "Failed": count("Failed"),
                "InProgress": count("InProgress"),
                "Canceled": count("Canceled"),
            },
        });
        if wants_details(query.as_deref().unwrap_or(""))? {
            let details = files.iter().map(|file| {
                let mut detail = json!({
                    "sourceId": file.source_id,
                    "url": file.url,
                    "status": file.status,
                    "startTime": moment(file.started),
                    "lastUpdated": moment(file.updated),
                });
                if let Some((code, kind, words)) = &file.failure {
                    detail["errorCode"] = code.as_str().into();
                    detail["failureStatus"] = kind.as_str().into();
                    detail["details"] = words.as_str().into();
                }
                detail
            });
            answer["details"] = details.collect();
        }
        Ok(answer)
    };
    answered(answer.await, &scene(&caller, &database))
}

fn moment(ticks: i64) -> String {
    let mut text = Vec::new();
    datetime::write(ticks, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn wants_details(query: &str) -> Result<bool, Error> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        if name.eq_ignore_ascii_case("details") {
            return Ok(matches!(decode_argument(value)?.to_ascii_lowercase().as_str(), "true" | "1"));
        }
    }
    Ok(false)
}
