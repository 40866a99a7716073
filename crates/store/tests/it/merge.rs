//! Merging small extents.

use tempfile::tempdir;
use tidewater_store::{Alteration, MergeReport};

use crate::common::{append_tagged, data_files, longs, numbers, numbers_schema, open, schema, table};

#[tokio::test]
async fn a_merge_leaves_the_rows_and_makes_few_extents() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..20 {
        let tag = format!("ingest-by:{n}");
        append_tagged(&store, "T", vec![numbers(n * 100..n * 100 + 100)], &[&tag, "drop-by:x"]).await;
    }
    store
        .alter_table(id, vec![Alteration::MergeColumns(schema(&[("x", tidewater_kql::KqlType::Guid)]))])
        .await
        .unwrap();
    let before = store.snapshot();
    let report = store.merge_table(id).await.unwrap();
    assert_eq!((report.merged.len(), report.created.len(), report.rows), (20, 1, 2000));
    assert_eq!(longs(&store, "T").await, (0..2000).collect::<Vec<_>>());
    let snapshot = store.snapshot();
    let merged = &snapshot.table("db", "T").unwrap().extents()[0];
    assert_eq!(merged.tags().len(), 21, "all ingest-by tags and one drop-by tag: {:?}", merged.tags());
    assert_eq!(merged.created(), before.table("db", "T").unwrap().extents()[19].created());
    drop(before);
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1);
    assert_eq!(store.merge_table(id).await.unwrap(), MergeReport::default(), "nothing is left to merge");
}

#[tokio::test]
async fn extents_with_other_drop_by_tags_stay_apart() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..4 {
        let tag = if n < 2 { "drop-by:a" } else { "drop-by:b" };
        append_tagged(&store, "T", vec![numbers(n * 10..n * 10 + 10)], &[tag]).await;
    }
    assert_eq!(store.merge_table(id).await.unwrap().created.len(), 2);
    assert_eq!(longs(&store, "T").await.len(), 40);
}

#[tokio::test]
async fn due_merges_wait_for_enough_extents_of_a_size() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    table(&store, "T", numbers_schema()).await;
    for n in 0..7 {
        append_tagged(&store, "T", vec![numbers(n * 10..n * 10 + 10)], &[]).await;
    }
    assert_eq!(store.merge_due().await.unwrap(), MergeReport::default());
    append_tagged(&store, "T", vec![numbers(70..80)], &[]).await;
    assert_eq!(store.merge_due().await.unwrap().merged.len(), 8);
    assert_eq!(longs(&store, "T").await, (0..80).collect::<Vec<_>>());
}
