//! `top-nested` where a level has `with others`. Source: top-nested-operator page.
//!
//! Every row is led down the levels. A level gives it the key and value of its kept group, or the
//! constant of the level's others; rows that a level neither keeps nor counts among others leave.
//! Rows that became others of one level are all others of the levels below: these show their own
//! constant, or nothing where they have none.

use std::sync::Arc;

use tidewater_kql::ast::TopNestedLevel;
use tidewater_kql::{KqlType, Span};

use crate::bind::names::NameTable;
use crate::bind::project::{Item, explicit};
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, JoinKind, Rel, RelOp, SortKey};

/// The hidden columns of a level: key, value, and whether the row is one of the others.
const LEVEL_COLUMNS: usize = 3;

impl Binder<'_> {
    /// Columns: key and aggregated value of each level in turn.
    pub fn top_nested_with_others(
        &mut self,
        input: &Arc<Rel>,
        levels: &[TopNestedLevel],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let visible = input.columns.len();
        let mut rows = input.clone();
        let mut named: Vec<Item> = Vec::new();
        for level in levels {
            rows = self.led_down(&rows, visible, level, &mut named, span)?;
        }
        let hidden = &rows.columns[visible..];
        let keys: Vec<BExpr> = hidden.iter().map(BExpr::column).collect();
        let columns: Vec<BoundColumn> = hidden.iter().map(|column| self.fresh_column("", column.ty)).collect();
        let distinct =
            self.rel(RelOp::Aggregate { input: rows.clone(), keys, aggregates: Vec::new() }, columns.clone(), span)?;
        let outputs = columns.chunks(LEVEL_COLUMNS).flat_map(|level| &level[..2]);
        for (item, column) in named.iter_mut().zip(outputs) {
            item.expr = BExpr::column(column);
        }
        let table = NameTable::expecting(explicit(&named));
        let named = self.named(named, table, |_| false)?;
        self.project(distinct, named, span)
    }

    /// The rows that pass a level, with the level's columns behind their hidden ones.
    fn led_down(
        &mut self,
        rows: &Arc<Rel>,
        visible: usize,
        level: &TopNestedLevel,
        named: &mut Vec<Item>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let shared = self.fresh_shared();
        // The groups of rows that are no others yet, and the first of each parent.
        let source = self.reading(shared, rows, span)?;
        let source = self.not_others(&source, visible, span)?;
        let (groups, key_ty, value_ty) = self.level_groups(&source, visible, level, named, span)?;
        let groups_id = self.fresh_shared();
        let parents = groups.columns.len() - 2;
        let mut parts = Vec::new();
        // Rows of the kept groups.
        let source = self.reading(shared, rows, span)?;
        let source = self.not_others(&source, visible, span)?;
        let kept = self.reading(groups_id, &groups, span)?;
        let pairs = self.level_pairs(&source, visible, level, &kept)?;
        let (key, value) = (kept.columns[parents].clone(), kept.columns[parents + 1].clone());
        let joined = self.join_rel(JoinKind::Inner, source.clone(), kept, pairs, span)?;
        let own = [BExpr::column(&key), BExpr::column(&value), BExpr::constant(Constant::bool(false))];
        parts.push(self.level_rows(&joined, &source.columns, own, span)?);
        if let Some(others) = &level.others {
            let bound = self.expr(others, &mut Row::none())?;
            let constant = self.constant(&bound, others.span, "'others' of 'top-nested'")?;
            let constant = self.constant_of_type(constant, key_ty, others.span, "'others' of 'top-nested'")?;
            // All the rest, with one value per parent.
            let source = self.reading(shared, rows, span)?;
            let kept = self.reading(groups_id, &groups, span)?;
            let pairs = self.level_pairs(&source, visible, level, &kept)?;
            let rest = self.join_rel(JoinKind::LeftAnti, source, kept, pairs, span)?;
            let rest_id = self.fresh_shared();
            let source = self.reading(rest_id, &rest, span)?;
            let values = self.others_values(&source, visible, level, span)?;
            let source = self.reading(rest_id, &rest, span)?;
            let pairs = path(&source, visible)
                .iter()
                .zip(&values.columns)
                .map(|(own, parent)| (BExpr::column(own), BExpr::column(parent)))
                .collect();
            let value = values.columns.last().cloned().ok_or(Stopped)?;
            let joined = self.join_rel(JoinKind::Inner, source.clone(), values, pairs, span)?;
            let own = [BExpr::constant(constant), BExpr::column(&value), BExpr::constant(Constant::bool(true))];
            parts.push(self.level_rows(&joined, &source.columns, own, span)?);
        } else if rows.columns.len() > visible {
            let source = self.reading(shared, rows, span)?;
            let flag = source.columns.last().cloned().ok_or(Stopped)?;
            let source = self.filtered(&source, BExpr::column(&flag), span)?;
            let own = [
                BExpr::constant(Constant::null(key_ty)),
                BExpr::constant(Constant::null(value_ty)),
                BExpr::constant(Constant::bool(true)),
            ];
            parts.push(self.level_rows(&source, &source.columns.clone(), own, span)?);
        }
        let columns = parts[0].columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
        self.rel(RelOp::Union { inputs: parts }, columns, span)
    }

    /// Rows that no level above counted among its others.
    fn not_others(&mut self, rows: &Arc<Rel>, visible: usize, span: Span) -> Bound<Arc<Rel>> {
        match path(rows, visible).last() {
            None => Ok(rows.clone()),
            Some(flag) => {
                let flag = BExpr { kind: BExprKind::Not(Box::new(BExpr::column(flag))), ty: KqlType::Bool };
                self.filtered(rows, flag, span)
            }
        }
    }

    /// The kept groups of a level: the parent's columns, key, value; and the types of the last two.
    fn level_groups(
        &mut self,
        source: &Arc<Rel>,
        visible: usize,
        level: &TopNestedLevel,
        named: &mut Vec<Item>,
        span: Span,
    ) -> Bound<(Arc<Rel>, KqlType, KqlType)> {
        let user = user_rel(source, visible);
        let row = Row::of(&user.columns);
        let key = self.expr(&level.of.value, &mut Row::of(&user.columns))?;
        self.group_key(&key, &level.of.value, "a key of 'top-nested'")?;
        let count = match &level.count {
            Some(count) => Some(self.row_count(count, "top-nested")?),
            None => None,
        };
        let (weight, found) = self.one_aggregate(&user, &level.by)?;
        let parent = path(source, visible);
        let mut columns: Vec<BoundColumn> = parent.iter().map(|column| self.fresh_column("", column.ty)).collect();
        let parent_ids: Vec<_> = columns.iter().map(|column| column.id).collect();
        let key_column = self.fresh_column("", key.ty);
        columns.push(key_column.clone());
        let mut result = columns.clone();
        let keys = parent.iter().map(BExpr::column).chain([key.clone()]).collect();
        let mut aggregates = Vec::with_capacity(found.found.len());
        for (aggregate, ids) in found.found {
            let types = aggregate.outputs();
            columns.extend(ids.into_iter().zip(types).map(|(id, ty)| BoundColumn { id, name: String::new(), ty }));
            aggregates.push(aggregate);
        }
        let grouped = self.rel(RelOp::Aggregate { input: source.clone(), keys, aggregates }, columns, span)?;
        let value = self.fresh_column("", weight.expr.ty);
        let items = result.iter().map(BExpr::column).chain([weight.expr.clone()]).collect();
        result.push(value.clone());
        let mut groups = self.rel(RelOp::Project { input: grouped, items }, result.clone(), span)?;
        if let Some(fetch) = count {
            let ascending = level.ascending.unwrap_or(false);
            let keys = vec![SortKey { expr: BExpr::column(&value), ascending, nulls_first: ascending }];
            groups =
                self.rel(RelOp::PartitionTop { input: groups, partition: parent_ids, keys, fetch }, result, span)?;
        }
        let (key_name, value_name) = self.level_names(level, &row);
        named.push(Item { wanted: key_name, expr: BExpr::column(&key_column), span: level.of.value.span });
        named.push(Item { wanted: value_name, expr: BExpr::column(&value), span: level.by.value.span });
        Ok((groups, key.ty, value.ty))
    }

    /// What pairs rows with their group: the parent's columns and the key.
    fn level_pairs(
        &mut self,
        source: &Rel,
        visible: usize,
        level: &TopNestedLevel,
        groups: &Rel,
    ) -> Bound<Vec<(BExpr, BExpr)>> {
        let user = user_rel(source, visible);
        let key = self.expr(&level.of.value, &mut Row::of(&user.columns))?;
        let own = path(source, visible).iter().map(BExpr::column).chain([key]);
        Ok(own.zip(groups.columns.iter().map(BExpr::column)).collect())
    }

    /// The aggregated value of each parent's rows: the parent's columns, then the value.
    fn others_values(
        &mut self,
        source: &Arc<Rel>,
        visible: usize,
        level: &TopNestedLevel,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let user = user_rel(source, visible);
        let (weight, found) = self.one_aggregate(&user, &level.by)?;
        let parent = path(source, visible);
        let mut keys: Vec<BExpr> = parent.iter().map(BExpr::column).collect();
        let mut columns: Vec<BoundColumn> = parent.iter().map(|column| self.fresh_column("", column.ty)).collect();
        if keys.is_empty() {
            // A group for no rows would be a row too many.
            keys.push(BExpr::constant(Constant::bool(true)));
            columns.push(self.fresh_column("", KqlType::Bool));
        }
        let mut result: Vec<BoundColumn> = columns[..parent.len()].to_vec();
        let mut aggregates = Vec::with_capacity(found.found.len());
        for (aggregate, ids) in found.found {
            let types = aggregate.outputs();
            columns.extend(ids.into_iter().zip(types).map(|(id, ty)| BoundColumn { id, name: String::new(), ty }));
            aggregates.push(aggregate);
        }
        let grouped = self.rel(RelOp::Aggregate { input: source.clone(), keys, aggregates }, columns, span)?;
        let items = result.iter().map(BExpr::column).chain([weight.expr.clone()]).collect();
        result.push(self.fresh_column("", weight.expr.ty));
        self.rel(RelOp::Project { input: grouped, items }, result, span)
    }

    /// The rows' columns with those of a level behind them.
    fn level_rows(
        &mut self,
        rows: &Arc<Rel>,
        columns: &[BoundColumn],
        own: [BExpr; LEVEL_COLUMNS],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut result = columns.to_vec();
        result.extend(own.iter().map(|expr| self.fresh_column("", expr.ty)));
        let items = columns.iter().map(BExpr::column).chain(own).collect();
        self.rel(RelOp::Project { input: rows.clone(), items }, result, span)
    }
}

/// The hidden columns of the levels above.
fn path(rows: &Rel, visible: usize) -> &[BoundColumn] {
    &rows.columns[visible.min(rows.columns.len())..]
}

/// The relation with the user's columns only, for looking names up.
fn user_rel(rows: &Rel, visible: usize) -> Arc<Rel> {
    let mut rel = rows.clone();
    rel.columns.truncate(visible);
    Arc::new(rel)
}
