//! TXT (a record per line) and RAW (the whole input is one record): one string column.

use std::io::{BufRead, Read};

use arrow::record_batch::RecordBatch;
use tidewater_kql::{KqlType, TableSchema};

use crate::column::Columns;
use crate::error::Error;
use crate::input::{Input, read_error, read_line};
use crate::mapping::{Cell, Source};
use crate::reject::Rejects;
use crate::transform::Place;
use crate::{DecodeOptions, Format, Records};

pub(crate) struct TextRecords {
    reader: Box<dyn BufRead + Send>,
    columns: Columns,
    cells: Vec<Cell>,
    location: String,
    whole: bool,
    batch_rows: usize,
    max_record_bytes: usize,
    record: u64,
    byte: u64,
    line: Vec<u8>,
    skip_first: bool,
}

impl TextRecords {
    pub(crate) fn open(
        input: Input,
        schema: &TableSchema,
        options: &DecodeOptions,
        mapping: Option<Vec<Cell>>,
    ) -> Result<Self, Error> {
        match schema.columns.first() {
            _ if mapping.is_some() => {}
            Some(first) if matches!(first.ty, KqlType::String | KqlType::Dynamic) => {}
            _ => {
                let name = options.format.name();
                return Err(Error::Mapping(format!(
                    "the format {name} needs a first column of type string or dynamic"
                )));
            }
        }
        let first = |at: usize| Cell::of(if at == 0 { Source::Ordinal(0) } else { Source::Nothing });
        let by_position = || (0..schema.columns.len()).map(first).collect();
        Ok(Self {
            cells: mapping.unwrap_or_else(by_position),
            location: options.location.clone(),
            reader: input.reader(options.compression)?,
            columns: Columns::new(schema, options.batch_rows),
            whole: options.format == Format::Raw,
            batch_rows: options.batch_rows,
            max_record_bytes: options.max_record_bytes,
            record: 0,
            byte: 0,
            line: Vec::new(),
            skip_first: options.ignore_first_record,
        })
    }

    fn next_record(&mut self) -> Result<bool, Error> {
        if !self.whole {
            return read_line(
                &mut *self.reader,
                &mut self.line,
                self.max_record_bytes,
                self.record + 1,
                &mut self.byte,
            );
        }
        if self.record > 0 {
            return Ok(false);
        }
        let limit = self.max_record_bytes as u64;
        self.line.clear();
        (&mut self.reader)
            .take(limit + 1)
            .read_to_end(&mut self.line)
            .map_err(|error| read_error(&error, self.byte))?;
        if self.line.len() as u64 > limit {
            return Err(Error::Record {
                record: 1,
                byte: 0,
                message: format!("larger than the limit of {limit} bytes"),
            });
        }
        Ok(!self.line.is_empty())
    }
}

impl Records for TextRecords {
    fn next_batch(&mut self, rejects: &mut Rejects) -> Result<Option<RecordBatch>, Error> {
        let mut rows = 0;
        while rows < self.batch_rows {
            let byte = self.byte;
            if !self.next_record()? {
                break;
            }
            self.record += 1;
            if std::mem::take(&mut self.skip_first) {
                continue;
            }
            let text = std::str::from_utf8(&self.line).map_err(|error| Error::Record {
                record: self.record,
                byte,
                message: format!("invalid UTF-8 at its byte {}", error.valid_up_to() + 1),
            })?;
            let place = Place { location: &self.location, record: self.record };
            for (column, cell) in self.cells.iter().enumerate() {
                let value = match &cell.source {
                    Source::Ordinal(_) => text,
                    Source::Constant(constant) => constant,
                    _ => "",
                };
                self.columns.put_text(column, cell, value, place, rejects);
            }
            rows += 1;
        }
        if rows == 0 { Ok(None) } else { self.columns.finish().map(Some) }
    }
}
