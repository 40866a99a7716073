//! Statements, functions and pipelines.

use super::{P, Parser, keywords};
use crate::ast::{
    ColumnDeclaration, Expr, ExprKind, Lambda, Literal, Name, Operator, OperatorKind, Parameter, ParameterType,
    PatternDeclaration, PatternDefinition, PatternMatch, Pipeline, Script, Statement, StatementKind,
};
use crate::diagnostic::{self, Diagnostic};
use crate::lexer::TokenKind;
use crate::types::KqlType;

/// Type names of the language that stand for no served type. Source: the inventory's extended types.
const OTHER_TYPES: &[&str] = &["float", "int16", "int8", "uint", "uint16", "uint32", "uint64", "uint8", "ulong"];

/// Words that connect what has been read with something after it, for hints.
const CONNECTING_WORDS: &[&str] = &[
    "and",
    "asc",
    "between",
    "contains",
    "contains_cs",
    "desc",
    "endswith",
    "endswith_cs",
    "has",
    "has_all",
    "has_any",
    "has_cs",
    "hasprefix",
    "hassuffix",
    "matches regex",
    "nulls",
    "or",
    "startswith",
    "startswith_cs",
    "with",
];

/// Keywords that begin a statement.
const STATEMENT_WORDS: &[&str] =
    &["datatable", "external_data", "externaldata", "find", "print", "search", "set", "toscalar", "union"];

impl Parser<'_> {
    /// The whole text.
    pub(super) fn script(&mut self) -> Script {
        let statements = self.statements(TokenKind::End);
        if statements.is_empty() && self.diagnostics.is_empty() {
            self.missing("a statement");
        }
        Script { statements }
    }

    /// Statements separated by `;` up to a closing token, which is not read.
    pub(super) fn statements(&mut self, end: TokenKind) -> Vec<Statement> {
        let mut statements = Vec::new();
        while !self.at(end) && !self.at(TokenKind::End) {
            let begun = self.index;
            match self.statement() {
                Ok(statement) => {
                    statements.push(statement);
                    if !self.at(TokenKind::Semicolon) && !self.at(end) {
                        self.expected_end(if end == TokenKind::End {
                            "'|', ';' or the end of the query"
                        } else {
                            "'|', ';' or '}'"
                        });
                    }
                }
                Err(_) => self.skip_to_statement(begun),
            }
            if !self.at(end) {
                self.skip_to_statement(begun);
            }
            // A closing bracket that nothing opened has been reported; it hides nothing that follows.
            while end == TokenKind::End && super::is_closing(self.kind()) {
                self.bump();
                self.skip_to_statement(self.index);
            }
            if !self.eat(TokenKind::Semicolon) {
                break;
            }
            let after_query = matches!(statements.last(), Some(Statement { kind: StatementKind::Query(_), .. }));
            if end == TokenKind::CloseBrace && after_query && !self.at(end) {
                self.expected("'}': only the last statement of a function may be an expression");
            }
        }
        statements
    }

    /// Records that a statement or operator goes on where it should end. Something that could be a statement of its
    /// own lacks the `;` before it; anything else fits nothing.
    fn expected_end(&mut self, what: &str) -> super::Failed {
        if !self.at_expression() && !self.at_operator_name() && !self.at(TokenKind::End) {
            return self.unexpected(what);
        }
        let failed = self.expected(what);
        self.hint_word(CONNECTING_WORDS);
        failed
    }

    fn statement(&mut self) -> P<Statement> {
        let start = self.span();
        let can_begin = match self.kind() {
            TokenKind::Name => !self.at_misplaced_keyword() || STATEMENT_WORDS.contains(&self.word()),
            TokenKind::Minus | TokenKind::Plus | TokenKind::Star => true,
            _ => self.at_expression(),
        };
        if !can_begin {
            return Err(self.unexpected("a statement"));
        }
        let next_is_name = self.kind_at(1) == TokenKind::Name || self.at_bracketed_name(1);
        let kind = match self.word() {
            "let" if next_is_name => self.let_statement()?,
            "set" => self.set_statement()?,
            "declare" if next_is_name => self.declare_statement()?,
            "restrict" if self.is_word(1, "access") => self.restrict_statement()?,
            "alias" if self.is_word(1, "database") => self.alias_statement()?,
            _ => StatementKind::Query(self.pipe_expression()?),
        };
        Ok(Statement { kind, span: self.since(start) })
    }

    fn let_statement(&mut self) -> P<StatementKind> {
        self.bump();
        let name = self.declared_name()?;
        self.expect(TokenKind::Equal)?;
        let start = self.span();
        let is_view = self.at_word("view") && self.kind_at(1) == TokenKind::OpenParen;
        // `(a: long) {` or `() {`; anything else in parentheses is an expression.
        let begins_parameters = match self.kind_at(1) {
            TokenKind::Name => self.kind_at(2) == TokenKind::Colon,
            TokenKind::OpenBracket => self.at_bracketed_name(1) && self.kind_at(4) == TokenKind::Colon,
            TokenKind::CloseParen => self.kind_at(2) == TokenKind::OpenBrace,
            _ => false,
        };
        let is_lambda = is_view || self.at(TokenKind::OpenParen) && begins_parameters;
        let value = if is_lambda {
            let lambda = self.lambda()?;
            Expr { kind: ExprKind::Lambda(Box::new(lambda)), span: self.since(start) }
        } else {
            self.pipe_expression()?
        };
        Ok(StatementKind::Let { name, value })
    }

    fn set_statement(&mut self) -> P<StatementKind> {
        self.bump();
        let name = self.any_name("the name of an option")?;
        let value = if self.eat(TokenKind::Equal) { Some(self.property_value()?) } else { None };
        Ok(StatementKind::Set { name, value })
    }

    fn declare_statement(&mut self) -> P<StatementKind> {
        self.bump();
        match self.word() {
            "query_parameters" => {
                self.bump();
                if self.kind_at(1) == TokenKind::CloseParen {
                    self.bump();
                    return Err(self.expected("a parameter: name: type"));
                }
                Ok(StatementKind::QueryParameters(self.parenthesized(Self::parameter)?))
            }
            "pattern" => {
                self.bump();
                let name = self.declared_name()?;
                let definition = if self.eat(TokenKind::Equal) { Some(self.pattern_definition()?) } else { None };
                Ok(StatementKind::Pattern(Box::new(PatternDeclaration { name, definition })))
            }
            _ => Err(self.expected("'query_parameters' or 'pattern'")),
        }
    }

    /// `(parameters)[path] { matches }`.
    fn pattern_definition(&mut self) -> P<PatternDefinition> {
        let parameters = self.parenthesized(Self::parameter)?;
        let path = if self.eat(TokenKind::OpenBracket) {
            let path = self.parameter()?;
            self.expect(TokenKind::CloseBracket)?;
            Some(path)
        } else {
            None
        };
        self.expect(TokenKind::OpenBrace)?;
        let matches = self.nested(|parser| {
            let mut matches = Vec::new();
            while !parser.at(TokenKind::CloseBrace) {
                matches.push(parser.pattern_match()?);
                parser.expect(TokenKind::Semicolon)?;
            }
            Ok(matches)
        })?;
        if matches.is_empty() {
            return Err(self.expected("a match of the pattern: (\"value\") = { expression };"));
        }
        self.expect(TokenKind::CloseBrace)?;
        Ok(PatternDefinition { parameters, path, matches })
    }

    /// `(values).[path] = { body }`.
    fn pattern_match(&mut self) -> P<PatternMatch> {
        let start = self.span();
        let values = self.parenthesized(Self::pattern_value)?;
        let path = if self.eat(TokenKind::Dot) {
            self.expect(TokenKind::OpenBracket)?;
            let path = self.pattern_value()?;
            self.expect(TokenKind::CloseBracket)?;
            Some(path)
        } else {
            None
        };
        let span = self.since(start);
        self.expect(TokenKind::Equal)?;
        let body = self.lambda_body(false, Vec::new())?;
        Ok(PatternMatch { values, path, body, span })
    }

    fn pattern_value(&mut self) -> P<Expr> {
        let start = self.span();
        let text = self.string_literal()?;
        Ok(Expr { kind: ExprKind::Literal(Literal::String(text)), span: self.since(start) })
    }

    fn restrict_statement(&mut self) -> P<StatementKind> {
        self.bump();
        self.bump();
        self.expect_word("to")?;
        Ok(StatementKind::Restrict(self.parenthesized(Self::table_reference)?))
    }

    fn alias_statement(&mut self) -> P<StatementKind> {
        self.bump();
        self.bump();
        let name = self.any_name("a name")?;
        self.expect(TokenKind::Equal)?;
        let value = self.expression()?;
        Ok(StatementKind::Alias { name, value })
    }

    /// `[view] (parameters) { statements }`.
    pub(super) fn lambda(&mut self) -> P<Lambda> {
        let is_view = self.eat_word("view");
        let parameters = self.parenthesized(Self::parameter)?;
        self.lambda_body(is_view, parameters)
    }

    pub(super) fn lambda_body(&mut self, is_view: bool, parameters: Vec<Parameter>) -> P<Lambda> {
        let open = self.expect(TokenKind::OpenBrace)?.span;
        let mut statements = self.nested(|parser| Ok(parser.statements(TokenKind::CloseBrace)))?;
        let close = self.expect(TokenKind::CloseBrace)?.span;
        let ends_with_query = matches!(statements.last(), Some(Statement { kind: StatementKind::Query(_), .. }));
        let body = match statements.pop_if(|_| ends_with_query) {
            Some(Statement { kind: StatementKind::Query(body), .. }) => Some(body),
            _ => None,
        };
        Ok(Lambda { is_view, parameters, statements, body, body_span: open.to(close) })
    }

    /// `name: type [= literal]`, or `name: (columns)` for a table.
    pub(super) fn parameter(&mut self) -> P<Parameter> {
        let name = self.declared_name()?;
        self.expect(TokenKind::Colon)?;
        let ty = if self.at(TokenKind::OpenParen) {
            if self.kind_at(1) == TokenKind::Star {
                self.bump();
                self.bump();
                self.expect(TokenKind::CloseParen)?;
                ParameterType::AnyTable
            } else {
                ParameterType::Table(self.parenthesized(Self::column_declaration)?)
            }
        } else {
            ParameterType::Scalar(self.type_name()?)
        };
        let default = if self.eat(TokenKind::Equal) { Some(self.unary()?) } else { None };
        Ok(Parameter { name, ty, default })
    }

    /// `name: type`.
    pub(super) fn column_declaration(&mut self) -> P<ColumnDeclaration> {
        let name = self.any_name("a column name")?;
        self.expect(TokenKind::Colon)?;
        let ty = self.type_name()?;
        Ok(ColumnDeclaration { name, ty })
    }

    pub(super) fn type_name(&mut self) -> P<KqlType> {
        if !self.at(TokenKind::Name) {
            return Err(self.missing("a type name"));
        }
        let (word, span) = (self.word(), self.span());
        if let Some(ty) = KqlType::parse(word) {
            self.bump();
            return Ok(ty);
        }
        if OTHER_TYPES.contains(&word) {
            return Err(self.report(Diagnostic::not_served(span, format!("type '{word}'"))));
        }
        let message = format!("Query could not be parsed at '{word}': expected a type name");
        let diagnostic = Diagnostic::new(diagnostic::SYNTAX, span, message);
        Err(self.report(diagnostic.hint_nearest(word, KqlType::ALL.iter().map(|ty| ty.name()))))
    }

    /// A type name inside `typeof`, where `DateTime` is one too.
    pub(super) fn type_name_any_case(&mut self) -> P<KqlType> {
        let ty = KqlType::parse(&self.word().to_ascii_lowercase());
        match ty.filter(|_| self.at(TokenKind::Name)) {
            Some(ty) => {
                self.bump();
                Ok(ty)
            }
            None => self.type_name(),
        }
    }

    /// `a.b.c` as one name, for options and hints.
    pub(super) fn dotted_name(&mut self) -> P<Name> {
        let mut name = self.any_name("a name")?;
        while self.at(TokenKind::Dot) && self.kind_at(1) == TokenKind::Name {
            self.bump();
            let part = self.bump().span;
            name.text.push('.');
            name.text.push_str(part.text(self.text));
            name.span = name.span.to(part);
        }
        Ok(name)
    }

    // Pipelines.

    /// `source | operator | ...`, or just a scalar expression.
    pub(super) fn pipe_expression(&mut self) -> P<Expr> {
        let (start, begun) = (self.span(), self.index);
        let mut operators = Vec::new();
        let mut source = None;
        if self.at_source_operator() {
            operators.push(self.recovering_operator());
        } else {
            match self.expression() {
                Ok(expression) => source = Some(expression),
                Err(failed) => {
                    self.skip_to_operator(begun);
                    if !self.at(TokenKind::Pipe) {
                        return Err(failed);
                    }
                    source = Some(Expr { kind: ExprKind::Error, span: self.since(start) });
                }
            }
        }
        operators.extend(self.pipeline_tail());
        match source {
            Some(expression) if operators.is_empty() => Ok(expression),
            source => {
                let span = self.since(start);
                Ok(Expr { kind: ExprKind::Pipe(Box::new(Pipeline { source, operators })), span })
            }
        }
    }

    /// Operators, each after its `|`.
    pub(super) fn pipeline_tail(&mut self) -> Vec<Operator> {
        let mut operators = Vec::new();
        while self.eat(TokenKind::Pipe) {
            operators.push(self.recovering_operator());
        }
        operators
    }

    /// `operator | operator ...` over the rows of the enclosing operator.
    pub(super) fn contextual_pipeline(&mut self) -> P<Pipeline> {
        let mut operators = vec![self.recovering_operator()];
        operators.extend(self.pipeline_tail());
        Ok(Pipeline { source: None, operators })
    }

    /// `( operator | operator ... )`.
    pub(super) fn parenthesized_pipeline(&mut self) -> P<Pipeline> {
        self.expect(TokenKind::OpenParen)?;
        self.nested(|parser| {
            let pipeline = parser.contextual_pipeline()?;
            parser.expect(TokenKind::CloseParen)?;
            Ok(pipeline)
        })
    }

    /// An operator; one that cannot be read is skipped and stands as `Error`.
    fn recovering_operator(&mut self) -> Operator {
        let (start, begun) = (self.span(), self.index);
        let read = self.operator();
        let ends = matches!(
            self.kind(),
            TokenKind::Pipe
                | TokenKind::Semicolon
                | TokenKind::Comma
                | TokenKind::CloseParen
                | TokenKind::CloseBracket
                | TokenKind::CloseBrace
                | TokenKind::End
        );
        match read {
            Ok(kind) if ends => Operator { kind, span: self.since(start) },
            Ok(_) | Err(_) => {
                if read.is_ok() {
                    let hint = if self.at(TokenKind::Equal) { " ('==' compares)" } else { "" };
                    self.expected_end(&format!("'|', ';' or the end of the operator{hint}"));
                }
                self.skip_to_operator(begun);
                Operator { kind: OperatorKind::Error, span: self.since(start) }
            }
        }
    }

    /// Whether an operator that needs no input begins here: `print`, `range x from`, `union`, ...
    pub(super) fn at_source_operator(&self) -> bool {
        if !self.at(TokenKind::Name) {
            return false;
        }
        match self.word() {
            "print" | "union" | "search" | "find" => true,
            "range" => {
                let after = if self.at_bracketed_name(1) { 4 } else { 2 };
                (after == 4 || self.kind_at(1) == TokenKind::Name) && self.is_word(after, "from")
                    || self.kind_at(1) == TokenKind::Name && self.kind_at(2) == TokenKind::Name
            }
            "evaluate" => self.kind_at(1) == TokenKind::Name,
            "macro" => self.kind_at(1) == TokenKind::Minus && self.lexeme(1).glued && self.is_word(2, "expand"),
            _ => false,
        }
    }

    /// The item of a list of tables: a name, a wildcard, a path or a query in parentheses.
    pub(super) fn table_reference(&mut self) -> P<Expr> {
        if let Some(wildcard) = self.wildcard() {
            return Ok(wildcard);
        }
        if self.at(TokenKind::Name)
            && self.kind_at(1) != TokenKind::OpenParen
            && keywords::is_reserved_reference(self.word())
        {
            return Err(self.reserved_reference());
        }
        self.table_path()
    }

    /// `*`, `a*`, `*b`, `a*b`: names and stars glued together, at least one star.
    pub(super) fn wildcard(&mut self) -> Option<Expr> {
        if !matches!(self.kind(), TokenKind::Name | TokenKind::Star | TokenKind::Long) {
            return None;
        }
        let mut count = 1;
        while matches!(self.kind_at(count), TokenKind::Name | TokenKind::Star | TokenKind::Long)
            && self.lexeme(count).glued
        {
            count += 1;
        }
        let has_star = (0..count).any(|ahead| self.kind_at(ahead) == TokenKind::Star);
        if !has_star {
            return None;
        }
        let start = self.span();
        for _ in 0..count {
            self.bump();
        }
        let span = self.since(start);
        let text = span.text(self.text);
        if text == "*" {
            return Some(Expr { kind: ExprKind::Star, span });
        }
        Some(Expr { kind: ExprKind::Wildcard(Name { text: text.to_string(), span }), span })
    }
}
