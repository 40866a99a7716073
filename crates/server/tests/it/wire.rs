//! Requests and answers over HTTP: forms, headers, statuses, compression, limits.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{start, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_the_callers_id_and_an_activity() {
    let server = start().await;
    let url = format!("{}/v1/rest/mgmt", server.url);
    let body = json!({"csl": ".show version"});
    let request = server.client.post(&url).header("x-ms-client-request-id", "KPC.execute;abc").json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-ms-client-request-id"], "KPC.execute;abc");
    assert_eq!(response.headers()["content-type"], "application/json; charset=UTF-8");
    let first = response.headers()["x-ms-activity-id"].clone();
    let response = server.client.post(&url).json(&body).send().await.unwrap();
    assert_ne!(response.headers()["x-ms-activity-id"], first);
    assert!(response.headers()["x-ms-client-request-id"].to_str().unwrap().starts_with("unspecified;"));
    let response = server.client.post(&url).header("x-ms-client-request-id", "err").body("{").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-ms-client-request-id"]),
        (400, &"err".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_may_be_text_or_object_and_carry_the_request_id() {
    let server = start().await;
    let inner = json!({"options": {"servertimeout": "0:04:00"}, "ClientRequestId": "from body"});
    for properties in [inner.clone(), Value::from(inner.to_string())] {
        let body = json!({"db": "NetDefaultDB", "csl": "\n  .show version", "properties": properties, "ns": "x"});
        let response = server.client.post(format!("{}/v1/rest/mgmt", server.url)).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-ms-client-request-id"], "from body");
    }
    let body = json!({"csl": ".show version", "properties": {"Options": {"servertimeout": "whenever"}}});
    let (status, answer) = server.post("/v1/rest/mgmt", &body).await;
    assert_eq!(status, 400);
    assert!(answer["error"]["@message"].as_str().unwrap().contains("servertimeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_get_error_documents() {
    let server = start().await;
    let detail = |answer: &Value| answer["error"]["@message"].as_str().unwrap_or_default().to_string();
    for (body, expected) in [
        ("", "empty"),
        ("{\"csl\": ", "line 1 column"),
        ("[]", "must be a JSON object"),
        ("{\"db\":\"x\"}", "no member 'csl'"),
        ("{\"csl\":\"  \"}", "'csl') is empty"),
        ("{\"csl\":7}", "must be a string"),
        ("{\"csl\":\".show version\",\"properties\":\"{\"}", "'properties' is not valid JSON"),
        ("{\"csl\":\".show version\",\"properties\":[1]}", "'properties' must be an object"),
    ] {
        let response = server.client.post(format!("{}/v1/rest/mgmt", server.url)).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let answer: Value = response.json().await.unwrap();
        assert!(detail(&answer).contains(expected), "{body}: {answer}");
        assert_eq!(answer["error"]["code"], "General_BadRequest");
        assert_eq!(answer["error"]["@permanent"], true);
    }
    let (status, answer) = server.post("/v1/rest/mgmt", &json!({"db": "nope", "csl": ".show tables"})).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &"BadRequest_DatabaseNotExist".into()));
    let (status, answer) = server.post("/v1/rest/mgmt", &json!({"csl": "print 1"})).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = server.post("/v2/rest/query", &json!({"csl": ".show tables"})).await;
    assert_eq!(status, 400);
    assert!(answer.as_str().unwrap().contains("do not support api_version v2"));
    let (status, _) = server.post("/v1/rest/query", &json!({"csl": ".show databases schema"})).await;
    assert_eq!(status, 200, "Grafana sends commands here");
    let promql = json!({"csl": "up", "properties": {"Options": {"query_language": "promql"}}});
    let (status, answer) = server.post("/v2/rest/query", &promql).await;
    assert_eq!(status, 400);
    assert!(detail(&answer).contains("query_language"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_above_the_limit_are_413_packed_or_not() {
    let server = start_with(|config| config.max_query_body_bytes = 10_000).await;
    let long = json!({"csl": format!(".show version //{}", "x".repeat(20_000))});
    let (status, answer) = server.post("/v1/rest/mgmt", &long).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer["error"]["message"].as_str().is_some());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(long.to_string().as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 1000);
    let url = format!("{}/v1/rest/mgmt", server.url);
    let request = server.client.post(&url).header("content-encoding", "gzip").body(packed.clone());
    assert_eq!(request.send().await.unwrap().status(), 413);
    let cut = packed[..packed.len() / 2].to_vec();
    let response = server.client.post(&url).header("content-encoding", "gzip").body(cut).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("not valid gzip"));
    let (status, _) = server.post("/v1/rest/mgmt", &json!({"csl": ".show version"})).await;
    assert_eq!(status, 200, "the server lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_packed_when_the_caller_allows_it() {
    let server = start().await;
    for number in 0..30 {
        server.command(&format!(".create table T{number} (a: long, b: string)")).await;
    }
    let body = json!({"db": "NetDefaultDB", "csl": ".show tables details"});
    let mut texts = Vec::new();
    for (accept, expected) in [("gzip,deflate", Some("gzip")), ("deflate", Some("deflate")), ("identity", None)] {
        let request = server.client.post(format!("{}/v1/rest/mgmt", server.url)).header("accept-encoding", accept);
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.headers().get("content-encoding").map(|value| value.to_str().unwrap()), expected);
        let bytes = response.bytes().await.unwrap();
        let mut text = String::new();
        match expected {
            Some("gzip") => GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            Some(_) => ZlibDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            None => Read::read_to_string(&mut &bytes[..], &mut text).unwrap(),
        };
        texts.push(serde_json::from_str::<Value>(&text).unwrap());
    }
    assert_eq!(texts[0], texts[2]);
    assert_eq!(texts[1], texts[2]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.to_string().as_bytes()).unwrap();
    let request = server.client.post(format!("{}/v1/rest/mgmt", server.url)).header("content-encoding", "gzip");
    let response = request.body(encoder.finish().unwrap()).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_reads_but_does_not_write() {
    let server = start().await;
    let get = |query: &str| server.client.get(format!("{}/v1/rest/query?{query}", server.url)).send();
    let response = get("db=NetDefaultDB&csl=.show%20version").await.unwrap();
    assert_eq!(response.status(), 200);
    let response = get("csl=.create+table+T(a:long)").await.unwrap();
    assert_eq!(response.status(), 403);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "Forbidden");
    assert_eq!(get("db=x").await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_requests_cannot_write() {
    let server = start().await;
    for options in [json!({"request_readonly": true}), json!({"request_readonly_hardline": true})] {
        let body = json!({"csl": ".create table T(a:long)", "properties": {"Options": options}});
        assert_eq!(server.post("/v1/rest/mgmt", &body).await.0, 403);
        let body = json!({"csl": ".show tables", "properties": {"Options": options}});
        assert_eq!(server.post("/v1/rest/mgmt", &body).await.0, 200);
    }
    let url = format!("{}/v1/rest/mgmt", server.url);
    let body = json!({"csl": ".create table T(a:long)"});
    let response = server.client.post(url).header("x-ms-readonly", "true").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_call_and_read_the_ids() {
    let server = start().await;
    const UI: &str = "https://dataexplorer.azure.com";
    for path in ["/v1/rest/query", "/v2/rest/query", "/v1/rest/mgmt", "/v1/rest/auth/metadata"] {
        let request = server.client.request(reqwest::Method::OPTIONS, format!("{}{path}", server.url));
        let request = request
            .header("origin", UI)
            .header("access-control-request-method", "POST")
            .header("access-control-request-private-network", "true")
            .header("access-control-request-headers", "authorization, content-type, x-ms-client-request-id");
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}");
        let allowed = response.headers()["access-control-allow-headers"].to_str().unwrap().to_string();
        assert!(allowed.contains("authorization") && allowed.contains("x-ms-client-request-id"), "{allowed}");
        assert_eq!(response.headers()["access-control-allow-origin"], UI);
        assert_eq!(response.headers()["access-control-allow-private-network"], "true");
    }
    let request = server.client.post(format!("{}/v1/rest/mgmt", server.url)).header("origin", UI);
    let response = request.json(&json!({"csl": ".show version"})).send().await.unwrap();
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("x-ms-activity-id") && exposed.contains("x-ms-client-request-id"));
    // A preflight from elsewhere gets no leave, and the request itself is refused.
    let request = server.client.request(reqwest::Method::OPTIONS, format!("{}/v1/rest/mgmt", server.url));
    let request = request
        .header("origin", "http://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-private-network", "true");
    let response = request.send().await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    assert!(!response.headers().contains_key("access-control-allow-private-network"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_the_servers_are_refused() {
    let server = start_with(|config| config.host_names = vec!["kusto.example".into()]).await;
    let port = server.url.rsplit_once(':').unwrap().1.to_string();
    for (host, expected) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("[::1]".to_string(), 200),
        (format!("kusto.example:{port}"), 200),
        ("evil.example".to_string(), 403),
        (format!("localhost.evil.example:{port}"), 403),
    ] {
        let request = server.client.post(format!("{}/v1/rest/query", server.url)).header("host", &host);
        let response = request.json(&json!({"csl": "print 1"})).send().await.unwrap();
        assert_eq!(response.status(), expected, "{host}");
        // A page under a rebound name is of the same origin as what it asks.
        let request = server.client.post(format!("{}/v1/rest/query", server.url)).header("host", &host);
        let response = request.header("origin", format!("http://{host}")).json(&json!({"csl": "print 1"}));
        assert_eq!(response.send().await.unwrap().status(), expected, "{host}");
    }
    let probe = server.client.get(format!("{}/v1/rest/ping", server.url)).header("host", "probe.example");
    assert_eq!(probe.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_can_name_the_origins_that_may_call() {
    let server = start_with(|config| config.cors_origins = vec!["http://ui.example".into()]).await;
    let own = server.url.clone();
    for (origin, expected) in
        [("http://ui.example", 200), (own.as_str(), 200), ("http://evil.example", 403), ("null", 403)]
    {
        let request = server.client.post(format!("{}/v1/rest/mgmt", server.url)).header("origin", origin);
        let response = request.json(&json!({"csl": ".show version"})).send().await.unwrap();
        assert_eq!(response.status(), expected, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_endpoints_answer() {
    let server = start().await;
    let get = async |path: &str| {
        let response = server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, body) = get("/v1/rest/auth/metadata").await;
    assert_eq!(status, 200);
    let metadata: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(metadata["AzureAD"].as_object().unwrap().len(), 6);
    assert!(get("/v1/rest/ping").await.1.starts_with("Pong!"));
    assert_eq!(get("/healthz").await.0, 200);
    assert!(get("/metrics").await.1.contains("tidewater_http_requests_total"));
    let (status, body) = get("/v1/rest/nothing").await;
    assert_eq!(status, 404);
    assert!(serde_json::from_str::<Value>(&body).unwrap()["error"]["message"].is_string());
    assert_eq!(get("/v1/rest/mgmt").await.0, 405);
}

/// Raw bytes, for what no client library sends.
async fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_slow_headers_are_not_waited_for() {
    let server = start_with(|config| config.header_timeout_seconds = 1).await;
    let address = server.url.strip_prefix("http://").unwrap().to_string();
    let request = "GET /v1/rest/ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /v1/rest/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(&address, format!("{request}{request}{last}").as_bytes()).await;
    assert_eq!(answer.matches("Pong!").count(), 3, "{answer}");
    let began = std::time::Instant::now();
    let answer = raw(&address, b"GET /v1/rest/ping HTTP/1.1\r\nHo").await;
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{answer}");
    let body = br#"{"csl":".show version"}"#;
    let head = format!(
        "POST /v1/rest/mgmt HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(&address, &[head.as_bytes(), body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 100") && answer.contains("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_at_once_are_served() {
    let server = start().await;
    let url = format!("{}/v1/rest/mgmt", server.url);
    let calls = (0..100).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            client.post(url).json(&json!({"csl": ".show version"})).send().await.unwrap().status().as_u16()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn other_machines_are_let_in_only_on_demand() {
    use tidewater_server::{Config, cli};
    let directory = tempfile::tempdir().unwrap();
    let config = Config { listen: "0.0.0.0:0".into(), data_dir: directory.path().into(), ..Config::default() };
    let refused = cli::start(config.clone(), tokio::runtime::Handle::current()).await;
    assert!(refused.err().unwrap().contains("--insecure"));
    let config = Config { insecure: true, ..config };
    assert!(cli::start(config, tokio::runtime::Handle::current()).await.is_ok());
}
