//! External tables. Source: external-tables-azure-storage, show-external-tables, show-external-table-schema,
//! show-external-table-artifacts, external-table-mapping-* pages; the parser's inventory of results.

use serde_json::{Value, json};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{ExprKind, ExternalDefinition, Literal};
use tidewater_kql::command::{ExternalTableCommand, PutMode, TextKind};
use tidewater_plan::{ExternalSource, PartitionValue, PathPiece, external_source};
use tidewater_store::Database;

use super::Request;
use super::schema::{TABLE_SCHEMA, columns_json, csl_schema, quoted_name};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::external::location::shown;
use crate::external::{DELTA, External};
use crate::rights::roles::{Named, admin_of_new};
use crate::stored::{self, StoredExternal, StoredMapping};
use crate::table::{Cell, Columns, TableBuilder};

const EXTERNAL_TABLES: Columns = &[
    ("TableName", KqlType::String),
    ("TableType", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
    ("Properties", KqlType::String),
    ("ConnectionStrings", KqlType::Dynamic),
    ("Partitions", KqlType::Dynamic),
    ("PathFormat", KqlType::String),
];

const ALTERED: Columns = &[
    ("TableName", KqlType::String),
    ("TableType", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
    ("Schema", KqlType::String),
    ("Properties", KqlType::String),
];

const MAPPINGS: Columns = &[
    ("Name", KqlType::String),
    ("Kind", KqlType::String),
    ("Mapping", KqlType::String),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Database", KqlType::String),
    ("Table", KqlType::String),
];

/// The type's name in answers. Source: show-external-tables page.
/// What answers call the kind of an external table.
fn table_type(source: &ExternalSource) -> &'static str {
    if source.kind == DELTA { "Delta" } else { "Blob" }
}

/// Runs a command about external tables.
pub async fn run(request: &Request<'_>, command: ExternalTableCommand) -> Result<ResultTable> {
    use ExternalTableCommand as C;
    match command {
        C::Put { mode, table, definition } => put(request, mode, &table.text, &definition).await,
        C::AlterText { table, which, text } => {
            alter(request, &table.text, |external| {
                match which {
                    TextKind::Folder => external.folder = text,
                    TextKind::DocString => external.docstring = text,
                }
                Ok(())
            })
            .await?;
            let request = request.refreshed();
            show(&request, Some(&table.text))
        }
        C::Drop { table, if_exists } => drop(request, &table.text, if_exists).await,
        C::Show { table } => show(request, table.as_ref().map(|table| table.text.as_str())),
        C::ShowDetails { table } => details(request, table.as_ref().map(|table| table.text.as_str())),
        C::ShowSchema { table, as_json } => schema(request, &table.text, as_json),
        C::ShowArtifacts { table, limit } => artifacts(request, &table.text, limit).await,
        C::PutMapping { alter: is_alter, table, mapping, text } => {
            put_mapping(request, is_alter, &table.text, &mapping, &text).await
        }
        C::ShowMappings { table, mapping } => mappings(request, &table.text, mapping.as_deref()),
        C::DropMapping { table, mapping } => drop_mapping(request, &table.text, &mapping).await,
    }
}

async fn of_definition(request: &Request<'_>, definition: &ExternalDefinition) -> Result<ExternalSource> {
    let uris = definition.uris.iter().map(|uri| match &uri.kind {
        ExprKind::Literal(Literal::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(Error::bad_request("a storage connection string must be a string literal that is not empty")),
    });
    let uris = uris.collect::<Result<Vec<_>>>()?;
    if uris.is_empty() {
        return Err(Error::bad_request("an external table needs a storage connection string"));
    }
    let mut source = external_source(definition, uris).map_err(Error::bad_request)?;
    if source.kind == DELTA {
        External::check_delta(&source)?;
        External::check(&source, None)?;
        request.service.inner().external.delta_table(&source).await?.complete(&mut source);
    }
    if source.columns.is_empty() {
        return Err(Error::bad_request("an external table needs columns"));
    }
    if source.format.is_none() {
        return Err(Error::bad_request("an external table needs 'dataformat = ...'"));
    }
    for property in ["sampleUris", "filesPreview"] {
        if flag(&source, property) {
            return Err(Error::not_served(format!("the property '{property}' of external tables")));
        }
    }
    External::check(&source, None)?;
    Ok(source)
}

fn flag(source: &ExternalSource, name: &str) -> bool {
    source.property(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

async fn put(request: &Request<'_>, mode: PutMode, name: &str, definition: &ExternalDefinition) -> Result<ResultTable> {
    let database = request.database()?;
    let source = of_definition(request, definition).await?;
    let old = stored::find::<StoredExternal>(&request.snapshot, database, name);
    match (mode, &old) {
        (PutMode::Create, Some(_)) => return Err(Error::entity_exists("ExternalTable", name)),
        (PutMode::Alter, None) => return Err(Error::entity_not_found("ExternalTable", name)),
        _ => {}
    }
    stored::name_is_free(&request.snapshot, database, name, "external table")?;
    if flag(&source, "validateNotEmpty") && request.service.inner().external.artifacts(&source).await?.is_empty() {
        return Err(Error::bad_request(format!("the external table '{name}' has no files")));
    }
    let kept = |text: Option<&str>, old: Option<&String>| {
        text.map(str::to_string).or_else(|| old.cloned()).unwrap_or_default()
    };
    let external = StoredExternal {
        folder: kept(source.property("folder"), old.as_ref().map(|old| &old.folder)),
        docstring: kept(source.property("docString"), old.as_ref().map(|old| &old.docstring)),
        mappings: old.as_ref().map(|old| old.mappings.clone()).unwrap_or_default(),
        policies: old.as_ref().map(|old| old.policies.clone()).unwrap_or_default(),
        source,
    };
    if !flag(&external.source, "dryRun") {
        let mut edits = vec![stored::edit(database, name, old.as_ref(), Some(&external))?];
        edits.extend(admin_of_new(request.context, database, Named::ExternalTable, name, old.is_some()));
        request.service.store().edit_properties(edits).await?;
    }
    if mode == PutMode::Create {
        return rows([(name.to_string(), external)]);
    }
    let mut out = TableBuilder::new(ALTERED);
    let columns = external.source.columns.iter();
    let columns: Vec<Value> = columns.map(|column| json!({"Name": column.name, "CslType": column.ty.name()})).collect();
    out.row(vec![
        name.into(),
        table_type(&external.source).into(),
        external.folder.as_str().into(),
        external.docstring.as_str().into(),
        Value::from(columns).to_string().into(),
        properties(&external.source).to_string().into(),
    ]);
    out.finish()
}

/// Changes an external table that exists.
async fn alter(
    request: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut StoredExternal) -> Result<()>,
) -> Result<StoredExternal> {
    let database = request.database()?;
    let old: StoredExternal = stored::found(&request.snapshot, database, name)?;
    let mut new = old.clone();
    change(&mut new)?;
    let edit = stored::edit(database, name, Some(&old), Some(&new))?;
    request.service.store().edit_properties(vec![edit]).await?;
    Ok(new)
}

async fn drop(request: &Request<'_>, name: &str, if_exists: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let old = match stored::find::<StoredExternal>(&request.snapshot, database, name) {
        Some(old) => old,
        None if if_exists => return rows([]),
        None => return Err(Error::entity_not_found("ExternalTable", name)),
    };
    let edit = stored::edit(database, name, Some(&old), None)?;
    request.service.store().edit_properties(vec![edit]).await?;
    rows([(name.to_string(), old)])
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect(),
        None => String::new(),
    }
}

fn properties(source: &ExternalSource) -> Value {
    let text = |name: &str| source.property(name).map_or(Value::Null, Value::from);
    let headers = match source.property("includeHeaders").map(str::to_ascii_lowercase).as_deref() {
        Some("all") => "All",
        Some("firstfile") => "FirstFile",
        _ => "None",
    };
    json!({
        "Format": source.format.as_deref().map(title),
        "Compressed": flag(source, "compressed"),
        "CompressionType": text("compressionType"),
        "FileExtension": text("fileExtension"),
        "IncludeHeaders": headers,
        "Encoding": text("encoding"),
        "NamePrefix": text("namePrefix"),
    })
}

fn connection_strings(source: &ExternalSource) -> Value {
    let shown = source.uris.iter().map(|uri| match shown(uri).len() == uri.len() {
        true => uri.clone(),
        false => format!("{};*******", shown(uri)),
    });
    Value::from(shown.collect::<Vec<_>>())
}

fn partitions(source: &ExternalSource) -> Value {
    let function = |name: &str| match name {
        "startofday" => "StartOfDay",
        "startofweek" => "StartOfWeek",
        "startofmonth" => "StartOfMonth",
        _ => "StartOfYear",
    };
    let rows = source.partitions.iter().enumerate().map(|(ordinal, partition)| {
        let name = &partition.name;
        match &partition.value {
            PartitionValue::Virtual => json!({"Name": name, "ColumnName": null, "Ordinal": ordinal}),
            PartitionValue::Column(column) => json!({"Name": name, "ColumnName": column, "Ordinal": ordinal}),
            PartitionValue::Hash(column, modulo) => {
                json!({"Mod": modulo, "Name": name, "ColumnName": column, "Ordinal": ordinal})
            }
            PartitionValue::StartOf(start, column) => {
                json!({"Function": function(start), "Name": name, "ColumnName": column, "Ordinal": ordinal})
            }
            PartitionValue::Bin(column, ticks) => json!({
                "TimeSpan": tidewater_kql::value::timespan::to_text(*ticks),
                "Name": name, "ColumnName": column, "Ordinal": ordinal
            }),
        }
    });
    rows.collect()
}

fn path_format(source: &ExternalSource) -> String {
    let pieces = source.path.iter().map(|piece| match piece {
        PathPiece::Text(text) => Value::from(text.as_str()).to_string(),
        PathPiece::Partition(name) => quoted_name(name),
        PathPiece::DateTime { pattern, partition } => {
            format!("datetime_pattern({},{})", Value::from(pattern.as_str()), quoted_name(partition))
        }
    });
    pieces.collect::<Vec<_>>().join(" ")
}

fn rows(tables: impl IntoIterator<Item = (String, StoredExternal)>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(EXTERNAL_TABLES);
    for (name, external) in tables {
        out.row(vec![
            name.into(),
            table_type(&external.source).into(),
            external.folder.as_str().into(),
            external.docstring.as_str().into(),
            properties(&external.source).to_string().into(),
            connection_strings(&external.source).to_string().into(),
            partitions(&external.source).to_string().into(),
            path_format(&external.source).into(),
        ]);
    }
    out.finish()
}

/// The one that is named, or all.
fn chosen(request: &Request<'_>, database: &Database, name: Option<&str>) -> Result<Vec<(String, StoredExternal)>> {
    match name {
        Some(name) => Ok(vec![(name.to_string(), stored::found(&request.snapshot, database, name)?)]),
        None => Ok(stored::all(&request.snapshot, database)),
    }
}

fn show(request: &Request<'_>, name: Option<&str>) -> Result<ResultTable> {
    rows(chosen(request, request.database()?, name)?)
}

fn details(request: &Request<'_>, name: Option<&str>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[
        ("TableName", KqlType::String),
        ("QueryAccelerationPolicy", KqlType::String),
        ("QueryAccelerationState", KqlType::String),
    ]);
    for (name, _) in chosen(request, request.database()?, name)? {
        out.row(vec![name.into(), "".into(), "".into()]);
    }
    out.finish()
}

fn schema(request: &Request<'_>, name: &str, as_json: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let external: StoredExternal = stored::found(&request.snapshot, database, name)?;
    let schema = external.source.schema();
    let text = match as_json {
        false => csl_schema(&schema),
        true => json!({
            "Name": name,
            "Folder": external.folder,
            "DocString": external.docstring,
            "OrderedColumns": columns_json(&schema),
        })
        .to_string(),
    };
    let mut out = TableBuilder::new(TABLE_SCHEMA);
    out.row(vec![
        name.into(),
        text.into(),
        database.name().into(),
        external.folder.as_str().into(),
        external.docstring.as_str().into(),
    ]);
    out.finish()
}

async fn artifacts(request: &Request<'_>, name: &str, limit: Option<i64>) -> Result<ResultTable> {
    let external: StoredExternal = stored::found(&request.snapshot, request.database()?, name)?;
    let found = request.service.inner().external.artifacts(&external.source).await?;
    let mut out =
        TableBuilder::new(&[("Uri", KqlType::String), ("Partition", KqlType::Dynamic), ("Size", KqlType::Long)]);
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
    for artifact in found.into_iter().take(limit) {
        let size = artifact.size.map_or(Cell::Null, Cell::from);
        let partitions = artifact.partitions().to_string();
        out.row(vec![artifact.uri.into(), partitions.into(), size]);
    }
    out.finish()
}

/// The kind of a mapping is that of its table's format. Source: mappings page.
fn mapping_kind(source: &ExternalSource) -> String {
    match source.format.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("json" | "multijson" | "singlejson" | "jsonl") => "Json".to_string(),
        Some("csv" | "tsv" | "tsve" | "psv" | "scsv" | "sohsv" | "txt" | "raw") | None => "Csv".to_string(),
        Some(other) => title(other),
    }
}

fn mapping_row(out: &mut TableBuilder, database: &Database, table: &str, external: &StoredExternal, name: &str) {
    if let Some(mapping) = external.mappings.get(name) {
        out.row(vec![
            name.into(),
            mapping_kind(&external.source).into(),
            mapping.text.as_str().into(),
            mapping.updated.into(),
            database.name().into(),
            table.into(),
        ]);
    }
}

async fn put_mapping(
    request: &Request<'_>,
    is_alter: bool,
    table: &str,
    name: &str,
    text: &str,
) -> Result<ResultTable> {
    let now = request.context.now_ticks;
    let external = alter(request, table, |external| {
        match (is_alter, external.mappings.contains_key(name)) {
            (false, true) => return Err(Error::entity_exists("Mapping", name)),
            (true, false) => return Err(Error::entity_not_found("Mapping", name)),
            _ => {}
        }
        let parsed = tidewater_formats::Mapping::parse(text).map_err(Error::from)?;
        let schema = external.source.schema();
        if let Some(unknown) = parsed.columns.iter().find(|column| schema.index_of(&column.column).is_none()) {
            return Err(Error::bad_request(format!("the external table has no column '{}'", unknown.column)));
        }
        external.mappings.insert(name.to_string(), StoredMapping { text: text.to_string(), updated: now });
        Ok(())
    })
    .await?;
    let mut out = TableBuilder::new(MAPPINGS);
    mapping_row(&mut out, request.database()?, table, &external, name);
    out.finish()
}

fn mappings(request: &Request<'_>, table: &str, name: Option<&str>) -> Result<ResultTable> {
    let database = request.database()?;
    let external: StoredExternal = stored::found(&request.snapshot, database, table)?;
    let mut out = TableBuilder::new(MAPPINGS);
    match name {
        Some(name) if !external.mappings.contains_key(name) => return Err(Error::entity_not_found("Mapping", name)),
        Some(name) => mapping_row(&mut out, database, table, &external, name),
        None => external.mappings.keys().for_each(|name| mapping_row(&mut out, database, table, &external, name)),
    }
    out.finish()
}

async fn drop_mapping(request: &Request<'_>, table: &str, name: &str) -> Result<ResultTable> {
    let database = request.database()?;
    let mut out = TableBuilder::new(MAPPINGS);
    let old: StoredExternal = stored::found(&request.snapshot, database, table)?;
    mapping_row(&mut out, database, table, &old, name);
    alter(request, table, |external| match external.mappings.remove(name) {
        Some(_) => Ok(()),
        None => Err(Error::entity_not_found("Mapping", name)),
    })
    .await?;
    out.finish()
}
