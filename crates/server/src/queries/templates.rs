//! `/query-templates`: statements with names and default parameters. Source: query-service-api section 14.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tidewater_service::jobs::{Template, TemplateText};

use super::body::Sent;
use super::filter::fields;
use super::headers::Caller;
use super::list::Asked;
use super::problem::Problem;
use super::{Answer, Arguments, PREFIX, accepted, answer, object};
use crate::app::App;

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no query template '{id}'"))
}

/// The object on the wire.
fn shown(template: &Template, base: &str) -> Value {
    let href = format!("{base}{PREFIX}/query-templates/{}", template.id);
    let mut object = json!({
        "sql": template.text.sql,
        "name": template.text.name,
        "id": template.id,
        "queryParameters": template.text.parameters,
        "created": object::milliseconds(template.created),
        "updated": object::milliseconds(template.updated),
        "userId": template.user,
    });
    if let Some(user) = &template.updated_by {
        object["lastUpdatedBy"] = user.as_str().into();
    }
    object["_links"] = json!({
        "self": {"href": href, "method": "GET"},
        "delete": {"href": href, "method": "DELETE"},
        "update": {"href": href, "method": "PUT", "body": "{\"sql\": \"new sql \", \"name\": \"new name\"}"},
    });
    object
}

fn text_of(body: &Value) -> Result<TemplateText, Problem> {
    let text = |name: &str| match body.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::String(_)) | None | Some(Value::Null) => {
            Err(Problem::bad(format!("{name}: expected a text, found none")))
        }
        Some(_) => Err(Problem::bad(format!("{name}: expected a text"))),
    };
    let parameters = match body.get("queryParameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(parameters)) => parameters.clone(),
        Some(_) => return Err(Problem::bad("queryParameters: expected an object")),
    };
    if let Some((name, _)) = parameters.iter().find(|(_, value)| value.is_array() || value.is_object()) {
        return Err(Problem::bad(format!("queryParameters.{name}: expected a text, number or boolean")));
    }
    Ok(TemplateText { sql: text("sql")?, name: text("name")?, parameters })
}

pub(super) async fn create(State(app): State<App>, caller: Caller, Sent(body): Sent) -> Answer {
    let text = text_of(&body)?;
    let template = app.service().create_template(&caller.tenant, text, &caller.user).await?;
    Ok(answer(&caller, StatusCode::ACCEPTED, &shown(&template, &caller.base)))
}

pub(super) async fn list(State(app): State<App>, caller: Caller, Query(arguments): Arguments) -> Answer {
    let asked = Asked::of(&arguments, "-created", fields::TEMPLATES)?;
    let page = app.service().list_templates(&caller.tenant, asked.request.clone()).await?;
    let base = caller.base.as_str();
    let href = format!("{base}{PREFIX}/query-templates");
    Ok(answer(&caller, StatusCode::OK, &asked.body("templates", &href, &page, |template| shown(template, base))))
}

pub(super) async fn count(State(app): State<App>, caller: Caller, Query(arguments): Arguments) -> Answer {
    let asked = Asked::of(&arguments, "-created", fields::TEMPLATES)?;
    let count = app.service().count_templates(&caller.tenant, asked.request.filters).await?;
    Ok(answer(&caller, StatusCode::OK, &json!({"totalCount": count, "version": 1})))
}

pub(super) async fn get_one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    let template = app.service().template(&caller.tenant, &id).await?.ok_or_else(|| unknown(&id))?;
    Ok(answer(&caller, StatusCode::OK, &shown(&template, &caller.base)))
}

pub(super) async fn put(State(app): State<App>, caller: Caller, Path(id): Path<String>, Sent(body): Sent) -> Answer {
    let text = text_of(&body)?;
    let template = app.service().update_template(&caller.tenant, &id, text, &caller.user).await?;
    let template = template.ok_or_else(|| unknown(&id))?;
    Ok(answer(&caller, StatusCode::ACCEPTED, &shown(&template, &caller.base)))
}

pub(super) async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer {
    match app.service().delete_template(&caller.tenant, &id).await? {
        true => Ok(accepted(&caller, "Deleted")),
        false => Err(unknown(&id)),
    }
}
