//! What the plugins of user activity have in common: an id, a timeline cut into windows, dimensions.

use std::sync::Arc;

use tidewater_kql::ast::Argument;
use tidewater_kql::value::datetime::MIN_TICKS;
use tidewater_kql::{KqlType, Span, diagnostic};

use super::{PluginCall, ResultColumn};
use crate::bind::range::is_positive;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BoundColumn, Constant, Rel, Value};

/// How the timeline is cut into windows.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Windows of this size.
    Fixed(Constant),
    /// Calendar windows: `week`, `month` or `year`.
    Calendar(&'static str),
}

/// The columns that a plugin reads: `_id`, `_t` and `_d0`, `_d1`, ... of `rel`.
pub(super) struct Timeline {
    pub rel: Arc<Rel>,
    pub id: BoundColumn,
    pub time: BoundColumn,
    /// The type that time is computed in: `int` as `long`.
    pub ty: KqlType,
    pub dimensions: Vec<BoundColumn>,
    pub sources: Vec<String>,
}

impl Timeline {
    /// `, _d0, _d1`
    pub fn dims(&self) -> String {
        self.sources.iter().map(|source| format!(", {source}")).collect()
    }

    /// `_id` and the dimensions.
    pub fn owners(&self) -> Vec<String> {
        std::iter::once("_id".to_string()).chain(self.sources.iter().cloned()).collect()
    }

    /// The type of a length on the timeline.
    pub fn span_ty(&self) -> KqlType {
        if self.ty == KqlType::DateTime { KqlType::TimeSpan } else { self.ty }
    }

    /// The timeline, the dimensions, then the plugin's columns.
    pub fn result<'c>(&'c self, time: &'c str, own: &[(&'c str, &'c str, KqlType)]) -> Vec<ResultColumn<'c>> {
        let mut columns = vec![ResultColumn::given(&self.time, time)];
        columns.extend(self.dimension_columns());
        columns.extend(own.iter().map(|(name, source, ty)| ResultColumn::own(*name, source, *ty)));
        columns
    }

    pub fn dimension_columns(&self) -> impl Iterator<Item = ResultColumn<'_>> {
        self.dimensions.iter().zip(&self.sources).map(|(column, source)| ResultColumn::given(column, source))
    }
}

impl Step {
    /// The window of `_t`, with windows that begin at `_start` if there is one.
    pub fn window(&self, has_start: bool) -> String {
        self.window_of("_t", has_start)
    }

    pub fn window_of(&self, time: &str, has_start: bool) -> String {
        match (self, has_start) {
            (Step::Fixed(_), true) => format!("bin_at({time}, _step, _start)"),
            (Step::Fixed(_), false) => format!("bin({time}, _step)"),
            (Step::Calendar(word), _) => format!("startof{word}({time})"),
        }
    }

    /// Whether window `before` is the one right before `window`.
    pub fn follows(&self, window: &str, before: &str, ty: KqlType) -> String {
        match self {
            // Starts of windows are computed, so equal ones may differ in the last digits.
            Step::Fixed(_) if ty == KqlType::Real => format!("({window} - {before} < _step * 1.5)"),
            Step::Fixed(_) => format!("({window} - {before} == _step)"),
            Step::Calendar(word) => format!("({before} == startof{word}({window}, -1))"),
        }
    }

    /// The window `count` windows after `window`.
    pub fn later(&self, window: &str, count: &str) -> String {
        match self {
            Step::Fixed(_) => format!("({window} + _step * {count})"),
            Step::Calendar(word) => format!("startof{word}({window}, toint({count}))"),
        }
    }

    /// The first window of the analysis.
    pub fn first(&self) -> String {
        match self {
            Step::Fixed(_) => "_start".to_string(),
            Step::Calendar(word) => format!("startof{word}(_start)"),
        }
    }

    /// `_step` for the text, where there is a fixed one.
    pub fn value(&self) -> Option<(&'static str, Constant)> {
        match self {
            Step::Fixed(step) => Some(("_step", step.clone())),
            Step::Calendar(_) => None,
        }
    }

    /// An upper bound of the number of windows that begin within a length; `None` where it does not fit.
    pub fn windows_within(&self, length: &Constant) -> Option<i64> {
        let shortest = match self {
            Step::Fixed(step) => number(step)?,
            Step::Calendar("week") => 7.0 * TICKS_PER_DAY,
            Step::Calendar("month") => 28.0 * TICKS_PER_DAY,
            Step::Calendar(_) => 365.0 * TICKS_PER_DAY,
        };
        let windows = (number(length)? / shortest).ceil();
        (windows.is_finite() && windows < 1e15).then_some(windows as i64)
    }
}

const TICKS_PER_DAY: f64 = 864_000_000_000.0;

/// A value of the timeline or a length on it as a number.
pub(super) fn number(constant: &Constant) -> Option<f64> {
    match &constant.value {
        Value::Int(value) => Some(f64::from(*value)),
        Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => Some(*value as f64),
        Value::Real(value) => Some(*value),
        Value::Decimal(bytes) => Some(tidewater_kql::value::decimal::Decimal::from_bytes(*bytes).to_f64()),
        _ => None,
    }
}

impl Binder<'_> {
    /// The input's columns under the names that plugins plan with.
    pub(super) fn timeline(
        &mut self,
        input: &Arc<Rel>,
        id: &Argument,
        time: &Argument,
        dimensions: &[Argument],
        span: Span,
    ) -> Bound<Timeline> {
        let (id_column, time_column) = (self.plugin_input_column(input, id), self.plugin_input_column(input, time));
        let dimensions = self.plugin_dimensions(input, dimensions);
        let (id_column, time_column, dimensions) = (id_column?, time_column?, dimensions?);
        self.group_key(&BExpr::column(&id_column), &id.value, "the id of a plugin")?;
        let ty = match time_column.ty {
            KqlType::Int => KqlType::Long,
            KqlType::DateTime | KqlType::TimeSpan | KqlType::Long | KqlType::Real | KqlType::Decimal => time_column.ty,
            other => {
                let message = format!(
                    "the timeline must be a number, a datetime or a timespan, but column '{}' is {other}",
                    time_column.name
                );
                return self.fail(diagnostic::ARGUMENT_TYPE, time.value.span, message);
            }
        };
        let mut items = vec![("_id".to_string(), BExpr::column(&id_column))];
        let moment = BExpr::column(&time_column);
        items.push(("_t".to_string(), self.convert(moment, ty)));
        let sources: Vec<String> = (0..dimensions.len()).map(|position| format!("_d{position}")).collect();
        items.extend(sources.iter().cloned().zip(dimensions.iter().map(BExpr::column)));
        let rel = self.project(input.clone(), items, span)?;
        Ok(Timeline { rel, id: id_column, time: time_column, ty, dimensions, sources })
    }

    /// A moment on the timeline.
    pub(super) fn moment(&mut self, timeline: &Timeline, argument: &Argument, what: &str) -> Bound<Constant> {
        self.plugin_value(argument, timeline.ty, what)
    }

    /// A length on the timeline, more than nothing.
    pub(super) fn length(&mut self, timeline: &Timeline, argument: &Argument, what: &str) -> Bound<Constant> {
        let length = self.plugin_value(argument, timeline.span_ty(), what)?;
        if !is_positive(&length) || number(&length).is_some_and(|length| !length.is_finite()) {
            return self.fail(diagnostic::NOT_IN_LIST, argument.value.span, format!("{what} must be more than zero"));
        }
        Ok(length)
    }

    /// The size of windows: a length, or `week`, `month`, `year`.
    pub(super) fn window_step(&mut self, timeline: &Timeline, argument: &Argument, what: &str) -> Bound<Step> {
        let constant = self.plugin_constant(argument, what)?;
        let Value::String(word) = &constant.value else {
            return Ok(Step::Fixed(self.length(timeline, argument, what)?));
        };
        let span = argument.value.span;
        let Some(word) = ["week", "month", "year"].into_iter().find(|known| word.eq_ignore_ascii_case(known)) else {
            return self.fail(diagnostic::NOT_IN_LIST, span, format!("{what} is a length, 'week', 'month' or 'year'"));
        };
        if timeline.ty != KqlType::DateTime {
            let message = format!("{what}: '{word}' needs a timeline of datetime, but it is {}", timeline.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        }
        Ok(Step::Calendar(word))
    }

    /// `start - length`, or the smallest moment there is.
    pub(super) fn moment_before(&mut self, start: &Constant, length: &Constant) -> Constant {
        let value = match (&start.value, &length.value) {
            (Value::DateTime(start), Value::TimeSpan(length)) => {
                Value::DateTime(start.saturating_sub(*length).max(MIN_TICKS))
            }
            (Value::TimeSpan(start), Value::TimeSpan(length)) => Value::TimeSpan(start.saturating_sub(*length)),
            (Value::Long(start), Value::Long(length)) => Value::Long(start.saturating_sub(*length)),
            (Value::Real(start), Value::Real(length)) => Value::Real(start - length),
            (Value::Decimal(start), Value::Decimal(length)) => {
                use tidewater_kql::value::decimal::Decimal;
                let (start, length) = (Decimal::from_bytes(*start), Decimal::from_bytes(*length));
                Value::Decimal(start.sub(length).unwrap_or(start).bytes())
            }
            _ => start.value.clone(),
        };
        Constant { value, ty: start.ty }
    }

    /// Start and end, the end not before the start.
    pub(super) fn period(
        &mut self,
        timeline: &Timeline,
        call: &PluginCall<'_>,
        start: &Argument,
        end: &Argument,
    ) -> Bound<(Constant, Constant)> {
        let first = self.moment(timeline, start, &format!("{}(): the start", call.name));
        let last = self.moment(timeline, end, &format!("{}(): the end", call.name));
        let (first, last) = (first?, last?);
        if number(&first) > number(&last) {
            let message = format!("{}(): the start is after the end", call.name);
            return self.fail(diagnostic::NOT_IN_LIST, end.value.span, message);
        }
        Ok((first, last))
    }
}
