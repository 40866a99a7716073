//! Deep links: `GET /` and `GET /{database}`, for people who open the address in a browser.
//! Source: kusto-rest section 12. The page names the server until the query editor is there.

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::request::decode_argument;
use crate::app::App;

/// `GET /`
pub async fn root(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    page(&app, None, query.as_deref())
}

/// `GET /{database}`
pub async fn database(State(app): State<App>, Path(database): Path<String>, RawQuery(query): RawQuery) -> Response {
    page(&app, Some(&database), query.as_deref())
}

/// A link never runs anything here: it shows the text it carries.
fn page(app: &App, database: Option<&str>, query: Option<&str>) -> Response {
    let text = query.unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("query="));
    let text =
        text.and_then(|text| decode_argument(text).ok()).map(|text| unpacked(&text)).filter(|text| !text.is_empty());
    let place = match database {
        Some(database) => format!("<p>Database <b>{}</b></p>", escaped(database)),
        None => String::new(),
    };
    let shown = match text {
        Some(text) => format!("<p>The link carries this query:</p><pre>{}</pre>", escaped(&text)),
        None => String::new(),
    };
    let address = escaped(&app.public_url());
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidewater</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}\
         pre{{background:#f3f3f3;padding:.8rem;overflow:auto}}</style></head><body>\
         <h1>Tidewater {version}</h1>{place}{shown}\
         <p>This server speaks Kusto's REST interface. Point a Kusto client at <code>{address}</code>, or try:</p>\
         <pre>tidewater query --url {address} 'print greeting = \"hello\"'\n\n\
         curl -s {address}/v1/rest/query -H 'Content-Type: application/json' \\\n  \
         -d '{{\"db\":\"NetDefaultDB\",\"csl\":\"print greeting = \\\"hello\\\"\"}}'</pre>\
         <p><a href=\"/healthz\">health</a> · <a href=\"/metrics\">metrics</a></p></body></html>\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, html).into_response()
}

/// Azure's own links carry base64 of gzip, which begins `H4sI`.
fn unpacked(text: &str) -> String {
    use base64::Engine;
    use std::io::Read;
    const MAX_TEXT_BYTES: u64 = 1024 * 1024;
    if !text.starts_with("H4sI") {
        return text.to_string();
    }
    // A plus sign that was not percent-encoded has become a space.
    let packed = text.replace(' ', "+");
    let Ok(packed) = base64::engine::general_purpose::STANDARD.decode(packed) else { return text.to_string() };
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(&packed[..]).take(MAX_TEXT_BYTES).read_to_end(&mut plain) {
        Ok(_) => String::from_utf8_lossy(&plain).into_owned(),
        Err(_) => text.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
