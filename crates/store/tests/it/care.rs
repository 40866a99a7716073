//! Checking, backing up and restoring a data directory.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::{TempDir, tempdir};
use tidewater_store::{
    BackupOptions, CheckOptions, CheckReport, Error, FaultPoint, Faults, Severity, Store, StoreOptions, back_up,
    check_directory, restore,
};

use crate::common::{append, data_files, longs, numbers, numbers_schema, open, small, table};

/// A directory with two tables of several extents, closed again.
async fn filled() -> TempDir {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions { delta_mirror: true, ..small() }).unwrap();
    for name in ["A", "B"] {
        table(&store, name, numbers_schema()).await;
        for n in 0..5 {
            append(&store, name, vec![numbers(n * 10..n * 10 + 10)]).await;
        }
    }
    store.flush_delta().await.unwrap();
    directory
}

async fn check(directory: &Path, deep: bool, repair: bool) -> CheckReport {
    check_directory(directory, CheckOptions { deep, repair, ..CheckOptions::default() }).await.unwrap()
}

fn messages(report: &CheckReport) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{}: {}", finding.place, finding.message)).collect()
}

#[tokio::test]
async fn a_whole_directory_has_no_findings() {
    let directory = filled().await;
    let report = check(directory.path(), true, false).await;
    assert!(report.findings.is_empty(), "{:?}", messages(&report));
    assert_eq!((report.tables, report.files, report.rows), (2, 10, 100));
}

#[tokio::test]
async fn damage_is_found_and_the_rest_of_the_data_is_not_touched() {
    let directory = filled().await;
    let files = data_files(directory.path());
    // One is gone, one is cut short, one has another byte in its values.
    fs::remove_file(&files[0]).unwrap();
    let bytes = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &bytes[..bytes.len() - 1]).unwrap();
    let mut bytes = fs::read(&files[2]).unwrap();
    bytes[20] ^= 0xff;
    fs::write(&files[2], bytes).unwrap();
    let report = check(directory.path(), true, true).await;
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(errors, 3, "{:?}", messages(&report));
    assert!(!report.is_clean(), "what is lost is not mended");
    assert_eq!(data_files(directory.path()).len(), 9);
    // A table with a damaged file answers with an error, and a store opens.
    let store = open(&directory);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.table("db", "A").unwrap().extents().len(), 5);
}

#[tokio::test]
async fn what_nobody_names_and_a_wrong_mirror_are_mended() {
    let directory = filled().await;
    let stray = data_files(directory.path())[0].with_file_name("0b0f4d0e-3b0a-4b43-8a25-6d3c1e2f4a5b.parquet");
    fs::write(&stray, "stray").unwrap();
    let log = stray.with_file_name("_delta_log");
    fs::write(log.join("00000000000000000001.json"), "{ no json").unwrap();
    fs::remove_file(directory.path().join("tidewater.version")).unwrap();
    let report = check(directory.path(), false, false).await;
    assert_eq!(report.findings.len(), 3, "{:?}", messages(&report));
    assert!(report.findings.iter().all(|finding| finding.severity != Severity::Error));
    assert!(!report.is_clean());
    assert!(check(directory.path(), false, true).await.is_clean());
    assert!(!stray.exists() && !log.exists());
    assert!(check(directory.path(), true, false).await.findings.is_empty());
    // The next start writes the mirror anew.
    let store = Store::open(directory.path(), StoreOptions { delta_mirror: true, ..small() }).unwrap();
    store.flush_delta().await.unwrap();
    assert!(log.join("00000000000000000000.json").exists());
}

#[tokio::test]
async fn a_directory_in_use_or_of_a_newer_version_is_not_checked() {
    let directory = filled().await;
    let store = open(&directory);
    assert!(matches!(check_directory(directory.path(), CheckOptions::default()).await, Err(Error::Locked { .. })));
    drop(store);
    let stamp = directory.path().join("tidewater.version");
    fs::write(&stamp, r#"{"format":99,"version":"9.9.9"}"#).unwrap();
    for error in [
        check_directory(directory.path(), CheckOptions::default()).await.err().unwrap(),
        Store::open(directory.path(), small()).err().unwrap(),
        back_up(directory.path(), &directory.path().with_extension("copy"), &BackupOptions::default()).err().unwrap(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, Error::Newer { .. }) && text.contains("9.9.9") && text.contains("format 99"), "{text}");
    }
}

#[tokio::test]
async fn a_backup_comes_back_as_it_was() {
    for copy in [false, true] {
        let directory = filled().await;
        let place = tempdir().unwrap();
        let (backup, back) = (place.path().join("backup"), place.path().join("back"));
        let options = BackupOptions { copy, ..BackupOptions::default() };
        // A store is at work, and goes on.
        let store = open(&directory);
        let report = back_up(directory.path(), &backup, &options).unwrap();
        assert_eq!((report.files, report.new_files), (10, 10));
        assert_eq!(report.copied_bytes > 0, copy);
        append(&store, "A", vec![numbers(50..60)]).await;
        store.merge_table(store.snapshot().table("db", "B").unwrap().id()).await.unwrap();
        store.flush_drops().await.unwrap();

        let made = restore(&backup, &back, &options).unwrap();
        assert_eq!(made.files, 10);
        assert!(check(&back, true, false).await.findings.is_empty());
        let restored = Store::open(&back, small()).unwrap();
        assert_eq!(longs(&restored, "A").await, (0..50).collect::<Vec<_>>());
        assert_eq!(longs(&restored, "B").await, (0..50).collect::<Vec<_>>());
        // What was written since is not in it, and its own life is not that of the first.
        append(&restored, "A", vec![numbers(100..110)]).await;
        assert_eq!(longs(&store, "A").await, (0..60).collect::<Vec<_>>());
        drop(restored);

        // The next backup takes what is new and lets go what is gone.
        let report = back_up(directory.path(), &backup, &options).unwrap();
        assert_eq!((report.files, report.new_files, report.removed_files), (7, 2, 5));
        let again = place.path().join("again");
        restore(&backup, &again, &options).unwrap();
        assert_eq!(longs(&Store::open(&again, small()).unwrap(), "A").await, (0..60).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_backup_or_restore_that_breaks_off_is_gone_on_with() {
    let directory = filled().await;
    let place = tempdir().unwrap();
    let (backup, back) = (place.path().join("backup"), place.path().join("back"));
    // Fails at each step once; what was there before stays usable.
    for step in 0..11 {
        let left = Arc::new(AtomicUsize::new(step));
        let faults = Faults::new(move |at| match at {
            FaultPoint::Backup if left.fetch_sub(1, Ordering::SeqCst) == 0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        let options = BackupOptions { copy: step % 2 == 0, faults, ..BackupOptions::default() };
        let broken = back_up(directory.path(), &backup, &options);
        let _ = broken;
    }
    back_up(directory.path(), &backup, &BackupOptions::default()).unwrap();
    let faults = Faults::new(|at| match at {
        FaultPoint::Backup => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    restore(&backup, &back, &BackupOptions { faults, ..BackupOptions::default() }).unwrap_err();
    let refused = Store::open(&back, small()).unwrap_err().to_string();
    assert!(refused.contains("has not ended"), "{refused}");
    restore(&backup, &back, &BackupOptions::default()).unwrap();
    assert_eq!(longs(&Store::open(&back, small()).unwrap(), "A").await, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn places_that_hold_something_else_are_refused() {
    let directory = filled().await;
    let place = tempdir().unwrap();
    let options = BackupOptions::default();
    let refusal = |from: &Path, to: &Path| back_up(from, to, &options).unwrap_err().to_string();
    fs::write(place.path().join("own.txt"), "x").unwrap();
    assert!(refusal(directory.path(), place.path()).contains("not empty"));
    assert!(refusal(directory.path(), &directory.path().join("inside")).contains("outside"));
    assert!(refusal(place.path(), &place.path().join("b")).contains("no data directory"));
    let backup = tempdir().unwrap();
    back_up(directory.path(), &backup.path().join("b"), &options).unwrap();
    let over = restore(&backup.path().join("b"), directory.path(), &options).unwrap_err().to_string();
    assert!(over.contains("not empty"), "{over}");
    let none = restore(place.path(), &backup.path().join("c"), &options).unwrap_err().to_string();
    assert!(none.contains("no backup"), "{none}");
}

#[tokio::test]
async fn a_backup_while_extents_come_and_go_is_one_moment_of_both_tables() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    for name in ["A", "B"] {
        table(&store, name, numbers_schema()).await;
    }
    let place = tempdir().unwrap();
    let (backup, worker) = (place.path().join("backup"), store.clone());
    let work = tokio::spawn(async move {
        for n in 0..60i64 {
            let mut commit = tidewater_store::Commit::new();
            for name in ["A", "B"] {
                let target = worker.snapshot().table("db", name).unwrap().target();
                let mut writer = worker.writer_task(&target);
                writer.write(numbers(n * 10..n * 10 + 10)).await.unwrap();
                commit = commit.add_all(writer.finish().await.unwrap(), &[]);
            }
            worker.commit(commit).await.unwrap();
            worker.merge_due().await.unwrap();
        }
    });
    let mut backups = 0;
    while !work.is_finished() {
        let (from, to) = (directory.path().to_path_buf(), backup.clone());
        tokio::task::spawn_blocking(move || back_up(&from, &to, &BackupOptions::default()).unwrap()).await.unwrap();
        let back = place.path().join(format!("back{backups}"));
        restore(&backup, &back, &BackupOptions::default()).unwrap();
        let restored = Store::open(&back, small()).unwrap();
        let (a, b) = (longs(&restored, "A").await, longs(&restored, "B").await);
        assert_eq!(a, (0..a.len() as i64).collect::<Vec<_>>());
        assert_eq!(a, b);
        backups += 1;
    }
    work.await.unwrap();
    assert!(backups > 0);
}
