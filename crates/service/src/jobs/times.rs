//! When a schedule is due: cron expressions in a time zone. Times are microseconds since 1970.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What becomes of times that passed while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One run for the last of them.
    #[default]
    Last,
    /// A run for each.
    All,
    /// None.
    None,
}

/// The times of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Five cron fields, `@once`, `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`.
    pub cron: String,
    /// IANA name of the zone that the fields are read in; UTC when absent.
    pub time_zone: Option<String>,
    /// No run before.
    pub start: i64,
    /// No run after.
    pub end: Option<i64>,
    /// Runs that may be under way at once.
    pub max_active_runs: u32,
    /// What becomes of missed times.
    pub catch_up: CatchUp,
}

const ONCE: &str = "@once";

impl Times {
    /// Refuses what can never be followed.
    pub fn check(&self) -> Result<()> {
        self.zone()?;
        if self.cron != ONCE {
            self.pattern()?;
        }
        if self.end.is_some_and(|end| end < self.start) {
            return Err(Error::bad_request("schedule.endDate: is before startDate"));
        }
        if self.max_active_runs == 0 {
            return Err(Error::bad_request("schedule.maxActiveRuns: found 0, expected a number from 1 on"));
        }
        Ok(())
    }

    fn zone(&self) -> Result<TimeZone> {
        let Some(name) = &self.time_zone else { return Ok(TimeZone::UTC) };
        TimeZone::get(name).map_err(|_| {
            Error::bad_request(format!("schedule.timeZone: found '{name}', expected a name such as Europe/Berlin"))
        })
    }

    fn pattern(&self) -> Result<Cron> {
        let refused = |why: &dyn std::fmt::Display| {
            let expected = "expected five cron fields, @once, @hourly, @daily, @weekly, @monthly or @yearly";
            Error::bad_request(format!("schedule.schedule: found '{}', {expected}: {why}", self.cron))
        };
        let known = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"].contains(&self.cron.as_str());
        if !known && self.cron.split_whitespace().count() != 5 {
            return Err(refused(&"it has another number of fields"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(&self.cron).map_err(|error| refused(&error))
    }

    /// The first time after `after`, or at it if `inclusive`; `None` when there is none any more.
    pub fn next(&self, after: i64, inclusive: bool) -> Option<i64> {
        let (from, inclusive) = if after < self.start { (self.start, true) } else { (after, inclusive) };
        let next = if self.cron == ONCE {
            let first = self.start;
            (first > after || inclusive && first == after).then_some(first)?
        } else {
            let zone = self.zone().ok()?;
            let from: Zoned = Timestamp::from_microsecond(from).ok()?.to_zoned(zone);
            let found = self.pattern().ok()?.find_next_occurrence(&from, inclusive).ok()?;
            found.timestamp().as_microsecond()
        };
        self.end.is_none_or(|end| next <= end).then_some(next)
    }

    /// Up to `most` times from `first` on, ascending.
    pub fn following(&self, first: i64, most: usize) -> Vec<i64> {
        std::iter::successors(Some(first), |last| self.next(*last, false)).take(most).collect()
    }

    /// The time for which a schedule that was due at `due` runs now, and the one that it is due at afterwards.
    pub fn turn(&self, due: i64, now: i64) -> (Option<i64>, Option<i64>) {
        /// Times that are looked through when many were missed; older ones are not made up.
        const MOST_MISSED: usize = 100_000;
        /// A run this late is late, not missed.
        const GRACE_MICROS: i64 = 60_000_000;
        match self.catch_up {
            CatchUp::All => (Some(due), self.next(due, false)),
            CatchUp::Last | CatchUp::None => {
                let (mut last, mut next) = (due, self.next(due, false));
                for _ in 0..MOST_MISSED {
                    match next {
                        Some(later) if later <= now => (last, next) = (later, self.next(later, false)),
                        _ => break,
                    }
                }
                if next.is_some_and(|next| next <= now) {
                    next = self.next(now, false);
                }
                let is_missed = self.catch_up == CatchUp::None && now - last > GRACE_MICROS;
                ((!is_missed).then_some(last), next)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn times(cron: &str) -> Times {
        Times {
            cron: cron.to_string(),
            time_zone: None,
            start: at("2026-01-01T00:00:00Z"),
            end: None,
            max_active_runs: 1,
            catch_up: CatchUp::Last,
        }
    }

    #[test]
    fn fields_and_names_give_the_next_time() {
        let after = at("2026-03-04T05:06:07Z");
        for (cron, next) in [
            ("30 * * * *", "2026-03-04T05:30:00Z"),
            ("@hourly", "2026-03-04T06:00:00Z"),
            ("@daily", "2026-03-05T00:00:00Z"),
            ("@weekly", "2026-03-08T00:00:00Z"),
            ("@monthly", "2026-04-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("0 9 * * MON-FRI", "2026-03-04T09:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(times(cron).next(after, false), Some(at(next)), "{cron}");
        }
    }

    #[test]
    fn start_and_end_bound_the_times() {
        let once = times("@once");
        assert_eq!(once.next(at("2025-01-01T00:00:00Z"), false), Some(once.start));
        assert_eq!(once.next(once.start, false), None);
        let daily = Times { end: Some(at("2026-01-03T12:00:00Z")), ..times("@daily") };
        assert_eq!(daily.next(at("2025-01-01T00:00:00Z"), false), Some(daily.start));
        assert_eq!(daily.next(at("2026-01-02T00:00:00Z"), false), Some(at("2026-01-03T00:00:00Z")));
        assert_eq!(daily.next(at("2026-01-03T00:00:00Z"), false), None);
        let days = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"].map(at);
        assert_eq!(daily.following(days[0], 5), days);
        assert_eq!(once.following(once.start, 5), [once.start]);
    }

    #[test]
    fn fields_are_read_in_their_zone_over_changes_of_the_clock() {
        let berlin = Times { time_zone: Some("Europe/Berlin".into()), ..times("0 9 * * *") };
        assert_eq!(berlin.next(at("2026-03-28T10:00:00Z"), false), Some(at("2026-03-29T07:00:00Z")));
        assert_eq!(berlin.next(at("2026-03-27T10:00:00Z"), false), Some(at("2026-03-28T08:00:00Z")));
    }

    #[test]
    fn missed_times_are_made_up_by_the_rule() {
        let (due, now) = (at("2026-02-01T00:00:00Z"), at("2026-02-05T12:00:00Z"));
        let next = Some(at("2026-02-06T00:00:00Z"));
        assert_eq!(times("@daily").turn(due, now), (Some(at("2026-02-05T00:00:00Z")), next));
        let all = Times { catch_up: CatchUp::All, ..times("@daily") };
        assert_eq!(all.turn(due, now), (Some(due), Some(at("2026-02-02T00:00:00Z"))));
        let none = Times { catch_up: CatchUp::None, ..times("@daily") };
        assert_eq!(none.turn(due, now), (None, next));
        assert_eq!(none.turn(due, due + 5_000_000).0, Some(due));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for cron in ["", "* * * *", "61 * * * *", "* * * * * *", "@never", "a b c d e"] {
            assert!(times(cron).check().is_err(), "{cron}");
        }
        assert!(Times { time_zone: Some("Mars/Base".into()), ..times("@daily") }.check().is_err());
        assert!(Times { end: Some(0), ..times("@daily") }.check().is_err());
        assert!(Times { max_active_runs: 0, ..times("@daily") }.check().is_err());
        assert!(times("*/5 8-18 * * 1-5").check().is_ok());
    }
}
