//! Matching text: the `has`, `contains`, `startswith`, `endswith` and `=~` families.
//!
//! A term is a maximal run of Unicode letters and digits. `has X` wants X with a term boundary at each
//! edge where X itself has a letter or digit; `hasprefix` wants only the leading one, `hassuffix` only
//! the trailing one. Case is folded character by character. Source: kql-behaviour section 9.

use std::borrow::Cow;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use memchr::memmem;
use tidewater_kql::ast::BinaryOp;
pub use tidewater_kql::term::{fold, fold_into, is_term_character};

use crate::call::{Call, Kernel};
use crate::scalar::kernel::{Texts, each, try_each};
use crate::scalar::regexes::{self, PatternColumn};

/// What is asked about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The needle stands in it as terms.
    Has,
    /// A term begins with the needle.
    HasPrefix,
    /// A term ends with the needle.
    HasSuffix,
    /// The needle stands in it.
    Contains,
    /// It begins with the needle.
    StartsWith,
    /// It ends with the needle.
    EndsWith,
    /// It is the needle.
    Equals,
}

/// Whether upper and lower case differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They do.
    Sensitive,
    /// They do not.
    Ignored,
}

/// A text with every character folded; borrowed when nothing changes.
pub fn folded(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| fold(character) == character) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(fold).collect())
}

/// The Kelvin sign: the only character outside ASCII whose folded form is in ASCII (`k`).
const KELVIN: &str = "\u{212A}";
/// Longer needles are looked for in a folded copy, where searching is linear.
const MAX_SCANNED_NEEDLE: usize = 64;

/// A question about texts with its needle prepared.
#[derive(Debug)]
pub struct Matcher {
    ask: Ask,
    needle: String,
    search: Search,
    /// The needle has a letter or digit at its start and the question cares.
    bounded_left: bool,
    /// The same at its end.
    bounded_right: bool,
}

#[derive(Debug)]
enum Search {
    /// As it stands.
    Exact(Box<memmem::Finder<'static>>),
    /// An ASCII needle, case ignored.
    Ascii { how: AsciiSearch, has_k: bool },
    /// In a folded copy of the text.
    Folded(Box<memmem::Finder<'static>>),
}

#[derive(Debug)]
enum AsciiSearch {
    /// The rare byte at `anchor` is looked for in both cases, then the rest compared.
    Anchor { anchor: usize, lower: u8, upper: u8 },
    /// In a copy in lower case: cheaper when every byte of the needle is common.
    Copy(Box<memmem::Finder<'static>>),
}

impl Matcher {
    /// Prepares a question.
    pub fn new(ask: Ask, case: Case, needle: &str) -> Self {
        let needle = match case {
            Case::Sensitive => needle.to_string(),
            Case::Ignored => folded(needle).into_owned(),
        };
        let finder = || Box::new(memmem::Finder::new(needle.as_bytes()).into_owned());
        let search = match case {
            Case::Sensitive => Search::Exact(finder()),
            Case::Ignored if needle.is_ascii() && (1..=MAX_SCANNED_NEEDLE).contains(&needle.len()) => {
                let (anchor, is_rare) = rarest(needle.as_bytes());
                let lower = needle.as_bytes()[anchor];
                let how = match is_rare {
                    true => AsciiSearch::Anchor { anchor, lower, upper: lower.to_ascii_uppercase() },
                    false => AsciiSearch::Copy(finder()),
                };
                Search::Ascii { how, has_k: needle.contains('k') }
            }
            Case::Ignored => Search::Folded(finder()),
        };
        let bounded_left =
            matches!(ask, Ask::Has | Ask::HasPrefix) && needle.chars().next().is_some_and(is_term_character);
        let bounded_right =
            matches!(ask, Ask::Has | Ask::HasSuffix) && needle.chars().next_back().is_some_and(is_term_character);
        Self { ask, needle, search, bounded_left, bounded_right }
    }

    /// Answers for a text. `scratch` is used for folded copies and is kept between calls.
    pub fn is_match(&self, text: &str, scratch: &mut String) -> bool {
        match self.ask {
            Ask::Equals | Ask::StartsWith | Ask::EndsWith => self.matches_edge(text),
            Ask::Has | Ask::HasPrefix | Ask::HasSuffix | Ask::Contains => self.is_found(text, scratch),
        }
    }

    fn matches_edge(&self, text: &str) -> bool {
        if let Search::Exact(_) = self.search {
            return match self.ask {
                Ask::Equals => text == self.needle,
                Ask::StartsWith => text.starts_with(&self.needle),
                _ => text.ends_with(&self.needle),
            };
        }
        if let Search::Ascii { has_k, .. } = &self.search {
            let (text, needle) = (text.as_bytes(), self.needle.as_bytes());
            let part = match self.ask {
                Ask::Equals => Some(text),
                Ask::StartsWith => text.get(..needle.len()),
                _ => text.len().checked_sub(needle.len()).map(|start| &text[start..]),
            };
            let is_equal = part.is_some_and(|part| part.eq_ignore_ascii_case(needle));
            if is_equal || !has_k {
                return is_equal;
            }
        }
        let mut needle = self.needle.chars();
        let mut rest = text.chars();
        match self.ask {
            Ask::EndsWith => needle.by_ref().rev().all(|wanted| rest.next_back().map(fold) == Some(wanted)),
            Ask::StartsWith => needle.by_ref().all(|wanted| rest.next().map(fold) == Some(wanted)),
            // Lengths differ by a byte or two when they are equal at all.
            _ if text.len() > 4 * self.needle.len() => false,
            _ => needle.by_ref().all(|wanted| rest.next().map(fold) == Some(wanted)) && rest.next().is_none(),
        }
    }

    fn is_found(&self, text: &str, scratch: &mut String) -> bool {
        if self.needle.is_empty() {
            return true;
        }
        match &self.search {
            Search::Exact(finder) => {
                self.any_hit(text, |start| finder.find(&text.as_bytes()[start..]).map(|hit| start + hit))
            }
            Search::Ascii { how, has_k } => {
                let found = match how {
                    AsciiSearch::Anchor { anchor, lower, upper } => {
                        self.any_hit(text, |start| self.next_ascii(text.as_bytes(), start, *anchor, *lower, *upper))
                    }
                    AsciiSearch::Copy(finder) => {
                        scratch.clear();
                        scratch.push_str(text);
                        scratch.make_ascii_lowercase();
                        let text = scratch.as_str();
                        self.any_hit(text, |start| finder.find(&text.as_bytes()[start..]).map(|hit| start + hit))
                    }
                };
                // A Kelvin sign reads as k: the scan above, over bytes, does not see it.
                if found || !has_k || text.is_ascii() || memmem::find(text.as_bytes(), KELVIN.as_bytes()).is_none() {
                    return found;
                }
                self.is_found_folded(&memmem::Finder::new(self.needle.as_bytes()), text, scratch)
            }
            Search::Folded(finder) => self.is_found_folded(finder, text, scratch),
        }
    }

    fn is_found_folded(&self, finder: &memmem::Finder<'_>, text: &str, scratch: &mut String) -> bool {
        fold_into(text, scratch);
        let text = scratch.as_str();
        self.any_hit(text, |start| finder.find(&text.as_bytes()[start..]).map(|hit| start + hit))
    }

    /// The next place where the bytes equal the ASCII needle but for case.
    #[inline]
    fn next_ascii(&self, text: &[u8], start: usize, anchor: usize, lower: u8, upper: u8) -> Option<usize> {
        let needle = self.needle.as_bytes();
        let mut from = start + anchor;
        loop {
            let rest = text.get(from..)?;
            let hit = if lower == upper { memchr::memchr(lower, rest) } else { memchr::memchr2(lower, upper, rest) };
            let begin = from + hit? - anchor;
            if text.get(begin..begin + needle.len())?.eq_ignore_ascii_case(needle) {
                return Some(begin);
            }
            from = begin + anchor + 1;
        }
    }

    /// Whether some place that `next` finds lies within the wanted term boundaries.
    #[inline]
    fn any_hit(&self, text: &str, next: impl Fn(usize) -> Option<usize>) -> bool {
        let mut start = 0;
        while let Some(begin) = next(start) {
            let end = begin + self.needle.len();
            let is_left_free = !self.bounded_left || !text[..begin].chars().next_back().is_some_and(is_term_character);
            let is_right_free = !self.bounded_right || !text[end..].chars().next().is_some_and(is_term_character);
            if is_left_free && is_right_free {
                return true;
            }
            // Where the next match may begin: after this term if it must begin a term, or so that it ends
            // where this term does. Without this, a needle that repeats itself makes the search quadratic.
            start = if self.bounded_left {
                let skipped = term_length(&text[begin..]);
                begin + skipped.max(1)
            } else {
                let term_end = end + term_length(&text[end..]);
                (begin + 1).max(term_end.saturating_sub(self.needle.len()))
            };
            while !text.is_char_boundary(start) {
                start += 1;
            }
            if start > text.len() {
                return false;
            }
        }
        false
    }
}

/// Bytes of the letters and digits at the start.
fn term_length(text: &str) -> usize {
    text.find(|character| !is_term_character(character)).unwrap_or(text.len())
}

/// Position of the byte that is likely to be the rarest in text, and whether it is rare enough to look for it alone.
fn rarest(needle: &[u8]) -> (usize, bool) {
    // The commonest bytes of logs and prose, most common first; what is missing is rarer.
    const COMMON: &[u8] = b" etaoinsrlhdcu0m1pf2gw.y,b-v3:4/\"5k6_789x=jzq";
    /// Bytes from this rank on are so rare in logs that stopping at each costs less than the copy.
    const RARE: usize = 41;
    let rank = |byte: &u8| COMMON.iter().position(|common| common == byte).unwrap_or(COMMON.len());
    let rarest = needle.iter().enumerate().max_by_key(|(_, byte)| rank(byte));
    rarest.map_or((0, true), |(position, byte)| (position, rank(byte) >= RARE))
}

/// The question, case rule and negation of a text operator.
pub fn question(op: BinaryOp) -> Option<(Ask, Case, bool)> {
    use BinaryOp::*;
    Some(match op {
        Has => (Ask::Has, Case::Ignored, false),
        NotHas => (Ask::Has, Case::Ignored, true),
        HasCs => (Ask::Has, Case::Sensitive, false),
        NotHasCs => (Ask::Has, Case::Sensitive, true),
        HasPrefix => (Ask::HasPrefix, Case::Ignored, false),
        NotHasPrefix => (Ask::HasPrefix, Case::Ignored, true),
        HasPrefixCs => (Ask::HasPrefix, Case::Sensitive, false),
        NotHasPrefixCs => (Ask::HasPrefix, Case::Sensitive, true),
        HasSuffix => (Ask::HasSuffix, Case::Ignored, false),
        NotHasSuffix => (Ask::HasSuffix, Case::Ignored, true),
        HasSuffixCs => (Ask::HasSuffix, Case::Sensitive, false),
        NotHasSuffixCs => (Ask::HasSuffix, Case::Sensitive, true),
        Contains => (Ask::Contains, Case::Ignored, false),
        NotContains => (Ask::Contains, Case::Ignored, true),
        ContainsCs => (Ask::Contains, Case::Sensitive, false),
        NotContainsCs => (Ask::Contains, Case::Sensitive, true),
        StartsWith => (Ask::StartsWith, Case::Ignored, false),
        NotStartsWith => (Ask::StartsWith, Case::Ignored, true),
        StartsWithCs => (Ask::StartsWith, Case::Sensitive, false),
        NotStartsWithCs => (Ask::StartsWith, Case::Sensitive, true),
        EndsWith => (Ask::EndsWith, Case::Ignored, false),
        NotEndsWith => (Ask::EndsWith, Case::Ignored, true),
        EndsWithCs => (Ask::EndsWith, Case::Sensitive, false),
        NotEndsWithCs => (Ask::EndsWith, Case::Sensitive, true),
        EqualTilde => (Ask::Equals, Case::Ignored, false),
        NotEqualTilde => (Ask::Equals, Case::Ignored, true),
        _ => return None,
    })
}

macro_rules! kernels {
    ($($op:ident $name:ident $text:literal;)*) => {
        /// The kernel of a text operator over two strings, and its name in plans.
        pub fn kernel(op: BinaryOp) -> Option<(&'static str, Kernel)> {
            Some(match op {
                $(BinaryOp::$op => ($text, $name as Kernel),)*
                _ => return None,
            })
        }
        $(fn $name(call: &Call<'_>) -> Result<ColumnarValue> {
            matching(call, BinaryOp::$op)
        })*
    };
}

kernels! {
    Has has "has";
    NotHas not_has "not_has";
    HasCs has_cs "has_cs";
    NotHasCs not_has_cs "not_has_cs";
    HasPrefix has_prefix "hasprefix";
    NotHasPrefix not_has_prefix "not_hasprefix";
    HasPrefixCs has_prefix_cs "hasprefix_cs";
    NotHasPrefixCs not_has_prefix_cs "not_hasprefix_cs";
    HasSuffix has_suffix "hassuffix";
    NotHasSuffix not_has_suffix "not_hassuffix";
    HasSuffixCs has_suffix_cs "hassuffix_cs";
    NotHasSuffixCs not_has_suffix_cs "not_hassuffix_cs";
    Contains contains "contains";
    NotContains not_contains "not_contains";
    ContainsCs contains_cs "contains_cs";
    NotContainsCs not_contains_cs "not_contains_cs";
    StartsWith starts_with "startswith";
    NotStartsWith not_starts_with "not_startswith";
    StartsWithCs starts_with_cs "startswith_cs";
    NotStartsWithCs not_starts_with_cs "not_startswith_cs";
    EndsWith ends_with "endswith";
    NotEndsWith not_ends_with "not_endswith";
    EndsWithCs ends_with_cs "endswith_cs";
    NotEndsWithCs not_ends_with_cs "not_endswith_cs";
    EqualTilde equal_tilde "equal_tilde";
    NotEqualTilde not_equal_tilde "not_equal_tilde";
    MatchesRegex matches_regex "matches_regex";
}

fn matching(call: &Call<'_>, op: BinaryOp) -> Result<ColumnarValue> {
    let (text, pattern) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let Some((ask, case, negated)) = question(op) else { return matching_regex(call, &text, &pattern) };
    let mut scratch = String::new();
    if let Some(needle) = pattern.constant_text() {
        let matcher = Matcher::new(ask, case, needle);
        return each(call, |row| matcher.is_match(text.text(row), &mut scratch) != negated);
    }
    // Needles of a column tend to come in runs.
    let mut last = (String::new(), Matcher::new(ask, case, ""));
    each(call, |row| {
        let needle = pattern.text(row);
        if needle != last.0 {
            last = (needle.to_string(), Matcher::new(ask, case, needle));
        }
        last.1.is_match(text.text(row), &mut scratch) != negated
    })
}

fn matching_regex(call: &Call<'_>, text: &Texts, pattern: &Texts) -> Result<ColumnarValue> {
    if let Some(pattern) = pattern.constant_text() {
        let regex = regexes::compile(pattern)?;
        return each(call, |row| regex.is_match(text.text(row)));
    }
    let mut patterns = PatternColumn::default();
    try_each(call, |row| Ok(patterns.get(pattern.text(row))?.is_match(text.text(row))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tidewater_kql::term::each_term;

    use super::*;

    fn ask(ask: Ask, case: Case, text: &str, needle: &str) -> bool {
        Matcher::new(ask, case, needle).is_match(text, &mut String::new())
    }

    fn has(text: &str, needle: &str) -> bool {
        ask(Ask::Has, Case::Ignored, text, needle)
    }

    #[test]
    fn has_looks_for_whole_terms() {
        // Source: recorded answers, kql-behaviour section 9.
        for (text, needle, expected) in [
            ("hello-world", "hello", true),
            ("helloworld", "hello", false),
            ("a_b", "a", true),
            ("x a-b", "a-b", true),
            ("xa b", "a ", false),
            ("x-y", "-", true),
            ("", "", true),
            ("anything", "", true),
            ("a b", " ", true),
            ("a\tb", " ", false),
            ("12-34-56", "34", true),
            ("123456", "34", false),
            ("CAFÉ RÉSUMÉ", "café", true),
            ("NAÏVE", "naïve", true),
            ("cafe", "café", false),
            ("Привет Мир", "привет", true),
            ("ПриветМир", "привет", false),
            ("ab abc ab", "abc", true),
            ("abcd abc", "abc", true),
            ("abcd-abcd", "abc", false),
            ("日本語", "本", false),
            ("日本 語", "日本", true),
        ] {
            assert_eq!(has(text, needle), expected, "{text} has {needle}");
        }
        assert!(ask(Ask::Has, Case::Sensitive, "The.Quick.Brown", "Quick"));
        assert!(!ask(Ask::Has, Case::Sensitive, "BROWN-quick", "Quick"));
    }

    #[test]
    fn prefixes_and_suffixes_are_of_terms() {
        assert!(ask(Ask::HasPrefix, Case::Ignored, "a category", "cat"));
        assert!(!ask(Ask::HasPrefix, Case::Ignored, "scatter", "cat"));
        assert!(ask(Ask::HasSuffix, Case::Ignored, "a bobcat.", "cat"));
        assert!(!ask(Ask::HasSuffix, Case::Ignored, "scatter", "cat"));
        assert!(ask(Ask::HasSuffix, Case::Ignored, "aaaab aaaa", "aa"));
        assert!(!ask(Ask::HasSuffix, Case::Ignored, "catcats", "cat"));
        assert!(ask(Ask::HasSuffix, Case::Ignored, "catcatcat", "catcat"));
    }

    #[test]
    fn case_is_folded_by_character() {
        for (text, needle, expected) in [
            ("Straße", "straße", true),
            ("STRASSE", "straße", false),
            ("ＦＵＬＬ", "full", false),
            ("ＦＵＬＬ", "ｆｕｌｌ", true),
            ("4 \u{212A}elvin", "4 kelvin", true),
            ("İ", "i", false),
            ("", "", true),
            ("a", "", false),
            ("ab", "a", false),
        ] {
            assert_eq!(ask(Ask::Equals, Case::Ignored, text, needle), expected, "{text} =~ {needle}");
        }
        assert!(ask(Ask::Contains, Case::Ignored, "x \u{212A}elvin", "kelvin"));
        assert!(ask(Ask::Contains, Case::Ignored, "xÉy", "é"));
        assert!(ask(Ask::StartsWith, Case::Ignored, "Éa", "éA"));
        assert!(ask(Ask::EndsWith, Case::Ignored, "aÉ", "é"));
        assert!(!ask(Ask::EndsWith, Case::Ignored, "a", "ba"));
        assert!(ask(Ask::EndsWith, Case::Sensitive, "a", ""));
    }

    #[test]
    fn every_way_to_search_agrees_with_a_plain_one() {
        let alphabet = ["a", "A", "b", "k", "\u{212A}", "é", "É", " ", "-", "_", "1", "本"];
        let mut state = 1u64;
        let mut word = |max: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let length = (state >> 33) % max;
            (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect::<String>()
        };
        for _ in 0..20_000 {
            let (text, needle) = (word(12), word(4));
            for case in [Case::Sensitive, Case::Ignored] {
                let form = |text: &str| match case {
                    Case::Sensitive => text.to_string(),
                    Case::Ignored => folded(text).into_owned(),
                };
                let (plain_text, plain_needle) = (form(&text), form(&needle));
                let found = |left: bool, right: bool| {
                    let left = left && plain_needle.chars().next().is_some_and(is_term_character);
                    let right = right && plain_needle.chars().next_back().is_some_and(is_term_character);
                    (0..=plain_text.len()).filter(|at| plain_text.is_char_boundary(*at)).any(|at| {
                        plain_text[at..].starts_with(&plain_needle)
                            && !(left && plain_text[..at].chars().next_back().is_some_and(is_term_character))
                            && !(right
                                && plain_text[at + plain_needle.len()..].chars().next().is_some_and(is_term_character))
                    })
                };
                for (question, expected) in [
                    (Ask::Has, found(true, true)),
                    (Ask::HasPrefix, found(true, false)),
                    (Ask::HasSuffix, found(false, true)),
                    (Ask::Contains, found(false, false)),
                    (Ask::StartsWith, plain_text.starts_with(&plain_needle)),
                    (Ask::EndsWith, plain_text.ends_with(&plain_needle)),
                    (Ask::Equals, plain_text == plain_needle),
                ] {
                    assert_eq!(
                        ask(question, case, &text, &needle),
                        expected,
                        "{question:?} {case:?} {text:?} {needle:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_text_has_every_closed_term_of_what_is_found_in_it() {
        // What an index of terms builds on.
        let alphabet = ["a", "A", "b", "k", "\u{212A}", "é", "É", " ", "-", "_", "1", "本", "\u{2160}", "Ⓐ", "İ"];
        let mut state = 7u64;
        let mut word = |max: u64| {
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state >> 33
            };
            let length = next() % max;
            (0..length).map(|_| alphabet[next() as usize % alphabet.len()]).collect::<String>()
        };
        let mut hits = 0;
        for _ in 0..50_000 {
            let (text, needle) = (word(12), word(5));
            let mut terms = HashSet::new();
            each_term(&text, &mut String::new(), |term, _, _| {
                terms.insert(term.to_string());
            });
            for (question, left, right) in [
                (Ask::Has, true, true),
                (Ask::HasPrefix, true, false),
                (Ask::HasSuffix, false, true),
                (Ask::Contains, false, false),
                (Ask::StartsWith, true, false),
                (Ask::EndsWith, false, true),
                (Ask::Equals, true, true),
            ] {
                for case in [Case::Sensitive, Case::Ignored] {
                    if !ask(question, case, &text, &needle) {
                        continue;
                    }
                    each_term(&needle, &mut String::new(), |term, first, last| {
                        let is_closed = (left || !first) && (right || !last);
                        hits += usize::from(is_closed);
                        assert!(!is_closed || terms.contains(term), "{question:?} {text:?} {needle:?} {term:?}");
                    });
                }
            }
        }
        assert!(hits > 1_000, "{hits}");
    }

    #[test]
    fn needles_that_repeat_themselves_take_linear_time() {
        let (text, needle) = ("a".repeat(1_000_000), "a".repeat(1000));
        for question in [Ask::Has, Ask::HasPrefix, Ask::HasSuffix] {
            for needle in [&needle[..], &needle[..50]] {
                let answer = ask(question, Case::Ignored, &text, needle);
                assert_eq!(answer, question != Ask::Has);
            }
        }
    }
}
