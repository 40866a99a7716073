//! Room on disks: writing ends with a clear error before a disk is full.

use std::path::Path;

use crate::error::{Error, Result};

/// How much of a disk stays free; the default asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that stay free of every disk that is written to.
    pub least_bytes: u64,
}

impl Room {
    /// Refuses to write more to the disk of a path that exists; what cannot be found out is no reason to refuse.
    pub fn check(self, path: &Path) -> Result<()> {
        if self.least_bytes == 0 {
            return Ok(());
        }
        match free_bytes(path) {
            Some(free) if free < self.least_bytes => {
                Err(Error::Full { path: path.to_path_buf(), free, least: self.least_bytes })
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that may still be written to the disk of a path.
#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in a null, and the pointer is valid for one `statvfs`, which all zeroes are a value of.
    let (outcome, found) = unsafe { (libc::statvfs(path.as_ptr(), found.as_mut_ptr()), found.assume_init()) };
    // The types of these differ from system to system.
    #[allow(clippy::unnecessary_cast)]
    let free = (found.f_bavail as u64).saturating_mul(found.f_frsize as u64);
    (outcome == 0).then_some(free)
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_disk_has_is_refused_and_nothing_is_asked_by_default() {
        let here = Path::new("/");
        assert!(Room::default().check(here).is_ok() && Room { least_bytes: 1 }.check(here).is_ok());
        let error = Room { least_bytes: u64::MAX }.check(here).unwrap_err().to_string();
        assert!(error.contains("bytes free") && error.contains(&u64::MAX.to_string()), "{error}");
        assert!(Room { least_bytes: u64::MAX }.check(Path::new("/no/such/place")).is_ok());
    }
}
