//! Work that ends when nobody wants it, and that lets others have a turn.
//!
//! The engine's operators give way where they read their input, so an operator that makes much out of little does not: a
//! join with one key for all rows gives rows for days without reading any, and one with a filter that nothing passes does
//! not even come back between them. The rule of this module puts a node over such operators and over whatever begins a
//! plan, and has the filters of joins ask too. See `tidewater_functions::turn`.

use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::Stream;
use tidewater_functions::turn::{self, Turn};

/// Operators whose output has no bound by what they have read last.
const MULTIPLIERS: &[&str] = &[
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "SymmetricHashJoinExec",
    "UnnestExec",
];

/// Puts [`TurnExec`] where a plan begins and where it multiplies.
#[derive(Debug)]
pub struct TakeTurns;

impl PhysicalOptimizerRule for TakeTurns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let done = plan.transform_up(|plan| {
            let is_leaf = plan.children().is_empty();
            if !is_leaf && !MULTIPLIERS.contains(&plan.name()) {
                return Ok(Transformed::no(plan));
            }
            let plan = asking(plan)?;
            Ok(Transformed::yes(Arc::new(TurnExec::new(plan)) as _))
        });
        done.map(|done| done.data)
    }

    fn name(&self) -> &str {
        "TakeTurns"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan as it was before [`TakeTurns`], for people to read.
pub fn without_turns(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let done = Arc::clone(plan).transform_up(|plan| match plan.downcast_ref::<TurnExec>() {
        Some(turn) => Ok(Transformed::yes(Arc::clone(&turn.input))),
        None => Ok(Transformed::no(plan)),
    });
    done.map_or_else(|_| Arc::clone(plan), |done| done.data)
}

/// A join whose filter asks at every batch.
fn asking(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let asking = |filter: &JoinFilter| {
        let expr = Arc::new(Asking { inner: Arc::clone(filter.expression()) });
        Some(JoinFilter::new(expr, filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    };
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join.builder().with_filter(asking(filter)).build_exec();
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let builder =
            NestedLoopJoinExecBuilder::new(Arc::clone(join.left()), Arc::clone(join.right()), *join.join_type());
        let builder = builder.with_projection_ref(join.projection().clone()).with_filter(asking(filter));
        return Ok(Arc::new(builder.build()?));
    }
    Ok(plan)
}

/// A node through which rows pass as long as somebody wants them.
#[derive(Debug, Clone)]
pub struct TurnExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl TurnExec {
    /// A node over `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>) -> TurnExec {
        let properties =
            PlanProperties::clone(input.properties()).with_scheduling_type(SchedulingType::Cooperative).into();
        TurnExec { input, properties }
    }
}

impl DisplayAs for TurnExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        f.write_str("TurnExec")
    }
}

impl ExecutionPlan for TurnExec {
    fn name(&self) -> &str {
        "TurnExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("TurnExec takes one input");
        };
        Ok(Arc::new(TurnExec::new(input)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let inner = self.input.execute(partition, context)?;
        Ok(Box::pin(Turns { inner, gave_way: false }))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("TurnExec takes one input"),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// A stream that asks before each of its batches.
struct Turns {
    inner: SendableRecordBatchStream,
    /// The last poll gave way, so this one does not: whoever is polled comes forward.
    gave_way: bool,
}

impl Stream for Turns {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match turn::ask() {
            Turn::Stop => return Poll::Ready(Some(Err(turn::stopped()))),
            Turn::GiveWay if !self.gave_way => {
                self.gave_way = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Turn::GoOn | Turn::GiveWay => self.gave_way = false,
        }
        // The engine's own budget: many small batches are a turn too.
        let Poll::Ready(budget) = tokio::task::coop::poll_proceed(context) else { return Poll::Pending };
        let polled = self.inner.as_mut().poll_next(context);
        if polled.is_ready() {
            budget.made_progress();
        }
        polled
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

/// An expression that fails when nobody wants its values any more.
#[derive(Debug, Clone)]
struct Asking {
    inner: Arc<dyn PhysicalExpr>,
}

impl std::fmt::Display for Asking {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.inner.as_ref() == other.inner.as_ref()
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for Asking {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        turn::check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(inner), true) => Ok(Arc::new(Asking { inner })),
            _ => internal_err!("an asking expression has one child"),
        }
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_sql(f)
    }
}
