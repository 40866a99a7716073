//! `GET /queries/{id}/results`: the rows of a finished query, in the format and window that the caller wants.
//! Source: query-service-api section 23.

use std::io::{self, Read, Seek, SeekFrom, Write};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tidewater_service::jobs::{JobRows, ResultRows};
use tokio::sync::mpsc;

use super::headers::Caller;
use super::problem::Problem;
use super::rows::{self, Format, Window};
use super::{Answer, Arguments, PREFIX, argument, flag, unknown};
use crate::app::App;
use crate::kusto::sink::Coding;

/// Bytes that go out at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that may wait for a slow client.
const WAITING_CHUNKS: usize = 4;

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(arguments): Arguments,
    headers: HeaderMap,
) -> Answer {
    let format = format(&arguments, &headers)?;
    let window = window(&arguments)?;
    let with_deleted = !flag(&arguments, "excludeSoftDeleted", true)?;
    let rows = kept(app.service().job_rows(&caller.tenant, &id, with_deleted).await?, &id)?;
    let is_whole = window.offset == 0 && window.limit.is_none();
    let coding = match format.is_text() {
        true => Coding::accepted(headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok())),
        false => Coding::Identity,
    };
    let limit = window.limit.map_or("all".to_string(), |limit| limit.to_string());
    let tag = format!(
        "\"{id}-{}-{}-{limit}-{}{}\"",
        format.name(),
        window.offset,
        u8::from(window.numbers_as_text),
        coding.header().unwrap_or_default()
    );
    let next = window.next(rows.rows).map(|offset| {
        let base = caller.base.as_str();
        let numbers = if window.numbers_as_text { "&numbers=string" } else { "" };
        format!("{base}{PREFIX}/queries/{id}/results?offset={offset}&limit={limit}&format={}{numbers}", format.name())
    });
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known == "*" || known.split(',').any(|one| one.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if format == Format::Parquet && is_whole {
        file(rows, headers.get(header::RANGE))?
    } else {
        let mut response = Response::new(encoded(rows, format, window, next.clone(), coding));
        if let Some(coding) = coding.header() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        response
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    out.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    out.insert("x-request-id", caller.request_id.clone());
    let mut set = |name: header::HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            out.insert(name, value);
        }
    };
    set(header::ETAG, tag);
    if let Some(next) = next {
        set(header::LINK, format!("<{next}>; rel=\"next\""));
    }
    Ok(response)
}

/// The rows, or why there are none.
pub(super) fn kept(rows: JobRows, id: &str) -> Result<ResultRows, Problem> {
    match rows {
        JobRows::Kept(rows) => Ok(*rows),
        JobRows::Unknown => Err(unknown(id)),
        JobRows::None(state) => {
            let message = format!("the query '{id}' is {}; only one in SUCCESS has rows", state.name());
            Err(Problem::new(StatusCode::CONFLICT, message))
        }
        JobRows::NotReturned => {
            let message = format!("the statement of query '{id}' returns no rows; what it wrote is in its table");
            Err(Problem::new(StatusCode::NOT_FOUND, message))
        }
        JobRows::Expired => {
            let message = format!("the rows of query '{id}' were kept for their time and are gone; run it again");
            Err(Problem::new(StatusCode::GONE, message))
        }
    }
}

fn format(arguments: &[(String, String)], headers: &HeaderMap) -> Result<Format, Problem> {
    const EXPECTED: &str = "expected json, ndjson, csv, arrow, arrow-file or parquet";
    if let Some(name) = argument(arguments, "format") {
        return Format::named(name).ok_or_else(|| Problem::bad(format!("format: found '{name}', {EXPECTED}")));
    }
    match headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) {
        None => Ok(Format::Json),
        Some(accept) => Format::accepted(accept).ok_or_else(|| {
            let message = format!("Accept: found '{accept}'; rows come as JSON, NDJSON, CSV, Arrow or Parquet");
            Problem::new(StatusCode::NOT_ACCEPTABLE, message)
        }),
    }
}

fn window(arguments: &[(String, String)]) -> Result<Window, Problem> {
    let number = |name: &str, least: u64| match argument(arguments, name) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<u64>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(Problem::bad(format!("{name}: found '{text}', expected a number from {least} on"))),
        },
    };
    let numbers_as_text = match argument(arguments, "numbers") {
        None | Some("number") => false,
        Some("string") => true,
        Some(other) => return Err(Problem::bad(format!("numbers: found '{other}', expected string or number"))),
    };
    Ok(Window { offset: number("offset", 0)?.unwrap_or(0), limit: number("limit", 1)?, numbers_as_text })
}

/// Collects what an encoder writes and hands it on in chunks; fails when nobody reads any longer.
struct Channel {
    buffer: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Channel {
    fn hand_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES)));
        self.sender.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that a blocking thread writes. A fault in the middle breaks the body off, so that nobody takes it for whole.
fn body(work: impl FnOnce(&mut Channel) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut channel = Channel { buffer: Vec::with_capacity(CHUNK_BYTES), sender };
        let written = work(&mut channel).and_then(|()| channel.hand_on());
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::error!(%error, "a result could not be read to its end");
            // The reader may be gone as well.
            let _ = channel.sender.blocking_send(Err(error));
        }
    });
    let parts = futures::stream::unfold(receiver, |mut receiver| async move {
        let part = receiver.recv().await?;
        Some((part, receiver))
    });
    Body::from_stream(parts)
}

fn encoded(rows: ResultRows, format: Format, window: Window, next: Option<String>, coding: Coding) -> Body {
    body(move |out| match coding {
        Coding::Identity => rows::write(rows, format, window, next, out),
        Coding::Gzip => {
            let mut press = GzEncoder::new(out, Compression::fast());
            rows::write(rows, format, window, next, &mut press)?;
            press.finish().map(drop)
        }
        Coding::Deflate => {
            let mut press = ZlibEncoder::new(out, Compression::fast());
            rows::write(rows, format, window, next, &mut press)?;
            press.finish().map(drop)
        }
    })
}

/// The kept file as it is, or the part of it that `Range` asks for.
fn file(rows: ResultRows, range: Option<&HeaderValue>) -> Answer {
    let length = rows.bytes;
    let range = range.and_then(|range| range.to_str().ok()).and_then(|text| wanted_range(text, length));
    let (status, from, to) = match range {
        None => (StatusCode::OK, 0, length),
        Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(None) => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "Range: begins behind the end of the file");
            let mut response = problem.into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(response);
        }
    };
    let mut file = rows.file;
    let body = body(move |out| {
        file.seek(SeekFrom::Start(from))?;
        io::copy(&mut file.take(to - from), out).map(drop)
    });
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{length}", to - 1))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// One range of bytes as its start and end; `Some(None)` where it cannot be had, `None` where the header asks for
/// nothing that is served (several ranges, other units), which HTTP lets a server ignore.
fn wanted_range(text: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((count > 0 && length > 0).then(|| (length.saturating_sub(count), length)));
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { length.saturating_sub(1) } else { last.parse::<u64>().ok()? };
    if last < first && first < length {
        return None;
    }
    Some((first < length).then(|| (first, length.min(last.saturating_add(1)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        assert_eq!(wanted_range("bytes=0-3", 10), Some(Some((0, 4))));
        assert_eq!(wanted_range("bytes=4-", 10), Some(Some((4, 10))));
        assert_eq!(wanted_range("bytes=-4", 10), Some(Some((6, 10))));
        assert_eq!(wanted_range("bytes=5-99", 10), Some(Some((5, 10))));
        assert_eq!(wanted_range("bytes=10-", 10), Some(None));
        assert_eq!(wanted_range("bytes=5-2", 10), None);
        assert_eq!(wanted_range("bytes=0-1,4-5", 10), None);
        assert_eq!(wanted_range("rows=0-1", 10), None);
    }
}
