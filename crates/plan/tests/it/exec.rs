//! Our own operators: exact answers over many batches, bounded memory, cancellation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use futures::StreamExt;
use tidewater_plan::PlanError;
use tidewater_plan::session::{SessionOptions, execution_plan};

use crate::support::Database;

#[tokio::test]
async fn ranges_are_made_on_demand_and_include_both_ends() {
    let database = Database::new();
    let start = Instant::now();
    assert_eq!(database.rows("range x from 1 to 1000000000000 step 1 | take 3").await, ["1", "2", "3"]);
    assert_eq!(database.rows("range x from 1 to 1000000000000 step 1 | where x > 50000 | take 1").await, ["50001"]);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(database.rows("range x from 10 to 1 step -4").await, ["10", "6", "2"]);
    assert_eq!(database.rows("range x from 1 to 0 step 1 | count").await, ["0"]);
    assert_eq!(
        database
            .rows("range x from long(-9223372036854775808) to 9223372036854775807 step 9223372036854775807")
            .await
            .len(),
        3
    );
    assert_eq!(database.rows("range r from 0 to 1 step 0.5").await, ["0.0", "0.5", "1.0"]);
    assert_eq!(database.rows("range t from datetime(2020-01-01) to datetime(2020-01-02) step 8h | count").await, ["4"]);
    assert_eq!(
        database.rows("range x from 1 to 1000000 step 1 | summarize sum(x), count()").await,
        ["500000500000 | 1000000"]
    );
    assert_eq!(
        database.rows("range x from decimal(0) to decimal(1) step decimal(0.1) | summarize sum(x)").await,
        ["5.5"]
    );
}

#[tokio::test]
async fn windows_are_exact_across_batches() {
    let database = Database::new();
    let source = "range x from 1 to 30000 step 1";
    let query = format!(
        "{source} | extend r = row_number(), p = prev(x, 9000, -1), n = next(x, 9001), c = row_cumsum(x) \
         | summarize sum(r), countif(p != iff(x > 9000, x - 9000, -1)), countif(isnull(n)), countif(n != x + 9001 and isnotnull(n)), max(c)"
    );
    assert_eq!(database.rows(&query).await, ["450015000 | 0 | 9001 | 0 | 450015000"]);
    let query = format!(
        "{source} | extend k = x / 100 | extend c = row_cumsum(1, k != prev(k)), d = row_rank_dense(k), m = row_rank_min(k), n = row_number(0, k != prev(k)) | where x in (100, 101, 199, 200) | project x, c, d, m, n"
    );
    assert_eq!(
        database.rows(&query).await,
        ["100 | 1 | 2 | 100 | 0", "101 | 2 | 2 | 100 | 1", "199 | 100 | 2 | 100 | 99", "200 | 1 | 3 | 200 | 0"]
    );
}

#[tokio::test]
async fn sessions_start_anew_by_either_distance() {
    let database = Database::new();
    let query = "datatable(t: datetime)[datetime(2020-01-01 00:00), datetime(2020-01-01 00:20), datetime(2020-01-01 00:50), \
                 datetime(2020-01-01 01:10), datetime(2020-01-01 02:00)] \
                 | serialize | extend s = row_window_session(t, 1h, 40m) | project format_datetime(s, 'HH:mm')";
    assert_eq!(database.rows(query).await, ["\"00:00\"", "\"00:00\"", "\"00:00\"", "\"01:10\"", "\"02:00\""]);
}

#[tokio::test]
async fn mv_expand_gives_a_row_per_element_in_bounded_batches() {
    let database = Database::new();
    let planned =
        database.plan("print l = range(1, 300000) | mv-expand with_itemindex = i l to typeof(long)").await.unwrap();
    let batches = database.batches(&planned.results[0]).await;
    assert!(batches.iter().all(|batch| batch.num_rows() <= 8192));
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 300_000);
    let values = "datatable(n: int, d: dynamic)[1, dynamic([1, 'a', null]), 2, dynamic(null), 3, dynamic([]), 4, dynamic({'k': 1, 'l': [2]}), 5, dynamic('s')]";
    assert_eq!(
        database.rows(&format!("{values} | mv-expand with_itemindex = i d")).await,
        [
            "1 | 1 | 0",
            "1 | \"a\" | 1",
            "1 | null | 2",
            "2 | null | 0",
            "4 | {\"k\":1} | 0",
            "4 | {\"l\":[2]} | 1",
            "5 | \"s\" | 0"
        ]
    );
    assert_eq!(
        database.rows(&format!("{values} | mv-expand kind=array d | where n == 4 | project d")).await,
        ["[\"k\",1]", "[\"l\",[2]]"]
    );
    assert_eq!(database.rows(&format!("{values} | mv-expand d limit 1 | count")).await, ["4"]);
    assert_eq!(
        database.rows("print a = dynamic([1, 2, 3]), b = dynamic([4]), c = dynamic([]) | mv-expand a, b, c").await,
        ["1 | 4 | null", "2 | null | null", "3 | null | null"]
    );
    assert_eq!(
        database.rows("print d = dynamic([1.9, '7', true, 0]) | mv-expand l = d to typeof(long), b = d to typeof(bool), s = d to typeof(string) | project l, b, s").await,
        ["1 | null | \"1.9\"", "null | null | \"7\"", "null | true | \"true\"", "0 | false | \"0\""]
    );
}

#[tokio::test]
async fn parse_blanks_all_captures_of_a_row_that_fails() {
    let database = Database::new();
    let values = "datatable(s: string)['a=1;b=x;', 'a=z;b=y;', 'nothing']";
    assert_eq!(
        database.rows(&format!("{values} | parse s with 'a=' n: long ';b=' t ';' | project n, t")).await,
        ["1 | \"x\"", "null | \"\"", "null | \"\""]
    );
    assert_eq!(
        database.rows(&format!("{values} | parse kind=relaxed s with 'a=' n: long ';b=' t ';' | project n, t")).await,
        ["1 | \"x\"", "null | \"y\"", "null | \"\""]
    );
    assert_eq!(
        database.rows(&format!("{values} | parse-where s with 'a=' n: long ';b=' t ';' | project n, t")).await,
        ["1 | \"x\""]
    );
    assert_eq!(
        database.rows(&format!("{values} | parse kind=regex flags=i s with 'A=' n: long ';B=' t | project n, t")).await,
        ["1 | \"x;\"", "null | \"\"", "null | \"\""]
    );
}

#[tokio::test]
async fn samples_have_the_asked_size_and_come_from_everywhere() {
    let database = Database::new();
    assert_eq!(database.rows("range x from 1 to 100000 step 1 | sample 1000 | summarize count(), dcount(x) > 900, min(x) < 5000, max(x) > 95000").await, ["1000 | true | true | true"]);
    assert_eq!(database.rows("range x from 1 to 5 step 1 | sample 1000 | count").await, ["5"]);
}

#[tokio::test]
async fn series_have_every_bin() {
    let database = Database::new();
    let query = "datatable(t: datetime, k: string, v: long)[datetime(2020-01-01 01:00), 'a', 1, datetime(2020-01-03 02:00), 'a', 2, datetime(2020-01-01 05:00), 'b', 4] \
                 | make-series s = sum(v) default = -1, c = count() on t from datetime(2020-01-01) to datetime(2020-01-04) step 1d by k | sort by k asc";
    assert_eq!(
        database.rows(query).await,
        [
            "\"a\" | [1,-1,2] | [1,0,1] | [\"2020-01-01T00:00:00.0000000Z\",\"2020-01-02T00:00:00.0000000Z\",\"2020-01-03T00:00:00.0000000Z\"]",
            "\"b\" | [4,-1,-1] | [1,0,0] | [\"2020-01-01T00:00:00.0000000Z\",\"2020-01-02T00:00:00.0000000Z\",\"2020-01-03T00:00:00.0000000Z\"]"
        ]
    );
}

#[tokio::test]
async fn shared_rows_go_to_disk_when_memory_is_short() {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(4 << 20))).build_arc().unwrap();
    let database = Database::with(SessionOptions { target_partitions: 2, runtime, ..SessionOptions::default() });
    let query = "let m = materialize(range x from 1 to 1000000 step 1); union (m | summarize s = sum(x)), (m | where x > 5 | summarize s = count()) | sort by s asc";
    assert_eq!(database.rows(query).await, ["999995", "500000500000"]);
}

#[tokio::test]
async fn what_cannot_go_to_disk_ends_with_an_error_when_memory_is_short() {
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(4 << 20))).build_arc().unwrap();
    let database = Database::with(SessionOptions { target_partitions: 2, runtime, ..SessionOptions::default() });
    for query in [
        "range x from 1 to 3000000 step 1 | extend n = next(x, 2000000) | summarize max(n)",
        "range x from 1 to 3000000 step 1 | extend n = prev(x, 2000000) | summarize max(n)",
        "range x from 1 to 3000000 step 1 | join (range y from 1 to 2 step 1 | extend x = y) on x | count",
        "range x from 1 to 3000000 step 1 | sample 2000000 | summarize max(x)",
    ] {
        let planned = database.plan(query).await.unwrap();
        let plan = execution_plan(&database.session, &planned.results[0].plan).await.unwrap();
        let outcome = datafusion::physical_plan::collect(plan, database.session.task_ctx()).await;
        let error = outcome.expect_err(query).to_string();
        assert!(error.contains("Resources exhausted"), "{error}");
    }
}

#[tokio::test]
async fn long_runs_give_way_to_cancellation() {
    let database = Database::new();
    for query in [
        "range x from 1 to 100000000000 step 1 | extend r = row_number() | summarize max(r)",
        "range x from 1 to 100000000000 step 1 | extend d = pack_array(x, x) | mv-expand d | count",
        "range x from 1 to 100000000000 step 1 | parse tostring(x) with 'x' y | where y == 'never' | count",
        "let m = materialize(range x from 1 to 100000000000 step 1 | where x < 0); m | count",
    ] {
        let planned = database.plan(query).await.unwrap();
        let plan = execution_plan(&database.session, &planned.results[0].plan).await.unwrap();
        let mut rows = datafusion::physical_plan::execute_stream(plan, database.session.task_ctx()).unwrap();
        let start = Instant::now();
        let outcome = tokio::time::timeout(Duration::from_millis(300), rows.next()).await;
        assert!(outcome.is_err() && start.elapsed() < Duration::from_secs(5), "{query}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn patterns_that_do_not_compile_are_mistakes_of_the_query() {
    let database = Database::new();
    for query in [
        "print s = 'a' | parse kind=regex s with '(' x",
        "print s = 'a' | parse-kv s as (a: long) with (regex = '(a)')",
        "print x = toscalar(print s = 'a' | parse kind=regex s with '(' x | project x)",
    ] {
        match database.plan(query).await {
            Err(PlanError::Diagnostics { diagnostics, .. }) => assert_eq!(diagnostics[0].code, "SEM0420", "{query}"),
            other => panic!("{query}: {other:?}"),
        }
    }
}
