//! The memory that one query may hold, where it asks for less than its share.
//! Source: query-limits page, limits on memory per operator and per node.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::context::RequestOptions;

/// How clients know that one operator grew too large.
pub const RUNAWAY: &str = "E_RUNAWAY_QUERY";

/// A pool over the one that all queries share.
#[derive(Debug)]
struct Limited {
    inner: Arc<dyn MemoryPool>,
    /// Bytes of the whole query.
    query: usize,
    /// Bytes of one operator in one partition.
    operator: usize,
    held: AtomicUsize,
}

/// The runtime of a query under the limits that its request and its text set; the lower of two counts.
pub fn limited(
    runtime: &Arc<RuntimeEnv>,
    request: &RequestOptions,
    script: &RequestOptions,
) -> Result<Arc<RuntimeEnv>> {
    let lower = |name: &str| {
        let values = [request.long(name).ok().flatten(), script.long(name).ok().flatten()];
        values.into_iter().flatten().filter(|bytes| *bytes > 0).min().map(|bytes| bytes as usize)
    };
    let query = lower("max_memory_consumption_per_query_per_node");
    let operator = lower("maxmemoryconsumptionperiterator");
    if query.is_none() && operator.is_none() {
        return Ok(Arc::clone(runtime));
    }
    let pool = Limited {
        inner: Arc::clone(&runtime.memory_pool),
        query: query.unwrap_or(usize::MAX),
        operator: operator.unwrap_or(usize::MAX),
        held: AtomicUsize::new(0),
    };
    RuntimeEnvBuilder::from_runtime_env(runtime).with_memory_pool(Arc::new(pool)).build_arc()
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes, over {}", self.name(), self.query, self.inner)
    }
}

impl MemoryPool for Limited {
    fn name(&self) -> &str {
        "limits of a query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held.fetch_add(additional, Ordering::Relaxed);
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held.fetch_sub(shrink, Ordering::Relaxed);
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if reservation.size().saturating_add(additional) > self.operator {
            let name = reservation.consumer().name();
            return Err(DataFusionError::ResourcesExhausted(format!(
                "The {name} operator has exceeded the memory budget of {} bytes during evaluation. \
                 Results might be incorrect or incomplete ({RUNAWAY}).",
                self.operator
            )));
        }
        // Added first, so that partitions that grow at the same time cannot pass the limit together.
        let held = self.held.fetch_add(additional, Ordering::Relaxed).saturating_add(additional);
        let grown = if held > self.query {
            Err(DataFusionError::ResourcesExhausted(format!("the query may hold {} bytes", self.query)))
        } else {
            self.inner.try_grow(reservation, additional)
        };
        if grown.is_err() {
            self.held.fetch_sub(additional, Ordering::Relaxed);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        match self.query {
            usize::MAX => self.inner.memory_limit(),
            bytes => MemoryLimit::Finite(bytes),
        }
    }
}
