//! Each function and aggregate that is served is named in three text cases at least: a normal value, null or nothing,
//! and the edge of what it takes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use tidewater_functions::registry::{AggregateImp, aggregate_names};
use tidewater_functions::{Imp, find_aggregate, find_scalar};

use crate::cases::cases_root;

/// Cases that each function has at least.
const LEAST: usize = 3;

/// The queries of all cases.
fn queries(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            queries(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "case") {
            let mut query: Option<String> = None;
            for line in std::fs::read_to_string(path).unwrap().lines() {
                if line.starts_with("case ") {
                    query = Some(String::new());
                } else if line.starts_with("----") {
                    found.extend(query.take());
                } else if let Some(query) = &mut query {
                    query.push_str(line);
                    query.push('\n');
                }
            }
        }
    }
}

/// Names before an opening parenthesis.
fn calls(query: &str) -> HashSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = |at: usize| {
        let before = query[..at].trim_end_matches(' ');
        &before[before.trim_end_matches(is_part).len()..]
    };
    query.match_indices('(').map(|(at, _)| name(at)).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_function_has_three_cases() {
    let mut found = Vec::new();
    queries(&cases_root(), &mut found);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = tidewater_functions::scalar::families();
    let served = rows.iter().copied().flatten().filter(|row| !matches!(row.imp, Imp::Refused(_)));
    counts.extend(served.map(|row| (row.name, 0)));
    for name in aggregate_names() {
        let row = find_aggregate(name).unwrap();
        if !matches!(row.imp, AggregateImp::Refused(_)) {
            counts.insert(row.name, 0);
        }
    }
    for query in &found {
        let names: BTreeSet<&str> = calls(query)
            .into_iter()
            .flat_map(|name| [find_scalar(name).map(|row| row.name), find_aggregate(name).map(|row| row.name)])
            .flatten()
            .collect();
        for name in names {
            counts.entry(name).and_modify(|count| *count += 1);
        }
    }
    let few: Vec<String> =
        counts.iter().filter(|(_, count)| **count < LEAST).map(|(name, count)| format!("{name} {count}")).collect();
    assert!(few.is_empty(), "{} functions have fewer than {LEAST} cases: {}", few.len(), few.join(", "));
}
