//! The page: files of `web/`, which `make web` builds, served at `/ui/` from inside the binary.
//!
//! Deep links (`kusto::links`) lead here with the query in the address; the page itself decides what it does with it.
//! Files below `assets/` carry a hash of their content in their names and may be kept for ever. A server built without
//! the page answers with `plain`.

mod api;
mod plain;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path as FilePath;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::config::{Config, SignIn};
use crate::kusto::sink::Coding;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The page's address; a database is `databases/NAME` below it.
pub const PAGE: &str = "/ui/";
/// The file that the page begins with.
const INDEX: &str = "index.html";
/// The client that the page is to the built-in issuer.
pub const LOCAL_CLIENT: &str = "tidewater-page";
/// Files of a directory of the page that are read at most; the page has some twenty.
const MAX_FILES: usize = 1_000;

/// The page's files and the rules they are served by.
pub struct Ui {
    files: HashMap<String, File>,
    policy: HeaderValue,
}

struct File {
    packed: Cow<'static, [u8]>,
    etag: HeaderValue,
}

impl File {
    fn new(packed: Cow<'static, [u8]>) -> File {
        let hash = Sha256::digest(&packed);
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // The coding is part of what a tag names; a weak one covers both.
        let etag = HeaderValue::from_str(&format!("W/\"{hex}\"")).expect("hexadecimal digits are a header's");
        File { packed, etag }
    }

    fn unpacked(&self) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzDecoder::new(&self.packed[..]).read_to_end(&mut plain)?;
        Ok(plain)
    }
}

impl Ui {
    /// The files inside the binary, or those of the directory that the settings name. `prefix` is the path before all
    /// of the server's addresses, as a proxy may add it.
    ///
    /// Errors: a directory that cannot be read, a damaged file.
    pub fn new(config: &Config, prefix: &str) -> Result<Ui, String> {
        let mut files = HashMap::new();
        match &config.page_dir {
            Some(directory) => read(directory, "", &mut files)
                .map_err(|error| format!("setting 'page_dir': {}: {error}", directory.display()))?,
            None => {
                let built = BUILT.iter().map(|(name, bytes)| (name.to_string(), File::new(Cow::Borrowed(*bytes))));
                files.extend(built);
            }
        }
        // The first file names the others from where it stands, and it stands in more than one place.
        if let Some(file) = files.get_mut(INDEX) {
            let plain = file.unpacked().map_err(|error| format!("the page's first file: {error}"))?;
            let text = String::from_utf8_lossy(&plain).replace("\"./", &format!("\"{prefix}{PAGE}"));
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            let packed = packed.write_all(text.as_bytes()).and_then(|()| packed.finish());
            *file = File::new(Cow::Owned(packed.map_err(|error| error.to_string())?));
        }
        Ok(Ui { files, policy: policy(&config.token_issuers) })
    }
}

fn read(directory: &FilePath, prefix: &str, files: &mut HashMap<String, File>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if let Some(name) = name.strip_suffix(".gz")
            && files.len() < MAX_FILES
        {
            files.insert(format!("{prefix}{name}"), File::new(Cow::Owned(std::fs::read(entry.path())?)));
        }
    }
    Ok(())
}

/// No script but the page's own files, no network but this server and the issuers that sign people in.
///
/// The editor makes style sheets as it runs, so styles may be inline; scripts never.
fn policy(issuers: &[String]) -> HeaderValue {
    let origins = issuers.iter().filter_map(|issuer| reqwest::Url::parse(issuer).ok());
    let origins: String = origins.map(|url| format!(" {}", url.origin().ascii_serialization())).collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         font-src 'self' data:; worker-src 'self'; connect-src 'self'{origins}; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The addresses of the page.
pub fn routes() -> Router<App> {
    Router::new()
        .route(PAGE, get(index))
        .route("/ui/databases/{database}", get(index))
        .route("/ui/settings.json", get(settings))
        .route("/ui/{*name}", get(file))
        .merge(api::routes())
}

/// Whether a path is the page's: it is open to everybody and tells nothing about the data.
pub fn is_path(path: &str) -> bool {
    path.starts_with(PAGE)
}

async fn index(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    match app.ui().files.get(INDEX) {
        Some(file) => served(&app, INDEX, file, &headers),
        None => plain::page(&app.public_url(), &uri),
    }
}

async fn file(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    match app.ui().files.get(&name) {
        Some(file) => served(&app, &name, file, &headers),
        None => (StatusCode::NOT_FOUND, "the page has no such file\n").into_response(),
    }
}

fn served(app: &App, name: &str, file: &File, asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let is_hashed = name.starts_with("assets/");
    let keeping = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keeping));
    headers.insert(header::ETAG, file.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, app.ui().policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if asked.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == file.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let packed = match &file.packed {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::copy_from_slice(bytes),
    };
    if Coding::accepted(accepted) == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::from(packed);
        return response;
    }
    match file.unpacked() {
        Ok(plain) => *response.body_mut() = Body::from(plain),
        Err(_) => return (StatusCode::INTERNAL_SERVER_ERROR, "a file of the page is damaged\n").into_response(),
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json; charset=utf-8",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "woff2" => "font/woff2",
        "png" => "image/png",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What the page must know before anybody has signed in.
async fn settings(State(app): State<App>) -> Response {
    let config = app.config();
    let is_local = app.auth().local().is_some();
    let issuer = match config.token_issuers.first() {
        // The page reaches the built-in issuer by the address that it was itself loaded from.
        _ if is_local => Some(String::new()),
        issuer => issuer.cloned(),
    };
    let client = match is_local {
        true => Some(LOCAL_CLIENT.to_string()),
        false => config.page_client_id.clone(),
    };
    let mut response = crate::http::json(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "defaultDatabase": config.default_database(),
            "address": app.public_url(),
            "signIn": match config.sign_in {
                SignIn::Off => "off",
                SignIn::Optional => "optional",
                SignIn::Required => "required",
            },
            "issuer": issuer,
            "clientId": client,
            "scope": config.page_scope,
        }),
    );
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_the_only_other_servers_that_the_page_may_call() {
        let policy = policy(&["https://login.example.com/realms/a".to_string(), "no address".to_string()]);
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' https://login.example.com;"), "{policy}");
        assert!(policy.contains("script-src 'self';"), "{policy}");
    }

    #[test]
    fn files_have_their_types() {
        assert_eq!(content_type("assets/main-Ab12.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("codicon.ttf"), "font/ttf");
        assert_eq!(content_type("noextension"), "application/octet-stream");
    }
}
