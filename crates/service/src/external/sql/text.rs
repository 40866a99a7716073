//! The text of a query: `@name` becomes the placeholder of the other side.

use serde_json::Value as Json;
use tidewater_kql::value::datetime;

/// The query with placeholders, and which parameter each one stands for.
///
/// Quoted texts, quoted names, `$tag$ ... $tag$` and comments stay as they are.
pub(super) fn with_placeholders(
    query: &str,
    parameters: &[(String, Json)],
    mut placeholder: impl FnMut(usize) -> String,
    has_dollar_quotes: bool,
) -> (String, Vec<usize>) {
    let bytes = query.as_bytes();
    let (mut out, mut order) = (String::with_capacity(query.len()), Vec::new());
    let (mut from, mut at) = (0, 0);
    let until =
        |start: usize, end: &str| query[start..].find(end).map_or(query.len(), |found| start + found + end.len());
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match bytes[at] {
            quote @ (b'\'' | b'"' | b'`') => {
                at += 1;
                // A doubled quote ends a text and begins the next one.
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' && !has_dollar_quotes { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' if next == Some(b'-') => at = until(at, "\n"),
            b'#' if !has_dollar_quotes => at = until(at, "\n"),
            b'/' if next == Some(b'*') => at = until(at + 2, "*/"),
            b'$' if has_dollar_quotes => {
                let tag =
                    bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                let end = at + 1 + tag;
                let is_tag = bytes.get(end) == Some(&b'$') && !bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
                at = if is_tag { until(end + 1, &query[at..=end]) } else { at + 1 };
            }
            b'@' if next == Some(b'@') => at += 2,
            b'@' => {
                let length =
                    bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                let name = &query[at + 1..at + 1 + length];
                let known = parameters
                    .iter()
                    .position(|(known, _)| known.strip_prefix('@').unwrap_or(known).eq_ignore_ascii_case(name));
                if let Some(known) = known.filter(|_| length > 0) {
                    out.push_str(&query[from..at]);
                    out.push_str(&placeholder(known));
                    order.push(known);
                    from = at + 1 + length;
                }
                at += 1 + length;
            }
            _ => at += 1,
        }
    }
    out.push_str(&query[from.min(query.len())..]);
    (out, order)
}

/// The ticks of a text that is a datetime as dynamic values hold it, with all seven digits.
pub(super) fn moment(text: &str) -> Option<i64> {
    let is_written = text.len() == 28 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    datetime::parse(text).filter(|ticks| is_written && datetime::to_text(*ticks) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(query: &str) -> (String, Vec<usize>) {
        let parameters = [("p".to_string(), Json::from(1)), ("@q".to_string(), Json::from(2))];
        with_placeholders(query, &parameters, |at| format!("${}", at + 1), true)
    }

    #[test]
    fn parameters_become_placeholders_outside_of_texts_and_comments() {
        assert_eq!(numbered("select @p, @Q, @p"), ("select $1, $2, $1".into(), vec![0, 1, 0]));
        for text in ["'@p'", "\"@p\"", "-- @p", "/* @p */", "$$ @p $$", "$a$ @p $b$ $a$", "@@p", "@other", "@", "'@p"] {
            assert_eq!(numbered(text), (text.to_string(), vec![]), "{text}");
        }
        assert_eq!(numbered("'it''s @p' @p é").0, "'it''s @p' $1 é");
        assert_eq!(numbered("a $1 @p").0, "a $1 $1");
    }

    #[test]
    fn only_texts_in_the_form_of_dynamic_values_are_moments() {
        assert!(moment("2020-01-01T16:47:26.7423305Z").is_some());
        assert!(moment("2020-01-01").is_none());
        assert!(moment("2020-01-01T16:47:26.74233055").is_none());
    }
}
