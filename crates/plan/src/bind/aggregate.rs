//! Aggregate calls. Source: kql-behaviour sections 5 and 10, the aggregates' pages.

use tidewater_functions::find_aggregate;
use tidewater_functions::registry::{Aggregate, AggregateImp};
use tidewater_kql::ast::{Argument, Expr, ExprKind, Name, NamedExpr};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::names::{Wanted, percentile_name};
use crate::bind::project::Item;
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped, aggregate_operands};
use crate::bound::{AggregateRow, BExpr, BExprKind, BoundAggregate};

impl Binder<'_> {
    /// An aggregate inside an expression (`1 + count()`): it is collected in the row, its value is a column.
    pub fn aggregate_in_expression(
        &mut self,
        aggregate: &'static Aggregate,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        self.aggregates_allowed(&name.text, row, span)?;
        if let Some(several) = self.several(&name.text, arguments, row, span)? {
            let mut outputs = self.collect(several.0, row);
            return match (outputs.pop(), outputs.is_empty()) {
                (Some(only), true) => Ok(only),
                _ => {
                    let message =
                        format!("{}() gives several columns and cannot stand inside an expression", name.text);
                    self.fail(diagnostic::AGGREGATE_MISPLACED, span, message)
                }
            };
        }
        self.count_fits(&name.text, aggregate.signatures, arguments, span)?;
        let bound = self.inside(row, |binder, row| binder.arguments(&name.text, arguments, row))?;
        let built = self.aggregate_function(aggregate, &name.text, bound, span)?;
        self.collect(built, row).pop().ok_or(Stopped)
    }

    fn aggregates_allowed(&mut self, name: &str, row: &Row<'_>, span: Span) -> Bound<()> {
        match &row.aggregates {
            None => {
                let message = format!("the aggregate function {name}() is not allowed here");
                self.fail(diagnostic::AGGREGATE_MISPLACED, span, message)
            }
            Some(aggregates) if aggregates.inside => {
                let message = format!("the aggregate function {name}() cannot stand inside another aggregate");
                self.fail(diagnostic::AGGREGATE_MISPLACED, span, message)
            }
            Some(_) => Ok(()),
        }
    }

    /// Binds arguments of an aggregate: columns are allowed, aggregates are not.
    fn inside<T>(&mut self, row: &mut Row<'_>, bind: impl FnOnce(&mut Self, &mut Row<'_>) -> Bound<T>) -> Bound<T> {
        if let Some(aggregates) = row.aggregates.as_mut() {
            aggregates.inside = true;
        }
        let result = bind(self, row);
        if let Some(aggregates) = row.aggregates.as_mut() {
            aggregates.inside = false;
        }
        result
    }

    /// Registers an aggregate; gives its outputs as columns.
    fn collect(&mut self, aggregate: BoundAggregate, row: &mut Row<'_>) -> Vec<BExpr> {
        let types = aggregate.outputs();
        let is_pure = !aggregate_operands(&aggregate)
            .iter()
            .any(|operand| operand.any(|node| matches!(&node.kind, BExprKind::Call { row, .. } if !row.is_pure)));
        let Some(aggregates) = row.aggregates.as_mut() else { return Vec::new() };
        let text = format!("{aggregate:?}");
        let ids = match aggregates.known.get(&text) {
            Some(ids) if is_pure => ids.clone(),
            _ => {
                let ids: Vec<_> = types.iter().map(|_| self.fresh_id()).collect();
                aggregates.known.insert(text, ids.clone());
                aggregates.found.push((aggregate, ids.clone()));
                ids
            }
        };
        ids.into_iter().zip(types).map(|(id, ty)| BExpr { kind: BExprKind::Column(id), ty }).collect()
    }

    /// An aggregate of the registry with one value.
    fn aggregate_function(
        &mut self,
        aggregate: &'static Aggregate,
        name: &str,
        bound: Vec<(BExpr, Span)>,
        span: Span,
    ) -> Bound<BoundAggregate> {
        // Mistakes in the call are told before the refusal to serve it.
        let fitted = match aggregate.signatures {
            [] => None,
            signatures => Some(self.fit(name, signatures, bound, span)?),
        };
        let fitted = match (aggregate.imp, fitted) {
            (AggregateImp::Refused(why), _) => return self.not_served(span, format!("{name}() ({why})")),
            (AggregateImp::Function { .. }, Some(fitted)) => fitted,
            _ => return self.not_served(span, format!("{name}()")),
        };
        let name = std::iter::once(aggregate.name)
            .chain(aggregate.aliases.iter().copied())
            .find(|alias| *alias == name)
            .unwrap_or(aggregate.name);
        Ok(BoundAggregate::Function { row: AggregateRow(aggregate), name, args: fitted.args, returns: fitted.returns })
    }

    /// An aggregate that may have several outputs, with their automatic names; `None` for every other one.
    fn several(
        &mut self,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<Option<(BoundAggregate, Vec<Wanted>)>> {
        Ok(Some(match name {
            "arg_max" | "arg_min" | "argmax" | "argmin" => self.arg_extreme(name, arguments, row, span)?,
            "take_any" | "any" => self.take_any(name, arguments, row, span)?,
            "take_anyif" | "anyif" => {
                self.count(name, arguments.len(), 2, 2, span)?;
                let automatic = self.aggregate_name(name, arguments, row);
                let mut bound = self.inside(row, |binder, row| binder.arguments(name, arguments, row))?;
                let (predicate, predicate_span) = bound.pop().ok_or(Stopped)?;
                let (value, _) = bound.pop().ok_or(Stopped)?;
                if predicate.ty != KqlType::Bool {
                    let message = format!("{name}(): the predicate must be bool, but this is {}", predicate.ty);
                    return self.fail(diagnostic::ARGUMENT_TYPE, predicate_span, message);
                }
                let taken = BoundAggregate::TakeAny { values: vec![value], predicate: Some(predicate) };
                let wanted = if automatic.is_empty() { Wanted::Nameless } else { Wanted::Automatic(automatic) };
                (taken, vec![wanted])
            }
            _ => return Ok(None),
        }))
    }

    /// The values of an argument list in which `*` stands for all columns but the keys and those in `without`.
    fn starred(
        &mut self,
        arguments: &[Argument],
        row: &mut Row<'_>,
        without: &[crate::bound::ColumnId],
        mut name_of: impl FnMut(Option<String>, usize) -> Wanted,
    ) -> Bound<Vec<(BExpr, Wanted)>> {
        let mut values: Vec<(BExpr, Wanted)> = Vec::new();
        let mut starred: Vec<String> = Vec::new();
        let mut failed = false;
        for (position, argument) in arguments.iter().enumerate() {
            if matches!(argument.value.kind, ExprKind::Star) {
                let keys = row.aggregates.as_ref().map(|aggregates| aggregates.keys.clone()).unwrap_or_default();
                // Columns that the list names before are not repeated.
                let named: Vec<&str> = arguments[..position]
                    .iter()
                    .filter_map(|other| match &other.value.kind {
                        ExprKind::Name(name) => Some(name.text.as_str()),
                        _ => None,
                    })
                    .collect();
                for column in row.columns {
                    let left_out = keys.contains(&column.id)
                        || without.contains(&column.id)
                        || named.contains(&column.name.as_str());
                    if !left_out {
                        let wanted = name_of(Some(column.name.clone()), position);
                        values.push((BExpr::column(column), wanted));
                        starred.push(column.name.clone());
                    }
                }
                continue;
            }
            // Nor are those that `*` gave.
            if let ExprKind::Name(name) = &argument.value.kind
                && argument.name.is_none()
                && starred.contains(&name.text)
            {
                continue;
            }
            match self.inside(row, |binder, row| binder.expr(&argument.value, row)) {
                Ok(expr) => {
                    let wanted = match &argument.name {
                        Some(name) => Wanted::Explicit(name.text.clone()),
                        None => name_of(self.result_name(&argument.value, row), position),
                    };
                    values.push((expr, wanted));
                }
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(values) }
    }

    /// `arg_max(a, b, *)`: columns `a, b, ...`; the deprecated `argmax` has `max_a, max_a_b`.
    fn arg_extreme(
        &mut self,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<(BoundAggregate, Vec<Wanted>)> {
        let Some((first, rest)) = arguments.split_first() else {
            return self.count(name, 0, 1, usize::MAX, span).and(Err(Stopped));
        };
        let is_max = name.ends_with("max");
        let is_old = !name.contains('_');
        let prefix = if is_max { "max" } else { "min" };
        let by = self.inside(row, |binder, row| binder.expr(&first.value, row))?;
        if matches!(by.ty, KqlType::Dynamic | KqlType::Guid) {
            let message = format!("{name}(): the maximised value must be orderable, but this is {}", by.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, first.value.span, message);
        }
        let column = self.result_name(&first.value, row).unwrap_or_default();
        let by_name = match (&first.name, is_old || column.is_empty()) {
            (Some(name), _) => Wanted::Explicit(name.text.clone()),
            (None, true) => Wanted::Automatic(format!("{prefix}_{column}")),
            (None, false) => Wanted::Automatic(column.clone()),
        };
        let without: Vec<_> = match by.kind {
            BExprKind::Column(id) => vec![id],
            _ => Vec::new(),
        };
        let named = self.starred(rest, row, &without, |name, position| {
            Wanted::Automatic(match name.filter(|name| !name.is_empty()) {
                Some(name) if is_old => format!("{prefix}_{column}_{name}"),
                Some(name) => name,
                None => format!("{prefix}_{column}_arg{}", position + 1),
            })
        })?;
        let (values, mut names): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        names.insert(0, by_name);
        Ok((BoundAggregate::ArgExtreme { is_max, by, values }, names))
    }

    /// `take_any(a, b)`, `take_any(*)`: the columns themselves; the deprecated `any` has `any_a`.
    fn take_any(
        &mut self,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<(BoundAggregate, Vec<Wanted>)> {
        if arguments.is_empty() {
            return self.count(name, 0, 1, usize::MAX, span).and(Err(Stopped));
        }
        let is_old = name == "any";
        let single = arguments.len() == 1;
        let named = self.starred(arguments, row, &[], |found, position| {
            Wanted::Automatic(match found.filter(|found| !found.is_empty()) {
                Some(found) if is_old => format!("any_{found}"),
                Some(found) => found,
                None if is_old && single => "any_".to_string(),
                None => format!("any_arg{position}"),
            })
        })?;
        let (values, names) = named.into_iter().unzip();
        Ok((BoundAggregate::TakeAny { values, predicate: None }, names))
    }

    /// An item of `summarize` that is itself an aggregate with several outputs; `None` for every other item.
    pub fn tuple_aggregate(
        &mut self,
        item: &NamedExpr,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
    ) -> Bound<Option<Vec<Item>>> {
        let span = name.span;
        if self.lookup(&name.text).is_some() || find_aggregate(&name.text).is_none() {
            return Ok(None);
        }
        if matches!(name.text.as_str(), "percentiles" | "percentilesw") {
            self.aggregates_allowed(&name.text, row, span)?;
            return self.percentiles(item, name, arguments, row).map(Some);
        }
        let is_several = matches!(
            name.text.as_str(),
            "arg_max" | "arg_min" | "argmax" | "argmin" | "take_any" | "any" | "take_anyif" | "anyif"
        );
        if !is_several {
            return Ok(None);
        }
        self.aggregates_allowed(&name.text, row, span)?;
        let Some((aggregate, names)) = self.several(&name.text, arguments, row, span)? else { return Ok(None) };
        let outputs = self.collect(aggregate, row);
        self.renamed(item, outputs.into_iter().zip(names).collect(), span).map(Some)
    }

    /// Outputs with the names that the item gives to the first ones.
    pub fn renamed(&mut self, item: &NamedExpr, outputs: Vec<(BExpr, Wanted)>, span: Span) -> Bound<Vec<Item>> {
        if let Some(extra) = item.names.get(outputs.len()) {
            let message = format!("the name '{}' does not have a corresponding expression", extra.text);
            return self.fail(diagnostic::GENERAL, extra.span, message);
        }
        Ok(outputs
            .into_iter()
            .enumerate()
            .map(|(position, (expr, automatic))| {
                let wanted = match item.names.get(position) {
                    Some(name) => Wanted::Explicit(name.text.clone()),
                    None => automatic,
                };
                let span = item.names.get(position).map_or(span, |name| name.span);
                Item { wanted, expr, span }
            })
            .collect())
    }

    /// `percentiles(x, 5, 95)`: one column per percentile.
    fn percentiles(
        &mut self,
        item: &NamedExpr,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
    ) -> Bound<Vec<Item>> {
        let (single, values) = if name.text == "percentiles" { ("percentile", 1) } else { ("percentilew", 2) };
        let span = name.span;
        self.count(&name.text, arguments.len(), values + 1, usize::MAX, span)?;
        let Some(aggregate) = find_aggregate(single) else {
            return self.not_served(span, format!("{}()", name.text));
        };
        let (shared, points) = arguments.split_at(values);
        let column = self.result_name(&shared[0].value, row).unwrap_or_default();
        let mut outputs = Vec::with_capacity(points.len());
        for point in points {
            let mut call: Vec<Argument> = shared.to_vec();
            call.push(point.clone());
            let bound = self.inside(row, |binder, row| binder.arguments(&name.text, &call, row))?;
            let built = self.aggregate_function(aggregate, single, bound, span)?;
            let output = self.collect(built, row).pop().ok_or(Stopped)?;
            outputs.push((output, Wanted::Automatic(percentile_name(&column, Some(point)))));
        }
        self.renamed(item, outputs, span)
    }

    /// Refuses a key that cannot be compared for equality of groups.
    pub fn group_key(&mut self, expr: &BExpr, place: &Expr, what: &str) -> Bound<()> {
        if expr.ty != KqlType::Dynamic {
            return Ok(());
        }
        let message = format!("{what} cannot be dynamic: cast it first, for example with tostring()");
        Err(self.report(Diagnostic::new(diagnostic::GENERAL, place.span, message)))
    }
}
