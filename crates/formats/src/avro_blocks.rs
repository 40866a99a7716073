//! The blocks of an Avro container file, unpacked within a bound before they are decoded.
//!
//! A block tells how many bytes it has packed, not how many it will have: a few kilobytes can become gigabytes. So they are
//! unpacked here, and the decoder sees a file without a codec. Source: Avro specification, "Object Container
//! Files".

use std::io::{self, Read};

/// Bytes of a block, packed or not.
const MAX_BLOCK_BYTES: u64 = 256 << 20;
/// Bytes of a name or a value in the header.
const MAX_META_BYTES: u64 = 16 << 20;
/// Names in the header.
const MAX_META: i64 = 10_000;
const MAGIC: &[u8] = b"Obj\x01";
const CODEC: &[u8] = b"avro.codec";

/// What is done with the bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Deflate,
    Zstandard,
    Bzip2,
    Xz,
    /// The decoder unpacks these, once it is known that they tell no length that is too much.
    Snappy,
    /// As they are.
    Plain,
}

/// A file whose blocks are not packed.
pub(crate) struct Unpacked<R> {
    inner: R,
    state: State,
    out: Vec<u8>,
    at: usize,
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// The length that a block of Snappy's begins with.
fn told_length(packed: &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in packed.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl<R: Read> Unpacked<R> {
    pub(crate) fn new(inner: R) -> Unpacked<R> {
        Unpacked { inner, state: State::Header, out: Vec::new(), at: 0 }
    }

    /// A number in zigzag form; none at the end of the file.
    fn long(&mut self) -> io::Result<Option<i64>> {
        let mut value = 0u64;
        for at in 0..10 {
            let mut byte = [0];
            match self.inner.read_exact(&mut byte) {
                Ok(()) => {}
                Err(error) if at == 0 && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            value |= u64::from(byte[0] & 0x7f) << (7 * at);
            if byte[0] & 0x80 == 0 {
                return Ok(Some((value >> 1) as i64 ^ -((value & 1) as i64)));
            }
        }
        Err(invalid("a number has too many bytes"))
    }

    fn number(&mut self) -> io::Result<i64> {
        self.long()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Bytes of a length that the file tells; they are taken in as they come, whatever it promises.
    fn bytes(&mut self, length: i64, most: u64) -> io::Result<Vec<u8>> {
        let length = u64::try_from(length).ok().filter(|length| *length <= most);
        let length = length.ok_or_else(|| invalid(format!("a part has more than {most} bytes")))?;
        let mut bytes = Vec::new();
        self.inner.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn header(&mut self) -> io::Result<()> {
        let magic = {
            let mut magic = Vec::new();
            self.inner.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
            magic
        };
        self.state = State::Plain;
        self.out.clone_from(&magic);
        if magic != MAGIC {
            // The decoder says what is wrong.
            return Ok(());
        }
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let mut count = self.number()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                self.number()?;
                count = count.checked_neg().unwrap_or(i64::MAX);
            }
            if count > MAX_META || entries.len() as i64 + count > MAX_META {
                return Err(invalid(format!("its header has more than {MAX_META} entries")));
            }
            for _ in 0..count {
                let length = self.number()?;
                let name = self.bytes(length, MAX_META_BYTES)?;
                let length = self.number()?;
                let value = self.bytes(length, MAX_META_BYTES)?;
                entries.push((name, value));
            }
        }
        let sync = self.bytes(16, 16)?;
        if let Some((_, codec)) = entries.iter_mut().find(|(name, _)| name == CODEC) {
            self.state = match codec.as_slice() {
                b"deflate" => State::Deflate,
                b"zstandard" => State::Zstandard,
                b"bzip2" => State::Bzip2,
                b"xz" => State::Xz,
                b"snappy" => State::Snappy,
                _ => State::Plain,
            };
            if !matches!(self.state, State::Plain | State::Snappy) {
                *codec = b"null".to_vec();
            }
        }
        if !entries.is_empty() {
            put_long(entries.len() as i64, &mut self.out);
        }
        for (name, value) in entries {
            for bytes in [name, value] {
                put_long(bytes.len() as i64, &mut self.out);
                self.out.extend(bytes);
            }
        }
        put_long(0, &mut self.out);
        self.out.extend(sync);
        Ok(())
    }

    fn block(&mut self) -> io::Result<()> {
        let Some(count) = self.long()? else { return Ok(()) };
        let length = self.number()?;
        let packed = self.bytes(length, MAX_BLOCK_BYTES)?;
        let sync = self.bytes(16, 16)?;
        if self.state == State::Snappy {
            if told_length(&packed).is_none_or(|length| length > MAX_BLOCK_BYTES) {
                return Err(invalid(format!("a block has more than {MAX_BLOCK_BYTES} bytes when it is unpacked")));
            }
            put_long(count, &mut self.out);
            put_long(length, &mut self.out);
            self.out.extend(packed);
            self.out.extend(sync);
            return Ok(());
        }
        let mut plain = Vec::new();
        let most = MAX_BLOCK_BYTES + 1;
        match self.state {
            State::Deflate => {
                flate2::read::DeflateDecoder::new(packed.as_slice()).take(most).read_to_end(&mut plain)?
            }
            State::Bzip2 => bzip2::read::BzDecoder::new(packed.as_slice()).take(most).read_to_end(&mut plain)?,
            State::Xz => {
                // The dictionary's size is told by the data itself: more memory than a block may have is refused.
                let stream = liblzma::stream::Stream::new_stream_decoder(MAX_BLOCK_BYTES, 0)?;
                liblzma::read::XzDecoder::new_stream(packed.as_slice(), stream).take(most).read_to_end(&mut plain)?
            }
            _ => zstd::Decoder::new(packed.as_slice())?.take(most).read_to_end(&mut plain)?,
        };
        if plain.len() as u64 > MAX_BLOCK_BYTES {
            return Err(invalid(format!("a block has more than {MAX_BLOCK_BYTES} bytes when it is unpacked")));
        }
        put_long(count, &mut self.out);
        put_long(plain.len() as i64, &mut self.out);
        self.out.extend(plain);
        self.out.extend(sync);
        Ok(())
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.out.len() {
            self.out.clear();
            self.at = 0;
            match self.state {
                State::Header => self.header()?,
                State::Plain => return self.inner.read(buffer),
                State::Deflate | State::Zstandard | State::Bzip2 | State::Xz | State::Snappy => {
                    self.block()?;
                }
            }
        }
        let rest = &self.out[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(codec: &[u8], packed: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_long(1, &mut out);
        for bytes in [CODEC, codec] {
            put_long(bytes.len() as i64, &mut out);
            out.extend(bytes);
        }
        put_long(0, &mut out);
        out.extend([7; 16]);
        put_long(3, &mut out);
        put_long(packed.len() as i64, &mut out);
        out.extend(packed);
        out.extend([7; 16]);
        out
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Unpacked::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    fn deflated(mut plain: impl Read) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        io::copy(&mut plain, &mut encoder).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_blocks_become_plain_ones() {
        let plain = file(b"null", b"some text");
        assert_eq!(read(&plain).unwrap(), plain);
        assert_eq!(read(&file(b"deflate", &deflated(&b"some text"[..]))).unwrap(), plain);
        assert_eq!(read(&file(b"zstandard", &zstd::encode_all(&b"some text"[..], 0).unwrap())).unwrap(), plain);
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(b"some text").unwrap();
        assert_eq!(read(&file(b"bzip2", &bzip2.finish().unwrap())).unwrap(), plain);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(b"some text").unwrap();
        assert_eq!(read(&file(b"xz", &xz.finish().unwrap())).unwrap(), plain);
        let snappy = file(b"snappy", b"\x09 whatever");
        assert_eq!(read(&snappy).unwrap(), snappy, "the decoder unpacks it");
        assert_eq!(read(b"no Avro file").unwrap(), b"no Avro file");
    }

    #[test]
    fn a_block_that_grows_beyond_the_bound_is_refused() {
        let packed = deflated(io::repeat(0).take(MAX_BLOCK_BYTES + 1));
        assert!(packed.len() < 1 << 20);
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        io::copy(&mut io::repeat(0).take(MAX_BLOCK_BYTES + 1), &mut bzip2).unwrap();
        let snappy = b"\xff\xff\xff\xff\x0f".to_vec();
        for (codec, packed) in [("deflate", packed), ("bzip2", bzip2.finish().unwrap()), ("snappy", snappy)] {
            let message = read(&file(codec.as_bytes(), &packed)).unwrap_err().to_string();
            assert!(message.contains("unpacked"), "{codec}: {message}");
        }
    }

    #[test]
    fn damage_at_any_byte_is_an_error_or_other_bytes() {
        let whole = file(b"deflate", &deflated(&b"some text"[..]));
        for at in 0..whole.len() {
            // Neither panics nor takes memory for what a length promises.
            let _ = read(&whole[..at]);
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = read(&damaged);
            }
        }
    }
}
