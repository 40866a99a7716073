//! A table as the engine reads it: plain Parquet file scans over the extents of one snapshot.
//!
//! Files are left out by the catalog's statistics while planning; row groups and pages, and whole files that a TopK
//! has outrun, while reading. The engine pushes filters into the scan, so rows are decoded only where they pass.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;

use crate::catalog::snapshot::{Extent, ExtentList, Shape, Table};
use crate::extent::adapter::ExtentAdapterFactory;
use crate::extent::prune::{self, ExtentStatistics};
use crate::files::DataFile;

/// Bytes read from the end of a file at first: its footer, in one request.
const FOOTER_HINT: usize = 64 * 1024;

/// A table in the state of one snapshot.
pub(crate) struct ExtentTable {
    name: String,
    shape: Arc<Shape>,
    list: Arc<ExtentList>,
    adapter: Arc<ExtentAdapterFactory>,
}

impl std::fmt::Debug for ExtentTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtentTable").field("name", &self.name).field("extents", &self.list.extents.len()).finish()
    }
}

impl ExtentTable {
    pub(crate) fn new(table: &Table) -> Self {
        Self::of(table.name().to_string(), Arc::clone(table.shape()), table.extent_list())
    }

    pub(crate) fn of(name: String, shape: Arc<Shape>, list: Arc<ExtentList>) -> Self {
        let adapter = Arc::new(ExtentAdapterFactory::new(&shape));
        Self { name, shape, list, adapter }
    }

    fn whole_statistics(&self) -> Arc<Statistics> {
        self.list.statistics(&self.shape, || prune::table_statistics(&self.list.extents, &self.shape))
    }

    /// The extents that the filters leave.
    fn prune(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Arc<Extent>>> {
        let extents = &self.list.extents;
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

    fn file(&self, extent: &Extent) -> Result<PartitionedFile> {
        let location = object_store::path::Path::from_absolute_path(extent.file().path())
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let meta = ObjectMeta {
            location,
            // Files never change, so one time for all keeps cached footers valid.
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: extent.bytes(),
            e_tag: None,
            version: None,
        };
        let held = Held(Arc::clone(extent.file()));
        Ok(PartitionedFile::new_from_meta(meta)
            .with_statistics(prune::extent_statistics(extent, &self.shape))
            .with_extension(held))
    }
}

/// Keeps a file on disk while a plan or a reader names it.
struct Held(#[allow(dead_code)] Arc<DataFile>);

#[async_trait]
impl TableProvider for ExtentTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shape.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.whole_statistics().as_ref().clone())
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
        if filters.is_empty()
            && let Some(limit) = limit
        {
            truncate(&mut extents, limit);
        }
        if extents.is_empty() {
            let schema = match projection {
                Some(projection) => Arc::new(self.shape.arrow.project(projection)?),
                None => Arc::clone(&self.shape.arrow),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let statistics = match extents.len() == self.list.extents.len() {
            true => self.whole_statistics().as_ref().clone(),
            false => prune::table_statistics(&extents, &self.shape),
        };
        let files = extents.iter().map(|extent| self.file(extent)).collect::<Result<Vec<_>>>()?;
        let url = ObjectStoreUrl::local_filesystem();
        let runtime = state.runtime_env();
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut options = state.table_options().parquet.clone();
        options.global = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(Arc::clone(&self.shape.arrow))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader))
            .with_metadata_size_hint(FOOTER_HINT)
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        let groups = group(files, state.config().target_partitions());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::clone(&self.adapter) as _))
            .build();
        Ok(DataSourceExec::from_data_source(config))
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
