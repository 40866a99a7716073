//! The words of commands that the parser knows by name only: what stands behind the name is read from the tokens.

use tidewater_kql::lexer::{Lexer, TokenKind, unquote};

use crate::error::{Error, Result};

/// The tokens of a command without blanks and comments.
pub(super) struct Words<'a> {
    pub tokens: Vec<(TokenKind, &'a str)>,
    pub at: usize,
}

impl<'a> Words<'a> {
    pub fn of(text: &'a str) -> Words<'a> {
        let blank = |kind: TokenKind| matches!(kind, TokenKind::Blank | TokenKind::Comment | TokenKind::Directive);
        let tokens = Lexer::new(text, 0).filter(|token| !blank(token.kind));
        let tokens = tokens.map(|token| (token.kind, token.span.text(text)));
        Words { tokens: tokens.take_while(|(kind, _)| *kind != TokenKind::Pipe).collect(), at: 0 }
    }

    pub fn kind(&self) -> Option<TokenKind> {
        self.tokens.get(self.at).map(|(kind, _)| *kind)
    }

    pub fn is_name(&self, name: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|(kind, text)| *kind == TokenKind::Name && text.eq_ignore_ascii_case(name))
    }

    pub fn skip_to(&mut self, is_it: impl Fn(TokenKind, &str) -> bool) {
        while self.tokens.get(self.at).is_some_and(|(kind, text)| !is_it(*kind, text)) {
            self.at += 1;
        }
    }

    pub fn expect(&mut self, kind: TokenKind, what: &str) -> Result<()> {
        match self.tokens.get(self.at) {
            Some((found, _)) if *found == kind => {
                self.at += 1;
                Ok(())
            }
            Some((_, found)) => Err(Error::bad_request(format!("{what} is expected before '{found}'"))),
            None => Err(Error::bad_request(format!("{what} is expected at the end of the command"))),
        }
    }

    /// A string's value, a name or a number.
    pub fn text(&mut self) -> Result<String> {
        let found = self.tokens.get(self.at).copied();
        self.at += 1;
        match found {
            Some((TokenKind::String, text)) => {
                unquote(text).map_err(|_| Error::bad_request("a string literal of the command cannot be read"))
            }
            Some((TokenKind::Name | TokenKind::Long | TokenKind::Real, text)) => Ok(text.to_string()),
            Some((_, text)) => Err(Error::bad_request(format!("a value is expected before '{text}'"))),
            None => Err(Error::bad_request("a value is expected at the end of the command")),
        }
    }

    /// A name as it is, in brackets or in quotes.
    pub fn name(&mut self) -> Result<String> {
        let in_brackets = self.kind() == Some(TokenKind::OpenBracket);
        self.at += usize::from(in_brackets);
        let name = self.text()?;
        if in_brackets {
            self.expect(TokenKind::CloseBracket, "']'")?;
        }
        Ok(name)
    }

    /// `name = value` any number of times, with or without commas; names in lower case.
    pub fn assignments(&mut self) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        while self.kind() == Some(TokenKind::Name)
            && self.tokens.get(self.at + 1).is_some_and(|(kind, _)| *kind == TokenKind::Equal)
        {
            let name = self.text()?.to_ascii_lowercase();
            self.at += 1;
            let mut value = self.text()?;
            // Neighbouring literals are one.
            while self.kind() == Some(TokenKind::String) {
                value.push_str(&self.text()?);
            }
            found.push((name, value));
            if self.kind() == Some(TokenKind::Comma) {
                self.at += 1;
            }
        }
        Ok(found)
    }

    /// The values of all strings from here on.
    pub fn strings(&mut self) -> Vec<String> {
        let rest = self.tokens.iter().skip(self.at).filter(|(kind, _)| *kind == TokenKind::String);
        rest.filter_map(|(_, text)| unquote(text).ok()).collect()
    }
}
