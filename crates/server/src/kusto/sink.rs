//! From an encoder's buffer to the socket: chunks over a bounded channel, compressed when asked.
//!
//! The channel is what gives back-pressure: an encoder waits when the client reads slowly. When the
//! client is gone the send fails, and the encoder ends the query.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tidewater_service::Error;
use tokio::sync::mpsc;

/// Encoders hand over their buffer when it has grown beyond this.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that may wait for a slow client.
const WAITING_CHUNKS: usize = 4;
/// Smaller answers are not worth compressing.
const MIN_COMPRESSED_BYTES: usize = 1024;

/// What the client lets us do to the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: deflate` (zlib's wrapping, as HTTP means it).
    Deflate,
}

impl Coding {
    /// The best coding that an `Accept-Encoding` allows: gzip, then deflate.
    pub fn accepted(header: Option<&str>) -> Coding {
        let Some(header) = header else { return Coding::Identity };
        let allows = |wanted: &str| {
            header.split(',').any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let name = parts.next().unwrap_or("");
                let refused = parts.any(|part| {
                    part.strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
                });
                name.eq_ignore_ascii_case(wanted) && !refused
            })
        };
        if allows("gzip") {
            Coding::Gzip
        } else if allows("deflate") {
            Coding::Deflate
        } else {
            Coding::Identity
        }
    }

    /// The header's value, if any.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Deflate => Some("deflate"),
        }
    }
}

/// What an encoder's task tells its handler.
pub enum Message {
    /// The whole body at once.
    Whole(Bytes, Coding),
    /// The first part of a longer body.
    First(Bytes, Coding),
    /// A further part.
    Part(Bytes),
    /// The body is whole. A channel that closes without this was broken off.
    End,
    /// Nothing was written yet and nothing will be: answer with an error document.
    Failed(Error),
}

/// The receiver's end of a body is gone: the client hung up.
#[derive(Debug)]
pub struct Gone;

/// A compressor under way; made when the first bytes go out, for it is dear to make.
enum Press {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Press {
    fn new(coding: Coding) -> Option<Press> {
        match coding {
            Coding::Identity => None,
            Coding::Gzip => Some(Press::Gzip(GzEncoder::new(Vec::new(), Compression::fast()))),
            Coding::Deflate => Some(Press::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast()))),
        }
    }

    /// Compresses a part and gives what is ready.
    fn push(&mut self, part: &[u8]) -> Vec<u8> {
        match self {
            Press::Gzip(encoder) => {
                encoder.write_all(part).expect(IN_MEMORY);
                std::mem::take(encoder.get_mut())
            }
            Press::Deflate(encoder) => {
                encoder.write_all(part).expect(IN_MEMORY);
                std::mem::take(encoder.get_mut())
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Press::Gzip(encoder) => encoder.finish().expect(IN_MEMORY),
            Press::Deflate(encoder) => encoder.finish().expect(IN_MEMORY),
        }
    }
}

const IN_MEMORY: &str = "writing to memory cannot fail";

/// Where an encoder writes. `buffer` is written freely; [`Sink::yield_chunk`] hands it on when it is large.
pub struct Sink {
    /// Bytes not handed on yet.
    pub buffer: Vec<u8>,
    sender: mpsc::Sender<Message>,
    coding: Coding,
    press: Option<Press>,
    begun: bool,
    patience: Duration,
}

/// How long a chunk may wait for its client when the settings do not say.
const PATIENCE: Duration = Duration::from_secs(120);

impl Sink {
    /// A sink and the end that its handler reads.
    pub fn new(coding: Coding) -> (Sink, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let sink =
            Sink { buffer: Vec::with_capacity(4096), sender, coding, press: None, begun: false, patience: PATIENCE };
        (sink, receiver)
    }

    /// The same for clients that may stand still for so long.
    pub fn with_patience(mut self, patience: Duration) -> Sink {
        self.patience = patience;
        self
    }

    /// Whether anything has been handed on: from then on faults are told inside the body.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Whether the buffer should be handed on now.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= CHUNK_BYTES
    }

    /// Hands the buffer on if it is large.
    pub async fn yield_chunk(&mut self) -> Result<(), Gone> {
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Hands the buffer on, whatever its size.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = if self.coding == Coding::Identity {
            let next = Vec::with_capacity(CHUNK_BYTES + 16 * 1024);
            Bytes::from(std::mem::replace(&mut self.buffer, next))
        } else {
            let part = self.pressed();
            self.buffer.clear();
            Bytes::from(part)
        };
        if part.is_empty() {
            return Ok(());
        }
        let message = if self.begun { Message::Part(part) } else { Message::First(part, self.coding) };
        self.begun = true;
        self.send(message).await
    }

    /// A client that reads nothing for too long is gone: its query would hold its memory and place for ever.
    async fn send(&self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(self.patience, self.sender.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Ends the body.
    pub async fn finish(mut self) -> Result<(), Gone> {
        if !self.begun && self.buffer.len() < MIN_COMPRESSED_BYTES {
            self.coding = Coding::Identity;
        }
        let rest = if self.coding == Coding::Identity {
            std::mem::take(&mut self.buffer)
        } else {
            let mut rest = self.pressed();
            rest.extend(self.press.take().map(Press::finish).unwrap_or_default());
            rest
        };
        let rest = Bytes::from(rest);
        if !self.begun {
            return self.send(Message::Whole(rest, self.coding)).await;
        }
        self.send(Message::Part(rest)).await?;
        self.send(Message::End).await
    }

    fn pressed(&mut self) -> Vec<u8> {
        if self.press.is_none() {
            self.press = Press::new(self.coding);
        }
        match &mut self.press {
            Some(press) => press.push(&self.buffer),
            None => std::mem::take(&mut self.buffer),
        }
    }

    /// Ends an answer that has not begun by an error document.
    pub async fn fail(self, error: Error) -> Result<(), Gone> {
        self.send(Message::Failed(error)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_is_read_with_its_refusals() {
        assert_eq!(Coding::accepted(None), Coding::Identity);
        assert_eq!(Coding::accepted(Some("gzip,deflate")), Coding::Gzip);
        assert_eq!(Coding::accepted(Some("deflate")), Coding::Deflate);
        assert_eq!(Coding::accepted(Some("br, GZIP;q=0, deflate;q=0.5")), Coding::Deflate);
        assert_eq!(Coding::accepted(Some("identity")), Coding::Identity);
    }
}
