//! The store from outside: one binary, a module per promise.
#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]
#![allow(clippy::unwrap_used, missing_docs)]

mod care;
mod catalog;
mod common;
mod crash;
mod delta;
mod dropped;
mod faults;
mod files;
mod jobs;
mod merge;
mod order;
mod roots;
mod scan;
mod terms;
