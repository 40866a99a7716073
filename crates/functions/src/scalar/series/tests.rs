//! The pages' samples, and every row for constants, columns, slices and odd input.
#![allow(clippy::approx_constant, clippy::excessive_precision, reason = "figures as the pages print them")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::{elements, fill, filters, fit, multi_columns, seasons, stats};
use crate::call::Call;
use crate::registry::{Imp, Scalar};
use crate::signature::{Accepts, Occurs, Returns};

#[derive(Clone, Copy, Debug)]
enum Arg {
    Json(&'static str),
    Text(&'static str),
    Long(i64),
    Real(f64),
    NullReal,
    Bool(bool),
}
use Arg::{Bool, Json, Long, NullReal, Real, Text};

impl Arg {
    fn ty(self) -> KqlType {
        match self {
            Json(_) => KqlType::Dynamic,
            Text(_) => KqlType::String,
            Long(_) => KqlType::Long,
            Real(_) | NullReal => KqlType::Real,
            Bool(_) => KqlType::Bool,
        }
    }

    fn scalar(self) -> ScalarValue {
        match self {
            Json("") => ScalarValue::Utf8View(None),
            Json(text) | Text(text) => ScalarValue::Utf8View(Some(text.into())),
            Long(value) => ScalarValue::Int64(Some(value)),
            Real(value) => ScalarValue::Float64(Some(value)),
            NullReal => ScalarValue::Float64(None),
            Bool(value) => ScalarValue::Boolean(Some(value)),
        }
    }
}

fn families() -> [&'static [Scalar]; 6] {
    [elements::ROWS, fill::ROWS, filters::ROWS, fit::ROWS, seasons::ROWS, stats::ROWS]
}

fn find(name: &str) -> &'static Scalar {
    families().into_iter().flatten().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"))
}

fn call(row: &Scalar, args: &[ColumnarValue], types: &[KqlType], rows: usize) -> ColumnarValue {
    let Imp::Kernel(kernel) = row.imp else { panic!("{} has no kernel", row.name) };
    let Returns::Type(returns) = row.signatures[0].returns else { panic!() };
    kernel(&Call { args, types, returns, rows }).unwrap()
}

/// The value as text, and a check that a column of three rows, sliced, gives the same.
fn run(name: &str, args: &[Arg]) -> String {
    let row = find(name);
    let types: Vec<KqlType> = args.iter().map(|arg| arg.ty()).collect();
    let constants: Vec<ColumnarValue> = args.iter().map(|arg| ColumnarValue::Scalar(arg.scalar())).collect();
    let ColumnarValue::Scalar(value) = call(row, &constants, &types, 3) else {
        panic!("{name}: constants give a column")
    };
    let columns: Vec<ColumnarValue> =
        args.iter().map(|arg| ColumnarValue::Array(arg.scalar().to_array_of_size(5).unwrap().slice(1, 3))).collect();
    let array = call(row, &columns, &types, 3).to_array(3).unwrap();
    assert_eq!(array.len(), 3, "{name}");
    for place in 0..3 {
        assert_eq!(ScalarValue::try_from_array(&array, place).unwrap().to_string(), value.to_string(), "{name}");
    }
    value.to_string()
}

/// The numbers of a JSON array or of the columns in it, flattened.
fn numbers(text: &str) -> Vec<f64> {
    text.split(['[', ']', ',']).filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

#[track_caller]
fn close(found: &str, expected: &[f64]) {
    let found = numbers(found);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

#[test]
fn elements_are_combined_side_by_side() {
    let two = |name, a, b| run(name, &[Json(a), Json(b)]);
    assert_eq!(two("series_add", "[1,2,4]", "[4,2,1]"), "[5,4,5]");
    assert_eq!(two("series_subtract", "[1,2,4]", "[4,2.5,1]"), "[-3,-0.5,3]");
    assert_eq!(two("series_multiply", "[3,6,12]", "[12,6,3]"), "[36,36,36]");
    assert_eq!(two("series_divide", "[1,2,0]", "[4,2,0]"), "[0.25,1.0,\"NaN\"]");
    assert_eq!(two("series_pow", "[1,2,3,4]", "[1,2,3,0.5]"), "[1.0,4.0,27.0,2.0]");
    assert_eq!(two("series_less_equals", "[1,2,4]", "[4,2,1]"), "[true,true,false]");
    assert_eq!(two("series_not_equals", "[1,2,4]", "[4,2.0,1]"), "[true,false,true]");
    assert_eq!(two("series_add", "[1,null,\"x\",4]", "[1,1,1]"), "[2,null,null,null]");
    assert_eq!(run("series_multiply", &[Long(10), Json("[1,-1,0.5]")]), "[10,-10,5.0]");
    assert_eq!(run("series_greater", &[Json("[1,2,3]"), Real(1.5)]), "[false,true,true]");
    assert_eq!(run("series_add", &[Json("{}"), Json("[1]")]), "NULL");
    assert_eq!(run("series_add", &[Json("1"), Json("2")]), "NULL");
    assert_eq!(run("series_subtract", &[Json("[\"2020-01-01T00:00:00.0000001Z\"]"), Long(637134336000000000)]), "[1]");
}

#[test]
fn elements_are_mapped_one_by_one() {
    let one = |name, a| run(name, &[Json(a)]);
    assert_eq!(one("series_abs", "[-6.5,0,8.2,-3,null]"), "[6.5,0,8.2,3,null]");
    assert_eq!(one("series_sign", "[-6,0,8,-2.5]"), "[-1,0,1,-1.0]");
    assert_eq!(one("series_floor", "[-1.5,1,2.5]"), "[-2.0,1.0,2.0]");
    assert_eq!(one("series_ceiling", "[-1.5,1,2.5]"), "[-1.0,1.0,3.0]");
    close(&one("series_exp", "[1,2,3]"), &[2.718281828459045, 7.38905609893065, 20.085536923187668]);
    close(&one("series_log", "[1,2,3]"), &[0.0, 0.6931471805599453, 1.0986122886681098]);
    close(&one("series_acos", "[-1,0,1]"), &[3.141592653589793, 1.5707963267948966, 0.0]);
    close(&one("series_tan", "[-1,0,1]"), &[-1.5574077246549023, 0.0, 1.5574077246549023]);
    assert_eq!(one("series_sin", "[]"), "[]");
    assert_eq!(one("series_cos", ""), "NULL");
}

#[test]
fn a_series_is_added_up() {
    assert_eq!(run("series_sum", &[Json("[1,2,3,4]")]), "10");
    assert_eq!(run("series_product", &[Json("[1,2,3,4]")]), "24");
    close(&run("series_magnitude", &[Json("[1,2,3,4]")]), &[5.477225575051661]);
    assert_eq!(run("series_dot_product", &[Json("[1,2,4]"), Json("[4,2,1,7]")]), "12");
    assert_eq!(run("series_dot_product", &[Json("[3,6,12]"), Long(3)]), "63");
    assert_eq!(run("series_dot_product", &[Json("[]"), Json("[1]")]), "NULL");
    let cosine = |b| run("series_cosine_similarity", &[Json("[0.1,0.2,0.1,0.2]"), Json(b)]);
    close(&cosine("[0.11,0.2,0.11,0.21]"), &[0.99935343825504]);
    close(&cosine("[1,2,3,4]"), &[0.923760430703401]);
    assert_eq!(run("series_pearson_correlation", &[Json("[0,0,5]"), Json("[0,0,5]")]), "1.0000000000000002");
    assert_eq!(run("series_pearson_correlation", &[Json("[1,2]"), Json("[1,2,3]")]), "NULL");
}

#[test]
fn missing_elements_are_filled() {
    let array = "[null,111,null,36,41,null,null,16,61,33,null,null]";
    let fill = |name, rest: &[Arg]| run(name, &[&[Json(array)], rest].concat());
    assert_eq!(fill("series_fill_forward", &[]), "[null,111,111,36,41,41,41,16,61,33,33,33]");
    assert_eq!(fill("series_fill_backward", &[]), "[111,111,36,36,41,16,16,16,61,33,null,null]");
    assert_eq!(fill("series_fill_const", &[Real(0.0)]), "[0.0,111,0.0,36,41,0.0,0.0,16,61,33,0.0,0.0]");
    assert_eq!(fill("series_fill_const", &[Long(-1), Long(36)]), "[null,111,null,-1,41,null,null,16,61,33,null,null]");
    assert_eq!(fill("series_fill_linear", &[]), "[111,111,73,36,41,32,24,16,61,33,33,33]");
    assert_eq!(fill("series_fill_linear", &[NullReal, Bool(false)]), "[null,111,73,36,41,32,24,16,61,33,null,null]");
    let empty = |rest: &[Arg]| run("series_fill_linear", &[&[Json("[null,null]")], rest].concat());
    assert_eq!(empty(&[]), "[0.0,0.0]");
    assert_eq!(empty(&[NullReal, Bool(true), Real(3.14159)]), "[3.14159,3.14159]");
    assert_eq!(empty(&[NullReal, Bool(true), NullReal]), "[null,null]");
    close(
        &run("series_fill_linear", &[Json("[null,111.0,null,36.0,41.0,null,null,16.0]")]),
        &[111.0, 111.0, 73.5, 36.0, 41.0, 41.0 - 25.0 / 3.0, 41.0 - 50.0 / 3.0, 16.0],
    );
}

#[test]
fn statistics_are_those_of_the_pages() {
    let x = "[23,46,23,87,4,8,3,75,2,56,13,75,32,16,29]";
    close(&run("series_stats", &[Json(x)]), &[2.0, 8.0, 87.0, 3.0, 32.8, 28.503633853548269, 812.457_142_857_142_9]);
    assert_eq!(
        run("series_stats_dynamic", &[Json("[10,20]")]),
        r#"{"min":10.0,"min_idx":0,"max":20.0,"max_idx":1,"avg":15.0,"stdev":7.0710678118654755,"variance":50.0,"sum":30.0,"len":2}"#
    );
    assert_eq!(run("series_stats", &[Json("[1,null]")]), "NULL");
    close(&run("series_stats", &[Json("[null,3,\"NaN\"]"), Bool(true)]), &[3.0, 1.0, 3.0, 1.0, 3.0, 0.0, 0.0]);
    close(
        &run("series_outliers", &[Json("[30,28,5,27,31,38,29,80,25,37,30]")]),
        &[
            0.0,
            0.0,
            -3.206896551724138,
            -0.1724137931034483,
            0.0,
            2.6666666666666667,
            0.0,
            16.666666666666669,
            -0.4482758620689655,
            2.3333333333333337,
            0.0,
        ],
    );
    close(&run("series_outliers", &[Json("[null,1,2,3,4,100]"), Text("tukey")]), &[0.0, -0.5, 0.0, 0.0, 0.0, 48.0]);
    assert_eq!(run("series_outliers", &[Json("[1]"), Text("other")]), "NULL");
}

#[test]
fn filters_are_recursive_sums() {
    assert_eq!(run("series_fir", &[Json("[5,15,10,20]"), Json("[1,-1]"), Bool(false), Bool(false)]), "[5,10,-5,10]");
    close(&run("series_fir", &[Json("[0,0,10,0]"), Json("[1,1,1]")]), &[0.0, 0.0, 10.0 / 3.0, 10.0 / 3.0]);
    close(
        &run("series_fir", &[Json("[0,0,10,0]"), Json("[1,1,1]"), Bool(true), Bool(true)]),
        &[0.0, 10.0 / 3.0, 10.0 / 3.0, 10.0 / 3.0],
    );
    assert_eq!(run("series_fir", &[Json("[1]"), Json("[1,-1]"), Bool(true)]), "NULL");
    assert_eq!(run("series_iir", &[Json("[1.0,2.0,3.0,4.0]"), Json("[1]"), Json("[1,-1]")]), "[1.0,3.0,6.0,10.0]");
    assert_eq!(run("series_iir", &[Json("[1]"), Json("[1]"), Json("[0,1]")]), "NULL");
    close(&run("series_fft", &[Json("[1,2,3,4]")]), &[10.0, -2.0, -2.0, -2.0, 0.0, 2.0, 0.0, -2.0]);
    close(&run("series_ifft", &[Json("[10,-2,-2,-2]"), Json("[0,2,0,-2]")]), &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn lines_and_polynomials_fit() {
    let fit = numbers(&run("series_fit_line", &[Json("[2,5,6,8,11,15,17,18,25,26,30,30]")]));
    let expected = [0.982, 2.730, 98.628, 1.686, -1.666, 1.064, 3.7945, 6.526];
    fit.iter().zip(expected).for_each(|(fit, expected)| assert!((fit - expected).abs() < 0.0011, "{fit} {expected}"));
    assert_eq!(run("series_fit_line", &[Json("[1]")]), "NULL");
    assert_eq!(run("series_fit_line", &[Json("[1,null]")]), "NULL");
    let y = "[1,2.2,2.5,4.7,5.0,12,10.3,10.3,9,8.3,6.2]";
    let two = numbers(&run("series_fit_2lines", &[Json(y)]));
    assert_eq!(two[1], 5.0);
    assert_eq!(two.len(), 14 + 11);
    assert!(run("series_fit_2lines_dynamic", &[Json(y)]).starts_with("{\"rsquare\":"));
    // y = 2x^3 - x + 5
    let cubic = numbers(&run("series_fit_poly", &[Json("[6,19,56,129,250,431]"), Json("[1,2,3,4,5,6]"), Long(3)]));
    [1.0, 2.0, 0.0, -1.0, 5.0].iter().zip(&cubic).for_each(|(a, b)| assert!((a - b).abs() < 1e-8, "{cubic:?}"));
    let line = numbers(&run("series_fit_poly", &[Json("[1,2,3,5]")]));
    let same = numbers(&run("series_fit_line", &[Json("[1,2,3,5]")]));
    assert!(
        (line[0] - same[0]).abs() < 1e-12 && (line[1] - same[1]).abs() < 1e-12 && (line[2] - same[4]).abs() < 1e-12
    );
}

const TRAFFIC: &str = "[80,139,87,110,68,54,50,51,53,133,86,141,97,156,94,149,95,140,77,61,50,54,47,133,72,152,94,148,105,162,101,160,87,63,53,55,54,151,103,189,108,183,113,175,113,178,90,71,62,62,65,165,109,181,115,182,121,178,114,170]";

#[test]
fn periods_are_found_and_checked() {
    let found = numbers(&run("series_periods_detect", &[Json(TRAFFIC), Real(0.0), Real(50.0), Long(2)]));
    assert_eq!((found[0], found[1], (found[2] * 100.0).floor(), found[3]), (14.0, 0.0, 84.0, 0.0));
    let found = numbers(&run("series_periods_validate", &[Json(TRAFFIC), Real(14.0), Real(10.0)]));
    assert_eq!((found[0], found[1], (found[2] * 100.0).floor(), found[3]), (14.0, 10.0, 84.0, 0.0));
    assert_eq!(run("series_periods_detect", &[Json("[1,1,1]"), Real(0.0), Real(50.0), Long(1)]), "[[0],[0.0]]");
}

#[test]
fn seasons_are_medians_of_a_phase() {
    let seasonal = |s, rest: &[Arg]| run("series_seasonal", &[&[Json(s)], rest].concat());
    assert_eq!(
        seasonal("[2,5,3,4,3,2,1,2,3,4,3,2,1,2,3,4,3,2,1,2,3,4,3,2,1]", &[]),
        "[1.0,2.0,3.0,4.0,3.0,2.0,1.0,2.0,3.0,4.0,3.0,2.0,1.0,2.0,3.0,4.0,3.0,2.0,1.0,2.0,3.0,4.0,3.0,2.0,1.0]"
    );
    assert_eq!(
        seasonal("[8,12,14,12,10,10,12,14,12,10,10,12,14,12,10,10,12,14,12,10]", &[]),
        "[10.0,12.0,14.0,12.0,10.0,10.0,12.0,14.0,12.0,10.0,10.0,12.0,14.0,12.0,10.0,10.0,12.0,14.0,12.0,10.0]"
    );
    assert_eq!(seasonal("[1,3,5,2,4,6,1,3,5,2,4,6]", &[]), "[0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]");
    assert_eq!(seasonal("[1,3,5,1,3,5,2,4,6]", &[Long(3)]), "[1.0,3.0,5.0,1.0,3.0,5.0,1.0,3.0,5.0]");
    assert_eq!(seasonal("[1,3,5,2,4,6]", &[Long(3)]), "[1.5,3.5,5.5,1.5,3.5,5.5]");
    assert_eq!(seasonal("[1,3]", &[Long(0)]), "[0.0,0.0]");
}

/// Hours of five weeks with a day's and a week's pattern, a trend and noise.
fn weeks(trend: f64) -> Vec<f64> {
    let mut state = 1u64;
    (0..24 * 7 * 5)
        .map(|t| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let noise = 2.0 * (state >> 11) as f64 / (1u64 << 53) as f64;
            let base = if (t / 24) % 7 >= 5 { 10.0 } else { 15.0 };
            noise + base - ((t % 24) / 10 * ((t % 24) / 10)) as f64 + t as f64 * trend
        })
        .collect()
}

fn json(values: &[f64]) -> &'static str {
    let text: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    Box::leak(format!("[{}]", text.join(",")).into_boxed_str())
}

#[test]
fn a_weekly_pattern_with_outliers_is_taken_apart() {
    let mut y = weeks(0.0);
    let dips = [149, 199, 779];
    let spikes = [299, 399, 599];
    dips.iter().for_each(|t| y[*t] -= 8.0);
    spikes.iter().for_each(|t| y[*t] += 8.0);
    let found = numbers(&run("series_periods_detect", &[Json(json(&y)), Real(0.0), Real(400.0), Long(1)]));
    assert_eq!(found[0], 168.0);
    let parts = numbers(&run("series_decompose", &[Json(json(&y))]));
    let (baseline, rest) = parts.split_at(y.len());
    let (residual, count) = (&rest[2 * y.len()..], y.len());
    (0..count).for_each(|t| assert!((baseline[t] + residual[t] - y[t]).abs() < 1e-9));
    let anomalies = numbers(&run("series_decompose_anomalies", &[Json(json(&y)), Real(3.0)]));
    for (t, flag) in anomalies[..count].iter().enumerate() {
        let expected = if dips.contains(&t) {
            -1.0
        } else if spikes.contains(&t) {
            1.0
        } else {
            0.0
        };
        assert_eq!(*flag, expected, "{t}");
    }
}

#[test]
fn a_forecast_goes_on_with_season_and_trend() {
    let y = weeks(1.0 / 72.0);
    let mut known = y.clone();
    known[24 * 7 * 4..].fill(0.0);
    let found =
        numbers(&run("series_decompose_forecast", &[Json(json(&known)), Long(24 * 7), Long(-1), Text("linefit")]));
    for t in 24 * 7 * 4..y.len() {
        assert!((found[t] - y[t]).abs() < 5.0, "{t}: {} {}", found[t], y[t]);
    }
    assert_eq!(
        run("series_decompose", &[Json("[1,2,3]"), Long(0), Text("none")]),
        "[[0.0,0.0,0.0],[0.0,0.0,0.0],[0.0,0.0,0.0],[1.0,2.0,3.0]]"
    );
    assert_eq!(run("series_decompose", &[Json("[1,2,3]"), Long(0), Text("other")]), "NULL");
}

#[test]
fn several_values_are_as_many_as_columns() {
    for row in families().into_iter().flatten() {
        let Some(columns) = multi_columns(row.name) else { continue };
        let args: &[Arg] = match row.name {
            "series_periods_detect" => &[Json(TRAFFIC), Real(0.0), Real(20.0), Long(1)],
            "series_periods_validate" => &[Json(TRAFFIC), Real(7.0)],
            "series_decompose_forecast" => &[Json(TRAFFIC), Long(3)],
            _ => &[Json(TRAFFIC)],
        };
        let value: serde_json::Value = serde_json::from_str(&run(row.name, args)).unwrap();
        assert_eq!(value.as_array().unwrap().len(), columns.len(), "{}", row.name);
    }
}

/// Odd values for a parameter.
fn odd(accepts: Accepts, place: usize) -> (KqlType, ArrayRef) {
    let texts = [
        "[1,2,3]",
        "[]",
        "{}",
        "null",
        "5",
        "\"x\"",
        "[null,\"NaN\",\"a\",[1],{},1e300,-5]",
        "[9223372036854775807,1]",
        "[0,0,0,0,0,0,0,0,0,0,0,0]",
    ];
    let longs = [0, -1, 1, 7, i64::MAX, i64::MIN, 3, 2, -5];
    let real = || {
        (
            KqlType::Real,
            Arc::new(Float64Array::from_iter((0..10).map(|n| (n < 9).then(|| longs[(n + place) % 9] as f64))))
                as ArrayRef,
        )
    };
    match accepts {
        Accepts::Only(KqlType::Bool) => {
            (KqlType::Bool, Arc::new(BooleanArray::from_iter((0..10).map(|n| (n % 3 > 0).then_some(n % 2 == 0)))))
        }
        Accepts::Only(KqlType::Long) => {
            (KqlType::Long, Arc::new(Int64Array::from_iter((0..10).map(|n| (n < 9).then(|| longs[(n + place) % 9])))))
        }
        Accepts::Only(KqlType::Real) | Accepts::Number | Accepts::Any => real(),
        Accepts::Only(KqlType::String) => (
            KqlType::String,
            Arc::new(StringViewArray::from_iter(
                (0..10).map(|n| (n < 9).then(|| ["avg", "linefit", "", "none", "tukey", "x"][n % 6])),
            )),
        ),
        _ => (
            KqlType::Dynamic,
            Arc::new(StringViewArray::from_iter((0..10).map(|n| (n < 9).then(|| texts[(n + 4 * place) % 9])))),
        ),
    }
}

#[test]
fn odd_input_gives_json_or_null_and_the_same_row_by_row() {
    for row in families().into_iter().flatten() {
        for signature in row.signatures {
            let required = signature.params.iter().filter(|param| param.occurs == Occurs::Required).count();
            for count in required..=signature.params.len() {
                let (types, columns): (Vec<KqlType>, Vec<ArrayRef>) = signature.params[..count]
                    .iter()
                    .enumerate()
                    .map(|(place, param)| odd(param.accepts, place))
                    .unzip();
                let args: Vec<ColumnarValue> =
                    columns.iter().map(|column| ColumnarValue::Array(Arc::clone(column))).collect();
                let whole = call(row, &args, &types, 10).to_array(10).unwrap();
                for place in 0..10 {
                    let args: Vec<ColumnarValue> = columns
                        .iter()
                        .map(|column| ColumnarValue::Scalar(ScalarValue::try_from_array(column, place).unwrap()))
                        .collect();
                    let one = call(row, &args, &types, 1).to_array(1).unwrap();
                    let (whole, one) = (
                        ScalarValue::try_from_array(&whole, place).unwrap(),
                        ScalarValue::try_from_array(&one, 0).unwrap(),
                    );
                    assert_eq!(whole.to_string(), one.to_string(), "{}", row.name);
                    if let Some(Some(text)) = whole.try_as_str() {
                        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{}: {text}", row.name);
                    }
                }
                let empty: Vec<ColumnarValue> =
                    columns.iter().map(|column| ColumnarValue::Array(column.slice(0, 0))).collect();
                assert_eq!(call(row, &empty, &types, 0).to_array(0).unwrap().len(), 0, "{}", row.name);
            }
        }
    }
}
