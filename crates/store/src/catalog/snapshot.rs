//! What one moment of the catalog looks like in memory: immutable, shared, cheap to hold for a whole query.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use parking_lot::Mutex;
use tidewater_kql::TableSchema;
use tokio::sync::OnceCell;

use crate::catalog::{Change, ColumnRow, DatabaseRow, ExtentRow, FunctionRow, PropertyKey, PropertyOwner, TableRow};
use crate::error::{Error, Result};
use crate::extent::order::{Order, Sorted};
use crate::extent::stats::ColumnStats;
use crate::extent::terms::Directory;
use crate::files::{DataFile, Layout, Reaper, TableDirectory};
use crate::id::{DatabaseId, ExtentId, TableId};
use crate::roots::Roots;

/// Everything a query may see, as of one commit.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sequence: u64,
    next_ordinal: i64,
    /// By creation order.
    databases: BTreeMap<i64, Arc<Database>>,
    ids: HashMap<DatabaseId, i64>,
    /// By lower-cased name.
    names: HashMap<String, i64>,
    /// Which database each table is in.
    tables: HashMap<TableId, DatabaseId>,
    properties: Arc<BTreeMap<PropertyKey, serde_json::Value>>,
}

/// Compares database names: they are equal without regard to case.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase()
}

impl Snapshot {
    /// Number of the commit this snapshot shows.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Databases in creation order.
    pub fn databases(&self) -> impl ExactSizeIterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    /// The database of this name, whatever its case.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(self.names.get(&fold(name))?)
    }

    /// The database with this id.
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.get(self.ids.get(&id)?)
    }

    /// The table `table` (exact case) of the database `database` (any case).
    pub fn table(&self, database: &str, table: &str) -> Option<&Arc<Table>> {
        self.database(database)?.table(table)
    }

    /// The table with this id.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.database_by_id(*self.tables.get(&id)?)?.table_by_id(id)
    }

    /// A property's value.
    pub fn property(&self, key: &PropertyKey) -> Option<&serde_json::Value> {
        self.properties.get(key)
    }

    /// The keys of all properties of one owner.
    pub fn keys_of(&self, owner: PropertyOwner) -> impl Iterator<Item = &PropertyKey> {
        let from = PropertyKey { owner, kind: String::new(), name: String::new() };
        self.properties.range(from..).map(|(key, _)| key).take_while(move |key| key.owner == owner)
    }

    /// All properties of one owner and kind, by name.
    pub fn properties(&self, owner: PropertyOwner, kind: &str) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        let from = PropertyKey { owner, kind: kind.to_string(), name: String::new() };
        let kind = kind.to_string();
        self.properties
            .range(from..)
            .take_while(move |(key, _)| key.owner == owner && key.kind == kind)
            .map(|(key, value)| (key.name.as_str(), value))
    }

    /// A point in the history of all tables: every extent that is visible now lies before it, every later one at or
    /// behind it. Survives restarts.
    pub fn cursor(&self) -> i64 {
        self.next_ordinal.max(super::plan::first_ordinal(self.sequence + 1))
    }

    pub(crate) fn next_ordinal(&self) -> i64 {
        self.next_ordinal
    }
}

/// A database with its tables and functions.
#[derive(Clone, Debug)]
pub struct Database {
    row: DatabaseRow,
    /// By creation order.
    tables: BTreeMap<i64, Arc<Table>>,
    ids: HashMap<TableId, i64>,
    names: HashMap<String, i64>,
    functions: BTreeMap<String, Arc<FunctionRow>>,
}

impl Database {
    fn new(row: DatabaseRow) -> Self {
        Self { row, tables: BTreeMap::new(), ids: HashMap::new(), names: HashMap::new(), functions: BTreeMap::new() }
    }

    /// Stable identity.
    pub fn id(&self) -> DatabaseId {
        self.row.id
    }

    /// Name as created.
    pub fn name(&self) -> &str {
        &self.row.name
    }

    /// Display name, if one was given.
    pub fn pretty_name(&self) -> Option<&str> {
        self.row.pretty_name.as_deref()
    }

    /// Creation time in ticks.
    pub fn created(&self) -> i64 {
        self.row.created
    }

    /// Address of the root that its files lie below; `None` for the data directory.
    pub fn root(&self) -> Option<&str> {
        self.row.root.as_deref()
    }

    pub(crate) fn row(&self) -> &DatabaseRow {
        &self.row
    }

    /// Users' tables in creation order.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values().filter(|table| !table.is_internal())
    }

    /// Users' tables, and those that hold the rows of views and stored results.
    pub fn stored_tables(&self) -> impl ExactSizeIterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// The user's table with exactly this name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(self.names.get(name)?).filter(|table| !table.is_internal())
    }

    /// The table with this id.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(self.ids.get(&id)?)
    }

    /// Stored functions by name.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = &Arc<FunctionRow>> {
        self.functions.values()
    }

    /// The function with exactly this name.
    pub fn function(&self, name: &str) -> Option<&Arc<FunctionRow>> {
        self.functions.get(name)
    }
}

/// A table's columns in the forms that readers and writers want.
#[derive(Debug)]
pub struct Shape {
    /// Columns with their at-rest names.
    pub columns: Vec<ColumnRow>,
    /// Columns as the user sees them.
    pub schema: TableSchema,
    /// Columns as the engine sees them.
    pub arrow: SchemaRef,
}

impl Shape {
    /// With the columns that a merge adds to its files.
    pub(crate) fn with_origins(&self) -> Self {
        let mut columns = self.columns.clone();
        for name in [super::ROW_TIME, super::ROW_CURSOR] {
            let column = tidewater_kql::Column::new(name, tidewater_kql::KqlType::Long);
            columns.push(ColumnRow::new(&column, name.to_string()));
        }
        let schema = columns.iter().map(|column| tidewater_kql::Column::new(&column.name, column.ty)).collect();
        let schema = TableSchema::new(schema);
        let arrow = schema.arrow();
        Self { columns, schema, arrow }
    }

    pub(crate) fn of(row: &TableRow) -> Arc<Self> {
        let schema = row.schema();
        let arrow = schema.arrow();
        Arc::new(Self { columns: row.columns.clone(), schema, arrow })
    }
}

/// A table with its extents.
#[derive(Clone, Debug)]
pub struct Table {
    row: TableRow,
    shape: Arc<Shape>,
    extents: Arc<ExtentList>,
    directory: Arc<TableDirectory>,
}

/// The extents of a table as of one commit; shared by all snapshots in which they are the same.
#[derive(Debug, Default)]
pub(crate) struct ExtentList {
    /// In commit order.
    pub(crate) extents: Vec<Arc<Extent>>,
    /// Engine statistics of all of them together, for the shape they were last asked for.
    statistics: Mutex<Option<(Arc<Shape>, Arc<Statistics>)>>,
}

impl ExtentList {
    pub(crate) fn new(extents: Vec<Arc<Extent>>) -> Arc<Self> {
        Arc::new(Self { extents, statistics: Mutex::new(None) })
    }

    /// Engine statistics, made once per shape.
    pub(crate) fn statistics(&self, shape: &Arc<Shape>, make: impl FnOnce() -> Statistics) -> Arc<Statistics> {
        cached(&self.statistics, shape, make)
    }
}

fn cached(
    cache: &Mutex<Option<(Arc<Shape>, Arc<Statistics>)>>,
    shape: &Arc<Shape>,
    make: impl FnOnce() -> Statistics,
) -> Arc<Statistics> {
    let mut cache = cache.lock();
    match cache.as_ref() {
        Some((known, statistics)) if Arc::ptr_eq(known, shape) => Arc::clone(statistics),
        _ => {
            let statistics = Arc::new(make());
            *cache = Some((Arc::clone(shape), Arc::clone(&statistics)));
            statistics
        }
    }
}

impl Table {
    /// Stable identity.
    pub fn id(&self) -> TableId {
        self.row.id
    }

    /// The database it is in.
    pub fn database_id(&self) -> DatabaseId {
        self.row.database
    }

    /// Name; case-sensitive.
    pub fn name(&self) -> &str {
        &self.row.name
    }

    /// Whether it holds the rows of something else, and no user sees it by name.
    pub fn is_internal(&self) -> bool {
        self.row.internal
    }

    /// Columns as the user sees them.
    pub fn schema(&self) -> &TableSchema {
        &self.shape.schema
    }

    /// Columns as the engine sees them: what providers give and writers take.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.shape.arrow
    }

    /// Columns with docstrings and at-rest names.
    pub fn columns(&self) -> &[ColumnRow] {
        &self.row.columns
    }

    /// Folder, if one was given.
    pub fn folder(&self) -> Option<&str> {
        self.row.folder.as_deref()
    }

    /// Description, if one was given.
    pub fn docstring(&self) -> Option<&str> {
        self.row.docstring.as_deref()
    }

    /// Creation time in ticks.
    pub fn created(&self) -> i64 {
        self.row.created
    }

    /// Extents in commit order.
    pub fn extents(&self) -> &[Arc<Extent>] {
        &self.extents.extents
    }

    /// The extent with this id.
    pub fn extent(&self, id: ExtentId) -> Option<&Arc<Extent>> {
        self.extents().iter().find(|extent| extent.id() == id)
    }

    /// Rows of all extents.
    pub fn row_count(&self) -> u64 {
        self.extents().iter().map(|extent| extent.rows()).sum()
    }

    /// Bytes of all data files.
    pub fn byte_size(&self) -> u64 {
        self.extents().iter().map(|extent| extent.bytes()).sum()
    }

    /// True when some extent carries this tag: how a repeated ingestion is recognised.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.extents().iter().any(|extent| extent.tags().iter().any(|own| own == tag))
    }

    pub(crate) fn row(&self) -> &TableRow {
        &self.row
    }

    pub(crate) fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    pub(crate) fn directory(&self) -> &Arc<TableDirectory> {
        &self.directory
    }

    pub(crate) fn extent_list(&self) -> Arc<ExtentList> {
        Arc::clone(&self.extents)
    }
}

/// An immutable set of rows in one data file.
#[derive(Debug)]
pub struct Extent {
    row: ExtentRow,
    file: Arc<DataFile>,
    /// Engine statistics for the shape they were last asked for.
    statistics: Mutex<Option<(Arc<Shape>, Arc<Statistics>)>>,
    /// Its row groups in order of time.
    order: Order,
    /// Where the filters of its terms are, once somebody has asked; `None` inside where it has none.
    terms: OnceCell<Option<Arc<Directory>>>,
}

impl Extent {
    pub(crate) fn new(row: ExtentRow, file: Arc<DataFile>) -> Self {
        Self { row, file, statistics: Mutex::new(None), order: Order::new(), terms: OnceCell::new() }
    }

    /// Stable identity.
    pub fn id(&self) -> ExtentId {
        self.row.id
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.row.rows
    }

    /// Bytes of the data file.
    pub fn bytes(&self) -> u64 {
        self.row.bytes
    }

    /// Bytes of the values before encoding.
    pub fn original_bytes(&self) -> u64 {
        self.row.original_bytes
    }

    /// Creation time in ticks.
    pub fn created(&self) -> i64 {
        self.row.created
    }

    /// When its rows became visible, in ticks.
    pub fn ingested(&self) -> i64 {
        self.row.ingested
    }

    /// Its place in the history of all tables; see [`Snapshot::cursor`].
    pub fn ordinal(&self) -> i64 {
        self.row.ordinal
    }

    /// Tags.
    pub fn tags(&self) -> &[String] {
        &self.row.tags
    }

    /// Statistics of a column, by its at-rest name; `None` when the file has no such column.
    pub fn column(&self, at_rest: &str) -> Option<&ColumnStats> {
        self.row.columns.iter().find(|(name, _)| name == at_rest).map(|(_, stats)| stats)
    }

    /// Statistics of all columns of its file, by at-rest names.
    pub(crate) fn all_columns(&self) -> &[(String, ColumnStats)] {
        &self.row.columns
    }

    /// The data file.
    pub fn file(&self) -> &Arc<DataFile> {
        &self.file
    }

    /// Where the filters of its terms are.
    pub(crate) fn terms(&self) -> &OnceCell<Option<Arc<Directory>>> {
        &self.terms
    }

    /// Its row groups in order of time, looked up once.
    pub(crate) fn order(&self, read: impl FnOnce() -> Option<Arc<Sorted>>) -> Option<Arc<Sorted>> {
        self.order.get_or_init(read).clone()
    }

    /// Engine statistics, made once per shape.
    pub(crate) fn statistics(&self, shape: &Arc<Shape>, make: impl FnOnce() -> Statistics) -> Arc<Statistics> {
        cached(&self.statistics, shape, make)
    }
}

/// What turns rows into handles on files.
pub(crate) struct Assembly<'a> {
    pub layout: &'a Layout,
    pub roots: &'a Roots,
    pub reaper: &'a Reaper,
    /// Files of extents that are being committed; others lie where their rows say.
    pub files: HashMap<ExtentId, Arc<DataFile>>,
    /// Directories of tables that are being created with extents.
    pub directories: HashMap<TableId, Arc<TableDirectory>>,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(layout: &'a Layout, roots: &'a Roots, reaper: &'a Reaper) -> Self {
        Self { layout, roots, reaper, files: HashMap::new(), directories: HashMap::new() }
    }
}

/// What a list of changes removed: to be deleted once the changes are durable.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    pub extents: Vec<Arc<Extent>>,
    pub tables: Vec<Arc<Table>>,
    /// Tables whose extents or columns changed: what the Delta mirror has to look at.
    pub touched: Vec<TableId>,
}

impl Snapshot {
    /// The snapshot after `changes`, as commit number `sequence`.
    ///
    /// Errors: a change names what does not exist. Callers plan against this same snapshot, so that would be a
    /// catalog that contradicts itself.
    pub(crate) fn apply(
        &self,
        sequence: u64,
        changes: &[Change],
        assembly: &Assembly<'_>,
        removed: &mut Removed,
    ) -> Result<Snapshot> {
        let mut next = self.clone();
        next.sequence = sequence;
        // Extent lists are copied once per table and commit, not once per extent.
        let mut lists: HashMap<TableId, Vec<Arc<Extent>>> = HashMap::new();
        for change in changes {
            next.apply_one(change, assembly, removed, &mut lists)?;
        }
        for (table, extents) in lists {
            if let Some(table) = next.table_mut(table) {
                table.extents = ExtentList::new(extents);
            }
        }
        next.index_names();
        Ok(next)
    }

    fn apply_one(
        &mut self,
        change: &Change,
        assembly: &Assembly<'_>,
        removed: &mut Removed,
        lists: &mut HashMap<TableId, Vec<Arc<Extent>>>,
    ) -> Result<()> {
        match change {
            Change::PutDatabase(row) => {
                self.see_ordinal(row.ordinal);
                match self.databases.get_mut(&row.ordinal) {
                    Some(database) => Arc::make_mut(database).row = row.clone(),
                    None => {
                        self.databases.insert(row.ordinal, Arc::new(Database::new(row.clone())));
                        self.ids.insert(row.id, row.ordinal);
                    }
                }
            }
            Change::DropDatabase(id) => {
                let ordinal = self.ids.remove(id).ok_or_else(|| missing("database", id))?;
                let database = self.databases.remove(&ordinal).ok_or_else(|| missing("database", id))?;
                for table in database.stored_tables() {
                    self.forget_table(table, removed, lists);
                }
                Arc::make_mut(&mut self.properties).retain(|key, _| key.owner != PropertyOwner::Database(*id));
            }
            Change::PutTable(row) => self.put_table(row, assembly, removed)?,
            Change::DropTable(id) => {
                let table = Arc::clone(self.table_by_id(*id).ok_or_else(|| missing("table", id))?);
                self.forget_table(&table, removed, lists);
                let database = self.database_mut(table.database_id())?;
                if let Some(ordinal) = database.ids.remove(id) {
                    database.tables.remove(&ordinal);
                }
            }
            Change::PutFunction(row) => {
                let database = self.database_mut(row.database)?;
                database.functions.insert(row.name.clone(), Arc::new(row.clone()));
            }
            Change::DropFunction { database, name } => {
                self.database_mut(*database)?.functions.remove(name).ok_or_else(|| missing("function", name))?;
            }
            Change::AddExtent(row) => {
                self.see_ordinal(row.ordinal);
                let table = Arc::clone(self.table_by_id(row.table).ok_or_else(|| missing("table", row.table))?);
                let file = assembly.files.get(&row.id).cloned().unwrap_or_else(|| {
                    let name = row.path.rsplit('/').next().unwrap_or_default();
                    DataFile::committed(table.directory.path().join(name), Arc::clone(&table.directory))
                });
                let list = lists.entry(row.table).or_insert_with(|| table.extents().to_vec());
                list.push(Arc::new(Extent::new((**row).clone(), file)));
                removed.touched.push(row.table);
            }
            Change::DropExtent { table, extent } => {
                let list = self.list(*table, lists)?;
                let index = list.iter().position(|own| own.id() == *extent).ok_or_else(|| missing("extent", extent))?;
                removed.extents.push(list.remove(index));
                removed.touched.push(*table);
            }
            Change::TagExtent { table, extent, tags } => {
                let list = self.list(*table, lists)?;
                let old = list.iter_mut().find(|own| own.id() == *extent).ok_or_else(|| missing("extent", extent))?;
                let row = ExtentRow { tags: tags.clone(), ..old.row.clone() };
                *old = Arc::new(Extent::new(row, Arc::clone(&old.file)));
            }
            Change::PutProperty { key, value } => {
                Arc::make_mut(&mut self.properties).insert(key.clone(), value.clone());
            }
            Change::DropProperty(key) => {
                Arc::make_mut(&mut self.properties).remove(key);
            }
            Change::Note { .. } => {}
        }
        Ok(())
    }

    fn list<'l>(
        &self,
        table: TableId,
        lists: &'l mut HashMap<TableId, Vec<Arc<Extent>>>,
    ) -> Result<&'l mut Vec<Arc<Extent>>> {
        let known = self.table_by_id(table).ok_or_else(|| missing("table", table))?;
        Ok(lists.entry(table).or_insert_with(|| known.extents().to_vec()))
    }

    fn put_table(&mut self, row: &TableRow, assembly: &Assembly<'_>, removed: &mut Removed) -> Result<()> {
        self.see_ordinal(row.ordinal);
        removed.touched.push(row.id);
        let database = self.database_mut(row.database)?;
        let root = database.row.root.clone();
        match database.tables.get_mut(&row.ordinal) {
            Some(table) => {
                let table = Arc::make_mut(table);
                if table.row.columns != row.columns {
                    table.shape = Shape::of(row);
                }
                table.row = row.clone();
            }
            None => {
                let directory = assembly.directories.get(&row.id).cloned().unwrap_or_else(|| {
                    let place = assembly.roots.place(assembly.layout, root.as_deref());
                    TableDirectory::new(place, row.database, row.id, assembly.reaper.clone())
                });
                let shape = Shape::of(row);
                let table = Table { row: row.clone(), shape, extents: Arc::default(), directory };
                database.tables.insert(row.ordinal, Arc::new(table));
                database.ids.insert(row.id, row.ordinal);
                self.tables.insert(row.id, row.database);
            }
        }
        Ok(())
    }

    /// Notes what goes with a table; the caller takes it out of its database.
    fn forget_table(
        &mut self,
        table: &Arc<Table>,
        removed: &mut Removed,
        lists: &mut HashMap<TableId, Vec<Arc<Extent>>>,
    ) {
        let id = table.id();
        match lists.remove(&id) {
            Some(list) => removed.extents.extend(list),
            None => removed.extents.extend(table.extents().iter().cloned()),
        }
        removed.tables.push(Arc::clone(table));
        self.tables.remove(&id);
        if self.properties.keys().any(|key| key.owner == PropertyOwner::Table(id)) {
            Arc::make_mut(&mut self.properties).retain(|key, _| key.owner != PropertyOwner::Table(id));
        }
    }

    fn see_ordinal(&mut self, ordinal: i64) {
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
    }

    fn database_mut(&mut self, id: DatabaseId) -> Result<&mut Database> {
        let ordinal = self.ids.get(&id).ok_or_else(|| missing("database", id))?;
        self.databases.get_mut(ordinal).map(Arc::make_mut).ok_or_else(|| missing("database", id))
    }

    fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        let database = self.database_mut(*self.tables.get(&id)?).ok()?;
        let ordinal = *database.ids.get(&id)?;
        database.tables.get_mut(&ordinal).map(Arc::make_mut)
    }

    /// Names may swap within one list of changes, so they are indexed at its end.
    fn index_names(&mut self) {
        self.names = self.databases.iter().map(|(ordinal, database)| (fold(database.name()), *ordinal)).collect();
        for database in self.databases.values_mut() {
            let fits = database.names.len() == database.tables.len()
                && database.tables.iter().all(|(ordinal, table)| database.names.get(table.name()) == Some(ordinal));
            if !fits {
                let names = database.tables.iter().map(|(ordinal, table)| (table.name().to_string(), *ordinal));
                let names = names.collect();
                Arc::make_mut(database).names = names;
            }
        }
    }
}

fn missing(what: &str, id: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("a change names {what} {id}, which does not exist"))
}
