//! Functions about where a row and a request come from: `ingestion_time`, `extent_id`, `extent_tags`, cursors,
//! principals. Source: their pages, database-cursor page.

use std::sync::Arc;

use tidewater_kql::ast::{Argument, BinaryOp, ExprKind};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Constant, Value};
use crate::hidden::{HIDDEN, Hidden, Origin};

/// Positions in `HIDDEN`.
const EXTENT_TIME: usize = 0;
const ROW_TIME: usize = 1;
const EXTENT_CURSOR: usize = 2;
const ROW_CURSOR: usize = 3;
const EXTENT_ID: usize = 4;
const EXTENT_TAGS: usize = 5;

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
    pub fn cursor_test(&mut self, name: &str, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.count(name, arguments.len(), 1, 1, span)?;
        let text = self.text_argument(&arguments[0], &format!("the cursor of {name}()"))?;
        let cursor = match text.trim() {
            "" => 0,
            text => match text.parse::<i64>() {
                Ok(cursor) if cursor >= 0 => cursor,
                _ => {
                    let message =
                        format!("{name}(): '{text}' is no cursor: it is what cursor_current() gave, or empty");
                    return self.fail(diagnostic::PARAMETER_VALUE, arguments[0].value.span, message);
                }
            },
        };
        let Some(place) = self.hidden_either(ROW_CURSOR, EXTENT_CURSOR) else {
            let message = format!("{name}() is allowed over the rows of a table only");
            return self.fail(diagnostic::GENERAL, span, message);
        };
        let op = if name == "cursor_after" { BinaryOp::GreaterOrEqual } else { BinaryOp::Less };
        self.binary(op, place, BExpr::constant(Constant::long(cursor)), span)
    }

    /// `current_principal_details()`: what is known of the principal.
    pub fn principal_details(&mut self, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        let principal = self.context.current_principal.clone();
        let (kind, rest) = principal.split_once('=').unwrap_or(("", &principal));
        let (id, authority) = rest.split_once(';').unwrap_or((rest, ""));
        let ty = match kind {
            "aaduser" => "AadUser",
            "aadapp" => "AadApp",
            "aadgroup" => "AadGroup",
            other => other,
        };
        let details = serde_json::json!({
            "UserPrincipalName": id,
            "IdentityProvider": "",
            "Authority": authority,
            "Mfa": "False",
            "Type": ty,
            "DisplayName": id,
            "ObjectId": id,
            "FQN": principal,
            "Notes": null,
        });
        let value = Constant { value: Value::Dynamic(details.to_string()), ty: KqlType::Dynamic };
        self.no_arguments("current_principal_details", arguments, span, value)
    }

    /// `current_principal_is_member_of(names...)`: whether one of the names is the principal's own. There are no groups.
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
        let is_own = !principal.is_empty() && names.iter().any(|name| name.eq_ignore_ascii_case(principal));
        Ok(BExpr::constant(Constant::bool(is_own)))
    }
}
