//! JSON text written by hand into byte buffers: strings, and cells of batches by their KQL type.
//!
//! Input: columns of batches in the engine's forms. Output: the values of kusto-rest section 7. A
//! writer per column is chosen once per batch; no cell allocates.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use tidewater_kql::{KqlType, value};

/// Appends `text` as a JSON string, quotes included.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends a JSON string of bytes that should be UTF-8; what is not becomes U+FFFD, so that one bad
/// value never spoils the document.
fn bytes(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if text.is_ascii() || std::str::from_utf8(text).is_ok() {
        escaped(text, out);
    } else {
        escaped(String::from_utf8_lossy(text).as_bytes(), out);
    }
    out.push(b'"');
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that JSON wants escaped: below 0x20, `"`, `\`. Bytes above a hit may be
/// marked wrongly, which is harmless: only "any" and the lowest mark are used.
fn marks(word: u64) -> u64 {
    let below_space = word.wrapping_sub(LOW * 0x20) & !word;
    let quote = word ^ (LOW * b'"' as u64);
    let backslash = word ^ (LOW * b'\\' as u64);
    let quote = quote.wrapping_sub(LOW) & !quote;
    let backslash = backslash.wrapping_sub(LOW) & !backslash;
    (below_space | quote | backslash) & HIGH
}

/// Appends text with JSON's escapes; eight bytes are looked at in a step.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        if let Some(chunk) = text.get(at..at + 8) {
            let word = u64::from_le_bytes(chunk.try_into().expect("a chunk has eight bytes"));
            let hits = marks(word);
            if hits == 0 {
                at += 8;
                continue;
            }
            at += (hits.trailing_zeros() / 8) as usize;
        }
        let byte = text[at];
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[start..at]);
        escape(byte, out);
        at += 1;
        start = at;
    }
    out.extend_from_slice(&text[start..]);
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[(byte >> 4) as usize]);
            out.push(HEX[(byte & 15) as usize]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a whole number.
pub fn integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The cells of one column of one batch, ready to be written.
pub enum Cells {
    /// `true`, `false`.
    Bool(BooleanArray),
    /// A number.
    Int(Int32Array),
    /// A number, in full.
    Long(Int64Array),
    /// A number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Real(Float64Array),
    /// A string of digits.
    Decimal(FixedSizeBinaryArray),
    /// A string; null is `""`.
    String(BinaryViewArray),
    /// `"2020-01-02T03:04:05.1Z"`.
    DateTime(Int64Array),
    /// `"-1.02:03:04.5000000"`.
    TimeSpan(Int64Array),
    /// `"00000000-0000-0000-0000-000000000000"`.
    Guid(FixedSizeBinaryArray),
    /// Nested JSON.
    Dynamic(BinaryViewArray),
}

impl Cells {
    /// The cells of `array`, which should have `ty`'s engine form; near forms are cast, others are an error.
    pub fn new(ty: KqlType, array: &ArrayRef) -> Result<Cells, String> {
        let wanted = ty.arrow();
        let array = if *array.data_type() == wanted {
            array.clone()
        } else {
            arrow::compute::cast(array, &wanted)
                .map_err(|_| format!("a column of type {ty} came as {}", array.data_type()))?
        };
        Ok(match ty {
            KqlType::Bool => Cells::Bool(array.as_boolean().clone()),
            KqlType::Int => Cells::Int(array.as_primitive::<Int32Type>().clone()),
            KqlType::Long => Cells::Long(array.as_primitive::<Int64Type>().clone()),
            KqlType::Real => Cells::Real(array.as_primitive::<Float64Type>().clone()),
            KqlType::Decimal => Cells::Decimal(array.as_fixed_size_binary().clone()),
            KqlType::String => Cells::String(array.as_string_view().clone().to_binary_view()),
            KqlType::DateTime => Cells::DateTime(array.as_primitive::<Int64Type>().clone()),
            KqlType::TimeSpan => Cells::TimeSpan(array.as_primitive::<Int64Type>().clone()),
            KqlType::Guid => Cells::Guid(array.as_fixed_size_binary().clone()),
            KqlType::Dynamic => Cells::Dynamic(array.as_string_view().clone().to_binary_view()),
        })
    }

    /// Appends the cell of `row`.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Bool(array) if array.is_valid(row) => {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            }
            Cells::Int(array) if array.is_valid(row) => {
                out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes());
            }
            Cells::Long(array) if array.is_valid(row) => integer(array.value(row), out),
            Cells::Real(array) if array.is_valid(row) => value::real::write_json(array.value(row), out),
            Cells::Decimal(array) if array.is_valid(row) => {
                quoted(out, |out| decimal(array.value(row), out));
            }
            // A missing string is the empty string: KQL strings have no null.
            Cells::String(array) if array.is_valid(row) => bytes(array.value(row), out),
            Cells::String(_) => out.extend_from_slice(b"\"\""),
            Cells::DateTime(array) if array.is_valid(row) => {
                quoted(out, |out| value::datetime::write(array.value(row), out));
            }
            Cells::TimeSpan(array) if array.is_valid(row) => {
                quoted(out, |out| value::timespan::write(array.value(row), out));
            }
            Cells::Guid(array) if array.is_valid(row) => {
                quoted(out, |out| guid(array.value(row), out));
            }
            Cells::Dynamic(array) if array.is_valid(row) => dynamic(array.value(row), out),
            _ => out.extend_from_slice(b"null"),
        }
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn decimal(bytes: &[u8], out: &mut Vec<u8>) {
    let bytes: [u8; 16] = bytes.try_into().unwrap_or_default();
    value::decimal::Decimal::from_bytes(bytes).write(out);
}

fn guid(bytes: &[u8], out: &mut Vec<u8>) {
    let bytes: [u8; 16] = bytes.try_into().unwrap_or_default();
    value::guid::write(&bytes, out);
}

/// The engine keeps dynamic values as JSON text, which goes out as it is. A text that cannot be JSON
/// by its first byte goes out as a string rather than break the document.
fn dynamic(text: &[u8], out: &mut Vec<u8>) {
    match text.first() {
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            if text.is_ascii() || std::str::from_utf8(text).is_ok() {
                out.extend_from_slice(text);
            } else {
                out.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
            }
        }
        Some(_) => bytes(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{StringArray, StringViewArray};

    use super::*;

    fn written(ty: KqlType, array: ArrayRef) -> String {
        let cells = Cells::new(ty, &array).unwrap();
        let mut out = Vec::new();
        for row in 0..array.len() {
            if row > 0 {
                out.push(b',');
            }
            cells.write(row, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_at_every_offset_survives_a_json_parser() {
        for pad in 0..17 {
            for code in (0..0x180u32).chain([0x2028, 0x2029, 0xfffd, 0x1f600]) {
                let text = format!("{}{}{}", "x".repeat(pad), char::from_u32(code).unwrap(), "y".repeat(9));
                let mut out = Vec::new();
                string(&text, &mut out);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        let mut out = Vec::new();
        bytes(b"a\xff\"", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\u{fffd}\\\"\"");
    }

    #[test]
    fn cells_follow_the_wire_forms_of_their_types() {
        let bools: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        assert_eq!(written(KqlType::Bool, bools), "true,null,false");
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(-1)]));
        assert_eq!(written(KqlType::Long, longs), "9223372036854775807,null,-1");
        let reals: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5]));
        assert_eq!(written(KqlType::Real, reals), "\"NaN\",\"Infinity\",\"-Infinity\",1.5");
        let strings: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a\"b"), None, Some("")]));
        assert_eq!(written(KqlType::String, strings), r#""a\"b","","""#);
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["old form"]));
        assert_eq!(written(KqlType::String, plain), "\"old form\"");
        let dynamics: ArrayRef = Arc::new(StringViewArray::from(vec![Some(r#"{"a":[1]}"#), None, Some(""), Some("?")]));
        assert_eq!(written(KqlType::Dynamic, dynamics), r#"{"a":[1]},null,null,"?""#);
        let guids = FixedSizeBinaryArray::try_from_iter([(0u8..16).collect::<Vec<_>>()].into_iter()).unwrap();
        assert_eq!(written(KqlType::Guid, Arc::new(guids)), "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"");
        let times: ArrayRef = Arc::new(Int64Array::from(vec![value::datetime::parse("2020-01-02T03:04:05.1Z"), None]));
        assert_eq!(written(KqlType::DateTime, times), "\"2020-01-02T03:04:05.1Z\",null");
        let spans: ArrayRef = Arc::new(Int64Array::from(vec![-(864_000_000_000 + 5_000_000), 0]));
        assert_eq!(written(KqlType::TimeSpan, spans), "\"-1.00:00:00.5000000\",\"00:00:00\"");
    }
}
