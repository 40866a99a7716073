//! Regular expressions: compiled once, shared by all calls. Source: regex page (the syntax is that of the
//! `regex` crate, octal escapes included; `\d`, `\w` and `\s` know Unicode).

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion_common::{DataFusionError, Result};
use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

/// Compiled patterns that are kept.
const MAX_CACHED: usize = 512;
/// Bytes that one compiled pattern may take.
const MAX_COMPILED_BYTES: usize = 10 << 20;

static CACHE: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Default::default);

/// A compiled pattern. The copy has its own scratch space, so that threads do not wait for each other.
pub fn compile(pattern: &str) -> Result<Regex> {
    cached(pattern).map_err(DataFusionError::Plan)
}

/// Whether a pattern is valid; `Err` says why not. For the binder's diagnostics.
pub fn check(pattern: &str) -> Result<(), String> {
    cached(pattern).map(|_| ())
}

/// How many groups a pattern has; `Err` says why it is not valid.
pub fn groups(pattern: &str) -> Result<usize, String> {
    cached(pattern).map(|regex| regex.captures_len() - 1)
}

fn cached(pattern: &str) -> Result<Regex, String> {
    if let Some(regex) = CACHE.lock().get(pattern) {
        return Ok(regex.clone());
    }
    let regex = build(pattern)?;
    let mut cache = CACHE.lock();
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(pattern.to_string(), regex.clone());
    Ok(regex)
}

fn build(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).octal(true).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| {
        let text = error.to_string();
        // The library draws the place on several lines; its last line is the reason.
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("regular expression '{pattern}' is not valid: {reason}")
    })
}

/// Patterns of a column: the ones met last are kept compiled.
#[derive(Default)]
pub struct PatternColumn {
    seen: HashMap<String, Regex>,
}

impl PatternColumn {
    /// The compiled pattern of a row.
    pub fn get(&mut self, pattern: &str) -> Result<&Regex> {
        // Two steps: the borrow checker does not see that an early return ends the borrow.
        if !self.seen.contains_key(pattern) {
            if self.seen.len() >= MAX_CACHED {
                self.seen.clear();
            }
            self.seen.insert(pattern.to_string(), compile(pattern)?);
        }
        Ok(&self.seen[pattern])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_patterns_are_refused_with_a_reason() {
        let message = check("(?=a)").unwrap_err();
        assert!(message.contains("look-around"), "{message}");
        assert!(check("a(").is_err());
        assert!(check(r"\141\d+").is_ok());
    }

    #[test]
    fn words_and_digits_are_unicode() {
        assert!(compile(r"^\w+\d$").unwrap().is_match("é٣"));
        assert!(compile(r"\141").unwrap().is_match("a"));
    }
}
