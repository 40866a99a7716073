//! Commands about tables and their extents.

use std::sync::Arc;

use tidewater_kql::ast::{Name, Property};
use tidewater_kql::command::{ExtentScope, ShowTable, TableDefinition, TagTest, property_text};
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_store::{Alteration, CreateMode, Database, Extent, Table, TableSpec};
use uuid::Uuid;

use super::Request;
use super::schema::{TABLE_SCHEMA, csl_schema, table_json};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::policies::{
    self, CachingPolicy, IngestionBatchingPolicy, MergePolicy, RetentionPolicy, RowOrderPolicy, ShardingPolicy,
    StreamingIngestionPolicy,
};
use crate::rights::roles::admins_of_new;
use crate::stored::{self, StoredView};
use crate::table::{Cell, Columns, TableBuilder};

/// How lists of tables are shown.
const TABLES: Columns = &[
    ("TableName", KqlType::String),
    ("DatabaseName", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
];

const DROPPED: Columns = &[("TableName", KqlType::String), ("DatabaseName", KqlType::String)];

const DETAILS: Columns = &[
    ("TableName", KqlType::String),
    ("DatabaseName", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
    ("TotalExtents", KqlType::Long),
    ("TotalExtentSize", KqlType::Real),
    ("TotalOriginalSize", KqlType::Real),
    ("TotalRowCount", KqlType::Long),
    ("HotExtents", KqlType::Long),
    ("HotExtentSize", KqlType::Real),
    ("HotOriginalSize", KqlType::Real),
    ("HotRowCount", KqlType::Long),
    ("AuthorizedPrincipals", KqlType::String),
    ("RetentionPolicy", KqlType::String),
    ("CachingPolicy", KqlType::String),
    ("ShardingPolicy", KqlType::String),
    ("MergePolicy", KqlType::String),
    ("StreamingIngestionPolicy", KqlType::String),
    ("IngestionBatchingPolicy", KqlType::String),
    ("MinExtentsCreationTime", KqlType::DateTime),
    ("MaxExtentsCreationTime", KqlType::DateTime),
    ("RowOrderPolicy", KqlType::String),
    ("TableId", KqlType::Guid),
];

const ATTRIBUTES: Columns = &[
    ("AttributeName", KqlType::String),
    ("AttributeType", KqlType::String),
    ("ExtentSize", KqlType::Long),
    ("CompressionRatio", KqlType::Real),
    ("IndexSize", KqlType::Long),
    ("IndexSizePercent", KqlType::Real),
    ("OriginalSize", KqlType::Long),
    ("AttributeId", KqlType::Guid),
    ("SharedIndexSize", KqlType::Long),
    ("StorageEngineVersion", KqlType::String),
];

const EXTENTS: Columns = &[
    ("ExtentId", KqlType::Guid),
    ("DatabaseName", KqlType::String),
    ("TableName", KqlType::String),
    ("MaxCreatedOn", KqlType::DateTime),
    ("OriginalSize", KqlType::Real),
    ("ExtentSize", KqlType::Real),
    ("CompressedSize", KqlType::Real),
    ("IndexSize", KqlType::Real),
    ("Blocks", KqlType::Long),
    ("Segments", KqlType::Long),
    ("ExtentContainerId", KqlType::String),
    ("RowCount", KqlType::Long),
    ("MinCreatedOn", KqlType::DateTime),
    ("Tags", KqlType::String),
    ("Kind", KqlType::String),
    ("DeletedRowCount", KqlType::Long),
];

/// The storage engine's names of types. Source: kusto-rest section 8.
pub(super) fn attribute_type(ty: KqlType) -> &'static str {
    match ty {
        KqlType::Bool => "I8",
        KqlType::Int => "I32",
        KqlType::Long => "I64",
        KqlType::Real => "R64",
        KqlType::Decimal => "Decimal",
        KqlType::String => "StringBuffer",
        KqlType::DateTime => "DateTime",
        KqlType::TimeSpan => "TimeSpan",
        KqlType::Guid => "UniqueId",
        KqlType::Dynamic => "Dynamic",
    }
}

/// A table's name, columns, folder and docstring as a command gives them.
fn spec(request: &Request<'_>, table: TableDefinition, properties: &[Property]) -> Result<TableSpec> {
    let mut columns: Vec<Column> = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        if columns.iter().any(|known| known.name == column.name.text) {
            return Err(Error::bad_request(format!("column '{}' is given twice", column.name.text)));
        }
        columns.push(Column::new(column.name.text, column.ty));
    }
    if columns.is_empty() {
        return Err(Error::bad_request(format!("table '{}' must have at least one column", table.name.text)));
    }
    Ok(TableSpec {
        name: table.name.text,
        schema: TableSchema::new(columns),
        folder: property_text(properties, "folder"),
        docstring: property_text(properties, "docstring"),
        properties: admins_of_new(request.context),
        ..TableSpec::default()
    })
}

/// One table's schema as JSON.
fn shown(database: &Database, table: &Table) -> Result<ResultTable> {
    let mut out = TableBuilder::new(TABLE_SCHEMA);
    out.row(vec![
        table.name().into(),
        table_json(table).to_string().into(),
        database.name().into(),
        table.folder().into(),
        table.docstring().into(),
    ]);
    out.finish()
}

fn list_row(database: &Database, table: &Table) -> Vec<Cell> {
    vec![table.name().into(), database.name().into(), table.folder().into(), table.docstring().into()]
}

/// A column that both have must have one type.
fn check_merge(known: &Table, wanted: &TableSchema) -> Result<()> {
    for column in &wanted.columns {
        if let Some(at) = known.schema().index_of(&column.name)
            && known.schema().columns[at].ty != column.ty
        {
            return Err(Error::bad_request(format!(
                "column '{}' of table '{}' has type {}, which cannot be merged with {}",
                column.name,
                known.name(),
                known.schema().columns[at].ty,
                column.ty
            )));
        }
    }
    Ok(())
}

/// `.create table`, `.create-merge table`
pub async fn create(
    request: &Request<'_>,
    table: TableDefinition,
    merge: bool,
    if_not_exists: bool,
    properties: &[Property],
) -> Result<ResultTable> {
    let database = request.database()?;
    let spec = spec(request, table, properties)?;
    let known = database.table(&spec.name);
    if known.is_none() && stored::find::<StoredView>(&request.snapshot, database, &spec.name).is_some() {
        return Err(Error::entity_exists("MaterializedView", &spec.name));
    }
    let mode = match (merge, if_not_exists, known) {
        (true, _, Some(known)) => {
            check_merge(known, &spec.schema)?;
            CreateMode::Merge
        }
        (true, ..) => CreateMode::Merge,
        (_, true, _) => CreateMode::IfNotExists,
        // `.create table` over a table with the very same columns changes nothing. Source: create table page.
        (_, _, Some(known)) if known.schema() == &spec.schema => return shown(database, known),
        _ => CreateMode::New,
    };
    let made = request.service.store().create_table(database.id(), spec, mode).await?;
    shown(database, &made)
}

/// `.create tables`, `.create-merge tables`
pub async fn create_many(
    request: &Request<'_>,
    tables: Vec<TableDefinition>,
    merge: bool,
    properties: &[Property],
) -> Result<ResultTable> {
    let database = request.database()?;
    let specs = tables.into_iter().map(|table| spec(request, table, properties)).collect::<Result<Vec<_>>>()?;
    for spec in &specs {
        if let Some(known) = database.table(&spec.name).filter(|_| merge) {
            check_merge(known, &spec.schema)?;
        }
    }
    let mode = if merge { CreateMode::Merge } else { CreateMode::IfNotExists };
    let made = request.service.store().create_tables(database.id(), specs, mode).await?;
    let mut out = TableBuilder::new(TABLES);
    for table in made {
        out.row(list_row(database, &table));
    }
    out.finish()
}

/// `.create table T based-on Other`
pub async fn create_based_on(
    request: &Request<'_>,
    name: &str,
    base: &str,
    if_not_exists: bool,
    properties: &[Property],
) -> Result<ResultTable> {
    let database = request.database()?;
    let base = request.table(base)?;
    let text = |name: &str, of_base: Option<&str>| property_text(properties, name).or(of_base.map(str::to_string));
    let spec = TableSpec {
        folder: text("folder", base.folder()),
        docstring: text("docstring", base.docstring()),
        properties: admins_of_new(request.context),
        ..TableSpec::new(name, base.schema().clone())
    };
    let mode = if if_not_exists { CreateMode::IfNotExists } else { CreateMode::New };
    let made = request.service.store().create_table(database.id(), spec, mode).await?;
    shown(database, &made)
}

/// `.alter table`, `.alter-merge table`
pub async fn alter(
    request: &Request<'_>,
    table: TableDefinition,
    merge: bool,
    properties: &[Property],
) -> Result<ResultTable> {
    let database = request.database()?;
    let spec = spec(request, table, properties)?;
    let known = request.table(&spec.name)?;
    // Another type would make the old data unreadable; `.alter column` says so openly.
    check_merge(known, &spec.schema)?;
    let columns = if merge { Alteration::MergeColumns(spec.schema) } else { Alteration::Columns(spec.schema) };
    let mut steps = vec![columns];
    if let Some(folder) = spec.folder {
        steps.push(Alteration::Folder(Some(folder).filter(|folder| !folder.is_empty())));
    }
    if let Some(docstring) = spec.docstring {
        steps.push(Alteration::Docstring(Some(docstring).filter(|docstring| !docstring.is_empty())));
    }
    let altered = request.service.store().alter_table(known.id(), steps).await?;
    shown(database, &altered)
}

/// `.alter table T docstring "..."`
pub async fn set_docstring(request: &Request<'_>, table: &str, text: String) -> Result<ResultTable> {
    alter_one(request, table, Alteration::Docstring(Some(text).filter(|text| !text.is_empty()))).await
}

/// `.alter table T folder "..."`
pub async fn set_folder(request: &Request<'_>, table: &str, text: String) -> Result<ResultTable> {
    alter_one(request, table, Alteration::Folder(Some(text).filter(|text| !text.is_empty()))).await
}

async fn alter_one(request: &Request<'_>, table: &str, step: Alteration) -> Result<ResultTable> {
    let known = request.table(table)?;
    let altered = request.service.store().alter_table(known.id(), vec![step]).await?;
    shown(request.database()?, &altered)
}

/// `.drop table`, `.drop tables`: answered by the tables that remain.
pub async fn drop(request: &Request<'_>, names: &[Name], if_exists: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        match database.table(&name.text) {
            Some(table) if !ids.contains(&table.id()) => ids.push(table.id()),
            Some(_) => {}
            None if if_exists => {}
            None => return Err(Error::entity_not_found("Table", &name.text)),
        }
    }
    if !ids.is_empty() {
        super::dropped::drop_tables(request, database, ids).await?;
    }
    let mut out = TableBuilder::new(DROPPED);
    let request = request.refreshed();
    for table in request.tables(request.database()?) {
        out.row(vec![table.name().into(), database.name().into()]);
    }
    out.finish()
}

/// `.rename table`, `.rename tables`: pairs of new and old name.
pub async fn rename(request: &Request<'_>, renames: Vec<(Name, Name)>) -> Result<ResultTable> {
    let database = request.database()?;
    for (_, old) in &renames {
        request.table(&old.text)?;
    }
    let pairs = renames.iter().map(|(new, old)| (old.text.clone(), new.text.clone())).collect();
    request.service.store().rename_tables(database.id(), pairs).await?;
    let request = request.refreshed();
    let mut out = TableBuilder::new(TABLES);
    for (new, _) in &renames {
        out.row(list_row(database, request.table(&new.text)?));
    }
    out.finish()
}

/// `.clear table T data`
pub async fn clear(request: &Request<'_>, name: &str) -> Result<ResultTable> {
    let table = request.table(name)?;
    request.service.store().clear_table(table.id()).await?;
    let mut out = TableBuilder::new(&[("Status", KqlType::String)]);
    out.row(vec!["Succeeded".into()]);
    out.finish()
}

/// The policies are those that hold, whoever they are inherited from.
fn details_row(request: &Request<'_>, database: &Database, table: &Table) -> Vec<Cell> {
    let snapshot = &request.snapshot;
    let extents = table.extents();
    let time = |ticks: Option<i64>| ticks.map_or(Cell::Null, Cell::Number);
    let mut cells = list_row(database, table);
    let caching: Option<CachingPolicy> = policies::of_table(snapshot, table);
    let is_hot = |extent: &Extent| {
        caching.as_ref().is_none_or(|policy| policy.is_hot(extent.created(), request.context.now_ticks))
    };
    for hot in [false, true] {
        let counted: Vec<&Arc<Extent>> = extents.iter().filter(|extent| !hot || is_hot(extent)).collect();
        cells.extend([
            counted.len().into(),
            Cell::Real(counted.iter().map(|extent| extent.bytes()).sum::<u64>() as f64),
            Cell::Real(counted.iter().map(|extent| extent.original_bytes()).sum::<u64>() as f64),
            counted.iter().map(|extent| extent.rows()).sum::<u64>().into(),
        ]);
    }
    let sharding: ShardingPolicy = policies::of_table(snapshot, table).unwrap_or_default();
    let merge: MergePolicy = policies::of_table(snapshot, table).unwrap_or_default();
    cells.extend([
        "".into(),
        policies::text(policies::of_table::<RetentionPolicy>(snapshot, table)).into(),
        policies::text(caching).into(),
        policies::text(Some(sharding)).into(),
        policies::text(Some(merge)).into(),
        policies::text(policies::of_table::<StreamingIngestionPolicy>(snapshot, table)).into(),
        policies::text(policies::of_table::<IngestionBatchingPolicy>(snapshot, table)).into(),
        time(extents.iter().map(|extent| extent.created()).min()),
        time(extents.iter().map(|extent| extent.created()).max()),
        policies::text(policies::of_table::<RowOrderPolicy>(snapshot, table)).into(),
        table.id().0.into(),
    ]);
    cells
}

/// `.show tables [(names)] [details]`
pub fn show_all(request: &Request<'_>, names: &[Name], details: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let tables: Vec<&Arc<Table>> = if names.is_empty() {
        request.tables(database).collect()
    } else {
        names.iter().map(|name| request.table(&name.text)).collect::<Result<_>>()?
    };
    let mut out = TableBuilder::new(if details { DETAILS } else { TABLES });
    for table in tables {
        out.row(if details { details_row(request, database, table) } else { list_row(database, table) });
    }
    out.finish()
}

/// `.show table T ...`
pub fn show(request: &Request<'_>, name: &str, what: ShowTable) -> Result<ResultTable> {
    let database = request.database()?;
    let table = request.table(name)?;
    match what {
        ShowTable::Details => {
            let mut out = TableBuilder::new(DETAILS);
            out.row(details_row(request, database, table));
            out.finish()
        }
        ShowTable::SchemaAsJson => shown(database, table),
        ShowTable::CslSchema => {
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
        ShowTable::Columns => {
            let mut out = TableBuilder::new(ATTRIBUTES);
            for column in table.columns() {
                let id = Uuid::new_v5(&table.id().0, column.at_rest().as_bytes());
                out.row(vec![
                    column.name.as_str().into(),
                    attribute_type(column.ty).into(),
                    0i64.into(),
                    Cell::Real(0.0),
                    0i64.into(),
                    Cell::Real(0.0),
                    0i64.into(),
                    id.into(),
                    0i64.into(),
                    "".into(),
                ]);
            }
            out.finish()
        }
    }
}

/// `.show ... extents`
pub fn extents(
    request: &Request<'_>,
    scope: ExtentScope,
    ids: &[String],
    tags: &[(TagTest, String)],
    hot: bool,
) -> Result<ResultTable> {
    let mut chosen: Vec<(&Database, &Table)> = Vec::new();
    let databases: Vec<&Arc<Database>> = match &scope {
        ExtentScope::Cluster => request.databases().collect(),
        ExtentScope::Database(None) => vec![request.database()?],
        ExtentScope::Database(Some(name)) => vec![request.named_database(&name.text)?],
        ExtentScope::Databases(names) => {
            names.iter().map(|name| request.named_database(&name.text)).collect::<Result<_>>()?
        }
        ExtentScope::Tables(_) => Vec::new(),
    };
    for database in databases {
        chosen.extend(request.tables(database).map(|table| (database.as_ref(), table.as_ref())));
    }
    if let ExtentScope::Tables(names) = &scope {
        for name in names {
            chosen.push((request.database()?.as_ref(), request.table(&name.text)?.as_ref()));
        }
    }
    let mut out = TableBuilder::new(EXTENTS);
    for (database, table) in chosen {
        let caching: Option<CachingPolicy> = if hot { policies::of_table(&request.snapshot, table) } else { None };
        for extent in table.extents() {
            if caching.as_ref().is_some_and(|policy| !policy.is_hot(extent.created(), request.context.now_ticks)) {
                continue;
            }
            let id = extent.id().0;
            let named =
                ids.is_empty() || ids.iter().any(|wanted| Uuid::parse_str(wanted).is_ok_and(|wanted| wanted == id));
            if named && tags.iter().all(|(test, tag)| tag_passes(extent.tags(), *test, tag)) {
                extent_row(&mut out, database, table.name(), extent);
            }
        }
    }
    out.finish()
}

/// All extents of tables under the given names.
pub fn extents_of<'a>(database: &Database, tables: impl Iterator<Item = (&'a str, &'a Table)>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(EXTENTS);
    for (name, table) in tables {
        table.extents().iter().for_each(|extent| extent_row(&mut out, database, name, extent));
    }
    out.finish()
}

fn extent_row(out: &mut TableBuilder, database: &Database, table: &str, extent: &Extent) {
    let bytes = extent.bytes() as f64;
    out.row(vec![
        extent.id().0.into(),
        database.name().into(),
        table.into(),
        extent.created().into(),
        Cell::Real(extent.original_bytes() as f64),
        Cell::Real(bytes),
        Cell::Real(bytes),
        Cell::Real(0.0),
        1i64.into(),
        1i64.into(),
        "".into(),
        extent.rows().into(),
        extent.created().into(),
        extent.tags().join("\r\n").into(),
        "StorageV3".into(),
        0i64.into(),
    ]);
}

fn tag_passes(tags: &[String], test: TagTest, wanted: &str) -> bool {
    let has = || tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted));
    let contains = || tags.iter().any(|tag| tag.to_lowercase().contains(&wanted.to_lowercase()));
    match test {
        TagTest::Has => has(),
        TagTest::NotHas => !has(),
        TagTest::Contains => contains(),
        TagTest::NotContains => !contains(),
    }
}
