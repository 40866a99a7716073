//! Which files are there, and for how long.

use tempfile::tempdir;
use tidewater_store::Commit;

use crate::common::{append, data_files, numbers, numbers_schema, open, rows, table};

#[tokio::test]
async fn a_dropped_extents_file_lives_as_long_as_somebody_can_read_it() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    append(&store, "T", vec![numbers(0..5000)]).await;
    let snapshot = store.snapshot();
    let provider = store.provider(snapshot.table("db", "T").unwrap());
    store.clear_table(id).await.unwrap();
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1, "the snapshot still names it");
    assert_eq!(rows(&store, snapshot.table("db", "T").unwrap()).await.num_rows(), 5000);

    // A plan that was made keeps its files even when snapshot and table are gone.
    let context = datafusion::prelude::SessionContext::new();
    let plan = context.read_table(provider).unwrap().create_physical_plan().await.unwrap();
    drop((snapshot, context));
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1);
    let task = datafusion::prelude::SessionContext::new().task_ctx();
    let stream = datafusion::physical_plan::execute_stream(plan, task).unwrap();
    let read = datafusion::physical_plan::common::collect(stream).await.unwrap();
    assert_eq!(read.iter().map(|batch| batch.num_rows()).sum::<usize>(), 5000);
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 0);
}

#[tokio::test]
async fn what_is_written_and_not_committed_goes_away() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    let mut writer = store.writer(&t.target());
    writer.write(numbers(0..3000)).unwrap();
    drop(writer);
    let mut writer = store.writer(&t.target());
    writer.write(numbers(0..10)).unwrap();
    let staged = writer.finish().unwrap();
    assert_eq!(data_files(directory.path()).len(), 1);
    drop(staged);
    let mut task = store.writer_task(&t.target());
    task.write(numbers(0..3000)).await.unwrap();
    drop(task);
    // Its thread ends when it gets to it.
    for _ in 0..200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        store.flush_drops().await.unwrap();
        if data_files(directory.path()).is_empty() {
            break;
        }
    }
    assert_eq!(data_files(directory.path()).len(), 0);
    assert!(store.commit(Commit::new()).await.unwrap().extents.is_empty());
}

#[tokio::test]
async fn the_sweep_takes_our_garbage_and_nothing_foreign() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    append(&store, "T", vec![numbers(0..5)]).await;
    let kept = data_files(directory.path());
    let place = kept[0].parent().unwrap().to_path_buf();
    drop((store, t));
    let garbage = place.join("11111111-2222-4333-8444-555555555555.parquet");
    std::fs::write(&garbage, "half a file").unwrap();
    let foreign = [place.join("part-0000.parquet"), place.join("notes.txt"), directory.path().join("databases/readme")];
    for path in &foreign {
        std::fs::write(path, "mine").unwrap();
    }
    let gone = place.parent().unwrap().join("99999999-2222-4333-8444-555555555555");
    std::fs::create_dir(&gone).unwrap();
    std::fs::write(gone.join("11111111-2222-4333-8444-555555555556.parquet"), "of a dropped table").unwrap();
    let store = open(&directory);
    assert!(!garbage.exists() && !gone.exists());
    assert!(kept[0].exists() && foreign.iter().all(|path| path.exists()));
    assert_eq!(crate::common::longs(&store, "T").await.len(), 5);
}

#[tokio::test]
async fn results_have_their_name_only_when_they_are_whole() {
    use std::io::{Read, Write};
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let results = store.results();
    let mut writer = results.create("job-1.arrow").unwrap();
    writer.write_all(b"rows").unwrap();
    assert!(results.read("job-1.arrow").is_err());
    assert_eq!(writer.finish().unwrap(), 4);
    let (mut file, length) = results.read("job-1.arrow").unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), length), ("rows", 4));
    drop(results.create("job-2").unwrap());
    assert_eq!(results.names().unwrap(), ["job-1.arrow"]);
    for name in ["../catalog.sqlite", "", ".hidden", "a/b"] {
        assert!(results.create(name).is_err(), "{name}");
    }
    results.remove("job-1.arrow").unwrap();
    assert!(results.names().unwrap().is_empty());
}

#[tokio::test]
async fn rows_of_results_are_read_in_windows_and_kept_within_limits() {
    use tidewater_store::ResultLimits;
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let results = store.results();
    let batch = numbers(0..5000);
    let limits = ResultLimits { one_bytes: 100_000, all_bytes: 150_000 };
    let mut task = results.create_rows("a.parquet", batch.schema(), limits).unwrap();
    task.write(batch.clone()).await.unwrap();
    let bytes = task.finish().await.unwrap();
    assert_eq!(results.used_bytes(), bytes);
    let rows = |offset, limit| -> Vec<usize> {
        let rows = results.read_rows("a.parquet").unwrap();
        assert_eq!((rows.rows, rows.bytes), (5000, bytes));
        rows.window(offset, limit).unwrap().map(|batch| batch.unwrap().num_rows()).collect()
    };
    assert_eq!(rows(0, u64::MAX).iter().sum::<usize>(), 5000);
    assert_eq!(rows(4990, 100), [10]);
    assert_eq!(rows(10, 7), [7]);
    assert!(rows(5000, 1).is_empty() && rows(u64::MAX, u64::MAX).is_empty());
    let small = ResultLimits { one_bytes: 100, ..limits };
    let mut task = results.create_rows("b.parquet", batch.schema(), small).unwrap();
    let refused = match task.write(batch.clone()).await {
        Ok(()) => task.finish().await.unwrap_err(),
        Err(refused) => refused,
    };
    assert_eq!(refused.kind(), tidewater_store::ErrorKind::Limit, "{refused}");
    // What was refused or given up leaves nothing, and a restart counts what is there.
    let mut task = results.create_rows("c.parquet", batch.schema(), limits).unwrap();
    task.write(batch.clone()).await.unwrap();
    drop(task);
    drop(store);
    let store = open(&directory);
    assert_eq!(store.results().names().unwrap(), ["a.parquet"]);
    assert_eq!(store.results().used_bytes(), bytes);
    store.results().remove("a.parquet").unwrap();
    assert_eq!(store.results().used_bytes(), 0);
}

#[tokio::test]
async fn the_data_directory_may_have_any_name() {
    let directory = tempdir().unwrap();
    for name in ["with space", "100%41#?&+", "été", "a.b", "..hidden", "quote'\""] {
        let store = tidewater_store::Store::open(&directory.path().join(name), crate::common::small()).unwrap();
        table(&store, "T", numbers_schema()).await;
        append(&store, "T", vec![numbers(0..5)]).await;
        assert_eq!(crate::common::longs(&store, "T").await, [0, 1, 2, 3, 4], "{name}");
    }
}

#[tokio::test]
async fn a_damaged_or_missing_file_fails_its_query_and_nothing_else() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    for name in ["Cut", "Garbled", "Missing", "Whole"] {
        table(&store, name, numbers_schema()).await;
        append(&store, name, vec![numbers(0..5000)]).await;
    }
    let file = |name: &str| store.snapshot().table("db", name).unwrap().extents()[0].file().path().to_path_buf();
    let bytes = std::fs::read(file("Cut")).unwrap();
    std::fs::write(file("Cut"), &bytes[..bytes.len() / 2]).unwrap();
    let mut garbled = std::fs::read(file("Garbled")).unwrap();
    for byte in &mut garbled[500..3000] {
        *byte ^= 0x5a;
    }
    std::fs::write(file("Garbled"), garbled).unwrap();
    std::fs::remove_file(file("Missing")).unwrap();
    drop(store);
    let store = open(&directory);
    for name in ["Cut", "Garbled", "Missing"] {
        let provider = store.provider(store.snapshot().table("db", name).unwrap());
        let read = datafusion::prelude::SessionContext::new().read_table(provider).unwrap().collect().await;
        assert!(read.is_err(), "{name}");
    }
    assert_eq!(crate::common::longs(&store, "Whole").await.len(), 5000);
}

#[tokio::test]
async fn a_catalog_of_a_newer_version_is_refused_and_left_alone() {
    let directory = tempdir().unwrap();
    drop(open(&directory));
    let path = directory.path().join("catalog.sqlite");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'", []).unwrap();
    drop(connection);
    let error = tidewater_store::Store::open(directory.path(), crate::common::small()).unwrap_err();
    assert!(error.to_string().contains("catalog format 99"), "{error}");
}
