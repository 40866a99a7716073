//! `evaluate` and its plugins: `bag_unpack`, `pivot`, `narrow`. Source: their pages.

use std::sync::Arc;

use tidewater_functions::find_aggregate;
use tidewater_kql::ast::{Argument, ColumnDeclaration, Expr, ExprKind, Name};
use tidewater_kql::{Column, Diagnostic, KqlType, Span, diagnostic};

use crate::bind::names::NameTable;
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{
    BExpr, BExprKind, BoundAggregate, BoundColumn, Constant, Known, NeedWhat, PathStep, Rel, RelOp, Value,
};

/// Columns that `pivot` may make. Source: the engine's default limit on output columns.
const MAX_PIVOT_COLUMNS: usize = 2_000;

/// Every plugin of the documentation and the reference parser, served or not.
const PLUGINS: &[&str] = &[
    "active_users_count",
    "activity_counts_metrics",
    "activity_engagement",
    "activity_metrics",
    "ai_chat_completion",
    "ai_chat_completion_prompt",
    "ai_embed_text",
    "ai_embeddings",
    "autocluster",
    "azure_digital_twins_query_request",
    "bag_unpack",
    "basket",
    "cosmosdb_sql_request",
    "csharp",
    "dax_request",
    "dcount_intersect",
    "diffpatterns",
    "diffpatterns_text",
    "estimate_rows_count",
    "execute_query",
    "execute_show_command",
    "external_datatable",
    "funnel_sequence",
    "funnel_sequence_completion",
    "geo_line_lookup",
    "geo_polygon_lookup",
    "http_request",
    "http_request_post",
    "identity",
    "identity_v3",
    "infer_storage_schema",
    "infer_storage_schema_with_suggestions",
    "ipv4_lookup",
    "ipv6_lookup",
    "mysql_request",
    "narrow",
    "new_activity_metrics",
    "pivot",
    "postgresql_request",
    "preview",
    "python",
    "r",
    "rolling_percentile",
    "rows_near",
    "schema_merge",
    "sequence_detect",
    "session_count",
    "sliding_window_counts",
    "sql_request",
];

/// The names of all plugins.
pub fn plugin_names() -> &'static [&'static str] {
    PLUGINS
}

impl Binder<'_> {
    /// `evaluate plugin(arguments) [: (schema)]`.
    pub fn evaluate_operator(
        &mut self,
        input: Option<Tabular>,
        plugin: &Name,
        arguments: &[Argument],
        schema: Option<&[ColumnDeclaration]>,
    ) -> Bound<Tabular> {
        if !PLUGINS.contains(&plugin.text.as_str()) {
            let message = format!("Unknown plugin: '{}'", plugin.text);
            let diagnostic = Diagnostic::new(diagnostic::UNKNOWN_FUNCTION, plugin.span, message);
            return Err(self.report(diagnostic.hint_nearest(&plugin.text, PLUGINS.iter().copied())));
        }
        if !self.view.is_plugin_enabled(&plugin.text) {
            let message =
                format!("Plugin '{}' is disabled; '.enable plugin {}' switches it on", plugin.text, plugin.text);
            return Err(self.report(Diagnostic::new(diagnostic::UNKNOWN_FUNCTION, plugin.span, message)));
        }
        if let Some(result) = self.plugin_without_rows(input.is_some(), &plugin.text, arguments, schema, plugin.span) {
            return result;
        }
        let Some(input) = input else {
            return match unserved(&plugin.text) {
                Some(why) => self.not_served(plugin.span, format!("plugin '{}' ({why})", plugin.text)),
                None => {
                    let message = format!("plugin '{}' reads rows: T | evaluate {0}(...)", plugin.text);
                    self.fail(diagnostic::GENERAL, plugin.span, message)
                }
            };
        };
        // The name is the place of mistakes that concern the whole call.
        let span = plugin.span;
        if let Some(result) = self.plugin_over_rows(&input.rel, &plugin.text, arguments, span) {
            return result;
        }
        let rel = match plugin.text.as_str() {
            "bag_unpack" => self.bag_unpack(&input.rel, arguments, schema, span)?,
            "pivot" => self.pivot(&input.rel, arguments, schema, span)?,
            "narrow" => self.narrow(&input.rel, arguments, span)?,
            name => {
                self.check_arguments(&input.rel, arguments);
                let why = unserved(name).map(|why| format!(" ({why})")).unwrap_or_default();
                return self.not_served(plugin.span, format!("plugin '{name}'{why}"));
            }
        };
        Ok(Tabular::of(rel))
    }

    /// Binds the arguments of a plugin that is not served, for the mistakes in them.
    fn check_arguments(&mut self, input: &Rel, arguments: &[Argument]) {
        for argument in arguments {
            let is_other =
                matches!(argument.value.kind, ExprKind::TypeOf(_) | ExprKind::TypeOfSchema(_) | ExprKind::Star);
            if !is_other && !self.is_tabular(&argument.value) {
                // What is wrong is recorded.
                let _ = self.expr(&argument.value, &mut Row::of(&input.columns));
            }
        }
    }

    fn plugin_column(&mut self, argument: &Argument, input: &Rel) -> Bound<BoundColumn> {
        self.plain_column(&argument.value, &input.columns)
    }

    fn plugin_text(&mut self, argument: &Expr, what: &str) -> Bound<String> {
        let bound = self.expr(argument, &mut Row::none())?;
        match self.constant(&bound, argument.span, what)?.value {
            Value::String(text) => Ok(text),
            _ => self.fail(diagnostic::ARGUMENT_TYPE, argument.span, format!("{what} must be a string")),
        }
    }

    /// `bag_unpack(column [, prefix [, conflict [, ignored]]])`: the column goes, its keys become columns.
    fn bag_unpack(
        &mut self,
        input: &Arc<Rel>,
        arguments: &[Argument],
        schema: Option<&[ColumnDeclaration]>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        self.count("bag_unpack", arguments.len(), 1, 4, span)?;
        let key = self.need_key();
        let bag = self.plugin_column(&arguments[0], input)?;
        if bag.ty != KqlType::Dynamic {
            let message = format!("bag_unpack(): column '{}' must be dynamic, but it is {}", bag.name, bag.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[0].value.span, message);
        }
        let (mut prefix, mut conflict, mut ignored) = (String::new(), "error".to_string(), Vec::new());
        // Arguments may also be named: OutputColumnPrefix, columnsConflict, ignoredProperties.
        for (position, argument) in arguments.iter().enumerate().skip(1) {
            let role = match argument.name.as_ref().map(|name| name.text.as_str()) {
                Some("OutputColumnPrefix") => 1,
                Some("columnsConflict") => 2,
                Some("ignoredProperties") => 3,
                Some(other) => {
                    let message = format!("bag_unpack() has no argument '{other}'");
                    return self.fail(diagnostic::ARGUMENT_COUNT, argument.value.span, message);
                }
                None => position,
            };
            match role {
                1 => prefix = self.plugin_text(&argument.value, "the prefix of bag_unpack()")?,
                2 => conflict = self.plugin_text(&argument.value, "the conflict rule of bag_unpack()")?,
                _ => {
                    let bound = self.expr(&argument.value, &mut Row::none())?;
                    let what = "the ignored properties of bag_unpack()";
                    if let Value::Dynamic(text) = self.constant(&bound, argument.value.span, what)?.value {
                        ignored = serde_json::from_str::<Vec<String>>(&text).unwrap_or_default();
                    }
                }
            }
        }
        let rest: Vec<&BoundColumn> = input.columns.iter().filter(|column| column.id != bag.id).collect();
        let member = |binder: &mut Self, name: &str, ty: KqlType| {
            let steps = vec![PathStep::Key(name.to_string())];
            let kind = BExprKind::Path { base: Box::new(BExpr::column(&bag)), steps };
            binder.convert(BExpr { kind, ty: KqlType::Dynamic }, ty)
        };
        if let Some(schema) = schema {
            let mut items = Vec::new();
            for declared in schema {
                if declared.name.text == "*" {
                    items.extend(rest.iter().map(|column| (column.name.clone(), BExpr::column(column))));
                    continue;
                }
                let own = rest.iter().find(|column| column.name == declared.name.text && column.ty == declared.ty);
                let expr = match own {
                    Some(column) => BExpr::column(column),
                    None => {
                        let name = declared.name.text.strip_prefix(&prefix).unwrap_or(&declared.name.text);
                        member(self, name, declared.ty)
                    }
                };
                items.push((declared.name.text.clone(), expr));
            }
            return self.project(input.clone(), items, span);
        }
        let only = self.columns_only(input, std::slice::from_ref(&bag), span)?;
        let Some(Known::Columns(found)) = self.need(key, &only, NeedWhat::BagColumns) else { return Err(Stopped) };
        let mut items: Vec<(String, BExpr)> =
            rest.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        for Column { name, ty } in found.iter() {
            if ignored.contains(name) {
                continue;
            }
            let expr = member(self, name, *ty);
            let full = format!("{prefix}{name}");
            match (items.iter().position(|(taken, _)| *taken == full), conflict.as_str()) {
                (None, _) => items.push((full, expr)),
                (Some(at), "replace_source") => items[at].1 = expr,
                (Some(_), "keep_source") => {}
                (Some(_), _) => {
                    let message = format!("bag_unpack(): the property '{name}' collides with the column '{full}'");
                    return self.fail(diagnostic::DUPLICATE_COLUMN, span, message);
                }
            }
        }
        self.project(input.clone(), items, span)
    }

    /// `pivot(column [, aggregate [, key, ...]])`: a column per value.
    fn pivot(
        &mut self,
        input: &Arc<Rel>,
        arguments: &[Argument],
        schema: Option<&[ColumnDeclaration]>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        self.count("pivot", arguments.len(), 1, usize::MAX, span)?;
        let pivot = self.plugin_column(&arguments[0], input)?;
        let text = self.convert(BExpr::column(&pivot), KqlType::String);
        let (aggregate, used) = match arguments.get(1) {
            Some(argument) => self.pivot_aggregate(&argument.value, input)?,
            None => (("countif", Vec::new()), Vec::new()),
        };
        let keys: Vec<BoundColumn> = if arguments.len() > 2 {
            let mut keys = Vec::new();
            for argument in &arguments[2..] {
                keys.push(self.plugin_column(argument, input)?);
            }
            keys
        } else {
            input.columns.iter().filter(|column| column.id != pivot.id && !used.contains(&column.id)).cloned().collect()
        };
        for column in &keys {
            let place = &arguments[0].value;
            self.group_key(&BExpr::column(column), place, &format!("column '{}' beside 'pivot'", column.name))?;
        }
        let texts = match schema {
            Some(schema) => pivot_values(schema, &keys),
            None => {
                let Some(texts) = self.pivoted_values(input, &text, span)? else { return Err(Stopped) };
                texts
            }
        };
        let mut table = NameTable::default();
        for column in &keys {
            table.reserve(&column.name);
        }
        let (name, args) = aggregate;
        let mut columns = keys.clone();
        let mut aggregates: Vec<BoundAggregate> = Vec::with_capacity(texts.len());
        for text_value in texts {
            let is_value = self.binary(
                tidewater_kql::ast::BinaryOp::Equal,
                text.clone(),
                BExpr::constant(Constant::string(text_value.clone())),
                span,
            )?;
            let mut args: Vec<BExpr> = args.clone();
            args.push(is_value);
            let aggregate = self.plain_aggregate(name, args, span)?;
            let wanted = crate::bind::names::Wanted::Automatic(text_value);
            let name = table.give(&wanted, |_| false).unwrap_or_else(|name| name.0);
            columns.push(self.fresh_column(name, aggregate.outputs()[0]));
            aggregates.push(aggregate);
        }
        let keys = keys.iter().map(BExpr::column).collect();
        let pivoted = self.rel(RelOp::Aggregate { input: input.clone(), keys, aggregates }, columns, span)?;
        match schema {
            Some(schema) => self.declared_pivot(&pivoted, schema, span),
            None => Ok(pivoted),
        }
    }

    /// The distinct values of the rotated column, in order of their text; `None` while they are not known.
    fn pivoted_values(&mut self, input: &Arc<Rel>, text: &BExpr, span: Span) -> Bound<Option<Vec<String>>> {
        let key = self.need_key();
        let value = self.fresh_column("value", KqlType::String);
        let op = RelOp::Aggregate { input: input.clone(), keys: vec![text.clone()], aggregates: Vec::new() };
        let values = self.rel(op, vec![value], span)?;
        let what = NeedWhat::Values { limit: MAX_PIVOT_COLUMNS };
        let Some(Known::Values(values)) = self.need(key, &values, what) else { return Ok(None) };
        let mut texts: Vec<String> = values
            .iter()
            .filter_map(|value| match &value.value {
                Value::String(text) => Some(text.clone()),
                _ => None,
            })
            .collect();
        texts.sort();
        Ok(Some(texts))
    }

    /// The columns that the output schema declares, in its order; they must have the types that come out.
    fn declared_pivot(&mut self, pivoted: &Arc<Rel>, schema: &[ColumnDeclaration], span: Span) -> Bound<Arc<Rel>> {
        let mut items = Vec::with_capacity(schema.len());
        for declared in schema {
            match pivoted.columns.iter().find(|column| column.name == declared.name.text) {
                Some(column) if column.ty == declared.ty => items.push((column.name.clone(), BExpr::column(column))),
                Some(column) => {
                    let message = format!(
                        "pivot(): column '{}' is {}, but the output schema declares {}",
                        column.name, column.ty, declared.ty
                    );
                    return self.fail(diagnostic::ARGUMENT_TYPE, declared.name.span, message);
                }
                None => return Err(self.unresolved_column(&declared.name.text, &pivoted.columns, declared.name.span)),
            }
        }
        let left_out = pivoted.columns.iter().find(|column| !items.iter().any(|(name, _)| *name == column.name));
        if let Some(column) = left_out {
            let message = format!("pivot(): the output schema lacks the column '{}'", column.name);
            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        }
        self.project(pivoted.clone(), items, span)
    }

    /// The conditional form of an aggregate, its arguments, and the columns that it uses.
    #[allow(clippy::type_complexity, reason = "a name with its arguments, and columns")]
    fn pivot_aggregate(
        &mut self,
        expr: &Expr,
        input: &Arc<Rel>,
    ) -> Bound<((&'static str, Vec<BExpr>), Vec<crate::bound::ColumnId>)> {
        let ExprKind::Call { base: None, name, arguments } = &expr.kind else {
            return self.fail(diagnostic::ARGUMENT_TYPE, expr.span, "pivot(): an aggregate function is expected here");
        };
        let conditional = [format!("{}if", name.text), format!("{}_if", name.text)];
        let Some(found) = conditional.iter().find_map(|name| find_aggregate(name)) else {
            return self.not_served(expr.span, format!("pivot() with the aggregate {}()", name.text));
        };
        let bound = self.arguments(&name.text, arguments, &mut Row::of(&input.columns))?;
        let args: Vec<BExpr> = bound.into_iter().map(|(arg, _)| arg).collect();
        let used = input
            .columns
            .iter()
            .filter(|column| {
                args.iter().any(|arg| arg.any(|node| matches!(node.kind, BExprKind::Column(id) if id == column.id)))
            })
            .map(|column| column.id)
            .collect();
        Ok(((found.name, args), used))
    }

    /// `narrow()`: a row per cell.
    fn narrow(&mut self, input: &Arc<Rel>, arguments: &[Argument], span: Span) -> Bound<Arc<Rel>> {
        self.count("narrow", arguments.len(), 0, 0, span)?;
        let shared = self.fresh_shared();
        let mut numbered_columns = input.columns.clone();
        numbered_columns.push(self.fresh_column("", KqlType::Long));
        let functions = vec![crate::bound::WindowFunction::RowNumber { start: Constant::long(0), restart: None }];
        let op = RelOp::Window { input: input.clone(), partition: Vec::new(), functions };
        let numbered = self.rel(op, numbered_columns, span)?;
        let mut parts = Vec::with_capacity(input.columns.len());
        for position in 0..input.columns.len() {
            let reading = self.reading(shared, &numbered, span)?;
            let (column, number) = (reading.columns[position].clone(), reading.columns[input.columns.len()].clone());
            let value = self.convert(BExpr::column(&column), KqlType::String);
            let items = vec![
                ("Row".to_string(), BExpr::column(&number)),
                ("Column".to_string(), BExpr::constant(Constant::string(column.name.clone()))),
                ("Value".to_string(), value),
            ];
            parts.push(self.project(reading, items, span)?);
        }
        let columns = vec![
            self.fresh_column("Row", KqlType::Long),
            self.fresh_column("Column", KqlType::String),
            self.fresh_column("Value", KqlType::String),
        ];
        if parts.is_empty() {
            return self.rel(RelOp::Rows { rows: Vec::new() }, columns, span);
        }
        self.rel(RelOp::Union { inputs: parts }, columns, span)
    }
}

/// What a plugin that is not served would need.
fn unserved(name: &str) -> Option<&'static str> {
    Some(match name {
        "python" | "r" | "csharp" => "it runs programs, which needs a sandbox of their language",
        "sql_request" => "it needs a client of SQL Server",
        "cosmosdb_sql_request" => "it needs Azure Cosmos DB",
        "azure_digital_twins_query_request" => "it needs Azure Digital Twins",
        "dax_request" => "it needs Analysis Services",
        "ai_chat_completion" | "ai_chat_completion_prompt" | "ai_embed_text" | "ai_embeddings" => {
            "it needs Azure OpenAI"
        }
        "execute_query" | "execute_show_command" | "external_datatable" | "identity_v3" => {
            "it is internal to the reference engine"
        }
        _ => return None,
    })
}

/// The values that an output schema names: its columns that are no keys.
fn pivot_values(schema: &[ColumnDeclaration], keys: &[BoundColumn]) -> Vec<String> {
    let mut values: Vec<String> = Vec::with_capacity(schema.len());
    for declared in schema {
        let name = &declared.name.text;
        if !keys.iter().any(|key| key.name == *name) && !values.contains(name) {
            values.push(name.clone());
        }
    }
    values
}
