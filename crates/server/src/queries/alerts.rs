//! `/alert-subscriptions`: what begins, succeeds or fails is told to a webhook. Source: query-service-api section 18.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{Alert, AlertType};

use super::body::Sent;
use super::headers::Caller;
use super::list::ESCAPED;
use super::problem::Problem;
use super::{Answer, Arguments, PREFIX, answer, argument, object};
use crate::app::App;

/// Items of a page, unless fewer are asked for.
const MAX_PAGE: usize = 50;
const MAX_MAILS: usize = 5;

fn unknown(asset: &str, ty: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("'{asset}' has no alert of type '{ty}'"))
}

fn status(is_enabled: bool) -> &'static str {
    if is_enabled { "enabled" } else { "disabled" }
}

/// The object on the wire.
fn shown(alert: &Alert, base: &str) -> Value {
    let href = format!("{base}{PREFIX}/alert-subscriptions/{}/{}", alert.asset, alert.ty.name());
    let patch = |value: &str| format!("{{ \"op\": \"replace\", \"path\": \"/status\", \"value\": \"{value}\" }}");
    json!({
        "id": alert.id,
        "assetId": alert.asset,
        "alertType": alert.ty.name(),
        "status": status(alert.is_enabled),
        "subscriptions": alert.subscriptions,
        "created": object::milliseconds(alert.created),
        "_links": {
            "self": {"href": href, "method": "GET"},
            "subscribe": {"href": format!("{base}{PREFIX}/alert-subscriptions"), "method": "POST"},
            "enable": {"href": href, "method": "PATCH", "body": patch("enable")},
            "disable": {"href": href, "method": "PATCH", "body": patch("disable")},
            "delete": {"href": href, "method": "DELETE"},
        },
    })
}

pub(super) async fn create(State(app): State<App>, caller: Caller, Sent(body): Sent) -> Answer {
    let text = |name: &str| match body.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_string()),
        _ => Err(Problem::bad(format!("{name}: expected a text"))),
    };
    let asset = text("assetId")?;
    let ty = text("alertType")?;
    let ty = AlertType::parse(&ty)
        .ok_or_else(|| Problem::bad(format!("alertType: found '{ty}', expected start, success or failure")))?;
    let Some(subscriptions) = body.get("subscriptions").filter(|given| given.is_object()) else {
        return Err(Problem::bad("subscriptions: expected an object with a webhook"));
    };
    match subscriptions.get("emailIds") {
        None | Some(Value::Null) => {}
        Some(Value::Array(mails)) if mails.len() <= MAX_MAILS && mails.iter().all(Value::is_string) => {}
        Some(_) => {
            return Err(Problem::bad(format!("subscriptions.emailIds: expected at most {MAX_MAILS} texts")));
        }
    }
    for name in ["inContextNotifications", "emailNotifications"] {
        if subscriptions.get(name).is_some_and(|given| !given.is_boolean() && !given.is_null()) {
            return Err(Problem::bad(format!("subscriptions.{name}: expected true or false")));
        }
    }
    let webhook = match subscriptions.get("webhook") {
        None | Some(Value::Null) => None,
        Some(Value::String(address)) => Some(address.as_str()),
        Some(_) => return Err(Problem::bad("subscriptions.webhook: expected an address")),
    };
    let exists = app.service().job(&caller.tenant, &asset, false).await?.is_some()
        || app.service().schedule(&caller.tenant, &asset).await?.is_some();
    if !exists {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no query or schedule '{asset}'")));
    }
    let made = app.service().create_alert(&caller.tenant, &asset, ty, webhook, subscriptions.clone()).await?;
    Ok(answer(&caller, StatusCode::OK, &shown(&made, &caller.base)))
}

/// The alerts that an asset has, of one type if one is named.
async fn found(app: &App, caller: &Caller, asset: &str, ty: Option<&str>) -> Result<Vec<Alert>, Problem> {
    let mut alerts = app.service().alerts(&caller.tenant).await?;
    alerts.retain(|alert| alert.asset == asset && ty.is_none_or(|ty| alert.ty.name() == ty));
    Ok(alerts)
}

async fn one(app: &App, caller: &Caller, asset: &str, ty: &str) -> Result<Alert, Problem> {
    found(app, caller, asset, Some(ty)).await?.pop().ok_or_else(|| unknown(asset, ty))
}

pub(super) async fn list(State(app): State<App>, caller: Caller, Query(arguments): Arguments) -> Answer {
    let number = |name: &str, default: usize, least: usize| match argument(&arguments, name)
        .map(|text| text.trim().parse::<usize>())
    {
        None => Ok(default),
        Some(Ok(number)) if number >= least => Ok(number),
        Some(_) => Err(Problem::bad(format!("{name}: expected a number from {least} on"))),
    };
    let (page, size) = (number("page", 0, 0)?, number("pagesize", MAX_PAGE, 1)?.min(MAX_PAGE));
    let mut alerts = app.service().alerts(&caller.tenant).await?;
    let orderby = match argument(&arguments, "orderby").map(str::trim) {
        None | Some("-created") => "-created",
        Some("created" | "+created") => {
            alerts.reverse();
            "created"
        }
        Some(other) => return Err(Problem::bad(format!("orderby: found '{other}', expected created or -created"))),
    };
    let properties = || arguments.iter().filter(|(name, value)| name == "property" && !value.is_empty());
    for property in properties().flat_map(|(_, value)| value.split(',')) {
        let Some((field, wanted)) = property.split_once("==") else {
            return Err(Problem::bad(format!("property: the filter '{property}' has no operator ==")));
        };
        let wanted = wanted.trim();
        match field.trim() {
            "id" => alerts.retain(|alert| alert.id == wanted),
            "assetId" => alerts.retain(|alert| alert.asset == wanted),
            "status" => alerts.retain(|alert| status(alert.is_enabled) == wanted),
            "alertType" => alerts.retain(|alert| alert.ty.name() == wanted),
            _ => return Err(Problem::bad(format!("property: the filter '{property}' names an unknown field"))),
        }
    }
    let from = page.saturating_mul(size);
    let items: Vec<Value> = alerts.iter().skip(from).take(size).map(|alert| shown(alert, &caller.base)).collect();
    let link = |page: usize| {
        let base = caller.base.as_str();
        let mut href = format!("{base}{PREFIX}/alert-subscriptions?orderby={orderby}&page={page}&pagesize={size}");
        for (_, value) in properties() {
            href.push_str(&format!("&property={}", utf8_percent_encode(value, ESCAPED)));
        }
        json!({"href": href})
    };
    let mut links = Map::new();
    if from.saturating_add(size) < alerts.len() {
        links.insert("next".into(), link(page + 1));
    }
    if page > 0 {
        links.insert("prev".into(), link(page - 1));
    }
    let body = json!({
        "_page": {"orderby": orderby, "page": page, "count": items.len(), "pageSize": size},
        "alerts": items,
        "_links": links,
        "version": 1,
    });
    Ok(answer(&caller, StatusCode::OK, &body))
}

pub(super) async fn of_asset(State(app): State<App>, caller: Caller, Path(asset): Path<String>) -> Answer {
    let alerts = found(&app, &caller, &asset, None).await?;
    if alerts.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("'{asset}' has no alerts")));
    }
    let items: Vec<Value> = alerts.iter().map(|alert| shown(alert, &caller.base)).collect();
    Ok(answer(&caller, StatusCode::OK, &json!({"alerts": items, "version": 1})))
}

/// The alerts that name an address of mail.
pub(super) async fn of_user(State(app): State<App>, caller: Caller, Path(mail): Path<String>) -> Answer {
    let mut alerts = app.service().alerts(&caller.tenant).await?;
    alerts.retain(|alert| {
        let mails = alert.subscriptions.get("emailIds").and_then(Value::as_array);
        mails.is_some_and(|mails| mails.iter().any(|known| known.as_str() == Some(mail.as_str())))
    });
    let items: Vec<Value> = alerts.iter().map(|alert| shown(alert, &caller.base)).collect();
    Ok(answer(&caller, StatusCode::OK, &json!({"items": items, "version": 1})))
}

pub(super) async fn get_one(
    State(app): State<App>,
    caller: Caller,
    Path((asset, ty)): Path<(String, String)>,
) -> Answer {
    let mut body = shown(&one(&app, &caller, &asset, &ty).await?, &caller.base);
    // Clients of Adobe's service read a list here too.
    body["alerts"] = json!([body.clone()]);
    Ok(answer(&caller, StatusCode::OK, &body))
}

pub(super) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path((asset, ty)): Path<(String, String)>,
    Sent(body): Sent,
) -> Answer {
    let change = match &body {
        Value::Array(items) if items.len() == 1 => &items[0],
        other => other,
    };
    let is_enabled = match (change["op"].as_str(), change["path"].as_str(), change["value"].as_str()) {
        (Some("replace"), Some("/status"), Some("enable")) => true,
        (Some("replace"), Some("/status"), Some("disable")) => false,
        _ => {
            let expected = "{\"op\": \"replace\", \"path\": \"/status\", \"value\": \"enable\"}";
            return Err(Problem::bad(format!("expected a body {expected}, or disable")));
        }
    };
    let alert = one(&app, &caller, &asset, &ty).await?;
    if !app.service().enable_alert(&caller.tenant, &alert.id, is_enabled).await? {
        return Err(unknown(&asset, &ty));
    }
    let body = json!({"id": alert.id, "assetId": asset, "alertType": ty, "status": status(is_enabled)});
    Ok(answer(&caller, StatusCode::OK, &body))
}

pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((asset, ty)): Path<(String, String)>,
) -> Answer {
    let alert = one(&app, &caller, &asset, &ty).await?;
    if !app.service().delete_alert(&caller.tenant, &alert.id).await? {
        return Err(unknown(&asset, &ty));
    }
    Ok(answer(&caller, StatusCode::OK, &json!({"message": "Alert deleted", "statusCode": 200})))
}
