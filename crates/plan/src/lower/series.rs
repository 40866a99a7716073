//! `make-series`: bins are aggregated like any groups, then gathered by `exec::series`.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, Filter, LogicalPlan};
use tidewater_functions::{Imp, find_scalar};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;

use super::aggregate::{count_rows, function};
use super::expr;
use super::{Lowered, Lowering, Need, engine_column, staged};
use crate::bound::{BExpr, BExprKind, BoundAggregate, Constant, MakeSeries, Rel, ScalarRow, Value};
use crate::exec::series::Series;

impl Lowering {
    /// One row of arrays per key.
    pub(super) fn make_series(&mut self, rel: &Rel, series: &MakeSeries) -> Result<Lowered> {
        let mut need = Need::new([], false).and(series.keys.iter().chain([&series.axis]));
        for (aggregate, _) in &series.aggregates {
            if let BoundAggregate::Function { args, .. } = aggregate {
                need.read(args);
            }
        }
        let lowered = self.relation(&series.input, &need)?;

        // An int axis is binned as longs.
        let axis_ty = if series.axis.ty == KqlType::Int { KqlType::Long } else { series.axis.ty };
        let axis = converted(series.axis.clone(), axis_ty);
        let step_ty = if axis_ty == KqlType::DateTime { KqlType::TimeSpan } else { axis_ty };
        let step = fitted(&series.step, step_ty);
        let from = series.from.as_ref().map(|bound| fitted(bound, axis_ty));
        let to = series.to.as_ref().map(|bound| fitted(bound, axis_ty));

        let mut within = Vec::new();
        if let Some(from) = &from {
            within.push(comparison(BinaryOp::GreaterOrEqual, &axis, from));
        }
        if let Some(to) = &to {
            let op = if series.in_range { BinaryOp::LessOrEqual } else { BinaryOp::Less };
            within.push(comparison(op, &axis, to));
        }
        let mut plan = lowered.plan;
        if !within.is_empty() {
            let inside = within.iter().map(expr::holds).collect::<Result<_>>()?;
            plan = LogicalPlan::Filter(Filter::try_new(expr::logical(BinaryOp::And, inside), Arc::new(plan))?);
        }

        let bin = match &from {
            Some(from) if !series.in_range => {
                called("bin_at", vec![axis, BExpr::constant(step.clone()), BExpr::constant(from.clone())])?
            }
            _ => called("bin", vec![axis, BExpr::constant(step.clone())])?,
        };
        let keys = &rel.columns[..series.keys.len()];
        let mut groups = Vec::with_capacity(keys.len() + 1);
        for (key, column) in series.keys.iter().zip(keys) {
            groups.push(expr::key(key, &series.input)?.alias(column.id.engine_name()));
        }
        let bin_name = self.fresh('b');
        groups.push(expr::value(&bin)?.alias(&bin_name));

        let mut calls = Vec::new();
        let mut values = Vec::new();
        let mut aggregates = Vec::new();
        for ((aggregate, default), column) in series.aggregates.iter().zip(&rel.columns[keys.len()..]) {
            let BoundAggregate::Function { row, args, returns, .. } = aggregate else {
                return plan_err!("make-series takes aggregates with one value only");
            };
            let (call, finish) = function(row, args, *returns)?;
            let name = self.fresh('a');
            calls.push(call.alias(&name));
            let value = engine_column(&name);
            values.push(match finish {
                Some(finish) => finish(value, *returns),
                None => value,
            });
            aggregates.push((column.id.engine_name(), *returns, default.clone()));
        }
        if calls.is_empty() {
            calls.push(count_rows().alias(self.fresh('a')));
        }
        let plan = LogicalPlan::Aggregate(AggregateNode::try_new(Arc::new(plan), groups, calls)?);

        let Some(axis_column) = rel.columns.last() else { return plan_err!("make-series has no axis") };
        let stage = Series {
            keys: keys.iter().map(|column| (column.id.engine_name(), column.ty)).collect(),
            aggregates,
            axis: axis_column.id.engine_name(),
            axis_ty,
            from,
            to,
            step,
            is_inclusive: series.in_range,
            nonempty: series.nonempty,
        };
        let args: Vec<Expr> =
            keys.iter().map(|column| expr::column(column.id)).chain([engine_column(&bin_name)]).chain(values).collect();
        Ok(Lowered::unordered(staged(plan, stage, args, Vec::new(), Vec::new(), None)?))
    }
}

fn converted(operand: BExpr, ty: KqlType) -> BExpr {
    match operand.ty == ty {
        true => operand,
        false => BExpr { kind: BExprKind::Convert(Box::new(operand)), ty },
    }
}

/// A constant in another number type, if it is a number of one.
fn fitted(constant: &Constant, ty: KqlType) -> Constant {
    let value = match (&constant.value, ty) {
        (Value::Int(value), KqlType::Long) => Value::Long(i64::from(*value)),
        (Value::Int(value), KqlType::Real) => Value::Real(f64::from(*value)),
        (Value::Long(value), KqlType::Real) => Value::Real(*value as f64),
        (value, _) => value.clone(),
    };
    Constant { value, ty }
}

fn comparison(op: BinaryOp, left: &BExpr, right: &Constant) -> BExpr {
    let right = BExpr::constant(right.clone());
    BExpr { kind: BExprKind::Binary { op, left: Box::new(left.clone()), right: Box::new(right) }, ty: KqlType::Bool }
}

fn called(name: &'static str, args: Vec<BExpr>) -> Result<BExpr> {
    let ty = args.first().map_or(KqlType::Long, |arg| arg.ty);
    match find_scalar(name) {
        Some(row) if matches!(row.imp, Imp::Native(_) | Imp::Kernel(_)) => {
            Ok(BExpr { kind: BExprKind::Call { row: ScalarRow(row), args }, ty })
        }
        _ => plan_err!("{name}() is not served"),
    }
}
