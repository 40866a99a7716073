//! Files of results: written once under a temporary name, synced, then given their name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::error::{Entity, Error, Result};
use crate::files::{self, Layout};

/// The results of one store. Clones share it.
#[derive(Clone, Debug)]
pub struct ResultStore {
    directory: Arc<PathBuf>,
}

impl ResultStore {
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let store = Self { directory: Arc::new(layout.results()) };
        for entry in fs::read_dir(store.directory.as_path()).map_err(Error::io("list", &store.directory))?.flatten() {
            // What a crash left unfinished.
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
                files::remove_file(&entry.path())?;
            }
        }
        Ok(store)
    }

    /// Begins a result file. It has its name when [`ResultWriter::finish`] returns, not before. Blocks.
    pub fn create(&self, name: &str) -> Result<ResultWriter> {
        let path = self.path(name)?;
        let temporary = self.directory.join(format!("{TEMPORARY}{}", Uuid::new_v4()));
        let file =
            File::options().create_new(true).write(true).open(&temporary).map_err(Error::io("create", &temporary))?;
        let file = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(ResultWriter { file, temporary, path, written: 0 })
    }

    /// Opens a finished result and tells its length.
    pub fn read(&self, name: &str) -> Result<(File, u64)> {
        let path = self.path(name)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::not_found(Entity::Result, name));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok((file, length))
    }

    /// Where a result lies, for readers that take paths.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let plain = !name.is_empty()
            && name.len() <= 200
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !plain {
            return Err(Error::Invalid(format!(
                "result name '{name}' has other characters than letters, digits, '-_.'"
            )));
        }
        Ok(self.directory.join(name))
    }

    /// Deletes a result; a missing one is as good as deleted.
    pub fn remove(&self, name: &str) -> Result<()> {
        files::remove_file(&self.path(name)?)
    }

    /// Names of all finished results.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(self.directory.as_path()).map_err(Error::io("list", &self.directory))? {
            let entry = entry.map_err(Error::io("list", &self.directory))?;
            if let Some(name) = entry.file_name().to_str()
                && !name.starts_with('.')
            {
                names.push(name.to_string());
            }
        }
        Ok(names)
    }
}

/// Prefix of files that are being written.
const TEMPORARY: &str = ".writing-";

/// A result that is being written; dropped without [`ResultWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct ResultWriter {
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
    written: u64,
}

impl ResultWriter {
    /// Bytes taken so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the file durable and gives it its name; replaces an older result of that name. Returns its length.
    pub fn finish(mut self) -> Result<u64> {
        let Some(mut writer) = self.file.take() else { return Err(Error::Stopped) };
        let sync = writer.flush().and_then(|()| writer.get_ref().sync_all());
        sync.map_err(Error::io("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(Error::io("rename", &self.temporary))?;
        files::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.written)
    }
}

impl Write for ResultWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let count = file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for ResultWriter {
    fn drop(&mut self) {
        // After a rename there is nothing under this name any more.
        let _ = fs::remove_file(&self.temporary);
    }
}
