//! Dashboards: listed, read, made, changed and deleted below `/v1/page/dashboards/DATABASE`.
//!
//! Every version of a dashboard has an `ETag`. Who changes or deletes one names the version they have seen by `If-Match`
//! and gets 412 when it is another one by now, so that nobody overwrites what they have not seen.

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewater_service::{Changed, Dashboard, Error, MAX_DASHBOARD_BYTES};
use uuid::Uuid;

use super::{Asked, refusal};
use crate::app::App;
use crate::kusto::request::{Refusal, SignedIn, read_body};

type Outcome = Result<Response, Refusal>;

fn time(ticks: i64) -> String {
    let mut text = Vec::new();
    tidewater_kql::value::datetime::write(ticks, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn shown(dashboard: &Dashboard, with_content: bool) -> Value {
    let mut shown = json!({
        "id": dashboard.id,
        "title": dashboard.title(),
        "tiles": dashboard.tiles(),
        "version": dashboard.version.to_string(),
        "created": time(dashboard.created),
        "createdBy": dashboard.created_by,
        "updated": time(dashboard.updated),
        "updatedBy": dashboard.updated_by,
        "mayWrite": dashboard.may_write,
        "mayDelete": dashboard.may_delete,
    });
    if with_content {
        shown["content"] = dashboard.content.clone();
    }
    shown
}

fn answer(status: StatusCode, dashboard: &Dashboard) -> Response {
    let mut response = super::json(status, &shown(dashboard, true));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", dashboard.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The version that `If-Match` names.
fn seen(headers: &HeaderMap) -> Result<Uuid, Refusal> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        let message = "say by If-Match which version of the dashboard you have seen";
        return Err(refusal(StatusCode::PRECONDITION_REQUIRED, message));
    };
    let tag = tag.to_str().unwrap_or_default().trim().trim_matches('"');
    Uuid::parse_str(tag).map_err(|_| stale())
}

fn stale() -> Refusal {
    refusal(StatusCode::PRECONDITION_FAILED, "the dashboard was changed by somebody else meanwhile")
}

/// 404 for a dashboard that is gone: here the address is its name.
fn missing(error: Error) -> Refusal {
    let status = match error.kind() {
        tidewater_service::Kind::NotFound => Some(StatusCode::NOT_FOUND),
        _ => None,
    };
    Refusal { status, error }
}

async fn content(app: &App, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    // Room for how somebody else may write the same JSON; the service counts it in its own form.
    let body = read_body(headers, body, 4 * MAX_DASHBOARD_BYTES, app.config().stall_timeout()).await?;
    Ok(serde_json::from_slice(&body)
        .map_err(|error| Error::bad_request(format!("the dashboard is not valid JSON: {error}")))?)
}

/// `GET /v1/page/dashboards/DATABASE`
pub async fn list(
    State(app): State<App>,
    Path(database): Path<String>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let outcome = app.service().dashboards(&asked.context).map(|(all, may_create)| {
        let all: Vec<Value> = all.iter().map(|dashboard| shown(dashboard, false)).collect();
        super::json(StatusCode::OK, &json!({"dashboards": all, "mayCreate": may_create}))
    });
    asked.answered(outcome.map_err(Refusal::from))
}

/// `POST /v1/page/dashboards/DATABASE`
pub async fn create(
    State(app): State<App>,
    Path(database): Path<String>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let work = async {
        let content = content(&app, &headers, body).await?;
        let made = app.service().create_dashboard(&asked.context, content).await?;
        Ok(answer(StatusCode::CREATED, &made))
    };
    let outcome: Outcome = work.await;
    asked.answered(outcome)
}

/// `GET /v1/page/dashboards/DATABASE/ID`
pub async fn get(
    State(app): State<App>,
    Path((database, id)): Path<(String, String)>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let outcome = app.service().dashboard(&asked.context, &id).map_err(missing).map(|dashboard| {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        match known.is_some_and(|tag| tag.trim_matches('"') == dashboard.version.to_string()) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => answer(StatusCode::OK, &dashboard),
        }
    });
    asked.answered(outcome)
}

/// `PUT /v1/page/dashboards/DATABASE/ID`
pub async fn put(
    State(app): State<App>,
    Path((database, id)): Path<(String, String)>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let work = async {
        let content = content(&app, &headers, body).await?;
        let changed = app.service().change_dashboard(&asked.context, &id, seen(&headers)?, content).await;
        match changed.map_err(missing)? {
            Changed::Done(Some(dashboard)) => Ok(answer(StatusCode::OK, &dashboard)),
            Changed::Done(None) | Changed::Stale => Err(stale()),
        }
    };
    let outcome: Outcome = work.await;
    asked.answered(outcome)
}

/// `DELETE /v1/page/dashboards/DATABASE/ID`
pub async fn delete(
    State(app): State<App>,
    Path((database, id)): Path<(String, String)>,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::new(&headers, identity, &database);
    let work = async {
        let changed = app.service().delete_dashboard(&asked.context, &id, seen(&headers)?).await;
        match changed.map_err(missing)? {
            Changed::Done(_) => Ok(StatusCode::NO_CONTENT.into_response()),
            Changed::Stale => Err(stale()),
        }
    };
    let outcome: Outcome = work.await;
    asked.answered(outcome)
}
