//! The arguments of a kernel: engine values with their KQL types.

use arrow::array::{Array, ArrayRef};
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

/// What a kernel is given for one batch.
///
/// Constants come as `ColumnarValue::Scalar` and stay scalar, so that a kernel can prepare a
/// pattern or a path once. A kernel whose arguments are all scalars may answer with a scalar.
pub struct Call<'a> {
    /// The arguments, in the order of the signature; a missing optional argument is absent.
    pub args: &'a [ColumnarValue],
    /// The KQL type of each argument after the binder's conversions.
    pub types: &'a [KqlType],
    /// The KQL type of the value.
    pub returns: KqlType,
    /// Rows in the batch.
    pub rows: usize,
}

impl Call<'_> {
    /// The argument as an array of `rows` elements.
    pub fn array(&self, position: usize) -> Result<ArrayRef> {
        self.args[position].to_array(self.rows)
    }

    /// Whether every argument is a constant.
    pub fn is_constant(&self) -> bool {
        self.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
    }

    /// The constant text of a string argument: `None` when it is a column; null reads as `""`.
    pub fn constant_text(&self, position: usize) -> Option<String> {
        match self.args.get(position)? {
            ColumnarValue::Scalar(value) => Some(value.try_as_str().flatten().unwrap_or("").to_string()),
            ColumnarValue::Array(array) if array.is_empty() => Some(String::new()),
            ColumnarValue::Array(_) => None,
        }
    }
}

/// A vectorized implementation. It must not look at rows outside the batch, and gives an array of
/// `rows` elements (or a scalar) of the Arrow type of `call.returns`.
pub type Kernel = fn(&Call<'_>) -> Result<ColumnarValue>;
