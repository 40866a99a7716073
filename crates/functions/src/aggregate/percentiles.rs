//! `percentile` and its forms, `tdigest` and its merge.
//!
//! Shape: nearest rank over all values while a group has no more than `digest::EXACT_LIMIT`
//! different ones, estimated beyond. Nulls are left out; no value gives null. NaN counts as the
//! smallest value. The value of an int column is long, that of a decimal column real.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringViewArray, StringViewBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::AggregateUDF;
use tidewater_kql::KqlType;

use crate::aggregate::digest::{Digest, Key, Scale, key_of_real, real_of_key};
use crate::aggregate::distinct::utf8;
use crate::aggregate::frame::{CELL_STATE, Cells, Kind, KqlAggregate, argument};
use crate::aggregate::part_field;
use crate::aggregate::sums::reals;
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, DYNAMIC, LONG, Returns, Signature, optional, repeated, required, sig};

const MEASURED: Accepts = Accepts::OneOf(&[
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::DateTime,
    KqlType::TimeSpan,
]);

/// The type of a percentile of a column of type `ty`: long for int, real for decimal, else `ty`.
pub fn percentile_type(ty: KqlType) -> KqlType {
    match ty {
        KqlType::Int => KqlType::Long,
        KqlType::Decimal => KqlType::Real,
        ty => ty,
    }
}

fn first_type(types: &[KqlType]) -> Result<KqlType, String> {
    Ok(percentile_type(types.first().copied().unwrap_or(KqlType::Long)))
}

const EXPR: crate::signature::Param = required("expr", MEASURED);
const WEIGHT: crate::signature::Param = required("weight", LONG);
const PERCENT: crate::signature::Param = required("percentile", Accepts::Number).constant();
const PERCENTS: crate::signature::Param = repeated("percentile", Accepts::Number).constant();
const LIST: crate::signature::Param = required("percentiles", DYNAMIC).constant();
const TO_DYNAMIC: Returns = Returns::Type(KqlType::Dynamic);

const ONE: Signature = sig(&[EXPR, PERCENT], Returns::By(first_type));
const ONE_WEIGHTED: Signature = sig(&[EXPR, WEIGHT, PERCENT], Returns::By(first_type));

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "percentile",
        signatures: &[ONE],
        name_prefix: "percentile_",
        imp: AggregateImp::Function { build: build_one, finish: None },
        summary: "Nearest-rank percentile of `expr`.",
        docs: "percentiles-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "percentiles",
        signatures: &[sig(&[EXPR, PERCENT, PERCENTS], Returns::By(first_type))],
        name_prefix: "percentile_",
        imp: AggregateImp::Binder,
        summary: "Nearest-rank percentiles of `expr`, one column each.",
        docs: "percentiles-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "percentiles_array",
        signatures: &[sig(&[EXPR, LIST], TO_DYNAMIC), sig(&[EXPR, PERCENT, PERCENTS], TO_DYNAMIC)],
        name_prefix: "percentiles_",
        imp: AggregateImp::Function { build: build_array, finish: None },
        summary: "Nearest-rank percentiles of `expr` as one array.",
        docs: "percentiles-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "percentilew",
        signatures: &[ONE_WEIGHTED],
        name_prefix: "percentile_",
        imp: AggregateImp::Function { build: build_one_weighted, finish: None },
        summary: "Nearest-rank percentile of `expr`, each value repeated `weight` times.",
        docs: "percentilesw-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "percentilesw",
        signatures: &[sig(&[EXPR, WEIGHT, PERCENT, PERCENTS], Returns::By(first_type))],
        name_prefix: "percentile_",
        imp: AggregateImp::Binder,
        summary: "Weighted nearest-rank percentiles of `expr`, one column each.",
        docs: "percentilesw-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "percentilesw_array",
        signatures: &[sig(&[EXPR, WEIGHT, LIST], TO_DYNAMIC), sig(&[EXPR, WEIGHT, PERCENT, PERCENTS], TO_DYNAMIC)],
        name_prefix: "percentiles_",
        imp: AggregateImp::Function { build: build_array_weighted, finish: None },
        summary: "Weighted nearest-rank percentiles of `expr` as one array.",
        docs: "percentilesw-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "tdigest",
        signatures: &[sig(&[EXPR, optional("weight", LONG)], TO_DYNAMIC)],
        name_prefix: "tdigest_",
        imp: AggregateImp::Function { build: |call| Ok(tdigest(call.types[0], call.types.len() > 1)), finish: None },
        summary: "Summary of the values of `expr`, for `percentile_tdigest` and `tdigest_merge`.",
        docs: "tdigest-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "tdigest_merge",
        aliases: &["merge_tdigest"],
        signatures: &[sig(&[required("tdigest", DYNAMIC)], TO_DYNAMIC)],
        name_prefix: "merge_tdigests_",
        imp: AggregateImp::Function { build: |_| Ok(tdigest_merge()), finish: None },
        summary: "Union of the summaries that `tdigest` made.",
        docs: "tdigest-merge-aggregation-function",
        ..Aggregate::ROW
    },
];

fn build_one(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    percentile(call.types[0], constant_percents(call, 1)?, false, Answer::Value)
}

fn build_one_weighted(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    percentile(call.types[0], constant_percents(call, 2)?, true, Answer::Value)
}

fn build_array(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    percentile(call.types[0], constant_percents(call, 1)?, false, Answer::Array)
}

fn build_array_weighted(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    percentile(call.types[0], constant_percents(call, 2)?, true, Answer::Array)
}

/// The percents of a call from the argument at `from` on: numbers, or one dynamic array of them.
fn constant_percents(call: &AggregateCall<'_>, from: usize) -> Result<Vec<f64>> {
    let mut percents = Vec::new();
    for constant in call.constants.iter().skip(from) {
        match constant {
            Some(value) => percents.extend(percents_of(value)?),
            None => return plan_err!("a percentile must be a constant"),
        }
    }
    Ok(percents)
}

/// The percents that a constant names: a number, or a dynamic array of numbers.
pub fn percents_of(value: &ScalarValue) -> Result<Vec<f64>> {
    let number = match value {
        ScalarValue::Int32(value) => value.map(f64::from),
        ScalarValue::Int64(value) => value.map(|value| value as f64),
        ScalarValue::Float64(value) => *value,
        ScalarValue::FixedSizeBinary(16, Some(bytes)) => {
            let bytes: Option<[u8; 16]> = bytes.as_slice().try_into().ok();
            bytes.map(|bytes| tidewater_kql::value::decimal::Decimal::from_bytes(bytes).to_f64())
        }
        value => {
            let text = value.try_as_str().flatten().unwrap_or_default();
            let numbers: Option<Vec<f64>> = serde_json::from_str(text).ok();
            return match numbers {
                Some(numbers) => Ok(numbers),
                None => plan_err!("the percentiles must be numbers or an array of numbers"),
            };
        }
    };
    match number {
        Some(number) => Ok(vec![number]),
        None => plan_err!("a percentile must not be null"),
    }
}

/// How the percentiles of a group are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value,
    Array,
    Parts,
    Digest,
}

/// `percentiles(expr, p1, p2, ...)` and, with `is_weighted`, `percentilesw(expr, weight, p1, ...)`:
/// the binder's rows with several columns.
///
/// Arguments of the call: the column of type `ty`, then the weights (long) if weighted. Value: a
/// struct with a field per percent, in order, named by `part_name` and of type `percentile_type(ty)`.
pub fn percentiles(ty: KqlType, percents: &[f64], is_weighted: bool) -> Result<AggregateUDF> {
    percentile(ty, percents.to_vec(), is_weighted, Answer::Parts)
}

fn percentile(ty: KqlType, percents: Vec<f64>, is_weighted: bool, answer: Answer) -> Result<AggregateUDF> {
    if percents.is_empty() {
        return plan_err!("at least one percentile is expected");
    }
    if let Some(percent) = percents.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
        return plan_err!("a percentile must be between 0 and 100, not {percent}");
    }
    let value = percentile_type(ty);
    let returns = match answer {
        Answer::Value => value.arrow(),
        Answer::Array | Answer::Digest => DataType::Utf8View,
        Answer::Parts => DataType::Struct((0..percents.len()).map(|part| part_field(part, value)).collect()),
    };
    let name = format!("kql_percentile<{ty},{percents:?},{is_weighted},{answer:?}>");
    let kind = Percentiles { ty: Some(ty), percents: percents.into(), is_weighted, answer };
    Ok(KqlAggregate::udf(name, returns, vec![CELL_STATE], move || Cells::boxed(kind.clone())))
}

/// `tdigest(expr [, weight])`.
pub fn tdigest(ty: KqlType, is_weighted: bool) -> AggregateUDF {
    let kind = Percentiles { ty: Some(ty), percents: Arc::new([]), is_weighted, answer: Answer::Digest };
    let name = format!("kql_tdigest<{ty},{is_weighted}>");
    KqlAggregate::udf(name, DataType::Utf8View, vec![CELL_STATE], move || Cells::boxed(kind.clone()))
}

/// `tdigest_merge`; values that are no digests, or of another type than the first, are left out.
pub fn tdigest_merge() -> AggregateUDF {
    let kind = Percentiles { ty: None, percents: Arc::new([]), is_weighted: false, answer: Answer::Digest };
    KqlAggregate::udf("kql_tdigest_merge", DataType::Utf8View, vec![CELL_STATE], move || Cells::boxed(kind.clone()))
}

/// `ty` is `None` where the argument holds digests.
#[derive(Clone)]
struct Percentiles {
    ty: Option<KqlType>,
    percents: Arc<[f64]>,
    is_weighted: bool,
    answer: Answer,
}

enum Arrivals<'a> {
    Values { keys: Vec<Key>, weights: Option<&'a Int64Array>, nulls: Option<NullBuffer> },
    Digests(&'a StringViewArray),
}

/// A digest and the type of its values, which merged digests bring along.
struct Cell {
    digest: Digest,
    scale: Option<Scale>,
}

impl Percentiles {
    /// Adds a digest of some type; the first decides the type.
    fn join(cell: &mut Cell, digest: &Digest, scale: Scale) {
        let mine = *cell.scale.get_or_insert(scale);
        if mine == scale {
            cell.digest.merge(digest, scale);
        }
    }
}

impl Kind for Percentiles {
    type Cell = Cell;
    type Input<'a> = Arrivals<'a>;

    fn empty(&self) -> Cell {
        Cell { digest: Digest::default(), scale: self.ty.map(|ty| Scale(percentile_type(ty))) }
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Arrivals<'a>> {
        let Some(ty) = self.ty else {
            return Ok(Arrivals::Digests(argument(args, 0)?));
        };
        let keys = match ty {
            KqlType::Int => argument::<Int32Array>(args, 0)?.values().iter().map(|value| i64::from(*value)).collect(),
            KqlType::Real | KqlType::Decimal => reals(&args[0])?.0.into_iter().map(key_of_real).collect(),
            _ => argument::<Int64Array>(args, 0)?.values().to_vec(),
        };
        let weights = if self.is_weighted { Some(argument::<Int64Array>(args, 1)?) } else { None };
        let nulls = NullBuffer::union(args[0].nulls(), weights.and_then(|weights| weights.nulls()));
        Ok(Arrivals::Values { keys, weights, nulls })
    }

    fn add(&self, cell: &mut Cell, input: &Arrivals<'_>, row: usize) -> Result<()> {
        match input {
            Arrivals::Values { keys, weights, nulls } => {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    let weight = weights.map_or(1, |weights| weights.value(row));
                    cell.digest.add(keys[row], weight, cell.scale.unwrap_or(Scale(KqlType::Long)));
                }
            }
            Arrivals::Digests(texts) => {
                let digest = texts.is_valid(row).then(|| Digest::read_json(texts.value(row))).flatten();
                if let Some((digest, scale)) = digest {
                    Percentiles::join(cell, &digest, scale);
                }
            }
        }
        Ok(())
    }

    fn encode(&self, cell: &Cell, out: &mut Vec<u8>) {
        let place = cell.scale.and_then(|scale| KqlType::ALL.iter().position(|ty| *ty == scale.0));
        out.push(place.map_or(u8::MAX, |place| place as u8));
        cell.digest.encode(out);
    }

    fn merge(&self, cell: &mut Cell, bytes: &[u8]) -> Result<()> {
        let Some((place, bytes)) = bytes.split_first() else { return Ok(()) };
        if let Some(ty) = KqlType::ALL.get(usize::from(*place)) {
            Percentiles::join(cell, &Digest::decode(bytes)?, Scale(*ty));
        }
        Ok(())
    }

    fn finish(&self, cells: &mut [Cell]) -> Result<ArrayRef> {
        if self.answer == Answer::Digest {
            return texts(cells, |cell, out| {
                if !cell.digest.is_empty() {
                    cell.digest.write_json(cell.scale.unwrap_or(Scale(KqlType::Long)), out);
                }
            });
        }
        let scale = Scale(percentile_type(self.ty.unwrap_or(KqlType::Long)));
        if self.answer == Answer::Array {
            return texts(cells, |cell, out| match cell.digest.percentiles(&self.percents, scale) {
                None => {}
                Some(keys) => {
                    out.push(b'[');
                    for (index, key) in keys.into_iter().enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        scale.write_json(key, out);
                    }
                    out.push(b']');
                }
            });
        }
        let mut parts: Vec<Vec<Option<Key>>> = vec![Vec::with_capacity(cells.len()); self.percents.len()];
        for cell in cells {
            let keys = cell.digest.percentiles(&self.percents, scale);
            for (index, part) in parts.iter_mut().enumerate() {
                part.push(keys.as_ref().map(|keys| keys[index]));
            }
        }
        let mut columns: Vec<ArrayRef> = parts.into_iter().map(|part| column(part, scale)).collect();
        if self.answer == Answer::Value {
            return Ok(columns.remove(0));
        }
        let fields: Fields = (0..columns.len()).map(|part| part_field(part, scale.0)).collect();
        Ok(Arc::new(StructArray::try_new(fields, columns, None)?))
    }

    fn heap(&self, cell: &Cell) -> usize {
        cell.digest.heap()
    }
}

fn column(keys: Vec<Option<Key>>, scale: Scale) -> ArrayRef {
    match scale.0 {
        KqlType::Real => Arc::new(Float64Array::from_iter(keys.into_iter().map(|key| key.map(real_of_key)))),
        _ => Arc::new(Int64Array::from_iter(keys)),
    }
}

/// A text per cell; an empty one is null.
fn texts(cells: &mut [Cell], mut write: impl FnMut(&mut Cell, &mut Vec<u8>)) -> Result<ArrayRef> {
    let mut column = StringViewBuilder::with_capacity(cells.len());
    let mut text = Vec::new();
    for cell in cells {
        text.clear();
        write(cell, &mut text);
        column.append_option(if text.is_empty() { None } else { Some(utf8(&text)?) });
    }
    Ok(Arc::new(column.finish()))
}
