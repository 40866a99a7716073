//! Rows as delimited text and as lines of JSON.
//!
//! Source: export data to storage page, data types mapping: datetimes in full, timespans as `d.hh:mm:ss`, dynamic values as
//! JSON.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{datetime, guid, json, real, timespan};
use tidewater_kql::{KqlType, TableSchema};

/// Appends the text of a cell, which for dynamic values is JSON; nothing for null.
fn cell(ty: KqlType, array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if array.is_null(row) {
        return;
    }
    match ty {
        KqlType::Bool => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        KqlType::Int => out.extend_from_slice(array.as_primitive::<Int32Type>().value(row).to_string().as_bytes()),
        KqlType::Long => out.extend_from_slice(array.as_primitive::<Int64Type>().value(row).to_string().as_bytes()),
        KqlType::Real => {
            out.extend_from_slice(real::to_text(array.as_primitive::<Float64Type>().value(row)).as_bytes());
        }
        KqlType::DateTime => datetime::write_full(array.as_primitive::<Int64Type>().value(row), out),
        KqlType::TimeSpan => timespan::write(array.as_primitive::<Int64Type>().value(row), out),
        KqlType::String | KqlType::Dynamic => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        KqlType::Guid => {
            if let Ok(bytes) = array.as_fixed_size_binary().value(row).try_into() {
                guid::write(&bytes, out);
            }
        }
        KqlType::Decimal => {
            if let Ok(bytes) = array.as_fixed_size_binary().value(row).try_into() {
                out.extend_from_slice(Decimal::from_bytes(bytes).to_text().as_bytes());
            }
        }
    }
}

/// The text of a cell; empty for null.
pub(crate) fn cell_text(ty: KqlType, array: &dyn Array, row: usize) -> String {
    let mut out = Vec::new();
    cell(ty, array, row, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends a field, quoted where it must be.
fn field(text: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    let must = |byte: &u8| *byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    if !text.iter().any(must) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Appends the names of the columns as a line.
pub(super) fn header(schema: &TableSchema, delimiter: u8, out: &mut Vec<u8>) {
    for (at, column) in schema.columns.iter().enumerate() {
        if at > 0 {
            out.push(delimiter);
        }
        field(column.name.as_bytes(), delimiter, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends rows as delimited text.
pub(super) fn delimited(schema: &TableSchema, batch: &RecordBatch, delimiter: u8, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        for (at, (column, array)) in schema.columns.iter().zip(batch.columns()).enumerate() {
            if at > 0 {
                out.push(delimiter);
            }
            text.clear();
            cell(column.ty, array.as_ref(), row, &mut text);
            field(&text, delimiter, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends rows as JSON objects, one a line.
pub(super) fn lines(schema: &TableSchema, batch: &RecordBatch, out: &mut Vec<u8>) {
    for row in 0..batch.num_rows() {
        object(schema, batch, row, out);
        out.push(b'\n');
    }
}

/// Appends a row as a JSON object.
pub(super) fn object(schema: &TableSchema, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    out.push(b'{');
    for (at, (column, array)) in schema.columns.iter().zip(batch.columns()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::quote(&column.name, out);
        out.push(b':');
        text.clear();
        cell(column.ty, array.as_ref(), row, &mut text);
        let is_null = array.is_null(row) && column.ty != KqlType::String;
        match column.ty {
            _ if is_null => out.extend_from_slice(b"null"),
            KqlType::Real => real::write_json(array.as_primitive::<Float64Type>().value(row), out),
            KqlType::Bool | KqlType::Int | KqlType::Long | KqlType::Dynamic => out.extend_from_slice(&text),
            _ => json::quote(&String::from_utf8_lossy(&text), out),
        }
    }
    out.push(b'}');
}
