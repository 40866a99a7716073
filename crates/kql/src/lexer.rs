//! Text to tokens.
//!
//! Input: a query or command text. Output: tokens that cover it without gaps, blanks and comments
//! included. Nothing here fails: what is no token is an `Error` token, reported by the parser when
//! it gets there (the data of `.ingest inline` is never looked at that way).

use crate::span::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "punctuation is named by `TokenKind::text`")]
pub enum TokenKind {
    /// Blanks and line breaks.
    Blank,
    /// `// ...` to the end of the line.
    Comment,
    /// `#...` on a line of its own: a client's directive.
    Directive,
    /// A name or keyword; it may begin with a digit or `$`.
    Name,
    /// An operator that is a word with punctuation: `!has`, `in~`, `!in~`.
    Word,
    /// Decimal or hexadecimal digits.
    Long,
    /// Digits with a point or an exponent.
    Real,
    /// A number glued to a unit: `1.5h`.
    TimeSpan,
    /// Any string literal, prefix and quotes included.
    String,
    /// A string literal without its end.
    OpenString,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Pipe,
    Semicolon,
    Comma,
    Dot,
    DotDot,
    Colon,
    Equal,
    EqualEqual,
    EqualTilde,
    Arrow,
    BangEqual,
    BangTilde,
    Less,
    LessEqual,
    LessGreater,
    LessPipe,
    Greater,
    GreaterEqual,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    /// A character that begins no token.
    Error,
    /// The end of the text; empty.
    End,
}

impl TokenKind {
    /// Whether the parser never sees it.
    pub fn is_trivia(self) -> bool {
        matches!(self, TokenKind::Blank | TokenKind::Comment | TokenKind::Directive)
    }

    /// How messages write it.
    pub fn text(self) -> &'static str {
        use TokenKind::*;
        match self {
            Blank => "a blank",
            Comment => "a comment",
            Directive => "a directive",
            Name => "a name",
            Word => "an operator",
            Long | Real => "a number",
            TimeSpan => "a timespan",
            String | OpenString => "a string literal",
            OpenParen => "'('",
            CloseParen => "')'",
            OpenBracket => "'['",
            CloseBracket => "']'",
            OpenBrace => "'{'",
            CloseBrace => "'}'",
            Pipe => "'|'",
            Semicolon => "';'",
            Comma => "','",
            Dot => "'.'",
            DotDot => "'..'",
            Colon => "':'",
            Equal => "'='",
            EqualEqual => "'=='",
            EqualTilde => "'=~'",
            Arrow => "'=>'",
            BangEqual => "'!='",
            BangTilde => "'!~'",
            Less => "'<'",
            LessEqual => "'<='",
            LessGreater => "'<>'",
            LessPipe => "'<|'",
            Greater => "'>'",
            GreaterEqual => "'>='",
            Plus => "'+'",
            Minus => "'-'",
            Star => "'*'",
            Slash => "'/'",
            Percent => "'%'",
            Error => "a character without meaning",
            End => "the end of the text",
        }
    }
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where.
    pub span: Span,
}

/// All tokens of a text, without gaps; no `End` token.
pub fn lex(text: &str) -> Vec<Token> {
    Lexer::new(text, 0).collect()
}

/// Reads tokens one by one.
pub struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer that begins at a byte of the text (a character boundary).
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { text, bytes: text.as_bytes(), at }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn char_at(&self, at: usize) -> Option<char> {
        match self.bytes.get(at) {
            Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
            Some(_) => self.text.get(at..).and_then(|rest| rest.chars().next()),
            None => None,
        }
    }

    /// End of the run of name characters from `at`.
    fn name_end(&self, mut at: usize) -> usize {
        while let Some(c) = self.char_at(at) {
            if !is_name_char(c) {
                break;
            }
            at += c.len_utf8();
        }
        at
    }

    fn digits_end(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    }

    fn line_end(&self) -> usize {
        self.bytes[self.at..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .map_or(self.bytes.len(), |ahead| self.at + ahead)
    }

    fn begins_line(&self) -> bool {
        let before = &self.bytes[..self.at];
        match before.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')) {
            Some(at) => matches!(before[at], b'\n' | b'\r'),
            None => true,
        }
    }

    /// Length of a string literal's opening (prefixes, quote), the quote, and whether it is verbatim.
    fn string_start(&self) -> Option<(usize, &'static str, bool)> {
        let mut prefix = usize::from(matches!(self.byte(0), b'h' | b'H'));
        let verbatim = self.byte(prefix) == b'@';
        prefix += usize::from(verbatim);
        let rest = &self.bytes[(self.at + prefix).min(self.bytes.len())..];
        let quote = match rest {
            [b'"', ..] => "\"",
            [b'\'', ..] => "'",
            [b'`', b'`', b'`', ..] if !verbatim => "```",
            [b'~', b'~', b'~', ..] if !verbatim => "~~~",
            _ => return None,
        };
        Some((prefix + quote.len(), quote, verbatim))
    }

    fn string(&self, opening: usize, quote: &str, verbatim: bool) -> (TokenKind, usize) {
        let start = self.at + opening;
        if quote.len() == 3 {
            return match self.text.get(start..).and_then(|rest| rest.find(quote)) {
                Some(ahead) => (TokenKind::String, start + ahead + 3),
                None => (TokenKind::OpenString, self.bytes.len()),
            };
        }
        let quote = quote.as_bytes()[0];
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'\n' | b'\r' => return (TokenKind::OpenString, at),
                b'\\' if !verbatim => {
                    // A line break after the backslash is not part of the literal.
                    at += 1;
                    match self.char_at(at) {
                        Some(c) if c != '\n' && c != '\r' => at += c.len_utf8(),
                        _ => {}
                    }
                }
                _ if byte == quote => {
                    if verbatim && self.bytes.get(at + 1) == Some(&quote) {
                        at += 2;
                    } else {
                        return (TokenKind::String, at + 1);
                    }
                }
                _ => at += 1,
            }
        }
        (TokenKind::OpenString, self.bytes.len())
    }

    /// A number, a timespan, or a name that begins with a digit.
    fn number(&self) -> (TokenKind, usize) {
        let run_end = self.name_end(self.at);
        if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X') {
            let digits = &self.bytes[self.at + 2..run_end];
            let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
            return (if is_hex { TokenKind::Long } else { TokenKind::Name }, run_end);
        }
        let mut end = self.digits_end(self.at);
        let mut kind = TokenKind::Long;
        let mut has_fraction = true;
        // `1..5` is a range, not a real with a point behind it.
        let has_point = self.bytes.get(end) == Some(&b'.') && self.bytes.get(end + 1) != Some(&b'.');
        if has_point {
            kind = TokenKind::Real;
            let digits = end + 1;
            end = self.digits_end(digits);
            has_fraction = end > digits;
        }
        let word_end = self.name_end(end);
        if has_fraction && is_time_unit(&self.text[end..word_end]) {
            return (TokenKind::TimeSpan, word_end);
        }
        if let Some(exponent_end) = self.exponent(end)
            && self.char_at(exponent_end).is_none_or(|c| !is_name_char(c))
        {
            return (TokenKind::Real, exponent_end);
        }
        if !has_point && word_end > end {
            return (TokenKind::Name, word_end);
        }
        (kind, end)
    }

    fn exponent(&self, at: usize) -> Option<usize> {
        if !matches!(self.bytes.get(at), Some(b'e' | b'E')) {
            return None;
        }
        let digits = at + 1 + usize::from(matches!(self.bytes.get(at + 1), Some(b'+' | b'-')));
        let end = self.digits_end(digits);
        (end > digits).then_some(end)
    }

    fn next_kind(&self) -> (TokenKind, usize) {
        use TokenKind::*;
        let one = |kind| (kind, self.at + 1);
        let two = |kind| (kind, self.at + 2);
        let (first, second) = (self.byte(0), self.byte(1));
        if let Some((opening, quote, verbatim)) = self.string_start() {
            return self.string(opening, quote, verbatim);
        }
        match (first, second) {
            (b'(', _) => one(OpenParen),
            (b')', _) => one(CloseParen),
            (b'[', _) => one(OpenBracket),
            (b']', _) => one(CloseBracket),
            (b'{', _) => one(OpenBrace),
            (b'}', _) => one(CloseBrace),
            (b'|', _) => one(Pipe),
            (b';', _) => one(Semicolon),
            (b',', _) => one(Comma),
            (b'.', b'.') => two(DotDot),
            (b'.', _) => one(Dot),
            (b':', _) => one(Colon),
            (b'=', b'=') => two(EqualEqual),
            (b'=', b'~') => two(EqualTilde),
            (b'=', b'>') => two(Arrow),
            (b'=', _) => one(Equal),
            (b'!', b'=') => two(BangEqual),
            (b'!', b'~') => two(BangTilde),
            (b'!', b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                let end = self.name_end(self.at + 1);
                let is_tilde = &self.bytes[self.at..end] == b"!in" && self.bytes.get(end) == Some(&b'~');
                (Word, end + usize::from(is_tilde))
            }
            (b'<', b'=') => two(LessEqual),
            (b'<', b'>') => two(LessGreater),
            (b'<', b'|') => two(LessPipe),
            (b'<', _) => one(Less),
            (b'>', b'=') => two(GreaterEqual),
            (b'>', _) => one(Greater),
            (b'+', _) => one(Plus),
            (b'-', _) => one(Minus),
            (b'*', _) => one(Star),
            (b'/', b'/') => (Comment, self.line_end()),
            (b'/', _) => one(Slash),
            (b'%', _) => one(Percent),
            (b'#', _) if self.begins_line() => (Directive, self.line_end()),
            (b'0'..=b'9', _) => self.number(),
            _ => self.name_or_error(),
        }
    }

    fn name_or_error(&self) -> (TokenKind, usize) {
        let Some(c) = self.char_at(self.at) else { return (TokenKind::End, self.at) };
        let after = self.at + c.len_utf8();
        if c.is_whitespace() || c == '\u{feff}' {
            let mut end = after;
            while let Some(next) = self.char_at(end).filter(|c| c.is_whitespace()) {
                end += next.len_utf8();
            }
            return (TokenKind::Blank, end);
        }
        if !is_name_char(c) && c != '$' {
            return (TokenKind::Error, after);
        }
        let end = self.name_end(after);
        // `in~` is an operator, but `in ~~~text~~~` is not.
        if &self.bytes[self.at..end] == b"in"
            && self.bytes.get(end) == Some(&b'~')
            && self.bytes.get(end + 1) != Some(&b'~')
        {
            return (TokenKind::Word, end + 1);
        }
        (TokenKind::Name, end)
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        let (kind, end) = self.next_kind();
        self.at = end;
        Some(Token { kind, span: Span::new(start, end) })
    }
}

/// Letters, digits and `_`.
pub fn is_name_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a word glued to a number makes it a timespan. Source: timespan page.
pub fn is_time_unit(word: &str) -> bool {
    matches!(
        word,
        "d" | "day"
            | "days"
            | "h"
            | "hour"
            | "hours"
            | "m"
            | "min"
            | "minute"
            | "minutes"
            | "s"
            | "sec"
            | "second"
            | "seconds"
            | "ms"
            | "milli"
            | "millis"
            | "millisecond"
            | "milliseconds"
            | "micro"
            | "micros"
            | "microsecond"
            | "microseconds"
            | "nano"
            | "nanos"
            | "nanosecond"
            | "nanoseconds"
            | "tick"
            | "ticks"
    )
}

/// The value of a `String` token; `Err` is the place of a bad escape, in bytes from the token's start.
pub fn unquote(token: &str) -> Result<String, (usize, usize)> {
    let body = token.trim_start_matches(['h', 'H']);
    let offset = token.len() - body.len();
    if let Some(verbatim) = body.strip_prefix('@') {
        let quote = &verbatim[..1];
        let inner = verbatim.get(1..verbatim.len() - 1).unwrap_or("");
        return Ok(inner.replace(&quote.repeat(2), quote));
    }
    if body.starts_with("```") || body.starts_with("~~~") {
        return Ok(body.get(3..body.len() - 3).unwrap_or("").to_string());
    }
    let inner = body.get(1..body.len() - 1).unwrap_or("");
    if !inner.contains('\\') {
        return Ok(inner.to_string());
    }
    unescape(inner).map_err(|(start, end)| (offset + 1 + start, offset + 1 + end))
}

fn unescape(inner: &str) -> Result<String, (usize, usize)> {
    let mut out = String::with_capacity(inner.len());
    let mut at = 0;
    while let Some(ahead) = inner[at..].find('\\') {
        out.push_str(&inner[at..at + ahead]);
        let start = at + ahead;
        let rest = &inner[start + 1..];
        let Some(c) = rest.chars().next() else { return Err((start, inner.len())) };
        let (value, length) = match c {
            '\\' | '\'' | '"' => (c, 1),
            'n' => ('\n', 1),
            'r' => ('\r', 1),
            't' => ('\t', 1),
            'a' => ('\u{7}', 1),
            'b' => ('\u{8}', 1),
            'f' => ('\u{c}', 1),
            'v' => ('\u{b}', 1),
            '0'..='7' => octal(rest),
            'x' => hex(rest, 1, 2).ok_or((start, start + 2))?,
            'u' => utf16(rest).ok_or((start, start + 2))?,
            'U' => hex(rest, 1, 8).ok_or((start, start + 2))?,
            _ => return Err((start, start + 1 + c.len_utf8())),
        };
        out.push(value);
        at = start + 1 + length;
    }
    out.push_str(&inner[at..]);
    Ok(out)
}

fn octal(rest: &str) -> (char, usize) {
    let mut value = 0u32;
    let mut length = 0;
    for byte in rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')) {
        let next = value * 8 + u32::from(byte - b'0');
        if next > 0xFF {
            break;
        }
        value = next;
        length += 1;
    }
    (char::from_u32(value).unwrap_or('\u{fffd}'), length)
}

fn hex_value(rest: &str, from: usize, digits: usize) -> Option<u32> {
    let text = rest.get(from..from + digits)?;
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

fn hex(rest: &str, from: usize, digits: usize) -> Option<(char, usize)> {
    let value = hex_value(rest, from, digits)?;
    Some((char::from_u32(value).unwrap_or('\u{fffd}'), from + digits))
}

/// `uXXXX`, or a pair of surrogates `uXXXX\uXXXX`; a lone surrogate is U+FFFD.
fn utf16(rest: &str) -> Option<(char, usize)> {
    let high = hex_value(rest, 1, 4)?;
    if (0xD800..0xDC00).contains(&high)
        && rest.get(5..7) == Some("\\u")
        && let Some(low) = hex_value(rest, 7, 4).filter(|low| (0xDC00..0xE000).contains(low))
    {
        let value = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return Some((char::from_u32(value).unwrap_or('\u{fffd}'), 11));
    }
    Some((char::from_u32(high).unwrap_or('\u{fffd}'), 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(TokenKind, &str)> {
        lex(text)
            .iter()
            .filter(|token| !token.kind.is_trivia())
            .map(|token| (token.kind, token.span.text(text)))
            .collect()
    }

    #[test]
    fn numbers_timespans_and_names_that_begin_with_digits_are_told_apart() {
        use TokenKind::*;
        assert_eq!(
            kinds("1 1. 1.5 1e3 1.e2 0xFF 1d 1.5h 1a 1_000 0x 1e 10ms 1us 2.5e-3"),
            vec![
                (Long, "1"),
                (Real, "1."),
                (Real, "1.5"),
                (Real, "1e3"),
                (Real, "1.e2"),
                (Long, "0xFF"),
                (TimeSpan, "1d"),
                (TimeSpan, "1.5h"),
                (Name, "1a"),
                (Name, "1_000"),
                (Name, "0x"),
                (Name, "1e"),
                (TimeSpan, "10ms"),
                (Name, "1us"),
                (Real, "2.5e-3"),
            ]
        );
        assert_eq!(kinds("1..5"), vec![(Long, "1"), (DotDot, ".."), (Long, "5")]);
        assert_eq!(kinds("1.5 .. 2"), vec![(Real, "1.5"), (DotDot, ".."), (Long, "2")]);
    }

    #[test]
    fn strings_have_all_their_forms() {
        let value = |text: &str| {
            let tokens = lex(text);
            assert_eq!(tokens.len(), 1, "{text}");
            assert_eq!(tokens[0].kind, TokenKind::String, "{text}");
            unquote(text)
        };
        assert_eq!(value(r#""a\"b\n\t\x41\101\u0041""#), Ok("a\"b\n\tAAA".into()));
        assert_eq!(value(r"'it\'s'"), Ok("it's".into()));
        assert_eq!(value(r#"@"c:\dir""x""""#), Ok(r#"c:\dir"x""#.into()));
        assert_eq!(value("```a\n'b'\\```"), Ok("a\n'b'\\".into()));
        assert_eq!(value("~~~a~b~~~"), Ok("a~b".into()));
        assert_eq!(value("h'secret'"), Ok("secret".into()));
        assert_eq!(value(r"H@'c:\x'"), Ok(r"c:\x".into()));
        assert_eq!(value(r#""\ud83d\ude00\0""#), Ok("😀\0".into()));
        assert_eq!(value(r#""a\q""#), Err((2, 4)));
        assert_eq!(kinds("'it''s'").len(), 2);
        assert_eq!(kinds("'abc\nd"), vec![(TokenKind::OpenString, "'abc"), (TokenKind::Name, "d")]);
    }

    #[test]
    fn words_with_punctuation_are_one_token() {
        use TokenKind::*;
        assert_eq!(
            kinds("a !in~ b in~ c !has_cs"),
            vec![(Name, "a"), (Word, "!in~"), (Name, "b"), (Word, "in~"), (Name, "c"), (Word, "!has_cs")]
        );
    }

    #[test]
    fn comments_and_directives_are_trivia() {
        assert_eq!(
            kinds("#connect x\nT // comment '\n  # y\n| a"),
            vec![(TokenKind::Name, "T"), (TokenKind::Pipe, "|"), (TokenKind::Name, "a")]
        );
        assert_eq!(kinds("T #x")[1].0, TokenKind::Error);
    }

    #[test]
    fn tokens_cover_the_whole_text() {
        for text in
            ["", " ", "print 'a", "é ü\u{a0}x", "T | where a == \"\\", "'\\\n'", "h", "@", "h@", "``", "1.", "😀=~!in~"]
        {
            let mut at = 0;
            for token in lex(text) {
                assert_eq!(token.span.start as usize, at);
                assert!(token.span.end > token.span.start);
                at = token.span.end as usize;
            }
            assert_eq!(at, text.len());
        }
    }
}
