//! Job records: order, uniqueness, restart.

use serde_json::json;
use tempfile::tempdir;
use tidewater_store::{Clock, ErrorKind, JobOrder, JobPage, Store, StoreOptions};

use crate::common::small;

const EPOCH: i64 = 621_355_968_000_000_000;

fn page(order: JobOrder, descending: bool, limit: usize) -> JobPage {
    JobPage { order, descending, from: None, to: None, limit }
}

fn frozen() -> StoreOptions {
    StoreOptions { clock: Clock::new(|| EPOCH + 16_000_000_001_234_567), ..small() }
}

#[tokio::test]
async fn records_made_in_one_millisecond_have_different_order_values() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), frozen()).unwrap();
    let jobs = store.jobs().clone();
    let inserts = (0..45).map(|n| {
        let jobs = jobs.clone();
        tokio::spawn(async move {
            let made = jobs.insert("query", "org/prod", &format!("id{n}"), |_| ("SUBMITTED".into(), json!({}))).await;
            made.unwrap().created
        })
    });
    let mut created = vec![];
    for insert in inserts.collect::<Vec<_>>() {
        created.push(insert.await.unwrap());
    }
    created.sort_unstable();
    created.dedup();
    assert_eq!(created.len(), 45);
    assert_eq!(created[0] % 1000, 0, "the first in a millisecond is the millisecond");
    assert_eq!(created[44], created[0] + 44);
    drop((store, jobs));
    // A restart within the same millisecond goes on where it was.
    let store = Store::open(directory.path(), frozen()).unwrap();
    let next = store.jobs().insert("query", "org/prod", "later", |_| ("SUBMITTED".into(), json!({}))).await.unwrap();
    assert_eq!(next.created, created[44] + 1);
    let other = store.jobs().insert("query", "org/dev", "later", |_| ("SUBMITTED".into(), json!({}))).await.unwrap();
    assert_eq!(other.created, created[0], "another scope has its own clock");
}

#[tokio::test]
async fn lists_page_by_both_orders_and_filter() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), frozen()).unwrap();
    let jobs = store.jobs();
    for n in 0..10 {
        jobs.insert("query", "s", &format!("id{n}"), move |_| ("SUBMITTED".into(), json!({ "n": n }))).await.unwrap();
    }
    let (third, ()) = jobs
        .update("query", "s", "id3", |record, now| {
            record.state = "SUCCESS".into();
            record.value["ended"] = json!(now);
        })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(third.value["ended"], json!(third.updated));
    let newest = jobs.list("query", "s", page(JobOrder::Updated, true, 1), |_| true).await.unwrap();
    assert_eq!(newest[0].id, "id3");
    let ids =
        |records: Vec<tidewater_store::JobRecord>| records.into_iter().map(|record| record.id).collect::<Vec<_>>();
    let all = jobs.list("query", "s", page(JobOrder::Created, false, 100), |_| true).await.unwrap();
    let from = JobPage { from: Some(all[4].created), ..page(JobOrder::Created, false, 2) };
    assert_eq!(ids(jobs.list("query", "s", from, |_| true).await.unwrap()), ["id4", "id5"]);
    let to = JobPage { to: Some(all[4].created), ..page(JobOrder::Created, true, 2) };
    assert_eq!(ids(jobs.list("query", "s", to, |_| true).await.unwrap()), ["id4", "id3"]);
    let odd = |record: &tidewater_store::JobRecord| record.value["n"].as_i64().unwrap() % 2 == 1;
    assert_eq!(ids(jobs.list("query", "s", page(JobOrder::Created, true, 2), odd).await.unwrap()), ["id9", "id7"]);
    assert_eq!(jobs.in_states("query", &["SUCCESS"]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_its_time() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), frozen()).unwrap();
    let jobs = store.jobs();
    let made = jobs.insert("query", "s", "a", |now| ("NEW".into(), json!({ "at": now }))).await.unwrap();
    let (same, answer) = jobs.update("query", "s", "a", |record, _| record.state.clone()).await.unwrap().unwrap();
    assert_eq!((&same, answer.as_str()), (&made, "NEW"));
    assert!(jobs.update("query", "s", "b", |_, _| ()).await.unwrap().is_none());
    let twice = jobs.insert("query", "s", "a", |_| ("NEW".into(), json!({}))).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Exists);
    assert!(jobs.remove("query", "s", "a").await.unwrap());
    assert!(jobs.get("query", "s", "a").await.unwrap().is_none());
}
