//! Settings: one documented struct, filled from a file, the environment and flags, in this order of
//! rising weight. `tidewater config show` prints each value and where it came from.
//!
//! This is the only module that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidewater_service::context::DEFAULT_DATABASE;

/// Environment variables begin with this: `TIDEWATER_LISTEN`, `TIDEWATER_DATA_DIR`, ...
pub const ENVIRONMENT_PREFIX: &str = "TIDEWATER_";
/// Names the settings file when no flag does.
const FILE_VARIABLE: &str = "TIDEWATER_CONFIG";

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: String,
    /// Directory of the databases.
    pub data_dir: PathBuf,
    /// Whether other machines may connect although nobody signs in.
    pub insecure: bool,
    /// Whether callers sign in.
    pub sign_in: SignIn,
    /// OpenID Connect issuers whose tokens are taken.
    pub token_issuers: Vec<String>,
    /// Audiences that tokens may have; when empty the server's address and Kusto's own.
    pub token_audiences: Vec<String>,
    /// Seconds that the clocks of an issuer and this server may differ.
    pub token_clock_tolerance_seconds: u64,
    /// File of the accounts of this server.
    pub accounts_file: Option<PathBuf>,
    /// Principals that administer the server.
    pub administrators: Vec<String>,
    /// Whether the built-in issuer gives tokens to the accounts.
    pub local_issuer: bool,
    /// Certificate chain for TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key.
    pub tls_key: Option<PathBuf>,
    /// Whether to speak TLS with a certificate made here, for development.
    pub tls_self_signed: bool,
    /// The address clients use, when it is not the one listened on.
    pub public_url: Option<String>,
    /// Bodies of queries and commands, as sent and unpacked.
    pub max_query_body_bytes: usize,
    /// Bodies of streaming ingestion, as sent.
    pub max_ingest_body_bytes: u64,
    /// Bytes that stay free of every disk that is written to.
    pub min_free_disk_bytes: u64,
    /// Memory that all queries share; 0 is half of the machine's.
    pub query_memory_bytes: usize,
    /// Threads that run queries; 0 is one per core.
    pub query_threads: usize,
    /// Requests that run at once; 0 is ten per core. More wait, then get 429.
    pub max_concurrent_requests: usize,
    /// Address and port of the PostgreSQL protocol; empty when it is not served.
    pub postgres_listen: String,
    /// Seconds for which the rows of SQL jobs are kept.
    pub job_result_seconds: u64,
    /// Bytes that the rows of one SQL job may take; 0 is no limit.
    pub job_result_bytes: u64,
    /// Bytes that the rows of all SQL jobs may take; 0 is no limit.
    pub job_results_bytes: u64,
    /// Connection string of the place in an object store where rows of SQL jobs are kept; empty: on disk.
    pub job_results_url: String,
    /// File that every alert of a job is written to, for development.
    pub alerts_file: Option<PathBuf>,
    /// Open connections.
    pub max_connections: usize,
    /// Time a client has to send its headers, and that an idle connection is kept.
    pub header_timeout_seconds: u64,
    /// Time that a client may stand still while it sends a body or reads an answer.
    pub stall_timeout_seconds: u64,
    /// Time that running requests have when the server stops.
    pub shutdown_timeout_seconds: u64,
    /// Directories that `.ingest into` may read files from.
    pub ingest_directories: Vec<PathBuf>,
    /// Directories below which exports may write files.
    pub export_directories: Vec<PathBuf>,
    /// Directories whose files queries may read as external data.
    pub external_directories: Vec<PathBuf>,
    /// Addresses, hosts and patterns of hosts that queries, ingestion and export may use.
    pub external_urls: Vec<String>,
    /// Other servers that stand for object stores.
    pub storage_endpoints: Vec<String>,
    /// Places that databases may lie at: `NAME=ADDRESS[;how to sign in]`, or an address alone.
    pub database_roots: Vec<String>,
    /// Identities of this machine that connection strings may sign in by.
    pub managed_identities: Vec<String>,
    /// File with a database of addresses in MaxMind's form.
    pub ip_database_file: Option<PathBuf>,
    /// Names by which queries may call this server a cluster.
    pub cluster_names: Vec<String>,
    /// The functions library is there, as the database `Library`.
    pub library: bool,
    /// Directory of Parquet files that a fresh server loads into the database `Samples`.
    pub samples_dir: Option<PathBuf>,
    /// Origins whose pages may call the server; `*` is any.
    pub cors_origins: Vec<String>,
    /// Names by which browsers may reach the server beside its own address; `*` is any.
    pub host_names: Vec<String>,
    /// Directory of the page's built files, instead of those inside the binary; for work on the page.
    pub page_dir: Option<PathBuf>,
    /// The page's name at the first of `token_issuers`.
    pub page_client_id: Option<String>,
    /// Scopes that the page asks that issuer for.
    pub page_scope: String,
    /// `text` or `json`.
    pub log_format: String,
    /// `error`, `warn`, `info`, `debug`, or filters such as `info,tidewater_service=debug`.
    pub log_level: String,
}

/// Whether callers sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Nobody does; what they send to sign in is not looked at.
    Off,
    /// Whoever shows something is checked; the others are anonymous.
    Optional,
    /// Everybody does.
    Required,
}

impl Default for Config {
    fn default() -> Self {
        Config::of(&Sources::default()).expect("defaults are valid").0
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A setting's row: its name, default and meaning. The reference page and `config show` are made from these.
pub struct Setting {
    /// Name in the file; upper-cased after the prefix in the environment; with hyphens as a flag.
    pub name: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// One sentence.
    pub summary: &'static str,
}

const fn setting(name: &'static str, default: &'static str, summary: &'static str) -> Setting {
    Setting { name, default, summary }
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    setting("listen", "127.0.0.1:8080", "address and port to listen on"),
    setting("data_dir", "./tidewater-data", "directory of the databases; made when absent"),
    setting("insecure", "false", "let other machines connect although nobody signs in"),
    setting("sign_in", "off", "'off', 'optional' (anonymous callers are let in) or 'required'"),
    setting("token_issuers", "", "OpenID Connect issuers whose tokens are taken, separated by ','"),
    setting(
        "token_audiences",
        "",
        "audiences of tokens, separated by ','; empty: this server's address and Kusto's own",
    ),
    setting("token_clock_tolerance_seconds", "60", "seconds that the clocks of an issuer and this server may differ"),
    setting("accounts_file", "", "file of this server's own accounts, kept by 'tidewater account'"),
    setting(
        "administrators",
        "",
        "principals that may do everything once callers sign in, separated by ','; 'aaduser=UPN', 'aadapp=ID;TENANT', \
         'aadgroup=NAME;TENANT', 'anonymous'",
    ),
    setting("local_issuer", "false", "give tokens to the accounts over OAuth 2 (client credentials, device code)"),
    setting("tls_certificate", "", "PEM file with the certificate chain; read again when it changes"),
    setting("tls_key", "", "PEM file with the certificate's private key"),
    setting("tls_self_signed", "false", "speak TLS with a certificate made in the data directory, for development"),
    setting("public_url", "", "address that clients use, when it is not the one listened on"),
    setting("max_query_body_bytes", "16777216", "largest body of a query or command, as sent and unpacked"),
    setting("max_ingest_body_bytes", "8589934592", "largest body of streaming ingestion, as sent"),
    setting(
        "min_free_disk_bytes",
        "134217728",
        "bytes that stay free of every disk: uploads and ingestion that would take them are refused; 0 is no limit",
    ),
    setting("query_memory_bytes", "0", "memory that all queries share; 0 is half of the machine's"),
    setting("query_threads", "0", "threads that run queries; 0 is one per core"),
    setting("max_concurrent_requests", "0", "requests that run at once; 0 is ten per core; more wait, then get 429"),
    setting("postgres_listen", "", "address and port for the PostgreSQL protocol; empty: it is not served"),
    setting("job_result_seconds", "86400", "seconds for which the rows of SQL jobs are kept"),
    setting("job_result_bytes", "10737418240", "bytes that the rows of one SQL job may take; 0 is no limit"),
    setting("job_results_bytes", "107374182400", "bytes that the rows of all SQL jobs may take; 0 is no limit"),
    setting(
        "job_results_url",
        "",
        "place in an object store where the rows of SQL jobs are kept, as a connection string; empty: on disk",
    ),
    setting("alerts_file", "", "file that every alert of a job or schedule is written to, a line of JSON each"),
    setting("max_connections", "4096", "open connections; more wait to be accepted"),
    setting(
        "header_timeout_seconds",
        "60",
        "time a client has to send its headers, and that an idle connection is kept",
    ),
    setting("stall_timeout_seconds", "120", "time a client may stand still while it sends a body or reads an answer"),
    setting("shutdown_timeout_seconds", "10", "time that running requests have when the server stops"),
    setting("ingest_directories", "", "directories that '.ingest into' may read files from, separated by ','"),
    setting("export_directories", "", "directories below which '.export' may write files, separated by ','"),
    setting(
        "external_directories",
        "",
        "directories that 'externaldata' and external tables may read files from, separated by ','",
    ),
    setting(
        "external_urls",
        "",
        "addresses that queries, ingestion and export may use, separated by ','; 'https://host/path' and 's3://bucket/path' \
         with all below, 'host', 'host:port', '*.suffix'",
    ),
    setting(
        "storage_endpoints",
        "",
        "servers that stand for object stores, separated by ','; 'azure=http://127.0.0.1:10000', 's3=URL', 'gs=URL'",
    ),
    setting(
        "database_roots",
        "",
        "places that databases may lie at instead of the data directory, separated by spaces: 'NAME=s3://bucket/path;AwsCredentials=ID,SECRET', \
         'NAME=file:///other/disk', or an address alone for '.create database ... persist'; in the file also [databases.NAME] root = '...'",
    ),
    setting(
        "managed_identities",
        "",
        "identities of this machine that 'managed_identity=...' may name, separated by ','; 'system' or object ids",
    ),
    setting("ip_database_file", "", "MaxMind file of cities (GeoLite2-City.mmdb) for geo_info_from_ip_address()"),
    setting("cluster_names", "", "names that cluster() means this server by beside its address, separated by ','"),
    setting(
        "library",
        "false",
        "'true': the documentation's functions library (comb_fl, ...) is there, as the database 'Library'",
    ),
    setting("samples_dir", "", "directory of Parquet files that go into the database 'Samples' at the first start"),
    setting(
        "cors_origins",
        "https://dataexplorer.azure.com,https://dataexplorer.azure.us,https://dataexplorer.azure.cn",
        "origins whose pages may call the server beside its own, separated by ','; '*' is any",
    ),
    setting(
        "host_names",
        "",
        "names that browsers may reach the server by beside its address and loopback, separated by ','; '*.suffix', '*' is any",
    ),
    setting("page_dir", "", "directory of the page's built files, instead of those inside the binary"),
    setting("page_client_id", "", "the page's client id at the first of 'token_issuers'; people sign in there"),
    setting("page_scope", "openid", "scopes that the page asks that issuer for"),
    setting("log_format", "text", "'text' or 'json'"),
    setting("log_level", "info", "'error', 'warn', 'info', 'debug', or filters such as 'info,tidewater_service=debug'"),
];

/// Values by setting, before they are read: one map per source.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<(PathBuf, BTreeMap<String, String>)>,
    environment: BTreeMap<String, String>,
    flags: BTreeMap<String, String>,
}

/// A value with its origin, for `config show`.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The setting.
    pub name: &'static str,
    /// Its value as text.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What it means.
    pub summary: &'static str,
}

impl Sources {
    /// Reads the file (given, or named by the environment) and the environment. `flags` are the values of
    /// flags that were given, by setting.
    #[allow(clippy::disallowed_methods, reason = "this is where settings are read")]
    pub fn read(file: Option<&Path>, flags: BTreeMap<String, String>) -> Result<Sources, String> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        let mut named = None;
        let mut environment = BTreeMap::new();
        for (name, value) in variables {
            if name == FILE_VARIABLE {
                named = Some(PathBuf::from(value));
                continue;
            }
            let setting = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
            // Variables of the client commands, read by clap.
            if matches!(setting.as_str(), "url" | "db" | "token" | "ca") {
                continue;
            }
            known(&setting).map_err(|message| format!("environment variable {name}: {message}"))?;
            environment.insert(setting, value);
        }
        let file = match file.map(Path::to_path_buf).or(named) {
            Some(path) => {
                let values = read_file(&path)?;
                Some((path, values))
            }
            None => None,
        };
        Ok(Sources { file, environment, flags })
    }

    fn get(&self, setting: &Setting) -> (String, Origin) {
        let name = setting.name;
        if let Some(value) = self.flags.get(name) {
            return (value.clone(), Origin::Flag(name.replace('_', "-")));
        }
        if let Some(value) = self.environment.get(name) {
            return (value.clone(), Origin::Environment(format!("{ENVIRONMENT_PREFIX}{}", name.to_ascii_uppercase())));
        }
        if let Some((path, values)) = &self.file
            && let Some(value) = values.get(name)
        {
            return (value.clone(), Origin::File(path.clone()));
        }
        (setting.default.to_string(), Origin::Default)
    }
}

/// Table of the settings file with a table for each database that has settings of its own.
const DATABASES_TABLE: &str = "databases";

fn known(name: &str) -> Result<(), String> {
    if SETTINGS.iter().any(|setting| setting.name == name) {
        return Ok(());
    }
    let names = SETTINGS.iter().map(|setting| setting.name);
    match tidewater_kql::diagnostic::nearest(name, names) {
        Some(near) => Err(format!("unknown setting '{name}'; did you mean '{near}'?")),
        None => Err(format!("unknown setting '{name}'; 'tidewater config show' lists them")),
    }
}

/// Reads a TOML file of settings; lists may be arrays or texts with commas.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let at = |message: String| format!("settings file {}: {message}", path.display());
    if !path.exists() {
        return Err(at("no such file".to_string()));
    }
    let source = config::File::from(path.to_path_buf()).format(config::FileFormat::Toml);
    let built = config::Config::builder().add_source(source).build().map_err(|error| at(error.to_string()))?;
    let table = built.cache.into_table().map_err(|error| at(error.to_string()))?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        if let (DATABASES_TABLE, config::ValueKind::Table(databases)) = (name.as_str(), &value.kind) {
            let roots: &mut String = values.entry("database_roots".to_string()).or_default();
            for (database, settings) in databases {
                let wrong = || at(format!("[{DATABASES_TABLE}.{database}] has one setting, root = \"ADDRESS\""));
                let config::ValueKind::Table(settings) = &settings.kind else { return Err(wrong()) };
                let root = settings.get("root").filter(|_| settings.len() == 1).ok_or_else(wrong)?.to_string();
                if root.contains(char::is_whitespace) {
                    return Err(at(format!("[{DATABASES_TABLE}.{database}]: spaces in an address are written as %20")));
                }
                *roots = format!("{roots} {}={root}", database.replace(' ', "%20"));
            }
            continue;
        }
        known(&name).map_err(&at)?;
        let text = match value.kind {
            config::ValueKind::Array(items) => {
                let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
                items.join(",")
            }
            config::ValueKind::Table(_) => return Err(at(format!("setting '{name}' must be a plain value"))),
            _ => value.to_string(),
        };
        match values.get_mut(&name).filter(|_| name == "database_roots") {
            Some(roots) => *roots = format!("{text} {roots}"),
            None => drop(values.insert(name, text)),
        }
    }
    Ok(values)
}

impl Config {
    /// The settings that the sources give, and the same for show.
    pub fn of(sources: &Sources) -> Result<(Config, Vec<Shown>), String> {
        let mut shown: Vec<Shown> = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let (value, origin) = sources.get(setting);
            shown.push(Shown { name: setting.name, value, origin, summary: setting.summary });
        }
        let reader = Reader { shown: &shown };
        let config = Config {
            listen: reader.text("listen"),
            data_dir: PathBuf::from(reader.text("data_dir")),
            insecure: reader.flag("insecure")?,
            sign_in: match reader.one_of("sign_in", &["off", "optional", "required"])?.as_str() {
                "required" => SignIn::Required,
                "optional" => SignIn::Optional,
                _ => SignIn::Off,
            },
            token_issuers: reader.list("token_issuers"),
            token_audiences: reader.list("token_audiences"),
            token_clock_tolerance_seconds: reader.number("token_clock_tolerance_seconds")?,
            accounts_file: reader.path("accounts_file"),
            administrators: reader.list("administrators"),
            local_issuer: reader.flag("local_issuer")?,
            tls_certificate: reader.path("tls_certificate"),
            tls_key: reader.path("tls_key"),
            tls_self_signed: reader.flag("tls_self_signed")?,
            public_url: Some(reader.text("public_url")).filter(|url| !url.is_empty()),
            max_query_body_bytes: reader.number("max_query_body_bytes")?,
            max_ingest_body_bytes: reader.number("max_ingest_body_bytes")?,
            min_free_disk_bytes: reader.number("min_free_disk_bytes")?,
            query_memory_bytes: reader.number("query_memory_bytes")?,
            query_threads: reader.number("query_threads")?,
            max_concurrent_requests: reader.number("max_concurrent_requests")?,
            postgres_listen: reader.text("postgres_listen"),
            job_result_seconds: reader.number("job_result_seconds")?,
            job_result_bytes: reader.number("job_result_bytes")?,
            job_results_bytes: reader.number("job_results_bytes")?,
            job_results_url: reader.text("job_results_url"),
            max_connections: reader.number("max_connections")?,
            header_timeout_seconds: reader.number("header_timeout_seconds")?,
            stall_timeout_seconds: reader.number("stall_timeout_seconds")?,
            shutdown_timeout_seconds: reader.number("shutdown_timeout_seconds")?,
            ingest_directories: reader.list("ingest_directories").into_iter().map(PathBuf::from).collect(),
            export_directories: reader.list("export_directories").into_iter().map(PathBuf::from).collect(),
            external_directories: reader.list("external_directories").into_iter().map(PathBuf::from).collect(),
            external_urls: reader.list("external_urls"),
            storage_endpoints: reader.list("storage_endpoints"),
            database_roots: reader.text("database_roots").split_whitespace().map(str::to_string).collect(),
            managed_identities: reader.list("managed_identities"),
            ip_database_file: reader.path("ip_database_file"),
            alerts_file: reader.path("alerts_file"),
            cluster_names: reader.list("cluster_names"),
            library: reader.flag("library")?,
            samples_dir: reader.path("samples_dir"),
            cors_origins: reader.list("cors_origins"),
            host_names: reader.list("host_names"),
            page_dir: reader.path("page_dir"),
            page_client_id: Some(reader.text("page_client_id")).filter(|id| !id.is_empty()),
            page_scope: reader.text("page_scope"),
            log_format: reader.one_of("log_format", &["text", "json"])?,
            log_level: reader.text("log_level"),
        };
        for row in shown.iter_mut().filter(|row| row.name == "database_roots") {
            // It may hold secrets.
            let entries = row.value.split_whitespace().map(|entry| match entry.split_once([';', '?']) {
                Some((address, _)) => format!("{address};***"),
                None => entry.to_string(),
            });
            row.value = entries.collect::<Vec<_>>().join(" ");
        }
        Ok((config, shown))
    }

    /// How long a client may stand still while it sends a body or reads an answer.
    pub fn stall_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.stall_timeout_seconds.max(1))
    }

    /// The database that clients fall back to.
    pub fn default_database(&self) -> &'static str {
        DEFAULT_DATABASE
    }
}

struct Reader<'a> {
    shown: &'a [Shown],
}

impl Reader<'_> {
    fn row(&self, name: &str) -> &Shown {
        self.shown.iter().find(|row| row.name == name).expect("every setting has a row")
    }

    fn text(&self, name: &str) -> String {
        self.row(name).value.trim().to_string()
    }

    fn wrong(&self, name: &str, expected: &str) -> String {
        let row = self.row(name);
        format!("setting '{name}' ({}) must be {expected}, found '{}'", row.origin, row.value)
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" | "" => Ok(false),
            _ => Err(self.wrong(name, "true or false")),
        }
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<N, String> {
        self.text(name).replace('_', "").parse().map_err(|_| self.wrong(name, "a whole number, not negative"))
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_string).collect()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.text(name))).filter(|path| !path.as_os_str().is_empty())
    }

    fn one_of(&self, name: &str, values: &[&str]) -> Result<String, String> {
        let value = self.text(name).to_ascii_lowercase();
        match values.contains(&value.as_str()) {
            true => Ok(value),
            false => Err(self.wrong(name, &values.join(" or "))),
        }
    }
}

/// Whether an address is reachable from this machine only.
pub fn is_loopback(address: &std::net::SocketAddr) -> bool {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let path = PathBuf::from("t.toml");
        let file = [("listen", "a:1"), ("log_level", "warn"), ("insecure", "true")];
        let sources = Sources {
            file: Some((path, file.map(|(name, value)| (name.into(), value.into())).into())),
            environment: [("listen".to_string(), "b:2".to_string()), ("log_level".into(), "debug".into())].into(),
            flags: [("listen".to_string(), "c:3".to_string())].into(),
        };
        let (config, shown) = Config::of(&sources).unwrap();
        assert_eq!((config.listen.as_str(), config.log_level.as_str(), config.insecure), ("c:3", "debug", true));
        let origin = |name: &str| shown.iter().find(|row| row.name == name).unwrap().origin.to_string();
        assert_eq!(origin("listen"), "flag --listen");
        assert_eq!(origin("log_level"), "environment TIDEWATER_LOG_LEVEL");
        assert_eq!(origin("insecure"), "file t.toml");
        assert_eq!(origin("data_dir"), "default");
    }

    #[test]
    fn roots_of_databases_come_from_their_own_tables_and_their_secrets_are_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "database_roots = \"file:///more\"\n[databases.Logs]\nroot = \"s3://b/p;AwsCredentials=id,secret\"\n";
        std::fs::write(file.path(), text).unwrap();
        let values = read_file(file.path()).unwrap();
        let sources = Sources { file: Some((file.path().to_path_buf(), values)), ..Sources::default() };
        let (config, shown) = Config::of(&sources).unwrap();
        assert_eq!(config.database_roots, ["file:///more", "Logs=s3://b/p;AwsCredentials=id,secret"]);
        let row = shown.iter().find(|row| row.name == "database_roots").unwrap();
        assert_eq!(row.value, "file:///more Logs=s3://b/p;***");
        for wrong in ["[databases.X]\n", "[databases.X]\nrot = 'a'\n", "[databases]\nX = 'a'\n"] {
            std::fs::write(file.path(), wrong).unwrap();
            assert!(read_file(file.path()).unwrap_err().contains("root ="), "{wrong}");
        }
    }

    #[test]
    fn unknown_settings_are_refused_with_the_nearest_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "lisen = \"127.0.0.1:1\"\n").unwrap();
        let message = read_file(file.path()).unwrap_err();
        assert!(message.contains("unknown setting 'lisen'; did you mean 'listen'?"), "{message}");
    }

    #[test]
    fn wrong_values_name_their_origin() {
        let flags = [("max_connections".to_string(), "many".to_string())].into();
        let sources = Sources { flags, ..Sources::default() };
        let message = Config::of(&sources).unwrap_err();
        assert!(message.contains("'max_connections' (flag --max-connections) must be a whole number"), "{message}");
    }

    #[test]
    fn lists_may_be_toml_arrays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ingest_directories = [\"/a\", \"/b\"]\nmax_connections = 1_000\n").unwrap();
        let values = read_file(file.path()).unwrap();
        let sources = Sources { file: Some((file.path().to_path_buf(), values)), ..Sources::default() };
        let (config, _) = Config::of(&sources).unwrap();
        assert_eq!(config.ingest_directories, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.max_connections, 1000);
    }
}
