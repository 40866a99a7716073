//! `summarize` whose answer depends on the order of its rows (`make_list` after `sort`): one pass over one partition.
//!
//! The engine's own plan would split the rows over threads and merge their lists in any order.

use std::cmp::Ordering;
use std::fmt::Formatter;
use std::hash::Hash;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_planner::PhysicalPlanner;

/// An aggregate over ordered input; every group expression and aggregate is an alias.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderedAggregateNode {
    aggregate: Aggregate,
}

impl OrderedAggregateNode {
    /// A node; `input` must be pinned to its order by the node itself.
    pub fn try_new(input: LogicalPlan, groups: Vec<Expr>, aggregates: Vec<Expr>) -> Result<OrderedAggregateNode> {
        Ok(OrderedAggregateNode { aggregate: Aggregate::try_new(Arc::new(input), groups, aggregates)? })
    }

    /// The plan that runs it.
    pub fn plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        planner: &dyn PhysicalPlanner,
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let logical = self.aggregate.input.schema();
        let physical = input.schema();
        let groups = self
            .aggregate
            .group_expr
            .iter()
            .map(|expr| {
                let (_, field) = datafusion::logical_expr::ExprSchemable::to_field(expr, logical.as_ref())?;
                Ok((planner.create_physical_expr(expr, logical, session, context)?, field.name().clone()))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut aggregates = Vec::new();
        let mut filters = Vec::new();
        for expr in &self.aggregate.aggr_expr {
            let lowered =
                LoweredAggregateBuilder::new(expr, logical, &physical, session.execution_props(), context).build()?;
            aggregates.push(lowered.aggregate);
            filters.push(lowered.filter);
        }
        Ok(Arc::new(AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(groups),
            aggregates,
            filters,
            input,
            physical,
        )?))
    }
}

impl PartialOrd for OrderedAggregateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for OrderedAggregateNode {
    fn name(&self) -> &str {
        "OrderedAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.aggregate.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.aggregate.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.aggregate.group_expr.iter().chain(&self.aggregate.aggr_expr).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut Formatter) -> std::fmt::Result {
        let list = |exprs: &[Expr]| exprs.iter().map(|expr| expr.to_string()).collect::<Vec<_>>().join(", ");
        write!(f, "OrderedAggregate: [{}] by [{}]", list(&self.aggregate.aggr_expr), list(&self.aggregate.group_expr))
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("an aggregate takes one input");
        };
        let aggregates = exprs.split_off(self.aggregate.group_expr.len());
        OrderedAggregateNode::try_new(input, exprs, aggregates)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new()])
    }
}
