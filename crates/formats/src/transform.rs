//! Values on their way into a column: as they are found, or changed by the mapping's transformation.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::datetime::{self, UNIX_EPOCH_TICKS};

use crate::column::{Columns, JsonValue, quoted};
use crate::json::members;
use crate::mapping::{Cell, PathStep, Transform};
use crate::reject::Rejects;

/// Objects in objects that [`Transform::DropMappedFields`] looks into.
const MAX_DEPTH: usize = 64;

/// The place of a record, for the transformations that tell it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The name of the file.
    pub location: &'a str,
    /// The record's number, from 1.
    pub record: u64,
}

impl Columns {
    /// A cell of text through its transformation.
    pub(crate) fn put_text(&mut self, at: usize, cell: &Cell, text: &str, place: Place<'_>, rejects: &mut Rejects) {
        match cell.transform {
            None => self.push_text(at, text, place.record, rejects),
            Some(Transform::DateTimeFromUnix(_)) if text.is_empty() => self.push_null(at),
            Some(_) => self.put_changed(at, cell, JsonValue::String(text.into()), place, rejects),
        }
    }

    /// The raw text of a JSON value through its transformation.
    pub(crate) fn put_json(&mut self, at: usize, cell: &Cell, raw: &str, place: Place<'_>, rejects: &mut Rejects) {
        let value = JsonValue::of_raw(raw);
        match cell.transform {
            None => self.push_json(at, value, place.record, rejects),
            Some(_) => self.put_changed(at, cell, value, place, rejects),
        }
    }

    fn put_changed(&mut self, at: usize, cell: &Cell, value: JsonValue<'_>, place: Place<'_>, rejects: &mut Rejects) {
        let record = place.record;
        match (cell.transform, value) {
            (Some(Transform::SourceLocation), _) => self.push_text(at, place.location, record, rejects),
            (Some(Transform::SourceLineNumber), _) => {
                self.push_json(at, JsonValue::Number(&record.to_string()), record, rejects);
            }
            (_, JsonValue::Null) => self.push_null(at),
            (Some(Transform::DateTimeFromUnix(unit)), value) => {
                let text = match &value {
                    JsonValue::Number(text) => text,
                    JsonValue::String(text) => text.trim(),
                    _ => "",
                };
                match (moment(text, unit), self.ty(at)) {
                    (Some(ticks), KqlType::DateTime) => {
                        self.push_json(at, JsonValue::Number(&ticks.to_string()), record, rejects);
                    }
                    (Some(ticks), _) => {
                        self.push_json(at, JsonValue::String(datetime::to_text(ticks).into()), record, rejects);
                    }
                    (None, _) => {
                        let found = if text.is_empty() { "what is no number" } else { text };
                        rejects.add(record, self.name(at), found, KqlType::DateTime);
                        self.push_null(at);
                    }
                }
            }
            (Some(Transform::PropertyBagArrayToDictionary), JsonValue::Nested(raw)) => {
                self.push_json(at, JsonValue::Nested(&bag_of(raw)), record, rejects);
            }
            (Some(Transform::DropMappedFields), JsonValue::Nested(raw)) => {
                let paths: Vec<&[PathStep]> = cell.dropped.iter().map(Vec::as_slice).collect();
                let mut out = String::with_capacity(raw.len());
                without(raw, &paths, MAX_DEPTH, &mut out);
                self.push_json(at, JsonValue::Nested(&out), record, rejects);
            }
            (Some(Transform::BytesAsBase64), JsonValue::Nested(raw)) => match serde_json::from_str::<Vec<u8>>(raw) {
                Ok(bytes) => {
                    self.push_json(at, JsonValue::String(BASE64_STANDARD.encode(bytes).into()), record, rejects);
                }
                Err(_) => self.push_null(at),
            },
            (Some(Transform::BytesAsBase64), _) => self.push_null(at),
            (_, value) => self.push_json(at, value, record, rejects),
        }
    }
}

/// The moment so many units of nanoseconds after 1970, in ticks.
fn moment(text: &str, unit: i64) -> Option<i64> {
    let nanoseconds = match text.parse::<i64>() {
        Ok(count) => i128::from(count) * i128::from(unit),
        Err(_) => {
            // Digits behind the point are parts of the unit; a double holds what a writer of JSON gave.
            let count = text.parse::<f64>().ok().filter(|count| count.is_finite())?;
            (count * unit as f64) as i128
        }
    };
    let ticks = i64::try_from(nanoseconds.div_euclid(100) + i128::from(UNIX_EPOCH_TICKS)).ok()?;
    (datetime::MIN_TICKS..=datetime::MAX_TICKS).contains(&ticks).then_some(ticks)
}

/// `[{"a":1},{"b":2}]` as `{"a":1,"b":2}`; of a repeated name the last value counts. What is no array stays.
fn bag_of(raw: &str) -> String {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) else { return raw.to_string() };
    let mut bag: Vec<(String, &str)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for item in items {
        for (name, value) in members(item.get()).unwrap_or_default() {
            match places.get(name.as_ref()) {
                Some(at) => {
                    let at: usize = *at;
                    bag[at].1 = value;
                }
                None => {
                    places.insert(name.to_string(), bag.len());
                    bag.push((name.into_owned(), value));
                }
            }
        }
    }
    let parts: Vec<String> = bag.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", parts.join(","))
}

/// Writes a JSON value without the members at these paths.
fn without(raw: &str, paths: &[&[PathStep]], depth: usize, out: &mut String) {
    if paths.is_empty() || depth == 0 {
        return out.push_str(raw);
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) {
        out.push('[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            // An element itself stays: without it the others would have other places.
            let inner: Vec<&[PathStep]> = paths
                .iter()
                .filter_map(|path| match path.split_first() {
                    Some((PathStep::Index(index), rest)) if *index == at && !rest.is_empty() => Some(rest),
                    _ => None,
                })
                .collect();
            without(item.get(), &inner, depth - 1, out);
        }
        return out.push(']');
    }
    let Ok(found) = members(raw) else { return out.push_str(raw) };
    out.push('{');
    let mut is_first = true;
    for (name, value) in found {
        let own = paths.iter().filter_map(|path| match path.split_first() {
            Some((PathStep::Key(key), rest)) if *key == name => Some(rest),
            _ => None,
        });
        let inner: Vec<&[PathStep]> = own.collect();
        if inner.iter().any(|rest| rest.is_empty()) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(',');
        }
        out.push_str(&quoted(&name));
        out.push(':');
        without(value, &inner, depth - 1, out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_counts_from_1970_in_its_unit() {
        assert_eq!(moment("0", 1_000_000_000), Some(UNIX_EPOCH_TICKS));
        assert_eq!(moment("1500", 1_000_000), Some(UNIX_EPOCH_TICKS + 15_000_000));
        assert_eq!(moment("1.5", 1_000_000_000), Some(UNIX_EPOCH_TICKS + 15_000_000));
        assert_eq!(moment("-1", 1), Some(UNIX_EPOCH_TICKS - 1));
        assert_eq!(moment("9223372036854775807", 1_000_000_000), None);
        assert_eq!(moment("NaN", 1), None);
        assert_eq!(moment("x", 1), None);
    }

    #[test]
    fn an_array_of_bags_becomes_one_bag() {
        assert_eq!(bag_of(r#"[{"n1":"v1"},{"n2":"v2","n1":3}, 7]"#), r#"{"n1":3,"n2":"v2"}"#);
        assert_eq!(bag_of(r#"{"a":1}"#), r#"{"a":1}"#);
    }

    #[test]
    fn mapped_members_are_dropped_at_any_depth() {
        let key = |text: &str| PathStep::Key(text.into());
        let paths = [vec![key("a"), key("b")], vec![key("c")], vec![key("d"), PathStep::Index(1), key("e")]];
        let paths: Vec<&[PathStep]> = paths.iter().map(Vec::as_slice).collect();
        let mut out = String::new();
        let raw = r#"{"a":{"b":1,"x":2.50},"c":[1],"d":[{"e":1},{"e":2,"f":3}],"g":null}"#;
        without(raw, &paths, MAX_DEPTH, &mut out);
        assert_eq!(out, r#"{"a":{"x":2.50},"d":[{"e":1},{"f":3}],"g":null}"#);
    }
}
