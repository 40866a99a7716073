//! Where the bytes come from.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::error::Error;
use crate::format::Compression;
use crate::packed::{Utf16, zipped};

/// The bytes of an input.
pub enum Input {
    /// In memory.
    Bytes(Bytes),
    /// An open file, read from its beginning.
    File(File),
    /// A stream; Parquet and zip archives need one of the others.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    /// The decompressed bytes as a stream, in UTF-8 where a byte order mark tells that they are in UTF-16.
    pub(crate) fn reader(self, compression: Compression) -> Result<Box<dyn BufRead + Send>, Error> {
        let plain: Box<dyn Read + Send> = match (compression, self) {
            (Compression::Zip, Input::Bytes(bytes)) => zipped(Cursor::new(bytes))?,
            (Compression::Zip, Input::File(file)) => zipped(file)?,
            (Compression::Zip, Input::Stream(_)) => {
                return Err(Error::NotServed("a zip archive from a stream, which cannot be read from its end,".into()));
            }
            (Compression::None, input) => input.raw(),
            (Compression::Gzip, input) => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, input.raw())))
            }
            (Compression::Zstd, input) => {
                let decoder = zstd::Decoder::new(input.raw()).map_err(|error| read_error(&error, 0))?;
                Box::new(decoder)
            }
        };
        let mut reader = BufReader::with_capacity(256 << 10, plain);
        let head = reader.fill_buf().map_err(|error| read_error(&error, 0))?;
        let big_endian = match head {
            [0xff, 0xfe, ..] => false,
            [0xfe, 0xff, ..] => true,
            [0xef, 0xbb, 0xbf, ..] => {
                reader.consume(3);
                return Ok(Box::new(reader));
            }
            _ => return Ok(Box::new(reader)),
        };
        reader.consume(2);
        Ok(Box::new(BufReader::with_capacity(256 << 10, Utf16::new(reader, big_endian))))
    }

    fn raw(self) -> Box<dyn Read + Send> {
        match self {
            Input::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Input::File(file) => Box::new(file),
            Input::Stream(stream) => stream,
        }
    }
}

/// The error for bytes that could not be read, most often a truncated or damaged gzip stream.
pub(crate) fn read_error(error: &std::io::Error, byte: u64) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::Input(format!("the compressed input is truncated after byte {byte} of its content"))
        }
        _ => Error::Input(format!("the input could not be read after byte {byte} of its content: {error}")),
    }
}

/// Reads one line into `line`, its line break left out. `Ok(false)` at the end of the input.
pub(crate) fn read_line(
    reader: &mut dyn BufRead,
    line: &mut Vec<u8>,
    limit: usize,
    record: u64,
    byte: &mut u64,
) -> Result<bool, Error> {
    line.clear();
    let start = *byte;
    loop {
        let available = reader.fill_buf().map_err(|error| read_error(&error, *byte))?;
        if available.is_empty() {
            break;
        }
        let (taken, done) = match available.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (available.len(), false),
        };
        line.extend_from_slice(&available[..taken]);
        reader.consume(taken);
        *byte += taken as u64;
        if line.len() > limit {
            return Err(Error::Record {
                record,
                byte: start,
                message: format!("larger than the limit of {limit} bytes"),
            });
        }
        if done {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
    Ok(!line.is_empty())
}
