//! What this server signs for queued ingestion: addresses of its own storage, and who a message is from.
//!
//! The key is 32 random bytes in the data directory, made once. A signature holds for one resource, some permissions and
//! some time, as the shared access signatures of Azure Storage do; the clients' libraries only pass it on.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tidewater_kql::value::datetime;

use crate::error::{Error, Fault, Result};
use crate::identity::Identity;

/// How long addresses and identity tokens hold. Clients ask for new ones every hour.
const LIFETIME_TICKS: i64 = 864_000_000_000;
/// The version of Azure Storage whose requests are understood.
const VERSION: &str = "2024-11-04";

/// The key of a data directory.
pub(crate) struct SigningKey {
    key: hmac::Key,
}

#[derive(Serialize, Deserialize)]
struct Token {
    identity: Identity,
    /// Ticks.
    until: i64,
}

impl SigningKey {
    /// Reads the key, or makes it.
    pub fn open(directory: &Path) -> Result<SigningKey> {
        let path = directory.join("signing.key");
        let failed = |error: std::io::Error| Error::internal(format!("the key '{}': {error}", path.display()));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) if bytes.len() == 32 => bytes,
            Ok(_) => return Err(Error::internal(format!("the key '{}' is damaged; remove it", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = vec![0; 32];
                SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no random numbers"))?;
                write_private(&path, &bytes).map_err(failed)?;
                bytes
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(SigningKey { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    fn sign(&self, text: &str) -> String {
        STANDARD.encode(hmac::sign(&self.key, text.as_bytes()))
    }

    /// The query of a signed address of a resource.
    pub fn query(&self, resource: &str, permissions: &str, now: i64) -> String {
        let until = seconds(now + LIFETIME_TICKS);
        let signature = self.sign(&signed_text(resource, permissions, &until));
        let escaped =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        format!("sv={VERSION}&sr=c&se={}&sp={permissions}&sig={}", escaped(&until), escaped(&signature))
    }

    /// Whether a query's signature is ours, for this resource, and gives this permission. `now` is none where an old one
    /// will do.
    pub fn allows(&self, resource: &str, query: &[(String, String)], permission: char, now: Option<i64>) -> bool {
        let value =
            |wanted: &str| query.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value.as_str());
        let (permissions, until) = (value("sp"), value("se"));
        let Ok(signature) = STANDARD.decode(value("sig")) else { return false };
        let text = signed_text(resource, permissions, until);
        let holds = match (now, datetime::parse(until)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(now), Some(until)) => now < until,
        };
        holds && permissions.contains(permission) && hmac::verify(&self.key, text.as_bytes(), &signature).is_ok()
    }

    /// A text that tells later who asked for it now.
    pub fn token(&self, identity: &Identity, now: i64) -> Result<String> {
        let token = Token { identity: identity.clone(), until: now + LIFETIME_TICKS };
        let body = serde_json::to_vec(&token).map_err(|error| Error::internal(error.to_string()))?;
        let body = URL_SAFE_NO_PAD.encode(body);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, format!("identity\n{body}").as_bytes()));
        Ok(format!("{body}.{signature}"))
    }

    /// Who a token is of. `sent` is when the message with it came.
    pub fn identity(&self, token: &str, sent: i64) -> Result<Identity> {
        let refused = |why: &str| {
            let text = format!("the message's authorizationContext {why}; '.get kusto identity token' gives one");
            Error::new(Fault::Forbidden, text)
        };
        let (body, signature) = token.trim().split_once('.').ok_or_else(|| refused("is none of this server's"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| refused("is none of this server's"))?;
        hmac::verify(&self.key, format!("identity\n{body}").as_bytes(), &signature)
            .map_err(|_| refused("is none of this server's"))?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| refused("is damaged"))?;
        let token: Token = serde_json::from_slice(&body).map_err(|_| refused("is damaged"))?;
        match sent < token.until {
            true => Ok(token.identity),
            false => Err(refused("has expired")),
        }
    }
}

fn signed_text(resource: &str, permissions: &str, until: &str) -> String {
    format!("storage\n{resource}\n{permissions}\n{until}")
}

/// `2026-01-02T03:04:05Z`
fn seconds(ticks: i64) -> String {
    let mut text = Vec::new();
    datetime::write(ticks - ticks.rem_euclid(10_000_000), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn a_signature_holds_for_its_resource_permissions_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::open(directory.path()).unwrap();
        let now = datetime::parse("2026-01-01").unwrap();
        let query = pairs(&key.query("uploads", "cw", now));
        assert!(key.allows("uploads", &query, 'w', Some(now)));
        assert!(!key.allows("uploads", &query, 'r', Some(now)));
        assert!(!key.allows("ready", &query, 'w', Some(now)));
        assert!(!key.allows("uploads", &query, 'w', Some(now + LIFETIME_TICKS)));
        assert!(key.allows("uploads", &query, 'w', None));
        // The key stays; another one does not know the signature.
        assert!(SigningKey::open(directory.path()).unwrap().allows("uploads", &query, 'w', Some(now)));
        let other = tempfile::tempdir().unwrap();
        assert!(!SigningKey::open(other.path()).unwrap().allows("uploads", &query, 'w', Some(now)));
        let mut wider = query.clone();
        wider.iter_mut().filter(|(name, _)| name == "sp").for_each(|(_, value)| value.push('r'));
        assert!(!key.allows("uploads", &wider, 'r', Some(now)));
    }

    #[test]
    fn a_token_tells_who_asked_for_it_until_it_expires() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::open(directory.path()).unwrap();
        let identity = Identity { id: "somebody".into(), ..Identity::server() };
        let token = key.token(&identity, 0).unwrap();
        assert_eq!(key.identity(&token, 5).unwrap(), identity);
        assert!(key.identity(&token, LIFETIME_TICKS).is_err());
        assert!(key.identity(&format!("{token}x"), 5).is_err());
        assert!(key.identity("", 5).is_err());
    }
}
