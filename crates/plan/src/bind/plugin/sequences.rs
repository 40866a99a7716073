//! `funnel_sequence`, `funnel_sequence_completion`, `sequence_detect`. Source: their pages.

use std::sync::Arc;

use tidewater_kql::ast::Argument;
use tidewater_kql::value::timespan;
use tidewater_kql::{KqlType, diagnostic};

use super::timeline::Timeline;
use super::{PluginCall, ResultColumn};
use crate::bind::names::{NameTable, Wanted};
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, BoundResult, Constant, Rel, RelOp, RowStage, StageOrder, Value};
use crate::exec::algorithm::{Algorithm, Collected};
use crate::exec::sequence::{Bins, Completion, Detect, Funnel};

/// States of a sequence, and periods.
const MAX_STATES: usize = 1_000;

/// A moment or length as a whole number.
fn whole(constant: &Constant) -> i64 {
    match constant.value {
        Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => value,
        _ => 0,
    }
}

impl Binder<'_> {
    /// The timeline of plugins about sequences, which is one of whole numbers.
    fn whole_timeline(&mut self, timeline: &Timeline, call: &PluginCall<'_>, argument: &Argument) -> Bound<()> {
        if matches!(timeline.ty, KqlType::DateTime | KqlType::TimeSpan | KqlType::Long) {
            return Ok(());
        }
        let message = format!(
            "{}(): the timeline must be a datetime, a timespan or a long, but it is {}",
            call.name, timeline.ty
        );
        self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message)
    }

    /// The elements of a constant array.
    fn plugin_array(&mut self, argument: &Argument, what: &str) -> Bound<Vec<serde_json::Value>> {
        let span = argument.value.span;
        let constant = self.plugin_constant(argument, what)?;
        let elements = match &constant.value {
            Value::Dynamic(text) => match serde_json::from_str(text) {
                Ok(serde_json::Value::Array(elements)) => elements,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        if elements.is_empty() || elements.len() > MAX_STATES {
            let message = format!("{what} is an array of 1 to {MAX_STATES} values");
            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        }
        Ok(elements)
    }

    fn sequence(&mut self, call: &PluginCall<'_>, argument: &Argument) -> Bound<Vec<String>> {
        let elements = self.plugin_array(argument, &format!("{}(): the sequence", call.name))?;
        Ok(elements
            .into_iter()
            .map(|element| match element {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            })
            .collect())
    }

    /// The rows of the analysis with their state (`_s`, text).
    fn with_state(
        &mut self,
        input: &Arc<Rel>,
        timeline: &Timeline,
        state: &Argument,
        call: &PluginCall<'_>,
    ) -> Bound<(Arc<Rel>, BoundColumn)> {
        let column = self.plugin_input_column(input, state)?;
        // The timeline is a projection of the input: its items and the state are made anew.
        let mut items = vec![("_id".to_string(), BExpr::column(&timeline.id))];
        let time = BExpr::column(&timeline.time);
        items.push(("_t".to_string(), self.convert(time, timeline.ty)));
        let value = BExpr::column(&column);
        let text = self.convert(value, KqlType::String);
        items.push(("_s".to_string(), text));
        Ok((self.project(input.clone(), items, call.span)?, column))
    }

    /// A row algorithm for each combination of the columns `groups`, which stay.
    fn staged(
        &mut self,
        input: &Arc<Rel>,
        groups: &[&str],
        args: &[&str],
        own: &[(&str, KqlType)],
        algorithm: Arc<dyn Algorithm>,
        call: &PluginCall<'_>,
    ) -> Bound<Arc<Rel>> {
        let kept: Vec<BoundColumn> =
            input.columns.iter().filter(|column| groups.contains(&column.name.as_str())).cloned().collect();
        let args = args.iter().map(|name| self.own(input, name)).collect::<Bound<Vec<BExpr>>>()?;
        let own: Vec<BoundColumn> = own.iter().map(|(name, ty)| self.fresh_column(*name, *ty)).collect();
        let stage = RowStage {
            input: input.clone(),
            groups: kept.iter().map(BExpr::column).collect(),
            args,
            keep: kept.iter().map(|column| column.id).collect(),
            order: StageOrder::Ignored,
            algorithm,
        };
        let columns = kept.into_iter().chain(own).collect();
        self.rel(RelOp::Stage(Box::new(stage)), columns, call.span)
    }

    /// `funnel_sequence(id, timeline, start, end, most between steps, step, state, sequence)`: three results.
    pub(super) fn funnel_sequence(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 8, 8, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &[], call.span)?;
        self.whole_timeline(&timeline, call, &arguments[1])?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let between = self.length(&timeline, &arguments[4], "funnel_sequence(): the window between steps")?;
        let step = self.length(&timeline, &arguments[5], "funnel_sequence(): the step")?;
        let sequence = self.sequence(call, &arguments[7])?;
        let (rows, _) = self.with_state(input, &timeline, &arguments[6], call)?;
        let bins = Bins { start: whole(&start), step: whole(&step) };
        let text = "T | where isnotnull(_id) and _t between (_start .. _end)";
        let rows = self.planned(call, text, &[("T", &rows)], &[("_start", start), ("_end", end)])?;
        let funnel = Funnel { sequence, most_between: whole(&between), bins };
        let own = [("_b", timeline.ty), ("_p", KqlType::String), ("_n", KqlType::String)];
        let found = self.staged(&rows, &["_id"], &["_t", "_s"], &own, Arc::new(Collected(funnel)), call)?;
        let shared = self.fresh_shared();
        let mut branches = Vec::with_capacity(3);
        // Source: funnel_sequence page: at most 128 samples.
        for keys in [&["_p", "_n"][..], &["_p"], &["_n"]] {
            let found = self.reading(shared, &found, call.span)?;
            let list = keys.join(", ");
            let text = format!(
                "T | summarize by _id, _b, {list} | summarize _c = count(), _l = make_list(_id, 128) by _b, {list}
                 | extend _l = array_sort_asc(_l)"
            );
            let counted = self.planned(call, &text, &[("T", &found)], &[])?;
            let mut columns = vec![ResultColumn::given(&timeline.time, "_b")];
            for key in keys {
                let name = if *key == "_p" { "prev" } else { "next" };
                columns.push(ResultColumn::own(name, key, KqlType::String));
            }
            columns.push(ResultColumn::own("dcount", "_c", KqlType::Long));
            columns.push(ResultColumn::own("samples", "_l", KqlType::Dynamic));
            let rel = self.plugin_result(&counted, &columns, call.span)?;
            branches.push(BoundResult { name: None, rel, visualization: None });
        }
        let first = branches.first().ok_or(Stopped)?.rel.clone();
        Ok(Tabular { branches, ..Tabular::of(first) })
    }

    /// `funnel_sequence_completion(id, timeline, start, end, bin, state, sequence, periods)`.
    pub(super) fn funnel_sequence_completion(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 8, 8, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[1], &[], call.span)?;
        self.whole_timeline(&timeline, call, &arguments[1])?;
        let (start, end) = self.period(&timeline, call, &arguments[2], &arguments[3])?;
        let bin = self.length(&timeline, &arguments[4], "funnel_sequence_completion(): the size of the bins")?;
        let sequence = self.sequence(call, &arguments[6])?;
        let periods = self.periods(&timeline, call, &arguments[7])?;
        let (rows, state) = self.with_state(input, &timeline, &arguments[5], call)?;
        let text = "T | where isnotnull(_id) and _t between (_start .. _end) | extend _b = bin_at(_t, _bin, _start)";
        let values = [("_start", start), ("_end", end), ("_bin", bin)];
        let rows = self.planned(call, text, &[("T", &rows)], &values)?;
        let completion = Completion { sequence: sequence.clone(), periods: periods.clone() };
        let own = [("_k", KqlType::Long), ("_p", KqlType::Long)];
        let algorithm = Arc::new(Collected(completion));
        let found = self.staged(&rows, &["_id", "_b"], &["_t", "_s"], &own, algorithm, call)?;
        let counted = self.planned(call, "T | summarize _c = count() by _b, _k, _p", &[("T", &found)], &[])?;
        // The steps' and periods' places become their values.
        let ty = timeline.span_ty();
        let period = |value: &i64| Constant {
            value: if ty == KqlType::TimeSpan { Value::TimeSpan(*value) } else { Value::Long(*value) },
            ty,
        };
        let steps = sequence.into_iter().map(Constant::string).collect();
        let step = self.choice(&counted, "_k", steps, call)?;
        let within = self.choice(&counted, "_p", periods.iter().map(period).collect(), call)?;
        let items = vec![
            ("_b".to_string(), self.own(&counted, "_b")?),
            ("_s".to_string(), step),
            ("_p".to_string(), within),
            ("_c".to_string(), self.own(&counted, "_c")?),
        ];
        let named = self.project(counted, items, call.span)?;
        let columns = [
            ResultColumn::given(&timeline.time, "_b"),
            ResultColumn { name: state.name, is_given: true, source: "_s", ty: KqlType::String },
            ResultColumn::own("Period", "_p", ty),
            ResultColumn::own("dcount", "_c", KqlType::Long),
        ];
        Ok(Tabular::of(self.plugin_result(&named, &columns, call.span)?))
    }

    /// The value at the place that a column names.
    fn choice(&mut self, rel: &Rel, column: &str, values: Vec<Constant>, call: &PluginCall<'_>) -> Bound<BExpr> {
        use crate::bound::BExprKind;
        let mut values = values.into_iter().enumerate();
        let (_, first) = values.next().ok_or(Stopped)?;
        let (ty, otherwise) = (first.ty, BExpr::constant(first));
        let mut branches = Vec::new();
        for (place, value) in values {
            let (left, right) = (self.own(rel, column)?, BExpr::constant(Constant::long(place as i64)));
            let is_here = self.binary(tidewater_kql::ast::BinaryOp::Equal, left, right, call.span)?;
            branches.push((is_here, BExpr::constant(value)));
        }
        if branches.is_empty() {
            return Ok(otherwise);
        }
        Ok(BExpr { kind: BExprKind::Case { branches, otherwise: Box::new(otherwise) }, ty })
    }

    fn periods(&mut self, timeline: &Timeline, call: &PluginCall<'_>, argument: &Argument) -> Bound<Vec<i64>> {
        let what = format!("{}(): the periods", call.name);
        let elements = self.plugin_array(argument, &what)?;
        let is_span = timeline.span_ty() == KqlType::TimeSpan;
        let read = elements.iter().map(|element| match element {
            serde_json::Value::String(text) if is_span => timespan::parse(text),
            // A timespan inside a dynamic literal is its ticks.
            serde_json::Value::Number(number) => number.as_i64(),
            _ => None,
        });
        match read.collect::<Option<Vec<i64>>>() {
            Some(periods) if periods.iter().all(|period| *period >= 0) => Ok(periods),
            _ => {
                let message = format!("{what} must be of type {} and not negative", timeline.span_ty());
                self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message)
            }
        }
    }

    /// `sequence_detect(timeline, most between steps, most in all, steps..., dimensions...)`.
    pub(super) fn sequence_detect(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 4, usize::MAX, call.span)?;
        let timeline = self.timeline(input, &arguments[0], &arguments[0], &[], call.span)?;
        self.whole_timeline(&timeline, call, &arguments[0])?;
        let between = self.length(&timeline, &arguments[1], "sequence_detect(): the window between steps")?;
        let span = self.length(&timeline, &arguments[2], "sequence_detect(): the window of the sequence")?;
        let (mut steps, mut dimensions) = (Vec::new(), Vec::new());
        let mut failed = false;
        for argument in &arguments[3..] {
            let Ok(value) = self.expr(&argument.value, &mut Row::of(&input.columns)) else {
                failed = true;
                continue;
            };
            let name = argument.name.as_ref().map(|name| name.text.clone());
            if value.ty == KqlType::Bool && dimensions.is_empty() {
                steps.push((name.unwrap_or_default(), value));
                continue;
            }
            failed |= self.group_key(&value, &argument.value, "a dimension of a plugin").is_err();
            let automatic = || self.result_name(&argument.value, &Row::of(&input.columns));
            let wanted = match name.clone().or_else(automatic) {
                Some(name) => Wanted::Automatic(name),
                None => Wanted::Nameless,
            };
            dimensions.push((wanted, value));
        }
        if failed {
            return Err(Stopped);
        }
        if steps.is_empty() {
            let message = "sequence_detect(): a step is missing, which is a condition";
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[3].value.span, message);
        }
        let moment = BExpr::column(&timeline.time);
        let mut items = vec![("_t".to_string(), self.convert(moment, timeline.ty))];
        let mut args = vec!["_t".to_string()];
        let mut own = Vec::with_capacity(steps.len() + 1);
        for (position, (_, condition)) in steps.iter().enumerate() {
            let name = format!("_e{position}");
            items.push((name.clone(), condition.clone()));
            own.push((format!("_s{position}"), timeline.ty));
            args.push(name);
        }
        own.push(("_span".to_string(), timeline.span_ty()));
        let groups: Vec<String> = (0..dimensions.len()).map(|position| format!("_d{position}")).collect();
        items.extend(groups.iter().cloned().zip(dimensions.iter().map(|(_, value)| value.clone())));
        let rows = self.project(input.clone(), items, call.span)?;
        let any = args[1..].join(" or ");
        let rows = self.planned(call, &format!("T | where isnotnull(_t) and ({any})"), &[("T", &rows)], &[])?;
        let detect = Detect { most_between: whole(&between), most_span: whole(&span) };
        let own: Vec<(&str, KqlType)> = own.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let found = self.staged(&rows, &groups, &args, &own, Arc::new(Collected(detect)), call)?;
        let mut table = NameTable::default();
        let mut give = |wanted: &Wanted| table.give(wanted, |_| false).unwrap_or_else(|name| name.0);
        let mut named = Vec::with_capacity(found.columns.len());
        for ((wanted, _), source) in dimensions.iter().zip(&groups) {
            named.push((give(wanted), *source, None));
        }
        for ((name, _), (source, _)) in steps.iter().zip(&own) {
            let wanted = Wanted::Automatic(format!("{name}_{}", timeline.time.name));
            named.push((give(&wanted), *source, Some(timeline.time.ty)));
        }
        named.push((give(&Wanted::Automatic("Duration".to_string())), "_span", None));
        let mut items = Vec::with_capacity(named.len());
        for (name, source, ty) in named {
            let value = self.own(&found, source)?;
            let ty = ty.unwrap_or(value.ty);
            items.push((name, self.convert(value, ty)));
        }
        Ok(Tabular::of(self.project(found, items, call.span)?))
    }
}
