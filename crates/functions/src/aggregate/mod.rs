//! Aggregate functions by family.
//!
//! Input: rows of arguments that the binder has converted. Output: the engine's aggregate
//! functions. The rows tell the binder what each name takes and gives; several columns at once
//! (`arg_max`, `percentiles`, `take_any(*)`) are structs that the lowering takes apart with
//! `get_field(value, part_name(n))`.

pub mod args;
pub mod collect;
pub mod counts;
pub mod digest;
pub mod distinct;
pub mod extremes;
pub mod frame;
pub mod hyperloglog;
pub mod moments;
pub mod percentiles;
pub mod scan;
pub mod schema;
pub mod sets;
pub mod sums;

#[cfg(test)]
mod split_tests;

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use tidewater_kql::KqlType;

use crate::registry::Aggregate;

pub use args::{arg_extreme, take_any};
pub use percentiles::{percentile_type, percentiles, percents_of};

/// The rows of all families.
pub fn families() -> Vec<&'static [Aggregate]> {
    vec![
        counts::ROWS,
        sums::ROWS,
        extremes::ROWS,
        moments::ROWS,
        distinct::ROWS,
        percentiles::ROWS,
        collect::ROWS,
        args::ROWS,
        schema::ROWS,
    ]
}

/// Name of a field of the struct that an aggregate of several columns gives, from 0.
pub fn part_name(part: usize) -> String {
    format!("p{part}")
}

pub(crate) fn part_field(part: usize, ty: KqlType) -> FieldRef {
    Arc::new(ty.field(&part_name(part)))
}
