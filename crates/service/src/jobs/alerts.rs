//! Alert subscriptions: what begins, succeeds or fails is told to a webhook. Source: query-service-api section 18.
//!
//! What is to be told is a record of its own before it is sent, so that it survives the process. It is sent until the
//! receiver takes it, at growing intervals, a bounded number of times; a receiver may get it twice and tells so by its
//! `id`, which is the same for the same event.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewater_plan::HttpCall;
use tidewater_store::{JobOrder, JobPage, JobRecord};

use super::{KIND, State, Tenant, body_of, now_micros};
use crate::error::{Error, Fault, Result};
use crate::service::Service;

const ALERT: &str = "alert";
const DELIVERY: &str = "alert delivery";
/// Jobs that end while somebody waits to be told: what a restart has to look at.
const ENDING: &str = "alert ending";
const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";
const PENDING: &str = "pending";
/// Alerts of one tenant.
const MAX_ALERTS: usize = 1_000;
/// Times that one is sent.
const MAX_ATTEMPTS: u32 = 10;
/// Alerts that are on their way at once.
const MAX_SENDING: usize = 16;
/// The first pause between two attempts; each one doubles it.
const FIRST_PAUSE_MICROS: i64 = 1_000_000;
/// How often what is due is looked for while something waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What an alert tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertType {
    /// It has begun.
    Start,
    /// It has succeeded.
    Success,
    /// It has not.
    Failure,
}

impl AlertType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            AlertType::Start => "start",
            AlertType::Success => "success",
            AlertType::Failure => "failure",
        }
    }

    /// The type of a name.
    pub fn parse(name: &str) -> Option<AlertType> {
        [AlertType::Start, AlertType::Success, AlertType::Failure].into_iter().find(|ty| ty.name() == name)
    }

    fn of(state: State) -> Option<AlertType> {
        match state {
            State::Submitted => None,
            State::InProgress => Some(AlertType::Start),
            State::Success => Some(AlertType::Success),
            State::Failed | State::Timeout | State::Killed => Some(AlertType::Failure),
        }
    }
}

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `query_service_flow_run_{type}-{uuid}`.
    pub id: String,
    /// The query or schedule.
    pub asset: String,
    /// What it tells of.
    pub ty: AlertType,
    /// Whether it tells.
    pub is_enabled: bool,
    /// Where to; `None` for those that only the file of alerts gets.
    pub webhook: Option<String>,
    /// What the caller gave, as it was given.
    pub subscriptions: Value,
    /// When it was made.
    pub created: i64,
}

#[derive(Serialize, Deserialize)]
struct AlertBody {
    asset: String,
    ty: AlertType,
    webhook: Option<String>,
    subscriptions: Value,
    /// Who made it.
    user: String,
}

#[derive(Serialize, Deserialize)]
struct DeliveryBody {
    webhook: Option<String>,
    content: Value,
    attempts: u32,
    due: i64,
    /// The file of alerts has it.
    #[serde(default)]
    is_written: bool,
}

fn alert_of(record: &JobRecord) -> Result<Alert> {
    let unreadable = |_| Error::internal(format!("the record of alert {} cannot be read", record.id));
    let body: AlertBody = serde_json::from_value(record.value.clone()).map_err(unreadable)?;
    Ok(Alert {
        id: record.id.clone(),
        asset: body.asset,
        ty: body.ty,
        is_enabled: record.state == ENABLED,
        webhook: body.webhook,
        subscriptions: body.subscriptions,
        created: record.created,
    })
}

fn value<T: Serialize>(body: &T) -> Result<Value> {
    serde_json::to_value(body).map_err(|error| Error::internal(error.to_string()))
}

impl Service {
    /// Stores a subscription.
    ///
    /// *Errors*: an address that the setting `external_urls` does not allow; no address where no file of alerts is
    /// set; a subscription that there is already.
    pub async fn create_alert(
        &self,
        tenant: &Tenant,
        asset: &str,
        ty: AlertType,
        webhook: Option<&str>,
        subscriptions: Value,
    ) -> Result<Alert> {
        match webhook {
            Some(webhook) => self.inner().external.check_call(webhook).map_err(|error| match error.fault() {
                // The address is wrong, not the caller.
                Fault::Forbidden => Error::bad_request(error.message()),
                _ => error,
            })?,
            None if self.inner().options.alerts_file.is_some() => {}
            None => {
                let message = "subscriptions.webhook: expected an address; this server sends no mail";
                return Err(Error::bad_request(message));
            }
        }
        let known = self.store().jobs().count(ALERT, &tenant.scope(), |_| true).await?;
        if known >= MAX_ALERTS {
            return Err(Error::bad_request(format!("there are {MAX_ALERTS} alert subscriptions already")));
        }
        if self.alerts(tenant).await?.iter().any(|alert| alert.asset == asset && alert.ty == ty) {
            return Err(Error::bad_request(format!("'{asset}' has an alert of type '{}' already", ty.name())));
        }
        let body = AlertBody {
            asset: asset.to_string(),
            ty,
            webhook: webhook.map(str::to_string),
            subscriptions,
            user: tenant.caller.as_ref().map_or_else(String::new, |caller| caller.user.clone()),
        };
        let value = value(&body)?;
        let id = format!("query_service_flow_run_{}-{}", ty.name(), uuid::Uuid::new_v4());
        let make = move |_| (ENABLED.to_string(), value);
        let record = self.store().jobs().insert(ALERT, &tenant.scope(), &id, make).await?;
        alert_of(&record)
    }

    /// The subscriptions that the caller may see, newest first.
    pub async fn alerts(&self, tenant: &Tenant) -> Result<Vec<Alert>> {
        let page = JobPage { order: JobOrder::Created, descending: true, from: None, to: None, limit: MAX_ALERTS };
        let seen = self.seen(tenant);
        let records = self.store().jobs().list(ALERT, &tenant.scope(), page, move |record| seen.holds(record)).await?;
        records.iter().map(alert_of).collect()
    }

    /// Switches a subscription on or off; tells whether there is one.
    pub async fn enable_alert(&self, tenant: &Tenant, id: &str, is_enabled: bool) -> Result<bool> {
        let state = if is_enabled { ENABLED } else { DISABLED };
        let change = move |record: &mut JobRecord, _| record.state = state.to_string();
        Ok(self.store().jobs().update(ALERT, &tenant.scope(), id, change).await?.is_some())
    }

    /// Removes a subscription; tells whether there was one.
    pub async fn delete_alert(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        Ok(self.store().jobs().remove(ALERT, &tenant.scope(), id).await?)
    }

    /// The enabled subscriptions to a job, as itself or as a run of its schedule.
    async fn watchers(&self, scope: &str, id: &str, schedule: Option<&str>) -> Result<Vec<Alert>> {
        let records = self.store().jobs().in_states(ALERT, &[ENABLED]).await?;
        let alerts = records.iter().filter(|record| record.scope == scope).map(alert_of);
        let is_meant = |alert: &Alert| alert.asset == id || schedule == Some(alert.asset.as_str());
        Ok(alerts.collect::<Result<Vec<Alert>>>()?.into_iter().filter(is_meant).collect())
    }

    /// Notes that a job is about to end, when somebody waits to be told; tells whether.
    pub(super) async fn foretell(&self, scope: &str, id: &str, schedule: Option<&str>) -> bool {
        let noted = async {
            if self.watchers(scope, id, schedule).await?.is_empty() {
                return Ok(false);
            }
            match self.store().jobs().insert(ENDING, scope, id, |_| (PENDING.to_string(), Value::Null)).await {
                Ok(_) | Err(tidewater_store::Error::Exists { .. }) => Ok(true),
                Err(error) => Err(Error::from(error)),
            }
        };
        noted.await.unwrap_or_else(|error: Error| {
            tracing::error!(%error, job = id, "the alerts of a query could not be looked up");
            false
        })
    }

    /// Notes what is to be told of the state that a job is in.
    pub(super) async fn tell(&self, scope: &str, id: &str) {
        if let Err(error) = self.note_deliveries(scope, id).await {
            tracing::error!(%error, job = id, "the alerts of a query could not be stored");
        }
    }

    async fn note_deliveries(&self, scope: &str, id: &str) -> Result<()> {
        let Some(record) = self.store().jobs().get(KIND, scope, id).await? else { return Ok(()) };
        let (state, body) = body_of(&record)?;
        let Some(ty) = AlertType::of(state) else { return Ok(()) };
        let schedule = body.schedule.as_ref().map(|run| run.schedule.as_str());
        for alert in self.watchers(scope, id, schedule).await? {
            if alert.ty != ty {
                continue;
            }
            let name = format!("{}\n{id}\n{}", alert.id, ty.name());
            let delivery = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string();
            let content = json!({
                "id": delivery,
                "alertId": alert.id,
                "alertType": ty.name(),
                "assetId": alert.asset,
                "queryId": id,
                "state": state.name(),
                "errors": body.errors,
                "time": chrono::DateTime::from_timestamp_micros(record.updated)
                    .unwrap_or_default()
                    .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            });
            let due = now_micros();
            let value = value(&DeliveryBody { webhook: alert.webhook, content, attempts: 0, due, is_written: false })?;
            let make = move |_| (PENDING.to_string(), value);
            match self.store().jobs().insert(DELIVERY, scope, &delivery, make).await {
                // The same event gives the same id: it is noted once.
                Ok(_) | Err(tidewater_store::Error::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.inner().jobs.alerts_noted.notify_one();
        }
        if state.is_terminal() {
            self.store().jobs().remove(ENDING, scope, id).await?;
        }
        Ok(())
    }

    /// Notes what a former process had no time to note of the jobs that ended. To be called once at the start.
    pub(super) async fn recover_alerts(&self, left: &[JobRecord]) -> Result<()> {
        for record in self.store().jobs().in_states(ENDING, &[PENDING]).await?.iter().chain(left) {
            self.tell(&record.scope, &record.id).await;
        }
        Ok(())
    }

    /// Sends what is to be told until the service stops. To be called once.
    pub fn start_alerts(&self) {
        let service = self.clone();
        let stop = self.stop_token().clone();
        self.spawn(async move {
            loop {
                let noted = service.inner().jobs.alerts_noted.notified();
                let sent = tokio::select! {
                    () = stop.cancelled() => return,
                    sent = service.deliver_due() => sent,
                };
                let waits = sent.unwrap_or_else(|error| {
                    tracing::error!(%error, "alerts could not be looked through");
                    true
                });
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = noted => {}
                    () = tokio::time::sleep(LOOK_INTERVAL), if waits => {}
                }
            }
        });
    }

    /// Sends what is due; tells whether something waits for its time.
    async fn deliver_due(&self) -> Result<bool> {
        let pending = self.store().jobs().in_states(DELIVERY, &[PENDING]).await?;
        let sends: Vec<_> = pending.into_iter().map(|record| self.deliver(record)).collect();
        let mut sent = std::pin::pin!(futures::stream::iter(sends).buffer_unordered(MAX_SENDING));
        let mut waits = false;
        while let Some(outcome) = sent.next().await {
            waits |= outcome?;
        }
        Ok(waits)
    }

    /// Sends one, if it is due; tells whether it has to be sent later.
    async fn deliver(&self, record: JobRecord) -> Result<bool> {
        let Ok(mut body) = serde_json::from_value::<DeliveryBody>(record.value.clone()) else { return Ok(false) };
        let now = now_micros();
        if body.due > now {
            return Ok(true);
        }
        let outcome = self.send_alert(&record.id, &mut body).await;
        body.attempts += 1;
        let state = match outcome {
            Ok(()) => "delivered",
            Err(error) if body.attempts >= MAX_ATTEMPTS => {
                tracing::warn!(%error, alert = record.id, "an alert is given up");
                "failed"
            }
            Err(error) => {
                tracing::info!(%error, alert = record.id, attempt = body.attempts, "an alert will be sent again");
                body.due = now.saturating_add(FIRST_PAUSE_MICROS << (body.attempts - 1).min(12));
                PENDING
            }
        };
        let value = value(&body)?;
        let noted = self.store().jobs().update(DELIVERY, &record.scope, &record.id, move |record, _| {
            record.value = value;
            record.state = state.to_string();
        });
        noted.await?;
        Ok(state == PENDING)
    }

    async fn send_alert(&self, id: &str, body: &mut DeliveryBody) -> Result<()> {
        if let Some(path) = &self.inner().options.alerts_file
            && !body.is_written
        {
            let (path, line) = (path.clone(), format!("{}\n", body.content));
            let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
            let written = written.map_err(|error| Error::internal(error.to_string()))?;
            written.map_err(|error| Error::new(Fault::BadData, format!("the file of alerts: {error}")))?;
            body.is_written = true;
        }
        let Some(webhook) = &body.webhook else { return Ok(()) };
        let call = HttpCall {
            uri: webhook.clone(),
            headers: Vec::new(),
            content: Some(body.content.to_string()),
            client_request_id: id.to_string(),
        };
        self.inner().external.send(&call).await
    }

    /// Forgets what was told long ago.
    pub(super) async fn sweep_alerts(&self, before: i64) -> Result<()> {
        self.store().jobs().remove_before(DELIVERY, before).await.map(drop).map_err(Error::from)
    }
}

/// One line in one write, so that lines of two writers do not mix.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_the_first_is_told_of() {
        for state in State::ALL {
            assert_eq!(AlertType::of(state).is_none(), state == State::Submitted, "{state:?}");
        }
        for ty in [AlertType::Start, AlertType::Success, AlertType::Failure] {
            assert_eq!(AlertType::parse(ty.name()), Some(ty));
        }
        assert_eq!(AlertType::parse("Start"), None);
    }
}
