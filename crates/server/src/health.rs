//! `GET /healthz`: whether the server is ready, for load balancers and `tidewater wait`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::app::App;

/// 200 once queries can be answered, 503 while the server stops.
pub async fn healthz(State(app): State<App>) -> Response {
    let (status, word) = match app.service().is_stopping() {
        false => (StatusCode::OK, "ready"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    crate::http::json(status, &json!({"status": word, "version": env!("CARGO_PKG_VERSION")}))
}
