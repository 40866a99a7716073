//! The graph operators.
//!
//! Arrows such as `-[` and `]->` are several tokens without blanks between them.

use super::{P, Parser};
use crate::ast::{EdgeDirection, GraphMatch, GraphOutput, MakeGraph, Name, OperatorKind, PatternEdge, PatternElement};
use crate::lexer::TokenKind;

use TokenKind::{CloseBracket, Greater, Less, Minus, OpenBracket};

impl Parser<'_> {
    /// Whether these kinds stand here without blanks between them.
    fn at_glued(&self, kinds: &[TokenKind]) -> bool {
        kinds
            .iter()
            .enumerate()
            .all(|(ahead, kind)| self.kind_at(ahead) == *kind && (ahead == 0 || self.lexeme(ahead).glued))
    }

    fn eat_glued(&mut self, kinds: &[TokenKind]) -> bool {
        let found = self.at_glued(kinds);
        if found {
            for _ in kinds {
                self.bump();
            }
        }
        found
    }

    pub(super) fn make_graph(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        let source = self.any_name("the name of a column")?;
        let is_directed = self.eat_glued(&[Minus, Minus, Greater]);
        if !is_directed && !self.eat_glued(&[Minus, Minus]) {
            return Err(self.expected("'-->'"));
        }
        let target = self.any_name("the name of a column")?;
        let mut nodes = Vec::new();
        let mut node_id = None;
        if self.at_word("with_node_id") && self.kind_at(1) == TokenKind::Equal {
            self.bump();
            self.bump();
            node_id = Some(self.declared_name()?);
        } else if self.eat_word("with") {
            nodes = self.comma_list(|parser| {
                let table = parser.table_reference()?;
                parser.expect_word("on")?;
                Ok((table, parser.any_name("the name of a column")?))
            })?;
        }
        let mut partition = None;
        if self.at_word("partitioned") && self.kind_at(1) == Minus && self.is_word(2, "by") {
            for _ in 0..3 {
                self.bump();
            }
            let column = self.any_name("the name of a column")?;
            partition = Some((column, self.parenthesized_pipeline()?));
        }
        let graph = MakeGraph { parameters, source, is_directed, target, nodes, node_id, partition };
        Ok(OperatorKind::MakeGraph(Box::new(graph)))
    }

    pub(super) fn graph_match(&mut self, is_shortest: bool) -> P<OperatorKind> {
        let parameters = self.parameters(if is_shortest { &["output", "cycles"] } else { &["cycles"] })?;
        let patterns = self.comma_list(Self::pattern)?;
        let predicate = if self.eat_word("where") { Some(self.expression()?) } else { None };
        let project = if self.eat_word("project") { Some(self.named_list()?) } else { None };
        let graph = GraphMatch { is_shortest, parameters, patterns, predicate, project };
        Ok(OperatorKind::GraphMatch(Box::new(graph)))
    }

    /// A sequence: nodes with edges between them.
    fn pattern(&mut self) -> P<Vec<PatternElement>> {
        let mut elements = vec![self.pattern_node()?];
        while let Some(edge) = self.pattern_edge()? {
            elements.push(PatternElement::Edge(edge));
            elements.push(self.pattern_node()?);
        }
        Ok(elements)
    }

    fn pattern_node(&mut self) -> P<PatternElement> {
        let start = self.span();
        if !self.at(TokenKind::OpenParen) {
            return Err(self.expected("a node of the pattern: '(name)'"));
        }
        self.bump();
        let name = if self.at(TokenKind::CloseParen) { None } else { Some(self.declared_name()?) };
        self.expect(TokenKind::CloseParen)?;
        Ok(PatternElement::Node(name, self.since(start)))
    }

    fn pattern_edge(&mut self) -> P<Option<PatternEdge>> {
        let start = self.span();
        let bare = if self.eat_glued(&[Minus, Minus, Greater]) {
            Some(EdgeDirection::Forward)
        } else if self.eat_glued(&[Less, Minus, Minus]) {
            Some(EdgeDirection::Backward)
        } else if self.eat_glued(&[Minus, Minus]) {
            Some(EdgeDirection::Any)
        } else {
            None
        };
        if let Some(direction) = bare {
            return Ok(Some(PatternEdge { name: None, direction, range: None, span: self.since(start) }));
        }
        let is_backward = self.eat_glued(&[Less, Minus, OpenBracket]);
        if !is_backward && !self.eat_glued(&[Minus, OpenBracket]) {
            return Ok(None);
        }
        let name = self.edge_name()?;
        let range = if self.eat(TokenKind::Star) {
            let low = self.postfix()?;
            self.expect(TokenKind::DotDot)?;
            Some((low, self.postfix()?))
        } else {
            None
        };
        let direction = match is_backward {
            false if self.eat_glued(&[CloseBracket, Minus, Greater]) => EdgeDirection::Forward,
            true if !self.at_glued(&[CloseBracket, Minus, Greater]) && self.eat_glued(&[CloseBracket, Minus]) => {
                EdgeDirection::Backward
            }
            false if self.eat_glued(&[CloseBracket, Minus]) => EdgeDirection::Any,
            true => return Err(self.expected("']-'")),
            false => return Err(self.expected("']->' or ']-'")),
        };
        Ok(Some(PatternEdge { name, direction, range, span: self.since(start) }))
    }

    fn edge_name(&mut self) -> P<Option<Name>> {
        if matches!(self.kind(), TokenKind::Star | CloseBracket) { Ok(None) } else { self.declared_name().map(Some) }
    }

    /// `nodes` or `edges` of `graph-to-table`; the name and the parameters stand in any order.
    pub(super) fn graph_output(&mut self) -> P<GraphOutput> {
        const PARAMETERS: &[&str] = &["with_node_id", "with_source_id", "with_target_id"];
        let start = self.span();
        let is_nodes = self.at_word("nodes");
        if !is_nodes && !self.at_word("edges") {
            return Err(self.expected("'nodes' or 'edges'"));
        }
        self.bump();
        let mut parameters = self.parameters(PARAMETERS)?;
        let name = if self.eat_word("as") { Some(self.declared_name()?) } else { None };
        parameters.extend(self.parameters(PARAMETERS)?);
        Ok(GraphOutput { is_nodes, name, parameters, span: self.since(start) })
    }
}
