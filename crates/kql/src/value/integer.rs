//! int and long: `toint` and `tolong` rules.

use super::trim;

/// Reads a long: optional sign and digits, or unsigned hexadecimal after `0x` (which wraps); blanks
/// around are ignored. Anything else, out of range included, is `None`. Source: kql-behaviour section 6.
pub fn parse_long(text: &str) -> Option<i64> {
    let bytes = trim(text);
    if let Some(digits) = hex_digits(bytes) {
        return parse_hex(digits).map(|value| value as i64);
    }
    parse_decimal(bytes)
}

/// Reads an int by the rules of `parse_long`.
pub fn parse_int(text: &str) -> Option<i32> {
    let bytes = trim(text);
    if let Some(digits) = hex_digits(bytes) {
        return u32::try_from(parse_hex(digits)?).ok().map(|value| value as i32);
    }
    i32::try_from(parse_decimal(bytes)?).ok()
}

fn hex_digits(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'0', b'x' | b'X', digits @ ..] => Some(digits),
        _ => None,
    }
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        if value >> 60 != 0 { None } else { Some(value << 4 | u64::from(digit)) }
    })
}

fn parse_decimal(bytes: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Counted downwards, since the negative range is the larger one.
    let negated = digits.iter().try_fold(0i64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))
    })?;
    if is_negative { Some(negated) } else { negated.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_read_by_the_rules_of_tolong() {
        let good = [
            ("  42  ", 42),
            ("+7", 7),
            ("007", 7),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807", i64::MAX),
            ("0x10", 16),
            ("0X1f", 31),
            ("0xFFFFFFFFFFFFFFFF", -1),
            ("0x7FFFFFFFFFFFFFFF", i64::MAX),
            ("0x00000000000000000001", 1),
        ];
        for (text, value) in good {
            assert_eq!(parse_long(text), Some(value), "{text}");
        }
        let bad = [
            "",
            "1.5",
            "1e3",
            "5.",
            "1_000",
            "1,000",
            "-0x10",
            "0x",
            "0x1FFFFFFFFFFFFFFFF",
            "9223372036854775808",
            "--1",
            "+",
            "1 2",
            "٣",
        ];
        for text in bad {
            assert_eq!(parse_long(text), None, "{text:?}");
        }
    }

    #[test]
    fn ints_are_bounded_and_hexadecimal_wraps_at_32_bits() {
        assert_eq!(parse_int("0x7FFFFFFF"), Some(i32::MAX));
        assert_eq!(parse_int("0xFFFFFFFF"), Some(-1));
        assert_eq!(parse_int("0x100000000"), None);
        assert_eq!(parse_int("2147483648"), None);
        assert_eq!(parse_int("-2147483648"), Some(i32::MIN));
    }
}
