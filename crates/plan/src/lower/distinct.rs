//! `count_distinct` in two steps: first one row per key and value, then a count per key.
//!
//! Sets per group would be merged between threads one value at a time; groups of keys and values are spread over threads by
//! the engine, and go to disk when memory ends.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, LogicalPlan};

use super::aggregate::needed;
use super::expr;
use super::{Lowered, Lowering, Need, engine_column};
use crate::bound::{BExpr, BoundAggregate, BoundColumn, Rel};

/// The argument of the needed aggregates and their columns, if they all count the distinct values of one thing.
pub(super) fn one_distinct<'a>(
    aggregates: &'a [BoundAggregate],
    columns: &'a [BoundColumn],
    need: &Need,
) -> Result<Option<(&'a BExpr, Vec<&'a BoundColumn>)>> {
    let mut found: Option<(&BExpr, Expr, Vec<&BoundColumn>)> = None;
    for (aggregate, own) in needed(aggregates, columns, need) {
        let BoundAggregate::Function { row, args, .. } = aggregate else { return Ok(None) };
        let ("count_distinct", [arg], [column]) = (row.name, args.as_slice(), own) else { return Ok(None) };
        let value = expr::value(arg)?;
        match &mut found {
            None => found = Some((arg, value, vec![column])),
            Some((_, known, columns)) if *known == value => columns.push(column),
            Some(_) => return Ok(None),
        }
    }
    Ok(found.map(|(arg, _, columns)| (arg, columns)))
}

impl Lowering {
    /// Groups whose aggregates all count the distinct values of `arg`.
    pub(super) fn distinct_counts(
        &mut self,
        rel: &Rel,
        input: &Rel,
        keys: &[BExpr],
        arg: &BExpr,
        outputs: Vec<&BoundColumn>,
    ) -> Result<Lowered> {
        let mut below = Need::new([], false);
        below.read(keys);
        below.read([arg]);
        let lowered = self.relation(input, &below)?;
        let names: Vec<String> = rel.columns.iter().take(keys.len()).map(|column| column.id.engine_name()).collect();
        let value = self.fresh('d');
        let mut groups = Vec::with_capacity(keys.len() + 1);
        for (key, name) in keys.iter().zip(&names) {
            groups.push(expr::key(key, input)?.alias(name));
        }
        groups.push(expr::key(arg, input)?.alias(&value));
        let rows = LogicalPlan::Aggregate(AggregateNode::try_new(Arc::new(lowered.plan), groups, Vec::new())?);
        let count = |column: &&BoundColumn| {
            let args = vec![engine_column(&value)];
            let call = AggregateFunction::new_udf(count_udaf(), args, false, None, Vec::new(), None);
            Expr::AggregateFunction(call).alias(column.id.engine_name())
        };
        let counts = outputs.iter().map(count).collect();
        let keys = names.iter().map(|name| engine_column(name)).collect();
        Ok(Lowered::unordered(LogicalPlan::Aggregate(AggregateNode::try_new(Arc::new(rows), keys, counts)?)))
    }
}
