//! The ten scalar types of KQL and their Arrow schema types.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

/// Metadata key that names a field's KQL type where the Arrow type alone does not.
pub const TYPE_KEY: &str = "tidewater.type";

/// A KQL scalar type. Source: scalar-data-types page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KqlType {
    /// `Boolean`, nullable.
    Bool,
    /// `Int32`, nullable.
    Int,
    /// `Int64`, nullable.
    Long,
    /// `Float64`, nullable.
    Real,
    /// 34 significant digits; `FixedSizeBinary(16)`, the order-preserving form of `value::decimal`.
    Decimal,
    /// `Utf8View`; null is read as `""` and never shown.
    String,
    /// Ticks of 100 ns since 0001-01-01T00:00Z; `Int64`.
    DateTime,
    /// Ticks of 100 ns; `Int64`.
    TimeSpan,
    /// `FixedSizeBinary(16)`, big-endian, so that bytes sort as the text does.
    Guid,
    /// Compact JSON text in `Utf8View`; SQL null is dynamic null.
    Dynamic,
}

impl KqlType {
    /// All types, in the order of the documentation's widening table.
    pub const ALL: [KqlType; 10] = [
        KqlType::Bool,
        KqlType::Int,
        KqlType::Long,
        KqlType::Real,
        KqlType::Decimal,
        KqlType::String,
        KqlType::DateTime,
        KqlType::TimeSpan,
        KqlType::Guid,
        KqlType::Dynamic,
    ];

    /// KQL's name: `long`, `real`, ...
    pub fn name(self) -> &'static str {
        match self {
            KqlType::Bool => "bool",
            KqlType::Int => "int",
            KqlType::Long => "long",
            KqlType::Real => "real",
            KqlType::Decimal => "decimal",
            KqlType::String => "string",
            KqlType::DateTime => "datetime",
            KqlType::TimeSpan => "timespan",
            KqlType::Guid => "guid",
            KqlType::Dynamic => "dynamic",
        }
    }

    /// Reads a type's name or one of its documented synonyms; `None` for any other text.
    pub fn parse(name: &str) -> Option<KqlType> {
        Some(match name {
            "bool" | "boolean" => KqlType::Bool,
            "int" | "int32" => KqlType::Int,
            "long" | "int64" => KqlType::Long,
            "real" | "double" => KqlType::Real,
            "decimal" => KqlType::Decimal,
            "string" => KqlType::String,
            "datetime" | "date" => KqlType::DateTime,
            "timespan" | "time" => KqlType::TimeSpan,
            "guid" | "uuid" | "uniqueid" => KqlType::Guid,
            "dynamic" => KqlType::Dynamic,
            _ => return None,
        })
    }

    /// `DataType` of a version 1 answer: `Int64`, `SByte` for bool. Source: kusto-rest section 5.
    pub fn dotnet_name(self) -> &'static str {
        match self {
            KqlType::Bool => "SByte",
            KqlType::Int => "Int32",
            KqlType::Long => "Int64",
            KqlType::Real => "Double",
            KqlType::Decimal => "SqlDecimal",
            KqlType::String => "String",
            KqlType::DateTime => "DateTime",
            KqlType::TimeSpan => "TimeSpan",
            KqlType::Guid => "Guid",
            KqlType::Dynamic => "Object",
        }
    }

    /// Full .NET name as `getschema` and the schema commands print it.
    pub fn system_name(self) -> &'static str {
        match self {
            KqlType::Bool => "System.SByte",
            KqlType::Int => "System.Int32",
            KqlType::Long => "System.Int64",
            KqlType::Real => "System.Double",
            KqlType::Decimal => "System.Data.SqlTypes.SqlDecimal",
            KqlType::String => "System.String",
            KqlType::DateTime => "System.DateTime",
            KqlType::TimeSpan => "System.TimeSpan",
            KqlType::Guid => "System.Guid",
            KqlType::Dynamic => "System.Object",
        }
    }

    /// int, long, real or decimal.
    pub fn is_numeric(self) -> bool {
        matches!(self, KqlType::Int | KqlType::Long | KqlType::Real | KqlType::Decimal)
    }

    /// The Arrow type of a column of this type inside the engine.
    pub fn arrow(self) -> DataType {
        match self {
            KqlType::Bool => DataType::Boolean,
            KqlType::Int => DataType::Int32,
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => DataType::Int64,
            KqlType::Real => DataType::Float64,
            KqlType::Decimal | KqlType::Guid => DataType::FixedSizeBinary(16),
            KqlType::String | KqlType::Dynamic => DataType::Utf8View,
        }
    }

    /// A nullable field of this type whose metadata names it.
    pub fn field(self, name: &str) -> Field {
        let metadata = [(TYPE_KEY.to_string(), self.name().to_string())].into();
        Field::new(name, self.arrow(), true).with_metadata(metadata)
    }

    /// The KQL type of a field: by its metadata, else by its Arrow type; `None` when neither tells.
    pub fn of_field(field: &Field) -> Option<KqlType> {
        if let Some(name) = field.metadata().get(TYPE_KEY) {
            return KqlType::parse(name);
        }
        Some(match field.data_type() {
            DataType::Boolean => KqlType::Bool,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => KqlType::Int,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => KqlType::Long,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => KqlType::Real,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => KqlType::String,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => KqlType::DateTime,
            DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => KqlType::TimeSpan,
            DataType::Decimal128(..) | DataType::Decimal256(..) => KqlType::Decimal,
            DataType::FixedSizeBinary(16) => KqlType::Guid,
            DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => KqlType::Dynamic,
            _ => return None,
        })
    }
}

impl std::fmt::Display for KqlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A named, typed column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Name as the user sees it; case-sensitive.
    pub name: String,
    /// KQL type.
    #[serde(rename = "type")]
    pub ty: KqlType,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<String>, ty: KqlType) -> Self {
        Self { name: name.into(), ty }
    }
}

/// The ordered columns of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// Columns in their order.
    pub columns: Vec<Column>,
}

impl TableSchema {
    /// A schema of these columns.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// Position of the column with exactly this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The Arrow schema inside the engine.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|column| column.ty.field(&column.name)).collect::<Vec<_>>()))
    }

    /// The schema of an Arrow schema; `Err` names the first column whose type has no KQL type.
    pub fn of_arrow(schema: &Schema) -> Result<TableSchema, String> {
        let columns = schema.fields().iter().map(|field| match KqlType::of_field(field) {
            Some(ty) => Ok(Column::new(field.name(), ty)),
            None => Err(format!("column '{}' has type {}, which no KQL type holds", field.name(), field.data_type())),
        });
        Ok(TableSchema { columns: columns.collect::<Result<_, _>>()? })
    }
}
