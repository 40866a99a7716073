//! `mv-expand` and `mv-apply`. Source: their pages; kql-behaviour section 13.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, MvItem, NamedExpr, Pipeline, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::names::{DuplicateName, NameTable, Wanted};
use crate::bind::partitioned::{Partition, is_row_wise};
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, ColumnId, Constant, JoinKind, MvExpandItem, Rel, RelOp, WindowFunction};

/// The expansion of a relation before its columns are put in their places.
struct Expansion {
    rel: Arc<Rel>,
    /// Final names and values of the expanded columns, the item index last.
    named: Vec<(String, BExpr)>,
    /// Columns of the input that are expanded under their own name.
    in_place: Vec<ColumnId>,
}

impl Binder<'_> {
    /// `mv-expand`.
    pub fn mv_expand_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        items: &[MvItem],
        limit: Option<&Expr>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let expansion = self.expansion(input, parameters, items, limit, span)?;
        self.extended(expansion.rel, &input.columns, expansion.named, span)
    }

    fn expansion(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        items: &[MvItem],
        limit: Option<&Expr>,
        span: Span,
    ) -> Bound<Expansion> {
        let bag_as_array = match self.word(parameters, &["kind", "bagexpansion"]) {
            None => false,
            Some((_, Some(word))) if word == "bag" => false,
            Some((_, Some(word))) if word == "array" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "the kinds of expansion are 'bag' and 'array'");
            }
        };
        let limit = match limit {
            Some(limit) => Some(self.row_count(limit, "limit")?),
            None => None,
        };
        let mut expanded = Vec::with_capacity(items.len());
        let mut wanted = Vec::with_capacity(items.len());
        let mut in_place = Vec::new();
        let mut failed = false;
        for item in items {
            let mut row = Row::of(&input.columns);
            let Ok(value) = self.expr(&item.value, &mut row) else {
                failed = true;
                continue;
            };
            if value.ty != KqlType::Dynamic {
                let message = format!("an expanded value must be dynamic, but this is {}", value.ty);
                self.report(tidewater_kql::Diagnostic::new("SEM0447", item.value.span, message));
                failed = true;
                continue;
            }
            if let (ExprKind::Name(name), None) = (&item.value.kind, &item.name)
                && let Some(column) = input.column(&name.text)
            {
                in_place.push(column.id);
            }
            let named =
                NamedExpr { names: item.name.iter().cloned().collect(), tuple: false, value: item.value.clone() };
            wanted.push((self.wanted(&named, &row), item.value.span));
            expanded.push(MvExpandItem { value, bag_as_array, to: item.to.filter(|to| *to != KqlType::Dynamic) });
        }
        if failed {
            return Err(Stopped);
        }
        let index = self.word(parameters, &["with_itemindex"]).and_then(|(_, word)| word);
        let mut columns = input.columns.clone();
        let explicit = wanted.iter().filter_map(|(wanted, _)| match wanted {
            Wanted::Explicit(name) => Some(name.as_str()),
            _ => None,
        });
        let mut table = NameTable::expecting(explicit);
        let mut named = Vec::with_capacity(expanded.len() + 1);
        for (item, (wanted, item_span)) in expanded.iter().zip(&wanted) {
            let name = match table.give(wanted, |name| input.column(name).is_some()) {
                Ok(name) => name,
                Err(DuplicateName(name)) => return Err(self.duplicate_column(&name, *item_span)),
            };
            let column = self.fresh_column(&name, item.to.unwrap_or(KqlType::Dynamic));
            named.push((name, BExpr::column(&column)));
            columns.push(column);
        }
        if let Some(index) = &index {
            for column in &input.columns {
                table.reserve(&column.name);
            }
            let name = table.give(&Wanted::Automatic(index.clone()), |_| false).unwrap_or_else(|name| name.0);
            let column = self.fresh_column(&name, KqlType::Long);
            named.push((name, BExpr::column(&column)));
            columns.push(column);
        }
        let op = RelOp::MvExpand { input: input.clone(), items: expanded, has_index: index.is_some(), limit };
        let rel = self.rel(op, columns, span)?;
        Ok(Expansion { rel, named, in_place })
    }

    /// `mv-apply items on (pipeline)`: the pipeline sees the expansion of one input row at a time.
    ///
    /// Row-wise pipelines run over the whole expansion with the input's columns carried along; others run per
    /// number of the input row, and their rows are joined to it.
    pub fn mv_apply_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        items: &[MvItem],
        limit: Option<&Expr>,
        on: &Pipeline,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let base = self.relabeled(input, span)?;
        let expansion = self.expansion(&base, parameters, items, limit, span)?;
        let visible = self.extended(expansion.rel.clone(), &base.columns, expansion.named.clone(), span)?;
        let source = self.columns_only(&visible, &visible.columns, span)?;
        // The elements stand in the order of their array, so window functions may be used on them.
        let source = Arc::new(Rel { is_serialized: true, ..(*source).clone() });
        let body = self.subquery(&visible, source, &on.operators, span)?;
        // Columns that are expanded in place come from the body only.
        let kept: Vec<BoundColumn> =
            base.columns.iter().filter(|column| !expansion.in_place.contains(&column.id)).cloned().collect();
        let named: Vec<(String, BExpr)> =
            body.columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        if is_row_wise(&body, &visible) {
            let carry: Vec<BoundColumn> =
                kept.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
            let inner = self.beside_visible(&visible, &expansion.rel, &kept, &carry, span)?;
            let partition = Partition::new(visible, inner, carry, None);
            let (rel, carried) = self.partitioned(&body, partition, span)?;
            return self.extended(rel, &carried, named, span);
        }
        let numbered = self.numbered(input, span)?;
        let shared = self.fresh_shared();
        let left = self.reading(shared, &numbered, span)?;
        let groups = self.reading(shared, &numbered, span)?;
        let number = self.fresh_column("", KqlType::Long);
        let right_columns = base.columns.iter().cloned().chain([number.clone()]).collect();
        let right = self.rel(RelOp::Shared { id: shared, rel: numbered }, right_columns, span)?;
        // The number goes through the expansion beside the columns.
        let expanded = self.with_hidden(&expansion.rel, &right, base.columns.len())?;
        let carry = vec![self.fresh_column("", KqlType::Long)];
        let inner = self.beside_visible(&visible, &expanded, std::slice::from_ref(&number), &carry, span)?;
        let (left_number, left_columns) = split_number(&left)?;
        let (group, _) = split_number(&groups)?;
        let groups = Some(self.columns_only(&groups, &[group], span)?);
        let partition = Partition::new(visible, inner, carry, groups);
        let (rel, carried) = self.partitioned(&body, partition, span)?;
        let keys = vec![(BExpr::column(&left_number), BExpr::column(&carried[0]))];
        let joined = self.join_rel(JoinKind::Inner, left, rel, keys, span)?;
        let kept: Vec<BoundColumn> =
            left_columns.into_iter().filter(|column| kept.iter().any(|kept| kept.name == column.name)).collect();
        self.extended(joined, &kept, named, span)
    }

    /// The visible columns of an expansion with copies of further ones behind them.
    fn beside_visible(
        &mut self,
        visible: &Rel,
        expanded: &Arc<Rel>,
        originals: &[BoundColumn],
        carry: &[BoundColumn],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let RelOp::Project { items, .. } = &visible.op else { return Err(Stopped) };
        let items = items.iter().cloned().chain(originals.iter().map(BExpr::column)).collect();
        let columns = visible.columns.iter().chain(carry).cloned().collect();
        self.rel(RelOp::Project { input: expanded.clone(), items }, columns, span)
    }

    /// The rows with a number behind their columns.
    fn numbered(&mut self, input: &Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let mut columns = input.columns.clone();
        columns.push(self.fresh_column("", KqlType::Long));
        let functions = vec![WindowFunction::RowNumber { start: Constant::long(1), restart: None }];
        self.rel(RelOp::Window { input: input.clone(), partition: Vec::new(), functions }, columns, span)
    }

    /// One more reading of a shared relation.
    pub fn reading(&mut self, id: crate::bound::SharedId, rel: &Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let columns = rel.columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
        self.rel(RelOp::Shared { id, rel: rel.clone() }, columns, span)
    }

    /// The expansion over the whole input, where it was bound over its first `visible` columns only.
    fn with_hidden(&mut self, expansion: &Arc<Rel>, whole: &Arc<Rel>, visible: usize) -> Bound<Arc<Rel>> {
        let RelOp::MvExpand { items, has_index, limit, .. } = &expansion.op else { return Err(Stopped) };
        let op = RelOp::MvExpand { input: whole.clone(), items: items.clone(), has_index: *has_index, limit: *limit };
        let columns = whole.columns.iter().chain(&expansion.columns[visible..]).cloned().collect();
        self.rel(op, columns, Span::default())
    }
}

/// The number column and the columns before it.
fn split_number(rel: &Rel) -> Bound<(BoundColumn, Vec<BoundColumn>)> {
    match rel.columns.split_last() {
        Some((number, columns)) => Ok((number.clone(), columns.to_vec())),
        None => Err(Stopped),
    }
}
