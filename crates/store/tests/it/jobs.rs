//! Job records: order, uniqueness, restart.

use serde_json::json;
use tempfile::tempdir;
use tidewater_store::{
    Clock, Commit, ErrorKind, JobCondition, JobMember, JobOrder, JobPage, JobRecord, Store, StoreOptions,
};

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

#[tokio::test]
async fn conditions_give_the_pages_that_looking_at_every_record_gives() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), small()).unwrap();
    let jobs = store.jobs();
    let states = ["SUBMITTED", "SUCCESS", "FAILED"];
    for n in 0..60_usize {
        let value = json!({"user": format!("u{}", n % 4), "client": "API", "sql": format!("SELECT '{}\"ä'", n % 7),
            "schedule": (n % 10 == 0).then(|| json!({"schedule": "s", "run": n.to_string()})),
            "request": if n % 3 == 0 { json!({"templateID": "t"}) } else { json!({"templateId": "other"}) }});
        let state = states[n % 3].to_string();
        jobs.insert("query", "s", &format!("id{n}"), move |_| (state, value)).await.unwrap();
        jobs.insert("query", "elsewhere", &format!("id{n}"), |_| ("SUCCESS".into(), json!({"user": "u1"})))
            .await
            .unwrap();
    }
    for n in [50, 3, 17] {
        jobs.update("query", "s", &format!("id{n}"), |record, _| record.state = "KILLED".into())
            .await
            .unwrap()
            .unwrap();
    }
    let all = jobs.list("query", "s", page(JobOrder::Created, false, 100), |_| true).await.unwrap();
    let (first, last) = (all[10].created, all[40].created);
    let text = |value: &str| value.to_string();
    let member = |member, value: &str| JobCondition::Member(member, text(value));
    let searches: Vec<Vec<JobCondition>> = vec![
        vec![JobCondition::States(vec![])],
        vec![JobCondition::States(vec![text("FAILED")])],
        vec![JobCondition::States(vec![text("FAILED"), text("SUCCESS"), text("none"), text("KILLED")])],
        vec![JobCondition::States(vec![text("FAILED"), text("SUCCESS")]), JobCondition::States(vec![text("SUCCESS")])],
        vec![JobCondition::Id(text("id7"))],
        vec![JobCondition::Id(text("id7")), JobCondition::States(vec![text("SUCCESS")]), member(JobMember::User, "u3")],
        vec![JobCondition::Created(first, last)],
        vec![JobCondition::Updated(first, last)],
        vec![JobCondition::Created(first, i64::MAX), JobCondition::Updated(i64::MIN, last)],
        vec![member(JobMember::User, "u2")],
        vec![
            member(JobMember::User, "u2"),
            member(JobMember::Client, "API"),
            JobCondition::States(vec![text("SUCCESS")]),
        ],
        vec![member(JobMember::Schedule, "s")],
        vec![member(JobMember::Run, "20")],
        vec![member(JobMember::Template, "t")],
        vec![JobCondition::Holds(text("'3\\\"ä'"))],
        vec![JobCondition::Holds(text("'3\\\"ä'")), member(JobMember::User, "u1"), JobCondition::Created(first, last)],
    ];
    let meets = |record: &JobRecord, condition: &JobCondition| match condition {
        JobCondition::States(states) => states.contains(&record.state),
        JobCondition::Id(id) => record.id == *id,
        JobCondition::Created(first, last) => (first..=last).contains(&&record.created),
        JobCondition::Updated(first, last) => (first..=last).contains(&&record.updated),
        JobCondition::Holds(text) => record.value.to_string().contains(text),
        JobCondition::Member(member, value) => {
            let found = match member {
                JobMember::User => &record.value["user"],
                JobMember::Client => &record.value["client"],
                JobMember::Schedule => &record.value["schedule"]["schedule"],
                JobMember::Run => &record.value["schedule"]["run"],
                JobMember::Template => match &record.value["request"]["templateId"] {
                    serde_json::Value::Null => &record.value["request"]["templateID"],
                    found => found,
                },
            };
            found == value
        }
    };
    for conditions in searches {
        for order in [JobOrder::Created, JobOrder::Updated] {
            for (descending, limit, from) in
                [(false, 100, None), (true, 3, None), (true, 100, Some(first)), (false, 2, Some(last))]
            {
                let page = JobPage { from, ..page(order, descending, limit) };
                let found = jobs.list_where("query", "s", page, conditions.clone(), |_| true).await.unwrap();
                let asked = conditions.clone();
                let keep = move |record: &JobRecord| asked.iter().all(|condition| meets(record, condition));
                let wanted = jobs.list("query", "s", page, keep).await.unwrap();
                assert_eq!(found, wanted, "{conditions:?} {page:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_note_of_a_commit_lasts_until_its_record_changes() {
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), small()).unwrap();
    store.jobs().insert("query", "s", "one", |_| ("IN_PROGRESS".into(), json!({}))).await.unwrap();
    store.commit(Commit::new().note("one", json!({"rows": 3}))).await.unwrap();
    drop(store);
    let store = Store::open(directory.path(), small()).unwrap();
    let jobs = store.jobs();
    assert_eq!(jobs.note("one").await.unwrap(), Some(json!({"rows": 3})));
    assert_eq!(jobs.note("other").await.unwrap(), None);
    jobs.amend("query", "s", "one", |record| record.value = json!({"seen": true})).await.unwrap();
    assert!(jobs.note("one").await.unwrap().is_some(), "a mark is no change of the job");
    jobs.update("query", "s", "one", |record, _| record.state = "SUCCESS".into()).await.unwrap();
    assert_eq!(jobs.note("one").await.unwrap(), None);
}
