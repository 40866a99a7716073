//! Marks of a data directory: which version of the format it has, and whether it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::files;

/// Format of the whole directory. A version that another one could misread gets the next number.
pub(crate) const FORMAT: u64 = 1;
/// The file that tells the format.
pub(crate) const VERSION: &str = "tidewater.version";
/// The file that marks a backup.
pub(crate) const BACKUP: &str = "tidewater.backup";
/// The file that marks a restore that has not ended.
pub(crate) const RESTORING: &str = "tidewater.restoring";

#[derive(Debug, Deserialize, Serialize)]
struct Version {
    format: u64,
    #[serde(default)]
    version: String,
}

/// Refuses a directory that this version cannot read rightly: a newer format, a restore that has not ended.
pub(crate) fn check(root: &Path) -> Result<()> {
    if root.join(RESTORING).exists() {
        return Err(Error::Invalid(format!(
            "a restore into '{}' has not ended; run it again, or empty the directory",
            root.display()
        )));
    }
    check_version(root)
}

/// Refuses a newer format only.
pub(crate) fn check_version(root: &Path) -> Result<()> {
    let path = root.join(VERSION);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // Directories of versions before the stamp.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let found: Version = serde_json::from_str(&text)
        .map_err(|error| Error::Corrupt(format!("'{}' is no version stamp: {error}", path.display())))?;
    if found.format > FORMAT {
        return Err(Error::Newer {
            path: root.to_path_buf(),
            format: found.format,
            supported: FORMAT,
            version: found.version,
        });
    }
    Ok(())
}

/// Writes the stamp of this version, unless it is there.
pub(crate) fn write(root: &Path) -> Result<()> {
    let text = json!({ "format": FORMAT, "version": env!("CARGO_PKG_VERSION") }).to_string() + "\n";
    if fs::read_to_string(root.join(VERSION)).is_ok_and(|known| known == text) {
        return Ok(());
    }
    put(&root.join(VERSION), text.as_bytes())
}

/// Writes a small file, whole or not at all.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(Error::io("write", path))?;
    path.parent().map_or(Ok(()), files::sync_directory)
}
