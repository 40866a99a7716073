//! `+ - * / %` and unary minus.
//!
//! Whole numbers are long, wrap, divide toward zero and have no quotient by zero; `%` is never negative;
//! reals follow IEEE; decimals are exact; a datetime out of range is null.
//! Source: kql-behaviour sections 2, 4 and 8.

use datafusion_common::{Result, plan_err};
use datafusion_expr::{ColumnarValue, Expr, Operator, binary_expr, lit};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::value::datetime;
use tidewater_kql::value::decimal::Decimal;

use super::{call, literal};
use crate::call::{Call, Kernel};
use crate::convert;
use crate::dynamic::{self, Dynamic, Json, LONG_BOUND, Number};
use crate::scalar::kernel::{Bytes16, Longs, Reals, Texts, each, each_dynamic};

/// The type of an arithmetic operation; `None` where it is not defined. Two dynamics are refused, as the engine does.
pub fn result_type(op: BinaryOp, left: KqlType, right: KqlType) -> Option<KqlType> {
    let (left, right) = operand_types(op, left, right)?;
    use BinaryOp::*;
    use KqlType::*;
    match (op, left, right) {
        (_, left, right) if left.is_numeric() && right.is_numeric() => Some(match (left, right) {
            (Decimal, _) | (_, Decimal) => Decimal,
            (Real, _) | (_, Real) => Real,
            _ => Long,
        }),
        (Subtract, DateTime, DateTime) => Some(TimeSpan),
        (Add | Subtract, DateTime, TimeSpan) | (Add, TimeSpan, DateTime) => Some(DateTime),
        (Add | Subtract, TimeSpan, TimeSpan) => Some(TimeSpan),
        (Multiply | Divide, TimeSpan, number) if number.is_numeric() => Some(TimeSpan),
        (Multiply, number, TimeSpan) if number.is_numeric() => Some(TimeSpan),
        (Divide, TimeSpan | DateTime, TimeSpan) => Some(Real),
        (Modulo, TimeSpan | DateTime, TimeSpan) => Some(TimeSpan),
        _ => None,
    }
}

/// The operands' types once a dynamic has taken the type that the other side asks for.
fn operand_types(op: BinaryOp, left: KqlType, right: KqlType) -> Option<(KqlType, KqlType)> {
    use BinaryOp::*;
    use KqlType::*;
    Some(match (left, right) {
        (Dynamic, Dynamic) => return None,
        (Dynamic, other) | (other, Dynamic) if other.is_numeric() => {
            if left == Dynamic {
                (other, other)
            } else {
                (left, other)
            }
        }
        (Dynamic, DateTime) if op == Subtract => (DateTime, DateTime),
        (DateTime, Dynamic) if op == Subtract => (DateTime, DateTime),
        (Dynamic, DateTime) if op == Add => (TimeSpan, DateTime),
        (DateTime, Dynamic) if op == Add => (DateTime, TimeSpan),
        (Dynamic, TimeSpan) if matches!(op, Add | Subtract) => (TimeSpan, TimeSpan),
        (TimeSpan, Dynamic) if matches!(op, Add | Subtract) => (TimeSpan, TimeSpan),
        (Dynamic, _) | (_, Dynamic) => return None,
        pair => pair,
    })
}

/// `left op right`.
pub fn expr(op: BinaryOp, left: Expr, left_ty: KqlType, right: Expr, right_ty: KqlType) -> Result<Expr> {
    let (Some(returns), Some((left_to, right_to))) =
        (result_type(op, left_ty, right_ty), operand_types(op, left_ty, right_ty))
    else {
        return plan_err!("'{}' is not defined for {left_ty} and {right_ty}", op.text());
    };
    let mut left = convert::expr(left, left_ty, left_to)?;
    let mut right = convert::expr(right, right_ty, right_to)?;
    let (mut left_ty, mut right_ty) = (left_to, right_to);
    use KqlType::*;
    if left_ty.is_numeric() && right_ty.is_numeric() {
        left = convert::expr(left, left_ty, returns)?;
        right = convert::expr(right, right_ty, returns)?;
        (left_ty, right_ty) = (returns, returns);
    } else if left_ty.is_numeric() || right_ty.is_numeric() {
        // A timespan and a number, the timespan first; the number is long or real.
        if left_ty.is_numeric() {
            (left, right) = (right, left);
            (left_ty, right_ty) = (right_ty, left_ty);
        }
        let number = if matches!(right_ty, Int | Long) { Long } else { Real };
        right = convert::expr(right, right_ty, number)?;
        right_ty = number;
    } else if (left_ty, right_ty) == (TimeSpan, DateTime) && op == BinaryOp::Add {
        (left, right) = (right, left);
        (left_ty, right_ty) = (DateTime, TimeSpan);
    }
    let is_constant = literal(&left).is_some() && literal(&right).is_some();
    if !is_constant && is_native(op, left_ty, right_ty) {
        return Ok(binary_expr(left, engine_operator(op), right));
    }
    let (name, kernel) = kernel(op);
    call(name, kernel, vec![left, right], &[left_ty, right_ty], returns)
}

/// Where the engine's operator has exactly the meaning. Its whole-number arithmetic wraps and its reals are IEEE.
fn is_native(op: BinaryOp, left: KqlType, right: KqlType) -> bool {
    use BinaryOp::*;
    use KqlType::*;
    matches!(
        (op, left, right),
        (Add | Subtract | Multiply, Long, Long)
            | (Add | Subtract | Multiply | Divide, Real, Real)
            | (Add | Subtract, TimeSpan, TimeSpan)
            | (Subtract, DateTime, DateTime)
            | (Multiply, TimeSpan, Long)
    )
}

fn engine_operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Add => Operator::Plus,
        BinaryOp::Subtract => Operator::Minus,
        BinaryOp::Multiply => Operator::Multiply,
        BinaryOp::Divide => Operator::Divide,
        _ => Operator::Modulo,
    }
}

/// The type of `-x`; `None` where it is not defined.
pub fn negated_type(ty: KqlType) -> Option<KqlType> {
    match ty {
        KqlType::Int | KqlType::Long => Some(KqlType::Long),
        KqlType::Real | KqlType::Decimal | KqlType::TimeSpan | KqlType::Dynamic => Some(ty),
        _ => None,
    }
}

/// `-x`. The negative of `0.0` is `0.0`: the engine of Kusto subtracts from zero.
pub fn negate(operand: Expr, ty: KqlType) -> Result<Expr> {
    match ty {
        KqlType::Int | KqlType::Long => expr(BinaryOp::Subtract, lit(0i64), KqlType::Long, operand, ty),
        KqlType::Real => expr(BinaryOp::Subtract, lit(0.0), KqlType::Real, operand, ty),
        KqlType::TimeSpan => expr(BinaryOp::Subtract, lit(0i64), KqlType::TimeSpan, operand, ty),
        KqlType::Decimal => {
            let zero = convert::expr(lit(0i64), KqlType::Long, KqlType::Decimal)?;
            expr(BinaryOp::Subtract, zero, KqlType::Decimal, operand, ty)
        }
        KqlType::Dynamic => call("negate", negate_dynamic, vec![operand], &[ty], ty),
        _ => plan_err!("'-' is not defined for {ty}"),
    }
}

fn negate_dynamic(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| match Json::new(input.get(row)).number() {
        Some(Number::Long(value)) => {
            dynamic::write_long(0i64.wrapping_sub(value), out);
            true
        }
        Some(Number::Double(value)) => {
            tidewater_kql::value::real::write_json(0.0 - value, out);
            true
        }
        None => false,
    })
}

fn kernel(op: BinaryOp) -> (&'static str, Kernel) {
    match op {
        BinaryOp::Add => ("add", add),
        BinaryOp::Subtract => ("subtract", subtract),
        BinaryOp::Multiply => ("multiply", multiply),
        BinaryOp::Divide => ("divide", divide),
        _ => ("modulo", modulo),
    }
}

fn longs(call: &Call<'_>, f: impl Fn(i64, i64) -> Option<i64>) -> Result<ColumnarValue> {
    let (left, right) = (Longs::of(call, 0)?, Longs::of(call, 1)?);
    each(call, |row| f(left.get(row)?, right.get(row)?))
}

fn reals(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Result<ColumnarValue> {
    let (left, right) = (Reals::of(call, 0)?, Reals::of(call, 1)?);
    each(call, |row| Some(f(left.get(row)?, right.get(row)?)))
}

fn decimals(call: &Call<'_>, f: impl Fn(Decimal, Decimal) -> Option<Decimal>) -> Result<ColumnarValue> {
    let (left, right) = (Bytes16::of(call, 0)?, Bytes16::of(call, 1)?);
    each(call, |row| {
        let (left, right) = (Decimal::from_bytes(left.get(row)?), Decimal::from_bytes(right.get(row)?));
        Some(f(left, right)?.bytes())
    })
}

/// A timespan scaled by a real; null when it is not a number of ticks.
fn scaled(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Result<ColumnarValue> {
    let (span, number) = (Longs::of(call, 0)?, Reals::of(call, 1)?);
    each(call, |row| {
        let ticks = f(span.get(row)? as f64, number.get(row)?);
        (-LONG_BOUND..LONG_BOUND).contains(&ticks).then_some(ticks as i64)
    })
}

fn add(call: &Call<'_>) -> Result<ColumnarValue> {
    match (call.types[0], call.returns) {
        (KqlType::DateTime, _) => longs(call, datetime::add),
        (_, KqlType::Real) => reals(call, |left, right| left + right),
        (_, KqlType::Decimal) => decimals(call, Decimal::add),
        _ => longs(call, |left, right| Some(left.wrapping_add(right))),
    }
}

fn subtract(call: &Call<'_>) -> Result<ColumnarValue> {
    match (call.types[0], call.returns) {
        (KqlType::DateTime, KqlType::DateTime) => longs(call, |left, right| datetime::add(left, right.checked_neg()?)),
        (_, KqlType::Real) => reals(call, |left, right| left - right),
        (_, KqlType::Decimal) => decimals(call, Decimal::sub),
        _ => longs(call, |left, right| Some(left.wrapping_sub(right))),
    }
}

fn multiply(call: &Call<'_>) -> Result<ColumnarValue> {
    match (call.types[1], call.returns) {
        (KqlType::Real, KqlType::TimeSpan) => scaled(call, |left, right| left * right),
        (_, KqlType::Real) => reals(call, |left, right| left * right),
        (_, KqlType::Decimal) => decimals(call, Decimal::mul),
        _ => longs(call, |left, right| Some(left.wrapping_mul(right))),
    }
}

fn divide(call: &Call<'_>) -> Result<ColumnarValue> {
    match (call.types[1], call.returns) {
        (KqlType::Real, KqlType::TimeSpan) => scaled(call, |left, right| left / right),
        (KqlType::TimeSpan, KqlType::Real) => {
            let (left, right) = (Longs::of(call, 0)?, Longs::of(call, 1)?);
            each(call, |row| Some(left.get(row)? as f64 / right.get(row)? as f64))
        }
        (_, KqlType::Real) => reals(call, |left, right| left / right),
        (_, KqlType::Decimal) => decimals(call, Decimal::div),
        _ => longs(call, |left, right| if right == 0 { None } else { Some(left.wrapping_div(right)) }),
    }
}

fn modulo(call: &Call<'_>) -> Result<ColumnarValue> {
    match call.returns {
        KqlType::Real => reals(call, real_modulo),
        KqlType::Decimal => decimals(call, |left, right| {
            let rest = left.rem(right)?;
            if rest.is_negative() { rest.add(right.abs()) } else { Some(rest) }
        }),
        _ => longs(call, |left, right| if right == 0 { None } else { Some(left.wrapping_rem_euclid(right)) }),
    }
}

/// The remainder that is never negative.
pub fn real_modulo(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest < 0.0 { rest + right.abs() } else { rest }
}
