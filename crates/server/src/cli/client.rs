//! The HTTP client of the commands: requests, and error documents as one line for people.

use std::future::Future;
use std::time::Duration;

use reqwest::header::{self, HeaderValue};
use reqwest::{Certificate, Client, Response};
use serde_json::Value;

use super::Target;

/// Runs a command's future on a small runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(future)
}

/// A client without a time limit of its own: the server's limits count.
///
/// Errors: a secret that is no header's value, an authority's file that holds no certificate.
pub fn client(target: &Target) -> Result<Client, String> {
    let mut builder = Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("tidewater/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &target.ca {
        let at = |error: &dyn std::fmt::Display| format!("--ca {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| at(&error))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| at(&error))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(token) = &target.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| "--token: the token has characters that no header may have".to_string())?;
        value.set_sensitive(true);
        builder = builder.default_headers([(header::AUTHORIZATION, value)].into_iter().collect());
    }
    builder.build().map_err(|error| format!("cannot start the HTTP client: {error}"))
}

/// An address below the server's.
pub fn address(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

/// What to tell when no answer came.
pub fn unreachable(url: &str, error: &reqwest::Error) -> String {
    if error.is_connect() {
        return format!("cannot connect to {url}; is the server running? ('tidewater serve' starts one)");
    }
    let mut text = format!("the request to {url} failed: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// The body of a 200, or the error document's text.
pub async fn json(response: Response, url: &str) -> Result<Value, String> {
    let status = response.status();
    let body = response.bytes().await.map_err(|error| unreachable(url, &error))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| format!("{url} answered with broken JSON: {error}"));
    }
    if status == reqwest::StatusCode::UNAUTHORIZED {
        return Err(format!("{url} wants you to sign in: give --token, or set TIDEWATER_TOKEN"));
    }
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &document["error"];
    let detail = error["@message"].as_str().or_else(|| error["message"].as_str());
    match detail {
        Some(detail) => {
            Err(detail.strip_prefix("Request is invalid and cannot be processed: ").unwrap_or(detail).to_string())
        }
        None => Err(format!("{url} answered {status}: {}", String::from_utf8_lossy(&body))),
    }
}
