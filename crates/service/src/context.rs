//! Who asks, when, under which limits: one [`Context`] per request, made by a front.
//!
//! This is the only module that reads the system clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidewater_kql::value;
use tidewater_plan::options;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::usage::Usage;
use crate::workload::WorkloadGroup;
use crate::workload::definition::RequestLimits;

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
    /// The server's address as the caller has named it; the configured one when absent.
    pub base_url: Option<String>,
    /// Request properties.
    pub options: RequestOptions,
    /// Values of declared query parameters.
    pub parameters: HashMap<String, Value>,
    /// Whether the request may only read.
    pub readonly: bool,
    /// What the request has used so far.
    pub usage: Usage,
    /// The workload group whose limits hold, once it is known; none for work whose limits are lifted.
    pub(crate) group: Option<Arc<WorkloadGroup>>,
    /// The organisation and sandbox that the request named; none through Kusto's API.
    pub tenant: Option<crate::jobs::Tenant>,
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
            base_url: None,
            options: RequestOptions::default(),
            parameters: HashMap::new(),
            readonly: false,
            usage: Usage::default(),
            group: None,
            tenant: None,
        }
    }

    /// Says who is signed in.
    pub fn sign_in(&mut self, identity: Arc<Identity>) {
        self.principal = identity.principal();
        self.identity = identity;
    }

    /// Checks the options and does what they say about the request itself. `default` is the time without options.
    ///
    /// Errors: an option with a value of another type; an option that is refused.
    pub fn apply_options(&mut self, default: Duration) -> Result<()> {
        self.options = self.options.checked()?;
        if let Some(application) = self.options.text("request_app_name") {
            self.application = application.to_string();
        }
        self.deadline = self.started + self.options.timeout(default)?;
        self.readonly |= self.options.flag("request_readonly") || self.options.flag("request_readonly_hardline");
        Ok(())
    }

    /// Why nobody waits for the request's outcome any more, if so.
    pub(crate) fn ended(&self) -> Option<Error> {
        if self.cancel.is_cancelled() {
            return Some(Error::cancelled(None));
        }
        (Instant::now() >= self.deadline).then(Error::timeout)
    }

    /// The limits of the request's workload group.
    pub(crate) fn limits(&self) -> RequestLimits {
        self.group.as_ref().map(|group| group.definition.limits).unwrap_or_default()
    }

    /// Whether the caller has named a time limit.
    pub(crate) fn has_timeout(&self) -> bool {
        self.options.flag("norequesttimeout") || self.options.text("servertimeout").is_some()
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

    /// The same with every known option under its documented name and with its value in one form.
    fn checked(&self) -> Result<RequestOptions> {
        let mut checked = RequestOptions::default();
        for (name, value) in &self.values {
            let Some(row) = options::find(name) else {
                checked.values.insert(name.clone(), value.clone());
                continue;
            };
            if row.is_refused(value) {
                return Err(Error::not_served(format!("request property '{}' ({})", row.name, row.what)));
            }
            match row.checked(value) {
                Ok(Some(value)) => checked.values.insert(row.name.to_string(), value),
                Ok(None) => None,
                Err(must) => {
                    return Err(Error::bad_request(format!("request property '{}' {must}, found {value}", row.name)));
                }
            };
        }
        Ok(checked)
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
        match options::long_of(value) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::bad_request(format!("request property '{name}' must be a whole number, found {value}"))),
        }
    }

    /// A time span in any of its forms; what is none counts as absent.
    pub fn span(&self, name: &str) -> Option<Duration> {
        let ticks = u64::try_from(options::timespan_of(self.get(name)?)?).ok()?;
        Some(Duration::from_nanos(ticks.saturating_mul(100)))
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
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Ok(default);
        }
        let asked = options::timespan_of(value).and_then(|ticks| u64::try_from(ticks).ok());
        let asked = asked.map(|ticks| Duration::from_nanos(ticks.saturating_mul(100)));
        match asked {
            Some(asked) if asked.is_zero() => Ok(default),
            Some(asked) => Ok(asked.min(MAX_TIMEOUT)),
            None => Err(Error::bad_request(format!(
                "request property 'servertimeout' must be a time span such as 00:04:00, found {value}"
            ))),
        }
    }
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
