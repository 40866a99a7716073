//! Sequences of events: `funnel_sequence`, `funnel_sequence_completion`, `sequence_detect`.
//!
//! Each works on the events of one owner (a user, a combination of dimensions) at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, Int64Builder, StringViewArray, StringViewBuilder};
use arrow::datatypes::Int64Type;
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use tidewater_functions::turn;

use super::algorithm::{Group, GroupAlgorithm, GroupResult};

/// A window of the analysis begins at `start` and every `step` after it.
#[derive(Clone, Copy, Debug)]
pub struct Bins {
    /// The first one's beginning.
    pub start: i64,
    /// Their length, more than nothing.
    pub step: i64,
}

impl Bins {
    fn of(self, time: i64) -> i64 {
        let past = i128::from(time) - i128::from(self.start);
        let begin = i128::from(time) - past.rem_euclid(i128::from(self.step.max(1)));
        begin.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// The events of an owner in their order: by time, then by state.
fn events<'a>(rows: &Group<'a>, states: &'a StringViewArray) -> Vec<(i64, &'a str)> {
    let times = rows.args[0].as_primitive::<Int64Type>();
    let known = (0..rows.rows).filter(|row| times.is_valid(*row));
    known.map(|row| (times.value(row), if states.is_valid(row) { states.value(row) } else { "" })).collect()
}

/// `funnel_sequence`: where a sequence of states occurs, and between which states. Arguments: time, state. Columns: the
/// window in which the sequence begins, the state before, the state after; each combination once.
///
/// Events that repeat a state are one stay in it: in the page's example no tornado comes before a tornado.
#[derive(Clone, Debug)]
pub struct Funnel {
    /// The states.
    pub sequence: Vec<String>,
    /// Most time between a stay's last event and the first one of the next state of the sequence.
    pub most_between: i64,
    /// Windows.
    pub bins: Bins,
}

/// Events that repeat a state.
struct Stay<'a> {
    state: &'a str,
    first: i64,
    last: i64,
}

impl GroupAlgorithm for Funnel {
    fn name(&self) -> &'static str {
        "FunnelSequence"
    }

    fn settings(&self) -> String {
        format!("{:?} {} {:?}", self.sequence, self.most_between, self.bins)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let states = rows.args[1].as_string_view().clone();
        let mut events = events(&rows, &states);
        events.sort_unstable();
        let mut stays: Vec<Stay<'_>> = Vec::new();
        for (time, state) in events {
            match stays.last_mut() {
                Some(stay) if stay.state == state => stay.last = time,
                _ => stays.push(Stay { state, first: time, last: time }),
            }
        }
        let mut found: BTreeSet<(i64, &str, &str)> = BTreeSet::new();
        let length = self.sequence.len();
        for (at, run) in stays.windows(length.max(1)).enumerate() {
            let is_found = run.iter().zip(&self.sequence).all(|(stay, state)| stay.state == state)
                && run.windows(2).all(|pair| pair[1].first.saturating_sub(pair[0].last) <= self.most_between);
            if is_found && length > 0 {
                let before = if at > 0 { stays[at - 1].state } else { "" };
                let after = stays.get(at + length).map_or("", |stay| stay.state);
                found.insert((self.bins.of(run[0].first), before, after));
            }
        }
        let (mut windows, mut before, mut after) =
            (Int64Builder::new(), StringViewBuilder::new(), StringViewBuilder::new());
        for (window, previous, next) in &found {
            windows.append_value(*window);
            before.append_value(previous);
            after.append_value(next);
        }
        let source = if rows.rows > 0 { Some(0) } else { None };
        Ok(GroupResult {
            rows: vec![source; found.len()],
            columns: vec![Arc::new(windows.finish()), Arc::new(before.finish()), Arc::new(after.finish())],
        })
    }
}

/// `funnel_sequence_completion`: how far an owner comes along a sequence within each period. Arguments: time, state; the
/// events are those of one window. Columns: the step's place in the sequence, the period; each combination once.
///
/// Other events may lie between the steps; steps of one moment are taken in the order of the sequence.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The states.
    pub sequence: Vec<String>,
    /// Most time from the first step to another.
    pub periods: Vec<i64>,
}

impl GroupAlgorithm for Completion {
    fn name(&self) -> &'static str {
        "FunnelCompletion"
    }

    fn settings(&self) -> String {
        format!("{:?} {:?}", self.sequence, self.periods)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let states = rows.args[1].as_string_view().clone();
        let place = |state: &str| self.sequence.iter().position(|known| known == state);
        let mut events = events(&rows, &states);
        events.retain(|(_, state)| place(state).is_some());
        events.sort_unstable_by_key(|(time, state)| (*time, place(state)));
        let steps = self.sequence.len();
        // For each step the latest beginning of a way to it, and the shortest way.
        let mut begun: Vec<Option<i64>> = vec![None; steps];
        let mut shortest: Vec<Option<i64>> = vec![None; steps];
        for (time, state) in events {
            // Backwards, so that no event is two steps of one way.
            for step in (0..steps).rev().filter(|step| self.sequence[*step] == state) {
                let beginning = if step == 0 { Some(time) } else { begun[step - 1] };
                let Some(beginning) = beginning else { continue };
                let length = time.saturating_sub(beginning);
                begun[step] = Some(begun[step].map_or(beginning, |known| known.max(beginning)));
                shortest[step] = Some(shortest[step].map_or(length, |known| known.min(length)));
            }
        }
        let (mut reached, mut within) = (Int64Builder::new(), Int64Builder::new());
        for (position, period) in self.periods.iter().enumerate() {
            for (step, length) in shortest.iter().enumerate() {
                if length.is_some_and(|length| length <= *period) {
                    reached.append_value(step as i64);
                    within.append_value(position as i64);
                }
            }
        }
        let reached = reached.finish();
        let source = if rows.rows > 0 { Some(0) } else { None };
        Ok(GroupResult {
            rows: vec![source; reached.len()],
            columns: vec![Arc::new(reached), Arc::new(within.finish())],
        })
    }
}

/// Occurrences in the rows of one combination of dimensions.
const MAX_OCCURRENCES: usize = 5_000_000;
/// Steps that are tried for them.
const MAX_TRIALS: usize = 100_000_000;

/// `sequence_detect`: every way through the steps. Arguments: time, then a predicate per step. Columns: the time of each
/// step, the time from the first to the last. Each step is later than the one before it.
#[derive(Clone, Debug)]
pub struct Detect {
    /// Most time between two steps.
    pub most_between: i64,
    /// Most time from the first to the last.
    pub most_span: i64,
}

impl GroupAlgorithm for Detect {
    fn name(&self) -> &'static str {
        "SequenceDetect"
    }

    fn settings(&self) -> String {
        format!("{} {}", self.most_between, self.most_span)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let times = rows.args[0].as_primitive::<Int64Type>();
        let mut steps: Vec<Vec<i64>> = Vec::with_capacity(rows.args.len() - 1);
        for predicate in &rows.args[1..] {
            let predicate = predicate.as_boolean();
            let holds = |row: &usize| times.is_valid(*row) && predicate.is_valid(*row) && predicate.value(*row);
            let mut found: Vec<i64> = (0..rows.rows).filter(holds).map(|row| times.value(row)).collect();
            found.sort_unstable();
            found.dedup();
            steps.push(found);
        }
        rows.memory.try_grow(steps.iter().map(|step| step.len() * 8).sum())?;
        self.prune(&mut steps);
        let mut search =
            Search { steps: &steps, algorithm: self, way: Vec::new(), found: vec![Vec::new(); steps.len()], trials: 0 };
        if let Some(first) = steps.first() {
            for time in first {
                search.way.push(*time);
                search.go_on()?;
                search.way.pop();
            }
        }
        let found = search.found;
        let count = found.first().map_or(0, Vec::len);
        rows.memory.try_grow(count * (found.len() + 2) * 8)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(found.len() + 1);
        let durations: Int64Array = match (found.first(), found.last()) {
            (Some(first), Some(last)) => first.iter().zip(last).map(|(first, last)| last - first).collect(),
            _ => return internal_err!("a sequence has no steps"),
        };
        columns.extend(found.into_iter().map(|times| Arc::new(Int64Array::from(times)) as ArrayRef));
        columns.push(Arc::new(durations));
        let source = if rows.rows > 0 { Some(0) } else { None };
        Ok(GroupResult { rows: vec![source; count], columns })
    }
}

impl Detect {
    /// Whether a step may follow another one.
    fn follows(&self, earlier: i64, later: i64) -> bool {
        later > earlier && later.saturating_sub(earlier) <= self.most_between
    }

    /// Leaves out what nothing follows, so that the search seldom turns back.
    fn prune(&self, steps: &mut [Vec<i64>]) {
        for step in (0..steps.len().saturating_sub(1)).rev() {
            let (earlier, later) = steps.split_at_mut(step + 1);
            let next = &later[0];
            earlier[step].retain(|time| {
                let place = next.partition_point(|other| other <= time);
                next.get(place).is_some_and(|other| self.follows(*time, *other))
            });
        }
    }
}

struct Search<'a> {
    steps: &'a [Vec<i64>],
    algorithm: &'a Detect,
    way: Vec<i64>,
    /// The times of each step, one after the other.
    found: Vec<Vec<i64>>,
    trials: usize,
}

impl Search<'_> {
    // The depth is the number of steps, which are arguments of one call.
    fn go_on(&mut self) -> Result<()> {
        let (step, first, last) = (self.way.len(), self.way[0], self.way[self.way.len() - 1]);
        if step == self.steps.len() {
            if self.found[0].len() >= MAX_OCCURRENCES {
                return exec_err!(
                    "sequence_detect() finds more than {MAX_OCCURRENCES} occurrences for one combination of dimensions"
                );
            }
            self.found.iter_mut().zip(&self.way).for_each(|(column, time)| column.push(*time));
            return Ok(());
        }
        let times = &self.steps[step];
        let from = times.partition_point(|time| *time <= last);
        for time in &times[from..] {
            if !self.algorithm.follows(last, *time) || time.saturating_sub(first) > self.algorithm.most_span {
                break;
            }
            self.trials += 1;
            turn::check_at(self.trials)?;
            if self.trials > MAX_TRIALS {
                return exec_err!(
                    "sequence_detect() tries more than {MAX_TRIALS} steps for one combination of dimensions"
                );
            }
            self.way.push(*time);
            let result = self.go_on();
            self.way.pop();
            result?;
        }
        Ok(())
    }
}
