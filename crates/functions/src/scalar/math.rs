//! Numbers: rounding, roots, powers, logarithms, angles, bits, extremes, chance.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{FixedSizeBinaryArray, Float64Array};
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use super::kernel::{Bools, Bytes16, Integers, Texts, each, each_text};
use super::rows::{INTEGER, NUMBER_TO_REAL, Numbers, TO_BOOL, TO_LONG, TO_REAL, TO_TIMESPAN, each_real, row};
use crate::call::Call;
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, LONG, REAL, Returns, Signature, optional, repeated, required, sig};

const TWO_TO_REAL: &[Signature] =
    &[sig(&[required("base", Accepts::Number), required("exponent", Accepts::Number)], TO_REAL)];
const TEST: &[Signature] = &[sig(&[required("number", REAL)], TO_BOOL)];
const BITS: &[Signature] = &[sig(&[required("value1", INTEGER), required("value2", INTEGER)], TO_LONG)];
const SHIFT: &[Signature] = &[sig(&[required("value", INTEGER), required("shift", INTEGER)], TO_LONG)];
const EXTREME: &[Signature] = &[sig(
    &[required("arg", Accepts::Common), required("arg2", Accepts::Common), repeated("arg", Accepts::Common)],
    Returns::By(orderable),
)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "abs",
        &[
            sig(&[required("number", Accepts::OneOf(&[KqlType::TimeSpan]))], TO_TIMESPAN),
            sig(&[required("number", Accepts::Number)], Returns::By(int_is_long)),
        ],
        abs,
        "The magnitude of a number or timespan.",
        "abs-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print abs(-5)", "5")],
    ),
    row!(
        "ceiling",
        &[sig(&[required("number", Accepts::Number)], Returns::Argument(0))],
        |call| rounded(call, f64::ceil, Decimal::ceil),
        "The smallest whole number that is not below `number`.",
        "ceiling-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print ceiling(0.9)", "1.0")],
    ),
    row!(
        "round",
        &[sig(&[required("number", Accepts::Number), optional("precision", LONG)], Returns::Argument(0))],
        round,
        "`number` rounded to `precision` digits after the point, half away from zero.",
        "round-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print round(2.98765, 3)", "2.988"), ("print round(-50.55, -2)", "-100.0")],
    ),
    row!(
        "sign",
        NUMBER_TO_REAL,
        sign,
        "-1, 0 or 1; 0 for null and NaN.",
        "sign-function",
        examples: &[("print sign(-42)", "-1.0")],
    ),
    row!(
        "sqrt",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.sqrt())),
        "The square root; NaN below zero.",
        "sqrt-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print sqrt(256)", "16.0")],
    ),
    row!(
        "exp",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.exp())),
        "e to the power of `number`.",
        "exp-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "exp2",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.exp2())),
        "2 to the power of `number`.",
        "exp2-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print exp2(3)", "8.0")],
    ),
    // The emulator names a column of `exp10` or `pow` Column1, though the reference parser passes the name through.
    row!(
        "exp10",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(10f64.powf(x))),
        "10 to the power of `number`.",
        "exp10-function",
        examples: &[("print exp10(3)", "1000.0")],
    ),
    row!(
        "pow",
        TWO_TO_REAL,
        |call| two_reals(call, f64::powf),
        "`base` to the power of `exponent`.",
        "pow-function",
        examples: &[("print pow(2, 3)", "8.0")],
    ),
    row!(
        "log",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| logarithm(x, f64::ln)),
        "The natural logarithm; null below zero.",
        "log-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "log2",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| logarithm(x, f64::log2)),
        "The logarithm to base 2; null below zero.",
        "log2-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print log2(8)", "3.0")],
    ),
    row!(
        "log10",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| logarithm(x, f64::log10)),
        "The logarithm to base 10; null below zero.",
        "log10-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print log10(1000)", "3.0")],
    ),
    row!(
        "sin",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.sin())),
        "The sine of an angle in radians.",
        "sin-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "cos",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.cos())),
        "The cosine of an angle in radians.",
        "cos-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "tan",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.tan())),
        "The tangent of an angle in radians.",
        "tan-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "cot",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(1.0 / x.tan())),
        "The cotangent of an angle in radians.",
        "cot-function",
    ),
    row!(
        "asin",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| within_one(x, f64::asin)),
        "The angle in radians with this sine; null beyond -1 and 1.",
        "asin-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "acos",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| within_one(x, f64::acos)),
        "The angle in radians with this cosine; null beyond -1 and 1.",
        "acos-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "atan",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(x.atan())),
        "The angle in radians with this tangent.",
        "atan-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "atan2",
        &[sig(&[required("y", Accepts::Number), required("x", Accepts::Number)], TO_REAL)],
        |call| two_reals(call, f64::atan2),
        "The angle in radians between the positive x axis and the point (x, y).",
        "atan2-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "degrees",
        &[sig(&[required("radians", Accepts::Number)], TO_REAL)],
        |call| each_real(call, |x| Some(x * (180.0 / std::f64::consts::PI))),
        "Radians as degrees.",
        "degrees-function",
        examples: &[("print degrees(pi() * 1.5)", "270.0")],
    ),
    row!(
        "radians",
        &[sig(&[required("degrees", Accepts::Number)], TO_REAL)],
        |call| each_real(call, |x| Some(x * (std::f64::consts::PI / 180.0))),
        "Degrees as radians.",
        "radians-function",
    ),
    row!(
        "pi",
        &[sig(&[], TO_REAL)],
        |call| each(call, |_| std::f64::consts::PI),
        "The number π.",
        "pi-function",
        examples: &[("print pi()", "3.141592653589793")],
    ),
    row!(
        "isnan",
        TEST,
        |call| test(call, f64::is_nan),
        "Whether a real is NaN.",
        "isnan-function",
        examples: &[("print isnan(0.0 / 0.0)", "true")],
    ),
    row!(
        "isinf",
        TEST,
        |call| test(call, f64::is_infinite),
        "Whether a real is infinite, of either sign.",
        "isinf-function",
        examples: &[("print isinf(1.0 / 0.0)", "true")],
    ),
    row!(
        "isfinite",
        TEST,
        |call| test(call, f64::is_finite),
        "Whether a real is neither infinite nor NaN.",
        "isfinite-function",
        examples: &[("print isfinite(1.0)", "true")],
    ),
    row!(
        "max_of",
        EXTREME,
        |call| extreme(call, Side::Largest),
        "The largest argument; nulls are skipped, NaN wins.",
        "max-of-function",
        examples: &[("print max_of(10, 1, -3, 17)", "17")],
    ),
    row!(
        "min_of",
        EXTREME,
        |call| extreme(call, Side::Smallest),
        "The smallest argument; nulls are skipped, NaN wins.",
        "min-of-function",
        examples: &[("print min_of(10, 1, -3, 17)", "-3")],
    ),
    row!(
        "binary_and",
        BITS,
        |call| two_longs(call, |a, b| Some(a & b)),
        "The bits set in both.",
        "binary-and-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_and(6, 3)", "2")],
    ),
    row!(
        "binary_or",
        BITS,
        |call| two_longs(call, |a, b| Some(a | b)),
        "The bits set in either.",
        "binary-or-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_or(5, 3)", "7")],
    ),
    row!(
        "binary_xor",
        BITS,
        |call| two_longs(call, |a, b| Some(a ^ b)),
        "The bits set in one of the two.",
        "binary-xor-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_xor(1, 3)", "2")],
    ),
    row!(
        "binary_not",
        &[sig(&[required("value", INTEGER)], TO_LONG)],
        |call| one_long(call, |a| !a),
        "All bits turned over.",
        "binary-not-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_not(100)", "-101")],
    ),
    row!(
        "binary_shift_left",
        SHIFT,
        |call| two_longs(call, |a, by| if by < 0 { None } else { Some(a.wrapping_shl((by & 63) as u32)) }),
        "The bits moved up by `shift` modulo 64; null for a negative shift.",
        "binary-shift-left-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_shift_left(1, 2)", "4")],
    ),
    row!(
        "binary_shift_right",
        SHIFT,
        |call| two_longs(call, |a, by| if by < 0 { None } else { Some(a.wrapping_shr((by & 63) as u32)) }),
        "The bits moved down by `shift` modulo 64, keeping the sign; null for a negative shift.",
        "binary-shift-right-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print binary_shift_right(8, 2)", "2")],
    ),
    row!(
        "bitset_count_ones",
        &[sig(&[required("value", INTEGER)], TO_LONG)],
        |call| one_long(call, |a| i64::from(a.count_ones())),
        "How many bits are set.",
        "bitset-count-ones-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print bitset_count_ones(42)", "3")],
    ),
    row!(
        "rand",
        &[sig(&[optional("number", INTEGER)], TO_REAL)],
        rand,
        "A random real from 0 to below 1, or a random whole number from 0 to below `number`.",
        "rand-function",
        is_pure: false,
    ),
    row!(
        "new_guid",
        &[sig(&[], Returns::Type(KqlType::Guid))],
        new_guid,
        "A new random guid.",
        "new-guid-function",
        is_pure: false,
    ),
];

/// int becomes long; every other type stays.
fn int_is_long(types: &[KqlType]) -> Result<KqlType, String> {
    Ok(match types.first() {
        Some(KqlType::Int) | None => KqlType::Long,
        Some(ty) => *ty,
    })
}

/// The common type, if its values have an order.
fn orderable(types: &[KqlType]) -> Result<KqlType, String> {
    match types.first() {
        Some(KqlType::Guid | KqlType::Dynamic) | None => {
            Err("the arguments must be orderable: numbers, datetimes, timespans, strings or bools".to_string())
        }
        Some(first) => {
            let is_number = types.iter().all(|ty| ty.is_numeric());
            let widest = if is_number { types.iter().max() } else { Some(first) };
            if is_number || types.iter().all(|ty| ty == first) {
                Ok(widest.copied().unwrap_or(*first))
            } else {
                Err("the arguments have no common type".to_string())
            }
        }
    }
}

fn logarithm(x: f64, f: fn(f64) -> f64) -> Option<f64> {
    if x < 0.0 { None } else { Some(f(x)) }
}

fn within_one(x: f64, f: fn(f64) -> f64) -> Option<f64> {
    if x.abs() > 1.0 { None } else { Some(f(x)) }
}

fn test(call: &Call<'_>, f: fn(f64) -> bool) -> Result<ColumnarValue> {
    each_real(call, |x| Some(f(x)))
}

fn two_reals(call: &Call<'_>, f: fn(f64, f64) -> f64) -> Result<ColumnarValue> {
    let (left, right) = (Numbers::of(call, 0)?, Numbers::of(call, 1)?);
    each(call, |row| Some(f(left.real(row)?, right.real(row)?)))
}

fn one_long(call: &Call<'_>, f: fn(i64) -> i64) -> Result<ColumnarValue> {
    let input = Integers::of(call, 0)?;
    each(call, |row| input.get(row).map(f))
}

fn two_longs(call: &Call<'_>, f: fn(i64, i64) -> Option<i64>) -> Result<ColumnarValue> {
    let (left, right) = (Integers::of(call, 0)?, Integers::of(call, 1)?);
    each(call, |row| f(left.get(row)?, right.get(row)?))
}

fn abs(call: &Call<'_>) -> Result<ColumnarValue> {
    match Numbers::of(call, 0)? {
        Numbers::Real(input) => each(call, |row| input.get(row).map(f64::abs)),
        Numbers::Decimal(input) => each(call, |row| Some(Decimal::from_bytes(input.get(row)?).abs().bytes())),
        // Like all arithmetic of longs it wraps: the smallest long has no positive counterpart.
        input => each(call, |row| input.long(row).map(i64::wrapping_abs)),
    }
}

/// Whole numbers are their own rounding.
fn rounded(call: &Call<'_>, real: fn(f64) -> f64, decimal: fn(Decimal) -> Decimal) -> Result<ColumnarValue> {
    match Numbers::of(call, 0)? {
        Numbers::Int(input) => each(call, |row| input.get(row)),
        Numbers::Long(input) => each(call, |row| input.get(row)),
        Numbers::Real(input) => each(call, |row| input.get(row).map(real)),
        Numbers::Decimal(input) => each(call, |row| Some(decimal(Decimal::from_bytes(input.get(row)?)).bytes())),
    }
}

/// On the binary value itself: 2.15 becomes 2.2 with one digit, 1.005 becomes 1.0 with two. Source: round() page, kql-behaviour section 4.
pub(crate) fn round_real(x: f64, digits: i64) -> f64 {
    let scale = 10f64.powi(digits.unsigned_abs().min(400) as i32);
    let rounded = if digits < 0 { (x / scale).round() * scale } else { (x * scale).round() / scale };
    // A scale beyond the range of reals leaves nothing before the point, or changes nothing after it.
    match rounded.is_finite() {
        true => rounded,
        false if digits < 0 && x.is_finite() => 0.0,
        false => x,
    }
}

fn round_long(x: i64, digits: i64) -> Option<i64> {
    if digits >= 0 {
        return Some(x);
    }
    let scale = 10i128.pow(digits.unsigned_abs().min(30) as u32);
    let x = i128::from(x);
    let half = if x < 0 { -scale / 2 } else { scale / 2 };
    i64::try_from((x + half) / scale * scale).ok()
}

fn round(call: &Call<'_>) -> Result<ColumnarValue> {
    if call.args.len() < 2 {
        return rounded(call, f64::round, |x| x.round(0));
    }
    let digits = Integers::of(call, 1)?;
    match Numbers::of(call, 0)? {
        Numbers::Int(input) => each(call, |row| {
            let value = round_long(i64::from(input.get(row)?), digits.get(row)?)?;
            i32::try_from(value).ok()
        }),
        Numbers::Long(input) => each(call, |row| round_long(input.get(row)?, digits.get(row)?)),
        Numbers::Real(input) => each(call, |row| Some(round_real(input.get(row)?, digits.get(row)?))),
        Numbers::Decimal(input) => {
            each(call, |row| Some(Decimal::from_bytes(input.get(row)?).round(digits.get(row)?).bytes()))
        }
    }
}

fn sign(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Numbers::of(call, 0)?;
    each(call, |row| match input.real(row) {
        Some(x) if x > 0.0 => 1.0,
        Some(x) if x < 0.0 => -1.0,
        _ => 0.0,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Largest,
    Smallest,
}

/// The extreme of the values that are not null.
fn pick<T>(values: impl Iterator<Item = Option<T>>, is_better: impl Fn(&T, &T) -> bool) -> Option<T> {
    values.flatten().reduce(|best, value| if is_better(&value, &best) { value } else { best })
}

fn extreme(call: &Call<'_>, side: Side) -> Result<ColumnarValue> {
    fn inputs<T>(call: &Call<'_>, of: fn(&Call<'_>, usize) -> Result<T>) -> Result<Vec<T>> {
        (0..call.args.len()).map(|position| of(call, position)).collect()
    }
    let larger = side == Side::Largest;
    match call.returns {
        KqlType::Real => {
            let inputs = inputs(call, Numbers::of)?;
            each(call, |row| {
                pick(inputs.iter().map(|input| input.real(row)), |a: &f64, b: &f64| {
                    a.is_nan() || if larger { a > b } else { a < b }
                })
            })
        }
        KqlType::Decimal => {
            let inputs = inputs(call, Numbers::of)?;
            each(call, |row| {
                let values = inputs.iter().map(|input| input.decimal(row));
                pick(values, |a, b| if larger { a > b } else { a < b }).map(Decimal::bytes)
            })
        }
        KqlType::Guid => {
            let inputs = inputs(call, Bytes16::of)?;
            each(call, |row| pick(inputs.iter().map(|input| input.get(row)), |a, b| if larger { a > b } else { a < b }))
        }
        KqlType::String | KqlType::Dynamic => {
            let inputs = inputs(call, Texts::of)?;
            each_text(call, |row, out| {
                let values = inputs.iter().map(|input| Some(input.text(row)));
                out.push_str(pick(values, |a, b| if larger { a > b } else { a < b }).unwrap_or(""));
            })
        }
        KqlType::Bool => {
            let inputs = inputs(call, Bools::of)?;
            each(call, |row| pick(inputs.iter().map(|input| input.get(row)), |a, b| *a != *b && *a == larger))
        }
        KqlType::Int => {
            let inputs = inputs(call, Numbers::of)?;
            each(call, |row| {
                let values = inputs.iter().map(|input| input.long(row));
                pick(values, |a, b| if larger { a > b } else { a < b }).map(|value| value as i32)
            })
        }
        _ => {
            let inputs = inputs(call, Numbers::of)?;
            each(call, |row| {
                pick(inputs.iter().map(|input| input.long(row)), |a, b| if larger { a > b } else { a < b })
            })
        }
    }
}

/// Random bits (xoroshiro128+), begun anew for each batch from the process's random hash keys.
struct Chance(u64, u64);

impl Chance {
    fn new() -> Self {
        let seed = || std::hash::RandomState::new().build_hasher().finish();
        Chance(seed(), seed() | 1)
    }

    fn next(&mut self) -> u64 {
        let result = self.0.wrapping_add(self.1);
        let mixed = self.0 ^ self.1;
        self.0 = self.0.rotate_left(24) ^ mixed ^ (mixed << 16);
        self.1 = mixed.rotate_left(37);
        result
    }

    /// From 0 to below 1, with 53 random bits.
    fn real(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

// Not by `each`: constant arguments do not make one value for all rows.
fn rand(call: &Call<'_>) -> Result<ColumnarValue> {
    let mut chance = Chance::new();
    let values: Float64Array = if call.args.is_empty() {
        (0..call.rows).map(|_| Some(chance.real())).collect()
    } else {
        let limits = Integers::of(call, 0)?;
        (0..call.rows)
            .map(|row| {
                let limit = limits.get(row)?;
                (limit > 0).then(|| (chance.real() * limit as f64).floor().min(limit as f64 - 1.0))
            })
            .collect()
    };
    Ok(ColumnarValue::Array(Arc::new(values)))
}

fn new_guid(call: &Call<'_>) -> Result<ColumnarValue> {
    let mut chance = Chance::new();
    let mut values = Vec::with_capacity(call.rows * 16);
    for _ in 0..call.rows {
        let bits = u128::from(chance.next()) << 64 | u128::from(chance.next());
        values.extend_from_slice(uuid::Builder::from_random_bytes(bits.to_be_bytes()).as_uuid().as_bytes());
    }
    let guids = FixedSizeBinaryArray::new(16, arrow::buffer::Buffer::from_vec(values), None);
    Ok(ColumnarValue::Array(Arc::new(guids)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_documentation() {
        for (x, digits, expected) in [
            (2.98765, 3, 2.988),
            (2.15, 1, 2.2),
            (1.005, 2, 1.0),
            (-50.55, -2, -100.0),
            (21.5, -1, 20.0),
            (2.5, 0, 3.0),
            (-2.5, 0, -3.0),
            (3.25, 1, 3.3),
            (1e300, 300, 1e300),
            (1.5, 5000, 1.5),
            (1e300, -5000, 0.0),
        ] {
            assert_eq!(round_real(x, digits), expected, "round({x}, {digits})");
        }
        assert!(round_real(f64::NAN, 2).is_nan());
        assert_eq!(round_real(f64::INFINITY, -2), f64::INFINITY);
        assert_eq!((round_long(1250, -2), round_long(-1250, -2), round_long(7, 3)), (Some(1300), Some(-1300), Some(7)));
        assert_eq!((round_long(i64::MAX, -1), round_long(5, i64::MIN)), (None, Some(0)));
    }

    #[test]
    fn random_numbers_stay_in_their_range_and_differ() {
        let mut chance = Chance::new();
        let values: Vec<f64> = (0..1000).map(|_| chance.real()).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = values.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
        assert_ne!(Chance::new().next(), Chance::new().next());
    }
}
