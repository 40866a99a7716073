//! Periods and what is made of them: `series_periods_*`, `series_seasonal`, `series_decompose*`.
//!
//! Shape: the reference engine's scoring of periods is not published. Ours is the autocorrelation
//! at the period's distance, of values cut at their 10th and 90th percentile, divided by the root
//! of the share of values that have a partner there. It gives the pages' samples to the two digits
//! they print; further digits may differ from the reference. A period must be a summit: no other
//! distance within a quarter of it correlates better. A multiple of a period counts only if it
//! scores higher. Nulls: a series with an element that is no number gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::fit::Line;
use super::fourier::autocorrelation;
use super::stats::{Tukey, scores};
use super::{Value, optional_numbers, quantile, reals, write_reals, write_values};
use crate::call::Call;
use crate::registry::Scalar;
use crate::scalar::kernel::{Texts, each_dynamic};
use crate::scalar::rows::{Numbers, TO_DYNAMIC, row};
use crate::signature::{Accepts, DYNAMIC, LONG, Param, STRING, Signature, optional, repeated, required, sig};

const SERIES: Param = required("series", DYNAMIC);
const DETECT: &[Signature] = &[sig(
    &[
        SERIES,
        required("min_period", Accepts::Number),
        required("max_period", Accepts::Number),
        required("num_periods", LONG),
    ],
    TO_DYNAMIC,
)];
const VALIDATE: &[Signature] =
    &[sig(&[SERIES, required("period", Accepts::Number), repeated("period", Accepts::Number)], TO_DYNAMIC)];
const SEASONAL: &[Signature] = &[sig(&[SERIES, optional("period", LONG), optional("test_points", LONG)], TO_DYNAMIC)];
const SEASONALITY: Param = optional("seasonality", LONG);
const TREND: Param = optional("trend", STRING);
const TEST_POINTS: Param = optional("test_points", LONG);
const THRESHOLD: Param = optional("seasonality_threshold", Accepts::Number);
const DECOMPOSE: &[Signature] = &[sig(&[SERIES, SEASONALITY, TREND, TEST_POINTS, THRESHOLD], TO_DYNAMIC)];
const FORECAST: &[Signature] = &[sig(&[SERIES, required("points", LONG), SEASONALITY, TREND, THRESHOLD], TO_DYNAMIC)];
const ANOMALIES: &[Signature] = &[sig(
    &[
        SERIES,
        optional("threshold", Accepts::Number),
        SEASONALITY,
        TREND,
        TEST_POINTS,
        optional("ad_method", STRING),
        THRESHOLD,
    ],
    TO_DYNAMIC,
)];

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!(
        "series_periods_detect",
        DETECT,
        detect,
        "The most significant periods of a series and their scores.",
        "series-periods-detect-function"
    ),
    row!(
        "series_periods_validate",
        VALIDATE,
        validate,
        "How significant the given periods of a series are.",
        "series-periods-validate-function"
    ),
    row!(
        "series_seasonal",
        SEASONAL,
        seasonal,
        "The seasonal part of a series: the median of the elements a period apart.",
        "series-seasonal-function"
    ),
    row!(
        "series_decompose",
        DECOMPOSE,
        decompose,
        "A series taken apart into baseline, seasonal part, trend and rest.",
        "series-decompose-function"
    ),
    row!(
        "series_decompose_forecast",
        FORECAST,
        forecast,
        "A series continued over its last points by its seasonal part and trend.",
        "series-decompose-forecast-function"
    ),
    row!(
        "series_decompose_anomalies",
        ANOMALIES,
        anomalies,
        "Elements of a series that its seasonal part and trend do not explain.",
        "series-decompose-anomalies-function"
    ),
];

/// Shortest period. Source: series_periods_detect page.
const LEAST_PERIOD: usize = 4;
/// Scores below this are noise.
const LEAST_SCORE: f64 = 0.2;
/// Thresholds of the pages.
const SEASONAL_THRESHOLD: f64 = 0.7;
const DECOMPOSE_THRESHOLD: f64 = 0.6;

/// How well a series correlates with itself at each distance below half its length.
struct Correlation {
    scores: Vec<f64>,
}

impl Correlation {
    fn of(values: &[f64]) -> Correlation {
        let most = values.len() / 2;
        if most <= LEAST_PERIOD || values.iter().any(|value| !value.is_finite()) {
            return Correlation { scores: Vec::new() };
        }
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| sorted[(part * values.len() as f64) as usize];
        let (low, high) = (at(0.1), at(0.9));
        let clipped: Vec<f64> = values.iter().map(|value| value.clamp(low, high)).collect();
        let mean = clipped.iter().sum::<f64>() / clipped.len() as f64;
        let centered: Vec<f64> = clipped.iter().map(|value| value - mean).collect();
        let sums = autocorrelation(&centered, most);
        // Rounding of the transform must not pass for a variance.
        let total: f64 = centered.iter().map(|value| value * value).sum();
        if total <= 1e-12 * mean.abs().max(1.0) {
            return Correlation { scores: Vec::new() };
        }
        let count = values.len() as f64;
        let score = |(lag, sum): (usize, f64)| sum / total / (1.0 - lag as f64 / count).sqrt();
        Correlation { scores: sums.into_iter().enumerate().map(score).collect() }
    }

    /// The score of a distance, 0 unless it is a summit.
    fn score(&self, lag: usize) -> f64 {
        if lag < LEAST_PERIOD || lag + 1 >= self.scores.len() {
            return 0.0;
        }
        let score = self.scores[lag];
        let reach = (lag / 4).max(1);
        let near = lag - reach..(lag + reach + 1).min(self.scores.len());
        if score < LEAST_SCORE || self.scores[near].iter().any(|other| *other > score) {
            return 0.0;
        }
        score.min(1.0)
    }

    /// Summits from `least` to `most`, best first, without multiples that are no better.
    fn periods(&self, least: f64, most: f64) -> Vec<(usize, f64)> {
        let mut found: Vec<(usize, f64)> = Vec::new();
        for lag in LEAST_PERIOD..self.scores.len() {
            let score = self.score(lag);
            let is_repeat = |(period, known): &(usize, f64)| {
                let nearest = (lag as f64 / *period as f64).round() * *period as f64;
                (lag as f64 - nearest).abs() <= 1.0 && *known >= score
            };
            if score > 0.0 && !found.iter().any(is_repeat) {
                found.push((lag, score));
            }
        }
        found.retain(|(lag, _)| (least..=most).contains(&(*lag as f64)));
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found
    }

    /// The best period if it reaches the threshold.
    fn best(&self, threshold: f64) -> Option<usize> {
        let (period, score) = *self.periods(0.0, f64::INFINITY).first()?;
        (score >= threshold).then_some(period)
    }
}

/// Most periods that `series_periods_detect` gives.
const MOST_PERIODS: i64 = 1024;

fn detect(call: &Call<'_>) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let (least, most, wanted) = (Numbers::of(call, 1)?, Numbers::of(call, 2)?, Numbers::of(call, 3)?);
    each_dynamic(call, |row, out| {
        let (Some(values), Some(least), Some(most), Some(wanted)) =
            (reals(series.get(row)), least.real(row), most.real(row), wanted.long(row))
        else {
            return false;
        };
        let mut found = Correlation::of(&values).periods(least, most);
        found.resize(wanted.clamp(0, MOST_PERIODS) as usize, (0, 0.0));
        let periods: Vec<i64> = found.iter().map(|(period, _)| *period as i64).collect();
        let scores: Vec<f64> = found.iter().map(|(_, score)| *score).collect();
        write_values(&[Value::Longs(&periods), Value::Reals(&scores)], out);
        true
    })
}

fn validate(call: &Call<'_>) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let periods = (1..call.args.len()).map(|position| Numbers::of(call, position)).collect::<Result<Vec<_>>>()?;
    each_dynamic(call, |row, out| {
        let Some(values) = reals(series.get(row)) else { return false };
        let correlation = Correlation::of(&values);
        let periods: Vec<f64> = periods.iter().map(|periods| periods.real(row).unwrap_or(f64::NAN)).collect();
        let score = |period: &f64| {
            if (LEAST_PERIOD as f64..=values.len() as f64 / 2.0).contains(period) {
                correlation.score(period.round() as usize)
            } else {
                0.0
            }
        };
        let scores: Vec<f64> = periods.iter().map(score).collect();
        write_values(&[Value::Reals(&periods), Value::Reals(&scores)], out);
        true
    })
}

/// The median of the learned values of each phase, repeated over `count` places; zeros without a period.
fn season(learned: &[f64], period: Option<usize>, count: usize) -> Vec<f64> {
    let Some(period) = period.filter(|period| *period > 0) else {
        return vec![0.0; count];
    };
    let median = |phase: usize| {
        let mut values: Vec<f64> = learned.iter().skip(phase).step_by(period).copied().collect();
        values.sort_unstable_by(f64::total_cmp);
        if values.is_empty() { 0.0 } else { quantile(&values, 0.5) }
    };
    let phases: Vec<f64> = (0..period.min(count)).map(median).collect();
    (0..count).map(|place| phases[place % period]).collect()
}

/// The values that are learned from: all but the last `tests`.
fn learned(values: &[f64], tests: i64) -> &[f64] {
    let tests = usize::try_from(tests).unwrap_or(0).min(values.len());
    &values[..values.len() - tests]
}

/// The period that an argument asks for: -1 looks for one, anything below 1 means none.
fn period_of(wanted: i64, learned: &[f64], threshold: f64) -> Option<usize> {
    match wanted {
        -1 => Correlation::of(learned).best(threshold),
        wanted => usize::try_from(wanted).ok().filter(|period| *period > 0),
    }
}

fn seasonal(call: &Call<'_>) -> Result<ColumnarValue> {
    let series = Texts::of(call, 0)?;
    let (period, tests) = (optional_numbers(call, 1)?, optional_numbers(call, 2)?);
    each_dynamic(call, |row, out| {
        let Some(values) = reals(series.get(row)) else { return false };
        let learned = learned(&values, long_at(&tests, row).unwrap_or(0));
        let period = period_of(long_at(&period, row).unwrap_or(-1), learned, SEASONAL_THRESHOLD);
        write_reals(&season(learned, period, values.len()), out);
        true
    })
}

fn long_at(numbers: &Option<Numbers>, row: usize) -> Option<i64> {
    numbers.as_ref().and_then(|numbers| numbers.long(row))
}

/// A series taken apart.
struct Parts {
    baseline: Vec<f64>,
    seasonal: Vec<f64>,
    trend: Vec<f64>,
    residual: Vec<f64>,
}

impl Parts {
    /// `None` for an unknown kind of trend.
    fn of(values: &[f64], seasonality: i64, trend: &str, tests: i64, threshold: f64) -> Option<Parts> {
        let learned = learned(values, tests);
        let seasonal = season(learned, period_of(seasonality, learned, threshold), values.len());
        let rest: Vec<f64> = learned.iter().zip(&seasonal).map(|(value, seasonal)| value - seasonal).collect();
        let trend: Vec<f64> = match trend {
            "none" => vec![0.0; values.len()],
            "linefit" if rest.len() >= 2 => {
                let line = Line::of(&rest);
                (0..values.len()).map(|place| line.at(place)).collect()
            }
            "avg" | "linefit" => {
                let mean = if rest.is_empty() { 0.0 } else { rest.iter().sum::<f64>() / rest.len() as f64 };
                vec![mean; values.len()]
            }
            _ => return None,
        };
        let baseline: Vec<f64> = seasonal.iter().zip(&trend).map(|(seasonal, trend)| seasonal + trend).collect();
        let residual = values.iter().zip(&baseline).map(|(value, baseline)| value - baseline).collect();
        Some(Parts { baseline, seasonal, trend, residual })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let parts = [&self.baseline, &self.seasonal, &self.trend, &self.residual];
        write_values(&parts.map(|part| Value::Reals(part)), out);
    }
}

/// The arguments that all three decompositions have, at their own positions.
struct Settings {
    series: Texts,
    seasonality: Option<Numbers>,
    trend: Option<Texts>,
    tests: Option<Numbers>,
    threshold: Option<Numbers>,
}

impl Settings {
    fn of(call: &Call<'_>, seasonality: usize, trend: usize, tests: usize, threshold: usize) -> Result<Settings> {
        Ok(Settings {
            series: Texts::of(call, 0)?,
            seasonality: optional_numbers(call, seasonality)?,
            trend: optional_texts(call, trend)?,
            tests: optional_numbers(call, tests)?,
            threshold: optional_numbers(call, threshold)?,
        })
    }

    fn values(&self, row: usize) -> Option<Vec<f64>> {
        reals(self.series.get(row))
    }

    fn tests(&self, row: usize) -> i64 {
        long_at(&self.tests, row).unwrap_or(0)
    }

    fn parts(&self, row: usize, values: &[f64]) -> Option<Parts> {
        let seasonality = long_at(&self.seasonality, row).unwrap_or(-1);
        let trend = self.trend.as_ref().map_or("avg", |trend| trend.text(row));
        let threshold = self.threshold.as_ref().and_then(|threshold| threshold.real(row));
        Parts::of(values, seasonality, trend, self.tests(row), threshold.unwrap_or(DECOMPOSE_THRESHOLD))
    }
}

fn optional_texts(call: &Call<'_>, position: usize) -> Result<Option<Texts>> {
    if position < call.args.len() { Ok(Some(Texts::of(call, position)?)) } else { Ok(None) }
}

fn decompose(call: &Call<'_>) -> Result<ColumnarValue> {
    write_parts(call, Settings::of(call, 1, 2, 3, 4)?)
}

fn forecast(call: &Call<'_>) -> Result<ColumnarValue> {
    write_parts(call, Settings::of(call, 2, 3, 1, 4)?)
}

fn write_parts(call: &Call<'_>, settings: Settings) -> Result<ColumnarValue> {
    each_dynamic(call, |row, out| {
        let parts = settings.values(row).and_then(|values| settings.parts(row, &values));
        parts.map(|parts| parts.write(out)).is_some()
    })
}

fn anomalies(call: &Call<'_>) -> Result<ColumnarValue> {
    let settings = Settings::of(call, 2, 3, 4, 6)?;
    let (threshold, method) = (optional_numbers(call, 1)?, optional_texts(call, 5)?);
    each_dynamic(call, |row, out| {
        let Some(values) = settings.values(row) else { return false };
        let Some(parts) = settings.parts(row, &values) else { return false };
        let method = method.as_ref().map_or("ctukey", |method| method.text(row));
        let Some(kind) = Tukey::named(method) else { return false };
        let threshold = threshold.as_ref().and_then(|threshold| threshold.real(row)).unwrap_or(1.5);
        let noise = 1e-12 * values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let scores = scores(&parts.residual, learned(&parts.residual, settings.tests(row)), kind, noise);
        let flag = |score: &f64| i64::from(*score > threshold) - i64::from(*score < -threshold);
        let flags: Vec<i64> = scores.iter().map(flag).collect();
        write_values(&[Value::Longs(&flags), Value::Reals(&scores), Value::Reals(&parts.baseline)], out);
        true
    })
}
