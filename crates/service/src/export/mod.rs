//! Export: the rows of a query as files below the directories that a setting allows, or as objects of a store.
//!
//! A file is written under a hidden name, which listings leave out, and gets its own name when it is complete and synced.
//! So a file that can be seen is whole, whenever the process ends. What a failure leaves is removed.

pub(crate) mod continuous;
mod destination;
mod file;
mod partitioned;
mod text;
pub(crate) mod unnamed;

pub(crate) use destination::Destination;
pub(crate) use partitioned::Layout;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, GzipLevel, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use flate2::write::GzEncoder;
use futures::StreamExt;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{datetime, guid};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_store::{FaultPoint, Faults};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::answer::ResultTable;
use crate::error::{Error, Fault, Result};
use crate::external::External;

pub use file::{FileEncoder, FileFormat};
pub(crate) use text::cell_text;

/// The setting that names directories.
const SETTING: &str = "export_directories";

/// The format of exported files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportFormat {
    Csv,
    Tsv,
    Json,
    Parquet,
}

impl ExportFormat {
    /// The format of a name, if files can be written in it.
    pub(crate) fn parse(name: &str) -> Option<ExportFormat> {
        Some(match name.to_ascii_lowercase().as_str() {
            "csv" => ExportFormat::Csv,
            "tsv" => ExportFormat::Tsv,
            "json" | "multijson" => ExportFormat::Json,
            "parquet" => ExportFormat::Parquet,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Tsv => "tsv",
            ExportFormat::Json => "json",
            ExportFormat::Parquet => "parquet",
        }
    }
}

/// Which files have a line of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    None,
    FirstFile,
    All,
}

/// How files are written.
#[derive(Clone, Debug)]
pub(crate) struct ExportOptions {
    pub format: ExportFormat,
    /// gzip for text; Parquet always compresses.
    pub compressed: bool,
    /// Of Parquet files.
    pub compression: String,
    pub headers: Headers,
    /// `namePrefix`; something random without one.
    pub prefix: Option<String>,
    /// `fileExtension` with its dot.
    pub extension: Option<String>,
    /// A byte order mark.
    pub mark: bool,
    /// Bytes before compression after which a new file begins.
    pub size_limit: u64,
    pub row_group_rows: usize,
    /// Datetimes of Parquet in microseconds, not milliseconds.
    pub microseconds: bool,
}

/// A file that has been written.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub path: String,
    pub rows: u64,
}

/// A directory, made if it is missing, if it lies below an allowed one.
fn directory(allowed: &[PathBuf], uri: &str) -> Result<PathBuf> {
    let path = uri;
    let refused = || {
        Error::new(
            Fault::Forbidden,
            format!("'{path}' cannot be written to: it is in none of the directories of setting '{SETTING}'"),
        )
    };
    let path = Path::new(path);
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(refused());
    }
    // The deepest part that exists tells where links lead; what is missing below it has none.
    let existing = path.ancestors().find(|part| part.exists()).ok_or_else(refused)?;
    let real = existing.canonicalize().map_err(|_| refused())?;
    let inside = allowed.iter().filter_map(|directory| directory.canonicalize().ok());
    if !inside.into_iter().any(|directory| real.starts_with(directory)) {
        return Err(refused());
    }
    let rest = path.strip_prefix(existing).map_err(|_| refused())?;
    let real = real.join(rest);
    std::fs::create_dir_all(&real).map_err(|error| failed(&real, error))?;
    Ok(real)
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(Fault::BadRequest, format!("'{}' cannot be written: {error}", path.display()))
}

/// Batches on their way to the thread that writes.
const QUEUED_BATCHES: usize = 4;

/// Folders whose files are open at once.
const MAX_OPEN_FOLDERS: usize = 200;

/// Writes all rows of a result into files of a place, in folders by the layout where there is one, and tells the files.
pub(crate) async fn write(
    external: &Arc<External>,
    destination: &Destination,
    mut result: ResultTable,
    options: ExportOptions,
    layout: Option<Layout>,
) -> Result<Vec<Artifact>> {
    let (directory, staging) = destination.staging(external)?;
    let schema = result.schema.clone();
    let (sender, mut receiver) = mpsc::channel::<Option<RecordBatch>>(QUEUED_BATCHES);
    let root = directory.clone();
    let faults = external.faults().clone();
    let marks = unnamed::Marks::of(external);
    let writing = tokio::task::spawn_blocking(move || {
        let mut files = Folders { root, schema, options, layout, faults, marks, open: Vec::new(), done: Vec::new() };
        while let Some(message) = receiver.blocking_recv() {
            match message {
                Some(batch) => files.write(&batch)?,
                None => return files.finish(),
            }
        }
        // The query failed or was cancelled: nothing is kept.
        files.discard();
        Ok(Vec::new())
    });
    let mut failure = None;
    while let Some(batch) = result.rows.next().await {
        match batch {
            Ok(batch) => {
                if sender.send(Some(batch)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if failure.is_none() {
        // A writer that is gone tells why below.
        let _ = sender.send(None).await;
    }
    drop(sender);
    let written = writing.await.map_err(|_| Error::internal("writing an export panicked"))?;
    let artifacts = match failure {
        Some(error) => return Err(error),
        None => destination.deliver(external, &directory, written?).await?,
    };
    drop(staging);
    Ok(artifacts)
}

/// The files of an export by folder; without a layout there is one folder.
struct Folders {
    root: PathBuf,
    schema: TableSchema,
    options: ExportOptions,
    layout: Option<Layout>,
    faults: Faults,
    marks: unnamed::Marks,
    /// Those that rows came for last stand last.
    open: Vec<(String, Files)>,
    done: Vec<Artifact>,
}

impl Folders {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let outcome = self.write_rows(batch);
        if outcome.is_err() {
            self.discard();
        }
        outcome
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let parts = match &self.layout {
            None => vec![(String::new(), batch.clone())],
            Some(layout) => layout.split(&self.schema, batch)?,
        };
        for (folder, rows) in parts {
            let mut entry = match self.open.iter().position(|(known, _)| *known == folder) {
                Some(at) => self.open.remove(at),
                None => {
                    if self.open.len() >= MAX_OPEN_FOLDERS {
                        let (_, longest_unused) = self.open.remove(0);
                        self.done.extend(longest_unused.finish()?);
                    }
                    (folder.clone(), self.folder(&folder)?)
                }
            };
            let outcome = entry.1.write(&rows);
            self.open.push(entry);
            outcome?;
        }
        Ok(())
    }

    fn folder(&self, folder: &str) -> Result<Files> {
        let schema = match &self.layout {
            Some(layout) => layout.schema(&self.schema),
            None => self.schema.clone(),
        };
        let mut directory = self.root.clone();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            // A path format is its author's; it leads nowhere else all the same.
            if matches!(part, "." | "..") {
                return Err(Error::bad_request(format!("'{folder}' is no folder of an external table")));
            }
            directory.push(part);
        }
        std::fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
        Ok(Files::new(directory, schema, self.options.clone(), self.faults.clone(), self.marks.clone()))
    }

    fn finish(mut self) -> Result<Vec<Artifact>> {
        while let Some((_, files)) = self.open.pop() {
            match files.finish() {
                Ok(done) => self.done.extend(done),
                Err(error) => {
                    self.discard();
                    return Err(error);
                }
            }
        }
        Ok(self.done)
    }

    /// Removes what this export has written.
    fn discard(&mut self) {
        for (_, mut files) in self.open.drain(..) {
            files.discard();
        }
        for artifact in self.done.drain(..) {
            // What cannot be removed is told nowhere as an artifact.
            let _ = std::fs::remove_file(&artifact.path);
        }
    }
}

/// The files of one export, one after the other.
struct Files {
    directory: PathBuf,
    schema: TableSchema,
    options: ExportOptions,
    faults: Faults,
    marks: unnamed::Marks,
    open: Option<Open>,
    done: Vec<Artifact>,
    paths: Vec<PathBuf>,
}

struct Open {
    /// The name that it will have.
    path: PathBuf,
    /// The name until then.
    hidden: PathBuf,
    rows: u64,
    bytes: u64,
    sink: Sink,
    /// Goes when the file has its name, or is gone.
    _mark: Option<unnamed::Mark>,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Files {
    fn new(
        directory: PathBuf,
        schema: TableSchema,
        options: ExportOptions,
        faults: Faults,
        marks: unnamed::Marks,
    ) -> Files {
        Files { directory, schema, options, faults, marks, open: None, done: Vec::new(), paths: Vec::new() }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let outcome = self.write_rows(batch);
        if outcome.is_err() {
            self.discard();
        }
        outcome
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let mut text = Vec::new();
        match self.options.format {
            ExportFormat::Csv => text::delimited(&self.schema, batch, b',', &mut text),
            ExportFormat::Tsv => text::delimited(&self.schema, batch, b'\t', &mut text),
            ExportFormat::Json => text::lines(&self.schema, batch, &mut text),
            ExportFormat::Parquet => {}
        }
        let io = |error: std::io::Error| failed(&open.path, error);
        match &mut open.sink {
            Sink::Plain(file) => file.write_all(&text).map_err(io)?,
            Sink::Gzip(file) => file.write_all(&text).map_err(io)?,
            Sink::Parquet(writer) => {
                let stored = stored(&self.schema, batch, self.options.microseconds)?;
                open.bytes += stored.get_array_memory_size() as u64;
                writer.write(&stored).map_err(|error| failed(&open.path, error))?;
            }
        }
        open.bytes += text.len() as u64;
        open.rows += batch.num_rows() as u64;
        let is_full = open.bytes >= self.options.size_limit;
        self.open = Some(open);
        if is_full { self.close() } else { Ok(()) }
    }

    fn create(&mut self) -> Result<Open> {
        let options = &self.options;
        let format = options.format;
        let extension = options.extension.clone().unwrap_or_else(|| format!(".{}", format.name()));
        let packed = options.compressed && format != ExportFormat::Parquet;
        let prefix = options.prefix.clone().unwrap_or_else(|| "export".to_string());
        let name = format!(
            "{prefix}_{}_{}{extension}{}",
            self.done.len() + 1,
            Uuid::new_v4().simple(),
            if packed { ".gz" } else { "" }
        );
        let hidden = self.directory.join(format!(".{name}.part"));
        let path = self.directory.join(name);
        let mark = self.marks.note(&hidden);
        let file = File::options().write(true).create_new(true).open(&hidden).map_err(|error| failed(&path, error))?;
        self.paths.push(hidden.clone());
        self.paths.push(path.clone());
        let mut head = Vec::new();
        if options.mark && format != ExportFormat::Parquet {
            head.extend_from_slice("\u{feff}".as_bytes());
        }
        let delimiter = match format {
            ExportFormat::Csv => Some(b','),
            ExportFormat::Tsv => Some(b'\t'),
            ExportFormat::Json | ExportFormat::Parquet => None,
        };
        let has_header = match options.headers {
            Headers::None => false,
            Headers::FirstFile => self.done.is_empty(),
            Headers::All => true,
        };
        if let Some(delimiter) = delimiter.filter(|_| has_header) {
            text::header(&self.schema, delimiter, &mut head);
        }
        let io = |error: std::io::Error| failed(&path, error);
        let sink = match format {
            ExportFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(compression(&options.compression)?)
                    .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
                    .build();
                let schema = stored_schema(&self.schema, options.microseconds);
                let writer = ArrowWriter::try_new(file, schema, Some(properties));
                Sink::Parquet(Box::new(writer.map_err(|error| failed(&path, error))?))
            }
            _ if packed => {
                let mut sink = GzEncoder::new(BufWriter::new(file), flate2::Compression::default());
                sink.write_all(&head).map_err(io)?;
                Sink::Gzip(Box::new(sink))
            }
            _ => {
                let mut sink = BufWriter::new(file);
                sink.write_all(&head).map_err(io)?;
                Sink::Plain(sink)
            }
        };
        Ok(Open { path, hidden, rows: 0, bytes: 0, sink, _mark: mark })
    }

    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let path = open.path.clone();
        let io = |error: std::io::Error| failed(&path, error);
        let file = match open.sink {
            Sink::Plain(file) => file.into_inner().map_err(|error| io(error.into_error()))?,
            Sink::Gzip(file) => {
                let file = file.finish().map_err(io)?;
                file.into_inner().map_err(|error| io(error.into_error()))?
            }
            Sink::Parquet(writer) => writer.into_inner().map_err(|error| failed(&open.path, error))?,
        };
        file.sync_all().map_err(io)?;
        // Nobody has its name: it is random.
        let named = self.faults.at(FaultPoint::Export).and_then(|()| std::fs::rename(&open.hidden, &open.path));
        named.and_then(|()| File::open(&self.directory)?.sync_all()).map_err(io)?;
        self.done.push(Artifact { path: open.path.display().to_string(), rows: open.rows });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Artifact>> {
        match self.close() {
            Ok(()) => Ok(self.done),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Removes what this export has written.
    fn discard(&mut self) {
        self.open = None;
        for path in self.paths.drain(..) {
            // What cannot be removed is told nowhere as an artifact.
            let _ = std::fs::remove_file(path);
        }
        self.done.clear();
    }
}

fn compression(name: &str) -> Result<Compression> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "gzip" => Compression::GZIP(GzipLevel::default()),
        "snappy" => Compression::SNAPPY,
        "lz4_raw" => Compression::LZ4_RAW,
        "zstd" => Compression::ZSTD(ZstdLevel::default()),
        "none" => Compression::UNCOMPRESSED,
        other => return Err(Error::not_served(format!("the compression type '{other}' of exports"))),
    })
}

fn stored_schema(schema: &TableSchema, microseconds: bool) -> SchemaRef {
    let unit = if microseconds { TimeUnit::Microsecond } else { TimeUnit::Millisecond };
    let fields: Vec<Field> = schema
        .columns
        .iter()
        .map(|column| {
            let ty = match column.ty {
                KqlType::Bool => DataType::Boolean,
                KqlType::Int => DataType::Int32,
                KqlType::Long | KqlType::TimeSpan => DataType::Int64,
                KqlType::Real => DataType::Float64,
                KqlType::DateTime => DataType::Timestamp(unit, Some("UTC".into())),
                KqlType::String | KqlType::Dynamic | KqlType::Guid | KqlType::Decimal => DataType::Utf8,
            };
            Field::new(&column.name, ty, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The rows in the types that other engines know: datetimes as timestamps, timespans as ticks, guids and decimals as text.
fn stored(schema: &TableSchema, batch: &RecordBatch, microseconds: bool) -> Result<RecordBatch> {
    let stored = stored_schema(schema, microseconds);
    let columns = schema.columns.iter().zip(batch.columns()).map(|(column, array)| -> Result<ArrayRef> {
        let ticks = || array.as_primitive::<Int64Type>();
        Ok(match column.ty {
            KqlType::Bool | KqlType::Int | KqlType::Long | KqlType::Real => Arc::clone(array),
            KqlType::TimeSpan => Arc::new(ticks().iter().collect::<Int64Array>()),
            KqlType::DateTime => {
                let unix = |ticks: i64| (ticks - datetime::UNIX_EPOCH_TICKS).div_euclid(10);
                let micros: TimestampMicrosecondArray = ticks().iter().map(|ticks| ticks.map(unix)).collect();
                let array: ArrayRef = Arc::new(micros.with_timezone("UTC"));
                let unit = if microseconds { TimeUnit::Microsecond } else { TimeUnit::Millisecond };
                let ty = DataType::Timestamp(unit, Some("UTC".into()));
                arrow::compute::cast(&array, &ty).map_err(|error| Error::internal(error.to_string()))?
            }
            KqlType::String | KqlType::Dynamic => {
                arrow::compute::cast(array, &DataType::Utf8).map_err(|error| Error::internal(error.to_string()))?
            }
            KqlType::Guid | KqlType::Decimal => {
                let mut texts = StringBuilder::new();
                for row in 0..array.len() {
                    let bytes: Option<[u8; 16]> = match array.is_null(row) {
                        true => None,
                        false => array.as_fixed_size_binary().value(row).try_into().ok(),
                    };
                    texts.append_option(bytes.map(|bytes| match column.ty {
                        KqlType::Guid => guid::to_text(&bytes),
                        _ => Decimal::from_bytes(bytes).to_text(),
                    }));
                }
                Arc::new(texts.finish())
            }
        })
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    RecordBatch::try_new(stored, columns).map_err(|error| Error::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_below_allowed_ones_are_written_to() {
        let root = tempfile::tempdir().unwrap();
        let allowed = [root.path().join("out")];
        std::fs::create_dir(&allowed[0]).unwrap();
        let below = root.path().join("out/deep/er");
        assert!(directory(&allowed, below.to_str().unwrap()).is_ok());
        assert!(below.is_dir());
        for refused in ["other", "out/../other", ""] {
            assert!(directory(&allowed, root.path().join(refused).to_str().unwrap()).is_err(), "{refused}");
        }
        assert!(directory(&allowed, "relative").is_err());
        assert!(directory(&[], below.to_str().unwrap()).is_err());
    }
}
