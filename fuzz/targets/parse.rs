//! Any bytes are read as a query and as a command; a clean query survives printing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_kql::parser::fuzz_query;
use tidewater_kql::{parse_query, printer};

fuzz_target!(|bytes: &[u8]| {
    fuzz_query(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = parse_query(text);
    if parsed.is_clean() {
        let printed = printer::print(&parsed.tree);
        let again = parse_query(&printed);
        assert!(again.is_clean(), "printed as {printed}");
        assert_eq!(printer::print(&again.tree), printed);
    }
});
