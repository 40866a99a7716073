//! `make-series`. Source: make-series-operator page; kql-behaviour section 13.

use std::sync::Arc;

use tidewater_functions::find_scalar;
use tidewater_kql::ast::{BinaryOp, Expr, NamedExpr, Operator, OperatorKind};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::conversion::widest;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::project::{Item, explicit};
use crate::bind::range::is_positive;
use crate::bind::row::{Aggregates, Row};
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, MakeSeries, Rel, RelOp, ScalarRow, Value};

/// Axis, bounds and step, of types that go together.
struct BinnedAxis {
    axis: BExpr,
    from: Option<Constant>,
    to: Option<Constant>,
    step: Constant,
    in_range: bool,
}

/// What the series are made of.
struct SeriesParts {
    keys: Vec<Item>,
    /// Each value over its aggregates, and that of missing bins.
    series: Vec<(Item, Aggregates, Constant)>,
    nonempty: bool,
    axis_name: Wanted,
    axis_span: Span,
}

impl Binder<'_> {
    /// Keys, one dynamic per aggregate, then the axis.
    pub fn make_series_operator(&mut self, input: &Arc<Rel>, operator: &Operator) -> Bound<Arc<Rel>> {
        let OperatorKind::MakeSeries { parameters, aggregates, axis, from, to, step, in_range, by } = &operator.kind
        else {
            return Err(Stopped);
        };
        let span = operator.span;
        let nonempty = match self.word(parameters, &["kind"]) {
            None => false,
            Some((_, Some(word))) if word == "nonempty" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "'make-series' has the kind nonempty only");
            }
        };
        let keys = self.keys(input, by, "a key of 'make-series'");
        let series = self.series(input, aggregates);
        let axis_item = self.items(std::slice::from_ref(axis), &mut Row::of(&input.columns));
        let bounds = self.series_bounds(from.as_ref(), to.as_ref(), step.as_ref(), in_range.as_ref(), span);
        let (keys, series, mut axis_item, (from, to, step, step_span)) = (keys?, series?, axis_item?, bounds?);
        let Some(axis_item) = axis_item.pop() else { return Err(Stopped) };
        let (axis_expr, from, to, step) =
            self.series_axis(axis_item.expr, from, to, (step, step_span), axis.value.span)?;
        let binned = BinnedAxis { axis: axis_expr, from, to, step, in_range: in_range.is_some() };
        let series = SeriesParts { keys, series, nonempty, axis_name: axis_item.wanted, axis_span: axis.value.span };
        self.made_series(input, series, binned, span)
    }

    /// Bins are groups; their values are gathered into arrays.
    fn made_series(&mut self, input: &Arc<Rel>, parts: SeriesParts, binned: BinnedAxis, span: Span) -> Bound<Arc<Rel>> {
        let BinnedAxis { axis, from, to, step, in_range } = binned;
        let mut rows = input.clone();
        for (bound, op) in
            [(&from, BinaryOp::GreaterOrEqual), (&to, if in_range { BinaryOp::LessOrEqual } else { BinaryOp::Less })]
        {
            if let Some(bound) = bound {
                let (left, right) = (Box::new(axis.clone()), Box::new(BExpr::constant(bound.clone())));
                let kind = BExprKind::Binary { op, left, right };
                rows = self.filtered(&rows, BExpr { kind, ty: KqlType::Bool }, span)?;
            }
        }
        if from.is_none() && to.is_none() {
            let is_null = BExpr { kind: BExprKind::IsNull(Box::new(axis.clone())), ty: KqlType::Bool };
            let there = BExpr { kind: BExprKind::Not(Box::new(is_null)), ty: KqlType::Bool };
            rows = self.filtered(&rows, there, span)?;
        }
        let size = BExpr::constant(step.clone());
        let bin = match &from {
            Some(from) if !in_range => {
                self.bin_call("bin_at", vec![axis, size, BExpr::constant(from.clone())], span)?
            }
            _ => self.bin_call("bin", vec![axis, size], span)?,
        };
        let bin_column = self.fresh_column("", bin.ty);
        let key_columns: Vec<BoundColumn> = parts.keys.iter().map(|key| self.fresh_column("", key.expr.ty)).collect();
        let mut columns: Vec<BoundColumn> = key_columns.iter().chain([&bin_column]).cloned().collect();
        let group_keys = parts.keys.iter().map(|key| key.expr.clone()).chain([bin]).collect();
        let mut aggregates = Vec::new();
        let mut values = Vec::with_capacity(parts.series.len());
        let mut wanted: Vec<Item> = parts
            .keys
            .into_iter()
            .zip(&key_columns)
            .map(|(key, column)| Item { expr: BExpr::column(column), ..key })
            .collect();
        for (item, found, default) in parts.series {
            for (aggregate, ids) in found.found {
                let types = aggregate.outputs();
                columns.extend(ids.into_iter().zip(types).map(|(id, ty)| BoundColumn { id, name: String::new(), ty }));
                aggregates.push(aggregate);
            }
            values.push((item.expr.clone(), default));
            wanted.push(item);
        }
        wanted.push(Item { wanted: parts.axis_name, expr: BExpr::column(&bin_column), span: parts.axis_span });
        // Names: keys, aggregates, axis share one scope.
        let table = NameTable::expecting(explicit(&wanted));
        let named = self.named(wanted, table, |name| input.column(name).is_some())?;
        let results = named
            .into_iter()
            .enumerate()
            .map(|(position, (name, expr))| {
                let ty = if position < key_columns.len() { expr.ty } else { KqlType::Dynamic };
                self.fresh_column(name, ty)
            })
            .collect();
        let grouped = self.rel(RelOp::Aggregate { input: rows, keys: group_keys, aggregates }, columns, span)?;
        let made = MakeSeries {
            input: grouped,
            keys: key_columns.iter().map(BExpr::column).collect(),
            values,
            bin: BExpr::column(&bin_column),
            from,
            to,
            step,
            in_range,
            nonempty: parts.nonempty,
        };
        self.rel(RelOp::MakeSeries(Box::new(made)), results, span)
    }

    fn bin_call(&mut self, name: &'static str, args: Vec<BExpr>, span: Span) -> Bound<BExpr> {
        let ty = args.first().map_or(KqlType::Long, |arg| arg.ty);
        match find_scalar(name) {
            Some(row) => Ok(BExpr { kind: BExprKind::Call { row: ScalarRow(row), args }, ty }),
            None => self.not_served(span, format!("{name}()")),
        }
    }

    /// Each aggregate with the value of its missing bins.
    fn series(
        &mut self,
        input: &Arc<Rel>,
        aggregates: &[(NamedExpr, Option<Expr>)],
    ) -> Bound<Vec<(Item, Aggregates, Constant)>> {
        let mut series = Vec::with_capacity(aggregates.len());
        let mut failed = false;
        for (item, default) in aggregates {
            match self.one_series(input, item, default.as_ref()) {
                Ok(one) => series.push(one),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(series) }
    }

    fn one_series(
        &mut self,
        input: &Arc<Rel>,
        item: &NamedExpr,
        default: Option<&Expr>,
    ) -> Bound<(Item, Aggregates, Constant)> {
        let (bound, found) = self.one_aggregate(input, item)?;
        let ty = bound.expr.ty;
        let default = match default {
            Some(default) => {
                let value = self.expr(default, &mut Row::none())?;
                let value = self.constant(&value, default.span, "the default of 'make-series'")?;
                self.series_default(value, ty, default.span)?
            }
            None => match ty {
                KqlType::Int => Constant { value: Value::Int(0), ty },
                KqlType::Long => Constant { value: Value::Long(0), ty },
                KqlType::Real => Constant { value: Value::Real(0.0), ty },
                KqlType::TimeSpan => Constant { value: Value::TimeSpan(0), ty },
                KqlType::Decimal => self.constant_of_type(Constant::long(0), ty, item.value.span, "the default")?,
                _ => Constant::null(ty),
            },
        };
        Ok((bound, found, default))
    }

    /// A default may be of another number type than the aggregate: `default = real(null)` of a count.
    fn series_default(&mut self, value: Constant, ty: KqlType, span: Span) -> Bound<Constant> {
        if value.is_null() {
            return Ok(Constant::null(ty));
        }
        if value.ty.is_numeric() && ty.is_numeric() {
            let converted = self.convert(BExpr::constant(value), ty);
            return self.constant(&converted, span, "the default of 'make-series'");
        }
        self.constant_of_type(value, ty, span, "the default of 'make-series'")
    }

    #[allow(clippy::type_complexity, reason = "from, to, step and where the step stands")]
    fn series_bounds(
        &mut self,
        from: Option<&Expr>,
        to: Option<&Expr>,
        step: Option<&Expr>,
        in_range: Option<&(Expr, Expr, Expr)>,
        span: Span,
    ) -> Bound<(Option<(Constant, Span)>, Option<(Constant, Span)>, Constant, Span)> {
        let (from, to, step) = match in_range {
            Some((start, stop, size)) => (Some(start), Some(stop), Some(size)),
            None => (from, to, step),
        };
        let Some(step) = step else {
            return self.fail(diagnostic::GENERAL, span, "'make-series' needs a step");
        };
        let mut constant = |expr: &Expr, what: &str| -> Bound<Constant> {
            let bound = self.expr(expr, &mut Row::none())?;
            self.constant(&bound, expr.span, what)
        };
        let from = from.map(|from| constant(from, "'from' of 'make-series'").map(|value| (value, from.span)));
        let to = to.map(|to| constant(to, "'to' of 'make-series'").map(|value| (value, to.span)));
        let size = constant(step, "'step' of 'make-series'");
        Ok((from.transpose()?, to.transpose()?, size?, step.span))
    }

    /// Axis, bounds and step brought to types that go together.
    #[allow(clippy::type_complexity, reason = "axis, from, to and step")]
    fn series_axis(
        &mut self,
        axis: BExpr,
        from: Option<(Constant, Span)>,
        to: Option<(Constant, Span)>,
        (step, step_span): (Constant, Span),
        span: Span,
    ) -> Bound<(BExpr, Option<Constant>, Option<Constant>, Constant)> {
        let (ty, step_ty) = match axis.ty {
            KqlType::DateTime => (KqlType::DateTime, KqlType::TimeSpan),
            KqlType::TimeSpan => (KqlType::TimeSpan, KqlType::TimeSpan),
            ty if ty.is_numeric() && ty != KqlType::Decimal => {
                let mut wide = widest(ty, KqlType::Long).unwrap_or(ty);
                for bound in [from.as_ref().map(|(from, _)| from.ty), to.as_ref().map(|(to, _)| to.ty), Some(step.ty)] {
                    wide = bound.and_then(|ty| widest(wide, ty)).unwrap_or(wide);
                }
                (wide, wide)
            }
            ty => {
                let message =
                    format!("the axis of 'make-series' must be a datetime, timespan or number, but this is {ty}");
                return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
            }
        };
        let axis = self.convert(axis, ty);
        let mut bound = |value: Option<(Constant, Span)>, what: &str| -> Bound<Option<Constant>> {
            value.map(|(value, span)| self.constant_of_type(value, ty, span, what)).transpose()
        };
        let from = bound(from, "'from' of 'make-series'")?;
        let to = bound(to, "'to' of 'make-series'")?;
        let step = self.constant_of_type(step, step_ty, step_span, "'step' of 'make-series'")?;
        if !is_positive(&step) {
            return self.fail(diagnostic::NOT_IN_LIST, step_span, "'step' of 'make-series' must be above 0");
        }
        Ok((axis, from, to, step))
    }
}
