//! `range x from a to b step s`. Source: range-operator page; kql-behaviour section 13.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, Name};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::conversion::widest;
use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{Constant, Rel, RelOp, Value};

impl Binder<'_> {
    /// The rows from `from` to `to`, both inclusive.
    pub fn range_operator(&mut self, name: &Name, from: &Expr, to: &Expr, step: &Expr, span: Span) -> Bound<Arc<Rel>> {
        let start = self.bound_of_range(from, "the start of 'range'");
        let stop = self.bound_of_range(to, "the end of 'range'");
        let size = self.bound_of_range(step, "the step of 'range'");
        let (start, stop, size) = (start?, stop?, size?);
        use KqlType::{DateTime, TimeSpan};
        let types = (start.ty, stop.ty, size.ty);
        let (ty, step_ty) = match types {
            (DateTime, DateTime, TimeSpan) => (DateTime, TimeSpan),
            (TimeSpan, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan),
            (start, stop, size) => match widest(start, stop).and_then(|ty| widest(ty, size)) {
                Some(ty) => (ty, ty),
                None => {
                    let message = format!("'range' is not defined from {start} to {stop} with a step of type {size}");
                    // The place is the first value that no range takes, else the step.
                    let unfit = [(start, from), (stop, to)].into_iter().find(|(ty, _)| !is_summable(*ty));
                    let place = unfit.map_or(step.span, |(_, expr)| expr.span);
                    return self.fail(diagnostic::ARGUMENT_TYPE, place, message);
                }
            },
        };
        let start = self.constant_of_type(start, ty, from.span, "the start of 'range'")?;
        let stop = self.constant_of_type(stop, ty, to.span, "the end of 'range'")?;
        let size = self.constant_of_type(size, step_ty, step.span, "the step of 'range'")?;
        if is_zero(&size) {
            return self.fail(diagnostic::NOT_IN_LIST, step.span, "the step of 'range' must not be 0");
        }
        let columns = vec![self.fresh_column(&name.text, ty)];
        self.rel(RelOp::Range { start, stop, step: size }, columns, span)
    }

    fn bound_of_range(&mut self, expr: &Expr, what: &str) -> Bound<Constant> {
        let bound = self.expr(expr, &mut Row::none())?;
        self.constant(&bound, expr.span, what)
    }
}

/// Types that can be counted up from: numbers, moments, spans.
pub(crate) fn is_summable(ty: KqlType) -> bool {
    ty.is_numeric() || matches!(ty, KqlType::DateTime | KqlType::TimeSpan)
}

/// Whether a number or span is zero.
pub(crate) fn is_zero(constant: &Constant) -> bool {
    match constant.value {
        Value::Int(value) => value == 0,
        Value::Long(value) | Value::TimeSpan(value) => value == 0,
        Value::Real(value) => value == 0.0,
        Value::Decimal(bytes) => {
            tidewater_kql::value::decimal::Decimal::from_bytes(bytes)
                == tidewater_kql::value::decimal::Decimal::from_i64(0)
        }
        _ => false,
    }
}

/// Whether a number or span is above zero.
pub(crate) fn is_positive(constant: &Constant) -> bool {
    match constant.value {
        Value::Int(value) => value > 0,
        Value::Long(value) | Value::TimeSpan(value) => value > 0,
        Value::Real(value) => value > 0.0,
        Value::Decimal(bytes) => {
            tidewater_kql::value::decimal::Decimal::from_bytes(bytes)
                > tidewater_kql::value::decimal::Decimal::from_i64(0)
        }
        _ => false,
    }
}
