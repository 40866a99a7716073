//! The HTTP server: listener, connections with timeouts, the router, and how it all stops.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tidewater_service::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::kusto::error::Scene;
use crate::kusto::request::{Caller, Refusal};
use crate::kusto::respond;
use crate::origin::{self, Reach};
use crate::stall::Watched;
use crate::{auth, health, kusto, metrics, queries, storage, ui};

/// Connections that the kernel keeps until they are accepted: SDK test suites open some 90 at once.
const BACKLOG: u32 = 1024;

/// Headers of one HTTP/2 request; tokens of people with many groups are long. HTTP/1 takes 100 headers and 400 KiB.
const MAX_HEADER_BYTES: u32 = 128 * 1024;

/// Binds the listener.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Every address of the server.
pub fn router(app: App) -> Router {
    let reach = Arc::new(Reach::of(&app));
    let cors = origin::cors(&reach);
    Router::new()
        .route("/healthz", axum::routing::get(health::healthz))
        .route("/metrics", axum::routing::get(metrics::page))
        .merge(kusto::routes())
        .merge(ui::routes())
        .merge(queries::routes())
        .merge(auth::issuer::routes())
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), storage::served))
        .layer(middleware::from_fn_with_state(app.clone(), auth::signed_in))
        .layer(middleware::from_fn_with_state(reach, origin::checked))
        .layer(middleware::from_fn(observed))
        .layer(cors)
        .with_state(app)
}

async fn missing(request: Request) -> Response {
    let response = match request.uri().path().starts_with(queries::PREFIX) {
        true => queries::missing(request.method(), request.uri().path()),
        false => unserved(&request, StatusCode::NOT_FOUND, "nothing is served at"),
    };
    unread(request, response).await
}

async fn wrong_method(request: Request) -> Response {
    let response = unserved(&request, StatusCode::METHOD_NOT_ALLOWED, "this method is not served at");
    unread(request, response).await
}

/// An answer to a request whose body nobody has read. Small ones are taken first: a connection is closed over unread
/// bytes, and whoever sends its next request over it, or has not read this answer yet, is reset.
pub async fn unread(request: Request, mut response: Response) -> Response {
    const MAX_BYTES: usize = 256 * 1024;
    const MAX_TIME: Duration = Duration::from_secs(1);
    // Whoever waits for leave to send its body has not sent it.
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body().into_data_stream();
    let whole = async {
        let mut bytes = 0;
        while let Some(part) = body.next().await {
            bytes += part.map_or(MAX_BYTES + 1, |part| part.len());
            if bytes > MAX_BYTES {
                return false;
            }
        }
        true
    };
    if waits || !tokio::time::timeout(MAX_TIME, whole).await.unwrap_or(false) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn unserved(request: &Request, status: StatusCode, what: &str) -> Response {
    let caller = Caller::unsigned(request.headers());
    let error = Error::bad_request(format!("{what} {} {}", request.method(), request.uri().path()));
    respond::refused(&Refusal { status: Some(status), error }, &scene(caller))
}

/// What an error document says about a request that no handler has seen.
pub fn scene(caller: Caller) -> Scene {
    Scene {
        client_request_id: caller.client_request_id,
        activity_id: caller.activity_id,
        database: String::new(),
        text: String::new(),
        activity: "GW.Http.CallContext",
    }
}

/// Counts and times requests, and turns a handler's panic into an internal error instead of a dead connection.
async fn observed(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = metrics::route(request.uri().path());
    let id = request.headers().get(respond::CLIENT_REQUEST_ID).cloned();
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            let headers = id.into_iter().map(|id| (respond::CLIENT_REQUEST_ID, id)).collect();
            respond::failed(&Error::internal("the request's handler panicked"), &scene(Caller::unsigned(&headers)))
        }
    };
    metrics::request(route, response.status(), started.elapsed());
    response
}

/// Serves until `stop` is done, then lets running requests end within the configured time.
pub async fn serve(listener: TcpListener, app: App, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    let config = app.config().clone();
    let router = router(app.clone());
    let header_timeout = Duration::from_secs(config.header_timeout_seconds.max(1));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let patience = config.stall_timeout();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(60))
        .max_concurrent_streams(256)
        .max_header_list_size(MAX_HEADER_BYTES);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(config.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = &mut stop => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly too many open files; other connections will close theirs.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let Some(tls) = app.tls() else {
            let stream = Watched::new(stream, header_timeout, patience);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %peer, "a connection ended");
                }
            });
            continue;
        };
        let (accepting, builder, watcher) = (tls.acceptor().accept(stream), builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            let stream = match tokio::time::timeout(header_timeout, accepting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, %peer, "no TLS came about"),
                Err(_) => return tracing::debug!(%peer, "TLS took too long"),
            };
            let stream = Watched::new(stream, header_timeout, patience);
            let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection ended");
            }
        });
    }
    drop(listener);
    tracing::info!("stopping: running requests may end");
    let shutdown_timeout = Duration::from_secs(config.shutdown_timeout_seconds);
    let mut ended = std::pin::pin!(graceful.shutdown());
    let all_ended = tokio::select! {
        () = &mut ended => true,
        () = tokio::time::sleep(shutdown_timeout) => false,
        // A second ctrl-c means now.
        () = stop_signal() => false,
    };
    if !all_ended {
        tracing::warn!("stopping: cancelling what still runs");
    }
    app.service().shut_down();
    if !all_ended {
        // Cancelled requests still tell their clients so.
        let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
    }
    Ok(())
}

/// Ends at ctrl-c or SIGTERM.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

/// A JSON answer with a status, for the endpoints that are nobody's API.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, headers, Body::from(body.to_string())).into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    async fn panics() -> Response {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_a_500_with_a_document() {
        let router: Router = Router::new().route("/", axum::routing::get(panics)).layer(middleware::from_fn(observed));
        let request = Request::builder().uri("/").header("x-ms-client-request-id", "me").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["x-ms-client-request-id"], "me");
        let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["error"]["@permanent"], false);
    }
}
