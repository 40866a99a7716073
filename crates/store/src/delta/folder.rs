//! The folder that a table's log lies in: a directory, or a prefix of an object store.
//!
//! A version is created, never replaced: by a link in a directory, by a conditional put in a store. Other files are
//! replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::fault::{FaultPoint, Faults};
use crate::files::{self, DELTA_LOG, TableDirectory};
use crate::roots::Place;
use crate::roots::remote::Remote;

/// A table's log folder.
#[derive(Clone, Debug)]
pub(crate) enum Folder {
    Directory(PathBuf),
    Store(Arc<Remote>, String),
}

impl Folder {
    /// The folder of a table's log. Errors: its root is not known.
    pub(crate) fn of(table: &TableDirectory) -> Result<Self> {
        table.place().known()?;
        Ok(match table.place() {
            Place::Store(remote) => Folder::Store(Arc::clone(remote), table.relative(DELTA_LOG)),
            _ => Folder::Directory(table.path().join(DELTA_LOG)),
        })
    }

    /// How messages show a file of it.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        match self {
            Folder::Directory(path) => path.join(name),
            Folder::Store(remote, path) => PathBuf::from(format!("{}/{path}/{name}", remote.address())),
        }
    }

    /// Names of its files; none when it is not there.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        match self {
            Folder::Directory(path) => {
                let entries = match fs::read_dir(path) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(Error::io("list", path)(error)),
                };
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry.map_err(Error::io("list", path))?;
                    names.extend(entry.file_name().into_string().ok());
                }
                Ok(names)
            }
            Folder::Store(remote, path) => {
                let found = remote.list(path)?;
                let names = found.iter().filter_map(|found| found.strip_prefix(path.as_str())?.strip_prefix('/'));
                Ok(names.filter(|name| !name.contains('/')).map(str::to_string).collect())
            }
        }
    }

    /// All of a file.
    pub(super) fn read(&self, name: &str) -> Result<Bytes> {
        match self {
            Folder::Directory(path) => {
                let path = path.join(name);
                fs::read(&path).map(Bytes::from).map_err(Error::io("read", &path))
            }
            Folder::Store(remote, path) => {
                let found = remote.get(&format!("{path}/{name}"))?;
                let gone = || Error::io("read", &self.shown(name))(io::ErrorKind::NotFound.into());
                found.ok_or_else(gone)
            }
        }
    }

    /// Writes a file that is not there; false when one is.
    pub(super) fn create(&self, name: &str, bytes: Vec<u8>, faults: &Faults) -> Result<bool> {
        match self {
            Folder::Directory(path) => create(path, name, &bytes, faults),
            Folder::Store(remote, path) => {
                let fault = |error| Error::io("write", &self.shown(name))(error);
                faults.at(FaultPoint::DeltaLink).map_err(fault)?;
                remote.create(&format!("{path}/{name}"), bytes)
            }
        }
    }

    /// Writes a file, whole or not at all, whatever is there.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>, faults: &Faults) -> Result<()> {
        match self {
            Folder::Directory(path) => put(&path.join(name), &bytes, faults),
            Folder::Store(remote, path) => {
                let fault = |error| Error::io("write", &self.shown(name))(error);
                faults.at(FaultPoint::Checkpoint).map_err(fault)?;
                remote.put(&format!("{path}/{name}"), bytes)
            }
        }
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> Result<()> {
        match self {
            Folder::Directory(path) => files::sync_directory(path),
            Folder::Store(..) => Ok(()),
        }
    }

    /// Removes a file; a missing one is as good as removed.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        match self {
            Folder::Directory(path) => files::remove_file(&path.join(name)),
            Folder::Store(remote, path) => remote.remove(&format!("{path}/{name}")),
        }
    }

    /// Takes the log away, so that readers find no table rather than an old one.
    pub(super) fn clear(&self) -> Result<()> {
        for name in self.names()?.into_iter().filter(|name| files::is_log_file(name)) {
            self.remove(&name)?;
        }
        if let Folder::Directory(path) = self {
            // Refuses when something foreign lies there.
            let _ = fs::remove_dir(path);
        }
        Ok(())
    }
}

/// Writes under a temporary name and links it to its own.
fn create(directory: &Path, name: &str, bytes: &[u8], faults: &Faults) -> Result<bool> {
    files::create_directory(directory)?;
    let temporary = directory.join(format!(".tidewater-{}.tmp", Uuid::new_v4()));
    let write = || -> io::Result<()> {
        let mut file = File::options().create_new(true).write(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        faults.at(FaultPoint::DeltaLink)
    };
    let path = directory.join(name);
    // Linking never replaces a file, which renaming would.
    let linked = write().and_then(|()| match fs::hard_link(&temporary, &path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let free = !path.exists();
            if free {
                fs::rename(&temporary, &path)?;
            }
            Ok(free)
        }
        Err(error) => Err(error),
    });
    let removed = files::remove_file(&temporary);
    let linked = linked.map_err(Error::io("write", &path))?;
    removed?;
    files::sync_directory(directory)?;
    Ok(linked)
}

fn put(path: &Path, bytes: &[u8], faults: &Faults) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    let temporary = directory.join(format!(".tidewater-{}.tmp", Uuid::new_v4()));
    let write = || -> io::Result<()> {
        let mut file = File::options().create_new(true).write(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        faults.at(FaultPoint::Checkpoint)?;
        fs::rename(&temporary, path)
    };
    let written = write().map_err(Error::io("write", path));
    if written.is_err() {
        files::remove_file(&temporary)?;
    }
    written
}
