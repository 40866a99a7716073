//! `rows_near`: rows around those that a condition holds for. Argument: the condition.

use arrow::array::{Array, AsArray};
use datafusion::error::Result;

use super::algorithm::{Group, GroupAlgorithm, GroupResult};

/// The operator.
#[derive(Clone, Debug)]
pub struct RowsNear {
    /// Rows before.
    pub before: usize,
    /// Rows after.
    pub after: usize,
}

impl GroupAlgorithm for RowsNear {
    fn name(&self) -> &'static str {
        "RowsNear"
    }

    fn settings(&self) -> String {
        format!("{} before and {} after", self.before, self.after)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let condition = rows.args[0].as_boolean();
        let mut near: Vec<Option<u32>> = Vec::new();
        let mut next = 0;
        for row in (0..rows.rows).filter(|row| condition.is_valid(*row) && condition.value(*row)) {
            let first = row.saturating_sub(self.before).max(next);
            let end = row.saturating_add(self.after).saturating_add(1).min(rows.rows);
            near.extend((first..end).map(|row| Some(row as u32)));
            next = end.max(next);
        }
        rows.memory.try_grow(near.len() * 8)?;
        Ok(GroupResult { rows: near, columns: Vec::new() })
    }
}
