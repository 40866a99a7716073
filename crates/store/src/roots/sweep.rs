//! What earlier processes have left below roots: files of writes that nobody acknowledged, and of dropped databases.
//!
//! Only folders of databases that the catalog names, or remembers to have dropped, are looked at: other servers may have
//! databases below the same root. Directories are swept at start. A store may not answer then, and must not keep the
//! server from starting: a thread tries until it does, and leaves alone what this process has written meanwhile.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{DROPPED, MARKER, Place};
use crate::catalog::plan;
use crate::catalog::snapshot::Snapshot;
use crate::catalog::{PropertyKey, PropertyOwner};
use crate::error::{Error, Result};
use crate::files::{self, DELTA_LOG, Layout};
use crate::id::DatabaseId;
use crate::store::Inner;

/// Time between two tries.
const AGAIN: Duration = Duration::from_secs(20);

/// A folder below a root that may hold what nobody names.
#[derive(Debug)]
pub(crate) struct Suspect {
    pub(crate) database: DatabaseId,
    pub(crate) place: Place,
    /// Relative paths of the files that the catalog names; `None` for a dropped database.
    named: Option<HashSet<String>>,
}

/// All folders below roots that the catalog knows of.
pub(crate) fn suspects(layout: &Layout, roots: &super::Roots, snapshot: &Snapshot) -> Vec<Suspect> {
    let mut found = Vec::new();
    for database in snapshot.databases() {
        let Some(root) = database.root() else { continue };
        let extents = database.stored_tables().flat_map(|table| table.extents());
        let named = Some(extents.map(|extent| extent.file().relative()).collect());
        found.push(Suspect { database: database.id(), place: roots.place(layout, Some(root)), named });
    }
    for (id, value) in snapshot.properties(PropertyOwner::Cluster, DROPPED) {
        let (Some(id), Some(root)) = (DatabaseId::parse(id), value.as_str()) else { continue };
        found.push(Suspect { database: id, place: roots.place(layout, Some(root)), named: None });
    }
    found
}

impl Suspect {
    fn folder(&self) -> String {
        Layout::database_path(self.database)
    }

    /// Files of ours that nobody names, as paths below the root.
    pub(crate) fn unnamed(&self) -> Result<Vec<String>> {
        let files = match &self.place {
            Place::Home(_) | Place::Unknown(_) => return Ok(Vec::new()),
            Place::Directory(path) => below(path, &self.folder())?,
            Place::Store(remote) => remote.list(&self.folder())?,
        };
        let is_doomed = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_log = files::is_log_file(name) && path.contains(DELTA_LOG);
            match &self.named {
                Some(named) => {
                    (files::is_data_file(name) && !named.contains(path)) || files::is_temporary_log_file(name)
                }
                None => files::is_data_file(name) || is_log || name == MARKER,
            }
        };
        Ok(files.into_iter().filter(is_doomed).collect())
    }

    /// Removes one of them.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        match &self.place {
            Place::Directory(root) => files::remove_file(&root.join(path)),
            Place::Store(remote) => remote.remove(path),
            Place::Home(_) | Place::Unknown(_) => Ok(()),
        }
    }

    /// Removes them. Returns how many there were.
    fn sweep(&self) -> Result<usize> {
        let doomed = self.unnamed()?;
        let mut count = 0;
        for path in &doomed {
            if self.place.remote().is_some_and(|remote| remote.is_fresh(path)) {
                continue;
            }
            self.remove(path)?;
            count += 1;
        }
        if let (Place::Directory(root), None) = (&self.place, &self.named) {
            remove_empty(&root.join(self.folder()));
        }
        if count > 0 {
            tracing::info!(files = count, root = %self.place.path("").display(), "swept files that no commit names");
        }
        Ok(count)
    }
}

/// Sweeps what can be swept at once; what is left waits for [`start`].
pub(crate) fn now(suspects: Vec<Suspect>) -> (Vec<DatabaseId>, Vec<Suspect>) {
    let (mut gone, mut later) = (Vec::new(), Vec::new());
    for suspect in suspects {
        if suspect.place.remote().is_some() {
            later.push(suspect);
            continue;
        }
        match suspect.place.check_sweep().and_then(|()| suspect.sweep()) {
            Ok(_) if suspect.named.is_none() => gone.push(suspect.database),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "a root could not be swept; its databases cannot be used"),
        }
    }
    (gone, later)
}

impl Place {
    fn check_sweep(&self) -> Result<()> {
        match self {
            Place::Directory(path) if !path.is_dir() => Err(Error::Unreachable {
                root: format!("file://{}", path.display()),
                message: "there is no such directory".to_string(),
            }),
            other => other.known(),
        }
    }
}

/// Forgets dropped databases whose files are gone.
pub(crate) fn forget(store: &Inner, gone: &[DatabaseId]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let keys: Vec<PropertyKey> = gone.iter().map(|id| key(*id)).collect();
    let forget = move |snapshot: &Snapshot, draft: &mut plan::Draft| {
        keys.into_iter().try_for_each(|key| plan::put_property(snapshot, draft, key, None))
    };
    store.transact(forget).map(drop)
}

/// The property that remembers a dropped database until its files are gone.
pub(crate) fn key(database: DatabaseId) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Cluster, kind: DROPPED.to_string(), name: database.to_string() }
}

/// Sweeps stores on a thread of its own, again until each has answered.
pub(crate) fn start(store: &Arc<Inner>, mut waiting: Vec<Suspect>) -> Result<()> {
    if waiting.is_empty() {
        store.options.roots.end_sweep();
        return Ok(());
    }
    let store = Arc::downgrade(store);
    let work = move || {
        let mut is_told = false;
        loop {
            let (mut left, mut gone): (Vec<Suspect>, Vec<DatabaseId>) = (Vec::new(), Vec::new());
            let mut down: HashSet<String> = HashSet::new();
            for suspect in waiting {
                if store.strong_count() == 0 {
                    return;
                }
                let address = suspect.place.remote().map(|remote| remote.address().to_string()).unwrap_or_default();
                if down.contains(&address) {
                    left.push(suspect);
                    continue;
                }
                match suspect.sweep() {
                    Ok(_) if suspect.named.is_none() => gone.push(suspect.database),
                    Ok(_) => {}
                    Err(error) => {
                        if !is_told {
                            tracing::warn!(%error, "a root could not be swept; it is tried again");
                        }
                        down.insert(address);
                        left.push(suspect);
                    }
                }
            }
            is_told = true;
            if let Some(store) = store.upgrade()
                && let Err(error) = forget(&store, &gone)
            {
                tracing::warn!(%error, "dropped databases are swept again at the next start");
            }
            if left.is_empty() {
                return end(&store);
            }
            waiting = left;
            let until = Instant::now() + AGAIN;
            while Instant::now() < until {
                if store.strong_count() == 0 {
                    return;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    };
    std::thread::Builder::new()
        .name("tidewater-sweep".into())
        .spawn(work)
        .map(drop)
        .map_err(Error::io("start thread for", Path::new("sweep")))
}

/// All stores are swept: what is written from now on need not be remembered.
fn end(store: &Weak<Inner>) {
    if let Some(store) = store.upgrade() {
        store.options.roots.end_sweep();
    }
}

/// Files below a folder of a directory, as relative paths; none when it is not there.
fn below(root: &Path, folder: &str) -> Result<Vec<String>> {
    let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(relative) = waiting.pop() {
        let directory = root.join(&relative);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("list", &directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &directory))?;
            let kind = entry.file_type().map_err(Error::io("list", &directory))?;
            let path = relative.join(entry.file_name());
            if kind.is_dir() {
                waiting.push(path);
            } else if let (true, Some(text)) = (kind.is_file(), path.to_str()) {
                found.push(text.to_string());
            }
        }
    }
    Ok(found)
}

/// Removes directories that have become empty.
fn remove_empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // Refuses when something foreign is left.
    let _ = fs::remove_dir(path);
}
