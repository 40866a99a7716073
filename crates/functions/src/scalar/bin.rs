//! `bin`, `bin_at`, `around`: values brought down to a multiple of a size.
//!
//! All are monotone in their value for a constant size.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::datetime;
use tidewater_kql::value::decimal::Decimal;

use super::kernel::{Longs, each};
use super::rows::{Numbers, TO_BOOL, TO_DATETIME, TO_TIMESPAN, row};
use crate::call::Call;
use crate::registry::{Imp, NameRule, Scalar};
use crate::signature::{Accepts, Returns, Signature, required, sig};

// `OneOf` rather than `Only`: a dynamic value is not converted, since its type decides the answer.
const SPAN: Accepts = Accepts::OneOf(&[KqlType::TimeSpan]);
const MOMENT: Accepts = Accepts::OneOf(&[KqlType::DateTime]);

const BIN: &[Signature] = &[
    sig(&[required("value", MOMENT), required("roundTo", SPAN)], TO_DATETIME),
    sig(&[required("value", SPAN), required("roundTo", SPAN)], TO_TIMESPAN),
    sig(&[required("value", Accepts::Number), required("roundTo", Accepts::Number)], Returns::By(widest)),
];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "bin",
        BIN,
        bin,
        "The largest multiple of `roundTo` that is not above `value`; null unless the size is positive.",
        "bin-function",
        aliases: &["floor"],
        name_rule: NameRule::PassThrough,
        examples: &[("print bin(4.5, 1)", "4.0"), ("print bin(time(16d), 7d)", "14.00:00:00")],
    ),
    row!(
        "bin_at",
        &[
            sig(&[required("value", MOMENT), required("bin_size", SPAN), required("fixed_point", MOMENT)], TO_DATETIME),
            sig(&[required("value", SPAN), required("bin_size", SPAN), required("fixed_point", SPAN)], TO_TIMESPAN),
            sig(
                &[
                    required("value", Accepts::Number),
                    required("bin_size", Accepts::Number),
                    required("fixed_point", Accepts::Number)
                ],
                Returns::By(widest),
            ),
        ],
        bin_at,
        "Like `bin`, with bins that begin at `fixed_point` and every `bin_size` before and after it.",
        "bin-at-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print bin_at(6.5, 2.5, 7)", "4.5"), ("print bin_at(time(1h), 1d, 12h)", "-12:00:00")],
    ),
    Scalar {
        name: "bin_auto",
        signatures: &[sig(
            &[required(
                "value",
                Accepts::OneOf(&[
                    KqlType::Int,
                    KqlType::Long,
                    KqlType::Real,
                    KqlType::Decimal,
                    KqlType::DateTime,
                    KqlType::TimeSpan,
                ]),
            )],
            Returns::Argument(0),
        )],
        name_rule: NameRule::PassThrough,
        imp: Imp::Binder,
        summary: "`bin_at` with the size and the fixed point that `query_bin_auto_size` and `query_bin_auto_at` set.",
        docs: "bin-auto-function",
        ..Scalar::ROW
    },
    row!(
        "around",
        &[
            sig(&[required("value", MOMENT), required("center", MOMENT), required("delta", SPAN)], TO_BOOL),
            sig(&[required("value", SPAN), required("center", SPAN), required("delta", SPAN)], TO_BOOL),
            sig(
                &[
                    required("value", Accepts::Number),
                    required("center", Accepts::Number),
                    required("delta", Accepts::Number)
                ],
                TO_BOOL,
            ),
        ],
        around,
        "Whether `value` is at most `delta` away from `center`.",
        "around-function",
        examples: &[("print around(7, 5, 2)", "true")],
    ),
];

/// long for integers, else the wider of real and decimal.
fn widest(types: &[KqlType]) -> Result<KqlType, String> {
    Ok(if types.contains(&KqlType::Decimal) {
        KqlType::Decimal
    } else if types.contains(&KqlType::Real) {
        KqlType::Real
    } else {
        KqlType::Long
    })
}

/// Largest multiple of `size` not above `value`; null unless the size is positive, and where it lies below the range.
fn bin_long(value: i64, size: i64) -> Option<i64> {
    if size <= 0 {
        return None;
    }
    value.checked_sub(value.rem_euclid(size))
}

/// Real sizes of zero give NaN, as the division does; negative ones null.
fn bin_real(value: f64, size: f64) -> Option<f64> {
    if size < 0.0 { None } else { Some((value / size).floor() * size) }
}

fn bin_decimal(value: Decimal, size: Decimal) -> Option<Decimal> {
    if size <= Decimal::ZERO {
        return None;
    }
    let rest = value.rem(size)?;
    value.sub(if rest.is_negative() { rest.add(size)? } else { rest })
}

fn bin(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.returns {
        KqlType::Real => {
            let (value, size) = (Numbers::of(call, 0)?, Numbers::of(call, 1)?);
            each(call, |row| bin_real(value.real(row)?, size.real(row)?))
        }
        KqlType::Decimal => {
            let (value, size) = (Numbers::of(call, 0)?, Numbers::of(call, 1)?);
            each(call, |row| Some(bin_decimal(value.decimal(row)?, size.decimal(row)?)?.bytes()))
        }
        KqlType::DateTime => {
            let (value, size) = (Longs::of(call, 0)?, Longs::of(call, 1)?);
            if let (false, Some(Some(size))) = (value.is_constant(), size.constant())
                && size > 0
            {
                // The commonest call of all. Moments are never negative, so nothing can go wrong in a null's slot either.
                let size = size as u64;
                let binned: arrow::array::Int64Array = value.array().unary(|ticks| {
                    let ticks = ticks.max(0) as u64;
                    (ticks - ticks % size) as i64
                });
                return Ok(ColumnarValue::Array(Arc::new(binned)));
            }
            each(call, |row| bin_long(value.get(row)?, size.get(row)?))
        }
        _ => {
            let (value, size) = (Numbers::of(call, 0)?, Numbers::of(call, 1)?);
            each(call, |row| bin_long(value.long(row)?, size.long(row)?))
        }
    }
}

/// `bin` counted from `fixed`. In 128 bits, since the distance of two longs need not be one.
fn bin_at_long(value: i64, size: i64, fixed: i64) -> Option<i64> {
    if size <= 0 {
        return None;
    }
    let distance = (i128::from(value) - i128::from(fixed)).rem_euclid(i128::from(size));
    i64::try_from(i128::from(value) - distance).ok()
}

fn bin_at(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = |position| Numbers::of(call, position);
    let (value, size, fixed) = (input(0)?, input(1)?, input(2)?);
    match call.returns {
        KqlType::Real => each(call, |row| {
            let (value, size, fixed) = (value.real(row)?, size.real(row)?, fixed.real(row)?);
            Some(fixed + bin_real(value - fixed, size)?)
        }),
        KqlType::Decimal => each(call, |row| {
            let (value, size, fixed) = (value.decimal(row)?, size.decimal(row)?, fixed.decimal(row)?);
            Some(bin_decimal(value.sub(fixed)?, size)?.add(fixed)?.bytes())
        }),
        ty => each(call, |row| {
            let binned = bin_at_long(value.long(row)?, size.long(row)?, fixed.long(row)?)?;
            (ty != KqlType::DateTime || datetime::in_range(binned)).then_some(binned)
        }),
    }
}

fn around(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = |position| Numbers::of(call, position);
    let (value, center, delta) = (input(0)?, input(1)?, input(2)?);
    if call.types.contains(&KqlType::Decimal) {
        return each(call, |row| {
            let (value, center, delta) = (value.decimal(row)?, center.decimal(row)?, delta.decimal(row)?);
            Some(value >= center.sub(delta)? && value <= center.add(delta)?)
        });
    }
    if call.types.contains(&KqlType::Real) {
        return each(call, |row| {
            let (value, center, delta) = (value.real(row)?, center.real(row)?, delta.real(row)?);
            Some(value >= center - delta && value <= center + delta)
        });
    }
    each(call, |row| {
        let [value, center, delta] = [value.long(row)?, center.long(row)?, delta.long(row)?].map(i128::from);
        Some(value >= center - delta && value <= center + delta)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_go_down_and_are_null_without_a_positive_size() {
        assert_eq!(bin_long(-7, 4), Some(-8));
        assert_eq!(bin_long(9, 4), Some(8));
        assert_eq!((bin_long(9, 0), bin_long(9, -4), bin_long(i64::MIN, 7)), (None, None, None));
        assert_eq!(bin_real(-5.5, 2.0), Some(-6.0));
        assert!(bin_real(1.0, 0.0).is_some_and(f64::is_nan));
        assert_eq!(bin_real(1.0, -1.0), None);
        let decimal = |text| Decimal::parse(text).unwrap();
        assert_eq!(bin_decimal(decimal("-5.5"), decimal("2")), Some(decimal("-6")));
        assert_eq!(bin_decimal(decimal("5.5"), decimal("0.1")), Some(decimal("5.5")));
        assert_eq!(bin_at_long(1, 24, 12), Some(-12));
        assert_eq!(bin_at_long(i64::MAX, 10, i64::MIN), Some(i64::MAX - 5));
        let at = |text| datetime::parse(text).unwrap();
        let minutes = 600_000_000;
        assert_eq!(
            bin_at_long(at("2023-03-12 07:30"), 90 * minutes, at("2023-03-12 00:07")),
            Some(at("2023-03-12 06:07"))
        );
        // Weeks counted from year 1 begin on Mondays.
        assert_eq!(bin_long(at("1955-11-05 06:15"), 7 * 24 * 60 * minutes), Some(at("1955-10-31")));
    }
}
