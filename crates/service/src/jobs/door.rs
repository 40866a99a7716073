//! Sessions of the PostgreSQL protocol: statements one after the other, each recorded as a job, rows streamed as they come.
//!
//! A front gives texts and gets batches; what it writes to the wire is its own business. Statements that write are jobs like any
//! other, waited for. Those that return rows run at once, under the limits of the caller's workload group, and hold their
//! record in IN_PROGRESS until their last row is read. Source: query-service-api sections 12 and 23.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan, TableType, Volatility, create_udf};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, create_current_database_udf, setup_pg_catalog,
};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use tidewater_plan::session::task_context;
use tidewater_plan::sql::{
    self, CATALOG, SessionStatement, SqlCatalogs, SqlFault, SqlScope, Statement, fault_of, parse_statements, plan_rows,
    statement_of, typed_values,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::results::shown_tables;
use super::runner::{self, Run, advance, forbidden, forbidden_name, of_service, system};
use super::session::{Applied, SessionObjects, SessionScope};
use super::submit::Work;
use super::{Body, JobError, KIND, Language, Live, MAX_WAITING, State, Tenant};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::Error;
use crate::identity::Identity;
use crate::journal::{Mark, Sort};
use crate::limits::data_bytes;
use crate::memory::{self, MemoryBounds};
use crate::service::Service;
use crate::usage::{Phase, Usage};
use crate::workload::gate::{Asked as AskedFor, Permit};

/// The version of PostgreSQL that clients are told: what they may use depends on it.
pub const SERVER_VERSION: &str = "16.6";
/// Time for a statement that returns rows, as for jobs.
const QUERY_TIME: Duration = Duration::from_secs(600);

/// Whose session.
#[derive(Clone, Debug)]
pub struct SessionOwner {
    /// Organisation and sandbox.
    pub tenant: Tenant,
    /// Who signed in.
    pub identity: Arc<Identity>,
    /// Who creates what.
    pub user: String,
    /// The program.
    pub application: String,
    /// The database; `None` for all.
    pub database: Option<String>,
    /// What the client called the database.
    pub shown_database: String,
}

/// A statement as it was read.
#[derive(Clone, Debug)]
pub struct Asked {
    statement: Statement,
    text: String,
    /// A client asks what there is; no user wrote it.
    is_hidden: bool,
}

/// What a statement takes and gives.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of its rows; `None` when it returns none.
    pub columns: Option<SchemaRef>,
    /// The types of `$1`, `$2`, ... where they can be told.
    pub parameters: Vec<Option<DataType>>,
}

/// The answer to a statement.
pub enum SqlAnswer {
    /// Rows.
    Rows(Rows),
    /// It is done: the words for it, and how many rows it wrote.
    Done(&'static str, Option<u64>),
    /// A transaction begins.
    Began,
    /// A transaction ends, with these words; whether something was written that stays although it was rolled back.
    Ended(&'static str, bool),
}

/// Rows on their way.
pub struct Rows {
    /// Their columns, of types that the protocol has.
    pub schema: SchemaRef,
    /// They.
    pub rows: BoxStream<'static, Result<RecordBatch, SqlFault>>,
    /// The word that follows them: `SELECT`, `FETCH`, `SHOW`, ...
    pub word: &'static str,
}

/// What all sessions share: the functions and tables of PostgreSQL's own catalog.
pub(super) struct Engine {
    context: SessionContext,
    tables: Arc<PgCatalogStaticTables>,
    parser: PostgresCompatibilityParser,
}

/// The engine of sessions, made when the first one begins.
#[derive(Default)]
pub(super) struct EngineCell(OnceLock<Arc<Engine>>);

impl Engine {
    fn new(service: &Service) -> EngineResult<Engine> {
        let base = service.sql_session().state();
        let mut config = base.config().clone().with_information_schema(true);
        config.options_mut().catalog.default_catalog = CATALOG.to_string();
        let state = SessionStateBuilder::new_from_existing(base)
            .with_config(config)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let version = format!("PostgreSQL {SERVER_VERSION} (Tidewater {})", service.version());
        let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(version.clone().into()));
        context.register_udf(create_udf("version", vec![], DataType::Utf8, Volatility::Immutable, Arc::new(answer)));
        let tables = Arc::new(PgCatalogStaticTables::try_new()?);
        Ok(Engine { context, tables, parser: PostgresCompatibilityParser::new() })
    }
}

/// Parameters that a plan casts (`$1::bigint`), with the type that it casts them to: what a client should send.
fn cast_parameters(plan: &LogicalPlan) -> EngineResult<HashMap<String, DataType>> {
    let mut found = HashMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                let cast = match part {
                    Expr::Cast(cast) => Some((&cast.expr, &cast.field)),
                    Expr::TryCast(cast) => Some((&cast.expr, &cast.field)),
                    _ => None,
                };
                if let Some((inner, field)) = cast
                    && let Expr::Placeholder(placeholder) = inner.as_ref()
                {
                    found.entry(placeholder.id.clone()).or_insert_with(|| field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// What the tables of PostgreSQL's catalog show: what the statement under way may see.
#[derive(Clone)]
struct Shown {
    name: String,
    current: Arc<RwLock<Option<SqlCatalogs>>>,
}

/// The schemas that are not databases; their tables are not listed.
const OWN_SCHEMAS: [&str; 2] = ["pg_catalog", "information_schema"];

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shown {
    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.current.read().as_ref()?.schema(name)
    }
}

#[async_trait]
impl CatalogInfo for Shown {
    async fn catalog_names(&self) -> Result<Vec<String>, DataFusionError> {
        Ok(vec![self.name.clone()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        let mut names = self.current.read().as_ref().map(CatalogProvider::schema_names).unwrap_or_default();
        names.extend(OWN_SCHEMAS.map(str::to_string));
        Ok(Some(names))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some(self.schema(schema).map(|schema| schema.table_names()).unwrap_or_default()))
    }

    async fn table_schema(&self, _: &str, schema: &str, name: &str) -> Result<Option<SchemaRef>, DataFusionError> {
        let Some(schema) = self.schema(schema) else { return Ok(None) };
        Ok(schema.table(name).await?.map(|table| table.schema()))
    }

    async fn table_type(&self, _: &str, schema: &str, name: &str) -> Result<Option<TableType>, DataFusionError> {
        match self.schema(schema) {
            Some(schema) => schema.table_type(name).await,
            None => Ok(Some(TableType::Base)),
        }
    }
}

/// A session.
pub struct SqlSession {
    service: Service,
    owner: SessionOwner,
    engine: Arc<Engine>,
    context: SessionContext,
    shown: Shown,
    pg_catalog: Arc<dyn SchemaProvider>,
    objects: Mutex<SessionObjects>,
    cursors: tokio::sync::Mutex<HashMap<String, Cursor>>,
    /// The present transaction has written something.
    wrote: Mutex<bool>,
}

/// Rows that are fetched in parts.
struct Cursor {
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch, SqlFault>>,
    /// What is left of the last batch.
    rest: Option<RecordBatch>,
}

/// Open cursors of one session.
const MAX_CURSORS: usize = 100;

impl Asked {
    /// Whether it ends a transaction, which one that has met a fault waits for.
    pub fn ends_transaction(&self) -> bool {
        matches!(
            &self.statement,
            Statement::Session(
                SessionStatement::Commit | SessionStatement::Rollback | SessionStatement::Savepoint("ROLLBACK")
            )
        )
    }
}

impl Service {
    /// Begins a session.
    ///
    /// *Errors*: `3D000` for a database that does not exist or may not be read.
    pub async fn begin_session(&self, owner: SessionOwner) -> Result<SqlSession, SqlFault> {
        let cell = &self.inner().jobs.engine.0;
        let engine = match cell.get() {
            Some(engine) => Arc::clone(engine),
            None => {
                let service = self.clone();
                let made = tokio::task::spawn_blocking(move || Engine::new(&service)).await;
                let made = made.map_err(|_| SqlFault::new(sql::SYSTEM, "an internal error stopped the session"))?;
                let made = Arc::new(made.map_err(|error| fault_of(&error))?);
                Arc::clone(cell.get_or_init(|| made))
            }
        };
        let context = SessionContext::new_with_state(engine.context.state());
        context.register_udf(create_current_database_udf(&owner.shown_database));
        let shown = Shown { name: owner.shown_database.clone(), current: Arc::default() };
        let pg_catalog =
            PgCatalogSchemaProvider::try_new(shown.clone(), Arc::clone(&engine.tables), EmptyContextProvider)
                .map_err(|error| fault_of(&error))?;
        let mut objects = SessionObjects::default();
        objects.set("application_name", Some(&owner.application))?;
        let session = SqlSession {
            service: self.clone(),
            owner,
            engine,
            context,
            shown,
            pg_catalog: Arc::new(pg_catalog),
            objects: Mutex::new(objects),
            cursors: tokio::sync::Mutex::default(),
            wrote: Mutex::new(false),
        };
        // A database that is not there, or not the caller's, ends the session before it begins.
        session.scope(&session.context_of(&Uuid::new_v4().to_string()), session.extras(None))?;
        Ok(session)
    }
}

impl SqlSession {
    /// Reads a text of statements.
    pub fn read(&self, text: &str) -> Result<Vec<Asked>, SqlFault> {
        let ours = match asks_what_there_is(text) {
            true => Err(None),
            false => parse_statements(text).map_err(Some),
        };
        let statements = match ours {
            Ok(statements) => statements,
            Err(fault) => {
                if text.len() > sql::MAX_STATEMENT_BYTES {
                    return Err(fault.unwrap_or_else(|| SqlFault::new(sql::LIMIT_EXCEEDED, "the text is too long")));
                }
                // Refusals other than of the syntax are about what was understood.
                if let Some(fault) = fault.as_ref().filter(|fault| fault.code != sql::SYNTAX) {
                    return Err(fault.clone());
                }
                match self.engine.parser.parse(text) {
                    Ok(statements) => statements.into_iter().map(statement_of).collect::<Result<Vec<_>, _>>()?,
                    Err(error) => {
                        return Err(
                            fault.unwrap_or_else(|| SqlFault::new(sql::SYNTAX, format!("syntax error: {error}")))
                        );
                    }
                }
            }
        };
        let alone = statements.len() == 1;
        let asked = statements.into_iter().map(|statement| {
            let text = match (&statement, alone) {
                (_, true) => text.trim().trim_end_matches(';').to_string(),
                (Statement::Rows(statement), false) => statement.to_string(),
                (_, false) => text.to_string(),
            };
            let is_hidden = self.is_hidden(&statement, &text);
            Asked { statement, text, is_hidden }
        });
        Ok(asked.collect())
    }

    /// Whether a statement reads nothing but the catalog.
    fn is_hidden(&self, statement: &Statement, text: &str) -> bool {
        let Statement::Rows(statement) = statement else { return false };
        if !asks_what_there_is(text) {
            return false;
        }
        let statement = EngineStatement::Statement(statement.clone());
        let Ok(references) = self.context.state().resolve_table_references(&statement) else { return false };
        references.iter().all(|reference| {
            reference.schema().is_some_and(|schema| OWN_SCHEMAS.contains(&schema))
                || reference.table().starts_with("pg_")
        })
    }

    /// What a statement takes and gives, without running it. `named` are the types that the client names for `$1`, ...
    pub async fn describe(&self, asked: &Asked, named: &[Option<DataType>]) -> Result<Described, SqlFault> {
        let none = Described { columns: None, parameters: Vec::new() };
        let statement = match &asked.statement {
            Statement::Session(SessionStatement::Execute { .. } | SessionStatement::Show { .. }) => {
                match self.objects.lock().apply(&asked.statement)? {
                    Applied::Rows(batch) => return Ok(Described { columns: Some(batch.schema()), ..none }),
                    Applied::Statement(statement, _) => statement,
                    Applied::Nothing => return Ok(none),
                }
            }
            Statement::Session(SessionStatement::Fetch { name, .. }) => {
                let cursors = self.cursors.lock().await;
                return Ok(Described { columns: cursors.get(name).map(|cursor| Arc::clone(&cursor.schema)), ..none });
            }
            statement => Box::new(statement.clone()),
        };
        let mut types = Vec::new();
        let query = match statement.as_ref() {
            Statement::Rows(query) => query.clone(),
            Statement::CreateTableAs { query, .. } => query.clone(),
            Statement::InsertInto { table, columns, query } => {
                let (scope, _) = self.scope(&self.context_of(""), self.extras(None))?;
                match scope.table(table) {
                    Some(handle) => {
                        let (query, found) = typed_values(query, &handle.schema, columns);
                        types = found;
                        Box::new(query)
                    }
                    None => query.clone(),
                }
            }
            Statement::ShowTables => {
                let (scope, _) = self.scope(&self.context_of(""), self.extras(None))?;
                let batch = shown_tables(&scope)?;
                return Ok(Described { columns: Some(batch.schema()), ..none });
            }
            _ => return Ok(none),
        };
        let (scope, seen) = self.scope(&self.context_of(""), self.extras(None))?;
        let planned = plan_rows(&query, &scope, &self.context).await;
        let planned =
            planned.map_err(|fault| forbidden_name(&fault, &seen).map_or(fault, |denial| forbidden(&denial)))?;
        let found = planned.plan.get_parameter_types().map_err(|error| fault_of(&error))?;
        let number = |name: &String| name.trim_start_matches('$').parse::<usize>().ok();
        let count = found.keys().filter_map(number).max().unwrap_or(0).min(MAX_PARAMETERS);
        let mut parameters: Vec<Option<DataType>> = vec![None; count];
        for (name, ty) in found {
            if let Some(slot) = number(&name).and_then(|at| parameters.get_mut(at.checked_sub(1)?)) {
                *slot = ty;
            }
        }
        for (number, ty) in types {
            if let Some(slot) = parameters.get_mut(number - 1) {
                *slot = Some(sql::sql_type(ty));
            }
        }
        for (slot, named) in parameters.iter_mut().zip(named) {
            if slot.is_none() {
                slot.clone_from(named);
            }
        }
        for (name, ty) in cast_parameters(&planned.plan).map_err(|error| fault_of(&error))? {
            if let Some(slot) = number(&name).and_then(|at| parameters.get_mut(at.checked_sub(1)?)) {
                slot.get_or_insert(ty);
            }
        }
        let columns = match statement.as_ref() {
            Statement::Rows(_) => {
                let names = planned.schema.columns.iter().map(|column| column.name.clone());
                Some(wire_schema(typed(planned.plan, &parameters)?.schema().as_arrow(), names))
            }
            _ => None,
        };
        Ok(Described { columns, parameters })
    }

    /// The columns of a cursor that a statement declared.
    pub async fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.lock().await.get(name).map(|cursor| Arc::clone(&cursor.schema))
    }

    /// Runs a statement with values for `$1`, `$2`, ...; `cancel` ends it.
    pub async fn run(
        &self,
        asked: &Asked,
        values: Option<ParamValues>,
        cancel: CancellationToken,
    ) -> Result<SqlAnswer, SqlFault> {
        if let Statement::Session(statement) = &asked.statement {
            match statement {
                SessionStatement::Begin => {
                    *self.wrote.lock() = false;
                    return Ok(SqlAnswer::Began);
                }
                SessionStatement::Commit => {
                    self.cursors.lock().await.clear();
                    return Ok(SqlAnswer::Ended("COMMIT", false));
                }
                SessionStatement::Rollback => {
                    self.cursors.lock().await.clear();
                    let wrote = std::mem::take(&mut *self.wrote.lock());
                    return Ok(SqlAnswer::Ended("ROLLBACK", wrote));
                }
                SessionStatement::Savepoint(what) => return Ok(SqlAnswer::Done(what, None)),
                SessionStatement::Declare { name, query } => {
                    return self.declare(name, query, &asked.text, values, cancel).await;
                }
                SessionStatement::Fetch { name, count } => return self.fetch(name, *count).await,
                SessionStatement::Close { name } => {
                    let mut cursors = self.cursors.lock().await;
                    match name {
                        None => cursors.clear(),
                        Some(name) => drop(cursors.remove(name).ok_or_else(|| unknown_cursor(name))?),
                    }
                    return Ok(SqlAnswer::Done("CLOSE CURSOR", None));
                }
                _ => {}
            }
        }
        if let Statement::DropView { view, .. } = &asked.statement
            && view.database.is_none()
            && self.objects.lock().drop_view(&view.table)
        {
            return Ok(SqlAnswer::Done("DROP VIEW", None));
        }
        let applied = self.objects.lock().apply(&asked.statement)?;
        let (statement, values) = match applied {
            Applied::Nothing => return Ok(SqlAnswer::Done(word_of(&asked.statement), None)),
            Applied::Rows(batch) => return Ok(SqlAnswer::Rows(Rows::of(batch, "SHOW"))),
            Applied::Statement(statement, own) => (statement, own.or(values)),
        };
        match statement.as_ref() {
            Statement::Rows(query) => {
                let word = if matches!(query.as_ref(), Ast::Explain { .. }) { "EXPLAIN" } else { "SELECT" };
                self.rows(query, asked, word, values, cancel).await.map(SqlAnswer::Rows)
            }
            Statement::ShowTables => {
                let (scope, _) = self.scope(&self.context_of(""), self.extras(None))?;
                Ok(SqlAnswer::Rows(Rows::of(shown_tables(&scope)?, "SHOW")))
            }
            Statement::CreateView { view, temporary: true, .. } => {
                let context = self.context_of("");
                let (scope, seen) = self.scope(&context, self.extras(None))?;
                let made = super::views::create(&self.service, &scope, &seen, &statement).await?;
                self.objects.lock().add_view(&view.table, made)?;
                Ok(SqlAnswer::Done("CREATE VIEW", None))
            }
            _ => self.write(*statement, asked, values, cancel).await,
        }
    }

    fn context_of(&self, id: &str) -> Context {
        let owner = &self.owner;
        let mut context = Context::new(owner.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_string()));
        context.sign_in(Arc::clone(&owner.identity));
        context.client_request_id = id.to_string();
        context.user = owner.user.clone();
        context.application = CLIENT.to_string();
        context.tenant = Some(owner.tenant.clone());
        let time = self.objects.lock().statement_timeout().unwrap_or(QUERY_TIME).min(QUERY_TIME);
        context.deadline = Instant::now() + time;
        context
    }

    fn extras(&self, values: Option<ParamValues>) -> SessionScope {
        let mut extras = self.objects.lock().scope(values);
        extras.schemas.insert("pg_catalog".to_string(), Arc::clone(&self.pg_catalog));
        extras.engine = Some(self.context.clone());
        extras
    }

    /// What a statement sees; PostgreSQL's catalog shows the same.
    fn scope(&self, context: &Context, extras: SessionScope) -> Result<(SqlScope, crate::view::View), SqlFault> {
        let (mut scope, seen) = runner::scope(&self.service, context, self.owner.database.as_deref())?;
        extras.apply(&mut scope, seen.snapshot());
        let without = SqlScope { schemas: HashMap::new(), ..scope.clone() };
        *self.shown.current.write() = Some(SqlCatalogs::new(without, self.context.clone()));
        Ok((scope, seen))
    }

    fn body(&self, text: &str, is_hidden: bool) -> Body {
        Body {
            request: serde_json::json!({"dbName": self.owner.shown_database, "sql": text}),
            sql: text.to_string(),
            effective_sql: None,
            database: self.owner.database.clone(),
            target: None,
            is_ctas: false,
            is_insert: false,
            client: CLIENT.to_string(),
            user: self.owner.user.clone(),
            row_count: 0,
            errors: Vec::new(),
            started: None,
            references: Vec::new(),
            created_dataset: None,
            soft_deleted: false,
            kept: None,
            template_name: None,
            schedule: None,
            language: Language::Sql,
            hidden: is_hidden,
            used: None,
        }
    }

    /// A statement that writes: a job that is waited for.
    async fn write(
        &self,
        statement: Statement,
        asked: &Asked,
        values: Option<ParamValues>,
        cancel: CancellationToken,
    ) -> Result<SqlAnswer, SqlFault> {
        let word = word_of(&statement);
        let counts = matches!(statement, Statement::InsertInto { .. } | Statement::CreateTableAs { .. });
        let mut body = self.body(&asked.text, false);
        body.is_ctas = statement.is_ctas();
        body.is_insert = statement.is_insert();
        let record = self.record(body, State::Submitted).await?;
        let run = Run {
            scope: record.scope.clone(),
            id: record.id.clone(),
            body: record.body,
            work: Work::Sql(vec![statement]),
            live: record.live.clone(),
            usage: Usage::default(),
            identity: Arc::clone(&self.owner.identity),
            session: Some(self.extras(values)),
            commits: Default::default(),
        };
        let service = self.service.clone();
        let mut ended = service.clone().spawn(async move { run.carry_out(&service).await });
        tokio::select! {
            _ = &mut ended => {}
            () = cancel.cancelled() => {
                record.live.cancel.cancel();
                let _ = ended.await;
            }
        }
        let job = self.service.job(&self.owner.tenant, &record.id, true).await.map_err(|error| of_service(&error))?;
        let job = job.ok_or_else(|| SqlFault::new(sql::SYSTEM, "the statement's record is gone"))?;
        match (job.state, job.errors.into_iter().next()) {
            (State::Success, _) => {
                *self.wrote.lock() = true;
                Ok(SqlAnswer::Done(word, counts.then_some(job.row_count)))
            }
            (State::Killed, _) => Err(cancelled()),
            (_, Some(error)) => Err(fault_again(&error)),
            (_, None) => Err(SqlFault::new(sql::SYSTEM, "the statement failed")),
        }
    }

    /// Stores the record of a statement that begins.
    async fn record(&self, mut body: Body, state: State) -> Result<Recorded, SqlFault> {
        if self.service.is_stopping() {
            return Err(SqlFault::new("57P01", "the server is stopping"));
        }
        let id = Uuid::new_v4().to_string();
        let live = Live::default();
        {
            let mut all = self.service.inner().jobs.live.lock();
            if all.len() >= MAX_WAITING {
                return Err(SqlFault::new("53300", format!("{MAX_WAITING} queries are waiting already")));
            }
            all.insert(id.clone(), live.clone());
        }
        let scope = self.owner.tenant.scope();
        let begins = state == State::InProgress;
        let stored = body.clone();
        let stored = self.service.store().jobs().insert(KIND, &scope, &id, move |now| {
            let stored = Body { started: begins.then_some(now), ..stored };
            (state.name().to_string(), serde_json::to_value(&stored).unwrap_or_default())
        });
        match stored.await {
            Ok(record) => {
                body.started = begins.then_some(record.created);
                Ok(Recorded { scope, id, body, live })
            }
            Err(error) => {
                self.service.inner().jobs.live.lock().remove(&id);
                Err(system(&error.into()))
            }
        }
    }

    /// A statement that returns rows: planned, let in, and begun.
    async fn rows(
        &self,
        query: &Ast,
        asked: &Asked,
        word: &'static str,
        values: Option<ParamValues>,
        cancel: CancellationToken,
    ) -> Result<Rows, SqlFault> {
        let record = self.record(self.body(&asked.text, asked.is_hidden), State::InProgress).await?;
        let mut context = self.context_of(&record.id);
        context.cancel = record.live.cancel.clone();
        context.usage.end_with(&context.cancel, context.deadline);
        let mark = self.service.inner().journal.begin(Sort::Query, &context, &asked.text);
        mark.note(|entry| entry.is_job = true);
        let mut end = End {
            service: self.service.clone(),
            scope: record.scope,
            id: record.id,
            live: record.live.clone(),
            mark: Arc::clone(&mark),
            usage: context.usage.clone(),
            outcome: None,
            rows: 0,
            permit: None,
        };
        let started = tokio::select! {
            started = self.start(query, asked, values, &mut context, &mark) => started,
            () = cancel.cancelled() => Err(cancelled()),
            () = record.live.cancel.cancelled() => Err(cancelled()),
        };
        let (schema, stream, permit, reads) = match started {
            Ok(started) => started,
            Err(fault) => {
                end.fail(fault.clone());
                return Err(fault);
            }
        };
        end.permit = Some(permit);
        let (scope, id) = (end.scope.clone(), end.id.clone());
        if !reads.is_empty() {
            let named = self.service.store().jobs().amend(KIND, &scope, &id, move |record| {
                record.value["references"] = serde_json::json!(reads);
            });
            named.await.map_err(|error| system(&error.into()))?;
        }
        let stream = context.usage.stream(stream);
        let account = (context.usage.clone(), context.usage.open_table());
        let reading = Reading { stream, schema: Arc::clone(&schema), end, cancel, deadline: context.deadline, account };
        let rows = futures::stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            let item = reading.next().await?;
            let goes_on = item.is_ok();
            Some((item, goes_on.then_some(reading)))
        });
        Ok(Rows { schema, rows: rows.boxed(), word })
    }

    #[allow(clippy::type_complexity, reason = "what is made of a statement is taken apart at once")]
    async fn start(
        &self,
        query: &Ast,
        asked: &Asked,
        values: Option<ParamValues>,
        context: &mut Context,
        mark: &Arc<Mark>,
    ) -> Result<(SchemaRef, datafusion::execution::SendableRecordBatchStream, Permit, Vec<(String, String)>), SqlFault>
    {
        let permit = self.service.admit(context, &asked.text, AskedFor::Query, Some(mark)).await;
        let permit = permit.map_err(|error| SqlFault::new("53300", error.message()))?;
        let (scope, seen) = self.scope(context, self.extras(values))?;
        let planned = context.usage.future(Phase::Planning, Box::pin(plan_rows(query, &scope, &self.context))).await;
        let planned =
            planned.map_err(|fault| forbidden_name(&fault, &seen).map_or(fault, |denial| forbidden(&denial)))?;
        let names = planned.schema.columns.iter().map(|column| column.name.clone());
        let schema = wire_schema(planned.plan.schema().as_arrow(), names);
        let state = self.context.state();
        let physical = state.create_physical_plan(&planned.plan).await.map_err(|error| fault_of(&error))?;
        let runtime = memory::for_query(self.service.runtime_env(), &context.usage, MemoryBounds::default());
        let stream =
            execute_stream(physical, task_context(&self.context, runtime)).map_err(|error| fault_of(&error))?;
        Ok((schema, stream, permit, planned.reads))
    }

    async fn declare(
        &self,
        name: &str,
        query: &Ast,
        text: &str,
        values: Option<ParamValues>,
        cancel: CancellationToken,
    ) -> Result<SqlAnswer, SqlFault> {
        let mut cursors = self.cursors.lock().await;
        if cursors.contains_key(name) {
            return Err(SqlFault::new("42P03", format!("the cursor '{name}' exists already")));
        }
        if cursors.len() >= MAX_CURSORS {
            return Err(SqlFault::new(
                sql::LIMIT_EXCEEDED,
                format!("a session has at most {MAX_CURSORS} open cursors"),
            ));
        }
        let statement = Statement::Rows(Box::new(query.clone()));
        let asked = Asked { statement, text: text.to_string(), is_hidden: false };
        // A later statement's cancellation is not the cursor's.
        let own = CancellationToken::new();
        let rows = tokio::select! {
            rows = self.rows(query, &asked, "SELECT", values, own) => rows?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        cursors.insert(name.to_string(), Cursor { schema: rows.schema, rows: rows.rows, rest: None });
        Ok(SqlAnswer::Done("DECLARE CURSOR", None))
    }

    async fn fetch(&self, name: &str, count: Option<u64>) -> Result<SqlAnswer, SqlFault> {
        /// Rows that one FETCH may hold in memory.
        const MOST: u64 = 1_000_000;
        let mut cursors = self.cursors.lock().await;
        let cursor = cursors.get_mut(name).ok_or_else(|| unknown_cursor(name))?;
        let mut wanted = count.unwrap_or(u64::MAX);
        let (mut taken, mut batches) = (0_u64, Vec::new());
        while wanted > 0 {
            let batch = match cursor.rest.take() {
                Some(batch) => batch,
                None => match cursor.rows.next().await {
                    Some(batch) => batch?,
                    None => break,
                },
            };
            let rows = batch.num_rows() as u64;
            let part = rows.min(wanted);
            batches.push(Ok(batch.slice(0, part as usize)));
            if part < rows {
                cursor.rest = Some(batch.slice(part as usize, (rows - part) as usize));
            }
            (wanted, taken) = (wanted - part, taken + part);
            if taken > MOST {
                let message = format!("FETCH takes at most {MOST} rows at once; fetch them in parts");
                return Err(SqlFault::new(sql::LIMIT_EXCEEDED, message));
            }
        }
        let schema = Arc::clone(&cursor.schema);
        Ok(SqlAnswer::Rows(Rows { schema, rows: futures::stream::iter(batches).boxed(), word: "FETCH" }))
    }
}

/// Parameters of one statement. Source: the protocol counts them in 16 bits.
const MAX_PARAMETERS: usize = 65_535;
/// What records call this door.
const CLIENT: &str = "PSQL";

/// A text that may be a client's own question about the catalog.
fn asks_what_there_is(text: &str) -> bool {
    const MARKS: [&str; 7] =
        ["pg_", "information_schema", "current_schema", "current_database", "version()", "current_setting", "regclass"];
    let lower = text.to_ascii_lowercase();
    MARKS.iter().any(|mark| lower.contains(mark))
}

fn unknown_cursor(name: &str) -> SqlFault {
    SqlFault::new("34000", format!("the cursor '{name}' does not exist"))
}

fn cancelled() -> SqlFault {
    SqlFault::new(sql::CANCELLED, "the statement was cancelled")
}

/// A job's error as the fault that it was.
fn fault_again(error: &JobError) -> SqlFault {
    const CODES: [&str; 28] = [
        "42601", "42P01", "42P07", "42703", "42702", "42701", "42804", "22012", "0A000", "53200", "53400", "57014",
        "58000", "42501", "3D000", "42000", "22003", "22P02", "22000", "42883", "42P16", "26000", "42P05", "22023",
        "42704", "42P12", "42P04", "2BP01",
    ];
    let code = CODES.into_iter().find(|code| *code == error.code).unwrap_or(sql::SYSTEM);
    SqlFault::new(code, error.message.clone())
}

/// The word that tells of a statement's end.
fn word_of(statement: &Statement) -> &'static str {
    match statement {
        Statement::Rows(_) => "SELECT",
        Statement::ShowTables => "SHOW",
        Statement::CreateTableAs { .. } => "SELECT",
        Statement::InsertInto { .. } => "INSERT 0",
        Statement::DropTable { .. } => "DROP TABLE",
        Statement::Define(definition) => definition.words(),
        Statement::CreateView { .. } => "CREATE VIEW",
        Statement::DropView { .. } => "DROP VIEW",
        Statement::Block { .. } => "DO",
        Statement::SetVariable { .. } => "SET",
        Statement::Session(statement) => match statement {
            SessionStatement::Set { value: Some(_), .. } => "SET",
            SessionStatement::Set { value: None, .. } => "RESET",
            SessionStatement::ResetAll => "DISCARD ALL",
            SessionStatement::Prepare { .. } => "PREPARE",
            SessionStatement::Deallocate { name: None } => "DEALLOCATE ALL",
            SessionStatement::Deallocate { .. } => "DEALLOCATE",
            _ => "SET",
        },
    }
}

/// A statement's record while it runs.
struct Recorded {
    scope: String,
    id: String,
    body: Body,
    live: Live,
}

/// Notes the end of a statement that returns rows, however it comes.
struct End {
    service: Service,
    scope: String,
    id: String,
    live: Live,
    mark: Arc<Mark>,
    /// What it takes.
    usage: Usage,
    /// `None` while it runs; dropped then, nobody wanted the rest.
    outcome: Option<Result<(), SqlFault>>,
    rows: u64,
    permit: Option<Permit>,
}

impl End {
    fn fail(&mut self, fault: SqlFault) {
        let error = match fault.code {
            sql::CANCELLED => Error::cancelled(None),
            _ => Error::bad_request(fault.message.clone()),
        };
        self.mark.fail(&error);
        self.outcome.get_or_insert(Err(fault));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let rows = self.rows;
        let used = self.usage.consumption();
        let (state, errors) = match self.outcome.take() {
            Some(Ok(())) => (State::Success, Vec::new()),
            // A client may stop reading where it has seen enough.
            None => (State::Killed, Vec::new()),
            Some(Err(fault)) if fault.code == sql::CANCELLED => (State::Killed, Vec::new()),
            Some(Err(fault)) => {
                let state = if fault.code == sql::LIMIT_EXCEEDED { State::Timeout } else { State::Failed };
                let error_type = if fault.is_user_error() { "USER_ERROR" } else { "SYSTEM_ERROR" }.to_string();
                (state, vec![JobError { code: fault.code.to_string(), message: fault.message, error_type }])
            }
        };
        let (service, live) = (self.service.clone(), self.live.clone());
        let (scope, id) = (std::mem::take(&mut self.scope), std::mem::take(&mut self.id));
        drop(self.permit.take());
        self.service.clone().spawn(async move {
            let stored = advance(&service, &scope, &id, state, move |body, _| {
                body.row_count = rows;
                body.used = Some(used);
                body.errors = errors;
            });
            if let Err(error) = stored.await {
                tracing::error!(job = id, %error, "the end of a statement could not be stored");
            }
            service.inner().jobs.live.lock().remove(&id);
            live.ended.cancel();
        });
    }
}

/// A stream that ends with its time, its cancellation, or its last row.
struct Reading {
    stream: crate::usage::Measured<datafusion::execution::SendableRecordBatchStream>,
    schema: SchemaRef,
    end: End,
    cancel: CancellationToken,
    deadline: Instant,
    /// Where its rows are counted.
    account: (Usage, usize),
}

impl Reading {
    async fn next(&mut self) -> Option<Result<RecordBatch, SqlFault>> {
        let item = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Some(Err(cancelled())),
            () = self.end.live.cancel.cancelled() => Some(Err(cancelled())),
            () = tokio::time::sleep_until(self.deadline.into()) => {
                Some(Err(SqlFault::new(sql::LIMIT_EXCEEDED, "the statement ran over its time limit")))
            }
            item = self.stream.next() => item.map(|batch| {
                batch.map_err(|error| fault_of(&error)).and_then(|batch| wire_batch(&batch, &self.schema))
            }),
        };
        match &item {
            None => self.end.outcome = Some(Ok(())),
            Some(Ok(batch)) => {
                self.end.rows += batch.num_rows() as u64;
                self.account.0.grow_table(self.account.1, batch.num_rows() as u64, data_bytes(batch));
            }
            Some(Err(fault)) => self.end.fail(fault.clone()),
        }
        item
    }
}

impl Rows {
    fn of(batch: RecordBatch, word: &'static str) -> Rows {
        Rows { schema: batch.schema(), rows: futures::stream::iter([Ok(batch)]).boxed(), word }
    }
}

/// A plan with nulls of the parameters' types in their places: its columns have the types that they will have.
fn typed(plan: LogicalPlan, parameters: &[Option<DataType>]) -> Result<LogicalPlan, SqlFault> {
    if parameters.is_empty() {
        return Ok(plan);
    }
    let null = |ty: &Option<DataType>| ScalarValue::try_from(ty.as_ref().unwrap_or(&DataType::Utf8));
    let nulls = parameters.iter().map(null).collect::<EngineResult<Vec<_>>>().map_err(|error| fault_of(&error))?;
    plan.with_param_values(nulls).map_err(|error| fault_of(&error))
}

/// The columns under which rows go out: types that the protocol has, others as text.
fn wire_schema(schema: &Schema, names: impl Iterator<Item = String>) -> SchemaRef {
    let fields = schema.fields().iter().zip(names).map(|(field, name)| {
        let ty = if has_form(field.data_type(), true) { field.data_type().clone() } else { DataType::Utf8 };
        // Metadata says which numbers are ids of objects.
        Field::new(name, ty, true).with_metadata(field.metadata().clone())
    });
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

/// Whether the protocol has a form for a type.
fn has_form(ty: &DataType, nests: bool) -> bool {
    use arrow::datatypes::IntervalUnit;
    match ty {
        DataType::Float16
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal256(..)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..)
        | DataType::Duration(_)
        | DataType::FixedSizeBinary(_) => false,
        DataType::Interval(unit) => *unit == IntervalUnit::MonthDayNano,
        DataType::Dictionary(_, value) => !value.is_nested() && has_form(value, false),
        DataType::List(field) | DataType::LargeList(field) => {
            nests
                && !field.data_type().is_nested()
                && !matches!(field.data_type(), DataType::Dictionary(..))
                && has_form(field.data_type(), false)
        }
        DataType::Struct(fields) => nests && fields.iter().all(|field| has_form(field.data_type(), false)),
        _ => true,
    }
}

/// A batch in the form in which it goes out.
fn wire_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlFault> {
    let fault = |error: arrow::error::ArrowError| SqlFault::new(sql::SYSTEM, error.to_string());
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(fault)?;
        let texts = (0..column.len()).map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()));
        Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
    });
    let columns = columns.collect::<Result<Vec<_>, SqlFault>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(fault)
}
