//! The conditions and assignments of `scan`, row by row.
//!
//! What reads the current row only has been computed for the whole batch and comes as an argument.
//! What reads the state of a step is walked here: plain arithmetic, comparisons and choices on
//! cells, anything else by the engine's own expression over a batch of one row.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::value::datetime;

use super::cells::{Cell, Cells};
use crate::bound::{BExpr, BExprKind, BoundColumn, ColumnId};
use crate::lower::expr;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An argument of the current row.
    Arg(usize),
    /// A field in the state of a step.
    State {
        /// The step.
        step: usize,
        /// The field.
        field: usize,
    },
}

/// An expression over the current row and the state.
#[derive(Clone, Debug)]
pub enum Node {
    /// A constant.
    Constant(Cell),
    /// A value as it is.
    Read(Source),
    /// Arithmetic on whole numbers, ticks or reals.
    Arithmetic {
        /// The operator.
        op: BinaryOp,
        /// What the operands are.
        kind: Numbers,
        /// The operands.
        operands: Box<(Node, Node)>,
    },
    /// Equality of equal types, or order of numbers, ticks and bools.
    Compare {
        /// The operator.
        op: BinaryOp,
        /// The operands.
        operands: Box<(Node, Node)>,
    },
    /// `and`, `or` with nulls as unknown.
    Logical {
        /// `or`
        is_or: bool,
        /// At least one.
        operands: Vec<Node>,
    },
    /// `not`
    Not(Box<Node>),
    /// Whether the value is null.
    IsNull(Box<Node>),
    /// Whether a string is empty.
    IsEmpty(Box<Node>),
    /// The first branch whose condition is true.
    Case {
        /// Conditions and values.
        branches: Vec<(Node, Node)>,
        /// The last value.
        otherwise: Box<Node>,
    },
    /// A whole number as a real.
    Widen(Box<Node>),
    /// Anything else: an expression over these columns.
    Engine {
        /// What to compute.
        expr: BExpr,
        /// The columns it reads.
        columns: Vec<(BoundColumn, Source)>,
        /// Its place among the prepared expressions.
        slot: usize,
    },
}

/// What arithmetic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Whole numbers and timespans: results wrap around.
    Whole,
    /// The result is a datetime: out of range is null.
    DateTime,
    /// Reals.
    Real,
}

/// Makes nodes of bound expressions.
pub struct Compiler<'a> {
    /// The fields of the steps: a column id, its step and its field.
    pub states: &'a dyn Fn(ColumnId) -> Option<(usize, usize)>,
    /// The arguments so far.
    pub args: &'a mut Vec<BExpr>,
    /// Columns of the input among the arguments.
    pub known: &'a mut std::collections::HashMap<ColumnId, usize>,
    /// Expressions for the engine so far.
    pub slots: usize,
}

impl Compiler<'_> {
    /// The node of an expression.
    pub fn node(&mut self, expr: &BExpr) -> Node {
        stacker::maybe_grow(64 << 10, 2 << 20, || self.made(expr))
    }

    fn made(&mut self, expr: &BExpr) -> Node {
        if let Some(constant) = expr.as_constant() {
            return Node::Constant(Cell::of(&constant));
        }
        if let BExprKind::Column(id) = expr.kind {
            return Node::Read(self.source(id, expr.ty));
        }
        let reads_state = expr.any(|node| matches!(node.kind, BExprKind::Column(id) if (self.states)(id).is_some()));
        if !reads_state {
            self.args.push(expr.clone());
            return Node::Read(Source::Arg(self.args.len() - 1));
        }
        match &expr.kind {
            BExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right }
                if left.ty == KqlType::Bool && right.ty == KqlType::Bool =>
            {
                Node::Logical { is_or: *op == BinaryOp::Or, operands: vec![self.node(left), self.node(right)] }
            }
            BExprKind::Chain { op: op @ (BinaryOp::And | BinaryOp::Or), operands }
                if operands.iter().all(|operand| operand.ty == KqlType::Bool) =>
            {
                let operands = operands.iter().map(|operand| self.node(operand)).collect();
                Node::Logical { is_or: *op == BinaryOp::Or, operands }
            }
            BExprKind::Binary { op, left, right } => {
                match (numbers(*op, left.ty, right.ty), comparable(*op, left.ty, right.ty)) {
                    (Some(kind), _) => {
                        Node::Arithmetic { op: *op, kind, operands: Box::new((self.node(left), self.node(right))) }
                    }
                    (None, true) => Node::Compare { op: *op, operands: Box::new((self.node(left), self.node(right))) },
                    (None, false) => self.engine(expr),
                }
            }
            BExprKind::Not(operand) if operand.ty == KqlType::Bool => Node::Not(Box::new(self.node(operand))),
            BExprKind::IsNull(operand) => Node::IsNull(Box::new(self.node(operand))),
            BExprKind::IsEmpty(operand) if operand.ty == KqlType::String => Node::IsEmpty(Box::new(self.node(operand))),
            BExprKind::IsEmpty(operand) if operand.ty != KqlType::Dynamic => Node::IsNull(Box::new(self.node(operand))),
            BExprKind::Convert(operand) => match (operand.ty, expr.ty) {
                (from, to) if from == to => self.node(operand),
                (KqlType::Int, KqlType::Long) => self.node(operand),
                (KqlType::Int | KqlType::Long, KqlType::Real) => Node::Widen(Box::new(self.node(operand))),
                _ => self.engine(expr),
            },
            BExprKind::Case { branches, otherwise }
                if branches.iter().all(|(condition, _)| condition.ty == KqlType::Bool) =>
            {
                let branches =
                    branches.iter().map(|(condition, value)| (self.node(condition), self.node(value))).collect();
                Node::Case { branches, otherwise: Box::new(self.node(otherwise)) }
            }
            _ => self.engine(expr),
        }
    }

    fn source(&mut self, id: ColumnId, ty: KqlType) -> Source {
        if let Some((step, field)) = (self.states)(id) {
            return Source::State { step, field };
        }
        if let Some(arg) = self.known.get(&id) {
            return Source::Arg(*arg);
        }
        self.args.push(BExpr { kind: BExprKind::Column(id), ty });
        self.known.insert(id, self.args.len() - 1);
        Source::Arg(self.args.len() - 1)
    }

    fn engine(&mut self, expr: &BExpr) -> Node {
        let mut columns: Vec<(BoundColumn, Source)> = Vec::new();
        let mut found: Vec<(ColumnId, KqlType)> = Vec::new();
        expr.any(|node| {
            if let BExprKind::Column(id) = node.kind
                && !found.iter().any(|(known, _)| *known == id)
            {
                found.push((id, node.ty));
            }
            false
        });
        for (id, ty) in found {
            let source = self.source(id, ty);
            columns.push((BoundColumn { id, name: String::new(), ty }, source));
        }
        self.slots += 1;
        Node::Engine { expr: expr.clone(), columns, slot: self.slots - 1 }
    }
}

/// Whether arithmetic is done on cells, and how.
fn numbers(op: BinaryOp, left: KqlType, right: KqlType) -> Option<Numbers> {
    use BinaryOp::*;
    use KqlType::*;
    Some(match (op, left, right) {
        (Add | Subtract | Multiply | Divide | Modulo, Long, Long) => Numbers::Whole,
        (Add | Subtract, TimeSpan, TimeSpan) | (Subtract, DateTime, DateTime) => Numbers::Whole,
        (Add | Subtract, DateTime, TimeSpan) => Numbers::DateTime,
        (Add | Subtract | Multiply | Divide, Real, Real) => Numbers::Real,
        _ => return None,
    })
}

/// Whether a comparison is done on cells.
fn comparable(op: BinaryOp, left: KqlType, right: KqlType) -> bool {
    use BinaryOp::*;
    use KqlType::*;
    left == right
        && match op {
            Equal | NotEqual => matches!(left, Bool | Int | Long | DateTime | TimeSpan | String | Guid),
            Less | LessOrEqual | Greater | GreaterOrEqual => matches!(left, Int | Long | Real | DateTime | TimeSpan),
            _ => false,
        }
}

/// An expression and the columns of the batch that it is computed over.
type PreparedExpr = (Arc<dyn PhysicalExpr>, Arc<Schema>);

/// The engine's expressions of a program, by slot.
pub struct Prepared {
    exprs: Vec<Option<PreparedExpr>>,
}

impl Prepared {
    /// Prepares the expressions of all nodes.
    pub fn new(nodes: &[&Node], slots: usize) -> Result<Prepared> {
        let mut exprs = vec![None; slots];
        let mut waiting = nodes.to_vec();
        while let Some(node) = waiting.pop() {
            if let Node::Engine { expr, columns, slot } = node {
                exprs[*slot] = Some(prepared(expr, columns)?);
            }
            waiting.extend(node.children());
        }
        Ok(Prepared { exprs })
    }
}

fn prepared(bound: &BExpr, columns: &[(BoundColumn, Source)]) -> Result<PreparedExpr> {
    let fields: Vec<_> = columns.iter().map(|(column, _)| column.ty.field(&column.id.engine_name())).collect();
    let schema = Arc::new(Schema::new(fields));
    let named = DFSchema::try_from(schema.as_ref().clone())?;
    let context = SimplifyContext::builder().with_schema(Arc::new(named.clone())).build();
    let lowered = ExprSimplifier::new(context).simplify(expr::value(bound)?)?;
    let physical = create_physical_expr(&lowered, &named, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    Ok((physical, schema))
}

impl Node {
    fn children(&self) -> Vec<&Node> {
        match self {
            Node::Constant(_) | Node::Read(_) | Node::Engine { .. } => Vec::new(),
            Node::Arithmetic { operands, .. } | Node::Compare { operands, .. } => vec![&operands.0, &operands.1],
            Node::Logical { operands, .. } => operands.iter().collect(),
            Node::Not(operand) | Node::IsNull(operand) | Node::IsEmpty(operand) | Node::Widen(operand) => {
                vec![operand]
            }
            Node::Case { branches, otherwise } => {
                branches.iter().flat_map(|(condition, value)| [condition, value]).chain([&**otherwise]).collect()
            }
        }
    }
}

/// What a node is computed over.
pub struct Scene<'a> {
    /// The arguments of the batch, with their types.
    pub args: &'a [ArrayRef],
    /// Their types.
    pub types: &'a [KqlType],
    /// The row.
    pub row: usize,
    /// The fields of each step in the state that is looked at.
    pub state: &'a [Vec<Cell>],
    /// What a field is where the state has no such step.
    pub defaults: &'a [Cell],
    /// The engine's expressions.
    pub prepared: &'a Prepared,
}

impl Scene<'_> {
    /// Whether a condition is true.
    pub fn holds(&self, node: &Node) -> Result<bool> {
        Ok(self.value(node)? == Cell::Bool(true))
    }

    /// The value of a node.
    pub fn value(&self, node: &Node) -> Result<Cell> {
        stacker::maybe_grow(64 << 10, 1 << 20, || self.computed(node))
    }

    fn read(&self, source: Source) -> Cell {
        match source {
            Source::Arg(position) => Cell::read(&self.args[position], self.types[position], self.row),
            Source::State { step, field } => match self.state.get(step) {
                Some(fields) => fields[field].clone(),
                None => self.defaults[field].clone(),
            },
        }
    }

    fn computed(&self, node: &Node) -> Result<Cell> {
        Ok(match node {
            Node::Constant(cell) => cell.clone(),
            Node::Read(source) => self.read(*source),
            Node::Arithmetic { op, kind, operands } => {
                arithmetic(*op, *kind, &self.computed(&operands.0)?, &self.computed(&operands.1)?)
            }
            Node::Compare { op, operands } => compare(*op, &self.computed(&operands.0)?, &self.computed(&operands.1)?),
            Node::Logical { is_or, operands } => {
                let mut result = Cell::Bool(!is_or);
                for operand in operands {
                    match self.value(operand)? {
                        Cell::Bool(value) if value == *is_or => return Ok(Cell::Bool(*is_or)),
                        Cell::Bool(_) => {}
                        _ => result = Cell::Null,
                    }
                }
                result
            }
            Node::Not(operand) => match self.value(operand)? {
                Cell::Bool(value) => Cell::Bool(!value),
                other => other,
            },
            Node::IsNull(operand) => Cell::Bool(self.value(operand)? == Cell::Null),
            Node::IsEmpty(operand) => Cell::Bool(matches!(self.value(operand)?, Cell::Text(text) if text.is_empty())),
            Node::Widen(operand) => match self.value(operand)? {
                Cell::Whole(value) => Cell::Real(value as f64),
                other => other,
            },
            Node::Case { branches, otherwise } => {
                for (condition, value) in branches {
                    if self.holds(condition)? {
                        return self.value(value);
                    }
                }
                return self.value(otherwise);
            }
            Node::Engine { expr, columns, slot } => {
                let Some(Some((physical, schema))) = self.prepared.exprs.get(*slot) else {
                    return datafusion::common::internal_err!("an expression of scan was not prepared");
                };
                let cells = columns.iter().map(|(column, source)| {
                    let mut cells = Cells::new(column.ty);
                    cells.cell(&self.read(*source));
                    cells.finish()
                });
                let batch = RecordBatch::try_new(Arc::clone(schema), cells.collect())?;
                let array = physical.evaluate(&batch)?.into_array(1)?;
                Cell::read(&array, expr.ty, 0)
            }
        })
    }
}

fn arithmetic(op: BinaryOp, kind: Numbers, left: &Cell, right: &Cell) -> Cell {
    use BinaryOp::*;
    match (left, right) {
        (Cell::Real(left), Cell::Real(right)) => Cell::Real(match op {
            Add => left + right,
            Subtract => left - right,
            Multiply => left * right,
            _ => left / right,
        }),
        (Cell::Whole(left), Cell::Whole(right)) => {
            let value = match op {
                Add if kind == Numbers::DateTime => left.checked_add(*right),
                Subtract if kind == Numbers::DateTime => left.checked_sub(*right),
                Add => Some(left.wrapping_add(*right)),
                Subtract => Some(left.wrapping_sub(*right)),
                Multiply => Some(left.wrapping_mul(*right)),
                _ if *right == 0 => None,
                Divide => Some(left.wrapping_div(*right)),
                _ => Some(left.wrapping_rem_euclid(*right)),
            };
            let range = datetime::MIN_TICKS..=datetime::MAX_TICKS;
            match value {
                Some(value) if kind != Numbers::DateTime || range.contains(&value) => Cell::Whole(value),
                _ => Cell::Null,
            }
        }
        _ => Cell::Null,
    }
}

/// Equality is total but for two nulls; order with a null is null. Source: kql-behaviour section 3.
fn compare(op: BinaryOp, left: &Cell, right: &Cell) -> Cell {
    use BinaryOp::*;
    use std::cmp::Ordering;
    if matches!(op, Equal | NotEqual) {
        return match (left, right) {
            (Cell::Null, Cell::Null) => Cell::Null,
            _ => Cell::Bool((left == right) == (op == Equal)),
        };
    }
    let order = match (left, right) {
        (Cell::Whole(left), Cell::Whole(right)) => Some(left.cmp(right)),
        (Cell::Real(left), Cell::Real(right)) => left.partial_cmp(right),
        _ => return Cell::Null,
    };
    let Some(order) = order else { return Cell::Bool(false) };
    Cell::Bool(match op {
        Less => order == Ordering::Less,
        LessOrEqual => order != Ordering::Greater,
        Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}
