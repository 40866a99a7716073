//! What runs, what ran, and how to stop it.

use std::collections::BTreeMap;

use tidewater_kql::KqlType;
use tidewater_kql::ast::Property;
use tidewater_kql::command::{JournalScope, property_text};
use uuid::Uuid;

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::journal::{CANCELLED, COMMANDS, COMPLETED, DataOperation, Entry, Event, Journal, QUERIES, STREAMING, Sort};
use crate::table::{Cell, Columns, TableBuilder};

const QUERY_COLUMNS: Columns = &[
    ("ClientActivityId", KqlType::String),
    ("Text", KqlType::String),
    ("Database", KqlType::String),
    ("StartedOn", KqlType::DateTime),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Duration", KqlType::TimeSpan),
    ("State", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("User", KqlType::String),
    ("FailureReason", KqlType::String),
    ("TotalCpu", KqlType::TimeSpan),
    ("CacheStatistics", KqlType::Dynamic),
    ("Application", KqlType::String),
    ("MemoryPeak", KqlType::Long),
    ("ScannedExtentsStatistics", KqlType::Dynamic),
    ("Principal", KqlType::String),
    ("ClientRequestProperties", KqlType::Dynamic),
    ("ResultSetStatistics", KqlType::Dynamic),
    ("WorkloadGroup", KqlType::String),
    ("OverallQueryStats", KqlType::String),
    ("VirtualCluster", KqlType::String),
];
/// The columns of running queries: those of ended ones without the last two.
const RUNNING_COLUMNS: Columns = {
    let (columns, _) = QUERY_COLUMNS.split_at(19);
    columns
};

fn journal<'a>(request: &'a Request<'_>) -> &'a Journal {
    &request.service.inner().journal
}

/// What runs, as far as the caller may see it. Source: show-queries and show-commands pages.
fn seen_running(request: &Request<'_>, wanted: impl Fn(Sort) -> bool) -> Vec<Entry> {
    let mut entries = journal(request).running(wanted);
    entries.retain(|entry| request.access.may_see_request(&entry.principal, &entry.database));
    entries
}

/// What ran, likewise.
pub(super) async fn ended(request: &Request<'_>, stream: &'static str, activity: Option<Uuid>) -> Result<Vec<Entry>> {
    let mut entries = journal(request).ended(stream, activity).await?;
    entries.retain(|entry| request.access.may_see_request(&entry.principal, &entry.database));
    Ok(entries)
}

/// Changes of metadata, likewise.
async fn events(request: &Request<'_>) -> Result<Vec<Event>> {
    let mut events = journal(request).events().await?;
    events.retain(|event| request.access.may_see_request(&event.principal, &event.database));
    Ok(events)
}

fn json(value: serde_json::Value) -> Cell {
    Cell::Text(value.to_string())
}

/// `.show queries`, `.show running queries [by ...]`
pub async fn queries(request: &Request<'_>, running: bool, by_user: Option<&str>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(if running { RUNNING_COLUMNS } else { QUERY_COLUMNS });
    let entries = match running {
        true => seen_running(request, |sort| sort == Sort::Query),
        false => ended(request, QUERIES, None).await?,
    };
    for entry in entries {
        let wanted = by_user.is_none_or(|user| user == "*" || user == entry.user || user == entry.principal);
        if !wanted {
            continue;
        }
        let used = &entry.consumption;
        let mut row: Vec<Cell> = vec![
            entry.client_request_id.into(),
            entry.text.as_str().into(),
            entry.database.into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            entry.state.into(),
            entry.activity_id.into(),
            entry.user.into(),
            entry.failure.into(),
            used.cpu_ticks().into(),
            json(used.cache_statistics()),
            entry.application.into(),
            used.peak_bytes.into(),
            json(used.scanned_extents_statistics()),
            entry.principal.into(),
            entry.properties.into(),
            json(used.result_set_statistics()),
            entry.workload_group.into(),
        ];
        if !running {
            let elapsed = std::time::Duration::from_nanos(entry.duration_ticks.max(0) as u64 * 100);
            row.push(used.text(&entry.text, elapsed).into());
            row.push("".into());
        }
        out.row(row);
    }
    out.finish()
}

const COMMAND_COLUMNS: Columns = &[
    ("ClientActivityId", KqlType::String),
    ("CommandType", KqlType::String),
    ("Text", KqlType::String),
    ("Database", KqlType::String),
    ("StartedOn", KqlType::DateTime),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Duration", KqlType::TimeSpan),
    ("State", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("User", KqlType::String),
    ("FailureReason", KqlType::String),
    ("Application", KqlType::String),
    ("Principal", KqlType::String),
    ("TotalCpu", KqlType::TimeSpan),
    ("ResourcesUtilization", KqlType::Dynamic),
    ("ClientRequestProperties", KqlType::Dynamic),
    ("WorkloadGroup", KqlType::String),
    ("VirtualCluster", KqlType::String),
];

/// `.show commands`
pub async fn commands(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(COMMAND_COLUMNS);
    for entry in ended(request, COMMANDS, None).await? {
        out.row(vec![
            entry.client_request_id.into(),
            entry.command.into(),
            entry.text.into(),
            entry.database.into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            entry.state.into(),
            entry.activity_id.into(),
            entry.user.into(),
            entry.failure.into(),
            entry.application.into(),
            entry.principal.into(),
            entry.consumption.cpu_ticks().into(),
            json(entry.consumption.utilization()),
            entry.properties.into(),
            entry.workload_group.into(),
            "".into(),
        ]);
    }
    out.finish()
}

const BOTH_COLUMNS: Columns = &[
    ("ClientActivityId", KqlType::String),
    ("CommandType", KqlType::String),
    ("Text", KqlType::String),
    ("Database", KqlType::String),
    ("StartedOn", KqlType::DateTime),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Duration", KqlType::TimeSpan),
    ("State", KqlType::String),
    ("FailureReason", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("User", KqlType::String),
    ("Application", KqlType::String),
    ("Principal", KqlType::String),
    ("ClientRequestProperties", KqlType::Dynamic),
    ("TotalCpu", KqlType::TimeSpan),
    ("MemoryPeak", KqlType::Long),
    ("CacheStatistics", KqlType::Dynamic),
    ("ScannedExtentsStatistics", KqlType::Dynamic),
    ("ResultSetStatistics", KqlType::Dynamic),
    ("WorkloadGroup", KqlType::String),
    ("VirtualCluster", KqlType::String),
];

/// `.show commands-and-queries`
pub async fn commands_and_queries(request: &Request<'_>) -> Result<ResultTable> {
    let mut entries = ended(request, COMMANDS, None).await?;
    entries.extend(ended(request, QUERIES, None).await?);
    entries.sort_by_key(|entry| entry.started_ticks);
    let mut out = TableBuilder::new(BOTH_COLUMNS);
    for entry in entries {
        let used = &entry.consumption;
        out.row(vec![
            entry.client_request_id.into(),
            if entry.command.is_empty() { "Query".into() } else { entry.command.into() },
            entry.text.into(),
            entry.database.into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            entry.state.into(),
            entry.failure.into(),
            entry.activity_id.into(),
            entry.user.into(),
            entry.application.into(),
            entry.principal.into(),
            entry.properties.into(),
            used.cpu_ticks().into(),
            used.peak_bytes.into(),
            json(used.cache_statistics()),
            json(used.scanned_extents_statistics()),
            json(used.result_set_statistics()),
            entry.workload_group.into(),
            "".into(),
        ]);
    }
    out.finish()
}

const OPERATION_COLUMNS: Columns = &[
    ("OperationId", KqlType::Guid),
    ("Operation", KqlType::String),
    ("NodeId", KqlType::String),
    ("StartedOn", KqlType::DateTime),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Duration", KqlType::TimeSpan),
    ("State", KqlType::String),
    ("Status", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("ShouldRetry", KqlType::Bool),
    ("Database", KqlType::String),
    ("Principal", KqlType::String),
    ("User", KqlType::String),
    ("AdminEpochStartTime", KqlType::DateTime),
    ("VirtualCluster", KqlType::String),
];

fn guid(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| Error::bad_request(format!("an operation's id is a guid, found '{text}'")))
}

/// `.show operations [ids]`: an operation's id is the activity of the command that began it.
pub async fn operations(request: &Request<'_>, ids: &[String]) -> Result<ResultTable> {
    let ids = ids.iter().map(|id| guid(id)).collect::<Result<Vec<Uuid>>>()?;
    let mut entries = Vec::new();
    if ids.is_empty() {
        entries = ended(request, COMMANDS, None).await?;
    }
    for id in &ids {
        entries.extend(ended(request, COMMANDS, Some(*id)).await?);
    }
    entries.extend(seen_running(request, |sort| matches!(sort, Sort::Command(_))));
    let mut out = TableBuilder::new(OPERATION_COLUMNS);
    for entry in entries {
        let is_own = entry.activity_id == request.context.activity_id;
        if is_own || !(ids.is_empty() || ids.contains(&entry.activity_id)) {
            continue;
        }
        let is_failed = !entry.failure.is_empty();
        // Source: the table of states of the show-operations page, which spells this one so.
        let state = if entry.state == CANCELLED { "Canceled".to_string() } else { entry.state };
        out.row(vec![
            entry.activity_id.into(),
            entry.command.into(),
            "".into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            state.into(),
            entry.failure.into(),
            entry.activity_id.into(),
            (is_failed && !entry.is_permanent).into(),
            entry.database.into(),
            entry.principal.into(),
            entry.user.into(),
            request.service.inner().started_ticks.into(),
            "".into(),
        ]);
    }
    out.finish()
}

/// `.show operation id details`: what the command would have answered had it not been asynchronous.
pub async fn operation_details(request: &Request<'_>, id: &str) -> Result<ResultTable> {
    let id = guid(id)?;
    if let Some(outcome) = journal(request).outcome(id).await? {
        return TableBuilder::of_outcome(outcome)?.finish();
    }
    let running = seen_running(request, |sort| matches!(sort, Sort::Command(_)));
    let ended = ended(request, COMMANDS, Some(id)).await?;
    let known = running.into_iter().chain(ended).find(|entry| entry.activity_id == id);
    match known {
        None => Err(Error::entity_not_found("Operation", &id.to_string())),
        Some(entry) if entry.state != COMPLETED => Err(Error::bad_request(format!(
            "operation '{id}' has no details: only operations that completed have, and its state is {}",
            entry.state
        ))),
        Some(entry) => Err(Error::bad_request(format!(
            "operation '{id}' ({}) has no details: only asynchronous commands keep their results",
            entry.command
        ))),
    }
}

const JOURNAL_COLUMNS: Columns = &[
    ("Event", KqlType::String),
    ("EventTimestamp", KqlType::DateTime),
    ("Database", KqlType::String),
    ("EntityName", KqlType::String),
    ("UpdatedEntityName", KqlType::String),
    ("EntityVersion", KqlType::String),
    ("EntityContainerName", KqlType::String),
    ("OriginalEntityState", KqlType::String),
    ("UpdatedEntityState", KqlType::String),
    ("ChangeCommand", KqlType::String),
    ("Principal", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("ClientRequestId", KqlType::String),
    ("User", KqlType::String),
    ("OriginalEntityVersion", KqlType::String),
];

/// `.show journal`, `.show database X journal`, `.show cluster journal`
pub async fn metadata_journal(request: &Request<'_>, scope: &JournalScope) -> Result<ResultTable> {
    let wanted = match scope {
        JournalScope::All => None,
        JournalScope::Cluster => Some(String::new()),
        JournalScope::Database(name) => Some(request.named_database(&name.text)?.name().to_string()),
    };
    let mut out = TableBuilder::new(JOURNAL_COLUMNS);
    for event in events(request).await? {
        if wanted.as_ref().is_some_and(|database| *database != event.database) {
            continue;
        }
        out.row(vec![
            event.event.into(),
            event.time.into(),
            event.database.into(),
            event.entity.into(),
            event.updated_entity.into(),
            event.version.into(),
            event.container.into(),
            event.original_state.into(),
            event.updated_state.into(),
            event.command.into(),
            event.principal.into(),
            event.activity_id.into(),
            event.client_request_id.into(),
            event.user.into(),
            event.original_version.into(),
        ]);
    }
    out.finish()
}

const INGESTION_FAILURE_COLUMNS: Columns = &[
    ("OperationId", KqlType::Guid),
    ("Database", KqlType::String),
    ("Table", KqlType::String),
    ("FailedOn", KqlType::DateTime),
    ("IngestionSourcePath", KqlType::String),
    ("Details", KqlType::String),
    ("FailureKind", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("OperationKind", KqlType::String),
    ("OriginatesFromUpdatePolicy", KqlType::Bool),
    ("ErrorCode", KqlType::String),
    ("Principal", KqlType::String),
    ("ShouldRetry", KqlType::Bool),
    ("User", KqlType::String),
    ("IngestionProperties", KqlType::String),
];

/// How long failures of ingestion are told. Source: ingestion-failures page.
const FAILURE_TICKS: i64 = 14 * 864_000_000_000;

fn failure_kind(entry: &Entry) -> &'static str {
    if entry.is_permanent { "Permanent" } else { "Transient" }
}

/// The ingestions of a stream that failed of late.
async fn failed_ingestions(
    request: &Request<'_>,
    stream: &'static str,
    activity: Option<Uuid>,
) -> Result<Vec<(Entry, DataOperation)>> {
    let since = request.context.now_ticks - FAILURE_TICKS;
    let entries = ended(request, stream, activity).await?;
    let failed = entries.into_iter().filter(|entry| !entry.failure.is_empty() && entry.updated_ticks >= since);
    Ok(failed.filter_map(|mut entry| entry.data.take().map(|data| (entry, data))).collect())
}

/// `.show ingestion failures [with (OperationId = id)]`
pub async fn ingestion_failures(request: &Request<'_>, operation: Option<&str>) -> Result<ResultTable> {
    let activity = operation.map(guid).transpose()?;
    let mut out = TableBuilder::new(INGESTION_FAILURE_COLUMNS);
    for (entry, data) in failed_ingestions(request, COMMANDS, activity).await? {
        let kind = failure_kind(&entry);
        let is_derived = data.kind == crate::updates::UPDATE_POLICY;
        out.row(vec![
            entry.activity_id.into(),
            entry.database.into(),
            data.table.into(),
            entry.updated_ticks.into(),
            data.source.into(),
            entry.failure.into(),
            kind.into(),
            entry.activity_id.into(),
            entry.command.into(),
            is_derived.into(),
            entry.failure_code.into(),
            entry.principal.into(),
            (!entry.is_permanent).into(),
            entry.user.into(),
            data.properties.into(),
        ]);
    }
    out.finish()
}

const STREAMING_FAILURE_COLUMNS: Columns = &[
    ("Database", KqlType::String),
    ("Table", KqlType::String),
    ("Principal", KqlType::String),
    ("RootActivityId", KqlType::Guid),
    ("IngestionProperties", KqlType::Dynamic),
    ("Count", KqlType::Long),
    ("FirstFailureOn", KqlType::DateTime),
    ("LastFailureOn", KqlType::DateTime),
    ("FailureKind", KqlType::String),
    ("ErrorCode", KqlType::String),
    ("Details", KqlType::String),
];

/// Failures of streaming ingestion within this time are told as one.
const BUCKET_TICKS: i64 = 60 * 10_000_000;

/// `.show streamingingestion failures`
pub async fn streaming_failures(request: &Request<'_>) -> Result<ResultTable> {
    let mut buckets: BTreeMap<_, (i64, i64, i64, Uuid, String)> = BTreeMap::new();
    for (entry, data) in failed_ingestions(request, STREAMING, None).await? {
        let at = entry.updated_ticks;
        let kind = failure_kind(&entry);
        let key =
            (at / BUCKET_TICKS, entry.database, data.table, entry.principal, data.properties, kind, entry.failure_code);
        let bucket = buckets.entry(key).or_insert((0, at, at, entry.activity_id, entry.failure));
        bucket.0 += 1;
        bucket.1 = bucket.1.min(at);
        bucket.2 = bucket.2.max(at);
    }
    let mut out = TableBuilder::new(STREAMING_FAILURE_COLUMNS);
    for ((_, database, table, principal, properties, kind, code), (count, first, last, activity, details)) in buckets {
        out.row(vec![
            database.into(),
            table.into(),
            principal.into(),
            activity.into(),
            properties.into(),
            count.into(),
            first.into(),
            last.into(),
            kind.into(),
            code.into(),
            details.into(),
        ]);
    }
    out.finish()
}

const DATA_OPERATION_COLUMNS: Columns = &[
    ("Timestamp", KqlType::DateTime),
    ("Database", KqlType::String),
    ("Table", KqlType::String),
    ("ClientActivityId", KqlType::String),
    ("OperationKind", KqlType::String),
    ("OriginalSize", KqlType::Long),
    ("ExtentSize", KqlType::Long),
    ("RowCount", KqlType::Long),
    ("Duration", KqlType::TimeSpan),
    ("TotalCpu", KqlType::TimeSpan),
    ("ExtentCount", KqlType::Long),
    ("Principal", KqlType::String),
    ("Properties", KqlType::String),
];

/// `.show data operations`: what added extents.
pub async fn data_operations(request: &Request<'_>) -> Result<ResultTable> {
    let mut entries = ended(request, COMMANDS, None).await?;
    entries.extend(ended(request, STREAMING, None).await?);
    entries.sort_by_key(|entry| entry.updated_ticks);
    let mut out = TableBuilder::new(DATA_OPERATION_COLUMNS);
    for mut entry in entries {
        let Some(data) = entry.data.take().filter(|data| data.extents > 0 && entry.state == COMPLETED) else {
            continue;
        };
        out.row(vec![
            entry.updated_ticks.into(),
            entry.database.into(),
            data.table.into(),
            entry.client_request_id.into(),
            data.kind.into(),
            data.original_bytes.into(),
            data.bytes.into(),
            data.rows.into(),
            entry.duration_ticks.into(),
            entry.consumption.cpu_ticks().into(),
            data.extents.into(),
            entry.principal.into(),
            data.properties.into(),
        ]);
    }
    out.finish()
}

/// `.cancel query "client request id" [with (reason="...")]`
pub fn cancel_query(request: &Request<'_>, id: &str, properties: &[Property]) -> Result<ResultTable> {
    let reason = property_text(properties, "reason").unwrap_or_default();
    if let Some(other) = journal(request).running(|sort| sort == Sort::Query).into_iter().find(|entry| {
        entry.client_request_id == id && !request.access.may_end_request(&entry.principal, &entry.database)
    }) {
        return Err(request.access.refused(&format!("cancel queries of others in database '{}'", other.database)));
    }
    let cancelled = journal(request).cancel(id, &reason) > 0;
    let told = match cancelled {
        true => reason,
        false => format!("no running query has the client request id '{id}'"),
    };
    let mut out = TableBuilder::new(&[
        ("ClientRequestId", KqlType::String),
        ("RunningQueryCanceled", KqlType::Bool),
        ("ReasonPhrase", KqlType::String),
    ]);
    out.row(vec![id.into(), cancelled.into(), told.into()]);
    out.finish()
}

/// `.cancel operation id [with (reason="...")]`
pub async fn cancel_operation(request: &Request<'_>, id: &str, properties: &[Property]) -> Result<ResultTable> {
    let reason = property_text(properties, "reason").unwrap_or_default();
    let mut out = TableBuilder::new(&[
        ("OperationId", KqlType::Guid),
        ("Operation", KqlType::String),
        ("StartedOn", KqlType::DateTime),
        ("CancellationState", KqlType::String),
        ("ReasonPhrase", KqlType::String),
    ]);
    let wanted = guid(id)?;
    let own = request.context.activity_id;
    if let Some(other) = journal(request)
        .running(|_| true)
        .into_iter()
        .find(|entry| entry.activity_id == wanted && !request.access.may_end_request(&entry.principal, &entry.database))
    {
        return Err(request.access.refused(&format!("cancel operations of others in database '{}'", other.database)));
    }
    let found = Some(wanted).filter(|id| *id != own).and_then(|id| journal(request).cancel_operation(id, &reason));
    if let Some((kind, started)) = found {
        let state = "Cancelled successfully";
        out.row(vec![wanted.into(), kind.into(), started.into(), state.into(), reason.into()]);
        return out.finish();
    }
    let state = "Cancel failed";
    match ended(request, COMMANDS, Some(wanted)).await?.pop() {
        Some(entry) => {
            let why = format!("the operation has ended already, in state {}", entry.state);
            out.row(vec![wanted.into(), entry.command.into(), entry.started_ticks.into(), state.into(), why.into()]);
        }
        None => {
            out.row(vec![wanted.into(), "".into(), Cell::Null, state.into(), "no such operation is known".into()]);
        }
    }
    out.finish()
}
