//! Request options: every one that the service documents, its type, and what comes of it here.
//!
//! Options come with the request (client request properties) or by `set` in its text, under names without
//! case. This table is the one place that knows them: it checks and normalises values for both ways, and the
//! compatibility page is made from it. Source: request-properties page; kusto-rest section 2; the reference
//! parser's list of options. Unknown names are ignored, as by the service.

use serde_json::Value as Json;
use tidewater_kql::value::{datetime, timespan};

/// Ticks of a day.
const TICKS_PER_DAY: i64 = 864_000_000_000;

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// `true`, `false`; a number or a text of these.
    Bool,
    /// A whole number, as text too.
    Long,
    /// A text.
    String,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// A datetime's text, bare or as a literal.
    DateTime,
    /// A timespan's text in every client's form, or ticks.
    TimeSpan,
    /// Any JSON, or the text of it.
    Dynamic,
    /// A number, datetime or timespan.
    Literal,
}

/// What comes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what is documented.
    Served,
    /// Nothing: there is nothing here that it could change.
    NoOp,
    /// A request that sets it (to something else than false) is refused.
    Refused,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// The documented name, in lower case.
    pub name: &'static str,
    /// Other spellings that clients and pages use.
    pub aliases: &'static [&'static str],
    /// The type of its value.
    pub ty: OptionType,
    /// Whether `set` changes it; otherwise `set` is accepted and has no effect, as documented.
    pub by_set: bool,
    /// What comes of it.
    pub effect: Effect,
    /// What it does here, or why nothing.
    pub what: &'static str,
}

use Effect::{NoOp, Served};
use OptionType::{Bool, DateTime, Dynamic, Literal, Long, String as Text, TimeSpan, Word};

const fn row(name: &'static str, ty: OptionType, effect: Effect, what: &'static str) -> OptionRow {
    OptionRow { name, aliases: &[], ty, by_set: true, effect, what }
}

const fn request_only(name: &'static str, ty: OptionType, effect: Effect, what: &'static str) -> OptionRow {
    OptionRow { by_set: false, ..row(name, ty, effect, what) }
}

const fn also(aliases: &'static [&'static str], row: OptionRow) -> OptionRow {
    OptionRow { aliases, ..row }
}

/// Where more than one node would be needed.
const ONE_NODE: &str = "one process holds all data";
/// Where a cache of results would be needed.
const NO_CACHE: &str = "results are never taken from a cache, so that they are always as fresh as asked for";
/// Where the code of others would be run.
const NO_SANDBOX: &str = "no plugin runs code of the caller";

/// Every option, by name.
pub const OPTIONS: &[OptionRow] = &[
    row("best_effort", Bool, Served, "items of `union` that do not resolve drop out"),
    row("client_max_redirect_count", Long, NoOp, "read by the client library; nothing is redirected"),
    row("client_results_reader_allow_varying_row_widths", Bool, NoOp, "read by the client library"),
    row("deferpartialqueryfailures", Bool, Served, "partial failures are told in the status rows only"),
    also(
        &["materialized_view_shuffle"],
        row(
            "materialized_view_shuffle_query",
            Dynamic,
            NoOp,
            "a hint of how to compute, which the engine chooses itself",
        ),
    ),
    row(
        "max_memory_consumption_per_query_per_node",
        Long,
        Served,
        "bytes that the query may hold; of several the lowest counts",
    ),
    row(
        "maxmemoryconsumptionperiterator",
        Long,
        Served,
        "bytes that one operator may hold; of several the lowest counts",
    ),
    row("maxoutputcolumns", Long, Served, "a result with more columns is refused"),
    request_only("norequesttimeout", Bool, Served, "the longest time limit, one hour"),
    row("notruncation", Bool, Served, "no limit of rows and bytes, unless one is given"),
    row("push_selection_through_aggregation", Bool, NoOp, "filters on keys pass aggregations anyway"),
    row("query_bin_auto_at", Literal, Served, "where the bins of `bin_auto()` begin"),
    row("query_bin_auto_size", Literal, Served, "the size of the bins of `bin_auto()`"),
    row("query_cursor_after_default", Text, Served, "the cursor of `cursor_after()` without an argument"),
    row("query_cursor_before_or_at_default", Text, Served, "the cursor of `cursor_before_or_at()` without an argument"),
    row("query_cursor_current", Text, Served, "what `cursor_current()` gives"),
    row("query_cursor_disabled", Bool, Served, "functions of cursors are refused"),
    row(
        "query_cursor_scoped_tables",
        Dynamic,
        Served,
        "tables of which only the rows between the two default cursors are read",
    ),
    row("query_datascope", Word(&["default", "all", "hotcache"]), NoOp, "all data is hot"),
    row("query_datetimescope_column", Text, Served, "the datetime column by which every table that has it is filtered"),
    row("query_datetimescope_from", DateTime, Served, "the least value of that column, itself included"),
    row("query_datetimescope_to", DateTime, Served, "the greatest value of that column, itself included"),
    row("query_distribution_nodes_span", Long, NoOp, ONE_NODE),
    row("query_fanout_nodes_percent", Long, NoOp, ONE_NODE),
    row("query_fanout_threads_percent", Long, Served, "the part of the threads that the query is laid out for"),
    row("query_force_row_level_security", Bool, Served, "policies of row level security hold even where disabled"),
    request_only(
        "query_language",
        Word(&["csl", "kql", "kusto", "sql"]),
        Served,
        "`csl` and `kql`, or `sql` for T-SQL",
    ),
    request_only(
        "query_log_query_parameters",
        Bool,
        Served,
        "the values of query parameters stand among the properties in the journal of queries",
    ),
    row("query_max_entities_in_union", Long, Served, "a union of more tables is refused"),
    row("query_now", DateTime, Served, "what `now()` and `ago()` count from"),
    row("query_optimize_fts_at_relop", Bool, NoOp, "a hint of how to compute"),
    row("query_python_debug", Dynamic, NoOp, NO_SANDBOX),
    row("query_results_apply_getschema", Bool, Served, "the answer is the schema of each result"),
    row("query_results_cache_force_refresh", Bool, NoOp, NO_CACHE),
    row("query_results_cache_max_age", TimeSpan, NoOp, NO_CACHE),
    row("query_results_cache_per_shard", Bool, NoOp, NO_CACHE),
    row("query_results_progressive_row_count", Long, Served, "rows of a fragment of a progressive answer, at most"),
    row(
        "query_results_progressive_update_period",
        TimeSpan,
        Served,
        "how often a progressive answer tells how far it is",
    ),
    row("query_take_max_records", Long, Served, "each result ends quietly after so many rows"),
    request_only("query_weakconsistency_session_id", Text, NoOp, "every query sees the last commit"),
    request_only(
        "queryconsistency",
        Word(&[
            "strongconsistency",
            "weakconsistency",
            "weakconsistency_by_query",
            "weakconsistency_by_database",
            "weakconsistency_by_session_id",
            "affinitizedweakconsistency",
            "databaseaffinitizedweakconsistency",
        ]),
        NoOp,
        "every query sees the last commit, which is the strongest",
    ),
    request_only("request_app_name", Text, Served, "the application in the journals"),
    row("request_block_row_level_security", Bool, Served, "tables with a row level security policy are refused"),
    row("request_callout_disabled", Bool, Served, "`http_request` and `http_request_post` are refused"),
    row("request_cross_cluster_token", Text, NoOp, "no query leaves this server"),
    row("request_description", Text, Served, "shown in the journal of queries"),
    row("request_external_data_disabled", Bool, Served, "`externaldata` and external tables are refused"),
    row("request_external_table_disabled", Bool, Served, "external tables are refused"),
    row("request_impersonation_disabled", Bool, NoOp, "the server never acts elsewhere as the caller"),
    request_only("request_readonly", Bool, Served, "commands that write are refused"),
    request_only(
        "request_readonly_hardline",
        Bool,
        Served,
        "commands that write are refused; no plugin can write anyway",
    ),
    row("request_remote_entities_disabled", Bool, NoOp, "other servers are out of reach anyway"),
    row("request_sandboxed_execution_disabled", Bool, NoOp, NO_SANDBOX),
    request_only("request_user", Text, Served, "the user that traces name; the journals show who is signed in"),
    row(
        "results_error_reporting_placement",
        Word(&["in_data", "end_of_table", "end_of_dataset"]),
        Served,
        "where partial failures are told",
    ),
    request_only("results_progressive_enabled", Bool, Served, "results come in fragments with figures of progress"),
    request_only("results_v2_fragment_primary_tables", Bool, Served, "results come in fragments"),
    row("results_v2_newlines_between_frames", Bool, Served, "frames stand on lines of their own"),
    request_only("servertimeout", TimeSpan, Served, "the time limit, at most one hour"),
    row("truncationmaxrecords", Long, Served, "rows beyond which a result is a partial failure; the lowest counts"),
    row("truncationmaxsize", Long, Served, "bytes beyond which a result is a partial failure; the lowest counts"),
    also(
        &["validate_permissions"],
        row("validatepermissions", Bool, Served, "the query is understood but not run; the answer is one text, `OK`"),
    ),
];

impl OptionType {
    /// The type in words, for the page and for messages.
    pub fn text(&self) -> &'static str {
        match self {
            Bool => "bool",
            Long => "long",
            Text | Word(_) => "string",
            DateTime => "datetime",
            TimeSpan => "timespan",
            Dynamic => "dynamic",
            Literal => "literal",
        }
    }
}

impl OptionRow {
    /// A value of the option's type in one form: bool, whole number, text, the full text of a datetime or timespan.
    /// `None` when it counts as absent: null, or an empty text where a text means nothing.
    ///
    /// Errors: what the value must be.
    pub fn checked(&self, value: &Json) -> Result<Option<Json>, String> {
        if value.is_null() || (value.as_str().is_some_and(|text| text.trim().is_empty())) {
            return Ok(None);
        }
        let checked = match self.ty {
            Bool => bool_of(value).map(Json::from),
            Long => long_of(value).map(Json::from),
            Text => value.as_str().map(Json::from),
            Word(words) => match value.as_str().map(|text| text.trim().to_ascii_lowercase()) {
                Some(word) if words.contains(&word.as_str()) => Some(Json::from(word)),
                _ => return Err(format!("must be one of {}", words.join(", "))),
            },
            DateTime => datetime_of(value).map(|ticks| Json::from(datetime::to_text(ticks))),
            TimeSpan => timespan_of(value).map(|ticks| Json::from(timespan::to_text(ticks))),
            Dynamic => Some(match value {
                Json::String(text) => serde_json::from_str(dynamic_text(text)).unwrap_or_else(|_| value.clone()),
                other => other.clone(),
            }),
            Literal => literal_of(value).map(|_| value.clone()),
        };
        let must = match self.ty {
            Bool => "a boolean",
            Long => "a whole number",
            DateTime => "a datetime",
            TimeSpan => "a time span such as 00:04:00",
            Literal => "a number, a datetime or a timespan",
            _ => "a text",
        };
        checked.map(Some).ok_or_else(|| format!("must be {must}"))
    }

    /// Whether this value asks for what is refused.
    pub fn is_refused(&self, value: &Json) -> bool {
        self.effect == Effect::Refused && !matches!(value, Json::Null | Json::Bool(false))
    }
}

/// The row of a name in any case.
pub fn find(name: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| {
        row.name.eq_ignore_ascii_case(name) || row.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

fn bool_of(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(flag) => Some(*flag),
        Json::Number(number) => number.as_f64().map(|number| number != 0.0),
        Json::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A whole number, given as number or text (`long(5)` too).
pub fn long_of(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9.0e18).map(|n| n as i64)),
        Json::String(text) => {
            let text = text.trim();
            let inner = text.strip_prefix("long(").or_else(|| text.strip_prefix("int("));
            inner.and_then(|inner| inner.strip_suffix(')')).unwrap_or(text).trim().parse().ok()
        }
        _ => None,
    }
}

/// Ticks of a datetime: bare or as `datetime(...)`.
pub fn datetime_of(value: &Json) -> Option<i64> {
    let text = value.as_str()?.trim();
    let inner = text.strip_prefix("datetime(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(text);
    datetime::parse(inner.trim().trim_matches(['"', '\'']))
}

/// Ticks of a timespan: `hh:mm:ss[.fff]`, `d.hh:mm:ss`, `0:04:00`, `1 day, 0:00:00` (Python's `str(timedelta)`),
/// `50m`, `timespan(1h)`; a bare number is ticks, as in the JSON of old clients.
pub fn timespan_of(value: &Json) -> Option<i64> {
    match value {
        Json::Number(_) => long_of(value),
        Json::String(text) => timespan_text(text),
        _ => None,
    }
}

fn timespan_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some((days, rest)) = text.split_once("day").filter(|(_, rest)| rest.contains(',')) {
        let days: i64 = days.trim().parse().ok()?;
        let rest = rest.trim_start_matches('s').trim_start_matches(',').trim();
        return days.checked_mul(TICKS_PER_DAY)?.checked_add(timespan_text(rest)?);
    }
    let inner = text.strip_prefix("timespan(").or_else(|| text.strip_prefix("time("));
    let text = inner.and_then(|inner| inner.strip_suffix(')')).unwrap_or(text).trim();
    clock(text).or_else(|| timespan::parse(text)).or_else(|| {
        let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
        timespan::parse_literal(text[..digits].trim(), &text[digits..])
    })
}

/// `[d.]h:mm[:ss[.fff]]`.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (first, minutes) = (parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let whole = |text: &str| text.parse::<i64>().ok().filter(|n| (0..1_000_000).contains(n));
    let seconds = seconds.parse::<f64>().ok().filter(|s| (0.0..1e6).contains(s))?;
    let whole_seconds = whole(days)? * 86_400 + whole(hours)? * 3600 + whole(minutes)? * 60;
    Some(whole_seconds * 10_000_000 + (seconds * 1e7).round() as i64)
}

/// The constant of an option whose type is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Open {
    /// A whole number.
    Long(i64),
    /// A number with a fraction.
    Real(f64),
    /// Ticks since year 1.
    DateTime(i64),
    /// Ticks.
    TimeSpan(i64),
}

/// A number, datetime or timespan, as JSON or as the text of a literal.
pub fn literal_of(value: &Json) -> Option<Open> {
    let text = match value {
        Json::Number(_) => {
            return long_of(value).map(Open::Long).or_else(|| value.as_f64().map(Open::Real));
        }
        Json::String(text) => text.trim(),
        _ => return None,
    };
    if text.starts_with("datetime(") {
        return datetime_of(value).map(Open::DateTime);
    }
    let number =
        long_of(value).map(Open::Long).or_else(|| text.parse().ok().filter(|n: &f64| n.is_finite()).map(Open::Real));
    number.or_else(|| timespan_of(value).map(Open::TimeSpan)).or_else(|| datetime_of(value).map(Open::DateTime))
}

/// The text inside `dynamic(...)`.
fn dynamic_text(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("dynamic(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_in_order_and_stand_once() {
        for pair in OPTIONS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for row in OPTIONS {
            assert_eq!(row.name, row.name.to_ascii_lowercase());
            assert!(row.aliases.iter().all(|alias| OPTIONS.iter().all(|other| other.name != *alias)));
        }
    }

    #[test]
    fn every_clients_form_of_a_value_comes_to_one() {
        let checked = |name: &str, value: Json| find(name).unwrap().checked(&value);
        for value in [json!(true), json!("True"), json!(1), json!("1")] {
            assert_eq!(checked("NoTruncation", value), Ok(Some(json!(true))));
        }
        for value in [json!(5), json!("5"), json!("long(5)"), json!(5.0)] {
            assert_eq!(checked("truncationmaxrecords", value), Ok(Some(json!(5))));
        }
        for value in ["1d", "1.00:00:00", "1 day, 0:00:00", "24:00", "timespan(1d)", "time(1.00:00:00)"] {
            assert_eq!(checked("query_results_cache_max_age", json!(value)), Ok(Some(json!("1.00:00:00"))), "{value}");
        }
        for value in ["2020-01-01", "datetime(2020-01-01)", "2020-01-01T00:00:00Z", "datetime(\"2020-01-01\")"] {
            assert_eq!(checked("query_now", json!(value)), Ok(Some(json!("2020-01-01T00:00:00.0000000Z"))), "{value}");
        }
        assert_eq!(checked("query_now", json!("")), Ok(None));
        assert_eq!(checked("query_now", Json::Null), Ok(None));
    }

    #[test]
    fn a_value_of_another_type_is_told() {
        let checked = |name: &str, value: Json| find(name).unwrap().checked(&value);
        assert_eq!(checked("notruncation", json!("maybe")), Err("must be a boolean".into()));
        assert_eq!(checked("truncationmaxrecords", json!("many")), Err("must be a whole number".into()));
        assert!(checked("query_datascope", json!("cold")).unwrap_err().contains("hotcache"));
        assert!(checked("query_now", json!(5)).is_err());
        assert!(checked("query_bin_auto_size", json!("big")).is_err());
    }

    #[test]
    fn an_open_literal_keeps_its_type() {
        assert_eq!(literal_of(&json!("1h")), Some(Open::TimeSpan(36_000_000_000)));
        assert_eq!(literal_of(&json!("5")), Some(Open::Long(5)));
        assert_eq!(literal_of(&json!(0.5)), Some(Open::Real(0.5)));
        assert!(matches!(literal_of(&json!("datetime(2017-01-01)")), Some(Open::DateTime(_))));
        assert!(matches!(literal_of(&json!("2017-01-01")), Some(Open::DateTime(_))));
    }
}
