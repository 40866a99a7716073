//! `sort`, `top`, `take`, `sample`, `sample-distinct`, `top-hitters`. Source: kql-behaviour section 12.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, NamedExpr, OrderKey};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, Rel, RelOp, SortKey, Value};

impl Binder<'_> {
    /// A count of rows: a constant integer; a negative one is no rows.
    pub fn row_count(&mut self, count: &Expr, operator: &str) -> Bound<u64> {
        let what = format!("the count of '{operator}'");
        let bound = self.expr(count, &mut Row::none())?;
        let constant = self.constant(&bound, count.span, &what)?;
        match constant.value {
            Value::Long(count) => Ok(u64::try_from(count).unwrap_or(0)),
            Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
            _ => self.fail(
                diagnostic::ARGUMENT_TYPE,
                count.span,
                format!("{what} must be an integer, but this is {}", constant.ty),
            ),
        }
    }

    /// Sort keys: descending unless said otherwise, null smallest. Window functions may stand in a key.
    pub fn sort_keys(&mut self, keys: &[OrderKey], row: &mut Row<'_>, operator: &str) -> Bound<Vec<SortKey>> {
        let mut bound = Vec::with_capacity(keys.len());
        let mut failed = false;
        for key in keys {
            match self.expr(&key.value, row) {
                Ok(expr) if expr.ty == KqlType::Dynamic => {
                    let message = format!(
                        "'{operator}' cannot order by a dynamic value: cast it first, for example with tostring()"
                    );
                    let diagnostic = tidewater_kql::Diagnostic::new("SEM0480", key.value.span, message);
                    self.report(diagnostic);
                    failed = true;
                }
                Ok(expr) => {
                    let ascending = key.ascending.unwrap_or(false);
                    bound.push(SortKey { expr, ascending, nulls_first: key.nulls_first.unwrap_or(ascending) });
                }
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(bound) }
    }

    /// `sort by`, `top n by`.
    pub fn sorted(
        &mut self,
        input: &Arc<Rel>,
        keys: &[OrderKey],
        fetch: Option<u64>,
        operator: &str,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut row = Row::with_windows(&input.columns, input.is_serialized);
        let keys = self.sort_keys(keys, &mut row, operator)?;
        let source = self.with_windows(input.clone(), row.windows.take(), span)?;
        let columns = source.columns.clone();
        let sorted = self.rel(RelOp::Sort { input: source, keys, fetch }, columns, span)?;
        if sorted.columns.len() == input.columns.len() {
            return Ok(sorted);
        }
        self.columns_only(&sorted, &input.columns, span)
    }

    /// `take n`.
    pub fn limited(&mut self, input: &Arc<Rel>, count: u64, span: Span) -> Bound<Arc<Rel>> {
        self.rel(RelOp::Limit { input: input.clone(), count }, input.columns.clone(), span)
    }

    /// `sample-distinct n of column`.
    pub fn sample_distinct(&mut self, input: &Arc<Rel>, count: &Expr, of: &NamedExpr, span: Span) -> Bound<Arc<Rel>> {
        let count = self.row_count(count, "sample-distinct");
        let column = self.only_column(input, of);
        let (count, column) = (count?, column?);
        let keys = vec![BExpr::column(&column)];
        let distinct =
            self.rel(RelOp::Aggregate { input: input.clone(), keys, aggregates: Vec::new() }, vec![column], span)?;
        self.limited(&distinct, count, span)
    }

    /// `top-hitters n of column [by weight]`: here the exact counts.
    pub fn top_hitters(
        &mut self,
        input: &Arc<Rel>,
        count: &Expr,
        of: &NamedExpr,
        by: Option<&NamedExpr>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let count = self.row_count(count, "top-hitters");
        let column = self.only_column(input, of);
        let (count, column) = (count?, column?);
        let (aggregate, name) = match by {
            None => (self.count_aggregate(span)?, format!("approximate_count_{}", column.name)),
            Some(weight) => {
                let mut row = Row::of(&input.columns);
                let expr = self.expr(&weight.value, &mut row)?;
                let name = match weight.names.first() {
                    Some(name) => name.text.clone(),
                    None => format!("approximate_sum_{}", self.result_name(&weight.value, &row).unwrap_or_default()),
                };
                (self.plain_aggregate("sum", vec![expr], weight.value.span)?, name)
            }
        };
        let ty = aggregate.outputs()[0];
        let weight = self.fresh_column(name, ty);
        let keys = vec![BExpr::column(&column)];
        let columns = vec![column, weight.clone()];
        let grouped =
            self.rel(RelOp::Aggregate { input: input.clone(), keys, aggregates: vec![aggregate] }, columns, span)?;
        let keys = vec![SortKey { expr: BExpr::column(&weight), ascending: false, nulls_first: false }];
        let columns = grouped.columns.clone();
        self.rel(RelOp::Sort { input: grouped, keys, fetch: Some(count) }, columns, span)
    }

    fn only_column(&mut self, input: &Arc<Rel>, of: &NamedExpr) -> Bound<crate::bound::BoundColumn> {
        if let Some(name) = of.names.first() {
            return self.fail(diagnostic::GENERAL, name.span, "the name of a column is expected here");
        }
        let column = self.plain_column(&of.value, &input.columns)?;
        self.group_key(&BExpr::column(&column), &of.value, &format!("column '{}'", column.name))?;
        Ok(column)
    }
}
