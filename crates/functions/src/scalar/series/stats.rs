//! `series_stats` and `series_outliers`.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::{Item, Value, items, optional_numbers, quantile, write_bag, write_reals, write_values};
use crate::call::Call;
use crate::registry::{NameRule, Scalar};
use crate::scalar::kernel::{Bools, Texts, each_dynamic};
use crate::scalar::rows::{TO_DYNAMIC, row};
use crate::signature::{Accepts, BOOL, DYNAMIC, LONG, STRING, Signature, optional, required, sig};

const STATS: &[Signature] = &[sig(&[required("series", DYNAMIC), optional("ignore_nonfinite", BOOL)], TO_DYNAMIC)];
const OUTLIERS: &[Signature] = &[sig(
    &[
        required("series", DYNAMIC),
        optional("kind", STRING),
        optional("ignore_val", Accepts::Number),
        optional("min_percentile", Accepts::Number),
        optional("max_percentile", Accepts::Number),
        optional("test_points", LONG),
    ],
    TO_DYNAMIC,
)];

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!(
        "series_stats",
        STATS,
        |call| stats(call, false),
        "Least, largest and mean value of a series, their places and its spread, in several columns.",
        "series-stats-function"
    ),
    row!(
        "series_stats_dynamic",
        STATS,
        |call| stats(call, true),
        "Least, largest and mean value of a series, their places and its spread, as a bag.",
        "series-stats-dynamic-function"
    ),
    row!("series_outliers", OUTLIERS, outliers,
        "How far each element lies outside the usual range, by Tukey's test.", "series-outliers-function",
        name_rule: NameRule::PassThrough),
];

fn stats(call: &Call<'_>, is_bag: bool) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let ignores = if call.args.len() > 1 { Some(Bools::of(call, 1)?) } else { None };
    each_dynamic(call, |row, out| {
        let Some(items) = items(series.get(row)) else { return false };
        let ignores = ignores.as_ref().and_then(|ignores| ignores.get(row)).unwrap_or(false);
        let finite = |item: &Item| item.real().filter(|value| value.is_finite());
        let values: Vec<(usize, f64)> =
            items.iter().enumerate().filter_map(|(place, item)| Some((place, finite(item)?))).collect();
        if values.is_empty() || !ignores && values.len() < items.len() {
            return false;
        }
        let count = values.len() as f64;
        let (mut least, mut most) = (values[0], values[0]);
        for value in &values {
            if value.1 < least.1 {
                least = *value;
            }
            if value.1 > most.1 {
                most = *value;
            }
        }
        let sum: f64 = values.iter().map(|(_, value)| value).sum();
        let mean = sum / count;
        let squares: f64 = values.iter().map(|(_, value)| (value - mean).powi(2)).sum();
        let variance = if values.len() > 1 { squares / (count - 1.0) } else { 0.0 };
        if is_bag {
            write_bag(
                &[
                    ("min", Value::Real(least.1)),
                    ("min_idx", Value::Long(least.0 as i64)),
                    ("max", Value::Real(most.1)),
                    ("max_idx", Value::Long(most.0 as i64)),
                    ("avg", Value::Real(mean)),
                    ("stdev", Value::Real(variance.sqrt())),
                    ("variance", Value::Real(variance)),
                    ("sum", Value::Real(sum)),
                    ("len", Value::Long(items.len() as i64)),
                ],
                out,
            );
        } else {
            write_values(
                &[
                    Value::Real(least.1),
                    Value::Long(least.0 as i64),
                    Value::Real(most.1),
                    Value::Long(most.0 as i64),
                    Value::Real(mean),
                    Value::Real(variance.sqrt()),
                    Value::Real(variance),
                ],
                out,
            );
        }
        true
    })
}

/// The percentiles that bound the usual range.
#[derive(Clone, Copy)]
pub(super) enum Tukey {
    /// 25 and 75.
    Plain,
    /// Others, each for its own side.
    Custom(f64, f64),
}

impl Tukey {
    /// The default of `ctukey`.
    pub(super) const CUSTOM: Tukey = Tukey::Custom(10.0, 90.0);

    /// By its name in KQL.
    pub(super) fn named(name: &str) -> Option<Tukey> {
        match name {
            "tukey" => Some(Tukey::Plain),
            "ctukey" => Some(Tukey::CUSTOM),
            _ => None,
        }
    }
}

/// Distance of each value from the nearer quartile, in units of the range between the quartiles;
/// 0 between the quartiles. `learned` are the values that the quartiles are taken from.
///
/// With custom percentiles the quartiles of the upper side are those of the values without the
/// largest ones (beyond the upper percentile), and those of the lower side accordingly. This gives
/// the sample of the page's first editions, the only one with figures:
/// `[30,28,5,27,31,38,29,80,25,37,30]` has the scores
/// `[0,0,-3.2069,-0.1724,0,2.6667,0,16.6667,-0.4483,2.3333,0]`.
///
/// Distances up to `noise` are none: a series that its season explains leaves rounding errors only.
pub(super) fn scores(values: &[f64], learned: &[f64], kind: Tukey, noise: f64) -> Vec<f64> {
    let mut sorted = learned.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.is_empty() {
        return vec![0.0; values.len()];
    }
    let count = sorted.len();
    let (low, high) = match kind {
        Tukey::Plain => (0, count),
        Tukey::Custom(low, high) => {
            let place = |percent: f64| (percent * count as f64 / 100.0) as usize;
            (place(low).min(count - 1), place(high).clamp(1, count))
        }
    };
    let quartiles = |sorted: &[f64]| (quantile(sorted, 0.25), quantile(sorted, 0.75));
    let (first, third) = quartiles(&sorted);
    let (lower, lower_third) = quartiles(&sorted[low..]);
    let (upper_first, upper) = quartiles(&sorted[..high]);
    let score = |value: &f64| match value {
        value if *value > third + noise => (value - upper) / (upper - upper_first),
        value if *value < first - noise => (value - lower) / (lower_third - lower),
        _ => 0.0,
    };
    values.iter().map(score).collect()
}

fn outliers(call: &Call<'_>) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let kind = if call.args.len() > 1 { Some(Texts::of(call, 1)?) } else { None };
    let ignored = optional_numbers(call, 2)?;
    let (low, high) = (optional_numbers(call, 3)?, optional_numbers(call, 4)?);
    let tests = optional_numbers(call, 5)?;
    each_dynamic(call, |row, out| {
        let Some(items) = items(series.get(row)) else { return false };
        let name = kind.as_ref().map_or("ctukey", |kind| kind.text(row));
        let Some(mut kind) = Tukey::named(name) else { return false };
        if let Tukey::Custom(least, most) = &mut kind {
            *least = low.as_ref().and_then(|low| low.real(row)).unwrap_or(*least);
            *most = high.as_ref().and_then(|high| high.real(row)).unwrap_or(*most);
            if !(2.0..=98.0).contains(least) || !(2.0..=98.0).contains(most) || least > most {
                return false;
            }
        }
        let ignored = ignored.as_ref().and_then(|ignored| ignored.real(row));
        let tests = tests.as_ref().and_then(|tests| tests.long(row)).unwrap_or(0).clamp(0, items.len() as i64) as usize;
        let counts = |item: &Item| item.real().filter(|value| !value.is_nan() && Some(*value) != ignored);
        let learned: Vec<f64> = items[..items.len() - tests].iter().filter_map(counts).collect();
        let known: Vec<(usize, f64)> =
            items.iter().enumerate().filter_map(|(place, item)| Some((place, counts(item)?))).collect();
        let values: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
        let mut all = vec![0.0; items.len()];
        for ((place, _), score) in known.iter().zip(scores(&values, &learned, kind, 0.0)) {
            all[*place] = score;
        }
        write_reals(&all, out);
        true
    })
}
