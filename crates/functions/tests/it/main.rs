//! Functions and operators over batches.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod agree;
mod evaluate;
mod examples;
mod operators;
mod recorded;
mod registry;
mod words;
