//! Graph operators as text.

use super::{OR, PRIMARY, Printer};
use crate::ast::{EdgeDirection, GraphMatch, GraphOutput, MakeGraph, PatternEdge, PatternElement};

impl Printer {
    pub(super) fn make_graph(&mut self, graph: &MakeGraph) {
        self.push("make-graph");
        self.parameters(&graph.parameters);
        self.push(" ");
        self.name(&graph.source);
        self.push(if graph.is_directed { " --> " } else { " -- " });
        self.name(&graph.target);
        if let Some(name) = &graph.node_id {
            self.push(" with_node_id=");
            self.name(name);
        }
        if !graph.nodes.is_empty() {
            self.push(" with ");
            self.list(&graph.nodes, |printer, (table, id)| {
                printer.expression(table, PRIMARY);
                printer.push(" on ");
                printer.name(id);
            });
        }
        if let Some((column, pipeline)) = &graph.partition {
            self.push(" partitioned-by ");
            self.name(column);
            self.push(" (");
            self.pipeline(pipeline);
            self.push(")");
        }
    }

    pub(super) fn graph_match(&mut self, graph: &GraphMatch) {
        self.push(if graph.is_shortest { "graph-shortest-paths" } else { "graph-match" });
        self.parameters(&graph.parameters);
        self.push(" ");
        self.list(&graph.patterns, |printer, pattern| {
            for element in pattern {
                printer.pattern_element(element);
            }
        });
        if let Some(predicate) = &graph.predicate {
            self.push(" where ");
            self.expression(predicate, OR);
        }
        if let Some(items) = &graph.project {
            self.push(" project ");
            self.named_list(items);
        }
    }

    fn pattern_element(&mut self, element: &PatternElement) {
        match element {
            PatternElement::Node(name, _) => {
                self.push("(");
                if let Some(name) = name {
                    self.name(name);
                }
                self.push(")");
            }
            PatternElement::Edge(edge) => self.pattern_edge(edge),
        }
    }

    fn pattern_edge(&mut self, edge: &PatternEdge) {
        if edge.name.is_none() && edge.range.is_none() {
            self.push(match edge.direction {
                EdgeDirection::Forward => "-->",
                EdgeDirection::Backward => "<--",
                EdgeDirection::Any => "--",
            });
            return;
        }
        self.push(if edge.direction == EdgeDirection::Backward { "<-[" } else { "-[" });
        if let Some(name) = &edge.name {
            self.name(name);
        }
        if let Some((low, high)) = &edge.range {
            self.push("*");
            self.expression(low, PRIMARY);
            self.push(" .. ");
            self.expression(high, PRIMARY);
        }
        self.push(if edge.direction == EdgeDirection::Forward { "]->" } else { "]-" });
    }

    pub(super) fn graph_output(&mut self, output: &GraphOutput) {
        self.push(if output.is_nodes { "nodes" } else { "edges" });
        if let Some(name) = &output.name {
            self.push(" as ");
            self.name(name);
        }
        self.parameters(&output.parameters);
    }
}
