//! Stored query results. Source: set-stored-query-result, show-stored-query-result, drop-stored-query-result and
//! stored-query-results pages.

use std::sync::Arc;

use futures::StreamExt;
use serde_json::{Value, json};
use tidewater_kql::ast::Property;
use tidewater_kql::command::{StoredResultCommand, property_text};
use tidewater_kql::value::timespan;
use tidewater_kql::{KqlType, Span};
use tidewater_store::{Commit, Database};
use uuid::Uuid;

use super::{Request, data};
use crate::answer::ResultTable;
use crate::context::{Context, MAX_TIMEOUT};
use crate::error::{Error, Result};
use crate::keep;
use crate::service::Service;
use crate::stored::{self, StoredQueryResult};
use crate::table::TableBuilder;
use crate::view::View;

/// Rows that the command shows unless `previewCount` says otherwise.
const PREVIEW_ROWS: usize = 10_000;
/// The longest life, and the one without `expiresAfter`.
const MAX_LIFE: i64 = timespan::TICKS_PER_DAY;

/// Runs a command about stored query results.
pub async fn run(request: &Request<'_>, command: StoredResultCommand) -> Result<ResultTable> {
    let database = request.database()?;
    let now = request.context.now_ticks;
    // Those of others are hidden. Source: stored-query-results page; admins may drop them.
    let sees =
        |result: &StoredQueryResult| request.access.is_admin(database) || request.access.is_own(&result.principal);
    let live = |name: &str| {
        stored::find::<StoredQueryResult>(&request.snapshot, database, name)
            .filter(|result| result.expires > now && sees(result))
    };
    match command {
        StoredResultCommand::Set { replace, is_async, name, properties, query: _, query_span } => {
            set(request, replace, is_async, name.text, &properties, query_span).await
        }
        StoredResultCommand::Show { name: None } => {
            let mut all = stored::all::<StoredQueryResult>(&request.snapshot, database);
            all.retain(|(_, result)| result.expires > now && sees(result));
            rows(request, database, all)
        }
        StoredResultCommand::Show { name: Some(name) } => {
            let found = live(&name.text).map(|result| (name.text, result));
            rows(request, database, found)
        }
        StoredResultCommand::ShowSchema { name } => {
            let result = live(&name.text).ok_or_else(|| Error::entity_not_found("StoredQueryResult", &name.text))?;
            let table = stored::rows_of(&request.snapshot, result.table);
            let columns: Vec<Value> = table
                .iter()
                .flat_map(|table| &table.schema().columns)
                .map(|column| json!({"Column": column.name, "Type": column.ty.name()}))
                .collect();
            let mut out = TableBuilder::new(&[("StoredQueryResult", KqlType::String), ("Schema", KqlType::String)]);
            out.row(vec![name.text.into(), Value::from(columns).to_string().into()]);
            out.finish()
        }
        StoredResultCommand::Drop { name } => {
            let result = live(&name.text).ok_or_else(|| Error::entity_not_found("StoredQueryResult", &name.text))?;
            drop_all(request, database, vec![(name.text, result)]).await
        }
        StoredResultCommand::DropByUser { user } => {
            let mut all = stored::all::<StoredQueryResult>(&request.snapshot, database);
            all.retain(|(_, result)| result.principal.eq_ignore_ascii_case(&user));
            drop_all(request, database, all).await
        }
    }
}

fn rows(
    request: &Request<'_>,
    database: &Database,
    results: impl IntoIterator<Item = (String, StoredQueryResult)>,
) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[
        ("StoredQueryResultId", KqlType::Guid),
        ("Name", KqlType::String),
        ("DatabaseName", KqlType::String),
        ("PrincipalIdentity", KqlType::String),
        ("SizeInBytes", KqlType::Long),
        ("RowCount", KqlType::Long),
        ("CreatedOn", KqlType::DateTime),
        ("ExpiresOn", KqlType::DateTime),
    ]);
    for (name, result) in results {
        let table = stored::rows_of(&request.snapshot, result.table);
        out.row(vec![
            result.id.into(),
            name.into(),
            database.name().into(),
            result.principal.as_str().into(),
            table.map_or(0, |table| table.byte_size()).into(),
            table.map_or(0, |table| table.row_count()).into(),
            result.created.into(),
            result.expires.into(),
        ]);
    }
    out.finish()
}

async fn drop_all(
    request: &Request<'_>,
    database: &Database,
    results: Vec<(String, StoredQueryResult)>,
) -> Result<ResultTable> {
    let mut commit = Commit::new();
    for (name, result) in &results {
        commit = commit.drop_table(result.table).edit(stored::edit(database, name, Some(result), None)?);
    }
    let shown = rows(request, database, results)?;
    request.service.store().commit(commit).await?;
    Ok(shown)
}

/// A query that becomes a stored result, on its own feet so that it can go on in the background.
struct Storing {
    service: Service,
    context: Context,
    snapshot: Arc<tidewater_store::Snapshot>,
    text: String,
    name: String,
    replace: bool,
    life: i64,
    preview: usize,
}

async fn set(
    request: &Request<'_>,
    replace: bool,
    is_async: bool,
    name: String,
    properties: &[Property],
    query_span: Span,
) -> Result<ResultTable> {
    for property in properties {
        let known = ["expiresafter", "previewcount", "distributed"];
        if !known.contains(&property.name.text.to_ascii_lowercase().as_str()) {
            return Err(Error::bad_request(format!(
                "'{}' is no property of stored query results: expiresAfter and previewCount are",
                property.name.text
            )));
        }
    }
    let life = match property_text(properties, "expiresAfter") {
        None => MAX_LIFE,
        Some(text) => match timespan::parse(&text) {
            Some(life) if life > 0 && life <= MAX_LIFE => life,
            _ => {
                return Err(Error::bad_request(format!(
                    "property 'expiresAfter' must be a timespan of at most 24 hours, found '{text}'"
                )));
            }
        },
    };
    let preview = match property_text(properties, "previewCount") {
        None => PREVIEW_ROWS,
        Some(text) => match text.parse::<usize>() {
            Ok(0) => usize::MAX,
            Ok(count) => count,
            Err(_) => {
                return Err(Error::bad_request(format!("property 'previewCount' must be a number, found '{text}'")));
            }
        },
    };
    // Another's result is theirs to replace, and their readers' to rely on.
    let known = stored::find::<StoredQueryResult>(&request.snapshot, request.database()?, &name);
    if let Some(known) = known.filter(|known| replace && known.expires > request.context.now_ticks)
        && !request.access.is_own(&known.principal)
        && !request.access.is_admin(request.database()?)
    {
        let action = format!("replace stored query result '{name}' of principal '{}'", known.principal);
        return Err(request.access.refused(&action));
    }
    let mut storing = Storing {
        service: request.service.clone(),
        context: request.context.clone(),
        snapshot: Arc::clone(&request.snapshot),
        text: super::only(request.text, query_span),
        name,
        replace,
        life,
        preview,
    };
    storing.old()?;
    if is_async {
        storing.preview = 0;
        storing.context.deadline = storing.context.started + MAX_TIMEOUT;
        return data::in_background(request, async move { storing.run().await }).await;
    }
    storing.run().await
}

impl Storing {
    fn database(&self) -> Result<&Arc<Database>> {
        let name = &self.context.database;
        self.snapshot.database(name).ok_or_else(|| Error::database_not_found(name))
    }

    /// The stored result of the same name, expired or not. One that lives is replaced only if that was asked for.
    fn old(&self) -> Result<Option<StoredQueryResult>> {
        let old = stored::find::<StoredQueryResult>(&self.snapshot, self.database()?, &self.name);
        match &old {
            Some(old) if !self.replace && old.expires > self.context.now_ticks => {
                Err(Error::entity_exists("StoredQueryResult", &self.name))
            }
            _ => Ok(old),
        }
    }

    async fn run(self) -> Result<ResultTable> {
        let database = Arc::clone(self.database()?);
        let old = self.old()?;
        let view = View::new(&self.service, &self.context, Arc::clone(&self.snapshot), &self.context.database)?;
        let running = keep::plan(&self.service, &self.context, &view, &self.text).await?;
        let table = keep::new_table(&self.service, database.id(), running.schema())?;
        let kept = keep::write(&self.service, &self.context, running, &table.target(), self.preview).await?;
        let created = self.context.now_ticks;
        let new = StoredQueryResult {
            id: Uuid::new_v4(),
            table: table.id(),
            principal: self.context.principal.clone(),
            created,
            expires: created.saturating_add(self.life),
        };
        let mut commit = Commit::new().create(table).add_all(kept.staged, &[]);
        if let Some(old) = &old {
            commit = commit.drop_table(old.table);
        }
        let commit = commit.edit(stored::edit(&database, &self.name, old.as_ref(), Some(&new))?);
        self.service.store().commit(commit).await?;
        let rows = futures::stream::iter(kept.preview.into_iter().map(Ok)).boxed();
        let name = "PrimaryResult".to_string();
        Ok(ResultTable { name, schema: kept.schema, visualization: None, is_sorted: false, rows })
    }
}
