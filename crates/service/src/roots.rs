//! Roots of databases, as settings name them: `NAME=ADDRESS[;how to sign in]`, or an address alone for `persist`.
//!
//! Whoever runs the server names them, so no policy of callouts is asked; redirects are not followed.

use std::path::Path;
use std::time::Duration;

use tidewater_store::{CreateMode, Root, Roots};

use crate::error::{Error, Result};
use crate::external::location::Location;
use crate::external::objects::Stores;
use crate::service::Service;

/// The setting that names them.
pub const SETTING: &str = "database_roots";

/// Without what may be a secret.
pub fn shown(entry: &str) -> &str {
    entry.split([';', '?']).next().unwrap_or_default()
}

/// Opens what a setting names. Nothing is asked of a store yet.
pub(crate) fn open(entries: &[String], stores: &Stores) -> Result<Roots> {
    let (mut roots, mut databases) = (Vec::new(), Vec::new());
    for entry in entries {
        let wrong = |reason: String| Error::bad_request(format!("setting '{SETTING}': '{}': {reason}", shown(entry)));
        let (name, address) = match entry.split_once('=') {
            Some((name, address)) if !name.contains(['/', ';', '?']) => (Some(name.trim()), address),
            _ => (None, entry.as_str()),
        };
        let name = name.map(|name| percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned());
        if name.as_deref() == Some("") {
            return Err(wrong("the name of the database is missing".into()));
        }
        let root = match Location::parse(address).map_err(|error| wrong(error.message().to_string()))?.into_place() {
            Location::File(path) => {
                let path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
                Root::directory(Path::new(&path)).map_err(|error| wrong(error.to_string()))?
            }
            Location::Object(place) => {
                let store = stores.open(&place, client()?).map_err(|error| wrong(error.message().to_string()))?;
                Root::store(&place.shown(&place.key), store.into_store(), &place.key)
                    .map_err(|error| wrong(error.to_string()))?
            }
            Location::Url(_) => return Err(wrong("a directory or a place in an object store is expected".into())),
        };
        if let Some(name) = name {
            databases.push((name, root.address().to_string()));
        }
        roots.push(root);
    }
    Ok(Roots::new(roots, databases))
}

fn client() -> Result<reqwest::Client> {
    // Whoever comes first installs it; the server has done so before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .gzip(false)
        .no_proxy()
        .user_agent("tidewater")
        .build()
        .map_err(|error| Error::internal(format!("the HTTP client cannot start: {error}")))
}

/// The roots of settings, for commands that work on a data directory without a server.
pub fn of_settings(entries: &[String], endpoints: &[String], identities: &[String]) -> Result<Roots> {
    open(entries, &Stores::new(endpoints, identities)?)
}

impl Service {
    /// Makes the databases that settings give a root and that do not exist yet. One whose store does not answer is told in
    /// the log, and made by the next start or by `.create database`.
    pub async fn make_rooted_databases(&self) {
        let store = self.store();
        for (name, address) in store.roots().databases() {
            if let Some(known) = store.snapshot().database(name) {
                if known.root() != Some(address) {
                    let place = known.root().unwrap_or("the data directory");
                    tracing::warn!(database = name, setting = address, place, "a database stays where it was made");
                }
                continue;
            }
            if let Err(error) = store.create_database(name, CreateMode::IfNotExists).await {
                tracing::error!(database = name, %error, "a database cannot be made at its root");
            }
        }
    }
}
