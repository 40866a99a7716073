//! What family files share: quiet rows, common signatures, numbers of any type.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use super::kernel::{Bytes16, Ints, Longs, Output, Reals, each};
use crate::call::Call;
use crate::signature::{Accepts, Returns, STRING, Signature, required, sig};

/// A row with a kernel: name, signatures, kernel, summary, documentation page, then further fields.
macro_rules! row {
    ($name:literal, $signatures:expr, $kernel:expr, $summary:literal, $docs:literal $(, $field:ident: $value:expr)* $(,)?) => {
        $crate::registry::Scalar {
            name: $name,
            signatures: $signatures,
            imp: $crate::registry::Imp::Kernel($kernel),
            summary: $summary,
            docs: $docs,
            $($field: $value,)*
            ..$crate::registry::Scalar::ROW
        }
    };
}

/// A row that is refused: name, why, summary, documentation page.
macro_rules! refused {
    ($name:literal, $why:literal, $summary:literal, $docs:literal) => {
        $crate::registry::Scalar {
            name: $name,
            imp: $crate::registry::Imp::Refused($why),
            summary: $summary,
            docs: $docs,
            ..$crate::registry::Scalar::ROW
        }
    };
}

pub(crate) use {refused, row};

/// `Returns::Type` for each type.
pub const TO_BOOL: Returns = Returns::Type(KqlType::Bool);
/// See `TO_BOOL`.
pub const TO_INT: Returns = Returns::Type(KqlType::Int);
/// See `TO_BOOL`.
pub const TO_LONG: Returns = Returns::Type(KqlType::Long);
/// See `TO_BOOL`.
pub const TO_REAL: Returns = Returns::Type(KqlType::Real);
/// See `TO_BOOL`.
pub const TO_STRING: Returns = Returns::Type(KqlType::String);
/// See `TO_BOOL`.
pub const TO_DATETIME: Returns = Returns::Type(KqlType::DateTime);
/// See `TO_BOOL`.
pub const TO_TIMESPAN: Returns = Returns::Type(KqlType::TimeSpan);
/// See `TO_BOOL`.
pub const TO_DYNAMIC: Returns = Returns::Type(KqlType::Dynamic);

/// (string) -> string
pub const STRING_TO_STRING: &[Signature] = &[sig(&[required("string", STRING)], TO_STRING)];
/// (string) -> dynamic
pub const STRING_TO_DYNAMIC: &[Signature] = &[sig(&[required("string", STRING)], TO_DYNAMIC)];
/// (number) -> real
pub const NUMBER_TO_REAL: &[Signature] = &[sig(&[required("number", Accepts::Number)], TO_REAL)];

/// An int or a long, kept as it is.
pub const INTEGER: Accepts = Accepts::OneOf(&[KqlType::Int, KqlType::Long]);

/// An argument of any numeric type.
pub enum Numbers {
    /// int
    Int(Ints),
    /// long, datetime or timespan
    Long(Longs),
    /// real
    Real(Reals),
    /// decimal
    Decimal(Bytes16),
}

impl Numbers {
    /// The argument at this position, by its KQL type.
    pub fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        Ok(match call.types.get(position) {
            Some(KqlType::Int) => Numbers::Int(Ints::of(call, position)?),
            Some(KqlType::Real) => Numbers::Real(Reals::of(call, position)?),
            Some(KqlType::Decimal) => Numbers::Decimal(Bytes16::of(call, position)?),
            _ => Numbers::Long(Longs::of(call, position)?),
        })
    }

    /// The value as a real.
    pub fn real(&self, row: usize) -> Option<f64> {
        match self {
            Numbers::Int(input) => input.get(row).map(f64::from),
            Numbers::Long(input) => input.get(row).map(|value| value as f64),
            Numbers::Real(input) => input.get(row),
            Numbers::Decimal(input) => input.get(row).map(|bytes| Decimal::from_bytes(bytes).to_f64()),
        }
    }

    /// The value as a long; reals and decimals are cut off, and null beyond the range.
    pub fn long(&self, row: usize) -> Option<i64> {
        match self {
            Numbers::Int(input) => input.get(row).map(i64::from),
            Numbers::Long(input) => input.get(row),
            Numbers::Real(input) => input.get(row).and_then(long_of_real),
            Numbers::Decimal(input) => Decimal::from_bytes(input.get(row)?).to_i64(),
        }
    }

    /// The value as a decimal.
    pub fn decimal(&self, row: usize) -> Option<Decimal> {
        match self {
            Numbers::Int(input) => input.get(row).map(|value| Decimal::from_i64(i64::from(value))),
            Numbers::Long(input) => input.get(row).map(Decimal::from_i64),
            Numbers::Real(input) => input.get(row).and_then(Decimal::from_f64),
            Numbers::Decimal(input) => input.get(row).map(Decimal::from_bytes),
        }
    }
}

/// The whole part; `None` for NaN and beyond the range.
pub fn long_of_real(value: f64) -> Option<i64> {
    // 2^63 itself is not a long, and the next real below it is.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value).then_some(value as i64)
}

/// One result per row from the first argument's long, datetime or timespan; null gives null.
pub fn each_long<O>(call: &Call<'_>, f: impl Fn(i64) -> Option<O>) -> Result<ColumnarValue>
where
    Option<O>: Output,
{
    let input = Longs::of(call, 0)?;
    each(call, |row| input.get(row).and_then(&f))
}

/// One result per row from the first argument's number, as a real; null gives null.
pub fn each_real<O>(call: &Call<'_>, f: impl Fn(f64) -> Option<O>) -> Result<ColumnarValue>
where
    Option<O>: Output,
{
    match Numbers::of(call, 0)? {
        Numbers::Real(input) => each(call, |row| input.get(row).and_then(&f)),
        input => each(call, |row| input.real(row).and_then(&f)),
    }
}
