//! `$name` placeholders in SQL. Source: query-service-api section 6.
//!
//! One pass over the text; a value that was put in is never scanned again. A bare value must be one
//! token, a value inside quotes has them doubled, comments are left alone: no value can change what
//! the statement does.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Puts the values of `parameters` (keys with or without `$`) into `sql`.
pub(super) fn substitute(sql: &str, parameters: &Map<String, Value>) -> Result<String> {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    let mut quote: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let width = c.len_utf8();
        match (quote, c) {
            (None, '-') if rest.starts_with("--") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                copy(&mut out, &mut rest, end);
            }
            (None, '/') if rest.starts_with("/*") => {
                let end = rest[2..].find("*/").map_or(rest.len(), |at| at + 4);
                copy(&mut out, &mut rest, end);
            }
            (None, '\'' | '"' | '`') => {
                quote = Some(c);
                copy(&mut out, &mut rest, width);
            }
            (Some(open), c) if c == open => {
                quote = None;
                copy(&mut out, &mut rest, width);
            }
            (_, '$') => {
                let name = name_after(&rest[1..]);
                match name {
                    "" => {
                        // `$$` and `$1` are not ours; the second `$` must not be taken for a new start.
                        let skip = if rest[1..].starts_with('$') { 2 } else { 1 };
                        copy(&mut out, &mut rest, skip);
                    }
                    name => {
                        out.push_str(&text_of(name, parameters, quote)?);
                        rest = &rest[1 + name.len()..];
                    }
                }
            }
            _ => copy(&mut out, &mut rest, width),
        }
    }
    Ok(out)
}

fn copy(out: &mut String, rest: &mut &str, bytes: usize) {
    out.push_str(&rest[..bytes]);
    *rest = &rest[bytes..];
}

/// The longest `[A-Za-z_][A-Za-z0-9_]*` at the start.
fn name_after(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn text_of(name: &str, parameters: &Map<String, Value>, quote: Option<char>) -> Result<String> {
    let value = parameters
        .get(name)
        .or_else(|| parameters.get(&format!("${name}")))
        .ok_or_else(|| Error::bad_request(format!("the placeholder '${name}' has no value in queryParameters")))?;
    let refused = |why: &str| Err(Error::bad_request(format!("the value of the parameter '{name}' {why}")));
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null if quote.is_none() => return Ok("NULL".to_string()),
        Value::Null => return refused("is null, which has no form inside quotes"),
        Value::Array(_) | Value::Object(_) => {
            return refused("is an array or object; expected a text, number, boolean or null");
        }
    };
    match quote {
        Some(quote) => Ok(text.replace(quote, &format!("{quote}{quote}"))),
        None if is_one_token(&text) => Ok(text),
        None => refused("must be one number, name or quoted text where it stands outside of quotes"),
    }
}

/// A number, a dotted name, one quoted text, or NULL, TRUE, FALSE (which are names here).
fn is_one_token(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    if text.split('.').all(is_name) {
        return true;
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    if number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E'))
        && number.parse::<f64>().is_ok()
    {
        return true;
    }
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"' | '`')) else { return false };
    match text[1..].strip_suffix(quote) {
        Some(inner) => !inner.replace(&format!("{quote}{quote}"), "").contains(quote) && !inner.contains('\\'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(sql: &str, json: &str) -> Result<String> {
        substitute(sql, &serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_value_is_put_in_where_the_longest_name_stands() {
        assert_eq!(with("SELECT $key FROM $key1", r#"{"key":"a","key1":"t"}"#).unwrap(), "SELECT a FROM t");
        assert_eq!(with("x > $n", r#"{"$n":5}"#).unwrap(), "x > 5");
        assert_eq!(with("$db.s.t", r#"{"db":"d"}"#).unwrap(), "d.s.t");
    }

    #[test]
    fn no_value_can_leave_its_place() {
        assert_eq!(with("u='$u'", r#"{"u":"x' OR '1'='1"}"#).unwrap(), "u='x'' OR ''1''=''1'");
        assert!(with("u=$u", r#"{"u":"1; DROP TABLE t"}"#).is_err());
        assert!(with("u=$u", r#"{"u":"'a' || 'b'"}"#).is_err());
        assert!(with("u=$u", r#"{"u":"1--"}"#).is_err());
        assert_eq!(with("$a", r#"{"a":"'$b'","b":"c"}"#).unwrap(), "'$b'");
    }

    #[test]
    fn other_dollars_and_comments_stay() {
        assert_eq!(with("$1 $$ -- $x\n /* $x */", "{}").unwrap(), "$1 $$ -- $x\n /* $x */");
        assert!(with("$x", "{}").unwrap_err().message().contains("'$x'"));
        assert_eq!(with("$x", r#"{"x":null}"#).unwrap(), "NULL");
        assert!(with("'$x'", r#"{"x":null}"#).is_err());
        assert!(with("$x", r#"{"x":[1]}"#).is_err());
    }
}
