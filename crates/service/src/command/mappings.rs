//! Ingestion mappings of tables and databases: made, changed, shown, dropped.
//!
//! A mapping is a property of its owner under its kind and name, so it goes with the owner.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewater_formats::Mapping;
use tidewater_kql::KqlType;
use tidewater_kql::ast::Property;
use tidewater_kql::command::{MappingMode, MappingOwner, property_flag};
use tidewater_store::{Database, Expect, PropertyEdit, PropertyOwner, Table};

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Fault, Result};
use crate::ingest::stored_mappings::{self, StoredIngestionMapping};
use crate::table::{Columns, TableBuilder};

const OF_DATABASE: Columns = &[
    ("Name", KqlType::String),
    ("Kind", KqlType::String),
    ("Mapping", KqlType::String),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Database", KqlType::String),
];

const OF_TABLE: Columns = &[
    ("Name", KqlType::String),
    ("Kind", KqlType::String),
    ("Mapping", KqlType::String),
    ("LastUpdatedOn", KqlType::DateTime),
    ("Database", KqlType::String),
    ("Table", KqlType::String),
];

/// A database or one of its tables.
struct Owner {
    database: Arc<Database>,
    table: Option<Arc<Table>>,
}

impl Owner {
    fn property(&self) -> PropertyOwner {
        match &self.table {
            Some(table) => PropertyOwner::Table(table.id()),
            None => PropertyOwner::Database(self.database.id()),
        }
    }
}

fn owner(request: &Request<'_>, owner: &MappingOwner) -> Result<Owner> {
    Ok(match owner {
        MappingOwner::Table(name) => {
            let (database, table) = request.table_at(&name.text)?;
            Owner { database: Arc::clone(database), table: Some(Arc::clone(table)) }
        }
        MappingOwner::Database(Some(name)) => {
            Owner { database: Arc::clone(request.named_database(&name.text)?), table: None }
        }
        MappingOwner::Database(None) => Owner { database: Arc::clone(request.database()?), table: None },
        MappingOwner::Cluster => return Err(Error::internal("mappings have owners")),
    })
}

fn not_found(mapping: &str, owner: &Owner) -> Error {
    let place = owner.table.as_ref().map_or(owner.database.name(), |table| table.name());
    Error::new(
        Fault::MappingNotFound,
        format!("Entity ID '{mapping}' of kind 'MappingPersistent' was not found in '{place}'."),
    )
}

/// The word that answers use for a kind: `Json`.
fn shown_kind(kind: &str) -> String {
    match kind {
        "w3clogfile" => "W3CLogFile".to_string(),
        "apacheavro" => "ApacheAvro".to_string(),
        _ => kind[..1].to_uppercase() + &kind[1..],
    }
}

fn row(out: &mut TableBuilder, owner: &Owner, kind: &str, name: &str, mapping: &StoredIngestionMapping) {
    let mut cells = vec![
        name.into(),
        shown_kind(kind).into(),
        mapping.text.as_str().into(),
        mapping.updated.into(),
        owner.database.name().into(),
    ];
    if let Some(table) = &owner.table {
        cells.push(table.name().into());
    }
    out.row(cells);
}

fn table_of(owner: &Owner) -> TableBuilder {
    TableBuilder::new(if owner.table.is_some() { OF_TABLE } else { OF_DATABASE })
}

/// `.create`, `.create-or-alter`, `.alter`, `.alter-merge` `... ingestion KIND mapping "M" "[...]"`
pub async fn put(
    request: &Request<'_>,
    mode: MappingMode,
    of: &MappingOwner,
    kind: &str,
    name: &str,
    text: &str,
    properties: &[Property],
) -> Result<ResultTable> {
    if kind == "azmonstream" {
        return Err(Error::not_served("mappings of the kind 'azmonstream'"));
    }
    let owner = owner(request, of)?;
    let known = stored_mappings::find(&request.snapshot, owner.property(), kind, name);
    match (mode, &known) {
        (MappingMode::Create, Some(_)) => return Err(Error::entity_exists("MappingPersistent", name)),
        (MappingMode::Alter | MappingMode::AlterMerge, None) => return Err(not_found(name, &owner)),
        _ => {}
    }
    let mut columns = Mapping::json(text)
        .map_err(|error| Error::bad_request(format!("the mapping '{name}' is not JSON: {error}")))?;
    if let (MappingMode::AlterMerge, Some(known)) = (mode, &known) {
        columns = merged(&known.text, columns)?;
    }
    let text = columns.to_string();
    Mapping::parse(&text)?;
    let mapping = StoredIngestionMapping { text, updated: request.context.now_ticks };
    let expect = match &known {
        Some(known) => Expect::Value(known.json()),
        None => Expect::Absent,
    };
    let key = stored_mappings::key(owner.property(), kind, name);
    let mut edits = vec![PropertyEdit { key, expect, value: Some(mapping.json()) }];
    // A database's new mapping may have to make room among those of its tables.
    if property_flag(properties, "removeOldestIfRequired") && known.is_none() {
        edits.extend(room_for_one(request, &owner));
    }
    request.service.store().edit_properties(edits).await?;
    let mut out = table_of(&owner);
    row(&mut out, &owner, kind, name, &mapping);
    out.finish()
}

/// Mappings of one owner. Source: create ingestion mapping page names a limit without a figure; this bounds what one
/// owner can hold.
const MOST_MAPPINGS: usize = 1000;

fn room_for_one(request: &Request<'_>, owner: &Owner) -> Option<PropertyEdit> {
    let all = stored_mappings::all(&request.snapshot, owner.property());
    if all.len() < MOST_MAPPINGS {
        return None;
    }
    let (kind, name, _) = all.into_iter().min_by_key(|(_, _, mapping)| mapping.updated)?;
    let key = stored_mappings::key(owner.property(), &kind, &name);
    Some(PropertyEdit { key, expect: Expect::Anything, value: None })
}

/// The old columns with those of the same name replaced, and the new ones behind them.
fn merged(old: &str, new: Value) -> Result<Value> {
    let name = |column: &Value| {
        let members = column.as_object()?;
        members
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("column"))
            .and_then(|(_, name)| name.as_str().map(str::to_string))
    };
    let old: Value = serde_json::from_str(old).map_err(|error| Error::internal(error.to_string()))?;
    let (Value::Array(mut columns), Value::Array(new)) = (old, new) else {
        return Err(Error::bad_request("a mapping is a JSON array of columns"));
    };
    for column in new {
        match columns.iter_mut().find(|known| name(known).is_some() && name(known) == name(&column)) {
            Some(known) => *known = column,
            None => columns.push(column),
        }
    }
    Ok(json!(columns))
}

/// `.show ... ingestion [KIND] mappings`, `... mapping "M"`
pub fn show(request: &Request<'_>, of: &MappingOwner, kind: Option<&str>, name: Option<&str>) -> Result<ResultTable> {
    let wanted = |known_kind: &str, known: &str| {
        kind.is_none_or(|kind| kind == known_kind) && name.is_none_or(|name| name == known)
    };
    if *of == MappingOwner::Cluster {
        let mut out = TableBuilder::new(OF_TABLE);
        for database in request.snapshot.databases() {
            let tables = database.tables().map(|table| Some(Arc::clone(table)));
            for table in std::iter::once(None).chain(tables) {
                let owner = Owner { database: Arc::clone(database), table };
                for (kind, name, mapping) in stored_mappings::all(&request.snapshot, owner.property()) {
                    if wanted(&kind, &name) {
                        row(&mut out, &owner, &kind, &name, &mapping);
                    }
                }
            }
        }
        return out.finish();
    }
    let owner = owner(request, of)?;
    let mut out = table_of(&owner);
    let mut found = false;
    for (kind, name, mapping) in stored_mappings::all(&request.snapshot, owner.property()) {
        if wanted(&kind, &name) {
            found = true;
            row(&mut out, &owner, &kind, &name, &mapping);
        }
    }
    match name {
        Some(name) if !found => Err(not_found(name, &owner)),
        _ => out.finish(),
    }
}

/// `.drop ... ingestion KIND mapping "M"`
pub async fn drop(request: &Request<'_>, of: &MappingOwner, kind: &str, name: &str) -> Result<ResultTable> {
    let owner = owner(request, of)?;
    let known = stored_mappings::find(&request.snapshot, owner.property(), kind, name);
    let known = known.ok_or_else(|| not_found(name, &owner))?;
    let key = stored_mappings::key(owner.property(), kind, name);
    let edit = PropertyEdit { key, expect: Expect::Value(known.json()), value: None };
    request.service.store().edit_properties(vec![edit]).await?;
    let mut out = table_of(&owner);
    row(&mut out, &owner, kind, name, &known);
    out.finish()
}
