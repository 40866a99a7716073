//! Rows of files outside of the databases: `externaldata`, `inline_external_table`, external tables.
//!
//! Input: an `ExternalSource` of the binder or of the catalog. Output: a table provider whose scan lists the files, leaves out
//! those whose path tells other partitions than the query wants, and decodes the rest in a stream. Memory is bounded by a
//! few batches; files that can only be read from their end wait in a spool on disk.

mod call;
pub(crate) mod callouts;
mod deleted;
pub(crate) mod delta;
mod delta_remote;
pub mod location;
pub mod objects;
mod paths;
mod remote;
pub(crate) mod sql;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use reqwest::Client;
use tidewater_formats::{Compression, DecodeOptions, Format, Input, Mapping, decode};
use tidewater_kql::{Column, TableSchema};
use tidewater_plan::ExternalSource;
use tidewater_store::{Faults, Room};
use tokio::sync::mpsc::Sender;

use crate::error::{Error, Fault, Result};
use crate::ingest::Payload;
use location::{Location, Policy, shown};
use objects::Stores;
use paths::{PathFormat, PathValue, local_files};
pub(crate) use paths::{default_pattern, path_of_moment};
pub(crate) use remote::StoredObject;

/// How long a server may take to answer or to go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// Redirects that are followed, each checked by policy.
const MAX_REDIRECTS: usize = 5;

/// What reads external data.
pub(crate) struct External {
    policy: Policy,
    stores: Stores,
    spool: PathBuf,
    faults: Faults,
    room: Room,
    client: OnceLock<std::result::Result<Client, String>>,
}

/// How the files of a source are read.
#[derive(Clone, Debug, Default)]
struct Reading {
    format: Option<Format>,
    mapping: Option<Mapping>,
    header: Headers,
    prefix: Option<String>,
    extension: Option<String>,
}

/// Which files begin with a line of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Headers {
    #[default]
    None,
    All,
    /// The first file of each folder.
    First,
}

/// A file of a source, found and not opened yet.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    location: Location,
    /// How it is shown.
    pub uri: String,
    /// Bytes, where they are known.
    pub size: Option<u64>,
    values: BTreeMap<String, PathValue>,
    has_header: bool,
    /// Names of columns in the file that the table names otherwise.
    names: Option<Arc<HashMap<String, String>>>,
    /// When an object was written.
    written: Option<std::time::SystemTime>,
    /// Rows of the file that are deleted, in order.
    deleted: Option<Arc<Vec<u64>>>,
}

impl Artifact {
    /// When a local file was written.
    fn written(&self) -> Option<std::time::SystemTime> {
        match &self.location {
            Location::File(path) => std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok(),
            Location::Url(_) => None,
            Location::Object(_) => self.written,
        }
    }

    /// The partitions that its path tells, as JSON.
    pub fn partitions(&self) -> serde_json::Value {
        let value = |value: &PathValue| match value {
            PathValue::Text(text) => serde_json::Value::from(text.as_str()),
            PathValue::Long(value) => serde_json::Value::from(*value),
            PathValue::DateTime(ticks) => tidewater_kql::value::datetime::to_text(*ticks).into(),
        };
        serde_json::Value::Object(self.values.iter().map(|(name, own)| (name.clone(), value(own))).collect())
    }
}

impl External {
    /// Over a policy; files wait in `spool`.
    pub fn new(policy: Policy, stores: Stores, spool: PathBuf, faults: Faults, room: Room) -> External {
        External { policy, stores, spool, faults, room, client: OnceLock::new() }
    }

    /// The hook of tests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Where files may wait for a while.
    pub fn temporary(&self) -> &std::path::Path {
        &self.spool
    }

    /// Checks a source without looking at its files. `mapping` is a stored mapping's text.
    pub fn check(source: &ExternalSource, mapping: Option<&str>) -> Result<()> {
        Reading::of(source, mapping)?;
        PathFormat::of(source)?;
        source.uris.iter().try_for_each(|uri| Location::parse(uri).map(drop))
    }

    /// The source as a table.
    pub fn provider(
        self: &Arc<Self>,
        source: &ExternalSource,
        mapping: Option<&str>,
    ) -> Result<Arc<dyn TableProvider>> {
        let reading = Reading::of(source, mapping)?;
        let (schema, source) = (source.schema(), source.clone());
        Ok(Arc::new(ExternalTable { external: Arc::clone(self), schema, source, reading }))
    }

    /// Refuses what a Delta table tells by itself. Source: inline-external-table-operator page, Delta mode.
    pub fn check_delta(source: &ExternalSource) -> Result<()> {
        if source.format.is_some() || !source.partitions.is_empty() || !source.path.is_empty() {
            return Err(Error::bad_request(
                "external data of kind 'delta' takes no 'dataformat', 'partition by' or 'pathformat': its log tells them",
            ));
        }
        delta::root_of(source).map(drop)
    }

    /// A source that stands in a query, as a table. Of a Delta table nobody has read the log yet.
    pub fn named(self: &Arc<Self>, source: &ExternalSource) -> Result<Arc<dyn TableProvider>> {
        if source.kind != DELTA {
            return self.provider(source, None);
        }
        External::check_delta(source)?;
        let mut source = source.clone();
        let table = match delta::root_of(&source)? {
            delta::Root::Folder(folder) => delta::DeltaTable::read(&self.policy, &folder)?,
            delta::Root::Place(_) => delta_remote::wait_for(self.delta_table(&source))?,
        };
        table.complete(&mut source);
        self.provider(&source, None)
    }

    /// The files of a source.
    pub async fn artifacts(self: &Arc<Self>, source: &ExternalSource) -> Result<Vec<Artifact>> {
        let reading = Reading::of(source, None)?;
        self.list(source, &reading).await
    }

    /// What the log of a Delta table says.
    pub async fn delta_table(self: &Arc<Self>, source: &ExternalSource) -> Result<delta::DeltaTable> {
        Ok(self.delta_parts(source).await?.0)
    }

    /// The same with the place that its files are below, where that is no folder of this machine.
    async fn delta_parts(
        self: &Arc<Self>,
        source: &ExternalSource,
    ) -> Result<(delta::DeltaTable, Option<Box<objects::Place>>)> {
        let folder = match delta::root_of(source)? {
            delta::Root::Folder(folder) => folder,
            delta::Root::Place(place) => return Ok((self.delta_at(&place).await?, Some(place))),
        };
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || delta::DeltaTable::read(&this.policy, &folder)).await;
        let table = read.map_err(|_| Error::internal("reading the log of a Delta table failed"))?;
        Ok((table?, None))
    }

    async fn delta_files(self: &Arc<Self>, source: &ExternalSource, reading: &Reading) -> Result<Vec<Artifact>> {
        let (table, place) = self.delta_parts(source).await?;
        let names = (!table.physical.is_empty()).then(|| Arc::new(table.physical));
        let artifacts = table.files.into_iter().map(|file| {
            let path = file.path.display().to_string();
            let (uri, location) = match &place {
                None => (path.clone(), Location::File(path)),
                Some(place) => {
                    let key = delta_remote::below(place, &path);
                    (place.shown(&key), Location::Object(Box::new(place.at(key))))
                }
            };
            Artifact {
                location,
                uri,
                size: file.size,
                values: file.values,
                has_header: false,
                names: names.clone(),
                written: None,
                deleted: file.deleted,
            }
        });
        Ok(artifacts.filter(|artifact| reading.wants(artifact)).collect())
    }

    async fn list(self: &Arc<Self>, source: &ExternalSource, reading: &Reading) -> Result<Vec<Artifact>> {
        if source.kind == DELTA {
            return self.delta_files(source, reading).await;
        }
        let format = PathFormat::of(source)?;
        let mut artifacts = Vec::new();
        for uri in &source.uris {
            match Location::parse(uri)?.into_place() {
                Location::Url(url) => {
                    self.policy.check(&url)?;
                    if format.is_some() {
                        return Err(Error::not_served(format!(
                            "an external table with partitions at '{}': files of plain addresses are not listed",
                            shown(uri)
                        )));
                    }
                    artifacts.push(Artifact {
                        uri: shown(uri).to_string(),
                        location: Location::Url(url),
                        size: None,
                        values: BTreeMap::new(),
                        has_header: false,
                        names: None,
                        written: None,
                        deleted: None,
                    });
                }
                Location::Object(place) => {
                    for (object, below) in self.objects(&place, format.is_some()).await? {
                        let values = match &format {
                            None => BTreeMap::new(),
                            Some(format) => match format.values(&below) {
                                Some(values) => values,
                                None => continue,
                            },
                        };
                        artifacts.push(Artifact {
                            uri: place.shown(&object.key),
                            size: Some(object.size),
                            values,
                            has_header: false,
                            names: None,
                            written: Some(object.written),
                            deleted: None,
                            location: Location::Object(Box::new(place.at(object.key))),
                        });
                    }
                }
                Location::File(pattern) => {
                    let (this, wanted) = (Arc::clone(self), pattern.clone());
                    let found = tokio::task::spawn_blocking(move || local_files(&this.policy, &wanted)).await;
                    let found = found.map_err(|_| Error::internal("listing files failed"))??;
                    if found.is_empty() && pattern.contains(['*', '?']) {
                        return Err(Policy::refused(&pattern));
                    }
                    for file in found {
                        let values = match &format {
                            None => BTreeMap::new(),
                            Some(format) => match format.values(&file.below) {
                                Some(values) => values,
                                None => continue,
                            },
                        };
                        let path = file.path.display().to_string();
                        let location = Location::File(path.clone());
                        artifacts.push(Artifact {
                            location,
                            uri: path,
                            size: Some(file.size),
                            values,
                            has_header: false,
                            names: None,
                            written: None,
                            deleted: None,
                        });
                    }
                }
            }
        }
        artifacts.retain(|artifact| reading.wants(artifact));
        let mut folder = None;
        for artifact in &mut artifacts {
            let own = artifact.uri.rsplit_once('/').map(|(folder, _)| folder.to_string());
            artifact.has_header = match reading.header {
                Headers::None => false,
                Headers::All => true,
                Headers::First => folder != Some(own.clone()),
            };
            folder = Some(own);
        }
        Ok(artifacts)
    }

    fn client(&self) -> Result<Client> {
        let made = self.client.get_or_init(|| {
            // Whoever comes first installs it; the server has done so before.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let policy = self.policy.clone();
            let redirects = reqwest::redirect::Policy::custom(move |attempt| {
                if attempt.previous().len() > MAX_REDIRECTS {
                    return attempt.error("too many redirects");
                }
                match policy.check(attempt.url()) {
                    Ok(()) => attempt.follow(),
                    Err(error) => attempt.error(error),
                }
            });
            Client::builder()
                .connect_timeout(Duration::from_secs(10))
                .read_timeout(PATIENCE)
                .redirect(redirects)
                .gzip(false)
                .no_proxy()
                .user_agent("tidewater")
                .build()
                .map_err(|error| format!("the HTTP client cannot start: {error}"))
        });
        made.clone().map_err(Error::internal)
    }
}

/// The kind of Delta tables.
pub(crate) const DELTA: &str = "delta";

/// Properties that external data can have. Those that matter when writing only are taken and do nothing.
const PROPERTIES: &[&str] = &[
    "format",
    "ignorefirstrecord",
    "ingestionmapping",
    "folder",
    "docstring",
    "compressed",
    "compressiontype",
    "includeheaders",
    "nameprefix",
    "fileextension",
    "encoding",
    "sampleuris",
    "filespreview",
    "validatenotempty",
    "dryrun",
];

impl Reading {
    fn of(source: &ExternalSource, mapping: Option<&str>) -> Result<Reading> {
        match source.kind.as_str() {
            // The last two are the older names of the same. Source: external-tables-azure-storage page.
            "storage" | "blob" | "adl" | DELTA => {}
            other => return Err(Error::not_served(format!("external data of kind '{other}'"))),
        }
        for (name, _) in &source.properties {
            if !PROPERTIES.contains(&name.to_ascii_lowercase().as_str()) {
                let near = tidewater_kql::diagnostic::nearest(&name.to_ascii_lowercase(), PROPERTIES.iter().copied());
                let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
                return Err(Error::bad_request(format!("'{name}' is no property of external data{hint}")));
            }
        }
        let format =
            match source.format.as_deref() {
                None => None,
                Some(name) => Some(Format::parse(name).ok_or_else(|| {
                    Error::new(Fault::FormatNotSupported, format!("data format '{name}' is not known"))
                })?),
            };
        let mapping = match mapping.or_else(|| source.property("ingestionMapping")) {
            None => None,
            Some(text) => Some(Mapping::parse(text).map_err(Error::from)?),
        };
        let ignores = source.property("ignoreFirstRecord").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let header = match source.property("includeHeaders").map(str::to_ascii_lowercase).as_deref() {
            None | Some("none") if ignores => Headers::All,
            None | Some("none") => Headers::None,
            Some("all") => Headers::All,
            Some("firstfile") => Headers::First,
            Some(other) => {
                return Err(Error::bad_request(format!(
                    "property 'includeHeaders' must be All, FirstFile or None, found '{other}'"
                )));
            }
        };
        if let Some(encoding) = source.property("encoding")
            && !["utf8", "utf-8", "utf8nobom", "utf8bom"].contains(&encoding.to_ascii_lowercase().as_str())
        {
            return Err(Error::not_served(format!("the encoding '{encoding}' of external data")));
        }
        Ok(Reading {
            format,
            mapping,
            header,
            prefix: source.property("namePrefix").map(str::to_string),
            extension: source.property("fileExtension").map(str::to_string),
        })
    }

    /// Whether a file's name is one of those that are read.
    fn wants(&self, artifact: &Artifact) -> bool {
        let name = artifact.uri.rsplit('/').next().unwrap_or(&artifact.uri);
        self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
            && self.extension.as_ref().is_none_or(|extension| name.ends_with(extension.as_str()))
    }

    /// The declared format, else what the name tells, else CSV. Source: externaldata-operator page.
    fn format_of(&self, name: &str) -> Format {
        self.format.or_else(|| Format::of_path(name)).unwrap_or(Format::Csv)
    }
}

/// A source as the engine reads it.
struct ExternalTable {
    external: Arc<External>,
    source: ExternalSource,
    schema: TableSchema,
    reading: Reading,
}

impl std::fmt::Debug for ExternalTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let uris: Vec<&str> = self.source.uris.iter().map(|uri| shown(uri)).collect();
        f.debug_struct("ExternalTable").field("uris", &uris).finish_non_exhaustive()
    }
}

impl ExternalTable {
    /// Columns that come from the path and not from the file.
    fn virtuals(&self) -> &[Column] {
        &self.schema.columns[self.source.columns.len()..]
    }

    /// Leaves out files whose partitions do not pass the filters over virtual columns.
    fn pruned(&self, state: &dyn Session, filters: &[Expr], artifacts: Vec<Artifact>) -> EngineResult<Vec<Artifact>> {
        let virtuals = self.virtuals();
        if virtuals.is_empty() || artifacts.is_empty() {
            return Ok(artifacts);
        }
        let schema = TableSchema::new(virtuals.to_vec()).arrow();
        let columns: Vec<ArrayRef> = virtuals
            .iter()
            .map(|column| values(column, artifacts.iter().map(|own| own.values.get(&column.name))))
            .collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut keep = vec![true; artifacts.len()];
        for filter in filters {
            let is_virtual = |name: &str| virtuals.iter().any(|column| column.name == name);
            if filter.column_refs().is_empty() || !filter.column_refs().iter().all(|column| is_virtual(&column.name)) {
                continue;
            }
            let fields = DFSchema::try_from(Arc::clone(&schema))?;
            let test = state.create_physical_expr(filter.clone(), &fields)?;
            let passed = test.evaluate(&batch)?.into_array(batch.num_rows())?;
            if let Some(passed) = passed.as_boolean_opt() {
                for (keep, passes) in keep.iter_mut().zip(passed) {
                    *keep &= passes == Some(true);
                }
            }
        }
        let mut keep = keep.into_iter();
        Ok(artifacts.into_iter().filter(|_| keep.next().unwrap_or(true)).collect())
    }
}

/// The values of a virtual column; null (`""` for strings) where the path tells none.
fn values<'a>(column: &Column, values: impl Iterator<Item = Option<&'a PathValue>>) -> ArrayRef {
    match column.ty {
        tidewater_kql::KqlType::String => {
            let texts = values.map(|value| match value {
                Some(PathValue::Text(text)) => text.clone(),
                _ => String::new(),
            });
            Arc::new(StringViewArray::from_iter_values(texts))
        }
        _ => Arc::new(Int64Array::from_iter(values.map(|value| match value {
            Some(PathValue::Long(value) | PathValue::DateTime(value)) => Some(*value),
            _ => None,
        }))),
    }
}

#[async_trait::async_trait]
impl TableProvider for ExternalTable {
    fn schema(&self) -> SchemaRef {
        self.schema.arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let artifacts = self.external.list(&self.source, &self.reading).await.map_err(Error::into_engine)?;
        let artifacts = self.pruned(state, filters, artifacts)?;
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.columns.len()).collect(),
        };
        let schema: SchemaRef = Arc::new(self.schema.arrow().project(&wanted)?);
        let partitions = state.config().target_partitions().clamp(1, artifacts.len().max(1));
        let mut groups: Vec<Vec<Artifact>> = vec![Vec::new(); partitions];
        for (at, artifact) in artifacts.into_iter().enumerate() {
            groups[at % partitions].push(artifact);
        }
        let streams = groups.into_iter().map(|artifacts| {
            Arc::new(Files {
                external: Arc::clone(&self.external),
                columns: self.source.columns.clone(),
                virtuals: self.virtuals().to_vec(),
                wanted: wanted.clone(),
                schema: Arc::clone(&schema),
                reading: self.reading.clone(),
                artifacts,
            }) as Arc<dyn PartitionStream>
        });
        let limit = limit.filter(|_| filters.is_empty());
        let exec = StreamingTableExec::try_new(Arc::clone(&schema), streams.collect(), None, None, false, limit)?;
        Ok(Arc::new(exec))
    }
}

/// Files that are read one after the other.
struct Files {
    external: Arc<External>,
    columns: Vec<Column>,
    virtuals: Vec<Column>,
    /// Positions among the columns and virtual columns.
    wanted: Vec<usize>,
    schema: SchemaRef,
    reading: Reading,
    artifacts: Vec<Artifact>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("count", &self.artifacts.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Files {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let sender = builder.tx();
        let external = Arc::clone(&self.external);
        let plan = Arc::new(FilePlan {
            columns: self.columns.clone(),
            virtuals: self.virtuals.clone(),
            wanted: self.wanted.clone(),
            schema: Arc::clone(&self.schema),
            reading: self.reading.clone(),
        });
        let artifacts = self.artifacts.clone();
        builder.spawn(async move {
            for artifact in artifacts {
                let format = plan.reading.format_of(&artifact.uri);
                let opened = external.open(&artifact, format).await.map_err(Error::into_engine)?;
                let (plan, sender) = (Arc::clone(&plan), sender.clone());
                let read = tokio::task::spawn_blocking(move || plan.read(&artifact, format, opened, &sender));
                match read.await {
                    Ok(Ok(true)) => {}
                    // Nobody reads any more.
                    Ok(Ok(false)) => return Ok(()),
                    Ok(Err(error)) => return Err(error.into_engine()),
                    Err(_) => return Err(Error::internal("reading external data panicked").into_engine()),
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// A batch of a file's rows, whose first one has this number, without those that are deleted.
fn without(batch: &RecordBatch, first: u64, deleted: &[u64]) -> Result<RecordBatch> {
    let from = deleted.partition_point(|row| *row < first);
    let mut gone = deleted[from..].iter().peekable();
    let stays = (first..first + batch.num_rows() as u64).map(|row| Some(gone.next_if(|next| **next == row).is_none()));
    let stays: arrow::array::BooleanArray = stays.collect();
    arrow::compute::filter_record_batch(batch, &stays).map_err(|error| Error::internal(error.to_string()))
}

/// How each file becomes batches.
struct FilePlan {
    columns: Vec<Column>,
    virtuals: Vec<Column>,
    wanted: Vec<usize>,
    schema: SchemaRef,
    reading: Reading,
}

impl FilePlan {
    /// Reads a file to its end; `false` when nobody wants its rows any more.
    fn read(
        &self,
        artifact: &Artifact,
        format: Format,
        opened: (Input, Compression, Option<Payload>),
        sender: &Sender<EngineResult<RecordBatch>>,
    ) -> Result<bool> {
        let (input, compression, spooled) = opened;
        let by_name = matches!(
            format,
            Format::Json | Format::MultiJson | Format::Parquet | Format::Avro | Format::ApacheAvro | Format::Orc
        );
        // Without a mapping, formats with names are read for the wanted columns only.
        let places: Vec<usize> = match by_name && self.reading.mapping.is_none() {
            true => {
                let own: Vec<usize> = self.wanted.iter().copied().filter(|at| *at < self.columns.len()).collect();
                if own.is_empty() && !self.columns.is_empty() { vec![0] } else { own }
            }
            false => (0..self.columns.len()).collect(),
        };
        let schema = TableSchema::new(places.iter().map(|at| self.columns[*at].clone()).collect());
        let mut options = DecodeOptions::new(format);
        options.compression = compression;
        options.location = artifact.uri.clone();
        options.mapping = match &artifact.names {
            Some(names) => Some(delta::DeltaTable::mapping(names, &schema.columns)),
            None => self.reading.mapping.clone(),
        };
        options.ignore_first_record = artifact.has_header && format.delimiter().is_some();
        let at = |error: tidewater_formats::Error| {
            let error = Error::from(error);
            Error::new(error.fault().clone(), format!("{}: {}", artifact.uri, error.message()))
        };
        let decoder = decode(input, &schema, options).map_err(at)?;
        let mut first = 0;
        for batch in decoder {
            let batch = batch.map_err(at)?;
            let found = batch.num_rows() as u64;
            let batch = match &artifact.deleted {
                Some(deleted) => without(&batch, first, deleted)?,
                None => batch,
            };
            first += found;
            let rows = batch.num_rows();
            let arrays = self.wanted.iter().map(|wanted| match places.iter().position(|at| at == wanted) {
                Some(place) => Arc::clone(batch.column(place)),
                None => {
                    let column = &self.virtuals[wanted - self.columns.len()];
                    let value = artifact.values.get(&column.name);
                    self::values(column, std::iter::repeat_n(value, rows))
                }
            });
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays.collect(), &options)
                .map_err(|error| Error::from(DataFusionError::from(error)))?;
            if sender.blocking_send(Ok(batch)).is_err() {
                return Ok(false);
            }
        }
        drop(spooled);
        Ok(true)
    }
}
