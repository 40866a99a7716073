//! T-SQL over HTTP: how it is asked for, both versions of the answer, and texts that mean harm.

use serde_json::{Value, json};

use crate::support::{Server, start};

async fn sql(server: &Server, path: &str, text: &str) -> (u16, Value) {
    let body = json!({"db": "NetDefaultDB", "csl": text, "properties": {"Options": {"query_language": "sql"}}});
    server.post(path, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_answered_in_both_versions() {
    let server = start().await;
    server.command(".create table T (a: long, b: string)").await;
    server.command(".ingest inline into table T <| 1,one\n2,two\n3,three").await;
    let text = "SELECT TOP (2) b, COUNT(*) OVER_ FROM T WHERE a <> 2 GROUP BY b ORDER BY b DESC";
    let (status, answer) = sql(&server, "/v1/rest/query", text).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["Tables"][0]["Rows"], json!([["three", 1], ["one", 1]]));
    let (_, frames) = sql(&server, "/v2/rest/query", text).await;
    assert_eq!(frames[2]["Rows"], json!([["three", 1], ["one", 1]]));
    let (_, answer) = server.post("/v1/rest/query", &json!({"csl": "\n--\nexplain\nSELECT a FROM T"})).await;
    assert_eq!(answer["Tables"][0]["Rows"], json!([["T\n| project a"]]));
    assert_eq!(answer["Tables"][0]["Columns"][0]["ColumnName"], "Query");
    // Clients that always name a language name it for commands too.
    let (status, _) = sql(&server, "/v1/rest/mgmt", ".show tables").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_documents_with_their_place() {
    let server = start().await;
    let (status, answer) = sql(&server, "/v2/rest/query", "SELECT *\nFROM Nowhere").await;
    assert_eq!(status, 400);
    assert_eq!(answer["error"]["innererror"]["@line"], "2");
    assert!(answer["error"]["@message"].as_str().unwrap().contains("Semantic error: SEM0100"), "{answer}");
    let (status, answer) = sql(&server, "/v1/rest/query", "SELECT 1 +").await;
    assert_eq!((status, &answer["error"]["innererror"]["@errorCode"]), (400, &"SYN0002".into()));
    let (status, answer) = sql(&server, "/v1/rest/query", "DELETE FROM T").await;
    assert_eq!(status, 400);
    assert!(answer["error"]["@message"].as_str().unwrap().contains("DELETE FROM"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_long_statements_are_run_or_refused_and_the_server_lives() {
    let server = start().await;
    let numbers = (0..100_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for text in [
        format!("SELECT 1 WHERE {}", vec!["1 = 1"; 3_000].join(" OR ")),
        format!("SELECT {}", vec!["1"; 9_000].join("+")),
        format!("SELECT {}", vec!["1"; 200_000].join("+")),
        format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT {}1", "NOT ".repeat(100_000)),
        format!("SELECT {}1", "-".repeat(100_001)),
        format!("SELECT {}1{}", "CASE WHEN 1 = 1 THEN ".repeat(5_000), " END".repeat(5_000)),
        vec!["SELECT 1"; 5_000].join(" UNION ALL "),
        format!("SELECT 1 WHERE 1 IN ({numbers})"),
        format!("SELECT * FROM {}T{}", "(SELECT * FROM ".repeat(5_000), ") AS x".repeat(5_000)),
        "SELECT '".to_string() + &"x".repeat(2_000_000),
        "SELECT [".to_string(),
        "SELECT 1 AS [a]]b], '\u{0}\u{1}' AS \"c\"\"d\"".to_string(),
        ";;;".to_string(),
        "explain".to_string(),
        "DECLARE @__kql_set_ INT = 1; SELECT 1".to_string(),
        "SELECT TOP 99999999999999999999 1".to_string(),
        "SELECT 1 ORDER BY 0".to_string(),
        "SELECT * FROM T ORDER BY 99999999999999999999999".to_string(),
        "SELECT 1 OFFSET -1 ROWS".to_string(),
        "SELECT LEFT('x', -5), SUBSTRING('x', -9223372036854775808, 9223372036854775807)".to_string(),
    ] {
        let (status, answer) = sql(&server, "/v1/rest/query", &text).await;
        let shown: String = answer.to_string().chars().take(300).collect();
        assert!(status == 200 || status == 400, "{status}: {}: {shown}", text.chars().take(60).collect::<String>());
    }
    let (_, answer) = sql(&server, "/v1/rest/query", "SELECT 1 AS one").await;
    assert_eq!(answer["Tables"][0]["Rows"], json!([[1]]));
}
