//! The examples of the rows, read by KQL's parser and evaluated by a small binder of constants.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion_common::ScalarValue;
use datafusion_expr::{ColumnarValue, lit};
use tidewater_functions::call::Call;
use tidewater_functions::registry::{Imp, Scalar, find_scalar};
use tidewater_functions::signature::{Accepts, Occurs, Param, Returns};
use tidewater_functions::{convert, operator};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{Expr, ExprKind, Literal, OperatorKind, StatementKind, UnaryOp};
use tidewater_kql::value::datetime;
use tidewater_kql::value::decimal::Decimal;

use crate::evaluate::evaluate;

type Typed = (ScalarValue, KqlType);

/// What the example's call needs that is not here: a binder.
struct Unserved;

fn literal(literal: &Literal) -> Typed {
    let bytes = |bytes: Option<[u8; 16]>| ScalarValue::FixedSizeBinary(16, bytes.map(Vec::from));
    match literal {
        Literal::Bool(value) => (ScalarValue::Boolean(*value), KqlType::Bool),
        Literal::Int(value) => (ScalarValue::Int32(*value), KqlType::Int),
        Literal::Long(value) => (ScalarValue::Int64(*value), KqlType::Long),
        Literal::Real(value) => (ScalarValue::Float64(*value), KqlType::Real),
        Literal::Decimal(text) => {
            (bytes(text.as_ref().and_then(|text| Decimal::parse(text)).map(Decimal::bytes)), KqlType::Decimal)
        }
        Literal::String(text) => (ScalarValue::Utf8View(Some(text.clone())), KqlType::String),
        Literal::DateTime(ticks) => (ScalarValue::Int64(*ticks), KqlType::DateTime),
        // Today's date stands nowhere in the answers of examples.
        Literal::TimeToday(ticks) => (ScalarValue::Int64(Some(*ticks)), KqlType::DateTime),
        Literal::TimeSpan(ticks) => (ScalarValue::Int64(*ticks), KqlType::TimeSpan),
        Literal::Guid(guid) => (bytes(*guid), KqlType::Guid),
        Literal::Dynamic(text) => (ScalarValue::Utf8View(text.clone()), KqlType::Dynamic),
    }
}

fn widens(from: KqlType, to: KqlType) -> bool {
    from == to || from == KqlType::Dynamic || from.is_numeric() && to.is_numeric() && from < to
}

/// The argument converted as the parameter asks, if it fits.
fn fit(accepts: Accepts, (value, ty): &Typed, common: Option<KqlType>) -> Option<Typed> {
    let to = match accepts {
        Accepts::Only(to) if widens(*ty, to) => to,
        Accepts::OneOf(types) if types.contains(ty) => *ty,
        Accepts::Number if ty.is_numeric() => *ty,
        Accepts::Any => *ty,
        Accepts::Text => KqlType::String,
        Accepts::Common => common.filter(|common| widens(*ty, *common))?,
        _ => return None,
    };
    Some((convert::constant(value.clone(), *ty, to).ok()?, to))
}

/// The parameters for so many arguments.
fn params(params: &[Param], count: usize) -> Option<Vec<Param>> {
    let of = |occurs: Occurs| params.iter().filter(move |param| param.occurs == occurs).copied();
    let mut taken: Vec<Param> = of(Occurs::Required).collect();
    let repeated: Vec<Param> = of(Occurs::Repeated).collect();
    for param in of(Occurs::Optional) {
        if taken.len() < count {
            taken.push(param);
        }
    }
    while taken.len() < count && !repeated.is_empty() {
        taken.extend(&repeated);
    }
    (taken.len() == count).then_some(taken)
}

fn call(row: &Scalar, arguments: &[Typed]) -> Result<Typed, Unserved> {
    for signature in row.signatures {
        let Some(params) = params(signature.params, arguments.len()) else { continue };
        let common = params.iter().zip(arguments).filter(|(param, _)| param.accepts == Accepts::Common);
        let common = common.map(|(_, (_, ty))| *ty).max();
        let fitted = params.iter().zip(arguments).map(|(param, argument)| fit(param.accepts, argument, common));
        let Some(fitted) = fitted.collect::<Option<Vec<Typed>>>() else { continue };
        let types: Vec<KqlType> = fitted.iter().map(|(_, ty)| *ty).collect();
        let returns = match signature.returns {
            Returns::Type(ty) => ty,
            Returns::Argument(position) => types[position],
            Returns::Common => common.unwrap_or(KqlType::String),
            Returns::By(by) => by(&types).unwrap(),
        };
        let value = match row.imp {
            Imp::Kernel(kernel) => {
                let args: Vec<ColumnarValue> =
                    fitted.into_iter().map(|(value, _)| ColumnarValue::Scalar(value)).collect();
                let array =
                    kernel(&Call { args: &args, types: &types, returns, rows: 1 }).unwrap().to_array(1).unwrap();
                ScalarValue::try_from_array(&array, 0).unwrap()
            }
            Imp::Native(native) => {
                let args = fitted.into_iter().map(|(value, _)| lit(value)).collect();
                native_value(&native(args, &types).unwrap())
            }
            Imp::Binder | Imp::Refused(_) => return Err(Unserved),
        };
        return Ok((value, returns));
    }
    Err(Unserved)
}

fn native_value(expr: &datafusion_expr::Expr) -> ScalarValue {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    ScalarValue::try_from_array(&evaluate(expr, &batch), 0).unwrap()
}

fn value(expr: &Expr) -> Result<Typed, Unserved> {
    match &expr.kind {
        ExprKind::Literal(value) => Ok(literal(value)),
        ExprKind::Unary { op: UnaryOp::Minus, operand } => {
            let (value, ty) = value(operand)?;
            Ok((native_value(&operator::negate(lit(value), ty).unwrap()), operator::negated_type(ty).unwrap()))
        }
        ExprKind::Binary { op, left, right, .. } => {
            let ((left, left_ty), (right, right_ty)) = (value(left)?, value(right)?);
            let returns = operator::result_type(*op, left_ty, right_ty).ok_or(Unserved)?;
            let context = operator::Context::Value;
            let built = operator::expr(*op, lit(left), left_ty, lit(right), right_ty, returns, context).unwrap();
            Ok((native_value(&built), returns))
        }
        ExprKind::Call { base: None, name, arguments } => {
            let arguments = arguments.iter().map(|argument| value(&argument.value)).collect::<Result<Vec<_>, _>>()?;
            let conversion = name.text.strip_prefix("to").and_then(KqlType::parse);
            if let (Some(to), [(argument, ty)]) = (conversion, arguments.as_slice()) {
                return Ok((convert::constant(argument.clone(), *ty, to).map_err(|_| Unserved)?, to));
            }
            call(find_scalar(&name.text).ok_or(Unserved)?, &arguments)
        }
        _ => Err(Unserved),
    }
}

fn printed((value, ty): Typed) -> String {
    let text = match (&value, ty) {
        (ScalarValue::Boolean(Some(value)), _) => return value.to_string(),
        (ScalarValue::Int64(Some(ticks)), KqlType::DateTime) => {
            let mut out = Vec::new();
            datetime::write(*ticks, &mut out);
            return String::from_utf8(out).unwrap();
        }
        (ScalarValue::Utf8View(text), KqlType::String | KqlType::Dynamic) => {
            return text.clone().unwrap_or_else(|| if ty == KqlType::Dynamic { "null".into() } else { String::new() });
        }
        (value, _) if value.is_null() => return "null".to_string(),
        _ => convert::constant(value, ty, KqlType::String).unwrap(),
    };
    text.try_as_str().flatten().unwrap_or_default().to_string()
}

/// The printed value of `print expr`; `None` where that needs a binder.
pub fn print(query: &str) -> Option<String> {
    let parsed = tidewater_kql::parse_query(query);
    assert!(parsed.diagnostics.is_empty(), "{query}: {:?}", parsed.diagnostics);
    let StatementKind::Query(Expr { kind: ExprKind::Pipe(pipe), .. }) = &parsed.tree.statements.first()?.kind else {
        return None;
    };
    let OperatorKind::Print(items) = &pipe.operators.first()?.kind else { return None };
    match (items.as_slice(), pipe.operators.len()) {
        ([item], 1) => value(&item.value).ok().map(printed),
        _ => None,
    }
}

#[test]
fn the_examples_of_all_rows_print_what_they_say() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for row in tidewater_functions::scalar::families().into_iter().flatten() {
        for (query, expected) in row.examples {
            let Some(actual) = print(query) else { continue };
            checked += 1;
            if actual != *expected {
                wrong.push(format!("{query}: {actual:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "{checked}");
}

/// Expressions and values that the service was seen to print.
#[test]
fn recorded_answers_come_out() {
    let recorded = [
        ("print bin(datetime(1955-11-05 06:15:00.5), 7d)", "1955-10-31T00:00:00Z"),
        ("print bin(datetime(2020-01-01), -1h)", "null"),
        ("print bin(-5, 2)", "-6"),
        ("print bin(5.5, 2)", "4.0"),
        ("print bin(int(7), int(4))", "4"),
        ("print bin(decimal(7.5), 2)", "6"),
        ("print floor(2.5, 1.0)", "2.0"),
        ("print bin_at(datetime(2023-06-14 12:00:00), 7d, datetime(2023-01-01 03:00:00))", "2023-06-11T03:00:00Z"),
        ("print dayofweek(datetime(9999-12-31))", "null"),
        ("print dayofweek(datetime(null))", "null"),
        ("print datetime_add('day', -1, datetime(0001-01-01 12:00:00))", "null"),
        ("print datetime_add('millisecond', 1500, datetime(2020-01-01))", "2020-01-01T00:00:01.5Z"),
        ("print make_datetime(2020, 13, 1)", "null"),
        ("print make_datetime(2020, 2, 29, 23, 59, 59.9999999)", "2020-02-29T23:59:59.9999999Z"),
        ("print make_timespan(25, 70)", "null"),
        ("print make_timespan(-1, -2)", "null"),
        ("print make_timespan(1, 2, 3)", "01:02:03"),
        ("print make_timespan(0, 0, 0, 0.0000001)", "00:00:00.0000001"),
        ("print unixtime_milliseconds_todatetime(1546300800123)", "2019-01-01T00:00:00.123Z"),
        ("print unixtime_seconds_todatetime(1546300800.5)", "2019-01-01T00:00:00.5Z"),
        ("print unixtime_seconds_todatetime(-1.5)", "1969-12-31T23:59:58.5Z"),
        ("print unixtime_seconds_todatetime(real(nan))", "null"),
        ("print abs(int(-5))", "5"),
        ("print abs(-1d)", "1.00:00:00"),
        ("print ceiling(-0.5)", "-0.0"),
        ("print ceiling(int(3))", "3"),
        ("print round(2.5)", "3.0"),
        ("print round(1.005, 2)", "1.0"),
        ("print round(decimal(2.345), 2)", "2.35"),
        ("print sign(real(nan))", "0.0"),
        ("print sign(int(null))", "0.0"),
        ("print sqrt(-1)", "NaN"),
        ("print log(-1)", "null"),
        ("print log(0)", "-inf"),
        ("print asin(2)", "null"),
        ("print acos(real(nan))", "NaN"),
        ("print pow(2, 63)", "9.223372036854776E+18"),
        ("print max_of(real(null), real(nan), 1.0)", "NaN"),
        ("print min_of(1, 2.5)", "1.0"),
        ("print max_of('a', 'b')", "b"),
        ("print max_of(true, false)", "true"),
        ("print max_of(1, long(null), 3)", "3"),
        ("print binary_shift_left(1, 65)", "2"),
        ("print binary_shift_left(1, -1)", "null"),
        ("print tohex(toint(-256), 8)", "ffffff00"),
        ("print tohex(256, 2)", "100"),
        ("print hash(datetime(2015-01-01))", "1380966698541616202"),
        ("print hash_md5(datetime(2020-01-01))", "786c530672d1f8db31fee25ea8a9390b"),
        ("print hash_sha256(datetime(2020-01-01))", "ba666752dc1a20eb750b0eb64e780cc4c968bc9fb8813461c1d7e750f302d71d"),
        ("print hash_md5('')", ""),
        ("print base64_decode_tostring('U3RyaW5n0KHR0tGA0L7Rh9C60LA=')", ""),
        ("print base64_decode_toarray('U3RyaW5n0KHR0tGA0L7Rh9C60LA')", "null"),
        ("print base64_decode_toguid('abcd1231')", "null"),
        ("print gzip_decompress_from_base64_string('x0x0x0')", ""),
        (
            "print zlib_compress_to_base64_string('1234567890qwertyuiop')",
            "eAEBFADr/zEyMzQ1Njc4OTBxd2VydHl1aW9wOAkGdw==",
        ),
        ("print format_ipv4('192.168.1.1/24', 32)", "192.168.1.0"),
        ("print format_ipv4_mask('192.168.1.1/24', 32)", "192.168.1.0/24"),
        ("print format_ipv4('192.168.1.1/24', -1)", ""),
        ("print format_ipv4(3232235777)", "192.168.1.1"),
        ("print ipv4_is_in_any_range('127.0.0.1', dynamic(['127.0.0.1', '192.168.1.1']))", "true"),
        ("print ipv4_is_in_any_range('123.1.11.21', dynamic(['192.168.1.1/16', '10.0.0.1/8']))", "false"),
        ("print ipv4_is_match('192.168.1.1', '192.168.1.0', 31)", "true"),
        ("print ipv4_compare('10.0.0.1', '10.0.0.2')", "-1"),
        ("print ipv4_compare('10.0.0.1', 'x')", "null"),
        ("print ipv6_is_match('192.168.1.1', '192.168.1.255', 24)", "true"),
        ("print ipv6_is_match('::192.168.1.1/30', '192.168.1.255/24', 127)", "true"),
        ("print ipv6_is_in_range('a5e:f127:8a9d:146d:e102:b5d3:c755:abcd', '0:0:0:0:0:ffff:c0a8:ac/60')", "false"),
        ("print parse_ipv6('::192.168.255.255/24')", "0000:0000:0000:0000:0000:ffff:c0a8:ff00"),
        ("print parse_ipv6('x')", ""),
        ("print has_any_ipv4_prefix('05:04:54 127.0.0.1 GET', '127.0')", "false"),
        ("print format_bytes(564)", "564 Bytes"),
        ("print format_bytes(20010332, 2)", "19.08 MB"),
        ("print format_bytes(20010332)", "19 MB"),
        ("print format_datetime(datetime(null), 'yyyy')", ""),
    ];
    let wrong: Vec<String> = recorded
        .iter()
        .filter_map(|(query, expected)| {
            let actual = print(query);
            (actual.as_deref() != Some(*expected)).then(|| format!("{query}: {actual:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
