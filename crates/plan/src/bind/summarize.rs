//! `summarize`, `distinct`, `count`. Source: summarize-operator page; kql-behaviour sections 5, 10, 13.

use std::sync::Arc;

use tidewater_functions::find_aggregate;
use tidewater_kql::ast::{Argument, Expr, ExprKind, Name, NamedExpr, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::names::{NameTable, Wanted};
use crate::bind::project::{Item, explicit};
use crate::bind::row::{Aggregates, Row};
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{AggregateRow, BExpr, BExprKind, BoundAggregate, BoundColumn, Rel, RelOp};

impl Binder<'_> {
    /// `summarize aggregates by keys`: keys first, then aggregates, in the order written.
    pub fn summarize_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        aggregates: &[NamedExpr],
        by: &[NamedExpr],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        self.check_hints("summarize", parameters, &[&input.columns])?;
        let keys = match parameters.iter().find(|parameter| parameter.name.text == "bin") {
            None => self.keys(input, by, "a key of 'summarize'"),
            Some(size) => self.keys_with_bin(input, by, size),
        };
        let mut row = Row::with_aggregates(&input.columns);
        if let (Some(found), Ok(keys)) = (row.aggregates.as_mut(), &keys) {
            found.keys = bare_columns(keys);
        }
        let items = self.items(aggregates, &mut row);
        let (keys, items) = (keys?, items?);
        let found = row.aggregates.take().unwrap_or_default();
        self.grouped(input, keys, items, found, span)
    }

    /// The old way to give the size of a bin: `by t bin=1h` is `by bin(t, 1h)`.
    ///
    /// Which of several keys it means is not published. It stands behind the last one: where no other key could be
    /// cut by such a size, there is nothing else that it could mean.
    fn keys_with_bin(&mut self, input: &Arc<Rel>, by: &[NamedExpr], size: &Property) -> Bound<Vec<Item>> {
        let Some((last, others)) = by.split_last() else { return Err(Stopped) };
        if !others.is_empty() {
            let size_type = self.expr(&size.value, &mut Row::none())?.ty;
            let is_cut = |key: &Item| match size_type {
                KqlType::TimeSpan => matches!(key.expr.ty, KqlType::DateTime | KqlType::TimeSpan),
                _ => key.expr.ty.is_numeric(),
            };
            if self.keys(input, others, "a key of 'summarize'")?.iter().any(is_cut) {
                let what = "'bin=' after several keys of 'summarize' that it could cut (bin() does it for one)";
                return self.not_served(size.name.span, what);
            }
        }
        let name = Name { text: "bin".into(), span: size.name.span };
        let argument = |value: &Expr| Argument { name: None, value: value.clone() };
        let arguments = vec![argument(&last.value), argument(&size.value)];
        let kind = ExprKind::Call { base: None, name, arguments };
        let value = Expr { kind, span: last.value.span };
        let cut = NamedExpr { value, ..last.clone() };
        let all: Vec<NamedExpr> = others.iter().cloned().chain([cut]).collect();
        self.keys(input, &all, "a key of 'summarize'")
    }

    /// Keys of a grouping: any expression of the input but a dynamic one.
    pub fn keys(&mut self, input: &Arc<Rel>, by: &[NamedExpr], what: &str) -> Bound<Vec<Item>> {
        let mut row = Row::of(&input.columns);
        let mut items = self.items(by, &mut row)?;
        let mut failed = false;
        for (item, key) in items.iter_mut().zip(by) {
            // A variable is a key without a name of its own. Source: kql-behaviour section 5.
            if let (ExprKind::Name(name), true) = (&key.value.kind, key.names.is_empty())
                && input.column(&name.text).is_none()
            {
                item.wanted = Wanted::Nameless;
            }
            failed |= self.group_key(&item.expr, &key.value, what).is_err();
        }
        if failed { Err(Stopped) } else { Ok(items) }
    }

    /// Groups by keys and puts the items, which refer to the collected aggregates, on top.
    pub fn grouped(
        &mut self,
        input: &Arc<Rel>,
        keys: Vec<Item>,
        items: Vec<Item>,
        found: Aggregates,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let key_exprs: Vec<BExpr> = keys.iter().map(|key| key.expr.clone()).collect();
        let mut columns = Vec::with_capacity(key_exprs.len());
        let mut seen = std::collections::HashSet::new();
        for expr in &key_exprs {
            let id = match expr.kind {
                BExprKind::Column(id) if seen.insert(id) => id,
                _ => self.fresh_id(),
            };
            columns.push(BoundColumn { id, name: String::new(), ty: expr.ty });
        }
        let mut all: Vec<Item> =
            keys.into_iter().zip(&columns).map(|(key, column)| Item { expr: BExpr::column(column), ..key }).collect();
        all.extend(items);
        let mut aggregates = Vec::with_capacity(found.found.len());
        for (aggregate, ids) in found.found {
            let outputs = aggregate.outputs();
            columns.extend(ids.into_iter().zip(outputs).map(|(id, ty)| BoundColumn { id, name: String::new(), ty }));
            aggregates.push(aggregate);
        }
        let table = NameTable::expecting(explicit(&all));
        let named = self.named(all, table, |name| input.column(name).is_some())?;
        let grouped =
            self.rel(RelOp::Aggregate { input: input.clone(), keys: key_exprs, aggregates }, columns, span)?;
        self.project(grouped, named, span)
    }

    /// `distinct`: the keys of a `summarize`; `*` is every column.
    pub fn distinct_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        list: &[NamedExpr],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        self.check_hints("distinct", parameters, &[&input.columns])?;
        let mut keys = Vec::with_capacity(list.len());
        let mut failed = false;
        for item in list {
            match self.distinct_items(input, item) {
                Ok(found) => keys.extend(found),
                Err(Stopped) => failed = true,
            }
        }
        if failed {
            return Err(Stopped);
        }
        self.grouped(input, keys, Vec::new(), Aggregates::default(), span)
    }

    fn distinct_items(&mut self, input: &Arc<Rel>, item: &NamedExpr) -> Bound<Vec<Item>> {
        if matches!(item.value.kind, ExprKind::Star) {
            let mut items = Vec::with_capacity(input.columns.len());
            for column in &input.columns {
                let expr = BExpr::column(column);
                self.group_key(&expr, &item.value, &format!("column '{}'", column.name))?;
                // A column named again behind the star gets a suffix.
                items.push(Item { wanted: Wanted::Automatic(column.name.clone()), expr, span: item.value.span });
            }
            return Ok(items);
        }
        let mut keys = self.keys(input, std::slice::from_ref(item), "a column of 'distinct'")?;
        for key in keys.iter_mut().filter(|_| item.names.is_empty()) {
            match &item.value.kind {
                // Measured: `gettype(x)` has no name of its own here. Source: kql-behaviour section 5.
                ExprKind::Call { base: None, name, .. } if name.text == "gettype" => key.wanted = Wanted::Nameless,
                // Unlike `by`, `distinct` names a column after a variable.
                ExprKind::Name(name) => key.wanted = Wanted::Explicit(name.text.clone()),
                _ => {}
            }
        }
        Ok(keys)
    }

    /// `count [as name]`.
    pub fn count_operator(&mut self, input: &Arc<Rel>, name: Option<&Name>, span: Span) -> Bound<Arc<Rel>> {
        let aggregate = self.count_aggregate(span)?;
        let name = name.map_or("Count", |name| name.text.as_str());
        let columns = vec![self.fresh_column(name, KqlType::Long)];
        self.rel(
            RelOp::Aggregate { input: input.clone(), keys: Vec::new(), aggregates: vec![aggregate] },
            columns,
            span,
        )
    }

    /// `count()`.
    pub fn count_aggregate(&mut self, span: Span) -> Bound<BoundAggregate> {
        self.plain_aggregate("count", Vec::new(), span)
    }

    /// An aggregate on a bound argument, for relations that the binder makes itself.
    pub fn plain_aggregate(&mut self, name: &'static str, args: Vec<BExpr>, span: Span) -> Bound<BoundAggregate> {
        let Some(row) = find_aggregate(name) else {
            return self.not_served(span, format!("{name}()"));
        };
        let args = args.into_iter().map(|arg| (arg, span)).collect();
        let fitted = self.fit(name, row.signatures, args, span)?;
        Ok(BoundAggregate::Function {
            row: AggregateRow(row),
            name: row.name,
            args: fitted.args,
            returns: fitted.returns,
        })
    }

    /// One aggregate expression over an input (`top-nested ... by sum(x)`, `make-series`): the aggregates found and the value made of them.
    pub fn one_aggregate(&mut self, input: &Arc<Rel>, item: &NamedExpr) -> Bound<(Item, Aggregates)> {
        let mut row = Row::with_aggregates(&input.columns);
        let mut items = self.items(std::slice::from_ref(item), &mut row)?;
        let found = row.aggregates.take().unwrap_or_default();
        match (items.pop(), items.is_empty()) {
            (Some(only), true) => Ok((only, found)),
            _ => self.fail(
                diagnostic::AGGREGATE_MISPLACED,
                item.value.span,
                "an aggregate with one value is expected here",
            ),
        }
    }
}

/// The input's columns that stand bare among keys.
fn bare_columns(keys: &[Item]) -> Vec<crate::bound::ColumnId> {
    keys.iter()
        .filter_map(|key| match key.expr.kind {
            BExprKind::Column(id) => Some(id),
            _ => None,
        })
        .collect()
}
