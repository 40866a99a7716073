//! Answers as the service gives them: named, typed streams of batches in the engine's forms.

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tidewater_kql::TableSchema;

use crate::error::{Error, Result};

/// A table of an answer. Its rows come once, in batches whose columns are those of `schema`.
pub struct ResultTable {
    /// The table's name for a bare table reference, else `PrimaryResult`.
    pub name: String,
    /// Columns with their KQL types.
    pub schema: TableSchema,
    /// What `render` asked for, as an object with the members of kusto-rest section 5.
    pub visualization: Option<Value>,
    /// Whether the rows come in an order the query asked for.
    pub is_sorted: bool,
    /// The rows. After an `Err` nothing follows: what came before it is a partial result.
    pub rows: BoxStream<'static, Result<RecordBatch>>,
}

impl ResultTable {
    /// A table of rows that are there already.
    pub fn of_batch(name: impl Into<String>, schema: TableSchema, batch: RecordBatch) -> Self {
        let rows = futures::stream::iter([Ok(batch)]).boxed();
        Self { name: name.into(), schema, visualization: None, is_sorted: false, rows }
    }

    /// All rows, for callers that know they are few.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.rows.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl std::fmt::Debug for ResultTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultTable").field("name", &self.name).field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// The answer to a query: its results, in the order of its statements.
#[derive(Debug)]
pub struct QueryAnswer {
    /// To be read in order, each to its end or its error.
    pub results: Vec<ResultTable>,
    /// Options as they stand after `set` statements, for the front that encodes the answer.
    pub options: crate::context::RequestOptions,
}

/// The answer to a management command.
#[derive(Debug)]
pub enum CommandAnswer {
    /// A command alone: one table.
    Table(ResultTable),
    /// A command with a query pipe: answered like a query.
    Query(QueryAnswer),
}

/// An error as the item that ends a table's rows.
pub fn failed(error: Error) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::iter([Err(error)]).boxed()
}
