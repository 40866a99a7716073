//! Tokens to tree.
//!
//! Input: a query text. Output: a tree that covers as much as could be read, and a diagnostic for
//! each mistake. A mistake inside an operator skips to the next `|`, `;` or closing bracket.
//! Recursion happens only inside brackets, is counted, and grows the stack where needed; chains of
//! operators are read in loops. All of it is linear in the text.

mod command_names;
mod commands;
mod entity_commands;
pub(crate) mod expressions;
mod external;
mod graph;
pub(crate) mod keywords;
mod literals;
mod management_commands;
mod operators;
mod policy_commands;
mod query;
mod render;
mod running_commands;
mod search;
mod security_commands;
mod sources;

use crate::ast::{Literal, Name, Script};
use crate::command::Command;
use crate::diagnostic::{self, Diagnostic};
use crate::lexer::{Lexer, TokenKind};
use crate::span::Span;
use crate::types::KqlType;

/// Levels of brackets and operators that a tree may have. Readers of the tree may recurse over it.
pub const MAX_DEPTH: u32 = 512;
/// Mistakes reported for one text; reading stops there.
pub const MAX_DIAGNOSTICS: usize = 20;

/// Stack that must be free before a level of brackets is entered, and what is added when it is not.
const STACK_RED_ZONE_BYTES: usize = 256 * 1024;
const STACK_SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// A tree and the mistakes found while making it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<T> {
    /// What could be read; holds `Error` nodes where there are diagnostics.
    pub tree: T,
    /// In the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Parsed<T> {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.diagnostics.is_empty()
    }
}

/// Reads a query text: statements separated by `;`.
pub fn parse_query(text: &str) -> Parsed<Script> {
    let mut parser = Parser::new(text);
    let tree = parser.script();
    Parsed { tree, diagnostics: parser.finish() }
}

/// Reads a management command: a text whose first token is `.`.
pub fn parse_command(text: &str) -> Parsed<Command> {
    commands::parse(text)
}

/// Whether the text is a management command rather than a query.
pub fn is_command(text: &str) -> bool {
    Lexer::new(text, 0).find(|token| !token.kind.is_trivia()).is_some_and(|token| token.kind == TokenKind::Dot)
}

/// Reads `(parameters) { body }`, the two texts that a stored function keeps.
pub fn parse_function_body(parameters: &str, body: &str) -> Parsed<Option<crate::ast::Lambda>> {
    let text = format!("{parameters}{body}");
    let mut parser = Parser::new(&text);
    let tree = parser.lambda().ok();
    if tree.is_some() && !parser.at(TokenKind::End) {
        parser.unexpected("the end of the function's body");
    }
    Parsed { tree, diagnostics: parser.finish() }
}

/// Reads the value of a query parameter: a literal of the type, or its bare text. `None` when it is no such value.
pub fn parse_literal(text: &str, ty: KqlType) -> Option<Literal> {
    literals::parse_value(text, ty)
}

/// Reads any text as a query and as a command: for fuzzing. Never panics.
pub fn fuzz_query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let query = parse_query(&text);
    if query.is_clean() {
        let printed = crate::printer::print(&query.tree);
        drop(parse_query(&printed));
    }
    drop(parse_command(&text));
}

/// A diagnostic has been recorded; the caller skips to where reading can go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

pub(crate) type P<T> = Result<T, Failed>;

/// A token that is no trivia.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme {
    kind: TokenKind,
    span: Span,
    /// Nothing stands between it and the token before.
    glued: bool,
}

const NO_PARTNER: u32 = u32::MAX;

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Lexeme>,
    /// For each bracket, the index of the one that closes or opens it.
    partner: Vec<u32>,
    index: usize,
    diagnostics: Vec<Diagnostic>,
    depth: u32,
    /// Height of the tallest tree read since the enclosing level began.
    height: u32,
    /// After too deep nesting or too many mistakes: every token is the end and nothing is reported.
    stopped: bool,
    /// `column:"text"` is an operator (in `search` and `find` only).
    colon_is_has: bool,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self::over(text, 0, false)
    }

    /// A parser of the text from a byte on, up to and including the first `<|` when asked.
    pub(crate) fn over(text: &'a str, from: usize, until_data: bool) -> Self {
        let mut tokens = Vec::new();
        let mut glued = false;
        for token in Lexer::new(text, from) {
            if token.kind.is_trivia() {
                glued = false;
                continue;
            }
            tokens.push(Lexeme { kind: token.kind, span: token.span, glued });
            glued = true;
            if until_data && token.kind == TokenKind::LessPipe {
                break;
            }
        }
        let end = tokens
            .last()
            .filter(|token| until_data && token.kind == TokenKind::LessPipe)
            .map_or(text.len(), |t| t.span.end as usize);
        tokens.push(Lexeme { kind: TokenKind::End, span: Span::new(end, end), glued: false });
        let partner = pair_brackets(&tokens);
        Self {
            text,
            tokens,
            partner,
            index: 0,
            diagnostics: Vec::new(),
            depth: 0,
            height: 0,
            stopped: false,
            colon_is_has: false,
        }
    }

    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    // Looking at tokens.

    fn lexeme(&self, ahead: usize) -> Lexeme {
        self.tokens[(self.index + ahead).min(self.tokens.len() - 1)]
    }

    fn kind(&self) -> TokenKind {
        self.lexeme(0).kind
    }

    fn kind_at(&self, ahead: usize) -> TokenKind {
        self.lexeme(ahead).kind
    }

    fn span(&self) -> Span {
        self.lexeme(0).span
    }

    fn word_at(&self, ahead: usize) -> &'a str {
        self.lexeme(ahead).span.text(self.text)
    }

    /// Text of the token, whatever it is.
    fn word(&self) -> &'a str {
        self.word_at(0)
    }

    fn at(&self, kind: TokenKind) -> bool {
        self.kind() == kind
    }

    fn at_word(&self, word: &str) -> bool {
        self.is_word(0, word)
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        self.kind_at(ahead) == TokenKind::Name && self.word_at(ahead) == word
    }

    /// End of the last token read.
    fn last_end(&self) -> Span {
        match self.index.checked_sub(1) {
            Some(before) => self.tokens[before].span,
            None => Span::new(self.span().start as usize, self.span().start as usize),
        }
    }

    /// From a start to the end of the last token read.
    fn since(&self, start: Span) -> Span {
        Span { start: start.start, end: self.last_end().end.max(start.start) }
    }

    // Moving on.

    fn bump(&mut self) -> Lexeme {
        let token = self.lexeme(0);
        if self.index + 1 < self.tokens.len() {
            self.index += 1;
        }
        token
    }

    fn eat(&mut self, kind: TokenKind) -> bool {
        let found = self.at(kind);
        if found {
            self.bump();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, kind: TokenKind) -> P<Lexeme> {
        if self.at(kind) {
            return Ok(self.bump());
        }
        Err(self.expected(kind.text()))
    }

    fn expect_word(&mut self, word: &str) -> P<()> {
        if self.eat_word(word) {
            return Ok(());
        }
        let failed = self.expected(&format!("'{word}'"));
        self.hint_word(&[word]);
        Err(failed)
    }

    // Mistakes.

    /// Records that a token should stand here: a word or a punctuation mark.
    ///
    /// Its place is the present token when that stands close behind the last one in the same line, else the gap
    /// behind the last one. Source: the reference parser.
    fn expected(&mut self, what: &str) -> Failed {
        let (gap, here) = (self.gap(), self.span());
        let between = Span { start: gap.start, end: here.start }.text(self.text);
        let is_near = between.chars().nth(1).is_none() && !between.contains(['\n', '\r']);
        self.found_instead(what, if is_near { here } else { gap })
    }

    /// Records that something larger than a token should stand here: an expression, a name, an operator.
    /// Its place is the gap behind the last token. Source: the reference parser.
    fn missing(&mut self, what: &str) -> Failed {
        self.found_instead(what, self.gap())
    }

    /// Records that the present token fits nothing: its place is its own.
    fn unexpected(&mut self, what: &str) -> Failed {
        self.found_instead(what, self.span())
    }

    /// Adds the nearest of some words to the mistake just recorded, when the present token is a misspelling of one.
    fn hint_word(&mut self, words: &[&str]) {
        let place = self.span();
        if !self.at(TokenKind::Name) || words.contains(&self.word()) {
            return;
        }
        if let Some(last) = self.diagnostics.last_mut()
            && last.span == place
            && let Some(nearest) = diagnostic::nearest(place.text(self.text), words.iter().copied())
        {
            last.hints.push(format!("did you mean '{nearest}'?"));
        }
    }

    fn found_instead(&mut self, what: &str, place: Span) -> Failed {
        let token = self.lexeme(0);
        let message = match token.kind {
            TokenKind::End => format!("Query could not be parsed at the end of the text: expected {what}"),
            _ => format!("Query could not be parsed at '{}': expected {what}", shortened(token.span.text(self.text))),
        };
        self.error(place, message)
    }

    /// The empty place behind the last token read.
    fn gap(&self) -> Span {
        let end = match self.index {
            0 => self.span().start,
            _ => self.last_end().end,
        };
        Span { start: end, end }
    }

    /// Records that the string literal here is not closed: the place is its end.
    fn open_string(&mut self) -> Failed {
        let end = self.span().end;
        self.error(Span { start: end, end }, "Query could not be parsed: the string literal has no end".into())
    }

    /// Whether the present token can begin an expression.
    fn at_expression(&self) -> bool {
        match self.kind() {
            TokenKind::Name => !keywords::is_reserved_reference(self.word()) || self.kind_at(1) == TokenKind::OpenParen,
            TokenKind::Long
            | TokenKind::Real
            | TokenKind::TimeSpan
            | TokenKind::String
            | TokenKind::OpenString
            | TokenKind::OpenParen => true,
            TokenKind::OpenBracket => self.at_bracketed_name(0),
            _ => false,
        }
    }

    fn error(&mut self, span: Span, message: String) -> Failed {
        self.report(Diagnostic::new(diagnostic::SYNTAX, span, message))
    }

    fn report(&mut self, diagnostic: Diagnostic) -> Failed {
        // Two complaints about one place say no more than one.
        let is_repeated = self.diagnostics.last().is_some_and(|last| last.span == diagnostic.span);
        if !self.stopped && !is_repeated {
            self.diagnostics.push(diagnostic);
            if self.diagnostics.len() >= MAX_DIAGNOSTICS {
                self.stop();
            }
        }
        Failed
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.index = self.tokens.len() - 1;
    }

    fn too_deep(&mut self) -> Failed {
        let span = self.span();
        let message = format!("Query could not be parsed: it is nested deeper than {MAX_DEPTH} levels");
        self.error(span, message);
        self.stop();
        Failed
    }

    // Depth.

    /// Reads one level of brackets.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> P<T>) -> P<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let outer = std::mem::take(&mut self.height);
        let result = stacker::maybe_grow(STACK_RED_ZONE_BYTES, STACK_SEGMENT_BYTES, || read(self));
        self.depth -= 1;
        self.height = outer.max(self.height + 1);
        result
    }

    /// Reads one expression: `height` inside is its own, and afterwards the greater of it and its siblings'.
    fn measured<T>(&mut self, read: impl FnOnce(&mut Self) -> P<T>) -> P<T> {
        let siblings = std::mem::take(&mut self.height);
        let result = read(self);
        self.height = self.height.max(siblings);
        result
    }

    /// Notes that the tree just read gets one more level on top.
    fn taller(&mut self) -> P<()> {
        self.height += 1;
        if self.height + self.depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        Ok(())
    }

    // Recovery.

    /// Skips to the `|`, `;`, closing bracket or end that ends the construct begun at a token.
    fn skip_to_operator(&mut self, begun: usize) {
        self.skip_until(begun, |kind| kind == TokenKind::Pipe || kind == TokenKind::Semicolon);
    }

    fn skip_to_statement(&mut self, begun: usize) {
        self.skip_until(begun, |kind| kind == TokenKind::Semicolon);
    }

    /// Skips to a kind that stops, a bracket that closes what was open before `begun`, or the end.
    fn skip_until(&mut self, begun: usize, stops: impl Fn(TokenKind) -> bool) {
        if self.at(TokenKind::End) {
            return;
        }
        // Inside brackets opened since, neither a `|` nor their closing ends anything.
        while let Some(close) = self.enclosing_close(begun) {
            self.index = close;
            self.bump();
        }
        loop {
            let kind = self.kind();
            if kind == TokenKind::End || stops(kind) || is_closing(kind) {
                return;
            }
            let partner = self.partner[self.index];
            if is_opening(kind) && partner != NO_PARTNER {
                self.index = partner as usize;
            }
            self.bump();
        }
    }

    /// The bracket that closes the innermost pair opened since `begun` that holds the present token.
    fn enclosing_close(&self, begun: usize) -> Option<usize> {
        let mut index = self.index;
        while index > begun {
            index -= 1;
            let partner = self.partner[index];
            if partner == NO_PARTNER {
                continue;
            }
            let partner = partner as usize;
            if partner > index {
                return (partner >= self.index).then_some(partner);
            }
            index = partner;
        }
        None
    }

    /// The token index after the bracket that closes the one `ahead`.
    fn after_bracket(&self, ahead: usize) -> Option<usize> {
        match self.partner.get(self.index + ahead) {
            Some(&partner) if partner != NO_PARTNER => Some(partner as usize + 1),
            _ => None,
        }
    }

    /// Kind of the token after the bracket that closes the present one.
    fn kind_after_bracket(&self) -> TokenKind {
        self.after_bracket(0).map_or(TokenKind::End, |index| self.tokens[index].kind)
    }

    // Small parts that all grammars share.

    /// Items separated by commas, at least one.
    fn comma_list<T>(&mut self, mut item: impl FnMut(&mut Self) -> P<T>) -> P<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(TokenKind::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `( items )`, possibly none.
    fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> P<T>) -> P<Vec<T>> {
        self.expect(TokenKind::OpenParen)?;
        self.nested(|parser| {
            let items = if parser.at(TokenKind::CloseParen) { Vec::new() } else { parser.comma_list(item)? };
            parser.expect_close(TokenKind::CloseParen)?;
            Ok(items)
        })
    }

    /// A closing bracket where a comma could have stood too.
    fn expect_close(&mut self, kind: TokenKind) -> P<Lexeme> {
        if self.at(kind) {
            return Ok(self.bump());
        }
        Err(self.expected(&format!("',' or {}", kind.text())))
    }

    /// Whether a bracketed name `['x']` begins here.
    fn at_bracketed_name(&self, ahead: usize) -> bool {
        self.kind_at(ahead) == TokenKind::OpenBracket
            && self.kind_at(ahead + 1) == TokenKind::String
            && self.kind_at(ahead + 2) == TokenKind::CloseBracket
    }

    fn bracketed_name(&mut self) -> P<Name> {
        let start = self.bump().span;
        let text = self.string_token()?;
        let end = self.expect(TokenKind::CloseBracket)?.span;
        Ok(Name { text, span: start.to(end) })
    }

    /// A name in a place where no keyword can stand.
    fn any_name(&mut self, what: &str) -> P<Name> {
        if self.at_bracketed_name(0) {
            return self.bracketed_name();
        }
        if self.at(TokenKind::Name) {
            let token = self.bump();
            return Ok(Name { text: token.span.text(self.text).to_string(), span: token.span });
        }
        Err(self.missing(what))
    }

    /// A name that is being declared: a column, variable, parameter.
    fn declared_name(&mut self) -> P<Name> {
        if self.at(TokenKind::Name) && keywords::is_reserved_declaration(self.word()) {
            return Err(self.reserved());
        }
        self.any_name("a name")
    }

    /// A keyword where the name of something that exists was expected.
    ///
    /// It is a name that needs brackets when what follows can only follow a name; else the expression is missing.
    fn reserved_reference(&mut self) -> Failed {
        if self.is_followed_as_name() {
            return self.reserved();
        }
        let (gap, word) = (self.gap(), self.word());
        self.error(
            gap,
            format!(
                "Query could not be parsed at '{word}': expected an expression; a keyword used as a name must be bracketed: ['{word}']"
            ),
        )
    }

    /// Whether a keyword stands here that is neither a call nor a name that only lacks its brackets.
    fn at_misplaced_keyword(&self) -> bool {
        self.at(TokenKind::Name)
            && keywords::is_reserved_reference(self.word())
            && !matches!(self.word(), "true" | "false")
            && self.kind_at(1) != TokenKind::OpenParen
            && !self.is_followed_as_name()
    }

    /// Whether the token after the present one can only stand behind a name.
    fn is_followed_as_name(&self) -> bool {
        match self.kind_at(1) {
            TokenKind::EqualEqual
            | TokenKind::BangEqual
            | TokenKind::EqualTilde
            | TokenKind::BangTilde
            | TokenKind::Greater
            | TokenKind::GreaterEqual
            | TokenKind::Less
            | TokenKind::LessEqual
            | TokenKind::Star
            | TokenKind::Slash
            | TokenKind::Percent
            | TokenKind::CloseParen
            | TokenKind::CloseBracket
            | TokenKind::CloseBrace
            | TokenKind::Dot
            | TokenKind::Comma
            | TokenKind::Colon
            | TokenKind::Pipe
            | TokenKind::Word => true,
            TokenKind::Name => {
                let word = self.word_at(1);
                matches!(word, "and" | "or" | "matches") || expressions::is_operator_word(word)
            }
            _ => false,
        }
    }

    fn reserved(&mut self) -> Failed {
        let (span, word) = (self.span(), self.word());
        self.error(
            span,
            format!("Query could not be parsed at '{word}': a keyword used as a name must be bracketed: ['{word}']"),
        )
    }

    /// The value of the present `String` token.
    fn string_token(&mut self) -> P<String> {
        let token = self.lexeme(0);
        if token.kind == TokenKind::OpenString {
            return Err(self.open_string());
        }
        if token.kind != TokenKind::String {
            return Err(self.missing("a string literal"));
        }
        match crate::lexer::unquote(token.span.text(self.text)) {
            Ok(value) => {
                self.bump();
                Ok(value)
            }
            Err((start, end)) => {
                let base = token.span.start as usize;
                let span = Span::new(base + start, base + end);
                let escape = shortened(span.text(self.text));
                Err(self.error(
                    span,
                    format!("Query could not be parsed at '{escape}': not an escape sequence of a string literal"),
                ))
            }
        }
    }

    /// One string literal or several in a row, which are one.
    fn string_literal(&mut self) -> P<String> {
        let mut value = self.string_token()?;
        while self.at(TokenKind::String) {
            value.push_str(&self.string_token()?);
        }
        Ok(value)
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_string(),
    }
}

fn is_opening(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace)
}

fn is_closing(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::CloseBrace)
}

fn pair_brackets(tokens: &[Lexeme]) -> Vec<u32> {
    let mut partner = vec![NO_PARTNER; tokens.len()];
    let mut open: Vec<(usize, TokenKind)> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let closes = match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => {
                open.push((index, token.kind));
                continue;
            }
            TokenKind::CloseParen => TokenKind::OpenParen,
            TokenKind::CloseBracket => TokenKind::OpenBracket,
            TokenKind::CloseBrace => TokenKind::OpenBrace,
            _ => continue,
        };
        // A bracket of another kind is left to the parser's complaint, and pairs with nothing.
        if let Some(&(opening, kind)) = open.last()
            && kind == closes
        {
            open.pop();
            partner[index] = opening as u32;
            partner[opening] = index as u32;
        }
    }
    partner
}
