//! Entity groups. Source: create-entity-group, alter-entity-group, alter-merge-entity-group, drop-entity-group and
//! show-entity-group pages.

use serde_json::Value;
use tidewater_kql::KqlType;
use tidewater_kql::command::{EntityGroupCommand, PutMode};

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::stored::{self, StoredGroup};
use crate::table::TableBuilder;

/// Entities of one group.
const MAX_ENTITIES: usize = 1_000;

fn rows(groups: impl IntoIterator<Item = (String, StoredGroup)>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[("Name", KqlType::String), ("Entities", KqlType::String)]);
    for (name, group) in groups {
        out.row(vec![name.into(), Value::from(group.entities).to_string().into()]);
    }
    out.finish()
}

/// Each entity once, in the order given.
fn distinct(entities: Vec<String>) -> Result<Vec<String>> {
    let mut kept: Vec<String> = Vec::new();
    for entity in entities {
        if !kept.contains(&entity) {
            kept.push(entity);
        }
    }
    if kept.len() > MAX_ENTITIES {
        return Err(Error::bad_request(format!("an entity group has at most {MAX_ENTITIES} entities")));
    }
    Ok(kept)
}

/// Runs a command about entity groups.
pub async fn run(request: &Request<'_>, command: EntityGroupCommand) -> Result<ResultTable> {
    let database = request.database()?;
    let snapshot = &request.snapshot;
    let find = |name: &str| stored::find::<StoredGroup>(snapshot, database, name);
    let (name, old, new) = match command {
        EntityGroupCommand::Show { name: None } => return rows(stored::all(snapshot, database)),
        EntityGroupCommand::Show { name: Some(name) } => {
            let group = stored::found(snapshot, database, &name.text)?;
            return rows([(name.text, group)]);
        }
        EntityGroupCommand::Put { mode, if_not_exists, name, entities } => {
            let old = find(&name.text);
            match (mode, &old) {
                (PutMode::Create, Some(old)) if if_not_exists => return rows([(name.text, old.clone())]),
                (PutMode::Create, Some(_)) => return Err(Error::entity_exists("EntityGroup", &name.text)),
                (PutMode::Alter, None) => return Err(Error::entity_not_found("EntityGroup", &name.text)),
                _ => {}
            }
            (name.text, old, Some(StoredGroup { entities: distinct(entities)? }))
        }
        EntityGroupCommand::Merge { name, entities } => {
            let old: StoredGroup = stored::found(snapshot, database, &name.text)?;
            let all = old.entities.iter().cloned().chain(entities).collect();
            (name.text, Some(old), Some(StoredGroup { entities: distinct(all)? }))
        }
        EntityGroupCommand::Drop { name } => {
            let old: StoredGroup = stored::found(snapshot, database, &name.text)?;
            (name.text, Some(old), None)
        }
    };
    let edit = stored::edit(database, &name, old.as_ref(), new.as_ref())?;
    request.service.store().edit_properties(vec![edit]).await?;
    match new {
        Some(new) => rows([(name, new)]),
        // Dropping answers with the groups that remain.
        None => {
            let request = request.refreshed();
            rows(stored::all(&request.snapshot, request.database()?))
        }
    }
}
