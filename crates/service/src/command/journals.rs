//! What runs, what ran, and how to stop it.

use tidewater_kql::KqlType;
use tidewater_kql::ast::Property;
use tidewater_kql::command::property_text;
use uuid::Uuid;

use super::Request;
use crate::answer::ResultTable;
use crate::error::Result;
use crate::journal::Sort;
use crate::table::{Cell, Columns, TableBuilder};

const QUERIES: Columns = &[
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

/// `.show queries`, `.show running queries [by ...]`
pub fn queries(request: &Request<'_>, running: bool, by_user: Option<&str>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(QUERIES);
    for entry in request.service.inner().journal.entries(running) {
        let wanted = by_user.is_none_or(|user| user == "*" || user == entry.user || user == entry.principal);
        if entry.sort != Sort::Query || !wanted {
            continue;
        }
        out.row(vec![
            entry.client_request_id.into(),
            entry.text.into(),
            entry.database.into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            entry.state.into(),
            entry.activity_id.into(),
            entry.user.into(),
            entry.failure.into(),
            Cell::Null,
            Cell::Null,
            entry.application.into(),
            Cell::Null,
            Cell::Null,
            entry.principal.into(),
            entry.properties.into(),
            Cell::Null,
            "default".into(),
            "".into(),
            "".into(),
        ]);
    }
    out.finish()
}

const COMMANDS: Columns = &[
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
pub fn commands(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(COMMANDS);
    for entry in request.service.inner().journal.entries(false) {
        let Sort::Command(kind) = entry.sort else { continue };
        out.row(vec![
            entry.client_request_id.into(),
            kind.into(),
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
            Cell::Null,
            Cell::Null,
            Cell::Null,
            "default".into(),
            "".into(),
        ]);
    }
    out.finish()
}

const OPERATIONS: Columns = &[
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

/// `.show operations [ids]`: an operation's id is the activity of the command that began it.
pub fn operations(request: &Request<'_>, ids: &[String]) -> Result<ResultTable> {
    let ids: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
    let mut out = TableBuilder::new(OPERATIONS);
    for entry in request.service.inner().journal.entries(false) {
        let Sort::Command(kind) = entry.sort else { continue };
        let is_own = entry.activity_id == request.context.activity_id;
        if is_own || kind == "Show" || kind.ends_with("Show") || !(ids.is_empty() || ids.contains(&entry.activity_id)) {
            continue;
        }
        let should_retry = entry.state == "Failed" && entry.failure.contains("internal");
        out.row(vec![
            entry.activity_id.into(),
            kind.into(),
            "".into(),
            entry.started_ticks.into(),
            entry.updated_ticks.into(),
            entry.duration_ticks.into(),
            entry.state.into(),
            entry.failure.into(),
            entry.activity_id.into(),
            should_retry.into(),
            entry.database.into(),
            entry.principal.into(),
            entry.user.into(),
            request.service.inner().started_ticks.into(),
            "".into(),
        ]);
    }
    out.finish()
}

/// `.cancel query "client request id" [with (reason="...")]`
pub fn cancel_query(request: &Request<'_>, id: &str, properties: &[Property]) -> Result<ResultTable> {
    let reason = property_text(properties, "reason").unwrap_or_default();
    let cancelled = request.service.inner().journal.cancel(id, &reason) > 0;
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
pub fn cancel_operation(request: &Request<'_>, id: &str, properties: &[Property]) -> Result<ResultTable> {
    let reason = property_text(properties, "reason").unwrap_or_default();
    let mut out = TableBuilder::new(&[
        ("OperationId", KqlType::Guid),
        ("Operation", KqlType::String),
        ("StartedOn", KqlType::DateTime),
        ("CancellationState", KqlType::String),
        ("ReasonPhrase", KqlType::String),
    ]);
    let wanted = Uuid::parse_str(id).ok();
    let found = wanted.and_then(|wanted| request.service.inner().journal.cancel_operation(wanted));
    match found {
        Some((kind, started)) => {
            out.row(vec![
                wanted.unwrap_or_default().into(),
                kind.into(),
                started.into(),
                "Cancelled successfully".into(),
                reason.into(),
            ]);
        }
        None => {
            let id = wanted.map_or(Cell::Null, Cell::from);
            out.row(vec![id, "".into(), Cell::Null, "Cancel failed".into(), "no such operation is running".into()]);
        }
    }
    out.finish()
}
