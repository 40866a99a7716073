//! The window functions that Adobe defines: sessions, attribution, times between events.
//!
//! *Shape*: each looks at its whole partition in order; which side of a row it looks at belongs to the function, and the frames of the
//! documentation's examples say the same. Source: the page on Adobe-defined functions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, StructArray,
    TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

use super::udf::{as_doubles, as_moments, as_texts, at};

/// Which function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    SessionTimeout,
    SessionStartIf,
    SessionEndIf,
    Touch { is_first: bool, ends: Ends },
    TimeBetween { is_next: bool },
}

/// When a touch no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ends {
    Never,
    If,
    After,
}

/// Names with what they are, and the fewest and most arguments.
const FUNCTIONS: &[(&str, Kind, usize, usize)] = &[
    ("sess_timeout", Kind::SessionTimeout, 2, 2),
    ("sess_start_if", Kind::SessionStartIf, 2, 2),
    ("sess_end_if", Kind::SessionEndIf, 2, 2),
    ("attribution_first_touch", Kind::Touch { is_first: true, ends: Ends::Never }, 3, 3),
    ("attribution_last_touch", Kind::Touch { is_first: false, ends: Ends::Never }, 3, 3),
    ("attribution_first_touch_exp_if", Kind::Touch { is_first: true, ends: Ends::If }, 4, 5),
    ("attribution_last_touch_exp_if", Kind::Touch { is_first: false, ends: Ends::If }, 4, 5),
    ("attribution_first_touch_exp_timeout", Kind::Touch { is_first: true, ends: Ends::After }, 4, 4),
    ("attribution_last_touch_exp_timeout", Kind::Touch { is_first: false, ends: Ends::After }, 4, 4),
    ("time_between_previous_match", Kind::TimeBetween { is_next: false }, 2, 3),
    ("time_between_next_match", Kind::TimeBetween { is_next: true }, 2, 3),
];

/// Whether a name is one of these functions.
pub(super) fn is_known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// The side of a row that a function looks at: before it, after it, or both.
pub(super) fn looks_ahead(name: &str) -> Option<bool> {
    let (_, kind, ..) = FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
    match kind {
        Kind::TimeBetween { is_next } => Some(*is_next),
        Kind::Touch { is_first: false, ends: Ends::If | Ends::After } => None,
        _ => Some(false),
    }
}

/// The functions for a session.
pub(super) fn functions() -> Vec<Arc<WindowUDF>> {
    let functions = FUNCTIONS.iter().map(|(name, kind, least, most)| Function {
        name,
        kind: *kind,
        arity: (*least, *most),
        signature: Signature::variadic_any(Volatility::Immutable),
    });
    functions.map(|function| Arc::new(WindowUDF::from(function))).collect()
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    kind: Kind,
    arity: (usize, usize),
    signature: Signature,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn session_fields() -> Fields {
    vec![
        Field::new("timestamp_diff", DataType::Int64, true),
        Field::new("num", DataType::Int32, true),
        Field::new("is_new", DataType::Boolean, true),
        Field::new("depth", DataType::Int32, true),
    ]
    .into()
}

fn touch_fields(value: &DataType, is_first: bool, ends: Ends) -> Fields {
    let share = if is_first || ends == Ends::Never { "fraction" } else { "percentage" };
    vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("value", value.clone(), true),
        Field::new("timestamp", moment(), true),
        Field::new(share, DataType::Float64, true),
    ]
    .into()
}

impl WindowUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let (given, (least, most)) = (args.input_fields(), self.arity);
        if given.len() < least || given.len() > most {
            return plan_err!("{}: found {} arguments, expected {least} to {most}", self.name, given.len());
        }
        let ty = match self.kind {
            Kind::SessionTimeout | Kind::SessionStartIf | Kind::SessionEndIf => DataType::Struct(session_fields()),
            Kind::Touch { is_first, ends } => DataType::Struct(touch_fields(given[2].data_type(), is_first, ends)),
            Kind::TimeBetween { .. } => DataType::Int64,
        };
        Ok(Arc::new(Field::new(args.name(), ty, true)))
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { name: self.name, kind: self.kind }))
    }
}

#[derive(Debug)]
struct Evaluator {
    name: &'static str,
    kind: Kind,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match self.kind {
            Kind::SessionTimeout | Kind::SessionStartIf | Kind::SessionEndIf => self.sessions(values, rows),
            Kind::Touch { is_first, ends } => self.touches(values, rows, is_first, ends),
            Kind::TimeBetween { is_next } => self.times_between(values, rows, is_next),
        }
    }
}

/// The times of a partition; all of them must be there.
fn moments(name: &str, values: &[ArrayRef]) -> Result<TimestampMicrosecondArray> {
    let moments = as_moments(&values[0])?;
    match moments.null_count() {
        0 => Ok(moments),
        _ => exec_err!("{name}: found a row without a timestamp"),
    }
}

fn flags(values: &ArrayRef) -> Result<Vec<bool>> {
    let flags = cast(values, &DataType::Boolean)?;
    Ok(flags.as_boolean().iter().map(|flag| flag == Some(true)).collect())
}

/// Where there is a touch: a value that is neither null nor, as an empty field of a file comes, the empty text.
fn touched(values: &ArrayRef) -> Result<Vec<bool>> {
    let is_text = matches!(values.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    if is_text {
        let texts = as_texts(values)?;
        return Ok((0..texts.len()).map(|row| at(&texts, row).is_some_and(|text| !text.is_empty())).collect());
    }
    Ok((0..values.len()).map(|row| values.is_valid(row)).collect())
}

impl Evaluator {
    fn sessions(&self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let moments = moments(self.name, values)?;
        let limits = match self.kind {
            Kind::SessionTimeout => Some(as_doubles(&values[1])?),
            _ => None,
        };
        let tests = if limits.is_none() { flags(&values[1])? } else { Vec::new() };
        let (mut diffs, mut numbers) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut starts, mut depths) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut number, mut depth) = (0i32, 0i32);
        // Tests are looked at for this row or the one before.
        let test = |row: usize| tests.get(row) == Some(&true);
        for row in 0..rows {
            let passed = if row == 0 { 0 } else { moments.value(row) - moments.value(row - 1) };
            let is_new = row == 0
                || match (self.kind, &limits) {
                    (Kind::SessionTimeout, Some(limits)) => passed as f64 > limits.value(row) * 1e6,
                    (Kind::SessionEndIf, _) => test(row - 1),
                    _ => test(row),
                };
            (number, depth) = if is_new { (number.saturating_add(1), 1) } else { (number, depth.saturating_add(1)) };
            diffs.push(passed.div_euclid(1_000_000));
            numbers.push(number);
            starts.push(is_new);
            depths.push(depth);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(diffs)),
            Arc::new(Int32Array::from(numbers)),
            Arc::new(BooleanArray::from(starts)),
            Arc::new(Int32Array::from(depths)),
        ];
        Ok(Arc::new(StructArray::try_new_with_length(session_fields(), columns, None, rows)?))
    }

    fn touches(&self, values: &[ArrayRef], rows: usize, is_first: bool, ends: Ends) -> Result<ArrayRef> {
        let (moments, is_touch) = (moments(self.name, values)?, touched(&values[2])?);
        let found = match ends {
            Ends::Never => spread(&is_touch, &vec![false; rows], is_first, false),
            Ends::If => {
                let conditions = flags(&values[3])?;
                let is_before = values.get(4).map(flags).transpose()?.is_some_and(|flags| flags.first() == Some(&true));
                // The row that begins a new stretch: the one that fulfils the condition, or the one after it.
                let begins: Vec<bool> = (0..rows)
                    .map(|row| if is_before { conditions[row] } else { row > 0 && conditions[row - 1] })
                    .collect();
                spread(&is_touch, &begins, is_first, !is_first)
            }
            Ends::After => {
                let limits = as_doubles(&values[3])?;
                within(&moments, &is_touch, &limits, is_first)
            }
        };
        let indices: UInt32Array = found.iter().map(|row| row.map(|row| row as u32)).collect();
        let names: StringArray =
            as_texts(&values[1])?.iter().zip(&found).map(|(name, found)| name.filter(|_| found.is_some())).collect();
        let shares: Float64Array = found.iter().map(|row| row.map(|_| 1.0)).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(names), take(&values[2], &indices, None)?, take(&moments, &indices, None)?, Arc::new(shares)];
        let nulls: Vec<bool> = found.iter().map(Option::is_some).collect();
        let fields = touch_fields(values[2].data_type(), is_first, ends);
        Ok(Arc::new(StructArray::try_new_with_length(fields, columns, Some(nulls.into()), rows)?))
    }

    fn times_between(&self, values: &[ArrayRef], rows: usize, is_next: bool) -> Result<ArrayRef> {
        let (moments, matches) = (moments(self.name, values)?, flags(&values[1])?);
        let units = values.get(2).map(as_texts).transpose()?;
        let unit = match units.as_ref().and_then(|units| at(units, 0)).unwrap_or("seconds") {
            "days" => 86_400_000_000,
            "hours" => 3_600_000_000,
            "minutes" => 60_000_000,
            "seconds" => 1_000_000,
            other => {
                return exec_err!("{}: found the unit '{other}', expected days, hours, minutes or seconds", self.name);
            }
        };
        let mut found = vec![None; rows];
        let mut last: Option<usize> = None;
        for step in 0..rows {
            let row = if is_next { rows - 1 - step } else { step };
            if matches[row] {
                last = Some(row);
            }
            // Behind a match to come the time is negative.
            found[row] = last.map(|last| (moments.value(row) - moments.value(last)) / unit);
        }
        Ok(Arc::new(Int64Array::from(found)))
    }
}

/// For each row the first or last touch of its stretch: so far, or of the whole of it.
fn spread(is_touch: &[bool], begins: &[bool], is_first: bool, is_whole: bool) -> Vec<Option<usize>> {
    let mut found = vec![None; is_touch.len()];
    let (mut current, mut begin) = (None, 0);
    for (row, (is_touch, begins)) in is_touch.iter().zip(begins).enumerate() {
        if *begins {
            if is_whole {
                found[begin..row].fill(current);
            }
            (current, begin) = (None, row);
        }
        if *is_touch && (current.is_none() || !is_first) {
            current = Some(row);
        }
        found[row] = current;
    }
    if is_whole {
        found[begin..].fill(current);
    }
    found
}

/// For each row the first touch within a time before it, or the last one within a time after it.
fn within(
    moments: &TimestampMicrosecondArray,
    is_touch: &[bool],
    limits: &Float64Array,
    is_first: bool,
) -> Vec<Option<usize>> {
    let touches: Vec<usize> = (0..is_touch.len()).filter(|row| is_touch[*row]).collect();
    let mut found = vec![None; is_touch.len()];
    for (row, slot) in found.iter_mut().enumerate() {
        let (now, limit) = (moments.value(row), (limits.value(row) * 1e6) as i64);
        *slot = if is_first {
            let least = touches.partition_point(|touch| moments.value(*touch) < now.saturating_sub(limit));
            touches.get(least).copied().filter(|touch| *touch <= row)
        } else {
            let beyond = touches.partition_point(|touch| moments.value(*touch) <= now.saturating_add(limit));
            beyond.checked_sub(1).map(|last| touches[last]).filter(|touch| *touch >= row)
        };
    }
    found
}
