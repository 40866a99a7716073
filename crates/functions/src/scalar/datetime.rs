//! Calendar functions: parts of a datetime, starts and ends of periods, sums and differences.

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use tidewater_kql::value::datetime::{self, MAX_TICKS};
use tidewater_kql::value::timespan::{
    TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MICROSECOND, TICKS_PER_MILLISECOND, TICKS_PER_MINUTE, TICKS_PER_SECOND,
};

use super::kernel::{Integers, Longs, Texts, each, try_each};
use super::rows::{TO_DATETIME, TO_INT, TO_LONG, TO_TIMESPAN, each_long, row};
use crate::call::Call;
use crate::registry::{Imp, NameRule, Scalar};
use crate::signature::{DATETIME, LONG, STRING, Signature, TIMESPAN, optional, required, sig};

const LAST_DAY: i64 = MAX_TICKS / TICKS_PER_DAY;

const PART: &[Signature] = &[sig(&[required("date", DATETIME)], TO_INT)];
const EDGE: &[Signature] = &[sig(&[required("date", DATETIME), optional("offset", LONG)], TO_DATETIME)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    Scalar {
        name: "now",
        signatures: &[sig(&[optional("offset", TIMESPAN)], TO_DATETIME)],
        imp: Imp::Binder,
        summary: "The moment at which the query began, plus `offset`.",
        docs: "now-function",
        ..Scalar::ROW
    },
    Scalar {
        name: "ago",
        signatures: &[sig(&[required("timespan", TIMESPAN)], TO_DATETIME)],
        imp: Imp::Binder,
        summary: "`now()` less `timespan`.",
        docs: "ago-function",
        ..Scalar::ROW
    },
    row!(
        "getyear",
        PART,
        |call| each_long(call, |ticks| Some(datetime::civil(ticks).year)),
        "The year, 1 to 9999.",
        "getyear-function",
        examples: &[("print getyear(datetime(2015-10-12))", "2015")],
    ),
    row!(
        "monthofyear",
        PART,
        |call| each_long(call, |ticks| Some(datetime::civil(ticks).month)),
        "The month, 1 to 12.",
        "monthofyear-function",
        aliases: &["getmonth"],
        examples: &[("print monthofyear(datetime(2015-12-14))", "12")],
    ),
    row!(
        "dayofmonth",
        PART,
        |call| each_long(call, |ticks| Some(datetime::civil(ticks).day)),
        "The day of the month, 1 to 31.",
        "dayofmonth-function",
        examples: &[("print dayofmonth(datetime(2015-12-14))", "14")],
    ),
    row!(
        "dayofyear",
        PART,
        |call| each_long(call, |ticks| Some(datetime::day_of_year(ticks) as i32)),
        "The day of the year, 1 to 366.",
        "dayofyear-function",
        examples: &[("print dayofyear(datetime(2020-12-31))", "366")],
    ),
    row!(
        "hourofday",
        PART,
        |call| each_long(call, |ticks| Some(datetime::civil(ticks).hour)),
        "The hour, 0 to 23.",
        "hourofday-function",
        examples: &[("print hourofday(datetime(2015-12-14 18:54))", "18")],
    ),
    row!(
        "week_of_year",
        PART,
        |call| each_long(call, |ticks| Some(datetime::iso_week(ticks) as i32)),
        "The week of the year by ISO 8601, 1 to 53.",
        "week-of-year-function",
        aliases: &["weekofyear"],
        examples: &[("print week_of_year(datetime(2020-12-31))", "53")],
    ),
    row!(
        "dayofweek",
        &[sig(&[required("date", DATETIME)], TO_TIMESPAN)],
        day_of_week,
        "The days since the last Sunday, as a timespan.",
        "dayofweek-function",
        examples: &[("print dayofweek(datetime(2020-06-15))", "1.00:00:00")],
    ),
    row!(
        "startofday",
        EDGE,
        |call| edge(call, Period::Day, Side::Start),
        "The first moment of the day, `offset` days on.",
        "startofday-function",
        name_rule: NameRule::PassThrough,
    ),
    row!(
        "startofweek",
        EDGE,
        |call| edge(call, Period::Week, Side::Start),
        "The first moment of the week (Sunday), `offset` weeks on.",
        "startofweek-function",
    ),
    row!(
        "startofmonth",
        EDGE,
        |call| edge(call, Period::Month, Side::Start),
        "The first moment of the month, `offset` months on.",
        "startofmonth-function",
    ),
    row!(
        "startofyear",
        EDGE,
        |call| edge(call, Period::Year, Side::Start),
        "The first moment of the year, `offset` years on.",
        "startofyear-function",
    ),
    row!(
        "endofday",
        EDGE,
        |call| edge(call, Period::Day, Side::End),
        "The last tick of the day, `offset` days on.",
        "endofday-function",
    ),
    row!(
        "endofweek",
        EDGE,
        |call| edge(call, Period::Week, Side::End),
        "The last tick of the week (Saturday), `offset` weeks on.",
        "endofweek-function",
    ),
    row!(
        "endofmonth",
        EDGE,
        |call| edge(call, Period::Month, Side::End),
        "The last tick of the month, `offset` months on.",
        "endofmonth-function",
    ),
    row!(
        "endofyear",
        EDGE,
        |call| edge(call, Period::Year, Side::End),
        "The last tick of the year, `offset` years on.",
        "endofyear-function",
    ),
    row!(
        "datetime_add",
        &[sig(
            &[required("part", STRING).constant(), required("value", LONG), required("datetime", DATETIME)],
            TO_DATETIME,
        )],
        datetime_add,
        "`datetime` moved by `value` periods; month ends are kept within their month.",
        "datetime-add-function",
        examples: &[("print datetime_add('month', 1, datetime(2020-01-31))", "2020-02-29T00:00:00Z")],
    ),
    row!(
        "datetime_diff",
        &[sig(
            &[required("part", STRING).constant(), required("datetime1", DATETIME), required("datetime2", DATETIME)],
            TO_LONG,
        )],
        datetime_diff,
        "How many boundaries of the period lie between the two, `datetime1` less `datetime2`.",
        "datetime-diff-function",
        examples: &[("print datetime_diff('year', datetime(2021-01-01), datetime(2020-12-31))", "1")],
    ),
    row!(
        "datetime_part",
        &[sig(&[required("part", STRING).constant(), required("date", DATETIME)], TO_INT)],
        datetime_part,
        "One part of a datetime as an int.",
        "datetime-part-function",
        aliases: &["datepart"],
        examples: &[("print datetime_part('quarter', datetime(2017-10-30))", "4")],
    ),
];

/// Days since Sunday. The service gives null on the last day of the range; so do we.
fn day_of_week(call: &Call<'_>) -> Result<ColumnarValue> {
    each_long(call, |ticks| {
        (datetime::day_number(ticks) < LAST_DAY).then(|| datetime::day_of_week(ticks) * TICKS_PER_DAY)
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Period {
    Day,
    Week,
    Month,
    Year,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Start,
    End,
}

/// First moment, or last tick, of the period that holds `ticks`, moved by `offset` periods; `None` outside the range.
fn period_edge(ticks: i64, period: Period, side: Side, offset: i64) -> Option<i64> {
    let offset = if side == Side::End { offset.checked_add(1)? } else { offset };
    let day = datetime::day_number(ticks);
    let months = |index: i64| {
        let (year, month) = (i32::try_from(index.div_euclid(12)).ok()?, index.rem_euclid(12) as i32 + 1);
        // Year 10000 begins where the last period ends.
        if (year, month) == (10_000, 1) { Some(LAST_DAY + 1) } else { datetime::day_of_date(year, month, 1) }
    };
    let first_day = match period {
        Period::Day => day.checked_add(offset)?,
        Period::Week => (day - datetime::day_of_week(ticks)).checked_add(offset.checked_mul(7)?)?,
        Period::Month => months(datetime::month_number(ticks).checked_add(offset)?)?,
        Period::Year => months((datetime::month_number(ticks) / 12).checked_add(offset)?.checked_mul(12)?)?,
    };
    let start = first_day.checked_mul(TICKS_PER_DAY)?;
    let edge = if side == Side::End { start.checked_sub(1)? } else { start };
    datetime::in_range(edge).then_some(edge)
}

fn edge(call: &Call<'_>, period: Period, side: Side) -> Result<ColumnarValue> {
    let date = Longs::of(call, 0)?;
    if call.args.len() < 2 {
        return each(call, |row| period_edge(date.get(row)?, period, side, 0));
    }
    let offset = Integers::of(call, 1)?;
    each(call, |row| period_edge(date.get(row)?, period, side, offset.get(row)?))
}

/// The periods that `datetime_add` and `datetime_diff` know, in any case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// A period of that many months.
    Months(i64),
    /// Weeks begin on Sunday.
    Week,
    /// A period of that many ticks.
    Ticks(i64),
    Nanosecond,
}

fn unit(function: &str, name: &str) -> Result<Unit> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "year" => Unit::Months(12),
        "quarter" => Unit::Months(3),
        "month" => Unit::Months(1),
        "week" => Unit::Week,
        "day" => Unit::Ticks(TICKS_PER_DAY),
        "hour" => Unit::Ticks(TICKS_PER_HOUR),
        "minute" => Unit::Ticks(TICKS_PER_MINUTE),
        "second" => Unit::Ticks(TICKS_PER_SECOND),
        "millisecond" => Unit::Ticks(TICKS_PER_MILLISECOND),
        "microsecond" => Unit::Ticks(TICKS_PER_MICROSECOND),
        "nanosecond" => Unit::Nanosecond,
        _ => {
            return exec_err!(
                "{function}(): '{name}' is not a period; expected year, quarter, month, week, day, hour, minute, second, \
                 millisecond, microsecond or nanosecond"
            );
        }
    })
}

/// A text argument read once where it is a constant, else for each row.
enum Once<T> {
    Constant(T),
    Column(Texts),
}

impl<T: Copy> Once<T> {
    fn of(call: &Call<'_>, position: usize, read: impl Fn(&str) -> Result<T>) -> Result<Self> {
        let texts = Texts::of(call, position)?;
        Ok(match texts.constant_text() {
            Some(text) => Once::Constant(read(text)?),
            None => Once::Column(texts),
        })
    }

    fn get(&self, row: usize, read: impl Fn(&str) -> Result<T>) -> Result<T> {
        match self {
            Once::Constant(value) => Ok(*value),
            Once::Column(texts) => read(texts.text(row)),
        }
    }
}

fn add(ticks: i64, unit: Unit, count: i64) -> Option<i64> {
    match unit {
        Unit::Months(months) => datetime::add_months(ticks, count.checked_mul(months)?),
        Unit::Week => datetime::add(ticks, count.checked_mul(7 * TICKS_PER_DAY)?),
        Unit::Ticks(size) => datetime::add(ticks, count.checked_mul(size)?),
        Unit::Nanosecond => datetime::add(ticks, count / 100),
    }
}

fn datetime_add(call: &Call<'_>) -> Result<ColumnarValue> {
    let read = |name: &str| unit("datetime_add", name);
    let units = Once::of(call, 0, read)?;
    let (count, date) = (Integers::of(call, 1)?, Longs::of(call, 2)?);
    try_each(call, |row| {
        let unit = units.get(row, read)?;
        Ok(count.get(row).zip(date.get(row)).and_then(|(count, ticks)| add(ticks, unit, count)))
    })
}

/// Both moments brought down to the period's begin, then subtracted. Source: kql-behaviour section 8.
fn difference(unit: Unit, a: i64, b: i64) -> Option<i64> {
    match unit {
        Unit::Months(months) => Some(datetime::month_number(a) / months - datetime::month_number(b) / months),
        Unit::Week => {
            // Day 0 is a Monday: the Sunday before it begins week 0.
            let week = |ticks| (datetime::day_number(ticks) + 1) / 7;
            Some(week(a) - week(b))
        }
        Unit::Ticks(size) => Some(a.div_euclid(size) - b.div_euclid(size)),
        Unit::Nanosecond => a.checked_sub(b)?.checked_mul(100),
    }
}

fn datetime_diff(call: &Call<'_>) -> Result<ColumnarValue> {
    let read = |name: &str| unit("datetime_diff", name);
    let units = Once::of(call, 0, read)?;
    let (left, right) = (Longs::of(call, 1)?, Longs::of(call, 2)?);
    try_each(call, |row| {
        let unit = units.get(row, read)?;
        Ok(left.get(row).zip(right.get(row)).and_then(|(left, right)| difference(unit, left, right)))
    })
}

fn part(name: &str) -> Result<fn(i64) -> i64> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "year" => |ticks| i64::from(datetime::civil(ticks).year),
        "quarter" => |ticks| i64::from((datetime::civil(ticks).month - 1) / 3 + 1),
        "month" => |ticks| i64::from(datetime::civil(ticks).month),
        "week_of_year" => datetime::iso_week,
        "day" => |ticks| i64::from(datetime::civil(ticks).day),
        "dayofyear" => datetime::day_of_year,
        "hour" => |ticks| i64::from(datetime::civil(ticks).hour),
        "minute" => |ticks| i64::from(datetime::civil(ticks).minute),
        "second" => |ticks| i64::from(datetime::civil(ticks).second),
        "millisecond" => |ticks| datetime::civil(ticks).tick / TICKS_PER_MILLISECOND,
        "microsecond" => |ticks| datetime::civil(ticks).tick / TICKS_PER_MICROSECOND,
        "nanosecond" => |ticks| datetime::civil(ticks).tick * 100,
        _ => {
            return exec_err!(
                "datetime_part(): '{name}' is not a part; expected year, quarter, month, week_of_year, day, dayofyear, hour, \
                 minute, second, millisecond, microsecond or nanosecond"
            );
        }
    })
}

fn datetime_part(call: &Call<'_>) -> Result<ColumnarValue> {
    let parts = Once::of(call, 0, part)?;
    let date = Longs::of(call, 1)?;
    try_each(call, |row| {
        let part = parts.get(row, part)?;
        Ok(date.get(row).map(|ticks| part(ticks) as i32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        datetime::parse(text).unwrap()
    }

    #[test]
    fn edges_of_periods_are_those_recorded() {
        let recorded = [
            ("2020-06-15 13:45", Period::Week, Side::Start, 0, "2020-06-14"),
            ("2020-06-15 13:45", Period::Week, Side::Start, -2, "2020-05-31"),
            ("2020-06-15", Period::Month, Side::Start, -13, "2019-05-01"),
            ("2020-06-15", Period::Year, Side::Start, -5, "2015-01-01"),
            ("2020-06-15 13:45", Period::Week, Side::End, 2, "2020-07-04 23:59:59.9999999"),
            ("2020-01-31", Period::Month, Side::End, 13, "2021-02-28 23:59:59.9999999"),
            ("2020-06-15", Period::Year, Side::End, -1, "2019-12-31 23:59:59.9999999"),
            ("0001-01-02", Period::Day, Side::Start, -1, "0001-01-01"),
            ("9999-12-31 10:00", Period::Year, Side::End, 0, "9999-12-31 23:59:59.9999999"),
            ("9999-12-31 10:00", Period::Month, Side::End, 0, "9999-12-31 23:59:59.9999999"),
        ];
        for (text, period, side, offset, expected) in recorded {
            assert_eq!(period_edge(at(text), period, side, offset), Some(at(expected)), "{text} {offset}");
        }
        assert_eq!(period_edge(at("0001-01-01"), Period::Week, Side::Start, 0), None);
        assert_eq!(period_edge(at("9999-12-31"), Period::Week, Side::End, 0), None);
        for offset in [i64::MAX, i64::MIN, 10_000 * 12] {
            for period in [Period::Day, Period::Week, Period::Month, Period::Year] {
                assert_eq!(
                    period_edge(at("9000-01-01"), period, Side::End, offset).filter(|_| offset != 120_000),
                    None
                );
            }
        }
    }

    #[test]
    fn differences_count_boundaries() {
        let recorded = [
            ("year", "2017-01-01", "2000-12-31", 17),
            ("quarter", "2017-07-01", "2017-03-30", 2),
            ("month", "2017-01-01", "2015-12-30", 13),
            ("week", "2017-10-29 00:00", "2017-09-30 23:59", 5),
            ("week", "2020-12-31", "2020-01-01", 52),
            ("DAY", "2017-10-29 00:00", "2017-09-30 23:59", 29),
            ("hour", "2017-10-31 01:00", "2017-10-30 23:59", 2),
            ("minute", "2017-10-30 23:05:01", "2017-10-30 23:00:59", 5),
            ("second", "2017-10-30 23:00:10.100", "2017-10-30 23:00:00.900", 10),
            ("millisecond", "2017-10-30 23:00:00.200100", "2017-10-30 23:00:00.100900", 100),
            ("microsecond", "2017-10-30 23:00:00.1009001", "2017-10-30 23:00:00.1008009", 100),
            ("nanosecond", "2017-10-30 23:00:00", "2017-10-30 23:00:00.0000007", -700),
            ("quarter", "2024-03-31", "2020-04-01", 15),
        ];
        for (name, a, b, expected) in recorded {
            assert_eq!(
                difference(unit("datetime_diff", name).unwrap(), at(a), at(b)),
                Some(expected),
                "{name} {a} {b}"
            );
        }
        assert!(unit("datetime_diff", "days").is_err());
    }

    #[test]
    fn sums_keep_month_ends_and_the_range() {
        let recorded = [
            ("year", 1, "2020-02-29", Some("2021-02-28")),
            ("quarter", -5, "2020-05-31", Some("2019-02-28")),
            ("week", -53, "2021-03-15 12:00", Some("2020-03-09 12:00")),
            ("day", -1, "0001-01-01 12:00", None),
            ("second", -90061, "2020-01-01", Some("2019-12-30 22:58:59")),
            ("nanosecond", 199, "2020-01-01", Some("2020-01-01 00:00:00.0000001")),
            ("year", i64::MAX, "2020-01-01", None),
        ];
        for (name, count, text, expected) in recorded {
            assert_eq!(
                add(at(text), unit("datetime_add", name).unwrap(), count),
                expected.map(at),
                "{name} {count} {text}"
            );
        }
    }
}
