//! Scalar functions by family.

pub mod bin;
pub mod datetime;
pub mod datetime_format;
pub mod datetime_make;
pub mod encoding;
pub mod hash;
pub mod ipv4;
pub mod ipv6;
pub mod kernel;
pub mod math;
pub mod parse;
mod punycode;
pub mod regexes;
pub mod rows;
pub mod series;
pub mod special;
pub mod units;

use crate::registry::Scalar;

/// The rows of all families.
pub fn families() -> Vec<&'static [Scalar]> {
    vec![
        bin::ROWS,
        datetime::ROWS,
        datetime_format::ROWS,
        datetime_make::ROWS,
        encoding::ROWS,
        hash::ROWS,
        ipv4::ROWS,
        ipv6::ROWS,
        math::ROWS,
        parse::ROWS,
        series::elements::ROWS,
        series::fill::ROWS,
        series::filters::ROWS,
        series::fit::ROWS,
        series::seasons::ROWS,
        series::stats::ROWS,
        special::ROWS,
        units::ROWS,
    ]
}
