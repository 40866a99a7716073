//! What an expression may refer to while it is bound: columns, and whether aggregates and window
//! functions are allowed and where they are collected.

use std::collections::HashMap;

use tidewater_kql::Span;

use crate::bind::graph_scope::GraphScope;
use crate::bound::{BExpr, BoundAggregate, BoundColumn, ColumnId, WindowFunction};

/// The row of the operator that is being bound.
#[derive(Default)]
pub(crate) struct Row<'r> {
    /// The input's columns.
    pub columns: &'r [BoundColumn],
    /// Aggregates found so far, where the operator takes them.
    pub aggregates: Option<Aggregates>,
    /// Window functions found so far, where the operator takes them.
    pub windows: Option<Windows>,
    /// Whether the input is serialized, as window functions need.
    pub is_serialized: bool,
    /// The steps of a `scan`: `s1.x`.
    pub steps: &'r [StepColumns],
    /// The parts of a graph's pattern, where the operator reads one.
    pub graph: Option<GraphScope>,
}

/// The columns in the state of a step of `scan`.
pub(crate) struct StepColumns {
    /// The step's name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<BoundColumn>,
}

/// The aggregates of a `summarize`.
#[derive(Default)]
pub(crate) struct Aggregates {
    /// Each with its output columns.
    pub found: Vec<(BoundAggregate, Vec<ColumnId>)>,
    /// Outputs of aggregates by their text: the same aggregate twice is computed once.
    pub known: HashMap<String, Vec<ColumnId>>,
    /// Columns of the input that `by` names bare: `*` leaves them out.
    pub keys: Vec<ColumnId>,
    /// Inside an aggregate's arguments: columns are allowed there, aggregates are not.
    pub inside: bool,
}

/// Window functions in layers: those of a layer read columns of the layers below.
#[derive(Default)]
pub(crate) struct Windows {
    pub layers: Vec<Vec<(BoundColumn, WindowFunction)>>,
    /// Where the first one stands.
    pub first: Option<Span>,
}

impl<'r> Row<'r> {
    /// No columns: constants, arguments of operators.
    pub fn none() -> Row<'static> {
        Row::default()
    }

    /// Columns only.
    pub fn of(columns: &'r [BoundColumn]) -> Row<'r> {
        Row { columns, ..Row::default() }
    }

    /// Columns and window functions.
    pub fn with_windows(columns: &'r [BoundColumn], is_serialized: bool) -> Row<'r> {
        Row { columns, windows: Some(Windows::default()), is_serialized, ..Row::default() }
    }

    /// Columns and the states of steps.
    pub fn of_steps(columns: &'r [BoundColumn], steps: &'r [StepColumns]) -> Row<'r> {
        Row { columns, steps, ..Row::default() }
    }

    /// Columns inside aggregates only.
    pub fn with_aggregates(columns: &'r [BoundColumn]) -> Row<'r> {
        Row { columns, aggregates: Some(Aggregates::default()), ..Row::default() }
    }

    /// The column with exactly this name.
    pub fn column(&self, name: &str) -> Option<&'r BoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether columns may be used here: not beside aggregates.
    pub fn allows_columns(&self) -> bool {
        self.aggregates.as_ref().is_none_or(|aggregates| aggregates.inside)
    }
}

impl Windows {
    /// The layer that a function with these operands belongs to.
    pub fn layer_for(&self, operands: &[&BExpr]) -> usize {
        use crate::bound::BExprKind;
        let reads = |id: ColumnId| {
            operands.iter().any(|expr| expr.any(|node| matches!(node.kind, BExprKind::Column(found) if found == id)))
        };
        (0..self.layers.len())
            .rev()
            .find(|layer| self.layers[*layer].iter().any(|(column, _)| reads(column.id)))
            .map_or(0, |layer| layer + 1)
    }

    /// Puts a function into its layer.
    pub fn add(&mut self, layer: usize, column: BoundColumn, function: WindowFunction) {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Vec::new);
        }
        self.layers[layer].push((column, function));
    }
}
