//! Queues: one that clients put their messages into, two that they read what has become of their files from.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidewater_service::context::now_ticks;
use tidewater_service::queued::{Mail, Mailbox, Resource};
use uuid::Uuid;

use super::{Answer, Call, Failure, answered, elements, escaped, http_date, set};

/// A message with base64 and XML around it.
const MAX_BODY_BYTES: usize = 256 * 1024;
const WEEK_TICKS: i64 = 7 * 864_000_000_000;

pub(super) async fn answer(call: Call) -> Answer {
    let mailbox = match call.resource {
        Resource::Succeeded => Mailbox::Succeeded,
        Resource::Failed => Mailbox::Failed,
        _ => return ready(call).await,
    };
    let mail = call.app.service().mailboxes().clone();
    let (kind, id) = call.name.split_once('/').unwrap_or((&call.name, ""));
    let receipt = call.argument("popreceipt").unwrap_or_default();
    match (&call.method, kind, id.is_empty()) {
        (&Method::GET | &Method::HEAD, "", _) => {
            call.require("rp")?;
            let mut response = answered(StatusCode::OK, None, "");
            set(&mut response, "x-ms-approximate-messages-count", &mail.count(mailbox).await?.to_string());
            Ok(response)
        }
        (&Method::GET, "messages", true) => {
            let peek = call.argument("peekonly").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
            call.require(if peek { "rp" } else { "p" })?;
            let count = usize::try_from(call.number("numofmessages", 1)).unwrap_or(1);
            let found = mail.take(mailbox, count, call.number("visibilitytimeout", 30), peek).await?;
            Ok(listed(StatusCode::OK, &found, peek, true))
        }
        (&Method::DELETE, "messages", true) => {
            call.require("p")?;
            mail.clear(mailbox).await?;
            Ok(answered(StatusCode::NO_CONTENT, None, ""))
        }
        (&Method::DELETE, "messages", false) => {
            call.require("p")?;
            mail.delete(mailbox, id, receipt).await.map_err(unknown)?;
            Ok(answered(StatusCode::NO_CONTENT, None, ""))
        }
        (&Method::PUT, "messages", false) => {
            call.require("u")?;
            let hidden = mail.hide(mailbox, id, receipt, call.number("visibilitytimeout", 0)).await.map_err(unknown)?;
            let mut response = answered(StatusCode::NO_CONTENT, None, "");
            set(&mut response, "x-ms-popreceipt", &hidden.receipt);
            set(&mut response, "x-ms-time-next-visible", &http_date(hidden.visible));
            Ok(response)
        }
        _ => Err(Failure::method()),
    }
}

fn unknown(error: tidewater_service::Error) -> Failure {
    match error.kind() {
        tidewater_service::Kind::NotFound => {
            Failure::new(StatusCode::NOT_FOUND, "MessageNotFound", error.message().to_string())
        }
        _ => Failure::from(error),
    }
}

/// The queue of files to be ingested: it takes messages, and gives none back.
async fn ready(call: Call) -> Answer {
    if call.method != Method::POST || call.name != "messages" {
        return Err(Failure::method());
    }
    call.require("a")?;
    let service = call.app.service().clone();
    let body = call.body(MAX_BODY_BYTES).await?;
    let texts = elements(&String::from_utf8_lossy(&body), &["MessageText"]);
    let [text] = texts.as_slice() else {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "InvalidXmlDocument", "one MessageText is expected"));
    };
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    // Some send the JSON as it is.
    let message = STANDARD.decode(packed.as_bytes()).unwrap_or_else(|_| text.as_bytes().to_vec());
    service.enqueue(&message).await?;
    let now = now_ticks();
    let sent = Mail {
        id: Uuid::new_v4().to_string(),
        text: String::new(),
        inserted: now,
        expires: now + WEEK_TICKS,
        visible: now,
        receipt: Uuid::new_v4().simple().to_string(),
        count: 0,
    };
    Ok(listed(StatusCode::CREATED, &[sent], false, false))
}

fn listed(status: StatusCode, mails: &[Mail], peek: bool, with_text: bool) -> axum::response::Response {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList>");
    for mail in mails {
        xml.push_str(&format!(
            "<QueueMessage><MessageId>{}</MessageId><InsertionTime>{}</InsertionTime><ExpirationTime>{}</ExpirationTime>",
            escaped(&mail.id),
            http_date(mail.inserted),
            http_date(mail.expires)
        ));
        if !peek {
            xml.push_str(&format!(
                "<PopReceipt>{}</PopReceipt><TimeNextVisible>{}</TimeNextVisible>",
                escaped(&mail.receipt),
                http_date(mail.visible)
            ));
        }
        if with_text {
            xml.push_str(&format!(
                "<DequeueCount>{}</DequeueCount><MessageText>{}</MessageText>",
                mail.count,
                escaped(&mail.text)
            ));
        }
        xml.push_str("</QueueMessage>");
    }
    xml.push_str("</QueueMessagesList>");
    answered(status, Some("application/xml"), xml)
}
