//! `arg_max`, `arg_min` and `take_any`: whole rows picked out of groups.
//!
//! Shape: `arg_extreme` and `take_any` give a struct whose fields the lowering takes apart
//! (`part_name`). The rows that lead are kept as small batches, a batch of winners for each batch
//! of input, and put together again when most of what is kept no longer leads.
//!
//! Nulls: a row whose key is null leads only as long as there is no other. NaN leads over every
//! other number, for `arg_min` too. Among equal keys the row that came first leads; partial states
//! may come in any order, so then any of them may. Without rows every field is null.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    StringViewArray, StructArray, UInt32Array, new_null_array,
};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Fields};
use datafusion_common::{Result, plan_err};
use datafusion_expr::AggregateUDF;
use tidewater_kql::KqlType;

use crate::aggregate::digest::key_of_real;
use crate::aggregate::extremes::ORDERABLE;
use crate::aggregate::frame::{Groups, KqlAggregate, Rows, argument};
use crate::aggregate::part_field;
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, Returns, Signature, repeated, required, sig};

const ANY: Signature = sig(&[required("expr", Accepts::Any), repeated("expr", Accepts::Any)], Returns::Argument(0));
const ANY_IF: Signature = sig(&[required("expr", Accepts::Any), required("predicate", BOOL)], Returns::Argument(0));
const ARG_MAX: Signature =
    sig(&[required("maximized", ORDERABLE), repeated("returned", Accepts::Any)], Returns::Argument(0));
const ARG_MIN: Signature =
    sig(&[required("minimized", ORDERABLE), repeated("returned", Accepts::Any)], Returns::Argument(0));

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "arg_max",
        signatures: &[ARG_MAX],
        imp: AggregateImp::Binder,
        summary: "The row with the largest value of `maximized`.",
        docs: "arg-max-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "arg_min",
        signatures: &[ARG_MIN],
        imp: AggregateImp::Binder,
        summary: "The row with the smallest value of `minimized`.",
        docs: "arg-min-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "argmax",
        signatures: &[ARG_MAX],
        name_prefix: "max_",
        imp: AggregateImp::Binder,
        summary: "Obsolete form of `arg_max`, with other column names.",
        docs: "arg-max-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "argmin",
        signatures: &[ARG_MIN],
        name_prefix: "min_",
        imp: AggregateImp::Binder,
        summary: "Obsolete form of `arg_min`, with other column names.",
        docs: "arg-min-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "take_any",
        signatures: &[ANY],
        imp: AggregateImp::Binder,
        summary: "The values of the expressions in some row; one expression alone prefers a value over null.",
        docs: "take-any-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "any",
        signatures: &[ANY],
        name_prefix: "any_",
        imp: AggregateImp::Binder,
        summary: "Obsolete form of `take_any`, with other column names.",
        docs: "take-any-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "take_anyif",
        signatures: &[ANY_IF],
        imp: AggregateImp::Function { build: build_any, finish: None },
        predicate: Some(1),
        summary: "The value of `expr` in some row where `predicate` is true.",
        docs: "take-anyif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "anyif",
        signatures: &[ANY_IF],
        name_prefix: "anyif_",
        imp: AggregateImp::Function { build: build_any, finish: None },
        predicate: Some(1),
        summary: "Obsolete form of `take_anyif`, with another column name.",
        docs: "take-anyif-aggregation-function",
        ..Aggregate::ROW
    },
];

fn build_any(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(take_any_value(call.types[0]))
}

/// `arg_max(key, extra, ...)` or `arg_min`.
///
/// Arguments of the call: the key, then the extra columns, of these types. Value: a struct with
/// the fields `part_name(0)` (the key) and `part_name(1)`, ... (the extras), of the arguments' types.
/// A string field may be null, which reads as `""`.
pub fn arg_extreme(is_max: bool, key: KqlType, extras: &[KqlType]) -> Result<AggregateUDF> {
    if matches!(key, KqlType::Guid | KqlType::Dynamic) {
        return plan_err!("a value of type {key} has no order");
    }
    let types: Arc<[KqlType]> = std::iter::once(key).chain(extras.iter().copied()).collect();
    let name = format!("kql_arg_{}<{}>", if is_max { "max" } else { "min" }, names(&types));
    Ok(udf(name, types, Rank::Extreme { is_max, key }, Answer::Struct))
}

/// `take_any(expr, ...)`: the first row there is; of a single column the first that is neither
/// null nor empty, if any. Arguments of the call: the columns, of these types. Value: a struct with
/// the fields `part_name(0)`, ...
pub fn take_any(types: &[KqlType]) -> Result<AggregateUDF> {
    if types.is_empty() {
        return plan_err!("at least one expression is expected");
    }
    let name = format!("kql_take_any<{}>", names(types));
    let rank = if let [ty] = types { Rank::Filled(*ty) } else { Rank::First };
    Ok(udf(name, types.into(), rank, Answer::Struct))
}

/// `take_any` of one column as a plain value, not a struct.
pub fn take_any_value(ty: KqlType) -> AggregateUDF {
    udf(format!("kql_take_any_value<{ty}>"), [ty].into(), Rank::Filled(ty), Answer::First)
}

fn names(types: &[KqlType]) -> String {
    types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(",")
}

fn udf(name: String, types: Arc<[KqlType]>, rank: Rank, answer: Answer) -> AggregateUDF {
    let returns = match answer {
        Answer::Struct => DataType::Struct(fields(&types)),
        Answer::First => types[0].arrow(),
    };
    // The fields, and whether there is a row at all.
    let state = types.iter().map(|ty| ty.arrow()).chain([DataType::Boolean]).collect();
    KqlAggregate::ordered_udf(name, returns, state, move || {
        Box::new(Picked {
            types: Arc::clone(&types),
            rank,
            answer,
            leaders: Leaders::of(rank),
            stock: Stock::default(),
        })
    })
}

fn fields(types: &[KqlType]) -> Fields {
    types.iter().enumerate().map(|(part, ty)| part_field(part, *ty)).collect()
}

#[derive(Clone, Copy)]
enum Answer {
    Struct,
    First,
}

/// Which row leads.
#[derive(Clone, Copy)]
enum Rank {
    /// The first.
    First,
    /// The first whose only column is neither null nor empty.
    Filled(KqlType),
    /// The one with the largest or smallest key, which is the first column.
    Extreme { is_max: bool, key: KqlType },
}

/// How good a group's leading row is: nothing, a null key, a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Nothing,
    Null,
    Key,
}

/// The keys of the leading rows, larger being better.
enum Leaders {
    Numbers(Vec<(Level, i64)>),
    Texts { is_max: bool, best: Vec<(Level, Box<str>)>, heap: usize },
    Bytes(Vec<(Level, [u8; 16])>),
}

impl Leaders {
    fn of(rank: Rank) -> Leaders {
        match rank {
            Rank::Extreme { is_max, key: KqlType::String } => Leaders::Texts { is_max, best: Vec::new(), heap: 0 },
            Rank::Extreme { key: KqlType::Decimal, .. } => Leaders::Bytes(Vec::new()),
            _ => Leaders::Numbers(Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Leaders::Numbers(best) => best.len(),
            Leaders::Texts { best, .. } => best.len(),
            Leaders::Bytes(best) => best.len(),
        }
    }

    fn resize(&mut self, groups: usize) {
        match self {
            Leaders::Numbers(best) => best.resize(groups, (Level::Nothing, 0)),
            Leaders::Texts { best, .. } => best.resize_with(groups, || (Level::Nothing, Box::from(""))),
            Leaders::Bytes(best) => best.resize(groups, (Level::Nothing, [0; 16])),
        }
    }

    fn remove(&mut self, groups: usize) {
        match self {
            Leaders::Numbers(best) => drop(best.drain(..groups)),
            Leaders::Texts { best, heap, .. } => best.drain(..groups).for_each(|(_, text)| *heap -= text.len()),
            Leaders::Bytes(best) => drop(best.drain(..groups)),
        }
    }

    fn has_row(&self, group: usize) -> bool {
        Level::Nothing
            != match self {
                Leaders::Numbers(best) => best[group].0,
                Leaders::Texts { best, .. } => best[group].0,
                Leaders::Bytes(best) => best[group].0,
            }
    }

    fn size(&self) -> usize {
        match self {
            Leaders::Numbers(best) => best.capacity() * 16,
            Leaders::Texts { best, heap, .. } => best.capacity() * 24 + heap,
            Leaders::Bytes(best) => best.capacity() * 17,
        }
    }
}

/// The keys of a batch as numbers, larger being better; `None` for a null key.
fn number_keys(rank: Rank, args: &[ArrayRef]) -> Result<Vec<Option<i64>>> {
    let (is_max, key) = match rank {
        Rank::First => return Ok(vec![Some(0); args[0].len()]),
        Rank::Filled(ty) => {
            let column = &args[0];
            return Ok(match ty.arrow() {
                DataType::Utf8View => {
                    let texts = argument::<StringViewArray>(args, 0)?;
                    texts.iter().map(|text| text.filter(|text| !text.is_empty()).map(|_| 0)).collect()
                }
                _ => (0..column.len()).map(|row| column.is_valid(row).then_some(0)).collect(),
            });
        }
        Rank::Extreme { is_max, key } => (is_max, key),
    };
    // Reversed bits reverse the order without overflow.
    let direct = |value: i64| if is_max { value } else { !value };
    Ok(match key {
        KqlType::Bool => {
            let column = argument::<BooleanArray>(args, 0)?;
            column.iter().map(|value| value.map(|value| direct(i64::from(value)))).collect()
        }
        KqlType::Int => {
            argument::<Int32Array>(args, 0)?.iter().map(|value| value.map(|value| direct(i64::from(value)))).collect()
        }
        KqlType::Real => {
            let column = argument::<Float64Array>(args, 0)?;
            let better = |value: f64| if value.is_nan() { i64::MAX } else { direct(key_of_real(value)) };
            column.iter().map(|value| value.map(better)).collect()
        }
        _ => argument::<Int64Array>(args, 0)?.iter().map(|value| value.map(direct)).collect(),
    })
}

const NOWHERE: (u32, u32) = (u32::MAX, 0);

/// Batches of rows that lead or have led, and where each group's leading row is.
#[derive(Default)]
struct Stock {
    batches: Vec<Vec<ArrayRef>>,
    // (batch, row) of each group's leading row; `NOWHERE` before the first.
    places: Vec<(u32, u32)>,
    rows: usize,
    heap: usize,
}

impl Stock {
    fn store(&mut self, columns: Vec<ArrayRef>) {
        self.rows += columns.first().map_or(0, |column| column.len());
        self.heap += columns.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        self.batches.push(columns);
    }

    /// The leading rows of the groups, or null where there is none.
    fn column(&self, column: usize, ty: KqlType, groups: &[(bool, (u32, u32))]) -> Result<ArrayRef> {
        let blank = new_null_array(&ty.arrow(), 1);
        let sources: Vec<&dyn Array> = std::iter::once(blank.as_ref())
            .chain(self.batches.iter().map(|columns| columns[column].as_ref()))
            .collect();
        let place = |(has_row, (batch, row)): &(bool, (u32, u32))| match has_row {
            true => (*batch as usize + 1, *row as usize),
            false => (0, 0),
        };
        let places: Vec<(usize, usize)> = groups.iter().map(place).collect();
        Ok(interleave(&sources, &places)?)
    }
}

/// Views keep whole buffers alive: a copy keeps only what it shows.
fn compact(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        _ => array,
    }
}

struct Picked {
    types: Arc<[KqlType]>,
    rank: Rank,
    answer: Answer,
    leaders: Leaders,
    stock: Stock,
}

impl Picked {
    /// Lets the rows compete; `exists` leaves out the states of groups without rows.
    fn compete(&mut self, args: &[ArrayRef], rows: Rows<'_>, exists: Option<&BooleanArray>) -> Result<()> {
        let counts = |row: usize| exists.is_none_or(|exists| exists.value(row));
        // Winners of this batch: each group that changed, once, with its last winning row.
        let batch = self.stock.batches.len() as u32;
        let mut winners: Vec<u32> = Vec::new();
        let places = &mut self.stock.places;
        let mut win = |group: usize, row: usize| match &mut places[group] {
            (known, place) if *known == batch => winners[*place as usize] = row as u32,
            place => {
                *place = (batch, winners.len() as u32);
                winners.push(row as u32);
            }
        };
        match &mut self.leaders {
            Leaders::Numbers(best) => {
                let keys = number_keys(self.rank, args)?;
                rows.each(|row, group| {
                    let rank = keys[row].map_or((Level::Null, 0), |key| (Level::Key, key));
                    if counts(row) && rank > best[group] {
                        best[group] = rank;
                        win(group, row);
                    }
                });
            }
            Leaders::Bytes(best) => {
                let Rank::Extreme { is_max, .. } = self.rank else { return Ok(()) };
                let keys = argument::<FixedSizeBinaryArray>(args, 0)?;
                rows.each(|row, group| {
                    let mut rank = (Level::Null, [0; 16]);
                    if keys.is_valid(row) {
                        rank = (Level::Key, keys.value(row).try_into().unwrap_or([0; 16]));
                        if !is_max {
                            rank.1.iter_mut().for_each(|byte| *byte = !*byte);
                        }
                    }
                    if counts(row) && rank > best[group] {
                        best[group] = rank;
                        win(group, row);
                    }
                });
            }
            Leaders::Texts { is_max, best, heap } => {
                let keys = argument::<StringViewArray>(args, 0)?;
                rows.each(|row, group| {
                    let key = if keys.is_valid(row) { keys.value(row) } else { "" };
                    let (level, known) = &best[group];
                    let is_better = if *is_max { key > &**known } else { key < &**known };
                    if counts(row) && (*level == Level::Nothing || is_better) {
                        *heap = *heap + key.len() - known.len();
                        best[group] = (Level::Key, key.into());
                        win(group, row);
                    }
                });
            }
        }
        if winners.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from(winners);
        let columns = args[..self.types.len()].iter().map(|column| Ok(compact(take(column, &indices, None)?)));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.stock.store(columns);
        if self.stock.rows > 2 * self.stock.places.len() + 8192 || self.stock.batches.len() > 1024 {
            self.tidy()?;
        }
        Ok(())
    }

    /// Puts the leading rows of all groups into one batch.
    fn tidy(&mut self) -> Result<()> {
        let groups = self.groups(self.stock.places.len());
        let columns = self.columns(&groups)?.into_iter().map(compact).collect();
        let places = (0..groups.len()).map(|row| (0, row as u32)).collect();
        self.stock = Stock { places, ..Stock::default() };
        self.stock.store(columns);
        Ok(())
    }

    fn groups(&self, groups: usize) -> Vec<(bool, (u32, u32))> {
        (0..groups).map(|group| (self.leaders.has_row(group), self.stock.places[group])).collect()
    }

    fn columns(&self, groups: &[(bool, (u32, u32))]) -> Result<Vec<ArrayRef>> {
        self.types.iter().enumerate().map(|(column, ty)| self.stock.column(column, *ty, groups)).collect()
    }
}

impl Groups for Picked {
    fn len(&self) -> usize {
        self.leaders.len()
    }

    fn resize(&mut self, groups: usize) {
        let groups = groups.max(self.leaders.len());
        self.leaders.resize(groups);
        self.stock.places.resize(groups, NOWHERE);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        self.compete(args, rows, None)
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let exists = argument::<BooleanArray>(state, self.types.len())?;
        self.compete(state, rows, Some(exists))
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        let groups = self.groups(groups);
        match self.answer {
            Answer::First => self.stock.column(0, self.types[0], &groups),
            Answer::Struct => {
                let columns = self.columns(&groups)?;
                Ok(Arc::new(StructArray::try_new(fields(&self.types), columns, None)?))
            }
        }
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        let groups = self.groups(groups);
        let mut state = self.columns(&groups)?;
        state.push(Arc::new(BooleanArray::from_iter(groups.iter().map(|(has_row, _)| Some(*has_row)))));
        Ok(state)
    }

    fn remove(&mut self, groups: usize) {
        self.leaders.remove(groups);
        self.stock.places.drain(..groups);
        if self.stock.places.is_empty() {
            self.stock = Stock::default();
        }
    }

    fn size(&self) -> usize {
        self.leaders.size() + self.stock.heap + self.stock.places.capacity() * 8
    }
}
