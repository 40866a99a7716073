//! Commands about columns: renamed, retyped, dropped, described; figures of their data.

use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::{Name, Property};
use tidewater_kql::command::property_text;
use tidewater_store::{Alteration, Database, Table};
use uuid::Uuid;

use super::Request;
use super::schema::{TABLE_SCHEMA, csl_schema};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::table::{Cell, Columns, TableBuilder};

const COLUMN: Columns = &[("EntityName", KqlType::String), ("DataType", KqlType::String), ("Policy", KqlType::String)];

/// The table and column of `[database.]table.column`.
fn column_at<'a>(request: &'a Request<'_>, path: &str) -> Result<(&'a Arc<Database>, &'a Arc<Table>, String)> {
    let mut table_found = None;
    for (at, _) in path.match_indices('.') {
        if let Ok((database, table)) = request.table_at(&path[..at]) {
            let column = path[at + 1..].to_string();
            if table.schema().index_of(&column).is_some() {
                return Ok((database, table, column));
            }
            table_found = Some((database, table, column));
        }
    }
    match table_found {
        Some((_, table, column)) => Err(Error::entity_not_found("Column", &format!("{}.{column}", table.name()))),
        None => {
            let table = path.rsplit_once('.').map_or(path, |(table, _)| table);
            Err(Error::entity_not_found("Table", table))
        }
    }
}

fn column_row(database: &Database, table: &Table, column: &str) -> Vec<Cell> {
    let ty = table.schema().index_of(column).map(|at| table.schema().columns[at].ty);
    vec![
        format!("[{}].[{}].[{column}]", database.name(), table.name()).into(),
        ty.map_or("", KqlType::system_name).into(),
        "".into(),
    ]
}

fn schema_row(database: &Database, table: &Table) -> Result<ResultTable> {
    let mut out = TableBuilder::new(TABLE_SCHEMA);
    out.row(vec![
        table.name().into(),
        csl_schema(table.schema()).into(),
        database.name().into(),
        table.folder().into(),
        table.docstring().into(),
    ]);
    out.finish()
}

/// `.rename column`, `.rename columns`
pub async fn rename(request: &Request<'_>, renames: Vec<(Name, Name)>) -> Result<ResultTable> {
    let mut found: Option<(&Arc<Database>, &Arc<Table>)> = None;
    let mut pairs = Vec::with_capacity(renames.len());
    for (new, path) in &renames {
        let (database, table, column) = column_at(request, &path.text)?;
        if found.is_some_and(|(_, known)| known.id() != table.id()) {
            return Err(Error::bad_request("the columns of one command must be of one table"));
        }
        found = Some((database, table));
        pairs.push((column, new.text.clone()));
    }
    let Some((database, table)) = found else { return Err(Error::bad_request("no column is named")) };
    let altered = request.service.store().alter_table(table.id(), vec![Alteration::RenameColumns(pairs)]).await?;
    let mut out = TableBuilder::new(COLUMN);
    renames.iter().for_each(|(new, _)| out.row(column_row(database, &altered, &new.text)));
    out.finish()
}

/// `.alter column T.C type = ty`: the data that is there becomes null.
pub async fn retype(request: &Request<'_>, column: &Name, ty: KqlType) -> Result<ResultTable> {
    let (database, table, column) = column_at(request, &column.text)?;
    let steps = vec![Alteration::RetypeColumn(column.clone(), ty)];
    let altered = request.service.store().alter_table(table.id(), steps).await?;
    let mut out = TableBuilder::new(COLUMN);
    out.row(column_row(database, &altered, &column));
    out.finish()
}

/// `.drop column T.C [ifexists]`
pub async fn drop(request: &Request<'_>, column: &Name, if_exists: bool) -> Result<ResultTable> {
    let (database, table, name) = match column_at(request, &column.text) {
        Ok(found) => found,
        Err(_) if if_exists => {
            let path = column.text.rsplit_once('.').map_or(column.text.as_str(), |(table, _)| table);
            let (database, table) = request.table_at(path)?;
            return schema_row(database, table);
        }
        Err(error) => return Err(error),
    };
    drop_from(request, database, table, vec![name]).await
}

/// `.drop table T columns (a, b)`
pub async fn drop_many(request: &Request<'_>, table: &Name, columns: &[Name]) -> Result<ResultTable> {
    let (database, table) = request.table_at(&table.text)?;
    for column in columns {
        if table.schema().index_of(&column.text).is_none() {
            return Err(Error::entity_not_found("Column", &column.text));
        }
    }
    drop_from(request, database, table, columns.iter().map(|column| column.text.clone()).collect()).await
}

async fn drop_from(
    request: &Request<'_>,
    database: &Database,
    table: &Table,
    columns: Vec<String>,
) -> Result<ResultTable> {
    let altered = request.service.store().alter_table(table.id(), vec![Alteration::DropColumns(columns)]).await?;
    schema_row(database, &altered)
}

/// `.alter | .alter-merge table T column-docstrings (...)`: an alter takes away those that are not given.
pub async fn describe(
    request: &Request<'_>,
    table: &Name,
    merge: bool,
    texts: &[(Name, String)],
) -> Result<ResultTable> {
    let (database, table) = request.table_at(&table.text)?;
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    for (column, text) in texts {
        if table.schema().index_of(&column.text).is_none() {
            return Err(Error::entity_not_found("Column", &column.text));
        }
        all.push((column.text.clone(), Some(text.clone()).filter(|text| !text.is_empty())));
    }
    if !merge {
        for column in table.columns() {
            if !texts.iter().any(|(given, _)| given.text == column.name) {
                all.push((column.name.clone(), None));
            }
        }
    }
    let altered = request.service.store().alter_table(table.id(), vec![Alteration::ColumnDocstrings(all)]).await?;
    schema_row(database, &altered)
}

const STATISTICS: Columns = &[
    ("ColumnName", KqlType::String),
    ("ColumnType", KqlType::String),
    ("ColumnId", KqlType::Guid),
    ("OriginalSize", KqlType::Long),
    ("ExtentSize", KqlType::Long),
    ("CompressionRatio", KqlType::Real),
    ("DataCompressionSize", KqlType::Long),
    ("SharedIndexSize", KqlType::Long),
    ("IndexSize", KqlType::Long),
    ("IndexSizePercent", KqlType::Real),
    ("StorageEngineVersion", KqlType::String),
    ("PresentRowCount", KqlType::Long),
    ("DeletedRowCount", KqlType::Long),
    ("SamplePercent", KqlType::Real),
    ("IncludeColdData", KqlType::Bool),
];

/// `.show table T data statistics`: all data is counted, since the files tell it without being read.
pub async fn statistics(request: &Request<'_>, table: &Name, properties: &[Property]) -> Result<ResultTable> {
    let (_, table) = request.table_at(&table.text)?;
    let time = |name: &str| match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match tidewater_kql::value::datetime::parse(&text) {
            Some(ticks) => Ok(Some(ticks)),
            None => Err(Error::bad_request(format!("property '{name}' must be a datetime, found '{text}'"))),
        },
    };
    let (from, to) = (time("from")?, time("to")?);
    let chosen: Vec<_> = table
        .extents()
        .iter()
        .filter(|extent| from.is_none_or(|from| extent.created() > from) && to.is_none_or(|to| extent.created() < to))
        .cloned()
        .collect();
    let rows: u64 = chosen.iter().map(|extent| extent.rows()).sum();
    let sizes = request.service.store().column_sizes(table, &chosen).await?;
    let mut out = TableBuilder::new(STATISTICS);
    for (column, size) in table.columns().iter().zip(sizes) {
        let ratio = if size.stored == 0 { 0.0 } else { size.original as f64 / size.stored as f64 };
        let index_percent = if size.original == 0 { 0.0 } else { 100.0 * size.index as f64 / size.original as f64 };
        out.row(vec![
            column.name.as_str().into(),
            column.ty.name().into(),
            Uuid::new_v5(&table.id().0, column.at_rest().as_bytes()).into(),
            size.original.into(),
            (size.stored + size.index).into(),
            Cell::Real(ratio),
            size.stored.into(),
            0i64.into(),
            size.index.into(),
            Cell::Real(index_percent),
            "V3".into(),
            rows.into(),
            0i64.into(),
            Cell::Real(100.0),
            true.into(),
        ]);
    }
    out.finish()
}
