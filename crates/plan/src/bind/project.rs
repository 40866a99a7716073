//! `project`, `extend`, `print`, `serialize`: lists of named expressions.
//!
//! Every expression sees the operator's input only. Source: project, extend, print pages; kql-behaviour sections 5 and 13.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, NamedExpr};
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::names::{DuplicateName, NameTable, Wanted};
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, Rel};

/// A bound item: the name it wants, its value, and where it stands.
pub(crate) struct Item {
    pub wanted: Wanted,
    pub expr: BExpr,
    pub span: Span,
}

impl Binder<'_> {
    /// Binds a list; reports the mistakes of all items.
    pub fn items(&mut self, list: &[NamedExpr], row: &mut Row<'_>) -> Bound<Vec<Item>> {
        let mut items = Vec::with_capacity(list.len());
        let mut failed = false;
        for item in list {
            if self.item(item, row, &mut items).is_err() {
                failed = true;
            }
        }
        if failed { Err(Stopped) } else { Ok(items) }
    }

    fn item(&mut self, item: &NamedExpr, row: &mut Row<'_>, items: &mut Vec<Item>) -> Bound<()> {
        if let Some(outputs) = self.tuple_call(item, row)? {
            items.extend(outputs);
            return Ok(());
        }
        if item.names.len() > 1 {
            let extra = &item.names[1];
            let message = format!("the name '{}' does not have a corresponding expression", extra.text);
            return self.fail(diagnostic::GENERAL, extra.span, message);
        }
        let expr = self.expr(&item.value, row)?;
        let wanted = self.wanted(item, row);
        let span = item.names.first().map_or(item.value.span, |name| name.span);
        items.push(Item { wanted, expr, span });
        Ok(())
    }

    /// Final names for items, in their order.
    pub fn named(
        &mut self,
        items: Vec<Item>,
        mut table: NameTable,
        avoid: impl Fn(&str) -> bool,
    ) -> Bound<Vec<(String, BExpr)>> {
        let mut named = Vec::with_capacity(items.len());
        let mut failed = false;
        for item in items {
            match table.give(&item.wanted, &avoid) {
                Ok(name) => named.push((name, item.expr)),
                Err(DuplicateName(name)) => {
                    self.duplicate_column(&name, item.span);
                    failed = true;
                }
            }
        }
        if failed { Err(Stopped) } else { Ok(named) }
    }

    /// `project`.
    pub fn project_operator(&mut self, input: &Arc<Rel>, list: &[NamedExpr], span: Span) -> Bound<Arc<Rel>> {
        let mut row = Row::with_windows(&input.columns, input.is_serialized);
        let items = self.items(list, &mut row)?;
        let table = NameTable::expecting(explicit(&items));
        let named = self.named(items, table, |_| false)?;
        let source = self.with_windows(input.clone(), row.windows.take(), span)?;
        self.project(source, named, span)
    }

    /// `extend`: a name of the input is replaced in its place, others are appended.
    pub fn extend_operator(&mut self, input: &Arc<Rel>, list: &[NamedExpr], span: Span) -> Bound<Arc<Rel>> {
        let mut row = Row::with_windows(&input.columns, input.is_serialized);
        let items = self.items(list, &mut row)?;
        let named = self.extend_names(items, input)?;
        let source = self.with_windows(input.clone(), row.windows.take(), span)?;
        self.extended(source, &input.columns, named, span)
    }

    /// Names of the items of `extend`: one that is taken, by the input or by an item before, is replaced rather than
    /// numbered; only writing a name twice is a mistake. Source: the reference parser.
    fn extend_names(&mut self, items: Vec<Item>, input: &Rel) -> Bound<Vec<(String, BExpr)>> {
        let mut named = Vec::with_capacity(items.len());
        let mut written = std::collections::HashSet::new();
        let mut nameless = 0;
        let mut failed = false;
        for item in items {
            let name = match item.wanted {
                Wanted::Explicit(name) => {
                    if !written.insert(name.clone()) {
                        self.duplicate_column(&name, item.span);
                        failed = true;
                        continue;
                    }
                    name
                }
                Wanted::Automatic(name) => name,
                Wanted::Nameless => loop {
                    nameless += 1;
                    let name = format!("Column{nameless}");
                    if input.column(&name).is_none() {
                        break name;
                    }
                },
            };
            named.push((name, item.expr));
        }
        if failed { Err(Stopped) } else { Ok(named) }
    }

    /// The columns of an input with some replaced in place and others appended.
    pub fn extended(
        &mut self,
        source: Arc<Rel>,
        columns: &[BoundColumn],
        named: Vec<(String, BExpr)>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut result: Vec<(String, BExpr)> =
            columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        let mut positions: std::collections::HashMap<String, usize> =
            result.iter().enumerate().map(|(position, (name, _))| (name.clone(), position)).collect();
        for (name, expr) in named {
            match positions.get(&name) {
                Some(position) => result[*position].1 = expr,
                None => {
                    positions.insert(name.clone(), result.len());
                    result.push((name, expr));
                }
            }
        }
        self.project(source, result, span)
    }

    /// `print`: nameless items are `print_N` by their place in the whole list.
    pub fn print_operator(&mut self, list: &[NamedExpr], span: Span) -> Bound<Arc<Rel>> {
        let input = self.one_row(span)?;
        let mut row = Row::none();
        let mut items = Vec::with_capacity(list.len());
        let mut failed = false;
        for (position, item) in list.iter().enumerate() {
            let first = items.len();
            if self.item(item, &mut row, &mut items).is_err() {
                failed = true;
                continue;
            }
            // Of several values `print` shows as many as have names, unless none has. Source: the reference parser.
            if !item.names.is_empty() {
                items.truncate(first + item.names.len());
            }
            if item.names.is_empty() && items.len() == first + 1 {
                items[first].wanted = Wanted::Automatic(format!("print_{position}"));
            }
        }
        if failed {
            return Err(Stopped);
        }
        let table = NameTable::expecting(explicit(&items));
        let named = self.named(items, table, |_| false)?;
        self.project(input, named, span)
    }

    /// `serialize [items]`: the rows keep the order they have, and window functions may follow.
    pub fn serialize_operator(&mut self, input: &Arc<Rel>, list: &[NamedExpr], span: Span) -> Bound<Arc<Rel>> {
        let marked = Arc::new(Rel { is_serialized: true, ..(**input).clone() });
        if list.is_empty() { Ok(marked) } else { self.extend_operator(&marked, list, span) }
    }

    /// A call with several values (`(a, b) = f(x)`), outside `summarize`; `None` for every other item.
    fn tuple_call(&mut self, item: &NamedExpr, row: &mut Row<'_>) -> Bound<Option<Vec<Item>>> {
        let ExprKind::Call { base: None, name, arguments } = &item.value.kind else { return Ok(None) };
        if row.aggregates.is_some() {
            return self.tuple_aggregate(item, name, arguments, row);
        }
        self.tuple_scalar(item, name, arguments, row)
    }

    /// A column of the input by its bare name, for operators that take nothing else.
    pub fn plain_column(&mut self, expr: &Expr, columns: &[BoundColumn]) -> Bound<BoundColumn> {
        let ExprKind::Name(name) = &expr.kind else {
            return self.fail(diagnostic::GENERAL, expr.span, "the name of a column is expected here");
        };
        match columns.iter().find(|column| column.name == name.text) {
            Some(column) => Ok(column.clone()),
            None => Err(self.unresolved_column(&name.text, columns, name.span)),
        }
    }

    /// No column has this name.
    pub fn unresolved_column(&mut self, name: &str, columns: &[BoundColumn], span: Span) -> Stopped {
        let diagnostic =
            Diagnostic::new(diagnostic::UNRESOLVED, span, format!("Failed to resolve column named '{name}'"))
                .hint_nearest(name, columns.iter().map(|column| column.name.as_str()));
        self.report(diagnostic)
    }
}

/// The explicit names of a list.
pub(crate) fn explicit(items: &[Item]) -> Vec<&str> {
    items
        .iter()
        .filter_map(|item| match &item.wanted {
            Wanted::Explicit(name) => Some(name.as_str()),
            _ => None,
        })
        .collect()
}
