//! Schemas as rows, JSON and scripts. Source: kusto-rest section 8.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidewater_kql::ast::{ExprKind, Literal, Name, Parameter, ParameterType};
use tidewater_kql::command::SchemaForm;
use tidewater_kql::parser::parse_function_body;
use tidewater_kql::{KqlType, TableSchema, value};
use tidewater_store::{Database, FunctionRow, Table};

use super::Request;
use crate::answer::ResultTable;
use crate::error::Result;
use crate::stored::{self, StoredExternal, StoredGroup, StoredView};
use crate::table::{Cell, Columns, TableBuilder};

/// `Name`, `Schema`, ...: how tables are shown by most commands about them.
pub const TABLE_SCHEMA: Columns = &[
    ("TableName", KqlType::String),
    ("Schema", KqlType::String),
    ("DatabaseName", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
];

const ROWS: Columns = &[
    ("DatabaseName", KqlType::String),
    ("TableName", KqlType::String),
    ("ColumnName", KqlType::String),
    ("ColumnType", KqlType::String),
    ("IsDefaultTable", KqlType::Bool),
    ("IsDefaultColumn", KqlType::Bool),
    ("PrettyName", KqlType::String),
    ("Version", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
];

pub use tidewater_kql::printer::quoted_name;

/// `a:long,b:string`
pub fn csl_schema(schema: &TableSchema) -> String {
    let columns = schema.columns.iter().map(|column| format!("{}:{}", quoted_name(&column.name), column.ty.name()));
    columns.collect::<Vec<_>>().join(",")
}

/// `{"Name","OrderedColumns":[...]}`: what `.show table T schema as json` prints.
pub fn table_json(table: &Table) -> Value {
    json!({"Name": table.name(), "OrderedColumns": ordered_columns(table)})
}

fn ordered_columns(table: &Table) -> Value {
    let columns = table.columns().iter().map(|column| {
        let mut members = column_json(&column.name, column.ty);
        if let Some(docstring) = &column.docstring {
            members.insert("DocString".into(), json!(docstring));
        }
        Value::Object(members)
    });
    Value::Array(columns.collect())
}

fn column_json(name: &str, ty: KqlType) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("Name".into(), json!(name));
    members.insert("Type".into(), json!(ty.system_name()));
    members.insert("CslType".into(), json!(ty.name()));
    members
}

/// The columns of a schema as JSON, for functions' outputs.
pub fn columns_json(schema: &TableSchema) -> Value {
    schema.columns.iter().map(|column| Value::Object(column_json(&column.name, column.ty))).collect()
}

/// A function's parameters as JSON.
pub fn input_parameters(function: &FunctionRow) -> Value {
    let parsed = parse_function_body(&function.parameters, &function.body);
    match parsed.tree {
        Some(lambda) => lambda.parameters.iter().map(parameter_json).collect(),
        None => json!([]),
    }
}

fn parameter_json(parameter: &Parameter) -> Value {
    match &parameter.ty {
        ParameterType::Scalar(ty) => {
            let mut members = column_json(&parameter.name.text, *ty);
            if let Some(default) = &parameter.default
                && let ExprKind::Literal(literal) = &default.kind
            {
                members.insert("CslDefaultValue".into(), json!(literal_text(literal)));
            }
            Value::Object(members)
        }
        ParameterType::Table(columns) => {
            let columns: Vec<Value> =
                columns.iter().map(|column| Value::Object(column_json(&column.name.text, column.ty))).collect();
            json!({"Name": parameter.name.text, "Type": "System.Data.DataTable", "CslType": "", "Columns": columns})
        }
        ParameterType::AnyTable => {
            json!({"Name": parameter.name.text, "Type": "System.Data.DataTable", "CslType": "", "Columns": []})
        }
    }
}

fn literal_text(literal: &Literal) -> String {
    fn typed(ty: &str, text: Option<String>) -> String {
        format!("{ty}({})", text.unwrap_or_else(|| "null".to_string()))
    }
    match literal {
        Literal::Bool(Some(value)) => value.to_string(),
        Literal::Bool(None) => typed("bool", None),
        Literal::Int(value) => typed("int", value.map(|value| value.to_string())),
        Literal::Long(value) => typed("long", value.map(|value| value.to_string())),
        Literal::Real(value) => typed("real", value.map(value::real::to_text)),
        Literal::Decimal(text) => typed("decimal", text.clone()),
        Literal::String(text) => Value::from(text.as_str()).to_string(),
        Literal::DateTime(ticks) => typed("datetime", ticks.map(value::datetime::to_text)),
        Literal::TimeToday(ticks) => typed("datetime", Some(value::timespan::to_text(*ticks))),
        Literal::TimeSpan(ticks) => typed("timespan", ticks.map(value::timespan::to_text)),
        Literal::Guid(guid) => typed("guid", guid.as_ref().map(value::guid::to_text)),
        Literal::Dynamic(text) => typed("dynamic", text.clone()),
    }
}

/// The versions that schema commands print: the minor one grows with every commit.
fn version(request: &Request<'_>) -> String {
    format!("v1.{}", request.snapshot.sequence())
}

/// A database in the form that Grafana and the query editor read.
fn database_json(request: &Request<'_>, database: &Arc<Database>) -> Value {
    let mut tables = Map::new();
    for table in request.tables(database) {
        let value = json!({
            "Name": table.name(),
            "EntityType": "Table",
            "Folder": table.folder().unwrap_or(""),
            "DocString": table.docstring().unwrap_or(""),
            "OrderedColumns": ordered_columns(table),
        });
        tables.insert(table.name().to_string(), value);
    }
    let mut functions = Map::new();
    for function in database.functions() {
        let value = json!({
            "Name": function.name,
            "InputParameters": input_parameters(function),
            "Body": function.body,
            "Folder": function.folder.as_deref().unwrap_or(""),
            "DocString": function.docstring.as_deref().unwrap_or(""),
            "FunctionKind": "Unknown",
            "OutputColumns": [],
        });
        functions.insert(function.name.clone(), value);
    }
    let mut externals = Map::new();
    for (name, external) in stored::all::<StoredExternal>(&request.snapshot, database) {
        let value = json!({
            "Name": name,
            "EntityType": "ExternalTable",
            "Folder": external.folder,
            "DocString": external.docstring,
            "OrderedColumns": columns_json(&external.source.schema()),
        });
        externals.insert(name, value);
    }
    let mut views = Map::new();
    for (name, view) in stored::all::<StoredView>(&request.snapshot, database) {
        let value = json!({
            "Name": name,
            "EntityType": "MaterializedViewTable",
            "Folder": view.folder,
            "DocString": view.docstring,
            "OrderedColumns": columns_json(&view.plan.schema),
        });
        views.insert(name, value);
    }
    let mut groups = Map::new();
    for (name, group) in stored::all::<StoredGroup>(&request.snapshot, database) {
        groups.insert(name, json!(group.entities));
    }
    json!({
        "Name": database.name(),
        "PrettyName": database.pretty_name().unwrap_or(""),
        "Tables": tables,
        "ExternalTables": externals,
        "MaterializedViews": views,
        "EntityGroups": groups,
        "Graphs": {},
        "StoredQueryResults": {},
        "MajorVersion": 1,
        "MinorVersion": request.snapshot.sequence(),
        "Functions": functions,
        "DatabaseAccessMode": crate::library::access_mode(&request.snapshot, database),
    })
}

fn json_table<'a>(request: &Request<'_>, databases: impl Iterator<Item = &'a Arc<Database>>) -> Result<ResultTable> {
    let mut members = Map::new();
    for database in databases {
        members.insert(database.name().to_string(), database_json(request, database));
    }
    let mut table = TableBuilder::new(&[("DatabaseSchema", KqlType::String)]);
    table.row(vec![json!({"Plugins": [], "Databases": members}).to_string().into()]);
    table.finish()
}

fn database_rows(request: &Request<'_>, database: &Arc<Database>, out: &mut TableBuilder) {
    let version = version(request);
    let name = || Cell::from(database.name());
    let pretty = || Cell::from(database.pretty_name());
    out.row(vec![
        name(),
        "".into(),
        "".into(),
        "".into(),
        false.into(),
        false.into(),
        pretty(),
        version.as_str().into(),
        "".into(),
        "".into(),
    ]);
    for table in request.tables(database) {
        let row = |column: Cell, ty: Cell, docstring: Cell| {
            vec![
                name(),
                table.name().into(),
                column,
                ty,
                true.into(),
                false.into(),
                "".into(),
                "".into(),
                table.folder().into(),
                docstring,
            ]
        };
        out.row(row("".into(), "".into(), table.docstring().into()));
        for column in table.columns() {
            let docstring = column.docstring.as_deref().into();
            out.row(row(column.name.as_str().into(), column.ty.system_name().into(), docstring));
        }
    }
}

/// `.show databases [(names)] schema [as json]`, `.show schema [as json]`
pub fn databases(request: &Request<'_>, names: &[Name], as_json: bool) -> Result<ResultTable> {
    let databases = super::databases::chosen(request, names)?;
    if as_json {
        return json_table(request, databases.iter());
    }
    let mut table = TableBuilder::new(ROWS);
    for database in databases {
        database_rows(request, &database, &mut table);
    }
    table.finish()
}

/// `.show database [X] schema ...`
pub fn database(
    request: &Request<'_>,
    name: Option<&Name>,
    form: SchemaForm,
    if_later_than: Option<&str>,
) -> Result<ResultTable> {
    let database = match name {
        Some(name) => request.named_database(&name.text)?,
        None => request.database()?,
    };
    let is_known = if_later_than.is_some_and(|known| minor(known) >= Some(request.snapshot.sequence()));
    match form {
        SchemaForm::Rows => {
            let mut table = TableBuilder::new(ROWS);
            if !is_known {
                database_rows(request, database, &mut table);
            }
            table.finish()
        }
        SchemaForm::Json if is_known => TableBuilder::new(&[("DatabaseSchema", KqlType::String)]).finish(),
        SchemaForm::Json => json_table(request, std::iter::once(database)),
        SchemaForm::CslSchema => {
            let mut table = TableBuilder::new(TABLE_SCHEMA);
            for known in request.tables(database) {
                table.row(vec![
                    known.name().into(),
                    csl_schema(known.schema()).into(),
                    database.name().into(),
                    known.folder().into(),
                    known.docstring().into(),
                ]);
            }
            table.finish()
        }
        SchemaForm::CslScript => {
            let mut table = TableBuilder::new(&[("DatabaseSchemaScript", KqlType::String)]);
            for line in script(request, database) {
                table.row(vec![line.into()]);
            }
            table.finish()
        }
    }
}

/// The number in `v1.7`.
fn minor(version: &str) -> Option<u64> {
    let (major, minor) = version.trim().trim_start_matches(['v', 'V']).split_once('.')?;
    if major.parse::<u64>().ok()? > 1 { Some(u64::MAX) } else { minor.parse().ok() }
}

/// Commands that make the database's entities again.
fn script(request: &Request<'_>, database: &Arc<Database>) -> Vec<String> {
    let properties = |folder: Option<&str>, docstring: Option<&str>| {
        let parts = [("folder", folder), ("docstring", docstring)];
        let parts = parts.iter().filter_map(|(name, text)| Some(format!("{name} = {}", Value::from((*text)?))));
        let parts = parts.collect::<Vec<_>>().join(", ");
        if parts.is_empty() { parts } else { format!("with ({parts}) ") }
    };
    let mut lines = Vec::new();
    for table in request.tables(database) {
        let properties = properties(table.folder(), table.docstring());
        let columns = csl_schema(table.schema()).replace(',', ", ");
        let line = format!(".create-merge table {} ({columns}) {properties}", quoted_name(table.name()));
        lines.push(line.trim_end().to_string());
    }
    for function in database.functions() {
        let properties = properties(function.folder.as_deref(), function.docstring.as_deref());
        let name = quoted_name(&function.name);
        lines.push(format!(".create-or-alter function {properties}{name} {} {}", function.parameters, function.body));
    }
    lines
}

#[cfg(test)]
mod tests {
    use tidewater_kql::Column;

    use super::*;

    #[test]
    fn names_that_are_no_words_are_bracketed() {
        assert_eq!(quoted_name("a_1"), "a_1");
        assert_eq!(quoted_name("1a"), "['1a']");
        assert_eq!(quoted_name("it's"), "['it\\'s']");
        let schema = TableSchema::new(vec![Column::new("a b", KqlType::Long), Column::new("c", KqlType::DateTime)]);
        assert_eq!(csl_schema(&schema), "['a b']:long,c:datetime");
    }

    #[test]
    fn a_version_is_compared_by_its_minor_part() {
        assert_eq!(minor("v1.7"), Some(7));
        assert_eq!(minor("x"), None);
    }
}
