//! A data directory that no service has open, or that a service of another process works on: checked, backed up,
//! restored.

pub use tidewater_store::Roots;
pub use tidewater_store::{
    BackupOptions, BackupReport, CheckOptions, CheckReport, Finding, Severity, back_up, check_directory, restore,
};
