//! `graph("model")`: graphs that the catalog keeps. Source: graph-function, graph-model-overview pages.

use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{Argument, Name};
use tidewater_kql::{Column, Diagnostic, KqlType, Span, diagnostic, parse_function_body};

use crate::bind::graph::Source;
use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::{Env, FunctionDef};
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, Rel, RelOp, Value};
use crate::graph_model::{GraphLabel, GraphModel, GraphRows, GraphStep, GraphStepKind, GraphVersion};

impl Binder<'_> {
    /// `graph("M")`, `graph("M", "snapshot")`, `graph("M", true)`.
    pub fn stored_graph(&mut self, database: &str, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        self.count("graph", arguments.len(), 1, 2, span)?;
        let name = self.text_argument(&arguments[0], "the name of graph()")?;
        let mut snapshot = None;
        let mut is_transient = false;
        if let Some(argument) = arguments.get(1) {
            let value = self.expr(&argument.value, &mut Row::none())?;
            match self.constant(&value, argument.value.span, "the second argument of graph()")?.value {
                Value::String(name) => snapshot = Some(name),
                Value::Bool(flag) => is_transient = flag,
                _ => {
                    let message = "the second argument of graph() is the name of a snapshot or a bool";
                    return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                }
            }
        }
        let version = match &snapshot {
            Some(name) => GraphVersion::Snapshot(name),
            None if is_transient => GraphVersion::Transient,
            None => GraphVersion::Latest,
        };
        let Some(model) = self.view.graph(database, &name, version) else {
            let names = self.view.graph_names(database);
            let is_model = names.contains(&name);
            let message = match &snapshot {
                Some(snapshot) if is_model => {
                    format!("Failed to resolve snapshot '{snapshot}' of graph model '{name}'")
                }
                _ => format!("Failed to resolve graph model named '{name}'"),
            };
            let span = match arguments.get(1) {
                Some(snapshot) if is_model => snapshot.value.span,
                // The reference parser points to the word `graph`.
                _ => Span::new(span.start as usize, span.start as usize + "graph".len()),
            };
            let diagnostic = Diagnostic::new(diagnostic::UNRESOLVED, span, message);
            return Err(self.report(diagnostic.hint_nearest(&name, names.iter().map(String::as_str))));
        };
        self.model_graph(&model, span)
    }

    /// The graph of a model's steps.
    fn model_graph(&mut self, model: &GraphModel, span: Span) -> Bound<Tabular> {
        let mut nodes = Vec::new();
        let mut edges = Vec::new();
        for step in &model.steps {
            let rel = self.step_rows(model, step, span)?;
            let labels = self.step_labels(model, step, &rel, span)?;
            let mut keys = Vec::new();
            let names: &[&String] = match &step.kind {
                GraphStepKind::AddNodes { id } => &[id],
                GraphStepKind::AddEdges { source, target } => &[source, target],
            };
            for name in names {
                let name = Name { text: (*name).clone(), span };
                keys.push(self.key_column(&name, &rel.columns)?);
            }
            let source = Source { rel, keys, partition: None, labels: Some(labels) };
            match step.kind {
                GraphStepKind::AddNodes { .. } => nodes.push(source),
                GraphStepKind::AddEdges { .. } => edges.push(source),
            }
        }
        let node_schema = properties(&model.node_labels);
        let edge_schema = properties(&model.edge_labels);
        // Source: graph-model-overview page: of several steps' values the last one counts.
        let graph = self.graph_of(nodes, edges, &node_schema, &edge_schema, true, span)?;
        self.graph_value(Arc::new(graph), span)
    }

    fn step_rows(&mut self, model: &GraphModel, step: &GraphStep, span: Span) -> Bound<Arc<Rel>> {
        let text = match &step.rows {
            GraphRows::Query(text) => text,
            GraphRows::Stored(table) => {
                let columns: Vec<BoundColumn> =
                    table.schema.columns.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
                let projection = (0..columns.len()).collect();
                let rel = self.rel(RelOp::Table { table: table.clone(), projection }, columns, span)?;
                return Ok(Arc::new(Rel { hidden: None, ..rel.as_ref().clone() }));
            }
        };
        let parsed = parse_function_body("()", &format!("{{{text}\n}}"));
        let lambda = match (parsed.tree, parsed.diagnostics.into_iter().next()) {
            (Some(lambda), None) => lambda,
            (_, Some(mistake)) => {
                let message = format!("a query of graph model '{}' cannot be read: {}", model.name, mistake.message);
                return self.fail(diagnostic::SYNTAX, span, message);
            }
            (None, None) => return Err(Stopped),
        };
        let name = format!("graph model {}", model.name);
        let function = Rc::new(FunctionDef {
            name: name.clone(),
            lambda,
            env: Some(Env::ROOT),
            database: model.database.clone(),
            restriction: None,
        });
        // Places inside the model's text mean nothing to the caller.
        let outer = self.foreign.clone();
        self.foreign.get_or_insert((span, name));
        let result = self.invoke_function(&function, &[], None, &mut Row::none(), span);
        self.foreign = outer;
        match result? {
            AnyValue::Table(tabular) => {
                self.one_table(&tabular, span)?;
                Ok(tabular.rel)
            }
            AnyValue::Scalar(_) => self.table_expected(span),
        }
    }

    /// The labels of a step's rows: its own, then those that a column gives.
    fn step_labels(&mut self, model: &GraphModel, step: &GraphStep, rel: &Arc<Rel>, span: Span) -> Bound<BExpr> {
        let array = |labels: &[String]| {
            let labels = labels.iter().map(|label| serde_json::Value::from(label.clone())).collect();
            let value = Value::Dynamic(serde_json::Value::Array(labels).to_string());
            BExpr::constant(Constant { value, ty: KqlType::Dynamic })
        };
        let own = array(&step.labels);
        let Some(name) = &step.labels_column else { return Ok(own) };
        let Some(column) = rel.column(name) else {
            let message = format!(
                "graph model '{}' takes labels from a column '{name}' that its query does not have",
                model.name
            );
            return self.fail(diagnostic::UNRESOLVED, span, message);
        };
        let value = BExpr::column(column);
        let single = self.registry_expr("pack_array", vec![value.clone()], span)?;
        let is_empty = BExpr { kind: BExprKind::IsEmpty(Box::new(value.clone())), ty: KqlType::Bool };
        let mut branches = vec![(is_empty, array(&[]))];
        match column.ty {
            KqlType::String => {}
            KqlType::Dynamic => {
                let kind = self.registry_expr("gettype", vec![value.clone()], span)?;
                let wanted = BExpr::constant(Constant::string("array"));
                branches.push((self.binary(tidewater_kql::ast::BinaryOp::Equal, kind, wanted, span)?, value));
            }
            ty => {
                let message = format!("the column '{name}' of labels must be string or dynamic, but is {ty}");
                return self.fail(diagnostic::GENERAL, span, message);
            }
        }
        let more = BExpr { kind: BExprKind::Case { branches, otherwise: Box::new(single) }, ty: KqlType::Dynamic };
        if step.labels.is_empty() { Ok(more) } else { self.registry_expr("array_concat", vec![own, more], span) }
    }
}

/// The properties of all labels.
fn properties(labels: &[GraphLabel]) -> Vec<(String, KqlType)> {
    labels.iter().flat_map(|label| &label.properties).map(|Column { name, ty }| (name.clone(), *ty)).collect()
}
