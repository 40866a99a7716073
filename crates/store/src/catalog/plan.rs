//! From a wish to a list of changes: every rule about what may be created, altered, renamed and dropped.
//!
//! Functions here see one snapshot and write one [`Draft`]; they do no input or output. The caller makes the draft
//! durable while nothing else can change the catalog, so what was checked still holds when it is committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidewater_kql::{KqlType, TableSchema};

use crate::catalog::snapshot::{Database, Snapshot, Table};
use crate::catalog::{
    Change, ColumnRow, DatabaseRow, Expect, FunctionRow, PropertyEdit, PropertyKey, PropertyOwner, TableRow,
};
use crate::error::{Entity, Error, Result};
use crate::files::{DataFile, TableDirectory};
use crate::id::{DatabaseId, ExtentId, TableId};

/// What to do when the object is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Refuse with [`Error::Exists`].
    New,
    /// Leave it as it is.
    IfNotExists,
    /// Tables: add missing columns, keep the others. Functions: replace. Databases: leave it.
    Merge,
}

/// A table to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSpec {
    /// Name; case-sensitive.
    pub name: String,
    /// Columns in order.
    pub schema: TableSchema,
    /// Folder.
    pub folder: Option<String>,
    /// Description.
    pub docstring: Option<String>,
    /// Holds the rows of something else: no user sees it by name.
    pub internal: bool,
    /// Properties that the table begins with: kind, name and value. One that exists already keeps its own.
    pub properties: Vec<(String, String, serde_json::Value)>,
}

impl TableSpec {
    /// A table without folder and description.
    pub fn new(name: impl Into<String>, schema: TableSchema) -> Self {
        Self { name: name.into(), schema, ..Self::default() }
    }

    /// A table that no user sees by name; its own name only has to be unique.
    pub fn internal(name: impl Into<String>, schema: TableSchema) -> Self {
        Self { internal: true, ..Self::new(name, schema) }
    }
}

/// A function to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Name; case-sensitive.
    pub name: String,
    /// Parameter list with parentheses: `(a:long, T:(*))`.
    pub parameters: String,
    /// Body with braces.
    pub body: String,
    /// Folder.
    pub folder: Option<String>,
    /// Description.
    pub docstring: Option<String>,
    /// A view: wildcards of tables see it.
    pub is_view: bool,
    /// The value of its [`COMPANION`] property of this kind, for a function that is new.
    pub companion: Option<(String, serde_json::Value)>,
}

/// Between what a property is and the kind of the entity it belongs to: `principals of function`. Such a property of a database
/// has the entity's name, and goes when the entity goes.
pub const COMPANION: &str = " of ";

/// What functions are called in the kinds of companions.
const FUNCTION: &str = "function";

/// Companions go with what they belong to, so that nothing of the same name inherits them.
pub(crate) fn drop_companions(snapshot: &Snapshot, draft: &mut Draft) {
    let mut gone: Vec<(DatabaseId, String, String)> = Vec::new();
    for change in &draft.changes {
        match change {
            Change::DropFunction { database, name } => gone.push((*database, FUNCTION.to_string(), name.clone())),
            Change::DropProperty(PropertyKey { owner: PropertyOwner::Database(database), kind, name })
                if !kind.contains(COMPANION) =>
            {
                gone.push((*database, kind.clone(), name.clone()));
            }
            _ => {}
        }
    }
    for (database, kind, name) in gone {
        let owner = PropertyOwner::Database(database);
        let ending = format!("{COMPANION}{kind}");
        let keys: Vec<PropertyKey> =
            snapshot.keys_of(owner).filter(|key| key.name == name && key.kind.ends_with(&ending)).cloned().collect();
        for key in keys {
            let is_put = draft.changes.iter().any(
                |change| matches!(change, Change::PutProperty { key: put, .. } | Change::DropProperty(put) if *put == key),
            );
            if !is_put {
                draft.changes.push(Change::DropProperty(key));
            }
        }
    }
}

/// One alteration of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// These columns in this order; columns that are not listed go, with their data.
    Columns(TableSchema),
    /// Adds those of these columns that are missing.
    MergeColumns(TableSchema),
    /// Renames columns; all at once, so names may swap.
    RenameColumns(Vec<(String, String)>),
    /// Removes columns with their data.
    DropColumns(Vec<String>),
    /// Gives a column another type; its data is lost, as Kusto documents.
    RetypeColumn(String, KqlType),
    /// Sets or removes the folder.
    Folder(Option<String>),
    /// Sets or removes the description.
    Docstring(Option<String>),
    /// Sets (`Some`) or removes descriptions of columns; others keep theirs.
    ColumnDocstrings(Vec<(String, Option<String>)>),
}

/// Changes under construction.
pub(crate) struct Draft {
    pub changes: Vec<Change>,
    pub files: HashMap<ExtentId, Arc<DataFile>>,
    pub directories: HashMap<TableId, Arc<TableDirectory>>,
    pub now: i64,
    /// The commit that it becomes.
    pub sequence: u64,
    ordinal: i64,
}

impl Draft {
    /// Changes of commit number `sequence` on top of a snapshot.
    pub(crate) fn new(snapshot: &Snapshot, sequence: u64, now: i64) -> Self {
        Self {
            changes: vec![],
            files: HashMap::new(),
            directories: HashMap::new(),
            now,
            sequence,
            // Cursors are made of the commit's number, which survives a restart; the highest ordinal need not.
            ordinal: snapshot.next_ordinal().max(first_ordinal(sequence)),
        }
    }

    pub(crate) fn ordinal(&mut self) -> i64 {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        ordinal
    }
}

/// The smallest ordinal that a commit gives: those of all earlier commits are lower.
pub(crate) fn first_ordinal(sequence: u64) -> i64 {
    const ORDINALS_PER_COMMIT_BITS: u32 = 20;
    i64::try_from(sequence).unwrap_or(i64::MAX).saturating_mul(1 << ORDINALS_PER_COMMIT_BITS)
}

/// Longest name of anything. Source: "Entity names" page.
const MAX_NAME_CHARACTERS: usize = 1024;
/// Most columns of a table: a bound on what one commit and one file footer can grow to.
const MAX_COLUMNS: usize = 10_000;

pub(crate) fn check_name(entity: Entity, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Invalid(format!("{entity} name is empty")));
    }
    if name.chars().count() > MAX_NAME_CHARACTERS {
        return Err(Error::Invalid(format!("{entity} name is longer than {MAX_NAME_CHARACTERS} characters")));
    }
    if name.contains('\0') {
        return Err(Error::Invalid(format!("{entity} name contains a null character")));
    }
    Ok(())
}

fn check_schema(schema: &TableSchema) -> Result<()> {
    if schema.columns.len() > MAX_COLUMNS {
        return Err(Error::Invalid(format!("table has more than {MAX_COLUMNS} columns")));
    }
    let mut seen = HashSet::new();
    for column in &schema.columns {
        check_name(Entity::Column, &column.name)?;
        if !seen.insert(column.name.as_str()) {
            return Err(Error::Invalid(format!("column '{}' is given twice", column.name)));
        }
    }
    Ok(())
}

pub(crate) fn database(snapshot: &Snapshot, id: DatabaseId) -> Result<&Arc<Database>> {
    snapshot.database_by_id(id).ok_or_else(|| Error::not_found(Entity::Database, id))
}

pub(crate) fn table(snapshot: &Snapshot, id: TableId) -> Result<&Arc<Table>> {
    snapshot.table_by_id(id).ok_or_else(|| Error::not_found(Entity::Table, id))
}

pub(crate) fn create_database(
    snapshot: &Snapshot,
    draft: &mut Draft,
    name: &str,
    mode: CreateMode,
    (id, root): (DatabaseId, Option<String>),
) -> Result<DatabaseId> {
    check_name(Entity::Database, name)?;
    if let Some(known) = snapshot.database(name) {
        return match mode {
            CreateMode::New => Err(Error::exists(Entity::Database, name)),
            CreateMode::IfNotExists | CreateMode::Merge => Ok(known.id()),
        };
    }
    let (ordinal, created) = (draft.ordinal(), draft.now);
    let row = DatabaseRow { id, ordinal, name: name.into(), pretty_name: None, created, root };
    draft.changes.push(Change::PutDatabase(row));
    Ok(id)
}

pub(crate) fn rename_database(snapshot: &Snapshot, draft: &mut Draft, id: DatabaseId, name: &str) -> Result<()> {
    check_name(Entity::Database, name)?;
    let known = database(snapshot, id)?;
    if snapshot.database(name).is_some_and(|other| other.id() != id) {
        return Err(Error::exists(Entity::Database, name));
    }
    draft.changes.push(Change::PutDatabase(DatabaseRow { name: name.into(), ..known.row().clone() }));
    Ok(())
}

pub(crate) fn set_pretty_name(
    snapshot: &Snapshot,
    draft: &mut Draft,
    id: DatabaseId,
    pretty_name: Option<String>,
) -> Result<()> {
    let known = database(snapshot, id)?;
    draft.changes.push(Change::PutDatabase(DatabaseRow { pretty_name, ..known.row().clone() }));
    Ok(())
}

pub(crate) fn drop_database(snapshot: &Snapshot, draft: &mut Draft, id: DatabaseId) -> Result<()> {
    let known = database(snapshot, id)?;
    draft.changes.push(Change::DropDatabase(id));
    // What lies elsewhere is swept by the next start, if it does not go at once.
    if let Some(root) = known.root() {
        let (key, value) = (crate::roots::sweep::key(id), serde_json::Value::from(root));
        draft.changes.push(Change::PutProperty { key, value });
    }
    Ok(())
}

/// The row of a table that does not exist yet; its place in creation order is given at commit.
pub(crate) fn new_table_row(database: DatabaseId, spec: &TableSpec, now: i64) -> Result<TableRow> {
    check_name(Entity::Table, &spec.name)?;
    check_schema(&spec.schema)?;
    let mut row = TableRow {
        id: TableId::random(),
        database,
        ordinal: 0,
        name: spec.name.clone(),
        columns: vec![],
        retired: vec![],
        folder: spec.folder.clone(),
        docstring: spec.docstring.clone(),
        created: now,
        internal: spec.internal,
    };
    for column in &spec.schema.columns {
        let at_rest = row.fresh_at_rest(&column.name);
        row.columns.push(ColumnRow::new(column, at_rest));
    }
    Ok(row)
}

pub(crate) fn create_table(
    snapshot: &Snapshot,
    draft: &mut Draft,
    database_id: DatabaseId,
    spec: &TableSpec,
    mode: CreateMode,
) -> Result<TableId> {
    let known = database(snapshot, database_id)?;
    if let Some(table) = known.table(&spec.name) {
        return match mode {
            CreateMode::New => Err(Error::exists(Entity::Table, &spec.name)),
            CreateMode::IfNotExists => Ok(table.id()),
            CreateMode::Merge => {
                let mut row = table.row().clone();
                merge_columns(&mut row, &spec.schema)?;
                row.folder = spec.folder.clone().or(row.folder);
                row.docstring = spec.docstring.clone().or(row.docstring);
                put_if_changed(draft, table, row);
                Ok(table.id())
            }
        };
    }
    let row = new_table_row(database_id, spec, draft.now)?;
    let id = row.id;
    put_new_table(snapshot, draft, row, &spec.properties)?;
    Ok(id)
}

/// Adds the row of a new table, whose name must be free.
pub(crate) fn put_new_table(
    snapshot: &Snapshot,
    draft: &mut Draft,
    row: TableRow,
    properties: &[(String, String, serde_json::Value)],
) -> Result<()> {
    if database(snapshot, row.database)?.table(&row.name).is_some() {
        return Err(Error::exists(Entity::Table, &row.name));
    }
    let row = TableRow { ordinal: draft.ordinal(), ..row };
    let owner = PropertyOwner::Table(row.id);
    draft.changes.push(Change::PutTable(row));
    for (kind, name, value) in properties {
        let key = PropertyKey { owner, kind: kind.clone(), name: name.clone() };
        draft.changes.push(Change::PutProperty { key, value: value.clone() });
    }
    Ok(())
}

fn put_if_changed(draft: &mut Draft, table: &Table, row: TableRow) {
    if table.row() != &row {
        draft.changes.push(Change::PutTable(row));
    }
}

fn merge_columns(row: &mut TableRow, schema: &TableSchema) -> Result<()> {
    check_schema(schema)?;
    for column in &schema.columns {
        match row.columns.iter().find(|own| own.name == column.name) {
            Some(own) if own.ty == column.ty => {}
            Some(own) => return Err(type_change(&own.name, own.ty, column.ty)),
            None => {
                let at_rest = row.fresh_at_rest(&column.name);
                row.columns.push(ColumnRow::new(column, at_rest));
            }
        }
    }
    if row.columns.len() > MAX_COLUMNS {
        return Err(Error::Invalid(format!("table has more than {MAX_COLUMNS} columns")));
    }
    Ok(())
}

fn type_change(name: &str, from: KqlType, to: KqlType) -> Error {
    Error::Invalid(format!("column '{name}' is of type {from} and cannot become {to} with its data kept"))
}

fn set_columns(row: &mut TableRow, schema: &TableSchema) -> Result<()> {
    check_schema(schema)?;
    let old = std::mem::take(&mut row.columns);
    let kept: HashSet<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
    for gone in old.iter().filter(|own| !kept.contains(own.name.as_str())) {
        row.retired.push(gone.at_rest().to_string());
    }
    // Names still in use must be known before new columns choose theirs.
    let (mut taken, mut columns): (Vec<ColumnRow>, Vec<Option<ColumnRow>>) = (vec![], vec![]);
    for column in &schema.columns {
        match old.iter().find(|own| own.name == column.name) {
            Some(own) if own.ty == column.ty => {
                taken.push(own.clone());
                columns.push(Some(own.clone()));
            }
            Some(own) => return Err(type_change(&own.name, own.ty, column.ty)),
            None => columns.push(None),
        }
    }
    row.columns = taken;
    let mut result = Vec::with_capacity(columns.len());
    for (column, known) in schema.columns.iter().zip(columns) {
        result.push(known.unwrap_or_else(|| {
            let fresh = ColumnRow::new(column, row.fresh_at_rest(&column.name));
            row.columns.push(fresh.clone());
            fresh
        }));
    }
    row.columns = result;
    Ok(())
}

fn column_index(row: &TableRow, name: &str) -> Result<usize> {
    row.columns.iter().position(|own| own.name == name).ok_or_else(|| Error::not_found(Entity::Column, name))
}

fn alter_row(row: &mut TableRow, alteration: &Alteration) -> Result<()> {
    match alteration {
        Alteration::Columns(schema) => set_columns(row, schema)?,
        Alteration::MergeColumns(schema) => merge_columns(row, schema)?,
        Alteration::RenameColumns(pairs) => {
            let before = row.columns.clone();
            for (from, to) in pairs {
                check_name(Entity::Column, to)?;
                let index = before.iter().position(|own| &own.name == from);
                let index = index.ok_or_else(|| Error::not_found(Entity::Column, from))?;
                row.columns[index] = before[index].renamed(to);
            }
            check_schema(&row.schema())?;
        }
        Alteration::DropColumns(names) => {
            for name in names {
                let gone = row.columns.remove(column_index(row, name)?);
                row.retired.push(gone.at_rest().to_string());
            }
        }
        Alteration::RetypeColumn(name, ty) => {
            let index = column_index(row, name)?;
            if row.columns[index].ty != *ty {
                row.retired.push(row.columns[index].at_rest().to_string());
                let docstring = row.columns[index].docstring.take();
                let column = tidewater_kql::Column::new(name, *ty);
                let fresh = ColumnRow::new(&column, row.fresh_at_rest(name));
                row.columns[index] = ColumnRow { docstring, ..fresh };
            }
        }
        Alteration::Folder(folder) => row.folder.clone_from(folder),
        Alteration::Docstring(docstring) => row.docstring.clone_from(docstring),
        Alteration::ColumnDocstrings(pairs) => {
            for (name, docstring) in pairs {
                let index = column_index(row, name)?;
                row.columns[index].docstring.clone_from(docstring);
            }
        }
    }
    Ok(())
}

pub(crate) fn alter_table(snapshot: &Snapshot, draft: &mut Draft, id: TableId, steps: &[Alteration]) -> Result<()> {
    let known = table(snapshot, id)?;
    let mut row = known.row().clone();
    for step in steps {
        alter_row(&mut row, step)?;
    }
    put_if_changed(draft, known, row);
    Ok(())
}

/// Renames tables of one database, all at once: `A=B, B=A` swaps them.
pub(crate) fn rename_tables(
    snapshot: &Snapshot,
    draft: &mut Draft,
    id: DatabaseId,
    pairs: &[(String, String)],
) -> Result<()> {
    let known = database(snapshot, id)?;
    let mut moved = HashSet::new();
    for (from, to) in pairs {
        check_name(Entity::Table, to)?;
        let table = known.table(from).ok_or_else(|| Error::not_found(Entity::Table, from))?;
        if !moved.insert(from.as_str()) {
            return Err(Error::Invalid(format!("table '{from}' is renamed twice")));
        }
        draft.changes.push(Change::PutTable(TableRow { name: to.clone(), ..table.row().clone() }));
    }
    let mut targets = HashSet::new();
    for (_, to) in pairs {
        let occupied = known.table(to).is_some() && !moved.contains(to.as_str());
        if occupied || !targets.insert(to.as_str()) {
            return Err(Error::exists(Entity::Table, to));
        }
    }
    Ok(())
}

pub(crate) fn drop_tables(snapshot: &Snapshot, draft: &mut Draft, ids: &[TableId]) -> Result<()> {
    let mut seen = HashSet::new();
    for id in ids {
        table(snapshot, *id)?;
        if seen.insert(id) {
            draft.changes.push(Change::DropTable(*id));
        }
    }
    Ok(())
}

pub(crate) fn put_function(
    snapshot: &Snapshot,
    draft: &mut Draft,
    database_id: DatabaseId,
    spec: &FunctionSpec,
    mode: CreateMode,
) -> Result<()> {
    check_name(Entity::Function, &spec.name)?;
    let known = database(snapshot, database_id)?.function(&spec.name);
    match (known, mode) {
        (Some(_), CreateMode::New) => return Err(Error::exists(Entity::Function, &spec.name)),
        (Some(_), CreateMode::IfNotExists) => return Ok(()),
        _ => {}
    }
    if let (None, Some((kind, value))) = (known, &spec.companion) {
        let (owner, name) = (PropertyOwner::Database(database_id), spec.name.clone());
        let key = PropertyKey { owner, kind: format!("{kind}{COMPANION}{FUNCTION}"), name };
        draft.changes.push(Change::PutProperty { key, value: value.clone() });
    }
    draft.changes.push(Change::PutFunction(FunctionRow {
        database: database_id,
        name: spec.name.clone(),
        parameters: spec.parameters.clone(),
        body: spec.body.clone(),
        folder: spec.folder.clone(),
        docstring: spec.docstring.clone(),
        created: known.map_or(draft.now, |known| known.created),
        is_view: spec.is_view,
    }));
    Ok(())
}

pub(crate) fn drop_functions(
    snapshot: &Snapshot,
    draft: &mut Draft,
    database_id: DatabaseId,
    names: &[String],
) -> Result<()> {
    let known = database(snapshot, database_id)?;
    let mut seen = HashSet::new();
    for name in names {
        if known.function(name).is_none() {
            return Err(Error::not_found(Entity::Function, name));
        }
        if seen.insert(name) {
            draft.changes.push(Change::DropFunction { database: database_id, name: name.clone() });
        }
    }
    Ok(())
}

pub(crate) fn put_property(
    snapshot: &Snapshot,
    draft: &mut Draft,
    key: PropertyKey,
    value: Option<serde_json::Value>,
) -> Result<()> {
    match key.owner {
        PropertyOwner::Cluster => {}
        PropertyOwner::Database(id) => database(snapshot, id).map(|_| ())?,
        PropertyOwner::Table(id) => table(snapshot, id).map(|_| ())?,
    }
    match value {
        Some(value) => draft.changes.push(Change::PutProperty { key, value }),
        None if snapshot.property(&key).is_none() => return Err(Error::not_found(Entity::Property, &key.name)),
        None => draft.changes.push(Change::DropProperty(key)),
    }
    Ok(())
}

/// Checks the conditions of edits and carries them out.
pub(crate) fn edit_properties(snapshot: &Snapshot, draft: &mut Draft, edits: Vec<PropertyEdit>) -> Result<()> {
    for edit in edits {
        let known = snapshot.property(&edit.key);
        match (&edit.expect, known) {
            (Expect::Anything, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => {}
            (Expect::Absent, Some(_)) => return Err(Error::exists(Entity::Property, &edit.key.name)),
            (Expect::Present, None) => return Err(Error::not_found(Entity::Property, &edit.key.name)),
            (Expect::Value(expected), Some(known)) if expected == known => {}
            (Expect::Value(_), _) => {
                return Err(Error::Invalid(format!("'{}' was changed by another request meanwhile", edit.key.name)));
            }
        }
        if edit.value.is_some() || known.is_some() {
            put_property(snapshot, draft, edit.key, edit.value)?;
        }
    }
    Ok(())
}

pub(crate) fn clear_table(snapshot: &Snapshot, draft: &mut Draft, id: TableId) -> Result<()> {
    for extent in table(snapshot, id)?.extents() {
        draft.changes.push(Change::DropExtent { table: id, extent: extent.id() });
    }
    Ok(())
}
