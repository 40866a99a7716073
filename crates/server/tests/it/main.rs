//! Tests of the HTTP interface: frames byte for byte, and a started server in a temporary directory.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod auth;
mod command;
mod frames;
mod ingest;
mod links;
mod manners;
mod query;
mod support;
mod tsql;
mod ui;
mod wire;
