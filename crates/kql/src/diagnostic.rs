//! A person's mistakes in a query: code, place, message and hints.
//!
//! The parser and the binder return every diagnostic they find. Codes are the service's
//! (`SYN0002`, `SEM0100`); messages follow its wording where clients match on it.

use crate::span::Span;

/// A mistake in a query text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The service's code, e.g. `SEM0100`.
    pub code: &'static str,
    /// Where.
    pub span: Span,
    /// What was found and what was expected.
    pub message: String,
    /// Ways out, e.g. names that are near.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic without hints.
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), hints: Vec::new() }
    }

    /// The same with one more hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a hint with the nearest of `names` to `wanted`, if one is near.
    pub fn hint_nearest<'a>(self, wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(wanted, names) {
            Some(name) => self.hint(format!("did you mean '{name}'?")),
            None => self,
        }
    }

    /// Whether the mistake is in the syntax (code `SYN...`) rather than in the meaning.
    pub fn is_syntax(&self) -> bool {
        self.code.starts_with("SYN")
    }

    /// Something that KQL has and this server does not serve yet.
    pub fn not_served(span: Span, what: impl std::fmt::Display) -> Self {
        Self::new(NOT_SERVED, span, format!("{what} is not served yet"))
    }
}

/// A syntax error.
pub const SYNTAX: &str = "SYN0002";
/// A name (column, table, variable) that nothing defines.
pub const UNRESOLVED: &str = "SEM0100";
/// A function that nothing defines.
pub const UNKNOWN_FUNCTION: &str = "SEM0260";
/// A wrong number of arguments.
pub const ARGUMENT_COUNT: &str = "SEM0219";
/// An argument of a type that the function does not take.
pub const ARGUMENT_TYPE: &str = "SEM0254";
/// An operator that is not defined for its operands' types.
pub const OPERAND_TYPE: &str = "SEM0064";
/// A semantic refusal without a code of its own.
pub const GENERAL: &str = "SEM0001";
/// An argument that must be a constant.
pub const NOT_CONSTANT: &str = "SEM0040";
/// An argument that must be one of a list of values.
pub const NOT_IN_LIST: &str = "SEM0235";
/// A column name used twice.
pub const DUPLICATE_COLUMN: &str = "SEM0034";
/// A `let` name used twice.
pub const DUPLICATE_LET: &str = "SEM0079";
/// A table where a scalar is expected.
pub const SCALAR_EXPECTED: &str = "SEM0085";
/// An aggregate function outside `summarize` and its like.
pub const AGGREGATE_MISPLACED: &str = "SEM0237";
/// Join key problems.
pub const JOIN_KEY: &str = "SEM0201";
/// A value of a row where none is: inside `toscalar()` and its like.
pub const ROW_SCOPE: &str = "CRT0018";
/// A value that the type of the parameter does not hold.
pub const PARAMETER_VALUE: &str = "SEM0025";
/// A documented feature that this server does not serve yet.
pub const NOT_SERVED: &str = "SEM0011";

/// The name with the smallest edit distance, when that is small against the length.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wanted.chars().count();
    let limit = (length / 3).clamp(1, 3);
    names
        .into_iter()
        // Cheap, and it keeps texts of any length from being compared.
        .filter(|name| name.chars().count().abs_diff(length) <= limit)
        .map(|name| (distance(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and exchanges of neighbours between two words.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows = [vec![0; right.len() + 1], (0..=right.len()).collect(), vec![0; right.len() + 1]];
    for i in 0..left.len() {
        let [before, above, row] = &mut rows;
        row[0] = i + 1;
        for j in 0..right.len() {
            let replaced = above[j] + usize::from(left[i] != right[j]);
            row[j + 1] = replaced.min(row[j] + 1).min(above[j + 1] + 1);
            if i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][right.len()]
}
