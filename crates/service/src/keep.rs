//! A query's rows into an internal table: stored query results, graph snapshots, the materialized part of views.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use tidewater_kql::TableSchema;
use tidewater_store::{DatabaseId, NewTable, StagedExtent, TableSpec, Target};
use uuid::Uuid;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::limits::{Bounds, bounded};
use crate::service::Service;
use crate::view::View;

/// Rows on disk that no commit names yet.
pub(crate) struct Kept {
    /// What the rows look like.
    pub schema: TableSchema,
    /// The files.
    pub staged: Vec<StagedExtent>,
    /// How many rows there are.
    pub rows: u64,
    /// The first of them.
    pub preview: Vec<RecordBatch>,
}

/// The one result of a query that is to be kept, not started yet.
pub(crate) struct Running {
    result: tidewater_plan::PlannedResult,
}

impl Running {
    /// Its columns.
    pub fn schema(&self) -> &TableSchema {
        &self.result.schema
    }
}

/// A table for rows of these columns; it exists once a commit creates it.
pub(crate) fn new_table(service: &Service, database: DatabaseId, schema: &TableSchema) -> Result<NewTable> {
    let spec = TableSpec::internal(format!("$internal {}", Uuid::new_v4()), schema.clone());
    Ok(service.store().new_table(database, &spec)?)
}

/// Plans a text that must have one result.
pub(crate) async fn plan(service: &Service, context: &Context, view: &View, text: &str) -> Result<Running> {
    let mut planned = service.plan(context, text, view, ()).await?;
    if planned.results.len() != 1 {
        let count = planned.results.len();
        return Err(Error::bad_request(format!("the query must have one result to keep, found {count}")));
    }
    let result = planned.results.remove(0);
    if result.schema.columns.is_empty() {
        return Err(Error::bad_request("the query's result has no columns to keep"));
    }
    Ok(Running { result })
}

/// Runs a query and writes its rows for `target`, whose columns must have the types of the result's, in their order.
pub(crate) async fn write(
    service: &Service,
    context: &Context,
    running: Running,
    target: &Target,
    preview: usize,
) -> Result<Kept> {
    let (rows, result) = service.plain_rows(context, running.result).await?;
    let mut rows = bounded(rows, Bounds::NONE, context.deadline, context.cancel.clone(), &context.usage, ());
    let mut writer = service.store().writer_task(target);
    let mut kept = Kept { schema: result.schema, staged: Vec::new(), rows: 0, preview: Vec::new() };
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let missing = (preview as u64).saturating_sub(kept.rows);
        if missing > 0 {
            let count = batch.num_rows().min(usize::try_from(missing).unwrap_or(usize::MAX));
            kept.preview.push(batch.slice(0, count));
        }
        kept.rows += batch.num_rows() as u64;
        let batch = RecordBatch::try_new(Arc::clone(target.schema()), batch.columns().to_vec())
            .map_err(|error| Error::internal(error.to_string()))?;
        writer.write(batch).await?;
    }
    kept.staged = writer.finish().await?;
    Ok(kept)
}
