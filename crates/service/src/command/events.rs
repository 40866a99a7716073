//! Which changes of metadata a command makes, for `.show journal`. Source: journal page.
//!
//! What a command will touch is read from its tree before it runs; when it has succeeded, the catalog before and after it
//! gives the states of just these entities.

use tidewater_kql::command::{Command, EntityCommand, FunctionMode, PolicyTarget, QueryIngestion, RunningCommand};
use tidewater_store::{Database, Snapshot};

use super::Request;
use crate::context::now_ticks;
use crate::journal::Event;
use crate::secrets::obfuscated;

/// What a changed entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noun {
    Database,
    Table,
    Function,
    /// Anything else: only its name is told.
    Other,
}

/// A change to come.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    event: &'static str,
    noun: Noun,
    /// The entity before; empty when it is new.
    from: String,
    /// The entity after; empty when it goes.
    to: String,
}

impl Change {
    fn new(event: &'static str, noun: Noun, from: &str, to: &str) -> Change {
        Change { event, noun, from: from.to_string(), to: to.to_string() }
    }

    fn of(event: &'static str, noun: Noun, name: &str) -> Change {
        Change::new(event, noun, name, name)
    }
}

/// The changes that a command makes if it succeeds. Extents that come are no change of metadata.
pub(crate) fn changes(command: &Command) -> Vec<Change> {
    use Noun::{Database, Function, Other, Table};
    match command {
        Command::CreateTable { table, .. } => vec![Change::of("CREATE-TABLE", Table, &table.name.text)],
        Command::CreateTables { tables, .. } => {
            tables.iter().map(|table| Change::of("CREATE-TABLE", Table, &table.name.text)).collect()
        }
        Command::CreateTableBasedOn { name, .. } => vec![Change::of("CREATE-TABLE", Table, &name.text)],
        Command::IngestFromQuery { mode, table, .. } if *mode != QueryIngestion::Append => {
            vec![Change::of("CREATE-TABLE", Table, &table.text)]
        }
        Command::AlterTable { table, .. } => vec![Change::of("ALTER-TABLE", Table, &table.name.text)],
        Command::AlterTableDocString { table, .. } => vec![Change::of("ALTER-TABLE-DOCSTRING", Table, &table.text)],
        Command::AlterTableFolder { table, .. } => vec![Change::of("ALTER-TABLE-FOLDER", Table, &table.text)],
        Command::ClearTableData { table } => vec![Change::of("CLEAR-TABLE-DATA", Table, &table.text)],
        Command::DropTable { table, .. } => vec![Change::new("DROP-TABLE", Table, &table.text, "")],
        Command::DropTables { tables, .. } => {
            tables.iter().map(|table| Change::new("DROP-TABLE", Table, &table.text, "")).collect()
        }
        Command::RenameTable { from, to } => vec![Change::new("RENAME-TABLE", Table, &from.text, &to.text)],
        Command::RenameTables { renames } => {
            renames.iter().map(|(to, from)| Change::new("RENAME-TABLE", Table, &from.text, &to.text)).collect()
        }
        Command::CreateDatabase { database, .. } => vec![Change::of("CREATE-DATABASE", Database, &database.text)],
        Command::DropDatabase { database, .. } => vec![Change::new("DROP-DATABASE", Database, &database.text, "")],
        Command::CreateFunction { mode, function, .. } => {
            let event = if *mode == FunctionMode::Alter { "ALTER-FUNCTION" } else { "CREATE-FUNCTION" };
            vec![Change::of(event, Function, &function.name.text)]
        }
        Command::DropFunction { function, .. } => vec![Change::new("DROP-FUNCTION", Function, &function.text, "")],
        Command::DropFunctions { functions, .. } => {
            functions.iter().map(|function| Change::new("DROP-FUNCTION", Function, &function.text, "")).collect()
        }
        Command::Entity(entity) => entity_change(entity).into_iter().collect(),
        Command::Running(running) => match &**running {
            RunningCommand::PutWorkloadGroup { group, .. } => {
                vec![Change::of("ALTER-WORKLOAD-GROUP", Other, &group.text)]
            }
            RunningCommand::DropWorkloadGroup { group } => {
                vec![Change::new("DROP-WORKLOAD-GROUP", Other, &group.text, "")]
            }
            _ => Vec::new(),
        },
        Command::Policy(policy) if policy.is_write() => {
            let is_cluster = matches!(policy.target, PolicyTarget::Cluster);
            let event = if is_cluster { "ALTER-CLUSTER-POLICY" } else { "ALTER-POLICY" };
            vec![Change::of(event, Other, policy.kind.policy_name())]
        }
        _ => Vec::new(),
    }
}

/// Entities of other kinds are told by their command's name, in the journal's spelling.
fn entity_change(entity: &EntityCommand) -> Option<Change> {
    if !entity.is_write() {
        return None;
    }
    match entity {
        EntityCommand::AlterFunctionText { function, .. } => {
            Some(Change::of("ALTER-FUNCTION", Noun::Function, &function.text))
        }
        _ => Some(Change::of(entity.journal_name(), Noun::Other, "")),
    }
}

/// `TableCreate` as `TABLE-CREATE`.
fn spelled(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 && !out.ends_with('-') {
            out.push('-');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// Tells the journal what a command has changed.
pub(crate) fn tell(request: &Request<'_>, before: &Snapshot, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let after = request.service.store().snapshot();
    let version = |snapshot: &Snapshot| format!("v{}.0", snapshot.sequence());
    for change in changes {
        let is_of_server = change.event.contains("WORKLOAD-GROUP") || change.event.contains("CLUSTER");
        let database = match change.noun {
            Noun::Database if change.to.is_empty() => change.from.clone(),
            Noun::Database => change.to.clone(),
            _ if is_of_server => String::new(),
            _ => request.context.database.clone(),
        };
        let state = |snapshot: &Snapshot, name: &str| match snapshot.database(&database) {
            Some(database) if !name.is_empty() => state_of(database, change.noun, name),
            _ => None,
        };
        let (original, updated) = (state(before, &change.from), state(&after, &change.to));
        let creates = change.event.starts_with("CREATE") && matches!(change.noun, Noun::Table | Noun::Function);
        let event = match (creates, original.is_some(), original == updated) {
            // `.create-merge`, `ifnotexists` and `.set-or-append` may find everything as it should be.
            (true, true, true) => continue,
            (true, true, false) => change.event.replace("CREATE", "ALTER"),
            _ if change.noun == Noun::Other => spelled(change.event),
            _ => change.event.to_string(),
        };
        // What is marked as secret stays out of the journal; a mark whose end was cut off counts as well.
        let cut: String = request.text.trim().chars().take(MAX_COMMAND_CHARACTERS).collect();
        request.service.inner().journal.event(Event {
            event,
            time: now_ticks(),
            container: if change.noun == Noun::Database { String::new() } else { database.clone() },
            database,
            entity: change.from,
            updated_entity: change.to,
            version: version(&after),
            original_version: version(before),
            original_state: original.unwrap_or_else(|| ".".to_string()),
            updated_state: updated.unwrap_or_else(|| ".".to_string()),
            command: obfuscated(&cut).into_owned(),
            principal: request.context.principal.clone(),
            activity_id: request.context.activity_id,
            client_request_id: request.context.client_request_id.clone(),
            user: request.context.user_or_principal().to_string(),
        });
    }
}

const MAX_COMMAND_CHARACTERS: usize = 4_000;

/// An entity in the journal's words.
fn state_of(database: &Database, noun: Noun, name: &str) -> Option<String> {
    match noun {
        Noun::Database => Some(format!("Name: {}", database.name())),
        Noun::Table => database.table(name).map(|table| {
            let columns = table.schema().columns.iter();
            let attributes: Vec<String> =
                columns.map(|column| attribute(name, &column.name, super::tables::attribute_type(column.ty))).collect();
            let mut text = format!("Name: {name}, Attributes: {}", attributes.join(", "));
            for (label, value) in [("Folder", table.folder()), ("DocString", table.docstring())] {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    text.push_str(&format!(", {label}: {value}"));
                }
            }
            text
        }),
        Noun::Function => database
            .function(name)
            .map(|function| format!("Name: {name}, Parameters: {}, Body: {}", function.parameters, function.body)),
        Noun::Other => None,
    }
}

fn attribute(table: &str, column: &str, ty: &str) -> String {
    format!("Name='[{table}].[{column}]', Type='{ty}'")
}

#[cfg(test)]
mod tests {
    use tidewater_kql::parser::parse_command;

    use super::*;

    #[test]
    fn commands_tell_what_they_change() {
        let of = |text: &str| {
            let changes = changes(&parse_command(text).tree);
            changes.into_iter().map(|change| (change.event, change.from, change.to)).collect::<Vec<_>>()
        };
        assert_eq!(of(".create table T (a: long)"), [("CREATE-TABLE", "T".into(), "T".into())]);
        assert_eq!(of(".rename table T to U"), [("RENAME-TABLE", "T".into(), "U".into())]);
        assert_eq!(of(".drop tables (T, U)").len(), 2);
        assert!(of(".show tables").is_empty() && of(".append T <| print 1").is_empty());
        assert_eq!(spelled("MaterializedViewCreate"), "MATERIALIZED-VIEW-CREATE");
    }
}
