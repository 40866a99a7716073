//! Carries a job out: waits for its turn, runs the statement, stores the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures::{FutureExt, Stream, StreamExt};
use tidewater_formats::{Rejects, engine_batch};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::CatalogView;
use tidewater_plan::session::task_context;
use tidewater_plan::sql::{self, SqlFault, SqlRows, SqlScope, Statement, TableName, fault_of, plan_rows};
use tidewater_store::{Commit, TableSpec};

use super::results::{KeptRows, kept_batch, kept_schema, shown_tables};
use super::{Body, JobError, KIND, Live, State, Target};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::{Error, Fault, Result};
use crate::identity::Identity;
use crate::journal::{Mark, Sort};
use crate::memory::{self, MemoryBounds};
use crate::query::plan_context;
use crate::rights::roles::admins_of_new;
use crate::service::Service;
use crate::usage::{Phase, Usage};
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
    pub(super) live: Live,
    pub(super) usage: Usage,
    pub(super) identity: Arc<Identity>,
}

/// What a finished statement did.
#[derive(Default)]
struct Done {
    rows: u64,
    created: Option<(String, String)>,
    kept: Option<KeptRows>,
}

/// Why a statement did not finish.
enum Stopped {
    /// Somebody cancelled it.
    Cancelled,
    /// Its time was over.
    TimedOut(Duration),
    /// It met a fault.
    Fault(SqlFault),
}

impl From<SqlFault> for Stopped {
    fn from(fault: SqlFault) -> Self {
        Stopped::Fault(fault)
    }
}

impl Stopped {
    /// The state it ends in, and what `errors` holds then.
    fn end(self) -> (State, Vec<JobError>) {
        let (state, fault) = match self {
            Stopped::Cancelled => return (State::Killed, Vec::new()),
            Stopped::TimedOut(time) => {
                let message = format!("the query ran over its limit of {} s", time.as_secs());
                (State::Timeout, SqlFault::new(sql::LIMIT_EXCEEDED, message))
            }
            Stopped::Fault(fault) => (State::Failed, fault),
        };
        let error_type = if fault.is_user_error() { "USER_ERROR" } else { "SYSTEM_ERROR" }.to_string();
        (state, vec![JobError { code: fault.code.to_string(), error_type, message: fault.message }])
    }
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

/// What the names of a statement mean: the tables of one database, or of all with the default one first.
pub(super) fn scope(
    service: &Service,
    context: &Context,
    database: Option<&str>,
) -> Result<(SqlScope, View), SqlFault> {
    let snapshot = service.store().snapshot();
    if let Some(database) = database
        && snapshot.database(database).is_none()
    {
        return Err(SqlFault::new(UNKNOWN_DATABASE, format!("the database '{database}' does not exist")));
    }
    let current = database.unwrap_or(DEFAULT_DATABASE);
    let seen = View::new(service, context, Arc::clone(&snapshot), current).map_err(|error| system(&error))?;
    let mut search = vec![seen.current_database().to_string()];
    if database.is_none() {
        let names = seen.database_names();
        search.retain(|name| names.contains(name));
        search.extend(names.into_iter().filter(|name| name != seen.current_database()));
    } else if let Some(database) = snapshot.database(current) {
        seen.access().require_query(database).map_err(|error| forbidden(&error))?;
    }
    let view: Arc<dyn CatalogView> = Arc::new(seen.clone());
    let context = Arc::new(plan_context(context).map_err(|error| system(&error))?);
    Ok((SqlScope { view, search, context }, seen))
}

/// The refusal of what exists and may not be read, where a name did not resolve for that reason: it says more.
pub(super) fn forbidden_name(fault: &SqlFault, seen: &View) -> Option<Error> {
    matches!(fault.code, sql::UNKNOWN_TABLE | UNKNOWN_DATABASE).then(|| seen.denial()).flatten()
}

impl Run {
    pub(super) async fn carry_out(self, service: &Service) {
        let outcome = AssertUnwindSafe(self.run(service)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(job = self.id, "a job panicked");
            Err(SqlFault::new(sql::SYSTEM, "an internal error stopped the query").into())
        });
        let mut end = State::Success;
        let stored = match outcome {
            Ok(done) => {
                advance(service, &self.scope, &self.id, State::Success, move |body, _| {
                    body.row_count = done.rows;
                    body.created_dataset = done.created;
                    body.kept = done.kept;
                })
                .await
            }
            Err(stopped) => {
                let (state, errors) = stopped.end();
                end = state;
                advance(service, &self.scope, &self.id, state, move |body, _| body.errors = errors).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(job = self.id, %error, "the end of a job could not be stored");
        }
        super::schedules::after_job(service, &self, end).await;
        service.inner().jobs.live.lock().remove(&self.id);
        self.live.ended.cancel();
    }

    async fn run(&self, service: &Service) -> Result<Done, Stopped> {
        let _slot = tokio::select! {
            slot = service.inner().jobs.queue.slot(&self.scope) => slot,
            () = self.live.cancel.cancelled() => return Err(Stopped::Cancelled),
        };
        advance(service, &self.scope, &self.id, State::InProgress, |body, now| body.started = Some(now))
            .await
            .map_err(|error| system(&error))?;
        let time = if self.body.is_ctas || self.body.is_insert { BATCH_TIME } else { QUERY_TIME };
        let context = self.context(time);
        let text = self.body.effective_sql.as_deref().unwrap_or(&self.body.sql);
        let mark = service.inner().journal.begin(Sort::Query, &context, text);
        let outcome = tokio::select! {
            outcome = self.usage.future(Phase::Execution, Box::pin(self.statement(service, &context))) => outcome.map_err(Stopped::from),
            () = self.live.cancel.cancelled() => Err(Stopped::Cancelled),
            () = tokio::time::sleep_until(context.deadline.into()) => Err(Stopped::TimedOut(time)),
        };
        note(&mark, &outcome);
        outcome
    }

    fn context(&self, time: Duration) -> Context {
        let mut context = Context::new(self.body.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_string()));
        context.sign_in(Arc::clone(&self.identity));
        context.client_request_id = self.id.clone();
        context.user = self.body.user.clone();
        context.application = self.body.client.clone();
        context.deadline = Instant::now() + time;
        // `.cancel query` and PATCH end the same token.
        context.cancel = self.live.cancel.clone();
        context.usage = self.usage.clone();
        context
    }

    async fn statement(&self, service: &Service, context: &Context) -> Result<Done, SqlFault> {
        let (scope, seen) = scope(service, context, self.body.database.as_deref())?;
        let outcome = self.within(service, &scope, &seen).await;
        outcome.map_err(|fault| forbidden_name(&fault, &seen).map_or(fault, |denial| forbidden(&denial)))
    }

    /// The statement over what its caller may read, once it is clear that they may do what it does.
    async fn within(&self, service: &Service, scope: &SqlScope, seen: &View) -> Result<Done, SqlFault> {
        let named = |name: &str| TableName { database: None, table: name.to_string() };
        self.check(scope, seen)?;
        match (&self.statement, &self.body.target) {
            (Statement::Rows(query), Some(Target::Create(name))) => {
                self.create(service, scope, &named(name), false, query).await
            }
            (Statement::Rows(query), Some(Target::Insert(name))) => {
                self.insert(service, scope, &named(name), &[], query).await
            }
            (Statement::Rows(query), None) => {
                let rows = self.plan(service, scope, query).await?;
                let names = rows.schema.columns.iter().map(|column| column.name.clone());
                let schema = kept_schema(rows.plan.schema().as_arrow(), names)?;
                let stream = self.stream(service, &rows).await?;
                self.keep(service, schema, stream.map(|batch| batch.map_err(|error| fault_of(&error)))).await
            }
            (Statement::ShowTables, _) => {
                let batch = shown_tables(scope.view.as_ref(), &scope.search)?;
                self.keep(service, batch.schema(), futures::stream::iter([Ok(batch)])).await
            }
            (Statement::CreateTableAs { table, if_not_exists, query }, _) => {
                self.create(service, scope, table, *if_not_exists, query).await
            }
            (Statement::InsertInto { table, columns, query }, _) => {
                self.insert(service, scope, table, columns, query).await
            }
            (Statement::DropTable { table, if_exists }, _) => drop_table(service, scope, table, *if_exists).await,
        }
    }

    /// Writes the rows that a statement returns to where they can be read.
    async fn keep(
        &self,
        service: &Service,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch, SqlFault>>,
    ) -> Result<Done, SqlFault> {
        let kept = KeptRows::new(&self.id, service.rows_until());
        let results = service.store().results();
        let stored = |error: tidewater_store::Error| match error.kind() {
            tidewater_store::ErrorKind::Limit => SqlFault::new(sql::LIMIT_EXCEEDED, error.to_string()),
            _ => of_service(&error.into()),
        };
        let mut writer =
            results.create_rows(kept.name(), Arc::clone(&schema), service.result_limits()).map_err(stored)?;
        let mut count = 0;
        let mut batches = std::pin::pin!(batches);
        while let Some(batch) = batches.next().await {
            let batch = kept_batch(&batch?, &schema)?;
            count += batch.num_rows() as u64;
            writer.write(batch).await.map_err(stored)?;
        }
        writer.finish().await.map_err(stored)?;
        Ok(Done { rows: count, kept: Some(kept), ..Done::default() })
    }

    /// Refuses a statement that writes where its caller may not.
    fn check(&self, scope: &SqlScope, seen: &View) -> Result<(), SqlFault> {
        let named = |name: &String| TableName { database: None, table: name.clone() };
        let (made, filled, dropped) = match (&self.statement, &self.body.target) {
            (Statement::Rows(_), Some(Target::Create(name))) => (Some(named(name)), None, None),
            (Statement::Rows(_), Some(Target::Insert(name))) => (None, Some(named(name)), None),
            (Statement::CreateTableAs { table, .. }, _) => (Some(table.clone()), None, None),
            (Statement::InsertInto { table, .. }, _) => (None, Some(table.clone()), None),
            (Statement::DropTable { table, .. }, _) => (None, None, Some(table.clone())),
            (Statement::Rows(_) | Statement::ShowTables, _) => (None, None, None),
        };
        let access = seen.access();
        let snapshot = seen.snapshot();
        if let Some(name) = made {
            let database = target_database(scope, &name)?;
            if let Some(database) = snapshot.database(&database)
                && !access.may_create(database)
            {
                let action = format!("make entities in database '{}'", database.name());
                return Err(forbidden(&access.refused(&action)));
            }
        }
        for (name, is_drop) in filled.map(|name| (name, false)).into_iter().chain(dropped.map(|name| (name, true))) {
            let Some(handle) = scope.table(&name) else { continue };
            let Some(database) = snapshot.database(&handle.database) else { continue };
            let Some(table) = database.table(&handle.name) else { continue };
            let (may, action) = match is_drop {
                true => (access.is_table_admin(database, table), "administer"),
                false => (access.may_ingest(database, table), "ingest into"),
            };
            if !may {
                let action = format!("{action} table '{}' of database '{}'", table.name(), database.name());
                return Err(forbidden(&access.refused(&action)));
            }
        }
        Ok(())
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
        let runtime = memory::for_query(service.runtime_env(), &self.usage, MemoryBounds::default());
        let task = task_context(session, runtime);
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
                true => Ok(Done::default()),
                false => Err(SqlFault::new(sql::TABLE_EXISTS, format!("the table '{}' exists already", name.table))),
            };
        }
        let rows = self.plan(service, scope, query).await?;
        let snapshot = service.store().snapshot();
        let id = snapshot.database(&database).map(|database| database.id());
        let id = id.ok_or_else(|| SqlFault::new("3D000", format!("the database '{database}' does not exist")))?;
        let spec = TableSpec {
            properties: admins_of_new(&self.context(BATCH_TIME)),
            ..TableSpec::new(name.table.clone(), rows.schema.clone())
        };
        let new_table = service.store().new_table(id, &spec).map_err(|error| of_service(&error.into()))?;
        let writer = service.store().writer_task(&new_table.target());
        let (staged, count) = self.write(service, &rows, &rows.schema, writer, None).await?;
        let commit = Commit::new().create(new_table).add_all(staged, &[]);
        service.store().commit(commit).await.map_err(|error| of_service(&error.into()))?;
        Ok(Done { rows: count, created: Some((database, name.table.clone())), ..Done::default() })
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
        Ok(Done { rows: count, ..Done::default() })
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

fn note(mark: &Arc<Mark>, outcome: &Result<Done, Stopped>) {
    match outcome {
        Ok(_) => {}
        Err(Stopped::Cancelled) => mark.fail(&Error::cancelled(None)),
        Err(Stopped::TimedOut(_)) => mark.fail(&Error::timeout()),
        Err(Stopped::Fault(fault)) => mark.fail(&Error::bad_request(fault.message.clone())),
    }
}

fn system(error: &Error) -> SqlFault {
    tracing::error!(%error, "a job met an internal error");
    SqlFault::new(sql::SYSTEM, "an internal error stopped the query")
}

/// SQLSTATE of what the caller may not do.
const FORBIDDEN: &str = "42501";
const UNKNOWN_DATABASE: &str = "3D000";

fn forbidden(error: &Error) -> SqlFault {
    SqlFault::new(FORBIDDEN, error.message())
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
    let done = Done::default();
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
    batch: &RecordBatch,
    schema: &TableSchema,
    positions: &[usize],
) -> Result<RecordBatch, DataFusionError> {
    let columns = schema.columns.iter().enumerate().map(|(at, column)| {
        match positions.iter().position(|position| *position == at) {
            Some(given) => Arc::clone(batch.column(given)),
            None => arrow::array::new_null_array(&column.ty.arrow(), batch.num_rows()),
        }
    });
    Ok(RecordBatch::try_new(schema.arrow(), columns.collect())?)
}
