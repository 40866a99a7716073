//! Where exports go: a directory of this machine, or a place in an object store.
//!
//! What goes to a store is written below the store's own directory for temporary files first, uploaded when it is
//! complete, and removed there; what a failure leaves half uploaded is removed as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use tidewater_store::FaultPoint;
use uuid::Uuid;

use super::{Artifact, directory};
use crate::error::{Error, Result};
use crate::external::External;
use crate::external::location::{Location, shown};
use crate::external::objects::Place;

/// Bytes read at once of a file that is uploaded.
const READ_BYTES: usize = 1 << 20;

/// Where files go.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// A directory that exists.
    Directory(PathBuf),
    /// A folder of a store, or all of a container.
    Store(Box<Place>),
}

impl Destination {
    /// The place of a connection string, if it may be written to.
    pub fn of(external: &External, allowed: &[PathBuf], uri: &str) -> Result<Destination> {
        match Location::parse(uri)?.into_place() {
            Location::File(path) => directory(allowed, &path).map(Destination::Directory),
            Location::Object(place) => {
                external.store(&place)?;
                Ok(Destination::Store(place))
            }
            // Source: storage-connection-strings page, note on web services.
            Location::Url(_) => Err(Error::bad_request(format!(
                "'{}' is a plain web address, which is read and not written to",
                shown(uri)
            ))),
        }
    }

    /// The directory that files are written to at first, and what removes it in the end.
    pub fn staging(&self, external: &External) -> Result<(PathBuf, Option<Staging>)> {
        match self {
            Destination::Directory(directory) => Ok((directory.clone(), None)),
            Destination::Store(_) => {
                let path = external.temporary().join(format!("export-{}", Uuid::new_v4()));
                std::fs::create_dir(&path)
                    .map_err(|error| Error::internal(format!("no place for temporary files: {error}")))?;
                Ok((path.clone(), Some(Staging(path))))
            }
        }
    }

    /// Brings complete files to where they belong, and tells them by their names there.
    pub async fn deliver(
        &self,
        external: &Arc<External>,
        from: &Path,
        written: Vec<Artifact>,
    ) -> Result<Vec<Artifact>> {
        let Destination::Store(place) = self else { return Ok(written) };
        let store = external.store(place)?;
        let folder = place.key.trim_end_matches('/');
        let mut delivered: Vec<String> = Vec::with_capacity(written.len());
        let mut artifacts = Vec::with_capacity(written.len());
        for artifact in written {
            let path = PathBuf::from(&artifact.path);
            let below = path.strip_prefix(from).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let key = if folder.is_empty() { below } else { format!("{folder}/{below}") };
            let at = |step: &str| {
                let fault = external.faults().at(FaultPoint::Upload);
                fault.map_err(|error| Error::internal(format!("{step} an upload: {error}")))
            };
            let uploaded = match tokio::fs::File::open(&path).await {
                Ok(file) => match at("before") {
                    Ok(()) => {
                        let parts = tokio_util::io::ReaderStream::with_capacity(file, READ_BYTES).boxed();
                        store.write(&key, parts).await.and_then(|()| at("after"))
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(Error::internal(format!("a file to upload cannot be read: {error}"))),
            };
            if let Err(error) = uploaded {
                for key in delivered {
                    // What cannot be removed is told nowhere as an artifact.
                    let _ = store.remove(&key).await;
                }
                return Err(error);
            }
            let _ = tokio::fs::remove_file(&path).await;
            artifacts.push(Artifact { path: place.shown(&key), rows: artifact.rows });
            delivered.push(key);
        }
        Ok(artifacts)
    }
}

/// A directory of temporary files; it goes with its last owner.
pub(crate) struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // A restart sweeps what stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
