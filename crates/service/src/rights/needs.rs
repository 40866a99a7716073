//! From commands to the rights they need: the one place that says so.
//!
//! [`needs`] has an arm for every command there is, and none for "the others": a new command does not compile before
//! somebody has looked up its rights. Source: the "Permissions" section of each command's page; where a page has none,
//! the rule of its neighbours.

use std::sync::Arc;

use tidewater_kql::ast::Name;
use tidewater_kql::command::{
    Command, DatabaseChoice, EntityCommand, EntityGroupCommand, ExtentChoice, ExtentScope, ExternalTableCommand,
    FunctionMode, GraphCommand, JournalScope, ManagementCommand, MappingOwner, MaterializedViewCommand, PolicyCommand,
    PolicyKind, PolicyTarget, PolicyVerb, PutMode, QueryIngestion, RunningCommand, SecurityCommand, SecurityScope,
    ShowContinuousExport, StoredResultCommand, property_flag,
};
use tidewater_store::{Database, Snapshot};

use super::Access;
use super::roles::Named;
use crate::command::table_at;
use crate::error::{Error, Result};

/// A right on the request's database, or on one that the command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseRight {
    /// Has any role in it.
    See,
    /// User, viewer or monitor.
    Show,
    /// User or viewer.
    Query,
    /// User: makes tables and functions.
    Create,
    /// Ingestor of all its tables.
    Ingest,
    /// Admin or monitor.
    Monitor,
    /// Admin.
    Admin,
}

/// A right on a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableRight {
    /// May know its name and columns.
    Show,
    /// Ingestor.
    Ingest,
    /// Admin.
    Admin,
}

/// What a command needs. A thing that is not there is the command's to complain about, to whoever may look around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// AllDatabasesAdmin.
    ClusterAdmin,
    /// AllDatabasesMonitor.
    ClusterMonitor,
    /// A right on a database; no name is the request's.
    Database(DatabaseRight, Option<String>),
    /// A right on a table.
    Table(TableRight, String),
    /// A right on a table of the request's database, or on `database.table`.
    TableAt(TableRight, String),
    /// The same of the table of a column: `table.column`, `database.table.column`.
    ColumnAt(TableRight, String),
    /// Administers the entity of this name in the request's database, or of `database.name`; or has this right on its
    /// database.
    NamedAt(Named, String, Option<DatabaseRight>),
    /// A right on a table if there is one of this name, else on the database.
    TableOr(TableRight, String, DatabaseRight),
    /// Administers the entity of this name.
    Named(Named, String),
    /// Administers the entity of this name if there is one, else a right on the database.
    NamedOr(Named, String, DatabaseRight),
}

fn database(right: DatabaseRight) -> Vec<Need> {
    vec![Need::Database(right, None)]
}

fn in_database(right: DatabaseRight, name: Option<&Name>) -> Vec<Need> {
    vec![Need::Database(right, name.map(|name| name.text.clone()))]
}

fn in_databases(right: DatabaseRight, names: &[Name]) -> Vec<Need> {
    names.iter().map(|name| Need::Database(right, Some(name.text.clone()))).collect()
}

fn table(right: TableRight, name: &Name) -> Vec<Need> {
    vec![Need::Table(right, name.text.clone())]
}

fn tables<'a>(right: TableRight, names: impl IntoIterator<Item = &'a Name>) -> Vec<Need> {
    names.into_iter().map(|name| Need::Table(right, name.text.clone())).collect()
}

fn named(kind: Named, name: &Name) -> Vec<Need> {
    vec![Need::Named(kind, name.text.clone())]
}

fn table_or(right: TableRight, name: &Name, other: DatabaseRight) -> Need {
    Need::TableOr(right, name.text.clone(), other)
}

/// What a command needs; nothing for what anybody may.
pub fn needs(command: &Command) -> Vec<Need> {
    use DatabaseRight as D;
    use TableRight as T;
    match command {
        // Tables. Source: create-table, create-merge-table, alter-table, drop-table, rename-table pages and their kin.
        Command::CreateTable { table, merge: true, .. } => vec![table_or(T::Admin, &table.name, D::Create)],
        Command::CreateTable { .. } => database(D::Create),
        Command::CreateTables { tables, merge: true, .. } => {
            tables.iter().map(|table| table_or(T::Admin, &table.name, D::Create)).collect()
        }
        Command::CreateTables { .. } => database(D::Create),
        Command::CreateTableBasedOn { .. } => database(D::Admin),
        Command::AlterTable { table: definition, .. } => table(T::Admin, &definition.name),
        Command::AlterTableDocString { table: name, .. } | Command::AlterTableFolder { table: name, .. } => {
            table(T::Admin, name)
        }
        Command::DropTable { table: name, .. } => table(T::Admin, name),
        Command::DropTables { tables: names, .. } => tables(T::Admin, names),
        Command::RenameTable { from, .. } => table(T::Admin, from),
        Command::RenameTables { renames } => tables(T::Admin, renames.iter().map(|(_, old)| old)),
        Command::ClearTableData { table: name } => table(T::Admin, name),
        Command::ShowTables { tables: names, .. } => match names.is_empty() {
            true => database(D::Show),
            false => tables(T::Show, names),
        },
        Command::ShowTable { table: name, .. } => table(T::Show, name),

        // Databases. The lists show what the caller may see. Source: show-databases, show-database, show-schema-database.
        Command::ShowDatabases { .. } => Vec::new(),
        Command::ShowDatabase { database, .. } | Command::ShowDatabaseSchema { database, .. } => {
            in_database(D::Show, database.as_ref())
        }
        Command::ShowDatabasesSchema { databases, .. } | Command::ShowDatabasesEntities { databases, .. } => {
            in_databases(D::Show, databases)
        }
        Command::ShowSchema { .. } => Vec::new(),
        Command::CreateDatabase { .. } | Command::DropDatabase { .. } => vec![Need::ClusterAdmin],

        // Data. Source: ingest-inline, ingest-into, ingest-from-query.
        Command::IngestInline { table: name, .. } | Command::IngestSources { table: name, .. } => {
            table(T::Ingest, name)
        }
        // Columns that a query brings along are an alteration. Source: ingestion-properties page.
        Command::IngestFromQuery { mode, table: name, properties, .. }
            if *mode != QueryIngestion::Set
                && (property_flag(properties, "extend_schema") || property_flag(properties, "recreate_schema")) =>
        {
            vec![table_or(T::Admin, name, D::Create)]
        }
        Command::IngestFromQuery { mode, table: name, .. } => match mode {
            QueryIngestion::Set => database(D::Create),
            QueryIngestion::Append => table(T::Ingest, name),
            QueryIngestion::SetOrAppend => vec![table_or(T::Ingest, name, D::Create)],
            QueryIngestion::SetOrReplace => vec![table_or(T::Admin, name, D::Create)],
        },
        Command::ShowExtents { scope, .. } => match scope {
            ExtentScope::Cluster => vec![Need::ClusterMonitor],
            ExtentScope::Database(database) => in_database(D::Show, database.as_ref()),
            ExtentScope::Databases(databases) => in_databases(D::Show, databases),
            ExtentScope::Tables(names) => tables(T::Show, names),
        },

        // Functions. Source: create-function, alter-function, create-alter-function, drop-function, show-function.
        Command::CreateFunction { mode, function, .. } => match mode {
            FunctionMode::Create => database(D::Create),
            FunctionMode::Alter => named(Named::Function, &function.name),
            FunctionMode::CreateOrAlter => {
                vec![Need::NamedOr(Named::Function, function.name.text.clone(), D::Create)]
            }
        },
        Command::DropFunction { function, .. } => named(Named::Function, function),
        Command::DropFunctions { functions, .. } => {
            functions.iter().map(|name| Need::Named(Named::Function, name.text.clone())).collect()
        }
        Command::ShowFunctions | Command::ShowFunction { .. } => database(D::Show),

        // The server. Others' requests are hidden from whoever may not see them. Source: show-queries, show-commands.
        Command::ShowVersion => Vec::new(),
        Command::ShowCluster => vec![Need::ClusterMonitor],
        Command::ShowQueries { .. } | Command::ShowCommands | Command::ShowOperations { .. } => Vec::new(),
        Command::CancelQuery { .. } | Command::CancelOperation { .. } => Vec::new(),
        Command::GetKustoIdentityToken | Command::GetIngestionResources | Command::ShowExportContainers => Vec::new(),

        Command::Entity(entity) => of_entity(entity),
        Command::Policy(policy) => of_policy(policy),
        Command::Running(running) => of_running(running),
        Command::Management(command) => of_management(command),
        Command::Security(security) => of_security(security),
        Command::Piped { command, .. } | Command::WithQuery { command, .. } => needs(command),
        // Source: clear schema cache page: Database Ingestor; the neighbours of the other.
        Command::Other { name } => match name.as_str() {
            "clear database cache streaming ingestion schema" | "clear table cache streaming ingestion schema" => {
                database(D::Ingest)
            }
            "refresh database cache"
            | "clear database cache query results"
            | "clear cluster cache external artifacts" => database(D::Admin),
            "show follower database" | "show follower databases" => database(D::Admin),
            "show database cache query results"
            | "clear cache remote schema"
            | "show graph snapshot data statistics"
            | "show graph snapshots data statistics"
            | "show external table operations query acceleration statistics"
            | "show external table query acceleration statistics"
            | "show external tables query acceleration statistics" => database(D::Show),
            // Those of queued ingestion look at their tables; streaming statistics leave out what others did. The rest
            // is refused whoever asks.
            _ => Vec::new(),
        },
        Command::Error => Vec::new(),
    }
}

/// Source: the pages of mappings, extents, records, columns, databases, scripts, plugins and exports. What a script runs is
/// asked about again when it runs.
fn of_management(command: &ManagementCommand) -> Vec<Need> {
    use DatabaseRight as D;
    use ManagementCommand as M;
    use TableRight as T;
    let table_at = |right: T, name: &Name| vec![Need::TableAt(right, name.text.clone())];
    let column_at = |name: &Name| Need::ColumnAt(T::Admin, name.text.clone());
    let chosen = |choice: &ExtentChoice| match choice {
        ExtentChoice::Tables { tables, .. } if !tables.is_empty() => {
            tables.iter().map(|name| Need::TableAt(T::Admin, name.text.clone())).collect()
        }
        ExtentChoice::Ids { table: Some(table), .. } => table_at(T::Admin, table),
        // Whose extents they are shows when they are found.
        ExtentChoice::Tables { .. } | ExtentChoice::Ids { .. } | ExtentChoice::Query(_) => database(D::Admin),
    };
    match command {
        M::PutMapping { owner, .. } | M::DropMapping { owner, .. } => match owner {
            MappingOwner::Table(name) => table_at(T::Ingest, name),
            MappingOwner::Database(name) => in_database(D::Ingest, name.as_ref()),
            MappingOwner::Cluster => vec![Need::ClusterAdmin],
        },
        M::ShowMappings { owner, .. } => match owner {
            MappingOwner::Table(name) => table_at(T::Show, name),
            MappingOwner::Database(name) => in_database(D::Show, name.as_ref()),
            MappingOwner::Cluster => vec![Need::ClusterMonitor],
        },
        M::MoveExtents { to, chosen: choice, .. } => [table_at(T::Admin, to), chosen(choice)].concat(),
        M::ReplaceExtents { table, .. } => [table_at(T::Admin, table), database(D::Admin)].concat(),
        M::DropExtents { chosen: choice, .. } => chosen(choice),
        M::ExtentTags { table, .. } | M::MergeExtents { table, .. } => table_at(T::Admin, table),
        M::ShowExtentStatistics { database, .. } => in_database(D::Show, database.as_ref()),
        M::DeleteRecords { is_view: true, .. } => database(D::Admin),
        M::DeleteRecords { table, .. } | M::UpdateRecords { table, .. } => table_at(T::Admin, table),
        M::Purge { database, .. } => in_database(D::Admin, Some(database)),
        M::ShowPurges { database: None, .. } | M::CancelPurges { database: None, .. } => vec![Need::ClusterAdmin],
        M::ShowPurges { database, .. } | M::CancelPurges { database, .. } => in_database(D::Admin, database.as_ref()),
        M::UndoDropTable { .. } => database(D::Admin),
        M::RenameColumns { renames } => renames.iter().map(|(_, path)| column_at(path)).collect(),
        M::AlterColumnType { column, .. } | M::DropColumn { column, .. } => vec![column_at(column)],
        M::DropColumns { table, .. } | M::ColumnDocstrings { table, .. } => table_at(T::Admin, table),
        M::ShowDataStatistics { table, .. } => table_at(T::Show, table),
        M::PrettyName { database, .. } => in_database(D::Admin, database.as_ref()),
        M::ShowDatabases { databases, .. } => match databases {
            DatabaseChoice::One(name) => in_database(D::Show, name.as_ref()),
            DatabaseChoice::Many(names) => in_databases(D::Show, names),
        },
        M::ShowDatabaseEntity { database, .. } => in_database(D::Show, Some(database)),
        M::ExecuteScript { is_cluster: true, .. } => vec![Need::ClusterAdmin],
        M::ExecuteScript { .. } => database(D::Admin),
        M::ShowDiagnostics | M::ShowClusterDetails => vec![Need::ClusterMonitor],
        M::ShowPlugins => database(D::Show),
        M::EnablePlugin { .. } => vec![Need::ClusterAdmin],
        M::Export { .. } => database(D::Query),
        M::ExportToTable { table, .. } => [database(D::Query), named(Named::ExternalTable, table)].concat(),
        M::PutContinuousExport { .. } | M::DropContinuousExport { .. } | M::EnableContinuousExport { .. } => {
            database(D::Admin)
        }
        M::ShowContinuousExports { what, .. } => match what {
            ShowContinuousExport::Definition => database(D::Show),
            ShowContinuousExport::Artifacts | ShowContinuousExport::Failures => database(D::Monitor),
        },
    }
}

/// What others did is hidden from whoever may not see it. Source: the pages of journals, operations, workload groups,
/// capacity and their policies.
fn of_running(command: &RunningCommand) -> Vec<Need> {
    match command {
        RunningCommand::ShowCommandsAndQueries
        | RunningCommand::ShowOperationDetails { .. }
        | RunningCommand::ShowIngestionFailures { .. }
        | RunningCommand::ShowStreamingIngestionFailures
        | RunningCommand::ShowDataOperations => Vec::new(),
        RunningCommand::ShowJournal { scope } => match scope {
            JournalScope::All => Vec::new(),
            JournalScope::Cluster => vec![Need::ClusterMonitor],
            JournalScope::Database(name) => in_database(DatabaseRight::Monitor, Some(name)),
        },
        RunningCommand::ShowWorkloadGroups { .. }
        | RunningCommand::PutWorkloadGroup { .. }
        | RunningCommand::DropWorkloadGroup { .. } => vec![Need::ClusterAdmin],
        RunningCommand::ShowCapacity { .. } => database(DatabaseRight::Create),
    }
}

/// Source: the ...-policy-command pages.
fn of_policy(command: &PolicyCommand) -> Vec<Need> {
    use DatabaseRight as D;
    let PolicyCommand { verb, target, kind, .. } = command;
    if *verb == PolicyVerb::Show {
        return match target {
            PolicyTarget::Cluster => vec![Need::ClusterMonitor],
            PolicyTarget::AllDatabases => vec![Need::ClusterMonitor],
            PolicyTarget::Database(name) => in_database(D::Show, name.as_ref()),
            PolicyTarget::Table(name) => vec![Need::TableAt(TableRight::Show, name.text.clone())],
            PolicyTarget::Tables(names) => {
                names.iter().map(|name| Need::TableAt(TableRight::Show, name.text.clone())).collect()
            }
            PolicyTarget::Column(name) => vec![Need::ColumnAt(TableRight::Show, name.text.clone())],
            PolicyTarget::AllTables
            | PolicyTarget::AllColumns
            | PolicyTarget::AllExternalTables
            | PolicyTarget::AllGraphModels => database(D::Show),
            PolicyTarget::MaterializedView(name) => {
                vec![Need::NamedAt(Named::MaterializedView, name.text.clone(), Some(D::Show))]
            }
            PolicyTarget::ExternalTable(name) => {
                vec![Need::NamedAt(Named::ExternalTable, name.text.clone(), Some(D::Show))]
            }
            PolicyTarget::GraphModel(name) => {
                vec![Need::NamedAt(Named::GraphModel, name.text.clone(), Some(D::Show))]
            }
        };
    }
    // A table's partitioning is its database's admins' to say, its time of ingestion its ingestors'.
    let on_table = |name: &Name| match (kind, verb) {
        (PolicyKind::Partitioning, PolicyVerb::Alter | PolicyVerb::AlterMerge) => database(D::Admin),
        (PolicyKind::IngestionTime, PolicyVerb::Alter) => vec![Need::TableAt(TableRight::Ingest, name.text.clone())],
        _ => vec![Need::TableAt(TableRight::Admin, name.text.clone())],
    };
    match target {
        PolicyTarget::Cluster | PolicyTarget::AllDatabases => vec![Need::ClusterAdmin],
        // Managed identities are the server's.
        PolicyTarget::Database(_) if *kind == PolicyKind::ManagedIdentity => vec![Need::ClusterAdmin],
        PolicyTarget::Database(name) => in_database(D::Admin, name.as_ref()),
        PolicyTarget::Table(name) => on_table(name),
        PolicyTarget::Tables(names) => names.iter().flat_map(on_table).collect(),
        PolicyTarget::Column(name) => vec![Need::ColumnAt(TableRight::Admin, name.text.clone())],
        PolicyTarget::MaterializedView(name) => {
            let merges = *verb == PolicyVerb::AlterMerge
                && matches!(kind, PolicyKind::Merge | PolicyKind::Partitioning | PolicyKind::Retention);
            let right = (*kind == PolicyKind::RowLevelSecurity || merges).then_some(D::Admin);
            vec![Need::NamedAt(Named::MaterializedView, name.text.clone(), right)]
        }
        PolicyTarget::GraphModel(name) => vec![Need::NamedAt(Named::GraphModel, name.text.clone(), None)],
        PolicyTarget::ExternalTable(name) => {
            vec![Need::NamedAt(Named::ExternalTable, name.text.clone(), Some(D::Admin))]
        }
        PolicyTarget::AllTables
        | PolicyTarget::AllColumns
        | PolicyTarget::AllExternalTables
        | PolicyTarget::AllGraphModels => database(D::Admin),
    }
}

fn of_entity(command: &EntityCommand) -> Vec<Need> {
    use DatabaseRight as D;
    match command {
        // Source: external-tables-azure-storage, drop-external-table, show-external-tables pages and their kin.
        EntityCommand::ExternalTable(command) => match command {
            ExternalTableCommand::Put { mode: PutMode::Create, .. } => database(D::Create),
            ExternalTableCommand::Put { mode: PutMode::Alter, table, .. } => named(Named::ExternalTable, table),
            ExternalTableCommand::Put { mode: PutMode::CreateOrAlter, table, .. } => {
                vec![Need::NamedOr(Named::ExternalTable, table.text.clone(), D::Create)]
            }
            ExternalTableCommand::AlterText { table, .. }
            | ExternalTableCommand::Drop { table, .. }
            | ExternalTableCommand::PutMapping { table, .. }
            | ExternalTableCommand::DropMapping { table, .. } => named(Named::ExternalTable, table),
            ExternalTableCommand::ShowArtifacts { .. } => database(D::Create),
            ExternalTableCommand::ShowSchema { table, .. } => {
                vec![Need::NamedOr(Named::ExternalTable, table.text.clone(), D::Show)]
            }
            ExternalTableCommand::Show { .. }
            | ExternalTableCommand::ShowDetails { .. }
            | ExternalTableCommand::ShowMappings { .. } => database(D::Show),
        },
        // Source: the materialized-view-... pages.
        EntityCommand::MaterializedView(command) => match command {
            MaterializedViewCommand::Put(view) => match view.mode {
                PutMode::Create => database(D::Admin),
                PutMode::Alter => named(Named::MaterializedView, &view.name),
                PutMode::CreateOrAlter => {
                    vec![Need::NamedOr(Named::MaterializedView, view.name.text.clone(), D::Admin)]
                }
            },
            MaterializedViewCommand::AlterText { view, .. }
            | MaterializedViewCommand::AlterLookback { view, .. }
            | MaterializedViewCommand::AlterAutoUpdateSchema { view, .. }
            | MaterializedViewCommand::Drop { view, .. }
            | MaterializedViewCommand::Enable { view, .. }
            | MaterializedViewCommand::Clear { view } => named(Named::MaterializedView, view),
            MaterializedViewCommand::Rename { from, .. } => named(Named::MaterializedView, from),
            MaterializedViewCommand::Show { .. } => database(D::Show),
        },
        // Source: the stored-query-result pages. Those of others stay hidden from whoever is no admin.
        EntityCommand::StoredResult(command) => match command {
            StoredResultCommand::Set { .. }
            | StoredResultCommand::Show { .. }
            | StoredResultCommand::ShowSchema { .. }
            | StoredResultCommand::Drop { .. } => database(D::Query),
            StoredResultCommand::DropByUser { .. } => database(D::Admin),
        },
        // Source: the graph-model-... and graph-snapshot-... pages.
        EntityCommand::Graph(command) => match command {
            GraphCommand::PutModel { name, .. } => {
                vec![Need::NamedOr(Named::GraphModel, name.text.clone(), D::Create)]
            }
            GraphCommand::DropModel { name } => named(Named::GraphModel, name),
            GraphCommand::MakeSnapshot { model, .. }
            | GraphCommand::DropSnapshot { model, .. }
            | GraphCommand::DropSnapshots { model } => named(Named::GraphModel, model),
            GraphCommand::ShowModel { .. }
            | GraphCommand::ShowModels { .. }
            | GraphCommand::ShowSnapshot { .. }
            | GraphCommand::ShowSnapshots { .. } => database(D::Show),
        },
        // Source: the entity-group pages.
        EntityCommand::EntityGroup(command) => match command {
            EntityGroupCommand::Put { .. }
            | EntityGroupCommand::Merge { .. }
            | EntityGroupCommand::Drop { .. }
            | EntityGroupCommand::Show { .. } => database(D::Admin),
        },
        EntityCommand::AlterFunctionText { function, .. } => named(Named::Function, function),
    }
}

/// Source: the manage-...-security-roles pages; one's own roles on what one may see are no secret.
fn of_security(command: &SecurityCommand) -> Vec<Need> {
    match command {
        SecurityCommand::ChangeRole { scope, .. } => managed(scope),
        SecurityCommand::ShowPrincipals { scope } => match scope {
            SecurityScope::Cluster => vec![Need::ClusterMonitor],
            SecurityScope::Database(name) => in_database(DatabaseRight::Monitor, name.as_ref()),
            other => managed(other),
        },
        SecurityCommand::ShowRoles { scope: None | Some(SecurityScope::Cluster), principal: None } => Vec::new(),
        SecurityCommand::ShowRoles { scope: None | Some(SecurityScope::Cluster), principal: Some(_) } => {
            vec![Need::ClusterMonitor]
        }
        SecurityCommand::ShowRoles { scope: Some(scope), principal } => match (scope, principal) {
            (SecurityScope::Database(name), None) => in_database(DatabaseRight::See, name.as_ref()),
            (SecurityScope::Database(name), Some(_)) => in_database(DatabaseRight::Monitor, name.as_ref()),
            (_, None) => in_database(DatabaseRight::See, None),
            (other, Some(_)) => managed(other),
        },
        SecurityCommand::ShowAccess => Vec::new(),
    }
}

/// Administers what roles are granted on.
fn managed(scope: &SecurityScope) -> Vec<Need> {
    match scope {
        SecurityScope::Cluster => vec![Need::ClusterAdmin],
        SecurityScope::Database(name) => in_database(DatabaseRight::Admin, name.as_ref()),
        SecurityScope::Table(name) => table(TableRight::Admin, name),
        SecurityScope::ExternalTable(name) => named(Named::ExternalTable, name),
        SecurityScope::MaterializedView(name) => named(Named::MaterializedView, name),
        SecurityScope::Function(name) => named(Named::Function, name),
        SecurityScope::GraphModel(name) => named(Named::GraphModel, name),
    }
}

/// Database and name of an entity by its name in `current`, or as `database.name`.
fn named_at<'a>(
    kind: Named,
    snapshot: &'a Snapshot,
    current: &'a Arc<Database>,
    path: &'a str,
) -> (&'a Arc<Database>, &'a str) {
    if !kind.exists(snapshot, current, path) {
        for (at, _) in path.match_indices('.') {
            let name = &path[at + 1..];
            if let Some(database) = snapshot.database(&path[..at])
                && kind.exists(snapshot, database, name)
            {
                return (database, name);
            }
        }
    }
    (current, path)
}

impl Access {
    /// Fails unless the caller may run a command in `current`.
    pub fn require(&self, command: &Command, snapshot: &Snapshot, current: &str) -> Result<()> {
        if self.is_everything() {
            return Ok(());
        }
        needs(command).iter().try_for_each(|need| self.grant(need, snapshot, current))
    }

    fn grant(&self, need: &Need, snapshot: &Snapshot, current: &str) -> Result<()> {
        let found = |name: &str| snapshot.database(name).ok_or_else(|| Error::database_not_found(name));
        match need {
            Need::ClusterAdmin if self.is_cluster_admin() => Ok(()),
            Need::ClusterAdmin => Err(self.refused("administer the server (role AllDatabasesAdmin)")),
            Need::ClusterMonitor if self.is_cluster_monitor() => Ok(()),
            Need::ClusterMonitor => Err(self.refused("look at the whole server (role AllDatabasesMonitor)")),
            Need::Database(right, name) => self.on_database(*right, found(name.as_deref().unwrap_or(current))?),
            Need::Table(right, name) => self.on_table(*right, found(current)?, name, DatabaseRight::Show),
            Need::TableAt(right, path) => self.at(*right, path, snapshot, current),
            Need::NamedAt(kind, path, right) => {
                let (database, name) = named_at(*kind, snapshot, found(current)?, path);
                match right {
                    Some(right) => self.on_database(*right, database),
                    None => self.on_named(*kind, database, name, snapshot, DatabaseRight::Show),
                }
            }
            Need::ColumnAt(right, path) => match path.rsplit_once('.') {
                Some((table, _)) => self.at(*right, table, snapshot, current),
                None => self.on_database(DatabaseRight::Show, found(current)?),
            },
            Need::TableOr(right, name, other) => self.on_table(*right, found(current)?, name, *other),
            Need::Named(kind, name) => self.on_named(*kind, found(current)?, name, snapshot, DatabaseRight::Show),
            Need::NamedOr(kind, name, DatabaseRight::Show) => {
                let database = found(current)?;
                match self.may_show(database) {
                    true => Ok(()),
                    false => self.on_named(*kind, database, name, snapshot, DatabaseRight::Show),
                }
            }
            Need::NamedOr(kind, name, other) => self.on_named(*kind, found(current)?, name, snapshot, *other),
        }
    }

    fn at(&self, right: TableRight, path: &str, snapshot: &Snapshot, current: &str) -> Result<()> {
        match table_at(snapshot, current, path) {
            Ok((database, table)) => self.on_table(right, database, table.name(), DatabaseRight::Show),
            Err(_) => {
                let database = snapshot.database(current).ok_or_else(|| Error::database_not_found(current))?;
                self.on_database(DatabaseRight::Show, database)
            }
        }
    }

    fn on_database(&self, right: DatabaseRight, database: &Arc<Database>) -> Result<()> {
        let (may, action) = match right {
            DatabaseRight::See => (self.sees(database), "look at"),
            DatabaseRight::Show => (self.may_show(database), "look at"),
            DatabaseRight::Query => (self.may_query(database), "read"),
            DatabaseRight::Create => (self.may_create(database), "make entities in"),
            DatabaseRight::Ingest => (self.may_ingest_anywhere(database), "ingest into"),
            DatabaseRight::Monitor => (self.is_monitor(database), "monitor"),
            DatabaseRight::Admin => (self.is_admin(database), "administer"),
        };
        match may {
            true => Ok(()),
            false => Err(self.refused(&format!("{action} database '{}'", database.name()))),
        }
    }

    fn on_table(&self, right: TableRight, database: &Arc<Database>, name: &str, absent: DatabaseRight) -> Result<()> {
        let Some(table) = database.table(name) else { return self.on_database(absent, database) };
        let (may, action) = match right {
            TableRight::Show => (self.may_show_table(database, table), "look at"),
            TableRight::Ingest => (self.may_ingest(database, table), "ingest into"),
            TableRight::Admin => (self.is_table_admin(database, table), "administer"),
        };
        match may {
            true => Ok(()),
            // Whoever has no role here does not learn which tables there are.
            false if !self.sees(database) => self.on_database(DatabaseRight::See, database),
            false => Err(self.refused(&format!("{action} table '{name}' of database '{}'", database.name()))),
        }
    }

    fn on_named(
        &self,
        kind: Named,
        database: &Arc<Database>,
        name: &str,
        snapshot: &Snapshot,
        absent: DatabaseRight,
    ) -> Result<()> {
        if !kind.exists(snapshot, database, name) {
            return self.on_database(absent, database);
        }
        match self.is_named_admin(database, kind, name) {
            true => Ok(()),
            false if !self.sees(database) => self.on_database(DatabaseRight::See, database),
            false => {
                let noun = kind.noun();
                Err(self.refused(&format!("administer {noun} '{name}' of database '{}'", database.name())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Need> {
        let parsed = tidewater_kql::parse_command(text);
        assert!(parsed.diagnostics.is_empty(), "{text}: {:?}", parsed.diagnostics);
        assert!(!matches!(parsed.tree, Command::Other { .. }), "{text} is not served");
        needs(&parsed.tree)
    }

    /// The documented minimum of each kind of command. Source: the pages' sections "Permissions".
    #[test]
    fn every_kind_of_command_needs_what_its_page_says() {
        use DatabaseRight as D;
        use TableRight as T;
        let database = |right| vec![Need::Database(right, None)];
        let t = |right| vec![Need::Table(right, "T".into())];
        let t_or = |right, other| vec![Need::TableOr(right, "T".into(), other)];
        let f = |kind| vec![Need::Named(kind, "F".into())];
        let f_or = |kind, other| vec![Need::NamedOr(kind, "F".into(), other)];
        for (text, wanted) in [
            (".create table T (a: long)", database(D::Create)),
            (".create-merge table T (a: long)", t_or(T::Admin, D::Create)),
            (".create tables T (a: long)", database(D::Create)),
            (".create table T based-on U", database(D::Admin)),
            (".alter table T (a: long)", t(T::Admin)),
            (".alter table T docstring 'x'", t(T::Admin)),
            (".drop table T", t(T::Admin)),
            (".drop tables (T)", t(T::Admin)),
            (".rename table T to U", t(T::Admin)),
            (".rename tables U = T", t(T::Admin)),
            (".clear table T data", t(T::Admin)),
            (".show tables", database(D::Show)),
            (".show table T", t(T::Show)),
            (".show table T details", t(T::Show)),
            (".show tables | count", database(D::Show)),
            (".show databases", vec![]),
            (".show database D schema", vec![Need::Database(D::Show, Some("D".into()))]),
            (".create database D", vec![Need::ClusterAdmin]),
            (".drop database D", vec![Need::ClusterAdmin]),
            (".ingest inline into table T <| 1", t(T::Ingest)),
            (".ingest into table T ('x')", t(T::Ingest)),
            (".set T <| print a=1", database(D::Create)),
            (".append T <| print a=1", t(T::Ingest)),
            (".set-or-append T <| print a=1", t_or(T::Ingest, D::Create)),
            (".set-or-replace T <| print a=1", t_or(T::Admin, D::Create)),
            (".append T with (extend_schema=true) <| print a=1", t_or(T::Admin, D::Create)),
            (".create function F() { 1 }", database(D::Create)),
            (".alter function F() { 1 }", f(Named::Function)),
            (".create-or-alter function F() { 1 }", f_or(Named::Function, D::Create)),
            (".alter function F folder 'x'", f(Named::Function)),
            (".drop function F", f(Named::Function)),
            (".show functions", database(D::Show)),
            (".show cluster", vec![Need::ClusterMonitor]),
            (".show cluster extents", vec![Need::ClusterMonitor]),
            (".show database extents", database(D::Show)),
            (".create external table F (a: long) kind=storage dataformat=csv ('x')", database(D::Create)),
            (".drop external table F", f(Named::ExternalTable)),
            (".show external tables", database(D::Show)),
            (".create materialized-view F on table T { T | summarize count() by a }", database(D::Admin)),
            (".drop materialized-view F", f(Named::MaterializedView)),
            (".show materialized-views", database(D::Show)),
            (".set stored_query_result F <| T", database(D::Query)),
            (".drop stored_query_results by user 'x'", database(D::Admin)),
            (".create-or-alter graph_model F '{}'", f_or(Named::GraphModel, D::Create)),
            (".make graph_snapshot S from F", f(Named::GraphModel)),
            (".show graph_models", database(D::Show)),
            (".create entity_group F (database('d'))", database(D::Admin)),
            (".show entity_groups", database(D::Admin)),
            (".show table T policy caching", vec![Need::TableAt(T::Show, "T".into())]),
            (".alter table T policy restricted_view_access true", vec![Need::TableAt(T::Admin, "T".into())]),
            (".delete table T policy row_level_security", vec![Need::TableAt(T::Admin, "T".into())]),
            (".alter table T policy ingestiontime true", vec![Need::TableAt(T::Ingest, "T".into())]),
            (".alter database policy caching hot = 3d", database(D::Admin)),
            (
                ".alter materialized-view F policy row_level_security enable 'F'",
                vec![Need::NamedAt(Named::MaterializedView, "F".into(), Some(D::Admin))],
            ),
            (
                ".alter-merge materialized-view F policy retention softdelete = 10d",
                vec![Need::NamedAt(Named::MaterializedView, "F".into(), Some(D::Admin))],
            ),
            (
                ".alter materialized-view F policy caching hot = 3d",
                vec![Need::NamedAt(Named::MaterializedView, "F".into(), None)],
            ),
            (".show cluster policy capacity", vec![Need::ClusterMonitor]),
            (".alter cluster policy caching hot = 3d", vec![Need::ClusterAdmin]),
            (".add cluster admins ('aaduser=a')", vec![Need::ClusterAdmin]),
            (".add database users ('aaduser=a')", database(D::Admin)),
            (".set table T admins none", t(T::Admin)),
            (".drop function F admins ('aaduser=a')", f(Named::Function)),
            (".show table T principals", t(T::Admin)),
            (".show database principals", database(D::Monitor)),
            (".show database principal roles", database(D::See)),
            (".show cluster principals", vec![Need::ClusterMonitor]),
            (".show principal roles", vec![]),
            (".show principal 'aaduser=a' roles", vec![Need::ClusterMonitor]),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
        let cache = |text: &str| needs(&tidewater_kql::parse_command(text).tree);
        assert_eq!(cache(".clear database cache streamingingestion schema"), database(D::Ingest));
        assert_eq!(cache(".clear table T cache streamingingestion schema"), database(D::Ingest));
    }
}
