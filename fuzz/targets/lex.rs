//! Tokens cover the text without gaps, whatever it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_kql::lexer::lex;

fuzz_target!(|text: &str| {
    let mut at = 0;
    for token in lex(text) {
        assert_eq!(token.span.start as usize, at);
        assert!(token.span.end as usize > at);
        at = token.span.end as usize;
    }
    assert_eq!(at, text.len());
});
