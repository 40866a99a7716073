//! Asking the filters of files, before they are read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use lru::LruCache;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::bloom_filter::Sbbf;

use crate::catalog::snapshot::Extent;
use crate::extent::terms::need::Need;
use crate::extent::terms::{Directory, Filters, KEY, rule};
use crate::id::ExtentId;

/// Most bytes of filters that are kept in memory.
const CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Of a row group of which more than this share may hold the terms, all is read: skipping costs too.
const WORTHLESS: f64 = 0.7;

/// The filters of a column in a row group.
type Blocks = Arc<Vec<Sbbf>>;
type Key = (ExtentId, String, usize);

/// Filters that were asked lately; files never change, and ids are never used again.
static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

struct Cache {
    kept: LruCache<Key, (Blocks, usize)>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { kept: LruCache::unbounded(), bytes: 0 }
    }
}

impl Cache {
    fn get(&mut self, key: &Key) -> Option<Blocks> {
        self.kept.get(key).map(|(blocks, _)| Arc::clone(blocks))
    }

    fn put(&mut self, key: Key, blocks: Blocks, bytes: usize) {
        self.bytes += bytes;
        if let Some((_, (_, before))) = self.kept.push(key, (blocks, bytes)) {
            self.bytes -= before;
        }
        while self.bytes > CACHE_BYTES {
            let Some((_, (_, least))) = self.kept.pop_lru() else { break };
            self.bytes -= least;
        }
    }
}

/// What of a file is to be read.
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// Nothing.
    Nothing,
    /// These rows.
    Some { plan: ParquetAccessPlan, rows: u64 },
}

/// The rows of a file that may have what is needed. Filters are never needed for a right answer: where they cannot be
/// read, everything is wanted, and whoever reads the file will say what is wrong with it.
pub(crate) async fn wanted(
    extent: &Extent,
    file: &PartitionedFile,
    readers: &dyn ParquetFileReaderFactory,
    need: &Need,
) -> Wanted {
    match select(extent, file, readers, need).await {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::debug!(%error, extent = %extent.id(), "the terms of an extent are not known");
            Wanted::Whole
        }
    }
}

async fn select(
    extent: &Extent,
    file: &PartitionedFile,
    readers: &dyn ParquetFileReaderFactory,
    need: &Need,
) -> Result<Wanted> {
    let mut reader = readers.create_reader(0, file.clone(), None, &ExecutionPlanMetricsSet::new())?;
    let directory = extent.terms().get_or_try_init(|| directory(reader.as_mut())).await?;
    let Some(directory) = directory.as_ref().filter(|directory| directory.rows > 0) else { return Ok(Wanted::Whole) };
    let columns = need.columns();
    let blocks = blocks(extent.id(), directory, &columns, reader.as_mut()).await?;
    let mut plan = ParquetAccessPlan::new_all(directory.groups.len());
    let (mut kept, mut all) = (0, 0);
    for (place, group) in directory.groups.iter().enumerate() {
        let known: HashMap<&str, &Blocks> = columns
            .iter()
            .filter_map(|column| Some((*column, blocks.get(&(extent.id(), (*column).to_string(), place))?)))
            .collect();
        let may_hold = |block: usize| {
            need.may_hold(&|column, hash| match known.get(column).and_then(|blocks| blocks.get(block)) {
                Some(filter) => filter.check(&hash.cast_signed()),
                None => true,
            })
        };
        let rows_of = |block: usize| directory.rows.min(group.rows - block * directory.rows);
        let count = group.rows.div_ceil(directory.rows);
        let (mut selectors, mut selected) = (Vec::<RowSelector>::new(), 0);
        for block in 0..count {
            let (rows, skip) = (rows_of(block), !may_hold(block));
            selected += if skip { 0 } else { rows };
            match selectors.last_mut() {
                Some(last) if last.skip == skip => last.row_count += rows,
                _ => selectors.push(if skip { RowSelector::skip(rows) } else { RowSelector::select(rows) }),
            }
        }
        all += group.rows as u64;
        if selected == 0 {
            plan.skip(place);
        } else if selected as f64 <= group.rows as f64 * WORTHLESS {
            plan.set(place, RowGroupAccess::Selection(RowSelection::from(selectors)));
            kept += selected as u64;
        } else {
            kept += group.rows as u64;
        }
    }
    Ok(match kept {
        0 => Wanted::Nothing,
        _ if kept == all => Wanted::Whole,
        rows => Wanted::Some { plan, rows },
    })
}

/// The directory of a file; `None` where it has none that can be used.
async fn directory(reader: &mut dyn AsyncFileReader) -> Result<Option<Arc<Directory>>> {
    let footer = reader.get_metadata(None).await?;
    let metadata = footer.file_metadata();
    let entries = metadata.key_value_metadata().into_iter().flatten();
    let place = entries.filter(|entry| entry.key == KEY).find_map(|entry| entry.value.as_deref());
    let Some((offset, length)) = place.and_then(|place| place.split_once(' ')) else { return Ok(None) };
    let (Ok(offset), Ok(length)) = (offset.parse::<u64>(), length.parse::<u64>()) else { return Ok(None) };
    let bytes = reader.get_bytes(offset..offset.saturating_add(length)).await?;
    let Ok(directory) = serde_json::from_slice::<Directory>(&bytes) else { return Ok(None) };
    // Were it of another file, a selection of its rows would be wrong.
    let is_of_it = directory.rule == rule()
        && directory.groups.len() == footer.num_row_groups()
        && directory
            .groups
            .iter()
            .zip(footer.row_groups())
            .all(|(group, row_group)| i64::try_from(group.rows).is_ok_and(|rows| rows == row_group.num_rows()));
    Ok(is_of_it.then(|| Arc::new(directory)))
}

/// The filters of some columns, those that are not in memory read at once.
async fn blocks(
    extent: ExtentId,
    directory: &Directory,
    columns: &[&str],
    reader: &mut dyn AsyncFileReader,
) -> Result<HashMap<Key, Blocks>> {
    let mut found = HashMap::new();
    let mut missing: Vec<(Key, &Filters, Range<u64>)> = Vec::new();
    {
        let mut cache = CACHE.lock();
        for (place, group) in directory.groups.iter().enumerate() {
            for filters in group.columns.iter().filter(|filters| columns.contains(&filters.column.as_str())) {
                let key = (extent, filters.column.clone(), place);
                match cache.get(&key) {
                    Some(blocks) => {
                        found.insert(key, blocks);
                    }
                    None => {
                        let bytes = filters.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
                        missing.push((key, filters, filters.offset..filters.offset.saturating_add(bytes)));
                    }
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let parts = reader.get_byte_ranges(missing.iter().map(|(_, _, range)| range.clone()).collect()).await?;
    let read: Vec<(Key, Blocks, usize)> = missing
        .into_iter()
        .zip(parts)
        .filter_map(|((key, filters, _), bytes)| Some((key, Arc::new(cut(filters, &bytes)?), bytes.len())))
        .collect();
    let mut cache = CACHE.lock();
    for (key, blocks, bytes) in read {
        cache.put(key.clone(), Arc::clone(&blocks), bytes);
        found.insert(key, blocks);
    }
    Ok(found)
}

/// Filters out of their bytes; `None` when there are too few, or one is empty, which knows nothing.
fn cut(filters: &Filters, mut bytes: &[u8]) -> Option<Vec<Sbbf>> {
    let mut blocks = Vec::with_capacity(filters.sizes.len());
    for size in &filters.sizes {
        let (filter, rest) = bytes.split_at_checked(usize::try_from(*size).ok()?)?;
        if filter.is_empty() {
            return None;
        }
        blocks.push(Sbbf::new(filter));
        bytes = rest;
    }
    Some(blocks)
}
