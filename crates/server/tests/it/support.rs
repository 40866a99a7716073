//! A server on a free port, and helpers to ask it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewater_server::{App, Config, cli, http};
use tokio::sync::oneshot;

/// A running server; stops when dropped.
pub struct Server {
    pub url: String,
    pub app: App,
    pub client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    _directory: TempDir,
}

/// Starts a server with its own empty data directory.
pub async fn start() -> Server {
    start_with(|_| {}).await
}

/// The same with other settings.
pub async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    // Whether the page was built must make no difference to these tests.
    let page_dir = directory.path().join("page");
    std::fs::create_dir(&page_dir).unwrap();
    let mut config = Config { listen: "127.0.0.1:0".into(), data_dir, page_dir: Some(page_dir), ..Config::default() };
    change(&mut config);
    let server = cli::start(config, tokio::runtime::Handle::current()).await.unwrap();
    let url = format!("http://{}", server.address);
    let app = server.app.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
        };
        http::serve(server.listener, server.app, stop).await.unwrap();
    });
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    Server { url, app, client, stop: Some(stop), _directory: directory }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Server {
    /// Posts a JSON body and gives status and document.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        (status, value)
    }

    /// Runs a command that must succeed; gives its table.
    pub async fn command(&self, text: &str) -> Value {
        let (status, answer) = self.post("/v1/rest/mgmt", &json!({"db": "NetDefaultDB", "csl": text})).await;
        assert_eq!(status, 200, "{text}: {answer}");
        answer["Tables"][0].clone()
    }

    /// The rows of a command that must succeed.
    pub async fn rows(&self, text: &str) -> Vec<Value> {
        self.command(text).await["Rows"].as_array().unwrap().clone()
    }

    /// Runs a command that must fail with 400; gives its error.
    pub async fn refusal(&self, text: &str) -> Value {
        let (status, answer) = self.post("/v1/rest/mgmt", &json!({"db": "NetDefaultDB", "csl": text})).await;
        assert_eq!(status, 400, "{text}: {answer}");
        answer["error"].clone()
    }
}

/// The names of a table's columns.
pub fn names(table: &Value) -> Vec<String> {
    let columns = table["Columns"].as_array().unwrap();
    columns.iter().map(|column| column["ColumnName"].as_str().unwrap().to_string()).collect()
}

/// Compares a text with a file of `golden/` at the workspace's root; `UPDATE_GOLDEN=1` writes it.
pub fn golden(name: &str, text: &str) {
    // Cargo runs tests in their package's directory; a path fixed at compile time would lead another checkout astray.
    let path: PathBuf = Path::new("../../golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("{} is missing; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(text, expected, "{name}");
}

/// Replaces what differs from run to run: guids, times, durations, the process.
pub fn scrubbed(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(length) = guid_at(&bytes[at..]) {
            let nil = text[at..at + length].bytes().all(|byte| byte == b'0' || byte == b'-');
            out.push_str(if nil { &text[at..at + length] } else { "GUID" });
            at += length;
        } else if let Some(length) = time_at(&bytes[at..]) {
            out.push_str("TIME");
            at += length;
        } else if let Some(length) =
            number_after(bytes, at, b"ExecutionTime\\\":").or_else(|| number_after(bytes, at, b"\"processId\":"))
        {
            out.push('N');
            at += length;
        } else {
            let character = text[at..].chars().next().unwrap();
            out.push(character);
            at += character.len_utf8();
        }
    }
    out
}

fn guid_at(bytes: &[u8]) -> Option<usize> {
    let text = bytes.get(..36)?;
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    fits.then_some(36)
}

/// Only times of this century's twenties: data in tests lies elsewhere.
fn time_at(bytes: &[u8]) -> Option<usize> {
    let text = bytes.get(..20)?;
    let fits = text.starts_with(b"202") && text[4] == b'-' && text[7] == b'-' && text[10] == b'T' && text[13] == b':';
    if !fits {
        return None;
    }
    bytes.iter().position(|byte| *byte == b'Z').map(|end| end + 1)
}

fn number_after(bytes: &[u8], at: usize, prefix: &[u8]) -> Option<usize> {
    if !bytes[..at].ends_with(prefix) {
        return None;
    }
    let end = bytes[at..].iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'-'));
    end.filter(|end| *end > 0)
}
