//! The rows as a whole.

use std::collections::HashMap;

use tidewater_functions::signature::Occurs;
use tidewater_functions::{Imp, find_scalar, scalar};

#[test]
fn every_function_of_the_language_has_a_row() {
    let missing: Vec<&str> = include_str!("names.txt").lines().filter(|name| find_scalar(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_name_has_two_rows() {
    let mut rows = HashMap::new();
    for row in scalar::families().into_iter().flatten() {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            let earlier = rows.insert(*name, row.name);
            assert_eq!(earlier, None, "{name}");
        }
    }
}

#[test]
fn rows_are_complete() {
    for row in scalar::families().into_iter().flatten() {
        let name = row.name;
        assert!(row.summary.ends_with('.'), "{name}: the summary is a sentence");
        if let Imp::Refused(reason) = row.imp {
            assert!(!reason.is_empty(), "{name}: why is it refused");
            continue;
        }
        assert!(!row.signatures.is_empty(), "{name}: a signature");
        for signature in row.signatures {
            let rank = |occurs| match occurs {
                Occurs::Required => 0,
                Occurs::Optional => 1,
                Occurs::Repeated => 2,
            };
            assert!(
                signature.params.is_sorted_by_key(|param| rank(param.occurs)),
                "{name}: the order of the parameters"
            );
        }
    }
}
