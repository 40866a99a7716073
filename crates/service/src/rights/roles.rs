//! Roles and who has them: properties of the catalog, so that every change of one is a transaction.
//!
//! A grant belongs to its owner: the server, a database, a table, or by name to a function, external table, materialized
//! view or graph model of a database; it goes when the owner goes. Source: security-roles and role-based-access-control
//! pages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_kql::security_command::SecurityScope;
use tidewater_store::{COMPANION, Database, Expect, PropertyEdit, PropertyKey, PropertyOwner, Snapshot, Table};
use uuid::Uuid;

use super::principal::Principal;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::stored::{Entity, StoredExternal, StoredGraph, StoredView};

/// The kind of properties that hold grants.
const KIND: &str = "principals";

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the roles are documented by the reference")]
pub enum Role {
    Admin,
    User,
    Viewer,
    UnrestrictedViewer,
    Ingestor,
    Monitor,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] =
        [Role::Admin, Role::User, Role::Viewer, Role::UnrestrictedViewer, Role::Ingestor, Role::Monitor];

    /// The word that commands use.
    pub fn word(self) -> &'static str {
        match self {
            Role::Admin => "admins",
            Role::User => "users",
            Role::Viewer => "viewers",
            Role::UnrestrictedViewer => "unrestrictedviewers",
            Role::Ingestor => "ingestors",
            Role::Monitor => "monitors",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Role::Admin => "Admin",
            Role::User => "User",
            Role::Viewer => "Viewer",
            Role::UnrestrictedViewer => "UnrestrictedViewer",
            Role::Ingestor => "Ingestor",
            Role::Monitor => "Monitor",
        }
    }
}

/// Several roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Roles = Roles(0);

    /// Those of a list.
    pub fn of(roles: &[Role]) -> Roles {
        roles.iter().fold(Roles::NONE, |all, role| all.with(*role))
    }

    /// One more.
    pub fn with(self, role: Role) -> Roles {
        Roles(self.0 | 1 << role as u8)
    }

    /// Both.
    pub fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// Whether one is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether any of these is among them.
    pub fn has_any(self, roles: &[Role]) -> bool {
        self.0 & Roles::of(roles).0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is inside a database under a name of its own, beside tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what it is named after")]
pub enum Named {
    Function,
    ExternalTable,
    MaterializedView,
    GraphModel,
}

impl Named {
    /// The kind of the entity's own property, which names that of its grants.
    fn kind(self) -> &'static str {
        match self {
            Named::Function => "function",
            Named::ExternalTable => StoredExternal::KIND,
            Named::MaterializedView => StoredView::KIND,
            Named::GraphModel => StoredGraph::KIND,
        }
    }

    /// What messages call it.
    pub fn noun(self) -> &'static str {
        match self {
            Named::Function => "Function",
            Named::ExternalTable => StoredExternal::NOUN,
            Named::MaterializedView => StoredView::NOUN,
            Named::GraphModel => StoredGraph::NOUN,
        }
    }

    pub(super) fn exists(self, snapshot: &Snapshot, database: &Database, name: &str) -> bool {
        let owner = PropertyOwner::Database(database.id());
        match self {
            Named::Function => database.function(name).is_some(),
            _ => {
                let key = PropertyKey { owner, kind: self.kind().to_string(), name: name.to_string() };
                snapshot.property(&key).is_some()
            }
        }
    }
}

/// Where roles are granted: something that exists.
#[derive(Clone, Debug)]
pub enum Scope {
    /// The server.
    Cluster,
    /// A database: its name.
    Database(Arc<Database>),
    /// A table.
    Table(Arc<Database>, Arc<Table>),
    /// An entity with a name.
    Named(Arc<Database>, Named, String),
}

impl Scope {
    /// What a command names, in the request's database.
    ///
    /// *Errors*: there is no such thing.
    pub fn find(snapshot: &Snapshot, current: &str, scope: &SecurityScope) -> Result<Scope> {
        let database = |name: &str| snapshot.database(name).cloned().ok_or_else(|| Error::database_not_found(name));
        let named = |kind: Named, name: &str| {
            let database = database(current)?;
            match kind.exists(snapshot, &database, name) {
                true => Ok(Scope::Named(database, kind, name.to_string())),
                false => Err(Error::entity_not_found(kind.noun(), name)),
            }
        };
        match scope {
            SecurityScope::Cluster => Ok(Scope::Cluster),
            SecurityScope::Database(None) => Ok(Scope::Database(database(current)?)),
            SecurityScope::Database(Some(name)) => Ok(Scope::Database(database(&name.text)?)),
            SecurityScope::Table(name) => {
                let database = database(current)?;
                let table = database.table(&name.text).cloned();
                let table = table.ok_or_else(|| Error::entity_not_found("Table", &name.text))?;
                Ok(Scope::Table(database, table))
            }
            SecurityScope::ExternalTable(name) => named(Named::ExternalTable, &name.text),
            SecurityScope::MaterializedView(name) => named(Named::MaterializedView, &name.text),
            SecurityScope::Function(name) => named(Named::Function, &name.text),
            SecurityScope::GraphModel(name) => named(Named::GraphModel, &name.text),
        }
    }

    /// The roles it has.
    pub fn roles(&self) -> &'static [Role] {
        match self {
            Scope::Cluster => &[Role::Admin, Role::Viewer, Role::Monitor],
            Scope::Database(_) => &Role::ALL,
            Scope::Table(..) => &[Role::Admin, Role::Ingestor],
            Scope::Named(..) => &[Role::Admin],
        }
    }

    /// The role of a word.
    ///
    /// *Errors*: not one of this scope.
    pub fn role(&self, word: &str) -> Result<Role> {
        let wanted = word.to_ascii_lowercase();
        let wanted = match (self, wanted.as_str()) {
            (Scope::Cluster, "alldatabasesadmins") => "admins",
            (Scope::Cluster, "alldatabasesviewers") => "viewers",
            (Scope::Cluster, "alldatabasesmonitors") => "monitors",
            (_, other) => other,
        };
        let known = self.roles();
        known.iter().copied().find(|role| role.word() == wanted).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|role| role.word()).collect();
            Error::bad_request(format!("{} has no role '{word}'; its roles are {}", self.noun(), words.join(", ")))
        })
    }

    fn noun(&self) -> &'static str {
        match self {
            Scope::Cluster => "the cluster",
            Scope::Database(_) => "a database",
            Scope::Table(..) => "a table",
            Scope::Named(_, Named::Function, _) => "a function",
            Scope::Named(_, Named::ExternalTable, _) => "an external table",
            Scope::Named(_, Named::MaterializedView, _) => "a materialized view",
            Scope::Named(_, Named::GraphModel, _) => "a graph model",
        }
    }

    /// What tables of principals call a role here: `Database Samples Admin`.
    pub fn role_title(&self, role: Role) -> String {
        let title = role.title();
        match self {
            Scope::Cluster => format!("AllDatabases{title}"),
            Scope::Database(database) => format!("Database {} {title}", database.name()),
            Scope::Table(_, table) => format!("Table {} {title}", table.name()),
            Scope::Named(_, Named::Function, name) => format!("Function {name} {title}"),
            Scope::Named(_, Named::ExternalTable, name) => format!("External Table {name} {title}"),
            Scope::Named(_, Named::MaterializedView, name) => format!("Materialized View {name} {title}"),
            Scope::Named(_, Named::GraphModel, name) => format!("Graph {name} {title}"),
        }
    }

    /// What tables of roles call it.
    pub fn title(&self) -> String {
        match self {
            Scope::Cluster => "Cluster".to_string(),
            Scope::Database(database) => format!("Database {}", database.name()),
            Scope::Table(database, table) => format!("Database {} Table {}", database.name(), table.name()),
            Scope::Named(database, kind, name) => {
                let noun = match kind {
                    Named::Function => "Function",
                    Named::ExternalTable => "External Table",
                    Named::MaterializedView => "Materialized View",
                    Named::GraphModel => "Graph",
                };
                format!("Database {} {noun} {name}", database.name())
            }
        }
    }

    fn key(&self, role: Role) -> PropertyKey {
        let (owner, kind, name) = match self {
            Scope::Cluster => (PropertyOwner::Cluster, KIND.to_string(), role.word()),
            Scope::Database(database) => (PropertyOwner::Database(database.id()), KIND.to_string(), role.word()),
            Scope::Table(_, table) => (PropertyOwner::Table(table.id()), KIND.to_string(), role.word()),
            Scope::Named(database, kind, name) => return named_key(database, *kind, name),
        };
        PropertyKey { owner, kind, name: name.to_string() }
    }

    /// Who has a role here.
    pub fn grants(&self, snapshot: &Snapshot, role: Role) -> Vec<Grant> {
        read(snapshot, &self.key(role))
    }

    /// A step that makes the list of who has a role `new`, while it is `old`.
    pub fn edit(&self, snapshot: &Snapshot, role: Role, new: &[Grant]) -> Result<PropertyEdit> {
        let key = self.key(role);
        let expect = snapshot.property(&key).map_or(Expect::Absent, |old| Expect::Value(old.clone()));
        Ok(PropertyEdit { key, expect, value: if new.is_empty() { None } else { Some(json(new)?) } })
    }

    /// The roles here that somebody was granted.
    pub fn granted(&self, snapshot: &Snapshot, identity: &Identity) -> Roles {
        self.roles().iter().fold(Roles::NONE, |all, role| {
            match self.grants(snapshot, *role).iter().any(|grant| grant.is_to(identity)) {
                true => all.with(*role),
                false => all,
            }
        })
    }
}

/// The property of who administers an entity with a name.
pub(super) fn named_key(database: &Database, kind: Named, name: &str) -> PropertyKey {
    PropertyKey {
        owner: PropertyOwner::Database(database.id()),
        kind: format!("{KIND}{COMPANION}{}", kind.kind()),
        name: name.to_string(),
    }
}

/// Who makes something becomes its admin; nobody does where nobody signs in.
fn creator(identity: &Identity) -> Option<serde_json::Value> {
    if !identity.is_signed_in() {
        return None;
    }
    json(&[Grant::new(Principal::of(identity), identity.name.clone(), String::new())]).ok()
}

/// Properties that make the creator of a table its admin.
pub fn admins_of_new(context: &Context) -> Vec<(String, String, serde_json::Value)> {
    let value = creator(&context.identity);
    value.into_iter().map(|value| (KIND.to_string(), Role::Admin.word().to_string(), value)).collect()
}

/// The companion property that makes the creator of a function its admin.
pub fn creator_of(context: &Context) -> Option<(String, serde_json::Value)> {
    creator(&context.identity).map(|value| (KIND.to_string(), value))
}

/// A step that makes the creator of another entity its admin; none when it was there before.
pub fn admin_of_new(
    context: &Context,
    database: &Database,
    kind: Named,
    name: &str,
    existed: bool,
) -> Option<PropertyEdit> {
    let value = creator(&context.identity).filter(|_| !existed)?;
    Some(PropertyEdit { key: named_key(database, kind, name), expect: Expect::Anything, value: Some(value) })
}

fn json(grants: &[Grant]) -> Result<serde_json::Value> {
    serde_json::to_value(grants).map_err(|error| Error::internal(format!("a grant cannot be stored: {error}")))
}

fn read(snapshot: &Snapshot, key: &PropertyKey) -> Vec<Grant> {
    let Some(value) = snapshot.property(key) else { return Vec::new() };
    match Vec::<Grant>::deserialize(value) {
        Ok(grants) => grants,
        Err(error) => {
            tracing::error!(%error, name = key.name, "who has a role cannot be read; nobody has it");
            Vec::new()
        }
    }
}

/// Somebody has a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who, as text.
    pub principal: String,
    /// A name for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display: String,
    /// What the command said about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The assignment's own id.
    pub id: Uuid,
}

impl Grant {
    /// A new one.
    pub fn new(principal: Principal, display: String, notes: String) -> Grant {
        Grant { principal: principal.text(), display, notes, id: Uuid::new_v4() }
    }

    /// The principal; none when the catalog holds what nobody can read.
    pub fn principal(&self) -> Option<Principal> {
        Principal::parse(&self.principal).ok()
    }

    /// Whether it is to somebody who has signed in.
    pub fn is_to(&self, identity: &Identity) -> bool {
        self.principal().is_some_and(|principal| principal.is(identity))
    }
}
