//! Submission: everything that can be refused without the catalog is refused before a record exists.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidewater_plan::sql::{Statement, parse_statements, plan_rows};

use super::Language;
use super::kql;
use super::results::kept_schema;
use super::session;
use super::{Body, Job, KIND, Live, MAX_WAITING, ScheduledRun, State, Tenant, job_of, parameters, runner};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::{Error, Fault, Result};
use crate::identity::Identity;
use crate::service::Service;
use crate::usage::Usage;

/// The table that a submission's parameter block names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// `ctasParameters`.
    Create(String),
    /// `insertIntoParameters`.
    Insert(String),
}

/// Where the statement comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// It was sent.
    Sql(String),
    /// It is a template's, by its id.
    Template(String),
}

/// What a front submits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The fields that the caller gave.
    pub request: Value,
    /// The statement, or the KQL query.
    pub source: Source,
    /// Its language.
    #[serde(default)]
    pub language: Language,
    /// Values for its placeholders; `None` leaves `$` alone in a statement that was sent.
    pub parameters: Option<Map<String, Value>>,
    /// The database; `None` is all of them.
    pub database: Option<String>,
    /// A parameter block.
    pub target: Option<Target>,
    /// `API`, ...
    pub client: String,
    /// Who.
    pub user: String,
    /// The run of a schedule that this is.
    pub schedule: Option<ScheduledRun>,
    /// A statement that writes is refused.
    pub reads_only: bool,
    /// Who has signed in: whose rights the statement has, also when a schedule runs it.
    #[serde(default = "Identity::anonymous")]
    pub identity: Identity,
}

/// What makes a repeated submission the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key.
    pub key: String,
    /// Stands for the body: the same key with another one is a mistake.
    pub fingerprint: String,
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// A new job.
    New(Job),
    /// The job that the same key and body made before.
    Again(Job),
    /// The key was used with another body, or its first use is still under way.
    Conflict(&'static str),
}

/// What a statement would do; nothing is recorded.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The statement with its parameters.
    pub sql: String,
    /// Names and types of the columns, if it returns or writes rows.
    pub columns: Vec<(String, arrow::datatypes::DataType)>,
    /// The tables it reads.
    pub reads: Vec<TableRead>,
    /// The engine's plan as text, if there is one.
    pub plan: Option<String>,
}

/// A table that a statement reads.
#[derive(Clone, Debug)]
pub struct TableRead {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Rows and bytes at rest, where these are known.
    pub size: Option<(u64, u64)>,
}

/// What a job runs.
pub(super) enum Work {
    /// Statements, one after the other.
    Sql(Vec<Statement>),
    /// A query with the values of its declared parameters.
    Kql(HashMap<String, Value>),
}

/// A statement ready to run.
struct Prepared {
    work: Work,
    sql: String,
    effective: String,
    template_name: Option<String>,
}

pub(super) const KEY_KIND: &str = "idempotency";
/// How long a key is remembered.
pub(super) const KEY_LIFE_MICROS: i64 = 24 * 3_600_000_000;
/// How long the first use of a key may take until its job is stored.
const KEY_PENDING_MICROS: i64 = 10_000_000;

impl Service {
    /// Stores a job and starts it; the answer is the job in SUBMITTED.
    ///
    /// *Errors*: a statement that does not parse, a placeholder without value, an unknown template, a full queue.
    /// Nothing is recorded then.
    pub async fn submit_job(&self, tenant: &Tenant, submission: Submission) -> Result<Job> {
        let id = uuid::Uuid::new_v4().to_string();
        self.submit_as(tenant, submission, id).await
    }

    /// Like [`Service::submit_job`], but once only for each key.
    pub async fn submit_job_once(
        &self,
        tenant: &Tenant,
        submission: Submission,
        idempotency: Idempotency,
    ) -> Result<Submitted> {
        let scope = tenant.scope();
        let jobs = self.store().jobs();
        let key = self.own_key(tenant, &idempotency.key);
        // What cannot be submitted leaves no key behind.
        let prepared = self.prepare(tenant, &submission).await?;
        loop {
            let id = uuid::Uuid::new_v4().to_string();
            let value = json!({"fingerprint": idempotency.fingerprint, "job": id});
            match jobs.insert(KEY_KIND, &scope, &key, |_| (String::new(), value)).await {
                Ok(_) => {
                    let submitted = self.submit_prepared(tenant, submission, prepared, id).await;
                    if submitted.is_err() {
                        jobs.remove(KEY_KIND, &scope, &key).await?;
                    }
                    return submitted.map(Submitted::New);
                }
                Err(tidewater_store::Error::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(known) = jobs.get(KEY_KIND, &scope, &key).await? else { continue };
            let age = super::now_micros() - known.created;
            let job = known.value["job"].as_str().unwrap_or_default();
            let job = self.job(tenant, job, true).await?;
            // A former process that kept a key and did not come to its job will not come to it any more.
            let is_void = age >= KEY_PENDING_MICROS || known.created < self.inner().jobs.began;
            if age >= KEY_LIFE_MICROS || job.is_none() && is_void {
                jobs.remove(KEY_KIND, &scope, &key).await?;
                continue;
            }
            return Ok(match job {
                _ if known.value["fingerprint"] != idempotency.fingerprint.as_str() => {
                    Submitted::Conflict("the Idempotency-Key was used with another body")
                }
                Some(job) => Submitted::Again(job),
                None => Submitted::Conflict("the first request with this Idempotency-Key is still under way"),
            });
        }
    }

    /// Plans a submission without running or recording it.
    pub async fn dry_run(&self, tenant: &Tenant, submission: &Submission) -> Result<DryRun> {
        let prepared = self.prepare(tenant, submission).await?;
        let mut dry = DryRun { sql: prepared.effective, columns: Vec::new(), reads: Vec::new(), plan: None };
        let statement = match prepared.work {
            Work::Sql(mut statements) if statements.len() == 1 => statements.remove(0),
            Work::Sql(_) => return Err(Error::bad_request("a dry run takes one statement")),
            Work::Kql(parameters) => return self.dry_run_kql(tenant, submission, dry, parameters).await,
        };
        let query = match &statement {
            Statement::Rows(query) | Statement::CreateTableAs { query, .. } | Statement::InsertInto { query, .. } => {
                query
            }
            _ => return Ok(dry),
        };
        let refused = |fault: tidewater_plan::sql::SqlFault| Error::bad_request(fault.message);
        let mut context = Context::new(submission.database.as_deref().unwrap_or(DEFAULT_DATABASE));
        context.sign_in(Arc::new(submission.identity.clone()));
        context.tenant = Some(tenant.clone());
        let (scope, seen) = runner::scope(self, &context, submission.database.as_deref()).map_err(refused)?;
        // What exists and may not be read does not resolve; that it is forbidden says more.
        let refused = |fault: tidewater_plan::sql::SqlFault| match runner::forbidden_name(&fault, &seen) {
            Some(denial) => denial,
            None => Error::bad_request(fault.message),
        };
        let rows = plan_rows(query, &scope, self.sql_session()).await.map_err(refused)?;
        let names = rows.schema.columns.iter().map(|column| column.name.clone());
        let schema = kept_schema(rows.plan.schema().as_arrow(), names).map_err(refused)?;
        dry.columns = schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
        dry.reads = self.sized(rows.reads);
        let optimized = self.sql_session().state().optimize(&rows.plan).map_err(Error::from)?;
        dry.plan = Some(optimized.display_indent().to_string());
        Ok(dry)
    }

    async fn dry_run_kql(
        &self,
        tenant: &Tenant,
        submission: &Submission,
        mut dry: DryRun,
        parameters: HashMap<String, Value>,
    ) -> Result<DryRun> {
        let mut context = Context::new(submission.database.as_deref().unwrap_or(DEFAULT_DATABASE));
        context.sign_in(Arc::new(submission.identity.clone()));
        context.tenant = Some(tenant.clone());
        context.parameters = parameters;
        let planned = kql::plan(self, &context, &dry.sql).await.map_err(|fault| Error::bad_request(fault.message))?;
        let names = planned.rows.schema.columns.iter().map(|column| column.name.clone());
        let schema = kept_schema(planned.rows.plan.schema().as_arrow(), names)
            .map_err(|fault| Error::bad_request(fault.message))?;
        dry.columns = schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
        dry.reads = self.sized(planned.rows.reads);
        dry.plan = Some(planned.rows.plan.display_indent().to_string());
        Ok(dry)
    }

    /// Tables with what is known of their size.
    fn sized(&self, tables: Vec<(String, String)>) -> Vec<TableRead> {
        let snapshot = self.store().snapshot();
        let sized = |(database, name): (String, String)| {
            let table = snapshot.table(&database, &name);
            let size = table.map(|table| (table.row_count(), table.byte_size()));
            TableRead { database, name, size }
        };
        tables.into_iter().map(sized).collect()
    }

    /// Refuses what a later submission would be refused for.
    pub(super) async fn check_submission(&self, tenant: &Tenant, submission: &Submission) -> Result<()> {
        self.prepare(tenant, submission).await.map(drop)
    }

    /// Reads a submission's statement.
    async fn prepare(&self, tenant: &Tenant, submission: &Submission) -> Result<Prepared> {
        let (sql, defaults, template_name) = match &submission.source {
            Source::Sql(sql) => (sql.clone(), None, None),
            Source::Template(id) => {
                let template = self.template(tenant, id).await?;
                let template =
                    template.ok_or_else(|| Error::bad_request(format!("there is no query template '{id}'")))?;
                (template.text.sql, Some(template.text.parameters), Some(template.text.name))
            }
        };
        let parameters = match (defaults, &submission.parameters) {
            (None, given) => given.clone(),
            (Some(defaults), given) => {
                let mut all: Map<String, Value> = Map::new();
                // Names come with and without their sign; the query's own value counts.
                for (name, value) in defaults.into_iter().chain(given.clone().unwrap_or_default()) {
                    all.insert(name.trim_start_matches('$').to_string(), value);
                }
                Some(all)
            }
        };
        if submission.language == Language::Kql {
            let work = Work::Kql(kql::prepare(&sql, parameters.unwrap_or_default())?);
            return Ok(Prepared { work, effective: sql.clone(), sql, template_name });
        }
        let effective = match &parameters {
            Some(parameters) => parameters::substitute(&sql, parameters)?,
            None => sql.clone(),
        };
        let statements = parse_statements(&effective).map_err(|fault| Error::bad_request(fault.message))?;
        if statements.is_empty() {
            return Err(Error::bad_request("found no statement, expected one"));
        }
        if let Some(what) = statements.iter().find_map(session::needs_connection) {
            return Err(Error::bad_request(format!("{what} needs a connection of the PostgreSQL protocol")));
        }
        if submission.target.is_some() && !matches!(statements.as_slice(), [Statement::Rows(_)]) {
            return Err(Error::bad_request("ctasParameters and insertIntoParameters need a SELECT statement"));
        }
        if submission.reads_only && statements.iter().any(session::writes) {
            return Err(Error::bad_request("a statement that writes is not taken here; submit it under /queries"));
        }
        Ok(Prepared { work: Work::Sql(statements), sql, effective, template_name })
    }

    pub(super) async fn submit_as(&self, tenant: &Tenant, submission: Submission, id: String) -> Result<Job> {
        let prepared = self.prepare(tenant, &submission).await?;
        self.submit_prepared(tenant, submission, prepared, id).await
    }

    async fn submit_prepared(
        &self,
        tenant: &Tenant,
        submission: Submission,
        prepared: Prepared,
        id: String,
    ) -> Result<Job> {
        if self.is_stopping() {
            return Err(Error::new(Fault::Stopping, "the server is stopping"));
        }
        let Prepared { work, sql, effective, template_name } = prepared;
        let (is_ctas, is_insert) = match &work {
            Work::Sql(statements) => {
                (statements.iter().any(Statement::is_ctas), statements.iter().any(Statement::is_insert))
            }
            Work::Kql(_) => (false, false),
        };
        let effective_sql = (effective != sql).then_some(effective);
        let body = Body {
            request: submission.request,
            sql,
            effective_sql,
            database: submission.database,
            is_ctas: is_ctas || matches!(submission.target, Some(Target::Create(_))),
            is_insert: is_insert || matches!(submission.target, Some(Target::Insert(_))),
            target: submission.target,
            client: submission.client,
            user: submission.user,
            row_count: 0,
            errors: Vec::new(),
            started: None,
            references: Vec::new(),
            created_dataset: None,
            soft_deleted: false,
            kept: None,
            template_name,
            schedule: submission.schedule,
            language: submission.language,
            hidden: false,
            used: None,
        };
        let live = Live::default();
        {
            let mut all = self.inner().jobs.live.lock();
            if all.len() >= MAX_WAITING {
                return Err(Error::new(Fault::Throttled, format!("{MAX_WAITING} queries are waiting already")));
            }
            all.insert(id.clone(), live.clone());
        }
        let value = serde_json::to_value(&body).map_err(|error| Error::internal(error.to_string()))?;
        let scope = tenant.scope();
        let stored = self.store().jobs().insert(KIND, &scope, &id, |_| (State::Submitted.name().into(), value));
        let record = match stored.await {
            Ok(record) => record,
            Err(error) => {
                self.inner().jobs.live.lock().remove(&id);
                return Err(error.into());
            }
        };
        let job = job_of(&record, record.created)?;
        let identity = Arc::new(submission.identity);
        let run = runner::Run {
            scope: record.scope,
            id,
            body,
            work,
            live,
            usage: Usage::default(),
            identity,
            session: None,
            commits: Default::default(),
        };
        let service = self.clone();
        self.spawn(async move { run.carry_out(&service).await });
        Ok(job)
    }
}
