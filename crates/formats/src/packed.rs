//! What is around the bytes: compression, archives, and encodings other than UTF-8.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};

use crate::error::Error;

/// The one file of a zip archive.
///
/// *Errors*: an archive that is damaged, encrypted, compressed in another way than deflate, or holds another number of
/// files than one.
pub(crate) fn zipped<R: Read + Seek + Send + 'static>(mut input: R) -> Result<Box<dyn Read + Send>, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Input(format!("the zip archive cannot be read: {error}"));
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let mut found = None;
    {
        let archive = ZipArchive::from_seekable(&mut input, &mut buffer).map_err(|error| broken(&error))?;
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(|error| broken(&error))? {
            if entry.is_dir() {
                continue;
            }
            if found.is_some() {
                return Err(Error::Input("the zip archive holds several files, expected one".into()));
            }
            if entry.flags().is_encrypted() {
                return Err(Error::NotServed("an encrypted zip archive".into()));
            }
            let place = archive.get_entry(entry.wayfinder()).map_err(|error| broken(&error))?.compressed_data_range();
            found = Some((place, entry.compression_method(), entry.crc32(), entry.uncompressed_size_hint()));
        }
    }
    let Some(((start, end), method, crc, size)) = found else {
        return Err(Error::Input("the zip archive holds no file, expected one".into()));
    };
    input.seek(SeekFrom::Start(start)).map_err(|error| broken(&error))?;
    let bytes = BufReader::with_capacity(64 << 10, input).take(end.saturating_sub(start));
    let plain: Box<dyn Read + Send> = match method {
        CompressionMethod::STORE => Box::new(bytes),
        CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(bytes)),
        method => return Err(Error::NotServed(format!("zip compression by {method:?}"))),
    };
    Ok(Box::new(Checked { inner: plain, crc: Crc::new(), expected: (crc, size), read: 0 }))
}

/// Bytes with the length and checksum that an archive promises.
struct Checked {
    inner: Box<dyn Read + Send>,
    crc: Crc,
    expected: (u32, u64),
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        if count == 0 && !out.is_empty() && (self.crc.sum(), self.read) != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file's checksum is wrong"));
        }
        self.crc.update(&out[..count]);
        self.read += count as u64;
        Ok(count)
    }
}

/// UTF-16 as UTF-8. What is no character is an error.
pub(crate) struct Utf16<R> {
    inner: R,
    big_endian: bool,
    /// The first half of a pair that waits for the second.
    high: Option<u16>,
    /// Encoded bytes that did not fit.
    rest: Vec<u8>,
    done: bool,
}

impl<R: BufRead> Utf16<R> {
    /// Over bytes behind their byte order mark.
    pub(crate) fn new(inner: R, big_endian: bool) -> Self {
        Self { inner, big_endian, high: None, rest: Vec::new(), done: false }
    }

    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut bytes = [0; 2];
        match self.inner.read(&mut bytes[..1])? {
            0 => return Ok(None),
            _ => self.inner.read_exact(&mut bytes[1..])?,
        }
        Ok(Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }))
    }

    fn fill(&mut self) -> io::Result<()> {
        const UNITS: usize = 16 << 10;
        let lone = || io::Error::new(io::ErrorKind::InvalidData, "half of a UTF-16 surrogate pair stands alone");
        for _ in 0..UNITS {
            let Some(unit) = self.unit()? else {
                self.done = true;
                return if self.high.is_some() { Err(lone()) } else { Ok(()) };
            };
            let character = match (self.high.take(), unit) {
                (None, 0xd800..=0xdbff) => {
                    self.high = Some(unit);
                    continue;
                }
                (None, unit) => char::from_u32(u32::from(unit)),
                (Some(high), 0xdc00..=0xdfff) => {
                    char::from_u32(0x10000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00))
                }
                (Some(_), _) => None,
            };
            let mut encoded = [0; 4];
            self.rest.extend_from_slice(character.ok_or_else(lone)?.encode_utf8(&mut encoded).as_bytes());
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.done {
            self.fill()?;
        }
        let count = out.len().min(self.rest.len());
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_is_read_in_both_orders_and_lone_halves_are_refused() {
        let units: Vec<u16> = "a é 🌊\n".encode_utf16().collect();
        for big_endian in [false, true] {
            let bytes: Vec<u8> = units
                .iter()
                .flat_map(|unit| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect();
            let mut text = String::new();
            Utf16::new(&bytes[..], big_endian).read_to_string(&mut text).unwrap();
            assert_eq!(text, "a é 🌊\n");
        }
        for bytes in [&[0x3d, 0xd8][..], &[0x0a, 0xdf], &[0x41], &[0x3d, 0xd8, 0x41, 0]] {
            assert!(Utf16::new(bytes, false).read_to_string(&mut String::new()).is_err(), "{bytes:?}");
        }
    }
}
