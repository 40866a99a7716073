//! The folder of queued ingestion in backups and checks: uploads whose messages are records of the catalog, and the key
//! that signs their addresses. What is in the files is their owner's business.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{BackupOptions, BackupReport, take};
use super::check::{CheckReport, Severity};
use crate::error::{Error, Result};
use crate::files::{self, Layout};

/// The folder.
const FOLDER: &str = "queue";
/// The file whose bytes sign addresses.
const KEY: &str = "signing.key";
const KEY_BYTES: u64 = 32;
/// What ends the name of an upload under way.
const UNDER_WAY: &str = "part";
/// Folders in the folder, and in those: uploads, and the blocks of one.
const DEPTH: usize = 3;

/// The files below the folder, by their paths in the data directory.
fn listed(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from(FOLDER), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let path = root.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("list", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &path))?;
            let kind = entry.file_type().map_err(Error::io("look at", &path))?;
            let below = folder.join(entry.file_name());
            if kind.is_dir() && depth < DEPTH {
                folders.push((below, depth + 1));
            } else if kind.is_file() {
                found.push(below);
            }
        }
    }
    Ok(found)
}

fn is_under_way(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNDER_WAY)
}

fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| fs::metadata(path).map(|known| (known.dev(), known.ino())).ok();
    of(one).is_some_and(|known| of(other) == Some(known))
}

/// Links or copies what is there now; gives its paths. Files come and go meanwhile.
pub(super) fn copy(from: &Layout, to: &Layout, options: &BackupOptions) -> Result<HashSet<PathBuf>> {
    let mut taken = HashSet::new();
    // Reports tell of data files.
    let mut report = BackupReport::default();
    for path in listed(from.root())?.into_iter().filter(|path| !is_under_way(path)) {
        let (source, target) = (from.root().join(&path), to.root().join(&path));
        if let Some(parent) = target.parent() {
            files::create_directory(parent)?;
        }
        // An upload can be replaced under its name, so the copy is made anew unless it is the same file.
        if is_same(&source, &target) || take(&source, &target, options, &mut report)? {
            taken.insert(path);
        }
    }
    Ok(taken)
}

/// Removes what an earlier backup has and this one has not.
pub(super) fn remove_others(to: &Layout, kept: &HashSet<PathBuf>) -> Result<()> {
    for path in listed(to.root())?.into_iter().filter(|path| !kept.contains(path)) {
        files::remove_file(&to.root().join(path))?;
    }
    Ok(())
}

/// What is wrong in the folder.
pub(super) fn check(layout: &Layout, repair: bool, report: &mut CheckReport) -> Result<()> {
    for path in listed(layout.root())? {
        let place = path.display().to_string();
        if is_under_way(&path) {
            let finding = report.add(Severity::Warning, place, "an upload that was never ended");
            if repair {
                files::remove_file(&layout.root().join(&path))?;
                finding.repaired = true;
            }
        } else if path.ends_with(KEY) {
            let bytes = fs::metadata(layout.root().join(&path)).map_err(Error::io("look at", &path))?.len();
            if bytes != KEY_BYTES {
                report.add(Severity::Error, place, format!("the key has {bytes} bytes, expected {KEY_BYTES}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_and_the_key_are_taken_and_what_has_gone_goes() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (Layout::new(&place.path().join("a")), Layout::new(&place.path().join("b")));
        let put = |name: &str, bytes: &[u8]| {
            let path = from.root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put("queue/signing.key", &[7; 32]);
        put("queue/uploads/one", b"1");
        put("queue/uploads/two.part", b"2");
        put("queue/uploads/three.blocks/x", b"3");
        let kept = copy(&from, &to, &BackupOptions { copy: true, ..BackupOptions::default() }).unwrap();
        remove_others(&to, &kept).unwrap();
        let mut found = listed(to.root()).unwrap();
        found.sort();
        let wanted = ["queue/signing.key", "queue/uploads/one", "queue/uploads/three.blocks/x"].map(PathBuf::from);
        assert_eq!(found, wanted);
        fs::remove_file(from.root().join("queue/uploads/one")).unwrap();
        put("queue/signing.key", &[7; 31]);
        let kept = copy(&from, &to, &BackupOptions::default()).unwrap();
        remove_others(&to, &kept).unwrap();
        assert_eq!(listed(to.root()).unwrap().len(), 2);
        let mut report = CheckReport::default();
        check(&from, true, &mut report).unwrap();
        let told: Vec<_> = report.findings.iter().map(|found| (found.severity, found.repaired)).collect();
        assert!(told.contains(&(Severity::Warning, true)) && told.contains(&(Severity::Error, false)), "{told:?}");
        assert!(!from.root().join("queue/uploads/two.part").exists());
    }
}
