//! `make-series`: rows of bins are gathered by `exec::series`.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::expr;
use super::{Lowered, Lowering, Need, staged};
use crate::bound::{MakeSeries, Rel};
use crate::exec::series::Series;

impl Lowering {
    /// One row of arrays per key.
    pub(super) fn make_series(&mut self, rel: &Rel, series: &MakeSeries) -> Result<Lowered> {
        let values = series.values.iter().map(|(value, _)| value);
        let need = Need::new([], false).and(series.keys.iter().chain([&series.bin]).chain(values));
        let lowered = self.relation(&series.input, &need)?;
        let (keys, rest) = rel.columns.split_at(series.keys.len().min(rel.columns.len()));
        let Some(axis) = rest.last() else { return plan_err!("make-series has no axis") };
        let mut args: Vec<Expr> = Vec::with_capacity(rel.columns.len());
        for key in &series.keys {
            args.push(expr::key(key, &series.input)?);
        }
        args.push(expr::value(&series.bin)?);
        for (value, _) in &series.values {
            args.push(expr::value(value)?);
        }
        let stage = Series {
            keys: keys.iter().map(|column| (column.id.engine_name(), column.ty)).collect(),
            aggregates: series
                .values
                .iter()
                .zip(rest)
                .map(|((value, default), column)| (column.id.engine_name(), value.ty, default.clone()))
                .collect(),
            axis: axis.id.engine_name(),
            axis_ty: series.bin.ty,
            from: series.from.clone(),
            to: series.to.clone(),
            step: series.step.clone(),
            is_inclusive: series.in_range,
            nonempty: series.nonempty,
        };
        Ok(Lowered::unordered(staged(lowered.plan, stage, args, Vec::new(), Vec::new(), None)?))
    }
}
