//! Records of jobs: JSON keyed by id, listed by two order values that are unique within a scope.
//!
//! What a record means is its owner's business. This module gives what ordering, paging and restart need: a clock of
//! microseconds that never gives the same value twice in a scope, changes that are one transaction each, and answers
//! only after the disk has confirmed. Source: query-service-api section 8, "Ties in `created`".

mod list;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::Value;

use crate::catalog::sqlite;
use crate::error::{Entity, Error, Result};
use crate::fault::{FaultPoint, Faults};
use crate::store::{Clock, blocking};

use list::Readers;
pub use list::{JobCondition, JobMember};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS jobs (
  kind TEXT NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  state TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, scope, id)) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_created ON jobs (kind, scope, created);
CREATE INDEX IF NOT EXISTS jobs_by_updated ON jobs (kind, scope, updated);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (kind, state);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (kind, created, scope);
";

const COLUMNS: &str = "kind, scope, id, created, updated, state, value";

/// A stored record.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// What sort of record this is: `query`, `schedule`, ...
    pub kind: String,
    /// Within what ids and order values are unique: an organisation and sandbox, say.
    pub scope: String,
    /// Its id.
    pub id: String,
    /// Order value: microseconds since 1970 when it was created; unique in its kind and scope.
    pub created: i64,
    /// Order value: microseconds since 1970 of the last change; unique likewise, equal to `created` at first.
    pub updated: i64,
    /// A short text that can be listed by.
    pub state: String,
    /// Everything else.
    pub value: Value,
}

/// Which order value a list follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOrder {
    /// By creation.
    Created,
    /// By the last change.
    Updated,
}

impl JobOrder {
    fn column(self) -> &'static str {
        match self {
            JobOrder::Created => "created",
            JobOrder::Updated => "updated",
        }
    }
}

/// What part of a list to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobPage {
    /// The order.
    pub order: JobOrder,
    /// Newest first.
    pub descending: bool,
    /// Smallest order value, itself included.
    pub from: Option<i64>,
    /// Largest order value, itself included.
    pub to: Option<i64>,
    /// Most records.
    pub limit: usize,
}

/// The records of one store. Clones share it.
#[derive(Clone)]
pub struct JobStore {
    inner: Arc<Mutex<Inner>>,
    /// For lists, which may be long: they see what is committed and keep nobody from submitting.
    readers: Readers,
}

struct Inner {
    connection: Connection,
    faults: Faults,
    clock: Clock,
    /// The last value given, by kind and scope.
    last: HashMap<(String, String), i64>,
}

impl std::fmt::Debug for JobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobStore")
    }
}

impl JobStore {
    pub(crate) fn open(path: &Path, clock: Clock, faults: Faults) -> Result<Self> {
        let connection = sqlite::connect(path)?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(&list::indexes())?;
        let readers = Readers::new(path);
        Ok(Self { inner: Arc::new(Mutex::new(Inner { connection, faults, clock, last: HashMap::new() })), readers })
    }

    /// Stores a new record; `make` gets its creation time and gives state and value.
    ///
    /// Errors: [`Error::Exists`] when the id is taken.
    pub async fn insert(
        &self,
        kind: &str,
        scope: &str,
        id: &str,
        make: impl FnOnce(i64) -> (String, Value) + Send + 'static,
    ) -> Result<JobRecord> {
        let (kind, scope, id) = (kind.to_string(), scope.to_string(), id.to_string());
        self.run(move |inner| {
            let now = inner.tick(&kind, &scope)?;
            let (state, value) = make(now);
            let record = JobRecord { kind, scope, id, created: now, updated: now, state, value };
            let transaction = inner.begin()?;
            if find(&transaction, &record.kind, &record.scope, &record.id)?.is_some() {
                return Err(Error::exists(Entity::Job, &record.id));
            }
            save(&transaction, &record)?;
            transaction.commit()?;
            Ok(record)
        })
        .await
    }

    /// The record with this id.
    pub async fn get(&self, kind: &str, scope: &str, id: &str) -> Result<Option<JobRecord>> {
        let (kind, scope, id) = (kind.to_string(), scope.to_string(), id.to_string());
        self.run(move |inner| find(&inner.connection, &kind, &scope, &id)).await
    }

    /// Reads, changes and stores a record in one transaction. `change` gets the record and the time it would have; if
    /// it changes state or value, the record is stored with that time as `updated`. Returns the record as it is then
    /// and what `change` returned; `None` when there is no such record.
    pub async fn update<T: Send + 'static>(
        &self,
        kind: &str,
        scope: &str,
        id: &str,
        change: impl FnOnce(&mut JobRecord, i64) -> T + Send + 'static,
    ) -> Result<Option<(JobRecord, T)>> {
        self.change(kind, scope, id, true, change).await
    }

    /// Like [`JobStore::update`], but `updated` stays as it is: for marks that are no change of the job itself.
    pub async fn amend(
        &self,
        kind: &str,
        scope: &str,
        id: &str,
        change: impl FnOnce(&mut JobRecord) + Send + 'static,
    ) -> Result<Option<JobRecord>> {
        let changed = self.change(kind, scope, id, false, |record, _| change(record)).await?;
        Ok(changed.map(|(record, ())| record))
    }

    async fn change<T: Send + 'static>(
        &self,
        kind: &str,
        scope: &str,
        id: &str,
        touch: bool,
        change: impl FnOnce(&mut JobRecord, i64) -> T + Send + 'static,
    ) -> Result<Option<(JobRecord, T)>> {
        let (kind, scope, id) = (kind.to_string(), scope.to_string(), id.to_string());
        self.run(move |inner| {
            let now = inner.tick(&kind, &scope)?;
            let transaction = inner.begin()?;
            let Some(before) = find(&transaction, &kind, &scope, &id)? else { return Ok(None) };
            let mut record = before.clone();
            let outcome = change(&mut record, now);
            let (state, value) = (record.state, record.value);
            if state == before.state && value == before.value {
                return Ok(Some((before, outcome)));
            }
            // Identity and creation are not the closure's to change.
            let updated = if touch { now } else { before.updated };
            let record = JobRecord { state, value, updated, ..before };
            save(&transaction, &record)?;
            if touch {
                // The record says itself now what a commit has noted for it.
                transaction.prepare_cached("DELETE FROM notes WHERE name = ?1")?.execute([&record.id])?;
            }
            transaction.commit()?;
            Ok(Some((record, outcome)))
        })
        .await
    }

    /// What a commit of data has noted for a record that was not changed since.
    pub async fn note(&self, id: &str) -> Result<Option<Value>> {
        let id = id.to_string();
        self.run(move |inner| {
            let mut statement = inner.connection.prepare_cached("SELECT value FROM notes WHERE name = ?1")?;
            let text: Option<String> = statement.query_row([id], |row| row.get(0)).optional()?;
            let value = text.map(|text| serde_json::from_str(&text)).transpose();
            value.map_err(|error| Error::Corrupt(format!("note of a job: {error}")))
        })
        .await
    }

    /// Removes a record; tells whether there was one.
    pub async fn remove(&self, kind: &str, scope: &str, id: &str) -> Result<bool> {
        let (kind, scope, id) = (kind.to_string(), scope.to_string(), id.to_string());
        self.run(move |inner| {
            let sql = "DELETE FROM jobs WHERE kind = ?1 AND scope = ?2 AND id = ?3";
            Ok(inner.connection.execute(sql, [kind, scope, id])? > 0)
        })
        .await
    }

    /// Removes all records of a kind and scope.
    pub async fn remove_scope(&self, kind: &str, scope: &str) -> Result<usize> {
        let (kind, scope) = (kind.to_string(), scope.to_string());
        self.run(move |inner| {
            let sql = "DELETE FROM jobs WHERE kind = ?1 AND scope = ?2";
            Ok(inner.connection.execute(sql, [kind, scope])?)
        })
        .await
    }

    /// Removes the records of a kind, of every scope, that were made before a time; tells how many there were.
    pub async fn remove_before(&self, kind: &str, created: i64) -> Result<usize> {
        let kind = kind.to_string();
        self.run(move |inner| {
            let sql = "DELETE FROM jobs WHERE kind = ?1 AND created < ?2";
            Ok(inner.connection.execute(sql, params![kind, created])?)
        })
        .await
    }

    /// Whether other records have their order value in the same millisecond, for each of the values.
    pub async fn shared_milliseconds(
        &self,
        kind: &str,
        scope: &str,
        order: JobOrder,
        values: Vec<i64>,
    ) -> Result<Vec<bool>> {
        let (kind, scope) = (kind.to_string(), scope.to_string());
        self.read(move |connection| {
            let column = order.column();
            let sql = format!(
                "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE kind = ?1 AND scope = ?2 AND {column} BETWEEN ?3 AND ?4
                 LIMIT 2)"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let shares = values.into_iter().map(|value| {
                let first = value.div_euclid(1000) * 1000;
                let count: i64 = statement.query_row(params![kind, scope, first, first + 999], |row| row.get(0))?;
                Ok(count > 1)
            });
            shares.collect()
        })
        .await
    }

    /// How many records `keep` accepts.
    pub async fn count(
        &self,
        kind: &str,
        scope: &str,
        mut keep: impl FnMut(&JobRecord) -> bool + Send + 'static,
    ) -> Result<usize> {
        let page = JobPage { order: JobOrder::Created, descending: false, from: None, to: None, limit: usize::MAX };
        let counted = Arc::new(Mutex::new(0));
        let count = Arc::clone(&counted);
        self.list(kind, scope, page, move |record| {
            if keep(record) {
                *count.lock() += 1;
            }
            // Counted, not collected.
            false
        })
        .await?;
        let count = *counted.lock();
        Ok(count)
    }

    /// All records of a kind in one of these states, of every scope, oldest first: what a restart has to look after.
    pub async fn in_states(&self, kind: &str, states: &[&str]) -> Result<Vec<JobRecord>> {
        let kind = kind.to_string();
        let states: Vec<String> = states.iter().map(ToString::to_string).collect();
        self.run(move |inner| {
            let sql = format!("SELECT {COLUMNS} FROM jobs WHERE kind = ?1 AND state = ?2");
            let mut statement = inner.connection.prepare_cached(&sql)?;
            let mut found = Vec::new();
            for state in states {
                let mut rows = statement.query([&kind, &state])?;
                while let Some(row) = rows.next()? {
                    found.push(read(row)?);
                }
            }
            found.sort_by_key(|record: &JobRecord| record.created);
            Ok(found)
        })
        .await
    }

    /// Records of a kind and of every scope, newest first, from one made at `before` or earlier; at most `limit`.
    pub async fn newest(&self, kind: &str, before: i64, limit: usize) -> Result<Vec<JobRecord>> {
        let kind = kind.to_string();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM jobs INDEXED BY jobs_by_time WHERE kind = ?1 AND created <= ?2
                 ORDER BY created DESC, scope DESC LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![kind, before, i64::try_from(limit).unwrap_or(i64::MAX)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(read(row)?);
            }
            Ok(found)
        })
        .await
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let readers = self.readers.clone();
        blocking(move || readers.with(work)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let mut inner = inner.lock();
            inner.faults.at(FaultPoint::Record).map_err(Error::io("change", Path::new("a record")))?;
            work(&mut inner)
        })
        .await
    }
}

impl Inner {
    /// Now in microseconds at millisecond precision, or one more than the last value where that is taken.
    fn tick(&mut self, kind: &str, scope: &str) -> Result<i64> {
        let now = (self.clock.now() - crate::UNIX_EPOCH_TICKS).div_euclid(10_000) * 1000;
        let key = (kind.to_string(), scope.to_string());
        let last = match self.last.get(&key) {
            Some(last) => Some(*last),
            None => {
                let sql = "SELECT max(updated) FROM jobs WHERE kind = ?1 AND scope = ?2";
                self.connection.prepare_cached(sql)?.query_row([kind, scope], |row| row.get(0))?
            }
        };
        let value = last.map_or(now, |last| now.max(last + 1));
        self.last.insert(key, value);
        Ok(value)
    }

    fn begin(&mut self) -> Result<Transaction<'_>> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

fn find(connection: &Connection, kind: &str, scope: &str, id: &str) -> Result<Option<JobRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE kind = ?1 AND scope = ?2 AND id = ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_row([kind, scope, id], |row| Ok(read(row))).optional()?;
    found.transpose()
}

fn read(row: &Row<'_>) -> Result<JobRecord> {
    let value: String = row.get(6)?;
    let value = serde_json::from_str(&value).map_err(|error| Error::Corrupt(format!("job record: {error}")))?;
    Ok(JobRecord {
        kind: row.get(0)?,
        scope: row.get(1)?,
        id: row.get(2)?,
        created: row.get(3)?,
        updated: row.get(4)?,
        state: row.get(5)?,
        value,
    })
}

fn save(transaction: &Transaction<'_>, record: &JobRecord) -> Result<()> {
    let JobRecord { kind, scope, id, created, updated, state, value } = record;
    let sql = "INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let value = value.to_string();
    transaction.prepare_cached(sql)?.execute(params![kind, scope, id, created, updated, state, value])?;
    Ok(())
}
