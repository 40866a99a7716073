//! The operators as engine expressions.
//!
//! Input: operands with their KQL types, from the binder. Output: an engine expression with exactly KQL's
//! meaning: the engine's own operators where they have it, so that statistics prune, kernels elsewhere.
//! A string column's null reads as `""`. Operations on constants are constants.

use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::expr::Like;
use datafusion_expr::{ColumnarValue, Expr, and, is_null, lit, not, or, when};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;

use crate::call::{Call, Kernel};
use crate::convert;
use crate::udf::KernelUdf;

mod arithmetic;
mod compare;
mod list;
mod text;

pub use arithmetic::{negate, negated_type};
pub use compare::equals_cell;
pub use list::{asked_texts, in_list, in_list_type};
pub use text::{Ask, Case, Matcher, fold, fold_into, folded, is_term_character};

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Its value is seen: false and null differ. Also everything below `not`, `iff`, `==` and other functions.
    Value,
    /// It is the predicate of a `where`, or an operand of `and` or `or` in one: null counts as false.
    Predicate,
}

/// The type of `left op right`; `None` where the operator is not defined for the types. Source: kql-behaviour
/// section 2.
pub fn result_type(op: BinaryOp, left: KqlType, right: KqlType) -> Option<KqlType> {
    use BinaryOp::*;
    use KqlType::*;
    let is_text = |ty| matches!(ty, String | Dynamic);
    let is_defined = match op {
        Or | And => matches!(left, Bool | Dynamic) && matches!(right, Bool | Dynamic),
        Equal | NotEqual => compare::is_comparable(left, right),
        Less | LessOrEqual | Greater | GreaterOrEqual => compare::is_ordered(left, right),
        Add | Subtract | Multiply | Divide | Modulo => return arithmetic::result_type(op, left, right),
        Has | NotHas | HasCs | NotHasCs | HasPrefix | NotHasPrefix | HasPrefixCs | NotHasPrefixCs | HasSuffix
        | NotHasSuffix | HasSuffixCs | NotHasSuffixCs => is_text(left) && right == String,
        _ => is_text(left) && is_text(right),
    };
    is_defined.then_some(Bool)
}

/// `left op right`. `returns` is what `result_type` gave.
pub fn expr(
    op: BinaryOp,
    left: Expr,
    left_ty: KqlType,
    right: Expr,
    right_ty: KqlType,
    returns: KqlType,
    context: Context,
) -> Result<Expr> {
    use BinaryOp::*;
    debug_assert!(result_type(op, left_ty, right_ty).is_none_or(|ty| ty == returns), "{op:?} {left_ty} {right_ty}");
    match op {
        And => Ok(and(boolean(left, left_ty)?, boolean(right, right_ty)?)),
        Or => Ok(or(boolean(left, left_ty)?, boolean(right, right_ty)?)),
        Equal => compare::equality(false, left, left_ty, right, right_ty, context),
        NotEqual => compare::equality(true, left, left_ty, right, right_ty, context),
        Less | LessOrEqual | Greater | GreaterOrEqual => compare::ordering(op, left, left_ty, right, right_ty),
        Add | Subtract | Multiply | Divide | Modulo => arithmetic::expr(op, left, left_ty, right, right_ty),
        _ => matching(op, left, left_ty, right, right_ty, context),
    }
}

fn boolean(operand: Expr, ty: KqlType) -> Result<Expr> {
    match ty {
        KqlType::Bool => Ok(operand),
        _ => convert::expr(operand, ty, KqlType::Bool),
    }
}

/// The text operators.
fn matching(
    op: BinaryOp,
    left: Expr,
    left_ty: KqlType,
    right: Expr,
    right_ty: KqlType,
    context: Context,
) -> Result<Expr> {
    let is_text = |ty| matches!(ty, KqlType::String | KqlType::Dynamic);
    let Some((name, kernel)) = text::kernel(op).filter(|_| is_text(left_ty) && is_text(right_ty)) else {
        return plan_err!("'{}' is not defined for {left_ty} and {right_ty}", op.text());
    };
    let left = convert::expr(left, left_ty, KqlType::String)?;
    let right = convert::expr(right, right_ty, KqlType::String)?;
    let needle = literal(&right).map(|value| value.try_as_str().flatten().unwrap_or(""));
    match (op, needle) {
        // The engine prunes by a prefix.
        (BinaryOp::StartsWithCs, Some(prefix))
            if context == Context::Predicate && !prefix.is_empty() && literal(&left).is_none() =>
        {
            let mut pattern: String = prefix.chars().flat_map(like_escaped).collect();
            pattern.push('%');
            let pattern = lit(ScalarValue::Utf8View(Some(pattern)));
            Ok(Expr::Like(Like::new(false, Box::new(left), Box::new(pattern), None, false)))
        }
        // Without letters there is no case to ignore.
        (BinaryOp::EqualTilde | BinaryOp::NotEqualTilde, Some(needle)) if is_caseless(needle) => {
            let is_negated = op == BinaryOp::NotEqualTilde;
            compare::equality(is_negated, left, KqlType::String, right, KqlType::String, context)
        }
        _ => {
            let types = [KqlType::String, KqlType::String];
            call(name, kernel, vec![left, right], &types, KqlType::Bool)
        }
    }
}

fn like_escaped(character: char) -> impl Iterator<Item = char> {
    let escape = matches!(character, '%' | '_' | '\\').then_some('\\');
    escape.into_iter().chain(std::iter::once(character))
}

fn is_caseless(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic())
}

/// `[!]between (low .. high)`: both ends belong to it; a timespan after a datetime counts from the lower end. Null
/// with any null. `None` from `between_is_defined` means the operands do not fit.
pub fn between(
    is_negated: bool,
    operand: (Expr, KqlType),
    low: (Expr, KqlType),
    high: (Expr, KqlType),
    context: Context,
) -> Result<Expr> {
    if !between_is_defined(operand.1, low.1, high.1) {
        return plan_err!("between is not defined for {}, {} and {}", operand.1, low.1, high.1);
    }
    let high = match (low.1, high.1) {
        (KqlType::DateTime, KqlType::TimeSpan) => {
            (arithmetic::expr(BinaryOp::Add, low.0.clone(), low.1, high.0, high.1)?, KqlType::DateTime)
        }
        _ => high,
    };
    let bounds = [low.0.clone(), high.0.clone()];
    let above = compare::ordering(BinaryOp::GreaterOrEqual, operand.0.clone(), operand.1, low.0, low.1)?;
    let below = compare::ordering(BinaryOp::LessOrEqual, operand.0.clone(), operand.1, high.0, high.1)?;
    let within = if is_negated { not(and(above, below)) } else { and(above, below) };
    // `null and false` is false to the engine, and null here. It shows only with a bound that may be null.
    let is_exact = bounds.iter().all(|bound| literal(bound).is_some_and(|value| !value.is_null()));
    if is_exact || (context == Context::Predicate && !is_negated) {
        return Ok(within);
    }
    let any_null = bounds.into_iter().fold(is_null(operand.0), |any, bound| or(any, is_null(bound)));
    when(any_null, lit(ScalarValue::Boolean(None))).otherwise(within)
}

/// Whether `between` takes these types.
pub fn between_is_defined(operand: KqlType, low: KqlType, high: KqlType) -> bool {
    let span_from = (operand, low, high) == (KqlType::DateTime, KqlType::DateTime, KqlType::TimeSpan);
    let is_orderable = |ty: KqlType| ty.is_numeric() || matches!(ty, KqlType::DateTime | KqlType::TimeSpan);
    if (operand, low, high) == (KqlType::Bool, KqlType::Bool, KqlType::Bool) {
        return true;
    }
    span_from
        || (is_orderable(low)
            && is_orderable(high)
            && compare::is_ordered(operand, low)
            && compare::is_ordered(operand, high))
}

/// The value of a constant.
pub(crate) fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// A call of a pure kernel, carried out at once when every argument is a constant.
pub(crate) fn call(name: &str, kernel: Kernel, args: Vec<Expr>, types: &[KqlType], returns: KqlType) -> Result<Expr> {
    let constants: Option<Vec<ColumnarValue>> =
        args.iter().map(|arg| literal(arg).map(|value| ColumnarValue::Scalar(value.clone()))).collect();
    match constants {
        Some(args) => match kernel(&Call { args: &args, types, returns, rows: 1 })? {
            ColumnarValue::Scalar(value) => Ok(lit(value)),
            ColumnarValue::Array(array) => Ok(lit(ScalarValue::try_from_array(&array, 0)?)),
        },
        None => Ok(KernelUdf::call(name, true, kernel, args, types, returns)),
    }
}
