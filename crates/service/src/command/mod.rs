//! Management commands: a file per noun. Each gives the columns that the reference documents.
//!
//! A command with a query pipe runs first; its rows then are a table that the pipe reads.

mod aspects;
mod by_name;
mod caches;
mod cluster;
mod columns;
mod data;
mod databases;
pub(crate) mod dropped;
mod entities;
mod entity_groups;
mod events;
mod exports;
mod extents;
mod external_tables;
mod functions;
mod graphs;
mod journals;
mod managed;
mod mappings;
mod materialized_views;
pub(crate) mod plugins;
mod policies;
mod queued;
mod records;
mod row_security;
mod running;
mod schema;
mod scripts;
mod security;
mod stored_results;
mod tables;
mod words;
mod workloads;

use std::sync::Arc;

use datafusion::datasource::MemTable;
use tidewater_kql::command::{Command, EntityCommand, Inner, PolicyKind};
use tidewater_kql::parser::parse_command;
use tidewater_plan::TableHandle;
use tidewater_store::{Database, Snapshot, Table};

use crate::answer::{CommandAnswer, ResultTable};
use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::journal::{Mark, Sort};
use crate::library;
use crate::rights::Access;
use crate::service::Service;
use crate::view::View;
use crate::workload::capacity::Resource;
use crate::workload::gate::Asked;

pub use by_name::{is_served as is_served_by_name, refusal as refusal_by_name};

/// A command on its way: who asks, and the catalog as it was when they asked.
pub(crate) struct Request<'a> {
    pub service: &'a Service,
    pub context: &'a Context,
    pub snapshot: Arc<Snapshot>,
    /// What the caller may do.
    pub access: Access,
    pub text: &'a str,
    pub mark: &'a Arc<Mark>,
}

impl Request<'_> {
    /// The request's database.
    pub fn database(&self) -> Result<&Arc<Database>> {
        self.named_database(&self.context.database)
    }

    /// A database by name, in any case.
    pub fn named_database(&self, name: &str) -> Result<&Arc<Database>> {
        self.snapshot.database(name).ok_or_else(|| Error::database_not_found(name))
    }

    /// A table of the request's database.
    pub fn table(&self, name: &str) -> Result<&Arc<Table>> {
        self.database()?.table(name).ok_or_else(|| Error::entity_not_found("Table", name))
    }

    /// A table by its name in the request's database, or as `database.table`.
    pub fn table_at(&self, path: &str) -> Result<(&Arc<Database>, &Arc<Table>)> {
        table_at(&self.snapshot, &self.context.database, path)
    }

    /// The databases that the caller may know of.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.snapshot.databases().filter(|database| self.access.sees(database))
    }

    /// The tables of a database that the caller may know of.
    pub fn tables<'b>(&'b self, database: &'b Arc<Database>) -> impl Iterator<Item = &'b Arc<Table>> {
        database.tables().filter(|table| self.access.may_show_table(database, table))
    }

    /// The same request over the catalog as it is now, after a change.
    pub fn refreshed(&self) -> Request<'_> {
        let snapshot = self.service.store().snapshot();
        Request { access: self.access.over(Arc::clone(&snapshot)), snapshot, ..*self }
    }
}

/// A table by its name in a database, or as `database.table`.
pub(crate) fn table_at<'a>(
    snapshot: &'a Snapshot,
    current: &str,
    path: &str,
) -> Result<(&'a Arc<Database>, &'a Arc<Table>)> {
    if let Some(database) = snapshot.database(current)
        && let Some(table) = database.table(path)
    {
        return Ok((database, table));
    }
    // A name may have dots of its own, so each of them may be the one between database and table.
    for (at, _) in path.match_indices('.') {
        if let Some(database) = snapshot.database(&path[..at])
            && let Some(table) = database.table(&path[at + 1..])
        {
            return Ok((database, table));
        }
    }
    if snapshot.database(current).is_none() {
        return Err(Error::database_not_found(current));
    }
    Err(Error::entity_not_found("Table", path))
}

impl Service {
    /// Runs a management command.
    pub async fn command(&self, mut context: Context, text: &str) -> Result<CommandAnswer> {
        let parsed = parse_command(text);
        if !parsed.diagnostics.is_empty() {
            return Err(Error::of_diagnostics(text, parsed.diagnostics));
        }
        let mark = self.inner().journal.begin(Sort::Command(kind(&parsed.tree)), &context, text);
        let outcome = self.run_command(&mut context, text, parsed.tree, &mark).await;
        outcome.map_err(|error| {
            let error = mark.explain(error);
            mark.fail(&error);
            error
        })
    }

    async fn run_command(
        &self,
        context: &mut Context,
        text: &str,
        command: Command,
        mark: &Arc<Mark>,
    ) -> Result<CommandAnswer> {
        if self.is_stopping() {
            return Err(Error::new(Fault::Stopping, "the server is stopping"));
        }
        if !is_relief(&command) {
            let (kind, asked) = (kind(&command), Asked::Command(kind(&command)));
            mark.keep(self.admit(context, text, asked, Some(mark)).await?);
            if let Some(resource) = Resource::of_command(kind) {
                let inner = self.inner();
                mark.keep(inner.consumed.take(resource, &inner.workloads.get().capacity, asked)?);
            }
        }
        self.execute(context, text, command, mark).await
    }

    /// Runs a command of another one, which has been let in: under the same rules, with an entry of its own in the journal.
    pub(crate) async fn command_within(&self, context: &Context, text: &str) -> Result<CommandAnswer> {
        let parsed = parse_command(text);
        if !parsed.diagnostics.is_empty() {
            return Err(Error::of_diagnostics(text, parsed.diagnostics));
        }
        let mark = self.inner().journal.begin(Sort::Command(kind(&parsed.tree)), context, text);
        let outcome = self.execute(context, text, parsed.tree, &mark).await;
        outcome.inspect_err(|error| mark.fail(error))
    }

    /// Runs a command that has been let in.
    async fn execute(
        &self,
        context: &Context,
        text: &str,
        command: Command,
        mark: &Arc<Mark>,
    ) -> Result<CommandAnswer> {
        if context.readonly && is_write(&command) {
            return Err(Error::read_only("the command"));
        }
        let snapshot = self.inner().store.snapshot();
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        access.require(&command, &snapshot, &context.database)?;
        if is_write(&command) {
            library::guard(&command, &snapshot, &context.database)?;
        }
        let request = Request { service: self, context, snapshot, access, text, mark };
        if is_write(&command) {
            mark.announce();
        }
        match command {
            Command::Piped { command, pipeline_span, operators: _ } => {
                if is_write(&command) {
                    return Err(Error::bad_request("only commands that show something can be followed by a query"));
                }
                let table = run(&request, *command).await?;
                let view = view_of(&request, table, PIPED_TABLE).await?;
                let text = piped_text(text, pipeline_span.start as usize);
                let answer = self.run_planned(context, &text, &view, mark, None).await?;
                Ok(CommandAnswer::Query(answer))
            }
            Command::WithQuery { command, query_span, query: _ } => {
                if is_write(&command) {
                    return Err(Error::bad_request("only commands that show something can be followed by a query"));
                }
                let table = run(&request, *command).await?;
                let view = view_of(&request, table, RESULTS_TABLE).await?;
                let text = only(text, query_span);
                let answer = self.run_planned(context, &text, &view, mark, None).await?;
                Ok(CommandAnswer::Query(answer))
            }
            command => {
                let changes = events::changes(&command);
                let table = run(&request, command).await?;
                events::tell(&request, &request.snapshot, changes);
                Ok(CommandAnswer::Table(table))
            }
        }
    }
}

/// The rows of a query or a showing command inside another command.
pub(crate) async fn inner_rows(request: &Request<'_>, inner: Inner) -> Result<ResultTable> {
    let text = only(request.text, inner);
    let mut context = request.context.clone();
    // The rows go to a command, not to a client.
    context.options.set("notruncation", serde_json::Value::Bool(true));
    if !text.trim_start().starts_with('.') {
        let view = View::new(request.service, &context, Arc::clone(&request.snapshot), &context.database)?;
        let answer = request.service.run_planned(&context, &text, &view, request.mark, None).await?;
        return one_result(answer.results);
    }
    let text = inner.text(request.text);
    let parsed = parse_command(text);
    if is_write(&parsed.tree) {
        return Err(Error::bad_request("only commands that show something can be asked inside another command"));
    }
    // Boxed, since a command may hold a command that holds a command.
    match Box::pin(request.service.command_within(&context, text)).await? {
        CommandAnswer::Table(table) => Ok(table),
        CommandAnswer::Query(answer) => one_result(answer.results),
    }
}

fn one_result(mut results: Vec<ResultTable>) -> Result<ResultTable> {
    match (results.pop(), results.len()) {
        (Some(result), 0) => Ok(result),
        (_, others) => Err(Error::bad_request(format!("the query must have one result, found {}", others + 1))),
    }
}

/// The name under which a pipe reads the rows of its command: no table of a user can have it.
const PIPED_TABLE: &str = ".";
/// The name that `.show ...; $command_results | ...` gives them.
const RESULTS_TABLE: &str = "$command_results";

/// A view that shows a command's rows as a table beside all others.
async fn view_of(request: &Request<'_>, table: ResultTable, name: &str) -> Result<View> {
    let schema = table.schema.clone();
    let batches = table.collect().await?;
    let provider = MemTable::try_new(schema.arrow(), vec![batches]).map_err(Error::from)?;
    // `.show databases` may be asked with a database that is not there (pykusto sends none).
    let database = match request.database() {
        Ok(database) => database.name().to_string(),
        Err(_) => crate::context::DEFAULT_DATABASE.to_string(),
    };
    let view = View::new(request.service, request.context, Arc::clone(&request.snapshot), &database)?;
    Ok(view.with_table(TableHandle {
        database,
        name: name.to_string(),
        schema,
        provider: Arc::new(provider),
        is_filled: false,
    }))
}

/// The query that a pipe is: its text with the command's replaced, byte for byte, so that the places of
/// mistakes stay right.
fn piped_text(text: &str, start: usize) -> String {
    let (command, pipe) = text.split_at(start);
    let mut query = format!("['{PIPED_TABLE}']");
    query.extend(command.bytes().skip(query.len()).map(blank));
    if !pipe.trim_start().starts_with('|') {
        query.push_str("| ");
    }
    query.push_str(pipe);
    query
}

/// The text under a span, with blanks for what stands before it.
pub(crate) fn only(text: &str, span: tidewater_kql::Span) -> String {
    let (start, end) = (span.start as usize, span.end as usize);
    let mut query: String = text.as_bytes()[..start].iter().map(|byte| blank(*byte)).collect();
    query.push_str(&text[start..end]);
    query
}

fn blank(byte: u8) -> char {
    if byte == b'\n' { '\n' } else { ' ' }
}

/// The name of a command in the journals.
fn kind(command: &Command) -> &'static str {
    match command {
        Command::Piped { command, .. } | Command::WithQuery { command, .. } => kind(command),
        Command::CreateTable { merge: true, .. } => "TableCreateMerge",
        Command::CreateTable { .. } | Command::CreateTableBasedOn { .. } => "TableCreate",
        Command::CreateTables { .. } => "TablesCreate",
        Command::AlterTable { .. } => "TableAlter",
        Command::AlterTableDocString { .. } => "TableAlterDocString",
        Command::AlterTableFolder { .. } => "TableAlterFolder",
        Command::DropTable { .. } => "TableDrop",
        Command::DropTables { .. } => "TablesDrop",
        Command::RenameTable { .. } | Command::RenameTables { .. } => "TableRename",
        Command::ClearTableData { .. } => "TableClearData",
        Command::CreateDatabase { .. } => "DatabaseCreate",
        Command::DropDatabase { .. } => "DatabaseDrop",
        Command::IngestInline { .. } => "DataIngestInline",
        Command::IngestSources { .. } => "DataIngestPull",
        Command::IngestFromQuery { mode, .. } => data::operation(*mode),
        Command::CreateFunction { .. } => "FunctionCreateOrAlter",
        Command::DropFunction { .. } => "FunctionDrop",
        Command::DropFunctions { .. } => "FunctionsDrop",
        Command::CancelQuery { .. } => "QueryCancel",
        Command::CancelOperation { .. } => "OperationCancel",
        Command::ShowTables { .. } => "TablesShow",
        Command::ShowTable { .. } => "TableShow",
        Command::ShowDatabases { .. } => "DatabasesShow",
        Command::ShowVersion => "VersionShow",
        Command::ShowQueries { .. } => "QueriesShow",
        Command::Entity(entity) => entity.journal_name(),
        Command::Policy(policy) => policy.journal_name(),
        Command::Running(running) => running.journal_name(),
        Command::ShowDatabase { .. } => "DatabaseShow",
        Command::ShowDatabasesSchema { .. } => "DatabasesSchemaShow",
        Command::ShowDatabasesEntities { .. } => "DatabasesEntitiesShow",
        Command::ShowDatabaseSchema { .. } => "DatabaseSchemaShow",
        Command::ShowSchema { .. } => "SchemaShow",
        Command::ShowFunctions => "FunctionsShow",
        Command::ShowFunction { .. } => "FunctionShow",
        Command::ShowCluster => "ClusterShow",
        Command::ShowOperations { .. } => "OperationsShow",
        Command::ShowCommands => "CommandsShow",
        Command::ShowExtents { .. } => "ExtentsShow",
        Command::Management(command) => command.journal_name(),
        Command::Security(security) => security.journal_name(),
        _ => "Show",
    }
}

/// Whether a command looks at what runs, ends it or gives it more room. These are let in always: a server that has no room
/// left can be helped.
fn is_relief(command: &Command) -> bool {
    match command {
        Command::Piped { command, .. } | Command::WithQuery { command, .. } => is_relief(command),
        Command::ShowQueries { .. }
        | Command::ShowCommands
        | Command::ShowOperations { .. }
        | Command::CancelQuery { .. }
        | Command::CancelOperation { .. }
        | Command::Running(_) => true,
        Command::Policy(policy) => {
            matches!(policy.kind, PolicyKind::Capacity | PolicyKind::RequestClassification)
        }
        _ => false,
    }
}

fn is_write(command: &Command) -> bool {
    match command {
        Command::Piped { command, .. } | Command::WithQuery { command, .. } => is_write(command),
        Command::CreateTable { .. }
        | Command::CreateTables { .. }
        | Command::CreateTableBasedOn { .. }
        | Command::AlterTable { .. }
        | Command::AlterTableDocString { .. }
        | Command::AlterTableFolder { .. }
        | Command::DropTable { .. }
        | Command::DropTables { .. }
        | Command::RenameTable { .. }
        | Command::RenameTables { .. }
        | Command::ClearTableData { .. }
        | Command::CreateDatabase { .. }
        | Command::DropDatabase { .. }
        | Command::IngestInline { .. }
        | Command::IngestSources { .. }
        | Command::IngestFromQuery { .. }
        | Command::CreateFunction { .. }
        | Command::DropFunction { .. }
        | Command::DropFunctions { .. }
        | Command::CancelQuery { .. }
        | Command::CancelOperation { .. } => true,
        Command::Entity(entity) => entity.is_write(),
        Command::Policy(policy) => policy.is_write(),
        Command::Running(running) => running.is_write(),
        Command::Management(command) => command.is_write(),
        Command::Security(security) => security.is_write(),
        Command::Other { name } => !name.starts_with("show") && name != "list blobs",
        _ => false,
    }
}

/// Runs a command that has no pipe.
async fn run(request: &Request<'_>, command: Command) -> Result<ResultTable> {
    match command {
        Command::CreateTable { table, merge, if_not_exists, properties } => {
            tables::create(request, table, merge, if_not_exists, &properties).await
        }
        Command::CreateTables { tables, merge, properties } => {
            tables::create_many(request, tables, merge, &properties).await
        }
        Command::CreateTableBasedOn { name, base, if_not_exists, properties } => {
            tables::create_based_on(request, &name.text, &base.text, if_not_exists, &properties).await
        }
        Command::AlterTable { table, merge, properties } => tables::alter(request, table, merge, &properties).await,
        Command::AlterTableDocString { table, text } => tables::set_docstring(request, &table.text, text).await,
        Command::AlterTableFolder { table, text } => tables::set_folder(request, &table.text, text).await,
        Command::DropTable { table, if_exists } => tables::drop(request, &[table], if_exists).await,
        Command::DropTables { tables, if_exists } => tables::drop(request, &tables, if_exists).await,
        Command::RenameTable { from, to } => tables::rename(request, vec![(to, from)]).await,
        Command::RenameTables { renames } => tables::rename(request, renames).await,
        Command::ShowTables { tables, details } => tables::show_all(request, &tables, details),
        Command::ShowTable { table, what } => tables::show(request, &table.text, what),
        Command::ClearTableData { table } => tables::clear(request, &table.text).await,

        Command::ShowDatabases { details } => databases::show_all(request, details),
        Command::ShowDatabase { database, details } => databases::show(request, database.as_ref(), details),
        Command::CreateDatabase { database, persist, if_not_exists, .. } => {
            databases::create(request, &database.text, &persist, if_not_exists).await
        }
        Command::DropDatabase { database, if_exists } => databases::drop(request, &database.text, if_exists).await,
        Command::ShowDatabasesEntities { databases, .. } => entities::show(request, &databases),
        Command::ShowDatabasesSchema { databases, as_json, .. } => schema::databases(request, &databases, as_json),
        Command::ShowDatabaseSchema { database, form, if_later_than, .. } => {
            schema::database(request, database.as_ref(), form, if_later_than.as_deref())
        }
        Command::ShowSchema { as_json } => schema::databases(request, &[], as_json),

        Command::IngestInline { table, properties, data, .. } => {
            data::inline(request, &table.text, &properties, data).await
        }
        Command::IngestSources { is_async, table, sources, properties } => {
            data::sources(request, &table.text, sources, &properties, is_async).await
        }
        Command::IngestFromQuery { mode, is_async, table, properties, query_span, .. } => {
            data::from_query(request, mode, &table.text, &properties, query_span, is_async).await
        }

        Command::CreateFunction { mode, if_not_exists, properties, function } => {
            functions::create(request, mode, if_not_exists, &properties, function).await
        }
        Command::DropFunction { function, if_exists } => functions::drop_one(request, &function.text, if_exists).await,
        Command::DropFunctions { functions, if_exists } => functions::drop_many(request, &functions, if_exists).await,
        Command::ShowFunctions => functions::show_all(request),
        Command::ShowFunction { function, schema_as_json } => {
            functions::show(request, &function.text, schema_as_json).await
        }

        Command::ShowVersion => cluster::version(request),
        Command::ShowCluster => cluster::nodes(request),
        Command::Entity(entity) => run_entity(request, *entity).await,
        Command::Policy(policy) => policies::run(request, *policy).await,
        Command::Running(command) => running::run(request, *command).await,
        Command::Management(command) => managed::run(request, *command).await,
        Command::Security(command) => security::run(request, *command).await,
        Command::ShowExtents { scope, ids, tags, hot } => tables::extents(request, scope, &ids, &tags, hot),
        Command::ShowQueries { running, by_user } => journals::queries(request, running, by_user.as_deref()).await,
        Command::ShowCommands => journals::commands(request).await,
        Command::ShowOperations { ids } => journals::operations(request, &ids).await,
        Command::CancelQuery { client_request_id, properties } => {
            journals::cancel_query(request, &client_request_id, &properties)
        }
        Command::CancelOperation { id, properties } => journals::cancel_operation(request, &id, &properties).await,

        Command::GetKustoIdentityToken => request.service.identity_token(request.context, &request.access),
        Command::GetIngestionResources => request.service.ingestion_resources(request.context, &request.access),
        Command::ShowExportContainers => request.service.export_containers(request.context, &request.access),
        Command::Other { name } => by_name::run(request, &name).await,
        Command::Piped { .. } | Command::WithQuery { .. } | Command::Error => {
            Err(Error::new(Fault::BadRequest, "the command is not valid"))
        }
    }
}

/// Runs a command about an entity beside tables.
async fn run_entity(request: &Request<'_>, command: EntityCommand) -> Result<ResultTable> {
    match command {
        EntityCommand::ExternalTable(command) => external_tables::run(request, command).await,
        EntityCommand::EntityGroup(command) => entity_groups::run(request, command).await,
        EntityCommand::AlterFunctionText { function, which, text } => {
            functions::alter_text(request, &function.text, which, text).await
        }
        EntityCommand::MaterializedView(command) => materialized_views::run(request, command).await,
        EntityCommand::StoredResult(command) => stored_results::run(request, command).await,
        EntityCommand::Graph(command) => graphs::run(request, command).await,
    }
}
