//! Strings: lengths, parts, search, replacement, joining. Positions and lengths count code points.
//! Source: kql-behaviour section 9 and the pages of the functions.

use std::collections::HashMap;

use std::ops::Range;

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use memchr::memmem;
use tidewater_kql::KqlType;

use super::kernel::{
    Integers, MAX_TEXT, Piece, Texts, each, each_dynamic, each_piece, each_piece_or_new, each_text, try_each,
};
use super::regexes;
use super::rows::{TO_BOOL, TO_DYNAMIC, TO_LONG, TO_STRING, row};
use crate::call::Call;
use crate::dynamic::{ArrayWriter, Cells, Dynamic, Json};
use crate::operator::{Ask, Case, Matcher};
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, DYNAMIC, LONG, STRING, Signature, optional, repeated, required, sig};

const TEXT: Accepts = Accepts::Text;
const TEXT_TO_STRING: &[Signature] = &[sig(&[required("value", TEXT)], TO_STRING)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "strlen",
        &[sig(&[required("source", STRING)], TO_LONG)],
        strlen,
        "Number of characters in `source`.",
        "strlen-function",
        name_rule: NameRule::Affix("strlen_", ""),
        examples: &[("print strlen('héllo')", "5")],
    ),
    row!(
        "string_size",
        &[sig(&[required("source", STRING)], TO_LONG)],
        string_size,
        "Number of bytes of `source` in UTF-8.",
        "string-size-function",
        name_rule: NameRule::Affix("string_size_", ""),
        examples: &[("print string_size('héllo')", "6")],
    ),
    row!(
        "tolower",
        TEXT_TO_STRING,
        tolower,
        "The text in lower case.",
        "tolower-function",
        examples: &[("print tolower('CAFÉ')", "café")],
    ),
    row!(
        "toupper",
        TEXT_TO_STRING,
        toupper,
        "The text in upper case.",
        "toupper-function",
        examples: &[("print toupper('café')", "CAFÉ")],
    ),
    row!(
        "reverse",
        TEXT_TO_STRING,
        reverse,
        "The characters of the text in reverse order.",
        "reverse-function",
        examples: &[("print reverse('abc')", "cba")],
    ),
    row!(
        "strcmp",
        &[sig(&[required("string1", TEXT), required("string2", TEXT)], TO_LONG)],
        strcmp,
        "-1, 0 or 1 as the first text comes before, equals or comes after the second, by code points.",
        "strcmp-function",
        examples: &[("print strcmp('A', 'a')", "-1")],
    ),
    row!(
        "strcat",
        &[sig(&[required("argument", TEXT), repeated("argument", TEXT)], TO_STRING)],
        strcat,
        "The texts of the arguments one after the other.",
        "strcat-function",
        examples: &[("print strcat('a', 1, true)", "a1True")],
    ),
    row!(
        "strcat_delim",
        &[sig(
            &[required("delimiter", TEXT), required("argument", TEXT), required("argument", TEXT), repeated("argument", TEXT)],
            TO_STRING,
        )],
        strcat_delim,
        "The texts of the arguments with the delimiter between them.",
        "strcat-delim-function",
        examples: &[("print strcat_delim('-', 1, 'A', true)", "1-A-True")],
    ),
    row!(
        "strrep",
        &[sig(&[required("value", TEXT), required("multiplier", LONG), optional("delimiter", TEXT)], TO_STRING)],
        strrep,
        "The text repeated, with the delimiter between the copies.",
        "strrep-function",
        examples: &[("print strrep('ab', 3, '.')", "ab.ab.ab")],
    ),
    row!(
        "substring",
        &[sig(&[required("source", TEXT), required("startingIndex", LONG), optional("length", LONG)], TO_STRING)],
        substring,
        "A part of the text: from a position, counted from the end if negative, up to a number of characters.",
        "substring-function",
        examples: &[("print substring('123456', -2, 2)", "56")],
    ),
    row!(
        "indexof",
        &[sig(
            &[
                required("source", TEXT),
                required("lookup", TEXT),
                optional("start", LONG),
                optional("length", LONG),
                optional("occurrence", LONG),
            ],
            TO_LONG,
        )],
        indexof,
        "Position of an occurrence of `lookup`, -1 where there is none.",
        "indexof-function",
        examples: &[("print indexof('abcdefg', 'cde')", "2")],
    ),
    row!(
        "indexof_regex",
        &[sig(
            &[
                required("source", TEXT),
                required("regex", TEXT),
                optional("start", LONG),
                optional("length", LONG),
                optional("occurrence", LONG),
            ],
            TO_LONG,
        )],
        indexof_regex,
        "Position of an occurrence of a regular expression, -1 where there is none.",
        "indexof-regex-function",
        examples: &[("print indexof_regex('abcabc', 'a.c')", "0")],
    ),
    row!(
        "countof",
        &[sig(&[required("source", STRING), required("search", STRING), optional("kind", STRING).constant()], TO_LONG)],
        countof,
        "How often a text (overlapping) or, with kind 'regex', a regular expression occurs in `source`.",
        "countof-function",
        examples: &[("print countof('aaaa', 'aa')", "3")],
    ),
    row!(
        "has_any_index",
        &[sig(&[required("source", STRING), required("values", DYNAMIC)], TO_LONG)],
        has_any_index,
        "Position in the array of the first value that `source` has as a term, -1 where there is none.",
        "has-any-index-function",
        examples: &[("print has_any_index('this is an example', dynamic(['not', 'example']))", "1")],
    ),
    row!(
        "split",
        &[sig(&[required("source", TEXT), required("delimiter", STRING), optional("requestedIndex", LONG)], TO_DYNAMIC)],
        split,
        "The parts of the text between the delimiters; with an index, an array of that part alone.",
        "split-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print split('a_b', '_')", "[\"a\",\"b\"]")],
    ),
    row!(
        "replace_string",
        &[sig(&[required("text", STRING), required("lookup", STRING), required("rewrite", STRING)], TO_STRING)],
        replace_string,
        "The text with every occurrence of `lookup` replaced.",
        "replace-string-function",
        examples: &[("print replace_string('a cat', 'cat', 'dog')", "a dog")],
    ),
    row!(
        "replace_strings",
        &[sig(&[required("text", STRING), required("lookups", DYNAMIC), required("rewrites", DYNAMIC)], TO_STRING)],
        replace_strings,
        "The text with every occurrence of each of several texts replaced; earlier ones go first.",
        "replace-strings-function",
        examples: &[("print replace_strings('cat dog', dynamic(['cat', 'dog']), dynamic(['dog', 'pigeon']))", "dog pigeon")],
    ),
    row!(
        "translate",
        &[sig(&[required("searchList", STRING), required("replacementList", STRING), required("source", STRING)], TO_STRING)],
        translate,
        "`source` with each character of the first list replaced by the one at its place in the second.",
        "translate-function",
        examples: &[("print translate('krasp', 'otsku', 'spark')", "kusto")],
    ),
    row!(
        "isascii",
        &[sig(&[required("value", TEXT)], TO_BOOL)],
        isascii,
        "Whether every character is one of ASCII.",
        "isascii",
        examples: &[("print isascii('abc')", "true")],
    ),
    row!(
        "isutf8",
        &[sig(&[required("value", TEXT)], TO_BOOL)],
        isutf8,
        "Whether the text is valid UTF-8, which every string here is.",
        "isutf8-function",
        examples: &[("print isutf8('abc')", "true")],
    ),
    row!(
        "unicode_codepoints_from_string",
        &[sig(&[required("value", TEXT)], TO_DYNAMIC)],
        codepoints_from_string,
        "The code points of the text, as an array of longs.",
        "unicode-codepoints-from-string-function",
        aliases: &["to_utf8"],
        examples: &[("print unicode_codepoints_from_string('ab')", "[97,98]")],
    ),
    row!(
        "unicode_codepoints_to_string",
        &[sig(&[required("value", CODEPOINTS), repeated("value", CODEPOINTS)], TO_STRING)],
        codepoints_to_string,
        "The text of code points, given one by one or in arrays; empty when one of them is none.",
        "unicode-codepoints-to-string-function",
        aliases: &["make_string"],
        examples: &[("print unicode_codepoints_to_string(75, 117)", "Ku")],
    ),
];

const CODEPOINTS: Accepts = Accepts::OneOf(&[KqlType::Int, KqlType::Long, KqlType::Dynamic]);

/// A repeated text may have this many bytes; longer ones are an error.
const MAX_REPEATED_BYTES: usize = 64 << 20;

fn strlen(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each(call, |row| source.text(row).chars().count() as i64)
}

fn string_size(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each(call, |row| source.text(row).len() as i64)
}

/// A character's form in the other case where that is one character; itself otherwise.
fn single(character: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => character,
    }
}

fn tolower(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_piece_or_new(call, &source, |_, text, new| {
        if text.is_ascii() {
            if !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Piece::Part(0..text.len());
            }
            new.push_str(text);
            new.make_ascii_lowercase();
        } else {
            new.extend(text.chars().map(|character| single(character, character.to_lowercase())));
        }
        Piece::New
    })
}

fn toupper(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_piece_or_new(call, &source, |_, text, new| {
        if text.is_ascii() {
            if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
                return Piece::Part(0..text.len());
            }
            new.push_str(text);
            new.make_ascii_uppercase();
        } else {
            new.extend(text.chars().map(|character| single(character, character.to_uppercase())));
        }
        Piece::New
    })
}

fn reverse(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| out.extend(source.text(row).chars().rev()))
}

fn strcmp(call: &Call<'_>) -> Result<ColumnarValue> {
    let (one, other) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each(call, |row| one.text(row).cmp(other.text(row)) as i64)
}

fn all_texts(call: &Call<'_>, from: usize) -> Result<Vec<Texts>> {
    (from..call.args.len()).map(|position| Texts::of(call, position)).collect()
}

fn strcat(call: &Call<'_>) -> Result<ColumnarValue> {
    let texts = all_texts(call, 0)?;
    each_text(call, |row, out| {
        for text in &texts {
            out.push_str(text.text(row));
        }
    })
}

fn strcat_delim(call: &Call<'_>) -> Result<ColumnarValue> {
    let delimiter = Texts::of(call, 0)?;
    let texts = all_texts(call, 1)?;
    each_text(call, |row, out| {
        for (position, text) in texts.iter().enumerate() {
            if position > 0 {
                out.push_str(delimiter.text(row));
            }
            out.push_str(text.text(row));
        }
    })
}

fn strrep(call: &Call<'_>) -> Result<ColumnarValue> {
    let (value, count) = (Texts::of(call, 0)?, Integers::of(call, 1)?);
    let delimiter = if call.args.len() > 2 { Some(Texts::of(call, 2)?) } else { None };
    // Nothing may be repeated without bound, not even nothing.
    let mut too_long = false;
    let answer = each_text(call, |row, out| {
        let (text, between) = (value.text(row), delimiter.as_ref().map_or("", |delimiter| delimiter.text(row)));
        let count = usize::try_from(count.get(row).unwrap_or(0)).unwrap_or(0);
        if (text.len() + between.len()).saturating_mul(count) > MAX_REPEATED_BYTES {
            too_long = true;
            return;
        }
        if text.is_empty() && between.is_empty() {
            return;
        }
        for copy in 0..count {
            if copy > 0 {
                out.push_str(between);
            }
            out.push_str(text);
        }
    })?;
    if too_long {
        return exec_err!("strrep(): the text would have more than {MAX_REPEATED_BYTES} bytes");
    }
    Ok(answer)
}

/// The bytes of the characters `from..to` of a text; both are clipped to it.
fn characters(text: &str, from: i64, to: i64) -> Range<usize> {
    let (from, to) = (from.max(0) as usize, to.max(0) as usize);
    if from >= to {
        return 0..0;
    }
    if text.is_ascii() {
        return from.min(text.len())..to.min(text.len());
    }
    let mut ends = text.char_indices().map(|(position, _)| position).chain([text.len()]);
    let start = ends.by_ref().nth(from).unwrap_or(text.len());
    let end = ends.nth(to - from - 1).unwrap_or(text.len());
    start..end
}

/// A start before the text's beginning gives nothing, however long the part. Source: recorded answers over rows.
fn substring(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, start) = (Texts::of(call, 0)?, Integers::of(call, 1)?);
    let length = if call.args.len() > 2 { Some(Integers::of(call, 2)?) } else { None };
    each_piece(call, &source, |row, text| {
        let Some(start) = start.get(row) else { return Piece::Part(0..0) };
        let length = match &length {
            Some(length) => match length.get(row) {
                Some(length) => Some(length),
                None => return Piece::Part(0..0),
            },
            None => None,
        };
        if start >= 0 {
            let end = length.map_or(i64::MAX, |length| start.saturating_add(length));
            return Piece::Part(characters(text, start, end));
        }
        let count = text.chars().count() as i64;
        let start = start.saturating_add(count);
        if start < 0 {
            return Piece::Part(0..0);
        }
        Piece::Part(characters(text, start, start.saturating_add(length.unwrap_or(count))))
    })
}

/// The optional arguments of `indexof` and `indexof_regex`.
struct Window {
    start: Option<Integers>,
    length: Option<Integers>,
    occurrence: Option<Integers>,
}

/// Where a row's search goes on.
struct Searched {
    /// Characters before it.
    before: i64,
    bytes: Range<usize>,
    /// Characters that it may take; `None` is all.
    length: Option<i64>,
    occurrence: i64,
}

impl Window {
    fn of(call: &Call<'_>) -> Result<Window> {
        let argument = |position| {
            if call.args.len() > position { Integers::of(call, position).map(Some) } else { Ok(None) }
        };
        Ok(Window { start: argument(2)?, length: argument(3)?, occurrence: argument(4)? })
    }

    /// `None` for arguments that make the answer null; an inner `None` when the window lies behind the text.
    fn searched(&self, row: usize, text: &str, allows_negative: bool) -> Option<Option<Searched>> {
        let value = |argument: &Option<Integers>, default| match argument {
            Some(argument) => argument.get(row),
            None => Some(default),
        };
        let mut start = value(&self.start, 0)?;
        let length = value(&self.length, -1)?;
        let occurrence = value(&self.occurrence, 1)?;
        if length < -1 || occurrence < 0 || (start < 0 && !allows_negative) {
            return None;
        }
        if start < 0 {
            start = start.saturating_add(text.chars().count() as i64).max(0);
        }
        let end = if length < 0 { i64::MAX } else { start.saturating_add(length) };
        let whole = characters(text, start, i64::MAX);
        if whole.is_empty() && start > 0 && characters(text, start - 1, start).is_empty() {
            return Some(None);
        }
        let bytes = if length == 0 { whole.start..whole.start } else { characters(text, start, end) };
        Some(Some(Searched { before: start, bytes, length: (length >= 0).then_some(length), occurrence }))
    }
}

/// Characters before a byte position.
fn character_position(text: &str, byte: usize) -> i64 {
    text[..byte].chars().count() as i64
}

fn indexof(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, lookup) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let window = Window::of(call)?;
    let prepared = lookup.constant_text().map(memmem::Finder::new);
    each(call, |row| {
        let (text, needle) = (source.text(row), lookup.text(row));
        let searched = window.searched(row, text, true)?;
        if needle.is_empty() {
            return None;
        }
        let Some(Searched { before, bytes, length, occurrence }) = searched else { return Some(-1) };
        let (mut before, mut start, mut end) = (before, bytes.start, bytes.end);
        for left in (0..occurrence).rev() {
            let part = &text.as_bytes()[start..end];
            let found = match &prepared {
                Some(finder) => finder.find(part),
                None => memmem::find(part, needle.as_bytes()),
            };
            let Some(found) = found else { return Some(-1) };
            before += character_position(&text[start..], found);
            if left == 0 {
                return Some(before);
            }
            // The next search begins behind the first character of this match and again goes on for `length` characters:
            // the page's example with a second occurrence comes out only so.
            start = next_character(text, start + found);
            before += 1;
            if let Some(length) = length {
                end = start + characters(&text[start..], 0, length).end;
            }
        }
        Some(-1)
    })
}

fn next_character(text: &str, position: usize) -> usize {
    position + text[position..].chars().next().map_or(0, char::len_utf8)
}

fn indexof_regex(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, pattern) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let window = Window::of(call)?;
    let mut patterns = regexes::PatternColumn::default();
    try_each(call, |row| {
        let text = source.text(row);
        let regex = patterns.get(pattern.text(row))?;
        let Some(searched) = window.searched(row, text, false) else { return Ok(None) };
        let Some(Searched { before, bytes, occurrence, .. }) = searched else { return Ok(Some(-1)) };
        let part = &text[bytes];
        let found = usize::try_from(occurrence - 1).ok().and_then(|skipped| regex.find_iter(part).nth(skipped));
        Ok(Some(found.map_or(-1, |found| before + character_position(part, found.start()))))
    })
}

fn countof(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, search) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let kind = if call.args.len() > 2 { Texts::of(call, 2)?.text(0).to_string() } else { "normal".to_string() };
    match kind.as_str() {
        "normal" => {
            let prepared = search.constant_text().map(memmem::Finder::new);
            each(call, |row| {
                let (text, needle) = (source.text(row).as_bytes(), search.text(row));
                if needle.is_empty() {
                    return 0;
                }
                let (mut count, mut from) = (0i64, 0);
                loop {
                    let found = match &prepared {
                        Some(finder) => finder.find(&text[from..]),
                        None => memmem::find(&text[from..], needle.as_bytes()),
                    };
                    match found {
                        Some(found) => {
                            count += 1;
                            from += found + 1;
                        }
                        None => return count,
                    }
                }
            })
        }
        "regex" => {
            let mut patterns = regexes::PatternColumn::default();
            try_each(call, |row| {
                if search.text(row).is_empty() {
                    return Ok(0);
                }
                Ok(patterns.get(search.text(row))?.find_iter(source.text(row)).count() as i64)
            })
        }
        other => exec_err!("countof(): the kind must be 'normal' or 'regex', not '{other}'"),
    }
}

fn has_any_index(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, values) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let mut scratch = String::new();
    let matchers = |json: Option<&str>| -> Vec<Option<Matcher>> {
        let of =
            |element: Json<'_>| (!element.is_null()).then(|| Matcher::new(Ask::Has, Case::Ignored, &element.text()));
        Json::new(json).elements().map(of).collect()
    };
    let prepared = values.is_constant().then(|| matchers(values.get(0)));
    each(call, |row| {
        let own;
        let matchers = match &prepared {
            Some(prepared) => prepared,
            None => {
                own = matchers(values.get(row));
                &own
            }
        };
        let text = source.text(row);
        let has =
            |matcher: &Option<Matcher>| matcher.as_ref().is_some_and(|matcher| matcher.is_match(text, &mut scratch));
        matchers.iter().position(has).map_or(-1, |position| position as i64)
    })
}

fn split(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, delimiter) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let index = if call.args.len() > 2 { Some(Integers::of(call, 2)?) } else { None };
    each_dynamic(call, |row, out| {
        let delimiter = delimiter.text(row);
        if delimiter.is_empty() {
            return false;
        }
        let mut parts = source.text(row).split(delimiter);
        let Some(index) = &index else {
            let mut array = ArrayWriter::new(out);
            parts.for_each(|part| array.string(part));
            array.close();
            return true;
        };
        let part = index.get(row).and_then(|index| usize::try_from(index).ok()).and_then(|index| parts.nth(index));
        let Some(part) = part else { return false };
        let mut array = ArrayWriter::new(out);
        array.string(part);
        array.close();
        true
    })
}

fn replace_string(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, lookup, rewrite) = (Texts::of(call, 0)?, Texts::of(call, 1)?, Texts::of(call, 2)?);
    let prepared = lookup.constant_text().map(memmem::Finder::new);
    each_piece_or_new(call, &source, |row, text, new| {
        let needle = lookup.text(row);
        let find = |rest: &str| match &prepared {
            Some(finder) => finder.find(rest.as_bytes()),
            None => memmem::find(rest.as_bytes(), needle.as_bytes()),
        };
        let mut rest = text;
        if needle.is_empty() {
            return Piece::Part(0..text.len());
        }
        let Some(mut found) = find(rest) else { return Piece::Part(0..text.len()) };
        loop {
            new.push_str(&rest[..found]);
            new.push_str(rewrite.text(row));
            rest = &rest[found + needle.len()..];
            match find(rest) {
                Some(next) if new.len() <= MAX_TEXT => found = next,
                _ => break,
            }
        }
        new.push_str(rest);
        Piece::New
    })
}

/// Source: replace_strings() page: the lookups go in their order over what earlier ones left; a rewrite that is not
/// a string keeps the matched text, which is still out of reach for later lookups.
fn replace_strings(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, lookups, rewrites) = (Texts::of(call, 0)?, Texts::of(call, 1)?, Texts::of(call, 2)?);
    let pairs = |row: usize| -> Vec<(String, Option<String>)> {
        let rewrites: Vec<_> = Json::new(rewrites.get(row)).elements().collect();
        Json::new(lookups.get(row))
            .elements()
            .enumerate()
            .filter_map(|(position, lookup)| {
                let lookup = lookup.string().filter(|lookup| !lookup.is_empty())?.into_owned();
                let rewrite = rewrites.get(position).and_then(|rewrite| rewrite.string());
                Some((lookup, rewrite.map(|rewrite| rewrite.into_owned())))
            })
            .collect()
    };
    let prepared = (lookups.is_constant() && rewrites.is_constant()).then(|| pairs(0));
    each_text(call, |row, out| {
        let own;
        let pairs = match &prepared {
            Some(prepared) => prepared,
            None => {
                own = pairs(row);
                &own
            }
        };
        // Pieces still open to lookups (`false`), or settled.
        let mut pieces: Vec<(&str, bool)> = vec![(source.text(row), false)];
        for (lookup, rewrite) in pairs {
            if !pieces.iter().any(|(text, settled)| !settled && text.contains(lookup.as_str())) {
                continue;
            }
            let mut next = Vec::with_capacity(pieces.len() + 2);
            for (text, settled) in pieces {
                if settled {
                    next.push((text, true));
                    continue;
                }
                let mut rest = text;
                while let Some(found) = rest.find(lookup.as_str()) {
                    let (before, after) = rest.split_at(found);
                    let (matched, after) = after.split_at(lookup.len());
                    next.push((before, false));
                    next.push((rewrite.as_deref().unwrap_or(matched), true));
                    rest = after;
                }
                next.push((rest, false));
            }
            pieces = next;
        }
        for (text, _) in pieces {
            out.push_str(text);
            if out.len() > MAX_TEXT {
                break;
            }
        }
    })
}

/// Source: translate() page: a list of replacements that is too short goes on with its last one; an empty one removes.
fn translate(call: &Call<'_>) -> Result<ColumnarValue> {
    /// What becomes of each character of a search list: another, or nothing.
    fn alphabet(search: &str, replacement: &str) -> HashMap<char, Option<char>> {
        let replacement: Vec<char> = replacement.chars().collect();
        let mut places = HashMap::new();
        for (place, character) in search.chars().enumerate() {
            // The first of several places of a character counts.
            places.entry(character).or_insert_with(|| replacement.get(place).or(replacement.last()).copied());
        }
        places
    }
    let (search, replacement, source) = (Texts::of(call, 0)?, Texts::of(call, 1)?, Texts::of(call, 2)?);
    let prepared = match (search.constant_text(), replacement.constant_text()) {
        (Some(search), Some(replacement)) => Some(alphabet(search, replacement)),
        _ => None,
    };
    each_text(call, |row, out| {
        let own;
        let alphabet = match &prepared {
            Some(prepared) => prepared,
            None => {
                own = alphabet(search.text(row), replacement.text(row));
                &own
            }
        };
        for character in source.text(row).chars() {
            match alphabet.get(&character) {
                Some(instead) => out.extend(instead),
                None => out.push(character),
            }
        }
    })
}

fn isascii(call: &Call<'_>) -> Result<ColumnarValue> {
    let value = Texts::of(call, 0)?;
    each(call, |row| value.text(row).is_ascii())
}

fn isutf8(call: &Call<'_>) -> Result<ColumnarValue> {
    each(call, |_| true)
}

fn codepoints_from_string(call: &Call<'_>) -> Result<ColumnarValue> {
    let value = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let mut array = ArrayWriter::new(out);
        value.text(row).chars().for_each(|character| array.long(i64::from(u32::from(character))));
        array.close();
        true
    })
}

fn codepoints_to_string(call: &Call<'_>) -> Result<ColumnarValue> {
    let values = (0..call.args.len()).map(|position| Cells::of(call, position)).collect::<Result<Vec<_>>>()?;
    let character = |code: i64| u32::try_from(code).ok().and_then(char::from_u32);
    each_text(call, |row, out| {
        let mut write = || -> Option<()> {
            for value in &values {
                match value {
                    Cells::Int(input) => out.push(character(i64::from(input.get(row)?))?),
                    Cells::Long(input) => out.push(character(input.get(row)?)?),
                    Cells::Dynamic(input) => {
                        let value = Json::new(input.get(row));
                        for element in value.array().unwrap_or_else(|| vec![value]) {
                            out.push(character(element.number()?.exact_long()?)?);
                        }
                    }
                    _ => return None,
                }
            }
            Some(())
        };
        if write().is_none() {
            out.clear();
        }
    })
}
