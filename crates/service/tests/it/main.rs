//! Tests of the service without HTTP.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod cases;
mod compatibility;
mod coverage;
mod entities;
mod exports;
mod generate;
mod killed;
mod planning;
mod plans;
mod properties;
mod reference;
mod rows;
mod settings;
mod statements;
mod three_ways;
mod usage;

use std::path::Path;

use tidewater_service::{Rights, Service, ServiceOptions};

/// A service over an empty directory; must be called on a runtime.
fn open_service(folder: &Path) -> Service {
    // Two threads on every machine: plans are compared as text.
    open_service_with(folder, ServiceOptions { threads: 2, ..ServiceOptions::default() })
}

fn open_service_with(folder: &Path, options: ServiceOptions) -> Service {
    // Found when the test runs, not when it is built: checkouts may share what is compiled.
    let cases = std::env::current_dir().unwrap().join("../../cases");
    let files = cases.join("ingest/data");
    let options = ServiceOptions {
        memory_bytes: 1 << 30,
        max_concurrent: 100,
        external_directories: vec![cases.join("entities/data"), files.clone()],
        ingest_directories: vec![files],
        cluster_names: vec!["http://127.0.0.1:8080".to_string(), "here".to_string()],
        rights: Rights::with_administrators(&["anonymous".to_string()]).unwrap(),
        library: true,
        ..options
    };
    Service::open(folder, options).unwrap()
}
