//! `stdev`, `variance` and `covariance` in all their forms.
//!
//! Shape: Welford's running mean and squared distance, merged by Chan's formula. `variance` is
//! rounded to ten decimals and `stdev` is the square root of that rounded value, as the reference
//! engine answers; fewer values than needed give 0, except that `covariance` of nothing is null.
//! Infinity and NaN give NaN.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::AggregateUDF;

use crate::aggregate::frame::{Groups, KqlAggregate, Rows, argument};
use crate::aggregate::sums::reals;
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, Returns, Signature, required, sig};
use tidewater_kql::KqlType;

const ONE: Signature = sig(&[required("expr", Accepts::Number)], Returns::Type(KqlType::Real));
const ONE_IF: Signature =
    sig(&[required("expr", Accepts::Number), required("predicate", BOOL)], Returns::Type(KqlType::Real));
const TWO: Signature =
    sig(&[required("expr1", Accepts::Number), required("expr2", Accepts::Number)], Returns::Type(KqlType::Real));
const TWO_IF: Signature = sig(
    &[required("expr1", Accepts::Number), required("expr2", Accepts::Number), required("predicate", BOOL)],
    Returns::Type(KqlType::Real),
);

type Build = fn(&AggregateCall<'_>) -> Result<AggregateUDF>;

const fn row(
    name: &'static str,
    prefix: &'static str,
    signatures: &'static [Signature],
    build: Build,
    summary: &'static str,
    docs: &'static str,
) -> Aggregate {
    Aggregate {
        name,
        signatures,
        name_prefix: prefix,
        imp: AggregateImp::Function { build, finish: None },
        summary,
        docs,
        ..Aggregate::ROW
    }
}

const fn row_if(mut row: Aggregate, predicate: usize) -> Aggregate {
    row.predicate = Some(predicate);
    row
}

/// The rows.
pub const ROWS: &[Aggregate] = &[
    row(
        "stdev",
        "stdev_",
        &[ONE],
        |_| Ok(moment(Answer::Stdev, false)),
        "Standard deviation of `expr`, taking the rows for a sample.",
        "stdev-aggregation-function",
    ),
    row_if(
        row(
            "stdevif",
            "stdevif_",
            &[ONE_IF],
            |_| Ok(moment(Answer::Stdev, false)),
            "Standard deviation of `expr` in the rows where `predicate` is true, taken for a sample.",
            "stdevif-aggregation-function",
        ),
        1,
    ),
    row(
        "stdevp",
        "stdevp_",
        &[ONE],
        |_| Ok(moment(Answer::Stdev, true)),
        "Standard deviation of `expr`, taking the rows for the population.",
        "stdevp-aggregation-function",
    ),
    row(
        "variance",
        "variance_",
        &[ONE],
        |_| Ok(moment(Answer::Variance, false)),
        "Variance of `expr`, taking the rows for a sample.",
        "variance-aggregation-function",
    ),
    row_if(
        row(
            "varianceif",
            "varianceif_",
            &[ONE_IF],
            |_| Ok(moment(Answer::Variance, false)),
            "Variance of `expr` in the rows where `predicate` is true, taken for a sample.",
            "varianceif-aggregation-function",
        ),
        1,
    ),
    row(
        "variancep",
        "variancep_",
        &[ONE],
        |_| Ok(moment(Answer::Variance, true)),
        "Variance of `expr`, taking the rows for the population.",
        "variancep-aggregation-function",
    ),
    row_if(
        row(
            "variancepif",
            "variancepif_",
            &[ONE_IF],
            |_| Ok(moment(Answer::Variance, true)),
            "Variance of `expr` in the rows where `predicate` is true, taken for the population.",
            "variancepif-aggregation-function",
        ),
        1,
    ),
    row(
        "covariance",
        "covariance_",
        &[TWO],
        |_| Ok(moment(Answer::Covariance, false)),
        "Covariance of `expr1` and `expr2`, taking the rows for a sample.",
        "covariance-aggregation-function",
    ),
    row_if(
        row(
            "covarianceif",
            "covarianceif_",
            &[TWO_IF],
            |_| Ok(moment(Answer::Covariance, false)),
            "Covariance of `expr1` and `expr2` in the rows where `predicate` is true, taken for a sample.",
            "covarianceif-aggregation-function",
        ),
        2,
    ),
    row(
        "covariancep",
        "covariancep_",
        &[TWO],
        |_| Ok(moment(Answer::Covariance, true)),
        "Covariance of `expr1` and `expr2`, taking the rows for the population.",
        "covariancep-aggregation-function",
    ),
    row_if(
        row(
            "covariancepif",
            "covariancepif_",
            &[TWO_IF],
            |_| Ok(moment(Answer::Covariance, true)),
            "Covariance of `expr1` and `expr2` in the rows where `predicate` is true, taken for the population.",
            "covariancepif-aggregation-function",
        ),
        2,
    ),
];

/// What is made of the moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The square root of the rounded variance.
    Stdev,
    /// The variance, rounded.
    Variance,
    /// The covariance of two columns, not rounded.
    Covariance,
}

/// The aggregate over one column of numbers (two for `Covariance`) of any numeric type. For a
/// population the sum of squares is divided by the number of rows, for a sample by one less.
pub fn moment(answer: Answer, is_population: bool) -> AggregateUDF {
    let name = format!("kql_{answer:?}<{is_population}>").to_lowercase();
    let real = DataType::Float64;
    let state = vec![DataType::Int64, real.clone(), real.clone(), real.clone()];
    KqlAggregate::udf(name, real, state, move || Box::new(Moments { answer, is_population, cells: Vec::new() }))
}

/// Ten decimals, as `System.Math.Round` does it: large values have no decimals to lose.
pub(crate) fn round_variance(value: f64) -> f64 {
    if value.abs() < 1e16 { (value * 1e10).round_ties_even() / 1e10 } else { value }
}

/// Number of rows, means of both columns and the sum of the products of the distances from them.
/// One column alone is its own partner.
#[derive(Clone, Copy, Default)]
struct Cell {
    count: i64,
    mean_x: f64,
    mean_y: f64,
    products: f64,
}

impl Cell {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1;
        let dx = x - self.mean_x;
        self.mean_x += dx / self.count as f64;
        self.mean_y += (y - self.mean_y) / self.count as f64;
        self.products += dx * (y - self.mean_y);
    }

    fn merge(&mut self, other: Cell) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let both = mine + theirs;
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        self.products += other.products + dx * dy * mine * theirs / both;
        self.mean_x += dx * theirs / both;
        self.mean_y += dy * theirs / both;
        self.count += other.count;
    }

    fn spread(&self, is_population: bool) -> f64 {
        let divisor = if is_population { self.count } else { self.count - 1 };
        if divisor <= 0 { 0.0 } else { self.products / divisor as f64 }
    }
}

struct Moments {
    answer: Answer,
    is_population: bool,
    cells: Vec<Cell>,
}

impl Groups for Moments {
    fn len(&self) -> usize {
        self.cells.len()
    }

    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups.max(self.cells.len()), Cell::default());
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let (x, x_nulls) = reals(&args[0])?;
        if self.answer != Answer::Covariance || args.len() < 2 {
            rows.each_valid(x_nulls.as_ref(), |row, group| self.cells[group].add(x[row], x[row]));
            return Ok(());
        }
        let (y, y_nulls) = reals(&args[1])?;
        let nulls = NullBuffer::union(x_nulls.as_ref(), y_nulls.as_ref());
        rows.each_valid(nulls.as_ref(), |row, group| self.cells[group].add(x[row], y[row]));
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let count = argument::<Int64Array>(state, 0)?;
        let part = |position| argument::<Float64Array>(state, position);
        let (mean_x, mean_y, products) = (part(1)?, part(2)?, part(3)?);
        rows.each_valid(count.nulls(), |row, group| {
            self.cells[group].merge(Cell {
                count: count.value(row),
                mean_x: mean_x.value(row),
                mean_y: mean_y.value(row),
                products: products.value(row),
            });
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        let values = self.cells[..groups].iter().map(|cell| {
            let spread = cell.spread(self.is_population);
            match self.answer {
                Answer::Stdev => Some(round_variance(spread).sqrt()),
                Answer::Variance => Some(round_variance(spread)),
                // Not among the aggregates whose value without rows is 0. Source: summarize page.
                Answer::Covariance => (cell.count > 0).then_some(spread),
            }
        });
        Ok(Arc::new(Float64Array::from_iter(values)))
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        let cells = &self.cells[..groups];
        let part =
            |read: fn(&Cell) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(cells.iter().map(read))) };
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| cell.count))),
            part(|cell| cell.mean_x),
            part(|cell| cell.mean_y),
            part(|cell| cell.products),
        ])
    }

    fn remove(&mut self, groups: usize) {
        self.cells.drain(..groups);
    }

    fn size(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
    }
}
