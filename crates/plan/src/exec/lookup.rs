//! Lookups by something else than equality: networks that hold an address, areas that hold a position.
//!
//! The lookup table is read whole and indexed by its keys, once for all partitions; the other rows stream past it.
//! `LookupKind` says what is looked up; equal further keys are the frame's business, as is the memory, which is reserved.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::instant::Instant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Statistics, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use datafusion::physical_planner::PhysicalPlanner;
use futures::StreamExt;
use tokio::sync::OnceCell;

use super::guard::{Guarded, with_stack};

/// Time that a lookup works without letting others have the thread.
const MAX_BUSY: Duration = Duration::from_millis(20);
/// Rows between two looks at the clock.
const ROWS_PER_LOOK: usize = 64;

/// What is looked up.
pub trait LookupKind: Debug + Send + Sync {
    /// The operator's name in plans.
    fn name(&self) -> &'static str;

    /// The settings as text: kinds with equal names and settings are the same.
    fn settings(&self) -> String;

    /// An index without rows.
    fn index(&self) -> Box<dyn LookupIndex>;
}

/// Rows of the lookup table by their keys.
pub trait LookupIndex: Send + Sync {
    /// Takes in a row, whose keys are in row `at` of `keys` and whose number is `row`.
    fn add(&mut self, keys: &[ArrayRef], at: usize, row: u32);

    /// No more rows come.
    fn finish(&mut self);

    /// The rows that match the keys in row `at`, each once.
    fn find(&self, keys: &[ArrayRef], at: usize, found: &mut Vec<u32>);

    /// Bytes held.
    fn size(&self) -> usize;
}

/// One side of a lookup in a logical plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// Its rows.
    pub plan: LogicalPlan,
    /// Keys that must be equal on both sides (as many as `LookupNode::equal`), then those of the kind.
    pub keys: Vec<Expr>,
    /// Columns that stay.
    pub keep: Vec<Column>,
}

/// The logical node.
#[derive(Clone)]
pub struct LookupNode {
    kind: Arc<dyn LookupKind>,
    source: Side,
    table: Side,
    /// How many keys must be equal.
    equal: usize,
    /// Rows without a match stay, with nulls.
    keeps_unmatched: bool,
    schema: DFSchemaRef,
}

impl LookupNode {
    /// A node; its columns are those that stay of the source, then those of the table.
    pub fn try_new(
        kind: Arc<dyn LookupKind>,
        source: Side,
        table: Side,
        equal: usize,
        keeps_unmatched: bool,
    ) -> Result<LookupNode> {
        let mut fields = Vec::with_capacity(source.keep.len() + table.keep.len());
        for column in &source.keep {
            let (qualifier, field) = source.plan.schema().qualified_field_from_column(column)?;
            fields.push((qualifier.cloned(), Arc::clone(field)));
        }
        for column in &table.keep {
            let (qualifier, field) = table.plan.schema().qualified_field_from_column(column)?;
            fields.push((qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(LookupNode { kind, source, table, equal, keeps_unmatched, schema })
    }

    /// The plan that runs it.
    pub fn plan(
        &self,
        inputs: &[Arc<dyn ExecutionPlan>],
        planner: &dyn PhysicalPlanner,
        session: &dyn datafusion::catalog::Session,
        context: &PhysicalPlanningContext,
    ) -> Result<LookupExec> {
        let [source, table] = inputs else { return internal_err!("a lookup takes two inputs") };
        let part = |side: &Side, plan: &Arc<dyn ExecutionPlan>| {
            let schema = side.plan.schema();
            let keys = side.keys.iter().map(|key| planner.create_physical_expr(key, schema, session, context));
            let keep = side.keep.iter().map(|column| schema.index_of_column(column));
            Ok::<_, datafusion::error::DataFusionError>(Part {
                plan: Arc::clone(plan),
                keys: keys.collect::<Result<_>>()?,
                keep: keep.collect::<Result<_>>()?,
            })
        };
        LookupExec::try_new(
            Arc::clone(&self.kind),
            part(&self.source, source)?,
            part(&self.table, table)?,
            self.equal,
            self.keeps_unmatched,
        )
    }

    fn identity(&self) -> (&'static str, String, &Side, &Side, usize, bool) {
        (self.kind.name(), self.kind.settings(), &self.source, &self.table, self.equal, self.keeps_unmatched)
    }
}

impl Debug for LookupNode {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        UserDefinedLogicalNodeCore::fmt_for_explain(self, f)
    }
}

impl PartialEq for LookupNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity() && self.schema == other.schema
    }
}

impl Eq for LookupNode {}

impl PartialOrd for LookupNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for LookupNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for LookupNode {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.source.plan, &self.table.plan]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    // Everything is listed, so that pruning keeps exactly these columns of the inputs.
    fn expressions(&self) -> Vec<Expr> {
        let of = |side: &Side| {
            let keep = side.keep.iter().cloned().map(Expr::Column);
            side.keys.iter().cloned().chain(keep).collect::<Vec<_>>()
        };
        [of(&self.source), of(&self.table)].concat()
    }

    // A predicate would be pushed into both inputs.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.kind.settings())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([source, table]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("{} takes two inputs", self.kind.name());
        };
        let mut exprs = exprs.into_iter();
        let mut side = |old: &Side, plan: LogicalPlan| {
            let keys: Vec<Expr> = exprs.by_ref().take(old.keys.len()).collect();
            let mut keep = Vec::with_capacity(old.keep.len());
            for expr in exprs.by_ref().take(old.keep.len()) {
                match expr.unalias() {
                    Expr::Column(column) => keep.push(column),
                    other => return internal_err!("a lookup keeps columns, not {other}"),
                }
            }
            Ok(Side { plan, keys, keep })
        };
        let source = side(&self.source, source)?;
        let table = side(&self.table, table)?;
        LookupNode::try_new(Arc::clone(&self.kind), source, table, self.equal, self.keeps_unmatched)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new(), Vec::new()])
    }
}

/// One side of an execution plan.
#[derive(Clone, Debug)]
struct Part {
    plan: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    keep: Vec<usize>,
}

impl Part {
    fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows())).collect()
    }

    fn fields(&self) -> Vec<arrow::datatypes::FieldRef> {
        let schema = self.plan.schema();
        self.keep.iter().map(|position| Arc::clone(&schema.fields()[*position])).collect()
    }
}

/// The execution plan.
#[derive(Debug, Clone)]
pub struct LookupExec {
    kind: Arc<dyn LookupKind>,
    source: Part,
    table: Part,
    equal: usize,
    keeps_unmatched: bool,
    schema: SchemaRef,
    built: Arc<OnceCell<Arc<Built>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LookupExec {
    fn try_new(
        kind: Arc<dyn LookupKind>,
        source: Part,
        table: Part,
        equal: usize,
        keeps_unmatched: bool,
    ) -> Result<LookupExec> {
        let mut fields = source.fields();
        fields.extend(table.fields().into_iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))));
        let schema = Arc::new(Schema::new(fields));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(source.plan.output_partitioning().partition_count()),
            EmissionType::Incremental,
            source.plan.boundedness(),
        );
        Ok(LookupExec {
            kind,
            source,
            table,
            equal,
            keeps_unmatched,
            schema,
            built: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for LookupExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}Exec: {}", self.kind.name(), self.kind.settings())
    }
}

impl ExecutionPlan for LookupExec {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution, Distribution::SinglePartition])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.source.plan, &self.table.plan]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in self.source.keys.iter().chain(&self.table.keys) {
            if f(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([source, table]) = <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) else {
            return internal_err!("{} takes two inputs", self.kind.name());
        };
        Ok(Arc::new(LookupExec::try_new(
            Arc::clone(&self.kind),
            Part { plan: source, ..self.source.clone() },
            Part { plan: table, ..self.table.clone() },
            self.equal,
            self.keeps_unmatched,
        )?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let source = with_stack(|| self.source.plan.execute(partition, Arc::clone(&context)))?;
        let work = Work {
            plan: self.clone(),
            source: Some(Guarded::new(source)),
            batch_rows: context.session_config().batch_size().max(1),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            context,
            probed: None,
            last_yield: Instant::now(),
        };
        let stream =
            futures::stream::try_unfold(
                work,
                |mut work| async move { Ok(work.step().await?.map(|batch| (batch, work))) },
            );
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, _partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::Skip, ChildStats::Skip]
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }
}

/// The lookup table, read and indexed.
struct Built {
    kept: Vec<ArrayRef>,
    groups: Groups,
    _memory: MemoryReservation,
}

/// An index for each combination of the keys that must be equal.
enum Groups {
    One(Box<dyn LookupIndex>),
    Many { converter: RowConverter, indexes: HashMap<OwnedRow, Box<dyn LookupIndex>> },
}

impl Debug for Built {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Built")
    }
}

impl Built {
    async fn read(plan: &LookupExec, context: &Arc<TaskContext>) -> Result<Built> {
        let consumer = MemoryConsumer::new(format!("{} table", plan.kind.name()));
        let memory = consumer.register(context.memory_pool());
        let mut stream = Guarded::new(with_stack(|| plan.table.plan.execute(0, Arc::clone(context)))?);
        let schema = plan.table.plan.schema();
        let mut groups = match plan.equal {
            0 => Groups::One(plan.kind.index()),
            equal => {
                let fields = plan.table.keys[..equal].iter();
                let fields = fields.map(|key| Ok(SortField::new(key.data_type(&schema)?))).collect::<Result<_>>()?;
                Groups::Many { converter: RowConverter::new(fields)?, indexes: HashMap::new() }
            }
        };
        let kept_schema = Arc::new(schema.project(&plan.table.keep)?);
        let (mut batches, mut rows, mut bytes, mut keys_bytes) = (Vec::new(), 0usize, 0usize, 0usize);
        while let Some(batch) = stream.next().await.transpose()? {
            if rows + batch.num_rows() > u32::MAX as usize {
                return exec_err!("{} takes a table of at most {} rows", plan.kind.name(), u32::MAX);
            }
            let keys = plan.table.keys_of(&batch)?;
            let mut last = Instant::now();
            let distinct = match &groups {
                Groups::Many { converter, .. } => Some(converter.convert_columns(&keys[..plan.equal])?),
                Groups::One(_) => None,
            };
            for at in 0..batch.num_rows() {
                let index = match (&mut groups, &distinct) {
                    (Groups::Many { indexes, .. }, Some(distinct)) => {
                        let key = distinct.row(at).owned();
                        keys_bytes += key.as_ref().len();
                        indexes.entry(key).or_insert_with(|| plan.kind.index())
                    }
                    (Groups::One(index), _) => index,
                    (Groups::Many { .. }, None) => return internal_err!("a lookup has no keys"),
                };
                index.add(&keys[plan.equal..], at, (rows + at) as u32);
                if at.is_multiple_of(ROWS_PER_LOOK) && last.elapsed() > MAX_BUSY {
                    tokio::task::yield_now().await;
                    last = Instant::now();
                }
            }
            rows += batch.num_rows();
            let kept = batch.project(&plan.table.keep)?;
            bytes += kept.get_array_memory_size();
            batches.push(kept);
            // Once more when the batches are put together.
            memory.try_resize(2 * bytes + keys_bytes + groups.size())?;
        }
        groups.finish();
        memory.try_resize(2 * bytes + keys_bytes + groups.size())?;
        let kept = concat_batches(&kept_schema, &batches)?.columns().to_vec();
        drop(batches);
        memory.try_resize(bytes + keys_bytes + groups.size())?;
        Ok(Built { kept, groups, _memory: memory })
    }
}

impl Groups {
    fn size(&self) -> usize {
        match self {
            Groups::One(index) => index.size(),
            Groups::Many { indexes, .. } => indexes.values().map(|index| index.size() + 64).sum(),
        }
    }

    fn finish(&mut self) {
        match self {
            Groups::One(index) => index.finish(),
            Groups::Many { indexes, .. } => indexes.values_mut().for_each(|index| index.finish()),
        }
    }
}

/// A batch that is being looked up.
struct Probed {
    batch: RecordBatch,
    keys: Vec<ArrayRef>,
    /// The index of each row; `None` where the equal keys are in no row of the table.
    distinct: Option<arrow::row::Rows>,
    next: usize,
    /// Matches of the row before `next` that have not been given yet, in reverse.
    found: Vec<u32>,
}

struct Work {
    plan: LookupExec,
    source: Option<Guarded>,
    context: Arc<TaskContext>,
    batch_rows: usize,
    probed: Option<Probed>,
    metrics: BaselineMetrics,
    last_yield: Instant,
}

impl Work {
    async fn step(&mut self) -> Result<Option<RecordBatch>> {
        let cell = Arc::clone(&self.plan.built);
        let built =
            cell.get_or_try_init(|| async { Built::read(&self.plan, &self.context).await.map(Arc::new) }).await?;
        loop {
            if let Some(probed) = &mut self.probed {
                let timer = self.metrics.elapsed_compute().timer();
                let (rows, matches) = probed.pairs(built, &self.plan, self.batch_rows);
                let is_done = probed.next == probed.batch.num_rows() && probed.found.is_empty();
                let output = match rows.is_empty() {
                    true => None,
                    false => Some(joined(&self.plan, &probed.batch, built, rows, matches)?),
                };
                timer.done();
                if is_done {
                    self.probed = None;
                }
                if self.last_yield.elapsed() > MAX_BUSY {
                    tokio::task::yield_now().await;
                    self.last_yield = Instant::now();
                }
                if let Some(output) = output {
                    self.metrics.record_output(output.num_rows());
                    return Ok(Some(output));
                }
                continue;
            }
            let Some(source) = &mut self.source else { return Ok(None) };
            match source.next().await.transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    let keys = self.plan.source.keys_of(&batch)?;
                    let distinct = match &built.groups {
                        Groups::Many { converter, .. } => Some(converter.convert_columns(&keys[..self.plan.equal])?),
                        Groups::One(_) => None,
                    };
                    self.probed = Some(Probed { batch, keys, distinct, next: 0, found: Vec::new() });
                }
                None => self.source = None,
            }
        }
    }
}

impl Probed {
    /// Pairs of rows, at most `most`, or fewer when time is up.
    fn pairs(&mut self, built: &Built, plan: &LookupExec, most: usize) -> (Vec<u32>, Vec<Option<u32>>) {
        let started = Instant::now();
        let (mut rows, mut matches) = (Vec::new(), Vec::new());
        let total = self.batch.num_rows();
        while rows.len() < most {
            if let Some(found) = self.found.pop() {
                rows.push((self.next - 1) as u32);
                matches.push(Some(found));
                continue;
            }
            if self.next == total {
                break;
            }
            if self.next.is_multiple_of(ROWS_PER_LOOK)
                && self.next > 0
                && started.elapsed() > MAX_BUSY
                && !rows.is_empty()
            {
                break;
            }
            let index = match (&built.groups, &self.distinct) {
                (Groups::One(index), _) => Some(index),
                (Groups::Many { indexes, .. }, Some(distinct)) => indexes.get(&distinct.row(self.next).owned()),
                (Groups::Many { .. }, None) => None,
            };
            if let Some(index) = index {
                index.find(&self.keys[plan.equal..], self.next, &mut self.found);
                self.found.sort_unstable_by(|left, right| right.cmp(left));
            }
            if self.found.is_empty() && plan.keeps_unmatched {
                rows.push(self.next as u32);
                matches.push(None);
            }
            self.next += 1;
        }
        (rows, matches)
    }
}

fn joined(
    plan: &LookupExec,
    batch: &RecordBatch,
    built: &Built,
    rows: Vec<u32>,
    matches: Vec<Option<u32>>,
) -> Result<RecordBatch> {
    let count = rows.len();
    let (rows, matches) = (UInt32Array::from(rows), UInt32Array::from(matches));
    let mut columns = Vec::with_capacity(plan.schema.fields().len());
    for position in &plan.source.keep {
        columns.push(take(batch.column(*position), &rows, None)?);
    }
    for column in &built.kept {
        columns.push(take(column, &matches, None)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&plan.schema), columns, &options)?)
}
