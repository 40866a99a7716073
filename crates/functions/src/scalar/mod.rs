//! Scalar functions by family.

pub mod array;
pub mod bag;
pub mod bin;
pub mod datetime;
pub mod datetime_format;
pub mod datetime_make;
pub mod encoding;
pub mod geo;
pub mod graph;
pub mod hash;
pub mod ipv4;
pub mod ipv6;
pub mod kernel;
pub mod math;
pub mod misc;
pub mod parse;
mod punycode;
pub mod regex;
pub mod regexes;
pub mod rows;
pub mod series;
pub mod sketch;
pub mod special;
pub mod string;
pub mod text;
pub mod units;
pub mod user_agent;

use crate::registry::Scalar;

/// The rows of all families.
pub fn families() -> Vec<&'static [Scalar]> {
    vec![
        array::ROWS,
        bag::ROWS,
        bin::ROWS,
        datetime::ROWS,
        datetime_format::ROWS,
        datetime_make::ROWS,
        encoding::ROWS,
        geo::ROWS,
        graph::ROWS,
        hash::ROWS,
        ipv4::ROWS,
        ipv6::ROWS,
        math::ROWS,
        misc::ROWS,
        parse::ROWS,
        regex::ROWS,
        series::elements::ROWS,
        series::fill::ROWS,
        series::filters::ROWS,
        series::fit::ROWS,
        series::seasons::ROWS,
        series::stats::ROWS,
        sketch::ROWS,
        special::ROWS,
        string::ROWS,
        text::ROWS,
        units::ROWS,
        user_agent::ROWS,
    ]
}
