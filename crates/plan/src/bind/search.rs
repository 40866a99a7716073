//! `search`, `find`, and `*` as every column (`where * has "x"`). Source: search-operator, find-operator pages; kql-behaviour section 11.

use std::sync::Arc;

use tidewater_kql::ast::{BinaryOp, Expr, ExprKind, FindColumn, Literal, Operator, OperatorKind, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, Rel, Value};

impl Binder<'_> {
    /// `* op value`: true when it is for any column.
    pub fn star_operator(&mut self, op: BinaryOp, right: &Expr, row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let right = self.expr(right, row)?;
        self.any_column(op, &right, row.columns, span)
    }

    fn any_column(&mut self, op: BinaryOp, right: &BExpr, columns: &[BoundColumn], span: Span) -> Bound<BExpr> {
        let is_text = !matches!(
            op,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Less
                | BinaryOp::LessOrEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterOrEqual
        );
        let mut operands = Vec::with_capacity(columns.len());
        for column in columns {
            let value = BExpr::column(column);
            if is_text {
                let text = self.convert(value, KqlType::String);
                operands.push(self.binary(op, text, right.clone(), span)?);
                continue;
            }
            // A column whose type does not compare with the value has no match.
            if let Ok(compared) = self.attempt(|binder| binder.binary(op, value, right.clone(), span)) {
                operands.push(compared);
            }
        }
        Ok(any_of(operands))
    }

    /// `search [kind=...] [in (tables)] predicate`: rows of all tables in which the predicate holds, `$table` first.
    pub fn search_operator(
        &mut self,
        left: Option<Tabular>,
        parameters: &[Property],
        tables: &[Expr],
        predicate: &Expr,
        span: Span,
    ) -> Bound<Tabular> {
        let is_sensitive = match self.word(parameters, &["kind"]) {
            None => false,
            Some((_, Some(word))) if matches!(word.as_str(), "default" | "case_insensitive") => false,
            Some((_, Some(word))) if word == "case_sensitive" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(
                    diagnostic::NOT_IN_LIST,
                    span,
                    "'search' has the kinds default, case_insensitive and case_sensitive",
                );
            }
        };
        let united = self.searched(left, tables, "$table", "search_arg", span)?;
        let predicate = self.search_predicate(predicate, &united.columns[1..], is_sensitive)?;
        Ok(Tabular::of(self.filtered(&united, predicate, span)?))
    }

    /// All rows to look through, with the source's name in front.
    fn searched(
        &mut self,
        left: Option<Tabular>,
        tables: &[Expr],
        source: &str,
        label: &'static str,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut inputs = Vec::new();
        if let Some(left) = left {
            inputs.push(Input { rel: left.rel, table: left.table });
        } else if tables.is_empty() {
            let database = self.database.clone();
            inputs = self.wildcard_tables(&database, "*", false, span)?;
        }
        let mut failed = false;
        for table in tables {
            match self.union_item(table, false) {
                Ok(found) => inputs.extend(found),
                Err(Stopped) => failed = true,
            }
        }
        if failed {
            return Err(Stopped);
        }
        self.united(inputs, Some(source), label, false, span)
    }

    /// A predicate in which a bare text is looked for in every column.
    fn search_predicate(&mut self, expr: &Expr, columns: &[BoundColumn], is_sensitive: bool) -> Bound<BExpr> {
        self.deeper(expr.span, |binder| binder.search_term(expr, columns, is_sensitive))
    }

    fn search_term(&mut self, expr: &Expr, columns: &[BoundColumn], is_sensitive: bool) -> Bound<BExpr> {
        match &expr.kind {
            ExprKind::Star => Ok(BExpr::constant(Constant::bool(true))),
            ExprKind::Literal(literal) if !matches!(literal, Literal::Bool(_)) => {
                let constant = self.literal_constant(literal, expr.span)?;
                let text = self.convert(BExpr::constant(constant), KqlType::String);
                let Value::String(text) = self.constant(&text, expr.span, "the text of 'search'")?.value else {
                    return Err(Stopped);
                };
                self.term_anywhere(&text, columns, is_sensitive, expr.span)
            }
            ExprKind::Chain { op, operands } if matches!(op, BinaryOp::And | BinaryOp::Or) => {
                let mut bound = Vec::with_capacity(operands.len());
                for operand in operands {
                    bound.push(self.search_predicate(operand, columns, is_sensitive)?);
                }
                Ok(BExpr { kind: BExprKind::Chain { op: *op, operands: bound }, ty: KqlType::Bool })
            }
            ExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
                let left = self.search_predicate(left, columns, is_sensitive)?;
                let right = self.search_predicate(right, columns, is_sensitive)?;
                self.binary(*op, left, right, expr.span)
            }
            ExprKind::Call { base: None, name, arguments } if name.text == "not" && arguments.len() == 1 => {
                let operand = self.search_predicate(&arguments[0].value, columns, is_sensitive)?;
                Ok(BExpr { kind: BExprKind::Not(Box::new(operand)), ty: KqlType::Bool })
            }
            ExprKind::Binary { op: BinaryOp::Has, left, right } => {
                // `column:"a*"` has the same wildcards as a bare text.
                if let (ExprKind::Name(name), ExprKind::Literal(Literal::String(text))) = (&left.kind, &right.kind)
                    && let Some(column) = columns.iter().find(|column| column.name == name.text)
                {
                    return self.term_anywhere(text, std::slice::from_ref(column), is_sensitive, expr.span);
                }
                self.predicate(expr, &mut Row::of(columns))
            }
            _ => self.predicate(expr, &mut Row::of(columns)),
        }
    }

    /// A term, or `a*`, `*a`, `*a*` as its beginning, end or part, in any of the columns.
    fn term_anywhere(&mut self, text: &str, columns: &[BoundColumn], is_sensitive: bool, span: Span) -> Bound<BExpr> {
        let starts = text.starts_with('*');
        let ends = text.len() > 1 && text.ends_with('*');
        let needle = text.strip_prefix('*').unwrap_or(text);
        let needle = if ends { needle.strip_suffix('*').unwrap_or(needle) } else { needle };
        if needle.is_empty() {
            return Ok(BExpr::constant(Constant::bool(true)));
        }
        let op = match (starts, ends, is_sensitive) {
            (false, false, false) => BinaryOp::Has,
            (false, false, true) => BinaryOp::HasCs,
            (false, true, false) => BinaryOp::HasPrefix,
            (false, true, true) => BinaryOp::HasPrefixCs,
            (true, false, false) => BinaryOp::HasSuffix,
            (true, false, true) => BinaryOp::HasSuffixCs,
            (true, true, false) => BinaryOp::Contains,
            (true, true, true) => BinaryOp::ContainsCs,
        };
        if needle.contains('*') {
            return self.not_served(span, "'*' inside a text of 'search'");
        }
        let needle = BExpr::constant(Constant::string(needle));
        self.any_column(op, &needle, columns, span)
    }

    /// `find [in (tables)] where predicate [project ...]`.
    pub fn find_operator(&mut self, left: Option<Tabular>, operator: &Operator) -> Bound<Tabular> {
        let OperatorKind::Find { parameters, tables, predicate, project, smart, away } = &operator.kind else {
            return Err(Stopped);
        };
        let span = operator.span;
        let source = self
            .word(parameters, &["withsource", "with_source"])
            .and_then(|(_, word)| word)
            .unwrap_or_else(|| "source_".to_string());
        if !away.is_empty() {
            return self.not_served(span, "'project-away' of 'find'");
        }
        let united = self.searched(left, tables, &source, "find_arg", span)?;
        let columns = &united.columns[1..];
        let bound = self.search_predicate(predicate, columns, false)?;
        let found = self.filtered(&united, bound.clone(), span)?;
        let mut items = vec![(source, BExpr::column(&united.columns[0]))];
        let mut named: Vec<BoundColumn> = Vec::new();
        let mut packs = false;
        match project {
            Some(project) if !smart => {
                for column in project {
                    match column {
                        FindColumn::Pack => packs = true,
                        FindColumn::Column(name, ty) => {
                            let Some(found) = columns.iter().find(|column| column.name == name.text) else {
                                return Err(self.unresolved_column(&name.text, columns, name.span));
                            };
                            let mut expr = BExpr::column(found);
                            if let Some(ty) = ty {
                                expr = self.convert(expr, *ty);
                            }
                            named.push(found.clone());
                            items.push((name.text.clone(), expr));
                        }
                    }
                }
            }
            _ => {
                // The columns that the predicate names; the others go into a bag.
                packs = true;
                for column in columns {
                    let is_named = bound.any(|node| matches!(node.kind, BExprKind::Column(id) if id == column.id))
                        && !has_bare_text(predicate);
                    if is_named {
                        named.push(column.clone());
                        items.push((column.name.clone(), BExpr::column(column)));
                    }
                }
            }
        }
        if packs {
            let rest: Vec<(String, BExpr)> = columns
                .iter()
                .filter(|column| !named.contains(column))
                .map(|column| (column.name.clone(), BExpr::column(column)))
                .collect();
            let bag = self.bag_of(rest, true, span)?;
            items.push(("pack_".to_string(), bag));
        }
        Ok(Tabular::of(self.project(found, items, span)?))
    }
}

/// Whether a predicate looks for a text in every column.
fn has_bare_text(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Star => true,
        ExprKind::Chain { operands, .. } => operands.iter().any(has_bare_text),
        ExprKind::Binary { op: BinaryOp::And | BinaryOp::Or, left, right } => {
            has_bare_text(left) || has_bare_text(right)
        }
        ExprKind::Binary { left, .. } => matches!(left.kind, ExprKind::Star),
        _ => false,
    }
}

fn any_of(mut operands: Vec<BExpr>) -> BExpr {
    match operands.len() {
        0 => BExpr::constant(Constant::bool(false)),
        1 => operands.remove(0),
        _ => BExpr { kind: BExprKind::Chain { op: BinaryOp::Or, operands }, ty: KqlType::Bool },
    }
}
