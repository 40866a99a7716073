//! CSV and its relatives: records of cells, matched to columns by position. Quotes by RFC 4180.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    reader: Cells,
    columns: Columns,
    cells: Vec<Cell>,
    location: String,
    escaped: bool,
    batch_rows: usize,
    record: ByteRecord,
    number: u64,
    skip_first: bool,
}

/// Bytes that the readers below may take beyond a record's limit before it is looked at.
const AHEAD_BYTES: u64 = 256 * 1024;

/// A reader of cells over a delimited format; no record makes it take much more than the limit.
pub(crate) struct Cells {
    reader: Reader<Fenced>,
    fence: Arc<AtomicU64>,
    limit: usize,
}

/// Bytes up to a fence.
struct Fenced {
    inner: Box<dyn BufRead + Send>,
    taken: u64,
    fence: Arc<AtomicU64>,
}

/// What the fence says; in an I/O error, for that is all a reader can give.
#[derive(Debug, thiserror::Error)]
#[error("a record is too large")]
struct TooLarge;

impl Read for Fenced {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken > self.fence.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TooLarge));
        }
        let taken = self.inner.read(out)?;
        self.taken += taken as u64;
        Ok(taken)
    }
}

impl Cells {
    pub(crate) fn new(inner: Box<dyn BufRead + Send>, format: Format, limit: usize) -> Cells {
        let fence = Arc::new(AtomicU64::new(0));
        let reader = ReaderBuilder::new()
            .delimiter(format.delimiter().unwrap_or(b','))
            .has_headers(false)
            .flexible(true)
            .quoting(format != Format::Tsve)
            .from_reader(Fenced { inner, taken: 0, fence: Arc::clone(&fence) });
        Cells { reader, fence, limit }
    }

    /// The place of the next record.
    pub(crate) fn byte(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Reads the record of this number; `false` behind the last one.
    pub(crate) fn read(&mut self, record: &mut ByteRecord, number: u64) -> Result<bool, Error> {
        let byte = self.byte();
        self.fence.store(byte.saturating_add(self.limit as u64 + AHEAD_BYTES), Ordering::Relaxed);
        let too_large = || {
            let message = format!("larger than the limit of {} bytes", self.limit);
            Error::Record { record: number, byte, message }
        };
        match self.reader.read_byte_record(record) {
            Ok(true) if record.as_slice().len() > self.limit => Err(too_large()),
            Ok(is_one) => Ok(is_one),
            Err(error) => Err(match error.into_kind() {
                csv::ErrorKind::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) => too_large(),
                csv::ErrorKind::Io(error) => read_error(&error, byte),
                other => Error::Record { record: number, byte, message: format!("{other:?}") },
            }),
        }
    }
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
            reader: Cells::new(input.reader(options.compression)?, options.format, options.max_record_bytes),
            columns: Columns::new(schema, options.batch_rows),
            cells: mapping.unwrap_or_else(by_position),
            location: options.location.clone(),
            escaped: options.format == Format::Tsve,
            batch_rows: options.batch_rows,
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

impl Records for DelimitedRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let mut rows = 0;
        while rows < self.batch_rows {
            let byte = self.reader.byte();
            if !self.reader.read(&mut self.record, self.number + 1)? {
                break;
            }
            self.number += 1;
            if std::mem::take(&mut self.skip_first) {
                continue;
            }
            self.push_row(byte, rejects)?;
            rows += 1;
        }
        if rows == 0 { Ok(None) } else { self.columns.finish().map(Some) }
    }
}
