//! Conversions between the scalar types: `toint(x)`, `tostring(x)` and their kin.
//!
//! Input: a value of one KQL type. Output: the same in another, null where it has none; nothing fails at
//! run time. Source: kql-behaviour section 6 and the pages of the functions named there.

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, Expr, cast, lit};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{boolean, datetime, guid, integer, real, timespan};

use crate::call::{Call, Kernel};
use crate::dynamic::{self, Cells, Dynamic, Json, Kind, LONG_BOUND, Number};
use crate::scalar::kernel::{
    Bools, Bytes16, Ints, Longs, Piece, Reals, Texts, each, each_dynamic, each_piece, each_written,
};
use crate::udf::KernelUdf;

/// The kernel that converts `from` to `to`, given a call with one argument of type `from` that returns `to`.
/// `None` where KQL has no such conversion. String to dynamic is `parse_json`; see `pack` for the other meaning.
pub fn kernel(from: KqlType, to: KqlType) -> Option<Kernel> {
    use KqlType::*;
    let exists = match (from, to) {
        (_, String | Dynamic) | (String | Dynamic, _) => true,
        // All but guids are numbers at heart; those of times are ticks.
        (Guid, to) => to == Guid,
        (DateTime | TimeSpan, Bool) | (Bool | TimeSpan, DateTime) => false,
        (_, to) if to != Guid => true,
        (from, to) => from == to,
    };
    exists.then_some(convert as Kernel)
}

/// `arg` converted; null where KQL has no such conversion (`tolong(guid)`), for none of them fails. Constants are
/// converted at once; the engine's own cast is used where it is exactly KQL's.
pub fn expr(arg: Expr, from: KqlType, to: KqlType) -> Result<Expr> {
    if from == to {
        return Ok(arg);
    }
    if let Expr::Literal(value, _) = &arg {
        return Ok(lit(constant(value.clone(), from, to)?));
    }
    use KqlType::*;
    Ok(match (from, to) {
        // The same 64 bits: ticks.
        (DateTime | TimeSpan, Long) | (Long | DateTime, TimeSpan) => arg,
        (Bool | Int, Long) => cast(arg, DataType::Int64),
        (Bool, Int) => cast(arg, DataType::Int32),
        (Bool | Int | Long | DateTime | TimeSpan, Real) => cast(arg, DataType::Float64),
        _ => match kernel(from, to) {
            Some(kernel) => KernelUdf::call(name(to), true, kernel, vec![arg], &[from], to),
            None => lit(ScalarValue::try_new_null(&to.arrow())?),
        },
    })
}

/// A constant converted.
pub fn constant(value: ScalarValue, from: KqlType, to: KqlType) -> Result<ScalarValue> {
    if from == to {
        return Ok(value);
    }
    let Some(kernel) = kernel(from, to) else { return ScalarValue::try_new_null(&to.arrow()) };
    let args = [ColumnarValue::Scalar(value)];
    match kernel(&Call { args: &args, types: &[from], returns: to, rows: 1 })? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

/// `arg` as a dynamic that holds it: unlike `expr`, a string becomes a dynamic string and is not parsed. For
/// places that bring values of several types together (`iff`, `coalesce`, `union` of columns).
pub fn pack(arg: Expr, from: KqlType) -> Result<Expr> {
    match (&arg, from) {
        (_, KqlType::Dynamic) => Ok(arg),
        (Expr::Literal(value, _), KqlType::String) => {
            let text = value.try_as_str().flatten().unwrap_or("");
            Ok(lit(ScalarValue::Utf8View(Some(dynamic::quoted(text)))))
        }
        (_, KqlType::String) => {
            Ok(KernelUdf::call("pack_string", true, pack_cells, vec![arg], &[from], KqlType::Dynamic))
        }
        _ => expr(arg, from, KqlType::Dynamic),
    }
}

fn name(to: KqlType) -> &'static str {
    match to {
        KqlType::Bool => "tobool",
        KqlType::Int => "toint",
        KqlType::Long => "tolong",
        KqlType::Real => "toreal",
        KqlType::Decimal => "todecimal",
        KqlType::String => "tostring",
        KqlType::DateTime => "todatetime",
        KqlType::TimeSpan => "totimespan",
        KqlType::Guid => "toguid",
        KqlType::Dynamic => "todynamic",
    }
}

/// Converts argument 0 from `call.types[0]` to `call.returns`.
fn convert(call: &Call<'_>) -> Result<ColumnarValue> {
    if call.types[0] == call.returns {
        return Ok(call.args[0].clone());
    }
    match call.returns {
        KqlType::Bool => to_bool(call),
        KqlType::Int => to_int(call),
        KqlType::Long => to_long(call),
        KqlType::Real => to_real(call),
        KqlType::Decimal => to_decimal(call),
        KqlType::String => to_string(call),
        KqlType::DateTime => to_datetime(call),
        KqlType::TimeSpan => to_timespan(call),
        KqlType::Guid => to_guid(call),
        KqlType::Dynamic => to_dynamic(call),
    }
}

fn no_conversion(call: &Call<'_>) -> Result<ColumnarValue> {
    exec_err!("there is no conversion from {} to {}", call.types[0], call.returns)
}

/// Truncates toward zero; out of range is the nearest long, NaN and the infinities are null.
pub fn long_of_real(value: f64) -> Option<i64> {
    value.is_finite().then_some(value as i64)
}

/// Truncates toward zero; out of range is the nearest int, NaN and the infinities are null.
pub fn int_of_real(value: f64) -> Option<i32> {
    value.is_finite().then_some(value as i32)
}

/// Ticks of a real, fractions dropped; null outside the range of long.
fn ticks_of_real(value: f64) -> Option<i64> {
    (-LONG_BOUND..LONG_BOUND).contains(&value).then_some(value as i64)
}

fn valid_datetime(ticks: i64) -> Option<i64> {
    datetime::in_range(ticks).then_some(ticks)
}

fn to_bool(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| value != 0))
        }
        KqlType::Long => {
            let input = Longs::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| value != 0))
        }
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| value != 0.0))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| Decimal::from_bytes(value) != Decimal::ZERO))
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| boolean::parse(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| bool_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a bool.
pub fn bool_of_dynamic(value: Json<'_>) -> Option<bool> {
    match value.kind() {
        Kind::Bool => value.boolean(),
        Kind::Long | Kind::Double => value.number().map(|number| number.to_real() != 0.0),
        Kind::String => boolean::parse(&value.string()?),
        Kind::Null | Kind::Array | Kind::Bag => None,
    }
}

fn to_int(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each(call, |row| input.get(row).map(i32::from))
        }
        // A long, and ticks, lose their upper half.
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => {
            let input = Longs::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| value as i32))
        }
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| input.get(row).and_then(int_of_real))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| {
                let value = Decimal::from_bytes(input.get(row)?).to_i64()?;
                i32::try_from(value).ok()
            })
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| integer::parse_int(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| int_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as an int.
pub fn int_of_dynamic(value: Json<'_>) -> Option<i32> {
    match value.kind() {
        Kind::Bool => value.boolean().map(i32::from),
        Kind::Long | Kind::Double => match value.number()? {
            Number::Long(value) => Some(value as i32),
            Number::Double(value) => int_of_real(value),
        },
        Kind::String => integer::parse_int(&value.string()?),
        Kind::Null | Kind::Array | Kind::Bag => None,
    }
}

fn to_long(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each(call, |row| input.get(row).map(i64::from))
        }
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| input.get(row).map(i64::from))
        }
        KqlType::DateTime | KqlType::TimeSpan => Ok(call.args[0].clone()),
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| input.get(row).and_then(long_of_real))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| Decimal::from_bytes(input.get(row)?).to_i64())
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| integer::parse_long(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| long_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a long.
pub fn long_of_dynamic(value: Json<'_>) -> Option<i64> {
    match value.kind() {
        Kind::Bool => value.boolean().map(i64::from),
        Kind::Long | Kind::Double => match value.number()? {
            Number::Long(value) => Some(value),
            Number::Double(value) => long_of_real(value),
        },
        Kind::String => integer::parse_long(&value.string()?),
        Kind::Null | Kind::Array | Kind::Bag => None,
    }
}

fn to_real(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each(call, |row| input.get(row).map(f64::from))
        }
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| input.get(row).map(f64::from))
        }
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => {
            let input = Longs::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| value as f64))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| Decimal::from_bytes(value).to_f64()))
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| real::parse(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| real_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a real.
pub fn real_of_dynamic(value: Json<'_>) -> Option<f64> {
    match value.kind() {
        Kind::Bool => value.boolean().map(f64::from),
        Kind::Long | Kind::Double => value.number().map(Number::to_real),
        Kind::String => real::parse(&value.string()?),
        Kind::Null | Kind::Array | Kind::Bag => None,
    }
}

fn to_decimal(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| Decimal::from_i64(i64::from(value)).bytes()))
        }
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| Decimal::from_i64(i64::from(value)).bytes()))
        }
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => {
            let input = Longs::of(call, 0)?;
            each(call, |row| input.get(row).map(|value| Decimal::from_i64(value).bytes()))
        }
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| Some(Decimal::from_f64(input.get(row)?)?.bytes()))
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| Some(Decimal::parse(input.text(row))?.bytes()))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| Some(decimal_of_dynamic(Json::new(input.get(row)))?.bytes()))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a decimal; every digit of a number counts.
pub fn decimal_of_dynamic(value: Json<'_>) -> Option<Decimal> {
    match value.kind() {
        Kind::Bool => value.boolean().map(|value| Decimal::from_i64(i64::from(value))),
        Kind::Long | Kind::Double => Decimal::parse(value.as_str()),
        Kind::String => Decimal::parse(&value.string()?),
        Kind::Null | Kind::Array | Kind::Bag => None,
    }
}

fn to_datetime(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| valid_datetime(i64::from(input.get(row)?)))
        }
        KqlType::Long => {
            let input = Longs::of(call, 0)?;
            each(call, |row| valid_datetime(input.get(row)?))
        }
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| valid_datetime(ticks_of_real(input.get(row)?)?))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| valid_datetime(Decimal::from_bytes(input.get(row)?).to_i64()?))
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| datetime::parse(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| datetime_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a datetime.
pub fn datetime_of_dynamic(value: Json<'_>) -> Option<i64> {
    match value.kind() {
        Kind::Long | Kind::Double => valid_datetime(ticks_of_number(value.number()?)?),
        Kind::String => datetime::parse(&value.string()?),
        Kind::Null | Kind::Bool | Kind::Array | Kind::Bag => None,
    }
}

fn ticks_of_number(number: Number) -> Option<i64> {
    match number {
        Number::Long(value) => Some(value),
        Number::Double(value) => ticks_of_real(value),
    }
}

fn to_timespan(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each(call, |row| input.get(row).map(i64::from))
        }
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each(call, |row| input.get(row).map(i64::from))
        }
        KqlType::Long | KqlType::DateTime => Ok(call.args[0].clone()),
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each(call, |row| ticks_of_real(input.get(row)?))
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each(call, |row| Decimal::from_bytes(input.get(row)?).to_i64())
        }
        KqlType::String => {
            let input = Texts::of(call, 0)?;
            each(call, |row| timespan::parse(input.text(row)))
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each(call, |row| timespan_of_dynamic(Json::new(input.get(row))))
        }
        _ => no_conversion(call),
    }
}

/// What a dynamic value is as a timespan.
pub fn timespan_of_dynamic(value: Json<'_>) -> Option<i64> {
    match value.kind() {
        Kind::Long | Kind::Double => ticks_of_number(value.number()?),
        Kind::String => timespan::parse(&value.string()?),
        Kind::Null | Kind::Bool | Kind::Array | Kind::Bag => None,
    }
}

fn to_guid(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = match call.types[0] {
        KqlType::String | KqlType::Dynamic => Texts::of(call, 0)?,
        _ => return no_conversion(call),
    };
    match call.types[0] {
        KqlType::String => each(call, |row| guid::parse(input.text(row))),
        _ => each(call, |row| guid::parse(&Json::new(input.get(row)).string()?)),
    }
}

fn to_string(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.types[0] {
        KqlType::Bool => {
            let input = Bools::of(call, 0)?;
            each_written(call, |row, out| match input.get(row) {
                Some(true) => out.extend_from_slice(b"True"),
                Some(false) => out.extend_from_slice(b"False"),
                None => {}
            })
        }
        KqlType::Int => {
            let input = Ints::of(call, 0)?;
            each_written(call, |row, out| {
                if let Some(value) = input.get(row) {
                    dynamic::write_long(i64::from(value), out);
                }
            })
        }
        KqlType::Long => written(call, dynamic::write_long),
        KqlType::DateTime => written(call, datetime::write_full),
        KqlType::TimeSpan => written(call, timespan::write),
        KqlType::Real => {
            let input = Reals::of(call, 0)?;
            each_written(call, |row, out| {
                if let Some(value) = input.get(row) {
                    real::write_text(value, out);
                }
            })
        }
        KqlType::Decimal => {
            let input = Bytes16::of(call, 0)?;
            each_written(call, |row, out| {
                if let Some(value) = input.get(row) {
                    Decimal::from_bytes(value).write(out);
                }
            })
        }
        KqlType::Guid => {
            let input = Bytes16::of(call, 0)?;
            each_written(call, |row, out| {
                if let Some(value) = input.get(row) {
                    guid::write(&value, out);
                }
            })
        }
        KqlType::Dynamic => {
            let input = Texts::of(call, 0)?;
            each_piece(call, &input, |_, text| text_of_dynamic(text))
        }
        KqlType::String => Ok(call.args[0].clone()),
    }
}

fn written(call: &Call<'_>, write: fn(i64, &mut Vec<u8>)) -> Result<ColumnarValue> {
    let input = Longs::of(call, 0)?;
    each_written(call, |row, out| {
        if let Some(value) = input.get(row) {
            write(value, out);
        }
    })
}

/// `tostring` of a dynamic's JSON text; `""` for no text.
fn text_of_dynamic(json: &str) -> Piece {
    match json.as_bytes().first() {
        None => Piece::Part(0..0),
        Some(b'"') if json.len() >= 2 && !json.contains('\\') => Piece::Part(1..json.len() - 1),
        Some(b'"') => Piece::Text(Json::new(Some(json)).text().into_owned()),
        Some(b'n') => Piece::Part(0..0),
        Some(_) => Piece::Part(0..json.len()),
    }
}

fn to_dynamic(call: &Call<'_>) -> Result<ColumnarValue> {
    if call.types[0] != KqlType::String {
        return pack_cells(call);
    }
    let input = Texts::of(call, 0)?;
    each_piece(call, &input, |_, text| match dynamic::parse(text) {
        Some(json) if json == text => Piece::Part(0..text.len()),
        Some(json) => Piece::Text(json),
        None => Piece::Null,
    })
}

/// Argument 0 as a dynamic that holds it.
fn pack_cells(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Cells::of(call, 0)?;
    each_dynamic(call, |row, out| input.write(row, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> ScalarValue {
        ScalarValue::Utf8View(Some(value.to_string()))
    }

    fn of_text(value: &str, to: KqlType) -> ScalarValue {
        constant(text(value), KqlType::String, to).unwrap()
    }

    fn of_dynamic(value: &str, to: KqlType) -> ScalarValue {
        constant(text(value), KqlType::Dynamic, to).unwrap()
    }

    #[test]
    fn numbers_are_read_from_text_by_the_rules_of_each_function() {
        // Source: recorded answers, kql-behaviour section 6.
        let long = |value| ScalarValue::Int64(value);
        for (value, expected) in
            [("  45  ", Some(45)), ("0x1F", Some(31)), ("3.14", None), ("1e3", None), ("+7", Some(7)), ("", None)]
        {
            assert_eq!(of_text(value, KqlType::Long), long(expected), "{value}");
        }
        assert_eq!(of_text("2147483648", KqlType::Int), ScalarValue::Int32(None));
        assert_eq!(of_text("1e3", KqlType::Real), ScalarValue::Float64(Some(1000.0)));
        assert_eq!(of_text("tRuE", KqlType::Bool), ScalarValue::Boolean(Some(true)));
        assert_eq!(of_text("abc", KqlType::Decimal), ScalarValue::FixedSizeBinary(16, None));
    }

    #[test]
    fn reals_truncate_and_saturate() {
        let convert = |value: f64, to| constant(ScalarValue::Float64(Some(value)), KqlType::Real, to).unwrap();
        assert_eq!(convert(-2.9, KqlType::Int), ScalarValue::Int32(Some(-2)));
        assert_eq!(convert(1e19, KqlType::Long), ScalarValue::Int64(Some(i64::MAX)));
        assert_eq!(convert(-1e19, KqlType::Int), ScalarValue::Int32(Some(i32::MIN)));
        assert_eq!(convert(f64::NAN, KqlType::Long), ScalarValue::Int64(None));
        assert_eq!(convert(f64::INFINITY, KqlType::Long), ScalarValue::Int64(None));
        assert_eq!(convert(1.5, KqlType::DateTime), ScalarValue::Int64(Some(1)));
    }

    #[test]
    fn longs_wrap_into_ints_and_are_ticks() {
        let convert = |value: i64, from, to| constant(ScalarValue::Int64(Some(value)), from, to).unwrap();
        assert_eq!(convert(2_147_483_648, KqlType::Long, KqlType::Int), ScalarValue::Int32(Some(i32::MIN)));
        assert_eq!(convert(36_000_000_000, KqlType::TimeSpan, KqlType::Int), ScalarValue::Int32(Some(1_640_261_632)));
        assert_eq!(convert(-1, KqlType::Long, KqlType::DateTime), ScalarValue::Int64(None));
        assert_eq!(convert(5, KqlType::Long, KqlType::TimeSpan), ScalarValue::Int64(Some(5)));
    }

    #[test]
    fn dynamics_convert_what_they_hold() {
        let int = |value| ScalarValue::Int32(value);
        for (value, expected) in [
            ("2147483648", Some(i32::MIN)),
            ("1.9", Some(1)),
            ("\"42\"", Some(42)),
            ("\"3.14\"", None),
            ("true", Some(1)),
            ("null", None),
            ("[1]", None),
            ("1.7976931348623157e308", Some(i32::MAX)),
        ] {
            assert_eq!(of_dynamic(value, KqlType::Int), int(expected), "{value}");
        }
        assert_eq!(of_dynamic("\"NaN\"", KqlType::Real).to_string(), "NaN");
        assert_eq!(of_dynamic("\"1.02:03:04\"", KqlType::TimeSpan), ScalarValue::Int64(Some(937_840_000_000)));
        assert_eq!(of_dynamic("\"0x10\"", KqlType::Bool), ScalarValue::Boolean(Some(true)));
    }

    #[test]
    fn tostring_is_total_and_writes_each_type_its_way() {
        for (value, expected) in [
            ("\"a\\\"b\"", "a\"b"),
            ("\"plain\"", "plain"),
            ("true", "true"),
            ("null", ""),
            ("[1,{\"a\":null}]", "[1,{\"a\":null}]"),
            ("1.50", "1.50"),
        ] {
            assert_eq!(of_dynamic(value, KqlType::String), text(expected), "{value}");
        }
        let null = constant(ScalarValue::Int64(None), KqlType::Long, KqlType::String).unwrap();
        assert_eq!(null, text(""));
        let bool = constant(ScalarValue::Boolean(Some(true)), KqlType::Bool, KqlType::String).unwrap();
        assert_eq!(bool, text("True"));
        let real = constant(ScalarValue::Float64(Some(1.0)), KqlType::Real, KqlType::String).unwrap();
        assert_eq!(real, text("1.0"));
    }

    #[test]
    fn strings_are_parsed_into_dynamics_or_packed() {
        let dynamic = |value: &str| of_text(value, KqlType::Dynamic);
        assert_eq!(dynamic("{ \"a\" : 1 }"), text("{\"a\":1}"));
        assert_eq!(dynamic("not json"), text("\"not json\""));
        assert_eq!(dynamic(""), ScalarValue::Utf8View(None));
        assert_eq!(dynamic("null"), ScalarValue::Utf8View(None));
        assert_eq!(pack(lit(text("[1]")), KqlType::String).unwrap(), lit(text("\"[1]\"")));
    }

    #[test]
    fn pairs_without_a_meaning_have_no_kernel_and_give_null() {
        assert!(kernel(KqlType::Guid, KqlType::Long).is_none());
        assert!(kernel(KqlType::DateTime, KqlType::Guid).is_none());
        let none = lit(ScalarValue::FixedSizeBinary(16, None));
        assert_eq!(expr(lit(true), KqlType::Bool, KqlType::Guid).unwrap(), none);
    }
}
