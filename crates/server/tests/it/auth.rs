//! Sign-in: tokens of an issuer, accounts, the built-in issuer, TLS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tidewater_server::auth::accounts::{self, AccountRole, Kind};
use tidewater_server::config::SignIn;

use crate::support::{Server, start_with};

/// An issuer with one key that answers discovery; it counts how often its keys are read.
struct Issuer {
    url: String,
    key: EncodingKey,
    public: (String, String),
    reads: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Issuer {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let public = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tenant", listener.local_addr().unwrap());
        let reads = Arc::new(AtomicUsize::new(0));
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let (x, y) = public.clone();
        let keys = json!({"keys": [{"kty": "EC", "use": "sig", "crv": "P-256", "kid": "k1", "x": x, "y": y}]});
        let counted = Arc::clone(&reads);
        let router = axum::Router::new()
            .route("/tenant/.well-known/openid-configuration", axum::routing::get(async move || Json(discovery)))
            .route(
                "/tenant/keys",
                axum::routing::get(async move || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    Json(keys)
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Issuer { url, key: EncodingKey::from_ec_der(document.as_ref()), public, reads }
    }

    fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.url, "aud": "https://kusto.kusto.windows.net", "sub": "s", "oid": "object-1", "tid": "tenant-1",
            "upn": "ann@example.org", "name": "Ann", "nbf": now - 5, "exp": now + 300,
        })
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some("k1"), claims)
    }

    fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_string), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

fn now() -> i64 {
    (tidewater_service::context::now_ticks() - 621_355_968_000_000_000) / 10_000_000
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// Status and principal of `print current_principal()` with an Authorization header.
async fn principal(server: &Server, authorization: Option<&str>) -> (u16, String) {
    let mut request = server
        .client
        .post(format!("{}/v1/rest/query", server.url))
        .json(&json!({"db": "NetDefaultDB", "csl": "print current_principal()"}));
    if let Some(value) = authorization {
        request = request.header("Authorization", value);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        let answer: Value = response.json().await.unwrap();
        return (status, answer["Tables"][0]["Rows"][0][0].as_str().unwrap().to_string());
    }
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_string();
    assert!(challenge.starts_with("Bearer authorization_uri=\"http"), "{challenge}");
    assert!(response.headers().contains_key("x-ms-activity-id"));
    assert_eq!(response.bytes().await.unwrap().len(), 0, "a 401 has no body");
    (status, challenge)
}

async fn bearer(server: &Server, token: &str) -> (u16, String) {
    principal(server, Some(&format!("Bearer {token}"))).await
}

async fn guarded(issuer: &Issuer) -> Server {
    let url = issuer.url.clone();
    start_with(move |config| {
        config.sign_in = SignIn::Required;
        config.token_issuers = vec![url];
        config.administrators = vec!["aaduser=object-1;tenant-1".to_string(), "aadapp=app-1;tenant-1".to_string()];
    })
    .await
}

#[tokio::test]
async fn a_token_of_the_issuer_lets_its_user_in() {
    let issuer = Issuer::start().await;
    let server = guarded(&issuer).await;
    let token = issuer.sign(&issuer.claims());
    assert_eq!(bearer(&server, &token).await, (200, "aaduser=object-1;tenant-1".to_string()));
    assert_eq!(bearer(&server, &token).await.0, 200);
    assert_eq!(issuer.reads.load(Ordering::SeqCst), 1, "the keys are kept");
    let mut claims = issuer.claims();
    claims["appid"] = "app-1".into();
    claims["idtyp"] = "app".into();
    assert_eq!(bearer(&server, &issuer.sign(&claims)).await, (200, "aadapp=app-1;tenant-1".to_string()));
    let none = principal(&server, None).await;
    assert_eq!(none.0, 401);
    assert!(none.1.contains("no Authorization header"), "{}", none.1);
}

#[tokio::test]
async fn a_void_token_is_refused_whatever_is_wrong_with_it() {
    let issuer = Issuer::start().await;
    let other = Issuer::start().await;
    let server = guarded(&issuer).await;
    let claims = issuer.claims();
    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = issuer.claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let good = issuer.sign(&claims);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = signature.as_bytes().to_vec();
    flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let cases = [
        ("no signature", unsigned(&json!({"alg": "none", "typ": "JWT"}), &claims, ""), "no valid token"),
        ("no signature, known key", unsigned(&json!({"alg": "none", "kid": "k1"}), &claims, ""), "no valid token"),
        ("an empty signature", format!("{head}."), "signature"),
        ("another signature", format!("{head}.{flipped}"), "signature"),
        ("the public key as a secret", hmac(issuer.public.0.as_bytes()), "algorithm HS256"),
        ("another key", other.sign(&claims), "signature"),
        ("an unknown key", issuer.sign_as(Some("k2"), &claims), "no key 'k2'"),
        ("expired", issuer.sign(&with("exp", json!(now() - 61))), "expired"),
        ("not yet valid", issuer.sign(&with("nbf", json!(now() + 120))), "not valid yet"),
        ("without end", issuer.sign(&without("exp")), "'exp'"),
        ("another audience", issuer.sign(&with("aud", json!("https://vault.azure.net"))), "another audience"),
        ("no audience", issuer.sign(&without("aud")), "'aud'"),
        ("another issuer", other.sign(&other.claims()), "are not taken here"),
        ("no issuer", issuer.sign(&without("iss")), "names no issuer"),
        ("no token at all", "x".to_string(), "no valid token"),
        ("three dots", "...".to_string(), "no valid token"),
        ("a huge token", format!("{head}.{}", "A".repeat(20_000)), "too long"),
    ];
    for (what, token, reason) in cases {
        let (status, challenge) = bearer(&server, &token).await;
        assert_eq!(status, 401, "{what}");
        assert!(challenge.contains(reason), "{what}: {challenge}");
    }
    // Within the tolerance of clocks, and with the audience's other spelling.
    assert_eq!(bearer(&server, &issuer.sign(&with("exp", json!(now() - 30)))).await.0, 200);
    assert_eq!(bearer(&server, &issuer.sign(&with("aud", json!("https://kusto.kusto.windows.net/")))).await.0, 200);
    assert_eq!(issuer.reads.load(Ordering::SeqCst), 1, "unknown keys do not make the server ask again and again");
}

#[tokio::test]
async fn everything_but_the_way_to_sign_in_is_closed() {
    let issuer = Issuer::start().await;
    let server = guarded(&issuer).await;
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/queries"),
        ("POST", "/queries"),
        ("GET", "/data/foundation/query/queries/x"),
        ("POST", "/v1/rest/mgmt"),
        ("GET", "/v2/rest/query?csl=print+1"),
        ("POST", "/v1/rest/ingest/D/T?streamFormat=csv"),
        ("POST", "/"),
        ("GET", "/v1/rest/nothing"),
    ] {
        let request = server.client.request(method.parse().unwrap(), format!("{}{path}", server.url));
        let response = request.header("x-gw-ims-org-id", "o").send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
        if path.contains("queries") {
            let body: Value = response.json().await.unwrap();
            assert_eq!((&body["statusCode"], &body["error_code"]), (&json!(401), &json!("403010")));
        }
    }
    for path in ["/healthz", "/v1/rest/ping", "/v1/rest/auth/metadata", "/"] {
        let status = server.client.get(format!("{}{path}", server.url)).send().await.unwrap().status();
        assert!(status.is_success() || status.is_redirection(), "{path}: {status}");
    }
    let metadata: Value =
        server.client.get(format!("{}/v1/rest/auth/metadata", server.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["AzureAD"]["LoginEndpoint"], json!(issuer.url.trim_end_matches("/tenant")));
}

#[tokio::test]
async fn keys_that_cannot_be_read_let_nobody_in() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let issuer = Issuer::start().await;
    let server = start_with(|config| {
        config.sign_in = SignIn::Required;
        config.token_issuers = vec![format!("http://{closed}")];
        config.administrators = vec!["aaduser=object-1;tenant-1".to_string()];
    })
    .await;
    let mut claims = issuer.claims();
    claims["iss"] = format!("http://{closed}").into();
    let (status, challenge) = bearer(&server, &issuer.sign(&claims)).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("cannot be read now"), "{challenge}");
}

async fn with_accounts(directory: &Path, sign_in: SignIn, is_issuer: bool) -> (Server, String, String) {
    let file = directory.join("accounts.toml");
    let robot =
        accounts::add(&file, "ci", Kind::Application, "Build robot", Vec::new(), vec![AccountRole::Admin]).unwrap();
    let ann = accounts::add(&file, "ann", Kind::User, "Ann", Vec::new(), vec![AccountRole::Viewer]).unwrap();
    let server = start_with(move |config| {
        config.sign_in = sign_in;
        config.accounts_file = Some(file);
        config.local_issuer = is_issuer;
        // Callers without a token may do something where they are let in.
        config.administrators = vec!["anonymous".to_string()];
    })
    .await;
    (server, robot, ann)
}

#[tokio::test]
async fn an_accounts_secret_signs_in_until_the_account_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (server, robot, ann) = with_accounts(directory.path(), SignIn::Optional, false).await;
    assert_eq!(bearer(&server, &robot).await, (200, "aadapp=ci".to_string()));
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("ann:{ann}")));
    assert_eq!(principal(&server, Some(&basic)).await, (200, "aaduser=ann".to_string()));
    // Anonymous callers are let in here, but void secrets are not taken for anonymous ones.
    assert_eq!(principal(&server, None).await, (200, "anonymous".to_string()));
    assert_eq!(bearer(&server, "tdw_wrong").await.0, 401);
    assert_eq!(principal(&server, Some("Negotiate x")).await.0, 401);
    accounts::remove(&directory.path().join("accounts.toml"), "ci").unwrap();
    assert_eq!(bearer(&server, &robot).await.0, 401);
}

#[tokio::test]
async fn without_sign_in_a_meaningless_token_is_ignored() {
    let server = crate::support::start().await;
    assert_eq!(bearer(&server, "meaningless").await, (200, "anonymous".to_string()));
}

#[tokio::test]
async fn the_built_in_issuer_gives_tokens_for_a_clients_secret() {
    let directory = tempfile::tempdir().unwrap();
    let (server, robot, _) = with_accounts(directory.path(), SignIn::Required, true).await;
    let form = |path: &str, secret: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", secret)];
        fields.extend_from_slice(more);
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", value.replace(':', "%3A"))).collect();
        let request = server.client.post(format!("{}{path}", server.url));
        request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"))
    };
    for path in ["/auth/token", "/adfs/oauth2/token", "/anything/oauth2/v2.0/token"] {
        let response = form(path, &robot, &[("resource", "https://kusto.kusto.windows.net")]).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(
            (&answer["token_type"], &answer["expires_in"]),
            (&json!("Bearer"), &json!(3600)),
            "{path}: {answer}"
        );
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(bearer(&server, token).await, (200, "aadapp=ci".to_string()));
    }
    // curl -F
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nclient_credentials\r\n--b\r\n\
                     Content-Disposition: form-data; name=\"client_id\"\r\n\r\nci\r\n--b\r\n\
                     Content-Disposition: form-data; name=\"client_secret\"\r\n\r\nSECRET\r\n--b--\r\n";
    let request = server.client.post(format!("{}/tenant/oauth2/token", server.url));
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    let answer: Value = request.body(multipart.replace("SECRET", &robot)).send().await.unwrap().json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap().to_string();
    assert_eq!(bearer(&server, &token).await.0, 200);
    let refused = form("/auth/token", "tdw_wrong", &[]).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"], "invalid_client");
    let refused = form("/auth/token", &robot, &[("resource", "https://elsewhere")]).send().await.unwrap();
    assert_eq!(refused.json::<Value>().await.unwrap()["error"], "invalid_target");
    // A token ends with its account.
    accounts::remove(&directory.path().join("accounts.toml"), "ci").unwrap();
    let (status, challenge) = bearer(&server, &token).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("account is gone"), "{challenge}");
}

#[tokio::test]
async fn a_device_code_waits_for_its_user() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, ann) = with_accounts(directory.path(), SignIn::Required, true).await;
    let post = async |path: &str, body: String| {
        let request = server.client.post(format!("{}{path}", server.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) = post("/tenant/oauth2/v2.0/devicecode", "client_id=cli&scope=openid".into()).await;
    assert_eq!(status, 200, "{text}");
    let asked: Value = serde_json::from_str(&text).unwrap();
    let (device, code) = (asked["device_code"].as_str().unwrap(), asked["user_code"].as_str().unwrap());
    let poll = format!("grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=cli&device_code={device}");
    let (status, text) = post("/auth/token", poll.clone()).await;
    assert!(status == 400 && text.contains("authorization_pending"), "{text}");
    let (status, _) = post("/auth/device", format!("code={code}&account=ann&secret=wrong")).await;
    assert_eq!(status, 403);
    let (status, text) = post("/auth/device", format!("code={}&account=ann&secret={ann}", code.to_lowercase())).await;
    assert!(status == 200 && text.contains("You are signed in"), "{text}");
    let (status, text) = post("/auth/token", poll.clone()).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(bearer(&server, token).await, (200, "aaduser=ann".to_string()));
    let (_, text) = post("/auth/token", poll).await;
    assert!(text.contains("expired_token"), "a code is good once: {text}");
    // Guessing is slowed down, also with the right answer among the guesses.
    for _ in 0..20 {
        post("/auth/device", "code=BBBB-BBBB&account=ann&secret=x".into()).await;
    }
    assert_eq!(post("/auth/device", format!("code=BBBB-BBBB&account=ann&secret={ann}")).await.0, 429);
    let page = server.client.get(format!("{}/auth/device?code=%22%3E%3Cscript%3E", server.url)).send().await.unwrap();
    assert!(!page.text().await.unwrap().contains("<script"));
}

#[tokio::test]
async fn settings_that_let_nobody_in_are_refused_at_the_start() {
    let start = async |change: &dyn Fn(&mut tidewater_server::Config)| {
        // One each: tasks of a server that did not start may keep its directory for a moment.
        let directory = tempfile::tempdir().unwrap();
        let mut config = tidewater_server::Config {
            listen: "127.0.0.1:0".into(),
            data_dir: directory.path().join("data"),
            ..tidewater_server::Config::default()
        };
        change(&mut config);
        match tidewater_server::cli::start(config, tokio::runtime::Handle::current()).await {
            Ok(_) => panic!("the server started"),
            Err(message) => message,
        }
    };
    let message = start(&|config| config.sign_in = SignIn::Required).await;
    assert!(message.contains("nobody could sign in"), "{message}");
    let nobody = |config: &mut tidewater_server::Config| {
        config.sign_in = SignIn::Required;
        config.token_issuers = vec!["https://issuer.example".into()];
    };
    let message = start(&nobody).await;
    assert!(message.contains("nobody could administer the server"), "{message}");
    let message = start(&|config| {
        nobody(config);
        config.administrators = vec!["ann".into()];
    })
    .await;
    assert!(message.contains("principal 'ann' has no kind"), "{message}");
    let message = start(&|config| config.token_issuers = vec!["http://issuer.example".into()]).await;
    assert!(message.contains("must begin with https://"), "{message}");
    let message = start(&|config| config.tls_key = Some("k.pem".into())).await;
    assert!(message.contains("belong together"), "{message}");
    let message = start(&|config| config.local_issuer = true).await;
    assert!(message.contains("needs 'accounts_file'"), "{message}");
}

#[tokio::test]
async fn tls_serves_a_made_certificate_and_takes_a_new_one_without_a_restart() {
    let server = start_with(|config| config.tls_self_signed = true).await;
    let authority = server.app.tls().unwrap().authority.clone().unwrap();
    let client = |pem: &[u8]| {
        let trusted = reqwest::Certificate::from_pem(pem).unwrap();
        reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap()
    };
    let url = format!("{}/healthz", server.app.public_url());
    assert!(url.starts_with("https://"));
    let first = std::fs::read(&authority).unwrap();
    assert_eq!(client(&first).get(&url).send().await.unwrap().status(), 200);
    // Another authority's certificate takes the place of the first.
    let other = start_with(|config| config.tls_self_signed = true).await;
    let theirs = other.app.tls().unwrap().authority.clone().unwrap();
    let directory = authority.parent().unwrap();
    for file in ["server.key", "server.pem"] {
        std::fs::copy(theirs.with_file_name(file), directory.join(file)).unwrap();
    }
    let second = client(&std::fs::read(&theirs).unwrap());
    let mut taken = second.get(&url).send().await;
    for _ in 0..100 {
        if taken.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        taken = second.get(&url).send().await;
    }
    assert_eq!(taken.unwrap().status(), 200);
    assert!(client(&first).get(&url).send().await.is_err());
    // A broken file changes nothing.
    std::fs::write(directory.join("server.pem"), "nonsense").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(second.get(&url).send().await.unwrap().status(), 200);
}
