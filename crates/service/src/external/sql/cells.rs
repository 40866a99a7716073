//! Values of other databases as columns of the engine.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder,
    RecordBatch, RecordBatchOptions, StringViewBuilder,
};
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as EngineResult};
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{datetime, guid, json, real, timespan};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::SqlKind;
use tokio::sync::mpsc::Sender;

use super::{Asked, BATCH_ROWS};
use crate::error::{Error, Result};

/// A value as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    Decimal(Decimal),
    /// Ticks of a datetime or a timespan.
    Ticks(i64),
    Guid([u8; 16]),
    /// A text, which may also be read as a moment, a guid or JSON.
    Text(String),
}

/// Whether values of one type can be told as another, without loss but for reals.
pub(super) fn fits(found: KqlType, declared: KqlType) -> bool {
    use KqlType::{Bool, DateTime, Decimal, Dynamic, Guid, Int, Long, Real, String, TimeSpan};
    match (found, declared) {
        (found, declared) if found == declared => true,
        (Int, Bool | Long | Real | Decimal) | (Long, Bool | Real | Decimal) | (Bool, Int | Long) => true,
        (Decimal, Real | Long) | (Real, Decimal) => true,
        (String, DateTime | TimeSpan | Guid | Dynamic) | (Guid, String) => true,
        _ => false,
    }
}

/// Rows on their way to the engine.
pub(super) struct Rows {
    kind: SqlKind,
    columns: Vec<(String, Builder)>,
    /// Columns that somebody reads.
    wanted: Vec<usize>,
    schema: SchemaRef,
    sender: Sender<EngineResult<RecordBatch>>,
    waiting: usize,
}

enum Builder {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Real(Float64Builder),
    Bytes(KqlType, FixedSizeBinaryBuilder),
    Ticks(KqlType, Int64Builder),
    Text(KqlType, StringViewBuilder),
}

impl Builder {
    fn of(ty: KqlType) -> Builder {
        match ty {
            KqlType::Bool => Builder::Bool(BooleanBuilder::new()),
            KqlType::Int => Builder::Int(Int32Builder::new()),
            KqlType::Long => Builder::Long(Int64Builder::new()),
            KqlType::Real => Builder::Real(Float64Builder::new()),
            KqlType::Guid | KqlType::Decimal => Builder::Bytes(ty, FixedSizeBinaryBuilder::new(16)),
            KqlType::DateTime | KqlType::TimeSpan => Builder::Ticks(ty, Int64Builder::new()),
            KqlType::String | KqlType::Dynamic => Builder::Text(ty, StringViewBuilder::new()),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Int(builder) => Arc::new(builder.finish()),
            Builder::Long(builder) | Builder::Ticks(_, builder) => Arc::new(builder.finish()),
            Builder::Real(builder) => Arc::new(builder.finish()),
            Builder::Bytes(_, builder) => ArrayBuilder::finish(builder),
            Builder::Text(_, builder) => Arc::new(builder.finish()),
        }
    }

    /// Appends a value; `None` when it does not fit.
    fn push(&mut self, cell: Cell) -> Option<()> {
        match (self, cell) {
            (Builder::Bool(builder), Cell::Null) => builder.append_null(),
            (Builder::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Builder::Bool(builder), Cell::Long(value)) => builder.append_value(value != 0),
            (Builder::Int(builder), Cell::Null) => builder.append_null(),
            (Builder::Int(builder), Cell::Long(value)) => builder.append_value(i32::try_from(value).ok()?),
            (Builder::Int(builder), Cell::Bool(value)) => builder.append_value(value.into()),
            (Builder::Long(builder), Cell::Null) => builder.append_null(),
            (Builder::Long(builder), Cell::Long(value)) => builder.append_value(value),
            (Builder::Long(builder), Cell::Bool(value)) => builder.append_value(value.into()),
            (Builder::Long(builder), Cell::Decimal(value)) => builder.append_value(value.to_i64()?),
            (Builder::Real(builder), Cell::Null) => builder.append_null(),
            (Builder::Real(builder), Cell::Real(value)) => builder.append_value(value),
            (Builder::Real(builder), Cell::Long(value)) => builder.append_value(value as f64),
            (Builder::Real(builder), Cell::Decimal(value)) => builder.append_value(value.to_f64()),
            (Builder::Bytes(_, builder), Cell::Null) => builder.append_null(),
            (Builder::Bytes(KqlType::Guid, builder), Cell::Guid(value)) => builder.append_value(value).ok()?,
            (Builder::Bytes(KqlType::Guid, builder), Cell::Text(text)) => {
                builder.append_value(guid::parse(&text)?).ok()?;
            }
            (Builder::Bytes(KqlType::Decimal, builder), cell) => {
                let value = match cell {
                    Cell::Decimal(value) => value,
                    Cell::Long(value) => Decimal::from_i64(value),
                    Cell::Real(value) => Decimal::from_f64(value)?,
                    _ => return None,
                };
                builder.append_value(value.bytes()).ok()?;
            }
            (Builder::Ticks(_, builder), Cell::Null) => builder.append_null(),
            (Builder::Ticks(_, builder), Cell::Ticks(value)) => builder.append_value(value),
            (Builder::Ticks(KqlType::DateTime, builder), Cell::Text(text)) => {
                builder.append_value(datetime::parse(&text)?);
            }
            (Builder::Ticks(_, builder), Cell::Text(text)) => builder.append_value(timespan::parse(&text)?),
            // Strings have no null.
            (Builder::Text(KqlType::String, builder), Cell::Null) => builder.append_value(""),
            (Builder::Text(_, builder), Cell::Null) => builder.append_null(),
            (Builder::Text(KqlType::String, builder), Cell::Text(text)) => builder.append_value(text),
            (Builder::Text(KqlType::String, builder), Cell::Guid(value)) => builder.append_value(guid::to_text(&value)),
            (Builder::Text(_, builder), Cell::Text(text)) => match json::canonical(&text) {
                Some(json) if json == "null" => builder.append_null(),
                Some(json) => builder.append_value(json),
                None => {
                    let mut quoted = Vec::new();
                    json::quote(&text, &mut quoted);
                    builder.append_value(String::from_utf8(quoted).ok()?);
                }
            },
            _ => return None,
        }
        Some(())
    }
}

impl Rows {
    pub fn new(
        kind: SqlKind,
        whole: &TableSchema,
        wanted: Vec<usize>,
        schema: SchemaRef,
        sender: Sender<EngineResult<RecordBatch>>,
    ) -> Rows {
        let columns = whole.columns.iter().map(|column| (column.name.clone(), Builder::of(column.ty))).collect();
        Rows { kind, columns, wanted, schema, sender, waiting: 0 }
    }

    /// Appends a row; waits while the engine has enough.
    ///
    /// *Errors*: a value that does not fit its column; nobody reads any more.
    pub async fn push(&mut self, cells: Vec<Cell>) -> Result<()> {
        for (cell, (name, builder)) in cells.into_iter().zip(&mut self.columns) {
            if builder.push(cell).is_none() {
                return Err(Asked::failed(self.kind, format!("a value of column '{name}' does not fit its type")));
            }
        }
        self.waiting += 1;
        if self.waiting >= BATCH_ROWS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        let wanted: Vec<ArrayRef> = self.wanted.iter().filter_map(|at| arrays.get(*at).cloned()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.waiting));
        self.waiting = 0;
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), wanted, &options);
        let sent = self.sender.send(batch.map_err(DataFusionError::from)).await;
        sent.map_err(|_| Error::internal("nobody reads the rows any more"))
    }

    /// Sends what is left.
    pub async fn finish(mut self) -> Result<()> {
        if self.waiting > 0 { self.flush().await } else { Ok(()) }
    }
}

/// A real as JSON has it.
pub(super) fn real_json(value: f64) -> String {
    let mut out = Vec::new();
    real::write_json(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
