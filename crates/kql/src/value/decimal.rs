//! decimal: a decimal floating-point number of 34 significant digits, in 16 bytes that sort as the
//! numbers do.
//!
//! From the highest bit: 1 bit sign (1 for zero and above), 14 bits exponent of the first digit plus
//! 6144, 113 bits coefficient brought to exactly 34 digits. Negative numbers have all bits inverted.
//! So there is one form of each number, and comparing bytes compares numbers. Range and rounding
//! (half to even) are those of IEEE 754 decimal128.

use super::real::shortest_digits;
use super::{into_text, trim};

const DIGITS: u32 = 34;
const COEFFICIENT_BITS: u32 = 113;
const EXPONENT_BIAS: i32 = 6144;
const MAX_ADJUSTED: i32 = 6144;
const MIN_ADJUSTED: i32 = -6143;
const SIGN: u128 = 1 << 127;
/// 10^34: one more than the largest coefficient.
const LIMIT: u128 = POWERS[34];
/// 10^17: half of a coefficient's digits.
const HALF: u128 = POWERS[17];

const POWERS: [u128; 39] = {
    let mut powers = [1u128; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// A decimal in its sortable form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal([u8; 16]);

/// `coefficient * 10^exponent`; the coefficient has 34 digits, or is 0.
#[derive(Clone, Copy)]
struct Parts {
    is_negative: bool,
    coefficient: u128,
    exponent: i32,
}

/// The number of decimal digits; 0 for 0.
fn digit_count(value: u128) -> u32 {
    let estimate = ((128 - value.leading_zeros()) * 1233) >> 12;
    estimate + u32::from(POWERS.get(estimate as usize).is_some_and(|power| value >= *power))
}

fn power(exponent: u32) -> u128 {
    POWERS[exponent as usize]
}

// The operator traits cannot give an `Option`.
#[allow(clippy::should_implement_trait)]
impl Decimal {
    /// 0.
    pub const ZERO: Decimal = Decimal(SIGN.to_be_bytes());

    /// The 16 bytes that sort as the numbers do.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The number of 16 bytes; bytes that `bytes` never gives become some number.
    pub fn from_bytes(bytes: [u8; 16]) -> Decimal {
        let raw = Decimal(bytes);
        let Parts { is_negative, coefficient, exponent } = raw.parts();
        let adjusted = exponent + DIGITS as i32 - 1;
        if (power(DIGITS - 1)..LIMIT).contains(&coefficient) && (MIN_ADJUSTED..=MAX_ADJUSTED).contains(&adjusted) {
            return raw;
        }
        Decimal::pack(is_negative, coefficient.min(LIMIT - 1), exponent).unwrap_or(Decimal::ZERO)
    }

    fn parts(self) -> Parts {
        let bits = u128::from_be_bytes(self.0);
        let is_negative = bits & SIGN == 0;
        let magnitude = if is_negative { !bits } else { bits } & !SIGN;
        let coefficient = magnitude & ((1 << COEFFICIENT_BITS) - 1);
        let adjusted = (magnitude >> COEFFICIENT_BITS) as i32 - EXPONENT_BIAS;
        Parts { is_negative, coefficient, exponent: adjusted - (DIGITS as i32 - 1) }
    }

    /// The number of a coefficient below 10^34; `None` when it is too large, 0 when it is too small.
    fn pack(is_negative: bool, coefficient: u128, exponent: i32) -> Option<Decimal> {
        if coefficient == 0 {
            return Some(Decimal::ZERO);
        }
        let missing = DIGITS - digit_count(coefficient);
        let adjusted = exponent.saturating_sub(missing as i32).saturating_add(DIGITS as i32 - 1);
        if adjusted > MAX_ADJUSTED {
            return None;
        }
        if adjusted < MIN_ADJUSTED {
            return Some(Decimal::ZERO);
        }
        let magnitude = ((adjusted + EXPONENT_BIAS) as u128) << COEFFICIENT_BITS | (coefficient * power(missing));
        let bits = SIGN | magnitude;
        Some(Decimal(if is_negative { !bits } else { bits }.to_be_bytes()))
    }

    /// Rounds `high * 10^34 + low`, and a remainder below 1 that is not zero where `sticky`.
    fn round_wide(is_negative: bool, high: u128, low: u128, sticky: bool, exponent: i32) -> Option<Decimal> {
        if high == 0 {
            return Decimal::pack(is_negative, low, exponent);
        }
        let dropped = digit_count(high);
        let unit = power(dropped);
        let mut coefficient = high * power(DIGITS - dropped) + low / unit;
        let (rest, half) = (low % unit, unit / 2);
        if rest > half || rest == half && (sticky || coefficient % 2 == 1) {
            coefficient += 1;
        }
        let mut exponent = exponent + dropped as i32;
        if coefficient == LIMIT {
            coefficient /= 10;
            exponent += 1;
        }
        Decimal::pack(is_negative, coefficient, exponent)
    }

    /// Reads digits with an optional sign, point and exponent; blanks around are ignored, digits beyond the
    /// 34th are rounded. `None` for anything else and for numbers out of range.
    pub fn parse(text: &str) -> Option<Decimal> {
        let bytes = trim(text);
        let (is_negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mut coefficient, mut exponent) = (0u128, 0i32);
        // Digits beyond those that a coefficient holds twice: only whether one is not zero counts.
        let (mut low, mut low_digits, mut sticky) = (0u128, 0u32, false);
        let (mut any, mut after_point) = (false, false);
        let mut position = 0;
        while let Some(byte) = bytes.get(position) {
            match byte {
                b'0'..=b'9' => {
                    any = true;
                    let digit = u128::from(byte - b'0');
                    if coefficient < power(DIGITS - 1) {
                        coefficient = coefficient * 10 + digit;
                        exponent = exponent.saturating_sub(i32::from(after_point));
                    } else {
                        if low_digits < DIGITS {
                            low = low * 10 + digit;
                            low_digits += 1;
                        } else {
                            sticky |= digit != 0;
                        }
                        exponent = exponent.saturating_add(i32::from(!after_point));
                    }
                }
                b'.' if !after_point => after_point = true,
                b'e' | b'E' if any => {
                    exponent = exponent.saturating_add(parse_exponent(&bytes[position + 1..])?);
                    break;
                }
                _ => return None,
            }
            position += 1;
        }
        if !any {
            return None;
        }
        if low_digits == 0 {
            return Decimal::pack(is_negative, coefficient, exponent);
        }
        let low = low * power(DIGITS - low_digits);
        // `coefficient` has 34 digits here, and the value is `coefficient.low`.
        Decimal::round_wide(is_negative, coefficient, low, sticky, exponent.saturating_sub(DIGITS as i32))
    }

    /// The text: digits with a point where there is a fraction; numbers from 1e34 on and below 1e-34 with an
    /// exponent (`1.5E+40`).
    pub fn to_text(self) -> String {
        let mut out = Vec::with_capacity(40);
        self.write(&mut out);
        into_text(out)
    }

    /// Appends what `to_text` gives.
    pub fn write(self, out: &mut Vec<u8>) {
        let Parts { is_negative, coefficient, exponent } = self.parts();
        if coefficient == 0 {
            out.push(b'0');
            return;
        }
        if is_negative {
            out.push(b'-');
        }
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(coefficient).as_bytes();
        let adjusted = exponent + text.len() as i32 - 1;
        let digits = &text[..text.len() - text.iter().rev().take_while(|digit| **digit == b'0').count()];
        if adjusted >= DIGITS as i32 || adjusted <= -(DIGITS as i32) {
            super::write_mantissa(digits, adjusted, out);
            out.extend_from_slice(itoa::Buffer::new().format(adjusted.unsigned_abs()).as_bytes());
        } else {
            super::write_positional(digits, adjusted, out);
        }
    }

    /// The decimal of a long, exactly.
    pub fn from_i64(value: i64) -> Decimal {
        Decimal::pack(value < 0, u128::from(value.unsigned_abs()), 0).expect("19 digits are within the range")
    }

    /// The decimal of the shortest digits that read back as `value` (0.1 gives 0.1); `None` for NaN and infinities.
    pub fn from_f64(value: f64) -> Option<Decimal> {
        if !value.is_finite() {
            return None;
        }
        let (digits, exponent) = shortest_digits(value.abs());
        Decimal::pack(value < 0.0, u128::from(digits), exponent)
    }

    /// The nearest real; infinite when there is none.
    pub fn to_f64(self) -> f64 {
        let Parts { is_negative, coefficient, exponent } = self.parts();
        let mut text = Vec::with_capacity(44);
        if is_negative {
            text.push(b'-');
        }
        text.extend_from_slice(itoa::Buffer::new().format(coefficient).as_bytes());
        text.push(b'e');
        text.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }

    /// The whole part as a long; `None` when it is out of range.
    pub fn to_i64(self) -> Option<i64> {
        let Parts { is_negative, coefficient, exponent } = self.parts();
        if coefficient == 0 || exponent <= -(DIGITS as i32) {
            return Some(0);
        }
        // 34 digits with an exponent of 0 or more are far beyond a long.
        let divisor = u32::try_from(-exponent).ok().filter(|shift| *shift > 0)?;
        let whole = i128::try_from(coefficient / power(divisor)).ok()?;
        i64::try_from(if is_negative { -whole } else { whole }).ok()
    }

    /// The sum; `None` out of range.
    pub fn add(self, other: Decimal) -> Option<Decimal> {
        let (mut a, mut b) = (self.parts(), other.parts());
        if a.coefficient == 0 {
            return Some(other);
        }
        if b.coefficient == 0 {
            return Some(self);
        }
        if (a.exponent, a.coefficient) < (b.exponent, b.coefficient) {
            (a, b) = (b, a);
        }
        let shift = (a.exponent - b.exponent) as u32;
        if shift > 2 * DIGITS {
            return Decimal::pack(a.is_negative, a.coefficient, a.exponent);
        }
        // Both as (high, low) in units of 10^(a.exponent - 34); what is lost of `b` only decides ties.
        let (high, low, sticky) = if shift <= DIGITS {
            let (whole, part) = (b.coefficient / power(shift), b.coefficient % power(shift));
            (whole, part * power(DIGITS - shift), false)
        } else {
            let unit = power(shift - DIGITS);
            (0, b.coefficient / unit, b.coefficient % unit != 0)
        };
        let exponent = a.exponent - DIGITS as i32;
        if a.is_negative == b.is_negative {
            let high = a.coefficient + high;
            if high >= LIMIT {
                // One digit more than `round_wide` takes.
                let (carry, rest) = (high / 10, high % 10);
                let low_part = rest * power(DIGITS - 1) + low / 10;
                return Decimal::round_wide(a.is_negative, carry, low_part, sticky || low % 10 != 0, exponent + 1);
            }
            return Decimal::round_wide(a.is_negative, high, low, sticky, exponent);
        }
        // a > b in magnitude. A lost remainder makes the difference smaller: borrow a whole and add the rest back.
        let low = low + u128::from(sticky);
        let (borrow, low) = if low > 0 { (1, LIMIT - low) } else { (0, 0) };
        Decimal::round_wide(a.is_negative, a.coefficient - high - borrow, low, sticky, exponent)
    }

    /// The difference; `None` out of range.
    pub fn sub(self, other: Decimal) -> Option<Decimal> {
        self.add(other.neg())
    }

    /// The product; `None` out of range.
    pub fn mul(self, other: Decimal) -> Option<Decimal> {
        let (a, b) = (self.parts(), other.parts());
        let (a1, a0) = (a.coefficient / HALF, a.coefficient % HALF);
        let (b1, b0) = (b.coefficient / HALF, b.coefficient % HALF);
        let middle = a1 * b0 + a0 * b1;
        let low = a0 * b0 + middle % HALF * HALF;
        let high = a1 * b1 + middle / HALF + low / LIMIT;
        Decimal::round_wide(a.is_negative != b.is_negative, high, low % LIMIT, false, a.exponent + b.exponent)
    }

    /// The quotient; `None` for a divisor of zero and out of range.
    pub fn div(self, other: Decimal) -> Option<Decimal> {
        let (a, b) = (self.parts(), other.parts());
        if b.coefficient == 0 {
            return None;
        }
        let (mut quotient, mut rest) = (a.coefficient / b.coefficient, a.coefficient % b.coefficient);
        for _ in 0..=DIGITS {
            rest *= 10;
            quotient = quotient * 10 + rest / b.coefficient;
            rest %= b.coefficient;
        }
        let exponent = a.exponent - b.exponent - DIGITS as i32 - 1;
        let is_negative = a.is_negative != b.is_negative;
        if rest == 0 && quotient < LIMIT {
            return Decimal::pack(is_negative, quotient, exponent);
        }
        Decimal::round_wide(is_negative, quotient / LIMIT, quotient % LIMIT, rest != 0, exponent)
    }

    /// The remainder of the division that cuts off (sign of the dividend); `None` for a divisor of zero.
    pub fn rem(self, other: Decimal) -> Option<Decimal> {
        let (a, b) = (self.parts(), other.parts());
        if b.coefficient == 0 {
            return None;
        }
        if a.exponent < b.exponent {
            // Both coefficients have 34 digits: the divisor is the larger number.
            return Some(self);
        }
        let mut rest = a.coefficient % b.coefficient;
        let mut shift = (a.exponent - b.exponent) as u32;
        while shift > 0 && rest != 0 {
            let step = shift.min(4);
            rest = rest * power(step) % b.coefficient;
            shift -= step;
        }
        Decimal::pack(a.is_negative, rest, b.exponent)
    }

    /// The number with the other sign.
    pub fn neg(self) -> Decimal {
        if self == Decimal::ZERO { self } else { Decimal((!u128::from_be_bytes(self.0)).to_be_bytes()) }
    }

    /// The magnitude.
    pub fn abs(self) -> Decimal {
        if self.is_negative() { self.neg() } else { self }
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0[0] & 0x80 == 0
    }

    /// The largest whole number not above it.
    pub fn floor(self) -> Decimal {
        self.quantize(0, |parts, rest, _| parts.is_negative && rest != 0)
    }

    /// The smallest whole number not below it.
    pub fn ceil(self) -> Decimal {
        self.quantize(0, |parts, rest, _| !parts.is_negative && rest != 0)
    }

    /// The whole part.
    pub fn trunc(self) -> Decimal {
        self.quantize(0, |_, _, _| false)
    }

    /// Rounds half away from zero to `digits` after the point, or before it when negative.
    pub fn round(self, digits: i64) -> Decimal {
        let digits = digits.clamp(-10_000, 10_000) as i32;
        self.quantize(-digits, |_, rest, unit| rest >= unit.div_ceil(2))
    }

    /// Brings the last digit to 10^exponent; `up` sees the rest that is cut off and its unit.
    fn quantize(self, exponent: i32, up: impl Fn(&Parts, u128, u128) -> bool) -> Decimal {
        let parts = self.parts();
        let shift = exponent - parts.exponent;
        if shift <= 0 || parts.coefficient == 0 {
            return self;
        }
        // Beyond 35 digits the number is far below half a unit, whatever the unit.
        let unit = power((shift as u32).min(DIGITS + 1));
        let (whole, rest) = (parts.coefficient / unit, parts.coefficient % unit);
        let whole = whole + u128::from(up(&parts, rest, unit));
        Decimal::pack(parts.is_negative, whole, exponent).unwrap_or(self)
    }
}

/// The digits after `e`, bounded so that sums with them stay far from overflow.
fn parse_exponent(bytes: &[u8]) -> Option<i32> {
    let (sign, digits) = match bytes {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(sign * digits.iter().fold(0i32, |value, digit| (value * 10 + i32::from(digit - b'0')).min(100_000_000)))
}

impl std::fmt::Debug for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Random, some_longs};
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a decimal"))
    }

    #[test]
    fn texts_are_read_and_written() {
        let texts = [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.10", "1.1"),
            ("-12345.6789", "-12345.6789"),
            ("1e5", "100000"),
            (".5", "0.5"),
            ("5.", "5"),
            (" +7 ", "7"),
            ("3.14159265358979323846", "3.14159265358979323846"),
            ("0.00001", "0.00001"),
            ("1.5e40", "1.5E+40"),
            ("15e-40", "1.5E-39"),
            ("1234567890123456789012345678901234", "1234567890123456789012345678901234"),
            ("12345678901234567890123456789012345", "1.234567890123456789012345678901234E+34"),
            ("12345678901234567890123456789012355", "1.234567890123456789012345678901236E+34"),
            ("99999999999999999999999999999999995", "1E+35"),
            ("0.0000000000000000000000000000000000000000000001", "1E-46"),
            ("1e-7000", "0"),
        ];
        for (text, expected) in texts {
            assert_eq!(d(text).to_text(), expected, "{text}");
            assert_eq!(d(expected), d(text));
        }
        for text in ["", ".", "-", "abc", "1e", "1e+", "0x1", "1.2.3", "1,0", "1e7000", "nan", "e5", "1 2"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn arithmetic_is_decimal() {
        let table = [
            (d("0.1").add(d("0.2")), "0.3"),
            (d("1").div(d("3")), "0.3333333333333333333333333333333333"),
            (d("2").div(d("3")), "0.6666666666666666666666666666666667"),
            (d("10").div(d("4")), "2.5"),
            (d("1e33").add(d("0.5")), "1000000000000000000000000000000000"),
            (d("1e33").add(d("-1e-10")), "1000000000000000000000000000000000"),
            (d("1e33").add(d("-1")), "999999999999999999999999999999999"),
            (d("9999999999999999999999999999999999").add(d("1")), "1E+34"),
            (d("1").sub(d("1")), "0"),
            (d("2147483648").mul(d("2")), "4294967296"),
            (d("1.1").mul(d("-1.1")), "-1.21"),
            (d("-7.5").rem(d("2")), "-1.5"),
            (d("1e40").rem(d("7")), "4"),
            (d("3").rem(d("1e20")), "3"),
            (d("1e-20").rem(d("3")), "0.00000000000000000001"),
            (Some(d("-2.5").round(0)), "-3"),
            (Some(d("2.345").round(2)), "2.35"),
            (Some(d("1250").round(-2)), "1300"),
            (Some(d("0.4").round(-5)), "0"),
            (Some(d("-1.5").floor()), "-2"),
            (Some(d("-1.5").ceil()), "-1"),
            (Some(d("1e-40").ceil()), "1"),
            (Some(d("1e-40").floor()), "0"),
            (Some(d("-1e-40").floor()), "-1"),
        ];
        for (value, text) in table {
            assert_eq!(value.map(Decimal::to_text).as_deref(), Some(text));
        }
        assert_eq!(d("1").div(Decimal::ZERO), None);
        assert_eq!(d("1").rem(Decimal::ZERO), None);
        assert_eq!(d("9e6144").mul(d("10")), None);
    }

    #[test]
    fn bytes_sort_as_numbers_do() {
        let texts = [
            "-9e6144",
            "-1e40",
            "-12345678901234567890",
            "-2",
            "-1.5",
            "-1",
            "-0.1",
            "-1e-40",
            "-1e-6143",
            "0",
            "1e-6143",
            "1e-40",
            "0.1",
            "0.10000000000000000000000000000001",
            "1",
            "1.5",
            "2",
            "10",
            "12345678901234567890",
            "1e40",
            "9e6144",
        ];
        for pair in texts.windows(2) {
            assert!(d(pair[0]).bytes() < d(pair[1]).bytes(), "{} < {}", pair[0], pair[1]);
            assert!(d(pair[0]) < d(pair[1]));
        }
        assert_eq!(d("1.0").bytes(), d("10e-1").bytes());
    }

    #[test]
    fn arithmetic_agrees_with_whole_numbers() {
        let longs: Vec<i64> = some_longs(400).collect();
        for (a, b) in longs.iter().zip(longs.iter().rev()) {
            let (x, y) = (Decimal::from_i64(*a), Decimal::from_i64(*b));
            let (a, b) = (i128::from(*a), i128::from(*b));
            let whole = |value: i128| d(&value.to_string());
            assert_eq!(x.to_i64().map(i128::from), Some(a));
            assert_eq!(x.add(y), Some(whole(a + b)));
            assert_eq!(x.sub(y), Some(whole(a - b)));
            if a.abs() < 1 << 50 && b.abs() < 1 << 50 {
                assert_eq!(x.mul(y), Some(whole(a * b)));
            }
            if b != 0 {
                assert_eq!(x.rem(y), Some(whole(a % b)), "{a} % {b}");
            }
            assert_eq!(x.cmp(&y), a.cmp(&b));
            assert_eq!(x.neg().neg(), x);
        }
    }

    #[test]
    fn reals_and_arbitrary_bytes_are_taken_in() {
        let mut random = Random::new(11);
        for _ in 0..5000 {
            let value = f64::from_bits(random.next());
            if value.is_finite() {
                assert_eq!(Decimal::from_f64(value).map(Decimal::to_f64), Some(value), "{value}");
            }
            let mut bytes = [0u8; 16];
            bytes[..8].copy_from_slice(&random.next().to_be_bytes());
            bytes[8..].copy_from_slice(&random.next().to_be_bytes());
            let any = Decimal::from_bytes(bytes);
            assert_eq!(Decimal::parse(&any.to_text()), Some(any));
            let other = Decimal::from_f64(value).unwrap_or(Decimal::ZERO);
            let _ = (any.add(other), any.sub(other), any.mul(other), any.div(other), any.rem(other), any.to_i64());
            let _ = (any.floor(), any.ceil(), any.round(3), any.round(i64::MIN), any.to_f64());
        }
        assert_eq!(Decimal::from_f64(f64::NAN), None);
        assert_eq!(Decimal::from_f64(0.1), Decimal::parse("0.1"));
    }
}
