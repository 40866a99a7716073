//! An object store whose faults name the root, in words without secrets.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What messages about roots begin with; how the service knows them where the engine keeps a text only.
pub const UNREACHABLE: &str = "the database's files at '";

#[derive(Debug)]
pub(super) struct Guarded {
    inner: Arc<dyn ObjectStore>,
    address: Arc<str>,
}

impl Guarded {
    pub(super) fn over(inner: Arc<dyn ObjectStore>, address: &str) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, address: Arc::from(address) })
    }
}

/// What a store answered, without what may be a secret.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Generic { store: STORE, source } => {
            let text = source.to_string();
            text.split_once(REACHED).map_or(text.clone(), |(_, reason)| reason.to_string())
        }
        Error::NotFound { path, .. } => format!("'{path}' is not there"),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "the store denies access; the credentials do not suffice".to_string()
        }
        other => {
            let mut text = String::new();
            let mut source: Option<&dyn std::error::Error> = Some(other);
            while let Some(error) = source {
                // Answers of stores repeat what was signed, and some errors the whole address.
                text = error.to_string();
                source = error.source();
            }
            let text: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
            match text.find('?') {
                Some(at) if text.contains("://") => text[..at].to_string(),
                _ => text,
            }
        }
    }
}

/// How the faults of this module are told from a store's own.
const STORE: &str = "database root";
const REACHED: &str = " cannot be reached: ";

fn told(address: &str, error: Error) -> Error {
    match error {
        // Callers look for these.
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => error,
        Error::NotFound { path, .. } => {
            let source = format!("{UNREACHABLE}{address}' cannot be read: '{path}' is not there").into();
            Error::NotFound { path, source }
        }
        other => {
            let text = format!("{UNREACHABLE}{address}'{REACHED}{}", reason(&other));
            Error::Generic { store: STORE, source: text.into() }
        }
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await.map_err(|error| told(&self.address, error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await.map_err(|error| told(&self.address, error))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(location, options).await.map_err(|error| told(&self.address, error))?;
        let GetResult { payload, meta, range, attributes, .. } = found;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let address = Arc::clone(&self.address);
                let stream = stream.map(move |bytes| bytes.map_err(|error| told(&address, error)));
                GetResultPayload::Stream(stream.boxed())
            }
            #[allow(unreachable_patterns)]
            other => other,
        };
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|error| told(&self.address, error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let address = Arc::clone(&self.address);
        self.inner
            .delete_stream(locations)
            .map(move |done| match done {
                Err(error @ Error::NotFound { .. }) => Err(error),
                other => other.map_err(|error| told(&address, error)),
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let address = Arc::clone(&self.address);
        self.inner.list(prefix).map(move |found| found.map_err(|error| told(&address, error))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|error| told(&self.address, error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|error| told(&self.address, error))
    }
}
