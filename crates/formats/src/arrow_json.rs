//! Values of Arrow arrays as JSON texts, with moments, timespans and guids in the forms that KQL reads.

use arrow::array::{Array, AsArray, UnionArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use std::fmt::Write;
use tidewater_kql::value::datetime::{self, MAX_TICKS, MIN_TICKS, UNIX_EPOCH_TICKS};
use tidewater_kql::value::{guid, json, real, timespan};

/// Structures in structures that are written; deeper ones are null.
const MAX_DEPTH: usize = 64;

/// Appends the value of a row.
pub(crate) fn write_value(array: &dyn Array, row: usize, out: &mut String) {
    value(array, row, MAX_DEPTH, out);
}

fn quote(text: &str, out: &mut String) {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    json::quote(text, &mut bytes);
    out.push_str(std::str::from_utf8(&bytes).unwrap_or("\"\""));
}

fn number<T: ArrowPrimitiveType>(array: &dyn Array, row: usize, out: &mut String)
where
    T::Native: std::fmt::Display,
{
    let _ = write!(out, "{}", array.as_primitive::<T>().value(row));
}

fn float(found: f64, out: &mut String) {
    let mut bytes = Vec::new();
    real::write_json(found, &mut bytes);
    out.push_str(std::str::from_utf8(&bytes).unwrap_or("null"));
}

/// A moment so many units of `per_second` after 1970.
fn moment(units: i64, per_second: i128, out: &mut String) {
    let ticks = (i128::from(units) * 10_000_000).div_euclid(per_second) + i128::from(UNIX_EPOCH_TICKS);
    match i64::try_from(ticks).ok().filter(|ticks| (MIN_TICKS..=MAX_TICKS).contains(ticks)) {
        Some(ticks) => {
            let _ = write!(out, "\"{}\"", datetime::to_text(ticks));
        }
        None => out.push_str("null"),
    }
}

fn span(units: i64, per_second: i128, out: &mut String) {
    match i64::try_from((i128::from(units) * 10_000_000).div_euclid(per_second)) {
        Ok(ticks) => {
            let _ = write!(out, "\"{}\"", timespan::to_text(ticks));
        }
        Err(_) => out.push_str("null"),
    }
}

/// Texts stay texts; other bytes are an array of numbers. Source: mappings page, `BytesAsBase64`.
fn bytes(found: &[u8], out: &mut String) {
    match std::str::from_utf8(found) {
        Ok(text) => quote(text, out),
        Err(_) => {
            out.push('[');
            for (at, byte) in found.iter().enumerate() {
                let _ = write!(out, "{}{byte}", if at > 0 { "," } else { "" });
            }
            out.push(']');
        }
    }
}

fn list(items: &dyn Array, depth: usize, out: &mut String) {
    out.push('[');
    for at in 0..items.len() {
        if at > 0 {
            out.push(',');
        }
        value(items, at, depth, out);
    }
    out.push(']');
}

fn value(array: &dyn Array, row: usize, depth: usize, out: &mut String) {
    if array.is_null(row) || depth == 0 {
        return out.push_str("null");
    }
    let depth = depth - 1;
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => number::<Int8Type>(array, row, out),
        DataType::Int16 => number::<Int16Type>(array, row, out),
        DataType::Int32 => number::<Int32Type>(array, row, out),
        DataType::Int64 => number::<Int64Type>(array, row, out),
        DataType::UInt8 => number::<UInt8Type>(array, row, out),
        DataType::UInt16 => number::<UInt16Type>(array, row, out),
        DataType::UInt32 => number::<UInt32Type>(array, row, out),
        DataType::UInt64 => number::<UInt64Type>(array, row, out),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64(), out),
        // By its digits: the nearest double of a single has others.
        DataType::Float32 => {
            let single = array.as_primitive::<Float32Type>().value(row);
            float(
                if single.is_finite() {
                    single.to_string().parse().unwrap_or(f64::from(single))
                } else {
                    f64::from(single)
                },
                out,
            );
        }
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), out),
        DataType::Decimal128(..) => out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => quote(array.as_string::<i32>().value(row), out),
        DataType::LargeUtf8 => quote(array.as_string::<i64>().value(row), out),
        DataType::Utf8View => quote(array.as_string_view().value(row), out),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => bytes(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => {
            let found = array.as_fixed_size_binary().value(row);
            match <&[u8; 16]>::try_from(found) {
                Ok(found) => quote(&guid::to_text(found), out),
                Err(_) => bytes(found, out),
            }
        }
        DataType::Date32 => moment(i64::from(array.as_primitive::<Date32Type>().value(row)) * 86_400, 1, out),
        DataType::Date64 => moment(array.as_primitive::<Date64Type>().value(row), 1_000, out),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => moment(array.as_primitive::<TimestampSecondType>().value(row), 1, out),
            TimeUnit::Millisecond => moment(array.as_primitive::<TimestampMillisecondType>().value(row), 1_000, out),
            TimeUnit::Microsecond => {
                moment(array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000, out)
            }
            TimeUnit::Nanosecond => {
                moment(array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000, out)
            }
        },
        DataType::Time32(TimeUnit::Second) => {
            span(i64::from(array.as_primitive::<Time32SecondType>().value(row)), 1, out);
        }
        DataType::Time32(_) => span(i64::from(array.as_primitive::<Time32MillisecondType>().value(row)), 1_000, out),
        DataType::Time64(TimeUnit::Microsecond) => {
            span(array.as_primitive::<Time64MicrosecondType>().value(row), 1_000_000, out);
        }
        DataType::Time64(_) => span(array.as_primitive::<Time64NanosecondType>().value(row), 1_000_000_000, out),
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => span(array.as_primitive::<DurationSecondType>().value(row), 1, out),
            TimeUnit::Millisecond => span(array.as_primitive::<DurationMillisecondType>().value(row), 1_000, out),
            TimeUnit::Microsecond => span(array.as_primitive::<DurationMicrosecondType>().value(row), 1_000_000, out),
            TimeUnit::Nanosecond => span(array.as_primitive::<DurationNanosecondType>().value(row), 1_000_000_000, out),
        },
        // Months have no length: a span with some is none.
        DataType::Interval(IntervalUnit::YearMonth) => match array.as_primitive::<IntervalYearMonthType>().value(row) {
            0 => span(0, 1, out),
            _ => out.push_str("null"),
        },
        DataType::Interval(IntervalUnit::DayTime) => {
            let found = array.as_primitive::<IntervalDayTimeType>().value(row);
            span(i64::from(found.days) * 86_400_000 + i64::from(found.milliseconds), 1_000, out);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let found = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let days = i64::from(found.days).checked_mul(86_400_000_000_000);
            match days.and_then(|days| days.checked_add(found.nanoseconds)) {
                Some(nanoseconds) if found.months == 0 => span(nanoseconds, 1_000_000_000, out),
                _ => out.push_str("null"),
            }
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), depth, out),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), depth, out),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), depth, out),
        DataType::Struct(fields) => {
            out.push('{');
            for (at, field) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                quote(field.name(), out);
                out.push(':');
                value(array.as_struct().column(at), row, depth, out);
            }
            out.push('}');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for at in 0..entries.len() {
                if at > 0 {
                    out.push(',');
                }
                let mut key = String::new();
                value(keys, at, depth, &mut key);
                // Only texts are names in JSON.
                if key.starts_with('"') {
                    out.push_str(&key)
                } else {
                    quote(&key, out)
                }
                out.push(':');
                value(values, at, depth, out);
            }
            out.push('}');
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.normalized_keys().get(row) {
                Some(key) => value(dictionary.values().as_ref(), *key, depth, out),
                None => out.push_str("null"),
            }
        }
        DataType::Union(..) => match array.as_any().downcast_ref::<UnionArray>() {
            Some(union) => value(&union.value(row), 0, depth, out),
            None => out.push_str("null"),
        },
        _ => out.push_str("null"),
    }
}
