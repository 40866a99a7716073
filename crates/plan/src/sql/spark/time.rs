//! Dates and times of the dialect.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use tidewater_kql::value::datetime::{self, UNIX_EPOCH_TICKS};

use super::pattern::{Pattern, micros, ticks};
use super::udf::{Row, as_longs, as_moments, as_texts, at, date, double, int, long, moment, text};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// How `from_unixtime` writes and `unix_timestamp` reads without a pattern.
const USUAL: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) const ROWS: &[Row] = &[
    part("year", |values, _| parts(values, |t| i64::from(datetime::civil(t).year))),
    part("quarter", |values, _| parts(values, |t| i64::from((datetime::civil(t).month + 2) / 3))),
    part("month", |values, _| parts(values, |t| i64::from(datetime::civil(t).month))),
    part("day", |values, _| parts(values, |t| i64::from(datetime::civil(t).day))),
    part("dayofmonth", |values, _| parts(values, |t| i64::from(datetime::civil(t).day))),
    part("dayofweek", |values, _| parts(values, |t| datetime::day_of_week(t) + 1)),
    part("weekday", |values, _| parts(values, |t| (datetime::day_of_week(t) + 6) % 7)),
    part("dayofyear", |values, _| parts(values, datetime::day_of_year)),
    part("weekofyear", |values, _| parts(values, datetime::iso_week)),
    part("hour", |values, _| parts(values, |t| i64::from(datetime::civil(t).hour))),
    part("minute", |values, _| parts(values, |t| i64::from(datetime::civil(t).minute))),
    part("second", |values, _| parts(values, |t| i64::from(datetime::civil(t).second))),
    Row { name: "date_format", arity: (2, 2), returns: text, kernel: date_format },
    Row { name: "to_date", arity: (1, 2), returns: date, kernel: to_date },
    Row { name: "to_timestamp", arity: (1, 2), returns: moment, kernel: to_timestamp },
    Row { name: "from_unixtime", arity: (1, 2), returns: text, kernel: from_unixtime },
    Row { name: "unix_timestamp", arity: (1, 2), returns: long, kernel: unix_timestamp },
    Row { name: "to_unix_timestamp", arity: (1, 2), returns: long, kernel: unix_timestamp },
    Row { name: "months_between", arity: (2, 3), returns: double, kernel: months_between },
    Row { name: "datediff", arity: (2, 2), returns: int, kernel: datediff },
    Row { name: "date_diff", arity: (2, 2), returns: int, kernel: datediff },
    Row { name: "date_add", arity: (2, 2), returns: date, kernel: |values, _| moved(values, 1) },
    Row { name: "date_sub", arity: (2, 2), returns: date, kernel: |values, _| moved(values, -1) },
    Row { name: "add_months", arity: (2, 2), returns: date, kernel: add_months },
    Row { name: "last_day", arity: (1, 1), returns: date, kernel: last_day },
    Row { name: "next_day", arity: (2, 2), returns: date, kernel: next_day },
    Row { name: "trunc", arity: (1, 2), returns: trunc_type, kernel: trunc },
];

const fn part(name: &'static str, kernel: super::udf::Kernel) -> Row {
    Row { name, arity: (1, 1), returns: int, kernel }
}

fn parts(values: &[ArrayRef], part: fn(i64) -> i64) -> Result<ArrayRef> {
    let found: Int32Array = as_moments(&values[0])?
        .iter()
        .map(|value| value.and_then(ticks).and_then(|ticks| i32::try_from(part(ticks)).ok()))
        .collect();
    Ok(Arc::new(found))
}

/// Patterns of a column, each read once for the rows that share it.
#[derive(Default)]
struct Patterns(Option<(String, Pattern)>);

impl Patterns {
    fn of(&mut self, text: &str) -> Result<&Pattern> {
        if self.0.as_ref().is_none_or(|(known, _)| known != text) {
            match Pattern::read(text) {
                Ok(pattern) => self.0 = Some((text.to_string(), pattern)),
                Err(message) => return exec_err!("{message}"),
            }
        }
        match &self.0 {
            Some((_, pattern)) => Ok(pattern),
            None => exec_err!("there is no pattern"),
        }
    }
}

fn date_format(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (moments, formats) = (as_moments(&values[0])?, as_texts(&values[1])?);
    written(&moments, &formats)
}

fn written(moments: &TimestampMicrosecondArray, formats: &StringArray) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = Vec::with_capacity(moments.len());
    for row in 0..moments.len() {
        let value = moments.is_valid(row).then(|| moments.value(row)).and_then(ticks);
        found.push(match (value, at(formats, row)) {
            (Some(ticks), Some(format)) => Some(patterns.of(format)?.write(ticks)),
            _ => None,
        });
    }
    Ok(Arc::new(StringArray::from(found)))
}

/// Moments of the first argument, read by the pattern of the second where there is one.
fn read(values: &[ArrayRef]) -> Result<TimestampMicrosecondArray> {
    let is_text = matches!(values[0].data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let Some(formats) = values.get(1).filter(|_| is_text) else { return as_moments(&values[0]) };
    let (texts, formats) = (as_texts(&values[0])?, as_texts(formats)?);
    let mut patterns = Patterns::default();
    let mut found = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        found.push(match (at(&texts, row), at(&formats, row)) {
            (Some(text), Some(format)) => patterns.of(format)?.parse(text).map(micros),
            _ => None,
        });
    }
    Ok(TimestampMicrosecondArray::from(found))
}

fn days(moments: &TimestampMicrosecondArray) -> ArrayRef {
    let days: Date32Array =
        moments.iter().map(|value| value.and_then(|value| i32::try_from(value.div_euclid(DAY)).ok())).collect();
    Arc::new(days)
}

fn to_date(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    Ok(days(&read(values)?))
}

fn to_timestamp(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    if values[0].data_type().is_numeric() {
        let seconds = super::udf::as_doubles(&values[0])?;
        let found: TimestampMicrosecondArray =
            seconds.iter().map(|value| value.map(|value| (value * 1e6).round() as i64)).collect();
        return Ok(Arc::new(found));
    }
    Ok(Arc::new(read(values)?))
}

fn from_unixtime(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let moments: TimestampMicrosecondArray =
        as_longs(&values[0])?.iter().map(|value| value.and_then(|value| value.checked_mul(SECOND))).collect();
    let formats = match values.get(1) {
        Some(formats) => as_texts(formats)?,
        None => StringArray::from(vec![USUAL; moments.len()]),
    };
    written(&moments, &formats)
}

fn unix_timestamp(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let found: Int64Array = read(values)?.iter().map(|value| value.map(|value| value.div_euclid(SECOND))).collect();
    Ok(Arc::new(found))
}

fn months_between(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (later, earlier) = (as_moments(&values[0])?, as_moments(&values[1])?);
    let rounds = values.get(2).map(|flags| datafusion::arrow::compute::cast(flags, &DataType::Boolean)).transpose()?;
    let found: Float64Array = (0..later.len())
        .map(|row| {
            if later.is_null(row) || earlier.is_null(row) {
                return None;
            }
            let (later, earlier) = (ticks(later.value(row))?, ticks(earlier.value(row))?);
            let (a, b) = (datetime::civil(later), datetime::civil(earlier));
            let months = f64::from((a.year - b.year) * 12 + a.month - b.month);
            let is_last = |c: &datetime::Civil| c.day == datetime::days_in_month(c.year, c.month);
            if a.day == b.day || (is_last(&a) && is_last(&b)) {
                return Some(months);
            }
            let seconds = |c: &datetime::Civil| f64::from((c.day * 24 + c.hour) * 3600 + c.minute * 60 + c.second);
            let exact = months + (seconds(&a) - seconds(&b)) / (31.0 * 86_400.0);
            let is_rounded = rounds.as_ref().is_none_or(|flags| {
                let flags = datafusion::arrow::array::AsArray::as_boolean(flags);
                flags.is_null(row) || flags.value(row)
            });
            Some(if is_rounded { (exact * 1e8).round() / 1e8 } else { exact })
        })
        .collect();
    Ok(Arc::new(found))
}

fn datediff(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (later, earlier) = (as_moments(&values[0])?, as_moments(&values[1])?);
    let found: Int32Array = later
        .iter()
        .zip(earlier.iter())
        .map(|pair| match pair {
            (Some(later), Some(earlier)) => i32::try_from(later.div_euclid(DAY) - earlier.div_euclid(DAY)).ok(),
            _ => None,
        })
        .collect();
    Ok(Arc::new(found))
}

/// Dates from the ticks of dates and a whole number for each.
fn dates(values: &[ArrayRef], next: impl Fn(i64, i64) -> Option<i64>) -> Result<ArrayRef> {
    let (moments, counts) = (as_moments(&values[0])?, as_longs(&values[1])?);
    let found: TimestampMicrosecondArray = moments
        .iter()
        .zip(counts.iter())
        .map(|pair| match pair {
            (Some(moment), Some(count)) => next(ticks(moment)?, count).map(micros),
            _ => None,
        })
        .collect();
    Ok(days(&found))
}

fn moved(values: &[ArrayRef], sign: i64) -> Result<ArrayRef> {
    dates(values, |ticks, count| datetime::add(ticks, count.checked_mul(sign)?.checked_mul(DAY * 10)?))
}

fn add_months(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    dates(values, datetime::add_months)
}

fn last_day(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let found: TimestampMicrosecondArray = as_moments(&values[0])?
        .iter()
        .map(|value| {
            let civil = datetime::civil(ticks(value?)?);
            datetime::from_date(civil.year, civil.month, datetime::days_in_month(civil.year, civil.month)).map(micros)
        })
        .collect();
    Ok(days(&found))
}

fn next_day(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    const DAYS: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
    let (moments, names) = (as_moments(&values[0])?, as_texts(&values[1])?);
    let found: TimestampMicrosecondArray = (0..moments.len())
        .map(|row| {
            let ticks = moments.is_valid(row).then(|| moments.value(row)).and_then(ticks)?;
            let name = at(&names, row)?.trim().to_ascii_uppercase();
            let fits = |day: &&str| {
                let long = ["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];
                long.iter()
                    .any(|long| long.starts_with(*day) && (name == *long || name == long[..3] || name == long[..2]))
            };
            let wanted = DAYS.iter().position(fits)? as i64;
            let ahead = (wanted - datetime::day_of_week(ticks) + 6).rem_euclid(7) + 1;
            datetime::add(ticks, ahead * DAY * 10).map(micros)
        })
        .collect();
    Ok(days(&found))
}

/// `trunc(number)` is the engine's, `trunc(date, unit)` the dialect's.
fn trunc_type(types: &[DataType], _: &[Option<&datafusion::common::ScalarValue>]) -> Result<DataType> {
    let is_number = types[0].is_numeric();
    Ok(if is_number { DataType::Float64 } else { DataType::Date32 })
}

fn trunc(values: &[ArrayRef], ty: &DataType) -> Result<ArrayRef> {
    if *ty == DataType::Float64 {
        let numbers = super::udf::as_doubles(&values[0])?;
        let digits = values.get(1).map(as_longs).transpose()?;
        let found: Float64Array = (0..numbers.len())
            .map(|row| {
                let value = numbers.is_valid(row).then(|| numbers.value(row))?;
                let digits = match &digits {
                    Some(digits) if digits.is_null(row) => return None,
                    Some(digits) => i32::try_from(digits.value(row)).ok()?.clamp(-300, 300),
                    None => 0,
                };
                let scale = 10f64.powi(digits);
                Some(if scale.is_finite() { (value * scale).trunc() / scale } else { value })
            })
            .collect();
        return Ok(Arc::new(found));
    }
    let moments = as_moments(&values[0])?;
    let Some(units) = values.get(1) else { return exec_err!("trunc: a date needs a unit") };
    let units = as_texts(units)?;
    let found: TimestampMicrosecondArray = (0..moments.len())
        .map(|row| {
            let ticks = moments.is_valid(row).then(|| moments.value(row)).and_then(ticks)?;
            let civil = datetime::civil(ticks);
            let first = match at(&units, row)?.to_ascii_uppercase().as_str() {
                "YEAR" | "YYYY" | "YY" => datetime::from_date(civil.year, 1, 1)?,
                "QUARTER" => datetime::from_date(civil.year, (civil.month - 1) / 3 * 3 + 1, 1)?,
                "MONTH" | "MM" | "MON" => datetime::from_date(civil.year, civil.month, 1)?,
                "WEEK" => datetime::add(ticks, -((datetime::day_of_week(ticks) + 6) % 7) * DAY * 10)?,
                _ => return None,
            };
            Some((first - UNIX_EPOCH_TICKS).div_euclid(10))
        })
        .collect();
    Ok(days(&found))
}
