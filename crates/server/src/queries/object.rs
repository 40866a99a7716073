//! The query object, in the order of the specification. Source: query-service-api section 3.

use serde_json::{Map, Value, json};
use tidewater_service::jobs::Job;

use super::PREFIX;

/// `2020-01-08T21:47:46.865Z`.
pub(super) fn milliseconds(micros: i64) -> String {
    time(micros, chrono::SecondsFormat::Millis)
}

/// `2020-01-08T21:47:46.865001Z`.
pub(super) fn microseconds(micros: i64) -> String {
    time(micros, chrono::SecondsFormat::Micros)
}

fn time(micros: i64, digits: chrono::SecondsFormat) -> String {
    chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(digits, true)
}

/// Members that the 202 of a submission leaves out.
pub(super) const OPTIONAL: [&str; 2] = ["effectiveSQL", "templateName"];

/// The object of GET and of lists; POST's has the same members.
pub(super) fn query(job: &Job, base: &str) -> Value {
    let href = format!("{base}{PREFIX}/queries/{}", job.id);
    let dataset = |id: &String| json!({"id": id, "href": format!("{base}/data/foundation/catalog/dataSets/{id}")});
    let mut links = Map::new();
    links.insert("self".into(), json!({"href": href, "method": "GET"}));
    links.insert("soft_delete".into(), json!({"href": href, "method": "PATCH", "body": "{ \"op\": \"soft_delete\"}"}));
    if !job.state.is_terminal() {
        links.insert("cancel".into(), json!({"href": href, "method": "PATCH", "body": "{ \"op\": \"cancel\"}"}));
    }
    if !job.referenced_datasets.is_empty() {
        let datasets: Vec<Value> = job.referenced_datasets.iter().map(dataset).collect();
        links.insert("referenced_datasets".into(), datasets.into());
    }
    if let Some(id) = &job.created_dataset {
        links.insert("created_dataset".into(), dataset(id));
    }
    if let Some(run) = &job.schedule {
        let schedule = format!("{base}{PREFIX}/schedules/{}", run.schedule);
        let href = format!("{schedule}/runs/{}", run.run);
        links.insert("schedule".into(), json!({"id": run.schedule, "href": schedule, "method": "GET"}));
        links.insert("schedule_run".into(), json!({"id": run.run, "href": href, "method": "GET"}));
    }
    if job.rows_until.is_some() {
        links.insert("results".into(), json!({"href": format!("{href}/results"), "method": "GET"}));
    }
    let mut object = json!({
        "isInsertInto": job.is_insert,
        "request": job.request,
        "state": job.state.name(),
        "rowCount": job.row_count,
        "errors": job.errors,
        "isCTAS": job.is_ctas,
        "version": 1,
        "id": job.id,
        "elapsedTime": job.elapsed_ms,
        "updated": milliseconds(job.updated),
        "client": job.client,
        "userId": job.user,
        "created": milliseconds(job.created),
        "_links": links,
    });
    let members = object.as_object_mut().expect("made as an object above");
    if let Some(sql) = &job.effective_sql {
        members.insert("effectiveSQL".into(), sql.clone().into());
    }
    if let Some(name) = &job.template_name {
        members.insert("templateName".into(), name.clone().into());
    }
    object
}
