//! The tree of a query or command.
//!
//! Made by the parser, read by the binder and the printer. Every node has the span of its text.
//! The tree holds the whole documented grammar; what the server cannot run is refused by the
//! binder, which names it.

#![allow(missing_docs, reason = "the fields of operators are explained by the syntax line above them")]

mod graph;

pub use graph::{EdgeDirection, GraphMatch, GraphOutput, MakeGraph, PatternEdge, PatternElement};

use crate::span::Span;
use crate::stack::grow;
use crate::types::KqlType;

/// A name as written, after brackets and quotes are removed: `a`, `['a b']`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name itself.
    pub text: String,
    /// Its place, brackets included.
    pub span: Span,
}

/// A query text: statements separated by `;`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// In the order of the text.
    pub statements: Vec<Statement>,
}

/// A statement and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Where.
    pub span: Span,
}

/// The statements of the language.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `let name = value`: value is a scalar, tabular or `Lambda` expression.
    Let { name: Name, value: Expr },
    /// `set name [= value]`.
    Set { name: Name, value: Option<Expr> },
    /// `declare query_parameters (name: type [= default], ...)`.
    QueryParameters(Vec<Parameter>),
    /// `declare pattern name [= (parameters)[path] { matches }]`.
    Pattern(Box<PatternDeclaration>),
    /// `restrict access to (entities)`.
    Restrict(Vec<Expr>),
    /// `alias database name = expression`.
    Alias { name: Name, value: Expr },
    /// An expression whose value is a result.
    Query(Expr),
}

/// A pattern: a name that maps tuples of texts to expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternDeclaration {
    /// The name.
    pub name: Name,
    /// What it maps; `None` for a pattern that somebody else is to fill in.
    pub definition: Option<PatternDefinition>,
}

/// `(parameters)[path] { matches }`.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternDefinition {
    /// What stands in the brackets of a reference.
    pub parameters: Vec<Parameter>,
    /// What stands behind its dot.
    pub path: Option<Parameter>,
    /// In the order of the text; the first that fits counts.
    pub matches: Vec<PatternMatch>,
}

/// `(values).[path] = { body };`.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternMatch {
    /// String literals, one a parameter.
    pub values: Vec<Expr>,
    /// The string literal behind the dot.
    pub path: Option<Expr>,
    /// Statements and an expression; it has no parameters.
    pub body: Lambda,
    /// The values and the path.
    pub span: Span,
}

/// An expression, scalar or tabular, and its place.
///
/// Trees are at most `parser::MAX_DEPTH` levels deep; copying, comparing and writing them make room on the stack.
pub struct Expr {
    /// What it says.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

impl Clone for Expr {
    fn clone(&self) -> Self {
        grow(|| Self { kind: self.kind.clone(), span: self.span })
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.span == other.span && grow(|| self.kind == other.kind)
    }
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        grow(|| f.debug_struct("Expr").field("kind", &self.kind).field("span", &self.span).finish())
    }
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A constant.
    Literal(Literal),
    /// A column, variable, table or parameter.
    Name(Name),
    /// A name with `*` in it (`a*`, `*b*`): `project-away a*`, `union T*`, `database('x*')` stay calls.
    Wildcard(Name),
    /// `*`: all columns, as in `distinct *`, `arg_max(x, *)`, `where * has "x"`.
    Star,
    /// `base.name`: a property of a dynamic, or `database("x").T`, `$left.a`.
    Member { base: Box<Expr>, name: Name },
    /// `base[index]`.
    Index { base: Box<Expr>, index: Box<Expr> },
    /// `name(arguments)`; `base.name(arguments)` is a `Member` call with `base` set.
    Call { base: Option<Box<Expr>>, name: Name, arguments: Vec<Argument> },
    /// Unary minus or plus.
    Unary { op: UnaryOp, operand: Box<Expr> },
    /// Two operands; `at` is the operator's place.
    Binary { op: BinaryOp, left: Box<Expr>, right: Box<Expr>, at: Span },
    /// A chain of more than two operands of the same associative operator (`and`, `or`): keeps long chains flat.
    ///
    /// `at`: the places of the operators, one fewer than operands.
    Chain { op: BinaryOp, operands: Vec<Expr>, at: Vec<Span> },
    /// `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`.
    InList { op: InOp, operand: Box<Expr>, list: Vec<Expr> },
    /// `[!]between (low .. high)`; `at` is the operator's place.
    Between { negated: bool, operand: Box<Expr>, low: Box<Expr>, high: Box<Expr>, at: Span },
    /// A pipeline: `T | where ...`, `print ...`, `range ...`, `union ...` or one in parentheses.
    Pipe(Box<Pipeline>),
    /// `datatable (name: type, ...) [values]`.
    DataTable { columns: Vec<ColumnDeclaration>, values: Vec<Expr> },
    /// `externaldata (name: type, ...) [uris] with (properties)`.
    ExternalData { columns: Vec<ColumnDeclaration>, uris: Vec<Expr>, properties: Vec<Property> },
    /// `inline_external_table (...) kind=storage ... (uris)`.
    InlineExternalTable(Box<ExternalDefinition>),
    /// Other documented sources that are not served; the text names them.
    OtherSource { what: String },
    /// `entity_group [entities]`: databases, clusters or tables for `macro-expand`.
    EntityGroup(Vec<Expr>),
    /// `(parameters) { statements; body }`: only as the value of `let`, or invoked in place.
    Lambda(Box<Lambda>),
    /// `typeof(type)` in the places that take one.
    TypeOf(KqlType),
    /// `typeof(name: type, ...)`: a row schema.
    TypeOfSchema(Vec<ColumnDeclaration>),
    /// What recovery left of a syntax error; a diagnostic stands for it.
    Error,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `true`, `bool(null)`: `None` is null.
    Bool(Option<bool>),
    /// `int(5)`.
    Int(Option<i32>),
    /// `5`, `0x10`, `long(5)`.
    Long(Option<i64>),
    /// `1.5`, `real(nan)`.
    Real(Option<f64>),
    /// `decimal(1.5)`: the text as written, checked by the parser.
    Decimal(Option<String>),
    /// Any string literal, unescaped; adjacent literals are one. `h"..."` is the same value.
    String(String),
    /// Ticks since year 1; `datetime()` and `datetime(now)` have no constant value and are calls of `now()`.
    DateTime(Option<i64>),
    /// `datetime(8:00)`: ticks since midnight of the day on which the query runs.
    TimeToday(i64),
    /// Ticks.
    TimeSpan(Option<i64>),
    /// Big-endian bytes.
    Guid(Option<[u8; 16]>),
    /// Compact JSON text; `None` is `dynamic(null)`.
    Dynamic(Option<String>),
}

/// An argument of a call, `name = value` when named.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The name before `=`, for named arguments of user functions.
    pub name: Option<Name>,
    /// The value.
    pub value: Expr,
}

/// `-x`, `+x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Minus,
    /// `+`
    Plus,
}

/// The binary operators with two scalar operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operator that `text` prints")]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    EqualTilde,
    NotEqualTilde,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Has,
    NotHas,
    HasCs,
    NotHasCs,
    HasPrefix,
    NotHasPrefix,
    HasPrefixCs,
    NotHasPrefixCs,
    HasSuffix,
    NotHasSuffix,
    HasSuffixCs,
    NotHasSuffixCs,
    Contains,
    NotContains,
    ContainsCs,
    NotContainsCs,
    StartsWith,
    NotStartsWith,
    StartsWithCs,
    NotStartsWithCs,
    EndsWith,
    NotEndsWith,
    EndsWithCs,
    NotEndsWithCs,
    MatchesRegex,
}

impl BinaryOp {
    /// The operator's text.
    pub fn text(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Or => "or",
            And => "and",
            Equal => "==",
            NotEqual => "!=",
            EqualTilde => "=~",
            NotEqualTilde => "!~",
            Less => "<",
            LessOrEqual => "<=",
            Greater => ">",
            GreaterOrEqual => ">=",
            Add => "+",
            Subtract => "-",
            Multiply => "*",
            Divide => "/",
            Modulo => "%",
            Has => "has",
            NotHas => "!has",
            HasCs => "has_cs",
            NotHasCs => "!has_cs",
            HasPrefix => "hasprefix",
            NotHasPrefix => "!hasprefix",
            HasPrefixCs => "hasprefix_cs",
            NotHasPrefixCs => "!hasprefix_cs",
            HasSuffix => "hassuffix",
            NotHasSuffix => "!hassuffix",
            HasSuffixCs => "hassuffix_cs",
            NotHasSuffixCs => "!hassuffix_cs",
            Contains => "contains",
            NotContains => "!contains",
            ContainsCs => "contains_cs",
            NotContainsCs => "!contains_cs",
            StartsWith => "startswith",
            NotStartsWith => "!startswith",
            StartsWithCs => "startswith_cs",
            NotStartsWithCs => "!startswith_cs",
            EndsWith => "endswith",
            NotEndsWith => "!endswith",
            EndsWithCs => "endswith_cs",
            NotEndsWithCs => "!endswith_cs",
            MatchesRegex => "matches regex",
        }
    }
}

/// The operators with a list on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operator that `text` prints")]
pub enum InOp {
    In,
    NotIn,
    InTilde,
    NotInTilde,
    HasAny,
    HasAll,
}

impl InOp {
    /// The operator's text.
    pub fn text(self) -> &'static str {
        match self {
            InOp::In => "in",
            InOp::NotIn => "!in",
            InOp::InTilde => "in~",
            InOp::NotInTilde => "!in~",
            InOp::HasAny => "has_any",
            InOp::HasAll => "has_all",
        }
    }
}

/// `name: type` (`*` alone in a plugin's output schema and in `typeof`: the columns of the input) in `datatable`, `externaldata`, `mv-expand ... to typeof`, function parameters and commands.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDeclaration {
    /// The column.
    pub name: Name,
    /// Its type.
    pub ty: KqlType,
}

/// `name = value` in `with (...)`, hints and operator parameters (`kind=leftouter`, `hint.strategy=shuffle`).
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// The name, dots included (`hint.strategy`).
    pub name: Name,
    /// The value: a literal, or a `Name` for bare words such as `leftouter`.
    pub value: Expr,
}

/// A user-defined function.
#[derive(Clone, Debug, PartialEq)]
pub struct Lambda {
    /// `let f = view () {...}`.
    pub is_view: bool,
    /// The parameters.
    pub parameters: Vec<Parameter>,
    /// Statements before the last expression (`let`s, `set`s).
    pub statements: Vec<Statement>,
    /// The value; `None` for an empty body.
    pub body: Option<Expr>,
    /// Braces included: the text that stored functions keep.
    pub body_span: Span,
}

/// A parameter of a function or of `declare query_parameters`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name.
    pub name: Name,
    /// Scalar type or row schema.
    pub ty: ParameterType,
    /// `= literal`.
    pub default: Option<Expr>,
}

/// What a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterType {
    /// A scalar.
    Scalar(KqlType),
    /// `(name: type, ...)`: a table that has these columns.
    Table(Vec<ColumnDeclaration>),
    /// `(*)`: any table.
    AnyTable,
}

/// `source | operator | ...`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// What the first operator reads; `None` when it needs nothing (`print`, `range`, `union`, `find`, `search`, `evaluate`).
    pub source: Option<Expr>,
    /// The operators in their order. The first one after no source is a source itself.
    pub operators: Vec<Operator>,
}

/// A tabular operator and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// What it says.
    pub kind: OperatorKind,
    /// From its name to its last argument.
    pub span: Span,
}

/// An item of `project`, `extend`, `summarize`, `print`, ...: `expr`, `name = expr` or `(a, b) = expr`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedExpr {
    /// No name, one, or several in parentheses.
    pub names: Vec<Name>,
    /// Whether the names stand in parentheses (`(a) = f()`).
    pub tuple: bool,
    /// The expression.
    pub value: Expr,
}

/// A key of `sort`, `top`, `top-nested`.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderKey {
    /// The key; `name = expr` is allowed in `top-nested` only.
    pub value: Expr,
    /// `asc`; absent is `desc` for sort and top.
    pub ascending: Option<bool>,
    /// `nulls first` is `Some(true)`.
    pub nulls_first: Option<bool>,
}

/// The tabular operators. `parameters` are the `kind=`, `hint.x=`, `withsource=` words after the operator's name.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a query has few operators; boxes would be in every reader's way")]
pub enum OperatorKind {
    /// `print`
    Print(Vec<NamedExpr>),
    /// `range name from a to b step s`
    Range { name: Name, from: Expr, to: Expr, step: Expr },
    /// `where`, `filter`
    Where { parameters: Vec<Property>, predicate: Expr },
    /// `extend`
    Extend(Vec<NamedExpr>),
    /// `project`
    Project(Vec<NamedExpr>),
    /// `project-away`: names and wildcards
    ProjectAway(Vec<Expr>),
    /// `project-keep`
    ProjectKeep(Vec<Expr>),
    /// `project-by-names` (names, wildcards, dynamic arrays of names)
    ProjectByNames(Vec<Expr>),
    /// `project-rename new = old`
    ProjectRename(Vec<NamedExpr>),
    /// `project-reorder`, keys with `asc`, `desc`, `granny-asc`, `granny-desc`
    ProjectReorder(Vec<(Expr, Option<String>)>),
    /// `summarize`
    Summarize { parameters: Vec<Property>, aggregates: Vec<NamedExpr>, by: Option<Vec<NamedExpr>> },
    /// `distinct`; `Star` alone for `distinct *`
    Distinct { parameters: Vec<Property>, columns: Vec<NamedExpr> },
    /// `sort by`, `order by`
    Sort { parameters: Vec<Property>, keys: Vec<OrderKey> },
    /// `top n by key`
    Top { parameters: Vec<Property>, count: Expr, key: OrderKey },
    /// `top-hitters n of expr [by weight]`
    TopHitters { count: Expr, of: NamedExpr, by: Option<NamedExpr> },
    /// `top-nested`: its levels
    TopNested(Vec<TopNestedLevel>),
    /// `take`, `limit`
    Take { parameters: Vec<Property>, count: Expr },
    /// `sample n`
    Sample { count: Expr },
    /// `sample-distinct n of expr`
    SampleDistinct { parameters: Vec<Property>, count: Expr, of: NamedExpr },
    /// `count [as name]`
    Count { name: Option<Name> },
    /// `join`
    Join { parameters: Vec<Property>, right: Box<Expr>, on: Vec<Expr> },
    /// `lookup`
    Lookup { parameters: Vec<Property>, right: Box<Expr>, on: Vec<Expr> },
    /// `union`; items are names, wildcards, calls or pipelines
    Union { parameters: Vec<Property>, items: Vec<Expr> },
    /// `mv-expand`
    MvExpand { parameters: Vec<Property>, items: Vec<MvItem>, limit: Option<Expr> },
    /// `mv-apply items [limit n] on ( pipeline )`
    MvApply { parameters: Vec<Property>, items: Vec<MvItem>, limit: Option<Expr>, id: Option<Expr>, on: Box<Pipeline> },
    /// `parse`, `parse-where` (`drop_unmatched`)
    Parse { drop_unmatched: bool, parameters: Vec<Property>, source: Expr, pattern: Vec<ParsePart> },
    /// `parse-kv source as (columns) with (properties)`
    ParseKv { source: Expr, columns: Vec<ColumnDeclaration>, properties: Vec<Property> },
    /// `make-series`
    MakeSeries {
        /// `kind=nonempty`, hints.
        parameters: Vec<Property>,
        /// Aggregates with their defaults.
        aggregates: Vec<(NamedExpr, Option<Expr>)>,
        /// `on axis`.
        axis: NamedExpr,
        /// `from`.
        from: Option<Expr>,
        /// `to`.
        to: Option<Expr>,
        /// `step`.
        step: Option<Expr>,
        /// `in range(start, stop, step)`.
        in_range: Option<(Expr, Expr, Expr)>,
        /// `by`.
        by: Vec<NamedExpr>,
    },
    /// `scan`
    Scan {
        /// `with_match_id=name`.
        parameters: Vec<Property>,
        /// `order by`.
        order: Vec<OrderKey>,
        /// `partition by`.
        partition: Vec<NamedExpr>,
        /// `declare (name: type = default)`.
        declare: Vec<Parameter>,
        /// The steps.
        steps: Vec<ScanStep>,
    },
    /// `serialize`
    Serialize(Vec<NamedExpr>),
    /// `partition ... by column ( pipeline )` or `{ query }`
    Partition { parameters: Vec<Property>, by: Expr, scope: Option<Expr>, body: Box<Expr> },
    /// `fork (pipeline) name=(pipeline)`
    Fork(Vec<(Option<Name>, Pipeline)>),
    /// `facet by columns [with (pipeline)]`
    Facet { by: Vec<Expr>, with: Option<Box<Pipeline>> },
    /// `reduce by expr with ...`
    Reduce { parameters: Vec<Property>, by: NamedExpr, with: Vec<Property> },
    /// `evaluate plugin(arguments) [: (schema)]`
    Evaluate {
        parameters: Vec<Property>,
        plugin: Name,
        arguments: Vec<Argument>,
        schema: Option<Vec<ColumnDeclaration>>,
    },
    /// `invoke f(arguments)`
    Invoke { function: Name, arguments: Vec<Argument> },
    /// `consume`
    Consume(Vec<Property>),
    /// `getschema`
    GetSchema(Vec<Property>),
    /// `execute_and_cache`
    ExecuteAndCache,
    /// `assert-schema (columns)`
    AssertSchema(Vec<ColumnDeclaration>),
    /// `macro-expand group as name ( query )`
    MacroExpand { parameters: Vec<Property>, group: Expr, name: Option<Name>, statements: Vec<Statement> },
    /// `as [hint.materialized=true] name`
    As { parameters: Vec<Property>, name: Name },
    /// `render visualization with (properties)`
    Render { visualization: Name, properties: Vec<Property> },
    /// `search [kind=..] [in (tables)] predicate`
    Search { parameters: Vec<Property>, tables: Vec<Expr>, predicate: Expr },
    /// `find [withsource=..] [in (tables)] where predicate [project ...] [project-away ...]`
    Find {
        /// `withsource`, `datascope`.
        parameters: Vec<Property>,
        /// `in (...)`.
        tables: Vec<Expr>,
        /// `where`.
        predicate: Expr,
        /// `project`: columns with an optional type, or `pack(*)`.
        project: Option<Vec<FindColumn>>,
        /// `project-smart`.
        smart: bool,
    },
    /// `make-graph`
    MakeGraph(Box<MakeGraph>),
    /// `graph-match`, `graph-shortest-paths`
    GraphMatch(Box<GraphMatch>),
    /// `graph-mark-components [kind=...] [with_component_id=...]`
    GraphMarkComponents(Vec<Property>),
    /// `graph-to-table nodes, edges`
    GraphToTable(Vec<GraphOutput>),
    /// `graph-where-nodes predicate`
    GraphWhereNodes(Expr),
    /// `graph-where-edges predicate`
    GraphWhereEdges(Expr),
    /// What recovery left of a syntax error; a diagnostic stands for it.
    Error,
}

/// A level of `top-nested`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopNestedLevel {
    /// `n`; absent means all.
    pub count: Option<Expr>,
    /// `of name = expr`.
    pub of: NamedExpr,
    /// `with others = value`.
    pub others: Option<Expr>,
    /// `by name = aggregate`.
    pub by: NamedExpr,
    /// `asc` is `Some(true)`.
    pub ascending: Option<bool>,
}

/// A column of `mv-expand` or `mv-apply`: `[name =] expr [to typeof(type)]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MvItem {
    /// `name = `.
    pub name: Option<Name>,
    /// The array.
    pub value: Expr,
    /// `to typeof(type)`.
    pub to: Option<KqlType>,
}

/// A part of a `parse` pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsePart {
    /// `*`
    Skip(Span),
    /// A string literal (a regular expression with `kind=regex`).
    Text(String, Span),
    /// `name[: type]`
    Column(Name, Option<KqlType>),
}

/// A step of `scan`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanStep {
    /// Its name.
    pub name: Name,
    /// `optional`.
    pub optional: bool,
    /// `output = all | last | none`.
    pub output: Option<Name>,
    /// `: condition`.
    pub condition: Expr,
    /// `=> name = expr, ...`.
    pub assignments: Vec<NamedExpr>,
}

/// A column of `find ... project`.
#[derive(Clone, Debug, PartialEq)]
pub enum FindColumn {
    /// `name [: type]`
    Column(Name, Option<KqlType>),
    /// `pack(*)`, `pack_all()`
    Pack,
}

/// An external table: where its files are and how they are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalDefinition {
    /// Its columns; none for `kind=delta` without a schema.
    pub columns: Vec<ColumnDeclaration>,
    /// `storage`, `delta`, `sql`, ...
    pub kind: Name,
    /// `partition by (...)`.
    pub partitions: Vec<ExternalPartition>,
    /// `pathformat = (...)`.
    pub path_format: Vec<PathPart>,
    /// `dataformat = csv`.
    pub data_format: Option<Name>,
    /// Storage connection strings.
    pub uris: Vec<Expr>,
    /// `with (...)`.
    pub properties: Vec<Property>,
}

/// A partition column of an external table.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalPartition {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub ty: KqlType,
    /// What of the table's columns it is made of; `None` for a virtual column.
    pub value: Option<Expr>,
}

/// A part of the paths of an external table's files.
#[derive(Clone, Debug, PartialEq)]
pub enum PathPart {
    /// A text as it is.
    Text(String),
    /// A partition's value.
    Partition(Name),
    /// `datetime_pattern("yyyyMMdd", Partition)`.
    DateTime {
        /// The pattern.
        pattern: String,
        /// The partition.
        partition: Name,
    },
}
