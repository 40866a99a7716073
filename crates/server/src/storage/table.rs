//! The table of states: an entity per file, which the client makes and the server changes.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tidewater_kql::value::datetime;

use super::{Answer, Call, Failure, answered, set};

/// An entity. Source: Azure's tables take 1 MiB.
const MAX_BODY_BYTES: usize = 1 << 20;
const JSON: &str = "application/json;odata=minimalmetadata;streaming=true;charset=utf-8";

pub(super) async fn answer(call: Call) -> Answer {
    let mail = call.app.service().mailboxes().clone();
    // Some clients send methods that firewalls do not know under another one.
    let method = call.header("x-http-method").map_or(call.method.as_str().to_string(), str::to_ascii_uppercase);
    let keys = match keys(&call.name) {
        Some(keys) => Some(keys),
        None if call.name.is_empty() || call.name == "()" => None,
        None => return Err(Failure::bad("(PartitionKey='...',RowKey='...') is expected")),
    };
    match (method.as_str(), keys) {
        ("GET", None) => {
            call.require("r")?;
            let entities = mail.entities().await?;
            Ok(answered(StatusCode::OK, Some(JSON), json!({"value": entities}).to_string()))
        }
        ("GET", Some((partition, row))) => {
            call.require("r")?;
            let Some((mut entity, updated)) = mail.entity(&partition, &row).await? else { return Err(missing()) };
            entity.insert("PartitionKey".to_string(), partition.into());
            entity.insert("RowKey".to_string(), row.into());
            entity.entry("Timestamp").or_insert_with(|| datetime::to_text(updated).into());
            let tag = tag_of(updated);
            entity.insert("odata.etag".to_string(), tag.as_str().into());
            let mut response = answered(StatusCode::OK, Some(JSON), Value::Object(entity).to_string());
            set(&mut response, "etag", &tag);
            Ok(response)
        }
        ("POST", None) => {
            call.require("a")?;
            let echo = !call.header("prefer").is_some_and(|prefer| prefer.eq_ignore_ascii_case("return-no-content"));
            let address = call.address.clone();
            let entity = entity(call).await?;
            let text = |name: &str| entity.get(name).and_then(Value::as_str).map(str::to_string);
            let (Some(partition), Some(row)) = (text("PartitionKey"), text("RowKey")) else {
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    "PropertiesNeedValue",
                    "an entity needs PartitionKey and RowKey",
                ));
            };
            mail.insert_entity(&partition, &row, entity.clone()).await?;
            let mut response = match echo {
                true => answered(StatusCode::CREATED, Some(JSON), Value::Object(entity).to_string()),
                false => answered(StatusCode::NO_CONTENT, None, ""),
            };
            set(&mut response, "preference-applied", if echo { "return-content" } else { "return-no-content" });
            set(&mut response, "location", &format!("{address}(PartitionKey='{partition}',RowKey='{row}')"));
            Ok(tagged(response))
        }
        ("PUT" | "MERGE" | "PATCH", Some((partition, row))) => {
            call.require("u")?;
            let merge = method != "PUT";
            let entity = entity(call).await?;
            mail.put_entity(&partition, &row, entity, merge).await?;
            Ok(tagged(answered(StatusCode::NO_CONTENT, None, "")))
        }
        ("DELETE", Some((partition, row))) => {
            call.require("d")?;
            match mail.remove_entity(&partition, &row).await? {
                true => Ok(answered(StatusCode::NO_CONTENT, None, "")),
                false => Err(missing()),
            }
        }
        _ => Err(Failure::method()),
    }
}

fn missing() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "ResourceNotFound", "the entity does not exist")
}

fn tag_of(ticks: i64) -> String {
    format!("W/\"datetime'{}'\"", datetime::to_text(ticks).replace(':', "%3A"))
}

fn tagged(mut response: Response) -> Response {
    set(&mut response, "etag", &tag_of(tidewater_service::context::now_ticks()));
    response
}

async fn entity(call: Call) -> Result<Map<String, Value>, Failure> {
    let body = call.body(MAX_BODY_BYTES).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(entity)) => Ok(entity),
        _ => Err(Failure::bad("an entity must be a JSON object")),
    }
}

/// The keys of `(PartitionKey='a',RowKey='b')`, quotes doubled inside.
fn keys(text: &str) -> Option<(String, String)> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let (partition, rest) = quoted(inside.strip_prefix("PartitionKey=")?)?;
    let (row, rest) = quoted(rest.trim_start().strip_prefix(',')?.trim_start().strip_prefix("RowKey=")?)?;
    rest.is_empty().then_some((partition, row))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('\'')?;
    let mut value = String::new();
    loop {
        let end = rest.find('\'')?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_quotes_inside() {
        let of = |text: &str| keys(text);
        assert_eq!(of("(PartitionKey='a''b',RowKey='c')"), Some(("a'b".into(), "c".into())));
        assert_eq!(of("(PartitionKey='a', RowKey='')"), Some(("a".into(), String::new())));
        for wrong in ["", "()", "(PartitionKey='a')", "(PartitionKey='a',RowKey='b", "(RowKey='a',PartitionKey='b')"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
