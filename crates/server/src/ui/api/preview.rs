//! `POST /v1/page/preview/DATABASE?format=csv&header=auto`: the columns that data would make, and its first rows.

use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tidewater_service::Error;
use tidewater_service::ingest::{Header, Packing, PreviewRequest};

use super::Asked;
use crate::app::App;
use crate::kusto::ingest::spooled;
use crate::kusto::request::{ContentCoding, Refusal, SignedIn, content_coding};

/// Bytes of the data that are taken in: the page sends the beginning, or the whole of formats that need it.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The handler.
pub async fn post(
    State(app): State<App>,
    Path(database): Path<String>,
    Query(arguments): Query<Vec<(String, String)>>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let work = async {
        let argument =
            |name: &str| arguments.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let header = match argument("header") {
            None | Some("auto") => Header::Auto,
            Some("true") => Header::Yes,
            Some("false") => Header::No,
            Some(other) => {
                return Err(Error::bad_request(format!("header: found '{other}', expected auto, true or false")).into());
            }
        };
        let packing = match content_coding(&headers)? {
            ContentCoding::Identity => Packing::None,
            ContentCoding::Gzip => Packing::Gzip,
            ContentCoding::Deflate => Packing::Deflate,
        };
        let limit = MAX_BYTES.min(app.config().max_ingest_body_bytes);
        let payload = spooled(&app, body, limit).await?;
        let request = PreviewRequest { format: argument("format").map(str::to_string), header, packing, payload };
        let found = app.service().preview(&asked.context, request).await?;
        let columns: Vec<Value> =
            found.schema.columns.iter().map(|column| json!({"name": column.name, "type": column.ty.name()})).collect();
        let body = json!({"columns": columns, "hasHeader": found.has_header, "rows": found.rows});
        Ok(super::json(StatusCode::OK, &body))
    };
    let outcome: Result<Response, Refusal> = work.await;
    asked.answered(outcome)
}
