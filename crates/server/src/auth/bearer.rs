//! Tokens of OpenID Connect issuers: keys, algorithms, audience, issuer, times.
//! Sources: RFC 8725 (JSON Web Token best practices), OpenID Connect discovery 1.0.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;
use tidewater_service::{Identity, PrincipalKind};
use tokio::sync::Mutex;

/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Largest discovery document or key set.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Keys are read again after this time.
const KEYS_LIFETIME: Duration = Duration::from_secs(3600);
/// An unknown key id makes the keys be read again, at most this often: anybody can send unknown ids.
const MIN_REFRESH: Duration = Duration::from_secs(60);
/// Time for a discovery document or a key set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a token is not taken. The words may go to the caller: they tell nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub String);

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn rejected<T>(reason: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected(reason.into()))
}

/// What is asked of every token.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Audiences that are meant for this server, without slashes at their ends.
    pub audiences: Vec<String>,
    /// Seconds that clocks may differ.
    pub tolerance_seconds: u64,
}

/// An issuer whose tokens are taken.
pub struct Issuer {
    /// Its address, as tokens name it.
    pub name: String,
    keys: Keys,
}

enum Keys {
    /// This server's own.
    Fixed(HashMap<String, Key>),
    /// Read from the issuer by discovery.
    Fetched { client: reqwest::Client, cache: Mutex<Cache> },
}

#[derive(Default)]
struct Cache {
    keys: Arc<HashMap<String, Key>>,
    /// The issuer's name by its own document; Entra's has no slash where its tokens have one, so it decides.
    read_at: Option<Instant>,
    tried_at: Option<Instant>,
}

#[derive(Clone)]
struct Key {
    decoding: DecodingKey,
    /// The only algorithms that this key may be used with.
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The claims that make an identity, by the names that issuers use.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    oid: Option<String>,
    tid: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
    client_id: Option<String>,
    idtyp: Option<String>,
    upn: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    unique_name: Option<String>,
    name: Option<String>,
    app_displayname: Option<String>,
    #[serde(default)]
    groups: Value,
    #[serde(default)]
    roles: Value,
}

impl Issuer {
    /// An issuer whose keys are read when they are first needed.
    ///
    /// Errors: an address that is neither https nor on this machine.
    pub fn remote(name: &str) -> Result<Issuer, String> {
        require_safe(name)?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Issuer { name: name.to_string(), keys: Keys::Fetched { client, cache: Mutex::default() } })
    }

    /// An issuer with known keys.
    pub fn fixed(name: &str, keys: &JwkSet) -> Issuer {
        Issuer { name: name.to_string(), keys: Keys::Fixed(usable(keys)) }
    }

    async fn key(&self, id: Option<&str>) -> Result<Key, Rejected> {
        match &self.keys {
            Keys::Fixed(keys) => pick(keys, id).ok_or_else(|| unknown_key(id)),
            Keys::Fetched { client, cache } => {
                // One reader at a time: the others wait for its answer instead of asking the issuer too.
                let mut cache = cache.lock().await;
                let is_fresh = cache.read_at.is_some_and(|at| at.elapsed() < KEYS_LIFETIME);
                if is_fresh && let Some(key) = pick(&cache.keys, id) {
                    return Ok(key);
                }
                if cache.tried_at.is_none_or(|at| at.elapsed() >= MIN_REFRESH) {
                    cache.tried_at = Some(Instant::now());
                    match self.fetch(client).await {
                        Ok(keys) => {
                            cache.keys = Arc::new(keys);
                            cache.read_at = Some(Instant::now());
                        }
                        // Old keys are better than none while the issuer cannot be reached.
                        Err(error) => tracing::warn!(issuer = %self.name, error, "an issuer's keys could not be read"),
                    }
                }
                if cache.read_at.is_none() {
                    return rejected(format!("the keys of the issuer '{}' cannot be read now", self.name));
                }
                pick(&cache.keys, id).ok_or_else(|| unknown_key(id))
            }
        }
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<HashMap<String, Key>, String> {
        let address = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let discovery: Discovery = document(client, &address).await?;
        if discovery.issuer.trim_end_matches('/') != self.name.trim_end_matches('/') {
            return Err(format!("{address} is about the issuer '{}'", discovery.issuer));
        }
        require_safe(&discovery.jwks_uri)?;
        let keys: JwkSet = document(client, &discovery.jwks_uri).await?;
        let usable = usable(&keys);
        match usable.is_empty() {
            true => Err(format!("{} has no key for signatures", discovery.jwks_uri)),
            false => Ok(usable),
        }
    }
}

fn unknown_key(id: Option<&str>) -> Rejected {
    let id = id.unwrap_or("(none)");
    Rejected(format!("the issuer has no key '{}'", id.chars().take(80).collect::<String>().escape_debug()))
}

/// The key of this id; the only key when a token names none.
fn pick(keys: &HashMap<String, Key>, id: Option<&str>) -> Option<Key> {
    match id {
        Some(id) => keys.get(id).cloned(),
        None if keys.len() == 1 => keys.values().next().cloned(),
        None => None,
    }
}

/// Keys and tokens travel over https, or stay on this machine.
fn require_safe(address: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(address).map_err(|error| format!("'{address}' is no address: {error}"))?;
    let is_local = match url.host_str() {
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local => Ok(()),
        _ => Err(format!("'{address}' must begin with https://")),
    }
}

async fn document<T: serde::de::DeserializeOwned>(client: &reqwest::Client, address: &str) -> Result<T, String> {
    let at = |message: String| format!("{address}: {message}");
    let response = client.get(address).send().await.map_err(|error| at(error.to_string()))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(at(format!("status {}", response.status())));
    }
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.map_err(|error| at(error.to_string()))?);
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(at("the document is too large".to_string()));
        }
    }
    serde_json::from_slice(&bytes).map_err(|error| at(error.to_string()))
}

/// The keys for signatures, each with the algorithms of its kind: never a symmetric one.
fn usable(set: &JwkSet) -> HashMap<String, Key> {
    let mut keys = HashMap::new();
    for jwk in &set.keys {
        if jwk.common.public_key_use.as_ref().is_some_and(|use_| *use_ != PublicKeyUse::Signature) {
            continue;
        }
        let algorithms = algorithms(jwk);
        if let (false, Ok(decoding)) = (algorithms.is_empty(), DecodingKey::from_jwk(jwk)) {
            keys.insert(jwk.common.key_id.clone().unwrap_or_default(), Key { decoding, algorithms });
        }
    }
    keys
}

fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::*;
    let of_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![ES256],
            EllipticCurve::P384 => vec![ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![EdDSA],
        AlgorithmParameters::OctetKey(_) => Vec::new(),
    };
    match jwk.common.key_algorithm {
        None => of_kind,
        Some(named) => of_kind.into_iter().filter(|algorithm| format!("{algorithm:?}") == named.to_string()).collect(),
    }
}

/// Checks a token against the issuers and rules; gives who it is about. `now` is in seconds since 1970.
///
/// Errors: everything that makes a token void, in words.
pub async fn verify(token: &str, issuers: &[Issuer], rules: &Rules) -> Result<Identity, Rejected> {
    if token.len() > MAX_TOKEN_BYTES {
        return rejected("the token is too long");
    }
    // An unknown or absent algorithm ("none") already ends here.
    let header = jsonwebtoken::decode_header(token).map_err(|error| Rejected(format!("no valid token: {error}")))?;
    let named = unverified_issuer(token)?;
    let same = |issuer: &&Issuer| issuer.name.trim_end_matches('/') == named.trim_end_matches('/');
    let Some(issuer) = issuers.iter().find(same) else {
        return rejected(format!("tokens of the issuer '{}' are not taken here", short(&named)));
    };
    let key = issuer.key(header.kid.as_deref()).await?;
    if !key.algorithms.contains(&header.alg) {
        return rejected(format!("the token's algorithm {:?} is not that of its key", header.alg));
    }
    let mut validation = Validation::new(header.alg);
    validation.leeway = rules.tolerance_seconds;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.iss = Some([named].into());
    let audiences = rules.audiences.iter().flat_map(|audience| [audience.clone(), format!("{audience}/")]);
    validation.aud = Some(audiences.collect());
    let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation)
        .map_err(|error| Rejected(explained(error.kind())))?;
    identity(data.claims, &issuer.name)
}

fn explained(kind: &jsonwebtoken::errors::ErrorKind) -> String {
    use jsonwebtoken::errors::ErrorKind::*;
    match kind {
        ExpiredSignature => "the token has expired".to_string(),
        ImmatureSignature => "the token is not valid yet".to_string(),
        InvalidSignature => "the token's signature is wrong".to_string(),
        InvalidAudience => "the token is for another audience".to_string(),
        InvalidIssuer => "the token is of another issuer".to_string(),
        MissingRequiredClaim(claim) => format!("the token has no claim '{claim}'"),
        other => format!("no valid token: {other:?}"),
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}

/// The issuer that a token names, only to find the keys that it must be signed with.
fn unverified_issuer(token: &str) -> Result<String, Rejected> {
    use base64::Engine;
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .map_err(|_| Rejected("no valid token: its middle part is not base64".to_string()))?;
    match serde_json::from_slice::<Named>(&bytes) {
        Ok(named) => Ok(named.iss),
        Err(_) => rejected("the token names no issuer"),
    }
}

fn identity(claims: Claims, authority: &str) -> Result<Identity, Rejected> {
    let application = claims.appid.or(claims.azp).or(claims.client_id);
    let upn = claims.upn.or(claims.preferred_username).or(claims.email).or(claims.unique_name).unwrap_or_default();
    // A token for a program has no user behind it: its subject is the program itself.
    let is_application = match claims.idtyp.as_deref() {
        Some("app") => true,
        Some(_) => false,
        None => {
            application.is_some()
                && (upn.is_empty() || upn.starts_with("service-account-"))
                && (claims.sub == claims.oid || claims.sub == application || upn.starts_with("service-account-"))
        }
    };
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_string)).collect()
    };
    let mut groups = texts(&claims.groups);
    groups.extend(texts(&claims.roles));
    let subject = claims.oid.or(claims.sub);
    let (kind, id) = match (is_application, application) {
        (true, Some(application)) => (PrincipalKind::Application, Some(application)),
        _ => (PrincipalKind::User, subject),
    };
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return rejected("the token names nobody: it has neither 'oid' nor 'sub'");
    };
    Ok(Identity {
        kind,
        id,
        tenant: claims.tid.unwrap_or_default(),
        name: claims.name.or(claims.app_displayname).unwrap_or_default(),
        upn,
        groups,
        authority: authority.to_string(),
        roles: Vec::new(),
    })
}
