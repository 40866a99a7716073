//! `GET /queries`, and what all lists share: pages both ways without loss. Source: query-service-api section 8.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{ListRequest, Listed, Page};

use super::filter::{fields, filters, instant, once};
use super::headers::Caller;
use super::problem::Problem;
use super::{Answer, Arguments, PREFIX, answer, argument, flag, object};
use crate::app::App;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;
/// What need not be escaped in a query string's value.
pub(super) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

pub(super) async fn list(State(app): State<App>, caller: Caller, Query(arguments): Arguments) -> Answer {
    let asked = Asked::of(&arguments, "-created", fields::QUERIES)?;
    let page = app.service().list_jobs(&caller.tenant, asked.request.clone()).await?;
    let base = caller.base.as_str();
    let body = asked.body("queries", &format!("{base}{PREFIX}/queries"), &page, |job| object::query(job, base));
    Ok(answer(&caller, StatusCode::OK, &body))
}

/// What a list was asked for.
pub(super) struct Asked<'a> {
    pub(super) request: ListRequest,
    orderby: &'static str,
    properties: Vec<&'a str>,
    arguments: &'a [(String, String)],
}

impl<'a> Asked<'a> {
    /// Reads the arguments that all lists share.
    pub(super) fn of(
        arguments: &'a [(String, String)],
        default_order: &str,
        fields: &[fields::Field],
    ) -> Result<Asked<'a>, Problem> {
        let (orderby, by_updated, descending) = order(argument(arguments, "orderby").unwrap_or(default_order))?;
        let limit = limit(argument(arguments, "limit"))?;
        let start = match argument(arguments, "start") {
            None => None,
            Some(text) => Some(instant(text).ok_or_else(|| {
                Problem::bad(format!("start: found '{text}', expected a time such as 2020-09-07T00:00:00.000Z"))
            })?),
        };
        let properties: Vec<&str> =
            arguments.iter().filter(|(name, _)| name == "property").map(|(_, value)| value.as_str()).collect();
        let mut all = Vec::new();
        for property in &properties {
            all.extend(filters(property, fields)?);
        }
        once(&all)?;
        let request = ListRequest {
            by_updated,
            descending,
            limit,
            start,
            before_start: flag(arguments, "isPrevLink", false)? && start.is_some(),
            exclude_soft_deleted: flag(arguments, "excludeSoftDeleted", true)?,
            exclude_hidden: flag(arguments, "excludeHidden", true)?,
            filters: all,
        };
        Ok(Asked { request, orderby, properties, arguments })
    }

    /// The body of a page: its items under `key`, with links that begin with `href`.
    pub(super) fn body<T>(&self, key: &str, href: &str, page: &Page<T>, object: impl Fn(&T) -> Value) -> Value {
        let mut about = Map::new();
        about.insert("orderby".into(), self.orderby.into());
        if let Some(first) = page.items.first() {
            about.insert("start".into(), cursor(first).into());
        }
        if let Some(next) = &page.next {
            about.insert("next".into(), cursor(next).into());
        }
        about.insert("count".into(), page.items.len().into());
        if !self.properties.is_empty() {
            about.insert("property".into(), self.properties.join(",").into());
        }
        let link = |start: String, back: bool| json!({"href": link(href, self.orderby, &start, back, self.arguments)});
        let mut links = Map::new();
        if let Some(next) = &page.next {
            links.insert("next".into(), link(cursor(next), false));
        }
        if let Some(first) = page.items.first() {
            links.insert("prev".into(), link(cursor(first), true));
        }
        let items: Vec<Value> = page.items.iter().map(|listed| object(&listed.item)).collect();
        let mut body = Map::new();
        body.insert(key.into(), items.into());
        body.insert("_page".into(), about.into());
        body.insert("_links".into(), links.into());
        body.insert("version".into(), 1.into());
        body.into()
    }
}

/// The canonical text, whether by `updated`, whether descending.
fn order(text: &str) -> Result<(&'static str, bool, bool), Problem> {
    // An unescaped plus arrives as a blank.
    Ok(match text {
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
fn cursor<T>(item: &Listed<T>) -> String {
    if item.is_alone { object::milliseconds(item.order_value) } else { object::microseconds(item.order_value) }
}

fn link(href: &str, orderby: &str, start: &str, back: bool, arguments: &[(String, String)]) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let mut href = format!("{href}?orderby={}&start={}", escaped(orderby), escaped(start));
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
