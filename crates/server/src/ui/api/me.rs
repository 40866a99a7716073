//! `GET /v1/page/me`: who asks, and what they may do.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::Asked;
use crate::app::App;
use crate::kusto::request::SignedIn;

/// The handler.
pub async fn get(State(app): State<App>, Extension(identity): SignedIn, headers: HeaderMap) -> Response {
    let asked = Asked::new(&headers, identity, "");
    let found = app.service().permissions(&asked.context);
    let databases: Vec<_> = found
        .databases
        .iter()
        .map(|one| {
            json!({
                "database": one.database,
                "query": one.query,
                "create": one.create,
                "ingest": one.ingest,
                "monitor": one.monitor,
                "administer": one.administer,
            })
        })
        .collect();
    let body = json!({
        "principal": found.principal,
        "name": found.name,
        "isEnforced": found.is_enforced,
        "isAdministrator": found.is_administrator,
        "isMonitor": found.is_monitor,
        "databases": databases,
    });
    asked.answered(Ok(super::json(StatusCode::OK, &body)))
}
