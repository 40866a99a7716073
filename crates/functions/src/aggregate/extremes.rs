//! `min`, `max` and the bit-wise aggregates.
//!
//! Whole numbers, datetimes and timespans use the engine's own `min` and `max`, which it
//! can answer from statistics. NaN wins in both, a null string is the empty string, decimals
//! are opaque bytes to the engine, which is also slow on bools: these are ours.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array,
    StringViewArray, StringViewBuilder,
};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::min_max::{max_udaf, min_udaf};
use tidewater_kql::KqlType;

use crate::aggregate::frame::{Groups, KqlAggregate, Rows, argument};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, Returns, Signature, required, sig};

/// What has an order. Source: the reference parser's KS206, "a number, timespan, datetime, string or boolean".
pub(crate) const ORDERABLE: Accepts = Accepts::OneOf(&[
    KqlType::Bool,
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::String,
    KqlType::DateTime,
    KqlType::TimeSpan,
]);
const WHOLE: Accepts = Accepts::OneOf(&[KqlType::Int, KqlType::Long]);

const EXTREME: Signature = sig(&[required("expr", ORDERABLE)], Returns::Argument(0));
const EXTREME_IF: Signature = sig(&[required("expr", ORDERABLE), required("predicate", BOOL)], Returns::Argument(0));
const BITS: Signature = sig(&[required("expr", WHOLE)], Returns::Argument(0));

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "min",
        signatures: &[EXTREME],
        name_prefix: "min_",
        imp: AggregateImp::Function { build: build_min, finish: None },
        summary: "Smallest value of `expr`.",
        docs: "min-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "minif",
        signatures: &[EXTREME_IF],
        name_prefix: "minif_",
        imp: AggregateImp::Function { build: build_min, finish: None },
        predicate: Some(1),
        summary: "Smallest value of `expr` in the rows where `predicate` is true.",
        docs: "minif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "max",
        signatures: &[EXTREME],
        name_prefix: "max_",
        imp: AggregateImp::Function { build: build_max, finish: None },
        summary: "Largest value of `expr`.",
        docs: "max-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "maxif",
        signatures: &[EXTREME_IF],
        name_prefix: "maxif_",
        imp: AggregateImp::Function { build: build_max, finish: None },
        predicate: Some(1),
        summary: "Largest value of `expr` in the rows where `predicate` is true.",
        docs: "maxif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "binary_all_and",
        signatures: &[BITS],
        name_prefix: "",
        imp: AggregateImp::Function { build: build_and, finish: None },
        summary: "Bit-wise and of the values of `expr`.",
        docs: "binary-all-and-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "binary_all_or",
        signatures: &[BITS],
        name_prefix: "",
        imp: AggregateImp::Function { build: build_or, finish: None },
        summary: "Bit-wise or of the values of `expr`.",
        docs: "binary-all-or-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "binary_all_xor",
        signatures: &[BITS],
        name_prefix: "",
        imp: AggregateImp::Function { build: build_xor, finish: None },
        summary: "Bit-wise exclusive or of the values of `expr`.",
        docs: "binary-all-xor-aggregation-function",
        ..Aggregate::ROW
    },
];

fn build_min(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(extreme(false, call.types[0]))
}

fn build_max(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(extreme(true, call.types[0]))
}

fn build_and(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(bits(call.types[0], "and", |a, b| a & b))
}

fn build_or(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(bits(call.types[0], "or", |a, b| a | b))
}

fn build_xor(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(bits(call.types[0], "xor", |a, b| a ^ b))
}

/// `max` (or `min`) over a column of type `ty`. No value gives null, `""` for strings.
pub fn extreme(is_max: bool, ty: KqlType) -> AggregateUDF {
    let name = format!("kql_{}<{ty}>", if is_max { "max" } else { "min" });
    let arrow = ty.arrow();
    match ty {
        KqlType::Real => KqlAggregate::udf(name, arrow.clone(), vec![arrow], move || {
            Box::new(Extreme::<f64> { is_max, best: Vec::new(), heap: 0 })
        }),
        KqlType::Bool => KqlAggregate::udf(name, arrow.clone(), vec![arrow], move || {
            Box::new(Extreme::<bool> { is_max, best: Vec::new(), heap: 0 })
        }),
        KqlType::String => KqlAggregate::udf(name, arrow.clone(), vec![arrow], move || {
            Box::new(Extreme::<Box<str>> { is_max, best: Vec::new(), heap: 0 })
        }),
        KqlType::Decimal => KqlAggregate::udf(name, arrow.clone(), vec![arrow], move || {
            Box::new(Extreme::<[u8; 16]> { is_max, best: Vec::new(), heap: 0 })
        }),
        _ if is_max => max_udaf().as_ref().clone(),
        _ => min_udaf().as_ref().clone(),
    }
}

/// A value that `Extreme` can keep.
trait Best: Sized + Clone + Send + Sync + 'static {
    type Column: Array + 'static;
    /// The borrowed form of a value.
    type Value<'a>;
    /// The value in a row; `None` where the row has none.
    fn at(column: &Self::Column, row: usize) -> Option<Self::Value<'_>>;
    /// Whether `value` takes the place of `best`.
    fn wins(is_max: bool, value: &Self::Value<'_>, best: &Self) -> bool;
    fn keep(value: Self::Value<'_>) -> Self;
    fn heap(&self) -> usize;
    /// The values as a column; `is_state` where states are written, not answers.
    fn column(values: &[Option<Self>], is_state: bool) -> Result<ArrayRef>;
}

impl Best for f64 {
    type Column = Float64Array;
    type Value<'a> = f64;

    fn at(column: &Float64Array, row: usize) -> Option<f64> {
        column.is_valid(row).then(|| column.value(row))
    }

    fn wins(is_max: bool, value: &f64, best: &f64) -> bool {
        let is_better = if is_max { value > best } else { value < best };
        is_better || (value.is_nan() && !best.is_nan())
    }

    fn keep(value: f64) -> f64 {
        value
    }

    fn heap(&self) -> usize {
        0
    }

    fn column(values: &[Option<f64>], _: bool) -> Result<ArrayRef> {
        Ok(Arc::new(Float64Array::from_iter(values.iter().copied())))
    }
}

impl Best for bool {
    type Column = BooleanArray;
    type Value<'a> = bool;

    fn at(column: &BooleanArray, row: usize) -> Option<bool> {
        column.is_valid(row).then(|| column.value(row))
    }

    fn wins(is_max: bool, value: &bool, best: &bool) -> bool {
        *value == is_max && *best != is_max
    }

    fn keep(value: bool) -> bool {
        value
    }

    fn heap(&self) -> usize {
        0
    }

    fn column(values: &[Option<bool>], _: bool) -> Result<ArrayRef> {
        Ok(Arc::new(BooleanArray::from_iter(values.iter().copied())))
    }
}

impl Best for Box<str> {
    type Column = StringViewArray;
    type Value<'a> = &'a str;

    fn at(column: &StringViewArray, row: usize) -> Option<&str> {
        Some(if column.is_valid(row) { column.value(row) } else { "" })
    }

    fn wins(is_max: bool, value: &&str, best: &Box<str>) -> bool {
        if is_max { *value > &**best } else { *value < &**best }
    }

    fn keep(value: &str) -> Box<str> {
        value.into()
    }

    fn heap(&self) -> usize {
        self.len()
    }

    // A group without rows is null in a state, so that it does not win as "" when states merge.
    fn column(values: &[Option<Box<str>>], is_state: bool) -> Result<ArrayRef> {
        let mut column = StringViewBuilder::with_capacity(values.len());
        for value in values {
            match value {
                Some(value) => column.append_value(value),
                None if is_state => column.append_null(),
                None => column.append_value(""),
            }
        }
        Ok(Arc::new(column.finish()))
    }
}

impl Best for [u8; 16] {
    type Column = FixedSizeBinaryArray;
    type Value<'a> = &'a [u8];

    fn at(column: &FixedSizeBinaryArray, row: usize) -> Option<&[u8]> {
        column.is_valid(row).then(|| column.value(row))
    }

    fn wins(is_max: bool, value: &&[u8], best: &[u8; 16]) -> bool {
        if is_max { *value > best.as_slice() } else { *value < best.as_slice() }
    }

    fn keep(value: &[u8]) -> [u8; 16] {
        value.try_into().unwrap_or([0; 16])
    }

    fn heap(&self) -> usize {
        0
    }

    fn column(values: &[Option<[u8; 16]>], _: bool) -> Result<ArrayRef> {
        let mut column = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
        for value in values {
            match value {
                Some(value) => column.append_value(value)?,
                None => column.append_null(),
            }
        }
        Ok(Arc::new(column.finish()))
    }
}

struct Extreme<B> {
    is_max: bool,
    best: Vec<Option<B>>,
    heap: usize,
}

impl<B: Best> Extreme<B> {
    fn offer(&mut self, group: usize, value: B::Value<'_>) {
        let best = &mut self.best[group];
        if best.as_ref().is_none_or(|best| B::wins(self.is_max, &value, best)) {
            self.heap -= best.as_ref().map_or(0, Best::heap);
            let value = B::keep(value);
            self.heap += value.heap();
            *best = Some(value);
        }
    }
}

impl<B: Best> Groups for Extreme<B> {
    fn len(&self) -> usize {
        self.best.len()
    }

    fn resize(&mut self, groups: usize) {
        self.best.resize(groups.max(self.best.len()), None);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let column = argument::<B::Column>(args, 0)?;
        rows.each(|row, group| {
            if let Some(value) = B::at(column, row) {
                self.offer(group, value);
            }
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let column = argument::<B::Column>(state, 0)?;
        rows.each_valid(column.nulls(), |row, group| {
            if let Some(value) = B::at(column, row) {
                self.offer(group, value);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        B::column(&self.best[..groups], false)
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![B::column(&self.best[..groups], true)?])
    }

    fn remove(&mut self, groups: usize) {
        for best in self.best.drain(..groups) {
            self.heap -= best.as_ref().map_or(0, Best::heap);
        }
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<B>>() + self.heap
    }
}

fn bits(ty: KqlType, verb: &str, join: fn(i64, i64) -> i64) -> AggregateUDF {
    let is_int = ty == KqlType::Int;
    KqlAggregate::udf(format!("kql_binary_all_{verb}<{ty}>"), ty.arrow(), vec![DataType::Int64], move || {
        Box::new(Bits { is_int, join, best: Vec::new() })
    })
}

/// Null until the first value.
struct Bits {
    is_int: bool,
    join: fn(i64, i64) -> i64,
    best: Vec<Option<i64>>,
}

impl Bits {
    fn offer(&mut self, group: usize, value: i64) {
        let best = &mut self.best[group];
        *best = Some(best.map_or(value, |best| (self.join)(best, value)));
    }
}

impl Groups for Bits {
    fn len(&self) -> usize {
        self.best.len()
    }

    fn resize(&mut self, groups: usize) {
        self.best.resize(groups.max(self.best.len()), None);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        if self.is_int {
            let column = argument::<Int32Array>(args, 0)?;
            rows.each_valid(column.nulls(), |row, group| self.offer(group, i64::from(column.value(row))));
            return Ok(());
        }
        self.merge(args, rows)
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let column = argument::<Int64Array>(state, 0)?;
        rows.each_valid(column.nulls(), |row, group| self.offer(group, column.value(row)));
        Ok(())
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        let best = self.best[..groups].iter().copied();
        Ok(match self.is_int {
            // Joining sign-extended ints gives a sign-extended int.
            true => Arc::new(Int32Array::from_iter(best.map(|value| value.map(|value| value as i32)))),
            false => Arc::new(Int64Array::from_iter(best)),
        })
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Int64Array::from_iter(self.best[..groups].iter().copied()))])
    }

    fn remove(&mut self, groups: usize) {
        self.best.drain(..groups);
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<i64>>()
    }
}
