//! Commands about queued ingestion of files in stores. Source: ingest-from-storage-queued, list-blobs,
//! show-queued-ingestion-operations and cancel-queued-ingestion-operation pages.
//!
//! The parser knows these commands by name only.

use serde_json::json;
use tidewater_kql::KqlType;
use tidewater_kql::lexer::TokenKind;
use tidewater_kql::value::datetime;
use tidewater_plan::PathPiece;
use uuid::Uuid;

use super::Request;
use super::words::Words;
use crate::answer::ResultTable;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::external::StoredObject;
use crate::queued::{Operation, QueuedFile};
use crate::table::{Cell, Columns, TableBuilder};

const OPERATIONS: Columns = &[
    ("IngestionOperationId", KqlType::String),
    ("StartedOn", KqlType::DateTime),
    ("LastUpdatedOn", KqlType::DateTime),
    ("State", KqlType::String),
    ("Discovered", KqlType::Long),
    ("Pending", KqlType::Long),
    ("Canceled", KqlType::Long),
    ("Ingested", KqlType::Long),
    ("Failed", KqlType::Long),
    ("SampleFailedReasons", KqlType::String),
    ("Database", KqlType::String),
    ("Table", KqlType::String),
];

const DETAILS: Columns = &[
    ("IngestionOperationId", KqlType::String),
    ("BlobUrl", KqlType::String),
    ("IngestionStatus", KqlType::String),
    ("StartedAt", KqlType::DateTime),
    ("CompletedAt", KqlType::DateTime),
    ("FailedReason", KqlType::String),
];

/// Files that a listing by itself shows. Source: list-blobs page, note.
const MAX_SHOWN: usize = 1000;

/// Whether the command of this name in the parser's table is one of these.
pub(super) fn is_served(name: &str) -> bool {
    matches!(
        name,
        "ingest from storage queued into table"
            | "list blobs"
            | "show queued ingestion operations"
            | "cancel queued ingestion operation"
    )
}

/// Runs one of them.
pub(super) async fn run(request: &Request<'_>, name: &str) -> Result<ResultTable> {
    let mut words = Words::of(request.text);
    match name {
        "ingest from storage queued into table" => ingest(request, &mut words).await,
        "list blobs" => {
            request.service.require_ingestor(&request.access)?;
            words.skip_to(|kind, _| kind == TokenKind::OpenParen);
            let listing = Listing::of(&mut words)?;
            let mut out = TableBuilder::new(&[
                ("BlobUri", KqlType::String),
                ("SizeInBytes", KqlType::Long),
                ("CapturedVariables", KqlType::Dynamic),
            ]);
            for (object, created) in listing.objects(request).await?.into_iter().take(MAX_SHOWN) {
                let captured = created.map_or_else(|| json!({}), |ticks| json!({"creationTime": american(ticks)}));
                out.row(vec![object.shown.into(), object.size.into(), captured.to_string().into()]);
            }
            out.finish()
        }
        "cancel queued ingestion operation" => {
            let ids = words.strings();
            let [id] = ids.as_slice() else { return Err(Error::bad_request("one id of an operation is expected")) };
            let operation = operation(request, id).await?;
            request.service.cancel_queued(operation.id).await?;
            let mut out = TableBuilder::new(OPERATIONS);
            row(&mut out, &self::operation(request, id).await?);
            out.finish()
        }
        _ => {
            let ids = words.strings();
            if ids.is_empty() {
                return Err(Error::bad_request("an id of an operation is expected"));
            }
            let with_details = words
                .tokens
                .iter()
                .any(|(kind, text)| *kind == TokenKind::Name && text.eq_ignore_ascii_case("details"));
            let mut out = TableBuilder::new(if with_details { DETAILS } else { OPERATIONS });
            for id in ids {
                let operation = operation(request, &id).await?;
                match with_details {
                    true => details(&mut out, &operation),
                    false => row(&mut out, &operation),
                }
            }
            out.finish()
        }
    }
}

/// As the page of `.list blobs` writes times.
fn american(ticks: i64) -> String {
    let time = datetime::civil(ticks);
    let (hour, minute, second) = (time.hour, time.minute, time.second);
    format!("{:02}/{:02}/{:04} {hour:02}:{minute:02}:{second:02}", time.month, time.day, time.year)
}

async fn operation(request: &Request<'_>, id: &str) -> Result<Operation> {
    let parsed = Uuid::parse_str(id.trim())
        .map_err(|_| Error::bad_request(format!("'{id}' is no id of a queued ingestion operation")))?;
    let operation = request.service.queued_operation(parsed).await?;
    // Whoever may not ingest there does not learn that it exists.
    let context = Context { database: operation.database.clone(), readonly: false, ..request.context.clone() };
    request.service.check_may_ingest(&context, &operation.table)?;
    Ok(operation)
}

fn row(out: &mut TableBuilder, operation: &Operation) {
    let count = |status: &str| operation.files.iter().filter(|file| file.status == status).count();
    let (pending, canceled, failed) = (count("InProgress"), count("Canceled"), count("Failed"));
    let state = match () {
        () if canceled > 0 => "Canceled",
        () if pending > 0 => "InProgress",
        () if failed > 0 => "Failed",
        () => "Completed",
    };
    let reason = operation.files.iter().find_map(|file| file.failure.as_ref().map(|(.., words)| words.as_str()));
    let long = |count: usize| Cell::Number(i64::try_from(count).unwrap_or(i64::MAX));
    out.row(vec![
        operation.id.to_string().into(),
        operation.files.iter().map(|file| file.started).min().unwrap_or_default().into(),
        operation.files.iter().map(|file| file.updated).max().unwrap_or_default().into(),
        state.into(),
        long(operation.files.len()),
        long(pending),
        long(canceled),
        long(count("Succeeded")),
        long(failed),
        reason.into(),
        operation.database.as_str().into(),
        operation.table.as_str().into(),
    ]);
}

fn details(out: &mut TableBuilder, operation: &Operation) {
    for file in &operation.files {
        let (status, ended) = match file.status {
            "InProgress" => ("Pending", Cell::Null),
            status => (status, file.updated.into()),
        };
        out.row(vec![
            operation.id.to_string().into(),
            file.url.as_str().into(),
            status.into(),
            file.started.into(),
            ended,
            file.failure.as_ref().map(|(.., words)| words.as_str()).into(),
        ]);
    }
}

async fn ingest(request: &Request<'_>, words: &mut Words<'_>) -> Result<ResultTable> {
    words.skip_to(|kind, text| kind == TokenKind::Name && text.eq_ignore_ascii_case("table"));
    words.at += 1;
    let mut database = request.context.database.clone();
    let mut table = words.name()?;
    if table.eq_ignore_ascii_case("database") && words.kind() == Some(TokenKind::OpenParen) {
        words.at += 1;
        database = words.name()?;
        words.expect(TokenKind::CloseParen, "')'")?;
        words.expect(TokenKind::Dot, "'.'")?;
        table = words.name()?;
    }
    let mut context = request.context.clone();
    context.database = database;
    request.service.check_may_ingest(&context, &table)?;
    let flags = words.assignments()?;
    let mut properties = Vec::new();
    if words.is_name("with") {
        words.at += 1;
        words.expect(TokenKind::OpenParen, "'('")?;
        properties = words.assignments()?;
        words.expect(TokenKind::CloseParen, "')'")?;
    }
    for (name, _) in &flags {
        if !["enabletracking", "skipbatching", "compressionfactor"].contains(&name.as_str()) {
            return Err(Error::bad_request(format!(
                "'{name}' is no option of the command; EnableTracking, SkipBatching and CompressionFactor are"
            )));
        }
    }
    let flag = |wanted: &str| flags.iter().any(|(name, value)| name == wanted && value.eq_ignore_ascii_case("true"));
    words.expect(TokenKind::LessPipe, "'<|'")?;
    let mut files = Vec::new();
    match words.kind() {
        Some(TokenKind::Dot) => {
            words.skip_to(|kind, _| kind == TokenKind::OpenParen);
            let listing = Listing::of(words)?;
            for (object, created) in listing.objects(request).await? {
                let mut properties = properties.clone();
                if let Some(created) = created {
                    properties.retain(|(name, _)| name != "creationtime");
                    properties.push(("creationtime".to_string(), datetime::to_text(created)));
                }
                files.push(QueuedFile { address: object.address, bytes: None, properties });
            }
        }
        Some(TokenKind::String) => {
            files.extend(words.strings().into_iter().map(|address| QueuedFile {
                address,
                bytes: None,
                properties: properties.clone(),
            }));
        }
        _ => {
            return Err(Error::bad_request("the addresses of files, or '.list blobs (...)', are expected behind '<|'"));
        }
    }
    let is_tracked = flag("enabletracking");
    let id = request.service.queue_files(&context, &table, files, is_tracked, flag("skipbatching")).await?;
    let mut out = TableBuilder::new(&[
        ("IngestionOperationId", KqlType::String),
        ("ClientRequestId", KqlType::String),
        ("OperationInfo", KqlType::String),
    ]);
    let info = match is_tracked {
        true => format!(".show queued ingestion operations \"{id}\""),
        false => String::new(),
    };
    out.row(vec![id.to_string().into(), request.context.client_request_id.as_str().into(), info.into()]);
    out.finish()
}

/// `("connection string") [Suffix=...] [MaxFiles=...] [PathFormat=(...)]`
struct Listing {
    places: Vec<String>,
    suffix: Option<String>,
    limit: usize,
    path: Vec<PathPiece>,
}

/// The partition that a path format can name. Source: list-blobs page: only the creation time is supported.
const CREATED: &str = "creationTime";

impl Listing {
    fn of(words: &mut Words<'_>) -> Result<Listing> {
        words.expect(TokenKind::OpenParen, "'('")?;
        let mut listing = Listing { places: Vec::new(), suffix: None, limit: usize::MAX, path: Vec::new() };
        while words.kind() == Some(TokenKind::String) {
            listing.places.push(words.text()?);
            if words.kind() == Some(TokenKind::Comma) {
                words.at += 1;
            }
        }
        words.expect(TokenKind::CloseParen, "')'")?;
        if listing.places.is_empty() {
            return Err(Error::bad_request("a storage connection string is expected"));
        }
        while words.kind() == Some(TokenKind::Name) {
            let option = words.text()?;
            words.expect(TokenKind::Equal, "'='")?;
            match option.to_ascii_lowercase().as_str() {
                "suffix" => listing.suffix = Some(words.text()?),
                "maxfiles" => {
                    let text = words.text()?;
                    listing.limit = text.parse().map_err(|_| {
                        Error::bad_request(format!("'MaxFiles' must be a whole number, found '{text}'"))
                    })?;
                }
                "pathformat" => listing.path = path_format(words)?,
                _ => {
                    return Err(Error::bad_request(format!(
                        "'{option}' is no option of '.list blobs'; Suffix, MaxFiles and PathFormat are"
                    )));
                }
            }
        }
        Ok(listing)
    }

    async fn objects(&self, request: &Request<'_>) -> Result<Vec<(StoredObject, Option<i64>)>> {
        let external = &request.service.inner().external;
        let mut found = Vec::new();
        for place in &self.places {
            for object in external.stored_objects(place).await? {
                if found.len() >= self.limit {
                    return Ok(found);
                }
                let created = match self.path.is_empty() {
                    true => None,
                    false => match external.moment_of_path(&self.path, CREATED, &object.key)? {
                        Some(ticks) => Some(ticks),
                        // Another form of path is no file that was asked for.
                        None => continue,
                    },
                };
                if self.suffix.as_ref().is_none_or(|suffix| object.key.ends_with(suffix.as_str())) {
                    found.push((object, created));
                }
            }
        }
        Ok(found)
    }
}

fn path_format(words: &mut Words<'_>) -> Result<Vec<PathPiece>> {
    words.expect(TokenKind::OpenParen, "'('")?;
    let mut pieces = Vec::new();
    while words.kind().is_some_and(|kind| kind != TokenKind::CloseParen) {
        if words.kind() == Some(TokenKind::String) {
            pieces.push(PathPiece::Text(words.text()?));
        } else if words.is_name("datetime_pattern") {
            words.at += 1;
            words.expect(TokenKind::OpenParen, "'('")?;
            let pattern = words.text()?;
            words.expect(TokenKind::Comma, "','")?;
            words.text()?;
            words.expect(TokenKind::CloseParen, "')'")?;
            pieces.push(PathPiece::DateTime { pattern, partition: CREATED.to_string() });
        } else {
            words.text()?;
            pieces.push(PathPiece::Partition(CREATED.to_string()));
        }
    }
    words.expect(TokenKind::CloseParen, "')'")?;
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_with_its_options() {
        let text = r#".list blobs ("s3://b/dir;AwsCredentials=a,b") Suffix=".csv" MaxFiles=5
            PathFormat=("year=" datetime_pattern("yyyy'/month='MM", creationTime) "/") | count"#;
        let mut words = Words::of(text);
        words.skip_to(|kind, _| kind == TokenKind::OpenParen);
        let listing = Listing::of(&mut words).unwrap();
        assert_eq!(listing.places, ["s3://b/dir;AwsCredentials=a,b"]);
        assert_eq!((listing.suffix.as_deref(), listing.limit, listing.path.len()), (Some(".csv"), 5, 3));
        for wrong in [".list blobs ()", ".list blobs ('x') Max=1", ".list blobs ('x') MaxFiles=many", ".list blobs ("] {
            let mut words = Words::of(wrong);
            words.skip_to(|kind, _| kind == TokenKind::OpenParen);
            assert!(Listing::of(&mut words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn assignments_are_read_with_and_without_commas() {
        let mut words = Words::of("EnableTracking=true SkipBatching = false with (format='csv', tags='[\"a\"]')");
        assert_eq!(words.assignments().unwrap().len(), 2);
        assert!(words.is_name("with"));
        words.at += 2;
        let properties = words.assignments().unwrap();
        assert_eq!(properties[1], ("tags".to_string(), "[\"a\"]".to_string()));
    }
}
