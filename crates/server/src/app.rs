//! What every handler shares: the service and the settings.

use std::sync::Arc;

use tidewater_service::Service;

use crate::config::Config;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    config: Config,
    /// The address the server listens on, once bound.
    address: std::net::SocketAddr,
}

impl App {
    /// An app that listens on `address`.
    pub fn new(service: Service, config: Config, address: std::net::SocketAddr) -> App {
        App { inner: Arc::new(Inner { service, config, address }) }
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.inner.service
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The address that people and clients use, without a slash at its end.
    pub fn public_url(&self) -> String {
        match &self.inner.config.public_url {
            Some(url) => url.trim_end_matches('/').to_string(),
            None => format!("http://{}", self.inner.address),
        }
    }
}
