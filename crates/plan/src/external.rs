//! External data: what a query says about files that are no table's.
//!
//! The binder makes an `ExternalSource` of `externaldata` and `inline_external_table`; stored external tables keep one.
//! `CatalogView::external_data` turns it into rows. Source: externaldata-operator, inline-external-table-operator,
//! external-tables-azure-storage pages.

use serde::{Deserialize, Serialize};
use tidewater_kql::{Column, KqlType, TableSchema};

/// Files, their format and the columns to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalSource {
    /// Columns as declared, without virtual ones.
    pub columns: Vec<Column>,
    /// Partitions in the order of their declaration.
    pub partitions: Vec<Partition>,
    /// The parts of a file's path behind a connection string; empty when none was declared.
    pub path: Vec<PathPiece>,
    /// `storage`, `delta`, `sql`; `externaldata` is `storage`.
    pub kind: String,
    /// The format's name, if one was given.
    pub format: Option<String>,
    /// Storage connection strings.
    pub uris: Vec<String>,
    /// `with (...)`: names as written.
    pub properties: Vec<(String, String)>,
}

/// A partition of an external table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// string, datetime or long.
    pub ty: KqlType,
    /// What it is made of.
    pub value: PartitionValue,
}

/// What of a record makes its partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionValue {
    /// Nothing: it is in the path only, and a column of its own.
    Virtual,
    /// A column as it is.
    Column(String),
    /// `hash(column, modulo)`
    Hash(String, i64),
    /// `startofday(column)` and its like: the function's name.
    StartOf(String, String),
    /// `bin(column, ticks)`
    Bin(String, i64),
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathPiece {
    /// A text as it is.
    Text(String),
    /// A partition in its default form.
    Partition(String),
    /// A datetime partition by a pattern.
    DateTime {
        /// .NET pattern.
        pattern: String,
        /// The partition.
        partition: String,
    },
}

impl ExternalSource {
    /// What a query sees: the declared columns, then the virtual ones.
    pub fn schema(&self) -> TableSchema {
        let mut columns = self.columns.clone();
        for partition in self.partitions.iter().filter(|partition| partition.value == PartitionValue::Virtual) {
            if !columns.iter().any(|column| column.name == partition.name) {
                columns.push(Column::new(&partition.name, partition.ty));
            }
        }
        TableSchema::new(columns)
    }

    /// A property's text, its name in any case.
    pub fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Reads a definition as the parser gives it. `uris` are its connection strings, already constant.
///
/// Errors: a message for a partition or path that means nothing.
pub fn external_source(
    definition: &tidewater_kql::ast::ExternalDefinition,
    uris: Vec<String>,
) -> Result<ExternalSource, String> {
    use tidewater_kql::ast::PathPart;
    use tidewater_kql::command::property_text;
    let columns: Vec<Column> =
        definition.columns.iter().map(|column| Column::new(&column.name.text, column.ty)).collect();
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].iter().any(|earlier| earlier.name == column.name) {
            return Err(format!("a column with the name '{}' is already declared", column.name));
        }
    }
    let mut partitions: Vec<Partition> = Vec::new();
    for declared in &definition.partitions {
        let name = declared.name.text.clone();
        if partitions.iter().any(|earlier| earlier.name == name) {
            return Err(format!("partition '{name}' is declared twice"));
        }
        if !matches!(declared.ty, KqlType::String | KqlType::DateTime | KqlType::Long) {
            return Err(format!("partition '{name}' must be string, datetime or long, but is {}", declared.ty));
        }
        let value = match &declared.value {
            None => PartitionValue::Virtual,
            Some(value) => partition_value(value)
                .ok_or_else(|| format!("partition '{name}' is made by no function that partitions can have"))?,
        };
        let of = match &value {
            PartitionValue::Virtual => None,
            PartitionValue::Column(column)
            | PartitionValue::Hash(column, _)
            | PartitionValue::StartOf(_, column)
            | PartitionValue::Bin(column, _) => Some(column),
        };
        if let Some(of) = of
            && !columns.iter().any(|column| column.name == *of)
        {
            return Err(format!("partition '{name}' is made of '{of}', which is no column of the table"));
        }
        partitions.push(Partition { name, ty: declared.ty, value });
    }
    let mut path = Vec::with_capacity(definition.path_format.len());
    for part in &definition.path_format {
        let known = |name: &str| match partitions.iter().find(|partition| partition.name == name) {
            Some(partition) => Ok(partition),
            None => Err(format!("the path format names '{name}', which is no partition of the table")),
        };
        let piece = match part {
            PathPart::Text(text) => PathPiece::Text(text.clone()),
            PathPart::Partition(name) => PathPiece::Partition(known(&name.text)?.name.clone()),
            PathPart::DateTime { pattern, partition } => {
                let partition = known(&partition.text)?;
                if partition.ty != KqlType::DateTime {
                    return Err(format!(
                        "datetime_pattern() needs a datetime, but '{}' is {}",
                        partition.name, partition.ty
                    ));
                }
                PathPiece::DateTime { pattern: pattern.clone(), partition: partition.name.clone() }
            }
        };
        if let (Some(last), false) = (path.last(), matches!(piece, PathPiece::Text(_)))
            && !matches!(last, PathPiece::Text(_))
        {
            return Err("two partitions of the path format must have a text between them".to_string());
        }
        path.push(piece);
    }
    let names = definition.properties.iter().map(|property| property.name.text.clone());
    let properties =
        names.map(|name| property_text(&definition.properties, &name).map(|text| (name, text))).collect::<Option<_>>();
    Ok(ExternalSource {
        columns,
        partitions,
        path,
        kind: definition.kind.text.to_ascii_lowercase(),
        format: definition.data_format.as_ref().map(|format| format.text.clone()),
        uris,
        properties: properties.ok_or("the value of a property must be a literal")?,
    })
}

fn partition_value(value: &tidewater_kql::ast::Expr) -> Option<PartitionValue> {
    use tidewater_kql::ast::{ExprKind, Literal};
    let column = |expr: &tidewater_kql::ast::Expr| match &expr.kind {
        ExprKind::Name(name) => Some(name.text.clone()),
        _ => None,
    };
    match &value.kind {
        ExprKind::Name(name) => Some(PartitionValue::Column(name.text.clone())),
        ExprKind::Call { base: None, name, arguments } => match (name.text.as_str(), arguments.as_slice()) {
            ("hash", [of, modulo]) => match &modulo.value.kind {
                ExprKind::Literal(Literal::Long(Some(modulo))) if *modulo > 0 => {
                    Some(PartitionValue::Hash(column(&of.value)?, *modulo))
                }
                _ => None,
            },
            (function @ ("startofday" | "startofweek" | "startofmonth" | "startofyear"), [of]) => {
                Some(PartitionValue::StartOf(function.to_string(), column(&of.value)?))
            }
            ("bin" | "floor", [of, size]) => match &size.value.kind {
                ExprKind::Literal(Literal::TimeSpan(Some(ticks))) if *ticks > 0 => {
                    Some(PartitionValue::Bin(column(&of.value)?, *ticks))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
