//! The graph operators' parts of the tree.

use super::{Expr, Name, NamedExpr, Pipeline, Property};
use crate::span::Span;

/// `make-graph source --> target [with nodes on id, ... | with_node_id=name] [partitioned-by column ( pipeline )]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MakeGraph {
    /// `hint.strategy=...`.
    pub parameters: Vec<Property>,
    /// The column of the source's id.
    pub source: Name,
    /// `-->`; otherwise `--`.
    pub is_directed: bool,
    /// The column of the target's id.
    pub target: Name,
    /// `with T on id`: tables of nodes and their columns of ids.
    pub nodes: Vec<(Expr, Name)>,
    /// `with_node_id=name`.
    pub node_id: Option<Name>,
    /// `partitioned-by column ( pipeline )`.
    pub partition: Option<(Name, Pipeline)>,
}

/// `graph-match` and `graph-shortest-paths`.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphMatch {
    /// `graph-shortest-paths`.
    pub is_shortest: bool,
    /// `cycles=...`, `output=...`.
    pub parameters: Vec<Property>,
    /// Sequences of nodes and edges, separated by commas.
    pub patterns: Vec<Vec<PatternElement>>,
    /// `where`.
    pub predicate: Option<Expr>,
    /// `project`.
    pub project: Option<Vec<NamedExpr>>,
}

/// A part of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternElement {
    /// `(name)`, `()`.
    Node(Option<Name>, Span),
    /// `-[name*1..3]->` and its like.
    Edge(PatternEdge),
}

impl PatternElement {
    /// Its place.
    pub fn span(&self) -> Span {
        match self {
            PatternElement::Node(_, span) => *span,
            PatternElement::Edge(edge) => edge.span,
        }
    }
}

/// An edge of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternEdge {
    /// The name in the brackets.
    pub name: Option<Name>,
    /// Where it leads.
    pub direction: EdgeDirection,
    /// `*low..high`.
    pub range: Option<(Expr, Expr)>,
    /// Its place.
    pub span: Span,
}

/// Where an edge of a pattern leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeDirection {
    /// `-->`: from the left node to the right one.
    Forward,
    /// `<--`
    Backward,
    /// `--`
    Any,
}

/// A result of `graph-to-table`: `nodes [as name] [with_node_id=name]`, `edges [as name] [with_source_id=name] [with_target_id=name]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOutput {
    /// `nodes`; otherwise `edges`.
    pub is_nodes: bool,
    /// `as name`.
    pub name: Option<Name>,
    /// `with_node_id=`, `with_source_id=`, `with_target_id=`.
    pub parameters: Vec<Property>,
    /// Its place.
    pub span: Span,
}
