//! Rows in the formats of results: JSON, NDJSON, CSV, Arrow, Parquet. Encoders write to any `Write` and block.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::csv::WriterBuilder as CsvWriter;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{EncoderOptions, LineDelimited, WriterBuilder, make_encoder};
use serde_json::{Value, json};
use tidewater_service::jobs::ResultRows;

/// A form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    NdJson,
    Csv,
    ArrowStream,
    ArrowFile,
    Parquet,
}

impl Format {
    const ALL: [Format; 6] =
        [Format::Json, Format::NdJson, Format::Csv, Format::ArrowStream, Format::ArrowFile, Format::Parquet];

    /// The value of `format`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::NdJson => "ndjson",
            Format::Csv => "csv",
            Format::ArrowStream => "arrow",
            Format::ArrowFile => "arrow-file",
            Format::Parquet => "parquet",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::NdJson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::ArrowStream => "application/vnd.apache.arrow.stream",
            Format::ArrowFile => "application/vnd.apache.arrow.file",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Whether compressing it is worth the time.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Format::Json | Format::NdJson | Format::Csv)
    }

    /// The format that `format=` names.
    pub(super) fn named(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name.trim()))
    }

    /// The format that an `Accept` header likes best; JSON where it takes anything, and `None` where it takes none of ours.
    pub(super) fn accepted(header: &str) -> Option<Format> {
        let mut best: Option<(f32, Format)> = None;
        for item in header.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let media = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .and_then(|weight| weight.trim().parse().ok())
                .unwrap_or(1.0_f32);
            let format = match media.as_str() {
                "" | "*/*" | "application/*" | "application/json" => Some(Format::Json),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::NdJson),
                "text/csv" | "text/*" => Some(Format::Csv),
                "application/vnd.apache.arrow.stream" => Some(Format::ArrowStream),
                "application/vnd.apache.arrow.file" => Some(Format::ArrowFile),
                "application/vnd.apache.parquet" | "application/x-parquet" => Some(Format::Parquet),
                other if other.ends_with("+json") => Some(Format::Json),
                _ => None,
            };
            if let Some(format) = format
                && weight > 0.0
                && best.is_none_or(|(heaviest, _)| weight > heaviest)
            {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format)
    }
}

/// What part of the rows, and how numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) limit: Option<u64>,
    /// 64-bit integers and decimals as texts, which no reader of JSON rounds.
    pub(super) numbers_as_text: bool,
}

impl Window {
    /// How many rows it has of so many.
    pub(super) fn length(&self, rows: u64) -> u64 {
        self.limit.unwrap_or(u64::MAX).min(rows.saturating_sub(self.offset))
    }

    /// Where the next window begins, if there are more rows.
    pub(super) fn next(&self, rows: u64) -> Option<u64> {
        let end = self.offset.saturating_add(self.length(rows));
        (self.limit.is_some() && end < rows).then_some(end)
    }
}

/// Writes a window of rows. `next` is the address of the following window, which JSON carries.
pub(super) fn write(
    rows: ResultRows,
    format: Format,
    window: Window,
    next: Option<String>,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let limit = window.limit.unwrap_or(u64::MAX);
    if format == Format::Parquet {
        return rows.copy_window(window.offset, limit, out).map_err(io::Error::other);
    }
    let (schema, total) = (Arc::clone(&rows.schema), rows.rows);
    let count = window.length(total);
    let batches = rows.window(window.offset, limit).map_err(io::Error::other)?;
    let written = match format {
        Format::Json => {
            let about = json!(columns(&schema, window.numbers_as_text));
            write!(out, "{{\"schema\":{about},\"rows\":[")?;
            items(batches, &schema, window, out)?;
            write!(out, "],\"rowCount\":{total},\"offset\":{},\"count\":{count}", window.offset)?;
            if let Some(next) = next {
                write!(out, ",\"next\":{}", json!(next))?;
            }
            return out.write_all(b"}");
        }
        Format::NdJson => json_lines(batches, &schema, window, out),
        Format::Csv => csv(batches, &schema, out),
        Format::ArrowStream => StreamWriter::try_new(&mut *out, &schema).and_then(|mut writer| {
            batches.into_iter().try_for_each(|batch| writer.write(&batch?))?;
            writer.finish()
        }),
        Format::ArrowFile => FileWriter::try_new(&mut *out, &schema).and_then(|mut writer| {
            batches.into_iter().try_for_each(|batch| writer.write(&batch?))?;
            writer.finish()
        }),
        Format::Parquet => Ok(()),
    };
    written.map_err(io::Error::other)
}

/// Writes a window of rows as the elements of a JSON array.
pub(super) fn write_items(rows: ResultRows, window: Window, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let schema = Arc::clone(&rows.schema);
    let batches = rows.window(window.offset, window.limit.unwrap_or(u64::MAX)).map_err(io::Error::other)?;
    items(batches, &schema, window, out)
}

fn items(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    schema: &SchemaRef,
    window: Window,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let mut lines = Separated { out, begun: false };
    json_lines(batches, schema, window, &mut lines).map_err(io::Error::other)
}

/// Names and SQL types of columns.
pub(super) fn columns(schema: &Schema, numbers_as_text: bool) -> Vec<Value> {
    let column = |field: &Arc<Field>| {
        let mut column = json!({"name": field.name(), "type": sql_type(field.data_type())});
        if numbers_as_text && text_numbers(field.data_type()) != *field.data_type() {
            column["encoding"] = "string".into();
        }
        column
    };
    schema.fields().iter().map(column).collect()
}

/// The SQL name of a type.
pub(super) fn sql_type(ty: &DataType) -> String {
    match ty {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 | DataType::UInt8 => "tinyint".to_string(),
        DataType::Int16 | DataType::UInt16 => "smallint".to_string(),
        DataType::Int32 | DataType::UInt32 => "integer".to_string(),
        DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => "bigint".to_string(),
        DataType::Float16 | DataType::Float32 => "float".to_string(),
        DataType::Float64 => "double".to_string(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Date32 | DataType::Date64 => "date".to_string(),
        DataType::Timestamp(..) => "timestamp".to_string(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_string(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_string()
        }
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            format!("array<{}>", sql_type(field.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{}:{}", field.name(), sql_type(field.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{},{}>", sql_type(fields[0].data_type()), sql_type(fields[1].data_type()))
            }
            _ => "map".to_string(),
        },
        _ => "string".to_string(),
    }
}

/// The type with its wide numbers as texts, inside arrays and structs too.
fn text_numbers(ty: &DataType) -> DataType {
    let inside = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(text_numbers(field.data_type())));
    match ty {
        DataType::Int64
        | DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => DataType::Utf8,
        DataType::List(field) => DataType::List(inside(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect::<Fields>()),
        other => other.clone(),
    }
}

fn converted(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(wanted.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
}

fn json_lines(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    schema: &SchemaRef,
    window: Window,
    out: &mut (impl Write + ?Sized),
) -> Result<(), ArrowError> {
    let fields = schema.fields().iter().map(|field| {
        let ty = match window.numbers_as_text {
            true => text_numbers(field.data_type()),
            false => field.data_type().clone(),
        };
        Arc::new(field.as_ref().clone().with_data_type(ty))
    });
    let wanted = Arc::new(Schema::new(fields.collect::<Fields>()));
    let mut writer: LineDelimitedWriter<_> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    for batch in batches {
        let batch = batch?;
        match window.numbers_as_text {
            true => writer.write(&converted(&batch, &wanted)?)?,
            false => writer.write(&batch)?,
        }
    }
    writer.finish()
}

/// Turns lines into the elements of an array: every line feed but the last one becomes a comma. JSON's texts hold none.
struct Separated<'a> {
    out: &'a mut (dyn Write + Send),
    /// A line has ended and the next has not begun.
    begun: bool,
}

impl Write for Separated<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if std::mem::take(&mut self.begun) {
                self.out.write_all(b",\n")?;
            }
            let line = part.strip_suffix(b"\n");
            self.begun = line.is_some();
            self.out.write_all(line.unwrap_or(part))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn csv(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    schema: &SchemaRef,
    out: &mut (impl Write + ?Sized),
) -> Result<(), ArrowError> {
    // Arrays and structs are JSON inside a cell; binary is hexadecimal.
    let fields = schema.fields().iter().map(|field| match field.data_type().is_nested() {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => Arc::clone(field),
    });
    let flat = Arc::new(Schema::new(fields.collect::<Fields>()));
    let mut writer =
        CsvWriter::new().with_header(true).with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.fZ".to_string()).build(out);
    let mut is_empty = true;
    for batch in batches {
        let batch = batch?;
        is_empty = false;
        let columns =
            batch.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type().is_nested() {
                true => json_texts(field, column),
                false => Ok(Arc::clone(column)),
            });
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        writer.write(&RecordBatch::try_new_with_options(Arc::clone(&flat), columns, &options)?)?;
    }
    if is_empty {
        // No rows still have a header.
        writer.write(&RecordBatch::new_empty(flat))?;
    }
    Ok(())
}

fn json_texts(field: &Arc<Field>, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let mut texts = StringBuilder::new();
    let mut buffer = Vec::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            texts.append_null();
            continue;
        }
        buffer.clear();
        encoder.encode(row, &mut buffer);
        texts.append_value(String::from_utf8_lossy(&buffer));
    }
    Ok(Arc::new(texts.finish()))
}

/// A column's entry in the metadata of an accelerated query. Source: query-service-api section 17.
pub(super) fn xdm_type(ty: &DataType) -> Value {
    let pair = |ty: &str, xdm: &str| json!({"type": ty, "meta:xdmType": xdm, "default": null});
    match ty {
        DataType::Boolean => pair("boolean", "boolean"),
        DataType::Int8 | DataType::UInt8 => pair("integer", "byte"),
        DataType::Int16 | DataType::UInt16 => pair("integer", "short"),
        DataType::Int32 | DataType::UInt32 => {
            let mut entry = pair("integer", "int");
            entry["minimum"] = i32::MIN.into();
            entry["maximum"] = i32::MAX.into();
            entry
        }
        DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => pair("integer", "long"),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => pair("number", "number"),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            pair("number", "number")
        }
        DataType::Date32 => pair("string", "date"),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            _,
        ) => pair("string", "date-time"),
        DataType::List(_) => pair("array", "array"),
        DataType::Struct(_) => pair("object", "object"),
        DataType::Map(..) => pair("object", "map"),
        _ => pair("string", "string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_type_is_taken() {
        assert_eq!(Format::accepted("*/*"), Some(Format::Json));
        assert_eq!(Format::accepted("text/csv"), Some(Format::Csv));
        assert_eq!(
            Format::accepted("text/html, application/vnd.apache.arrow.stream;q=0.9, */*;q=0.1"),
            Some(Format::ArrowStream)
        );
        assert_eq!(Format::accepted("application/vnd.adobe.xed+json"), Some(Format::Json));
        assert_eq!(Format::accepted("image/png"), None);
        assert_eq!(Format::accepted("text/csv;q=0"), None);
    }

    #[test]
    fn lines_become_elements_however_they_are_cut() {
        let text = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
        for cut in 0..text.len() {
            let mut out = Vec::new();
            let mut lines = Separated { out: &mut out, begun: false };
            lines.write_all(&text[..cut]).unwrap();
            lines.write_all(&text[cut..]).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":1},\n{\"a\":2},\n{\"a\":3}");
        }
    }

    #[test]
    fn windows_end_where_the_rows_end() {
        let window = Window { offset: 8, limit: Some(5), numbers_as_text: false };
        assert_eq!((window.length(10), window.next(10)), (2, None));
        assert_eq!((window.length(20), window.next(20)), (5, Some(13)));
        assert_eq!((window.length(3), window.next(3)), (0, None));
        assert_eq!(Window { limit: None, ..window }.next(20), None);
    }
}
