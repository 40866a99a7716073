//! JSON records: one object per line (`json`) or objects one after another or in an array (`multijson`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

use arrow::record_batch::RecordBatch;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tidewater_kql::TableSchema;

use crate::column::{Columns, JsonValue};
use crate::error::Error;
use crate::input::{Input, read_error, read_line};
use crate::mapping::{Cell, PathStep, Source};
use crate::reject::Rejects;
use crate::transform::Place;
use crate::{DecodeOptions, Format, Records};

/// Cuts an input into the texts of its records.
pub(crate) struct Splitter {
    reader: Box<dyn BufRead + Send>,
    by_line: bool,
    limit: usize,
    record: u64,
    byte: u64,
    in_array: bool,
}

impl Splitter {
    pub(crate) fn open(input: Input, options: &DecodeOptions) -> Result<Self, Error> {
        Ok(Self {
            reader: input.reader(options.compression)?,
            by_line: options.format == Format::Json,
            limit: options.max_record_bytes,
            record: 0,
            byte: 0,
            in_array: false,
        })
    }

    /// Reads the next record into `text`; its number and first byte, or `None` at the end.
    pub(crate) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<(u64, u64)>, Error> {
        loop {
            let start = self.byte;
            let found = if self.by_line {
                read_line(&mut *self.reader, text, self.limit, self.record + 1, &mut self.byte)?
            } else {
                self.next_value(text)?
            };
            if !found {
                return Ok(None);
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.record += 1;
            // A line that holds an array or the start of a longer value is read as a stream of values.
            if self.by_line && self.record == 1 && matches!(first_byte(text), Some(b'[')) {
                return Err(
                    self.fault(start, "found an array, expected one object per line (format multijson takes arrays)")
                );
            }
            return Ok(Some((self.record, start)));
        }
    }

    fn fault(&self, byte: u64, message: &str) -> Error {
        Error::Record { record: self.record.max(1), byte, message: message.to_string() }
    }

    fn next_value(&mut self, text: &mut Vec<u8>) -> Result<bool, Error> {
        text.clear();
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        loop {
            let available = self.reader.fill_buf().map_err(|error| read_error(&error, self.byte))?;
            if available.is_empty() {
                if depth > 0 || in_string {
                    return Err(self.fault(self.byte, "the input ends inside a JSON value"));
                }
                return Ok(!text.is_empty());
            }
            let mut used = 0;
            let mut complete = false;
            for b in available {
                used += 1;
                if in_string {
                    text.push(*b);
                    match b {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                } else {
                    match b {
                        b'[' if depth == 0 && !self.in_array && text.is_empty() && self.record == 0 => {
                            self.in_array = true;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b']' if depth == 0 && self.in_array => {
                            self.in_array = false;
                            complete = !text.is_empty();
                            if complete {
                                break;
                            }
                            continue;
                        }
                        b'}' | b']' => {
                            depth = depth.saturating_sub(1);
                            text.push(*b);
                            if depth == 0 {
                                complete = true;
                                break;
                            }
                            continue;
                        }
                        b',' if depth == 0 => {
                            complete = !text.is_empty();
                            if complete {
                                break;
                            }
                            continue;
                        }
                        b if b.is_ascii_whitespace() && depth == 0 => {
                            complete = !text.is_empty();
                            if complete {
                                break;
                            }
                            continue;
                        }
                        b'"' => in_string = true,
                        _ => {}
                    }
                    text.push(*b);
                }
                if text.len() > self.limit {
                    break;
                }
            }
            self.reader.consume(used);
            self.byte += used as u64;
            if text.len() > self.limit {
                let message = format!("larger than the limit of {} bytes", self.limit);
                return Err(Error::Record { record: self.record + 1, byte: self.byte, message });
            }
            if complete {
                return Ok(true);
            }
        }
    }
}

fn first_byte(text: &[u8]) -> Option<u8> {
    text.iter().copied().find(|b| !b.is_ascii_whitespace())
}

/// The members of an object: names and raw texts. The last one of a repeated name counts.
pub(crate) fn members(text: &str) -> Result<Vec<(Cow<'_, str>, &str)>, serde_json::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(key) = map.next_key::<Key<'de>>()? {
                out.push((key.0, map.next_value::<&'de RawValue>()?.get()));
            }
            Ok(out)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    Ok(found)
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The raw text at a path inside a record; `None` when there is nothing there.
pub(crate) fn at_path<'a>(raw: &'a str, steps: &[PathStep]) -> Option<&'a str> {
    let mut current = raw;
    for step in steps {
        current = match step {
            PathStep::Key(name) => members(current).ok()?.into_iter().rev().find(|(key, _)| key == name)?.1,
            PathStep::Index(at) => serde_json::from_str::<Vec<&RawValue>>(current).ok()?.get(*at)?.get(),
        };
    }
    Some(current)
}

pub(crate) struct JsonRecords {
    splitter: Splitter,
    columns: Columns,
    names: HashMap<String, usize>,
    mapping: Option<Vec<Cell>>,
    location: String,
    batch_rows: usize,
    text: Vec<u8>,
}

impl JsonRecords {
    pub(crate) fn open(
        input: Input,
        schema: &TableSchema,
        options: &DecodeOptions,
        mapping: Option<Vec<Cell>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            splitter: Splitter::open(input, options)?,
            columns: Columns::new(schema, options.batch_rows),
            names: schema.columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at)).collect(),
            mapping,
            location: options.location.clone(),
            batch_rows: options.batch_rows,
            text: Vec::new(),
        })
    }
}

impl Records for JsonRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let mut rows = 0;
        let mut values: Vec<Option<&str>> = Vec::new();
        while rows < self.batch_rows {
            let Some((record, byte)) = self.splitter.next(&mut self.text)? else { break };
            let fault = |message: String| Error::Record { record, byte, message };
            let text = std::str::from_utf8(&self.text)
                .map_err(|error| fault(format!("invalid UTF-8 at its byte {}", error.valid_up_to() + 1)))?;
            let found = members(text).map_err(|error| fault(format!("not a JSON object: {error}")))?;
            match &self.mapping {
                None => {
                    values.clear();
                    values.resize(self.columns.len(), None);
                    for (name, raw) in &found {
                        if let Some(at) = self.names.get(name.as_ref()) {
                            values[*at] = Some(raw);
                        }
                    }
                    for (at, raw) in values.iter().enumerate() {
                        self.columns.push_json(at, JsonValue::of_raw(raw.unwrap_or("null")), record, rejects);
                    }
                }
                Some(cells) => {
                    let place = Place { location: &self.location, record };
                    for (at, cell) in cells.iter().enumerate() {
                        match &cell.source {
                            Source::Path(steps) => {
                                let raw = at_path(text, steps).unwrap_or("null");
                                self.columns.put_json(at, cell, raw, place, rejects);
                            }
                            Source::Constant(constant) => self.columns.put_text(at, cell, constant, place, rejects),
                            _ => self.columns.put_text(at, cell, "", place, rejects),
                        }
                    }
                }
            }
            // The borrowed texts end here: the buffer is reused for the next record.
            values = Vec::new();
            rows += 1;
        }
        if rows == 0 { Ok(None) } else { self.columns.finish().map(Some) }
    }
}
