//! kill -9 at every step of every path that writes: after a restart each change is there wholly or not at all.
//!
//! The test binary runs itself as a child, which opens a prepared data directory, does what a case says, and dies at the
//! n-th of the places where its store writes. The parent opens the directory again and looks: what its questions give
//! must be what they gave before or after one of the case's changes, and what the child has acknowledged must be there.
//! n counts up until a child lives.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use tidewater_service::{CommandAnswer, Context, Service, ServiceOptions};
use tidewater_store::{FaultPoint, Faults, Severity, Store, StoreOptions, check_directory};

use crate::cases::runtime;

const NAME: &str = "TIDEWATER_TEST_KILLED_CASE";
const DIRECTORY: &str = "TIDEWATER_TEST_KILLED_DIRECTORY";
const STEP: &str = "TIDEWATER_TEST_KILLED_STEP";
const DATABASE: &str = "NetDefaultDB";

/// A path that writes. `{out}` is a directory for exports.
struct Case {
    name: &'static str,
    setup: &'static [&'static str],
    /// Commands, or words of [`act`]; each is acknowledged.
    action: &'static [&'static str],
    /// Queries and commands whose answers tell the state.
    questions: &'static [&'static str],
    /// What must be so after every restart: a query that counts what is wrong.
    never: Option<&'static str>,
}

const NUMBERS: &str = ".set-or-append T <| range a from 1 to 20 step 1 | extend b = a % 3";
const MORE: &str = ".set-or-append T <| range a from 21 to 40 step 1 | extend b = a % 3";
const T: &str = "T | summarize count(), sum(a)";

const CASES: &[Case] = &[
    Case {
        name: "transactional update policy",
        setup: &[
            ".create table T (a: long, b: long)",
            ".create table Derived (a: long)",
            ".alter table Derived policy update @'[{\"IsEnabled\": true, \"Source\": \"T\", \"Query\": \"T | project a = a * 10\", \"IsTransactional\": true}]'",
        ],
        action: &[NUMBERS, MORE],
        questions: &[T, "Derived | summarize count(), sum(a)"],
        never: Some("print n = toscalar(T | summarize sum(a)) * 10 - toscalar(Derived | summarize sum(a))"),
    },
    Case {
        name: "move and replace extents",
        setup: &[NUMBERS, ".create table U (a: long, b: long)", ".set-or-append W <| T | where a > 10"],
        action: &[
            ".move extents all from table T to table U",
            ".replace extents in table U <| { .show table U extents }, { .show table W extents }",
        ],
        questions: &[T, "U | summarize count(), sum(a)", "W | summarize count(), sum(a)"],
        never: None,
    },
    Case {
        name: "soft delete and update of records",
        setup: &[NUMBERS],
        action: &[
            ".delete table T records <| T | where a > 15",
            ".update table T delete D append A <| let D = T | where b == 1; let A = D | extend a = a + 1000;",
        ],
        questions: &[T],
        never: None,
    },
    Case {
        name: "purge",
        setup: &[NUMBERS],
        action: &[".purge table T records in database NetDefaultDB with (noregrets='true') <| where a > 15"],
        questions: &[T],
        never: None,
    },
    Case {
        name: "drop and undo",
        setup: &[NUMBERS],
        action: &[".drop table T", "undo"],
        questions: &[
            ".show tables | summarize count()",
            "union isfuzzy=true T, (print a = 0 | take 0) | summarize count(), sum(a)",
        ],
        never: None,
    },
    Case {
        name: "materialized view",
        setup: &[
            ".create table T (a: long, b: long)",
            ".create materialized-view V on table T { T | summarize s = sum(a) by b }",
            NUMBERS,
        ],
        action: &[
            "upkeep",
            ".create async materialized-view with (backfill=true) W on table T { T | summarize s = max(a) by b }",
        ],
        questions: &[T, "V | summarize sum(s)", ".show materialized-views | project Name"],
        never: None,
    },
    Case {
        name: "stored query result",
        setup: &[NUMBERS],
        action: &[
            ".set stored_query_result R with (expiresAfter=1d) <| T | where a > 10",
            ".drop stored_query_result R",
        ],
        questions: &[".show stored_query_results | project Name, RowCount"],
        never: None,
    },
    Case {
        name: "graph snapshot",
        setup: &[
            NUMBERS,
            ".create-or-alter graph_model G ```{\"Definition\": {\"Steps\": [{\"Kind\": \"AddNodes\", \"Query\": \"T\", \"NodeIdColumn\": \"a\"}, \
                {\"Kind\": \"AddEdges\", \"Query\": \"T\", \"SourceColumn\": \"a\", \"TargetColumn\": \"b\"}]}}```",
        ],
        action: &[".make graph_snapshot S from G", ".drop graph_snapshot G.S"],
        questions: &[".show graph_snapshots * | project Name"],
        never: None,
    },
    Case {
        name: "merge",
        setup: &[NUMBERS, MORE, ".set-or-append T <| print a = 7, b = 7"],
        action: &["merge"],
        questions: &[T],
        never: None,
    },
    Case {
        name: "replacement and columns",
        setup: &[NUMBERS, ".set U <| print a = 1, b = 2"],
        action: &[
            ".set-or-replace T <| range a from 1 to 5 step 1 | extend b = 1",
            ".rename tables T = U, U = T",
            ".drop column T.b",
            ".alter column U.b type = string",
            ".clear table U data",
        ],
        questions: &[
            "T | summarize count(), sum(a)",
            "U | summarize count(), sum(a)",
            ".show table T cslschema | project Schema",
            ".show table U cslschema | project Schema",
        ],
        never: None,
    },
    Case {
        name: "export",
        setup: &[NUMBERS, ".create external table E (a: long, b: long) kind=storage dataformat=parquet ('{out}')"],
        action: &[".export to table E <| T"],
        // Files that nobody was told of may stay; each that can be seen can be read.
        questions: &[T],
        never: Some("external_table('E') | summarize n = count(), s = sum(a) | project bad = n % 20 + s % 210"),
    },
    Case {
        name: "continuous export",
        setup: &[
            ".create table T (a: long, b: long)",
            ".create external table E (a: long, b: long) kind=storage dataformat=csv ('{out}')",
            ".create-or-alter continuous-export X over (T) to table E with (intervalBetweenRuns=1m) <| T",
            ".disable continuous-export X",
            NUMBERS,
        ],
        action: &[".enable continuous-export X", "upkeep"],
        questions: &[".show continuous-export X exported-artifacts | summarize sum(NumRecords)"],
        never: Some("external_table('E') | summarize n = count(), s = sum(a) | project bad = n % 20 + s % 210"),
    },
    Case {
        name: "queued ingestion",
        setup: &[".create table T (a: long, b: long)"],
        action: &["enqueue"],
        questions: &[T],
        never: None,
    },
];

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).expect("a case of this name")
}

fn open(directory: &Path, faults: Faults) -> Service {
    let out = directory.join("out");
    std::fs::create_dir_all(&out).unwrap();
    let store = StoreOptions { faults, delta_delay_ms: 1, ..StoreOptions::default() };
    let store = Store::open(&directory.join("data"), store).unwrap();
    let options = ServiceOptions {
        threads: 1,
        export_directories: vec![out.clone()],
        external_directories: vec![out],
        ..ServiceOptions::default()
    };
    Service::new(store, options).unwrap()
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column.as_ref() as &dyn Array, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// The rows of a query or a command, or its error.
async fn asked(service: &Service, text: &str) -> Result<Vec<String>, String> {
    let context = Context::new(DATABASE);
    let table = if text.starts_with('.') {
        match service.command(context, text).await.map_err(|error| error.to_string())? {
            CommandAnswer::Table(table) => table,
            CommandAnswer::Query(mut answer) => answer.results.remove(0),
        }
    } else {
        service.query(context, text).await.map_err(|error| error.to_string())?.results.remove(0)
    };
    Ok(lines(&table.collect().await.map_err(|error| error.to_string())?))
}

async fn must(service: &Service, text: &str) -> Vec<String> {
    asked(service, text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One step of a case's action.
async fn act(service: &Service, directory: &Path, step: &str) {
    match step {
        "upkeep" => service.upkeep().await,
        "merge" => {
            let table = service.store().snapshot().table(DATABASE, "T").unwrap().id();
            service.store().merge_table(table).await.unwrap();
        }
        "undo" => {
            let text = format!(
                ".show database {DATABASE} journal | where Event == 'DROP-TABLE' and EntityName == 'T' | project OriginalEntityVersion"
            );
            let version = must(service, &text).await.remove(0);
            must(service, &format!(".undo drop table T version=\"{version}\"")).await;
        }
        "enqueue" => {
            let context = Context::new(DATABASE);
            let mut upload = service.upload("x.csv", None).await.unwrap();
            upload.write(b"1,2\n3,4\n"[..].into()).await.unwrap();
            upload.finish().await.unwrap();
            let container = service.upload_container(&context).unwrap();
            let (place, signature) = container.split_once('?').unwrap();
            let body = serde_json::json!({
                "blobs": [{"url": format!("{place}/x.csv?{signature}")}],
                "properties": {"format": "csv", "enableTracking": true, "skipBatching": true},
            });
            let operation = service.enqueue_files(&context, "T", body.to_string().as_bytes()).await.unwrap().unwrap();
            // The message is kept now: whatever happens, the rows come.
            std::fs::write(directory.join("enqueued"), "").unwrap();
            for _ in 0..600 {
                let files = service.queued_files(&context, "T", operation).await.unwrap();
                if files.iter().all(|file| file.status != "InProgress") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the file was not ingested");
        }
        text if text.starts_with(".create async") => {
            let operation = must(service, text).await.remove(0);
            for _ in 0..600 {
                let state = must(service, &format!(".show operations {operation} | project State")).await;
                if state.iter().all(|state| state != "InProgress") {
                    assert_eq!(state, ["Completed"], "{text}");
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("{text} did not end");
        }
        text => drop(must(service, &text.replace("{out}", &directory.join("out").display().to_string())).await),
    }
}

/// Run as a child: takes the action of a case, and aborts at a step.
#[test]
fn child_that_is_killed() {
    let Ok(name) = std::env::var(NAME) else { return };
    let directory = std::env::var(DIRECTORY).unwrap();
    let step: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let is_armed = Arc::new(AtomicBool::new(false));
    let (armed, hits) = (Arc::clone(&is_armed), AtomicUsize::new(0));
    let last = Mutex::new(None);
    let faults = Faults::new(move |point| {
        // A file is written in many pieces: the first of them is a step.
        let is_next = last.lock().unwrap().replace(point) != Some(point) || point != FaultPoint::DataWrite;
        if armed.load(Ordering::SeqCst) && is_next && hits.fetch_add(1, Ordering::SeqCst) == step {
            std::process::abort();
        }
        Ok(())
    });
    runtime().block_on(async {
        let service = open(directory.as_ref(), faults);
        is_armed.store(true, Ordering::SeqCst);
        for step in case(&name).action {
            act(&service, directory.as_ref(), step).await;
            println!("ack");
            std::io::stdout().flush().unwrap();
        }
        service.store().flush_delta().await.unwrap();
        service.store().flush_drops().await.unwrap();
        println!("lived");
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Works on a service of its own runtime, and waits until nothing of it is left.
fn with<T>(directory: &Path, work: impl AsyncFnOnce(&Service) -> T) -> T {
    let runtime = runtime();
    let answer = runtime.block_on(async {
        let service = open(directory, Faults::default());
        let answer = work(&service).await;
        service.store().flush_delta().await.unwrap();
        service.store().flush_drops().await.unwrap();
        service.shut_down();
        answer
    });
    runtime.shutdown_timeout(Duration::from_secs(30));
    answer
}

async fn state(service: &Service, case: &Case) -> Vec<Result<Vec<String>, String>> {
    let mut state = Vec::new();
    for question in case.questions {
        state.push(asked(service, question).await);
    }
    if let Some(never) = case.never {
        let wrong = must(service, never).await;
        assert!(wrong.iter().all(|row| matches!(row.as_str(), "0" | "")), "{}: {wrong:?}", case.name);
    }
    state
}

/// Kills children at each step of a case; gives the number of steps.
fn killed(case: &Case) -> usize {
    let root = tempfile::tempdir().unwrap();
    let (work, template) = (root.path().join("work"), root.path().join("template"));
    std::fs::create_dir(&work).unwrap();
    let mut states = vec![with(&work, async |service| {
        for text in case.setup {
            act(service, &work, text).await;
        }
        state(service, case).await
    })];
    copy(&work, &template);
    for count in 1..=case.action.len() {
        // Each state as a new process sees it.
        let step = case.action[count - 1];
        with(&work, async |service| act(service, &work, step).await);
        states.push(with(&work, async |service| state(service, case).await));
    }
    for step in 0.. {
        std::fs::remove_dir_all(&work).unwrap();
        copy(&template, &work);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child_that_is_killed", "--nocapture"])
            .env(NAME, case.name)
            .env(DIRECTORY, &work)
            .env(STEP, step.to_string())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        let acknowledged = told.matches("ack\n").count();
        let has_lived = told.contains("lived");
        let why = String::from_utf8_lossy(&child.stderr);
        assert!(has_lived || !why.contains("panicked"), "{} step {step}: {why}", case.name);
        let place = format!("{} killed at step {step}, {acknowledged} acknowledged", case.name);
        let found = with(&work, async |service| {
            // What was taken in comes in after a restart.
            for _ in 0..200 {
                let rows = asked(service, T).await;
                if !work.join("enqueued").exists() || rows.is_ok_and(|rows| rows == ["2|4"]) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let found = state(service, case).await;
            for entry in std::fs::read_dir(work.join("out")).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                assert!(!name.ends_with(".part"), "{place}: '{name}' stays");
            }
            must(service, ".set-or-append Alive <| print x = 1").await;
            assert_eq!(must(service, "Alive | count").await, ["1"], "{place}");
            found
        });
        let at = states.iter().rposition(|state| *state == found);
        let at = at.unwrap_or_else(|| panic!("{place}: found {found:#?}, expected one of {states:#?}"));
        assert!(at >= acknowledged || states[acknowledged] == found, "{place}: only {at} are there");
        let report = runtime().block_on(check_directory(&work.join("data"), Default::default())).unwrap();
        let wrong: Vec<_> = report.findings.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(wrong.is_empty(), "{place}: {wrong:#?}");
        if has_lived {
            assert!(step > 3, "{}: only {step} steps", case.name);
            return step;
        }
    }
    unreachable!("children live when no step is left")
}

#[test]
fn killed_at_any_step_a_change_is_there_wholly_or_not_at_all() {
    let wanted = std::env::var("KILLED").unwrap_or_default();
    let cases = CASES.iter().filter(|case| case.name.contains(&wanted));
    // Two at a time: most of the time goes by in starting and syncing.
    let queue = Mutex::new(cases.collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap().pop() } {
                    let began = std::time::Instant::now();
                    println!("{}: {} steps, {:?}", case.name, killed(case), began.elapsed());
                }
            });
        }
    });
}
