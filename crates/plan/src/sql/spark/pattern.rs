//! Patterns of dates and times as Java writes them: `yyyy-MM-dd HH:mm:ss.SSS`. Times are in UTC.
//!
//! Source: the datetime patterns page of Spark SQL.

use std::fmt::Write;

use tidewater_kql::value::datetime::{self, Civil, UNIX_EPOCH_TICKS};

/// Letters in a row of one pattern, and its longest text.
const MAX_WIDTH: usize = 19;
const MAX_PATTERN_BYTES: usize = 1_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[derive(Debug, PartialEq)]
enum Item {
    Field(char, usize),
    Text(String),
}

/// A pattern.
#[derive(Debug, PartialEq)]
pub(super) struct Pattern(Vec<Item>);

/// Ticks of microseconds since 1970; none where ticks do not reach.
pub(super) fn ticks(micros: i64) -> Option<i64> {
    micros.checked_mul(10)?.checked_add(UNIX_EPOCH_TICKS).filter(|ticks| datetime::in_range(*ticks))
}

/// Microseconds since 1970 of ticks.
pub(super) fn micros(ticks: i64) -> i64 {
    (ticks - UNIX_EPOCH_TICKS).div_euclid(10)
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// *Errors*: a letter that means nothing here, a quote without its end.
    pub(super) fn read(text: &str) -> Result<Pattern, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("the pattern is longer than {MAX_PATTERN_BYTES} bytes"));
        }
        let mut items: Vec<Item> = Vec::new();
        let mut rest = text.chars().peekable();
        let literal = |items: &mut Vec<Item>, c: char| match items.last_mut() {
            Some(Item::Text(text)) => text.push(c),
            _ => items.push(Item::Text(c.to_string())),
        };
        while let Some(c) = rest.next() {
            if c == '\'' {
                if rest.next_if_eq(&'\'').is_some() {
                    literal(&mut items, '\'');
                    continue;
                }
                loop {
                    match rest.next() {
                        None => return Err(format!("the pattern '{text}' has a quote without its end")),
                        Some('\'') if rest.next_if_eq(&'\'').is_none() => break,
                        Some(c) => literal(&mut items, c),
                    }
                }
            } else if c.is_ascii_alphabetic() {
                let mut count = 1;
                while rest.next_if_eq(&c).is_some() {
                    count += 1;
                }
                if !"yuMLdDQqEaHhkKmsSXxZzVOG".contains(c) || count > MAX_WIDTH {
                    return Err(format!("the pattern '{text}' has '{c}', which is not served"));
                }
                items.push(Item::Field(c, count));
            } else if matches!(c, '[' | ']') {
                return Err(format!("the pattern '{text}' has optional parts, which are not served"));
            } else {
                literal(&mut items, c);
            }
        }
        Ok(Pattern(items))
    }

    /// Writes a moment.
    pub(super) fn write(&self, ticks: i64) -> String {
        let (civil, mut out) = (datetime::civil(ticks), String::new());
        for item in &self.0 {
            match item {
                Item::Text(text) => out.push_str(text),
                Item::Field(letter, count) => write_field(*letter, *count, ticks, &civil, &mut out),
            }
        }
        out
    }

    /// Reads a moment; none where the text does not fit.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        let mut found = Found::default();
        let mut rest = text;
        for item in &self.0 {
            rest = match item {
                Item::Text(wanted) => rest.strip_prefix(wanted.as_str())?,
                Item::Field(letter, count) => found.read(*letter, *count, rest)?,
            };
        }
        if rest.is_empty() { found.ticks() } else { None }
    }
}

fn write_field(letter: char, count: usize, ticks: i64, civil: &Civil, out: &mut String) {
    let mut number = |value: i64, width: usize| {
        let _ = write!(out, "{value:0width$}");
    };
    let short = |name: &'static str, count: usize| if count < 4 { &name[..3] } else { name };
    let (hour, month) = (i64::from(civil.hour), i64::from(civil.month));
    match letter {
        'y' | 'u' if count == 2 => number(i64::from(civil.year) % 100, 2),
        'y' | 'u' => number(i64::from(civil.year), count),
        'M' | 'L' if count < 3 => number(month, count),
        'M' | 'L' => out.push_str(short(MONTHS[(month - 1).clamp(0, 11) as usize], count)),
        'd' => number(i64::from(civil.day), count),
        'D' => number(datetime::day_of_year(ticks), count),
        'Q' | 'q' => match count {
            1 | 2 => number((month + 2) / 3, count),
            3 => {
                let _ = write!(out, "Q{}", (month + 2) / 3);
            }
            _ => {
                let end = ["st", "nd", "rd", "th"][((month + 2) / 3 - 1).clamp(0, 3) as usize];
                let _ = write!(out, "{}{end} quarter", (month + 2) / 3);
            }
        },
        'E' => out.push_str(short(DAYS[datetime::day_of_week(ticks).clamp(0, 6) as usize], count)),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'H' => number(hour, count),
        'h' => number((hour + 11) % 12 + 1, count),
        'k' => number((hour + 23) % 24 + 1, count),
        'K' => number(hour % 12, count),
        'm' => number(i64::from(civil.minute), count),
        's' => number(i64::from(civil.second), count),
        'S' => {
            let digits = format!("{:07}00000000000000", civil.tick);
            out.push_str(&digits[..count]);
        }
        'X' => out.push('Z'),
        'Z' => out.push_str(match count {
            5 => "Z",
            4 => "GMT",
            _ => "+0000",
        }),
        'x' => out.push_str(match count {
            1 => "+00",
            2 | 4 => "+0000",
            _ => "+00:00",
        }),
        'O' => out.push_str("GMT"),
        'G' => out.push_str(if count == 4 { "Anno Domini" } else { "AD" }),
        _ => out.push_str("UTC"),
    }
}

/// What was read of a moment.
struct Found {
    year: i32,
    month: i32,
    day: i32,
    hour: i32,
    half: Option<bool>,
    minute: i32,
    second: i32,
    tick: i64,
    offset_minutes: i64,
}

impl Default for Found {
    fn default() -> Self {
        Self { year: 1970, month: 1, day: 1, hour: 0, half: None, minute: 0, second: 0, tick: 0, offset_minutes: 0 }
    }
}

impl Found {
    /// Reads a field from the beginning of a text; gives what comes after it.
    fn read<'a>(&mut self, letter: char, count: usize, text: &'a str) -> Option<&'a str> {
        let digits = |least: usize, most: usize| -> Option<(i32, &'a str)> {
            let end = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
            if end < least {
                return None;
            }
            Some((text[..end].parse().ok()?, &text[end..]))
        };
        let number = || if count == 1 { digits(1, 2) } else { digits(count, count) };
        let rest = match letter {
            'y' | 'u' if count == 2 => {
                let (year, rest) = digits(2, 2)?;
                self.year = 2000 + year;
                rest
            }
            'y' | 'u' => {
                let (year, rest) = if count == 1 { digits(1, 9)? } else { digits(count, count)? };
                self.year = year;
                rest
            }
            'M' | 'L' if count < 3 => {
                let (month, rest) = number()?;
                self.month = month;
                rest
            }
            'M' | 'L' => {
                let (at, rest) = name(&MONTHS, count, text)?;
                self.month = at as i32 + 1;
                rest
            }
            'E' => name(&DAYS, count, text)?.1,
            'd' => {
                let (day, rest) = number()?;
                self.day = day;
                rest
            }
            'H' => {
                let (hour, rest) = number()?;
                self.hour = hour;
                rest
            }
            'k' => {
                let (hour, rest) = number()?;
                self.hour = hour % 24;
                rest
            }
            'h' | 'K' => {
                let (hour, rest) = number()?;
                if hour > 12 {
                    return None;
                }
                self.hour = hour % 12;
                self.half.get_or_insert(false);
                rest
            }
            'a' => {
                let half = text.get(..2)?;
                self.half = Some(half.eq_ignore_ascii_case("pm"));
                if !half.eq_ignore_ascii_case("am") && !half.eq_ignore_ascii_case("pm") {
                    return None;
                }
                &text[2..]
            }
            'm' => {
                let (minute, rest) = number()?;
                self.minute = minute;
                rest
            }
            's' => {
                let (second, rest) = number()?;
                self.second = second;
                rest
            }
            'S' => {
                let end = text.bytes().take(count).take_while(u8::is_ascii_digit).count();
                if end == 0 {
                    return None;
                }
                let padded = format!("{}0000000", &text[..end]);
                self.tick = padded[..7].parse().ok()?;
                &text[end..]
            }
            'X' | 'x' | 'Z' | 'z' | 'V' | 'O' => self.offset(text)?,
            'G' => text.strip_prefix("AD")?,
            // Days of the year and quarters leave the date open.
            _ => return None,
        };
        Some(rest)
    }

    fn offset<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        for word in ["Z", "UTC", "GMT"] {
            if let Some(rest) = text.strip_prefix(word)
                && !rest.starts_with(['+', '-'])
            {
                return Some(rest);
            }
        }
        let text = text.strip_prefix("UTC").or(text.strip_prefix("GMT")).unwrap_or(text);
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let digits =
            |text: &str| text.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok();
        let hours = digits(&text[1..])?;
        let mut rest = &text[3..];
        let mut minutes = 0;
        let after = rest.strip_prefix(':').unwrap_or(rest);
        if let Some(found) = digits(after) {
            minutes = found;
            rest = &after[2..];
        }
        if hours > 18 || minutes > 59 {
            return None;
        }
        self.offset_minutes = sign * (hours * 60 + minutes);
        Some(rest)
    }

    fn ticks(self) -> Option<i64> {
        let hour = match self.half {
            Some(true) => self.hour % 12 + 12,
            Some(false) => self.hour % 12,
            None => self.hour,
        };
        let fits = (0..24).contains(&hour) && (0..60).contains(&self.minute) && (0..60).contains(&self.second);
        if !fits || !(1..=12).contains(&self.month) || !(1..=9999).contains(&self.year) {
            return None;
        }
        if self.day < 1 || self.day > datetime::days_in_month(self.year, self.month) {
            return None;
        }
        let Found { year, month, day, minute, second, tick, .. } = self;
        let ticks = datetime::from_civil(Civil { year, month, day, hour, minute, second, tick })?;
        datetime::add(ticks, -self.offset_minutes * 600_000_000)
    }
}

/// The place of a name at the beginning of a text.
fn name<'a>(names: &[&str], count: usize, text: &'a str) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = if count < 4 { &name[..3] } else { name };
        let begin = text.get(..name.len())?;
        begin.eq_ignore_ascii_case(name).then(|| (at, &text[name.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_writes_it_reads() {
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss", "2020-02-29 03:04:05"),
            ("dd/MMM/yyyy h:mm a", "01/Mar/2021 12:30 AM"),
            ("EEEE, MMMM d, yyyy 'at' H:mm:ss.SSS", "Monday, July 6, 2020 at 7:08:09.120"),
            ("yyyyMMdd'T'HHmmssX", "20200101T000000Z"),
        ] {
            let pattern = Pattern::read(pattern).unwrap();
            let ticks = pattern.parse(text).unwrap_or_else(|| panic!("{text} fits {pattern:?}"));
            assert_eq!(pattern.write(ticks), text);
        }
    }

    #[test]
    fn offsets_are_taken_off() {
        let pattern = Pattern::read("yyyy-MM-dd'T'HH:mm:ssXXX").unwrap();
        let (one, other) = (pattern.parse("2020-01-01T02:00:00+02:00"), pattern.parse("2020-01-01T00:00:00Z"));
        assert!(one.is_some() && one == other);
    }

    #[test]
    fn texts_that_do_not_fit_are_none() {
        let pattern = Pattern::read("yyyy-MM-dd").unwrap();
        for text in ["2020-02-30", "2020-2-03", "2020-02-03 ", "", "é", "20200-01-01"] {
            assert_eq!(pattern.parse(text), None, "{text}");
        }
        for pattern in ["yyyy 'x", "w", "[yyyy]"] {
            assert!(Pattern::read(pattern).is_err(), "{pattern}");
        }
    }
}
