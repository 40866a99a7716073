//! What clients ask before they sign in. Source: kusto-rest sections 1 and 11.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Json, http::header};
use serde_json::json;

use crate::app::App;

/// The resource that the public cloud's tokens are for.
const PUBLIC_RESOURCE: &str = "https://kusto.kusto.windows.net";

/// Where to sign in: the configured issuer, or the public cloud's values. All six members, because clients index
/// them and take other answers for faults.
pub async fn metadata(State(app): State<App>) -> impl IntoResponse {
    let login = app.login_endpoint();
    let resource = match app.auth().local().is_some() {
        true => app.public_url(),
        false => app.config().token_audiences.first().cloned().unwrap_or_else(|| PUBLIC_RESOURCE.to_string()),
    };
    Json(json!({
        "AzureAD": {
            "LoginEndpoint": login,
            "LoginMfaRequired": false,
            "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
            "KustoClientRedirectUri": "http://localhost",
            "KustoServiceResourceId": resource,
            "FirstPartyAuthorityUrl": format!("{login}/f8cdef31-a31e-4b4a-93e4-5f571e91255a")
        }
    }))
}

/// Liveness, for load balancers.
pub async fn ping() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Pong! Tidewater is up.\n")
}
