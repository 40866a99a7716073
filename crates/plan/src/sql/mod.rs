//! SQL statements of the Query Service: text to a classified statement, statement to an engine plan.
//!
//! Input: one SQL text and a catalog view. Output: what the statement does (`Statement`) and, for
//! what returns rows, a plan with its KQL columns. Syntax faults come from `parse_statement`;
//! everything that needs the catalog comes from `plan_rows`. Codes are SQLSTATEs.
//! Source: query-service-api sections 5, 7, 19, 21.

mod define;
mod dialect;
mod names;
mod repeated;
mod session;
mod spark;
mod tables;
mod values;
mod views;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::SchemaProvider;
use datafusion::common::format::ExplainFormat;
use datafusion::common::{ParamValues, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::{self, ObjectName, Statement as Ast, TableObject};
use datafusion::sql::sqlparser::parser::ParserError;
use tidewater_kql::{Column, KqlType, TableSchema};

pub use define::Definition;
pub use dialect::{Variables, literal, with_variables};
pub use session::{SessionStatement, literal_values};
pub use spark::{REFUSED as REFUSED_FUNCTIONS, register};
pub use tables::{CATALOG, SqlCatalogs, sql_columns, sql_type};
pub use values::typed_values;
pub use views::{NoViews, SqlView, SqlViews, qualified};

use crate::PlanContext;
use crate::catalog::{CatalogView, TableHandle};

/// A fault of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFault {
    /// SQLSTATE, e.g. `42P01`.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl SqlFault {
    /// A fault with a code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A statement or clause that this server does not serve yet.
    pub fn not_served(what: impl fmt::Display) -> Self {
        Self::new(NOT_SUPPORTED, format!("{what} is not served yet"))
    }

    /// Whether the caller can repair it (`USER_ERROR`), as opposed to `SYSTEM_ERROR`.
    pub fn is_user_error(&self) -> bool {
        !matches!(self.code, SYSTEM | OUT_OF_MEMORY)
    }
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for SqlFault {}

/// Syntax.
pub const SYNTAX: &str = "42601";
/// A table that does not exist.
pub const UNKNOWN_TABLE: &str = "42P01";
/// A table that exists already.
pub const TABLE_EXISTS: &str = "42P07";
/// A column that does not exist.
pub const UNKNOWN_COLUMN: &str = "42703";
/// Types that do not fit.
pub const TYPE_MISMATCH: &str = "42804";
/// Division by zero.
pub const DIVISION_BY_ZERO: &str = "22012";
/// A documented feature that is not served.
pub const NOT_SUPPORTED: &str = "0A000";
/// Out of memory.
pub const OUT_OF_MEMORY: &str = "53200";
/// A limit or the time is exceeded.
pub const LIMIT_EXCEEDED: &str = "53400";
/// Cancelled.
pub const CANCELLED: &str = "57014";
/// A fault of the server.
pub const SYSTEM: &str = "58000";

/// Largest statement.
pub const MAX_STATEMENT_BYTES: usize = 1_000_000;

/// A table's name in a statement: the database when qualified, and the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Before the dot.
    pub database: Option<String>,
    /// After it.
    pub table: String,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Returns rows: the SELECT family, EXPLAIN.
    Rows(Box<Ast>),
    /// `SHOW TABLES`.
    ShowTables,
    /// `CREATE TABLE name AS query`.
    CreateTableAs {
        /// The new table.
        table: TableName,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// What fills it.
        query: Box<Ast>,
    },
    /// `INSERT INTO name [columns] query`.
    InsertInto {
        /// The table.
        table: TableName,
        /// The columns named, or none for all by position.
        columns: Vec<String>,
        /// What is inserted.
        query: Box<Ast>,
    },
    /// `DROP TABLE [IF EXISTS] name`.
    DropTable {
        /// The table.
        table: TableName,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `CREATE VIEW name AS query`.
    CreateView {
        /// The view.
        view: TableName,
        /// Names of its columns, or none for the query's.
        columns: Vec<String>,
        /// Its query.
        query: Box<ast::Query>,
        /// `OR REPLACE`.
        or_replace: bool,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// `TEMPORARY`: of the session.
        temporary: bool,
    },
    /// `DROP VIEW [IF EXISTS] name`.
    DropView {
        /// The view.
        view: TableName,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `$$BEGIN ...; EXCEPTION WHEN OTHER THEN ...; END$$`
    Block {
        /// What runs.
        body: Vec<Statement>,
        /// What runs when one of them fails.
        handler: Option<Vec<Statement>>,
    },
    /// `SET @name = query`
    SetVariable {
        /// With its sign, in lower case.
        name: String,
        /// What gives the value.
        query: Box<Ast>,
    },
    /// Something about the session.
    Session(SessionStatement),
    /// A table or database that is made, changed or removed without a query.
    Define(Definition),
}

impl Statement {
    /// Whether the statement makes a table.
    pub fn is_ctas(&self) -> bool {
        self.any(|one| matches!(one, Statement::CreateTableAs { .. }))
    }

    /// Whether the statement inserts.
    pub fn is_insert(&self) -> bool {
        self.any(|one| matches!(one, Statement::InsertInto { .. }))
    }

    /// Whether it, or a statement in its block, is so.
    fn any(&self, is: impl Fn(&Statement) -> bool) -> bool {
        match self {
            Statement::Block { body, handler } => body.iter().chain(handler.iter().flatten()).any(is),
            one => is(one),
        }
    }
}

/// What the names of a statement mean.
#[derive(Clone)]
pub struct SqlScope {
    /// The tables.
    pub view: Arc<dyn CatalogView>,
    /// Databases searched for unqualified names, in this order.
    pub search: Vec<String>,
    /// The request, for queries of policies.
    pub context: Arc<PlanContext>,
    /// The views.
    pub views: Arc<dyn SqlViews>,
    /// Schemas beside the databases, such as `pg_catalog`.
    pub schemas: HashMap<String, Arc<dyn SchemaProvider>>,
    /// Values of `$1`, `$2`, ...
    pub values: Option<ParamValues>,
}

impl SqlScope {
    /// A scope of tables alone.
    pub fn new(view: Arc<dyn CatalogView>, search: Vec<String>, context: Arc<PlanContext>) -> SqlScope {
        SqlScope { view, search, context, views: Arc::new(NoViews), schemas: HashMap::new(), values: None }
    }

    /// The table of a name: exactly so spelled, else the one that differs in case only.
    pub fn table(&self, name: &TableName) -> Option<Arc<TableHandle>> {
        let databases: Vec<String> = match &name.database {
            Some(database) => self.view.database(database).into_iter().collect(),
            None => self.search.clone(),
        };
        if self.view.is_internal(&name.table) {
            return None;
        }
        let found = databases.iter().find_map(|database| {
            self.view.table(database, &name.table).or_else(|| {
                let names = self.view.table_names(database);
                let own = names.iter().find(|own| own.eq_ignore_ascii_case(&name.table))?;
                self.view.table(database, own)
            })
        });
        found.or_else(|| databases.iter().find_map(|database| self.beside_tables(database, &name.table)))
    }
}

/// A plan that returns rows.
#[derive(Clone, Debug)]
pub struct SqlRows {
    /// The plan; its columns have the engine's SQL types (timestamps, not ticks).
    pub plan: LogicalPlan,
    /// The columns under unique names with the KQL types they become.
    pub schema: TableSchema,
    /// The tables it reads, as (database, table), each once.
    pub reads: Vec<(String, String)>,
}

/// Reads one statement.
///
/// *Errors*: `42601` for syntax, `0A000` naming a statement or clause that is not served.
pub fn parse_statement(text: &str) -> Result<Statement, SqlFault> {
    let mut statements = parse_statements(text)?;
    match statements.len() {
        0 => Err(SqlFault::new(SYNTAX, "found no statement, expected one")),
        1 => Ok(statements.remove(0)),
        count => Err(SqlFault::not_served(format!("a text of {count} statements (send one at a time)"))),
    }
}

/// Reads statements that `;` separates.
///
/// *Errors*: as of [`parse_statement`].
pub fn parse_statements(text: &str) -> Result<Vec<Statement>, SqlFault> {
    if text.len() > MAX_STATEMENT_BYTES {
        let message = format!("the statement has {} bytes, more than the limit of {MAX_STATEMENT_BYTES}", text.len());
        return Err(SqlFault::new(LIMIT_EXCEEDED, message));
    }
    dialect::read(text)
}

/// What a statement does that was read elsewhere, by a dialect of its own.
pub fn statement_of(statement: Ast) -> Result<Statement, SqlFault> {
    classify(statement)
}

/// A clause of the dialect that the parser does not know, where it is what stopped it.
fn refused_clause(text: &str) -> Option<SqlFault> {
    let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    let is = |word: &str, wanted: &[&str]| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted));
    let found = words.windows(2).any(|pair| is(pair[0], &["snapshot"]) && is(pair[1], &["since", "as", "between"]));
    found
        .then(|| SqlFault::not_served("the clause SNAPSHOT (dropped extents are not kept, so the past cannot be read)"))
}

fn syntax(error: &ParserError) -> SqlFault {
    match error {
        ParserError::RecursionLimitExceeded => SqlFault::new(LIMIT_EXCEEDED, "the statement is nested too deeply"),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            SqlFault::new(SYNTAX, format!("syntax error: {message}"))
        }
    }
}

fn classify(statement: Ast) -> Result<Statement, SqlFault> {
    names::refuse_snapshot_clause(&statement)?;
    let statement = match session::classify_session(statement)? {
        Ok(session) => return Ok(Statement::Session(session)),
        Err(statement) => statement,
    };
    if let Some(definition) = define::definition(&statement)? {
        return Ok(Statement::Define(definition));
    }
    Ok(match statement {
        Ast::Query(_) => match dialect::into_table(statement)? {
            (query, None) => Statement::Rows(Box::new(query)),
            (query, Some(name)) => {
                Statement::CreateTableAs { table: table_name(&name)?, if_not_exists: false, query: Box::new(query) }
            }
        },
        Ast::Explain { .. } => Statement::Rows(Box::new(statement)),
        Ast::ShowTables { .. } => Statement::ShowTables,
        Ast::CreateTable(create) => {
            let Some(query) = create.query else { return Err(SqlFault::not_served("CREATE TABLE without AS")) };
            if create.temporary || create.external || create.or_replace || !create.columns.is_empty() {
                return Err(SqlFault::not_served(
                    "CREATE TABLE AS with TEMPORARY, EXTERNAL, OR REPLACE or a column list",
                ));
            }
            check_options(&create.table_options)?;
            let query = Box::new(Ast::Query(query));
            Statement::CreateTableAs { table: table_name(&create.name)?, if_not_exists: create.if_not_exists, query }
        }
        Ast::Insert(insert) => {
            if insert.overwrite || insert.on.is_some() || insert.returning.is_some() {
                return Err(SqlFault::not_served("INSERT with OVERWRITE, ON or RETURNING"));
            }
            let TableObject::TableName(name) = &insert.table else {
                return Err(SqlFault::not_served("INSERT INTO a function or query"));
            };
            let table = table_name(name)?;
            let columns = insert.columns.iter().map(|name| Ok(table_name(name)?.table)).collect::<Result<_, _>>()?;
            let query = insert.source.ok_or_else(|| SqlFault::not_served("INSERT without a query"))?;
            Statement::InsertInto { table, columns, query: Box::new(Ast::Query(query)) }
        }
        Ast::Drop { object_type: ast::ObjectType::Table, if_exists, names, cascade: false, .. } => {
            match names.as_slice() {
                [name] => Statement::DropTable { table: table_name(name)?, if_exists },
                _ => return Err(SqlFault::not_served("DROP TABLE of several tables")),
            }
        }
        Ast::CreateView(create) => {
            if create.materialized || create.or_alter || create.to.is_some() || create.params.is_some() {
                return Err(SqlFault::not_served("CREATE VIEW with MATERIALIZED, OR ALTER or other options"));
            }
            let mut view = table_name(&create.name)?;
            if create.temporary && view.database.is_some() {
                return Err(SqlFault::new("42P16", "a temporary view belongs to no database"));
            }
            view.table = view.table.trim().to_string();
            Statement::CreateView {
                view,
                columns: create.columns.into_iter().map(|column| column.name.value).collect(),
                query: create.query,
                or_replace: create.or_replace,
                if_not_exists: create.if_not_exists,
                temporary: create.temporary,
            }
        }
        Ast::Drop { object_type: ast::ObjectType::View, if_exists, names, cascade: false, .. } => {
            match names.as_slice() {
                [name] => Statement::DropView { view: table_name(name)?, if_exists },
                _ => return Err(SqlFault::not_served("DROP VIEW of several views")),
            }
        }
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            return Err(SqlFault::not_served(format!("the statement {}", words.join(" "))));
        }
    })
}

/// Options of a table: how Adobe's service checks and labels a dataset has no meaning here.
fn check_options(options: &ast::CreateTableOptions) -> Result<(), SqlFault> {
    let with = match options {
        ast::CreateTableOptions::None => return Ok(()),
        ast::CreateTableOptions::With(with) => with,
        _ => return Err(SqlFault::not_served("CREATE TABLE with options other than WITH (...)")),
    };
    for option in with {
        match option {
            ast::SqlOption::KeyValue { key, .. }
                if ["rowvalidation", "label"].iter().any(|known| key.value.eq_ignore_ascii_case(known)) => {}
            option => return Err(SqlFault::not_served(format!("CREATE TABLE ... WITH ({option})"))),
        }
    }
    Ok(())
}

pub(crate) fn table_name(name: &ObjectName) -> Result<TableName, SqlFault> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part.as_ident() {
            Some(ident) => parts.push(ident.value.clone()),
            None => return Err(SqlFault::new(SYNTAX, format!("found '{name}', expected a table name"))),
        }
    }
    match parts.as_slice() {
        [table] => Ok(TableName { database: None, table: table.clone() }),
        [database, table] => Ok(TableName { database: Some(database.clone()), table: table.clone() }),
        _ => Err(SqlFault::new(SYNTAX, format!("found '{name}', expected 'table' or 'database.table'"))),
    }
}

/// Plans what returns rows.
///
/// *Errors*: `42P01`, `42703`, `42804`, `0A000` and what else the engine refuses.
pub async fn plan_rows(statement: &Ast, scope: &SqlScope, session: &SessionContext) -> Result<SqlRows, SqlFault> {
    let mut statement = statement.clone();
    views::expand(&mut statement, scope)?;
    spark::rewrite(&mut statement, scope)?;
    repeated::name_repeated(&mut statement);
    let base = session.state();
    let engine_statement = EngineStatement::Statement(Box::new(statement.clone()));
    let references = base.resolve_table_references(&engine_statement).map_err(|error| fault_of(&error))?;
    let mut handles = Vec::new();
    let mut reads_catalog = false;
    for reference in references {
        let name = match reference.schema() {
            Some(database) => TableName { database: Some(database.to_string()), table: reference.table().to_string() },
            None => TableName { database: None, table: reference.table().to_string() },
        };
        match scope.table(&name) {
            Some(handle) => handles.push(handle),
            // A call such as generate_series(1, 10) stands where a table does.
            None if name
                .database
                .as_ref()
                .is_some_and(|schema| scope.schemas.contains_key(schema) || schema == "information_schema") =>
            {
                reads_catalog = true;
            }
            None if name.database.is_none() && base.table_functions().contains_key(&name.table.to_lowercase()) => {}
            None => return Err(SqlFault::new(UNKNOWN_TABLE, format!("the table '{reference}' does not exist"))),
        }
    }
    // Clients spell the catalog's columns right, and name results like them in other letters.
    if !reads_catalog {
        names::match_case(&mut statement, &handles);
    }
    let mut config = base.config().clone();
    config.options_mut().catalog.default_catalog = tables::CATALOG.to_string();
    config.options_mut().catalog.default_schema = tables::SEARCH.to_string();
    let state = SessionStateBuilder::new_from_existing(base)
        .with_config(config)
        .with_catalog_list(Arc::new(tables::SqlCatalogs::new(scope.clone(), session.clone())))
        .build();
    let format = explain_format(&mut statement)?;
    let engine_statement = EngineStatement::Statement(Box::new(statement));
    let mut plan = state.statement_to_plan(engine_statement).await.map_err(|error| fault_of(&error))?;
    match (&mut plan, format) {
        (LogicalPlan::Explain(explain), Some(format)) => explain.explain_format = format,
        (LogicalPlan::Analyze(analyze), Some(format)) => analyze.format = format,
        _ => {}
    }
    if let Some(values) = &scope.values {
        plan = plan.with_param_values(values.clone()).map_err(|error| fault_of(&error))?;
    }
    let schema = kql_schema(plan.schema().as_arrow())?;
    let mut reads: Vec<(String, String)> = Vec::new();
    for handle in handles {
        let pair = (handle.database.clone(), handle.name.clone());
        if !reads.contains(&pair) {
            reads.push(pair);
        }
    }
    Ok(SqlRows { plan, schema, reads })
}

/// Takes `FORMAT TEXT` and `FORMAT JSON` out of an EXPLAIN: the engine knows them by other names.
fn explain_format(statement: &mut Ast) -> Result<Option<ExplainFormat>, SqlFault> {
    let Ast::Explain { format, options, analyze, verbose, .. } = statement else { return Ok(None) };
    let mut named = format.take().map(|format| {
        let text = format.to_string().to_ascii_uppercase();
        text.trim_start_matches("FORMAT").trim_start_matches([' ', '=']).to_string()
    });
    // PostgreSQL's form: EXPLAIN (ANALYZE, FORMAT JSON) ...
    for option in options.take().into_iter().flatten() {
        let value = option.arg.as_ref().map(ToString::to_string).unwrap_or_default().to_ascii_uppercase();
        let flag = !matches!(value.as_str(), "FALSE" | "OFF" | "0");
        match option.name.value.to_ascii_uppercase().as_str() {
            "ANALYZE" => *analyze = flag,
            "VERBOSE" => *verbose = flag,
            "FORMAT" => named = Some(value.trim_matches('\'').to_string()),
            other => return Err(SqlFault::not_served(format!("EXPLAIN ({other})"))),
        }
    }
    match named.as_deref() {
        None => Ok(None),
        Some("TEXT") => Ok(Some(ExplainFormat::Indent)),
        Some("JSON") => Ok(Some(ExplainFormat::PostgresJSON)),
        Some("TREE") if !*analyze => Ok(Some(ExplainFormat::Tree)),
        Some("GRAPHVIZ") if !*analyze => Ok(Some(ExplainFormat::Graphviz)),
        Some(other) => Err(SqlFault::not_served(format!("EXPLAIN FORMAT {other}"))),
    }
}

/// KQL columns of a result; names that repeat get the first free number, empty ones `Column<n>`.
fn kql_schema(schema: &Schema) -> Result<TableSchema, SqlFault> {
    let mut columns: Vec<Column> = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        use datafusion::arrow::datatypes::DataType;
        let ty = match field.data_type() {
            DataType::Null => KqlType::String,
            DataType::Interval(_) => KqlType::TimeSpan,
            _ => KqlType::of_field(field).ok_or_else(|| {
                let message = format!("column '{}' has type {}, which no table holds", field.name(), field.data_type());
                SqlFault::new(TYPE_MISMATCH, message)
            })?,
        };
        let base = if field.name().is_empty() { format!("Column{}", at + 1) } else { field.name().clone() };
        let taken = |name: &str| columns.iter().any(|column: &Column| column.name == name);
        let name = match taken(&base) {
            false => base,
            true => (1..).map(|n| format!("{base}{n}")).find(|name| !taken(name)).unwrap_or(base),
        };
        columns.push(Column::new(name, ty));
    }
    Ok(TableSchema::new(columns))
}

/// The SQLSTATE of an engine's error. Messages of internal errors stay inside.
pub fn fault_of(error: &DataFusionError) -> SqlFault {
    let root = error.find_root();
    let message = || root.strip_backtrace();
    match root {
        DataFusionError::SQL(parser, _) => syntax(parser),
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, .. } => {
                SqlFault::new(UNKNOWN_COLUMN, format!("the column '{}' does not exist", field.flat_name()))
            }
            SchemaError::AmbiguousReference { field } => {
                SqlFault::new("42702", format!("the column '{}' is ambiguous", field.flat_name()))
            }
            _ => SqlFault::new("42701", message()),
        },
        DataFusionError::NotImplemented(_) => SqlFault::new(NOT_SUPPORTED, message()),
        DataFusionError::ResourcesExhausted(_) => SqlFault::new(OUT_OF_MEMORY, message()),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::DivideByZero => SqlFault::new(DIVISION_BY_ZERO, "division by zero"),
            ArrowError::CastError(text) | ArrowError::ParseError(text) => SqlFault::new("22P02", text.clone()),
            ArrowError::ArithmeticOverflow(text) => SqlFault::new("22003", text.clone()),
            other => SqlFault::new("22000", other.to_string()),
        },
        DataFusionError::Plan(text) if text.contains("Invalid function") => SqlFault::new("42883", message()),
        DataFusionError::Plan(text) if text.contains("coerce") || text.contains("type") => {
            SqlFault::new(TYPE_MISMATCH, message())
        }
        DataFusionError::Plan(_) | DataFusionError::Configuration(_) => SqlFault::new("42000", message()),
        DataFusionError::Execution(_) => SqlFault::new("22000", message()),
        _ => SqlFault::new(SYSTEM, "an internal error stopped the query"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        parse_statement(text).unwrap_err().code
    }

    #[test]
    fn statements_are_told_apart() {
        assert!(matches!(parse_statement("SELECT 1;").unwrap(), Statement::Rows(_)));
        assert!(matches!(parse_statement("WITH a AS (SELECT 1) SELECT * FROM a").unwrap(), Statement::Rows(_)));
        assert!(parse_statement("CREATE TABLE t AS (SELECT 1 AS x)").unwrap().is_ctas());
        assert!(parse_statement("CREATE TABLE t AS SELECT 1 AS x").unwrap().is_ctas());
        assert!(parse_statement("INSERT INTO d.t SELECT 1").unwrap().is_insert());
        assert!(matches!(
            parse_statement("DROP TABLE IF EXISTS t").unwrap(),
            Statement::DropTable { if_exists: true, .. }
        ));
        assert!(matches!(parse_statement("SHOW TABLES").unwrap(), Statement::ShowTables));
    }

    #[test]
    fn faults_have_their_codes() {
        assert_eq!(code("SELEC 1"), SYNTAX);
        assert_eq!(code(""), SYNTAX);
        assert_eq!(code("SELECT 1; SELECT 2"), NOT_SUPPORTED);
        assert_eq!(code("CREATE TABLE t (a int PRIMARY KEY)"), NOT_SUPPORTED);
        assert_eq!(code("CREATE TEMP TABLE t AS SELECT 1 AS x"), NOT_SUPPORTED);
        assert_eq!(code("ALTER TABLE t DROP COLUMN a"), NOT_SUPPORTED);
        assert_eq!(code("CREATE TABLE t (a int, A text)"), "42701");
        assert_eq!(code("SELECT * FROM t SNAPSHOT AS OF 5"), NOT_SUPPORTED);
        assert_eq!(code("SELECT * FROM t SNAPSHOT"), NOT_SUPPORTED);
        assert_eq!(code("UPDATE t SET a = 1"), NOT_SUPPORTED);
    }

    #[test]
    fn deep_nesting_is_a_limit() {
        let deep = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
        assert_eq!(code(&deep), LIMIT_EXCEEDED);
        assert_eq!(code(&format!("SELECT '{}'", "x".repeat(MAX_STATEMENT_BYTES))), LIMIT_EXCEEDED);
    }
}
