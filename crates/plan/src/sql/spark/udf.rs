//! A scalar function of the dialect as a row of data: a name, how many arguments, a type, a kernel over arrays.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The type of a result, from the types of the arguments and those that are constant.
pub(super) type Returns = fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>;
/// The result for arrays of one length; the type is the one that was told.
pub(super) type Kernel = fn(&[ArrayRef], &DataType) -> Result<ArrayRef>;

/// A function.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    pub returns: Returns,
    pub kernel: Kernel,
}

pub(super) fn text(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

pub(super) fn int(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Int32)
}

pub(super) fn long(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Int64)
}

pub(super) fn double(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Float64)
}

pub(super) fn date(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Date32)
}

pub(super) fn moment(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
}

pub(super) fn texts(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
}

/// Values that are not of the type become null, as in the dialect.
fn converted(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    Ok(cast_with_options(array, ty, &options)?)
}

/// An argument as texts.
pub(super) fn as_texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(converted(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// An argument as whole numbers.
pub(super) fn as_longs(array: &ArrayRef) -> Result<PrimitiveArray<Int64Type>> {
    Ok(converted(array, &DataType::Int64)?.as_primitive().clone())
}

/// An argument as numbers.
pub(super) fn as_doubles(array: &ArrayRef) -> Result<PrimitiveArray<Float64Type>> {
    Ok(converted(array, &DataType::Float64)?.as_primitive().clone())
}

/// An argument as moments, in microseconds since 1970; texts are read.
pub(super) fn as_moments(array: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let ty = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(converted(array, &ty)?.as_primitive().clone())
}

/// The value of a row, or none.
pub(super) fn at(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// A row as a function of the engine.
struct Function {
    row: Row,
    signature: Signature,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.row.name == other.row.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.row.name.hash(state);
    }
}

/// The engine's function of a row.
pub(super) fn function(row: Row, volatility: Volatility) -> Arc<ScalarUDF> {
    let signature = match row.arity {
        (0, 0) => Signature::nullary(volatility),
        (0, _) => {
            let any = datafusion::logical_expr::TypeSignature::VariadicAny;
            let none = datafusion::logical_expr::TypeSignature::Nullary;
            Signature::one_of(vec![none, any], volatility)
        }
        _ => Signature::variadic_any(volatility),
    };
    Arc::new(ScalarUDF::from(Function { row, signature }))
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.row.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("{} tells its type by its arguments", self.row.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (least, most) = self.row.arity;
        let given = args.arg_fields.len();
        if given < least || given > most {
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return plan_err!("{}: found {given} arguments, expected {wanted}", self.row.name);
        }
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let ty = (self.row.returns)(&types, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.row.name, ty, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && self.signature.volatility == Volatility::Immutable;
        let rows = if is_constant { 1 } else { args.number_rows };
        let mut arrays = Vec::with_capacity(args.args.len().max(1));
        for arg in &args.args {
            arrays.push(arg.to_array(rows)?);
        }
        if arrays.is_empty() {
            // The kernel learns from it how many rows there are.
            arrays.push(ScalarValue::Null.to_array_of_size(rows)?);
        }
        let found = (self.row.kernel)(&arrays, args.return_field.data_type())?;
        if found.len() != rows {
            return exec_err!("{} gave {} values for {rows} rows", self.row.name, found.len());
        }
        match is_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}
