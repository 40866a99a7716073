//! Avro container files. Both of Kusto's names for them are read alike: records by their own schema, logical types,
//! every codec of the documentation. Source: ingestion-supported-formats page, avro-mapping page.

use std::io::{BufRead, BufReader};

use arrow_avro::reader::{Reader, ReaderBuilder};
use tidewater_kql::TableSchema;

use crate::DecodeOptions;
use crate::avro_blocks::Unpacked;
use crate::columnar::{ColumnarRecords, cells_or_names, guarded, guarded_batches, kql_schema};
use crate::error::Error;
use crate::format::Compression;
use crate::input::Input;
use crate::mapping::Cell;

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Input(format!("not a readable Avro file: {error}"))
}

fn reader(input: Input, compression: Compression, batch_rows: usize) -> Result<Reader<Box<dyn BufRead + Send>>, Error> {
    guarded("Avro", || {
        let bytes = Unpacked::new(input.reader(compression)?);
        let bytes: Box<dyn BufRead + Send> = Box::new(BufReader::new(bytes));
        ReaderBuilder::new().with_batch_size(batch_rows).build(bytes).map_err(broken)
    })
}

pub(crate) fn open(
    input: Input,
    schema: &TableSchema,
    options: &DecodeOptions,
    mapping: Option<Vec<Cell>>,
) -> Result<ColumnarRecords, Error> {
    let reader = reader(input, options.compression, options.batch_rows)?;
    let batches = guarded_batches("Avro", reader.map(|batch| batch.map_err(broken)));
    Ok(ColumnarRecords::new(batches, schema, options, cells_or_names(schema, mapping)))
}

/// The KQL columns of a file's schema.
pub(crate) fn infer(input: Input, compression: Compression) -> Result<TableSchema, Error> {
    Ok(kql_schema(&reader(input, compression, 1)?.schema()))
}
