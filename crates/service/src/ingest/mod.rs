//! Data into tables: decoded, written to files, made visible by one commit.
//!
//! Input comes from a request body (streaming ingestion), a command's text (`.ingest inline`), local files
//! (`.ingest into`) or a query (`.set`, `.append`). Either all of a request's rows become visible or none.

pub(crate) mod load;
mod preview;
mod properties;
pub(crate) mod spool;
pub(crate) mod stored_mappings;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use tidewater_formats::{Compression, Format};
use tidewater_store::{Snapshot, Table};
use uuid::Uuid;

use crate::context::{Context, ticks_of};
use crate::error::{Error, Fault, Result};
use crate::external::location::shown;
use crate::journal::{Mark, Sort};
use crate::policies::{self, StreamingIngestionPolicy};
use crate::service::Service;
use crate::updates::{Ingestion, NewRows, dependents, keeps_nothing};
use crate::usage::Phase;

use crate::rights::Access;
use crate::rights::roles::admins_of_new;

use load::{Loaded, Place};
pub use preview::{Preview, PreviewRequest};
pub(crate) use properties::IngestProperties;
pub use spool::{Payload, Spool, SpooledFile};

/// The compression around a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// None.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// deflate in zlib's wrapping.
    Deflate,
}

/// Whether delimited text begins with a line of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// It does not.
    #[default]
    No,
    /// It does; the line is left out.
    Yes,
    /// As the data looks.
    Auto,
}

/// Data for one table.
#[derive(Debug)]
pub struct IngestRequest {
    /// The table's name.
    pub table: String,
    /// The format's name in any case; CSV when absent.
    pub format: Option<String>,
    /// A stored mapping's name.
    pub mapping_name: Option<String>,
    /// Whether the first record is left out.
    pub header: Header,
    /// Make the table from the data's own columns when it is absent.
    pub create_table: bool,
    /// The compression around the data.
    pub packing: Packing,
    /// The data.
    pub payload: Payload,
    /// Where the data is, when it does not come with the request: a connection string.
    pub source: Option<String>,
}

impl IngestRequest {
    /// A request without data.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            format: None,
            mapping_name: None,
            header: Header::No,
            create_table: false,
            packing: Packing::None,
            payload: Payload::Bytes(Bytes::new()),
            source: None,
        }
    }
}

/// An extent that an ingestion made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestedExtent {
    /// Its id.
    pub id: Uuid,
    /// Rows.
    pub rows: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of its values before encoding.
    pub original_bytes: u64,
}

/// What an ingestion did.
#[derive(Clone, Debug, Default)]
pub struct IngestAnswer {
    /// Rows that are visible now.
    pub rows: u64,
    /// Values that did not fit their column and became null.
    pub rejected_values: u64,
    /// The first of them, in words.
    pub rejected_samples: Vec<String>,
    /// The new extents.
    pub extents: Vec<IngestedExtent>,
    /// Whether the table was made.
    pub created_table: bool,
    /// Whether a tag told that the same data is there already.
    pub skipped: bool,
    /// How long it took.
    pub duration_ticks: i64,
}

/// Reads a format's name.
pub(crate) fn format_of(name: Option<&str>) -> Result<Format> {
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        None => Ok(Format::Csv),
        Some(name) => Format::parse(name).ok_or_else(|| {
            Error::new(Fault::FormatNotSupported, format!("data format '{name}' is not known; one of csv, tsv, tsve, psv, scsv, sohsv, txt, raw, json, multijson, parquet, avro, apacheavro, orc, w3clogfile is expected"))
        }),
    }
}

/// The refusal of a mapping that neither the table nor its database has.
pub(crate) fn mapping_not_found(name: &str, table: &str) -> Error {
    Error::new(
        Fault::MappingNotFound,
        format!("Entity ID '{name}' of kind 'Mapping' was not found in table '{table}'."),
    )
}

/// Runs what blocks on a thread that may.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(Error::internal("reading the data panicked")),
        Err(_) => Err(Error::new(Fault::Stopping, "the server is stopping")),
    }
}

impl Service {
    /// Where a body of unknown size can wait.
    pub async fn spool(&self) -> Result<Spool> {
        Spool::create(&self.inner().store.root().join("tmp"), self.inner().store.room()).await
    }

    /// Refuses what can be refused before the data is there: names, format, rights.
    pub fn check_ingest(&self, context: &Context, request: &IngestRequest) -> Result<()> {
        self.placed(context, request).map(drop)
    }

    fn placed(&self, context: &Context, request: &IngestRequest) -> Result<(Arc<Snapshot>, Option<Arc<Table>>)> {
        if context.readonly {
            return Err(Error::read_only("ingestion"));
        }
        if self.is_stopping() {
            return Err(Error::new(Fault::Stopping, "the server is stopping"));
        }
        let snapshot = self.inner().store.snapshot();
        let Some(database) = snapshot.database(&context.database) else {
            return Err(Error::database_not_found(&context.database));
        };
        if crate::library::is_library(&snapshot, database) {
            return Err(crate::library::read_only());
        }
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        let table = database.table(&request.table).cloned();
        let may = match &table {
            Some(table) => access.may_ingest(database, table),
            None if request.create_table => access.may_create(database),
            None => access.may_ingest_anywhere(database) || access.may_show(database),
        };
        if !may {
            let name = database.name();
            return Err(access.refused(&match access.sees(database) {
                true => format!("ingest into table '{}' of database '{name}'", request.table),
                false => format!("ingest into database '{name}'"),
            }));
        }
        if table.is_none() && !request.create_table {
            return Err(Error::entity_not_found("Table", &request.table));
        }
        // Without a policy rows may be streamed in: here it costs nothing that would have to be switched on first.
        let streaming =
            table.as_ref().and_then(|table| policies::of_table::<StreamingIngestionPolicy>(&snapshot, table));
        if streaming.is_some_and(|policy| !policy.is_enabled) {
            return Err(Error::bad_request(format!(
                "streaming ingestion is disabled for table '{}' by its streaming ingestion policy",
                request.table
            )));
        }
        let format = format_of(request.format.as_deref())?;
        match (&request.mapping_name, &table) {
            (Some(name), Some(table)) => drop(stored_mappings::named(&snapshot, table, name, Some(format))?),
            (Some(name), None) => return Err(mapping_not_found(name, &request.table)),
            (None, _) => {}
        }
        Ok((snapshot, table))
    }

    /// Takes data into a table. Returns when it is durable and visible.
    pub async fn ingest(&self, context: Context, request: IngestRequest) -> Result<IngestAnswer> {
        let text = format!("streaming ingestion into table {}", request.table);
        let mark = self.inner().journal.begin(Sort::Streaming, &context, &text);
        mark.note_data(|data| {
            data.kind = "RowStoreSeal".to_string();
            data.table = request.table.clone();
            let format = request.format.as_deref().unwrap_or("csv");
            let is_packed = request.packing != Packing::None;
            let mapping = &request.mapping_name;
            let properties = json!({
                "Mapping": mapping, "Format": format, "Compressed": is_packed, "IngestionSource": "Stream"
            });
            data.properties = properties.to_string();
        });
        let outcome = self.ingest_admitted(context, &mark, request).await;
        if let Ok(answer) = &outcome {
            mark.note_data(|data| {
                data.extents = answer.extents.len() as u64;
                data.rows = answer.rows;
                data.bytes = answer.extents.iter().map(|extent| extent.bytes).sum();
                data.original_bytes = answer.extents.iter().map(|extent| extent.original_bytes).sum();
            });
        }
        outcome.inspect_err(|error| mark.fail(error))
    }

    async fn ingest_admitted(
        &self,
        context: Context,
        mark: &Arc<Mark>,
        request: IngestRequest,
    ) -> Result<IngestAnswer> {
        let began = Instant::now();
        let _permit = self.inner().admission.enter(&context).await?;
        let (snapshot, table) = self.placed(&context, &request)?;
        let format = format_of(request.format.as_deref())?;
        let mapping = match (&request.mapping_name, &table) {
            (Some(name), Some(table)) => Some(stored_mappings::named(&snapshot, table, name, Some(format))?.0),
            _ => None,
        };
        let compression = match request.packing {
            Packing::Gzip => Compression::Gzip,
            Packing::None | Packing::Deflate => Compression::None,
        };
        let source = match &request.source {
            None => load::Source {
                name: load::REQUEST_BODY.to_string(),
                payload: request.payload,
                format,
                compression,
                deflate: request.packing == Packing::Deflate,
            },
            Some(source) => {
                mark.note_data(|data| data.source = shown(source).to_string());
                self.source_of(source, Some(format)).await?
            }
        };
        let job = load::Job {
            place: match table {
                Some(table) => Place::Existing(table),
                None => {
                    let database = snapshot.database(&context.database);
                    let database = database.ok_or_else(|| Error::database_not_found(&context.database))?;
                    let admins = admins_of_new(&context);
                    Place::Inferred { database: database.id(), name: request.table.clone(), admins }
                }
            },
            sources: vec![source],
            properties: IngestProperties { header: request.header, mapping, ..IngestProperties::default() },
            cancel: context.cancel.clone(),
            deadline: context.deadline,
        };
        let mut answer = self.load(&context, mark, job).await?;
        answer.duration_ticks = ticks_of(began.elapsed());
        Ok(answer)
    }

    /// Runs a load on a thread that may block, and what is derived from its data.
    pub(crate) async fn load(&self, context: &Context, mark: &Arc<Mark>, job: load::Job) -> Result<IngestAnswer> {
        let snapshot = self.inner().store.snapshot();
        let (database, name) = match &job.place {
            Place::Existing(table) => (table.database_id(), table.name().to_string()),
            Place::Inferred { database, name, .. } => (*database, name.clone()),
        };
        let database = snapshot.database_by_id(database).cloned();
        let has_dependents = database.as_ref().is_some_and(|known| !dependents(&snapshot, known, &name).is_empty());
        let keep = match &job.place {
            Place::Existing(table) => !keeps_nothing(&snapshot, table.id()),
            Place::Inferred { .. } => true,
        };
        let deadline = job.deadline;
        let (store, usage) = (self.inner().store.clone(), context.usage.clone());
        let work = move || {
            usage.enter(Phase::Execution, || {
                if !has_dependents
                    && keep
                    && let Some(loaded) = load::shared(&store, &job)?
                {
                    return Ok(Ok(loaded));
                }
                let ready = load::run(&store, job)?;
                match has_dependents {
                    true => Ok(Err(ready)),
                    false => ready.commit(&store, Vec::new(), keep).map(Ok),
                }
            })
        };
        let loaded = match (off_thread(work).await?, database) {
            (Ok(loaded), _) => loaded,
            (Err(_), None) => return Err(Error::internal("a table without a database")),
            (Err(ready), Some(database)) => {
                let context = Context { deadline, ..context.clone() };
                let ingestion = Ingestion {
                    service: self,
                    context: &context,
                    mark,
                    snapshot: Arc::clone(&snapshot),
                    tags: &ready.properties.tags,
                    created: ready.properties.created,
                    replace: false,
                };
                let rows = NewRows::of(self, &database, &name, &ready.schema, &ready.target, &ready.staged);
                let additions = if ready.staged.is_empty() { Vec::new() } else { ingestion.derive(rows).await? };
                let store = self.inner().store.clone();
                off_thread(move || ready.commit(&store, additions, keep)).await?
            }
        };
        self.loaded(&loaded);
        Ok(loaded.answer)
    }

    /// Counts a load and looks after its table.
    pub(crate) fn loaded(&self, loaded: &Loaded) {
        metrics::counter!("tidewater_ingested_rows_total").increment(loaded.answer.rows);
        if loaded.answer.rejected_values > 0 {
            metrics::counter!("tidewater_rejected_values_total").increment(loaded.answer.rejected_values);
            let first = loaded.answer.rejected_samples.first().map_or("", String::as_str);
            tracing::warn!(
                values = loaded.answer.rejected_values,
                first,
                "values did not fit their columns and became null"
            );
        }
        let inner = self.inner();
        inner.maintenance.after_ingestion(&inner.store, loaded.table);
    }
}
