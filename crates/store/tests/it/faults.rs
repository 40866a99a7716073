//! A disk that fails: clean errors, no trace, and work that goes on.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::tempdir;
use tidewater_store::{Commit, ErrorKind, FaultPoint, Faults, Store, StoreOptions};

use crate::common::{append, data_files, longs, numbers, numbers_schema, small, table};

#[tokio::test]
async fn a_full_disk_at_any_step_leaves_nothing_and_the_next_write_works() {
    for point in [
        FaultPoint::DataWrite,
        FaultPoint::DataSync,
        FaultPoint::DirectorySync,
        FaultPoint::CatalogBegin,
        FaultPoint::CatalogCommit,
    ] {
        let directory = tempdir().unwrap();
        // 0: pass, 1: fail once.
        let armed = Arc::new(AtomicUsize::new(0));
        let trigger = Arc::clone(&armed);
        let faults = Faults::new(move |at| match at == point && trigger.swap(0, Ordering::SeqCst) == 1 {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        });
        let store = Store::open(directory.path(), StoreOptions { faults, ..small() }).unwrap();
        let t = table(&store, "T", numbers_schema()).await;
        append(&store, "T", vec![numbers(0..10)]).await;
        let sequence = store.snapshot().sequence();

        armed.store(1, Ordering::SeqCst);
        let mut writer = store.writer(&t.target());
        let written = writer.write(numbers(10..5010)).and_then(|()| writer.finish());
        let outcome = match written {
            Ok(extents) => store.commit(Commit::new().add_all(extents, &[])).await.map(drop),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{point:?}: {error}");
        assert_eq!(store.snapshot().sequence(), sequence, "{point:?}");
        store.flush_drops().await.unwrap();
        assert_eq!(data_files(directory.path()).len(), 1, "{point:?} leaves no file");

        append(&store, "T", vec![numbers(10..20)]).await;
        drop((store, t));
        let store = Store::open(directory.path(), small()).unwrap();
        assert_eq!(longs(&store, "T").await, (0..20).collect::<Vec<_>>(), "{point:?}");
    }
}

const CHILD: &str = "TIDEWATER_TEST_FILE_LIMIT";

#[test]
fn a_real_limit_on_file_size_is_a_clean_error() {
    if let Ok(directory) = std::env::var(CHILD) {
        return tokio::runtime::Runtime::new().unwrap().block_on(limited_child(directory.as_ref()));
    }
    let directory = tempdir().unwrap();
    // The shell ignores the signal of a file that grows too large, so that the write itself fails.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_real_limit_on_file_size_is_a_clean_error", "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("survived"), "{text}");
    // Without the limit everything that was acknowledged is there.
    let store = Store::open(directory.path(), small()).unwrap();
    let rows = tokio::runtime::Runtime::new().unwrap().block_on(longs(&store, "T"));
    assert_eq!(rows, (0..rows.len() as i64).collect::<Vec<_>>());
    assert!(rows.len() >= 20);
}

async fn limited_child(directory: &std::path::Path) {
    let store = Store::open(directory, small()).unwrap();
    let t = table(&store, "T", numbers_schema()).await;
    append(&store, "T", vec![numbers(0..10)]).await;
    let mut writer = store.writer(&t.target());
    let mut outcome = Ok(());
    for n in 0..400 {
        outcome = writer.write(numbers(n * 1000..n * 1000 + 1000));
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome.and_then(|()| writer.finish().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory).len(), 1);
    append(&store, "T", vec![numbers(10..20)]).await;
    // Small commits until the catalog's own files reach the limit: an error, and everything before it holds.
    let mut next = 20;
    let mut refused = None;
    for _ in 0..3000 {
        let mut writer = store.writer(&t.target());
        writer.write(numbers(next..next + 1)).unwrap();
        match store.commit(Commit::new().add_all(writer.finish().unwrap(), &["x".repeat(2000)])).await {
            Ok(_) => next += 1,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the catalog reaches the limit");
    assert!(matches!(refused.kind(), ErrorKind::Limit | ErrorKind::Internal), "{refused}");
    assert_eq!(longs(&store, "T").await, (0..next).collect::<Vec<_>>());
    println!("survived at {next}: {refused}");
}
