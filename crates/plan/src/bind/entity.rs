//! What a query can name beside tables and functions: external data, materialized views, stored results, patterns of
//! databases. And the check of a function that is to be stored.

use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{
    Argument, ColumnDeclaration, Expr, ExprKind, ExternalDefinition, Lambda, Name, ParameterType, Property,
};
use tidewater_kql::command::property_text;
use tidewater_kql::{Diagnostic, Span, diagnostic, parse_function_body};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::{Binding, FunctionDef};
use crate::bind::secure::{Securing, ViewPart};
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Evaluate, NeedKey, RelOp, Value};
use crate::catalog::{CatalogView, MaterializedView, TableHandle};
use crate::external::{ExternalSource, external_source};
use crate::{PlanContext, bind};

/// Connection strings of one source.
const MAX_URIS: usize = 10_000;

impl Binder<'_> {
    /// `externaldata (columns) [uris] with (properties)`.
    pub fn external_data(
        &mut self,
        declared: &[ColumnDeclaration],
        uris: &[Expr],
        properties: &[Property],
        span: Span,
    ) -> Bound<Tabular> {
        self.declared_columns(declared)?;
        let uris = self.uris(uris, span)?;
        let mut texts = Vec::with_capacity(properties.len());
        for property in properties {
            match self.property_value(properties, property)? {
                Some(text) => texts.push((property.name.text.clone(), text)),
                None => {
                    let message = format!("the value of property '{}' must be a literal", property.name.text);
                    return self.fail(diagnostic::NOT_CONSTANT, property.value.span, message);
                }
            }
        }
        let format = texts.iter().find(|(name, _)| name.eq_ignore_ascii_case("format")).map(|(_, text)| text.clone());
        let source = ExternalSource {
            columns: declared.iter().map(|column| tidewater_kql::Column::new(&column.name.text, column.ty)).collect(),
            partitions: Vec::new(),
            path: Vec::new(),
            kind: "storage".to_string(),
            format,
            uris,
            properties: texts,
        };
        self.external_rows("externaldata", &source, span)
    }

    /// A literal, or a name: of a scalar variable if there is one, else the word itself.
    fn property_value(&mut self, properties: &[Property], property: &Property) -> Bound<Option<String>> {
        if let ExprKind::Name(name) = &property.value.kind
            && let Some(Binding::Scalar(value)) = self.lookup(&name.text)
        {
            let value = self.constant(&value, name.span, "the value of a property")?;
            return Ok(match value.value {
                Value::String(text) => Some(text),
                Value::Bool(flag) => Some(flag.to_string()),
                _ => None,
            });
        }
        Ok(property_text(properties, &property.name.text))
    }

    /// `inline_external_table (columns) kind=storage ... (uris)`.
    pub fn inline_external_table(&mut self, definition: &ExternalDefinition, span: Span) -> Bound<Tabular> {
        let uris = self.uris(&definition.uris, span)?;
        match external_source(definition, uris) {
            Ok(source) => self.external_rows("inline_external_table", &source, span),
            Err(message) => self.fail(diagnostic::GENERAL, span, message),
        }
    }

    fn uris(&mut self, uris: &[Expr], span: Span) -> Bound<Vec<String>> {
        if uris.is_empty() || uris.len() > MAX_URIS {
            return self.fail(diagnostic::GENERAL, span, format!("1 to {MAX_URIS} connection strings are expected"));
        }
        let mut texts = Vec::with_capacity(uris.len());
        for uri in uris {
            let bound = self.expr(uri, &mut Row::none())?;
            match self.constant(&bound, uri.span, "a storage connection string")?.value {
                Value::String(text) if !text.trim().is_empty() => texts.push(text),
                _ => {
                    let message = "a storage connection string must be a string that is not empty";
                    return self.fail(diagnostic::ARGUMENT_TYPE, uri.span, message);
                }
            }
        }
        Ok(texts)
    }

    fn external_rows(&mut self, name: &str, source: &ExternalSource, span: Span) -> Bound<Tabular> {
        let provider = match self.view.external_data(source) {
            Ok(provider) => provider,
            Err(message) => return self.fail(diagnostic::GENERAL, span, message),
        };
        let schema = match source.columns.is_empty() || source.kind == "delta" {
            // A Delta table brings its columns, or at least its partitions.
            true => match tidewater_kql::TableSchema::of_arrow(&provider.schema()) {
                Ok(schema) => schema,
                Err(message) => return self.fail(diagnostic::GENERAL, span, message),
            },
            false => source.schema(),
        };
        let table = TableHandle { database: String::new(), name: name.to_string(), schema, provider, is_filled: true };
        let tabular = self.foreign_rows(Arc::new(table), span)?;
        Ok(Tabular { name: None, ..tabular })
    }

    /// `external_table("T" [, "Mapping"])`; a timespan there would override an acceleration that does not exist.
    pub fn external_table_call(&mut self, database: &str, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        self.count("external_table", arguments.len(), 1, 2, span)?;
        let name = self.text_argument(&arguments[0], "the name of external_table()")?;
        let mut mapping = None;
        if let Some(argument) = arguments.get(1) {
            let bound = self.expr(&argument.value, &mut Row::none())?;
            match self.constant(&bound, argument.value.span, "the mapping of external_table()")?.value {
                Value::String(text) => mapping = Some(text).filter(|text| !text.is_empty()),
                Value::TimeSpan(_) => {}
                _ => {
                    let message = "external_table(): the second argument is the name of a mapping or a timespan";
                    return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                }
            }
        }
        match self.view.external_table(database, &name, mapping.as_deref()) {
            Some(Ok(table)) => self.foreign_rows(table, span),
            Some(Err(message)) => self.fail(diagnostic::GENERAL, span, message),
            None => {
                let names = self.view.external_table_names(database);
                self.unresolved_entity("external table", &name, &names, arguments[0].value.span)
            }
        }
    }

    /// `materialized_view("V" [, max_age])`: the materialized part, or all when that is older than `max_age`.
    pub fn materialized_view_call(&mut self, database: &str, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        self.count("materialized_view", arguments.len(), 1, 2, span)?;
        let name = self.text_argument(&arguments[0], "the name of materialized_view()")?;
        let Some(view) = self.view.materialized_view(database, &name) else {
            let names = self.view.materialized_view_names(database);
            return self.unresolved_entity("materialized view", &name, &names, arguments[0].value.span);
        };
        if let Some(argument) = arguments.get(1) {
            let bound = self.expr(&argument.value, &mut Row::none())?;
            match self.constant(&bound, argument.value.span, "the age of materialized_view()")?.value {
                Value::TimeSpan(age) => {
                    if view.last_run < self.context.now_ticks.saturating_sub(age) {
                        return self.whole_view(database, &view, span);
                    }
                }
                _ => {
                    let message = "materialized_view(): the second argument must be a timespan";
                    return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                }
            }
        }
        self.view_rows(database, &view, ViewPart::Materialized, span)
    }

    /// A view with the records that are not materialized yet.
    pub fn whole_view(&mut self, database: &str, view: &MaterializedView, span: Span) -> Bound<Tabular> {
        let tabular = self.view_rows(database, view, ViewPart::Whole, span)?;
        let table = Some((Some(database.to_string()), view.name.clone()));
        Ok(Tabular { table, name: Some(view.name.clone()), ..tabular })
    }

    /// The rows of a view that its policy shows. Inside its own policy a view is the part of it that was asked for.
    fn view_rows(&mut self, database: &str, view: &MaterializedView, part: ViewPart, span: Span) -> Bound<Tabular> {
        if let Some(secured) = self.secured(database, &view.name, part, &view.schema, span)? {
            return Ok(secured);
        }
        match self.secured_part(database, &view.name).unwrap_or(part) {
            ViewPart::Whole => self.expanded(database, "view", &view.name, &view.body, span),
            ViewPart::Materialized => self.expanded(database, "materialized", &view.name, &view.materialized, span),
        }
    }

    /// The rows of a view's body. The policy of its source holds in it, be the view named by a policy itself.
    fn expanded(&mut self, database: &str, kind: &str, name: &str, body: &str, span: Span) -> Bound<Tabular> {
        self.securing.push(Securing::View);
        let in_catalog = std::mem::replace(&mut self.in_catalog, true);
        let result = self.text_rows(database, kind, name, body, span);
        self.securing.pop();
        self.in_catalog = in_catalog;
        result
    }

    /// The rows of a policy's query, which sees what queries see.
    pub fn policy_rows(&mut self, database: &str, label: &str, body: &str, span: Span) -> Bound<Tabular> {
        let in_catalog = std::mem::replace(&mut self.in_catalog, false);
        let result = self.text_rows(database, "policy", label, body, span);
        self.in_catalog = in_catalog;
        result
    }

    /// `kind` tells the text from functions and from others of its name: no entity's name has a null character.
    fn text_rows(&mut self, database: &str, kind: &str, name: &str, body: &str, span: Span) -> Bound<Tabular> {
        let key = (database.to_string(), format!("\0{kind} {name}"));
        if !self.stored.contains_key(&key) {
            let parsed = parse_function_body("()", body);
            let read = match (parsed.tree, parsed.diagnostics.into_iter().next()) {
                (Some(lambda), None) => {
                    let (name, database) = (name.to_string(), database.to_string());
                    // The body of what is visible may read what a restriction hides.
                    let env = Some(bind::Env::ROOT);
                    Ok(Rc::new(FunctionDef { name, lambda, env, database, restriction: None }))
                }
                (_, Some(diagnostic)) => Err(diagnostic.message),
                (None, None) => Err("it has no body".to_string()),
            };
            self.stored.insert(key.clone(), read);
        }
        let function = match self.stored[&key].clone() {
            Ok(function) => function,
            Err(reason) => {
                return self.fail(diagnostic::SYNTAX, span, format!("'{name}' cannot be read: {reason}"));
            }
        };
        if self.calls.iter().any(|active| Rc::ptr_eq(active, &function)) {
            return self.fail(diagnostic::GENERAL, span, format!("'{name}' reads itself, which is not allowed"));
        }
        let outer = self.foreign.clone();
        if self.foreign.is_none() {
            self.foreign = Some((span, name.to_string()));
        }
        let result = self.invoke_function(&function, &[], None, &mut Row::none(), span);
        self.foreign = outer;
        match result? {
            AnyValue::Table(tabular) => Ok(Tabular { name: None, visualization: None, ..tabular }),
            AnyValue::Scalar(_) => self.table_expected(span),
        }
    }

    /// `stored_query_result("R")`.
    pub fn stored_query_result_call(&mut self, database: &str, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        self.count("stored_query_result", arguments.len(), 1, 1, span)?;
        let name = self.text_argument(&arguments[0], "the name of stored_query_result()")?;
        match self.view.stored_query_result(database, &name) {
            Some(table) => self.foreign_rows(table, span),
            None => {
                let names = self.view.stored_query_result_names(database);
                self.unresolved_entity("stored query result", &name, &names, arguments[0].value.span)
            }
        }
    }

    /// A name that no entity of its kind has.
    pub fn unresolved_entity<T>(&mut self, kind: &str, name: &str, names: &[String], span: Span) -> Bound<T> {
        let message = format!("Failed to resolve {kind} '{name}'");
        let diagnostic = Diagnostic::new(diagnostic::UNRESOLVED, span, message);
        Err(self.report(diagnostic.hint_nearest(name, names.iter().map(String::as_str))))
    }

    /// The stored views of a database whose names fit.
    pub fn stored_views(&mut self, database: &str, pattern: &str, span: Span) -> Bound<Vec<Input>> {
        let mut inputs = Vec::new();
        for name in self.view.function_names(database) {
            if crate::bind::project_names::matches_pattern(pattern, &name)
                && let Some(function) = self.view.function(database, &name)
                && function.is_view
                && let Some(input) = self.stored_view(database, &Name { text: name, span })?
            {
                inputs.push(input);
            }
        }
        Ok(inputs)
    }

    /// A stored function that is a view, as wildcards see it: without parameters and tabular.
    fn stored_view(&mut self, database: &str, name: &Name) -> Bound<Option<Input>> {
        let Some(function) = self.stored_function(database, name)? else { return Ok(None) };
        if !function.lambda.parameters.is_empty() {
            return Ok(None);
        }
        match self.invoke_function(&function, &[], None, &mut Row::none(), name.span)? {
            AnyValue::Table(tabular) => {
                let table = Some((Some(database.to_string()), name.text.clone()));
                Ok(Some(Input { rel: tabular.rel, table }))
            }
            AnyValue::Scalar(_) => Ok(None),
        }
    }

    /// Binds a function as it is when it is called, with scalar arguments that are not known yet.
    fn check(&mut self, lambda: &Lambda) -> Bound<()> {
        self.check_parameters(lambda)?;
        self.enter(self.env);
        for (position, parameter) in lambda.parameters.iter().enumerate() {
            let binding = match &parameter.ty {
                ParameterType::Scalar(ty) => {
                    let unknown = NeedKey(u64::MAX - position as u64);
                    Binding::Scalar(Rc::new(BExpr { kind: BExprKind::Needed(unknown), ty: *ty }))
                }
                ParameterType::Table(columns) => {
                    let columns = self.declared_columns(columns)?;
                    Binding::Table(self.rel(RelOp::Rows { rows: Vec::new() }, columns, parameter.name.span)?)
                }
                // Nothing is known of its columns.
                ParameterType::AnyTable => return Ok(()),
            };
            if let Some(default) = &parameter.default {
                let ParameterType::Scalar(ty) = parameter.ty else {
                    let message = "a tabular parameter has no default";
                    return self.fail(diagnostic::GENERAL, default.span, message);
                };
                let bound = self.expr(default, &mut Row::none())?;
                let from = bound.ty;
                if self.assignable(bound, ty, default.span)?.is_none() {
                    let message = format!("parameter '{}' is {ty}, but its default is {from}", parameter.name.text);
                    return self.fail(diagnostic::ARGUMENT_TYPE, default.span, message);
                }
            }
            self.define(&parameter.name.text, binding);
        }
        self.enter(self.env);
        self.function_body(lambda, &mut Row::none(), lambda.body_span).map(drop)
    }
}

/// The mistakes of a function that is to be stored, found without calling it. What depends on the values of arguments is not
/// judged.
pub fn check_function(lambda: &Lambda, view: &dyn CatalogView, context: &PlanContext) -> Vec<Diagnostic> {
    let known = std::collections::HashMap::new();
    let evaluator: &dyn Evaluate = &crate::lower::Evaluator;
    let mut binder = Binder::new(view, context, evaluator, &known);
    // Without diagnostics, `Stopped` says that a value was missing.
    let _ = binder.check(lambda);
    binder.diagnostics
}
