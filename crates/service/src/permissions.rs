//! What a caller may do, for showing it: the page offers only what will not be refused.

use std::sync::Arc;

use crate::context::Context;
use crate::rights::Access;
use crate::service::Service;

/// A caller and their rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The caller in Kusto's form.
    pub principal: String,
    /// What people call them; empty when nobody has said.
    pub name: String,
    /// Whether rights are looked at; without, everything is allowed.
    pub is_enforced: bool,
    /// Administers the server.
    pub is_administrator: bool,
    /// May see what the server as a whole does.
    pub is_monitor: bool,
    /// The databases that the caller may know of.
    pub databases: Vec<DatabasePermissions>,
}

/// What a caller may do in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabasePermissions {
    /// The database.
    pub database: String,
    /// Read its data.
    pub query: bool,
    /// Make tables, functions and dashboards.
    pub create: bool,
    /// Put data into all its tables.
    pub ingest: bool,
    /// See what others run in it.
    pub monitor: bool,
    /// Change and drop everything in it, and say who may do what.
    pub administer: bool,
}

impl Service {
    /// What the caller of a context may do.
    pub fn permissions(&self, context: &Context) -> Permissions {
        let snapshot = self.store().snapshot();
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        let databases = snapshot.databases().filter(|database| access.sees(database));
        let databases = databases.map(|database| DatabasePermissions {
            database: database.name().to_string(),
            query: access.may_query(database),
            create: access.may_create(database),
            ingest: access.may_ingest_anywhere(database),
            monitor: access.is_monitor(database),
            administer: access.is_admin(database),
        });
        Permissions {
            principal: context.principal.clone(),
            name: context.identity.name.clone(),
            is_enforced: !access.is_everything(),
            is_administrator: access.is_cluster_admin(),
            is_monitor: access.is_cluster_monitor(),
            databases: databases.collect(),
        }
    }
}
