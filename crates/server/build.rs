//! Puts the page's built files (`web/dist`, made by `make web`) into the binary.
//!
//! Nothing is built or fetched here: without the files the server is built all the same, and says on its page how to
//! make them.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts by the environment")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Every file is kept compressed, as browsers get it.
const SUFFIX: &str = ".gz";

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's directory");
    let dist = Path::new(&root).join("../../web/dist");
    // The directory is always there; naming what is absent would compile this crate again at every build.
    println!("cargo::rerun-if-changed={}", if dist.exists() { dist.display().to_string() } else { "build.rs".into() });
    let mut files = Vec::new();
    find(&dist, "", &mut files);
    files.sort();
    let mut text = String::from("static BUILT: &[(&str, &[u8])] = &[\n");
    for (name, path) in &files {
        let path = path.canonicalize().expect("a file that was just listed");
        writeln!(text, "    ({name:?}, include_bytes!({path:?})),").expect("writing to memory cannot fail");
    }
    text.push_str("];\n");
    let out = std::env::var("OUT_DIR").expect("cargo names the output directory");
    std::fs::write(Path::new(&out).join("page.rs"), text).expect("the output directory can be written");
}

fn find(directory: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            find(&path, &format!("{prefix}{name}/"), files);
        } else if let Some(name) = name.strip_suffix(SUFFIX) {
            files.push((format!("{prefix}{name}"), path));
        }
    }
}
