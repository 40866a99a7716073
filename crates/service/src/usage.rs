//! What a request has used: processor time, memory, data looked at, rows sent.
//!
//! The engine runs a query on several tasks that know nothing of requests. So whoever polls a part of one says so to its
//! thread for as long ([`Usage::enter`]); what is spawned meanwhile goes on under the same account, by the engine's hook
//! for new tasks. Reading the processor's clock is a system call, so short stretches are taken by the wall clock.
//! Source of the JSON forms: query-resource-consumption, show-queries and show-commands pages.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use futures::Stream;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewater_functions::turn::{self, Turn};
use tidewater_kql::lexer::{TokenKind, lex};
use tidewater_kql::value::{datetime, timespan};
use tidewater_store::{ScanLedger, ScanTotals};
use tokio_util::sync::CancellationToken;

/// What a stretch of work was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Understanding the text and laying out its execution.
    Planning,
    /// Everything else.
    Execution,
}

/// The account of one request. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ledger: ScanLedger,
    planning: Cpu,
    execution: Cpu,
    held: AtomicUsize,
    peak: AtomicUsize,
    tables: Mutex<Vec<TableSize>>,
    group: OnceLock<String>,
    ends: RwLock<Option<Ends>>,
}

/// When the work of a request has no purpose any more.
#[derive(Debug)]
struct Ends {
    cancel: CancellationToken,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct Cpu {
    user_ns: AtomicU64,
    kernel_ns: AtomicU64,
}

/// Rows and bytes of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSize {
    /// Rows handed to the front.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// The figures of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumption {
    /// Ticks on the processor in user mode.
    pub user_ticks: i64,
    /// Ticks on the processor in the kernel.
    pub kernel_ticks: i64,
    /// Ticks of both that planning took.
    pub planning_ticks: i64,
    /// The most bytes that operators held at once.
    pub peak_bytes: u64,
    /// Data looked at.
    pub scans: ScanTotals,
    /// The results.
    pub tables: Vec<TableSize>,
}

thread_local! {
    static CURRENT: RefCell<Option<(Usage, Phase)>> = const { RefCell::new(None) };
    /// When the thread's processor time was last read, and what it was.
    static READ: Cell<Option<(Instant, CpuTime)>> = const { Cell::new(None) };
    /// When the current stretch began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long a request's work keeps a thread while others may wait for it.
const TURN: Duration = Duration::from_millis(20);

/// Stretches below this are taken by the wall clock.
const SHORT: Duration = Duration::from_millis(1);
/// A reading that is younger than this stands for the start of a stretch.
const FRESH: Duration = Duration::from_micros(200);

#[derive(Clone, Copy, Debug, Default)]
struct CpuTime {
    user_ns: u64,
    kernel_ns: u64,
}

/// The processor time of the calling thread.
#[cfg(target_os = "linux")]
fn thread_cpu_time() -> CpuTime {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for writes of one `rusage`, which all zeroes are a value of.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    let nanos = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    CpuTime { user_ns: nanos(usage.ru_utime), kernel_ns: nanos(usage.ru_stime) }
}

/// Elsewhere the wall clock stands in.
#[cfg(not(target_os = "linux"))]
fn thread_cpu_time() -> CpuTime {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    CpuTime { user_ns: START.get_or_init(Instant::now).elapsed().as_nanos() as u64, kernel_ns: 0 }
}

/// A stretch of work on this thread; its end goes to the account, also when the work panics.
struct Stretch<'a> {
    before: Option<(Usage, Phase)>,
    usage: &'a Usage,
    phase: Phase,
    began: Instant,
}

impl<'a> Stretch<'a> {
    fn begin(usage: &'a Usage, phase: Phase) -> Stretch<'a> {
        let before = CURRENT.replace(Some((usage.clone(), phase)));
        let began = Instant::now();
        BEGAN.set(Some(began));
        if READ.get().is_none_or(|(at, _)| began.duration_since(at) > FRESH) {
            READ.set(Some((began, thread_cpu_time())));
        }
        Stretch { before, usage, phase, began }
    }
}

impl Drop for Stretch<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
        BEGAN.set(None);
        let now = Instant::now();
        let wall = now.duration_since(self.began);
        let wall_ns = wall.as_nanos() as u64;
        let (mut user_ns, mut kernel_ns) = (wall_ns, 0);
        if wall >= SHORT {
            let read = thread_cpu_time();
            let from = READ.replace(Some((now, read))).map(|(_, from)| from).unwrap_or_default();
            user_ns = read.user_ns.saturating_sub(from.user_ns).min(wall_ns);
            kernel_ns = read.kernel_ns.saturating_sub(from.kernel_ns).min(wall_ns - user_ns);
        }
        let cpu = match self.phase {
            Phase::Planning => &self.usage.inner.planning,
            Phase::Execution => &self.usage.inner.execution,
        };
        cpu.user_ns.fetch_add(user_ns, Ordering::Relaxed);
        cpu.kernel_ns.fetch_add(kernel_ns, Ordering::Relaxed);
    }
}

impl Usage {
    /// Does work on this account. Within work that is on it already, nothing is counted twice.
    pub(crate) fn enter<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let is_inside = CURRENT
            .with_borrow(|current| current.as_ref().is_some_and(|(usage, _)| Arc::ptr_eq(&usage.inner, &self.inner)));
        if is_inside {
            return work();
        }
        let _stretch = Stretch::begin(self, phase);
        self.inner.ledger.enter(work)
    }

    /// A future on this account.
    pub(crate) fn future<F>(&self, phase: Phase, inner: F) -> Measured<F> {
        Measured { usage: self.clone(), phase, inner }
    }

    /// A stream on this account.
    pub(crate) fn stream<S>(&self, inner: S) -> Measured<S> {
        Measured { usage: self.clone(), phase: Phase::Execution, inner }
    }

    /// Work on this account ends by itself when the request is cancelled or late, also where nobody looks at the engine.
    pub(crate) fn end_with(&self, cancel: &CancellationToken, deadline: Instant) {
        *self.inner.ends.write() = Some(Ends { cancel: cancel.clone(), deadline });
    }

    fn turn(&self) -> Turn {
        let now = Instant::now();
        let is_over =
            self.inner.ends.read().as_ref().is_some_and(|ends| now >= ends.deadline || ends.cancel.is_cancelled());
        if is_over {
            return Turn::Stop;
        }
        match BEGAN.get() {
            Some(began) if now.duration_since(began) > TURN => Turn::GiveWay,
            _ => Turn::GoOn,
        }
    }

    /// Opens the account of a result; gives its place.
    pub(crate) fn open_table(&self) -> usize {
        let mut tables = self.inner.tables.lock();
        tables.push(TableSize::default());
        tables.len() - 1
    }

    /// Rows and bytes went out.
    pub(crate) fn grow_table(&self, at: usize, rows: u64, bytes: u64) {
        if let Some(table) = self.inner.tables.lock().get_mut(at) {
            table.rows += rows;
            table.bytes += bytes;
        }
    }

    /// An operator took memory.
    pub(crate) fn take_memory(&self, bytes: usize) -> usize {
        let held = self.inner.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.inner.peak.fetch_max(held, Ordering::Relaxed);
        held
    }

    /// An operator gave memory back.
    pub(crate) fn give_memory(&self, bytes: usize) {
        self.inner.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that operators hold now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// The request's workload group is known.
    pub(crate) fn set_workload_group(&self, name: &str) {
        // A request is classified once; commands that run queries stay where they are.
        let _kept = self.inner.group.set(name.to_string());
    }

    /// The workload group of the request.
    pub fn workload_group(&self) -> String {
        self.inner.group.get().cloned().unwrap_or_else(|| "default".to_string())
    }

    /// Ticks on the processor so far.
    pub(crate) fn cpu_ticks(&self) -> i64 {
        let Inner { planning, execution, .. } = &*self.inner;
        let counters = [&planning.user_ns, &planning.kernel_ns, &execution.user_ns, &execution.kernel_ns];
        counters.iter().map(|counter| (counter.load(Ordering::Relaxed) / 100) as i64).sum()
    }

    /// Pretends that work was done.
    #[cfg(test)]
    pub(crate) fn add_execution(&self, time: Duration) {
        self.inner.execution.user_ns.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The part of the data to look at that has been passed, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.inner.ledger.progress()
    }

    /// The figures so far.
    pub fn consumption(&self) -> Consumption {
        let Inner { ledger, planning, execution, peak, tables, .. } = &*self.inner;
        let ticks = |counter: &AtomicU64| (counter.load(Ordering::Relaxed) / 100) as i64;
        let planning_ticks = ticks(&planning.user_ns) + ticks(&planning.kernel_ns);
        Consumption {
            user_ticks: ticks(&planning.user_ns) + ticks(&execution.user_ns),
            kernel_ticks: ticks(&planning.kernel_ns) + ticks(&execution.kernel_ns),
            planning_ticks,
            peak_bytes: peak.load(Ordering::Relaxed) as u64,
            scans: ledger.totals(),
            tables: tables.lock().clone(),
        }
    }
}

/// Work that is polled on an account.
pub(crate) struct Measured<T> {
    usage: Usage,
    phase: Phase,
    inner: T,
}

impl<F: Future + Unpin> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<F::Output> {
        let Measured { usage, phase, inner } = &mut *self;
        usage.enter(*phase, || Pin::new(inner).poll(context))
    }
}

impl<S: Stream + Unpin> Stream for Measured<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<S::Item>> {
        let Measured { usage, phase, inner } = &mut *self;
        usage.enter(*phase, || Pin::new(inner).poll_next(context))
    }
}

/// Keeps the engine's tasks on the account of the work that starts them.
struct Tasks;

impl JoinSetTracer for Tasks {
    fn trace_future(&self, future: BoxFuture<'static, Box<dyn Any + Send>>) -> BoxFuture<'static, Box<dyn Any + Send>> {
        match CURRENT.with_borrow(Clone::clone) {
            Some((usage, phase)) => Box::pin(usage.future(phase, future)),
            None => future,
        }
    }

    fn trace_block(
        &self,
        work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>,
    ) -> Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> {
        match CURRENT.with_borrow(Clone::clone) {
            Some((usage, phase)) => Box::new(move || usage.enter(phase, work)),
            None => work,
        }
    }
}

/// Makes the engine tell whose its new tasks are; once per process.
pub(crate) fn follow_tasks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        turn::ask_by(|| CURRENT.with_borrow(|current| current.as_ref().map_or(Turn::GoOn, |(usage, _)| usage.turn())));
        if set_join_set_tracer(&Tasks).is_err() {
            tracing::warn!("another hook follows the engine's tasks: processor times leave them out");
        }
    });
}

fn span_text(ticks: i64) -> String {
    let mut out = Vec::new();
    timespan::write(ticks, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl Consumption {
    /// Ticks on the processor.
    pub fn cpu_ticks(&self) -> i64 {
        self.user_ticks + self.kernel_ticks
    }

    /// The text of `QueryResourceConsumption`: its members in the order of the documentation.
    pub fn text(&self, query: &str, elapsed: Duration) -> String {
        let Consumption { scans, tables, .. } = self;
        let (oldest, newest) = scans.scanned_times.unwrap_or_default();
        let mut out = String::with_capacity(1200);
        // Every query writes this: a tree of values would cost more than some queries do. Data lies on this machine's disk,
        // which is what the service calls hot.
        let _infallible = write!(
            out,
            "{{\"QueryHash\":\"{hash}\",\"ExecutionTime\":{seconds},\"resource_usage\":{{\"cache\":{{\"shards\":{{\
             \"hot\":{{\"hitbytes\":{hot},\"missbytes\":0,\"retrievebytes\":0}},\
             \"cold\":{{\"hitbytes\":0,\"missbytes\":0,\"retrievebytes\":0}},\"bypassbytes\":0}}}},\
             \"cpu\":{{\"user\":\"{user}\",\"kernel\":\"{kernel}\",\"total cpu\":\"{total}\",\
             \"breakdown\":{{\"query execution\":\"{execution}\",\"query planning\":\"{planning}\"}}}},\
             \"memory\":{{\"peak_per_node\":{peak}}},\
             \"network\":{{\"inter_cluster_total_bytes\":0,\"cross_cluster_total_bytes\":0}}}},\
             \"input_dataset_statistics\":{{\"extents\":{{\"total\":{extents},\"scanned\":{scanned},\
             \"scanned_min_datetime\":\"{oldest}\",\"scanned_max_datetime\":\"{newest}\"}},\
             \"rows\":{{\"total\":{rows},\"scanned\":{scanned_rows}}},\
             \"rowstores\":{{\"scanned_rows\":0,\"scanned_values_size\":0}},\
             \"shards\":{{\"queries_generic\":{scanned},\"queries_specialized\":0}}}},\"dataset_statistics\":[",
            hash = query_hash(query),
            seconds = elapsed.as_secs_f64(),
            hot = scans.scanned_bytes,
            user = span_text(self.user_ticks),
            kernel = span_text(self.kernel_ticks),
            total = span_text(self.cpu_ticks()),
            execution = span_text(self.cpu_ticks() - self.planning_ticks),
            planning = span_text(self.planning_ticks),
            peak = self.peak_bytes,
            extents = scans.extents,
            scanned = scans.scanned_extents,
            oldest = datetime::to_text(oldest),
            newest = datetime::to_text(newest),
            rows = scans.rows,
            scanned_rows = scans.scanned_rows,
        );
        for (at, TableSize { rows, bytes }) in tables.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _infallible = write!(out, "{comma}{{\"table_row_count\":{rows},\"table_size\":{bytes}}}");
        }
        out.push_str("],\"cross_cluster_resource_usage\":{}}");
        out
    }

    /// `CacheStatistics` of the journals.
    pub fn cache_statistics(&self) -> Value {
        json!({
            "Memory": {"Hits": 0, "Misses": 0},
            "Disk": {"Hits": 0, "Misses": 0},
            "Shards": {
                "Hot": {"HitBytes": self.scans.scanned_bytes, "MissBytes": 0, "RetrieveBytes": 0},
                "Cold": {"HitBytes": 0, "MissBytes": 0, "RetrieveBytes": 0},
                "BypassBytes": 0,
            },
        })
    }

    /// `ScannedExtentsStatistics` of the journals.
    pub fn scanned_extents_statistics(&self) -> Value {
        let time = |ticks: Option<i64>| ticks.map(datetime::to_text);
        json!({
            "MinDataScannedTime": time(self.scans.scanned_times.map(|(oldest, _)| oldest)),
            "MaxDataScannedTime": time(self.scans.scanned_times.map(|(_, newest)| newest)),
            "TotalExtentsCount": self.scans.extents,
            "ScannedExtentsCount": self.scans.scanned_extents,
            "TotalRowsCount": self.scans.rows,
            "ScannedRowsCount": self.scans.scanned_rows,
        })
    }

    /// `ResultSetStatistics` of the journals.
    pub fn result_set_statistics(&self) -> Value {
        let tables: Vec<Value> =
            self.tables.iter().map(|table| json!({"RowCount": table.rows, "TableSize": table.bytes})).collect();
        json!({"TableCount": tables.len(), "TablesStatistics": tables})
    }

    /// `ResourcesUtilization` of the journal of commands.
    pub fn utilization(&self) -> Value {
        json!({
            "CacheStatistics": self.cache_statistics(),
            "TotalCpu": span_text(self.cpu_ticks()),
            "MemoryPeak": self.peak_bytes,
            "ScannedExtentsStatistics": self.scanned_extents_statistics(),
        })
    }
}

/// Sixteen hexadecimal digits that are the same for queries that differ in literals, blanks and comments only.
fn query_hash(text: &str) -> String {
    const LITERAL_TYPES: &[&str] = &["datetime", "date", "timespan", "time", "guid", "decimal", "real", "long", "int"];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let tokens: Vec<_> = lex(text).into_iter().filter(|token| !token.kind.is_trivia()).collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.kind {
            TokenKind::Long | TokenKind::Real | TokenKind::TimeSpan | TokenKind::String => feed(b"?"),
            TokenKind::Name => {
                let name = token.span.text(text);
                let is_open = tokens.get(at).is_some_and(|next| next.kind == TokenKind::OpenParen);
                if is_open && LITERAL_TYPES.contains(&name) {
                    let end = tokens[at..].iter().position(|token| token.kind == TokenKind::CloseParen);
                    at += end.map_or(0, |end| end + 1);
                    feed(b"?");
                } else {
                    feed(name.as_bytes());
                }
            }
            _ => feed(token.span.text(text).as_bytes()),
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_that_differ_in_literals_only_have_one_hash() {
        let hash = query_hash("T | where a > datetime(2023-01-01) and s == 'x' | take 5");
        assert_eq!(hash, query_hash("T | where a > datetime(2024-02-01 10:00)\n and s == \"yy\" // why\n| take 10"));
        assert_ne!(hash, query_hash("T | where b > datetime(2023-01-01) and s == 'x' | take 5"));
        assert_eq!(hash.len(), 16);
        assert_eq!(query_hash("datetime("), query_hash("datetime("));
    }

    #[test]
    fn busy_work_counts_and_waiting_does_not() {
        let usage = Usage::default();
        usage.enter(Phase::Execution, || std::thread::sleep(Duration::from_millis(300)));
        assert!(usage.consumption().cpu_ticks() < 2_000_000, "{:?}", usage.consumption());
        let busy = || {
            let until = thread_cpu_time();
            let spent = |from: CpuTime| {
                let now = thread_cpu_time();
                now.user_ns + now.kernel_ns - from.user_ns - from.kernel_ns
            };
            while spent(until) < 50_000_000 {
                std::hint::black_box(query_hash("T | where a > 1"));
            }
        };
        usage.enter(Phase::Planning, || usage.enter(Phase::Execution, busy));
        let consumption = usage.consumption();
        assert!(consumption.planning_ticks >= 400_000, "{consumption:?}");
        assert_eq!(consumption.cpu_ticks(), consumption.user_ticks + consumption.kernel_ticks);
    }

    #[test]
    fn the_most_memory_held_at_once_is_the_peak() {
        let usage = Usage::default();
        assert_eq!(usage.take_memory(10), 10);
        usage.take_memory(5);
        usage.give_memory(12);
        usage.take_memory(1);
        assert_eq!((usage.held_bytes(), usage.consumption().peak_bytes), (4, 15));
    }
}
