//! Figures for Prometheus at `GET /metrics`. Names carry their unit.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Bounds of the request histogram.
const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Installs the recorder once per process; later calls change nothing.
pub fn install() {
    HANDLE.get_or_init(|| {
        let builder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_string()), SECONDS).ok()?;
        let handle = builder.install_recorder().ok()?;
        metrics::describe_counter!("tidewater_http_requests_total", "HTTP requests by route and status");
        metrics::describe_histogram!("tidewater_http_request_seconds", "Time to the first byte of the answer");
        metrics::describe_gauge!("tidewater_running_requests", "Queries and commands that run now");
        metrics::describe_counter!("tidewater_ingested_rows_total", "Rows committed");
        Some(handle)
    });
}

/// The page.
pub async fn page() -> Response {
    match HANDLE.get() {
        Some(Some(handle)) => {
            handle.run_upkeep();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "metrics are not recorded\n").into_response(),
    }
}

/// The address without its names, so that labels stay few.
pub fn route(path: &str) -> &'static str {
    match path {
        "/v1/rest/query" => "/v1/rest/query",
        "/v2/rest/query" => "/v2/rest/query",
        "/v1/rest/mgmt" => "/v1/rest/mgmt",
        "/v1/rest/auth/metadata" => "/v1/rest/auth/metadata",
        "/v1/rest/ping" => "/v1/rest/ping",
        "/healthz" => "/healthz",
        "/metrics" => "/metrics",
        _ if crate::ui::is_path(path) => "/ui",
        _ if path.starts_with("/v1/rest/ingest/") => "/v1/rest/ingest",
        _ if path.starts_with("/v1/page/") => "/v1/page",
        _ if path.starts_with("/v1/rest/ingestion/") => "/v1/rest/ingestion",
        _ if crate::storage::is_path(path) => "/storage",
        _ if path.contains("/queries") => "/queries",
        _ => "other",
    }
}

/// Counts a request.
pub fn request(route: &'static str, status: StatusCode, elapsed: Duration) {
    metrics::counter!("tidewater_http_requests_total", "route" => route, "status" => status_label(status)).increment(1);
    metrics::histogram!("tidewater_http_request_seconds", "route" => route).record(elapsed.as_secs_f64());
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        413 => "413",
        429 => "429",
        500.. => "5xx",
        _ => "4xx",
    }
}
