//! kill -9 at any moment: every acknowledged row is there, none twice, nothing half-written shows.
//!
//! The test binary runs itself as a child that ingests in a loop and says what was acknowledged; the parent kills it,
//! or a fault point makes it abort, and then looks.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::tempdir;
use tidewater_store::{Commit, FaultPoint, Faults, Store, StoreOptions};

use crate::common::{Random, data_files, longs, numbers, numbers_schema, small, table};

const DIRECTORY: &str = "TIDEWATER_TEST_CRASH_DIRECTORY";
const POINT: &str = "TIDEWATER_TEST_CRASH_POINT";
const START: &str = "TIDEWATER_TEST_CRASH_START";

const POINTS: [FaultPoint; 8] = [
    FaultPoint::DataWrite,
    FaultPoint::DataSync,
    FaultPoint::DirectorySync,
    FaultPoint::CatalogBegin,
    FaultPoint::CatalogCommit,
    FaultPoint::Published,
    FaultPoint::DeltaLink,
    FaultPoint::Reap,
];

fn child(directory: &Path, start: i64, point: Option<usize>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::child_that_ingests", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(START, start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(point) = point {
        command.env(POINT, point.to_string());
    }
    command
}

fn options(point: Option<FaultPoint>) -> StoreOptions {
    let hits = AtomicUsize::new(0);
    let faults = match point {
        None => Faults::default(),
        // Not the first time: something must have been acknowledged before.
        Some(point) => Faults::new(move |at| {
            if at == point && hits.fetch_add(1, Ordering::SeqCst) == 6 {
                std::process::abort();
            }
            Ok(())
        }),
    };
    StoreOptions { faults, delta_mirror: true, delta_delay_ms: 1, ..small() }
}

/// Run as a child: commits one batch after another to two tables at once, replaces a third, and acknowledges.
#[test]
fn child_that_ingests() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let point = std::env::var(POINT).ok().map(|index| POINTS[index.parse::<usize>().unwrap()]);
    let start: i64 = std::env::var(START).unwrap().parse().unwrap();
    let store = Store::open(directory.as_ref(), options(point)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = |name: &str| store.snapshot().table("db", name).unwrap().target();
    let id = |name: &str| store.snapshot().table("db", name).unwrap().id();
    // A parent that was killed itself cannot kill; then this ends some day.
    for n in start..start + 2000 {
        let write = |name: &str| {
            let mut writer = store.writer(&target(name));
            writer.write(numbers(n * 10..n * 10 + 10)).unwrap();
            writer.finish().unwrap()
        };
        let commit = Commit::new()
            .add_all(write("A"), &[])
            .add_all(write("B"), &[])
            .replace(id("Last"))
            .add_all(write("Last"), &[]);
        store.commit_blocking(commit).unwrap();
        println!("ack {n}");
        std::io::stdout().flush().unwrap();
        if n % 16 == 15 {
            runtime.block_on(store.merge_table(id("A"))).unwrap();
        }
    }
}

/// Runs a child until it is killed or aborts; returns the last batch it acknowledged.
fn run_child(mut command: Command, life: Option<Duration>) -> Option<i64> {
    let mut process = command.spawn().unwrap();
    let output = process.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.filter_map(|line| line.split("ack ").nth(1).and_then(|n| n.trim().parse::<i64>().ok())).last()
    });
    if let Some(life) = life {
        std::thread::sleep(life);
        process.kill().unwrap();
    }
    assert!(!process.wait().unwrap().success(), "the child was to die");
    reader.join().unwrap()
}

/// Looks at the directory after a crash; returns the next batch to write.
fn check(directory: &Path, acknowledged: i64, runtime: &tokio::runtime::Runtime) -> i64 {
    let store = Store::open(directory, options(None)).unwrap();
    let (a, b, last) =
        runtime.block_on(async { (longs(&store, "A").await, longs(&store, "B").await, longs(&store, "Last").await) });
    assert_eq!(a, (0..a.len() as i64).collect::<Vec<_>>(), "no row is missing and none is there twice");
    assert_eq!(a, b, "a commit of two tables is whole");
    assert_eq!(a.len() % 10, 0, "no batch is there in part");
    let batches = a.len() as i64 / 10;
    assert!(batches > acknowledged, "batch {acknowledged} was acknowledged, {batches} are there");
    assert!(batches <= acknowledged + 2, "at most one commit was not acknowledged any more");
    if batches > 0 {
        assert_eq!(last, (batches * 10 - 10..batches * 10).collect::<Vec<_>>());
    }
    runtime.block_on(store.flush_drops()).unwrap();
    let named: usize = store.snapshot().databases().flat_map(|db| db.tables()).map(|table| table.extents().len()).sum();
    assert_eq!(data_files(directory).len(), named, "no file is left that nobody names");
    batches
}

fn prepare(directory: &Path, runtime: &tokio::runtime::Runtime) {
    let store = Store::open(directory, options(None)).unwrap();
    runtime.block_on(async {
        for name in ["A", "B", "Last"] {
            table(&store, name, numbers_schema()).await;
        }
    });
}

#[test]
fn killed_at_random_moments_nothing_is_lost_or_doubled() {
    let directory = tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    prepare(directory.path(), &runtime);
    let mut random = Random::new(23);
    let mut next = 0;
    for _ in 0..12 {
        let life = Duration::from_millis(150 + random.below(400));
        let acknowledged = run_child(child(directory.path(), next, None), Some(life)).unwrap_or(next - 1);
        next = check(directory.path(), acknowledged, &runtime);
    }
    assert!(next > 10, "the children did write: {next}");
}

#[test]
fn killed_between_write_and_sync_and_commit_nothing_is_lost_or_doubled() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for point in 0..POINTS.len() {
        let directory = tempdir().unwrap();
        prepare(directory.path(), &runtime);
        let acknowledged = run_child(child(directory.path(), 0, Some(point)), None).unwrap_or(-1);
        let next = check(directory.path(), acknowledged, &runtime);
        // What is there is whole enough to go on with.
        let life = Some(Duration::from_millis(300));
        let acknowledged = run_child(child(directory.path(), next, None), life).unwrap_or(next - 1);
        check(directory.path(), acknowledged, &runtime);
    }
}
