//! A bucket that speaks as much of S3 as the stores' client asks: it outlives the processes that a test kills.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the bucket holds, by key.
type Objects = BTreeMap<String, Vec<u8>>;

/// A started server with one bucket, named `bucket`.
#[derive(Clone)]
pub struct Bucket {
    pub url: String,
    pub objects: Arc<Mutex<Objects>>,
}

impl Bucket {
    pub fn start() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bucket =
            Bucket { url: format!("http://{}", listener.local_addr().unwrap()), objects: Arc::new(Mutex::default()) };
        let objects = Arc::clone(&bucket.objects);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = Arc::clone(&objects);
                // A client that is killed breaks its connection off.
                std::thread::spawn(move || drop(serve(stream, &objects)));
            }
        });
        bucket
    }

    pub fn data_files(&self) -> usize {
        let objects = self.objects.lock().unwrap();
        objects.keys().filter(|key| key.ends_with(".parquet") && !key.contains("_delta_log")).count()
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| u8::from_str_radix(&text[at + 1..at + 3], 16).ok()).flatten();
        out.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap()
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_string);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = Request {
        method,
        path: decoded(path.trim_start_matches("/bucket").trim_start_matches('/')),
        query: query.to_string(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                request.headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
            None => break,
        }
    }
    if request.headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            reader.by_ref().take(length).read_to_end(&mut request.body)?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
    } else if let Some(length) = request.headers.get("content-length").and_then(|length| length.parse().ok()) {
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn serve(stream: TcpStream, objects: &Mutex<Objects>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let (status, headers, body) = answer(&request, &mut objects.lock().unwrap());
        let length = if request.method == "HEAD" { headers.0 } else { body.len() };
        let extra = headers.1;
        write!(out, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"e\"\r\n")?;
        write!(out, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{extra}\r\n")?;
        if request.method != "HEAD" {
            out.write_all(&body)?;
        }
    }
    Ok(())
}

/// Status, the length that HEAD tells with further headers, and the body.
fn answer(request: &Request, objects: &mut Objects) -> (&'static str, (usize, String), Vec<u8>) {
    let none = || (0, String::new());
    let xml = |text: String| ("200 OK", none(), format!("<?xml version=\"1.0\"?>{text}").into_bytes());
    match request.method.as_str() {
        "PUT" => {
            if request.headers.get("if-none-match").is_some_and(|value| value == "*")
                && objects.contains_key(&request.path)
            {
                return ("412 Precondition Failed", none(), Vec::new());
            }
            let body = match request.headers.get("x-amz-copy-source") {
                Some(source) => {
                    let source = decoded(source.trim_start_matches('/').trim_start_matches("bucket/"));
                    let Some(body) = objects.get(&source) else { return ("404 Not Found", none(), Vec::new()) };
                    body.clone()
                }
                None => request.body.clone(),
            };
            objects.insert(request.path.clone(), body);
            xml("<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>".to_string())
        }
        "GET" | "HEAD" if !request.path.is_empty() => {
            let Some(body) = objects.get(&request.path) else { return ("404 Not Found", none(), Vec::new()) };
            let whole = body.len();
            let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
            match range {
                None => ("200 OK", (whole, String::new()), body.clone()),
                Some((from, to)) => {
                    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
                        (Ok(from), Ok(to)) => (from, (to + 1).min(whole)),
                        (Ok(from), Err(_)) => (from, whole),
                        (Err(_), Ok(last)) => (whole.saturating_sub(last), whole),
                        _ => (0, whole),
                    };
                    let told = format!("Content-Range: bytes {from}-{}/{whole}\r\n", to - 1);
                    ("206 Partial Content", (to - from, told), body[from..to].to_vec())
                }
            }
        }
        "GET" => {
            let prefix = request.query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = decoded(prefix);
            let found = objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, body)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag>\
                     <Size>{}</Size></Contents>",
                    body.len()
                )
            });
            let found: String = found.collect();
            xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"))
        }
        "DELETE" => {
            objects.remove(&request.path);
            ("204 No Content", none(), Vec::new())
        }
        "POST" => {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            for part in text.split("<Key>").skip(1) {
                objects.remove(part.split("</Key>").next().unwrap_or_default());
            }
            xml("<DeleteResult></DeleteResult>".to_string())
        }
        _ => ("405 Method Not Allowed", none(), Vec::new()),
    }
}
