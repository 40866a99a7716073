//! Small expressions that make keys comparable: no null strings, one zero, one NaN.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringViewArray};
use arrow::datatypes::Float64Type;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::scalar::ScalarValue;
use tidewater_functions::call::Call;
use tidewater_functions::udf::KernelUdf;
use tidewater_kql::KqlType;

/// A string expression in which a missing string is `""`.
pub fn text(expr: Expr) -> Expr {
    match &expr {
        Expr::Literal(value, _) if !value.is_null() => expr,
        _ => KernelUdf::call("text", true, text_kernel, vec![expr], &[KqlType::String], KqlType::String),
    }
}

/// An expression whose equal values are equal bits: what groups, joins and partitions compare.
pub fn key(expr: Expr, ty: KqlType) -> Expr {
    match ty {
        KqlType::String => text(expr),
        KqlType::Real => KernelUdf::call("real_key", true, real_kernel, vec![expr], &[ty], ty),
        _ => expr,
    }
}

/// Where NaN stands among the reals: always beside null, so with a null that is the largest it is the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanOrder {
    /// Below negative infinity.
    Smallest,
    /// Above infinity.
    Largest,
}

/// What a real or string sorts by in the engine: one zero, NaN at an end; a missing string is `""`.
/// Source: sort-operator page, table of special values.
pub fn sort_key(expr: Expr, ty: KqlType, nan: NanOrder) -> Expr {
    match (ty, nan) {
        (KqlType::String, _) => text(expr),
        (KqlType::Real, NanOrder::Smallest) => {
            KernelUdf::call("real_order", true, order_kernel, vec![expr], &[ty], KqlType::Long)
        }
        (KqlType::Real, NanOrder::Largest) => {
            KernelUdf::call("real_order_nan_last", true, nan_last_kernel, vec![expr], &[ty], KqlType::Long)
        }
        _ => expr,
    }
}

fn order_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    ordered(call, i64::MIN)
}

fn nan_last_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    ordered(call, i64::MAX)
}

/// Longs that sort as the reals do.
fn ordered(call: &Call<'_>, nan: i64) -> Result<ColumnarValue> {
    let array = call.array(0)?;
    let order: Int64Array = array.as_primitive::<Float64Type>().unary(|value| {
        if value.is_nan() {
            return nan;
        }
        let bits = (value + 0.0).to_bits() as i64;
        if bits < 0 { bits ^ i64::MAX } else { bits }
    });
    Ok(ColumnarValue::Array(Arc::new(order)))
}

fn text_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    match &call.args[0] {
        ColumnarValue::Scalar(value) if value.is_null() => {
            Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some(String::new()))))
        }
        ColumnarValue::Array(array) if array.null_count() > 0 => {
            let texts = array.as_string_view();
            // The view of the empty string is zero, so that only null slots need one.
            let views = texts.views().iter().enumerate().map(|(row, view)| if texts.is_null(row) { 0 } else { *view });
            let filled = StringViewArray::try_new(views.collect(), texts.data_buffers().to_vec(), None)?;
            Ok(ColumnarValue::Array(Arc::new(filled)))
        }
        other => Ok(other.clone()),
    }
}

fn real_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    let array = call.array(0)?;
    let values = array.as_primitive::<Float64Type>();
    let is_odd = |value: f64| value.is_nan() || (value == 0.0 && value.is_sign_negative());
    if !values.values().iter().any(|value| is_odd(*value)) {
        return Ok(ColumnarValue::Array(array));
    }
    let same: Float64Array = values.unary(|value| if value.is_nan() { f64::NAN } else { value + 0.0 });
    Ok(ColumnarValue::Array(Arc::new(same) as ArrayRef))
}
