//! The schemas of the OpenAPI document: bodies, answers, arguments. Source: query-service-api sections 3 to 19.

use serde_json::{Value, json};

/// A reference to a schema.
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Parameters of every address: whose the resources are.
pub(super) fn tenant_headers() -> Vec<Value> {
    let header = |name: &str, is_required: bool, text: &str| {
        json!({"name": name, "in": "header", "required": is_required, "description": text,
               "schema": {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9@._-]+$"}})
    };
    vec![
        header("x-gw-ims-org-id", true, "The organisation."),
        header("x-sandbox-name", false, "The sandbox; 'prod' when absent."),
    ]
}

/// A part of an address.
pub(super) fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "type" => json!({"type": "string", "enum": ["start", "success", "failure"]}),
        _ => json!({"type": "string", "minLength": 1}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

/// An argument by its name in the table; two lists may give the same name other values.
pub(super) fn argument(name: &str) -> Value {
    let yes_or_no = json!({"type": "string", "enum": ["true", "false"]});
    let (name, schema, text) = match name {
        "orderby" => (
            "orderby",
            json!({"type": "string", "enum": ["-created", "created", "-updated", "updated"]}),
            "The order; '-' is newest first.",
        ),
        "alertOrder" => {
            ("orderby", json!({"type": "string", "enum": ["-created", "created"]}), "The order; '-' is newest first.")
        }
        "limit" => {
            ("limit", json!({"type": "integer", "minimum": 1, "maximum": 1_000_000}), "Items; 1000 at most are given.")
        }
        "start" => {
            ("start", json!({"type": "string", "format": "date-time"}), "Where the page begins: an order value.")
        }
        "property" => ("property", json!({"type": "string"}), "Filters, separated by ',': field, operator, value."),
        "page" => ("page", json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}), "The page, from 0 on."),
        "pagesize" => {
            ("pagesize", json!({"type": "integer", "minimum": 1, "maximum": 1_000_000}), "Items; 50 at most are given.")
        }
        "format" => (
            "format",
            json!({"type": "string", "enum": ["json", "ndjson", "csv", "arrow", "arrow-file", "parquet"]}),
            "The form of the rows; else Accept says it.",
        ),
        "offset" => ("offset", json!({"type": "integer", "minimum": 0}), "Rows to leave out."),
        "rowLimit" => ("limit", json!({"type": "integer", "minimum": 1}), "Rows to give."),
        "numbers" => {
            ("numbers", json!({"type": "string", "enum": ["string"]}), "Writes long integers and decimals as texts.")
        }
        "isPrevLink" => ("isPrevLink", yes_or_no, "The items before 'start' instead of those from it on."),
        "dryRun" => ("dryRun", yes_or_no, "Plans the query and records nothing."),
        "excludeSoftDeleted" => ("excludeSoftDeleted", yes_or_no, "Leaves out what was hidden; true when absent."),
        _ => (name, yes_or_no, "Leaves out what no user wrote; true when absent."),
    };
    json!({"name": name, "in": "query", "required": false, "description": text, "schema": schema})
}

/// A header that an operation heeds.
pub(super) fn header(name: &str) -> Value {
    let (text, pattern) = match name {
        "Prefer" => ("'wait=N' holds the answer back until the query ends, N seconds at most.", "^wait=[01]$"),
        "Idempotency-Key" => ("The same key and body give the first query back.", "^[A-Za-z0-9-]{1,64}$"),
        "If-None-Match" => ("The ETag of what is known.", "^\"[A-Za-z0-9-]*\"$"),
        _ => ("Bytes of a whole Parquet file.", "^bytes=[0-9]{1,9}-$"),
    };
    json!({"name": name, "in": "header", "required": false, "description": text,
           "schema": {"type": "string", "pattern": pattern}})
}

/// An answer with a body of a schema; `Rows` comes in several media types, an empty name is no body.
pub(super) fn answer(status: u16, schema: &str) -> Value {
    let text = match status {
        200 => "Done.",
        202 => "Accepted.",
        206 => "A part of it.",
        304 => "It is the one that is known.",
        _ => "An answer.",
    };
    match schema {
        "" => json!({"description": text}),
        "Rows" => {
            let bytes = json!({"schema": {"type": "string", "format": "binary"}});
            json!({"description": text, "content": {
                "application/json": {"schema": named("Rows")},
                "application/x-ndjson": bytes,
                "text/csv": bytes,
                "application/vnd.apache.arrow.stream": bytes,
                "application/vnd.apache.arrow.file": bytes,
                "application/vnd.apache.parquet": bytes,
            }})
        }
        _ => json!({"description": text, "content": {"application/json": {"schema": named(schema)}}}),
    }
}

/// Every refusal.
pub(super) fn problem() -> Value {
    json!({"description": "A refusal.", "content": {"application/json": {"schema": named("Problem")}}})
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

/// The fields of an operation such as `{"op": "cancel"}`.
fn change(ops: &[&str]) -> Value {
    object(&["op"], json!({"op": {"type": "string", "enum": ops}}))
}

fn replace(path: &str, value: Value) -> Value {
    let properties = json!({
        "op": {"type": "string", "enum": ["replace"]}, "path": {"type": "string", "enum": [path]}, "value": value,
    });
    object(&["op", "path", "value"], properties)
}

/// A page of a list.
fn page(key: &str, item: &str) -> Value {
    let properties = json!({
        key: {"type": "array", "items": named(item)},
        "_page": {"type": "object"},
        "_links": {"type": "object"},
        "version": {"type": "integer"},
    });
    object(&[key, "_page", "_links", "version"], properties)
}

/// The fields that say what a query does.
fn statement(required: &[&str]) -> Value {
    let table = object(&["datasetName"], json!({"datasetName": {"type": "string", "minLength": 1}}));
    object(
        required,
        json!({
            "dbName": {"type": "string", "example": "prod:all"},
            "sql": {"type": "string", "minLength": 1},
            "templateId": {"type": "string"},
            "language": {"type": "string", "enum": ["sql", "kql"]},
            "name": {"type": "string"},
            "description": {"type": "string"},
            "queryParameters": {"type": "object"},
            "ctasParameters": table,
            "insertIntoParameters": table,
        }),
    )
}

/// All schemas, by name.
pub(super) fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    let links = || json!({"type": "object"});
    let time = || json!({"type": "string", "format": "date-time"});
    let flag = || json!({"type": "boolean"});
    let any = || json!({"type": "object"});
    let error =
        object(&["code", "message", "errorType"], json!({"code": text(), "message": text(), "errorType": text()}));
    let query = json!({
        "id": text(), "request": any(), "rowCount": number(), "errors": {"type": "array", "items": error},
        "state": {"type": "string", "enum": ["SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILED", "KILLED", "TIMEOUT"]},
        "isCTAS": flag(), "isInsertInto": flag(), "version": number(), "elapsedTime": number(),
        "created": time(), "updated": time(), "client": text(), "userId": text(), "_links": links(),
        "effectiveSQL": text(), "templateName": text(),
    });
    let query_keys = [
        "id",
        "request",
        "state",
        "rowCount",
        "errors",
        "isCTAS",
        "isInsertInto",
        "version",
        "elapsedTime",
        "created",
        "updated",
        "client",
        "userId",
        "_links",
    ];
    let plan = json!({
        "dryRun": flag(), "effectiveSQL": {"type": "string", "nullable": true}, "schema": {"type": "array", "items": any()},
        "tables": {"type": "array", "items": any()}, "estimatedRows": number(), "estimatedBytes": number(),
    });
    let template = json!({
        "id": text(), "sql": text(), "name": text(), "queryParameters": any(), "created": time(), "updated": time(),
        "userId": text(), "lastUpdatedBy": text(), "_links": links(),
    });
    let times = json!({
        "schedule": {"type": "string", "minLength": 1, "example": "0 6 * * *"}, "startDate": time(), "endDate": time(),
        "maxActiveRuns": {"type": "integer", "minimum": 1, "maximum": 1000}, "timeZone": text(),
        "catchUp": {"type": "string", "enum": ["last", "all", "none"]},
    });
    let times = object(&["schedule", "startDate"], times);
    let schedule = json!({
        "id": text(), "state": {"type": "string", "enum": ["REGISTERING", "ENABLED", "DISABLED"]}, "query": any(),
        "schedule": times, "userId": text(), "updatedUserId": text(), "version": number(), "created": time(),
        "updated": time(), "nextRun": {"type": "string", "format": "date-time", "nullable": true}, "_links": links(),
    });
    let run = json!({
        "id": text(), "state": {"type": "string", "enum": ["IN_PROGRESS", "SUCCESS", "FAILED"]}, "version": number(),
        "externalTrigger": flag(), "created": time(), "_links": links(), "scheduleId": text(),
        "taskStatusList": {"type": "array", "items": any()},
    });
    let ty = json!({"type": "string", "enum": ["start", "success", "failure"]});
    let status = json!({"type": "string", "enum": ["enabled", "disabled"]});
    let subscriptions = object(
        &[],
        json!({
            "webhook": {"type": "string"},
            "emailIds": {"type": "array", "maxItems": 5, "items": text()},
            "inContextNotifications": flag(),
            "emailNotifications": flag(),
        }),
    );
    let alert = json!({
        "id": text(), "assetId": text(), "alertType": ty, "status": status, "subscriptions": any(), "created": time(),
        "_links": links(),
    });
    let switch = || json!({"type": "string", "enum": ["enable", "disable"]});
    let new_alert = json!({
        "assetId": {"type": "string", "minLength": 1}, "alertType": ty, "subscriptions": subscriptions,
    });
    let connection = json!({
        "username": text(), "dbName": text(), "host": text(), "port": number(), "token": text(),
        "compressedToken": text(), "websocketHost": text(), "version": number(),
    });
    let accelerated = json!({
        "queryId": text(), "resultsMeta": any(), "results": {"type": "array", "items": any()}, "request": any(),
    });
    let rows = json!({
        "schema": {"type": "array", "items": any()}, "rows": {"type": "array", "items": {}}, "rowCount": number(),
        "next": {"type": "string", "nullable": true},
    });
    let all = [
        (
            "Problem",
            object(
                &["message", "statusCode"],
                json!({"message": text(), "statusCode": number(), "error_code": text()}),
            ),
        ),
        ("Message", object(&["message", "statusCode"], json!({"message": text(), "statusCode": number()}))),
        ("NewQuery", statement(&[])),
        ("AcceleratedQuery", statement(&["dbName"])),
        ("Query", object(&query_keys, query)),
        ("Plan", object(&["dryRun", "schema", "tables"], plan)),
        ("QueryOrPlan", json!({"anyOf": [named("Query"), named("Plan")]})),
        ("Queries", page("queries", "Query")),
        ("QueryChange", change(&["cancel", "soft_delete"])),
        ("Cancel", change(&["cancel"])),
        ("Rows", object(&["schema", "rows", "rowCount"], rows)),
        ("AcceleratedAnswer", object(&["queryId", "resultsMeta", "results", "request"], accelerated)),
        (
            "NewTemplate",
            object(
                &["sql", "name"],
                json!({"sql": {"type": "string", "minLength": 1}, "name": {"type": "string", "minLength": 1},
                   "queryParameters": any()}),
            ),
        ),
        (
            "Template",
            object(&["id", "sql", "name", "queryParameters", "created", "updated", "userId", "_links"], template),
        ),
        ("Templates", page("templates", "Template")),
        ("Count", object(&["totalCount", "version"], json!({"totalCount": number(), "version": number()}))),
        ("NewSchedule", object(&["query", "schedule"], json!({"query": named("NewQuery"), "schedule": times}))),
        ("Schedule", object(&["id", "state", "query", "schedule", "userId", "version", "_links"], schedule)),
        ("Schedules", page("schedules", "Schedule")),
        (
            "ScheduleChange",
            json!({"anyOf": [
                change(&["enable", "disable"]),
                object(&["body"], json!({"body": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"anyOf": [
                    replace("/state", switch()),
                    replace("/schedule/schedule", json!({"type": "string", "minLength": 1})),
                ]}}})),
            ]}),
        ),
        ("Run", object(&["id", "state", "version", "externalTrigger", "created", "_links"], run)),
        ("Runs", page("runsSchedules", "Run")),
        ("NewAlert", object(&["assetId", "alertType", "subscriptions"], new_alert)),
        ("Alert", object(&["id", "assetId", "alertType", "status", "subscriptions", "created", "_links"], alert)),
        ("Alerts", page("alerts", "Alert")),
        ("AssetAlerts", object(&["alerts"], json!({"alerts": {"type": "array", "items": named("Alert")}}))),
        ("UserAlerts", object(&["items"], json!({"items": {"type": "array", "items": named("Alert")}}))),
        ("AlertChange", replace("/status", switch())),
        (
            "AlertStatus",
            object(
                &["id", "assetId", "alertType", "status"],
                json!({"id": text(), "assetId": text(), "alertType": ty, "status": status}),
            ),
        ),
        ("ConnectionParameters", object(&["username", "dbName", "host", "port", "token", "websocketHost"], connection)),
    ];
    all.into_iter().map(|(name, schema)| (name.to_string(), schema)).collect::<serde_json::Map<_, _>>().into()
}
