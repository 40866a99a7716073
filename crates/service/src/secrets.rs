//! Texts without what their authors marked as secret: `h'...'` literals. Source: string page, obfuscated literals.

use std::borrow::Cow;

use tidewater_kql::lexer::{Lexer, TokenKind};

/// What stands for a secret.
const STARS: &str = "'****'";

/// The beginning of a text, at most so many bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text with stars for every literal that begins with `h`.
pub fn obfuscated(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_marked =
        |pair: &[u8]| matches!(pair[0], b'h' | b'H') && matches!(pair[1], b'\'' | b'"' | b'@' | b'`' | b'~');
    if !bytes.windows(2).any(is_marked) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for token in Lexer::new(text, 0) {
        let own = token.span.text(text);
        let is_secret = matches!(token.kind, TokenKind::String | TokenKind::OpenString) && own.starts_with(['h', 'H']);
        if is_secret {
            out.push_str(&own[..1]);
            out.push_str(STARS);
        } else {
            out.push_str(own);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_literals_become_stars_and_others_stay() {
        let text = "externaldata (a:string) [h@'https://x/y?sig=1', h\"k\", 'plain'] // h 'x'";
        assert_eq!(obfuscated(text), "externaldata (a:string) [h'****', h'****', 'plain'] // h 'x'");
        assert_eq!(obfuscated("print with = 'oh'"), "print with = 'oh'");
        assert_eq!(obfuscated(".ingest into table T (h'open"), ".ingest into table T (h'****'");
        assert_eq!(cut("aé", 2), "a");
    }
}
