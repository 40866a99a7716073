//! `GET /queries`: pages both ways without loss. Source: query-service-api section 8.

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{ListRequest, Listed};

use super::filter::{filters, instant};
use super::headers::{Caller, base_url};
use super::problem::Problem;
use super::{Answer, Arguments, PREFIX, answer, argument, flag, object};
use crate::app::App;
use crate::kusto::request::SignedIn;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;
/// What need not be escaped in a query string's value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

pub(super) async fn list(
    State(app): State<App>,
    Query(arguments): Arguments,
    Extension(identity): SignedIn,
    headers: HeaderMap,
) -> Answer {
    let caller = Caller::of(&headers, &identity)?;
    let (orderby, by_updated, descending) = order(argument(&arguments, "orderby"))?;
    let limit = limit(argument(&arguments, "limit"))?;
    let start = match argument(&arguments, "start") {
        None => None,
        Some(text) => Some(instant(text).ok_or_else(|| {
            Problem::bad(format!("start: found '{text}', expected a time such as 2020-09-07T00:00:00.000Z"))
        })?),
    };
    let properties: Vec<&str> =
        arguments.iter().filter(|(name, _)| name == "property").map(|(_, value)| value.as_str()).collect();
    let mut all = Vec::new();
    for property in &properties {
        all.extend(filters(property)?);
    }
    flag(&arguments, "excludeHidden", true)?;
    let request = ListRequest {
        by_updated,
        descending,
        limit,
        start,
        before_start: flag(&arguments, "isPrevLink", false)? && start.is_some(),
        exclude_soft_deleted: flag(&arguments, "excludeSoftDeleted", true)?,
        filters: all,
    };
    let page = app.service().list_jobs(&caller.tenant, request).await?;
    let base = base_url(&headers, &app);
    let mut about = Map::new();
    about.insert("orderby".into(), orderby.into());
    if let Some(first) = page.items.first() {
        about.insert("start".into(), cursor(first).into());
    }
    if let Some(next) = &page.next {
        about.insert("next".into(), cursor(next).into());
    }
    about.insert("count".into(), page.items.len().into());
    if !properties.is_empty() {
        about.insert("property".into(), properties.join(",").into());
    }
    let link = |start: String, back: bool| json!({"href": link(&base, orderby, &start, back, &arguments)});
    let mut links = Map::new();
    if let Some(next) = &page.next {
        links.insert("next".into(), link(cursor(next), false));
    }
    if let Some(first) = page.items.first() {
        links.insert("prev".into(), link(cursor(first), true));
    }
    let queries: Vec<Value> = page.items.iter().map(|item| object::query(&item.job, &base)).collect();
    let body = json!({"queries": queries, "_page": about, "_links": links, "version": 1});
    Ok(answer(&caller, StatusCode::OK, &body))
}

/// The canonical text, whether by `updated`, whether descending.
fn order(text: Option<&str>) -> Result<(&'static str, bool, bool), Problem> {
    // An unescaped plus arrives as a blank.
    Ok(match text.unwrap_or("-created") {
        "-created" => ("-created", false, true),
        "created" | "+created" | " created" => ("created", false, false),
        "-updated" => ("-updated", true, true),
        "updated" | "+updated" | " updated" => ("updated", true, false),
        other => {
            let expected = "expected created or updated, with - before it for the newest first";
            return Err(Problem::bad(format!("orderby: found '{other}', {expected}")));
        }
    })
}

fn limit(text: Option<&str>) -> Result<usize, Problem> {
    match text.map(|text| text.trim().parse::<usize>()) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit)) if limit > 0 => Ok(limit.min(MAX_LIMIT)),
        Some(_) => Err(Problem::bad(format!("limit: found '{}', expected a number from 1 on", text.unwrap_or("")))),
    }
}

/// The order value as a time: three digits where these tell it apart, else six.
fn cursor(item: &Listed) -> String {
    if item.is_alone { object::milliseconds(item.order_value) } else { object::microseconds(item.order_value) }
}

fn link(base: &str, orderby: &str, start: &str, back: bool, arguments: &[(String, String)]) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let mut href = format!("{base}{PREFIX}/queries?orderby={}&start={}", escaped(orderby), escaped(start));
    if back {
        href.push_str("&isPrevLink=true");
    }
    for (name, value) in arguments {
        if matches!(name.as_str(), "limit" | "property" | "excludeSoftDeleted" | "excludeHidden") && !value.is_empty() {
            href.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    href
}
