//! Where rows come from: tables, functions, `datatable`, `materialize`, other databases.

use std::sync::Arc;

use tidewater_kql::ast::{Argument, ColumnDeclaration, Expr, ExprKind, Lambda, Name, ParameterType, StatementKind};
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::{Binding, FunctionDef};
use crate::bind::secure::ViewPart;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BoundResult, Graph, Rel, RelOp, Value};
use crate::catalog::TableHandle;

/// A tabular value with what travels beside its rows.
#[derive(Clone, Debug)]
pub(crate) struct Tabular {
    pub rel: Arc<Rel>,
    /// Database and name, when this is a table itself; a `view` has a name only.
    pub table: Option<(Option<String>, String)>,
    /// The result's name.
    pub name: Option<String>,
    /// From `render`.
    pub visualization: Option<serde_json::Value>,
    /// The results of `fork` and `facet`; then `rel` is the first of them.
    pub branches: Vec<BoundResult>,
    /// A graph, which only graph operators read; then `rel` is empty and nobody may use it.
    pub graph: Option<Arc<Graph>>,
}

impl Tabular {
    /// Rows with nothing beside them.
    pub fn of(rel: Arc<Rel>) -> Tabular {
        Tabular { rel, table: None, name: None, visualization: None, branches: Vec::new(), graph: None }
    }
}

/// How deep `is_tabular` looks through functions that name functions.
const MAX_PEEK: usize = 32;

impl Binder<'_> {
    /// Whether an expression is tabular, by its form and by what its names stand for. Never reports.
    pub fn is_tabular(&mut self, expr: &Expr) -> bool {
        self.peek(expr, None, 0)
    }

    fn peek(&mut self, expr: &Expr, body: Option<&FunctionDef>, depth: usize) -> bool {
        if depth > MAX_PEEK {
            return false;
        }
        if let Some(reference) = self.pattern_reference(expr) {
            return match self.pattern_match(&reference) {
                Some(found) => self.peek_function(&reference.pattern.function_of(&found), depth + 1),
                // What is missing is asked for as a table.
                None => true,
            };
        }
        match &expr.kind {
            ExprKind::Pipe(pipeline) => match &pipeline.source {
                Some(source) if pipeline.operators.is_empty() => self.peek(source, body, depth + 1),
                _ => true,
            },
            ExprKind::DataTable { .. }
            | ExprKind::ExternalData { .. }
            | ExprKind::InlineExternalTable(_)
            | ExprKind::OtherSource { .. }
            | ExprKind::Wildcard(_) => true,
            ExprKind::Name(name) => self.peek_name(name, body, depth),
            ExprKind::Member { base, .. } => self.is_database_path(base),
            ExprKind::Call { base: Some(base), .. } => self.is_database_path(base),
            ExprKind::Call { base: None, name, .. } => match name.text.as_str() {
                "table" | "materialize" | "external_table" | "materialized_view" | "totable" | "view" => true,
                "stored_query_result" | "graph" => true,
                _ => {
                    let known = matches!(self.binding_for(name, body), Some(Binding::Function(_)));
                    let builtin = tidewater_functions::find_scalar(&name.text).is_some();
                    (known || !builtin) && self.peek_name(name, body, depth)
                }
            },
            _ => false,
        }
    }

    fn binding_for(&mut self, name: &Name, body: Option<&FunctionDef>) -> Option<Binding> {
        match body.and_then(|function| function.env) {
            Some(env) => {
                let outer = std::mem::replace(&mut self.env, env);
                let found = self.lookup(&name.text);
                self.env = outer;
                found
            }
            None => self.lookup(&name.text),
        }
    }

    fn peek_name(&mut self, name: &Name, body: Option<&FunctionDef>, depth: usize) -> bool {
        if let Some(function) = body
            && let Some(found) = self.peek_local(name, function, depth)
        {
            return found;
        }
        match self.binding_for(name, body) {
            Some(Binding::Table(_) | Binding::Graph(_)) => true,
            Some(Binding::Function(function)) => self.peek_function(&function, depth + 1),
            Some(Binding::Entity(entity, _)) => self.peek(&entity, body, depth + 1),
            Some(Binding::Scalar(_) | Binding::Pattern(_) | Binding::EntityGroup(_) | Binding::Failed) => false,
            None => {
                let database = body.map_or_else(|| self.database.clone(), |function| function.database.clone());
                if let Ok(Some(function)) = self.attempt(|binder| binder.stored_function(&database, name)) {
                    return self.peek_function(&function, depth + 1);
                }
                self.view.table(&database, &name.text).is_some()
                    || self.view.materialized_view(&database, &name.text).is_some()
            }
        }
    }

    /// A name that the function's own lets or parameters define.
    fn peek_local(&mut self, name: &Name, function: &FunctionDef, depth: usize) -> Option<bool> {
        let lambda: &Lambda = &function.lambda;
        let local = lambda.statements.iter().rev().find_map(|statement| match &statement.kind {
            StatementKind::Let { name: defined, value } if defined.text == name.text => Some(value),
            _ => None,
        });
        if let Some(value) = local {
            return Some(match &value.kind {
                ExprKind::Lambda(inner) => {
                    inner.body.as_ref().is_some_and(|body| self.peek(body, Some(function), depth + 1))
                }
                _ => self.peek(value, Some(function), depth + 1),
            });
        }
        let parameter = lambda.parameters.iter().find(|parameter| parameter.name.text == name.text)?;
        Some(!matches!(parameter.ty, ParameterType::Scalar(_)))
    }

    fn peek_function(&mut self, function: &FunctionDef, depth: usize) -> bool {
        let Some(body) = &function.lambda.body else { return false };
        let outer = self.view.restrict(function.restriction.clone());
        let is_tabular = self.peek(body, Some(function), depth + 1);
        self.view.restrict(outer);
        is_tabular
    }

    /// Whether a call of the function is tabular.
    pub fn is_tabular_function(&mut self, function: &FunctionDef) -> bool {
        self.peek_function(function, 0)
    }

    fn is_database_path(&mut self, base: &Expr) -> bool {
        match &base.kind {
            ExprKind::Call { name, .. } => matches!(name.text.as_str(), "database" | "cluster"),
            ExprKind::Name(name) => match self.lookup(&name.text) {
                Some(Binding::Entity(entity, _)) => self.is_database_path(&entity),
                _ => false,
            },
            ExprKind::Member { base, .. } => self.is_database_path(base),
            _ => false,
        }
    }

    /// Binds a tabular expression.
    pub fn tabular(&mut self, expr: &Expr) -> Bound<Tabular> {
        self.spend(1, expr.span)?;
        self.deeper(expr.span, |binder| binder.tabular_of(expr))
    }

    /// A tabular expression whose rows go on in a query: not the several results of `fork`.
    pub fn single_table(&mut self, expr: &Expr) -> Bound<Tabular> {
        let tabular = self.tabular(expr)?;
        self.one_table(&tabular, expr.span)?;
        Ok(tabular)
    }

    /// Refuses several results and graphs where one table is expected.
    pub fn one_table(&mut self, tabular: &Tabular, span: Span) -> Bound<()> {
        if tabular.graph.is_some() {
            let message =
                "a table is expected here, but this is a graph: a graph operator such as 'graph-match' must follow";
            return self.fail(diagnostic::GENERAL, span, message);
        }
        self.not_branched(tabular, span)
    }

    /// Refuses several results where one table or graph is expected.
    pub fn not_branched(&mut self, tabular: &Tabular, span: Span) -> Bound<()> {
        if tabular.branches.is_empty() {
            return Ok(());
        }
        self.fail(diagnostic::GENERAL, span, "'fork' and 'facet' give several results and must be the last operator")
    }

    fn tabular_of(&mut self, expr: &Expr) -> Bound<Tabular> {
        // A source of its own does not read the rows of the operator that it stands in.
        let outer = self.hidden.take();
        let result = self.tabular_kind(expr);
        self.hidden = outer;
        result
    }

    fn tabular_kind(&mut self, expr: &Expr) -> Bound<Tabular> {
        if let Some(reference) = self.pattern_reference(expr) {
            return match self.pattern_value(&reference)? {
                AnyValue::Table(tabular) => Ok(Tabular { name: None, table: None, visualization: None, ..tabular }),
                AnyValue::Scalar(_) => self.table_expected(expr.span),
            };
        }
        match &expr.kind {
            ExprKind::Name(name) => self.named_table(name),
            ExprKind::Member { base, name } if self.is_database_path(base) => {
                let database = self.database_of(base)?;
                self.table_in(&database, name)
            }
            ExprKind::Call { base: Some(base), name, arguments } => {
                let database = self.database_of(base)?;
                match name.text.as_str() {
                    "table" => return self.table_call(&database, arguments, expr.span),
                    "external_table" => return self.external_table_call(&database, arguments, expr.span),
                    "materialized_view" => return self.materialized_view_call(&database, arguments, expr.span),
                    "stored_query_result" => return self.stored_query_result_call(&database, arguments, expr.span),
                    _ => {}
                }
                if name.text == "graph" {
                    return self.stored_graph(&database, arguments, expr.span);
                }
                let Some(function) = self.stored_function(&database, name)? else {
                    return self.unknown_function(name);
                };
                self.table_of_call(&function, arguments, expr.span)
            }
            ExprKind::Call { base: None, name, arguments } => self.tabular_call(name, arguments, expr.span),
            ExprKind::Pipe(pipeline) => self.pipeline(pipeline, expr.span),
            ExprKind::DataTable { columns, values } => Ok(Tabular::of(self.datatable(columns, values, expr.span)?)),
            ExprKind::ExternalData { .. } | ExprKind::InlineExternalTable(_)
                if self.flag("request_external_data_disabled") =>
            {
                self.fail(diagnostic::GENERAL, expr.span, "the request disables external data")
            }
            ExprKind::ExternalData { columns, uris, properties } => {
                self.external_data(columns, uris, properties, expr.span)
            }
            ExprKind::InlineExternalTable(definition) => self.inline_external_table(definition, expr.span),
            ExprKind::OtherSource { what } => self.not_served(expr.span, format!("'{what}'")),
            ExprKind::EntityGroup(_) => {
                self.fail(diagnostic::GENERAL, expr.span, "an entity group is for 'macro-expand' only")
            }
            ExprKind::Wildcard(name) => {
                let message = format!("'{}': a wildcard is allowed in 'union' only", name.text);
                self.fail(diagnostic::GENERAL, expr.span, message)
            }
            ExprKind::Error => Err(self.syntax_error(expr.span)),
            ExprKind::Lambda(_) => self.not_served(expr.span, "a function without a name"),
            _ => {
                // A mistake inside the scalar says more than that it is one.
                self.expr(expr, &mut Row::none())?;
                self.table_expected(expr.span)
            }
        }
    }

    fn named_table(&mut self, name: &Name) -> Bound<Tabular> {
        match self.lookup(&name.text) {
            Some(Binding::Table(rel)) => Ok(Tabular::of(self.relabeled(&rel, name.span)?)),
            Some(Binding::Graph(graph)) => self.graph_value(graph, name.span),
            Some(Binding::Function(function)) => self.table_of_call(&function, &[], name.span),
            Some(Binding::Scalar(_)) => self.table_expected(name.span),
            Some(Binding::Failed) => Err(Stopped),
            Some(Binding::Entity(entity, env)) => self.inside_entity(env, |binder| binder.tabular(&entity)),
            Some(Binding::EntityGroup(_)) => {
                let message = format!("'{}' is an entity group: 'macro-expand' takes it", name.text);
                self.fail(diagnostic::GENERAL, name.span, message)
            }
            Some(Binding::Pattern(_)) => {
                self.fail(diagnostic::ARGUMENT_COUNT, name.span, format!("pattern '{}' needs its arguments", name.text))
            }
            None => {
                let database = self.database.clone();
                self.table_in(&database, name)
            }
        }
    }

    /// A function or table of a database; a function hides a table of the same name.
    fn table_in(&mut self, database: &str, name: &Name) -> Bound<Tabular> {
        if let Some(function) = self.stored_function(database, name)? {
            return self.table_of_call(&function, &[], name.span);
        }
        self.scan(database, &name.text, name.span)
    }

    /// The rows of a table.
    pub fn scan(&mut self, database: &str, name: &str, span: Span) -> Bound<Tabular> {
        // Texts of views name internal tables; queries cannot.
        let may_name = self.in_catalog || !self.view.is_internal(name);
        let Some(table) = may_name.then(|| self.view.table(database, name)).flatten() else {
            if let Some(view) = self.view.materialized_view(database, name) {
                return self.whole_view(database, &view, span);
            }
            let mut names = self.view.table_names(database);
            names.extend(self.view.materialized_view_names(database));
            names.extend(self.view.function_names(database));
            names.extend(self.visible_names());
            let diagnostic = Diagnostic::new(
                diagnostic::UNRESOLVED,
                span,
                format!("Failed to resolve table or column expression named '{name}'"),
            )
            .hint_nearest(name, names.iter().map(String::as_str));
            return Err(self.report(diagnostic));
        };
        let secured = self.secured(&table.database, &table.name, ViewPart::Whole, &table.schema, span)?;
        match secured {
            Some(secured) => Ok(secured),
            None => self.table_rows(table, span),
        }
    }

    /// The rows of a table that is none of the catalog's own: what hides behind a table of its name is not theirs.
    pub fn foreign_rows(&mut self, table: Arc<TableHandle>, span: Span) -> Bound<Tabular> {
        let columns =
            table.schema.columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect::<Vec<_>>();
        let projection = (0..columns.len()).collect();
        let name = table.name.clone();
        let rel = self.rel(RelOp::Table { table, projection }, columns, span)?;
        let rel = Arc::new(Rel { hidden: None, ..rel.as_ref().clone() });
        let rel = self.in_time_scope(rel, span)?;
        Ok(Tabular { name: Some(name), ..Tabular::of(rel) })
    }

    /// The rows of a table that has been found, whatever its policy.
    pub fn table_rows(&mut self, table: Arc<TableHandle>, span: Span) -> Bound<Tabular> {
        let columns =
            table.schema.columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect::<Vec<_>>();
        let projection = (0..columns.len()).collect();
        let named = (Some(table.database.clone()), table.name.clone());
        let rel = self.rel(RelOp::Table { table, projection }, columns, span)?;
        let rel = self.in_cursor_scope(&named.1, rel, span)?;
        let rel = self.in_time_scope(rel, span)?;
        Ok(Tabular { name: Some(named.1.clone()), table: Some(named), ..Tabular::of(rel) })
    }

    fn table_of_call(
        &mut self,
        function: &std::rc::Rc<FunctionDef>,
        arguments: &[Argument],
        span: Span,
    ) -> Bound<Tabular> {
        match self.invoke_function(function, arguments, None, &mut Row::none(), span)? {
            AnyValue::Table(tabular) => {
                let table = function.lambda.is_view.then(|| (None, function.name.clone()));
                Ok(Tabular { name: None, table, visualization: None, ..tabular })
            }
            AnyValue::Scalar(_) => self.table_expected(span),
        }
    }

    fn tabular_call(&mut self, name: &Name, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        match self.lookup(&name.text) {
            Some(Binding::Function(function)) => return self.table_of_call(&function, arguments, span),
            Some(Binding::Failed) => return Err(Stopped),
            _ => {}
        }
        match name.text.as_str() {
            "table" => {
                let database = self.database.clone();
                // A tabular variable is a table too, where the database has none of its name.
                if let [Argument { name: None, value }, ..] = arguments {
                    let text = self.text_argument(&arguments[0], "the name of table()")?;
                    let is_variable = matches!(self.lookup(&text), Some(Binding::Table(_)));
                    if is_variable
                        && self.view.table(&database, &text).is_none()
                        && self.view.materialized_view(&database, &text).is_none()
                    {
                        return self.named_table(&Name { text, span: value.span });
                    }
                }
                self.table_call(&database, arguments, span)
            }
            "materialize" => {
                let [Argument { name: None, value }] = arguments else {
                    return self.count("materialize", arguments.len(), 1, 1, span).and(Err(Stopped));
                };
                let tabular = self.tabular(value)?;
                self.not_branched(&tabular, value.span)?;
                if tabular.graph.is_some() {
                    // A graph is computed once however often it is read.
                    return Ok(tabular);
                }
                Ok(Tabular::of(self.materialized(tabular.rel, span)?))
            }
            "graph" => {
                let database = self.database.clone();
                self.stored_graph(&database, arguments, span)
            }
            "external_table"
                if self.flag("request_external_data_disabled") || self.flag("request_external_table_disabled") =>
            {
                self.fail(diagnostic::GENERAL, span, "the request disables external tables")
            }
            "external_table" => {
                let database = self.database.clone();
                self.external_table_call(&database, arguments, span)
            }
            "materialized_view" => {
                let database = self.database.clone();
                self.materialized_view_call(&database, arguments, span)
            }
            "stored_query_result" => {
                let database = self.database.clone();
                self.stored_query_result_call(&database, arguments, span)
            }
            "totable" | "view" => self.not_served(span, format!("{}()", name.text)),
            "database" | "cluster" => self.fail(
                diagnostic::GENERAL,
                span,
                format!("{}() is not a table: a table's name must follow", name.text),
            ),
            _ => {
                let database = self.database.clone();
                let builtin = tidewater_functions::find_scalar(&name.text).is_some()
                    || tidewater_functions::find_aggregate(&name.text).is_some();
                match self.stored_function(&database, name)? {
                    Some(function) => self.table_of_call(&function, arguments, span),
                    None if builtin => self.table_expected(span),
                    None => self.unknown_function(name),
                }
            }
        }
    }

    /// `table("T")`: the table itself, even where a function has the same name.
    fn table_call(&mut self, database: &str, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        self.count("table", arguments.len(), 1, 2, span)?;
        let name = self.text_argument(&arguments[0], "the name of table()")?;
        if let Some(scope) = arguments.get(1) {
            let text = self.text_argument(scope, "the data scope of table()")?;
            if !["all", "hotcache", "default", ""].contains(&text.to_ascii_lowercase().as_str()) {
                let message = format!("table() has the data scopes 'hotcache', 'all' and 'default', found '{text}'");
                return self.fail(diagnostic::NOT_IN_LIST, scope.value.span, message);
            }
        }
        self.scan(database, &name, arguments[0].value.span)
    }

    pub fn text_argument(&mut self, argument: &Argument, what: &str) -> Bound<String> {
        let bound = self.expr(&argument.value, &mut Row::none())?;
        match self.constant(&bound, argument.value.span, what)?.value {
            Value::String(text) => Ok(text),
            _ => self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, format!("{what} must be a string")),
        }
    }

    /// The database that `database("x")`, `cluster("c").database("x")` or an alias names.
    pub fn database_of(&mut self, expr: &Expr) -> Bound<String> {
        match &expr.kind {
            ExprKind::Call { base, name, arguments } if name.text == "database" => {
                if let Some(cluster) = base {
                    self.own_cluster(cluster)?;
                }
                if arguments.is_empty() {
                    return Ok(self.database.clone());
                }
                self.count("database", arguments.len(), 1, 1, expr.span)?;
                let wanted = self.text_argument(&arguments[0], "the name of database()")?;
                if wanted.is_empty() {
                    return Ok(self.database.clone());
                }
                // An alias is looked for first: it is the nearer definition.
                if let Some(aliased) = self.aliases.get(&wanted).filter(|_| base.is_none()) {
                    return aliased.clone().ok_or(Stopped);
                }
                match self.view.database(&wanted) {
                    Some(name) => Ok(name),
                    None => {
                        let names = self.view.database_names();
                        let diagnostic = Diagnostic::new(
                            diagnostic::UNRESOLVED,
                            arguments[0].value.span,
                            format!("Failed to resolve database '{wanted}'"),
                        )
                        .hint_nearest(&wanted, names.iter().map(String::as_str));
                        Err(self.report(diagnostic))
                    }
                }
            }
            ExprKind::Name(name) => match self.lookup(&name.text) {
                Some(Binding::Entity(entity, env)) => self.inside_entity(env, |binder| binder.database_of(&entity)),
                Some(Binding::Failed) => Err(Stopped),
                _ => self.database_expected(expr.span),
            },
            _ => self.database_expected(expr.span),
        }
    }

    fn database_expected<T>(&mut self, span: Span) -> Bound<T> {
        self.fail(diagnostic::GENERAL, span, "a database is expected here: database(\"name\")")
    }

    /// Only this server itself can be meant: `cluster(".")`, `cluster("localhost...")`.
    pub fn own_cluster(&mut self, expr: &Expr) -> Bound<()> {
        if let ExprKind::Name(name) = &expr.kind
            && let Some(Binding::Entity(entity, env)) = self.lookup(&name.text)
        {
            return self.inside_entity(env, |binder| binder.own_cluster(&entity));
        }
        let ExprKind::Call { base: None, name, arguments } = &expr.kind else {
            return self.fail(diagnostic::GENERAL, expr.span, "cluster(\"name\") is expected before database()");
        };
        if name.text != "cluster" {
            return self.fail(diagnostic::GENERAL, expr.span, "cluster(\"name\") is expected before database()");
        }
        self.count("cluster", arguments.len(), 1, 1, expr.span)?;
        let wanted = self.text_argument(&arguments[0], "the name of cluster()")?;
        let host = wanted.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split(['/', ':']).next().unwrap_or_default();
        if matches!(host, "" | "." | "localhost" | "127.0.0.1") || self.view.is_own_cluster(&wanted) {
            return Ok(());
        }
        self.not_served(expr.span, format!("a query to another cluster ('{wanted}')"))
    }

    /// `datatable`: constants converted to the columns' types. Source: datatable-operator page.
    fn datatable(&mut self, declared: &[ColumnDeclaration], values: &[Expr], span: Span) -> Bound<Arc<Rel>> {
        let columns = self.declared_columns(declared)?;
        if columns.is_empty() || !values.len().is_multiple_of(columns.len()) {
            let message = format!(
                "the number of values ({}) must be a multiple of the number of columns ({})",
                values.len(),
                columns.len()
            );
            // The values are the place; the whole when there is none.
            let place = match values {
                [first, .., last] => first.span.to(last.span),
                [only] => only.span,
                [] => span,
            };
            return self.fail(diagnostic::GENERAL, place, message);
        }
        self.spend(values.len(), span)?;
        let mut rows = Vec::with_capacity(values.len() / columns.len());
        let mut failed = false;
        for cells in values.chunks(columns.len()) {
            let mut row = Vec::with_capacity(columns.len());
            for (cell, column) in cells.iter().zip(&columns) {
                match self.cell(cell, column.ty) {
                    Ok(value) => row.push(value),
                    Err(Stopped) => failed = true,
                }
            }
            rows.push(row);
        }
        if failed {
            return Err(Stopped);
        }
        self.rel(RelOp::Rows { rows }, columns, span)
    }

    fn cell(&mut self, cell: &Expr, ty: tidewater_kql::KqlType) -> Bound<Value> {
        let bound = self.expr(cell, &mut Row::none())?;
        let converted = self.convert(bound, ty);
        Ok(self.constant(&converted, cell.span, "a value of datatable")?.value)
    }

    /// Declared columns with fresh ids; a name twice is refused.
    pub fn declared_columns(&mut self, declared: &[ColumnDeclaration]) -> Bound<Vec<crate::bound::BoundColumn>> {
        let mut columns: Vec<crate::bound::BoundColumn> = Vec::with_capacity(declared.len());
        let mut failed = false;
        for column in declared {
            if columns.iter().any(|earlier| earlier.name == column.name.text) {
                self.duplicate_column(&column.name.text, column.name.span);
                failed = true;
            }
            columns.push(self.fresh_column(&column.name.text, column.ty));
        }
        if failed { Err(Stopped) } else { Ok(columns) }
    }

    /// A column name used twice.
    pub fn duplicate_column(&mut self, name: &str, span: Span) -> Stopped {
        let message = format!("a column with the name '{name}' is already declared");
        self.report(Diagnostic::new(diagnostic::DUPLICATE_COLUMN, span, message))
    }
}
