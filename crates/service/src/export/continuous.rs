//! Continuous export: what is new in its tables since the last run goes to an external table, again and again.
//!
//! A run reads behind the cursor of the last one and stores the new cursor together with the list of its files, so each
//! record is in exactly one of the files that are listed. Source: continuous data export page.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_plan::ExternalSource;
use tidewater_store::{Database, Snapshot, Table, TableId};
use uuid::Uuid;

use super::{Artifact, Destination, ExportFormat, ExportOptions, Headers, Layout, write};
use crate::answer::ResultTable;
use crate::context::{Context, now_ticks};
use crate::error::{Error, Result};
use crate::external::External;
use crate::journal::{Mark, Sort};
use crate::service::Service;
use crate::stored::{self, Entity, StoredExternal};
use crate::view::View;
use crate::views::{INTERNAL, bracketed};

/// Files and failures that are remembered of each export.
const REMEMBERED: usize = 1000;

/// A continuous export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredExport {
    /// The external table.
    pub table: String,
    pub query: String,
    /// Tables whose new records are exported; others are read whole.
    pub facts: Vec<TableId>,
    /// Ticks.
    pub interval: i64,
    /// Ticks: younger records wait.
    #[serde(default)]
    pub latency: Option<i64>,
    /// Other properties as they are shown.
    pub properties: Value,
    pub enabled: bool,
    /// Everything before this place in history has been exported or is not to be.
    pub cursor: i64,
    /// Ticks, 0 for never.
    #[serde(default)]
    pub last_run: i64,
    #[serde(default)]
    pub last_result: String,
    /// When the last run that succeeded began, 0 for none.
    #[serde(default)]
    pub exported_to: i64,
    #[serde(default)]
    pub artifacts: Vec<ExportedArtifact>,
    #[serde(default)]
    pub failures: Vec<ExportFailure>,
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportedArtifact {
    pub time: i64,
    pub path: String,
    pub rows: u64,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportFailure {
    pub time: i64,
    pub operation: Uuid,
    pub kind: String,
    pub details: String,
}

impl Entity for StoredExport {
    const KIND: &'static str = "continuous export";
    const NOUN: &'static str = "ContinuousExport";
}

/// How files of an external table are written, and where.
///
/// Errors: tables of another kind than files, or outside of the allowed directories and addresses.
pub(crate) fn place(
    external: &External,
    allowed: &[PathBuf],
    name: &str,
    source: &ExternalSource,
) -> Result<(Destination, ExportOptions)> {
    if !source.kind.eq_ignore_ascii_case("storage") {
        return Err(Error::not_served(format!("export to the external table '{name}' of kind '{}'", source.kind)));
    }
    Layout::of(source)?;
    let format = source.format.as_deref().unwrap_or("csv");
    let Some(format) = ExportFormat::parse(format) else {
        return Err(Error::not_served(format!("export to external tables of the format '{format}'")));
    };
    let uri = source.uris.first().ok_or_else(|| Error::bad_request(format!("external table '{name}' has no place")))?;
    let flag = |name: &str| source.property(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let headers = match source.property("includeHeaders").unwrap_or("None").to_ascii_lowercase().as_str() {
        "all" => Headers::All,
        "firstfile" => Headers::FirstFile,
        _ => Headers::None,
    };
    let options = ExportOptions {
        format,
        compressed: flag("compressed"),
        compression: source.property("compressionType").unwrap_or("gzip").to_string(),
        headers,
        prefix: source.property("namePrefix").map(str::to_string),
        extension: source.property("fileExtension").map(str::to_string),
        mark: source.property("encoding").is_some_and(|text| text.eq_ignore_ascii_case("utf8bom")),
        ..ExportOptions::default_of(format)
    };
    Ok((Destination::of(external, allowed, uri)?, options))
}

impl ExportOptions {
    /// The defaults of a format.
    pub(crate) fn default_of(format: ExportFormat) -> ExportOptions {
        ExportOptions {
            format,
            compressed: false,
            compression: "gzip".to_string(),
            headers: Headers::None,
            prefix: None,
            extension: None,
            mark: false,
            size_limit: 100 << 20,
            row_group_rows: 100_000,
            microseconds: false,
        }
    }
}

/// The result under the external table's own names of columns.
///
/// Errors: other columns.
pub(crate) fn fitting(mut result: ResultTable, name: &str, source: &ExternalSource) -> Result<ResultTable> {
    let schema = source.schema();
    let types = |schema: &tidewater_kql::TableSchema| schema.columns.iter().map(|c| c.ty).collect::<Vec<_>>();
    if types(&schema) != types(&result.schema) {
        return Err(Error::bad_request(format!(
            "the columns of the query do not match those of the external table '{name}'"
        )));
    }
    result.schema = schema;
    Ok(result)
}

/// The tables of a database whose names stand in a query.
pub(crate) fn tables_in<'a>(database: &'a Database, query: &str) -> Vec<&'a Arc<Table>> {
    use tidewater_kql::lexer::{Lexer, TokenKind, unquote};
    let mut found: Vec<&Arc<Table>> = Vec::new();
    for token in Lexer::new(query, 0) {
        let text = token.span.text(query);
        let name = match token.kind {
            TokenKind::Name => Some(text.to_string()),
            TokenKind::String => unquote(text).ok(),
            _ => None,
        };
        if let Some(table) = name.and_then(|name| database.table(&name))
            && !found.iter().any(|known| known.id() == table.id())
        {
            found.push(table);
        }
    }
    found
}

/// The place in history up to which a run reads.
fn end_of(snapshot: &Snapshot, export: &StoredExport, now: i64) -> i64 {
    let Some(latency) = export.latency else { return snapshot.cursor() };
    let before = now.saturating_sub(latency);
    let facts = export.facts.iter().filter_map(|id| snapshot.table_by_id(*id));
    let young = facts.flat_map(|table| table.extents()).filter(|extent| extent.ingested() >= before);
    young.map(|extent| extent.ordinal()).min().unwrap_or_else(|| snapshot.cursor())
}

/// The query over the records between two cursors.
pub(crate) fn text_of(snapshot: &Snapshot, export: &StoredExport, from: i64, to: i64) -> String {
    let mut text = String::new();
    for table in export.facts.iter().filter_map(|id| snapshot.table_by_id(*id)) {
        let source = bracketed(&format!("{INTERNAL}{}", table.id()));
        text.push_str(&format!(
            "let {} = {source} | where cursor_after('{from}') and cursor_before_or_at('{to}');\n",
            bracketed(table.name())
        ));
    }
    text.push_str(&export.query);
    text
}

impl Service {
    /// Runs the exports that are due.
    pub(crate) async fn run_exports(&self) {
        let snapshot = self.store().snapshot();
        let now = now_ticks();
        for database in snapshot.databases() {
            for (name, export) in stored::all::<StoredExport>(&snapshot, database) {
                if !export.enabled || now.saturating_sub(export.last_run) < export.interval {
                    continue;
                }
                let end = end_of(&snapshot, &export, now);
                let is_new = |table: &Arc<Table>| {
                    table.extents().iter().any(|extent| extent.ordinal() >= export.cursor && extent.ordinal() < end)
                };
                if export.facts.iter().filter_map(|id| snapshot.table_by_id(*id)).any(is_new) {
                    self.run_export(&snapshot, database, &name, &export, end, now).await;
                }
            }
        }
    }

    async fn run_export(
        &self,
        snapshot: &Arc<Snapshot>,
        database: &Arc<Database>,
        name: &str,
        export: &StoredExport,
        end: i64,
        now: i64,
    ) {
        let context = Context::new(database.name());
        let mark = self.inner().journal.begin(Sort::Command("DataExportToExternalTable"), &context, &export.query);
        let text = text_of(snapshot, export, export.cursor, end);
        let outcome = self.export_once(snapshot, database, &context, &mark, export, &text).await;
        let mut new = StoredExport { last_run: now, ..export.clone() };
        match outcome {
            Ok(artifacts) => {
                new.cursor = end;
                new.exported_to = now;
                new.last_result = "Completed".to_string();
                let listed = artifacts.into_iter().filter(|artifact| artifact.rows > 0);
                new.artifacts.extend(listed.map(|Artifact { path, rows }| ExportedArtifact { time: now, path, rows }));
                let surplus = new.artifacts.len().saturating_sub(REMEMBERED);
                new.artifacts.drain(..surplus);
            }
            Err(error) => {
                mark.fail(&error);
                new.last_result = "Failed".to_string();
                new.failures.push(ExportFailure {
                    time: now,
                    operation: context.activity_id,
                    kind: if error.is_permanent() { "Permanent" } else { "Transient" }.to_string(),
                    details: error.message().to_string(),
                });
                let surplus = new.failures.len().saturating_sub(REMEMBERED);
                new.failures.drain(..surplus);
            }
        }
        // Somebody may have changed or dropped it meanwhile; then its own files are listed nowhere.
        if let Ok(edit) = stored::edit(database, name, Some(export), Some(&new)) {
            let _ = self.store().edit_properties(vec![edit]).await;
        }
    }

    async fn export_once(
        &self,
        snapshot: &Arc<Snapshot>,
        database: &Arc<Database>,
        context: &Context,
        mark: &Arc<Mark>,
        export: &StoredExport,
        text: &str,
    ) -> Result<Vec<Artifact>> {
        let external: StoredExternal = stored::found(snapshot, database, &export.table)?;
        let inner = self.inner();
        let allowed = &inner.options.export_directories;
        let (place, options) = place(&inner.external, allowed, &export.table, &external.source)?;
        let mut context = context.clone();
        context.options.set("notruncation", Value::Bool(true));
        let view = View::of_server(self, Arc::clone(snapshot), database.name())?;
        let mut answer = self.run_planned(&context, text, &view, mark, None).await?;
        let Some(result) = answer.results.pop() else { return Err(Error::bad_request("the query has no result")) };
        let result = fitting(result, &export.table, &external.source)?;
        write(&inner.external, &place, result, options, Layout::of(&external.source)?).await
    }
}
