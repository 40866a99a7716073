//! Cleaning at start: what a crash has left and no committed row names.
//!
//! Runs before anything is written, so every data file that the catalog does not name is garbage of a write that was
//! never acknowledged, or of a drop that was. Names that are not ours are left alone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::catalog::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::files::{self, Layout};
use crate::id::{DatabaseId, TableId};
use crate::roots::Place;

pub(crate) fn sweep(layout: &Layout, snapshot: &Snapshot) -> Result<()> {
    sweep_temporary(&layout.temporary());
    let mut named: HashSet<&Path> = HashSet::new();
    let mut tables: HashSet<TableId> = HashSet::new();
    for table in snapshot.databases().flat_map(|database| database.stored_tables()) {
        tables.insert(table.id());
        // What lies elsewhere is swept there.
        if matches!(table.directory().place(), Place::Home(_)) {
            named.extend(table.extents().iter().map(|extent| extent.file().path()));
        }
    }
    let mut missing = named.clone();
    let mut swept = 0;
    for (database, database_path) in directories(&layout.databases())? {
        if DatabaseId::parse(&database).is_none() {
            continue;
        }
        for (table, table_path) in directories(&database_path)? {
            let Some(table) = TableId::parse(&table) else { continue };
            for path in files_of(&table_path)? {
                missing.remove(path.as_path());
                let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(files::is_data_file);
                if ours && !named.contains(path.as_path()) {
                    files::remove_file(&path)?;
                    swept += 1;
                }
            }
            match tables.contains(&table) {
                true => sweep_log(&table_path.join(files::DELTA_LOG))?,
                false => files::remove_table_directory(&table_path, true),
            }
        }
        // Empty only when its last table went.
        let _ = fs::remove_dir(&database_path);
    }
    for path in missing {
        // Queries of its table fail on it; everything else works.
        tracing::error!(path = %path.display(), "a data file that the catalog names is not there");
    }
    if swept > 0 {
        tracing::info!(files = swept, "swept data files that no commit names");
    }
    Ok(())
}

/// Removes what waited for something that a former process did: nothing in this folder outlives one.
fn sweep_temporary(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "a temporary file stays");
        }
    }
}

/// The data files that no row of the catalog names.
pub(crate) fn unnamed(layout: &Layout, snapshot: &Snapshot) -> Result<Vec<PathBuf>> {
    let tables = snapshot.databases().flat_map(|database| database.stored_tables());
    let named: HashSet<PathBuf> =
        tables.flat_map(|table| table.extents().iter().map(|extent| extent.file().path().to_path_buf())).collect();
    let mut found = vec![];
    if !layout.databases().is_dir() {
        return Ok(found);
    }
    for (database, database_path) in directories(&layout.databases())? {
        if DatabaseId::parse(&database).is_none() {
            continue;
        }
        for (table, table_path) in directories(&database_path)? {
            if TableId::parse(&table).is_none() {
                continue;
            }
            let is_ours =
                |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(files::is_data_file);
            let files = files_of(&table_path)?.into_iter();
            found.extend(files.filter(|path| is_ours(path) && !named.contains(path)));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes Delta log entries that were never linked under a version.
fn sweep_log(log: &Path) -> Result<()> {
    if !log.is_dir() {
        return Ok(());
    }
    for path in files_of(log)? {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(files::is_temporary_log_file) {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

fn directories(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = vec![];
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let is_directory = entry.file_type().map_err(Error::io("list", path))?.is_dir();
        if let (true, Some(name)) = (is_directory, entry.file_name().to_str()) {
            found.push((name.to_string(), entry.path()));
        }
    }
    Ok(found)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        if entry.file_type().map_err(Error::io("list", path))?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
