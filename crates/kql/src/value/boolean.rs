//! bool: `tobool` rules.

use super::integer;

/// Reads `true` and `false` in any case, or an integer (anything but zero is true). Blanks around the
/// words spoil them; blanks around a number do not. Source: kql-behaviour section 6, recorded answers.
pub fn parse(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    if text.eq_ignore_ascii_case("false") {
        return Some(false);
    }
    integer::parse_long(text).map(|value| value != 0)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn words_in_any_case_and_integers_are_read() {
        for (text, value) in [("true", true), ("tRuE", true), ("FALSE", false), ("1", true), ("0", false), ("-1", true)]
        {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in ["yes", "", "1.0", " true", "true ", "t"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
