//! Rows per second of each scalar kernel over short ordinary values, the slowest first.
//!
//! `cargo bench -p tidewater-functions --bench kernels [-- PART-OF-A-NAME ...]`. Every argument is a column, but for
//! parameters that must be constant. Kernels below `WANTED` are marked; those that take none of the values, since their
//! arguments are words of their own (units, parts of dates), are listed at the end.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a program")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use tidewater_functions::call::{Call, Kernel};
use tidewater_functions::signature::Occurs;
use tidewater_functions::{Accepts, Imp, Param, Returns, Scalar, Signature, scalar};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

const ROWS: usize = 8192;
/// Rows per second below which a kernel is marked.
const WANTED: f64 = 5e6;
const LEAST_TIME: Duration = Duration::from_millis(60);

fn text(value: String) -> ScalarValue {
    ScalarValue::Utf8View(Some(value))
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
        KqlType::String => text(if function.contains("ipv6") {
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
    let call = Call { args: &args, types: &types, returns, rows: ROWS };
    kernel(&call).ok()?;
    let (started, mut runs) = (Instant::now(), 0);
    while started.elapsed() < LEAST_TIME {
        black_box(kernel(black_box(&call)).ok()?);
        runs += 1;
    }
    Some((runs * ROWS) as f64 / started.elapsed().as_secs_f64())
}

fn main() {
    // Cargo adds flags of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (mut measured, mut others) = (Vec::new(), Vec::new());
    for row in scalar::families().into_iter().flatten() {
        let Imp::Kernel(kernel) = row.imp else { continue };
        if !wanted.is_empty() && !wanted.iter().any(|part| row.name.contains(part.as_str())) {
            continue;
        }
        match row.signatures.first().and_then(|signature| measure(row, kernel, signature)) {
            Some(speed) => measured.push((speed, row.name)),
            None => others.push(row.name),
        }
    }
    measured.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (speed, name) in &measured {
        println!("{:>10.2} million rows/s {} {name}", speed / 1e6, if *speed < WANTED { "*" } else { " " });
    }
    let slow = measured.iter().filter(|(speed, _)| *speed < WANTED).count();
    println!(
        "{} kernels, {slow} below {} million rows/s; not measured: {}",
        measured.len(),
        WANTED / 1e6,
        others.join(", ")
    );
}
