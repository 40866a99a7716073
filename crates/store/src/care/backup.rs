//! Backups: a copy of the catalog and of every file that it names, taken while a server works, and brought back.
//!
//! The catalog is copied by SQLite in one transaction; data files never change, so each is linked or copied once. What a
//! merge or a drop takes away in between is found missing: then the catalog is copied again, and only what is new follows.
//! A backup has the layout of a data directory. Its catalog gets its name last, and what the former one named goes after.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use super::{queue, stamp};
use crate::catalog::sqlite;
use crate::error::{Error, Result};
use crate::fault::{FaultPoint, Faults};
use crate::files::{self, DirectoryLock, Layout};
use crate::roots::remote::Remote;
use crate::roots::{Place, Roots};

/// How often the catalog is copied again because files had gone meanwhile.
const ATTEMPTS: usize = 50;

/// How a backup or a restore is made.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    /// Copy files rather than link them where both places are on one file system.
    pub copy: bool,
    /// Where tests make things fail.
    pub faults: Faults,
    /// Places beside the data directory that databases may have their files below.
    pub roots: Roots,
}

/// What a backup or a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Data files that the copy has.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that had to be linked or copied.
    pub new_files: u64,
    /// Bytes of those that were copied.
    pub copied_bytes: u64,
    /// Files of an earlier backup that went.
    pub removed_files: u64,
}

/// Backs a data directory up into another directory, which is empty or holds an earlier backup. A server may work on
/// the data meanwhile.
///
/// *Errors*: a source that is no data directory or of a newer format, a destination with anything else in it.
pub fn back_up(source: &Path, destination: &Path, options: &BackupOptions) -> Result<BackupReport> {
    let from = Layout::new(&absolute(source)?);
    let to = Layout::new(&absolute(destination)?);
    if !from.catalog().is_file() {
        return Err(Error::Invalid(format!("'{}' is no data directory: it has no catalog", source.display())));
    }
    stamp::check(from.root())?;
    if to.root().starts_with(from.root()) || from.root().starts_with(to.root()) {
        return Err(Error::Invalid("a backup must lie outside of its data directory".into()));
    }
    let is_backup = to.root().join(stamp::BACKUP).is_file();
    if !is_backup && !is_empty(to.root())? {
        return Err(Error::Invalid(format!("'{}' is not empty and holds no backup", destination.display())));
    }
    files::create_directory(to.root())?;
    let _lock = DirectoryLock::take(&to)?;
    stamp::check_version(to.root())?;
    // Before anything else, so that a backup that is cut short can be gone on with.
    stamp::put(&to.root().join(stamp::BACKUP), b"{}\n")?;
    let mut report = BackupReport::default();
    let fresh = to.root().join("catalog.new.sqlite");
    let mut named = Vec::new();
    // Before the catalog, whose messages may be done and their uploads gone a moment later; and what came meanwhile after it.
    let mut uploads = queue::copy(&from, &to, options)?;
    for attempt in 1.. {
        vacuum(&from.catalog(), &fresh)?;
        named = extents(&fresh)?;
        if take_all(&from, &to, &named, options, &mut report)? {
            break;
        }
        if attempt == ATTEMPTS {
            return Err(Error::Invalid(
                "files that the catalog names are not there, and stay away: check the data directory with fsck".into(),
            ));
        }
        // A merge that takes files away shortly brings others.
        std::thread::sleep(Duration::from_millis(20));
    }
    results(&from, &to, options, &mut report)?;
    uploads.extend(queue::copy(&from, &to, options)?);
    if from.journal().is_file() {
        let journal = to.root().join("journal.new.sqlite");
        vacuum(&from.journal(), &journal)?;
        replace_database(&journal, &to.journal())?;
    }
    options.faults.at(FaultPoint::Backup).map_err(Error::io("write", &fresh))?;
    stamp::write(to.root())?;
    let sequence = sequence(&fresh)?;
    replace_database(&fresh, &to.catalog())?;
    let marker = json!({ "commit": sequence, "files": named.len(), "version": env!("CARGO_PKG_VERSION") });
    stamp::put(&to.root().join(stamp::BACKUP), (marker.to_string() + "\n").as_bytes())?;
    report.removed_files = remove_unnamed(&to, &named)?;
    queue::remove_others(&to, &uploads)?;
    report.files = named.len() as u64;
    report.bytes = named.iter().map(|named| named.bytes).sum();
    Ok(report)
}

/// Brings a backup back into an empty directory, which then is a data directory.
///
/// *Errors*: what is no whole backup or one of a newer format, a destination with anything in it.
pub fn restore(backup: &Path, destination: &Path, options: &BackupOptions) -> Result<BackupReport> {
    let from = Layout::new(&absolute(backup)?);
    let to = Layout::new(&absolute(destination)?);
    if !from.root().join(stamp::BACKUP).is_file() {
        return Err(Error::Invalid(format!("'{}' is no backup", backup.display())));
    }
    if !from.catalog().is_file() {
        return Err(Error::Invalid(format!("the backup in '{}' was never ended", backup.display())));
    }
    stamp::check_version(from.root())?;
    let _source_lock = DirectoryLock::take(&from)?;
    let goes_on = to.root().join(stamp::RESTORING).is_file();
    if !goes_on && !is_empty(to.root())? {
        return Err(Error::Invalid(format!(
            "'{}' is not empty: a backup is restored beside, not over",
            destination.display()
        )));
    }
    files::create_directory(to.root())?;
    let _lock = DirectoryLock::take(&to)?;
    stamp::put(&to.root().join(stamp::RESTORING), b"{}\n")?;
    let fresh = to.root().join("catalog.new.sqlite");
    vacuum(&from.catalog(), &fresh)?;
    let named = extents(&fresh)?;
    let mut report = BackupReport { files: named.len() as u64, ..BackupReport::default() };
    report.bytes = named.iter().map(|named| named.bytes).sum();
    if !take_all(&from, &to, &named, options, &mut report)? {
        return Err(Error::Corrupt(format!("the backup in '{}' lacks files that its catalog names", backup.display())));
    }
    results(&from, &to, options, &mut report)?;
    queue::copy(&from, &to, options)?;
    if from.journal().is_file() {
        let journal = to.root().join("journal.new.sqlite");
        vacuum(&from.journal(), &journal)?;
        replace_database(&journal, &to.journal())?;
    }
    options.faults.at(FaultPoint::Backup).map_err(Error::io("write", &fresh))?;
    stamp::write(to.root())?;
    // All files are here now, and those at the roots may be another server's.
    bring_home(&fresh)?;
    replace_database(&fresh, &to.catalog())?;
    files::remove_file(&to.root().join(stamp::RESTORING))?;
    files::sync_directory(to.root())?;
    Ok(report)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    // Links on the way must not hide that one place lies in the other.
    Ok(fs::canonicalize(&path).unwrap_or(path))
}

fn is_empty(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        // A process that died before it had marked the place has left its lock, or half a mark.
        Ok(entries) => Ok(entries.flatten().all(|entry| {
            entry.file_name().to_str().is_some_and(|name| matches!(name, "tidewater.lock" | "tidewater.new"))
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("list", path)(error)),
    }
}

/// Copies a database in one transaction of its own.
fn vacuum(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        files::remove_file(&beside(to, suffix))?;
    }
    let connection = Connection::open(from)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    drop(connection);
    File::open(to).and_then(|file| file.sync_all()).map_err(Error::io("sync", to))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts a copied database in the place of an earlier one.
fn replace_database(fresh: &Path, path: &Path) -> Result<()> {
    // A write-ahead log of the earlier one would be read into the new one.
    if path.is_file() {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(30))?;
        let _: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    }
    for suffix in ["-wal", "-shm"] {
        files::remove_file(&beside(path, suffix))?;
    }
    fs::rename(fresh, path).map_err(Error::io("rename", path))?;
    path.parent().map_or(Ok(()), files::sync_directory)
}

/// A data file that a catalog names.
struct Named {
    path: PathBuf,
    bytes: u64,
    /// The root of its database.
    root: Option<String>,
}

/// Databases of a restored catalog lie in the data directory.
fn bring_home(catalog: &Path) -> Result<()> {
    let connection = Connection::open(catalog)?;
    connection.execute("UPDATE databases SET row = json_remove(row, '$.root')", [])?;
    connection.execute("DELETE FROM properties WHERE kind = ?1", [crate::roots::DROPPED])?;
    drop(connection);
    File::open(catalog).and_then(|file| file.sync_all()).map_err(Error::io("sync", catalog))
}

/// The data files that a catalog names, with their sizes.
fn extents(catalog: &Path) -> Result<Vec<Named>> {
    let connection = Connection::open(catalog)?;
    let mut statement = connection.prepare(
        "SELECT e.path, e.bytes, json_extract(d.row, '$.root') FROM extents e \
         LEFT JOIN tables t ON t.id = e.table_id LEFT JOIN databases d ON d.id = t.database ORDER BY e.path",
    )?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?)))?;
    rows.map(|row| {
        let (path, bytes, root) = row?;
        let path = PathBuf::from(path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::Invalid(format!("'{}' lies outside of the data directory", path.display())));
        }
        Ok(Named { path, bytes: bytes.unsigned_abs(), root })
    })
    .collect()
}

fn sequence(catalog: &Path) -> Result<u64> {
    let connection = Connection::open(catalog)?;
    let found: i64 = connection.query_row("SELECT value FROM meta WHERE key = 'sequence'", [], |row| row.get(0))?;
    Ok(found.unsigned_abs())
}

/// Links or copies what is not there yet; false when a file was missing.
fn take_all(
    from: &Layout,
    to: &Layout,
    named: &[Named],
    options: &BackupOptions,
    report: &mut BackupReport,
) -> Result<bool> {
    let mut directories = HashSet::new();
    // A backup has all files itself, wherever they lie.
    let is_backup = from.root().join(stamp::BACKUP).is_file();
    for Named { path, bytes, root } in named {
        let place = options.roots.place(from, root.as_deref().filter(|_| !is_backup));
        let (source, target) = (place.path(&path.to_string_lossy()), to.root().join(path));
        if fs::metadata(&target).is_ok_and(|known| known.len() == *bytes) {
            continue;
        }
        let parent = target.parent().unwrap_or(to.root()).to_path_buf();
        files::create_directory(&parent)?;
        let taken = match &place {
            Place::Store(remote) => fetch(remote, path, &target, options, report)?,
            place => {
                place.known()?;
                take(&source, &target, options, report)?
            }
        };
        if !taken {
            return Ok(false);
        }
        directories.insert(parent);
    }
    for directory in directories {
        files::sync_directory(&directory)?;
    }
    Ok(true)
}

/// One object that never changes; false when it is not there.
fn fetch(
    remote: &Arc<Remote>,
    path: &Path,
    target: &Path,
    options: &BackupOptions,
    report: &mut BackupReport,
) -> Result<bool> {
    options.faults.at(FaultPoint::Backup).map_err(Error::io("copy", target))?;
    let temporary = target.with_extension("new");
    let fetched = remote.fetch(&path.to_string_lossy(), &temporary);
    let Some(bytes) = fetched.inspect_err(|_| drop(fs::remove_file(&temporary)))? else { return Ok(false) };
    fs::rename(&temporary, target).map_err(Error::io("rename", target))?;
    report.new_files += 1;
    report.copied_bytes += bytes;
    Ok(true)
}

/// One file that never changes; false when it is not there.
pub(super) fn take(source: &Path, target: &Path, options: &BackupOptions, report: &mut BackupReport) -> Result<bool> {
    options.faults.at(FaultPoint::Backup).map_err(Error::io("copy", target))?;
    // What an interrupted copy has left is not whole.
    files::remove_file(target)?;
    if !options.copy {
        match fs::hard_link(source, target) {
            Ok(()) => {
                report.new_files += 1;
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // Another file system, or one without links.
            Err(_) => {}
        }
    }
    let temporary = target.with_extension("new");
    let copied = fs::copy(source, &temporary).and_then(|bytes| {
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, target)?;
        Ok(bytes)
    });
    match copied {
        Ok(bytes) => {
            report.new_files += 1;
            report.copied_bytes += bytes;
            Ok(true)
        }
        Err(error) => {
            files::remove_file(&temporary)?;
            if error.kind() == io::ErrorKind::NotFound && !source.exists() {
                return Ok(false);
            }
            Err(Error::io("copy", source)(error))
        }
    }
}

/// The files of job results: those that are there now.
fn results(from: &Layout, to: &Layout, options: &BackupOptions, report: &mut BackupReport) -> Result<()> {
    files::create_directory(&to.results())?;
    let list = |path: &Path| -> Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", path)(error)),
        };
        let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        Ok(files.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    let wanted: HashSet<String> =
        list(&from.results())?.into_iter().filter(|name| !name.starts_with(crate::results::TEMPORARY)).collect();
    for name in list(&to.results())?.into_iter().filter(|name| !wanted.contains(name)) {
        files::remove_file(&to.results().join(name))?;
    }
    for name in wanted {
        let (source, target) = (from.results().join(&name), to.results().join(&name));
        if !target.exists() {
            // A result that has expired meanwhile is not missed.
            take(&source, &target, options, report)?;
        }
    }
    files::sync_directory(&to.results())
}

/// Removes data files of an earlier backup that this one does not name.
fn remove_unnamed(to: &Layout, named: &[Named]) -> Result<u64> {
    let named: HashSet<PathBuf> = named.iter().map(|named| to.root().join(&named.path)).collect();
    let mut removed = 0;
    for database in directories(&to.databases()) {
        for table in directories(&database) {
            for entry in fs::read_dir(&table).into_iter().flatten().flatten() {
                let is_ours = entry.file_name().to_str().is_some_and(files::is_data_file);
                if is_ours && !named.contains(&entry.path()) {
                    files::remove_file(&entry.path())?;
                    removed += 1;
                }
            }
            let _ = fs::remove_dir(&table);
        }
        let _ = fs::remove_dir(&database);
    }
    Ok(removed)
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Whether SQLite finds a database whole; what it says otherwise.
pub(crate) fn integrity(path: &Path) -> Result<Vec<String>> {
    let connection = sqlite::connect(path)?;
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}
