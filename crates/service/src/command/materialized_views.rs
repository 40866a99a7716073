//! Materialized views. Source: materialized-view-create, -create-or-alter, -alter, -rename, -drop, -enable-disable,
//! -clear-data, -show-* pages; the parser's inventory of results.

use std::sync::Arc;

use serde_json::json;
use tidewater_kql::KqlType;
use tidewater_kql::ast::{ExprKind, Literal, Property};
use tidewater_kql::command::{
    MaterializedViewCommand, PutMode, ShowView, TextKind, ViewDefinition, property_flag, property_text,
};
use tidewater_kql::value::timespan;
use tidewater_store::{Commit, Database, Snapshot, Table};

use super::schema::{TABLE_SCHEMA, columns_json, csl_schema};
use super::{Request, data, row_security, tables};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::keep;
use crate::rights::roles::{Named, admin_of_new};
use crate::stored::{self, StoredView};
use crate::table::{Cell, Columns, TableBuilder};
use crate::view::View;
use crate::views;

const VIEWS: Columns = &[
    ("Name", KqlType::String),
    ("SourceTable", KqlType::String),
    ("Query", KqlType::String),
    ("MaterializedTo", KqlType::DateTime),
    ("LastRun", KqlType::DateTime),
    ("LastRunResult", KqlType::String),
    ("IsHealthy", KqlType::Bool),
    ("IsEnabled", KqlType::Bool),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
    ("AutoUpdateSchema", KqlType::Bool),
    ("EffectiveDateTime", KqlType::DateTime),
    ("Lookback", KqlType::TimeSpan),
    ("LookbackColumn", KqlType::String),
];

const DETAILS: Columns = &[
    ("MaterializedViewName", KqlType::String),
    ("DatabaseName", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
    ("TotalExtents", KqlType::Long),
    ("TotalExtentSize", KqlType::Real),
    ("TotalOriginalSize", KqlType::Real),
    ("TotalRowCount", KqlType::Long),
    ("HotExtents", KqlType::Long),
    ("HotExtentSize", KqlType::Real),
    ("HotOriginalSize", KqlType::Real),
    ("HotRowCount", KqlType::Long),
    ("AuthorizedPrincipals", KqlType::String),
    ("RetentionPolicy", KqlType::String),
    ("CachingPolicy", KqlType::String),
    ("ShardingPolicy", KqlType::String),
    ("MergePolicy", KqlType::String),
    ("MinExtentsCreationTime", KqlType::DateTime),
    ("MaxExtentsCreationTime", KqlType::DateTime),
];

const FAILURES: Columns = &[
    ("Timestamp", KqlType::DateTime),
    ("OperationId", KqlType::String),
    ("Name", KqlType::String),
    ("LastSuccessRun", KqlType::DateTime),
    ("FailureKind", KqlType::String),
    ("Details", KqlType::String),
];

/// Properties of `with (...)`. Source: materialized-view-create-properties.
const PROPERTIES: &[&str] = &[
    "backfill",
    "effectivedatetime",
    "updateextentscreationtime",
    "lookback",
    "lookback_column",
    "autoupdateschema",
    "dimensiontables",
    "folder",
    "docstring",
    "allowmaterializedviewswithoutrowlevelsecurity",
];

/// Runs a command about materialized views.
pub async fn run(request: &Request<'_>, command: MaterializedViewCommand) -> Result<ResultTable> {
    use MaterializedViewCommand as C;
    match command {
        C::Put(definition) => put(request, *definition).await,
        C::AlterText { view, which, text } => {
            alter(request, &view.text, |view| {
                match which {
                    TextKind::Folder => view.folder = text,
                    TextKind::DocString => view.docstring = text,
                }
                Ok(())
            })
            .await
        }
        C::AlterLookback { view, lookback } => {
            let ticks = match &lookback.kind {
                ExprKind::Literal(Literal::TimeSpan(Some(ticks))) if *ticks > 0 => *ticks,
                _ => return Err(Error::bad_request("a lookback is a timespan above zero")),
            };
            alter(request, &view.text, |view| {
                view.lookback = Some(ticks);
                Ok(())
            })
            .await
        }
        C::AlterAutoUpdateSchema { view, value } => {
            alter(request, &view.text, |view| {
                view.auto_update = value;
                Ok(())
            })
            .await
        }
        C::Rename { from, to } => rename(request, &from.text, &to.text).await,
        C::Drop { view, if_exists } => drop(request, &view.text, if_exists).await,
        C::Enable { view, enable, properties } => {
            if enable {
                let database = request.database()?;
                let known: StoredView = stored::found(&request.snapshot, database, &view.text)?;
                row_policies_fit(request, &view.text, &known, &properties)?;
            }
            alter(request, &view.text, |known| {
                if known.enabled == enable {
                    let state = if enable { "enabled" } else { "disabled" };
                    return Err(Error::bad_request(format!("materialized view '{}' is {state} already", view.text)));
                }
                known.enabled = enable;
                if enable {
                    known.failure = None;
                }
                Ok(())
            })
            .await
        }
        C::Clear { view } => clear(request, &view.text).await,
        C::Show { view, what } => show(request, view.as_ref().map(|view| view.text.as_str()), what).await,
    }
}

fn rows(request: &Request<'_>, views: impl IntoIterator<Item = (String, StoredView)>) -> Result<ResultTable> {
    rows_of(&request.snapshot, views)
}

fn rows_of(snapshot: &Snapshot, views: impl IntoIterator<Item = (String, StoredView)>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(VIEWS);
    for (name, view) in views {
        let source = snapshot.table_by_id(view.source);
        let time = |ticks: i64| if ticks == 0 { Cell::Null } else { Cell::Number(ticks) };
        out.row(vec![
            name.into(),
            source.map_or(view.source_name.as_str(), |source| source.name()).into(),
            view.query.as_str().into(),
            time(view.materialized_to),
            time(view.last_run),
            if view.failure.is_some() { "Failed" } else { "Completed" }.into(),
            (view.enabled && view.failure.is_none() && source.is_some()).into(),
            view.enabled.into(),
            view.folder.as_str().into(),
            view.docstring.as_str().into(),
            view.auto_update.into(),
            view.effective.map_or(Cell::Null, Cell::Number),
            view.lookback.map_or(Cell::Null, Cell::Number),
            view.lookback_column.as_str().into(),
        ]);
    }
    out.finish()
}

/// The answer with all views, after a change.
fn remaining(request: &Request<'_>) -> Result<ResultTable> {
    let request = request.refreshed();
    let all = stored::all(&request.snapshot, request.database()?);
    rows(&request, all)
}

/// Changes a view that exists; answers with it.
async fn alter(
    request: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut StoredView) -> Result<()>,
) -> Result<ResultTable> {
    let database = request.database()?;
    let old: StoredView = stored::found(&request.snapshot, database, name)?;
    let mut new = old.clone();
    change(&mut new)?;
    let edit = stored::edit(database, name, Some(&old), Some(&new))?;
    request.service.store().edit_properties(vec![edit]).await?;
    rows(request, [(name.to_string(), new)])
}

async fn rename(request: &Request<'_>, from: &str, to: &str) -> Result<ResultTable> {
    let database = request.database()?;
    let old: StoredView = stored::found(&request.snapshot, database, from)?;
    stored::name_is_free(&request.snapshot, database, to, "")?;
    let mut edits =
        vec![stored::edit(database, from, Some(&old), None)?, stored::edit(database, to, None, Some(&old))?];
    edits.extend(stored::moved_companions(&request.snapshot, database, <StoredView as stored::Entity>::KIND, from, to));
    request.service.store().edit_properties(edits).await?;
    remaining(request)
}

async fn drop(request: &Request<'_>, name: &str, if_exists: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let old = match stored::find::<StoredView>(&request.snapshot, database, name) {
        Some(old) => old,
        None if if_exists => return remaining(request),
        None => return Err(Error::entity_not_found("MaterializedView", name)),
    };
    let mut commit = Commit::new().edit(stored::edit(database, name, Some(&old), None)?);
    if let Some(table) = old.table {
        commit = commit.drop_table(table);
    }
    request.service.store().commit(commit).await?;
    remaining(request)
}

/// The materialized part goes; what is not materialized yet stays.
async fn clear(request: &Request<'_>, name: &str) -> Result<ResultTable> {
    let database = request.database()?;
    // What has come until now is cleared too: it belongs to the view's data.
    request.service.materialize(database, name).await;
    let snapshot = request.service.store().snapshot();
    let old: StoredView = stored::found(&snapshot, database, name)?;
    let new = StoredView { table: None, cursor: snapshot.cursor(), materialized_to: 0, ..old.clone() };
    let mut commit = Commit::new().edit(stored::edit(database, name, Some(&old), Some(&new))?);
    let mut out = TableBuilder::new(&[
        ("ExtentId", KqlType::Guid),
        ("TableName", KqlType::String),
        ("CreatedOn", KqlType::DateTime),
    ]);
    if let Some(table) = old.table {
        commit = commit.drop_table(table);
        for extent in snapshot.table_by_id(table).iter().flat_map(|table| table.extents()) {
            out.row(vec![extent.id().0.into(), name.into(), extent.created().into()]);
        }
    }
    request.service.store().commit(commit).await?;
    out.finish()
}

fn span_property(properties: &[Property], name: &str) -> Result<Option<i64>> {
    match property_text(properties, name) {
        None => Ok(None),
        Some(text) => match timespan::parse(&text) {
            Some(ticks) if ticks > 0 => Ok(Some(ticks)),
            _ => Err(Error::bad_request(format!("property '{name}' must be a timespan above zero, found '{text}'"))),
        },
    }
}

/// `dynamic(["A", "B"])`, `"A"`
fn names_property(properties: &[Property], name: &str) -> Result<Vec<String>> {
    match property_text(properties, name) {
        None => Ok(Vec::new()),
        Some(text) if !text.trim_start().starts_with('[') => Ok(vec![text]),
        Some(text) => serde_json::from_str(&text)
            .map_err(|_| Error::bad_request(format!("property '{name}' must be an array of names, found '{text}'"))),
    }
}

async fn put(request: &Request<'_>, definition: ViewDefinition) -> Result<ResultTable> {
    let database = request.database()?;
    let name = definition.name.text.as_str();
    let properties = &definition.properties;
    for property in properties {
        let own = property.name.text.to_ascii_lowercase();
        if !PROPERTIES.contains(&own.as_str()) {
            let near = tidewater_kql::diagnostic::nearest(&own, PROPERTIES.iter().copied());
            let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            let message = format!("'{}' is no property of materialized views{hint}", property.name.text);
            return Err(Error::bad_request(message));
        }
    }
    let old = stored::find::<StoredView>(&request.snapshot, database, name);
    match (definition.mode, &old) {
        (PutMode::Create, Some(old)) if definition.if_not_exists => {
            return rows(request, [(name.to_string(), old.clone())]);
        }
        (PutMode::Create, Some(_)) => return Err(Error::entity_exists("MaterializedView", name)),
        (PutMode::Alter, None) => return Err(Error::entity_not_found("MaterializedView", name)),
        _ => {}
    }
    stored::name_is_free(&request.snapshot, database, name, "materialized view")?;
    if definition.over_view {
        return Err(Error::not_served("a materialized view over a materialized view"));
    }
    let source = Arc::clone(request.table(&definition.source.text)?);
    if row_security::is_restricted(&request.snapshot, &source) {
        // Source: materialized-views-limitations page.
        return Err(Error::bad_request(format!(
            "table '{}' has a restricted view access policy and cannot be the source of a materialized view",
            source.name()
        )));
    }
    let dimensions = match (&old, property_text(properties, "dimensionTables")) {
        (Some(old), None) => old.dimension_tables.clone(),
        _ => names_property(properties, "dimensionTables")?,
    };
    for dimension in &dimensions {
        request.table(dimension)?;
    }
    views::check(&definition.body, &definition.query_text, source.name())?;
    let plan = planned(request, &definition, database, &source, &dimensions).await?;
    let backfill = property_flag(properties, "backfill");
    let effective = match property_text(properties, "effectiveDateTime") {
        None => None,
        Some(_) if !backfill => {
            return Err(Error::bad_request("property 'effectiveDateTime' needs 'backfill=true'"));
        }
        Some(text) => match tidewater_plan::options::datetime_of(&text.as_str().into()) {
            Some(ticks) => Some(ticks),
            None => {
                let message = format!("property 'effectiveDateTime' must be a datetime, found '{text}'");
                return Err(Error::bad_request(message));
            }
        },
    };
    if backfill && !definition.is_async && old.is_none() {
        // Source: materialized-view-create page: with backfill "the create command must be async".
        return Err(Error::bad_request("a materialized view with 'backfill=true' must be created by an async command"));
    }
    let text = |name: &str| property_text(properties, name);
    let new = match &old {
        None => StoredView {
            source: source.id(),
            source_name: source.name().to_string(),
            query: definition.query_text.clone(),
            plan,
            folder: text("folder").unwrap_or_default(),
            docstring: text("docString").unwrap_or_default(),
            auto_update: property_flag(properties, "autoUpdateSchema"),
            lookback: span_property(properties, "lookback")?,
            lookback_column: text("lookback_column").unwrap_or_default(),
            dimension_tables: dimensions,
            effective: if backfill { effective } else { Some(request.context.now_ticks) },
            enabled: true,
            table: None,
            cursor: if backfill { 0 } else { request.snapshot.cursor() },
            last_run: 0,
            materialized_to: 0,
            failure: None,
            failed: 0,
            policies: std::collections::BTreeMap::new(),
        },
        Some(known) => {
            if known.source != source.id() {
                return Err(Error::bad_request("the source of a materialized view cannot be altered"));
            }
            fits(known, &plan)?;
            // What has come until now belongs to the former query.
            request.service.materialize(database, name).await;
            let snapshot = request.service.store().snapshot();
            let known: StoredView = stored::found(&snapshot, database, name)?;
            if !known.plan.mergeable && known.plan != plan {
                return Err(Error::not_served("altering a materialized view with make_set or make_list"));
            }
            StoredView {
                query: definition.query_text.clone(),
                plan,
                folder: text("folder").unwrap_or(known.folder),
                docstring: text("docString").unwrap_or(known.docstring),
                auto_update: text("autoUpdateSchema").map_or(known.auto_update, |text| text == "true"),
                lookback: span_property(properties, "lookback")?.or(known.lookback),
                lookback_column: text("lookback_column").unwrap_or(known.lookback_column),
                dimension_tables: dimensions,
                source: known.source,
                source_name: source.name().to_string(),
                effective: known.effective,
                enabled: known.enabled,
                table: known.table,
                cursor: known.cursor,
                last_run: known.last_run,
                materialized_to: known.materialized_to,
                failure: known.failure,
                failed: known.failed,
                policies: known.policies,
            }
        }
    };
    if old.is_none() {
        row_policies_fit(request, name, &new, properties)?;
    }
    // The view may have been brought up to date since the request began.
    let snapshot = request.service.store().snapshot();
    let present = stored::find::<StoredView>(&snapshot, database, name);
    let mut edits = vec![stored::edit(database, name, present.as_ref(), Some(&new))?];
    edits.extend(admin_of_new(request.context, database, Named::MaterializedView, name, present.is_some()));
    request.service.store().edit_properties(edits).await?;
    if definition.is_async {
        let (service, database, name) = (request.service.clone(), Arc::clone(database), name.to_string());
        return data::in_background(request, async move {
            service.materialize(&database, &name).await;
            let snapshot = service.store().snapshot();
            let new = stored::find::<StoredView>(&snapshot, &database, &name);
            rows_of(&snapshot, new.into_iter().map(|view| (name.clone(), view)))
        })
        .await;
    }
    rows(&request.refreshed(), [(name.to_string(), new)])
}

/// Refuses a view of rows of a source whose policy hides some, while the view has no policy itself. Source:
/// materialized-view-policies page.
fn row_policies_fit(request: &Request<'_>, name: &str, view: &StoredView, properties: &[Property]) -> Result<()> {
    let Some(source) = request.snapshot.table_by_id(view.source) else { return Ok(()) };
    let leaks = row_security::is_secured(&request.snapshot, source)
        && row_security::shows_rows(view)
        && !row_security::is_view_secured(view);
    match leaks && !property_flag(properties, row_security::ALLOW_VIEWS) {
        true => Err(row_security::view_without_policy(name, source.name())),
        false => Ok(()),
    }
}

/// Whether a view can go over to another query. Source: materialized-view-alter-limitations.
fn fits(known: &StoredView, plan: &views::ViewPlan) -> Result<()> {
    let keys = |plan: &views::ViewPlan| plan.merge.rsplit_once(" by ").map(|(_, keys)| keys.to_string());
    if keys(&known.plan) != keys(plan) {
        return Err(Error::bad_request("the group-by expressions of a materialized view cannot be altered"));
    }
    for column in &plan.schema.columns {
        if let Some(at) = known.plan.schema.index_of(&column.name)
            && known.plan.schema.columns[at].ty != column.ty
        {
            let message = format!("the type of column '{}' of a materialized view cannot be altered", column.name);
            return Err(Error::bad_request(message));
        }
    }
    Ok(())
}

/// The view's texts, each checked by planning it.
async fn planned(
    request: &Request<'_>,
    definition: &ViewDefinition,
    database: &Database,
    source: &Table,
    dimensions: &[String],
) -> Result<views::ViewPlan> {
    let context = request.context;
    let catalog = View::new(request.service, context, Arc::clone(&request.snapshot), &context.database)?;
    // With blanks for what stands before it, so that mistakes are told where they are.
    let text = super::only(request.text, definition.query_span);
    let running = keep::plan(request.service, context, &catalog, &text).await?;
    let plan = views::plan(&definition.body, running.schema())?;
    let tables = tables_named(&definition.query_text, database);
    if let Some(other) = tables.iter().find(|name| *name != source.name() && !dimensions.contains(name)) {
        return Err(Error::bad_request(format!(
            "the query of a materialized view is not valid: table '{other}' is neither its source nor one of the property \
             'dimensionTables'"
        )));
    }
    if plan.mergeable {
        let merged = format!("{}\n{} | {} | {} | {}", plan.lets, plan.prefix, plan.partial, plan.merge, plan.finals);
        let merged = keep::plan(request.service, context, &catalog, &merged).await?;
        if merged.schema() != &plan.schema {
            return Err(Error::not_served(format!(
                "a materialized view whose columns ({}) are computed in parts as ({})",
                csl_schema(&plan.schema),
                csl_schema(merged.schema())
            )));
        }
    }
    Ok(plan)
}

/// The tables of the database that stand in a query as names of their own.
fn tables_named(text: &str, database: &Database) -> Vec<String> {
    use tidewater_kql::lexer::{Lexer, TokenKind};
    let words = Lexer::new(text, 0).filter(|token| token.kind == TokenKind::Name);
    let mut found: Vec<String> = Vec::new();
    for word in words {
        let word = word.span.text(text);
        if database.table(word).is_some() && !found.iter().any(|known| known == word) {
            found.push(word.to_string());
        }
    }
    found
}

async fn show(request: &Request<'_>, name: Option<&str>, what: ShowView) -> Result<ResultTable> {
    let database = request.database()?;
    let chosen = match name {
        Some(name) => vec![(name.to_string(), stored::found::<StoredView>(&request.snapshot, database, name)?)],
        None => stored::all::<StoredView>(&request.snapshot, database),
    };
    match what {
        ShowView::Definition => rows(request, chosen),
        ShowView::Details => details(request, database, chosen),
        ShowView::CslSchema | ShowView::JsonSchema => {
            let mut out = TableBuilder::new(TABLE_SCHEMA);
            for (name, view) in chosen {
                let schema = &view.plan.schema;
                let text = match what {
                    ShowView::CslSchema => csl_schema(schema),
                    _ => json!({"Name": name, "OrderedColumns": columns_json(schema)}).to_string(),
                };
                out.row(vec![
                    name.into(),
                    text.into(),
                    database.name().into(),
                    view.folder.as_str().into(),
                    view.docstring.as_str().into(),
                ]);
            }
            out.finish()
        }
        ShowView::Extents => {
            let tables = chosen
                .iter()
                .filter_map(|(name, view)| Some((name.as_str(), request.snapshot.table_by_id(view.table?)?.as_ref())));
            tables::extents_of(database, tables)
        }
        ShowView::Failures => {
            let mut out = TableBuilder::new(FAILURES);
            for (name, view) in chosen {
                if let Some(failure) = &view.failure {
                    let kind = if view.enabled { "Transient" } else { "Permanent" };
                    let success = if view.materialized_to == 0 { Cell::Null } else { view.materialized_to.into() };
                    let cells = vec![view.failed.into(), "".into(), name.into(), success, kind.into()];
                    out.row(cells.into_iter().chain([failure.as_str().into()]).collect());
                }
            }
            out.finish()
        }
        ShowView::Statistics => Err(Error::not_served("the command '.show materialized-view statistics'")),
    }
}

fn details(request: &Request<'_>, database: &Database, views: Vec<(String, StoredView)>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(DETAILS);
    for (name, view) in views {
        let table = view.table.and_then(|table| request.snapshot.table_by_id(table));
        let extents = table.map_or(0, |table| table.extents().len());
        let bytes = table.map_or(0.0, |table| table.byte_size() as f64);
        let original: u64 = table.iter().flat_map(|table| table.extents()).map(|extent| extent.original_bytes()).sum();
        let count = table.map_or(0, |table| table.row_count());
        let times = || table.iter().flat_map(|table| table.extents()).map(|extent| extent.created());
        let sizes = || [extents.into(), Cell::Real(bytes), Cell::Real(original as f64), count.into()];
        let mut cells: Vec<Cell> =
            vec![name.into(), database.name().into(), view.folder.as_str().into(), view.docstring.as_str().into()];
        cells.extend(sizes());
        cells.extend(sizes());
        cells.extend(["[]".into(), "".into(), "".into(), "".into(), "".into()]);
        cells.push(times().min().map_or(Cell::Null, Cell::Number));
        cells.push(times().max().map_or(Cell::Null, Cell::Number));
        out.row(cells);
    }
    out.finish()
}
