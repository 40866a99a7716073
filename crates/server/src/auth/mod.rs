//! Sign-in: who a request is from, before any handler sees it.
//!
//! Three ways in: a token of a configured OpenID Connect issuer (`bearer`), the secret of an account of this server
//! (`accounts`), a token of the built-in issuer (`issuer`). The middleware puts an [`Identity`] into the request; a
//! request that shows something void is refused with 401 even where anonymous ones are let in. Source: kusto-rest 11.

pub mod accounts;
pub mod authorize;
pub mod bearer;
pub mod issuer;
pub mod renewal;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;
use tidewater_service::Identity;

use crate::app::App;
use crate::config::{Config, SignIn};
use crate::files::modified;
use accounts::Accounts;
use bearer::{Issuer, Rejected, Rules};
use issuer::LocalIssuer;

/// Audiences that tokens for Kusto have besides the server's own address.
const KUSTO_AUDIENCES: [&str; 2] = ["https://kusto.kusto.windows.net", "https://api.kusto.windows.net"];

/// Checks who calls.
pub struct Auth {
    mode: SignIn,
    issuers: Vec<Issuer>,
    local: Option<LocalIssuer>,
    rules: Rules,
    accounts: RwLock<Loaded>,
    accounts_file: Option<PathBuf>,
    /// Principals of other issuers as their latest tokens describe them.
    latest: RwLock<HashMap<String, Identity>>,
}

/// Principals of other issuers that are remembered.
const MAX_LATEST: usize = 10_000;

struct Loaded {
    accounts: Arc<Accounts>,
    modified: Option<SystemTime>,
}

impl Auth {
    /// From the settings. `public_url` is the server's own address, without a slash at its end.
    ///
    /// Errors: settings that let nobody in, unsafe addresses of issuers, an accounts file that cannot be read.
    pub fn new(config: &Config, public_url: &str) -> Result<Auth, String> {
        let mut issuers = Vec::new();
        for name in &config.token_issuers {
            issuers.push(Issuer::remote(name).map_err(|error| format!("setting 'token_issuers': {error}"))?);
        }
        let local = match config.local_issuer {
            true => Some(LocalIssuer::open(&config.data_dir)?),
            false => None,
        };
        if let Some(local) = &local {
            issuers.push(Issuer::fixed(public_url, &local.key_set()));
        }
        let mut audiences: Vec<String> = config.token_audiences.clone();
        if audiences.is_empty() {
            audiences.push(public_url.to_string());
            audiences.extend(KUSTO_AUDIENCES.map(str::to_string));
        }
        for audience in &mut audiences {
            audience.truncate(audience.trim_end_matches('/').len());
        }
        let accounts = match &config.accounts_file {
            Some(path) => Accounts::read(path)?,
            None => Accounts::default(),
        };
        if config.local_issuer && config.accounts_file.is_none() {
            return Err("setting 'local_issuer' needs 'accounts_file': it signs in the accounts in it".to_string());
        }
        if config.sign_in != SignIn::Off && issuers.is_empty() && config.accounts_file.is_none() {
            return Err(
                "setting 'sign_in' is on, but nobody could sign in: set 'token_issuers' or 'accounts_file'".to_string()
            );
        }
        let modified = config.accounts_file.as_deref().and_then(modified);
        Ok(Auth {
            mode: config.sign_in,
            issuers,
            local,
            rules: Rules { audiences, tolerance_seconds: config.token_clock_tolerance_seconds },
            accounts: RwLock::new(Loaded { accounts: Arc::new(accounts), modified }),
            accounts_file: config.accounts_file.clone(),
            latest: RwLock::default(),
        })
    }

    /// The built-in issuer, if it is on.
    pub fn local(&self) -> Option<&LocalIssuer> {
        self.local.as_ref()
    }

    /// Whether tokens for this audience are taken.
    pub fn is_audience(&self, audience: &str) -> bool {
        let audience = audience.trim_end_matches('/');
        self.rules.audiences.iter().any(|own| own == audience)
    }

    /// The accounts, read again when the file has changed; a faulty file changes nothing.
    pub fn accounts(&self) -> Arc<Accounts> {
        let Some(path) = &self.accounts_file else { return Arc::clone(&self.accounts.read().accounts) };
        let found = modified(path);
        {
            let loaded = self.accounts.read();
            if loaded.modified == found {
                return Arc::clone(&loaded.accounts);
            }
        }
        let mut loaded = self.accounts.write();
        if loaded.modified != found {
            loaded.modified = found;
            match Accounts::read(path) {
                Ok(accounts) => loaded.accounts = Arc::new(accounts),
                Err(error) => tracing::error!(error, "the accounts stay as they were"),
            }
        }
        Arc::clone(&loaded.accounts)
    }

    /// Who the headers say is calling.
    ///
    /// Errors: what they show is void, or nothing is shown where sign-in is required.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Rejected> {
        // Clients that insist on signing in somewhere send tokens that mean nothing here. Source: kusto-rest 11.
        if self.mode == SignIn::Off {
            return Ok(Identity::anonymous());
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return match self.mode {
                SignIn::Required => Err(Rejected("sign in first: there is no Authorization header".to_string())),
                _ => Ok(Identity::anonymous()),
            };
        };
        if let Some((id, secret)) = issuer::basic(headers) {
            let accounts = self.accounts();
            let account = accounts.by_id_and_secret(&id, &secret);
            return account.map(|account| account.identity()).ok_or_else(wrong_secret);
        }
        let text = value.to_str().map_err(|_| Rejected("the Authorization header is not plain text".to_string()))?;
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(Rejected("the Authorization header must be 'Bearer TOKEN' or 'Basic ...'".to_string())),
        };
        if token.starts_with(accounts::SECRET_PREFIX) {
            return self.accounts().by_secret(token).map(|account| account.identity()).ok_or_else(wrong_secret);
        }
        let identity = bearer::verify(token, &self.issuers, &self.rules).await?;
        // A token of ours outlives its account for up to an hour, unless it is looked up.
        if self.local.is_some() && self.issuers.last().is_some_and(|own| own.name == identity.authority) {
            return match self.accounts().by_id(&identity.id) {
                Some(account) => Ok(account.identity()),
                None => Err(Rejected("the token's account is gone".to_string())),
            };
        }
        self.remember(&identity);
        Ok(identity)
    }

    fn remember(&self, identity: &Identity) {
        let key = format!("{}\n{}", identity.authority, identity.id);
        if self.latest.read().get(&key) == Some(identity) {
            return;
        }
        let mut latest = self.latest.write();
        if latest.len() >= MAX_LATEST && !latest.contains_key(&key) {
            latest.clear();
        }
        latest.insert(key, identity.clone());
    }

    /// A principal as it is known now: an account of this server as the file has it, another's as its latest token says.
    /// `None` when it may not sign in any more.
    pub fn present(&self, identity: &Identity) -> Option<Identity> {
        if self.mode == SignIn::Off {
            return Some(identity.clone());
        }
        let is_local = identity.authority == accounts::AUTHORITY
            || self.local.is_some() && self.issuers.last().is_some_and(|own| own.name == identity.authority);
        if is_local {
            return self.accounts().by_id(&identity.id).map(|account| account.identity());
        }
        // An issuer that is trusted no more vouches for nobody.
        if !self.issuers.iter().any(|issuer| issuer.name == identity.authority) {
            return None;
        }
        let key = format!("{}\n{}", identity.authority, identity.id);
        Some(self.latest.read().get(&key).unwrap_or(identity).clone())
    }
}

fn wrong_secret() -> Rejected {
    Rejected("no account has this secret".to_string())
}

/// Addresses that answer before sign-in: probes, and what clients need to find out how to sign in.
///
/// Deep links are only ways to the page, which asks for its data with the token of whoever looks at it.
fn is_public(method: &Method, path: &str) -> bool {
    let is_link = matches!(*method, Method::GET | Method::HEAD)
        && path.strip_prefix('/').is_some_and(|name| !name.contains('/'))
        && path != "/metrics"
        && !crate::queries::is_path(path);
    is_link
        || crate::ui::is_path(path)
        || matches!(path, "/v1/rest/ping" | "/v1/rest/auth/metadata")
        || issuer::is_public(path)
        // The signature in the address says what its bearer may do.
        || crate::storage::is_path(path)
}

/// Lets a request through with its [`Identity`], or answers 401.
pub async fn signed_in(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let identity = match is_public(request.method(), request.uri().path()) {
        true => Identity::anonymous(),
        false => match app.auth().identify(request.headers()).await {
            Ok(identity) => identity,
            Err(rejected) => {
                tracing::info!(path = request.uri().path(), reason = %rejected, "not signed in");
                let response = unauthorized(&app, &request, &rejected);
                return crate::http::unread(request, response).await;
            }
        },
    };
    request.extensions_mut().insert(Arc::new(identity));
    next.run(request).await
}

/// 401: without a body in Kusto's API, with its document in the other.
fn unauthorized(app: &App, request: &Request, rejected: &Rejected) -> Response {
    let mut response = match crate::queries::is_path(request.uri().path()) {
        true => crate::queries::unauthorized(request.headers(), &rejected.0),
        false => StatusCode::UNAUTHORIZED.into_response(),
    };
    let reason: String =
        rejected.0.chars().map(|c| if (' '..='~').contains(&c) && c != '"' && c != '\\' { c } else { '?' }).collect();
    let sign_in = app.login_endpoint();
    let challenge =
        format!("Bearer authorization_uri=\"{sign_in}\", error=\"invalid_token\", error_description=\"{reason}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    let id = request.headers().get(crate::kusto::respond::CLIENT_REQUEST_ID).cloned();
    let caller = crate::kusto::request::Caller::unsigned(request.headers());
    let headers = response.headers_mut();
    if let Some(id) = id.or_else(|| HeaderValue::from_str(&caller.client_request_id).ok()) {
        headers.insert(crate::kusto::respond::CLIENT_REQUEST_ID, id);
    }
    if let Ok(id) = HeaderValue::from_str(&caller.activity_id.to_string()) {
        headers.insert("x-ms-activity-id", id);
    }
    response
}
