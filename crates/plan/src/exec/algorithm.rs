//! Row algorithms: what an operator with one input does when it is no node of the engine (`scan`, `reduce`, plugins).
//!
//! The binder puts an `Algorithm` into `RelOp::Stage`; the lowering asks it for a stage and says how
//! its arguments and columns lie. An algorithm that must see all rows of a group at once implements
//! `GroupAlgorithm` instead and is wrapped by `Collected`, which gathers groups and cuts results.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use tidewater_kql::KqlType;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// How a stage's input and output lie; decided by the lowering.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// How many of the first arguments tell groups apart. Each set of rows with equal group arguments is a run of its own.
    pub groups: usize,
    /// Names and types of the algorithm's columns, which stand behind the kept ones.
    pub columns: Vec<(String, KqlType)>,
    /// Rows come in an order that means something; the stage must then have `Scope::Whole`.
    pub is_ordered: bool,
}

impl Layout {
    /// The algorithm's columns as fields.
    pub fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|(name, ty)| ty.field(name)).collect()
    }

    /// How the rows must come.
    pub fn scope(&self) -> Scope {
        if self.groups == 0 || self.is_ordered { Scope::Whole } else { Scope::Keys(self.groups) }
    }
}

/// What an operator does with rows. Strings among the arguments have no null slots.
pub trait Algorithm: Debug + Send + Sync {
    /// The stage that does it; `Err` is a message for a diagnostic.
    fn stage(&self, layout: Layout) -> Result<Arc<dyn Stage>, String>;
}

/// An algorithm that sees all rows of a group at once.
pub trait GroupAlgorithm: Debug + Send + Sync + Clone + 'static {
    /// The operator's name in plans.
    fn name(&self) -> &'static str;

    /// The settings as text: algorithms with equal names and settings are the same.
    fn settings(&self) -> String;

    /// The result for the rows of one group, in their order. Called once, with no rows, for an input without rows
    /// when there are no group arguments.
    fn run(&self, rows: Group<'_>) -> Result<GroupResult>;
}

/// The rows of a group.
pub struct Group<'a> {
    /// The arguments behind the group arguments, each of `rows` values.
    pub args: Vec<ArrayRef>,
    /// Rows.
    pub rows: usize,
    /// Names and types of the columns to give.
    pub columns: &'a [(String, KqlType)],
    /// Further memory that is held must be reserved here.
    pub memory: &'a MemoryReservation,
}

/// What an algorithm makes of a group.
#[derive(Clone, Debug)]
pub struct GroupResult {
    /// For each row of the result the row of the group that its kept columns come from; null columns where there is none.
    /// With kept columns that identify the group (`partition`) every row of the result should name one.
    pub rows: Vec<Option<u32>>,
    /// The algorithm's columns, of as many rows.
    pub columns: Vec<ArrayRef>,
}

/// A group algorithm as an `Algorithm`.
#[derive(Clone, Debug)]
pub struct Collected<A>(pub A);

impl<A: GroupAlgorithm> Algorithm for Collected<A> {
    fn stage(&self, layout: Layout) -> Result<Arc<dyn Stage>, String> {
        Ok(Arc::new(Collecting { algorithm: self.0.clone(), layout }))
    }
}

#[derive(Clone, Debug)]
struct Collecting<A> {
    algorithm: A,
    layout: Layout,
}

impl<A: GroupAlgorithm> Stage for Collecting<A> {
    fn name(&self) -> &'static str {
        self.algorithm.name()
    }

    fn settings(&self) -> String {
        format!("{} by {} columns to {:?}", self.algorithm.settings(), self.layout.groups, self.layout.columns)
    }

    fn outputs(&self) -> Vec<Field> {
        self.layout.fields()
    }

    fn scope(&self) -> Scope {
        self.layout.scope()
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        let groups = Groups::new(self.layout.groups, &setting.args)?;
        Ok(Box::new(Collector {
            algorithm: self.algorithm.clone(),
            layout: self.layout.clone(),
            groups,
            kept: setting.schema.fields()[..setting.kept].iter().map(|field| field.data_type().clone()).collect(),
            arguments: setting.args,
            batches: Vec::new(),
            members: Vec::new(),
            held: 0,
            batch_rows: setting.batch_rows.max(1),
            memory: setting.memory,
            rows: 0,
            whole: None,
            next_group: 0,
            made: None,
        }))
    }
}

/// Numbers groups by their key arguments.
pub struct Groups {
    values: Option<Box<dyn GroupValues>>,
    count: usize,
    found: Vec<usize>,
}

impl Groups {
    /// Groups by the first `count` arguments.
    pub fn new(count: usize, arguments: &[Field]) -> Result<Groups> {
        let values = match count {
            0 => None,
            _ => Some(new_group_values(Arc::new(Schema::new(arguments[..count].to_vec())), &GroupOrdering::None)?),
        };
        Ok(Groups { values, count, found: Vec::new() })
    }

    /// The group of every row; numbers count from 0 in the order of first appearance.
    pub fn of(&mut self, input: &Input) -> Result<&[usize]> {
        self.found.clear();
        match &mut self.values {
            Some(values) => values.intern(&input.args[..self.count], &mut self.found)?,
            None => self.found.resize(input.rows, 0),
        }
        Ok(&self.found)
    }

    /// Groups found so far.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }
}

struct Collector<A> {
    algorithm: A,
    layout: Layout,
    groups: Groups,
    kept: Vec<arrow::datatypes::DataType>,
    arguments: Vec<Field>,
    batches: Vec<Input>,
    /// Rows of each group, counted over all batches.
    members: Vec<Vec<u32>>,
    held: usize,
    batch_rows: usize,
    memory: MemoryReservation,
    rows: usize,
    /// All rows, when the input has ended: kept columns, then arguments without the groups'.
    whole: Option<(Vec<ArrayRef>, Vec<ArrayRef>)>,
    next_group: usize,
    /// The result of a group that is being given out, and how much of it has been.
    made: Option<(Vec<ArrayRef>, usize, usize)>,
}

impl<A: GroupAlgorithm> StageRun for Collector<A> {
    fn push(&mut self, input: Input) -> Result<()> {
        if self.rows + input.rows > u32::MAX as usize {
            return exec_err!("{} takes at most {} rows", self.algorithm.name(), u32::MAX);
        }
        let first = self.rows as u32;
        if self.layout.groups > 0 {
            for (row, group) in self.groups.of(&input)?.iter().enumerate() {
                if *group >= self.members.len() {
                    self.members.resize_with(*group + 1, Vec::new);
                }
                self.members[*group].push(first + row as u32);
            }
        }
        self.rows += input.rows;
        self.held += input.kept.iter().chain(&input.args).map(|array| array.get_array_memory_size()).sum::<usize>();
        // Once more when the batches are put together.
        self.memory.try_resize(2 * self.held + 8 * self.rows + self.groups.size())?;
        self.batches.push(input);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        let joined = |position: usize, is_kept: bool, ty: &arrow::datatypes::DataType| -> Result<ArrayRef> {
            let parts: Vec<&dyn Array> = batches
                .iter()
                .map(|batch| if is_kept { batch.kept[position].as_ref() } else { batch.args[position].as_ref() })
                .collect();
            match parts.is_empty() {
                true => Ok(new_null_array(ty, 0)),
                false => Ok(concat(&parts)?),
            }
        };
        let kept = self.kept.iter().enumerate().map(|(at, ty)| joined(at, true, ty)).collect::<Result<Vec<_>>>()?;
        let args = self
            .arguments
            .iter()
            .enumerate()
            .skip(self.layout.groups)
            .map(|(at, field)| joined(at, false, field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        self.whole = Some((kept, args));
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        loop {
            if let Some((columns, rows, given)) = &mut self.made {
                let count = (*rows - *given).min(self.batch_rows);
                if count > 0 {
                    let columns = columns.iter().map(|column| column.slice(*given, count)).collect();
                    *given += count;
                    return Ok(Some(Output { columns, rows: count }));
                }
                self.made = None;
            }
            let Some((kept, args)) = &self.whole else { return Ok(None) };
            let groups = if self.layout.groups == 0 { 1 } else { self.members.len() };
            if self.next_group >= groups {
                return Ok(None);
            }
            let members = match self.layout.groups {
                0 => None,
                _ => Some(UInt32Array::from(std::mem::take(&mut self.members[self.next_group]))),
            };
            self.next_group += 1;
            let (args, rows) = match &members {
                None => (args.clone(), self.rows),
                Some(members) => {
                    (args.iter().map(|array| Ok(take(array, members, None)?)).collect::<Result<_>>()?, members.len())
                }
            };
            let group = Group { args, rows, columns: &self.layout.columns, memory: &self.memory };
            let result = self.algorithm.run(group)?;
            let count = result.rows.len();
            if result.columns.len() != self.layout.columns.len()
                || result.columns.iter().any(|column| column.len() != count)
            {
                return internal_err!("{} gave columns of wrong lengths", self.algorithm.name());
            }
            let sources: UInt32Array = result
                .rows
                .iter()
                .map(|row| match &members {
                    None => *row,
                    Some(members) => row.map(|row| members.value(row as usize)),
                })
                .collect();
            let mut columns = Vec::with_capacity(kept.len() + result.columns.len());
            for column in kept {
                columns.push(take(column, &sources, None)?);
            }
            columns.extend(result.columns);
            self.made = Some((columns, count, 0));
        }
    }
}
