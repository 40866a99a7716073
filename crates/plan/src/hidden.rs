//! Columns that no user sees: which extent a row is in, and when it came.
//!
//! They belong to a table's rows and travel with them through the operators that keep rows (`where`, `extend`, `project`,
//! `sort`, `take`, `union`, ...). `ingestion_time()` and its like read them. Nothing is read for them unless a query asks.

use std::sync::{Arc, OnceLock};

use datafusion::catalog::TableProvider;
use tidewater_kql::KqlType;

use crate::bound::ColumnId;

/// The hidden columns of a table's provider, behind its own columns.
pub const HIDDEN: [(&str, KqlType); 6] = [
    // When the extent was made, and when the row came if a merge has put it into this extent.
    ("$extent_time", KqlType::DateTime),
    ("$row_time", KqlType::DateTime),
    // Likewise their places in the history of all tables.
    ("$extent_cursor", KqlType::Long),
    ("$row_cursor", KqlType::Long),
    ("$extent_id", KqlType::Guid),
    ("$extent_tags", KqlType::Dynamic),
];

/// The hidden columns that travel with a relation.
#[derive(Debug)]
pub struct Hidden {
    /// Parallel to [`HIDDEN`].
    pub ids: [ColumnId; HIDDEN.len()],
    /// Where they come from.
    pub origin: Origin,
}

/// Where hidden columns come from.
#[derive(Debug)]
pub enum Origin {
    /// A table: its database and name, and once somebody asks the provider of its rows with hidden columns.
    Table {
        /// The database.
        database: String,
        /// The table.
        name: String,
        /// `None` inside for tables that have no hidden columns: theirs are null.
        provider: OnceLock<Option<Arc<dyn TableProvider>>>,
    },
    /// The inputs of a union.
    Union(Vec<Option<Arc<Hidden>>>),
}
