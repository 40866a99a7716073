//! The rows of one result as one file that is written as they come, for whoever asked for it.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use parking_lot::Mutex;
use tidewater_kql::TableSchema;

use super::{stored, stored_schema, text};
use crate::error::{Error, Result};

/// Rows of a group of a Parquet file.
const GROUP_ROWS: usize = 256 * 1024;
/// Bytes of a group that wait in memory until it is written.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// RFC 4180 with a line of names.
    Csv,
    /// The same with tabs.
    Tsv,
    /// An array of objects.
    Json,
    /// An object a line.
    JsonLines,
    /// Parquet in the types that other engines know.
    Parquet,
}

impl FileFormat {
    /// By name, in any case.
    pub fn parse(name: &str) -> Option<FileFormat> {
        Some(match name.to_ascii_lowercase().as_str() {
            "csv" => FileFormat::Csv,
            "tsv" => FileFormat::Tsv,
            "json" => FileFormat::Json,
            "jsonl" | "ndjson" => FileFormat::JsonLines,
            "parquet" => FileFormat::Parquet,
            _ => return None,
        })
    }
}

/// Bytes that an encoder has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes batches as a file, whose bytes are taken out between them.
pub struct FileEncoder {
    schema: TableSchema,
    form: Form,
}

enum Form {
    Delimited(u8, Vec<u8>),
    Json { out: Vec<u8>, begun: bool },
    JsonLines(Vec<u8>),
    Parquet(Box<ArrowWriter<Shared>>, Shared),
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("the file cannot be written: {error}"))
}

impl FileEncoder {
    /// A file without rows so far.
    ///
    /// *Errors*: columns that the format cannot have.
    pub fn new(format: FileFormat, schema: TableSchema) -> Result<FileEncoder> {
        let delimited = |delimiter: u8| {
            let mut out = Vec::new();
            text::header(&schema, delimiter, &mut out);
            Form::Delimited(delimiter, out)
        };
        let form = match format {
            FileFormat::Csv => delimited(b','),
            FileFormat::Tsv => delimited(b'\t'),
            FileFormat::Json => Form::Json { out: b"[".to_vec(), begun: false },
            FileFormat::JsonLines => Form::JsonLines(Vec::new()),
            FileFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                let shared = Shared::default();
                let writer = ArrowWriter::try_new(shared.clone(), stored_schema(&schema, true), Some(properties));
                Form::Parquet(Box::new(writer.map_err(broken)?), shared)
            }
        };
        Ok(FileEncoder { schema, form })
    }

    /// Takes rows in.
    ///
    /// *Errors*: ours only.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.form {
            Form::Delimited(delimiter, out) => text::delimited(&self.schema, batch, *delimiter, out),
            Form::JsonLines(out) => text::lines(&self.schema, batch, out),
            Form::Json { out, begun } => {
                for row in 0..batch.num_rows() {
                    out.extend_from_slice(if *begun { b",\n" } else { b"\n" });
                    *begun = true;
                    text::object(&self.schema, batch, row, out);
                }
            }
            Form::Parquet(writer, _) => {
                writer.write(&stored(&self.schema, batch, true)?).map_err(broken)?;
                if writer.in_progress_size() > GROUP_BYTES {
                    writer.flush().map_err(broken)?;
                }
            }
        }
        Ok(())
    }

    /// Moves the bytes that are ready to `out`.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Delimited(_, ready) | Form::Json { out: ready, .. } | Form::JsonLines(ready) => out.append(ready),
            Form::Parquet(_, shared) => out.append(&mut shared.0.lock()),
        }
    }

    /// Ends the file and moves its last bytes to `out`.
    ///
    /// *Errors*: ours only.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Form::Json { out: ready, .. } = &mut self.form {
            ready.extend_from_slice(b"\n]\n");
        }
        match self.form {
            Form::Parquet(writer, shared) => {
                writer.close().map_err(broken)?;
                out.append(&mut shared.0.lock());
            }
            Form::Delimited(_, ready) | Form::Json { out: ready, .. } | Form::JsonLines(ready) => out.extend(ready),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use tidewater_kql::{Column, KqlType};

    use super::*;

    fn written(format: FileFormat, batches: usize) -> Vec<u8> {
        let schema = TableSchema::new(vec![Column::new("n", KqlType::Long), Column::new("t", KqlType::DateTime)]);
        let column = || Arc::new(Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_new(schema.arrow(), vec![column(), column()]).unwrap();
        let mut encoder = FileEncoder::new(format, schema).unwrap();
        let mut out = Vec::new();
        for _ in 0..batches {
            encoder.write(&batch).unwrap();
            encoder.take(&mut out);
        }
        encoder.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn files_are_whole_with_and_without_rows() {
        let text = |format, batches| String::from_utf8(written(format, batches)).unwrap();
        assert_eq!(text(FileFormat::Csv, 0), "n,t\r\n");
        assert_eq!(text(FileFormat::Csv, 1), "n,t\r\n1,0001-01-01T00:00:00.0000001Z\r\n,\r\n");
        assert_eq!(text(FileFormat::Json, 0), "[\n]\n");
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&written(FileFormat::Json, 2)).unwrap();
        assert_eq!((rows.len(), &rows[3]["n"]), (4, &serde_json::Value::Null));
        assert_eq!(text(FileFormat::JsonLines, 1).lines().count(), 2);
    }

    #[test]
    fn parquet_is_read_back() {
        use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let bytes = bytes::Bytes::from(written(FileFormat::Parquet, 3));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 6);
    }
}
