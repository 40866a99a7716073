//! HTTP as clients and hostile ones speak it: raw bytes to a started server. After each, `print 1` answers at once.

use std::io::Write;
use std::time::{Duration, Instant};

use axum::body::Body;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, start, start_with};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Sends bytes and reads until the server closes, or a few seconds are over.
async fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server).await;
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /v1/rest/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn sized(body: &[u8]) -> Vec<u8> {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// The server answers others at once, whatever it was sent.
async fn lives(server: &Server) {
    let began = Instant::now();
    let (status, answer) = server.post("/v1/rest/query", &json!({"csl": "print 1"})).await;
    assert_eq!((status, &answer["Tables"][0]["Rows"][0][0]), (200, &json!(1)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_sized_chunked_or_packed() {
    let server = start().await;
    let body = br#"{"csl":"print 1"}"#;
    assert_eq!(status(&raw(&server, &sized(body)).await), 200);
    let chunked = [b"5\r\n", &body[..5], b"\r\nc\r\n", &body[5..], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(status(&raw(&server, &post("Transfer-Encoding: chunked\r\n", &chunked)).await), 200);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    for out in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
        out.write_all(body).unwrap();
    }
    let packed = [("gzip", gzip.finish()), ("deflate", zlib.finish()), ("deflate", bare.finish())];
    for (coding, packed) in packed {
        let packed = packed.unwrap();
        let headers = format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n", packed.len());
        assert_eq!(status(&raw(&server, &post(&headers, &packed)).await), 200, "{coding}");
    }
    let unknown = post("Content-Encoding: br\r\nContent-Length: 1\r\n", b"x");
    assert_eq!(status(&raw(&server, &unknown).await), 415);
    // Two lengths, or a length beside chunks, are how requests are smuggled past a proxy.
    let two = post("Content-Length: 3\r\nContent-Length: 4\r\n", b"{}{}");
    assert_eq!(status(&raw(&server, &two).await), 400);
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_ask_before_it_sends_its_body() {
    let server = start_with(|config| config.max_query_body_bytes = 1000).await;
    let mut stream = connect(&server).await;
    let head = "POST /v1/rest/query HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 17\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(br#"{"csl":"print 1"}"#).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // A body that would be refused is not asked for.
    let answer = raw(&server, &post("Expect: 100-continue\r\nContent-Length: 5000\r\n", b"")).await;
    assert_eq!(status(&answer), 413, "{answer}");
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_answered_although_all_of_it_is_sent() {
    let server = start_with(|config| config.max_query_body_bytes = 10_000).await;
    let body = vec![b'x'; 20 << 20];
    let answer = raw(&server, &sized(&body)).await;
    assert_eq!(status(&answer), 413, "{answer}");
    let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = raw(&server, &post("Transfer-Encoding: chunked\r\n", &chunked)).await;
    assert_eq!(status(&answer), 413, "{answer}");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..1000 {
        bomb.write_all(&[b' '; 100_000]).unwrap();
    }
    let server = start().await;
    let bomb = bomb.finish().unwrap();
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb.len());
    let answer = raw(&server, &post(&headers, &bomb)).await;
    assert_eq!(status(&answer), 413, "{answer}");
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_are_refused() {
    let server = start().await;
    let many: String = (0..2000).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(status(&raw(&server, &post(&many, b"")).await), 431);
    let long = format!("X-Long: {}\r\n", "y".repeat(4 << 20));
    assert_eq!(status(&raw(&server, &post(&long, b"")).await), 431);
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(&raw(&server, path.as_bytes()).await), 414);
    for nonsense in
        ["\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}", "POST /\r\n: x\r\n\r\n"]
    {
        let answer = raw(&server, format!("{nonsense}{}", "\r\n".repeat(30)).as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{nonsense:?}: {answer}");
    }
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stand_still_are_left() {
    let server = start_with(|config| (config.header_timeout_seconds, config.stall_timeout_seconds) = (1, 1)).await;
    for begun in ["", "G", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b"] {
        let began = Instant::now();
        raw(&server, begun.as_bytes()).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{begun:?} after {:?}", began.elapsed());
    }
    let answer = raw(&server, &post("Content-Length: 100\r\n", b"{")).await;
    assert_eq!(status(&answer), 408, "{answer}");
    // A kept connection that nobody uses is closed as well.
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /v1/rest/ping HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(8), idle.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("Pong!"));
    assert!(began.elapsed() > Duration::from_millis(800));
    // A query that takes longer than any of these is not cut off.
    let long = json!({"csl": "range x from 1 to 100000000000 step 1 | where x % 7 == 8 | count",
        "properties": {"Options": {"servertimeout": "00:00:03"}}});
    assert_eq!(server.post("/v1/rest/query", &long).await.0, 504);
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_ends_its_query() {
    let server = start_with(|config| config.stall_timeout_seconds = 1).await;
    let body =
        json!({"csl": "range x from 1 to 100000000000 step 1", "properties": {"Options": {"notruncation": true}}});
    let mut stream = connect(&server).await;
    stream.write_all(&sized(body.to_string().as_bytes())).await.unwrap();
    let mut some = vec![0; 1000];
    stream.read_exact(&mut some).await.unwrap();
    assert_eq!(server.rows(".show running queries").await.len(), 1);
    let began = Instant::now();
    while !server.rows(".show running queries").await.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10), "the query still runs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_texts_are_told_and_do_no_harm() {
    let server = start().await;
    let deep = format!("{{\"csl\":\"print 1\",\"properties\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let inside = json!({"csl": "print 1", "properties": nested}).to_string();
    let parameter = json!({"csl": "declare query_parameters(p: dynamic); print p",
        "properties": {"Parameters": {"p": format!("dynamic({}1{})", "[".repeat(50_000), "]".repeat(50_000))}}});
    for body in [
        b"{\"csl\":\"print '\xff\xfe'\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        br#"{"csl":"print '\ud800'"}"#.to_vec(),
        br#"{"csl":"print '\udc00\ud800'"}"#.to_vec(),
        br#"{"csl":"print 1"} trailing"#.to_vec(),
        br#"{"csl":"print 1","properties":"{\"Options\":"}"#.to_vec(),
        deep.into_bytes(),
        inside.into_bytes(),
        parameter.to_string().into_bytes(),
    ] {
        let answer = raw(&server, &sized(&body)).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(status(&answer), 400, "{shown}: {answer}");
        let document = &answer[answer.find("\r\n\r\n").unwrap()..];
        let document: Value =
            serde_json::from_str(document).unwrap_or_else(|error| panic!("{shown}: {error}: {answer}"));
        assert!(document["error"]["@message"].as_str().is_some_and(|message| !message.is_empty()), "{document}");
    }
    lives(&server).await;
    // Of repeated names the last counts, as for the .NET service.
    let twice = br#"{"csl":"print 1","csl":"print 2","CSL":"print 3"}"#;
    let answer = raw(&server, &sized(twice)).await;
    assert!(answer.contains("[[3]]"), "{answer}");
    let twice = br#"{"csl":"range x from 1 to 9 step 1","properties":{"Options":{"query_take_max_records":1,"query_take_max_records":2}}}"#;
    assert!(raw(&server, &sized(twice)).await.contains("[[1],[2]]"));
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_version_of_http_is_spoken_without_tls() {
    let server = start().await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Body>();
    let calls = (0..50).map(|n| {
        let body = json!({"csl": format!("print {n}")}).to_string();
        let request = axum::http::Request::post(format!("{}/v2/rest/query", server.url));
        let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
        let client = client.clone();
        tokio::spawn(async move {
            let response = client.request(request).await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, axum::http::Version::HTTP_2));
            let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap();
            let frames: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(frames[2]["Rows"], json!([[n]]));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // The name stands in the address there, and is checked all the same.
    let request = axum::http::Request::get(format!("{}/v1/rest/auth/metadata", server.url))
        .header("origin", "http://evil.example")
        .body(Body::empty())
        .unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), 403);
    lives(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_knows_head_and_options() {
    let server = start().await;
    for path in ["/v1/rest/ping", "/v1/rest/auth/metadata", "/v1/rest/query?csl=print+1", "/healthz"] {
        let response = server.client.head(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.bytes().await.unwrap().len(), 0);
    }
    for path in ["/v1/rest/query", "/v2/rest/query", "/v1/rest/mgmt", "/v1/rest/ingest/d/t", "/", "/D"] {
        let request = server.client.request(reqwest::Method::OPTIONS, format!("{}{path}", server.url));
        assert!(request.send().await.unwrap().status().is_success(), "{path}");
    }
    let response = server.client.delete(format!("{}/v1/rest/mgmt", server.url)).send().await.unwrap();
    assert_eq!(response.status(), 405);
    lives(&server).await;
}
