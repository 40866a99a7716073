//! Rules for single arguments that signatures do not say: which must be constants, which are one word of a list, and
//! which calls are refused as a whole. Source: the reference parser, and each function's page.

use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Value};

/// Functions and the positions of their arguments that must be constants.
const CONSTANTS: &[(&str, &[usize])] = &[
    ("bag_set_key", &[1]),
    ("extract", &[0]),
    ("extract_all", &[0]),
    ("extract_json", &[0]),
    ("extractall", &[0]),
    ("extractjson", &[0]),
    ("format_bytes", &[1, 2]),
    ("format_datetime", &[1]),
    ("format_timespan", &[1]),
    ("indexof_regex", &[1]),
    ("replace", &[0, 1]),
    ("replace_regex", &[1, 2]),
    ("trim", &[0]),
    ("trim_end", &[0]),
    ("trim_start", &[0]),
];

const PARTS: &[&str] = &[
    "year",
    "quarter",
    "month",
    "week_of_year",
    "day",
    "dayofyear",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "nanosecond",
];

const PERIODS: &[&str] = &[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "nanosecond",
];

/// Functions, the position of an argument, and the words that it may be.
const WORDS: &[(&str, usize, &[&str])] = &[
    ("countof", 2, &["normal", "regex"]),
    ("datepart", 0, PARTS),
    ("datetime_add", 0, PERIODS),
    ("datetime_diff", 0, PERIODS),
    ("datetime_part", 0, PARTS),
];

/// Functions with forms so different that arguments which fit none of them are refused as a whole, at the name.
const WHOLE: &[&str] = &[
    "abs",
    "array_split",
    "avg",
    "avgif",
    "has_any_ipv4",
    "has_any_ipv4_prefix",
    "ipv4_is_in_any_range",
    "ipv6_is_in_any_range",
    "percentiles_array_tdigest",
    "series_add",
    "series_divide",
    "series_dot_product",
    "series_equals",
    "series_greater",
    "series_greater_equals",
    "series_less",
    "series_less_equals",
    "series_multiply",
    "series_not_equals",
    "series_pow",
    "series_subtract",
];

/// Whether arguments of wrong types are reported at the function's name rather than where they stand.
pub(crate) fn is_refused_whole(name: &str) -> bool {
    WHOLE.contains(&name)
}

impl Binder<'_> {
    /// Reports arguments that break a rule of their function.
    pub fn check_rules(&mut self, name: &str, args: &[(BExpr, Span)], span: Span) -> Bound<()> {
        let mut result = Ok(());
        let constants =
            CONSTANTS.iter().filter(|(function, _)| *function == name).flat_map(|(_, positions)| *positions);
        for position in constants {
            let Some((arg, place)) = args.get(*position) else { continue };
            if arg.any(|node| matches!(node.kind, BExprKind::Column(_))) {
                let message = format!("{name}(): argument {} must be a constant", position + 1);
                result = self.fail(diagnostic::NOT_CONSTANT, *place, message);
            }
        }
        for (_, position, words) in WORDS.iter().filter(|(function, ..)| *function == name) {
            let Some((BExpr { kind: BExprKind::Constant(Value::String(word)), .. }, place)) = args.get(*position)
            else {
                continue;
            };
            if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                let message = format!("{name}(): '{word}' is none of {}", words.join(", "));
                let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, *place, message);
                result = Err(self.report(diagnostic.hint_nearest(word, words.iter().copied())));
            }
        }
        let is_series_pair = is_refused_whole(name) && name.starts_with("series_");
        if is_series_pair && !args.iter().any(|(arg, _)| arg.ty == KqlType::Dynamic) {
            let message = format!("{name}() needs a dynamic array, but no argument is one");
            result = self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        }
        result
    }
}
