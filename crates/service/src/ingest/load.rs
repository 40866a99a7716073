//! Bytes to extents, on a blocking thread: decode, write, commit.

use std::io::{BufReader, Cursor, Read};
use std::sync::Arc;
use std::time::Instant;

use flate2::read::ZlibDecoder;
use tidewater_formats::{Compression, DecodeOptions, Format, Input, Rejects, decode, infer_schema};
use tidewater_kql::TableSchema;
use tidewater_store::{Commit, DatabaseId, NewTable, StagedExtent, Store, Table, TableId, TableSpec, Target};
use tokio_util::sync::CancellationToken;

use super::{Header, IngestAnswer, IngestProperties, IngestedExtent, Payload};
use crate::error::{Error, Result};
use crate::updates::{Addition, with_additions};

/// Where data goes.
pub(crate) enum Place {
    /// A table that is there.
    Existing(Arc<Table>),
    /// A table to be made with the columns that the first source shows.
    Inferred {
        /// Its database.
        database: DatabaseId,
        /// Its name.
        name: String,
        /// Properties that make somebody its admin.
        admins: Vec<(String, String, serde_json::Value)>,
    },
}

/// The name of data that comes with a request.
pub(crate) const REQUEST_BODY: &str = "request body";

/// One input.
pub(crate) struct Source {
    /// For messages.
    pub name: String,
    /// The bytes.
    pub payload: Payload,
    /// The format inside the compression.
    pub format: Format,
    /// gzip or none.
    pub compression: Compression,
    /// Whether zlib's deflate is around it all.
    pub deflate: bool,
}

/// All of one ingestion.
pub(crate) struct Job {
    pub place: Place,
    pub sources: Vec<Source>,
    pub properties: IngestProperties,
    pub cancel: CancellationToken,
    pub deadline: Instant,
}

/// What was done, and to which table.
pub(crate) struct Loaded {
    pub answer: IngestAnswer,
    pub table: TableId,
}

impl Source {
    pub(super) fn input(&self) -> Result<Input> {
        Ok(match (&self.payload, self.deflate) {
            (Payload::Bytes(bytes), false) => Input::Bytes(bytes.clone()),
            (Payload::File(file), false) => Input::File(file.reader()?),
            (Payload::Bytes(bytes), true) => inflated(Cursor::new(bytes.clone())),
            (Payload::File(file), true) => inflated(BufReader::new(file.reader()?)),
        })
    }

    fn options(&self, properties: &IngestProperties) -> DecodeOptions {
        let mut options = DecodeOptions::new(self.format);
        options.compression = self.compression;
        if self.name != REQUEST_BODY {
            options.location = self.name.clone();
        }
        options.mapping = properties.mapping.clone();
        options.ignore_first_record = properties.header == Header::Yes;
        options
    }
}

fn inflated(reader: impl Read + Send + 'static) -> Input {
    Input::Stream(Box::new(ZlibDecoder::new(reader)))
}

/// Data that is written and waits for its commit.
pub(crate) struct Ready {
    new_table: Option<NewTable>,
    pub target: Target,
    pub schema: TableSchema,
    pub staged: Vec<StagedExtent>,
    pub properties: IngestProperties,
    answer: IngestAnswer,
}

impl Ready {
    /// Commits the data, unless its table keeps none, with what has been derived from it.
    pub(crate) fn commit(self, store: &Store, additions: Vec<Addition>, keep: bool) -> Result<Loaded> {
        let Ready { new_table, target, staged, properties, mut answer, .. } = self;
        let table = target.table();
        let mut commit = Commit::new();
        if let Some(new_table) = new_table {
            commit = commit.create(new_table);
        }
        let (commit, extents) = prepared(commit, table, if keep { staged } else { Vec::new() }, &properties);
        if store.commit_blocking(with_additions(commit, additions))?.skipped {
            answer.rows = 0;
            answer.skipped = true;
        } else {
            answer.extents = extents;
        }
        Ok(Loaded { answer, table })
    }
}

/// Bytes of a request, and rows of it, up to which it shares its file and its commit with others that come meanwhile.
const MAX_SHARED_BYTES: usize = 64 << 10;
const MAX_SHARED_ROWS: usize = 1000;

/// The rows of a small request that nothing sets apart from others; `None` for one that has a file of its own.
pub(crate) fn shared(store: &Store, job: &Job) -> Result<Option<Loaded>> {
    let (Place::Existing(table), [source]) = (&job.place, job.sources.as_slice()) else { return Ok(None) };
    let properties = &job.properties;
    let is_plain = properties.tags.is_empty() && properties.unless.is_empty() && properties.created.is_none();
    let is_small = matches!(&source.payload, Payload::Bytes(bytes) if bytes.len() <= MAX_SHARED_BYTES);
    if !is_plain || !is_small || properties.header == Header::Auto {
        return Ok(None);
    }
    let fault = |error| at(&source.name, error);
    let mut decoder = decode(source.input()?, table.schema(), source.options(properties)).map_err(fault)?;
    let mut batches = Vec::new();
    let mut rows = 0;
    for batch in decoder.by_ref() {
        let batch = batch.map_err(fault)?;
        rows += batch.num_rows();
        // What was packed tightly is no small request.
        if rows > MAX_SHARED_ROWS {
            return Ok(None);
        }
        batches.push(batch);
    }
    let Some(first) = batches.first() else { return Ok(None) };
    let batch = arrow::compute::concat_batches(&first.schema(), &batches)
        .map_err(|error| Error::internal(error.to_string()))?;
    let committed = match store.append_blocking(table.id(), batch) {
        Ok(committed) => committed,
        // The table has other columns by now: its own file can still be written for those that it had.
        Err(error) if error.kind() == tidewater_store::ErrorKind::BadRequest => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut answer = IngestAnswer { rows: rows as u64, ..IngestAnswer::default() };
    note_rejects(&mut answer, decoder.rejects());
    // Of a shared extent only a part is this request's.
    let known = committed.snapshot.table_by_id(table.id());
    for id in committed.extents {
        let Some(extent) = known.and_then(|known| known.extent(id)) else { continue };
        let part = |bytes: u64| bytes * rows as u64 / extent.rows().max(1);
        answer.extents.push(IngestedExtent {
            id: id.0,
            rows: rows as u64,
            bytes: part(extent.bytes()),
            original_bytes: part(extent.original_bytes()),
        });
    }
    Ok(Some(Loaded { answer, table: table.id() }))
}

fn note_rejects(answer: &mut IngestAnswer, rejects: &Rejects) {
    answer.rejected_values += rejects.count;
    for sample in &rejects.samples {
        answer
            .rejected_samples
            .push(format!("record {}, column '{}': {}", sample.record, sample.column, sample.message));
    }
}

/// Reads all sources into files that wait for one commit.
pub(crate) fn run(store: &Store, job: Job) -> Result<Ready> {
    let Job { place, mut sources, properties, cancel, deadline } = job;
    let mut new_table: Option<NewTable> = None;
    let mut inferred_header = None;
    let (schema, target, existing) = match place {
        Place::Existing(table) => (table.schema().clone(), table.target(), Some(table)),
        Place::Inferred { database, name, admins } => {
            let first = sources.first().ok_or_else(|| Error::bad_request("there is no data to make a table of"))?;
            let inferred =
                infer_schema(first.input()?, &first.options(&properties)).map_err(|error| at(&first.name, error))?;
            let spec = TableSpec {
                folder: properties.folder.clone(),
                docstring: properties.docstring.clone(),
                properties: admins,
                ..TableSpec::new(name, inferred.schema.clone())
            };
            let made = store.new_table(database, &spec)?;
            let target = made.target();
            new_table = Some(made);
            inferred_header = Some(inferred.has_header);
            (inferred.schema, target, None)
        }
    };
    let mut writer = store.writer(&target);
    let mut answer = IngestAnswer { created_table: existing.is_none(), ..IngestAnswer::default() };
    for source in sources.drain(..) {
        let mut options = source.options(&properties);
        if properties.header == Header::Auto && source.format.delimiter().is_some() {
            options.ignore_first_record = match inferred_header.take() {
                Some(has_header) => has_header,
                None => infer_schema(source.input()?, &options).is_ok_and(|inferred| inferred.has_header),
            };
        }
        let mut decoder = decode(source.input()?, &schema, options).map_err(|error| at(&source.name, error))?;
        for batch in decoder.by_ref() {
            let batch = batch.map_err(|error| at(&source.name, error))?;
            if cancel.is_cancelled() {
                return Err(Error::cancelled(None));
            }
            if Instant::now() > deadline {
                return Err(Error::timeout());
            }
            answer.rows += batch.num_rows() as u64;
            writer.write(batch)?;
        }
        note_rejects(&mut answer, decoder.rejects());
    }
    let staged = writer.finish()?;
    Ok(Ready { new_table, target, schema, staged, properties, answer })
}

/// The commit with its extents, and what will be told about them.
pub(crate) fn prepared(
    mut commit: Commit,
    table: TableId,
    staged: Vec<StagedExtent>,
    properties: &IngestProperties,
) -> (Commit, Vec<IngestedExtent>) {
    let unless = properties.unless_tags();
    if !unless.is_empty() {
        commit = commit.unless_tagged(table, unless);
    }
    for mark in &properties.marks {
        commit = commit.edit(mark.clone());
    }
    let mut made = Vec::with_capacity(staged.len());
    for extent in staged {
        made.push(IngestedExtent {
            id: extent.id().0,
            rows: extent.rows(),
            bytes: extent.bytes(),
            original_bytes: extent.original_bytes(),
        });
        let extent = match properties.created {
            Some(ticks) => extent.with_created(ticks),
            None => extent,
        };
        commit = commit.add(extent, properties.tags.clone());
    }
    (commit, made)
}

/// A fault of an input with the input's name, when there can be several.
pub(super) fn at(name: &str, error: tidewater_formats::Error) -> Error {
    let error = Error::from(error);
    match name {
        "" | REQUEST_BODY => error,
        name => Error::new(error.fault().clone(), format!("{name}: {}", error.message())),
    }
}
