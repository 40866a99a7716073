//! Evaluates engine expressions over one batch as the engine does, without linking it: the arrow kernels
//! named here are those that the engine's physical expressions call.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, RecordBatch, Scalar};
use arrow::compute::kernels::{boolean, cast, cmp, comparison, numeric, zip};
use arrow::datatypes::Field;
use datafusion_common::ScalarValue;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs};

/// The expression's value for every row.
pub fn evaluate(expr: &Expr, batch: &RecordBatch) -> ArrayRef {
    value(expr, batch).to_array(batch.num_rows()).unwrap()
}

fn value(expr: &Expr, batch: &RecordBatch) -> ColumnarValue {
    let rows = batch.num_rows();
    let array = |expr: &Expr| value(expr, batch).to_array(rows).unwrap();
    let bools = |expr: &Expr| array(expr).as_boolean().clone();
    match expr {
        Expr::Alias(alias) => value(&alias.expr, batch),
        Expr::Literal(value, _) => ColumnarValue::Scalar(value.clone()),
        Expr::Column(column) => ColumnarValue::Array(Arc::clone(batch.column_by_name(&column.name).unwrap())),
        Expr::BinaryExpr(binary) => ColumnarValue::Array(binary_value(binary, batch)),
        Expr::Not(inner) => ColumnarValue::Array(Arc::new(boolean::not(&bools(inner)).unwrap())),
        Expr::IsNull(inner) => ColumnarValue::Array(Arc::new(boolean::is_null(&array(inner)).unwrap())),
        Expr::IsNotNull(inner) => ColumnarValue::Array(Arc::new(boolean::is_not_null(&array(inner)).unwrap())),
        Expr::Cast(inner) => ColumnarValue::Array(cast::cast(&array(&inner.expr), inner.field.data_type()).unwrap()),
        Expr::Like(like) => {
            assert!(!like.negated && !like.case_insensitive);
            let pattern = array(&like.pattern);
            ColumnarValue::Array(Arc::new(comparison::like(&array(&like.expr), &pattern).unwrap()))
        }
        Expr::InList(list) => {
            let operand = array(&list.expr);
            let mut any = BooleanArray::from(vec![false; rows]);
            for item in &list.list {
                any = boolean::or_kleene(&any, &cmp::eq(&operand, &array(item)).unwrap()).unwrap();
            }
            ColumnarValue::Array(Arc::new(if list.negated { boolean::not(&any).unwrap() } else { any }))
        }
        Expr::Case(case) => {
            assert!(case.expr.is_none());
            let mut result = array(case.else_expr.as_ref().unwrap());
            for (when, then) in case.when_then_expr.iter().rev() {
                let mask = boolean::and(&bools(when), &boolean::is_not_null(&bools(when)).unwrap()).unwrap();
                let then = cast::cast(&array(then), result.data_type()).unwrap();
                result = zip::zip(&mask, &then, &result).unwrap();
            }
            ColumnarValue::Array(result)
        }
        Expr::ScalarFunction(call) => {
            let args: Vec<ColumnarValue> = call.args.iter().map(|arg| value(arg, batch)).collect();
            let arg_fields = args.iter().map(|arg| Arc::new(Field::new("", arg.data_type(), true))).collect();
            let types: Vec<_> = args.iter().map(ColumnarValue::data_type).collect();
            let return_field = Arc::new(Field::new("", call.func.return_type(&types).unwrap(), true));
            let config_options = Arc::new(ConfigOptions::new());
            let args = ScalarFunctionArgs { args, arg_fields, number_rows: rows, return_field, config_options };
            call.func.invoke_with_args(args).unwrap()
        }
        other => panic!("not evaluated here: {other:?}"),
    }
}

fn binary_value(binary: &BinaryExpr, batch: &RecordBatch) -> ArrayRef {
    let (left, right) = (value(&binary.left, batch), value(&binary.right, batch));
    let rows = batch.num_rows();
    if matches!(binary.op, Operator::And | Operator::Or) {
        let (left, right) = (left.to_array(rows).unwrap(), right.to_array(rows).unwrap());
        let logic = if binary.op == Operator::And { boolean::and_kleene } else { boolean::or_kleene };
        return Arc::new(logic(left.as_boolean(), right.as_boolean()).unwrap());
    }
    fn datum(value: ColumnarValue) -> Box<dyn Datum> {
        match value {
            ColumnarValue::Array(array) => Box::new(array),
            ColumnarValue::Scalar(value) => Box::new(Scalar::new(value.to_array().unwrap())),
        }
    }
    let (left, right) = (datum(left), datum(right));
    let (left, right) = (left.as_ref(), right.as_ref());
    let compared = |result: Result<BooleanArray, _>| -> ArrayRef { Arc::new(result.unwrap()) };
    let result: ArrayRef = match binary.op {
        Operator::Eq => compared(cmp::eq(left, right)),
        Operator::NotEq => compared(cmp::neq(left, right)),
        Operator::Lt => compared(cmp::lt(left, right)),
        Operator::LtEq => compared(cmp::lt_eq(left, right)),
        Operator::Gt => compared(cmp::gt(left, right)),
        Operator::GtEq => compared(cmp::gt_eq(left, right)),
        Operator::IsDistinctFrom => compared(cmp::distinct(left, right)),
        Operator::IsNotDistinctFrom => compared(cmp::not_distinct(left, right)),
        Operator::Plus => numeric::add_wrapping(left, right).unwrap(),
        Operator::Minus => numeric::sub_wrapping(left, right).unwrap(),
        Operator::Multiply => numeric::mul_wrapping(left, right).unwrap(),
        Operator::Divide => numeric::div(left, right).unwrap(),
        other => panic!("not evaluated here: {other}"),
    };
    if result.len() == rows {
        result
    } else {
        ScalarValue::try_from_array(&result, 0).unwrap().to_array_of_size(rows).unwrap()
    }
}

/// The rows of an array as constants.
pub fn rows(array: &ArrayRef) -> Vec<ScalarValue> {
    (0..array.len()).map(|row| ScalarValue::try_from_array(array, row).unwrap()).collect()
}
