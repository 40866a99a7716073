//! The engine's view of a kernel.

use std::hash::{Hash, Hasher};

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidewater_kql::KqlType;

use crate::call::{Call, Kernel};

/// A kernel with the KQL types of one call.
#[derive(Debug)]
pub struct KernelUdf {
    name: String,
    kernel: Kernel,
    types: Vec<KqlType>,
    returns: KqlType,
    signature: Signature,
}

impl KernelUdf {
    /// The expression that calls `kernel` with `args` of KQL types `types`.
    pub fn call(
        name: &str,
        is_pure: bool,
        kernel: Kernel,
        args: Vec<Expr>,
        types: &[KqlType],
        returns: KqlType,
    ) -> Expr {
        let volatility = if is_pure { Volatility::Immutable } else { Volatility::Volatile };
        let signature =
            if args.is_empty() { Signature::nullary(volatility) } else { Signature::user_defined(volatility) };
        let udf = KernelUdf { name: format!("kql_{name}"), kernel, types: types.to_vec(), returns, signature };
        ScalarUDF::from(udf).call(args)
    }
}

impl PartialEq for KernelUdf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.types == other.types && self.returns == other.returns
    }
}

impl Eq for KernelUdf {}

impl Hash for KernelUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.types, self.returns).hash(state);
    }
}

impl ScalarUDFImpl for KernelUdf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.returns.arrow())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(std::sync::Arc::new(self.returns.field(&self.name)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        crate::turn::check()?;
        let call = Call { args: &args.args, types: &self.types, returns: self.returns, rows: args.number_rows };
        (self.kernel)(&call)
    }
}
