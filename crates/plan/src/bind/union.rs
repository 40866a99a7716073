//! `union`. Source: union-operator page; kql-behaviour section 11.

use std::collections::HashMap;
use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, Property};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::join::is_true;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::project_names::matches_pattern;
use crate::bind::scope::Binding;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, Constant, Rel, RelOp};

/// An input and the label that `withsource` shows.
pub(crate) struct Input {
    pub rel: Arc<Rel>,
    /// Database and name of a bare table; a `view` has no database.
    pub table: Option<(Option<String>, String)>,
}

impl Binder<'_> {
    /// `union kind=... withsource=... isfuzzy=... items`, with the piped rows as the first input.
    pub fn union_operator(
        &mut self,
        left: Option<Tabular>,
        parameters: &[Property],
        items: &[Expr],
        span: Span,
    ) -> Bound<Tabular> {
        let is_fuzzy = parameters.iter().any(|parameter| {
            matches!(parameter.name.text.as_str(), "isfuzzy" | "best_effort") && is_true(&parameter.value)
        });
        let is_inner = match self.word(parameters, &["kind"]) {
            None => false,
            Some((_, Some(word))) if word == "outer" => false,
            Some((_, Some(word))) if word == "inner" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "'union' has the kinds inner and outer");
            }
        };
        let source = self.word(parameters, &["withsource", "with_source"]).and_then(|(_, word)| word);
        let mut inputs: Vec<Input> = left.into_iter().map(|left| Input { rel: left.rel, table: None }).collect();
        let mut failed = false;
        for item in items {
            match self.union_item(item, is_fuzzy) {
                Ok(found) => inputs.extend(found),
                Err(Stopped) => failed = true,
            }
        }
        if failed {
            return Err(Stopped);
        }
        if inputs.is_empty() {
            return self.fail(diagnostic::UNRESOLVED, span, "none of the tables of 'union' could be resolved");
        }
        let rel = self.united(inputs, source.as_deref(), "union_arg", is_inner, span)?;
        Ok(Tabular::of(rel))
    }

    /// The inputs that one item of a list of tables means.
    pub fn union_item(&mut self, item: &Expr, is_fuzzy: bool) -> Bound<Vec<Input>> {
        let pattern = match &item.kind {
            ExprKind::Wildcard(name) => Some((self.database.clone(), name.text.clone())),
            ExprKind::Star => Some((self.database.clone(), "*".to_string())),
            // A pattern knows no wildcards: `p("x").["*"]` is the path `*`.
            ExprKind::Member { base, name } if name.text.contains('*') && self.pattern_reference(item).is_none() => {
                Some((self.database_of(base)?, name.text.clone()))
            }
            _ => None,
        };
        if let Some((database, pattern)) = pattern {
            return self.wildcard_tables(&database, &pattern, matches!(item.kind, ExprKind::Member { .. }), item.span);
        }
        let resolved =
            if is_fuzzy { self.attempt(|binder| binder.single_table(item)) } else { self.single_table(item) };
        match resolved {
            Ok(tabular) => Ok(vec![Input { rel: tabular.rel, table: tabular.table }]),
            // A table that does not resolve drops out; anything that waits for a value does not.
            Err(Stopped) if is_fuzzy && !self.is_waiting() => Ok(Vec::new()),
            Err(stopped) => Err(stopped),
        }
    }

    /// Tables, and `view` functions of the query, whose names fit; in the order of their creation.
    pub fn wildcard_tables(
        &mut self,
        database: &str,
        pattern: &str,
        other_database: bool,
        span: Span,
    ) -> Bound<Vec<Input>> {
        let mut inputs = Vec::new();
        for name in self.view.table_names(database) {
            if matches_pattern(pattern, &name) {
                let tabular = self.scan(database, &name, span)?;
                inputs.push(Input { rel: tabular.rel, table: tabular.table });
            }
        }
        if !other_database {
            for (name, binding) in self.visible_bindings() {
                if let Binding::Function(function) = binding
                    && function.lambda.is_view
                    && function.lambda.parameters.is_empty()
                    && matches_pattern(pattern, &name)
                {
                    let reference = Expr { kind: ExprKind::Name(tidewater_kql::ast::Name { text: name, span }), span };
                    let tabular = self.single_table(&reference)?;
                    inputs.push(Input { rel: tabular.rel, table: tabular.table });
                }
            }
        }
        if inputs.is_empty() {
            let message = format!("the wildcard '{pattern}' matches no table of database '{database}'");
            return Err(self.report(Diagnostic::new(diagnostic::UNRESOLVED, span, message)));
        }
        Ok(inputs)
    }

    /// Aligns the inputs by column name and type; a name with several types is split into one column per type.
    pub fn united(
        &mut self,
        inputs: Vec<Input>,
        source: Option<&str>,
        label: &str,
        is_inner: bool,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let groups = grouped_columns(&inputs, source, is_inner);
        let labels = source.map(|_| self.labels(&inputs, label));
        let mut columns = Vec::new();
        if let Some(source) = source {
            columns.push(self.fresh_column(source, KqlType::String));
        }
        for (name, _, ty) in &groups {
            columns.push(self.fresh_column(name, *ty));
        }
        let mut aligned = Vec::with_capacity(inputs.len());
        for (position, input) in inputs.iter().enumerate() {
            let mut items = Vec::with_capacity(columns.len());
            if let Some(labels) = &labels {
                items.push((columns[0].name.clone(), BExpr::constant(Constant::string(labels[position].clone()))));
            }
            for (name, original, ty) in &groups {
                let found = input.rel.column(original).filter(|column| column.ty == *ty);
                let expr = match found {
                    Some(column) => BExpr::column(column),
                    None => BExpr::constant(Constant::null(*ty)),
                };
                items.push((name.clone(), expr));
            }
            aligned.push(self.project(input.rel.clone(), items, span)?);
        }
        self.rel(RelOp::Union { inputs: aligned }, columns, span)
    }

    /// A bare table shows its name, everything else `union_argN`; with another database involved tables are qualified.
    fn labels(&self, inputs: &[Input], label: &str) -> Vec<String> {
        let current = self.view.current_database();
        let is_foreign =
            |(database, _): &(Option<String>, String)| database.as_ref().is_some_and(|database| database != current);
        let qualified = inputs.iter().any(|input| input.table.as_ref().is_some_and(is_foreign));
        inputs
            .iter()
            .enumerate()
            .map(|(position, input)| match &input.table {
                Some((Some(database), name)) if qualified => format!("database(\"{database}\").{name}"),
                Some((_, name)) => name.clone(),
                None => format!("{label}{position}"),
            })
            .collect()
    }
}

/// The result's columns: final name, name in the inputs, type.
fn grouped_columns(inputs: &[Input], source: Option<&str>, is_inner: bool) -> Vec<(String, String, KqlType)> {
    let mut order: Vec<String> = Vec::new();
    let mut types: HashMap<String, Vec<KqlType>> = HashMap::new();
    let mut occurrences: HashMap<String, usize> = HashMap::new();
    for input in inputs {
        for column in &input.rel.columns {
            *occurrences.entry(column.name.clone()).or_default() += 1;
            let known = types.entry(column.name.clone()).or_insert_with(|| {
                order.push(column.name.clone());
                Vec::new()
            });
            if !known.contains(&column.ty) {
                known.push(column.ty);
            }
        }
    }
    if is_inner {
        order.retain(|name| occurrences[name] == inputs.len());
    }
    let single = |name: &String| types[name].len() == 1 && source != Some(name.as_str());
    // Names that stay as they are keep out the split ones, wherever they stand.
    let mut table = NameTable::default();
    if let Some(source) = source {
        table.reserve(source);
    }
    for name in order.iter().filter(|name| single(name)) {
        table.reserve(name);
    }
    let mut columns = Vec::new();
    for name in &order {
        if single(name) {
            columns.push((name.clone(), name.clone(), types[name][0]));
            continue;
        }
        for ty in &types[name] {
            let wanted = Wanted::Automatic(format!("{name}_{ty}"));
            let given = table.give(&wanted, |_| false).unwrap_or_else(|name| name.0);
            columns.push((given, name.clone(), *ty));
        }
    }
    columns
}
