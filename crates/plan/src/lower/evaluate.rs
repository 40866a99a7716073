//! Constant expressions, computed while binding.

use std::sync::LazyLock;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::create_physical_expr;
use datafusion::scalar::ScalarValue;
use tidewater_functions::turn;

use super::expr;
use crate::bound::{BExpr, Constant, Evaluate};

/// Computes constant expressions with the same kernels that rows are computed with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluator;

static EMPTY: LazyLock<DFSchema> = LazyLock::new(DFSchema::empty);

impl Evaluate for Evaluator {
    fn evaluate(&self, expr: &BExpr) -> Result<Constant, String> {
        if let Some(constant) = expr.as_constant() {
            return Ok(constant);
        }
        // A long text has many of these, and nobody may wait for its plan any more.
        turn::check().map_err(|error| error.strip_backtrace())?;
        let scalar = compute(expr).map_err(|error| error.strip_backtrace())?;
        let found = scalar.data_type();
        Constant::of_scalar(&scalar, expr.ty)
            .ok_or_else(|| format!("a value of type {} was computed as {found}", expr.ty))
    }
}

fn compute(expr: &BExpr) -> Result<ScalarValue> {
    let lowered = match expr::value(expr)? {
        Expr::Literal(value, _) => return Ok(value),
        lowered => lowered,
    };
    match run(&lowered) {
        Ok(value) => Ok(value),
        // Some of the engine's functions exist only to be rewritten.
        Err(_) => {
            let context = SimplifyContext::builder().with_schema(std::sync::Arc::new(EMPTY.clone())).build();
            match ExprSimplifier::new(context).simplify(lowered)? {
                Expr::Literal(value, _) => Ok(value),
                simple => run(&simple),
            }
        }
    }
}

fn run(expr: &Expr) -> Result<ScalarValue> {
    let physical = create_physical_expr(expr, &EMPTY, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(std::sync::Arc::new(Schema::empty()), Vec::new(), &options)?;
    match physical.evaluate(&batch)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}
