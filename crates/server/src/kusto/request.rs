//! Requests as clients write them: headers, compressed bodies, both forms of `properties`.
//! Source: kusto-rest sections 1 and 2.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures::StreamExt;
use serde_json::Value;
use tidewater_service::{Context, Error, Fault, Identity, RequestOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A fault of the request before the service sees it: its status and words.
#[derive(Debug)]
pub struct Refusal {
    /// Usually the error's own status; 413 has none among the service's errors.
    pub status: Option<StatusCode>,
    /// What was wrong.
    pub error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { status: None, error }
    }
}

impl Refusal {
    /// 408: the client began a body and then stood still.
    pub fn stalled() -> Refusal {
        let error = Error::new(Fault::BadRequest, "the request body did not come: the client stood still");
        Refusal { status: Some(StatusCode::REQUEST_TIMEOUT), error }
    }

    fn too_large(limit: usize) -> Refusal {
        let message = format!("the request body exceeds the limit of {limit} bytes");
        Refusal { status: Some(StatusCode::PAYLOAD_TOO_LARGE), error: Error::new(Fault::BadRequest, message) }
    }
}

/// Who is signed in, as the middleware of `auth` found out.
pub type SignedIn = axum::Extension<Arc<Identity>>;

/// The caller's headers that identify a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `x-ms-client-request-id`, or `unspecified;GUID`.
    pub client_request_id: String,
    /// Our id.
    pub activity_id: Uuid,
    /// `x-ms-app`.
    pub application: String,
    /// `x-ms-user` or `x-ms-user-id`.
    pub user: String,
    /// `x-ms-readonly`.
    pub readonly: bool,
    /// Who is signed in.
    pub identity: Arc<Identity>,
}

/// Longer header values are cut: they go into journals and answers.
const MAX_ID_CHARACTERS: usize = 1024;

impl Caller {
    /// Reads the headers; all of them are optional.
    pub fn of(headers: &HeaderMap, identity: Arc<Identity>) -> Caller {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            value
                .filter(|value| !value.is_empty())
                .map(|value| value.chars().take(MAX_ID_CHARACTERS).collect::<String>())
        };
        let activity_id = Uuid::new_v4();
        let readonly = text("x-ms-readonly").is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0");
        Caller {
            client_request_id: text("x-ms-client-request-id").unwrap_or_else(|| format!("unspecified;{activity_id}")),
            activity_id,
            application: text("x-ms-app").unwrap_or_default(),
            user: text("x-ms-user").or_else(|| text("x-ms-user-id")).unwrap_or_default(),
            readonly,
            identity,
        }
    }

    /// The same before anybody has signed in.
    pub fn unsigned(headers: &HeaderMap) -> Caller {
        Caller::of(headers, Arc::new(Identity::anonymous()))
    }

    /// The context of a request into `database`.
    pub fn context(&self, database: &str, cancel: CancellationToken) -> Context {
        let database = if database.is_empty() { tidewater_service::context::DEFAULT_DATABASE } else { database };
        let mut context = Context::new(database);
        context.client_request_id = self.client_request_id.clone();
        context.activity_id = self.activity_id;
        context.application = self.application.clone();
        context.user = self.user.clone();
        context.readonly = self.readonly;
        context.sign_in(Arc::clone(&self.identity));
        context.cancel = cancel;
        context
    }
}

/// What a query or command request says.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `csl`.
    pub text: String,
    /// `db`, empty when absent.
    pub database: String,
    /// `properties.Options`.
    pub options: Vec<(String, Value)>,
    /// `properties.Parameters`.
    pub parameters: Vec<(String, Value)>,
    /// `properties.ClientRequestId`.
    pub client_request_id: Option<String>,
    /// `properties.Application`.
    pub application: Option<String>,
    /// `properties.User`.
    pub user: Option<String>,
}

impl Request {
    /// From a JSON body.
    pub fn of_body(body: &[u8]) -> Result<Request, Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::bad_request("the request body is empty; expected a JSON object with the member 'csl'"));
        }
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => return Err(Error::bad_request(format!("the request body is not valid JSON: {error}"))),
        };
        let Value::Object(members) = value else {
            return Err(Error::bad_request("the request body must be a JSON object with the member 'csl'"));
        };
        let mut request = Request::default();
        let mut text = None;
        for (name, value) in members {
            match (name.to_ascii_lowercase().as_str(), value) {
                ("csl", Value::String(value)) => text = Some(value),
                ("csl", Value::Null) => {}
                ("csl", other) => {
                    return Err(Error::bad_request(format!(
                        "member 'csl' must be a string, found {}",
                        kind_of(&other)
                    )));
                }
                ("db", Value::String(value)) => request.database = value,
                ("db", Value::Null) => {}
                ("db", other) => {
                    return Err(Error::bad_request(format!("member 'db' must be a string, found {}", kind_of(&other))));
                }
                ("properties", value) => request.read_properties(value)?,
                _ => {}
            }
        }
        request.text =
            text.ok_or_else(|| Error::bad_request("the request body has no member 'csl' (the query text)"))?;
        request.checked()
    }

    /// From the arguments of a GET.
    pub fn of_arguments(query: &str) -> Result<Request, Error> {
        let mut request = Request::default();
        let mut text = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode_argument(value)?;
            match name.to_ascii_lowercase().as_str() {
                "csl" => text = Some(value),
                "db" => request.database = value,
                "properties" => request.read_properties(Value::String(value))?,
                _ => {}
            }
        }
        request.text = text.ok_or_else(|| Error::bad_request("the argument 'csl' (the query text) is missing"))?;
        request.checked()
    }

    fn checked(self) -> Result<Request, Error> {
        if self.text.trim().is_empty() {
            return Err(Error::bad_request("the query text ('csl') is empty"));
        }
        Ok(self)
    }

    fn read_properties(&mut self, value: Value) -> Result<(), Error> {
        let members = match value {
            Value::Null => return Ok(()),
            Value::Object(members) => members,
            Value::String(text) if text.trim().is_empty() => return Ok(()),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(members)) => members,
                Ok(Value::Null) => return Ok(()),
                Ok(other) => {
                    let found = kind_of(&other);
                    return Err(Error::bad_request(format!("'properties' must hold a JSON object, found {found}")));
                }
                Err(error) => return Err(Error::bad_request(format!("'properties' is not valid JSON: {error}"))),
            },
            other => {
                return Err(Error::bad_request(format!(
                    "member 'properties' must be an object or a string with JSON, found {}",
                    kind_of(&other)
                )));
            }
        };
        for (name, value) in members {
            let text = |value: Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
            match name.to_ascii_lowercase().as_str() {
                "options" => self.options = object("Options", value)?,
                "parameters" => self.parameters = object("Parameters", value)?,
                "clientrequestid" => self.client_request_id = text(value),
                "application" => self.application = text(value),
                "user" => self.user = text(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// The request's context. `default` is the time it has when it asks for none.
    pub fn context(&self, caller: &Caller, cancel: CancellationToken, default: Duration) -> Result<Context, Error> {
        let mut context = caller.context(self.database.trim(), cancel);
        if let Some(application) = &self.application
            && context.application.is_empty()
        {
            context.application = application.clone();
        }
        if let Some(user) = &self.user
            && context.user.is_empty()
        {
            context.user = user.clone();
        }
        context.options = RequestOptions::new(self.options.iter().cloned());
        context.parameters = self.parameters.iter().cloned().collect();
        context.apply_options(default)?;
        Ok(context)
    }
}

fn object(name: &str, value: Value) -> Result<Vec<(String, Value)>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(members) => Ok(members.into_iter().collect()),
        other => Err(Error::bad_request(format!("'properties.{name}' must be an object, found {}", kind_of(&other)))),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A form-encoded argument: `+` is a space.
pub fn decode_argument(text: &str) -> Result<String, Error> {
    let spaced = text.replace('+', " ");
    match percent_encoding::percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Error::bad_request("an argument of the address is not valid UTF-8")),
    }
}

/// Reads a whole body, decompressed, of at most `limit` bytes on the wire and unpacked. `patience` is how long the
/// client may stand still.
pub async fn read_body(headers: &HeaderMap, body: Body, limit: usize, patience: Duration) -> Result<Bytes, Refusal> {
    let coding = content_coding(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    if announced.is_some_and(|length| length > limit as u64) {
        // Whoever waits for leave to send its body has not sent it, and reads this refusal instead.
        if !headers.contains_key(header::EXPECT) {
            drain(stream).await;
        }
        return Err(Refusal::too_large(limit));
    }
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    loop {
        let part = match tokio::time::timeout(patience, stream.next()).await {
            Ok(Some(Ok(part))) => part,
            Ok(Some(Err(error))) => {
                return Err(Error::bad_request(format!("the request body broke off: {error}")).into());
            }
            Ok(None) => break,
            Err(_) => return Err(Refusal::stalled()),
        };
        if whole.len() + parts.len() + part.len() > limit {
            drain(stream).await;
            return Err(Refusal::too_large(limit));
        }
        // Most bodies come in one part, which is then not copied.
        if whole.is_empty() && parts.is_empty() {
            whole = part;
        } else {
            if parts.is_empty() {
                parts.extend_from_slice(&whole);
                whole = Bytes::new();
            }
            parts.extend_from_slice(&part);
        }
    }
    let body = if parts.is_empty() { whole } else { parts.freeze() };
    unpack(coding, body, limit)
}

/// Takes the rest of a body that is refused, within bounds: a connection closed with unread bytes is reset, and many
/// clients send all before they read the answer.
pub async fn drain(mut stream: axum::body::BodyDataStream) {
    const MAX_BYTES: usize = 256 * 1024 * 1024;
    const MAX_TIME: Duration = Duration::from_secs(5);
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(part)) = stream.next().await {
            bytes += part.len();
            if bytes > MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(MAX_TIME, rest).await;
}

/// The compressions a request body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// As it is.
    Identity,
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `deflate`: zlib's wrapping, or raw as some clients send.
    Deflate,
}

/// What `Content-Encoding` says.
pub fn content_coding(headers: &HeaderMap) -> Result<ContentCoding, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(ContentCoding::Identity) };
    let value = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    match value.as_str() {
        "" | "identity" => Ok(ContentCoding::Identity),
        "gzip" | "x-gzip" => Ok(ContentCoding::Gzip),
        "deflate" => Ok(ContentCoding::Deflate),
        other => Err(Refusal {
            status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            error: Error::bad_request(format!("content encoding '{other}' is not served; send gzip, deflate or none")),
        }),
    }
}

fn unpack(coding: ContentCoding, body: Bytes, limit: usize) -> Result<Bytes, Refusal> {
    match coding {
        ContentCoding::Identity => Ok(body),
        ContentCoding::Gzip => inflate("gzip", MultiGzDecoder::new(&body[..]), limit),
        ContentCoding::Deflate => {
            // zlib's first byte says method 8; raw deflate, which some clients send, hardly ever starts so.
            let wrapped =
                body.len() >= 2 && body[0] & 0x0f == 8 && u16::from_be_bytes([body[0], body[1]]).is_multiple_of(31);
            if wrapped {
                inflate("deflate", ZlibDecoder::new(&body[..]), limit)
            } else {
                inflate("deflate", DeflateDecoder::new(&body[..]), limit)
            }
        }
    }
}

fn inflate(name: &str, reader: impl Read, limit: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    match reader.take(limit as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > limit => Err(Refusal::too_large(limit)),
        Ok(_) => Ok(Bytes::from(out)),
        Err(error) => {
            let at = out.len();
            let message = format!("the request body is not valid {name} (after {at} unpacked bytes): {error}");
            Err(Error::bad_request(message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn properties_may_be_an_object_or_a_string_and_names_have_no_case() {
        let bodies = [
            r#"{"db":"D","csl":"T","properties":{"Options":{"a":1},"Parameters":{"p":"x"},"ClientRequestId":"c"}}"#,
            r#"{"DB":"D","CSL":"T","Properties":"{\"options\":{\"a\":1},\"parameters\":{\"p\":\"x\"},\"clientRequestId\":\"c\"}"}"#,
        ];
        for body in bodies {
            let request = Request::of_body(body.as_bytes()).unwrap();
            assert_eq!((request.database.as_str(), request.text.as_str()), ("D", "T"));
            assert_eq!(request.options, [("a".to_string(), Value::from(1))]);
            assert_eq!(request.parameters, [("p".to_string(), Value::from("x"))]);
            assert_eq!(request.client_request_id.as_deref(), Some("c"));
        }
    }

    #[test]
    fn absent_parts_are_normal_and_unknown_ones_ignored() {
        let request = Request::of_body(br#"{"csl":"T","properties":null,"querySource":"x","db":null}"#).unwrap();
        assert_eq!(request.database, "");
        assert!(request.options.is_empty() && request.parameters.is_empty());
    }

    #[test]
    fn a_broken_body_is_told_with_its_place() {
        let message = |body: &str| Request::of_body(body.as_bytes()).unwrap_err().message().to_string();
        assert!(message("{\"csl\":\n oops}").contains("line 2 column 2"));
        assert!(message("[1]").contains("must be a JSON object"));
        assert!(message("{}").contains("'csl'"));
        assert!(message("{\"csl\":5}").contains("must be a string, found a number"));
        assert!(message("").contains("empty"));
        assert!(message(&("[".repeat(100_000))).contains("recursion limit"));
    }

    #[test]
    fn a_get_has_the_same_parts_as_arguments() {
        let request = Request::of_arguments(
            "db=My+DB&csl=print%20%22%C3%A4%22&properties=%7B%22Options%22%3A%7B%22x%22%3Atrue%7D%7D",
        );
        let request = request.unwrap();
        assert_eq!((request.database.as_str(), request.text.as_str()), ("My DB", "print \"ä\""));
        assert_eq!(request.options, [("x".to_string(), Value::Bool(true))]);
    }

    #[test]
    fn packed_bodies_are_unpacked_within_the_limit() {
        let text = "x".repeat(10_000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let gzip = Bytes::from(gzip.finish().unwrap());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text.as_bytes()).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text.as_bytes()).unwrap();
        assert_eq!(unpack(ContentCoding::Gzip, gzip.clone(), 10_000).unwrap(), text);
        assert_eq!(unpack(ContentCoding::Deflate, zlib.finish().unwrap().into(), 10_000).unwrap(), text);
        assert_eq!(unpack(ContentCoding::Deflate, raw.finish().unwrap().into(), 10_000).unwrap(), text);
        let refusal = unpack(ContentCoding::Gzip, gzip.clone(), 9_999).unwrap_err();
        assert_eq!(refusal.status, Some(StatusCode::PAYLOAD_TOO_LARGE));
        let cut = gzip.slice(..gzip.len() / 2);
        assert!(unpack(ContentCoding::Gzip, cut, 10_000).unwrap_err().error.message().contains("not valid gzip"));
    }
}
