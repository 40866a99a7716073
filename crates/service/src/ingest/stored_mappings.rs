//! Ingestion mappings that the catalog keeps, and how an ingestion finds the one it names.

use serde_json::{Value, json};
use tidewater_formats::{Format, Mapping};
use tidewater_store::{PropertyKey, PropertyOwner, Snapshot, Table};

use super::mapping_not_found;
use crate::error::{Error, Result};

/// The kind of the properties that hold mappings.
const PROPERTY: &str = "ingestion mapping";

/// A mapping as its author wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredIngestionMapping {
    /// The JSON.
    pub text: String,
    /// When it was made or changed, in ticks.
    pub updated: i64,
}

impl StoredIngestionMapping {
    /// What the catalog stores.
    pub(crate) fn json(&self) -> Value {
        json!({ "text": self.text, "updated": self.updated })
    }

    fn of(value: &Value) -> Option<Self> {
        Some(Self { text: value.get("text")?.as_str()?.to_string(), updated: value.get("updated")?.as_i64()? })
    }
}

/// The property of a mapping.
pub(crate) fn key(owner: PropertyOwner, kind: &str, name: &str) -> PropertyKey {
    PropertyKey { owner, kind: PROPERTY.to_string(), name: format!("{kind}:{name}") }
}

/// A mapping by kind and name.
pub(crate) fn find(
    snapshot: &Snapshot,
    owner: PropertyOwner,
    kind: &str,
    name: &str,
) -> Option<StoredIngestionMapping> {
    StoredIngestionMapping::of(snapshot.property(&key(owner, kind, name))?)
}

/// All mappings of an owner, with kind and name.
pub(crate) fn all(snapshot: &Snapshot, owner: PropertyOwner) -> Vec<(String, String, StoredIngestionMapping)> {
    let properties = snapshot.properties(owner, PROPERTY);
    let parts = properties.filter_map(|(name, value)| {
        let (kind, name) = name.split_once(':')?;
        Some((kind.to_string(), name.to_string(), StoredIngestionMapping::of(value)?))
    });
    parts.collect()
}

/// The kinds of mappings that suit a format, the format's own first.
fn kinds_of(format: Format) -> &'static [&'static str] {
    match format {
        Format::Json | Format::MultiJson => &["json"],
        Format::Parquet => &["parquet"],
        Format::Avro | Format::ApacheAvro => &["avro", "apacheavro"],
        Format::Orc => &["orc"],
        Format::W3cLogFile => &["w3clogfile"],
        _ => &["csv"],
    }
}

/// The mapping that an ingestion into a table names: the table's own, or its database's. Without a format the mapping
/// tells it.
pub(crate) fn named(
    snapshot: &Snapshot,
    table: &Table,
    name: &str,
    format: Option<Format>,
) -> Result<(Mapping, Format)> {
    let owners = [PropertyOwner::Table(table.id()), PropertyOwner::Database(table.database_id())];
    for owner in owners {
        for (kind, known, mapping) in all(snapshot, owner) {
            let suits = format.is_none_or(|format| kinds_of(format).contains(&kind.as_str()));
            if known == name && suits {
                let format = match format {
                    Some(format) => format,
                    None => Format::parse(&kind).ok_or_else(|| Error::internal("a mapping of an unknown kind"))?,
                };
                return Ok((Mapping::parse(&mapping.text)?, format));
            }
        }
    }
    Err(mapping_not_found(name, table.name()))
}
