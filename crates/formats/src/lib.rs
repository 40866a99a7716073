//! Ingestion formats: bytes in, record batches out.
//!
//! Input: the bytes of a file or request body with a format's name, the table's schema and an
//! optional mapping. Output: batches in the engine's types (`TableSchema::arrow`), a count of the
//! values that did not fit their column, or a schema inferred from a sample. Nothing here knows
//! tables, commits or HTTP. Memory is bounded by the batch and record limits.

mod arrow_json;
mod avro;
mod avro_blocks;
mod column;
mod columnar;
mod delimited;
mod error;
mod format;
mod infer;
mod input;
mod json;
mod mapping;
mod orc;
mod packed;
mod parquet;
mod reject;
mod text;
mod transform;
mod w3c;

use arrow::record_batch::RecordBatch;
use tidewater_kql::TableSchema;

pub use columnar::engine_batch;
pub use error::Error;
pub use format::{Compression, Format};
pub use infer::{Inferred, infer_schema};
pub use input::Input;
pub use mapping::{Mapping, MappingColumn, PathStep, Source, Transform};
pub use reject::{Reject, Rejects};

/// How to read the bytes.
#[derive(Clone, Debug)]
pub struct DecodeOptions {
    /// The format of the decompressed bytes.
    pub format: Format,
    /// The compression around them.
    pub compression: Compression,
    /// Leave out the first record (a header) of delimited text.
    pub ignore_first_record: bool,
    /// The name of the file, for mappings that ask for it.
    pub location: String,
    /// Where each column's value comes from; without one, by position (delimited text) or by name.
    pub mapping: Option<Mapping>,
    /// Rows per batch.
    pub batch_rows: usize,
    /// Largest record in bytes; a larger one is an error that names it.
    pub max_record_bytes: usize,
}

impl DecodeOptions {
    /// Defaults for a format: no compression, no mapping, 8,192 rows per batch, records up to 64 MiB.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            compression: Compression::None,
            ignore_first_record: false,
            location: String::new(),
            mapping: None,
            batch_rows: 8192,
            max_record_bytes: 64 << 20,
        }
    }
}

/// A format's reader.
trait Records: Send {
    /// The next batch of at most `batch_rows` rows; `None` at the end.
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error>;
}

/// The batches of an input. Stops after its first error.
pub struct Decoder {
    records: Box<dyn Records>,
    rejects: Rejects,
    finished: bool,
}

impl Decoder {
    /// The values that did not fit their column so far.
    pub fn rejects(&self) -> &Rejects {
        &self.rejects
    }
}

impl Iterator for Decoder {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let item = self.records.next_batch(&mut self.rejects).transpose();
        self.finished = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Opens the input for reading into batches of `schema`.
///
/// *Errors*: a format that is not served, a mapping that names an unknown column or does not suit
/// the format, an input whose head cannot be read. Faults further in come from the iterator.
pub fn decode(input: Input, schema: &TableSchema, options: DecodeOptions) -> Result<Decoder, Error> {
    let mapping = options.mapping.as_ref().map(|mapping| mapping.resolve(schema, options.format)).transpose()?;
    let records: Box<dyn Records> = match options.format {
        Format::Csv | Format::Tsv | Format::Tsve | Format::Psv | Format::Scsv | Format::Sohsv => {
            Box::new(delimited::DelimitedRecords::open(input, schema, &options, mapping)?)
        }
        Format::Txt | Format::Raw => Box::new(text::TextRecords::open(input, schema, &options, mapping)?),
        Format::Json | Format::MultiJson => Box::new(json::JsonRecords::open(input, schema, &options, mapping)?),
        Format::Parquet => Box::new(parquet::open(input, schema, &options, mapping)?),
        Format::Avro | Format::ApacheAvro => Box::new(avro::open(input, schema, &options, mapping)?),
        Format::Orc => Box::new(orc::open(input, schema, &options, mapping)?),
        Format::W3cLogFile => Box::new(w3c::W3cRecords::open(input, schema, &options, mapping)?),
    };
    Ok(Decoder { records, rejects: Rejects::default(), finished: false })
}
