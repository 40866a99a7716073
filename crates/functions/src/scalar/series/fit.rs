//! `series_fit_line`, `series_fit_2lines`, `series_fit_poly` and the dynamic forms.
//!
//! Shape: the abscissa of an element is its place counted from 1, so `interception` is the line's
//! value one step before the first element (the pages' samples have it so). Variances are those of
//! a sample, `rsquare` is 1 less the share of the variance that remains. Nulls: a series of fewer
//! than two elements, or with one that is no number, gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::{Value, optional_numbers, reals, write_bag, write_values};
use crate::call::Call;
use crate::registry::Scalar;
use crate::scalar::kernel::{Texts, each_dynamic};
use crate::scalar::rows::{TO_DYNAMIC, row};
use crate::signature::{DYNAMIC, LONG, Signature, optional, required, sig};

const ONE: &[Signature] = &[sig(&[required("series", DYNAMIC)], TO_DYNAMIC)];
const POLY: &[Signature] =
    &[sig(&[required("y_series", DYNAMIC), optional("x_series", DYNAMIC), optional("degree", LONG)], TO_DYNAMIC)];

/// Highest degree of a polynomial: beyond it the powers of any abscissa are noise.
const MOST_DEGREES: i64 = 64;

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!(
        "series_fit_line",
        ONE,
        |call| fit_line(call, false),
        "The line that fits a series best, in several columns.",
        "series-fit-line-function"
    ),
    row!(
        "series_fit_line_dynamic",
        ONE,
        |call| fit_line(call, true),
        "The line that fits a series best, as a bag.",
        "series-fit-line-dynamic-function"
    ),
    row!(
        "series_fit_2lines",
        ONE,
        |call| fit_2lines(call, false),
        "The two lines, one after the other, that fit a series best, in several columns.",
        "series-fit-2lines-function"
    ),
    row!(
        "series_fit_2lines_dynamic",
        ONE,
        |call| fit_2lines(call, true),
        "The two lines, one after the other, that fit a series best, as a bag.",
        "series-fit-2lines-dynamic-function"
    ),
    row!(
        "series_fit_poly",
        POLY,
        fit_poly,
        "The polynomial that fits a series best, in several columns.",
        "series-fit-poly-function"
    ),
];

/// A line and how well it fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) slope: f64,
    pub(super) interception: f64,
    variance: f64,
    rvariance: f64,
}

impl Line {
    /// The best line; there must be two values.
    pub(super) fn of(values: &[f64]) -> Line {
        let count = values.len() as f64;
        let (middle, mean) = ((count + 1.0) / 2.0, values.iter().sum::<f64>() / count);
        let mut products = 0.0;
        let mut squares = 0.0;
        for (place, value) in values.iter().enumerate() {
            let x = place as f64 + 1.0 - middle;
            products += x * (value - mean);
            squares += x * x;
        }
        let slope = products / squares;
        let line = Line { slope, interception: mean - slope * middle, variance: 0.0, rvariance: 0.0 };
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let rvariance = values.iter().enumerate().map(|(place, value)| (value - line.at(place)).powi(2)).sum::<f64>();
        Line { variance, rvariance: rvariance / (count - 1.0), ..line }
    }

    /// The line's value at a place counted from 0.
    pub(super) fn at(&self, place: usize) -> f64 {
        self.slope * (place as f64 + 1.0) + self.interception
    }

    fn rsquare(&self) -> f64 {
        rsquare(self.variance, self.rvariance)
    }
}

fn rsquare(variance: f64, rvariance: f64) -> f64 {
    if variance == 0.0 { 1.0 } else { 1.0 - rvariance / variance }
}

fn write(is_bag: bool, values: Vec<(&str, Value<'_>)>, out: &mut Vec<u8>) {
    if is_bag {
        write_bag(&values, out);
    } else {
        let values: Vec<Value<'_>> = values.into_iter().map(|(_, value)| value).collect();
        write_values(&values, out);
    }
}

fn fit_line(call: &Call<'_>, is_bag: bool) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let Some(values) = reals(series.get(row)).filter(|values| values.len() >= 2) else { return false };
        let line = Line::of(&values);
        let fit: Vec<f64> = (0..values.len()).map(|place| line.at(place)).collect();
        let values = vec![
            ("rsquare", Value::Real(line.rsquare())),
            ("slope", Value::Real(line.slope)),
            ("variance", Value::Real(line.variance)),
            ("rvariance", Value::Real(line.rvariance)),
            ("interception", Value::Real(line.interception)),
            ("line_fit", Value::Reals(&fit)),
        ];
        write(is_bag, values, out);
        true
    })
}

/// Sum of the squared distances from the best line of every beginning of the values, from sums that
/// grow with it.
fn prefix_errors(values: &[f64]) -> Vec<f64> {
    // Welford's updates of both means and of the three central products.
    let (mut mean_x, mut mean_y, mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut errors = Vec::with_capacity(values.len() + 1);
    errors.push(0.0);
    for (place, value) in values.iter().enumerate() {
        let (x, count) = (place as f64, place as f64 + 1.0);
        let (dx, dy) = (x - mean_x, value - mean_y);
        mean_x += dx / count;
        mean_y += dy / count;
        xx += dx * (x - mean_x);
        xy += dx * (value - mean_y);
        yy += dy * (value - mean_y);
        errors.push(if xx > 0.0 { (yy - xy * xy / xx).max(0.0) } else { 0.0 });
    }
    errors
}

fn fit_2lines(call: &Call<'_>, is_bag: bool) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let Some(values) = reals(series.get(row)).filter(|values| values.len() >= 4) else { return false };
        let left_errors = prefix_errors(&values);
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        let right_errors = prefix_errors(&reversed);
        let count = values.len();
        // Each side has two elements at least; the first of equally good splits is taken.
        let error = |split: usize| left_errors[split] + right_errors[count - split];
        let split = (2..=count - 2).fold(2, |best, split| if error(split) < error(best) { split } else { best });
        let (left, right) = (Line::of(&values[..split]), Line::of(&values[split..]));
        let fit: Vec<f64> =
            (0..split).map(|place| left.at(place)).chain((0..count - split).map(|place| right.at(place))).collect();
        let mean = values.iter().sum::<f64>() / count as f64;
        let spread = |distance: &dyn Fn(usize) -> f64| {
            (0..count).map(|place| distance(place).powi(2)).sum::<f64>() / (count - 1) as f64
        };
        let variance = spread(&|place| values[place] - mean);
        let rvariance = spread(&|place| values[place] - fit[place]);
        let values = vec![
            ("rsquare", Value::Real(rsquare(variance, rvariance))),
            ("split_idx", Value::Long(split as i64)),
            ("variance", Value::Real(variance)),
            ("rvariance", Value::Real(rvariance)),
            ("line_fit", Value::Reals(&fit)),
            ("right_rsquare", Value::Real(right.rsquare())),
            ("right_slope", Value::Real(right.slope)),
            ("right_interception", Value::Real(right.interception)),
            ("right_variance", Value::Real(right.variance)),
            ("right_rvariance", Value::Real(right.rvariance)),
            ("left_rsquare", Value::Real(left.rsquare())),
            ("left_slope", Value::Real(left.slope)),
            ("left_interception", Value::Real(left.interception)),
            ("left_variance", Value::Real(left.variance)),
            ("left_rvariance", Value::Real(left.rvariance)),
        ];
        write(is_bag, values, out);
        true
    })
}

/// Coefficients of the polynomial of this degree that fits best, the highest power first; `None`
/// when the points do not determine it. Householder's triangular form of the powers of x, scaled
/// into [-1, 1].
fn polynomial(x: &[f64], y: &[f64], degree: usize) -> Option<Vec<f64>> {
    let (rows, columns) = (x.len(), degree + 1);
    let scale = x.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
    if rows < columns || scale == 0.0 || !scale.is_finite() {
        return None;
    }
    let mut matrix: Vec<Vec<f64>> =
        (0..columns).map(|power| x.iter().map(|x| (x / scale).powi(power as i32)).collect()).collect();
    let mut right = y.to_vec();
    let mut diagonal = vec![0.0; columns];
    for column in 0..columns {
        let norm = matrix[column][column..].iter().map(|value| value * value).sum::<f64>().sqrt();
        if norm < 1e-13 {
            return None;
        }
        let sign = if matrix[column][column] < 0.0 { -norm } else { norm };
        diagonal[column] = -sign;
        let mut reflector = matrix[column][column..].to_vec();
        reflector[0] += sign;
        let size: f64 = reflector.iter().map(|value| value * value).sum();
        let reflect = |target: &mut [f64]| {
            let shared: f64 = reflector.iter().zip(&*target).map(|(a, b)| a * b).sum();
            reflector.iter().zip(target).for_each(|(a, b)| *b -= 2.0 * a * shared / size);
        };
        matrix[column + 1..].iter_mut().for_each(|later| reflect(&mut later[column..]));
        reflect(&mut right[column..]);
    }
    let mut coefficients = vec![0.0; columns];
    for place in (0..columns).rev() {
        let known: f64 = (place + 1..columns).map(|later| matrix[later][place] * coefficients[later]).sum();
        coefficients[place] = (right[place] - known) / diagonal[place];
    }
    for (power, coefficient) in coefficients.iter_mut().enumerate() {
        *coefficient /= scale.powi(power as i32);
    }
    coefficients.reverse();
    Some(coefficients)
}

fn fit_poly(call: &Call<'_>) -> Result<ColumnarValue> {
    let y_series = Texts::of(call, 0)?;
    let x_series = if call.args.len() > 1 { Some(Texts::of(call, 1)?) } else { None };
    let degrees = optional_numbers(call, 2)?;
    each_dynamic(call, |row, out| {
        let Some(y) = reals(y_series.get(row)).filter(|values| values.len() >= 2) else { return false };
        let x = match &x_series {
            None => (1..=y.len()).map(|place| place as f64).collect(),
            Some(x_series) => match reals(x_series.get(row)) {
                Some(x) if x.len() == y.len() => x,
                _ => return false,
            },
        };
        let degree = degrees.as_ref().and_then(|degrees| degrees.long(row)).unwrap_or(1);
        if !(1..=MOST_DEGREES).contains(&degree) {
            return false;
        }
        let Some(coefficients) = polynomial(&x, &y, degree as usize) else { return false };
        let fit: Vec<f64> = x.iter().map(|x| coefficients.iter().fold(0.0, |sum, c| sum * x + c)).collect();
        let count = y.len() as f64;
        let mean = y.iter().sum::<f64>() / count;
        let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let rvariance = y.iter().zip(&fit).map(|(y, fit)| (y - fit).powi(2)).sum::<f64>() / (count - 1.0);
        let values = [
            Value::Real(rsquare(variance, rvariance)),
            Value::Reals(&coefficients),
            Value::Real(variance),
            Value::Real(rvariance),
            Value::Reals(&fit),
        ];
        write_values(&values, out);
        true
    })
}
