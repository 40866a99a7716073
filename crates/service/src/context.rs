//! Who asks, when, under which limits: one [`Context`] per request, made by a front.
//!
//! This is the only module that reads the system clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidewater_kql::value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::identity::Identity;

/// The longest time a request may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time a query gets when it asks for none.
pub const DEFAULT_QUERY_TIMEOUT: Duration = Duration::from_secs(240);
/// The time a command gets when it asks for none.
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// The database that every client falls back to.
pub const DEFAULT_DATABASE: &str = "NetDefaultDB";

/// Now, in ticks since year 1.
#[allow(clippy::disallowed_methods, reason = "this is where requests get their time")]
pub fn now_ticks() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    value::datetime::UNIX_EPOCH_TICKS + (since.as_nanos() / 100) as i64
}

/// Ticks of a duration.
pub fn ticks_of(duration: Duration) -> i64 {
    (duration.as_nanos() / 100) as i64
}

/// One request.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who is signed in.
    pub identity: Arc<Identity>,
    /// The same in Kusto's form (`aaduser=...`), or `anonymous`.
    pub principal: String,
    /// The user the caller names, for journals.
    pub user: String,
    /// The program the caller names, for journals.
    pub application: String,
    /// The caller's id for the request, or one made for it. `.cancel query` takes it.
    pub client_request_id: String,
    /// Our id for the request.
    pub activity_id: Uuid,
    /// The database in whose scope the text is read; `NetDefaultDB` when the caller gave none.
    pub database: String,
    /// The time the request began; what `now()` answers unless `query_now` says otherwise.
    pub now_ticks: i64,
    /// The same on the monotonic clock.
    pub started: Instant,
    /// When the request is given up.
    pub deadline: Instant,
    /// Ends the request: by disconnect, `.cancel query`, or the deadline.
    pub cancel: CancellationToken,
    /// Request properties.
    pub options: RequestOptions,
    /// Values of declared query parameters.
    pub parameters: HashMap<String, Value>,
    /// Whether the request may only read.
    pub readonly: bool,
}

impl Context {
    /// A context for `database` with fresh ids, no options and the default deadline of queries.
    pub fn new(database: impl Into<String>) -> Self {
        let activity_id = Uuid::new_v4();
        let started = Instant::now();
        Self {
            identity: Arc::new(Identity::anonymous()),
            principal: "anonymous".to_string(),
            user: String::new(),
            application: String::new(),
            client_request_id: format!("unspecified;{activity_id}"),
            activity_id,
            database: database.into(),
            now_ticks: now_ticks(),
            started,
            deadline: started + DEFAULT_QUERY_TIMEOUT,
            cancel: CancellationToken::new(),
            options: RequestOptions::default(),
            parameters: HashMap::new(),
            readonly: false,
        }
    }

    /// Says who is signed in.
    pub fn sign_in(&mut self, identity: Arc<Identity>) {
        self.principal = identity.principal();
        self.identity = identity;
    }

    /// Sets the deadline and the read-only mark from the options. `default` is the time without options.
    pub fn apply_options(&mut self, default: Duration) -> Result<()> {
        self.deadline = self.started + self.options.timeout(default)?;
        self.readonly |= self.options.flag("request_readonly") || self.options.flag("request_readonly_hardline");
        Ok(())
    }

    /// The user if named, else the principal.
    pub fn user_or_principal(&self) -> &str {
        if self.user.is_empty() { &self.principal } else { &self.user }
    }
}

/// Request properties by lower-case name, as JSON values.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    values: HashMap<String, Value>,
}

impl RequestOptions {
    /// From the members of `Options`; names are matched without case.
    pub fn new(values: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self { values: values.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect() }
    }

    /// All of them.
    pub fn values(&self) -> &HashMap<String, Value> {
        &self.values
    }

    /// The raw value; null counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// Sets an option.
    pub fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_ascii_lowercase(), value);
    }

    /// A boolean: `true`, `1` or a text of these; anything else is false.
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
            Some(Value::String(text)) => matches!(text.trim().to_ascii_lowercase().as_str(), "true" | "1"),
            _ => false,
        }
    }

    /// A whole number, given as number or text (`long(5)` too).
    pub fn long(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64))
            }
            Value::String(text) => {
                let text = text.trim();
                let inner = text.strip_prefix("long(").or_else(|| text.strip_prefix("int("));
                inner.and_then(|inner| inner.strip_suffix(')')).unwrap_or(text).trim().parse().ok()
            }
            _ => None,
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(Error::bad_request(format!("request property '{name}' must be a whole number, found {value}"))),
        }
    }

    /// A text; empty counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The time limit these options ask for, at most [`MAX_TIMEOUT`].
    pub fn timeout(&self, default: Duration) -> Result<Duration> {
        if self.flag("norequesttimeout") {
            return Ok(MAX_TIMEOUT);
        }
        let Some(value) = self.get("servertimeout") else { return Ok(default) };
        let asked = match value {
            Value::String(text) if text.trim().is_empty() => return Ok(default),
            Value::String(text) => parse_timeout(text),
            // A bare number is ticks, as a timespan's JSON form of old clients.
            Value::Number(number) => number.as_u64().map(|ticks| Duration::from_nanos(ticks.saturating_mul(100))),
            _ => None,
        };
        match asked {
            Some(asked) if asked.is_zero() => Ok(default),
            Some(asked) => Ok(asked.min(MAX_TIMEOUT)),
            None => Err(Error::bad_request(format!(
                "request property 'servertimeout' must be a time span such as 00:04:00, found {value}"
            ))),
        }
    }
}

/// `hh:mm:ss[.fff]`, `d.hh:mm:ss`, `0:04:00`, `1 day, 0:00:00` (Python's `str(timedelta)`), `50m`, `timespan(1h)`.
fn parse_timeout(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some((days, rest)) = text.split_once("day") {
        let days: u64 = days.trim().parse().ok()?;
        let rest = rest.trim_start_matches('s').trim_start_matches(',').trim();
        let rest = if rest.is_empty() { Duration::ZERO } else { parse_timeout(rest)? };
        return Duration::from_secs(days.checked_mul(86_400)?).checked_add(rest);
    }
    let inner = text.strip_prefix("timespan(").or_else(|| text.strip_prefix("time("));
    let text = inner.and_then(|inner| inner.strip_suffix(')')).unwrap_or(text).trim();
    if let Some(seconds) = parse_clock(text) {
        return Some(seconds);
    }
    let ticks = value::timespan::parse(text).or_else(|| {
        let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
        value::timespan::parse_literal(text[..digits].trim(), &text[digits..])
    })?;
    u64::try_from(ticks).ok().map(|ticks| Duration::from_nanos(ticks.saturating_mul(100)))
}

/// `[d.]h:mm[:ss[.fff]]`.
fn parse_clock(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let (first, minutes) = (parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let whole = |text: &str| text.parse::<u64>().ok().filter(|n| *n < 1_000_000);
    let seconds = seconds.parse::<f64>().ok().filter(|s| (0.0..1e6).contains(s))?;
    let total = whole(days)? * 86_400 + whole(hours)? * 3600 + whole(minutes)? * 60;
    Some(Duration::from_secs(total) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(value: Value) -> Option<u128> {
        let options = RequestOptions::new([("ServerTimeout".to_string(), value)]);
        options.timeout(DEFAULT_QUERY_TIMEOUT).ok().map(|time| time.as_millis())
    }

    #[test]
    fn every_clients_form_of_servertimeout_is_read() {
        for (text, millis) in [
            ("00:04:00", 240_000),
            ("0:04:00", 240_000),
            ("00:00:01.500", 1_500),
            ("0.00:10:00", 600_000),
            ("1 day, 0:00:00", 3_600_000),
            ("2 days, 0:00:01", 3_600_000),
            ("50m", 3_000_000),
            ("10s", 10_000),
            ("timespan(1m)", 60_000),
            ("timespan(00:01:00)", 60_000),
            ("", 240_000),
        ] {
            assert_eq!(timeout(Value::from(text)), Some(millis), "{text}");
        }
        assert_eq!(timeout(Value::from("soon")), None);
        assert_eq!(timeout(Value::from(10_000_000)), Some(1_000));
    }

    #[test]
    fn a_long_option_may_be_text() {
        let options = RequestOptions::new([
            ("a".to_string(), Value::from("5")),
            ("b".to_string(), Value::from(7)),
            ("c".to_string(), Value::from("x")),
            ("d".to_string(), Value::Null),
        ]);
        assert_eq!(options.long("a").unwrap(), Some(5));
        assert_eq!(options.long("b").unwrap(), Some(7));
        assert!(options.long("c").is_err());
        assert_eq!(options.long("d").unwrap(), None);
    }
}
