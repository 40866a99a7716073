//! timespan: a signed count of ticks of 100 ns.

use super::{Cursor, fraction_ticks, into_text, number, push_padded, trim};

/// Ticks in a microsecond.
pub const TICKS_PER_MICROSECOND: i64 = 10;
/// Ticks in a millisecond.
pub const TICKS_PER_MILLISECOND: i64 = 10_000;
/// Ticks in a second.
pub const TICKS_PER_SECOND: i64 = 10_000_000;
/// Ticks in a minute.
pub const TICKS_PER_MINUTE: i64 = 60 * TICKS_PER_SECOND;
/// Ticks in an hour.
pub const TICKS_PER_HOUR: i64 = 60 * TICKS_PER_MINUTE;
/// Ticks in a day.
pub const TICKS_PER_DAY: i64 = 24 * TICKS_PER_HOUR;

/// Nanoseconds of a literal's unit: `d`, `hours`, `ms`, `tick`, ...; `None` for any other word.
/// Source: kql-behaviour section 1; weeks, months and `us` are not units.
fn unit_nanoseconds(unit: &str) -> Option<i64> {
    Some(match unit {
        "d" | "day" | "days" => TICKS_PER_DAY * 100,
        "h" | "hour" | "hours" => TICKS_PER_HOUR * 100,
        "m" | "min" | "minute" | "minutes" => TICKS_PER_MINUTE * 100,
        "s" | "sec" | "second" | "seconds" => TICKS_PER_SECOND * 100,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => TICKS_PER_MILLISECOND * 100,
        "micro" | "micros" | "microsecond" | "microseconds" => TICKS_PER_MICROSECOND * 100,
        "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "tick" | "ticks" => 100,
        _ => return None,
    })
}

/// Whether `word` is the unit of a timespan literal.
pub fn is_unit(word: &str) -> bool {
    unit_nanoseconds(word).is_some()
}

/// The value of a literal such as `1.5h`, given as its number (digits with at most one point) and its
/// unit. Parts of a tick are cut off, and below a millisecond parts of the unit are: `1.25micro` is one
/// microsecond, as recorded of the service. `None` beyond the range and for malformed parts.
pub fn parse_literal(number: &str, unit: &str) -> Option<i64> {
    let (whole, mut fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let unit = i128::from(unit_nanoseconds(unit)?);
    if unit < i128::from(TICKS_PER_MILLISECOND * 100) {
        fraction = "";
    }
    let mut nanoseconds = 0i128;
    for digit in whole.bytes() {
        nanoseconds = nanoseconds * 10 + i128::from(digit - b'0');
        if nanoseconds > i128::from(i64::MAX) * 100 {
            return None;
        }
    }
    nanoseconds *= unit;
    // After 20 digits nothing reaches a tick any more, and the product still fits.
    let mut scale = 1i128;
    let mut numerator = 0i128;
    for digit in fraction.bytes().take(20) {
        numerator = numerator * 10 + i128::from(digit - b'0');
        scale *= 10;
    }
    nanoseconds += numerator * unit / scale;
    i64::try_from(nanoseconds / 100).ok()
}

/// Reads `[-][d.]hh:mm[:ss[.f...]]` or a number with a unit (`90s`, `-1d`); blanks around are ignored,
/// digits beyond the seventh of the fraction are cut off. A bare number is `None`. Source:
/// kql-behaviour section 6.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = trim(text);
    let (is_negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let ticks = if rest.contains(&b':') { parse_clock(rest)? } else { parse_with_unit(rest)? };
    if is_negative { i64::try_from(-ticks).ok() } else { i64::try_from(ticks).ok() }
}

/// Reads the content of `timespan(...)` and `time(...)`: what `parse` reads, a bare whole number of days
/// (`1.5` is refused), and a unit after a blank (`15 seconds`). Source: timespan page, recorded answers.
pub fn parse_constructor(text: &str) -> Option<i64> {
    if let Some(ticks) = parse(text) {
        return Some(ticks);
    }
    let trimmed = text.trim();
    let (is_negative, rest) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let ticks = match rest.split_once(|c: char| c.is_ascii_whitespace()) {
        Some((number, unit)) => parse_literal(number, unit.trim_start())?,
        None if rest.contains('.') => return None,
        None => parse_literal(rest, "d")?,
    };
    Some(if is_negative { -ticks } else { ticks })
}

fn parse_with_unit(bytes: &[u8]) -> Option<i128> {
    let split = bytes.iter().position(u8::is_ascii_alphabetic)?;
    let (number, unit) = bytes.split_at(split);
    parse_literal(std::str::from_utf8(number).ok()?, std::str::from_utf8(unit).ok()?).map(i128::from)
}

fn parse_clock(bytes: &[u8]) -> Option<i128> {
    let mut cursor = Cursor::new(bytes);
    let mut days = 0;
    let mut hours = cursor.digits();
    if cursor.eat(b'.') {
        days = number(hours)?;
        hours = cursor.digits();
    }
    let below = |digits: &[u8], limit: i64| {
        let value = number(digits)?;
        (digits.len() <= 2 && value < limit).then_some(value)
    };
    let hours = below(hours, 24)?;
    if !cursor.eat(b':') {
        return None;
    }
    let minutes = below(cursor.digits(), 60)?;
    let mut seconds = 0;
    let mut ticks = 0;
    if cursor.eat(b':') {
        seconds = below(cursor.digits(), 60)?;
        if cursor.eat(b'.') {
            let fraction = cursor.digits();
            if fraction.is_empty() {
                return None;
            }
            ticks = fraction_ticks(fraction);
        }
    }
    if !cursor.at_end() {
        return None;
    }
    let clock = hours * TICKS_PER_HOUR + minutes * TICKS_PER_MINUTE + seconds * TICKS_PER_SECOND + ticks;
    Some(i128::from(days) * i128::from(TICKS_PER_DAY) + i128::from(clock))
}

/// Appends `[-][d.]hh:mm:ss[.fffffff]`: days only when there are any, a fraction of seven digits only
/// when there is one. The same text on the wire, in `tostring` and inside dynamic values.
pub fn write(ticks: i64, out: &mut Vec<u8>) {
    if ticks < 0 {
        out.push(b'-');
    }
    let ticks = ticks.unsigned_abs();
    let (days, rest) = (ticks / TICKS_PER_DAY as u64, ticks % TICKS_PER_DAY as u64);
    if days > 0 {
        out.extend_from_slice(itoa::Buffer::new().format(days).as_bytes());
        out.push(b'.');
    }
    let (seconds, fraction) = (rest / TICKS_PER_SECOND as u64, rest % TICKS_PER_SECOND as u64);
    push_padded(seconds / 3600, 2, out);
    out.push(b':');
    push_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    push_padded(seconds % 60, 2, out);
    if fraction > 0 {
        out.push(b'.');
        push_padded(fraction, 7, out);
    }
}

/// What `write` appends.
pub fn to_text(ticks: i64) -> String {
    let mut out = Vec::with_capacity(27);
    write(ticks, &mut out);
    into_text(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_texts_are_read() {
        let good = [
            ("1.02:03:04", 937_840_000_000),
            ("01:00:00", TICKS_PER_HOUR),
            ("1.02:03:04.5", 937_845_000_000),
            ("-00:30:00", -30 * TICKS_PER_MINUTE),
            ("13:00", 13 * TICKS_PER_HOUR),
            ("0:0:0.001", TICKS_PER_MILLISECOND),
            ("23:59:59.9999999", TICKS_PER_DAY - 1),
            ("23:59:59.99999999", TICKS_PER_DAY - 1),
            ("100.00:00:00", 100 * TICKS_PER_DAY),
            (" 90s ", 90 * TICKS_PER_SECOND),
            ("-1d", -TICKS_PER_DAY),
            ("1.5h", 90 * TICKS_PER_MINUTE),
            ("-10675199.02:48:05.4775808", i64::MIN),
        ];
        for (text, ticks) in good {
            assert_eq!(parse(text), Some(ticks), "{text}");
        }
        for text in [
            "",
            "10",
            "1.5",
            "abc",
            "1d junk",
            "24:00",
            "1:60",
            "1:2:60",
            "1.2.03:04",
            "1w",
            "10675199.02:48:05.4775808",
            ":",
            "1:",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn literals_cut_parts_of_ticks_and_know_their_units() {
        assert_eq!(parse_literal("1.5", "d"), Some(TICKS_PER_DAY * 3 / 2));
        assert_eq!(parse_literal("199", "nano"), Some(1));
        assert_eq!(parse_literal("1", "tick"), Some(1));
        assert_eq!(parse_literal("1.5", "ticks"), Some(1));
        assert_eq!(parse_literal("0.5", "microseconds"), Some(0));
        assert_eq!(parse_literal("1.25", "microseconds"), Some(10));
        assert_eq!(parse_literal("1.25", "ms"), Some(12_500));
        assert_eq!(parse_literal("0.1234567890123456789", "d"), Some(106_666_665_706));
        assert_eq!(parse_literal("0.99999999999999999999999999", "d"), Some(TICKS_PER_DAY - 1));
        assert_eq!(parse_literal("10675200", "d"), None);
        assert_eq!(parse_literal("99999999999999999999999999999999999999999999", "d"), None);
        for (number, unit) in [("1", "us"), ("1", "w"), ("", "d"), (".", "d"), ("1e3", "s"), ("1.2.3", "s")] {
            assert_eq!(parse_literal(number, unit), None, "{number}{unit}");
        }
    }

    #[test]
    fn the_constructor_takes_bare_days_and_spaced_units() {
        assert_eq!(parse_constructor("2"), Some(2 * TICKS_PER_DAY));
        assert_eq!(parse_constructor("-2"), Some(-2 * TICKS_PER_DAY));
        assert_eq!(parse_constructor("1.5"), None);
        assert_eq!(parse_constructor("1.5 hours"), Some(90 * TICKS_PER_MINUTE));
        assert_eq!(parse_constructor("15 seconds"), Some(15 * TICKS_PER_SECOND));
        assert_eq!(parse_constructor("0.12:34:56.7"), Some(452_967_000_000));
        assert_eq!(parse_constructor("1d"), Some(TICKS_PER_DAY));
        assert_eq!(parse_constructor("x"), None);
    }

    #[test]
    fn every_timespan_is_read_back_from_its_text() {
        for ticks in super::super::tests::some_longs(2000) {
            assert_eq!(parse(&to_text(ticks)), Some(ticks));
        }
        assert_eq!(to_text(0), "00:00:00");
        assert_eq!(to_text(-937_845_000_000), "-1.02:03:04.5000000");
        assert_eq!(to_text(i64::MIN), "-10675199.02:48:05.4775808");
    }
}
