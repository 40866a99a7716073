//! Queries and management commands over HTTP. Source: kusto-rest sections 1 to 3.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use futures::FutureExt;
use tidewater_service::context::{DEFAULT_COMMAND_TIMEOUT, DEFAULT_QUERY_TIMEOUT};
use tidewater_service::{CommandAnswer, Context, Error};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::error::Scene;
use super::request::{Caller, Refusal, Request, SignedIn, read_body};
use super::respond;
use super::sink::{Coding, Sink};
use super::v2::Layout;
use super::{v1, v2};
use crate::app::App;

/// Which endpoint was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    QueryV1,
    QueryV2,
    Mgmt,
}

/// `POST /v1/rest/query`
pub async fn post_v1(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    post(app, Endpoint::QueryV1, Caller::of(&headers, identity), headers, body).await
}

/// `POST /v2/rest/query`
pub async fn post_v2(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    post(app, Endpoint::QueryV2, Caller::of(&headers, identity), headers, body).await
}

/// `POST /v1/rest/mgmt`
pub async fn post_mgmt(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    post(app, Endpoint::Mgmt, Caller::of(&headers, identity), headers, body).await
}

/// `GET /v1/rest/query`
pub async fn get_v1(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    get(app, Endpoint::QueryV1, Caller::of(&headers, identity), headers, query).await
}

/// `GET /v2/rest/query`
pub async fn get_v2(
    State(app): State<App>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    get(app, Endpoint::QueryV2, Caller::of(&headers, identity), headers, query).await
}

async fn post(app: App, endpoint: Endpoint, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let (limit, patience) = (app.config().max_query_body_bytes, app.config().stall_timeout());
    let request = match read_body(&headers, body, limit, patience).await {
        Ok(body) => Request::of_body(&body).map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    run(app, endpoint, headers, caller, request, false).await
}

async fn get(app: App, endpoint: Endpoint, caller: Caller, headers: HeaderMap, query: Option<String>) -> Response {
    let request = Request::of_arguments(query.as_deref().unwrap_or("")).map_err(Refusal::from);
    run(app, endpoint, headers, caller, request, true).await
}

/// A GET can be sent by any link or picture on any page, so it only reads.
async fn run(
    app: App,
    endpoint: Endpoint,
    headers: HeaderMap,
    mut caller: Caller,
    request: Result<Request, Refusal>,
    is_get: bool,
) -> Response {
    let mut scene = Scene {
        client_request_id: caller.client_request_id.clone(),
        activity_id: caller.activity_id,
        database: String::new(),
        text: String::new(),
        activity: if endpoint == Endpoint::Mgmt { "DN.AdminCommand" } else { "DN.RunQuery" },
    };
    let mut request = match request {
        Ok(request) => request,
        Err(refusal) => return respond::refused(&refusal, &scene),
    };
    // The header wins over the member; the member stands in when there is no header.
    if let Some(id) = request.client_request_id.take()
        && !headers.contains_key(respond::CLIENT_REQUEST_ID)
    {
        caller.client_request_id = id;
    }
    caller.readonly |= is_get;
    scene.client_request_id = caller.client_request_id.clone();
    scene.text = request.text.clone();
    scene.database = request.database.clone();

    let is_command = tidewater_service::is_command(&request.text);
    match (endpoint, is_command) {
        (Endpoint::QueryV2, true) => {
            let text = "Bad request: control commands do not support api_version v2; send them to /v1/rest/mgmt";
            return respond::plain(StatusCode::BAD_REQUEST, text, &scene);
        }
        (Endpoint::Mgmt, false) => {
            let text = "a management command begins with '.'; queries go to /v1/rest/query or /v2/rest/query";
            return respond::failed(&Error::bad_request(text), &scene);
        }
        _ => {}
    }
    let cancel = CancellationToken::new();
    let default = if is_command { DEFAULT_COMMAND_TIMEOUT } else { DEFAULT_QUERY_TIMEOUT };
    let mut context = match request.context(&caller, cancel.clone(), default) {
        Ok(context) => context,
        Err(error) => return respond::failed(&error, &scene),
    };
    context.base_url = Some(app.base_url(&headers, &Uri::default()));
    scene.database = context.database.clone();
    let layout = match Layout::of(&context.options) {
        Ok(layout) => layout,
        Err(error) => return respond::failed(&error, &scene),
    };
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let (sink, messages) = Sink::new(Coding::accepted(accepted));
    let deadline = context.deadline;
    let sink = sink.with_patience(app.config().stall_timeout());
    let guard = cancel.drop_guard();
    let span = tracing::info_span!(
        "request",
        client_request_id = %context.client_request_id,
        activity_id = %context.activity_id,
        database = %context.database,
        principal = %context.principal,
    );
    let work =
        Work { app: app.clone(), context, layout, text: request.text, scene: scene.clone(), endpoint, is_command };
    let task = work.run(sink).instrument(span);
    app.service().spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            // The sink is gone with the task, so the handler answers with an internal error.
            tracing::error!("a request's task panicked");
        }
    });
    respond::answer(messages, guard, deadline, &scene).await
}

/// A request on its way through the service, away from the HTTP threads.
struct Work {
    app: App,
    context: Context,
    layout: Layout,
    text: String,
    scene: Scene,
    endpoint: Endpoint,
    is_command: bool,
}

impl Work {
    async fn run(self, sink: Sink) {
        let Work { app, context, layout, text, scene, endpoint, is_command } = self;
        let service = app.service();
        // A client that has gone away needs no answer: `Gone` ends the work and nothing else.
        let _gone = if is_command {
            match service.command(context.clone(), &text).await {
                Ok(answer) => v1::encode_command(answer, layout.defer, &context, &scene, sink).await,
                Err(error) => sink.fail(error).await,
            }
        } else {
            match service.query(context.clone(), &text).await {
                Ok(answer) if endpoint == Endpoint::QueryV2 => {
                    // `set` can have changed some of these since.
                    match Layout::of(&answer.options) {
                        Ok(layout) => v2::encode(answer, layout, &context, &scene, sink).await,
                        Err(error) => sink.fail(error).await,
                    }
                }
                Ok(answer) => {
                    let defer = layout.defer || answer.options.flag("deferpartialqueryfailures");
                    v1::encode_command(CommandAnswer::Query(answer), defer, &context, &scene, sink).await
                }
                Err(error) => sink.fail(error).await,
            }
        };
    }
}
