//! Commands that put data into tables. Source: ingest-inline, ingest-from-storage and ingest-from-query pages.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use tidewater_formats::{Compression, Format};
use tidewater_kql::ast::Property;
use tidewater_kql::command::{QueryIngestion, property_text};
use tidewater_kql::{Column, KqlType, Span, TableSchema};
use tidewater_store::{Alteration, Commit, StagedExtent, Table, TableSpec, Target};
use uuid::Uuid;

use super::Request;
use crate::answer::ResultTable;
use crate::context::{Context, MAX_TIMEOUT, ticks_of};
use crate::error::{Error, Fault, Result};
use crate::external::location::{Location, shown};
use crate::ingest::load::{Job, Loaded, Place, Source, prepared};
use crate::ingest::{IngestAnswer, IngestProperties, IngestedExtent, Payload, SpooledFile, format_of};
use crate::journal::{Mark, Outcome};
use crate::rights::roles::admins_of_new;
use crate::service::Service;
use crate::table::{Columns, TableBuilder};
use crate::updates::{Addition, Ingestion, NewRows, dependents, keeps_nothing, with_additions};
use crate::usage::Phase;
use crate::view::View;

const INGESTED: Columns = &[
    ("ExtentId", KqlType::Guid),
    ("ItemLoaded", KqlType::String),
    ("Duration", KqlType::TimeSpan),
    ("HasErrors", KqlType::Bool),
    ("OperationId", KqlType::Guid),
];

const FROM_QUERY: Columns = &[
    ("ExtentId", KqlType::Guid),
    ("OriginalSize", KqlType::Long),
    ("ExtentSize", KqlType::Long),
    ("ColumnSize", KqlType::Long),
    ("IndexSize", KqlType::Long),
    ("RowCount", KqlType::Long),
];

/// The name of an ingestion from a query in the journals.
pub fn operation(mode: QueryIngestion) -> &'static str {
    match mode {
        QueryIngestion::Set => "TableSet",
        QueryIngestion::Append => "TableAppend",
        QueryIngestion::SetOrAppend => "TableSetOrAppend",
        QueryIngestion::SetOrReplace => "TableSetOrReplace",
    }
}

/// `.ingest inline into table T [with (...)] <| data`
pub async fn inline(request: &Request<'_>, table: &str, properties: &[Property], data: String) -> Result<ResultTable> {
    let began = Instant::now();
    note_data(request, BATCH_INGEST, table, "", properties);
    let table = request.table(table)?;
    let properties = IngestProperties::of(properties)?.with_stored_mapping(&request.snapshot, table)?;
    let format = format_of(properties.format.as_deref())?;
    let name = format!("inproc:{}", Uuid::new_v4());
    let source = Source {
        name: String::new(),
        payload: Payload::Bytes(Bytes::from(data)),
        format,
        compression: Compression::None,
        deflate: false,
    };
    let job = job(request.context, table, vec![source], properties);
    let answer = request.service.load(request.context, request.mark, job).await?;
    note_extents(request.mark, &answer.extents);
    ingested(request.context.activity_id, &answer, &name, began)
}

fn job(context: &Context, table: &Arc<Table>, sources: Vec<Source>, properties: IngestProperties) -> Job {
    Job {
        place: Place::Existing(Arc::clone(table)),
        sources,
        properties,
        cancel: context.cancel.clone(),
        deadline: context.deadline,
    }
}

/// The kind of ingestion from files and texts among the data operations.
const BATCH_INGEST: &str = "BatchIngest";

/// Tells the journal what an ingestion is about.
fn note_data(request: &Request<'_>, kind: &str, table: &str, source: &str, properties: &[Property]) {
    let text = |property: &Property| {
        let value = property_text(properties, &property.name.text)?;
        Some(format!("{}={value}", property.name.text))
    };
    let properties: Vec<String> = properties.iter().filter_map(text).collect();
    request.mark.note_data(|data| {
        data.kind = kind.to_string();
        data.table = table.to_string();
        data.source = source.to_string();
        data.properties = properties.join(", ");
    });
}

/// Tells the journal what an ingestion has made.
fn note_extents(mark: &Mark, extents: &[IngestedExtent]) {
    mark.note_data(|data| {
        data.extents = extents.len() as u64;
        data.rows = extents.iter().map(|extent| extent.rows).sum();
        data.bytes = extents.iter().map(|extent| extent.bytes).sum();
        data.original_bytes = extents.iter().map(|extent| extent.original_bytes).sum();
    });
}

fn ingested(activity: Uuid, answer: &IngestAnswer, name: &str, began: Instant) -> Result<ResultTable> {
    let mut out = TableBuilder::new(INGESTED);
    let duration = ticks_of(began.elapsed());
    let mut row = |id: Uuid| {
        out.row(vec![id.into(), name.into(), duration.into(), false.into(), activity.into()]);
    };
    answer.extents.iter().for_each(|extent| row(extent.id));
    // No data makes no extent, but clients want a row.
    if answer.extents.is_empty() {
        row(Uuid::nil());
    }
    out.finish()
}

/// `.ingest [async] into table T (sources) [with (...)]`
pub async fn sources(
    request: &Request<'_>,
    table: &str,
    sources: Vec<String>,
    properties: &[Property],
    is_async: bool,
) -> Result<ResultTable> {
    let began = Instant::now();
    let shown: Vec<&str> = sources.iter().map(|source| shown(source)).collect();
    let name = shown.join(",");
    note_data(request, BATCH_INGEST, table, &name, properties);
    let table = request.table(table)?;
    let properties = IngestProperties::of(properties)?.with_stored_mapping(&request.snapshot, table)?;
    let mut inputs = Vec::with_capacity(sources.len());
    for source in &sources {
        inputs.push(open(request.service, source, properties.format.as_deref()).await?);
    }
    let mut job = job(request.context, table, inputs, properties);
    let (service, context, mark) = (request.service.clone(), request.context.clone(), Arc::clone(request.mark));
    let activity = context.activity_id;
    if is_async {
        job.deadline = context.started + MAX_TIMEOUT;
    }
    let work = async move {
        let answer = service.load(&context, &mark, job).await?;
        note_extents(&mark, &answer.extents);
        ingested(activity, &answer, &name, began)
    };
    if is_async { in_background(request, work).await } else { work.await }
}

/// Opens a source: a file below one of the directories that the settings allow, or what an allowed address names.
async fn open(service: &Service, source: &str, format: Option<&str>) -> Result<Source> {
    let format = format.map(|format| format_of(Some(format))).transpose()?;
    if let Location::File(path) = Location::parse(source)? {
        let file = allowed(&service.inner().options.ingest_directories, Path::new(&path))?;
        let format = format.unwrap_or_else(|| Format::of_path(&path).unwrap_or(Format::Csv));
        let compression = Compression::of_path(&path);
        let payload = Payload::File(SpooledFile::kept(file));
        return Ok(Source { name: path, payload, format, compression, deflate: false });
    }
    service.source_of(source, format).await
}

/// The file of a path, if it lies below an allowed directory once links are followed. Absent and forbidden
/// files are told alike, so that nobody can look around.
fn allowed(directories: &[PathBuf], path: &Path) -> Result<std::fs::File> {
    let refused = || {
        Error::new(
            Fault::Forbidden,
            format!(
                "file '{}' cannot be read: it is absent, or in none of the directories of setting \
                 'ingest_directories'",
                path.display()
            ),
        )
    };
    let real = path.canonicalize().map_err(|_| refused())?;
    let inside = directories.iter().filter_map(|directory| directory.canonicalize().ok());
    if !inside.into_iter().any(|directory| real.starts_with(directory)) {
        return Err(refused());
    }
    let file = std::fs::File::open(&real).map_err(|_| refused())?;
    match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        true => Ok(file),
        false => Err(refused()),
    }
}

/// Runs the rest of an `async` command in the background; its id is the command's activity, its answer can be asked for
/// when it has ended. The operation is written down before it is named, so that it is known even after a crash.
pub(super) async fn in_background(
    request: &Request<'_>,
    work: impl Future<Output = Result<ResultTable>> + Send + 'static,
) -> Result<ResultTable> {
    let journal = request.service.inner().journal.clone();
    let (mark, activity) = (Arc::clone(request.mark), request.context.activity_id);
    mark.announce();
    journal.flush().await?;
    let usage = request.context.usage.clone();
    let work = async move {
        let outcome = match work.await {
            Ok(table) => Outcome::of(table).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(outcome) => journal.keep_outcome(activity, outcome),
            Err(error) => mark.fail(&mark.explain(error)),
        }
    };
    request.service.spawn(usage.future(Phase::Execution, Box::pin(work)));
    let mut out = TableBuilder::new(&[("OperationId", KqlType::Guid)]);
    out.row(vec![request.context.activity_id.into()]);
    out.finish()
}

/// `.set`, `.append`, `.set-or-append`, `.set-or-replace`
pub async fn from_query(
    request: &Request<'_>,
    mode: QueryIngestion,
    table: &str,
    properties: &[Property],
    query_span: Span,
    is_async: bool,
) -> Result<ResultTable> {
    note_data(request, "SetOrAppend", table, "", properties);
    let properties = IngestProperties::of(properties)?;
    let known = request.database()?.table(table).cloned();
    match (mode, &known) {
        (QueryIngestion::Set, Some(_)) => return Err(Error::entity_exists("Table", table)),
        (QueryIngestion::Append, None) => return Err(Error::entity_not_found("Table", table)),
        _ => {}
    }
    let text = super::only(request.text, query_span);
    let run = FromQuery {
        service: request.service.clone(),
        context: request.context.clone(),
        mark: Arc::clone(request.mark),
        snapshot: Arc::clone(&request.snapshot),
        table: table.to_string(),
        known,
        replace: mode == QueryIngestion::SetOrReplace,
        properties,
        text,
    };
    if is_async {
        let mut run = run;
        run.context.deadline = run.context.started + MAX_TIMEOUT;
        return in_background(request, run.answer()).await;
    }
    run.answer().await
}

/// An ingestion from a query, on its own feet so that it can go on in the background.
struct FromQuery {
    service: Service,
    context: Context,
    mark: Arc<Mark>,
    snapshot: Arc<tidewater_store::Snapshot>,
    table: String,
    known: Option<Arc<Table>>,
    replace: bool,
    properties: IngestProperties,
    text: String,
}

impl FromQuery {
    async fn answer(self) -> Result<ResultTable> {
        let mark = Arc::clone(&self.mark);
        let extents = self.run().await?;
        note_extents(&mark, &extents);
        let mut out = TableBuilder::new(FROM_QUERY);
        for extent in extents {
            out.row(vec![
                extent.id.into(),
                extent.original_bytes.into(),
                extent.bytes.into(),
                extent.bytes.into(),
                0i64.into(),
                extent.rows.into(),
            ]);
        }
        out.finish()
    }

    async fn run(self) -> Result<Vec<IngestedExtent>> {
        let store = self.service.store().clone();
        let mut context = self.context.clone();
        // The default group's limits are those of answers. Source: request-limits-policy.
        context.group = context.group.filter(|group| !group.is_default());
        // The result goes to a table, not to a client.
        context.options.set("notruncation", serde_json::Value::Bool(true));
        for name in ["truncationmaxrecords", "truncationmaxsize", "query_results_apply_getschema"] {
            context.options.set(name, serde_json::Value::Null);
        }
        let view = View::new(&self.service, &context, Arc::clone(&self.snapshot), &context.database)?;
        let mut answer = self.service.run_planned(&context, &self.text, &view, &self.mark, None).await?;
        if answer.results.len() != 1 {
            return Err(Error::bad_request(format!(
                "the query must have one result to ingest, found {}",
                answer.results.len()
            )));
        }
        let mut result = answer.results.remove(0);
        let plan = self.place(&result.schema)?;
        let target = match (&plan, &self.known) {
            (Fit::New(new_table), _) => new_table.target(),
            (_, Some(known)) => known.target(),
            (_, None) => return Err(Error::internal("a table that is absent was to be used")),
        };
        let table = target.table();
        let mut commit = Commit::new();
        let mut width = result.schema.columns.len();
        let mut target = target;
        match plan {
            Fit::New(new_table) => commit = commit.create(new_table),
            Fit::Same => {}
            Fit::Altered(schema, alteration) => {
                // New columns must exist before rows for them can be written; readers see them empty meanwhile.
                let altered = store.alter_table(table, vec![alteration]).await?;
                width = schema.columns.len();
                target = altered.target();
            }
        }
        if self.replace && self.known.is_some() {
            commit = commit.replace(table);
        }
        let schema = Arc::clone(target.schema());
        let mut writer = store.writer_task(&target);
        let mut rows = 0;
        while let Some(batch) = result.rows.next().await {
            let batch = batch?;
            if batch.num_columns() > width || batch.num_columns() > schema.fields().len() {
                return Err(Error::internal("a batch has more columns than its table"));
            }
            rows += batch.num_rows() as u64;
            writer.write(renamed(&batch, &schema)?).await?;
        }
        let staged = writer.finish().await?;
        let additions = self.derive(&context, &target, &staged).await?;
        let keep = self.known.as_ref().is_none_or(|known| !keeps_nothing(&self.snapshot, known.id()));
        let (commit, extents) = prepared(commit, table, if keep { staged } else { Vec::new() }, &self.properties);
        let committed = store.commit(with_additions(commit, additions)).await?;
        let extents = if committed.skipped { Vec::new() } else { extents };
        let answer = IngestAnswer { rows, ..IngestAnswer::default() };
        self.service.loaded(&Loaded { answer, table });
        Ok(extents)
    }

    /// What update policies make of the rows.
    async fn derive(&self, context: &Context, target: &Target, staged: &[StagedExtent]) -> Result<Vec<Addition>> {
        let Some(database) = self.snapshot.database(&context.database) else { return Ok(Vec::new()) };
        let is_idle = staged.is_empty() && !self.replace;
        if is_idle || dependents(&self.snapshot, database, &self.table).is_empty() {
            return Ok(Vec::new());
        }
        let rows = NewRows::of(&self.service, database, &self.table, target.table_schema(), target, staged);
        let ingestion = Ingestion {
            service: &self.service,
            context,
            mark: &self.mark,
            snapshot: Arc::clone(&self.snapshot),
            tags: &self.properties.tags,
            created: self.properties.created,
            replace: self.replace,
        };
        ingestion.derive(rows).await
    }

    /// How a result of this schema fits the table. Columns are matched by place; types must be the same.
    fn place(&self, schema: &TableSchema) -> Result<Fit> {
        let store = self.service.store();
        let Some(known) = &self.known else {
            let database = self.snapshot.database(&self.context.database);
            let database = database.ok_or_else(|| Error::database_not_found(&self.context.database))?;
            let spec = TableSpec {
                folder: self.properties.folder.clone(),
                docstring: self.properties.docstring.clone(),
                properties: admins_of_new(&self.context),
                ..TableSpec::new(&self.table, schema.clone())
            };
            return Ok(Fit::New(store.new_table(database.id(), &spec)?));
        };
        if self.replace && self.properties.recreate_schema && known.schema() != schema {
            // The old columns must not go before the new data is there, and one commit cannot do both yet.
            return Err(Error::not_served("recreate_schema over a table with other columns"));
        }
        let own = known.schema();
        let fits = |count: usize| (0..count).all(|at| own.columns[at].ty == schema.columns[at].ty);
        if schema.columns.len() == own.columns.len() && fits(own.columns.len()) {
            return Ok(Fit::Same);
        }
        if self.properties.extend_schema && schema.columns.len() > own.columns.len() && fits(own.columns.len()) {
            let mut columns: Vec<Column> = own.columns.clone();
            columns.extend(schema.columns[own.columns.len()..].iter().cloned());
            let columns = TableSchema::new(columns);
            return Ok(Fit::Altered(columns.clone(), Alteration::MergeColumns(columns)));
        }
        let text = |schema: &TableSchema| super::schema::csl_schema(schema);
        Err(Error::bad_request(format!(
            "Query schema does not match table schema. QuerySchema=('{}'), TableSchema=('{}')",
            text(schema),
            text(own)
        )))
    }
}

enum Fit {
    New(tidewater_store::NewTable),
    Same,
    Altered(TableSchema, Alteration),
}

/// The batch under the table's own column names.
fn renamed(
    batch: &arrow::array::RecordBatch,
    schema: &arrow::datatypes::SchemaRef,
) -> Result<arrow::array::RecordBatch> {
    arrow::array::RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
        .map_err(|error| Error::internal(error.to_string()))
}
