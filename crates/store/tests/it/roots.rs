//! Databases at roots: another directory, and an object store that may be down.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tempfile::{TempDir, tempdir};
use tidewater_store::{
    BackupOptions, CheckOptions, Commit, CreateMode, ErrorKind, FaultPoint, Faults, Root, Roots, Severity, Store,
    StoreOptions, TableSpec, back_up, check_directory, restore,
};

use crate::common::{append, data_files, longs, numbers, numbers_schema, small};

/// A store in memory that can be switched off.
#[derive(Clone, Debug, Default)]
struct Cloud {
    inner: Arc<InMemory>,
    is_down: Arc<AtomicBool>,
}

impl Cloud {
    fn up(&self) -> Result<()> {
        match self.is_down.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(object_store::Error::Generic { store: "S3", source: "connection refused".into() }),
        }
    }

    async fn keys(&self) -> Vec<String> {
        let found: Vec<_> = self.inner.list(None).collect().await;
        let mut keys: Vec<String> = found.into_iter().map(|found| found.unwrap().location.to_string()).collect();
        keys.sort();
        keys
    }

    async fn extents(&self) -> Vec<String> {
        let keys = self.keys().await;
        keys.into_iter().filter(|key| key.ends_with(".parquet") && !key.contains("_delta_log")).collect()
    }

    fn roots(&self) -> Roots {
        let root = Root::store("s3://bucket/some/prefix/", Arc::new(self.clone()), "some/prefix").unwrap();
        Roots::new(vec![root], vec![("Db".to_string(), "s3://bucket/some/prefix".to_string())])
    }

    fn options(&self) -> StoreOptions {
        StoreOptions { roots: self.roots(), delta_mirror: true, delta_delay_ms: 1, ..small() }
    }
}

impl std::fmt::Display for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cloud")
    }
}

#[async_trait]
impl ObjectStore for Cloud {
    async fn put_opts(&self, location: &ObjectPath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.up()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.up()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.up()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        match self.up() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.up() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.up()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.up()?;
        self.inner.copy_opts(from, to, options).await
    }
}

async fn table(store: &Store, database: &str, name: &str) {
    let id = store.create_database(database, CreateMode::IfNotExists).await.unwrap().id();
    store.create_table(id, TableSpec::new(name, numbers_schema()), CreateMode::IfNotExists).await.unwrap();
}

/// Waits for what threads of the background do.
async fn until(mut test: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if test().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn a_database_in_a_store_is_written_merged_moved_dropped_and_read_after_a_restart() {
    let (directory, cloud) = (tempdir().unwrap(), Cloud::default());
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    table(&store, "db", "T").await;
    let database = store.snapshot().database("db").unwrap().clone();
    assert_eq!(database.root(), Some("s3://bucket/some/prefix"));
    for n in 0..10 {
        append(&store, "T", vec![numbers(n * 100..n * 100 + 100)]).await;
    }
    assert_eq!(cloud.extents().await.len(), 10);
    assert!(cloud.keys().await.iter().all(|key| key.starts_with("some/prefix/databases/")));
    assert!(data_files(directory.path()).is_empty(), "nothing of it lies here");
    assert_eq!(longs(&store, "T").await, (0..1000).collect::<Vec<_>>());
    let id = store.snapshot().table("db", "T").unwrap().id();
    assert_eq!(store.merge_table(id).await.unwrap().merged.len(), 10);
    store.flush_delta().await.unwrap();
    store.flush_drops().await.unwrap();
    assert_eq!((cloud.extents().await.len(), longs(&store, "T").await.len()), (1, 1000));
    // A move is a copy inside the store.
    table(&store, "db", "U").await;
    let snapshot = store.snapshot();
    let (from, to) = (snapshot.table("db", "T").unwrap(), snapshot.table("db", "U").unwrap());
    let extent = &from.extents()[0];
    let moved = store.rehome(from, extent, to, false).await.unwrap();
    let commit = moved.into_iter().fold(Commit::new(), |commit, staged| commit.add(staged, vec![]));
    store.commit(commit.drop_extent(from.id(), extent.id())).await.unwrap();
    assert_eq!((longs(&store, "T").await.len(), longs(&store, "U").await.len()), (0, 1000));
    assert!(store.column_sizes(to, store.snapshot().table("db", "U").unwrap().extents()).await.unwrap()[1].stored > 0);
    drop(snapshot);
    drop(store);
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    assert_eq!(longs(&store, "U").await, (0..1000).collect::<Vec<_>>());
    store.drop_table(store.snapshot().table("db", "U").unwrap().id()).await.unwrap();
    store.flush_delta().await.unwrap();
    store.flush_drops().await.unwrap();
    assert!(cloud.extents().await.is_empty());
    // What is left of a dropped database goes with the next start.
    let id = store.snapshot().database("db").unwrap().id();
    table(&store, "db", "V").await;
    append(&store, "V", vec![numbers(0..10)]).await;
    store.flush_delta().await.unwrap();
    store.drop_database(id).await.unwrap();
    drop(store);
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    until(async || cloud.keys().await.is_empty()).await;
    until(async || store.snapshot().properties(tidewater_store::PropertyOwner::Cluster, "dropped root").count() == 0)
        .await;
}

#[tokio::test]
async fn a_store_that_is_down_stops_its_own_databases_only() {
    let (directory, cloud) = (tempdir().unwrap(), Cloud::default());
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    table(&store, "db", "T").await;
    table(&store, "here", "T").await;
    append(&store, "T", vec![numbers(0..10)]).await;
    cloud.is_down.store(true, Ordering::Relaxed);
    let snapshot = store.snapshot();
    let there = snapshot.table("db", "T").unwrap();
    let error = store.append(there.id(), numbers(0..5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "the database's files at 's3://bucket/some/prefix' cannot be reached: connection refused"
    );
    let provider = store.provider(there);
    let read = datafusion::prelude::SessionContext::new().read_table(provider).unwrap().collect().await;
    let told = read.unwrap_err().to_string();
    assert!(told.contains("the database's files at 's3://bucket/some/prefix' cannot be reached"), "{told}");
    let here = snapshot.table("here", "T").unwrap().id();
    store.append(here, numbers(0..7)).await.unwrap();
    // A server starts although it cannot be reached, and nothing is lost when it is back.
    drop(snapshot);
    drop(store);
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    assert_eq!(store.snapshot().table("here", "T").unwrap().row_count(), 7);
    let other = store.create_database_at("Other", CreateMode::New, Some("s3://bucket/some/prefix/other")).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Unavailable);
    cloud.is_down.store(false, Ordering::Relaxed);
    assert_eq!(longs(&store, "T").await, (0..10).collect::<Vec<_>>());
    drop(store);
    // Without the setting nothing is known of the store, and nothing is deleted.
    let store = Store::open(directory.path(), small()).unwrap();
    let error = store.append(store.snapshot().table("db", "T").unwrap().id(), numbers(0..1)).await.unwrap_err();
    assert!(error.to_string().contains("no setting says how to open it"), "{error}");
    store.append(here, numbers(7..8)).await.unwrap();
    assert_eq!(cloud.extents().await.len(), 1);
}

#[tokio::test]
async fn uploads_that_fail_at_any_step_leave_nothing_named_and_nothing_behind() {
    let (directory, cloud) = (tempdir().unwrap(), Cloud::default());
    let store = Store::open(directory.path(), cloud.options()).unwrap();
    table(&store, "db", "T").await;
    append(&store, "T", vec![numbers(0..10)]).await;
    drop(store);
    for step in 0..6 {
        let count = Arc::new(AtomicUsize::new(0));
        let faults = Faults::new(move |point| match point {
            FaultPoint::Upload | FaultPoint::CatalogBegin | FaultPoint::CatalogCommit | FaultPoint::DataWrite => {
                match count.fetch_add(1, Ordering::Relaxed) == step {
                    true => Err(io::Error::other("broken")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        });
        let store = Store::open(directory.path(), StoreOptions { faults, ..cloud.options() }).unwrap();
        let rows = store.snapshot().table("db", "T").unwrap().row_count();
        let id = store.snapshot().table("db", "T").unwrap().id();
        let done = store.append(id, numbers(0..5)).await.is_ok();
        assert_eq!(store.snapshot().table("db", "T").unwrap().row_count(), rows + if done { 5 } else { 0 });
        store.flush_delta().await.unwrap();
        store.flush_drops().await.unwrap();
        let named = store.snapshot().table("db", "T").unwrap().extents().len();
        assert_eq!(cloud.extents().await.len(), named, "step {step}");
        assert_eq!(fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
    }
    // What a process that died has left is swept, also when the store was down at first.
    let table = cloud.extents().await[0].rsplit_once('/').unwrap().0.to_string();
    let stray = ObjectPath::from(format!("{table}/0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.parquet"));
    let foreign = ObjectPath::from(format!("{table}/other.parquet"));
    for key in [&stray, &foreign] {
        cloud.inner.put_opts(key, PutPayload::from("x"), PutOptions::default()).await.unwrap();
    }
    let before = cloud.extents().await.len();
    let _store = Store::open(directory.path(), cloud.options()).unwrap();
    until(async || cloud.extents().await.len() == before - 1).await;
    assert!(cloud.extents().await.contains(&foreign.to_string()), "what is not ours stays");
}

#[tokio::test]
async fn the_mirror_lies_beside_the_files_and_follows_with_checkpoints() {
    let (directory, cloud) = (tempdir().unwrap(), Cloud::default());
    let store = Store::open(directory.path(), StoreOptions { delta_delay_ms: 0, ..cloud.options() }).unwrap();
    table(&store, "db", "T").await;
    for n in 0..102 {
        append(&store, "T", vec![numbers(n..n + 1)]).await;
        store.flush_delta().await.unwrap();
    }
    let keys = cloud.keys().await;
    let log = |name: &str| keys.iter().any(|key| key.ends_with(&format!("_delta_log/{name}")));
    assert!(log("00000000000000000001.json") && log("00000000000000000100.checkpoint.parquet"), "{keys:?}");
    drop(store);
    let options = || CheckOptions { deep: true, roots: cloud.roots(), ..CheckOptions::default() };
    let report = check_directory(directory.path(), options()).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.files, 102);
    // A lost and a damaged file are found; without the setting nothing can be said.
    let extents = cloud.extents().await;
    cloud.inner.delete_stream(futures::stream::iter([Ok(ObjectPath::from(extents[0].clone()))]).boxed()).next().await;
    let whole = cloud.inner.get_opts(&ObjectPath::from(extents[1].clone()), GetOptions::default()).await.unwrap();
    let mut bytes = whole.bytes().await.unwrap().to_vec();
    let end = bytes.len() - 10;
    bytes[end] ^= 0xff;
    let key = ObjectPath::from(extents[1].clone());
    cloud.inner.put_opts(&key, PutPayload::from(bytes), PutOptions::default()).await.unwrap();
    let report = check_directory(directory.path(), options()).await.unwrap();
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(errors, 2, "{:?}", report.findings);
    let report = check_directory(directory.path(), CheckOptions::default()).await.unwrap();
    assert!(report.findings[0].message.contains("database_roots") && !report.is_clean());
}

#[tokio::test]
async fn a_backup_brings_files_from_everywhere_and_a_restore_leaves_roots_alone() {
    let (directory, cloud, disk) = (tempdir().unwrap(), Cloud::default(), tempdir().unwrap());
    let roots = || {
        let far = Root::store("s3://bucket/some/prefix", Arc::new(cloud.clone()), "some/prefix").unwrap();
        Roots::new(vec![far, Root::directory(disk.path()).unwrap()], vec![])
    };
    let store = Store::open(directory.path(), StoreOptions { roots: roots(), ..small() }).unwrap();
    let disk_address = format!("file://{}/below", disk.path().display());
    for (name, root) in [("far", "s3://bucket/some/prefix"), ("near", disk_address.as_str())] {
        store.create_database_at(name, CreateMode::New, Some(root)).await.unwrap();
    }
    for name in ["far", "near", "db"] {
        table(&store, name, "T").await;
        let id = store.snapshot().table(name, "T").unwrap().id();
        store.append(id, numbers(0..20)).await.unwrap();
    }
    assert_eq!((data_files(disk.path()).len(), data_files(directory.path()).len()), (1, 1));
    let place = tempdir().unwrap();
    let (backup, back) = (place.path().join("backup"), place.path().join("back"));
    let refusal = back_up(directory.path(), &backup, &BackupOptions::default()).unwrap_err().to_string();
    assert!(refusal.contains("no setting says how to open it"), "{refusal}");
    let options = BackupOptions { roots: roots(), ..BackupOptions::default() };
    assert_eq!(back_up(directory.path(), &backup, &options).unwrap().files, 3);
    assert_eq!(back_up(directory.path(), &backup, &options).unwrap().new_files, 0);
    restore(&backup, &back, &BackupOptions::default()).unwrap();
    let restored = Store::open(&back, small()).unwrap();
    for name in ["far", "near", "db"] {
        let snapshot = restored.snapshot();
        assert_eq!(snapshot.database(name).unwrap().root(), None);
        let rows = crate::common::rows(&restored, snapshot.table(name, "T").unwrap()).await;
        assert_eq!(rows.num_rows(), 20, "{name}");
    }
    let id = restored.snapshot().database("far").unwrap().id();
    restored.drop_database(id).await.unwrap();
    assert_eq!((cloud.extents().await.len(), data_files(disk.path()).len()), (1, 1));
}

fn on_disk(disk: &Path) -> StoreOptions {
    let roots =
        Roots::new(vec![Root::directory(disk).unwrap()], vec![("db".into(), format!("file://{}", disk.display()))]);
    StoreOptions { roots, delta_mirror: true, delta_delay_ms: 1, ..small() }
}

#[tokio::test]
async fn a_database_on_another_disk_is_swept_and_refused_when_the_disk_is_not_there() {
    let (directory, disk): (TempDir, TempDir) = (tempdir().unwrap(), tempdir().unwrap());
    let store = Store::open(directory.path(), on_disk(disk.path())).unwrap();
    table(&store, "db", "T").await;
    append(&store, "T", vec![numbers(0..10)]).await;
    drop(store);
    let files = data_files(disk.path());
    assert_eq!((files.len(), data_files(directory.path()).len()), (1, 0));
    assert!(files[0].with_file_name("_delta_log").is_dir());
    let stray = files[0].with_file_name("0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.parquet");
    fs::write(&stray, "x").unwrap();
    drop(Store::open(directory.path(), on_disk(disk.path())).unwrap());
    assert!(!stray.exists());
    // The disk is gone: an empty folder stands where it was.
    let away = disk.path().with_extension("away");
    fs::rename(disk.path(), &away).unwrap();
    fs::create_dir(disk.path()).unwrap();
    let store = Store::open(directory.path(), on_disk(disk.path())).unwrap();
    let id = store.snapshot().table("db", "T").unwrap().id();
    let error = store.append(id, numbers(0..1)).await.unwrap_err();
    assert!(error.to_string().contains("is the disk there?"), "{error}");
    drop(store);
    fs::remove_dir_all(disk.path()).unwrap();
    fs::rename(&away, disk.path()).unwrap();
    let store = Store::open(directory.path(), on_disk(disk.path())).unwrap();
    assert_eq!(longs(&store, "T").await, (0..10).collect::<Vec<_>>());
    store.drop_database(store.snapshot().database("db").unwrap().id()).await.unwrap();
    drop(store);
    drop(Store::open(directory.path(), on_disk(disk.path())).unwrap());
    assert!(data_files(disk.path()).is_empty());
}

#[test]
fn addresses_are_covered_by_whole_parts_of_paths() {
    let roots = Cloud::default().roots();
    assert_eq!(roots.covered("s3://bucket/some/prefix/"), Some("s3://bucket/some/prefix".to_string()));
    assert_eq!(roots.covered("s3://bucket/some/prefix/x"), Some("s3://bucket/some/prefix/x".to_string()));
    for other in ["s3://bucket/some/prefixes", "s3://bucket/some", "s3://bucket/some/prefix/../x", "/tmp", "s3://b"] {
        assert_eq!(roots.covered(other), None, "{other}");
    }
    assert_eq!(roots.of_database("DB"), Some("s3://bucket/some/prefix"));
    assert!(Root::directory(Path::new("relative")).is_err());
}
