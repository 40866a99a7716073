//! The table of this API's addresses: the router and the OpenAPI document are both made from it, so that they agree.
//! The document is served at `/openapi.json`, at the root and below the prefix.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use serde_json::{Map, Value, json};

use super::{PREFIX, accelerated, alerts, list, results, schedules, schemas, submit, templates};
use crate::app::App;

/// What an address does for one method.
struct Operation {
    method: &'static str,
    /// Its name in clients that are made from the document.
    id: &'static str,
    summary: &'static str,
    route: MethodRouter<App>,
    /// The schema of the body it takes.
    body: Option<&'static str>,
    /// Arguments, by name in [`schemas::arguments`].
    arguments: &'static [&'static str],
    /// Headers that it heeds, likewise.
    headers: &'static [&'static str],
    /// Status and schema of what it answers; errors are all of one form.
    answers: &'static [(u16, &'static str)],
}

impl Operation {
    fn body(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self
    }

    fn arguments(mut self, names: &'static [&'static str]) -> Self {
        self.arguments = names;
        self
    }

    fn headers(mut self, names: &'static [&'static str]) -> Self {
        self.headers = names;
        self
    }
}

/// An address and what it does.
struct Resource {
    path: &'static str,
    operations: Vec<Operation>,
}

fn operation(
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    route: MethodRouter<App>,
    answers: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method, id, summary, route, body: None, arguments: &[], headers: &[], answers }
}

const LIST: &[&str] = &["orderby", "limit", "start", "property", "isPrevLink", "excludeSoftDeleted", "excludeHidden"];
const ACCEPTED: &[(u16, &str)] = &[(202, "Message")];

fn table() -> Vec<Resource> {
    let resource = |path, operations| Resource { path, operations };
    vec![
        resource(
            "/queries",
            vec![
                operation("get", "listQueries", "Lists queries.", get(list::list), &[(200, "Queries")]).arguments(LIST),
                operation(
                    "post",
                    "createQuery",
                    "Submits a query.",
                    post(submit::submit),
                    &[(202, "Query"), (200, "QueryOrPlan")],
                )
                .body("NewQuery")
                .arguments(&["dryRun"])
                .headers(&["Prefer", "Idempotency-Key"]),
            ],
        ),
        resource(
            "/queries/{id}",
            vec![
                operation("get", "getQuery", "Shows a query.", get(super::get_one), &[(200, "Query")])
                    .arguments(&["excludeSoftDeleted"])
                    .headers(&["Prefer"]),
                operation("patch", "changeQuery", "Cancels or hides a query.", patch(super::patch_one), ACCEPTED)
                    .body("QueryChange"),
                operation("delete", "deleteQuery", "Hides a query.", delete(super::delete_one), ACCEPTED),
            ],
        ),
        resource(
            "/queries/{id}/results",
            vec![
                operation(
                    "get",
                    "getQueryResults",
                    "Gives the rows of a finished query.",
                    get(results::get),
                    &[(200, "Rows"), (206, "Rows"), (304, "")],
                )
                .arguments(&["format", "offset", "rowLimit", "numbers", "excludeSoftDeleted"])
                .headers(&["If-None-Match", "Range"]),
            ],
        ),
        resource(
            "/accelerated-queries",
            vec![
                operation(
                    "post",
                    "runAcceleratedQuery",
                    "Runs a query that reads and answers with its rows.",
                    post(accelerated::run),
                    &[(200, "AcceleratedAnswer")],
                )
                .body("AcceleratedQuery"),
            ],
        ),
        resource(
            "/query-templates",
            vec![
                operation("get", "listTemplates", "Lists templates.", get(templates::list), &[(200, "Templates")])
                    .arguments(&["orderby", "limit", "start", "property", "isPrevLink"]),
                operation(
                    "post",
                    "createTemplate",
                    "Stores a template.",
                    post(templates::create),
                    &[(202, "Template")],
                )
                .body("NewTemplate"),
            ],
        ),
        resource(
            "/query-templates/count",
            vec![
                operation("get", "countTemplates", "Counts templates.", get(templates::count), &[(200, "Count")])
                    .arguments(&["property"]),
            ],
        ),
        resource(
            "/query-templates/{id}",
            vec![
                operation("get", "getTemplate", "Shows a template.", get(templates::get_one), &[(200, "Template")]),
                operation("put", "replaceTemplate", "Replaces a template.", put(templates::put), &[(202, "Template")])
                    .body("NewTemplate"),
                operation("delete", "deleteTemplate", "Removes a template.", delete(templates::delete), ACCEPTED),
            ],
        ),
        resource(
            "/schedules",
            vec![
                operation("get", "listSchedules", "Lists schedules.", get(schedules::list), &[(200, "Schedules")])
                    .arguments(&["orderby", "limit", "start", "property", "isPrevLink"]),
                operation(
                    "post",
                    "createSchedule",
                    "Stores a schedule.",
                    post(schedules::create),
                    &[(202, "Schedule")],
                )
                .body("NewSchedule"),
            ],
        ),
        resource(
            "/schedules/{id}",
            vec![
                operation("get", "getSchedule", "Shows a schedule.", get(schedules::get_one), &[(200, "Schedule")]),
                operation(
                    "patch",
                    "changeSchedule",
                    "Enables or disables a schedule, or changes its times.",
                    patch(schedules::patch),
                    ACCEPTED,
                )
                .body("ScheduleChange"),
                operation(
                    "delete",
                    "deleteSchedule",
                    "Removes a disabled schedule.",
                    delete(schedules::delete),
                    ACCEPTED,
                ),
            ],
        ),
        resource(
            "/schedules/{id}/runs",
            vec![
                operation("get", "listRuns", "Lists the runs of a schedule.", get(schedules::runs), &[(200, "Runs")])
                    .arguments(&["orderby", "limit", "start", "property", "isPrevLink"]),
                operation("post", "createRun", "Runs a schedule now.", post(schedules::trigger), ACCEPTED),
            ],
        ),
        resource(
            "/schedules/{id}/runs/{run}",
            vec![
                operation("get", "getRun", "Shows a run.", get(schedules::get_run), &[(200, "Run")]),
                operation("patch", "changeRun", "Cancels a run.", patch(schedules::patch_run), ACCEPTED).body("Cancel"),
            ],
        ),
        resource(
            "/alert-subscriptions",
            vec![
                operation("get", "listAlerts", "Lists alert subscriptions.", get(alerts::list), &[(200, "Alerts")])
                    .arguments(&["alertOrder", "page", "pagesize", "property"]),
                operation("post", "createAlert", "Subscribes to an alert.", post(alerts::create), &[(200, "Alert")])
                    .body("NewAlert"),
            ],
        ),
        resource(
            "/alert-subscriptions/user-subscriptions/{mail}",
            vec![operation(
                "get",
                "listAlertsOfUser",
                "Lists the alert subscriptions that name a mail address.",
                get(alerts::of_user),
                &[(200, "UserAlerts")],
            )],
        ),
        resource(
            "/alert-subscriptions/{asset}",
            vec![operation(
                "get",
                "listAlertsOfAsset",
                "Lists the alert subscriptions of a query or schedule.",
                get(alerts::of_asset),
                &[(200, "AssetAlerts")],
            )],
        ),
        resource(
            "/alert-subscriptions/{asset}/{type}",
            vec![
                operation("get", "getAlert", "Shows an alert subscription.", get(alerts::get_one), &[(200, "Alert")]),
                operation(
                    "patch",
                    "changeAlert",
                    "Enables or disables an alert subscription.",
                    patch(alerts::patch),
                    &[(200, "AlertStatus")],
                )
                .body("AlertChange"),
                operation(
                    "delete",
                    "deleteAlert",
                    "Ends an alert subscription.",
                    delete(alerts::delete),
                    &[(200, "Message")],
                ),
            ],
        ),
        resource(
            "/connection_parameters",
            vec![operation(
                "get",
                "getConnectionParameters",
                "Tells how to connect over the PostgreSQL protocol.",
                get(super::connection_parameters),
                &[(200, "ConnectionParameters")],
            )],
        ),
    ]
}

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

/// The router of the table.
pub(super) fn router() -> Router<App> {
    let mut router = Router::new().route(DOCUMENT, get(document));
    for resource in table() {
        let routes = resource.operations.into_iter().map(|operation| operation.route);
        let Some(route) = routes.reduce(MethodRouter::merge) else { continue };
        // Collections are found with a slash at the end as well.
        if !resource.path.ends_with('}') {
            router = router.route(&format!("{}/", resource.path), route.clone());
        }
        router = router.route(resource.path, route);
    }
    router
}

/// Whether a path, without the prefix, is in the table.
pub(super) fn is_path(path: &str) -> bool {
    const FIRST: [&str; 7] = [
        "queries",
        "query-templates",
        "accelerated-queries",
        "schedules",
        "alert-subscriptions",
        "connection_parameters",
        "openapi.json",
    ];
    path.strip_prefix('/').and_then(|path| path.split('/').next()).is_some_and(|first| FIRST.contains(&first))
}

async fn document() -> axum::response::Response {
    static MADE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(made);
    crate::http::json(axum::http::StatusCode::OK, &MADE)
}

/// The OpenAPI document of the table.
fn made() -> Value {
    let mut paths = Map::new();
    for resource in table() {
        let mut item = Map::new();
        let names = resource.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut shared: Vec<Value> = names.map(schemas::path_parameter).collect();
        shared.extend(schemas::tenant_headers());
        item.insert("parameters".into(), shared.into());
        for operation in &resource.operations {
            item.insert(operation.method.into(), described(operation));
        }
        paths.insert(format!("{PREFIX}{}", resource.path), item.into());
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Query Service API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SQL and KQL as jobs: submitted, listed, cancelled, scheduled, and their rows fetched.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    })
}

fn described(operation: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, schema) in operation.answers {
        answers.insert(status.to_string(), schemas::answer(*status, schema));
    }
    answers.insert("default".into(), schemas::problem());
    let arguments = operation.arguments.iter().map(|name| schemas::argument(name));
    let headers = operation.headers.iter().map(|name| schemas::header(name));
    let parameters: Vec<Value> = arguments.chain(headers).collect();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    });
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schemas::named(body)}}});
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All `$ref`s below a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(target) if name == "$ref" => found.push(target.to_string()),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_names_only_schemas_that_it_holds_and_uses_all_of_them() {
        let document = made();
        let mut found = Vec::new();
        references(&document, &mut found);
        for target in &found {
            assert!(document.pointer(&target[1..]).is_some(), "{target} is missing");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.iter().any(|target| target.ends_with(&format!("/{name}"))), "{name} is not used");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut ids: Vec<&str> =
            table().iter().flat_map(|resource| &resource.operations).map(|operation| operation.id).collect::<Vec<_>>();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn every_address_is_known_as_this_apis() {
        for resource in table() {
            assert!(is_path(resource.path), "{}", resource.path);
        }
        assert!(is_path(DOCUMENT) && !is_path("/v1/rest/query") && !is_path("/queriesx"));
    }
}
