//! Policies that act by themselves: data and tags that are too old go, tables that have expired go.
//!
//! Each step is a commit of its own and safe to repeat; the time is the store's clock. An extent is as old as its newest
//! data: its creation time.

use tidewater_kql::command::PolicyKind;
use tidewater_store::{Commit, Database, Extent, PropertyOwner, Snapshot, Store, Table};

use super::{AutoDeletePolicy, ExtentTagsRetentionPolicy, RetentionPolicy, of_table, own, parsed};
use crate::error::Result;
use crate::stored::{self, StoredView};

/// What a round has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub extents: usize,
    pub tags: usize,
    pub tables: usize,
}

/// Removes what has become too old by now.
pub(crate) async fn run(store: &Store) -> Removed {
    let snapshot = store.snapshot();
    let now = store.now();
    let mut removed = Removed::default();
    for database in snapshot.databases() {
        for table in database.tables() {
            let outcome = of_one(store, &snapshot, table, now, &mut removed).await;
            if let Err(error) = outcome {
                // A commit that raced with another one finds its extents gone; the next round looks again.
                tracing::debug!(%error, table = table.name(), "the policies of a table wait for the next round");
            }
        }
        for (name, view) in stored::all::<StoredView>(&snapshot, database) {
            if let Some(table) = view.table.and_then(|id| snapshot.table_by_id(id))
                && let Err(error) = of_view(store, &snapshot, database, &view, table, now, &mut removed).await
            {
                tracing::debug!(%error, view = name, "the retention of a view waits for the next round");
            }
        }
    }
    removed
}

async fn of_one(store: &Store, snapshot: &Snapshot, table: &Table, now: i64, removed: &mut Removed) -> Result<()> {
    let owner = PropertyOwner::Table(table.id());
    if let Some(policy) = own::<AutoDeletePolicy>(snapshot, owner)
        && now >= policy.expiry_date.0
        && (policy.delete_if_not_empty || table.extents().is_empty())
    {
        store.drop_table(table.id()).await?;
        removed.tables += 1;
        return Ok(());
    }
    let retention: Option<RetentionPolicy> = of_table(snapshot, table);
    drop_older(store, table, retention, now, removed).await?;
    drop_tags(store, snapshot, table, now, removed).await
}

/// A view's own policy, else its database's, removes from its materialized part only.
async fn of_view(
    store: &Store,
    snapshot: &Snapshot,
    database: &Database,
    view: &StoredView,
    table: &Table,
    now: i64,
    removed: &mut Removed,
) -> Result<()> {
    let policy = match view.policies.get(PolicyKind::Retention.word()) {
        Some(value) => parsed::<RetentionPolicy>(value),
        None => super::of_database(snapshot, database),
    };
    drop_older(store, table, policy, now, removed).await
}

async fn drop_older(
    store: &Store,
    table: &Table,
    policy: Option<RetentionPolicy>,
    now: i64,
    removed: &mut Removed,
) -> Result<()> {
    let Some(policy) = policy else { return Ok(()) };
    let before = now.saturating_sub(policy.soft_delete_period.0);
    let old: Vec<_> = table.extents().iter().filter(|extent| extent.created() < before).collect();
    if old.is_empty() {
        return Ok(());
    }
    let commit = old.iter().fold(Commit::new(), |commit, extent| commit.drop_extent(table.id(), extent.id()));
    store.commit(commit).await?;
    removed.extents += old.len();
    tracing::info!(table = table.name(), extents = old.len(), "retention has removed extents");
    Ok(())
}

async fn drop_tags(store: &Store, snapshot: &Snapshot, table: &Table, now: i64, removed: &mut Removed) -> Result<()> {
    if table.extents().iter().all(|extent| extent.tags().is_empty()) {
        return Ok(());
    }
    let Some(policy) = of_table::<ExtentTagsRetentionPolicy>(snapshot, table) else { return Ok(()) };
    let stays = |extent: &Extent, tag: &str| {
        !policy.0.iter().any(|entry| {
            tag.starts_with(&entry.tag_prefix) && extent.created() < now.saturating_sub(entry.retention_period.0)
        })
    };
    let mut commit = Commit::new();
    let mut gone = 0;
    for extent in table.extents() {
        let tags: Vec<String> = extent.tags().iter().filter(|tag| stays(extent, tag)).cloned().collect();
        if tags.len() < extent.tags().len() {
            gone += extent.tags().len() - tags.len();
            commit = commit.tag(table.id(), extent.id(), tags);
        }
    }
    if gone > 0 {
        store.commit(commit).await?;
        removed.tags += gone;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use serde_json::json;
    use tidewater_kql::value::timespan::TICKS_PER_DAY;
    use tidewater_kql::{Column, KqlType, TableSchema};
    use tidewater_store::{Clock, CreateMode, StoreOptions, TableSpec};

    use super::*;
    use crate::policies::key;

    /// A store whose time is what the test says, with a table of one extent per given tag.
    async fn store(tags: &[&str]) -> (tempfile::TempDir, Store, Arc<Table>, Arc<AtomicI64>) {
        let directory = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(1000 * TICKS_PER_DAY));
        let clock = { Arc::clone(&time) };
        let options = StoreOptions {
            delta_mirror: false,
            clock: Clock::new(move || clock.load(Ordering::Relaxed)),
            ..StoreOptions::default()
        };
        let store = Store::open(directory.path(), options).unwrap();
        let database = store.create_database("db", CreateMode::New).await.unwrap();
        let schema = TableSchema::new(vec![Column::new("a", KqlType::Long)]);
        let table = store.create_table(database.id(), TableSpec::new("T", schema), CreateMode::New).await.unwrap();
        for tag in tags {
            add(&store, &table, tag).await;
        }
        let table = Arc::clone(store.snapshot().table("db", "T").unwrap());
        (directory, store, table, time)
    }

    async fn add(store: &Store, table: &Table, tag: &str) {
        let target = table.target();
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let batch = arrow::array::RecordBatch::try_new(Arc::clone(target.schema()), vec![column]).unwrap();
        let mut writer = store.writer_task(&target);
        writer.write(batch).await.unwrap();
        let staged = writer.finish().await.unwrap();
        store.commit(Commit::new().add_all(staged, &[tag.to_string()])).await.unwrap();
    }

    async fn set(store: &Store, owner: PropertyOwner, kind: PolicyKind, value: serde_json::Value) {
        store.put_property(key(owner, kind), Some(value)).await.unwrap();
    }

    fn extents(store: &Store) -> usize {
        store.snapshot().table("db", "T").unwrap().extents().len()
    }

    #[tokio::test]
    async fn data_goes_when_its_time_has_passed_and_not_before() {
        let (_directory, store, table, time) = store(&["x"]).await;
        let policy = json!({ "SoftDeletePeriod": "10.00:00:00", "Recoverability": "Disabled" });
        set(&store, PropertyOwner::Database(table.database_id()), PolicyKind::Retention, policy).await;
        time.fetch_add(9 * TICKS_PER_DAY, Ordering::Relaxed);
        add(&store, &table, "younger").await;
        assert_eq!(run(&store).await, Removed::default());
        time.fetch_add(2 * TICKS_PER_DAY, Ordering::Relaxed);
        assert_eq!(run(&store).await, Removed { extents: 1, ..Removed::default() });
        assert_eq!(extents(&store), 1);
    }

    #[tokio::test]
    async fn a_tables_own_retention_counts_before_its_databases() {
        let (_directory, store, table, time) = store(&["x"]).await;
        let days = |days: i64| json!({ "SoftDeletePeriod": format!("{days}.00:00:00") });
        set(&store, PropertyOwner::Database(table.database_id()), PolicyKind::Retention, days(1)).await;
        set(&store, PropertyOwner::Table(table.id()), PolicyKind::Retention, days(100)).await;
        time.fetch_add(50 * TICKS_PER_DAY, Ordering::Relaxed);
        assert_eq!(run(&store).await, Removed::default());
        assert_eq!(extents(&store), 1);
    }

    #[tokio::test]
    async fn a_table_expires_when_it_is_empty_or_need_not_be() {
        let (_directory, store, table, time) = store(&["x"]).await;
        let date = |not_empty: bool| json!({ "ExpiryDate": "0003-10-29T00:00:00Z", "DeleteIfNotEmpty": not_empty });
        set(&store, PropertyOwner::Table(table.id()), PolicyKind::AutoDelete, date(false)).await;
        time.fetch_add(5000 * TICKS_PER_DAY, Ordering::Relaxed);
        assert_eq!(run(&store).await, Removed::default(), "it has data");
        set(&store, PropertyOwner::Table(table.id()), PolicyKind::AutoDelete, date(true)).await;
        assert_eq!(run(&store).await, Removed { tables: 1, ..Removed::default() });
        assert!(store.snapshot().table("db", "T").is_none());
    }

    #[tokio::test]
    async fn tags_go_when_they_are_too_old() {
        let (_directory, store, table, time) = store(&["drop-by:a", "keep:b"]).await;
        let policy = json!([{ "TagPrefix": "drop-by:", "RetentionPeriod": "3.00:00:00" }]);
        set(&store, PropertyOwner::Table(table.id()), PolicyKind::ExtentTagsRetention, policy).await;
        assert_eq!(run(&store).await, Removed::default());
        time.fetch_add(4 * TICKS_PER_DAY, Ordering::Relaxed);
        assert_eq!(run(&store).await, Removed { tags: 1, ..Removed::default() });
        let snapshot = store.snapshot();
        let table = snapshot.table("db", "T").unwrap();
        let tags: Vec<&String> = table.extents().iter().flat_map(|extent| extent.tags()).collect();
        assert_eq!(tags, ["keep:b"]);
    }
}
