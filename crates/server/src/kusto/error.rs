//! Error documents: the service's errors in Kusto's words. Source: kusto-rest sections 3, 4 and 6.
//!
//! The one place that maps kinds of errors to statuses.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tidewater_kql::{Diagnostic, value};
use tidewater_service::{Context, Error, Fault, Kind};
use uuid::Uuid;

/// What an error document says about its request.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The caller's id.
    pub client_request_id: String,
    /// Ours.
    pub activity_id: Uuid,
    /// The database, once known.
    pub database: String,
    /// The query or command text, once known.
    pub text: String,
    /// `DN.RunQuery`, `DN.AdminCommand`, ...
    pub activity: &'static str,
}

impl Scene {
    /// The scene of a request whose body is known.
    pub fn of(context: &Context, text: &str, activity: &'static str) -> Scene {
        Scene {
            client_request_id: context.client_request_id.clone(),
            activity_id: context.activity_id,
            database: context.database.clone(),
            text: text.to_string(),
            activity,
        }
    }
}

/// The status that tells of an error before the first byte.
///
/// Unknown tables and databases are 400: clients read 404 as a missing endpoint.
pub fn status(error: &Error) -> StatusCode {
    match (error.kind(), error.fault()) {
        (Kind::BadRequest | Kind::NotFound, _) => StatusCode::BAD_REQUEST,
        (Kind::Forbidden, _) => StatusCode::FORBIDDEN,
        (_, Fault::Throttled | Fault::CommandThrottled | Fault::QuotaExceeded) => StatusCode::TOO_MANY_REQUESTS,
        (_, Fault::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        (Kind::Limit, _) => StatusCode::BAD_REQUEST,
        (_, Fault::DiskFull) => StatusCode::INSUFFICIENT_STORAGE,
        (Kind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Kind::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The whole document: `{"error": {...}}`. `during_rows` chooses the words for partial failures.
pub fn document(error: &Error, scene: &Scene, during_rows: bool) -> Value {
    let mut body = Map::new();
    let detail = detail(error, scene);
    let in_text = !error.diagnostics().is_empty();
    body.insert("code".into(), json!(error.code()));
    body.insert("message".into(), json!(headline(error)));
    body.insert("@type".into(), json!(type_name(error, during_rows)));
    body.insert("@message".into(), json!(detail));
    body.insert("@context".into(), context(scene));
    body.insert("@permanent".into(), json!(error.is_permanent()));
    if !scene.text.is_empty() && !during_rows {
        body.insert("@text".into(), json!(tidewater_service::obfuscated(&scene.text)));
    }
    if !scene.database.is_empty() && !during_rows {
        body.insert("@database".into(), json!(scene.database));
    }
    if in_text {
        body.insert("innererror".into(), inner(error, scene));
    }
    json!({ "error": body })
}

/// The fixed sentence of `message`; faults that have no fixed one tell their detail.
fn headline(error: &Error) -> String {
    match error.fault() {
        Fault::Diagnostics { .. }
        | Fault::BadRequest
        | Fault::NotServed
        | Fault::BadData
        | Fault::Unreachable
        | Fault::ResultTooLarge
        | Fault::OutOfMemory => "Request is invalid and cannot be executed.".to_string(),
        Fault::Internal => "Request failed because of an internal error.".to_string(),
        _ => error.message().to_string(),
    }
}

fn type_name(error: &Error, during_rows: bool) -> &'static str {
    match error.fault() {
        Fault::ResultTooLarge | Fault::OutOfMemory => {
            "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException"
        }
        Fault::Timeout => "Kusto.Data.Exceptions.KustoServiceTimeoutException",
        Fault::Cancelled => "Kusto.Data.Exceptions.KustoServicePartialQueryFailureCanceledException",
        _ if during_rows => "Kusto.Data.Exceptions.KustoServicePartialQueryFailureException",
        Fault::Diagnostics { diagnostics, .. } if diagnostics.first().is_some_and(Diagnostic::is_syntax) => {
            "Kusto.Data.Exceptions.SyntaxException"
        }
        Fault::Diagnostics { .. } => "Kusto.Data.Exceptions.SemanticException",
        Fault::BadRequest | Fault::NotServed => "Kusto.Data.Exceptions.KustoBadRequestException",
        Fault::DatabaseNotFound => "Kusto.Data.Exceptions.DatabaseNotFoundException",
        Fault::EntityNotFound => "Kusto.Data.Exceptions.EntityNotFoundException",
        Fault::EntityExists => "Kusto.Data.Exceptions.EntityNameAlreadyExistsException",
        Fault::FormatNotSupported => "Kusto.DataNode.Exceptions.StreamingIngestionFormatNotSupportedException",
        Fault::MappingNotFound => "Kusto.DataNode.Exceptions.StreamingIngestionMappingNotFoundException",
        Fault::BadData | Fault::Unreachable => "Kusto.DataNode.Exceptions.StreamingIngestionRequestException",
        Fault::Forbidden => "Kusto.Data.Exceptions.KustoUnauthorizedDatabaseAccessException",
        Fault::Throttled => "Kusto.DataNode.Exceptions.QueryThrottledException",
        Fault::CommandThrottled => "Kusto.DataNode.Exceptions.ControlCommandThrottledException",
        Fault::QuotaExceeded => "Kusto.DataNode.Exceptions.QuotaExceededException",
        Fault::Stopping | Fault::DiskFull => "Kusto.Data.Exceptions.KustoServiceException",
        Fault::Internal => "Kusto.Data.Exceptions.KustoServiceException",
    }
}

/// `@message`: the detail, with the words that clients search for.
fn detail(error: &Error, scene: &Scene) -> String {
    match error.fault() {
        Fault::Diagnostics { diagnostics, .. } => match diagnostics.first() {
            Some(first) => {
                format!("Request is invalid and cannot be processed: {}", told(first, source_text(error, scene)))
            }
            None => error.message().to_string(),
        },
        Fault::BadRequest | Fault::NotServed => {
            format!("Request is invalid and cannot be processed: {}", error.message())
        }
        _ => error.message().to_string(),
    }
}

fn source_text<'a>(error: &'a Error, scene: &'a Scene) -> &'a str {
    match error.fault() {
        Fault::Diagnostics { text, .. } => text,
        _ => &scene.text,
    }
}

/// A mistake in Kusto's words: `Syntax error: ...` with its line and position, or `Semantic error: ...`.
fn told(diagnostic: &Diagnostic, text: &str) -> String {
    let (line, position) = diagnostic.span.line_column(text);
    if diagnostic.is_syntax() {
        format!(
            "Syntax error: {}: {} [line:position={line}:{position}]. Query: '{}'",
            diagnostic.code,
            with_hints(diagnostic),
            shortened(text)
        )
    } else {
        format!("Semantic error: {}: {} [line:position={line}:{position}]", diagnostic.code, with_hints(diagnostic))
    }
}

fn with_hints(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    for hint in &diagnostic.hints {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}

/// The caller has the text; an error document repeats at most this much of it.
const MAX_TEXT_CHARACTERS: usize = 4_000;

fn shortened(text: &str) -> &str {
    match text.char_indices().nth(MAX_TEXT_CHARACTERS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// At most this many mistakes are told at once.
const MAX_DIAGNOSTICS: usize = 20;

fn inner(error: &Error, scene: &Scene) -> Value {
    let text = source_text(error, scene);
    let mut all = error.diagnostics().iter().take(MAX_DIAGNOSTICS).map(|diagnostic| inner_of(diagnostic, text, scene));
    let mut first = all.next().unwrap_or_default();
    let others: Vec<Value> = all.map(Value::Object).collect();
    if !others.is_empty() {
        first.insert("@others".into(), Value::Array(others));
    }
    Value::Object(first)
}

fn inner_of(diagnostic: &Diagnostic, text: &str, scene: &Scene) -> Map<String, Value> {
    let (line, position) = diagnostic.span.line_column(text);
    let message = with_hints(diagnostic);
    let mut body = Map::new();
    body.insert("code".into(), json!(diagnostic.code));
    body.insert("message".into(), json!(message));
    let name = if diagnostic.is_syntax() {
        "Kusto.Data.Exceptions.SyntaxException"
    } else {
        "Kusto.Data.Exceptions.SemanticException"
    };
    body.insert("@type".into(), json!(name));
    body.insert("@message".into(), json!(told(diagnostic, text)));
    body.insert("@context".into(), context(scene));
    body.insert("@permanent".into(), json!(true));
    body.insert("@errorCode".into(), json!(diagnostic.code));
    body.insert("@errorMessage".into(), json!(message));
    body.insert("@line".into(), json!(line.to_string()));
    body.insert("@pos".into(), json!(position.to_string()));
    body.insert("@token".into(), json!(shortened(diagnostic.span.text(text))));
    body
}

/// `processId` and `threadId` are numbers: Go drops the whole error otherwise.
fn context(scene: &Scene) -> Value {
    let now = value::datetime::to_text(tidewater_service::context::now_ticks());
    let stack = format!(
        "((Activity stack: CRID={}   ARID={} > {}/{}))",
        scene.client_request_id, scene.activity_id, scene.activity, scene.activity_id
    );
    json!({
        "timestamp": now,
        "serviceAlias": "TIDEWATER",
        "machineName": "",
        "processName": "tidewater",
        "processId": std::process::id(),
        "threadId": 1,
        "clientRequestId": scene.client_request_id,
        "activityId": scene.activity_id,
        "subActivityId": scene.activity_id,
        "activityType": scene.activity,
        "parentActivityId": scene.activity_id,
        "activityStack": stack,
    })
}

#[cfg(test)]
mod tests {
    use tidewater_kql::Span;

    use super::*;

    fn scene() -> Scene {
        Scene {
            client_request_id: "c".into(),
            activity_id: Uuid::nil(),
            database: "D".into(),
            text: "T | whre x".into(),
            activity: "DN.RunQuery",
        }
    }

    #[test]
    fn a_semantic_error_has_the_words_and_members_clients_read() {
        let mistake = Diagnostic::new("SEM0100", Span::new(0, 1), "name 'T' is not known");
        let error = Error::of_diagnostics("T | whre x", vec![mistake]);
        let body = document(&error, &scene(), false);
        let body = &body["error"];
        assert_eq!(body["code"], "General_BadRequest");
        assert!(body["@message"].as_str().unwrap().contains("Semantic error: SEM0100: name 'T' is not known"));
        assert_eq!(body["@permanent"], true);
        assert!(body["@context"]["processId"].is_number() && body["@context"]["threadId"].is_number());
        assert_eq!(body["innererror"]["@errorCode"], "SEM0100");
        let order: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(order[..6], ["code", "message", "@type", "@message", "@context", "@permanent"]);
    }

    #[test]
    fn a_syntax_error_names_its_line_and_position() {
        let mistake = Diagnostic::new("SYN0002", Span::new(4, 8), "query operator expected");
        let body = document(&Error::of_diagnostics("T | whre x", vec![mistake]), &scene(), false);
        let inner = &body["error"]["innererror"];
        assert!(inner["@message"].as_str().unwrap().contains("[line:position=1:5]. Query: 'T | whre x'"));
        assert_eq!((&inner["@line"], &inner["@pos"], &inner["@token"]), (&json!("1"), &json!("5"), &json!("whre")));
    }

    #[test]
    fn statuses_follow_the_kind() {
        assert_eq!(status(&Error::database_not_found("x")), StatusCode::BAD_REQUEST);
        assert_eq!(status(&Error::timeout()), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(status(&Error::read_only("x")), StatusCode::FORBIDDEN);
        assert_eq!(status(&Error::new(Fault::Throttled, "x")), StatusCode::TOO_MANY_REQUESTS);
    }
}
