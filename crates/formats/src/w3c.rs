//! W3C extended log files: fields named by `#Fields:`, values between blanks. Source: W3CLOGFILE mapping page, and the
//! W3C working draft "Extended Log File Format".

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;
use std::ops::Range;

use arrow::record_batch::RecordBatch;
use tidewater_kql::TableSchema;

use crate::column::Columns;
use crate::columnar::cells_or_names;
use crate::error::Error;
use crate::input::{Input, read_line};
use crate::mapping::{Cell, Source};
use crate::reject::Rejects;
use crate::transform::Place;
use crate::{DecodeOptions, Records};

/// Begins the directive that names the fields of what follows.
const FIELDS: &str = "#Fields:";

pub(crate) struct W3cRecords {
    lines: Lines,
    columns: Columns,
    cells: Vec<Cell>,
    location: String,
    /// Records so far, without directives.
    records: u64,
    batch_rows: usize,
}

/// The records of a log with the names of their fields.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    max_record_bytes: usize,
    number: u64,
    byte: u64,
    line: Vec<u8>,
    /// The last record, and where its values are in it.
    text: String,
    values: Vec<Range<usize>>,
    /// The names of its fields.
    names: Vec<String>,
    /// Positions by name.
    fields: HashMap<String, usize>,
}

impl Lines {
    pub(crate) fn open(input: Input, options: &DecodeOptions) -> Result<Self, Error> {
        Ok(Self {
            reader: input.reader(options.compression)?,
            max_record_bytes: options.max_record_bytes,
            number: 0,
            byte: 0,
            line: Vec::new(),
            text: String::new(),
            values: Vec::new(),
            names: Vec::new(),
            fields: HashMap::new(),
        })
    }

    /// Names and values of the last record; a value that is not there is `None`.
    pub(crate) fn record(&self) -> impl Iterator<Item = (&str, Option<Cow<'_, str>>)> {
        self.names.iter().enumerate().map(|(at, name)| (name.as_str(), self.value(at)))
    }

    /// The value of a field of the last record.
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(*self.fields.get(name)?)
    }

    fn value(&self, at: usize) -> Option<Cow<'_, str>> {
        plain(&self.text[self.values.get(at)?.clone()])
    }

    /// Goes on to the next record; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, Error> {
        let byte = loop {
            let byte = self.byte;
            if !read_line(&mut *self.reader, &mut self.line, self.max_record_bytes, self.number + 1, &mut self.byte)? {
                return Ok(false);
            }
            self.number += 1;
            if self.line.first() == Some(&b'#') {
                let text = text(&self.line, self.number, byte)?;
                if text.get(..FIELDS.len()).is_some_and(|head| head.eq_ignore_ascii_case(FIELDS)) {
                    self.names = text[FIELDS.len()..].split_whitespace().map(str::to_string).collect();
                    self.fields = self.names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
                }
            } else if !self.line.iter().all(u8::is_ascii_whitespace) {
                break byte;
            }
        };
        let (record, names) = (self.number, self.names.len());
        if names == 0 {
            let message = "found a record before the directive '#Fields:', which names its fields".to_string();
            return Err(Error::Record { record, byte, message });
        }
        self.text.clear();
        self.text.push_str(text(&self.line, record, byte)?);
        split(&self.text, &mut self.values);
        if self.values.len() != names {
            let message = format!("found {} values, expected {names} as '#Fields:' names", self.values.len());
            return Err(Error::Record { record, byte, message });
        }
        Ok(true)
    }
}

fn text(line: &[u8], record: u64, byte: u64) -> Result<&str, Error> {
    std::str::from_utf8(line).map_err(|error| Error::Record {
        record,
        byte,
        message: format!("invalid UTF-8 at its byte {}", error.valid_up_to() + 1),
    })
}

/// Finds the values of a record: between blanks, or between quotes, in which a quote is doubled.
fn split(line: &str, values: &mut Vec<Range<usize>>) {
    values.clear();
    let bytes = line.as_bytes();
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let start = at;
        match bytes.get(at) {
            None => return,
            Some(b'"') => {
                at += 1;
                while let Some(byte) = bytes.get(at) {
                    at += 1;
                    if *byte == b'"' {
                        if bytes.get(at) != Some(&b'"') {
                            break;
                        }
                        at += 1;
                    }
                }
            }
            Some(_) => {
                while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                    at += 1;
                }
            }
        }
        values.push(start..at);
    }
}

/// A value without its quotes; `-` is none.
fn plain(value: &str) -> Option<Cow<'_, str>> {
    if value == "-" {
        return None;
    }
    match value.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest)) {
        Some(quoted) if quoted.contains("\"\"") => Some(quoted.replace("\"\"", "\"").into()),
        Some(quoted) => Some(quoted.into()),
        None => Some(value.into()),
    }
}

impl W3cRecords {
    pub(crate) fn open(
        input: Input,
        schema: &TableSchema,
        options: &DecodeOptions,
        mapping: Option<Vec<Cell>>,
    ) -> Result<Self, Error> {
        let cells = cells_or_names(schema, mapping);
        let location = options.location.clone();
        let columns = Columns::new(schema, options.batch_rows);
        let lines = Lines::open(input, options)?;
        Ok(Self { lines, columns, cells, location, records: 0, batch_rows: options.batch_rows })
    }
}

impl Records for W3cRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let mut rows = 0;
        while rows < self.batch_rows {
            if !self.lines.advance()? {
                break;
            }
            let number = self.lines.number;
            self.records += 1;
            for (column, cell) in self.cells.iter().enumerate() {
                let value = match &cell.source {
                    Source::Field(name) => self.lines.field(name),
                    Source::Constant(text) => Some(Cow::Borrowed(text.as_str())),
                    _ => None,
                };
                // A transformation counts records; what does not fit is told by its line.
                let record = if cell.transform.is_some() { self.records } else { number };
                let place = Place { location: &self.location, record };
                match (value, cell.transform) {
                    (Some(value), _) => self.columns.put_text(column, cell, &value, place, rejects),
                    (None, Some(_)) => self.columns.put_text(column, cell, "", place, rejects),
                    (None, None) => self.columns.push_null(column),
                }
            }
            rows += 1;
        }
        if rows == 0 { Ok(None) } else { self.columns.finish().map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_between_blanks_or_quotes() {
        let values = |line: &str| {
            let mut found = Vec::new();
            split(line, &mut found);
            found.into_iter().map(|range| line[range].to_string()).collect::<Vec<_>>()
        };
        assert_eq!(values("a  b\tc "), ["a", "b", "c"]);
        assert_eq!(values("\"x é\" - \"a \"\"b\"\"\""), ["\"x é\"", "-", "\"a \"\"b\"\"\""]);
        assert_eq!(values("\"open"), ["\"open"]);
        assert_eq!(plain("\"a \"\"b\"\"\"").as_deref(), Some("a \"b\""));
        assert_eq!(plain("\"open").as_deref(), Some("open"));
        assert_eq!(plain("-"), None);
        assert_eq!(plain("\"").as_deref(), Some(""));
    }
}
