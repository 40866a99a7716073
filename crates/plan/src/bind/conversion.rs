//! Implicit and explicit conversions. Source: kql-behaviour sections 2 and 6.

use tidewater_functions::find_scalar;
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Constant, PathStep, ScalarRow, Value};

/// The rank of a number type; operators widen to the higher one.
pub(crate) fn rank(ty: KqlType) -> Option<u8> {
    Some(match ty {
        KqlType::Int => 0,
        KqlType::Long => 1,
        KqlType::Real => 2,
        KqlType::Decimal => 3,
        _ => return None,
    })
}

/// The wider of two number types.
pub(crate) fn widest(left: KqlType, right: KqlType) -> Option<KqlType> {
    let (left_rank, right_rank) = (rank(left)?, rank(right)?);
    Some(if left_rank >= right_rank { left } else { right })
}

/// Whether a value of `from` may stand where `to` is expected, without a `to...` call.
pub(crate) fn widens(from: KqlType, to: KqlType) -> bool {
    match (rank(from), rank(to)) {
        (Some(from), Some(to)) => from <= to,
        _ => from == to,
    }
}

/// The type that all of these are brought to by `iff`, `case`, `coalesce`, `max_of`; `None` when they do not agree.
pub(crate) fn common_type(types: impl IntoIterator<Item = KqlType>) -> Option<KqlType> {
    types.into_iter().map(Some).reduce(|left, right| {
        let (left, right) = (left?, right?);
        if left == right {
            return Some(left);
        }
        // A dynamic is read as the other side's type.
        if left == KqlType::Dynamic {
            return Some(right);
        }
        if right == KqlType::Dynamic {
            return Some(left);
        }
        widest(left, right)
    })?
}

impl Binder<'_> {
    /// The expression as a value of another type, by the rules of the `to...` functions.
    pub fn convert(&mut self, expr: BExpr, to: KqlType) -> BExpr {
        if expr.ty == to {
            return expr;
        }
        let folded = match (&expr.kind, to) {
            // Numbers that the other type holds exactly; everything else is left to the conversion itself.
            (BExprKind::Constant(Value::Int(value)), KqlType::Long) => Some(Value::Long(i64::from(*value))),
            (BExprKind::Constant(Value::Int(value)), KqlType::Real) => Some(Value::Real(f64::from(*value))),
            (BExprKind::Constant(Value::Long(value)), KqlType::Int) => i32::try_from(*value).ok().map(Value::Int),
            (BExprKind::Constant(Value::Long(value)), KqlType::Real) if value.unsigned_abs() <= 1 << 53 => {
                Some(Value::Real(*value as f64))
            }
            (BExprKind::Constant(Value::Null), KqlType::String) => Some(Value::String(String::new())),
            (BExprKind::Constant(Value::Null), _) => Some(Value::Null),
            _ => None,
        };
        match folded {
            Some(value) => BExpr { kind: BExprKind::Constant(value), ty: to },
            None => BExpr { kind: BExprKind::Convert(Box::new(expr)), ty: to },
        }
    }

    /// The expression as a dynamic that holds its value. Unlike `todynamic`, a string is not read as JSON.
    pub fn boxed(&mut self, expr: BExpr, span: Span) -> Bound<BExpr> {
        if expr.ty == KqlType::Dynamic {
            return Ok(expr);
        }
        if let Some(constant) = expr.as_constant()
            && constant.is_null()
        {
            return Ok(BExpr::constant(Constant::null(KqlType::Dynamic)));
        }
        let Some(row) = find_scalar("pack_array") else {
            return self.not_served(span, "a dynamic beside values of other types");
        };
        let array = BExpr { kind: BExprKind::Call { row: ScalarRow(row), args: vec![expr] }, ty: KqlType::Dynamic };
        let kind = BExprKind::Path { base: Box::new(array), steps: vec![PathStep::Index(0)] };
        Ok(BExpr { kind, ty: KqlType::Dynamic })
    }

    /// The expression brought to a common type.
    pub fn common(&mut self, expr: BExpr, to: KqlType, span: Span) -> Bound<BExpr> {
        if to == KqlType::Dynamic { self.boxed(expr, span) } else { Ok(self.convert(expr, to)) }
    }

    /// The expressions brought to their common type, or a refusal that names `what`.
    pub fn unify(&mut self, exprs: Vec<(BExpr, Span)>, what: &str, span: Span) -> Bound<(Vec<BExpr>, KqlType)> {
        let Some(ty) = common_type(exprs.iter().map(|(expr, _)| expr.ty)) else {
            let types: Vec<&str> = exprs.iter().map(|(expr, _)| expr.ty.name()).collect();
            let message = format!("{what} must have one type, but these have the types {}", types.join(", "));
            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        };
        let mut unified = Vec::with_capacity(exprs.len());
        for (expr, span) in exprs {
            unified.push(self.common(expr, ty, span)?);
        }
        Ok((unified, ty))
    }

    /// A value for a place of type `to` (a parameter, a `datatable` cell, an aggregate's default): the same type,
    /// a number that widens or, as a constant, fits, a dynamic either way. `None` when it does not go.
    pub fn assignable(&mut self, expr: BExpr, to: KqlType, span: Span) -> Bound<Option<BExpr>> {
        let from = expr.ty;
        if widens(from, to) || from == KqlType::Dynamic {
            return Ok(Some(self.convert(expr, to)));
        }
        if to == KqlType::Dynamic {
            return Ok(Some(self.boxed(expr, span)?));
        }
        // Integer literals are long; where int is wanted they are meant.
        if from == KqlType::Long && to == KqlType::Int {
            return Ok(Some(self.convert(expr, to)));
        }
        Ok(None)
    }
}
