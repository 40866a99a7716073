//! Each kernel agrees with itself: for constants, columns, mixtures of both, slices, no rows, all nulls.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::ColumnarValue;
use tidewater_functions::call::{Call, Kernel};
use tidewater_functions::signature::Occurs;
use tidewater_functions::{Accepts, Imp, Param, Returns, Signature, scalar};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_string()))
}

/// Values of a type, null among them.
fn samples(ty: KqlType) -> Vec<ScalarValue> {
    let null = ScalarValue::try_from(&ty.arrow()).unwrap();
    let mut values: Vec<ScalarValue> = match ty {
        KqlType::Bool => [true, false].map(|value| ScalarValue::Boolean(Some(value))).to_vec(),
        KqlType::Int => [1, 0, -3, 7, i32::MAX, i32::MIN].map(|value| ScalarValue::Int32(Some(value))).to_vec(),
        KqlType::Long => {
            [1, 2, 0, -3, 17, 1 << 40, i64::MAX, i64::MIN].map(|value| ScalarValue::Int64(Some(value))).to_vec()
        }
        KqlType::Real => [1.0, 0.5, 0.0, -2.25, 1e300, f64::NAN, f64::INFINITY]
            .map(|value| ScalarValue::Float64(Some(value)))
            .to_vec(),
        KqlType::Decimal => ["1", "0", "-2.5", "12345678901234567890.5"]
            .map(|value| ScalarValue::FixedSizeBinary(16, Some(Decimal::parse(value).unwrap().bytes().to_vec())))
            .to_vec(),
        KqlType::DateTime => [637_134_336_000_000_000, 0, 3_155_378_975_999_999_999, 600_000_000_000_000_001]
            .map(|value| ScalarValue::Int64(Some(value)))
            .to_vec(),
        KqlType::TimeSpan => {
            [36_000_000_000, 864_000_000_001, 0, -1, i64::MAX].map(|value| ScalarValue::Int64(Some(value))).to_vec()
        }
        KqlType::Guid => {
            [[0u8; 16], [0xA7; 16]].map(|value| ScalarValue::FixedSizeBinary(16, Some(value.to_vec()))).to_vec()
        }
        KqlType::String => [
            "a",
            "Hello World, a text longer than a view holds",
            "",
            "192.168.1.1/24",
            "https://user:pw@host.com:8080/p/a.txt?k=v&x=%20y#f",
            "é😀 naïve",
            "S3VzdG8=",
            "{\"a\": [1, 2.5, \"x\"]}",
            "fe80::1",
            "1.2.3.4",
            "/usr/lib/file.txt",
            "xn--bcher-kva",
        ]
        .map(text)
        .to_vec(),
        KqlType::Dynamic => [
            "[1,2,3]",
            "{\"a\":{\"b\":1},\"c\":[true,null]}",
            "[\"a\",\"b\",null]",
            "[1.5,-2,null,3,4,5,6,7,8,9]",
            "\"text\"",
            "[]",
            "{}",
            "7",
            "[[0,0],[0,1],[1,1]]",
            "{\"type\":\"Point\",\"coordinates\":[10.5,50]}",
            "{\"type\":\"LineString\",\"coordinates\":[[0,0],[1,1],[2,0]]}",
            "{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[2,0],[2,2],[0,0]]]}",
        ]
        .map(text)
        .to_vec(),
    };
    values.insert(1, null);
    values
}

/// Values that nobody expects: extremes, not-numbers, long and deep texts, characters of other planes.
fn hostile(ty: KqlType) -> Vec<ScalarValue> {
    let null = ScalarValue::try_from(&ty.arrow()).unwrap();
    let deep = |open: &str, middle: &str, close: &str| open.repeat(400) + middle + &close.repeat(400);
    let mut values: Vec<ScalarValue> = match ty {
        KqlType::Bool => vec![ScalarValue::Boolean(Some(true))],
        KqlType::Int => [i32::MIN, i32::MAX, -1, 0].map(|value| ScalarValue::Int32(Some(value))).to_vec(),
        KqlType::Long => {
            [i64::MIN, i64::MAX, -1, 0, i64::MIN + 1, 64].map(|value| ScalarValue::Int64(Some(value))).to_vec()
        }
        KqlType::Real => [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::MIN_POSITIVE / 8.0,
            f64::MAX,
            f64::MIN,
            9_223_372_036_854_775_808.0,
            180.0,
            -90.000_000_000_000_01,
        ]
        .map(|value| ScalarValue::Float64(Some(value)))
        .to_vec(),
        KqlType::Decimal => ["9999999999999999999999999999999999", "-1e-30", "1e30", "-0"]
            .map(|value| ScalarValue::FixedSizeBinary(16, Decimal::parse(value).map(|value| value.bytes().to_vec())))
            .to_vec(),
        // Ticks beyond the years, as a faulty file could hold them.
        KqlType::DateTime => [0, 3_155_378_975_999_999_999, 3_155_378_975_999_999_998, 1, 621_355_968_000_000_000]
            .map(|value| ScalarValue::Int64(Some(value)))
            .to_vec(),
        KqlType::TimeSpan => [i64::MIN, i64::MAX, 1, -1, 0].map(|value| ScalarValue::Int64(Some(value))).to_vec(),
        KqlType::Guid => vec![ScalarValue::FixedSizeBinary(16, Some(vec![0xFF; 16]))],
        KqlType::String => vec![
            text(""),
            text(&"a".repeat(2_000)),
            text(&"😀é".repeat(500)),
            text("\u{0}\u{1}\u{10FFFF}\u{FEFF}\u{202E}"),
            text(&deep("[", "1", "]")),
            text(&deep("{\"a\":", "1", "}")),
            text(&deep("<a>", "x", "</a>")),
            text(&deep("(", "a*", ")+")),
            text(&"9".repeat(400)),
            text("-1e-400"),
            text("\\"),
            text("%%%%2"),
            text("::ffff:999.1.1.1/129"),
            text("\"unclosed,\"\""),
            text("xn--\u{7f}---"),
            text("POLYGON ((((("),
            text("$.[''..*"),
        ],
        KqlType::Dynamic => vec![
            text(&deep("[", "1", "]")),
            text(&deep("{\"a\":", "null", "}")),
            text(&format!("[{}]", vec!["1e308,-1e308,null,\"x\""; 200].join(","))),
            text("[-9223372036854775808,9223372036854775807,18446744073709551616,1e-320]"),
            text("\"😀\\u0000\""),
            text("{\"\":{},\"😀\":[],\"a.b\":1,\"$\":null}"),
            text("[\"NaN\",\"Infinity\",\"-Infinity\",true,{},[]]"),
            text("[null,null,null,null,null,null,null,null]"),
            text("{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[180,0],[0,90],[-180,0],[0,0]]]}"),
            text("{\"type\":\"LineString\",\"coordinates\":[[179.999,89],[-179.999,-89],[0,0],[0,0]]}"),
            text("{\"type\":\"MultiPolygon\",\"coordinates\":[[[]]]}"),
            text("1e308"),
        ],
    };
    values.insert(1, null);
    values
}

/// The types with which a parameter is tried.
fn types(accepts: Accepts) -> Vec<KqlType> {
    match accepts {
        Accepts::Only(ty) => vec![ty],
        Accepts::OneOf(types) => types.to_vec(),
        Accepts::Number => vec![KqlType::Long, KqlType::Real, KqlType::Int, KqlType::Decimal],
        Accepts::Any => KqlType::ALL.to_vec(),
        Accepts::Text => vec![KqlType::String],
        Accepts::Common => vec![KqlType::Long, KqlType::Real, KqlType::DateTime],
    }
}

/// The parameters of calls with few and with many arguments.
fn shapes(signature: &Signature) -> Vec<Vec<&Param>> {
    let of = |occurs: &[Occurs]| -> Vec<&Param> {
        signature.params.iter().filter(|param| occurs.contains(&param.occurs)).collect()
    };
    let mut shapes = vec![
        of(&[Occurs::Required]),
        of(&[Occurs::Required, Occurs::Optional]),
        of(&[Occurs::Required, Occurs::Optional, Occurs::Repeated]),
    ];
    shapes.dedup_by_key(|shape| shape.len());
    shapes
}

fn run(kernel: Kernel, args: &[ColumnarValue], types: &[KqlType], returns: KqlType, rows: usize) -> Result<ArrayRef> {
    let answer = kernel(&Call { args, types, returns, rows })?;
    assert!(args.is_empty() || !is_constant(args) || matches!(answer, ColumnarValue::Scalar(_)) || rows == 1);
    let array = answer.to_array(rows)?;
    assert_eq!(array.len(), rows, "rows");
    assert_eq!(*array.data_type(), returns.arrow(), "type");
    array.to_data().validate_full()?;
    Ok(array)
}

fn is_constant(args: &[ColumnarValue]) -> bool {
    args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
}

fn value(array: &ArrayRef, row: usize) -> ScalarValue {
    ScalarValue::try_from_array(array, row).unwrap()
}

fn same(one: &ScalarValue, other: &ScalarValue) -> bool {
    match (one, other) {
        (ScalarValue::Float64(Some(one)), ScalarValue::Float64(Some(other))) => {
            one == other || one.is_nan() && other.is_nan()
        }
        _ => one == other,
    }
}

/// One kernel with arguments of certain types.
struct Case<'a> {
    name: &'a str,
    kernel: Kernel,
    params: Vec<&'a Param>,
    types: Vec<KqlType>,
    returns: KqlType,
    /// Values of a type.
    pool: fn(KqlType) -> Vec<ScalarValue>,
}

impl Case<'_> {
    fn check(&self, same_rows: &[Vec<ScalarValue>], expected: &[ScalarValue], args: &[ColumnarValue], what: &str) {
        let array = match run(self.kernel, args, &self.types, self.returns, expected.len()) {
            Ok(array) => array,
            Err(error) => panic!("{} {:?} {what}: {error}", self.name, self.types),
        };
        for (row, expected) in expected.iter().enumerate() {
            let found = value(&array, row);
            assert!(
                same(&found, expected),
                "{} {:?} {what}, row {row} {:?}: {found:?}, as constants {expected:?}",
                self.name,
                self.types,
                same_rows.get(row)
            );
        }
    }

    /// Returns how many rows were compared.
    fn run(&self, seed: usize) -> usize {
        // Rows of arguments; parameters that must be constant have one value in all rows.
        let choose = |position: usize, row: usize| {
            let mut values = (self.pool)(self.types[position]);
            // A million elements a row take their time.
            if matches!(self.name, "range" | "repeat") {
                values.retain(|value| match value {
                    ScalarValue::Int64(Some(value)) => value.unsigned_abs() < 100,
                    ScalarValue::Int32(Some(value)) => value.unsigned_abs() < 100,
                    _ => true,
                });
            }
            let row = if self.params[position].constant { 0 } else { row };
            values[(seed + row * (position * 2 + 1) + position) % values.len()].clone()
        };
        let mut rows = Vec::new();
        let mut expected = Vec::new();
        for row in 0..11 {
            let values: Vec<ScalarValue> = (0..self.types.len()).map(|position| choose(position, row)).collect();
            let args: Vec<ColumnarValue> = values.iter().cloned().map(ColumnarValue::Scalar).collect();
            // An error for constants is the kernel's right; the row is left out.
            if let Ok(array) = run(self.kernel, &args, &self.types, self.returns, 1) {
                expected.push(value(&array, 0));
                rows.push(values);
            }
        }
        if rows.len() < 3 {
            return 0;
        }
        let column = |position: usize| -> ArrayRef {
            ScalarValue::iter_to_array(rows.iter().map(|row| row[position].clone())).unwrap()
        };
        let arg = |position: usize, slice: std::ops::Range<usize>| {
            if self.params[position].constant {
                return ColumnarValue::Scalar(rows[0][position].clone());
            }
            ColumnarValue::Array(column(position).slice(slice.start, slice.len()))
        };
        let count = self.types.len();
        let all = || (0..count).map(|position| arg(position, 0..rows.len())).collect::<Vec<_>>();
        if is_constant(&all()) {
            return rows.len();
        }
        self.check(&rows, &expected, &all(), "as columns");
        let middle = 1..rows.len() - 1;
        let sliced: Vec<_> = (0..count).map(|position| arg(position, middle.clone())).collect();
        self.check(&rows[middle.clone()], &expected[middle], &sliced, "sliced");
        let none: Vec<_> = (0..count).map(|position| arg(position, 0..0)).collect();
        self.check(&[], &[], &none, "without rows");
        // One column, the others constants.
        for varied in (0..count).filter(|position| !self.params[*position].constant) {
            let mut mixed_rows = Vec::new();
            let mut mixed_expected = Vec::new();
            for row in &rows {
                let mut values = rows[0].clone();
                values[varied] = row[varied].clone();
                let args: Vec<ColumnarValue> = values.iter().cloned().map(ColumnarValue::Scalar).collect();
                if let Ok(array) = run(self.kernel, &args, &self.types, self.returns, 1) {
                    mixed_expected.push(value(&array, 0));
                    mixed_rows.push(values);
                }
            }
            if mixed_rows.is_empty() {
                continue;
            }
            let mut args: Vec<_> = rows[0].iter().cloned().map(ColumnarValue::Scalar).collect();
            let varied_column = mixed_rows.iter().map(|row| row[varied].clone());
            args[varied] = ColumnarValue::Array(ScalarValue::iter_to_array(varied_column).unwrap());
            self.check(&mixed_rows, &mixed_expected, &args, &format!("with column {varied}"));
        }
        rows.len()
    }
}

#[test]
fn kernels_agree_with_themselves() {
    let unexamined = compare_all(samples, 2, &[]);
    // Functions whose constant arguments are words of their own (`'day'`, `'Degree'`) have their own tests.
    assert!(unexamined.len() < 40, "{unexamined:?}");
}

#[test]
fn kernels_bear_extremes_long_texts_and_deep_values() {
    // A million elements a row take their time.
    compare_all(hostile, 3, &["range", "repeat"]);
}

/// Compares every kernel over values of a pool; the rows without any that could be compared.
fn compare_all(pool: fn(KqlType) -> Vec<ScalarValue>, seeds: usize, skipped: &[&str]) -> BTreeMap<&'static str, usize> {
    let mut unexamined = BTreeMap::new();
    for row in scalar::families().into_iter().flatten() {
        let Imp::Kernel(kernel) = row.imp else { continue };
        if !row.is_pure || skipped.contains(&row.name) {
            continue;
        }
        let mut compared = 0;
        for signature in row.signatures {
            for params in shapes(signature) {
                let variants = params.iter().map(|param| types(param.accepts).len()).max().unwrap_or(1);
                for variant in 0..variants {
                    let chosen: Vec<KqlType> = params
                        .iter()
                        .map(|param| {
                            let types = types(param.accepts);
                            types[variant % types.len()]
                        })
                        .collect();
                    let returns = match signature.returns {
                        Returns::Type(ty) => ty,
                        Returns::Argument(position) => chosen[position],
                        Returns::Common => chosen[0],
                        Returns::By(rule) => match rule(&chosen) {
                            Ok(ty) => ty,
                            Err(_) => continue,
                        },
                    };
                    let case = Case { name: row.name, kernel, params: params.clone(), types: chosen, returns, pool };
                    for seed in 0..seeds {
                        compared += case.run(seed);
                    }
                }
            }
        }
        if compared == 0 {
            unexamined.insert(row.name, row.signatures.len());
        }
    }
    unexamined
}
