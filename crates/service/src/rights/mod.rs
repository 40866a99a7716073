//! Who may do what: principals, roles, and the check of every request.
//!
//! `principal` reads and matches principals, `roles` keeps grants in the catalog, `needs` is the one table from commands to the
//! rights they need, `policies` are the policies that narrow what a role may read. An [`Access`] answers for one caller
//! over one snapshot. Source: role-based-access-control page and the "Permissions" section of each command's page.
//!
//! Without sign-in there is nobody to tell apart, and everything is allowed.

pub(crate) mod needs;
pub(crate) mod policies;
pub(crate) mod principal;
pub(crate) mod roles;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewater_plan::PrincipalFacts;
use tidewater_store::{Database, DatabaseId, Snapshot, Table};

use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::identity::{Identity, PrincipalKind, ServerRole};
use principal::Principal;
use roles::{Named, Role, Roles, Scope};

pub use principal::Principal as PrincipalName;

/// The caller as functions of principals show it. Source: current-principal-details-function page.
pub(crate) fn described(identity: &Arc<Identity>) -> PrincipalFacts {
    let ty = match identity.kind {
        PrincipalKind::Anonymous => "Anonymous",
        PrincipalKind::User => "AadUser",
        PrincipalKind::Application => "AadApp",
    };
    let text = |text: &str| serde_json::Value::from(text);
    let display = match (identity.name.is_empty(), identity.upn.is_empty()) {
        (true, true) => identity.id.clone(),
        (true, false) => identity.upn.clone(),
        (false, true) => identity.name.clone(),
        (false, false) => format!("{} (upn: {})", identity.name, identity.upn),
    };
    let details = serde_json::json!({
        "UserPrincipalName": text(&identity.upn),
        "IdentityProvider": text(&identity.authority),
        "Authority": text(&identity.tenant),
        "Mfa": "False",
        "Type": ty,
        "DisplayName": display,
        "ObjectId": text(&identity.id),
        "FQN": identity.principal(),
        "Notes": null,
    });
    let identity = Arc::clone(identity);
    PrincipalFacts {
        details: details.to_string(),
        is_member_of: Some(Arc::new(move |text| Principal::parse(text).is_ok_and(|wanted| wanted.is(&identity)))),
    }
}

/// Whether rights are looked at, and who has all of them to begin with.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Off: nobody signs in, everything is allowed.
    pub enforced: bool,
    /// Have the role AllDatabasesAdmin whatever the catalog says.
    pub administrators: Vec<Principal>,
}

impl Rights {
    /// Rights that count, with these administrators.
    ///
    /// *Errors*: a text that is no principal.
    pub fn with_administrators(texts: &[String]) -> Result<Rights> {
        let administrators = texts.iter().map(|text| Principal::parse(text)).collect::<Result<_>>()?;
        Ok(Rights { enforced: true, administrators })
    }
}

/// What one caller may do, over one snapshot.
#[derive(Clone)]
pub(crate) struct Access {
    snapshot: Arc<Snapshot>,
    /// `None`: everything is allowed, and nothing is hidden.
    caller: Option<Arc<Caller>>,
}

struct Caller {
    identity: Arc<Identity>,
    principal: String,
    cluster: Roles,
    databases: Mutex<HashMap<DatabaseId, Roles>>,
}

impl Access {
    /// Of the server itself: everything.
    pub fn everything(snapshot: Arc<Snapshot>) -> Access {
        Access { snapshot, caller: None }
    }

    /// Of a request.
    pub fn of(rights: &Rights, context: &Context, snapshot: Arc<Snapshot>) -> Access {
        if !rights.enforced {
            return Access::everything(snapshot);
        }
        let identity = &context.identity;
        let mut cluster = Scope::Cluster.granted(&snapshot, identity);
        if rights.administrators.iter().any(|administrator| administrator.is(identity)) {
            cluster = cluster.with(Role::Admin);
        }
        for role in &identity.roles {
            cluster = cluster.with(match role {
                ServerRole::Admin => Role::Admin,
                ServerRole::Viewer => Role::Viewer,
                ServerRole::Monitor => Role::Monitor,
            });
        }
        let caller = Caller {
            identity: Arc::clone(identity),
            principal: context.principal.clone(),
            cluster,
            databases: Mutex::default(),
        };
        Access { snapshot, caller: Some(Arc::new(caller)) }
    }

    /// The same caller over a later snapshot.
    pub fn over(&self, snapshot: Arc<Snapshot>) -> Access {
        let caller = self.caller.as_ref().map(|caller| {
            Arc::new(Caller {
                identity: Arc::clone(&caller.identity),
                principal: caller.principal.clone(),
                cluster: caller.cluster,
                databases: Mutex::default(),
            })
        });
        Access { snapshot, caller }
    }

    /// Whether everything is allowed because rights do not count.
    pub fn is_everything(&self) -> bool {
        self.caller.is_none()
    }

    /// Roles on the server; none where rights do not count.
    pub fn cluster_roles(&self) -> Roles {
        self.cluster().unwrap_or(Roles::NONE)
    }

    /// Roles on the server.
    fn cluster(&self) -> Option<Roles> {
        self.caller.as_ref().map(|caller| caller.cluster)
    }

    /// Roles in a database, without those on the server.
    fn roles_in(&self, database: &Arc<Database>) -> Option<Roles> {
        let caller = self.caller.as_ref()?;
        let known = caller.databases.lock().get(&database.id()).copied();
        Some(known.unwrap_or_else(|| {
            let roles = Scope::Database(Arc::clone(database)).granted(&self.snapshot, &caller.identity);
            caller.databases.lock().insert(database.id(), roles);
            roles
        }))
    }

    /// Roles that count in a database.
    fn roles(&self, database: &Arc<Database>) -> Option<Roles> {
        Some(self.cluster()?.and(self.roles_in(database)?))
    }

    fn has_any(&self, database: &Arc<Database>, wanted: &[Role]) -> bool {
        self.roles(database).is_none_or(|roles| roles.has_any(wanted))
            || wanted.contains(&Role::Viewer) && crate::library::is_library(&self.snapshot, database)
    }

    /// Administers the server.
    pub fn is_cluster_admin(&self) -> bool {
        self.cluster().is_none_or(|roles| roles.has(Role::Admin))
    }

    /// May see what the server as a whole does.
    pub fn is_cluster_monitor(&self) -> bool {
        self.cluster().is_none_or(|roles| roles.has_any(&[Role::Admin, Role::Monitor]))
    }

    /// Administers a database.
    pub fn is_admin(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin])
    }

    /// May make tables and functions in a database.
    pub fn may_create(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin, Role::User])
    }

    /// May read a database's data, except what is restricted.
    pub fn may_query(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin, Role::User, Role::Viewer])
    }

    /// May run commands that show.
    pub fn may_show(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin, Role::User, Role::Viewer, Role::Monitor])
    }

    /// May see what others do in a database.
    pub fn is_monitor(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin, Role::Monitor])
    }

    /// May see tables of a database that are restricted. The role counts beside one that may query.
    pub fn is_unrestricted(&self, database: &Arc<Database>) -> bool {
        self.may_query(database) && self.roles(database).is_none_or(|roles| roles.has(Role::UnrestrictedViewer))
    }

    /// May know that a database exists: has a role in it, or on something in it.
    pub fn sees(&self, database: &Arc<Database>) -> bool {
        let Some(caller) = &self.caller else { return true };
        if !caller.cluster.is_empty() || self.roles_in(database).is_some_and(|roles| !roles.is_empty()) {
            return true;
        }
        crate::library::is_library(&self.snapshot, database)
            || database.tables().any(|table| !self.table_roles(database, table).is_empty())
            || self.has_named_grant(database)
    }

    fn has_named_grant(&self, database: &Arc<Database>) -> bool {
        let named = |kind: Named, names: Vec<String>| {
            names.into_iter().any(|name| !self.named_roles(database, kind, &name).is_empty())
        };
        use crate::stored::{StoredExternal, StoredGraph, StoredView, names};
        named(Named::Function, database.functions().map(|function| function.name.clone()).collect())
            || named(Named::ExternalTable, names::<StoredExternal>(&self.snapshot, database))
            || named(Named::MaterializedView, names::<StoredView>(&self.snapshot, database))
            || named(Named::GraphModel, names::<StoredGraph>(&self.snapshot, database))
    }

    fn named_roles(&self, database: &Arc<Database>, kind: Named, name: &str) -> Roles {
        match &self.caller {
            None => Roles::of(&Role::ALL),
            Some(caller) => {
                Scope::Named(Arc::clone(database), kind, name.to_string()).granted(&self.snapshot, &caller.identity)
            }
        }
    }

    fn table_roles(&self, database: &Arc<Database>, table: &Arc<Table>) -> Roles {
        match &self.caller {
            None => Roles::of(&Role::ALL),
            Some(caller) => {
                Scope::Table(Arc::clone(database), Arc::clone(table)).granted(&self.snapshot, &caller.identity)
            }
        }
    }

    /// Administers a table.
    pub fn is_table_admin(&self, database: &Arc<Database>, table: &Arc<Table>) -> bool {
        self.is_admin(database) || self.table_roles(database, table).has(Role::Admin)
    }

    /// May put data into a table.
    pub fn may_ingest(&self, database: &Arc<Database>, table: &Arc<Table>) -> bool {
        self.has_any(database, &[Role::Admin, Role::Ingestor])
            || self.table_roles(database, table).has_any(&[Role::Admin, Role::Ingestor])
    }

    /// May put data into all tables of a database.
    pub fn may_ingest_anywhere(&self, database: &Arc<Database>) -> bool {
        self.has_any(database, &[Role::Admin, Role::Ingestor])
    }

    /// Administers a function, external table, materialized view or graph model.
    pub fn is_named_admin(&self, database: &Arc<Database>, kind: Named, name: &str) -> bool {
        self.is_admin(database) || self.named_roles(database, kind, name).has(Role::Admin)
    }

    /// May read a table's rows, as far as no row level security hides them.
    pub fn may_read(&self, database: &Arc<Database>, table: &Table) -> bool {
        self.may_query(database)
            && (self.is_everything()
                || !policies::is_restricted(&self.snapshot, table)
                || self.is_unrestricted(database))
    }

    /// May know a table's name and columns: viewers may not where it is restricted.
    pub fn may_show_table(&self, database: &Arc<Database>, table: &Arc<Table>) -> bool {
        if self.may_show(database) {
            let beyond = [Role::Admin, Role::User, Role::Monitor, Role::UnrestrictedViewer];
            if !policies::is_restricted(&self.snapshot, table) || self.has_any(database, &beyond) {
                return true;
            }
        }
        !self.table_roles(database, table).is_empty()
    }

    /// Whether a request of this principal is the caller's own.
    pub fn is_own(&self, principal: &str) -> bool {
        self.caller.as_ref().is_none_or(|caller| caller.principal == principal)
    }

    /// May see a request of another into a database, and end it.
    pub fn may_see_request(&self, principal: &str, database: &str) -> bool {
        self.is_own(principal)
            || match self.snapshot.database(database) {
                Some(database) => self.is_monitor(database),
                None => self.is_cluster_monitor(),
            }
    }

    /// May end a request of another into a database.
    pub fn may_end_request(&self, principal: &str, database: &str) -> bool {
        self.is_own(principal)
            || match self.snapshot.database(database) {
                Some(database) => self.is_admin(database),
                None => self.is_cluster_admin(),
            }
    }

    /// Who is asking, for messages.
    pub fn principal(&self) -> &str {
        self.caller.as_ref().map_or("anonymous", |caller| &caller.principal)
    }

    /// The refusal of a request. `action` is what was not to be: `read database 'D'`.
    pub fn refused(&self, action: &str) -> Error {
        Error::new(Fault::Forbidden, format!("Principal '{}' is not authorized to {action}.", self.principal()))
    }

    /// Fails unless a database may be queried.
    pub fn require_query(&self, database: &Arc<Database>) -> Result<()> {
        match self.may_query(database) {
            true => Ok(()),
            false => Err(self.refused(&format!("read database '{}'", database.name()))),
        }
    }
}
