//! `top-nested`. Source: top-nested-operator page; kql-behaviour section 13.
//!
//! Each level groups the input by its key and those above it, keeps the groups whose parents were
//! kept, and of those the first n inside each parent.

use std::sync::Arc;

use tidewater_kql::Span;
use tidewater_kql::ast::TopNestedLevel;

use crate::bind::names::{NameTable, Wanted};
use crate::bind::project::{Item, explicit};
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, JoinKind, Rel, RelOp, SortKey};

impl Binder<'_> {
    /// Columns: key and aggregated value of each level in turn.
    pub fn top_nested(&mut self, input: &Arc<Rel>, levels: &[TopNestedLevel], span: Span) -> Bound<Arc<Rel>> {
        if levels.iter().any(|level| level.others.is_some()) {
            return self.top_nested_with_others(input, levels, span);
        }
        let shared = self.fresh_shared();
        let mut kept: Option<(Arc<Rel>, Vec<BoundColumn>)> = None;
        let mut outputs: Vec<Item> = Vec::new();
        for depth in 0..levels.len() {
            let source = self.reading(shared, input, span)?;
            let (rel, keys) = self.nested_level(&source, &levels[..=depth], kept.take(), &mut outputs, span)?;
            kept = Some((rel, keys));
        }
        let Some((rel, _)) = kept else { return Err(Stopped) };
        let table = NameTable::expecting(explicit(&outputs));
        let named = self.named(outputs, table, |_| false)?;
        self.project(rel, named, span)
    }

    /// One level over a reading of the input: the kept groups with all values so far, and the key columns.
    fn nested_level(
        &mut self,
        source: &Arc<Rel>,
        levels: &[TopNestedLevel],
        parents: Option<(Arc<Rel>, Vec<BoundColumn>)>,
        outputs: &mut Vec<Item>,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        let Some((level, _)) = levels.split_last() else { return Err(Stopped) };
        let mut row = Row::of(&source.columns);
        let mut keys = Vec::with_capacity(levels.len());
        for level in levels {
            let expr = self.expr(&level.of.value, &mut row)?;
            self.group_key(&expr, &level.of.value, "a key of 'top-nested'")?;
            keys.push(expr);
        }
        let count = match &level.count {
            Some(count) => Some(self.row_count(count, "top-nested")?),
            None => None,
        };
        let (weight, found) = self.one_aggregate(source, &level.by)?;
        let key_columns: Vec<BoundColumn> = keys.iter().map(|key| self.fresh_column("", key.ty)).collect();
        let mut columns = key_columns.clone();
        let mut aggregates = Vec::with_capacity(found.found.len());
        for (aggregate, ids) in found.found {
            let types = aggregate.outputs();
            columns.extend(ids.into_iter().zip(types).map(|(id, ty)| BoundColumn { id, name: String::new(), ty }));
            aggregates.push(aggregate);
        }
        let mut rel = self.rel(RelOp::Aggregate { input: source.clone(), keys, aggregates }, columns, span)?;
        // The value may be an expression of aggregates.
        let value = self.fresh_column("", weight.expr.ty);
        let mut items: Vec<BExpr> = key_columns.iter().map(BExpr::column).collect();
        items.push(weight.expr);
        let valued: Vec<BoundColumn> = key_columns.iter().chain([&value]).cloned().collect();
        rel = self.rel(RelOp::Project { input: rel, items }, valued, span)?;
        let parent_columns = key_columns[..key_columns.len() - 1].to_vec();
        if let Some((parent, parent_keys)) = parents {
            let pairs = parent_keys
                .iter()
                .zip(&parent_columns)
                .map(|(parent, own)| (BExpr::column(parent), BExpr::column(own)))
                .collect();
            rel = self.join_rel(JoinKind::Inner, parent, rel, pairs, span)?;
        }
        if let Some(fetch) = count {
            let ascending = level.ascending.unwrap_or(false);
            let keys = vec![SortKey { expr: BExpr::column(&value), ascending, nulls_first: ascending }];
            let partition = parent_columns.iter().map(|column| column.id).collect();
            let columns = rel.columns.clone();
            rel = self.rel(RelOp::PartitionTop { input: rel, partition, keys, fetch }, columns, span)?;
        }
        let Some(key) = key_columns.last() else { return Err(Stopped) };
        let (key_name, value_name) = self.level_names(level, &row);
        outputs.push(Item { wanted: key_name, expr: BExpr::column(key), span: level.of.value.span });
        outputs.push(Item { wanted: value_name, expr: BExpr::column(&value), span: level.by.value.span });
        Ok((rel, key_columns))
    }

    /// What the columns of a level want to be called.
    pub fn level_names(&self, level: &TopNestedLevel, row: &Row<'_>) -> (Wanted, Wanted) {
        let key = self.wanted(&level.of, row);
        let value = match level.by.names.first() {
            Some(name) => Wanted::Explicit(name.text.clone()),
            None => {
                let column = match &key {
                    Wanted::Explicit(name) | Wanted::Automatic(name) => name.clone(),
                    Wanted::Nameless => String::new(),
                };
                Wanted::Automatic(format!("aggregated_{column}"))
            }
        };
        (key, value)
    }
}
