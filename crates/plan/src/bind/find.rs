//! `find`: rows of many tables for which a predicate holds. Source: find-operator page.
//!
//! The predicate is bound for each table by itself, since a column may have another type in each.

use std::collections::HashMap;
use std::sync::Arc;

use tidewater_kql::ast::{Argument, Expr, ExprKind, FindColumn, Operator, OperatorKind};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::names::{NameTable, Wanted};
use crate::bind::search::has_bare_text;
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, Constant, Rel, RelOp};

/// A table with the rows found in it.
struct Leg {
    /// The table's own columns.
    columns: Vec<BoundColumn>,
    found: Arc<Rel>,
    label: String,
}

/// A column of the result.
struct Output {
    name: String,
    /// The column of the tables that it shows.
    source: String,
    ty: KqlType,
    /// Values of other types are converted; else they belong to another column of the result.
    converts: bool,
}

/// The types that each name has among the inputs, by first appearance.
type Types = HashMap<String, Vec<KqlType>>;

impl Binder<'_> {
    /// `find [in (tables)] where predicate [project ...]`.
    pub fn find_operator(&mut self, left: Option<Tabular>, operator: &Operator) -> Bound<Tabular> {
        let OperatorKind::Find { parameters, tables, predicate, project, smart } = &operator.kind else {
            return Err(Stopped);
        };
        let span = operator.span;
        let source = self
            .word(parameters, &["withsource", "with_source"])
            .and_then(|(_, word)| word)
            .unwrap_or_else(|| "source_".to_string());
        let inputs = self.searched(left, tables, "find", span)?;
        let types = types_of(inputs.iter().map(|input| &input.rel.columns));
        let mut mentioned = Vec::new();
        names_in(predicate, &mut mentioned);
        mentioned.retain(|name| types.contains_key(name));
        let legs = self.legs(inputs, predicate, &mentioned, &types, span)?;
        let types = types_of(legs.iter().map(|leg| &leg.columns));
        let mut packs = false;
        let outputs = match project {
            Some(project) if !smart => {
                packs = project.contains(&FindColumn::Pack);
                self.listed_outputs(project, &source, &types, &legs)?
            }
            _ => {
                let outputs = smart_outputs(&source, &mentioned, &types, &legs);
                // Columns that are not shown go into a bag.
                packs |= legs.iter().any(|leg| leg.columns.iter().any(|column| !shows(&outputs, &column.name)));
                outputs
            }
        };
        let rel = self.found_rows(legs, &source, &outputs, packs, span)?;
        Ok(Tabular::of(rel))
    }

    /// The tables in which the predicate can hold, filtered. A table without any of its columns is left out.
    fn legs(
        &mut self,
        inputs: Vec<Input>,
        predicate: &Expr,
        mentioned: &[String],
        types: &Types,
        span: Span,
    ) -> Bound<Vec<Leg>> {
        let labels = self.labels(&inputs, "find_arg");
        let everywhere = has_bare_text(predicate, &|name| types.contains_key(name)) || mentioned.is_empty();
        let has_several_types = mentioned.iter().any(|name| types[name].len() > 1);
        let mut legs = Vec::with_capacity(inputs.len());
        let mut refused = None;
        let mut failed = false;
        for (input, label) in inputs.into_iter().zip(labels) {
            if !everywhere && !mentioned.iter().any(|name| input.rel.column(name).is_some()) {
                continue;
            }
            let columns = input.rel.columns.clone();
            let mut items: Vec<(String, BExpr)> =
                columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
            for name in mentioned.iter().filter(|name| input.rel.column(name).is_none()) {
                items.push((name.clone(), BExpr::constant(Constant::null(types[name][0]))));
            }
            let whole =
                if items.len() == columns.len() { input.rel.clone() } else { self.project(input.rel, items, span)? };
            // Where a column has several types the predicate need not make sense for each.
            let bound = if has_several_types {
                self.attempt(|binder| binder.search_predicate(predicate, &whole.columns, false))
            } else {
                self.search_predicate(predicate, &whole.columns, false)
            };
            match bound {
                Ok(bound) => {
                    let found = self.filtered(&whole, bound, span)?;
                    legs.push(Leg { columns, found, label });
                }
                Err(Stopped) if has_several_types && !self.is_waiting() => refused = Some(whole),
                Err(Stopped) => failed = true,
            }
        }
        match refused {
            _ if failed => Err(Stopped),
            Some(whole) if legs.is_empty() => self.search_predicate(predicate, &whole.columns, false).and(Err(Stopped)),
            _ => Ok(legs),
        }
    }

    /// The columns of `project`, each one that some table has.
    fn listed_outputs(
        &mut self,
        project: &[FindColumn],
        source: &str,
        types: &Types,
        legs: &[Leg],
    ) -> Bound<Vec<Output>> {
        let mut outputs: Vec<Output> = Vec::with_capacity(project.len());
        let mut failed = false;
        for column in project {
            let FindColumn::Column(name, declared) = column else { continue };
            if name.text == source || outputs.iter().any(|output| output.name == name.text) {
                self.duplicate_column(&name.text, name.span);
                failed = true;
                continue;
            }
            let Some(found) = types.get(&name.text) else {
                let all: Vec<BoundColumn> = legs.iter().flat_map(|leg| leg.columns.clone()).collect();
                self.unresolved_column(&name.text, &all, name.span);
                failed = true;
                continue;
            };
            if declared.is_none() && found.len() > 1 {
                let names: Vec<&str> = found.iter().map(|ty| ty.name()).collect();
                let message = format!(
                    "column '{0}' has the types {1}: one must be chosen, {0}:{2}",
                    name.text,
                    names.join(", "),
                    names[0]
                );
                failed |= self.fail::<()>(diagnostic::GENERAL, name.span, message).is_err();
                continue;
            }
            let ty = declared.unwrap_or(found[0]);
            outputs.push(Output { name: name.text.clone(), source: name.text.clone(), ty, converts: true });
        }
        if failed { Err(Stopped) } else { Ok(outputs) }
    }

    fn found_rows(
        &mut self,
        legs: Vec<Leg>,
        source: &str,
        outputs: &[Output],
        packs: bool,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut table = NameTable::default();
        table.reserve(source);
        outputs.iter().for_each(|output| table.reserve(&output.name));
        let pack = table.give(&Wanted::Automatic("pack_".into()), |_| false).unwrap_or_else(|name| name.0);
        let mut columns = vec![self.fresh_column(source, KqlType::String)];
        columns.extend(outputs.iter().map(|output| self.fresh_column(&output.name, output.ty)));
        if packs {
            columns.push(self.fresh_column(&pack, KqlType::Dynamic));
        }
        let mut parts = Vec::with_capacity(legs.len());
        for leg in legs {
            let mut items = vec![(source.to_string(), BExpr::constant(Constant::string(leg.label)))];
            for output in outputs {
                let own = leg.columns.iter().find(|column| column.name == output.source);
                let expr = match own {
                    Some(column) if column.ty == output.ty => BExpr::column(column),
                    Some(column) if output.converts && converts(column.ty, output.ty) => {
                        self.convert(BExpr::column(column), output.ty)
                    }
                    _ => BExpr::constant(Constant::null(output.ty)),
                };
                items.push((output.name.clone(), expr));
            }
            if packs {
                let rest: Vec<(String, BExpr)> = leg
                    .columns
                    .iter()
                    .filter(|column| !shows(outputs, &column.name))
                    .map(|column| (column.name.clone(), BExpr::column(column)))
                    .collect();
                items.push((pack.clone(), self.bag_of(rest, false, span)?));
            }
            parts.push(self.project(leg.found, items, span)?);
        }
        if parts.is_empty() {
            return self.rel(RelOp::Rows { rows: Vec::new() }, columns, span);
        }
        self.rel(RelOp::Union { inputs: parts }, columns, span)
    }
}

/// `project-smart`: the columns that all tables have, then the others that the predicate names.
fn smart_outputs(source: &str, mentioned: &[String], types: &Types, legs: &[Leg]) -> Vec<Output> {
    let has = |leg: &Leg, name: &str| leg.columns.iter().any(|column| column.name == name);
    let first = legs.first().map(|leg| leg.columns.as_slice()).unwrap_or_default();
    let mut names: Vec<&str> = first.iter().map(|column| column.name.as_str()).collect();
    names.retain(|name| legs.iter().all(|leg| has(leg, name)));
    for name in mentioned {
        if types.contains_key(name) && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let is_single = |name: &str| types[name].len() == 1 && name != source;
    let mut table = NameTable::default();
    table.reserve(source);
    names.iter().filter(|name| is_single(name)).for_each(|name| table.reserve(name));
    let mut outputs = Vec::with_capacity(names.len());
    for name in names {
        for ty in &types[name] {
            let shown = if is_single(name) {
                name.to_string()
            } else {
                let wanted = Wanted::Automatic(format!("{name}_{ty}"));
                table.give(&wanted, |_| false).unwrap_or_else(|name| name.0)
            };
            outputs.push(Output { name: shown, source: name.to_string(), ty: *ty, converts: false });
        }
    }
    outputs
}

fn shows(outputs: &[Output], name: &str) -> bool {
    outputs.iter().any(|output| output.source == name)
}

/// Whether values of one type can be read as another.
fn converts(from: KqlType, to: KqlType) -> bool {
    tidewater_functions::convert::kernel(from, to).is_some()
}

fn types_of<'c>(tables: impl Iterator<Item = &'c Vec<BoundColumn>>) -> Types {
    let mut types = Types::new();
    for column in tables.flatten() {
        let known = types.entry(column.name.clone()).or_default();
        if !known.contains(&column.ty) {
            known.push(column.ty);
        }
    }
    types
}

/// The names that a predicate mentions, each once, in the order of the text.
fn names_in(expr: &Expr, names: &mut Vec<String>) {
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match &expr.kind {
            ExprKind::Name(name) if names.contains(&name.text) => {}
            ExprKind::Name(name) => names.push(name.text.clone()),
            ExprKind::Member { base, .. } | ExprKind::Unary { operand: base, .. } => waiting.push(base),
            ExprKind::Index { base, index } => waiting.extend([&**index, &**base]),
            ExprKind::Call { arguments, .. } => {
                waiting.extend(arguments.iter().rev().map(|Argument { value, .. }| value));
            }
            ExprKind::Binary { left, right, .. } => waiting.extend([&**right, &**left]),
            ExprKind::Chain { operands, .. } => waiting.extend(operands.iter().rev()),
            ExprKind::InList { operand, list, .. } => {
                waiting.extend(list.iter().rev());
                waiting.push(operand);
            }
            ExprKind::Between { operand, low, high, .. } => waiting.extend([&**high, &**low, &**operand]),
            _ => {}
        }
    }
}
