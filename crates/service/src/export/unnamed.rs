//! Files of exports that have no name yet: remembered, so that the start after a kill removes them.
//!
//! They lie in directories that may be other servers' too, so only what this server has noted is removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::external::External;

/// The folder of the notes, below the data directory.
const FOLDER: &str = "exports";

/// Where files are noted.
#[derive(Clone, Debug)]
pub(crate) struct Marks(Arc<PathBuf>);

/// A note about one file; it goes with its last owner.
#[derive(Debug)]
pub(crate) struct Mark(PathBuf);

impl Marks {
    pub fn of(external: &External) -> Marks {
        let root = external.temporary().parent().unwrap_or(external.temporary());
        Marks(Arc::new(root.join(FOLDER)))
    }

    /// Notes a file that is about to be made. Without a note the file is made all the same: it only may stay.
    pub fn note(&self, file: &Path) -> Option<Mark> {
        let file = std::path::absolute(file).ok()?;
        std::fs::create_dir_all(self.0.as_path()).ok()?;
        let note = self.0.join(Uuid::new_v4().simple().to_string());
        std::fs::write(&note, file.to_str()?).ok()?;
        Some(Mark(note))
    }

    /// Removes the files that a former process has not given their names, with their notes.
    pub fn sweep(&self) {
        for entry in std::fs::read_dir(self.0.as_path()).into_iter().flatten().flatten() {
            let Ok(noted) = std::fs::read_to_string(entry.path()) else { continue };
            let file = PathBuf::from(&noted);
            let is_ours = file.file_name().and_then(|name| name.to_str());
            let is_ours = is_ours.is_some_and(|name| name.starts_with('.') && name.ends_with(".part"));
            if is_ours && file.is_absolute() {
                match std::fs::remove_file(&file) {
                    Ok(()) => tracing::info!(path = noted, "removed a file of an export that was cut short"),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        // Its disk may be there at the next start.
                        tracing::warn!(%error, path = noted, "a file of an export that was cut short stays");
                        continue;
                    }
                }
            }
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
