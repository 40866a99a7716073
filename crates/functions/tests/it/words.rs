//! Functions some of whose arguments are words of their own (`'day'`, `'Degree'`, a format): each gives the
//! same for constants, columns, slices, any mixture of them, and nothing for an empty batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use tidewater_functions::call::{Call, Kernel};
use tidewater_functions::registry::{Imp, Scalar};
use tidewater_functions::signature::{Accepts, Occurs, Param, Returns, Signature};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

/// A small generator with a fixed seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

const ROWS: usize = 40;

/// Texts that mean something to some function, and others.
const TEXTS: [&str; 28] = [
    "",
    "a",
    "Hello World",
    "héllo wörld, a text of more than twelve bytes",
    "日本語.jp",
    "12",
    "-7.5",
    "2020-01-02T03:04:05.6Z",
    "1.02:03:04",
    "192.168.1.1/24",
    "10.0.0.1 and 127.0.0.1, fe80::1",
    "fe80::85d:e82c:9446:7994/120",
    "https://user:pw@host:80/a/b.txt?k=v&k=w#top",
    "S3VzdG8=",
    "%c3%a9+x%zz",
    "xn--Ge-mia.Bulg.edu",
    "C:\\temp\\file.txt:stream",
    "a,b;c d|e",
    "{\"a\":1}",
    "[1,\"x\",null]",
    "1.2.3.4",
    "0x1F",
    "true",
    "x \"y z\" \\\"",
    "eJwLSS0uUSguKcrMS1cwNDIGACxqBQ4=",
    "aaa bbb aaa",
    "😀 smile",
    "line\nline\ttab",
];

const JSONS: [&str; 16] = [
    "1",
    "-2.5",
    "\"text\"",
    "\"2020-01-02\"",
    "true",
    "[]",
    "{}",
    "[1,2,3,4,5]",
    "[1.5,-2.0,0.0,7.25]",
    "[\"a\",\"b\",\"a\"]",
    "[\"10.0.0.0/8\",\"127.0.0.1\",\"x\"]",
    "{\"a\":1,\"b\":[1,2],\"c\":{\"d\":null}}",
    "[[1,2],[3]]",
    "[{\"a\":1},{\"a\":2,\"b\":3}]",
    "[true,false,true]",
    "[75,117,115,116,111]",
];

fn values(ty: KqlType) -> Vec<ScalarValue> {
    let longs = [0, 1, -1, 2, 3, 7, 24, 100, -1000, 1 << 31, i64::MAX, i64::MIN];
    let bytes = |decimal: Decimal| ScalarValue::FixedSizeBinary(16, Some(decimal.bytes().to_vec()));
    let mut values: Vec<ScalarValue> = match ty {
        KqlType::Bool => [true, false].map(|value| ScalarValue::Boolean(Some(value))).into(),
        KqlType::Int => {
            [0, 1, -1, 2, 5, 23, 2020, i32::MAX, i32::MIN].map(|value| ScalarValue::Int32(Some(value))).into()
        }
        KqlType::Long => longs.map(|value| ScalarValue::Int64(Some(value))).into(),
        KqlType::Real => {
            [0.0, -0.0, 0.5, 1.0, -2.5, 1e10, 1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 30.25]
                .map(|value| ScalarValue::Float64(Some(value)))
                .into()
        }
        KqlType::Decimal => ["0", "1", "-2.5", "1e30", "0.1", "123456789.123456789"]
            .map(|text| bytes(Decimal::parse(text).unwrap()))
            .into(),
        KqlType::String => TEXTS.map(|text| ScalarValue::Utf8View(Some(text.to_string()))).into(),
        KqlType::Dynamic => JSONS.map(|text| ScalarValue::Utf8View(Some(text.to_string()))).into(),
        KqlType::DateTime => {
            [0, 1, 637_134_336_000_000_000, 637_185_312_123_456_789, 3_155_378_975_999_999_999, 621_355_968_000_000_000]
                .map(|value| ScalarValue::Int64(Some(value)))
                .into()
        }
        KqlType::TimeSpan => [0, 1, -1, 36_000_000_000, 864_000_000_000, -937_845_000_001, i64::MAX, i64::MIN]
            .map(|value| ScalarValue::Int64(Some(value)))
            .into(),
        KqlType::Guid => [[0u8; 16], [0xFF; 16], *b"0123456789abcdef"]
            .map(|guid| ScalarValue::FixedSizeBinary(16, Some(guid.to_vec())))
            .into(),
    };
    values.push(ScalarValue::try_from(&ty.arrow()).unwrap());
    values
}

/// What a parameter must be for its function to do anything but refuse.
fn meaningful(function: &str, param: &str) -> Option<&'static [&'static str]> {
    Some(match (function, param) {
        (_, "timezone") => &["UTC", "Europe/Brussels", "US/Pacific"],
        ("datetime_part", "part") => &["week_of_year", "dayofyear", "nanosecond"],
        (_, "part") => &["day", "Month", "week", "nanosecond", "year"],
        ("format_datetime", _) => &["yyyy-MM-dd HH:mm:ss.fffffff", "d tt y"],
        ("format_timespan", _) => &["d.hh:mm:ss.FFF", "dddd"],
        (_, "parser_type") => &["windows"],
        ("convert_angle", "from" | "to") => &["Degree", "Tilt", "Radian", "x"],
        ("convert_length", "from" | "to") => &["Meter", "Foot", "x"],
        ("convert_temperature", "from" | "to") => &["Kelvin", "DegreeCelsius", "x"],
        ("convert_energy", "from" | "to") => &["Joule", "WattHour", "x"],
        ("convert_force", "from" | "to") => &["Newton", "Dyn", "x"],
        ("convert_mass", "from" | "to") => &["Gram", "Pound", "x"],
        ("convert_speed", "from" | "to") => &["Knot", "MilePerHour", "x"],
        ("convert_volume", "from" | "to") => &["Liter", "UsGallon", "x"],
        (_, "units") => &["KB", "", "x"],
        _ => return None,
    })
}

fn types(accepts: Accepts) -> Vec<KqlType> {
    match accepts {
        Accepts::Only(ty) => vec![ty],
        Accepts::OneOf(types) => types.to_vec(),
        Accepts::Number => vec![KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal],
        Accepts::Any | Accepts::Common => KqlType::ALL.to_vec(),
        Accepts::Text => vec![KqlType::String],
    }
}

/// The parameters of one call: optional ones or not, repeated ones some times.
fn calls(signature: &Signature) -> Vec<Vec<Param>> {
    let of = |occurs: &[Occurs]| -> Vec<Param> {
        signature.params.iter().filter(|param| occurs.contains(&param.occurs)).copied().collect()
    };
    let required = of(&[Occurs::Required]);
    let all = of(&[Occurs::Required, Occurs::Optional]);
    let repeated = of(&[Occurs::Repeated]);
    let mut calls = vec![required, all.clone()];
    if !repeated.is_empty() {
        calls.push([all, repeated.clone(), repeated].concat());
    }
    calls.dedup_by_key(|params| params.len());
    calls.retain(|params| !params.is_empty());
    calls
}

struct Trial {
    kernel: Kernel,
    types: Vec<KqlType>,
    returns: KqlType,
}

impl Trial {
    fn run(&self, args: &[ColumnarValue], rows: usize) -> Result<ArrayRef, String> {
        let call = Call { args, types: &self.types, returns: self.returns, rows };
        let value = (self.kernel)(&call).map_err(|error| error.to_string())?;
        if let ColumnarValue::Array(array) = &value {
            assert_eq!(array.len(), rows);
        }
        let array = value.to_array(rows).map_err(|error| error.to_string())?;
        assert_eq!(*array.data_type(), self.returns.arrow());
        array.to_data().validate_full().unwrap();
        Ok(array)
    }
}

fn value_at(array: &ArrayRef, row: usize, ty: KqlType) -> ScalarValue {
    let value = ScalarValue::try_from_array(array, row).unwrap();
    // A null string is read as the empty one.
    if ty == KqlType::String && value.is_null() { ScalarValue::Utf8View(Some(String::new())) } else { value }
}

fn check(
    row: &Scalar,
    kernel: Kernel,
    params: &[Param],
    returns: Returns,
    variant: usize,
    random: &mut Random,
) -> bool {
    // Parameters marked `Common` share a type.
    let types: Vec<KqlType> = params
        .iter()
        .enumerate()
        .map(|(position, param)| {
            let types = types(param.accepts);
            let shift = if param.accepts == Accepts::Common { 0 } else { position * (variant / 7) };
            types[(variant + shift) % types.len()]
        })
        .collect();
    let returns = match returns {
        Returns::Type(ty) => ty,
        Returns::Argument(position) => types[position],
        Returns::Common => params
            .iter()
            .zip(&types)
            .find(|(param, _)| param.accepts == Accepts::Common)
            .map_or(types[0], |(_, ty)| *ty),
        Returns::By(by) => match by(&types) {
            Ok(ty) => ty,
            Err(_) => return false,
        },
    };
    let trial = Trial { kernel, types, returns };
    let arrays: Vec<ArrayRef> = params
        .iter()
        .zip(&trial.types)
        .map(|(param, ty)| {
            let pool = match meaningful(row.name, param.name) {
                Some(texts) => texts.iter().map(|text| ScalarValue::Utf8View(Some(text.to_string()))).collect(),
                None => values(*ty),
            };
            let constant = pool[random.below(pool.len())].clone();
            let picks = (0..ROWS)
                .map(|_| if param.constant { constant.clone() } else { pool[random.below(pool.len())].clone() });
            ScalarValue::iter_to_array(picks).unwrap()
        })
        .collect();
    let constants_of = |at: usize| -> Vec<ColumnarValue> {
        arrays.iter().map(|array| ColumnarValue::Scalar(ScalarValue::try_from_array(array, at).unwrap())).collect()
    };
    let columns = |arrays: &[ArrayRef]| -> Vec<ColumnarValue> {
        params
            .iter()
            .zip(arrays)
            .map(|(param, array)| match param.constant && !array.is_empty() {
                true => ColumnarValue::Scalar(ScalarValue::try_from_array(array, 0).unwrap()),
                false => ColumnarValue::Array(Arc::clone(array)),
            })
            .collect()
    };
    let what = |how: &str, at: usize| format!("{} {:?} {how}, row {at}: {:?}", row.name, trial.types, constants_of(at));

    let Ok(all) = trial.run(&columns(&arrays), ROWS) else { return false };
    for at in 0..ROWS {
        let expected = value_at(&all, at, returns);
        let constants = constants_of(at);
        let one = trial.run(&constants, 3).unwrap_or_else(|error| panic!("{}: {error}", what("constants", at)));
        assert_eq!(value_at(&one, 2, returns), expected, "{}", what("constants", at));
        for column in 0..arrays.len() {
            if params[column].constant {
                continue;
            }
            let mut mixed = constants.clone();
            mixed[column] = ColumnarValue::Array(arrays[column].slice(at, 1));
            let one = trial.run(&mixed, 1).unwrap_or_else(|error| panic!("{}: {error}", what("mixed", at)));
            assert_eq!(value_at(&one, 0, returns), expected, "{}", what("mixed", at));
        }
    }
    let sliced: Vec<ArrayRef> = arrays.iter().map(|array| array.slice(7, 20)).collect();
    let slice = trial.run(&columns(&sliced), 20).unwrap();
    for at in 0..20 {
        assert_eq!(value_at(&slice, at, returns), value_at(&all, at + 7, returns), "{}", what("slice", at + 7));
    }
    let empty: Vec<ArrayRef> = arrays.iter().map(|array| array.slice(0, 0)).collect();
    let mut args = columns(&empty);
    for (position, param) in params.iter().enumerate() {
        if param.constant {
            args[position] = ColumnarValue::Scalar(ScalarValue::try_from_array(&arrays[position], 0).unwrap());
        }
    }
    assert!(trial.run(&args, 0).unwrap().is_empty(), "{}", row.name);
    true
}

#[test]
fn kernels_agree_with_themselves_for_words_that_they_know() {
    let mut random = Random(0x9E37_79B9);
    let mut silent = Vec::new();
    for row in tidewater_functions::scalar::families().into_iter().flatten() {
        let Imp::Kernel(kernel) = row.imp else { continue };
        let mut params = row.signatures.iter().flat_map(|signature| signature.params);
        if !params.any(|param| meaningful(row.name, param.name).is_some()) {
            continue;
        }
        let mut worked = 0;
        for signature in row.signatures {
            for params in calls(signature) {
                for variant in 0..8 {
                    worked += usize::from(check(row, kernel, &params, signature.returns, variant, &mut random));
                }
            }
        }
        if worked == 0 {
            silent.push(row.name);
        }
    }
    assert_eq!(silent, Vec::<&str>::new(), "functions that refused every trial");
}
