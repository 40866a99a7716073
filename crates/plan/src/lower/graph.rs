//! Graphs and their readers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, Projection};
use tidewater_functions::{Imp, find_scalar};
use tidewater_kql::KqlType;

use super::expr;
use super::{Lowered, Lowering, Need, extension, field, refused};
use crate::bind::inputs;
use crate::bound::{
    BExpr, BExprKind, BoundColumn, ColumnId, Graph, GraphMatch, GraphOp, GraphPart, GraphRows, PathFold, Place,
    Property, Rel, RelOp, ScalarRow,
};
use crate::exec::graph::build::{Part, Recipe};
use crate::exec::graph::cell::{Change, GraphCell, Origin};
use crate::exec::graph::node::{GraphNode, Reader};
use crate::exec::graph::values::{Compiled, Filter, MatchSpec, Slot};

impl Lowering {
    /// `graph-match`, `graph-shortest-paths`.
    pub(super) fn graph_match(&mut self, rel: &Rel, matched: &GraphMatch) -> Result<Lowered> {
        let cell = self.graph_cell(&matched.graph)?;
        let mut slots = Slots::default();
        for (column, element) in &matched.elements {
            slots.add(column, Slot::Element(*element));
        }
        for (column, function) in &matched.functions {
            let body = match function.kind {
                PathFold::Map => expr::value(&packed(&function.body)?)?,
                PathFold::All | PathFold::Any => expr::holds(&function.body)?,
            };
            let body = Compiled::new(body, slots.read_by(&function.body))?;
            slots.add(column, Slot::Function { place: function.place, fold: function.kind, body });
        }
        let mut masks = Vec::new();
        let mut filters = Vec::new();
        for filter in &matched.filters {
            match single_place(matched, filter) {
                Some((place, condition)) => {
                    masks.push((place, Compiled::new(expr::holds(condition)?, slots.read_by(condition))?));
                }
                None => {
                    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
                    for place in places(matched, filter) {
                        match place {
                            Place::Node(node) => nodes.push(node),
                            Place::Edge(edge) => edges.push(edge),
                            Place::Hop(edge) | Place::InnerNode(edge) => edges.push(edge),
                        }
                    }
                    let condition = Compiled::new(expr::holds(filter)?, slots.read_by(filter))?;
                    filters.push(Filter { condition, nodes, edges });
                }
            }
        }
        let outputs = rel.columns.iter().filter_map(|column| slots.places.get(&column.id).copied()).collect();
        let spec = MatchSpec {
            nodes: matched.nodes,
            edges: matched.edges.clone(),
            returns: matched.returns,
            cycles: matched.cycles,
            shortest: matched.shortest,
            slots: slots.slots,
            masks,
            filters,
            outputs,
        };
        self.graph_reader(rel, cell, Reader::Match(spec))
    }

    /// `graph-to-table`.
    pub(super) fn graph_rows(&mut self, rel: &Rel, rows: &GraphRows) -> Result<Lowered> {
        let cell = self.graph_cell(&rows.graph)?;
        self.graph_reader(rel, cell, Reader::Rows { nodes: rows.nodes, columns: rows.columns.clone() })
    }

    fn graph_reader(&mut self, rel: &Rel, cell: Arc<GraphCell>, reader: Reader) -> Result<Lowered> {
        let fields = Arc::new(Schema::new(rel.columns.iter().map(field).collect::<Vec<_>>()));
        Ok(Lowered::unordered(extension(GraphNode::try_new(cell, reader, fields)?)))
    }

    /// The graph that all readers of its id share.
    fn graph_cell(&mut self, graph: &Graph) -> Result<Arc<GraphCell>> {
        if let Some(cell) = self.graphs.get(&graph.id) {
            return Ok(Arc::clone(cell));
        }
        let change = |lowering: &mut Self, input: &Arc<Graph>, change| {
            let input = lowering.graph_cell(input)?;
            Ok::<_, datafusion::error::DataFusionError>(Origin::Changed { input, change })
        };
        let origin = match &graph.op {
            GraphOp::Make(_) => self.made(graph)?,
            GraphOp::Components { input, is_strong } => {
                let Some(property) = graph.nodes.last() else {
                    return refused(tidewater_kql::diagnostic::GENERAL, "a graph's components have no name");
                };
                change(self, input, Change::Components { property: property.id, is_strong: *is_strong })?
            }
            GraphOp::WhereNodes { input, predicate } => {
                let (condition, properties) = condition(predicate, &input.nodes)?;
                change(self, input, Change::WhereNodes { condition, properties })?
            }
            GraphOp::WhereEdges { input, predicate } => {
                let (condition, properties) = condition(predicate, &input.edges)?;
                change(self, input, Change::WhereEdges { condition, properties })?
            }
        };
        let cell = Arc::new(GraphCell::new(graph.id.0, origin));
        self.graphs.insert(graph.id, Arc::clone(&cell));
        Ok(cell)
    }

    fn made(&mut self, graph: &Graph) -> Result<Origin> {
        let GraphOp::Make(make) = &graph.op else {
            return refused(tidewater_kql::diagnostic::GENERAL, "a graph is made of tables");
        };
        let read = |columns: &[BoundColumn]| {
            let read = columns.iter().enumerate().filter(|(_, column)| self.graph_columns.contains(&column.id));
            read.map(|(at, column)| (at, column.id, column.ty)).collect::<Vec<_>>()
        };
        let (nodes, edges) = (read(&graph.nodes), read(&graph.edges));
        let mut plans = Vec::new();
        let mut parts = |lowering: &mut Self, parts: &[GraphPart], read: &[(usize, ColumnId, KqlType)]| {
            parts
                .iter()
                .map(|part| {
                    let (plan, part) = lowering.part(part, read)?;
                    plans.push(plan);
                    Ok(part)
                })
                .collect::<Result<Vec<_>>>()
        };
        let node_parts = parts(self, &make.nodes, &nodes)?;
        let edge_parts = parts(self, &make.edges, &edges)?;
        let place = |at: &usize| nodes.iter().position(|(property, ..)| property == at);
        let recipe = Recipe {
            nodes: node_parts,
            edges: edge_parts,
            key_properties: make.key_properties.iter().filter_map(place).collect(),
            node_properties: nodes.iter().map(|(_, id, ty)| (*id, *ty)).collect(),
            edge_properties: edges.iter().map(|(_, id, ty)| (*id, *ty)).collect(),
            key: graph.key,
            last_wins: make.last_wins,
        };
        Ok(Origin::Made { recipe: Arc::new(recipe), plans })
    }

    /// The plan of a part with the columns that are read, in an order of their own.
    fn part(&mut self, part: &GraphPart, read: &[(usize, ColumnId, KqlType)]) -> Result<(LogicalPlan, Part)> {
        let mut columns: Vec<ColumnId> = Vec::new();
        let mut place = |id: ColumnId| {
            columns.push(id);
            columns.len() - 1
        };
        let lowered = Part {
            keys: part.keys.iter().map(|id| place(*id)).collect(),
            partition: part.partition.map(&mut place),
            labels: part.labels.map(&mut place),
            properties: part
                .properties
                .iter()
                .filter_map(|(id, at)| Some((place_of(read, *at)?, *id)))
                .map(|(property, id)| (place(id), property))
                .collect(),
        };
        let input = self.relation(&part.rel, &Need::new(columns.iter().copied(), false))?;
        let exprs = columns.iter().map(|id| expr::column(*id)).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
        Ok((plan, lowered))
    }

    /// Notes the properties of graphs that a relation, or one below it, reads.
    pub(super) fn note_graphs(&mut self, rel: &Rel) {
        let mut seen: HashSet<*const Rel> = HashSet::new();
        let mut waiting = vec![rel];
        while let Some(rel) = waiting.pop() {
            if !seen.insert(rel) {
                continue;
            }
            match &rel.op {
                RelOp::GraphMatch(matched) => {
                    self.graph_columns.extend(matched.elements.iter().filter_map(
                        |(_, element)| match element.property {
                            Property::Column(id) => Some(id),
                            _ => None,
                        },
                    ));
                    self.note_graph_predicates(&matched.graph);
                }
                RelOp::GraphRows(rows) => {
                    self.graph_columns.extend(rows.columns.iter().filter_map(|column| match column {
                        crate::bound::GraphColumn::Property(id) => Some(*id),
                        _ => None,
                    }));
                    self.note_graph_predicates(&rows.graph);
                }
                _ => {}
            }
            waiting.extend(inputs(&rel.op).into_iter().map(|input| &**input));
        }
    }

    fn note_graph_predicates(&mut self, graph: &Graph) {
        for predicate in graph.predicates() {
            self.graph_columns.extend(read_by(predicate));
        }
    }
}

fn place_of(read: &[(usize, ColumnId, KqlType)], at: usize) -> Option<usize> {
    read.iter().position(|(property, ..)| *property == at)
}

/// The slots of a pattern's values.
#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    fields: Vec<Field>,
    places: HashMap<ColumnId, usize>,
}

impl Slots {
    fn add(&mut self, column: &BoundColumn, slot: Slot) {
        self.places.insert(column.id, self.slots.len());
        self.slots.push(slot);
        self.fields.push(field(column));
    }

    fn read_by(&self, expr: &BExpr) -> Vec<(usize, Field)> {
        let found = read_by(expr).into_iter().filter_map(|id| self.places.get(&id));
        found.map(|slot| (*slot, self.fields[*slot].clone())).collect()
    }
}

/// The columns that an expression reads, each once.
fn read_by(expr: &BExpr) -> Vec<ColumnId> {
    let mut found = Vec::new();
    expr.any(|node| {
        if let BExprKind::Column(id) = node.kind
            && !found.contains(&id)
        {
            found.push(id);
        }
        false
    });
    found
}

/// An array of the one value, in which every type has its form.
fn packed(body: &BExpr) -> Result<BExpr> {
    match find_scalar("pack_array").filter(|row| matches!(row.imp, Imp::Native(_) | Imp::Kernel(_))) {
        Some(row) => {
            let kind = BExprKind::Call { row: ScalarRow(row), args: vec![body.clone()] };
            Ok(BExpr { kind, ty: KqlType::Dynamic })
        }
        None => refused(tidewater_kql::diagnostic::GENERAL, "map() needs pack_array()"),
    }
}

/// A predicate over properties, compiled; the properties by its slots.
fn condition(predicate: &BExpr, properties: &[BoundColumn]) -> Result<(Compiled, Vec<ColumnId>)> {
    let read: Vec<&BoundColumn> =
        read_by(predicate).into_iter().filter_map(|id| properties.iter().find(|column| column.id == id)).collect();
    let columns = read.iter().enumerate().map(|(slot, column)| (slot, field(column))).collect();
    Ok((Compiled::new(expr::holds(predicate)?, columns)?, ids_of(&read)))
}

fn ids_of(columns: &[&BoundColumn]) -> Vec<ColumnId> {
    columns.iter().map(|column| column.id).collect()
}

/// The parts of the pattern that an expression reads, through functions over paths too.
fn places(matched: &GraphMatch, expr: &BExpr) -> HashSet<Place> {
    let mut found = HashSet::new();
    let mut waiting = read_by(expr);
    let mut seen = HashSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        if let Some((_, element)) = matched.elements.iter().find(|(column, _)| column.id == id) {
            found.insert(element.place);
        }
        if let Some((_, function)) = matched.functions.iter().find(|(column, _)| column.id == id) {
            found.insert(function.place);
            waiting.extend(read_by(&function.body));
        }
    }
    found
}

/// The one part that a condition is on, with the condition for each of that part's nodes or edges; `None` when it is on several.
fn single_place<'m>(matched: &'m GraphMatch, filter: &'m BExpr) -> Option<(Place, &'m BExpr)> {
    let condition = match filter.kind {
        // `all` over a path is a condition on each of its hops, or of the nodes between them.
        BExprKind::Column(id) => match matched.functions.iter().find(|(column, _)| column.id == id) {
            Some((_, function)) if function.kind == PathFold::All => &function.body,
            _ => filter,
        },
        _ => filter,
    };
    let reads_function =
        read_by(condition).iter().any(|id| matched.functions.iter().any(|(column, _)| column.id == *id));
    let found = places(matched, condition);
    let mut found = found.iter();
    let (Some(place), None, false) = (found.next(), found.next(), reads_function) else { return None };
    let is_path = matches!(place, Place::Edge(edge) if matched.edges[*edge].range.is_some());
    if is_path { None } else { Some((*place, condition)) }
}
