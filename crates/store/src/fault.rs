//! Places where tests make the process die or the disk fail.

use std::io;
use std::sync::Arc;

/// A moment in the life of a write at which durability could be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// Before bytes are handed to the operating system.
    DataWrite,
    /// All bytes written, nothing synced.
    DataSync,
    /// The file synced, its directory not.
    DirectorySync,
    /// Data durable, the catalog transaction not begun.
    CatalogBegin,
    /// The transaction complete but not committed.
    CatalogCommit,
    /// Committed; the new snapshot not published, nobody answered.
    Published,
    /// A Delta log entry written under a temporary name.
    DeltaLink,
    /// A file of a checkpoint of the Delta log written under a temporary name; once more before older versions go.
    Checkpoint,
    /// A record of a job about to change.
    Record,
    /// A file of an export complete and synced, without its name.
    Export,
    /// A file about to be put into a store, and once more when all of it is there.
    Upload,
    /// A dropped file about to be deleted.
    Reap,
    /// A file of a backup or a restore about to be copied, and once more before its catalog gets its name.
    Backup,
}

/// What happens at a point: nothing, an error, or the end of the process.
type Hook = dyn Fn(FaultPoint) -> io::Result<()> + Send + Sync;

/// The hook of one store; empty outside tests.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Calls `hook` at every point.
    pub fn new(hook: impl Fn(FaultPoint) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// What happens at a point.
    pub fn at(&self, point: FaultPoint) -> io::Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(hook) => hook(point),
        }
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(hook)" } else { "Faults(none)" })
    }
}
