//! From a tree to a bound tree: names, types, conversions and every diagnostic.
//!
//! Input: a parsed script, a catalog view, the request's context and the values computed so far.
//! Output: a `BoundQuery`, or what must be computed first (`Need`), or all mistakes found. Binding
//! is a pure function of its inputs: the same script asks for the same needs in the same order, so
//! that a second pass with their values goes further on the same way.
//!
//! One file per operator or theme. A function gives `Bound<T>`: `Err(Stopped)` says that a
//! diagnostic has been recorded or that a needed value is not known yet; the caller goes on with
//! what does not depend on it, so that one pass reports several mistakes.

mod aggregate;
mod argument;
mod argument_rules;
mod builtin;
mod call;
mod check;
mod conversion;
mod cursor;
mod entity;
pub(crate) mod evaluate;
mod expression;
mod find;
mod fork;
mod graph;
mod graph_match;
mod graph_scope;
mod graph_stored;
mod hints;
mod join;
mod let_;
mod list;
mod macro_expand;
mod make_series;
mod mv_expand;
mod names;
mod operator;
mod options;
mod parse;
mod partition;
mod partitioned;
mod path;
mod pattern;
mod pipeline;
mod plugin;
mod project;
mod project_names;
mod range;
mod reduce;
mod render;
mod restrict;
mod row;
mod scan;
mod scope;
mod search;
mod secure;
mod sort;
mod source;
mod statement;
mod summarize;
mod top_nested;
mod top_nested_others;
mod tuple;
mod union;
mod window;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::Script;
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::PlanContext;
use crate::bound::{
    BExpr, BExprKind, BindOutcome, BoundAggregate, BoundColumn, BoundQuery, ColumnId, Constant, Evaluate, GraphId,
    Known, Need, NeedKey, NeedWhat, Rel, RelOp, SharedId, StageOrder, WindowFunction,
};
use crate::catalog::CatalogView;
use crate::hidden::{HIDDEN, Hidden, Origin};
pub use entity::check_function;
use restrict::RestrictedView;
use row::Row;
use scope::{Env, Frame, FunctionDef};

/// Relations on top of each other: pipelines, nested subqueries and expanded functions together.
pub const MAX_RELATION_DEPTH: u32 = 400;
/// Expressions inside each other.
pub const MAX_EXPRESSION_DEPTH: usize = 1_000;
/// Calls of user functions inside each other.
pub const MAX_CALL_DEPTH: usize = 64;
/// Expressions and relations made in one pass, function expansion included.
pub const MAX_NODES: usize = 1_000_000;
/// Diagnostics reported at once.
pub const MAX_DIAGNOSTICS: usize = 20;
/// Columns of one relation.
pub const MAX_COLUMNS: usize = 10_000;
/// Values that `in` takes from a tabular expression. Source: in-operator page.
pub const MAX_IN_VALUES: usize = 1_000_000;

/// A diagnostic has been recorded, or binding waits for a needed value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

/// What a binding function gives.
pub(crate) type Bound<T> = Result<T, Stopped>;

/// Binds a script. `known` holds the needs of earlier passes.
///
/// Errors: every diagnostic found, at least one.
pub fn bind_query(
    script: &Script,
    view: &dyn CatalogView,
    context: &PlanContext,
    evaluate: &dyn Evaluate,
    known: &HashMap<NeedKey, Known>,
) -> Result<BindOutcome, Vec<Diagnostic>> {
    let mut binder = Binder::new(view, context, evaluate, known);
    let results = binder.script(script);
    let missing = binder.missing_pattern_references();
    let Binder { mut diagnostics, needs, options, result_options, .. } = binder;
    diagnostics.extend(missing);
    if !diagnostics.is_empty() {
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        return Err(diagnostics);
    }
    if !needs.is_empty() {
        return Ok(BindOutcome::Needs(needs));
    }
    match results {
        Ok(results) => Ok(BindOutcome::Done(BoundQuery { results, options, result_options })),
        Err(Stopped) => {
            Err(vec![Diagnostic::new(diagnostic::GENERAL, Span::default(), "the query could not be bound")])
        }
    }
}

/// The state of one pass.
pub(crate) struct Binder<'a> {
    pub view: RestrictedView<'a>,
    pub context: &'a PlanContext,
    evaluator: &'a dyn Evaluate,
    known: &'a HashMap<NeedKey, Known>,
    pub diagnostics: Vec<Diagnostic>,
    needs: Vec<Need>,
    next_need: u64,
    next_column: u32,
    next_shared: u32,
    next_graph: u32,
    next_hidden: u32,
    pub frames: Vec<Frame>,
    /// Where names are looked up now.
    pub env: Env,
    /// The database whose tables are meant now: that of the request, or of the stored function being expanded.
    pub database: String,
    pub options: HashMap<String, serde_json::Value>,
    /// The options at each result so far.
    result_options: Vec<Arc<HashMap<String, serde_json::Value>>>,
    /// Inside the text of a stored function, where spans mean nothing to the caller: the call and the function's name.
    pub foreign: Option<(Span, String)>,
    expression_depth: usize,
    /// What the subqueries being bound (`partition`, `mv-apply`) run over, outermost first.
    subquery_sources: Vec<Arc<Rel>>,
    /// Columns that arguments of functions read, with their names.
    row_arguments: Vec<(ColumnId, String)>,
    /// The functions being expanded, outermost first.
    pub calls: Vec<Rc<FunctionDef>>,
    /// Stored functions read so far, by database and name; `Err` says why the text cannot be.
    pub stored: HashMap<(String, String), Result<Rc<FunctionDef>, String>>,
    nodes: usize,
    /// Nodes made for what is only checked.
    checked_nodes: usize,
    /// Inside what is only checked: nothing will be computed for it.
    is_checking: bool,
    /// `alias database`: `None` where the aliased database does not resolve, which has been reported.
    pub aliases: HashMap<String, Option<String>>,
    /// References to patterns that nothing matches.
    pub missing_patterns: Vec<(String, Span)>,
    /// The hidden columns of the rows that the present operator reads.
    pub hidden: Option<Arc<Hidden>>,
    /// The policies and views that are being bound, outermost first.
    pub securing: Vec<secure::Securing>,
    /// Inside a text that the catalog keeps of a view, which may name internal tables.
    pub in_catalog: bool,
}

impl<'a> Binder<'a> {
    fn new(
        view: &'a dyn CatalogView,
        context: &'a PlanContext,
        evaluator: &'a dyn Evaluate,
        known: &'a HashMap<NeedKey, Known>,
    ) -> Self {
        Binder {
            view: RestrictedView::new(view),
            context,
            evaluator,
            known,
            diagnostics: Vec::new(),
            needs: Vec::new(),
            next_need: 0,
            next_column: 0,
            next_shared: 0,
            next_graph: 0,
            next_hidden: 0,
            frames: vec![Frame::root()],
            env: Env::ROOT,
            database: view.current_database().to_string(),
            options: HashMap::new(),
            result_options: Vec::new(),
            foreign: None,
            expression_depth: 0,
            subquery_sources: Vec::new(),
            row_arguments: Vec::new(),
            calls: Vec::new(),
            stored: HashMap::new(),
            nodes: 0,
            checked_nodes: 0,
            is_checking: false,
            aliases: HashMap::new(),
            missing_patterns: Vec::new(),
            hidden: None,
            securing: Vec::new(),
            in_catalog: false,
        }
    }

    /// Records a diagnostic. Inside a stored function its place becomes that of the call.
    pub fn report(&mut self, mut diagnostic: Diagnostic) -> Stopped {
        if let Some((span, name)) = &self.foreign {
            diagnostic.span = *span;
            diagnostic.message = format!("in function '{name}': {}", diagnostic.message);
        }
        if !self.diagnostics.contains(&diagnostic) && self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic);
        }
        Stopped
    }

    /// Records a diagnostic without hints and fails.
    pub fn fail<T>(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Bound<T> {
        Err(self.report(Diagnostic::new(code, span, message)))
    }

    /// Refuses a documented feature by its name.
    pub fn not_served<T>(&mut self, span: Span, what: impl std::fmt::Display) -> Bound<T> {
        Err(self.report(Diagnostic::not_served(span, what)))
    }

    /// Counts nodes made; fails when a query grows without bound (functions and lets that double at each use).
    pub fn spend(&mut self, nodes: usize, span: Span) -> Bound<()> {
        let was_spent = self.nodes > MAX_NODES;
        self.nodes += nodes;
        if was_spent {
            return Err(Stopped);
        }
        if self.nodes > MAX_NODES {
            return self.fail(
                diagnostic::GENERAL,
                span,
                format!("the query is too complex: it expands to more than {MAX_NODES} expressions"),
            );
        }
        Ok(())
    }

    /// A column id that nothing else has.
    pub fn fresh_id(&mut self) -> ColumnId {
        self.next_column += 1;
        ColumnId(self.next_column)
    }

    /// A new column.
    pub fn fresh_column(&mut self, name: impl Into<String>, ty: KqlType) -> BoundColumn {
        BoundColumn { id: self.fresh_id(), name: name.into(), ty }
    }

    /// An id for a shared computation.
    pub fn fresh_shared(&mut self) -> SharedId {
        self.next_shared += 1;
        SharedId(self.next_shared)
    }

    /// An id for a graph.
    pub fn fresh_graph(&mut self) -> GraphId {
        self.next_graph += 1;
        GraphId(self.next_graph)
    }

    /// The value of a constant expression; `None` after a failure that is already explained.
    ///
    /// `what` names the place for the diagnostic: "the count of 'take'".
    pub fn constant(&mut self, expr: &BExpr, span: Span, what: &str) -> Bound<Constant> {
        if let Some(constant) = expr.as_constant() {
            return Ok(constant);
        }
        if expr.any(|node| matches!(node.kind, BExprKind::Needed(_))) {
            return Err(Stopped);
        }
        if expr.any(|node| matches!(node.kind, BExprKind::Column(_))) {
            return self.fail(diagnostic::NOT_CONSTANT, span, format!("{what} must be a constant"));
        }
        self.spend(1, span)?;
        match self.evaluator.evaluate(expr) {
            Ok(constant) => Ok(constant),
            Err(message) => self.fail(diagnostic::GENERAL, span, message),
        }
    }

    /// The expression as a constant node, when it is constant, pure and computable; else as it is.
    pub fn folded(&mut self, expr: BExpr) -> BExpr {
        let stays = |node: &BExpr| match &node.kind {
            BExprKind::Needed(_) | BExprKind::Column(_) => true,
            BExprKind::Call { row, .. } => !row.is_pure,
            _ => false,
        };
        if matches!(expr.kind, BExprKind::Constant(_)) || expr.any(stays) {
            return expr;
        }
        match self.evaluator.evaluate(&expr) {
            Ok(constant) if constant.ty == expr.ty => BExpr::constant(constant),
            _ => expr,
        }
    }

    /// Takes the next need's key. Must be called before the needed relation is bound, so that keys
    /// are the same in every pass.
    pub fn need_key(&mut self) -> NeedKey {
        self.next_need += 1;
        NeedKey(self.next_need)
    }

    /// The value of a need, or `None` after asking for it.
    pub fn need(&mut self, key: NeedKey, rel: &Arc<Rel>, what: NeedWhat) -> Option<Known> {
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        // Inside a subquery there is a value per group of rows, but what is needed is computed once.
        let is_contextual = |source: &Arc<Rel>| partitioned::reads(rel, source);
        if what != NeedWhat::BagColumns && self.subquery_sources.iter().any(is_contextual) {
            let what = "a value of the rows of 'mv-apply' or 'partition' as a whole inside their own subquery";
            self.report(Diagnostic::not_served(Span::default(), what));
            return None;
        }
        // A relation that itself waits for a value cannot run yet: it is asked for in a later pass.
        if !waits(rel) && !self.needs.iter().any(|need| need.key == key) {
            self.needs.push(Need { key, rel: rel.clone(), what });
        }
        None
    }

    /// Notes the columns of the row that an argument of a function reads.
    pub fn note_row_argument(&mut self, argument: &BExpr, row: &Row<'_>) {
        if row.columns.is_empty() {
            return;
        }
        argument.any(|node| {
            if let BExprKind::Column(id) = node.kind
                && let Some(column) = row.columns.iter().find(|column| column.id == id)
                && !self.row_arguments.iter().any(|(known, _)| *known == id)
            {
                self.row_arguments.push((id, column.name.clone()));
            }
            false
        });
    }

    /// Refuses a subquery that is computed once and reads the row it stands in. Source: toscalar page.
    pub fn not_of_a_row(&mut self, rel: &Arc<Rel>, span: Span) -> Bound<()> {
        let Some(free) = free_column(rel) else { return Ok(()) };
        let Some((_, name)) = self.row_arguments.iter().find(|(id, _)| *id == free) else { return Ok(()) };
        let message = format!("'toscalar': can't use '{name}' as it is defined outside its row-context scope.");
        self.fail(diagnostic::ROW_SCOPE, span, message)
    }

    /// Whether some needed value is not known yet, so that a failure may be no mistake.
    pub fn is_waiting(&self) -> bool {
        self.is_checking || !self.needs.is_empty()
    }

    /// Runs `body` with what it records thrown away: a trial whose failure is not the user's mistake.
    pub fn attempt<T>(&mut self, body: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<T> {
        let recorded = self.diagnostics.len();
        let result = body(self);
        if result.is_err() {
            self.diagnostics.truncate(recorded);
        }
        result
    }

    /// Makes a relation and checks the bounds.
    pub fn rel(&mut self, op: RelOp, columns: Vec<BoundColumn>, span: Span) -> Bound<Arc<Rel>> {
        self.spend(1 + columns.len(), span)?;
        let depth = 1 + inputs(&op).iter().map(|input| input.depth).max().unwrap_or(0);
        if depth > MAX_RELATION_DEPTH {
            return self.fail(
                diagnostic::GENERAL,
                span,
                format!("the query is too complex: more than {MAX_RELATION_DEPTH} operators read one another"),
            );
        }
        if columns.len() > MAX_COLUMNS {
            return self.fail(
                "SEM0004",
                span,
                format!("the result has {} columns, more than the limit of {MAX_COLUMNS}", columns.len()),
            );
        }
        let (is_serialized, is_sorted) = order_kept(&op);
        let hidden = self.hidden_of(&op);
        Ok(Arc::new(Rel { op, columns, is_serialized, is_sorted, depth, hidden, is_guarded: false }))
    }

    /// Ids for hidden columns, from a range of their own: those of other columns do not depend on them.
    fn hidden_ids(&mut self) -> [ColumnId; HIDDEN.len()] {
        const FIRST: u32 = 1 << 30;
        HIDDEN.map(|_| {
            self.next_hidden += 1;
            ColumnId(FIRST + self.next_hidden)
        })
    }

    /// The hidden columns of an operator's result.
    fn hidden_of(&mut self, op: &RelOp) -> Option<Arc<Hidden>> {
        match op {
            RelOp::Table { table, .. } => {
                let ids = self.hidden_ids();
                let (database, name) = (table.database.clone(), table.name.clone());
                let origin = Origin::Table { database, name, provider: std::sync::OnceLock::new() };
                Some(Arc::new(Hidden { ids, origin }))
            }
            RelOp::Union { inputs } if inputs.iter().any(|input| input.hidden.is_some()) => {
                let ids = self.hidden_ids();
                let origin = Origin::Union(inputs.iter().map(|input| input.hidden.clone()).collect());
                Some(Arc::new(Hidden { ids, origin }))
            }
            RelOp::Filter { input, .. }
            | RelOp::Project { input, .. }
            | RelOp::Sort { input, .. }
            | RelOp::PartitionTop { input, .. }
            | RelOp::Limit { input, .. }
            | RelOp::Sample { input, .. }
            | RelOp::Parse { input, .. }
            | RelOp::ParseKv { input, .. }
            | RelOp::MvExpand { input, .. }
            | RelOp::Window { input, .. } => input.hidden.clone(),
            _ => None,
        }
    }

    /// The same rows under fresh column ids, so that one relation can be used twice in a query.
    pub fn relabeled(&mut self, rel: &Arc<Rel>, span: Span) -> Bound<Arc<Rel>> {
        let columns = rel.columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
        let items = rel.columns.iter().map(BExpr::column).collect();
        self.rel(RelOp::Project { input: rel.clone(), items }, columns, span)
    }

    /// A projection to named items; a plain column keeps its id unless it stands in the list twice.
    pub fn project(&mut self, input: Arc<Rel>, items: Vec<(String, BExpr)>, span: Span) -> Bound<Arc<Rel>> {
        let mut seen = std::collections::HashSet::new();
        let mut columns = Vec::with_capacity(items.len());
        let mut exprs = Vec::with_capacity(items.len());
        for (name, expr) in items {
            let id = match expr.kind {
                BExprKind::Column(id) if seen.insert(id) => id,
                _ => self.fresh_id(),
            };
            columns.push(BoundColumn { id, name, ty: expr.ty });
            exprs.push(expr);
        }
        self.rel(RelOp::Project { input, items: exprs }, columns, span)
    }

    /// One row without columns: the input of `print`.
    pub fn one_row(&mut self, span: Span) -> Bound<Arc<Rel>> {
        self.rel(RelOp::Rows { rows: vec![Vec::new()] }, Vec::new(), span)
    }
}

/// The relations that an operator reads.
pub(crate) fn inputs(op: &RelOp) -> Vec<&Arc<Rel>> {
    match op {
        RelOp::Rows { .. } | RelOp::Table { .. } | RelOp::Range { .. } => Vec::new(),
        RelOp::Filter { input, .. }
        | RelOp::Project { input, .. }
        | RelOp::Aggregate { input, .. }
        | RelOp::Sort { input, .. }
        | RelOp::PartitionTop { input, .. }
        | RelOp::Limit { input, .. }
        | RelOp::Sample { input, .. }
        | RelOp::MvExpand { input, .. }
        | RelOp::Parse { input, .. }
        | RelOp::ParseKv { input, .. }
        | RelOp::Window { input, .. } => vec![input],
        RelOp::MakeSeries(series) => vec![&series.input],
        RelOp::Stage(stage) => vec![&stage.input],
        RelOp::Lookup(lookup) => vec![&lookup.input, &lookup.table],
        RelOp::Join { left, right, .. } => vec![left, right],
        RelOp::Union { inputs } => inputs.iter().collect(),
        RelOp::Shared { rel, .. } => vec![rel],
        RelOp::GraphMatch(matched) => matched.graph.rels(),
        RelOp::GraphRows(rows) => rows.graph.rels(),
    }
}

/// The expressions of an operator.
pub(crate) fn expressions(op: &RelOp) -> Vec<&BExpr> {
    match op {
        RelOp::Rows { .. }
        | RelOp::Table { .. }
        | RelOp::Range { .. }
        | RelOp::Limit { .. }
        | RelOp::Sample { .. }
        | RelOp::Union { .. }
        | RelOp::Shared { .. } => Vec::new(),
        RelOp::Filter { predicate, .. } => vec![predicate],
        RelOp::Project { items, .. } => items.iter().collect(),
        RelOp::Aggregate { keys, aggregates, .. } => {
            keys.iter().chain(aggregates.iter().flat_map(aggregate_operands)).collect()
        }
        RelOp::Sort { keys, .. } | RelOp::PartitionTop { keys, .. } => keys.iter().map(|key| &key.expr).collect(),
        RelOp::Join { keys, .. } => keys.iter().flat_map(|(left, right)| [left, right]).collect(),
        RelOp::MvExpand { items, .. } => items.iter().map(|item| &item.value).collect(),
        RelOp::Parse { source, .. } | RelOp::ParseKv { source, .. } => vec![source],
        RelOp::Window { functions, .. } => functions.iter().flat_map(window_operands).collect(),
        RelOp::MakeSeries(series) => {
            series.keys.iter().chain(series.values.iter().map(|(value, _)| value)).chain([&series.bin]).collect()
        }
        RelOp::Stage(stage) => stage.groups.iter().chain(&stage.args).collect(),
        RelOp::Lookup(lookup) => {
            let equal = lookup.equal.iter().flat_map(|(left, right)| [left, right]);
            equal.chain(&lookup.args).chain(&lookup.table_args).collect()
        }
        RelOp::GraphMatch(matched) => {
            let bodies = matched.functions.iter().map(|(_, function)| &function.body);
            matched.graph.predicates().into_iter().chain(&matched.filters).chain(bodies).collect()
        }
        RelOp::GraphRows(rows) => rows.graph.predicates(),
    }
}

/// Columns that the expressions of an operator may read beside those of its inputs.
fn own_columns(op: &RelOp) -> Vec<ColumnId> {
    match op {
        RelOp::GraphMatch(matched) => {
            let elements = matched.elements.iter().map(|(column, _)| column.id);
            let functions = matched.functions.iter().map(|(column, _)| column.id);
            matched.graph.properties().chain(elements).chain(functions).collect()
        }
        RelOp::GraphRows(rows) => rows.graph.properties().collect(),
        _ => Vec::new(),
    }
}

/// The expressions that an aggregate reads.
pub(crate) fn aggregate_operands(aggregate: &BoundAggregate) -> Vec<&BExpr> {
    match aggregate {
        BoundAggregate::Function { args, .. } => args.iter().collect(),
        BoundAggregate::ArgExtreme { by, values, .. } => std::iter::once(by).chain(values).collect(),
        BoundAggregate::TakeAny { values, predicate } => values.iter().chain(predicate).collect(),
    }
}

/// The expressions that a window function reads.
pub(crate) fn window_operands(function: &WindowFunction) -> Vec<&BExpr> {
    match function {
        WindowFunction::RowNumber { restart, .. } => restart.iter().collect(),
        WindowFunction::Shift { value, .. } => vec![value],
        WindowFunction::Cumsum { value, restart }
        | WindowFunction::RankDense { value, restart }
        | WindowFunction::RankMin { value, restart }
        | WindowFunction::Session { value, restart, .. } => std::iter::once(value).chain(restart).collect(),
    }
}

/// Whether any expression below waits for a needed value.
fn waits(rel: &Arc<Rel>) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut waiting = vec![rel];
    while let Some(rel) = waiting.pop() {
        if !seen.insert(Arc::as_ptr(rel)) {
            continue;
        }
        if expressions(&rel.op).iter().any(|expr| expr.any(|node| matches!(node.kind, BExprKind::Needed(_)))) {
            return true;
        }
        waiting.extend(inputs(&rel.op));
    }
    false
}

/// Whether a relation reads only columns that stand inside it, and none of a row of its caller.
pub(crate) fn is_closed(rel: &Arc<Rel>) -> bool {
    free_column(rel).is_none()
}

/// A column that a relation reads and does not make: one of the row that it stands in.
pub(crate) fn free_column(rel: &Arc<Rel>) -> Option<ColumnId> {
    let mut seen = std::collections::HashSet::new();
    let (mut made, mut read) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    let mut waiting = vec![rel];
    while let Some(rel) = waiting.pop() {
        if !seen.insert(Arc::as_ptr(rel)) {
            continue;
        }
        made.extend(rel.columns.iter().map(|column| column.id).chain(own_columns(&rel.op)));
        made.extend(rel.hidden.iter().flat_map(|hidden| hidden.ids));
        for expr in expressions(&rel.op) {
            expr.any(|node| {
                if let BExprKind::Column(id) = node.kind {
                    read.insert(id);
                }
                false
            });
        }
        waiting.extend(inputs(&rel.op));
    }
    read.difference(&made).min_by_key(|id| id.0).copied()
}

/// (serialized, sorted) of an operator's result. Source: window-functions page.
fn order_kept(op: &RelOp) -> (bool, bool) {
    match op {
        RelOp::Sort { .. } => (true, true),
        RelOp::Range { .. } => (true, false),
        RelOp::Filter { input, .. }
        | RelOp::Project { input, .. }
        | RelOp::Limit { input, .. }
        | RelOp::MvExpand { input, .. }
        | RelOp::Parse { input, .. }
        | RelOp::ParseKv { input, .. }
        | RelOp::Window { input, .. } => (input.is_serialized, input.is_sorted),
        RelOp::Stage(stage) if stage.order == StageOrder::Kept => (stage.input.is_serialized, stage.input.is_sorted),
        _ => (false, false),
    }
}
