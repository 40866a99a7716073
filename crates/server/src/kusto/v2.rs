//! The answer of `/v2/rest/query`: an array of frames. Source: kusto-rest section 6.
//!
//! Member order is part of the format: Go reads it exactly as written here, and Python's streaming
//! reader needs `FrameType` first and `Columns` before `Rows`.

use std::time::Duration;

use serde_json::Value;
use tidewater_kql::{TableSchema, value};
use tidewater_service::{Context, Error, Fault, QueryAnswer, RequestOptions, ResultTable};

use super::error::{Scene, document};
use super::json::{integer, string};
use super::properties::visualization;
use super::rows::{self, Framing, Pace, separate_frame};
use super::sink::{Gone, Sink};

/// Where partial failures are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// As the last item of the failing table's rows; the default.
    InData,
    /// On the failing table's completion frame.
    EndOfTable,
    /// On the last frame only.
    EndOfDataset,
}

impl Placement {
    fn name(self) -> &'static str {
        match self {
            Placement::InData => "InData",
            Placement::EndOfTable => "EndOfTable",
            Placement::EndOfDataset => "EndOfDataset",
        }
    }
}

/// How a progressive answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progressive {
    /// Rows of a fragment.
    pub rows: u64,
    /// How often progress is told.
    pub period: Duration,
}

/// How often progress is told unless the request says otherwise.
const PERIOD: Duration = Duration::from_secs(1);
/// Shorter periods would be mostly frames.
const LEAST_PERIOD: Duration = Duration::from_millis(10);

/// The forms of the answer that request properties choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first frame on the line of the opening bracket, as Go reads it; otherwise on the next, as Rust's stream does.
    pub newlines: bool,
    /// Results as header, fragments and completion.
    pub fragmented: bool,
    /// The same, with figures of progress between the fragments.
    pub progressive: Option<Progressive>,
    /// Where partial failures are told.
    pub placement: Placement,
    /// Keep partial failures out of rows and flags; a completion row tells them.
    pub defer: bool,
}

impl Layout {
    /// The layout that the options ask for.
    pub fn of(options: &RequestOptions) -> Result<Layout, Error> {
        let placement = match options.text("results_error_reporting_placement").map(str::to_ascii_lowercase).as_deref()
        {
            None | Some("in_data") => Placement::InData,
            Some("end_of_table") => Placement::EndOfTable,
            Some("end_of_dataset") => Placement::EndOfDataset,
            Some(other) => {
                return Err(Error::bad_request(format!(
                    "request property 'results_error_reporting_placement' must be in_data, end_of_table or \
                     end_of_dataset, found '{other}'"
                )));
            }
        };
        Ok(Layout {
            newlines: options.flag("results_v2_newlines_between_frames"),
            fragmented: options.flag("results_v2_fragment_primary_tables"),
            progressive: match options.flag("results_progressive_enabled") {
                false => None,
                true => Some(Progressive {
                    rows: options
                        .long("query_results_progressive_row_count")?
                        .and_then(|rows| u64::try_from(rows).ok())
                        .filter(|rows| *rows > 0)
                        .unwrap_or(u64::MAX),
                    period: options
                        .span("query_results_progressive_update_period")
                        .filter(|period| !period.is_zero())
                        .map_or(PERIOD, |period| period.max(LEAST_PERIOD)),
                }),
            },
            placement,
            defer: options.flag("deferpartialqueryfailures"),
        })
    }
}

impl Layout {
    /// Whether results come as header, fragments and completion.
    fn is_in_parts(&self) -> bool {
        self.fragmented || self.progressive.is_some()
    }
}

/// A partial failure and the document that tells it.
struct Failure {
    error: Error,
    document: String,
}

impl Failure {
    fn one_api_errors(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"OneApiErrors\":[");
        out.extend_from_slice(self.document.as_bytes());
        out.push(b']');
    }
}

/// Writes an answer. Before anything has been handed on a fault becomes an error document; after that it
/// is told in the frames.
pub async fn encode(
    answer: QueryAnswer,
    layout: Layout,
    context: &Context,
    scene: &Scene,
    mut sink: Sink,
) -> Result<(), Gone> {
    let mut failures: Vec<Failure> = Vec::new();
    head(&answer, layout, &mut sink.buffer);
    let completion_id = answer.results.len() + 1;
    for (at, mut table) in answer.results.into_iter().enumerate() {
        let id = at + 1;
        open_table(&table, id, layout, &mut sink.buffer);
        let framing = match layout.is_in_parts() {
            true => Framing::Fragments { table_id: id },
            false => Framing::Plain,
        };
        let mut pace = layout.progressive.map(|progressive| Pace::new(progressive, id, context));
        let written = rows::write_paced(&mut table, framing, &mut sink, pace.as_mut()).await?;
        if let Some(pace) = &mut pace
            && written.error.is_none()
        {
            pace.write_end(&mut sink.buffer);
        }
        let failure = match written.error {
            Some(error) if told_as_document(&error, layout, &sink) => return sink.fail(error).await,
            Some(error) => {
                let document = document(&error, scene, true).to_string();
                Some(Failure { error, document })
            }
            None => None,
        };
        close_table(id, written.rows, failure.as_ref(), layout, &mut sink.buffer);
        sink.yield_chunk().await?;
        if let Some(failure) = failure {
            failures.push(failure);
            if !layout.defer {
                break;
            }
        }
    }
    if layout.defer || failures.is_empty() {
        completion(completion_id, &failures, (context, scene), &mut sink.buffer);
    }
    tail(&failures, layout, &mut sink.buffer);
    sink.finish().await
}

/// Truncation is always a partial result; other faults are when rows are on their way already.
fn told_as_document(error: &Error, layout: Layout, sink: &Sink) -> bool {
    !sink.begun() && !layout.defer && !matches!(error.fault(), Fault::ResultTooLarge)
}

fn head(answer: &QueryAnswer, layout: Layout, out: &mut Vec<u8>) {
    out.extend_from_slice(if layout.newlines { b"[" } else { b"[\n" });
    out.extend_from_slice(b"{\"FrameType\":\"DataSetHeader\",\"IsProgressive\":");
    out.extend_from_slice(if layout.progressive.is_some() { b"true" } else { b"false" });
    out.extend_from_slice(b",\"Version\":\"v2.0\",\"IsFragmented\":");
    out.extend_from_slice(if layout.fragmented { b"true" } else { b"false" });
    out.extend_from_slice(b",\"ErrorReportingPlacement\":\"");
    out.extend_from_slice(layout.placement.name().as_bytes());
    out.extend_from_slice(b"\"}");
    separate_frame(out);
    out.extend_from_slice(
        b"{\"FrameType\":\"DataTable\",\"TableId\":0,\"TableKind\":\"QueryProperties\",\"TableName\":\"@ExtendedProperties\",\
          \"Columns\":[{\"ColumnName\":\"TableId\",\"ColumnType\":\"int\"},{\"ColumnName\":\"Key\",\"ColumnType\":\"string\"},\
          {\"ColumnName\":\"Value\",\"ColumnType\":\"dynamic\"}],\"Rows\":[",
    );
    for (at, table) in answer.results.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'[');
        integer(at as i64 + 1, out);
        out.extend_from_slice(b",\"Visualization\",");
        // Typed dynamic, yet JSON text: kusto-rest section 14.
        string(&visualization(table), out);
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
}

fn columns(schema: &TableSchema, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"Columns\":[");
    for (at, column) in schema.columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"ColumnName\":");
        string(&column.name, out);
        out.extend_from_slice(b",\"ColumnType\":\"");
        out.extend_from_slice(column.ty.name().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.push(b']');
}

fn open_table(table: &ResultTable, id: usize, layout: Layout, out: &mut Vec<u8>) {
    separate_frame(out);
    out.extend_from_slice(b"{\"FrameType\":\"");
    out.extend_from_slice(if layout.is_in_parts() { b"TableHeader" } else { b"DataTable" });
    out.extend_from_slice(b"\",\"TableId\":");
    integer(id as i64, out);
    out.extend_from_slice(b",\"TableKind\":\"PrimaryResult\",\"TableName\":");
    string(&table.name, out);
    out.push(b',');
    columns(&table.schema, out);
    out.extend_from_slice(if layout.is_in_parts() { b"}" } else { b",\"Rows\":[" });
}

fn close_table(id: usize, rows: u64, failure: Option<&Failure>, layout: Layout, out: &mut Vec<u8>) {
    let failure = failure.filter(|_| !layout.defer);
    if !layout.is_in_parts() {
        if let Some(failure) = failure.filter(|_| layout.placement == Placement::InData) {
            if rows > 0 {
                out.push(b',');
            }
            out.push(b'{');
            failure.one_api_errors(out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        return;
    }
    if let Some(failure) = failure.filter(|_| layout.placement == Placement::InData) {
        separate_frame(out);
        out.extend_from_slice(b"{\"FrameType\":\"TableFragment\",\"TableFragmentType\":\"DataAppend\",\"TableId\":");
        integer(id as i64, out);
        out.extend_from_slice(b",\"Rows\":[{");
        failure.one_api_errors(out);
        out.extend_from_slice(b"}]}");
    }
    separate_frame(out);
    out.extend_from_slice(b"{\"FrameType\":\"TableCompletion\",\"TableId\":");
    integer(id as i64, out);
    out.extend_from_slice(b",\"RowCount\":");
    integer(rows as i64, out);
    if let Some(failure) = failure.filter(|_| layout.placement == Placement::EndOfTable) {
        out.push(b',');
        failure.one_api_errors(out);
    }
    out.push(b'}');
}

/// Kusto's numbers for deferred failures: status code and its text.
pub fn status_of(error: &Error) -> (i64, String, &'static str) {
    match error.fault() {
        Fault::ResultTooLarge => {
            let text = "Query result set too large (E_QUERY_RESULT_SET_TOO_LARGE). (-2133196797)";
            (-2_133_196_797, text.to_string(), "QueryLimitsExceeded")
        }
        Fault::OutOfMemory => {
            let text = "Query low memory condition (E_LOW_MEMORY_CONDITION). (-2133196793)";
            (-2_133_196_793, text.to_string(), "QueryLimitsExceeded")
        }
        _ => (-2_133_196_800, "Query failed (E_FAIL). (-2133196800)".to_string(), "QueryError"),
    }
}

fn completion(id: usize, failures: &[Failure], (context, scene): (&Context, &Scene), out: &mut Vec<u8>) {
    separate_frame(out);
    out.extend_from_slice(b"{\"FrameType\":\"DataTable\",\"TableId\":");
    integer(id as i64, out);
    out.extend_from_slice(
        b",\"TableKind\":\"QueryCompletionInformation\",\"TableName\":\"QueryCompletionInformation\",\"Columns\":[\
          {\"ColumnName\":\"Timestamp\",\"ColumnType\":\"datetime\"},\
          {\"ColumnName\":\"ClientRequestId\",\"ColumnType\":\"string\"},\
          {\"ColumnName\":\"ActivityId\",\"ColumnType\":\"guid\"},\
          {\"ColumnName\":\"SubActivityId\",\"ColumnType\":\"guid\"},\
          {\"ColumnName\":\"ParentActivityId\",\"ColumnType\":\"guid\"},\
          {\"ColumnName\":\"Level\",\"ColumnType\":\"int\"},\
          {\"ColumnName\":\"LevelName\",\"ColumnType\":\"string\"},\
          {\"ColumnName\":\"StatusCode\",\"ColumnType\":\"int\"},\
          {\"ColumnName\":\"StatusCodeName\",\"ColumnType\":\"string\"},\
          {\"ColumnName\":\"EventType\",\"ColumnType\":\"int\"},\
          {\"ColumnName\":\"EventTypeName\",\"ColumnType\":\"string\"},\
          {\"ColumnName\":\"Payload\",\"ColumnType\":\"string\"}],\"Rows\":[",
    );
    let mut row = |level: (i64, &str), code: i64, code_name: &str, event: (i64, &str), payload: &str| {
        if out.last() == Some(&b']') {
            out.push(b',');
        }
        out.extend_from_slice(b"[\"");
        value::datetime::write(tidewater_service::context::now_ticks(), out);
        out.extend_from_slice(b"\",");
        string(&context.client_request_id, out);
        let activity = context.activity_id.to_string();
        for _ in 0..3 {
            out.push(b',');
            string(&activity, out);
        }
        out.push(b',');
        integer(level.0, out);
        out.push(b',');
        string(level.1, out);
        out.push(b',');
        integer(code, out);
        out.push(b',');
        string(code_name, out);
        out.push(b',');
        integer(event.0, out);
        out.push(b',');
        string(event.1, out);
        out.push(b',');
        string(payload, out);
        out.push(b']');
    };
    for failure in failures {
        let (code, name, event) = status_of(&failure.error);
        let payload = serde_json::json!({"Count": 1, "Text": failure.error.message()}).to_string();
        row((2, "Error"), code, &name, (1, event), &payload);
    }
    let done = Value::from("Query completed successfully");
    let payload = format!("{{\"Count\":1,\"Text\":{done}}}");
    row((4, "Info"), 0, "S_OK (0)", (4, "QueryInfo"), &payload);
    let group = serde_json::json!({"Count": 1, "Text": context.usage.workload_group()}).to_string();
    row((4, "Info"), 0, "S_OK (0)", (5, "WorkloadGroup"), &group);
    let resources = context.usage.consumption().text(&scene.text, context.started.elapsed());
    row((6, "Stats"), 0, "S_OK (0)", (0, "QueryResourceConsumption"), &resources);
    out.extend_from_slice(b"]}");
}

fn tail(failures: &[Failure], layout: Layout, out: &mut Vec<u8>) {
    separate_frame(out);
    let told = if layout.defer { &[] } else { failures };
    let cancelled = failures.iter().any(|failure| matches!(failure.error.fault(), Fault::Cancelled));
    out.extend_from_slice(b"{\"FrameType\":\"DataSetCompletion\",\"HasErrors\":");
    out.extend_from_slice(if told.is_empty() { b"false" } else { b"true" });
    out.extend_from_slice(b",\"Cancelled\":");
    out.extend_from_slice(if cancelled { b"true" } else { b"false" });
    if !told.is_empty() {
        out.extend_from_slice(b",\"OneApiErrors\":[");
        for (at, failure) in told.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(failure.document.as_bytes());
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n]\n");
}
