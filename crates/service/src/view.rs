//! What a query may see: a catalog snapshot in the shape the planner asks for.

use std::sync::Arc;

use tidewater_plan::{CatalogView, StoredFunction, TableHandle};
use tidewater_store::{Snapshot, Store};

use crate::error::{Error, Result};

/// One snapshot, for the whole of one query.
#[derive(Clone)]
pub struct View {
    store: Store,
    snapshot: Arc<Snapshot>,
    current: String,
    /// A table that hides all others of its name: the rows of a piped command.
    extra: Option<Arc<TableHandle>>,
}

impl View {
    /// A view of `snapshot` for a request into `database`, which must exist.
    pub fn new(store: &Store, snapshot: Arc<Snapshot>, database: &str) -> Result<View> {
        let current = match snapshot.database(database) {
            Some(database) => database.name().to_string(),
            None => return Err(Error::database_not_found(database)),
        };
        Ok(View { store: store.clone(), snapshot, current, extra: None })
    }

    /// Shows `table` beside the snapshot's.
    pub fn with_table(mut self, table: TableHandle) -> View {
        self.extra = Some(Arc::new(table));
        self
    }
}

impl CatalogView for View {
    fn current_database(&self) -> &str {
        &self.current
    }

    fn database_names(&self) -> Vec<String> {
        self.snapshot.databases().map(|database| database.name().to_string()).collect()
    }

    fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        if let Some(extra) = &self.extra
            && extra.name == name
            && extra.database == database
        {
            return Some(Arc::clone(extra));
        }
        let database = self.snapshot.database(database)?;
        let table = database.table(name)?;
        let provider = self.store.provider(table);
        Some(Arc::new(TableHandle {
            database: database.name().to_string(),
            name: table.name().to_string(),
            schema: table.schema().clone(),
            provider,
            // The store writes and reads every missing string as the empty one.
            is_filled: true,
        }))
    }

    fn table_names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => database.tables().map(|table| table.name().to_string()).collect(),
            None => Vec::new(),
        }
    }

    fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        let function = self.snapshot.database(database)?.function(name)?;
        Some(StoredFunction {
            name: function.name.clone(),
            parameters: function.parameters.clone(),
            body: function.body.clone(),
            folder: function.folder.clone().unwrap_or_default(),
            docstring: function.docstring.clone().unwrap_or_default(),
        })
    }

    fn function_names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => database.functions().map(|function| function.name.clone()).collect(),
            None => Vec::new(),
        }
    }
}
