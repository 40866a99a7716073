//! From an encoder's task to an HTTP answer: status, headers, and a body that ends the query when dropped.

use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use tidewater_service::{Error, Kind};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::error::{Scene, document, status};
use super::request::Refusal;
use super::sink::{Coding, Message};

/// The caller's id of the request, repeated on every answer.
pub const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// Ours.
pub const ACTIVITY_ID: HeaderName = HeaderName::from_static("x-ms-activity-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// How long past its deadline a query may take to tell so itself.
const GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// Waits for the task's first word and makes the answer of it. `guard` cancels the query when the
/// client goes away, now or while the body is read.
pub async fn answer(
    mut messages: mpsc::Receiver<Message>,
    guard: DropGuard,
    deadline: Instant,
    scene: &Scene,
) -> Response {
    let first = tokio::time::timeout_at((deadline + GRACE).into(), messages.recv()).await;
    match first {
        Ok(Some(Message::Whole(bytes, coding))) => {
            guard.disarm();
            found(scene, coding, Body::from(bytes))
        }
        Ok(Some(Message::First(bytes, coding))) => {
            let body = Parts { first: Some(bytes), messages, guard: Some(guard) };
            found(scene, coding, Body::from_stream(body))
        }
        Ok(Some(Message::Failed(error))) => failed(&error, scene),
        Ok(Some(Message::Part(_) | Message::End)) => failed(&Error::internal("an answer began in its middle"), scene),
        Ok(None) => failed(&Error::internal("the request's task ended without an answer"), scene),
        Err(_) => failed(&Error::timeout(), scene),
    }
}

/// A 200 with a JSON body.
pub fn found(scene: &Scene, coding: Coding, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if let Some(coding) = coding.header() {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    identified(response, scene)
}

/// An error document with the error's own status.
pub fn failed(error: &Error, scene: &Scene) -> Response {
    refused(&Refusal { status: None, error: error.clone() }, scene)
}

/// An error document.
pub fn refused(refusal: &Refusal, scene: &Scene) -> Response {
    let status = refusal.status.unwrap_or_else(|| status(&refusal.error));
    log(&refusal.error, status, scene);
    let body = document(&refusal.error, scene, false).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // The rest of the body is not read, so the connection cannot be used again.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    identified(response, scene)
}

/// Each fault is logged once, here: clients' at debug, ours at error.
fn log(error: &Error, status: StatusCode, scene: &Scene) {
    let (client_request_id, activity_id) = (scene.client_request_id.as_str(), scene.activity_id.to_string());
    let (status, code, detail) = (status.as_u16(), error.code(), error.message());
    if error.kind() == Kind::Internal {
        tracing::error!(client_request_id, activity_id, status, code, detail, "request failed");
    } else {
        tracing::debug!(client_request_id, activity_id, status, code, detail, "request refused");
    }
}

/// A plain text answer, where Kusto's own is plain.
pub fn plain(status: StatusCode, text: &str, scene: &Scene) -> Response {
    let mut response = Response::new(Body::from(text.to_string()));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    identified(response, scene)
}

fn identified(mut response: Response, scene: &Scene) -> Response {
    if let Ok(value) = HeaderValue::from_bytes(scene.client_request_id.as_bytes()) {
        response.headers_mut().insert(CLIENT_REQUEST_ID, value);
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    let activity = scene.activity_id.hyphenated().encode_lower(&mut buffer);
    if let Ok(value) = HeaderValue::from_str(activity) {
        response.headers_mut().insert(ACTIVITY_ID, value);
    }
    response
}

/// A body that comes in parts. Dropping it early cancels the query.
struct Parts {
    first: Option<Bytes>,
    messages: mpsc::Receiver<Message>,
    guard: Option<DropGuard>,
}

impl Stream for Parts {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.messages.poll_recv(context)) {
            Some(Message::Part(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Message::End) => {
                if let Some(guard) = self.guard.take() {
                    guard.disarm();
                }
                Poll::Ready(None)
            }
            // An error breaks the connection off, so that no client takes half an answer for a whole one.
            _ => Poll::Ready(Some(Err(std::io::Error::other("the answer broke off")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn scene() -> Scene {
        Scene {
            client_request_id: "me".into(),
            activity_id: uuid::Uuid::nil(),
            database: String::new(),
            text: String::new(),
            activity: "DN.RunQuery",
        }
    }

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_task_that_dies_without_a_word_is_an_internal_error() {
        let (sender, messages) = mpsc::channel(1);
        drop(sender);
        let cancel = CancellationToken::new();
        let response = answer(messages, cancel.clone().drop_guard(), soon(), &scene()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_dies_in_the_middle_breaks_the_body_off() {
        let (sender, messages) = mpsc::channel(4);
        assert!(sender.send(Message::First(Bytes::from_static(b"[1,"), Coding::Identity)).await.is_ok());
        drop(sender);
        let cancel = CancellationToken::new();
        let response = answer(messages, cancel.clone().drop_guard(), soon(), &scene()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(axum::body::to_bytes(response.into_body(), 1000).await.is_err());
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_body_that_is_read_to_its_end_cancels_nothing() {
        let (sender, messages) = mpsc::channel(4);
        for message in [
            Message::First(Bytes::from_static(b"[1"), Coding::Identity),
            Message::Part(Bytes::from_static(b"]")),
            Message::End,
        ] {
            assert!(sender.send(message).await.is_ok());
        }
        let cancel = CancellationToken::new();
        let response = answer(messages, cancel.clone().drop_guard(), soon(), &scene()).await;
        assert_eq!(axum::body::to_bytes(response.into_body(), 1000).await.unwrap(), "[1]");
        assert!(!cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_says_nothing_past_its_deadline_is_a_timeout() {
        let (_sender, messages) = mpsc::channel::<Message>(1);
        let past = Instant::now().checked_sub(GRACE).unwrap();
        let response = answer(messages, CancellationToken::new().drop_guard(), past, &scene()).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
