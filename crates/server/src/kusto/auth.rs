//! What clients ask before they sign in. Source: kusto-rest sections 1 and 11.

use axum::response::IntoResponse;
use axum::{Json, http::header};
use serde_json::json;

/// Where to sign in: the public cloud's values, all six members, because clients index them and take
/// other answers for faults.
pub async fn metadata() -> impl IntoResponse {
    Json(json!({
        "AzureAD": {
            "LoginEndpoint": "https://login.microsoftonline.com",
            "LoginMfaRequired": false,
            "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
            "KustoClientRedirectUri": "https://microsoft/kustoclient",
            "KustoServiceResourceId": "https://kusto.kusto.windows.net",
            "FirstPartyAuthorityUrl": "https://login.microsoftonline.com/f8cdef31-a31e-4b4a-93e4-5f571e91255a"
        }
    }))
}

/// Liveness, for load balancers.
pub async fn ping() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Pong! Tidewater is up.\n")
}
