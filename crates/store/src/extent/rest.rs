//! The form of values in data files, which every Parquet reader understands, and the way there and back.
//!
//! | KQL | at rest |
//! | --- | --- |
//! | bool, int, long, real, string | the same; a null string is written as `""` |
//! | datetime | timestamp in microseconds, UTC; `<name>$tick` (int8) has the seventh digit where one is not zero |
//! | timespan | 64-bit ticks |
//! | guid, decimal | their text |
//! | dynamic | JSON text |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int8Array, Int64Array, StringBuilder, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::guid;

use crate::UNIX_EPOCH_TICKS;
use crate::catalog::TICK_SUFFIX;

/// Ticks in a microsecond.
pub(crate) const TICKS_PER_MICROSECOND: i64 = 10;

/// The Arrow type of a column at rest.
pub(crate) fn rest_type(ty: KqlType) -> DataType {
    match ty {
        KqlType::Bool => DataType::Boolean,
        KqlType::Int => DataType::Int32,
        KqlType::Long | KqlType::TimeSpan => DataType::Int64,
        KqlType::Real => DataType::Float64,
        KqlType::DateTime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        KqlType::String | KqlType::Dynamic => DataType::Utf8View,
        KqlType::Guid | KqlType::Decimal => DataType::Utf8,
    }
}

/// The field of a column at rest.
pub(crate) fn rest_field(name: &str, ty: KqlType) -> Field {
    Field::new(name, rest_type(ty), true)
}

/// The hidden field beside a datetime column.
pub(crate) fn tick_field(name: &str) -> Field {
    Field::new(format!("{name}{TICK_SUFFIX}"), DataType::Int8, true)
}

/// A datetime in ticks as microseconds since 1970 and the rest of 0 to 9 ticks.
pub(crate) fn split_ticks(ticks: i64) -> (i64, i64) {
    // Wrapping: values outside of datetime's range come from nowhere, but they must not end the process.
    let since = ticks.wrapping_sub(UNIX_EPOCH_TICKS);
    (since.div_euclid(TICKS_PER_MICROSECOND), since.rem_euclid(TICKS_PER_MICROSECOND))
}

/// True when some non-null value has a seventh digit.
pub(crate) fn has_ticks(array: &Int64Array) -> bool {
    // The epoch is a whole number of microseconds, so the digit can be read without the offset.
    match array.nulls() {
        None => array.values().iter().any(|value| value % TICKS_PER_MICROSECOND != 0),
        Some(_) => array.iter().flatten().any(|value| value % TICKS_PER_MICROSECOND != 0),
    }
}

/// An engine array as it is stored; for datetimes without the hidden column.
pub(crate) fn to_rest(ty: KqlType, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match ty {
        KqlType::Bool | KqlType::Int | KqlType::Long | KqlType::TimeSpan | KqlType::Real | KqlType::Dynamic => {
            Arc::clone(array)
        }
        KqlType::String => fill_text(array),
        KqlType::DateTime => {
            let ticks = array.as_primitive::<Int64Type>();
            let micros: TimestampMicrosecondArray = ticks.unary(|value| split_ticks(value).0);
            Arc::new(micros.with_timezone("UTC"))
        }
        KqlType::Guid => {
            let mut text = Vec::with_capacity(36);
            write_texts(array.as_fixed_size_binary(), 36, |bytes, builder| {
                text.clear();
                guid::write(bytes, &mut text);
                builder.append_value(std::str::from_utf8(&text).unwrap_or_default());
            })
        }
        KqlType::Decimal => write_texts(array.as_fixed_size_binary(), 16, |bytes, builder| {
            builder.append_value(Decimal::from_bytes(*bytes).to_text());
        }),
    })
}

/// The hidden column of a datetime: its seventh digit, null where the datetime is null.
pub(crate) fn tick_column(array: &ArrayRef) -> ArrayRef {
    let ticks = array.as_primitive::<Int64Type>();
    let digits: Int8Array = ticks.unary(|value| split_ticks(value).1 as i8);
    Arc::new(digits)
}

fn write_texts(
    array: &FixedSizeBinaryArray,
    width: usize,
    mut write: impl FnMut(&[u8; 16], &mut StringBuilder),
) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * width);
    for value in array.iter() {
        match value.and_then(|value| <&[u8; 16]>::try_from(value).ok()) {
            Some(bytes) => write(bytes, &mut builder),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// A string column without nulls: they become `""`.
pub(crate) fn fill_text(array: &ArrayRef) -> ArrayRef {
    if array.null_count() == 0 {
        return Arc::clone(array);
    }
    let array = array.as_string_view();
    let mut views = array.views().to_vec();
    if let Some(nulls) = array.nulls() {
        for (view, valid) in views.iter_mut().zip(nulls) {
            if !valid {
                // The view of the empty string: length zero, no data.
                *view = 0;
            }
        }
    }
    let buffers = array.data_buffers().to_vec();
    // Every view is a valid one of this array or the empty one.
    let filled = unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), buffers, None) };
    Arc::new(filled)
}

/// How a column is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Decoding {
    /// Microseconds, and the seventh digit when there are two arrays.
    DateTime,
    /// Text of a guid.
    Guid,
    /// Text of a decimal.
    Decimal,
    /// String or JSON text in any of Arrow's string types; `fill` reads null as `""`.
    Text {
        /// Whether nulls become `""`.
        fill: bool,
    },
}

impl Decoding {
    /// The engine's type.
    pub(crate) fn engine_type(self) -> DataType {
        match self {
            Decoding::DateTime => DataType::Int64,
            Decoding::Guid | Decoding::Decimal => DataType::FixedSizeBinary(16),
            Decoding::Text { .. } => DataType::Utf8View,
        }
    }

    /// Arrays at rest as the engine's array.
    pub(crate) fn decode(self, arrays: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
        let Some(first) = arrays.first() else {
            return Err(ArrowError::InvalidArgumentError("a column to decode has no array".into()));
        };
        match self {
            Decoding::DateTime => decode_datetime(first, arrays.get(1)),
            Decoding::Guid => decode_bytes(first, |text| parse_written_guid(text).or_else(|| guid::parse(text))),
            Decoding::Decimal => decode_bytes(first, |text| Decimal::parse(text).map(Decimal::bytes)),
            Decoding::Text { fill } => {
                let text = match first.data_type() {
                    DataType::Utf8View => Arc::clone(first),
                    _ => cast(first, &DataType::Utf8View)?,
                };
                Ok(if fill { fill_text(&text) } else { text })
            }
        }
    }
}

fn decode_datetime(micros: &ArrayRef, digits: Option<&ArrayRef>) -> Result<ArrayRef, ArrowError> {
    let wrong = || ArrowError::CastError(format!("a datetime is stored as {}", micros.data_type()));
    let micros = micros.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?;
    let ticks = |value: i64| value.wrapping_mul(TICKS_PER_MICROSECOND).wrapping_add(UNIX_EPOCH_TICKS);
    let Some(digits) = digits else {
        let array: Int64Array = micros.unary(ticks);
        return Ok(Arc::new(array));
    };
    let wrong = || ArrowError::CastError(format!("a tick column is stored as {}", digits.data_type()));
    let digits = digits.as_primitive_opt::<Int8Type>().ok_or_else(wrong)?;
    let has_null_digits = digits.null_count() > 0;
    let values: Vec<i64> = micros
        .values()
        .iter()
        .zip(digits.values())
        .enumerate()
        .map(|(row, (value, digit))| {
            let digit = if has_null_digits && digits.is_null(row) { 0 } else { i64::from(*digit) };
            ticks(*value).wrapping_add(digit)
        })
        .collect();
    Ok(Arc::new(Int64Array::new(ScalarBuffer::from(values), micros.nulls().cloned())))
}

/// A guid in the form we write, much faster than in every form that is allowed.
fn parse_written_guid(text: &str) -> Option<[u8; 16]> {
    const INVALID: u8 = 0xff;
    const HEX: [u8; 256] = {
        let mut table = [INVALID; 256];
        let mut digit = 0;
        while digit < 16 {
            table[b"0123456789abcdef"[digit] as usize] = digit as u8;
            digit += 1;
        }
        table
    };
    /// Where each byte's two digits stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text = <&[u8; 36]>::try_from(text.as_bytes()).ok()?;
    let mut bytes = [0; 16];
    let mut seen = 0;
    for (byte, place) in bytes.iter_mut().zip(PLACES) {
        let (high, low) = (HEX[text[place] as usize], HEX[text[place + 1] as usize]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    let hyphens = text[8] == b'-' && text[13] == b'-' && text[18] == b'-' && text[23] == b'-';
    (hyphens && seen < 16).then_some(bytes)
}

fn decode_bytes(array: &ArrayRef, parse: impl Fn(&str) -> Option<[u8; 16]>) -> Result<ArrayRef, ArrowError> {
    fn each<'a>(
        texts: impl Iterator<Item = Option<&'a str>>,
        rows: usize,
        parse: impl Fn(&str) -> Option<[u8; 16]>,
    ) -> Result<ArrayRef, ArrowError> {
        let mut values = Vec::with_capacity(rows * 16);
        let mut valid = Vec::with_capacity(rows);
        for text in texts {
            match text.map(|text| parse(text).ok_or_else(|| unreadable(text))).transpose()? {
                Some(bytes) => {
                    values.extend_from_slice(&bytes);
                    valid.push(true);
                }
                None => {
                    values.extend_from_slice(&[0; 16]);
                    valid.push(false);
                }
            }
        }
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(FixedSizeBinaryArray::try_new(16, values.into(), nulls)?))
    }
    fn unreadable(text: &str) -> ArrowError {
        ArrowError::ParseError(format!("stored value '{text}' cannot be read"))
    }
    match array.data_type() {
        DataType::Utf8 => each(array.as_string::<i32>().iter(), array.len(), parse),
        DataType::LargeUtf8 => each(array.as_string::<i64>().iter(), array.len(), parse),
        DataType::Utf8View => each(array.as_string_view().iter(), array.len(), parse),
        other => Err(ArrowError::CastError(format!("a guid or decimal is stored as {other}"))),
    }
}

/// Approximate bytes of an array's values, whatever buffers it shares with others.
pub(crate) fn value_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Boolean => array.len().div_ceil(8),
        DataType::Utf8View => {
            // The length of a string is the low half of its view's first word.
            array.len() * 4 + array.as_string_view().views().iter().map(|view| *view as u32 as usize).sum::<usize>()
        }
        DataType::FixedSizeBinary(width) => array.len() * usize::try_from(*width).unwrap_or(0),
        other => array.len() * other.primitive_width().unwrap_or(16),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeBinaryBuilder, StringArray};

    use super::*;

    fn roundtrip(ty: KqlType, decoding: Decoding, array: ArrayRef, with_ticks: bool) -> ArrayRef {
        let mut arrays = vec![to_rest(ty, &array).unwrap()];
        assert_eq!(arrays[0].data_type(), &rest_type(ty));
        if with_ticks {
            arrays.push(tick_column(&array));
        }
        decoding.decode(&arrays).unwrap()
    }

    #[test]
    fn every_tick_of_a_datetime_comes_back() {
        let max = 3_155_378_975_999_999_999;
        let epoch = UNIX_EPOCH_TICKS;
        let values = vec![Some(0), Some(1), None, Some(epoch - 1), Some(epoch), Some(epoch + 9), Some(max)];
        let array = Int64Array::from(values);
        assert!(has_ticks(&array));
        let array: ArrayRef = Arc::new(array);
        assert_eq!(&roundtrip(KqlType::DateTime, Decoding::DateTime, Arc::clone(&array), true), &array);

        let array = Int64Array::from(vec![Some(0), None, Some(epoch - 10)]);
        assert!(!has_ticks(&array));
        let array: ArrayRef = Arc::new(array);
        assert_eq!(&roundtrip(KqlType::DateTime, Decoding::DateTime, Arc::clone(&array), false), &array);
    }

    #[test]
    fn guids_and_decimals_come_back_from_their_text() {
        let mut builder = FixedSizeBinaryBuilder::new(16);
        builder.append_value(0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128.to_be_bytes()).unwrap();
        builder.append_null();
        let array: ArrayRef = Arc::new(builder.finish());
        assert_eq!(&roundtrip(KqlType::Guid, Decoding::Guid, Arc::clone(&array), false), &array);

        let mut builder = FixedSizeBinaryBuilder::new(16);
        for text in
            ["0", "-1.5", "1234567890123456789012345678901234", "1e-30", "-9.999999999999999999999999999999999e40"]
        {
            builder.append_value(Decimal::parse(text).unwrap().bytes()).unwrap();
        }
        builder.append_null();
        let array: ArrayRef = Arc::new(builder.finish());
        assert_eq!(&roundtrip(KqlType::Decimal, Decoding::Decimal, Arc::clone(&array), false), &array);
    }

    #[test]
    fn both_readers_of_guids_agree() {
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..1000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bytes = (u128::from(state) << 64 | u128::from(state.rotate_left(17))).to_be_bytes();
            assert_eq!(parse_written_guid(&guid::to_text(&bytes)), Some(bytes));
        }
        for text in ["", "0", "G1234567-89ab-cdef-0123-456789abcdef", "01234567089ab-cdef-0123-456789abcdef"] {
            assert_eq!(parse_written_guid(text), None, "{text}");
        }
        assert_eq!(parse_written_guid("01234567-89AB-CDEF-0123-456789ABCDEF"), None);
    }

    #[test]
    fn null_strings_are_stored_empty_and_null_json_stays_null() {
        let array: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a long enough text for a buffer"), None]));
        let stored = to_rest(KqlType::String, &array).unwrap();
        assert_eq!(
            stored.as_string_view().iter().collect::<Vec<_>>(),
            vec![Some("a long enough text for a buffer"), Some("")]
        );
        assert_eq!(to_rest(KqlType::Dynamic, &array).unwrap().null_count(), 1);
        let decoded = Decoding::Text { fill: true }.decode(&[array]).unwrap();
        assert_eq!(decoded.null_count(), 0);
    }

    #[test]
    fn a_text_that_is_no_guid_is_an_error_and_not_a_null() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["nonsense"]));
        assert!(Decoding::Guid.decode(&[array]).is_err());
    }
}
