//! This server's own storage, as the clients of queued ingestion see it: blobs, queues and a table by the protocols of
//! Azure Storage, as much of them as the clients' libraries use.
//!
//! Who may do what is told by the signature in an address (`.get ingestion resources` gives them), not by a token: these
//! requests pass by sign-in. Source: kusto-rest section 10; the pages of Azure Storage's REST interfaces.

mod blob;
mod queue;
mod table;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tidewater_service::queued::Resource;
use tidewater_service::{Error, Fault, Kind};
use uuid::Uuid;

use crate::app::App;
use crate::kusto::request::Refusal;

/// The version of the protocols that answers name.
const VERSION: &str = "2024-11-04";

/// A request to the storage.
struct Call {
    app: App,
    method: Method,
    /// What stands behind the resource in the path, decoded.
    name: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Body,
    resource: Resource,
    /// The address without its query.
    address: String,
}

/// A refusal in Azure's words.
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

type Answer = Result<Response, Failure>;

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "InvalidInput", message)
    }

    fn method() -> Failure {
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", "this method is not served here")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (status, code) = match error.kind() {
            Kind::BadRequest if matches!(error.fault(), Fault::EntityExists) => {
                (StatusCode::CONFLICT, "EntityAlreadyExists")
            }
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "InvalidInput"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "ResourceNotFound"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "AuthorizationFailure"),
            Kind::Limit | Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServerBusy"),
            Kind::Internal => {
                tracing::error!(%error, "the storage failed");
                return Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "an internal fault");
            }
        };
        Failure::new(status, code, error.message())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let status = refusal.status;
        let mut failure = Failure::from(refusal.error);
        if let Some(status) = status {
            failure.status = status;
            failure.code = if status == StatusCode::PAYLOAD_TOO_LARGE { "RequestBodyTooLarge" } else { failure.code };
        }
        failure
    }
}

impl Call {
    fn argument(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.argument(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Refuses an address whose signature does not give one of these permissions.
    fn require(&self, permissions: &str) -> Result<(), Failure> {
        let may =
            permissions.chars().any(|permission| self.app.service().is_signed(self.resource, &self.query, permission));
        match may {
            true => Ok(()),
            false => Err(Failure::new(
                StatusCode::FORBIDDEN,
                "AuthenticationFailed",
                "the signature of the address has expired or does not allow this",
            )),
        }
    }

    async fn body(self, limit: usize) -> Result<bytes::Bytes, Failure> {
        let patience = self.app.config().stall_timeout();
        Ok(crate::kusto::request::read_body(&self.headers, self.body, limit, patience).await?)
    }
}

/// Whether a path is one of the storage's.
pub fn is_path(path: &str) -> bool {
    Resource::of_path(path).is_some()
}

/// Answers requests to the storage, and lets others through.
pub async fn served(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some((resource, name)) = Resource::of_path(request.uri().path()) else { return next.run(request).await };
    let id = request.headers().get("x-ms-client-request-id").cloned();
    let (parts, body) = request.into_parts();
    let query = match reqwest::Url::parse(&format!("http://x/?{}", parts.uri.query().unwrap_or_default())) {
        Ok(url) => url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        Err(_) => Vec::new(),
    };
    let address = format!("{}{}", app.base_url(&parts.headers, &parts.uri), parts.uri.path());
    let is_head = parts.method == Method::HEAD;
    let is_table = resource == Resource::Status;
    let call = Call { app, method: parts.method, name, query, headers: parts.headers, body, resource, address };
    let answer = match resource {
        Resource::Uploads => blob::answer(call).await,
        Resource::Ready | Resource::Succeeded | Resource::Failed => queue::answer(call).await,
        Resource::Status => table::answer(call).await,
    };
    let mut response = answer.unwrap_or_else(|failure| failed(&failure, is_table, is_head));
    let headers = response.headers_mut();
    headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
    if let Ok(value) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("x-ms-request-id", value);
    }
    if let Some(id) = id {
        headers.insert("x-ms-client-request-id", id);
    }
    if let Ok(date) = HeaderValue::from_str(&http_date(tidewater_service::context::now_ticks())) {
        headers.entry(header::DATE).or_insert(date);
    }
    response
}

fn failed(failure: &Failure, is_table: bool, is_head: bool) -> Response {
    let (kind, body) = match is_table {
        true => {
            let message = serde_json::json!({"lang": "en-US", "value": failure.message});
            let error = serde_json::json!({"odata.error": {"code": failure.code, "message": message}});
            ("application/json", error.to_string())
        }
        false => {
            let (code, message) = (failure.code, escaped(&failure.message));
            let declaration = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";
            ("application/xml", format!("{declaration}<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
        }
    };
    let mut response = answered(failure.status, Some(kind), if is_head { String::new() } else { body });
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(failure.code));
    response
}

/// An answer with a body.
fn answered(status: StatusCode, kind: Option<&'static str>, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// Sets a header whose value is made of plain text.
fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// `Sun, 22 Nov 2026 21:00:00 GMT`
fn http_date(ticks: i64) -> String {
    let seconds = (ticks - tidewater_kql::value::datetime::UNIX_EPOCH_TICKS).div_euclid(10_000_000);
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Text inside an XML element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The texts of all elements of a name in a small XML document without nesting of its own kind.
fn elements(xml: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find(['>', ' ', '/']).unwrap_or(rest.len());
        let name = &rest[..end];
        if !names.contains(&name) {
            continue;
        }
        let Some(open) = rest.find('>') else { break };
        if rest[..open].ends_with('/') {
            continue;
        }
        let text = &rest[open + 1..];
        let Some(close) = text.find(&format!("</{name}>")) else { break };
        found.push(unescaped(&text[..close]));
        rest = &text[close..];
    }
    found
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_small_documents_are_read() {
        let list = "<?xml version='1.0'?><BlockList><Latest>YQ==</Latest><Uncommitted>Yg==</Uncommitted></BlockList>";
        assert_eq!(elements(list, &["Latest", "Uncommitted", "Committed"]), ["YQ==", "Yg=="]);
        let message = "<QueueMessage><MessageText>a&amp;&lt;b</MessageText></QueueMessage>";
        assert_eq!(elements(message, &["MessageText"]), ["a&<b"]);
        for broken in ["<", "<MessageText", "<MessageText>", "<MessageText/>", "a", ""] {
            assert!(elements(broken, &["MessageText"]).is_empty(), "{broken}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        let ticks = tidewater_kql::value::datetime::parse("2026-11-22T21:05:06").unwrap();
        assert_eq!(http_date(ticks), "Sun, 22 Nov 2026 21:05:06 GMT");
    }
}
