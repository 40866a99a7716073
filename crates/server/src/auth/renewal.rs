//! Tokens by which the page renews its sign-in at the built-in issuer. Source: RFC 6749 section 6, RFC 9700 section 4.14.
//!
//! Each is good once and gives its successor. They are kept in memory by their hashes: after a restart people sign in
//! again. One that nobody used for a while is void, and so are all of an account whose secret has changed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::accounts::{self, Account};
use super::issuer::{failure, granted};
use crate::app::App;
use crate::ui::LOCAL_CLIENT;

/// How long a token waits for its use.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// How long a sign-in is renewed in all.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Tokens that wait at once.
const MAX_TOKENS: usize = 10_000;

/// Tokens that wait for their use.
#[derive(Default)]
pub struct Renewals {
    waiting: Mutex<HashMap<[u8; 32], Renewal>>,
}

struct Renewal {
    account: String,
    secret: String,
    signed_in_at: Instant,
    given_at: Instant,
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Renewals {
    /// A token for an account that has just signed in; none when too many wait.
    pub fn begin(&self, account: &Account) -> Option<String> {
        self.give(account, Instant::now())
    }

    fn give(&self, account: &Account, signed_in_at: Instant) -> Option<String> {
        let token = URL_SAFE_NO_PAD.encode(accounts::random::<32>().ok()?);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_TOKENS {
            waiting.retain(|_, renewal| renewal.given_at.elapsed() <= IDLE);
            if waiting.len() >= MAX_TOKENS {
                return None;
            }
        }
        let renewal = Renewal {
            account: account.id.clone(),
            secret: account.secret_sha256.clone(),
            signed_in_at,
            given_at: Instant::now(),
        };
        waiting.insert(hash(&token), renewal);
        Some(token)
    }

    fn take(&self, token: &str) -> Option<Renewal> {
        let renewal = self.waiting.lock().remove(&hash(token))?;
        (renewal.given_at.elapsed() <= IDLE && renewal.signed_in_at.elapsed() <= LONGEST).then_some(renewal)
    }
}

/// The grant `refresh_token`: another token for whoever still has the account.
pub fn exchange(app: &App, fields: &HashMap<String, String>) -> Response {
    let Some(local) = app.auth().local() else { return super::issuer::no_issuer() };
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let accounts = app.auth().accounts();
    let renewal = local.renewals.take(field("refresh_token")).filter(|_| field("client_id") == LOCAL_CLIENT);
    let found = renewal.and_then(|renewal| {
        let account = accounts.by_id(&renewal.account).filter(|account| account.secret_sha256 == renewal.secret)?;
        Some((account, renewal.signed_in_at))
    });
    let Some((account, signed_in_at)) = found else {
        return failure(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            "the token is unknown, used or too old: sign in again",
        );
    };
    let next = local.renewals.give(account, signed_in_at);
    granted(app, local, account, LOCAL_CLIENT, super::authorize::audience(app), next)
}
