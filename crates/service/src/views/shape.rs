//! What a materialized view may look like, and how its aggregates are computed in parts.
//!
//! A view is `source | operators | summarize aggregates by keys`. Its materialized part keeps, per key, partial aggregates
//! that can be merged: sums for counts and sums, a sum and a count for averages, sketches for distinct counts and
//! percentiles, the row itself for `arg_max` and `take_any`. All of it is KQL text, so that one engine gives one meaning:
//! `prefix | partial` over new records, `merge` over partial rows of any age, `finals` over merged ones.
//! Source: materialized-view-create page, query parameter and supported aggregation functions.

use serde::{Deserialize, Serialize};
use tidewater_kql::ast::{Expr, ExprKind, Lambda, NamedExpr, OperatorKind, Pipeline, Script, StatementKind};
use tidewater_kql::lexer::{Lexer, TokenKind};
use tidewater_kql::printer;
use tidewater_kql::{KqlType, TableSchema};

use crate::error::{Error, Result};

/// The texts of a view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ViewPlan {
    /// `let` statements of the body, each ended by `;`.
    pub lets: String,
    /// The source and the operators before `summarize`.
    pub prefix: String,
    /// `summarize` of the view itself.
    pub whole: String,
    /// `summarize` of partial aggregates.
    pub partial: String,
    /// `summarize` of partial rows.
    pub merge: String,
    /// `project` of the view's columns.
    pub finals: String,
    /// The view's columns.
    pub schema: TableSchema,
    /// Whether the aggregates can be merged. If not, the view is computed of its source.
    pub mergeable: bool,
}

/// Operators that the query must not have. Source: materialized-view-create page.
fn forbidden(kind: &OperatorKind) -> Option<&'static str> {
    Some(match kind {
        OperatorKind::Sort { .. } => "sort",
        OperatorKind::TopNested(_) => "top-nested",
        OperatorKind::Top { .. } => "top",
        OperatorKind::Partition { .. } => "partition",
        OperatorKind::Serialize(_) => "serialize",
        OperatorKind::Summarize { .. } => "a second summarize",
        OperatorKind::Take { .. } => "take",
        OperatorKind::Sample { .. } => "sample",
        OperatorKind::SampleDistinct { .. } => "sample-distinct",
        OperatorKind::Distinct { .. } => "distinct",
        OperatorKind::Count { .. } => "count",
        OperatorKind::TopHitters { .. } => "top-hitters",
        OperatorKind::MakeSeries { .. } => "make-series",
        OperatorKind::Render { .. } => "render",
        OperatorKind::Fork(_) => "fork",
        OperatorKind::Facet { .. } => "facet",
        OperatorKind::Scan { .. } => "scan",
        _ => return None,
    })
}

/// Functions that make a view differ from run to run or look outside of its database.
const FORBIDDEN_CALLS: &[&str] = &[
    "now",
    "ago",
    "rand",
    "new_guid",
    "cluster",
    "database",
    "external_table",
    "externaldata",
    "external_data",
    "inline_external_table",
    "stored_query_result",
    "materialized_view",
    "cursor_after",
    "cursor_before_or_at",
    "cursor_current",
    "current_cursor",
    "current_principal",
];

fn refused(why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("the query of a materialized view is not valid: {why}"))
}

/// The last operator and what stands before it.
fn parts(body: &Lambda) -> Result<(&Pipeline, &[NamedExpr], &[NamedExpr])> {
    let Some(Expr { kind: ExprKind::Pipe(pipeline), .. }) = &body.body else {
        return Err(refused("it must end with 'summarize'"));
    };
    let Some((last, before)) = pipeline.operators.split_last() else {
        return Err(refused("it must end with 'summarize'"));
    };
    let OperatorKind::Summarize { aggregates, by, .. } = &last.kind else {
        return Err(refused("its last operator must be 'summarize'"));
    };
    let by = by.as_deref().unwrap_or_default();
    if by.is_empty() || aggregates.is_empty() {
        return Err(refused("'summarize' needs one or more aggregates and one or more group-by expressions"));
    }
    if let Some(operator) = before.iter().find_map(|operator| forbidden(&operator.kind)) {
        return Err(refused(format!("the operator '{operator}' is not supported")));
    }
    Ok((pipeline, aggregates, by))
}

/// Checks the form of a view's query. `text` is the text between the braces.
pub(crate) fn check(body: &Lambda, text: &str, source: &str) -> Result<()> {
    let (_, aggregates, _) = parts(body)?;
    for statement in &body.statements {
        if !matches!(statement.kind, StatementKind::Let { .. }) {
            return Err(refused("only 'let' statements may stand before its expression"));
        }
    }
    let tokens: Vec<_> = Lexer::new(text, 0).collect();
    let mut mentions = 0;
    for (at, token) in tokens.iter().enumerate() {
        let word = token.span.text(text);
        let quoted = || word.trim_matches(['"', '\'']) == source;
        let is_call = tokens.get(at + 1).is_some_and(|next| next.kind == TokenKind::OpenParen);
        match token.kind {
            TokenKind::Name if is_call && FORBIDDEN_CALLS.contains(&word) => {
                return Err(refused(format!("{word}() is not supported")));
            }
            TokenKind::Name if word == source && !is_call => mentions += 1,
            TokenKind::String if quoted() => mentions += 1,
            _ => {}
        }
    }
    if mentions == 0 {
        return Err(refused(format!("it must read its source '{source}'")));
    }
    if mentions > 1 {
        return Err(refused(format!("it may name its source '{source}' once only")));
    }
    aggregates.iter().try_for_each(|aggregate| Form::of(aggregate).map(drop))
}

/// How one aggregate is computed in parts.
enum Form {
    /// Partial and whole are one function's: `sum` of sums. The merging function.
    Same(&'static str),
    /// Counts: merged by `sum`.
    Count,
    /// The row of an extreme value, or any row: several columns.
    Rows(&'static str),
    /// A sum and a count. The condition of `avgif`.
    Average(Option<usize>),
    /// A sketch of distinct values; the partial function.
    Distinct(&'static str),
    /// A digest, and the percentiles to read from it.
    Percentiles,
    /// Cannot be merged.
    Whole,
}

impl Form {
    fn of(aggregate: &NamedExpr) -> Result<Form> {
        let ExprKind::Call { base: None, name, arguments } = &aggregate.value.kind else {
            return Err(refused("composite aggregations are not supported: give each aggregate a column of its own"));
        };
        let star = arguments.iter().any(|argument| matches!(argument.value.kind, ExprKind::Star));
        Ok(match name.text.as_str() {
            "count" | "countif" => Form::Count,
            "sum" | "sumif" => Form::Same("sum"),
            "min" => Form::Same("min"),
            "max" => Form::Same("max"),
            "avg" => Form::Average(None),
            "avgif" => Form::Average(Some(1)),
            "dcount" => Form::Distinct("hll"),
            "dcountif" => Form::Distinct("hll_if"),
            "hll" => Form::Same("hll_merge"),
            "tdigest" => Form::Same("tdigest_merge"),
            "make_bag" => Form::Same("make_bag"),
            "take_any" | "any" if !star && arguments.len() == 1 => Form::Same("take_any"),
            "take_anyif" | "anyif" => Form::Same("take_any"),
            "take_any" | "any" => Form::Rows("take_any"),
            "arg_max" => Form::Rows("arg_max"),
            "arg_min" => Form::Rows("arg_min"),
            "percentile" | "percentiles" => Form::Percentiles,
            "make_set" | "make_list" => Form::Whole,
            other => return Err(refused(format!("the aggregation '{other}' is not supported"))),
        })
    }
}

/// A name in brackets, whatever it is.
pub(crate) fn bracketed(name: &str) -> String {
    format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The texts of a view whose columns are `schema`.
pub(crate) fn plan(body: &Lambda, schema: &TableSchema) -> Result<ViewPlan> {
    let (pipeline, aggregates, by) = parts(body)?;
    let mut source = pipeline.clone();
    let summarize = source.operators.pop();
    let span = body.body_span;
    let whole = Pipeline { source: None, operators: summarize.into_iter().collect() };
    let whole = printer::print_expression(&Expr { kind: ExprKind::Pipe(Box::new(whole)), span });
    let prefix = match (&source.source, source.operators.is_empty()) {
        (Some(only), true) => printer::print_expression(only),
        _ => printer::print_expression(&Expr { kind: ExprKind::Pipe(Box::new(source)), span }),
    };
    let mut lets = printer::print(&Script { statements: body.statements.clone() });
    if !lets.trim().is_empty() && !lets.trim_end().ends_with(';') {
        lets.push(';');
    }
    let mut plan = ViewPlan { lets, prefix, whole, schema: schema.clone(), mergeable: true, ..ViewPlan::default() };
    let columns = &schema.columns;
    if columns.len() < by.len() {
        return Err(Error::internal("a view has fewer columns than keys"));
    }
    let (keys, outputs) = columns.split_at(by.len());
    let forms = aggregates.iter().map(Form::of).collect::<Result<Vec<_>>>()?;
    let width = |form: &Form, aggregate: &NamedExpr| -> Option<usize> {
        let ExprKind::Call { arguments, .. } = &aggregate.value.kind else { return Some(1) };
        let star = arguments.iter().any(|argument| matches!(argument.value.kind, ExprKind::Star));
        match form {
            Form::Rows(_) if star => None,
            Form::Rows(_) => Some(arguments.len()),
            Form::Percentiles => Some(arguments.len().saturating_sub(1)),
            _ => Some(1),
        }
    };
    let widths: Vec<Option<usize>> =
        forms.iter().zip(aggregates).map(|(form, aggregate)| width(form, aggregate)).collect();
    let known: usize = widths.iter().flatten().sum();
    if widths.iter().filter(|width| width.is_none()).count() > 1 {
        return Err(refused("only one aggregate may have '*'"));
    }
    let rest = outputs.len().checked_sub(known).ok_or_else(|| Error::internal("a view has too few columns"))?;
    let (mut partials, mut merges) = (Vec::new(), Vec::new());
    let mut finals: Vec<String> = keys.iter().map(|key| bracketed(&key.name)).collect();
    let mut at = 0;
    for ((form, aggregate), width) in forms.iter().zip(aggregates).zip(widths) {
        let width = width.unwrap_or(rest);
        let own = &outputs[at..at + width];
        at += width;
        let ExprKind::Call { name, arguments, .. } = &aggregate.value.kind else { continue };
        let text = |at: usize| arguments.get(at).map(|argument| printer::print_expression(&argument.value));
        let argument = |at: usize| text(at).ok_or_else(|| refused(format!("{}() misses an argument", name.text)));
        let whole = printer::print_expression(&aggregate.value);
        let Some(first) = own.first() else { continue };
        let column = bracketed(&first.name);
        match form {
            Form::Whole => plan.mergeable = false,
            Form::Count => {
                partials.push(format!("{column} = {whole}"));
                merges.push(format!("{column} = sum({column})"));
                finals.push(column);
            }
            Form::Same(merge) => {
                partials.push(format!("{column} = {whole}"));
                merges.push(format!("{column} = {merge}({column})"));
                finals.push(column);
            }
            Form::Rows(merge) => {
                // Named as it is in the view: its own columns then have the view's names.
                let named = match aggregate.names.as_slice() {
                    [] => whole,
                    [name] if !aggregate.tuple => format!("{} = {whole}", bracketed(&name.text)),
                    names => {
                        let names: Vec<String> = names.iter().map(|name| bracketed(&name.text)).collect();
                        format!("({}) = {whole}", names.join(", "))
                    }
                };
                partials.push(named);
                let names: Vec<String> = own.iter().map(|column| bracketed(&column.name)).collect();
                merges.push(format!("{merge}({})", names.join(", ")));
                finals.extend(names);
            }
            Form::Average(condition) => {
                let value = argument(0)?;
                let (sum, count) =
                    (bracketed(&format!("{}$sum", first.name)), bracketed(&format!("{}$count", first.name)));
                match condition {
                    None => {
                        partials.push(format!("{sum} = sum({value})"));
                        partials.push(format!("{count} = countif(isnotnull({value}))"));
                    }
                    Some(at) => {
                        let test = argument(*at)?;
                        partials.push(format!("{sum} = sumif({value}, {test})"));
                        partials.push(format!("{count} = countif(isnotnull({value}) and ({test}))"));
                    }
                }
                merges.push(format!("{sum} = sum({sum})"));
                merges.push(format!("{count} = sum({count})"));
                let average = match first.ty {
                    KqlType::TimeSpan | KqlType::DateTime => format!("{sum} / {count}"),
                    KqlType::Decimal => format!("todecimal({sum}) / todecimal({count})"),
                    _ => format!("toreal({sum}) / toreal({count})"),
                };
                let null = match first.ty {
                    KqlType::Real => "real(nan)".to_string(),
                    ty => format!("{}(null)", ty.name()),
                };
                finals.push(format!("{column} = iff({count} == 0, {null}, {average})"));
            }
            Form::Distinct(make) => {
                let sketch = bracketed(&format!("{}$hll", first.name));
                let mut inputs = vec![argument(0)?];
                let accuracy = if *make == "hll_if" { 2 } else { 1 };
                inputs.extend((1..=accuracy).filter_map(text));
                partials.push(format!("{sketch} = {make}({})", inputs.join(", ")));
                merges.push(format!("{sketch} = hll_merge({sketch})"));
                // A sketch of no values is null.
                finals.push(format!("{column} = coalesce(dcount_hll({sketch}), 0)"));
            }
            Form::Percentiles => {
                let digest = bracketed(&format!("{}$tdigest", first.name));
                partials.push(format!("{digest} = tdigest({})", argument(0)?));
                merges.push(format!("{digest} = tdigest_merge({digest})"));
                for (position, column) in own.iter().enumerate() {
                    finals.push(format!(
                        "{} = percentile_tdigest({digest}, {}, typeof({}))",
                        bracketed(&column.name),
                        argument(position + 1)?,
                        column.ty.name()
                    ));
                }
            }
        }
    }
    let own_keys: Vec<String> = by
        .iter()
        .zip(keys)
        .map(|(key, column)| match &key.value.kind {
            // `*` leaves out the keys that are columns as they stand.
            ExprKind::Name(name) if name.text == column.name => bracketed(&name.text),
            _ => format!("{} = {}", bracketed(&column.name), printer::print_expression(&key.value)),
        })
        .collect();
    let key_names: Vec<String> = keys.iter().map(|key| bracketed(&key.name)).collect();
    plan.partial = format!("summarize {} by {}", partials.join(", "), own_keys.join(", "));
    plan.merge = format!("summarize {} by {}", merges.join(", "), key_names.join(", "));
    plan.finals = format!("project {}", finals.join(", "));
    Ok(plan)
}
