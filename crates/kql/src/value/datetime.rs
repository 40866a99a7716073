//! datetime: ticks of 100 ns since 0001-01-01T00:00:00Z, and the calendar behind them.

use super::timespan::{TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_SECOND};
use super::{Cursor, fraction_ticks, into_text, push_padded, trim};

/// The first moment: 0001-01-01T00:00:00.
pub const MIN_TICKS: i64 = 0;
/// The last moment: 9999-12-31T23:59:59.9999999.
pub const MAX_TICKS: i64 = 3_155_378_975_999_999_999;
/// 1970-01-01T00:00:00.
pub const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;

/// A moment by its calendar parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1 to 9999.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 59.
    pub second: i32,
    /// Ticks within the second, 0 to 9,999,999.
    pub tick: i64,
}

/// Whether the ticks lie in datetime's range.
pub const fn in_range(ticks: i64) -> bool {
    ticks >= MIN_TICKS && ticks <= MAX_TICKS
}

/// `ticks + span`; `None` outside datetime's range.
pub fn add(ticks: i64, span: i64) -> Option<i64> {
    ticks.checked_add(span).filter(|sum| in_range(*sum))
}

/// Days since 0001-01-01. Ticks outside the range are brought to its nearer end, here and below.
pub fn day_number(ticks: i64) -> i64 {
    ticks.clamp(MIN_TICKS, MAX_TICKS) / TICKS_PER_DAY
}

/// Year, month and day of a day number.
pub fn date_of_day(day_number: i64) -> (i32, i32, i32) {
    // Howard Hinnant's algorithm: years that begin in March put the leap day last.
    let days = day_number.clamp(0, MAX_TICKS / TICKS_PER_DAY) as u32 + 306;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    (year as i32, month as i32, day as i32)
}

/// The day number of a date; `None` when there is no such date in the years 1 to 9999.
pub fn day_of_date(year: i32, month: i32, day: i32) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(i64::from(era) * 146_097 + i64::from(day_of_era) - 306)
}

/// Whether the year has a 29th of February.
pub const fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month; 31 for a month that does not exist.
pub const fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The calendar parts of a moment.
pub fn civil(ticks: i64) -> Civil {
    let ticks = ticks.clamp(MIN_TICKS, MAX_TICKS);
    let (year, month, day) = date_of_day(ticks / TICKS_PER_DAY);
    let rest = ticks % TICKS_PER_DAY;
    let seconds = (rest / TICKS_PER_SECOND) as i32;
    Civil {
        year,
        month,
        day,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        tick: rest % TICKS_PER_SECOND,
    }
}

/// The moment of calendar parts; `None` when a part is outside its range or the date does not exist.
pub fn from_civil(civil: Civil) -> Option<i64> {
    let day = day_of_date(civil.year, civil.month, civil.day)?;
    let is_clock = (0..24).contains(&civil.hour)
        && (0..60).contains(&civil.minute)
        && (0..60).contains(&civil.second)
        && (0..TICKS_PER_SECOND).contains(&civil.tick);
    is_clock.then(|| {
        day * TICKS_PER_DAY
            + i64::from(civil.hour) * TICKS_PER_HOUR
            + i64::from(civil.minute) * TICKS_PER_MINUTE
            + i64::from(civil.second) * TICKS_PER_SECOND
            + civil.tick
    })
}

/// Midnight of a date; `None` when there is no such date.
pub fn from_date(year: i32, month: i32, day: i32) -> Option<i64> {
    day_of_date(year, month, day).map(|day| day * TICKS_PER_DAY)
}

/// 0 for Sunday to 6 for Saturday.
pub fn day_of_week(ticks: i64) -> i64 {
    // 0001-01-01 is a Monday.
    (day_number(ticks) + 1) % 7
}

/// 1 for the first of January.
pub fn day_of_year(ticks: i64) -> i64 {
    let day = day_number(ticks);
    let (year, _, _) = date_of_day(day);
    day - day_of_date(year, 1, 1).unwrap_or(0) + 1
}

/// ISO 8601 week: weeks begin on Monday, the first one holds the year's first Thursday.
pub fn iso_week(ticks: i64) -> i64 {
    let day = day_number(ticks);
    // The Thursday of the same week decides the year. In the last days of 9999 it is already 10000's.
    let thursday = day - day % 7 + 3;
    let last_day = MAX_TICKS / TICKS_PER_DAY;
    if thursday > last_day {
        return 1;
    }
    let (year, _, _) = date_of_day(thursday);
    (thursday - day_of_date(year, 1, 1).unwrap_or(0)) / 7 + 1
}

/// The moment `months` later at the same time of day; the day is brought down to the month's last one
/// (31 January + 1 month = 29 February in leap years). `None` outside the range.
pub fn add_months(ticks: i64, months: i64) -> Option<i64> {
    if !in_range(ticks) {
        return None;
    }
    let (year, month, day) = date_of_day(ticks / TICKS_PER_DAY);
    let index = (i64::from(year) * 12 + i64::from(month) - 1).checked_add(months)?;
    let year = i32::try_from(index.div_euclid(12)).ok()?;
    let month = index.rem_euclid(12) as i32 + 1;
    let day = day_of_date(year, month, day.min(days_in_month(year, month)))?;
    Some(day * TICKS_PER_DAY + ticks % TICKS_PER_DAY)
}

/// Months since year 0, for counting month boundaries.
pub fn month_number(ticks: i64) -> i64 {
    let (year, month, _) = date_of_day(day_number(ticks));
    i64::from(year) * 12 + i64::from(month) - 1
}

/// Appends the wire form: `2020-01-02T03:04:05.1Z`, trailing zeros of the fraction dropped. Source: kusto-rest section 7.
pub fn write(ticks: i64, out: &mut Vec<u8>) {
    let tick = write_seconds(ticks, out);
    if tick > 0 {
        out.push(b'.');
        push_padded(tick as u64, 7, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Appends the form of `tostring` and of values inside dynamic: always seven digits of fraction.
pub fn write_full(ticks: i64, out: &mut Vec<u8>) {
    let tick = write_seconds(ticks, out);
    out.push(b'.');
    push_padded(tick as u64, 7, out);
    out.push(b'Z');
}

/// Appends `2020-01-02T03:04:05` and gives the ticks within the second.
fn write_seconds(ticks: i64, out: &mut Vec<u8>) -> i64 {
    let civil = civil(ticks);
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |position: usize, value: i32| {
        text[position] = b'0' + (value / 10) as u8;
        text[position + 1] = b'0' + (value % 10) as u8;
    };
    put(0, civil.year / 100);
    put(2, civil.year % 100);
    put(5, civil.month);
    put(8, civil.day);
    put(11, civil.hour);
    put(14, civil.minute);
    put(17, civil.second);
    out.extend_from_slice(&text);
    civil.tick
}

/// What `write_full` appends.
pub fn to_text(ticks: i64) -> String {
    let mut out = Vec::with_capacity(28);
    write_full(ticks, &mut out);
    into_text(out)
}

/// Reads a moment in any of the documented forms: ISO 8601 and its sortable variant with a blank,
/// RFC 822 and 850, `2 Dec 2022`, `Dec 2, 2022`, `20221202`, `2022/12/02` and month-first `12/02/2022`,
/// `12-02-2022`, `12.02.2022`; time of day, fraction and zone (`Z`, `GMT`, `UTC`, `+02:00`) optional.
/// Offsets are converted; `None` for anything else and outside the range. Source: datetime page,
/// kql-behaviour section 8.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = trim(text);
    if let Some(ticks) = parse_iso(bytes) {
        return Some(ticks);
    }
    let mut cursor = Cursor::new(bytes);
    let day = parse_date(&mut cursor)?;
    parse_rest(&mut cursor, day)
}

/// Reads the content of `datetime(...)`: what `parse` reads, a year, and year, month and day with commas
/// (`2025, 6, 17`, the day may be left out). `Some(None)` is null, as impossible moments and junk are; `None`
/// is refused, as a fourth part is. A number of one to three digits counts seconds from 1970. Source:
/// kql-behaviour section 1; recorded answers.
pub fn parse_constructor(text: &str) -> Option<Option<i64>> {
    let trimmed = text.trim();
    if trimmed.len() <= 4 && !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        let value: i64 = trimmed.parse().ok()?;
        return Some(match trimmed.len() {
            4 => from_date(value as i32, 1, 1),
            _ => Some(UNIX_EPOCH_TICKS + value * TICKS_PER_SECOND),
        });
    }
    if let Some(ticks) = parse(text) {
        return Some(Some(ticks));
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_number = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() < 2 || !parts.iter().all(is_number) {
        return Some(None);
    }
    let number = |position: usize| parts.get(position).map_or(Some(1), |part| part.parse().ok());
    match parts.len() {
        2 | 3 => Some(from_date(number(0)?, number(1)?, number(2)?)),
        _ => None,
    }
}

/// The commonest form by fixed positions: `2020-01-02[(T| )03:04[:05[.f...]][Z]]`.
fn parse_iso(bytes: &[u8]) -> Option<i64> {
    let two = |position: usize| {
        let (high, low) = (bytes.get(position)?.wrapping_sub(b'0'), bytes.get(position + 1)?.wrapping_sub(b'0'));
        (high < 10 && low < 10).then(|| i32::from(high) * 10 + i32::from(low))
    };
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let mut civil =
        Civil { year: two(0)? * 100 + two(2)?, month: two(5)?, day: two(8)?, hour: 0, minute: 0, second: 0, tick: 0 };
    let mut rest: &[u8] = &[];
    if bytes.len() > 10 {
        if !matches!(bytes[10], b'T' | b' ') || bytes.get(13) != Some(&b':') {
            return None;
        }
        (civil.hour, civil.minute) = (two(11)?, two(14)?);
        rest = &bytes[16..];
        if let [b':', _, _, after @ ..] = rest {
            civil.second = two(17)?;
            rest = after;
            if let [b'.', after @ ..] = rest {
                let length = after.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
                if length == 0 {
                    return None;
                }
                civil.tick = fraction_ticks(&after[..length]);
                rest = &after[length..];
            }
        }
    }
    if matches!(rest, [] | [b'Z']) { from_civil(civil) } else { None }
}

/// The month of a name: at least its first three letters, or all of it.
fn month_of(word: &[u8]) -> Option<i32> {
    const NAMES: [&[u8]; 12] = [
        b"january",
        b"february",
        b"march",
        b"april",
        b"may",
        b"june",
        b"july",
        b"august",
        b"september",
        b"october",
        b"november",
        b"december",
    ];
    name_index(word, &NAMES).map(|index| index as i32 + 1)
}

fn is_weekday(word: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [b"sunday", b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday"];
    name_index(word, &NAMES).is_some()
}

fn name_index(word: &[u8], names: &[&[u8]]) -> Option<usize> {
    names.iter().position(|name| word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3]))
}

/// A year of two digits lies between 1950 and 2049, as .NET reads it.
fn full_year(digits: &[u8]) -> Option<i32> {
    let year = super::number(digits)? as i32;
    match digits.len() {
        4 => Some(year),
        2 if year < 50 => Some(2000 + year),
        2 => Some(1900 + year),
        _ => None,
    }
}

/// Reads a date in any form and gives its midnight.
fn parse_date(cursor: &mut Cursor<'_>) -> Option<i64> {
    if cursor.peek()?.is_ascii_alphabetic() {
        let word = cursor.take_while(|byte| byte.is_ascii_alphabetic());
        if let Some(month) = month_of(word) {
            cursor.eat(b'.');
            cursor.blanks();
            let day = cursor.number(1, 2)?;
            let comma = cursor.eat(b',');
            if !cursor.blanks() && !comma {
                return None;
            }
            let digits = cursor.digits();
            let year = if digits.len() == 4 { full_year(digits)? } else { return None };
            return from_date(year, month, day as i32);
        }
        if !is_weekday(word) {
            return None;
        }
        let comma = cursor.eat(b',');
        if !cursor.blanks() && !comma {
            return None;
        }
    }
    let first = cursor.digits();
    match first.len() {
        8 => {
            let value = super::number(first)? as i32;
            from_date(value / 10_000, value / 100 % 100, value % 100)
        }
        4 => {
            let separator = date_separator(cursor)?;
            let month = cursor.number(1, 2)?;
            if date_separator(cursor)? != separator {
                return None;
            }
            let day = cursor.number(1, 2)?;
            from_date(full_year(first)?, month as i32, day as i32)
        }
        1 | 2 => {
            let separator = date_separator(cursor).or_else(|| cursor.blanks().then_some(b' '))?;
            let value = super::number(first)? as i32;
            if cursor.peek()?.is_ascii_alphabetic() {
                let month = month_of(cursor.take_while(|byte| byte.is_ascii_alphabetic()))?;
                if date_separator(cursor).or_else(|| cursor.blanks().then_some(b' '))? != separator {
                    return None;
                }
                return from_date(full_year(cursor.digits())?, month, value);
            }
            let day = cursor.number(1, 2)?;
            if separator == b' ' || date_separator(cursor)? != separator {
                return None;
            }
            let year = cursor.number(4, 4)?;
            from_date(year as i32, value, day as i32)
        }
        _ => None,
    }
}

/// `-`, `/` or `.`, with blanks around it.
fn date_separator(cursor: &mut Cursor<'_>) -> Option<u8> {
    let mark = cursor.mark();
    cursor.blanks();
    let separator = cursor.peek().filter(|byte| matches!(byte, b'-' | b'/' | b'.'));
    match separator {
        Some(_) => {
            cursor.advance();
            cursor.blanks();
        }
        None => cursor.reset(mark),
    }
    separator
}

/// Reads time of day and zone after a date.
fn parse_rest(cursor: &mut Cursor<'_>, midnight: i64) -> Option<i64> {
    if cursor.at_end() {
        return Some(midnight);
    }
    if !cursor.eat(b'T') && !cursor.eat(b't') && !cursor.blanks() {
        return None;
    }
    add(midnight, parse_clock(cursor)?)
}

/// Reads a time of day without a date, as `datetime(8:00)` has it: ticks since midnight, UTC. `None` when the zone
/// moves it to another day. Source: datetime page until 2023, "omitting the date gives a time today".
pub fn parse_time_of_day(text: &str) -> Option<i64> {
    parse_clock(&mut Cursor::new(trim(text))).filter(|ticks| (0..TICKS_PER_DAY).contains(ticks))
}

/// Reads time of day and zone to the end; the offset is taken off.
fn parse_clock(cursor: &mut Cursor<'_>) -> Option<i64> {
    let below = |value: i64, limit: i64| (value < limit).then_some(value);
    let hour = below(cursor.number(1, 2)?, 24)?;
    if !cursor.eat(b':') {
        return None;
    }
    let minute = below(cursor.number(1, 2)?, 60)?;
    let mut clock = hour * TICKS_PER_HOUR + minute * TICKS_PER_MINUTE;
    if cursor.eat(b':') {
        clock += below(cursor.number(1, 2)?, 60)? * TICKS_PER_SECOND;
        if cursor.eat(b'.') {
            let fraction = cursor.digits();
            if fraction.is_empty() {
                return None;
            }
            clock += fraction_ticks(fraction);
        }
    }
    cursor.blanks();
    let offset = parse_zone(cursor)?;
    cursor.at_end().then_some(clock - offset)
}

/// The offset from UTC in ticks: nothing, a name of UTC, or `±hh[[:]mm]`.
fn parse_zone(cursor: &mut Cursor<'_>) -> Option<i64> {
    let sign = match cursor.peek() {
        None => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => {
            let word = cursor.take_while(|byte| byte.is_ascii_alphabetic());
            let is_utc = [&b"Z"[..], b"GMT", b"UTC", b"UT"].iter().any(|name| word.eq_ignore_ascii_case(name));
            return is_utc.then_some(0);
        }
    };
    cursor.advance();
    let digits = cursor.digits();
    let (hours, minutes) = match digits.len() {
        1 | 2 => {
            let hours = super::number(digits)?;
            (hours, if cursor.eat(b':') { cursor.number(2, 2)? } else { 0 })
        }
        4 => {
            let value = super::number(digits)?;
            (value / 100, value % 100)
        }
        _ => return None,
    };
    // 14 hours is the widest offset there is, and the widest .NET takes.
    if minutes >= 60 || hours * 60 + minutes > 14 * 60 {
        return None;
    }
    Some(sign * (hours * TICKS_PER_HOUR + minutes * TICKS_PER_MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(ticks: i64) -> String {
        let mut out = Vec::new();
        write(ticks, &mut out);
        into_text(out)
    }

    #[test]
    fn all_documented_forms_are_read() {
        let date = "2014-11-08T00:00:00Z";
        let minute = "2014-11-08T15:05:00Z";
        let second = "2014-11-08T15:05:02Z";
        let forms = [
            ("2014-05-25T08:20:03.123456Z", "2014-05-25T08:20:03.123456Z"),
            ("2014-05-25T08:20:03.123456", "2014-05-25T08:20:03.123456Z"),
            ("2014-05-25T08:20", "2014-05-25T08:20:00Z"),
            ("2014-11-08 15:55:55.123456Z", "2014-11-08T15:55:55.123456Z"),
            ("2014-11-08 15:55:55", "2014-11-08T15:55:55Z"),
            ("2014-11-08", date),
            (" 2014-11-08 ", date),
            ("Sat, 8 Nov 14 15:05:02 GMT", second),
            ("Sat, 8 Nov 14 15:05:02", second),
            ("Sat, 8 Nov 14 15:05", minute),
            ("Sat, 8 Nov 14 15:05 GMT", minute),
            ("8 Nov 14 15:05:02 GMT", second),
            ("8 Nov 14 15:05:02", second),
            ("8 Nov 14 15:05", minute),
            ("8 Nov 14 15:05 GMT", minute),
            ("Saturday, 08-Nov-14 15:05:02 GMT", second),
            ("Saturday, 08-Nov-14 15:05:02", second),
            ("Saturday, 08-Nov-14 15:05 GMT", minute),
            ("Saturday, 08-Nov-14 15:05", minute),
            ("08-Nov-14 15:05:02 GMT", second),
            ("08-Nov-14 15:05", minute),
            ("2014-11-08 15:05:02 GMT", second),
            ("2014-11-08 15:05", minute),
            ("2014-11-08T15:05:02 GMT", second),
            ("2014-11-08T15:05 GMT", minute),
            ("2014-11-08T17:05:02+02:00", second),
            ("2014-11-08T10:05:02.0-0500", second),
            ("2014 - 11 - 08", date),
            ("2014-11-8", date),
            ("20141108", date),
            ("2014/11/08", date),
            ("2014/11/08 15:05", minute),
            ("11/08/2014", date),
            ("11/8/2014 15:05:02", second),
            ("11-08-2014", date),
            ("11.08.2014", date),
            ("8 Nov 2014", date),
            ("Nov 8, 2014", date),
            ("November 8, 2014 15:05", minute),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
            ("9999-12-31 23:59:59.9999999", "9999-12-31T23:59:59.9999999Z"),
            ("2020-01-01 00:00:00.123456789", "2020-01-01T00:00:00.1234567Z"),
        ];
        for (text, expected) in forms {
            assert_eq!(parse(text).map(wire).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_time_alone_counts_from_midnight() {
        assert_eq!(parse_time_of_day("8:00"), Some(8 * TICKS_PER_HOUR));
        assert_eq!(parse_time_of_day(" 08:00:01.5 "), Some(8 * TICKS_PER_HOUR + 15_000_000));
        assert_eq!(parse_time_of_day("08:00+02:00"), Some(6 * TICKS_PER_HOUR));
        for text in ["24:00", "8", "8:60", "01:00+02:00", "8:00 PM", "", ":"] {
            assert_eq!(parse_time_of_day(text), None, "{text}");
        }
        // Of a text that must be a whole moment it is none.
        assert_eq!(parse("8:00"), None);
    }

    #[test]
    fn junk_and_impossible_dates_are_none() {
        let texts = [
            "",
            "2025",
            "2025-01",
            "not a date",
            "13-01-2022",
            "2020-13-01",
            "2020-02-30",
            "2021-02-29",
            "0000-01-01",
            "2020-01-01T24:00",
            "2020-01-01T10:60",
            "2020-01-01T10:00:60",
            "2020-01-01T10:00:00.",
            "2020-01-01T",
            "2020-01-01T10",
            "2020-01-01Z10:00",
            "2020-01-01 10:00 PST",
            "2020-01-01T10:00+15:00",
            "0001-01-01T00:00+01:00",
            "9999-12-31T23:59-01:00",
            "2020-01/01",
            "1577836800",
            "202001",
            "8 Foo 2014",
            "2 12 2022",
            "Dec 2022",
        ];
        for text in texts {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_constructor_takes_parts_with_commas() {
        assert_eq!(parse_constructor("2025, 6, 17"), Some(parse("2025-06-17")));
        assert_eq!(parse_constructor("2025,6"), Some(parse("2025-06-01")));
        assert_eq!(parse_constructor("2025"), Some(parse("2025-01-01")));
        assert_eq!(parse_constructor("1"), Some(parse("1970-01-01 00:00:01")));
        assert_eq!(parse_constructor("20250614"), Some(parse("2025-06-14")));
        assert_eq!(parse_constructor("Nov 8, 2014"), Some(parse("2014-11-08")));
        for text in ["2025,6,17,10", "2017,10,01,12,11,0", "1,2,3,4,5,6,7"] {
            assert_eq!(parse_constructor(text), None, "{text}");
        }
        for text in ["2025,13", "2025,", ",", "2025,-1", "0000", "abc", "12345"] {
            assert_eq!(parse_constructor(text), Some(None), "{text}");
        }
    }

    #[test]
    fn every_day_has_its_date_and_every_text_is_read_back() {
        let mut expected = (1, 1, 1);
        for day in 0..=MAX_TICKS / TICKS_PER_DAY {
            assert_eq!(date_of_day(day), expected);
            assert_eq!(day_of_date(expected.0, expected.1, expected.2), Some(day));
            let (year, month, last) = expected;
            expected = if last < days_in_month(year, month) {
                (year, month, last + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
        for long in super::super::tests::some_longs(2000) {
            let ticks = long.rem_euclid(MAX_TICKS + 1);
            assert_eq!(parse(&wire(ticks)), Some(ticks));
            assert_eq!(parse(&to_text(ticks)), Some(ticks));
            assert_eq!(from_civil(civil(ticks)), Some(ticks));
        }
    }

    #[test]
    fn weeks_and_months_are_those_of_the_calendar() {
        let ticks = |text| parse(text).expect("a date");
        assert_eq!(day_of_week(ticks("2024-01-07")), 0);
        assert_eq!(day_of_week(ticks("0001-01-01")), 1);
        assert_eq!(day_of_year(ticks("2020-12-31")), 366);
        for (text, week) in
            [("2020-12-31", 53), ("2020-06-15", 25), ("1970-01-01", 1), ("2000-01-01", 52), ("9999-12-31", 52)]
        {
            assert_eq!(iso_week(ticks(text)), week, "{text}");
        }
        assert_eq!(add_months(ticks("2020-01-31"), 1), parse("2020-02-29"));
        assert_eq!(add_months(ticks("2020-01-31 10:00"), -12), parse("2019-01-31 10:00"));
        assert_eq!(add_months(ticks("9999-12-01"), 1), None);
        assert_eq!(add_months(ticks("0001-01-01"), -1), None);
        assert_eq!(add_months(ticks("0001-01-01"), i64::MIN), None);
    }
}
