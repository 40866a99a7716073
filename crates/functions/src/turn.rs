//! Whether work on this thread may go on: what long loops ask, and streams at every batch.
//!
//! The engine polls its operators for as long as they have something to do. What knows of requests answers by
//! [`ask_by`]; without it everything goes on.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

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

/// When a loop asks next: seldom where its rounds are cheap, at every one where they are dear.
pub struct Pace {
    next: usize,
    step: usize,
    asked: Instant,
}

/// Rounds between two questions that take less than this are cheap.
const CHEAP: Duration = Duration::from_millis(2);
/// Rounds that take more are dear.
const DEAR: Duration = Duration::from_millis(50);
/// Rounds between two questions at most.
const MOST_ROUNDS: usize = 4096;

impl Pace {
    /// For a loop that begins now with round 0.
    pub fn begin() -> Pace {
        Pace { next: 1, step: 1, asked: Instant::now() }
    }

    /// Before each round: an error when nobody wants the outcome any more.
    #[inline]
    pub fn at(&mut self, round: usize) -> Result<()> {
        if round < self.next { Ok(()) } else { self.ask(round) }
    }

    #[cold]
    fn ask(&mut self, round: usize) -> Result<()> {
        let now = Instant::now();
        let took = now.duration_since(self.asked);
        if took < CHEAP {
            self.step = (self.step * 4).min(MOST_ROUNDS);
        } else if took > DEAR {
            self.step = (self.step / 4).max(1);
        }
        self.next = round + self.step;
        self.asked = now;
        check()
    }
}

/// The error of work that was stopped; whoever stopped it knows better why.
pub fn stopped() -> DataFusionError {
    DataFusionError::Execution("the request that this was computed for has ended".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_rounds_are_seldom_asked_about_and_dear_ones_always() {
        let mut pace = Pace::begin();
        let mut asked = 0;
        for round in 0..100_000 {
            let next = pace.next;
            assert!(pace.at(round).is_ok());
            asked += usize::from(pace.next != next);
        }
        assert!((20..200).contains(&asked), "asked {asked} times");
        for round in 100_000..100_000 + 2 * MOST_ROUNDS {
            if round >= pace.next {
                pace.asked -= DEAR * 2;
            }
            assert!(pace.at(round).is_ok());
        }
        assert_eq!(pace.step, 1);
    }
}
