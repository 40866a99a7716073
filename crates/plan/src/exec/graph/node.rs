//! Readers of graphs in plans. The graph's tables are not among their inputs, so that each reader's optimizer leaves
//! them alone; they are planned once, with the graph.

use std::cmp::Ordering;
use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};

use super::cell::GraphCell;
pub use super::stream::Reader;
use super::stream::{Common, Work, WorkState};

/// A reader in a logical plan.
#[derive(Debug, Clone)]
pub struct GraphNode {
    cell: Arc<GraphCell>,
    reader: Arc<Reader>,
    schema: DFSchemaRef,
}

impl GraphNode {
    /// A reader that gives these fields.
    pub fn try_new(cell: Arc<GraphCell>, reader: Reader, fields: SchemaRef) -> Result<GraphNode> {
        let schema = Arc::new(DFSchema::try_from(fields.as_ref().clone())?);
        Ok(GraphNode { cell, reader: Arc::new(reader), schema })
    }

    /// The plan of this reader; plans the graph's tables if no other reader has.
    pub async fn plan(&self, session: &dyn Session) -> Result<GraphExec> {
        self.cell.prepare(session).await?;
        let schema = Arc::clone(self.schema.inner());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(session.config().target_partitions().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(GraphExec {
            cell: Arc::clone(&self.cell),
            reader: Arc::clone(&self.reader),
            common: Arc::default(),
            schema,
            properties: Arc::new(properties),
        })
    }

    fn kind(&self) -> &'static str {
        kind(&self.reader)
    }
}

fn kind(reader: &Reader) -> &'static str {
    match reader {
        Reader::Match(spec) if spec.shortest.is_some() => "GraphShortestPaths",
        Reader::Match(_) => "GraphMatch",
        Reader::Rows { nodes: true, .. } => "GraphNodes",
        Reader::Rows { nodes: false, .. } => "GraphEdges",
    }
}

impl PartialEq for GraphNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell) && Arc::ptr_eq(&self.reader, &other.reader) && self.schema == other.schema
    }
}

impl Eq for GraphNode {}

impl PartialOrd for GraphNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for GraphNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (Arc::as_ptr(&self.cell), Arc::as_ptr(&self.reader), &self.schema).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for GraphNode {
    fn name(&self) -> &str {
        self.kind()
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
        write!(f, "{}: {}", self.kind(), self.cell.id())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// A reader: its partitions share the starting nodes of the search, or the rows.
#[derive(Debug, Clone)]
pub struct GraphExec {
    cell: Arc<GraphCell>,
    reader: Arc<Reader>,
    common: Arc<Common>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for GraphExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}Exec: {}", kind(&self.reader), self.cell.id())
    }
}

impl ExecutionPlan for GraphExec {
    fn name(&self) -> &str {
        kind(&self.reader)
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

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let work = Work {
            reader: Arc::clone(&self.reader),
            cell: Arc::clone(&self.cell),
            common: Arc::clone(&self.common),
            context,
            schema: Arc::clone(&self.schema),
            share: partition,
            shares: self.properties.partitioning.partition_count(),
            state: WorkState::New,
        };
        let batches =
            futures::stream::try_unfold(
                work,
                |mut work| async move { Ok(work.next().await?.map(|batch| (batch, work))) },
            );
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))))
    }
}
