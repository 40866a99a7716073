//! What a request is told to have used.

use futures::StreamExt;
use tidewater_service::{CommandAnswer, Consumption, Context, Service};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(8 << 20).enable_all().build().unwrap()
}

async fn command(service: &Service, text: &str) {
    match service.command(Context::new("NetDefaultDB"), text).await {
        Ok(CommandAnswer::Table(table)) => drop(table.collect().await.unwrap()),
        Ok(CommandAnswer::Query(_)) => {}
        Err(error) => panic!("{text}: {error}"),
    }
}

async fn used(service: &Service, text: &str) -> Consumption {
    let context = Context::new("NetDefaultDB");
    let usage = context.usage.clone();
    let answer = service.query(context, text).await.unwrap();
    for mut result in answer.results {
        while let Some(batch) = result.rows.next().await {
            batch.unwrap();
        }
    }
    usage.consumption()
}

#[test]
fn extents_and_rows_are_counted_once_however_often_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        let service = crate::open_service(folder.path());
        for part in 0..4 {
            let from = part * 1000;
            command(&service, &format!(".set-or-append T <| range n from {from} to {} step 1", from + 999)).await;
        }
        let some = used(&service, "T | where n >= 1500 and n < 2500 | project m = n * 2").await;
        assert_eq!((some.scans.extents, some.scans.rows), (4, 4000));
        assert_eq!((some.scans.scanned_extents, some.scans.scanned_rows), (2, 2000));
        assert_eq!((some.tables[0].rows, some.tables[0].bytes), (1000, 8000));
        assert!(some.scans.scanned_bytes > 0 && some.scans.scanned_times.is_some());
        assert!(some.cpu_ticks() > 0 && some.planning_ticks > 0 && some.planning_ticks <= some.cpu_ticks());

        let twice = used(&service, "T | join kind=inner (T) on n | summarize sum(n)").await;
        assert_eq!((twice.scans.extents, twice.scans.rows, twice.scans.scanned_extents), (4, 4000, 4));
        assert!(twice.peak_bytes > 0, "a join holds memory");

        let shared = used(&service, "let m = materialize(T | where n % 2 == 0); m | count; m | summarize max(n)").await;
        assert_eq!((shared.scans.scanned_rows, shared.tables.len()), (4000, 2));

        let scalar = used(&service, "print toscalar(T | summarize sum(n))").await;
        assert_eq!(scalar.scans.scanned_rows, 4000, "what planning waits for counts, too");

        let nothing = used(&service, "print 1").await;
        assert_eq!((nothing.scans.extents, nothing.scans.scanned_rows, nothing.tables[0].rows), (0, 0, 1));
    });
}

#[test]
fn processor_time_of_all_threads_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        let service = crate::open_service(folder.path());
        command(&service, ".set-or-append T <| range n from 1 to 300000 step 1").await;
        let began = std::time::Instant::now();
        let used = used(&service, "T | extend k = hash(tostring(n), 1000) | summarize dcount(n), count() by k").await;
        let threads_ticks = began.elapsed().as_nanos() as i64 / 100 * 4;
        assert!(used.cpu_ticks() > 50_000, "{used:?}");
        assert!(used.cpu_ticks() < threads_ticks, "{used:?}");
    });
}

#[test]
fn the_text_for_clients_has_the_documented_members_in_order() {
    let used = Consumption::default();
    let text = used.text("print 1", std::time::Duration::from_millis(1500));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = |pointer: &str| -> Vec<String> {
        value.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        keys(""),
        [
            "QueryHash",
            "ExecutionTime",
            "resource_usage",
            "input_dataset_statistics",
            "dataset_statistics",
            "cross_cluster_resource_usage"
        ]
    );
    assert_eq!(keys("/resource_usage"), ["cache", "cpu", "memory", "network"]);
    assert_eq!(keys("/resource_usage/cpu"), ["user", "kernel", "total cpu", "breakdown"]);
    assert_eq!(keys("/input_dataset_statistics"), ["extents", "rows", "rowstores", "shards"]);
    assert_eq!(value["ExecutionTime"], 1.5);
    assert_eq!(value["resource_usage"]["cpu"]["total cpu"], "00:00:00");
    assert_eq!(value["input_dataset_statistics"]["extents"]["scanned_min_datetime"], "0001-01-01T00:00:00.0000000Z");
}
