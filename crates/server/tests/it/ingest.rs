//! Data into tables over HTTP: streaming ingestion and the commands, good data and bad.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{Server, names, start, start_with};

async fn send(server: &Server, path: &str, body: impl Into<reqwest::Body>, gzip: bool) -> (u16, Value) {
    let mut request = server.client.post(format!("{}/v1/rest/ingest/{path}", server.url)).body(body);
    if gzip {
        request = request.header("content-encoding", "gzip");
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

async fn row_count(server: &Server, table: &str) -> i64 {
    server.rows(&format!(".show table {table} details")).await[0][7].as_i64().unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_data_is_visible_when_the_answer_comes() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    let (status, answer) = send(&server, "NetDefaultDB/T?streamFormat=Csv", "1,x\n2,\"y,z\"\n", false).await;
    assert_eq!(status, 200);
    assert_eq!(names(&answer["Tables"][0])[0], "ConsumedRecordsCount");
    assert_eq!(answer["Tables"][0]["Rows"][0][0], 2);
    let (status, _) = send(&server, "netdefaultdb/T?streamFormat=csv", gzip("3,z\n"), true).await;
    assert_eq!(status, 200);
    let json = "{\"a\":4,\"b\":\"w\"}\n{\"b\":\"only\"}\n";
    let (status, _) = send(&server, "NetDefaultDB/T?streamFormat=MultiJson", json, false).await;
    assert_eq!(status, 200);
    assert_eq!(row_count(&server, "T").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_leaves_nothing_behind() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    let text: String = (0..50_000).map(|n| format!("{n},value {n}\n")).collect();
    let packed = gzip(&text);
    let (status, answer) =
        send(&server, "NetDefaultDB/T?streamFormat=csv", packed[..packed.len() / 2].to_vec(), true).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(answer["error"]["@permanent"], true);
    assert!(answer["error"]["@message"].as_str().unwrap().contains("truncated"), "{answer}");
    let mut invalid = b"1,good\n2,".to_vec();
    invalid.extend_from_slice(b"\xff\xfe\n");
    let (status, answer) = send(&server, "NetDefaultDB/T?streamFormat=csv", invalid, false).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = send(&server, "NetDefaultDB/T?streamFormat=json", "{\"a\":1}\n{\"a\":", false).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(row_count(&server, "T").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_become_null_and_are_counted() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    let request = server.client.post(format!("{}/v1/rest/ingest/NetDefaultDB/T?streamFormat=csv", server.url));
    let response = request.body("x,1\n2,2\n").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-tidewater-rejected-values"], "1");
    assert_eq!(row_count(&server, "T").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_places_and_formats_are_permanent_errors() {
    let server = start().await;
    server.command(".create table T (a: long)").await;
    for (path, code) in [
        ("NetDefaultDB/X?streamFormat=csv", "BadRequest_EntityNotFound"),
        ("Nope/T?streamFormat=csv", "BadRequest_DatabaseNotExist"),
        ("NetDefaultDB/T?streamFormat=docx", "BadRequest_FormatNotSupported"),
        ("NetDefaultDB/T?streamFormat=orc", "BadRequest_InvalidBlob"),
        ("NetDefaultDB/T?streamFormat=csv&mappingName=m", "BadRequest_MappingReferenceWasNotFound"),
        ("NetDefaultDB/T?streamFormat=csv&sourceKind=uri", "General_BadRequest"),
    ] {
        let (status, answer) = send(&server, path, "1\n", false).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &Value::from(code)), "{path}");
        assert_eq!(answer["error"]["@permanent"], true);
    }
    assert_eq!(row_count(&server, "T").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_wait_in_a_file_and_the_limit_holds() {
    let server = start_with(|config| config.max_ingest_body_bytes = 20_000_000).await;
    server.command(".create table T (a: long, b: string)").await;
    let line = format!("7,{}\n", "x".repeat(1000));
    let (status, answer) = send(&server, "NetDefaultDB/T?streamFormat=csv", line.repeat(8_000), false).await;
    assert_eq!((status, &answer["Tables"][0]["Rows"][0][0]), (200, &json!(8_000)));
    let (status, answer) = send(&server, "NetDefaultDB/T?streamFormat=csv", line.repeat(25_000), false).await;
    assert_eq!(status, 413, "{answer}");
    assert_eq!(row_count(&server, "T").await, 8_000);
    let left = std::fs::read_dir(server.app.service().store().root().join("tmp")).unwrap();
    let uploads = left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("upload"));
    assert_eq!(uploads.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_from_the_data_on_demand() {
    let server = start().await;
    let csv = "Name,Age,When\nann,7,2020-01-02\nbob,8,2020-01-03\n";
    let path = "NetDefaultDB/People?streamFormat=csv&createTable=true&ignoreFirstRecord=auto";
    let (status, answer) = send(&server, path, csv, false).await;
    assert_eq!((status, &answer["Tables"][0]["Rows"][0][0]), (200, &json!(2)), "{answer}");
    let schema = server.rows(".show table People cslschema").await;
    assert_eq!(schema[0][1], "Name:string,Age:long,When:datetime");
    // The second file finds the table, and its header is seen all the same.
    let (status, answer) = send(&server, path, csv, false).await;
    assert_eq!((status, &answer["Tables"][0]["Rows"][0][0]), (200, &json!(2)), "{answer}");
    assert_eq!(row_count(&server, "People").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_inline_takes_rows_tags_and_formats() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    let table = server.command(".ingest inline into table T <| 1,one\n2,two").await;
    assert_eq!(names(&table), ["ExtentId", "ItemLoaded", "Duration", "HasErrors", "OperationId"]);
    assert_eq!(table["Rows"][0][3], false);
    let once = ".ingest inline into table T with (tags='[\"ingest-by:x\"]', ingestIfNotExists='[\"x\"]') <| 3,three";
    server.command(once).await;
    server.command(once).await;
    assert_eq!(row_count(&server, "T").await, 3);
    server.command(".ingest inline into table T with (format='json') <| {\"b\":\"j\",\"a\":9}").await;
    assert_eq!(row_count(&server, "T").await, 4);
    let tagged = server.rows(".show table T extents where tags has 'ingest-by:x'").await;
    assert_eq!(tagged.len(), 1);
    assert_eq!(server.refusal(".ingest inline into table X <| 1").await["code"], "BadRequest_EntityNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_from_allowed_directories_only() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("a.csv"), "1,x\n2,y\n").unwrap();
    std::fs::write(files.path().join("b.json.gz"), gzip("{\"a\":3,\"b\":\"z\"}\n")).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let allowed = files.path().to_path_buf();
    let server = start_with(|config| config.ingest_directories = vec![allowed]).await;
    server.command(".create table T (a: long, b: string)").await;
    let path = |name: &str| files.path().join(name).display().to_string();
    server.command(&format!(".ingest into table T (@'{}', @'{}')", path("a.csv"), path("b.json.gz"))).await;
    assert_eq!(row_count(&server, "T").await, 3);
    for bad in
        [outside.path().display().to_string(), path("missing.csv"), path("../../etc/passwd"), "/etc/passwd".into()]
    {
        let body = json!({"csl": format!(".ingest into table T (@'{bad}')")});
        assert_eq!(server.post("/v1/rest/mgmt", &body).await.0, 403, "{bad}");
    }
    let body = json!({"csl": ".ingest into table T ('https://example.com/x.csv')"});
    let (status, refusal) = server.post("/v1/rest/mgmt", &body).await;
    assert_eq!(status, 403);
    assert!(refusal["error"]["@message"].as_str().unwrap().contains("external_urls"));
    assert_eq!(row_count(&server, "T").await, 3);
}
