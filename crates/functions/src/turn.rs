//! Whether work on this thread may go on: what long loops ask, and streams at every batch.
//!
//! The engine polls its operators for as long as they have something to do. What knows of requests answers by
//! [`ask_by`]; without it everything goes on.

use std::sync::OnceLock;

use datafusion_common::{DataFusionError, Result};

/// What becomes of the work that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    GoOn,
    /// It has had its turn: others shall have theirs first.
    GiveWay,
    /// Nobody wants its outcome any more.
    Stop,
}

static ASKED: OnceLock<fn() -> Turn> = OnceLock::new();

/// Names who is asked, once per process; later calls change nothing.
pub fn ask_by(asked: fn() -> Turn) {
    let _first = ASKED.set(asked);
}

/// Asks for the work that this thread does now.
#[inline]
pub fn ask() -> Turn {
    match ASKED.get() {
        Some(asked) => asked(),
        None => Turn::GoOn,
    }
}

/// For loops that cannot give way: an error when nobody wants their outcome any more.
#[inline]
pub fn check() -> Result<()> {
    match ask() {
        Turn::Stop => Err(stopped()),
        Turn::GoOn | Turn::GiveWay => Ok(()),
    }
}

/// The same for the rounds of a tight loop: only some of them ask.
#[inline]
pub fn check_at(round: usize) -> Result<()> {
    if round.is_multiple_of(4096) { check() } else { Ok(()) }
}

/// The error of work that was stopped; whoever stopped it knows better why.
pub fn stopped() -> DataFusionError {
    DataFusionError::Execution("the request that this was computed for has ended".to_string())
}
