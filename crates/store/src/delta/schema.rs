//! A table's columns as Delta writes them.

use std::collections::HashSet;

use serde_json::{Value, json};
use tidewater_kql::KqlType;

use crate::catalog::ColumnRow;

/// Characters that Delta allows in names only with column mapping. Source: Delta protocol, "Column mapping".
const SPECIAL: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Tells why a table cannot be mirrored without column mapping, which few readers know.
pub(super) fn check(columns: &[ColumnRow]) -> Result<(), String> {
    if columns.is_empty() {
        return Err("it has no columns".into());
    }
    let mut seen = HashSet::new();
    for column in columns {
        let name = &column.name;
        if name.contains(SPECIAL) {
            return Err(format!("column '{name}' has a character that Delta does not allow in names"));
        }
        if column.at_rest() != name {
            return Err(format!("column '{name}' was renamed and is called '{}' in the data files", column.at_rest()));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(format!("column '{name}' differs from another by case only"));
        }
    }
    Ok(())
}

/// The `schemaString` of a table's metadata.
pub(super) fn schema_string(columns: &[ColumnRow]) -> String {
    let fields: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.at_rest(),
                "type": delta_type(column.ty),
                "nullable": true,
                "metadata": { "tidewater.type": column.ty.name() },
            })
        })
        .collect();
    json!({ "type": "struct", "fields": fields }).to_string()
}

fn delta_type(ty: KqlType) -> &'static str {
    match ty {
        KqlType::Bool => "boolean",
        KqlType::Int => "integer",
        KqlType::Long | KqlType::TimeSpan => "long",
        KqlType::Real => "double",
        KqlType::DateTime => "timestamp",
        KqlType::String | KqlType::Guid | KqlType::Decimal | KqlType::Dynamic => "string",
    }
}
