//! Lists of jobs: order, cursor, filters. Source: query-service-api sections 8 and 9.

use std::sync::Arc;

use tidewater_store::{JobCondition, JobMember, JobOrder, JobPage, JobRecord};

use super::owners::Seen;
use super::{Body, Job, KIND, State, Tenant, dataset_id, job_of, now_micros};
use crate::error::Result;
use crate::service::Service;

/// What to list.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// By `updated` instead of `created`.
    pub by_updated: bool,
    /// Newest first.
    pub descending: bool,
    /// Most items.
    pub limit: usize,
    /// The order values that `start` stands for: first and last, itself or a whole millisecond.
    pub start: Option<(i64, i64)>,
    /// The items before `start` instead of those from it on.
    pub before_start: bool,
    /// Leave out soft-deleted jobs.
    pub exclude_soft_deleted: bool,
    /// Leave out what no user wrote.
    pub exclude_hidden: bool,
    /// All must hold.
    pub filters: Vec<Filter>,
}

/// One condition of `property`.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The field's name as in the specification.
    pub field: String,
    /// The operator.
    pub op: String,
    /// The value; for times the front has checked that they read.
    pub value: String,
    /// The value as microseconds, for `created` and `updated`.
    pub instant: Option<i64>,
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Its items, in the order asked for.
    pub items: Vec<Listed<T>>,
    /// The first item of the following page.
    pub next: Option<Listed<T>>,
}

/// An item and the text form its order value needs.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The item.
    pub item: T,
    /// Its order value in microseconds.
    pub order_value: i64,
    /// No other item shares the millisecond: three digits tell it apart.
    pub is_alone: bool,
}

/// Which records a list shows.
pub(super) type Keep = Arc<dyn Fn(&JobRecord) -> bool + Send + Sync>;

impl Service {
    /// Lists a tenant's jobs.
    pub async fn list_jobs(&self, tenant: &Tenant, request: ListRequest) -> Result<Page<Job>> {
        let (asked, seen) = (request.clone(), self.seen(tenant));
        let mut conditions: Vec<JobCondition> = request.filters.iter().filter_map(Filter::condition).collect();
        if let Seen::Of(user) = &seen {
            conditions.push(JobCondition::Member(JobMember::User, user.clone()));
        }
        let keep: Keep = Arc::new(move |record| seen.holds(record) && keep(record, &asked));
        let now = now_micros();
        let make = |record: &JobRecord| job_of(record, now);
        self.list_records_where(KIND, &tenant.scope(), &request, (conditions, keep), make).await
    }

    /// Lists records of a kind; `make` turns them into items.
    pub(super) async fn list_records<T>(
        &self,
        kind: &str,
        scope: &str,
        request: &ListRequest,
        keep: Keep,
        make: impl Fn(&JobRecord) -> Result<T>,
    ) -> Result<Page<T>> {
        self.list_records_where(kind, scope, request, (Vec::new(), keep), make).await
    }

    /// Lists those that meet conditions and are kept.
    async fn list_records_where<T>(
        &self,
        kind: &str,
        scope: &str,
        request: &ListRequest,
        (conditions, keep): (Vec<JobCondition>, Keep),
        make: impl Fn(&JobRecord) -> Result<T>,
    ) -> Result<Page<T>> {
        let order = if request.by_updated { JobOrder::Updated } else { JobOrder::Created };
        let (mut from, mut to) = (None, None);
        // Going back reads the other way round, from just before `start`.
        let reads_down = request.descending != request.before_start;
        if let Some((first, last)) = request.start {
            match (request.descending, request.before_start) {
                (true, false) => to = Some(last),
                (false, false) => from = Some(first),
                (true, true) => from = Some(last + 1),
                (false, true) => to = Some(first - 1),
            }
        }
        let page = JobPage { order, descending: reads_down, from, to, limit: request.limit + 1 };
        let kept = Arc::clone(&keep);
        let jobs = self.store().jobs();
        let mut records = jobs.list_where(kind, scope, page, conditions.clone(), move |record| kept(record)).await?;
        let mut next = None;
        if request.before_start {
            records.truncate(request.limit);
            records.reverse();
            // The page after this one begins at `start` again, whatever is there now.
            if let Some((first, last)) = request.start {
                let (from, to) = if request.descending { (None, Some(last)) } else { (Some(first), None) };
                let page = JobPage { order, descending: request.descending, from, to, limit: 1 };
                next = jobs.list_where(kind, scope, page, conditions, move |record| keep(record)).await?.pop();
            }
        } else if records.len() > request.limit {
            next = records.pop();
        }
        let value = |record: &JobRecord| match order {
            JobOrder::Created => record.created,
            JobOrder::Updated => record.updated,
        };
        let has_next = next.is_some();
        records.extend(next);
        let values = records.iter().map(value).collect();
        let shared = self.store().jobs().shared_milliseconds(kind, scope, order, values).await?;
        let listed = records.iter().zip(shared).map(|(record, is_shared)| {
            Ok(Listed { item: make(record)?, order_value: value(record), is_alone: !is_shared })
        });
        let mut items = listed.collect::<Result<Vec<_>>>()?;
        let next = if has_next { items.pop() } else { None };
        Ok(Page { items, next })
    }
}

fn keep(record: &JobRecord, asked: &ListRequest) -> bool {
    use serde::Deserialize;
    let Ok(body) = Body::deserialize(&record.value) else { return false };
    let is_excluded = asked.exclude_soft_deleted && body.soft_deleted || asked.exclude_hidden && body.hidden;
    !is_excluded && asked.filters.iter().all(|filter| holds(filter, record, &body))
}

impl Filter {
    /// What the store can decide of it; it is looked at again in each record that is left.
    fn condition(&self) -> Option<JobCondition> {
        let is_equal = self.op == "==";
        let member = |member| is_equal.then(|| JobCondition::Member(member, self.value.clone()));
        match self.field.as_str() {
            "created" => self.times().map(|(first, last)| JobCondition::Created(first, last)),
            "updated" => self.times().map(|(first, last)| JobCondition::Updated(first, last)),
            "state" => {
                let states = State::ALL.into_iter().map(State::name).filter(|name| self.text(name));
                Some(JobCondition::States(states.map(str::to_string).collect()))
            }
            "id" if is_equal => Some(JobCondition::Id(self.value.clone())),
            "userId" => member(JobMember::User),
            "client" => member(JobMember::Client),
            "scheduleId" => member(JobMember::Schedule),
            "scheduleRunId" => member(JobMember::Run),
            "templateId" => member(JobMember::Template),
            "sql" | "SQL" | "templateName" => {
                // As the value stands inside the JSON text of the record.
                let text = serde_json::to_string(&self.value).ok()?;
                Some(JobCondition::Holds(text[1..text.len() - 1].to_string()))
            }
            _ => None,
        }
    }

    /// The microseconds whose milliseconds fit, ends included; `None` when they are not one stretch.
    fn times(&self) -> Option<(i64, i64)> {
        let first = self.instant?.div_euclid(1000).checked_mul(1000)?;
        let last = first.checked_add(999)?;
        Some(match self.op.as_str() {
            "==" => (first, last),
            ">" => (last.checked_add(1)?, i64::MAX),
            ">=" => (first, i64::MAX),
            "<" => (i64::MIN, first.checked_sub(1)?),
            "<=" => (i64::MIN, last),
            _ => return None,
        })
    }

    fn by(&self, ordering: std::cmp::Ordering) -> bool {
        match self.op.as_str() {
            "==" => ordering.is_eq(),
            "!=" => ordering.is_ne(),
            ">" => ordering.is_gt(),
            "<" => ordering.is_lt(),
            ">=" => ordering.is_ge(),
            "<=" => ordering.is_le(),
            _ => false,
        }
    }

    /// Whether a text fits.
    pub(super) fn text(&self, found: &str) -> bool {
        match self.op.as_str() {
            "~" => found.contains(&self.value),
            _ => self.by(found.cmp(&self.value)),
        }
    }

    /// Whether a time in microseconds fits; times are compared by milliseconds.
    pub(super) fn time(&self, micros: i64) -> bool {
        match self.instant {
            Some(instant) => self.by(micros.div_euclid(1000).cmp(&instant.div_euclid(1000))),
            None => millisecond_text(micros).contains(&self.value),
        }
    }
}

fn holds(filter: &Filter, record: &JobRecord, body: &Body) -> bool {
    let text = |found: &str| filter.text(found);
    let asked = |field: &str| body.request.get(field).and_then(serde_json::Value::as_str).is_some_and(text);
    match filter.field.as_str() {
        "created" => filter.time(record.created),
        "updated" => filter.time(record.updated),
        "state" => text(&record.state),
        "id" => text(&record.id),
        "userId" => text(&body.user),
        "client" => text(&body.client),
        "sql" | "SQL" => text(&body.sql),
        "templateId" => asked("templateId") || asked("templateID"),
        "templateName" => body.template_name.as_deref().is_some_and(text),
        "scheduleId" => body.schedule.as_ref().is_some_and(|run| text(&run.schedule)),
        "scheduleRunId" => body.schedule.as_ref().is_some_and(|run| text(&run.run)),
        "referenced_datasets" => {
            let ids: Vec<String> =
                body.references.iter().map(|(database, table)| dataset_id(database, table)).collect();
            filter.value.split("||").any(|wanted| ids.iter().any(|id| id == wanted.trim()))
        }
        _ => false,
    }
}

/// `2020-01-08T21:47:46.865Z`.
fn millisecond_text(micros: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
