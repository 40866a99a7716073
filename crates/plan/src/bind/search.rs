//! `search`, and `*` as every column (`where * has "x"`). Source: search-operator page; kql-behaviour section 11.

use tidewater_kql::ast::{BinaryOp, Expr, ExprKind, InOp, Literal, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, Value};

const SEARCHED_TEXT: &str = "the text of 'search'";

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
        let inputs = self.searched(left, tables, "search", span)?;
        let united = self.united(inputs, Some("$table"), "search_arg", false, span)?;
        let predicate = self.search_predicate(predicate, &united.columns[1..], is_sensitive)?;
        Ok(Tabular::of(self.filtered(&united, predicate, span)?))
    }

    /// The tables that `search` or `find` looks through: the piped rows, those listed, or all of the database with
    /// the query's views.
    pub fn searched(
        &mut self,
        left: Option<Tabular>,
        tables: &[Expr],
        operator: &str,
        span: Span,
    ) -> Bound<Vec<Input>> {
        if let Some(left) = left {
            if let Some(first) = tables.first() {
                let message = format!("'{operator}' reads its input or the tables of 'in (...)', not both");
                return self.fail(diagnostic::GENERAL, first.span, message);
            }
            return Ok(vec![Input::of(left)]);
        }
        if tables.is_empty() {
            let database = self.database.clone();
            return self.wildcard_tables(&database, "*", span);
        }
        let mut inputs = Vec::new();
        let mut failed = false;
        for table in tables {
            match self.union_item(table, false) {
                Ok(found) => inputs.extend(found),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(inputs) }
    }

    /// A predicate in which a bare text is looked for in every column.
    pub fn search_predicate(&mut self, expr: &Expr, columns: &[BoundColumn], is_sensitive: bool) -> Bound<BExpr> {
        self.deeper(expr.span, |binder| binder.search_term(expr, columns, is_sensitive))
    }

    fn search_term(&mut self, expr: &Expr, columns: &[BoundColumn], is_sensitive: bool) -> Bound<BExpr> {
        match &expr.kind {
            ExprKind::Star => Ok(BExpr::constant(Constant::bool(true))),
            ExprKind::Literal(literal) if !matches!(literal, Literal::Bool(_)) => {
                let constant = self.literal_constant(literal, expr.span)?;
                let text = self.convert(BExpr::constant(constant), KqlType::String);
                let Value::String(text) = self.constant(&text, expr.span, SEARCHED_TEXT)?.value else {
                    return Err(Stopped);
                };
                self.term_anywhere(&text, columns, is_sensitive, expr.span)
            }
            ExprKind::Name(name) if columns.iter().all(|column| column.name != name.text) => {
                match self.searched_text(expr)? {
                    Some(text) => self.term_anywhere(&text, columns, is_sensitive, expr.span),
                    None => self.predicate(expr, &mut Row::of(columns)),
                }
            }
            ExprKind::Chain { op, operands, .. } if matches!(op, BinaryOp::And | BinaryOp::Or) => {
                let mut bound = Vec::with_capacity(operands.len());
                for operand in operands {
                    bound.push(self.search_predicate(operand, columns, is_sensitive)?);
                }
                Ok(BExpr { kind: BExprKind::Chain { op: *op, operands: bound }, ty: KqlType::Bool })
            }
            ExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right, .. } => {
                let left = self.search_predicate(left, columns, is_sensitive)?;
                let right = self.search_predicate(right, columns, is_sensitive)?;
                self.binary(*op, left, right, expr.span)
            }
            ExprKind::Call { base: None, name, arguments } if name.text == "not" && arguments.len() == 1 => {
                let operand = self.search_predicate(&arguments[0].value, columns, is_sensitive)?;
                Ok(BExpr { kind: BExprKind::Not(Box::new(operand)), ty: KqlType::Bool })
            }
            ExprKind::Binary { op: BinaryOp::Has, left, right, .. } => {
                // `column:"a*"` has the same wildcards as a bare text.
                if let ExprKind::Name(name) = &left.kind
                    && let Some(column) = columns.iter().find(|column| column.name == name.text)
                    && let Some(text) = self.column_text(right, columns)?
                {
                    return self.term_anywhere(&text, std::slice::from_ref(column), is_sensitive, expr.span);
                }
                let expr = if is_sensitive { &sensitive(expr) } else { expr };
                self.predicate(expr, &mut Row::of(columns))
            }
            _ if is_sensitive => self.predicate(&sensitive(expr), &mut Row::of(columns)),
            _ => self.predicate(expr, &mut Row::of(columns)),
        }
    }

    fn column_text(&mut self, expr: &Expr, columns: &[BoundColumn]) -> Bound<Option<String>> {
        match &expr.kind {
            ExprKind::Literal(Literal::String(text)) => Ok(Some(text.clone())),
            ExprKind::Name(name) if columns.iter().all(|column| column.name != name.text) => self.searched_text(expr),
            _ => Ok(None),
        }
    }

    /// The text that a variable holds, when it holds one.
    fn searched_text(&mut self, variable: &Expr) -> Bound<Option<String>> {
        let Ok(bound) = self.attempt(|binder| binder.expr(variable, &mut Row::none())) else {
            return if self.is_waiting() { Err(Stopped) } else { Ok(None) };
        };
        if bound.ty != KqlType::String {
            return Ok(None);
        }
        match self.constant(&bound, variable.span, SEARCHED_TEXT)?.value {
            Value::String(text) => Ok(Some(text)),
            _ => Ok(Some(String::new())),
        }
    }

    /// A term, or `a*`, `*a`, `*a*` as its beginning, end or part, in any of the columns; `a*b` is a regular expression.
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
            let pattern = wildcard_pattern(needle, !starts, !ends, is_sensitive);
            return self.any_column(BinaryOp::MatchesRegex, &BExpr::constant(Constant::string(pattern)), columns, span);
        }
        let needle = BExpr::constant(Constant::string(needle));
        self.any_column(op, &needle, columns, span)
    }
}

/// Whether a predicate looks for a text in every column; a name that is no column is a variable with the text.
pub(crate) fn has_bare_text(expr: &Expr, is_column: &dyn Fn(&str) -> bool) -> bool {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Star => true,
        ExprKind::Name(name) => !is_column(&name.text),
        ExprKind::Chain { operands, .. } => operands.iter().any(|operand| has_bare_text(operand, is_column)),
        ExprKind::Binary { op: BinaryOp::And | BinaryOp::Or, left, right, .. } => {
            has_bare_text(left, is_column) || has_bare_text(right, is_column)
        }
        ExprKind::Binary { left, .. } => matches!(left.kind, ExprKind::Star),
        ExprKind::Call { base: None, name, arguments } if name.text == "not" => {
            arguments.iter().any(|argument| has_bare_text(&argument.value, is_column))
        }
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

/// `Lab*PC` as the regular expression `\bLab.*PC\b`; an end with a wildcard of its own is open.
fn wildcard_pattern(needle: &str, at_start: bool, at_end: bool, is_sensitive: bool) -> String {
    let parts: Vec<String> = needle.split('*').map(escaped).collect();
    let (flags, start) = (if is_sensitive { "" } else { "(?i)" }, if at_start { r"\b" } else { "" });
    format!("{flags}{start}{}{}", parts.join(".*"), if at_end { r"\b" } else { "" })
}

/// A text with the characters that mean something in a regular expression behind backslashes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A comparison of texts with its case-sensitive operator: what `kind=case_sensitive` makes of it.
fn sensitive(expr: &Expr) -> Expr {
    use BinaryOp::*;
    let mut expr = expr.clone();
    match &mut expr.kind {
        ExprKind::Binary { op, .. } => {
            *op = match *op {
                EqualTilde => Equal,
                NotEqualTilde => NotEqual,
                Has => HasCs,
                NotHas => NotHasCs,
                HasPrefix => HasPrefixCs,
                NotHasPrefix => NotHasPrefixCs,
                HasSuffix => HasSuffixCs,
                NotHasSuffix => NotHasSuffixCs,
                Contains => ContainsCs,
                NotContains => NotContainsCs,
                StartsWith => StartsWithCs,
                NotStartsWith => NotStartsWithCs,
                EndsWith => EndsWithCs,
                NotEndsWith => NotEndsWithCs,
                other => other,
            }
        }
        ExprKind::InList { op, .. } => {
            *op = match *op {
                InOp::InTilde => InOp::In,
                InOp::NotInTilde => InOp::NotIn,
                other => other,
            }
        }
        _ => {}
    }
    expr
}
