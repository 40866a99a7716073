//! `format_datetime` and `format_timespan`: their formats look like .NET's and are not.
//!
//! A run of one letter is cut greedily into the longest elements there are (`ddd` is `dd` and `d`),
//! and any character that is neither an element nor a listed delimiter is refused. Source:
//! format-datetime-function and format-timespan-function pages, kql-behaviour section 8.

use datafusion_common::{Result, exec_err};
use tidewater_kql::value::datetime;
use tidewater_kql::value::timespan::{TICKS_PER_DAY, TICKS_PER_SECOND};

use super::datetime_make::formatted;
use super::rows::{TO_STRING, row};
use crate::registry::{NameRule, Scalar};
use crate::signature::{DATETIME, STRING, TIMESPAN, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "format_datetime",
        &[sig(&[required("date", DATETIME), required("format", STRING).constant()], TO_STRING)],
        |call| formatted(call, datetime_format, write_datetime),
        "The text of a datetime in a format such as `yyyy-MM-dd HH:mm:ss.fff`.",
        "format-datetime-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print format_datetime(datetime(2017-01-29 09:00:05), 'yy-MM-dd [HH:mm:ss]')", "17-01-29 [09:00:05]")],
    ),
    row!(
        "format_timespan",
        &[sig(&[required("timespan", TIMESPAN), required("format", STRING).constant()], TO_STRING)],
        |call| formatted(call, timespan_format, write_timespan),
        "The text of a timespan in a format such as `d.hh:mm:ss.fff`.",
        "format-timespan-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print format_timespan(time(29.09:00:05.12345), 'ddd.h:mm:ss [fffffff]')", "029.9:00:05 [1234500]")],
    ),
];

/// A format that was read.
pub(crate) type Format = Vec<Element>;

/// A letter with its length, or a delimiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Element {
    Letter(u8, usize),
    Delimiter(char),
}

/// The lengths of each letter's elements, longest first.
type Letters = fn(u8) -> &'static [usize];

fn datetime_letters(letter: u8) -> &'static [usize] {
    match letter {
        b'd' | b'h' | b'H' | b'm' | b'M' | b's' => &[2, 1],
        b'f' | b'F' => &[7, 6, 5, 4, 3, 2, 1],
        b'y' => &[4, 2, 1],
        b't' => &[2],
        _ => &[],
    }
}

fn timespan_letters(letter: u8) -> &'static [usize] {
    match letter {
        b'd' => &[8, 7, 6, 5, 4, 3, 2, 1],
        b'h' | b'H' | b'm' | b's' => &[2, 1],
        b'f' | b'F' => &[7, 6, 5, 4, 3, 2, 1],
        _ => &[],
    }
}

fn read(function: &str, text: &str, letters: Letters) -> Result<Format> {
    let mut format = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if matches!(character, ' ' | '/' | '-' | ':' | ',' | '.' | '_' | '[' | ']') {
            format.push(Element::Delimiter(character));
            continue;
        }
        let mut run = 1;
        while characters.next_if_eq(&character).is_some() {
            run += 1;
        }
        let lengths = u8::try_from(character).map_or(&[][..], letters);
        while let Some(length) = lengths.iter().find(|length| **length <= run) {
            format.push(Element::Letter(character as u8, *length));
            run -= length;
        }
        if run > 0 {
            return exec_err!(
                "{function}(): the format '{text}' has '{character}', which is neither an element nor a delimiter"
            );
        }
    }
    Ok(format)
}

fn datetime_format(text: &str) -> Result<Format> {
    read("format_datetime", text, datetime_letters)
}

fn timespan_format(text: &str) -> Result<Format> {
    read("format_timespan", text, timespan_letters)
}

/// Appends `value` with at least `width` digits.
fn push_number(out: &mut String, value: i64, width: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value);
    for _ in digits.len()..width {
        out.push('0');
    }
    out.push_str(digits);
}

/// Appends the first `length` digits of a second's fraction; for `F` nothing when they are all zero.
fn push_fraction(out: &mut String, tick: i64, letter: u8, length: usize) {
    let value = tick / 10i64.pow(7 - length.min(7) as u32);
    if letter == b'f' || value != 0 {
        push_number(out, value, length);
    }
}

fn write_datetime(format: &Format, ticks: i64, out: &mut String) {
    let civil = datetime::civil(ticks);
    for element in format {
        let (letter, length) = match *element {
            Element::Delimiter(delimiter) => {
                out.push(delimiter);
                continue;
            }
            Element::Letter(letter, length) => (letter, length),
        };
        let value = match letter {
            b'd' => civil.day,
            b'M' => civil.month,
            b'h' => (civil.hour + 11) % 12 + 1,
            b'H' => civil.hour,
            b'm' => civil.minute,
            b's' => civil.second,
            b'y' if length == 4 => civil.year,
            b'y' => civil.year % 100,
            b't' => {
                out.push_str(if civil.hour < 12 { "AM" } else { "PM" });
                continue;
            }
            _ => {
                push_fraction(out, civil.tick, letter, length);
                continue;
            }
        };
        push_number(out, i64::from(value), length);
    }
}

fn write_timespan(format: &Format, ticks: i64, out: &mut String) {
    if ticks < 0 {
        out.push('-');
    }
    let (day, second) = (TICKS_PER_DAY as u64, TICKS_PER_SECOND as u64);
    let ticks = ticks.unsigned_abs();
    let (days, seconds, tick) = (ticks / day, ticks % day / second, ticks % second);
    for element in format {
        let (letter, length) = match *element {
            Element::Delimiter(delimiter) => {
                out.push(delimiter);
                continue;
            }
            Element::Letter(letter, length) => (letter, length),
        };
        let value = match letter {
            b'd' => days,
            b'h' | b'H' => seconds / 3600,
            b'm' => seconds / 60 % 60,
            b's' => seconds % 60,
            _ => {
                push_fraction(out, tick as i64, letter, length);
                continue;
            }
        };
        push_number(out, value as i64, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewater_kql::value::timespan;

    #[test]
    fn recorded_datetime_texts_come_out() {
        let recorded = [
            ("2020-06-15 13:45:09.123", "yyyy-MM-dd HH:mm:ss.fff", "2020-06-15 13:45:09.123"),
            ("2020-06-15 13:45:09", "M/d/yyyy h:mm:ss tt", "6/15/2020 1:45:09 PM"),
            ("2007-03-09 05:04:03", "dddd, MMMM d, yyyy", "0909, 0303 9, 2007"),
            ("2007-03-09 05:04:03", "ddd MMM", "099 033"),
            ("2020-06-15 13:45:09.1234567", "ffffff", "123456"),
            ("2020-06-15 13:45:09.0000007", "FFFFFFF", "0000007"),
            ("2020-06-15 13:45:09", "[FFFFFFF]", "[]"),
            ("2020-06-15 13:45:09", "y", "20"),
            ("2007-03-09 00:30", "hh:mm tt", "12:30 AM"),
            ("2007-03-09 00:30", "tttt", "AMAM"),
            ("0900-03-09", "yyyy yy y", "0900 00 0"),
            ("2020-06-15 13:45:09", "", ""),
        ];
        for (at, format, expected) in recorded {
            let mut out = String::new();
            write_datetime(&datetime_format(format).unwrap(), datetime::parse(at).unwrap(), &mut out);
            assert_eq!(out, expected, "{at} {format}");
        }
        for format in ["K", "zzz", "yyyy-MM-ddTHH", "%d", "'at'", "t", "ttt", "é", "q"] {
            assert!(datetime_format(format).is_err(), "{format}");
        }
    }

    #[test]
    fn recorded_timespan_texts_come_out() {
        let recorded = [
            ("1.02:03:04.567", "dd.hh:mm:ss.fffffff", "01.02:03:04.5670000"),
            ("-02:30:00", "hh:mm", "-02:30"),
            ("1.02:01:00", "hh:mm", "02:01"),
            ("1.02:01:00", "h:m", "2:1"),
            ("-1.02:30:00", "d.hh:mm:ss", "-1.02:30:00"),
            ("10675199.02:48:05.4775807", "d.hh:mm:ss", "10675199.02:48:05"),
            ("-10675199.02:48:05.4775808", "ddddddddd", "-1067519910675199"),
            ("1.00:00:00", "dddd", "0001"),
        ];
        for (span, format, expected) in recorded {
            let mut out = String::new();
            write_timespan(&timespan_format(format).unwrap(), timespan::parse(span).unwrap(), &mut out);
            assert_eq!(out, expected, "{span} {format}");
        }
        for format in ["c", "g", "G", "%d", "d\\.hh", "M", "y", "tt"] {
            assert!(timespan_format(format).is_err(), "{format}");
        }
    }
}
