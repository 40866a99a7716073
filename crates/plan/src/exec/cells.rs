//! Columns of KQL types built cell by cell, from JSON elements among others.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder,
    StringViewBuilder,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use tidewater_functions::dynamic::{Dynamic, Json, Number};
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, guid};

use crate::bound::{Constant, Value};

/// A value of a KQL type outside arrays. A string is never null.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Null.
    Null,
    /// bool
    Bool(bool),
    /// int, long, datetime, timespan
    Whole(i64),
    /// real
    Real(f64),
    /// string, dynamic
    Text(Arc<str>),
    /// decimal, guid
    Bytes([u8; 16]),
}

impl Cell {
    /// A constant's value.
    pub fn of(constant: &Constant) -> Cell {
        match &constant.value {
            Value::Null => Cell::Null,
            Value::Bool(value) => Cell::Bool(*value),
            Value::Int(value) => Cell::Whole(i64::from(*value)),
            Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => Cell::Whole(*value),
            Value::Real(value) => Cell::Real(*value),
            Value::String(text) | Value::Dynamic(text) => Cell::Text(text.as_str().into()),
            Value::Decimal(bytes) | Value::Guid(bytes) => Cell::Bytes(*bytes),
        }
    }

    /// The value in a row of a column of type `ty`.
    pub fn read(array: &ArrayRef, ty: KqlType, row: usize) -> Cell {
        if array.is_null(row) {
            return if ty == KqlType::String { Cell::Text("".into()) } else { Cell::Null };
        }
        match ty {
            KqlType::Bool => Cell::Bool(array.as_boolean().value(row)),
            KqlType::Int => Cell::Whole(i64::from(array.as_primitive::<Int32Type>().value(row))),
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => {
                Cell::Whole(array.as_primitive::<Int64Type>().value(row))
            }
            KqlType::Real => Cell::Real(array.as_primitive::<Float64Type>().value(row)),
            KqlType::String | KqlType::Dynamic => Cell::Text(array.as_string_view().value(row).into()),
            KqlType::Decimal | KqlType::Guid => match array.as_fixed_size_binary().value(row).try_into() {
                Ok(bytes) => Cell::Bytes(bytes),
                Err(_) => Cell::Null,
            },
        }
    }
}

/// A growing column of a KQL type in its engine form.
pub(super) struct Cells {
    ty: KqlType,
    builder: Builder,
}

enum Builder {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Real(Float64Builder),
    Bytes(FixedSizeBinaryBuilder),
    Text(StringViewBuilder),
}

impl Cells {
    pub(super) fn new(ty: KqlType) -> Cells {
        let builder = match ty {
            KqlType::Bool => Builder::Bool(BooleanBuilder::new()),
            KqlType::Int => Builder::Int(Int32Builder::new()),
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Builder::Long(Int64Builder::new()),
            KqlType::Real => Builder::Real(Float64Builder::new()),
            KqlType::Decimal | KqlType::Guid => Builder::Bytes(FixedSizeBinaryBuilder::new(16)),
            KqlType::String | KqlType::Dynamic => Builder::Text(StringViewBuilder::new()),
        };
        Cells { ty, builder }
    }

    /// The null of the type; `""` for string.
    pub(super) fn null(&mut self) {
        match &mut self.builder {
            Builder::Bool(cells) => cells.append_null(),
            Builder::Int(cells) => cells.append_null(),
            Builder::Long(cells) => cells.append_null(),
            Builder::Real(cells) => cells.append_null(),
            Builder::Bytes(cells) => cells.append_null(),
            Builder::Text(cells) if self.ty == KqlType::String => cells.append_value(""),
            Builder::Text(cells) => cells.append_null(),
        }
    }

    /// A cell of the column's type.
    pub(super) fn cell(&mut self, cell: &Cell) {
        match (&mut self.builder, cell) {
            (Builder::Bool(cells), Cell::Bool(value)) => cells.append_value(*value),
            (Builder::Int(cells), Cell::Whole(value)) => cells.append_option(i32::try_from(*value).ok()),
            (Builder::Long(cells), Cell::Whole(value)) => cells.append_value(*value),
            (Builder::Real(cells), Cell::Real(value)) => cells.append_value(*value),
            (Builder::Bytes(cells), Cell::Bytes(value)) => {
                cells.append_value(value).expect("a guid or decimal has the builder's 16 bytes")
            }
            (Builder::Text(cells), Cell::Text(text)) => cells.append_value(text),
            _ => self.null(),
        }
    }

    /// A JSON value read as `mv-expand ... to typeof(T)` reads it: a cast of its kind, not a parse of its text.
    /// Source: kql-behaviour section 13.
    pub(super) fn json(&mut self, value: Json<'_>) {
        if value.is_null() {
            return self.null();
        }
        match (self.ty, &mut self.builder) {
            (KqlType::Dynamic, Builder::Text(cells)) => cells.append_value(value.as_str()),
            (KqlType::String, Builder::Text(cells)) => cells.append_value(value.text()),
            (KqlType::Bool, Builder::Bool(cells)) => {
                let number = || value.number().and_then(Number::exact_long).map(|number| number != 0);
                cells.append_option(value.boolean().or_else(number));
            }
            (KqlType::Int, Builder::Int(cells)) => {
                cells.append_option(whole(value).and_then(|number| i32::try_from(number).ok()))
            }
            (KqlType::Long, Builder::Long(cells)) => cells.append_option(whole(value)),
            (KqlType::Real, Builder::Real(cells)) => cells.append_option(real(value)),
            (KqlType::DateTime, Builder::Long(cells)) => {
                cells.append_option(value.string().and_then(|text| datetime::parse(&text)))
            }
            (KqlType::Guid, Builder::Bytes(cells)) => match value.string().and_then(|text| guid::parse(&text)) {
                Some(bytes) => cells.append_value(bytes).expect("a guid has the builder's 16 bytes"),
                None => cells.append_null(),
            },
            _ => self.null(),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match &mut self.builder {
            Builder::Bool(cells) => Arc::new(cells.finish()),
            Builder::Int(cells) => Arc::new(cells.finish()),
            Builder::Long(cells) => Arc::new(cells.finish()),
            Builder::Real(cells) => Arc::new(cells.finish()),
            Builder::Bytes(cells) => Arc::new(cells.finish()),
            Builder::Text(cells) => Arc::new(cells.finish()),
        }
    }
}

fn whole(value: Json<'_>) -> Option<i64> {
    match value.number()? {
        Number::Long(number) => Some(number),
        // The cast saturates; what is out of range has no whole number.
        Number::Double(number) => (number.abs() < 9.3e18).then_some(number as i64),
    }
}

/// Reals that JSON has no number for stand in dynamics as strings.
fn real(value: Json<'_>) -> Option<f64> {
    match value.number() {
        Some(number) => Some(number.to_real()),
        None => match value.as_str() {
            "\"NaN\"" => Some(f64::NAN),
            "\"Infinity\"" => Some(f64::INFINITY),
            "\"-Infinity\"" => Some(f64::NEG_INFINITY),
            _ => None,
        },
    }
}
