//! Lists of records: one page in order, found through an index where the conditions have one.
//!
//! Lists read on connections of their own, so that a long search keeps nobody from submitting or listing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Rows, params_from_iter};
use tokio::sync::Semaphore;

use super::{COLUMNS, JobOrder, JobPage, JobRecord, JobStore, read};
use crate::catalog::sqlite;
use crate::error::{Error, Result};

/// Connections that are kept open for the next list.
const KEPT_READERS: usize = 8;
/// Searches without an index that run at once; others wait.
const MAX_SEARCHES: usize = 4;
/// Records found through an index that are sorted rather than looked for in order.
const MAX_SORTED: i64 = 1_000;

/// A member of the value by which records are found at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobMember {
    /// `user`.
    User,
    /// `client`.
    Client,
    /// `schedule.schedule`.
    Schedule,
    /// `schedule.run`.
    Run,
    /// `request.templateId`, which some write `templateID`.
    Template,
}

impl JobMember {
    const ALL: [JobMember; 5] =
        [JobMember::User, JobMember::Client, JobMember::Schedule, JobMember::Run, JobMember::Template];

    fn index(self) -> &'static str {
        match self {
            JobMember::User => "jobs_by_user",
            JobMember::Client => "jobs_by_client",
            JobMember::Schedule => "jobs_by_schedule",
            JobMember::Run => "jobs_by_run",
            JobMember::Template => "jobs_by_template",
        }
    }

    /// The expression of the index; conditions must repeat it to the letter.
    fn expression(self) -> &'static str {
        match self {
            JobMember::User => "json_extract(value, '$.user')",
            JobMember::Client => "json_extract(value, '$.client')",
            JobMember::Schedule => "json_extract(value, '$.schedule.schedule')",
            JobMember::Run => "json_extract(value, '$.schedule.run')",
            JobMember::Template => {
                "coalesce(json_extract(value, '$.request.templateId'), json_extract(value, '$.request.templateID'))"
            }
        }
    }
}

/// What a listed record has. All conditions of a list hold.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCondition {
    /// Its state is one of these.
    States(Vec<String>),
    /// Its id.
    Id(String),
    /// It was created in this time, ends included.
    Created(i64, i64),
    /// It was last changed in this time, ends included.
    Updated(i64, i64),
    /// A member of its value is this text.
    Member(JobMember, String),
    /// The JSON text of its value holds this text.
    Holds(String),
}

/// The indexes of lists.
pub(super) fn indexes() -> String {
    let mut sql = String::from(
        "CREATE INDEX IF NOT EXISTS jobs_by_scope_state ON jobs (kind, scope, state, created);
         CREATE INDEX IF NOT EXISTS jobs_by_scope_state_updated ON jobs (kind, scope, state, updated);\n",
    );
    for member in JobMember::ALL {
        let (index, expression) = (member.index(), member.expression());
        sql.push_str(&format!(
            "CREATE INDEX IF NOT EXISTS {index} ON jobs (kind, scope, {expression}, created)
             WHERE {expression} IS NOT NULL;\n"
        ));
    }
    sql
}

/// Connections that only read. Clones share them.
#[derive(Clone)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    free: Arc<Mutex<Vec<Connection>>>,
    searches: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        let searches = Arc::new(Semaphore::new(MAX_SEARCHES));
        Self { path: Arc::new(path.to_path_buf()), free: Arc::default(), searches }
    }

    /// Reads on a connection that nobody else uses meanwhile. Blocks.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let free = self.free.lock().pop();
        let connection = match free {
            Some(connection) => connection,
            None => sqlite::connect(&self.path)?,
        };
        let outcome = work(&connection);
        let mut free = self.free.lock();
        if free.len() < KEPT_READERS {
            free.push(connection);
        }
        outcome
    }
}

/// A query and the values of its `?`s.
struct Statement {
    sql: String,
    values: Vec<SqlValue>,
}

/// What all statements of a search ask for: the fixed part, order values, further clauses.
struct Clauses<'a> {
    kind: &'a str,
    scope: &'a str,
    page: JobPage,
    from: i64,
    to: i64,
    more: Vec<(String, Vec<SqlValue>)>,
}

impl Clauses<'_> {
    /// The statement over one index, in the page's order.
    fn statement(&self, index: Option<&str>, first: &[(String, SqlValue)]) -> Statement {
        let column = self.page.order.column();
        let direction = if self.page.descending { "DESC" } else { "ASC" };
        let index = index.map(|index| format!(" INDEXED BY {index}")).unwrap_or_default();
        let mut sql = format!("SELECT {COLUMNS} FROM jobs{index} WHERE kind = ? AND scope = ?");
        let mut values = vec![SqlValue::from(self.kind.to_string()), SqlValue::from(self.scope.to_string())];
        for (clause, value) in first {
            sql.push_str(&format!(" AND {clause}"));
            values.push(value.clone());
        }
        sql.push_str(&format!(" AND {column} BETWEEN ? AND ?"));
        values.extend([SqlValue::from(self.from), SqlValue::from(self.to)]);
        for (clause, given) in &self.more {
            sql.push_str(&format!(" AND {clause}"));
            values.extend(given.iter().cloned());
        }
        sql.push_str(&format!(" ORDER BY {column} {direction}"));
        Statement { sql, values }
    }

    /// Whether few records have a member's value.
    fn is_rare(&self, connection: &Connection, member: JobMember, value: &str) -> Result<bool> {
        let (index, expression) = (member.index(), member.expression());
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY {index} WHERE kind = ?1 AND scope = ?2
             AND {expression} = ?3 AND {expression} IS NOT NULL LIMIT {})",
            MAX_SORTED + 1
        );
        let count: i64 =
            connection.prepare_cached(&sql)?.query_row([self.kind, self.scope, value], |row| row.get(0))?;
        Ok(count <= MAX_SORTED)
    }
}

/// The statements whose records, each in order, are merged.
fn search(
    connection: &Connection,
    kind: &str,
    scope: &str,
    page: JobPage,
    conditions: &[JobCondition],
) -> Result<Vec<Statement>> {
    let (from, to) = (page.from.unwrap_or(i64::MIN), page.to.unwrap_or(i64::MAX));
    let mut clauses = Clauses { kind, scope, page, from, to, more: Vec::new() };
    let mut states: Option<Vec<String>> = None;
    let mut has_id = false;
    let mut members = Vec::new();
    for condition in conditions {
        match condition {
            JobCondition::States(given) => {
                states = Some(match states {
                    None => given.clone(),
                    Some(states) => states.into_iter().filter(|state| given.contains(state)).collect(),
                });
            }
            JobCondition::Id(id) => {
                has_id = true;
                clauses.more.push(("id = ?".into(), vec![id.clone().into()]));
            }
            JobCondition::Created(first, last) if page.order == JobOrder::Created => {
                clauses.from = clauses.from.max(*first);
                clauses.to = clauses.to.min(*last);
            }
            JobCondition::Updated(first, last) if page.order == JobOrder::Updated => {
                clauses.from = clauses.from.max(*first);
                clauses.to = clauses.to.min(*last);
            }
            // No record was changed before it was created.
            JobCondition::Created(first, last) => {
                clauses.from = clauses.from.max(*first);
                clauses.more.push(("created BETWEEN ? AND ?".into(), vec![(*first).into(), (*last).into()]));
            }
            JobCondition::Updated(first, last) => {
                clauses.to = clauses.to.min(*last);
                clauses.more.push(("updated BETWEEN ? AND ?".into(), vec![(*first).into(), (*last).into()]));
            }
            JobCondition::Member(member, value) => members.push((*member, value.clone())),
            JobCondition::Holds(text) => clauses.more.push(("instr(value, ?) > 0".into(), vec![text.clone().into()])),
        }
    }
    let mut index = None;
    for (member, value) in members {
        let expression = member.expression();
        if index.is_none() && !has_id && clauses.is_rare(connection, member, &value)? {
            index = Some((member.index(), vec![(format!("{expression} = ?"), SqlValue::from(value))]));
            clauses.more.push((format!("{expression} IS NOT NULL"), Vec::new()));
        } else {
            clauses.more.push((format!("{expression} = ?"), vec![value.into()]));
        }
    }
    let by_state = match page.order {
        JobOrder::Created => "jobs_by_scope_state",
        JobOrder::Updated => "jobs_by_scope_state_updated",
    };
    let in_order = match page.order {
        JobOrder::Created => "jobs_by_created",
        JobOrder::Updated => "jobs_by_updated",
    };
    Ok(match (index, states) {
        (None, None) => vec![clauses.statement((!has_id).then_some(in_order), &[])],
        (None, Some(states)) if !has_id => {
            let one = |state: String| clauses.statement(Some(by_state), &[("state = ?".into(), state.into())]);
            states.into_iter().map(one).collect()
        }
        (index, states) => {
            if let Some(states) = states {
                let marks = vec!["?"; states.len()].join(", ");
                clauses.more.push((format!("state IN ({marks})"), states.into_iter().map(SqlValue::from).collect()));
            }
            match index {
                Some((index, first)) => vec![clauses.statement(Some(index), &first)],
                None => vec![clauses.statement(None, &[])],
            }
        }
    })
}

impl JobStore {
    /// Records in order, those that `keep` accepts, at most `page.limit`.
    pub async fn list(
        &self,
        kind: &str,
        scope: &str,
        page: JobPage,
        keep: impl FnMut(&JobRecord) -> bool + Send + 'static,
    ) -> Result<Vec<JobRecord>> {
        self.list_where(kind, scope, page, Vec::new(), keep).await
    }

    /// Records in order, those that meet all conditions and that `keep` accepts, at most `page.limit`. What a condition
    /// can say costs little; `keep` is asked for each record that is left.
    pub async fn list_where(
        &self,
        kind: &str,
        scope: &str,
        page: JobPage,
        conditions: Vec<JobCondition>,
        mut keep: impl FnMut(&JobRecord) -> bool + Send + 'static,
    ) -> Result<Vec<JobRecord>> {
        let (kind, scope) = (kind.to_string(), scope.to_string());
        let is_long = conditions.iter().any(|condition| matches!(condition, JobCondition::Holds(_)));
        let _permit = match is_long {
            true => Some(Arc::clone(&self.readers.searches).acquire_owned().await.map_err(|_| Error::Stopped)?),
            false => None,
        };
        self.read(move |connection| {
            let search = search(connection, &kind, &scope, page, &conditions)?;
            merged(connection, &search, page, &mut keep)
        })
        .await
    }
}

/// The records of all statements in one order.
fn merged(
    connection: &Connection,
    search: &[Statement],
    page: JobPage,
    keep: &mut dyn FnMut(&JobRecord) -> bool,
) -> Result<Vec<JobRecord>> {
    let mut prepared = Vec::with_capacity(search.len());
    for statement in search {
        prepared.push(connection.prepare_cached(&statement.sql)?);
    }
    let mut cursors = Vec::with_capacity(search.len());
    for (prepared, statement) in prepared.iter_mut().zip(search) {
        let mut rows = prepared.query(params_from_iter(&statement.values))?;
        let next = next_kept(&mut rows, keep)?;
        cursors.push((rows, next));
    }
    let value = |record: &JobRecord| match page.order {
        JobOrder::Created => record.created,
        JobOrder::Updated => record.updated,
    };
    let mut found = Vec::new();
    while found.len() < page.limit {
        let ahead = cursors.iter().enumerate().filter_map(|(at, (_, next))| Some((at, value(next.as_ref()?))));
        let first = match page.descending {
            true => ahead.max_by_key(|(_, value)| *value),
            false => ahead.min_by_key(|(_, value)| *value),
        };
        let Some((at, _)) = first else { break };
        let (rows, next) = &mut cursors[at];
        found.extend(next.take());
        // The last one wanted needs no successor, which may be far.
        if found.len() < page.limit {
            *next = next_kept(rows, keep)?;
        }
    }
    Ok(found)
}

fn next_kept(rows: &mut Rows<'_>, keep: &mut dyn FnMut(&JobRecord) -> bool) -> Result<Option<JobRecord>> {
    while let Some(row) = rows.next()? {
        let record = read(row)?;
        if keep(&record) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
