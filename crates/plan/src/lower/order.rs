//! Sorting, taking, sampling, windows: what makes or reads the order of rows.
//!
//! A `sort` is not carried out where it stands: it is a promise (`Order::Keys`) that goes up with
//! the rows through filters and projections, and is kept by whoever first needs the order. Where
//! rows are numbered (`Order::Column`), their order survives anything that passes the column on.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{WindowFunction as EngineWindow, WindowFunctionParams};
use datafusion::logical_expr::{
    EmptyRelation, Expr, Filter, Limit, LogicalPlan, Sort, Window as EngineWindowNode, WindowFrame,
    WindowFunctionDefinition, lit,
};
use tidewater_kql::KqlType;

use super::expr;
use super::{Key, Lowered, Lowering, Need, Order, engine_column, is_guarded, staged, with_columns};
use crate::bound::{BExpr, BExprKind, ColumnId, Rel, RelOp, SortKey, WindowFunction};
use crate::exec::plain::{self, NanOrder};
use crate::exec::sample::Sample;
use crate::exec::window::{Function, Kind, Window};

/// The plan with its rows in their order.
pub(super) fn sorted(lowered: Lowered) -> Result<LogicalPlan> {
    Ok(if lowered.order.is_some() { sort_node(lowered.plan, &lowered.order, None) } else { lowered.plan })
}

fn sort_node(plan: LogicalPlan, order: &Order, fetch: Option<usize>) -> LogicalPlan {
    // The engine's top operator asserts that it keeps a row.
    if fetch == Some(0) {
        return nothing(&plan);
    }
    LogicalPlan::Sort(Sort { expr: order.sort_exprs(), input: Arc::new(plan), fetch })
}

/// No rows of a plan's columns.
fn nothing(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(plan.schema()) })
}

fn rows(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl Lowering {
    /// `sort` and `top`.
    pub(super) fn sort(&mut self, input: &Rel, keys: &[SortKey], fetch: Option<u64>, need: &Need) -> Result<Lowered> {
        let mut below = need.clone();
        below.order = false;
        if fetch.is_none() && !need.order {
            return self.relation(input, &below);
        }
        below.read(keys.iter().map(|key| &key.expr));
        let lowered = self.relation(input, &below)?;
        let (plan, order) = self.keyed(lowered.plan, keys, input)?;
        let plan = match fetch {
            Some(fetch) => sort_node(plan, &order, Some(rows(fetch))),
            None => plan,
        };
        Ok(Lowered { plan, order })
    }

    /// The plan with a column for every sort key.
    fn keyed(&mut self, plan: LogicalPlan, keys: &[SortKey], input: &Rel) -> Result<(LogicalPlan, Order)> {
        let mut computed = Vec::new();
        let mut order = Vec::with_capacity(keys.len());
        for (position, key) in keys.iter().enumerate() {
            // The engine would sort NaN above all numbers; a null string is the smallest string as it is, but not the
            // equal of "", which shows where another key follows.
            let is_last = position + 1 == keys.len();
            let is_plain = match key.expr.ty {
                KqlType::Real => false,
                KqlType::String => (is_last && key.ascending == key.nulls_first) || expr::is_filled(&key.expr, input),
                _ => true,
            };
            let column = match (&key.expr.kind, is_plain) {
                (BExprKind::Column(id), true) => id.engine_name(),
                _ => {
                    let name = self.fresh('k');
                    let value = expr::value(&key.expr)?;
                    let nan = if key.ascending == key.nulls_first { NanOrder::Smallest } else { NanOrder::Largest };
                    let value = if is_plain { value } else { plain::sort_key(value, key.expr.ty, nan) };
                    computed.push((value, name.clone()));
                    name
                }
            };
            order.push(Key { column, ascending: key.ascending, nulls_first: key.nulls_first });
        }
        Ok((with_columns(plan, computed)?, Order::Keys(order)))
    }

    /// `take`: below projections, which keep rows, so that these compute for the taken rows only.
    pub(super) fn limit(&mut self, input: &Rel, count: u64, need: &Need) -> Result<Lowered> {
        if let RelOp::Project { input: inner, items } = &input.op
            && !is_guarded(input)
        {
            return self.project(input, items, need, |lowering, need| {
                stacker::maybe_grow(128 << 10, 2 << 20, || lowering.limit(inner, count, need))
            });
        }
        let mut below = need.clone();
        below.order = true;
        let lowered = self.relation(input, &below)?;
        let plan = match &lowered.order {
            Order::None if count == 0 => nothing(&lowered.plan),
            Order::None => {
                let fetch = Some(Box::new(lit(i64::try_from(count).unwrap_or(i64::MAX))));
                LogicalPlan::Limit(Limit { skip: None, fetch, input: Arc::new(lowered.plan) })
            }
            order => sort_node(lowered.plan, order, Some(rows(count))),
        };
        let order = if need.order { lowered.order } else { Order::None };
        Ok(Lowered { plan, order })
    }

    /// `sample`.
    pub(super) fn sample(&mut self, input: &Rel, count: u64, need: &Need) -> Result<Lowered> {
        let mut below = need.clone();
        below.order = false;
        let lowered = self.relation(input, &below)?;
        let keep = lowered.kept(&input.columns, need);
        self.nodes += 1;
        let seed = self.seed.wrapping_add(self.nodes as u64);
        let plan = staged(lowered.plan, Sample { count, seed }, Vec::new(), keep, Vec::new(), None)?;
        Ok(Lowered::unordered(plan))
    }

    /// The first rows of each partition, by the engine's own window node and a filter over it.
    pub(super) fn partition_top(
        &mut self,
        input: &Rel,
        partition: &[ColumnId],
        keys: &[SortKey],
        fetch: u64,
        need: &Need,
    ) -> Result<Lowered> {
        let mut below = need.and(keys.iter().map(|key| &key.expr));
        below.order = false;
        below.columns.extend(partition);
        let lowered = self.relation(input, &below)?;
        if fetch == 0 {
            return Ok(Lowered::unordered(nothing(&lowered.plan)));
        }
        let (plan, order) = self.keyed(lowered.plan, keys, input)?;
        let partition_by = partition.iter().map(|id| expr::key_column(*id, input)).collect();
        let params = WindowFunctionParams {
            args: Vec::new(),
            partition_by,
            order_by: order.sort_exprs(),
            window_frame: WindowFrame::new(Some(true)),
            filter: None,
            null_treatment: None,
            distinct: false,
        };
        let fun = WindowFunctionDefinition::WindowUDF(row_number_udwf());
        let name = self.fresh('w');
        let number = Expr::WindowFunction(Box::new(EngineWindow { fun, params })).alias(&name);
        let window = LogicalPlan::Window(EngineWindowNode::try_new(vec![number], Arc::new(plan))?);
        let is_first = engine_column(&name).lt_eq(lit(fetch));
        Ok(Lowered::unordered(LogicalPlan::Filter(Filter::try_new(is_first, Arc::new(window))?)))
    }

    /// Window functions over serialized rows.
    pub(super) fn window(
        &mut self,
        rel: &Rel,
        input: &Rel,
        partition: &[ColumnId],
        functions: &[WindowFunction],
        need: &Need,
    ) -> Result<Lowered> {
        let own = &rel.columns[input.columns.len().min(rel.columns.len())..];
        let used: Vec<_> = own.iter().zip(functions).filter(|(column, _)| need.has(column)).collect();
        let mut below = Need { columns: need.columns.clone(), order: true };
        below.columns.extend(partition);
        for (_, function) in &used {
            below.read(operands(function));
        }
        let lowered = self.relation(input, &below)?;
        if used.is_empty() {
            return Ok(lowered);
        }
        let mut args: Vec<Expr> = partition.iter().map(|id| expr::key_column(*id, input)).collect();
        let mut stage = Window { partitions: args.len(), functions: Vec::with_capacity(used.len()) };
        for (column, function) in used {
            let mut argument = |operand: Option<&BExpr>, is_condition: bool| -> Result<Option<usize>> {
                let Some(operand) = operand else { return Ok(None) };
                let value = match (is_condition, operand.ty) {
                    (true, _) => expr::holds(operand)?,
                    (false, KqlType::String) => plain::text(expr::value(operand)?),
                    (false, _) => expr::value(operand)?,
                };
                let position = args.iter().skip(stage.partitions).position(|known| *known == value);
                Ok(Some(position.map(|position| position + stage.partitions).unwrap_or_else(|| {
                    args.push(value);
                    args.len() - 1
                })))
            };
            let (kind, value, restart) = match function {
                WindowFunction::RowNumber { start, restart } => (Kind::RowNumber(whole(start)), None, restart.as_ref()),
                WindowFunction::Shift { value, offset, default } => {
                    (Kind::Shift(*offset, default.to_scalar()), Some(value), None)
                }
                WindowFunction::Cumsum { value, restart } => (Kind::Cumsum, Some(value), restart.as_ref()),
                WindowFunction::RankDense { value, restart } => (Kind::RankDense, Some(value), restart.as_ref()),
                WindowFunction::RankMin { value, restart } => (Kind::RankMin, Some(value), restart.as_ref()),
                WindowFunction::Session { value, max_from_first, max_between, restart } => {
                    let (max_from_first, max_between) = (whole(max_from_first), whole(max_between));
                    (Kind::Session { max_from_first, max_between }, Some(value), restart.as_ref())
                }
            };
            let (value, restart) = (argument(value, false)?, argument(restart, true)?);
            stage.functions.push(Function { name: column.id.engine_name(), ty: column.ty, kind, value, restart });
        }
        self.numbered(lowered, &input.columns, stage, args, need)
    }

    /// A stage that reads rows in their order and numbers what it gives, if the order is needed further up.
    pub(super) fn numbered(
        &mut self,
        lowered: Lowered,
        columns: &[crate::bound::BoundColumn],
        stage: impl crate::exec::stage::Stage + 'static,
        args: Vec<Expr>,
        need: &Need,
    ) -> Result<Lowered> {
        let order = lowered.order.sort_exprs();
        let keep: Vec<Column> = columns
            .iter()
            .filter(|column| need.has(column))
            .map(|column| column.id.engine_name())
            .chain(super::hidden(&lowered.plan, columns, need))
            .map(Column::new_unqualified)
            .collect();
        let number = need.order.then(|| self.fresh('o'));
        let plan = staged(sorted(lowered)?, stage, args, keep, order, number.clone())?;
        Ok(Lowered { plan, order: number.map_or(Order::None, Order::Column) })
    }
}

fn operands(function: &WindowFunction) -> Vec<&BExpr> {
    match function {
        WindowFunction::RowNumber { restart, .. } => restart.iter().collect(),
        WindowFunction::Shift { value, .. } => vec![value],
        WindowFunction::Cumsum { value, restart }
        | WindowFunction::RankDense { value, restart }
        | WindowFunction::RankMin { value, restart }
        | WindowFunction::Session { value, restart, .. } => std::iter::once(value).chain(restart).collect(),
    }
}

fn whole(constant: &crate::bound::Constant) -> i64 {
    use crate::bound::Value;
    match constant.value {
        Value::Int(value) => i64::from(value),
        Value::Long(value) | Value::TimeSpan(value) | Value::DateTime(value) => value,
        _ => 0,
    }
}
