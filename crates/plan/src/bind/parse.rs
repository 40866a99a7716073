//! `parse`, `parse-where`, `parse-kv`. Source: their pages; kql-behaviour section 13.

use std::sync::Arc;

use tidewater_kql::ast::{ColumnDeclaration, Expr, ExprKind, Literal, ParsePart, Property};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, ParseKvOptions, ParseMode, ParsePiece, Rel, RelOp};

impl Binder<'_> {
    /// `parse [kind=...] source with pattern`: captures replace columns of their names or are appended.
    pub fn parse_operator(
        &mut self,
        input: &Arc<Rel>,
        drop_unmatched: bool,
        parameters: &[Property],
        source: &Expr,
        pattern: &[ParsePart],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mode = self.parse_mode(drop_unmatched, parameters, span);
        let source = self.parsed_text(input, source, "parse");
        let pieces = self.parse_pattern(pattern);
        let (mode, source, (pieces, captured)) = (mode?, source?, pieces?);
        let captures: Vec<BoundColumn> = captured.into_iter().map(|(name, ty)| self.fresh_column(name, ty)).collect();
        let columns = input.columns.iter().chain(&captures).cloned().collect();
        let op = RelOp::Parse { input: input.clone(), source, mode, pattern: pieces, drop_unmatched };
        let parsed = self.rel(op, columns, span)?;
        let named = captures.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        self.extended(parsed, &input.columns, named, span)
    }

    fn parse_mode(&mut self, drop_unmatched: bool, parameters: &[Property], span: Span) -> Bound<ParseMode> {
        let flags = self.word(parameters, &["flags"]).map(|(name, word)| (name.span, word.unwrap_or_default()));
        let kind = self.word(parameters, &["kind"]).map(|(name, word)| (name.span, word.unwrap_or_default()));
        let mode = match kind {
            None => ParseMode::Simple,
            Some((_, word)) if word == "simple" => ParseMode::Simple,
            Some((_, word)) if word == "regex" => ParseMode::Regex { flags: String::new() },
            Some((span, word)) if word == "relaxed" => {
                if drop_unmatched {
                    return self.fail("SEM0477", span, "'parse-where' has no kind 'relaxed'");
                }
                ParseMode::Relaxed
            }
            Some((span, word)) => {
                let message = format!("'parse' has no kind '{word}': expected simple, regex or relaxed");
                return self.fail(diagnostic::NOT_IN_LIST, span, message);
            }
        };
        match (mode, flags) {
            (mode, None) => Ok(mode),
            (ParseMode::Regex { .. }, Some((flags_span, flags))) => {
                if let Some(unknown) = flags.chars().find(|flag| !"imsUx".contains(*flag)) {
                    let message = format!("regular expressions have no flag '{unknown}': expected i, m, s, U or x");
                    return self.fail(diagnostic::NOT_IN_LIST, flags_span, message);
                }
                Ok(ParseMode::Regex { flags })
            }
            (_, Some(_)) => self.fail("SEM0472", span, "'flags' goes with kind=regex only"),
        }
    }

    fn parsed_text(&mut self, input: &Arc<Rel>, source: &Expr, operator: &str) -> Bound<BExpr> {
        let mut row = Row::of(&input.columns);
        let bound = self.expr(source, &mut row)?;
        match bound.ty {
            KqlType::String | KqlType::Dynamic => Ok(self.convert(bound, KqlType::String)),
            ty => {
                let message = format!("'{operator}' reads a string, but this is {ty}");
                self.fail(diagnostic::ARGUMENT_TYPE, source.span, message)
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "pieces, and the captures' names and types")]
    fn parse_pattern(&mut self, pattern: &[ParsePart]) -> Bound<(Vec<ParsePiece>, Vec<(String, KqlType)>)> {
        let mut pieces = Vec::with_capacity(pattern.len());
        let mut captured: Vec<(String, KqlType)> = Vec::new();
        let mut failed = false;
        for (position, part) in pattern.iter().enumerate() {
            let before = position.checked_sub(1).map(|before| &pattern[before]);
            match part {
                ParsePart::Skip(span) => {
                    if let Some(ParsePart::Column(name, ty)) = before
                        && ty.unwrap_or(KqlType::String) == KqlType::String
                    {
                        let message = format!(
                            "the string column '{}' takes all that follows, so '*' cannot follow it: put a text between them",
                            name.text
                        );
                        self.report(Diagnostic::new("SEM0476", *span, message));
                        failed = true;
                    }
                    if matches!(before, Some(ParsePart::Skip(_))) {
                        self.report(Diagnostic::new(diagnostic::SYNTAX, *span, "'*' must be followed by a text"));
                        failed = true;
                    }
                    pieces.push(ParsePiece::Skip);
                }
                ParsePart::Text(text, _) => pieces.push(ParsePiece::Text(text.clone())),
                ParsePart::Column(name, ty) => {
                    if matches!(before, Some(ParsePart::Column(..))) {
                        let message = "a column must follow a text: two columns have nothing between them";
                        self.report(Diagnostic::new(diagnostic::SYNTAX, name.span, message));
                        failed = true;
                    }
                    if matches!(before, Some(ParsePart::Skip(_))) {
                        let message = "'*' must be followed by a text, not by a column";
                        self.report(Diagnostic::new(diagnostic::SYNTAX, name.span, message));
                        failed = true;
                    }
                    if captured.iter().any(|(earlier, _)| *earlier == name.text) {
                        self.duplicate_column(&name.text, name.span);
                        failed = true;
                    }
                    let ty = ty.unwrap_or(KqlType::String);
                    captured.push((name.text.clone(), ty));
                    pieces.push(ParsePiece::Capture(ty));
                }
            }
        }
        if failed { Err(Stopped) } else { Ok((pieces, captured)) }
    }

    /// `parse-kv source as (keys) with (options)`.
    pub fn parse_kv_operator(
        &mut self,
        input: &Arc<Rel>,
        source: &Expr,
        keys: &[ColumnDeclaration],
        properties: &[Property],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let source = self.parsed_text(input, source, "parse-kv");
        let options = self.parse_kv_options(properties);
        let columns = self.declared_columns(keys);
        let (source, options, added) = (source?, options?, columns?);
        let keys = keys.iter().map(|key| (key.name.text.clone(), key.ty)).collect();
        let columns = input.columns.iter().chain(&added).cloned().collect();
        let parsed = self.rel(RelOp::ParseKv { input: input.clone(), source, keys, options }, columns, span)?;
        let named = added.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        self.extended(parsed, &input.columns, named, span)
    }

    fn parse_kv_options(&mut self, properties: &[Property]) -> Bound<ParseKvOptions> {
        let mut options = ParseKvOptions {
            pair_delimiter: None,
            kv_delimiter: None,
            quotes: Vec::new(),
            escape: None,
            greedy: false,
            regex: None,
        };
        let mut failed = false;
        for property in properties {
            if self.parse_kv_option(&mut options, property).is_err() {
                failed = true;
            }
        }
        if failed { Err(Stopped) } else { Ok(options) }
    }

    fn parse_kv_option(&mut self, options: &mut ParseKvOptions, property: &Property) -> Bound<()> {
        let span = property.value.span;
        let text = match &property.value.kind {
            ExprKind::Literal(Literal::String(text)) => Some(text.clone()),
            _ => None,
        };
        match (property.name.text.as_str(), text) {
            ("pair_delimiter", Some(text)) => options.pair_delimiter = Some(text),
            ("kv_delimiter", Some(text)) => options.kv_delimiter = Some(text),
            ("quote", Some(text)) => {
                let quotes: Vec<char> = text.chars().collect();
                match quotes.as_slice() {
                    [both] => options.quotes.push((*both, *both)),
                    [open, close] => options.quotes.push((*open, *close)),
                    _ => return self.fail(diagnostic::ARGUMENT_TYPE, span, "'quote' is one character or two"),
                }
            }
            ("escape", Some(text)) => {
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(escape), None) => options.escape = Some(escape),
                    _ => return self.fail(diagnostic::ARGUMENT_TYPE, span, "'escape' is one character"),
                }
            }
            ("regex", Some(text)) => options.regex = Some(text),
            ("greedy", _) => options.greedy = crate::bind::join::is_true(&property.value),
            ("pair_delimiter" | "kv_delimiter" | "quote" | "escape" | "regex", None) => {
                let message = format!("'{}' must be a string literal", property.name.text);
                return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
            }
            (name, _) => {
                let known = ["pair_delimiter", "kv_delimiter", "quote", "escape", "greedy", "regex"];
                let message = format!("'parse-kv' has no option '{name}'");
                let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, property.name.span, message);
                return Err(self.report(diagnostic.hint_nearest(name, known)));
            }
        }
        Ok(())
    }
}
