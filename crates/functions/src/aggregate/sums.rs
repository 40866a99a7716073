//! `sum` and `avg`.
//!
//! Shape: long arithmetic wraps, also inside `avg`, which divides the wrapped sum. Nulls are left
//! out; no value at all gives 0 for `sum` and NaN for `avg` (null for the types without NaN).

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float64Array, Int32Array,
    Int64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::AggregateUDF;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use crate::aggregate::frame::{Groups, KqlAggregate, Rows, argument};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, Returns, Signature, required, sig};

const SUMMABLE: Accepts =
    Accepts::OneOf(&[KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal, KqlType::TimeSpan]);
const AVERAGED: Accepts = Accepts::OneOf(&[
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::TimeSpan,
    KqlType::DateTime,
]);

fn sum_type(types: &[KqlType]) -> Result<KqlType, String> {
    Ok(match types.first() {
        Some(KqlType::Int) | None => KqlType::Long,
        Some(ty) => *ty,
    })
}

fn avg_type(types: &[KqlType]) -> Result<KqlType, String> {
    Ok(match types.first() {
        Some(KqlType::Int | KqlType::Long) | None => KqlType::Real,
        Some(ty) => *ty,
    })
}

const SUM: Signature = sig(&[required("expr", SUMMABLE)], Returns::By(sum_type));
const SUMIF: Signature = sig(&[required("expr", SUMMABLE), required("predicate", BOOL)], Returns::By(sum_type));
const AVG: Signature = sig(&[required("expr", AVERAGED)], Returns::By(avg_type));
const AVGIF: Signature = sig(&[required("expr", AVERAGED), required("predicate", BOOL)], Returns::By(avg_type));

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "sum",
        signatures: &[SUM],
        name_prefix: "sum_",
        imp: AggregateImp::Function { build: build_sum, finish: None },
        summary: "Sum of the values of `expr`; whole numbers wrap around.",
        docs: "sum-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "sumif",
        signatures: &[SUMIF],
        name_prefix: "sumif_",
        imp: AggregateImp::Function { build: build_sum, finish: None },
        predicate: Some(1),
        summary: "Sum of the values of `expr` in the rows where `predicate` is true.",
        docs: "sumif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "avg",
        signatures: &[AVG],
        name_prefix: "avg_",
        imp: AggregateImp::Function { build: build_avg, finish: None },
        summary: "Mean of the values of `expr`.",
        docs: "avg-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "avgif",
        signatures: &[AVGIF],
        name_prefix: "avgif_",
        imp: AggregateImp::Function { build: build_avg, finish: None },
        predicate: Some(1),
        summary: "Mean of the values of `expr` in the rows where `predicate` is true.",
        docs: "avgif-aggregation-function",
        ..Aggregate::ROW
    },
];

fn build_sum(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(sum(call.types[0]))
}

fn build_avg(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(avg(call.types[0]))
}

/// `sum` over a column of type `ty`: int, long, timespan (wrapping), real or decimal. The value has
/// the type that `sum_type` names: long for int, else the column's own.
pub fn sum(ty: KqlType) -> AggregateUDF {
    let name = format!("kql_sum<{ty}>");
    match ty {
        KqlType::Real => KqlAggregate::udf(name, DataType::Float64, vec![DataType::Float64], || {
            Box::new(Sum::<f64> { sums: Vec::new() })
        }),
        KqlType::Decimal => {
            let ty = KqlType::Decimal.arrow();
            KqlAggregate::udf(name, ty.clone(), vec![ty], || Box::new(Sum::<Exact> { sums: Vec::new() }))
        }
        _ => KqlAggregate::udf(name, DataType::Int64, vec![DataType::Int64], || {
            Box::new(Sum::<i64> { sums: Vec::new() })
        }),
    }
}

/// `avg` over a column of type `ty`; the value has the type that `avg_type` names.
pub fn avg(ty: KqlType) -> AggregateUDF {
    let name = format!("kql_avg<{ty}>");
    let long = DataType::Int64;
    match ty {
        KqlType::Real => KqlAggregate::udf(name, DataType::Float64, vec![DataType::Float64, long], Avg::<f64>::boxed),
        KqlType::Decimal => {
            let ty = KqlType::Decimal.arrow();
            KqlAggregate::udf(name, ty.clone(), vec![ty, long], Avg::<Exact>::boxed)
        }
        KqlType::TimeSpan | KqlType::DateTime => {
            KqlAggregate::udf(name, long.clone(), vec![DataType::Decimal128(38, 0), long], Avg::<i128>::boxed)
        }
        _ => KqlAggregate::udf(name, DataType::Float64, vec![long.clone(), long], Avg::<i64>::boxed),
    }
}

/// A decimal sum; `None` once it left the range of decimals.
pub(crate) type Exact = Option<Decimal>;

/// What is summed.
trait Total: Copy + Send + Sync + 'static {
    /// The sum of no rows.
    fn zero() -> Self;
    /// Adds the valid rows of `array` to the sums.
    fn add_rows(sums: &mut [Self], counts: Option<&mut [i64]>, array: &ArrayRef, rows: Rows<'_>) -> Result<()>;
    /// Adds states to the sums.
    fn add_states(sums: &mut [Self], array: &[ArrayRef], rows: Rows<'_>) -> Result<()>;
    /// The sums as a state.
    fn states(sums: &[Self]) -> Result<ArrayRef>;
    /// The means.
    fn means(sums: &[Self], counts: &[i64]) -> Result<ArrayRef>;
}

/// Counts a row when there is something to count for.
fn count(counts: &mut Option<&mut [i64]>, group: usize) {
    if let Some(counts) = counts {
        counts[group] += 1;
    }
}

impl Total for i64 {
    fn zero() -> i64 {
        0
    }

    fn add_rows(sums: &mut [i64], mut counts: Option<&mut [i64]>, array: &ArrayRef, rows: Rows<'_>) -> Result<()> {
        if let Some(array) = array.as_any().downcast_ref::<Int32Array>() {
            let values = array.values();
            rows.each_valid(array.nulls(), |row, group| {
                sums[group] = sums[group].wrapping_add(i64::from(values[row]));
                count(&mut counts, group);
            });
            return Ok(());
        }
        let array = argument::<Int64Array>(std::slice::from_ref(array), 0)?;
        if rows.is_single() {
            sums[0] = sums[0].wrapping_add(arrow::compute::sum(array).unwrap_or(0));
            if let Some(counts) = counts {
                counts[0] += (array.len() - array.null_count()) as i64;
            }
            return Ok(());
        }
        let values = array.values();
        rows.each_valid(array.nulls(), |row, group| {
            sums[group] = sums[group].wrapping_add(values[row]);
            count(&mut counts, group);
        });
        Ok(())
    }

    fn add_states(sums: &mut [i64], state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        i64::add_rows(sums, None, &state[0], rows)
    }

    fn states(sums: &[i64]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(sums.to_vec())))
    }

    fn means(sums: &[i64], counts: &[i64]) -> Result<ArrayRef> {
        let means = sums.iter().zip(counts).map(|(sum, count)| *sum as f64 / *count as f64);
        Ok(Arc::new(Float64Array::from_iter_values(means)))
    }
}

impl Total for f64 {
    fn zero() -> f64 {
        0.0
    }

    fn add_rows(sums: &mut [f64], mut counts: Option<&mut [i64]>, array: &ArrayRef, rows: Rows<'_>) -> Result<()> {
        let array = argument::<Float64Array>(std::slice::from_ref(array), 0)?;
        let values = array.values();
        rows.each_valid(array.nulls(), |row, group| {
            sums[group] += values[row];
            count(&mut counts, group);
        });
        Ok(())
    }

    fn add_states(sums: &mut [f64], state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        f64::add_rows(sums, None, &state[0], rows)
    }

    fn states(sums: &[f64]) -> Result<ArrayRef> {
        Ok(Arc::new(Float64Array::from(sums.to_vec())))
    }

    fn means(sums: &[f64], counts: &[i64]) -> Result<ArrayRef> {
        let means = sums.iter().zip(counts).map(|(sum, count)| sum / *count as f64);
        Ok(Arc::new(Float64Array::from_iter_values(means)))
    }
}

// Ticks of datetimes overflow 64 bits after fifteen rows, so these sums have 128.
impl Total for i128 {
    fn zero() -> i128 {
        0
    }

    fn add_rows(sums: &mut [i128], mut counts: Option<&mut [i64]>, array: &ArrayRef, rows: Rows<'_>) -> Result<()> {
        let array = argument::<Int64Array>(std::slice::from_ref(array), 0)?;
        let values = array.values();
        rows.each_valid(array.nulls(), |row, group| {
            sums[group] += i128::from(values[row]);
            count(&mut counts, group);
        });
        Ok(())
    }

    fn add_states(sums: &mut [i128], state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let array = argument::<Decimal128Array>(state, 0)?;
        rows.each_valid(array.nulls(), |row, group| sums[group] += array.value(row));
        Ok(())
    }

    fn states(sums: &[i128]) -> Result<ArrayRef> {
        Ok(Arc::new(Decimal128Array::from(sums.to_vec()).with_precision_and_scale(38, 0)?))
    }

    fn means(sums: &[i128], counts: &[i64]) -> Result<ArrayRef> {
        // A mean lies between the values, so it fits into 64 bits.
        let means =
            sums.iter().zip(counts).map(|(sum, count)| sum.checked_div(i128::from(*count)).map(|mean| mean as i64));
        Ok(Arc::new(Int64Array::from_iter(means)))
    }
}

impl Total for Exact {
    fn zero() -> Exact {
        Some(Decimal::from_i64(0))
    }

    fn add_rows(sums: &mut [Exact], mut counts: Option<&mut [i64]>, array: &ArrayRef, rows: Rows<'_>) -> Result<()> {
        let array = argument::<FixedSizeBinaryArray>(std::slice::from_ref(array), 0)?;
        rows.each_valid(array.nulls(), |row, group| {
            if let Some(sum) = sums[group] {
                sums[group] = decimal_at(array, row).and_then(|value| sum.add(value));
            }
            count(&mut counts, group);
        });
        Ok(())
    }

    // A null state is a sum that left the range, not one of no rows.
    fn add_states(sums: &mut [Exact], state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let array = argument::<FixedSizeBinaryArray>(state, 0)?;
        rows.each(|row, group| {
            sums[group] = sums[group].and_then(|sum| decimal_at(array, row).and_then(|value| sum.add(value)));
        });
        Ok(())
    }

    fn states(sums: &[Exact]) -> Result<ArrayRef> {
        decimal_array(sums.iter().copied())
    }

    fn means(sums: &[Exact], counts: &[i64]) -> Result<ArrayRef> {
        decimal_array(sums.iter().zip(counts).map(|(sum, count)| match count {
            0 => None,
            count => sum.and_then(|sum| sum.div(Decimal::from_i64(*count))),
        }))
    }
}

/// The decimal in a row; `None` for null.
pub(crate) fn decimal_at(array: &FixedSizeBinaryArray, row: usize) -> Option<Decimal> {
    let bytes: [u8; 16] = array.is_valid(row).then(|| array.value(row).try_into().ok()).flatten()?;
    Some(Decimal::from_bytes(bytes))
}

/// A column of decimals.
pub(crate) fn decimal_array(values: impl Iterator<Item = Option<Decimal>>) -> Result<ArrayRef> {
    let mut array = FixedSizeBinaryBuilder::with_capacity(values.size_hint().0, 16);
    for value in values {
        match value {
            Some(value) => array.append_value(value.bytes())?,
            None => array.append_null(),
        }
    }
    Ok(Arc::new(array.finish()))
}

struct Sum<T> {
    sums: Vec<T>,
}

impl<T: Total> Groups for Sum<T> {
    fn len(&self) -> usize {
        self.sums.len()
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups.max(self.sums.len()), T::zero());
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        T::add_rows(&mut self.sums, None, &args[0], rows)
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        T::add_states(&mut self.sums, state, rows)
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        T::states(&self.sums[..groups])
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![T::states(&self.sums[..groups])?])
    }

    fn remove(&mut self, groups: usize) {
        self.sums.drain(..groups);
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T>()
    }
}

struct Avg<T> {
    sums: Vec<T>,
    counts: Vec<i64>,
}

impl<T: Total> Avg<T> {
    fn boxed() -> Box<dyn Groups> {
        Box::new(Avg::<T> { sums: Vec::new(), counts: Vec::new() })
    }
}

impl<T: Total> Groups for Avg<T> {
    fn len(&self) -> usize {
        self.sums.len()
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups.max(self.sums.len()), T::zero());
        self.counts.resize(groups.max(self.counts.len()), 0);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        T::add_rows(&mut self.sums, Some(&mut self.counts), &args[0], rows)
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        T::add_states(&mut self.sums, state, rows)?;
        let counts = argument::<Int64Array>(state, 1)?;
        rows.each_valid(counts.nulls(), |row, group| self.counts[group] += counts.value(row));
        Ok(())
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        T::means(&self.sums[..groups], &self.counts[..groups])
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        let counts = Int64Array::from(self.counts[..groups].to_vec());
        Ok(vec![T::states(&self.sums[..groups])?, Arc::new(counts)])
    }

    fn remove(&mut self, groups: usize) {
        self.sums.drain(..groups);
        self.counts.drain(..groups);
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// The numbers of a column as reals; decimals as the nearest. Nulls are those of the column.
pub(crate) fn reals(array: &ArrayRef) -> Result<(Vec<f64>, Option<NullBuffer>)> {
    let values = match array.data_type() {
        DataType::Int32 => {
            array.as_primitive::<arrow::datatypes::Int32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        DataType::Int64 => {
            array.as_primitive::<arrow::datatypes::Int64Type>().values().iter().map(|v| *v as f64).collect()
        }
        DataType::FixedSizeBinary(16) => {
            let array = argument::<FixedSizeBinaryArray>(std::slice::from_ref(array), 0)?;
            (0..array.len()).map(|row| decimal_at(array, row).map_or(0.0, |value| value.to_f64())).collect()
        }
        _ => argument::<Float64Array>(std::slice::from_ref(array), 0)?.values().to_vec(),
    };
    Ok((values, array.nulls().cloned()))
}
