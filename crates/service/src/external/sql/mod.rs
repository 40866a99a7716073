//! Queries of other databases: `mysql_request`, `postgresql_request`.
//!
//! Input: a call of the binder with a connection string, a query and parameters. Output: a table that asks the database when
//! it is read, batch by batch; whoever stops reading ends the query. Source: mysql_request, postgresql_request and
//! callout-policy pages. No secret of a connection string goes into a message.

mod cells;
mod mysql;
mod postgres;
mod target;
mod text;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as EngineResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use tidewater_kql::{Column, TableSchema};
use tidewater_plan::{ExternalCall, SqlCall, SqlKind};
use tokio::sync::mpsc::Sender;

use super::External;
use crate::error::{Error, Fault, Result};
use cells::{Cell, Rows};
use target::Target;

pub(super) use target::standard_port;

/// Rows of a batch that goes to the engine.
const BATCH_ROWS: usize = 4_096;
/// How long connecting may take.
const CONNECT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

impl External {
    /// The call as a table.
    ///
    /// *Errors*: a connection string that cannot be read; a server that settings do not allow.
    pub(super) fn sql(&self, call: &SqlCall) -> Result<Arc<dyn TableProvider>> {
        let target = Target::parse(call.kind, &call.connection)?;
        self.policy.check_database(call.kind, &target.host, target.port)?;
        let schema = ExternalCall::Sql(call.clone()).schema();
        Ok(Arc::new(SqlTable { asked: Arc::new(Asked { call: call.clone(), target, schema }) }))
    }
}

/// The host and the port that a call goes to.
pub(super) fn target_of(call: &SqlCall) -> Result<(String, u16)> {
    let target = Target::parse(call.kind, &call.connection)?;
    Ok((target.host, target.port))
}

/// What is asked of whom.
struct Asked {
    call: SqlCall,
    target: Target,
    schema: TableSchema,
}

impl Asked {
    async fn send(&self, rows: &mut Rows) -> Result<()> {
        match self.call.kind {
            SqlKind::PostgreSql => postgres::ask(&self.call, &self.target, rows).await,
            SqlKind::MySql => mysql::ask(&self.call, &self.target, rows).await,
        }
    }

    /// A fault of the other side, with the server's own words.
    fn failed(kind: SqlKind, reason: impl std::fmt::Display) -> Error {
        Error::new(Fault::BadData, format!("{}() failed: {reason}", kind.plugin()))
    }
}

/// Tells the columns, or makes sure that they are those that were declared.
///
/// *Errors*: other names, another number of them, types that do not fit. Source: both pages' notes.
async fn agree(call: &SqlCall, found: &[Column], rows: &mut Rows) -> Result<bool> {
    let Some(declared) = &call.schema else {
        let told: Vec<(&str, &str)> = found.iter().map(|column| (column.name.as_str(), column.ty.name())).collect();
        rows.push(vec![Cell::Text(serde_json::json!(told).to_string())]).await?;
        return Ok(false);
    };
    let described = |columns: &[Column]| -> String {
        columns.iter().map(|column| format!("{}:{}", column.name, column.ty.name())).collect::<Vec<_>>().join(", ")
    };
    let fits = declared.columns.len() == found.len()
        && declared
            .columns
            .iter()
            .zip(found)
            .all(|(declared, found)| declared.name == found.name && cells::fits(found.ty, declared.ty));
    if fits {
        return Ok(true);
    }
    let (wanted, found) = (described(&declared.columns), described(found));
    Err(Asked::failed(call.kind, format!("the output schema is ({wanted}), but the query has the columns ({found})")))
}

/// A call as the engine reads it.
struct SqlTable {
    asked: Arc<Asked>,
}

impl std::fmt::Debug for SqlTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlTable").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for SqlTable {
    fn schema(&self) -> SchemaRef {
        self.asked.schema.arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let whole = self.schema();
        let wanted = projection.cloned().unwrap_or_else(|| (0..whole.fields().len()).collect());
        let schema: SchemaRef = Arc::new(whole.project(&wanted)?);
        let stream = Arc::new(Answer { asked: Arc::clone(&self.asked), wanted, schema: Arc::clone(&schema) });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![stream], None, None, false, limit)?))
    }
}

struct Answer {
    asked: Arc<Asked>,
    wanted: Vec<usize>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl PartitionStream for Answer {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let sender: Sender<EngineResult<RecordBatch>> = builder.tx();
        let asked = Arc::clone(&self.asked);
        let (wanted, schema) = (self.wanted.clone(), Arc::clone(&self.schema));
        // The task ends with the stream, and the connection with the task.
        builder.spawn(async move {
            let mut rows = Rows::new(asked.call.kind, &asked.schema, wanted, schema, sender);
            asked.send(&mut rows).await.map_err(Error::into_engine)?;
            rows.finish().await.map_err(Error::into_engine)
        });
        builder.build()
    }
}
