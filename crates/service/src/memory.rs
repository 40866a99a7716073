//! The memory of one query: counted, and bounded where the request asks for less than its share.
//! Source: query-limits page, limits on memory per operator and per node.

use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

use crate::usage::Usage;

/// How clients know that one operator grew too large.
pub const RUNAWAY: &str = "E_RUNAWAY_QUERY";

/// The bounds of a query's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Bytes of the whole query.
    pub query: Option<usize>,
    /// Bytes of one operator in one partition.
    pub operator: Option<usize>,
}

/// A pool over the one that all queries share.
#[derive(Debug)]
struct QueryPool {
    inner: Arc<dyn MemoryPool>,
    usage: Usage,
    query: usize,
    operator: usize,
}

/// The runtime of a query: the shared one with a pool that counts for this query alone.
pub fn for_query(runtime: &Arc<RuntimeEnv>, usage: &Usage, bounds: MemoryBounds) -> Arc<RuntimeEnv> {
    let pool = QueryPool {
        inner: Arc::clone(&runtime.memory_pool),
        usage: usage.clone(),
        query: bounds.query.unwrap_or(usize::MAX),
        operator: bounds.operator.unwrap_or(usize::MAX),
    };
    Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..RuntimeEnv::clone(runtime) })
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes, over {}", self.name(), self.query, self.inner)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "memory of a query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.usage.take_memory(additional);
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.usage.give_memory(shrink);
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
        // Asked before it is counted, so that what is refused is no peak; partitions that grow at the same moment can pass
        // the query's own bound by what one of them asks for.
        if self.usage.held_bytes().saturating_add(additional) > self.query {
            return Err(DataFusionError::ResourcesExhausted(format!("the query may hold {} bytes", self.query)));
        }
        self.inner.try_grow(reservation, additional)?;
        self.usage.take_memory(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.usage.held_bytes()
    }

    fn memory_limit(&self) -> MemoryLimit {
        match self.query {
            usize::MAX => self.inner.memory_limit(),
            bytes => MemoryLimit::Finite(bytes),
        }
    }
}
