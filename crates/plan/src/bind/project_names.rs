//! `project-away`, `-keep`, `-rename`, `-reorder`, `-by-names`: operators over names and wildcards.

use std::cmp::Ordering;
use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, Name, NamedExpr};
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, ColumnId, Rel, Value};

/// Whether a name fits a pattern in which `*` stands for any text.
pub(crate) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

impl Binder<'_> {
    /// The columns that a name or wildcard means, in the input's order; none is a mistake.
    pub fn named_columns(&mut self, pattern: &Expr, input: &Rel) -> Bound<Vec<BoundColumn>> {
        match &pattern.kind {
            ExprKind::Star => Ok(input.columns.clone()),
            ExprKind::Wildcard(name) => {
                let found: Vec<BoundColumn> =
                    input.columns.iter().filter(|column| matches_pattern(&name.text, &column.name)).cloned().collect();
                if found.is_empty() {
                    let message = format!("'{}' does not refer to any known column", name.text);
                    return self.fail(diagnostic::UNRESOLVED, name.span, message);
                }
                Ok(found)
            }
            _ => Ok(vec![self.plain_column(pattern, &input.columns)?]),
        }
    }

    fn selected(&mut self, list: &[Expr], input: &Rel) -> Bound<Vec<BoundColumn>> {
        let mut found: Vec<BoundColumn> = Vec::new();
        let mut failed = false;
        for pattern in list {
            match self.named_columns(pattern, input) {
                Ok(columns) => {
                    for column in columns {
                        if !found.contains(&column) {
                            found.push(column);
                        }
                    }
                }
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(found) }
    }

    /// A projection to columns of the input under their own names.
    pub fn columns_only(&mut self, input: &Arc<Rel>, columns: &[BoundColumn], span: Span) -> Bound<Arc<Rel>> {
        let items = columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        self.project(input.clone(), items, span)
    }

    /// `project-away`.
    pub fn project_away(&mut self, input: &Arc<Rel>, list: &[Expr], span: Span) -> Bound<Arc<Rel>> {
        let away: Vec<ColumnId> = self.selected(list, input)?.iter().map(|column| column.id).collect();
        let kept: Vec<BoundColumn> =
            input.columns.iter().filter(|column| !away.contains(&column.id)).cloned().collect();
        self.columns_only(input, &kept, span)
    }

    /// `project-keep`: the input's order is kept.
    pub fn project_keep(&mut self, input: &Arc<Rel>, list: &[Expr], span: Span) -> Bound<Arc<Rel>> {
        let keep: Vec<ColumnId> = self.selected(list, input)?.iter().map(|column| column.id).collect();
        let kept: Vec<BoundColumn> = input.columns.iter().filter(|column| keep.contains(&column.id)).cloned().collect();
        self.columns_only(input, &kept, span)
    }

    /// `project-by-names`: in the order of the list.
    pub fn project_by_names(&mut self, input: &Arc<Rel>, list: &[Expr], span: Span) -> Bound<Arc<Rel>> {
        let mut found: Vec<BoundColumn> = Vec::new();
        for item in list {
            // A column by its bare name: the reference parser knows it there, and the page speaks of the name of the column.
            if let ExprKind::Name(name) = &item.kind
                && let Some(column) = input.column(&name.text)
            {
                if !found.contains(column) {
                    found.push(column.clone());
                }
                continue;
            }
            let bound = self.expr(item, &mut Row::none())?;
            let constant = self.constant(&bound, item.span, "a name in 'project-by-names'")?;
            let names: Vec<String> = match constant.value {
                Value::String(name) => vec![name],
                Value::Dynamic(text) => serde_json::from_str(&text).unwrap_or_default(),
                _ => {
                    let message = "'project-by-names' takes strings and dynamic arrays of strings";
                    return self.fail(diagnostic::ARGUMENT_TYPE, item.span, message);
                }
            };
            for pattern in names {
                let columns = input.columns.iter().filter(|column| matches_pattern(&pattern, &column.name));
                for column in columns {
                    if !found.contains(column) {
                        found.push(column.clone());
                    }
                }
            }
        }
        self.columns_only(input, &found, span)
    }

    /// `project-rename new = old`: positions stay; a new name must not exist already.
    pub fn project_rename(&mut self, input: &Arc<Rel>, list: &[NamedExpr], span: Span) -> Bound<Arc<Rel>> {
        let mut names: Vec<String> = input.columns.iter().map(|column| column.name.clone()).collect();
        let mut failed = false;
        for item in list {
            let [Name { text: new, span: new_span }] = item.names.as_slice() else {
                self.report(Diagnostic::new(
                    diagnostic::SYNTAX,
                    item.value.span,
                    "'project-rename' takes items of the form new = old",
                ));
                failed = true;
                continue;
            };
            let Ok(old) = self.plain_column(&item.value, &input.columns) else {
                failed = true;
                continue;
            };
            if names.contains(new) || input.column(new).is_some() {
                self.duplicate_column(new, *new_span);
                failed = true;
                continue;
            }
            let Some(position) = input.columns.iter().position(|column| column.id == old.id) else { continue };
            if names[position] != old.name {
                let message = format!("column '{}' is renamed twice", old.name);
                self.report(Diagnostic::new(diagnostic::DUPLICATE_COLUMN, item.value.span, message));
                failed = true;
                continue;
            }
            names[position].clone_from(new);
        }
        if failed {
            return Err(Stopped);
        }
        let items = names.into_iter().zip(&input.columns).map(|(name, column)| (name, BExpr::column(column))).collect();
        self.project(input.clone(), items, span)
    }

    /// `project-reorder`: the listed columns first, wildcards optionally sorted, the rest behind them.
    pub fn project_reorder(
        &mut self,
        input: &Arc<Rel>,
        list: &[(Expr, Option<String>)],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut order: Vec<BoundColumn> = Vec::new();
        let mut failed = false;
        for (position, (pattern, sorting)) in list.iter().enumerate() {
            let Ok(mut columns) = self.named_columns(pattern, input) else {
                failed = true;
                continue;
            };
            if let ExprKind::Name(name) = &pattern.kind {
                let earlier = list[..position].iter().any(|(other, _)| match &other.kind {
                    ExprKind::Name(other) => other.text == name.text,
                    _ => false,
                });
                if earlier {
                    self.duplicate_column(&name.text, name.span);
                    failed = true;
                }
            }
            if let Some(sorting) = sorting {
                let granny = sorting.starts_with("granny");
                let compare = |left: &BoundColumn, right: &BoundColumn| {
                    if granny { natural(&left.name, &right.name) } else { ignoring_case(&left.name, &right.name) }
                };
                let descending = sorting.ends_with("desc");
                columns.sort_by(|left, right| if descending { compare(right, left) } else { compare(left, right) });
            }
            for column in columns {
                if !order.contains(&column) {
                    order.push(column);
                }
            }
        }
        if failed {
            return Err(Stopped);
        }
        let rest: Vec<BoundColumn> = input.columns.iter().filter(|column| !order.contains(column)).cloned().collect();
        order.extend(rest);
        self.columns_only(input, &order, span)
    }
}

fn ignoring_case(left: &str, right: &str) -> Ordering {
    left.to_lowercase().cmp(&right.to_lowercase())
}

/// Runs of digits compare as numbers: `a2` before `a10`.
fn natural(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.to_lowercase(), right.to_lowercase());
    let (mut left, mut right) = (left.as_str(), right.as_str());
    loop {
        let (left_run, left_rest, left_digits) = run(left);
        let (right_run, right_rest, right_digits) = run(right);
        if left_run.is_empty() || right_run.is_empty() {
            return left_run.len().cmp(&right_run.len());
        }
        let order = if left_digits && right_digits {
            let (left_run, right_run) = (left_run.trim_start_matches('0'), right_run.trim_start_matches('0'));
            left_run.len().cmp(&right_run.len()).then_with(|| left_run.cmp(right_run))
        } else {
            left_run.cmp(right_run)
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The first run of digits or of other characters, the rest, and whether the run is of digits.
fn run(text: &str) -> (&str, &str, bool) {
    let is_digit = |c: char| c.is_ascii_digit();
    let digits = text.starts_with(is_digit);
    let end = text.find(|c| is_digit(c) != digits).unwrap_or(text.len());
    (&text[..end], &text[end..], digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("a*", "abc", true),
            ("a*", "bac", false),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*b*", "abc", true),
            ("*", "", true),
            ("*x*y", "axbyc", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn granny_order_compares_numbers_by_value() {
        let mut names = vec!["a10", "a2", "a2b", "a2a10", "a2a9"];
        names.sort_by(|left, right| natural(left, right));
        assert_eq!(names, ["a2", "a2a9", "a2a10", "a2b", "a10"]);
    }
}
