//! Tables that were dropped and come back.

use tempfile::tempdir;
use tidewater_store::Commit;

use crate::common::{append, data_files, longs, numbers, numbers_schema, open, table};

#[tokio::test]
async fn a_retired_table_comes_back_with_its_rows_after_a_restart() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    append(&store, "T", vec![numbers(0..10)]).await;
    let target = store.snapshot().table("db", "T").unwrap().target();
    let mut writer = store.writer_task(&target);
    writer.write(numbers(10..20)).await.unwrap();
    let staged = writer.finish().await.unwrap();
    store.retire_tables(vec![id]).await.unwrap();
    assert!(store.snapshot().table("db", "T").is_none());
    assert!(store.commit(Commit::new().add_all(staged, &[])).await.is_err(), "nothing goes into a dropped table");
    // Its name is free for another, which may go in the same way.
    let second = table(&store, "T", numbers_schema()).await.id();
    append(&store, "T", vec![numbers(50..60)]).await;
    store.retire_tables(vec![second]).await.unwrap();
    drop(store);
    let store = open(&directory);
    let snapshot = store.snapshot();
    let dropped = snapshot.dropped_tables(snapshot.database("db").unwrap());
    assert_eq!(dropped.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["T", "T"]);
    assert!(dropped[0].sequence < dropped[1].sequence);
    store.restore_table(id, "T").await.unwrap();
    assert_eq!(longs(&store, "T").await, (0..10).collect::<Vec<_>>());
    assert!(store.restore_table(second, "T").await.is_err(), "the name is taken");
    store.restore_table(second, "U").await.unwrap();
    assert_eq!(longs(&store, "U").await, (50..60).collect::<Vec<_>>());
    assert!(store.restore_table(second, "V").await.is_err(), "it is not dropped any more");
    store.drop_tables(vec![id, second]).await.unwrap();
    drop(snapshot);
    store.flush_drops().await.unwrap();
    assert!(data_files(directory.path()).is_empty());
}
