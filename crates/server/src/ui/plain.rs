//! What stands in the page's place in a server that was built without it. It shows what a link carries and how to run
//! it, and runs nothing.
//!
//! Everything a link carries is a stranger's: it is shown as text, in a page whose policy allows no script, no form and
//! nothing from elsewhere.

use std::sync::LazyLock;

use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use sha2::{Digest, Sha256};

use super::PAGE;
use crate::kusto::links::Link;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}\
    pre{background:#f3f3f3;padding:.8rem;overflow:auto}";

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The answer to any of the page's addresses. `address` is the server's own.
pub fn page(address: &str, uri: &Uri) -> Response {
    let database = uri.path().strip_prefix(PAGE).and_then(|rest| rest.strip_prefix("databases/"));
    let link = Link::of(database, uri.query().unwrap_or(""));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, html(address, &link)).into_response()
}

fn html(address: &str, link: &Link) -> String {
    let mut body = String::new();
    let mut line = |what: &str, value: &Option<String>| {
        if let Some(value) = value {
            body.push_str(&format!("<p>{what}: <b>{}</b></p>", shown(value)));
        }
    };
    line("Database", &link.database);
    line("Connection", &link.name);
    line("The link is meant for another cluster", &link.cluster);
    line("The link's text is to be had at", &link.source);
    if let Some(text) = &link.text {
        let what = match tidewater_service::is_command(text) {
            true => "The link carries this management command. Links never run commands; read it before you do",
            false => "The link carries this query",
        };
        body.push_str(&format!("<p>{what}:</p><pre id=\"query\">{}</pre>", shown(text)));
        if link.is_cut {
            body.push_str("<p>The text is too long and was cut here.</p>");
        }
        // The text itself stays out of the command line: there it would be read by a shell.
        let database = link.database.as_deref().filter(|name| is_plain(name)).unwrap_or("DATABASE");
        body.push_str(&format!(
            "<p>To run it, save it as <code>query.kql</code> and send it:</p>\
             <pre>tidewater query --url {} --db {} - &lt; query.kql</pre>",
            shown(address),
            shown(database)
        ));
    }
    let address = shown(address);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidewater</title><style>{STYLE}</style></head>\
         <body><h1>Tidewater {version}</h1>{body}\
         <p>This server was built without its page: <code>make web</code> builds it (with Node 20.19 or newer), and the \
         next build of the server takes it in.</p>\
         <p>The server speaks Kusto's REST interface. Point a Kusto client at <code>{address}</code>, or try:</p>\
         <pre>tidewater query --url {address} 'print greeting = \"hello\"'\n\n\
         curl -s {address}/v1/rest/query -H 'Content-Type: application/json' \\\n  \
         -d '{{\"db\":\"NetDefaultDB\",\"csl\":\"print greeting = \\\"hello\\\"\"}}'</pre>\
         <p><a href=\"/healthz\">health</a></p></body></html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Whether a name needs no quotes in a shell.
fn is_plain(name: &str) -> bool {
    !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Text as HTML. Characters that would hide what a text says, such as those that turn its direction, are named.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            '\r' => {}
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                out.push_str(&format!("[U+{:04X}]", u32::from(character)));
            }
            other if other.is_control() => out.push_str(&format!("[U+{:04X}]", u32::from(other))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_are_only_text() {
        let bad = "<script>alert(1)</script>\"'&\u{202e}\0";
        let link = Link {
            database: Some(format!("{bad}; rm -rf /")),
            text: Some(bad.into()),
            source: Some(format!("javascript:{bad}")),
            cluster: Some(bad.into()),
            name: Some(bad.into()),
            is_cut: false,
        };
        let page = html("http://127.0.0.1:1", &link);
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\0'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;[U+202E][U+0000]"));
        assert!(page.contains("--db DATABASE -"), "a name that a shell would read stays out of the command");
        assert_eq!(page.matches("href=").count(), 1);
    }

    #[test]
    fn commands_are_named_as_such() {
        let link = Link { text: Some("  .drop table T".into()), ..Link::default() };
        assert!(html("http://h", &link).contains("Links never run commands"));
    }
}
