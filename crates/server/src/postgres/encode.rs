//! Batches as rows of the protocol, faults as its errors.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Schema};
use arrow_pg::datatypes::field_into_pg_type;
use arrow_pg::encoder::encode_value;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use tidewater_service::jobs::SqlFault;

/// A fault as the error that a client sees.
pub(super) fn error(fault: SqlFault) -> PgWireError {
    of("ERROR", fault.code, &fault.message)
}

/// One that ends the connection.
pub(super) fn fatal(code: &str, message: &str) -> PgWireError {
    of("FATAL", code, message)
}

/// One that does not.
pub(super) fn refused(code: &str, message: &str) -> PgWireError {
    of("ERROR", code, message)
}

fn of(severity: &str, code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new(severity.to_string(), code.to_string(), message.to_string())))
}

/// The columns of rows; `format` says which of them go out in binary form.
pub(super) fn fields(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    if let Format::Individual(codes) = format
        && codes.len() != schema.fields().len()
    {
        let message = format!("found {} result formats for {} columns", codes.len(), schema.fields().len());
        return Err(refused("08P01", &message));
    }
    let field = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
        let ty = field_into_pg_type(field)?;
        let size = size_of(&ty);
        Ok(FieldInfo::new(field.name().clone(), None, None, ty, format.format_for(at)).with_type_size(size))
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// Bytes of a type's values; -1 where they differ.
fn size_of(ty: &Type) -> i16 {
    match *ty {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}

/// Batches as rows.
pub(super) fn rows(
    batches: BoxStream<'static, Result<RecordBatch, SqlFault>>,
    fields: Arc<Vec<FieldInfo>>,
) -> impl Stream<Item = PgWireResult<DataRow>> + Send + 'static {
    batches.flat_map(move |batch| {
        let fields = Arc::clone(&fields);
        match batch {
            Ok(batch) => {
                let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
                let rows = (0..batch.num_rows()).map(move |row| self::row(&mut encoder, &batch, row, &fields));
                futures::stream::iter(rows).left_stream()
            }
            Err(fault) => futures::stream::iter([Err(error(fault))]).right_stream(),
        }
    })
}

fn row(encoder: &mut DataRowEncoder, batch: &RecordBatch, row: usize, fields: &[FieldInfo]) -> PgWireResult<DataRow> {
    for (at, field) in batch.schema_ref().fields().iter().enumerate() {
        let column = batch.column(at);
        match field.data_type() {
            // The usual encoder holds 96 bits of a decimal; ours have up to 127.
            DataType::Decimal128(_, scale) => {
                let values = column.as_primitive::<Decimal128Type>();
                let value = (!values.is_null(row)).then(|| values.value(row));
                numeric(encoder, value, *scale, &fields[at])?;
            }
            _ => encode_value(encoder, column, row, field, &fields[at])?,
        }
    }
    Ok(encoder.take_row())
}

fn numeric(encoder: &mut DataRowEncoder, value: Option<i128>, scale: i8, field: &FieldInfo) -> PgWireResult<()> {
    let options = field.format_options();
    match field.format() {
        FieldFormat::Text => {
            let text = value.map(|value| decimal_text(value, scale));
            encoder.encode_field_with_type_and_format(&text, &Type::TEXT, FieldFormat::Text, options)
        }
        FieldFormat::Binary => {
            let bytes = value.map(|value| decimal_bytes(value, scale));
            encoder.encode_field_with_type_and_format(&bytes, &Type::BYTEA, FieldFormat::Binary, options)
        }
    }
}

/// Every digit of a decimal.
fn decimal_text(value: i128, scale: i8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    if scale <= 0 {
        let zeros = if value == 0 { 0 } else { usize::from(scale.unsigned_abs()) };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    }
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// PostgreSQL's binary numeric: count of base-10000 digits, weight of the first, sign, digits shown after the point, digits.
fn decimal_bytes(value: i128, scale: i8) -> Vec<u8> {
    const NEGATIVE: u16 = 0x4000;
    let text = decimal_text(value, scale);
    let text = text.trim_start_matches('-');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let shown = fraction.len() as u16;
    let whole = whole.trim_start_matches('0');
    // Whole groups of four on both sides of the point.
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = (whole.len() / 4) as i16 - 1;
    let all = format!("{whole}{fraction}");
    let mut groups: Vec<u16> =
        (0..all.len() / 4).map(|at| all[at * 4..at * 4 + 4].parse().unwrap_or_default()).collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    if groups.is_empty() {
        weight = 0;
    }
    let mut bytes = Vec::with_capacity(8 + groups.len() * 2);
    bytes.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&weight.to_be_bytes());
    bytes.extend_from_slice(&(if value < 0 { NEGATIVE } else { 0 }).to_be_bytes());
    bytes.extend_from_slice(&shown.to_be_bytes());
    groups.iter().for_each(|group| bytes.extend_from_slice(&group.to_be_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_with_all_their_digits() {
        assert_eq!(decimal_text(12345, 2), "123.45");
        assert_eq!(decimal_text(-5, 3), "-0.005");
        assert_eq!(decimal_text(7, 0), "7");
        assert_eq!(decimal_text(7, -2), "700");
        assert_eq!(decimal_text(i128::MAX, 18), "170141183460469231731.687303715884105727");
    }

    #[test]
    fn binary_decimals_have_groups_of_four_digits() {
        // 12345.678: groups 1, 2345, 6780; the first counts ten thousands.
        assert_eq!(decimal_bytes(12_345_678, 3), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
        assert_eq!(decimal_bytes(0, 2), [0, 0, 0, 0, 0, 0, 0, 2]);
        // -0.00005: one group, two places behind the point.
        assert_eq!(decimal_bytes(-5, 5), [0, 1, 0xff, 0xfe, 0x40, 0, 0, 5, 0x13, 0x88]);
    }
}
