//! Materialized views: always as fresh as their source.
//!
//! A view's rows are those of its materialized part, an internal table of partial aggregates, merged with the aggregates of
//! the records that have come since. What is which is told by a cursor in the catalog: a run computes the new records'
//! partial aggregates and commits them together with the new cursor, so each record counts once whatever happens. Runs
//! happen in the background; nothing depends on when.

mod shape;

use std::sync::Arc;

use tidewater_store::{Commit, Database, Snapshot, Table};

pub(crate) use shape::{ViewPlan, bracketed, check, plan};

use crate::context::{Context, MAX_TIMEOUT, now_ticks};
use crate::error::{Error, Result};
use crate::keep;
use crate::policies;
use crate::service::Service;
use crate::stored::{self, StoredQueryResult, StoredView};
use crate::view::View;
use crate::workload;
use crate::workload::capacity::Resource;

/// Internal tables are named so in the texts of views: no user's table can have the name.
pub(crate) const INTERNAL: &str = "$internal:";

/// New records of a source that make a run due at once.
const DUE_ROWS: u64 = 100_000;
/// How long fewer of them wait, in ticks.
const DUE_AGE: i64 = 60 * tidewater_kql::value::timespan::TICKS_PER_SECOND;
/// Appended parts after which a run merges all of them into one.
const MAX_PARTS: usize = 8;
/// Runs that lose against another change of the view before they give up.
const MAX_ATTEMPTS: usize = 3;

/// The name of an internal table in texts.
fn internal(table: tidewater_store::TableId) -> String {
    bracketed(&format!("{INTERNAL}{table}"))
}

/// `let source = its records from the cursor on; lets`.
fn head(view: &StoredView, cursor: i64) -> String {
    let source = internal(view.source);
    let mut text = format!("let {} = {source} | where cursor_after('{cursor}')", bracketed(&view.source_name));
    if let Some(effective) = view.effective {
        let time = tidewater_kql::value::datetime::to_text(effective);
        text.push_str(&format!(" | where ingestion_time() > datetime({time})"));
    }
    format!("{text};\n{}\n", view.plan.lets)
}

/// The partial rows of the internal table that the present query has.
fn parts(snapshot: &Snapshot, view: &StoredView, partial: Option<&tidewater_kql::TableSchema>) -> Option<String> {
    let table = snapshot.table_by_id(view.table?)?;
    let names = table.schema().columns.iter().map(|column| &column.name);
    let names = names.filter(|name| partial.is_none_or(|partial| partial.index_of(name).is_some()));
    let names: Vec<String> = names.map(|name| bracketed(name)).collect();
    Some(format!("({} | project {})", internal(table.id()), names.join(", ")))
}

/// `{ ... }`: the whole view.
pub(crate) fn body(snapshot: &Snapshot, view: &StoredView) -> String {
    let head = head(view, view.cursor);
    let plan = &view.plan;
    match parts(snapshot, view, None) {
        Some(parts) => format!(
            "{{ {head} union {parts}, ({} | {}) | {} | {} }}",
            plan.prefix, plan.partial, plan.merge, plan.finals
        ),
        None => format!("{{ {head} {} | {} }}", plan.prefix, plan.whole),
    }
}

/// `{ ... }`: the materialized part alone.
pub(crate) fn materialized(snapshot: &Snapshot, view: &StoredView) -> String {
    let plan = &view.plan;
    match parts(snapshot, view, None) {
        Some(parts) => format!("{{ {parts} | {} | {} }}", plan.merge, plan.finals),
        None => format!("{{ {} {} | {} }}", head(view, i64::MAX), plan.prefix, plan.whole),
    }
}

/// The source's extents that are not materialized yet.
pub(crate) fn pending<'a>(
    source: &'a Table,
    view: &StoredView,
) -> impl Iterator<Item = &'a Arc<tidewater_store::Extent>> {
    let cursor = view.cursor;
    source.extents().iter().filter(move |extent| extent.ordinal() >= cursor)
}

impl Service {
    /// Work that nobody asks for, every few seconds: views that have fallen behind, results that have expired.
    pub async fn upkeep(&self) {
        self.sweep_job_rows().await;
        policies::remove_what_is_old(self.store()).await;
        crate::command::dropped::remove_old(self.store()).await;
        self.run_exports().await;
        let snapshot = self.store().snapshot();
        let now = now_ticks();
        for database in snapshot.databases() {
            for (name, result) in stored::all::<StoredQueryResult>(&snapshot, database) {
                if result.expires <= now
                    && let Ok(edit) = stored::edit(database, &name, Some(&result), None)
                {
                    // Somebody may have replaced it meanwhile, which is as good.
                    let _ = self.store().commit(Commit::new().drop_table(result.table).edit(edit)).await;
                }
            }
            for (name, view) in stored::all::<StoredView>(&snapshot, database) {
                let Some(source) = snapshot.table_by_id(view.source) else { continue };
                let rows: u64 = pending(source, &view).map(|extent| extent.rows()).sum();
                let is_due = rows >= DUE_ROWS || rows > 0 && now.saturating_sub(view.last_run) >= DUE_AGE;
                if view.enabled
                    && view.plan.mergeable
                    && is_due
                    && self.store().snapshot().database_by_id(database.id()).is_some()
                {
                    self.materialize(database, &name).await;
                }
            }
        }
    }

    /// Brings a view's materialized part up to date. A failure is noted in the view, and disables it when it would
    /// happen again.
    pub(crate) async fn materialize(&self, database: &Database, name: &str) {
        for _ in 0..MAX_ATTEMPTS {
            match self.materialize_once(database, name).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, view = name, "a materialized view could not be brought up to date");
                    self.note_failure(database, name, &error).await;
                    return;
                }
            }
        }
    }

    /// Brings a view up to date now; it also happens by itself.
    pub async fn materialize_view(&self, database: &str, name: &str) -> Result<()> {
        let snapshot = self.store().snapshot();
        let database = snapshot.database(database).ok_or_else(|| Error::database_not_found(database))?;
        stored::found::<StoredView>(&snapshot, database, name)?;
        for _ in 0..MAX_ATTEMPTS {
            if self.materialize_once(database, name).await? {
                break;
            }
        }
        Ok(())
    }

    async fn note_failure(&self, database: &Database, name: &str, error: &Error) {
        let snapshot = self.store().snapshot();
        let Some(old) = stored::find::<StoredView>(&snapshot, database, name) else { return };
        let new = StoredView {
            failure: Some(error.message().to_string()),
            failed: now_ticks(),
            enabled: old.enabled && !error.is_permanent(),
            last_run: now_ticks(),
            ..old.clone()
        };
        if let Ok(edit) = stored::edit(database, name, Some(&old), Some(&new)) {
            let _ = self.store().edit_properties(vec![edit]).await;
        }
    }

    /// One run; `false` when the view was changed while it ran.
    pub(crate) async fn materialize_once(&self, database: &Database, name: &str) -> Result<bool> {
        let snapshot = self.store().snapshot();
        let Some(old) = stored::find::<StoredView>(&snapshot, database, name) else { return Ok(true) };
        let Some(source) = snapshot.table_by_id(old.source) else { return Ok(true) };
        if !old.plan.mergeable || pending(source, &old).next().is_none() {
            return Ok(true);
        }
        let newest = pending(source, &old).map(|extent| extent.ingested()).max().unwrap_or_default();
        let mut context = Context::new(database.name());
        context.deadline = context.started + MAX_TIMEOUT;
        context.cancel = self.stop_token().child_token();
        context.group = self.inner().workloads.get().known(workload::VIEWS);
        context.usage.set_workload_group(workload::VIEWS);
        let _counted = self.inner().consumed.begin(Resource::MaterializedView);
        let catalog = View::of_server(self, Arc::clone(&snapshot), database.name())?;
        let plan = &old.plan;
        let delta = format!("{} {} | {}", head(&old, old.cursor), plan.prefix, plan.partial);
        let running = keep::plan(self, &context, &catalog, &delta).await?;
        let schema = running.schema().clone();
        let mut commit = Commit::new();
        let table = match old.table.and_then(|table| snapshot.table_by_id(table)) {
            None => {
                let made = keep::new_table(self, database.id(), &schema)?;
                let kept = keep::write(self, &context, running, &made.target(), 0).await?;
                let id = made.id();
                commit = commit.create(made).add_all(kept.staged, &[]);
                id
            }
            Some(known) => {
                let appends = known.schema() == &schema && known.extents().len() < MAX_PARTS;
                if !appends {
                    drop(running);
                    let parts = parts(&snapshot, &old, Some(&schema)).unwrap_or_default();
                    let names: Vec<String> = schema.columns.iter().map(|own| bracketed(&own.name)).collect();
                    let text = format!(
                        "{} union {parts}, ({} | {}) | {} | project {}",
                        head(&old, old.cursor),
                        plan.prefix,
                        plan.partial,
                        plan.merge,
                        names.join(", ")
                    );
                    let running = keep::plan(self, &context, &catalog, &text).await?;
                    let made = keep::new_table(self, database.id(), running.schema())?;
                    let kept = keep::write(self, &context, running, &made.target(), 0).await?;
                    let id = made.id();
                    commit = commit.create(made).add_all(kept.staged, &[]).drop_table(known.id());
                    return self.committed(database, name, &old, commit, id, newest, &snapshot).await;
                }
                let target = known.target();
                let kept = keep::write(self, &context, running, &target, 0).await?;
                commit = commit.add_all(kept.staged, &[]);
                known.id()
            }
        };
        self.committed(database, name, &old, commit, table, newest, &snapshot).await
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one commit")]
    async fn committed(
        &self,
        database: &Database,
        name: &str,
        old: &StoredView,
        commit: Commit,
        table: tidewater_store::TableId,
        newest: i64,
        snapshot: &Snapshot,
    ) -> Result<bool> {
        let new = StoredView {
            table: Some(table),
            cursor: snapshot.cursor(),
            last_run: now_ticks(),
            materialized_to: newest,
            failure: None,
            ..old.clone()
        };
        let commit = commit.edit(stored::edit(database, name, Some(old), Some(&new))?);
        match self.store().commit(commit).await {
            Ok(_) => Ok(true),
            // The view was changed, or dropped, while this ran.
            Err(tidewater_store::Error::Invalid(_) | tidewater_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
