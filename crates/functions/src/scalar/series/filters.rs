//! `series_fir`, `series_iir`, `series_fft` and `series_ifft`.
//!
//! Nulls: a series with an element that is no number gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::fourier::{Complex, transform};
use super::{Item, Value, items, reals, write_reals, write_values};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::registry::{NameRule, Scalar};
use crate::scalar::kernel::{Bools, Texts, each_dynamic};
use crate::scalar::rows::{TO_DYNAMIC, row};
use crate::signature::{BOOL, DYNAMIC, Signature, optional, required, sig};

const FIR: &[Signature] = &[sig(
    &[required("series", DYNAMIC), required("filter", DYNAMIC), optional("normalize", BOOL), optional("center", BOOL)],
    TO_DYNAMIC,
)];
const IIR: &[Signature] = &[sig(
    &[required("series", DYNAMIC), required("numerators", DYNAMIC), required("denominators", DYNAMIC)],
    TO_DYNAMIC,
)];
const FFT: &[Signature] = &[sig(&[required("series", DYNAMIC), optional("series_imaginary", DYNAMIC)], TO_DYNAMIC)];

/// Elements times coefficients that one row of `series_fir` or `series_iir` may take.
const MOST_STEPS: usize = 1 << 32;

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!("series_fir", FIR, fir,
        "Finite impulse response filter: each element is a weighted sum of those before it.", "series-fir-function",
        aliases: &["fir"], name_rule: NameRule::PassThrough),
    row!("series_iir", IIR, iir,
        "Infinite impulse response filter: each element also depends on the results before it.",
        "series-iir-function", aliases: &["iir"], name_rule: NameRule::PassThrough),
    row!("series_fft", FFT, |call| fft(call, false), "Fourier transform of a series.", "series-fft-function"),
    row!("series_ifft", FFT, |call| fft(call, true), "Inverse Fourier transform of a series.", "series-ifft-function"),
];

fn optional_bool(call: &Call<'_>, position: usize) -> Result<Option<Bools>> {
    if position < call.args.len() { Ok(Some(Bools::of(call, position)?)) } else { Ok(None) }
}

/// Whole numbers of an array that has no others.
fn longs(items: &[Item]) -> Option<Vec<i64>> {
    items.iter().map(|item| if let Item::Long(value) = item { Some(*value) } else { None }).collect()
}

/// Sums of the last elements times the coefficients, what lies outside counting as 0. `ahead` is how
/// many elements after its own an element sees.
fn convolve<T: Copy>(series: &[T], filter: &[T], ahead: usize, zero: T, step: impl Fn(T, T, T) -> T) -> Vec<T> {
    let at = |place: usize| {
        let mut sum = zero;
        for (back, weight) in filter.iter().enumerate() {
            if let Some(value) = (place + ahead).checked_sub(back).and_then(|from| series.get(from)) {
                sum = step(sum, *weight, *value);
            }
        }
        sum
    };
    (0..series.len()).map(at).collect()
}

fn fir(call: &Call<'_>) -> Result<ColumnarValue> {
    let (series, filter) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let (normalize, center) = (optional_bool(call, 2)?, optional_bool(call, 3)?);
    each_dynamic(call, |row, out| {
        let (Some(series), Some(filter)) = (items(series.get(row)), items(filter.get(row))) else { return false };
        let numbers = |items: &[Item]| items.iter().map(|item| item.real()).collect::<Option<Vec<f64>>>();
        let (Some(values), Some(mut weights)) = (numbers(&series), numbers(&filter)) else { return false };
        if values.len().saturating_mul(weights.len()) > MOST_STEPS {
            return false;
        }
        let has_negative = weights.iter().any(|weight| *weight < 0.0);
        let normalizes = normalize.as_ref().and_then(|normalize| normalize.get(row)).unwrap_or(!has_negative);
        let centers = center.as_ref().and_then(|center| center.get(row)).unwrap_or(false);
        if normalizes && has_negative {
            return false;
        }
        let ahead = if centers { weights.len().saturating_sub(1) / 2 } else { 0 };
        // Whole numbers stay whole as long as nothing divides them.
        if !normalizes && let (Some(series), Some(filter)) = (longs(&series), longs(&filter)) {
            let sums = convolve(&series, &filter, ahead, 0i64, |sum, weight, value| {
                sum.wrapping_add(weight.wrapping_mul(value))
            });
            let mut array = ArrayWriter::new(out);
            sums.iter().for_each(|sum| array.long(*sum));
            array.close();
            return true;
        }
        if normalizes {
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= total);
        }
        write_reals(&convolve(&values, &weights, ahead, 0.0, |sum, weight, value| sum + weight * value), out);
        true
    })
}

fn iir(call: &Call<'_>) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let (numerators, denominators) = (Texts::of(call, 1)?, Texts::of(call, 2)?);
    each_dynamic(call, |row, out| {
        let (Some(x), Some(b), Some(a)) =
            (reals(series.get(row)), reals(numerators.get(row)), reals(denominators.get(row)))
        else {
            return false;
        };
        if a.first().is_none_or(|first| *first == 0.0) || x.len().saturating_mul(a.len() + b.len()) > MOST_STEPS {
            return false;
        }
        let mut y: Vec<f64> = Vec::with_capacity(x.len());
        for place in 0..x.len() {
            let forward: f64 = b.iter().take(place + 1).enumerate().map(|(back, b)| b * x[place - back]).sum();
            let feedback: f64 = a.iter().enumerate().skip(1).take(place).map(|(back, a)| a * y[place - back]).sum();
            y.push((forward - feedback) / a[0]);
        }
        write_reals(&y, out);
        true
    })
}

fn fft(call: &Call<'_>, is_inverse: bool) -> Result<ColumnarValue> {
    let real = Texts::of(call, 0)?;
    let imaginary = if call.args.len() > 1 { Some(Texts::of(call, 1)?) } else { None };
    each_dynamic(call, |row, out| {
        let Some(real) = reals(real.get(row)) else { return false };
        let imaginary = match &imaginary {
            None => vec![0.0; real.len()],
            Some(imaginary) => match reals(imaginary.get(row)) {
                Some(imaginary) if imaginary.len() == real.len() => imaginary,
                _ => return false,
            },
        };
        let mut values: Vec<Complex> = real.into_iter().zip(imaginary).map(|(re, im)| Complex { re, im }).collect();
        transform(&mut values, is_inverse);
        let part = |read: fn(&Complex) -> f64| values.iter().map(read).collect::<Vec<f64>>();
        let (re, im) = (part(|value| value.re), part(|value| value.im));
        write_values(&[Value::Reals(&re), Value::Reals(&im)], out);
        true
    })
}
