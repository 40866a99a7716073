//! Nothing but the union of the workspace's dependencies.
//!
//! `cargo test -p tidewater-plan -p tidewater-features` builds one crate with the features of the
//! whole workspace, so that it shares every compiled dependency with `--workspace` builds.
