//! Reading a table newest first where a plan gains by it: its row groups are sorted by time already.
//!
//! Every row group is written newest first, but those of a file, and files, come in the order in which they were
//! written, and may overlap. A plan that groups by bins of the time column, or sorts by it, is given the row groups as
//! parts of their own, dealt to the engine's partitions so that within each of them none overlaps the one before. Then
//! each partition is in order, groups end as they pass, and a sort is a merge. Where the parts cannot be dealt so, or a
//! time is null, the plan stays as it was. Other plans keep whole files, which idle threads may take from each other.

use std::sync::{Arc, OnceLock};

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode, ReplaceChildrenOptions};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics as ColumnChunkStatistics;
use tidewater_kql::KqlType;

use crate::UNIX_EPOCH_TICKS;
use crate::catalog::snapshot::{Extent, Shape};
use crate::extent::{prune, rest};

/// Row groups that are dealt; a scan of more keeps its files.
const MAX_PARTS: usize = 4096;
/// Files whose footers are read for it; a scan of more keeps its files.
const MAX_FILES: usize = 1024;

/// Where a file of a scan comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub extent: Arc<Extent>,
    pub shape: Arc<Shape>,
}

/// A row group that is sorted by time, newest first, without nulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Bytes of the file: the row group begins in them, and no other does.
    start: i64,
    end: i64,
    rows: u64,
    /// No row is older, in ticks.
    min: i64,
    /// No row is newer, in ticks.
    max: i64,
}

/// The parts of a file that is sorted by a column.
#[derive(Debug)]
pub(crate) struct Sorted {
    /// The column, as the file names it.
    column: String,
    parts: Vec<Part>,
}

/// What the footer of an extent says, read once; `None` when it is not known to be sorted.
pub(crate) type Order = OnceLock<Option<Arc<Sorted>>>;

/// Gives scans in order of time to plans that gain by it.
#[derive(Debug, Default)]
pub struct TimeOrder;

impl PhysicalOptimizerRule for TimeOrder {
    fn name(&self) -> &str {
        "time_order"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = config.execution.target_partitions;
        plan.transform_up(|node| {
            Ok(match gaining(&node, partitions)? {
                Some(ordered) => Transformed::yes(ordered),
                None => Transformed::no(node),
            })
        })
        .data()
    }
}

/// Makes scans keep the order that they declare: the last of the rules.
///
/// The engine's rule that pushes limits down allows a scan below a merge with a limit to hand its files to other threads,
/// as if the limit were one of any rows.
#[derive(Debug, Default)]
pub struct KeepOrder;

impl PhysicalOptimizerRule for KeepOrder {
    fn name(&self) -> &str {
        "keep_order"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let scan = node.downcast_ref::<DataSourceExec>();
            let config = scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>());
            let kept = match config {
                Some((config, _)) if !config.output_ordering.is_empty() => node.with_preserve_order(true),
                _ => None,
            };
            Ok(kept.map_or(Transformed::no(node), Transformed::yes))
        })
        .data()
    }
}

/// The node over ordered input, if that is of use to it.
fn gaining(node: &Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let [input] = node.children()[..] else { return Ok(None) };
    let is_ticks = |expr: &Arc<dyn PhysicalExpr>| matches!(expr.data_type(&input.schema()), Ok(DataType::Int64));
    let gains: fn(&Arc<dyn ExecutionPlan>) -> Result<bool> = if let Some(sort) = node.downcast_ref::<SortExec>()
        && sort.expr().first().options.descending
        && is_ticks(&sort.expr().first().expr)
    {
        is_sorted_already
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>()
        && !aggregate.group_expr().is_true_no_grouping()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.group_expr().expr().iter().all(|(expr, _)| is_ticks(expr))
    {
        groups_end
    } else {
        return Ok(None);
    };
    // First as if one sorted file were there, which costs nothing.
    let Some(trial) = with_scan(input, &|config, origin| Some(sample(config, origin)))? else { return Ok(None) };
    if !gains(&over(node, trial)?)? {
        return Ok(None);
    }
    let Some(ordered) = with_scan(input, &|config, origin| dealt(config, origin, partitions))? else {
        return Ok(None);
    };
    let made = over(node, ordered)?;
    Ok(gains(&made)?.then_some(made))
}

/// The operator with another input.
fn over(plan: &Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(vec![input], options)
}

fn is_sorted_already(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(false) };
    sort.input().equivalence_properties().ordering_satisfy(sort.expr().iter().cloned())
}

fn groups_end(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    // With further keys beside the bins many groups are open at once; measured, keeping them in order costs more than it saves.
    Ok(node.downcast_ref::<AggregateExec>().is_some_and(|node| *node.input_order_mode() == InputOrderMode::Sorted))
}

/// What becomes of a scan.
type Change<'a> = &'a dyn Fn(&FileScanConfig, &Origin) -> Option<FileScanConfig>;

/// The plan with its scan changed, where all above the scan keeps the order of rows.
fn with_scan(plan: &Arc<dyn ExecutionPlan>, change: Change<'_>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some((config, _)) = scan.downcast_to_file_source::<ParquetSource>() else { return Ok(None) };
        let origin = config.file_groups.iter().flat_map(FileGroup::iter).find_map(|file| file.extension::<Origin>());
        let changed = match origin {
            Some(origin) if config.output_ordering.is_empty() && config.limit.is_none() => change(config, origin),
            _ => None,
        };
        return Ok(changed.map(|config| DataSourceExec::from_data_source(config) as _));
    }
    let [input] = plan.children()[..] else { return Ok(None) };
    if plan.maintains_input_order() != [true] {
        return Ok(None);
    }
    Ok(match with_scan(input, change)? {
        Some(input) => Some(over(plan, input)?),
        None => None,
    })
}

/// The column that rows are sorted by when they are written.
fn time_column(shape: &Shape) -> Option<usize> {
    shape.columns.iter().position(|column| column.ty == KqlType::DateTime)
}

fn newest_first(shape: &Shape) -> Vec<LexOrdering> {
    let Some(place) = time_column(shape) else { return Vec::new() };
    let column = Arc::new(Column::new(shape.arrow.field(place).name(), place));
    LexOrdering::new([PhysicalSortExpr::new(column, SortOptions { descending: true, nulls_first: false })])
        .into_iter()
        .collect()
}

/// The scan as if it were of one sorted file.
fn sample(config: &FileScanConfig, origin: &Origin) -> FileScanConfig {
    let first = config.file_groups.iter().flat_map(FileGroup::iter).next().cloned();
    FileScanConfigBuilder::from(config.clone())
        .with_file_groups(vec![FileGroup::new(first.into_iter().collect())])
        .with_output_ordering(newest_first(&origin.shape))
        .build()
}

/// The scan by row groups in order of time; `None` when they cannot be dealt to so many partitions.
fn dealt(config: &FileScanConfig, origin: &Origin, partitions: usize) -> Option<FileScanConfig> {
    let place = time_column(&origin.shape)?;
    if config.file_groups.iter().map(FileGroup::len).sum::<usize>() > MAX_FILES {
        return None;
    }
    let mut files: Vec<(Part, PartitionedFile)> = Vec::new();
    for file in config.file_groups.iter().flat_map(FileGroup::iter) {
        // A file that is already cut would be read twice.
        let extent = &file.extension::<Origin>()?.extent;
        if file.range.is_some() {
            return None;
        }
        let sorted = extent.order(|| sorted(extent))?;
        // The table may have got another first datetime column since.
        if sorted.column != origin.shape.columns[place].at_rest() || files.len() + sorted.parts.len() > MAX_PARTS {
            return None;
        }
        let whole = prune::extent_statistics(extent, &origin.shape);
        files.extend(sorted.parts.iter().map(|part| (part.clone(), file_of(part, file, &whole, place))));
    }
    let parts: Vec<Part> = files.iter().map(|(part, _)| part.clone()).collect();
    let chains = chains(&parts, partitions.max(1))?;
    let groups = chains
        .into_iter()
        .map(|chain| FileGroup::new(chain.into_iter().map(|index| files[index].1.clone()).collect()))
        .collect();
    let ordered = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(groups)
        .with_output_ordering(newest_first(&origin.shape))
        .build();
    Some(ordered)
}

/// A part as a file of its own, with the bounds by which the engine checks the order.
fn file_of(part: &Part, file: &PartitionedFile, whole: &Statistics, place: usize) -> PartitionedFile {
    let mut statistics = whole.clone();
    statistics.num_rows = Precision::Exact(usize::try_from(part.rows).unwrap_or(usize::MAX));
    statistics.total_byte_size = Precision::Absent;
    let bound = |ticks| Precision::Inexact(ScalarValue::Int64(Some(ticks)));
    // Other columns' bounds hold for the part too, but need not be values of it.
    for column in &mut statistics.column_statistics {
        column.min_value = column.min_value.clone().to_inexact();
        column.max_value = column.max_value.clone().to_inexact();
        column.null_count = column.null_count.to_inexact();
    }
    if let Some(column) = statistics.column_statistics.get_mut(place) {
        column.min_value = bound(part.min);
        column.max_value = bound(part.max);
        column.null_count = Precision::Exact(0);
    }
    let mut made = file.clone().with_range(part.start, part.end);
    made.statistics = Some(Arc::new(statistics));
    made
}

/// Reads which row groups an extent has; `None` when one is not sorted newest first, or has a null in its time.
fn sorted(extent: &Extent) -> Option<Arc<Sorted>> {
    // Plans are made where nobody may wait for a store.
    if extent.file().place().remote().is_some() {
        return None;
    }
    let read = || -> std::result::Result<ParquetMetaData, Box<dyn std::error::Error>> {
        let file = std::fs::File::open(extent.file().path())?;
        Ok(ParquetMetaDataReader::new().parse_and_finish(&file)?)
    };
    let footer = read()
        .inspect_err(|error| tracing::debug!(%error, extent = %extent.id(), "the order of an extent is not known"))
        .ok()?;
    let groups = footer.row_groups();
    let place = sorting_column(groups.first()?)?;
    let column = footer.file_metadata().schema_descr().columns().get(place)?.path().string();
    let has_ticks = extent.column(&column)?.tick;
    let starts: Vec<i64> = groups.iter().map(first_page).collect::<Option<_>>()?;
    let file_end = i64::try_from(extent.bytes()).ok()?;
    let mut parts = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(file_end);
        let start = starts[index];
        if start >= end {
            return None;
        }
        if sorting_column(group) != Some(place) {
            return None;
        }
        let (min, max) = time_range(group, place, has_ticks)?;
        parts.push(Part { start, end, rows: u64::try_from(group.num_rows()).ok()?, min, max });
    }
    Some(Arc::new(Sorted { column, parts }))
}

/// Where the engine takes a row group to begin.
fn first_page(group: &RowGroupMetaData) -> Option<i64> {
    let column = group.columns().first()?;
    Some(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()))
}

/// The column by which a row group is written newest first.
fn sorting_column(group: &RowGroupMetaData) -> Option<usize> {
    let [sorting] = group.sorting_columns()?.as_slice() else { return None };
    if !sorting.descending || sorting.nulls_first { None } else { usize::try_from(sorting.column_idx).ok() }
}

/// The oldest and newest ticks of a row group.
fn time_range(group: &RowGroupMetaData, place: usize, has_ticks: bool) -> Option<(i64, i64)> {
    let Some(ColumnChunkStatistics::Int64(bounds)) = group.columns().get(place)?.statistics() else { return None };
    if bounds.null_count_opt() != Some(0) {
        return None;
    }
    let ticks = |micros: i64| micros.checked_mul(rest::TICKS_PER_MICROSECOND)?.checked_add(UNIX_EPOCH_TICKS);
    let beyond = if has_ticks { rest::TICKS_PER_MICROSECOND - 1 } else { 0 };
    Some((ticks(*bounds.min_opt()?)?, ticks(*bounds.max_opt()?)?.checked_add(beyond)?))
}

/// Deals parts to at most so many chains, newest first; in a chain no part reaches above the one before.
///
/// The parts of like times go to different chains, so that a filter by time leaves work for all.
fn chains(parts: &[Part], most: usize) -> Option<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(parts[*index].max), std::cmp::Reverse(parts[*index].min), *index));
    // Evenly by rows; where that leads to a dead end, as few chains as there can be.
    deal(parts, &order, most, |chain| chain.rows)
        .or_else(|| deal(parts, &order, most, |chain| chain.until.abs_diff(i64::MIN)))
}

#[derive(Clone)]
struct Chain {
    parts: Vec<usize>,
    rows: u64,
    /// The oldest time so far.
    until: i64,
}

fn deal(parts: &[Part], order: &[usize], most: usize, rank: impl Fn(&Chain) -> u64) -> Option<Vec<Vec<usize>>> {
    let mut chains = vec![Chain { parts: Vec::new(), rows: 0, until: i64::MAX }; most.min(parts.len())];
    for index in order {
        let part = &parts[*index];
        let chain = chains.iter_mut().filter(|chain| chain.until >= part.max).min_by_key(|chain| rank(chain))?;
        chain.parts.push(*index);
        chain.rows += part.rows;
        chain.until = part.min;
    }
    Some(chains.into_iter().map(|chain| chain.parts).filter(|parts| !parts.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(min: i64, max: i64) -> Part {
        Part { start: 0, end: 1, rows: 10, min, max }
    }

    fn times(parts: &[Part], most: usize) -> Option<Vec<Vec<(i64, i64)>>> {
        let chains = chains(parts, most)?;
        let time = |index: &usize| (parts[*index].min, parts[*index].max);
        Some(chains.iter().map(|chain| chain.iter().map(time).collect()).collect())
    }

    #[test]
    fn parts_in_order_are_dealt_in_turn() {
        let parts = [part(0, 1), part(1, 2), part(3, 4), part(5, 6)];
        assert_eq!(times(&parts, 2), Some(vec![vec![(5, 6), (1, 2)], vec![(3, 4), (0, 1)]]));
        assert_eq!(times(&parts, 1), Some(vec![vec![(5, 6), (3, 4), (1, 2), (0, 1)]]));
        assert_eq!(times(&parts[..1], 8), Some(vec![vec![(0, 1)]]));
    }

    #[test]
    fn parts_that_overlap_need_chains_of_their_own() {
        let parts = [part(0, 10), part(5, 15), part(12, 20)];
        assert_eq!(times(&parts, 2), Some(vec![vec![(12, 20), (0, 10)], vec![(5, 15)]]));
        assert_eq!(times(&parts, 1), None);
        let all_at_once = [part(0, 10), part(0, 10), part(0, 10)];
        assert_eq!(times(&all_at_once, 2), None);
    }

    #[test]
    fn an_even_deal_that_fails_is_tried_again_with_as_few_chains_as_can_be() {
        // Evenly, the second part would take the second chain and leave none for the third.
        let parts = [part(50, 60), part(40, 50), part(0, 45), part(0, 44)];
        let found = times(&parts, 3).unwrap();
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 4);
        for chain in found {
            assert!(chain.windows(2).all(|pair| pair[0].0 >= pair[1].1), "{chain:?}");
        }
    }
}
