//! One prefix of an object store: files put whole, read by ranges, listed and removed.
//!
//! Callers are threads that may block. The requests themselves run on a small runtime of this module's own, so it does
//! not matter whose thread asks.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};

/// Bytes of one part of an upload; a file of up to so many goes up in one request.
const PART_BYTES: usize = 8 << 20;
/// Parts of an upload that are under way at once.
const MAX_PARTS: usize = 4;

/// An opened prefix.
#[derive(Debug)]
pub(crate) struct Remote {
    address: String,
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// The engine's name for the store.
    url: ObjectStoreUrl,
    /// Where files wait that are being written.
    spool: PathBuf,
    /// Files that this process has put, until the sweep of what earlier ones have left is done.
    fresh: Mutex<Option<HashSet<String>>>,
}

/// Runs requests to their ends on threads of their own. Blocks.
fn wait<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let builder = &mut Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("tidewater-roots").enable_all().build().ok()
    });
    let runtime = runtime.as_ref().ok_or(Error::Stopped)?;
    let (done, answer) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Nobody waits any more when the asking thread has gone.
        let _ = done.send(future.await);
    });
    answer.recv().map_err(|_| Error::Stopped)?
}

impl Remote {
    pub(super) fn new(
        address: &str,
        store: Arc<dyn ObjectStore>,
        prefix: String,
        spool: PathBuf,
        remembers: bool,
    ) -> Result<Self> {
        // The engine wants a scheme and a host; two prefixes of one bucket may have different credentials.
        let mark = address
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |mark, byte| (mark ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let url = ObjectStoreUrl::parse(format!("tidewater://{mark:016x}"))?;
        let fresh = Mutex::new(remembers.then(HashSet::new));
        Ok(Self { address: address.to_string(), store, prefix, url, spool, fresh })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    /// Where a file waits while it is written.
    pub(crate) fn spool(&self) -> &Path {
        &self.spool
    }

    /// The key of a path below the root. Our own names need no escaping.
    pub(crate) fn key(&self, relative: &str) -> ObjectPath {
        let parts = [self.prefix.as_str(), relative];
        ObjectPath::from_iter(parts.into_iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty()))
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        Error::Unreachable { root: self.address.clone(), message: super::guard::reason(error) }
    }

    /// Runs one request.
    fn ask<T, F>(self: &Arc<Self>, request: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let (remote, request) = (Arc::clone(self), request(Arc::clone(&self.store)));
        wait(async move { request.await.map_err(|error| remote.failed(&error)) })
    }

    /// Puts a small object, whatever is there.
    pub(crate) fn put(self: &Arc<Self>, relative: &str, bytes: Vec<u8>) -> Result<()> {
        let key = self.key(relative);
        self.ask(|store| async move { store.put(&key, PutPayload::from(bytes)).await.map(drop) })
    }

    /// Puts a small object if none is there; false when one is.
    pub(crate) fn create(self: &Arc<Self>, relative: &str, bytes: Vec<u8>) -> Result<bool> {
        let key = self.key(relative);
        self.ask(|store| async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match store.put_opts(&key, PutPayload::from(bytes), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Puts a file whole; returns when the store has all of it.
    pub(crate) fn put_file(self: &Arc<Self>, relative: &str, from: &Path) -> Result<()> {
        if let Some(fresh) = self.fresh.lock().as_mut() {
            fresh.insert(relative.to_string());
        }
        let mut file = File::open(from).map_err(Error::io("open", from))?;
        let length = file.metadata().map_err(Error::io("read", from))?.len();
        let (remote, key, from) = (Arc::clone(self), self.key(relative), from.to_path_buf());
        wait(async move {
            let failed = |error: object_store::Error| remote.failed(&error);
            if length <= PART_BYTES as u64 {
                let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
                file.read_to_end(&mut bytes).map_err(Error::io("read", &from))?;
                return remote.store.put(&key, PutPayload::from(bytes)).await.map(drop).map_err(failed);
            }
            let upload = remote.store.put_multipart(&key).await.map_err(failed)?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            loop {
                // A local file: reading a part takes a moment, and these threads are for that.
                let mut part = Vec::with_capacity(PART_BYTES);
                let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut part);
                let taken = match read.map_err(Error::io("read", &from)) {
                    Ok(0) => break,
                    Ok(_) => upload.wait_for_capacity(MAX_PARTS).await.map_err(failed),
                    Err(error) => Err(error),
                };
                if let Err(error) = taken {
                    let _ = upload.abort().await;
                    return Err(error);
                }
                upload.put(Bytes::from(part));
            }
            upload.finish().await.map_err(failed)?;
            // The end of an upload in parts is answered before it is done by some stores.
            let found = remote.store.head(&key).await.map_err(failed)?.size;
            match found == length {
                true => Ok(()),
                false => {
                    let message = format!("'{key}' has {found} bytes after its upload, expected {length}");
                    Err(Error::Unreachable { root: remote.address.clone(), message })
                }
            }
        })
    }

    /// Copies an object inside the store.
    pub(crate) fn copy(self: &Arc<Self>, from: &str, to: &str) -> Result<()> {
        if let Some(fresh) = self.fresh.lock().as_mut() {
            fresh.insert(to.to_string());
        }
        let (from, to) = (self.key(from), self.key(to));
        self.ask(|store| async move { store.copy(&from, &to).await })
    }

    /// Brings an object here, as a file of its own.
    pub(crate) fn fetch(self: &Arc<Self>, relative: &str, to: &Path) -> Result<Option<u64>> {
        let (remote, key) = (Arc::clone(self), self.key(relative));
        let to = to.to_path_buf();
        wait(async move {
            let found = match remote.store.get(&key).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(remote.failed(&error)),
            };
            let mut stream = found.into_stream();
            let mut file = File::create(&to).map_err(Error::io("create", &to))?;
            let mut length = 0;
            while let Some(bytes) = stream.next().await {
                let bytes = bytes.map_err(|error| remote.failed(&error))?;
                length += bytes.len() as u64;
                std::io::Write::write_all(&mut file, &bytes).map_err(Error::io("write", &to))?;
            }
            file.sync_all().map_err(Error::io("sync", &to))?;
            Ok(Some(length))
        })
    }

    /// All of a small object; `None` when it is not there.
    pub(crate) fn get(self: &Arc<Self>, relative: &str) -> Result<Option<Bytes>> {
        let key = self.key(relative);
        self.ask(|store| async move {
            match store.get(&key).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Some bytes of an object.
    pub(crate) fn range(self: &Arc<Self>, key: &ObjectPath, range: Range<u64>) -> Result<Bytes> {
        let key = key.clone();
        self.ask(|store| async move { store.get_range(&key, range).await })
    }

    /// Length of an object; `None` when it is not there.
    pub(crate) fn length(self: &Arc<Self>, relative: &str) -> Result<Option<u64>> {
        let key = self.key(relative);
        self.ask(|store| async move {
            match store.head(&key).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Paths of all objects below a folder, relative to the root.
    pub(crate) fn list(self: &Arc<Self>, folder: &str) -> Result<Vec<String>> {
        let (key, root) = (self.key(folder), self.key(""));
        self.ask(|store| async move {
            let mut found = Vec::new();
            let mut listing = store.list(Some(&key));
            while let Some(object) = listing.next().await {
                let location = object?.location;
                if let Some(parts) = location.prefix_match(&root) {
                    found.push(parts.map(|part| part.as_ref().to_string()).collect::<Vec<_>>().join("/"));
                }
            }
            Ok(found)
        })
    }

    /// Removes an object; a missing one is as good as removed.
    pub(crate) fn remove(self: &Arc<Self>, relative: &str) -> Result<()> {
        let key = self.key(relative);
        self.ask(|store| async move {
            match store.delete(&key).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }

    /// Whether this process has put a file.
    pub(crate) fn is_fresh(&self, relative: &str) -> bool {
        self.fresh.lock().as_ref().is_none_or(|fresh| fresh.contains(relative))
    }

    /// What earlier processes have left is gone: files need not be remembered any more.
    pub(crate) fn end_sweep(&self) {
        *self.fresh.lock() = None;
    }
}

/// A file that waits to be put into a store; it goes when it is let go.
#[derive(Debug)]
pub(crate) struct Spooled(pub(crate) PathBuf);

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
