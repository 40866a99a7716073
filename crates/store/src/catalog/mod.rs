//! The catalog: the one truth about which databases, tables, functions and extents exist.
//!
//! Every change is a list of [`Change`]s that a [`Catalog`] makes durable in one transaction. The same list,
//! applied to the last [`Snapshot`], gives the next one: so what is in memory and what a restart loads cannot drift
//! apart. SQLite stands behind the trait for one process; another transactional database can for several.

pub(crate) mod commit;
pub(crate) mod dropped;
pub(crate) mod plan;
pub(crate) mod snapshot;
pub(crate) mod sqlite;

use serde::{Deserialize, Serialize};
use tidewater_kql::{Column, KqlType, TableSchema};

use crate::error::Result;
use crate::extent::stats::ColumnStats;
use crate::id::{DatabaseId, ExtentId, TableId};

/// Columns that a merge adds to a file: when each row came, and where in the history of all tables.
pub(crate) const ROW_TIME: &str = "$row_time";
/// See [`ROW_TIME`].
pub(crate) const ROW_CURSOR: &str = "$row_cursor";

/// Suffix of the hidden at-rest column with a datetime's 100 ns digit.
pub(crate) const TICK_SUFFIX: &str = "$tick";

/// A database as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseRow {
    /// Stable identity.
    pub id: DatabaseId,
    /// Place in creation order.
    pub ordinal: i64,
    /// Name as created; compared without case.
    pub name: String,
    /// Display name, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretty_name: Option<String>,
    /// Creation time in ticks.
    pub created: i64,
    /// Address of the root that its files lie below; the data directory without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// A column with what the user does not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRow {
    /// Name as the user sees it; case-sensitive.
    pub name: String,
    /// KQL type.
    #[serde(rename = "type")]
    pub ty: KqlType,
    /// Name in data files; differs from `name` after a rename, or when a dropped column's name is used again.
    #[serde(rename = "file", default, skip_serializing_if = "Option::is_none")]
    at_rest: Option<String>,
    /// Description.
    #[serde(rename = "doc", default, skip_serializing_if = "Option::is_none")]
    pub docstring: Option<String>,
}

impl ColumnRow {
    pub(crate) fn new(column: &Column, at_rest: String) -> Self {
        let at_rest = (at_rest != column.name).then_some(at_rest);
        Self { name: column.name.clone(), ty: column.ty, at_rest, docstring: None }
    }

    /// Name of the column in data files.
    pub fn at_rest(&self) -> &str {
        self.at_rest.as_deref().unwrap_or(&self.name)
    }

    pub(crate) fn renamed(&self, name: &str) -> Self {
        let at_rest = (self.at_rest() != name).then(|| self.at_rest().to_string());
        Self { name: name.to_string(), ty: self.ty, at_rest, docstring: self.docstring.clone() }
    }
}

/// A table as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// Stable identity.
    pub id: TableId,
    /// The database it belongs to.
    pub database: DatabaseId,
    /// Place in creation order.
    pub ordinal: i64,
    /// Name; case-sensitive.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<ColumnRow>,
    /// At-rest names that data files may still hold for columns that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// Folder, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Description, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docstring: Option<String>,
    /// Creation time in ticks.
    pub created: i64,
    /// Holds the rows of something else (a view, a stored result): no user sees it by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

impl TableRow {
    /// Columns as the user sees them.
    pub fn schema(&self) -> TableSchema {
        TableSchema::new(self.columns.iter().map(|column| Column::new(&column.name, column.ty)).collect())
    }

    /// A name for a new column's data that no file of this table can hold already.
    pub(crate) fn fresh_at_rest(&self, name: &str) -> String {
        let taken = |candidate: &str| {
            // Hidden columns end in this suffix; a user's column that does so too must not meet them.
            candidate.ends_with(TICK_SUFFIX)
                || [ROW_TIME, ROW_CURSOR].contains(&candidate)
                || self.retired.iter().any(|retired| retired == candidate)
                || self.columns.iter().any(|column| column.at_rest() == candidate)
        };
        if !taken(name) {
            return name.to_string();
        }
        let mut number = 2;
        loop {
            let candidate = format!("{name}${number}");
            if !taken(&candidate) {
                return candidate;
            }
            number += 1;
        }
    }
}

/// A stored function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRow {
    /// The database it belongs to.
    pub database: DatabaseId,
    /// Name; case-sensitive.
    pub name: String,
    /// Parameter list with parentheses: `(a:long, T:(*))`.
    pub parameters: String,
    /// Body with braces.
    pub body: String,
    /// Folder, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Description, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docstring: Option<String>,
    /// Creation time in ticks.
    pub created: i64,
    /// A view: wildcards of tables see it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_view: bool,
}

/// An extent as the catalog stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtentRow {
    /// Stable identity.
    pub id: ExtentId,
    /// The table it belongs to.
    pub table: TableId,
    /// Place in commit order.
    pub ordinal: i64,
    /// Data file, relative to the data directory.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the values before encoding.
    pub original_bytes: u64,
    /// Creation time in ticks; a merge keeps the newest of its sources, an ingestion may set any.
    pub created: i64,
    /// When its rows became visible, in ticks; rows that a merge has moved here keep times of their own in the file.
    pub ingested: i64,
    /// `ingest-by:`, `drop-by:` and other tags.
    pub tags: Vec<String>,
    /// Statistics by at-rest column name; a column that is missing here is missing in the file.
    pub columns: Vec<(String, ColumnStats)>,
}

/// Whom a property belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PropertyOwner {
    /// The whole server.
    Cluster,
    /// A database.
    Database(DatabaseId),
    /// A table.
    Table(TableId),
}

/// Name of a mapping, a policy or another small JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropertyKey {
    /// Whom it belongs to; goes when the owner goes.
    pub owner: PropertyOwner,
    /// For example `policy` or `csv mapping`.
    pub kind: String,
    /// For example `retention` or the mapping's name.
    pub name: String,
}

/// What a property must be for an edit of it to hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// It does not matter.
    Anything,
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It has this value: nobody has changed it meanwhile.
    Value(serde_json::Value),
}

/// A change of a property under a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyEdit {
    /// The property.
    pub key: PropertyKey,
    /// The condition; when it does not hold, nothing of the transaction happens.
    pub expect: Expect,
    /// The new value; `None` removes the property.
    pub value: Option<serde_json::Value>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Creates or replaces a database's row.
    PutDatabase(DatabaseRow),
    /// Removes a database with everything in it.
    DropDatabase(DatabaseId),
    /// Creates or replaces a table's row; its extents stay.
    PutTable(TableRow),
    /// Removes a table with its extents and properties.
    DropTable(TableId),
    /// Creates or replaces a function.
    PutFunction(FunctionRow),
    /// Removes a function.
    DropFunction {
        /// Its database.
        database: DatabaseId,
        /// Its name.
        name: String,
    },
    /// Adds an extent whose file is durable.
    AddExtent(Box<ExtentRow>),
    /// Removes an extent.
    DropExtent {
        /// Its table.
        table: TableId,
        /// The extent.
        extent: ExtentId,
    },
    /// Replaces an extent's tags.
    TagExtent {
        /// Its table.
        table: TableId,
        /// The extent.
        extent: ExtentId,
        /// All its tags from now on.
        tags: Vec<String>,
    },
    /// Creates or replaces a property.
    PutProperty {
        /// Its name.
        key: PropertyKey,
        /// Its value.
        value: serde_json::Value,
    },
    /// Removes a property.
    DropProperty(PropertyKey),
    /// Writes a note beside the catalog: what a commit was part of. Snapshots do not show it.
    Note {
        /// Its name: a job's id.
        name: String,
        /// What it says.
        value: serde_json::Value,
    },
}

/// A transactional home for the catalog's rows.
pub trait Catalog: Send {
    /// Everything stored: the sequence of the last commit, and changes that build the snapshot from an empty one.
    fn load(&mut self) -> Result<(u64, Vec<Change>)>;

    /// Makes all changes durable, or none. They become commit number `sequence`; fails when the stored sequence is
    /// not the one before. Returns after the disk has confirmed.
    fn commit(&mut self, sequence: u64, changes: &[Change]) -> Result<()>;

    /// The sequence of the last commit, read from storage: what tells after a failed commit which state holds.
    fn sequence(&mut self) -> Result<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, KqlType)]) -> TableRow {
        let mut row = TableRow {
            id: TableId::random(),
            database: DatabaseId::random(),
            ordinal: 0,
            name: "T".into(),
            columns: vec![],
            retired: vec![],
            folder: None,
            docstring: None,
            created: 0,
            internal: false,
        };
        for (name, ty) in columns {
            let column = ColumnRow::new(&Column::new(*name, *ty), row.fresh_at_rest(name));
            row.columns.push(column);
        }
        row
    }

    #[test]
    fn a_column_that_looks_hidden_is_stored_under_another_name() {
        let row = table(&[("t", KqlType::DateTime), ("t$tick", KqlType::Long)]);
        assert_eq!(row.columns[0].at_rest(), "t");
        assert_eq!(row.columns[1].at_rest(), "t$tick$2");
    }

    #[test]
    fn a_dropped_columns_name_is_not_read_from_old_files() {
        let mut row = table(&[("a", KqlType::Long)]);
        row.retired.push(row.columns.remove(0).at_rest().to_string());
        assert_eq!(row.fresh_at_rest("a"), "a$2");
    }

    #[test]
    fn renaming_back_forgets_the_detour() {
        let row = table(&[("a", KqlType::Long)]);
        let there = row.columns[0].renamed("b");
        assert_eq!(there.at_rest(), "a");
        assert_eq!(there.renamed("a"), row.columns[0]);
    }
}
