//! Expressions over a graph's pattern: properties of its nodes and edges, `all`, `any`, `map`, `labels` and their like.
//!
//! Source: graph-match-operator page and the pages of the graph functions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidewater_kql::ast::{Argument, Expr, ExprKind, Name};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{
    BExpr, BExprKind, BoundColumn, ColumnId, Constant, Element, Graph, PathFold, PathFunction, Place, Property, Value,
};

/// What a pattern's expressions may name, and what they have named so far.
pub(crate) struct GraphScope {
    pub graph: Arc<Graph>,
    pub variables: HashMap<String, Variable>,
    pub elements: Vec<(BoundColumn, Element)>,
    known: HashMap<Element, usize>,
    pub functions: Vec<(BoundColumn, PathFunction)>,
    /// Inside `all`, `any`, `map`: whose values are computed.
    inside: Option<Place>,
    /// Edges of variable length whose hops were read outside of such a function.
    pub direct: Vec<usize>,
    /// An edge of variable length was named.
    pub names_path: bool,
}

/// A name of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Node(usize),
    Edge(usize),
    /// An edge of variable length.
    Path(usize),
}

impl GraphScope {
    /// Nothing named yet.
    pub fn new(graph: Arc<Graph>, variables: HashMap<String, Variable>) -> GraphScope {
        GraphScope {
            graph,
            variables,
            elements: Vec::new(),
            known: HashMap::new(),
            functions: Vec::new(),
            inside: None,
            direct: Vec::new(),
            names_path: false,
        }
    }

    /// Drops the elements and functions that nothing reads, and gives the columns with these ids.
    pub fn keep(&mut self, read: impl IntoIterator<Item = ColumnId>) -> Vec<BoundColumn> {
        let wanted: HashSet<ColumnId> = read.into_iter().collect();
        let mut used = wanted.clone();
        // A function reads earlier ones only.
        for (column, function) in self.functions.iter().rev() {
            if used.contains(&column.id) {
                used.extend(columns_of(&function.body));
            }
        }
        self.functions.retain(|(column, _)| used.contains(&column.id));
        self.elements.retain(|(column, _)| used.contains(&column.id));
        let all = self.elements.iter().map(|(column, _)| column).chain(self.functions.iter().map(|(column, _)| column));
        all.filter(|column| wanted.contains(&column.id)).cloned().collect()
    }
}

/// Functions that no other place has. `any` is an aggregate elsewhere.
const GRAPH_FUNCTIONS: &[&str] =
    &["all", "map", "inner_nodes", "labels", "node_id", "node_degree_in", "node_degree_out"];

/// The columns that an expression reads.
pub(crate) fn columns_of(expr: &BExpr) -> Vec<ColumnId> {
    let mut found = Vec::new();
    expr.any(|node| {
        if let BExprKind::Column(id) = node.kind {
            found.push(id);
        }
        false
    });
    found
}

impl Binder<'_> {
    /// What a name of the pattern stands for.
    pub fn graph_variable(&self, name: &str, row: &Row<'_>) -> Option<Variable> {
        row.graph.as_ref()?.variables.get(name).copied()
    }

    /// The same, noted as used.
    fn used_variable(&self, name: &str, row: &mut Row<'_>) -> Option<Variable> {
        let variable = self.graph_variable(name, row)?;
        if let (Variable::Path(_), Some(scope)) = (variable, &mut row.graph) {
            scope.names_path = true;
        }
        Some(variable)
    }

    fn scope<'r>(&mut self, row: &'r mut Row<'_>) -> Bound<&'r mut GraphScope> {
        row.graph.as_mut().ok_or(Stopped)
    }

    /// The column of an element; each is made once.
    fn element(&mut self, element: Element, name: &str, ty: KqlType, row: &mut Row<'_>) -> Bound<BoundColumn> {
        let column = self.fresh_column(name, ty);
        let scope = self.scope(row)?;
        if let Some(at) = scope.known.get(&element) {
            return Ok(scope.elements[*at].0.clone());
        }
        scope.known.insert(element, scope.elements.len());
        scope.elements.push((column.clone(), element));
        Ok(column)
    }

    /// Where the values of a variable are; hops of an edge of variable length are noted when no function collects them.
    fn place(&mut self, variable: Variable, span: Span, row: &mut Row<'_>) -> Bound<Place> {
        let scope = self.scope(row)?;
        scope.names_path |= matches!(variable, Variable::Path(_));
        match (variable, scope.inside) {
            (Variable::Node(node), _) => Ok(Place::Node(node)),
            (Variable::Edge(edge), _) => Ok(Place::Edge(edge)),
            (Variable::Path(path), Some(Place::Hop(inside))) if inside == path => Ok(Place::Hop(path)),
            (Variable::Path(path), None) => {
                if !scope.direct.contains(&path) {
                    scope.direct.push(path);
                }
                Ok(Place::Hop(path))
            }
            (Variable::Path(_), Some(_)) => {
                let message = "another edge of variable length cannot be read inside all(), any() or map()";
                self.fail(diagnostic::GENERAL, span, message)
            }
        }
    }

    fn properties(&mut self, place: Place, row: &mut Row<'_>) -> Bound<Vec<BoundColumn>> {
        let graph = &self.scope(row)?.graph;
        Ok(match place {
            Place::Node(_) | Place::InnerNode(_) => graph.nodes.clone(),
            Place::Edge(_) | Place::Hop(_) => graph.edges.clone(),
        })
    }

    /// The columns of all properties of a part.
    fn property_columns(&mut self, place: Place, row: &mut Row<'_>) -> Bound<Vec<BoundColumn>> {
        let properties = self.properties(place, row)?;
        properties
            .iter()
            .map(|column| {
                let element = Element { place, property: Property::Column(column.id) };
                self.element(element, &column.name, column.ty, row)
            })
            .collect()
    }

    /// `n.name`.
    pub fn graph_property(&mut self, variable: Variable, name: &Name, row: &mut Row<'_>) -> Bound<BExpr> {
        let place = self.place(variable, name.span, row)?;
        let properties = self.properties(place, row)?;
        let Some(column) = properties.iter().find(|column| column.name == name.text) else {
            return Err(self.unresolved_column(&name.text, &properties, name.span));
        };
        let element = Element { place, property: Property::Column(column.id) };
        Ok(BExpr::column(&self.element(element, &column.name, column.ty, row)?))
    }

    /// A part of the pattern as a value: a bag of its properties; an array of bags for an edge of variable length.
    pub fn graph_part(&mut self, variable: Variable, span: Span, row: &mut Row<'_>) -> Bound<BExpr> {
        let inside = self.scope(row)?.inside;
        if let Variable::Path(path) = variable
            && inside.is_none()
        {
            self.scope(row)?.names_path = true;
            let place = Place::Hop(path);
            let body = self.bag(place, span, row)?;
            return self.folded_path(PathFunction { place, kind: PathFold::Map, body }, row);
        }
        let place = self.place(variable, span, row)?;
        self.bag(place, span, row)
    }

    fn bag(&mut self, place: Place, span: Span, row: &mut Row<'_>) -> Bound<BExpr> {
        let columns = self.property_columns(place, row)?;
        self.spend(columns.len(), span)?;
        let values = columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        self.bag_of(values, false, span)
    }

    /// The column of a function over a path.
    pub fn folded_path(&mut self, function: PathFunction, row: &mut Row<'_>) -> Bound<BExpr> {
        let ty = if function.kind == PathFold::Map { KqlType::Dynamic } else { KqlType::Bool };
        let column = self.fresh_column("", ty);
        let value = BExpr::column(&column);
        self.scope(row)?.functions.push((column, function));
        Ok(value)
    }

    /// An expression that read hops of an edge of variable length: it is computed for each hop.
    pub fn over_hops(&mut self, expr: BExpr, kind: PathFold, span: Span, row: &mut Row<'_>) -> Bound<BExpr> {
        let direct = std::mem::take(&mut self.scope(row)?.direct);
        match direct.as_slice() {
            [] => Ok(expr),
            [path] => self.folded_path(PathFunction { place: Place::Hop(*path), kind, body: expr }, row),
            _ => {
                let message = "an expression can read the properties of one edge of variable length only";
                self.fail(diagnostic::GENERAL, span, message)
            }
        }
    }

    /// The value of a call that only a pattern's expressions have, or `None` when it is no such call.
    pub fn graph_call(
        &mut self,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Option<Bound<BExpr>> {
        if row.graph.is_none() {
            return GRAPH_FUNCTIONS.contains(&name.text.as_str()).then(|| self.outside_of_pattern(name));
        }
        Some(match name.text.as_str() {
            "all" => self.path_function(PathFold::All, &name.text, arguments, row, span),
            "any" => self.path_function(PathFold::Any, &name.text, arguments, row, span),
            "map" => self.path_function(PathFold::Map, &name.text, arguments, row, span),
            "labels" => self.part_function(&name.text, Property::Labels, KqlType::Dynamic, arguments, row, span),
            "node_degree_in" => self.part_function(&name.text, Property::DegreeIn, KqlType::Long, arguments, row, span),
            "node_degree_out" => {
                self.part_function(&name.text, Property::DegreeOut, KqlType::Long, arguments, row, span)
            }
            "node_id" => {
                let ty = match self.scope(row) {
                    Ok(scope) => scope.graph.key,
                    Err(stopped) => return Some(Err(stopped)),
                };
                let key = self.part_function(&name.text, Property::Key, ty, arguments, row, span);
                key.map(|key| self.convert(key, KqlType::String))
            }
            "inner_nodes" => self.fail(
                diagnostic::UNKNOWN_FUNCTION,
                span,
                "Unknown function: 'inner_nodes' (it is the first argument of all(), any() and map())",
            ),
            "array_length" => {
                let [Argument { value: Expr { kind: ExprKind::Name(variable), .. }, .. }] = arguments else {
                    return None;
                };
                let Some(Variable::Path(path)) = self.used_variable(&variable.text, row) else { return None };
                let element = Element { place: Place::Edge(path), property: Property::Length };
                self.element(element, "", KqlType::Long, row).map(|column| BExpr::column(&column))
            }
            _ => return None,
        })
    }

    /// These functions stand in patterns only.
    fn outside_of_pattern(&mut self, name: &Name) -> Bound<BExpr> {
        let message =
            format!("Unknown function: '{}' (it belongs to 'where' and 'project' of 'graph-match')", name.text);
        self.fail(diagnostic::UNKNOWN_FUNCTION, name.span, message)
    }

    /// `labels(n)`, `node_id(n)`, ...; without an argument: of what `all`, `any` or `map` goes over.
    fn part_function(
        &mut self,
        name: &str,
        property: Property,
        ty: KqlType,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        self.count(name, arguments.len(), 0, 1, span)?;
        let place = match arguments.first() {
            None => match self.scope(row)?.inside {
                Some(place) => place,
                None => {
                    let message = format!("{name}() needs an argument outside of all(), any() and map()");
                    return self.fail(diagnostic::ARGUMENT_COUNT, span, message);
                }
            },
            Some(argument) => {
                let variable = self.variable_argument(name, argument, row)?;
                self.place(variable, argument.value.span, row)?
            }
        };
        if property != Property::Labels && matches!(place, Place::Edge(_) | Place::Hop(_)) {
            return self.fail(
                diagnostic::ARGUMENT_TYPE,
                span,
                format!("{name}(): a node is expected, but this is an edge"),
            );
        }
        Ok(BExpr::column(&self.element(Element { place, property }, "", ty, row)?))
    }

    fn variable_argument(&mut self, name: &str, argument: &Argument, row: &mut Row<'_>) -> Bound<Variable> {
        let variable = match &argument.value.kind {
            ExprKind::Name(variable) => self.used_variable(&variable.text, row),
            _ => None,
        };
        match variable {
            Some(variable) => Ok(variable),
            None => {
                let message = format!("{name}(): the name of a node or edge of the pattern is expected");
                self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message)
            }
        }
    }

    /// `all(e, condition)`, `map(inner_nodes(e), value)`: inside, the properties stand under their bare names.
    fn path_function(
        &mut self,
        kind: PathFold,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        self.count(name, arguments.len(), 2, 2, span)?;
        if self.scope(row)?.inside.is_some() {
            return self.fail(diagnostic::GENERAL, span, "all(), any() and map() cannot stand inside each other");
        }
        let place = match &arguments[0].value.kind {
            ExprKind::Call { base: None, name: inner, arguments: of } if inner.text == "inner_nodes" => {
                self.count("inner_nodes", of.len(), 1, 1, arguments[0].value.span)?;
                match self.variable_argument("inner_nodes", &of[0], row)? {
                    Variable::Path(path) => Place::InnerNode(path),
                    _ => return self.path_expected("inner_nodes", of[0].value.span),
                }
            }
            _ => match self.variable_argument(name, &arguments[0], row)? {
                Variable::Path(path) => Place::Hop(path),
                Variable::Edge(edge) => Place::Edge(edge),
                Variable::Node(_) => return self.path_expected(name, arguments[0].value.span),
            },
        };
        let columns = self.property_columns(place, row)?;
        let mut scope = row.graph.take().ok_or(Stopped)?;
        scope.inside = Some(place);
        let mut inner = Row { graph: Some(scope), ..Row::of(&columns) };
        let body = self.expr(&arguments[1].value, &mut inner);
        row.graph = inner.graph.take();
        self.scope(row)?.inside = None;
        let body = body?;
        if kind != PathFold::Map && body.ty != KqlType::Bool {
            let message = format!("{name}(): a condition of type bool is expected, but this is {}", body.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[1].value.span, message);
        }
        if let Place::Edge(_) = place {
            // An edge of one hop is a path of one.
            if kind == PathFold::Map {
                return self.registry_expr("pack_array", vec![body], span);
            }
            let constant = |value| BExpr::constant(Constant { value: Value::Bool(value), ty: KqlType::Bool });
            let kind = BExprKind::Case { branches: vec![(body, constant(true))], otherwise: Box::new(constant(false)) };
            return Ok(BExpr { kind, ty: KqlType::Bool });
        }
        self.folded_path(PathFunction { place, kind, body }, row)
    }

    fn path_expected<T>(&mut self, name: &str, span: Span) -> Bound<T> {
        self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{name}(): an edge of variable length is expected"))
    }

    /// The automatic name of an item of `project`: `n.name` is `n_name`; inside functions the property alone counts.
    pub fn pattern_path_name(&self, expr: &Expr, row: &Row<'_>) -> Option<String> {
        let mut base = expr;
        while let ExprKind::Member { base: inner, .. } | ExprKind::Index { base: inner, .. } = &base.kind {
            base = inner;
        }
        let ExprKind::Name(variable) = &base.kind else { return None };
        if std::ptr::eq(base, expr) || self.graph_variable(&variable.text, row).is_none() {
            return None;
        }
        let rest = self.result_name(expr, row)?;
        let is_prefixed = rest.starts_with(&format!("{}_", variable.text)) && is_indexed(expr);
        Some(if is_prefixed { rest } else { format!("{}_{rest}", variable.text) })
    }
}

/// Whether the variable itself is indexed: `n['x']`.
fn is_indexed(expr: &Expr) -> bool {
    let mut link = expr;
    loop {
        match &link.kind {
            ExprKind::Member { base, .. } | ExprKind::Index { base, .. } => {
                if matches!(base.kind, ExprKind::Name(_)) {
                    return matches!(link.kind, ExprKind::Index { .. });
                }
                link = base;
            }
            _ => return false,
        }
    }
}
