//! Texts and numbers of the dialect.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, Float64Array, ListArray, ListBuilder, StringArray, StringBuilder, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use regex::Regex;

use super::udf::{Row, as_doubles, as_longs, as_texts, at, double, text, texts};

/// Largest compiled expression.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Digits that `format_number` writes after the point.
const MAX_DECIMALS: i64 = 300;

pub(super) const ROWS: &[Row] = &[
    Row { name: "log1p", arity: (1, 1), returns: double, kernel: log1p },
    Row { name: "regexp_extract", arity: (2, 3), returns: text, kernel: regexp_extract },
    Row { name: "regexp_extract_all", arity: (2, 3), returns: texts, kernel: regexp_extract_all },
    Row { name: "regexp_replace", arity: (3, 4), returns: text, kernel: regexp_replace },
    Row { name: "split", arity: (2, 3), returns: texts, kernel: split },
    Row { name: "conv", arity: (3, 3), returns: text, kernel: conv },
    Row { name: "format_number", arity: (2, 2), returns: text, kernel: format_number },
    Row { name: "encode", arity: (2, 2), returns: encoded, kernel: encode },
    Row { name: "decode", arity: (2, 2), returns: text, kernel: decode },
    Row { name: "reverse", arity: (1, 1), returns: same, kernel: reverse },
    Row { name: "outer_array", arity: (1, 1), returns: same, kernel: outer_array },
    Row { name: "value_at", arity: (2, 2), returns: element_type, kernel: element_at },
];

fn same(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match &types[0] {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::List(field) => DataType::List(Arc::new(Field::new_list_field(field.data_type().clone(), true))),
        ty => ty.clone(),
    })
}

fn log1p(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let found: Float64Array =
        as_doubles(&values[0])?.iter().map(|value| value.filter(|value| *value > -1.0).map(f64::ln_1p)).collect();
    Ok(Arc::new(found))
}

/// Expressions of a column, each compiled once for the rows that share it.
#[derive(Default)]
struct Regexes(Option<(String, Regex)>);

impl Regexes {
    fn of(&mut self, text: &str) -> Result<&Regex> {
        if self.0.as_ref().is_none_or(|(known, _)| known != text) {
            match regex::RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build() {
                Ok(regex) => self.0 = Some((text.to_string(), regex)),
                Err(error) => return exec_err!("the regular expression cannot be read: {error}"),
            }
        }
        match &self.0 {
            Some((_, regex)) => Ok(regex),
            None => exec_err!("there is no regular expression"),
        }
    }
}

/// The group that the third argument names; the first without one.
fn group(values: &[ArrayRef], row: usize, regex: &Regex) -> Result<Option<usize>> {
    let groups = regex.captures_len();
    let Some(wanted) = values.get(2) else { return known_group(Some(1), groups) };
    let wanted = as_longs(&wanted.slice(row, 1))?;
    match wanted.is_valid(0) {
        true => known_group(usize::try_from(wanted.value(0)).ok(), groups),
        false => Ok(None),
    }
}

fn known_group(wanted: Option<usize>, groups: usize) -> Result<Option<usize>> {
    match wanted {
        Some(group) if group < groups => Ok(Some(group)),
        Some(group) => exec_err!("the regular expression has {} groups, found the number {group}", groups - 1),
        None => exec_err!("the number of a group must not be negative"),
    }
}

fn regexp_extract(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (subjects, patterns, mut regexes) = (as_texts(&values[0])?, as_texts(&values[1])?, Regexes::default());
    let mut found = StringBuilder::new();
    for row in 0..subjects.len() {
        match (at(&subjects, row), at(&patterns, row)) {
            (Some(subject), Some(pattern)) => {
                let regex = regexes.of(pattern)?;
                match group(values, row, regex)? {
                    Some(group) => {
                        let part = regex.captures(subject).and_then(|found| found.get(group));
                        found.append_value(part.map_or("", |part| part.as_str()));
                    }
                    None => found.append_null(),
                }
            }
            _ => found.append_null(),
        }
    }
    Ok(Arc::new(found.finish()))
}

fn regexp_extract_all(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (subjects, patterns, mut regexes) = (as_texts(&values[0])?, as_texts(&values[1])?, Regexes::default());
    let mut found = ListBuilder::new(StringBuilder::new());
    for row in 0..subjects.len() {
        let (Some(subject), Some(pattern)) = (at(&subjects, row), at(&patterns, row)) else {
            found.append_null();
            continue;
        };
        let regex = regexes.of(pattern)?;
        let Some(group) = group(values, row, regex)? else {
            found.append_null();
            continue;
        };
        for captures in regex.captures_iter(subject) {
            found.values().append_value(captures.get(group).map_or("", |part| part.as_str()));
        }
        found.append(true);
    }
    Ok(Arc::new(found.finish()))
}

/// `$1` as the engine's expressions spell it, so that a letter after it is not taken for its name.
fn replacement(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len() + 4), text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('$') => out.push_str("$$"),
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            '$' => {
                let mut number = String::new();
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                out.push_str(&if number.is_empty() { "$$".to_string() } else { format!("${{{number}}}") });
            }
            c => out.push(c),
        }
    }
    out
}

fn regexp_replace(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (subjects, patterns, by) = (as_texts(&values[0])?, as_texts(&values[1])?, as_texts(&values[2])?);
    // A fourth argument is a place in the dialect and flags elsewhere.
    let place = values.get(3).map(as_texts).transpose()?;
    let mut regexes = Regexes::default();
    let mut found = StringBuilder::new();
    for row in 0..subjects.len() {
        let (Some(subject), Some(pattern), Some(by)) = (at(&subjects, row), at(&patterns, row), at(&by, row)) else {
            found.append_null();
            continue;
        };
        let mut first = 0;
        let mut pattern = pattern.to_string();
        match place.as_ref().map(|place| at(place, row)) {
            None => {}
            Some(None) => {
                found.append_null();
                continue;
            }
            Some(Some(place)) => match place.parse::<usize>() {
                Ok(place) => {
                    let begin = subject.char_indices().nth(place.max(1) - 1);
                    first = begin.map_or(subject.len(), |(begin, _)| begin);
                }
                Err(_) => {
                    let flags: String = place.chars().filter(|flag| *flag != 'g').collect();
                    if !flags.is_empty() {
                        pattern = format!("(?{flags}){pattern}");
                    }
                }
            },
        }
        let replaced = regexes.of(&pattern)?.replace_all(&subject[first..], replacement(by)).into_owned();
        found.append_value(format!("{}{replaced}", &subject[..first]));
    }
    Ok(Arc::new(found.finish()))
}

fn split(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (subjects, patterns, mut regexes) = (as_texts(&values[0])?, as_texts(&values[1])?, Regexes::default());
    let limits = values.get(2).map(as_longs).transpose()?;
    let mut found = ListBuilder::new(StringBuilder::new());
    for row in 0..subjects.len() {
        let limit = limits.as_ref().map_or(Some(-1), |limits| limits.is_valid(row).then(|| limits.value(row)));
        let (Some(subject), Some(pattern), Some(limit)) = (at(&subjects, row), at(&patterns, row), limit) else {
            found.append_null();
            continue;
        };
        let regex = regexes.of(pattern)?;
        let (mut begin, mut count) = (0, 1);
        for part in regex.find_iter(subject) {
            if limit > 0 && count >= limit {
                break;
            }
            // A match of nothing at an end divides nothing.
            if part.end() == 0 || (part.is_empty() && part.start() == subject.len()) {
                continue;
            }
            found.values().append_value(&subject[begin..part.start()]);
            begin = part.end();
            count += 1;
        }
        found.values().append_value(&subject[begin..]);
        found.append(true);
    }
    Ok(Arc::new(found.finish()))
}

fn conv(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (numbers, from, to) = (as_texts(&values[0])?, as_longs(&values[1])?, as_longs(&values[2])?);
    let found: StringArray = (0..numbers.len())
        .map(|row| {
            let (from, to) = (from.is_valid(row).then(|| from.value(row))?, to.is_valid(row).then(|| to.value(row))?);
            converted(at(&numbers, row)?.trim(), from, to)
        })
        .collect();
    Ok(Arc::new(found))
}

/// A number of another base; what is no digit ends it. A negative base is one of signed numbers.
fn converted(text: &str, from: i64, to: i64) -> Option<String> {
    let is_base = |base: i64| (2..=36).contains(&base.unsigned_abs());
    if !is_base(from) || !is_base(to) || from < 0 || text.is_empty() {
        return None;
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let mut value: u64 = 0;
    for digit in digits.chars().map_while(|digit| digit.to_digit(from as u32)) {
        value = value.checked_mul(from as u64).and_then(|v| v.checked_add(u64::from(digit))).unwrap_or(u64::MAX);
    }
    if negative {
        value = value.wrapping_neg();
    }
    let (sign, mut rest) = match to < 0 && (value as i64) < 0 {
        true => ("-", (value as i64).unsigned_abs()),
        false => ("", value),
    };
    let mut out = Vec::new();
    loop {
        out.push(char::from_digit((rest % to.unsigned_abs()) as u32, 36)?.to_ascii_uppercase());
        rest /= to.unsigned_abs();
        if rest == 0 {
            break;
        }
    }
    Some(format!("{sign}{}", out.iter().rev().collect::<String>()))
}

fn format_number(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (numbers, decimals) = (as_doubles(&values[0])?, as_longs(&values[1])?);
    let is_whole = values[0].data_type().is_integer();
    let whole = is_whole.then(|| as_longs(&values[0])).transpose()?;
    let found: StringArray = (0..numbers.len())
        .map(|row| {
            let decimals = decimals.is_valid(row).then(|| decimals.value(row))?;
            if numbers.is_null(row) || !(0..=MAX_DECIMALS).contains(&decimals) {
                return None;
            }
            let width = decimals as usize;
            let plain = match &whole {
                Some(whole) if width == 0 => whole.value(row).to_string(),
                Some(whole) => format!("{}.{:0>width$}", whole.value(row), ""),
                None if !numbers.value(row).is_finite() => return Some(numbers.value(row).to_string()),
                None => format!("{:.width$}", numbers.value(row)),
            };
            let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
            let (whole, fraction) = digits.find('.').map_or((digits, ""), |dot| digits.split_at(dot));
            let mut grouped = String::new();
            for (at, digit) in whole.chars().enumerate() {
                if at > 0 && (whole.len() - at) % 3 == 0 {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            Some(format!("{sign}{grouped}{fraction}"))
        })
        .collect();
    Ok(Arc::new(found))
}

/// The character sets of the dialect, and the two ways of writing bytes that the engine's functions of these names know.
fn charset(name: &str) -> Result<&'static str> {
    const KNOWN: [&str; 5] = ["utf-8", "us-ascii", "iso-8859-1", "hex", "base64"];
    let name = name.to_ascii_lowercase();
    let name = if name == "utf8" { "utf-8" } else { name.as_str() };
    match KNOWN.iter().find(|known| **known == name) {
        Some(known) => Ok(known),
        None => exec_err!("the character set '{name}' is not served (UTF-8, US-ASCII and ISO-8859-1 are)"),
    }
}

fn encoded(_: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let name = constants.get(1).and_then(|constant| constant.as_ref()).map(|constant| constant.to_string());
    let is_text = name.is_some_and(|name| matches!(name.to_ascii_lowercase().as_str(), "hex" | "base64"));
    Ok(if is_text { DataType::Utf8 } else { DataType::Binary })
}

fn bytes_of(values: &ArrayRef) -> Result<BinaryArray> {
    let bytes = datafusion::arrow::compute::cast(values, &DataType::Binary)?;
    Ok(datafusion::arrow::array::AsArray::as_binary::<i32>(&bytes).clone())
}

fn encode(values: &[ArrayRef], ty: &DataType) -> Result<ArrayRef> {
    use base64::Engine;
    let names = as_texts(&values[1])?;
    if *ty == DataType::Utf8 {
        let bytes = bytes_of(&values[0])?;
        let found: Result<Vec<Option<String>>> = (0..bytes.len())
            .map(|row| {
                let (true, Some(name)) = (bytes.is_valid(row), at(&names, row)) else { return Ok(None) };
                Ok(Some(match charset(name)? {
                    "hex" => bytes.value(row).iter().map(|byte| format!("{byte:02x}")).collect(),
                    _ => base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes.value(row)),
                }))
            })
            .collect();
        return Ok(Arc::new(StringArray::from(found?)));
    }
    let subjects = as_texts(&values[0])?;
    let found: Result<Vec<Option<Vec<u8>>>> = (0..subjects.len())
        .map(|row| {
            let (Some(subject), Some(name)) = (at(&subjects, row), at(&names, row)) else { return Ok(None) };
            let one =
                |limit: u32| subject.chars().map(|c| if (c as u32) < limit { c as u32 as u8 } else { b'?' }).collect();
            Ok(Some(match charset(name)? {
                "utf-8" => subject.as_bytes().to_vec(),
                "us-ascii" => one(128),
                "iso-8859-1" => one(256),
                other => return plan_err!("encode: '{other}' must be a constant"),
            }))
        })
        .collect();
    Ok(Arc::new(BinaryArray::from_iter(found?)))
}

fn decode(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    use base64::Engine;
    let (bytes, names) = (bytes_of(&values[0])?, as_texts(&values[1])?);
    let mut found = StringBuilder::new();
    for row in 0..bytes.len() {
        let (true, Some(name)) = (bytes.is_valid(row), at(&names, row)) else {
            found.append_null();
            continue;
        };
        let value = bytes.value(row);
        match charset(name)? {
            "utf-8" => found.append_value(String::from_utf8_lossy(value)),
            "us-ascii" => {
                found.append_value(
                    value.iter().map(|b| if *b < 128 { *b as char } else { '\u{fffd}' }).collect::<String>(),
                );
            }
            "iso-8859-1" => found.append_value(value.iter().map(|b| *b as char).collect::<String>()),
            "base64" => {
                let trimmed: Vec<u8> = value.iter().copied().filter(|b| *b != b'=').collect();
                match base64::engine::general_purpose::STANDARD_NO_PAD.decode(trimmed) {
                    Ok(value) => found.append_value(String::from_utf8_lossy(&value)),
                    Err(error) => return exec_err!("decode: {error}"),
                }
            }
            _ => {
                let digits: Option<Vec<u8>> = value
                    .chunks(2)
                    .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok().filter(|two| two.len() == 2)?, 16).ok())
                    .collect();
                match digits {
                    Some(value) => found.append_value(String::from_utf8_lossy(&value)),
                    None => return exec_err!("decode: found something that is no hexadecimal number"),
                }
            }
        }
    }
    Ok(Arc::new(found.finish()))
}

fn as_list(array: &ArrayRef) -> Option<&ListArray> {
    array.as_any().downcast_ref()
}

/// A list with the elements at these places of the values.
fn relisted(
    list: &ListArray,
    indices: Vec<Option<u32>>,
    lengths: Vec<usize>,
    is_valid: impl Fn(usize) -> bool,
) -> Result<ArrayRef> {
    let values = take(list.values(), &UInt32Array::from(indices), None)?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = (0..list.len()).map(is_valid).collect::<Vec<bool>>().into();
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, Some(nulls))?))
}

fn reverse(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let Some(list) = as_list(&values[0]) else {
        let found: StringArray = as_texts(&values[0])?
            .iter()
            .map(|value| value.map(|value| value.chars().rev().collect::<String>()))
            .collect();
        return Ok(Arc::new(found));
    };
    let (mut indices, mut lengths) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        let (begin, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
        indices.extend((begin..end).rev().map(|at| Some(at as u32)));
        lengths.push((end - begin) as usize);
    }
    relisted(list, indices, lengths, |row| list.is_valid(row))
}

/// A list that has a row for `explode_outer` where it is null or empty.
fn outer_array(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let Some(list) = as_list(&values[0]) else {
        return exec_err!("explode_outer: found {}, expected an array", values[0].data_type());
    };
    let (mut indices, mut lengths) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        let (begin, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
        if list.is_null(row) || begin == end {
            indices.push(None);
            lengths.push(1);
        } else {
            indices.extend((begin..end).map(|at| Some(at as u32)));
            lengths.push((end - begin) as usize);
        }
    }
    relisted(list, indices, lengths, |_| true)
}

fn element_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    match &types[0] {
        DataType::List(field) => Ok(field.data_type().clone()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Ok(fields[1].data_type().clone()),
            other => plan_err!("element_at: found a map of {other}"),
        },
        other => plan_err!("element_at: found {other}, expected an array or a map"),
    }
}

/// The element at a place counted from 1, or from the end where it is negative; the value of a key.
fn element_at(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    if let Some(list) = as_list(&values[0]) {
        let places = as_longs(&values[1])?;
        let mut indices = Vec::with_capacity(list.len());
        for row in 0..list.len() {
            let (begin, end) = (i64::from(list.value_offsets()[row]), i64::from(list.value_offsets()[row + 1]));
            let place = places.is_valid(row).then(|| places.value(row)).filter(|_| list.is_valid(row));
            indices.push(match place {
                None => None,
                Some(0) => return exec_err!("element_at: places are counted from 1, found 0"),
                Some(place) => {
                    let index = if place > 0 { begin.saturating_add(place - 1) } else { end.saturating_add(place) };
                    (begin..end).contains(&index).then_some(index as u32)
                }
            });
        }
        return Ok(take(list.values(), &UInt32Array::from(indices), None)?);
    }
    let Some(map) = values[0].as_any().downcast_ref::<datafusion::arrow::array::MapArray>() else {
        return exec_err!("element_at: found {}, expected an array or a map", values[0].data_type());
    };
    let (keys, wanted) = (as_texts(map.keys())?, as_texts(&values[1])?);
    let indices: UInt32Array = (0..map.len())
        .map(|row| {
            let wanted = at(&wanted, row).filter(|_| map.is_valid(row))?;
            let (begin, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
            (begin..end).find(|key| at(&keys, *key) == Some(wanted)).map(|key| key as u32)
        })
        .collect();
    Ok(take(map.values(), &indices, None)?)
}
