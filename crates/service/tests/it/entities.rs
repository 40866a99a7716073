//! External data over HTTP, entities after a restart, and materialized views in parts.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidewater_service::{CommandAnswer, Context, Error, Service, ServiceOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(8 << 20).enable_all().build().unwrap()
}

async fn query(service: &Service, text: &str) -> Result<Vec<RecordBatch>, Error> {
    let mut answer = service.query(Context::new("NetDefaultDB"), text).await?;
    answer.results.remove(0).collect().await
}

async fn command(service: &Service, text: &str) {
    match service.command(Context::new("NetDefaultDB"), text).await {
        Ok(CommandAnswer::Table(table)) => drop(table.collect().await.unwrap()),
        Ok(CommandAnswer::Query(_)) => {}
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The only number of a result.
async fn number(service: &Service, text: &str) -> i64 {
    let batches = query(service, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).expect("a row");
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

/// All rows as texts, sorted.
async fn rows(service: &Service, text: &str) -> Vec<String> {
    let batches = query(service, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column.as_ref() as &dyn Array, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join(" | "));
        }
    }
    rows.sort();
    rows
}

/// Serves fixed answers by path on a port of its own; gives the port.
async fn serve(answers: Vec<(&'static str, Vec<u8>)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut buffer = [0; 1024];
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                let text = String::from_utf8_lossy(&head);
                let path = text.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_string();
                let answer = answers.iter().find(|(known, _)| *known == path);
                let answer = answer.map_or_else(
                    || b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
                    |(_, answer)| answer.clone(),
                );
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}

fn open(folder: &Path, urls: Vec<String>) -> Service {
    let options = ServiceOptions { memory_bytes: 1 << 30, external_urls: urls, ..ServiceOptions::default() };
    Service::open(folder, options).unwrap()
}

#[test]
fn files_are_read_over_http_where_policy_allows_and_nowhere_else() {
    runtime().block_on(async {
        let parquet = std::fs::read("../../samples/Airports.parquet").unwrap();
        let other = serve(vec![("/x.csv", ok(b"secret\n"))]).await;
        let mut broken = ok(b"1,a\n2,b\n");
        let at = broken.windows(1).position(|byte| byte == b"8").unwrap();
        broken[at] = b'9';
        let port = serve(vec![
            ("/data/a.csv", ok(b"n,s\n1,a\n2,b\n")),
            ("/data/b.json", ok(b"{\"n\":5}\n{\"n\":6}\n")),
            ("/data/p.parquet", ok(&parquet)),
            ("/data/inside", moved("/data/a.csv")),
            ("/data/outside", moved(&format!("http://127.0.0.1:{other}/x.csv"))),
            ("/data/broken.csv", broken),
            ("/elsewhere.csv", ok(b"secret\n")),
        ])
        .await;
        let base = format!("http://127.0.0.1:{port}");
        let folder = tempfile::tempdir().unwrap();
        let service = open(folder.path(), vec![format!("{base}/data/")]);
        let csv = format!("externaldata(n: long, s: string) ['{base}/data/a.csv?sig=1'] with (ignoreFirstRecord=true)");
        assert_eq!(rows(&service, &csv).await, ["1 | a", "2 | b"]);
        let both =
            format!("externaldata(n: long) ['{base}/data/b.json', '{base}/data/a.csv'] with (format=json) | count");
        assert!(query(&service, &both).await.is_err(), "a CSV file is no JSON");
        assert_eq!(
            number(&service, &format!("externaldata(n: long) ['{base}/data/b.json'] | summarize sum(n)")).await,
            11
        );
        let count =
            number(&service, &format!("externaldata(AirportCode: string) ['{base}/data/p.parquet'] | count")).await;
        assert!(count > 0);
        let inside = format!("externaldata(n: long, s: string) ['{base}/data/inside'] with (format=csv) | count");
        assert_eq!(number(&service, &inside).await, 3);
        for refused in ["/data/outside", "/elsewhere.csv", "/data/../elsewhere.csv"] {
            let text = format!("externaldata(x: string) ['{base}{refused}'] with (format=csv)");
            let error = query(&service, &text).await.unwrap_err();
            assert_eq!(error.code(), "Forbidden", "{refused}: {error}");
            assert!(error.message().contains("external_urls"), "{error}");
        }
        let missing = query(&service, &format!("externaldata(x: string) ['{base}/data/none.csv?sig=s3cret']")).await;
        let message = missing.unwrap_err().message().to_string();
        assert!(message.contains("404") && !message.contains("s3cret"), "{message}");
        let error = query(&service, &format!("externaldata(n: long) ['{base}/data/broken.csv']")).await.unwrap_err();
        assert!(!error.message().is_empty(), "a body that breaks off is an error");
        let closed = tempfile::tempdir().unwrap();
        let error = query(&open(closed.path(), vec![]), &csv).await.unwrap_err();
        assert_eq!(error.code(), "Forbidden");
    });
}

#[test]
fn web_services_are_called_where_policy_allows_and_nowhere_else() {
    runtime().block_on(async {
        let json = |body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .into_bytes()
        };
        let other = serve(vec![("/x", ok(b"secret"))]).await;
        let port = serve(vec![
            ("/api/items", json(r#"{"Items": [{"n": 1}, {"n": 2}]}"#)),
            ("/api/text", ok(b"plain \"text\"")),
            ("/api/broken", json("{")),
            ("/api/outside", moved(&format!("http://127.0.0.1:{other}/x"))),
            ("/elsewhere", ok(b"secret")),
        ])
        .await;
        let base = format!("http://127.0.0.1:{port}");
        let folder = tempfile::tempdir().unwrap();
        let service = open(folder.path(), vec![format!("{base}/api/")]);
        for plugin in ["http_request", "http_request_post"] {
            let items = format!(
                "evaluate {plugin}('{base}/api/items?key=s3cret', dynamic({{'x-a': 'b'}})) | mv-expand item = ResponseBody.Items | project tolong(item.n)"
            );
            assert_eq!(rows(&service, &items).await, ["1", "2"]);
        }
        let header = format!("evaluate http_request('{base}/api/items') | project tostring(ResponseHeaders['content-type'])");
        assert_eq!(rows(&service, &header).await, ["application/json; charset=utf-8"]);
        let text = format!("evaluate http_request('{base}/api/text') | project tostring(ResponseBody)");
        assert_eq!(rows(&service, &text).await, ["plain \"text\""]);
        let broken = format!("evaluate http_request('{base}/api/broken') | project tostring(ResponseBody)");
        assert_eq!(rows(&service, &broken).await, ["{"], "what is no JSON is given as it is");
        for refused in ["/api/outside", "/elsewhere", "/api/../elsewhere"] {
            let error = query(&service, &format!("evaluate http_request('{base}{refused}')")).await.unwrap_err();
            assert_eq!(error.code(), "Forbidden", "{refused}: {error}");
        }
        let missing = query(&service, &format!("evaluate http_request('{base}/api/none?sig=s3cret')")).await;
        let message = missing.unwrap_err().message().to_string();
        assert!(message.contains("404") && !message.contains("s3cret"), "{message}");
        let signed_in = format!("evaluate http_request('{base}/api/items', dynamic({{'Authorization': 'bearer x'}}))");
        assert!(query(&service, &signed_in).await.is_err(), "nobody signs in without encryption");
    });
}

#[test]
fn entities_survive_a_restart() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        {
            let service = open(folder.path(), vec![]);
            command(&service, ".set T <| range x from 1 to 10 step 1").await;
            command(&service, ".create function with (view=true) F() { T | where x > 8 }").await;
            command(&service, ".set stored_query_result R <| T | where x <= 3").await;
            command(&service, ".create entity_group G (database('NetDefaultDB'))").await;
            command(&service, ".create external table E (x: long) kind=storage dataformat=csv ('/nowhere/x.csv')").await;
            command(&service, ".create async materialized-view with (backfill=true) V on table T { T | summarize count() by k = x % 2 }").await;
            let model = r#"{"Definition": {"Steps": [{"Kind": "AddEdges", "Query": "T | project a = tostring(x), b = tostring(x + 1)", "SourceColumn": "a", "TargetColumn": "b"}]}}"#;
            command(&service, &format!(".create-or-alter graph_model M ```{model}```")).await;
            command(&service, ".make graph_snapshot S from M").await;
            service.materialize_view("NetDefaultDB", "V").await.unwrap();
            command(&service, ".append T <| print x = 11").await;
            service.shut_down();
        }
        // The upkeep may still hold the store for a moment.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let service = open(folder.path(), vec![]);
        assert_eq!(rows(&service, "V").await, ["0 | 5", "1 | 6"]);
        assert_eq!(number(&service, "stored_query_result('R') | count").await, 3);
        assert_eq!(number(&service, "F | count").await, 3);
        assert_eq!(number(&service, "T | where cursor_after('') | count").await, 11);
        for (text, count) in [
            (".show entity_groups | count", 1),
            (".show external tables | count", 1),
            (".show graph_snapshots M | count", 1),
            (".show materialized-views | count", 1),
            (".show tables | count", 1),
        ] {
            let answer = service.command(Context::new("NetDefaultDB"), text).await.unwrap();
            let CommandAnswer::Query(mut answer) = answer else { panic!("{text} has a pipe") };
            let batches = answer.results.remove(0).collect().await.unwrap();
            assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), count, "{text}");
        }
    });
}

#[test]
fn a_view_in_parts_is_its_query_over_everything() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = open(folder.path(), vec![]);
        command(&service, ".create table T (k: string, n: long, r: real, t: datetime, s: timespan, d: dynamic)").await;
        let query_text = "T | where n != 13 | summarize c = count(), ci = countif(n > 5), sum(n), sum(r), mi = min(n), ma = max(t), \
             a = avg(n), b = avg(s), ai = avgif(r, n > 5), dc = dcount(n), di = dcountif(n, n > 5), \
             (when, what) = arg_max(t, n), bag = make_bag(d) by k, bucket = n % 3";
        command(
            &service,
            &format!(".create async materialized-view with (backfill=true) V on table T {{ {query_text} }}"),
        )
        .await;
        let columns = "k, bucket, c, ci, sum_n, sum_r = round(sum_r, 6), mi, ma, a = round(a, 6), b, ai = round(ai, 6), dc, di, \
             when, what, keys = array_length(bag_keys(bag))";
        for round in 0..12i64 {
            let from = round * 7;
            command(
                &service,
                &format!(
                    ".append T <| range n from {from} to {from} + 9 step 1 | project k = iff(n % 4 == 0, 'x', 'y'), n, r = n / 4.0, \
                     t = datetime(2020-01-01) + n * 1h, s = n * 1s, d = bag_pack(tostring(n), n)"
                ),
            )
            .await;
            if round % 2 == 0 {
                service.materialize_view("NetDefaultDB", "V").await.unwrap();
            }
            let whole = rows(&service, &format!("{query_text} | project {columns}")).await;
            let parts = rows(&service, &format!("V | project {columns}")).await;
            assert_eq!(parts, whole, "round {round}");
        }
        service.materialize_view("NetDefaultDB", "V").await.unwrap();
        let before = rows(&service, &format!("V | project {columns}")).await;
        assert_eq!(rows(&service, &format!("materialized_view('V') | project {columns}")).await, before);
        // What is materialized stays when its source goes.
        command(&service, ".clear table T data").await;
        assert_eq!(rows(&service, &format!("V | project {columns}")).await, before);
    });
}

#[test]
fn ingestion_times_and_cursors_of_rows_survive_a_merge() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = open(folder.path(), vec![]);
        command(&service, ".set T <| print x = 1").await;
        let cursor = query(&service, "print c = cursor_current()").await.unwrap();
        let cursor = cursor[0].column(0).as_string_view().value(0).to_string();
        for x in 2..6 {
            command(&service, &format!(".append T <| print x = {x}")).await;
        }
        let times = rows(&service, "T | project x, t = ingestion_time()").await;
        let later = format!("T | where cursor_after('{cursor}') | summarize sum(x)");
        assert_eq!(number(&service, &later).await, 14);
        let table = service.store().snapshot().table("NetDefaultDB", "T").unwrap().id();
        let report = service.store().merge_table(table).await.unwrap();
        assert_eq!(report.created.len(), 1);
        assert_eq!(number(&service, "T | summarize dcount(extent_id())").await, 1);
        assert_eq!(rows(&service, "T | project x, t = ingestion_time()").await, times);
        assert_eq!(number(&service, &later).await, 14);
        let before = format!("T | where cursor_before_or_at('{cursor}') | summarize sum(x)");
        assert_eq!(number(&service, &before).await, 1);
        // A second merge keeps what the first has written down.
        command(&service, ".append T <| print x = 6").await;
        service.store().merge_table(table).await.unwrap();
        assert_eq!(number(&service, &later).await, 20);
        assert_eq!(number(&service, "T | summarize sum(x)").await, 21);
    });
}
