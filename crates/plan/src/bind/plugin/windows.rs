//! Plugins whose windows overlap: `sliding_window_counts`, `activity_engagement`, `rolling_percentile`.
//!
//! Every row counts in its own bin and in the ones after it that still look back to it.

use std::sync::Arc;

use tidewater_kql::KqlType::{self, Long, Real};
use tidewater_kql::diagnostic;

use super::timeline::{Step, Timeline, number};
use super::{PluginCall, ResultColumn};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{Constant, Rel, Value};

/// Windows that one row may count in.
const MAX_WINDOWS_OF_ROW: i64 = 100_000;

impl Binder<'_> {
    /// How many windows after its own a row counts in: those that begin less than `length` after it.
    fn later_windows(&mut self, step: &Step, length: &Constant, call: &PluginCall<'_>) -> Bound<i64> {
        match step.windows_within(length) {
            Some(windows) if windows <= MAX_WINDOWS_OF_ROW => Ok((windows - 1).max(0)),
            _ => {
                let message = format!("{}(): a window looks back over more than {MAX_WINDOWS_OF_ROW} bins", call.name);
                self.fail(diagnostic::NOT_IN_LIST, call.span, message)
            }
        }
    }

    /// `sliding_window_counts(id, timeline, start, end, lookback, bin [, dimensions])`: rows and ids of each bin's lookback,
    /// which ends with the bin.
    pub(super) fn sliding_window_counts(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 6, usize::MAX, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[6..], call.span)?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let lookback = self.length(&timeline, &arguments[4], "sliding_window_counts(): the lookback window")?;
        let step = self.window_step(&timeline, &arguments[5], "sliding_window_counts(): the bin")?;
        let (dims, window) = (timeline.dims(), step.window(true));
        let mut later = self.later_windows(&step, &lookback, call)?;
        // The lookback is rounded down to whole bins. Source: the page.
        let is_whole = match &step {
            Step::Fixed(step) => number(&lookback).zip(number(step)).is_some_and(|(whole, part)| whole % part == 0.0),
            Step::Calendar(_) => true,
        };
        if !is_whole {
            later = (later - 1).max(0);
        }
        let low = self.moment_before(&start, &lookback);
        let (first, next) = (step.first(), step.later("_b", "_i"));
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.extend([("_start", start), ("_end", end), ("_low", low), ("_lookback", lookback)]);
        values.push(("_later", Constant::long(later)));
        let text = format!(
            "T | where _t between (_low .. _end) | summarize _c = count() by _id, _b = {window}{dims}
             | mv-expand _i = range(0, _later, 1) to typeof(long) | extend _w = {next}
             | where _w >= {first} and _w <= _end and (_i == 0 or _w - _b < _lookback)
             | summarize _c = sum(_c) by _id, _w{dims}
             | summarize _c = sum(_c), _n = countif(isnotnull(_id)) by _w{dims}"
        );
        let counted = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
        let columns = timeline.result("_w", &[("Count", "_c", Long), ("Dcount", "_n", Long)]);
        Ok(Tabular::of(self.plugin_result(&counted, &columns, call.span)?))
    }

    /// `activity_engagement(id, timeline, [start, end,] inner, outer [, dimensions])`: ids of each inner window against
    /// those of the outer window that ends with it.
    pub(super) fn activity_engagement(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 4, usize::MAX, call.span)?;
        let is_short = arguments.get(4).is_none_or(|argument| self.is_input_column(input, argument));
        if !is_short {
            self.count(call.name, arguments.len(), 6, usize::MAX, call.span)?;
        }
        let place = if is_short { 2 } else { 4 };
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[place + 2..], call.span)?;
        let inner = self.length(&timeline, &arguments[place], "activity_engagement(): the inner window")?;
        let outer = self.length(&timeline, &arguments[place + 1], "activity_engagement(): the outer window")?;
        if number(&outer) < number(&inner) {
            let message = "activity_engagement(): the outer window must not be shorter than the inner one";
            return self.fail(diagnostic::NOT_IN_LIST, arguments[place + 1].value.span, message);
        }
        let period = if is_short { None } else { Some(self.period(&timeline, call, &arguments[2], &arguments[3])?) };
        let step = Step::Fixed(inner);
        let later = self.later_windows(&step, &outer, call)?;
        let (dims, window, next) = (timeline.dims(), step.window(!is_short), step.later("_b", "_i"));
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.push(("_later", Constant::long(later)));
        let expanded = format!("| mv-expand _i = range(0, _later, 1) to typeof(long) | extend _w = {next}");
        let counted = format!(
            "| summarize _x = countif(_i == 0) by _id, _w{dims}
             | summarize _n = countif(_x > 0), _o = count() by _w{dims} | extend _r = toreal(_n) / _o"
        );
        let rel = match period {
            Some((start, end)) => {
                let low = self.moment_before(&start, &outer);
                values.extend([("_start", start), ("_end", end), ("_low", low)]);
                let text = format!(
                    "T | where isnotnull(_id) and _t between (_low .. _end) | summarize by _id, _b = {window}{dims}
                     {expanded} | where _w between (_start .. _end) {counted}"
                );
                self.planned(call, &text, &[("T", &timeline.rel)], &values)?
            }
            None => {
                // Without a period the last window is that of the last row.
                let text =
                    format!("T | where isnotnull(_id) and isnotnull(_t) | summarize by _id, _b = {window}{dims}");
                let users = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
                let users = self.materialized(users, call.span)?;
                let text = format!(
                    "T | extend _k = 1 | join kind=inner (T | summarize _m = max(_b) | extend _k = 1) on _k
                     {expanded} | where _w <= _m {counted}"
                );
                self.planned(call, &text, &[("T", &users)], &values)?
            }
        };
        let own = [
            ("dcount_activities_inner", "_n", Long),
            ("dcount_activities_outer", "_o", Long),
            ("activity_ratio", "_r", Real),
        ];
        let columns = timeline.result("_w", &own);
        Ok(Tabular::of(self.plugin_result(&rel, &columns, call.span)?))
    }

    /// `rolling_percentile(value, percentile, index, bin size, bins per window [, dimensions])`: a row per bin with the
    /// percentile of the bins of the window that ends with it.
    pub(super) fn rolling_percentile(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 5, usize::MAX, call.span)?;
        let value = self.plugin_input_column(input, &arguments[0])?;
        let is_fit = !matches!(value.ty, KqlType::String | KqlType::Dynamic | KqlType::Bool | KqlType::Guid);
        if !is_fit {
            let message =
                format!("rolling_percentile(): column '{}' must be a number, but it is {}", value.name, value.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[0].value.span, message);
        }
        let percentile = self.plugin_constant(&arguments[1], "rolling_percentile(): the percentile")?;
        let percentile = match (number(&percentile), &percentile.value) {
            (Some(number), Value::Int(_) | Value::Long(_) | Value::Real(_) | Value::Decimal(_))
                if (0.0..=100.0).contains(&number) =>
            {
                number
            }
            _ => {
                let message = "rolling_percentile(): the percentile is a number from 0 to 100";
                return self.fail(diagnostic::NOT_IN_LIST, arguments[1].value.span, message);
            }
        };
        let timeline = self.timeline(input, &arguments[0], &arguments[2], &arguments[5..], call.span)?;
        let step = Step::Fixed(self.length(&timeline, &arguments[3], "rolling_percentile(): the size of the bins")?);
        let bins = self.plugin_count(&arguments[4], 1, "rolling_percentile(): the bins per window")?;
        if bins > MAX_WINDOWS_OF_ROW {
            let message = format!("rolling_percentile(): a window has at most {MAX_WINDOWS_OF_ROW} bins");
            return self.fail(diagnostic::NOT_IN_LIST, arguments[4].value.span, message);
        }
        let rolled = self.rolled(&timeline, &step, bins, percentile, call)?;
        let name = format!("rolling_{bins}_percentile_{}_{percentile}", value.name);
        let ty = rolled.column("_r").ok_or(Stopped)?.ty;
        let columns = timeline.result("_w", &[]);
        let mut columns: Vec<ResultColumn<'_>> = columns;
        columns.push(ResultColumn::own(name, "_r", ty));
        Ok(Tabular::of(self.plugin_result(&rolled, &columns, call.span)?))
    }

    fn rolled(
        &mut self,
        timeline: &Timeline,
        step: &Step,
        bins: i64,
        percentile: f64,
        call: &PluginCall<'_>,
    ) -> Bound<Arc<Rel>> {
        let (dims, window, next) = (timeline.dims(), step.window(false), step.later("_b", "_i"));
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.push(("_later", Constant::long(bins - 1)));
        values.push(("_percentile", Constant { value: Value::Real(percentile), ty: Real }));
        let text = format!("T | where isnotnull(_t) | project _v = _id, _b = {window}{dims}");
        let binned = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
        let binned = self.materialized(binned, call.span)?;
        let text = format!(
            "T | mv-expand _i = range(0, _later, 1) to typeof(long) | extend _w = {next}
             | join kind=leftsemi (T | summarize by _w = _b{dims}) on _w{dims}
             | summarize _r = percentile(_v, _percentile) by _w{dims}"
        );
        self.planned(call, &text, &[("T", &binned)], &values)
    }
}
