//! `tidewater fsck`, `tidewater backup`, `tidewater restore`: a data directory as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidewater_service::care::{self, BackupOptions, CheckOptions, Roots, Severity};
use tidewater_service::roots::of_settings;

use crate::config::{Config, Sources};

/// Which data directory.
#[derive(clap::Args)]
pub struct Data {
    /// Directory of the databases
    #[arg(
        long = "data",
        visible_alias = "data-dir",
        env = "TIDEWATER_DATA_DIR",
        default_value = "./tidewater-data",
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Settings file, for databases that lie elsewhere (database_roots)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, as name=value; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Data {
    /// The places beside the data directory that databases may lie at.
    fn roots(&self) -> Result<Roots, String> {
        let mut flags = BTreeMap::new();
        for pair in &self.set {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("--set {pair}: expected name=value"))?;
            flags.insert(name.trim().replace('-', "_"), value.trim().to_string());
        }
        let (config, _) = Config::of(&Sources::read(self.config.as_deref(), flags)?)?;
        of_settings(&config.database_roots, &config.storage_endpoints, &config.managed_identities)
            .map_err(|error| error.message().to_string())
    }
}

#[derive(clap::Args)]
pub struct Fsck {
    #[command(flatten)]
    data: Data,
    /// Read every value, and compare it with the catalog's statistics
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended without losing anything: files that nobody names, the Delta mirror, the version stamp
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Backup {
    #[command(flatten)]
    data: Data,
    /// Where the backup lies: an empty directory, or an earlier backup, of which only what is new is taken
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Copy files even where they could be linked
    #[arg(long)]
    copy: bool,
}

#[derive(clap::Args)]
pub struct Restore {
    #[command(flatten)]
    data: Data,
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Copy files even where they could be linked
    #[arg(long)]
    copy: bool,
}

/// Checks: 0 when nothing is left to mend, 1 when something is, 2 when nothing could be checked.
pub fn fsck(arguments: &Fsck) -> ExitCode {
    let report = super::client::block_on(async {
        let roots = arguments.data.roots()?;
        let options = CheckOptions { deep: arguments.deep, repair: arguments.repair, roots };
        care::check_directory(&arguments.data.data, options).await.map_err(|error| error.to_string())
    });
    let report = match report {
        Ok(report) => report,
        Err(message) => {
            eprintln!("tidewater: {message}");
            return ExitCode::from(2);
        }
    };
    if arguments.json {
        let findings = report.findings.iter().map(|finding| {
            json!({
                "severity": severity(finding.severity),
                "place": finding.place,
                "message": finding.message,
                "repaired": finding.repaired,
            })
        });
        let report = json!({
            "clean": report.is_clean(),
            "tables": report.tables,
            "files": report.files,
            "rows": report.rows,
            "bytes": report.bytes,
            "findings": findings.collect::<Vec<_>>(),
        });
        println!("{report:#}");
    } else {
        for finding in &report.findings {
            let repaired = if finding.repaired { " (mended)" } else { "" };
            println!("{}: {}: {}{repaired}", severity(finding.severity), finding.place, finding.message);
        }
        println!(
            "{} tables, {} data files, {} rows, {} bytes: {}",
            report.tables,
            report.files,
            report.rows,
            report.bytes,
            if report.is_clean() { "nothing is wrong" } else { "something is wrong" }
        );
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Backs up, with or without a server at work.
pub fn backup(arguments: &Backup) -> Result<(), String> {
    let roots = arguments.data.roots()?;
    let options = BackupOptions { copy: arguments.copy, roots, ..BackupOptions::default() };
    let report = care::back_up(&arguments.data.data, &arguments.backup, &options).map_err(|error| error.to_string())?;
    println!(
        "{} data files, {} bytes in {}; {} of them new, {} bytes copied, {} old ones removed",
        report.files,
        report.bytes,
        arguments.backup.display(),
        report.new_files,
        report.copied_bytes,
        report.removed_files
    );
    Ok(())
}

/// Makes a data directory of a backup.
pub fn restore(arguments: &Restore) -> Result<(), String> {
    let options = BackupOptions { copy: arguments.copy, ..BackupOptions::default() };
    let report = care::restore(&arguments.backup, &arguments.data.data, &options).map_err(|error| error.to_string())?;
    println!("{} data files, {} bytes in {}", report.files, report.bytes, arguments.data.data.display());
    Ok(())
}
