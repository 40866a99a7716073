//! Batches: files of one table, read together and made visible by one commit.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidewater_formats::{Compression, Format};
use tidewater_store::{Expect, PropertyEdit, PropertyKey, PropertyOwner, TableId};
use uuid::Uuid;

use super::message::ReportLevel;
use super::{BATCHED, FAILED, Item, MESSAGES, Mailbox, SUCCEEDED, WAITING};
use crate::context::{Context, MAX_TIMEOUT, now_ticks};
use crate::error::{Error, Result};
use crate::external::location::shown;
use crate::identity::Identity;
use crate::ingest::load::{Job, Place, Source};
use crate::ingest::{Payload, SpooledFile, format_of};
use crate::journal::{Mark, Sort};
use crate::rights::Access;
use crate::service::Service;

/// The property by which a table tells its last batch.
const MARK: &str = "queued batch";
/// How often a file is tried whose failure may pass.
const MAX_ATTEMPTS: u64 = 5;
/// Before the second attempt; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Files that a journal names of one batch.
const MAX_NAMED: usize = 20;

fn mark_of(table: TableId) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Table(table), kind: MARK.to_string(), name: String::new() }
}

fn moment(ticks: i64) -> String {
    let mut text = Vec::new();
    tidewater_kql::value::datetime::write_full(ticks, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl Service {
    /// Whether the batch that an item was in has been committed.
    pub(super) fn is_committed(&self, item: &Item, batch: &str) -> bool {
        let snapshot = self.store().snapshot();
        let table = snapshot.database(&item.message.database).and_then(|database| database.table(&item.message.table));
        let mark = table.and_then(|table| snapshot.property(&mark_of(table.id())));
        mark.and_then(Value::as_str) == Some(batch)
    }

    /// Ingests files, those that fail together one by one.
    pub(super) async fn run_batch(&self, items: Vec<Item>) {
        match self.ingest_files(&items).await {
            Ok(activity) => {
                for item in &items {
                    self.told(item, activity, None).await;
                    self.succeeded(item).await;
                }
            }
            // The server stops: the messages are taken up at the next start.
            Err(_) if self.is_stopping() => {}
            Err((_, _)) if items.len() > 1 => {
                for item in items {
                    Box::pin(self.run_batch(vec![item])).await;
                }
            }
            Err((activity, error)) => {
                for item in items {
                    self.failed(item, activity, &error).await;
                }
            }
        }
    }

    async fn ingest_files(&self, items: &[Item]) -> Result<Uuid, (Uuid, Error)> {
        let Some(first) = items.first().map(|item| &item.message) else { return Ok(Uuid::nil()) };
        let mut context = Context::new(&first.database);
        let activity = context.activity_id;
        context.client_request_id = format!("queued;{}", first.id);
        context.application = first.application.clone();
        context.deadline = context.started + MAX_TIMEOUT;
        context.cancel = self.stop_token().child_token();
        let named: Vec<&str> = items.iter().take(MAX_NAMED).map(|item| shown(&item.message.blob)).collect();
        let named = named.join(",");
        let identity = self.sender(items);
        if let Ok(identity) = &identity {
            context.sign_in(Arc::new(identity.clone()));
        }
        let text = format!("queued ingestion of {} files into table {}", items.len(), first.table);
        let mark = self.inner().journal.begin(Sort::Command("DataIngestPull"), &context, &text);
        mark.note_data(|data| {
            data.kind = "BatchIngest".to_string();
            data.table = first.table.clone();
            data.source = named;
            let hidden = |name: &str| !name.eq_ignore_ascii_case("authorizationContext");
            let own = first.properties.iter().filter(|(name, _)| hidden(name));
            let own: Map<String, Value> = own.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            data.properties = Value::Object(own).to_string();
        });
        let outcome = match identity {
            Ok(_) => self.ingest_as(&context, &mark, items).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(activity),
            Err(error) => {
                // Files that fail together are tried alone, and told of then.
                if items.len() > 1 {
                    mark.note(|entry| entry.data = None);
                }
                mark.fail(&error);
                Err((activity, error))
            }
        }
    }

    /// Who sent the messages; all of a batch are of one sender.
    fn sender(&self, items: &[Item]) -> Result<Identity> {
        let Some(message) = items.first().map(|item| &item.message) else { return Ok(Identity::anonymous()) };
        if let Some(identity) = &message.identity {
            return Ok(identity.clone());
        }
        match self.inner().queued.key.identity(&message.token, message.received) {
            Ok(identity) => Ok(identity),
            // Where nobody signs in, nobody has to show anything.
            Err(_) if !self.inner().options.rights.enforced => Ok(Identity::anonymous()),
            Err(error) => Err(error),
        }
    }

    async fn ingest_as(&self, context: &Context, mark: &Arc<Mark>, items: &[Item]) -> Result<()> {
        let Some(message) = items.first().map(|item| &item.message) else { return Ok(()) };
        let _permit = self.inner().admission.enter(context).await?;
        let snapshot = self.store().snapshot();
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        let Some(database) = snapshot.database(&message.database) else {
            return Err(Error::database_not_found(&message.database));
        };
        let Some(table) = database.table(&message.table) else {
            return Err(Error::entity_not_found("Table", &message.table));
        };
        if !access.may_ingest(database, table) {
            let (table, database) = (table.name(), database.name());
            return Err(access.refused(&format!("ingest into table '{table}' of database '{database}'")));
        }
        let mut properties = message.ingestion()?.with_stored_mapping(&snapshot, table)?;
        let format = properties.format.as_deref().map(|format| format_of(Some(format))).transpose()?;
        let batch = Uuid::new_v4();
        properties.marks.push(PropertyEdit {
            key: mark_of(table.id()),
            expect: Expect::Anything,
            value: Some(batch.to_string().into()),
        });
        let mut sources = Vec::with_capacity(items.len());
        for item in items {
            sources.push(self.source_of(&item.message.blob, format).await?);
        }
        for item in items {
            let change = move |record: &mut tidewater_store::JobRecord| {
                record.state = BATCHED.to_string();
                record.value["batch"] = batch.to_string().into();
            };
            self.inner().queued.jobs.amend(MESSAGES, &item.scope, &item.record, change).await?;
        }
        let job = Job {
            place: Place::Existing(Arc::clone(table)),
            sources,
            properties,
            cancel: context.cancel.clone(),
            deadline: context.deadline,
        };
        let answer = self.load(context, mark, job).await?;
        mark.note_data(|data| {
            data.extents = answer.extents.len() as u64;
            data.rows = answer.rows;
            data.bytes = answer.extents.iter().map(|extent| extent.bytes).sum();
            data.original_bytes = answer.extents.iter().map(|extent| extent.original_bytes).sum();
        });
        Ok(())
    }

    /// A file that a connection string names: an upload of our own, or what an address or a store gives.
    pub(crate) async fn source_of(&self, text: &str, format: Option<Format>) -> Result<Source> {
        let queued = &self.inner().queued;
        let named = |name: &str| format.unwrap_or_else(|| Format::of_path(name).unwrap_or(Format::Csv));
        if let Some(name) = queued.own_blob(text) {
            let payload = Payload::File(SpooledFile::kept(queued.blobs.open_file(&name)?));
            let (format, compression) = (named(&name), Compression::of_path(&name));
            return Ok(Source { name: shown(text).to_string(), payload, format, compression, deflate: false });
        }
        let fetched = self.inner().external.fetch(text).await?;
        let (format, compression) = (named(&fetched.name), fetched.compression);
        Ok(Source { name: fetched.name, payload: fetched.payload, format, compression, deflate: false })
    }

    /// Ends an item whose rows are visible: its record, and its file where it is to go.
    pub(super) async fn succeeded(&self, item: &Item) {
        let queued = &self.inner().queued;
        self.ended(item, SUCCEEDED, None).await;
        if let Some(name) = queued.own_blob(&item.message.blob) {
            queued.blobs.remove(&name).await;
        } else if !item.message.retain
            && let Err(error) = self.inner().external.remove(&item.message.blob).await
        {
            tracing::warn!(%error, "a file that was ingested could not be removed");
        }
    }

    async fn failed(&self, mut item: Item, activity: Uuid, error: &Error) {
        item.attempts += 1;
        if error.is_permanent() || item.attempts >= MAX_ATTEMPTS {
            self.told(&item, activity, Some(error)).await;
            return self.ended(&item, FAILED, Some(error)).await;
        }
        let attempts = item.attempts;
        let change = move |record: &mut tidewater_store::JobRecord| {
            record.state = WAITING.to_string();
            record.value["attempts"] = attempts.into();
        };
        let kept = self.inner().queued.jobs.amend(MESSAGES, &item.scope, &item.record, change).await;
        if let Err(error) = kept {
            tracing::error!(%error, "a message of queued ingestion could not be kept for another attempt");
        }
        let pause = FIRST_PAUSE * 2u32.saturating_pow(u32::try_from(attempts).unwrap_or(8).min(8) - 1);
        let (weak, stop) = (self.downgrade(), self.stop_token().clone());
        self.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {
                    if let Some(service) = weak.upgrade() {
                        service.inner().queued.wait(item);
                    }
                }
            }
        });
    }

    /// Ends an item's record: one that is tracked stays for a while, others go.
    async fn ended(&self, item: &Item, state: &'static str, error: Option<&Error>) {
        let jobs = &self.inner().queued.jobs;
        let ended = match item.message.operation {
            None => jobs.remove(MESSAGES, &item.scope, &item.record).await.map(drop),
            Some(_) => {
                let failure = error.map(|error| {
                    let kind = if error.is_permanent() { "Permanent" } else { "Exhausted" };
                    (error.code().to_string(), kind, error.message().to_string())
                });
                let change = move |record: &mut tidewater_store::JobRecord, _| {
                    record.state = state.to_string();
                    if let Some((code, kind, details)) = failure {
                        record.value["errorCode"] = code.into();
                        record.value["failureStatus"] = kind.into();
                        record.value["details"] = details.into();
                    }
                };
                jobs.update(MESSAGES, &item.scope, &item.record, change).await.map(drop)
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, "a message of queued ingestion could not be ended");
        }
    }

    /// Tells the client what has become of a file, in the ways it asked for.
    async fn told(&self, item: &Item, activity: Uuid, error: Option<&Error>) {
        let message = &item.message;
        let wanted = match message.report {
            ReportLevel::Nothing => false,
            ReportLevel::FailuresOnly => error.is_some(),
            ReportLevel::All => true,
        };
        let now = moment(now_ticks());
        let mut told = json!({
            "OperationId": activity,
            "Database": message.database,
            "Table": message.table,
            "IngestionSourceId": message.id,
            "IngestionSourcePath": shown(&message.blob),
            "RootActivityId": activity,
        });
        if let Some(error) = error {
            told["Details"] = error.message().into();
            told["ErrorCode"] = error.code().into();
            told["FailureStatus"] = if error.is_permanent() { "Permanent" } else { "Exhausted" }.into();
            told["OriginatesFromUpdatePolicy"] = false.into();
            told["ShouldRetry"] = (!error.is_permanent()).into();
        }
        let mail = &self.inner().queued.mail;
        let mut outcome = Ok(());
        if wanted && message.to_queue {
            let mut letter = told.clone();
            let (mailbox, at) = match error {
                None => (Mailbox::Succeeded, "SucceededOn"),
                Some(_) => (Mailbox::Failed, "FailedOn"),
            };
            letter[at] = now.as_str().into();
            outcome = mail.post(mailbox, &letter).await;
        }
        // Whoever has made an entity looks at it, whatever else it wants to be told.
        if let Some(place) = &message.to_table
            && message.report != ReportLevel::Nothing
        {
            told["Status"] = if error.is_some() { "Failed" } else { "Succeeded" }.into();
            told["UpdatedOn"] = now.into();
            told["PartitionKey"] = place.partition.as_str().into();
            told["RowKey"] = place.row.as_str().into();
            let Value::Object(entity) = told else { return };
            outcome = outcome.and(mail.put_entity(&place.partition, &place.row, entity, true).await);
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "a client could not be told about its file");
        }
    }
}
