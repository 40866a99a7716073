//! The built-in token issuer: OAuth 2 for the accounts of this server. Off unless asked.
//!
//! It speaks the addresses that Entra and AD FS speak, so that SDKs sign in with an application's id and key after
//! nothing but a change of address: `/{tenant}/oauth2/v2.0/token`, `/{tenant}/oauth2/token` and, for clients that look
//! Entra's hosts up elsewhere first (MSAL), the tenant `adfs`. Sources: RFC 6749 section 4.4, RFC 8628, RFC 8414.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::accounts::{self, Account, Kind};
use super::authorize::{self, Codes};
use super::renewal::{self, Renewals};
use crate::app::App;
use crate::files::replace_private;

/// Seconds that a token lasts.
const TOKEN_SECONDS: i64 = 3600;
/// Seconds that a device code waits for its user.
const DEVICE_SECONDS: u64 = 900;
/// Seconds between a device's questions.
const DEVICE_INTERVAL: u64 = 5;
/// Device codes that wait at once.
const MAX_DEVICES: usize = 1_000;
/// Wrong answers on the page for device codes before it rests.
const MAX_WRONG: u32 = 20;
/// How long it rests.
const WRONG_WINDOW: Duration = Duration::from_secs(60);
/// Letters of a user's code: no vowels, so that it spells nothing, and none that look alike.
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Largest form that is read.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// Where the signing key lies below the data directory.
const KEY_FILE: &str = "auth/signing-key.p8";
/// The tenant in tokens of this issuer.
const TENANT: &str = "tidewater";

/// The issuer's key and the codes that wait.
pub struct LocalIssuer {
    key: EncodingKey,
    key_id: String,
    public: (String, String),
    devices: Mutex<Devices>,
    pub(super) codes: Codes,
    pub(super) renewals: Renewals,
}

#[derive(Default)]
struct Devices {
    /// By device code.
    waiting: HashMap<String, Device>,
    wrong: u32,
    wrong_since: Option<Instant>,
}

struct Device {
    user_code: String,
    client_id: String,
    audience: Option<String>,
    asked_at: Instant,
    polled_at: Option<Instant>,
    approved: Option<Account>,
}

impl LocalIssuer {
    /// Reads the signing key from the data directory, or makes it.
    pub fn open(data_dir: &Path) -> Result<LocalIssuer, String> {
        let path = data_dir.join(KEY_FILE);
        let random = ring::rand::SystemRandom::new();
        let wrong = |error: &dyn std::fmt::Display| format!("the signing key {}: {error}", path.display());
        let document = match path.exists() {
            true => std::fs::read(&path).map_err(|error| wrong(&error))?,
            false => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(|error| wrong(&error))?;
                replace_private(&path, made.as_ref())?;
                made.as_ref().to_vec()
            }
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random)
            .map_err(|error| wrong(&error))?;
        // An uncompressed point: 4, then x and y of 32 bytes each.
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        // RFC 7638: the thumbprint of a key is its id.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
        Ok(LocalIssuer {
            key: EncodingKey::from_ec_der(&document),
            key_id: URL_SAFE_NO_PAD.encode(thumbprint),
            public: (x, y),
            devices: Mutex::default(),
            codes: Codes::default(),
            renewals: Renewals::default(),
        })
    }

    /// The public keys.
    pub fn keys(&self) -> Value {
        let (x, y) = &self.public;
        json!({"keys": [
            {"kty": "EC", "use": "sig", "crv": "P-256", "alg": "ES256", "kid": self.key_id, "x": x, "y": y}
        ]})
    }

    /// The public keys for checking tokens.
    pub fn key_set(&self) -> JwkSet {
        serde_json::from_value(self.keys()).expect("our own key set has a key set's form")
    }

    /// A token about an account.
    fn token(&self, account: &Account, client_id: &str, issuer: &str, audience: &str) -> Result<String, String> {
        let now = seconds_now();
        let is_user = account.kind == Kind::User;
        let mut claims = json!({
            "iss": issuer,
            "aud": audience,
            "sub": account.id,
            "oid": account.id,
            "appid": client_id,
            "tid": TENANT,
            "idtyp": if is_user { "user" } else { "app" },
            "name": account.name,
            "groups": account.groups,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": uuid::Uuid::new_v4().to_string(),
            "ver": "1.0",
        });
        if is_user {
            claims["upn"] = Value::from(account.id.clone());
        }
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| error.to_string())
    }
}

fn seconds_now() -> i64 {
    let ticks = tidewater_service::context::now_ticks() - tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
    ticks / 10_000_000
}

/// The addresses of the issuer.
pub fn routes() -> Router<App> {
    let token = || post(token);
    let device = || post(device_code);
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/oauth-authorization-server", get(discovery))
        .route("/{tenant}/.well-known/openid-configuration", get(discovery))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery))
        .route("/auth/keys", get(keys))
        .route("/auth/authorize", get(authorize::ask).post(authorize::answer))
        .route("/auth/token", token())
        .route("/auth/devicecode", device())
        .route("/auth/device", get(device_page).post(device_answer))
        .route("/{tenant}/oauth2/token", token())
        .route("/{tenant}/oauth2/v2.0/token", token())
        .route("/{tenant}/oauth2/devicecode", device())
        .route("/{tenant}/oauth2/v2.0/devicecode", device())
}

/// Whether a path is the issuer's: those are open to everybody.
pub fn is_public(path: &str) -> bool {
    path.starts_with("/auth/")
        || path.starts_with("/.well-known/")
        || path.ends_with("/.well-known/openid-configuration")
        || path.ends_with("/oauth2/token")
        || path.ends_with("/oauth2/v2.0/token")
        || path.ends_with("/oauth2/devicecode")
        || path.ends_with("/oauth2/v2.0/devicecode")
}

pub(super) fn no_issuer() -> Response {
    crate::http::json(
        StatusCode::NOT_FOUND,
        &json!({"error": "not_found", "error_description": "the built-in issuer is off (setting 'local_issuer')"}),
    )
}

async fn discovery(State(app): State<App>) -> Response {
    if app.auth().local().is_none() {
        return no_issuer();
    }
    let url = app.public_url();
    crate::http::json(
        StatusCode::OK,
        &json!({
            "issuer": url,
            "token_endpoint": format!("{url}/auth/token"),
            "device_authorization_endpoint": format!("{url}/auth/devicecode"),
            "authorization_endpoint": format!("{url}/auth/authorize"),
            "jwks_uri": format!("{url}/auth/keys"),
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", DEVICE_GRANT],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "none"],
            "response_types_supported": ["code", "token"],
            "code_challenge_methods_supported": ["S256"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid", ".default"],
        }),
    )
}

async fn keys(State(app): State<App>) -> Response {
    match app.auth().local() {
        Some(local) => crate::http::json(StatusCode::OK, &local.keys()),
        None => no_issuer(),
    }
}

/// RFC 8628's name; `device_code` is what AD FS and Entra's first version take.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An OAuth error. Source: RFC 6749 section 5.2.
pub(super) fn failure(status: StatusCode, error: &str, description: &str) -> Response {
    let mut response = crate::http::json(status, &json!({"error": error, "error_description": description}));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

pub(super) fn bad_form(description: impl std::fmt::Display) -> Response {
    failure(StatusCode::BAD_REQUEST, "invalid_request", &description.to_string())
}

/// The fields of a form, url-encoded or multipart (`curl -F`).
pub(super) async fn form(headers: &HeaderMap, body: Body) -> Result<HashMap<String, String>, String> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bytes = axum::body::to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| "the form is too large".to_string())?;
    if let Some(parameters) = content_type.strip_prefix("multipart/form-data") {
        return multipart(parameters, &bytes);
    }
    pairs(std::str::from_utf8(&bytes).map_err(|_| "the form is not UTF-8".to_string())?)
}

/// The fields of a url-encoded form, or of an address.
pub(super) fn pairs(text: &str) -> Result<HashMap<String, String>, String> {
    let mut fields = HashMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| crate::kusto::request::decode_argument(text).map_err(|error| error.message().to_string());
        fields.insert(decoded(name)?, decoded(value)?);
    }
    Ok(fields)
}

/// The text fields of a multipart body (RFC 7578), which is small and whole.
fn multipart(parameters: &str, body: &[u8]) -> Result<HashMap<String, String>, String> {
    let boundary = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="));
    let Some(boundary) = boundary.map(|text| text.trim_matches('"')).filter(|text| !text.is_empty()) else {
        return Err("the multipart form has no boundary".to_string());
    };
    let body = std::str::from_utf8(body).map_err(|_| "the multipart form is not UTF-8".to_string())?;
    let mut fields = HashMap::new();
    // What stands before the first boundary means nothing; "--" behind a boundary ends the form.
    for part in body.split(&format!("--{boundary}")).skip(1).take_while(|part| !part.starts_with("--")) {
        let Some((head, value)) = part.split_once("\r\n\r\n") else {
            return Err("a part of the multipart form has no empty line after its headers".to_string());
        };
        let name = head.split([';', '\r', '\n']).find_map(|parameter| parameter.trim().strip_prefix("name="));
        if let Some(name) = name {
            fields.insert(name.trim_matches('"').to_string(), value.strip_suffix("\r\n").unwrap_or(value).to_string());
        }
    }
    Ok(fields)
}

/// Id and secret of the client: in the form, or as Basic authorization.
fn client(headers: &HeaderMap, fields: &HashMap<String, String>) -> (String, String) {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    basic(headers).unwrap_or_else(|| (field("client_id"), field("client_secret")))
}

/// `Authorization: Basic`.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_string(), secret.to_string()))
}

/// The audience that is asked for: `resource`, or `scope` without its last step (`/.default`).
fn audience(fields: &HashMap<String, String>) -> Option<String> {
    let scope = || {
        let scopes = fields.get("scope")?;
        scopes.split_ascii_whitespace().find_map(|scope| scope.rsplit_once('/')).map(|(audience, _)| audience)
    };
    let asked = fields.get("resource").map(String::as_str).or_else(scope)?;
    let asked = asked.trim_end_matches('/');
    (!asked.is_empty()).then(|| asked.to_string())
}

async fn token(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let Some(local) = app.auth().local() else { return no_issuer() };
    let fields = match form(&headers, body).await {
        Ok(fields) => fields,
        Err(reason) => return bad_form(reason),
    };
    match fields.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {
            let (id, secret) = client(&headers, &fields);
            let Some(account) = app.auth().accounts().by_id_and_secret(&id, &secret).cloned() else {
                return failure(StatusCode::UNAUTHORIZED, "invalid_client", "unknown client or wrong secret");
            };
            granted(&app, local, &account, &account.id, audience(&fields), None)
        }
        Some("authorization_code") => authorize::exchange(&app, &local.codes, &fields),
        Some("refresh_token") => renewal::exchange(&app, &fields),
        Some(DEVICE_GRANT | "device_code") => {
            let code = fields.get("device_code").or_else(|| fields.get("code")).cloned().unwrap_or_default();
            match polled(&mut local.devices.lock(), &code) {
                Ok(device) => match &device.approved {
                    Some(account) => granted(&app, local, account, &device.client_id, device.audience.clone(), None),
                    None => failure(StatusCode::BAD_REQUEST, "authorization_pending", "the user has not signed in yet"),
                },
                Err(response) => *response,
            }
        }
        Some(other) => failure(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            &format!("grant_type is '{}', expected client_credentials or {DEVICE_GRANT}", other.escape_debug()),
        ),
        None => bad_form("the field grant_type is missing"),
    }
}

/// The device of a code: taken out when it is approved, kept when it waits.
fn polled(devices: &mut Devices, code: &str) -> Result<Device, Box<Response>> {
    let answer = |error: &str, text: &str| Box::new(failure(StatusCode::BAD_REQUEST, error, text));
    let expired = || answer("expired_token", "the device code is unknown or has expired");
    let Some(device) = devices.waiting.get_mut(code) else { return Err(expired()) };
    if device.asked_at.elapsed() > Duration::from_secs(DEVICE_SECONDS) {
        devices.waiting.remove(code);
        return Err(expired());
    }
    if device.approved.is_none() {
        let too_soon = device.polled_at.replace(Instant::now()).is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        return Err(match too_soon {
            true => answer("slow_down", "ask less often"),
            false => answer("authorization_pending", "the user has not signed in yet"),
        });
    }
    devices.waiting.remove(code).ok_or_else(expired)
}

pub(super) fn granted(
    app: &App,
    local: &LocalIssuer,
    account: &Account,
    client: &str,
    audience: Option<String>,
    renewal: Option<String>,
) -> Response {
    let audience = audience.unwrap_or_else(|| app.public_url());
    if !app.auth().is_audience(&audience) {
        let text = format!("this server has no audience '{}'", audience.escape_debug());
        return failure(StatusCode::BAD_REQUEST, "invalid_target", &text);
    }
    match local.token(account, client, &app.public_url(), &audience) {
        Ok(token) => {
            // Entra's first version gives numbers as texts; both are read by clients, RFC 6749 wants numbers.
            let mut body = json!({
                "token_type": "Bearer",
                "expires_in": TOKEN_SECONDS,
                "ext_expires_in": TOKEN_SECONDS,
                "expires_on": (seconds_now() + TOKEN_SECONDS).to_string(),
                "resource": audience,
                "access_token": token,
            });
            if let Some(renewal) = renewal {
                body["refresh_token"] = renewal.into();
            }
            let mut response = crate::http::json(StatusCode::OK, &body);
            response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::error!(error, "a token could not be signed");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the token could not be signed")
        }
    }
}

async fn device_code(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let Some(local) = app.auth().local() else { return no_issuer() };
    let fields = match form(&headers, body).await {
        Ok(fields) => fields,
        Err(reason) => return bad_form(reason),
    };
    let (code, user_code) = match (accounts::random::<32>(), accounts::random::<8>()) {
        (Ok(code), Ok(letters)) => {
            let mut user: String =
                letters.iter().map(|byte| char::from(CODE_LETTERS[usize::from(*byte) % CODE_LETTERS.len()])).collect();
            user.insert(4, '-');
            (URL_SAFE_NO_PAD.encode(code), user)
        }
        (Err(error), _) | (_, Err(error)) => {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error);
        }
    };
    let mut devices = local.devices.lock();
    devices.waiting.retain(|_, device| device.asked_at.elapsed() <= Duration::from_secs(DEVICE_SECONDS));
    if devices.waiting.len() >= MAX_DEVICES {
        return failure(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many device codes wait");
    }
    let device = Device {
        user_code: user_code.clone(),
        client_id: client(&headers, &fields).0,
        audience: audience(&fields),
        asked_at: Instant::now(),
        polled_at: None,
        approved: None,
    };
    devices.waiting.insert(code.clone(), device);
    let page = format!("{}/auth/device", app.public_url());
    let body = json!({
        "device_code": code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_url": page,
        "verification_uri_complete": format!("{page}?code={user_code}"),
        "expires_in": DEVICE_SECONDS,
        "interval": DEVICE_INTERVAL,
        "message": format!("To sign in, open {page} and enter the code {user_code}."),
    });
    crate::http::json(StatusCode::OK, &body)
}

async fn device_page(State(app): State<App>, request: Request) -> Response {
    if app.auth().local().is_none() {
        return no_issuer();
    }
    let query = request.uri().query().unwrap_or_default();
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or_default();
    let code: String = code.chars().filter(|c| c.is_ascii_alphabetic() || *c == '-').take(9).collect();
    page(StatusCode::OK, &code, "Enter the code that your device shows, and the account that it may use.")
}

/// The form for device codes. `code` and `text` hold nothing that HTML reads.
fn page(status: StatusCode, code: &str, text: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in - Tidewater</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px system-ui;max-width:26rem;\
         margin:3rem auto;padding:0 1rem}}label{{display:block;margin:1rem 0}}input{{font:inherit;width:100%}}</style>\
         <h1>Sign in</h1><p role=\"status\">{text}</p><form method=\"post\" action=\"/auth/device\">\
         <label>Code <input name=\"code\" value=\"{code}\" required autocomplete=\"off\"></label>\
         <label>Account <input name=\"account\" required autocomplete=\"username\"></label>\
         <label>Secret <input name=\"secret\" type=\"password\" required autocomplete=\"current-password\"></label>\
         <button>Sign in</button></form></html>"
    );
    secret_page(status, html)
}

/// A page that asks for a secret: no script, no frame around it, not kept, and its form comes back here only.
pub(super) fn secret_page(status: StatusCode, html: String) -> Response {
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, Html(html)).into_response()
}

async fn device_answer(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let Some(local) = app.auth().local() else { return no_issuer() };
    let fields = match form(&headers, body).await {
        Ok(fields) => fields,
        Err(reason) => return bad_form(reason),
    };
    let field = |name: &str| fields.get(name).map(|text| text.trim().to_string()).unwrap_or_default();
    let code = field("code").to_ascii_uppercase();
    let mut devices = local.devices.lock();
    if devices.wrong_since.is_some_and(|at| at.elapsed() > WRONG_WINDOW) {
        devices.wrong = 0;
        devices.wrong_since = None;
    }
    if devices.wrong >= MAX_WRONG {
        return page(StatusCode::TOO_MANY_REQUESTS, "", "Too many wrong answers. Try again in a minute.");
    }
    let account = app.auth().accounts().by_id_and_secret(&field("account"), &field("secret")).cloned();
    let lifetime = Duration::from_secs(DEVICE_SECONDS);
    let device = devices
        .waiting
        .values_mut()
        .find(|device| device.user_code == code && device.asked_at.elapsed() <= lifetime && device.approved.is_none());
    match (device, account) {
        (Some(device), Some(account)) => {
            device.approved = Some(account);
            page(StatusCode::OK, "", "You are signed in. You may close this page.")
        }
        _ => {
            devices.wrong += 1;
            devices.wrong_since.get_or_insert_with(Instant::now);
            page(StatusCode::FORBIDDEN, "", "The code, the account or the secret is wrong.")
        }
    }
}
