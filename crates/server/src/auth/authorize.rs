//! The built-in issuer's authorization code flow with PKCE, by which people sign in at the page.
//!
//! The page sends them to `/auth/authorize`; the form there takes an account and its secret and leads back with a code,
//! which the page exchanges at the token endpoint with the verifier that only it knows. Codes are good once, for a
//! minute, and only lead back to this server's own page. Sources: RFC 6749 section 4.1, RFC 7636.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::accounts::{self, Account};
use super::issuer::{bad_form, failure, form, granted, no_issuer, pairs, secret_page};
use crate::app::App;
use crate::ui::LOCAL_CLIENT;

/// How long a code waits to be exchanged.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Codes that wait at once.
const MAX_CODES: usize = 1_000;
/// Wrong answers on the form before it rests, and for how long.
const MAX_WRONG: u32 = 20;
const WRONG_WINDOW: Duration = Duration::from_secs(60);
/// Longest `state` that is carried back.
const MAX_STATE_BYTES: usize = 1024;

/// Codes that wait to be exchanged.
#[derive(Default)]
pub struct Codes {
    inner: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    codes: HashMap<String, Code>,
    wrong: u32,
    wrong_since: Option<Instant>,
}

struct Code {
    challenge: String,
    redirect: String,
    account: Account,
    given_at: Instant,
}

/// What the page asks for; checked.
struct Asked {
    redirect: String,
    state: String,
    challenge: String,
}

impl Asked {
    /// From the arguments of the address, or the same in the form.
    ///
    /// Errors: whatever would lead elsewhere than to this server's page.
    fn of(fields: &HashMap<String, String>, headers: &HeaderMap) -> Result<Asked, &'static str> {
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        if field("client_id") != LOCAL_CLIENT {
            return Err("This issuer knows no such client.");
        }
        if field("response_type") != "code" {
            return Err("Only the code flow is served: response_type must be 'code'.");
        }
        let redirect = field("redirect_uri");
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let authority = redirect.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let own = authority.and_then(|(_, rest)| rest.split_once('/'));
        let is_own = own.is_some_and(|(authority, path)| {
            !host.is_empty() && authority.eq_ignore_ascii_case(host) && (path == "ui/" || path.ends_with("/ui/"))
        });
        if !is_own || redirect.contains(['?', '#', '\\', '\r', '\n', ' ']) {
            return Err("redirect_uri must be the address of this server's page.");
        }
        let (challenge, state) = (field("code_challenge"), field("state"));
        let is_digest = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|digest| digest.len() == 32);
        if field("code_challenge_method") != "S256" || !is_digest {
            return Err("The code challenge is missing, or not of the method S256.");
        }
        if state.is_empty() || state.len() > MAX_STATE_BYTES {
            return Err("The state is missing or too long.");
        }
        Ok(Asked { redirect: redirect.to_string(), state: state.to_string(), challenge: challenge.to_string() })
    }
}

/// `GET /auth/authorize`: the form.
pub async fn ask(State(app): State<App>, request: Request) -> Response {
    if app.auth().local().is_none() {
        return no_issuer();
    }
    match pairs(request.uri().query().unwrap_or_default()).map(|fields| Asked::of(&fields, request.headers())) {
        Ok(Ok(asked)) => page(StatusCode::OK, Some(&asked), ""),
        Ok(Err(reason)) => page(StatusCode::BAD_REQUEST, None, reason),
        Err(_) => page(StatusCode::BAD_REQUEST, None, "The address cannot be read."),
    }
}

/// `POST /auth/authorize`: the form's answer.
pub async fn answer(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let Some(local) = app.auth().local() else { return no_issuer() };
    let fields = match form(&headers, body).await {
        Ok(fields) => fields,
        Err(reason) => return bad_form(reason),
    };
    let asked = match Asked::of(&fields, &headers) {
        Ok(asked) => asked,
        Err(reason) => return page(StatusCode::BAD_REQUEST, None, reason),
    };
    let field = |name: &str| fields.get(name).map(|text| text.trim()).unwrap_or_default();
    let mut waiting = local.codes.inner.lock();
    if waiting.wrong_since.is_some_and(|at| at.elapsed() > WRONG_WINDOW) {
        (waiting.wrong, waiting.wrong_since) = (0, None);
    }
    if waiting.wrong >= MAX_WRONG {
        let text = "Too many wrong answers. Try again in a minute.";
        return page(StatusCode::TOO_MANY_REQUESTS, Some(&asked), text);
    }
    let Some(account) = app.auth().accounts().by_id_and_secret(field("account"), field("secret")).cloned() else {
        waiting.wrong += 1;
        waiting.wrong_since.get_or_insert_with(Instant::now);
        return page(StatusCode::FORBIDDEN, Some(&asked), "The account or the secret is wrong.");
    };
    waiting.codes.retain(|_, code| code.given_at.elapsed() <= CODE_LIFETIME);
    if waiting.codes.len() >= MAX_CODES {
        return page(StatusCode::TOO_MANY_REQUESTS, Some(&asked), "Too many people sign in. Try again in a minute.");
    }
    let code = match accounts::random::<32>() {
        Ok(bytes) => URL_SAFE_NO_PAD.encode(bytes),
        Err(error) => return failure(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error),
    };
    let place = format!("{}?code={code}&state={}", asked.redirect, utf8_percent_encode(&asked.state, NON_ALPHANUMERIC));
    let Asked { redirect, challenge, .. } = asked;
    waiting.codes.insert(code, Code { challenge, redirect, account, given_at: Instant::now() });
    match HeaderValue::from_str(&place) {
        Ok(place) => {
            let kept = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::SEE_OTHER, [(header::LOCATION, place), kept]).into_response()
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The token for a code, once, for whoever knows its verifier.
pub fn exchange(app: &App, codes: &Codes, fields: &HashMap<String, String>) -> Response {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    // Taken out whatever comes of it: a code that was shown with a wrong verifier has been stolen.
    let code = codes.inner.lock().codes.remove(field("code"));
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
    let code = code.filter(|code| {
        code.given_at.elapsed() <= CODE_LIFETIME && code.challenge == digest && code.redirect == field("redirect_uri")
    });
    let (Some(code), Some(local)) = (code, app.auth().local()) else {
        return failure(StatusCode::BAD_REQUEST, "invalid_grant", "the code is unknown, used, too old or not yours");
    };
    let renewal = local.renewals.begin(&code.account);
    granted(app, local, &code.account, LOCAL_CLIENT, audience(app), renewal)
}

/// The page talks to this server only; where other audiences are configured, the first of them is meant.
pub(super) fn audience(app: &App) -> Option<String> {
    let own = app.auth().is_audience(&app.public_url());
    if own { None } else { app.config().token_audiences.first().cloned() }
}

/// The form. `text` holds nothing that HTML reads.
fn page(status: StatusCode, asked: Option<&Asked>, text: &str) -> Response {
    let form = match asked {
        None => String::new(),
        Some(asked) => {
            let hidden = [
                ("response_type", "code"),
                ("client_id", LOCAL_CLIENT),
                ("code_challenge_method", "S256"),
                ("redirect_uri", asked.redirect.as_str()),
                ("state", asked.state.as_str()),
                ("code_challenge", asked.challenge.as_str()),
            ];
            let hidden: String = hidden
                .iter()
                .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value)))
                .collect();
            // Without an action the form goes back to where it came from, whatever stands before the path.
            format!(
                "<form method=\"post\">{hidden}\
                 <label>Account <input name=\"account\" required autocomplete=\"username\" autofocus></label>\
                 <label>Secret <input name=\"secret\" type=\"password\" required autocomplete=\"current-password\"></label>\
                 <button>Sign in</button></form>"
            )
        }
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in - Tidewater</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>:root{{color-scheme:light dark}}\
         body{{font:16px system-ui;max-width:22rem;margin:4rem auto;padding:0 1rem}}label{{display:block;margin:1rem 0}}\
         input,button{{font:inherit;width:100%;padding:.4rem;box-sizing:border-box}}</style>\
         <h1>Sign in to Tidewater</h1><p role=\"alert\">{text}</p>{form}</html>"
    );
    secret_page(status, html)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(changes: &[(&str, &str)]) -> Result<Asked, &'static str> {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest("verifier"));
        let mut fields: HashMap<String, String> = [
            ("client_id", LOCAL_CLIENT),
            ("response_type", "code"),
            ("redirect_uri", "http://127.0.0.1:8080/ui/"),
            ("state", "s"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into();
        fields.extend(changes.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        Asked::of(&fields, &headers)
    }

    #[test]
    fn codes_lead_only_to_the_own_page() {
        assert!(asked(&[]).is_ok());
        assert!(asked(&[("redirect_uri", "https://127.0.0.1:8080/proxied/ui/")]).is_ok());
        for hostile in [
            "https://evil.example/ui/",
            "http://127.0.0.1:8080@evil.example/ui/",
            "http://127.0.0.1:8080.evil.example/ui/",
            "http://127.0.0.1:8080/ui/?next=https://evil.example",
            "http://127.0.0.1:8080/ui/#",
            "http://127.0.0.1:8080\\@evil.example/ui/",
            "javascript://127.0.0.1:8080/ui/",
            "//127.0.0.1:8080/ui/",
            "",
        ] {
            assert!(asked(&[("redirect_uri", hostile)]).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_code_needs_a_challenge_that_hides_its_verifier() {
        assert!(asked(&[("code_challenge_method", "plain")]).is_err());
        assert!(asked(&[("code_challenge", "short")]).is_err());
        assert!(asked(&[("client_id", "other")]).is_err());
        assert!(asked(&[("state", "")]).is_err());
    }
}
