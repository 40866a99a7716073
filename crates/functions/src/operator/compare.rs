//! Equality and order.
//!
//! Equality is total: with one null operand it is false, with two it is null; order with a null is null.
//! NaN equals nothing and is in no order with anything; zero has no sign. The engine orders reals totally
//! (NaN beyond the infinities, -0.0 below 0.0), so comparisons of reals with a constant become ranges,
//! which statistics can still prune, and other comparisons of reals are kernels.
//! Source: kql-behaviour sections 2 and 3.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::{ColumnarValue, Expr, Operator, and, binary_expr, cast, is_not_null, is_null, lit, or};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::value::decimal::Decimal;

use super::{Context, call, literal};
use crate::call::{Call, Kernel};
use crate::convert;
use crate::dynamic::{Cells, Dynamic, Json};
use crate::scalar::kernel::{Bools, Bytes16, Input, Integers, Longs, Reals, Slot, Texts, each};

/// Whether `==` and `!=` are defined for these types. The engine refuses two dynamics.
pub fn is_comparable(left: KqlType, right: KqlType) -> bool {
    match (left, right) {
        (KqlType::Dynamic, KqlType::Dynamic) => false,
        (KqlType::Dynamic | KqlType::String, _) | (_, KqlType::Dynamic | KqlType::String) => true,
        _ => left == right || (is_number_or_bool(left) && is_number_or_bool(right)),
    }
}

/// Whether `<` and its kin are defined for these types.
pub fn is_ordered(left: KqlType, right: KqlType) -> bool {
    match (left, right) {
        (KqlType::Dynamic, other) | (other, KqlType::Dynamic) => other.is_numeric(),
        (KqlType::DateTime, KqlType::DateTime) | (KqlType::TimeSpan, KqlType::TimeSpan) => true,
        _ => is_number_or_bool(left) && is_number_or_bool(right),
    }
}

fn is_number_or_bool(ty: KqlType) -> bool {
    ty == KqlType::Bool || ty.is_numeric()
}

/// The type in which two numbers or bools are compared.
fn common(left: KqlType, right: KqlType) -> KqlType {
    let rank = |ty| match ty {
        KqlType::Bool => 0,
        KqlType::Int => 1,
        KqlType::Long => 2,
        KqlType::Real => 3,
        _ => 4,
    };
    if rank(left) >= rank(right) { left } else { right }
}

/// `left == right`, or `!=`.
pub fn equality(
    is_negated: bool,
    left: Expr,
    left_ty: KqlType,
    right: Expr,
    right_ty: KqlType,
    context: Context,
) -> Result<Expr> {
    use KqlType::*;
    // A constant on the left changes places.
    if literal(&left).is_some() && literal(&right).is_none() {
        return equality(is_negated, right, right_ty, left, left_ty, context);
    }
    match (left_ty, right_ty) {
        (Dynamic, _) => return dynamic_equality(is_negated, left, right, right_ty),
        (_, Dynamic) => return dynamic_equality(is_negated, right, left, left_ty),
        _ if left_ty == right_ty => {}
        // The constant takes the column's type; of two columns, the string takes the other's.
        (String, _) if literal(&right).is_some() && literal(&left).is_none() => {
            let right = convert::expr(right, right_ty, String)?;
            return same_type(is_negated, left, right, String, context);
        }
        (String, _) => {
            let left = convert::expr(left, left_ty, right_ty)?;
            return same_type(is_negated, left, right, right_ty, context);
        }
        (_, String) => {
            let right = convert::expr(right, right_ty, left_ty)?;
            return same_type(is_negated, left, right, left_ty, context);
        }
        (Bool | Int | Long, Real) => {
            if let Some(value) = real_literal(&right) {
                return whole_with_real(is_negated, left, left_ty, value, context);
            }
        }
        _ if !is_comparable(left_ty, right_ty) => {
            return plan_err!("{left_ty} and {right_ty} cannot be compared");
        }
        _ => {}
    }
    let ty = common(left_ty, right_ty);
    let left = convert::expr(left, left_ty, ty)?;
    let right = convert::expr(right, right_ty, ty)?;
    same_type(is_negated, left, right, ty, context)
}

/// Equality of a whole number (or bool) with a real constant.
fn whole_with_real(is_negated: bool, left: Expr, left_ty: KqlType, value: f64, context: Context) -> Result<Expr> {
    if value.fract() != 0.0 || !value.is_finite() {
        return Ok(lit(is_negated));
    }
    if value.abs() < MAX_EXACT {
        let left = convert::expr(left, left_ty, KqlType::Long)?;
        return same_type(is_negated, left, lit(value as i64), KqlType::Long, context);
    }
    let left = convert::expr(left, left_ty, KqlType::Real)?;
    same_type(is_negated, left, lit(value), KqlType::Real, context)
}

/// Below this, reals and longs correspond exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn real_literal(expr: &Expr) -> Option<f64> {
    match literal(expr) {
        Some(ScalarValue::Float64(value)) => *value,
        _ => None,
    }
}

/// Equality of two values of one type; a constant stands on the right.
fn same_type(is_negated: bool, left: Expr, right: Expr, ty: KqlType, context: Context) -> Result<Expr> {
    let constant = literal(&right).filter(|value| !value.is_null());
    if literal(&left).is_some() {
        return equality_kernel(is_negated, left, right, ty);
    }
    match (ty, constant) {
        (KqlType::String, Some(value)) => {
            let is_empty = value.try_as_str().flatten() == Some("");
            return Ok(match (is_empty, is_negated) {
                (true, false) => or(is_null(left.clone()), left.eq(right)),
                (true, true) => and(is_not_null(left.clone()), left.not_eq(right)),
                (false, _) => total(is_negated, left, right, context),
            });
        }
        // A column of strings may hold nulls that read as "".
        (KqlType::String, None) => {}
        (KqlType::Real, Some(ScalarValue::Float64(Some(value)))) => {
            return Ok(real_equality(is_negated, left, *value, context));
        }
        (KqlType::Real, _) => {}
        (_, Some(_)) => return Ok(total(is_negated, left, right, context)),
        (_, None) if context == Context::Predicate && !is_negated => return Ok(left.eq(right)),
        (_, None) => {}
    }
    equality_kernel(is_negated, left, right, ty)
}

/// Equality with a constant that is not null, in the engine's own terms.
fn total(is_negated: bool, left: Expr, right: Expr, context: Context) -> Expr {
    match (is_negated, context) {
        (false, Context::Predicate) => left.eq(right),
        (false, Context::Value) => binary_expr(left, Operator::IsNotDistinctFrom, right),
        (true, _) => binary_expr(left, Operator::IsDistinctFrom, right),
    }
}

fn real_equality(is_negated: bool, left: Expr, value: f64, context: Context) -> Expr {
    if value.is_nan() {
        return lit(is_negated);
    }
    if value != 0.0 {
        return total(is_negated, left, lit(value), context);
    }
    // Both zeros lie in this range and nothing else does.
    let (low, high) = (lit(-0.0), lit(0.0));
    match (is_negated, context) {
        (true, _) => or(is_null(left.clone()), or(left.clone().lt(low), left.gt(high))),
        (false, Context::Predicate) => and(left.clone().gt_eq(low), left.lt_eq(high)),
        (false, Context::Value) => and(is_not_null(left.clone()), and(left.clone().gt_eq(low), left.lt_eq(high))),
    }
}

fn equality_kernel(is_negated: bool, left: Expr, right: Expr, ty: KqlType) -> Result<Expr> {
    let (name, kernel) = if is_negated { ("not_equal", not_equal as Kernel) } else { ("equal", equal as Kernel) };
    call(name, kernel, vec![left, right], &[ty, ty], KqlType::Bool)
}

fn equal(call: &Call<'_>) -> Result<ColumnarValue> {
    equals(call, false)
}

fn not_equal(call: &Call<'_>) -> Result<ColumnarValue> {
    equals(call, true)
}

fn equals(call: &Call<'_>, is_negated: bool) -> Result<ColumnarValue> {
    fn compare<S: Slot>(call: &Call<'_>, is_negated: bool) -> Result<ColumnarValue>
    where
        for<'a> S::Value<'a>: PartialEq,
    {
        let (left, right) = (Input::<S>::of(call, 0)?, Input::<S>::of(call, 1)?);
        each(call, |row| match (left.get(row), right.get(row)) {
            (None, None) => None,
            (Some(left), Some(right)) => Some((left == right) != is_negated),
            _ => Some(is_negated),
        })
    }
    use crate::scalar::kernel::{BoolSlot, BytesSlot, IntSlot, LongSlot, RealSlot};
    match call.types[0] {
        KqlType::Bool => compare::<BoolSlot>(call, is_negated),
        KqlType::Int => compare::<IntSlot>(call, is_negated),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => compare::<LongSlot>(call, is_negated),
        KqlType::Real => compare::<RealSlot>(call, is_negated),
        KqlType::Decimal | KqlType::Guid => compare::<BytesSlot>(call, is_negated),
        KqlType::String => {
            let (left, right) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
            each(call, |row| (left.text(row) == right.text(row)) != is_negated)
        }
        KqlType::Dynamic => dynamic_equals(call, is_negated),
    }
}

fn dynamic_equality(is_negated: bool, left: Expr, right: Expr, right_ty: KqlType) -> Result<Expr> {
    let (name, kernel) = if is_negated {
        ("dynamic_not_equal", dynamic_not_equal as Kernel)
    } else {
        ("dynamic_equal", dynamic_equal as Kernel)
    };
    call(name, kernel, vec![left, right], &[KqlType::Dynamic, right_ty], KqlType::Bool)
}

fn dynamic_equal(call: &Call<'_>) -> Result<ColumnarValue> {
    dynamic_equals(call, false)
}

fn dynamic_not_equal(call: &Call<'_>) -> Result<ColumnarValue> {
    dynamic_equals(call, true)
}

/// A dynamic against a value of any type: equal when it holds a value of that kind that is equal.
fn dynamic_equals(call: &Call<'_>, is_negated: bool) -> Result<ColumnarValue> {
    let left = Texts::of(call, 0)?;
    let right = Cells::of(call, 1)?;
    each(call, |row| {
        let left = Json::new(left.get(row));
        let equal = equals_cell(left, &right, row);
        match (left.is_null(), equal) {
            (true, None) => None,
            (true, Some(_)) | (false, None) => Some(is_negated),
            (false, Some(equal)) => Some(equal != is_negated),
        }
    })
}

/// Whether the dynamic value is the cell's; `None` when the cell is null.
pub fn equals_cell(value: Json<'_>, cell: &Cells, row: usize) -> Option<bool> {
    let number = |wanted: f64| value.number().is_some_and(|number| number.to_real() == wanted);
    let long = |wanted: i64| match value.number() {
        Some(number) => match number.exact_long() {
            Some(found) => found == wanted,
            None => false,
        },
        None => false,
    };
    Some(match cell {
        Cells::Bool(input) => Some(input.get(row)?) == value.boolean(),
        Cells::Int(input) => long(i64::from(input.get(row)?)),
        Cells::Long(input) => long(input.get(row)?),
        Cells::Real(input) => number(input.get(row)?),
        Cells::Decimal(input) => {
            let wanted = Decimal::from_bytes(input.get(row)?);
            value.number().is_some() && convert::decimal_of_dynamic(value) == Some(wanted)
        }
        Cells::String(input) => value.string().is_some_and(|text| text == input.text(row)),
        Cells::DateTime(input) => {
            let wanted = input.get(row)?;
            value.string().and_then(|text| tidewater_kql::value::datetime::parse(&text)) == Some(wanted)
        }
        Cells::TimeSpan(input) => {
            // A timespan in a dynamic literal is a count of ticks.
            let wanted = input.get(row)?;
            convert::timespan_of_dynamic(value) == Some(wanted)
        }
        Cells::Guid(input) => {
            let wanted = input.get(row)?;
            value.string().and_then(|text| tidewater_kql::value::guid::parse(&text)) == Some(wanted)
        }
        Cells::Dynamic(input) => {
            let wanted = Json::new(input.get(row));
            if wanted.is_null() {
                return None;
            }
            value == wanted || value.key() == wanted.key()
        }
    })
}

/// `left < right` and its kin.
pub fn ordering(op: BinaryOp, left: Expr, left_ty: KqlType, right: Expr, right_ty: KqlType) -> Result<Expr> {
    use KqlType::*;
    if !is_ordered(left_ty, right_ty) {
        return plan_err!("'{}' is not defined for {left_ty} and {right_ty}", op.text());
    }
    if literal(&left).is_some() && literal(&right).is_none() {
        return ordering(flipped(op), right, right_ty, left, left_ty);
    }
    if left_ty == Dynamic || right_ty == Dynamic {
        return ordering_kernel(op, left, left_ty, right, right_ty);
    }
    if literal(&left).is_none()
        && let (Bool | Int | Long, Some(value)) = (left_ty, real_literal(&right))
        && value.is_finite()
    {
        return whole_ordering(op, left, left_ty, value);
    }
    let ty = if left_ty == right_ty { left_ty } else { common(left_ty, right_ty) };
    let left = convert::expr(left, left_ty, ty)?;
    let right = convert::expr(right, right_ty, ty)?;
    if literal(&left).is_some() {
        return ordering_kernel(op, left, ty, right, ty);
    }
    if ty != Real {
        return Ok(binary_expr(left, engine_operator(op), right));
    }
    match real_literal(&right) {
        Some(value) if !value.is_nan() => Ok(real_ordering(op, left, value)),
        _ => ordering_kernel(op, left, ty, right, ty),
    }
}

fn flipped(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        other => other,
    }
}

fn engine_operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Less => Operator::Lt,
        BinaryOp::LessOrEqual => Operator::LtEq,
        BinaryOp::Greater => Operator::Gt,
        _ => Operator::GtEq,
    }
}

/// A column of whole numbers against a real constant: the nearest whole bound says the same.
fn whole_ordering(op: BinaryOp, left: Expr, left_ty: KqlType, value: f64) -> Result<Expr> {
    if value.abs() >= MAX_EXACT {
        // No NaN comes out of a cast from whole numbers.
        let left = cast(convert::expr(left, left_ty, KqlType::Long)?, DataType::Float64);
        return Ok(binary_expr(left, engine_operator(op), lit(value)));
    }
    let bound = match op {
        BinaryOp::Less | BinaryOp::GreaterOrEqual => value.ceil(),
        _ => value.floor(),
    };
    let left = convert::expr(left, left_ty, KqlType::Long)?;
    Ok(binary_expr(left, engine_operator(op), lit(bound as i64)))
}

/// A column of reals against a constant. The second bound keeps NaN out, on whichever side the engine sorts it.
fn real_ordering(op: BinaryOp, left: Expr, value: f64) -> Expr {
    // The zero that makes both zeros fall on the right side.
    let bound = |zero: f64| lit(if value == 0.0 { zero } else { value });
    let above_nan = |left: Expr| left.gt_eq(lit(f64::NEG_INFINITY));
    let below_nan = |left: Expr| left.lt_eq(lit(f64::INFINITY));
    match op {
        BinaryOp::Less => and(left.clone().lt(bound(-0.0)), above_nan(left)),
        BinaryOp::LessOrEqual => and(left.clone().lt_eq(bound(0.0)), above_nan(left)),
        BinaryOp::Greater => and(left.clone().gt(bound(0.0)), below_nan(left)),
        _ => and(left.clone().gt_eq(bound(-0.0)), below_nan(left)),
    }
}

fn ordering_kernel(op: BinaryOp, left: Expr, left_ty: KqlType, right: Expr, right_ty: KqlType) -> Result<Expr> {
    let (name, kernel) = match op {
        BinaryOp::Less => ("less", less as Kernel),
        BinaryOp::LessOrEqual => ("less_or_equal", less_or_equal as Kernel),
        BinaryOp::Greater => ("greater", greater as Kernel),
        _ => ("greater_or_equal", greater_or_equal as Kernel),
    };
    call(name, kernel, vec![left, right], &[left_ty, right_ty], KqlType::Bool)
}

fn less(call: &Call<'_>) -> Result<ColumnarValue> {
    order(call, |order| order == Ordering::Less)
}

fn less_or_equal(call: &Call<'_>) -> Result<ColumnarValue> {
    order(call, |order| order != Ordering::Greater)
}

fn greater(call: &Call<'_>) -> Result<ColumnarValue> {
    order(call, |order| order == Ordering::Greater)
}

fn greater_or_equal(call: &Call<'_>) -> Result<ColumnarValue> {
    order(call, |order| order != Ordering::Less)
}

/// Null with a null; false where there is no order (NaN, a dynamic that holds no number).
fn order(call: &Call<'_>, wanted: fn(Ordering) -> bool) -> Result<ColumnarValue> {
    let answer = |order: Option<Ordering>| order.is_some_and(wanted);
    if call.types.contains(&KqlType::Dynamic) {
        let (left, right) = (Numbers::of(call, 0)?, Numbers::of(call, 1)?);
        return each(call, |row| {
            let (left, right) = (left.get(row)?, right.get(row)?);
            Some(answer(left.compare(&right)))
        });
    }
    match call.types[0] {
        KqlType::Bool => {
            let (left, right) = (Bools::of(call, 0)?, Bools::of(call, 1)?);
            each(call, |row| Some(answer(left.get(row)?.partial_cmp(&right.get(row)?))))
        }
        KqlType::Real => {
            let (left, right) = (Reals::of(call, 0)?, Reals::of(call, 1)?);
            each(call, |row| Some(answer(left.get(row)?.partial_cmp(&right.get(row)?))))
        }
        KqlType::Decimal => {
            let (left, right) = (Bytes16::of(call, 0)?, Bytes16::of(call, 1)?);
            each(call, |row| Some(answer(left.get(row)?.partial_cmp(&right.get(row)?))))
        }
        KqlType::DateTime | KqlType::TimeSpan => {
            let (left, right) = (Longs::of(call, 0)?, Longs::of(call, 1)?);
            each(call, |row| Some(answer(left.get(row)?.partial_cmp(&right.get(row)?))))
        }
        _ => {
            let (left, right) = (Integers::of(call, 0)?, Integers::of(call, 1)?);
            each(call, |row| Some(answer(left.get(row)?.partial_cmp(&right.get(row)?))))
        }
    }
}

/// A numeric argument of any type, dynamic included.
struct Numbers(Cells);

/// A number as it is compared.
enum AnyNumber {
    Long(i64),
    Real(f64),
    Decimal(Decimal),
    /// A dynamic that is not null and holds no number.
    Other,
}

impl Numbers {
    fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        Cells::of(call, position).map(Numbers)
    }

    fn get(&self, row: usize) -> Option<AnyNumber> {
        use crate::dynamic::Number;
        Some(match &self.0 {
            Cells::Int(input) => AnyNumber::Long(i64::from(input.get(row)?)),
            Cells::Long(input) => AnyNumber::Long(input.get(row)?),
            Cells::Real(input) => AnyNumber::Real(input.get(row)?),
            Cells::Decimal(input) => AnyNumber::Decimal(Decimal::from_bytes(input.get(row)?)),
            Cells::Dynamic(input) => {
                let value = Json::new(input.get(row));
                match value.number() {
                    Some(Number::Long(value)) => AnyNumber::Long(value),
                    Some(Number::Double(value)) => AnyNumber::Real(value),
                    None if value.is_null() => return None,
                    None => AnyNumber::Other,
                }
            }
            _ => return None,
        })
    }
}

impl AnyNumber {
    fn compare(&self, other: &AnyNumber) -> Option<Ordering> {
        use AnyNumber::*;
        match (self, other) {
            (Long(left), Long(right)) => Some(left.cmp(right)),
            (Decimal(left), right) => Some(left.cmp(&right.decimal()?)),
            (left, Decimal(right)) => Some(left.decimal()?.cmp(right)),
            (left, right) => left.real()?.partial_cmp(&right.real()?),
        }
    }

    fn real(&self) -> Option<f64> {
        match self {
            AnyNumber::Long(value) => Some(*value as f64),
            AnyNumber::Real(value) => Some(*value),
            AnyNumber::Decimal(value) => Some(value.to_f64()),
            AnyNumber::Other => None,
        }
    }

    fn decimal(&self) -> Option<Decimal> {
        match self {
            AnyNumber::Long(value) => Some(self::Decimal::from_i64(*value)),
            AnyNumber::Real(value) => self::Decimal::from_f64(*value),
            AnyNumber::Decimal(value) => Some(*value),
            AnyNumber::Other => None,
        }
    }
}
