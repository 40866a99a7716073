//! What ends a request: too many at once, too many rows or bytes, too long, or nobody waiting.
//! Source: kusto-rest section 2, kql-behaviour section 16.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, RequestOptions};
use crate::error::{Error, Fault, Result};
use crate::usage::Usage;
use crate::workload::definition::{Limit, RequestLimits};

/// Rows of a result unless the request says otherwise.
pub const MAX_ROWS: u64 = 500_000;
/// Bytes of a result unless the request says otherwise.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How long a request waits for its turn before it is refused.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Requests that may wait for their turn, per one that may run.
const WAITING_PER_RUNNING: usize = 20;

/// Lets a bounded number of requests run and a bounded number wait.
pub struct Admission {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    limit: usize,
}

/// The right to run; ends when dropped.
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, 10_000);
        let waiting = Arc::new(Semaphore::new(limit * WAITING_PER_RUNNING));
        Self { running: Arc::new(Semaphore::new(limit)), waiting, limit }
    }

    /// Waits for a turn.
    pub async fn enter(&self, context: &Context) -> Result<Permit> {
        let permit = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(Error::new(Fault::Stopping, "the server is stopping")),
            Err(TryAcquireError::NoPermits) => {
                let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| self.throttled())?;
                let patience = (Instant::now() + MAX_WAIT).min(context.deadline);
                tokio::select! {
                    permit = Arc::clone(&self.running).acquire_owned() => {
                        permit.map_err(|_| Error::new(Fault::Stopping, "the server is stopping"))?
                    }
                    () = tokio::time::sleep_until(patience.into()) => return Err(self.throttled()),
                    () = context.cancel.cancelled() => return Err(Error::cancelled(None)),
                }
            }
        };
        Ok(Permit { _permit: permit })
    }

    fn throttled(&self) -> Error {
        let limit = self.limit;
        Error::new(
            Fault::Throttled,
            format!("The request was denied due to throttling: {limit} requests run already. Try again later."),
        )
    }
}

/// The bounds of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Cut quietly beyond this many rows.
    pub take: Option<u64>,
    /// A partial failure beyond this many rows.
    pub rows: Option<u64>,
    /// A partial failure beyond this many bytes.
    pub bytes: Option<u64>,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Bounds = Bounds { take: None, rows: None, bytes: None };

    /// The bounds that request options and `set` statements ask for, of two limits the lower one, within what the
    /// workload group allows.
    pub fn of(request: &RequestOptions, script: &RequestOptions, limits: &RequestLimits) -> Result<Bounds> {
        let records = limits.records.unwrap_or(Limit { value: MAX_ROWS, relaxable: true });
        let size = limits.bytes.unwrap_or(Limit { value: MAX_BYTES, relaxable: true });
        let lower = |name: &str| -> Result<Option<u64>> {
            let values = [request.long(name)?, script.long(name)?];
            Ok(values.into_iter().flatten().filter(|value| *value >= 0).min().map(|value| value as u64))
        };
        let rows = lower("truncationmaxrecords")?;
        let bytes = lower("truncationmaxsize")?;
        let take = lower("query_take_max_records")?;
        let lifted = request.flag("notruncation") || script.flag("notruncation");
        if rows.is_none() && bytes.is_none() && take.is_none() && lifted {
            let firm = |limit: Limit| Some(limit.value).filter(|_| !limit.relaxable);
            return Ok(Bounds { take: None, rows: firm(records), bytes: firm(size) });
        }
        Ok(Bounds { take, rows: Limit::with(Some(records), rows), bytes: Limit::with(Some(size), bytes) })
    }
}

/// Rows under all limits: ends by cancellation, deadline or bounds, each as an error item except `take`.
/// `keep` lives as long as the stream: permits, journal entries.
pub fn bounded(
    rows: BoxStream<'static, Result<RecordBatch>>,
    bounds: Bounds,
    deadline: Instant,
    cancel: CancellationToken,
    usage: &Usage,
    keep: impl Send + 'static,
) -> BoxStream<'static, Result<RecordBatch>> {
    let account = (usage.clone(), usage.open_table());
    let state = State {
        rows,
        bounds,
        deadline,
        cancel,
        account,
        sent_rows: 0,
        sent_bytes: 0,
        done: false,
        pending: None,
        _keep: keep,
    };
    futures::stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    })
    .boxed()
}

struct State<K> {
    rows: BoxStream<'static, Result<RecordBatch>>,
    bounds: Bounds,
    deadline: Instant,
    cancel: CancellationToken,
    /// The request's account and the place of this result in it.
    account: (Usage, usize),
    sent_rows: u64,
    sent_bytes: u64,
    done: bool,
    /// The error that follows the last, cut batch.
    pending: Option<Error>,
    _keep: K,
}

impl<K> State<K> {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Some(error) = self.pending.take() {
            self.end();
            return Some(Err(error));
        }
        if self.done {
            return None;
        }
        let item = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Some(Err(Error::cancelled(None))),
            item = self.rows.next() => item,
            () = tokio::time::sleep_until(self.deadline.into()) => Some(Err(Error::timeout())),
        };
        match item {
            None => {
                self.end();
                None
            }
            Some(Err(error)) => {
                self.end();
                // What stops by itself because it is late does not know why.
                let is_late = !self.cancel.is_cancelled() && Instant::now() >= self.deadline;
                Some(Err(if is_late { Error::timeout() } else { error }))
            }
            Some(Ok(batch)) => {
                // A stream that never waits would never let the timer win.
                if Instant::now() >= self.deadline {
                    self.end();
                    return Some(Err(Error::timeout()));
                }
                Some(Ok(self.cut(batch)))
            }
        }
    }

    /// Ends the plan's own work at once, not when the stream is dropped.
    fn end(&mut self) {
        self.done = true;
        self.rows = futures::stream::empty().boxed();
    }

    fn cut(&mut self, batch: RecordBatch) -> RecordBatch {
        let mut rows = batch.num_rows() as u64;
        if let Some(take) = self.bounds.take
            && self.sent_rows + rows >= take
        {
            rows = take - self.sent_rows;
            self.end();
        }
        if let Some(limit) = self.bounds.rows
            && self.sent_rows + rows > limit
        {
            rows = limit - self.sent_rows;
            self.pending = Some(Error::result_too_large(&format!("{limit} records")));
        }
        let mut batch = batch.slice(0, rows as usize);
        let mut size = data_bytes(&batch);
        if let Some(limit) = self.bounds.bytes {
            let room = limit.saturating_sub(self.sent_bytes);
            if size > room {
                let fitting = fitting_rows(&batch, room);
                batch = batch.slice(0, fitting);
                size = data_bytes(&batch);
                self.pending = Some(Error::result_too_large(&format!("{limit} bytes")));
            }
        }
        if self.pending.is_some() {
            self.done = true;
        }
        self.sent_rows += batch.num_rows() as u64;
        self.sent_bytes += size;
        let (usage, at) = &self.account;
        usage.grow_table(*at, batch.num_rows() as u64, size);
        batch
    }
}

/// Bytes of a batch's values, whatever buffers they share.
pub(crate) fn data_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|array| column_bytes(array.as_ref(), 0, array.len())).sum()
}

fn column_bytes(array: &dyn Array, from: usize, to: usize) -> u64 {
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view().views();
            // The low half of a view is the value's length.
            views[from..to].iter().map(|view| u64::from(*view as u32)).sum()
        }
        DataType::Boolean => (to - from) as u64,
        other => (to - from) as u64 * other.primitive_width().unwrap_or(16) as u64,
    }
}

/// How many rows from the start fit into `room` bytes.
fn fitting_rows(batch: &RecordBatch, room: u64) -> usize {
    let mut used = 0;
    for row in 0..batch.num_rows() {
        used += batch.columns().iter().map(|array| column_bytes(array.as_ref(), row, row + 1)).sum::<u64>();
        if used > room {
            return row;
        }
    }
    batch.num_rows()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};
    use serde_json::Value;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8View, true)]);
        let numbers = Int64Array::from_iter_values(0..rows);
        let texts = StringViewArray::from_iter_values((0..rows).map(|_| "twelve bytes"));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    }

    async fn run(bounds: Bounds, batches: Vec<RecordBatch>) -> (usize, Option<String>) {
        let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut stream = bounded(rows, bounds, deadline, CancellationToken::new(), &Usage::default(), ());
        let mut count = 0;
        while let Some(item) = stream.next().await {
            match item {
                Ok(batch) => count += batch.num_rows(),
                Err(error) => return (count, Some(error.message().to_string())),
            }
        }
        (count, None)
    }

    #[tokio::test]
    async fn rows_are_cut_at_the_exact_limit_and_told() {
        let bounds = Bounds { take: None, rows: Some(15), bytes: None };
        let (rows, error) = run(bounds, vec![batch(10), batch(10)]).await;
        assert_eq!(rows, 15);
        assert!(error.unwrap().contains("15 records"));
        assert_eq!(run(bounds, vec![batch(10), batch(5)]).await, (15, None));
    }

    #[tokio::test]
    async fn bytes_are_cut_between_rows() {
        let bounds = Bounds { take: None, rows: None, bytes: Some(100) };
        let (rows, error) = run(bounds, vec![batch(3), batch(10)]).await;
        assert_eq!(rows, 5);
        assert!(error.unwrap().contains("100 bytes"));
    }

    #[tokio::test]
    async fn take_cuts_without_an_error() {
        let bounds = Bounds { take: Some(12), rows: Some(15), bytes: None };
        assert_eq!(run(bounds, vec![batch(10), batch(10)]).await, (12, None));
    }

    #[tokio::test]
    async fn cancellation_and_deadline_end_a_stream_that_never_yields_rows() {
        let token = CancellationToken::new();
        let far = Instant::now() + Duration::from_secs(60);
        let mut stream =
            bounded(futures::stream::pending().boxed(), Bounds::NONE, far, token.clone(), &Usage::default(), ());
        token.cancel();
        assert!(matches!(stream.next().await, Some(Err(error)) if error.code() == "QueryCancelled"));
        assert!(stream.next().await.is_none());
        let near = Instant::now() + Duration::from_millis(20);
        let token = CancellationToken::new();
        let mut stream = bounded(futures::stream::pending().boxed(), Bounds::NONE, near, token, &Usage::default(), ());
        assert!(matches!(stream.next().await, Some(Err(error)) if error.code() == "Timeout"));
    }

    #[test]
    fn the_lower_of_two_limits_counts_and_notruncation_yields_to_them() {
        let of = |pairs: &[(&str, Value)]| RequestOptions::new(pairs.iter().map(|(n, v)| (n.to_string(), v.clone())));
        let none = of(&[]);
        let any = RequestLimits::default();
        let firm = RequestLimits { records: Some(Limit { value: 4, relaxable: false }), ..any };
        let lifted = of(&[("notruncation", Value::Bool(true))]);
        assert_eq!(Bounds::of(&lifted, &none, &any).unwrap(), Bounds::NONE);
        assert_eq!(Bounds::of(&none, &none, &any).unwrap().rows, Some(MAX_ROWS));
        let both =
            Bounds::of(&of(&[("truncationmaxrecords", 5.into())]), &of(&[("truncationmaxrecords", 3.into())]), &any);
        assert_eq!(both.unwrap().rows, Some(3));
        let given = of(&[("notruncation", Value::Bool(true)), ("truncationmaxrecords", 7.into())]);
        assert_eq!(Bounds::of(&given, &none, &any).unwrap().rows, Some(7));
        assert_eq!(Bounds::of(&given, &none, &firm).unwrap().rows, Some(4));
        assert_eq!(Bounds::of(&lifted, &none, &firm).unwrap().rows, Some(4));
    }
}
