//! `set`, and what request options change while a query is bound. Source: set-statement, request-properties pages.

use std::sync::Arc;

use serde_json::Value as Json;
use tidewater_functions::find_scalar;
use tidewater_kql::ast::{Argument, BinaryOp, Expr, ExprKind, Literal, Name};
use tidewater_kql::value::{datetime, decimal::Decimal, guid, timespan};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, Constant, Rel, RelOp, Value};
use crate::options::{Effect, Open, OptionRow, OptionType, datetime_of, find, literal_of, long_of};

impl Binder<'_> {
    /// `set name [= value]`: checked, and kept for the statements that follow; a bare name is true.
    pub fn set_statement(&mut self, name: &Name, value: Option<&Expr>) -> Bound<()> {
        let given = match value {
            None => Some((Json::Bool(true), KqlType::Bool)),
            Some(value) => self.option_value(name, value)?,
        };
        // As with the service, names that nobody knows mean nothing.
        let Some(row) = find(&name.text) else { return Ok(()) };
        let Some((given, ty)) = given else {
            self.options.remove(row.name);
            return Ok(());
        };
        let span = value.map_or(name.span, |value| value.span);
        if !takes(row.ty, ty) {
            // A bare name of an option that is no flag says nothing.
            if value.is_none() {
                return Ok(());
            }
            let message = format!("option '{}' must have the type {}, but this is {ty}", row.name, row.ty.text());
            return self.fail(diagnostic::PARAMETER_VALUE, span, message);
        }
        let checked = match row.checked(&given) {
            Ok(checked) => checked,
            Err(must) => {
                let message = format!("option '{}' {must}", row.name);
                return self.fail(diagnostic::PARAMETER_VALUE, span, message);
            }
        };
        let Some(checked) = checked else {
            self.options.remove(row.name);
            return Ok(());
        };
        self.refused_option(row, &checked, name.span)?;
        if row.by_set {
            self.options.insert(row.name.to_string(), checked);
        }
        Ok(())
    }

    fn refused_option(&mut self, row: &OptionRow, value: &Json, span: Span) -> Bound<()> {
        if row.effect == Effect::Refused && row.is_refused(value) {
            return self.not_served(span, format!("option '{}' ({})", row.name, row.what));
        }
        Ok(())
    }

    /// A literal, or a name that stands for a constant; `None` for a null.
    fn option_value(&mut self, option: &Name, value: &Expr) -> Bound<Option<(Json, KqlType)>> {
        let constant = match &value.kind {
            ExprKind::Literal(literal) => self.literal_constant(literal, value.span)?,
            ExprKind::Name(name) => match self.lookup(&name.text) {
                Some(Binding::Scalar(expr)) => {
                    self.constant(&expr, value.span, &format!("the value of option '{}'", option.text))?
                }
                Some(Binding::Failed) => return Err(crate::bind::Stopped),
                _ => {
                    let is_word = find(&option.text).is_some_and(|row| match row.ty {
                        OptionType::Word(words) => words.contains(&name.text.to_ascii_lowercase().as_str()),
                        _ => false,
                    });
                    if is_word {
                        return Ok(Some((Json::from(name.text.clone()), KqlType::String)));
                    }
                    let message = format!("Failed to resolve scalar expression named '{}'", name.text);
                    let known = self.visible_names();
                    let diagnostic = Diagnostic::new(diagnostic::UNRESOLVED, name.span, message)
                        .hint_nearest(&name.text, known.iter().map(String::as_str));
                    return Err(self.report(diagnostic));
                }
            },
            _ => {
                let message = format!("the value of option '{}' must be a literal", option.text);
                return self.fail(diagnostic::NOT_CONSTANT, value.span, message);
            }
        };
        let ty = constant.ty;
        Ok(json_of(constant).map(|json| (json, ty)))
    }

    /// An option as it stands now: by `set` before this statement, else from the request.
    pub fn option(&self, name: &str) -> Option<&Json> {
        self.options.get(name).or_else(|| self.request_option(name))
    }

    fn request_option(&self, name: &str) -> Option<&Json> {
        self.context.options.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A flag; anything but true is false.
    pub fn flag(&self, name: &str) -> bool {
        let is_true = |value: &Json| match value {
            Json::String(text) => text.eq_ignore_ascii_case("true") || text == "1",
            other => other.as_bool() == Some(true) || other.as_i64() == Some(1),
        };
        self.option(name).is_some_and(is_true)
    }

    /// A limit; of the one by `set` and that of the request the lower counts.
    pub fn lowest(&self, name: &str) -> Option<i64> {
        let values = [self.options.get(name), self.request_option(name)];
        values.into_iter().flatten().filter_map(long_of).filter(|value| *value >= 0).min()
    }

    /// What `now()` is here.
    pub fn now_ticks(&self) -> i64 {
        // A policy about time is not for the caller to move.
        if self.is_securing() {
            return self.context.now_ticks;
        }
        self.option("query_now").and_then(datetime_of).unwrap_or(self.context.now_ticks)
    }

    /// A table's rows within `query_datetimescope_*`, when it has the column.
    pub fn in_time_scope(&mut self, rel: Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let Some(name) = self.option("query_datetimescope_column").and_then(Json::as_str).map(str::to_string) else {
            return Ok(rel);
        };
        let Some(column) = rel.column(&name).filter(|column| column.ty == KqlType::DateTime).map(BExpr::column) else {
            return Ok(rel);
        };
        let mut rel = rel;
        let bounds =
            [("query_datetimescope_from", BinaryOp::GreaterOrEqual), ("query_datetimescope_to", BinaryOp::LessOrEqual)];
        for (option, op) in bounds {
            let Some(ticks) = self.option(option).and_then(datetime_of) else { continue };
            let bound = BExpr::constant(Constant { value: Value::DateTime(ticks), ty: KqlType::DateTime });
            let predicate = self.binary(op, column.clone(), bound, span)?;
            let columns = rel.columns.clone();
            rel = self.rel(RelOp::Filter { input: rel, predicate }, columns, span)?;
        }
        Ok(rel)
    }

    /// Refuses a result with more columns than `maxoutputcolumns`.
    pub fn within_columns(&mut self, rel: &Rel, span: Span) -> Bound<()> {
        match self.lowest("maxoutputcolumns") {
            Some(limit) if rel.columns.len() as i64 > limit => {
                let found = rel.columns.len();
                let message =
                    format!("the result has {found} columns, more than the limit of {limit} (maxoutputcolumns)");
                self.fail("SEM0004", span, message)
            }
            _ => Ok(()),
        }
    }

    /// Refuses a union of more tables than `query_max_entities_in_union`.
    pub fn within_entities(&mut self, count: usize, span: Span) -> Bound<()> {
        match self.lowest("query_max_entities_in_union") {
            Some(limit) if count as i64 > limit => {
                let message = format!(
                    "the union has {count} tables, more than the limit of {limit} (query_max_entities_in_union)"
                );
                self.fail(diagnostic::GENERAL, span, message)
            }
            _ => Ok(()),
        }
    }

    /// `bin_auto(x)`: `bin_at` with the size and the start that the options give. Source: bin-auto-function page.
    pub fn bin_auto_call(
        &mut self,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        self.count("bin_auto", arguments.len(), 1, 1, span)?;
        let Some(size) = self.option("query_bin_auto_size").and_then(literal_of) else {
            let message = "bin_auto() needs the size of its bins: set query_bin_auto_size=...";
            return self.fail(diagnostic::GENERAL, span, message);
        };
        let start = self.option("query_bin_auto_at").and_then(literal_of);
        let mut arguments = arguments.to_vec();
        arguments.push(literal_argument(size, span));
        arguments.extend(start.map(|start| literal_argument(start, span)));
        let called = if arguments.len() == 3 { "bin_at" } else { "bin" };
        let Some(function) = find_scalar(called) else { return self.not_served(span, "bin_auto()") };
        self.registry_call(function, name, &arguments, row, span)
    }
}

fn literal_argument(value: Open, span: Span) -> Argument {
    let literal = match value {
        Open::Long(value) => Literal::Long(Some(value)),
        Open::Real(value) => Literal::Real(Some(value)),
        Open::DateTime(ticks) => Literal::DateTime(Some(ticks)),
        Open::TimeSpan(ticks) => Literal::TimeSpan(Some(ticks)),
    };
    Argument { name: None, value: Expr { kind: ExprKind::Literal(literal), span } }
}

/// Whether `set` takes a literal of a type for an option. Source: the reference parser.
fn takes(option: OptionType, ty: KqlType) -> bool {
    match option {
        OptionType::Bool => ty == KqlType::Bool,
        OptionType::Long => ty.is_numeric(),
        OptionType::String | OptionType::Word(_) => ty == KqlType::String,
        OptionType::DateTime => ty == KqlType::DateTime,
        OptionType::TimeSpan => ty == KqlType::TimeSpan,
        OptionType::Literal => ty.is_numeric() || matches!(ty, KqlType::DateTime | KqlType::TimeSpan | KqlType::String),
        OptionType::Dynamic => true,
    }
}

/// The constant as JSON; datetimes and timespans as texts that say what they are.
fn json_of(constant: Constant) -> Option<Json> {
    Some(match constant.value {
        Value::Null => return None,
        Value::Bool(flag) => Json::Bool(flag),
        Value::Int(number) => Json::from(number),
        Value::Long(number) => Json::from(number),
        Value::Real(number) => Json::from(number),
        Value::Decimal(bytes) => Json::from(Decimal::from_bytes(bytes).to_text()),
        Value::String(text) => Json::from(text),
        Value::DateTime(ticks) => Json::from(format!("datetime({})", datetime::to_text(ticks))),
        Value::TimeSpan(ticks) => Json::from(format!("time({})", timespan::to_text(ticks))),
        Value::Guid(bytes) => Json::from(guid::to_text(&bytes)),
        Value::Dynamic(text) => serde_json::from_str(&text).unwrap_or(Json::String(text)),
    })
}
