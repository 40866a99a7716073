//! `scan`: the state machine. Source: scan-operator page, "Scan logic".
//!
//! Each group of rows (all of them without `partition`) has a state per step: the sequence that has
//! come that far, with the fields of every step on its way. A row is tried on the steps from the
//! last to the first.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::Field;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewater_kql::KqlType;

use super::algorithm::{Algorithm, Groups, Layout};
use super::cells::{Cell, Cells};
use super::scan_program::{Node, Prepared, Scene};
use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// The operator. Columns: the fields that are declared or assigned, then the match id.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Tells two scans of one query apart.
    pub id: u32,
    /// What the state remembers of each step.
    pub fields: Vec<ScanField>,
    /// The steps.
    pub steps: Vec<Step>,
    /// The types of the arguments.
    pub args: Vec<KqlType>,
    /// A column with the number of the sequence.
    pub has_match_id: bool,
    /// Expressions that the engine computes.
    pub slots: usize,
}

/// A field of a step's state.
#[derive(Clone, Debug)]
pub struct ScanField {
    /// Its type.
    pub ty: KqlType,
    /// Its value where no step gives one: the argument of the current row, or a constant.
    pub value: FieldValue,
    /// Its value in a state that has not come to the step.
    pub default: Cell,
    /// A column of the result.
    pub is_output: bool,
}

/// A field's value before assignments.
#[derive(Clone, Debug)]
pub enum FieldValue {
    /// An argument.
    Arg(usize),
    /// The default.
    Default,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// When a row matches.
    pub condition: Node,
    /// Fields and their new values.
    pub assignments: Vec<(usize, Node)>,
    /// Which matches are given out.
    pub output: StepOutput,
}

/// Which matches of a step are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutput {
    /// Every one.
    All,
    /// The last one of a series.
    Last,
    /// None.
    None,
}

impl Algorithm for Scan {
    fn stage(&self, layout: Layout) -> Result<Arc<dyn Stage>, String> {
        let nodes: Vec<&Node> = self
            .steps
            .iter()
            .flat_map(|step| step.assignments.iter().map(|(_, node)| node).chain([&step.condition]))
            .collect();
        let prepared = Prepared::new(&nodes, self.slots).map_err(|error| error.strip_backtrace())?;
        Ok(Arc::new(Scanning { scan: Arc::new(self.clone()), prepared: Arc::new(prepared), layout }))
    }
}

struct Scanning {
    scan: Arc<Scan>,
    prepared: Arc<Prepared>,
    layout: Layout,
}

impl std::fmt::Debug for Scanning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.settings())
    }
}

impl Stage for Scanning {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn settings(&self) -> String {
        format!("{} of {} steps by {} columns", self.scan.id, self.scan.steps.len(), self.layout.groups)
    }

    fn outputs(&self) -> Vec<Field> {
        self.layout.fields()
    }

    fn scope(&self) -> Scope {
        Scope::Whole
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run {
            groups: Groups::new(self.layout.groups, &setting.args)?,
            key_args: self.layout.groups,
            scan: Arc::clone(&self.scan),
            prepared: Arc::clone(&self.prepared),
            defaults: self.scan.fields.iter().map(|field| field.default.clone()).collect(),
            states: Vec::new(),
            given: Vec::new(),
            kept: setting.kept,
            seen: 0,
            ready: VecDeque::new(),
            batch_rows: setting.batch_rows.max(1),
            memory: setting.memory,
        }))
    }
}

/// A sequence in the state of a step.
struct Sequence {
    id: i64,
    /// The fields of each step up to this one.
    steps: Vec<Vec<Cell>>,
}

/// A match that waits to see whether it is the last of its series.
#[derive(Clone)]
struct Match {
    /// Number of the row in the input.
    number: u64,
    source: Arc<Vec<ArrayRef>>,
    row: usize,
    fields: Vec<Cell>,
    id: i64,
}

/// The state of one group.
struct State {
    sequences: Vec<Option<Sequence>>,
    pending: Vec<Option<Match>>,
    next_id: i64,
}

struct Run {
    scan: Arc<Scan>,
    prepared: Arc<Prepared>,
    defaults: Vec<Cell>,
    groups: Groups,
    /// Arguments in front that tell groups apart.
    key_args: usize,
    states: Vec<State>,
    /// Matches that leave with the next batch, in their order.
    given: Vec<Match>,
    kept: usize,
    seen: u64,
    ready: VecDeque<Output>,
    batch_rows: usize,
    memory: MemoryReservation,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let groups = self.groups.of(&input)?.to_vec();
        if self.states.len() < self.groups.len() {
            let steps = self.scan.steps.len();
            self.states.resize_with(self.groups.len(), || State::new(steps));
        }
        let source = Arc::new(input.kept);
        let args = &input.args[self.key_args..];
        let scan = Arc::clone(&self.scan);
        let prepared = Arc::clone(&self.prepared);
        for (row, group) in groups.iter().enumerate() {
            let machine = Machine {
                scan: &scan,
                prepared: &prepared,
                defaults: &self.defaults,
                args,
                row,
                number: self.seen + row as u64,
                source: &source,
            };
            machine.step(&mut self.states[*group], &mut self.given)?;
        }
        self.seen += input.rows as u64;
        self.give_out()?;
        self.compact(&source)?;
        // Roughly what states hold: fields of every step on the way of every sequence.
        let steps = self.scan.steps.len();
        let each = 128 + steps * (steps * self.scan.fields.len() + 2) * size_of::<Cell>();
        self.memory.try_resize(self.states.len() * each + self.groups.size())
    }

    fn finish(&mut self) -> Result<()> {
        let pending = self.states.iter_mut().flat_map(|state| state.pending.iter_mut().filter_map(Option::take));
        self.given = pending.collect();
        self.given.sort_by_key(|found| found.number);
        self.give_out()
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.pop_front())
    }
}

impl State {
    fn new(steps: usize) -> State {
        State { sequences: (0..steps).map(|_| None).collect(), pending: vec![None; steps], next_id: 0 }
    }
}

/// One row before the steps.
struct Machine<'a> {
    scan: &'a Scan,
    prepared: &'a Prepared,
    defaults: &'a [Cell],
    args: &'a [ArrayRef],
    row: usize,
    number: u64,
    source: &'a Arc<Vec<ArrayRef>>,
}

impl Machine<'_> {
    /// Tries the row on the steps, from the last to the first.
    fn step(&self, state: &mut State, given: &mut Vec<Match>) -> Result<()> {
        for position in (0..self.scan.steps.len()).rev() {
            let step = &self.scan.steps[position];
            // A sequence that has come to the step before goes on to this one.
            if position > 0
                && let Some(sequence) = &state.sequences[position - 1]
                && self.scene(&sequence.steps).holds(&step.condition)?
            {
                let fields = self.fields(step, &sequence.steps)?;
                let Some(mut sequence) = state.sequences[position - 1].take() else { continue };
                let (before, own) = (state.pending[position - 1].take(), state.pending[position].take());
                let mut ended: Vec<Match> = before.into_iter().chain(own).collect();
                ended.sort_by_key(|found| found.number);
                given.extend(ended);
                self.matched(step, &fields, sequence.id, &mut state.pending[position], given);
                sequence.steps.push(fields);
                state.sequences[position] = Some(sequence);
                continue;
            }
            // The step's own sequence goes on, or the first step begins one.
            if position > 0 && state.sequences[position].is_none() {
                continue;
            }
            let before: &[Vec<Cell>] = state.sequences[position].as_ref().map_or(&[], |sequence| &sequence.steps);
            if !self.scene(before).holds(&step.condition)? {
                continue;
            }
            let fields = self.fields(step, before)?;
            let next_id = &mut state.next_id;
            let sequence = state.sequences[position].get_or_insert_with(|| {
                *next_id += 1;
                Sequence { id: *next_id - 1, steps: Vec::new() }
            });
            sequence.steps.truncate(position);
            sequence.steps.push(fields.clone());
            let id = sequence.id;
            self.matched(step, &fields, id, &mut state.pending[position], given);
        }
        Ok(())
    }

    fn scene<'s>(&'s self, state: &'s [Vec<Cell>]) -> Scene<'s> {
        Scene {
            args: self.args,
            types: &self.scan.args,
            row: self.row,
            state,
            defaults: self.defaults,
            prepared: self.prepared,
        }
    }

    /// The row's fields after the assignments of a step, which see the state before them.
    fn fields(&self, step: &Step, state: &[Vec<Cell>]) -> Result<Vec<Cell>> {
        let mut fields: Vec<Cell> = self
            .scan
            .fields
            .iter()
            .map(|field| match field.value {
                FieldValue::Arg(position) => Cell::read(&self.args[position], field.ty, self.row),
                FieldValue::Default => field.default.clone(),
            })
            .collect();
        let scene = self.scene(state);
        for (field, node) in &step.assignments {
            fields[*field] = scene.value(node)?;
        }
        Ok(fields)
    }

    fn matched(&self, step: &Step, fields: &[Cell], id: i64, pending: &mut Option<Match>, given: &mut Vec<Match>) {
        let found = || Match {
            number: self.number,
            source: Arc::clone(self.source),
            row: self.row,
            fields: fields.to_vec(),
            id,
        };
        match step.output {
            StepOutput::All => given.push(found()),
            StepOutput::Last => *pending = Some(found()),
            StepOutput::None => {}
        }
    }
}

impl Run {
    /// Makes batches of the matches that are given out.
    fn give_out(&mut self) -> Result<()> {
        let given = std::mem::take(&mut self.given);
        for chunk in given.chunks(self.batch_rows) {
            let mut columns = Vec::with_capacity(self.kept + self.scan.fields.len() + 1);
            let mut sources: Vec<&Arc<Vec<ArrayRef>>> = Vec::new();
            let mut places = Vec::with_capacity(chunk.len());
            for found in chunk {
                // Matches of one batch stand together.
                let known = sources.iter().rposition(|source| Arc::ptr_eq(source, &found.source));
                let source = known.unwrap_or_else(|| {
                    sources.push(&found.source);
                    sources.len() - 1
                });
                places.push((source, found.row));
            }
            for position in 0..self.kept {
                columns.push(match sources.as_slice() {
                    [only] => {
                        let rows: UInt32Array = places.iter().map(|(_, row)| *row as u32).collect();
                        take(&only[position], &rows, None)?
                    }
                    _ => {
                        let arrays: Vec<&dyn Array> = sources.iter().map(|source| source[position].as_ref()).collect();
                        interleave(&arrays, &places)?
                    }
                });
            }
            for (position, field) in self.scan.fields.iter().enumerate() {
                if field.is_output {
                    let mut cells = Cells::new(field.ty);
                    chunk.iter().for_each(|found| cells.cell(&found.fields[position]));
                    columns.push(cells.finish());
                }
            }
            if self.scan.has_match_id {
                columns.push(Arc::new(Int64Array::from_iter_values(chunk.iter().map(|found| found.id))));
            }
            self.ready.push_back(Output { columns, rows: chunk.len() });
        }
        Ok(())
    }

    /// Matches that go on waiting keep their own rows only, not the whole batch.
    fn compact(&mut self, batch: &Arc<Vec<ArrayRef>>) -> Result<()> {
        if self.scan.steps.iter().all(|step| step.output != StepOutput::Last) {
            return Ok(());
        }
        let mut waiting: Vec<&mut Match> = self
            .states
            .iter_mut()
            .flat_map(|state| state.pending.iter_mut().flatten())
            .filter(|found| Arc::ptr_eq(&found.source, batch))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let rows: UInt32Array = waiting.iter().map(|found| found.row as u32).collect();
        let own = batch.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let own = Arc::new(own);
        for (row, found) in waiting.iter_mut().enumerate() {
            found.source = Arc::clone(&own);
            found.row = row;
        }
        Ok(())
    }
}
