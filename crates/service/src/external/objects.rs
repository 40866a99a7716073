//! Object stores: Azure Blob Storage and Data Lake, Amazon S3 and what speaks its protocol, Google Cloud Storage.
//!
//! A [`Place`] is a container or bucket, a key in it, and how to sign in there; it comes from a connection string
//! (`location`). Every request goes through the server's own HTTP client, whose redirects are checked by policy. Secrets
//! leave a place only towards its store: they are in no message, no debug text, no answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use object_store::client::{HttpResponseBody, HttpService};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{Attribute, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use object_store::{StaticCredentialProvider, WriteMultipart};
use reqwest::{Client, Url};

use crate::error::{Error, Fault, Result};

/// The setting that names other servers for the stores.
pub const ENDPOINTS_SETTING: &str = "storage_endpoints";
/// The setting that names identities of this machine.
pub const IDENTITIES_SETTING: &str = "managed_identities";
/// Bytes of one part of an upload.
const PART_BYTES: usize = 8 << 20;
/// Parts of an upload that are under way at once.
const MAX_PARTS: usize = 4;
/// Objects of one source.
const MAX_LISTED: usize = 100_000;

/// Whose protocol a store speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the account's name.
    Azure(String),
    /// With the region, where the address tells it.
    S3(Option<String>),
    /// Google Cloud Storage.
    Google,
}

/// How to sign in.
#[derive(Clone, PartialEq, Eq)]
pub enum SignIn {
    Anonymous,
    /// A shared access signature, decoded.
    Signature(Vec<(String, String)>),
    AccountKey(String),
    Token(String),
    Aws {
        id: String,
        secret: String,
        session: Option<String>,
    },
    /// An identity of this machine: its object id, or the system's.
    Managed(Option<String>),
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SignIn::Anonymous => "Anonymous",
            SignIn::Signature(_) => "Signature",
            SignIn::AccountKey(_) => "AccountKey",
            SignIn::Token(_) => "Token",
            SignIn::Aws { .. } => "Aws",
            SignIn::Managed(_) => "Managed",
        })
    }
}

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub kind: Kind,
    /// The container, file system or bucket.
    pub container: String,
    /// The key in it, decoded; empty for all of it.
    pub key: String,
    pub sign_in: SignIn,
    /// The store's own address where it is not its protocol's usual one; containers are the first part of paths there.
    pub endpoint: Option<String>,
    /// What policies look at: the address without its query.
    pub url: Url,
    /// How keys are shown: what stands before them, with a slash at its end.
    pub root: String,
}

/// What an object is.
#[derive(Clone, Debug)]
pub struct Listed {
    pub key: String,
    pub size: u64,
    /// When it was written.
    pub written: std::time::SystemTime,
}

/// Other servers that stand for the stores, and the identities that may be used.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    azure: Option<String>,
    s3: Option<String>,
    google: Option<String>,
    identities: Vec<String>,
}

impl Stores {
    /// Reads the settings. Errors: an entry that is not `azure=URL`, `s3=URL` or `gs=URL`.
    pub fn new(endpoints: &[String], identities: &[String]) -> Result<Stores> {
        let mut stores = Stores { identities: identities.to_vec(), ..Stores::default() };
        for text in endpoints {
            let wrong = |reason: &str| Error::bad_request(format!("setting '{ENDPOINTS_SETTING}': '{text}': {reason}"));
            let (name, url) = text.split_once('=').ok_or_else(|| wrong("azure=URL, s3=URL or gs=URL is expected"))?;
            let parsed = Url::parse(url.trim()).map_err(|error| wrong(&error.to_string()))?;
            if !matches!(parsed.scheme(), "http" | "https") || parsed.query().is_some() {
                return Err(wrong("an http or https address without a query is expected"));
            }
            let url = Some(url.trim().trim_end_matches('/').to_string());
            match name.trim().to_ascii_lowercase().as_str() {
                "azure" => stores.azure = url,
                "s3" => stores.s3 = url,
                "gs" => stores.google = url,
                _ => return Err(wrong("azure=URL, s3=URL or gs=URL is expected")),
            }
        }
        Ok(stores)
    }

    /// Opens the store of a place.
    pub fn open(&self, place: &Place, client: Client) -> Result<Opened> {
        if let SignIn::Managed(id) = &place.sign_in {
            let name = id.as_deref().unwrap_or("system");
            if !self.identities.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Error::new(
                    Fault::Forbidden,
                    format!("setting '{IDENTITIES_SETTING}' does not allow the managed identity '{name}'"),
                ));
            }
        }
        let connector = Connector(client);
        let retry = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() };
        let options = ClientOptions::new().with_allow_http(true);
        let wrong = |error: object_store::Error| place.failed(&error);
        let store: Arc<dyn ObjectStore> = match &place.kind {
            Kind::Azure(account) => {
                let mut builder = MicrosoftAzureBuilder::new()
                    .with_account(account)
                    .with_container_name(&place.container)
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector);
                let replaced = self.azure.as_ref().map(|url| format!("{url}/{account}"));
                if let Some(endpoint) = place.endpoint.clone().filter(|_| !place.is_usual()).or(replaced) {
                    builder = builder.with_endpoint(endpoint);
                } else if let Some(endpoint) = &place.endpoint {
                    builder = builder.with_endpoint(endpoint.clone());
                }
                builder = match &place.sign_in {
                    SignIn::Signature(pairs) => builder.with_sas_authorization(pairs.clone()),
                    SignIn::AccountKey(key) => builder.with_access_key(key),
                    SignIn::Token(token) => builder.with_bearer_token_authorization(token),
                    SignIn::Managed(Some(id)) => builder.with_config(AzureConfigKey::ObjectId, id),
                    SignIn::Managed(None) => builder,
                    SignIn::Anonymous | SignIn::Aws { .. } => builder.with_skip_signature(true),
                };
                Arc::new(builder.build().map_err(wrong)?)
            }
            Kind::S3(region) => {
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(&place.container)
                    .with_region(region.as_deref().unwrap_or("us-east-1"))
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector);
                if let Some(endpoint) = place.endpoint.as_ref().or(self.s3.as_ref()) {
                    builder = builder.with_endpoint(endpoint);
                }
                builder = match &place.sign_in {
                    SignIn::Aws { id, secret, session } => {
                        let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
                        match session {
                            Some(session) => builder.with_token(session),
                            None => builder,
                        }
                    }
                    SignIn::Managed(_) => builder,
                    _ => builder.with_skip_signature(true),
                };
                Arc::new(builder.build().map_err(wrong)?)
            }
            Kind::Google => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(&place.container)
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_http_connector(connector);
                if let Some(endpoint) = place.endpoint.as_ref().or(self.google.as_ref()) {
                    builder = builder.with_base_url(endpoint);
                }
                builder = match &place.sign_in {
                    SignIn::Token(token) => {
                        let credential = GcpCredential { bearer: token.clone() };
                        builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
                    }
                    SignIn::Managed(_) => builder,
                    _ => {
                        // Without a credential of some kind the builder would ask the machine for one.
                        let credential = GcpCredential { bearer: String::new() };
                        builder
                            .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
                            .with_skip_signature(true)
                    }
                };
                Arc::new(builder.build().map_err(wrong)?)
            }
        };
        Ok(Opened { store, place: place.clone() })
    }
}

impl Place {
    /// Whether the endpoint is the one that the account's own address tells.
    fn is_usual(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://") && endpoint.contains(".blob."))
    }

    /// How a key is shown.
    pub fn shown(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// The same place with another key.
    pub fn at(&self, key: String) -> Place {
        Place { key, ..self.clone() }
    }

    /// Addresses that a policy may know this place by.
    pub fn addresses(&self) -> Vec<Url> {
        let mut addresses = vec![self.url.clone()];
        if let (Kind::S3(region), None) = (&self.kind, &self.endpoint) {
            let hosts = [
                Some(format!("{}.s3.amazonaws.com", self.container)),
                region.as_ref().map(|region| format!("{}.s3.{region}.amazonaws.com", self.container)),
            ];
            for host in hosts.into_iter().flatten() {
                if let Ok(mut url) = Url::parse(&format!("https://{host}/")) {
                    url.set_path(&self.key);
                    addresses.push(url);
                }
            }
        }
        addresses
    }

    /// A fault of the store, in words without secrets.
    fn failed(&self, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let shown = self.shown(&self.key);
        let what = match error {
            E::NotFound { .. } => "it does not exist".to_string(),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                "the store denies access; the credentials do not suffice".to_string()
            }
            E::AlreadyExists { .. } => "it exists already".to_string(),
            other => {
                let mut text = String::new();
                let mut source: Option<&dyn std::error::Error> = Some(other);
                while let Some(error) = source {
                    // Answers of stores repeat what was signed, and some errors the whole address.
                    text = error.to_string();
                    source = error.source();
                }
                let mut text: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
                for secret in self.secrets() {
                    text = text.replace(secret, "***");
                }
                match text.find('?') {
                    Some(at) if text.contains("://") => text[..at].to_string(),
                    _ => text,
                }
            }
        };
        let fault = match error {
            _ if what.contains("denied by policy") => Fault::Forbidden,
            E::Generic { .. } => Fault::Unreachable,
            _ => Fault::BadData,
        };
        Error::new(fault, format!("'{shown}' could not be reached: {what}"))
    }

    fn secrets(&self) -> Vec<&str> {
        let secrets: Vec<&str> = match &self.sign_in {
            SignIn::Anonymous | SignIn::Managed(_) => Vec::new(),
            SignIn::Signature(pairs) => {
                pairs.iter().filter(|(name, _)| name == "sig").map(|(_, value)| value.as_str()).collect()
            }
            SignIn::AccountKey(secret) | SignIn::Token(secret) => vec![secret],
            SignIn::Aws { secret, session, .. } => std::iter::once(secret.as_str()).chain(session.as_deref()).collect(),
        };
        secrets.into_iter().filter(|secret| !secret.is_empty()).collect()
    }

    fn path(&self, key: &str) -> Result<Path> {
        let shown = self.shown(key);
        Path::parse(key).map_err(|_| Error::bad_request(format!("'{shown}' is no name of an object")))
    }
}

/// A store that can be asked.
pub struct Opened {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

/// An object's bytes on their way.
pub struct Reading {
    pub bytes: BoxStream<'static, std::io::Result<Bytes>>,
    /// `Content-Encoding`, where the store tells one.
    pub encoding: Option<String>,
}

impl Opened {
    /// The store itself.
    pub(crate) fn into_store(self) -> Arc<dyn ObjectStore> {
        self.store
    }

    /// Reads the object.
    pub async fn read(&self) -> Result<Reading> {
        let path = self.place.path(&self.place.key)?;
        let found = self.store.get(&path).await.map_err(|error| self.place.failed(&error))?;
        let encoding = found.attributes.get(&Attribute::ContentEncoding).map(|value| value.to_string());
        let place = self.place.clone();
        let bytes = found.into_stream().map_err(move |error| std::io::Error::other(place.failed(&error).to_string()));
        Ok(Reading { bytes: bytes.boxed(), encoding })
    }

    /// Reads the object; `None` where there is none.
    pub async fn read_if_there(&self) -> Result<Option<Reading>> {
        let path = self.place.path(&self.place.key)?;
        match self.store.head(&path).await {
            Ok(_) => self.read().await.map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.place.failed(&error)),
        }
    }

    /// The objects below the key: the object of this name, or what lies below it as a folder, by key.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let key = self.place.key.trim_end_matches('/');
        let is_folder = key.is_empty() || self.place.key.ends_with('/');
        let prefix = self.place.path(key)?;
        if !is_folder {
            match self.store.head(&prefix).await {
                Ok(meta) => return Ok(vec![listed(meta)]),
                Err(error) => {
                    let found = self.below(Some(&prefix)).await;
                    return match found {
                        Ok(found) if !found.is_empty() => Ok(found),
                        // What the name itself answered says more than an empty folder.
                        _ => Err(self.place.failed(&error)),
                    };
                }
            }
        }
        self.below(Some(&prefix).filter(|_| !key.is_empty())).await
    }

    /// The objects below a folder.
    pub async fn below(&self, prefix: Option<&Path>) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        let mut listing = self.store.list(prefix);
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| self.place.failed(&error))?;
            if found.len() == MAX_LISTED {
                let shown = self.place.shown(&self.place.key);
                return Err(Error::bad_request(format!("'{shown}' has more than {MAX_LISTED} objects")));
            }
            found.push(listed(meta));
        }
        found.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(found)
    }

    /// The objects below a folder; an empty name is the whole container.
    pub async fn beneath(&self, folder: &str) -> Result<Vec<Listed>> {
        match folder {
            "" => self.below(None).await,
            folder => self.below(Some(&self.place.path(folder)?)).await,
        }
    }

    /// The objects below the folder that a key with wildcards begins with.
    pub async fn candidates(&self) -> Result<Vec<Listed>> {
        let fixed = self.place.key.split(['*', '?']).next().unwrap_or_default();
        match fixed.rsplit_once('/') {
            Some((folder, _)) => self.below(Some(&self.place.path(folder)?)).await,
            None => self.below(None).await,
        }
    }

    /// Writes an object from a reader's parts; nothing is there until all of it is.
    pub async fn write(&self, key: &str, mut parts: BoxStream<'_, std::io::Result<Bytes>>) -> Result<()> {
        let path = self.place.path(key)?;
        let place = self.place.at(key.to_string());
        let failed = |error: object_store::Error| place.failed(&error);
        let unread = |error: std::io::Error| Error::internal(format!("a file to upload cannot be read: {error}"));
        let mut first = Vec::new();
        let mut upload: Option<WriteMultipart> = None;
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    if let Some(upload) = upload {
                        let _ = upload.abort().await;
                    }
                    return Err(unread(error));
                }
            };
            match &mut upload {
                Some(upload) => {
                    upload.wait_for_capacity(MAX_PARTS).await.map_err(failed)?;
                    upload.put(part);
                }
                None if first.len() + part.len() <= PART_BYTES => first.extend_from_slice(&part),
                None => {
                    let started = self.store.put_multipart(&path).await.map_err(failed)?;
                    let mut started = WriteMultipart::new_with_chunk_size(started, PART_BYTES);
                    started.put(Bytes::from(std::mem::take(&mut first)));
                    started.put(part);
                    upload = Some(started);
                }
            }
        }
        match upload {
            Some(upload) => upload.finish().await.map(drop).map_err(failed),
            None => self.store.put(&path, PutPayload::from(first)).await.map(drop).map_err(failed),
        }
    }

    /// Removes an object.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let path = self.place.path(key)?;
        self.store.delete(&path).await.map_err(|error| self.place.at(key.to_string()).failed(&error))
    }
}

fn listed(meta: object_store::ObjectMeta) -> Listed {
    Listed { key: meta.location.to_string(), size: meta.size, written: meta.last_modified.into() }
}

/// The server's own client as the stores' crate wants it.
#[derive(Debug)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Caller(self.0.clone())))
    }
}

#[derive(Debug)]
struct Caller(Client);

/// A failure without its address, which may hold a signature.
fn of_client(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_redirect() => HttpErrorKind::Unknown,
        () if error.is_decode() => HttpErrorKind::Decode,
        () if error.is_request() || error.is_body() => HttpErrorKind::Interrupted,
        () => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error.without_url())
}

#[async_trait::async_trait]
impl HttpService for Caller {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(error.to_string())))?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        *sent.body_mut() = match body.as_bytes() {
            Some(bytes) => Some(bytes.clone().into()),
            None => Some(reqwest::Body::wrap(body)),
        };
        let response = self.0.execute(sent).await.map_err(of_client)?;
        let (parts, body) = hyper::Response::<reqwest::Body>::from(response).into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Received(body))))
    }
}

/// An answer's body with its errors in the form that the stores' crate reads.
struct Received(reqwest::Body);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<std::result::Result<hyper::body::Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.0).poll_frame(poller).map_err(of_client)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.size_hint()
    }
}
