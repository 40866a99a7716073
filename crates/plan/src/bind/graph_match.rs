//! `graph-match` and `graph-shortest-paths`. Source: graph-match-operator, graph-shortest-paths-operator pages.

use std::collections::HashMap;
use std::sync::Arc;

use tidewater_kql::ast::{self, BinaryOp, Expr, ExprKind, NamedExpr, PatternElement};
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::graph_scope::{GraphScope, Variable, columns_of};
use crate::bind::names::{NameTable, Wanted};
use crate::bind::project::{Item, explicit};
use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{
    BExpr, BoundColumn, Cycles, Element, Graph, GraphMatch, MatchEdge, PathFold, Place, Property, Rel, RelOp, Shortest,
    Value,
};

/// Nodes and edges of one pattern.
const MAX_PATTERN: usize = 200;
/// Hops of an edge of variable length.
const MAX_HOPS: i64 = 10_000;

/// A pattern whose names are settled.
struct Pattern {
    nodes: usize,
    edges: Vec<MatchEdge>,
    variables: HashMap<String, Variable>,
    /// The nodes of the first sequence, in their order.
    first: Vec<usize>,
    returns: bool,
}

impl Binder<'_> {
    /// A row per match; with a `carry`, the partition's number is the last column.
    pub fn graph_match(
        &mut self,
        graph: &Arc<Graph>,
        matched: &ast::GraphMatch,
        carry: Option<&BoundColumn>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let cycles = self.cycles(matched)?;
        let pattern = self.pattern(matched)?;
        let shortest = self.shortest(matched, &pattern, span)?;
        let Some(project) = &matched.project else {
            return self.not_served(span, "a graph pattern without 'project'");
        };
        let mut row = Row { graph: Some(GraphScope::new(graph.clone(), pattern.variables)), ..Row::none() };
        let mut filters = Vec::new();
        let mut failed = false;
        if let Some(predicate) = &matched.predicate {
            for conjunct in conjuncts(predicate) {
                match self.pattern_condition(conjunct, &mut row) {
                    Ok(filter) => filters.push(filter),
                    Err(Stopped) => failed = true,
                }
            }
        }
        if let Some(scope) = &mut row.graph {
            scope.names_path = false;
        }
        let items = self.pattern_items(project, &mut row);
        if failed {
            return Err(Stopped);
        }
        let items = items?;
        let table = NameTable::expecting(explicit(&items));
        let mut named = self.named(items, table, |_| false)?;
        let Some(mut scope) = row.graph.take() else { return Err(Stopped) };
        if let Some(carry) = carry {
            let element = Element { place: Place::Node(0), property: Property::Partition };
            scope.elements.push((carry.clone(), element));
            named.push((String::new(), BExpr::column(carry)));
        }
        let read: Vec<_> = named.iter().flat_map(|(_, expr)| columns_of(expr)).collect();
        let filtered = filters.iter().flat_map(columns_of);
        let kept = scope.keep(read.iter().copied().chain(filtered));
        let columns = kept.into_iter().filter(|column| read.contains(&column.id)).collect();
        let op = GraphMatch {
            graph: graph.clone(),
            nodes: pattern.nodes,
            edges: pattern.edges,
            returns: pattern.returns,
            cycles,
            shortest,
            elements: scope.elements,
            functions: scope.functions,
            filters,
        };
        let rel = self.rel(RelOp::GraphMatch(Box::new(op)), columns, span)?;
        self.project(rel, named, span)
    }

    fn cycles(&mut self, matched: &ast::GraphMatch) -> Bound<Cycles> {
        match self.word(&matched.parameters, &["cycles"]) {
            None => Ok(Cycles::UniqueEdges),
            Some((_, Some(word))) if word == "unique_edges" => Ok(Cycles::UniqueEdges),
            Some((_, Some(word))) if word == "all" => Ok(Cycles::All),
            Some((_, Some(word))) if word == "none" => Ok(Cycles::None),
            Some((name, _)) => {
                let span = name.span;
                self.fail(diagnostic::NOT_IN_LIST, span, "'cycles' of 'graph-match' is all, none or unique_edges")
            }
        }
    }

    fn shortest(&mut self, matched: &ast::GraphMatch, pattern: &Pattern, span: Span) -> Bound<Option<Shortest>> {
        if !matched.is_shortest {
            return Ok(None);
        }
        let all = match self.word(&matched.parameters, &["output"]) {
            None => false,
            Some((_, Some(word))) if word == "any" => false,
            Some((_, Some(word))) if word == "all" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "'output' of 'graph-shortest-paths' is any or all");
            }
        };
        if matched.patterns.len() > 1 {
            return self.fail(diagnostic::GENERAL, span, "the pattern of 'graph-shortest-paths' must be one sequence");
        }
        if pattern.edges.iter().all(|edge| edge.range.is_none()) {
            let message = "the pattern of 'graph-shortest-paths' must have an edge of variable length: -[e*1..5]->";
            return self.fail(diagnostic::GENERAL, span, message);
        }
        match (pattern.first.first(), pattern.first.last()) {
            (Some(first), Some(last)) => Ok(Some(Shortest { first: *first, last: *last, all })),
            _ => Err(Stopped),
        }
    }

    /// Settles the names of a pattern: equal names of nodes are one node, and everything must be connected.
    fn pattern(&mut self, matched: &ast::GraphMatch) -> Bound<Pattern> {
        let mut pattern =
            Pattern { nodes: 0, edges: Vec::new(), variables: HashMap::new(), first: Vec::new(), returns: false };
        let mut failed = false;
        for (position, sequence) in matched.patterns.iter().enumerate() {
            let mut nodes = Vec::new();
            let mut edge: Option<&ast::PatternEdge> = None;
            for element in sequence {
                match element {
                    PatternElement::Edge(found) => edge = Some(found),
                    PatternElement::Node(name, _) => {
                        let node = match name.as_ref().map(|name| (name, pattern.variables.get(&name.text))) {
                            Some((_, Some(Variable::Node(node)))) => *node,
                            Some((name, Some(_))) => return self.duplicate_variable(name),
                            Some((name, None)) => {
                                pattern.variables.insert(name.text.clone(), Variable::Node(pattern.nodes));
                                pattern.nodes += 1;
                                pattern.nodes - 1
                            }
                            None => {
                                pattern.nodes += 1;
                                pattern.nodes - 1
                            }
                        };
                        if let (Some(edge), Some(left)) = (edge.take(), nodes.last()) {
                            match self.pattern_edge(edge, *left, node, &mut pattern) {
                                Ok(made) => pattern.edges.push(made),
                                Err(Stopped) => failed = true,
                            }
                        }
                        pattern.returns |= nodes.contains(&node);
                        nodes.push(node);
                    }
                }
            }
            if position == 0 {
                pattern.first = nodes;
            }
            if pattern.nodes + pattern.edges.len() > MAX_PATTERN {
                let span = sequence.first().map_or(Span::default(), PatternElement::span);
                let message = format!("the query is too complex: a pattern of more than {MAX_PATTERN} nodes and edges");
                return self.fail(diagnostic::GENERAL, span, message);
            }
        }
        if failed {
            return Err(Stopped);
        }
        if !is_connected(&pattern) {
            let span = matched
                .patterns
                .last()
                .and_then(|sequence| sequence.first())
                .map_or(Span::default(), PatternElement::span);
            let message = "the sequences of a pattern must be connected: they must share the names of nodes";
            return self.fail(diagnostic::GENERAL, span, message);
        }
        Ok(pattern)
    }

    fn pattern_edge(
        &mut self,
        edge: &ast::PatternEdge,
        left: usize,
        right: usize,
        pattern: &mut Pattern,
    ) -> Bound<MatchEdge> {
        let at = pattern.edges.len();
        if let Some(name) = &edge.name {
            let variable = if edge.range.is_some() { Variable::Path(at) } else { Variable::Edge(at) };
            if pattern.variables.insert(name.text.clone(), variable).is_some() {
                return self.duplicate_variable(name);
            }
        }
        let range = match &edge.range {
            None => None,
            Some((low, high)) => {
                let fewest = self.hops(low)?;
                let most = self.hops(high)?;
                if fewest > most {
                    let message = "the fewest hops of an edge must not exceed the most";
                    return self.fail(diagnostic::GENERAL, low.span.to(high.span), message);
                }
                Some((fewest, most))
            }
        };
        Ok(MatchEdge { left, right, direction: edge.direction, range })
    }

    fn duplicate_variable<T>(&mut self, name: &ast::Name) -> Bound<T> {
        let message = format!("'{}' already names another part of the pattern", name.text);
        Err(self.report(Diagnostic::new(diagnostic::DUPLICATE_LET, name.span, message)))
    }

    /// A bound of an edge of variable length.
    fn hops(&mut self, expr: &Expr) -> Bound<u32> {
        let bound = self.expr(expr, &mut Row::none())?;
        let hops = match self.constant(&bound, expr.span, "the number of hops of an edge")?.value {
            Value::Long(hops) => hops,
            Value::Int(hops) => i64::from(hops),
            _ => -1,
        };
        if !(0..=MAX_HOPS).contains(&hops) {
            let message = format!("the number of hops of an edge is an integer from 0 to {MAX_HOPS}");
            return self.fail(diagnostic::GENERAL, expr.span, message);
        }
        Ok(hops as u32)
    }

    /// A condition of `where`; one on the hops of an edge of variable length must hold for all of them.
    fn pattern_condition(&mut self, condition: &Expr, row: &mut Row<'_>) -> Bound<BExpr> {
        let result = self.predicate(condition, row);
        if result.is_err()
            && let Some(scope) = &mut row.graph
        {
            scope.direct.clear();
        }
        self.over_hops(result?, PathFold::All, condition.span, row)
    }

    /// The items of `project`; one that reads the hops of an edge of variable length is an array over them.
    fn pattern_items(&mut self, list: &[NamedExpr], row: &mut Row<'_>) -> Bound<Vec<Item>> {
        let mut items = Vec::with_capacity(list.len());
        let mut failed = false;
        for item in list {
            if let Some(extra) = item.names.get(1) {
                let message = format!("the name '{}' does not have a corresponding expression", extra.text);
                return self.fail(diagnostic::GENERAL, extra.span, message);
            }
            let span = item.value.span;
            let bound = self.expr(&item.value, row);
            if bound.is_err()
                && let Some(scope) = &mut row.graph
            {
                scope.direct.clear();
            }
            let value = bound.and_then(|expr| self.over_hops(expr, PathFold::Map, span, row));
            // Whatever reads an edge of variable length is dynamic. Source: the reference parser.
            let names_path = row.graph.as_mut().is_some_and(|scope| std::mem::take(&mut scope.names_path));
            let value = match value {
                Ok(expr) if names_path => self.boxed(expr, span),
                other => other,
            };
            match value {
                Ok(expr) => {
                    let wanted = match (item.names.is_empty(), self.pattern_path_name(&item.value, row)) {
                        (true, Some(name)) => Wanted::Automatic(name),
                        _ => self.wanted(item, row),
                    };
                    items.push(Item { wanted, expr, span });
                }
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(items) }
    }
}

/// The operands of `and`.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match &expr.kind {
            ExprKind::Chain { op: BinaryOp::And, operands, .. } => waiting.extend(operands.iter().rev()),
            ExprKind::Binary { op: BinaryOp::And, left, right, .. } => waiting.extend([&**right, &**left]),
            _ => found.push(expr),
        }
    }
    found
}

/// Whether every node can be reached from the first one.
fn is_connected(pattern: &Pattern) -> bool {
    let mut reached = vec![false; pattern.nodes];
    let mut waiting = vec![0];
    while let Some(node) = waiting.pop() {
        if node >= reached.len() || std::mem::replace(&mut reached[node], true) {
            continue;
        }
        for edge in &pattern.edges {
            if edge.left == node {
                waiting.push(edge.right);
            }
            if edge.right == node {
                waiting.push(edge.left);
            }
        }
    }
    reached.iter().all(|reached| *reached)
}
