//! Queries over HTTP: results, parameters, limits, errors, cancellation.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, golden, names, scrubbed, start, start_with};

async fn query(server: &Server, text: &str) -> Value {
    let (status, answer) = server.post("/v1/rest/query", &json!({"db": "NetDefaultDB", "csl": text})).await;
    assert_eq!(status, 200, "{text}: {answer}");
    answer["Tables"][0].clone()
}

async fn with_options(server: &Server, path: &str, text: &str, options: Value) -> (u16, Value) {
    server.post(path, &json!({"db": "NetDefaultDB", "csl": text, "properties": {"Options": options}})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_stored_rows_answers_in_both_versions() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    server.command(".ingest inline into table T <| 1,one\n2,two\n3,three").await;
    let table = query(&server, "T | where a > 1 | project b | order by b asc").await;
    assert_eq!(table["Rows"], json!([["three"], ["two"]]));
    let (status, frames) =
        server.post("/v2/rest/query", &json!({"db": "NetDefaultDB", "csl": "T | take 0; T | count"})).await;
    assert_eq!(status, 200);
    let frames = frames.as_array().unwrap();
    assert_eq!(frames.len(), 6);
    assert_eq!(frames[3]["Rows"], json!([[3]]));
    let (_, frames) = server.post("/v2/rest/query", &json!({"db": "NetDefaultDB", "csl": "T"})).await;
    assert_eq!(frames[2]["TableName"], "T");
    let client = "range c from 1 to 10 step 1 | count";
    assert_eq!(query(&server, client).await["Rows"][0][0], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn piped_commands_are_answered_like_queries() {
    let server = start().await;
    server.command(".create table T (a: long)").await;
    server.command(".create table U (a: long)").await;
    let body = json!({"db": "", "csl": "\n .show tables | where TableName == 'U' | project TableName"});
    let (status, answer) = server.post("/v1/rest/mgmt", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["Tables"].as_array().unwrap().len(), 4);
    assert_eq!(answer["Tables"][0]["Rows"], json!([["U"]]));
    let body = json!({"csl": ".show databases schema | project DatabaseName, TableName, ColumnName, ColumnType | limit 100000"});
    assert_eq!(server.post("/v1/rest/mgmt", &body).await.0, 200);
    let error = server.refusal(".show tables | where Nope == 1").await;
    assert!(error["@message"].as_str().unwrap().contains("[line:position=1:22]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_typed_by_their_declaration() {
    let server = start().await;
    let text = "declare query_parameters(n: long, s: string = 'd', t: datetime = datetime(null)); print n, s, t";
    let body = json!({"csl": text, "properties": {"Parameters": {"n": "5", "t": "datetime(2020-01-02)"}}});
    let (status, answer) = server.post("/v1/rest/query", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["Tables"][0]["Rows"][0], json!([5, "d", "2020-01-02T00:00:00Z"]));
    let (status, _) = server.post("/v1/rest/query", &json!({"csl": text})).await;
    assert_eq!(status, 400, "a parameter without value or default is an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_code_and_place() {
    let server = start().await;
    let error = async |text: &str| {
        let (status, answer) = server.post("/v2/rest/query", &json!({"csl": text})).await;
        assert_eq!(status, 400, "{text}: {answer}");
        answer
    };
    let syntax = error("print 1 |\n whre x").await;
    assert_eq!(syntax["error"]["innererror"]["@type"], "Kusto.Data.Exceptions.SyntaxException");
    assert_eq!(syntax["error"]["innererror"]["@line"], "2");
    let semantic = error("NoSuchTable | take 1").await;
    assert!(semantic["error"]["@message"].as_str().unwrap().contains("Semantic error: SEM0100"));
    golden("errors/unknown_table.json", &format!("{}\n", scrubbed(&semantic.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_truncated_as_the_options_say() {
    let server = start().await;
    let text = "range x from 1 to 10 step 1";
    let (_, frames) = with_options(&server, "/v2/rest/query", text, json!({"truncationmaxrecords": 3})).await;
    let rows = frames[2]["Rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3]["OneApiErrors"][0]["error"]["code"], "LimitsExceeded");
    let (_, frames) = with_options(&server, "/v2/rest/query", text, json!({"query_take_max_records": 3})).await;
    assert_eq!(frames[2]["Rows"], json!([[1], [2], [3]]));
    let set = format!("set truncationmaxrecords=2; {text}");
    let (_, answer) = with_options(&server, "/v1/rest/query", &set, json!({"truncationmaxrecords": "5"})).await;
    assert_eq!(answer["Tables"][0]["Rows"].as_array().unwrap().len(), 3);
    let long = "range x from 1 to 600000 step 1";
    let (_, frames) = with_options(&server, "/v2/rest/query", long, json!({})).await;
    assert_eq!(frames[2]["Rows"].as_array().unwrap().len(), 500_001);
    let (_, frames) = with_options(&server, "/v2/rest/query", &format!("set notruncation; {long}"), json!({})).await;
    assert_eq!(frames[2]["Rows"].as_array().unwrap().len(), 600_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_long_texts_are_refused_or_run_and_the_server_lives() {
    let server = start().await;
    for text in [
        format!("print {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("print x = 1 | where {}", vec!["x == 1"; 100_000].join(" or ")),
        format!("print {}1", "-".repeat(100_000)),
        format!("print 1{}", " | where true".repeat(20_000)),
        "(".repeat(100_000),
    ] {
        let (status, answer) = server.post("/v2/rest/query", &json!({"csl": text})).await;
        assert!(
            status == 200 || status == 400,
            "{status}: {}",
            answer.to_string().chars().take(300).collect::<String>()
        );
    }
    assert_eq!(query(&server, "print 1").await["Rows"][0][0], 1);
}

const ENDLESS: &str = "range x from 1 to 100000000000 step 1 | where x % 7 == 8 | count";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_by_its_time_limit() {
    let server = start().await;
    let began = Instant::now();
    let (status, answer) = with_options(&server, "/v2/rest/query", ENDLESS, json!({"servertimeout": "00:00:01"})).await;
    assert_eq!(status, 504, "{answer}");
    assert_eq!(answer["error"]["@permanent"], false);
    assert!(began.elapsed() < Duration::from_secs(8));
    ends(&server).await;
}

/// Waits until nothing runs.
async fn ends(server: &Server) {
    for _ in 0..100 {
        if server.rows(".show running queries").await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a query still runs: {:?}", server.rows(".show running queries").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_its_query() {
    let server = start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let body = json!({"csl": ENDLESS}).to_string();
    let head = format!("POST /v2/rest/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    wait_until_running(&server).await;
    drop(stream);
    ends(&server).await;
    // The same while rows are on their way.
    let body =
        json!({"csl": "range x from 1 to 100000000000 step 1", "properties": {"Options": {"notruncation": true}}});
    let body = body.to_string();
    let head = format!("POST /v2/rest/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    ends(&server).await;
}

async fn wait_until_running(server: &Server) {
    for _ in 0..100 {
        if !server.rows(".show running queries").await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the query never ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_query_stops_by_the_callers_id() {
    let server = start().await;
    let request =
        server.client.post(format!("{}/v2/rest/query", server.url)).header("x-ms-client-request-id", "mine;1");
    let running = tokio::spawn(request.json(&json!({"csl": ENDLESS})).send());
    wait_until_running(&server).await;
    let rows = server.rows(".cancel query \"mine;1\" with (reason=\"enough\")").await;
    assert_eq!(rows[0], json!(["mine;1", true, "enough"]));
    let response = running.await.unwrap().unwrap();
    assert_eq!(response.status(), 400);
    let answer: Value = response.json().await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("enough"), "{answer}");
    ends(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_wait_and_then_get_429() {
    let server = start_with(|config| config.max_concurrent_requests = 1).await;
    let request = server.client.post(format!("{}/v2/rest/query", server.url)).header("x-ms-client-request-id", "long");
    let running = tokio::spawn(request.json(&json!({"csl": ENDLESS})).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (status, answer) =
        with_options(&server, "/v2/rest/query", "print 1", json!({"servertimeout": "00:00:01"})).await;
    assert_eq!((status, &answer["error"]["code"]), (429, &"TooManyRequests".into()));
    assert_eq!(answer["error"]["@permanent"], false);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn data_comes_from_queries_into_tables() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    server.command(".ingest inline into table T <| 1,one\n2,two").await;
    let table = server.command(".set U <| T | project a, twice = a * 2").await;
    assert_eq!(names(&table), ["ExtentId", "OriginalSize", "ExtentSize", "ColumnSize", "IndexSize", "RowCount"]);
    assert_eq!(table["Rows"][0][5], 2);
    assert_eq!(server.refusal(".set U <| T").await["code"], "BadRequest_EntityNameAlreadyExists");
    assert_eq!(server.refusal(".append V <| T").await["code"], "BadRequest_EntityNotFound");
    server.command(".append U <| print 7, 8").await;
    assert_eq!(query(&server, "U | count").await["Rows"][0][0], 3);
    let mismatch = server.refusal(".append U <| print 'x', 8").await;
    assert!(mismatch["@message"].as_str().unwrap().contains("does not match table schema"));
    server.command(".set-or-replace U <| U | where a > 1").await;
    assert_eq!(query(&server, "U | order by a asc").await["Rows"], json!([[2, 4], [7, 8]]));
    server.command(".set-or-append W <| range x from 1 to 1000 step 1").await;
    server.command(".set-or-append W <| range x from 1 to 1000 step 1").await;
    assert_eq!(query(&server, "W | count").await["Rows"][0][0], 2000);
    let place = server.refusal(".set-or-append W <|\n print y |\n whre 1").await;
    assert!(place["@message"].as_str().unwrap().contains("line:position=3:"), "{place}");
    let begun = server.command(".set async X <| print 1").await;
    assert_eq!(names(&begun), ["OperationId"]);
    let id = begun["Rows"][0][0].as_str().unwrap().to_string();
    for _ in 0..100 {
        let rows = server.rows(&format!(".show operations {id}")).await;
        if rows[0][6] == "Completed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(query(&server, "X | count").await["Rows"][0][0], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_functions_are_called_and_described() {
    let server = start().await;
    server.command(".create function F (n: long) { range x from 1 to n step 1 }").await;
    server.command(".create function G () { print a = 1, b = 'x' }").await;
    assert_eq!(query(&server, "F(3) | count").await["Rows"][0][0], 3);
    let rows = server.rows(".show function G schema as json").await;
    let schema: Value = serde_json::from_str(rows[0][1].as_str().unwrap()).unwrap();
    assert_eq!(schema["OutputColumns"][1]["CslType"], "string");
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_may_narrow_the_time_of_every_table() {
    let server = start().await;
    server.command(".create table T (t: datetime, a: long)").await;
    server.command(".ingest inline into table T <| 2020-01-01,1\n2020-02-01,2\n2020-03-01,3").await;
    let options = json!({
        "query_datetimescope_column": "t",
        "query_datetimescope_from": "2020-01-15",
        "query_datetimescope_to": "datetime(2020-02-15)"
    });
    let (_, answer) = with_options(&server, "/v1/rest/query", "T | project a", options).await;
    assert_eq!(answer["Tables"][0]["Rows"], json!([[2]]));
    let (_, answer) = with_options(&server, "/v1/rest/query", "print now()", json!({"query_now": "2001-02-03"})).await;
    assert_eq!(answer["Tables"][0]["Rows"], json!([["2001-02-03T00:00:00Z"]]));
    let getschema = json!({"query_results_apply_getschema": true});
    let (_, answer) = with_options(&server, "/v1/rest/query", "T", getschema).await;
    assert_eq!(answer["Tables"][0]["Rows"][0], json!(["t", 0, "System.DateTime", "datetime"]));
}
