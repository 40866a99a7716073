//! `.export` to files and external tables, and commands about continuous exports.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{Name, Property};
use tidewater_kql::command::{Inner, ShowContinuousExport, property_flag, property_text};
use tidewater_kql::value::timespan;
use tidewater_plan::ExternalSource;

use super::{Request, data, only, row_security};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::export::continuous::{StoredExport, fitting, place, tables_in, text_of};
use crate::export::{self, Destination, ExportFormat, ExportOptions, Headers, Layout};
use crate::stored::{self, StoredExternal};
use crate::table::{Cell, Columns, TableBuilder};
use crate::view::View;

const FILES: Columns = &[("Path", KqlType::String), ("NumRecords", KqlType::Long)];

const TABLE_FILES: Columns =
    &[("ExternalTableName", KqlType::String), ("Path", KqlType::String), ("NumRecords", KqlType::Long)];

const EXPORTS: Columns = &[
    ("Name", KqlType::String),
    ("ExternalTableName", KqlType::String),
    ("Query", KqlType::String),
    ("ForcedLatency", KqlType::TimeSpan),
    ("IntervalBetweenRuns", KqlType::TimeSpan),
    ("CursorScopedTables", KqlType::String),
    ("ExportProperties", KqlType::String),
    ("LastRunTime", KqlType::DateTime),
    ("StartCursor", KqlType::String),
    ("IsDisabled", KqlType::Bool),
    ("LastRunResult", KqlType::String),
    ("ExportedTo", KqlType::DateTime),
    ("IsRunning", KqlType::Bool),
];

/// The smallest and largest `sizeLimit`. Source: export data to storage page.
const SIZE_LIMITS: std::ops::RangeInclusive<u64> = (100 << 20)..=(4 << 30);

fn number(properties: &[Property], name: &str) -> Result<Option<u64>> {
    match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::bad_request(format!("property '{name}' must be a whole number, found '{text}'"))),
        },
    }
}

fn size_limit(properties: &[Property]) -> Result<Option<u64>> {
    let size = number(properties, "sizeLimit")?;
    if size.is_some_and(|size| !SIZE_LIMITS.contains(&size)) {
        return Err(Error::bad_request("property 'sizeLimit' must be between 100 MB and 4 GB"));
    }
    Ok(size)
}

fn one_of<'a>(properties: &[Property], name: &str, known: &[&'a str]) -> Result<Option<&'a str>> {
    match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match known.iter().find(|known| known.eq_ignore_ascii_case(&text)) {
            Some(known) => Ok(Some(*known)),
            None => Err(Error::bad_request(format!(
                "property '{name}' must be one of {}, found '{text}'",
                known.join(", ")
            ))),
        },
    }
}

/// `.export [async] [compressed] to FORMAT ("uri", ...) [with (...)] <| query`
pub async fn to_storage(
    request: &Request<'_>,
    is_async: bool,
    compressed: bool,
    format: &str,
    uris: &[String],
    properties: &[Property],
    query: Inner,
) -> Result<ResultTable> {
    let format =
        ExportFormat::parse(format).ok_or_else(|| Error::not_served(format!("export to the format '{format}'")))?;
    let headers = match one_of(properties, "includeHeaders", &["none", "all", "firstFile"])? {
        Some("all") => Headers::All,
        Some("firstFile") => Headers::FirstFile,
        _ => Headers::None,
    };
    let kinds: &[&str] = match format {
        ExportFormat::Parquet => &["gzip", "snappy", "lz4_raw", "brotli", "zstd"],
        _ => &["gzip"],
    };
    let options = ExportOptions {
        compressed,
        compression: one_of(properties, "compressionType", kinds)?.unwrap_or("gzip").to_string(),
        headers,
        prefix: property_text(properties, "namePrefix").filter(|prefix| !prefix.contains(['/', '\\'])),
        extension: property_text(properties, "fileExtension").filter(|text| !text.contains(['/', '\\'])),
        mark: one_of(properties, "encoding", &["UTF8NoBOM", "UTF8BOM"])? == Some("UTF8BOM"),
        size_limit: size_limit(properties)?.unwrap_or(100 << 20),
        row_group_rows: number(properties, "parquetRowGroupSize")?
            .map_or(100_000, |rows| usize::try_from(rows).unwrap_or(usize::MAX)),
        microseconds: one_of(properties, "parquetDatetimePrecision", &["millisecond", "microsecond"])?
            == Some("microsecond"),
        ..ExportOptions::default_of(format)
    };
    // One thread writes; where it writes is the first place that is named.
    let uri = uris.first().ok_or_else(|| Error::bad_request("an export needs a place"))?;
    let inner = request.service.inner();
    let destination = Destination::of(&inner.external, &inner.options.export_directories, uri)?;
    run(request, is_async, destination, options, query, None).await
}

/// `.export [async] to table E [with (...)] <| query`
pub async fn to_table(
    request: &Request<'_>,
    is_async: bool,
    table: &Name,
    properties: &[Property],
    query: Inner,
) -> Result<ResultTable> {
    let external: StoredExternal = stored::found(&request.snapshot, request.database()?, &table.text)?;
    let inner = request.service.inner();
    let allowed = &inner.options.export_directories;
    let (destination, mut options) = place(&inner.external, allowed, &table.text, &external.source)?;
    if let Some(size) = size_limit(properties)? {
        options.size_limit = size;
    }
    if let Some(rows) = number(properties, "parquetRowGroupSize")? {
        options.row_group_rows = usize::try_from(rows).unwrap_or(usize::MAX);
    }
    run(request, is_async, destination, options, query, Some((table.text.clone(), external.source))).await
}

async fn run(
    request: &Request<'_>,
    is_async: bool,
    destination: Destination,
    options: ExportOptions,
    query: Inner,
    table: Option<(String, ExternalSource)>,
) -> Result<ResultTable> {
    let text = only(request.text, query);
    let (service, mark) = (request.service.clone(), Arc::clone(request.mark));
    let (mut context, snapshot) = (request.context.clone(), Arc::clone(&request.snapshot));
    context.options.set("notruncation", Value::Bool(true));
    if is_async {
        context.deadline = context.started + crate::context::MAX_TIMEOUT;
    }
    let work = async move {
        let view = View::new(&service, &context, snapshot, &context.database)?;
        let mut answer = service.run_planned(&context, &text, &view, &mark, None).await?;
        if answer.results.is_empty() {
            return Err(Error::bad_request("the query has no result to export"));
        }
        // The first result is exported.
        let mut result = answer.results.swap_remove(0);
        if let Some((name, source)) = &table {
            result = fitting(result, name, source)?;
        }
        let layout = table.as_ref().map(|(_, source)| Layout::of(source)).transpose()?.flatten();
        let external = &service.inner().external;
        let artifacts = export::write(external, &destination, result, options, layout).await?;
        let mut out = TableBuilder::new(if table.is_some() { TABLE_FILES } else { FILES });
        for artifact in artifacts {
            let mut cells: Vec<Cell> = vec![artifact.path.into(), artifact.rows.into()];
            if let Some((name, _)) = &table {
                cells.insert(0, name.as_str().into());
            }
            out.row(cells);
        }
        out.finish()
    };
    if is_async { data::in_background(request, work).await } else { work.await }
}

fn row(request: &Request<'_>, out: &mut TableBuilder, name: &str, export: &StoredExport) {
    let time = |ticks: i64| if ticks == 0 { Cell::Null } else { Cell::Number(ticks) };
    let scoped = export.facts.iter().filter_map(|id| {
        let table = request.snapshot.table_by_id(*id)?;
        let database = request.snapshot.database_by_id(table.database_id())?;
        Some(format!("['{}'].['{}']", database.name(), table.name()))
    });
    let scoped: Vec<String> = scoped.collect();
    out.row(vec![
        name.into(),
        export.table.as_str().into(),
        export.query.as_str().into(),
        export.latency.map_or(Cell::Null, Cell::Number),
        export.interval.into(),
        json!(scoped).to_string().into(),
        export.properties.to_string().into(),
        time(export.last_run),
        export.cursor.to_string().into(),
        (!export.enabled).into(),
        export.last_result.as_str().into(),
        time(export.exported_to),
        false.into(),
    ]);
}

fn shown(request: &Request<'_>, name: &str, export: &StoredExport) -> Result<ResultTable> {
    let mut out = TableBuilder::new(EXPORTS);
    row(request, &mut out, name, export);
    out.finish()
}

/// `.create-or-alter continuous-export N [over (T, ...)] to table E [with (...)] <| query`
pub async fn put_continuous(
    request: &Request<'_>,
    name: &Name,
    over: Option<&[Name]>,
    table: &Name,
    properties: &[Property],
    query: Inner,
) -> Result<ResultTable> {
    let database = request.database()?;
    let span = |name: &str| match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match timespan::parse(&text) {
            Some(ticks) => Ok(Some(ticks)),
            None => Err(Error::bad_request(format!("property '{name}' must be a timespan, found '{text}'"))),
        },
    };
    if property_text(properties, "managedIdentity").is_some() {
        return Err(Error::not_served("the property 'managedIdentity' of continuous exports"));
    }
    let interval = span("intervalBetweenRuns")?.unwrap_or(timespan::TICKS_PER_HOUR);
    if interval < timespan::TICKS_PER_MINUTE {
        return Err(Error::bad_request("property 'intervalBetweenRuns' must be at least a minute"));
    }
    let query = query.text(request.text).to_string();
    let facts = match over {
        Some(names) => {
            names.iter().map(|name| request.table(&name.text).map(|table| table.id())).collect::<Result<Vec<_>>>()?
        }
        None => {
            let found = tables_in(database, &query);
            if found.is_empty() {
                return Err(Error::bad_request(
                    "the query names no table; name those whose new records count by 'over'",
                ));
            }
            found.iter().map(|table| table.id()).collect()
        }
    };
    let external: StoredExternal = stored::found(&request.snapshot, database, &table.text)?;
    let inner = request.service.inner();
    place(&inner.external, &inner.options.export_directories, &table.text, &external.source)?;
    let mut shown_properties = serde_json::Map::new();
    if let Some(size) = size_limit(properties)? {
        shown_properties.insert("SizeLimit".into(), size.into());
    }
    if let Some(rows) = number(properties, "parquetRowGroupSize")? {
        shown_properties.insert("ParquetRowGroupSize".into(), rows.into());
    }
    let old = stored::find::<StoredExport>(&request.snapshot, database, &name.text);
    let new = StoredExport {
        table: table.text.clone(),
        query,
        facts,
        interval,
        latency: span("forcedLatency")?,
        properties: Value::Object(shown_properties),
        enabled: !property_flag(properties, "isDisabled"),
        // Only what comes from now on is exported. Source: continuous data export page, "Historical data".
        cursor: old.as_ref().map_or_else(|| request.snapshot.cursor(), |old| old.cursor),
        last_run: old.as_ref().map_or(0, |old| old.last_run),
        last_result: old.as_ref().map(|old| old.last_result.clone()).unwrap_or_default(),
        exported_to: old.as_ref().map_or(0, |old| old.exported_to),
        artifacts: old.as_ref().map(|old| old.artifacts.clone()).unwrap_or_default(),
        failures: old.as_ref().map(|old| old.failures.clone()).unwrap_or_default(),
    };
    // The query must bind as it will run, with the columns of the external table.
    let text = text_of(&request.snapshot, &new, 0, 0);
    // What its caller may not read is not for the server to export.
    let view = View::new(request.service, request.context, Arc::clone(&request.snapshot), database.name())?;
    request.service.plan(request.context, &new.query, &view, ()).await?;
    if let Some((_, name)) = view.secured().first() {
        return Err(Error::bad_request(format!(
            "a continuous export cannot read '{name}': it has a row level security policy, which needs impersonation, and \
             that is not served"
        )));
    }
    let read = tables_in(database, &new.query);
    if let Some(table) = read.iter().find(|table| row_security::is_restricted(&request.snapshot, table)) {
        return Err(Error::bad_request(format!(
            "a continuous export cannot read table '{}': it has a restricted view access policy",
            table.name()
        )));
    }
    let view = View::of_server(request.service, Arc::clone(&request.snapshot), database.name())?;
    let mut answer = request.service.run_planned(request.context, &text, &view, request.mark, None).await?;
    let result = answer.results.pop().ok_or_else(|| Error::bad_request("the query has no result to export"))?;
    fitting(result, &table.text, &external.source)?;
    let edit = stored::edit(database, &name.text, old.as_ref(), Some(&new))?;
    request.service.store().edit_properties(vec![edit]).await?;
    shown(request, &name.text, &new)
}

/// `.show continuous-exports`, `.show continuous-export N ...`
pub fn show_continuous(request: &Request<'_>, name: Option<&Name>, what: ShowContinuousExport) -> Result<ResultTable> {
    let database = request.database()?;
    let exports = match name {
        None => stored::all::<StoredExport>(&request.snapshot, database),
        Some(name) => vec![(name.text.clone(), stored::found(&request.snapshot, database, &name.text)?)],
    };
    match what {
        ShowContinuousExport::Definition => {
            let mut out = TableBuilder::new(EXPORTS);
            exports.iter().for_each(|(name, export)| row(request, &mut out, name, export));
            out.finish()
        }
        ShowContinuousExport::Artifacts => {
            let mut out = TableBuilder::new(&[
                ("Timestamp", KqlType::DateTime),
                ("ExternalTableName", KqlType::String),
                ("Path", KqlType::String),
                ("NumRecords", KqlType::Long),
            ]);
            for (_, export) in &exports {
                for artifact in &export.artifacts {
                    out.row(vec![
                        artifact.time.into(),
                        export.table.as_str().into(),
                        artifact.path.as_str().into(),
                        artifact.rows.into(),
                    ]);
                }
            }
            out.finish()
        }
        ShowContinuousExport::Failures => {
            let mut out = TableBuilder::new(&[
                ("Timestamp", KqlType::DateTime),
                ("OperationId", KqlType::String),
                ("Name", KqlType::String),
                ("LastSuccessRun", KqlType::DateTime),
                ("FailureKind", KqlType::String),
                ("Details", KqlType::String),
            ]);
            for (name, export) in &exports {
                for failure in &export.failures {
                    let success = if export.exported_to == 0 { Cell::Null } else { Cell::Number(export.exported_to) };
                    out.row(vec![
                        failure.time.into(),
                        failure.operation.to_string().into(),
                        name.as_str().into(),
                        success,
                        failure.kind.as_str().into(),
                        failure.details.as_str().into(),
                    ]);
                }
            }
            out.finish()
        }
    }
}

/// `.drop continuous-export N`
pub async fn drop_continuous(request: &Request<'_>, name: &Name) -> Result<ResultTable> {
    let database = request.database()?;
    let old: StoredExport = stored::found(&request.snapshot, database, &name.text)?;
    let edit = stored::edit(database, &name.text, Some(&old), None)?;
    request.service.store().edit_properties(vec![edit]).await?;
    shown(request, &name.text, &old)
}

/// `.enable continuous-export N`, `.disable continuous-export N`
pub async fn enable_continuous(request: &Request<'_>, name: &Name, enable: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let old: StoredExport = stored::found(&request.snapshot, database, &name.text)?;
    let new = StoredExport { enabled: enable, ..old.clone() };
    let edit = stored::edit(database, &name.text, Some(&old), Some(&new))?;
    request.service.store().edit_properties(vec![edit]).await?;
    shown(request, &name.text, &new)
}
