//! This API's error document. Source: query-service-api section 19.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidewater_service::{Error, Fault};

/// A refusal: `{"message", "statusCode"}`, and `error_code` for faults of the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
    error_code: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), error_code: None }
    }

    /// 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// With the gateway's code.
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.error_code = Some(code);
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.fault() {
            Fault::Throttled | Fault::CommandThrottled | Fault::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Fault::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Fault::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Fault::Forbidden => StatusCode::FORBIDDEN,
            Fault::Internal | Fault::OutOfMemory => {
                tracing::error!(%error, "a Query Service request failed");
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error stopped the request");
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.message())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({"message": self.message, "statusCode": self.status.as_u16()});
        if let Some(code) = self.error_code {
            body["error_code"] = code.into();
        }
        let mut response = crate::http::json(self.status, &body);
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
