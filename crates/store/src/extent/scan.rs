//! A table as the engine reads it: plain Parquet file scans over the extents of one snapshot.
//!
//! Files are left out by the catalog's statistics while planning; row groups and pages, and whole files that a TopK
//! has outrun, while reading. The engine pushes filters into the scan, so rows are decoded only where they pass.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;
use tidewater_kql::KqlType;

use crate::catalog::snapshot::{Extent, ExtentList, Shape, Table};
use crate::catalog::{ROW_CURSOR, ROW_TIME};
use crate::extent::adapter::ExtentAdapterFactory;
use crate::extent::ledger::{CountingReaders, Mark, ScanLedger};
use crate::extent::order::Origin;
use crate::extent::prune::{self, ExtentStatistics};
use crate::extent::terms;
use crate::extent::terms::need::Need;
use crate::extent::terms::read::Wanted;
use crate::files::DataFile;
use crate::roots::Place;
use crate::store::AskedTexts;

/// Bytes read from the end of a file at first: its footer, in one request.
const FOOTER_HINT: usize = 64 * 1024;

/// Columns that a provider with hidden columns has behind the table's own: time and place in the history of all tables of
/// the extent and, where a merge has moved a row, of the row; the extent's id and tags.
pub const HIDDEN_COLUMNS: [(&str, KqlType); 6] = [
    ("$extent_time", KqlType::DateTime),
    (ROW_TIME, KqlType::DateTime),
    ("$extent_cursor", KqlType::Long),
    (ROW_CURSOR, KqlType::Long),
    ("$extent_id", KqlType::Guid),
    ("$extent_tags", KqlType::Dynamic),
];
/// Where each of them stands among the file's columns (`row`) and those of its extent (`extent`), in this order.
const HIDDEN_PLACES: [usize; 6] = [2, 0, 3, 1, 4, 5];

/// A table in the state of one snapshot.
pub(crate) struct ExtentTable {
    name: String,
    shape: Arc<Shape>,
    list: Arc<ExtentList>,
    adapter: Arc<ExtentAdapterFactory>,
    asked_texts: AskedTexts,
    /// The schema with hidden columns, if they are asked for.
    hidden: Option<SchemaRef>,
}

impl std::fmt::Debug for ExtentTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtentTable").field("name", &self.name).field("extents", &self.list.extents.len()).finish()
    }
}

impl ExtentTable {
    pub(crate) fn new(table: &Table, asked_texts: AskedTexts) -> Self {
        let table = Self::of(table.name().to_string(), Arc::clone(table.shape()), table.extent_list());
        Self { asked_texts, ..table }
    }

    pub(crate) fn of(name: String, shape: Arc<Shape>, list: Arc<ExtentList>) -> Self {
        let adapter = Arc::new(ExtentAdapterFactory::new(&shape));
        Self { name, shape, list, adapter, asked_texts: |_| None, hidden: None }
    }

    /// The same rows with [`HIDDEN_COLUMNS`].
    pub(crate) fn with_hidden(mut self) -> Self {
        let own = self.shape.arrow.fields().iter().cloned();
        let hidden = HIDDEN_COLUMNS.iter().map(|(name, ty)| Arc::new(ty.field(name)));
        self.hidden = Some(Arc::new(Schema::new(own.chain(hidden).collect::<Vec<_>>())));
        self
    }

    /// The extent's values of hidden columns, in the order of the scan's extent columns.
    fn extent_values(extent: &Extent) -> Vec<ScalarValue> {
        vec![
            ScalarValue::Int64(Some(extent.ingested())),
            ScalarValue::Int64(Some(extent.ordinal())),
            ScalarValue::FixedSizeBinary(16, Some(extent.id().0.as_bytes().to_vec())),
            ScalarValue::Utf8View(Some(serde_json::Value::from(extent.tags().to_vec()).to_string())),
        ]
    }

    fn whole_statistics(&self) -> Arc<Statistics> {
        self.list.statistics(&self.shape, || prune::table_statistics(&self.list.extents, &self.shape))
    }

    /// The extents that the filters leave.
    fn prune(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Arc<Extent>>> {
        let extents = &self.list.extents;
        if self.hidden.is_some() {
            // Rows of an extent never lie behind it in history.
            let floor = filters.iter().filter_map(cursor_floor).max().unwrap_or(i64::MIN);
            return Ok(extents.iter().filter(|extent| extent.ordinal() >= floor).cloned().collect());
        }
        let all = || extents.clone();
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(all()) };
        let schema = DFSchema::try_from(Arc::clone(&self.shape.arrow))?;
        let filter = state.create_physical_expr(filter, &schema)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.shape.arrow)).build(filter);
        let Some(predicate) = predicate else { return Ok(all()) };
        let keep = match predicate.prune(&ExtentStatistics::new(&self.shape, extents)) {
            Ok(keep) => keep,
            Err(error) => {
                // Pruning is never needed for a right answer.
                tracing::debug!(%error, table = %self.name, "extents are not pruned");
                return Ok(all());
            }
        };
        Ok(extents.iter().zip(keep).filter(|(_, keep)| *keep).map(|(extent, _)| Arc::clone(extent)).collect())
    }

    fn file(&self, extent: &Arc<Extent>) -> Result<PartitionedFile> {
        let location = match extent.file().place() {
            Place::Store(remote) => remote.key(&extent.file().relative()),
            _ => object_store::path::Path::from_absolute_path(extent.file().path())
                .map_err(|error| DataFusionError::External(Box::new(error)))?,
        };
        let meta = ObjectMeta {
            location,
            // Files never change, so one time for all keeps cached footers valid.
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: extent.bytes(),
            e_tag: None,
            version: None,
        };
        let held = Held(Arc::clone(extent.file()));
        let mark = Mark { id: extent.id(), created: extent.created() };
        if self.hidden.is_some() {
            let file = PartitionedFile::new_from_meta(meta).with_partition_values(Self::extent_values(extent));
            return Ok(file.with_extension(held).with_extension(mark));
        }
        Ok(PartitionedFile::new_from_meta(meta)
            .with_statistics(prune::extent_statistics(extent, &self.shape))
            .with_extension(Origin { extent: Arc::clone(extent), shape: Arc::clone(&self.shape) })
            .with_extension(held)
            .with_extension(mark))
    }
}

/// Keeps a file on disk while a plan or a reader names it.
struct Held(#[allow(dead_code)] Arc<DataFile>);

#[async_trait]
impl TableProvider for ExtentTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.hidden.as_ref().unwrap_or(&self.shape.arrow))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        match &self.hidden {
            None => Some(self.whole_statistics().as_ref().clone()),
            Some(_) => None,
        }
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Inexact as far as logical plans go. When the physical plan is made, the engine's own rule moves the filters
        // that the reader evaluates exactly into the scan and takes the filter above away.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut extents = self.prune(state, filters)?;
        let ledger = ScanLedger::current();
        if let Some(ledger) = &ledger {
            ledger.table(&self.list);
        }
        if filters.is_empty()
            && let Some(limit) = limit
        {
            truncate(&mut extents, limit);
        }
        if extents.is_empty() {
            return self.nothing(projection);
        }
        let own = self.shape.arrow.fields().len();
        let table_schema = self.table_schema();
        let statistics = match (&self.hidden, extents.len() == self.list.extents.len()) {
            (Some(_), _) => {
                let rows = extents.iter().map(|extent| extent.rows() as usize).sum();
                Statistics::new_unknown(table_schema.table_schema()).with_num_rows(Precision::Exact(rows))
            }
            (None, true) => self.whole_statistics().as_ref().clone(),
            (None, false) => prune::table_statistics(&extents, &self.shape),
        };
        let wanted_columns = match &self.hidden {
            None => projection.cloned(),
            Some(schema) => {
                let all = || (0..schema.fields().len()).collect();
                let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
                Some(wanted.into_iter().map(|at| if at < own { at } else { own + HIDDEN_PLACES[at - own] }).collect())
            }
        };
        let runtime = state.runtime_env();
        // All extents of a table lie at one place.
        let url = match extents.first().map(|extent| extent.file().place()) {
            Some(Place::Store(remote)) => {
                runtime.register_object_store(remote.url().as_ref(), Arc::clone(remote.object_store()));
                remote.url().clone()
            }
            Some(place) => {
                place.known().map_err(|error| DataFusionError::External(Box::new(error)))?;
                ObjectStoreUrl::local_filesystem()
            }
            None => ObjectStoreUrl::local_filesystem(),
        };
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut planned: u64 = extents.iter().map(|extent| extent.rows()).sum();
        let mut files = Vec::with_capacity(extents.len());
        let need = Need::of(filters, &self.shape, self.asked_texts);
        for extent in &extents {
            let file = self.file(extent)?;
            let wanted = match &need {
                Some(need) => terms::read::wanted(extent, &file, &reader, need).await,
                None => Wanted::Whole,
            };
            match wanted {
                Wanted::Whole => files.push(file),
                Wanted::Nothing => planned -= extent.rows(),
                Wanted::Some { plan, rows } => {
                    planned -= extent.rows() - rows;
                    files.push(file.with_extension(plan));
                }
            }
        }
        if files.is_empty() {
            return self.nothing(projection);
        }
        let reader: Arc<dyn ParquetFileReaderFactory> = match &ledger {
            Some(ledger) => Arc::new(CountingReaders { inner: reader, ledger: ledger.clone() }),
            None => Arc::new(reader),
        };
        let mut options = state.table_options().parquet.clone();
        options.global = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(reader)
            .with_metadata_size_hint(FOOTER_HINT)
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        if let Some(ledger) = &ledger {
            ledger.scan(planned, source.metrics());
        }
        let groups = group(files, state.config().target_partitions());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(wanted_columns)?
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::clone(&self.adapter) as _))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl ExtentTable {
    /// No rows.
    fn nothing(&self, projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema().project(projection)?),
            None => self.schema(),
        };
        Ok(Arc::new(EmptyExec::new(schema)))
    }

    /// The columns of files, then those that are the same for all rows of an extent.
    fn table_schema(&self) -> TableSchema {
        let Some(hidden) = &self.hidden else {
            return TableSchema::from(Arc::clone(&self.shape.arrow));
        };
        let own = self.shape.arrow.fields().len();
        let mut fields: Vec<FieldRef> = hidden.fields()[..own].to_vec();
        let mut others: Vec<FieldRef> = vec![Arc::clone(&hidden.fields()[own]); HIDDEN_COLUMNS.len()];
        for (at, place) in HIDDEN_PLACES.into_iter().enumerate() {
            others[place] = Arc::clone(&hidden.fields()[own + at]);
        }
        let extent = others.split_off(2);
        fields.extend(others);
        TableSchema::builder(Arc::new(Schema::new(fields))).with_table_partition_cols(extent).build()
    }
}

/// The least place in history that a filter lets through: `coalesce(row's, extent's) >= n`.
fn cursor_floor(filter: &Expr) -> Option<i64> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    let is_place = |name: &str| name == "$extent_cursor" || name == ROW_CURSOR;
    let columns = binary.left.column_refs();
    if binary.op != Operator::GtEq || columns.is_empty() || !columns.iter().all(|column| is_place(&column.name)) {
        return None;
    }
    match binary.right.as_ref() {
        Expr::Literal(ScalarValue::Int64(floor), _) => *floor,
        _ => None,
    }
}

/// Keeps as many extents as give `limit` rows: without an order any rows will do.
fn truncate(extents: &mut Vec<Arc<Extent>>, limit: usize) {
    let mut rows = 0;
    let needed = extents.iter().position(|extent| {
        rows += extent.rows();
        rows >= limit as u64
    });
    if let Some(last) = needed {
        extents.truncate(last + 1);
    }
}

/// Spreads files over at most `partitions` groups of like size; each group keeps the files' order.
///
/// The engine splits large files further, by byte ranges, when it distributes a plan.
fn group(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let partitions = partitions.clamp(1, files.len().max(1));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = (0..partitions).map(|_| (0, vec![])).collect();
    for file in files {
        if let Some((size, group)) = groups.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.object_meta.size.max(1);
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}
