//! Small tables made row by row: the answers of commands.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringViewBuilder,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use serde::{Deserialize, Serialize};
use tidewater_kql::{Column, KqlType, TableSchema};
use uuid::Uuid;

use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::journal::Outcome;

/// A cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// Any type's null.
    Null,
    /// bool
    Bool(bool),
    /// int, long, datetime, timespan
    Number(i64),
    /// real
    Real(f64),
    /// string, dynamic (JSON text)
    Text(String),
    /// guid
    Guid(Uuid),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Cell {
        Cell::Text(text.unwrap_or("").to_string())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Cell {
        Cell::Bool(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Cell {
        Cell::Number(value)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Cell {
        Cell::Number(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Cell {
        Cell::from(value as u64)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Real(value)
    }
}

impl From<Uuid> for Cell {
    fn from(value: Uuid) -> Cell {
        Cell::Guid(value)
    }
}

/// Columns of an answer: name and type.
pub type Columns = &'static [(&'static str, KqlType)];

/// A table under construction.
pub struct TableBuilder {
    schema: TableSchema,
    rows: Vec<Vec<Cell>>,
}

impl TableBuilder {
    /// A table without rows.
    pub fn new(columns: Columns) -> TableBuilder {
        let columns = columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect();
        TableBuilder { schema: TableSchema::new(columns), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing at its end are null.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert!(cells.len() <= self.schema.columns.len(), "a row has more cells than the table has columns");
        self.rows.push(cells);
    }

    /// The table as an answer.
    pub fn finish(self) -> Result<ResultTable> {
        let (schema, batch) = self.into_batch()?;
        Ok(ResultTable::of_batch("PrimaryResult", schema, batch))
    }

    /// A table that was kept as an operation's result.
    pub fn of_outcome(outcome: Outcome) -> Result<TableBuilder> {
        let column = |(name, ty): (String, String)| {
            let ty = KqlType::parse(&ty).ok_or_else(|| Error::internal(format!("a kept result has a type '{ty}'")))?;
            Ok(Column::new(name, ty))
        };
        let columns = outcome.columns.into_iter().map(column).collect::<Result<Vec<Column>>>()?;
        Ok(TableBuilder { schema: TableSchema::new(columns), rows: outcome.rows })
    }

    /// The table as one batch.
    pub fn into_batch(self) -> Result<(TableSchema, RecordBatch)> {
        let arrays = self.schema.columns.iter().enumerate().map(|(at, column)| array(column.ty, &self.rows, at));
        let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.arrow(), arrays, &options)
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok((self.schema, batch))
    }
}

impl Outcome {
    /// An answer as what is kept of it: its first rows.
    pub(crate) async fn of(table: ResultTable) -> Result<Outcome> {
        let named = |column: &Column| (column.name.clone(), column.ty.name().to_string());
        let columns = table.schema.columns.iter().map(named).collect();
        let types: Vec<KqlType> = table.schema.columns.iter().map(|column| column.ty).collect();
        let mut rows = Vec::new();
        for batch in table.collect().await? {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().zip(&types);
                rows.push(cells.map(|(array, ty)| cell(array, *ty, row)).collect());
            }
        }
        Ok(Outcome { columns, rows })
    }
}

fn cell(array: &ArrayRef, ty: KqlType, row: usize) -> Cell {
    if array.is_null(row) {
        return if ty == KqlType::String { Cell::Text(String::new()) } else { Cell::Null };
    }
    match ty {
        KqlType::Bool => Cell::Bool(array.as_boolean().value(row)),
        KqlType::Int => Cell::Number(i64::from(array.as_primitive::<Int32Type>().value(row))),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => {
            Cell::Number(array.as_primitive::<Int64Type>().value(row))
        }
        KqlType::Real => Cell::Real(array.as_primitive::<Float64Type>().value(row)),
        KqlType::String | KqlType::Dynamic => Cell::Text(array.as_string_view().value(row).to_string()),
        KqlType::Guid | KqlType::Decimal => {
            Cell::Guid(Uuid::from_slice(array.as_fixed_size_binary().value(row)).unwrap_or_default())
        }
    }
}

fn array(ty: KqlType, rows: &[Vec<Cell>], at: usize) -> Result<ArrayRef> {
    let cells = rows.iter().map(|row| row.get(at).unwrap_or(&Cell::Null));
    let number = |cell: &Cell| match cell {
        Cell::Number(number) => Some(*number),
        _ => None,
    };
    Ok(match ty {
        KqlType::Bool => Arc::new(BooleanArray::from_iter(cells.map(|cell| match cell {
            Cell::Bool(value) => Some(*value),
            _ => None,
        }))),
        KqlType::Int => Arc::new(Int32Array::from_iter(cells.map(|cell| number(cell).map(|number| number as i32)))),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Arc::new(Int64Array::from_iter(cells.map(number))),
        KqlType::Real => Arc::new(Float64Array::from_iter(cells.map(|cell| match cell {
            Cell::Real(value) => Some(*value),
            Cell::Number(value) => Some(*value as f64),
            _ => None,
        }))),
        KqlType::String | KqlType::Dynamic => {
            let mut builder = StringViewBuilder::with_capacity(rows.len());
            for cell in cells {
                match cell {
                    Cell::Text(text) => builder.append_value(text),
                    Cell::Null if ty == KqlType::String => builder.append_value(""),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        KqlType::Guid | KqlType::Decimal => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
            for cell in cells {
                match cell {
                    // A decimal has sixteen bytes, too.
                    Cell::Guid(guid) => {
                        builder.append_value(guid.as_bytes()).map_err(|error| Error::internal(error.to_string()))?
                    }
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
    })
}
