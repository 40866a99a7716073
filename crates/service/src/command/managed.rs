//! Commands about mappings, extents, records, columns, databases, scripts, plugins and exports, each to its own file.

use tidewater_kql::command::ManagementCommand as M;

use super::{Request, aspects, columns, data, dropped, exports, extents, mappings, plugins, records, scripts};
use crate::answer::ResultTable;
use crate::error::{Error, Result};

/// Runs one of these commands.
pub async fn run(request: &Request<'_>, command: M) -> Result<ResultTable> {
    match command {
        M::PutMapping { mode, owner, kind, mapping, text, properties } => {
            mappings::put(request, mode, &owner, &kind, &mapping, &text, &properties).await
        }
        M::ShowMappings { owner, kind, mapping } => {
            mappings::show(request, &owner, kind.as_deref(), mapping.as_deref())
        }
        M::DropMapping { owner, kind, mapping } => mappings::drop(request, &owner, &kind, &mapping).await,

        M::MoveExtents { is_async, to, chosen, properties } => {
            later(request, is_async, extents::relocate(request, &to, &chosen, &properties).await).await
        }
        M::ReplaceExtents { is_async, table, drop, add, properties } => {
            later(request, is_async, extents::replace(request, &table, drop, add, &properties).await).await
        }
        M::DropExtents { pretend, chosen, trim, limit } => extents::drop(request, pretend, &chosen, trim, limit).await,
        M::ExtentTags { is_async, edit, table, tags, properties, query } => {
            later(request, is_async, extents::tag(request, edit, &table, &tags, &properties, query).await).await
        }
        M::MergeExtents { is_async, dry_run, table, ids } => {
            later(request, is_async, extents::merge(request, dry_run, &table, &ids).await).await
        }
        M::ShowExtentStatistics { database, what } => extents::statistics(request, database.as_ref(), what),

        M::DeleteRecords { is_async, is_view, table, properties, query } => {
            later(request, is_async, records::delete(request, is_view, &table, &properties, query).await).await
        }
        M::UpdateRecords { is_async, table, delete, append, properties, query } => {
            later(request, is_async, records::update(request, &table, &delete, &append, &properties, query).await).await
        }
        M::Purge { is_view, table, database, properties, predicate } => {
            records::purge(request, is_view, &table, &database, &properties, predicate).await
        }
        M::ShowPurges { id, from, to, database } => {
            records::show_purges(request, id.as_deref(), from.as_deref(), to.as_deref(), database.as_ref())
        }
        M::CancelPurges { id, database } => records::cancel_purges(request, id.as_deref(), database.as_ref()),
        M::UndoDropTable { table, new_name, version } => {
            dropped::undo(request, &table, new_name.as_ref(), &version).await
        }

        M::RenameColumns { renames } => columns::rename(request, renames).await,
        M::AlterColumnType { column, ty } => columns::retype(request, &column, ty).await,
        M::DropColumn { column, if_exists } => columns::drop(request, &column, if_exists).await,
        M::DropColumns { table, columns } => columns::drop_many(request, &table, &columns).await,
        M::ColumnDocstrings { table, merge, texts } => columns::describe(request, &table, merge, &texts).await,
        M::ShowDataStatistics { table, properties } => columns::statistics(request, &table, &properties).await,

        M::PrettyName { database, text } => aspects::set_pretty_name(request, database.as_ref(), text).await,
        M::ShowDatabases { databases, aspect } => aspects::show(request, &databases, aspect).await,
        M::ShowDatabaseEntity { database, entity } => super::entities::show_one(request, &database, &entity),

        M::ExecuteScript { is_cluster: false, properties, script } => {
            scripts::execute(request, &properties, script).await
        }
        M::ExecuteScript { .. } => Err(Error::not_served("the command '.execute cluster script'")),
        M::ShowDiagnostics => aspects::diagnostics(request),
        M::ShowClusterDetails => super::cluster::details(request),
        M::ShowPlugins => plugins::show(request),
        M::EnablePlugin { plugin, enable } => plugins::enable(request, &plugin, enable).await,

        M::Export { is_async, compressed, format, uris, properties, query } => {
            exports::to_storage(request, is_async, compressed, &format, &uris, &properties, query).await
        }
        M::ExportToTable { is_async, table, properties, query } => {
            exports::to_table(request, is_async, &table, &properties, query).await
        }
        M::PutContinuousExport { name, over, table, properties, query } => {
            exports::put_continuous(request, &name, over.as_deref(), &table, &properties, query).await
        }
        M::ShowContinuousExports { name, what } => exports::show_continuous(request, name.as_ref(), what),
        M::DropContinuousExport { name } => exports::drop_continuous(request, &name).await,
        M::EnableContinuousExport { name, enable } => exports::enable_continuous(request, &name, enable).await,
    }
}

/// The answer of an `async` command, whose work is done when its id is given out: its state tells how it went.
async fn later(request: &Request<'_>, is_async: bool, outcome: Result<ResultTable>) -> Result<ResultTable> {
    match is_async {
        true => data::in_background(request, async move { outcome }).await,
        false => outcome,
    }
}
