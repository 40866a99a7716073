//! Window functions over rows in their order: numbers, neighbours, running sums, ranks, sessions.
//!
//! Without partition columns everything streams: what needs earlier rows keeps a state or a tail,
//! `next` waits until the rows it looks at have come. With partition columns neighbours may be any
//! distance apart, so `prev` and `next` then wait for the end of the input.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array,
};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// The operator. Arguments: the partition columns, then what the functions refer to by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// How many arguments are partition columns.
    pub partitions: usize,
    /// One column each.
    pub functions: Vec<Function>,
}

/// A window function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The name of its column.
    pub name: String,
    /// The type of its column.
    pub ty: KqlType,
    /// What it computes.
    pub kind: Kind,
    /// The argument that it reads.
    pub value: Option<usize>,
    /// The bool argument that starts it anew.
    pub restart: Option<usize>,
}

/// What a window function computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `row_number`, counting from this.
    RowNumber(i64),
    /// `prev` (positive: rows back) and `next` (negative), with the value past the ends.
    Shift(i64, ScalarValue),
    /// `row_cumsum`
    Cumsum,
    /// `row_rank_dense`
    RankDense,
    /// `row_rank_min`
    RankMin,
    /// `row_window_session`: ticks from the session's first value and from the value before.
    Session {
        /// A value this far from the session's first begins another.
        max_from_first: i64,
        /// A value this far from the one before begins another.
        max_between: i64,
    },
}

impl Stage for Window {
    fn name(&self) -> &'static str {
        "Window"
    }

    fn settings(&self) -> String {
        let functions: Vec<String> = self
            .functions
            .iter()
            .map(|f| format!("{}:{}={:?}({:?},{:?})", f.name, f.ty, f.kind, f.value, f.restart))
            .collect();
        format!("{} by {} columns", functions.join(", "), self.partitions)
    }

    fn outputs(&self) -> Vec<Field> {
        self.functions.iter().map(|function| function.ty.field(&function.name)).collect()
    }

    fn scope(&self) -> Scope {
        Scope::Whole
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        let groups = match self.partitions {
            0 => None,
            count => {
                let schema = Arc::new(Schema::new(setting.args[..count].to_vec()));
                Some(new_group_values(schema, &GroupOrdering::None)?)
            }
        };
        let running = self
            .functions
            .iter()
            .map(|function| {
                let rank = matches!(function.kind, Kind::RankDense | Kind::RankMin);
                let converter = match (rank, function.value) {
                    (true, Some(value)) => {
                        Some(RowConverter::new(vec![SortField::new(setting.args[value].data_type().clone())])?)
                    }
                    _ => None,
                };
                Ok(Running { states: Vec::new(), converter })
            })
            .collect::<Result<Vec<_>>>()?;
        let farthest = self.shifts().map(|(_, offset)| offset.unsigned_abs()).max().unwrap_or(0);
        let ahead = self.shifts().map(|(_, offset)| offset.min(0).unsigned_abs()).max().unwrap_or(0);
        Ok(Box::new(Run {
            shifted: self.functions.iter().map(|_| VecDeque::new()).collect(),
            window: self.clone(),
            groups,
            ahead,
            running,
            waiting: VecDeque::new(),
            seen: 0,
            is_finished: false,
            waits_long: farthest > crate::session::BATCH_ROWS as u64
                || (self.partitions > 0 && self.shifts().next().is_some()),
            waiting_bytes: 0,
            memory: setting.memory,
        }))
    }
}

impl Window {
    fn shifts(&self) -> impl Iterator<Item = (usize, i64)> {
        self.functions.iter().enumerate().filter_map(|(position, function)| match function.kind {
            Kind::Shift(offset, _) => Some((position, offset)),
            _ => None,
        })
    }
}

struct Run {
    window: Window,
    groups: Option<Box<dyn GroupValues>>,
    /// Rows that `next` must have seen before a row can leave.
    ahead: u64,
    running: Vec<Running>,
    waiting: VecDeque<Waiting>,
    /// Per function: the values that its neighbours may still be asked for.
    shifted: Vec<VecDeque<Chunk>>,
    seen: u64,
    is_finished: bool,
    /// Rows or values wait for more than a few batches.
    waits_long: bool,
    waiting_bytes: usize,
    memory: MemoryReservation,
}

/// A function that goes along with the rows, with a state per partition.
struct Running {
    states: Vec<State>,
    converter: Option<RowConverter>,
}

#[derive(Clone, Default)]
struct State {
    /// Rows since the last restart.
    rows: i64,
    /// Number, rank or sum of integers; a session's first value.
    whole: i64,
    real: f64,
    decimal: Option<Decimal>,
    /// The value before.
    before: Option<i64>,
    key: Option<OwnedRow>,
}

struct Waiting {
    start: u64,
    input: Input,
    groups: Vec<usize>,
    /// Per function; `None` for neighbours, which are found at the end.
    ready: Vec<Option<ArrayRef>>,
}

struct Chunk {
    start: u64,
    values: ArrayRef,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let mut groups = Vec::new();
        if let Some(values) = &mut self.groups {
            values.intern(&input.args[..self.window.partitions], &mut groups)?;
        }
        let mut ready = Vec::with_capacity(self.window.functions.len());
        for (position, function) in self.window.functions.iter().enumerate() {
            if let Kind::Shift(..) = function.kind {
                let values = Arc::clone(argument(&input, function.value)?);
                self.shifted[position].push_back(Chunk { start: self.seen, values });
                ready.push(None);
            } else {
                ready.push(Some(run(function, &mut self.running[position], &input, &groups)?));
            }
        }
        let rows = input.rows as u64;
        if self.waits_long {
            self.waiting_bytes += bytes_of(&input);
        }
        self.waiting.push_back(Waiting { start: self.seen, input, groups, ready });
        self.seen += rows;
        self.reserve()
    }

    fn finish(&mut self) -> Result<()> {
        self.is_finished = true;
        if self.needs_all() {
            self.shift_within_groups()?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        let Some(front) = self.waiting.front() else { return Ok(None) };
        let end = front.start + front.input.rows as u64;
        if !self.is_finished && (self.needs_all() || self.seen < end.saturating_add(self.ahead)) {
            return Ok(None);
        }
        let Some(front) = self.waiting.pop_front() else { return Ok(None) };
        if self.waits_long {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes_of(&front.input));
        }
        let rows = front.input.rows;
        let mut columns = front.input.kept;
        for (position, ready) in front.ready.into_iter().enumerate() {
            columns.push(match (ready, &self.window.functions[position].kind) {
                (Some(values), _) => values,
                (None, Kind::Shift(offset, default)) => {
                    let chunks = &mut self.shifted[position];
                    let values = shift(chunks, front.start, rows, *offset, default, self.seen)?;
                    let still_needed = end.saturating_sub(offset.max(&0).unsigned_abs());
                    while chunks.front().is_some_and(|chunk| chunk.start + chunk.values.len() as u64 <= still_needed) {
                        chunks.pop_front();
                    }
                    values
                }
                (None, kind) => return internal_err!("{kind:?} is computed as rows come"),
            });
        }
        self.reserve()?;
        Ok(Some(Output { columns, rows }))
    }
}

impl Run {
    /// Whether neighbours may be any distance apart.
    fn needs_all(&self) -> bool {
        self.groups.is_some() && self.window.shifts().next().is_some()
    }

    /// Reserves what is held: waiting rows, values that neighbours ask for, states of partitions. A few batches are not counted.
    fn reserve(&mut self) -> Result<()> {
        if !self.waits_long && self.groups.is_none() {
            return Ok(());
        }
        let values = self.shifted.iter().flatten().map(|chunk| chunk.values.get_array_memory_size()).sum::<usize>();
        let states = self.running.iter().map(|running| running.states.len() * size_of::<State>()).sum::<usize>();
        let groups = self.groups.as_ref().map_or(0, |groups| groups.size());
        self.memory.try_resize(self.waiting_bytes + values + states + groups)
    }

    /// Finds the neighbours of every waiting row among the rows of its partition.
    fn shift_within_groups(&mut self) -> Result<()> {
        let mut members: Vec<Vec<u64>> = Vec::new();
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(self.seen as usize);
        for waiting in &self.waiting {
            for group in &waiting.groups {
                if *group >= members.len() {
                    members.resize_with(*group + 1, Vec::new);
                }
                members[*group].push(places.len() as u64);
                places.push((*group, members[*group].len() - 1));
            }
        }
        let shifts: Vec<(usize, i64)> = self.window.shifts().collect();
        for (position, offset) in shifts {
            let Kind::Shift(_, default) = &self.window.functions[position].kind else { continue };
            let chunks: Vec<ArrayRef> = self.shifted[position].drain(..).map(|chunk| chunk.values).collect();
            let default = default.to_array()?;
            let mut arrays: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.as_ref()).collect();
            arrays.push(default.as_ref());
            let starts: Vec<u64> = self.waiting.iter().map(|waiting| waiting.start).collect();
            for waiting in &mut self.waiting {
                let indices: Vec<(usize, usize)> = (0..waiting.input.rows)
                    .map(|row| {
                        let (group, place) = places[waiting.start as usize + row];
                        let wanted = i64::try_from(place).ok().and_then(|place| place.checked_sub(offset));
                        let source = wanted.and_then(|wanted| usize::try_from(wanted).ok());
                        match source.and_then(|source| members[group].get(source)) {
                            Some(source) => {
                                let chunk = starts.partition_point(|start| start <= source) - 1;
                                (chunk, (source - starts[chunk]) as usize)
                            }
                            None => (chunks.len(), 0),
                        }
                    })
                    .collect();
                waiting.ready[position] = Some(interleave(&arrays, &indices)?);
            }
        }
        Ok(())
    }
}

fn bytes_of(input: &Input) -> usize {
    input.kept.iter().chain(&input.args).map(|array| array.get_array_memory_size()).sum()
}

fn argument(input: &Input, position: Option<usize>) -> Result<&ArrayRef> {
    match position.and_then(|position| input.args.get(position)) {
        Some(array) => Ok(array),
        None => internal_err!("a window function has no argument"),
    }
}

/// The values `offset` rows before `start..start + rows`; the default where there is no such row.
fn shift(
    chunks: &VecDeque<Chunk>,
    start: u64,
    rows: usize,
    offset: i64,
    default: &ScalarValue,
    seen: u64,
) -> Result<ArrayRef> {
    let from = i128::from(start) - i128::from(offset);
    let to = from + rows as i128;
    let inside = |at: i128| at.clamp(0, i128::from(seen)) as u64;
    let (first, last) = (inside(from), inside(to));
    let mut parts: Vec<ArrayRef> = Vec::new();
    let leading = (-from).clamp(0, rows as i128) as usize;
    if leading > 0 {
        parts.push(default.to_array_of_size(leading)?);
    }
    for chunk in chunks {
        let chunk_end = chunk.start + chunk.values.len() as u64;
        let (low, high) = (first.max(chunk.start), last.min(chunk_end));
        if low < high {
            parts.push(chunk.values.slice((low - chunk.start) as usize, (high - low) as usize));
        }
    }
    let made: usize = parts.iter().map(|part| part.len()).sum();
    if made < rows {
        parts.push(default.to_array_of_size(rows - made)?);
    }
    match parts.as_slice() {
        [one] => Ok(Arc::clone(one)),
        _ => Ok(concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?),
    }
}

/// The column of a function that goes along with the rows.
fn run(function: &Function, running: &mut Running, input: &Input, groups: &[usize]) -> Result<ArrayRef> {
    let states = &mut running.states;
    let wanted = groups.iter().max().map_or(1, |group| group + 1);
    if states.len() < wanted {
        states.resize(wanted, State::default());
    }
    let restart: Option<&BooleanArray> = function.restart.map(|position| input.args[position].as_boolean());
    let group = |row: usize| groups.get(row).copied().unwrap_or(0);
    let restarts = |row: usize| restart.is_some_and(|restart| restart.is_valid(row) && restart.value(row));
    match &function.kind {
        Kind::RowNumber(start) => {
            let values = (0..input.rows).map(|row| {
                let state = &mut states[group(row)];
                state.rows = if restarts(row) { 0 } else { state.rows };
                state.rows += 1;
                start.wrapping_add(state.rows - 1)
            });
            Ok(Arc::new(Int64Array::from_iter_values(values)))
        }
        Kind::RankDense | Kind::RankMin => {
            let Some(converter) = &running.converter else { return internal_err!("a rank has no value") };
            let rows = converter.convert_columns(&[Arc::clone(argument(input, function.value)?)])?;
            let is_dense = function.kind == Kind::RankDense;
            let values = (0..input.rows).map(|row| {
                let state = &mut states[group(row)];
                if restarts(row) {
                    *state = State::default();
                }
                state.rows += 1;
                if state.key.as_ref().is_none_or(|key| key.row() != rows.row(row)) {
                    state.whole = if is_dense { state.whole + 1 } else { state.rows };
                    state.key = Some(rows.row(row).owned());
                }
                state.whole
            });
            Ok(Arc::new(Int64Array::from_iter_values(values)))
        }
        Kind::Session { max_from_first, max_between } => {
            let values = argument(input, function.value)?.as_primitive::<Int64Type>();
            let values = (0..input.rows).map(|row| {
                let state = &mut states[group(row)];
                if values.is_null(row) {
                    state.before = None;
                    return None;
                }
                let value = values.value(row);
                let is_new = restarts(row)
                    || state.before.is_none_or(|before| value >= before.saturating_add(*max_between))
                    || value >= state.whole.saturating_add(*max_from_first);
                if is_new {
                    state.whole = value;
                }
                state.before = Some(value);
                Some(state.whole)
            });
            Ok(Arc::new(values.collect::<Int64Array>()))
        }
        Kind::Cumsum => cumsum(argument(input, function.value)?, states, group, restarts),
        Kind::Shift(..) => internal_err!("neighbours are found when rows leave"),
    }
}

/// Running sums: integers wrap, null adds nothing.
fn cumsum(
    values: &ArrayRef,
    states: &mut [State],
    group: impl Fn(usize) -> usize,
    restarts: impl Fn(usize) -> bool,
) -> Result<ArrayRef> {
    let rows = 0..values.len();
    Ok(match values.data_type() {
        DataType::Int32 | DataType::Int64 => {
            let is_int = values.data_type() == &DataType::Int32;
            let sums = rows.map(|row| {
                let state = &mut states[group(row)];
                state.whole = if restarts(row) { 0 } else { state.whole };
                if values.is_valid(row) {
                    let value = match is_int {
                        true => i64::from(values.as_primitive::<Int32Type>().value(row)),
                        false => values.as_primitive::<Int64Type>().value(row),
                    };
                    state.whole = state.whole.wrapping_add(value);
                }
                state.whole
            });
            match is_int {
                true => Arc::new(Int32Array::from_iter_values(sums.map(|sum| sum as i32))),
                false => Arc::new(Int64Array::from_iter_values(sums)),
            }
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Arc::new(Float64Array::from_iter_values(rows.map(|row| {
                let state = &mut states[group(row)];
                state.real = if restarts(row) { 0.0 } else { state.real };
                if values.is_valid(row) {
                    state.real += values.value(row);
                }
                state.real
            })))
        }
        DataType::FixedSizeBinary(16) => {
            let values = values.as_fixed_size_binary();
            let mut sums = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
            for row in rows {
                let state = &mut states[group(row)];
                let sum = if restarts(row) { None } else { state.decimal };
                let sum = sum.unwrap_or(Decimal::from_i64(0));
                let value = match values.is_valid(row) {
                    true => Decimal::from_bytes(values.value(row).try_into().expect("a decimal has 16 bytes")),
                    false => Decimal::from_i64(0),
                };
                state.decimal = sum.add(value).or(state.decimal);
                sums.append_value(state.decimal.unwrap_or(sum).bytes())?;
            }
            Arc::new(sums.finish())
        }
        other => return internal_err!("a running sum of {other}"),
    })
}
