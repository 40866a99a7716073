//! Messages of queued ingestion: as the clients' libraries write them to a queue, and as the REST interface takes them.
//!
//! Members are matched without case: the libraries differ, and the documentation differs from them. Source: kusto-rest
//! section 10, kusto-ingest-client-rest and queued-ingest-use-http pages.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::ingest::IngestProperties;

/// Blobs of one REST request. Source: queued-ingest-use-http page.
const MAX_REST_BLOBS: usize = 20;

/// What a client wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReportLevel {
    FailuresOnly,
    Nothing,
    All,
}

/// Where an entity of the status table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusEntity {
    pub partition: String,
    pub row: String,
}

/// One file that waits to be ingested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The client's id of the source.
    pub id: String,
    /// A connection string.
    pub blob: String,
    pub database: String,
    pub table: String,
    /// Bytes before compression, where the client tells them.
    pub raw_bytes: Option<u64>,
    /// Whether the blob stays when it has been ingested. Blobs of our own storage never do.
    pub retain: bool,
    /// Whether it waits for no others.
    pub flush: bool,
    pub report: ReportLevel,
    pub to_queue: bool,
    pub to_table: Option<StatusEntity>,
    /// `authorizationContext`
    #[serde(default)]
    pub token: String,
    /// Who asked, where the request itself told.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// Ingestion properties by lower-case name, as texts.
    pub properties: Vec<(String, String)>,
    /// The tracked request that this is a part of.
    #[serde(default)]
    pub operation: Option<Uuid>,
    pub application: String,
    /// When it came, in ticks.
    #[serde(default)]
    pub received: i64,
}

struct Members(Map<String, Value>);

impl Members {
    fn of(value: Value, what: &str) -> Result<Members> {
        match value {
            Value::Object(members) => Ok(Members(members)),
            _ => Err(Error::bad_request(format!("{what} must be a JSON object"))),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(plain).filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| Error::bad_request(format!("the message has no member '{name}'")))
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "1"))
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// A value as a property's text: texts as they are, others as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Message {
    /// From the text of a queue's message, base64 taken off.
    pub fn of_queue(text: &[u8]) -> Result<Message> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let value = serde_json::from_slice(text)
            .map_err(|error| Error::bad_request(format!("the message is not valid JSON: {error}")))?;
        let members = Members::of(value, "the message")?;
        let mut token = String::new();
        let mut properties = Vec::new();
        if let Some(Value::Object(own)) = members.get("AdditionalProperties") {
            for (name, value) in own.iter().filter(|(_, value)| !value.is_null()) {
                match name.to_ascii_lowercase().as_str() {
                    "authorizationcontext" => token = plain(value),
                    name => properties.push((name.to_string(), plain(value))),
                }
            }
        }
        let report = match members.get("ReportLevel") {
            Some(Value::String(name)) if name.eq_ignore_ascii_case("FailuresAndSuccesses") => ReportLevel::All,
            Some(Value::String(name)) if matches!(name.to_ascii_lowercase().as_str(), "none" | "donotreport") => {
                ReportLevel::Nothing
            }
            _ => match members.number("ReportLevel") {
                Some(1) => ReportLevel::Nothing,
                Some(2) => ReportLevel::All,
                _ => ReportLevel::FailuresOnly,
            },
        };
        let method = members.number("ReportMethod").unwrap_or(match members.text("ReportMethod").as_deref() {
            Some(name) if name.eq_ignore_ascii_case("Table") => 1,
            Some(name) if name.eq_ignore_ascii_case("QueueAndTable") => 2,
            _ => 0,
        });
        let to_table = match members.get("IngestionStatusInTable") {
            Some(Value::Object(own)) => {
                let own = Members(own.clone());
                own.text("PartitionKey").zip(own.text("RowKey")).map(|(partition, row)| StatusEntity { partition, row })
            }
            _ => None,
        };
        Ok(Message {
            id: members.text("Id").unwrap_or_else(|| Uuid::new_v4().to_string()),
            blob: members.required("BlobPath")?,
            database: members.required("DatabaseName")?,
            table: members.required("TableName")?,
            raw_bytes: members.number("RawDataSize").and_then(|bytes| u64::try_from(bytes).ok()),
            retain: members.get("RetainBlobOnSuccess").is_none() || members.flag("RetainBlobOnSuccess"),
            flush: members.flag("FlushImmediately"),
            report,
            to_queue: method != 1,
            to_table: to_table.filter(|_| method != 0),
            token,
            identity: None,
            properties,
            operation: None,
            application: members.text("ApplicationForTracing").unwrap_or_default(),
            received: 0,
        })
    }

    /// A file without properties, of whose fate nobody wants to be told.
    pub fn of_file(blob: String, database: &str, table: &str) -> Message {
        Message {
            id: Uuid::new_v4().to_string(),
            blob,
            database: database.to_string(),
            table: table.to_string(),
            raw_bytes: None,
            retain: true,
            flush: false,
            report: ReportLevel::Nothing,
            to_queue: false,
            to_table: None,
            token: String::new(),
            identity: None,
            properties: Vec::new(),
            operation: None,
            application: String::new(),
            received: 0,
        }
    }

    /// From the body of a REST request: the files, and whether their way is to be tracked.
    pub fn of_rest(body: &[u8], database: &str, table: &str) -> Result<(Vec<Message>, bool)> {
        let value = serde_json::from_slice(body)
            .map_err(|error| Error::bad_request(format!("the request body is not valid JSON: {error}")))?;
        let members = Members::of(value, "the request body")?;
        let blobs = match members.get("blobs") {
            Some(Value::Array(blobs)) if !blobs.is_empty() => blobs.clone(),
            _ => {
                return Err(Error::bad_request(
                    "the request body must have the member 'blobs', a list that is not empty",
                ));
            }
        };
        if blobs.len() > MAX_REST_BLOBS {
            return Err(Error::bad_request(format!(
                "a request has at most {MAX_REST_BLOBS} blobs, found {}",
                blobs.len()
            )));
        }
        let own = match members.get("properties") {
            Some(Value::Object(own)) => Members(own.clone()),
            _ => return Err(Error::bad_request("the request body must have the member 'properties', an object")),
        };
        let ignored = ["enabletracking", "skipbatching", "deleteafterdownload"];
        let properties: Vec<(String, String)> = own
            .0
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_ascii_lowercase(), plain(value)))
            .filter(|(name, value)| !ignored.contains(&name.as_str()) && !value.is_empty())
            .collect();
        let messages = blobs.into_iter().map(|blob| {
            let blob = Members::of(blob, "a member of 'blobs'")?;
            let url = blob.text("url").ok_or_else(|| Error::bad_request("a member of 'blobs' has no 'url'"))?;
            Ok(Message {
                id: blob.text("sourceId").unwrap_or_else(|| Uuid::new_v4().to_string()),
                blob: url,
                database: database.to_string(),
                table: table.to_string(),
                raw_bytes: blob.number("rawSize").and_then(|bytes| u64::try_from(bytes).ok()),
                retain: !own.flag("deleteAfterDownload"),
                flush: own.flag("skipBatching"),
                report: ReportLevel::Nothing,
                to_queue: false,
                to_table: None,
                token: String::new(),
                identity: None,
                properties: properties.clone(),
                operation: None,
                application: String::new(),
                received: 0,
            })
        });
        Ok((messages.collect::<Result<_>>()?, own.flag("enableTracking")))
    }

    /// The properties as an ingestion reads them.
    pub fn ingestion(&self) -> Result<IngestProperties> {
        let find = |wanted: &str| self.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        IngestProperties::read(|name| find(name).map(|(_, value)| value.clone()))
    }

    /// Files with the same key may be ingested together.
    pub fn key(&self) -> String {
        let mut properties = self.properties.clone();
        properties.sort();
        let who = self.identity.as_ref().map(|identity| identity.principal());
        serde_json::json!([self.database, self.table, properties, who, self.token]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_the_python_library_is_read() {
        let text = r#"{"BlobPath":"http://h/c/b.csv?sig=1","RawDataSize":10,"DatabaseName":"D","TableName":"T","RetainBlobOnSuccess":true,
            "FlushImmediately":true,"IgnoreSizeLimit":false,"ReportLevel":2,"ReportMethod":0,"SourceMessageCreationTime":"2026-01-01T00:00:00",
            "Id":"00000000-0000-0000-0000-000000000001","AdditionalProperties":{"authorizationContext":"tok","tags":"[\"a\"]",
            "ingestIfNotExists":"[\"x\"]","format":"csv","ignoreFirstRecord":true}}"#;
        let message = Message::of_queue(text.as_bytes()).unwrap();
        assert_eq!((message.report, message.to_queue, message.flush), (ReportLevel::All, true, true));
        assert_eq!((message.token.as_str(), message.raw_bytes), ("tok", Some(10)));
        let properties = message.ingestion().unwrap();
        assert_eq!((properties.tags, properties.unless), (vec!["a".to_string()], vec!["x".to_string()]));
        assert_eq!(properties.header, crate::ingest::Header::Yes);
    }

    #[test]
    fn the_status_entity_is_found_in_any_case_of_letters() {
        let text = r#"{"blobpath":"b","databaseName":"D","tableName":"T","ReportMethod":1,
            "IngestionStatusInTable":{"tableConnectionString":"x","partitionKey":"p","rowKey":"r"}}"#;
        let message = Message::of_queue(text.as_bytes()).unwrap();
        assert!(!message.to_queue && message.retain);
        assert_eq!(message.to_table, Some(StatusEntity { partition: "p".into(), row: "r".into() }));
        assert!(
            Message::of_queue(b"{}").is_err() && Message::of_queue(b"[]").is_err() && Message::of_queue(b"x").is_err()
        );
    }

    #[test]
    fn a_rest_request_names_several_files() {
        let body = r#"{"blobs":[{"url":"http://h/a"},{"url":"http://h/b","sourceId":"s"}],
            "properties":{"format":"json","enableTracking":true,"tags":["x","y"],"skipBatching":true}}"#;
        let (messages, tracked) = Message::of_rest(body.as_bytes(), "D", "T").unwrap();
        assert!(tracked && messages[0].flush);
        assert_eq!((messages.len(), messages[1].id.as_str()), (2, "s"));
        assert_eq!(messages[0].ingestion().unwrap().tags, ["x", "y"]);
        assert!(Message::of_rest(br#"{"blobs":[],"properties":{}}"#, "D", "T").is_err());
        assert!(Message::of_rest(br#"{"blobs":[{"url":"u"}]}"#, "D", "T").is_err());
    }
}
