//! The bound tree: a query whose names, types and conversions are settled, free of the engine.
//!
//! Made by `bind`, read by `lower`. Every expression has its KQL type, every implicit conversion is
//! a `Convert` node, every result column its final name. Invariants that the lowering may rely on:
//!
//! - Column ids are unique within one relation, and the two sides of a join have no id in common.
//!   The same id may occur in separate branches (a `let` table used twice is one `Arc<Rel>` under
//!   two projections with fresh ids), so lowering the same `Arc` twice, or once with a memo, are both right.
//! - A pass-through column keeps its id: `Project` may have an item `Column(id)` whose own column has
//!   that same id. An expression refers only to columns of the relation(s) directly below.
//! - Strings have no null: `Value::Null` never has type string.

#![allow(missing_docs, reason = "the fields of operators are explained by the line above them")]

mod graph;

use std::sync::Arc;

pub use graph::{
    Cycles, Element, Graph, GraphColumn, GraphId, GraphMatch, GraphOp, GraphPart, GraphRows, MakeGraph, MatchEdge,
    PathFold, PathFunction, Place, Property, Shortest,
};

use datafusion::scalar::ScalarValue;
use tidewater_functions::{Aggregate, Scalar};
use tidewater_kql::ast::{BinaryOp, InOp};
use tidewater_kql::{Column, KqlType, TableSchema};

use crate::catalog::TableHandle;
use crate::exec::algorithm::Algorithm;
use crate::exec::lookup::LookupKind;
use crate::hidden::Hidden;

/// Identity of a column inside one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u32);

impl ColumnId {
    /// The column's name inside the engine; user names are given by the last projection only.
    pub fn engine_name(self) -> String {
        format!("c{}", self.0)
    }
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundColumn {
    /// Its identity.
    pub id: ColumnId,
    /// Its name as the user sees it; unique within every relation that a user's operator gives. Columns that only pass
    /// between the parts of one operator may share a name or have none.
    pub name: String,
    /// Its type.
    pub ty: KqlType,
}

/// A value without its type; the form in which the engine holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null of any type but string.
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i32),
    /// long
    Long(i64),
    /// real
    Real(f64),
    /// decimal: the sortable bytes of `kql::value::decimal`
    Decimal([u8; 16]),
    /// string
    String(String),
    /// datetime: ticks since year 1
    DateTime(i64),
    /// timespan: ticks
    TimeSpan(i64),
    /// guid: big-endian bytes
    Guid([u8; 16]),
    /// dynamic: compact JSON text
    Dynamic(String),
}

/// A typed value.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The value.
    pub value: Value,
    /// Its type, also when it is null.
    pub ty: KqlType,
}

impl Constant {
    /// The null of a type; `""` for string.
    pub fn null(ty: KqlType) -> Constant {
        let value = if ty == KqlType::String { Value::String(String::new()) } else { Value::Null };
        Constant { value, ty }
    }

    /// A long.
    pub fn long(value: i64) -> Constant {
        Constant { value: Value::Long(value), ty: KqlType::Long }
    }

    /// A string.
    pub fn string(value: impl Into<String>) -> Constant {
        Constant { value: Value::String(value.into()), ty: KqlType::String }
    }

    /// A bool.
    pub fn bool(value: bool) -> Constant {
        Constant { value: Value::Bool(value), ty: KqlType::Bool }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The engine's form of the value, of Arrow type `ty.arrow()`.
    pub fn to_scalar(&self) -> ScalarValue {
        match &self.value {
            Value::Null => ScalarValue::try_from(&self.ty.arrow()).expect("every KQL type's Arrow type has a null"),
            Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
            Value::Int(value) => ScalarValue::Int32(Some(*value)),
            Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => ScalarValue::Int64(Some(*value)),
            Value::Real(value) => ScalarValue::Float64(Some(*value)),
            Value::Decimal(bytes) | Value::Guid(bytes) => ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec())),
            Value::String(text) | Value::Dynamic(text) => ScalarValue::Utf8View(Some(text.clone())),
        }
    }

    /// Reads the engine's form of a value of type `ty`; `None` when the Arrow type is not that of `ty`.
    pub fn of_scalar(scalar: &ScalarValue, ty: KqlType) -> Option<Constant> {
        let value = match (ty, scalar) {
            (_, scalar) if scalar.is_null() => return Some(Constant::null(ty)),
            (KqlType::Bool, ScalarValue::Boolean(Some(value))) => Value::Bool(*value),
            (KqlType::Int, ScalarValue::Int32(Some(value))) => Value::Int(*value),
            (KqlType::Long, ScalarValue::Int64(Some(value))) => Value::Long(*value),
            (KqlType::DateTime, ScalarValue::Int64(Some(value))) => Value::DateTime(*value),
            (KqlType::TimeSpan, ScalarValue::Int64(Some(value))) => Value::TimeSpan(*value),
            (KqlType::Real, ScalarValue::Float64(Some(value))) => Value::Real(*value),
            (KqlType::Decimal, ScalarValue::FixedSizeBinary(16, Some(bytes))) => {
                Value::Decimal(bytes.as_slice().try_into().ok()?)
            }
            (KqlType::Guid, ScalarValue::FixedSizeBinary(16, Some(bytes))) => {
                Value::Guid(bytes.as_slice().try_into().ok()?)
            }
            (KqlType::String, scalar) => Value::String(scalar.try_as_str().flatten()?.to_string()),
            (KqlType::Dynamic, scalar) => Value::Dynamic(scalar.try_as_str().flatten()?.to_string()),
            _ => return None,
        };
        Some(Constant { value, ty })
    }
}

/// A row of the scalar registry.
#[derive(Clone, Copy)]
pub struct ScalarRow(pub &'static Scalar);

/// A row of the aggregate registry.
#[derive(Clone, Copy)]
pub struct AggregateRow(pub &'static Aggregate);

impl std::ops::Deref for ScalarRow {
    type Target = Scalar;

    fn deref(&self) -> &Scalar {
        self.0
    }
}

impl std::ops::Deref for AggregateRow {
    type Target = Aggregate;

    fn deref(&self) -> &Aggregate {
        self.0
    }
}

impl std::fmt::Debug for ScalarRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl std::fmt::Debug for AggregateRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// A typed expression over the columns of the relation below.
#[derive(Clone, Debug)]
pub struct BExpr {
    /// What it computes.
    pub kind: BExprKind,
    /// The type of its value.
    pub ty: KqlType,
}

/// The forms of a bound expression.
#[derive(Clone, Debug)]
pub enum BExprKind {
    /// A constant of the expression's type.
    Constant(Value),
    /// A column of the relation below.
    Column(ColumnId),
    /// A scalar function of the registry (`Native` or `Kernel` rows only). The arguments are already
    /// converted to the chosen signature's types; missing optional arguments are absent.
    Call { row: ScalarRow, args: Vec<BExpr> },
    /// A binary operator. Operands have equal types, or one of the mixed pairs that
    /// `functions::operator` takes: datetime with timespan, timespan with a number, dynamic with anything.
    Binary { op: BinaryOp, left: Box<BExpr>, right: Box<BExpr> },
    /// More than two operands of `and` or `or`, each bool.
    Chain { op: BinaryOp, operands: Vec<BExpr> },
    /// Unary minus on a number or timespan.
    Negate(Box<BExpr>),
    /// `not(x)` of a bool: null stays null.
    Not(Box<BExpr>),
    /// `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`.
    InList { op: InOp, operand: Box<BExpr>, items: Vec<InItem> },
    /// `between`, both ends inclusive; the three have one type (a timespan upper bound on a datetime is
    /// already `low + span`). Null when any is null.
    Between { negated: bool, operand: Box<BExpr>, low: Box<BExpr>, high: Box<BExpr> },
    /// A `to...` conversion from the operand's type to the expression's type, by kql-behaviour section 6
    /// (`functions::convert`). Implicit widening is the same node.
    Convert(Box<BExpr>),
    /// `iff`, `case`: the value of the first branch whose condition is true (null is false), else the last.
    Case { branches: Vec<(BExpr, BExpr)>, otherwise: Box<BExpr> },
    /// `coalesce`: the first that is not null; for strings the first that is not empty. At least two, one type.
    Coalesce(Vec<BExpr>),
    /// `isnull(x)`: always false for strings; true for dynamic null and JSON null.
    IsNull(Box<BExpr>),
    /// `isempty(x)`: empty or null; for a dynamic its unwrapped text.
    IsEmpty(Box<BExpr>),
    /// `base.a.b[0][i]`: base and value are dynamic.
    Path { base: Box<BExpr>, steps: Vec<PathStep> },
    /// A value that must be computed first (see `Need`). Never in a finished tree.
    Needed(NeedKey),
}

/// A step into a dynamic.
#[derive(Clone, Debug)]
pub enum PathStep {
    /// `.name` or `['name']`.
    Key(String),
    /// `[0]`, `[-1]`.
    Index(i64),
    /// `[expression]`: of type string (a key), int or long (an index), or dynamic (either, by its value).
    Computed(BExpr),
}

/// An item of the list of `in` and its like.
#[derive(Clone, Debug)]
pub enum InItem {
    /// One value, of the operand's type unless one of them is dynamic (`has_any`/`has_all`: string).
    One(BExpr),
    /// A dynamic: the elements of an array are compared each, anything else as itself.
    Elements(BExpr),
    /// The values of a tabular item, of the operand's type unless that is dynamic.
    Values(Arc<Vec<Constant>>),
}

impl BExpr {
    /// A constant.
    pub fn constant(constant: Constant) -> BExpr {
        BExpr { kind: BExprKind::Constant(constant.value), ty: constant.ty }
    }

    /// A column.
    pub fn column(column: &BoundColumn) -> BExpr {
        BExpr { kind: BExprKind::Column(column.id), ty: column.ty }
    }

    /// The typed value, if this is a constant node.
    pub fn as_constant(&self) -> Option<Constant> {
        match &self.kind {
            BExprKind::Constant(value) => Some(Constant { value: value.clone(), ty: self.ty }),
            _ => None,
        }
    }

    /// The direct operands.
    pub fn children(&self) -> Vec<&BExpr> {
        match &self.kind {
            BExprKind::Constant(_) | BExprKind::Column(_) | BExprKind::Needed(_) => Vec::new(),
            BExprKind::Call { args, .. } => args.iter().collect(),
            BExprKind::Binary { left, right, .. } => vec![left, right],
            BExprKind::Chain { operands, .. } => operands.iter().collect(),
            BExprKind::Negate(operand)
            | BExprKind::Not(operand)
            | BExprKind::Convert(operand)
            | BExprKind::IsNull(operand)
            | BExprKind::IsEmpty(operand) => vec![operand],
            BExprKind::InList { operand, items, .. } => {
                let items = items.iter().filter_map(|item| match item {
                    InItem::One(expr) | InItem::Elements(expr) => Some(expr),
                    InItem::Values(_) => None,
                });
                std::iter::once(&**operand).chain(items).collect()
            }
            BExprKind::Between { operand, low, high, .. } => vec![operand, low, high],
            BExprKind::Case { branches, otherwise } => {
                branches.iter().flat_map(|(condition, value)| [condition, value]).chain([&**otherwise]).collect()
            }
            BExprKind::Coalesce(operands) => operands.iter().collect(),
            BExprKind::Path { base, steps } => {
                let computed = steps.iter().filter_map(|step| match step {
                    PathStep::Computed(expr) => Some(expr),
                    _ => None,
                });
                std::iter::once(&**base).chain(computed).collect()
            }
        }
    }

    /// The direct operands, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut BExpr> {
        match &mut self.kind {
            BExprKind::Constant(_) | BExprKind::Column(_) | BExprKind::Needed(_) => Vec::new(),
            BExprKind::Call { args, .. } => args.iter_mut().collect(),
            BExprKind::Binary { left, right, .. } => vec![left, right],
            BExprKind::Chain { operands, .. } => operands.iter_mut().collect(),
            BExprKind::Negate(operand)
            | BExprKind::Not(operand)
            | BExprKind::Convert(operand)
            | BExprKind::IsNull(operand)
            | BExprKind::IsEmpty(operand) => vec![operand],
            BExprKind::InList { operand, items, .. } => {
                let items = items.iter_mut().filter_map(|item| match item {
                    InItem::One(expr) | InItem::Elements(expr) => Some(expr),
                    InItem::Values(_) => None,
                });
                std::iter::once(&mut **operand).chain(items).collect()
            }
            BExprKind::Between { operand, low, high, .. } => vec![operand, low, high],
            BExprKind::Case { branches, otherwise } => {
                let branches = branches.iter_mut().flat_map(|(condition, value)| [condition, value]);
                branches.chain([&mut **otherwise]).collect()
            }
            BExprKind::Coalesce(operands) => operands.iter_mut().collect(),
            BExprKind::Path { base, steps } => {
                let computed = steps.iter_mut().filter_map(|step| match step {
                    PathStep::Computed(expr) => Some(expr),
                    _ => None,
                });
                std::iter::once(&mut **base).chain(computed).collect()
            }
        }
    }

    /// Whether any node satisfies the test; does not recurse on the stack.
    pub fn any(&self, mut test: impl FnMut(&BExpr) -> bool) -> bool {
        let mut waiting = vec![self];
        while let Some(expr) = waiting.pop() {
            if test(expr) {
                return true;
            }
            waiting.extend(expr.children());
        }
        false
    }
}

/// A relation: an operator and the columns that it gives.
#[derive(Clone, Debug)]
pub struct Rel {
    /// The operator.
    pub op: RelOp,
    /// The columns of the result; how they relate to the operator's parts is said at each operator.
    pub columns: Vec<BoundColumn>,
    /// Window functions may be applied: `serialize`, `sort`, `top` and what keeps their order.
    pub is_serialized: bool,
    /// The order of rows is promised to the user: below only order-keeping operators stands a sort.
    pub is_sorted: bool,
    /// Relations on the longest way down, this one included; bounded by the binder.
    pub depth: u32,
    /// Columns that travel with the rows and that only functions such as `ingestion_time()` read.
    pub hidden: Option<Arc<Hidden>>,
    /// These are the rows that a policy shows: no predicate that could fail moves from above into it.
    pub is_guarded: bool,
}

impl Rel {
    /// The user's view of the columns.
    pub fn schema(&self) -> TableSchema {
        TableSchema::new(self.columns.iter().map(|column| Column::new(&column.name, column.ty)).collect())
    }

    /// The column with exactly this name.
    pub fn column(&self, name: &str) -> Option<&BoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The relational operators.
#[derive(Clone, Debug)]
pub enum RelOp {
    /// Constant rows; values parallel to the columns and of their types. One row without columns is the
    /// input of `print`.
    Rows { rows: Vec<Vec<Value>> },
    /// The rows of a table; `projection[i]` is the position in `table.schema` of output column i.
    Table { table: Arc<TableHandle>, projection: Vec<usize> },
    /// `range`: one column of type `start.ty` (int, long, real, decimal, datetime, timespan); `stop` has that type too,
    /// `step` also, or timespan for datetime. Both ends inclusive; a wrong direction gives no rows; null bounds give none.
    Range { start: Constant, stop: Constant, step: Constant },
    /// Rows whose predicate is true. Columns: the input's.
    Filter { input: Arc<Rel>, predicate: BExpr },
    /// Items parallel to the columns.
    Project { input: Arc<Rel>, items: Vec<BExpr> },
    /// Groups by keys (null is a key of its own). Columns: keys, then the outputs of each aggregate.
    /// Without keys exactly one row, also for no input.
    Aggregate { input: Arc<Rel>, keys: Vec<BExpr>, aggregates: Vec<BoundAggregate> },
    /// Sorted by keys; at most `fetch` rows. Columns: the input's.
    Sort { input: Arc<Rel>, keys: Vec<SortKey>, fetch: Option<u64> },
    /// The first `fetch` rows by the keys (any rows without keys) of each set of rows with equal partition columns
    /// (null equals null). Columns: the input's. Order of the result: unspecified.
    PartitionTop { input: Arc<Rel>, partition: Vec<ColumnId>, keys: Vec<SortKey>, fetch: u64 },
    /// Any `count` rows; the first ones when the input is sorted. Columns: the input's.
    Limit { input: Arc<Rel>, count: u64 },
    /// `count` random rows. Columns: the input's.
    Sample { input: Arc<Rel>, count: u64 },
    /// A join. Key pairs have equal types; null and NaN keys match; no keys is a cross join.
    /// Columns: left's then right's with their ids; one side only for semi and anti kinds.
    Join { kind: JoinKind, left: Arc<Rel>, right: Arc<Rel>, keys: Vec<(BExpr, BExpr)> },
    /// All rows of all inputs, by position; each input has the types of the columns. Columns have ids of their own.
    Union { inputs: Vec<Arc<Rel>> },
    /// Columns: the input's, one per item, then the item index (long) if `has_index`. The binder drops and orders
    /// columns by a `Project` above. All items expand in parallel, padded with null.
    MvExpand { input: Arc<Rel>, items: Vec<MvExpandItem>, has_index: bool, limit: Option<u64> },
    /// Columns: the input's, then one per capture of the pattern, in their order.
    Parse { input: Arc<Rel>, source: BExpr, mode: ParseMode, pattern: Vec<ParsePiece>, drop_unmatched: bool },
    /// Columns: the input's, then one per key. A key's text is converted to its column's type.
    ParseKv { input: Arc<Rel>, source: BExpr, keys: Vec<(String, KqlType)>, options: ParseKvOptions },
    /// Window functions over the input in its order, restarting for each set of equal partition columns (rows of a partition
    /// need not be adjacent). Columns: the input's, then one per function. Functions see the input's columns only.
    Window { input: Arc<Rel>, partition: Vec<ColumnId>, functions: Vec<WindowFunction> },
    /// `make-series`. Columns: keys, one dynamic per aggregate, then the axis as a dynamic array.
    MakeSeries(Box<MakeSeries>),
    /// A row algorithm of our own (`scan`, `reduce`, plugins). Columns: the kept ones of the input with their ids, then the
    /// algorithm's.
    Stage(Box<RowStage>),
    /// Rows of a table that match by something else than equality. Columns: the input's, then the table's.
    Lookup(Box<RowLookup>),
    /// One computation with several readers (`materialize`, `fork`, `facet`): equal ids are the same rows, computed once.
    /// Columns parallel to `rel.columns`, with fresh ids.
    Shared { id: SharedId, rel: Arc<Rel> },
    /// `graph-match`, `graph-shortest-paths`: a row per match.
    GraphMatch(Box<GraphMatch>),
    /// `graph-to-table`: a row per node or edge.
    GraphRows(Box<GraphRows>),
}

/// An operator that is an algorithm over rows.
#[derive(Clone, Debug)]
pub struct RowStage {
    /// Rows.
    pub input: Arc<Rel>,
    /// What tells groups apart (null equals null): the rows of each group are a run of their own. Without any all rows are one.
    pub groups: Vec<BExpr>,
    /// What the algorithm reads. Null strings come as `""`.
    pub args: Vec<BExpr>,
    /// Columns of the input that a row of the result has from the input row that it stands for.
    pub keep: Vec<ColumnId>,
    /// What the order of the input means.
    pub order: StageOrder,
    /// What is done.
    pub algorithm: Arc<dyn Algorithm>,
}

/// A lookup of rows in a table, by an index of our own.
#[derive(Clone, Debug)]
pub struct RowLookup {
    /// Rows.
    pub input: Arc<Rel>,
    /// The table, which is read whole.
    pub table: Arc<Rel>,
    /// Keys of both sides that must be equal, of equal types; null equals null.
    pub equal: Vec<(BExpr, BExpr)>,
    /// What the kind reads of a row.
    pub args: Vec<BExpr>,
    /// What the kind reads of a row of the table. Null strings come as `""`.
    pub table_args: Vec<BExpr>,
    /// What matches.
    pub kind: Arc<dyn LookupKind>,
    /// Rows without a match stay, with nulls.
    pub keeps_unmatched: bool,
}

/// What the order of its input means to a row algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOrder {
    /// Nothing.
    Ignored,
    /// The algorithm reads rows in their order; its result has none.
    Read,
    /// And gives its result in an order that is kept.
    Kept,
}

/// Identity of a shared computation inside one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedId(pub u32);

/// A sort key.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// The key.
    pub expr: BExpr,
    /// Smallest first. NaN sorts next to null, on its outer or inner side as the engine's `functions` say.
    pub ascending: bool,
    /// Already resolved: KQL's default is first for ascending, last for descending.
    pub nulls_first: bool,
}

/// An aggregate of `Aggregate` or `MakeSeries`.
#[derive(Clone, Debug)]
pub enum BoundAggregate {
    /// One output. The row's `imp` is `Function`; the arguments are converted; the predicate argument of the
    /// `...if` forms is still among them at `row.predicate`; `name` is the alias that was called.
    Function { row: AggregateRow, name: &'static str, args: Vec<BExpr>, returns: KqlType },
    /// `arg_max`, `arg_min`: outputs are `by` then `values`, all from one row with the largest (smallest) `by`;
    /// null `by` is ignored unless all are null, NaN wins.
    ArgExtreme { is_max: bool, by: BExpr, values: Vec<BExpr> },
    /// `take_any(a, b, ...)`: one output per value, all from one row; prefers rows whose value is not null
    /// when there is one value.
    TakeAny { values: Vec<BExpr>, predicate: Option<BExpr> },
}

impl BoundAggregate {
    /// The types of the outputs, in their order.
    pub fn outputs(&self) -> Vec<KqlType> {
        match self {
            BoundAggregate::Function { returns, .. } => vec![*returns],
            BoundAggregate::ArgExtreme { by, values, .. } => {
                std::iter::once(by.ty).chain(values.iter().map(|value| value.ty)).collect()
            }
            BoundAggregate::TakeAny { values, .. } => values.iter().map(|value| value.ty).collect(),
        }
    }
}

/// The kinds of join. Source: join-operator page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// The left side is first reduced to one arbitrary row per key.
    InnerUnique,
    /// All pairs.
    Inner,
    /// And left rows without a match.
    LeftOuter,
    /// And right rows without a match.
    RightOuter,
    /// And both.
    FullOuter,
    /// Left rows with a match.
    LeftSemi,
    /// Right rows with a match.
    RightSemi,
    /// Left rows without a match.
    LeftAnti,
    /// Right rows without a match.
    RightAnti,
}

/// A column of `mv-expand`.
#[derive(Clone, Debug)]
pub struct MvExpandItem {
    /// A dynamic.
    pub value: BExpr,
    /// Bags give `[key, value]` arrays instead of one-key bags.
    pub bag_as_array: bool,
    /// `to typeof(T)`: a cast of the JSON kind (kql-behaviour section 13); the column's type then is T, else dynamic.
    pub to: Option<KqlType>,
}

/// `parse`'s kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseMode {
    /// A failed conversion blanks all captures.
    Simple,
    /// A failed conversion gives null in its own column.
    Relaxed,
    /// Texts are regular expressions; `flags` of `imsUx`.
    Regex { flags: String },
}

/// A piece of a `parse` pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsePiece {
    /// `*`
    Skip,
    /// A literal, or a regular expression in that mode.
    Text(String),
    /// A capture of this type.
    Capture(KqlType),
}

/// What `parse-kv ... with (...)` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKvOptions {
    /// Between pairs; `None` with `greedy`-less input where any non-word text separates (the default).
    pub pair_delimiter: Option<String>,
    /// Between key and value.
    pub kv_delimiter: Option<String>,
    /// Opening and closing quotes.
    pub quotes: Vec<(char, char)>,
    /// Escapes the next character inside quotes.
    pub escape: Option<char>,
    /// Values run to the next known key.
    pub greedy: bool,
    /// `regex = @"..."`: two groups, key and value; then the rest is not used.
    pub regex: Option<String>,
}

/// A window function.
#[derive(Clone, Debug)]
pub enum WindowFunction {
    /// `row_number(start, restart)`: long.
    RowNumber { start: Constant, restart: Option<BExpr> },
    /// `prev` (`offset` > 0: rows back) and `next` (`offset` < 0: rows ahead): the value's type, `default` past the ends.
    Shift { value: BExpr, offset: i64, default: Constant },
    /// `row_cumsum(value, restart)`: the value's type.
    Cumsum { value: BExpr, restart: Option<BExpr> },
    /// `row_rank_dense(value, restart)`: long.
    RankDense { value: BExpr, restart: Option<BExpr> },
    /// `row_rank_min(value, restart)`: long.
    RankMin { value: BExpr, restart: Option<BExpr> },
    /// `row_window_session(value, max from first, max between neighbours, restart)`: datetime.
    Session { value: BExpr, max_from_first: Constant, max_between: Constant, restart: Option<BExpr> },
}

impl WindowFunction {
    /// The type of the function's column.
    pub fn ty(&self) -> KqlType {
        match self {
            WindowFunction::RowNumber { .. } | WindowFunction::RankDense { .. } | WindowFunction::RankMin { .. } => {
                KqlType::Long
            }
            WindowFunction::Shift { value, .. } | WindowFunction::Cumsum { value, .. } => value.ty,
            WindowFunction::Session { .. } => KqlType::DateTime,
        }
    }
}

/// `make-series` over rows that are already one per series and bin. Source: make-series-operator page, kql-behaviour section 13.
#[derive(Clone, Debug)]
pub struct MakeSeries {
    /// One row per key and bin.
    pub input: Arc<Rel>,
    /// The series' keys.
    pub keys: Vec<BExpr>,
    /// The values of a bin, and the value of a missing bin, of the same type.
    pub values: Vec<(BExpr, Constant)>,
    /// The bin: long, real, datetime or timespan; rows without one are left out.
    pub bin: BExpr,
    /// `from`, of the bin's type: inclusive; absent: the smallest bin of each series.
    pub from: Option<Constant>,
    /// `to`, of the bin's type; absent: after the largest bin of each series.
    pub to: Option<Constant>,
    /// The bin's type, timespan for datetime. Positive.
    pub step: Constant,
    /// `in range(start, stop, step)`: `to` is inclusive.
    pub in_range: bool,
    /// `kind=nonempty`: one series of defaults for no input.
    pub nonempty: bool,
}

/// Names a value that must be computed before binding can end; stable between passes over the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeedKey(pub u64);

/// A computation that binding waits for.
#[derive(Clone, Debug)]
pub struct Need {
    /// Its name.
    pub key: NeedKey,
    /// What to compute; finished, may be lowered and run.
    pub rel: Arc<Rel>,
    /// What to make of its rows.
    pub what: NeedWhat,
}

/// What is needed of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedWhat {
    /// First column of the first row (the null of its type for no rows): `Known::Scalar`.
    Scalar,
    /// The first column's values, at most `limit` rows (an error beyond): `Known::Values`.
    Values { limit: usize },
    /// The first column is a dynamic: the keys of its bags by name, each with the type that all its
    /// values have (dynamic when they differ): `Known::Columns`. Source: bag_unpack-plugin page.
    BagColumns,
}

/// A computed need.
#[derive(Clone, Debug)]
pub enum Known {
    /// For `NeedWhat::Scalar`.
    Scalar(Constant),
    /// For `NeedWhat::Values`.
    Values(Arc<Vec<Constant>>),
    /// For `NeedWhat::BagColumns`.
    Columns(Arc<Vec<Column>>),
}

/// Computes constant expressions for the binder; implemented by the lowering.
pub trait Evaluate {
    /// The value of an expression without columns; `Err` is a message for a diagnostic.
    fn evaluate(&self, expr: &BExpr) -> Result<Constant, String>;
}

/// A whole bound query.
#[derive(Clone, Debug)]
pub struct BoundQuery {
    /// A result per query statement (several for `fork` and `facet`).
    pub results: Vec<BoundResult>,
    /// From `set`, by documented name, as they stand after the last statement.
    pub options: std::collections::HashMap<String, serde_json::Value>,
    /// The same before each result.
    pub result_options: Vec<Arc<std::collections::HashMap<String, serde_json::Value>>>,
}

/// A result table.
#[derive(Clone, Debug)]
pub struct BoundResult {
    /// The table's name for a bare table reference, or that of `as`.
    pub name: Option<String>,
    /// Its rows.
    pub rel: Arc<Rel>,
    /// `render`: the visualization object of kusto-rest section 5.
    pub visualization: Option<serde_json::Value>,
}

/// The outcome of one pass of the binder.
#[derive(Clone, Debug)]
pub enum BindOutcome {
    /// The query is bound.
    Done(BoundQuery),
    /// These must be computed first (at least one; independent of each other); then bind again with their values.
    Needs(Vec<Need>),
}
