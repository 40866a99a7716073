//! Which pages and which names may reach the server: CORS, and the checks of `Host` and `Origin` against DNS rebinding.
//!
//! A browser lets any page send requests to any address and only hides the answers from it. Pages of other origins are
//! therefore refused unless the settings allow them, and so are names nobody gave this server: a hostile page can make
//! its own name mean this machine and would then be of the same origin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;
use tidewater_service::{Error, Fault};
use tower_http::cors::{AllowHeaders, AllowOrigin, AllowPrivateNetwork, CorsLayer};

use crate::app::App;
use crate::kusto::request::Caller;
use crate::kusto::respond;

/// Who may reach the server from a browser.
#[derive(Debug)]
pub struct Reach {
    any_origin: bool,
    origins: Vec<String>,
    any_host: bool,
    hosts: Vec<String>,
    loopback: bool,
}

impl Reach {
    /// From the settings.
    pub fn of(app: &App) -> Reach {
        let config = app.config();
        let mut origins: Vec<String> =
            config.cors_origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        let mut hosts: Vec<String> = config.host_names.iter().map(|name| name.to_ascii_lowercase()).collect();
        // The server's own address may differ from what is listened on, behind a proxy for example.
        if let Ok(url) = reqwest::Url::parse(&app.public_url()) {
            origins.push(url.origin().ascii_serialization());
        }
        let known = std::iter::once(app.public_url()).chain(config.cluster_names.iter().cloned());
        hosts.extend(known.filter_map(|name| match reqwest::Url::parse(&name) {
            Ok(url) if url.has_host() => url.host_str().map(str::to_string),
            _ => host_name(&name),
        }));
        hosts.extend(host_name(&config.listen));
        Reach {
            any_origin: origins.iter().any(|origin| origin == "*"),
            origins,
            any_host: hosts.iter().any(|host| host == "*"),
            hosts,
            loopback: crate::config::is_loopback(&app.address()),
        }
    }

    /// Whether pages of this origin may call.
    fn allows_origin(&self, origin: &str) -> bool {
        self.any_origin || self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin))
    }

    /// Whether a browser can only have come by this name because the server is meant.
    ///
    /// Addresses cannot be rebound; nobody outside can own `localhost` or, in a network of one's own, a name without
    /// dots.
    fn allows_host(&self, host: &str) -> bool {
        if self.any_host {
            return true;
        }
        let Some(name) = host_name(host) else { return false };
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
        {
            return true;
        }
        let dotless = !self.loopback && !name.contains('.');
        dotless
            || self.hosts.iter().any(|own| match own.strip_prefix('*') {
                Some(suffix) => suffix.starts_with('.') && name.len() > suffix.len() && name.ends_with(suffix),
                None => *own == name,
            })
    }
}

/// The name in `name`, `name:port` or `[address]:port`, in lower case and without a last dot.
fn host_name(text: &str) -> Option<String> {
    let authority: Authority = text.trim().parse().ok()?;
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty() && !text.contains('@')).then_some(name)
}

/// The headers that let allowed pages call and read the answers.
pub fn cors(reach: &Arc<Reach>) -> CorsLayer {
    let allow = |reach: Arc<Reach>| {
        move |origin: &HeaderValue, _: &axum::http::request::Parts| {
            origin.to_str().is_ok_and(|origin| reach.allows_origin(origin))
        }
    };
    let origin = match reach.any_origin {
        true => AllowOrigin::any(),
        false => AllowOrigin::predicate(allow(Arc::clone(reach))),
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        // A public page may call a server on the user's own machine only when the server says so.
        .allow_private_network(AllowPrivateNetwork::predicate(allow(Arc::clone(reach))))
        .expose_headers([
            HeaderName::from_static("x-ms-client-request-id"),
            HeaderName::from_static("x-ms-activity-id"),
            HeaderName::from_static("x-request-id"),
            header::RETRY_AFTER,
        ])
        .max_age(Duration::from_secs(3600))
}

/// Refuses names that are not this server's, and pages of other origins unless the settings allow them.
pub async fn checked(State(reach): State<Arc<Reach>>, request: Request, next: Next) -> Response {
    // Probes come by whatever name their load balancer has, and learn nothing.
    if matches!(request.uri().path(), "/healthz" | "/v1/rest/ping") {
        return next.run(request).await;
    }
    // HTTP/2 has the name in the address.
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_string()),
        None => request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
    };
    if let Some(host) = &host
        && !reach.allows_host(host)
    {
        let message = format!("'{host}' is no name of this server (setting 'host_names')");
        return refused(request, message).await;
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return next.run(request).await };
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let host = host.unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(_, own)| !host.is_empty() && own.eq_ignore_ascii_case(&host));
    if is_own || reach.allows_origin(&origin) {
        return next.run(request).await;
    }
    refused(request, format!("pages of '{origin}' may not call this server (setting 'cors_origins')")).await
}

async fn refused(request: Request, message: String) -> Response {
    let error = Error::new(Fault::Forbidden, message);
    let response = respond::failed(&error, &crate::http::scene(Caller::unsigned(request.headers())));
    crate::http::unread(request, response).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(hosts: &[&str], loopback: bool) -> Reach {
        let hosts = hosts.iter().map(|host| host.to_string()).collect();
        Reach { any_origin: false, origins: vec!["https://ui.example".into()], any_host: false, hosts, loopback }
    }

    #[test]
    fn names_that_could_be_rebound_are_refused() {
        let local = reach(&["db.example.org", "*.lab.example"], true);
        for host in [
            "localhost:8080",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.1:1",
            "[::1]:8080",
            "192.0.2.7",
            "db.example.org:443",
            "DB.example.org.",
            "x.lab.example",
        ] {
            assert!(local.allows_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "lab.example",
            "kusto",
            "",
            "a@localhost",
            "a b",
        ] {
            assert!(!local.allows_host(host), "{host}");
        }
        assert!(reach(&[], false).allows_host("kusto:8080"), "a name in a network of one's own");
        assert!(!reach(&[], false).allows_host("evil.example"));
    }

    #[test]
    fn origins_are_compared_whole() {
        let reach = reach(&[], true);
        assert!(reach.allows_origin("https://ui.example"));
        for origin in ["http://ui.example", "https://ui.example.evil", "https://ui.example:444", "null", ""] {
            assert!(!reach.allows_origin(origin), "{origin}");
        }
    }
}
