//! Files of results: written once under a temporary name, synced, then given their name. Rows are kept as Parquet.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use crate::error::{Entity, Error, Result};
use crate::files::{self, Layout};
use crate::task::{BatchSink, WriterTask};

/// The results of one store. Clones share it.
#[derive(Clone, Debug)]
pub struct ResultStore {
    directory: Arc<PathBuf>,
    /// Bytes of all results, of those that are being written too.
    used: Arc<AtomicU64>,
}

impl ResultStore {
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let store = Self { directory: Arc::new(layout.results()), used: Arc::default() };
        for entry in fs::read_dir(store.directory.as_path()).map_err(Error::io("list", &store.directory))?.flatten() {
            // What a crash left unfinished.
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
                files::remove_file(&entry.path())?;
            } else if let Ok(metadata) = entry.metadata() {
                store.used.fetch_add(metadata.len(), Ordering::Relaxed);
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
        let limits = ResultLimits::default();
        Ok(ResultWriter { file, temporary, path, written: 0, limits, used: Arc::clone(&self.used), is_kept: false })
    }

    /// Begins a Parquet file of rows, written on a thread of its own. Types that Parquet lacks are refused at once.
    pub fn create_rows(&self, name: &str, schema: SchemaRef, limits: ResultLimits) -> Result<RowsWriterTask> {
        let mut file = self.create(name)?;
        file.limits = limits;
        let writer = ArrowWriter::try_new(file, schema, Some(properties()))?;
        Ok(RowsWriterTask::start(writer))
    }

    /// Opens a file that [`ResultStore::create_rows`] made.
    pub fn read_rows(&self, name: &str) -> Result<ResultRows> {
        let (file, bytes) = self.read(name)?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file.try_clone().map_err(Error::io("read", &self.path(name)?))?)?;
        let rows = builder.metadata().file_metadata().num_rows().unsigned_abs();
        Ok(ResultRows { schema: Arc::clone(builder.schema()), rows, bytes, file, builder })
    }

    /// Bytes that all results take, those that are being written too.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
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
        let path = self.path(name)?;
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        files::remove_file(&path)?;
        self.used.fetch_sub(length, Ordering::Relaxed);
        Ok(())
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
pub(crate) const TEMPORARY: &str = ".writing-";

/// How large results may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultLimits {
    /// Bytes of one.
    pub one_bytes: u64,
    /// Bytes of all.
    pub all_bytes: u64,
}

impl Default for ResultLimits {
    fn default() -> Self {
        Self { one_bytes: u64::MAX, all_bytes: u64::MAX }
    }
}

/// A result that is being written; dropped without [`ResultWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct ResultWriter {
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
    written: u64,
    limits: ResultLimits,
    used: Arc<AtomicU64>,
    is_kept: bool,
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
        let replaced = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        fs::rename(&self.temporary, &self.path).map_err(Error::io("rename", &self.temporary))?;
        self.is_kept = true;
        self.used.fetch_sub(replaced, Ordering::Relaxed);
        files::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.written)
    }
}

impl Write for ResultWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let length = bytes.len() as u64;
        let full = |text: String| Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        if self.written + length > self.limits.one_bytes {
            return full(format!("the result takes more than the limit of {} bytes", self.limits.one_bytes));
        }
        if self.used.load(Ordering::Relaxed) + length > self.limits.all_bytes {
            return full(format!("all results together take more than the limit of {} bytes", self.limits.all_bytes));
        }
        let count = file.write(bytes)?;
        self.written += count as u64;
        self.used.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for ResultWriter {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.temporary);
            self.used.fetch_sub(self.written, Ordering::Relaxed);
        }
    }
}

/// Rows of a row group: a window of rows reads no more than what it touches of these.
const ROW_GROUP_ROWS: usize = 1 << 17;
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build()
}

/// Writes rows on a blocking thread; what it returns at the end is the file's length.
pub type RowsWriterTask = WriterTask<u64>;

impl BatchSink for ArrowWriter<ResultWriter> {
    type Done = u64;

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        Ok(ArrowWriter::write(self, &batch)?)
    }

    fn finish(self) -> Result<u64> {
        self.into_inner()?.finish()
    }
}

/// A finished file of rows, open for reading: it can be read to its end although it expires meanwhile.
pub struct ResultRows {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The file itself, which is Parquet.
    pub file: File,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ResultRows {
    /// Writes a window as a Parquet file of its own. Blocks.
    pub fn copy_window(self, offset: u64, limit: u64, out: impl Write + Send) -> Result<()> {
        let mut writer = ArrowWriter::try_new(out, Arc::clone(&self.schema), Some(properties()))?;
        for batch in self.window(offset, limit)? {
            writer.write(&batch?)?;
        }
        writer.close()?;
        Ok(())
    }

    /// `limit` rows from the row number `offset` on, in batches. Reading blocks.
    pub fn window(self, offset: u64, limit: u64) -> Result<ParquetRecordBatchReader> {
        const BATCH_ROWS: usize = 8192;
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let limit = limit.min(self.rows.saturating_sub(offset));
        let builder = self.builder.with_batch_size(BATCH_ROWS).with_offset(size(offset)).with_limit(size(limit));
        Ok(builder.build()?)
    }
}
