//! Extents that change: moved to another table, rewritten without some of their rows; what their columns weigh.
//!
//! A moved extent gets a new id and a file of its own in its new table's directory. Where the new table reads the file as
//! the old one did, that is a link to the same bytes; otherwise the rows are written again. Either way each row keeps the
//! time and the place in history at which it came, unless the move is to count as a new ingestion.

use std::fs;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::logical_expr::{Expr, ident, when};
use futures::StreamExt;
use parquet::file::metadata::ParquetMetaDataReader;
use tidewater_kql::{Column, KqlType, TableSchema};

use crate::catalog::snapshot::{Extent, ExtentList, Shape, Table};
use crate::catalog::{ExtentRow, ROW_CURSOR, ROW_TIME};
use crate::error::{Error, Result};
use crate::extent::StagedExtent;
use crate::extent::scan::ExtentTable;
use crate::extent::write::Target;
use crate::files::{self, DataFile, Layout};
use crate::id::ExtentId;
use crate::roots::Place;
use crate::store::{Store, blocking};

/// What a column's values weigh in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnSize {
    /// Bytes before compression.
    pub original: u64,
    /// Bytes in the files.
    pub stored: u64,
    /// Bytes of its filters.
    pub index: u64,
}

impl Table {
    /// Where a writer writes rows that keep the time and place in history at which they came, which are the two long
    /// columns behind the table's own.
    pub fn target_with_origins(&self) -> Target {
        Target { shape: Arc::new(self.shape().with_origins()), ..self.target() }
    }

    /// The table's columns and behind them those of [`Table::target_with_origins`].
    pub fn schema_with_origins(&self) -> TableSchema {
        let mut columns = self.schema().columns.clone();
        columns.extend([ROW_TIME, ROW_CURSOR].map(|name| Column::new(name, KqlType::Long)));
        TableSchema::new(columns)
    }
}

impl StagedExtent {
    /// Gives it the creation time of another extent and, unless its rows know better, its place in history.
    pub fn with_origin(mut self, of: &Extent) -> Self {
        self.created = Some(of.created());
        self.origin = Some((of.ingested(), of.ordinal()));
        self
    }
}

impl Store {
    /// Written rows that no commit names yet, as their table will show them; the second one has hidden columns.
    pub fn staged_rows(
        &self,
        target: &Target,
        staged: &[StagedExtent],
    ) -> (Arc<dyn TableProvider>, Arc<dyn TableProvider>) {
        let now = self.now();
        let extents = staged.iter().map(|staged| {
            let row = ExtentRow {
                id: staged.id,
                table: staged.table,
                // They come after everything that is there.
                ordinal: i64::MAX,
                path: staged.path.clone(),
                rows: staged.rows,
                bytes: staged.bytes,
                original_bytes: staged.original_bytes,
                created: staged.created.unwrap_or(now),
                ingested: now,
                tags: vec![],
                columns: staged.columns.clone(),
            };
            Arc::new(Extent::new(row, Arc::clone(&staged.file)))
        });
        let list = ExtentList::new(extents.collect());
        let table = || ExtentTable::of("staged".to_string(), Arc::clone(&target.shape), Arc::clone(&list));
        (Arc::new(table()), Arc::new(table().with_hidden()))
    }

    /// Some extents of a table with the columns of [`Table::schema_with_origins`].
    pub fn rows_with_origins(&self, table: &Table, extents: &[Arc<Extent>]) -> Result<Arc<dyn TableProvider>> {
        Ok(frame(table, extents, table.shape())?.into_view())
    }

    /// A file of an extent's rows for another table of the same columns; `fresh` when they are to count as new there.
    ///
    /// Errors: the tables' columns differ.
    pub async fn rehome(
        &self,
        from: &Table,
        extent: &Arc<Extent>,
        to: &Table,
        fresh: bool,
    ) -> Result<Vec<StagedExtent>> {
        for column in from.columns() {
            if !to.columns().iter().any(|other| other.name == column.name && other.ty == column.ty) {
                let (name, ty) = (&column.name, column.ty.name());
                return Err(Error::Invalid(format!("table '{}' has no column '{name}' of type {ty}", to.name())));
            }
        }
        let has_origins = extent.column(ROW_TIME).is_some();
        if reads_alike(from, extent, to) && !(fresh && has_origins) {
            let (target, extent) = (to.target(), Arc::clone(extent));
            if let Some(staged) = blocking(move || linked(&target, &extent)).await? {
                return Ok(vec![if fresh { StagedExtent { origin: None, ..staged } } else { staged }]);
            }
        }
        let shape = if fresh { to.target() } else { to.target_with_origins() };
        let source = frame(from, std::slice::from_ref(extent), from.shape())?;
        let mut items: Vec<Expr> = Vec::new();
        for column in to.columns() {
            items.push(match from.columns().iter().any(|known| known.name == column.name) {
                true => ident(&column.name),
                false => {
                    let ty = column.ty.field(&column.name).data_type().clone();
                    let null = datafusion::common::ScalarValue::try_from(&ty)?;
                    datafusion::logical_expr::lit(null).alias(&column.name)
                }
            });
        }
        if !fresh {
            items.extend([ROW_TIME, ROW_CURSOR].map(ident));
        }
        let mut rows = source.select(items)?.execute_stream().await?;
        let mut writer = self.writer_task(&shape);
        while let Some(batch) = rows.next().await {
            writer.write(batch?).await?;
        }
        let staged = writer.finish().await?;
        Ok(match fresh {
            true => staged,
            false => staged.into_iter().map(|staged| staged.with_origin(extent)).collect(),
        })
    }

    /// What each column of a table weighs in these of its extents, in the table's order.
    pub async fn column_sizes(&self, table: &Table, extents: &[Arc<Extent>]) -> Result<Vec<ColumnSize>> {
        let (shape, extents) = (Arc::clone(table.shape()), extents.to_vec());
        blocking(move || {
            let mut sizes = vec![ColumnSize::default(); shape.columns.len()];
            for extent in &extents {
                let file = extent.file().chunks(extent.bytes())?;
                let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
                for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
                    let name = chunk.column_path().parts().first().map_or("", String::as_str);
                    let Some(at) = shape.columns.iter().position(|column| column.at_rest() == name) else { continue };
                    let count = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
                    sizes[at].original += count(chunk.uncompressed_size());
                    sizes[at].stored += count(chunk.compressed_size());
                    sizes[at].index += chunk.bloom_filter_length().map_or(0, |bytes| count(i64::from(bytes)));
                }
            }
            Ok(sizes)
        })
        .await
    }
}

/// The rows of extents with their origins.
fn frame(table: &Table, extents: &[Arc<Extent>], shape: &Arc<Shape>) -> Result<datafusion::dataframe::DataFrame> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let source = ExtentTable::of(table.name().to_string(), Arc::clone(shape), ExtentList::new(extents.to_vec()));
    let mut items: Vec<Expr> = shape.columns.iter().map(|column| ident(&column.name)).collect();
    for (row, extent) in [(ROW_TIME, "$extent_time"), (ROW_CURSOR, "$extent_cursor")] {
        // Written out, since a plan that is not optimized cannot run `coalesce`.
        items.push(when(ident(row).is_not_null(), ident(row)).otherwise(ident(extent))?.alias(row));
    }
    Ok(context.read_table(Arc::new(source.with_hidden()))?.select(items)?)
}

/// Whether a table reads a file as the table reads it that wrote it.
fn reads_alike(from: &Table, extent: &Extent, to: &Table) -> bool {
    to.columns().iter().all(|column| match from.columns().iter().find(|known| known.name == column.name) {
        Some(known) => known.at_rest() == column.at_rest(),
        // A column that only the new table has must not find an old one's data in the file.
        None => extent.column(column.at_rest()).is_none(),
    })
}

/// The same file under a name of its own; `None` where the file system has no links.
fn linked(target: &Target, extent: &Arc<Extent>) -> Result<Option<StagedExtent>> {
    let directory = target.directory.path();
    let id = ExtentId::random();
    let path = directory.join(format!("{id}.parquet"));
    let file = match (extent.file().place(), target.directory.place()) {
        (Place::Store(from), Place::Store(to)) if Arc::ptr_eq(from, to) => {
            let file = DataFile::staged(path, Arc::clone(&target.directory));
            to.copy(&extent.file().relative(), &file.relative())?;
            file
        }
        (Place::Home(_) | Place::Directory(_), to @ (Place::Home(_) | Place::Directory(_))) => {
            to.check_writable(target.database)?;
            files::create_directory(directory)?;
            if fs::hard_link(extent.file().path(), &path).is_err() {
                return Ok(None);
            }
            files::sync_directory(directory)?;
            DataFile::staged(path, Arc::clone(&target.directory))
        }
        _ => return Ok(None),
    };
    Ok(Some(StagedExtent {
        id,
        table: target.table(),
        path: Layout::extent_path(target.database, target.table(), id),
        rows: extent.rows(),
        bytes: extent.bytes(),
        original_bytes: extent.original_bytes(),
        columns: extent.all_columns().to_vec(),
        file,
        created: Some(extent.created()),
        origin: Some((extent.ingested(), extent.ordinal())),
    }))
}
