//! Our own operators: what no node of the engine does as KQL means it.
//!
//! `stage` is the frame of row operators; each other file is one operator. The lowering puts them
//! into logical plans as extension nodes, and `KqlQueryPlanner` makes execution plans of them.

pub mod algorithm;
pub mod cells;
pub mod dedupe;
pub mod explain;
pub(crate) mod graph;
pub mod guard;
pub mod intersect;
pub mod lookup;
pub mod lookup_network;
pub mod lookup_shape;
pub mod monotone;
pub mod mv_expand;
pub mod ordered_aggregate;
pub mod output;
pub mod parse;
pub mod parse_kv;
pub mod patterns;
pub mod plain;
pub mod range;
pub mod reduce;
pub mod rows_near;
pub mod sample;
pub mod scan;
pub mod scan_program;
pub mod schema_merge;
pub mod sequence;
pub mod series;
pub mod shared;
pub mod stage;
pub mod turns;
pub mod window;

use std::sync::Arc;

use arrow::compute::SortOptions;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use datafusion::execution::context::QueryPlanner;

use graph::node::GraphNode;
use lookup::LookupNode;
use ordered_aggregate::OrderedAggregateNode;
use output::OutputNode;
use shared::SharedNode;
use stage::{StageExec, StageNode};

/// The engine's planner with our operators.
pub struct KqlQueryPlanner {
    planner: DefaultPhysicalPlanner,
}

impl KqlQueryPlanner {
    /// The planner.
    pub fn new() -> KqlQueryPlanner {
        KqlQueryPlanner { planner: DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(OwnOperators)]) }
    }
}

impl Default for KqlQueryPlanner {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for KqlQueryPlanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KqlQueryPlanner")
    }
}

#[async_trait]
impl QueryPlanner for KqlQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        guard::with_stack_for(depth(plan), self.planner.create_physical_plan(plan, session)).await
    }
}

/// Operators on the longest way down a plan.
pub fn depth(plan: &LogicalPlan) -> usize {
    let mut deepest = 0;
    let mut waiting = vec![(plan, 1)];
    while let Some((plan, depth)) = waiting.pop() {
        deepest = deepest.max(depth);
        waiting.extend(plan.inputs().into_iter().map(|input| (input, depth + 1)));
    }
    deepest
}

/// Makes execution plans of our nodes.
pub struct OwnOperators;

#[async_trait]
impl ExtensionPlanner for OwnOperators {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let node = node.as_any();
        if let Some(shared) = node.downcast_ref::<SharedNode>() {
            return Ok(Some(Arc::new(shared.plan(session).await?)));
        }
        if let Some(graph) = node.downcast_ref::<GraphNode>() {
            return Ok(Some(Arc::new(graph.plan(session).await?)));
        }
        if let Some(lookup) = node.downcast_ref::<LookupNode>() {
            return Ok(Some(Arc::new(lookup.plan(physical_inputs, planner, session, context)?)));
        }
        let ([logical], [physical]) = (logical_inputs, physical_inputs) else { return Ok(None) };
        let schema = logical.schema();
        if let Some(output) = node.downcast_ref::<OutputNode>() {
            return Ok(Some(Arc::new(output.plan(Arc::clone(physical))?)));
        }
        if let Some(aggregate) = node.downcast_ref::<OrderedAggregateNode>() {
            return Ok(Some(aggregate.plan(Arc::clone(physical), planner, session, context)?));
        }
        let Some(stage) = node.downcast_ref::<StageNode>() else { return Ok(None) };
        let compile = |expr| planner.create_physical_expr(expr, schema, session, context);
        let args = stage.args.iter().map(compile).collect::<Result<Vec<_>>>()?;
        let keep = stage.keep.iter().map(|column| schema.index_of_column(column)).collect::<Result<Vec<_>>>()?;
        let order = stage
            .order
            .iter()
            .map(|key| Ok(PhysicalSortExpr::new(compile(&key.expr)?, SortOptions::new(!key.asc, key.nulls_first))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Some(Arc::new(StageExec::try_new(
            Arc::clone(physical),
            Arc::clone(&stage.stage),
            args,
            keep,
            LexOrdering::new(order),
            stage.order_column.clone(),
        )?)))
    }
}
