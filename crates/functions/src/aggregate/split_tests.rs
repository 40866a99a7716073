//! Every aggregate gives the same answers however its rows are cut into batches, groups and
//! partial states, and KQL's answers where there is nothing to aggregate.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    StringViewArray, StructArray, UInt32Array, new_empty_array,
};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use crate::aggregate::frame::KqlAggregate;
use crate::aggregate::{arg_extreme, families, percentiles, take_any};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, Occurs, Returns};

/// A small generator: tests must not differ from run to run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

const ROWS: usize = 300;
const GROUPS: usize = 7;

/// A column of the type with nulls, repeats and odd values.
fn sample(ty: KqlType, random: &mut Random) -> ArrayRef {
    let mut pick = |bound: usize| if random.below(7) == 0 { None } else { Some(random.below(bound)) };
    let numbers: Vec<Option<usize>> = (0..ROWS).map(|_| pick(60)).collect();
    match ty {
        KqlType::Bool => Arc::new(BooleanArray::from_iter(numbers.iter().map(|n| n.map(|n| n % 2 == 0)))),
        KqlType::Int => Arc::new(Int32Array::from_iter(numbers.iter().map(|n| n.map(|n| n as i32 - 20)))),
        KqlType::Long => Arc::new(Int64Array::from_iter(
            numbers.iter().map(|n| n.map(|n| if n == 0 { i64::MAX } else { n as i64 - 20 })),
        )),
        KqlType::DateTime | KqlType::TimeSpan => Arc::new(Int64Array::from_iter(
            numbers.iter().map(|n| n.map(|n| 630_000_000_000_000_000 + n as i64 * 10_000_001)),
        )),
        KqlType::Real => Arc::new(Float64Array::from_iter(
            numbers.iter().map(|n| n.map(|n| if n == 1 { -0.0 } else { n as f64 / 4.0 - 5.0 })),
        )),
        KqlType::Decimal => {
            let bytes = numbers.iter().map(|n| n.map(|n| Decimal::from_i64(n as i64 - 30).bytes()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 16).unwrap())
        }
        KqlType::Guid => {
            let bytes = numbers.iter().map(|n| n.map(|n| [n as u8; 16]));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 16).unwrap())
        }
        KqlType::String => Arc::new(StringViewArray::from_iter(
            numbers
                .iter()
                .map(|n| n.map(|n| if n == 0 { String::new() } else { format!("text \"{n}\" of some length") })),
        )),
        KqlType::Dynamic => Arc::new(StringViewArray::from_iter(numbers.iter().map(|n| {
            n.map(|n| match n % 6 {
                0 => format!("{{\"k{n}\":[1,{n}],\"a\":\"b\"}}"),
                1 => format!("[{n},null,\"x,y\"]"),
                2 => n.to_string(),
                3 => "null".to_string(),
                4 => "\"text\"".to_string(),
                _ => "[]".to_string(),
            })
        }))),
    }
}

fn args<'a>(udf: &AggregateUDF, schema: &'a Schema, fields: &'a [Arc<Field>]) -> AccumulatorArgs<'a> {
    AccumulatorArgs {
        return_field: udf.return_field(fields).unwrap(),
        schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "x",
        is_distinct: false,
        exprs: &[],
        expr_fields: fields,
    }
}

/// An aggregate over some columns.
struct Harness {
    udf: AggregateUDF,
    fields: Vec<Arc<Field>>,
}

impl Harness {
    fn new(udf: AggregateUDF, columns: &[ArrayRef]) -> Harness {
        let field =
            |(n, column): (usize, &ArrayRef)| Arc::new(Field::new(format!("a{n}"), column.data_type().clone(), true));
        Harness { udf, fields: columns.iter().enumerate().map(field).collect() }
    }

    fn single(&self) -> Box<dyn Accumulator> {
        let schema = Schema::empty();
        self.udf.accumulator(args(&self.udf, &schema, &self.fields)).unwrap()
    }

    fn many(&self) -> Box<dyn GroupsAccumulator> {
        let schema = Schema::empty();
        self.udf.create_groups_accumulator(args(&self.udf, &schema, &self.fields)).unwrap()
    }

    /// The answer over all rows as one group.
    fn answer(&self, columns: &[ArrayRef]) -> ScalarValue {
        let mut one = self.single();
        one.update_batch(columns).unwrap();
        one.evaluate().unwrap()
    }

    fn slices(columns: &[ArrayRef], from: usize, len: usize) -> Vec<ArrayRef> {
        columns.iter().map(|column| column.slice(from, len)).collect()
    }

    /// Compares all ways to cut `columns` with the plain way; rows belong to `groups`, and only those with `keep` count.
    fn check(&self, columns: &[ArrayRef], groups: &[usize], total: usize, keep: &BooleanArray, random: &mut Random) {
        let rows = groups.len();
        let expected: Vec<ScalarValue> = (0..total)
            .map(|group| {
                let picks = (0..rows).filter(|row| groups[*row] == group && keep.value(*row)).map(|row| row as u32);
                let picks = UInt32Array::from_iter_values(picks);
                let picked: Vec<ArrayRef> = columns.iter().map(|column| take(column, &picks, None).unwrap()).collect();
                self.answer(&picked)
            })
            .collect();
        let name = self.udf.name();
        let compare = |what: &str, found: &ArrayRef| {
            assert_eq!(found.len(), total, "{name}, {what}");
            for (group, expected) in expected.iter().enumerate() {
                let found = ScalarValue::try_from_array(found, group).unwrap();
                assert!(
                    is_same(expected, &found),
                    "{name}, {what}, group {group}: expected {expected:?}, found {found:?}"
                );
            }
        };

        let mut whole = self.many();
        whole.update_batch(columns, groups, Some(keep), total).unwrap();
        assert!(whole.size() > 0);
        compare("all rows at once", &whole.evaluate(EmitTo::All).unwrap());

        let mut cut = self.many();
        self.feed(&mut *cut, columns, groups, total, keep, 0..rows, random);
        let first = random.below(total);
        let mut parts = vec![cut.evaluate(EmitTo::First(first)).unwrap()];
        parts.push(cut.evaluate(EmitTo::All).unwrap());
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
        compare("in batches, emitted in two parts", &concat(&parts).unwrap());

        for split in [1, 2, 5] {
            let mut last = self.many();
            for part in 0..split {
                let (from, to) = (rows * part / split, rows * (part + 1) / split);
                let mut partial = self.many();
                if random.below(3) == 0 {
                    let state = partial
                        .convert_to_state(
                            &Harness::slices(columns, from, to - from),
                            Some(&keep.slice(from, to - from)),
                        )
                        .unwrap();
                    last.merge_batch(&state, &groups[from..to], total).unwrap();
                    continue;
                }
                self.feed(&mut *partial, columns, groups, total, keep, from..to, random);
                let state = partial.state(EmitTo::All).unwrap();
                let order: Vec<usize> = (0..total).collect();
                last.merge_batch(&state, &order, total).unwrap();
            }
            compare(&format!("merged from {split} parts"), &last.evaluate(EmitTo::All).unwrap());
        }

        let mut last = self.single();
        for part in 0..3 {
            let (from, to) = (rows * part / 3, rows * (part + 1) / 3);
            let mut partial = self.single();
            let mut at = from;
            while at < to {
                // Empty batches among them.
                let len = random.below(40).min(to - at);
                partial.update_batch(&Harness::slices(columns, at, len)).unwrap();
                at += len;
            }
            assert!(
                is_same(&partial.evaluate().unwrap(), &partial.evaluate().unwrap()),
                "{name}: evaluate uses up the state"
            );
            let state: Vec<ArrayRef> = partial.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
            last.merge_batch(&state).unwrap();
        }
        let (found, expected) = (last.evaluate().unwrap(), self.answer(columns));
        assert!(is_same(&expected, &found), "{name}, one group in three parts: expected {expected:?}, found {found:?}");
    }

    fn feed(
        &self,
        many: &mut dyn GroupsAccumulator,
        columns: &[ArrayRef],
        groups: &[usize],
        total: usize,
        keep: &BooleanArray,
        range: std::ops::Range<usize>,
        random: &mut Random,
    ) {
        let mut at = range.start;
        many.update_batch(&Harness::slices(columns, at, 0), &[], None, 0).unwrap();
        while at < range.end {
            let len = (1 + random.below(50)).min(range.end - at);
            let (columns, keep) = (Harness::slices(columns, at, len), keep.slice(at, len));
            let groups = &groups[at..at + len];
            if random.below(2) == 0 {
                many.update_batch(&columns, groups, Some(&keep), total).unwrap();
            } else {
                let columns: Vec<ArrayRef> = columns.iter().map(|column| filter(column, &keep).unwrap()).collect();
                let groups: Vec<usize> = (0..len).filter(|row| keep.value(*row)).map(|row| groups[row]).collect();
                many.update_batch(&columns, &groups, None, total).unwrap();
            }
            at += len;
        }
        many.update_batch(&Harness::slices(columns, 0, 0), &[], None, total).unwrap();
    }
}

/// Equal, reals nearly.
fn is_same(left: &ScalarValue, right: &ScalarValue) -> bool {
    match (left, right) {
        (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => {
            a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (ScalarValue::Struct(a), ScalarValue::Struct(b)) => a.columns().iter().zip(b.columns()).all(|(a, b)| {
            is_same(&ScalarValue::try_from_array(a, 0).unwrap(), &ScalarValue::try_from_array(b, 0).unwrap())
        }),
        (a, b) => a == b,
    }
}

fn constant(accepts: Accepts) -> (KqlType, ScalarValue) {
    match accepts {
        Accepts::Only(KqlType::Dynamic) => (KqlType::Dynamic, ScalarValue::Utf8View(Some("[5,50,95.5]".into()))),
        Accepts::Only(KqlType::Long) => (KqlType::Long, ScalarValue::Int64(Some(3))),
        _ => (KqlType::Real, ScalarValue::Float64(Some(37.5))),
    }
}

/// Every aggregate that a row builds, over each type it takes: (aggregate, types of its columns).
fn built() -> Vec<(AggregateUDF, Vec<KqlType>)> {
    let mut all = Vec::new();
    for row in families().into_iter().flatten() {
        let AggregateImp::Function { build, .. } = row.imp else { continue };
        for signature in row.signatures {
            for ty in KqlType::ALL {
                let mut types = Vec::new();
                let mut constants = Vec::new();
                let mut columns = Vec::new();
                let mut fits = true;
                for (place, param) in signature.params.iter().enumerate() {
                    if row.predicate == Some(place) {
                        continue;
                    }
                    if param.constant {
                        let (ty, value) = constant(param.accepts);
                        types.push(ty);
                        constants.push(Some(value));
                        continue;
                    }
                    let own = match param.accepts {
                        Accepts::Only(own) => own,
                        Accepts::OneOf(types) => {
                            fits &= types.contains(&ty);
                            ty
                        }
                        Accepts::Number => {
                            fits &= ty.is_numeric();
                            ty
                        }
                        _ => ty,
                    };
                    assert_ne!(param.occurs, Occurs::Repeated, "{}", row.name);
                    types.push(own);
                    constants.push(None);
                    columns.push(own);
                }
                if !fits || types.is_empty() {
                    continue;
                }
                let returns = match signature.returns {
                    Returns::Type(ty) => ty,
                    Returns::Argument(place) => types[place],
                    Returns::By(by) => by(&types).unwrap(),
                    Returns::Common => unreachable!(),
                };
                let call = AggregateCall { types: &types, constants: &constants, returns };
                let udf = build(&call).unwrap();
                let arrow: Vec<DataType> = columns.iter().map(|ty| ty.arrow()).collect();
                assert_eq!(udf.return_type(&arrow).unwrap(), returns.arrow(), "{} of {types:?}", row.name);
                all.push((udf, columns));
            }
        }
    }
    for ty in KqlType::ALL {
        if !matches!(ty, KqlType::Guid | KqlType::Dynamic) {
            for is_max in [false, true] {
                all.push((arg_extreme(is_max, ty, &[]).unwrap(), vec![ty]));
                all.push((
                    arg_extreme(is_max, ty, &KqlType::ALL).unwrap(),
                    std::iter::once(ty).chain(KqlType::ALL).collect(),
                ));
            }
        }
        all.push((take_any(&[ty]).unwrap(), vec![ty]));
    }
    all.push((take_any(&KqlType::ALL).unwrap(), KqlType::ALL.to_vec()));
    for ty in [KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal, KqlType::DateTime, KqlType::TimeSpan] {
        all.push((percentiles(ty, &[50.0, 0.0, 99.9, 100.0], false).unwrap(), vec![ty]));
        all.push((percentiles(ty, &[5.0, 50.0], true).unwrap(), vec![ty, KqlType::Long]));
    }
    all
}

#[test]
fn answers_do_not_depend_on_how_the_rows_are_cut() {
    let mut random = Random(42);
    let built = built();
    assert!(built.len() > 200, "{}", built.len());
    // The engine's own aggregates expect every group to have a row.
    for (udf, types) in built.into_iter().filter(|(udf, _)| udf.inner().is::<KqlAggregate>()) {
        let columns: Vec<ArrayRef> = types
            .iter()
            .map(|ty| match ty {
                // Sketches and digests are made by other aggregates; weights must not be huge.
                KqlType::Long if udf.name().contains(",true") => sample(KqlType::Int, &mut random),
                ty => sample(*ty, &mut random),
            })
            .zip(&types)
            .map(|(column, ty)| {
                if column.data_type() == &ty.arrow() {
                    column
                } else {
                    arrow::compute::cast(&column, &ty.arrow()).unwrap()
                }
            })
            .collect();
        let groups: Vec<usize> = (0..ROWS).map(|_| random.below(GROUPS - 1)).collect();
        let keep = BooleanArray::from_iter((0..ROWS).map(|_| Some(random.below(5) > 0)));
        let harness = Harness::new(udf, &columns);
        harness.check(&columns, &groups, GROUPS, &keep, &mut random);
    }
}

/// Ends of the type, not-numbers, long and deep texts, nulls.
fn extremes(ty: KqlType) -> ArrayRef {
    let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
    let decimals = ["9999999999999999999999999999999999", "-9999999999999999999999999999999999", "1e-30", "0"];
    match ty {
        KqlType::Bool => Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
        KqlType::Int => Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX), Some(i32::MIN)])),
        KqlType::Long | KqlType::TimeSpan => {
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX), Some(i64::MIN)]))
        }
        KqlType::DateTime => Arc::new(Int64Array::from(vec![Some(0), None, Some(3_155_378_975_999_999_999), Some(0)])),
        KqlType::Real => Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX])),
        KqlType::Decimal => {
            let bytes = decimals.map(|text| Decimal::parse(text).map(|value| value.bytes()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), 16).unwrap())
        }
        KqlType::Guid => {
            let bytes = [Some([0u8; 16]), None, Some([0xFF; 16]), Some([0; 16])];
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), 16).unwrap())
        }
        KqlType::String => Arc::new(StringViewArray::from(vec![
            Some("a".repeat(100_000)),
            None,
            Some("😀\u{0}".into()),
            Some(String::new()),
        ])),
        KqlType::Dynamic => Arc::new(StringViewArray::from(vec![
            Some(deep),
            None,
            Some("{\"😀\":1e308,\"\":[null]}".into()),
            Some("[-9223372036854775808,1e308,-1e308]".into()),
        ])),
    }
}

#[test]
fn extremes_long_texts_and_deep_values_are_borne() {
    for (udf, types) in built().into_iter().filter(|(udf, _)| udf.inner().is::<KqlAggregate>()) {
        let columns: Vec<ArrayRef> = types.iter().map(|ty| extremes(*ty)).collect();
        let harness = Harness::new(udf, &columns);
        harness.answer(&columns);
    }
}

#[test]
fn sketches_and_digests_merge_however_they_are_cut() {
    let mut random = Random(7);
    let long = sample(KqlType::Long, &mut random);
    let cut: Vec<ArrayRef> = (0..ROWS / 10).map(|part| long.slice(part * 10, 10)).collect();
    for (make, merge) in [("hll", "hll_merge"), ("tdigest", "tdigest_merge")] {
        let maker = Harness::new(build(make, &[KqlType::Long]), std::slice::from_ref(&long));
        let mut texts: Vec<Option<String>> =
            cut.iter().map(|part| text(maker.answer(std::slice::from_ref(part)))).collect();
        texts[3] = None;
        texts[4] = Some("[]".into());
        let column: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
        let groups: Vec<usize> = (0..column.len()).map(|_| random.below(3)).collect();
        let keep = BooleanArray::from(vec![true; column.len()]);
        let merger = Harness::new(build(merge, &[KqlType::Dynamic]), std::slice::from_ref(&column));
        merger.check(std::slice::from_ref(&column), &groups, 3, &keep, &mut random);
    }
}

fn find(name: &str) -> &'static Aggregate {
    crate::registry::find_aggregate(name).unwrap_or_else(|| panic!("no aggregate {name}"))
}

fn build(name: &str, types: &[KqlType]) -> AggregateUDF {
    build_with(name, types, &vec![None; types.len()])
}

fn build_with(name: &str, types: &[KqlType], constants: &[Option<ScalarValue>]) -> AggregateUDF {
    let AggregateImp::Function { build, .. } = find(name).imp else { panic!("{name} is not built by its row") };
    build(&AggregateCall { types, constants, returns: KqlType::Long }).unwrap()
}

fn text(value: ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_string)
}

fn over(name: &str, ty: KqlType, column: ArrayRef) -> ScalarValue {
    let columns = [column];
    Harness::new(build(name, &[ty]), &columns).answer(&columns)
}

fn longs(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn reals(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn dynamics(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

#[test]
fn every_name_of_the_language_has_a_row() {
    for name in [
        "sum",
        "sumif",
        "cnt",
        "count",
        "countif",
        "dcount",
        "dcountif",
        "tdigest",
        "tdigest_merge",
        "merge_tdigest",
        "hll",
        "hll_if",
        "hll_merge",
        "min",
        "minif",
        "max",
        "maxif",
        "avg",
        "avgif",
        "makelist",
        "make_list",
        "make_list_if",
        "make_list_with_nulls",
        "makeset",
        "make_set",
        "make_set_if",
        "make_dictionary",
        "make_bag",
        "make_bag_if",
        "buildschema",
        "passthrough",
        "percentile",
        "percentiles",
        "percentiles_array",
        "percentilew",
        "percentilesw",
        "percentilesw_array",
        "stdev",
        "stdevif",
        "stdevp",
        "variance",
        "varianceif",
        "variancep",
        "variancepif",
        "covariance",
        "covarianceif",
        "covariancep",
        "covariancepif",
        "any",
        "take_any",
        "anyif",
        "take_anyif",
        "arg_min",
        "arg_max",
        "argmin",
        "argmax",
        "binary_all_or",
        "binary_all_and",
        "binary_all_xor",
        "count_distinct",
        "count_distinctif",
    ] {
        assert!(!find(name).summary.is_empty(), "{name}");
    }
}

#[test]
fn nothing_to_aggregate_has_the_answers_of_the_reference_engine() {
    for column in [longs(&[]), longs(&[None, None])] {
        let over = |name: &str| over(name, KqlType::Long, Arc::clone(&column));
        for name in ["sum", "dcount", "count_distinct"] {
            assert_eq!(over(name), ScalarValue::Int64(Some(0)), "{name}");
        }
        for name in ["hll", "tdigest"] {
            assert_eq!(text(over(name)), None, "{name}");
        }
        for name in ["min", "max", "take_anyif"] {
            assert_eq!(over(name), ScalarValue::Int64(None), "{name}");
        }
        for name in ["stdev", "stdevp", "variance", "variancep"] {
            assert_eq!(over(name), ScalarValue::Float64(Some(0.0)), "{name}");
        }
        assert!(matches!(over("avg"), ScalarValue::Float64(Some(value)) if value.is_nan()));
        for name in ["make_list", "make_set"] {
            assert_eq!(text(over(name)).as_deref(), Some("[]"), "{name}");
        }
        let percentile =
            build_with("percentile", &[KqlType::Long, KqlType::Long], &[None, Some(ScalarValue::Int64(Some(50)))]);
        assert_eq!(
            Harness::new(percentile, &[Arc::clone(&column)]).answer(&[Arc::clone(&column)]),
            ScalarValue::Int64(None)
        );
    }
    assert_eq!(text(over("make_bag", KqlType::Dynamic, dynamics(&[None]))).as_deref(), Some("{}"));
    assert_eq!(text(over("make_list", KqlType::Dynamic, dynamics(&[None]))).as_deref(), Some("[null]"));
    assert_eq!(text(over("min", KqlType::String, dynamics(&[]))).as_deref(), Some(""));
    assert_eq!(text(over("make_list_with_nulls", KqlType::Long, longs(&[None, Some(4)]))).as_deref(), Some("[null,4]"));
}

#[test]
fn sums_wrap_and_averages_divide_the_wrapped_sum() {
    let column = longs(&[Some(i64::MAX), Some(1), Some(2)]);
    assert_eq!(over("sum", KqlType::Long, Arc::clone(&column)), ScalarValue::Int64(Some(-9223372036854775806)));
    assert_eq!(over("avg", KqlType::Long, column), ScalarValue::Float64(Some(-3.0744573456182584e18)));
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX, i32::MAX]));
    assert_eq!(over("sum", KqlType::Int, ints), ScalarValue::Int64(Some(4294967294)));
    let days = longs(&[Some(630_000_000_000_000_000); 40]);
    assert_eq!(over("avg", KqlType::DateTime, days), ScalarValue::Int64(Some(630_000_000_000_000_000)));
}

#[test]
fn nan_wins_in_both_min_and_max() {
    for name in ["min", "max", "sum", "avg"] {
        let value = over(name, KqlType::Real, reals(&[1.5, f64::NAN, 2.5]));
        assert!(matches!(value, ScalarValue::Float64(Some(value)) if value.is_nan()), "{name}");
    }
    for (name, value) in [("min", f64::NEG_INFINITY), ("max", f64::INFINITY)] {
        let column = reals(&[1.5, f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(over(name, KqlType::Real, column), ScalarValue::Float64(Some(value)));
    }
}

#[test]
fn variances_are_rounded_and_deviations_are_roots_of_them() {
    let column = longs(&[Some(1), Some(2), Some(3), Some(4)]);
    let real = |name: &str, column: &ArrayRef| match over(name, KqlType::Long, Arc::clone(column)) {
        ScalarValue::Float64(Some(value)) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(real("variance", &column), 1.6666666667);
    assert_eq!(real("stdev", &column), 1.2909944487487155);
    assert_eq!(real("stdevp", &column), 1.118033988749895);
    assert_eq!(real("variancep", &column), 1.25);
    let tenth: ArrayRef = longs(&(1..=10).map(Some).collect::<Vec<_>>());
    assert_eq!(real("stdev", &tenth), 3.027650354102996);
    assert_eq!(real("variance", &longs(&[Some(5)])), 0.0);
    let columns = [reals(&[1.0, 2.0, 3.0, 4.0, 5.0]), reals(&[14.0, 10.0, 17.0, 20.0, 50.0])];
    let covariance = Harness::new(build("covariance", &[KqlType::Real, KqlType::Real]), &columns);
    assert_eq!(covariance.answer(&columns), ScalarValue::Float64(Some(20.5)));
}

fn parts(value: &ScalarValue) -> Vec<ScalarValue> {
    let ScalarValue::Struct(parts) = value else { panic!("{value:?}") };
    let parts: &StructArray = parts;
    parts.columns().iter().map(|column| ScalarValue::try_from_array(column, 0).unwrap()).collect()
}

#[test]
fn arg_max_ignores_null_keys_unless_there_are_no_others() {
    let pick = |is_max: bool, keys: ArrayRef, ty: KqlType| {
        let texts = StringViewArray::from_iter_values((0..keys.len()).map(|row| format!("row {row}")));
        let columns: [ArrayRef; 2] = [keys, Arc::new(texts)];
        let udf = arg_extreme(is_max, ty, &[KqlType::String]).unwrap();
        let parts = parts(&Harness::new(udf, &columns).answer(&columns));
        (parts[0].clone(), text(parts[1].clone()))
    };
    let (key, row) = pick(true, longs(&[None, Some(20), Some(20)]), KqlType::Long);
    assert_eq!((key, row.as_deref()), (ScalarValue::Int64(Some(20)), Some("row 1")));
    let (key, row) = pick(false, longs(&[None, None]), KqlType::Long);
    assert_eq!((key, row.as_deref()), (ScalarValue::Int64(None), Some("row 0")));
    let (key, row) = pick(true, longs(&[]), KqlType::Long);
    assert_eq!((key, row), (ScalarValue::Int64(None), None));
    for is_max in [false, true] {
        let (_, row) = pick(is_max, reals(&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]), KqlType::Real);
        assert_eq!(row.as_deref(), Some("row 1"));
    }
    let (_, row) = pick(false, dynamics(&[Some("b"), None, Some("a")]), KqlType::String);
    assert_eq!(row.as_deref(), Some("row 1"));
}

#[test]
fn take_any_of_one_column_prefers_a_value() {
    assert_eq!(over("take_anyif", KqlType::Long, longs(&[None, Some(3), Some(4)])), ScalarValue::Int64(Some(3)));
    assert_eq!(text(over("take_anyif", KqlType::String, dynamics(&[Some(""), None, Some("x")]))).as_deref(), Some("x"));
    assert_eq!(text(over("take_anyif", KqlType::String, dynamics(&[Some("")]))).as_deref(), Some(""));
    let columns = [longs(&[None, Some(1)]), dynamics(&[Some("a"), Some("b")])];
    let udf = take_any(&[KqlType::Long, KqlType::String]).unwrap();
    let parts = parts(&Harness::new(udf, &columns).answer(&columns));
    assert_eq!((parts[0].clone(), text(parts[1].clone()).as_deref()), (ScalarValue::Int64(None), Some("a")));
}

#[test]
fn lists_sets_and_bags_take_dynamics_apart() {
    let column = dynamics(&[
        Some("[1,2]"),
        Some("{\"a\":1,\"b\":[2]}"),
        None,
        Some("[2,\"x\"]"),
        Some("3"),
        Some("{\"a\":9,\"c\":3}"),
    ]);
    let list = text(over("make_list", KqlType::Dynamic, Arc::clone(&column))).unwrap();
    assert_eq!(list, r#"[1,2,{"a":1,"b":[2]},null,2,"x",3,{"a":9,"c":3}]"#);
    let set = text(over("make_set", KqlType::Dynamic, Arc::clone(&column))).unwrap();
    assert_eq!(set, r#"[1,2,{"a":1,"b":[2]},null,"x",3,{"a":9,"c":3}]"#);
    let bag = text(over("make_bag", KqlType::Dynamic, Arc::clone(&column))).unwrap();
    assert_eq!(bag, r#"{"a":1,"b":[2],"c":3}"#);
    let limited =
        build_with("make_list", &[KqlType::Dynamic, KqlType::Long], &[None, Some(ScalarValue::Int64(Some(3)))]);
    let columns = [column];
    assert_eq!(text(Harness::new(limited, &columns).answer(&columns)).unwrap(), r#"[1,2,{"a":1,"b":[2]}]"#);
    let schema = dynamics(&[
        Some(r#"{"x":1,"y":3.5}"#),
        Some(r#"{"x":"somevalue","z":[1,2,3]}"#),
        Some(r#"{"y":{"w":"zzz"},"t":["aa","bb"],"z":["foo"]}"#),
    ]);
    assert_eq!(
        text(over("buildschema", KqlType::Dynamic, schema)).unwrap(),
        r#"{"x":["long","string"],"y":["double",{"w":"string"}],"z":{"`indexer`":["long","string"]},"t":{"`indexer`":"string"}}"#
    );
}

#[test]
fn distinct_counts_leave_out_nulls_but_not_the_empty_string() {
    for name in ["dcount", "count_distinct"] {
        assert_eq!(over(name, KqlType::Long, longs(&[Some(1), None, Some(1), Some(2)])), ScalarValue::Int64(Some(2)));
        let texts = dynamics(&[Some("a"), None, Some(""), Some("a")]);
        assert_eq!(over(name, KqlType::String, texts), ScalarValue::Int64(Some(2)));
        let column = reals(&[0.0, -0.0, f64::NAN, f64::from_bits(f64::NAN.to_bits() | 1)]);
        assert_eq!(over(name, KqlType::Real, column), ScalarValue::Int64(Some(2)));
    }
}

#[test]
fn bits_are_joined_over_all_rows() {
    let column = longs(&[Some(0x44404440), None, Some(0x1E1E1E1E), Some(0x90ABBA09), Some(0x000B105A)]);
    assert_eq!(over("binary_all_xor", KqlType::Long, column), ScalarValue::Int64(Some(0xCAFEF00D)));
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![-1, 6, 3]));
    assert_eq!(over("binary_all_and", KqlType::Int, ints), ScalarValue::Int32(Some(2)));
}

#[test]
fn constants_outside_their_range_are_refused() {
    for (name, value) in [("dcount", 5), ("dcount", -1), ("percentile", 101), ("percentile", -1)] {
        let AggregateImp::Function { build, .. } = find(name).imp else { panic!() };
        let constants = [None, Some(ScalarValue::Int64(Some(value)))];
        let call =
            AggregateCall { types: &[KqlType::Long, KqlType::Long], constants: &constants, returns: KqlType::Long };
        assert!(build(&call).is_err(), "{name} {value}");
    }
}

#[test]
fn an_empty_batch_of_every_type_is_taken() {
    for (udf, types) in built() {
        let columns: Vec<ArrayRef> = types.iter().map(|ty| new_empty_array(&ty.arrow())).collect();
        let harness = Harness::new(udf, &columns);
        let before = harness.single().evaluate().unwrap();
        assert!(is_same(&before, &harness.answer(&columns)), "{}", harness.udf.name());
        let value = harness.many().evaluate(EmitTo::All).unwrap();
        assert_eq!(value.len(), 0);
        let _ = value.as_struct_opt();
    }
}
