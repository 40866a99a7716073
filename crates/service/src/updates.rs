//! Update policies: what is derived from data as it arrives.
//!
//! New rows of a source are written but not yet committed when the policies of its targets run over them. What they give is
//! committed together with the source's rows, so nobody ever sees one without the other. A transactional policy that fails
//! stops the whole ingestion; any other failure is noted in the journal and only its own branch is left out.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::Value;
use tidewater_kql::TableSchema;
use tidewater_plan::TableHandle;
use tidewater_store::{Commit, Database, PropertyOwner, Snapshot, StagedExtent, Table, TableId, Target};
use uuid::Uuid;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::journal::{Mark, Sort};
use crate::policies::{self, RetentionPolicy, Update, UpdatePolicy};
use crate::service::Service;
use crate::view::View;

/// How a policy's query may call its source, which is what a pattern of sources needs.
const SOURCE: &str = "$source_table";

/// New rows of a table that are written and not committed.
pub(crate) struct NewRows {
    pub database: Arc<Database>,
    pub table: TableId,
    pub name: String,
    pub schema: TableSchema,
    pub rows: Arc<dyn TableProvider>,
    /// The same with the hidden columns.
    pub hidden: Arc<dyn TableProvider>,
}

/// What goes into the commit beside the source's own rows.
pub(crate) struct Addition {
    table: TableId,
    staged: Vec<StagedExtent>,
    tags: Vec<String>,
    created: Option<i64>,
    replace: bool,
}

/// An ingestion whose data others derive theirs from.
pub(crate) struct Ingestion<'a> {
    pub service: &'a Service,
    pub context: &'a Context,
    pub mark: &'a Arc<Mark>,
    pub snapshot: Arc<Snapshot>,
    /// Tags and creation time, for policies that pass them on.
    pub tags: &'a [String],
    pub created: Option<i64>,
    /// `.set-or-replace` replaces what is derived as well.
    pub replace: bool,
}

/// The tables that derive data from a table of this name, with how.
pub(crate) fn dependents(snapshot: &Snapshot, database: &Database, source: &str) -> Vec<(Arc<Table>, Update)> {
    let mut found = Vec::new();
    for table in database.tables() {
        let Some(policy) = policies::own::<UpdatePolicy>(snapshot, PropertyOwner::Table(table.id())) else { continue };
        for update in policy.0 {
            if update.is_enabled && is_source(&update, source) {
                found.push((Arc::clone(table), update));
            }
        }
    }
    found
}

pub(crate) fn is_source(update: &Update, name: &str) -> bool {
    match update.source_is_wild_card {
        true => matches(&update.source, name),
        false => update.source == name,
    }
}

/// Whether a name fits a pattern with stars.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Whether a table's rows are only passed on to others. Source: retention policy page, a soft-delete period of zero.
pub(crate) fn keeps_nothing(snapshot: &Snapshot, table: TableId) -> bool {
    let policy = policies::own::<RetentionPolicy>(snapshot, PropertyOwner::Table(table));
    policy.is_some_and(|policy| policy.soft_delete_period.0 == 0)
}

/// The commit with what has been derived.
pub(crate) fn with_additions(mut commit: Commit, additions: Vec<Addition>) -> Commit {
    let mut replaced: Vec<TableId> = Vec::new();
    for addition in additions {
        if addition.replace && !replaced.contains(&addition.table) {
            replaced.push(addition.table);
            commit = commit.replace(addition.table);
        }
        let staged = addition.staged.into_iter().map(|staged| match addition.created {
            Some(ticks) => staged.with_created(ticks),
            None => staged,
        });
        commit = commit.add_all(staged, &addition.tags);
    }
    commit
}

impl NewRows {
    /// The rows of staged extents under the name of their table.
    pub(crate) fn of(
        service: &Service,
        database: &Arc<Database>,
        name: &str,
        schema: &TableSchema,
        target: &Target,
        staged: &[StagedExtent],
    ) -> NewRows {
        let (rows, hidden) = service.store().staged_rows(target, staged);
        NewRows {
            database: Arc::clone(database),
            table: target.table(),
            name: name.to_string(),
            schema: schema.clone(),
            rows,
            hidden,
        }
    }
}

impl Ingestion<'_> {
    /// Everything that is derived from new rows, directly and through other tables.
    pub(crate) async fn derive(&self, source: NewRows) -> Result<Vec<Addition>> {
        let chain = vec![source.table];
        self.derived(source, chain).await
    }

    /// `chain` are the tables on the way here: one that comes again ends the way.
    fn derived<'s>(&'s self, source: NewRows, chain: Vec<TableId>) -> BoxFuture<'s, Result<Vec<Addition>>> {
        async move {
            let mut additions = Vec::new();
            for (target, update) in dependents(&self.snapshot, &source.database, &source.name) {
                if chain.contains(&target.id()) {
                    continue;
                }
                match self.branch(&source, &target, &update, &chain).await {
                    Ok(more) => additions.extend(more),
                    Err(error) if update.is_transactional => {
                        let message = format!(
                            "the update policy of table '{}' on table '{}' failed: {}",
                            target.name(),
                            source.name,
                            error.message()
                        );
                        return Err(Error::new(error.fault().clone(), message));
                    }
                    Err(error) => self.note_failure(&target, &update, &error),
                }
            }
            Ok(additions)
        }
        .boxed()
    }

    async fn branch(
        &self,
        source: &NewRows,
        target: &Arc<Table>,
        update: &Update,
        chain: &[TableId],
    ) -> Result<Vec<Addition>> {
        let staged = self.run(source, target, update).await?;
        let mut chain = chain.to_vec();
        chain.push(target.id());
        let rows =
            NewRows::of(self.service, &source.database, target.name(), target.schema(), &target.target(), &staged);
        let nested = match staged.is_empty() && !self.replace {
            true => Vec::new(),
            false => self.derived(rows, chain).await?,
        };
        let (tags, created) = match update.propagate_ingestion_properties {
            true => (self.tags.to_vec(), self.created),
            false => (Vec::new(), None),
        };
        let staged = if keeps_nothing(&self.snapshot, target.id()) { Vec::new() } else { staged };
        let own = Addition { table: target.id(), staged, tags, created, replace: self.replace };
        Ok(std::iter::once(own).chain(nested).collect())
    }

    /// The policy's query over the new rows, written for the target.
    async fn run(&self, source: &NewRows, target: &Table, update: &Update) -> Result<Vec<StagedExtent>> {
        let mut context = self.context.clone();
        context.database = source.database.name().to_string();
        context.parameters.clear();
        context.options = crate::context::RequestOptions::default();
        context.options.set("notruncation", Value::Bool(true));
        let view = view_over(self.service, &self.snapshot, source)?;
        let mut answer = self.service.run_planned(&context, &update.query, &view, self.mark, None).await?;
        if answer.results.len() != 1 {
            return Err(Error::bad_request("the query of an update policy must have one result"));
        }
        let mut result = answer.results.remove(0);
        check_schema(target, &result.schema)?;
        let into = target.target();
        let mut writer = self.service.store().writer_task(&into);
        while let Some(batch) = result.rows.next().await {
            let batch = batch?;
            let batch = arrow::array::RecordBatch::try_new(Arc::clone(into.schema()), batch.columns().to_vec())
                .map_err(|error| Error::internal(error.to_string()))?;
            writer.write(batch).await?;
        }
        Ok(writer.finish().await?)
    }

    /// A failure that stops nothing has an entry of its own in the journal.
    fn note_failure(&self, target: &Table, update: &Update, error: &Error) {
        let context = Context { activity_id: Uuid::new_v4(), ..self.context.clone() };
        let mark = self.service.inner().journal.begin(Sort::Command(UPDATE_POLICY), &context, &update.query);
        mark.note_data(|data| {
            data.kind = UPDATE_POLICY.to_string();
            data.table = target.name().to_string();
        });
        mark.fail(error);
    }
}

/// The kind of such entries.
pub(crate) const UPDATE_POLICY: &str = "UpdatePolicy";

/// A view in which the source has the new rows and no others.
fn view_over(service: &Service, snapshot: &Arc<Snapshot>, source: &NewRows) -> Result<View> {
    let mut view = View::of_server(service, Arc::clone(snapshot), source.database.name())?;
    for name in [source.name.as_str(), SOURCE] {
        let handle = TableHandle {
            database: source.database.name().to_string(),
            name: name.to_string(),
            schema: source.schema.clone(),
            provider: Arc::clone(&source.rows),
            is_filled: true,
        };
        view = view.with_rows(handle, Arc::clone(&source.hidden));
    }
    Ok(view)
}

/// Columns are matched by place, and must have the types of the target's.
fn check_schema(target: &Table, found: &TableSchema) -> Result<()> {
    let types = |schema: &TableSchema| schema.columns.iter().map(|column| column.ty).collect::<Vec<_>>();
    if types(target.schema()) == types(found) {
        return Ok(());
    }
    let text = |schema: &TableSchema| {
        let columns: Vec<String> =
            schema.columns.iter().map(|column| format!("{}:{}", column.name, column.ty.name())).collect();
        columns.join(",")
    };
    Err(Error::bad_request(format!(
        "the query of the update policy gives ({}), which does not match the columns of table '{}': ({})",
        text(found),
        target.name(),
        text(target.schema())
    )))
}

/// The tables and materialized views with an enabled policy of row level security that a policy's query reads, as database and
/// name; `prepare` may propose one.
pub(crate) async fn reads(
    service: &Service,
    context: &Context,
    snapshot: &Arc<Snapshot>,
    database: &Arc<Database>,
    update: &Update,
    prepare: impl Fn(View) -> View,
) -> Vec<(String, String)> {
    let Some(source) = database.tables().find(|table| is_source(update, table.name())) else { return Vec::new() };
    let rows = NewRows::of(service, database, source.name(), source.schema(), &source.target(), &[]);
    let Ok(view) = view_over(service, snapshot, &rows).map(prepare) else { return Vec::new() };
    let context = Context { database: database.name().to_string(), ..context.clone() };
    // A query that no longer works reads nothing, and is asked again when it is altered.
    let _ = service.plan(&context, &update.query, &view, ()).await;
    view.secured()
}

/// Refuses a policy whose sources do not exist or whose queries do not fit its table.
pub(crate) async fn check(
    service: &Service,
    context: &Context,
    mark: &Arc<Mark>,
    snapshot: &Arc<Snapshot>,
    target: &Table,
    policy: &UpdatePolicy,
) -> Result<()> {
    let Some(database) = snapshot.database_by_id(target.database_id()) else { return Ok(()) };
    for update in &policy.0 {
        let mut sources: Vec<&Arc<Table>> = database.tables().filter(|table| is_source(update, table.name())).collect();
        if sources.is_empty() && !update.source_is_wild_card {
            return Err(Error::entity_not_found("Table", &update.source));
        }
        sources.truncate(MOST_CHECKED);
        for source in sources {
            let rows = NewRows::of(service, database, source.name(), source.schema(), &source.target(), &[]);
            let view = view_over(service, snapshot, &rows)?;
            let context = Context { database: database.name().to_string(), ..context.clone() };
            let answer = service.run_planned(&context, &update.query, &view, mark, None).await?;
            // Source: update-policy page, "ManagedIdentity".
            if let Some((_, name)) = view.secured().first() {
                return Err(Error::bad_request(format!(
                    "an update policy cannot read '{name}': it has a row level security policy, which needs a managed \
                     identity, and these are not served"
                )));
            }
            match answer.results.as_slice() {
                [result] => check_schema(target, &result.schema)?,
                _ => return Err(Error::bad_request("the query of an update policy must have one result")),
            }
        }
    }
    Ok(())
}

/// Tables that a pattern of sources is checked with.
const MOST_CHECKED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_sources_has_stars() {
        assert!(matches("SourceTable*", "SourceTable1"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a--b--c"));
        assert!(!matches("a*b*c", "a--c"));
        assert!(!matches("ab*ba", "aba"));
        assert!(!matches("T", "T1"));
    }
}
