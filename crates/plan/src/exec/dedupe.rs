//! The left side of an innerunique join: the first row of each key, as rows come.

use std::sync::Arc;

use arrow::array::BooleanBuilder;
use arrow::compute::filter;
use arrow::datatypes::{Field, Schema};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// The operator; all arguments are keys.
#[derive(Clone, Debug)]
pub struct Dedupe {
    /// How many.
    pub keys: usize,
}

impl Stage for Dedupe {
    fn name(&self) -> &'static str {
        "Dedupe"
    }

    fn settings(&self) -> String {
        format!("first row of {} keys", self.keys)
    }

    fn outputs(&self) -> Vec<Field> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        if self.keys == 0 { Scope::Whole } else { Scope::Keys(self.keys) }
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        let values = match self.keys {
            0 => None,
            _ => Some(new_group_values(Arc::new(Schema::new(setting.args)), &GroupOrdering::None)?),
        };
        Ok(Box::new(Run { values, seen: 0, groups: Vec::new(), memory: setting.memory, ready: None }))
    }
}

struct Run {
    values: Option<Box<dyn GroupValues>>,
    seen: usize,
    groups: Vec<usize>,
    memory: MemoryReservation,
    ready: Option<Output>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        self.groups.clear();
        match &mut self.values {
            Some(values) => values.intern(&input.args, &mut self.groups)?,
            None => self.groups.resize(input.rows, 0),
        }
        // Groups are numbered in the order of their first rows.
        let mut is_first = BooleanBuilder::with_capacity(input.rows);
        let before = self.seen;
        for group in &self.groups {
            let is_new = *group == self.seen;
            self.seen += usize::from(is_new);
            is_first.append_value(is_new);
        }
        if self.seen == before {
            return Ok(());
        }
        if let Some(values) = &self.values {
            self.memory.try_resize(values.size())?;
        }
        let is_first = is_first.finish();
        let columns = input.kept.iter().map(|column| Ok(filter(column, &is_first)?)).collect::<Result<Vec<_>>>()?;
        self.ready = Some(Output { columns, rows: self.seen - before });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.take())
    }
}
