//! A data file's bytes, wherever it lies, for readers that want footers and pages and may block.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::path::Path as ObjectPath;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::remote::Remote;

/// Bytes that a sequential reader asks a store for at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// A file that can be read at any place.
#[derive(Debug)]
pub(crate) enum Chunks {
    /// Of this machine.
    File(File),
    /// An object.
    Object(Object),
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) remote: Arc<Remote>,
    pub(crate) key: ObjectPath,
    pub(crate) length: u64,
}

impl Object {
    fn range(&self, start: u64, length: u64) -> io::Result<Bytes> {
        let end = start.saturating_add(length).min(self.length);
        if start >= end {
            return Ok(Bytes::new());
        }
        self.remote.range(&self.key, start..end).map_err(io::Error::other)
    }
}

/// Reads an object from a place on.
pub(crate) struct Sequence {
    object: Object,
    at: u64,
    block: Bytes,
}

impl Read for Sequence {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            self.block = self.object.range(self.at, BLOCK_BYTES)?;
            self.at += self.block.len() as u64;
        }
        let count = out.len().min(self.block.len());
        self.block.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Chunks::File(file) => Length::len(file),
            Chunks::Object(object) => object.length,
        }
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(match self {
            Chunks::File(file) => {
                let reader: BufReader<File> = ChunkReader::get_read(file, start)?;
                Box::new(reader)
            }
            Chunks::Object(object) => Box::new(Sequence { object: object.clone(), at: start, block: Bytes::new() }),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Chunks::File(file) => ChunkReader::get_bytes(file, start, length),
            Chunks::Object(object) => {
                let bytes = object.range(start, length as u64).map_err(ParquetError::from)?;
                match bytes.len() == length {
                    true => Ok(bytes),
                    false => Err(ParquetError::EOF(format!("expected {length} bytes, found {}", bytes.len()))),
                }
            }
        }
    }
}
