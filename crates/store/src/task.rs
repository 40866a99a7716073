//! Writers on blocking threads, fed with batches from async code.

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Batches on their way to the writer's thread: a small number, so that a slow disk slows the source.
const QUEUED_BATCHES: usize = 4;

/// What takes batches and has something to show at the end. Both block.
pub(crate) trait BatchSink: Send + 'static {
    type Done: Send + 'static;
    fn write(&mut self, batch: RecordBatch) -> Result<()>;
    fn finish(self) -> Result<Self::Done>;
}

/// What a writer's thread is told.
enum Message {
    Batch(RecordBatch),
    End,
}

/// A writer on a blocking thread. Dropped without [`WriterTask::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct WriterTask<T> {
    sender: mpsc::Sender<Message>,
    /// Taken once its end was seen.
    worker: Option<JoinHandle<Result<Option<T>>>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Message::Batch(batch) => write!(f, "Batch({} rows)", batch.num_rows()),
            Message::End => f.write_str("End"),
        }
    }
}

impl<T: Send + 'static> WriterTask<T> {
    pub(crate) fn start(mut sink: impl BatchSink<Done = T>) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUED_BATCHES);
        let worker = tokio::task::spawn_blocking(move || {
            while let Some(message) = receiver.blocking_recv() {
                match message {
                    Message::Batch(batch) => sink.write(batch)?,
                    Message::End => return sink.finish().map(Some),
                }
            }
            // A source that went away without an end was cancelled: its rows are not wanted.
            Ok(None)
        });
        Self { sender, worker: Some(worker) }
    }

    /// Hands over a batch; waits while the writer is behind. An error ends writing; the first one tells why.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.sender.send(Message::Batch(batch)).await.is_ok() {
            return Ok(());
        }
        Err(self.failure().await)
    }

    /// Ends writing: what it returns is on disk.
    pub async fn finish(mut self) -> Result<T> {
        if self.sender.send(Message::End).await.is_err() {
            return Err(self.failure().await);
        }
        let worker = self.worker.take().ok_or(Error::Stopped)?;
        worker.await.map_err(|_| Error::Stopped)??.ok_or(Error::Stopped)
    }

    async fn failure(&mut self) -> Error {
        let Some(worker) = self.worker.take() else { return Error::Stopped };
        match worker.await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => Error::Stopped,
        }
    }
}
