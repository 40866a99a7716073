//! What can go wrong in a request, and how grave it is.
//!
//! Every fault of the lower crates becomes an [`Error`] here. Its [`Kind`] decides what a front may
//! say about it (status, permanence); its code and type name are Kusto's own words, because clients
//! match on them. Source: kusto-rest section 4.

use std::fmt;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use tidewater_kql::Diagnostic;

/// How grave a fault is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller's text or data is wrong.
    BadRequest,
    /// The caller names something that does not exist.
    NotFound,
    /// The caller may not do this.
    Forbidden,
    /// A limit of the service: rows, bytes, memory, time.
    Limit,
    /// Too busy or stopping; the same request may succeed later.
    Unavailable,
    /// Ours.
    Internal,
}

/// What exactly happened, with what a front needs to tell it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Mistakes in a query or command text.
    Diagnostics {
        /// The text they were found in.
        text: String,
        /// At least one.
        diagnostics: Vec<Diagnostic>,
    },
    /// A wrong request that has no place in a text.
    BadRequest,
    /// A database that does not exist.
    DatabaseNotFound,
    /// A table, function, mapping or other entity that does not exist.
    EntityNotFound,
    /// A name that is taken.
    EntityExists,
    /// A data format that is not served.
    FormatNotSupported,
    /// A mapping that does not exist.
    MappingNotFound,
    /// Data that could not be read.
    BadData,
    /// A file elsewhere that cannot be had just now.
    Unreachable,
    /// A documented feature that is not served.
    NotServed,
    /// A write in a read-only request, or a path that may not be read.
    Forbidden,
    /// Too many requests at once.
    Throttled,
    /// Too many commands at once.
    CommandThrottled,
    /// A principal or a group has used what it may within a time.
    QuotaExceeded,
    /// More rows or bytes than the result may have.
    ResultTooLarge,
    /// The query wanted more memory than its share.
    OutOfMemory,
    /// The deadline passed.
    Timeout,
    /// Somebody cancelled the request; the reason when one was given.
    Cancelled,
    /// A disk has no room, or less than is to stay free.
    DiskFull,
    /// The server is stopping.
    Stopping,
    /// A fault of ours.
    Internal,
}

/// A fault and its text. Cheap to clone: partial failures are told twice.
#[derive(Clone, Debug)]
pub struct Error {
    fault: Arc<Fault>,
    message: Arc<str>,
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A fault with its text.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault: Arc::new(fault), message: Arc::from(message.into()) }
    }

    /// A wrong request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Fault::BadRequest, message)
    }

    /// A documented feature that is not served.
    pub fn not_served(what: impl fmt::Display) -> Self {
        Self::new(Fault::NotServed, format!("{what} is not served yet"))
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Fault::Internal, message)
    }

    /// A database nobody made.
    pub fn database_not_found(name: &str) -> Self {
        Self::new(Fault::DatabaseNotFound, format!("Entity ID '{name}' of kind 'Database' was not found."))
    }

    /// An entity nobody made. `kind` is Kusto's word: `Table`, `Function`.
    pub fn entity_not_found(kind: &str, name: &str) -> Self {
        Self::new(Fault::EntityNotFound, format!("Entity ID '{name}' of kind '{kind}' was not found."))
    }

    /// A name that is taken.
    pub fn entity_exists(kind: &str, name: &str) -> Self {
        Self::new(Fault::EntityExists, format!("Entity ID '{name}' of kind '{kind}' already exists."))
    }

    /// A write in a request that may only read.
    pub fn read_only(what: &str) -> Self {
        Self::new(Fault::Forbidden, format!("{what} changes data or metadata, and the request is read-only"))
    }

    /// The deadline passed.
    pub fn timeout() -> Self {
        Self::new(
            Fault::Timeout,
            "Request execution has exceeded its time limit (E_QUERY_TIMED_OUT); a longer one can be asked for by the \
             request property servertimeout, up to one hour",
        )
    }

    /// Somebody cancelled the request.
    pub fn cancelled(reason: Option<&str>) -> Self {
        let message = match reason {
            Some(reason) if !reason.is_empty() => format!("Query was cancelled by a user request: {reason}"),
            _ => "Query was cancelled by a user request".to_string(),
        };
        Self::new(Fault::Cancelled, message)
    }

    /// The result has more rows or bytes than it may. Texts and code: kusto-rest section 6.
    pub fn result_too_large(limit: &str) -> Self {
        Self::new(
            Fault::ResultTooLarge,
            format!(
                "Query execution has exceeded the allowed limits (80DA0003): The results of this query exceed the set \
                 limit of {limit}, so not all records were returned (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See \
                 https://aka.ms/kustoquerylimits for more information and possible solutions.."
            ),
        )
    }

    /// The query wanted more memory than its share, or one of its operators more than it may have.
    pub fn out_of_memory(detail: &str) -> Self {
        if detail.contains(crate::memory::RUNAWAY) {
            return Self::new(
                Fault::OutOfMemory,
                format!("Query execution has exceeded the allowed limits (80DA0001): Runaway query: {detail}"),
            );
        }
        Self::new(
            Fault::OutOfMemory,
            format!(
                "Query execution has exceeded the allowed limits (80DA0007): Query execution lacks memory resources to \
                 complete (80DA0007): Partial query failure: Low memory condition (E_LOW_MEMORY_CONDITION). ({detail})"
            ),
        )
    }

    /// Mistakes in a text.
    pub fn of_diagnostics(text: &str, diagnostics: Vec<Diagnostic>) -> Self {
        let message = match diagnostics.first() {
            Some(first) => first.message.clone(),
            None => "the text is wrong".to_string(),
        };
        Self::new(Fault::Diagnostics { text: text.to_string(), diagnostics }, message)
    }

    /// What happened.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// How grave it is.
    pub fn kind(&self) -> Kind {
        match &*self.fault {
            Fault::Diagnostics { .. } | Fault::BadRequest | Fault::BadData | Fault::EntityExists => Kind::BadRequest,
            Fault::NotServed | Fault::FormatNotSupported | Fault::Unreachable => Kind::BadRequest,
            Fault::DatabaseNotFound | Fault::EntityNotFound | Fault::MappingNotFound => Kind::NotFound,
            Fault::Forbidden => Kind::Forbidden,
            Fault::ResultTooLarge | Fault::OutOfMemory | Fault::Timeout | Fault::Cancelled => Kind::Limit,
            Fault::Throttled | Fault::CommandThrottled | Fault::QuotaExceeded | Fault::Stopping | Fault::DiskFull => {
                Kind::Unavailable
            }
            Fault::Internal => Kind::Internal,
        }
    }

    /// Kusto's code: `General_BadRequest`, `BadRequest_EntityNotFound`, `LimitsExceeded`, ...
    pub fn code(&self) -> &'static str {
        match &*self.fault {
            Fault::Diagnostics { diagnostics, .. } => match diagnostics.first() {
                Some(first) if first.is_syntax() => "BadRequest_SyntaxError",
                _ => "General_BadRequest",
            },
            Fault::BadRequest | Fault::NotServed => "General_BadRequest",
            Fault::DatabaseNotFound => "BadRequest_DatabaseNotExist",
            Fault::EntityNotFound => "BadRequest_EntityNotFound",
            Fault::EntityExists => "BadRequest_EntityNameAlreadyExists",
            Fault::FormatNotSupported => "BadRequest_FormatNotSupported",
            Fault::MappingNotFound => "BadRequest_MappingReferenceWasNotFound",
            Fault::BadData => "BadRequest_InvalidBlob",
            // Source: error-codes page, what may pass of downloads.
            Fault::Unreachable => "Download_UnknownError",
            Fault::Forbidden => "Forbidden",
            Fault::Throttled | Fault::CommandThrottled | Fault::QuotaExceeded => "TooManyRequests",
            Fault::ResultTooLarge | Fault::OutOfMemory => "LimitsExceeded",
            Fault::Timeout => "Timeout",
            Fault::Cancelled => "QueryCancelled",
            Fault::Stopping => "ServiceUnavailable",
            Fault::DiskFull => "InsufficientStorage",
            Fault::Internal => "General_InternalServerError",
        }
    }

    /// What happened, for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The mistakes in the text, if that is what it was.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match &*self.fault {
            Fault::Diagnostics { diagnostics, .. } => diagnostics,
            _ => &[],
        }
    }

    /// Whether the same request would fail again.
    pub fn is_permanent(&self) -> bool {
        matches!(self.kind(), Kind::BadRequest | Kind::NotFound | Kind::Forbidden)
            && !matches!(*self.fault, Fault::Unreachable)
    }

    /// Wraps the error so that it can travel through the engine's streams and come out again by `From`.
    pub fn into_engine(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        of_engine(&error)
    }
}

/// Finds our own error inside the engine's wrappers; otherwise judges the innermost one.
fn of_engine(error: &DataFusionError) -> Error {
    use datafusion::arrow::error::ArrowError;
    match error {
        DataFusionError::External(inner) => {
            if let Some(own) = inner.downcast_ref::<Error>() {
                return own.clone();
            }
            if let Some(engine) = inner.downcast_ref::<DataFusionError>() {
                return of_engine(engine);
            }
            if let Some(stored) = inner.downcast_ref::<tidewater_store::Error>() {
                return told_by_root(&stored.to_string()).unwrap_or_else(|| Error::internal(stored.to_string()));
            }
            let text = inner.to_string();
            told_by_root(&text).unwrap_or_else(|| Error::internal(text))
        }
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_engine(inner),
        DataFusionError::Shared(inner) => of_engine(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => of_engine(first),
            None => Error::internal("the engine failed without a reason"),
        },
        DataFusionError::ResourcesExhausted(detail) => Error::out_of_memory(first_line(detail)),
        DataFusionError::Execution(message)
        | DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message) => Error::bad_request(message.clone()),
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
                Some(engine) => of_engine(engine),
                None => match inner.downcast_ref::<Error>() {
                    Some(own) => own.clone(),
                    None => told_by_root(&inner.to_string()).unwrap_or_else(|| Error::internal(inner.to_string())),
                },
            },
            ArrowError::ComputeError(message)
            | ArrowError::ArithmeticOverflow(message)
            | ArrowError::CastError(message) => {
                Error::bad_request(told_by_filter(message).unwrap_or_else(|| message.clone()))
            }
            ArrowError::DivideByZero => Error::bad_request("division by zero"),
            other => told_by_root(&other.to_string()).unwrap_or_else(|| Error::internal(other.to_string())),
        },
        other => {
            let text = other.strip_backtrace();
            if let Some(error) = told_by_root(&text) {
                return error;
            }
            told_by_filter(&text).map_or_else(|| Error::internal(text), Error::bad_request)
        }
    }
}

/// What a database's root answered, or did not: readers of files keep the text only.
fn told_by_root(text: &str) -> Option<Error> {
    let told = &text[text.find(tidewater_store::UNREACHABLE)?..];
    Some(Error::new(Fault::Unreachable, told.lines().next().unwrap_or(told)))
}

/// What an expression said that failed while a file was read: the reader keeps the text only.
fn told_by_filter(text: &str) -> Option<String> {
    let (_, told) = text.split_once("Error evaluating filter predicate: Execution(")?;
    let told = told.strip_suffix(')')?;
    Some(serde_json::from_str(told).unwrap_or_else(|_| told.trim_matches('"').to_string()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_error_comes_back_out_of_the_engine() {
        let inside = DataFusionError::Context("x".into(), Box::new(Error::timeout().into_engine()));
        let out = Error::from(inside);
        assert_eq!(out.code(), "Timeout");
        assert!(!out.is_permanent());
    }

    #[test]
    fn what_fails_inside_a_scan_is_told_as_everywhere() {
        let text =
            r#"Parquet error: External: Compute error: Error evaluating filter predicate: Execution("it's \"so\"")"#;
        assert_eq!(told_by_filter(text).as_deref(), Some(r#"it's "so""#));
        assert_eq!(told_by_filter("Parquet error: EOF"), None);
    }

    #[test]
    fn exhausted_memory_is_a_limit() {
        let out = Error::from(DataFusionError::ResourcesExhausted("a\nb".into()));
        assert_eq!((out.kind(), out.code()), (Kind::Limit, "LimitsExceeded"));
        assert!(out.message().contains("E_LOW_MEMORY_CONDITION"));
    }
}
