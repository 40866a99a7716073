//! Bytes of files that are not this machine's: from plain addresses and from object stores.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use reqwest::Url;
use tidewater_formats::{Compression, Format, Input};
use tidewater_kql::KqlType;
use tidewater_plan::{ExternalSource, Partition, PartitionValue, PathPiece};

use super::location::{Location, shown};
use super::objects::{Listed, Opened, Place};
use super::paths::{PathFormat, PathValue, wildcard};
use super::{Artifact, External, PATIENCE};
use crate::error::{Error, Fault, Result};
use crate::ingest::{Payload, Spool};

/// A file that has to be kept on disk to be read may have this many bytes.
const MAX_SPOOLED_BYTES: u64 = 16 << 30;
/// A file up to this size is kept in memory.
const MAX_MEMORY_BYTES: usize = 1 << 20;

/// Bytes on their way.
struct Remote {
    bytes: BoxStream<'static, std::io::Result<Bytes>>,
    encoding: Option<String>,
}

/// A file that has been brought here.
pub(crate) struct Fetched {
    pub payload: Payload,
    /// What tells its format and compression: the path without what is secret.
    pub name: String,
    pub compression: Compression,
}

/// What stands as it is in the path of an address.
const IN_PATHS: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'=');

/// An object that a listing has found.
pub(crate) struct StoredObject {
    pub key: String,
    /// Without secrets.
    pub shown: String,
    /// A connection string.
    pub address: String,
    pub size: u64,
}

impl External {
    /// The store of a place, if policy allows it.
    pub(crate) fn store(&self, place: &Place) -> Result<Opened> {
        self.policy.check_place(place)?;
        self.stores.open(place, self.client()?)
    }

    /// The store of a place that the server's own settings name: what requests may reach does not bind these.
    pub(crate) fn own_store(&self, place: &Place) -> Result<Opened> {
        self.stores.open(place, self.client()?)
    }

    /// The objects of a place, each with its key below the place's own folder.
    pub(super) async fn objects(&self, place: &Place, is_folder: bool) -> Result<Vec<(Listed, String)>> {
        let store = self.store(place)?;
        let is_pattern = place.key.contains(['*', '?']);
        let fixed = match is_pattern {
            true => {
                let fixed = place.key.split(['*', '?']).next().unwrap_or_default();
                fixed.rsplit_once('/').map_or("", |(folder, _)| folder)
            }
            false => place.key.trim_end_matches('/'),
        };
        let found = match (is_pattern, is_folder) {
            (true, _) => store.candidates().await?,
            (false, true) => self.store(&place.at(format!("{fixed}/")))?.list().await?,
            (false, false) => store.list().await?,
        };
        let pattern = place.key.strip_prefix(fixed).unwrap_or(&place.key).trim_start_matches('/');
        let matcher = if is_pattern { Some(wildcard(pattern)?) } else { None };
        let below = |key: &str| key.strip_prefix(fixed).unwrap_or(key).trim_start_matches('/').to_string();
        let found = found.into_iter().map(|object| {
            let below = below(&object.key);
            (object, below)
        });
        // What other engines keep beside data: `_SUCCESS`, `_delta_log`, `.crc` files.
        let is_data = |below: &str| below.is_empty() || !below.split('/').any(|part| part.starts_with(['_', '.']));
        Ok(found
            .filter(|(_, below)| is_data(below) && !below.ends_with('/'))
            .filter(|(_, below)| matcher.as_ref().is_none_or(|matcher| matcher.is_match(below)))
            .collect())
    }

    /// The objects below a place of a store, which a connection string names.
    pub(crate) async fn stored_objects(&self, text: &str) -> Result<Vec<StoredObject>> {
        let Location::Object(place) = Location::parse(text)?.into_place() else {
            return Err(Error::bad_request(format!(
                "'{}' is no place of a store: its files are not listed",
                shown(text)
            )));
        };
        // What signs in stands behind the address.
        let secret = &text.trim()[shown(text.trim()).len()..];
        let is_web = text.trim_start().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
        let found = self.objects(&place, false).await?;
        Ok(found
            .into_iter()
            .map(|(object, _)| {
                let name = match is_web {
                    true => percent_encoding::utf8_percent_encode(&object.key, IN_PATHS).to_string(),
                    false => object.key.clone(),
                };
                StoredObject {
                    shown: place.shown(&object.key),
                    address: format!("{}{secret}", place.shown(&name)),
                    size: object.size,
                    key: object.key,
                }
            })
            .collect())
    }

    /// The moment that a path tells by a format; none when it has another form.
    pub(crate) fn moment_of_path(&self, pieces: &[PathPiece], partition: &str, path: &str) -> Result<Option<i64>> {
        let source = ExternalSource {
            columns: Vec::new(),
            partitions: vec![Partition {
                name: partition.to_string(),
                ty: KqlType::DateTime,
                value: PartitionValue::Virtual,
            }],
            path: pieces.to_vec(),
            kind: "storage".to_string(),
            format: None,
            uris: Vec::new(),
            properties: Vec::new(),
        };
        let values = PathFormat::of(&source)?.and_then(|format| format.values(path));
        Ok(values.and_then(|values| match values.get(partition) {
            Some(PathValue::DateTime(ticks)) => Some(*ticks),
            _ => None,
        }))
    }

    async fn get(&self, url: &Url, uri: &str) -> Result<reqwest::Response> {
        self.policy.check(url)?;
        let failed = |error: reqwest::Error| {
            // The address may hold a signature: it is not repeated.
            let error = error.without_url();
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text.push_str(&format!(": {inner}"));
                source = inner.source();
            }
            let fault = if text.contains("denied by policy") { Fault::Forbidden } else { Fault::Unreachable };
            Error::new(fault, format!("{uri} could not be read: {text}"))
        };
        let request = tokio::time::timeout(PATIENCE, self.client()?.get(url.clone()).send());
        let response = request
            .await
            .map_err(|_| Error::new(Fault::Unreachable, format!("{uri} could not be read: no answer in time")))?
            .map_err(failed)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => {
                let fault = if status.is_server_error() { Fault::Unreachable } else { Fault::BadData };
                Err(Error::new(fault, format!("{uri} could not be read: the server answered {status}")))
            }
        }
    }

    async fn remote(&self, location: &Location, uri: &str) -> Result<Remote> {
        match location {
            Location::Url(url) => {
                let response = self.get(url, uri).await?;
                let encoding = response.headers().get(reqwest::header::CONTENT_ENCODING);
                let encoding = encoding.and_then(|value| value.to_str().ok()).map(str::to_string);
                let uri = uri.to_string();
                let bytes = response
                    .bytes_stream()
                    .map_err(move |error| std::io::Error::other(format!("{uri} broke off: {}", error.without_url())));
                Ok(Remote { bytes: bytes.boxed(), encoding })
            }
            Location::Object(place) => {
                let reading = self.store(place)?.read().await?;
                Ok(Remote { bytes: reading.bytes, encoding: reading.encoding })
            }
            Location::File(_) => Err(Error::internal("a local file was to be fetched")),
        }
    }

    /// Opens a file for reading on a blocking thread.
    pub(super) async fn open(
        &self,
        artifact: &Artifact,
        format: Format,
    ) -> Result<(Input, Compression, Option<Payload>)> {
        let compression = Compression::of_path(name_of(&artifact.location));
        if let Location::File(path) = &artifact.location {
            return Ok((Input::File(self.policy.open(Path::new(path))?), compression, None));
        }
        let remote = self.remote(&artifact.location, &artifact.uri).await?;
        let compression = encoded(compression, remote.encoding.as_deref());
        if is_streamed(format) && !compression.needs_seek() {
            let reader = tokio_util::io::StreamReader::new(remote.bytes);
            let reader = tokio_util::io::SyncIoBridge::new(reader);
            return Ok((Input::Stream(Box::new(reader)), compression, None));
        }
        let payload = self.spooled(remote, &artifact.uri, 0).await?;
        let file = match &payload {
            Payload::File(file) => file.reader()?,
            Payload::Bytes(_) => return Err(Error::internal("a spool gave no file")),
        };
        Ok((Input::File(file), compression, Some(payload)))
    }

    /// Refuses what cannot be fetched, without asking anybody.
    pub(crate) fn check_address(&self, text: &str) -> Result<()> {
        match Location::parse(text)? {
            Location::Url(url) => self.policy.check(&url),
            Location::Object(place) => self.policy.check_place(&place),
            Location::File(_) => Err(not_an_address(shown(text))),
        }
    }

    /// Brings a file here whole. `text` is a connection string of an address or a store.
    pub(crate) async fn fetch(self: &Arc<Self>, text: &str) -> Result<Fetched> {
        let location = Location::parse(text)?;
        let uri = shown(text).to_string();
        if let Location::File(_) = location {
            return Err(not_an_address(&uri));
        }
        let name = name_of(&location).to_string();
        let remote = self.remote(&location, &uri).await?;
        let compression = encoded(Compression::of_path(&name), remote.encoding.as_deref());
        let payload = self.spooled(remote, &uri, MAX_MEMORY_BYTES).await?;
        Ok(Fetched { payload, name: uri, compression })
    }

    /// Removes what was fetched, where its store lets it be removed.
    pub(crate) async fn remove(&self, text: &str) -> Result<()> {
        match Location::parse(text)?.into_place() {
            Location::Object(place) => self.store(&place)?.remove(&place.key).await,
            _ => Err(Error::bad_request(format!("'{}' is in no store that removes", shown(text)))),
        }
    }

    async fn spooled(&self, mut remote: Remote, uri: &str, in_memory: usize) -> Result<Payload> {
        let mut memory = Vec::new();
        let mut spool: Option<Spool> = None;
        let mut size = 0;
        while let Some(part) = remote.bytes.next().await {
            let part = part.map_err(|error| Error::new(Fault::Unreachable, error.to_string()))?;
            size += part.len() as u64;
            if size > MAX_SPOOLED_BYTES {
                return Err(Error::bad_request(format!(
                    "{uri} has more than {MAX_SPOOLED_BYTES} bytes, the limit of a file at an address that is read whole"
                )));
            }
            match &mut spool {
                Some(spool) => spool.write(part).await?,
                None if memory.len() + part.len() <= in_memory => memory.extend_from_slice(&part),
                None => {
                    let mut file = Spool::create(&self.spool, self.room).await?;
                    file.write(Bytes::from(std::mem::take(&mut memory))).await?;
                    file.write(part).await?;
                    spool = Some(file);
                }
            }
        }
        match spool {
            Some(spool) => spool.finish().await,
            None if in_memory > 0 => Ok(Payload::Bytes(Bytes::from(memory))),
            None => Spool::create(&self.spool, self.room).await?.finish().await,
        }
    }
}

/// Whether a format is read from its beginning to its end.
fn is_streamed(format: Format) -> bool {
    !matches!(format, Format::Parquet | Format::Orc)
}

fn not_an_address(uri: &str) -> Error {
    Error::bad_request(format!("'{uri}' is no address: https://..., s3://... or the like is expected"))
}

/// What tells a file's format and compression.
fn name_of(location: &Location) -> &str {
    match location {
        Location::File(path) => path,
        Location::Url(url) => url.path(),
        Location::Object(place) => &place.key,
    }
}

fn encoded(compression: Compression, encoding: Option<&str>) -> Compression {
    match (compression, encoding) {
        (Compression::None, Some("gzip" | "x-gzip")) => Compression::Gzip,
        (compression, _) => compression,
    }
}
