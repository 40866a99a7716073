//! Sources with a syntax of their own: `datatable`, `externaldata`, `typeof`, entity groups.

use super::{P, Parser};
use crate::ast::{ColumnDeclaration, ExprKind};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `datatable (...) [...]`, `externaldata (...) [...] with (...)`, `inline_external_table (...) ...`.
    pub(super) fn data_source(&mut self) -> P<ExprKind> {
        let word = self.bump().span.text(self.text);
        if word == "inline_external_table" {
            return Ok(ExprKind::InlineExternalTable(Box::new(self.external_definition()?)));
        }
        let columns = self.schema()?;
        if word == "datatable" {
            return Ok(ExprKind::DataTable { columns, values: self.bracketed_values(false)? });
        }
        // A connection string may be a variable.
        let uris = self.bracketed_values(true)?;
        let properties = self.with_properties()?;
        Ok(ExprKind::ExternalData { columns, uris, properties })
    }

    /// `( name: type, ... )`.
    pub(super) fn schema(&mut self) -> P<Vec<ColumnDeclaration>> {
        if !self.at(TokenKind::OpenParen) {
            return Err(self.missing("a list of columns in parentheses"));
        }
        self.parenthesized(Self::column_declaration)
    }

    /// `[ constant, ... ]`, with a comma behind the last one allowed.
    fn bracketed_values(&mut self, takes_names: bool) -> P<Vec<crate::ast::Expr>> {
        self.expect(TokenKind::OpenBracket)?;
        self.nested(|parser| {
            let mut values = Vec::new();
            while !parser.at(TokenKind::CloseBracket) {
                if !takes_names && !parser.at_constant() {
                    return Err(parser.expected("a constant or ']'"));
                }
                values.push(parser.unary()?);
                if !parser.eat(TokenKind::Comma) {
                    break;
                }
            }
            parser.expect_close(TokenKind::CloseBracket)?;
            Ok(values)
        })
    }

    /// Whether a constant begins here: nothing else may stand between the brackets.
    fn at_constant(&self) -> bool {
        match self.kind() {
            TokenKind::Long
            | TokenKind::Real
            | TokenKind::TimeSpan
            | TokenKind::String
            | TokenKind::OpenString
            | TokenKind::Minus
            | TokenKind::Plus => true,
            TokenKind::Name => match self.word() {
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => true,
                word => {
                    self.kind_at(1) == TokenKind::OpenParen
                        && (word == "dynamic" || super::literals::is_literal_type(word))
                }
            },
            _ => false,
        }
    }

    /// `typeof(type)` or `typeof(name: type, *, ...)`.
    pub(super) fn type_of(&mut self) -> P<ExprKind> {
        self.bump();
        if self.kind_at(2) == TokenKind::Colon || matches!(self.kind_at(1), TokenKind::OpenBracket | TokenKind::Star) {
            return Ok(ExprKind::TypeOfSchema(self.parenthesized(Self::output_column)?));
        }
        self.expect(TokenKind::OpenParen)?;
        let ty = self.type_name_any_case()?;
        self.expect(TokenKind::CloseParen)?;
        Ok(ExprKind::TypeOf(ty))
    }

    /// `entity_group [ ... ]`.
    pub(super) fn entity_group(&mut self) -> P<ExprKind> {
        self.bump();
        self.expect(TokenKind::OpenBracket)?;
        let entities = self.nested(|parser| {
            let entities = parser.comma_list(Self::postfix)?;
            parser.expect(TokenKind::CloseBracket)?;
            Ok(entities)
        })?;
        Ok(ExprKind::EntityGroup(entities))
    }
}
