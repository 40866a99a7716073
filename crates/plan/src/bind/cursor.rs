//! Functions about where a row and a request come from: `ingestion_time`, `extent_id`, `extent_tags`, cursors,
//! principals. Source: their pages, database-cursor page.

use std::sync::Arc;

use serde_json::Value as Json;
use tidewater_kql::ast::{Argument, BinaryOp, ExprKind};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Constant, Rel, Value};
use crate::hidden::{HIDDEN, Hidden, Origin};

/// Positions in `HIDDEN`.
const EXTENT_TIME: usize = 0;
const ROW_TIME: usize = 1;
const EXTENT_CURSOR: usize = 2;
const ROW_CURSOR: usize = 3;
const EXTENT_ID: usize = 4;
const EXTENT_TAGS: usize = 5;

/// The cursors of functions without an argument.
const AFTER_DEFAULT: &str = "query_cursor_after_default";
const BEFORE_DEFAULT: &str = "query_cursor_before_or_at_default";

impl Binder<'_> {
    /// Asks for the providers that give these hidden columns.
    fn want_hidden(&self, hidden: &Hidden) {
        let mut waiting: Vec<&Hidden> = vec![hidden];
        while let Some(hidden) = waiting.pop() {
            match &hidden.origin {
                Origin::Table { database, name, provider } => {
                    provider.get_or_init(|| self.view.hidden_rows(database, name));
                }
                Origin::Union(inputs) => waiting.extend(inputs.iter().flatten().map(Arc::as_ref)),
            }
        }
    }

    fn hidden_column(&self, at: usize) -> Option<BExpr> {
        let hidden = self.hidden.as_ref()?;
        self.want_hidden(hidden);
        Some(BExpr { kind: BExprKind::Column(hidden.ids[at]), ty: HIDDEN[at].1 })
    }

    /// The row's value where a merge has kept one, else the extent's.
    fn hidden_either(&self, row: usize, extent: usize) -> Option<BExpr> {
        let values = vec![self.hidden_column(row)?, self.hidden_column(extent)?];
        Some(BExpr { kind: BExprKind::Coalesce(values), ty: HIDDEN[row].1 })
    }

    /// `ingestion_time()`, `extent_id()`, `extent_tags()`; null and an empty guid for rows that are in no extent.
    pub fn row_origin(&mut self, name: &str, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.count(name, arguments.len(), 0, 0, span)?;
        Ok(match name {
            "ingestion_time" => self
                .hidden_either(ROW_TIME, EXTENT_TIME)
                .unwrap_or_else(|| BExpr::constant(Constant::null(KqlType::DateTime))),
            "extent_tags" => {
                self.hidden_column(EXTENT_TAGS).unwrap_or_else(|| BExpr::constant(Constant::null(KqlType::Dynamic)))
            }
            _ => {
                let empty = BExpr::constant(Constant { value: Value::Guid([0; 16]), ty: KqlType::Guid });
                match self.hidden_column(EXTENT_ID) {
                    Some(id) => BExpr { kind: BExprKind::Coalesce(vec![id, empty]), ty: KqlType::Guid },
                    None => empty,
                }
            }
        })
    }

    /// `cursor_after(c)`, `cursor_before_or_at(c)`: a cursor is what `cursor_current()` gave, or `""` for the beginning.
    ///
    /// Without an argument the request's default counts. Source: request-properties page.
    pub fn cursor_test(&mut self, name: &str, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.cursors_allowed(span)?;
        let default = if name == "cursor_after" { AFTER_DEFAULT } else { BEFORE_DEFAULT };
        let text = match (arguments, self.option(default).and_then(Json::as_str)) {
            ([], Some(default)) => default.to_string(),
            _ => {
                self.count(name, arguments.len(), 1, 1, span)?;
                self.text_argument(&arguments[0], &format!("the cursor of {name}()"))?
            }
        };
        self.against_cursor(name, &text, arguments.first().map_or(span, |argument| argument.value.span), span)
    }

    /// `cursor_current()`, unless the request says otherwise.
    pub fn cursor_current(&mut self, name: &str, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.cursors_allowed(span)?;
        let given = self.option("query_cursor_current").and_then(Json::as_str).map(str::to_string);
        let cursor = given.unwrap_or_else(|| self.view.cursor().to_string());
        self.no_arguments(name, arguments, span, Constant::string(cursor))
    }

    fn cursors_allowed(&mut self, span: Span) -> Bound<()> {
        if self.flag("query_cursor_disabled") {
            return self.fail(diagnostic::GENERAL, span, "the request disables functions of cursors");
        }
        Ok(())
    }

    /// The rows of a table that `query_cursor_scoped_tables` names, between the default cursors; the upper one is optional.
    pub fn in_cursor_scope(&mut self, name: &str, rel: Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let is_scoped = match self.option("query_cursor_scoped_tables") {
            Some(Json::Array(names)) => names.iter().any(|scoped| scoped.as_str() == Some(name)),
            _ => false,
        };
        if !is_scoped {
            return Ok(rel);
        }
        let outer = std::mem::replace(&mut self.hidden, rel.hidden.clone());
        let mut scoped = Ok(rel);
        for (function, option) in [("cursor_after", AFTER_DEFAULT), ("cursor_before_or_at", BEFORE_DEFAULT)] {
            let Some(text) = self.option(option).and_then(Json::as_str).map(str::to_string) else { continue };
            scoped = scoped.and_then(|rel| {
                let predicate = self.against_cursor(function, &text, span, span)?;
                self.filtered(&rel, predicate, span)
            });
        }
        self.hidden = outer;
        scoped
    }

    fn against_cursor(&mut self, name: &str, text: &str, place: Span, span: Span) -> Bound<BExpr> {
        let cursor = match text.trim() {
            "" => 0,
            text => match text.parse::<i64>() {
                Ok(cursor) if cursor >= 0 => cursor,
                _ => {
                    let message =
                        format!("{name}(): '{text}' is no cursor: it is what cursor_current() gave, or empty");
                    return self.fail(diagnostic::PARAMETER_VALUE, place, message);
                }
            },
        };
        let Some(row) = self.hidden_either(ROW_CURSOR, EXTENT_CURSOR) else {
            let message = format!("{name}() is allowed over the rows of a table only");
            return self.fail(diagnostic::GENERAL, span, message);
        };
        let op = if name == "cursor_after" { BinaryOp::GreaterOrEqual } else { BinaryOp::Less };
        self.binary(op, row, BExpr::constant(Constant::long(cursor)), span)
    }

    /// `current_principal_details()`: what is known of the principal.
    pub fn principal_details(&mut self, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        let details = &self.context.principal.details;
        let details = if details.is_empty() { "{}".to_string() } else { details.clone() };
        let value = Constant { value: Value::Dynamic(details), ty: KqlType::Dynamic };
        self.no_arguments("current_principal_details", arguments, span, value)
    }

    /// `current_principal_is_member_of(names...)`: whether the principal is one of these, or belongs to one.
    pub fn principal_is_member_of(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let name = "current_principal_is_member_of";
        self.count(name, arguments.len(), 1, 64, span)?;
        let mut names = Vec::new();
        for argument in arguments {
            if !matches!(argument.value.kind, ExprKind::Literal(_)) {
                let message = format!("{name}(): the principals must be string literals");
                return self.fail(diagnostic::NOT_CONSTANT, argument.value.span, message);
            }
            let bound = self.expr(&argument.value, row)?;
            match self.constant(&bound, argument.value.span, "a principal")?.value {
                Value::String(text) => names.push(text),
                Value::Dynamic(text) => match serde_json::from_str::<Vec<String>>(&text) {
                    Ok(texts) => names.extend(texts),
                    Err(_) => {
                        let message = format!("{name}(): an array of strings is expected");
                        return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                    }
                },
                _ => {
                    let message = format!("{name}(): a string or an array of strings is expected");
                    return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                }
            }
        }
        let principal = &self.context.current_principal;
        let is = |name: &String| match &self.context.principal.is_member_of {
            Some(test) => test(name),
            None => !principal.is_empty() && name.eq_ignore_ascii_case(principal),
        };
        let is_own = names.iter().any(is);
        Ok(BExpr::constant(Constant::bool(is_own)))
    }
}
