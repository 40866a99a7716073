//! What the page asks for beside Kusto's REST interface: dashboards, results as files, a look at data before it is
//! loaded, and what its user may do. Below `/v1/page/`, behind sign-in, under the same rights as queries and commands;
//! faults are Kusto's error documents.

mod dashboards;
mod download;
mod me;
mod preview;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tidewater_service::{Context, Error, Identity};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::kusto::error::Scene;
use crate::kusto::request::{Caller, Refusal};
use crate::kusto::respond;

/// The addresses.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/page/me", get(me::get))
        .route("/v1/page/download", post(download::post))
        .route("/v1/page/preview/{database}", post(preview::post))
        .route("/v1/page/dashboards/{database}", get(dashboards::list).post(dashboards::create))
        .route(
            "/v1/page/dashboards/{database}/{id}",
            get(dashboards::get).put(dashboards::put).delete(dashboards::delete),
        )
}

/// A request of the page: who asks, and what its faults say about it.
struct Asked {
    context: Context,
    scene: Scene,
}

impl Asked {
    fn new(headers: &HeaderMap, identity: std::sync::Arc<Identity>, database: &str) -> Asked {
        let caller = Caller::of(headers, identity);
        let scene = Scene {
            client_request_id: caller.client_request_id.clone(),
            activity_id: caller.activity_id,
            database: database.to_string(),
            text: String::new(),
            activity: "DN.Page",
        };
        Asked { context: caller.context(database, CancellationToken::new()), scene }
    }

    /// The answer, or the error document.
    fn answered(&self, outcome: Result<Response, Refusal>) -> Response {
        match outcome {
            Ok(mut response) => {
                // A browser that is handed on to somebody else must not show them this.
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
                response
            }
            Err(refusal) => respond::refused(&refusal, &self.scene),
        }
    }
}

fn json(status: StatusCode, body: &Value) -> Response {
    crate::http::json(status, body)
}

/// A fault with a status that is not its error's own.
fn refusal(status: StatusCode, message: &str) -> Refusal {
    Refusal { status: Some(status), error: Error::bad_request(message) }
}
