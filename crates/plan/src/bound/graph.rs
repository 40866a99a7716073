//! Graphs in the bound tree: how they are made, and the operators that read them.
//!
//! A graph is no relation. Its nodes and edges have properties, whose ids are columns of no relation either: readers
//! name what they want of which part of a pattern (`Element`), under columns of their own.

use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::EdgeDirection;

use super::{BExpr, BoundColumn, ColumnId, Rel};

/// Identity of a graph inside one query; readers of equal ids share one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GraphId(pub u32);

/// A graph.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Its identity.
    pub id: GraphId,
    /// Where it comes from.
    pub op: GraphOp,
    /// The properties of its nodes. A graph made of another one keeps that one's ids.
    pub nodes: Vec<BoundColumn>,
    /// The properties of its edges.
    pub edges: Vec<BoundColumn>,
    /// The type of the nodes' ids; never dynamic.
    pub key: KqlType,
}

/// How a graph is made.
#[derive(Clone, Debug)]
pub enum GraphOp {
    /// Of tables.
    Make(Box<MakeGraph>),
    /// The nodes get one property more, the last one: the number of their component, from 0.
    Components { input: Arc<Graph>, is_strong: bool },
    /// The nodes that satisfy a predicate over `input.nodes`, and the edges between them.
    WhereNodes { input: Arc<Graph>, predicate: BExpr },
    /// All nodes, and the edges that satisfy a predicate over `input.edges`.
    WhereEdges { input: Arc<Graph>, predicate: BExpr },
}

/// A graph of tables. Nodes that only edges name have null properties but for their ids.
#[derive(Clone, Debug)]
pub struct MakeGraph {
    /// Rows that are nodes: one node per key, whose properties are those of all its rows.
    pub nodes: Vec<GraphPart>,
    /// Rows that are edges.
    pub edges: Vec<GraphPart>,
    /// Properties of nodes (positions in `Graph::nodes`) that are the key where no row gives a node another value.
    pub key_properties: Vec<usize>,
    /// Of several values of one node's property the last one counts, else the first; nulls and empty strings never do.
    pub last_wins: bool,
}

/// Rows that become nodes or edges.
#[derive(Clone, Debug)]
pub struct GraphPart {
    /// The rows.
    pub rel: Arc<Rel>,
    /// Columns of `rel`, and the positions of the properties that they are. Types agree.
    pub properties: Vec<(ColumnId, usize)>,
    /// The node's key, or those of source and target: of type `Graph::key`.
    pub keys: Vec<ColumnId>,
    /// Nodes of different partitions are different nodes, even with equal keys.
    pub partition: Option<ColumnId>,
    /// An array of labels.
    pub labels: Option<ColumnId>,
}

/// `graph-match` and `graph-shortest-paths`. The columns of the relation are among those of `elements` and `functions`.
#[derive(Clone, Debug)]
pub struct GraphMatch {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Nodes of the pattern; each name is one node, each `()` its own.
    pub nodes: usize,
    /// Edges of the pattern, which connect all its nodes.
    pub edges: Vec<MatchEdge>,
    /// The pattern has a sequence that comes back to one of its nodes.
    pub returns: bool,
    /// Which matches go round in circles.
    pub cycles: Cycles,
    /// Only the shortest matches between the first and the last node.
    pub shortest: Option<Shortest>,
    /// Values of parts of the pattern.
    pub elements: Vec<(BoundColumn, Element)>,
    /// Values over edges of variable length, in an order in which each reads earlier ones only.
    pub functions: Vec<(BoundColumn, PathFunction)>,
    /// All must be true.
    pub filters: Vec<BExpr>,
}

/// An edge of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchEdge {
    /// The node to the left of it.
    pub left: usize,
    /// The node to the right of it.
    pub right: usize,
    /// Where it leads.
    pub direction: EdgeDirection,
    /// Fewest and most hops of an edge of variable length.
    pub range: Option<(u32, u32)>,
}

/// Which matches go round in circles. Source: graph-match-operator page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycles {
    /// Any.
    All,
    /// No node twice.
    None,
    /// No edge twice.
    UniqueEdges,
}

/// `graph-shortest-paths`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortest {
    /// The first node of the pattern.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// `output=all`: all shortest paths of a pair of nodes rather than one.
    pub all: bool,
}

/// A value of a part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Element {
    /// Of which part.
    pub place: Place,
    /// What of it.
    pub property: Property,
}

/// A part of a pattern, by its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A node.
    Node(usize),
    /// An edge of one hop; of an edge of variable length: all of it.
    Edge(usize),
    /// Each hop of an edge of variable length, inside a `PathFunction` only.
    Hop(usize),
    /// Each node between the hops of an edge of variable length, inside a `PathFunction` only.
    InnerNode(usize),
}

/// What is read of a node or edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// A property of the graph's nodes or edges.
    Column(ColumnId),
    /// The node's id.
    Key,
    /// Edges that lead to the node: long.
    DegreeIn,
    /// Edges that leave the node: long.
    DegreeOut,
    /// An array of labels: dynamic.
    Labels,
    /// The number of the node's partition: long.
    Partition,
    /// Hops of an edge of variable length: long.
    Length,
}

/// A value computed over the hops, or the nodes between them, of an edge of variable length.
#[derive(Clone, Debug)]
pub struct PathFunction {
    /// `Hop` or `InnerNode`.
    pub place: Place,
    /// How the values become one.
    pub kind: PathFold,
    /// Computed for each; may also read the match's other elements and earlier functions.
    pub body: BExpr,
}

/// How the values along a path become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFold {
    /// Whether all are true: bool.
    All,
    /// Whether one is true: bool.
    Any,
    /// The array of them: dynamic.
    Map,
}

/// `graph-to-table`: the nodes or edges as rows. The columns of the relation are parallel to `columns`.
#[derive(Clone, Debug)]
pub struct GraphRows {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Nodes rather than edges.
    pub nodes: bool,
    /// What is read.
    pub columns: Vec<GraphColumn>,
}

/// A column of `graph-to-table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphColumn {
    /// A property.
    Property(ColumnId),
    /// The node's id.
    Key,
    /// The id of the edge's source.
    Source,
    /// The id of the edge's target.
    Target,
    /// The number of the partition: long.
    Partition,
}

impl Graph {
    /// This graph and those that it is made of, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &Graph> {
        std::iter::successors(Some(self), |graph| match &graph.op {
            GraphOp::Make(_) => None,
            GraphOp::Components { input, .. }
            | GraphOp::WhereNodes { input, .. }
            | GraphOp::WhereEdges { input, .. } => Some(input),
        })
    }

    /// The tables that it is made of.
    pub fn rels(&self) -> Vec<&Arc<Rel>> {
        self.chain()
            .filter_map(|graph| match &graph.op {
                GraphOp::Make(make) => Some(make.nodes.iter().chain(&make.edges).map(|part| &part.rel)),
                _ => None,
            })
            .flatten()
            .collect()
    }

    /// The predicates on the way to it.
    pub fn predicates(&self) -> Vec<&BExpr> {
        self.chain()
            .filter_map(|graph| match &graph.op {
                GraphOp::WhereNodes { predicate, .. } | GraphOp::WhereEdges { predicate, .. } => Some(predicate),
                _ => None,
            })
            .collect()
    }

    /// The ids of all its properties.
    pub fn properties(&self) -> impl Iterator<Item = ColumnId> {
        self.chain().flat_map(|graph| graph.nodes.iter().chain(&graph.edges)).map(|column| column.id)
    }

    /// Whether nodes have partitions.
    pub fn is_partitioned(&self) -> bool {
        self.chain().any(|graph| match &graph.op {
            GraphOp::Make(make) => make.edges.iter().any(|part| part.partition.is_some()),
            _ => false,
        })
    }
}
