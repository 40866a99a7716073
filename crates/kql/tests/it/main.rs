//! Tests of the crate from outside.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod corpus;
mod parser;
