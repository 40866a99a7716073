//! Request bodies: JSON, bounded, whatever the media type's decoration.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::problem::Problem;

/// A body that was sent as JSON.
pub(super) struct Sent(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Sent, Problem> {
        let (parts, body) = request.into_parts();
        object(&parts.headers, body).await.map(Sent)
    }
}

/// Largest body: a statement of 1,000,000 bytes, escaped, and its parameters.
const MAX_BODY_BYTES: usize = 8 << 20;

/// Reads the body as JSON.
///
/// *Errors*: 415 for another media type, 413 above the limit, 400 with line and column for what is not JSON.
async fn object(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    if let Some(given) = headers.get("content-type") {
        // The official example sends `application/json,`.
        let given = given.to_str().unwrap_or("");
        let media = given.split([',', ';']).next().unwrap_or("").trim();
        if !(media.is_empty() || media.eq_ignore_ascii_case("application/json") || media.ends_with("+json")) {
            let message = format!("found a body of type '{media}', expected application/json");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    }
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| {
        let message = format!("the body exceeds the limit of {MAX_BODY_BYTES} bytes, or broke off: {error}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::bad("a body is required, found none"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let hint = "; keys and texts need double quotes, members a comma between them";
        Problem::bad(format!("the body is not JSON: {error}{hint}"))
    })
}
