//! From a bound tree to engine plans.
//!
//! Input: a `BoundQuery` or one of its relations. Output: `LogicalPlan`s of the engine's own nodes
//! wherever one has KQL's meaning, and of `exec`'s elsewhere. Columns are named by their ids (`c17`);
//! the last node of a plan gives the user's names and the exact fields of the result.
//!
//! Two things are asked of each relation from above: which of its columns are read, so that plans
//! are narrow from the start, and whether the order of its rows matters, so that sorts are made late
//! (on what is left) or not at all.

mod aggregate;
mod distinct;
pub mod driver;
mod evaluate;
mod expand;
pub mod expr;
mod graph;
mod join;
mod order;
mod relation;
mod series;
mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::Column;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection, SortExpr, UserDefinedLogicalNode};

pub use evaluate::Evaluator;
use tidewater_kql::diagnostic::GENERAL;

use crate::bound::{BExpr, BExprKind, BoundColumn, BoundQuery, BoundResult, ColumnId, GraphId, Rel, RelOp, SharedId};
use crate::exec::graph::cell::GraphCell;
use crate::exec::guard::{GUARD_DEPTH, Guard};
use crate::exec::output::OutputNode;
use crate::exec::shared::SharedCell;
use crate::exec::stage::{Stage, StageNode};
use crate::{PlannedQuery, PlannedResult};
use shared::Reads;

/// Nodes of one query's plans; a relation that is used twice without being shared counts twice.
pub const MAX_PLAN_NODES: usize = 20_000;

/// The plans of a query. Shared computations run once for all of its results.
pub fn lower_query(query: &BoundQuery, seed: u64) -> Result<PlannedQuery> {
    let lower = |lowering: &mut Lowering| query.results.iter().map(|result| lowering.result(result)).collect();
    let rels: Vec<&Rel> = query.results.iter().map(|result| &*result.rel).collect();
    let mut results: Vec<PlannedResult> = twice(&rels, seed, lower)?;
    for (result, options) in results.iter_mut().zip(&query.result_options) {
        result.options = Arc::clone(options);
    }
    Ok(PlannedQuery { results, options: query.options.clone() })
}

/// The plan of a relation on its own, under the user's column names.
pub fn lower_relation(rel: &Rel, seed: u64) -> Result<LogicalPlan> {
    twice(&[rel], seed, |lowering| lowering.finished(rel))
}

/// Lowers again, with what was learned of the readers of shared computations, if there are any.
fn twice<T>(rels: &[&Rel], seed: u64, lower: impl Fn(&mut Lowering) -> Result<T>) -> Result<T> {
    let mut lowering = Lowering::new(seed);
    rels.iter().for_each(|rel| lowering.note_graphs(rel));
    let lowered = lower(&mut lowering)?;
    match lowering.noted.is_empty() {
        true => Ok(lowered),
        false => lower(&mut lowering.learned(seed)),
    }
}

/// A mistake of the query that only shows here: a regular expression that does not compile, a plan that is too large.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Kusto's code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

/// The engine's error that carries a refusal.
fn refused<T>(code: &'static str, message: impl Into<String>) -> Result<T> {
    Err(DataFusionError::External(Box::new(Refused { code, message: message.into() })))
}

/// The state of lowering one query.
struct Lowering {
    shared: HashMap<SharedId, SharedPlan>,
    /// What is read of shared computations, once it is known.
    reads: Option<HashMap<SharedId, Reads>>,
    /// What is found to be read of them.
    noted: HashMap<SharedId, Reads>,
    /// The predicate right above the shared computation that is lowered next.
    above: Option<BExpr>,
    graphs: HashMap<GraphId, Arc<GraphCell>>,
    /// Properties of graphs that some reader of the query reads.
    graph_columns: HashSet<ColumnId>,
    seed: u64,
    nodes: usize,
    names: u32,
}

/// A shared computation.
#[derive(Clone)]
struct SharedPlan {
    cell: Arc<SharedCell>,
    is_ordered: bool,
}

/// What is asked of a relation.
#[derive(Clone, Debug)]
struct Need {
    columns: HashSet<ColumnId>,
    order: bool,
}

/// A lowered relation: a plan with at least the needed columns, named by their ids.
struct Lowered {
    plan: LogicalPlan,
    order: Order,
}

/// What is known of the order of a plan's rows, when it was asked for.
#[derive(Clone, Debug)]
enum Order {
    /// None was promised.
    None,
    /// The rows are meant to be sorted by these columns of the plan, and may not be yet.
    Keys(Vec<Key>),
    /// The rows are numbered by this column of the plan.
    Column(String),
}

/// A column to sort by.
#[derive(Clone, Debug)]
struct Key {
    column: String,
    ascending: bool,
    nulls_first: bool,
}

impl Need {
    fn new(columns: impl IntoIterator<Item = ColumnId>, order: bool) -> Need {
        Need { columns: columns.into_iter().collect(), order }
    }

    /// Also the columns that the expressions read.
    fn and<'a>(&self, exprs: impl IntoIterator<Item = &'a BExpr>) -> Need {
        let mut need = self.clone();
        need.read(exprs);
        need
    }

    fn read<'a>(&mut self, exprs: impl IntoIterator<Item = &'a BExpr>) {
        let mut waiting: Vec<&BExpr> = exprs.into_iter().collect();
        while let Some(expr) = waiting.pop() {
            if let BExprKind::Column(id) = expr.kind {
                self.columns.insert(id);
            }
            waiting.extend(expr.children());
        }
    }

    fn has(&self, column: &BoundColumn) -> bool {
        self.columns.contains(&column.id)
    }
}

impl Order {
    /// The plan's columns that carry the order.
    fn columns(&self) -> Vec<String> {
        match self {
            Order::None => Vec::new(),
            Order::Keys(keys) => keys.iter().map(|key| key.column.clone()).collect(),
            Order::Column(name) => vec![name.clone()],
        }
    }

    fn sort_exprs(&self) -> Vec<SortExpr> {
        let by = |name: &str, ascending, nulls_first| SortExpr::new(engine_column(name), ascending, nulls_first);
        match self {
            Order::None => Vec::new(),
            Order::Keys(keys) => keys.iter().map(|key| by(&key.column, key.ascending, key.nulls_first)).collect(),
            Order::Column(name) => vec![by(name, true, false)],
        }
    }

    fn is_some(&self) -> bool {
        !matches!(self, Order::None)
    }
}

impl Lowered {
    fn unordered(plan: LogicalPlan) -> Lowered {
        Lowered { plan, order: Order::None }
    }

    /// The needed ones of these columns, and those that carry the order.
    fn kept(&self, columns: &[BoundColumn], need: &Need) -> Vec<Column> {
        let mut names: Vec<String> =
            columns.iter().filter(|column| need.has(column)).map(|column| column.id.engine_name()).collect();
        for name in self.order.columns().into_iter().chain(hidden(&self.plan, columns, need)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.into_iter().map(Column::new_unqualified).collect()
    }
}

impl Lowering {
    fn new(seed: u64) -> Lowering {
        Lowering {
            shared: HashMap::new(),
            reads: None,
            noted: HashMap::new(),
            above: None,
            graphs: HashMap::new(),
            graph_columns: HashSet::new(),
            seed,
            nodes: 0,
            names: 0,
        }
    }

    fn result(&mut self, result: &BoundResult) -> Result<PlannedResult> {
        Ok(PlannedResult {
            name: result.name.clone(),
            schema: result.rel.schema(),
            plan: self.finished(&result.rel)?,
            visualization: result.visualization.clone(),
            is_sorted: result.rel.is_sorted,
            options: Arc::default(),
        })
    }

    /// A relation in its order, with the user's names and the exact fields of the result.
    fn finished(&mut self, rel: &Rel) -> Result<LogicalPlan> {
        let need = Need::new(rel.columns.iter().map(|column| column.id), true);
        let lowered = self.relation(rel, &need)?;
        let sorted = order::sorted(lowered)?;
        let columns = rel.columns.iter().map(|column| Column::new_unqualified(column.id.engine_name())).collect();
        Ok(extension(OutputNode::try_new(sorted, columns, rel.schema().arrow())?))
    }

    /// A relation of which `need` is asked.
    fn relation(&mut self, rel: &Rel, need: &Need) -> Result<Lowered> {
        self.nodes += 1;
        if self.nodes > MAX_PLAN_NODES {
            return refused(GENERAL, format!("the query is too complex: its plan exceeds {MAX_PLAN_NODES} operators"));
        }
        let lowered = stacker::maybe_grow(128 << 10, 2 << 20, || self.operator(rel, need))?;
        if !is_guarded(rel) {
            return Ok(lowered);
        }
        let keep = lowered.kept(&rel.columns, need);
        let plan = staged(lowered.plan, Guard, Vec::new(), keep, Vec::new(), None)?;
        Ok(Lowered { plan, order: lowered.order })
    }

    fn operator(&mut self, rel: &Rel, need: &Need) -> Result<Lowered> {
        match &rel.op {
            RelOp::Rows { rows } => self.rows(rel, rows, need),
            RelOp::Table { table, projection } => self.table(rel, table, projection, need),
            RelOp::Range { start, stop, step } => self.range(rel, start, stop, step, need),
            RelOp::Filter { input, predicate } => self.filter(input, predicate, need),
            RelOp::Project { input, items } => {
                self.project(rel, items, need, |lowering, need| lowering.relation(input, need))
            }
            RelOp::Aggregate { input, keys, aggregates } => self.aggregate(rel, input, keys, aggregates, need),
            RelOp::Sort { input, keys, fetch } => self.sort(input, keys, *fetch, need),
            RelOp::PartitionTop { input, partition, keys, fetch } => {
                self.partition_top(input, partition, keys, *fetch, need)
            }
            RelOp::Limit { input, count } => self.limit(input, *count, need),
            RelOp::Sample { input, count } => self.sample(input, *count, need),
            RelOp::Join { kind, left, right, keys } => self.join(*kind, left, right, keys, need),
            RelOp::Union { inputs } => self.union(rel, inputs, need),
            RelOp::MvExpand { input, items, has_index, limit } => {
                self.mv_expand(rel, input, items, *has_index, *limit, need)
            }
            RelOp::Parse { input, source, mode, pattern, drop_unmatched } => {
                self.parse(rel, input, source, mode, pattern, *drop_unmatched, need)
            }
            RelOp::ParseKv { input, source, keys, options } => self.parse_kv(rel, input, source, keys, options, need),
            RelOp::Window { input, partition, functions } => self.window(rel, input, partition, functions, need),
            RelOp::MakeSeries(series) => self.make_series(rel, series),
            RelOp::Stage(stage) => self.stage(rel, stage, need),
            RelOp::Lookup(lookup) => self.lookup(lookup, need),
            RelOp::Shared { id, rel: inner } => self.shared(rel, *id, inner, need),
            RelOp::GraphMatch(matched) => self.graph_match(rel, matched),
            RelOp::GraphRows(rows) => self.graph_rows(rel, rows),
        }
    }

    /// A column name that no bound column has.
    fn fresh(&mut self, prefix: char) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }
}

/// Needed columns of a plan that are none of the relation's own: they travel with the rows unseen.
fn hidden(plan: &LogicalPlan, columns: &[BoundColumn], need: &Need) -> Vec<String> {
    let is_own = |id: &ColumnId| columns.iter().any(|column| column.id == *id);
    // Nearly always every needed column is one of the relation's.
    if need.columns.len() <= columns.len() && need.columns.iter().all(is_own) {
        return Vec::new();
    }
    let others = need.columns.iter().filter(|id| !is_own(id)).map(|id| id.engine_name());
    let mut names: Vec<String> =
        others.filter(|name| plan.schema().has_column(&Column::new_unqualified(name.as_str()))).collect();
    names.sort();
    names
}

/// Whether a guard stands above a relation.
fn is_guarded(rel: &Rel) -> bool {
    rel.is_guarded || rel.depth > 0 && rel.depth.is_multiple_of(GUARD_DEPTH)
}

/// A column of a plan.
fn engine_column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn extension(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// A stage over a plan.
fn staged(
    input: LogicalPlan,
    stage: impl Stage + 'static,
    args: Vec<Expr>,
    keep: Vec<Column>,
    order: Vec<SortExpr>,
    order_column: Option<String>,
) -> Result<LogicalPlan> {
    Ok(extension(StageNode::try_new(input, Arc::new(stage), args, keep, order, order_column)?))
}

/// The plan's columns and computed ones behind them.
fn with_columns(plan: LogicalPlan, computed: Vec<(Expr, String)>) -> Result<LogicalPlan> {
    if computed.is_empty() {
        return Ok(plan);
    }
    let kept = plan.schema().columns().into_iter().map(Expr::Column);
    let exprs = kept.chain(computed.into_iter().map(|(expr, name)| expr.alias(name))).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// The engine's field of a bound column.
fn field(column: &BoundColumn) -> Field {
    column.ty.field(&column.id.engine_name())
}
