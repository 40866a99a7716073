//! The engine's settings: one place for what every query and statement runs under.
//!
//! A session is made once and shared: planning reads it, and each run brings its own memory pool
//! by `task_context`. KQL plans carry their functions with them, so a KQL session registers none.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

use crate::exec::guard::with_stack_for;
use crate::exec::turns::TakeTurns;
use crate::exec::{KqlQueryPlanner, depth};
use crate::rules::{MergeByAllKeys, PushDownFilter};

/// Rows in a batch.
pub const BATCH_ROWS: usize = 8192;

/// What a session is made of.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads that a plan is laid out for.
    pub target_partitions: usize,
    /// Memory pool, disk manager for spilling, caches and object stores.
    pub runtime: Arc<RuntimeEnv>,
    /// Registers the engine's own functions, file formats and catalog for SQL text.
    pub sql: bool,
    /// Rows in a batch.
    pub batch_rows: usize,
    /// Rules over execution plans that know how tables are stored; they come before rows are distributed over threads.
    pub storage_rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    /// Rules of the storage that come after all others.
    pub last_rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    /// KQL runs as it is lowered, without any rewriting that could be left out: tells whether an answer owes to a rule.
    pub unoptimized: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        let target_partitions = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            target_partitions,
            runtime: Arc::new(RuntimeEnv::default()),
            sql: false,
            batch_rows: BATCH_ROWS,
            storage_rules: Vec::new(),
            last_rules: Vec::new(),
            unoptimized: false,
        }
    }
}

/// A session with the engine settings of this project. Our own operators are planned in both forms.
pub fn new_session(options: &SessionOptions) -> SessionContext {
    SessionContext::new_with_state(new_state(options))
}

/// See `new_session`.
pub fn new_state(options: &SessionOptions) -> SessionState {
    let builder = SessionStateBuilder::new()
        .with_config(config(options))
        .with_runtime_env(Arc::clone(&options.runtime))
        .with_query_planner(Arc::new(KqlQueryPlanner::new()));
    let guarded = |rule: Arc<dyn OptimizerRule + Send + Sync>| match rule.name() {
        PushDownFilter::NAME => Arc::new(PushDownFilter::new(rule)) as _,
        _ => rule,
    };
    let rules: Vec<_> = Optimizer::new().rules.into_iter().map(guarded).collect();
    if options.sql {
        let builder = crate::sql::register(builder.with_default_features());
        let builder = builder.with_physical_optimizer_rules(execution_rules(options));
        return builder.with_optimizer_rules(rules).build();
    }
    let builder = builder.with_file_formats(SessionStateDefaults::default_file_formats());
    if options.unoptimized {
        let mut rules = PhysicalOptimizer::new().rules;
        rules.retain(|rule| NEEDED_RULES.contains(&rule.name()));
        rules.push(Arc::new(MergeByAllKeys));
        rules.push(Arc::new(TakeTurns));
        return builder.with_optimizer_rules(Vec::new()).with_physical_optimizer_rules(rules).build();
    }
    let rules = rules.into_iter().filter(|rule| KQL_RULES.contains(&rule.name())).collect();
    builder.with_optimizer_rules(rules).with_physical_optimizer_rules(execution_rules(options)).build()
}

/// The engine's rules over execution plans, with those of the storage.
fn execution_rules(options: &SessionOptions) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == DISTRIBUTION_RULE).unwrap_or(rules.len());
    rules.splice(place..place, options.storage_rules.iter().cloned());
    rules.extend(options.last_rules.iter().cloned());
    rules.push(Arc::new(MergeByAllKeys));
    // Nothing after it may look for an operator below the nodes that it adds.
    rules.push(Arc::new(TakeTurns));
    rules
}

/// The rule that puts sorts and exchanges into a plan where its operators need them.
const DISTRIBUTION_RULE: &str = "EnsureRequirements";

/// The rules over execution plans without which these would not run, or not be right.
const NEEDED_RULES: &[&str] =
    &["OutputRequirements", "join_selection", "EnsureRequirements", "EnsureCooperative", "SanityCheckPlan"];

/// The engine's rewriting rules that plans of KQL can profit from. The others look for subqueries, `distinct` aggregates and other
/// shapes that the lowering never makes, and would double the time that small queries take to plan.
const KQL_RULES: &[&str] = &[
    "optimize_unions",
    "simplify_expressions",
    "eliminate_duplicated_expr",
    "eliminate_filter",
    "eliminate_limit",
    "propagate_empty_relation",
    "eliminate_outer_join",
    "push_down_limit",
    "push_down_filter",
    "eliminate_group_by_constant",
    "common_sub_expression_eliminate",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
    "optimize_projections",
];

/// The execution plan of a planned result.
///
/// A query that reads nothing (`print`) is planned directly: the engine's rules have nothing to find in it.
pub async fn execution_plan(session: &SessionContext, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(plan) = crate::exec::output::trivial(plan)? {
        return Ok(plan);
    }
    with_stack_for(depth(plan), session.state().create_physical_plan(plan)).await
}

fn config(options: &SessionOptions) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(options.target_partitions.max(1))
        .with_batch_size(options.batch_rows.max(1))
        .with_collect_statistics(true)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(options.sql);
    let settings = config.options_mut();
    // Measured: 3.5 times faster for `top` over Parquet, nothing lost elsewhere.
    settings.execution.parquet.pushdown_filters = true;
    settings.execution.parquet.reorder_filters = true;
    // Measured: the filter that a small build side gives mostly keeps every row and costs a third of the join.
    settings.optimizer.enable_join_dynamic_filter_pushdown = false;
    // The engine's filter from the bounds found so far forgets aggregates of computed values beside those of columns:
    // `summarize min(a), max(b + 1)` would lose the rows that hold the largest `b`.
    settings.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    settings.sql_parser.enable_ident_normalization = false;
    config
}

/// A session with the same settings whose runs use another runtime: one with a memory pool of its own.
pub fn with_runtime(session: &SessionContext, runtime: Arc<RuntimeEnv>) -> SessionContext {
    SessionContext::new_with_state(
        SessionStateBuilder::new_from_existing(session.state()).with_runtime_env(runtime).build(),
    )
}

/// A session with the same settings whose plans are laid out for so many threads.
pub fn with_partitions(session: &SessionContext, target_partitions: usize) -> SessionContext {
    let state = session.state();
    let config = state.config().clone().with_target_partitions(target_partitions.max(1));
    SessionContext::new_with_state(SessionStateBuilder::new_from_existing(state).with_config(config).build())
}

/// The context of one run: the session's settings with this run's memory, and no function lists,
/// which a physical plan never asks for and which are dear to copy.
pub fn task_context(session: &SessionContext, runtime: Arc<RuntimeEnv>) -> Arc<TaskContext> {
    let state = session.state_ref();
    let state = state.read();
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_string(),
        state.config().clone(),
        Default::default(),
        Default::default(),
        Default::default(),
        Default::default(),
        runtime,
    ))
}
