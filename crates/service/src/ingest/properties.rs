//! Ingestion properties as commands give them. Source: ingestion-properties page.

use tidewater_formats::Mapping;
use tidewater_kql::ast::Property;
use tidewater_kql::command::property_text;
use tidewater_store::{PropertyEdit, Snapshot, Table};

use super::{Header, format_of, stored_mappings};
use crate::error::{Error, Fault, Result};

/// How data is read and what its extents are marked with.
#[derive(Clone, Debug, Default)]
pub(crate) struct IngestProperties {
    /// The format's name.
    pub format: Option<String>,
    /// `ignoreFirstRecord`
    pub header: Header,
    /// `ingestionMapping`
    pub mapping: Option<Mapping>,
    /// `ingestionMappingReference`: a stored mapping's name.
    pub mapping_name: Option<String>,
    /// `tags`
    pub tags: Vec<String>,
    /// `ingestIfNotExists`: values of `ingest-by:` tags.
    pub unless: Vec<String>,
    /// `creationTime` in ticks.
    pub created: Option<i64>,
    /// `folder`, for tables that are made.
    pub folder: Option<String>,
    /// `docstring`, for tables that are made.
    pub docstring: Option<String>,
    /// `extend_schema`
    pub extend_schema: bool,
    /// `recreate_schema`
    pub recreate_schema: bool,
    /// Changed in the same commit.
    pub marks: Vec<PropertyEdit>,
}

impl IngestProperties {
    /// Reads a command's properties; those that change nothing here are left out.
    pub fn of(properties: &[Property]) -> Result<IngestProperties> {
        Self::read(|name| property_text(properties, name))
    }

    /// Reads properties by their names.
    pub fn read(property: impl Fn(&str) -> Option<String>) -> Result<IngestProperties> {
        let text = |name: &str| property(name).filter(|text| !text.is_empty());
        let flag = |name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1");
        if text("zipPattern").is_some() {
            return Err(Error::not_served("the ingestion property zipPattern"));
        }
        let mapping = match text("ingestionMapping").or_else(|| text("mapping")) {
            None => None,
            Some(text) => Some(Mapping::parse(&text).map_err(Error::from)?),
        };
        let created = match text("creationTime") {
            None => None,
            Some(text) => match tidewater_plan::options::datetime_of(&serde_json::Value::from(text.as_str())) {
                Some(ticks) => Some(ticks),
                None => {
                    return Err(Error::bad_request(format!(
                        "property 'creationTime' must be a datetime, found '{text}'"
                    )));
                }
            },
        };
        let header = if flag("ignoreFirstRecord") { Header::Yes } else { Header::No };
        Ok(IngestProperties {
            format: text("format"),
            header,
            mapping,
            mapping_name: text("ingestionMappingReference").or_else(|| text("mappingReference")),
            tags: list("tags", text("tags"))?,
            unless: list("ingestIfNotExists", text("ingestIfNotExists"))?,
            created,
            folder: text("folder"),
            docstring: text("docstring"),
            extend_schema: flag("extend_schema"),
            recreate_schema: flag("recreate_schema"),
            marks: Vec::new(),
        })
    }

    /// Finds the stored mapping that is named, which also tells the format where none is given.
    pub fn with_stored_mapping(mut self, snapshot: &Snapshot, table: &Table) -> Result<IngestProperties> {
        if let Some(name) = &self.mapping_name {
            let format = self.format.as_deref().map(|format| format_of(Some(format))).transpose()?;
            let (mapping, format) = stored_mappings::named(snapshot, table, name, format)?;
            self.mapping = Some(mapping);
            self.format = Some(format.name().to_string());
        }
        Ok(self)
    }

    /// The tags whose presence means that the data is there already.
    pub fn unless_tags(&self) -> Vec<String> {
        self.unless.iter().map(|value| format!("ingest-by:{value}")).collect()
    }
}

/// A list as a JSON array of texts, or one bare text.
fn list(name: &str, text: Option<String>) -> Result<Vec<String>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    if !text.trim_start().starts_with('[') {
        return Ok(vec![text]);
    }
    serde_json::from_str(&text)
        .map_err(|_| Error::bad_request(format!("property '{name}' must be a JSON array of strings, found '{text}'")))
}

impl From<tidewater_formats::Error> for Error {
    fn from(error: tidewater_formats::Error) -> Error {
        use tidewater_formats::Error::*;
        match &error {
            NotServed(_) => Error::new(Fault::FormatNotSupported, error.to_string()),
            Record { .. } | Input(_) => Error::new(Fault::BadData, error.to_string()),
            Mapping(_) => Error::bad_request(error.to_string()),
            Internal(_) => Error::internal(error.to_string()),
        }
    }
}

impl From<tidewater_store::Error> for Error {
    fn from(error: tidewater_store::Error) -> Error {
        use tidewater_store::{Entity, ErrorKind};
        if let tidewater_store::Error::Engine(inner) = error {
            return Error::from(inner);
        }
        let noun = |entity: &Entity| match entity {
            Entity::Database => "Database",
            Entity::Table => "Table",
            Entity::Column => "Column",
            Entity::Function => "Function",
            Entity::Extent => "Extent",
            _ => "Entity",
        };
        match &error {
            tidewater_store::Error::NotFound { entity: Entity::Database, name } => {
                return Error::database_not_found(name);
            }
            tidewater_store::Error::NotFound { entity, name } => return Error::entity_not_found(noun(entity), name),
            tidewater_store::Error::Exists { entity, name } => return Error::entity_exists(noun(entity), name),
            _ => {}
        }
        match error.kind() {
            ErrorKind::BadRequest | ErrorKind::NotFound | ErrorKind::Exists => Error::bad_request(error.to_string()),
            _ if error.is_disk_full() => Error::new(Fault::DiskFull, error.to_string()),
            ErrorKind::Limit | ErrorKind::Unavailable => Error::new(Fault::Stopping, error.to_string()),
            ErrorKind::Internal => Error::internal(error.to_string()),
        }
    }
}
