//! Terms: what `has` looks for, and how case is ignored.
//!
//! A term is a maximal run of Unicode letters and decimal digits. Case is folded character by character, so that a
//! folded text has as many characters as the text. Source: kql-behaviour section 9.

use unicode_general_category::{GeneralCategory, get_general_category};

/// The folded form of a character: its lower-case form where that is one character, and as much part of terms. (Tables of
/// Unicode differ in age: a capital may be known to one only.)
#[inline]
pub fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if one == character || is_term_character(one) == is_term_character(character) => one,
        _ => character,
    }
}

/// Replaces `out` by the folded form of `text`.
pub fn fold_into(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
    } else {
        out.extend(text.chars().map(fold));
    }
}

/// Whether a character belongs to terms: a letter or a decimal digit.
#[inline]
pub fn is_term_character(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    use GeneralCategory::*;
    matches!(
        get_general_category(character),
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter | DecimalNumber
    )
}

/// Calls `each` with every folded term of a text and whether it stands at the text's start and at its end. `scratch` is
/// kept between calls.
pub fn each_term(text: &str, scratch: &mut String, mut each: impl FnMut(&str, bool, bool)) {
    fold_into(text, scratch);
    let folded = scratch.as_str();
    let mut visit = |start: usize, end: usize| each(&folded[start..end], start == 0, end == folded.len());
    if folded.is_ascii() {
        let bytes = folded.as_bytes();
        let run = |from: usize, inside: bool| {
            let differs = |byte: &u8| ASCII_TERMS[usize::from(*byte)] != inside;
            bytes[from..].iter().position(differs).map_or(bytes.len(), |length| from + length)
        };
        let mut at = run(0, false);
        while at < bytes.len() {
            let end = run(at, true);
            visit(at, end);
            at = run(end, false);
        }
        return;
    }
    let mut begun = None;
    for (at, character) in folded.char_indices() {
        match (is_term_character(character), begun) {
            (true, None) => begun = Some(at),
            (false, Some(start)) => {
                visit(start, at);
                begun = None;
            }
            _ => {}
        }
    }
    if let Some(start) = begun {
        visit(start, folded.len());
    }
}

/// Which bytes of ASCII text belong to terms.
const ASCII_TERMS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<(String, bool, bool)> {
        let mut found = Vec::new();
        each_term(text, &mut String::new(), |term, first, last| found.push((term.to_string(), first, last)));
        found
    }

    #[test]
    fn terms_are_runs_of_letters_and_digits() {
        let term = |text: &str, first, last| (text.to_string(), first, last);
        assert_eq!(terms("GET /a_1"), [term("get", true, false), term("a", false, false), term("1", false, true)]);
        assert_eq!(terms(" Ünï-\u{212A}9 "), [term("ünï", false, false), term("k9", false, false)]);
        assert_eq!(terms("日本"), [term("日本", true, true)]);
        assert_eq!(terms(""), []);
        assert_eq!(terms("-_ "), []);
    }

    #[test]
    fn folding_makes_no_term_longer_or_shorter() {
        for character in '\0'..=char::MAX {
            assert_eq!(is_term_character(fold(character)), is_term_character(character), "{character:?}");
        }
    }
}
