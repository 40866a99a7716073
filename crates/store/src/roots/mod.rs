//! Roots: where the files of a database lie when that is not the data directory.
//!
//! A root is another directory or a prefix of an object store. Settings give roots with what is needed to open them; the
//! catalog keeps a database's address only, never a secret. Below a root files have the same names as below the data
//! directory, so an extent's path means the same everywhere. What a store's root lacks is a rename: files are written
//! here, put there whole, and named by the catalog once the store has answered that they are there.

pub(crate) mod chunks;
pub(crate) mod guard;
pub(crate) mod remote;
pub(crate) mod sweep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use serde_json::json;

use crate::care::stamp;
use crate::error::{Error, Result};
use crate::files::{self, Layout};
use crate::id::DatabaseId;
use remote::Remote;

/// The file that marks a database's folder below a root: a disk that is not mounted lacks it.
pub(crate) const MARKER: &str = "tidewater.database";
/// The kind of the server's properties that name roots of dropped databases, until their files are gone.
pub(crate) const DROPPED: &str = "dropped root";

/// A place that databases may have their files below.
#[derive(Clone, Debug)]
pub struct Root {
    address: String,
    kind: RootKind,
}

#[derive(Clone, Debug)]
enum RootKind {
    Directory(PathBuf),
    Store { store: Arc<dyn ObjectStore>, prefix: String },
}

impl Root {
    /// A directory of this machine, by its absolute path.
    ///
    /// Errors: a path that is not absolute or has `..` in it.
    pub fn directory(path: &Path) -> Result<Self> {
        let is_plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        let text = path.to_str().filter(|_| is_plain && path.is_absolute());
        let text = text.ok_or_else(|| Error::Invalid(format!("'{}' is no absolute path", path.display())))?;
        let text = text.trim_end_matches('/');
        Ok(Self { address: format!("file://{text}"), kind: RootKind::Directory(PathBuf::from(format!("{text}/"))) })
    }

    /// A prefix of an object store; the address is what people see, without secrets.
    pub fn store(address: &str, store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let address = address.trim_end_matches('/').to_string();
        let prefix = prefix.trim_matches('/').to_string();
        ObjectPath::parse(&prefix).map_err(|error| Error::Invalid(format!("root '{address}': {error}")))?;
        let store = guard::Guarded::over(store, &address);
        Ok(Self { address, kind: RootKind::Store { store, prefix } })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What lies below it at an address; `None` when the address lies elsewhere.
    fn below<'a>(&self, address: &'a str) -> Option<&'a str> {
        let rest = address.strip_prefix(&self.address)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

/// All roots that settings give, and the databases that begin at one.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    roots: Vec<Root>,
    /// By lower-cased names: the name as written, and its address.
    databases: HashMap<String, (String, String)>,
    /// Opened places by address.
    open: Mutex<HashMap<String, Place>>,
    /// Whether what earlier processes have left in stores is gone.
    swept: AtomicBool,
}

impl Roots {
    /// Roots, and the databases that lie at them: names with addresses.
    pub fn new(roots: Vec<Root>, databases: Vec<(String, String)>) -> Self {
        let fold = |name: String, address: String| (crate::catalog::snapshot::fold(&name), (name, address));
        let databases = databases.into_iter().map(|(name, address)| fold(name, address)).collect();
        Self { inner: Arc::new(Inner { roots, databases, ..Inner::default() }) }
    }

    /// The address that a database of this name begins at.
    pub fn of_database(&self, name: &str) -> Option<&str> {
        self.inner.databases.get(&crate::catalog::snapshot::fold(name)).map(|(_, address)| address.as_str())
    }

    /// The databases that have a root by settings, with their addresses.
    pub fn databases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.databases.values().map(|(name, address)| (name.as_str(), address.as_str()))
    }

    /// The form in which the catalog keeps an address, if a root covers it.
    pub fn covered(&self, address: &str) -> Option<String> {
        let address = match address.starts_with('/') {
            true => format!("file://{address}"),
            false => address.to_string(),
        };
        let address = address.trim_end_matches('/').to_string();
        let is_plain = !address.split('/').skip(3).any(|part| matches!(part, "" | "." | ".."));
        (is_plain && self.inner.roots.iter().any(|root| root.below(&address).is_some())).then_some(address)
    }

    /// What earlier processes have left is gone: stores need not remember any more what this one writes.
    pub(crate) fn end_sweep(&self) {
        let open = self.inner.open.lock();
        self.inner.swept.store(true, Ordering::Release);
        open.values().filter_map(Place::remote).for_each(|remote| remote.end_sweep());
    }

    /// Where the files of a database with this address lie.
    pub(crate) fn place(&self, layout: &Layout, address: Option<&str>) -> Place {
        let Some(address) = address else { return Place::Home(Arc::new(layout.root().to_path_buf())) };
        let mut open = self.inner.open.lock();
        if let Some(place) = open.get(address) {
            return place.clone();
        }
        let found = self.inner.roots.iter().filter_map(|root| Some((root, root.below(address)?)));
        // The longest address is the most exact one.
        let place = match found.max_by_key(|(root, _)| root.address.len()) {
            None => return Place::Unknown(Arc::from(address)),
            Some((root, below)) => match &root.kind {
                RootKind::Directory(path) => Place::Directory(Arc::new(path.join(below))),
                RootKind::Store { store, prefix } => {
                    let prefix = [prefix.as_str(), below].into_iter().filter(|part| !part.is_empty());
                    let prefix = prefix.collect::<Vec<_>>().join("/");
                    match Remote::new(
                        address,
                        Arc::clone(store),
                        prefix,
                        layout.temporary(),
                        !self.inner.swept.load(Ordering::Acquire),
                    ) {
                        Ok(remote) => Place::Store(Arc::new(remote)),
                        Err(_) => return Place::Unknown(Arc::from(address)),
                    }
                }
            },
        };
        open.insert(address.to_string(), place.clone());
        place
    }
}

/// Where a database's files lie.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The data directory.
    Home(Arc<PathBuf>),
    /// Another directory.
    Directory(Arc<PathBuf>),
    /// A prefix of an object store.
    Store(Arc<Remote>),
    /// An address that no setting covers: nothing can be read or written there.
    Unknown(Arc<str>),
}

impl Place {
    /// A path below it: one of this machine, or for stores and unknown roots one to be shown.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        match self {
            Place::Home(path) | Place::Directory(path) => path.join(relative),
            Place::Store(remote) => PathBuf::from(format!("{}/{relative}", remote.address())),
            Place::Unknown(address) => PathBuf::from(format!("{address}/{relative}")),
        }
    }

    /// Its object store.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        match self {
            Place::Store(remote) => Some(remote),
            _ => None,
        }
    }

    /// Refuses a place that no setting covers.
    pub(crate) fn known(&self) -> Result<()> {
        match self {
            Place::Unknown(address) => Err(unknown(address)),
            _ => Ok(()),
        }
    }

    /// Refuses to write where the database's folder is not: into the empty folder of a disk that is not mounted.
    pub(crate) fn check_writable(&self, database: DatabaseId) -> Result<()> {
        self.known()?;
        if let Place::Directory(path) = self {
            let marker = path.join(Layout::database_path(database)).join(MARKER);
            if !marker.is_file() {
                let message = format!("its file '{}' is missing: is the disk there?", marker.display());
                return Err(Error::Unreachable { root: format!("file://{}", path.display()), message });
            }
        }
        Ok(())
    }

    /// Makes the folder of a database that is about to be created: proof that the place can be written.
    pub(crate) fn prepare(&self, database: DatabaseId, name: &str) -> Result<()> {
        self.known()?;
        let folder = Layout::database_path(database);
        let text = json!({ "database": name, "id": database.to_string() }).to_string() + "\n";
        match self {
            Place::Home(_) | Place::Unknown(_) => Ok(()),
            Place::Directory(path) => {
                if !path.is_dir() {
                    let parent = path.parent().is_some_and(Path::is_dir);
                    if !parent {
                        let root = format!("file://{}", path.display());
                        return Err(Error::Unreachable { root, message: "there is no such directory".into() });
                    }
                }
                let folder = path.join(folder);
                files::create_directory(&folder)?;
                stamp::put(&folder.join(MARKER), text.as_bytes())
            }
            Place::Store(remote) => remote.put(&format!("{folder}/{MARKER}"), text.into_bytes()),
        }
    }
}

pub(crate) fn unknown(address: &str) -> Error {
    Error::Unreachable {
        root: address.to_string(),
        message: "no setting says how to open it ('database_roots')".to_string(),
    }
}
