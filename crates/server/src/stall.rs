//! Connections whose other end stands still: one that says nothing at its beginning, or does not read its answer.
//!
//! The header timeout below the router begins when a version of HTTP is chosen, which takes some bytes; and nothing
//! else ends an answer that nobody reads, which would hold its query's memory and place.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// As many bytes tell which version of HTTP a client speaks.
const GREETING_BYTES: usize = 24;

/// A stream that fails when its other end stands still for too long.
pub struct Watched<S> {
    inner: S,
    patience: Duration,
    /// Until the client has said enough.
    greeting: Option<Pin<Box<Sleep>>>,
    read: usize,
    /// While the client does not take what is written.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Gives the client `greeting` to begin, and later `patience` to take something of what is written.
    pub fn new(inner: S, greeting: Duration, patience: Duration) -> Self {
        let greeting = Some(Box::pin(tokio::time::sleep(greeting)));
        Watched { inner, patience, greeting, read: 0, writing: None }
    }

    fn written<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing = None;
            self.greeting = None;
            return outcome;
        }
        let patience = self.patience;
        let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(stalled("the client does not read its answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn stalled(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(context, out);
        let this = &mut *self;
        let Some(greeting) = &mut this.greeting else { return outcome };
        if outcome.is_ready() {
            this.read += out.filled().len() - before;
            if this.read >= GREETING_BYTES {
                this.greeting = None;
            }
            return outcome;
        }
        match greeting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(stalled("the client says nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            // A flush with nothing to write says nothing about the client.
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.written(context, Poll::Pending),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_client_that_says_too_little_is_left() {
        let (mut client, server) = tokio::io::duplex(100);
        client.write_all(b"GET").await.unwrap();
        let mut server = Watched::new(server, SOON, LATE);
        let mut read = Vec::new();
        assert_eq!(server.read_to_end(&mut read).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read, b"GET");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_left_and_one_that_waits_is_not() {
        let (mut client, server) = tokio::io::duplex(100);
        client.write_all(&[b'x'; 30]).await.unwrap();
        let mut server = Watched::new(server, SOON, SOON);
        server.read_exact(&mut [0; 30]).await.unwrap();
        tokio::time::sleep(SOON * 3).await;
        server.write_all(&[0; 50]).await.unwrap();
        let outcome = server.write_all(&[0; 1000]).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
