//! A node for deep plans: rows pass through, stacks and planning time stay bounded.
//!
//! Streams poll each other on one stack, and the optimizer's rewriting of a chain of operators grows
//! with the cube of its length. Every some operators one of these stands between them: predicates
//! do not move across it, and below it polling goes on with a stack of its own if need be.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::error::Result;
use datafusion::physical_plan::{RecordBatchStream, SendableRecordBatchStream};
use futures::Stream;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// Operators between two guards.
pub const GUARD_DEPTH: u32 = 40;
/// Stack that the operators between two guards may need; measured without optimization: 20 KiB for a join.
const NEEDED_BYTES: usize = 1536 << 10;
/// Stack that planning takes for one level of a plan; measured likewise.
const PLANNING_BYTES: usize = 64 << 10;
/// Stack that is taken when less is left.
const NEW_BYTES: usize = 8 << 20;

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Guard;

impl Stage for Guard {
    fn name(&self) -> &'static str {
        "Guard"
    }

    fn settings(&self) -> String {
        String::new()
    }

    fn outputs(&self) -> Vec<Field> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        Scope::Rows
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn start(&self, _setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run { ready: None }))
    }
}

struct Run {
    ready: Option<Output>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        self.ready = Some(Output { columns: input.kept, rows: input.rows });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.take())
    }
}

/// Runs `work` with enough stack for the operators down to the next guard.
pub fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(NEEDED_BYTES, NEW_BYTES, work)
}

/// A future whose every poll has stack for a plan of this depth.
pub async fn with_stack_for<T>(depth: usize, future: impl Future<Output = T>) -> T {
    if depth <= GUARD_DEPTH as usize {
        return future.await;
    }
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| stacker::grow(depth * PLANNING_BYTES, || future.as_mut().poll(context))).await
}

/// A stream that is polled with enough stack.
pub struct Guarded {
    inner: SendableRecordBatchStream,
}

impl Guarded {
    /// Guards a stream.
    pub fn new(inner: SendableRecordBatchStream) -> Guarded {
        Guarded { inner }
    }
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        with_stack(|| self.inner.as_mut().poll_next(context))
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
