//! What a query may see: databases, tables and stored functions of one catalog snapshot.
//!
//! The service implements `CatalogView` over a snapshot, narrowed to what the caller may read. The
//! binder asks by name; nothing here does IO.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tidewater_kql::TableSchema;

use crate::external::ExternalSource;
use crate::external_call::ExternalCall;
use crate::graph_model::{GraphModel, GraphVersion};

/// One consistent view of the catalog, for the whole of one query.
pub trait CatalogView: Send + Sync {
    /// The database of the request, in its own spelling.
    fn current_database(&self) -> &str;

    /// Every visible database, in the order of creation.
    fn database_names(&self) -> Vec<String>;

    /// A table by its exact name.
    fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>>;

    /// The tables of a database in the order of their creation, which is the order of wildcards.
    fn table_names(&self, database: &str) -> Vec<String>;

    /// A stored function by its exact name.
    fn function(&self, database: &str, name: &str) -> Option<StoredFunction>;

    /// The stored functions of a database, for hints.
    fn function_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// A table's rows with the columns of `hidden::HIDDEN` behind its own; `None` for what is kept in no extents.
    fn hidden_rows(&self, _database: &str, _name: &str) -> Option<Arc<dyn TableProvider>> {
        None
    }

    /// The row level security policy of a table or materialized view: a query that stands for its rows.
    fn row_security(&self, _database: &str, _name: &str) -> Option<RowSecurity> {
        None
    }

    /// Whether a name is for the texts that the catalog keeps of views, and not for queries.
    fn is_internal(&self, _name: &str) -> bool {
        false
    }

    /// A point in the history of all tables, for `cursor_current()`: what comes later lies at or behind it.
    fn cursor(&self) -> i64 {
        0
    }

    /// Whether a cluster's name or address is this server's own. Never called for `""`, `"."` and the like.
    fn is_own_cluster(&self, _name: &str) -> bool {
        false
    }

    /// The address that clients use, for `current_cluster_endpoint()`.
    fn cluster_endpoint(&self) -> String {
        String::new()
    }

    /// Whether `evaluate` may call a plugin: somebody may have switched it off.
    fn is_plugin_enabled(&self, _name: &str) -> bool {
        true
    }

    /// The rows of files outside of the databases. Errors: a message that says why they cannot be read.
    fn external_data(&self, _source: &ExternalSource) -> Result<Arc<dyn TableProvider>, String> {
        Err("external data cannot be read here".to_string())
    }

    /// The answer to a call of a plugin, as a table of one row. Errors: a message that says why it is not made.
    fn external_call(&self, _call: &ExternalCall) -> Result<Arc<dyn TableProvider>, String> {
        Err("calls to the world outside are not made here".to_string())
    }

    /// A stored external table; with a mapping by its name if one is given. Errors: a message that says what is wrong.
    fn external_table(
        &self,
        _database: &str,
        _name: &str,
        _mapping: Option<&str>,
    ) -> Option<Result<Arc<TableHandle>, String>> {
        None
    }

    /// The external tables of a database.
    fn external_table_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// A materialized view by its exact name.
    fn materialized_view(&self, _database: &str, _name: &str) -> Option<MaterializedView> {
        None
    }

    /// The materialized views of a database.
    fn materialized_view_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// A stored query result by its exact name; none that has expired.
    fn stored_query_result(&self, _database: &str, _name: &str) -> Option<Arc<TableHandle>> {
        None
    }

    /// The stored query results of a database.
    fn stored_query_result_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// The entities of a stored entity group, as its command gave them: `cluster('c').database('d')`.
    fn entity_group(&self, _database: &str, _name: &str) -> Option<Vec<String>> {
        None
    }

    /// The entity groups of a database.
    fn entity_group_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// A stored graph by its model's exact name; `None` when there is no such model or snapshot.
    fn graph(&self, _database: &str, _name: &str, _version: GraphVersion<'_>) -> Option<Arc<GraphModel>> {
        None
    }

    /// The graph models of a database, for hints.
    fn graph_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    /// The database in its own spelling: database names alone ignore case. Source: entity-names page.
    fn database(&self, name: &str) -> Option<String> {
        let names = self.database_names();
        names
            .iter()
            .find(|own| *own == name)
            .or_else(|| names.iter().find(|own| own.eq_ignore_ascii_case(name)))
            .cloned()
    }
}

/// A table as the snapshot has it.
#[derive(Debug)]
pub struct TableHandle {
    /// Its database, in its own spelling.
    pub database: String,
    /// Its name.
    pub name: String,
    /// KQL columns.
    pub schema: TableSchema,
    /// The rows; the provider's Arrow schema is `schema.arrow()`.
    pub provider: Arc<dyn TableProvider>,
    /// The string columns have no null slots, so that they are keys as they stand.
    pub is_filled: bool,
}

/// A row level security policy. Source: row-level-security-policy page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSecurity {
    /// Whether it holds without being asked for.
    pub is_enabled: bool,
    /// The text of the query.
    pub query: String,
}

/// A stored function as text; it is parsed and expanded at each call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFunction {
    /// Its name.
    pub name: String,
    /// `(a: long, T: (*))`.
    pub parameters: String,
    /// `{ ... }`.
    pub body: String,
    /// Folder, for listings.
    pub folder: String,
    /// Its own words about itself.
    pub docstring: String,
    /// A view: wildcards of tables see it.
    pub is_view: bool,
}

/// A materialized view as texts that are expanded where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterializedView {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: TableSchema,
    /// `{ ... }`: all of it, with the records that are not materialized yet.
    pub body: String,
    /// `{ ... }`: the materialized part alone.
    pub materialized: String,
    /// When it was last materialized, in ticks; 0 for never.
    pub last_run: i64,
}
