//! Functions that take a regular expression. Source: kql-behaviour section 9 and the pages of the functions.

use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::ColumnarValue;
use regex::{CaptureLocations, Regex};

use super::kernel::{Integers, MAX_TEXT, Piece, Texts, each_dynamic, each_piece, each_piece_or_new, each_text};
use super::regexes::{self, PatternColumn};
use super::rows::{TO_DYNAMIC, TO_STRING, row};
use crate::call::Call;
use crate::dynamic::{ArrayWriter, Dynamic, Json};
use crate::registry::Scalar;
use crate::signature::{Accepts, DYNAMIC, LONG, STRING, Signature, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "extract",
        &[sig(&[required("regex", STRING), required("captureGroup", LONG), required("source", STRING)], TO_STRING)],
        extract,
        "The text that a group of the regular expression captures at its first match; group 0 is the whole match.",
        "extract-function",
        examples: &[("print extract('x=([0-9.]+)', 1, 'hello x=45.6|wo')", "45.6")],
    ),
    row!(
        "extract_all",
        &[
            sig(&[required("regex", STRING).constant(), required("source", STRING)], TO_DYNAMIC),
            sig(
                &[required("regex", STRING).constant(), required("captureGroups", DYNAMIC), required("source", STRING)],
                TO_DYNAMIC,
            ),
        ],
        extract_all,
        "What the groups of the regular expression capture at every match, as an array.",
        "extract-all-function",
        aliases: &["extractall"],
        examples: &[("print extract_all('([0-9]+)', 'a 12 b 3')", "[\"12\",\"3\"]")],
    ),
    row!(
        "replace_regex",
        &[sig(&[required("text", STRING), required("lookup_regex", STRING), required("rewrite_pattern", STRING)], TO_STRING)],
        replace_regex,
        "The text with every match replaced; `\\1` in the replacement is what the first group captured.",
        "replace-regex-function",
        examples: &[("print replace_regex('is 5', 'is ([0-9])', @'was \\1')", "was 5")],
    ),
    row!(
        "replace",
        &[sig(&[required("regex", STRING), required("rewrite", STRING), required("source", STRING)], TO_STRING)],
        replace,
        "The old form of `replace_regex`, with the text last.",
        "replace-regex-function",
        examples: &[("print replace('b', 'x', 'abc')", "axc")],
    ),
    row!(
        "trim",
        TRIM,
        trim,
        "The text without one match of the regular expression at each end.",
        "trim-function",
        examples: &[("print trim('--', '--a--')", "a")],
    ),
    row!(
        "trim_start",
        TRIM,
        trim_start,
        "The text without one match of the regular expression at its start.",
        "trim-start-function",
        examples: &[("print trim_start('--', '--a--')", "a--")],
    ),
    row!(
        "trim_end",
        TRIM,
        trim_end,
        "The text without one match of the regular expression at its end.",
        "trim-end-function",
        examples: &[("print trim_end('--', '--a--')", "--a")],
    ),
    row!(
        "regex_quote",
        &[sig(&[required("string", Accepts::Text)], TO_STRING)],
        regex_quote,
        "The text with the characters escaped that mean something in a regular expression.",
        "regex-quote-function",
        examples: &[("print regex_quote('(a.b)')", "\\(a\\.b\\)")],
    ),
];

const TRIM: &[Signature] = &[sig(&[required("regex", STRING).constant(), required("source", STRING)], TO_STRING)];

/// Groups that `extract_all` takes.
const MAX_GROUPS: usize = 16;

/// A regular expression argument with room for its captures.
enum Patterns {
    Constant(Regex, CaptureLocations),
    Column(Texts, PatternColumn),
}

impl Patterns {
    fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        let texts = Texts::of(call, position)?;
        Ok(match texts.constant_text() {
            Some(pattern) => {
                let regex = regexes::compile(pattern)?;
                let locations = regex.capture_locations();
                Patterns::Constant(regex, locations)
            }
            None => Patterns::Column(texts, PatternColumn::default()),
        })
    }

    /// The bytes that a group captures at the first match.
    fn group(&mut self, row: usize, group: usize, text: &str) -> Result<Option<(usize, usize)>> {
        match self {
            Patterns::Constant(regex, _) if group == 0 => {
                Ok(regex.find(text).map(|found| (found.start(), found.end())))
            }
            Patterns::Constant(regex, locations) => {
                Ok(regex.captures_read(locations, text).and_then(|_| locations.get(group)))
            }
            Patterns::Column(texts, patterns) => {
                let regex = patterns.get(texts.text(row))?;
                let captures = regex.captures(text);
                Ok(captures.and_then(|captures| captures.get(group).map(|found| (found.start(), found.end()))))
            }
        }
    }

    fn regex(&mut self, row: usize) -> Result<&Regex> {
        match self {
            Patterns::Constant(regex, _) => Ok(regex),
            Patterns::Column(texts, patterns) => patterns.get(texts.text(row)),
        }
    }
}

/// Keeps the first error of a closure that cannot fail.
fn keep<T>(failed: &mut Result<()>, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if failed.is_ok() {
                *failed = Err(error);
            }
            None
        }
    }
}

fn extract(call: &Call<'_>) -> Result<ColumnarValue> {
    let mut patterns = Patterns::of(call, 0)?;
    let (group, source) = (Integers::of(call, 1)?, Texts::of(call, 2)?);
    let mut failed = Ok(());
    let answer = each_piece(call, &source, |row, text| {
        let Some(group) = group.get(row).and_then(|group| usize::try_from(group).ok()) else {
            return Piece::Part(0..0);
        };
        match keep(&mut failed, patterns.group(row, group, text)).flatten() {
            Some((start, end)) => Piece::Part(start..end),
            None => Piece::Part(0..0),
        }
    })?;
    failed.map(|()| answer)
}

/// Selected groups: numbers from 1, or names. What the expression does not have is left out.
fn selected(regex: &Regex, groups: Json<'_>) -> Vec<usize> {
    let count = regex.captures_len();
    let named = |name: &str| regex.capture_names().position(|group| group == Some(name));
    let chosen: Vec<usize> = groups
        .elements()
        .filter_map(|group| match group.string() {
            Some(name) => named(&name),
            None => usize::try_from(group.number()?.exact_long()?).ok(),
        })
        .filter(|group| (1..count).contains(group))
        .collect();
    if chosen.is_empty() { (1..count).collect() } else { chosen }
}

fn extract_all(call: &Call<'_>) -> Result<ColumnarValue> {
    let pattern = Texts::of(call, 0)?;
    let regex = regexes::compile(pattern.text(0))?;
    if !(2..=MAX_GROUPS + 1).contains(&regex.captures_len()) {
        return plan_err!(
            "extract_all(): the regular expression must have 1 to {MAX_GROUPS} groups, not {}",
            regex.captures_len() - 1
        );
    }
    let groups = if call.args.len() > 2 { Some(Texts::of(call, 1)?) } else { None };
    let source = Texts::of(call, call.args.len() - 1)?;
    let mut chosen = selected(&regex, Json::new(groups.as_ref().and_then(|groups| groups.get(0))));
    let is_constant = groups.as_ref().is_none_or(Texts::is_constant);
    let mut locations = regex.capture_locations();
    each_dynamic(call, |row, out| {
        if let Some(groups) = groups.as_ref().filter(|_| !is_constant) {
            chosen = selected(&regex, Json::new(groups.get(row)));
        }
        let text = source.text(row);
        let mut array = ArrayWriter::new(out);
        let mut from = 0;
        let mut count = 0usize;
        while from <= text.len()
            && let Some(found) = regex.captures_read_at(&mut locations, text, from)
        {
            count += 1;
            let part = |group: usize| locations.get(group).map_or("", |(start, end)| &text[start..end]);
            if let [group] = chosen[..] {
                array.string(part(group));
            } else {
                let mut inner = ArrayWriter::new(array.next());
                chosen.iter().for_each(|group| inner.string(part(*group)));
                inner.close();
            }
            // After an empty match the search goes on behind the next character.
            from = if found.is_empty() { next_character(text, found.end()) } else { found.end() };
        }
        array.close();
        count > 0
    })
}

fn next_character(text: &str, position: usize) -> usize {
    position + text[position..].chars().next().map_or(1, char::len_utf8)
}

/// A replacement: literal text and numbers of groups.
struct Rewrite(Vec<RewritePart>);

enum RewritePart {
    Text(String),
    Group(usize),
}

impl Rewrite {
    /// `\0` to `\9` are groups, `\\` is a backslash; any other backslash stands for itself.
    fn parse(pattern: &str) -> Rewrite {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match (character, characters.peek()) {
                ('\\', Some(next)) if next.is_ascii_digit() => {
                    let group = *next as usize - '0' as usize;
                    characters.next();
                    if !text.is_empty() {
                        parts.push(RewritePart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(RewritePart::Group(group));
                }
                ('\\', Some('\\')) => {
                    characters.next();
                    text.push('\\');
                }
                (character, _) => text.push(character),
            }
        }
        if !text.is_empty() {
            parts.push(RewritePart::Text(text));
        }
        Rewrite(parts)
    }
}

fn replace_regex(call: &Call<'_>) -> Result<ColumnarValue> {
    replaced(call, 0, 1, 2)
}

fn replace(call: &Call<'_>) -> Result<ColumnarValue> {
    replaced(call, 2, 0, 1)
}

fn replaced(call: &Call<'_>, source: usize, regex: usize, rewrite: usize) -> Result<ColumnarValue> {
    let source = Texts::of(call, source)?;
    let mut patterns = Patterns::of(call, regex)?;
    let rewrites = Texts::of(call, rewrite)?;
    let prepared = rewrites.constant_text().map(Rewrite::parse);
    let mut failed = Ok(());
    let answer = each_piece_or_new(call, &source, |row, text, new| {
        let Some(regex) = keep(&mut failed, patterns.regex(row)) else { return Piece::Part(0..0) };
        let own;
        let rewrite = match &prepared {
            Some(prepared) => prepared,
            None => {
                own = Rewrite::parse(rewrites.text(row));
                &own
            }
        };
        let (mut end, mut is_changed) = (0, false);
        if let [] | [RewritePart::Text(_)] = &rewrite.0[..] {
            let replacement = rewrite.0.first().map_or("", |part| match part {
                RewritePart::Text(text) => text,
                RewritePart::Group(_) => "",
            });
            for found in regex.find_iter(text) {
                new.push_str(&text[end..found.start()]);
                new.push_str(replacement);
                (end, is_changed) = (found.end(), true);
                if new.len() > MAX_TEXT {
                    break;
                }
            }
        } else {
            for captures in regex.captures_iter(text) {
                let whole = captures.get_match();
                new.push_str(&text[end..whole.start()]);
                for part in &rewrite.0 {
                    match part {
                        RewritePart::Text(text) => new.push_str(text),
                        RewritePart::Group(group) => {
                            new.push_str(captures.get(*group).map_or("", |found| found.as_str()));
                        }
                    }
                }
                (end, is_changed) = (whole.end(), true);
                if new.len() > MAX_TEXT {
                    break;
                }
            }
        }
        if !is_changed {
            return Piece::Part(0..text.len());
        }
        new.push_str(&text[end..]);
        Piece::New
    })?;
    failed.map(|()| answer)
}

fn trim_pattern(call: &Call<'_>, build: impl Fn(&str) -> String) -> Result<Regex> {
    let pattern = Texts::of(call, 0)?;
    let pattern = pattern.text(0);
    if pattern.is_empty() {
        return exec_err!("trim: the regular expression must not be empty");
    }
    regexes::check(pattern).map_err(datafusion_common::DataFusionError::Plan)?;
    regexes::compile(&build(pattern))
}

fn trim(call: &Call<'_>) -> Result<ColumnarValue> {
    trimmed(call, trim_pattern(call, |pattern| format!("^(?:{pattern})|(?:{pattern})$"))?)
}

fn trim_start(call: &Call<'_>) -> Result<ColumnarValue> {
    trimmed(call, trim_pattern(call, |pattern| format!("^(?:{pattern})"))?)
}

fn trim_end(call: &Call<'_>) -> Result<ColumnarValue> {
    trimmed(call, trim_pattern(call, |pattern| format!("(?:{pattern})$"))?)
}

/// The text without the matches of an anchored expression: at most one at each end, unless flags change the anchors.
fn trimmed(call: &Call<'_>, regex: Regex) -> Result<ColumnarValue> {
    let source = Texts::of(call, 1)?;
    each_piece_or_new(call, &source, |_, text, new| {
        let (mut kept, mut end) = (None, 0);
        for found in regex.find_iter(text) {
            if found.start() > end
                && let Some((start, stop)) = kept.replace((end, found.start()))
            {
                new.push_str(&text[start..stop]);
            }
            end = found.end();
        }
        if end < text.len()
            && let Some((start, stop)) = kept.replace((end, text.len()))
        {
            new.push_str(&text[start..stop]);
        }
        let (start, stop) = kept.unwrap_or((0, 0));
        if new.is_empty() {
            return Piece::Part(start..stop);
        }
        new.push_str(&text[start..stop]);
        Piece::New
    })
}

fn regex_quote(call: &Call<'_>) -> Result<ColumnarValue> {
    let value = Texts::of(call, 0)?;
    each_text(call, |row, out| out.push_str(&::regex::escape(value.text(row))))
}
