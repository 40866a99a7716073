//! `let`, functions and their calls, query parameters. Source: let-statement, user-defined-functions pages; kql-behaviour section 14.

use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{Argument, Expr, ExprKind, Lambda, Name, Parameter, ParameterType, Statement, StatementKind};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic, parse_function_body, parse_literal};

use crate::bind::row::Row;
use crate::bind::scope::{Binding, FunctionDef};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, MAX_CALL_DEPTH, Stopped};
use crate::bound::{BExpr, Constant, Rel, RelOp, SortKey, WindowFunction};

/// What the expansion of a call counts beside the nodes of its body.
const CALL_COST: usize = 20;

/// What a function gives.
pub(crate) enum AnyValue {
    Scalar(BExpr),
    Table(Tabular),
}

impl Binder<'_> {
    /// `let name = value`. A failure is reported once; later uses of the name stay silent.
    pub fn let_statement(&mut self, name: &Name, value: &Expr) {
        if self.is_defined_here(&name.text) {
            let message = format!("'{}' is already defined by an earlier 'let'", name.text);
            self.report(Diagnostic::new(diagnostic::DUPLICATE_LET, name.span, message));
            return;
        }
        let binding = self.let_value(name, value).unwrap_or(Binding::Failed);
        self.define(&name.text, binding);
    }

    fn let_value(&mut self, name: &Name, value: &Expr) -> Bound<Binding> {
        if let ExprKind::Lambda(lambda) = &value.kind {
            self.check_parameters(lambda)?;
            let function = Rc::new(FunctionDef {
                name: name.text.clone(),
                lambda: (**lambda).clone(),
                env: Some(self.env),
                database: self.database.clone(),
                restriction: self.view.restriction().cloned(),
            });
            self.check_function(&function, name.span);
            return Ok(Binding::Function(function));
        }
        if let ExprKind::EntityGroup(entities) = &value.kind {
            return Ok(Binding::EntityGroup(Rc::new(entities.clone())));
        }
        if self.is_tabular(value) {
            let tabular = self.tabular(value)?;
            self.not_branched(&tabular, value.span)?;
            return Ok(match tabular.graph {
                Some(graph) => Binding::Graph(graph),
                None => Binding::Table(tabular.rel),
            });
        }
        // `let f = g` with a function `g` that takes arguments is no value; a scalar is bound once and used as often as named.
        let expr = self.expr(value, &mut Row::none())?;
        Ok(Binding::Scalar(Rc::new(self.folded(expr))))
    }

    pub fn check_parameters(&mut self, lambda: &Lambda) -> Bound<()> {
        let mut failed = false;
        let mut scalar_seen = false;
        for (position, parameter) in lambda.parameters.iter().enumerate() {
            if lambda.parameters[..position].iter().any(|earlier| earlier.name.text == parameter.name.text) {
                let message = format!("parameter '{}' is declared twice", parameter.name.text);
                self.report(Diagnostic::new(diagnostic::DUPLICATE_LET, parameter.name.span, message));
                failed = true;
            }
            match parameter.ty {
                ParameterType::Scalar(ty) => {
                    scalar_seen = true;
                    if let Some(default) = &parameter.default {
                        failed |= self.default_of_type(parameter, default, ty).is_err();
                    }
                }
                ParameterType::Table(_) | ParameterType::AnyTable if scalar_seen => {
                    let message = "tabular parameters must stand before scalar ones";
                    self.report(Diagnostic::new(diagnostic::GENERAL, parameter.name.span, message));
                    failed = true;
                }
                ParameterType::Table(_) | ParameterType::AnyTable => {}
            }
        }
        if failed { Err(Stopped) } else { Ok(()) }
    }

    /// A default is a literal, not a name. Source: user-defined-functions page; the reference parser (KS132).
    fn literal_default(&mut self, parameter: &Parameter, default: &Expr) -> Bound<()> {
        let is_literal = match &default.kind {
            ExprKind::Literal(_) => true,
            ExprKind::Unary { operand, .. } => matches!(operand.kind, ExprKind::Literal(_)),
            _ => false,
        };
        if is_literal {
            return Ok(());
        }
        let message = format!("the default of parameter '{}' must be a literal", parameter.name.text);
        self.fail(diagnostic::NOT_CONSTANT, default.span, message)
    }

    /// Whether the default of a parameter is a value of its type.
    fn default_of_type(&mut self, parameter: &Parameter, default: &Expr, ty: KqlType) -> Bound<()> {
        self.literal_default(parameter, default)?;
        let expr = self.expr(default, &mut Row::none())?;
        let from = expr.ty;
        if self.assignable(expr, ty, default.span)?.is_some() {
            return Ok(());
        }
        let message = format!("the default of parameter '{}' must be {ty}, but it is {from}", parameter.name.text);
        self.fail(diagnostic::ARGUMENT_TYPE, default.span, message)
    }

    /// The stored function of a database, parsed; `None` when there is none of this name.
    pub fn stored_function(&mut self, database: &str, name: &Name) -> Bound<Option<Rc<FunctionDef>>> {
        if !self.view.allows(database, &name.text) {
            return Ok(None);
        }
        let key = (database.to_string(), name.text.clone());
        if !self.stored.contains_key(&key) {
            let Some(stored) = self.view.function(database, &name.text) else { return Ok(None) };
            let parsed = parse_function_body(&stored.parameters, &stored.body);
            let read = match (parsed.tree, parsed.diagnostics.into_iter().next()) {
                (Some(lambda), None) => {
                    let database = database.to_string();
                    Ok(Rc::new(FunctionDef { name: stored.name, lambda, env: None, database, restriction: None }))
                }
                (_, Some(diagnostic)) => Err(diagnostic.message),
                (None, None) => Err("it has no body".to_string()),
            };
            self.stored.insert(key.clone(), read);
        }
        match self.stored[&key].clone() {
            Ok(function) => Ok(Some(function)),
            Err(reason) => {
                let message = format!("the stored function '{}' cannot be read: {reason}", name.text);
                self.fail(diagnostic::SYNTAX, name.span, message)
            }
        }
    }

    /// Calls a function: arguments are bound where the call stands, the body where the function was defined
    /// (a stored function: where it is called, tables in its own database). `input` is the first tabular argument of `invoke`.
    pub fn invoke_function(
        &mut self,
        function: &Rc<FunctionDef>,
        arguments: &[Argument],
        input: Option<Tabular>,
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<AnyValue> {
        if self.calls.len() >= MAX_CALL_DEPTH {
            let message = format!("functions call each other deeper than {MAX_CALL_DEPTH} levels");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let is_stored = function.env.is_none();
        if is_stored && self.calls.iter().any(|active| Rc::ptr_eq(active, function)) {
            let message = format!("function '{}' calls itself, which is not allowed", function.name);
            return self.fail("SEM0057", span, message);
        }
        self.spend(CALL_COST, span)?;
        let bindings = self.bind_arguments(function, arguments, input, row, span)?;
        let outer_database = std::mem::replace(&mut self.database, function.database.clone());
        let outer_restriction = self.view.restrict(function.restriction.clone());
        // What a view's text may name, a function that it calls may not.
        let outer_catalog = self.in_catalog;
        self.in_catalog = outer_catalog && !is_stored;
        let outer_foreign = self.foreign.clone();
        if is_stored && self.foreign.is_none() {
            self.foreign = Some((span, function.name.clone()));
        }
        let outer_env = self.enter(function.env.unwrap_or(self.env));
        for (name, binding) in bindings {
            self.define(&name, binding);
        }
        self.calls.push(function.clone());
        let result = self.deeper(span, |binder| binder.function_body(&function.lambda, row, span));
        self.calls.pop();
        self.env = outer_env;
        self.database = outer_database;
        self.view.restrict(outer_restriction);
        self.in_catalog = outer_catalog;
        self.foreign = outer_foreign;
        result
    }

    /// Statements and value of a body; its names are looked up in the present block.
    pub fn function_body(&mut self, lambda: &Lambda, row: &mut Row<'_>, span: Span) -> Bound<AnyValue> {
        for statement in &lambda.statements {
            self.local_statement(statement);
        }
        let Some(body) = &lambda.body else {
            return self.fail(diagnostic::GENERAL, span, "the function has no result: its body has no expression");
        };
        if self.is_tabular(body) {
            let tabular = self.tabular(body)?;
            self.not_branched(&tabular, body.span)?;
            return Ok(AnyValue::Table(tabular));
        }
        // The body sees no column of the caller, but window functions in it are the caller's operator's.
        let mut inner = Row { windows: row.windows.take(), is_serialized: row.is_serialized, ..Row::none() };
        let result = self.expr(body, &mut inner);
        row.windows = inner.windows;
        Ok(AnyValue::Scalar(result?))
    }

    fn local_statement(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::Let { name, value } => self.let_statement(name, value),
            StatementKind::QueryParameters(parameters) => self.query_parameters(parameters),
            _ => {
                let message = "only 'let' and 'declare query_parameters' may stand in a function's body";
                self.report(Diagnostic::new(diagnostic::GENERAL, statement.span, message));
            }
        }
    }

    /// The parameters with their values: positional arguments first, then named ones, then defaults.
    fn bind_arguments(
        &mut self,
        function: &Rc<FunctionDef>,
        arguments: &[Argument],
        input: Option<Tabular>,
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<Vec<(String, Binding)>> {
        let parameters = &function.lambda.parameters;
        let mut given: Vec<Option<&Argument>> = vec![None; parameters.len()];
        let has_input = input.is_some();
        let mut failed = false;
        for (place, argument) in arguments.iter().enumerate() {
            let position = match &argument.name {
                None => place + usize::from(has_input),
                Some(label) => match parameters.iter().position(|parameter| parameter.name.text == label.text) {
                    Some(position) => position,
                    None => {
                        let message = format!("function '{}' has no parameter '{}'", function.name, label.text);
                        let names = parameters.iter().map(|parameter| parameter.name.text.as_str());
                        let diagnostic = Diagnostic::new(diagnostic::ARGUMENT_COUNT, label.span, message);
                        self.report(diagnostic.hint_nearest(&label.text, names));
                        failed = true;
                        continue;
                    }
                },
            };
            match given.get_mut(position) {
                Some(slot) if slot.is_none() => *slot = Some(argument),
                Some(_) => {
                    let message = format!("parameter '{}' is given twice", parameters[position].name.text);
                    self.report(Diagnostic::new(diagnostic::ARGUMENT_COUNT, argument.value.span, message));
                    failed = true;
                }
                None => {
                    return self.wrong_count(function, arguments.len() + usize::from(has_input), span);
                }
            }
        }
        if failed {
            return Err(Stopped);
        }
        let mut input = input;
        let mut bindings = Vec::with_capacity(parameters.len());
        for (position, (parameter, argument)) in parameters.iter().zip(&given).enumerate() {
            let binding = match (argument, input.take_if(|_| position == 0)) {
                (_, Some(tabular)) => self.table_argument(parameter, tabular, span),
                (Some(argument), None) => self.argument_binding(parameter, &argument.value, row),
                (None, None) => match &parameter.default {
                    Some(default) => self.default_binding(function, parameter, default),
                    None => {
                        return self.wrong_count(function, arguments.len() + usize::from(has_input), span);
                    }
                },
            };
            match binding {
                Ok(binding) => bindings.push((parameter.name.text.clone(), binding)),
                Err(Stopped) => failed = true,
            }
        }
        if input.is_some() {
            let message = format!("function '{}' takes no table, so it cannot be invoked on one", function.name);
            return self.fail(diagnostic::ARGUMENT_COUNT, span, message);
        }
        if failed { Err(Stopped) } else { Ok(bindings) }
    }

    fn wrong_count<T>(&mut self, function: &FunctionDef, given: usize, span: Span) -> Bound<T> {
        let most = function.lambda.parameters.len();
        let least = function.lambda.parameters.iter().filter(|parameter| parameter.default.is_none()).count();
        self.count(&function.name, given, least, most, span)?;
        // The number fits, but a required parameter was left out.
        let message = format!("{}(): a required argument is missing", function.name);
        self.fail(diagnostic::ARGUMENT_COUNT, span, message)
    }

    fn default_binding(&mut self, function: &FunctionDef, parameter: &Parameter, default: &Expr) -> Bound<Binding> {
        let outer = self.env;
        if let Some(env) = function.env {
            self.env = env;
        }
        let result = self.argument_binding(parameter, default, &mut Row::none());
        self.env = outer;
        result
    }

    fn argument_binding(&mut self, parameter: &Parameter, value: &Expr, row: &mut Row<'_>) -> Bound<Binding> {
        let ParameterType::Scalar(ty) = &parameter.ty else {
            let tabular = self.single_table(value)?;
            return self.table_argument(parameter, tabular, value.span);
        };
        let expr = self.expr(value, row)?;
        self.note_row_argument(&expr, row);
        let from = expr.ty;
        let Some(converted) = self.assignable(expr, *ty, value.span)? else {
            let message = format!("parameter '{}' must be {ty}, but the argument is {from}", parameter.name.text);
            return self.fail(diagnostic::ARGUMENT_TYPE, value.span, message);
        };
        Ok(Binding::Scalar(Rc::new(self.folded(converted))))
    }

    fn table_argument(&mut self, parameter: &Parameter, tabular: Tabular, span: Span) -> Bound<Binding> {
        match &parameter.ty {
            ParameterType::Scalar(_) => self.scalar_expected(span),
            ParameterType::AnyTable => Ok(Binding::Table(tabular.rel)),
            ParameterType::Table(declared) => {
                let mut failed = false;
                for column in declared {
                    let found = tabular.rel.column(&column.name.text).map(|found| found.ty);
                    if found == Some(column.ty) {
                        continue;
                    }
                    let found = found.map_or("no such column".to_string(), |ty| format!("one of type {ty}"));
                    let message = format!(
                        "parameter '{}' needs a column '{}' of type {}, but the table has {found}",
                        parameter.name.text, column.name.text, column.ty
                    );
                    self.report(Diagnostic::new(diagnostic::ARGUMENT_TYPE, span, message));
                    failed = true;
                }
                if failed { Err(Stopped) } else { Ok(Binding::Table(tabular.rel)) }
            }
        }
    }

    /// `declare query_parameters`. Source: kusto-rest section 2.
    pub fn query_parameters(&mut self, parameters: &[Parameter]) {
        for parameter in parameters {
            if self.is_defined_here(&parameter.name.text) {
                let message = format!("'{}' is already defined", parameter.name.text);
                self.report(Diagnostic::new(diagnostic::DUPLICATE_LET, parameter.name.span, message));
                continue;
            }
            let binding = match self.query_parameter(parameter) {
                Ok(constant) => Binding::Scalar(Rc::new(BExpr::constant(constant))),
                Err(Stopped) => Binding::Failed,
            };
            self.define(&parameter.name.text, binding);
        }
    }

    fn query_parameter(&mut self, parameter: &Parameter) -> Bound<Constant> {
        let name = &parameter.name;
        let ParameterType::Scalar(ty) = parameter.ty else {
            return self.fail(diagnostic::GENERAL, name.span, "a query parameter must be scalar");
        };
        if let Some(value) = self.context.parameters.get(&name.text) {
            return match self.parameter_value(value, ty, name.span)? {
                Some(constant) => Ok(constant),
                None => {
                    let message = format!("the value {value} of query parameter '{}' is not of type {ty}", name.text);
                    self.fail(diagnostic::PARAMETER_VALUE, name.span, message)
                }
            };
        }
        let Some(default) = &parameter.default else {
            let message = format!("query parameter '{}' has no value and no default", name.text);
            return self.fail(diagnostic::PARAMETER_VALUE, name.span, message);
        };
        self.literal_default(parameter, default)?;
        let what = format!("the default of query parameter '{}'", name.text);
        let bound = self.expr(default, &mut Row::none())?;
        let constant = self.constant(&bound, default.span, &what)?;
        self.constant_of_type(constant, ty, default.span, &what)
    }

    fn parameter_value(&mut self, value: &serde_json::Value, ty: KqlType, span: Span) -> Bound<Option<Constant>> {
        use serde_json::Value as Json;
        let text = match value {
            Json::Null => return Ok(Some(Constant::null(ty))),
            // A complete string literal is read as one, any other text is the value itself.
            Json::String(text) if ty == KqlType::String => {
                return Ok(Some(match quoted_literal(text) {
                    Some(inner) => Constant::string(inner),
                    None => Constant::string(text.clone()),
                }));
            }
            Json::String(text) => text.clone(),
            Json::Array(_) | Json::Object(_) if ty == KqlType::Dynamic => {
                let value = crate::bound::Value::Dynamic(value.to_string());
                return Ok(Some(Constant { value, ty }));
            }
            Json::Array(_) | Json::Object(_) => return Ok(None),
            Json::Bool(_) | Json::Number(_) if ty == KqlType::String => {
                return Ok(Some(Constant::string(value.to_string())));
            }
            Json::Bool(flag) if ty == KqlType::Bool => return Ok(Some(Constant::bool(*flag))),
            Json::Bool(_) | Json::Number(_) => value.to_string(),
        };
        let Some(literal) = parse_literal(&text, ty) else { return Ok(None) };
        let constant = self.literal_constant(&literal, span)?;
        Ok(Some(self.constant_of_type(constant, ty, span, "the value of a query parameter")?))
    }

    /// `materialize(T)`: one computation, however often its name is used. Rows in an order keep it: they are kept
    /// with their numbers, by which every use sorts them.
    pub fn materialized(&mut self, rel: Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let id = self.fresh_shared();
        if !rel.is_serialized {
            return self.reading(id, &rel, span);
        }
        let is_sorted = rel.is_sorted;
        let mut columns = rel.columns.clone();
        columns.push(self.fresh_column("", KqlType::Long));
        let functions = vec![WindowFunction::RowNumber { start: Constant::long(0), restart: None }];
        let numbered = self.rel(RelOp::Window { input: rel, partition: Vec::new(), functions }, columns, span)?;
        let reading = self.reading(id, &numbered, span)?;
        let Some((number, shown)) = reading.columns.split_last() else { return Ok(reading) };
        let keys = vec![SortKey { expr: BExpr::column(number), ascending: true, nulls_first: true }];
        let (shown, columns) = (shown.to_vec(), reading.columns.clone());
        let sorted = self.rel(RelOp::Sort { input: reading, keys, fetch: None }, columns, span)?;
        let ordered = self.columns_only(&sorted, &shown, span)?;
        Ok(Arc::new(Rel { is_sorted, ..(*ordered).clone() }))
    }
}

/// The text of a complete KQL string literal.
fn quoted_literal(text: &str) -> Option<String> {
    let starts = ["\"", "'", "@\"", "@'", "h\"", "h'", "H\"", "H'"].iter().any(|start| text.starts_with(start));
    if !starts || text.len() < 2 {
        return None;
    }
    match parse_literal(text, KqlType::String)? {
        tidewater_kql::ast::Literal::String(inner) if inner != text => Some(inner),
        _ => None,
    }
}
