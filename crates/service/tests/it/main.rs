//! Tests of the service without HTTP.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod cases;
mod reference;

use std::path::Path;

use tidewater_service::{Service, ServiceOptions};

/// A service over an empty directory; must be called on a runtime.
fn open_service(folder: &Path) -> Service {
    let options = ServiceOptions { memory_bytes: 1 << 30, max_concurrent: 100, ..ServiceOptions::default() };
    Service::open(folder, options).unwrap()
}
