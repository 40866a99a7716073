//! `search` and `find`.

use super::{P, Parser};
use crate::ast::{Expr, ExprKind, FindColumn, OperatorKind};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `search [kind=...] [in (tables)] predicate`.
    pub(super) fn search(&mut self) -> P<OperatorKind> {
        let mut parameters = self.parameters(&["kind"])?;
        let tables = self.in_tables()?;
        parameters.extend(self.parameters(&["kind"])?);
        let predicate = self.with_colon(Self::search_predicate)?;
        Ok(OperatorKind::Search { parameters, tables, predicate })
    }

    fn search_predicate(&mut self) -> P<Expr> {
        if self.at(TokenKind::Star)
            && matches!(self.kind_at(1), TokenKind::Pipe | TokenKind::End | TokenKind::Semicolon)
        {
            let span = self.bump().span;
            return Ok(Expr { kind: ExprKind::Star, span });
        }
        self.expression()
    }

    /// Reads with `column:"text"` as an operator.
    fn with_colon<T>(&mut self, read: impl FnOnce(&mut Self) -> P<T>) -> P<T> {
        let outer = std::mem::replace(&mut self.colon_is_has, true);
        let result = read(self);
        self.colon_is_has = outer;
        result
    }

    /// `in ( tables )` when present.
    fn in_tables(&mut self) -> P<Vec<Expr>> {
        if self.at_word("in") && (self.kind_at(1) == TokenKind::OpenParen || !self.is_followed_as_name()) {
            self.bump();
            return self.parenthesized(Self::table_reference);
        }
        Ok(Vec::new())
    }

    /// `find [withsource=...] [in (tables)] where predicate [project ...]`.
    pub(super) fn find(&mut self) -> P<OperatorKind> {
        const FIND_PARAMETERS: &[&str] = &["withsource", "with_source", "datascope"];
        let mut parameters = self.parameters(FIND_PARAMETERS)?;
        let tables = self.in_tables()?;
        parameters.extend(self.parameters(FIND_PARAMETERS)?);
        self.eat_word("where");
        let predicate = self.with_colon(Self::expression)?;
        let (mut project, mut smart) = (None, false);
        loop {
            let (name, tokens) = self.operator_name();
            match (self.kind(), name) {
                (TokenKind::Name, "project-smart") => smart = true,
                (TokenKind::Name, "project") => {
                    self.bump_many(tokens);
                    project = Some(self.comma_list(Self::find_column)?);
                    continue;
                }
                _ => return Ok(OperatorKind::Find { parameters, tables, predicate, project, smart }),
            }
            self.bump_many(tokens);
        }
    }

    fn bump_many(&mut self, tokens: usize) {
        for _ in 0..tokens {
            self.bump();
        }
    }

    fn find_column(&mut self) -> P<FindColumn> {
        if matches!(self.word(), "pack" | "pack_all") && self.kind_at(1) == TokenKind::OpenParen {
            self.bump();
            self.bump();
            self.eat(TokenKind::Star);
            self.expect(TokenKind::CloseParen)?;
            return Ok(FindColumn::Pack);
        }
        let name = self.any_name("a column name")?;
        let ty = if self.eat(TokenKind::Colon) { Some(self.type_name()?) } else { None };
        Ok(FindColumn::Column(name, ty))
    }
}
