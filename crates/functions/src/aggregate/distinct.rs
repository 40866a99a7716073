//! `dcount`, `count_distinct`, `hll` and their kin.
//!
//! Nulls are not counted; the empty string is. `count_distinct` is exact, the others use the
//! sketch of `hyperloglog`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, StringViewArray,
    StringViewBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::AggregateUDF;
use tidewater_kql::KqlType;

use crate::aggregate::frame::{CELL_STATE, Cells, Kind, KqlAggregate, Reader, argument, write_block};
use crate::aggregate::hyperloglog::{DEFAULT_ACCURACY, Sketch};
use crate::aggregate::sets::{TextSet, WordSet, hash_bytes, mix};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, DYNAMIC, LONG, Returns, Signature, optional, required, sig};

const COUNTED: Accepts = Accepts::OneOf(&[
    KqlType::Bool,
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::String,
    KqlType::DateTime,
    KqlType::TimeSpan,
    KqlType::Guid,
]);
const TO_LONG: Returns = Returns::Type(KqlType::Long);
const TO_DYNAMIC: Returns = Returns::Type(KqlType::Dynamic);
const DCOUNT: Signature = sig(&[required("expr", Accepts::Any), optional("accuracy", LONG).constant()], TO_LONG);
const DCOUNTIF: Signature =
    sig(&[required("expr", Accepts::Any), required("predicate", BOOL), optional("accuracy", LONG).constant()], TO_LONG);
const HLL: Signature = sig(&[required("expr", Accepts::Any), optional("accuracy", LONG).constant()], TO_DYNAMIC);
const HLL_IF: Signature = sig(
    &[required("expr", Accepts::Any), required("predicate", BOOL), optional("accuracy", LONG).constant()],
    TO_DYNAMIC,
);

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "dcount",
        signatures: &[DCOUNT],
        name_prefix: "dcount_",
        imp: AggregateImp::Function { build: build_dcount, finish: None },
        summary: "Estimate of the number of distinct values of `expr`; exact for small sets.",
        docs: "dcount-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "dcountif",
        signatures: &[DCOUNTIF],
        name_prefix: "dcountif_",
        imp: AggregateImp::Function { build: build_dcount, finish: None },
        predicate: Some(1),
        summary: "Estimate of the number of distinct values of `expr` in the rows where `predicate` is true.",
        docs: "dcountif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "count_distinct",
        signatures: &[sig(&[required("expr", COUNTED)], TO_LONG)],
        name_prefix: "count_distinct_",
        imp: AggregateImp::Function { build: build_count_distinct, finish: None },
        summary: "Exact number of distinct values of `expr`.",
        docs: "count-distinct-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "count_distinctif",
        signatures: &[sig(&[required("expr", COUNTED), required("predicate", BOOL)], TO_LONG)],
        name_prefix: "count_distinctif_",
        imp: AggregateImp::Function { build: build_count_distinct, finish: None },
        predicate: Some(1),
        summary: "Exact number of distinct values of `expr` in the rows where `predicate` is true.",
        docs: "count-distinctif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "hll",
        signatures: &[HLL],
        name_prefix: "hll_",
        imp: AggregateImp::Function { build: build_hll, finish: None },
        summary: "Sketch of the distinct values of `expr`, for `dcount_hll` and `hll_merge`.",
        docs: "hll-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "hll_if",
        signatures: &[HLL_IF],
        name_prefix: "hll_if_",
        imp: AggregateImp::Function { build: build_hll, finish: None },
        predicate: Some(1),
        summary: "Sketch of the distinct values of `expr` in the rows where `predicate` is true.",
        docs: "hll-if-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "hll_merge",
        signatures: &[sig(&[required("hll", DYNAMIC)], TO_DYNAMIC)],
        name_prefix: "hll_merge_",
        imp: AggregateImp::Function { build: |_| Ok(hll_merge()), finish: None },
        summary: "Union of the sketches that `hll` made.",
        docs: "hll-merge-aggregation-function",
        ..Aggregate::ROW
    },
];

fn accuracy(call: &AggregateCall<'_>) -> Result<u8> {
    let accuracy = match call.constants.get(1) {
        None => DEFAULT_ACCURACY,
        Some(constant) => match constant {
            Some(value) => integer(value).unwrap_or(DEFAULT_ACCURACY),
            None => return plan_err!("the accuracy must be a constant"),
        },
    };
    match Sketch::bits_of(accuracy) {
        Some(bits) => Ok(bits),
        None => plan_err!("the accuracy must be 0, 1, 2, 3 or 4, not {accuracy}"),
    }
}

/// A whole-number constant; `None` for null and other types.
pub(crate) fn integer(value: &datafusion_common::ScalarValue) -> Option<i64> {
    use datafusion_common::ScalarValue;
    match value {
        ScalarValue::Int64(value) => *value,
        ScalarValue::Int32(value) => value.map(i64::from),
        _ => None,
    }
}

fn build_dcount(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(dcount(call.types[0], accuracy(call)?))
}

fn build_hll(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(hll(call.types[0], accuracy(call)?))
}

fn build_count_distinct(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(count_distinct(call.types[0]))
}

/// `dcount` with `bits` index bits (`Sketch::bits_of(accuracy)`).
pub fn dcount(ty: KqlType, bits: u8) -> AggregateUDF {
    KqlAggregate::udf(format!("kql_dcount<{ty},{bits}>"), DataType::Int64, vec![CELL_STATE], move || {
        Cells::boxed(Distinct { ty: Some(ty), bits, is_count: true })
    })
}

/// `hll` with `bits` index bits.
pub fn hll(ty: KqlType, bits: u8) -> AggregateUDF {
    KqlAggregate::udf(format!("kql_hll<{ty},{bits}>"), DataType::Utf8View, vec![CELL_STATE], move || {
        Cells::boxed(Distinct { ty: Some(ty), bits, is_count: false })
    })
}

/// `hll_merge`; values that are no sketches are left out.
pub fn hll_merge() -> AggregateUDF {
    KqlAggregate::udf("kql_hll_merge", DataType::Utf8View, vec![CELL_STATE], || {
        // The finest accuracy: the first sketch brings its own.
        Cells::boxed(Distinct { ty: None, bits: 18, is_count: false })
    })
}

/// `count_distinct`.
pub fn count_distinct(ty: KqlType) -> AggregateUDF {
    let name = format!("kql_count_distinct<{ty}>");
    match ty.arrow() {
        DataType::Utf8View | DataType::FixedSizeBinary(_) => {
            KqlAggregate::udf(name, DataType::Int64, vec![CELL_STATE], move || Cells::boxed(DistinctTexts { ty }))
        }
        _ => KqlAggregate::udf(name, DataType::Int64, vec![CELL_STATE], move || Cells::boxed(DistinctWords { ty })),
    }
}

/// The values of a column of fixed-width type as words: equal values have equal words.
fn words(ty: KqlType, array: &ArrayRef) -> Result<Vec<u64>> {
    let column = std::slice::from_ref(array);
    Ok(match ty {
        KqlType::Bool => argument::<BooleanArray>(column, 0)?.values().iter().map(u64::from).collect(),
        KqlType::Int => {
            argument::<Int32Array>(column, 0)?.values().iter().map(|value| i64::from(*value) as u64).collect()
        }
        KqlType::Real => argument::<Float64Array>(column, 0)?.values().iter().map(|value| real_word(*value)).collect(),
        _ => argument::<Int64Array>(column, 0)?.values().iter().map(|value| *value as u64).collect(),
    })
}

/// All NaNs are one value, and so are both zeros.
fn real_word(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Hashes of the values of a column, and which rows have none.
fn hashes(ty: KqlType, array: &ArrayRef) -> Result<(Vec<u64>, Option<NullBuffer>)> {
    let column = std::slice::from_ref(array);
    Ok(match ty.arrow() {
        DataType::Utf8View => {
            let texts = argument::<StringViewArray>(column, 0)?;
            let hashes = texts.iter().map(|text| hash_bytes(text.unwrap_or("").as_bytes())).collect();
            // A null string is the empty string; a null dynamic is no value.
            (hashes, texts.nulls().filter(|_| ty != KqlType::String).cloned())
        }
        DataType::FixedSizeBinary(_) => {
            let values = argument::<FixedSizeBinaryArray>(column, 0)?;
            ((0..values.len()).map(|row| hash_bytes(values.value(row))).collect(), values.nulls().cloned())
        }
        _ => {
            let mut words = words(ty, array)?;
            words.iter_mut().for_each(|word| *word = mix(*word));
            (words, array.nulls().cloned())
        }
    })
}

/// `ty` is `None` where the argument holds sketches.
struct Distinct {
    ty: Option<KqlType>,
    bits: u8,
    is_count: bool,
}

enum Arrivals<'a> {
    Values(Vec<u64>, Option<NullBuffer>),
    Sketches(&'a StringViewArray),
}

impl Kind for Distinct {
    type Cell = Sketch;
    type Input<'a> = Arrivals<'a>;

    fn empty(&self) -> Sketch {
        Sketch::new(self.bits)
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Arrivals<'a>> {
        Ok(match self.ty {
            None => Arrivals::Sketches(argument(args, 0)?),
            Some(ty) => {
                let (hashes, nulls) = hashes(ty, &args[0])?;
                Arrivals::Values(hashes, nulls)
            }
        })
    }

    fn add(&self, cell: &mut Sketch, input: &Arrivals<'_>, row: usize) -> Result<()> {
        match input {
            Arrivals::Values(hashes, nulls) => {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    cell.insert(hashes[row]);
                }
            }
            Arrivals::Sketches(texts) => {
                if let Some(sketch) = texts.is_valid(row).then(|| Sketch::read_json(texts.value(row))).flatten() {
                    cell.merge(&sketch);
                }
            }
        }
        Ok(())
    }

    fn encode(&self, cell: &Sketch, out: &mut Vec<u8>) {
        cell.encode(out);
    }

    fn merge(&self, cell: &mut Sketch, bytes: &[u8]) -> Result<()> {
        cell.merge(&Sketch::decode(bytes)?);
        Ok(())
    }

    fn finish(&self, cells: &mut [Sketch]) -> Result<ArrayRef> {
        if self.is_count {
            return Ok(Arc::new(Int64Array::from_iter_values(cells.iter().map(Sketch::count))));
        }
        let mut texts = StringViewBuilder::with_capacity(cells.len());
        let mut text = Vec::new();
        for cell in cells {
            // No value gives null, as the summarize page lists it.
            if cell.is_empty() {
                texts.append_null();
                continue;
            }
            text.clear();
            cell.write_json(&mut text);
            texts.append_value(utf8(&text)?);
        }
        Ok(Arc::new(texts.finish()))
    }

    fn heap(&self, cell: &Sketch) -> usize {
        cell.heap()
    }
}

/// JSON that was put together from texts is text again.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => exec_err!("a dynamic value holds ill-formed text: {error}"),
    }
}

struct DistinctWords {
    ty: KqlType,
}

impl Kind for DistinctWords {
    type Cell = WordSet;
    type Input<'a> = (Vec<u64>, Option<NullBuffer>);

    fn empty(&self) -> WordSet {
        WordSet::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Self::Input<'a>> {
        Ok((words(self.ty, &args[0])?, args[0].nulls().cloned()))
    }

    fn add(&self, cell: &mut WordSet, (words, nulls): &Self::Input<'_>, row: usize) -> Result<()> {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            cell.insert(words[row]);
        }
        Ok(())
    }

    fn encode(&self, cell: &WordSet, out: &mut Vec<u8>) {
        cell.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    fn merge(&self, cell: &mut WordSet, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            cell.insert(reader.u64()?);
        }
        Ok(())
    }

    fn finish(&self, cells: &mut [WordSet]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| cell.len() as i64))))
    }

    fn heap(&self, cell: &WordSet) -> usize {
        cell.heap()
    }
}

struct DistinctTexts {
    ty: KqlType,
}

enum Texts<'a> {
    Strings(&'a StringViewArray),
    Bytes(&'a FixedSizeBinaryArray),
}

impl Kind for DistinctTexts {
    type Cell = TextSet;
    type Input<'a> = Texts<'a>;

    fn empty(&self) -> TextSet {
        TextSet::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Texts<'a>> {
        Ok(match self.ty.arrow() {
            DataType::Utf8View => Texts::Strings(argument(args, 0)?),
            _ => Texts::Bytes(argument(args, 0)?),
        })
    }

    fn add(&self, cell: &mut TextSet, input: &Texts<'_>, row: usize) -> Result<()> {
        let value = match input {
            Texts::Strings(column) if column.is_valid(row) => Some(column.value(row).as_bytes()),
            Texts::Strings(_) => (self.ty == KqlType::String).then_some(b"".as_slice()),
            Texts::Bytes(column) => column.is_valid(row).then(|| column.value(row)),
        };
        if let Some(value) = value {
            let _known = cell.insert(value);
        }
        Ok(())
    }

    fn encode(&self, cell: &TextSet, out: &mut Vec<u8>) {
        cell.iter().for_each(|text| write_block(text, out));
    }

    fn merge(&self, cell: &mut TextSet, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let _known = cell.insert(reader.block()?);
        }
        Ok(())
    }

    fn finish(&self, cells: &mut [TextSet]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| cell.len() as i64))))
    }

    fn heap(&self, cell: &TextSet) -> usize {
        cell.heap()
    }
}
