//! What a query may see: databases, tables and stored functions of one catalog snapshot.
//!
//! The service implements `CatalogView` over a snapshot, narrowed to what the caller may read. The
//! binder asks by name; nothing here does IO.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tidewater_kql::TableSchema;

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
}
