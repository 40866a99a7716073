//! `union`. Source: union-operator page; kql-behaviour section 11.

use std::collections::HashMap;
use std::sync::Arc;

use tidewater_kql::ast::{Argument, Expr, ExprKind, Literal, Name, Property};
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

impl Input {
    /// A table, a view or rows named by `as`. Source: as-operator page.
    pub fn of(tabular: Tabular) -> Input {
        let Tabular { rel, table, name, .. } = tabular;
        Input { rel, table: table.or_else(|| name.map(|name| (None, name))) }
    }

    /// The rows before `union`: a table among them is not named, rows named by `as` are.
    fn piped(tabular: Tabular) -> Input {
        match tabular.table {
            None => Input::of(tabular),
            Some(_) => Input { rel: tabular.rel, table: None },
        }
    }
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
        let is_fuzzy = self.flag("best_effort")
            || parameters.iter().any(|parameter| {
                matches!(parameter.name.text.as_str(), "isfuzzy" | "best_effort") && is_true(&parameter.value)
            });
        self.check_hints("union", parameters, &[])?;
        let is_inner = self.is_inner("union", parameters)?;
        let source = self.word(parameters, &["withsource", "with_source"]).and_then(|(_, word)| word);
        let mut inputs: Vec<Input> = left.into_iter().map(Input::piped).collect();
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
        self.within_entities(inputs.len(), span)?;
        let rel = self.united(inputs, source.as_deref(), "union_arg", is_inner, span)?;
        Ok(Tabular::of(rel))
    }

    /// The inputs that one item of a list of tables means. With `is_fuzzy` what does not resolve drops out.
    pub fn union_item(&mut self, item: &Expr, is_fuzzy: bool) -> Bound<Vec<Input>> {
        let found = match &item.kind {
            ExprKind::Wildcard(name) => Some(self.matching_tables(&self.database.clone(), &name.text, item.span)),
            ExprKind::Star => Some(self.matching_tables(&self.database.clone(), "*", item.span)),
            // A pattern knows no wildcards: `p("x").["*"]` is the path `*`.
            ExprKind::Member { base, name } if self.pattern_reference(item).is_none() => {
                self.tables_of_databases(base, name, is_fuzzy)
            }
            _ => None,
        };
        if let Some(found) = found {
            return match found {
                Ok(found) if found.is_empty() && !is_fuzzy => self.nothing_matches(item),
                Err(Stopped) if is_fuzzy && !self.is_waiting() => Ok(Vec::new()),
                found => found,
            };
        }
        let resolved =
            if is_fuzzy { self.attempt(|binder| binder.single_table(item)) } else { self.single_table(item) };
        match resolved {
            Ok(tabular) => Ok(vec![Input::of(tabular)]),
            // A table that does not resolve drops out; anything that waits for a value does not.
            Err(Stopped) if is_fuzzy && !self.is_waiting() => Ok(Vec::new()),
            Err(stopped) => Err(stopped),
        }
    }

    /// `database("x*").T*`: tables of every database that fits; `None` when neither part has a wildcard.
    fn tables_of_databases(&mut self, base: &Expr, name: &Name, is_fuzzy: bool) -> Option<Bound<Vec<Input>>> {
        let pattern = database_pattern(base);
        if pattern.is_none() && !name.text.contains('*') {
            return None;
        }
        let databases = match pattern {
            Some((cluster, pattern)) => {
                if let Some(cluster) = cluster
                    && let Err(stopped) = self.own_cluster(cluster)
                {
                    return Some(Err(stopped));
                }
                let pattern = pattern.to_lowercase();
                let names = self.view.database_names();
                names.into_iter().filter(|name| matches_pattern(&pattern, &name.to_lowercase())).collect()
            }
            None => {
                let database =
                    if is_fuzzy { self.attempt(|binder| binder.database_of(base)) } else { self.database_of(base) };
                match database {
                    Ok(database) => vec![database],
                    Err(stopped) => return Some(Err(stopped)),
                }
            }
        };
        let mut inputs = Vec::new();
        for database in databases {
            for table in self.view.table_names(&database) {
                if matches_pattern(&name.text, &table) {
                    match self.scan(&database, &table, name.span) {
                        Ok(tabular) => inputs.push(Input { rel: tabular.rel, table: tabular.table }),
                        Err(stopped) => return Some(Err(stopped)),
                    }
                }
            }
            match self.stored_views(&database, &name.text, name.span) {
                Ok(found) => inputs.extend(found),
                Err(stopped) => return Some(Err(stopped)),
            }
        }
        Some(Ok(inputs))
    }

    fn nothing_matches<T>(&mut self, item: &Expr) -> Bound<T> {
        let message = match &item.kind {
            ExprKind::Wildcard(name) | ExprKind::Member { name, .. } => {
                format!("Failed to resolve table expression named '{}': no table matches", name.text)
            }
            _ => format!("database '{}' has no table", self.database),
        };
        self.fail(diagnostic::UNRESOLVED, item.span, message)
    }

    /// Tables and the query's views whose names fit; none is a mistake.
    pub fn wildcard_tables(&mut self, database: &str, pattern: &str, span: Span) -> Bound<Vec<Input>> {
        let inputs = self.matching_tables(database, pattern, span)?;
        if inputs.is_empty() {
            let message = format!("the wildcard '{pattern}' matches no table of database '{database}'");
            return Err(self.report(Diagnostic::new(diagnostic::UNRESOLVED, span, message)));
        }
        Ok(inputs)
    }

    /// Tables of a database, then `view` functions of the query, whose names fit; in the order of their creation.
    fn matching_tables(&mut self, database: &str, pattern: &str, span: Span) -> Bound<Vec<Input>> {
        let mut inputs = Vec::new();
        for name in self.view.table_names(database) {
            if matches_pattern(pattern, &name) {
                let tabular = self.scan(database, &name, span)?;
                inputs.push(Input { rel: tabular.rel, table: tabular.table });
            }
        }
        inputs.extend(self.stored_views(database, pattern, span)?);
        for (name, binding) in self.visible_bindings() {
            if let Binding::Function(function) = binding
                && function.lambda.is_view
                && function.lambda.parameters.is_empty()
                && matches_pattern(pattern, &name)
            {
                let reference = Expr { kind: ExprKind::Name(Name { text: name, span }), span };
                let tabular = self.single_table(&reference)?;
                inputs.push(Input { rel: tabular.rel, table: tabular.table });
            }
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
    pub fn labels(&self, inputs: &[Input], label: &str) -> Vec<String> {
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

/// `database("x*")`, with the cluster before it.
fn database_pattern(base: &Expr) -> Option<(Option<&Expr>, &str)> {
    let ExprKind::Call { base: cluster, name, arguments } = &base.kind else { return None };
    match arguments.as_slice() {
        [Argument { name: None, value }] if name.text == "database" => match &value.kind {
            ExprKind::Literal(Literal::String(pattern)) if pattern.contains('*') => {
                Some((cluster.as_deref(), pattern.as_str()))
            }
            _ => None,
        },
        _ => None,
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
