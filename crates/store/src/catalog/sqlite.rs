//! The catalog in one SQLite file: write-ahead log, every commit synced before it is answered.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{Catalog, Change, DatabaseRow, ExtentRow, FunctionRow, PropertyKey, PropertyOwner, TableRow};
use crate::error::{Error, Result};
use crate::extent::stats::ColumnStats;
use crate::fault::{FaultPoint, Faults};
use crate::id::{DatabaseId, ExtentId, TableId};

/// Format of the file; a newer one is refused rather than misread.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS databases (
  id TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, folded TEXT NOT NULL UNIQUE, row TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tables (
  id TEXT PRIMARY KEY, database TEXT NOT NULL, ordinal INTEGER NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL,
  UNIQUE (database, name)) STRICT;
CREATE TABLE IF NOT EXISTS functions (
  database TEXT NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (database, name)) STRICT;
CREATE TABLE IF NOT EXISTS extents (
  id TEXT PRIMARY KEY, table_id TEXT NOT NULL, ordinal INTEGER NOT NULL, path TEXT NOT NULL,
  rows INTEGER NOT NULL, bytes INTEGER NOT NULL, original_bytes INTEGER NOT NULL, created INTEGER NOT NULL,
  tags TEXT NOT NULL, columns TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS extents_by_table ON extents (table_id);
CREATE TABLE IF NOT EXISTS properties (
  owner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (owner, kind, name)) STRICT;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// Opens a connection with the durability every writer of this file needs.
pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The catalog of one data directory.
pub(crate) struct SqliteCatalog {
    connection: Connection,
    faults: Faults,
}

impl SqliteCatalog {
    pub(crate) fn open(path: &Path, faults: Faults) -> Result<Self> {
        let mut connection = connect(path)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        if !has_column(&transaction, "extents", "ingested")? {
            // Catalogs of earlier versions: the creation time is the best that is known.
            transaction.execute_batch("ALTER TABLE extents ADD COLUMN ingested INTEGER")?;
        }
        let format: Option<i64> = read_meta(&transaction, "format")?;
        match format {
            None => {
                transaction.execute("INSERT INTO meta VALUES ('format', ?1), ('sequence', 0)", [FORMAT])?;
            }
            Some(FORMAT) => {}
            Some(other) => {
                return Err(Error::Corrupt(format!("catalog format {other}, this version reads format {FORMAT}")));
            }
        }
        transaction.commit()?;
        Ok(Self { connection, faults })
    }
}

impl Catalog for SqliteCatalog {
    fn load(&mut self) -> Result<(u64, Vec<Change>)> {
        let transaction = self.connection.transaction()?;
        let sequence = read_sequence(&transaction)?;
        let mut changes = Vec::new();
        let mut rows = |sql: &str, parse: &dyn Fn(&str) -> Result<Change>| -> Result<()> {
            let mut statement = transaction.prepare(sql)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                changes.push(parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
            }
            Ok(())
        };
        rows("SELECT row FROM databases ORDER BY ordinal", &|text| Ok(Change::PutDatabase(from_json(text)?)))?;
        rows("SELECT row FROM tables ORDER BY ordinal", &|text| Ok(Change::PutTable(from_json(text)?)))?;
        rows("SELECT row FROM functions", &|text| Ok(Change::PutFunction(from_json(text)?)))?;
        load_extents(&transaction, &mut changes)?;
        load_properties(&transaction, &mut changes)?;
        Ok((sequence, changes))
    }

    fn commit(&mut self, sequence: u64, changes: &[Change]) -> Result<()> {
        let faults = self.faults.clone();
        let at = |point| faults.at(point).map_err(Error::io("commit", Path::new("catalog")));
        at(FaultPoint::CatalogBegin)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored = read_sequence(&transaction)?;
        if stored + 1 != sequence {
            return Err(Error::Corrupt(format!("catalog is at commit {stored}, expected {}", sequence - 1)));
        }
        // Names may swap within one transaction; rows that will be written again leave first.
        for change in changes {
            match change {
                Change::PutTable(row) => execute(&transaction, "DELETE FROM tables WHERE id = ?1", [text(row.id)])?,
                Change::PutDatabase(row) => {
                    execute(&transaction, "DELETE FROM databases WHERE id = ?1", [text(row.id)])?;
                }
                _ => {}
            }
        }
        for change in changes {
            write(&transaction, change)?;
        }
        execute(&transaction, "UPDATE meta SET value = ?1 WHERE key = 'sequence'", [as_integer(sequence)?])?;
        at(FaultPoint::CatalogCommit)?;
        transaction.commit()?;
        Ok(())
    }

    fn sequence(&mut self) -> Result<u64> {
        let transaction = self.connection.transaction()?;
        read_sequence(&transaction)
    }
}

fn execute<P: rusqlite::Params>(transaction: &Transaction<'_>, sql: &str, params: P) -> Result<()> {
    transaction.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

fn write(transaction: &Transaction<'_>, change: &Change) -> Result<()> {
    match change {
        Change::PutDatabase(row) => {
            let DatabaseRow { id, ordinal, name, .. } = row;
            let folded = super::snapshot::fold(name);
            let values = params![text(*id), ordinal, folded, to_json(row)?];
            execute(transaction, "INSERT OR REPLACE INTO databases VALUES (?1, ?2, ?3, ?4)", values)
        }
        Change::DropDatabase(id) => drop_database(transaction, *id),
        Change::PutTable(row) => {
            let TableRow { id, database, ordinal, name, .. } = row;
            let values = params![text(*id), text(*database), ordinal, name, to_json(row)?];
            execute(transaction, "INSERT OR REPLACE INTO tables VALUES (?1, ?2, ?3, ?4, ?5)", values)
        }
        Change::DropTable(id) => drop_table(transaction, *id),
        Change::PutFunction(row) => {
            let FunctionRow { database, name, .. } = row;
            let values = params![text(*database), name, to_json(row)?];
            execute(transaction, "INSERT OR REPLACE INTO functions VALUES (?1, ?2, ?3)", values)
        }
        Change::DropFunction { database, name } => {
            let values = params![text(*database), name];
            execute(transaction, "DELETE FROM functions WHERE database = ?1 AND name = ?2", values)
        }
        Change::AddExtent(row) => {
            let values = params![
                text(row.id),
                text(row.table),
                row.ordinal,
                row.path,
                as_integer(row.rows)?,
                as_integer(row.bytes)?,
                as_integer(row.original_bytes)?,
                row.created,
                to_json(&row.tags)?,
                to_json(&row.columns)?,
                row.ingested
            ];
            execute(
                transaction,
                "INSERT INTO extents (id, table_id, ordinal, path, rows, bytes, original_bytes, created, tags, columns,
                 ingested) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                values,
            )
        }
        Change::DropExtent { extent, .. } => execute(transaction, "DELETE FROM extents WHERE id = ?1", [text(*extent)]),
        Change::TagExtent { extent, tags, .. } => {
            let values = params![text(*extent), to_json(tags)?];
            execute(transaction, "UPDATE extents SET tags = ?2 WHERE id = ?1", values)
        }
        Change::PutProperty { key, value } => {
            let values = params![owner_text(key.owner), key.kind, key.name, to_json(value)?];
            execute(transaction, "INSERT OR REPLACE INTO properties VALUES (?1, ?2, ?3, ?4)", values)
        }
        Change::DropProperty(key) => {
            let values = params![owner_text(key.owner), key.kind, key.name];
            execute(transaction, "DELETE FROM properties WHERE owner = ?1 AND kind = ?2 AND name = ?3", values)
        }
        Change::Note { name, value } => {
            execute(transaction, "INSERT OR REPLACE INTO notes VALUES (?1, ?2)", params![name, to_json(value)?])
        }
    }
}

fn drop_table(transaction: &Transaction<'_>, id: TableId) -> Result<()> {
    execute(transaction, "DELETE FROM extents WHERE table_id = ?1", [text(id)])?;
    execute(transaction, "DELETE FROM properties WHERE owner = ?1", [owner_text(PropertyOwner::Table(id))])?;
    execute(transaction, "DELETE FROM tables WHERE id = ?1", [text(id)])
}

fn drop_database(transaction: &Transaction<'_>, id: DatabaseId) -> Result<()> {
    let tables: Vec<String> = {
        let mut statement = transaction.prepare_cached("SELECT id FROM tables WHERE database = ?1")?;
        let ids = statement.query_map([text(id)], |row| row.get(0))?;
        ids.collect::<rusqlite::Result<_>>()?
    };
    for table in tables {
        let table = TableId::parse(&table).ok_or_else(|| Error::Corrupt(format!("table id '{table}'")))?;
        drop_table(transaction, table)?;
    }
    execute(transaction, "DELETE FROM functions WHERE database = ?1", [text(id)])?;
    execute(transaction, "DELETE FROM properties WHERE owner = ?1", [owner_text(PropertyOwner::Database(id))])?;
    execute(transaction, "DELETE FROM databases WHERE id = ?1", [text(id)])
}

fn load_extents(transaction: &Transaction<'_>, changes: &mut Vec<Change>) -> Result<()> {
    let mut statement = transaction.prepare(
        "SELECT id, table_id, ordinal, path, rows, bytes, original_bytes, created, tags, columns,
         COALESCE(ingested, created) FROM extents ORDER BY ordinal",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let table: String = row.get(1)?;
        let tags: String = row.get(8)?;
        let columns: String = row.get(9)?;
        let columns: Vec<(String, ColumnStats)> = from_json(&columns)?;
        changes.push(Change::AddExtent(Box::new(ExtentRow {
            id: ExtentId::parse(&id).ok_or_else(|| Error::Corrupt(format!("extent id '{id}'")))?,
            table: TableId::parse(&table).ok_or_else(|| Error::Corrupt(format!("table id '{table}'")))?,
            ordinal: row.get(2)?,
            path: row.get(3)?,
            rows: as_count(row.get(4)?)?,
            bytes: as_count(row.get(5)?)?,
            original_bytes: as_count(row.get(6)?)?,
            created: row.get(7)?,
            ingested: row.get(10)?,
            tags: from_json(&tags)?,
            columns,
        })));
    }
    Ok(())
}

fn load_properties(transaction: &Transaction<'_>, changes: &mut Vec<Change>) -> Result<()> {
    let mut statement = transaction.prepare("SELECT owner, kind, name, value FROM properties")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let owner: String = row.get(0)?;
        let owner = owner_of(&owner).ok_or_else(|| Error::Corrupt(format!("property owner '{owner}'")))?;
        let value: String = row.get(3)?;
        changes.push(Change::PutProperty {
            key: PropertyKey { owner, kind: row.get(1)?, name: row.get(2)? },
            value: from_json(&value)?,
        });
    }
    Ok(())
}

fn owner_text(owner: PropertyOwner) -> String {
    match owner {
        PropertyOwner::Cluster => "cluster".to_string(),
        PropertyOwner::Database(id) => format!("database:{id}"),
        PropertyOwner::Table(id) => format!("table:{id}"),
    }
}

fn owner_of(text: &str) -> Option<PropertyOwner> {
    match text.split_once(':') {
        None => (text == "cluster").then_some(PropertyOwner::Cluster),
        Some(("database", id)) => DatabaseId::parse(id).map(PropertyOwner::Database),
        Some(("table", id)) => TableId::parse(id).map(PropertyOwner::Table),
        Some(_) => None,
    }
}

fn has_column(transaction: &Transaction<'_>, table: &str, column: &str) -> Result<bool> {
    let mut statement = transaction.prepare("SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2")?;
    let count: i64 = statement.query_row([table, column], |row| row.get(0))?;
    Ok(count > 0)
}

fn read_meta(transaction: &Transaction<'_>, key: &str) -> Result<Option<i64>> {
    let mut statement = transaction.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

fn read_sequence(transaction: &Transaction<'_>) -> Result<u64> {
    let value = read_meta(transaction, "sequence")?;
    as_count(value.ok_or_else(|| Error::Corrupt("the catalog has no commit sequence".into()))?)
}

fn text(id: impl std::fmt::Display) -> String {
    id.to_string()
}

fn as_integer(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::Invalid(format!("number {value} is too large for the catalog")))
}

fn as_count(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("negative count {value}")))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Invalid(format!("cannot store as JSON: {error}")))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(format!("catalog row: {error}")))
}
