//! `$name` placeholders in SQL. Source: query-service-api section 6.
//!
//! One pass over the text; a value that was put in is never scanned again. A bare value must be one
//! token, a value inside quotes has them doubled, comments are left alone. That is how values are put in; that none of
//! them changed what the statement does is then looked at where it counts, in the tokens that the parser will see: they
//! are those of the same text with harmless values, but for the ones that hold a value.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Puts the values of `parameters` (keys with or without `$`) into `sql`.
pub(super) fn substitute(sql: &str, parameters: &Map<String, Value>) -> Result<String> {
    let found = fill(sql, &mut |name, quote| text_of(name, parameters, quote))?;
    if found != sql {
        let stand_in = |one| fill(sql, &mut |name, quote| Ok(harmless(&text_of(name, parameters, quote)?, quote, one)));
        check(&found, &stand_in(HARMLESS[0])?, &stand_in(HARMLESS[1])?)?;
    }
    Ok(found)
}

/// Puts what `value` gives for a name and the quotes around it into the text.
fn fill(sql: &str, value: &mut dyn FnMut(&str, Option<char>) -> Result<String>) -> Result<String> {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    let mut quote: Option<char> = None;
    let mut has_escapes = false;
    while let Some(c) = rest.chars().next() {
        let width = c.len_utf8();
        match (quote, c) {
            (None, '-') if rest.starts_with("--") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                copy(&mut out, &mut rest, end);
            }
            (None, '/') if rest.starts_with("/*") => {
                let end = comment_end(rest);
                copy(&mut out, &mut rest, end);
            }
            (None, '\'' | '"' | '`') => {
                quote = Some(c);
                has_escapes = c == '\'' && ends_with_word_e(&out);
                copy(&mut out, &mut rest, width);
            }
            // E'it\'s'
            (Some(_), '\\') if has_escapes => {
                let next = rest[width..].chars().next().map_or(0, char::len_utf8);
                copy(&mut out, &mut rest, width + next);
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
                        let text = value(name, quote)?;
                        // `-$n` with -1 must not begin a comment.
                        if quote.is_none() && text.starts_with('-') && out.ends_with(|c| OPERATORS.contains(c)) {
                            out.push(' ');
                        }
                        rest = &rest[1 + name.len()..];
                        let is_joined = |c: char| c.is_alphanumeric() || "_@#$&".contains(c) || QUOTES.contains(c);
                        let joins = out.ends_with(is_joined) || rest.starts_with(|c| QUOTES.contains(c));
                        if quote.is_none() && text.starts_with(|c| QUOTES.contains(c)) && joins {
                            let why = "is a quoted text, which must not touch other text";
                            return Err(Error::bad_request(format!("the value of the parameter '{name}' {why}")));
                        }
                        out.push_str(&text);
                    }
                }
            }
            _ => copy(&mut out, &mut rest, width),
        }
    }
    Ok(out)
}

/// What quoted texts and names begin and end with.
const QUOTES: &str = "'\"`";
/// What an operator can be made of.
const OPERATORS: &str = "-+*/<>=!~@#%^&|?:";

/// What stands for a value in the text that its tokens are compared with: two, so that the tokens that hold one differ.
const HARMLESS: [char; 2] = ['y', 'z'];

/// A harmless value of the form of this one.
fn harmless(text: &str, quote: Option<char>, one: char) -> String {
    let digit = if one == HARMLESS[0] { '1' } else { '2' };
    let first = text.chars().next();
    match (quote, first) {
        (Some(_), _) => format!("{one}{one}"),
        (None, Some('-')) => format!("-{digit}"),
        (None, Some(c)) if c.is_ascii_digit() => digit.to_string(),
        (None, Some(c @ ('\'' | '"' | '`'))) => format!("{c}{one}{one}{c}"),
        (None, _) => text.split('.').map(|_| format!("{one}{one}")).collect::<Vec<_>>().join("."),
    }
}

/// Refuses a text whose tokens are others than those of both harmless texts, the ones that hold a value apart.
fn check(found: &str, one: &str, other: &str) -> Result<()> {
    let changed = || Error::bad_request("the values in queryParameters would change what the statement does");
    if blocks(found) != blocks(one) {
        return Err(changed());
    }
    let one = tokens(one).map_err(Error::bad_request)?;
    let other = tokens(other).map_err(Error::bad_request)?;
    let found = tokens(found).map_err(|_| changed())?;
    if one.len() != other.len() || found.len() != one.len() {
        return Err(changed());
    }
    for ((found, one), other) in found.iter().zip(&one).zip(&other) {
        if one == other {
            if found != one {
                return Err(changed());
            }
            continue;
        }
        match (found, one, other) {
            // The statements of a block.
            (Token::DollarQuotedString(found), Token::DollarQuotedString(one), Token::DollarQuotedString(other)) => {
                if (&found.tag, &one.tag) != (&other.tag, &other.tag) {
                    return Err(changed());
                }
                check(&found.value, &one.value, &other.value)?;
            }
            (Token::Word(found), Token::Word(one), _) if found.quote_style == one.quote_style => {}
            (Token::Word(_), _, _) | (_, Token::Word(_), _) => return Err(changed()),
            _ if std::mem::discriminant(found) == std::mem::discriminant(one) => {}
            _ => return Err(changed()),
        }
    }
    Ok(())
}

/// The text as the parser will see it; texts as they are written.
fn tokens(text: &str) -> std::result::Result<Vec<Token>, String> {
    Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize().map_err(|error| error.to_string())
}

/// How many blocks begin, wherever that stands.
fn blocks(text: &str) -> usize {
    let begins = |after: &str| after.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("begin"));
    text.match_indices("$$").filter(|(at, _)| begins(&text[at + 2..])).count()
}

/// Where a comment ends that begins here; comments stand in comments.
fn comment_end(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Whether the text so far ends with the word `E`, which makes a text with backslashes of the quote that follows.
fn ends_with_word_e(text: &str) -> bool {
    let mut last = text.chars().rev();
    matches!(last.next(), Some('e' | 'E')) && !last.next().is_some_and(|c| c.is_alphanumeric() || c == '_')
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
        None if is_reserved(&text) => {
            refused("is a word of the language; a column or table of that name stands in double quotes")
        }
        None if is_one_token(&text) => Ok(text),
        None => refused("must be one number, name or quoted text where it stands outside of quotes"),
    }
}

/// A word that would be part of the statement's structure rather than a name in it.
fn is_reserved(text: &str) -> bool {
    use Keyword::*;
    const OTHERS: &[Keyword] = &[
        ALL, AND, ANY, AS, BETWEEN, BY, CASE, CAST, COLLATE, CREATE, DELETE, DISTINCT, DROP, ELSE, ESCAPE, EXISTS,
        ILIKE, IN, INSERT, INTERVAL, IS, LIKE, NOT, OR, OVER, OVERLAPS, RLIKE, SIMILAR, SOME, THEN, UPDATE, WHEN,
    ];
    let Token::Word(word) = Token::make_word(text, None) else { return false };
    // Names in daily use that are reserved after a table only.
    let is_name =
        matches!(word.keyword, FORMAT | SAMPLE | START | OPEN | OUTPUT | SETTINGS | GLOBAL | VIEW | PARTITION);
    [OTHERS, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS].iter().any(|all| all.contains(&word.keyword))
        && !is_name
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
mod fuzz;

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
        assert_eq!(with("a -$n AND b", r#"{"n":-5}"#).unwrap(), "a - -5 AND b");
        assert_eq!(with("'$u'", r#"{"u":"'"}"#).unwrap(), "''''");
        assert!(with("E'$u'", r#"{"u":"\\' OR 1=1 --"}"#).is_err(), "a backslash takes the quote's meaning");
        assert_eq!(with("E'\\'$u'", r#"{"u":"x"}"#).unwrap(), "E'\\'x'");
        assert!(with("$u'a'", r#"{"u":"E"}"#).is_err(), "a prefix makes another text of it");
        assert!(with("$u'b'", r#"{"u":"'a'"}"#).is_err(), "two texts become one");
        assert!(with("x = $u", r#"{"u":"DISTINCT"}"#).is_err());
        assert!(with("ORDER BY x $u", r#"{"u":"desc"}"#).is_ok());
        assert!(with("$$ BEGIN SELECT '$u'; END $$", r#"{"u":"x"}"#).is_ok());
        assert!(with("$$ BEGIN SELECT '$u'; END $$", r#"{"u":"$$; DROP TABLE t; $$"}"#).is_err());
        assert_eq!(with("$a", r#"{"a":"'$b'","b":"c"}"#).unwrap(), "'$b'");
    }

    #[test]
    fn other_dollars_and_comments_stay() {
        assert_eq!(with("$1 $$ -- $x\n /* $x */", "{}").unwrap(), "$1 $$ -- $x\n /* $x */");
        assert_eq!(with("/* /* */ $x */ 1", "{}").unwrap(), "/* /* */ $x */ 1");
        assert!(with("$x", "{}").unwrap_err().message().contains("'$x'"));
        assert_eq!(with("$x", r#"{"x":null}"#).unwrap(), "NULL");
        assert!(with("'$x'", r#"{"x":null}"#).is_err());
        assert!(with("$x", r#"{"x":[1]}"#).is_err());
    }
}
