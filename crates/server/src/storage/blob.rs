//! Blobs: put whole or in blocks, looked at, read, deleted.

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use tidewater_service::Service;
use tidewater_service::queued::BlobInfo;
use tokio::io::AsyncReadExt;

use super::{Answer, Call, Failure, answered, elements, http_date, set};
use crate::kusto::request::{Refusal, drain};

/// A list of blocks.
const MAX_LIST_BYTES: usize = 8 << 20;

pub(super) async fn answer(call: Call) -> Answer {
    if call.name.is_empty() {
        return container(&call);
    }
    let part = call.argument("comp").map(str::to_ascii_lowercase);
    match (&call.method, part.as_deref()) {
        (&Method::PUT, None) => put(call).await,
        (&Method::PUT, Some("block")) => put(call).await,
        (&Method::PUT, Some("blocklist")) => join(call).await,
        (&Method::GET | &Method::HEAD, None | Some("metadata")) => get(call).await,
        (&Method::DELETE, None) => {
            call.require("d")?;
            match call.app.service().remove_blob(&call.name).await {
                true => Ok(answered(StatusCode::ACCEPTED, None, "")),
                false => Err(missing()),
            }
        }
        _ => Err(Failure::method()),
    }
}

fn missing() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "BlobNotFound", "the blob does not exist")
}

/// Whether the container exists, which it always does.
fn container(call: &Call) -> Answer {
    call.require("rwcd")?;
    let is_looked_at = matches!(call.method, Method::GET | Method::HEAD)
        && call.argument("restype").is_some_and(|kind| kind.eq_ignore_ascii_case("container"));
    match (is_looked_at, call.argument("comp")) {
        (true, None) => Ok(answered(StatusCode::OK, None, "")),
        (true, Some(_)) => {
            Err(Failure::new(StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch", "uploads are not listed"))
        }
        (false, _) => Err(Failure::method()),
    }
}

/// Tag and times of a blob.
fn described(response: &mut Response, info: BlobInfo) {
    let since = info.written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let ticks = tidewater_kql::value::datetime::UNIX_EPOCH_TICKS + (since.as_nanos() / 100) as i64;
    set(response, "etag", &format!("\"0x{ticks:X}\""));
    set(response, "last-modified", &http_date(ticks));
    set(response, "x-ms-blob-type", "BlockBlob");
    set(response, "x-ms-request-server-encrypted", "false");
}

async fn put(call: Call) -> Answer {
    call.require("wc")?;
    let service = call.app.service().clone();
    let block = match call.argument("comp") {
        Some(_) => match call.argument("blockid") {
            Some(id) if !id.is_empty() => Some(id.to_string()),
            _ => return Err(Failure::bad("the argument 'blockid' is missing")),
        },
        None => None,
    };
    if block.is_none() {
        let kind = call.header("x-ms-blob-type").unwrap_or("BlockBlob");
        if !kind.eq_ignore_ascii_case("BlockBlob") {
            return Err(Failure::bad(format!("a blob of type '{kind}' is not kept; BlockBlob is")));
        }
        let only_new = is_only_new(&call);
        unless_there(&service, &call.name, only_new).await?;
    }
    let mut upload = service.upload(&call.name, block.as_deref()).await?;
    let (limit, patience) = (call.app.config().max_ingest_body_bytes, call.app.config().stall_timeout());
    let mut stream = call.body.into_data_stream();
    loop {
        let part = tokio::time::timeout(patience, stream.next()).await.map_err(|_| Refusal::stalled())?;
        let Some(part) = part else { break };
        let part = part.map_err(|error| Failure::bad(format!("the request body broke off: {error}")))?;
        upload.write(part).await?;
        if upload.bytes() > limit {
            drain(stream).await;
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestBodyTooLarge",
                format!("the body exceeds the limit of {limit} bytes"),
            ));
        }
    }
    upload.finish().await?;
    made(&service, &call.name, block.is_none()).await
}

/// Refuses to write over a blob where the client asks for that.
async fn unless_there(service: &Service, name: &str, only_new: bool) -> Result<(), Failure> {
    match only_new && service.blob_info(name).await.is_some() {
        true => Err(Failure::new(StatusCode::CONFLICT, "BlobAlreadyExists", "the blob exists already")),
        false => Ok(()),
    }
}

fn is_only_new(call: &Call) -> bool {
    call.header("if-none-match").is_some_and(|tag| tag.trim() == "*")
}

async fn made(service: &Service, name: &str, is_whole: bool) -> Answer {
    let mut response = answered(StatusCode::CREATED, None, "");
    if is_whole && let Some(info) = service.blob_info(name).await {
        described(&mut response, info);
        response.headers_mut().remove("x-ms-blob-type");
    }
    Ok(response)
}

async fn join(call: Call) -> Answer {
    call.require("wc")?;
    let (service, name, only_new) = (call.app.service().clone(), call.name.clone(), is_only_new(&call));
    unless_there(&service, &name, only_new).await?;
    let body = call.body(MAX_LIST_BYTES).await?;
    let body = String::from_utf8_lossy(&body);
    if !body.contains("<BlockList") {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "InvalidXmlDocument", "a BlockList is expected"));
    }
    service.join_blocks(&name, elements(&body, &["Latest", "Uncommitted", "Committed"])).await?;
    made(&service, &name, true).await
}

async fn get(call: Call) -> Answer {
    call.require("r")?;
    let service = call.app.service();
    let info = service.blob_info(&call.name).await.ok_or_else(missing)?;
    let range = match call.argument("comp") {
        Some(_) => None,
        None => wanted(&call.headers, info.bytes)?,
    };
    let is_head = call.method == Method::HEAD || call.argument("comp").is_some();
    let (from, length, status) = match range {
        Some((from, to)) if !is_head => (from, to - from + 1, StatusCode::PARTIAL_CONTENT),
        _ => (0, info.bytes, StatusCode::OK),
    };
    let body = match is_head {
        true => Body::empty(),
        false => {
            let file = service.read_blob(&call.name, from).await?;
            Body::from_stream(tokio_util::io::ReaderStream::new(file.take(length)))
        }
    };
    let mut response = answered(status, Some("application/octet-stream"), body);
    described(&mut response, info);
    set(&mut response, "content-length", &length.to_string());
    set(&mut response, "accept-ranges", "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, "content-range", &format!("bytes {from}-{}/{}", from + length - 1, info.bytes));
    }
    Ok(response)
}

/// The part of a blob that is wanted; `None` for all of it.
fn wanted(headers: &HeaderMap, bytes: u64) -> Result<Option<(u64, u64)>, Failure> {
    let given = headers.get("x-ms-range").or_else(|| headers.get(header::RANGE));
    let Some(text) = given.and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")) else { return Ok(None) };
    let (from, to) = text.split_once('-').unwrap_or((text, ""));
    let Ok(from) = from.parse::<u64>() else { return Ok(None) };
    if from >= bytes {
        return Err(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "the range begins behind the end"));
    }
    let to = to.parse::<u64>().unwrap_or(bytes - 1).min(bytes - 1);
    Ok((to >= from).then_some((from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_blob_does() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
            wanted(&headers, 10).ok()
        };
        assert_eq!(of("bytes=0-99"), Some(Some((0, 9))));
        assert_eq!(of("bytes=3-4"), Some(Some((3, 4))));
        assert_eq!(of("bytes=3-"), Some(Some((3, 9))));
        assert_eq!(of("bytes=10-12"), None);
        assert_eq!(of("lines=1-2"), Some(None));
        assert_eq!(wanted(&HeaderMap::new(), 10).ok(), Some(None));
    }
}
