//! Files of columns (Parquet, ORC) and of typed records (Avro), which their readers hand over as Arrow batches: columns
//! are matched by name or by a mapping, and their values converted to the engine's types.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, StructArray, make_array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tidewater_kql::value::datetime::{MAX_TICKS, MIN_TICKS, UNIX_EPOCH_TICKS};
use tidewater_kql::{Column, KqlType, TableSchema};

use crate::arrow_json::write_value;
use crate::column::{Columns, JsonValue};
use crate::error::Error;
use crate::json::at_path;
use crate::mapping::{Cell, PathStep, Source, Transform};
use crate::reject::Rejects;
use crate::transform::Place;
use crate::{DecodeOptions, Records};

/// What a format's reader gives.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>;

/// Batches of a file on their way to a table's columns.
pub(crate) struct ColumnarRecords {
    batches: Batches,
    schema: TableSchema,
    cells: Vec<Cell>,
    location: String,
    record: u64,
}

/// How the columns of a table are filled: by the mapping, or from the columns of the same names.
pub(crate) fn cells_or_names(schema: &TableSchema, mapping: Option<Vec<Cell>>) -> Vec<Cell> {
    let by_name = || schema.columns.iter().map(|column| Cell::of(Source::Field(column.name.clone()))).collect();
    mapping.unwrap_or_else(by_name)
}

/// The columns of a file that the cells read; `None` for all of them.
pub(crate) fn wanted(cells: &[Cell]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for path in cells.iter().filter_map(Cell::path) {
        match path.into_iter().next() {
            Some(PathStep::Key(name)) => names.push(name),
            // The whole record, or an index that no record has.
            _ => return None,
        }
    }
    Some(names)
}

impl ColumnarRecords {
    pub(crate) fn new(batches: Batches, schema: &TableSchema, options: &DecodeOptions, cells: Vec<Cell>) -> Self {
        Self { batches, schema: schema.clone(), cells, location: options.location.clone(), record: 0 }
    }

    fn column(
        &self,
        batch: &RecordBatch,
        column: &Column,
        cell: &Cell,
        rejects: &mut Rejects,
    ) -> Result<ArrayRef, Error> {
        let rows = batch.num_rows();
        let place = |row: usize| Place { location: &self.location, record: self.record + row as u64 + 1 };
        let one = || Columns::new(&TableSchema::new(vec![column.clone()]), rows);
        let Some(path) = cell.path() else {
            let text = match &cell.source {
                Source::Constant(text) => text.as_str(),
                _ => "",
            };
            if text.is_empty() && cell.transform.is_none() {
                return Ok(nulls(column.ty, rows));
            }
            let mut builder = one();
            for row in 0..rows {
                builder.put_text(0, cell, text, place(row), rejects);
            }
            return Ok(builder.finish()?.column(0).clone());
        };
        let Some((found, rest)) = located(batch, &path)? else { return Ok(nulls(column.ty, rows)) };
        let is_moment = matches!(cell.transform, Some(Transform::DateTimeFromUnix(_)))
            && matches!(found.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        if rest.is_empty() && (cell.transform.is_none() || is_moment) {
            return to_engine(&found, column.ty, &column.name, self.record, rejects);
        }
        let mut builder = one();
        let mut text = String::new();
        for row in 0..rows {
            if let (Some(Transform::BytesAsBase64), true, Some(bytes)) =
                (cell.transform, rest.is_empty(), bytes_of(&found, row))
            {
                let encoded = BASE64_STANDARD.encode(bytes);
                builder.push_json(0, JsonValue::String(encoded.into()), place(row).record, rejects);
                continue;
            }
            text.clear();
            write_value(&found, row, &mut text);
            builder.put_json(0, cell, at_path(&text, rest).unwrap_or("null"), place(row), rejects);
        }
        Ok(builder.finish()?.column(0).clone())
    }
}

impl Records for ColumnarRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        // Readers may give batches without rows in between.
        let batch = loop {
            match self.batches.next() {
                None => return Ok(None),
                Some(batch) => {
                    let batch = batch?;
                    if batch.num_rows() > 0 {
                        break batch;
                    }
                }
            }
        };
        let mut arrays = Vec::with_capacity(self.schema.columns.len());
        for (column, cell) in self.schema.columns.iter().zip(&self.cells) {
            arrays.push(self.column(&batch, column, cell, rejects)?);
        }
        self.record += batch.num_rows() as u64;
        Ok(Some(RecordBatch::try_new(self.schema.arrow(), arrays)?))
    }
}

fn bytes_of(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => return None,
    })
}

/// The array at a path as far as structures go, and the steps that are left inside its values.
fn located<'p>(batch: &RecordBatch, path: &'p [PathStep]) -> Result<Option<(ArrayRef, &'p [PathStep])>, Error> {
    let mut found: ArrayRef = match path.first() {
        Some(PathStep::Key(name)) => match batch.column_by_name(name) {
            Some(column) => Arc::clone(column),
            None => return Ok(None),
        },
        Some(PathStep::Index(_)) => return Ok(None),
        None => return Ok(Some((Arc::new(StructArray::from(batch.clone())), path))),
    };
    let mut rest = &path[1..];
    while let (Some(PathStep::Key(name)), DataType::Struct(_)) = (rest.first(), found.data_type()) {
        let parent = found.as_struct();
        let Some(child) = parent.column_by_name(name) else { return Ok(None) };
        // A value inside nothing is nothing, whatever its slot holds.
        let child = match parent.nulls() {
            Some(nulls) if !matches!(child.data_type(), DataType::Union(..) | DataType::Null) => {
                let both = NullBuffer::union(Some(nulls), child.nulls());
                make_array(child.to_data().into_builder().nulls(both).build()?)
            }
            _ => Arc::clone(child),
        };
        found = child;
        rest = &rest[1..];
    }
    Ok(Some((found, rest)))
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
    let is_time = matches!(array.data_type(), DataType::Time32(_) | DataType::Time64(_));
    let converted = match (array.data_type(), ty) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
            return from_texts(&cast_with_options(array, &DataType::Utf8View, &SAFE)?, ty, name, record, rejects);
        }
        (from, KqlType::DateTime) if from.is_temporal() && !is_time && !matches!(from, DataType::Interval(_)) => {
            ticks_since_year_one(array)?
        }
        (DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_), KqlType::TimeSpan) => {
            let nanoseconds = cast_with_options(array, &DataType::Duration(TimeUnit::Nanosecond), &SAFE)
                .or_else(|_| cast_with_options(array, &DataType::Time64(TimeUnit::Nanosecond), &SAFE))?;
            let raw = cast_with_options(&nanoseconds, &DataType::Int64, &SAFE)?;
            Arc::new(raw.as_primitive::<Int64Type>().unary::<_, Int64Type>(|value| value.div_euclid(100)))
        }
        (from, KqlType::Decimal) if from.is_numeric() => {
            let texts = cast_with_options(array, &DataType::Utf8View, &SAFE)?;
            return from_texts(&texts, ty, name, record, rejects);
        }
        (DataType::FixedSizeBinary(16), KqlType::Guid) => Arc::clone(array),
        (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, KqlType::String | KqlType::Guid) => {
            let texts = cast_with_options(array, &DataType::Utf8View, &SAFE)?;
            for row in (0..array.len()).filter(|row| array.is_valid(*row) && texts.is_null(*row)) {
                rejects.add(record + row as u64 + 1, name, "bytes that are no text", ty);
            }
            return from_texts(&texts, ty, name, record, rejects);
        }
        (from, KqlType::String | KqlType::Guid) if from.is_numeric() || *from == DataType::Boolean => {
            return from_texts(&cast_with_options(array, &DataType::Utf8View, &SAFE)?, ty, name, record, rejects);
        }
        (from, _) if ty == KqlType::String || ty == KqlType::Dynamic || !is_plain(from) => {
            return by_row(array, ty, name, record, rejects);
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

/// Whether the engine's own conversions say what a type's values are.
fn is_plain(from: &DataType) -> bool {
    from.is_numeric() || from.is_temporal() && !matches!(from, DataType::Interval(_)) || *from == DataType::Boolean
}

/// Converts values by way of their JSON texts.
fn by_row(array: &ArrayRef, ty: KqlType, name: &str, record: u64, rejects: &mut Rejects) -> Result<ArrayRef, Error> {
    let mut builder = Columns::new(&TableSchema::new(vec![Column::new(name, ty)]), array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        text.clear();
        write_value(array, row, &mut text);
        builder.push_json(0, JsonValue::of_raw(&text), record + row as u64 + 1, rejects);
    }
    Ok(builder.finish()?.column(0).clone())
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
    let one = TableSchema::new(vec![Column::new(name, ty)]);
    let mut builder = Columns::new(&one, texts.len());
    for (row, text) in texts.iter().enumerate() {
        match text {
            Some(text) => builder.push_text(0, text, record + row as u64 + 1, rejects),
            None => builder.push_null(0),
        }
    }
    Ok(builder.finish()?.column(0).clone())
}

/// The KQL columns of a file's Arrow schema. What no KQL type holds as it is becomes text or dynamic.
pub(crate) fn kql_schema(schema: &arrow::datatypes::Schema) -> TableSchema {
    let columns = schema.fields().iter().map(|field| {
        let own = match field.data_type() {
            DataType::Dictionary(_, value) => {
                KqlType::of_field(&arrow::datatypes::Field::new("v", (**value).clone(), true))
            }
            _ => KqlType::of_field(field),
        };
        let ty = own.unwrap_or(match field.data_type() {
            DataType::Interval(_) => KqlType::TimeSpan,
            DataType::Union(..) | DataType::FixedSizeList(..) => KqlType::Dynamic,
            _ => KqlType::String,
        });
        Column::new(field.name(), ty)
    });
    TableSchema::new(columns.collect())
}

/// Does what a reader of a foreign format does; a reader that panics has met damaged bytes.
pub(crate) fn guarded<T>(format: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::Input(format!("not a readable {format} file: its bytes are damaged"))))
}

/// A reader's batches behind [`guarded`]; it ends with the first error.
pub(crate) fn guarded_batches(
    format: &'static str,
    batches: impl Iterator<Item = Result<RecordBatch, Error>> + Send + 'static,
) -> Batches {
    let mut inner = Some(batches);
    Box::new(std::iter::from_fn(move || {
        let batches = inner.as_mut()?;
        let next = guarded(format, || batches.next().transpose()).transpose();
        if !matches!(next, Some(Ok(_))) {
            inner = None;
        }
        next
    }))
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
