//! The answer of `/v1/rest/query` and `/v1/rest/mgmt`: a list of tables. Source: kusto-rest section 5.
//!
//! A command is answered by one table; a query by its results, their properties, the status and a
//! table of contents, which clients find as the last of three or more.

use serde_json::json;
use tidewater_kql::{KqlType, TableSchema, value};
use tidewater_service::{CommandAnswer, Context, Error, Fault, QueryAnswer};
use uuid::Uuid;

use super::error::Scene;
use super::json::{integer, string};
use super::properties::visualization;
use super::rows::{self, Framing};
use super::sink::{Gone, Sink};
use super::v2::status_of;

/// Writes the answer to a command.
pub async fn encode_command(
    answer: CommandAnswer,
    defer: bool,
    context: &Context,
    scene: &Scene,
    mut sink: Sink,
) -> Result<(), Gone> {
    let mut table = match answer {
        CommandAnswer::Table(table) => table,
        CommandAnswer::Query(answer) => return encode_query(answer, defer, context, scene, sink).await,
    };
    sink.buffer.extend_from_slice(b"{\"Tables\":[");
    open_table(0, &table.schema, &mut sink.buffer);
    let written = rows::write(&mut table, Framing::Plain, &mut sink).await?;
    match written.error {
        Some(error) if told_as_document(&error, defer, &sink) => return sink.fail(error).await,
        Some(error) => {
            exception_row(&error, written.rows, &mut sink.buffer);
            sink.buffer.extend_from_slice(b"]}],\"Exceptions\":[");
            string(error.message(), &mut sink.buffer);
            sink.buffer.extend_from_slice(b"]}");
        }
        None => sink.buffer.extend_from_slice(b"]}]}"),
    }
    sink.finish().await
}

/// Writes the answer to a query.
pub async fn encode_query(
    answer: QueryAnswer,
    defer: bool,
    context: &Context,
    scene: &Scene,
    mut sink: Sink,
) -> Result<(), Gone> {
    let count = answer.results.len();
    let visualizations: Vec<String> = answer.results.iter().map(visualization).collect();
    let mut failures: Vec<Error> = Vec::new();
    sink.buffer.extend_from_slice(b"{\"Tables\":[");
    for (at, mut table) in answer.results.into_iter().enumerate() {
        if at > 0 {
            sink.buffer.push(b',');
        }
        open_table(at, &table.schema, &mut sink.buffer);
        let written = rows::write(&mut table, Framing::Plain, &mut sink).await?;
        match written.error {
            Some(error) if told_as_document(&error, defer, &sink) => return sink.fail(error).await,
            Some(error) if defer => failures.push(error),
            Some(error) => {
                // Properties, status and contents are left out then.
                exception_row(&error, written.rows, &mut sink.buffer);
                sink.buffer.extend_from_slice(b"]}],\"Exceptions\":[");
                string(error.message(), &mut sink.buffer);
                sink.buffer.extend_from_slice(b"]}");
                return sink.finish().await;
            }
            None => {}
        }
        sink.buffer.extend_from_slice(b"]}");
        sink.yield_chunk().await?;
    }
    if count > 0 {
        sink.buffer.push(b',');
    }
    properties_table(count, &visualizations, &mut sink.buffer);
    status_table(count + 1, &failures, (context, scene), &mut sink.buffer);
    contents_table(count, &mut sink.buffer);
    sink.buffer.extend_from_slice(b"]}");
    sink.finish().await
}

fn told_as_document(error: &Error, defer: bool, sink: &Sink) -> bool {
    !sink.begun() && !defer && !matches!(error.fault(), Fault::ResultTooLarge)
}

fn exception_row(error: &Error, rows: u64, out: &mut Vec<u8>) {
    if rows > 0 {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"Exceptions\":[");
    string(error.message(), out);
    out.extend_from_slice(b"]}");
}

/// Everything of a table up to its rows.
fn open_table(number: usize, schema: &TableSchema, out: &mut Vec<u8>) {
    open_named(number, schema.columns.iter().map(|column| (column.name.as_str(), column.ty)), out);
}

fn open_named<'a>(number: usize, columns: impl Iterator<Item = (&'a str, KqlType)>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"TableName\":\"Table_");
    integer(number as i64, out);
    out.extend_from_slice(b"\",\"Columns\":[");
    for (at, (name, ty)) in columns.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"ColumnName\":");
        string(name, out);
        out.extend_from_slice(b",\"DataType\":\"");
        out.extend_from_slice(ty.dotnet_name().as_bytes());
        out.extend_from_slice(b"\",\"ColumnType\":\"");
        out.extend_from_slice(ty.name().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b"],\"Rows\":[");
}

fn properties_table(number: usize, visualizations: &[String], out: &mut Vec<u8>) {
    open_named(number, [("Value", KqlType::String)].into_iter(), out);
    for (at, text) in visualizations.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'[');
        string(text, out);
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
}

fn status_table(number: usize, failures: &[Error], (context, scene): (&Context, &Scene), out: &mut Vec<u8>) {
    use KqlType::*;
    out.push(b',');
    let columns = [
        ("Timestamp", DateTime),
        ("Severity", Int),
        ("SeverityName", String),
        ("StatusCode", Int),
        ("StatusDescription", String),
        ("Count", Int),
        ("RequestId", Guid),
        ("ActivityId", Guid),
        ("SubActivityId", Guid),
        ("ClientActivityId", String),
    ];
    open_named(number, columns.into_iter(), out);
    let mut time = Vec::new();
    value::datetime::write(tidewater_service::context::now_ticks(), &mut time);
    let time = std::string::String::from_utf8_lossy(&time).into_owned();
    let activity = context.activity_id;
    let mut rows = Vec::new();
    for failure in failures {
        let (code, _, _) = status_of(failure);
        rows.push(json!([
            time,
            2,
            "Error",
            code,
            failure.message(),
            1,
            activity,
            activity,
            activity,
            context.client_request_id
        ]));
    }
    let done = "Query completed successfully";
    rows.push(json!([time, 4, "Info", 0, done, 1, activity, activity, activity, context.client_request_id]));
    let used = context.usage.consumption().text(&scene.text, context.started.elapsed());
    rows.push(json!([time, 6, "Stats", 0, used, 1, activity, activity, activity, context.client_request_id]));
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(row.to_string().as_bytes());
    }
    out.extend_from_slice(b"]}");
}

/// The table of contents lists every table but itself; clients accept these kinds only.
fn contents_table(results: usize, out: &mut Vec<u8>) {
    use KqlType::*;
    out.push(b',');
    let columns = [("Ordinal", Long), ("Kind", String), ("Name", String), ("Id", String), ("PrettyName", String)];
    open_named(results + 2, columns.into_iter(), out);
    for ordinal in 0..results {
        out.extend_from_slice(
            json!([ordinal, "QueryResult", "PrimaryResult", Uuid::new_v4(), ""]).to_string().as_bytes(),
        );
        out.push(b',');
    }
    let rest = [
        json!([results, "QueryProperties", "@ExtendedProperties", Uuid::new_v4(), ""]),
        json!([results + 1, "QueryStatus", "QueryStatus", Uuid::nil(), ""]),
    ];
    out.extend_from_slice(format!("{},{}]}}", rest[0], rest[1]).as_bytes());
}

/// The body of an answer with one table of rows that are plain JSON values, for endpoints that are no commands.
pub fn one_table(columns: &[(&str, KqlType)], rows: &[Vec<serde_json::Value>]) -> Vec<u8> {
    let mut out = b"{\"Tables\":[".to_vec();
    open_named(0, columns.iter().copied(), &mut out);
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::Array(row.clone()).to_string().as_bytes());
    }
    out.extend_from_slice(b"]}]}");
    out
}
