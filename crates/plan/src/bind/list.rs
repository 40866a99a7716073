//! `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`. Source: in-operator, has-any-operator pages; kql-behaviour sections 7 and 9.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, InOp};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::conversion::widest;
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, MAX_IN_VALUES, Stopped};
use crate::bound::{BExpr, BExprKind, InItem, Known, NeedWhat};

/// The code of a table whose values are not of the operand's type. Source: recorded answers.
const WRONG_TYPE: &str = "SEM0025";

impl Binder<'_> {
    /// A list operator.
    pub fn in_list(&mut self, op: InOp, operand: &Expr, list: &[Expr], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let operand_bound = self.expr(operand, row);
        let mut scalars = Vec::new();
        let mut tables = Vec::new();
        let mut failed = operand_bound.is_err();
        for item in list {
            let is_column = matches!(&item.kind, ExprKind::Name(name) if row.column(&name.text).is_some());
            if !is_column && self.is_tabular(item) {
                tables.push(item);
                continue;
            }
            match self.expr(item, row) {
                Ok(expr) => scalars.push((expr, item.span)),
                Err(Stopped) => failed = true,
            }
        }
        let mut operand = operand_bound?;
        if failed {
            return Err(Stopped);
        }
        let is_text = !matches!(op, InOp::In | InOp::NotIn);
        if is_text {
            if !matches!(operand.ty, KqlType::String | KqlType::Dynamic) {
                let message =
                    format!("operator '{}' needs a string on the left, but this is {}", op.text(), operand.ty);
                return self.fail(diagnostic::OPERAND_TYPE, span, message);
            }
            operand = self.convert(operand, KqlType::String);
        } else if operand.ty == KqlType::Dynamic
            && tables.is_empty()
            && scalars.iter().all(|(item, _)| item.ty == KqlType::String)
        {
            // Among strings a dynamic is read as its text, as beside one.
            operand = self.convert(operand, KqlType::String);
        } else {
            operand = self.widened_operand(operand, &scalars);
        }
        let ty = operand.ty;
        let mut items = Vec::with_capacity(list.len());
        for (expr, span) in scalars {
            items.push(self.in_item(op, ty, expr, span)?);
        }
        let mut waiting = false;
        for table in tables {
            match self.in_table(ty, table)? {
                Some(item) => items.push(item),
                None => waiting = true,
            }
        }
        if waiting {
            // The list is not known yet; the expression's type is.
            let key = crate::bound::NeedKey(u64::MAX);
            return Ok(BExpr { kind: BExprKind::Needed(key), ty: KqlType::Bool });
        }
        Ok(BExpr { kind: BExprKind::InList { op, operand: Box::new(operand), items }, ty: KqlType::Bool })
    }

    /// The operand, widened when an item is of a wider number type that it cannot hold exactly (`2 in (2.0)`).
    fn widened_operand(&mut self, operand: BExpr, items: &[(BExpr, Span)]) -> BExpr {
        if !operand.ty.is_numeric() {
            return operand;
        }
        let mut ty = operand.ty;
        for (item, _) in items {
            if item.ty.is_numeric() && !matches!(self.convert(item.clone(), ty).kind, BExprKind::Constant(_)) {
                ty = widest(ty, item.ty).unwrap_or(ty);
            }
        }
        self.convert(operand, ty)
    }

    fn in_item(&mut self, op: InOp, ty: KqlType, item: BExpr, span: Span) -> Bound<InItem> {
        if item.ty == KqlType::Dynamic {
            return Ok(InItem::Elements(item));
        }
        if ty == item.ty || ty == KqlType::Dynamic {
            return Ok(InItem::One(item));
        }
        if matches!(op, InOp::HasAny | InOp::HasAll) {
            // A number is looked for by its text.
            let text = self.convert(item, KqlType::String);
            return Ok(InItem::One(self.folded(text)));
        }
        let constant = !item.any(|node| matches!(node.kind, BExprKind::Column(_)));
        let number = |ty: KqlType| ty.is_numeric() || ty == KqlType::Bool;
        let is_text = ty == KqlType::String || item.ty == KqlType::String;
        if (constant && (is_text || number(ty) && number(item.ty))) || (ty.is_numeric() && item.ty.is_numeric()) {
            let converted = self.convert(item, ty);
            return Ok(InItem::One(self.folded(converted)));
        }
        let message = format!("Cannot compare values of types {ty} and {}. Try adding explicit casts", item.ty);
        self.fail(diagnostic::OPERAND_TYPE, span, message)
    }

    /// The first column of a tabular item; `None` while its values are not known.
    fn in_table(&mut self, ty: KqlType, table: &Expr) -> Bound<Option<InItem>> {
        let key = self.need_key();
        let tabular = self.single_table(table)?;
        let Some(column) = tabular.rel.columns.first().cloned() else {
            return self.fail(diagnostic::GENERAL, table.span, "the tabular expression has no column to compare with");
        };
        let mut value = BExpr::column(&column);
        if ty != KqlType::Dynamic && ty != column.ty {
            let comparable = column.ty == KqlType::Dynamic || (ty.is_numeric() && column.ty.is_numeric());
            if !comparable && ty != KqlType::String {
                let message =
                    format!("Cannot compare values of types {ty} and {}. Try adding explicit casts", column.ty);
                return self.fail(WRONG_TYPE, table.span, message);
            }
            value = self.convert(value, ty);
        }
        let rel = self.project(tabular.rel, vec![(column.name, value)], table.span)?;
        // Distinct values: what counts is membership.
        let keys = vec![BExpr::column(&rel.columns[0])];
        let columns = vec![self.fresh_column("value", rel.columns[0].ty)];
        let distinct_ty = columns[0].ty;
        let rel = if distinct_ty == KqlType::Dynamic {
            rel
        } else {
            self.rel(crate::bound::RelOp::Aggregate { input: rel, keys, aggregates: Vec::new() }, columns, table.span)?
        };
        match self.need(key, &rel, NeedWhat::Values { limit: MAX_IN_VALUES }) {
            Some(Known::Values(values)) => Ok(Some(InItem::Values(Arc::clone(&values)))),
            _ => Ok(None),
        }
    }
}
