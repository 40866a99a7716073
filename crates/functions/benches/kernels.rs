//! Rows per second of each scalar kernel, conversion and aggregate over short ordinary values, the slowest first.
//!
//! `cargo bench -p tidewater-functions --bench kernels [-- PART-OF-A-NAME ...]`. Every argument is a column, but for
//! parameters that must be constant. Kernels below `WANTED` are marked and listed once more at the end.
//! `FUNCTIONS_MD=path` writes that list as a page; reasons that the page gives already stay.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a program")]
#![allow(clippy::disallowed_methods, reason = "a program with one setting")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{AggregateUDF, ColumnarValue, EmitTo};
use tidewater_functions::call::{Call, Kernel};
use tidewater_functions::registry::{Aggregate, AggregateCall, AggregateImp};
use tidewater_functions::signature::{Occurs, required};
use tidewater_functions::{Accepts, Imp, Param, Returns, Scalar, Signature, aggregate, convert, scalar};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

const ROWS: usize = 8192;
/// Rows per second below which a kernel is marked.
const WANTED: f64 = 5e6;
const LEAST_TIME: Duration = Duration::from_millis(60);

fn text(value: String) -> ScalarValue {
    ScalarValue::Utf8View(Some(value))
}

/// Words that mean something to a parameter.
fn word(function: &str, param: &str) -> Option<&'static str> {
    Some(match (function, param) {
        (_, "timezone") => "Europe/Brussels",
        ("datetime_part", "part") => "week_of_year",
        (_, "part") => "day",
        ("format_datetime", "format") => "yyyy-MM-dd HH:mm:ss",
        ("format_timespan", "format") => "d.hh:mm:ss",
        (_, "parser_type") => "windows",
        ("convert_angle", "from") => "Degree",
        ("convert_angle", "to") => "Radian",
        ("convert_length", "from") => "Meter",
        ("convert_length", "to") => "Foot",
        ("convert_temperature", "from") => "Kelvin",
        ("convert_temperature", "to") => "DegreeCelsius",
        ("convert_energy", "from") => "Joule",
        ("convert_energy", "to") => "WattHour",
        ("convert_force", "from") => "Newton",
        ("convert_force", "to") => "Dyn",
        ("convert_mass", "from") => "Gram",
        ("convert_mass", "to") => "Pound",
        ("convert_speed", "from") => "Knot",
        ("convert_speed", "to") => "MilePerHour",
        ("convert_volume", "from") => "Liter",
        ("convert_volume", "to") => "UsGallon",
        (_, "units") => "KB",
        _ => return None,
    })
}

/// A short ordinary value for a row. The parameter's name tells what texts and bags should hold.
fn value(function: &str, param: &Param, ty: KqlType, row: usize) -> ScalarValue {
    let number = row as i64 % 97;
    match ty {
        KqlType::Bool => ScalarValue::Boolean(Some(row.is_multiple_of(3))),
        KqlType::Int => ScalarValue::Int32(Some(number as i32 % 13 + 1)),
        KqlType::Long => ScalarValue::Int64(Some(number % 13 + 1)),
        KqlType::Real => ScalarValue::Float64(Some(number as f64 / 128.0)),
        KqlType::Decimal => ScalarValue::FixedSizeBinary(16, Some(Decimal::from_i64(number).bytes().to_vec())),
        KqlType::DateTime => ScalarValue::Int64(Some(637_134_336_000_000_000 + number * 123_456_789)),
        KqlType::TimeSpan => ScalarValue::Int64(Some(36_000_000_000 + number * 1_000_000)),
        KqlType::Guid => ScalarValue::FixedSizeBinary(16, Some(vec![number as u8; 16])),
        KqlType::String => text(if let Some(word) = word(function, param.name) {
            word.to_string()
        } else if function.contains("ipv6") {
            format!("fe80::85d:{number:x}")
        } else if function.contains("ip") && function.contains("v4") {
            format!("192.168.{number}.1/24")
        } else if function.contains("base64") {
            "S3VzdG8=".to_string()
        } else if function.contains("h3cell") {
            "862a1072fffffff".to_string()
        } else if function.contains("s2cell") {
            "89c259".to_string()
        } else if function.contains("geohash") {
            "ezs42".to_string()
        } else if param.constant || param.name.contains("regex") || param.name.contains("delimiter") {
            "a".to_string()
        } else {
            format!("a text {number}")
        }),
        KqlType::Dynamic => text(if param.name.contains("line") {
            format!("{{\"type\":\"LineString\",\"coordinates\":[[{number},0],[{number},1]]}}")
        } else if param.name.contains("polygon") {
            format!("{{\"type\":\"Polygon\",\"coordinates\":[[[{number},0],[{number},1],[99,2],[{number},0]]]}}")
        } else if param.name.contains("bag") {
            format!("{{\"a\":{number},\"b\":\"x\"}}")
        } else {
            format!("[{number},2,3,4]")
        }),
    }
}

fn ty(accepts: Accepts) -> KqlType {
    match accepts {
        Accepts::Only(ty) => ty,
        Accepts::OneOf(types) => types[types.len() - 1],
        Accepts::Number => KqlType::Real,
        Accepts::Any | Accepts::Common => KqlType::Long,
        Accepts::Text => KqlType::String,
    }
}

/// Rows per second; `None` where the kernel refuses the values.
fn measure(row: &Scalar, kernel: Kernel, signature: &Signature) -> Option<f64> {
    let params: Vec<&Param> = signature.params.iter().filter(|param| param.occurs == Occurs::Required).collect();
    let types: Vec<KqlType> = params.iter().map(|param| ty(param.accepts)).collect();
    let returns = match signature.returns {
        Returns::Type(ty) => ty,
        Returns::Argument(place) => *types.get(place)?,
        Returns::Common => types[0],
        Returns::By(rule) => rule(&types).ok()?,
    };
    let args: Vec<ColumnarValue> = params
        .iter()
        .zip(&types)
        .map(|(param, ty)| match param.constant {
            true => ColumnarValue::Scalar(value(row.name, param, *ty, 1)),
            false => {
                let values = (0..ROWS).map(|at| value(row.name, param, *ty, at));
                ColumnarValue::Array(ScalarValue::iter_to_array(values).unwrap())
            }
        })
        .collect();
    speed(kernel, &Call { args: &args, types: &types, returns, rows: ROWS })
}

fn speed(kernel: Kernel, call: &Call<'_>) -> Option<f64> {
    kernel(call).ok()?;
    let (started, mut runs) = (Instant::now(), 0);
    while started.elapsed() < LEAST_TIME {
        black_box(kernel(black_box(call)).ok()?);
        runs += 1;
    }
    Some((runs * ROWS) as f64 / started.elapsed().as_secs_f64())
}

/// A conversion of ordinary texts and values.
fn measure_conversion(from: KqlType, to: KqlType) -> Option<f64> {
    let kernel = convert::kernel(from, to)?;
    let number = |row: usize| row % 97;
    let values = (0..ROWS).map(|row| match (from, to) {
        (KqlType::String, KqlType::DateTime) => text(format!("2020-01-{:02}T03:04:05Z", number(row) % 28 + 1)),
        (KqlType::String, KqlType::TimeSpan) => text(format!("{}:04:05", number(row) % 24)),
        (KqlType::String, KqlType::Guid) => text(format!("74be27de-1e4e-49d9-b579-fe0b331d36{:02}", number(row))),
        (KqlType::String, KqlType::Bool) => text(row.is_multiple_of(2).to_string()),
        (KqlType::String, _) => text(number(row).to_string()),
        (KqlType::Dynamic, KqlType::String) => text(format!("{{\"a\":{}}}", number(row))),
        (KqlType::Dynamic, _) => text(number(row).to_string()),
        _ => value("", &required("value", Accepts::Only(from)), from, row),
    });
    let args = [ColumnarValue::Array(ScalarValue::iter_to_array(values).ok()?)];
    speed(kernel, &Call { args: &args, types: &[from], returns: to, rows: ROWS })
}

/// Groups that an aggregate keeps.
const GROUPS: usize = 100;

fn arguments_of<'a>(udf: &AggregateUDF, schema: &'a Schema, fields: &'a [Arc<Field>]) -> Option<AccumulatorArgs<'a>> {
    Some(AccumulatorArgs {
        return_field: udf.return_field(fields).ok()?,
        schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "x",
        is_distinct: false,
        exprs: &[],
        expr_fields: fields,
    })
}

/// An aggregate of a hundred groups over its first signature.
fn measure_aggregate(row: &Aggregate) -> Option<f64> {
    let AggregateImp::Function { build, .. } = row.imp else { return None };
    let signature = row.signatures.first()?;
    let (mut types, mut constants, mut columns) = (Vec::new(), Vec::new(), Vec::<ArrayRef>::new());
    for (place, param) in signature.params.iter().enumerate() {
        if row.predicate == Some(place) {
            continue;
        }
        if param.constant {
            let (ty, constant) = match param.accepts {
                Accepts::Only(KqlType::Dynamic) => (KqlType::Dynamic, text("[5,50,95]".to_string())),
                Accepts::Only(KqlType::Long) => (KqlType::Long, ScalarValue::Int64(Some(3))),
                _ => (KqlType::Real, ScalarValue::Float64(Some(50.0))),
            };
            types.push(ty);
            constants.push(Some(constant));
            continue;
        }
        let own = ty(param.accepts);
        types.push(own);
        constants.push(None);
        columns.push(ScalarValue::iter_to_array((0..ROWS).map(|at| value(row.name, param, own, at))).ok()?);
    }
    if columns.is_empty() {
        // The engine counts rows by a constant column.
        columns.push(ScalarValue::Int64(Some(1)).to_array_of_size(ROWS).ok()?);
    }
    let returns = match signature.returns {
        Returns::Type(ty) => ty,
        Returns::Argument(place) => *types.get(place)?,
        Returns::By(by) => by(&types).ok()?,
        Returns::Common => return None,
    };
    let udf = build(&AggregateCall { types: &types, constants: &constants, returns }).ok()?;
    let schema = Schema::empty();
    let fields: Vec<Arc<Field>> =
        columns.iter().map(|column| Arc::new(Field::new("x", column.data_type().clone(), true))).collect();
    let groups: Vec<usize> = (0..ROWS).map(|at| at * 31 % GROUPS).collect();
    let (started, mut runs) = (Instant::now(), 0);
    while started.elapsed() < LEAST_TIME {
        let mut accumulator = udf.create_groups_accumulator(arguments_of(&udf, &schema, &fields)?).ok()?;
        // Ten batches, so that making the answer does not count for more than in a query.
        for _ in 0..10 {
            accumulator.update_batch(black_box(&columns), &groups, None, GROUPS).ok()?;
        }
        black_box(accumulator.evaluate(EmitTo::All).ok()?);
        runs += 10;
    }
    Some((runs * ROWS) as f64 / started.elapsed().as_secs_f64())
}

/// What the page says of each kernel: the last cell of its row.
fn reasons(page: &str) -> BTreeMap<String, String> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((name.to_string(), (*cells.get(2)?).to_string()))
        })
        .collect()
}

fn page(slow: &[(f64, String)], count: usize, known: &BTreeMap<String, String>) -> String {
    let mut out = format!(
        "# Functions below {} million rows per second\n\nMade by `make bench-functions`: one core, short values, \
         {count} kernels measured. The last column is written by hand and stays.\n\n\
         | function | million rows/s | why |\n|---|---|---|\n",
        WANTED / 1e6
    );
    for (speed, name) in slow {
        let reason = known.get(name).map_or("", String::as_str);
        out.push_str(&format!("| `{name}` | {:.2} | {reason} |\n", speed / 1e6));
    }
    out
}

fn main() {
    // Cargo adds flags of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let (mut measured, mut others): (Vec<(f64, String)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut note = |speed: Option<f64>, name: String| match speed {
        Some(speed) => measured.push((speed, name)),
        None => others.push(name),
    };
    for row in scalar::families().into_iter().flatten().filter(|row| is_wanted(row.name)) {
        let Imp::Kernel(kernel) = row.imp else { continue };
        note(row.signatures.first().and_then(|signature| measure(row, kernel, signature)), row.name.to_string());
    }
    for (from, to) in KqlType::ALL.into_iter().flat_map(|from| KqlType::ALL.map(|to| (from, to))) {
        let name = format!("to{}({})", to.name(), from.name());
        if from != to && is_wanted(&name) && convert::kernel(from, to).is_some() {
            note(measure_conversion(from, to), name);
        }
    }
    for row in aggregate::families().into_iter().flatten().filter(|row| is_wanted(row.name)) {
        if matches!(row.imp, AggregateImp::Function { .. }) && row.predicate.is_none() {
            note(measure_aggregate(row), format!("{} by 100 groups", row.name));
        }
    }
    measured.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (speed, name) in &measured {
        println!("{:>10.2} million rows/s {} {name}", speed / 1e6, if *speed < WANTED { "*" } else { " " });
    }
    let count = measured.len();
    let slow: Vec<(f64, String)> = measured.into_iter().filter(|(speed, _)| *speed < WANTED).collect();
    println!("{count} kernels, {} below {} million rows/s", slow.len(), WANTED / 1e6);
    println!("not measured: {}", others.join(", "));
    if let Ok(path) = std::env::var("FUNCTIONS_MD") {
        let known = reasons(&std::fs::read_to_string(&path).unwrap_or_default());
        std::fs::write(&path, page(&slow, count, &known)).unwrap();
    }
}
