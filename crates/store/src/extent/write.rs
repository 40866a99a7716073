//! Writing extents: batches in engine types in, durable Parquet files with statistics out.
//!
//! A writer buffers one chunk of rows, at most a row group and at most [`WriteOptions::chunk_bytes`], sorts it by the
//! table's first datetime column, newest first, and encodes it. Files are written under their final, unguessable name;
//! they and their directory are synced before a writer hands them out, and nobody sees them before a commit names them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{BloomFilterProperties, EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use tidewater_kql::KqlType;

use crate::catalog::snapshot::{Shape, Table};
use crate::disk::Room;
use crate::error::{Error, Result};
use crate::extent::rest;
use crate::extent::stats::Collector;
use crate::extent::terms::build::ColumnTerms;
use crate::extent::terms::{self, Directory, Filters, Group};
use crate::extent::{StagedExtent, sort};
use crate::fault::{FaultPoint, Faults};
use crate::files::{self, DataFile, Failure, FaultyFile, Layout, TableDirectory};
use crate::id::{DatabaseId, ExtentId, TableId};
use crate::roots::Place;
use crate::roots::remote::Spooled;
use crate::task::{BatchSink, WriterTask};

/// Key of the file metadata that names the columns' KQL types, for whoever finds a file without its catalog.
const COLUMNS_KEY: &str = "tidewater.columns";

/// How data files are written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// Bytes of values after which a row group ends early: what bounds a writer's memory.
    pub chunk_bytes: usize,
    /// Rows after which a new extent begins.
    pub extent_rows: u64,
    /// Bytes of a file after which a new extent begins.
    pub extent_bytes: u64,
    /// Rows of a data page.
    pub page_rows: usize,
    /// Compression level of zstd for new data; merges take [`WriteOptions::merged_zstd_level`].
    pub zstd_level: i32,
    /// Compression level of zstd for what is written once more and for good.
    pub merged_zstd_level: i32,
    /// Threads that encode the columns of a row group.
    pub threads: usize,
    /// False positives of the Bloom filters that `==` on a string, guid or long skips row groups by; `None` for no
    /// filters.
    pub bloom_false_positives: Option<f64>,
    /// False positives of the filters that tell which terms stand in the rows of a page; `None` for no filters.
    pub term_false_positives: Option<f64>,
    /// Row groups of fewer rows have no filters of terms: they are merged soon, and read at once.
    pub term_rows: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            // The reader filters a row group before it decodes it, with what a TopK knows by then: the first row group
            // is decoded whole. A quarter of a million rows costs a quarter of a million's time there, a few percent
            // when writing, and nothing measurable when scanning; and it is the unit of parallel reading.
            row_group_rows: 256 * 1024,
            chunk_bytes: 96 * 1024 * 1024,
            extent_rows: 4 * 1024 * 1024,
            extent_bytes: 1024 * 1024 * 1024,
            page_rows: 8192,
            // A tenth larger than level 3 and written in half the time; merges make up for it.
            zstd_level: 1,
            merged_zstd_level: 3,
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
            bloom_false_positives: Some(0.05),
            term_false_positives: Some(0.02),
            term_rows: 16 * 1024,
        }
    }
}

/// The table a writer writes for, with the columns it has now.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) database: DatabaseId,
    pub(crate) table: TableId,
    pub(crate) shape: Arc<Shape>,
    pub(crate) directory: Arc<TableDirectory>,
}

impl Target {
    /// What batches must look like: `TableSchema::arrow()` of the table.
    pub fn schema(&self) -> &SchemaRef {
        &self.shape.arrow
    }

    /// The columns in the language's types.
    pub fn table_schema(&self) -> &tidewater_kql::TableSchema {
        &self.shape.schema
    }

    /// The table.
    pub fn table(&self) -> TableId {
        self.table
    }
}

impl Table {
    /// Where a writer writes for this table.
    pub fn target(&self) -> Target {
        Target {
            database: self.database_id(),
            table: self.id(),
            shape: Arc::clone(self.shape()),
            directory: Arc::clone(self.directory()),
        }
    }
}

/// Writes data files for one table. Dropped without [`ExtentWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct ExtentWriter {
    target: Target,
    options: WriteOptions,
    faults: Faults,
    room: Room,
    /// Position of the column that rows are sorted by.
    time: Option<usize>,
    /// Positions of the columns that they are sorted by instead, with whether they ascend.
    order: Vec<(usize, bool)>,
    /// Positions of all datetime columns.
    datetimes: Vec<usize>,
    /// Positions of all real columns.
    reals: Vec<usize>,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    open: Option<OpenFile>,
    done: Vec<StagedExtent>,
}

impl ExtentWriter {
    pub(crate) fn new(target: Target, options: WriteOptions, faults: Faults) -> Self {
        let of_type = |ty: KqlType| -> Vec<usize> {
            let columns = target.shape.columns.iter().enumerate();
            columns.filter(|(_, column)| column.ty == ty).map(|(index, _)| index).collect()
        };
        let datetimes = of_type(KqlType::DateTime);
        Self {
            time: datetimes.first().copied(),
            order: Vec::new(),
            datetimes,
            reals: of_type(KqlType::Real),
            target,
            options,
            faults,
            room: Room::default(),
            pending: vec![],
            pending_rows: 0,
            pending_bytes: 0,
            open: None,
            done: vec![],
        }
    }

    /// Writes as long as a disk has room.
    pub(crate) fn with_room(mut self, room: Room) -> Self {
        self.room = room;
        self
    }

    /// Sorts by these columns, with whether they ascend, instead of by time.
    pub(crate) fn with_order(mut self, order: Vec<(usize, bool)>) -> Self {
        if !order.is_empty() {
            self.time = None;
            self.order = order;
        }
        self
    }

    /// Compresses well rather than fast: for what a merge writes.
    pub(crate) fn for_good(mut self) -> Self {
        self.options.zstd_level = self.options.merged_zstd_level;
        self
    }

    /// Takes a batch whose columns have the types of [`Target::schema`], in its order.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.check(&batch)?;
        let mut rest = batch;
        while rest.num_rows() > 0 {
            let room = self.options.row_group_rows.max(1) - self.pending_rows;
            let rows = rest.num_rows().min(room);
            let part = rest.slice(0, rows);
            rest = rest.slice(rows, rest.num_rows() - rows);
            self.pending_rows += rows;
            self.pending_bytes += part.columns().iter().map(rest::value_bytes).sum::<usize>();
            self.pending.push(part);
            if self.pending_rows >= self.options.row_group_rows || self.pending_bytes >= self.options.chunk_bytes {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    /// Ends writing; what it returns is on disk and waits for a commit.
    pub fn finish(mut self) -> Result<Vec<StagedExtent>> {
        self.write_chunk()?;
        self.close()?;
        if !self.done.is_empty() {
            let directory = self.target.directory.path();
            self.faults.at(FaultPoint::DirectorySync).map_err(Error::io("sync directory", directory))?;
            if self.target.directory.place().remote().is_none() {
                files::sync_directory(directory)?;
            }
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Refuses a batch whose columns are not the table's.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        let expected = self.target.schema().fields();
        let found = batch.schema_ref().fields();
        if expected.len() != found.len() {
            let (found, expected) = (found.len(), expected.len());
            return Err(Error::Invalid(format!("found {found} columns, expected {expected}")));
        }
        for (expected, found) in expected.iter().zip(found) {
            if expected.data_type() != found.data_type() {
                let (name, found, expected) = (expected.name(), found.data_type(), expected.data_type());
                return Err(Error::Invalid(format!("column '{name}': found {found}, expected {expected}")));
            }
        }
        Ok(())
    }

    fn write_chunk(&mut self) -> Result<()> {
        if self.pending_rows == 0 {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.pending_rows = 0;
        let needs = self.needs(&batches);
        // A file's columns are fixed when it is opened. Values that it has no room for begin a new file.
        if self.open.as_ref().is_some_and(|open| !open.layout.covers(&needs)) {
            self.close()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenFile::create(&self.target, &self.options, &self.faults, self.time, needs)?,
        };
        for batch in &batches {
            open.observe(batch);
        }
        open.original_bytes += bytes as u64;
        let sorted = match self.time {
            Some(time) => {
                let mut sorted = Vec::with_capacity(batches.len());
                sort::newest_first(batches, time, |batch| {
                    sorted.push(batch);
                    Ok::<(), Error>(())
                })?;
                sorted
            }
            None if !self.order.is_empty() => vec![sort::by_columns(&batches, &self.order)?],
            None => batches,
        };
        // The row group itself is small beside what is to stay free.
        if self.room.least_bytes > 0 {
            self.room.check(open.path())?;
        }
        open.write_row_group(&self.target.shape, &sorted, &self.options)?;
        let is_full =
            open.rows >= self.options.extent_rows || open.writer.bytes_written() as u64 >= self.options.extent_bytes;
        self.open = Some(open);
        if is_full {
            self.close()?;
        }
        Ok(())
    }

    /// What these rows ask of the file they go to.
    fn needs(&self, batches: &[RecordBatch]) -> FileLayout {
        let columns_where = |columns: &[usize], test: &dyn Fn(&ArrayRef) -> bool| -> Vec<usize> {
            columns.iter().copied().filter(|column| batches.iter().any(|batch| test(batch.column(*column)))).collect()
        };
        FileLayout {
            ticks: columns_where(&self.datetimes, &|array| rest::has_ticks(array.as_primitive::<Int64Type>())),
            nans: columns_where(&self.reals, &|array| {
                array.as_primitive::<Float64Type>().values().iter().any(|value| value.is_nan())
            }),
        }
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            self.done.push(open.close(&self.target, &self.faults)?);
        }
        Ok(())
    }
}

/// What a column of a file is made from: the values of a table's column, or the seventh digits of its datetimes.
struct Source {
    index: usize,
    /// `None` for the digits.
    ty: Option<KqlType>,
}

impl Source {
    fn encode(
        &self,
        batches: &[RecordBatch],
        field: &Field,
        mut writer: ArrowColumnWriter,
        options: &WriteOptions,
    ) -> Result<Encoded> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut terms = match options.term_false_positives {
            Some(share)
                if self.ty == Some(KqlType::String) && share > 0.0 && share < 1.0 && rows >= options.term_rows =>
            {
                Some(ColumnTerms::new(options.page_rows, share))
            }
            _ => None,
        };
        for batch in batches {
            let array = batch.column(self.index);
            if let Some(terms) = &mut terms {
                terms.add(array);
            }
            let stored = match self.ty {
                Some(ty) => rest::to_rest(ty, array)?,
                None => rest::tick_column(array),
            };
            for leaf in compute_leaves(field, &stored)? {
                writer.write(&leaf)?;
            }
        }
        Ok(Encoded { chunk: writer.close()?, terms: terms.map(ColumnTerms::finish) })
    }
}

/// A column of a row group, and the filters of its terms with the bytes of each.
struct Encoded {
    chunk: ArrowColumnChunk,
    terms: Option<(Vec<u8>, Vec<u32>)>,
}

/// What differs from file to file of a table.
#[derive(Debug, Default)]
struct FileLayout {
    /// Positions of the datetime columns that have a hidden column for their seventh digit.
    ticks: Vec<usize>,
    /// Positions of the real columns with a NaN. They have no statistics: Parquet's leave NaN out, the engine's order
    /// does not, and a filter would lose the row.
    nans: Vec<usize>,
}

impl FileLayout {
    fn covers(&self, needs: &FileLayout) -> bool {
        needs.ticks.iter().all(|column| self.ticks.contains(column))
            && needs.nans.iter().all(|column| self.nans.contains(column))
    }
}

/// A file that is being written.
struct OpenFile {
    id: ExtentId,
    writer: SerializedFileWriter<FaultyFile>,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    layout: FileLayout,
    collectors: Vec<Collector>,
    terms: Directory,
    rows: u64,
    original_bytes: u64,
    /// Deletes the file unless it is committed.
    file: Arc<DataFile>,
    /// Where it lies until it is put into its store.
    spooled: Option<Spooled>,
    failure: Failure,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("id", &self.id).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl OpenFile {
    fn create(
        target: &Target,
        options: &WriteOptions,
        faults: &Faults,
        time: Option<usize>,
        layout: FileLayout,
    ) -> Result<Self> {
        let directory = target.directory.path();
        let id = ExtentId::random();
        let mut path = directory.join(format!("{id}.parquet"));
        let place = target.directory.place();
        let mut spooled = None;
        match place {
            Place::Store(remote) => spooled = Some(Spooled(remote.spool().join(format!("{id}.parquet")))),
            other => {
                other.check_writable(target.database)?;
                files::create_directory(directory)?;
            }
        }
        let file = DataFile::staged(path.clone(), Arc::clone(&target.directory));
        if let Some(Spooled(here)) = &spooled {
            path = here.clone();
        }
        let failure = Failure::default();
        let out = FaultyFile::create(&path, faults.clone(), failure.clone())?;
        let schema = rest_schema(&target.shape, &layout.ticks);
        let properties = properties(&target.shape, options, time, &layout.nans)?;
        // Readers take types from Parquet itself; an embedded Arrow schema would show them string views.
        let arrow_options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let (writer, columns) = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), arrow_options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|error| failure.explain(&path, error))?;
        let collectors = target.shape.columns.iter().map(|column| Collector::new(column.ty)).collect();
        let terms = Directory { rows: options.page_rows, ..Directory::default() };
        Ok(Self {
            id,
            writer,
            columns,
            schema,
            layout,
            collectors,
            terms,
            rows: 0,
            original_bytes: 0,
            file,
            spooled,
            failure,
        })
    }

    /// Where its bytes go first.
    fn path(&self) -> &Path {
        self.spooled.as_ref().map_or(self.file.path(), |spooled| &spooled.0)
    }

    fn observe(&mut self, batch: &RecordBatch) {
        for (collector, array) in self.collectors.iter_mut().zip(batch.columns()) {
            collector.add(array);
        }
        self.rows += batch.num_rows() as u64;
    }

    /// Writes batches as one row group. Many rows are encoded by several threads, a column at a time: encoding and
    /// compressing is most of what writing costs.
    fn write_row_group(&mut self, shape: &Shape, batches: &[RecordBatch], options: &WriteOptions) -> Result<()> {
        /// Fewer rows are not worth a thread.
        const MIN_ROWS: usize = 16 * 1024;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let writers = self.columns.create_column_writers(self.writer.flushed_row_groups().len())?;
        let (schema, layout) = (&self.schema, &self.layout);
        let sources = shape.columns.iter().enumerate().flat_map(|(index, column)| {
            let value = std::iter::once(Source { index, ty: Some(column.ty) });
            value.chain(layout.ticks.contains(&index).then_some(Source { index, ty: None }))
        });
        let tasks: Vec<_> = sources.zip(schema.fields()).zip(writers).enumerate().collect();
        let count = tasks.len();
        let threads = if rows < MIN_ROWS { 1 } else { options.threads.clamp(1, count.max(1)) };
        let tasks = Mutex::new(tasks.into_iter());
        let work = || -> Result<Vec<(usize, Encoded)>> {
            let mut chunks = Vec::new();
            loop {
                let Some((position, ((source, field), writer))) = tasks.lock().next() else { return Ok(chunks) };
                chunks.push((position, source.encode(batches, field, writer, options)?));
            }
        };
        let done: Vec<Result<Vec<_>>> = if threads == 1 {
            vec![work()]
        } else {
            std::thread::scope(|scope| {
                let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
                let own = work();
                let theirs = others.into_iter().map(|thread| match thread.join() {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                std::iter::once(own).chain(theirs.collect::<Vec<_>>()).collect()
            })
        };
        let mut chunks = Vec::with_capacity(count);
        for part in done {
            chunks.extend(part?);
        }
        chunks.sort_unstable_by_key(|(position, _)| *position);
        let path = self.file.path();
        let failed = |error| self.failure.explain(path, error);
        let mut group = self.writer.next_row_group().map_err(failed)?;
        let mut filters = Vec::new();
        for (position, encoded) in chunks {
            encoded.chunk.append_to_row_group(&mut group).map_err(failed)?;
            if let Some((bytes, sizes)) = encoded.terms {
                filters.push((position, bytes, sizes));
            }
        }
        group.close().map_err(failed)?;
        let mut columns = Vec::with_capacity(filters.len());
        for (position, bytes, sizes) in filters {
            let offset = self.writer.bytes_written() as u64;
            self.writer.write_all(&bytes).map_err(|error| failed(error.into()))?;
            columns.push(Filters { column: self.schema.field(position).name().clone(), offset, sizes });
        }
        self.terms.groups.push(Group { rows, columns });
        Ok(())
    }

    /// Writes where the filters of terms are, if there are any.
    fn write_terms(&mut self) -> Result<()> {
        if self.terms.groups.iter().all(|group| group.columns.is_empty()) {
            return Ok(());
        }
        self.terms.rule = terms::rule().to_string();
        let bytes = serde_json::to_vec(&self.terms).map_err(|error| Error::Invalid(error.to_string()))?;
        let offset = self.writer.bytes_written();
        let written = self.writer.write_all(&bytes);
        written.map_err(|error| self.failure.explain(self.file.path(), error.into()))?;
        let place = format!("{offset} {}", bytes.len());
        self.writer.append_key_value_metadata(KeyValue::new(terms::KEY.to_string(), place));
        Ok(())
    }

    fn close(mut self, target: &Target, faults: &Faults) -> Result<StagedExtent> {
        self.write_terms()?;
        self.writer.finish().map_err(|error| self.failure.explain(self.file.path(), error))?;
        let bytes = self.writer.bytes_written() as u64;
        match (&self.spooled, target.directory.place().remote()) {
            (Some(Spooled(here)), Some(remote)) => {
                let at = |point| faults.at(point).map_err(Error::io("put", self.file.path()));
                at(FaultPoint::Upload)?;
                remote.put_file(&self.file.relative(), here)?;
                at(FaultPoint::Upload)?;
            }
            _ => self.writer.inner().sync(self.file.path())?,
        }
        let ticks = self.layout.ticks;
        let columns = target.shape.columns.iter().zip(self.collectors).enumerate();
        let columns = columns
            .map(|(index, (column, collector))| {
                (column.at_rest().to_string(), collector.finish(ticks.contains(&index)))
            })
            .collect();
        Ok(StagedExtent {
            id: self.id,
            table: target.table,
            path: Layout::extent_path(target.database, target.table, self.id),
            rows: self.rows,
            bytes,
            original_bytes: self.original_bytes,
            columns,
            file: self.file,
            created: None,
            origin: None,
        })
    }
}

/// The columns of a file: each table column, a datetime followed by its hidden column where one is needed.
fn rest_schema(shape: &Shape, ticks: &[usize]) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::with_capacity(shape.columns.len() + ticks.len());
    for (index, column) in shape.columns.iter().enumerate() {
        fields.push(rest::rest_field(column.at_rest(), column.ty));
        if ticks.contains(&index) {
            fields.push(rest::tick_field(column.at_rest()));
        }
    }
    Arc::new(Schema::new(fields))
}

fn properties(shape: &Shape, options: &WriteOptions, time: Option<usize>, nans: &[usize]) -> Result<WriterProperties> {
    let columns: Vec<serde_json::Value> = shape
        .columns
        .iter()
        .map(|column| serde_json::json!({ "name": column.name, "type": column.ty.name(), "column": column.at_rest() }))
        .collect();
    let metadata = KeyValue::new(COLUMNS_KEY.to_string(), serde_json::Value::from(columns).to_string());
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tidewater ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(options.page_rows)
        // Row groups end where chunks end.
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(vec![metadata]));
    for column in &shape.columns {
        let path = ColumnPath::new(vec![column.at_rest().to_string()]);
        builder = match column.ty {
            // Times are near each other: differences are a tenth of the bytes, and need no compression to undo.
            KqlType::DateTime => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                .set_column_compression(path, Compression::UNCOMPRESSED),
            // Once there are too many values for a dictionary.
            KqlType::Int | KqlType::Long | KqlType::TimeSpan => {
                builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            _ => builder,
        };
    }
    if let Some(time) = time {
        // Hidden columns shift positions; those before the first datetime have none.
        let column_idx = i32::try_from(time).map_err(|_| Error::Invalid("too many columns".into()))?;
        builder =
            builder.set_sorting_columns(Some(vec![SortingColumn { column_idx, descending: true, nulls_first: false }]));
    }
    if let Some(share) = options.bloom_false_positives.filter(|share| *share > 0.0 && *share < 1.0) {
        // Sized for a row group of different values; the writer folds a filter of fewer values to what they need.
        let bloom = BloomFilterProperties::builder().with_fpp(share).with_max_ndv(options.row_group_rows as u64);
        let bloom = bloom.try_build()?;
        for column in &shape.columns {
            if matches!(column.ty, KqlType::String | KqlType::Guid | KqlType::Long) {
                let path = ColumnPath::new(vec![column.at_rest().to_string()]);
                builder = builder.set_column_bloom_filter_properties(path, bloom.clone());
            }
        }
    }
    for index in nans {
        let path = ColumnPath::new(vec![shape.columns[*index].at_rest().to_string()]);
        builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok(builder.build())
}

/// A writer on a blocking thread, fed from async code; what it returns at the end waits for a commit.
pub type ExtentWriterTask = WriterTask<Vec<StagedExtent>>;

impl BatchSink for ExtentWriter {
    type Done = Vec<StagedExtent>;

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        ExtentWriter::write(self, batch)
    }

    fn finish(self) -> Result<Self::Done> {
        ExtentWriter::finish(self)
    }
}
