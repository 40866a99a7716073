//! Submission: everything that can be refused without the catalog is refused before a record exists.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewater_plan::sql::{Statement, parse_statement};
use tokio_util::sync::CancellationToken;

use super::{Body, Job, KIND, MAX_WAITING, State, Tenant, job_of, parameters, runner};
use crate::error::{Error, Fault, Result};
use crate::service::Service;

/// The table that a submission's parameter block names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// `ctasParameters`.
    Create(String),
    /// `insertIntoParameters`.
    Insert(String),
}

/// What a front submits.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The fields that the caller gave.
    pub request: Value,
    /// The statement as sent.
    pub sql: String,
    /// Values for its placeholders; `None` leaves `$` alone.
    pub parameters: Option<Map<String, Value>>,
    /// The database; `None` is all of them.
    pub database: Option<String>,
    /// A parameter block.
    pub target: Option<Target>,
    /// `API`, ...
    pub client: String,
    /// Who.
    pub user: String,
}

impl Service {
    /// Stores a job and starts it; the answer is the job in SUBMITTED.
    ///
    /// *Errors*: a statement that does not parse, a placeholder without value, a full queue. Nothing is recorded then.
    pub async fn submit_job(&self, tenant: &Tenant, submission: Submission) -> Result<Job> {
        if self.is_stopping() {
            return Err(Error::new(Fault::Stopping, "the server is stopping"));
        }
        let effective = match &submission.parameters {
            Some(parameters) => parameters::substitute(&submission.sql, parameters)?,
            None => submission.sql.clone(),
        };
        let statement = parse_statement(&effective).map_err(|fault| Error::bad_request(fault.message))?;
        if submission.target.is_some() && !matches!(statement, Statement::Rows(_)) {
            return Err(Error::bad_request("ctasParameters and insertIntoParameters need a SELECT statement"));
        }
        let effective_sql = (effective != submission.sql).then(|| effective.clone());
        let body = Body {
            request: submission.request,
            sql: submission.sql,
            effective_sql,
            database: submission.database,
            is_ctas: statement.is_ctas() || matches!(submission.target, Some(Target::Create(_))),
            is_insert: statement.is_insert() || matches!(submission.target, Some(Target::Insert(_))),
            target: submission.target,
            client: submission.client,
            user: submission.user,
            row_count: 0,
            errors: Vec::new(),
            started: None,
            references: Vec::new(),
            created_dataset: None,
            soft_deleted: false,
        };
        let id = uuid::Uuid::new_v4().to_string();
        let token = CancellationToken::new();
        {
            let mut tokens = self.inner().jobs.tokens.lock();
            if tokens.len() >= MAX_WAITING {
                return Err(Error::new(Fault::Throttled, format!("{MAX_WAITING} queries are waiting already")));
            }
            tokens.insert(id.clone(), token.clone());
        }
        let value = serde_json::to_value(&body).map_err(|error| Error::internal(error.to_string()))?;
        let scope = tenant.scope();
        let stored = self.store().jobs().insert(KIND, &scope, &id, |_| (State::Submitted.name().into(), value));
        let record = match stored.await {
            Ok(record) => record,
            Err(error) => {
                self.inner().jobs.tokens.lock().remove(&id);
                return Err(error.into());
            }
        };
        let job = job_of(&record, record.created)?;
        let run = runner::Run { scope: record.scope, id, body, statement, token };
        let service = self.clone();
        self.spawn(async move { run.carry_out(&service).await });
        Ok(job)
    }
}
