//! Soft delete, update and purge of records: the extents that hold some of them are written again without them, in one
//! commit with whatever comes in their place. Rows that stay keep their ingestion times, and extents their tags.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use serde_json::{Value, json};
use tidewater_kql::ast::{ExprKind, Name, OperatorKind, Property, StatementKind};
use tidewater_kql::command::{Inner, property_flag, property_text};
use tidewater_kql::value::datetime;
use tidewater_kql::{KqlType, parse_query};
use tidewater_plan::TableHandle;
use tidewater_store::{Commit, Database, Extent, PropertyKey, PropertyOwner, StagedExtent, Table};
use uuid::Uuid;

use super::{Request, only};
use crate::answer::ResultTable;
use crate::context::{now_ticks, ticks_of};
use crate::error::{Error, Fault, Result};
use crate::stored::{self, StoredView};
use crate::table::{Cell, Columns, TableBuilder};
use crate::view::View;
use crate::views::bracketed;

const DELETED: Columns = &[
    ("OriginalExtentId", KqlType::String),
    ("ResultExtentId", KqlType::String),
    ("RecordsMatchPredicate", KqlType::Long),
    ("Details", KqlType::String),
];

/// A predicate as a pipeline over a table that marks the rows it selects, without changing any.
struct Marking {
    /// Operators that make the marks; each begins with `|`.
    text: String,
    /// `not(all marks)`
    stays: String,
}

/// Turns `T | where a | extend ... | where b` into a pipeline that keeps every row and every column as it is.
///
/// Errors: other operators, no `where` at all, or another table. Source: soft delete page, restrictions of the predicate.
fn marking(text: &str, table: &Table) -> Result<Marking> {
    let parsed = parse_query(text);
    if !parsed.diagnostics.is_empty() {
        return Err(Error::of_diagnostics(text, parsed.diagnostics));
    }
    let refused = |what: &str| Err(Error::bad_request(format!("the predicate of records {what}")));
    let [statement] = parsed.tree.statements.as_slice() else {
        return refused("must be one query");
    };
    let StatementKind::Query(query) = &statement.kind else { return refused("must be a query") };
    let ExprKind::Pipe(pipeline) = &query.kind else { return refused("must have a 'where' operator") };
    let is_own = pipeline.source.as_ref().is_some_and(|source| match &source.kind {
        ExprKind::Name(name) => name.text == table.name(),
        _ => false,
    });
    if !is_own {
        return refused(&format!("must begin with the table '{}'", table.name()));
    }
    // A name that the predicate gives a new meaning must not change what is written.
    let mut marks: Vec<String> = Vec::new();
    let mut operators = String::new();
    for operator in &pipeline.operators {
        match &operator.kind {
            OperatorKind::Where { predicate, .. } => {
                let mark = format!("['$mark{}']", marks.len());
                operators
                    .push_str(&format!("| extend {mark} = coalesce(tobool({}), false)\n", predicate.span.text(text)));
                marks.push(mark);
            }
            OperatorKind::Extend(items) | OperatorKind::Project(items) => {
                let items: Vec<&str> = items
                    .iter()
                    .map(|item| {
                        let start = item.names.first().map_or(item.value.span.start, |name| name.span.start);
                        // A tuple's bracket stands before its first name.
                        let start = if item.tuple { start.saturating_sub(1) } else { start };
                        &text[start as usize..item.value.span.end as usize]
                    })
                    .collect();
                operators.push_str(&format!("| extend {}\n", items.join(", ")));
            }
            _ => return refused("can only use the operators 'where', 'extend' and 'project'"),
        }
    }
    if marks.is_empty() {
        return refused("must have a 'where' operator");
    }
    Ok(Marking { text: operators, stays: format!("not({})", marks.join(" and ")) })
}

/// What a rewrite of one extent gives.
struct Rewritten {
    extent: Arc<Extent>,
    gone: u64,
    staged: Vec<StagedExtent>,
}

/// The rows of one extent as a table of the catalog that a query finds under the table's own name.
fn view_of_extent(request: &Request<'_>, table: &Table, extent: &Arc<Extent>) -> Result<View> {
    let provider = request.service.store().rows_with_origins(table, std::slice::from_ref(extent))?;
    let database = request.snapshot.database_by_id(table.database_id());
    let database = database.ok_or_else(|| Error::internal("a table without a database"))?.name().to_string();
    let view = View::new(request.service, request.context, Arc::clone(&request.snapshot), &database)?;
    Ok(view.with_table(TableHandle {
        database,
        name: table.name().to_string(),
        schema: table.schema_with_origins(),
        provider,
        is_filled: false,
    }))
}

/// How many rows of an extent go.
async fn count(request: &Request<'_>, table: &Table, extent: &Arc<Extent>, marking: &Marking) -> Result<u64> {
    let view = view_of_extent(request, table, extent)?;
    let text = format!("{}\n{}| where not({}) | count", bracketed(table.name()), marking.text, marking.stays);
    let answer = request.service.run_planned(request.context, &text, &view, request.mark, None).await?;
    let mut rows = 0;
    for result in answer.results {
        for batch in result.collect().await? {
            rows += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
    }
    Ok(rows.unsigned_abs())
}

/// The rows of an extent that stay, written anew.
async fn rewrite(
    request: &Request<'_>,
    table: &Table,
    extent: &Arc<Extent>,
    marking: &Marking,
) -> Result<Vec<StagedExtent>> {
    let view = view_of_extent(request, table, extent)?;
    let schema = table.schema_with_origins();
    // What the predicate's own names hide is kept under others.
    let kept = |at: usize| format!("['$kept{at}']");
    let save: Vec<String> = schema
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{} = {}", kept(at), bracketed(&column.name)))
        .collect();
    let give: Vec<String> = schema
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{} = {}", bracketed(&column.name), kept(at)))
        .collect();
    let text = format!(
        "{}\n| extend {}\n{}| where {}\n| project {}",
        bracketed(table.name()),
        save.join(", "),
        marking.text,
        marking.stays,
        give.join(", ")
    );
    let mut context = request.context.clone();
    context.options.set("notruncation", Value::Bool(true));
    let mut answer = request.service.run_planned(&context, &text, &view, request.mark, None).await?;
    let Some(mut result) = answer.results.pop() else { return Err(Error::internal("a rewrite without a result")) };
    let target = table.target_with_origins();
    let mut writer = request.service.store().writer_task(&target);
    while let Some(batch) = result.rows.next().await {
        let batch = batch?;
        let batch = arrow::array::RecordBatch::try_new(Arc::clone(target.schema()), batch.columns().to_vec())
            .map_err(|error| Error::internal(error.to_string()))?;
        writer.write(batch).await?;
    }
    let staged = writer.finish().await?;
    Ok(staged.into_iter().map(|staged| staged.with_origin(extent)).collect())
}

/// The extents that hold matching records, rewritten unless only their number is asked for.
async fn matching(request: &Request<'_>, table: &Table, text: &str, what_if: bool) -> Result<Vec<Rewritten>> {
    let marking = marking(text, table)?;
    let mut found = Vec::new();
    for extent in table.extents() {
        let gone = count(request, table, extent, &marking).await?;
        if gone == 0 {
            continue;
        }
        let staged = match what_if || gone == extent.rows() {
            true => Vec::new(),
            false => rewrite(request, table, extent, &marking).await?,
        };
        let stays: u64 = staged.iter().map(StagedExtent::rows).sum();
        if !what_if && stays + gone != extent.rows() {
            return Err(Error::internal(format!("of {} rows {gone} go and {stays} stay", extent.rows())));
        }
        found.push(Rewritten { extent: Arc::clone(extent), gone, staged });
    }
    Ok(found)
}

fn replacing(mut commit: Commit, table: &Table, found: Vec<Rewritten>) -> Commit {
    for Rewritten { extent, staged, .. } in found {
        commit = commit.drop_extent(table.id(), extent.id()).add_all(staged, extent.tags());
    }
    commit
}

/// The table or the materialized part of a view.
fn table_of(request: &Request<'_>, database: &Arc<Database>, is_view: bool, name: &str) -> Result<Arc<Table>> {
    if !is_view {
        let table = database.table(name).cloned();
        return table.ok_or_else(|| Error::entity_not_found("Table", name));
    }
    // The materialized part holds partial aggregates, which a predicate over the view's columns does not see.
    let _: StoredView = stored::found(&request.snapshot, database, name)?;
    Err(Error::not_served("deleting records of a materialized view"))
}

/// `.delete table T records [with (whatif = true)] <| predicate`
pub async fn delete(
    request: &Request<'_>,
    is_view: bool,
    table: &Name,
    properties: &[Property],
    query: Inner,
) -> Result<ResultTable> {
    let table = table_of(request, request.database()?, is_view, &table.text)?;
    let what_if = property_flag(properties, "whatif");
    let text = only(request.text, query);
    let found = matching(request, &table, &text, what_if).await?;
    let mut out = TableBuilder::new(DELETED);
    for Rewritten { extent, gone, staged } in &found {
        let results: Vec<String> = staged.iter().map(|staged| staged.id().to_string()).collect();
        out.row(vec![extent.id().to_string().into(), results.join(",").into(), (*gone).into(), "".into()]);
    }
    if !what_if {
        request.service.store().commit(replacing(Commit::new(), &table, found)).await?;
    }
    out.finish()
}

/// `.update table T delete D append A <| let D = T | where ...; let A = ...;`
pub async fn update(
    request: &Request<'_>,
    table: &Name,
    delete: &Name,
    append: &Name,
    properties: &[Property],
    query: Inner,
) -> Result<ResultTable> {
    let table = Arc::clone(request.table(&table.text)?);
    if super::row_security::is_secured(&request.snapshot, &table) {
        // What is appended would be what the policy shows, and what is deleted more than that.
        return Err(Error::bad_request(format!(
            "records of table '{}' cannot be updated while its row level security policy is enabled",
            table.name()
        )));
    }
    let what_if = property_flag(properties, "whatif");
    let text = only(request.text, query);
    let parsed = parse_query(&text);
    if !parsed.diagnostics.is_empty() {
        return Err(Error::of_diagnostics(&text, parsed.diagnostics));
    }
    let predicate = parsed.tree.statements.iter().find_map(|statement| match &statement.kind {
        StatementKind::Let { name, value } if name.text == delete.text => Some(value.span.text(&text).to_string()),
        _ => None,
    });
    let Some(predicate) = predicate else {
        return Err(Error::bad_request(format!("the query has no statement 'let {} = ...'", delete.text)));
    };
    let found = matching(request, &table, &predicate, what_if).await?;
    // Statements end in `;`, with or without one behind the last.
    let statements = text.trim_end().trim_end_matches(';');
    let text = format!("{statements};\n{}", bracketed(&append.text));
    let mut context = request.context.clone();
    context.options.set("notruncation", Value::Bool(true));
    let view = View::new(request.service, &context, Arc::clone(&request.snapshot), &context.database)?;
    let mut answer = request.service.run_planned(&context, &text, &view, request.mark, None).await?;
    let Some(mut result) = answer.results.pop() else { return Err(Error::bad_request("nothing is appended")) };
    let own = table.schema();
    let order: Option<Vec<usize>> = own
        .columns
        .iter()
        .map(|column| result.schema.index_of(&column.name).filter(|at| result.schema.columns[*at].ty == column.ty))
        .collect();
    let Some(order) = order.filter(|_| result.schema.columns.len() == own.columns.len()) else {
        return Err(Error::bad_request(format!(
            "'{}' must have the columns of table '{}': {}",
            append.text,
            table.name(),
            super::schema::csl_schema(own)
        )));
    };
    let target = table.target();
    let mut writer = request.service.store().writer_task(&target);
    while let Some(batch) = result.rows.next().await {
        let batch = batch?;
        let columns = order.iter().map(|at| Arc::clone(batch.column(*at))).collect();
        let batch = arrow::array::RecordBatch::try_new(Arc::clone(target.schema()), columns)
            .map_err(|error| Error::internal(error.to_string()))?;
        writer.write(batch).await?;
    }
    let staged = writer.finish().await?;
    let mut out = TableBuilder::new(&[
        ("Table", KqlType::String),
        ("Action", KqlType::String),
        ("ExtentId", KqlType::Guid),
        ("RowCount", KqlType::Long),
    ]);
    for Rewritten { extent, gone, .. } in &found {
        out.row(vec![table.name().into(), "Delete".into(), extent.id().0.into(), (*gone).into()]);
    }
    for extent in &staged {
        out.row(vec![table.name().into(), "Append".into(), extent.id().0.into(), extent.rows().into()]);
    }
    if what_if {
        return out.finish();
    }
    let commit = replacing(Commit::new(), &table, found).add_all(staged, &[]);
    request.service.store().commit(commit).await?;
    out.finish()
}

// Purge

const PURGES: Columns = &[
    ("OperationId", KqlType::Guid),
    ("DatabaseName", KqlType::String),
    ("TableName", KqlType::String),
    ("ScheduledTime", KqlType::DateTime),
    ("Duration", KqlType::TimeSpan),
    ("LastUpdatedOn", KqlType::DateTime),
    ("EngineOperationId", KqlType::Guid),
    ("State", KqlType::String),
    ("StateDetails", KqlType::String),
    ("EngineStartTime", KqlType::DateTime),
    ("EngineDuration", KqlType::TimeSpan),
    ("Retries", KqlType::Int),
    ("ClientRequestId", KqlType::String),
    ("Principal", KqlType::String),
];

/// The kind of the properties that remember purges.
const PURGE: &str = "purge";
/// Most characters of a predicate. Source: data purge page.
const MAX_PREDICATE_BYTES: usize = 1 << 20;

/// `.purge table T records in database D ...`: a first call without a token answers with one.
pub async fn purge(
    request: &Request<'_>,
    is_view: bool,
    table: &Name,
    database: &Name,
    properties: &[Property],
    predicate: Option<Inner>,
) -> Result<ResultTable> {
    let began = std::time::Instant::now();
    let database = Arc::clone(request.named_database(&database.text)?);
    let table = table_of(request, &database, is_view, &table.text)?;
    let predicate = predicate.map(|span| span.text(request.text).to_string());
    if predicate.as_ref().is_some_and(|text| text.len() > MAX_PREDICATE_BYTES) {
        return Err(Error::bad_request(format!("a predicate has at most {MAX_PREDICATE_BYTES} bytes")));
    }
    if let Some(text) = &predicate {
        check_predicate(text)?;
    }
    let query = predicate.as_ref().map(|text| format!("{} | {text}", bracketed(table.name())));
    let token = verification_token(&database, &table, predicate.as_deref());
    let given = property_text(properties, "verificationtoken");
    if !property_flag(properties, "noregrets") && given.is_none() {
        let records = match &query {
            Some(query) => matching(request, &table, query, true).await?.iter().map(|found| found.gone).sum(),
            None => table.row_count(),
        };
        let mut out = TableBuilder::new(&[
            ("NumRecordsToPurge", KqlType::Long),
            ("EstimatedPurgeExecutionTime", KqlType::TimeSpan),
            ("VerificationToken", KqlType::String),
        ]);
        out.row(vec![records.into(), ticks_of(began.elapsed()).into(), token.into()]);
        return out.finish();
    }
    if given.is_some_and(|given| given != token) {
        return Err(Error::bad_request(
            "the verification token is not the one that the first step gave for this purge",
        ));
    }
    let commit = match &query {
        Some(query) => replacing(Commit::new(), &table, matching(request, &table, query, false).await?),
        None => Commit::new().replace(table.id()),
    };
    let id = request.context.activity_id;
    let duration = ticks_of(began.elapsed());
    let record = json!({
        "database": database.name(),
        "table": table.name(),
        "scheduled": request.context.now_ticks,
        "duration": duration,
        "updated": now_ticks(),
        "request": request.context.client_request_id,
        "principal": request.context.principal,
    });
    request.service.store().commit(commit).await?;
    request.service.store().put_property(purge_key(&database, id), Some(record.clone())).await?;
    let mut out = TableBuilder::new(PURGES);
    purge_row(&mut out, &id.to_string(), &record);
    out.finish()
}

/// One `where`, and no functions of the system. Source: data purge page, "Purge predicate limitations".
fn check_predicate(text: &str) -> Result<()> {
    let is_where = text.trim_start().starts_with("where") && !text.contains("| where");
    if !is_where {
        return Err(Error::bad_request("the predicate of a purge must be one 'where' operator"));
    }
    for function in ["ingestion_time", "extent_id", "extent_tags"] {
        if text.contains(function) {
            return Err(Error::bad_request(format!("the predicate of a purge cannot use '{function}()'")));
        }
    }
    Ok(())
}

/// The same text for the same purge: a hash of what it is about, 64 hexadecimal digits long.
fn verification_token(database: &Database, table: &Table, predicate: Option<&str>) -> String {
    let text = format!("{}:{}:{}", database.id(), table.id(), predicate.unwrap_or("*").trim());
    let half = |name: &Uuid| Uuid::new_v5(name, text.as_bytes()).simple().to_string();
    half(&Uuid::NAMESPACE_OID) + &half(&Uuid::NAMESPACE_URL)
}

fn purge_key(database: &Database, id: Uuid) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Database(database.id()), kind: PURGE.to_string(), name: id.to_string() }
}

fn purge_row(out: &mut TableBuilder, id: &str, record: &Value) {
    let number = |name: &str| record[name].as_i64().map_or(Cell::Null, Cell::Number);
    let text = |name: &str| Cell::from(record[name].as_str());
    let id = Uuid::parse_str(id).unwrap_or_default();
    out.row(vec![
        id.into(),
        text("database"),
        text("table"),
        number("scheduled"),
        number("duration"),
        number("updated"),
        id.into(),
        "Completed".into(),
        "Purge completed successfully".into(),
        number("scheduled"),
        number("duration"),
        0i64.into(),
        text("request"),
        text("principal"),
    ]);
}

/// `.show purges`: without times those of the last day.
pub fn show_purges(
    request: &Request<'_>,
    id: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    database: Option<&Name>,
) -> Result<ResultTable> {
    let time = |text: Option<&str>, default: i64| match text {
        None => Ok(default),
        Some(text) => datetime::parse(text).ok_or_else(|| Error::bad_request(format!("'{text}' is not a datetime"))),
    };
    let now = request.context.now_ticks;
    let (from, to) = (time(from, now - tidewater_kql::value::timespan::TICKS_PER_DAY)?, time(to, i64::MAX)?);
    let databases: Vec<Arc<Database>> = match database {
        Some(name) => vec![Arc::clone(request.named_database(&name.text)?)],
        None => request.snapshot.databases().cloned().collect(),
    };
    let mut out = TableBuilder::new(PURGES);
    for database in databases {
        for (name, record) in request.snapshot.properties(PropertyOwner::Database(database.id()), PURGE) {
            let wanted = match id {
                Some(id) => id.eq_ignore_ascii_case(name),
                None => record["scheduled"].as_i64().is_some_and(|at| (from..=to).contains(&at)),
            };
            if wanted {
                purge_row(&mut out, name, record);
            }
        }
    }
    out.finish()
}

/// `.cancel purge id`, `.cancel all purges`: a purge here is done when its command answers, so none ever waits.
pub fn cancel_purges(request: &Request<'_>, id: Option<&str>, database: Option<&Name>) -> Result<ResultTable> {
    match id {
        None => show_purges(request, None, None, None, database),
        Some(id) => {
            let exists = request.snapshot.databases().any(|database| {
                let owner = PropertyOwner::Database(database.id());
                request.snapshot.properties(owner, PURGE).any(|(name, _)| id.eq_ignore_ascii_case(name))
            });
            match exists {
                true => show_purges(request, Some(id), None, None, None),
                false => Err(Error::new(Fault::EntityNotFound, format!("there is no purge '{id}'"))),
            }
        }
    }
}
