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
async fn extents_of_several_tags_in_turns_are_merged_each_with_its_own() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..20 {
        let tag = if n % 2 == 0 { "drop-by:a" } else { "drop-by:b" };
        append_tagged(&store, "T", vec![numbers(n * 10..n * 10 + 10)], &[tag]).await;
    }
    let report = store.merge_table(id).await.unwrap();
    assert_eq!((report.merged.len(), report.created.len()), (20, 2));
    let snapshot = store.snapshot();
    let tags: Vec<_> =
        snapshot.table("db", "T").unwrap().extents().iter().map(|extent| extent.tags().to_vec()).collect();
    assert_eq!(tags.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(longs(&store, "T").await, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_merged_is_not_new() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    for n in 0..8 {
        append_tagged(&store, "T", vec![numbers(n * 10..n * 10 + 10)], &[]).await;
    }
    let cursor = store.snapshot().cursor();
    store.merge_table(id).await.unwrap();
    let snapshot = store.snapshot();
    let merged = snapshot.table("db", "T").unwrap().extents();
    assert_eq!(merged.len(), 1);
    assert!(merged[0].ordinal() < cursor, "who has read everything before the merge has read its rows");
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

#[tokio::test]
async fn a_moved_extent_keeps_its_rows_when_its_old_table_goes() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let from = table(&store, "A", numbers_schema()).await.id();
    let to = table(&store, "B", numbers_schema()).await.id();
    for n in 0..3 {
        append_tagged(&store, "A", vec![numbers(n * 10..n * 10 + 10)], &["drop-by:x"]).await;
    }
    // Rows that a merge has moved know their own origins, which a move as new data must forget.
    store.merge_table(from).await.unwrap();
    append_tagged(&store, "A", vec![numbers(30..40)], &[]).await;
    let snapshot = store.snapshot();
    let (a, b) = (snapshot.table_by_id(from).unwrap(), snapshot.table_by_id(to).unwrap());
    let mut commit = tidewater_store::Commit::new();
    for (at, extent) in a.extents().iter().enumerate() {
        let staged = store.rehome(a, extent, b, at == 0).await.unwrap();
        commit = commit.drop_extent(from, extent.id()).add_all(staged, extent.tags());
    }
    let cursor = snapshot.cursor();
    store.commit(commit).await.unwrap();
    drop(snapshot);
    store.drop_table(from).await.unwrap();
    store.flush_drops().await.unwrap();
    assert_eq!(longs(&store, "B").await, (0..40).collect::<Vec<_>>());
    let snapshot = store.snapshot();
    let moved = snapshot.table_by_id(to).unwrap().extents();
    assert_eq!(moved.iter().filter(|extent| extent.ordinal() >= cursor).count(), 1, "one counts as new");
    assert_eq!(data_files(directory.path()).len(), 2);
}

#[tokio::test]
async fn a_table_with_other_names_at_rest_takes_extents_by_writing_them_again() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let from = table(&store, "A", numbers_schema()).await.id();
    let to = table(&store, "B", schema(&[("x", tidewater_kql::KqlType::Long), ("s", tidewater_kql::KqlType::String)]))
        .await
        .id();
    let name = numbers_schema().columns[0].name.clone();
    store.alter_table(to, vec![Alteration::RenameColumns(vec![("x".into(), name)])]).await.unwrap();
    append_tagged(&store, "A", vec![numbers(0..10)], &[]).await;
    let snapshot = store.snapshot();
    let (a, b) = (snapshot.table_by_id(from).unwrap(), snapshot.table_by_id(to).unwrap());
    let extent = &a.extents()[0];
    let staged = store.rehome(a, extent, b, false).await.unwrap();
    store.commit(tidewater_store::Commit::new().drop_extent(from, extent.id()).add_all(staged, &[])).await.unwrap();
    assert_eq!(longs(&store, "B").await, (0..10).collect::<Vec<_>>());
}
