//! The engine's rules as KQL can bear them.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Moving filters down, except where the engine's rule forgets that a predicate may read no column or be chance.
///
/// It takes such a predicate below a `summarize` without keys, which then gives its one row whatever the predicate says, and it
/// draws `rand()` for the rows below a group, join or expansion instead of for its result.
#[derive(Debug)]
pub struct PushDownFilter {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
}

impl PushDownFilter {
    /// The rule's name, which it shares with the engine's.
    pub const NAME: &str = "push_down_filter";

    /// Guards the engine's rule.
    pub fn new(rule: Arc<dyn OptimizerRule + Send + Sync>) -> PushDownFilter {
        PushDownFilter { rule }
    }
}

impl OptimizerRule for PushDownFilter {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && is_sensitive(&filter.input)
            && split_conjunction(&filter.predicate)
                .iter()
                .any(|part| part.is_volatile() || part.column_refs().is_empty())
        {
            return Ok(Transformed::no(plan));
        }
        self.rule.rewrite(plan, config)
    }
}

/// Whether it matters that a predicate without columns is asked about the result, not about the input.
fn is_sensitive(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) | LogicalPlan::Window(_) | LogicalPlan::Extension(_)
    )
}

/// Merges parts by all the keys that they are sorted by.
///
/// Where a sort stands over a `top`, the engine moves its keys below the merge of the `top` and drops the sort, but leaves the
/// merge with the keys of the `top`: rows that are equal in those would come in the order of their parts.
#[derive(Debug)]
pub struct MergeByAllKeys;

impl PhysicalOptimizerRule for MergeByAllKeys {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() else { return Ok(Transformed::no(plan)) };
            let keys = merge.input().output_ordering();
            let Some(keys) = keys.filter(|keys| keys.len() > merge.expr().len() && keys.starts_with(merge.expr()))
            else {
                return Ok(Transformed::no(plan));
            };
            let whole = SortPreservingMergeExec::new(keys.clone(), Arc::clone(merge.input())).with_fetch(merge.fetch());
            Ok(Transformed::yes(Arc::new(whole) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "MergeByAllKeys"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
