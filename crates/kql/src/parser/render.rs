//! `render` and its properties.

use super::{P, Parser};
use crate::ast::{Expr, ExprKind, OperatorKind, Property};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `render kind [with (properties)]`.
    pub(super) fn render(&mut self) -> P<OperatorKind> {
        // `3Dchart` is a name too; quotes are not allowed.
        let visualization = self.any_name("a kind of chart")?;
        if self.at_word("with") {
            self.bump();
            self.expect(TokenKind::OpenParen)?;
            let properties = self.nested(|parser| {
                let mut properties = Vec::new();
                while !parser.at(TokenKind::CloseParen) {
                    properties.push(parser.render_property()?);
                    if !parser.eat(TokenKind::Comma) {
                        break;
                    }
                }
                parser.expect_close(TokenKind::CloseParen)?;
                Ok(properties)
            })?;
            return Ok(OperatorKind::Render { visualization, properties });
        }
        // The old form without brackets: `render timechart kind=stacked title="x"`.
        let mut properties = Vec::new();
        loop {
            if self.at(TokenKind::Name) && self.kind_at(1) == TokenKind::Equal {
                properties.push(self.render_property()?);
            } else if self.at_word("by") {
                let name = self.any_name("'by'")?;
                let value = self.render_columns()?;
                properties.push(Property { name, value });
            } else {
                return Ok(OperatorKind::Render { visualization, properties });
            }
            self.eat(TokenKind::Comma);
        }
    }

    fn render_property(&mut self) -> P<Property> {
        let name = self.any_name("the name of a property")?;
        self.expect(TokenKind::Equal)?;
        let lists_columns = matches!(name.text.as_str(), "ycolumns" | "series" | "anomalycolumns" | "xcolumn");
        let value = if lists_columns { self.render_columns()? } else { self.property_value()? };
        Ok(Property { name, value })
    }

    /// `a, b, c`: several columns are one name with commas, as the visualization's JSON has them.
    fn render_columns(&mut self) -> P<Expr> {
        let first = self.property_value()?;
        let mut names = match &first.kind {
            ExprKind::Name(name) => name.clone(),
            _ => return Ok(first),
        };
        while self.at(TokenKind::Comma)
            && matches!(self.kind_at(1), TokenKind::Name | TokenKind::OpenBracket)
            && self.kind_at(2) != TokenKind::Equal
        {
            self.bump();
            let next = self.any_name("a column name")?;
            names.text.push(',');
            names.text.push_str(&next.text);
            names.span = names.span.to(next.span);
        }
        let span = names.span;
        Ok(Expr { kind: ExprKind::Name(names), span })
    }
}
