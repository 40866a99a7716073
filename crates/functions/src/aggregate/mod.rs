//! Aggregate functions by family.

use crate::registry::Aggregate;

/// The rows of all families.
pub fn families() -> Vec<&'static [Aggregate]> {
    vec![]
}
