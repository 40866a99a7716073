//! One computation with several readers, within one query (`materialize`, `fork`, `facet`).
//!
//! The rows are computed once, when the first reader asks, and kept until the plan is dropped: in
//! memory as far as the query's pool allows, in spill files beyond. Readers follow at their own pace.

use std::cmp::Ordering;
use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::Mutex as StdMutex;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{DFSchema, DFSchemaRef, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SpillFile, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
    SpillManager, execute_stream,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, OnceCell};

/// Bytes gathered before a spill file is written.
const SPILL_BYTES: usize = 8 << 20;

/// A computation and, once it has begun, its rows.
pub struct SharedCell {
    id: u32,
    plan: LogicalPlan,
    physical: OnceCell<Arc<dyn ExecutionPlan>>,
    buffer: StdMutex<Option<Arc<Buffer>>>,
}

impl SharedCell {
    /// The computation of `plan`.
    pub fn new(id: u32, plan: LogicalPlan) -> SharedCell {
        SharedCell { id, plan, physical: OnceCell::new(), buffer: StdMutex::new(None) }
    }

    /// What is computed.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// How it is computed, once a reader was planned.
    pub fn physical(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        self.physical.get()
    }

    fn start(self: &Arc<Self>, context: &Arc<TaskContext>) -> Result<Arc<Buffer>> {
        let mut slot = self.buffer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(buffer) = &*slot {
            return Ok(Arc::clone(buffer));
        }
        let Some(physical) = self.physical.get() else { return internal_err!("a shared computation was not planned") };
        let buffer = Arc::new(Buffer::new(physical.schema(), context));
        let stream = execute_stream(Arc::clone(physical), Arc::clone(context))?;
        let filling = Arc::downgrade(&buffer);
        let memory = MemoryConsumer::new(format!("shared {}", self.id)).with_can_spill(true);
        let memory = memory.register(context.memory_pool());
        // The rows stay for the whole of the query: what works on them must find memory too.
        let most_bytes = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(limit) => limit / 4,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        let task = SpawnedTask::spawn(async move {
            let mut writer = Writer { buffer: filling, memory, most_bytes, waiting: Vec::new(), waiting_bytes: 0 };
            let outcome = writer.fill(stream).await;
            writer.end(outcome);
        });
        *buffer.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(task);
        *slot = Some(Arc::clone(&buffer));
        Ok(buffer)
    }
}

impl std::fmt::Debug for SharedCell {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedCell {}", self.id)
    }
}

/// The rows so far.
struct Buffer {
    state: StdMutex<State>,
    grown: Notify,
    spills: SpillManager,
    task: StdMutex<Option<SpawnedTask<()>>>,
}

#[derive(Default)]
struct State {
    chunks: Vec<Chunk>,
    is_ended: bool,
    error: Option<Arc<DataFusionError>>,
    /// Kept as long as the rows are.
    _memory: Option<MemoryReservation>,
}

#[derive(Clone)]
enum Chunk {
    Memory(RecordBatch),
    Disk(Arc<dyn SpillFile>),
}

impl Buffer {
    fn new(schema: SchemaRef, context: &TaskContext) -> Buffer {
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        Buffer {
            state: StdMutex::default(),
            grown: Notify::new(),
            spills: SpillManager::new(context.runtime_env(), metrics, schema),
            task: StdMutex::new(None),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn add(&self, chunk: Chunk) {
        self.state().chunks.push(chunk);
        self.grown.notify_waiters();
    }

    /// The chunk at this position, once it is there; `None` after the last.
    async fn chunk(&self, position: usize) -> Result<Option<Chunk>> {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            // Registered before the look, so that no growth is missed.
            grown.as_mut().enable();
            {
                let state = self.state();
                if let Some(chunk) = state.chunks.get(position) {
                    return Ok(Some(chunk.clone()));
                }
                if let Some(error) = &state.error {
                    return Err(DataFusionError::Shared(Arc::clone(error)));
                }
                if state.is_ended {
                    return Ok(None);
                }
            }
            grown.await;
        }
    }
}

/// The task that fills a buffer; it stops when nobody holds the buffer any more.
struct Writer {
    buffer: std::sync::Weak<Buffer>,
    memory: MemoryReservation,
    most_bytes: usize,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
}

impl Writer {
    async fn fill(&mut self, mut stream: SendableRecordBatchStream) -> Result<()> {
        while let Some(batch) = stream.next().await.transpose()? {
            let Some(buffer) = self.buffer.upgrade() else { return Ok(()) };
            if batch.num_rows() == 0 {
                continue;
            }
            let bytes = get_record_batch_memory_size(&batch);
            // Rows must stay in their order: once some wait for the disk, all later ones do.
            let fits = self.memory.size() + bytes <= self.most_bytes;
            if self.waiting.is_empty() && fits && self.memory.try_grow(bytes).is_ok() {
                buffer.add(Chunk::Memory(batch));
                continue;
            }
            self.waiting.push(batch);
            self.waiting_bytes += bytes;
            if self.waiting_bytes >= SPILL_BYTES {
                self.spill(&buffer)?;
            }
        }
        match self.buffer.upgrade() {
            Some(buffer) => self.spill(&buffer),
            None => Ok(()),
        }
    }

    fn spill(&mut self, buffer: &Buffer) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if let Some(file) = buffer.spills.spill_record_batch_and_finish(&batches, "shared rows")? {
            buffer.add(Chunk::Disk(file));
        }
        Ok(())
    }

    fn end(self, outcome: Result<()>) {
        let Some(buffer) = self.buffer.upgrade() else { return };
        let mut state = buffer.state();
        state.error = outcome.err().map(Arc::new);
        state.is_ended = true;
        state._memory = Some(self.memory);
        drop(state);
        buffer.grown.notify_waiters();
    }
}

/// A reader in a logical plan. The computation is not among its inputs, so that each reader's optimizer leaves it alone.
#[derive(Debug, Clone)]
pub struct SharedNode {
    cell: Arc<SharedCell>,
    schema: DFSchemaRef,
}

impl SharedNode {
    /// A reader that gives the computation's columns these fields.
    pub fn try_new(cell: Arc<SharedCell>, fields: SchemaRef) -> Result<SharedNode> {
        Ok(SharedNode { cell, schema: Arc::new(DFSchema::try_from(fields.as_ref().clone())?) })
    }

    /// The plan of this reader; plans the computation if no other reader has.
    pub async fn plan(&self, session: &dyn Session) -> Result<SharedExec> {
        self.cell.physical.get_or_try_init(|| session.create_physical_plan(&self.cell.plan)).await?;
        Ok(SharedExec::new(Arc::clone(&self.cell), Arc::clone(self.schema.inner())))
    }
}

impl PartialEq for SharedNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell) && self.schema == other.schema
    }
}

impl Eq for SharedNode {}

impl PartialOrd for SharedNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for SharedNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (Arc::as_ptr(&self.cell), &self.schema).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for SharedNode {
    fn name(&self) -> &str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "Shared: {}", self.cell.id)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// A reader.
#[derive(Debug, Clone)]
pub struct SharedExec {
    cell: Arc<SharedCell>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl SharedExec {
    /// The computation that it reads, and the computation's number within the query.
    pub fn computation(&self) -> (u32, &SharedCell) {
        (self.cell.id, &self.cell)
    }

    fn new(cell: Arc<SharedCell>, schema: SchemaRef) -> SharedExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SharedExec { cell, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "SharedExec: {}", self.cell.id)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &str {
        "SharedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (cell, schema) = (Arc::clone(&self.cell), Arc::clone(&self.schema));
        let chunks = futures::stream::try_unfold(None, move |state: Option<(Arc<Buffer>, usize)>| {
            let (cell, context) = (Arc::clone(&cell), Arc::clone(&context));
            async move {
                let (buffer, position) = match state {
                    Some(state) => state,
                    None => (cell.start(&context)?, 0),
                };
                let Some(chunk) = buffer.chunk(position).await? else { return Ok(None) };
                let batches: SendableRecordBatchStream = match chunk {
                    Chunk::Memory(batch) => {
                        let schema = batch.schema();
                        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)])))
                    }
                    Chunk::Disk(file) => buffer.spills.read_spill_as_stream_unbuffered(file, None)?,
                };
                Ok::<_, DataFusionError>(Some((batches, Some((buffer, position + 1)))))
            }
        });
        let batches = chunks.try_flatten().map(move |batch| {
            let batch = batch?;
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&schema),
                batch.columns().to_vec(),
                &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
            )?)
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))))
    }
}
