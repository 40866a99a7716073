//! The data directory: names of its files, durable creation, the lock, and deletion of what nobody names.
//!
//! Nothing else in the workspace touches the file system. Only files that match [`is_data_file`] and
//! [`is_log_file`] are ever deleted: whatever else lies in the directory belongs to somebody else.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::fault::{FaultPoint, Faults};
use crate::id::{DatabaseId, ExtentId, TableId};
use crate::roots::Place;
use crate::roots::chunks::{Chunks, Object};
use crate::roots::remote::Remote;

/// Folder of the Delta mirror inside a table's directory.
pub(crate) const DELTA_LOG: &str = "_delta_log";
const DATABASES: &str = "databases";

/// The paths of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: Arc<PathBuf>,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: Arc::new(root.to_path_buf()) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn catalog(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal.sqlite")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("tidewater.lock")
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn databases(&self) -> PathBuf {
        self.root.join(DATABASES)
    }

    /// A database's folder, relative to the data directory or to its root.
    pub(crate) fn database_path(database: DatabaseId) -> String {
        format!("{DATABASES}/{database}")
    }

    /// A table's folder, relative likewise.
    pub(crate) fn table_path(database: DatabaseId, table: TableId) -> String {
        format!("{DATABASES}/{database}/{table}")
    }

    /// Where an extent lies, relative likewise; what the catalog stores.
    pub(crate) fn extent_path(database: DatabaseId, table: TableId, extent: ExtentId) -> String {
        format!("{DATABASES}/{database}/{table}/{extent}.parquet")
    }
}

/// True for the names we give to data files: `<uuid>.parquet`.
pub(crate) fn is_data_file(name: &str) -> bool {
    name.strip_suffix(".parquet").is_some_and(|stem| stem.len() == 36 && Uuid::try_parse(stem).is_ok())
}

/// True for the names we give to Delta log files: twenty digits and `.json`, checkpoints, or our temporary form of them.
pub(crate) fn is_log_file(name: &str) -> bool {
    let version = name.strip_suffix(".json").is_some_and(|s| s.len() == 20 && s.bytes().all(|b| b.is_ascii_digit()));
    let is_checkpoint = name
        .strip_suffix(".checkpoint.parquet")
        .is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit()));
    version || is_checkpoint || name == "_last_checkpoint" || is_temporary_log_file(name)
}

/// True for a Delta log entry that was never linked under its version.
pub(crate) fn is_temporary_log_file(name: &str) -> bool {
    name.strip_prefix(".tidewater-").and_then(|s| s.strip_suffix(".tmp")).is_some_and(|s| Uuid::try_parse(s).is_ok())
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync directory", path))
}

/// Creates a directory and its missing parents, each durable in its parent.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().ok_or_else(|| Error::Invalid(format!("'{}' has no parent", path.display())))?;
    // A relative path ends in the empty path, which is the current directory.
    if !parent.as_os_str().is_empty() {
        create_directory(parent)?;
    }
    let mut made = fs::create_dir(path);
    // The parent may have been empty, and taken away by the drop of another table, since it was looked at.
    for _ in 0..3 {
        if !made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            break;
        }
        create_directory(parent)?;
        made = fs::create_dir(path);
    }
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create directory", path)(error)),
    }
    if !parent.as_os_str().is_empty() {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Removes a file; a missing one is as good as removed.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// The lock that keeps a data directory to one process; held until dropped or until the process ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(crate) fn take(layout: &Layout) -> Result<Self> {
        let path = layout.lock();
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        // A process that is just ending, or a child of it that has not begun, may hold the lock for a moment.
        let mut patience = 50;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    // The holder's number is a hint for people; without it the message stays true.
                    let _ = file.read_to_string(&mut text);
                    let holder = match text.trim() {
                        "" => String::new(),
                        process => format!(" (process {process})"),
                    };
                    return Err(Error::Locked { path: layout.root().to_path_buf(), holder });
                }
                Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(Error::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// What the background thread deletes.
#[derive(Debug)]
pub(crate) enum Doomed {
    /// A data file.
    File(PathBuf),
    /// The directory of a dropped table: our log files, then the directory if it is empty, and at home the database's.
    Table(PathBuf, bool),
    /// A data file in a store.
    Object(Arc<Remote>, String),
    /// The folder of a dropped table in a store.
    Folder(Arc<Remote>, String),
    /// Answers when everything sent before is done.
    Barrier(mpsc::SyncSender<()>),
}

/// Sends dropped files to the background thread.
pub(crate) type Reaper = mpsc::Sender<Doomed>;

/// Starts the thread that deletes files, so that no query pays for it.
pub(crate) fn start_reaper(faults: Faults) -> Result<Reaper> {
    let (sender, receiver) = mpsc::channel();
    // A store that does not answer must not keep files of this machine waiting.
    let elsewhere = start_remote_reaper(faults.clone())?;
    let work = move || {
        for doomed in receiver {
            match doomed {
                Doomed::File(path) => {
                    // A file that cannot be deleted now is swept at the next start.
                    let result = faults
                        .at(FaultPoint::Reap)
                        .map_err(Error::io("remove", &path))
                        .and_then(|()| remove_file(&path));
                    if let Err(error) = result {
                        tracing::warn!(%error, "dropped data file stays until the next start");
                    }
                }
                Doomed::Table(path, with_database) => remove_table_directory(&path, with_database),
                // The other thread answers when it has done what went there before.
                other => {
                    let _ = elsewhere.send(other);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("tidewater-reaper".into())
        .spawn(work)
        .map_err(Error::io("start thread for", Path::new("reaper")))?;
    Ok(sender)
}

/// Starts the thread that removes objects.
fn start_remote_reaper(faults: Faults) -> Result<Reaper> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        for doomed in receiver {
            let result = match &doomed {
                Doomed::Object(remote, path) => faults
                    .at(FaultPoint::Reap)
                    .map_err(Error::io("remove", Path::new(path)))
                    .and_then(|()| remote.remove(path)),
                Doomed::Folder(remote, path) => remove_remote_log(remote, path),
                Doomed::Barrier(done) => {
                    let _ = done.send(());
                    Ok(())
                }
                Doomed::File(_) | Doomed::Table(..) => Ok(()),
            };
            if let Err(error) = result {
                tracing::warn!(%error, "a dropped file stays in its store until the next start");
            }
        }
    };
    std::thread::Builder::new()
        .name("tidewater-reaper-2".into())
        .spawn(work)
        .map_err(Error::io("start thread for", Path::new("reaper")))?;
    Ok(sender)
}

fn remove_remote_log(remote: &Arc<Remote>, table: &str) -> Result<()> {
    for path in remote.list(&format!("{table}/{DELTA_LOG}"))? {
        if is_log_file(path.rsplit('/').next().unwrap_or_default()) {
            remote.remove(&path)?;
        }
    }
    Ok(())
}

/// Removes our files of a dropped table and its directories as far as they are empty.
pub(crate) fn remove_table_directory(path: &Path, with_database: bool) {
    let log = path.join(DELTA_LOG);
    for entry in fs::read_dir(&log).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_log_file) {
            let _ = fs::remove_file(entry.path());
        }
    }
    // `remove_dir` refuses when something foreign is left: exactly what is wanted.
    let _ = fs::remove_dir(&log);
    let _ = fs::remove_dir(path);
    if let Some(database) = path.parent().filter(|_| with_database) {
        let _ = fs::remove_dir(database);
    }
}

/// A table's directory; goes when the table is dropped and the last reader of its files is done.
#[derive(Debug)]
pub(crate) struct TableDirectory {
    place: Place,
    /// Below the place.
    relative: String,
    path: PathBuf,
    doomed: AtomicBool,
    reaper: Reaper,
}

impl TableDirectory {
    pub(crate) fn new(place: Place, database: DatabaseId, table: TableId, reaper: Reaper) -> Arc<Self> {
        let relative = Layout::table_path(database, table);
        Arc::new(Self { path: place.path(&relative), place, relative, doomed: AtomicBool::new(false), reaper })
    }

    /// Where its database lies.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// A file's path below the place.
    pub(crate) fn relative(&self, name: &str) -> String {
        format!("{}/{name}", self.relative)
    }

    /// Of this machine, or for a store one to be shown.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    pub(crate) fn keep(&self) {
        self.doomed.store(false, Ordering::Release);
    }
}

impl Drop for TableDirectory {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            let doomed = match &self.place {
                Place::Store(remote) => Doomed::Folder(Arc::clone(remote), self.relative.clone()),
                Place::Home(_) => Doomed::Table(self.path.clone(), true),
                Place::Directory(_) => Doomed::Table(self.path.clone(), false),
                Place::Unknown(_) => return,
            };
            let _ = self.reaper.send(doomed);
        }
    }
}

/// A data file on disk or in a store. It is deleted when the last holder lets go, if by then no committed row names it.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    doomed: AtomicBool,
    directory: Arc<TableDirectory>,
}

impl DataFile {
    /// A file that nobody names yet.
    pub(crate) fn staged(path: PathBuf, directory: Arc<TableDirectory>) -> Arc<Self> {
        Arc::new(Self { path, doomed: AtomicBool::new(true), directory })
    }

    /// A file that the catalog names.
    pub(crate) fn committed(path: PathBuf, directory: Arc<TableDirectory>) -> Arc<Self> {
        Arc::new(Self { path, doomed: AtomicBool::new(false), directory })
    }

    /// Absolute path, or relative to the process's directory if the data directory is; for a file in a store its address.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in its table's directory.
    pub(crate) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Its path below the place of its database.
    pub(crate) fn relative(&self) -> String {
        self.directory.relative(self.name())
    }

    /// Where its database lies.
    pub(crate) fn place(&self) -> &Place {
        self.directory.place()
    }

    /// Its bytes, of which the catalog knows how many there are. Blocks.
    pub(crate) fn chunks(&self, length: u64) -> Result<Chunks> {
        match self.place() {
            Place::Store(remote) => {
                let key = remote.key(&self.relative());
                Ok(Chunks::Object(Object { remote: Arc::clone(remote), key, length }))
            }
            other => {
                other.known()?;
                Ok(Chunks::File(File::open(&self.path).map_err(Error::io("open", &self.path))?))
            }
        }
    }

    /// Its length where it lies; `None` when it is not there. Blocks.
    pub(crate) fn length(&self) -> Result<Option<u64>> {
        match self.place() {
            Place::Store(remote) => remote.length(&self.relative()),
            other => {
                other.known()?;
                match fs::metadata(&self.path) {
                    Ok(found) => Ok(Some(found.len())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("read", &self.path)(error)),
                }
            }
        }
    }

    pub(crate) fn keep(&self) {
        self.doomed.store(false, Ordering::Release);
    }

    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            let doomed = match self.place() {
                Place::Store(remote) => Doomed::Object(Arc::clone(remote), self.relative()),
                Place::Unknown(_) => return,
                Place::Home(_) | Place::Directory(_) => Doomed::File(std::mem::take(&mut self.path)),
            };
            let _ = self.directory.reaper.send(doomed);
        }
    }
}

/// What went wrong with a file; kept aside because Parquet's errors tell it as text only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The file's own error if it had one, else the error that the writer of its format gave.
    pub(crate) fn explain(&self, path: &Path, error: parquet::errors::ParquetError) -> Error {
        match self.0.lock().take() {
            Some(source) => Error::io("write", path)(source),
            None => Error::Parquet(error),
        }
    }
}

/// A file whose writes pass by the fault hook and whose first error is remembered.
#[derive(Debug)]
pub(crate) struct FaultyFile {
    file: File,
    faults: Faults,
    failure: Failure,
}

impl FaultyFile {
    pub(crate) fn create(path: &Path, faults: Faults, failure: Failure) -> Result<Self> {
        let file = File::options().create_new(true).write(true).open(path).map_err(Error::io("create", path))?;
        Ok(Self { file, faults, failure })
    }

    /// Bytes and length on disk.
    pub(crate) fn sync(&self, path: &Path) -> Result<()> {
        self.faults.at(FaultPoint::DataSync).and_then(|()| self.file.sync_all()).map_err(Error::io("sync", path))
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.faults.at(FaultPoint::DataWrite).and_then(|()| self.file.write(bytes));
        written.inspect_err(|error| {
            let copy = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            self.failure.0.lock().get_or_insert(copy);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        assert!(is_data_file("0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.parquet"));
        assert!(!is_data_file("part-00000.parquet"));
        assert!(!is_data_file("0b0f4d0e3b0a4b438a256d3c1e2f4a5b.parquet"));
        assert!(is_log_file("00000000000000000012.json"));
        assert!(is_log_file(".tidewater-0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.tmp"));
        assert!(is_log_file("00000000000000000100.checkpoint.parquet") && is_log_file("_last_checkpoint"));
        assert!(!is_log_file("00000000000000000100.crc"));
    }
}
