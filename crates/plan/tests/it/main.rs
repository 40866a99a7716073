//! Integration tests of the planner, in one binary.

mod lower;
