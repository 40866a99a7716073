//! `basket`, `autocluster`, `diffpatterns`, `diffpatterns_text`. Source: their pages.

use std::sync::Arc;

use tidewater_kql::ast::{Argument, BinaryOp};
use tidewater_kql::{KqlType, diagnostic};

use super::PluginCall;
use super::timeline::number;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, Rel, RelOp, RowStage, StageOrder, Value};
use crate::exec::algorithm::Collected;
use crate::exec::patterns::{Patterns, Search};

/// Source: pages of basket, diffpatterns.
const THRESHOLD: f64 = 0.05;
const THRESHOLDS: std::ops::RangeInclusive<f64> = 0.015..=1.0;
/// Source: basket page.
const BASKET_DIMENSIONS: i64 = 5;
/// Source: autocluster page.
const SEEDS: i64 = 25;
/// Source: diffpatterns_text page.
const MOST_WORDS: i64 = 20;

/// The arguments behind those that must be there.
struct Options<'c> {
    weight: Option<BoundColumn>,
    rest: Vec<&'c Argument>,
}

impl Binder<'_> {
    /// Whether an argument is `~`, which stands for the default.
    fn is_default(&mut self, argument: &Argument) -> bool {
        let bound = self.attempt(|binder| binder.expr(&argument.value, &mut Row::none()));
        matches!(bound.ok().and_then(|bound| bound.as_constant()), Some(Constant { value: Value::String(text), .. }) if text == "~")
    }

    fn share(
        &mut self,
        call: &PluginCall<'_>,
        argument: Option<&Argument>,
        default: f64,
        range: std::ops::RangeInclusive<f64>,
        what: &str,
    ) -> Bound<f64> {
        let Some(argument) = argument else { return Ok(default) };
        if self.is_default(argument) {
            return Ok(default);
        }
        let what = format!("{}(): {what}", call.name);
        match number(&self.plugin_value(argument, KqlType::Real, &what)?) {
            Some(share) if range.contains(&share) => Ok(share),
            _ => {
                let message = format!("{what} is from {} to {}", range.start(), range.end());
                self.fail(diagnostic::NOT_IN_LIST, argument.value.span, message)
            }
        }
    }

    fn limit(
        &mut self,
        call: &PluginCall<'_>,
        argument: Option<&Argument>,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
        what: &str,
    ) -> Bound<usize> {
        let Some(argument) = argument else { return Ok(usize::try_from(default).unwrap_or(usize::MAX)) };
        if self.is_default(argument) {
            return Ok(usize::try_from(default).unwrap_or(usize::MAX));
        }
        let what = format!("{}(): {what}", call.name);
        let limit = self.plugin_count(argument, *range.start(), &what)?;
        if limit > *range.end() {
            let message = format!("{what} is at most {}", range.end());
            return self.fail(diagnostic::NOT_IN_LIST, argument.value.span, message);
        }
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The column of weights.
    fn weight_column(
        &mut self,
        input: &Rel,
        call: &PluginCall<'_>,
        argument: Option<&Argument>,
    ) -> Bound<Option<BoundColumn>> {
        let Some(argument) = argument else { return Ok(None) };
        if self.is_default(argument) {
            return Ok(None);
        }
        let column = self.plugin_input_column(input, argument)?;
        if column.ty.is_numeric() {
            return Ok(Some(column));
        }
        let message =
            format!("{}(): the weights must be numbers, but column '{}' is {}", call.name, column.name, column.ty);
        self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message)
    }

    /// What stands for an open column of each type.
    fn wildcards(&mut self, call: &PluginCall<'_>, arguments: &[&Argument]) -> Bound<Vec<Constant>> {
        let mut wildcards: Vec<Constant> = Vec::new();
        for argument in arguments {
            if self.is_default(argument) {
                continue;
            }
            let bound = self.expr(&argument.value, &mut Row::none())?;
            let constant = self.constant(&bound, argument.value.span, &format!("{}(): a wildcard", call.name))?;
            wildcards.retain(|earlier| earlier.ty != constant.ty);
            wildcards.push(constant);
        }
        Ok(wildcards)
    }

    fn options<'c>(
        &mut self,
        input: &Rel,
        call: &PluginCall<'c>,
        weight: Option<&'c Argument>,
        rest: &'c [Argument],
    ) -> Bound<Options<'c>> {
        Ok(Options { weight: self.weight_column(input, call, weight)?, rest: rest.iter().collect() })
    }

    /// `basket([threshold, weight, dimensions, wildcards...])`.
    pub(super) fn basket(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        let threshold = self.share(call, arguments.first(), THRESHOLD, THRESHOLDS, "the threshold")?;
        let options = self.options(input, call, arguments.get(1), arguments.get(3..).unwrap_or_default())?;
        let dimensions =
            self.limit(call, arguments.get(2), BASKET_DIMENSIONS, 1..=1_000, "the number of dimensions")?;
        self.one_set(input, call, options, Search::Basket { threshold, dimensions })
    }

    /// `autocluster([size weight, weight, seeds, wildcards...])`.
    pub(super) fn autocluster(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        let size_weight = self.share(call, arguments.first(), 0.5, 0.0..=1.0, "the size weight")?;
        let options = self.options(input, call, arguments.get(1), arguments.get(3..).unwrap_or_default())?;
        let seeds = self.limit(call, arguments.get(2), SEEDS, 1..=1_000, "the number of seeds")?;
        self.one_set(input, call, options, Search::Cluster { size_weight, seeds })
    }

    fn one_set(
        &mut self,
        input: &Arc<Rel>,
        call: &PluginCall<'_>,
        options: Options<'_>,
        search: Search,
    ) -> Bound<Tabular> {
        let own = [("SegmentId", KqlType::Long), ("Count", KqlType::Long), ("Percent", KqlType::Real)];
        let side = BExpr::constant(Constant::long(0));
        self.patterns(input, call, options, None, side, &own, search)
    }

    /// `diffpatterns(split, a, b [, weight, threshold, dimensions, wildcards...])`.
    pub(super) fn diffpatterns(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 3, usize::MAX, call.span)?;
        let split = self.plugin_input_column(input, &arguments[0])?;
        let text = BExpr::column(&split);
        let text = self.convert(text, KqlType::String);
        let mut branches = Vec::with_capacity(2);
        for (side, argument) in arguments[1..3].iter().enumerate() {
            let value = self.plugin_constant(argument, "diffpatterns(): a value of the split column")?;
            let value = self.convert(BExpr::constant(value), KqlType::String);
            let is_side = self.binary(BinaryOp::Equal, text.clone(), value, call.span)?;
            branches.push((is_side, BExpr::constant(Constant::long(side as i64))));
        }
        let otherwise = Box::new(BExpr::constant(Constant::long(2)));
        let side = BExpr { kind: BExprKind::Case { branches, otherwise }, ty: KqlType::Long };
        let options = self.options(input, call, arguments.get(3), arguments.get(6..).unwrap_or_default())?;
        let threshold = self.share(call, arguments.get(4), THRESHOLD, THRESHOLDS, "the threshold")?;
        let dimensions = self.limit(call, arguments.get(5), i64::MAX, 1..=i64::MAX, "the number of dimensions")?;
        let own = [
            ("SegmentId", KqlType::Long),
            ("CountA", KqlType::Long),
            ("CountB", KqlType::Long),
            ("PercentA", KqlType::Real),
            ("PercentB", KqlType::Real),
            ("PercentDiffAB", KqlType::Real),
        ];
        self.patterns(input, call, options, Some(&split), side, &own, Search::Difference { threshold, dimensions })
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one search")]
    fn patterns(
        &mut self,
        input: &Arc<Rel>,
        call: &PluginCall<'_>,
        options: Options<'_>,
        split: Option<&BoundColumn>,
        side: BExpr,
        own: &[(&str, KqlType)],
        search: Search,
    ) -> Bound<Tabular> {
        let wildcards = self.wildcards(call, &options.rest)?;
        let weight = match &options.weight {
            Some(column) => {
                let weight = BExpr::column(column);
                self.convert(weight, KqlType::Real)
            }
            None => BExpr::constant(Constant { value: Value::Real(1.0), ty: KqlType::Real }),
        };
        let is_left_out = |column: &BoundColumn| options.weight.iter().chain(split).any(|other| other.id == column.id);
        let searched: Vec<BoundColumn> = input.columns.iter().filter(|column| !is_left_out(column)).cloned().collect();
        if searched.is_empty() {
            return self.fail(
                diagnostic::ARGUMENT_COUNT,
                call.span,
                format!("{}(): there is no column to search", call.name),
            );
        }
        let mut args = vec![weight, side];
        args.extend(searched.iter().map(BExpr::column));
        let mut table = NameTable::expecting(searched.iter().map(|column| column.name.as_str()));
        let mut columns = Vec::with_capacity(own.len() + searched.len());
        for (name, ty) in own {
            let name = table.give(&Wanted::Automatic(name.to_string()), |_| false).unwrap_or_else(|name| name.0);
            columns.push(self.fresh_column(name, *ty));
        }
        for column in &searched {
            let name = table.give(&Wanted::Explicit(column.name.clone()), |_| false).unwrap_or_else(|name| name.0);
            columns.push(self.fresh_column(name, column.ty));
        }
        let wildcards =
            searched.iter().map(|column| wildcards.iter().find(|wildcard| wildcard.ty == column.ty).cloned()).collect();
        let algorithm = Arc::new(Collected(Patterns { search, wildcards }));
        let stage = RowStage {
            input: input.clone(),
            groups: Vec::new(),
            args,
            keep: Vec::new(),
            order: StageOrder::Ignored,
            algorithm,
        };
        Ok(Tabular::of(self.rel(RelOp::Stage(Box::new(stage)), columns, call.span)?))
    }

    /// `diffpatterns_text(text, condition [, least words, threshold, most words])`.
    pub(super) fn diffpatterns_text(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        let arguments = call.arguments;
        self.count(call.name, arguments.len(), 2, 5, call.span)?;
        let text = self.plugin_input_column(input, &arguments[0])?;
        if text.ty != KqlType::String {
            let message =
                format!("diffpatterns_text(): column '{}' must be a string, but it is {}", text.name, text.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[0].value.span, message);
        }
        let condition = self.expr(&arguments[1].value, &mut Row::of(&input.columns))?;
        if condition.ty != KqlType::Bool {
            let message = format!("diffpatterns_text(): the condition must be bool, but this is {}", condition.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[1].value.span, message);
        }
        let least = self.limit(call, arguments.get(2), 1, 0..=200, "the least number of words")?;
        let threshold = self.share(call, arguments.get(3), THRESHOLD, THRESHOLDS, "the threshold")?;
        let words = self.limit(call, arguments.get(4), MOST_WORDS, 0..=MOST_WORDS, "the largest number of words")?;
        let branches = vec![(condition, BExpr::constant(Constant::long(0)))];
        let otherwise = Box::new(BExpr::constant(Constant::long(1)));
        let side = BExpr { kind: BExprKind::Case { branches, otherwise }, ty: KqlType::Long };
        let weight = BExpr::constant(Constant { value: Value::Real(1.0), ty: KqlType::Real });
        let columns = vec![
            self.fresh_column("Count_of_True", KqlType::Long),
            self.fresh_column("Count_of_False", KqlType::Long),
            self.fresh_column("Percent_of_True", KqlType::Real),
            self.fresh_column("Percent_of_False", KqlType::Real),
            self.fresh_column("Pattern", KqlType::String),
        ];
        let search = Search::Text { threshold, least, words };
        let stage = RowStage {
            input: input.clone(),
            groups: Vec::new(),
            args: vec![weight, side, BExpr::column(&text)],
            keep: Vec::new(),
            order: StageOrder::Ignored,
            algorithm: Arc::new(Collected(Patterns { search, wildcards: Vec::new() })),
        };
        let rel = self.rel(RelOp::Stage(Box::new(stage)), columns, call.span)?;
        if rel.columns.is_empty() { Err(Stopped) } else { Ok(Tabular::of(rel)) }
    }
}
