//! The Delta mirror: what other engines would read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::tempdir;
use tidewater_kql::KqlType::{DateTime, Guid, Long, TimeSpan};
use tidewater_store::{Alteration, FaultPoint, Faults, Store, StoreOptions, Table};

use crate::common::{append, data_files, numbers, numbers_schema, schema, small, table};

fn mirrored() -> StoreOptions {
    StoreOptions { delta_mirror: true, delta_delay_ms: 5, ..small() }
}

fn table_directory(root: &Path, table: &Table) -> PathBuf {
    root.join("databases").join(table.database_id().to_string()).join(table.id().to_string())
}

/// Replays a log as the protocol says: live files and the last schema.
fn replay(directory: &Path) -> Option<(BTreeSet<String>, Value, u64)> {
    let log = directory.join("_delta_log");
    let mut names: Vec<String> =
        std::fs::read_dir(log).ok()?.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let (mut live, mut schema) = (BTreeSet::new(), Value::Null);
    for (version, name) in names.iter().enumerate() {
        assert_eq!(name, &format!("{version:020}.json"), "versions have no gap and nothing else lies there");
        let text = std::fs::read_to_string(directory.join("_delta_log").join(name)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let action: Value = serde_json::from_str(line).unwrap();
            assert_eq!(action.as_object().unwrap().len(), 1);
            if version == 0 && number == 1 {
                assert_eq!(action["protocol"]["minReaderVersion"], 1);
            }
            if let Some(add) = action.get("add") {
                let path = add["path"].as_str().unwrap();
                let file = directory.join(path);
                assert_eq!(file.metadata().map_or(add["size"].as_u64().unwrap(), |data| data.len()), add["size"]);
                let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
                assert!(stats["numRecords"].as_u64().is_some());
                assert!(live.insert(path.to_string()), "added twice");
            }
            if let Some(remove) = action.get("remove") {
                assert!(live.remove(remove["path"].as_str().unwrap()), "removed what was not there");
            }
            if let Some(metadata) = action.get("metaData") {
                schema = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
            }
        }
    }
    Some((live, schema, names.len() as u64))
}

fn names_of(table: &Table) -> BTreeSet<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    table.extents().iter().map(|extent| name(extent.file().path())).collect()
}

#[tokio::test]
async fn the_log_names_exactly_the_tables_files() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), mirrored()).unwrap();
    let id = table(&store, "T", schema(&[("n", Long), ("s", tidewater_kql::KqlType::String)])).await.id();
    let state = |store: &Store| {
        let table = store.snapshot().table_by_id(id).unwrap().clone();
        (replay(&table_directory(store.root(), &table)).unwrap(), names_of(&table))
    };
    append(&store, "T", vec![numbers(0..10)]).await;
    append(&store, "T", vec![numbers(10..20)]).await;
    store.flush_delta().await.unwrap();
    let ((live, schema_json, _), wanted) = state(&store);
    assert_eq!(live, wanted);
    assert_eq!(schema_json["fields"][0]["type"], "long");

    store
        .alter_table(id, vec![Alteration::MergeColumns(schema(&[("t", DateTime), ("g", Guid), ("d", TimeSpan)]))])
        .await
        .unwrap();
    store.clear_table(id).await.unwrap();
    store.flush_delta().await.unwrap();
    let ((live, schema_json, versions), wanted) = state(&store);
    assert_eq!((live.len(), &live), (0, &wanted));
    let types: Vec<&str> =
        schema_json["fields"].as_array().unwrap().iter().map(|field| field["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["long", "string", "timestamp", "string", "long"]);
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 0, "files go once the log no longer names them");

    // A restart goes on with the next version, and repeats nothing.
    drop(store);
    let store = Store::open(directory.path(), mirrored()).unwrap();
    store.flush_delta().await.unwrap();
    assert_eq!(state(&store).0.2, versions);
}

#[tokio::test]
async fn a_log_that_missed_commits_catches_up() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), small()).unwrap();
    let id = table(&store, "T", numbers_schema()).await.id();
    append(&store, "T", vec![numbers(0..10)]).await;
    append(&store, "T", vec![numbers(10..20)]).await;
    drop(store);
    // A log entry that was never linked is swept.
    let store = Store::open(directory.path(), mirrored()).unwrap();
    let table = store.snapshot().table_by_id(id).unwrap().clone();
    store.flush_delta().await.unwrap();
    let place = table_directory(store.root(), &table);
    assert_eq!(replay(&place).unwrap().0, names_of(&table));
    drop(store);
    let stray = place.join("_delta_log/.tidewater-0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.tmp");
    std::fs::write(&stray, "{").unwrap();
    drop(Store::open(directory.path(), mirrored()).unwrap());
    assert!(!stray.exists());
}

#[tokio::test]
async fn an_error_while_writing_the_log_is_made_up_for() {
    let directory = tempdir().unwrap();
    let failures = std::sync::atomic::AtomicUsize::new(3);
    let faults = Faults::new(move |point| {
        let fails = point == FaultPoint::DeltaLink
            && failures
                .fetch_update(std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst, |n| {
                    n.checked_sub(1)
                })
                .is_ok();
        if fails { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let store = Store::open(directory.path(), StoreOptions { faults, ..mirrored() }).unwrap();
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..6 {
        append(&store, "T", vec![numbers(n..n + 1)]).await;
        store.flush_delta().await.unwrap();
    }
    let table = store.snapshot().table_by_id(id).unwrap().clone();
    assert_eq!(replay(&table_directory(store.root(), &table)).unwrap().0, names_of(&table));
}

#[tokio::test]
async fn names_that_delta_cannot_hold_are_not_mirrored() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), mirrored()).unwrap();
    let spaced = table(&store, "Spaced", schema(&[("with space", Long)])).await;
    let twins = table(&store, "Twins", schema(&[("a", Long), ("A", Long)])).await;
    let plain = table(&store, "Plain", numbers_schema()).await;
    store.flush_delta().await.unwrap();
    assert!(replay(&table_directory(store.root(), &spaced)).is_none());
    assert!(replay(&table_directory(store.root(), &twins)).is_none());
    assert!(replay(&table_directory(store.root(), &plain)).is_some());
    // A rename makes the files' names differ from the table's: better no Delta table than one with old names.
    store.alter_table(plain.id(), vec![Alteration::RenameColumns(vec![("n".into(), "m".into())])]).await.unwrap();
    store.flush_delta().await.unwrap();
    assert!(replay(&table_directory(store.root(), &plain)).is_none());
}

/// Mirrors a table of every type. With `TIDEWATER_TEST_DELTA=DIR` it stays there for `tests/read_delta.py`,
/// which reads it with other engines.
#[tokio::test]
async fn a_table_of_every_type_is_mirrored_for_other_engines() {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    let scratch = tempfile::tempdir().unwrap();
    let directory = std::env::var_os("TIDEWATER_TEST_DELTA").map_or(scratch.path().to_path_buf(), Into::into);
    let store = Store::open(&directory, mirrored()).unwrap();
    let id = table(&store, "All", crate::scan::all_types()).await.id();
    let mut random = crate::common::Random::new(9);
    let (mut rows, mut times, mut spans, mut guids) = (0, 0i128, 0i128, 0);
    for part in 0..5 {
        let batch = crate::scan::random_batch(part * 2500, 2500, &mut random);
        append(&store, "All", vec![batch.clone()]).await;
        if part == 0 {
            // What is dropped must not be read.
            store.clear_table(id).await.unwrap();
            continue;
        }
        rows += batch.num_rows();
        let sum = |index: usize| {
            batch.column(index).as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum::<i128>()
        };
        let present = batch.num_rows() - batch.column(5).null_count();
        times += (sum(5) - present as i128 * 621_355_968_000_000_000) / 10;
        spans += sum(7);
        guids += batch.num_rows() - batch.column(8).null_count();
    }
    store.flush_delta().await.unwrap();
    let table = store.snapshot().table_by_id(id).unwrap().clone();
    let expected = serde_json::json!({
        "path": table_directory(store.root(), &table),
        "rows": rows,
        "times": times.to_string(),
        "spans": spans.to_string(),
        "guids": guids,
        "columns": table.columns().iter().map(|column| column.name.clone()).collect::<Vec<_>>(),
    });
    std::fs::write(store.root().join("expected.json"), expected.to_string()).unwrap();
    let log = table_directory(store.root(), &table).join("_delta_log");
    let actions: Vec<String> = std::fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let live = |kind: &str| actions.iter().map(|text| text.matches(&format!("{{\"{kind}\":")).count()).sum::<usize>();
    assert_eq!(live("add") - live("remove"), table.extents().len());
}

#[tokio::test]
async fn checkpoints_sum_up_what_old_versions_say_and_let_them_go() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions { delta_delay_ms: 0, ..mirrored() }).unwrap();
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..215 {
        append(&store, "T", vec![numbers(n..n + 1)]).await;
        store.flush_delta().await.unwrap();
        if n % 20 == 19 {
            store.merge_table(id).await.unwrap();
            store.flush_delta().await.unwrap();
        }
    }
    let log = table_directory(directory.path(), store.snapshot().table_by_id(id).unwrap()).join("_delta_log");
    let mut names: Vec<String> =
        std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let has = |name: &str| names.iter().any(|known| known == name);
    assert!(
        has("00000000000000000100.checkpoint.parquet") && has("00000000000000000200.checkpoint.parquet"),
        "{names:?}"
    );
    assert!(has("00000000000000000100.json") && !has("00000000000000000099.json"), "{names:?}");
    assert!(has("_last_checkpoint"));
    drop(store);
    // What is left says the same as the catalog, and is gone on with.
    let report = tidewater_store::check_directory(directory.path(), Default::default()).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let versions = |log: &Path| std::fs::read_dir(log).unwrap().count();
    let before = versions(&log);
    let store = Store::open(directory.path(), mirrored()).unwrap();
    store.flush_delta().await.unwrap();
    assert_eq!(versions(&log), before, "a restart has nothing to add");
    append(&store, "T", vec![numbers(500..501)]).await;
    store.flush_delta().await.unwrap();
    assert_eq!(versions(&log), before + 1);
}
