//! Scalar functions by family.

pub mod kernel;
pub mod regexes;

use crate::registry::Scalar;

/// The rows of all families.
pub fn families() -> Vec<&'static [Scalar]> {
    vec![]
}
