//! Kusto's REST interface. Source: kusto-rest.
//!
//! Requests come in by `request`, go to the service, and their answers leave by the encoders `v1` and
//! `v2`; `error` has the documents of everything that went wrong.

pub mod auth;
pub mod error;
pub mod ingest;
pub mod json;
pub mod links;
pub mod properties;
pub mod query;
pub mod queued;
pub mod request;
pub mod respond;
pub mod rows;
pub mod sink;
pub mod v1;
pub mod v2;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

/// The API's addresses.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/v1/rest/query", post(query::post_v1).get(query::get_v1))
        .route("/v2/rest/query", post(query::post_v2).get(query::get_v2))
        .route("/v1/rest/mgmt", post(query::post_mgmt))
        .route("/v1/rest/ingest/{database}/{table}", post(ingest::post))
        .route("/v1/rest/ingestion/configuration", get(queued::configuration))
        .route("/v1/rest/ingestion/queued/{database}/{table}", post(queued::post))
        .route("/v1/rest/ingestion/queued/{database}/{table}/{operation}", get(queued::status))
        .route("/v1/rest/auth/metadata", get(auth::metadata))
        .route("/v1/rest/ping", get(auth::ping))
        .route("/", get(links::redirect))
        .route("/{database}", get(links::redirect))
}
