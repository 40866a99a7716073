//! Management commands as a tree.
//!
//! Commands that the server runs have variants of their own; every other documented command is
//! `Other` with its name, so that the refusal can say what was asked for.

use crate::ast::{ColumnDeclaration, Expr, ExprKind, Lambda, Literal, Name, Operator, Property, Script};
use crate::span::Span;

pub use crate::entity_command::*;
pub use crate::management_command::*;
pub use crate::policy_command::*;
pub use crate::running_command::*;
pub use crate::security_command::*;

/// A management command.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum Command {
    /// `.create table T (columns) [with (...)]`; with `merge`, `.create-merge table`.
    CreateTable { table: TableDefinition, merge: bool, if_not_exists: bool, properties: Vec<Property> },
    /// `.create tables T1 (columns), T2 (columns) [with (...)]`; with `merge`, `.create-merge tables`.
    CreateTables { tables: Vec<TableDefinition>, merge: bool, properties: Vec<Property> },
    /// `.create table T based-on Other [ifnotexists] [with (...)]`.
    CreateTableBasedOn { name: Name, base: Name, if_not_exists: bool, properties: Vec<Property> },
    /// `.alter table T (columns) [with (...)]`; with `merge`, `.alter-merge table`.
    AlterTable { table: TableDefinition, merge: bool, properties: Vec<Property> },
    /// `.alter table T docstring "..."`.
    AlterTableDocString { table: Name, text: String },
    /// `.alter table T folder "..."`.
    AlterTableFolder { table: Name, text: String },
    /// `.drop table T [ifexists]`.
    DropTable { table: Name, if_exists: bool },
    /// `.drop tables (T1, T2) [ifexists]`.
    DropTables { tables: Vec<Name>, if_exists: bool },
    /// `.rename table T to N`.
    RenameTable { from: Name, to: Name },
    /// `.rename tables N1 = T1, N2 = T2`: pairs of new and old name.
    RenameTables { renames: Vec<(Name, Name)> },
    /// `.show tables [(T1, T2)] [details]`.
    ShowTables { tables: Vec<Name>, details: bool },
    /// `.show table T [cslschema | schema as json | details]`.
    ShowTable { table: Name, what: ShowTable },
    /// `.clear table T data`.
    ClearTableData { table: Name },

    /// `.show databases [details]`.
    ShowDatabases { details: bool },
    /// `.show databases [(names)] schema [as json] [with (...)]`; no names are all databases.
    ShowDatabasesSchema { databases: Vec<Name>, as_json: bool, properties: Vec<Property> },
    /// `.show databases [(names)] entities [with (...)]`.
    ShowDatabasesEntities { databases: Vec<Name>, properties: Vec<Property> },
    /// `.show database [X] [details]`; no name is the request's database.
    ShowDatabase { database: Option<Name>, details: bool },
    /// `.show database [X] schema [as json | as csl script] [if_later_than "v"] [with (...)]`, `.show database [X] cslschema`.
    ShowDatabaseSchema {
        database: Option<Name>,
        form: SchemaForm,
        if_later_than: Option<String>,
        properties: Vec<Property>,
    },
    /// `.show schema [as json]`: the request's database.
    ShowSchema { as_json: bool },
    /// `.create database X [persist (...) | volatile] [ifnotexists]`.
    CreateDatabase { database: Name, persist: Vec<String>, volatile: bool, if_not_exists: bool },
    /// `.drop database X [ifexists]`.
    DropDatabase { database: Name, if_exists: bool },

    /// `.ingest inline into table T [with (...)] <| data` or `... [row] [row]` (rows joined by line feeds).
    IngestInline { table: Name, properties: Vec<Property>, data: String, data_span: Span },
    /// `.ingest [async] into table T (sources) [with (...)]`.
    IngestSources { is_async: bool, table: Name, sources: Vec<String>, properties: Vec<Property> },
    /// `.set`, `.append`, `.set-or-append`, `.set-or-replace` `[async] T [with (...)] <| query`.
    IngestFromQuery {
        mode: QueryIngestion,
        is_async: bool,
        table: Name,
        properties: Vec<Property>,
        query: Script,
        query_span: Span,
    },

    /// `.create function`, `.alter function`, `.create-or-alter function` `[ifnotexists] [with (...)] f(parameters) {body}`.
    CreateFunction { mode: FunctionMode, if_not_exists: bool, properties: Vec<Property>, function: FunctionDefinition },
    /// `.drop function f [ifexists]`.
    DropFunction { function: Name, if_exists: bool },
    /// `.drop functions (f, g) [ifexists]`.
    DropFunctions { functions: Vec<Name>, if_exists: bool },
    /// `.show functions`.
    ShowFunctions,
    /// `.show function f [schema as json]`.
    ShowFunction { function: Name, schema_as_json: bool },

    /// `.show version`.
    ShowVersion,
    /// `.show cluster`.
    ShowCluster,
    /// `.show queries`, `.show running queries`, `[by user "u" | by *]`.
    ShowQueries { running: bool, by_user: Option<String> },
    /// `.cancel query "client request id" [with (reason="...")]`.
    CancelQuery { client_request_id: String, properties: Vec<Property> },
    /// `.show operations [id | (id, id)]`, `.show operation id`.
    ShowOperations { ids: Vec<String> },
    /// `.cancel operation id [with (reason="...")]`.
    CancelOperation { id: String, properties: Vec<Property> },
    /// `.show commands`.
    ShowCommands,
    /// `.show [cluster | database [X] | table T | tables (T1, T2)] extents [hot] [(ids)] [where tags ...]`.
    ShowExtents { scope: ExtentScope, hot: bool, ids: Vec<String>, tags: Vec<(TagTest, String)> },
    /// `.get kusto identity token`.
    GetKustoIdentityToken,
    /// `.get ingestion resources`.
    GetIngestionResources,
    /// `.show export containers`.
    ShowExportContainers,
    /// External tables, materialized views, stored query results, graphs, entity groups.
    Entity(Box<EntityCommand>),
    /// `.show | .alter | .alter-merge | .delete ENTITY policy KIND`.
    Policy(Box<PolicyCommand>),
    /// Journals, operations, workload groups, capacity.
    Running(Box<RunningCommand>),
    /// Mappings, extents, records, columns, databases, scripts, plugins, exports.
    Management(Box<ManagementCommand>),
    /// Principals and their roles.
    Security(Box<SecurityCommand>),

    /// A command with a query over its rows: `.show tables | where ...`.
    Piped { command: Box<Command>, pipeline_span: Span, operators: Vec<Operator> },
    /// A command and a query over its rows, which the query calls `$command_results`: `.show tables; $command_results | count`.
    WithQuery { command: Box<Command>, query: Script, query_span: Span },
    /// A documented command that has no variant: its name in words, `show cluster policy caching`.
    Other { name: String },
    /// A text that is no command; a diagnostic stands for it.
    Error,
}

/// A table's name and columns.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    /// The table.
    pub name: Name,
    /// Its columns.
    pub columns: Vec<ColumnDeclaration>,
}

/// What `.show table T` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowTable {
    /// Nothing said: columns with sizes.
    Columns,
    /// `cslschema`.
    CslSchema,
    /// `schema as json`.
    SchemaAsJson,
    /// `details`.
    Details,
}

/// The forms of `.show database schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaForm {
    /// `schema`: a row for each column.
    Rows,
    /// `schema as json`.
    Json,
    /// `schema as csl script`.
    CslScript,
    /// `cslschema`: a row for each table.
    CslSchema,
}

/// The commands that ingest a query's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryIngestion {
    /// `.set`: the table must not exist.
    Set,
    /// `.append`: the table must exist.
    Append,
    /// `.set-or-append`: the table is created when absent.
    SetOrAppend,
    /// `.set-or-replace`: the table's data is replaced.
    SetOrReplace,
}

/// How `.create function` treats a function that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionMode {
    /// `.create function`.
    Create,
    /// `.alter function`.
    Alter,
    /// `.create-or-alter function`.
    CreateOrAlter,
}

/// A stored function as its command gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: Name,
    /// `(a: long, T: (*))`, as written.
    pub parameters_text: String,
    /// `{ ... }`, as written.
    pub body_text: String,
    /// The same as a tree.
    pub lambda: Lambda,
}

/// Whose extents are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentScope {
    /// `.show cluster extents`.
    Cluster,
    /// `.show database [X] extents`.
    Database(Option<Name>),
    /// `.show databases (X, Y) extents`.
    Databases(Vec<Name>),
    /// `.show table T extents`, `.show tables (T1, T2) extents`.
    Tables(Vec<Name>),
}

/// `where tags has "x"` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operator it is named after")]
pub enum TagTest {
    Has,
    NotHas,
    Contains,
    NotContains,
}

/// The text of a property such as `docstring = "x"`, `format = csv`, `async = true`; `None` when absent.
pub fn property_text(properties: &[Property], name: &str) -> Option<String> {
    let property = properties.iter().rev().find(|property| property.name.text.eq_ignore_ascii_case(name))?;
    value_text(&property.value)
}

/// A property that is true, `"true"` or 1.
pub fn property_flag(properties: &[Property], name: &str) -> bool {
    property_text(properties, name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
}

fn value_text(value: &Expr) -> Option<String> {
    match &value.kind {
        ExprKind::Name(name) => Some(name.text.clone()),
        ExprKind::Literal(Literal::String(text)) => Some(text.clone()),
        ExprKind::Literal(Literal::Bool(Some(value))) => Some(value.to_string()),
        ExprKind::Literal(Literal::Int(Some(value))) => Some(value.to_string()),
        ExprKind::Literal(Literal::Long(Some(value))) => Some(value.to_string()),
        ExprKind::Literal(Literal::Real(Some(value))) => Some(value.to_string()),
        ExprKind::Literal(Literal::Decimal(Some(text)) | Literal::Dynamic(Some(text))) => Some(text.clone()),
        ExprKind::Literal(Literal::DateTime(Some(ticks))) => Some(crate::value::datetime::to_text(*ticks)),
        ExprKind::Literal(Literal::TimeSpan(Some(ticks))) => Some(crate::value::timespan::to_text(*ticks)),
        ExprKind::Literal(Literal::Guid(Some(guid))) => Some(crate::value::guid::to_text(guid)),
        _ => None,
    }
}
