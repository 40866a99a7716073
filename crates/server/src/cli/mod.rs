//! The commands of `tidewater`.

mod account;
mod care;
mod client;
mod load;
mod query;
mod serve;
mod sql;
mod wait;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, SETTINGS, Sources};

pub use serve::{Server, start};

#[derive(Parser)]
#[command(
    name = "tidewater",
    version,
    about = "An open server that speaks Kusto's query language and REST interface",
    long_about = "Tidewater keeps tables as Parquet files on disk and answers KQL queries about them over the REST \
                  interface that Azure Data Explorer's tools and SDKs speak.",
    after_help = "Examples:\n  \
        tidewater serve --data ./data\n  \
        tidewater load flights.parquet --db Samples --table Flights\n  \
        tidewater query 'Flights | summarize count() by Carrier | top 5 by count_' --db Samples\n  \
        tidewater query '.show tables' --db Samples --format json\n\n\
        Every command explains itself: tidewater load --help"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server
    #[command(
        long_about = "Starts the server. It listens on this machine only unless callers must sign in \
                      (sign_in=required) or --insecure is given: without sign-in, whoever can connect can read and \
                      change everything.\n\nSettings come from flags, then \
                      TIDEWATER_* environment variables, then the file given by --config; 'tidewater config show' \
                      prints them all.",
        after_help = "Examples:\n  tidewater serve\n  tidewater serve --listen 127.0.0.1:9090 --data /var/lib/tidewater\n  \
                      TIDEWATER_LOG_FORMAT=json tidewater serve --config tidewater.toml"
    )]
    Serve(Box<Settings>),
    /// Run a query or a management command and print its result
    #[command(after_help = "Examples:\n  \
        tidewater query 'print x = 1 + 1'\n  \
        tidewater query 'T | where Level == \"Error\" | count' --db Logs\n  \
        tidewater query '.show databases' --format csv\n  \
        tidewater query - --db Logs < query.kql\n  \
        tidewater query 'declare query_parameters(n: long); T | take n' --param n=5")]
    Query(query::Arguments),
    /// Load files into a table, which is made from the first file's columns when it is absent
    #[command(
        long_about = "Loads files into a table. The format follows from the file's name (.csv, .tsv, .json, .jsonl, \
                      .parquet, .avro, .orc, each also with .gz) unless --format names it. When the table is absent it is made \
                      with the columns and types found in the first file. Each file is one transaction: it is loaded \
                      whole or not at all.",
        after_help = "Examples:\n  \
            tidewater load flights.parquet --db Samples --table Flights\n  \
            tidewater load logs-*.json.gz --db Logs --table Events\n  \
            tidewater load data.txt --format csv --header no --db D --table T"
    )]
    Load(load::Arguments),
    /// Submit SQL as jobs, follow them, fetch their rows; keep templates and schedules
    #[command(after_help = "Examples:\n  \
        tidewater sql submit 'SELECT count(*) FROM Flights' --wait\n  \
        tidewater sql submit 'CREATE TABLE Daily AS SELECT ...'\n  \
        tidewater sql list --property state==FAILED\n  \
        tidewater sql fetch ID --format parquet --output rows.parquet\n  \
        tidewater sql schedule create '0 6 * * *' 'INSERT INTO Daily SELECT ...' --time-zone Europe/Berlin")]
    Sql(Box<sql::Arguments>),
    /// Wait until a server is ready
    #[command(after_help = "Example:\n  tidewater wait --url http://127.0.0.1:8080 --timeout 30")]
    Wait(wait::Arguments),
    /// Show the settings
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keep the accounts that a server signs in by itself
    Account {
        #[command(subcommand)]
        command: account::Command,
    },
    /// Check a data directory that no server works on
    #[command(
        long_about = "Compares the catalog of a data directory with its files and its Delta mirror. No server may work \
                      on the directory. Exit codes: 0 nothing is left to mend, 1 something is, 2 nothing could be \
                      checked.",
        after_help = "Examples:\n  tidewater fsck --data ./data\n  tidewater fsck --data ./data --deep --json\n  \
                      tidewater fsck --data ./data --repair"
    )]
    Fsck(care::Fsck),
    /// Back a data directory up, also while a server works on it
    #[command(
        long_about = "Takes the state of one moment: the catalog in one transaction, and every file that it names, \
                      linked where both places are on one file system, else copied. Into an earlier backup only what \
                      is new is taken. Links do not save from a broken disk: back up to another one.",
        after_help = "Example:\n  tidewater backup --data ./data /mnt/backups/tidewater"
    )]
    Backup(care::Backup),
    /// Make a data directory of a backup
    #[command(after_help = "Example:\n  tidewater restore --data ./data /mnt/backups/tidewater")]
    Restore(care::Restore),
    /// Explain a function or aggregate: ways to call it, meaning, examples, page
    #[command(after_help = "Example:\n  tidewater explain-function bin_auto")]
    ExplainFunction {
        /// Its name; the nearest one is suggested for a typing error
        name: String,
    },
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value and where the value came from
    #[command(after_help = "Example:\n  TIDEWATER_LISTEN=127.0.0.1:9090 tidewater config show --config tidewater.toml")]
    Show(Box<Settings>),
}

/// Flags of the settings. Values stay text here: `config` reads them, whatever their source.
#[derive(Args)]
struct Settings {
    /// File of settings (TOML); also TIDEWATER_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Directory of the databases [default: ./tidewater-data]
    #[arg(long = "data", visible_alias = "data-dir", value_name = "DIR")]
    data_dir: Option<String>,
    /// Load the Parquet files of this directory into the database Samples, unless they are there
    #[arg(long = "samples", value_name = "DIR")]
    samples_dir: Option<String>,
    /// Let other machines connect although nobody signs in
    #[arg(long)]
    insecure: bool,
    /// 'text' or 'json'
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// 'error', 'warn', 'info', 'debug', or filters such as 'info,tidewater_service=debug'
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any other setting, as name=value; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    fn sources(&self) -> Result<Sources, String> {
        let mut flags = BTreeMap::new();
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("--set {pair}: expected name=value"));
            };
            let name = name.trim().replace('-', "_");
            if !SETTINGS.iter().any(|setting| setting.name == name) {
                return Err(format!("--set {pair}: unknown setting '{name}'; 'tidewater config show' lists them"));
            }
            flags.insert(name, value.trim().to_string());
        }
        let given = [
            ("listen", &self.listen),
            ("data_dir", &self.data_dir),
            ("samples_dir", &self.samples_dir),
            ("log_format", &self.log_format),
            ("log_level", &self.log_level),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                flags.insert(name.to_string(), value.clone());
            }
        }
        if self.insecure {
            flags.insert("insecure".to_string(), "true".to_string());
        }
        Sources::read(self.config.as_deref(), flags)
    }
}

/// Where a client command finds its server.
#[derive(Args)]
struct Target {
    /// Address of the server
    #[arg(long, env = "TIDEWATER_URL", default_value = "http://127.0.0.1:8080", value_name = "URL", global = true)]
    url: String,
    /// Secret of an account, or a token of an issuer that the server takes
    #[arg(long, env = "TIDEWATER_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// PEM file with an authority to trust besides the system's, such as that of a development certificate
    #[arg(long, env = "TIDEWATER_CA", value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // reqwest is built without a provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match cli.command {
        Command::Serve(settings) => settings.sources().and_then(|sources| serve::run(&sources)),
        Command::Query(arguments) => client::block_on(query::run(arguments)),
        Command::Load(arguments) => client::block_on(load::run(arguments)),
        Command::Sql(arguments) => client::block_on(sql::run(*arguments)),
        Command::Wait(arguments) => client::block_on(wait::run(arguments)),
        Command::Config { command: ConfigCommand::Show(settings) } => show(&settings),
        Command::Account { command } => account::run(command),
        Command::Fsck(arguments) => return care::fsck(&arguments),
        Command::Backup(arguments) => care::backup(&arguments),
        Command::Restore(arguments) => care::restore(&arguments),
        Command::ExplainFunction { name } => tidewater_service::explain_function(&name).map(|text| print!("{text}")),
        Command::Version => {
            println!("tidewater {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tidewater: {message}");
            ExitCode::FAILURE
        }
    }
}

fn show(settings: &Settings) -> Result<(), String> {
    let (_, rows) = Config::of(&settings.sources()?)?;
    let mut table = query::bare_table();
    table.set_header(["setting", "value", "origin", "meaning"]);
    for row in rows {
        let value = match row.name == "job_results_url" {
            // What signs in stands behind the address.
            true => row.value.split([';', '?']).next().unwrap_or_default().to_string(),
            false => row.value,
        };
        table.add_row([row.name.to_string(), value, row.origin.to_string(), row.summary.to_string()]);
    }
    println!("{table}");
    Ok(())
}
