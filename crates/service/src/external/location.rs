//! Storage connection strings: what they name, and whether a query may read it.
//!
//! Source: storage-connection-strings and callout-policy pages. Nothing is allowed unless a setting names it: local files
//! by `external_directories`, addresses by `external_urls`.

use std::path::PathBuf;

use reqwest::Url;
use tidewater_plan::SqlKind;

use super::objects::{Kind, Place, SignIn};
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
    /// A place in an object store.
    Object(Box<Place>),
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
        let bad = |reason: &str| Error::bad_request(format!("connection string '{}': {reason}", shown(text)));
        let Some((scheme, rest)) = address.split_once("://") else {
            return Ok(Location::File(address.to_string()));
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Ok(Location::File(rest.strip_prefix("localhost").unwrap_or(rest).to_string()));
        }
        let (rest, query) = match rest.split_once('?') {
            // `?` is a wildcard in keys of stores whose addresses have no query.
            Some(_) if matches!(scheme.as_str(), "s3" | "s3a" | "gs") => (rest, None),
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let sign_in = sign_in(secret, query).map_err(|reason| bad(&reason))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(bad("the address has no host"));
        }
        let place = match scheme.as_str() {
            "s3" | "s3a" => place_of(Kind::S3(None), authority, path, &scheme, authority),
            "gs" => place_of(Kind::Google, authority, path, &scheme, authority),
            "abfss" | "abfs" | "wasbs" | "wasb" | "az" | "azure" => {
                let (container, host, path, root) = match authority.split_once('@') {
                    Some((container, host)) => (container, host, path, authority.to_string()),
                    None if authority.contains('.') => {
                        let (container, path) = path.split_once('/').unwrap_or((path, ""));
                        (container, authority, path, format!("{authority}/{container}"))
                    }
                    None => return Err(bad("'container@account.blob.core.windows.net' is expected")),
                };
                let (account, endpoint) = azure_host(host).ok_or_else(|| bad("the host is none of Azure's stores"))?;
                let mut place = place_of(Kind::Azure(account), container, path, &scheme, &root);
                place.endpoint = endpoint;
                place
            }
            "http" | "https" => match store_of(&scheme, authority, path, &sign_in, query) {
                Some(place) => place,
                None => return Location::web(address, sign_in).map_err(|reason| bad(&reason)),
            },
            other => return Err(Error::not_served(format!("the scheme '{other}' of external data"))),
        };
        if place.container.is_empty() {
            return Err(bad("the container or bucket is missing"));
        }
        let key = match scheme.starts_with("http") {
            true => percent_encoding::percent_decode_str(&place.key).decode_utf8(),
            false => Ok(place.key.as_str().into()),
        };
        let key = key.map_err(|_| bad("the name is not UTF-8"))?.trim_start_matches('/').to_string();
        let host = match (&place.kind, &place.endpoint) {
            (_, Some(endpoint)) => format!("{endpoint}/{}", place.container),
            (Kind::Azure(account), None) => format!("https://{account}.blob.core.windows.net/{}", place.container),
            (Kind::S3(Some(region)), None) => format!("https://{}.s3.{region}.amazonaws.com", place.container),
            (Kind::S3(None), None) => format!("https://{}.s3.amazonaws.com", place.container),
            (Kind::Google, None) => format!("https://storage.googleapis.com/{}", place.container),
        };
        let mut url = Url::parse(&host).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a user in the address is not allowed"));
        }
        let base = url.path().trim_end_matches('/').to_string();
        url.set_path(&format!("{base}/{key}"));
        let suits = match (&sign_in, &place.kind) {
            (SignIn::Anonymous, _) => true,
            (SignIn::Aws { .. }, kind) => matches!(kind, Kind::S3(_)),
            (SignIn::Token(_) | SignIn::Managed(_), kind) => matches!(kind, Kind::Azure(_) | Kind::Google),
            (SignIn::AccountKey(_) | SignIn::Signature(_), kind) => matches!(kind, Kind::Azure(_)),
        };
        if !suits {
            return Err(bad("the store does not know this way to sign in"));
        }
        Ok(Location::Object(Box::new(Place { key, sign_in, url, ..place })))
    }

    /// A plain address.
    fn web(address: &str, sign_in: SignIn) -> std::result::Result<Location, String> {
        match sign_in {
            SignIn::Anonymous | SignIn::Signature(_) => {}
            _ => return Err("a plain address has no way to sign in".to_string()),
        }
        let url = Url::parse(address).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user in the address is not allowed".to_string());
        }
        if url.host_str().is_none() {
            return Err("the address has no host".to_string());
        }
        Ok(Location::Url(url))
    }

    /// The same as a place that can be listed and written to: an address with a shared access signature at a server of
    /// Azure's protocol has the account as the first part of its path.
    pub fn into_place(self) -> Location {
        let Location::Url(url) = &self else { return self };
        let has = |wanted: &str| url.query_pairs().any(|(name, _)| name == wanted);
        let segments: Vec<&str> = url.path().trim_start_matches('/').splitn(3, '/').collect();
        let (Some(account), Some(container)) = (segments.first(), segments.get(1)) else { return self };
        if !has("sig") || !has("sv") || account.is_empty() || container.is_empty() {
            return self;
        }
        let origin = url.origin().ascii_serialization();
        let pairs = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let key = segments.get(2).copied().unwrap_or_default();
        let mut plain = url.clone();
        plain.set_query(None);
        Location::Object(Box::new(Place {
            kind: Kind::Azure(account.to_string()),
            container: container.to_string(),
            key: percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned(),
            sign_in: SignIn::Signature(pairs),
            endpoint: Some(format!("{origin}/{account}")),
            url: plain,
            root: format!("{origin}/{account}/{container}/"),
        }))
    }
}

fn place_of(kind: Kind, container: &str, key: &str, scheme: &str, root: &str) -> Place {
    Place {
        kind,
        container: container.to_string(),
        key: key.to_string(),
        sign_in: SignIn::Anonymous,
        endpoint: None,
        // Replaced as soon as the key is decoded.
        url: Url::parse("https://unknown/").expect("a constant address"),
        root: format!("{scheme}://{root}/"),
    }
}

/// The account of a host of Azure's stores, and its address where it is not the public cloud's.
fn azure_host(host: &str) -> Option<(String, Option<String>)> {
    let host = host.to_ascii_lowercase();
    let (account, suffix) = host.split_once(".blob.").or_else(|| host.split_once(".dfs."))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if account.is_empty() || !account.chars().all(fits) {
        return None;
    }
    match suffix {
        "core.windows.net" => Some((account.to_string(), None)),
        "core.usgovcloudapi.net"
        | "core.chinacloudapi.cn"
        | "core.cloudapi.de"
        | "fabric.microsoft.com"
        | "storage.azure.net" => Some((account.to_string(), Some(format!("https://{account}.blob.{suffix}")))),
        _ => None,
    }
}

/// The store behind a web address, where it is one. Addresses with a query are read as they are, except Azure's, whose
/// signatures hold for listing too.
fn store_of(scheme: &str, host: &str, path: &str, sign_in: &SignIn, query: Option<&str>) -> Option<Place> {
    let (first, below) = path.split_once('/').unwrap_or((path, ""));
    let lower = host.to_ascii_lowercase();
    if let Some((account, endpoint)) = azure_host(host) {
        // A query that is no signature is a snapshot's or a version's.
        if query.is_some() && !matches!(sign_in, SignIn::Signature(_)) {
            return None;
        }
        let mut place = place_of(Kind::Azure(account), first, below, scheme, &format!("{host}/{first}"));
        place.endpoint = endpoint;
        return Some(place);
    }
    if query.is_some() {
        return None;
    }
    if let Some(name) = lower.strip_suffix(".amazonaws.com") {
        // `bucket.s3.region`, `bucket.s3-region`, `bucket.s3`, `s3.region`, `s3`.
        let region = |text: &str| Some(text.trim_start_matches(['.', '-']).to_string()).filter(|text| !text.is_empty());
        if let Some(rest) = name.strip_prefix("s3").filter(|rest| rest.is_empty() || rest.starts_with(['.', '-'])) {
            return Some(place_of(Kind::S3(region(rest)), first, below, scheme, &format!("{host}/{first}")));
        }
        let (at, _) = name.match_indices(".s3").find(|(at, _)| {
            let rest = &name[at + 3..];
            rest.is_empty() || rest.starts_with(['.', '-'])
        })?;
        let kind = Kind::S3(region(&name[at + 3..]));
        return Some(place_of(kind, &host[..at], path, scheme, host));
    }
    if lower == "storage.googleapis.com" {
        return Some(place_of(Kind::Google, first, below, scheme, &format!("{host}/{first}")));
    }
    // Other servers of these protocols: what is given to sign in tells which.
    match sign_in {
        SignIn::Aws { .. } => {
            let mut place = place_of(Kind::S3(None), first, below, scheme, &format!("{host}/{first}"));
            place.endpoint = Some(format!("{scheme}://{host}"));
            Some(place)
        }
        SignIn::AccountKey(_) | SignIn::Token(_) => {
            let (container, key) = below.split_once('/').unwrap_or((below, ""));
            let root = format!("{host}/{first}/{container}");
            let mut place = place_of(Kind::Azure(first.to_string()), container, key, scheme, &root);
            place.endpoint = Some(format!("{scheme}://{host}/{first}"));
            Some(place)
        }
        _ => None,
    }
}

/// How a connection string signs in. Source: storage-connection-strings page.
fn sign_in(secret: &str, query: Option<&str>) -> std::result::Result<SignIn, String> {
    let secret = secret.trim().trim_end_matches(';').trim();
    let pairs = |query: &str| {
        let pairs = reqwest::Url::parse(&format!("https://x/?{query}")).ok()?;
        let pairs: Vec<(String, String)> =
            pairs.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        pairs.iter().any(|(name, _)| name == "sig").then_some(pairs)
    };
    if secret.is_empty() || secret.eq_ignore_ascii_case("anonymous") {
        return Ok(query.and_then(pairs).map_or(SignIn::Anonymous, SignIn::Signature));
    }
    let (name, value) = match secret.split_once('=') {
        Some((name, value)) => (name.trim().to_ascii_lowercase(), value.trim()),
        None => (secret.to_ascii_lowercase(), ""),
    };
    match (name.as_str(), value) {
        ("impersonate", "") => Err("the server has no token of the caller for stores, so 'impersonate' cannot work; \
             use a key, a signature, or 'managed_identity'"
            .to_string()),
        ("prompt", _) => Err("nobody can be asked: 'prompt' is for tools with a window".to_string()),
        ("managed_identity", "") => Err("'managed_identity=system' or an object id is expected".to_string()),
        ("managed_identity", id) if id.eq_ignore_ascii_case("system") => Ok(SignIn::Managed(None)),
        ("managed_identity", id) => Ok(SignIn::Managed(Some(id.to_string()))),
        ("token", "") | ("sharedkey", "") => Err(format!("'{name}' has no value")),
        ("token", token) => Ok(SignIn::Token(token.to_string())),
        // The page gives a signature under this name, too.
        ("sharedkey", key) if key.contains("sig=") => {
            let pairs = pairs(key.trim_start_matches('?'));
            pairs.map(SignIn::Signature).ok_or_else(|| "the signature cannot be read".to_string())
        }
        ("sharedkey", key) => Ok(SignIn::AccountKey(key.to_string())),
        ("awscredentials", keys) => {
            let mut keys = keys.splitn(3, ',').map(|key| key.trim().to_string());
            let (id, secret) = (keys.next().unwrap_or_default(), keys.next().unwrap_or_default());
            if id.is_empty() || secret.is_empty() {
                return Err("'AwsCredentials=ID,SECRET' is expected".to_string());
            }
            Ok(SignIn::Aws { id, secret, session: keys.next() })
        }
        // An account's key is base64 and ends with `=` itself.
        _ => Ok(SignIn::AccountKey(secret.to_string())),
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
            if text.contains("://") && !text.starts_with("http") {
                match Location::parse(text) {
                    Ok(Location::Object(place)) => rules.push(Rule::Prefix(place.url)),
                    Ok(_) => return Err(wrong("an address of a store is expected".into())),
                    Err(error) => return Err(wrong(error.message().to_string())),
                }
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

    /// Refuses a place in a store that may not be used.
    pub fn check_place(&self, place: &Place) -> Result<()> {
        match place.addresses().iter().any(|url| self.allows(url)) {
            true => Ok(()),
            false => self.check(&place.url),
        }
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

    fn place(text: &str) -> Place {
        match Location::parse(text).unwrap() {
            Location::Object(place) => *place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_of_databases_are_named_with_their_kind() {
        let policy = policy(&["*", "db.example:5432", "postgresql://db.example", "mysql://*.example.com:3307"]);
        let allows = |kind, host, port| policy.check_database(kind, host, port).is_ok();
        assert!(allows(SqlKind::PostgreSql, "DB.example", 5432));
        assert!(!allows(SqlKind::PostgreSql, "db.example", 5433));
        assert!(!allows(SqlKind::MySql, "db.example", 3306));
        assert!(allows(SqlKind::MySql, "a.example.com", 3307));
        assert!(super::Policy::new(Vec::new(), &["postgresql://a/b".to_string()]).is_err());
    }

    #[test]
    fn connection_strings_name_files_and_addresses() {
        let url = |text: &str| match Location::parse(text).unwrap() {
            Location::Url(url) => url.to_string(),
            Location::File(path) => path,
            Location::Object(place) => panic!("{place:?}"),
        };
        assert_eq!(url("file:///data/a.csv"), "/data/a.csv");
        assert_eq!(url("/data/*.csv"), "/data/*.csv");
        assert_eq!(url("https://example.com/x.csv?a=b"), "https://example.com/x.csv?a=b");
        // A presigned address is read as it is.
        assert_eq!(
            url("https://b.s3.amazonaws.com/x?X-Amz-Signature=1"),
            "https://b.s3.amazonaws.com/x?X-Amz-Signature=1"
        );
        assert!(Location::parse("https://user:pass@host/x.csv").is_err());
        assert!(Location::parse("hdfs://x/y").is_err());
        assert!(Location::parse("https://example.com/x.csv;managed_identity=system").is_err());
        assert!(Location::parse("https://a.blob.core.windows.net/c/x;impersonate").is_err());
        assert!(Location::parse("s3://b/x;sharedkey=abc").is_err());
    }

    #[test]
    fn stores_are_known_by_scheme_host_and_sign_in() {
        let known = |text: &str| {
            let place = place(text);
            let kind = match &place.kind {
                Kind::Azure(account) => format!("azure {account}"),
                Kind::S3(region) => format!("s3 {}", region.as_deref().unwrap_or("-")),
                Kind::Google => "gs".to_string(),
            };
            format!("{kind} {} {} {:?} {}", place.container, place.key, place.sign_in, place.url)
        };
        assert_eq!(
            known("https://acc.blob.core.windows.net/c/a%20b/x.csv;bG9uZw=="),
            "azure acc c a b/x.csv AccountKey https://acc.blob.core.windows.net/c/a%20b/x.csv"
        );
        assert_eq!(
            known("abfss://fs@acc.dfs.core.windows.net/a/b.csv;sharedkey=k=="),
            "azure acc fs a/b.csv AccountKey https://acc.blob.core.windows.net/fs/a/b.csv"
        );
        assert_eq!(
            known("https://acc.blob.core.windows.net/c/x.csv?sv=1&sig=2"),
            "azure acc c x.csv Signature https://acc.blob.core.windows.net/c/x.csv"
        );
        assert_eq!(
            known("https://onelake.dfs.fabric.microsoft.com/ws/item.Lakehouse/Files/x.csv;token=t"),
            "azure onelake ws item.Lakehouse/Files/x.csv Token https://onelake.blob.fabric.microsoft.com/ws/item.Lakehouse/Files/x.csv"
        );
        assert_eq!(
            known("s3://bucket/a/b.csv"),
            "s3 - bucket a/b.csv Anonymous https://bucket.s3.amazonaws.com/a/b.csv"
        );
        let aws = "AwsCredentials=ID,secret/+=";
        assert_eq!(
            known(&format!("https://my.bucket.s3.us-west-2.amazonaws.com/a/b.csv;{aws}")),
            "s3 us-west-2 my.bucket a/b.csv Aws https://my.bucket.s3.us-west-2.amazonaws.com/a/b.csv"
        );
        assert_eq!(
            known(&format!("http://127.0.0.1:9000/bucket/a.csv;{aws}")),
            "s3 - bucket a.csv Aws http://127.0.0.1:9000/bucket/a.csv"
        );
        assert_eq!(
            known("http://127.0.0.1:10000/devstoreaccount1/c/a.csv;key=="),
            "azure devstoreaccount1 c a.csv AccountKey http://127.0.0.1:10000/devstoreaccount1/c/a.csv"
        );
        assert_eq!(known("gs://bucket/x"), "gs bucket x Anonymous https://storage.googleapis.com/bucket/x");
        assert_eq!(
            known("az://c@acc.blob.core.windows.net/x;managed_identity=system"),
            "azure acc c x Managed https://acc.blob.core.windows.net/c/x"
        );
    }

    #[test]
    fn keys_are_shown_below_their_own_root() {
        assert_eq!(
            place("abfss://fs@acc.dfs.core.windows.net/a/b.csv").shown("a/b.csv"),
            "abfss://fs@acc.dfs.core.windows.net/a/b.csv"
        );
        assert_eq!(place("s3://bucket/a/b.csv").shown("a/c"), "s3://bucket/a/c");
        assert_eq!(
            place("https://b.s3.eu-west-1.amazonaws.com/k").shown("k"),
            "https://b.s3.eu-west-1.amazonaws.com/k"
        );
        assert_eq!(
            place("https://acc.blob.core.windows.net/c?sv=1&sig=2").shown("k"),
            "https://acc.blob.core.windows.net/c/k"
        );
    }

    #[test]
    fn places_are_allowed_by_any_of_their_addresses() {
        let allows = |urls: &[&str], text: &str| policy(urls).check_place(&place(text)).is_ok();
        assert!(allows(&["s3://bucket"], "https://bucket.s3.eu-west-1.amazonaws.com/x"));
        assert!(allows(&["s3://bucket"], "s3://bucket/x"));
        assert!(!allows(&["s3://bucket"], "s3://buckets/x"));
        assert!(!allows(&["s3://bucket/a"], "s3://bucket/b"));
        assert!(allows(&["*.blob.core.windows.net"], "abfss://fs@acc.dfs.core.windows.net/x"));
        assert!(!allows(&["*.amazonaws.com"], "gs://b/x"));
        assert!(!allows(&["*"], "http://127.0.0.1:9000/bucket/a.csv;AwsCredentials=a,b"));
        assert!(allows(&["127.0.0.1:9000"], "http://127.0.0.1:9000/bucket/a.csv;AwsCredentials=a,b"));
    }

    #[test]
    fn an_address_with_a_signature_is_a_place_where_it_must_be() {
        let location = Location::parse("http://127.0.0.1:10000/acc/c/dir/x?sv=1&sig=2%3D").unwrap();
        assert!(matches!(location, Location::Url(_)));
        let Location::Object(place) = location.into_place() else { panic!("no place") };
        assert_eq!((place.container.as_str(), place.key.as_str()), ("c", "dir/x"));
        assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:10000/acc"));
        assert_eq!(place.shown("k"), "http://127.0.0.1:10000/acc/c/k");
        assert!(!format!("{place:?}").contains("2="));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("https://a/b.csv?sig=1;k"), "https://a/b.csv");
        assert_eq!(shown("https://a/b.csv;key"), "https://a/b.csv");
    }
}
