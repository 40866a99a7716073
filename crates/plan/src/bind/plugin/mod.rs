//! Plugins of `evaluate`, one file per plugin or family. Source: their pages; columns by the reference parser.
//!
//! Many plugins are planned as queries over ordinary operators (`planned`), so that the optimizer sees
//! through them; the others are row algorithms under `exec`.

mod activity;
mod cohorts;
mod external;
mod lookup;
mod patterns;
mod rows;
mod sequences;
mod simple;
mod timeline;
mod windows;

use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{Argument, ExprKind};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic, parse_function_body};

use crate::bind::let_::AnyValue;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::row::Row;
use crate::bind::scope::{Binding, Env};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, Constant, Rel, RelOp, SortKey, Value, WindowFunction};

/// A call of a plugin.
pub(crate) struct PluginCall<'c> {
    /// Its name.
    pub name: &'static str,
    /// The arguments as written.
    pub arguments: &'c [Argument],
    /// The name's place: that of mistakes which concern the whole call.
    pub span: Span,
}

/// A plugin over rows.
type Plugin = fn(&mut Binder<'_>, &Arc<Rel>, &PluginCall<'_>) -> Bound<Tabular>;

/// The plugins of this folder that read rows.
const OVER_ROWS: &[(&str, Plugin)] = &[
    ("active_users_count", |binder, input, call| binder.active_users_count(input, call)),
    ("activity_counts_metrics", |binder, input, call| binder.activity_counts_metrics(input, call)),
    ("activity_engagement", |binder, input, call| binder.activity_engagement(input, call)),
    ("activity_metrics", |binder, input, call| binder.activity_metrics(input, call)),
    ("autocluster", |binder, input, call| binder.autocluster(input, call)),
    ("basket", |binder, input, call| binder.basket(input, call)),
    ("dcount_intersect", |binder, input, call| binder.dcount_intersect(input, call)),
    ("diffpatterns", |binder, input, call| binder.diffpatterns(input, call)),
    ("diffpatterns_text", |binder, input, call| binder.diffpatterns_text(input, call)),
    ("estimate_rows_count", |binder, input, call| binder.estimate_rows_count(input, call)),
    ("funnel_sequence", |binder, input, call| binder.funnel_sequence(input, call)),
    ("funnel_sequence_completion", |binder, input, call| binder.funnel_sequence_completion(input, call)),
    ("geo_line_lookup", |binder, input, call| binder.geo_line_lookup(input, call)),
    ("geo_polygon_lookup", |binder, input, call| binder.geo_polygon_lookup(input, call)),
    ("identity", |binder, input, call| binder.identity(input, call)),
    ("ipv4_lookup", |binder, input, call| binder.ipv4_lookup(input, call)),
    ("ipv6_lookup", |binder, input, call| binder.ipv6_lookup(input, call)),
    ("new_activity_metrics", |binder, input, call| binder.new_activity_metrics(input, call)),
    ("preview", |binder, input, call| binder.preview(input, call)),
    ("rolling_percentile", |binder, input, call| binder.rolling_percentile(input, call)),
    ("rows_near", |binder, input, call| binder.rows_near(input, call)),
    ("schema_merge", |binder, input, call| binder.schema_merge(input, call)),
    ("sequence_detect", |binder, input, call| binder.sequence_detect(input, call)),
    ("session_count", |binder, input, call| binder.session_count(input, call)),
    ("sliding_window_counts", |binder, input, call| binder.sliding_window_counts(input, call)),
];

impl Binder<'_> {
    /// A plugin of this folder over rows; `None` when the name is none of theirs.
    pub fn plugin_over_rows(
        &mut self,
        input: &Arc<Rel>,
        name: &str,
        arguments: &[Argument],
        span: Span,
    ) -> Option<Bound<Tabular>> {
        let (name, plugin) = OVER_ROWS.iter().find(|(known, _)| *known == name)?;
        Some(plugin(self, input, &PluginCall { name, arguments, span }))
    }

    /// The rows of a query that stands for a plugin. Its text sees the given tables and values and nothing that the
    /// user has named; mistakes in it are those of the call.
    pub fn planned(
        &mut self,
        call: &PluginCall<'_>,
        query: &str,
        tables: &[(&str, &Arc<Rel>)],
        values: &[(&str, Constant)],
    ) -> Bound<Arc<Rel>> {
        let parsed = parse_function_body("()", &format!("{{{query}}}"));
        let lambda = match (parsed.tree, parsed.diagnostics.into_iter().next()) {
            (Some(lambda), None) => lambda,
            (_, mistake) => {
                let why = mistake.map(|mistake| mistake.message).unwrap_or_default();
                let message = format!("plugin '{}' cannot be planned: {why}", call.name);
                return self.fail(diagnostic::GENERAL, call.span, message);
            }
        };
        let foreign = self.foreign.clone();
        self.foreign.get_or_insert_with(|| (call.span, call.name.to_string()));
        let env = self.enter(Env::ROOT);
        for (name, rel) in tables {
            self.define(name, Binding::Table(Arc::clone(rel)));
        }
        for (name, value) in values {
            self.define(name, Binding::Scalar(Rc::new(BExpr::constant(value.clone()))));
        }
        let result = self.deeper(call.span, |binder| binder.function_body(&lambda, &mut Row::none(), call.span));
        self.env = env;
        self.foreign = foreign;
        match result? {
            AnyValue::Table(tabular) => Ok(tabular.rel),
            AnyValue::Scalar(_) => self.table_expected(call.span),
        }
    }

    /// Window functions over rows in the order of one column, restarting for each set of equal partition columns.
    pub fn windowed(
        &mut self,
        rel: &Arc<Rel>,
        order: &str,
        partition: &[String],
        functions: Vec<(&str, WindowFunction)>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let keys = vec![SortKey { expr: self.own(rel, order)?, ascending: true, nulls_first: true }];
        let sorted = self.rel(RelOp::Sort { input: rel.clone(), keys, fetch: None }, rel.columns.clone(), span)?;
        let partition = rel.columns.iter().filter(|column| partition.contains(&column.name));
        let partition = partition.map(|column| column.id).collect();
        let mut columns = rel.columns.clone();
        let mut listed = Vec::with_capacity(functions.len());
        for (name, function) in functions {
            columns.push(self.fresh_column(name, function.ty()));
            listed.push(function);
        }
        self.rel(RelOp::Window { input: sorted, partition, functions: listed }, columns, span)
    }

    /// A column of a relation that a plugin has made.
    pub fn own(&mut self, rel: &Rel, name: &str) -> Bound<BExpr> {
        match rel.column(name) {
            Some(column) => Ok(BExpr::column(column)),
            None => self.fail(diagnostic::GENERAL, Span::default(), format!("a plugin lacks its column '{name}'")),
        }
    }

    /// The result of a plugin: columns of `rel` under the user's names and types. Names that the user gave come
    /// first (`is_given`); a plugin's own name steps aside with a suffix.
    pub fn plugin_result(&mut self, rel: &Arc<Rel>, columns: &[ResultColumn<'_>], span: Span) -> Bound<Arc<Rel>> {
        let given = columns.iter().filter(|column| column.is_given).map(|column| column.name.as_str());
        let mut table = NameTable::expecting(given);
        let mut items = Vec::with_capacity(columns.len());
        for column in columns {
            let wanted = match column.is_given {
                true => Wanted::Explicit(column.name.clone()),
                false => Wanted::Automatic(column.name.clone()),
            };
            let name = match table.give(&wanted, |_| false) {
                Ok(name) => name,
                Err(name) => return Err(self.duplicate_column(&name.0, span)),
            };
            let value = self.own(rel, column.source)?;
            items.push((name, self.convert(value, column.ty)));
        }
        self.project(rel.clone(), items, span)
    }

    /// The arguments by parameter: positional ones first, then those with a parameter's name. The first `least` must be
    /// there.
    pub fn parameters<'a>(
        &mut self,
        call: &PluginCall<'a>,
        names: &[&str],
        least: usize,
    ) -> Bound<Vec<Option<&'a Argument>>> {
        let mut given: Vec<Option<&Argument>> = vec![None; names.len()];
        for (position, argument) in call.arguments.iter().enumerate() {
            let place = match &argument.name {
                None => Some(position),
                Some(label) => names.iter().position(|name| name.eq_ignore_ascii_case(&label.text)),
            };
            match place.and_then(|place| given.get_mut(place)) {
                Some(slot) if slot.is_none() => *slot = Some(argument),
                _ => return self.unknown_parameter(call, argument, names),
            }
        }
        if let Some(missing) = given.iter().take(least).position(Option::is_none) {
            let message = format!("{}(): '{}' is missing", call.name, names[missing]);
            return self.fail(diagnostic::ARGUMENT_COUNT, call.span, message);
        }
        Ok(given)
    }

    /// An argument that no parameter takes, or that one has already.
    pub fn unknown_parameter<T>(&mut self, call: &PluginCall<'_>, argument: &Argument, names: &[&str]) -> Bound<T> {
        let name = argument.name.as_ref().map(|name| name.text.as_str()).unwrap_or_default();
        let is_twice = name.is_empty() || names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let message = match is_twice {
            true => format!("{}(): an argument is given twice", call.name),
            false => format!("{}() has no argument '{name}'", call.name),
        };
        let span = argument.name.as_ref().map_or(argument.value.span, |name| name.span);
        let diagnostic = Diagnostic::new(diagnostic::ARGUMENT_COUNT, span, message);
        Err(self.report(if is_twice { diagnostic } else { diagnostic.hint_nearest(name, names.iter().copied()) }))
    }

    /// A column of the input that an argument names.
    pub fn plugin_input_column(&mut self, input: &Rel, argument: &Argument) -> Bound<BoundColumn> {
        self.plain_column(&argument.value, &input.columns)
    }

    /// Whether an argument is the name of a column of the input.
    pub fn is_input_column(&self, input: &Rel, argument: &Argument) -> bool {
        matches!(&argument.value.kind, ExprKind::Name(name) if input.column(&name.text).is_some())
    }

    /// A constant argument of any type; never null.
    pub fn plugin_constant(&mut self, argument: &Argument, what: &str) -> Bound<Constant> {
        let span = argument.value.span;
        let bound = self.expr(&argument.value, &mut Row::none())?;
        let constant = self.constant(&bound, span, what)?;
        if constant.is_null() {
            return self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} must not be null"));
        }
        Ok(constant)
    }

    /// A constant argument of a type; never null.
    pub fn plugin_value(&mut self, argument: &Argument, ty: KqlType, what: &str) -> Bound<Constant> {
        let constant = self.plugin_constant(argument, what)?;
        if constant.ty == ty {
            return Ok(constant);
        }
        let (span, from) = (argument.value.span, constant.ty);
        let is_number = |ty| matches!(ty, KqlType::Int | KqlType::Long | KqlType::Real | KqlType::Decimal);
        if !(is_number(from) && is_number(ty)) {
            return self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} must be {ty}, but this is {from}"));
        }
        let converted = self.convert(BExpr::constant(constant), ty);
        let constant = self.constant(&converted, span, what)?;
        if constant.is_null() {
            return self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} is out of the range of {ty}"));
        }
        Ok(constant)
    }

    /// A whole number of at least `least`.
    pub fn plugin_count(&mut self, argument: &Argument, least: i64, what: &str) -> Bound<i64> {
        let span = argument.value.span;
        let number = match self.plugin_constant(argument, what)?.value {
            Value::Int(number) => i64::from(number),
            Value::Long(number) => number,
            Value::Real(number) if number.fract() == 0.0 && number.abs() < 9e15 => number as i64,
            _ => return self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} must be a whole number")),
        };
        if number < least {
            return self.fail(diagnostic::NOT_IN_LIST, span, format!("{what} must be at least {least}"));
        }
        Ok(number)
    }

    /// A true or false.
    pub fn plugin_flag(&mut self, argument: &Argument, what: &str) -> Bound<bool> {
        match self.plugin_constant(argument, what)?.value {
            Value::Bool(value) => Ok(value),
            _ => self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, format!("{what} must be true or false")),
        }
    }

    /// Columns that slice the result; they must be fit to group by.
    pub fn plugin_dimensions(&mut self, input: &Rel, arguments: &[Argument]) -> Bound<Vec<BoundColumn>> {
        let mut dimensions: Vec<BoundColumn> = Vec::with_capacity(arguments.len());
        let mut failed = false;
        for argument in arguments {
            let column = self.plugin_input_column(input, argument).and_then(|column| {
                self.group_key(&BExpr::column(&column), &argument.value, "a dimension of a plugin")?;
                if dimensions.iter().any(|earlier| earlier.id == column.id) {
                    return Err(self.duplicate_column(&column.name, argument.value.span));
                }
                Ok(column)
            });
            match column {
                Ok(column) => dimensions.push(column),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(dimensions) }
    }
}

/// A column of a plugin's result.
pub(crate) struct ResultColumn<'c> {
    /// Its name, before clashes are mended.
    pub name: String,
    /// A name of the user's, such as that of a dimension.
    pub is_given: bool,
    /// The column of the relation that it is.
    pub source: &'c str,
    /// Its type.
    pub ty: KqlType,
}

impl<'c> ResultColumn<'c> {
    /// A column of the input under its own name.
    pub fn given(column: &BoundColumn, source: &'c str) -> ResultColumn<'c> {
        ResultColumn { name: column.name.clone(), is_given: true, source, ty: column.ty }
    }

    /// A column that the plugin names.
    pub fn own(name: impl Into<String>, source: &'c str, ty: KqlType) -> ResultColumn<'c> {
        ResultColumn { name: name.into(), is_given: false, source, ty }
    }
}
