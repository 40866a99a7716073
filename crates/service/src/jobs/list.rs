//! Lists of jobs: order, cursor, filters. Source: query-service-api sections 8 and 9.

use tidewater_store::{JobOrder, JobPage, JobRecord};

use super::{Body, Job, KIND, Tenant, dataset_id, job_of, now_micros};
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
pub struct Page {
    /// Its items, in the order asked for.
    pub items: Vec<Listed>,
    /// The first item of the following page.
    pub next: Option<Listed>,
}

/// An item and the text form its order value needs.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The job.
    pub job: Job,
    /// Its order value in microseconds.
    pub order_value: i64,
    /// No other item shares the millisecond: three digits tell it apart.
    pub is_alone: bool,
}

impl Service {
    /// Lists a tenant's jobs.
    pub async fn list_jobs(&self, tenant: &Tenant, request: ListRequest) -> Result<Page> {
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
        let (filters, exclude) = (request.filters.clone(), request.exclude_soft_deleted);
        let page = JobPage { order, descending: reads_down, from, to, limit: request.limit + 1 };
        let scope = tenant.scope();
        let mut records =
            self.store().jobs().list(KIND, &scope, page, move |record| keep(record, &filters, exclude)).await?;
        let mut next = None;
        if request.before_start {
            records.truncate(request.limit);
            records.reverse();
            // The page after this one begins at `start` again, whatever is there now.
            if let Some((first, last)) = request.start {
                let (from, to) = if request.descending { (None, Some(last)) } else { (Some(first), None) };
                let (filters, exclude) = (request.filters.clone(), request.exclude_soft_deleted);
                let page = JobPage { order, descending: request.descending, from, to, limit: 1 };
                let found = self.store().jobs().list(KIND, &scope, page, move |record| keep(record, &filters, exclude));
                next = found.await?.pop();
            }
        } else if records.len() > request.limit {
            next = records.pop();
        }
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            items.push(self.listed(&scope, record, order).await?);
        }
        let next = match next {
            Some(record) => Some(self.listed(&scope, record, order).await?),
            None => None,
        };
        Ok(Page { items, next })
    }

    async fn listed(&self, scope: &str, record: JobRecord, order: JobOrder) -> Result<Listed> {
        let value = match order {
            JobOrder::Created => record.created,
            JobOrder::Updated => record.updated,
        };
        let first = value.div_euclid(1000) * 1000;
        let page = JobPage { order, descending: false, from: Some(first), to: Some(first + 999), limit: 2 };
        let sharing = self.store().jobs().list(KIND, scope, page, |_| true).await?.len();
        Ok(Listed { job: job_of(&record, now_micros())?, order_value: value, is_alone: sharing < 2 })
    }
}

fn keep(record: &JobRecord, filters: &[Filter], exclude_soft_deleted: bool) -> bool {
    let Ok(body) = serde_json::from_value::<Body>(record.value.clone()) else { return false };
    !(exclude_soft_deleted && body.soft_deleted) && filters.iter().all(|filter| holds(filter, record, &body))
}

fn holds(filter: &Filter, record: &JobRecord, body: &Body) -> bool {
    use std::cmp::Ordering;
    let by = |ordering: Ordering| match filter.op.as_str() {
        "==" => ordering.is_eq(),
        "!=" => ordering.is_ne(),
        ">" => ordering.is_gt(),
        "<" => ordering.is_lt(),
        ">=" => ordering.is_ge(),
        "<=" => ordering.is_le(),
        _ => false,
    };
    let text = |found: &str| match filter.op.as_str() {
        "~" => found.contains(&filter.value),
        _ => by(found.cmp(&filter.value)),
    };
    let time = |micros: i64| match filter.instant {
        Some(instant) => by(micros.div_euclid(1000).cmp(&instant.div_euclid(1000))),
        None => millisecond_text(micros).contains(&filter.value),
    };
    match filter.field.as_str() {
        "created" => time(record.created),
        "updated" => time(record.updated),
        "state" => text(&record.state),
        "id" => text(&record.id),
        "userId" => text(&body.user),
        "client" => text(&body.client),
        "sql" | "SQL" => text(&body.sql),
        "referenced_datasets" => {
            let ids: Vec<String> =
                body.references.iter().map(|(database, table)| dataset_id(database, table)).collect();
            filter.value.split("||").any(|wanted| ids.iter().any(|id| id == wanted.trim()))
        }
        // Fields of templates and schedules, which no record has yet.
        _ => false,
    }
}

/// `2020-01-08T21:47:46.865Z`.
fn millisecond_text(micros: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
