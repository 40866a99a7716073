//! `make-graph` and the operators that change a graph or turn it into tables. Source: make-graph, graph-mark-components,
//! graph-to-table pages.

use std::sync::Arc;

use tidewater_kql::ast::{self, GraphOutput, Name, Operator, OperatorKind, Pipeline, Property};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::conversion::common_type;
use crate::bind::partitioned::Partition;
use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{
    BExpr, BoundColumn, BoundResult, Graph, GraphColumn, GraphOp, GraphPart, GraphRows, MakeGraph, Rel, RelOp,
};

/// Graphs made of each other.
const MAX_GRAPH_DEPTH: usize = 200;

/// A table that becomes nodes or edges, before its columns are aligned with those of others.
pub(crate) struct Source {
    pub rel: Arc<Rel>,
    pub keys: Vec<BoundColumn>,
    pub partition: Option<BoundColumn>,
    /// An array of labels.
    pub labels: Option<BExpr>,
}

impl Binder<'_> {
    /// `make-graph`, with the subquery of `partitioned-by`.
    pub fn make_graph(&mut self, input: &Arc<Rel>, make: &ast::MakeGraph, span: Span) -> Bound<Tabular> {
        if !make.is_directed {
            return self.not_served(span, "'--' of 'make-graph'");
        }
        let source = self.key_column(&make.source, &input.columns);
        let target = self.key_column(&make.target, &input.columns);
        let mut nodes = Vec::with_capacity(make.nodes.len());
        for (table, id) in &make.nodes {
            let rel = self.single_table(table)?.rel;
            let key = self.key_column(id, &rel.columns)?;
            nodes.push(Source { rel, keys: vec![key], partition: None, labels: None });
        }
        let mut edges = Source { rel: input.clone(), keys: vec![source?, target?], partition: None, labels: None };
        if let Some((column, _)) = &make.partition {
            for source in nodes.iter_mut().chain([&mut edges]) {
                source.partition = Some(self.key_column(column, &source.rel.columns)?);
            }
        }
        let mut graph = self.graph_of(nodes, vec![edges], &[], &[], false, span)?;
        if let Some(name) = &make.node_id {
            let column = self.fresh_column(&name.text, graph.key);
            graph.nodes = vec![column];
            if let GraphOp::Make(make) = &mut graph.op {
                make.key_properties = vec![0];
            }
        }
        match &make.partition {
            None => self.graph_value(Arc::new(graph), span),
            Some((_, pipeline)) => self.partitioned_graph(&Arc::new(graph), pipeline, span),
        }
    }

    /// A column of ids: any type but dynamic.
    pub fn key_column(&mut self, name: &Name, columns: &[BoundColumn]) -> Bound<BoundColumn> {
        let Some(column) = columns.iter().find(|column| column.name == name.text) else {
            return Err(self.unresolved_column(&name.text, columns, name.span));
        };
        if column.ty == KqlType::Dynamic {
            let message =
                "the ids of sources, targets, nodes and partitions cannot be dynamic: convert them, as with tostring()";
            return self.fail(diagnostic::GENERAL, name.span, message);
        }
        Ok(column.clone())
    }

    /// A graph of tables. Columns of one name become one property, of their common type. `node_schema` and `edge_schema`
    /// are properties that exist whether or not a table has them.
    pub fn graph_of(
        &mut self,
        nodes: Vec<Source>,
        edges: Vec<Source>,
        node_schema: &[(String, KqlType)],
        edge_schema: &[(String, KqlType)],
        last_wins: bool,
        span: Span,
    ) -> Bound<Graph> {
        let keys = || nodes.iter().chain(&edges).flat_map(|source| &source.keys).map(|column| column.ty);
        let Some(key) = common_type(keys()) else {
            let mut types: Vec<&str> = keys().map(KqlType::name).collect();
            types.dedup();
            let message =
                format!("the ids of sources, targets and nodes must have one type, but are {}", types.join(", "));
            return self.fail(diagnostic::GENERAL, span, message);
        };
        let mut partitions = nodes.iter().chain(&edges).filter_map(|source| source.partition.as_ref().map(|c| c.ty));
        let first = partitions.next();
        if partitions.any(|ty| Some(ty) != first) {
            let message = "the column of 'partitioned-by' must have the same type in the tables of edges and nodes";
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let node_columns = self.unified_properties(&nodes, node_schema);
        let edge_columns = self.unified_properties(&edges, edge_schema);
        let mut key_properties = Vec::new();
        for source in &nodes {
            let at = node_columns.iter().position(|column| column.name == source.keys[0].name);
            if let Some(at) = at.filter(|at| !key_properties.contains(at) && node_columns[*at].ty != KqlType::Dynamic) {
                key_properties.push(at);
            }
        }
        let part = |binder: &mut Self, sources: Vec<Source>, columns: &[BoundColumn]| {
            sources
                .into_iter()
                .map(|source| binder.graph_part_of(source, columns, key, span))
                .collect::<Bound<Vec<_>>>()
        };
        let make = MakeGraph {
            nodes: part(self, nodes, &node_columns)?,
            edges: part(self, edges, &edge_columns)?,
            key_properties,
            last_wins,
        };
        let id = self.fresh_graph();
        Ok(Graph { id, op: GraphOp::Make(Box::new(make)), nodes: node_columns, edges: edge_columns, key })
    }

    fn unified_properties(&mut self, sources: &[Source], schema: &[(String, KqlType)]) -> Vec<BoundColumn> {
        let mut found: Vec<(String, KqlType)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        let columns = sources.iter().flat_map(|source| &source.rel.columns).map(|column| (&column.name, column.ty));
        for (name, ty) in columns.chain(schema.iter().map(|(name, ty)| (name, *ty))) {
            match places.get(name) {
                None => {
                    places.insert(name.clone(), found.len());
                    found.push((name.clone(), ty));
                }
                Some(place) => {
                    let known: &mut (String, KqlType) = &mut found[*place];
                    let is_dynamic = known.1 != ty && [known.1, ty].contains(&KqlType::Dynamic);
                    known.1 = match common_type([known.1, ty]) {
                        Some(ty) if !is_dynamic => ty,
                        _ => KqlType::Dynamic,
                    };
                }
            }
        }
        found.into_iter().map(|(name, ty)| self.fresh_column(name, ty)).collect()
    }

    /// The rows of a source with its properties, keys, partition and labels as columns of their own.
    fn graph_part_of(&mut self, source: Source, columns: &[BoundColumn], key: KqlType, span: Span) -> Bound<GraphPart> {
        let places: std::collections::HashMap<&str, usize> =
            columns.iter().enumerate().map(|(at, column)| (column.name.as_str(), at)).collect();
        let mut items = Vec::new();
        let mut made = Vec::new();
        let mut add = |binder: &mut Self, expr: BExpr| {
            let column = binder.fresh_column("", expr.ty);
            items.push(expr);
            made.push(column.clone());
            column.id
        };
        let mut properties = Vec::with_capacity(source.rel.columns.len());
        for column in &source.rel.columns {
            let Some(at) = places.get(column.name.as_str()) else { continue };
            let value = self.common(BExpr::column(column), columns[*at].ty, span)?;
            properties.push((add(self, value), *at));
        }
        let mut keys = Vec::with_capacity(source.keys.len());
        for column in &source.keys {
            let value = self.convert(BExpr::column(column), key);
            keys.push(add(self, value));
        }
        let partition = source.partition.map(|column| add(self, BExpr::column(&column)));
        let labels = source.labels.map(|labels| add(self, labels));
        let rel = self.rel(RelOp::Project { input: source.rel, items }, made, span)?;
        Ok(GraphPart { rel, properties, keys, partition, labels })
    }

    /// A graph where a table could stand.
    pub fn graph_value(&mut self, graph: Arc<Graph>, span: Span) -> Bound<Tabular> {
        if graph.chain().count() > MAX_GRAPH_DEPTH {
            let message =
                format!("the query is too complex: more than {MAX_GRAPH_DEPTH} graphs are made of one another");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let rel = self.rel(RelOp::Rows { rows: Vec::new() }, Vec::new(), span)?;
        Ok(Tabular { graph: Some(graph), ..Tabular::of(rel) })
    }

    /// A graph operator stands behind a table.
    pub fn graph_expected<T>(&mut self, span: Span) -> Bound<T> {
        self.fail(
            diagnostic::GENERAL,
            span,
            "this operator reads a graph: 'make-graph' or graph() must stand before it",
        )
    }

    /// An operator over a graph.
    pub fn graph_operator(&mut self, graph: &Arc<Graph>, operator: &Operator) -> Bound<Tabular> {
        let span = operator.span;
        match &operator.kind {
            OperatorKind::GraphMatch(pattern) => Ok(Tabular::of(self.graph_match(graph, pattern, None, span)?)),
            OperatorKind::GraphToTable(outputs) => self.graph_to_table(graph, outputs, span),
            _ => match self.changed_graph(graph, operator)? {
                Some(graph) => self.graph_value(graph, span),
                None if matches!(operator.kind, OperatorKind::Error) => Err(self.syntax_error(span)),
                None => {
                    let message = "this operator reads a table, but a graph stands before it: graph operators such as 'graph-match' read it";
                    self.fail(diagnostic::GENERAL, span, message)
                }
            },
        }
    }

    /// The operators that give a graph again.
    fn changed_graph(&mut self, input: &Arc<Graph>, operator: &Operator) -> Bound<Option<Arc<Graph>>> {
        let mut nodes = input.nodes.clone();
        let op = match &operator.kind {
            OperatorKind::GraphMarkComponents(parameters) => {
                let is_strong = match self.word(parameters, &["kind"]) {
                    None => false,
                    Some((_, Some(word))) if word == "weak" => false,
                    Some((_, Some(word))) if word == "strong" => true,
                    Some((name, _)) => {
                        let span = name.span;
                        return self.fail(
                            diagnostic::NOT_IN_LIST,
                            span,
                            "'graph-mark-components' has the kinds weak and strong",
                        );
                    }
                };
                let name = self.parameter_name(parameters, "with_component_id")?;
                let name = name.unwrap_or_else(|| "ComponentId".to_string());
                nodes.retain(|column| column.name != name);
                nodes.push(self.fresh_column(name, KqlType::Long));
                GraphOp::Components { input: input.clone(), is_strong }
            }
            OperatorKind::GraphWhereNodes(predicate) => {
                let predicate = self.predicate(predicate, &mut Row::of(&input.nodes))?;
                GraphOp::WhereNodes { input: input.clone(), predicate }
            }
            OperatorKind::GraphWhereEdges(predicate) => {
                let predicate = self.predicate(predicate, &mut Row::of(&input.edges))?;
                GraphOp::WhereEdges { input: input.clone(), predicate }
            }
            _ => return Ok(None),
        };
        let id = self.fresh_graph();
        Ok(Some(Arc::new(Graph { id, op, nodes, edges: input.edges.clone(), key: input.key })))
    }

    /// The name that a parameter gives.
    fn parameter_name(&mut self, parameters: &[Property], name: &str) -> Bound<Option<String>> {
        match self.word(parameters, &[name]) {
            None => Ok(None),
            Some((_, Some(word))) if !word.is_empty() => Ok(Some(word)),
            Some((parameter, _)) => {
                let span = parameter.span;
                self.fail(diagnostic::GENERAL, span, format!("'{name}' must be the name of a column"))
            }
        }
    }

    /// `graph-to-table`: one result, or both under names that later statements may use.
    fn graph_to_table(&mut self, graph: &Arc<Graph>, outputs: &[GraphOutput], span: Span) -> Bound<Tabular> {
        if let [output] = outputs {
            let rel = self.graph_rows(graph, output, None)?;
            if let Some(name) = &output.name {
                self.define(&name.text, Binding::Table(rel.clone()));
                let rel = self.relabeled(&rel, span)?;
                return Ok(Tabular { name: Some(name.text.clone()), ..Tabular::of(rel) });
            }
            return Ok(Tabular::of(rel));
        }
        let [first, second] = outputs else {
            return self.fail(diagnostic::GENERAL, span, "'graph-to-table' has one or two results: nodes and edges");
        };
        if first.is_nodes == second.is_nodes {
            return self.fail(diagnostic::GENERAL, span, "two results of 'graph-to-table' must be nodes and edges");
        }
        let mut branches = Vec::with_capacity(outputs.len());
        let mut failed = false;
        for output in outputs {
            let Some(name) = &output.name else {
                let message = "two results of 'graph-to-table' need names: nodes as N, edges as E";
                self.report(Diagnostic::new(diagnostic::GENERAL, output.span, message));
                failed = true;
                continue;
            };
            let rel = self.graph_rows(graph, output, None)?;
            self.define(&name.text, Binding::Table(rel.clone()));
            let rel = self.relabeled(&rel, span)?;
            branches.push(BoundResult { name: Some(name.text.clone()), rel, visualization: None });
        }
        match branches.first() {
            Some(first) if !failed => Ok(Tabular { branches: branches.clone(), ..Tabular::of(first.rel.clone()) }),
            _ => Err(Stopped),
        }
    }

    /// The results of a query that ends in a graph: its nodes and its edges, with ids by which they belong together.
    pub fn graph_results(&mut self, graph: &Arc<Graph>, span: Span) -> Bound<Vec<BoundResult>> {
        let mut results = Vec::with_capacity(2);
        for (name, is_nodes, ids) in [("Nodes", true, &["node"][..]), ("Edges", false, &["source", "target"][..])] {
            let properties = if is_nodes { &graph.nodes } else { &graph.edges };
            let mut parameters = Vec::new();
            for id in ids {
                let mut column = format!("{}{}Id", id[..1].to_uppercase(), &id[1..]);
                while properties.iter().any(|property| property.name == column) {
                    column.push('_');
                }
                let named = |text: String| Name { text, span };
                let value = ast::Expr { kind: ast::ExprKind::Name(named(column)), span };
                parameters.push(Property { name: named(format!("with_{id}_id")), value });
            }
            let output = GraphOutput { is_nodes, name: None, parameters, span };
            let rel = self.graph_rows(graph, &output, None)?;
            results.push(BoundResult { name: Some(name.to_string()), rel, visualization: None });
        }
        Ok(results)
    }

    /// The rows of nodes or edges; with a `carry`, the partition's number is the last column.
    fn graph_rows(&mut self, graph: &Arc<Graph>, output: &GraphOutput, carry: Option<&BoundColumn>) -> Bound<Arc<Rel>> {
        let span = output.span;
        let allowed: &[(&str, GraphColumn)] = match output.is_nodes {
            true => &[("with_node_id", GraphColumn::Key)],
            false => &[("with_source_id", GraphColumn::Source), ("with_target_id", GraphColumn::Target)],
        };
        for parameter in &output.parameters {
            if !allowed.iter().any(|(name, _)| *name == parameter.name.text) {
                let message = format!("'{}' does not belong to these rows", parameter.name.text);
                return self.fail(diagnostic::NOT_IN_LIST, parameter.name.span, message);
            }
        }
        let mut read = Vec::new();
        let mut items: Vec<(String, BExpr)> = Vec::new();
        for (parameter, column) in allowed {
            if let Some(name) = self.parameter_name(&output.parameters, parameter)? {
                let key = self.fresh_column("", graph.key);
                // Source: graph-to-table page, whose ids are those of hash().
                let hash = self.registry_expr("hash", vec![BExpr::column(&key)], span)?;
                items.push((name, hash));
                read.push((key, *column));
            }
        }
        let properties = if output.is_nodes { &graph.nodes } else { &graph.edges };
        for property in properties {
            if items.iter().any(|(name, _)| *name == property.name) {
                self.duplicate_column(&property.name, span);
                return Err(Stopped);
            }
            let column = self.fresh_column(&property.name, property.ty);
            items.push((property.name.clone(), BExpr::column(&column)));
            read.push((column, GraphColumn::Property(property.id)));
        }
        if let Some(carry) = carry {
            items.push((String::new(), BExpr::column(carry)));
            read.push((carry.clone(), GraphColumn::Partition));
        }
        let (made, columns) = read.into_iter().unzip();
        let rows = GraphRows { graph: graph.clone(), nodes: output.is_nodes, columns };
        let rel = self.rel(RelOp::GraphRows(Box::new(rows)), made, span)?;
        self.project(rel, items, span)
    }

    /// `partitioned-by`: the subquery for each partition's graph. Nodes of different partitions are different nodes of one
    /// graph, so the graph's operators run once; what follows them runs per partition.
    fn partitioned_graph(&mut self, graph: &Arc<Graph>, pipeline: &Pipeline, span: Span) -> Bound<Tabular> {
        let mut graph = graph.clone();
        let mut operators = pipeline.operators.iter();
        let carry = self.fresh_column("", KqlType::Long);
        let full = loop {
            let Some(operator) = operators.next() else {
                return self.fail(diagnostic::GENERAL, span, "the subquery of 'partitioned-by' must give a table");
            };
            match &operator.kind {
                OperatorKind::GraphMatch(pattern) => {
                    break self.graph_match(&graph, pattern, Some(&carry), operator.span)?;
                }
                OperatorKind::GraphToTable(outputs) => match outputs.as_slice() {
                    [output] if output.name.is_none() => break self.graph_rows(&graph, output, Some(&carry))?,
                    _ => return self.not_served(operator.span, "results with names inside 'partitioned-by'"),
                },
                _ => match self.changed_graph(&graph, operator)? {
                    Some(changed) => graph = changed,
                    None => return self.fail(diagnostic::GENERAL, operator.span, "a graph operator is expected here"),
                },
            }
        };
        let visible: Vec<BoundColumn> = full.columns.iter().filter(|column| column.id != carry.id).cloned().collect();
        let source = self.columns_only(&full, &visible, span)?;
        let rest = operators.as_slice();
        if rest.is_empty() {
            return Ok(Tabular::of(source));
        }
        let body = self.subquery(&full, source, rest, span)?;
        let groups = self.graph_partitions(&graph, span)?;
        let partition = Partition::new(full.clone(), full, vec![carry], Some(groups));
        let (rel, _) = self.partitioned(&body, partition, span)?;
        Ok(Tabular::of(self.columns_only(&rel, &body.columns, span)?))
    }

    /// The numbers of a graph's partitions.
    fn graph_partitions(&mut self, graph: &Arc<Graph>, span: Span) -> Bound<Arc<Rel>> {
        let number = self.fresh_column("", KqlType::Long);
        let rows = GraphRows { graph: graph.clone(), nodes: true, columns: vec![GraphColumn::Partition] };
        let rel = self.rel(RelOp::GraphRows(Box::new(rows)), vec![number.clone()], span)?;
        let key = BExpr::column(&number);
        let op = RelOp::Aggregate { input: rel, keys: vec![key], aggregates: Vec::new() };
        let grouped = self.fresh_column("", KqlType::Long);
        self.rel(op, vec![grouped], span)
    }
}
