//! Who runs next: a number of jobs at once, of one tenant a smaller number, and tenants in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Gives out slots. Clones share it.
#[derive(Clone)]
pub(super) struct Queue {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// Slots that are free.
    free: usize,
    /// Slots that one tenant may have.
    each: usize,
    /// Slots by tenant; none are left out.
    running: HashMap<String, usize>,
    /// Who waits, by tenant, in the order of arrival; tenants without anybody waiting are left out.
    waiting: HashMap<String, VecDeque<oneshot::Sender<Slot>>>,
    /// The tenants that wait, the next one first.
    turns: VecDeque<String>,
}

/// A place among those that run; dropped, it goes to the next.
pub(super) struct Slot {
    queue: Queue,
    tenant: String,
}

impl Queue {
    /// A queue for `all` at once, `each` of them of one tenant.
    pub(super) fn new(all: usize, each: usize) -> Self {
        let inner = Inner { free: all, each, running: HashMap::new(), waiting: HashMap::new(), turns: VecDeque::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for a slot. Dropping the future gives the place in the queue up.
    pub(super) async fn slot(&self, tenant: &str) -> Slot {
        loop {
            let (sender, receiver) = oneshot::channel();
            {
                let mut inner = self.inner.lock();
                if !inner.waiting.contains_key(tenant) {
                    inner.turns.push_back(tenant.to_string());
                }
                inner.waiting.entry(tenant.to_string()).or_default().push_back(sender);
            }
            self.serve();
            if let Ok(slot) = receiver.await {
                return slot;
            }
        }
    }

    /// Gives free slots to those who wait: one of each tenant in turn.
    fn serve(&self) {
        // A slot that nobody takes comes back through its drop, which needs the lock: dropped after it.
        let mut refused = Vec::new();
        let mut inner = self.inner.lock();
        let mut skipped = 0;
        while inner.free > 0 && skipped < inner.turns.len() {
            let Some(tenant) = inner.turns.pop_front() else { break };
            if inner.running.get(&tenant).copied().unwrap_or(0) >= inner.each {
                inner.turns.push_back(tenant);
                skipped += 1;
                continue;
            }
            let Some(waiting) = inner.waiting.get_mut(&tenant) else { continue };
            let next = waiting.pop_front();
            if waiting.is_empty() {
                inner.waiting.remove(&tenant);
            } else {
                inner.turns.push_back(tenant.clone());
            }
            let Some(next) = next else { continue };
            skipped = 0;
            inner.free -= 1;
            *inner.running.entry(tenant.clone()).or_default() += 1;
            if let Err(slot) = next.send(Slot { queue: self.clone(), tenant }) {
                refused.push(slot);
            }
        }
        drop(inner);
        drop(refused);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut inner = self.queue.inner.lock();
            inner.free += 1;
            if let Some(running) = inner.running.get_mut(&self.tenant) {
                *running -= 1;
                if *running == 0 {
                    inner.running.remove(&self.tenant);
                }
            }
        }
        self.queue.serve();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tenants_take_turns_and_none_takes_all_slots() {
        let queue = Queue::new(3, 2);
        let first = queue.slot("a").await;
        let second = queue.slot("a").await;
        let mut third = Box::pin(queue.slot("a"));
        assert!(third.as_mut().now_or_never().is_none(), "a tenant has its share");
        let other = queue.slot("b").await;
        let mut more = Box::pin(queue.slot("b"));
        assert!(more.as_mut().now_or_never().is_none(), "all are taken");
        drop(first);
        // `a` came first and has room again.
        let third = third.await;
        assert!(more.as_mut().now_or_never().is_none());
        drop(second);
        let more = more.await;
        drop((third, other, more));
        let inner = queue.inner.lock();
        assert_eq!((inner.free, inner.running.len(), inner.waiting.len(), inner.turns.len()), (3, 0, 0, 0));
    }

    #[tokio::test]
    async fn who_gave_up_is_passed_over() {
        let queue = Queue::new(1, 1);
        let first = queue.slot("a").await;
        let mut gone = Box::pin(queue.slot("a"));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(queue.slot("a"));
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        drop(next.await);
        assert_eq!(queue.inner.lock().free, 1);
    }
}
