//! ORC files: their batches and their schema.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use orc_rust::arrow_reader::{ArrowReader, ArrowReaderBuilder};
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::ChunkReader;
use tidewater_kql::TableSchema;

use crate::DecodeOptions;
use crate::columnar::{ColumnarRecords, cells_or_names, guarded, guarded_batches, kql_schema, wanted};
use crate::error::Error;
use crate::format::Compression;
use crate::input::Input;
use crate::mapping::Cell;
use crate::parquet::{Chunks, chunks};

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Input(format!("not a readable ORC file: {error}"))
}

/// The bytes of a file, read only where there are some: lengths in a damaged file promise any size.
struct Checked(Chunks);

/// Reads on from a place.
struct From {
    chunks: Checked,
    at: u64,
}

impl Checked {
    fn share(&self) -> io::Result<Checked> {
        Ok(Checked(match &self.0 {
            Chunks::Bytes(bytes) => Chunks::Bytes(bytes.clone()),
            Chunks::File(file) => Chunks::File(File::try_clone(file)?),
        }))
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Chunks::File(file) => file.read_at(out, at),
            Chunks::Bytes(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let count = rest.len().min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

impl Read for From {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.chunks.read_at(self.at, out)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl ChunkReader for Checked {
    type T = From;

    fn len(&self) -> u64 {
        match &self.0 {
            Chunks::Bytes(bytes) => bytes.len() as u64,
            Chunks::File(file) => file.metadata().map_or(0, |metadata| metadata.len()),
        }
    }

    fn get_read(&self, offset_from_start: u64) -> io::Result<From> {
        Ok(From { chunks: self.share()?, at: offset_from_start })
    }

    fn get_bytes(&self, offset_from_start: u64, length: u64) -> io::Result<Bytes> {
        let end = offset_from_start.checked_add(length).filter(|end| *end <= self.len());
        let (Some(_), Ok(length)) = (end, usize::try_from(length)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it names bytes behind its end"));
        };
        let mut bytes = vec![0; length];
        self.get_read(offset_from_start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

fn builder(input: Input, compression: Compression) -> Result<ArrowReaderBuilder<Checked>, Error> {
    ArrowReaderBuilder::try_new(Checked(chunks(input, compression)?)).map_err(broken)
}

pub(crate) fn open(
    input: Input,
    schema: &TableSchema,
    options: &DecodeOptions,
    mapping: Option<Vec<Cell>>,
) -> Result<ColumnarRecords, Error> {
    let cells = cells_or_names(schema, mapping);
    let reader: ArrowReader<Checked> = guarded("ORC", || {
        let builder = builder(input, options.compression)?.with_batch_size(options.batch_rows);
        let fields = builder.schema();
        // A batch needs a column that tells how many rows it has.
        let names = wanted(&cells).filter(|names| names.iter().any(|name| fields.field_with_name(name).is_ok()));
        let mask = match names {
            Some(names) => ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names),
            None => ProjectionMask::all(),
        };
        Ok(builder.with_projection(mask).build())
    })?;
    let batches = guarded_batches("ORC", reader.map(|batch| batch.map_err(broken)));
    Ok(ColumnarRecords::new(batches, schema, options, cells))
}

/// The KQL columns of a file's schema.
pub(crate) fn infer(input: Input, compression: Compression) -> Result<TableSchema, Error> {
    guarded("ORC", || Ok(kql_schema(&builder(input, compression)?.schema())))
}
