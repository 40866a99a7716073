//! Plugins that count users by window: `activity_metrics`, `activity_counts_metrics`, `session_count`, `active_users_count`.
//!
//! All count exactly: an id is first reduced to one row per window, then rows are counted.

use std::sync::Arc;

use tidewater_kql::KqlType::{Long, Real};
use tidewater_kql::diagnostic;

use super::PluginCall;
use super::timeline::{Timeline, number};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::{Constant, Rel, WindowFunction};

impl Binder<'_> {
    /// The value of a column one row (or `offset` rows) back.
    pub(super) fn back(&mut self, rel: &Rel, column: &str, offset: i64) -> Bound<WindowFunction> {
        let value = self.own(rel, column)?;
        let default = Constant::null(value.ty);
        Ok(WindowFunction::Shift { value, offset, default })
    }

    fn activity_result(
        &mut self,
        timeline: &Timeline,
        rel: &Arc<Rel>,
        time: &str,
        own: &[(&str, &str, tidewater_kql::KqlType)],
        call: &PluginCall<'_>,
    ) -> Bound<Tabular> {
        let columns = timeline.result(time, own);
        Ok(Tabular::of(self.plugin_result(rel, &columns, call.span)?))
    }

    /// `activity_metrics(id, timeline, [start, end,] window [, dimensions])`: each window against the one before it.
    pub(super) fn activity_metrics(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 3, usize::MAX, call.span)?;
        let is_short = arguments.get(3).is_none_or(|argument| self.is_input_column(input, argument));
        if !is_short {
            self.count(call.name, arguments.len(), 5, usize::MAX, call.span)?;
        }
        let place = if is_short { 2 } else { 4 };
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[place + 1..], call.span)?;
        let period = if is_short { None } else { Some(self.period(&timeline, call, &arguments[2], &arguments[3])?) };
        let step = self.window_step(&timeline, &arguments[place], "activity_metrics(): the window")?;
        let (dims, window, ty) = (timeline.dims(), step.window(!is_short), timeline.ty);
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        let within = match period {
            Some((start, end)) => {
                values.extend([("_start", start), ("_end", end)]);
                "_t between (_start .. _end)"
            }
            None => "isnotnull(_t)",
        };
        let text = format!("T | where isnotnull(_id) and {within} | summarize by _id, _b = {window}{dims}");
        let users = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
        let before = self.back(&users, "_b", 1)?;
        let users = self.windowed(&users, "_b", &timeline.owners(), vec![("_p", before)], call.span)?;
        let follows = step.follows("_b", "_p", ty);
        let text = format!("T | summarize _v = count(), _n = countif(isnull(_p) or not({follows})) by _b{dims}");
        let counted = self.planned(call, &text, &[("T", &users)], &values)?;
        let (before, users_before) = (self.back(&counted, "_b", 1)?, self.back(&counted, "_v", 1)?);
        let functions = vec![("_p", before), ("_u", users_before)];
        let counted = self.windowed(&counted, "_b", &timeline.sources, functions, call.span)?;
        // Without users before, both rates are 0 / 0. Source: the page's example.
        let text = format!(
            "T | extend _o = iff(isnotnull(_p) and {follows}, _u, 0), _k = _v - _n
             | extend _r = toreal(_k) / _o, _c = toreal(_o - _k) / _o"
        );
        let rated = self.planned(call, &text, &[("T", &counted)], &values)?;
        let own = [
            ("dcount_values", "_v", Long),
            ("dcount_newvalues", "_n", Long),
            ("retention_rate", "_r", Real),
            ("churn_rate", "_c", Real),
        ];
        self.activity_result(&timeline, &rated, "_b", &own, call)
    }

    /// `activity_counts_metrics(id, timeline, start, end, window [, dimensions])`: each window against all before it.
    pub(super) fn activity_counts_metrics(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 5, usize::MAX, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[5..], call.span)?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let step = self.window_step(&timeline, &arguments[4], "activity_counts_metrics(): the window")?;
        let (dims, window) = (timeline.dims(), step.window(true));
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.extend([("_start", start), ("_end", end)]);
        let text =
            format!("T | where _t between (_start .. _end) | summarize _c = count() by _id, _b = {window}{dims}");
        let users = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
        let number = WindowFunction::RowNumber { start: Constant::long(1), restart: None };
        let users = self.windowed(&users, "_b", &timeline.owners(), vec![("_n", number)], call.span)?;
        let text = format!(
            "T | summarize _c = sum(_c), _v = countif(isnotnull(_id)), _w = countif(_n == 1 and isnotnull(_id)) by _b{dims}"
        );
        let counted = self.planned(call, &text, &[("T", &users)], &[])?;
        let sum = WindowFunction::Cumsum { value: self.own(&counted, "_w")?, restart: None };
        let counted = self.windowed(&counted, "_b", &timeline.sources, vec![("_a", sum)], call.span)?;
        let own = [
            ("count", "_c", Long),
            ("dcount", "_v", Long),
            ("new_dcount", "_w", Long),
            ("aggregated_dcount", "_a", Long),
        ];
        self.activity_result(&timeline, &counted, "_b", &own, call)
    }

    /// `session_count(id, timeline, start, end, bin, lookback [, dimensions])`: sessions that begin in each bin. A session
    /// begins where the id has not appeared for more than the lookback; bins are those of `bin()`. Both come from the
    /// chart of the page's example.
    pub(super) fn session_count(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 6, usize::MAX, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[6..], call.span)?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let step = self.window_step(&timeline, &arguments[4], "session_count(): the bin")?;
        let lookback = self.length(&timeline, &arguments[5], "session_count(): the lookback window")?;
        let (dims, window) = (timeline.dims(), step.window(false));
        let low = self.moment_before(&start, &lookback);
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.extend([("_start", start), ("_end", end), ("_low", low), ("_lookback", lookback)]);
        let text = "T | where isnotnull(_id) and _t between (_low .. _end)";
        let users = self.planned(call, text, &[("T", &timeline.rel)], &values)?;
        let before = self.back(&users, "_t", 1)?;
        let users = self.windowed(&users, "_t", &timeline.owners(), vec![("_p", before)], call.span)?;
        let text = format!(
            "T | where _t >= _start and (isnull(_p) or _t - _p > _lookback) | summarize _n = count() by _b = {window}{dims}"
        );
        let counted = self.planned(call, &text, &[("T", &users)], &values)?;
        self.activity_result(&timeline, &counted, "_b", &[("count_sessions", "_n", Long)], call)
    }

    /// `active_users_count(id, timeline, start, end, lookback, period, periods, bin [, dimensions])`: users who at one
    /// of their appearances in the bin had appeared in at least `periods` periods of the lookback, which ends there.
    pub(super) fn active_users_count(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 8, usize::MAX, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &arguments[8..], call.span)?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let lookback = self.length(&timeline, &arguments[4], "active_users_count(): the lookback window")?;
        let period = self.length(&timeline, &arguments[5], "active_users_count(): the period")?;
        let periods = self.plugin_constant(&arguments[6], "active_users_count(): the number of periods")?;
        let Some(periods) = number(&periods).filter(|periods| (0.0..1e9).contains(periods)) else {
            let message = "active_users_count(): the number of periods must be a number that is not negative";
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[6].value.span, message);
        };
        let step = self.window_step(&timeline, &arguments[7], "active_users_count(): the bin")?;
        let (dims, window) = (timeline.dims(), step.window(true));
        let low = self.moment_before(&start, &lookback);
        let mut values: Vec<(&str, Constant)> = step.value().into_iter().collect();
        values.extend([("_start", start), ("_end", end), ("_low", low), ("_lookback", lookback), ("_period", period)]);
        let text = format!(
            "T | where isnotnull(_id) and _t between (_low .. _end)
             | summarize _x = min(_t), _y = max(_t) by _id, _p = bin_at(_t, _period, _start), _b = {window}{dims}"
        );
        let users = self.planned(call, &text, &[("T", &timeline.rel)], &values)?;
        let users = self.materialized(users, call.span)?;
        // The other appearances must be in as many periods; the latest of the first of these is within the lookback of
        // the earliest appearance in a bin, or of none.
        let others = (periods.ceil() as i64 - 1).max(0);
        let text = format!("T | summarize _y = max(_y) by _id, _p{dims}");
        let by_period = self.planned(call, &text, &[("T", &users)], &[])?;
        let before = self.back(&by_period, "_y", others)?;
        let by_period = self.windowed(&by_period, "_p", &timeline.owners(), vec![("_q", before)], call.span)?;
        let active = if others == 0 { "true" } else { "_x - _q < _lookback" };
        let text = format!(
            "U | join kind=inner (P) on _id, _p{dims} | where _p >= _start and {active}
             | summarize by _id, _b{dims} | summarize _n = count() by _b{dims}"
        );
        let counted = self.planned(call, &text, &[("U", &users), ("P", &by_period)], &values)?;
        self.activity_result(&timeline, &counted, "_b", &[("dcount", "_n", Long)], call)
    }
}
