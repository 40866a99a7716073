//! The layout's rules that the compiler cannot check: which crate may know which.

use std::fs;
use std::path::Path;

/// Every arrow of docs/ARCHITECTURE.md; anything else is an accident.
const EDGES: [(&str, &[&str]); 7] = [
    ("kql", &[]),
    ("functions", &["kql"]),
    ("formats", &["kql"]),
    ("plan", &["functions", "kql"]),
    ("store", &["kql"]),
    ("service", &["formats", "functions", "kql", "plan", "store"]),
    ("server", &["formats", "kql", "service"]),
];

fn root() -> &'static Path {
    // Cargo runs tests in their package's directory.
    Path::new("..")
}

fn manifest(name: &str) -> String {
    fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap()
}

/// The names before `.workspace = true` in the `[dependencies]` of a manifest.
fn dependencies(text: &str) -> Vec<&str> {
    let section = text.split("[dependencies]").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section.lines().filter_map(|line| line.split_once(['.', ' ']).map(|(name, _)| name)).collect()
}

#[test]
fn crates_depend_only_downwards() {
    for (name, allowed) in EDGES {
        let text = manifest(name);
        for dependency in dependencies(&text) {
            if let Some(other) = dependency.strip_prefix("tidewater-") {
                assert!(allowed.contains(&other), "{name} must not depend on {other}");
            }
        }
    }
}

#[test]
fn the_workspace_has_the_seven_crates_and_no_other() {
    let mut found: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut expected: Vec<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn light_crates_do_not_link_the_engine() {
    for name in ["kql", "formats"] {
        let text = manifest(name);
        assert!(!dependencies(&text).iter().any(|dependency| dependency.starts_with("datafusion")), "{name}");
    }
    assert!(
        !dependencies(&manifest("functions")).contains(&"datafusion"),
        "functions takes the expression crates only"
    );
}

#[test]
fn the_engine_has_one_version_of_each_crate() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for name in ["arrow", "arrow-array", "parquet", "datafusion", "datafusion-expr", "object_store", "sqlparser"] {
        let copies = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(copies, 1, "{name} is in the lock file {copies} times");
    }
}

#[test]
fn versions_stand_in_the_root_manifest_only() {
    for (name, _) in EDGES {
        let text = manifest(name);
        let section = text.split("[dependencies]").nth(1).unwrap_or("");
        for line in section.lines().take_while(|line| !line.starts_with('[')) {
            let local = line.trim().is_empty() || line.starts_with('#') || line.contains("workspace = true");
            assert!(local, "{name}: {line}");
        }
    }
}

#[test]
fn union_of_dependencies_is_complete() {
    let union = fs::read_to_string(root().join("features/Cargo.toml")).unwrap();
    let union = dependencies(&union);
    for (name, _) in EDGES {
        let text = manifest(name);
        for dependency in dependencies(&text).iter().filter(|dependency| !dependency.starts_with("tidewater-")) {
            assert!(union.contains(dependency), "{dependency} of {name} is missing in features/Cargo.toml");
        }
    }
}
