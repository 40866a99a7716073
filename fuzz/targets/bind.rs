//! Any text is planned or refused.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../harness.rs"]
mod harness;

static HARNESS: LazyLock<harness::Harness> = LazyLock::new(harness::Harness::new);

fuzz_target!(|text: &str| {
    HARNESS.bind(text);
});
