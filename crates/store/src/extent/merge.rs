//! Merging: few large extents instead of many small ones, in one commit.
//!
//! Rows are read through the same scan that queries use and written by the same writer, so a merge also sorts its
//! rows by time and brings them to the table's present columns. Extents are merged in commit order, and only with
//! such as carry the same `drop-by:` tags, so that dropping by tag stays exact; other tags are united. What is merged is
//! not new: its place in history is that of its youngest part, and each row keeps its own.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, ident};
use futures::StreamExt;

use crate::catalog::commit::Commit;
use crate::catalog::snapshot::{Extent, ExtentList, Table};
use crate::catalog::{ROW_CURSOR, ROW_TIME};
use crate::error::{Entity, Error, Result};
use crate::extent::scan::ExtentTable;
use crate::extent::write::{ExtentWriterTask, Target};
use crate::id::{ExtentId, TableId};
use crate::store::Store;

/// Prefix of tags that keep extents apart. Source: "Extent tags" page.
const DROP_BY: &str = "drop-by:";

/// Small extents of like size that [`Store::merge_due`] waits for before it rewrites them: each row is rewritten
/// about once each time the extent it is in has grown so many times.
const TIER_WIDTH: usize = 8;

/// Most characters of a merged extent's tags. Source: merge policy page.
const MAX_TAG_LENGTH: usize = 1_000_000;

/// What of a table may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRules {
    /// Most rows of a merged extent.
    pub rows: u64,
    /// Most bytes of its values before encoding.
    pub original_bytes: u64,
    /// Most extents that become one.
    pub extents: usize,
    /// Longest time between the creation of two of them, in ticks.
    pub range: i64,
    /// Only extents created since then, in ticks.
    pub since: i64,
}

impl Default for MergeRules {
    fn default() -> Self {
        Self { rows: u64::MAX, original_bytes: u64::MAX, extents: usize::MAX, range: i64::MAX, since: i64::MIN }
    }
}

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Extents that are gone.
    pub merged: Vec<ExtentId>,
    /// Extents that hold their rows now.
    pub created: Vec<ExtentId>,
    /// Rows rewritten.
    pub rows: u64,
}

/// Merges all small neighbours of a table.
pub(crate) async fn merge_table(store: &Store, id: TableId, rules: &MergeRules) -> Result<MergeReport> {
    let snapshot = store.snapshot();
    let table = snapshot.table_by_id(id).ok_or_else(|| Error::not_found(Entity::Table, id))?;
    let mut report = MergeReport::default();
    for group in groups(table, store, rules) {
        merge_group(store, table, &group, &mut report).await?;
    }
    Ok(report)
}

/// Merges these extents of a table, which must carry the same `drop-by:` tags.
pub(crate) async fn merge_extents(store: &Store, id: TableId, wanted: &[ExtentId]) -> Result<MergeReport> {
    let snapshot = store.snapshot();
    let table = snapshot.table_by_id(id).ok_or_else(|| Error::not_found(Entity::Table, id))?;
    let group: Vec<_> = table.extents().iter().filter(|extent| wanted.contains(&extent.id())).cloned().collect();
    let mut report = MergeReport::default();
    let Some(first) = group.first() else { return Ok(report) };
    if group.iter().any(|extent| drop_tags(extent) != drop_tags(first)) {
        return Err(Error::Invalid("extents with different 'drop-by:' tags are not merged".into()));
    }
    merge_group(store, table, &group, &mut report).await?;
    Ok(report)
}

/// Merges, in every table, what has become worth the work.
pub(crate) async fn merge_due(store: &Store) -> Result<MergeReport> {
    let mut report = MergeReport::default();
    let tables: Vec<TableId> = store.snapshot().databases().flat_map(|d| d.stored_tables()).map(|t| t.id()).collect();
    for id in tables {
        for group in due(store, id, &MergeRules::default()) {
            let done = merge_extents(store, id, &group).await?;
            report.merged.extend(done.merged);
            report.created.extend(done.created);
            report.rows += done.rows;
        }
    }
    Ok(report)
}

/// Groups of a table's extents that are worth a merge each; none for a table that is gone.
pub(crate) fn due(store: &Store, id: TableId, rules: &MergeRules) -> Vec<Vec<ExtentId>> {
    let snapshot = store.snapshot();
    let Some(table) = snapshot.table_by_id(id) else { return Vec::new() };
    let groups = groups(table, store, rules);
    let tiers = groups.iter().flat_map(|group| tiers(group));
    tiers.map(|tier| tier.iter().map(|extent| extent.id()).collect()).collect()
}

/// Runs of small extents that may become one.
fn groups(table: &Table, store: &Store, rules: &MergeRules) -> Vec<Vec<Arc<Extent>>> {
    let options = &store.options().write;
    let (most_rows, most_bytes) = (options.extent_rows.min(rules.rows), options.extent_bytes);
    let is_small = |extent: &Extent| extent.rows() <= most_rows / 2 && extent.bytes() <= most_bytes / 2;
    let mut groups: Vec<Group> = vec![];
    // The group that still grows, for each set of `drop-by:` tags: extents of several sets may come in turns.
    let mut open: HashMap<Vec<&String>, usize> = HashMap::new();
    let may = |extent: &Extent| is_small(extent) && extent.created() >= rules.since;
    for extent in table.extents().iter().filter(|extent| may(extent)) {
        let at = open.entry(drop_tags(extent)).or_insert(usize::MAX);
        let fits = groups.get(*at).is_some_and(|group| {
            group.extents.len() < rules.extents
                && group.tags + tag_length(extent) <= MAX_TAG_LENGTH
                && group.rows + extent.rows() <= most_rows
                && group.bytes + extent.bytes() <= most_bytes
                && group.original + extent.original_bytes() <= rules.original_bytes
                && group.newest.max(extent.created()).abs_diff(group.oldest.min(extent.created()))
                    <= rules.range.unsigned_abs()
        });
        if !fits {
            *at = groups.len();
            groups.push(Group { oldest: extent.created(), newest: extent.created(), ..Group::default() });
        }
        let group = &mut groups[*at];
        group.rows += extent.rows();
        group.bytes += extent.bytes();
        group.original += extent.original_bytes();
        group.tags += tag_length(extent);
        group.oldest = group.oldest.min(extent.created());
        group.newest = group.newest.max(extent.created());
        group.extents.push(Arc::clone(extent));
    }
    groups.into_iter().map(|group| group.extents).filter(|extents| extents.len() > 1).collect()
}

/// Extents that become one, and what they have together.
#[derive(Default)]
struct Group {
    extents: Vec<Arc<Extent>>,
    rows: u64,
    bytes: u64,
    original: u64,
    tags: usize,
    oldest: i64,
    newest: i64,
}

/// Parts of a group whose extents are of like size and many enough.
fn tiers(group: &[Arc<Extent>]) -> Vec<Vec<Arc<Extent>>> {
    let tier = |extent: &Extent| extent.rows().max(1).ilog(TIER_WIDTH as u64);
    let mut tiers: Vec<Vec<Arc<Extent>>> = vec![];
    for extent in group {
        match tiers.iter_mut().find(|known| tier(&known[0]) == tier(extent)) {
            Some(known) => known.push(Arc::clone(extent)),
            None => tiers.push(vec![Arc::clone(extent)]),
        }
    }
    tiers.retain(|extents| extents.len() >= TIER_WIDTH);
    tiers
}

fn tag_length(extent: &Extent) -> usize {
    extent.tags().iter().map(String::len).sum()
}

fn drop_tags(extent: &Extent) -> Vec<&String> {
    let mut tags: Vec<&String> = extent.tags().iter().filter(|tag| tag.starts_with(DROP_BY)).collect();
    tags.sort();
    tags
}

async fn merge_group(store: &Store, table: &Table, group: &[Arc<Extent>], report: &mut MergeReport) -> Result<()> {
    // One partition reads the extents one after the other; the rows in flight are all the memory it needs.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let source = ExtentTable::of(table.name().to_string(), Arc::clone(table.shape()), ExtentList::new(group.to_vec()));
    // Each row keeps the time and the place in history at which it came.
    let shape = Arc::new(table.shape().with_origins());
    let mut items: Vec<Expr> = table.shape().columns.iter().map(|column| ident(&column.name)).collect();
    for (row, extent) in [(ROW_TIME, "$extent_time"), (ROW_CURSOR, "$extent_cursor")] {
        items.push(coalesce(vec![ident(row), ident(extent)]).alias(row));
    }
    let frame = context.read_table(Arc::new(source.with_hidden()))?.select(items)?;
    let mut rows = frame.execute_stream().await?;
    let writer = store.writer(&Target { shape, ..table.target() }).for_good();
    let mut writer = ExtentWriterTask::start(writer);
    while let Some(batch) = rows.next().await {
        writer.write(batch?).await?;
    }
    let staged = writer.finish().await?;
    let expected: u64 = group.iter().map(|extent| extent.rows()).sum();
    let written: u64 = staged.iter().map(|extent| extent.rows()).sum();
    if written != expected {
        return Err(Error::Corrupt(format!("a merge of {expected} rows of '{}' gave {written}", table.name())));
    }
    let mut tags: Vec<String> = vec![];
    for tag in group.iter().flat_map(|extent| extent.tags()) {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let created = group.iter().map(|extent| extent.created()).max().unwrap_or_default();
    let Some(youngest) = group.iter().max_by_key(|extent| extent.ordinal()) else { return Ok(()) };
    let mut commit = Commit::new();
    for extent in group {
        commit = commit.drop_extent(table.id(), extent.id());
    }
    let commit =
        commit.add_all(staged.into_iter().map(|extent| extent.with_origin(youngest).with_created(created)), &tags);
    match store.commit(commit).await {
        Ok(committed) => {
            report.merged.extend(group.iter().map(|extent| extent.id()));
            report.created.extend(committed.extents);
            report.rows += written;
            Ok(())
        }
        // A source was dropped while it was being rewritten. Nothing has changed, and nothing needs to.
        Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
