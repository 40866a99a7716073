//! What clients are told about their files: two queues of messages and a table of entities, as Azure Storage has them.
//!
//! Both are records of the store, so that they outlive the process; the oldest go when there are too many.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tidewater_store::{JobOrder, JobPage, JobStore};
use uuid::Uuid;

use crate::context::now_ticks;
use crate::error::{Error, Fault, Result};

const MESSAGES: &str = "queued status message";
const ENTITIES: &str = "queued status entity";
const SCOPE: &str = "";
/// How long messages and entities are kept. Source: Azure's queues keep messages for a week.
pub(super) const MAX_AGE_TICKS: i64 = 7 * 864_000_000_000;
/// Messages that one request gets. Source: Azure's Get Messages page.
const MAX_MESSAGES: usize = 32;
/// Entities of one answer. Source: Azure's Query Entities page.
const MAX_ENTITIES: usize = 1000;
const TICKS_PER_SECOND: i64 = 10_000_000;

/// Which queue of status messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// Files that were ingested.
    Succeeded,
    /// Files that were not.
    Failed,
}

impl Mailbox {
    fn scope(self) -> &'static str {
        match self {
            Mailbox::Succeeded => "succeeded",
            Mailbox::Failed => "failed",
        }
    }
}

/// A message of a queue. Times are ticks.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its id.
    pub id: String,
    /// Base64.
    pub text: String,
    /// When it was put in.
    pub inserted: i64,
    /// When it goes by itself.
    pub expires: i64,
    /// When others see it (again).
    pub visible: i64,
    /// What its deletion must show.
    pub receipt: String,
    /// How often it was received.
    pub count: i64,
}

/// The queues and the table. Clones share them.
#[derive(Clone)]
pub struct Mailboxes {
    jobs: JobStore,
}

fn ticks_of(micros: i64) -> i64 {
    tidewater_kql::value::datetime::UNIX_EPOCH_TICKS + micros * 10
}

fn mail(record: &tidewater_store::JobRecord) -> Mail {
    let value = &record.value;
    let inserted = ticks_of(record.created);
    Mail {
        id: record.id.clone(),
        text: value["text"].as_str().unwrap_or_default().to_string(),
        inserted,
        expires: inserted + MAX_AGE_TICKS,
        visible: value["visible"].as_i64().unwrap_or_default(),
        receipt: value["receipt"].as_str().unwrap_or_default().to_string(),
        count: value["count"].as_i64().unwrap_or_default(),
    }
}

impl Mailboxes {
    pub(super) fn new(jobs: JobStore) -> Mailboxes {
        Mailboxes { jobs }
    }

    /// Puts a message in.
    pub async fn post(&self, mailbox: Mailbox, message: &Value) -> Result<()> {
        let text = STANDARD.encode(message.to_string());
        let value = json!({"text": text, "visible": 0, "receipt": "", "count": 0});
        let id = Uuid::new_v4().to_string();
        let make = move |_| (String::new(), value);
        self.jobs.insert(MESSAGES, mailbox.scope(), &id, make).await?;
        Ok(())
    }

    /// Messages that nobody else has received just now; peeking changes nothing.
    pub async fn take(&self, mailbox: Mailbox, count: usize, hidden_seconds: i64, peek: bool) -> Result<Vec<Mail>> {
        let now = now_ticks();
        let page = JobPage {
            order: JobOrder::Created,
            descending: false,
            from: None,
            to: None,
            limit: count.clamp(1, MAX_MESSAGES),
        };
        let free =
            move |record: &tidewater_store::JobRecord| record.value["visible"].as_i64().is_none_or(|at| at <= now);
        let found = self.jobs.list(MESSAGES, mailbox.scope(), page, free).await?;
        if peek {
            return Ok(found.iter().map(mail).collect());
        }
        let until = now + hidden_seconds.clamp(0, 7 * 86_400) * TICKS_PER_SECOND;
        let mut taken = Vec::with_capacity(found.len());
        for record in found {
            let receipt = Uuid::new_v4().to_string();
            let own = receipt.clone();
            let change = move |record: &mut tidewater_store::JobRecord| {
                // Somebody else may have been faster.
                if record.value["visible"].as_i64().is_some_and(|at| at > now) {
                    return;
                }
                record.value["visible"] = until.into();
                record.value["receipt"] = own.into();
                record.value["count"] = (record.value["count"].as_i64().unwrap_or_default() + 1).into();
            };
            let changed = self.jobs.amend(MESSAGES, mailbox.scope(), &record.id, change).await?;
            taken.extend(changed.as_ref().map(mail).filter(|mail| mail.receipt == receipt));
        }
        Ok(taken)
    }

    /// Deletes a message that was received.
    pub async fn delete(&self, mailbox: Mailbox, id: &str, receipt: &str) -> Result<()> {
        let known = self.jobs.get(MESSAGES, mailbox.scope(), id).await?;
        match known {
            Some(record) if mail(&record).receipt == receipt => {
                self.jobs.remove(MESSAGES, mailbox.scope(), id).await?;
                Ok(())
            }
            _ => Err(Error::new(Fault::EntityNotFound, "the message does not exist, or somebody else has received it")),
        }
    }

    /// Hides a message that was received for other seconds; gives its new state.
    pub async fn hide(&self, mailbox: Mailbox, id: &str, receipt: &str, seconds: i64) -> Result<Mail> {
        let missing =
            || Error::new(Fault::EntityNotFound, "the message does not exist, or somebody else has received it");
        let known = self.jobs.get(MESSAGES, mailbox.scope(), id).await?;
        if known.is_none_or(|record| mail(&record).receipt != receipt) {
            return Err(missing());
        }
        let until = now_ticks() + seconds.clamp(0, 7 * 86_400) * TICKS_PER_SECOND;
        let change = move |record: &mut tidewater_store::JobRecord| {
            record.value["visible"] = until.into();
            record.value["receipt"] = Uuid::new_v4().to_string().into();
        };
        let changed = self.jobs.amend(MESSAGES, mailbox.scope(), id, change).await?;
        changed.as_ref().map(mail).ok_or_else(missing)
    }

    /// Removes all messages of a queue.
    pub async fn clear(&self, mailbox: Mailbox) -> Result<()> {
        self.jobs.remove_scope(MESSAGES, mailbox.scope()).await?;
        Ok(())
    }

    /// How many messages a queue has.
    pub async fn count(&self, mailbox: Mailbox) -> Result<usize> {
        Ok(self.jobs.count(MESSAGES, mailbox.scope(), |_| true).await?)
    }

    /// Inserts an entity of the status table.
    ///
    /// Errors: one with these keys exists.
    pub async fn insert_entity(&self, partition: &str, row: &str, entity: Map<String, Value>) -> Result<()> {
        let id = entity_id(partition, row);
        if self.jobs.get(ENTITIES, SCOPE, &id).await?.is_some() {
            return Err(Error::new(Fault::EntityExists, "the entity exists already"));
        }
        let make = move |_| (String::new(), Value::Object(entity));
        self.jobs.insert(ENTITIES, SCOPE, &id, make).await?;
        Ok(())
    }

    /// Changes an entity, and makes it if it is missing.
    pub async fn put_entity(&self, partition: &str, row: &str, entity: Map<String, Value>, merge: bool) -> Result<()> {
        let id = entity_id(partition, row);
        let given = entity.clone();
        let change = move |record: &mut tidewater_store::JobRecord| match &mut record.value {
            Value::Object(known) if merge => known.extend(given),
            value => *value = Value::Object(given),
        };
        if self.jobs.amend(ENTITIES, SCOPE, &id, change).await?.is_none() {
            self.insert_entity(partition, row, entity).await?;
        }
        Ok(())
    }

    /// An entity with when it was made, in ticks.
    pub async fn entity(&self, partition: &str, row: &str) -> Result<Option<(Map<String, Value>, i64)>> {
        let found = self.jobs.get(ENTITIES, SCOPE, &entity_id(partition, row)).await?;
        Ok(found.and_then(|record| match record.value {
            Value::Object(entity) => Some((entity, ticks_of(record.updated))),
            _ => None,
        }))
    }

    /// The first entities.
    pub async fn entities(&self) -> Result<Vec<Map<String, Value>>> {
        let page = JobPage { order: JobOrder::Created, descending: true, from: None, to: None, limit: MAX_ENTITIES };
        let found = self.jobs.list(ENTITIES, SCOPE, page, |_| true).await?;
        Ok(found
            .into_iter()
            .filter_map(|record| match record.value {
                Value::Object(entity) => Some(entity),
                _ => None,
            })
            .collect())
    }

    /// Removes an entity; tells whether there was one.
    pub async fn remove_entity(&self, partition: &str, row: &str) -> Result<bool> {
        Ok(self.jobs.remove(ENTITIES, SCOPE, &entity_id(partition, row)).await?)
    }

    /// Removes what is too old.
    pub(super) async fn sweep(&self, now: i64) -> Result<()> {
        let before = (now - MAX_AGE_TICKS - tidewater_kql::value::datetime::UNIX_EPOCH_TICKS) / 10;
        for kind in [MESSAGES, ENTITIES] {
            self.jobs.remove_before(kind, before).await?;
        }
        Ok(())
    }
}

fn entity_id(partition: &str, row: &str) -> String {
    json!([partition, row]).to_string()
}
