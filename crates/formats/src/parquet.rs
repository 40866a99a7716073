//! Parquet files: columns matched by name, values converted to the engine's types.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use tidewater_kql::value::datetime::{MAX_TICKS, MIN_TICKS, UNIX_EPOCH_TICKS};
use tidewater_kql::{KqlType, TableSchema};

use crate::column::Columns;
use crate::error::Error;
use crate::format::Compression;
use crate::input::Input;
use crate::mapping::{PathStep, Source};
use crate::reject::Rejects;
use crate::{DecodeOptions, Records};

pub(crate) struct ParquetRecords {
    reader: ParquetRecordBatchReader,
    schema: TableSchema,
    sources: Vec<Option<Source>>,
    record: u64,
}

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

impl ParquetRecords {
    pub(crate) fn open(
        input: Input,
        schema: &TableSchema,
        options: &DecodeOptions,
        mapping: Option<Vec<Option<Source>>>,
    ) -> Result<Self, Error> {
        let by_name = || schema.columns.iter().map(|column| Some(Source::Field(column.name.clone()))).collect();
        let sources: Vec<Option<Source>> = mapping.unwrap_or_else(by_name);
        let reader = match chunks(input, options.compression)? {
            Chunks::Bytes(bytes) => build(bytes, &sources, options.batch_rows)?,
            Chunks::File(file) => build(file, &sources, options.batch_rows)?,
        };
        Ok(Self { reader, schema: schema.clone(), sources, record: 0 })
    }
}

fn field_of(source: &Source) -> Option<&str> {
    match source {
        Source::Field(name) => Some(name),
        Source::Path(steps) => match steps.as_slice() {
            [PathStep::Key(name)] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn build<T: ChunkReader + 'static>(
    input: T,
    sources: &[Option<Source>],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, Error> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(broken)?;
    let wanted: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| sources.iter().flatten().any(|source| field_of(source) == Some(field.name())))
        .map(|(at, _)| at)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(broken)
}

impl Records for ParquetRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(broken)?;
        let mut arrays = Vec::with_capacity(self.schema.columns.len());
        for (column, source) in self.schema.columns.iter().zip(&self.sources) {
            let array = match source {
                Some(Source::Constant(text)) => {
                    let one = TableSchema::new(vec![column.clone()]);
                    let mut builder = Columns::new(&one, batch.num_rows());
                    for row in 0..batch.num_rows() {
                        builder.push_text(0, text, self.record + row as u64 + 1, rejects);
                    }
                    builder.finish()?.column(0).clone()
                }
                Some(source) => match field_of(source).and_then(|name| batch.column_by_name(name)) {
                    Some(found) => to_engine(found, column.ty, &column.name, self.record, rejects)?,
                    None => nulls(column.ty, batch.num_rows()),
                },
                None => nulls(column.ty, batch.num_rows()),
            };
            arrays.push(array);
        }
        self.record += batch.num_rows() as u64;
        Ok(Some(RecordBatch::try_new(self.schema.arrow(), arrays)?))
    }
}

fn nulls(ty: KqlType, rows: usize) -> ArrayRef {
    if ty != KqlType::String {
        return new_null_array(&ty.arrow(), rows);
    }
    let mut builder = StringViewBuilder::with_capacity(rows);
    (0..rows).for_each(|_| builder.append_value(""));
    Arc::new(builder.finish())
}

/// Converts a file's column to a KQL type. Values without a counterpart become null and are counted.
fn to_engine(array: &ArrayRef, ty: KqlType, name: &str, record: u64, rejects: &mut Rejects) -> Result<ArrayRef, Error> {
    let array = match array.data_type() {
        DataType::Dictionary(_, value) => &cast_with_options(array, value, &SAFE)?,
        _ => array,
    };
    let converted = match (array.data_type(), ty) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
            return from_texts(&cast_with_options(array, &DataType::Utf8View, &SAFE)?, ty, name, record, rejects);
        }
        (from, KqlType::DateTime)
            if from.is_temporal() && !matches!(from, DataType::Time32(_) | DataType::Time64(_)) =>
        {
            ticks_since_year_one(array)?
        }
        (from, KqlType::TimeSpan) if from.is_temporal() => {
            let nanoseconds = cast_with_options(array, &DataType::Duration(TimeUnit::Nanosecond), &SAFE)
                .or_else(|_| cast_with_options(array, &DataType::Time64(TimeUnit::Nanosecond), &SAFE))?;
            let raw = cast_with_options(&nanoseconds, &DataType::Int64, &SAFE)?;
            Arc::new(raw.as_primitive::<Int64Type>().unary::<_, Int64Type>(|value| value.div_euclid(100)))
        }
        (from, KqlType::Decimal) if from.is_numeric() => {
            let texts = cast_with_options(array, &DataType::Utf8View, &SAFE)?;
            return from_texts(&texts, ty, name, record, rejects);
        }
        (DataType::FixedSizeBinary(16), KqlType::Guid) => array.clone(),
        (from, KqlType::Dynamic) if from.is_nested() => json_texts(array)?,
        (_, KqlType::String | KqlType::Dynamic | KqlType::Guid) => {
            let texts = if array.data_type().is_nested() {
                json_texts(array)?
            } else {
                cast_with_options(array, &DataType::Utf8View, &SAFE)?
            };
            return from_texts(&texts, ty, name, record, rejects);
        }
        (_, _) => match cast_with_options(array, &ty.arrow(), &SAFE) {
            Ok(done) => done,
            Err(_) => nulls(ty, array.len()),
        },
    };
    for row in 0..array.len() {
        if array.is_valid(row) && converted.is_null(row) {
            rejects.add(record + row as u64 + 1, name, &format!("a {} value", array.data_type()), ty);
        }
    }
    Ok(converted)
}

const SAFE: CastOptions<'static> =
    CastOptions { safe: true, format_options: arrow::util::display::FormatOptions::new() };

fn ticks_since_year_one(array: &ArrayRef) -> Result<ArrayRef, Error> {
    // Nanoseconds keep the tick; they reach only to 1677..2262, so coarser units go through microseconds.
    let ticks = |value: i64| Some(value).filter(|ticks| (MIN_TICKS..=MAX_TICKS).contains(ticks));
    if let DataType::Timestamp(TimeUnit::Nanosecond, _) = array.data_type() {
        let values = array.as_primitive::<TimestampNanosecondType>();
        return Ok(Arc::new(values.unary_opt::<_, Int64Type>(|value| ticks(value.div_euclid(100) + UNIX_EPOCH_TICKS))));
    }
    let micros = cast_with_options(array, &DataType::Timestamp(TimeUnit::Microsecond, None), &SAFE)?;
    let values = micros.as_primitive::<TimestampMicrosecondType>();
    Ok(Arc::new(values.unary_opt::<_, Int64Type>(|value| {
        value.checked_mul(10).and_then(|value| value.checked_add(UNIX_EPOCH_TICKS)).and_then(ticks)
    })))
}

fn from_texts(
    texts: &ArrayRef,
    ty: KqlType,
    name: &str,
    record: u64,
    rejects: &mut Rejects,
) -> Result<ArrayRef, Error> {
    let texts = texts.as_string_view();
    let one = TableSchema::new(vec![tidewater_kql::Column::new(name, ty)]);
    let mut builder = Columns::new(&one, texts.len());
    for (row, text) in texts.iter().enumerate() {
        match text {
            Some(text) => builder.push_text(0, text, record + row as u64 + 1, rejects),
            None => builder.push_null(0),
        }
    }
    Ok(builder.finish()?.column(0).clone())
}

/// Lists, structs and maps as JSON texts.
fn json_texts(array: &ArrayRef) -> Result<ArrayRef, Error> {
    let field = Arc::new(arrow::datatypes::Field::new("v", array.data_type().clone(), true));
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![array.clone()])?;
    let mut writer = arrow::json::writer::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner()).map_err(|error| Error::Internal(error.to_string()))?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    for line in text.lines() {
        // Each line is {"v":...}.
        match line.get(5..line.len().saturating_sub(1)) {
            Some("null") | None => builder.append_null(),
            Some(value) => builder.append_value(value),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The KQL columns of a file's schema.
pub(crate) fn infer(input: Input, compression: Compression) -> Result<TableSchema, Error> {
    let schema = match chunks(input, compression)? {
        Chunks::Bytes(bytes) => ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(broken)?.schema().clone(),
        Chunks::File(file) => ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?.schema().clone(),
    };
    let plain = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, value) => arrow::datatypes::Field::new(field.name(), (**value).clone(), true),
        _ => field.as_ref().clone(),
    });
    TableSchema::of_arrow(&arrow::datatypes::Schema::new(plain.collect::<Vec<_>>())).map_err(Error::Input)
}

/// Brings a batch of ordinary Arrow columns, matched by position, to the engine's types. Values
/// without a counterpart become null and are counted.
///
/// *Errors*: a batch with another number of columns than the schema.
pub fn engine_batch(batch: &RecordBatch, schema: &TableSchema, rejects: &mut Rejects) -> Result<RecordBatch, Error> {
    if batch.num_columns() != schema.columns.len() {
        let (found, expected) = (batch.num_columns(), schema.columns.len());
        return Err(Error::Internal(format!("found {found} columns, expected {expected}")));
    }
    let columns = batch.columns().iter().zip(&schema.columns);
    let arrays = columns.map(|(array, column)| to_engine(array, column.ty, &column.name, 0, rejects));
    Ok(RecordBatch::try_new(schema.arrow(), arrays.collect::<Result<_, _>>()?)?)
}
