//! Scalar expressions.
//!
//! Precedence from low to high: `or`, `and`, `== != in between has_any has_all` (not chained),
//! `< <= > >=` (not chained), `+ -`, `* / %`, `=~ !~ has contains startswith matches regex` and
//! their like (not chained), sign, `.` `[ ]` and calls. Source: the service's own parser.

use super::{P, Parser, keywords};
use crate::ast::{Argument, BinaryOp, Expr, ExprKind, InOp, Literal, Name, NamedExpr, OrderKey, Property, UnaryOp};
use crate::diagnostic::Diagnostic;
use crate::lexer::TokenKind;
use crate::span::Span;

/// What stands between two operands of the equality level.
enum Comparison {
    Binary(BinaryOp, usize),
    In(InOp),
    Between(bool),
}

/// Functions whose argument is a query without parentheses of its own.
pub(crate) const TABULAR_CALLS: &[&str] = &["toscalar", "totable", "materialize", "__toscalar"];

impl Parser<'_> {
    /// A scalar expression without pipes.
    pub(super) fn expression(&mut self) -> P<Expr> {
        self.chain(BinaryOp::Or)
    }

    /// A flat chain of `or` or of `and`.
    fn chain(&mut self, op: BinaryOp) -> P<Expr> {
        self.measured(|parser| parser.read_chain(op))
    }

    fn read_chain(&mut self, op: BinaryOp) -> P<Expr> {
        let operand = |parser: &mut Self| match op {
            BinaryOp::Or => parser.chain(BinaryOp::And),
            _ => parser.equality(),
        };
        let start = self.span();
        let first = operand(self)?;
        if !self.at_word(op.text()) {
            return Ok(first);
        }
        let mut operands = vec![first];
        let mut at = Vec::new();
        while self.at_word(op.text()) {
            at.push(self.bump().span);
            operands.push(operand(self)?);
        }
        self.taller()?;
        let span = self.since(start);
        if operands.len() > 2 {
            return Ok(Expr { kind: ExprKind::Chain { op, operands, at }, span });
        }
        match (operands.pop(), operands.pop()) {
            (Some(right), Some(left)) => Ok(binary(op, left, right, at.pop().unwrap_or(span), span)),
            _ => Ok(Expr { kind: ExprKind::Error, span }),
        }
    }

    fn equality(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_equality())
    }

    fn read_equality(&mut self) -> P<Expr> {
        let start = self.span();
        let left = self.relational()?;
        let Some(comparison) = self.comparison() else { return Ok(left) };
        let kind = match comparison {
            Comparison::Binary(op, tokens) => self.right_operand(op, tokens, left, Self::relational)?,
            Comparison::In(op) => {
                self.bump();
                let list = self.in_list()?;
                ExprKind::InList { op, operand: Box::new(left), list }
            }
            Comparison::Between(negated) => {
                let at = self.bump().span;
                self.expect(TokenKind::OpenParen)?;
                let (low, high) = self.nested(|parser| {
                    let low = parser.expression()?;
                    parser.expect(TokenKind::DotDot)?;
                    let high = parser.expression()?;
                    parser.expect(TokenKind::CloseParen)?;
                    Ok((low, high))
                })?;
                ExprKind::Between { negated, operand: Box::new(left), low: Box::new(low), high: Box::new(high), at }
            }
        };
        self.taller()?;
        Ok(Expr { kind, span: self.since(start) })
    }

    /// `*` as all columns: `* has "x"`.
    pub(super) fn at_star_operand(&self) -> bool {
        self.at(TokenKind::Star)
            && match self.kind_at(1) {
                TokenKind::EqualEqual
                | TokenKind::BangEqual
                | TokenKind::LessGreater
                | TokenKind::EqualTilde
                | TokenKind::BangTilde
                | TokenKind::Colon => true,
                TokenKind::Name | TokenKind::Word => {
                    word_comparison(self.word_at(1)).is_some()
                        || string_operator(self.word_at(1)).is_some()
                        || self.is_word(1, "matches")
                }
                _ => false,
            }
    }

    fn comparison(&self) -> Option<Comparison> {
        match self.kind() {
            TokenKind::EqualEqual => Some(Comparison::Binary(BinaryOp::Equal, 1)),
            TokenKind::BangEqual | TokenKind::LessGreater => Some(Comparison::Binary(BinaryOp::NotEqual, 1)),
            TokenKind::Name | TokenKind::Word => word_comparison(self.word()),
            _ => None,
        }
    }

    fn right_operand(
        &mut self,
        op: BinaryOp,
        tokens: usize,
        left: Expr,
        operand: impl FnOnce(&mut Self) -> P<Expr>,
    ) -> P<ExprKind> {
        let start = self.span();
        for _ in 0..tokens {
            self.bump();
        }
        let at = self.since(start);
        let right = operand(self)?;
        Ok(ExprKind::Binary { op, left: Box::new(left), right: Box::new(right), at })
    }

    /// An operand of `*`: the string operators bind more tightly than arithmetic.
    fn string_comparison(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_string_comparison())
    }

    fn read_string_comparison(&mut self) -> P<Expr> {
        let start = self.span();
        let left = if self.at_star_operand() {
            self.bump();
            Expr { kind: ExprKind::Star, span: start }
        } else {
            self.unary()?
        };
        let (op, tokens) = match self.kind() {
            TokenKind::EqualTilde => (BinaryOp::EqualTilde, 1),
            TokenKind::BangTilde => (BinaryOp::NotEqualTilde, 1),
            TokenKind::Colon if self.colon_is_has => (BinaryOp::Has, 1),
            TokenKind::Name if self.word() == "matches" && self.is_word(1, "regex") => (BinaryOp::MatchesRegex, 2),
            TokenKind::Name if matches!(self.word(), "like" | "notlike" | "like_cs" | "notlike_cs") => {
                let what = format!("operator '{}'", self.word());
                return Err(self.report(Diagnostic::not_served(self.span(), what)));
            }
            TokenKind::Name | TokenKind::Word => match string_operator(self.word()) {
                Some(op) => (op, 1),
                None => return Ok(left),
            },
            _ => return Ok(left),
        };
        let kind = self.right_operand(op, tokens, left, Self::unary)?;
        self.taller()?;
        Ok(Expr { kind, span: self.since(start) })
    }

    /// `( item, item )` after `in`: scalars or queries, at least one.
    fn in_list(&mut self) -> P<Vec<Expr>> {
        self.expect(TokenKind::OpenParen)?;
        self.nested(|parser| {
            let list = parser.comma_list(Self::pipe_expression)?;
            parser.expect_close(TokenKind::CloseParen)?;
            Ok(list)
        })
    }

    fn relational(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_relational())
    }

    fn read_relational(&mut self) -> P<Expr> {
        let start = self.span();
        let left = self.additive()?;
        let op = match self.kind() {
            TokenKind::Less => BinaryOp::Less,
            TokenKind::LessEqual => BinaryOp::LessOrEqual,
            TokenKind::Greater => BinaryOp::Greater,
            TokenKind::GreaterEqual => BinaryOp::GreaterOrEqual,
            _ => return Ok(left),
        };
        let at = self.bump().span;
        let right = self.additive()?;
        self.taller()?;
        Ok(binary(op, left, right, at, self.since(start)))
    }

    pub(super) fn additive(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_additive())
    }

    fn read_additive(&mut self) -> P<Expr> {
        let start = self.span();
        let mut left = self.multiplicative()?;
        loop {
            let op = match self.kind() {
                TokenKind::Plus => BinaryOp::Add,
                TokenKind::Minus => BinaryOp::Subtract,
                _ => return Ok(left),
            };
            let at = self.bump().span;
            let right = self.multiplicative()?;
            self.taller()?;
            left = binary(op, left, right, at, self.since(start));
        }
    }

    fn multiplicative(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_multiplicative())
    }

    fn read_multiplicative(&mut self) -> P<Expr> {
        let start = self.span();
        let mut left = self.string_comparison()?;
        loop {
            let op = match self.kind() {
                TokenKind::Star => BinaryOp::Multiply,
                TokenKind::Slash => BinaryOp::Divide,
                TokenKind::Percent => BinaryOp::Modulo,
                _ => return Ok(left),
            };
            let at = self.bump().span;
            let right = self.string_comparison()?;
            self.taller()?;
            left = binary(op, left, right, at, self.since(start));
        }
    }

    /// An operand with at most one sign: `--1` is no expression.
    pub(super) fn unary(&mut self) -> P<Expr> {
        self.measured(|parser| parser.read_unary())
    }

    fn read_unary(&mut self) -> P<Expr> {
        let start = self.span();
        let op = match self.kind() {
            TokenKind::Minus => UnaryOp::Minus,
            TokenKind::Plus => UnaryOp::Plus,
            _ => return self.postfix(),
        };
        self.bump();
        // The magnitude of the smallest long is no long itself.
        if op == UnaryOp::Minus
            && self.at(TokenKind::Long)
            && self.word().trim_start_matches('0') == "9223372036854775808"
        {
            self.bump();
            return Ok(Expr { kind: ExprKind::Literal(Literal::Long(Some(i64::MIN))), span: self.since(start) });
        }
        let operand = self.postfix()?;
        self.taller()?;
        Ok(Expr { kind: ExprKind::Unary { op, operand: Box::new(operand) }, span: self.since(start) })
    }

    /// An operand with `.name`, `.name(...)` and `[index]` behind it.
    pub(super) fn postfix(&mut self) -> P<Expr> {
        self.path(false)
    }

    /// The same where a list of tables may end in a wildcard: `database("x").T*`.
    pub(super) fn table_path(&mut self) -> P<Expr> {
        self.path(true)
    }

    fn path(&mut self, takes_wildcard: bool) -> P<Expr> {
        self.measured(|parser| parser.read_path(takes_wildcard))
    }

    fn read_path(&mut self, takes_wildcard: bool) -> P<Expr> {
        let start = self.span();
        let mut base = self.primary()?;
        loop {
            match self.kind() {
                TokenKind::Dot => {
                    self.bump();
                    let wildcard = if takes_wildcard { self.wildcard() } else { None };
                    if let Some(wildcard) = wildcard {
                        let name = match wildcard.kind {
                            ExprKind::Wildcard(name) => name,
                            _ => Name { text: "*".into(), span: wildcard.span },
                        };
                        self.taller()?;
                        return Ok(Expr {
                            kind: ExprKind::Member { base: Box::new(base), name },
                            span: self.since(start),
                        });
                    }
                    if self.at(TokenKind::OpenBracket) && !self.at_bracketed_name(0) {
                        // `d.[key]` is `d[key]`.
                        continue;
                    }
                    let name = self.any_name("a name")?;
                    let kind = if self.at(TokenKind::OpenParen) {
                        let arguments = self.arguments(false)?;
                        ExprKind::Call { base: Some(Box::new(base)), name, arguments }
                    } else {
                        ExprKind::Member { base: Box::new(base), name }
                    };
                    base = Expr { kind, span: self.since(start) };
                }
                TokenKind::OpenBracket => {
                    self.bump();
                    let index = self.nested(|parser| {
                        let index = parser.expression()?;
                        parser.expect(TokenKind::CloseBracket)?;
                        Ok(index)
                    })?;
                    let kind = ExprKind::Index { base: Box::new(base), index: Box::new(index) };
                    base = Expr { kind, span: self.since(start) };
                }
                _ => return Ok(base),
            }
            self.taller()?;
        }
    }

    fn primary(&mut self) -> P<Expr> {
        let start = self.span();
        let kind = match self.kind() {
            TokenKind::OpenParen => {
                self.bump();
                let inner = self.nested(|parser| {
                    let inner = parser.pipe_expression()?;
                    parser.expect(TokenKind::CloseParen)?;
                    Ok(inner)
                })?;
                // The brackets belong to the place, not to the tree.
                return Ok(Expr { kind: inner.kind, span: self.since(start) });
            }
            TokenKind::Long | TokenKind::Real | TokenKind::TimeSpan => ExprKind::Literal(self.number_literal()?),
            TokenKind::String => ExprKind::Literal(Literal::String(self.string_literal()?)),
            TokenKind::OpenBracket if self.at_bracketed_name(0) => {
                let name = self.bracketed_name()?;
                if self.at(TokenKind::OpenParen) {
                    ExprKind::Call { base: None, name, arguments: self.arguments(false)? }
                } else {
                    ExprKind::Name(name)
                }
            }
            TokenKind::Name => self.name_expression()?,
            TokenKind::Equal => {
                return Err(self.missing("an expression ('==' compares)"));
            }
            TokenKind::OpenString => return Err(self.open_string()),
            TokenKind::OpenBracket => return Err(self.not_a_bracketed_name()),
            _ => return Err(self.missing("an expression")),
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    /// `[` where only a name in brackets could begin: reads what stands in them and reports it.
    fn not_a_bracketed_name(&mut self) -> super::Failed {
        self.bump();
        if matches!(self.kind(), TokenKind::End | TokenKind::CloseBracket) {
            return self.missing("a name in quotes");
        }
        let inner = match self.nested(Self::expression) {
            Ok(inner) => inner,
            Err(failed) => return failed,
        };
        if !self.at(TokenKind::CloseBracket) {
            return self.expected("']'");
        }
        let message = "Query could not be parsed: a name in brackets is written in quotes; a list is dynamic([...])";
        self.error(inner.span, message.to_string())
    }

    fn name_expression(&mut self) -> P<ExprKind> {
        let word = self.word();
        let is_call = self.kind_at(1) == TokenKind::OpenParen;
        match word {
            "true" | "True" | "TRUE" if !is_call => {
                self.bump();
                return Ok(ExprKind::Literal(Literal::Bool(Some(true))));
            }
            "false" | "False" | "FALSE" if !is_call => {
                self.bump();
                return Ok(ExprKind::Literal(Literal::Bool(Some(false))));
            }
            "toscalar" | "totable" if self.is_word(1, "kind") && self.kind_at(2) == TokenKind::Equal => {
                return self.call_with_kind();
            }
            "datatable" | "externaldata" | "external_data" => {
                return self.data_source();
            }
            "toscalar" if !is_call && !self.is_followed_as_name() => {
                self.bump();
                return Err(self.expected("'('"));
            }
            "inline_external_table" if is_call || self.is_word(1, "kind") => {
                return self.data_source();
            }
            "entity_group" if self.kind_at(1) == TokenKind::OpenBracket => return self.entity_group(),
            "typeof" if is_call => return self.type_of(),
            "dynamic" if is_call => return self.dynamic_literal().map(ExprKind::Literal),
            _ if is_call && super::literals::is_literal_type(word) => return self.typed_literal(),
            _ => {}
        }
        let is_keyword = keywords::is_reserved_reference(word);
        let may_be_called = !is_keyword || matches!(word, "materialize" | "toscalar");
        if !is_call && is_keyword || is_call && !may_be_called || matches!(word, "string" | "boolean") {
            return Err(self.reserved_reference());
        }
        let name = self.any_name("a name")?;
        if is_call {
            let is_tabular = TABULAR_CALLS.contains(&name.text.as_str());
            let arguments = self.arguments(is_tabular)?;
            return Ok(ExprKind::Call { base: None, name, arguments });
        }
        Ok(ExprKind::Name(name))
    }

    /// `toscalar kind=nooptimization (...)`: the kind changes no result.
    fn call_with_kind(&mut self) -> P<ExprKind> {
        let name = self.any_name("a name")?;
        self.bump();
        self.bump();
        self.expect_word("nooptimization")?;
        let arguments = self.arguments(true)?;
        Ok(ExprKind::Call { base: None, name, arguments })
    }

    /// `( argument, ... )`; an argument is an expression, `name = expression` or `*`.
    pub(super) fn arguments(&mut self, is_tabular: bool) -> P<Vec<Argument>> {
        let mut is_first = true;
        self.parenthesized(|parser| {
            if std::mem::take(&mut is_first) && !parser.at_argument() {
                return Err(parser.expected("an argument or ')'"));
            }
            let is_named = parser.kind() == TokenKind::Name && parser.kind_at(1) == TokenKind::Equal
                || parser.at_bracketed_name(0) && parser.kind_at(3) == TokenKind::Equal;
            let name = if is_named {
                let name = parser.any_name("a name")?;
                parser.bump();
                Some(name)
            } else {
                None
            };
            let is_star =
                parser.at(TokenKind::Star) && matches!(parser.kind_at(1), TokenKind::Comma | TokenKind::CloseParen);
            if is_star {
                let span = parser.bump().span;
                return Ok(Argument { name, value: Expr { kind: ExprKind::Star, span } });
            }
            let value = if is_tabular || parser.at_source_operator() {
                parser.pipe_expression()?
            } else {
                parser.expression()?
            };
            Ok(Argument { name, value })
        })
    }

    /// Whether an argument can begin here; where none can, the list is meant to be empty.
    fn at_argument(&self) -> bool {
        match self.kind() {
            TokenKind::Name => !self.at_misplaced_keyword() || self.at_source_operator(),
            TokenKind::Minus | TokenKind::Plus | TokenKind::Star | TokenKind::Comma | TokenKind::OpenBracket => true,
            TokenKind::End => false,
            _ => self.at_expression(),
        }
    }

    // Items of operators.

    /// `expr`, `name = expr` or `(a, b) = expr`.
    pub(super) fn named_expression(&mut self) -> P<NamedExpr> {
        self.named(Self::expression)
    }

    pub(super) fn named(&mut self, value: impl FnOnce(&mut Self) -> P<Expr>) -> P<NamedExpr> {
        let mut names = Vec::new();
        let mut tuple = false;
        if self.at(TokenKind::OpenParen) && self.kind_after_bracket() == TokenKind::Equal && self.at_name_tuple() {
            tuple = true;
            names = self.parenthesized(Self::declared_name)?;
            self.expect(TokenKind::Equal)?;
        } else if self.at(TokenKind::Name) && self.kind_at(1) == TokenKind::Equal
            || self.at_bracketed_name(0) && self.kind_at(3) == TokenKind::Equal
        {
            names.push(self.declared_name()?);
            self.bump();
        }
        Ok(NamedExpr { names, tuple, value: value(self)? })
    }

    /// Whether the brackets here hold names and commas only.
    fn at_name_tuple(&self) -> bool {
        let mut ahead = 1;
        loop {
            ahead += match self.kind_at(ahead) {
                TokenKind::Name => 1,
                TokenKind::OpenBracket if self.at_bracketed_name(ahead) => 3,
                _ => return false,
            };
            match self.kind_at(ahead) {
                TokenKind::Comma => ahead += 1,
                TokenKind::CloseParen => return true,
                _ => return false,
            }
        }
    }

    pub(super) fn named_list(&mut self) -> P<Vec<NamedExpr>> {
        self.comma_list(Self::named_expression)
    }

    /// `expr [asc | desc] [nulls first | nulls last]`.
    pub(super) fn order_key(&mut self) -> P<OrderKey> {
        let value = self.expression()?;
        let ascending = match self.word() {
            "asc" => Some(true),
            "desc" => Some(false),
            _ => None,
        };
        if ascending.is_some() {
            self.bump();
        }
        let mut nulls_first = None;
        if self.eat_word("nulls") {
            nulls_first = match self.word() {
                "first" => Some(true),
                "last" => Some(false),
                _ => return Err(self.expected("'first' or 'last'")),
            };
            self.bump();
        }
        Ok(OrderKey { value, ascending, nulls_first })
    }

    /// `name = value` parameters that an operator takes, in any order; hints that there are always.
    pub(super) fn parameters(&mut self, allowed: &[&str]) -> P<Vec<Property>> {
        let mut parameters = Vec::new();
        while self.at(TokenKind::Name) {
            let word = self.word();
            let is_hint = word == "hint"
                && self.kind_at(1) == TokenKind::Dot
                && keywords::HINTS.contains(&self.word_at(2))
                && self.kind_at(3) == TokenKind::Equal;
            let is_known = (allowed.contains(&word) || keywords::INTERNAL_PARAMETERS.contains(&word))
                && self.kind_at(1) == TokenKind::Equal;
            if !is_hint && !is_known {
                break;
            }
            let name = self.dotted_name()?;
            self.bump();
            let value = self.property_value()?;
            parameters.push(Property { name, value });
        }
        Ok(parameters)
    }

    /// A literal, or a bare word as a name.
    pub(super) fn property_value(&mut self) -> P<Expr> {
        match self.kind() {
            TokenKind::Name => {}
            TokenKind::Minus | TokenKind::Plus => return self.unary(),
            // A bracket behind a literal is a name of what the operator reads: `union hint.concurrency=4 ['hint'].x`.
            _ => return self.measured(Self::primary),
        }
        // In `kind=inner (T)` the bracket is the operator's: only typed literals are calls here.
        let word = self.word();
        if self.kind_at(1) == TokenKind::OpenParen && (word == "dynamic" || super::literals::is_literal_type(word)) {
            return self.unary();
        }
        let span = self.bump().span;
        let kind = match word {
            "true" | "True" | "TRUE" => ExprKind::Literal(Literal::Bool(Some(true))),
            "false" | "False" | "FALSE" => ExprKind::Literal(Literal::Bool(Some(false))),
            _ => ExprKind::Name(Name { text: word.to_string(), span }),
        };
        Ok(Expr { kind, span })
    }

    /// `with ( name = value, ... )` when present.
    pub(super) fn with_properties(&mut self) -> P<Vec<Property>> {
        if !self.eat_word("with") {
            return Ok(Vec::new());
        }
        self.property_list()
    }

    /// `( name = value, ... )`.
    pub(super) fn property_list(&mut self) -> P<Vec<Property>> {
        self.parenthesized(|parser| {
            let name = if parser.at(TokenKind::String) {
                let span = parser.span();
                Name { text: parser.string_token()?, span }
            } else {
                parser.dotted_name()?
            };
            parser.expect(TokenKind::Equal)?;
            let value = parser.property_value()?;
            Ok(Property { name, value })
        })
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr, at: Span, span: Span) -> Expr {
    Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right), at }, span }
}

/// Whether a word is an operator between two operands.
pub(super) fn is_operator_word(word: &str) -> bool {
    word_comparison(word).is_some() || string_operator(word).is_some() || matches!(word, "like" | "notlike")
}

fn word_comparison(word: &str) -> Option<Comparison> {
    Some(match word {
        "in" => Comparison::In(InOp::In),
        "!in" => Comparison::In(InOp::NotIn),
        "in~" => Comparison::In(InOp::InTilde),
        "!in~" => Comparison::In(InOp::NotInTilde),
        "has_any" => Comparison::In(InOp::HasAny),
        "has_all" => Comparison::In(InOp::HasAll),
        "between" => Comparison::Between(false),
        "!between" => Comparison::Between(true),
        _ => return None,
    })
}

fn string_operator(word: &str) -> Option<BinaryOp> {
    use BinaryOp::*;
    Some(match word {
        "has" => Has,
        "!has" => NotHas,
        "has_cs" => HasCs,
        "!has_cs" => NotHasCs,
        "hasprefix" => HasPrefix,
        "!hasprefix" => NotHasPrefix,
        "hasprefix_cs" => HasPrefixCs,
        "!hasprefix_cs" => NotHasPrefixCs,
        "hassuffix" => HasSuffix,
        "!hassuffix" => NotHasSuffix,
        "hassuffix_cs" => HasSuffixCs,
        "!hassuffix_cs" => NotHasSuffixCs,
        "contains" => Contains,
        "!contains" | "notcontains" => NotContains,
        "contains_cs" | "containscs" => ContainsCs,
        "!contains_cs" | "notcontainscs" => NotContainsCs,
        "startswith" => StartsWith,
        "!startswith" => NotStartsWith,
        "startswith_cs" => StartsWithCs,
        "!startswith_cs" => NotStartsWithCs,
        "endswith" => EndsWith,
        "!endswith" => NotEndsWith,
        "endswith_cs" => EndsWithCs,
        "!endswith_cs" => NotEndsWithCs,
        _ => return None,
    })
}
