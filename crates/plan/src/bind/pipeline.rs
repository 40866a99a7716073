//! Pipelines: each operator in turn, and the operators that need no file of their own.

use std::sync::Arc;

use tidewater_kql::ast::{
    Argument, ColumnDeclaration, Expr, ExprKind, Name, Operator, OperatorKind, Pipeline, Property,
};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{Rel, RelOp, Value};

impl Binder<'_> {
    /// `source | operator | ...`.
    pub fn pipeline(&mut self, pipeline: &Pipeline, span: Span) -> Bound<Tabular> {
        let (tabular, rest) = match (&pipeline.source, pipeline.operators.split_first()) {
            (Some(source), _) => (self.tabular(source)?, pipeline.operators.as_slice()),
            (None, Some((first, rest))) => (self.source_operator(first)?, rest),
            (None, None) => return self.fail(diagnostic::SYNTAX, span, "a query has no operator"),
        };
        self.operators(tabular, rest)
    }

    /// Operators over a source.
    pub fn operators(&mut self, source: Tabular, operators: &[Operator]) -> Bound<Tabular> {
        let mut tabular = source;
        for operator in operators {
            if let Some(graph) = tabular.graph.take() {
                tabular = self.graph_operator(&graph, operator)?;
                continue;
            }
            if let OperatorKind::Render { visualization, properties } = &operator.kind
                && !tabular.branches.is_empty()
            {
                tabular = self.render_branches(tabular, visualization, properties)?;
                continue;
            }
            self.not_branched(&tabular, operator.span)?;
            let outer = std::mem::replace(&mut self.hidden, tabular.rel.hidden.clone());
            let result = self.operator(tabular, operator);
            self.hidden = outer;
            tabular = result?;
        }
        Ok(tabular)
    }

    /// The operators that need no input.
    fn source_operator(&mut self, operator: &Operator) -> Bound<Tabular> {
        let span = operator.span;
        match &operator.kind {
            OperatorKind::Print(items) => Ok(Tabular::of(self.print_operator(items, span)?)),
            OperatorKind::Range { name, from, to, step } => {
                Ok(Tabular::of(self.range_operator(name, from, to, step, span)?))
            }
            OperatorKind::Union { parameters, items } => self.union_operator(None, parameters, items, span),
            OperatorKind::Search { parameters, tables, predicate } => {
                self.search_operator(None, parameters, tables, predicate, span)
            }
            OperatorKind::Find { .. } => self.find_operator(None, operator),
            OperatorKind::Evaluate { parameters, plugin, arguments, schema } => {
                self.check_hints("evaluate", parameters, &[])?;
                self.evaluate_operator(None, plugin, arguments, schema.as_deref())
            }
            OperatorKind::MacroExpand { parameters, group, name, statements } => {
                self.macro_expand_operator(parameters, group, name.as_ref(), statements, span)
            }
            OperatorKind::Error => Err(self.syntax_error(span)),
            _ => self.fail(diagnostic::GENERAL, span, "this operator needs a table before it: T | ..."),
        }
    }

    fn operator(&mut self, tabular: Tabular, operator: &Operator) -> Bound<Tabular> {
        let span = operator.span;
        let input = &tabular.rel;
        let rel = match &operator.kind {
            OperatorKind::Where { predicate, .. } => self.where_operator(input, predicate, span)?,
            OperatorKind::Extend(items) => self.extend_operator(input, items, span)?,
            OperatorKind::Project(items) => self.project_operator(input, items, span)?,
            OperatorKind::ProjectAway(list) => self.project_away(input, list, span)?,
            OperatorKind::ProjectKeep(list) => self.project_keep(input, list, span)?,
            OperatorKind::ProjectByNames(list) => self.project_by_names(input, list, span)?,
            OperatorKind::ProjectRename(list) => self.project_rename(input, list, span)?,
            OperatorKind::ProjectReorder(list) => self.project_reorder(input, list, span)?,
            OperatorKind::Summarize { parameters, aggregates, by } => {
                self.summarize_operator(input, parameters, aggregates, by.as_deref().unwrap_or_default(), span)?
            }
            OperatorKind::Distinct { parameters, columns } => {
                self.distinct_operator(input, parameters, columns, span)?
            }
            OperatorKind::Sort { parameters, keys } => {
                self.check_hints("sort", parameters, &[&input.columns])?;
                self.sorted(input, keys, None, "sort", span)?
            }
            OperatorKind::Top { count, key, .. } => {
                let count = self.row_count(count, "top")?;
                self.sorted(input, std::slice::from_ref(key), Some(count), "top", span)?
            }
            OperatorKind::TopHitters { count, of, by } => self.top_hitters(input, count, of, by.as_ref(), span)?,
            OperatorKind::TopNested(levels) => self.top_nested(input, levels, span)?,
            OperatorKind::Take { count, .. } => {
                let count = self.row_count(count, "take")?;
                self.limited(input, count, span)?
            }
            OperatorKind::Sample { count } => {
                let count = self.row_count(count, "sample")?;
                self.rel(RelOp::Sample { input: input.clone(), count }, input.columns.clone(), span)?
            }
            OperatorKind::SampleDistinct { count, of, .. } => self.sample_distinct(input, count, of, span)?,
            OperatorKind::Count { name, .. } => self.count_operator(input, name.as_ref(), span)?,
            OperatorKind::Join { parameters, right, on } => self.join_operator(input, parameters, right, on, span)?,
            OperatorKind::Lookup { parameters, right, on } => {
                self.lookup_operator(input, parameters, right, on, span)?
            }
            OperatorKind::Union { parameters, items } => {
                return self.union_operator(Some(tabular), parameters, items, span);
            }
            OperatorKind::MvExpand { parameters, items, limit } => {
                self.mv_expand_operator(input, parameters, items, limit.as_ref(), span)?
            }
            OperatorKind::MvApply { parameters, items, limit, id, on } => {
                // The identity of the operator in traces: it changes no row.
                if let Some(id) = id {
                    let bound = self.expr(id, &mut Row::none())?;
                    self.constant(&bound, id.span, "'id' of 'mv-apply'")?;
                }
                self.mv_apply_operator(input, parameters, items, limit.as_ref(), on, span)?
            }
            OperatorKind::Parse { drop_unmatched, parameters, source, pattern } => {
                self.parse_operator(input, *drop_unmatched, parameters, source, pattern, span)?
            }
            OperatorKind::ParseKv { source, columns, properties } => {
                self.parse_kv_operator(input, source, columns, properties, span)?
            }
            OperatorKind::MakeSeries { .. } => self.make_series_operator(input, operator)?,
            OperatorKind::Serialize(items) => self.serialize_operator(input, items, span)?,
            OperatorKind::Partition { parameters, by, scope, body } => {
                if let Some(scope) = scope {
                    return self.not_served(scope.span, "'in' of 'partition' (what it does is not published)");
                }
                self.partition_operator(input, parameters, by, body, span)?
            }
            OperatorKind::Evaluate { parameters, plugin, arguments, schema } => {
                self.check_hints("evaluate", parameters, &[])?;
                return self.evaluate_operator(Some(tabular), plugin, arguments, schema.as_deref());
            }
            OperatorKind::Invoke { function, arguments } => {
                return self.invoke_operator(tabular, function, arguments, span);
            }
            OperatorKind::Consume(parameters) => {
                if let Some(parameter) = parameters.iter().find(|parameter| parameter.name.text == "decodeblocks")
                    && !matches!(parameter.value.kind, ExprKind::Literal(tidewater_kql::ast::Literal::Bool(_)))
                {
                    let span = parameter.value.span;
                    return self.fail(diagnostic::ARGUMENT_TYPE, span, "'decodeblocks' of 'consume' is true or false");
                }
                let empty = self.limited(input, 0, span)?;
                self.project(empty, Vec::new(), span)?
            }
            OperatorKind::GetSchema(parameters) => self.getschema_operator(input, parameters, span)?,
            OperatorKind::As { parameters, name } => return self.as_operator(tabular, parameters, name, span),
            OperatorKind::Render { visualization, properties } => {
                let object = self.render(visualization, properties, input)?;
                return Ok(Tabular { visualization: Some(object), table: None, ..tabular });
            }
            OperatorKind::Fork(branches) => return self.fork_operator(input, branches, span),
            OperatorKind::Facet { by, with } => return self.facet_operator(input, by, with.as_deref(), span),
            OperatorKind::Search { parameters, tables, predicate } => {
                return self.search_operator(Some(tabular), parameters, tables, predicate, span);
            }
            OperatorKind::Find { .. } => return self.find_operator(Some(tabular), operator),
            OperatorKind::AssertSchema(columns) => self.assert_schema(input, columns, span)?,
            OperatorKind::ExecuteAndCache => input.clone(),
            OperatorKind::Scan { .. } => self.scan_operator(input, operator)?,
            OperatorKind::Reduce { parameters, by, with } => self.reduce_operator(input, parameters, by, with, span)?,
            OperatorKind::MacroExpand { .. } => {
                return self.fail(diagnostic::GENERAL, span, "'macro-expand' takes no input");
            }
            OperatorKind::MakeGraph(graph) => return self.make_graph(input, graph, span),
            OperatorKind::GraphMatch(_)
            | OperatorKind::GraphMarkComponents(_)
            | OperatorKind::GraphToTable(_)
            | OperatorKind::GraphWhereNodes(_)
            | OperatorKind::GraphWhereEdges(_) => return self.graph_expected(span),
            OperatorKind::Print(_) => return self.fail(diagnostic::GENERAL, span, "'print' takes no input"),
            OperatorKind::Range { .. } => return self.fail(diagnostic::GENERAL, span, "'range' takes no input"),
            OperatorKind::Error => return Err(self.syntax_error(span)),
        };
        Ok(Tabular::of(rel))
    }

    fn where_operator(&mut self, input: &Arc<Rel>, predicate: &Expr, span: Span) -> Bound<Arc<Rel>> {
        let mut row = Row::with_windows(&input.columns, input.is_serialized);
        let predicate = self.predicate(predicate, &mut row)?;
        let source = self.with_windows(input.clone(), row.windows.take(), span)?;
        let columns = source.columns.clone();
        let filtered = self.rel(RelOp::Filter { input: source, predicate }, columns, span)?;
        if filtered.columns.len() == input.columns.len() {
            return Ok(filtered);
        }
        self.columns_only(&filtered, &input.columns, span)
    }

    /// Rows that satisfy a bound predicate.
    pub fn filtered(&mut self, input: &Arc<Rel>, predicate: crate::bound::BExpr, span: Span) -> Bound<Arc<Rel>> {
        self.rel(RelOp::Filter { input: input.clone(), predicate }, input.columns.clone(), span)
    }

    /// `as name`: a name for the rows from here on, and for the result.
    fn as_operator(&mut self, tabular: Tabular, parameters: &[Property], name: &Name, span: Span) -> Bound<Tabular> {
        let materialized = parameters.iter().any(|parameter| {
            parameter.name.text == "hint.materialized" && crate::bind::join::is_true(&parameter.value)
        });
        let rel = if materialized { self.materialized(tabular.rel, span)? } else { tabular.rel };
        self.define(&name.text, Binding::Table(rel.clone()));
        // The definition may be used beside these rows, so these go on under ids of their own.
        let rel = self.relabeled(&rel, span)?;
        Ok(Tabular { rel, name: Some(name.text.clone()), table: None, ..tabular })
    }

    /// `getschema`. Source: getschema-operator page.
    fn getschema_operator(&mut self, input: &Arc<Rel>, parameters: &[Property], span: Span) -> Bound<Arc<Rel>> {
        match self.word(parameters, &["kind"]) {
            None => {}
            // One row with the columns as `name:type, ...` of `datatable`.
            Some((_, Some(word))) if word == "csl" => {
                let schema: Vec<String> = input
                    .columns
                    .iter()
                    .map(|column| format!("{}:{}", tidewater_kql::printer::quoted_name(&column.name), column.ty.name()))
                    .collect();
                let column = self.fresh_column("Schema", KqlType::String);
                return self.rel(RelOp::Rows { rows: vec![vec![Value::String(schema.join(","))]] }, vec![column], span);
            }
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "'getschema' has the kind csl only");
            }
        }
        let rows = input
            .columns
            .iter()
            .enumerate()
            .map(|(ordinal, column)| {
                vec![
                    Value::String(column.name.clone()),
                    Value::Long(ordinal as i64),
                    Value::String(column.ty.system_name().to_string()),
                    Value::String(column.ty.name().to_string()),
                ]
            })
            .collect();
        let columns = vec![
            self.fresh_column("ColumnName", KqlType::String),
            self.fresh_column("ColumnOrdinal", KqlType::Long),
            self.fresh_column("DataType", KqlType::String),
            self.fresh_column("ColumnType", KqlType::String),
        ];
        // Source: serialize-operator page: its rows are serialized.
        let rel = self.rel(RelOp::Rows { rows }, columns, span)?;
        Ok(Arc::new(Rel { is_serialized: true, ..(*rel).clone() }))
    }

    /// `invoke f(...)`: the rows are the function's first tabular argument.
    fn invoke_operator(&mut self, tabular: Tabular, name: &Name, arguments: &[Argument], span: Span) -> Bound<Tabular> {
        let function = match self.lookup(&name.text) {
            Some(Binding::Function(function)) => function,
            Some(Binding::Failed) => return Err(Stopped),
            _ => {
                let database = self.database.clone();
                match self.stored_function(&database, name)? {
                    Some(function) => function,
                    None => return self.unknown_function(name),
                }
            }
        };
        match self.invoke_function(&function, arguments, Some(tabular), &mut Row::none(), span)? {
            AnyValue::Table(tabular) => Ok(Tabular { name: None, ..tabular }),
            AnyValue::Scalar(_) => self.table_expected(span),
        }
    }

    /// `assert-schema (a: long, ...)`: exactly these columns.
    fn assert_schema(&mut self, input: &Arc<Rel>, wanted: &[ColumnDeclaration], span: Span) -> Bound<Arc<Rel>> {
        let fits = wanted.len() == input.columns.len()
            && wanted
                .iter()
                .zip(&input.columns)
                .all(|(wanted, column)| wanted.name.text == column.name && wanted.ty == column.ty);
        if fits {
            return Ok(input.clone());
        }
        let found: Vec<String> = input.columns.iter().map(|column| format!("{}: {}", column.name, column.ty)).collect();
        let message = format!("the schema is not as asserted: it is ({})", found.join(", "));
        Err(self.report(Diagnostic::new(diagnostic::GENERAL, span, message)))
    }

    /// `kind=inner` or `kind=outer`, which is the default, of an operator that unites tables.
    pub fn is_inner(&mut self, operator: &str, parameters: &[Property]) -> Bound<bool> {
        match self.word(parameters, &["kind"]) {
            None => Ok(false),
            Some((_, Some(word))) if word == "outer" => Ok(false),
            Some((_, Some(word))) if word == "inner" => Ok(true),
            Some((name, _)) => {
                let message = format!("'{operator}' has the kinds inner and outer");
                self.fail(diagnostic::NOT_IN_LIST, name.span, message)
            }
        }
    }

    /// The words of an operator's parameter: `kind=inner`.
    ///
    /// The name that is given with it has the place of the value, where a wrong word is reported.
    pub fn word(&self, parameters: &[Property], names: &[&str]) -> Option<(Name, Option<String>)> {
        let parameter = parameters.iter().find(|parameter| names.contains(&parameter.name.text.as_str()))?;
        let word = match &parameter.value.kind {
            ExprKind::Name(name) => Some(name.text.clone()),
            ExprKind::Literal(tidewater_kql::ast::Literal::String(text)) => Some(text.clone()),
            ExprKind::Literal(tidewater_kql::ast::Literal::Bool(Some(flag))) => Some(flag.to_string()),
            _ => None,
        };
        Some((Name { text: parameter.name.text.clone(), span: parameter.value.span }, word))
    }
}
