//! Carries a job out: waits for its turn, runs the statement, stores the end.

mod block;
mod define;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures::{FutureExt, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tidewater_formats::{Rejects, engine_batch};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::CatalogView;
use tidewater_plan::session::task_context;
use tidewater_plan::sql::{self, SqlFault, SqlRows, SqlScope, SqlView, Statement, TableName, fault_of, plan_rows};
use tidewater_store::{Commit, TableSpec};

use super::results::{KeptRows, kept_batch, kept_schema, shown_tables};
use super::session::{SessionObjects, SessionScope};
use super::submit::Work;
use super::views::{self, StoredViews};
use super::{Body, JobError, KIND, Live, State, Target, Tenant, kql};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::{Error, Fault, Result};
use crate::identity::Identity;
use crate::journal::{Mark, Sort};
use crate::limits::data_bytes;
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
    pub(super) work: Work,
    pub(super) live: Live,
    pub(super) usage: Usage,
    pub(super) identity: Arc<Identity>,
    /// The session whose statement this is.
    pub(super) session: Option<SessionScope>,
    /// A commit is under way: who cancels now comes too late.
    pub(super) commits: AtomicBool,
}

/// What the commit of a job's data notes for its record.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    rows: u64,
    created: Option<(String, String)>,
}

impl Written {
    /// Brings the record up to date.
    pub(super) fn tell(self, body: &mut Body) {
        body.row_count = self.rows;
        body.created_dataset = self.created;
    }
}

/// What a finished statement did.
#[derive(Default)]
struct Done {
    rows: u64,
    created: Option<(String, String)>,
    kept: Option<KeptRows>,
    /// A view of the session.
    view: Option<SqlView>,
}

impl Done {
    /// What two statements did, one after the other: there is one result, of the last that has one.
    fn then(self, service: &Service, next: Done) -> Done {
        if let (Some(old), Some(_)) = (&self.kept, &next.kept) {
            service.forget_rows(old);
        }
        let says = next.kept.is_some() || next.rows > 0 || next.created.is_some();
        Done {
            rows: if says { next.rows } else { self.rows },
            created: next.created.or(self.created),
            kept: next.kept.or(self.kept),
            view: None,
        }
    }
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
    let views = Arc::new(StoredViews { snapshot: Arc::clone(seen.snapshot()), temporary: HashMap::new() });
    Ok((SqlScope { views, ..SqlScope::new(view, search, context) }, seen))
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
        let used = self.usage.consumption();
        let schedule = self.body.schedule.as_ref().map(|run| run.schedule.as_str());
        let is_watched = service.foretell(&self.scope, &self.id, schedule).await;
        let stored = match outcome {
            Ok(done) => {
                advance(service, &self.scope, &self.id, State::Success, move |body, _| {
                    body.row_count = done.rows;
                    body.created_dataset = done.created;
                    body.kept = done.kept;
                    body.used = Some(used);
                })
                .await
            }
            Err(stopped) => {
                let (state, errors) = stopped.end();
                end = state;
                advance(service, &self.scope, &self.id, state, move |body, _| {
                    body.errors = errors;
                    body.used = Some(used);
                })
                .await
            }
        };
        if let Err(error) = stored {
            tracing::error!(job = self.id, %error, "the end of a job could not be stored");
        }
        if is_watched {
            service.tell(&self.scope, &self.id).await;
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
        service.tell(&self.scope, &self.id).await;
        let time = if self.body.is_ctas || self.body.is_insert { BATCH_TIME } else { QUERY_TIME };
        let context = self.context(time);
        let text = self.body.effective_sql.as_deref().unwrap_or(&self.body.sql);
        self.usage.end_with(&context.cancel, context.deadline);
        let mark = service.inner().journal.begin(Sort::Query, &context, text);
        mark.note(|entry| entry.is_job = true);
        let mut work = self.usage.future(Phase::Execution, Box::pin(self.work(service, &context)));
        let stopped = tokio::select! {
            biased;
            outcome = &mut work => Ok(outcome),
            () = self.live.cancel.cancelled() => Err(Stopped::Cancelled),
            () = tokio::time::sleep_until(context.deadline.into()) => Err(Stopped::TimedOut(time)),
        };
        let outcome = match stopped {
            // Whatever the work says that it met: it ends by itself once it is cancelled or late.
            Ok(Err(_)) if self.live.cancel.is_cancelled() => Err(Stopped::Cancelled),
            Ok(Err(_)) if Instant::now() >= context.deadline => Err(Stopped::TimedOut(time)),
            Ok(outcome) => outcome.map_err(Stopped::from),
            // What is being committed cannot be taken back: the record must not say that nothing happened.
            Err(_) if self.commits.load(Ordering::Relaxed) => work.await.map_err(Stopped::from),
            Err(stopped) => Err(stopped),
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
        context.tenant = Tenant::of_scope(&self.scope);
        context.usage = self.usage.clone();
        context
    }

    async fn work(&self, service: &Service, context: &Context) -> Result<Done, SqlFault> {
        match &self.work {
            Work::Sql(statements) => self.script(service, context, statements).await,
            Work::Kql(parameters) => {
                let (scope, seen) = scope(service, context, self.body.database.as_deref())?;
                let outcome = self.query(service, context, &scope, &seen, parameters).await;
                outcome.map_err(|fault| forbidden_name(&fault, &seen).map_or(fault, |denial| forbidden(&denial)))
            }
        }
    }

    /// Statements one after the other; the rows of the last one that returns some are kept.
    async fn script(&self, service: &Service, context: &Context, statements: &[Statement]) -> Result<Done, SqlFault> {
        let mut objects = SessionObjects::default();
        let mut done = Done::default();
        for statement in statements {
            if let Statement::Block { body, handler } = statement {
                done = self.block(service, context, (body, handler.as_deref()), &mut objects, done).await?;
            } else if let Some(next) = self.one(service, context, statement, &mut objects).await? {
                done = done.then(service, next);
            }
        }
        Ok(done)
    }

    /// One statement over the catalog as it is now.
    async fn statement(
        &self,
        service: &Service,
        context: &Context,
        statement: &Statement,
        objects: &SessionObjects,
        values: Option<ParamValues>,
    ) -> Result<Done, SqlFault> {
        let (mut scope, seen) = scope(service, context, self.body.database.as_deref())?;
        match &self.session {
            Some(session) => session.apply(&mut scope, seen.snapshot()),
            None => objects.scope(values).apply(&mut scope, seen.snapshot()),
        }
        let outcome = self.within(service, &scope, &seen, statement).await;
        outcome.map_err(|fault| forbidden_name(&fault, &seen).map_or(fault, |denial| forbidden(&denial)))
    }

    /// The statement over what its caller may read, once it is clear that they may do what it does.
    async fn within(
        &self,
        service: &Service,
        scope: &SqlScope,
        seen: &View,
        statement: &Statement,
    ) -> Result<Done, SqlFault> {
        let named = |name: &str| TableName { database: None, table: name.to_string() };
        self.check(Some(statement), scope, seen)?;
        match (statement, &self.body.target) {
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
                let batch = shown_tables(scope)?;
                self.keep(service, batch.schema(), futures::stream::iter([Ok(batch)])).await
            }
            (Statement::CreateTableAs { table, if_not_exists, query }, _) => {
                self.create(service, scope, table, *if_not_exists, query).await
            }
            (Statement::InsertInto { table, columns, query }, _) => {
                self.insert(service, scope, table, columns, query).await
            }
            (Statement::DropTable { table, if_exists }, _) => drop_table(service, scope, table, *if_exists).await,
            (Statement::CreateView { .. }, _) => {
                views::create(service, scope, seen, statement).await.map(|view| Done { view, ..Done::default() })
            }
            (Statement::DropView { view, if_exists }, _) => {
                views::remove(service, scope, seen, view, *if_exists).await.map(|()| Done::default())
            }
            (Statement::Define(definition), _) => {
                define::carry_out(service, &self.context(BATCH_TIME), scope, seen, definition).await
            }
            (Statement::Session(_), _) => Ok(Done::default()),
            // The script has seen to it.
            (Statement::Block { .. } | Statement::SetVariable { .. }, _) => Err(SqlFault::not_served("a block here")),
        }
    }

    /// A KQL query: its table is kept, or fills a table.
    async fn query(
        &self,
        service: &Service,
        context: &Context,
        scope: &SqlScope,
        seen: &View,
        parameters: &HashMap<String, serde_json::Value>,
    ) -> Result<Done, SqlFault> {
        self.check(None, scope, seen)?;
        let named = |name: &str| TableName { database: None, table: name.to_string() };
        let mut context = context.clone();
        context.parameters = parameters.clone();
        let planned = kql::plan(service, &context, &self.body.sql).await?;
        self.note_reads(service, &planned.rows.reads).await?;
        match &self.body.target {
            Some(Target::Create(name)) => {
                let database = new_table(scope, &named(name))?;
                let stream = self.started(service, &context, planned.source).await?;
                let found = Found { stream, schema: &planned.rows.schema, is_engine: true };
                self.fill_new(service, database, &named(name), found).await
            }
            Some(Target::Insert(name)) => {
                let stream = self.started(service, &context, planned.source).await?;
                let found = Found { stream, schema: &planned.rows.schema, is_engine: true };
                self.fill(service, scope, &named(name), &[], found).await
            }
            None => {
                let names = planned.rows.schema.columns.iter().map(|column| column.name.clone());
                let schema = kept_schema(planned.rows.plan.schema().as_arrow(), names)?;
                let stream = self.started(service, &context, planned.rows.plan).await?;
                self.keep(service, schema, stream.map(|batch| batch.map_err(|error| fault_of(&error)))).await
            }
        }
    }

    /// A KQL plan's rows.
    async fn started(
        &self,
        service: &Service,
        context: &Context,
        plan: LogicalPlan,
    ) -> Result<SendableRecordBatchStream, SqlFault> {
        let session = service.session();
        let physical = service.physical(context, session, &plan).await.map_err(|error| of_service(&error))?;
        let runtime = memory::for_query(service.runtime_env(), &self.usage, MemoryBounds::default());
        execute_stream(physical, task_context(session, runtime)).map_err(|error| fault_of(&error))
    }

    /// Writes the rows that a statement returns to where they can be read.
    async fn keep(
        &self,
        service: &Service,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch, SqlFault>>,
    ) -> Result<Done, SqlFault> {
        let mut kept = KeptRows::new(&self.id, service.rows_until());
        let results = service.store().results();
        let stored = |error: tidewater_store::Error| match error.kind() {
            tidewater_store::ErrorKind::Limit => SqlFault::new(sql::LIMIT_EXCEEDED, error.to_string()),
            _ => of_service(&error.into()),
        };
        let mut writer =
            results.create_rows(kept.name(), Arc::clone(&schema), service.result_limits()).map_err(stored)?;
        let mut count = 0;
        let account = self.usage.open_table();
        let mut batches = std::pin::pin!(batches);
        while let Some(batch) = batches.next().await {
            let batch = kept_batch(&batch?, &schema)?;
            count += batch.num_rows() as u64;
            self.usage.grow_table(account, batch.num_rows() as u64, data_bytes(&batch));
            writer.write(batch).await.map_err(stored)?;
        }
        writer.finish().await.map_err(stored)?;
        service.send_rows_away(&mut kept).await.map_err(|error| not_sent(&error))?;
        Ok(Done { rows: count, kept: Some(kept), ..Done::default() })
    }

    /// Refuses a statement that writes where its caller may not.
    fn check(&self, statement: Option<&Statement>, scope: &SqlScope, seen: &View) -> Result<(), SqlFault> {
        let named = |name: &String| TableName { database: None, table: name.clone() };
        let (made, filled, dropped) = match (statement, &self.body.target) {
            (_, Some(Target::Create(name))) => (Some(named(name)), None, None),
            (_, Some(Target::Insert(name))) => (None, Some(named(name)), None),
            (Some(Statement::CreateTableAs { table, .. }), _) => (Some(table.clone()), None, None),
            (Some(Statement::InsertInto { table, .. }), _) => (None, Some(table.clone()), None),
            (Some(Statement::DropTable { table, .. }), _) => (None, None, Some(table.clone())),
            _ => (None, None, None),
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
        let rows = plan_rows(query, scope, &self.engine(service)).await?;
        self.note_reads(service, &rows.reads).await?;
        Ok(rows)
    }

    /// The engine's session: the connection's where there is one.
    fn engine(&self, service: &Service) -> SessionContext {
        self.session
            .as_ref()
            .and_then(|session| session.engine.clone())
            .unwrap_or_else(|| service.sql_session().clone())
    }

    async fn note_reads(&self, service: &Service, reads: &[(String, String)]) -> Result<(), SqlFault> {
        let references = reads.to_vec();
        let named = service.store().jobs().amend(KIND, &self.scope, &self.id, move |record| {
            record.value["references"] = serde_json::json!(references);
        });
        named.await.map(drop).map_err(|error| system(&error.into()))
    }

    async fn stream(&self, service: &Service, rows: &SqlRows) -> Result<SendableRecordBatchStream, SqlFault> {
        let session = &self.engine(service);
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
        let database = match new_table(scope, name) {
            Err(fault) if fault.code == sql::TABLE_EXISTS && if_not_exists => return Ok(Done::default()),
            database => database?,
        };
        let rows = self.plan(service, scope, query).await?;
        let found = Found { stream: self.stream(service, &rows).await?, schema: &rows.schema, is_engine: false };
        self.fill_new(service, database, name, found).await
    }

    /// Makes a table of rows.
    async fn fill_new(
        &self,
        service: &Service,
        database: String,
        name: &TableName,
        found: Found<'_>,
    ) -> Result<Done, SqlFault> {
        let snapshot = service.store().snapshot();
        let id = snapshot.database(&database).map(|database| database.id());
        let id = id.ok_or_else(|| SqlFault::new("3D000", format!("the database '{database}' does not exist")))?;
        let spec = TableSpec {
            properties: admins_of_new(&self.context(BATCH_TIME)),
            ..TableSpec::new(name.table.clone(), found.schema.clone())
        };
        let new_table = service.store().new_table(id, &spec).map_err(|error| of_service(&error.into()))?;
        let writer = service.store().writer_task(&new_table.target());
        let given = found.schema.clone();
        let (staged, count) = write(found, &given, writer, None).await?;
        let commit = Commit::new().create(new_table).add_all(staged, &[]);
        let created = Some((database, name.table.clone()));
        self.commit(service, commit, Written { rows: count, created: created.clone() }).await?;
        Ok(Done { rows: count, created, ..Done::default() })
    }

    async fn insert(
        &self,
        service: &Service,
        scope: &SqlScope,
        name: &TableName,
        columns: &[String],
        query: &Ast,
    ) -> Result<Done, SqlFault> {
        // A table that is not there is told before the query is planned.
        let handle = scope.table(name).ok_or_else(|| unknown_table(name))?;
        let (query, _) = sql::typed_values(query, &handle.schema, columns);
        let rows = self.plan(service, scope, &query).await?;
        let found = Found { stream: self.stream(service, &rows).await?, schema: &rows.schema, is_engine: false };
        self.fill(service, scope, name, columns, found).await
    }

    /// Adds rows to a table.
    async fn fill(
        &self,
        service: &Service,
        scope: &SqlScope,
        name: &TableName,
        columns: &[String],
        found: Found<'_>,
    ) -> Result<Done, SqlFault> {
        let handle = scope.table(name).ok_or_else(|| unknown_table(name))?;
        let positions = insert_positions(&handle.schema, columns, found.schema)?;
        let snapshot = service.store().snapshot();
        let table = snapshot.table(&handle.database, &handle.name).ok_or_else(|| unknown_table(name))?;
        let given = TableSchema::new(positions.iter().map(|at| handle.schema.columns[*at].clone()).collect());
        let writer = service.store().writer_task(&table.target());
        let (staged, count) = write(found, &given, writer, Some((&handle.schema, &positions))).await?;
        let commit = Commit::new().add_all(staged, &[]);
        self.commit(service, commit, Written { rows: count, created: None }).await?;
        Ok(Done { rows: count, ..Done::default() })
    }

    /// Commits what the statement has written. Where it is all that the job does, the commit notes it: a job whose data
    /// are there is never told to have failed, however the process ends.
    async fn commit(&self, service: &Service, commit: Commit, written: Written) -> Result<(), SqlFault> {
        let is_all = match &self.work {
            Work::Sql(statements) if self.session.is_none() => {
                matches!(statements.as_slice(), [one] if is_one_write(one))
            }
            _ => true,
        };
        let note = serde_json::to_value(written).map_err(|error| system(&Error::internal(error.to_string())))?;
        let commit = if is_all { commit.note(&self.id, note) } else { commit };
        if self.live.cancel.is_cancelled() {
            return Err(SqlFault::new(sql::CANCELLED, "the query was cancelled"));
        }
        self.commits.store(true, Ordering::Relaxed);
        let outcome = service.store().commit(commit).await;
        self.commits.store(false, Ordering::Relaxed);
        outcome.map(drop).map_err(|error| of_service(&error.into()))
    }
}

/// Whether a statement does one thing only.
fn is_one_write(statement: &Statement) -> bool {
    matches!(statement, Statement::Rows(_) | Statement::CreateTableAs { .. } | Statement::InsertInto { .. })
}

/// Rows that the object store of results did not take.
fn not_sent(error: &Error) -> SqlFault {
    tracing::error!(%error, "the rows of a job could not be stored");
    SqlFault::new(sql::SYSTEM, "the object store of results did not take the rows")
}

fn unknown_table(name: &TableName) -> SqlFault {
    SqlFault::new(sql::UNKNOWN_TABLE, format!("the table '{}' does not exist", name.table))
}

/// The database in which a table can be made.
fn new_table(scope: &SqlScope, name: &TableName) -> Result<String, SqlFault> {
    let database = target_database(scope, name)?;
    let qualified = TableName { database: Some(database.clone()), table: name.table.clone() };
    match scope.table(&qualified) {
        Some(_) => Err(SqlFault::new(sql::TABLE_EXISTS, format!("the table '{}' exists already", name.table))),
        None => Ok(database),
    }
}

/// Rows on their way into a table.
struct Found<'a> {
    stream: SendableRecordBatchStream,
    schema: &'a TableSchema,
    /// In the engine's forms of KQL's types, not in SQL's.
    is_engine: bool,
}

impl Found<'_> {
    /// The batch with the columns of `given`, which has as many.
    fn converted(&self, batch: &RecordBatch, given: &TableSchema) -> Result<RecordBatch, SqlFault> {
        let internal = |error: String| SqlFault::new(sql::SYSTEM, error);
        let mut rejects = Rejects::default();
        if !self.is_engine {
            let batch = engine_batch(batch, given, &mut rejects).map_err(|error| internal(error.to_string()))?;
            return no_rejects(&rejects).map(|()| batch);
        }
        let mut columns = Vec::with_capacity(given.columns.len());
        for (at, (from, to)) in self.schema.columns.iter().zip(&given.columns).enumerate() {
            if from.ty == to.ty {
                columns.push(Arc::clone(batch.column(at)));
                continue;
            }
            if matches!(from.ty, KqlType::Decimal | KqlType::DateTime | KqlType::TimeSpan | KqlType::Guid) {
                let message = format!("column '{}' is {}, found {}; convert it in the query", to.name, to.ty, from.ty);
                return Err(SqlFault::new(sql::TYPE_MISMATCH, message));
            }
            let one = batch.project(&[at]).map_err(|error| internal(error.to_string()))?;
            let wanted = TableSchema::new(vec![to.clone()]);
            let one = engine_batch(&one, &wanted, &mut rejects).map_err(|error| internal(error.to_string()))?;
            columns.push(Arc::clone(one.column(0)));
        }
        no_rejects(&rejects)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(given.arrow(), columns, &options).map_err(|error| internal(error.to_string()))
    }
}

fn no_rejects(rejects: &Rejects) -> Result<(), SqlFault> {
    match rejects.samples.first() {
        None => Ok(()),
        Some(reject) => Err(SqlFault::new("22003", format!("column '{}': {}", reject.column, reject.message))),
    }
}

/// Streams rows into a writer. `spread` puts the columns at their places in a wider table.
async fn write(
    mut found: Found<'_>,
    given: &TableSchema,
    mut writer: tidewater_store::ExtentWriterTask,
    spread: Option<(&TableSchema, &[usize])>,
) -> Result<(Vec<tidewater_store::StagedExtent>, u64), SqlFault> {
    let mut count = 0;
    while let Some(batch) = found.stream.next().await {
        let batch = batch.map_err(|error| fault_of(&error))?;
        let mut batch = found.converted(&batch, given)?;
        if let Some((schema, positions)) = spread {
            batch = spread_columns(&batch, schema, positions).map_err(|error| fault_of(&error))?;
        }
        count += batch.num_rows() as u64;
        writer.write(batch).await.map_err(|error| of_service(&error.into()))?;
    }
    let staged = writer.finish().await.map_err(|error| of_service(&error.into()))?;
    Ok((staged, count))
}

fn note(mark: &Arc<Mark>, outcome: &Result<Done, Stopped>) {
    match outcome {
        Ok(_) => {}
        Err(Stopped::Cancelled) => mark.fail(&Error::cancelled(None)),
        Err(Stopped::TimedOut(_)) => mark.fail(&Error::timeout()),
        Err(Stopped::Fault(fault)) => mark.fail(&Error::bad_request(fault.message.clone())),
    }
}

pub(super) fn system(error: &Error) -> SqlFault {
    tracing::error!(%error, "a job met an internal error");
    SqlFault::new(sql::SYSTEM, "an internal error stopped the query")
}

/// SQLSTATE of what the caller may not do.
const FORBIDDEN: &str = "42501";
pub(super) const UNKNOWN_DATABASE: &str = "3D000";

pub(super) fn forbidden(error: &Error) -> SqlFault {
    SqlFault::new(FORBIDDEN, error.message())
}

/// A service error as a job's.
pub(super) fn of_service(error: &Error) -> SqlFault {
    match error.fault() {
        Fault::EntityExists => SqlFault::new(sql::TABLE_EXISTS, error.message()),
        Fault::EntityNotFound => SqlFault::new(sql::UNKNOWN_TABLE, error.message()),
        Fault::OutOfMemory => SqlFault::new(sql::OUT_OF_MEMORY, error.message()),
        Fault::BadRequest | Fault::BadData => SqlFault::new("42000", error.message()),
        _ => system(error),
    }
}

pub(super) fn target_database(scope: &SqlScope, name: &TableName) -> Result<String, SqlFault> {
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
    // Neither an external table nor a materialized view is dropped as a table.
    let table = snapshot.table(&handle.database, &handle.name).ok_or_else(|| {
        let message = format!("'{}' is no table; drop it by a management command", handle.name);
        SqlFault::new("42809", message)
    })?;
    service.store().drop_table(table.id()).await.map_err(|error| of_service(&error.into()))?;
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
