//! Functions that work element by element, and those that add up a whole series.
//!
//! Shape: whole numbers stay whole in `add`, `subtract`, `multiply`, `abs` and `sign`, and become
//! reals elsewhere. A number beside a series stands for each element. Nulls: an element that is no
//! number, or has no partner, gives null; anything but an array gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::{Item, Operand, Operands, SERIES_OR_NUMBER, items, optional_numbers};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::registry::Scalar;
use crate::scalar::kernel::{Texts, each, each_dynamic};
use crate::scalar::rows::{TO_DYNAMIC, TO_REAL, row};
use crate::signature::{DYNAMIC, REAL, Signature, optional, required, sig};

const ONE: &[Signature] = &[sig(&[required("series", DYNAMIC)], TO_DYNAMIC)];
const ONE_TO_REAL: &[Signature] = &[sig(&[required("series", DYNAMIC)], TO_REAL)];
const TWO: &[Signature] =
    &[sig(&[required("series1", SERIES_OR_NUMBER), required("series2", SERIES_OR_NUMBER)], TO_DYNAMIC)];
const TWO_TO_REAL: &[Signature] =
    &[sig(&[required("series1", SERIES_OR_NUMBER), required("series2", SERIES_OR_NUMBER)], TO_REAL)];
const PEARSON: &[Signature] = &[sig(&[required("series1", DYNAMIC), required("series2", DYNAMIC)], TO_REAL)];
const COSINE: &[Signature] = &[sig(
    &[
        required("series1", DYNAMIC),
        required("series2", DYNAMIC),
        optional("magnitude1", REAL),
        optional("magnitude2", REAL),
    ],
    TO_REAL,
)];

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!(
        "series_add",
        TWO,
        |call| binary(call, |a, b| whole(a, b, i64::wrapping_add, |a, b| a + b)),
        "Sums of the elements of two series.",
        "series-add-function"
    ),
    row!(
        "series_subtract",
        TWO,
        |call| binary(call, |a, b| whole(a, b, i64::wrapping_sub, |a, b| a - b)),
        "Differences of the elements of two series.",
        "series-subtract-function"
    ),
    row!(
        "series_multiply",
        TWO,
        |call| binary(call, |a, b| whole(a, b, i64::wrapping_mul, |a, b| a * b)),
        "Products of the elements of two series.",
        "series-multiply-function"
    ),
    row!(
        "series_divide",
        TWO,
        |call| binary(call, |a, b| real_of(a, b, |a, b| a / b)),
        "Quotients of the elements of two series, as reals.",
        "series-divide-function"
    ),
    row!(
        "series_pow",
        TWO,
        |call| binary(call, |a, b| real_of(a, b, f64::powf)),
        "Elements of one series to the power of those of another.",
        "series-pow-function"
    ),
    row!(
        "series_greater",
        TWO,
        |call| compare(call, |order| order == Some(std::cmp::Ordering::Greater)),
        "Where the elements of one series are greater than those of another.",
        "series-greater-function"
    ),
    row!(
        "series_greater_equals",
        TWO,
        |call| compare(call, |order| order.is_some_and(|order| order.is_ge())),
        "Where the elements of one series are not less than those of another.",
        "series-greater-equals-function"
    ),
    row!(
        "series_less",
        TWO,
        |call| compare(call, |order| order == Some(std::cmp::Ordering::Less)),
        "Where the elements of one series are less than those of another.",
        "series-less-function"
    ),
    row!(
        "series_less_equals",
        TWO,
        |call| compare(call, |order| order.is_some_and(|order| order.is_le())),
        "Where the elements of one series are not greater than those of another.",
        "series-less-equals-function"
    ),
    row!(
        "series_equals",
        TWO,
        |call| compare(call, |order| order == Some(std::cmp::Ordering::Equal)),
        "Where the elements of two series are equal.",
        "series-equals-function"
    ),
    row!(
        "series_not_equals",
        TWO,
        |call| compare(call, |order| order != Some(std::cmp::Ordering::Equal)),
        "Where the elements of two series differ.",
        "series-not-equals-function"
    ),
    row!(
        "series_abs",
        ONE,
        |call| unary(call, |item| keep(item, i64::wrapping_abs, f64::abs)),
        "Absolute values of the elements.",
        "series-abs-function"
    ),
    row!(
        "series_sign",
        ONE,
        |call| unary(call, |item| keep(item, i64::signum, sign)),
        "Signs of the elements: -1, 0 or 1.",
        "series-sign-function"
    ),
    row!(
        "series_floor",
        ONE,
        |call| unary(call, |item| to_real(item, f64::floor)),
        "Elements rounded down, as reals.",
        "series-floor-function"
    ),
    row!(
        "series_ceiling",
        ONE,
        |call| unary(call, |item| to_real(item, f64::ceil)),
        "Elements rounded up, as reals.",
        "series-ceiling-function"
    ),
    row!(
        "series_exp",
        ONE,
        |call| unary(call, |item| to_real(item, f64::exp)),
        "e to the power of the elements.",
        "series-exp-function"
    ),
    row!(
        "series_log",
        ONE,
        |call| unary(call, |item| to_real(item, f64::ln)),
        "Natural logarithms of the elements.",
        "series-log-function"
    ),
    row!(
        "series_sin",
        ONE,
        |call| unary(call, |item| to_real(item, f64::sin)),
        "Sines of the elements.",
        "series-sin-function"
    ),
    row!(
        "series_cos",
        ONE,
        |call| unary(call, |item| to_real(item, f64::cos)),
        "Cosines of the elements.",
        "series-cos-function"
    ),
    row!(
        "series_tan",
        ONE,
        |call| unary(call, |item| to_real(item, f64::tan)),
        "Tangents of the elements.",
        "series-tan-function"
    ),
    row!(
        "series_asin",
        ONE,
        |call| unary(call, |item| to_real(item, f64::asin)),
        "Arc sines of the elements.",
        "series-asin-function"
    ),
    row!(
        "series_acos",
        ONE,
        |call| unary(call, |item| to_real(item, f64::acos)),
        "Arc cosines of the elements.",
        "series-acos-function"
    ),
    row!(
        "series_atan",
        ONE,
        |call| unary(call, |item| to_real(item, f64::atan)),
        "Arc tangents of the elements.",
        "series-atan-function"
    ),
    row!(
        "series_sum",
        ONE_TO_REAL,
        |call| reduce(call, |values| values.iter().sum()),
        "Sum of the elements.",
        "series-sum-function"
    ),
    row!(
        "series_product",
        ONE_TO_REAL,
        |call| reduce(call, |values| values.iter().product()),
        "Product of the elements.",
        "series-product-function"
    ),
    row!(
        "series_magnitude",
        ONE_TO_REAL,
        |call| reduce(call, magnitude),
        "Square root of the sum of the squares of the elements.",
        "series-magnitude-function"
    ),
    row!(
        "series_dot_product",
        TWO_TO_REAL,
        dot_product,
        "Sum of the products of the elements of two series.",
        "series-dot-product-function"
    ),
    row!(
        "series_cosine_similarity",
        COSINE,
        cosine_similarity,
        "Cosine of the angle between two series.",
        "series-cosine-similarity-function"
    ),
    row!(
        "series_pearson_correlation",
        PEARSON,
        pearson,
        "Pearson's correlation of two series.",
        "series-pearson-correlation-function"
    ),
];

fn whole(a: Item, b: Item, longs: fn(i64, i64) -> i64, reals: fn(f64, f64) -> f64) -> Item {
    match (a, b) {
        (Item::Long(a), Item::Long(b)) => Item::Long(longs(a, b)),
        (a, b) => real_of(a, b, reals),
    }
}

fn real_of(a: Item, b: Item, reals: fn(f64, f64) -> f64) -> Item {
    match (a.real(), b.real()) {
        (Some(a), Some(b)) => Item::Real(reals(a, b)),
        _ => Item::None,
    }
}

fn keep(item: Item, longs: fn(i64) -> i64, reals: fn(f64) -> f64) -> Item {
    match item {
        Item::Long(value) => Item::Long(longs(value)),
        item => to_real(item, reals),
    }
}

fn to_real(item: Item, reals: fn(f64) -> f64) -> Item {
    item.real().map_or(Item::None, |value| Item::Real(reals(value)))
}

fn sign(value: f64) -> f64 {
    if value == 0.0 || value.is_nan() { value } else { value.signum() }
}

fn magnitude(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn unary(call: &Call<'_>, f: impl Fn(Item) -> Item) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let Some(items) = items(series.get(row)) else { return false };
        let mut array = ArrayWriter::new(out);
        items.into_iter().for_each(|item| f(item).write(array.next()));
        array.close();
        true
    })
}

/// Calls `f` with the elements of both operands side by side; `None` unless one of them is a series.
fn side_by_side(a: Option<Operand>, b: Option<Operand>, mut f: impl FnMut(Item, Item)) -> Option<()> {
    match (a?, b?) {
        (Operand::Series(a), Operand::Series(b)) => {
            let at = |items: &[Item], place: usize| items.get(place).copied().unwrap_or(Item::None);
            (0..a.len().max(b.len())).for_each(|place| f(at(&a, place), at(&b, place)));
        }
        (Operand::Series(a), Operand::Number(b)) => a.into_iter().for_each(|a| f(a, b)),
        (Operand::Number(a), Operand::Series(b)) => b.into_iter().for_each(|b| f(a, b)),
        (Operand::Number(_), Operand::Number(_)) => return None,
    }
    Some(())
}

fn pairwise(call: &Call<'_>, write: impl Fn(Item, Item, &mut Vec<u8>)) -> Result<ColumnarValue> {
    let (a, b) = (Operands::of(call, 0)?, Operands::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let mut array = ArrayWriter::new(out);
        let outcome = side_by_side(a.get(row), b.get(row), |a, b| write(a, b, array.next()));
        array.close();
        outcome.is_some()
    })
}

fn binary(call: &Call<'_>, f: impl Fn(Item, Item) -> Item) -> Result<ColumnarValue> {
    pairwise(call, |a, b, out| f(a, b).write(out))
}

fn compare(call: &Call<'_>, f: impl Fn(Option<std::cmp::Ordering>) -> bool) -> Result<ColumnarValue> {
    pairwise(call, |a, b, out| {
        let order = match (a, b) {
            (Item::Long(a), Item::Long(b)) => Some(a.cmp(&b)),
            (a, b) => match (a.real(), b.real()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => return out.extend_from_slice(b"null"),
            },
        };
        out.extend_from_slice(if f(order) { b"true" } else { b"false" });
    })
}

/// A number from the elements that are numbers; null when there is none.
fn reduce(call: &Call<'_>, f: fn(&[f64]) -> f64) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    each(call, |row| {
        let values: Vec<f64> = items(series.get(row))?.into_iter().filter_map(Item::real).collect();
        (!values.is_empty()).then(|| f(&values))
    })
}

/// The pairs of numbers of two operands; pairs without two numbers are left out, and so is the
/// longer series' rest. `None` when a series is empty, or there is none.
fn pairs(a: Option<Operand>, b: Option<Operand>) -> Option<Vec<(f64, f64)>> {
    let is_empty = |operand: &Option<Operand>| matches!(operand, Some(Operand::Series(items)) if items.is_empty());
    if is_empty(&a) || is_empty(&b) {
        return None;
    }
    let mut pairs = Vec::new();
    side_by_side(a, b, |a, b| pairs.extend(a.real().zip(b.real())))?;
    Some(pairs)
}

fn dot_product(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b) = (Operands::of(call, 0)?, Operands::of(call, 1)?);
    each(call, |row| Some(pairs(a.get(row), b.get(row))?.iter().map(|(a, b)| a * b).sum::<f64>()))
}

fn cosine_similarity(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b) = (Operands::of(call, 0)?, Operands::of(call, 1)?);
    let (first, second) = (optional_numbers(call, 2)?, optional_numbers(call, 3)?);
    each(call, |row| {
        let pairs = pairs(a.get(row), b.get(row))?;
        let given =
            |numbers: &Option<crate::scalar::rows::Numbers>| numbers.as_ref().and_then(|numbers| numbers.real(row));
        let size = |values: Vec<f64>| magnitude(&values);
        let first = given(&first).unwrap_or_else(|| size(pairs.iter().map(|(a, _)| *a).collect()));
        let second = given(&second).unwrap_or_else(|| size(pairs.iter().map(|(_, b)| *b).collect()));
        Some(pairs.iter().map(|(a, b)| a * b).sum::<f64>() / (first * second))
    })
}

fn pearson(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each(call, |row| {
        let (a, b) = (super::reals(a.get(row))?, super::reals(b.get(row))?);
        if a.len() != b.len() || a.is_empty() {
            return None;
        }
        let count = a.len() as f64;
        let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
        let spread = |values: &[f64], mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let shared: f64 = a.iter().zip(&b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
        // Two roots, not one of the product: this is how the reference engine comes to 1.0000000000000002.
        Some(shared / (spread(&a, mean_a).sqrt() * spread(&b, mean_b).sqrt()))
    })
}
