//! Who calls, and under which address. Source: query-service-api sections 1, 3 and 12.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use tidewater_service::jobs::{JobCaller, Tenant};
use tidewater_service::{Identity, PrincipalKind};

use super::problem::Problem;
use crate::app::App;

/// The sandbox of callers that name none.
const DEFAULT_SANDBOX: &str = "prod";

/// The caller of a request.
pub(super) struct Caller {
    pub(super) tenant: Tenant,
    /// Who created what: the principal, or the API key of a caller who has not signed in.
    pub(super) user: String,
    pub(super) identity: Arc<Identity>,
    pub(super) request_id: HeaderValue,
    /// The address that links begin with.
    pub(super) base: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let Some(identity) = parts.extensions.get::<Arc<Identity>>() else {
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request passed no sign-in"));
        };
        Caller::of(&parts.headers, identity, base_url(&parts.headers, app))
    }
}

impl Caller {
    fn of(headers: &HeaderMap, identity: &Arc<Identity>, base: String) -> Result<Caller, Problem> {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|value| !value.is_empty())
        };
        let Some(organisation) = text("x-gw-ims-org-id") else {
            return Err(Problem::bad("the header x-gw-ims-org-id (the organisation) is missing").code("400003"));
        };
        let sandbox = text("x-sandbox-name").unwrap_or(DEFAULT_SANDBOX);
        let request_id = headers.get("x-request-id").cloned();
        let made = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
        let request_id = match request_id {
            Some(id) => id,
            None => made().map_err(|error| Problem::bad(error.to_string()))?,
        };
        let user = match identity.kind {
            PrincipalKind::Anonymous => text("x-api-key").unwrap_or("anonymous").to_string(),
            _ => identity.principal(),
        };
        let caller = Some(JobCaller { user: user.clone(), identity: Arc::clone(identity) });
        Ok(Caller {
            tenant: Tenant { organisation: organisation.to_string(), sandbox: sandbox.to_string(), caller },
            user,
            identity: Arc::clone(identity),
            request_id,
            base,
        })
    }
}

/// The configured public address, else one by the `Host` header.
fn base_url(headers: &HeaderMap, app: &App) -> String {
    if app.config().public_url.is_none()
        && let Some(host) = headers.get("host").and_then(|host| host.to_str().ok())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
    {
        let scheme = if app.tls().is_some() { "https" } else { "http" };
        return format!("{scheme}://{host}");
    }
    app.public_url()
}
