//! datetimes and timespans from numbers: parts, Unix times, local times.

use std::sync::LazyLock;

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use tidewater_kql::KqlType;
use tidewater_kql::value::datetime::{self, Civil, UNIX_EPOCH_TICKS};
use tidewater_kql::value::json;
use tidewater_kql::value::timespan::{
    self, TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MICROSECOND, TICKS_PER_MILLISECOND, TICKS_PER_MINUTE,
    TICKS_PER_SECOND,
};

use super::kernel::{Integers, Longs, Reals, Texts, each, each_dynamic, each_text};
use super::rows::{Numbers, TO_DATETIME, TO_DYNAMIC, TO_TIMESPAN, long_of_real, row};
use crate::call::Call;
use crate::registry::Scalar;
use crate::signature::{Accepts, DATETIME, LONG, REAL, STRING, Signature, required, sig};

const UNIX: &[Signature] = &[sig(&[required("number", Accepts::Number)], TO_DATETIME)];
const ZONE: &[Signature] = &[sig(&[required("from", DATETIME), required("timezone", STRING)], TO_DATETIME)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "make_datetime",
        &[
            sig(
                &[
                    required("year", LONG),
                    required("month", LONG),
                    required("day", LONG),
                    required("hour", LONG),
                    required("minute", LONG),
                    required("second", REAL),
                ],
                TO_DATETIME,
            ),
            sig(
                &[
                    required("year", LONG),
                    required("month", LONG),
                    required("day", LONG),
                    required("hour", LONG),
                    required("minute", LONG),
                ],
                TO_DATETIME,
            ),
            sig(
                &[required("year", LONG), required("month", LONG), required("day", LONG), required("hour", LONG)],
                TO_DATETIME,
            ),
            sig(&[required("year", LONG), required("month", LONG), required("day", LONG)], TO_DATETIME),
            sig(
                &[required("value", Accepts::OneOf(&[KqlType::String, KqlType::DateTime, KqlType::Long, KqlType::Int]))],
                TO_DATETIME,
            ),
        ],
        make_datetime,
        "The datetime of its parts; null when there is no such moment.",
        "make-datetime-function",
        examples: &[("print make_datetime(2017, 10, 1, 12, 11, 0.1234567)", "2017-10-01T12:11:00.1234567Z")],
    ),
    row!(
        "make_timespan",
        &[
            sig(
                &[required("days", LONG), required("hours", LONG), required("minutes", LONG), required("seconds", REAL)],
                TO_TIMESPAN,
            ),
            sig(&[required("hours", LONG), required("minutes", LONG), required("seconds", REAL)], TO_TIMESPAN),
            sig(&[required("hours", LONG), required("minutes", LONG)], TO_TIMESPAN),
            sig(
                &[required("value", Accepts::OneOf(&[KqlType::String, KqlType::TimeSpan, KqlType::Long, KqlType::Int]))],
                TO_TIMESPAN,
            ),
        ],
        make_timespan,
        "The timespan of its parts; null when one is out of range.",
        "make-timespan-function",
        examples: &[("print make_timespan(1, 12, 30, 55.123)", "1.12:30:55.1230000")],
    ),
    row!(
        "unixtime_seconds_todatetime",
        UNIX,
        |call| unix_time(call, TICKS_PER_SECOND, 1),
        "The datetime of seconds since 1970.",
        "unixtime-seconds-todatetime-function",
        examples: &[("print unixtime_seconds_todatetime(1546300800)", "2019-01-01T00:00:00Z")],
    ),
    row!(
        "unixtime_milliseconds_todatetime",
        UNIX,
        |call| unix_time(call, TICKS_PER_MILLISECOND, 1),
        "The datetime of milliseconds since 1970.",
        "unixtime-milliseconds-todatetime-function",
    ),
    row!(
        "unixtime_microseconds_todatetime",
        UNIX,
        |call| unix_time(call, TICKS_PER_MICROSECOND, 1),
        "The datetime of microseconds since 1970.",
        "unixtime-microseconds-todatetime-function",
    ),
    row!(
        "unixtime_nanoseconds_todatetime",
        UNIX,
        |call| unix_time(call, 1, 100),
        "The datetime of nanoseconds since 1970; parts of a tick are cut off.",
        "unixtime-nanoseconds-todatetime-function",
    ),
    row!(
        "datetime_utc_to_local",
        ZONE,
        |call| zoned(call, to_local),
        "The local time of a moment in a time zone.",
        "datetime-utc-to-local-function",
        examples: &[(
            "print datetime_utc_to_local(datetime(2022-07-11 22:18:48), 'US/Pacific')",
            "2022-07-11T15:18:48Z",
        )],
    ),
    row!(
        "datetime_local_to_utc",
        ZONE,
        |call| zoned(call, to_utc),
        "The moment of a local time in a time zone; of two the earlier one.",
        "datetime-local-to-utc-function",
        examples: &[(
            "print datetime_local_to_utc(datetime(2020-02-02 20:02:20), 'Europe/Paris')",
            "2020-02-02T19:02:20Z",
        )],
    ),
    row!(
        "datetime_list_timezones",
        &[sig(&[], TO_DYNAMIC)],
        list_zones,
        "The names of all time zones, as an array.",
        "datetime-list-timezones",
    ),
];

/// Whole seconds and ticks of a second given as a real; `None` outside 0 to below 60.
fn seconds(value: f64) -> Option<(i64, i64)> {
    if !(0.0..60.0).contains(&value) {
        return None;
    }
    // A decimal fraction is rarely exact in binary: without the hair added, 0.3 s could lose a tick.
    let ticks = (value.fract() * TICKS_PER_SECOND as f64 + 0.001) as i64;
    Some((value as i64, ticks.min(TICKS_PER_SECOND - 1)))
}

fn make_datetime(call: &Call<'_>) -> Result<ColumnarValue> {
    if call.args.len() == 1 {
        return converted(call, datetime::parse, |ticks| datetime::in_range(ticks).then_some(ticks));
    }
    let parts = (0..call.args.len().min(5)).map(|position| Integers::of(call, position)).collect::<Result<Vec<_>>>()?;
    let second = if call.args.len() > 5 { Some(Reals::of(call, 5)?) } else { None };
    each(call, |row| {
        let part = |position: usize| match parts.get(position) {
            Some(input) => i32::try_from(input.get(row)?).ok(),
            None => Some(0),
        };
        let (second, tick) = match &second {
            Some(input) => seconds(input.get(row)?)?,
            None => (0, 0),
        };
        datetime::from_civil(Civil {
            year: part(0)?,
            month: part(1)?,
            day: part(2)?,
            hour: part(3)?,
            minute: part(4)?,
            second: second as i32,
            tick,
        })
    })
}

fn make_timespan(call: &Call<'_>) -> Result<ColumnarValue> {
    let count = call.args.len();
    if count == 1 {
        return converted(call, timespan::parse, Some);
    }
    let days = if count == 4 { Some(Integers::of(call, 0)?) } else { None };
    let first = usize::from(count == 4);
    let (hours, minutes) = (Integers::of(call, first)?, Integers::of(call, first + 1)?);
    let second = if count > 2 { Some(Reals::of(call, first + 2)?) } else { None };
    each(call, |row| {
        let days = match &days {
            Some(input) => input.get(row)?,
            None => 0,
        };
        let (hours, minutes) = (hours.get(row)?, minutes.get(row)?);
        let (second, tick) = match &second {
            Some(input) => seconds(input.get(row)?)?,
            None => (0, 0),
        };
        if days < 0 || !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
            return None;
        }
        let clock = hours * TICKS_PER_HOUR + minutes * TICKS_PER_MINUTE + second * TICKS_PER_SECOND + tick;
        days.checked_mul(TICKS_PER_DAY)?.checked_add(clock)
    })
}

/// The forms with one argument: text by the rules of literals, numbers as ticks.
fn converted(call: &Call<'_>, parse: fn(&str) -> Option<i64>, check: fn(i64) -> Option<i64>) -> Result<ColumnarValue> {
    if call.types.first() == Some(&KqlType::String) {
        let input = Texts::of(call, 0)?;
        return each(call, |row| parse(input.text(row)));
    }
    let input = Integers::of(call, 0)?;
    each(call, |row| input.get(row).and_then(check))
}

/// `value * multiplier / divisor` ticks after 1970. Whole and fraction are taken apart: a real's product would lose ticks.
fn unix_time(call: &Call<'_>, multiplier: i64, divisor: i64) -> Result<ColumnarValue> {
    let input = Numbers::of(call, 0)?;
    let is_whole = matches!(input, Numbers::Int(_) | Numbers::Long(_));
    each(call, |row| {
        let ticks = if is_whole {
            i128::from(input.long(row)?) * i128::from(multiplier) / i128::from(divisor)
        } else {
            let value = input.real(row)?;
            let fraction = (value.fract() * multiplier as f64 + value.signum() * 0.001) as i64;
            (i128::from(long_of_real(value)?) * i128::from(multiplier) + i128::from(fraction)) / i128::from(divisor)
        };
        let ticks = i64::try_from(ticks + i128::from(UNIX_EPOCH_TICKS)).ok()?;
        datetime::in_range(ticks).then_some(ticks)
    })
}

/// The zones compiled into the program, so that every machine answers alike.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

fn zoned(call: &Call<'_>, convert: fn(&TimeZone, i64) -> Option<i64>) -> Result<ColumnarValue> {
    let (input, names) = (Longs::of(call, 0)?, Texts::of(call, 1)?);
    if let Some(name) = names.constant_text() {
        let Ok(zone) = ZONES.get(name) else {
            return exec_err!("'{name}' is not a time zone; datetime_list_timezones() names them all");
        };
        return each(call, |row| convert(&zone, input.get(row)?));
    }
    // Rows of one zone tend to follow each other.
    let mut last: Option<(String, Option<TimeZone>)> = None;
    each(call, |row| {
        let name = names.text(row);
        if last.as_ref().is_none_or(|(known, _)| known != name) {
            last = Some((name.to_string(), ZONES.get(name).ok()));
        }
        let zone = last.as_ref().and_then(|(_, zone)| zone.as_ref())?;
        convert(zone, input.get(row)?)
    })
}

fn to_local(zone: &TimeZone, ticks: i64) -> Option<i64> {
    let seconds = (ticks - UNIX_EPOCH_TICKS).div_euclid(TICKS_PER_SECOND);
    // The library's range ends a day before ours; offsets do not change that late.
    let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    datetime::add(ticks, i64::from(zone.to_offset(timestamp).seconds()) * TICKS_PER_SECOND)
}

fn to_utc(zone: &TimeZone, ticks: i64) -> Option<i64> {
    let civil = datetime::civil(ticks);
    let part = |value: i32| i8::try_from(value).ok();
    let local = jiff::civil::DateTime::new(
        i16::try_from(civil.year).ok()?,
        part(civil.month)?,
        part(civil.day)?,
        part(civil.hour)?,
        part(civil.minute)?,
        part(civil.second)?,
        0,
    )
    .ok()?;
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset,
        // In a gap the offset after it, in a fold the one before it: the earlier moment both times.
        jiff::tz::AmbiguousOffset::Gap { after, .. } => after,
        jiff::tz::AmbiguousOffset::Fold { before, .. } => before,
    };
    datetime::add(ticks, -i64::from(offset.seconds()) * TICKS_PER_SECOND)
}

fn list_zones(call: &Call<'_>) -> Result<ColumnarValue> {
    static NAMES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut names: Vec<String> = ZONES.available().map(|name| name.to_string()).collect();
        names.sort();
        let mut out = vec![b'['];
        for (position, name) in names.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::quote(name, &mut out);
        }
        out.push(b']');
        out
    });
    each_dynamic(call, |_, out| {
        out.extend_from_slice(&NAMES);
        true
    })
}

/// `format_datetime` and `format_timespan`, whose formats are read by `super::datetime_format`.
pub(crate) fn formatted(
    call: &Call<'_>,
    read: fn(&str) -> Result<super::datetime_format::Format>,
    write: fn(&super::datetime_format::Format, i64, &mut String),
) -> Result<ColumnarValue> {
    let (input, formats) = (Longs::of(call, 0)?, Texts::of(call, 1)?);
    if let Some(text) = formats.constant_text() {
        let format = read(text)?;
        return each_text(call, |row, out| {
            if let Some(ticks) = input.get(row) {
                write(&format, ticks, out);
            }
        });
    }
    let mut failed = None;
    let answer = each_text(call, |row, out| match (input.get(row), read(formats.text(row))) {
        (Some(ticks), Ok(format)) => write(&format, ticks, out),
        (_, Err(error)) => failed = Some(error),
        (None, Ok(_)) => {}
    })?;
    failed.map_or(Ok(answer), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        datetime::parse(text).unwrap()
    }

    #[test]
    fn local_times_follow_the_documented_example() {
        let zone = ZONES.get("Europe/Brussels").unwrap();
        for (local, utc) in [("01:00", "00:00"), ("02:00", "00:00"), ("03:00", "01:00"), ("04:00", "02:00")] {
            assert_eq!(to_utc(&zone, at(&format!("2022-03-27 {local}"))), Some(at(&format!("2022-03-27 {utc}"))));
        }
        assert_eq!(to_local(&zone, at("2022-03-27 01:00")), Some(at("2022-03-27 03:00")));
        let zone = ZONES.get("us/pacific").unwrap();
        assert_eq!(to_local(&zone, at("2022-07-11 22:18:48.467862")), Some(at("2022-07-11 15:18:48.467862")));
        assert_eq!(to_local(&zone, 0), None);
        assert_eq!(to_utc(&zone, datetime::MAX_TICKS), None);
        assert!(to_utc(&zone, 0).is_some());
    }

    #[test]
    fn seconds_keep_their_ticks() {
        assert_eq!(seconds(0.1234567), Some((0, 1_234_567)));
        assert_eq!(seconds(59.9999999), Some((59, 9_999_999)));
        assert_eq!(seconds(55.123), Some((55, 1_230_000)));
        assert_eq!(seconds(0.0000001), Some((0, 1)));
        for value in [60.0, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(seconds(value), None);
        }
        for tick in (0..TICKS_PER_SECOND).step_by(997) {
            let value = 7.0 + tick as f64 / TICKS_PER_SECOND as f64;
            assert_eq!(seconds(value), Some((7, tick)));
        }
    }
}
