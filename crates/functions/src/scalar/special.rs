//! Special functions: gamma, error function, beta distribution, Welch's test.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::kernel::each;
use super::rows::{NUMBER_TO_REAL, Numbers, TO_REAL, each_real, row};
use crate::call::Call;
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, Signature, required, sig};

const BETA: &[Signature] = &[sig(
    &[required("x", Accepts::Number), required("alpha", Accepts::Number), required("beta", Accepts::Number)],
    TO_REAL,
)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "gamma",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(libm::tgamma(x))),
        "The gamma function.",
        "gamma-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print round(gamma(5), 9)", "24.0")],
    ),
    row!(
        "loggamma",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(libm::lgamma(x))),
        "The natural logarithm of the gamma function's magnitude.",
        "loggamma-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "erf",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(libm::erf(x))),
        "The error function.",
        "erf-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print erf(0)", "0.0")],
    ),
    row!(
        "erfc",
        NUMBER_TO_REAL,
        |call| each_real(call, |x| Some(libm::erfc(x))),
        "The complementary error function.",
        "erfc-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print erfc(0)", "1.0")],
    ),
    row!(
        "beta_cdf",
        BETA,
        |call| three_reals(call, |x, alpha, beta| Some(beta_cdf(x, alpha, beta))),
        "The cumulative beta distribution at `x`; NaN where it is not defined.",
        "beta-cdf-function",
    ),
    row!(
        "beta_inv",
        &[sig(
            &[
                required("probability", Accepts::Number),
                required("alpha", Accepts::Number),
                required("beta", Accepts::Number)
            ],
            TO_REAL,
        )],
        |call| three_reals(call, beta_inv),
        "The point where the cumulative beta distribution reaches `probability`.",
        "beta-inv-function",
    ),
    row!(
        "beta_pdf",
        BETA,
        |call| three_reals(call, |x, alpha, beta| Some(beta_pdf(x, alpha, beta))),
        "The density of the beta distribution at `x`; NaN where it is not defined.",
        "beta-pdf-function",
    ),
    row!(
        "welch_test",
        &[sig(
            &[
                required("mean1", Accepts::Number),
                required("variance1", Accepts::Number),
                required("count1", Accepts::Number),
                required("mean2", Accepts::Number),
                required("variance2", Accepts::Number),
                required("count2", Accepts::Number)
            ],
            TO_REAL,
        )],
        welch_test,
        "The p-value of Welch's test that two samples have the same mean.",
        "welch-test-function",
    ),
];

fn three_reals(call: &Call<'_>, f: fn(f64, f64, f64) -> Option<f64>) -> Result<ColumnarValue> {
    let input = |position| Numbers::of(call, position);
    let (a, b, c) = (input(0)?, input(1)?, input(2)?);
    each(call, |row| f(a.real(row)?, b.real(row)?, c.real(row)?))
}

fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// The regularized incomplete beta function for 0 ≤ x ≤ 1 and positive parameters.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The continued fraction converges fast on this side only; the other follows by symmetry.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (a * x.ln() + b * (-x).ln_1p() - log_beta(a, b)).exp() / a;
    front * continued_fraction(x, a, b)
}

/// Lentz's method.
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    // Needs about the square root of the larger parameter; the bound ends what does not converge.
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let factor = d * c;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

fn beta_cdf(x: f64, alpha: f64, beta: f64) -> f64 {
    let is_parameter = |value: f64| value > 0.0 && value <= 10_000.0;
    if !(0.0..=1.0).contains(&x) || !is_parameter(alpha) || !is_parameter(beta) {
        return f64::NAN;
    }
    incomplete_beta(x, alpha, beta)
}

fn beta_pdf(x: f64, alpha: f64, beta: f64) -> f64 {
    if !(x > 0.0 && x < 1.0 && alpha > 0.0 && beta > 0.0) {
        return f64::NAN;
    }
    ((alpha - 1.0) * x.ln() + (beta - 1.0) * (-x).ln_1p() - log_beta(alpha, beta)).exp()
}

/// Null for a probability out of range, NaN for parameters out of range: what the page's example prints.
fn beta_inv(probability: f64, alpha: f64, beta: f64) -> Option<f64> {
    if !(alpha > 0.0 && beta > 0.0) {
        return Some(f64::NAN);
    }
    if !(probability > 0.0 && probability <= 1.0) {
        return None;
    }
    if probability == 1.0 {
        return Some(1.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    let mut x = alpha / (alpha + beta);
    // Newton's steps, halving the interval where they leave it.
    for _ in 0..200 {
        let error = incomplete_beta(x, alpha, beta) - probability;
        if error > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let step = x - error / beta_pdf(x, alpha, beta);
        let next = if step > low && step < high { step } else { (low + high) / 2.0 };
        if (next - x).abs() <= f64::EPSILON * next.abs() {
            return Some(next);
        }
        x = next;
    }
    Some(x)
}

fn welch_test(call: &Call<'_>) -> Result<ColumnarValue> {
    let inputs = (0..6).map(|position| Numbers::of(call, position)).collect::<Result<Vec<_>>>()?;
    each(call, |row| {
        let mut values = [0.0; 6];
        for (value, input) in values.iter_mut().zip(&inputs) {
            *value = input.real(row)?;
        }
        Some(welch(values))
    })
}

fn welch([mean1, variance1, count1, mean2, variance2, count2]: [f64; 6]) -> f64 {
    let (a, b) = (variance1 / count1, variance2 / count2);
    let t = (mean1 - mean2) / (a + b).sqrt();
    let freedom = (a + b).powi(2) / (a * a / (count1 - 1.0) + b * b / (count2 - 1.0));
    if !(freedom.is_finite() && freedom > 0.0 && t.is_finite()) {
        return f64::NAN;
    }
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-12), "{a} is not {b}");
    }

    #[test]
    fn documented_values_come_out() {
        close(beta_cdf(0.9, 10.0, 20.0), 0.999999999999959);
        close(beta_inv(0.1, 10.0, 20.0).unwrap(), 0.226415022388749);
        close(beta_pdf(0.5, 10.0, 20.0), 0.746176019310951);
        close(libm::lgamma(5.0), 3.178_053_830_347_945_8);
        close(libm::erf(1.0), 0.842700792949715);
        assert!(beta_cdf(1.5, 10.0, 20.0).is_nan() && beta_inv(0.1, -1.0, 20.0).unwrap().is_nan());
        assert_eq!(beta_inv(1.5, 10.0, 20.0), None);
        let s1 = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let s2 = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
        let moments = |s: [f64; 15]| {
            let mean = s.iter().sum::<f64>() / 15.0;
            (mean, s.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 14.0)
        };
        let ((m1, v1), (m2, v2)) = (moments(s1), moments(s2));
        let p = welch([m1, v1, 15.0, m2, v2, 15.0]);
        assert!((p - 0.021).abs() < 0.0005, "{p}");
    }

    #[test]
    fn the_inverse_undoes_the_distribution() {
        for (a, b) in [(0.5, 0.5), (1.0, 3.0), (10.0, 20.0), (300.0, 2.0), (5000.0, 5000.0)] {
            for p in [1e-6, 0.01, 0.3, 0.5, 0.9, 0.999] {
                let x = beta_inv(p, a, b).unwrap();
                assert!((incomplete_beta(x, a, b) - p).abs() < 1e-9, "{p} {a} {b}: {x}");
            }
        }
        assert_eq!(beta_inv(1.0, 2.0, 3.0), Some(1.0));
    }
}
