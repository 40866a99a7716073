//! The `property` filters and the `start` times of lists. Source: query-service-api sections 8 and 9.

use tidewater_service::jobs::Filter;

use super::problem::Problem;

/// Ids in a filter by datasets.
const MAX_DATASETS: usize = 10;
const OPERATORS: [&str; 7] = [">=", "<=", "==", "!=", ">", "<", "~"];
/// What fields the lists can be filtered by. Source: query-service-api sections 9, 14 and 15.
pub(super) mod fields {
    /// A field and the operators that it takes.
    pub(in crate::queries) type Field = (&'static str, &'static [&'static str]);

    const ALL: &[&str] = &super::OPERATORS;
    const EQUAL: &[&str] = &["=="];
    const CONTAINS: &[&str] = &["~"];

    pub(in crate::queries) const QUERIES: &[Field] = &[
        ("created", ALL),
        ("updated", ALL),
        ("state", ALL),
        ("id", ALL),
        ("referenced_datasets", EQUAL),
        ("userId", EQUAL),
        ("templateId", EQUAL),
        ("client", EQUAL),
        ("scheduleId", EQUAL),
        ("scheduleRunId", EQUAL),
        ("sql", CONTAINS),
        ("SQL", CONTAINS),
        ("templateName", CONTAINS),
    ];
    const TIMES: &[&str] = &[">", "<", ">=", "<="];
    pub(in crate::queries) const SCHEDULES: &[Field] = &[("created", TIMES), ("templateId", EQUAL), ("userId", EQUAL)];
    pub(in crate::queries) const RUNS: &[Field] =
        &[("created", TIMES), ("state", &["==", "!="]), ("externalTrigger", EQUAL)];
    pub(in crate::queries) const TEMPLATES: &[Field] =
        &[("name", &["~", "=="]), ("userId", EQUAL), ("lastUpdatedBy", EQUAL)];
}

/// Reads `field op value{,field op value}`; `\,` is a comma inside a value.
pub(super) fn filters(text: &str, fields: &[fields::Field]) -> Result<Vec<Filter>, Problem> {
    let text = text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                parts.last_mut().expect("never empty").push(',');
            }
            ',' => parts.push(String::new()),
            c => parts.last_mut().expect("never empty").push(c),
        }
    }
    parts.iter().map(|part| filter(part, fields)).collect()
}

fn filter(text: &str, fields: &[fields::Field]) -> Result<Filter, Problem> {
    let refused = |why: &str| Problem::bad(format!("property: the filter '{text}' {why}"));
    let field_end = text.find(|c: char| "><=!~".contains(c)).ok_or_else(|| refused("has no operator"))?;
    let field = text[..field_end].trim();
    let rest = &text[field_end..];
    let (op, value) = match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
        Some(op) => (*op, &rest[op.len()..]),
        // Examples print a single equals sign.
        None if rest.starts_with('=') => ("==", &rest[1..]),
        None => return Err(refused("has no known operator")),
    };
    let value = if op == "~" { value.to_string() } else { value.trim().to_string() };
    let Some((_, operators)) = fields.iter().find(|(known, _)| *known == field) else {
        return Err(refused("names an unknown field"));
    };
    if !operators.contains(&op) {
        return Err(refused("has an operator that the field does not take"));
    }
    if value.is_empty() {
        return Err(refused("has no value"));
    }
    if field == "referenced_datasets" && value.split("||").count() > MAX_DATASETS {
        return Err(refused(&format!("names more than {MAX_DATASETS} datasets")));
    }
    let instant = match field {
        "created" | "updated" if op != "~" => {
            Some(instant(&value).map(|(first, _)| first).ok_or_else(|| refused("has no readable time"))?)
        }
        _ => None,
    };
    Ok(Filter { field: field.to_string(), op: op.to_string(), value, instant })
}

/// Refuses a second filter on what may be asked for once.
pub(super) fn once(filters: &[Filter]) -> Result<(), Problem> {
    for field in ["sql", "templateName"] {
        if filters.iter().filter(|filter| filter.field.eq_ignore_ascii_case(field)).count() > 1 {
            return Err(Problem::bad(format!("property: '{field}' can be asked for once")));
        }
    }
    Ok(())
}

/// Reads a date or date-time as the first and last microsecond it stands for: a whole millisecond
/// with up to three fraction digits, itself with more. No zone is UTC.
pub(super) fn instant(text: &str) -> Option<(i64, i64)> {
    let text = text.trim();
    let (date, rest) = match text.split_once(['T', 't']) {
        Some((date, rest)) => (date, rest),
        None => (text, "00:00:00"),
    };
    let date = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let (clock, offset_minutes) = match rest.char_indices().find(|(_, c)| "Zz+- ".contains(*c)) {
        None => (rest, 0),
        Some((at, 'Z' | 'z')) => (&rest[..at], 0),
        Some((at, sign)) => {
            // An unescaped plus arrives as a blank.
            let (hours, minutes) = rest[at + 1..].split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            (&rest[..at], if sign == '-' { -minutes } else { minutes })
        }
    };
    let format = if clock.matches(':').count() == 1 { "%H:%M" } else { "%H:%M:%S%.f" };
    let time = chrono::NaiveTime::parse_from_str(clock, format).ok()?;
    let micros = date.and_time(time).and_utc().timestamp_micros() - offset_minutes * 60_000_000;
    let digits = clock.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    Some(if digits <= 3 { (micros, micros + 999) } else { (micros, micros) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters_of(text: &str) -> Result<Vec<Filter>, Problem> {
        filters(text, fields::QUERIES)
    }

    #[test]
    fn filters_are_cut_at_commas_and_first_operators() {
        let found = filters_of("created>2020-01-01T00:00:00Z,state==SUCCESS,sql~a=b\\,c").unwrap();
        let short: Vec<_> = found.iter().map(|f| (f.field.as_str(), f.op.as_str(), f.value.as_str())).collect();
        assert_eq!(
            short,
            [("created", ">", "2020-01-01T00:00:00Z"), ("state", "==", "SUCCESS"), ("sql", "~", "a=b,c")]
        );
        assert_eq!(filters_of("userId=x").unwrap()[0].op, "==");
        assert_eq!(filters_of("created&gt;=2020-01-01").unwrap()[0].op, ">=");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "state", "state==", "nope==1", "userId>1", "sql==x", "created>yesterday", "state=="] {
            assert!(filters_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_with_few_digits_stand_for_their_millisecond() {
        let day = 1_599_436_800_000_000;
        assert_eq!(instant("2020-09-07"), Some((day, day + 999)));
        assert_eq!(instant("2020-09-07T00:00:00.000Z"), Some((day, day + 999)));
        assert_eq!(instant("2020-09-07T00:00:00.000001Z"), Some((day + 1, day + 1)));
        assert_eq!(instant("2020-09-06T19:00:00-05:00"), Some((day, day + 999)));
        assert_eq!(instant("2020-09-07T05:00:00 05:00"), Some((day, day + 999)));
        assert_eq!(instant("5"), None);
    }
}
