//! Division as in Spark: `/` of two whole numbers is a fraction, `a div b` a whole number.
//!
//! The engine divides whole numbers into whole ones. Here the operators are looked at while they are planned, for only then are the
//! types of both sides known. Source: the page on Spark SQL functions in Query Service, `/` and `div`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans the two operators.
#[derive(Debug)]
pub(super) struct Division;

impl ExprPlanner for Division {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_whole = match expr.op {
            BinaryOperator::Divide => false,
            BinaryOperator::DuckIntegerDivide | BinaryOperator::MyIntegerDivide => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let known = |side: &Expr| side.get_type(schema).ok();
        // A parameter's type is not known yet; what stands beside it tells.
        let types = match (known(&expr.left), known(&expr.right)) {
            (Some(DataType::Null), Some(other)) | (Some(other), Some(DataType::Null)) => Some((other.clone(), other)),
            (Some(left), Some(right)) => Some((left, right)),
            _ => None,
        };
        let whole = types.as_ref().is_some_and(|(left, right)| left.is_integer() && right.is_integer());
        match (is_whole, whole) {
            (true, false) => plan_err!("div takes values of whole types on both sides"),
            (false, false) => Ok(PlannerResult::Original(expr)),
            (is_whole, true) => {
                let function = ScalarUDF::from(Quotient::new(is_whole));
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
        }
    }
}

/// The quotient of two whole numbers, as a fraction or cut to a whole number. Division by zero is an error.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient {
    is_whole: bool,
    signature: Signature,
}

impl Quotient {
    fn new(is_whole: bool) -> Self {
        Self { is_whole, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        if self.is_whole { "whole_quotient" } else { "quotient" }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let sign = if self.is_whole { "div" } else { "/" };
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(&format!(" {sign} ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.is_whole { DataType::Int64 } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let ty = if self.is_whole { DataType::Int64 } else { DataType::Float64 };
        let left = cast(&args.args[0].to_array(rows)?, &ty)?;
        let right = cast(&args.args[1].to_array(rows)?, &ty)?;
        let both = |row: usize| left.is_valid(row) && right.is_valid(row);
        let by_zero = || ArrowError::DivideByZero;
        let found: Arc<dyn Array> = match self.is_whole {
            true => {
                let (left, right) = (left.as_primitive::<Int64Type>(), right.as_primitive::<Int64Type>());
                let values = (0..rows).map(|row| match both(row) {
                    false => Ok(None),
                    true if right.value(row) == 0 => Err(by_zero()),
                    true => Ok(Some(left.value(row).wrapping_div(right.value(row)))),
                });
                Arc::new(values.collect::<std::result::Result<Int64Array, ArrowError>>()?)
            }
            false => {
                let (left, right) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
                let values = (0..rows).map(|row| match both(row) {
                    false => Ok(None),
                    true if right.value(row) == 0.0 => Err(by_zero()),
                    true => Ok(Some(left.value(row) / right.value(row))),
                });
                Arc::new(values.collect::<std::result::Result<Float64Array, ArrowError>>()?)
            }
        };
        match is_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}
