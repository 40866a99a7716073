//! `skewness` and `kurtosis`, by the third and fourth central moments, as Spark reckons them.
//!
//! Nothing for no values; nothing where all values are the same. Source: Spark's function reference.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// The two functions.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    [false, true].into_iter().map(|is_kurtosis| Arc::new(AggregateUDF::from(Moment::new(is_kurtosis)))).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Moment {
    is_kurtosis: bool,
    signature: Signature,
}

impl Moment {
    fn new(is_kurtosis: bool) -> Self {
        let signature = Signature::coercible(
            vec![datafusion::logical_expr::Coercion::new_implicit(
                datafusion::logical_expr::TypeSignatureClass::Float,
                vec![datafusion::logical_expr::TypeSignatureClass::Numeric],
                datafusion::common::types::NativeType::Float64,
            )],
            Volatility::Immutable,
        );
        Self { is_kurtosis, signature }
    }
}

impl AggregateUDFImpl for Moment {
    fn name(&self) -> &str {
        if self.is_kurtosis { "kurtosis" } else { "skewness" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return datafusion::common::not_impl_err!("{} of DISTINCT values is not served yet", self.name());
        }
        Ok(Box::new(Moments { is_kurtosis: self.is_kurtosis, ..Moments::default() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let names = ["count", "mean", "second", "third", "fourth"];
        Ok(names.into_iter().map(|name| Arc::new(Field::new(name, DataType::Float64, false))).collect())
    }
}

/// The count, the mean, and the sums of the powers of the distances to it.
#[derive(Debug, Default)]
struct Moments {
    is_kurtosis: bool,
    count: f64,
    mean: f64,
    second: f64,
    third: f64,
    fourth: f64,
}

impl Moments {
    /// Adds a value. The order of the steps is Spark's, so that the digits are.
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        let delta_n = delta / self.count;
        self.mean += delta_n;
        self.second += delta * (delta - delta_n);
        let (delta2, delta_n2) = (delta * delta, delta_n * delta_n);
        self.third = self.third - 3.0 * delta_n * self.second + delta * (delta2 - delta_n2);
        self.fourth = self.fourth - 4.0 * delta_n * self.third - 6.0 * delta_n2 * self.second
            + delta * (delta * delta2 - delta_n * delta_n2);
    }

    /// Adds what was summed up elsewhere. Source: Pébay's formulas for the moments of two sets together.
    fn join(&mut self, count: f64, mean: f64, second: f64, third: f64, fourth: f64) {
        if count == 0.0 {
            return;
        }
        let (n1, n2) = (self.count, count);
        let n = n1 + n2;
        let delta = mean - self.mean;
        let delta_n = delta / n;
        self.fourth += fourth
            + delta * delta_n * delta_n * delta_n * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * second + n2 * n2 * self.second)
            + 4.0 * delta_n * (n1 * third - n2 * self.third);
        self.third +=
            third + delta * delta_n * delta_n * n1 * n2 * (n1 - n2) + 3.0 * delta_n * (n1 * second - n2 * self.second);
        self.second += second + delta * delta_n * n1 * n2;
        self.mean += delta_n * n2;
        self.count = n;
    }
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = cast(&values[0], &DataType::Float64)?;
        for value in values.as_primitive::<Float64Type>().iter().flatten() {
            self.add(value);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let found = match (self.count > 0.0, self.second == 0.0) {
            (true, false) if self.is_kurtosis => Some(self.count * self.fourth / (self.second * self.second) - 3.0),
            (true, false) => Some(self.count.sqrt() * self.third / (self.second * self.second * self.second).sqrt()),
            _ => None,
        };
        Ok(ScalarValue::Float64(found))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let all = [self.count, self.mean, self.second, self.third, self.fourth];
        Ok(all.into_iter().map(|value| ScalarValue::Float64(Some(value))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states: Vec<_> = states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        if let [count, mean, second, third, fourth] = states.as_slice() {
            for row in 0..count.len() {
                self.join(count.value(row), mean.value(row), second.value(row), third.value(row), fourth.value(row));
            }
        }
        Ok(())
    }
}
