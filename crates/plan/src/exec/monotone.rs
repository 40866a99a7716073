//! `bin` and its like with constant settings: the engine may look through them.
//!
//! `bin(t, 1h) == v` becomes a range of `t`, which statistics prune; sorted columns stay sorted.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use tidewater_functions::call::{Call, Kernel};
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, timespan};

use crate::bound::{BExpr, BExprKind, Value};

/// How far it is from one value of the function to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Always this far.
    Fixed(i64),
    /// This many months.
    Months(i64),
}

impl Step {
    /// The step of a call whose value is the largest of some evenly laid points not above its first argument.
    pub fn of(name: &str, args: &[BExpr]) -> Option<Step> {
        let first = args.first()?;
        let setting = |position: usize| match &args.get(position)?.kind {
            BExprKind::Constant(Value::TimeSpan(value) | Value::Long(value) | Value::DateTime(value)) => Some(*value),
            _ => None,
        };
        let is_whole = matches!(first.ty, KqlType::DateTime | KqlType::TimeSpan | KqlType::Long);
        match (name, args.len()) {
            ("bin", 2) if is_whole => setting(1).filter(|size| *size > 0).map(Step::Fixed),
            ("bin_at", 3) if is_whole && setting(2).is_some() => setting(1).filter(|size| *size > 0).map(Step::Fixed),
            ("startofday", 1) => Some(Step::Fixed(timespan::TICKS_PER_DAY)),
            ("startofweek", 1) => Some(Step::Fixed(7 * timespan::TICKS_PER_DAY)),
            ("startofmonth", 1) => Some(Step::Months(1)),
            ("startofyear", 1) => Some(Step::Months(12)),
            _ => None,
        }
    }

    fn after(self, value: i64) -> Option<i64> {
        match self {
            Step::Fixed(step) => value.checked_add(step),
            Step::Months(months) => datetime::add_months(value, months),
        }
    }
}

/// A kernel over longs that never falls and is constant between its own values.
#[derive(Debug)]
pub struct Monotone {
    name: String,
    kernel: Kernel,
    types: Vec<KqlType>,
    returns: KqlType,
    step: Step,
    signature: Signature,
}

impl Monotone {
    /// The call of a kernel that `Step::of` knows.
    pub fn call(name: &str, kernel: Kernel, args: Vec<Expr>, types: &[KqlType], returns: KqlType, step: Step) -> Expr {
        let signature = Signature::user_defined(Volatility::Immutable);
        let name = format!("kql_{name}");
        ScalarUDF::from(Monotone { name, kernel, types: types.to_vec(), returns, step, signature }).call(args)
    }

    fn run(&self, args: &[ColumnarValue], rows: usize) -> Result<ColumnarValue> {
        (self.kernel)(&Call { args, types: &self.types, returns: self.returns, rows })
    }

    /// Whether the function gives this value for itself.
    fn is_point(&self, value: i64, settings: &[Expr]) -> Result<bool> {
        let mut args = vec![ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))];
        for setting in settings {
            let Expr::Literal(setting, _) = setting else { return Ok(false) };
            args.push(ColumnarValue::Scalar(setting.clone()));
        }
        let found = match self.run(&args, 1)? {
            ColumnarValue::Scalar(found) => found,
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        };
        Ok(found == ScalarValue::Int64(Some(value)))
    }
}

impl PartialEq for Monotone {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.types, self.returns, self.step) == (&other.name, &other.types, other.returns, other.step)
    }
}

impl Eq for Monotone {}

impl Hash for Monotone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.types, self.returns, self.step).hash(state);
    }
}

impl ScalarUDFImpl for Monotone {
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
        Ok(Arc::new(self.returns.field(&self.name)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.run(&args.args, args.number_rows)
    }

    fn preimage(&self, args: &[Expr], value: &Expr, _context: &SimplifyContext) -> Result<PreimageResult> {
        let (Expr::Literal(ScalarValue::Int64(Some(point)), _), Some((operand, settings))) =
            (value, args.split_first())
        else {
            return Ok(PreimageResult::None);
        };
        // Between two of its values the function equals neither, and the engine's rule does not hold.
        let Some(next) = self.step.after(*point).filter(|_| self.is_point(*point, settings).unwrap_or(false)) else {
            return Ok(PreimageResult::None);
        };
        let interval = Interval::try_new(ScalarValue::Int64(Some(*point)), ScalarValue::Int64(Some(next)))?;
        Ok(PreimageResult::Range { expr: operand.clone(), interval: Box::new(interval) })
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(inputs.first().map_or(SortProperties::Unordered, |first| first.sort_properties))
    }
}
