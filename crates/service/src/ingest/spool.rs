//! Bodies too large for memory wait in a file that goes when nobody holds it.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use tidewater_store::Room;

use crate::error::{Error, Fault, Result};

/// Data that waits to be read.
#[derive(Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// In a file of ours or of the user.
    File(SpooledFile),
}

/// An open file; a temporary one is deleted with its handle.
#[derive(Debug)]
pub struct SpooledFile {
    file: File,
    temporary: Option<PathBuf>,
}

impl SpooledFile {
    /// A user's file, which stays.
    pub fn kept(file: File) -> Self {
        Self { file, temporary: None }
    }

    /// A handle that reads from the start.
    pub fn reader(&self) -> Result<File> {
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(file)
    }
}

impl Drop for SpooledFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // A restart sweeps what stays.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A file under construction.
pub struct Spool {
    file: tokio::fs::File,
    path: Option<PathBuf>,
    room: Room,
    written: u64,
    checked: u64,
}

/// Bytes between two looks at the room on a disk.
pub(crate) const CHECK_BYTES: u64 = 4 << 20;

impl Spool {
    /// A new file in `directory`.
    pub async fn create(directory: &Path, room: Room) -> Result<Spool> {
        room.check(directory)?;
        let path = directory.join(format!("upload-{}", Uuid::new_v4()));
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.create_new(true).read(true).write(true).open(&path).await.map_err(failed)?;
        Ok(Spool { file, path: Some(path), room, written: 0, checked: 0 })
    }

    /// Appends.
    pub async fn write(&mut self, part: Bytes) -> Result<()> {
        if self.written >= self.checked + CHECK_BYTES
            && let Some(path) = &self.path
        {
            self.room.check(path)?;
            self.checked = self.written;
        }
        self.written += part.len() as u64;
        self.file.write_all(&part).await.map_err(failed)
    }

    /// The whole, ready to be read.
    pub async fn finish(mut self) -> Result<Payload> {
        self.file.flush().await.map_err(failed)?;
        let file = self.file.try_clone().await.map_err(failed)?.into_std().await;
        Ok(Payload::File(SpooledFile { file, temporary: self.path.take() }))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Error::new(Fault::DiskFull, format!("the disk is full: {error}"));
    }
    Error::internal(format!("the data could not be kept for reading: {error}"))
}
