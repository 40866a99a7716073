//! `range`: rows made on demand, however many there are.

use std::fmt::Formatter;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use crate::bound::{Constant, Value};

/// The rows of one `range`: `start + i * step` for i below `count`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    name: String,
    ty: KqlType,
    steps: Steps,
    count: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Steps {
    Whole { start: i64, step: i64 },
    Real { start: f64, step: f64 },
    Decimal { start: Decimal, step: Decimal },
}

impl Range {
    /// The rows from `start` to `stop`, both included; none for a null or when the step leads away from `stop`.
    pub fn new(name: &str, start: &Constant, stop: &Constant, step: &Constant) -> Range {
        let ty = start.ty;
        let (steps, count) = match (&start.value, &stop.value, &step.value) {
            (Value::Real(start), Value::Real(stop), Value::Real(step)) => {
                let count = ((stop - start) / step).floor() + 1.0;
                // A NaN among the bounds makes no rows: the cast of NaN is zero.
                let count = if *step == 0.0 { 0 } else { count.clamp(0.0, i64::MAX as f64) as u64 };
                (Steps::Real { start: *start, step: *step }, count)
            }
            (Value::Decimal(start), Value::Decimal(stop), Value::Decimal(step)) => {
                let (start, stop, step) =
                    (Decimal::from_bytes(*start), Decimal::from_bytes(*stop), Decimal::from_bytes(*step));
                let steps = stop.sub(start).and_then(|distance| distance.div(step)).and_then(|q| q.floor().to_i64());
                (Steps::Decimal { start, step }, steps.map_or(0, |steps| u64::try_from(steps + 1).unwrap_or(0)))
            }
            (start, stop, step) => match (whole(start), whole(stop), whole(step)) {
                (Some(start), Some(stop), Some(step)) if step != 0 => {
                    let steps = (i128::from(stop) - i128::from(start)).div_euclid(i128::from(step));
                    // For a negative step Euclid's quotient rounds the other way: walk by absolute values.
                    let steps = if step < 0 {
                        (i128::from(start) - i128::from(stop)).div_euclid(-i128::from(step))
                    } else {
                        steps
                    };
                    (Steps::Whole { start, step }, u64::try_from(steps + 1).unwrap_or(0))
                }
                _ => (Steps::Whole { start: 0, step: 1 }, 0),
            },
        };
        Range { name: name.to_string(), ty, steps, count }
    }

    /// Rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether values grow from row to row.
    pub fn is_ascending(&self) -> bool {
        match &self.steps {
            Steps::Whole { step, .. } => *step > 0,
            Steps::Real { step, .. } => *step > 0.0,
            Steps::Decimal { step, .. } => !step.is_negative(),
        }
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![self.ty.field(&self.name)]))
    }

    fn values(&self, from: u64, to: u64) -> Result<ArrayRef> {
        Ok(match (&self.steps, self.ty) {
            (Steps::Whole { start, step }, KqlType::Int) => Arc::new(Int32Array::from_iter_values(
                (from..to).map(|row| start.wrapping_add((row as i64).wrapping_mul(*step)) as i32),
            )),
            (Steps::Whole { start, step }, _) => Arc::new(Int64Array::from_iter_values(
                (from..to).map(|row| start.wrapping_add((row as i64).wrapping_mul(*step))),
            )),
            (Steps::Real { start, step }, _) => {
                Arc::new(Float64Array::from_iter_values((from..to).map(|row| start + row as f64 * step)))
            }
            (Steps::Decimal { start, step }, _) => {
                let mut cells = FixedSizeBinaryBuilder::with_capacity((to - from) as usize, 16);
                for row in from..to {
                    let value = i64::try_from(row)
                        .ok()
                        .and_then(|row| Decimal::from_i64(row).mul(*step))
                        .and_then(|d| d.add(*start));
                    match value {
                        Some(value) => cells.append_value(value.bytes())?,
                        None => cells.append_null(),
                    }
                }
                Arc::new(cells.finish())
            }
        })
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(i64::from(*value)),
        Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => Some(*value),
        _ => None,
    }
}

/// A `range` as a table, so that the engine's own scan node stands for it.
#[derive(Debug)]
pub struct RangeTable {
    range: Range,
}

impl RangeTable {
    /// The table of these rows.
    pub fn new(range: Range) -> RangeTable {
        RangeTable { range }
    }
}

#[async_trait]
impl TableProvider for RangeTable {
    fn schema(&self) -> SchemaRef {
        self.range.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut range = self.range.clone();
        range.count = range.count.min(limit.map_or(u64::MAX, |limit| limit as u64));
        let plan: Arc<dyn ExecutionPlan> = Arc::new(RangeExec::new(range, 1));
        match projection {
            Some(columns) if columns.is_empty() => {
                let none: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
                Ok(Arc::new(ProjectionExec::try_new(none, plan)?))
            }
            _ => Ok(plan),
        }
    }
}

/// The generator; partitions are slices of the rows, one after the other.
#[derive(Debug, Clone)]
pub struct RangeExec {
    range: Range,
    properties: Arc<PlanProperties>,
}

impl RangeExec {
    fn new(range: Range, partitions: usize) -> RangeExec {
        let schema = range.schema();
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&schema));
        let options = SortOptions::new(!range.is_ascending(), range.is_ascending());
        equivalences.add_ordering([PhysicalSortExpr::new(Arc::new(Column::new(&range.name, 0)), options)]);
        let partitioning = Partitioning::UnknownPartitioning(partitions);
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        RangeExec { range, properties: Arc::new(properties) }
    }

    fn partitions(&self) -> u64 {
        self.properties.partitioning.partition_count() as u64
    }

    fn slice(&self, partition: u64) -> (u64, u64) {
        let each = self.range.count.div_ceil(self.partitions());
        let from = partition.saturating_mul(each).min(self.range.count);
        (from, from.saturating_add(each).min(self.range.count))
    }
}

impl DisplayAs for RangeExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        write!(
            f,
            "RangeExec: {}:{}, rows={}, partitions={}",
            self.range.name,
            self.range.ty,
            self.range.count,
            self.partitions()
        )
    }
}

impl ExecutionPlan for RangeExec {
    fn name(&self) -> &str {
        "RangeExec"
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
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("range has no input");
        }
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn repartitioned(&self, target: usize, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let batches = self.range.count / config.execution.batch_size.get() as u64;
        let wanted = (target as u64).min(batches);
        if wanted <= self.partitions() {
            return Ok(None);
        }
        Ok(Some(Arc::new(RangeExec::new(self.range.clone(), wanted as usize))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.range.schema();
        let range = self.range.clone();
        let batch_rows = context.session_config().batch_size() as u64;
        let (from, end) = self.slice(partition as u64);
        let batch_schema = Arc::clone(&schema);
        let batches = std::iter::successors(Some(from), move |at| at.checked_add(batch_rows))
            .take_while(move |at| *at < end)
            .map(move |at| {
                let values = range.values(at, at.saturating_add(batch_rows).min(end))?;
                Ok(RecordBatch::try_new(Arc::clone(&batch_schema), vec![values])?)
            });
        let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches));
        Ok(make_cooperative(Box::pin(stream)))
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.range.schema());
        let rows = match args.partition() {
            Some(partition) => {
                let (from, end) = self.slice(partition as u64);
                end - from
            }
            None => self.range.count,
        };
        statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Exact);
        Ok(Arc::new(statistics))
    }
}
