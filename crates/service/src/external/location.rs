//! Storage connection strings: what they name, and whether a query may read it.
//!
//! Source: storage-connection-strings and callout-policy pages. Nothing is allowed unless a setting names it: local files
//! by `external_directories`, addresses by `external_urls`.

use std::path::PathBuf;

use reqwest::Url;
use tidewater_plan::SqlKind;

use super::sql::standard_port;
use crate::error::{Error, Fault, Result};

/// The setting that names directories.
pub const DIRECTORIES_SETTING: &str = "external_directories";
/// The setting that names addresses.
pub const URLS_SETTING: &str = "external_urls";

/// What a connection string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path of this machine; may hold `*` and `?`.
    File(String),
    /// An address.
    Url(Url),
}

/// A connection string without what may be a secret: the query of an address and what follows `;`.
pub fn shown(text: &str) -> &str {
    let end = text.find([';', '?']).unwrap_or(text.len());
    let text = &text[..end];
    // `?` is a wildcard in paths, and no secret.
    if text.contains("://") || end == 0 { text } else { text.split(';').next().unwrap_or(text) }
}

impl Location {
    /// Reads a connection string.
    pub fn parse(text: &str) -> Result<Location> {
        let (address, secret) = text.trim().split_once(';').unwrap_or((text.trim(), ""));
        let secret = secret.trim();
        let bad = |reason: &str| Error::bad_request(format!("connection string '{}': {reason}", shown(text)));
        let Some((scheme, rest)) = address.split_once("://") else {
            return Ok(Location::File(address.to_string()));
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Ok(Location::File(rest.strip_prefix("localhost").unwrap_or(rest).to_string()));
        }
        if !secret.is_empty() && !secret.eq_ignore_ascii_case("anonymous") {
            let what = secret.split(['=', ';']).next().unwrap_or_default();
            let named = ["impersonate", "managed_identity", "token", "awscredentials", "sharedkey", "prompt"];
            let what = match named.contains(&what.to_ascii_lowercase().as_str()) {
                true => what,
                false => "an account key",
            };
            return Err(Error::not_served(format!(
                "sign-in by {what} in connection string '{}' (a shared access signature in the address is)",
                shown(text)
            )));
        }
        let url = match scheme.as_str() {
            "http" | "https" => address.to_string(),
            "abfss" | "abfs" => {
                let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (container, host) = place.split_once('@').ok_or_else(|| bad("'filesystem@account' is expected"))?;
                format!("https://{}/{container}/{path}", host.replace(".dfs.", ".blob."))
            }
            "s3" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                format!("https://{bucket}.s3.amazonaws.com/{key}")
            }
            "gs" => format!("https://storage.googleapis.com/{rest}"),
            other => return Err(Error::not_served(format!("the scheme '{other}' of external data"))),
        };
        let url = Url::parse(&url).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a user in the address is not allowed"));
        }
        if url.host_str().is_none() {
            return Err(bad("the address has no host"));
        }
        Ok(Location::Url(url))
    }
}

/// Which directories and addresses queries may read.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Directories, with everything below them.
    pub directories: Vec<PathBuf>,
    urls: Vec<Rule>,
    databases: Vec<DatabaseRule>,
}

/// `postgresql://host:port`, `mysql://*.suffix`: a server of databases.
#[derive(Clone, Debug)]
struct DatabaseRule {
    kind: SqlKind,
    pattern: String,
    port: u16,
}

#[derive(Clone, Debug)]
enum Rule {
    /// `https://host/path`: this address and what lies below it.
    Prefix(Url),
    /// `host`, `host:port`, `*.suffix`, `*`.
    Host { pattern: String, port: Option<u16> },
}

impl Policy {
    /// Reads the settings. Errors: an entry that is neither a host nor an address.
    pub fn new(directories: Vec<PathBuf>, urls: &[String]) -> Result<Policy> {
        let mut rules = Vec::with_capacity(urls.len());
        let mut databases = Vec::new();
        for text in urls {
            let wrong = |reason: String| Error::bad_request(format!("setting '{URLS_SETTING}': '{text}': {reason}"));
            let kinds = [("postgresql://", SqlKind::PostgreSql), ("mysql://", SqlKind::MySql)];
            if let Some((kind, rest)) = kinds.iter().find_map(|(start, kind)| Some((*kind, text.strip_prefix(start)?)))
            {
                let rest = rest.trim_end_matches('/').to_ascii_lowercase();
                let (pattern, port) = match rest.rsplit_once(':') {
                    None => (rest.clone(), standard_port(kind)),
                    Some((host, port)) => (
                        host.to_string(),
                        port.parse().map_err(|_| wrong("a server or server:port is expected".into()))?,
                    ),
                };
                if pattern.is_empty() || pattern.contains(['/', '@', '?']) {
                    return Err(wrong("a server or server:port is expected".into()));
                }
                databases.push(DatabaseRule { kind, pattern, port });
                continue;
            }
            if text.contains("://") {
                let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
                if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
                    return Err(wrong("an http or https address without a query is expected".into()));
                }
                rules.push(Rule::Prefix(url));
                continue;
            }
            let (pattern, port) = match text.rsplit_once(':') {
                None => (text.as_str(), None),
                Some((host, port)) => {
                    let port = port.parse().map_err(|_| wrong("a host or host:port is expected".into()))?;
                    (host, Some(port))
                }
            };
            if pattern.is_empty() || pattern.contains('/') {
                return Err(wrong("a host or an address is expected".into()));
            }
            rules.push(Rule::Host { pattern: pattern.to_ascii_lowercase(), port });
        }
        Ok(Policy { directories, urls: rules, databases })
    }

    /// Whether an address may be read, redirects included.
    pub fn allows(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https") && self.urls.iter().any(|rule| rule.allows(url))
    }

    /// Refuses an address that may not be read.
    pub fn check(&self, url: &Url) -> Result<()> {
        if self.allows(url) {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        Err(Error::new(
            Fault::Forbidden,
            format!("a call to '{host}' was denied by policy: setting '{URLS_SETTING}' does not allow the address"),
        ))
    }

    /// Refuses a server of databases that may not be asked.
    pub fn check_database(&self, kind: SqlKind, host: &str, port: u16) -> Result<()> {
        let host = host.to_ascii_lowercase();
        let allows = |rule: &DatabaseRule| {
            let fits = match rule.pattern.strip_prefix('*') {
                // A pattern never means this machine or its neighbours: those must be named.
                Some(suffix) => host.ends_with(suffix) && !is_near_host(&host),
                None => rule.pattern == host,
            };
            rule.kind == kind && rule.port == port && fits
        };
        if self.databases.iter().any(allows) {
            return Ok(());
        }
        let scheme = match kind {
            SqlKind::MySql => "mysql",
            SqlKind::PostgreSql => "postgresql",
        };
        Err(Error::new(
            Fault::Forbidden,
            format!(
                "a call to '{host}' was denied by policy: setting '{URLS_SETTING}' does not allow \
                 '{scheme}://{host}:{port}'"
            ),
        ))
    }

    /// Opens a local file below an allowed directory, links followed. Absent and forbidden files are told alike, so that
    /// nobody can look around.
    pub fn open(&self, path: &std::path::Path) -> Result<std::fs::File> {
        let refused = || Self::refused(&path.display().to_string());
        let real = path.canonicalize().map_err(|_| refused())?;
        if !self.covers(&real) {
            return Err(refused());
        }
        let file = std::fs::File::open(&real).map_err(|_| refused())?;
        match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            true => Ok(file),
            false => Err(refused()),
        }
    }

    /// Whether a path without links lies below an allowed directory.
    pub fn covers(&self, real: &std::path::Path) -> bool {
        let directories = self.directories.iter().filter_map(|directory| directory.canonicalize().ok());
        directories.into_iter().any(|directory| real.starts_with(directory))
    }

    /// The answer for a path that names nothing that may be read.
    pub fn refused(path: &str) -> Error {
        Error::new(
            Fault::Forbidden,
            format!(
                "external data '{path}' cannot be read: it is absent, or in none of the directories of setting \
                 '{DIRECTORIES_SETTING}'"
            ),
        )
    }
}

impl Rule {
    fn allows(&self, url: &Url) -> bool {
        match self {
            Rule::Prefix(prefix) => {
                let same = prefix.scheme() == url.scheme()
                    && prefix.host_str() == url.host_str()
                    && prefix.port_or_known_default() == url.port_or_known_default();
                let (base, path) = (prefix.path(), url.path());
                let below = path
                    .strip_prefix(base)
                    .is_some_and(|rest| rest.is_empty() || base.ends_with('/') || rest.starts_with('/'));
                same && below
            }
            Rule::Host { pattern, port } => {
                let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
                let fits = match pattern.strip_prefix('*') {
                    // A pattern never means this machine or its neighbours: those must be named.
                    Some(suffix) => host.ends_with(suffix) && !is_near(url),
                    None => host == *pattern,
                };
                let standard = match url.scheme() {
                    "https" => 443,
                    _ => 80,
                };
                fits && url.port_or_known_default() == Some(port.unwrap_or(standard))
            }
        }
    }
}

/// Whether an address is this machine's or lies in a network that the internet does not reach.
fn is_near(url: &Url) -> bool {
    is_near_host(url.host_str().unwrap_or_default())
}

fn is_near_host(host: &str) -> bool {
    use std::net::IpAddr;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    let v4 = |ip: std::net::Ipv4Addr| ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => v4(ip),
        Ok(IpAddr::V6(ip)) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || ip.is_unspecified()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                || ip.to_ipv4_mapped().is_some_and(v4)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(urls: &[&str]) -> Policy {
        Policy::new(Vec::new(), &urls.iter().map(|url| url.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn allows(policy: &Policy, url: &str) -> bool {
        policy.allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!allows(&policy(&[]), "https://example.com/a.csv"));
    }

    #[test]
    fn a_prefix_ends_at_a_slash_and_dots_do_not_leave_it() {
        let policy = policy(&["https://example.com/data"]);
        assert!(allows(&policy, "https://example.com/data"));
        assert!(allows(&policy, "https://example.com/data/a.csv?sig=x"));
        assert!(!allows(&policy, "https://example.com/database.csv"));
        assert!(!allows(&policy, "https://example.com/data/../x.csv"));
        assert!(!allows(&policy, "https://example.com/data/%2e%2e/x.csv"));
        assert!(!allows(&policy, "http://example.com/data/a.csv"));
        assert!(!allows(&policy, "https://example.com:8443/data/a.csv"));
    }

    #[test]
    fn a_pattern_of_hosts_never_means_this_machine() {
        let policy = policy(&["*", "*.blob.core.windows.net"]);
        assert!(allows(&policy, "https://a.blob.core.windows.net/c/x.csv"));
        for near in ["http://127.0.0.1/x", "http://localhost/x", "http://169.254.169.254/x", "http://[::1]/x"] {
            assert!(!allows(&policy, near), "{near}");
        }
        let policy = super::tests::policy(&["127.0.0.1:9000"]);
        assert!(allows(&policy, "http://127.0.0.1:9000/x"));
        assert!(!allows(&policy, "http://127.0.0.1:9001/x"));
    }

    #[test]
    fn servers_of_databases_are_named_with_their_kind() {
        let policy = policy(&["*", "db.example:5432", "postgresql://db.example", "mysql://*.example.com:3307"]);
        let allows = |kind, host, port| policy.check_database(kind, host, port).is_ok();
        assert!(allows(SqlKind::PostgreSql, "DB.example", 5432));
        assert!(!allows(SqlKind::PostgreSql, "db.example", 5433));
        assert!(!allows(SqlKind::MySql, "db.example", 3306));
        assert!(allows(SqlKind::MySql, "a.example.com", 3307));
        assert!(!super::Policy::new(Vec::new(), &["postgresql://a/b".to_string()]).is_ok());
    }

    #[test]
    fn connection_strings_name_files_and_addresses() {
        let url = |text: &str| match Location::parse(text).unwrap() {
            Location::Url(url) => url.to_string(),
            Location::File(path) => path,
        };
        assert_eq!(url("abfss://fs@acc.dfs.core.windows.net/a/b.csv"), "https://acc.blob.core.windows.net/fs/a/b.csv");
        assert_eq!(url("s3://bucket/a/b.csv"), "https://bucket.s3.amazonaws.com/a/b.csv");
        assert_eq!(url("file:///data/a.csv"), "/data/a.csv");
        assert_eq!(url("/data/*.csv"), "/data/*.csv");
        assert!(Location::parse("https://acc.blob.core.windows.net/c/x.csv;key==").is_err());
        assert!(Location::parse("https://user:pass@host/x.csv").is_err());
        assert!(Location::parse("hdfs://x/y").is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("https://a/b.csv?sig=1;k"), "https://a/b.csv");
        assert_eq!(shown("https://a/b.csv;key"), "https://a/b.csv");
    }
}
