//! The frame of our own row operators: one input, streamed, some columns kept, some added.
//!
//! An operator implements `Stage` (what it adds and how it must see its input) and `StageRun` (the
//! work of one partition). The frame gives it a logical node that the optimizer can look past, an
//! execution plan with the right distribution and order, bounded batches and cancellation.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::instant::Instant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::StreamExt;

use super::guard::{Guarded, with_stack};

/// Time that an operator works without letting others have the thread.
const MAX_BUSY: Duration = Duration::from_millis(20);

/// How an operator must see its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Row by row: any partitioning will do, and order is kept.
    Rows,
    /// All rows in one partition, in the input's order.
    Whole,
    /// Rows with equal first arguments (this many) in one partition.
    Keys(usize),
}

/// An operator: its settings and what it adds to the kept columns.
pub trait Stage: Debug + Send + Sync {
    /// The operator's name in plans.
    fn name(&self) -> &'static str;

    /// The settings as text: stages with equal names and settings are the same operator.
    fn settings(&self) -> String;

    /// The columns that stand behind the kept ones.
    fn outputs(&self) -> Vec<Field>;

    /// How it must see its input.
    fn scope(&self) -> Scope;

    /// A predicate over kept columns may be applied before the operator instead of after it.
    fn commutes_with_filters(&self) -> bool {
        false
    }

    /// Every row of the input gives exactly one.
    fn keeps_rows(&self) -> bool {
        false
    }

    /// Begins the work of one partition.
    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>>;
}

impl Stage for Arc<dyn Stage> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn settings(&self) -> String {
        self.as_ref().settings()
    }

    fn outputs(&self) -> Vec<Field> {
        self.as_ref().outputs()
    }

    fn scope(&self) -> Scope {
        self.as_ref().scope()
    }

    fn commutes_with_filters(&self) -> bool {
        self.as_ref().commutes_with_filters()
    }

    fn keeps_rows(&self) -> bool {
        self.as_ref().keeps_rows()
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        self.as_ref().start(setting)
    }
}

/// What a partition's work is given.
pub struct Setting {
    /// The kept columns followed by the operator's.
    pub schema: SchemaRef,
    /// How many of `schema`'s columns are kept ones.
    pub kept: usize,
    /// The fields of the arguments.
    pub args: Vec<Field>,
    /// Rows of a batch; outputs should not be larger.
    pub batch_rows: usize,
    /// Memory that the operator holds must be reserved here.
    pub memory: MemoryReservation,
}

/// A batch of the input.
#[derive(Clone, Debug)]
pub struct Input {
    /// The kept columns.
    pub kept: Vec<ArrayRef>,
    /// The arguments.
    pub args: Vec<ArrayRef>,
    /// Rows.
    pub rows: usize,
}

/// A batch of the result: the kept columns, then the operator's.
#[derive(Clone, Debug)]
pub struct Output {
    /// Columns of the result's schema.
    pub columns: Vec<ArrayRef>,
    /// Rows.
    pub rows: usize,
}

/// The work of one partition. `take` is called until it gives nothing before each `push` and after `finish`.
pub trait StageRun: Send {
    /// Takes a batch in.
    fn push(&mut self, input: Input) -> Result<()>;

    /// No more batches come.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// The next batch of the result, if one is ready.
    fn take(&mut self) -> Result<Option<Output>>;
}

/// The logical node of a stage.
#[derive(Clone)]
pub struct StageNode {
    /// The rows.
    pub input: LogicalPlan,
    /// The operator.
    pub stage: Arc<dyn Stage>,
    /// Its arguments, over the input.
    pub args: Vec<Expr>,
    /// Columns of the input that stay, by name.
    pub keep: Vec<Column>,
    /// The order that the input has and must keep; empty when it does not matter.
    pub order: Vec<SortExpr>,
    /// Adds a last column of this name that numbers the rows of the result, by which order can be kept further up.
    pub order_column: Option<String>,
    schema: DFSchemaRef,
}

impl StageNode {
    /// A node.
    pub fn try_new(
        input: LogicalPlan,
        stage: Arc<dyn Stage>,
        args: Vec<Expr>,
        keep: Vec<Column>,
        order: Vec<SortExpr>,
        order_column: Option<String>,
    ) -> Result<StageNode> {
        let mut fields = Vec::with_capacity(keep.len() + 2);
        for column in &keep {
            let (qualifier, field) = input.schema().qualified_field_from_column(column)?;
            fields.push((qualifier.cloned(), Arc::clone(field)));
        }
        fields.extend(stage.outputs().into_iter().map(|field| (None, Arc::new(field))));
        fields.extend(order_column.iter().map(|name| (None, Arc::new(Field::new(name, DataType::Int64, false)))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(StageNode { input, stage, args, keep, order, order_column, schema })
    }
}

impl Debug for StageNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        UserDefinedLogicalNodeCore::fmt_for_explain(self, f)
    }
}

impl PartialEq for StageNode {
    fn eq(&self, other: &Self) -> bool {
        self.stage.name() == other.stage.name()
            && self.stage.settings() == other.stage.settings()
            && self.args == other.args
            && self.keep == other.keep
            && self.order == other.order
            && self.order_column == other.order_column
            && self.schema == other.schema
            && self.input == other.input
    }
}

impl Eq for StageNode {}

impl PartialOrd for StageNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for StageNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.stage.name(), self.stage.settings(), &self.args, &self.keep).hash(state);
        (&self.order, &self.order_column, &self.input).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for StageNode {
    fn name(&self) -> &str {
        self.stage.name()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    // Everything is listed, so that pruning keeps exactly these columns of the input.
    fn expressions(&self) -> Vec<Expr> {
        let keep = self.keep.iter().cloned().map(Expr::Column);
        self.args.iter().cloned().chain(keep).chain(self.order.iter().map(|key| key.expr.clone())).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let all = self.schema.fields().iter().map(|field| field.name().clone());
        if self.order_column.is_some() {
            return all.collect();
        }
        match self.stage.scope() {
            _ if self.stage.commutes_with_filters() => all.skip(self.keep.len()).collect(),
            // Rows of one key do not see those of another: whole keys may be left out before.
            Scope::Keys(count) => {
                let is_key = |name: &String| {
                    let mut keys = self.args.iter().take(count).filter_map(Expr::try_as_col);
                    keys.any(|column| column.name == *name) && self.keep.iter().any(|column| column.name == *name)
                };
                all.filter(|name| !is_key(name)).collect()
            }
            _ => all.collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.stage.name(), self.stage.settings())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("{} takes one input", self.stage.name());
        };
        let mut exprs = exprs.into_iter();
        let args: Vec<Expr> = exprs.by_ref().take(self.args.len()).collect();
        let mut keep = Vec::with_capacity(self.keep.len());
        for expr in exprs.by_ref().take(self.keep.len()) {
            match expr.unalias() {
                Expr::Column(column) => keep.push(column),
                other => return internal_err!("{} keeps columns, not {other}", self.stage.name()),
            }
        }
        let order = self.order.iter().zip(exprs).map(|(key, expr)| key.with_expr(expr)).collect();
        StageNode::try_new(input, Arc::clone(&self.stage), args, keep, order, self.order_column.clone())
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new()])
    }
}

/// The execution plan of a stage.
#[derive(Debug, Clone)]
pub struct StageExec {
    input: Arc<dyn ExecutionPlan>,
    stage: Arc<dyn Stage>,
    scope: Scope,
    args: Vec<Arc<dyn PhysicalExpr>>,
    keep: Vec<usize>,
    order: Option<LexOrdering>,
    order_column: Option<String>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl StageExec {
    /// A plan over `input`; `keep` are positions in it.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        stage: Arc<dyn Stage>,
        args: Vec<Arc<dyn PhysicalExpr>>,
        keep: Vec<usize>,
        order: Option<LexOrdering>,
        order_column: Option<String>,
    ) -> Result<StageExec> {
        let input_schema = input.schema();
        let mut fields: Vec<_> = keep.iter().map(|index| Arc::clone(&input_schema.fields()[*index])).collect();
        fields.extend(stage.outputs().into_iter().map(Arc::new));
        fields.extend(order_column.iter().map(|name| Arc::new(Field::new(name, DataType::Int64, false))));
        let schema = Arc::new(Schema::new(fields));

        let mapping = ProjectionMapping::from_indices(&keep, &input_schema)?;
        let scope = effective_scope(stage.as_ref(), order_column.is_some());
        let mut equivalences = match scope {
            Scope::Keys(_) => EquivalenceProperties::new(Arc::clone(&schema)),
            Scope::Rows | Scope::Whole => input.equivalence_properties().project(&mapping, Arc::clone(&schema)),
        };
        equivalences.set_constraints(Default::default());
        if let Some(name) = &order_column {
            let position = schema.fields().len() - 1;
            let column = Arc::new(datafusion::physical_expr::expressions::Column::new(name, position));
            equivalences.add_ordering([PhysicalSortExpr::new(column, SortOptions::new(false, false))]);
        }
        let partitioning = match scope {
            Scope::Whole => Partitioning::UnknownPartitioning(1),
            // Rows stay where they are: what is known of their keys stays true.
            Scope::Rows | Scope::Keys(_) => {
                input.output_partitioning().project(&mapping, input.equivalence_properties())
            }
        };
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, input.boundedness());
        Ok(StageExec {
            input,
            stage,
            scope,
            args,
            keep,
            order,
            order_column,
            schema,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

/// Rows are numbered one after the other: that takes all of them in one partition.
fn effective_scope(stage: &dyn Stage, is_numbered: bool) -> Scope {
    if is_numbered { Scope::Whole } else { stage.scope() }
}

impl DisplayAs for StageExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}Exec: {}", self.stage.name(), self.stage.settings())?;
        if !self.args.is_empty() {
            let args: Vec<String> = self.args.iter().map(|arg| arg.to_string()).collect();
            write!(f, " over {}", args.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for StageExec {
    fn name(&self) -> &str {
        self.stage.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.scope {
            Scope::Rows => Distribution::UnspecifiedDistribution,
            Scope::Whole => Distribution::SinglePartition,
            Scope::Keys(count) => Distribution::KeyPartitioned(self.args[..count].to_vec()),
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.order.clone().map(OrderingRequirements::from)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // The optimizer pushes a sort below an operator that keeps order by the positions of the columns: it may only do so
        // where the input's columns stand unmoved in front.
        let is_prefix = self.keep.iter().copied().eq(0..self.input.schema().fields().len());
        // What reads its rows one after the other in no stated order reads them as they come: a later sort must not
        // slip below it.
        let is_free = match self.scope {
            Scope::Rows => true,
            Scope::Whole => self.order.is_some(),
            Scope::Keys(_) => false,
        };
        vec![is_prefix && is_free]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![!matches!(self.scope, Scope::Whole)]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for arg in &self.args {
            if f(arg)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("{} takes one input", self.stage.name());
        };
        Ok(Arc::new(StageExec::try_new(
            input,
            Arc::clone(&self.stage),
            self.args.clone(),
            self.keep.clone(),
            self.order.clone(),
            self.order_column.clone(),
        )?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = with_stack(|| self.input.execute(partition, Arc::clone(&context)))?;
        let input_schema = self.input.schema();
        let own = self.schema.fields().len() - usize::from(self.order_column.is_some());
        let setting = Setting {
            schema: Arc::new(Schema::new(self.schema.fields()[..own].to_vec())),
            kept: self.keep.len(),
            args: self
                .args
                .iter()
                .map(|arg| Ok(arg.return_field(&input_schema)?.as_ref().clone()))
                .collect::<Result<_>>()?,
            batch_rows: context.session_config().batch_size(),
            memory: MemoryConsumer::new(format!("{}[{partition}]", self.stage.name())).register(context.memory_pool()),
        };
        let work = Work {
            input: Some(Guarded::new(input)),
            run: self.stage.start(setting)?,
            args: self.args.clone(),
            keep: self.keep.clone(),
            schema: Arc::clone(&self.schema),
            next_row: self.order_column.is_some().then_some(0),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            last_yield: Instant::now(),
        };
        let stream =
            futures::stream::try_unfold(
                work,
                |mut work| async move { Ok(work.step().await?.map(|batch| (batch, work))) },
            );
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))))
    }

    /// Filters on kept columns that the engine finds late, such as a heap's threshold, go past the operator as well.
    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let child = match self.stage.commutes_with_filters() && self.order_column.is_none() {
            true => {
                let kept = (0..self.keep.len()).collect();
                ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, kept, &self.input)?
            }
            false => ChildFilterDescription::all_unsupported(&parent_filters),
        };
        Ok(FilterDescription::new().with_child(child))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        match self.stage.keeps_rows() {
            true => vec![ChildStats::At(partition)],
            false => vec![ChildStats::Skip],
        }
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if self.stage.keeps_rows()
            && let [input] = inputs
        {
            statistics.num_rows = input.num_rows;
        }
        Ok(Arc::new(statistics))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        if self.stage.keeps_rows() { CardinalityEffect::Equal } else { CardinalityEffect::Unknown }
    }
}

/// The state of one partition's stream.
struct Work {
    input: Option<Guarded>,
    run: Box<dyn StageRun>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    keep: Vec<usize>,
    schema: SchemaRef,
    next_row: Option<i64>,
    metrics: BaselineMetrics,
    last_yield: Instant,
}

impl Work {
    async fn step(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let timer = self.metrics.elapsed_compute().timer();
            let ready = self.run.take()?;
            timer.done();
            if let Some(output) = ready {
                if output.rows == 0 {
                    continue;
                }
                let batch = self.number(output)?;
                self.metrics.record_output(batch.num_rows());
                self.give_way().await;
                return Ok(Some(batch));
            }
            let Some(input) = &mut self.input else { return Ok(None) };
            match input.next().await.transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    let timer = self.metrics.elapsed_compute().timer();
                    let rows = batch.num_rows();
                    let args = self
                        .args
                        .iter()
                        .map(|arg| arg.evaluate(&batch)?.into_array(rows))
                        .collect::<Result<Vec<_>>>()?;
                    let kept = self.keep.iter().map(|index| Arc::clone(batch.column(*index))).collect();
                    self.run.push(Input { kept, args, rows })?;
                    timer.done();
                    self.give_way().await;
                }
                None => {
                    self.input = None;
                    self.run.finish()?;
                }
            }
        }
    }

    /// The engine yields after a number of batches, which may take seconds here: yield by time as well.
    async fn give_way(&mut self) {
        if self.last_yield.elapsed() > MAX_BUSY {
            tokio::task::yield_now().await;
            self.last_yield = Instant::now();
        }
    }

    fn number(&mut self, output: Output) -> Result<RecordBatch> {
        let mut columns = output.columns;
        if let Some(next) = &mut self.next_row {
            let end = *next + output.rows as i64;
            columns.push(Arc::new(Int64Array::from_iter_values(*next..end)));
            *next = end;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(output.rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
