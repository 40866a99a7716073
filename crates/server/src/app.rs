//! What every handler shares: the service and the settings.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};
use tidewater_service::Service;

use crate::auth::Auth;
use crate::config::Config;
use crate::tls::Tls;
use crate::ui::Ui;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    config: Config,
    address: std::net::SocketAddr,
    postgres: Option<std::net::SocketAddr>,
    public_url: String,
    auth: Arc<Auth>,
    tls: Option<Tls>,
    ui: Ui,
}

impl App {
    /// An app that listens on `address`.
    ///
    /// Errors: settings of sign-in, TLS and the page that cannot work.
    pub fn new(
        service: Service,
        config: Config,
        address: std::net::SocketAddr,
        postgres: Option<std::net::SocketAddr>,
    ) -> Result<App, String> {
        let tls = Tls::new(&config)?;
        let public_url = match &config.public_url {
            Some(url) => url.trim_end_matches('/').to_string(),
            None if tls.is_some() => format!("https://{address}"),
            None => format!("http://{address}"),
        };
        let auth = Arc::new(Auth::new(&config, &public_url)?);
        let known = Arc::clone(&auth);
        service.know_principals(Arc::new(move |identity| known.present(identity)));
        let prefix = reqwest::Url::parse(&public_url).map(|url| url.path().trim_end_matches('/').to_string());
        let ui = Ui::new(&config, &prefix.unwrap_or_default())?;
        Ok(App { inner: Arc::new(Inner { service, config, address, postgres, public_url, auth, tls, ui }) })
    }

    /// Who may call.
    pub fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    /// The page.
    pub fn ui(&self) -> &Ui {
        &self.inner.ui
    }

    /// The certificate; `None` for plain HTTP.
    pub fn tls(&self) -> Option<&Tls> {
        self.inner.tls.as_ref()
    }

    /// Where clients sign in: the built-in issuer, the first configured one, or the public cloud's.
    pub fn login_endpoint(&self) -> String {
        if self.auth().local().is_some() {
            return self.public_url();
        }
        let origin = |issuer: &String| {
            let url = reqwest::Url::parse(issuer).ok()?;
            Some(url.origin().ascii_serialization())
        };
        let issuer = self.config().token_issuers.first().and_then(origin);
        issuer.unwrap_or_else(|| "https://login.microsoftonline.com".to_string())
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.inner.service
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What is listened on.
    pub fn address(&self) -> std::net::SocketAddr {
        self.inner.address
    }

    /// Where the PostgreSQL protocol is served.
    pub fn postgres_address(&self) -> Option<std::net::SocketAddr> {
        self.inner.postgres
    }

    /// The server's address as a request has named it, unless the settings tell it.
    pub fn base_url(&self, headers: &HeaderMap, uri: &Uri) -> String {
        if self.inner.config.public_url.is_some() {
            return self.public_url();
        }
        let scheme = if self.tls().is_some() { "https" } else { "http" };
        let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        match named.or_else(|| uri.authority().map(|authority| authority.as_str())) {
            Some(host) if !host.is_empty() => format!("{scheme}://{host}"),
            _ => self.public_url(),
        }
    }

    /// The address that people and clients use, without a slash at its end.
    pub fn public_url(&self) -> String {
        self.inner.public_url.clone()
    }
}
