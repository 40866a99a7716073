//! Every operator, with each operand a column or a constant, against a plain statement of its meaning.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, col, lit};
use tidewater_functions::convert;
use tidewater_functions::operator::{self, Context};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{BinaryOp, InOp};
use tidewater_kql::value::datetime::MAX_TICKS;
use tidewater_kql::value::decimal::Decimal;

use crate::evaluate::{evaluate, rows};

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_string()))
}

fn decimal(value: &str) -> ScalarValue {
    ScalarValue::FixedSizeBinary(16, Some(Decimal::parse(value).unwrap().bytes().to_vec()))
}

/// Values of a type, null first.
fn samples(ty: KqlType) -> Vec<ScalarValue> {
    let mut values = vec![ScalarValue::try_from(&ty.arrow()).unwrap()];
    let longs = |values: &[i64]| values.iter().map(|value| ScalarValue::Int64(Some(*value))).collect::<Vec<_>>();
    values.extend(match ty {
        KqlType::Bool => vec![ScalarValue::Boolean(Some(true)), ScalarValue::Boolean(Some(false))],
        KqlType::Int => [0, 1, -7, 3, i32::MAX, i32::MIN].map(|value| ScalarValue::Int32(Some(value))).to_vec(),
        KqlType::Long => longs(&[0, 1, -1, 3, -7, 2, i64::MAX, i64::MIN, 1 << 53]),
        KqlType::Real => {
            let values = [0.0, -0.0, 1.0, 2.5, -7.0, 3.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
            values.map(|value| ScalarValue::Float64(Some(value))).to_vec()
        }
        KqlType::Decimal => ["0", "1", "-7", "2.5", "3", "0.1"].map(decimal).to_vec(),
        KqlType::String => ["", "a", "A", "abc", "a-b", "3", "x a", "true"].map(text).to_vec(),
        KqlType::DateTime => longs(&[0, 1, 637_134_336_000_000_000, MAX_TICKS]),
        KqlType::TimeSpan => longs(&[0, 1, -1, 36_000_000_000, 864_000_000_000, i64::MAX]),
        KqlType::Guid => {
            [[0u8; 16], [7u8; 16]].map(|value| ScalarValue::FixedSizeBinary(16, Some(value.to_vec()))).to_vec()
        }
        KqlType::Dynamic => {
            ["1", "3.0", "2.5", "\"a\"", "\"3\"", "true", "[1]", "{\"a\":1}", "-7", "1e300"].map(text).to_vec()
        }
    });
    values
}

fn array(values: &[ScalarValue]) -> ArrayRef {
    ScalarValue::iter_to_array(values.iter().cloned()).unwrap()
}

/// The values of `op` for all pairs of samples, with each operand a column or a constant; each form must agree.
fn agreed(
    op: BinaryOp,
    left_ty: KqlType,
    right_ty: KqlType,
    returns: KqlType,
) -> Vec<(ScalarValue, ScalarValue, ScalarValue)> {
    let (lefts, rights) = (samples(left_ty), samples(right_ty));
    let pairs: Vec<_> =
        lefts.iter().flat_map(|left| rights.iter().map(move |right| (left.clone(), right.clone()))).collect();
    let schema = [("l", left_ty), ("r", right_ty)];
    let batch = |pairs: &[(ScalarValue, ScalarValue)]| {
        let left = array(&pairs.iter().map(|pair| pair.0.clone()).collect::<Vec<_>>());
        let right = array(&pairs.iter().map(|pair| pair.1.clone()).collect::<Vec<_>>());
        RecordBatch::try_from_iter(schema.iter().map(|(name, _)| *name).zip([left, right])).unwrap()
    };
    let build = |left: Expr, right: Expr, context| {
        operator::expr(op, left, left_ty, right, right_ty, returns, context).unwrap()
    };
    let whole = batch(&pairs);
    let expected = rows(&evaluate(&build(col("l"), col("r"), Context::Value), &whole));
    let seen = |value: &ScalarValue, context| match (context, value) {
        (Context::Predicate, ScalarValue::Boolean(None)) => ScalarValue::Boolean(Some(false)),
        _ => value.clone(),
    };
    for context in [Context::Value, Context::Predicate] {
        for (row, (left, right)) in pairs.iter().enumerate() {
            let one = batch(&pairs[row..row + 1]);
            let forms = [
                build(col("l"), col("r"), context),
                build(col("l"), lit(right.clone()), context),
                build(lit(left.clone()), col("r"), context),
                build(lit(left.clone()), lit(right.clone()), context),
            ];
            for (form, expr) in forms.iter().enumerate() {
                // The constant takes the column's type in `==` between a string and another type.
                let is_loose = matches!(op, BinaryOp::Equal | BinaryOp::NotEqual)
                    && (left_ty == KqlType::String) != (right_ty == KqlType::String)
                    && left_ty != KqlType::Dynamic
                    && right_ty != KqlType::Dynamic;
                if is_loose && form > 0 {
                    continue;
                }
                let value = rows(&evaluate(expr, &one)).remove(0);
                let (value, expected) = (seen(&value, context), seen(&expected[row], context));
                assert!(
                    same(&value, &expected),
                    "{left_ty} {left:?} {} {right_ty} {right:?} as form {form} {context:?}: {value:?}, as columns {expected:?}: {expr}",
                    op.text()
                );
            }
        }
    }
    pairs.into_iter().zip(expected).map(|((left, right), value)| (left, right, value)).collect()
}

fn same(one: &ScalarValue, other: &ScalarValue) -> bool {
    match (one, other) {
        (ScalarValue::Float64(Some(one)), ScalarValue::Float64(Some(other))) => {
            one == other || one.is_nan() && other.is_nan()
        }
        _ => one == other,
    }
}

const COMPARISONS: [BinaryOp; 6] = [
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessOrEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterOrEqual,
];

/// The operand as a real, if it is a number or bool.
fn real(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Boolean(value) => value.map(f64::from),
        ScalarValue::Int32(value) => value.map(f64::from),
        ScalarValue::Int64(value) => value.map(|value| value as f64),
        ScalarValue::Float64(value) => *value,
        _ => None,
    }
}

#[test]
fn operators_agree_for_constants_and_columns() {
    let texts = [
        BinaryOp::EqualTilde,
        BinaryOp::NotEqualTilde,
        BinaryOp::Has,
        BinaryOp::NotHas,
        BinaryOp::HasPrefixCs,
        BinaryOp::HasSuffix,
        BinaryOp::Contains,
        BinaryOp::NotContainsCs,
        BinaryOp::StartsWith,
        BinaryOp::StartsWithCs,
        BinaryOp::NotStartsWithCs,
        BinaryOp::EndsWith,
        BinaryOp::EndsWithCs,
    ];
    let arithmetic = [
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Modulo,
        BinaryOp::And,
        BinaryOp::Or,
    ];
    let mut defined = 0;
    for op in COMPARISONS.into_iter().chain(texts).chain(arithmetic) {
        for left in KqlType::ALL {
            for right in KqlType::ALL {
                if let Some(returns) = operator::result_type(op, left, right) {
                    defined += 1;
                    agreed(op, left, right, returns);
                }
            }
        }
    }
    assert!(defined > 300, "{defined}");
}

#[test]
fn numbers_compare_as_numbers() {
    let numbers = [KqlType::Bool, KqlType::Int, KqlType::Long, KqlType::Real];
    for op in COMPARISONS {
        for left_ty in numbers {
            for right_ty in numbers {
                for (left, right, value) in agreed(op, left_ty, right_ty, KqlType::Bool) {
                    let order = match (&left, &right) {
                        (ScalarValue::Int64(Some(left)), ScalarValue::Int64(Some(right))) => Some(left.cmp(right)),
                        _ => real(&left).zip(real(&right)).and_then(|(left, right)| left.partial_cmp(&right)),
                    };
                    let expected = match (op, left.is_null(), right.is_null()) {
                        (BinaryOp::Equal | BinaryOp::NotEqual, true, true) => None,
                        (BinaryOp::Equal, ..) => {
                            Some(order == Some(std::cmp::Ordering::Equal) && !left.is_null() && !right.is_null())
                        }
                        (BinaryOp::NotEqual, ..) => {
                            Some(order != Some(std::cmp::Ordering::Equal) || left.is_null() || right.is_null())
                        }
                        (_, true, _) | (_, _, true) => None,
                        (BinaryOp::Less, ..) => Some(order.is_some_and(|order| order.is_lt())),
                        (BinaryOp::LessOrEqual, ..) => Some(order.is_some_and(|order| order.is_le())),
                        (BinaryOp::Greater, ..) => Some(order.is_some_and(|order| order.is_gt())),
                        _ => Some(order.is_some_and(|order| order.is_ge())),
                    };
                    assert_eq!(value, ScalarValue::Boolean(expected), "{left:?} {} {right:?}", op.text());
                }
            }
        }
    }
}

/// The value of `left op right` for constants.
fn folded(op: BinaryOp, left: ScalarValue, left_ty: KqlType, right: ScalarValue, right_ty: KqlType) -> ScalarValue {
    let returns = operator::result_type(op, left_ty, right_ty).unwrap();
    match operator::expr(op, lit(left), left_ty, lit(right), right_ty, returns, Context::Value).unwrap() {
        Expr::Literal(value, _) => value,
        other => panic!("not a constant: {other}"),
    }
}

#[test]
fn recorded_arithmetic_comes_out() {
    // Source: recorded answers, kql-behaviour section 4; numerical operators page.
    use BinaryOp::*;
    let long = |op, left, right| match folded(
        op,
        ScalarValue::Int64(Some(left)),
        KqlType::Long,
        ScalarValue::Int64(Some(right)),
        KqlType::Long,
    ) {
        ScalarValue::Int64(value) => value,
        other => panic!("{other:?}"),
    };
    for (op, left, right, expected) in [
        (Add, i64::MAX, 1, Some(i64::MIN)),
        (Divide, -7, 2, Some(-3)),
        (Divide, 1, 0, None),
        (Divide, i64::MIN, -1, Some(i64::MIN)),
        (Modulo, -7, 3, Some(2)),
        (Modulo, 7, -3, Some(1)),
        (Modulo, -14, -12, Some(10)),
        (Modulo, 7, 0, None),
        (Modulo, i64::MIN, -1, Some(0)),
    ] {
        assert_eq!(long(op, left, right), expected, "{left} {} {right}", op.text());
    }
    let real = |op, left, right| match folded(
        op,
        ScalarValue::Float64(Some(left)),
        KqlType::Real,
        ScalarValue::Float64(Some(right)),
        KqlType::Real,
    ) {
        ScalarValue::Float64(Some(value)) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(real(Modulo, -5.5, 3.0), 0.5);
    assert_eq!(real(Modulo, 5.5, -3.0), 2.5);
    assert_eq!(real(Divide, 1.0, 0.0), f64::INFINITY);
    let int = ScalarValue::Int32(Some(i32::MAX));
    let doubled = folded(Multiply, int.clone(), KqlType::Int, int, KqlType::Int);
    assert_eq!(doubled, ScalarValue::Int64(Some(i64::from(i32::MAX).pow(2))));
    assert_eq!(folded(Add, decimal("0.1"), KqlType::Decimal, decimal("0.2"), KqlType::Decimal), decimal("0.3"));
    let ticks = |value| ScalarValue::Int64(value);
    let late = folded(Add, ticks(Some(MAX_TICKS)), KqlType::DateTime, ticks(Some(1)), KqlType::TimeSpan);
    assert_eq!(late, ticks(None));
    let hours =
        folded(Divide, ticks(Some(864_000_000_000)), KqlType::TimeSpan, ticks(Some(36_000_000_000)), KqlType::TimeSpan);
    assert_eq!(hours, ScalarValue::Float64(Some(24.0)));
    let negated = operator::negate(lit(0.0), KqlType::Real).unwrap();
    assert!(matches!(negated, Expr::Literal(ScalarValue::Float64(Some(value)), _) if value.is_sign_positive()));
}

#[test]
fn constants_take_the_type_of_the_column_in_equality() {
    let batch = RecordBatch::try_from_iter([
        ("t", array(&[ScalarValue::Int64(Some(637_134_336_000_000_000)), ScalarValue::Int64(None)])),
        ("n", array(&[ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)])),
        ("s", array(&[text("5"), text("x")])),
        ("b", array(&[ScalarValue::Boolean(Some(true)), ScalarValue::Boolean(None)])),
    ])
    .unwrap();
    let yes = [ScalarValue::Boolean(Some(true)), ScalarValue::Boolean(Some(false))];
    let equal = |name, ty, value: ScalarValue, value_ty| {
        let expr = operator::expr(BinaryOp::Equal, col(name), ty, lit(value), value_ty, KqlType::Bool, Context::Value)
            .unwrap();
        rows(&evaluate(&expr, &batch))
    };
    assert_eq!(equal("t", KqlType::DateTime, text("2020-01-01"), KqlType::String), yes);
    assert_eq!(equal("n", KqlType::Long, text("1"), KqlType::String), yes);
    assert_eq!(equal("s", KqlType::String, ScalarValue::Int64(Some(5)), KqlType::Long), yes);
    assert_eq!(equal("b", KqlType::Bool, text("true"), KqlType::String), yes);
    assert_eq!(equal("n", KqlType::Long, ScalarValue::Float64(Some(1.0)), KqlType::Real), yes);
}

#[test]
fn filters_on_plain_columns_stay_in_the_engines_terms() {
    let text_of = |op, ty, value: ScalarValue, value_ty| {
        let expr = operator::expr(op, col("x"), ty, lit(value), value_ty, KqlType::Bool, Context::Predicate).unwrap();
        expr.to_string()
    };
    use BinaryOp::*;
    let long = |value| ScalarValue::Int64(Some(value));
    let shown = [
        (text_of(Equal, KqlType::Long, long(5), KqlType::Long), "x = Int64(5)"),
        (text_of(Equal, KqlType::String, text("a"), KqlType::String), "x = Utf8View(\"a\")"),
        (text_of(NotEqual, KqlType::Long, long(5), KqlType::Long), "x IS DISTINCT FROM Int64(5)"),
        (text_of(Less, KqlType::DateTime, long(5), KqlType::DateTime), "x < Int64(5)"),
        (text_of(Greater, KqlType::Long, ScalarValue::Float64(Some(2.5)), KqlType::Real), "x > Int64(2)"),
        (text_of(StartsWithCs, KqlType::String, text("a_b"), KqlType::String), "x LIKE Utf8View(\"a\\_b%\")"),
        (text_of(EqualTilde, KqlType::String, text("10.0"), KqlType::String), "x = Utf8View(\"10.0\")"),
        (
            text_of(Less, KqlType::Real, ScalarValue::Float64(Some(0.0)), KqlType::Real),
            "x < Float64(-0) AND x >= Float64(-inf)",
        ),
    ];
    for (shown, expected) in shown {
        assert_eq!(shown, expected);
    }
    let list = operator::in_list(
        InOp::In,
        col("x"),
        KqlType::Int,
        vec![(lit(2i64), KqlType::Long), (lit(1i64), KqlType::Long), (lit(1i64 << 40), KqlType::Long)],
        Context::Predicate,
    );
    assert_eq!(list.unwrap().to_string(), "x IN ([Int32(1), Int32(2)])");
}

/// `operand op (items)` over a column and over each of its values as a constant, which must agree.
fn listed(op: InOp, ty: KqlType, values: Vec<ScalarValue>, items: &[(ScalarValue, KqlType)]) -> Vec<Option<bool>> {
    let batch = RecordBatch::try_from_iter([("x", array(&values))]).unwrap();
    let build = |operand: Expr, as_column: bool, context| {
        let items = items
            .iter()
            .enumerate()
            .map(|(position, (value, ty))| {
                (if as_column { col(format!("i{position}")) } else { lit(value.clone()) }, *ty)
            })
            .collect();
        operator::in_list(op, operand, ty, items, context).unwrap()
    };
    let bools = |array: &ArrayRef| -> Vec<Option<bool>> {
        rows(array).iter().map(|value| matches!(value, ScalarValue::Boolean(Some(true))).into()).collect()
    };
    let expected = bools(&evaluate(&build(col("x"), false, Context::Value), &batch));
    assert_eq!(bools(&evaluate(&build(col("x"), false, Context::Predicate), &batch)), expected, "predicate");
    let mut columns = vec![("x".to_string(), array(&values))];
    for (position, (value, _)) in items.iter().enumerate() {
        columns.push((format!("i{position}"), value.to_array_of_size(values.len()).unwrap()));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(bools(&evaluate(&build(col("x"), true, Context::Value), &batch)), expected, "items as columns");
    for (row, value) in values.into_iter().enumerate() {
        let value = bools(&evaluate(&build(lit(value), false, Context::Value), &batch.slice(row, 1)));
        assert_eq!(value, expected[row..row + 1], "constant operand, row {row}");
    }
    expected
}

#[test]
fn lists_mix_constants_and_arrays() {
    let long = |value| ScalarValue::Int64(value);
    let longs = || vec![long(Some(1)), long(Some(2)), long(Some(3)), long(None)];
    let items = [(text("[2,\"3\",4.0]"), KqlType::Dynamic), (text("1"), KqlType::String)];
    let found = [true, true, false, false].map(Some);
    assert_eq!(listed(InOp::In, KqlType::Long, longs(), &items), found);
    assert_eq!(listed(InOp::NotIn, KqlType::Long, longs(), &items), found.map(|found| found.map(|found| !found)));
    let reals = [(ScalarValue::Float64(Some(2.0)), KqlType::Real), (ScalarValue::Float64(Some(2.5)), KqlType::Real)];
    assert_eq!(listed(InOp::In, KqlType::Long, longs(), &reals), [false, true, false, false].map(Some));

    let texts = || vec![text("a"), text("B"), text(""), ScalarValue::Utf8View(None), text("c d")];
    let items = [(text("[\"A\",7]"), KqlType::Dynamic), (text("b"), KqlType::String), (text(""), KqlType::String)];
    assert_eq!(listed(InOp::In, KqlType::String, texts(), &items), [false, false, true, true, false].map(Some));
    assert_eq!(listed(InOp::NotIn, KqlType::String, texts(), &items), [true, true, false, false, true].map(Some));
    assert_eq!(listed(InOp::InTilde, KqlType::String, texts(), &items), [true, true, true, true, false].map(Some));
    assert_eq!(
        listed(InOp::NotInTilde, KqlType::String, texts(), &items),
        [false, false, false, false, true].map(Some)
    );

    let dynamics = || vec![text("2"), text("2.0"), text("\"2\""), text("[2]"), ScalarValue::Utf8View(None)];
    let items = [(long(Some(2)), KqlType::Long)];
    assert_eq!(listed(InOp::In, KqlType::Dynamic, dynamics(), &items), [true, true, false, false, false].map(Some));
    let items = [(text("[[2],\"2\"]"), KqlType::Dynamic)];
    assert_eq!(listed(InOp::In, KqlType::Dynamic, dynamics(), &items), [false, false, true, true, false].map(Some));

    let zeros =
        || vec![ScalarValue::Float64(Some(-0.0)), ScalarValue::Float64(Some(f64::NAN)), ScalarValue::Float64(None)];
    let items = [
        (ScalarValue::Float64(Some(0.0)), KqlType::Real),
        (ScalarValue::Float64(Some(f64::NAN)), KqlType::Real),
        (ScalarValue::Float64(Some(9.0)), KqlType::Real),
    ];
    assert_eq!(listed(InOp::In, KqlType::Real, zeros(), &items), [true, false, false].map(Some));
}

#[test]
fn has_any_and_has_all_take_terms_from_everywhere() {
    // Source: recorded answers, kql-behaviour section 9.
    let texts = || vec![text("code 42 error"), text("Error"), text(""), text("error42")];
    let items = [(ScalarValue::Int64(Some(42)), KqlType::Long), (text("[\"ERROR\"]"), KqlType::Dynamic)];
    assert_eq!(listed(InOp::HasAny, KqlType::String, texts(), &items), [true, true, false, false].map(Some));
    assert_eq!(listed(InOp::HasAll, KqlType::String, texts(), &items), [true, false, false, false].map(Some));
    let items = [(text("[null]"), KqlType::Dynamic)];
    assert_eq!(listed(InOp::HasAny, KqlType::String, texts(), &items), [true; 4].map(Some));
    assert_eq!(listed(InOp::HasAll, KqlType::String, texts(), &items), [true; 4].map(Some));
    let items = [(text("[]"), KqlType::Dynamic)];
    assert_eq!(listed(InOp::HasAny, KqlType::String, texts(), &items), [false; 4].map(Some));
    assert_eq!(listed(InOp::HasAll, KqlType::String, texts(), &items), [true; 4].map(Some));
    let many: Vec<_> = (0..20).map(|number| (text(&format!("T{number}")), KqlType::String)).collect();
    let texts = vec![text("a t7 b"), text("t77"), text("t20")];
    assert_eq!(listed(InOp::HasAny, KqlType::String, texts, &many), [true, false, false].map(Some));
}

#[test]
fn long_lists_are_prepared_once() {
    let items: Vec<_> = (0..1000).map(|value| (ScalarValue::Int64(Some(value * 3)), KqlType::Long)).collect();
    let values = vec![ScalarValue::Int64(Some(2997)), ScalarValue::Int64(Some(2998)), ScalarValue::Int64(None)];
    let batch = RecordBatch::try_from_iter([("x", array(&values))]).unwrap();
    let exprs = items.into_iter().map(|(value, ty)| (lit(value), ty)).collect();
    let expr = operator::in_list(InOp::NotIn, col("x"), KqlType::Long, exprs, Context::Predicate).unwrap();
    assert!(matches!(expr, Expr::ScalarFunction(_)));
    let found = [Some(false), Some(true), Some(true)].map(ScalarValue::Boolean);
    assert_eq!(rows(&evaluate(&expr, &batch)), found);
}

#[test]
fn between_is_null_with_any_null() {
    let long = |value| ScalarValue::Int64(value);
    let batch = RecordBatch::try_from_iter([
        ("x", array(&[long(Some(5)), long(Some(5)), long(Some(9)), long(None)])),
        ("a", array(&[long(Some(1)), long(None), long(Some(1)), long(Some(1))])),
    ])
    .unwrap();
    let between = |is_negated, low: Expr, high: i64| {
        let ty = KqlType::Long;
        let expr = operator::between(is_negated, (col("x"), ty), (low, ty), (lit(high), ty), Context::Value).unwrap();
        rows(&evaluate(&expr, &batch))
    };
    let expect = |values: [Option<bool>; 4]| values.map(ScalarValue::Boolean).to_vec();
    assert_eq!(between(false, lit(1i64), 5), expect([Some(true), Some(true), Some(false), None]));
    assert_eq!(between(true, lit(1i64), 5), expect([Some(false), Some(false), Some(true), None]));
    assert_eq!(between(false, col("a"), 3), expect([Some(false), None, Some(false), None]));
    assert_eq!(between(true, col("a"), 3), expect([Some(true), None, Some(true), None]));
    let day = 864_000_000_000i64;
    let ty = KqlType::DateTime;
    let high = (lit(day), KqlType::TimeSpan);
    let expr = operator::between(false, (lit(3 * day), ty), (lit(2 * day), ty), high, Context::Value).unwrap();
    assert_eq!(rows(&evaluate(&expr, &batch))[0], ScalarValue::Boolean(Some(true)));
}

#[test]
fn conversions_agree_for_constants_and_columns() {
    for from in KqlType::ALL {
        for to in KqlType::ALL {
            if convert::kernel(from, to).is_none() {
                continue;
            }
            let values = samples(from);
            let batch = RecordBatch::try_from_iter([("x", array(&values))]).unwrap();
            let column = evaluate(&convert::expr(col("x"), from, to).unwrap(), &batch);
            assert_eq!(*column.data_type(), to.arrow());
            for (row, value) in values.iter().enumerate() {
                let constant = convert::constant(value.clone(), from, to).unwrap();
                let value = ScalarValue::try_from_array(&column, row).unwrap();
                assert!(same(&value, &constant), "{from} to {to} of {:?}: {value:?} and {constant:?}", values[row]);
            }
        }
    }
}

#[test]
fn strings_with_null_slots_read_as_empty() {
    let values: ArrayRef = Arc::new(arrow::array::StringViewArray::from(vec![None, Some(""), Some("a")]));
    let batch = RecordBatch::try_from_iter([("s", values)]).unwrap();
    for (op, needle, expected) in [
        (BinaryOp::Equal, "", [true, true, false]),
        (BinaryOp::NotEqual, "", [false, false, true]),
        (BinaryOp::Equal, "a", [false, false, true]),
        (BinaryOp::NotEqual, "a", [true, true, false]),
        (BinaryOp::Contains, "", [true, true, true]),
        (BinaryOp::StartsWithCs, "a", [false, false, true]),
        (BinaryOp::NotHas, "a", [true, true, false]),
    ] {
        for context in [Context::Value, Context::Predicate] {
            let string = KqlType::String;
            let expr = operator::expr(op, col("s"), string, lit(text(needle)), string, KqlType::Bool, context).unwrap();
            let found: Vec<_> = rows(&evaluate(&expr, &batch))
                .iter()
                .map(|value| matches!(value, ScalarValue::Boolean(Some(true))))
                .collect();
            assert_eq!(found, expected, "{} {needle:?} {context:?}", op.text());
        }
    }
}
