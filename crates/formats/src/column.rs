//! Builders that turn texts and JSON values into the engine's columns.

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder, StringViewBuilder,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use tidewater_kql::value::{boolean, datetime, decimal::Decimal, guid, integer, json, real, timespan};
use tidewater_kql::{KqlType, TableSchema};

use crate::error::Error;
use crate::reject::Rejects;

enum Builder {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Real(Float64Builder),
    Bytes(FixedSizeBinaryBuilder),
    Text(StringViewBuilder),
}

impl Builder {
    fn new(ty: KqlType, rows: usize) -> Builder {
        match ty {
            KqlType::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            KqlType::Int => Builder::Int(Int32Builder::with_capacity(rows)),
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Builder::Long(Int64Builder::with_capacity(rows)),
            KqlType::Real => Builder::Real(Float64Builder::with_capacity(rows)),
            KqlType::Decimal | KqlType::Guid => Builder::Bytes(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            KqlType::String | KqlType::Dynamic => Builder::Text(StringViewBuilder::with_capacity(rows)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Int(builder) => Arc::new(builder.finish()),
            Builder::Long(builder) => Arc::new(builder.finish()),
            Builder::Real(builder) => Arc::new(builder.finish()),
            Builder::Bytes(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
        }
    }

    /// Appends the value of `text` as `ty`; `None` and no append when the text does not fit.
    fn push(&mut self, ty: KqlType, text: &str) -> Option<()> {
        match self {
            Builder::Bool(builder) => builder.append_value(boolean::parse(text)?),
            Builder::Int(builder) => builder.append_value(integer::parse_int(text)?),
            Builder::Long(builder) => builder.append_value(match ty {
                KqlType::DateTime => datetime::parse(text)?,
                KqlType::TimeSpan => timespan::parse(text)?,
                _ => integer::parse_long(text)?,
            }),
            Builder::Real(builder) => builder.append_value(real::parse(text)?),
            Builder::Bytes(builder) => {
                let bytes = match ty {
                    KqlType::Guid => guid::parse(text)?,
                    _ => Decimal::parse(text)?.bytes(),
                };
                builder.append_value(bytes).ok()?;
            }
            Builder::Text(builder) => match ty {
                KqlType::Dynamic => match json::canonical(text) {
                    Some(canonical) if canonical == "null" => builder.append_null(),
                    Some(canonical) => builder.append_value(canonical),
                    None => builder.append_value(quoted(text)),
                },
                _ => builder.append_value(text),
            },
        }
        Some(())
    }

    fn push_null(&mut self, ty: KqlType) {
        match self {
            Builder::Bool(builder) => builder.append_null(),
            Builder::Int(builder) => builder.append_null(),
            Builder::Long(builder) => builder.append_null(),
            Builder::Real(builder) => builder.append_null(),
            Builder::Bytes(builder) => builder.append_null(),
            Builder::Text(builder) if ty == KqlType::String => builder.append_value(""),
            Builder::Text(builder) => builder.append_null(),
        }
    }
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::quote(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// A JSON value as the readers hand it over.
pub(crate) enum JsonValue<'a> {
    Null,
    Bool(bool),
    /// A number's text.
    Number(&'a str),
    /// A string, unescaped.
    String(std::borrow::Cow<'a, str>),
    /// The text of an array or object.
    Nested(&'a str),
}

impl<'a> JsonValue<'a> {
    /// Reads the raw text of one JSON value that a parser has already accepted.
    pub(crate) fn of_raw(raw: &'a str) -> JsonValue<'a> {
        match raw.as_bytes().first() {
            None | Some(b'n') => JsonValue::Null,
            Some(b't') => JsonValue::Bool(true),
            Some(b'f') => JsonValue::Bool(false),
            Some(b'{' | b'[') => JsonValue::Nested(raw),
            Some(b'"') => {
                let inner = &raw[1..raw.len().saturating_sub(1).max(1)];
                if inner.contains('\\') {
                    JsonValue::String(serde_json::from_str::<String>(raw).unwrap_or_default().into())
                } else {
                    JsonValue::String(inner.into())
                }
            }
            Some(_) => JsonValue::Number(raw),
        }
    }
}

/// The columns of the batch under construction.
pub(crate) struct Columns {
    schema: SchemaRef,
    types: Vec<KqlType>,
    names: Vec<String>,
    builders: Vec<Builder>,
}

impl Columns {
    pub(crate) fn new(schema: &TableSchema, rows: usize) -> Self {
        Self {
            schema: schema.arrow(),
            types: schema.columns.iter().map(|column| column.ty).collect(),
            names: schema.columns.iter().map(|column| column.name.clone()).collect(),
            builders: schema.columns.iter().map(|column| Builder::new(column.ty, rows)).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.builders.len()
    }

    /// The type of a column.
    pub(crate) fn ty(&self, column: usize) -> KqlType {
        self.types[column]
    }

    /// The name of a column.
    pub(crate) fn name(&self, column: usize) -> &str {
        &self.names[column]
    }

    pub(crate) fn push_null(&mut self, column: usize) {
        self.builders[column].push_null(self.types[column]);
    }

    /// A text cell: empty is null (or the empty string); a text that does not fit is null and counted.
    pub(crate) fn push_text(&mut self, column: usize, text: &str, record: u64, rejects: &mut Rejects) {
        let ty = self.types[column];
        if text.is_empty() {
            return self.push_null(column);
        }
        if self.builders[column].push(ty, text).is_none() {
            rejects.add(record, &self.names[column], text, ty);
            self.push_null(column);
        }
    }

    /// A JSON cell.
    pub(crate) fn push_json(&mut self, column: usize, value: JsonValue<'_>, record: u64, rejects: &mut Rejects) {
        let ty = self.types[column];
        let builder = &mut self.builders[column];
        let fits = match (&value, ty) {
            (JsonValue::Null, _) => {
                builder.push_null(ty);
                Some(())
            }
            (JsonValue::String(text), KqlType::Dynamic) => match builder {
                // A JSON string stays a string, even when its content looks like JSON.
                Builder::Text(text_builder) => {
                    text_builder.append_value(quoted(text));
                    Some(())
                }
                _ => None,
            },
            (JsonValue::Bool(value), KqlType::String) => builder.push(ty, if *value { "true" } else { "false" }),
            (JsonValue::Bool(value), KqlType::Int | KqlType::Long | KqlType::Real | KqlType::Decimal) => {
                builder.push(ty, if *value { "1" } else { "0" })
            }
            (JsonValue::Bool(value), _) => builder.push(ty, if *value { "true" } else { "false" }),
            (JsonValue::Number(text), KqlType::Int | KqlType::Long) => builder.push(ty, whole_number(text)),
            (JsonValue::Number(text), KqlType::DateTime | KqlType::TimeSpan) => {
                match (builder, integer::parse_long(text)) {
                    (Builder::Long(long), Some(ticks)) => {
                        long.append_value(ticks);
                        Some(())
                    }
                    _ => None,
                }
            }
            (JsonValue::String(text), _) if text.is_empty() => {
                builder.push_null(ty);
                Some(())
            }
            (JsonValue::String(text), _) => builder.push(ty, text),
            (JsonValue::Number(text), _) => builder.push(ty, text),
            (JsonValue::Nested(raw), KqlType::String) => match json::canonical(raw) {
                Some(compact) => builder.push(ty, &compact),
                None => builder.push(ty, raw),
            },
            (JsonValue::Nested(raw), KqlType::Dynamic) => builder.push(ty, raw),
            (JsonValue::Nested(_), _) => None,
        };
        if fits.is_none() {
            let found = match &value {
                JsonValue::Null => "null",
                JsonValue::Bool(true) => "true",
                JsonValue::Bool(false) => "false",
                JsonValue::Number(text) | JsonValue::Nested(text) => text,
                JsonValue::String(text) => text,
            };
            rejects.add(record, &self.names[column], found, ty);
            self.push_null(column);
        }
    }

    pub(crate) fn finish(&mut self) -> Result<RecordBatch, Error> {
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }
}

/// `5.0` and `5.000` are whole numbers that JSON writers print for integers.
fn whole_number(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}
