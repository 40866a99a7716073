//! Integration tests of the planner, in one binary.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod bind;
mod exec;
mod fuzz;
mod graph;
mod lower;
mod spark;
mod support;
