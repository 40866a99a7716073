//! `summarize`.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as AggregateNode, AggregateUDF, Expr, LogicalPlan, Projection, lit};
use tidewater_functions::Aggregate;
use tidewater_functions::aggregate::{arg_extreme, part_name, take_any};
use tidewater_functions::registry::{AggregateCall, AggregateImp};
use tidewater_kql::KqlType;

use super::{Lowered, Lowering, Need, engine_column, extension, order, staged};
use super::{distinct, expr};
use crate::bound::{BExpr, BoundAggregate, BoundColumn, Rel};
use crate::exec::ordered_aggregate::OrderedAggregateNode;
use crate::exec::window::Window;

/// Aggregates whose answer follows the order of sorted input.
const ORDERED: &[&str] = &[
    "make_list",
    "make_list_if",
    "make_list_with_nulls",
    "makelist",
    "make_set",
    "make_set_if",
    "makeset",
    "make_bag",
    "make_bag_if",
    "make_dictionary",
];

/// The engine's form of some aggregates.
#[derive(Default)]
pub(super) struct Parts {
    /// Aggregate calls under names of their own.
    pub(super) calls: Vec<Expr>,
    /// The needed output columns, over the calls' names.
    pub(super) outputs: Vec<(Expr, String)>,
    /// The output columns are the calls themselves: no projection is needed.
    is_direct: bool,
    is_ordered: bool,
}

/// The aggregates of which an output is needed, each with its columns among `columns`, which stand in the aggregates' order.
pub(super) fn needed<'a>(
    aggregates: &'a [BoundAggregate],
    columns: &'a [BoundColumn],
    need: &Need,
) -> impl Iterator<Item = (&'a BoundAggregate, &'a [BoundColumn])> {
    let mut columns = columns;
    aggregates.iter().filter_map(move |aggregate| {
        let (own, rest) = columns.split_at(aggregate.outputs().len().min(columns.len()));
        columns = rest;
        own.iter().any(|column| need.has(column)).then_some((aggregate, own))
    })
}

impl Lowering {
    /// Groups and their aggregates.
    pub(super) fn aggregate(
        &mut self,
        rel: &Rel,
        input: &Rel,
        keys: &[BExpr],
        aggregates: &[BoundAggregate],
        need: &Need,
    ) -> Result<Lowered> {
        let (key_columns, outputs) = rel.columns.split_at(keys.len().min(rel.columns.len()));
        if let Some((arg, counts)) = distinct::one_distinct(aggregates, outputs, need)? {
            return self.distinct_counts(rel, input, keys, arg, counts);
        }
        let parts = self.parts(aggregates, outputs, need)?;
        let mut below = Need::new([], parts.is_ordered);
        below.read(keys);
        below.read(needed_operands(aggregates, outputs, need));
        let lowered = self.relation(input, &below)?;
        let groups: Vec<Expr> = keys
            .iter()
            .zip(key_columns)
            .map(|(key, column)| Ok(expr::key(key, input)?.alias(column.id.engine_name())))
            .collect::<Result<_>>()?;
        let mut calls = parts.calls;
        if groups.is_empty() && calls.is_empty() {
            // One row, whatever is asked of it.
            calls.push(count_rows().alias(self.fresh('a')));
        }
        let plan = if parts.is_ordered && lowered.order.is_some() {
            let by = lowered.order.sort_exprs();
            let keep = lowered.plan.schema().columns();
            let pinned = staged(
                order::sorted(lowered)?,
                Window { partitions: 0, functions: Vec::new() },
                Vec::new(),
                keep,
                by,
                None,
            )?;
            extension(OrderedAggregateNode::try_new(pinned, groups, calls)?)
        } else {
            LogicalPlan::Aggregate(AggregateNode::try_new(Arc::new(lowered.plan), groups, calls)?)
        };
        if parts.is_direct {
            return Ok(Lowered::unordered(plan));
        }
        let kept = key_columns.iter().filter(|column| need.has(column)).map(|column| expr::column(column.id));
        let outputs = parts.outputs.into_iter().map(|(value, name)| value.alias(name));
        let exprs: Vec<Expr> = kept.chain(outputs).collect();
        if exprs.is_empty() {
            return Ok(Lowered::unordered(plan));
        }
        Ok(Lowered::unordered(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)))
    }

    /// The engine's calls for those aggregates of which an output is needed.
    pub(super) fn parts(
        &mut self,
        aggregates: &[BoundAggregate],
        columns: &[BoundColumn],
        need: &Need,
    ) -> Result<Parts> {
        let mut parts = Parts { is_direct: true, ..Parts::default() };
        for (aggregate, own) in needed(aggregates, columns, need) {
            match aggregate {
                BoundAggregate::Function { row, name, args, returns } => {
                    parts.is_ordered |= ORDERED.contains(name) || ORDERED.contains(&row.name);
                    let (call, finish) = function(row, args, *returns)?;
                    let column = own[0].id.engine_name();
                    match finish {
                        None => parts.add(call, column),
                        Some(finish) => {
                            let inner = self.fresh('a');
                            parts.calls.push(call.alias(&inner));
                            parts.outputs.push((finish(engine_column(&inner), *returns), column));
                            parts.is_direct = false;
                        }
                    }
                }
                BoundAggregate::ArgExtreme { is_max, by, values } => {
                    let used = used(values, &own[1..], need);
                    let types: Vec<KqlType> = used.iter().map(|(value, _)| value.ty).collect();
                    let function = arg_extreme(*is_max, by.ty, &types)?;
                    let outputs = std::iter::once((by, &own[0])).chain(used).collect::<Vec<_>>();
                    self.picked(&mut parts, function, outputs, None, need)?;
                }
                BoundAggregate::TakeAny { values, predicate } => {
                    // A single value prefers rows that have one; several come from one row, whichever of them are read.
                    let mut args = used(values, own, need);
                    if let ([only], 2..) = (args.as_slice(), values.len()) {
                        args.push(*only);
                    }
                    let types: Vec<KqlType> = args.iter().map(|(value, _)| value.ty).collect();
                    self.picked(&mut parts, take_any(&types)?, args, predicate.as_ref(), need)?;
                }
            }
        }
        Ok(parts)
    }

    /// A call that gives a struct, taken apart.
    fn picked(
        &mut self,
        parts: &mut Parts,
        function: AggregateUDF,
        outputs: Vec<(&BExpr, &BoundColumn)>,
        predicate: Option<&BExpr>,
        need: &Need,
    ) -> Result<()> {
        let filter = predicate.map(expr::holds).transpose()?.map(Box::new);
        let args = outputs.iter().map(|(value, _)| expr::value(value)).collect::<Result<Vec<_>>>()?;
        let inner = self.fresh('a');
        let call = AggregateFunction::new_udf(Arc::new(function), args, false, filter, Vec::new(), None);
        parts.calls.push(Expr::AggregateFunction(call).alias(&inner));
        for (position, (_, column)) in outputs.into_iter().enumerate() {
            let name = column.id.engine_name();
            if need.has(column) && parts.outputs.iter().all(|(_, known)| *known != name) {
                parts.outputs.push((get_field(engine_column(&inner), part_name(position)), name));
            }
        }
        parts.is_direct = false;
        Ok(())
    }
}

impl Parts {
    fn add(&mut self, call: Expr, column: String) {
        self.calls.push(call.alias(&column));
        self.outputs.push((engine_column(&column), column));
    }
}

fn used<'a>(values: &'a [BExpr], columns: &'a [BoundColumn], need: &Need) -> Vec<(&'a BExpr, &'a BoundColumn)> {
    values.iter().zip(columns).filter(|(_, column)| need.has(column)).collect()
}

/// What the needed aggregates read.
pub(super) fn needed_operands<'a>(
    aggregates: &'a [BoundAggregate],
    columns: &'a [BoundColumn],
    need: &Need,
) -> Vec<&'a BExpr> {
    let mut operands = Vec::new();
    let mut columns = columns;
    for aggregate in aggregates {
        let (own, rest) = columns.split_at(aggregate.outputs().len().min(columns.len()));
        columns = rest;
        if !own.iter().any(|column| need.has(column)) {
            continue;
        }
        match aggregate {
            BoundAggregate::Function { args, .. } => operands.extend(args),
            BoundAggregate::ArgExtreme { by, values, .. } => {
                operands.push(by);
                operands.extend(used(values, &own[1..], need).into_iter().map(|(value, _)| value));
            }
            BoundAggregate::TakeAny { values, predicate } => {
                operands.extend(values);
                operands.extend(predicate);
            }
        }
    }
    operands
}

/// `count()` of all rows.
pub(super) fn count_rows() -> Expr {
    Expr::AggregateFunction(AggregateFunction::new_udf(count_udaf(), vec![lit(1i64)], false, None, Vec::new(), None))
}

type Finish = fn(Expr, KqlType) -> Expr;

/// The engine's call of a registered aggregate, and what its value is wrapped in.
pub(super) fn function(row: &Aggregate, args: &[BExpr], returns: KqlType) -> Result<(Expr, Option<Finish>)> {
    let AggregateImp::Function { build, finish } = row.imp else {
        return plan_err!("{}() cannot be used here", row.name);
    };
    let filter = row.predicate.and_then(|position| args.get(position)).map(expr::holds).transpose()?.map(Box::new);
    let args: Vec<&BExpr> =
        args.iter().enumerate().filter(|(position, _)| Some(*position) != row.predicate).map(|(_, arg)| arg).collect();
    let types: Vec<KqlType> = args.iter().map(|arg| arg.ty).collect();
    let constants: Vec<_> = args.iter().map(|arg| arg.as_constant().map(|constant| constant.to_scalar())).collect();
    let function = build(&AggregateCall { types: &types, constants: &constants, returns })?;
    // Constants at the end are settings: the function has them already, and need not be given columns of them.
    let columns = constants.iter().rposition(|constant| constant.is_none()).map_or(1, |last| last + 1);
    let mut values = args.into_iter().take(columns).map(expr::value).collect::<Result<Vec<_>>>()?;
    if values.is_empty() {
        values.push(lit(1i64));
    }
    let call = AggregateFunction::new_udf(Arc::new(function), values, false, filter, Vec::new(), None);
    Ok((Expr::AggregateFunction(call), finish))
}
