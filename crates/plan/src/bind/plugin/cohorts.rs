//! `new_activity_metrics`: what becomes of the users that each window brings. Source: its page.

use std::sync::Arc;

use tidewater_kql::KqlType::{Long, Real};
use tidewater_kql::ast::Argument;
use tidewater_kql::diagnostic;

use super::timeline::{Step, Timeline};
use super::{PluginCall, ResultColumn};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, Constant, Rel, WindowFunction};

/// Windows of an analysis: the result has a row for each two of them.
const MAX_WINDOWS: i64 = 10_000;

impl Binder<'_> {
    /// `new_activity_metrics(id, timeline, start, end, window [, cohort] [, dimensions] [, lookback])`.
    ///
    /// Every pair of windows of the period has a row, also where nobody is new. With calendar windows, what comes before
    /// the first window that begins in the period is left out: the page says that its cohort is empty.
    pub(super) fn new_activity_metrics(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 5, usize::MAX, call.span)?;
        let mut others = &arguments[5..];
        let cohort = match others.split_first() {
            Some((first, rest)) if !self.is_input_column(input, first) && !self.is_tabular(&first.value) => {
                others = rest;
                Some(first)
            }
            _ => None,
        };
        let lookback = match others.split_last() {
            Some((last, rest)) if !self.is_input_column(input, last) && self.is_tabular(&last.value) => {
                others = rest;
                Some(last)
            }
            _ => None,
        };
        let timeline = self.timeline(input, &arguments[0], &arguments[1], others, call.span)?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let step = self.window_step(&timeline, &arguments[4], "new_activity_metrics(): the window")?;
        let cohort = match cohort {
            Some(cohort) => Some(self.moment(&timeline, cohort, "new_activity_metrics(): the cohort")?),
            None => None,
        };
        let length = self.registry_length(&start, &end);
        let windows = match step.windows_within(&length) {
            Some(windows) if windows < MAX_WINDOWS => windows,
            _ => {
                let message = format!("new_activity_metrics(): the period has more than {MAX_WINDOWS} windows");
                return self.fail(diagnostic::NOT_IN_LIST, arguments[4].value.span, message);
            }
        };
        let known = match lookback {
            Some(lookback) => Some(self.known_ids(&timeline, lookback, call)?),
            None => None,
        };
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.extend([("_start", start), ("_end", end), ("_windows", Constant::long(windows))]);
        let cohort_filter = match cohort {
            Some(cohort) => {
                values.push(("_cohort", cohort));
                format!("| where _f == {}", step.window_of("_cohort", true))
            }
            None => String::new(),
        };
        let counted = self.cohort_counts(&timeline, &step, known.as_ref(), &values, call)?;
        let grid = self.cohort_grid(&timeline, &step, &counted, &values, call)?;
        let sum = WindowFunction::Cumsum { value: self.own(&grid, "_n")?, restart: None };
        let mut partition = timeline.sources.clone();
        partition.push("_w".to_string());
        let grid = self.windowed(&grid, "_f", &partition, vec![("_before", sum)], call.span)?;
        let dims = timeline.dims();
        let text = format!(
            "G {cohort_filter}
             | lookup kind=leftouter (C | summarize _all = sum(_c) by _w = _b{dims}) on _w{dims}
             | lookup kind=leftouter (C | where _f == _b | project _size = _c, _f{dims}) on _f{dims}
             | extend _all = coalesce(_all, 0), _size = coalesce(_size, 0)
             | extend _new = _all - _before + iff(_f == _w, _n, 0), _lost = _size - _n
             | extend _r = toreal(_n) / _size, _l = toreal(_lost) / _size"
        );
        let rated = self.planned(call, &text, &[("G", &grid), ("C", &counted)], &values)?;
        let name = &timeline.time.name;
        let mut columns = vec![
            ResultColumn::own(format!("from_{name}"), "_f", timeline.time.ty),
            ResultColumn::own(format!("to_{name}"), "_w", timeline.time.ty),
        ];
        columns.extend(timeline.dimension_columns());
        columns.extend([
            ResultColumn::own("dcount_new_values", "_new", Long),
            ResultColumn::own("dcount_retained_values", "_n", Long),
            ResultColumn::own("dcount_churn_values", "_lost", Long),
            ResultColumn::own("retention_rate", "_r", Real),
            ResultColumn::own("churn_rate", "_l", Real),
        ]);
        Ok(Tabular::of(self.plugin_result(&rated, &columns, call.span)?))
    }

    /// The length of the period.
    fn registry_length(&mut self, start: &Constant, end: &Constant) -> Constant {
        use crate::bound::Value;
        let value = match (&start.value, &end.value) {
            (Value::DateTime(start), Value::DateTime(end)) | (Value::TimeSpan(start), Value::TimeSpan(end)) => {
                Value::TimeSpan(end.saturating_sub(*start))
            }
            (Value::Long(start), Value::Long(end)) => Value::Long(end.saturating_sub(*start)),
            (start, end) => {
                let start = super::timeline::number(&Constant { value: start.clone(), ty: Real });
                let end = super::timeline::number(&Constant { value: end.clone(), ty: Real });
                Value::Real(end.unwrap_or(f64::NAN) - start.unwrap_or(f64::NAN))
            }
        };
        Constant { value, ty: Real }
    }

    /// The ids of the lookback: its column of the id's name, or its only column.
    fn known_ids(&mut self, timeline: &Timeline, lookback: &Argument, call: &PluginCall<'_>) -> Bound<Arc<Rel>> {
        let table = self.single_table(&lookback.value)?.rel;
        let column = match (table.column(&timeline.id.name), table.columns.as_slice()) {
            (Some(column), _) => column.clone(),
            (None, [only]) => only.clone(),
            _ => {
                let message = format!("new_activity_metrics(): the lookback has no column '{}'", timeline.id.name);
                return self.fail(diagnostic::UNRESOLVED, lookback.value.span, message);
            }
        };
        if column.ty != timeline.id.ty {
            let message = format!(
                "new_activity_metrics(): the ids are {}, but those of the lookback are {}",
                timeline.id.ty, column.ty
            );
            return self.fail(diagnostic::ARGUMENT_TYPE, lookback.value.span, message);
        }
        self.project(table, vec![("_id".to_string(), BExpr::column(&column))], call.span)
    }

    /// Users by the window that brought them (`_f`) and the window that they were seen in (`_b`).
    fn cohort_counts(
        &mut self,
        timeline: &Timeline,
        step: &Step,
        known: Option<&Arc<Rel>>,
        values: &[(&str, Constant)],
        call: &PluginCall<'_>,
    ) -> Bound<Arc<Rel>> {
        let (dims, window) = (timeline.dims(), step.window(true));
        let mut tables = vec![("T", &timeline.rel)];
        let unknown = match known {
            Some(known) => {
                tables.push(("L", known));
                "| join kind=leftanti (L) on _id"
            }
            None => "",
        };
        let text = format!(
            "T | where isnotnull(_id) and _t between (_start .. _end) | summarize by _id, _b = {window}{dims}
             | where _b >= _start {unknown}"
        );
        let users = self.planned(call, &text, &tables, values)?;
        let users = self.materialized(users, call.span)?;
        let text = format!(
            "T | join kind=inner (T | summarize _f = min(_b) by _id{dims}) on _id{dims} | summarize _c = count() by _f, _b{dims}"
        );
        let counted = self.planned(call, &text, &[("T", &users)], &[])?;
        self.materialized(counted, call.span)
    }

    /// Every window (`_f`) with itself and every later one (`_w`), for every combination of dimensions, with the users of
    /// `_f` that were seen in `_w` (`_n`).
    fn cohort_grid(
        &mut self,
        timeline: &Timeline,
        step: &Step,
        counted: &Arc<Rel>,
        values: &[(&str, Constant)],
        call: &PluginCall<'_>,
    ) -> Bound<Arc<Rel>> {
        let dims = timeline.dims();
        let windows = match step {
            Step::Fixed(_) => "range _w from _start to _end step _step".to_string(),
            Step::Calendar(_) => {
                let window = step.later("_start", "_i");
                format!("range _i from 0 to _windows step 1 | project _w = {window} | where _w <= _end")
            }
        };
        let slices = match dims.strip_prefix(", ") {
            Some(dims) => format!("| join kind=inner (C | summarize by {dims} | extend _k = 1) on _k"),
            None => String::new(),
        };
        let text = format!(
            "{windows} | project _f = _w, _k = 1 | join kind=inner ({windows} | extend _k = 1) on _k | where _w >= _f
             {slices}
             | lookup kind=leftouter (C | project _f, _w = _b, _n = _c{dims}) on _f, _w{dims}
             | project _f, _w, _n = coalesce(_n, 0){dims}"
        );
        self.planned(call, &text, &[("C", counted)], values)
    }
}
