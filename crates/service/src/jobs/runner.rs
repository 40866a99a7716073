//! Carries a job out: waits for its turn, runs the statement, stores the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures::{FutureExt, StreamExt};
use tidewater_formats::{Rejects, engine_batch};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::CatalogView;
use tidewater_plan::session::task_context;
use tidewater_plan::sql::{self, SqlFault, SqlRows, SqlScope, Statement, TableName, fault_of, plan_rows};
use tidewater_store::{Commit, TableSpec};
use tokio_util::sync::CancellationToken;

use super::{Body, JobError, KIND, State, Target};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::{Error, Fault, Result};
use crate::journal::{Mark, Sort};
use crate::service::Service;
use crate::view::View;

/// Time for a statement that returns rows. Source: query-service-api section 20.
const QUERY_TIME: Duration = Duration::from_secs(600);
/// Time for one that writes.
const BATCH_TIME: Duration = Duration::from_secs(24 * 3600);

/// A job on its way.
pub(super) struct Run {
    pub(super) scope: String,
    pub(super) id: String,
    pub(super) body: Body,
    pub(super) statement: Statement,
    pub(super) token: CancellationToken,
}

/// What a finished statement did.
struct Done {
    rows: u64,
    created: Option<(String, String)>,
}

/// Moves a job on, where the states allow it; tells whether it moved.
pub(super) async fn advance(
    service: &Service,
    scope: &str,
    id: &str,
    next: State,
    change: impl FnOnce(&mut Body, i64) + Send + 'static,
) -> Result<bool> {
    let moved = service.store().jobs().update(KIND, scope, id, move |record, now| {
        let state = State::parse(&record.state);
        let body = serde_json::from_value::<Body>(record.value.clone());
        let (Some(state), Ok(mut body)) = (state, body) else { return false };
        if !state.may_become(next) {
            return false;
        }
        change(&mut body, now);
        match serde_json::to_value(&body) {
            Ok(value) => {
                record.value = value;
                record.state = next.name().to_string();
                true
            }
            Err(_) => false,
        }
    });
    Ok(moved.await?.is_some_and(|(_, moved)| moved))
}

impl Run {
    pub(super) async fn carry_out(self, service: &Service) {
        let outcome = AssertUnwindSafe(self.run(service)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(job = self.id, "a job panicked");
            Err(SqlFault::new(sql::SYSTEM, "an internal error stopped the query"))
        });
        let stored = match outcome {
            Ok(done) => {
                advance(service, &self.scope, &self.id, State::Success, move |body, _| {
                    body.row_count = done.rows;
                    body.created_dataset = done.created;
                })
                .await
            }
            Err(fault) => {
                let state = match fault.code {
                    sql::CANCELLED => State::Killed,
                    sql::LIMIT_EXCEEDED => State::Timeout,
                    _ => State::Failed,
                };
                let error = JobError {
                    code: fault.code.to_string(),
                    error_type: if fault.is_user_error() { "USER_ERROR" } else { "SYSTEM_ERROR" }.to_string(),
                    message: fault.message,
                };
                let errors = if state == State::Killed { Vec::new() } else { vec![error] };
                advance(service, &self.scope, &self.id, state, move |body, _| body.errors = errors).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(job = self.id, %error, "the end of a job could not be stored");
        }
        service.inner().jobs.tokens.lock().remove(&self.id);
    }

    async fn run(&self, service: &Service) -> Result<Done, SqlFault> {
        let cancelled = || SqlFault::new(sql::CANCELLED, "the query was cancelled");
        let slots = Arc::clone(&service.inner().jobs.slots);
        let _slot = tokio::select! {
            slot = slots.acquire_owned() => slot.map_err(|_| SqlFault::new(sql::SYSTEM, "the server is stopping"))?,
            () = self.token.cancelled() => return Err(cancelled()),
        };
        advance(service, &self.scope, &self.id, State::InProgress, |body, now| body.started = Some(now))
            .await
            .map_err(|error| system(&error))?;
        let time = if self.body.is_ctas || self.body.is_insert { BATCH_TIME } else { QUERY_TIME };
        let context = self.context(time);
        let text = self.body.effective_sql.as_deref().unwrap_or(&self.body.sql);
        let mark = service.inner().journal.begin(Sort::Query, &context, text);
        let outcome = tokio::select! {
            outcome = self.statement(service, &context) => outcome,
            () = self.token.cancelled() => Err(cancelled()),
            () = tokio::time::sleep_until(context.deadline.into()) => {
                Err(SqlFault::new(sql::LIMIT_EXCEEDED, format!("the query ran over its limit of {} s", time.as_secs())))
            }
        };
        note(&mark, &outcome);
        outcome
    }

    fn context(&self, time: Duration) -> Context {
        let mut context = Context::new(self.body.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_string()));
        context.client_request_id = self.id.clone();
        context.user = self.body.user.clone();
        context.application = self.body.client.clone();
        context.deadline = Instant::now() + time;
        // `.cancel query` and PATCH end the same token.
        context.cancel = self.token.clone();
        context
    }

    async fn statement(&self, service: &Service, context: &Context) -> Result<Done, SqlFault> {
        let snapshot = service.store().snapshot();
        if let Some(database) = &self.body.database
            && snapshot.database(database).is_none()
        {
            return Err(SqlFault::new("3D000", format!("the database '{database}' does not exist")));
        }
        let view = View::new(service, snapshot, &context.database).map_err(|error| system(&error))?;
        let view: Arc<dyn CatalogView> = Arc::new(view);
        let mut search = vec![view.current_database().to_string()];
        if self.body.database.is_none() {
            search.extend(view.database_names().into_iter().filter(|name| name != view.current_database()));
        }
        let scope = SqlScope { view, search };
        let named = |name: &str| TableName { database: None, table: name.to_string() };
        match (&self.statement, &self.body.target) {
            (Statement::Rows(query), Some(Target::Create(name))) => {
                self.create(service, &scope, &named(name), false, query).await
            }
            (Statement::Rows(query), Some(Target::Insert(name))) => {
                self.insert(service, &scope, &named(name), &[], query).await
            }
            (Statement::Rows(query), None) => {
                let rows = self.plan(service, &scope, query).await?;
                let mut stream = self.stream(service, &rows).await?;
                let mut count = 0;
                while let Some(batch) = stream.next().await {
                    count += batch.map_err(|error| fault_of(&error))?.num_rows() as u64;
                }
                Ok(Done { rows: count, created: None })
            }
            (Statement::ShowTables, _) => {
                let count: usize = scope.search.iter().map(|database| scope.view.table_names(database).len()).sum();
                Ok(Done { rows: count as u64, created: None })
            }
            (Statement::CreateTableAs { table, if_not_exists, query }, _) => {
                self.create(service, &scope, table, *if_not_exists, query).await
            }
            (Statement::InsertInto { table, columns, query }, _) => {
                self.insert(service, &scope, table, columns, query).await
            }
            (Statement::DropTable { table, if_exists }, _) => drop_table(service, &scope, table, *if_exists).await,
        }
    }

    async fn plan(&self, service: &Service, scope: &SqlScope, query: &Ast) -> Result<SqlRows, SqlFault> {
        let rows = plan_rows(query, scope, service.sql_session()).await?;
        let references = rows.reads.clone();
        let named = service.store().jobs().amend(KIND, &self.scope, &self.id, move |record| {
            record.value["references"] = serde_json::json!(references);
        });
        named.await.map_err(|error| system(&error.into()))?;
        Ok(rows)
    }

    async fn stream(
        &self,
        service: &Service,
        rows: &SqlRows,
    ) -> Result<datafusion::execution::SendableRecordBatchStream, SqlFault> {
        let session = service.sql_session();
        let physical = session.state().create_physical_plan(&rows.plan).await.map_err(|error| fault_of(&error))?;
        let task = task_context(session, Arc::clone(service.runtime_env()));
        execute_stream(physical, task).map_err(|error| fault_of(&error))
    }

    async fn create(
        &self,
        service: &Service,
        scope: &SqlScope,
        name: &TableName,
        if_not_exists: bool,
        query: &Ast,
    ) -> Result<Done, SqlFault> {
        let database = target_database(scope, name)?;
        let qualified = TableName { database: Some(database.clone()), table: name.table.clone() };
        if scope.table(&qualified).is_some() {
            return match if_not_exists {
                true => Ok(Done { rows: 0, created: None }),
                false => Err(SqlFault::new(sql::TABLE_EXISTS, format!("the table '{}' exists already", name.table))),
            };
        }
        let rows = self.plan(service, scope, query).await?;
        let snapshot = service.store().snapshot();
        let id = snapshot.database(&database).map(|database| database.id());
        let id = id.ok_or_else(|| SqlFault::new("3D000", format!("the database '{database}' does not exist")))?;
        let spec = TableSpec::new(name.table.clone(), rows.schema.clone());
        let new_table = service.store().new_table(id, &spec).map_err(|error| of_service(&error.into()))?;
        let writer = service.store().writer_task(&new_table.target());
        let (staged, count) = self.write(service, &rows, &rows.schema, writer, None).await?;
        let commit = Commit::new().create(new_table).add_all(staged, &[]);
        service.store().commit(commit).await.map_err(|error| of_service(&error.into()))?;
        Ok(Done { rows: count, created: Some((database, name.table.clone())) })
    }

    async fn insert(
        &self,
        service: &Service,
        scope: &SqlScope,
        name: &TableName,
        columns: &[String],
        query: &Ast,
    ) -> Result<Done, SqlFault> {
        let unknown = || SqlFault::new(sql::UNKNOWN_TABLE, format!("the table '{}' does not exist", name.table));
        let handle = scope.table(name).ok_or_else(unknown)?;
        let rows = self.plan(service, scope, query).await?;
        let positions = insert_positions(&handle.schema, columns, &rows.schema)?;
        let snapshot = service.store().snapshot();
        let table = snapshot.table(&handle.database, &handle.name).ok_or_else(unknown)?;
        let given = TableSchema::new(positions.iter().map(|at| handle.schema.columns[*at].clone()).collect());
        let writer = service.store().writer_task(&table.target());
        let (staged, count) = self.write(service, &rows, &given, writer, Some((&handle.schema, &positions))).await?;
        service.store().commit(Commit::new().add_all(staged, &[])).await.map_err(|error| of_service(&error.into()))?;
        Ok(Done { rows: count, created: None })
    }

    /// Streams a query's rows into a writer. `spread` puts the columns at their places in a wider table.
    async fn write(
        &self,
        service: &Service,
        rows: &SqlRows,
        given: &TableSchema,
        mut writer: tidewater_store::ExtentWriterTask,
        spread: Option<(&TableSchema, &[usize])>,
    ) -> Result<(Vec<tidewater_store::StagedExtent>, u64), SqlFault> {
        let mut stream = self.stream(service, rows).await?;
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| fault_of(&error))?;
            let mut rejects = Rejects::default();
            let mut batch = engine_batch(&batch, given, &mut rejects)
                .map_err(|error| SqlFault::new(sql::SYSTEM, error.to_string()))?;
            if let Some(reject) = rejects.samples.first() {
                let message = format!("column '{}': {}", reject.column, reject.message);
                return Err(SqlFault::new("22003", message));
            }
            if let Some((schema, positions)) = spread {
                batch = spread_columns(&batch, schema, positions).map_err(|error| fault_of(&error))?;
            }
            count += batch.num_rows() as u64;
            writer.write(batch).await.map_err(|error| of_service(&error.into()))?;
        }
        let staged = writer.finish().await.map_err(|error| of_service(&error.into()))?;
        Ok((staged, count))
    }
}

fn note(mark: &Arc<Mark>, outcome: &Result<Done, SqlFault>) {
    match outcome {
        Ok(_) => {}
        Err(fault) if fault.code == sql::CANCELLED => mark.fail(&Error::cancelled(None)),
        Err(fault) => mark.fail(&Error::bad_request(fault.message.clone())),
    }
}

fn system(error: &Error) -> SqlFault {
    tracing::error!(%error, "a job met an internal error");
    SqlFault::new(sql::SYSTEM, "an internal error stopped the query")
}

/// A service error as a job's.
fn of_service(error: &Error) -> SqlFault {
    match error.fault() {
        Fault::EntityExists => SqlFault::new(sql::TABLE_EXISTS, error.message()),
        Fault::EntityNotFound => SqlFault::new(sql::UNKNOWN_TABLE, error.message()),
        Fault::OutOfMemory => SqlFault::new(sql::OUT_OF_MEMORY, error.message()),
        Fault::BadRequest | Fault::BadData => SqlFault::new("42000", error.message()),
        _ => system(error),
    }
}

fn target_database(scope: &SqlScope, name: &TableName) -> Result<String, SqlFault> {
    match &name.database {
        None => Ok(scope.search[0].clone()),
        Some(database) => scope
            .view
            .database(database)
            .ok_or_else(|| SqlFault::new("3D000", format!("the database '{database}' does not exist"))),
    }
}

async fn drop_table(service: &Service, scope: &SqlScope, name: &TableName, if_exists: bool) -> Result<Done, SqlFault> {
    let done = Done { rows: 0, created: None };
    let handle = match scope.table(name) {
        Some(handle) => handle,
        None if if_exists => return Ok(done),
        None => return Err(SqlFault::new(sql::UNKNOWN_TABLE, format!("the table '{}' does not exist", name.table))),
    };
    let snapshot = service.store().snapshot();
    if let Some(table) = snapshot.table(&handle.database, &handle.name) {
        service.store().drop_table(table.id()).await.map_err(|error| of_service(&error.into()))?;
    }
    Ok(done)
}

/// Where each column of the query goes in the table; refuses wrong counts and types that would lose values.
fn insert_positions(table: &TableSchema, columns: &[String], query: &TableSchema) -> Result<Vec<usize>, SqlFault> {
    let mut positions = Vec::new();
    for name in columns {
        let exact = table.index_of(name);
        let found = exact.or_else(|| table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)));
        positions.push(
            found.ok_or_else(|| SqlFault::new(sql::UNKNOWN_COLUMN, format!("the column '{name}' does not exist")))?,
        );
    }
    if columns.is_empty() {
        positions = (0..table.columns.len()).collect();
    }
    if positions.len() != query.columns.len() {
        let message = format!("found {} columns, expected {}", query.columns.len(), positions.len());
        return Err(SqlFault::new(sql::SYNTAX, message));
    }
    for (at, found) in positions.iter().zip(&query.columns) {
        let wanted = &table.columns[*at];
        use KqlType::*;
        let fits = wanted.ty == found.ty
            || matches!(
                (found.ty, wanted.ty),
                (Int, Long | Real | Decimal) | (Long, Real | Decimal | Int | TimeSpan) | (Decimal, Real)
            )
            || matches!((found.ty, wanted.ty), (Real, Decimal) | (String, Guid | Dynamic | DateTime));
        if !fits {
            let message = format!("column '{}' is {}, found {}", wanted.name, wanted.ty, found.ty);
            return Err(SqlFault::new(sql::TYPE_MISMATCH, message));
        }
    }
    Ok(positions)
}

fn spread_columns(
    batch: &arrow::array::RecordBatch,
    schema: &TableSchema,
    positions: &[usize],
) -> Result<arrow::array::RecordBatch, DataFusionError> {
    let columns = schema.columns.iter().enumerate().map(|(at, column)| {
        match positions.iter().position(|position| *position == at) {
            Some(given) => Arc::clone(batch.column(given)),
            None => arrow::array::new_null_array(&column.ty.arrow(), batch.num_rows()),
        }
    });
    Ok(arrow::array::RecordBatch::try_new(schema.arrow(), columns.collect())?)
}
