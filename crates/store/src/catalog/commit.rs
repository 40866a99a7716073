//! A commit of data: extents of any number of tables, with the tables they need, in one transaction.

use std::sync::Arc;

use crate::catalog::plan::{self, Alteration, Draft};
use crate::catalog::snapshot::{Shape, Snapshot};
use crate::catalog::{Change, ExtentRow, PropertyEdit, TableRow};
use crate::error::{Entity, Error, Result};
use crate::extent::StagedExtent;
use crate::extent::write::Target;
use crate::files::TableDirectory;
use crate::id::{ExtentId, TableId};

/// A table that exists only once a [`Commit`] with it has succeeded; data can be written for it before.
#[derive(Debug)]
pub struct NewTable {
    pub(crate) row: TableRow,
    pub(crate) properties: Vec<(String, String, serde_json::Value)>,
    pub(crate) directory: Arc<TableDirectory>,
}

impl NewTable {
    /// The id the table will have.
    pub fn id(&self) -> TableId {
        self.row.id
    }

    /// Where a writer writes for it.
    pub fn target(&self) -> Target {
        Target {
            database: self.row.database,
            table: self.row.id,
            shape: Shape::of(&self.row),
            directory: Arc::clone(&self.directory),
        }
    }
}

/// Changes of data that become visible together or not at all. Steps apply in the order of the fields.
#[derive(Debug, Default)]
pub struct Commit {
    unless_tagged: Vec<(TableId, Vec<String>)>,
    create: Vec<NewTable>,
    alter: Vec<(TableId, Vec<Alteration>)>,
    replace: Vec<TableId>,
    drop: Vec<(TableId, ExtentId)>,
    add: Vec<(StagedExtent, Vec<String>)>,
    tag: Vec<(TableId, ExtentId, Vec<String>)>,
    drop_tables: Vec<TableId>,
    edits: Vec<PropertyEdit>,
    note: Option<(String, serde_json::Value)>,
}

impl Commit {
    /// An empty commit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits nothing at all if an extent of the table carries one of these tags: how an ingestion that is sent
    /// twice is done once.
    pub fn unless_tagged(mut self, table: TableId, tags: Vec<String>) -> Self {
        self.unless_tagged.push((table, tags));
        self
    }

    /// Creates a table. Fails with [`Error::Exists`] if its name was taken meanwhile.
    pub fn create(mut self, table: NewTable) -> Self {
        self.create.push(table);
        self
    }

    /// Alters an existing table in the same transaction.
    pub fn alter(mut self, table: TableId, alteration: Alteration) -> Self {
        match self.alter.iter_mut().find(|(known, _)| *known == table) {
            Some((_, steps)) => steps.push(alteration),
            None => self.alter.push((table, vec![alteration])),
        }
        self
    }

    /// Drops all extents the table has when the commit happens.
    pub fn replace(mut self, table: TableId) -> Self {
        self.replace.push(table);
        self
    }

    /// Drops one extent; the whole commit fails if it is gone already.
    pub fn drop_extent(mut self, table: TableId, extent: ExtentId) -> Self {
        self.drop.push((table, extent));
        self
    }

    /// Adds what a writer has written.
    pub fn add(mut self, extent: StagedExtent, tags: Vec<String>) -> Self {
        self.add.push((extent, tags));
        self
    }

    /// Adds all that a writer has written, with the same tags.
    pub fn add_all(mut self, extents: impl IntoIterator<Item = StagedExtent>, tags: &[String]) -> Self {
        self.add.extend(extents.into_iter().map(|extent| (extent, tags.to_vec())));
        self
    }

    /// Drops a table; one that is gone already does not matter.
    pub fn drop_table(mut self, table: TableId) -> Self {
        self.drop_tables.push(table);
        self
    }

    /// Changes a property in the same transaction; nothing happens at all when its condition does not hold.
    pub fn edit(mut self, edit: PropertyEdit) -> Self {
        self.edits.push(edit);
        self
    }

    /// Notes in the same transaction that a job has done this: what a restart finds when the job's record was not
    /// brought up to date any more. The note lasts until the record changes.
    pub fn note(mut self, job: &str, value: serde_json::Value) -> Self {
        self.note = Some((job.to_string(), value));
        self
    }

    /// Replaces the tags of an existing extent.
    pub fn tag(mut self, table: TableId, extent: ExtentId, tags: Vec<String>) -> Self {
        self.tag.push((table, extent, tags));
        self
    }
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The catalog right after it.
    pub snapshot: Arc<Snapshot>,
    /// The extents it added, in the order they were given.
    pub extents: Vec<ExtentId>,
    /// True when a tag showed that this was done before, and nothing was changed.
    pub skipped: bool,
}

/// What planning found out; becomes a [`Committed`].
pub(crate) struct Outcome {
    pub extents: Vec<ExtentId>,
    pub skipped: bool,
}

pub(crate) fn plan(snapshot: &Snapshot, draft: &mut Draft, commit: Commit) -> Result<Outcome> {
    for (table, tags) in &commit.unless_tagged {
        if let Some(known) = snapshot.table_by_id(*table)
            && tags.iter().any(|tag| known.has_tag(tag))
        {
            return Ok(Outcome { extents: vec![], skipped: true });
        }
    }
    let mut created = Vec::with_capacity(commit.create.len());
    for NewTable { row, properties, directory } in commit.create {
        if created.iter().any(|(_, database, name)| *database == row.database && *name == row.name) {
            return Err(Error::exists(Entity::Table, &row.name));
        }
        created.push((row.id, row.database, row.name.clone()));
        draft.directories.insert(row.id, directory);
        plan::put_new_table(snapshot, draft, row, &properties)?;
    }
    for (table, steps) in &commit.alter {
        plan::alter_table(snapshot, draft, *table, steps)?;
    }
    for table in &commit.replace {
        plan::clear_table(snapshot, draft, *table)?;
    }
    for (table, extent) in &commit.drop {
        // A table that is replaced in the same commit loses the extent anyway.
        if commit.replace.contains(table) {
            continue;
        }
        if plan::table(snapshot, *table)?.extent(*extent).is_none() {
            return Err(Error::not_found(Entity::Extent, extent));
        }
        draft.changes.push(Change::DropExtent { table: *table, extent: *extent });
    }
    let mut extents = Vec::with_capacity(commit.add.len());
    for (staged, tags) in commit.add {
        if !created.iter().any(|(id, ..)| *id == staged.table) {
            plan::table(snapshot, staged.table)?;
            // Data for a table that somebody drops meanwhile has no place to go.
            if snapshot.dropped_table(staged.table).is_some() {
                return Err(Error::not_found(Entity::Table, staged.table));
            }
        }
        extents.push(staged.id);
        draft.files.insert(staged.id, Arc::clone(&staged.file));
        let (ingested, ordinal) = match staged.origin {
            Some(origin) => origin,
            None => (draft.now, draft.ordinal()),
        };
        let row = ExtentRow {
            id: staged.id,
            table: staged.table,
            ordinal,
            path: staged.path,
            rows: staged.rows,
            bytes: staged.bytes,
            original_bytes: staged.original_bytes,
            created: staged.created.unwrap_or(draft.now),
            ingested,
            tags,
            columns: staged.columns,
        };
        draft.changes.push(Change::AddExtent(Box::new(row)));
    }
    for (table, extent, tags) in commit.tag {
        if plan::table(snapshot, table)?.extent(extent).is_none() {
            return Err(Error::not_found(Entity::Extent, extent));
        }
        draft.changes.push(Change::TagExtent { table, extent, tags });
    }
    for table in commit.drop_tables {
        if snapshot.table_by_id(table).is_some() {
            draft.changes.push(Change::DropTable(table));
        }
    }
    plan::edit_properties(snapshot, draft, commit.edits)?;
    if let Some((name, value)) = commit.note {
        draft.changes.push(Change::Note { name, value });
    }
    Ok(Outcome { extents, skipped: false })
}
