//! The cluster's callout policy: which addresses queries may not call. What it allows must be allowed by the settings too.
//! Ingestion is none of its types. Source: callout-policy page.

use tidewater_plan::{ExternalCall, ExternalSource, SqlKind};

use super::location::Location;
use super::sql::target_of;
use crate::error::{Error, Fault, Result};
use crate::policies::CalloutPolicy;

/// Refuses what a policy denies: of several entries that fit one that denies is enough.
fn check(policy: &CalloutPolicy, kind: &str, host: &str, texts: &[&str]) -> Result<()> {
    let denies = policy.0.iter().any(|callout| {
        // A pattern was checked when the policy was set.
        let fits = || {
            let regex = regex::Regex::new(&callout.callout_uri_regex);
            regex.is_ok_and(|regex| regex.is_match(host) || texts.iter().any(|text| regex.is_match(text)))
        };
        !callout.can_call && callout.callout_type.eq_ignore_ascii_case(kind) && fits()
    });
    match denies {
        true => Err(Error::new(
            Fault::Forbidden,
            format!("a call to '{host}' was denied by policy: the callout policy forbids it"),
        )),
        false => Ok(()),
    }
}

/// Refuses an address by its host and by its text without what may be a secret.
fn check_url(policy: &CalloutPolicy, kind: &str, url: &reqwest::Url) -> Result<()> {
    let text = url.as_str().split(['?', '#']).next().unwrap_or_default();
    check(policy, kind, url.host_str().unwrap_or_default(), &[text])
}

/// The address of a connection string; files of this machine are none.
fn check_place(policy: &CalloutPolicy, text: &str) -> Result<()> {
    match Location::parse(text)?.into_place() {
        Location::File(_) => Ok(()),
        Location::Url(url) => check_url(policy, "external_data", &url),
        Location::Object(place) => check_url(policy, "external_data", &place.url),
    }
}

/// The addresses of external data.
pub(crate) fn check_source(policy: &CalloutPolicy, source: &ExternalSource) -> Result<()> {
    source.uris.iter().try_for_each(|uri| check_place(policy, uri))
}

/// What a plugin calls.
pub(crate) fn check_call(policy: &CalloutPolicy, call: &ExternalCall) -> Result<()> {
    match call {
        ExternalCall::Sql(sql) => {
            let (host, port) = target_of(sql)?;
            let kind = match sql.kind {
                SqlKind::MySql => "mysql",
                SqlKind::PostgreSql => "postgresql",
            };
            check(policy, kind, &host, &[&format!("{host}:{port}")])
        }
        ExternalCall::Http(http) => match reqwest::Url::parse(&http.uri) {
            Ok(url) => check_url(policy, "webapi", &url),
            // The call itself says what is wrong with it.
            Err(_) => Ok(()),
        },
        ExternalCall::InferSchema(infer) => {
            infer.containers.iter().try_for_each(|container| check_place(policy, container))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_that_denies_is_enough() {
        let policy: CalloutPolicy = serde_json::from_value(serde_json::json!([
            {"CalloutType": "external_data", "CalloutUriRegex": ".*", "CanCall": true},
            {"CalloutType": "external_data", "CalloutUriRegex": "^evil\\.example\\.com$", "CanCall": false},
            {"CalloutType": "webapi", "CalloutUriRegex": "bucket", "CanCall": false},
        ]))
        .unwrap();
        assert!(check_place(&policy, "https://good.example.com/a.csv").is_ok());
        let told = check_place(&policy, "https://evil.example.com/a.csv?secret").unwrap_err();
        assert!(told.message().contains("evil.example.com") && !told.message().contains("secret"), "{told}");
        assert!(check_place(&policy, "s3://bucket/key;AwsCredentials=a,b").is_ok());
        assert!(check_place(&policy, "/local/file.csv").is_ok());
        let url = reqwest::Url::parse("https://host/bucket").unwrap();
        assert!(check_url(&policy, "webapi", &url).is_err());
        assert!(check_url(&policy, "external_data", &url).is_ok());
    }
}
