//! Graphs: made once per query of the rows of tables, read by pattern matching, shortest paths and tables.
//!
//! `cell` is a graph with its recipe, `build` makes it, `data` is its form in memory; `rows` and `values` are partial
//! matches and what is computed of them; `search`, `shortest` and `components` are the algorithms; `node` puts the
//! readers into plans. All loops work within a budget and give way, so that a query can be cancelled at any time.

pub mod build;
pub mod cell;
mod components;
pub mod data;
pub mod node;
mod rows;
mod search;
mod shortest;
mod stream;
pub mod values;

/// Steps that an algorithm takes before it lets others have the thread; some milliseconds.
const BUDGET: usize = 1 << 17;

/// Rows of a batch.
const BATCH: usize = crate::session::BATCH_ROWS;

/// Entries of the paths of a batch.
const BATCH_ENTRIES: usize = 1 << 20;
