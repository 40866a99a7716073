//! Uploaded files that wait for their ingestion.
//!
//! A blob is a file whose name is a hash of the blob's; the blocks of one under way are files in a folder beside it. A
//! blob is complete and on disk before its client is told so.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidewater_store::Room;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::error::{Error, Fault, Result};
use crate::ingest::spool::CHECK_BYTES;

/// How long a blob that no message names, or one whose client asked to keep it, stays.
const MAX_AGE: Duration = Duration::from_secs(2 * 24 * 3600);
/// Blocks of one blob. Source: Azure's Put Block List page.
pub const MAX_BLOCKS: usize = 50_000;
/// Bytes of a name. Source: Azure's page on names of blobs.
const MAX_NAME_BYTES: usize = 4096;

/// The uploads of a data directory.
pub(crate) struct Blobs {
    directory: PathBuf,
    room: Room,
}

/// A blob or block under way; without its end it leaves nothing behind.
pub struct Upload {
    file: tokio::fs::File,
    path: PathBuf,
    target: PathBuf,
    bytes: u64,
    room: Room,
    checked: u64,
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobInfo {
    /// Bytes.
    pub bytes: u64,
    /// When it was completed.
    pub written: SystemTime,
}

fn failed(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Fault::EntityNotFound, "the blob does not exist"),
        _ => Error::internal(format!("an upload could not be kept: {error}")),
    }
}

impl Blobs {
    /// Opens the directory, and removes what was under way when the last process stopped.
    pub fn open(directory: &Path, room: Room) -> Result<Blobs> {
        let blobs = Blobs { directory: directory.join("uploads"), room };
        std::fs::create_dir_all(&blobs.directory).map_err(failed)?;
        for entry in std::fs::read_dir(&blobs.directory).map_err(failed)?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "part") {
                // What cannot be removed now is tried again next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(blobs)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).simple().to_string())
    }

    fn blocks(&self, name: &str) -> PathBuf {
        self.path(name).with_extension("blocks")
    }

    /// Begins a blob, or one of its blocks.
    pub async fn create(&self, name: &str, block: Option<&str>) -> Result<Upload> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::bad_request(format!("a blob's name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let target = match block {
            None => self.path(name),
            Some(block) => {
                let folder = self.blocks(name);
                tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
                folder.join(Uuid::new_v5(&Uuid::NAMESPACE_URL, block.as_bytes()).simple().to_string())
            }
        };
        let path = self.directory.join(format!("{}.part", Uuid::new_v4().simple()));
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.create_new(true).write(true).open(&path).await.map_err(failed)?;
        Ok(Upload { file, path, target, bytes: 0, room: self.room, checked: 0 })
    }

    /// Makes a blob of blocks, in this order.
    pub async fn join(&self, name: &str, blocks: Vec<String>) -> Result<()> {
        if blocks.len() > MAX_BLOCKS {
            return Err(Error::bad_request(format!("a blob has at most {MAX_BLOCKS} blocks")));
        }
        let (folder, target) = (self.blocks(name), self.path(name));
        self.room.check(&self.directory)?;
        let part = self.directory.join(format!("{}.part", Uuid::new_v4().simple()));
        let work = move || -> Result<()> {
            let joined = (|| {
                let mut file = File::options().create_new(true).write(true).open(&part)?;
                for block in &blocks {
                    let block = Uuid::new_v5(&Uuid::NAMESPACE_URL, block.as_bytes()).simple().to_string();
                    std::io::copy(&mut File::open(folder.join(block))?, &mut file)?;
                }
                file.flush()?;
                file.sync_all()?;
                std::fs::rename(&part, &target)?;
                sync_directory(&target)
            })();
            match joined {
                Ok(()) => {
                    let _ = std::fs::remove_dir_all(&folder);
                    Ok(())
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&part);
                    match error.kind() {
                        std::io::ErrorKind::NotFound => {
                            Err(Error::bad_request("the list names a block that is not there"))
                        }
                        _ => Err(failed(error)),
                    }
                }
            }
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("joining blocks panicked"))?
    }

    /// What is known of a blob; `None` when there is none.
    pub async fn info(&self, name: &str) -> Option<BlobInfo> {
        let metadata = tokio::fs::metadata(self.path(name)).await.ok()?;
        Some(BlobInfo { bytes: metadata.len(), written: metadata.modified().ok()? })
    }

    /// A blob from a place on.
    pub async fn read(&self, name: &str, from: u64) -> Result<tokio::fs::File> {
        let path = self.path(name);
        let opened = tokio::task::spawn_blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        });
        let file = opened.await.map_err(|_| Error::internal("reading a blob panicked"))?.map_err(failed)?;
        Ok(tokio::fs::File::from_std(file))
    }

    /// A blob, to be read on a blocking thread.
    pub fn open_file(&self, name: &str) -> Result<File> {
        File::open(self.path(name)).map_err(failed)
    }

    /// Removes a blob; tells whether there was one.
    pub async fn remove(&self, name: &str) -> bool {
        let _ = tokio::fs::remove_dir_all(self.blocks(name)).await;
        tokio::fs::remove_file(self.path(name)).await.is_ok()
    }

    /// Removes what is old, except blobs whose names are still wanted.
    pub async fn sweep(&self, wanted: Vec<String>, now: SystemTime) {
        let directory = self.directory.clone();
        let wanted: Vec<PathBuf> = wanted.iter().map(|name| self.path(name)).collect();
        let work = move || {
            let Ok(entries) = std::fs::read_dir(&directory) else { return };
            for entry in entries.flatten() {
                let path = entry.path();
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                let is_old = modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > MAX_AGE));
                if !is_old || wanted.contains(&path) {
                    continue;
                }
                let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            }
        };
        // A sweep that fails is tried again.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

impl Upload {
    /// Appends.
    pub async fn write(&mut self, part: Bytes) -> Result<()> {
        if self.bytes == 0 || self.bytes >= self.checked + CHECK_BYTES {
            self.room.check(&self.path)?;
            self.checked = self.bytes;
        }
        self.bytes += part.len() as u64;
        self.file.write_all(&part).await.map_err(failed)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable under its name.
    pub async fn finish(mut self) -> Result<()> {
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        let (path, target) = (std::mem::take(&mut self.path), self.target.clone());
        let work = move || {
            std::fs::rename(&path, &target).inspect_err(|_| {
                let _ = std::fs::remove_file(&path);
            })?;
            sync_directory(&target)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Error::internal("keeping an upload panicked"))?.map_err(failed)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
