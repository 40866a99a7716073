//! Commands that move, replace, drop, merge and tag extents. Each is one commit: readers see all of it or nothing.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;
use tidewater_kql::ast::{Name, Property};
use tidewater_kql::command::{ExtentChoice, ExtentStatistics, Inner, TagEdit, Trim, property_flag, property_text};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_store::{Commit, Extent, Snapshot, Table};
use uuid::Uuid;

use super::{Request, inner_rows};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::policies::{self, PartitioningPolicy};
use crate::stored::{self, StoredView};
use crate::table::{Cell, Columns, TableBuilder};
use crate::updates::{Ingestion, NewRows, dependents, with_additions};

const MOVED: Columns =
    &[("OriginalExtentId", KqlType::String), ("ResultExtentId", KqlType::String), ("Details", KqlType::String)];

const DROPPED: Columns =
    &[("ExtentId", KqlType::Guid), ("TableName", KqlType::String), ("CreatedOn", KqlType::DateTime)];

const TAGGED: Columns = &[
    ("OriginalExtentId", KqlType::String),
    ("ResultExtentId", KqlType::String),
    ("ResultExtentTags", KqlType::String),
    ("Details", KqlType::String),
];

const MERGED: Columns =
    &[("OriginalExtentId", KqlType::String), ("ResultExtentId", KqlType::String), ("Duration", KqlType::TimeSpan)];

/// An extent with its table.
type Chosen = (Arc<Table>, Arc<Extent>);

/// A row of a query that chooses extents.
struct Listed {
    id: Uuid,
    table: Option<String>,
    tags: Vec<String>,
}

fn parsed_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| Error::bad_request(format!("'{text}' is not the id of an extent")))
}

/// The columns of a choosing query, which may give more of them.
async fn listed(table: ResultTable) -> Result<Vec<Listed>> {
    let schema = table.schema.clone();
    let find = |name: &str| schema.index_of(name);
    let Some(id) = find("ExtentId") else {
        return Err(Error::bad_request("the query must have a column 'ExtentId'"));
    };
    let (name, tags) = (find("TableName"), find("Tags"));
    let mut found = Vec::new();
    for batch in table.collect().await? {
        for row in 0..batch.num_rows() {
            let Some(id) = id_at(&batch, &schema, id, row)? else { continue };
            let text = |at: Option<usize>| at.map(|at| text_at(&batch, &schema, at, row)).transpose();
            let tags = text(tags)?.unwrap_or_default();
            let tags = match serde_json::from_str::<Vec<String>>(&tags) {
                Ok(tags) => tags,
                Err(_) => tags.split("\r\n").filter(|tag| !tag.is_empty()).map(str::to_string).collect(),
            };
            found.push(Listed { id, table: text(name)?, tags });
        }
    }
    Ok(found)
}

fn id_at(batch: &RecordBatch, schema: &TableSchema, at: usize, row: usize) -> Result<Option<Uuid>> {
    let array = batch.column(at);
    if array.is_null(row) {
        return Ok(None);
    }
    match schema.columns[at].ty {
        KqlType::Guid => {
            let bytes = array.as_fixed_size_binary().value(row);
            Ok(Uuid::from_slice(bytes).ok())
        }
        _ => parsed_id(&text_at(batch, schema, at, row)?).map(Some),
    }
}

fn text_at(batch: &RecordBatch, schema: &TableSchema, at: usize, row: usize) -> Result<String> {
    let column = &schema.columns[at];
    if !matches!(column.ty, KqlType::String | KqlType::Dynamic) {
        return Err(Error::bad_request(format!("column '{}' of the query must be a string", column.name)));
    }
    let array = batch.column(at);
    Ok(if array.is_null(row) { String::new() } else { array.as_string_view().value(row).to_string() })
}

/// An extent of the request's database, of a table if one is named.
fn find(request: &Request<'_>, id: Uuid, table: Option<&str>) -> Result<Chosen> {
    let database = request.database()?;
    let found = |table: &Arc<Table>| {
        let extent = table.extents().iter().find(|extent| extent.id().0 == id)?;
        Some((Arc::clone(table), Arc::clone(extent)))
    };
    let chosen = match table {
        Some(name) => found(request.table(name)?),
        None => database.tables().find_map(found),
    };
    chosen.ok_or_else(|| Error::entity_not_found("Extent", &id.to_string()))
}

/// What a command chooses, in the order of the text or the query.
async fn chosen(request: &Request<'_>, choice: &ExtentChoice) -> Result<Vec<Chosen>> {
    match choice {
        ExtentChoice::Ids { ids, table } => {
            let table = table.as_ref().map(|table| table.text.as_str());
            ids.iter().map(|id| find(request, parsed_id(id)?, table)).collect()
        }
        ExtentChoice::Query(query) => {
            let rows = listed(inner_rows(request, *query).await?).await?;
            rows.iter().map(|row| find(request, row.id, row.table.as_deref())).collect()
        }
        ExtentChoice::Tables { tables, older } => {
            let tables: Vec<Arc<Table>> = match tables.is_empty() {
                true => request.database()?.tables().cloned().collect(),
                false => tables.iter().map(|name| request.table(&name.text).cloned()).collect::<Result<_>>()?,
            };
            let before = older.map(|older| request.context.now_ticks.saturating_sub(older));
            let mut all = Vec::new();
            for table in tables {
                for extent in table.extents() {
                    if before.is_none_or(|before| extent.created() < before) {
                        all.push((Arc::clone(&table), Arc::clone(extent)));
                    }
                }
            }
            Ok(all)
        }
    }
}

/// `extentCreatedOnFrom` and `extentCreatedOnTo`.
fn created_between(properties: &[Property]) -> Result<impl Fn(&Extent) -> bool + use<>> {
    let time = |name: &str| match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match tidewater_kql::value::datetime::parse(&text) {
            Some(ticks) => Ok(Some(ticks)),
            None => Err(Error::bad_request(format!("property '{name}' must be a datetime, found '{text}'"))),
        },
    };
    let (from, to) = (time("extentCreatedOnFrom")?, time("extentCreatedOnTo")?);
    Ok(move |extent: &Extent| {
        from.is_none_or(|from| extent.created() >= from) && to.is_none_or(|to| extent.created() <= to)
    })
}

/// Views see only what is new in their source. Source: move extents page, "Restrictions".
fn feeds_a_view(snapshot: &Snapshot, table: &Table) -> bool {
    let Some(database) = snapshot.database_by_id(table.database_id()) else { return false };
    stored::all::<StoredView>(snapshot, database).iter().any(|(_, view)| view.source == table.id())
}

/// The steps that move extents into a table, and a row for each.
async fn moving(
    request: &Request<'_>,
    mut commit: Commit,
    to: &Arc<Table>,
    extents: &[Chosen],
    properties: &[Property],
    out: &mut TableBuilder,
) -> Result<Commit> {
    let fresh = property_flag(properties, "setNewIngestionTime");
    if !fresh && !extents.is_empty() && feeds_a_view(&request.snapshot, to) {
        return Err(Error::bad_request(format!(
            "table '{}' is the source of a materialized view, which would not see the extents; move them with \
             (setNewIngestionTime=true)",
            to.name()
        )));
    }
    let database = request.database()?;
    let has_dependents = !dependents(&request.snapshot, database, to.name()).is_empty();
    for (from, extent) in extents {
        if from.id() == to.id() {
            return Err(Error::bad_request(format!("extent '{}' is in table '{}' already", extent.id(), to.name())));
        }
        let staged = request.service.store().rehome(from, extent, to, fresh).await?;
        let ids: Vec<String> = staged.iter().map(|staged| staged.id().to_string()).collect();
        if has_dependents {
            let rows = NewRows::of(request.service, database, to.name(), to.schema(), &to.target(), &staged);
            // Properties of an ingestion are passed on by ingestions only.
            let ingestion = Ingestion {
                service: request.service,
                context: request.context,
                mark: request.mark,
                snapshot: Arc::clone(&request.snapshot),
                tags: &[],
                created: None,
                replace: false,
            };
            commit = with_additions(commit, ingestion.derive(rows).await?);
        }
        commit = commit.drop_extent(from.id(), extent.id()).add_all(staged, extent.tags());
        out.row(vec![extent.id().to_string().into(), ids.join(",").into(), "".into()]);
    }
    Ok(commit)
}

/// `.move extents`
pub async fn relocate(
    request: &Request<'_>,
    to: &Name,
    choice: &ExtentChoice,
    properties: &[Property],
) -> Result<ResultTable> {
    let to = Arc::clone(request.table(&to.text)?);
    let within = created_between(properties)?;
    let mut extents = chosen(request, choice).await?;
    extents.retain(|(_, extent)| within(extent));
    let mut out = TableBuilder::new(MOVED);
    let commit = moving(request, Commit::new(), &to, &extents, properties, &mut out).await?;
    request.service.store().commit(commit).await?;
    out.finish()
}

/// `.replace extents`
pub async fn replace(
    request: &Request<'_>,
    table: &Name,
    drop: Inner,
    add: Inner,
    properties: &[Property],
) -> Result<ResultTable> {
    let table = Arc::clone(request.table(&table.text)?);
    let within = created_between(properties)?;
    let mut out = TableBuilder::new(MOVED);
    let mut commit = Commit::new();
    for row in listed(inner_rows(request, drop).await?).await? {
        let Some(extent) = table.extents().iter().find(|extent| extent.id().0 == row.id) else {
            return Err(Error::bad_request(format!("extent '{}' is not in table '{}'", row.id, table.name())));
        };
        if within(extent) {
            commit = commit.drop_extent(table.id(), extent.id());
            out.row(vec![row.id.to_string().into(), "".into(), "".into()]);
        }
    }
    let mut extents = chosen(request, &ExtentChoice::Query(add)).await?;
    extents.retain(|(_, extent)| within(extent));
    let commit = moving(request, commit, &table, &extents, properties, &mut out).await?;
    request.service.store().commit(commit).await?;
    out.finish()
}

/// `.drop extents`, `.drop extent`, `.drop-pretend extents`
pub async fn drop(
    request: &Request<'_>,
    pretend: bool,
    choice: &ExtentChoice,
    trim: Option<Trim>,
    limit: Option<u64>,
) -> Result<ResultTable> {
    let mut extents = chosen(request, choice).await?;
    if let Some(trim) = trim {
        // The oldest go until the rest is small enough.
        let size = |extent: &Extent| if trim.by_data_size { extent.original_bytes() } else { extent.bytes() };
        let all = match choice {
            ExtentChoice::Tables { tables, .. } => {
                chosen(request, &ExtentChoice::Tables { tables: tables.clone(), older: None }).await?
            }
            _ => extents.clone(),
        };
        let mut total: u64 = all.iter().map(|(_, extent)| size(extent)).sum();
        extents.sort_by_key(|(_, extent)| extent.created());
        extents.retain(|(_, extent)| {
            let goes = total > trim.bytes;
            total -= if goes { size(extent) } else { 0 };
            goes
        });
    }
    if let Some(limit) = limit {
        extents.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let mut out = TableBuilder::new(DROPPED);
    let mut commit = Commit::new();
    for (table, extent) in &extents {
        commit = commit.drop_extent(table.id(), extent.id());
        out.row(vec![extent.id().0.into(), table.name().into(), extent.created().into()]);
    }
    if !pretend {
        request.service.store().commit(commit).await?;
    }
    out.finish()
}

/// `.alter`, `.alter-merge`, `.drop` `table T extent tags`
pub async fn tag(
    request: &Request<'_>,
    edit: TagEdit,
    table: &Name,
    tags: &[String],
    properties: &[Property],
    query: Option<Inner>,
) -> Result<ResultTable> {
    let table = Arc::clone(request.table(&table.text)?);
    let within = created_between(properties)?;
    // Each extent with the tags that the edit is about.
    let mut wanted: Vec<(Arc<Extent>, Vec<String>)> = Vec::new();
    match query {
        None => wanted.extend(table.extents().iter().map(|extent| (Arc::clone(extent), tags.to_vec()))),
        Some(query) => {
            for row in listed(inner_rows(request, query).await?).await? {
                let Some(extent) = table.extents().iter().find(|extent| extent.id().0 == row.id) else {
                    return Err(Error::bad_request(format!("extent '{}' is not in table '{}'", row.id, table.name())));
                };
                let row_tags = if edit == TagEdit::Remove { row.tags } else { tags.to_vec() };
                match wanted.iter_mut().find(|(known, _)| known.id() == extent.id()) {
                    Some((_, known)) => known.extend(row_tags),
                    None => wanted.push((Arc::clone(extent), row_tags)),
                }
            }
        }
    }
    let mut out = TableBuilder::new(TAGGED);
    let mut commit = Commit::new();
    for (extent, tags) in wanted {
        let new: Vec<String> = match edit {
            TagEdit::Remove => extent.tags().iter().filter(|tag| !tags.contains(tag)).cloned().collect(),
            TagEdit::Set => distinct(tags),
            TagEdit::Add => distinct(extent.tags().iter().cloned().chain(tags).collect()),
        };
        if !within(&extent) || new == extent.tags() {
            continue;
        }
        let id = extent.id().to_string();
        out.row(vec![id.as_str().into(), id.as_str().into(), new.join("\r\n").into(), "".into()]);
        commit = commit.tag(table.id(), extent.id(), new);
    }
    request.service.store().commit(commit).await?;
    out.finish()
}

fn distinct(tags: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        if !all.contains(&tag) {
            all.push(tag);
        }
    }
    all
}

/// `.merge T (ids)`, `.merge dryrun T (ids)`
pub async fn merge(request: &Request<'_>, dry_run: bool, table: &Name, ids: &[String]) -> Result<ResultTable> {
    let began = std::time::Instant::now();
    let table = Arc::clone(request.table(&table.text)?);
    let choice = ExtentChoice::Ids { ids: ids.to_vec(), table: None };
    let mut wanted = Vec::new();
    for (of, extent) in chosen(request, &choice).await? {
        if of.id() != table.id() {
            return Err(Error::bad_request(format!("extent '{}' is not in table '{}'", extent.id(), table.name())));
        }
        wanted.push(extent.id());
    }
    let mut out = TableBuilder::new(MERGED);
    let report = match dry_run {
        true => None,
        false => Some(request.service.store().merge_extents(table.id(), &wanted).await?),
    };
    let duration = crate::context::ticks_of(began.elapsed());
    let result = match &report {
        Some(report) => report.created.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        None => String::new(),
    };
    for id in wanted {
        out.row(vec![id.to_string().into(), result.as_str().into(), duration.into()]);
    }
    out.finish()
}

/// `.show database extents partitioning statistics`, `.show database extent tags statistics`
pub fn statistics(request: &Request<'_>, database: Option<&Name>, what: ExtentStatistics) -> Result<ResultTable> {
    let database = match database {
        Some(name) => request.named_database(&name.text)?,
        None => request.database()?,
    };
    match what {
        ExtentStatistics::Partitioning => {
            let mut out = TableBuilder::new(&[
                ("TableName", KqlType::String),
                ("PartitioningPolicy", KqlType::Dynamic),
                ("TotalRowCount", KqlType::Long),
                ("PartitionedRowCount", KqlType::Long),
                ("PartitionedRowsPercentage", KqlType::Real),
            ]);
            for table in database.tables() {
                if let Some(policy) = policies::of_table::<PartitioningPolicy>(&request.snapshot, table) {
                    // Extents are sorted and pruned by statistics; none is kept to one partition.
                    out.row(vec![
                        table.name().into(),
                        policies::text(Some(policy)).into(),
                        table.row_count().into(),
                        0i64.into(),
                        Cell::Real(0.0),
                    ]);
                }
            }
            out.finish()
        }
        ExtentStatistics::Tags => {
            let mut out = TableBuilder::new(&[
                ("TableName", KqlType::String),
                ("TotalExtentsCount", KqlType::Long),
                ("TaggedExtentsCount", KqlType::Long),
                ("TotalTagsCount", KqlType::Long),
                ("TotalTagsLength", KqlType::Long),
                ("DropByTagsCount", KqlType::Long),
                ("DropByTagsLength", KqlType::Long),
                ("IngestByTagsCount", KqlType::Long),
                ("IngestByTagsLength", KqlType::Long),
            ]);
            for table in database.tables() {
                let tagged = table.extents().iter().filter(|extent| !extent.tags().is_empty()).count();
                let mut cells: Vec<Cell> = vec![table.name().into(), table.extents().len().into(), tagged.into()];
                for prefix in ["", "drop-by:", "ingest-by:"] {
                    let tags = table.extents().iter().flat_map(|extent| extent.tags());
                    let tags: Vec<&String> = tags.filter(|tag| tag.starts_with(prefix)).collect();
                    cells.push(tags.len().into());
                    cells.push(tags.iter().map(|tag| tag.len()).sum::<usize>().into());
                }
                out.row(cells);
            }
            out.finish()
        }
    }
}
