//! Columns of KQL types built cell by cell, from JSON elements among others.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder, StringViewBuilder,
};
use tidewater_functions::dynamic::{Dynamic, Json, Number};
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, guid};

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
