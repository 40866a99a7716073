//! `.show databases`, `.create database`, `.drop database`.

use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::Name;
use tidewater_store::{CreateMode, Database};

use super::Request;
use crate::answer::ResultTable;
use crate::context::DEFAULT_DATABASE;
use crate::error::{Error, Result};
use crate::policies::{
    self, CachingPolicy, IngestionBatchingPolicy, MergePolicy, RetentionPolicy, ShardingPolicy,
    StreamingIngestionPolicy,
};
use crate::table::{Cell, Columns, TableBuilder};

/// Clients read some of these by position. Source: kusto-rest section 8.
const DATABASES: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("DatabaseId", KqlType::Guid),
    ("InTransitionTo", KqlType::String),
    ("SuspensionState", KqlType::String),
];

const DATABASE: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("ReservedSlot1", KqlType::Bool),
    ("DatabaseId", KqlType::Guid),
    ("InTransitionTo", KqlType::String),
];

pub const DETAILS: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("AuthorizedPrincipals", KqlType::String),
    ("RetentionPolicy", KqlType::String),
    ("MergePolicy", KqlType::String),
    ("ReservedSlot1", KqlType::String),
    ("CachingPolicy", KqlType::String),
    ("ShardingPolicy", KqlType::String),
    ("StreamingIngestionPolicy", KqlType::String),
    ("IngestionBatchingPolicy", KqlType::String),
    ("TotalSize", KqlType::Real),
    ("DatabaseId", KqlType::Guid),
    ("InTransitionTo", KqlType::String),
];

/// The databases of these names, or all.
pub fn chosen(request: &Request<'_>, names: &[Name]) -> Result<Vec<Arc<Database>>> {
    if names.is_empty() {
        return Ok(request.databases().filter(|database| request.access.may_show(database)).cloned().collect());
    }
    names.iter().map(|name| request.named_database(&name.text).cloned()).collect()
}

/// The version of all metadata, which every commit counts up.
pub fn version(request: &Request<'_>) -> String {
    format!("v1.{}", request.snapshot.sequence())
}

/// The first six cells, which all forms share.
pub fn head(request: &Request<'_>, database: &Database) -> Vec<Cell> {
    let is_current = request.database().is_ok_and(|current| current.id() == database.id());
    vec![
        database.name().into(),
        database.root().unwrap_or_default().into(),
        version(request).into(),
        is_current.into(),
        crate::library::access_mode(&request.snapshot, database).into(),
        database.pretty_name().into(),
    ]
}

pub fn detailed(request: &Request<'_>, database: &Database) -> Vec<Cell> {
    let size: u64 = database.tables().map(|table| table.byte_size()).sum();
    let mut cells = head(request, database);
    let snapshot = &request.snapshot;
    let merge: MergePolicy = policies::of_database(snapshot, database).unwrap_or_default();
    let sharding: ShardingPolicy = policies::of_database(snapshot, database).unwrap_or_default();
    cells.extend([
        "".into(),
        policies::text(policies::of_database::<RetentionPolicy>(snapshot, database)).into(),
        policies::text(Some(merge)).into(),
        "".into(),
        policies::text(policies::of_database::<CachingPolicy>(snapshot, database)).into(),
        policies::text(Some(sharding)).into(),
        policies::text(policies::of_database::<StreamingIngestionPolicy>(snapshot, database)).into(),
        policies::text(policies::of_database::<IngestionBatchingPolicy>(snapshot, database)).into(),
    ]);
    cells.extend([Cell::Real(size as f64), database.id().0.into(), "".into()]);
    cells
}

/// `.show databases [details]`
pub fn show_all(request: &Request<'_>, details: bool) -> Result<ResultTable> {
    let mut table = TableBuilder::new(if details { DETAILS } else { DATABASES });
    for database in request.databases() {
        if details {
            table.row(detailed(request, database));
            continue;
        }
        let mut cells = head(request, database);
        cells.extend([database.id().0.into(), "".into(), "".into()]);
        table.row(cells);
    }
    table.finish()
}

/// `.show database [X] [details]`
pub fn show(request: &Request<'_>, name: Option<&Name>, details: bool) -> Result<ResultTable> {
    let database = match name {
        Some(name) => request.named_database(&name.text)?,
        None => request.database()?,
    };
    if details {
        let mut table = TableBuilder::new(DETAILS);
        table.row(detailed(request, database));
        return table.finish();
    }
    let mut cells = head(request, database);
    cells.extend([Cell::Null, database.id().0.into(), "".into()]);
    let mut table = TableBuilder::new(DATABASE);
    table.row(cells);
    table.finish()
}

/// Where the last of the paths of `persist` says that the data lies: below a root that settings give. Paths of a machine
/// that no root covers are the emulator's own; here such databases last, and lie in the data directory.
fn address(request: &Request<'_>, persist: &[String]) -> Result<Option<String>> {
    let Some(path) = persist.last() else { return Ok(None) };
    let setting = crate::roots::SETTING;
    if path.contains([';', '?']) {
        return Err(Error::bad_request(format!(
            "persist: how to sign in at '{}' belongs into the setting '{setting}'",
            crate::roots::shown(path)
        )));
    }
    match request.service.store().roots().covered(path) {
        Some(address) => Ok(Some(address)),
        None if path.contains("://") => {
            Err(Error::bad_request(format!("persist: '{path}' lies below no root that the setting '{setting}' gives")))
        }
        None => Ok(None),
    }
}

/// `.create database X [persist (...) | volatile] [ifnotexists]`
pub async fn create(request: &Request<'_>, name: &str, persist: &[String], if_not_exists: bool) -> Result<ResultTable> {
    let address = address(request, persist)?;
    let existed = request.snapshot.database(name).is_some();
    let mode = if if_not_exists { CreateMode::IfNotExists } else { CreateMode::New };
    let database = request.service.store().create_database_at(name, mode, address.as_deref()).await?;
    let mut table = TableBuilder::new(&[
        ("DatabaseName", KqlType::String),
        ("PersistentPath", KqlType::String),
        ("Created", KqlType::String),
        ("StoresMetadata", KqlType::Bool),
        ("StoresData", KqlType::Bool),
    ]);
    let created = if existed { "False" } else { "True" };
    let path = database.root().unwrap_or_default();
    table.row(vec![database.name().into(), path.into(), created.into(), true.into(), true.into()]);
    table.finish()
}

/// `.drop database X [ifexists]`
pub async fn drop(request: &Request<'_>, name: &str, if_exists: bool) -> Result<ResultTable> {
    let mut table = TableBuilder::new(&[("DatabaseName", KqlType::String)]);
    match request.snapshot.database(name) {
        Some(database) if database.name().eq_ignore_ascii_case(DEFAULT_DATABASE) => {
            return Err(Error::bad_request(format!(
                "database '{DEFAULT_DATABASE}' cannot be dropped: clients fall back to it"
            )));
        }
        Some(database) => {
            request.service.store().drop_database(database.id()).await?;
            table.row(vec![database.name().into()]);
        }
        None if if_exists => {}
        None => return Err(Error::database_not_found(name)),
    }
    table.finish()
}
