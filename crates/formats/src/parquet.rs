//! Parquet files: their batches and their schema.

use std::io::Read;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use tidewater_kql::TableSchema;

use crate::DecodeOptions;
use crate::columnar::{ColumnarRecords, cells_or_names, guarded, guarded_batches, kql_schema, wanted};
use crate::error::Error;
use crate::format::Compression;
use crate::input::Input;
use crate::mapping::Cell;

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Input(format!("not a readable Parquet file: {error}"))
}

/// The bytes or file below, decompressed when wrapped.
pub(crate) enum Chunks {
    Bytes(Bytes),
    File(std::fs::File),
}

pub(crate) fn chunks(input: Input, compression: Compression) -> Result<Chunks, Error> {
    match (input, compression) {
        (Input::Bytes(bytes), Compression::None) => Ok(Chunks::Bytes(bytes)),
        (Input::File(file), Compression::None) => Ok(Chunks::File(file)),
        (input, _) => {
            let mut all = Vec::new();
            input.reader(compression)?.read_to_end(&mut all).map_err(|error| crate::input::read_error(&error, 0))?;
            Ok(Chunks::Bytes(all.into()))
        }
    }
}

pub(crate) fn open(
    input: Input,
    schema: &TableSchema,
    options: &DecodeOptions,
    mapping: Option<Vec<Cell>>,
) -> Result<ColumnarRecords, Error> {
    let cells = cells_or_names(schema, mapping);
    let reader = guarded("Parquet", || match chunks(input, options.compression)? {
        Chunks::Bytes(bytes) => build(bytes, &cells, options.batch_rows),
        Chunks::File(file) => build(file, &cells, options.batch_rows),
    })?;
    let batches = guarded_batches("Parquet", reader.map(|batch| batch.map_err(broken)));
    Ok(ColumnarRecords::new(batches, schema, options, cells))
}

fn build<T: ChunkReader + 'static>(
    input: T,
    cells: &[Cell],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, Error> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(broken)?;
    let names = wanted(cells);
    let is_wanted = |name: &String| names.as_ref().is_none_or(|names| names.contains(name));
    let fields = builder.schema().fields().iter().enumerate();
    let wanted: Vec<usize> = fields.filter(|(_, field)| is_wanted(field.name())).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(broken)
}

/// The KQL columns of a file's schema.
pub(crate) fn infer(input: Input, compression: Compression) -> Result<TableSchema, Error> {
    guarded("Parquet", || {
        let schema = match chunks(input, compression)? {
            Chunks::Bytes(bytes) => ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(broken)?.schema().clone(),
            Chunks::File(file) => ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?.schema().clone(),
        };
        Ok(kql_schema(&schema))
    })
}
