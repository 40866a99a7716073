//! `parse` and `parse-where`: columns cut out of a text by a pattern that is prepared once.
//!
//! Plain patterns are walked by substring search, which takes time linear in the text; patterns of
//! regular expressions are one expression. Captured texts are converted column by column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, StringViewBuilder};
use arrow::compute::{filter, nullif};
use arrow::datatypes::Field;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use regex::Regex;
use tidewater_functions::call::Call;
use tidewater_functions::convert;
use tidewater_kql::KqlType;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};
use crate::bound::{ParseMode, ParsePiece};

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 10 << 20;

/// The operator. Argument 0 is the text.
#[derive(Clone, Debug)]
pub struct Parse {
    pieces: Vec<ParsePiece>,
    mode: ParseMode,
    /// Name and type of each capture.
    captures: Vec<(String, KqlType)>,
    drop_unmatched: bool,
    matcher: Arc<Matcher>,
}

impl Parse {
    /// The operator of a pattern; `Err` says why a regular expression is refused. `names` are the captures' columns.
    pub fn try_new(
        pieces: &[ParsePiece],
        mode: &ParseMode,
        names: Vec<String>,
        drop_unmatched: bool,
    ) -> Result<Parse, String> {
        let types = pieces.iter().filter_map(|piece| match piece {
            ParsePiece::Capture(ty) => Some(*ty),
            _ => None,
        });
        let captures = names.into_iter().zip(types).collect();
        let matcher = match mode {
            ParseMode::Simple | ParseMode::Relaxed => Matcher::Plain(plain(pieces)),
            ParseMode::Regex { flags } => Matcher::Regex(regular(pieces, flags)?),
        };
        let matcher = Arc::new(matcher);
        Ok(Parse { pieces: pieces.to_vec(), mode: mode.clone(), captures, drop_unmatched, matcher })
    }
}

impl Stage for Parse {
    fn name(&self) -> &'static str {
        "Parse"
    }

    fn settings(&self) -> String {
        format!(
            "{:?} {:?} as {:?}{}",
            self.mode,
            self.pieces,
            self.captures,
            ["", " or drop"][self.drop_unmatched as usize]
        )
    }

    fn outputs(&self) -> Vec<Field> {
        self.captures.iter().map(|(name, ty)| ty.field(name)).collect()
    }

    fn scope(&self) -> Scope {
        Scope::Rows
    }

    fn commutes_with_filters(&self) -> bool {
        true
    }

    fn keeps_rows(&self) -> bool {
        !self.drop_unmatched
    }

    fn start(&self, _setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run { parse: self.clone(), ready: None }))
    }
}

struct Run {
    parse: Parse,
    ready: Option<Output>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let parse = &self.parse;
        let texts = input.args[0].as_string_view();
        let mut captured: Vec<StringViewBuilder> =
            parse.captures.iter().map(|_| StringViewBuilder::with_capacity(input.rows)).collect();
        let mut matched = BooleanBufferBuilder::new(input.rows);
        let mut found: Vec<&str> = Vec::new();
        for row in 0..input.rows {
            let text = if texts.is_null(row) { "" } else { texts.value(row) };
            found.clear();
            let is_match = parse.matcher.run(text, &mut found);
            matched.append(is_match);
            for (position, cells) in captured.iter_mut().enumerate() {
                cells.append_value(found.get(position).filter(|_| is_match).copied().unwrap_or(""));
            }
        }
        let mut matched = BooleanArray::new(matched.finish(), None);
        let texts: Vec<ArrayRef> = captured.iter_mut().map(|cells| Arc::new(cells.finish()) as ArrayRef).collect();
        let mut columns = Vec::with_capacity(texts.len());
        let mut failed: Option<BooleanArray> = None;
        for (text, (_, ty)) in texts.into_iter().zip(&parse.captures) {
            if *ty == KqlType::String {
                columns.push(text);
                continue;
            }
            let values = convert_text(&text, *ty)?;
            let is_null = arrow::compute::is_null(&values)?;
            failed = Some(match failed {
                None => is_null,
                Some(failed) => arrow::compute::or(&failed, &is_null)?,
            });
            columns.push(values);
        }
        // A failed conversion takes the whole row's captures with it, except in relaxed mode.
        if parse.mode != ParseMode::Relaxed
            && let Some(failed) = failed
        {
            for column in &mut columns {
                *column = nullif(column, &failed)?;
            }
            matched = arrow::compute::and_not(&matched, &failed)?;
        }
        let mut columns: Vec<ArrayRef> = input.kept.into_iter().chain(columns).collect();
        let mut rows = input.rows;
        if parse.drop_unmatched {
            rows = matched.true_count();
            for column in &mut columns {
                *column = filter(column, &matched)?;
            }
        }
        self.ready = Some(Output { columns, rows });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.take())
    }
}

/// A column of texts read as another type; null where a text is none of its values.
pub(super) fn convert_text(texts: &ArrayRef, ty: KqlType) -> Result<ArrayRef> {
    if ty == KqlType::String {
        return Ok(Arc::clone(texts));
    }
    let Some(kernel) = convert::kernel(KqlType::String, ty) else {
        return exec_err!("a text cannot be read as {ty}");
    };
    let args = [ColumnarValue::Array(Arc::clone(texts))];
    kernel(&Call { args: &args, types: &[KqlType::String], returns: ty, rows: texts.len() })?.into_array(texts.len())
}

#[derive(Debug)]
enum Matcher {
    Plain(Vec<Step>),
    Regex(Pattern),
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// The expression's group of each capture.
    groups: Vec<usize>,
}

/// A step of a plain pattern, from where the last one ended.
#[derive(Debug)]
enum Step {
    /// The text must stand here.
    Here(String),
    /// Everything up to the next place of the text, which is passed.
    Until { text: String, captures: bool },
    /// Like `Until`, and the text must be the end.
    UntilLast { text: String, captures: bool },
    /// Everything that is left.
    Rest { captures: bool },
    /// The longest piece from here that has the shape of a type.
    Shaped(Regex),
    /// Nothing may be left.
    End,
}

impl Matcher {
    /// Whether the text matches; then `found` has the captures.
    fn run<'a>(&self, text: &'a str, found: &mut Vec<&'a str>) -> bool {
        match self {
            Matcher::Plain(steps) => walk(steps, text, found),
            Matcher::Regex(pattern) => {
                let Some(groups) = pattern.regex.captures(text) else { return false };
                found.extend(pattern.groups.iter().map(|group| groups.get(*group).map_or("", |part| part.as_str())));
                true
            }
        }
    }
}

fn walk<'a>(steps: &[Step], text: &'a str, found: &mut Vec<&'a str>) -> bool {
    let mut rest = text;
    for step in steps {
        match step {
            Step::Here(literal) => match rest.strip_prefix(literal.as_str()) {
                Some(after) => rest = after,
                None => return false,
            },
            Step::Until { text: literal, captures } => {
                let Some(at) = rest.find(literal.as_str()) else { return false };
                if *captures {
                    found.push(&rest[..at]);
                }
                rest = &rest[at + literal.len()..];
            }
            Step::UntilLast { text: literal, captures } => {
                let Some(before) = rest.strip_suffix(literal.as_str()) else { return false };
                if *captures {
                    found.push(before);
                }
                rest = "";
            }
            Step::Rest { captures } => {
                if *captures {
                    found.push(rest);
                }
                rest = "";
            }
            Step::Shaped(shape) => {
                let length = shape.find(rest).map_or(0, |part| part.end());
                found.push(&rest[..length]);
                rest = &rest[length..];
            }
            Step::End => {
                if !rest.is_empty() {
                    return false;
                }
            }
        }
    }
    true
}

/// The steps of a plain pattern. Every gap may take any text, so that the first place of each literal is as good as a later one,
/// and only a literal at the end of the pattern is bound to the end of the text.
fn plain(pieces: &[ParsePiece]) -> Vec<Step> {
    let mut merged: Vec<ParsePiece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (Some(ParsePiece::Text(text)), ParsePiece::Text(more)) => text.push_str(more),
            (Some(ParsePiece::Skip), ParsePiece::Skip) => {}
            (_, ParsePiece::Text(text)) if text.is_empty() => {}
            _ => merged.push(piece.clone()),
        }
    }
    let mut steps = Vec::with_capacity(merged.len() + 1);
    let mut position = 0;
    while position < merged.len() {
        let is_last = |at: usize| at + 1 == merged.len();
        match (&merged[position], merged.get(position + 1)) {
            (ParsePiece::Text(text), _) => steps.push(Step::Here(text.clone())),
            (ParsePiece::Capture(ty), Some(ParsePiece::Skip | ParsePiece::Capture(_))) => {
                let shape = Regex::new(&format!("^(?:{})", shape(*ty))).expect("the shapes are valid expressions");
                steps.push(Step::Shaped(shape));
            }
            (gap, Some(ParsePiece::Text(text))) => {
                let (text, captures) = (text.clone(), matches!(gap, ParsePiece::Capture(_)));
                position += 1;
                steps.push(match is_last(position) {
                    true => Step::UntilLast { text, captures },
                    false => Step::Until { text, captures },
                });
            }
            (gap, _) => steps.push(Step::Rest { captures: matches!(gap, ParsePiece::Capture(_)) }),
        }
        position += 1;
    }
    steps.push(Step::End);
    steps
}

/// The longest text that a value of the type may have in the middle of other text.
fn shape(ty: KqlType) -> &'static str {
    match ty {
        KqlType::Int | KqlType::Long => r"[+-]?[0-9]+",
        KqlType::Real | KqlType::Decimal => r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?",
        KqlType::Bool => r"(?i:true|false)",
        KqlType::Guid => r"[0-9a-fA-F-]{32,36}",
        KqlType::TimeSpan => r"-?[0-9]+(?:\.[0-9]+)?(?::[0-9]+)+(?:\.[0-9]+)?|[0-9.]+[a-z]+",
        KqlType::DateTime => r"[0-9]+[-/.][0-9]+[-/.][0-9]+(?:[T ][0-9:.]+(?:Z|[+-][0-9:]+)?)?|[0-9]+",
        KqlType::String | KqlType::Dynamic => r"(?s:.*)",
    }
}

/// The whole pattern as one expression: from the start, not bound to the end, strings greedy. Source: kql-behaviour section 13.
fn regular(pieces: &[ParsePiece], flags: &str) -> Result<Pattern, String> {
    use std::fmt::Write;
    let mut source = String::from("^");
    if !flags.is_empty() {
        let _ = write!(source, "(?{flags})");
    }
    let mut names = 0;
    for piece in pieces {
        let _ = match piece {
            ParsePiece::Skip => write!(source, ".*?"),
            ParsePiece::Text(text) => write!(source, "{text}"),
            ParsePiece::Capture(ty) => {
                names += 1;
                let body = match ty {
                    KqlType::Int | KqlType::Long => r"[+-]?[0-9]+",
                    KqlType::Real | KqlType::Decimal => shape(KqlType::Real),
                    KqlType::Bool => "true|false",
                    _ => ".*",
                };
                write!(source, "(?P<capture_{}_>{body})", names - 1)
            }
        };
    }
    let regex =
        regex::RegexBuilder::new(&source).size_limit(PATTERN_BYTES).build().map_err(|error| error.to_string())?;
    let groups = (0..names)
        .map(|name| {
            let wanted = format!("capture_{name}_");
            regex.capture_names().position(|group| group == Some(wanted.as_str())).unwrap_or(0)
        })
        .collect();
    Ok(Pattern { regex, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(pieces: &[ParsePiece], text: &str) -> Option<Vec<String>> {
        let mut found = Vec::new();
        walk(&plain(pieces), text, &mut found).then(|| found.into_iter().map(str::to_string).collect())
    }

    fn text(text: &str) -> ParsePiece {
        ParsePiece::Text(text.to_string())
    }

    #[test]
    fn a_plain_pattern_is_bound_to_both_ends() {
        let string = ParsePiece::Capture(KqlType::String);
        assert_eq!(captures(&[text("a="), string.clone(), text(";")], "a=1;2;"), Some(vec!["1;2".to_string()]));
        assert_eq!(captures(&[text("a="), string.clone(), text(";")], "xa=1;"), None);
        assert_eq!(captures(&[ParsePiece::Skip, text("a="), string.clone()], "xa=1;"), Some(vec!["1;".to_string()]));
        assert_eq!(captures(&[text("a")], "ab"), None);
    }

    #[test]
    fn a_number_before_a_star_takes_its_digits_only() {
        let pieces = [
            text("n="),
            ParsePiece::Capture(KqlType::Long),
            ParsePiece::Skip,
            text("m="),
            ParsePiece::Capture(KqlType::Long),
        ];
        assert_eq!(captures(&pieces, "n=27, m=3"), Some(vec!["27".to_string(), "3".to_string()]));
    }

    #[test]
    fn groups_of_the_user_do_not_shift_captures() {
        let pieces = [text("(.*?)[a-z]*="), ParsePiece::Capture(KqlType::String), text(",.*")];
        let pattern = regular(&pieces, "").unwrap();
        let matcher = Matcher::Regex(pattern);
        let mut found = Vec::new();
        assert!(matcher.run("x (name=one, two", &mut found));
        assert_eq!(found, ["one"]);
    }
}
