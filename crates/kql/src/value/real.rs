//! real: binary64.

use super::{into_text, trim};

/// Appends the JSON wire form: the shortest number that reads back as the same value, always with a
/// fraction or an exponent; `"NaN"`, `"Infinity"`, `"-Infinity"` as strings. Source: kusto-rest section 7.
pub fn write_json(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

/// The text of `tostring`: what `write_text` appends.
pub fn to_text(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    write_text(value, &mut out);
    into_text(out)
}

/// Appends the text of `tostring`: a fraction always (`1.0`), `NaN`, `inf`, `-inf`; from 1e15 on and below
/// 1e-4 with an exponent (`1E+15`, `1.5E-05`). Source: kql-behaviour section 4; the exponent's
/// thresholds and form are .NET's, the service's own being unmeasured.
pub fn write_text(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"inf");
        return;
    }
    if value == 0.0 {
        out.extend_from_slice(b"0.0");
        return;
    }
    let magnitude = value.abs();
    let (digits, exponent) = shortest_digits(magnitude);
    let digits = if digits >= 1_000_000_000_000_000 && magnitude.fract() != 0.0 {
        last_digits(magnitude, digits, exponent)
    } else {
        digits
    };
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(digits).as_bytes();
    let adjusted = exponent + digits.len() as i32 - 1;
    if adjusted >= 15 || adjusted <= -5 {
        super::write_mantissa(digits, adjusted, out);
        if adjusted.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(adjusted.unsigned_abs()).as_bytes());
    } else if !super::write_positional(digits, adjusted, out) {
        out.extend_from_slice(b".0");
    }
}

/// The shortest digits that read back as `magnitude` (finite, above zero), without zeros at the end,
/// and the power of ten they are to be multiplied by.
pub(crate) fn shortest_digits(magnitude: f64) -> (u64, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(magnitude).as_bytes();
    let (mut digits, mut exponent) = (0u64, 0i32);
    let mut after_point = false;
    for (position, byte) in text.iter().enumerate() {
        match byte {
            b'.' => after_point = true,
            b'e' => {
                let (sign, power) = match &text[position + 1..] {
                    [b'-', power @ ..] => (-1, power),
                    power => (1, power),
                };
                exponent += sign * power.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
                break;
            }
            digit => {
                digits = digits * 10 + u64::from(digit - b'0');
                exponent -= i32::from(after_point);
            }
        }
    }
    while digits != 0 && digits % 10 == 0 {
        digits /= 10;
        exponent += 1;
    }
    (digits, exponent)
}

/// Of all numbers with as few digits that read back as `magnitude`, the greatest.
// The service does not take the closest one: it printed 0.1 + 0.2 as 0.30000000000000007, which are
// the first 17 digits of the upper end of that value's interval.
fn last_digits(magnitude: f64, mut digits: u64, exponent: i32) -> u64 {
    let mut text = Vec::with_capacity(24);
    while {
        text.clear();
        text.extend_from_slice(itoa::Buffer::new().format(digits + 1).as_bytes());
        text.push(b'e');
        text.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
        parse_finite(&text) == Some(magnitude)
    } {
        digits += 1;
    }
    digits
}

fn parse_finite(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a real by the rules of `todouble`: `1e3`, `.5`, `5.`, `NaN`, `nan`, `inf`, `Inf`, `Infinity` with a
/// sign where it makes sense; too large is infinite. Hexadecimal, `INF` and digit separators are
/// `None`. Source: kql-behaviour section 6.
pub fn parse(text: &str) -> Option<f64> {
    let bytes = trim(text);
    let unsigned = match bytes {
        [b'-' | b'+', rest @ ..] => rest,
        rest => rest,
    };
    match unsigned {
        b"inf" | b"Inf" | b"Infinity" if bytes[0] == b'-' => return Some(f64::NEG_INFINITY),
        b"inf" | b"Inf" | b"Infinity" => return Some(f64::INFINITY),
        _ => {}
    }
    if matches!(bytes, b"NaN" | b"nan") {
        return Some(f64::NAN);
    }
    // The standard reader also knows words; only those above are KQL's.
    if !unsigned.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    parse_finite(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Random;
    use super::*;

    #[test]
    fn recorded_texts_come_out() {
        let texts = [
            (1.0, "1.0"),
            (1.5, "1.5"),
            (1500.0, "1500.0"),
            (100_000_000_000.0, "100000000000.0"),
            (0.1 + 0.2, "0.30000000000000007"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.3, "0.3"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (0.0, "0.0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (0.001, "0.001"),
            (0.00015, "0.00015"),
            (1.5e-5, "1.5E-05"),
            (1e15, "1E+15"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (-1.25e100, "-1.25E+100"),
            (9_007_199_254_740_993.0, "9.007199254740992E+15"),
            (5e-324, "5E-324"),
        ];
        for (value, text) in texts {
            assert_eq!(to_text(value), text);
        }
    }

    #[test]
    fn todouble_rules_hold() {
        for (text, value) in
            [(" 3.25 ", 3.25), ("1e3", 1e3), (".5", 0.5), ("5.", 5.0), ("1.5E+3", 1500.0), ("1e400", f64::INFINITY)]
        {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for (text, value) in
            [("-inf", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("+Infinity", f64::INFINITY), ("1e-400", 0.0)]
        {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        assert!(parse("  NaN  ").is_some_and(f64::is_nan) && parse("nan").is_some_and(f64::is_nan));
        for text in
            ["", "INF", "0x10", "1,000", "1_000", ".", "e5", "1e", "-", "nan1", "infinite", "1 2", "-nan", "NAN"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_real_is_read_back_from_both_forms() {
        let mut random = Random::new(3);
        for round in 0..20_000 {
            let value = match round % 3 {
                0 => f64::from_bits(random.next()),
                1 => random.below(1 << 40) as f64 / 1000.0,
                _ => random.below(1 << 60) as f64 / (1u64 << 30) as f64,
            };
            if !value.is_finite() {
                continue;
            }
            assert_eq!(parse(&to_text(value)), Some(value));
            let mut json = Vec::new();
            write_json(value, &mut json);
            assert_eq!(parse_finite(&json), Some(value));
        }
    }
}
