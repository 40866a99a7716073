//! `parse-kv`: values of named keys out of a text of pairs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::Field;
use datafusion::error::Result;
use regex::Regex;
use tidewater_kql::KqlType;

use super::parse::convert_text;
use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};
use crate::bound::ParseKvOptions;

/// The operator. Argument 0 is the text.
#[derive(Clone, Debug)]
pub struct ParseKv {
    /// The key in the text, the column's name and type.
    keys: Vec<(String, String, KqlType)>,
    options: ParseKvOptions,
    positions: Arc<HashMap<String, usize>>,
    regex: Option<Regex>,
    /// In greedy mode: a pair delimiter, a known key and a key-value delimiter.
    next_key: Option<Regex>,
}

impl ParseKv {
    /// The operator; `Err` says why the regular expression is refused.
    pub fn try_new(keys: Vec<(String, String, KqlType)>, options: &ParseKvOptions) -> Result<ParseKv, String> {
        let compile = |source: &str| Regex::new(source).map_err(|error| error.to_string());
        let regex = options.regex.as_deref().map(compile).transpose()?;
        if regex.as_ref().is_some_and(|regex| regex.captures_len() != 3) {
            return Err("the regular expression must have two groups: the key and the value".to_string());
        }
        let positions = keys.iter().enumerate().map(|(position, (key, ..))| (key.clone(), position)).collect();
        let next_key = match (&options.pair_delimiter, &options.kv_delimiter) {
            (Some(pair), Some(kv)) if options.greedy => {
                let names: Vec<String> = keys.iter().map(|(key, ..)| regex::escape(key)).collect();
                let quotes: String = options.quotes.iter().flat_map(|(open, close)| [*open, *close]).collect();
                let quote = if quotes.is_empty() { String::new() } else { format!("[{}]?", regex::escape(&quotes)) };
                let names = names.join("|");
                Some(compile(&format!(r"{}\s*{quote}(?:{names}){quote}\s*{}", regex::escape(pair), regex::escape(kv)))?)
            }
            _ => None,
        };
        Ok(ParseKv { keys, options: options.clone(), positions: Arc::new(positions), regex, next_key })
    }

    /// Finds the first value of each key.
    fn find(&self, text: &str, found: &mut [Option<String>]) {
        let mut put = |key: &str, value: String| {
            if let Some(slot) = self.positions.get(key).and_then(|position| found.get_mut(*position))
                && slot.is_none()
            {
                *slot = Some(value);
            }
        };
        if let Some(regex) = &self.regex {
            for groups in regex.captures_iter(text) {
                let part = |group: usize| groups.get(group).map_or("", |part| part.as_str()).trim();
                put(part(1), part(2).to_string());
            }
            return;
        }
        match (&self.options.pair_delimiter, &self.options.kv_delimiter) {
            (Some(pair), Some(kv)) if !pair.is_empty() && !kv.is_empty() => self.delimited(text, pair, kv, &mut put),
            _ => self.words(text, &mut put),
        }
    }

    fn delimited(&self, text: &str, pair: &str, kv: &str, put: &mut impl FnMut(&str, String)) {
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(pair) {
                rest = after;
                continue;
            }
            let trimmed = rest.trim_start();
            if trimmed.is_empty() {
                return;
            }
            let (key, after) = match self.quoted(trimmed) {
                Some((key, after)) => (key, after.trim_start()),
                None => {
                    let end = trimmed.find(kv).unwrap_or(trimmed.len());
                    // A pair delimiter before the key-value delimiter ends something that is no pair.
                    let key = match trimmed[..end].rfind(pair) {
                        Some(at) => &trimmed[at + pair.len()..end],
                        None => &trimmed[..end],
                    };
                    (key.trim().to_string(), &trimmed[end..])
                }
            };
            let Some(after) = after.strip_prefix(kv) else {
                // A quoted text that is no key, or the end of the text.
                rest = after.find(pair).map_or("", |at| &after[at + pair.len()..]);
                continue;
            };
            let start = if pair.trim().is_empty() && after.starts_with(pair) { after } else { after.trim_start() };
            if let Some((value, after)) = self.quoted(start) {
                put(&key, value);
                rest = after.find(pair).map_or("", |at| &after[at + pair.len()..]);
                continue;
            }
            let end = match &self.next_key {
                Some(next) => next.find(start).map(|part| part.start()),
                None => start.find(pair),
            };
            let (value, after) = start.split_at(end.unwrap_or(start.len()));
            put(&key, value.trim().to_string());
            rest = after;
        }
    }

    /// Any run of other characters separates; the word after a known key is its value.
    fn words(&self, text: &str, put: &mut impl FnMut(&str, String)) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut rest = text;
        while let Some(start) = rest.find(is_word) {
            let word_end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |end| start + end);
            let key = &rest[start..word_end];
            rest = &rest[word_end..];
            if !self.positions.contains_key(key) {
                continue;
            }
            let opens = |c: char| self.options.quotes.iter().any(|(open, _)| *open == c);
            let Some(value) = rest.find(|c| is_word(c) || opens(c)) else {
                put(key, String::new());
                return;
            };
            if let Some((text, after)) = self.quoted(&rest[value..]) {
                put(key, text);
                rest = after;
                continue;
            }
            let value_end = rest[value..].find(|c| !is_word(c)).map_or(rest.len(), |end| value + end);
            put(key, rest[value..value_end].to_string());
            rest = &rest[value_end..];
        }
    }

    /// A quoted text at the start: its content and what follows.
    fn quoted<'a>(&self, text: &'a str) -> Option<(String, &'a str)> {
        let first = text.chars().next()?;
        let (_, close) = self.options.quotes.iter().find(|(open, _)| *open == first)?;
        let mut content = String::new();
        let mut chars = text.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if Some(c) == self.options.escape {
                content.extend(chars.next().map(|(_, escaped)| escaped));
            } else if c == *close {
                return Some((content, &text[at + c.len_utf8()..]));
            } else {
                content.push(c);
            }
        }
        None
    }
}

impl Stage for ParseKv {
    fn name(&self) -> &'static str {
        "ParseKv"
    }

    fn settings(&self) -> String {
        format!("{:?} {:?}", self.keys, self.options)
    }

    fn outputs(&self) -> Vec<Field> {
        self.keys.iter().map(|(_, name, ty)| ty.field(name)).collect()
    }

    fn scope(&self) -> Scope {
        Scope::Rows
    }

    fn commutes_with_filters(&self) -> bool {
        true
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn start(&self, _setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run { parse: self.clone(), ready: None }))
    }
}

struct Run {
    parse: ParseKv,
    ready: Option<Output>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let texts = input.args[0].as_string_view();
        let mut cells: Vec<StringViewBuilder> =
            self.parse.keys.iter().map(|_| StringViewBuilder::with_capacity(input.rows)).collect();
        let mut found = vec![None; self.parse.keys.len()];
        for row in 0..input.rows {
            found.fill(None);
            if texts.is_valid(row) {
                self.parse.find(texts.value(row), &mut found);
            }
            for (cells, value) in cells.iter_mut().zip(&found) {
                cells.append_value(value.as_deref().unwrap_or(""));
            }
        }
        let mut columns = input.kept;
        for (cells, (_, _, ty)) in cells.iter_mut().zip(&self.parse.keys) {
            let texts: ArrayRef = Arc::new(cells.finish());
            columns.push(convert_text(&texts, *ty)?);
        }
        self.ready = Some(Output { columns, rows: input.rows });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &[&str], options: ParseKvOptions, text: &str) -> Vec<Option<String>> {
        let keys = keys.iter().map(|key| (key.to_string(), key.to_string(), KqlType::String)).collect::<Vec<_>>();
        let mut found = vec![None; keys.len()];
        ParseKv::try_new(keys, &options).unwrap().find(text, &mut found);
        found
    }

    fn options(pair: Option<&str>, kv: Option<&str>) -> ParseKvOptions {
        ParseKvOptions {
            pair_delimiter: pair.map(str::to_string),
            kv_delimiter: kv.map(str::to_string),
            quotes: Vec::new(),
            escape: None,
            greedy: false,
            regex: None,
        }
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| Some(value.to_string())).collect()
    }

    #[test]
    fn only_the_first_delimiter_splits_and_the_first_key_wins() {
        let found = run(&["a", "b"], options(Some(","), Some("=")), "a==b, b = 2 ,a=3");
        assert_eq!(found, some(&["=b", "2"]));
    }

    #[test]
    fn quotes_hide_delimiters_and_escapes_hide_quotes() {
        let options = ParseKvOptions { quotes: vec![('"', '"')], escape: Some('\\'), ..options(Some(" "), Some("=")) };
        let found = run(&["a", "b c", "d"], options, r#"a="x \"y\" z" "b c"=1 d=2"#);
        assert_eq!(found, some(&[r#"x "y" z"#, "1", "2"]));
    }

    #[test]
    fn greedy_values_run_to_the_next_known_key() {
        let options = ParseKvOptions { greedy: true, ..options(Some(" "), Some("=")) };
        assert_eq!(run(&["name", "city"], options, "name=John Doe city=New York"), some(&["John Doe", "New York"]));
    }

    #[test]
    fn without_delimiters_words_follow_their_keys() {
        let found = run(&["Text", "Id"], options(None, None), "2021 [INFO] Id:45, Text: Started");
        assert_eq!(found, some(&["Started", "45"]));
    }
}
