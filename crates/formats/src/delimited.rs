//! CSV and its relatives: records of cells, matched to columns by position. Quotes by RFC 4180.

use std::io::BufRead;

use arrow::record_batch::RecordBatch;
use csv::{ByteRecord, Reader, ReaderBuilder};
use tidewater_kql::TableSchema;

use crate::column::Columns;
use crate::error::Error;
use crate::input::{Input, read_error};
use crate::mapping::{Cell, Source};
use crate::reject::Rejects;
use crate::transform::Place;
use crate::{DecodeOptions, Format, Records};

pub(crate) struct DelimitedRecords {
    reader: Reader<Box<dyn BufRead + Send>>,
    columns: Columns,
    cells: Vec<Cell>,
    location: String,
    escaped: bool,
    batch_rows: usize,
    max_record_bytes: usize,
    record: ByteRecord,
    number: u64,
    skip_first: bool,
}

/// A reader of cells over a delimited format.
pub(crate) fn cells(reader: Box<dyn BufRead + Send>, format: Format) -> Reader<Box<dyn BufRead + Send>> {
    ReaderBuilder::new()
        .delimiter(format.delimiter().unwrap_or(b','))
        .has_headers(false)
        .flexible(true)
        .quoting(format != Format::Tsve)
        .from_reader(reader)
}

impl DelimitedRecords {
    pub(crate) fn open(
        input: Input,
        schema: &TableSchema,
        options: &DecodeOptions,
        mapping: Option<Vec<Cell>>,
    ) -> Result<Self, Error> {
        let by_position = || (0..schema.columns.len()).map(|at| Cell::of(Source::Ordinal(at))).collect();
        Ok(Self {
            reader: cells(input.reader(options.compression)?, options.format),
            columns: Columns::new(schema, options.batch_rows),
            cells: mapping.unwrap_or_else(by_position),
            location: options.location.clone(),
            escaped: options.format == Format::Tsve,
            batch_rows: options.batch_rows,
            max_record_bytes: options.max_record_bytes,
            record: ByteRecord::new(),
            number: 0,
            skip_first: options.ignore_first_record,
        })
    }

    fn push_row(&mut self, byte: u64, rejects: &mut Rejects) -> Result<(), Error> {
        let place = Place { location: &self.location, record: self.number };
        for (column, cell) in self.cells.iter().enumerate() {
            let bytes = match &cell.source {
                Source::Ordinal(at) => self.record.get(*at).unwrap_or_default(),
                Source::Constant(text) => text.as_bytes(),
                _ => b"",
            };
            let text = std::str::from_utf8(bytes).map_err(|error| Error::Record {
                record: self.number,
                byte,
                message: format!("invalid UTF-8 at byte {} of a cell", error.valid_up_to() + 1),
            })?;
            if self.escaped && text.contains('\\') {
                self.columns.put_text(column, cell, &unescape(text), place, rejects);
            } else {
                self.columns.put_text(column, cell, text, place, rejects);
            }
        }
        Ok(())
    }
}

/// TSVE: `\t`, `\n`, `\r`, `\\` stand for the character.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
        }
    }
    out
}

/// The error for a cell reader's failure.
pub(crate) fn csv_error(error: csv::Error, record: u64, byte: u64) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => read_error(&error, byte),
        other => Error::Record { record, byte, message: format!("{other:?}") },
    }
}

impl Records for DelimitedRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let mut rows = 0;
        while rows < self.batch_rows {
            let byte = self.reader.position().byte();
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(csv_error(error, self.number + 1, byte)),
            }
            self.number += 1;
            if self.record.as_slice().len() > self.max_record_bytes {
                let message = format!("larger than the limit of {} bytes", self.max_record_bytes);
                return Err(Error::Record { record: self.number, byte, message });
            }
            if std::mem::take(&mut self.skip_first) {
                continue;
            }
            self.push_row(byte, rejects)?;
            rows += 1;
        }
        if rows == 0 { Ok(None) } else { self.columns.finish().map(Some) }
    }
}
