//! The last node of a query: engine columns under the user's names, with the exact fields of the result's schema.

use std::cmp::Ordering;
use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use super::guard::{Guarded, with_stack};

/// Gives columns of the input new fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputNode {
    input: LogicalPlan,
    columns: Vec<Column>,
    fields: SchemaRef,
    schema: DFSchemaRef,
}

impl OutputNode {
    /// `columns` of `input` under the fields of `fields`, of the same types.
    pub fn try_new(input: LogicalPlan, columns: Vec<Column>, fields: SchemaRef) -> Result<OutputNode> {
        let schema = Arc::new(DFSchema::try_from(fields.as_ref().clone())?);
        Ok(OutputNode { input, columns, fields, schema })
    }

    /// The plan that runs it.
    pub fn plan(&self, input: Arc<dyn ExecutionPlan>) -> Result<OutputExec> {
        let positions =
            self.columns.iter().map(|column| self.input.schema().index_of_column(column)).collect::<Result<_>>()?;
        OutputExec::try_new(input, positions, Arc::clone(&self.fields))
    }
}

impl PartialOrd for OutputNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for OutputNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.columns, &self.schema, &self.input).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for OutputNode {
    fn name(&self) -> &str {
        "Output"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.iter().cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut Formatter) -> std::fmt::Result {
        let columns = self.columns.iter().zip(self.fields.fields());
        let columns: Vec<String> =
            columns.map(|(column, field)| format!("{} as {}", column.name, field.name())).collect();
        write!(f, "Output: {}", columns.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("an output takes one input");
        };
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in exprs {
            match expr.unalias() {
                Expr::Column(column) => columns.push(column),
                other => return internal_err!("an output has columns, not {other}"),
            }
        }
        OutputNode::try_new(input, columns, Arc::clone(&self.fields))
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// The execution plan of an output over projections of the one empty row, if the plan is that.
pub fn trivial(plan: &LogicalPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let LogicalPlan::Extension(extension) = plan else { return Ok(None) };
    let Some(output) = extension.node.as_any().downcast_ref::<OutputNode>() else { return Ok(None) };
    let Some(input) = constant_row(&output.input)? else { return Ok(None) };
    Ok(Some(Arc::new(output.plan(input)?)))
}

fn constant_row(plan: &LogicalPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    match plan {
        LogicalPlan::EmptyRelation(relation) if relation.produce_one_row => {
            Ok(Some(Arc::new(PlaceholderRowExec::new(Arc::clone(relation.schema.inner())))))
        }
        LogicalPlan::Projection(projection) => {
            // The engine rewrites subqueries and a few functions before it can run them.
            let Some(input) = constant_row(&projection.input)? else { return Ok(None) };
            let (schema, props) = (projection.input.schema(), ExecutionProps::new());
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
                if !is_direct(expr) {
                    return Ok(None);
                }
                let physical = create_physical_expr(expr, schema, &props, &PhysicalPlanningContext::default())?;
                exprs.push((physical, field.name().clone()));
            }
            Ok(Some(Arc::new(ProjectionExec::try_new(exprs, input)?)))
        }
        _ => Ok(None),
    }
}

/// Whether an expression runs as it stands: constants, columns, our own kernels and operators between them.
fn is_direct(expr: &Expr) -> bool {
    let mut is_direct = true;
    let walked = expr.apply(|node| {
        is_direct &= match node {
            Expr::Literal(..)
            | Expr::Column(_)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_) => true,
            Expr::BinaryExpr(_) | Expr::Case(_) | Expr::Cast(_) => true,
            Expr::ScalarFunction(function) => function.func.name().starts_with("kql_"),
            _ => false,
        };
        Ok(if is_direct { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && is_direct
}

/// The execution plan: batches pass through, only their schema changes.
#[derive(Debug, Clone)]
pub struct OutputExec {
    input: Arc<dyn ExecutionPlan>,
    positions: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl OutputExec {
    fn try_new(input: Arc<dyn ExecutionPlan>, positions: Vec<usize>, schema: SchemaRef) -> Result<OutputExec> {
        let input_schema = input.schema();
        let renamed = positions.iter().zip(schema.fields()).map(|(position, field)| {
            let source = PhysicalColumn::new(input_schema.field(*position).name(), *position);
            (Arc::new(source) as Arc<dyn PhysicalExpr>, field.name().clone())
        });
        let mapping = ProjectionMapping::try_new(renamed, &input_schema)?;
        let equivalences = input.equivalence_properties().project(&mapping, Arc::clone(&schema));
        let partitioning = input.output_partitioning().project(&mapping, input.equivalence_properties());
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, input.boundedness());
        Ok(OutputExec { input, positions, schema, properties: Arc::new(properties) })
    }
}

impl DisplayAs for OutputExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut Formatter) -> std::fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "OutputExec: {}", names.join(", "))
    }
}

impl ExecutionPlan for OutputExec {
    fn name(&self) -> &str {
        "OutputExec"
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
            return internal_err!("an output takes one input");
        };
        Ok(Arc::new(OutputExec::try_new(input, self.positions.clone(), Arc::clone(&self.schema))?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Guarded::new(with_stack(|| self.input.execute(partition, context))?);
        let (positions, schema) = (self.positions.clone(), Arc::clone(&self.schema));
        let batches = input.map(move |batch| {
            let batch = batch?;
            let columns = positions.iter().map(|position| Arc::clone(batch.column(*position))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let [input] = inputs {
            statistics.num_rows = input.num_rows;
            for (own, position) in statistics.column_statistics.iter_mut().zip(&self.positions) {
                if let Some(column) = input.column_statistics.get(*position) {
                    *own = column.clone();
                }
            }
        }
        Ok(Arc::new(statistics))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
