//! Columns of one SELECT that are called alike: the engine wants names that differ, the dialect does not.
//!
//! Each repeated one gets the first free number behind its name, as the columns of a result do.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, Statement as Ast, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

/// Names the repeated columns of a statement.
pub(super) fn name_repeated(statement: &mut Ast) {
    let _ = VisitMut::visit(statement, &mut Selects);
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let sources: HashSet<String> = select.from.iter().flat_map(source_names).collect();
        let is_source = |ident: &Ident| sources.contains(&ident.value.to_lowercase());
        let title = |expr: &Expr| title(expr, &is_source);
        // A wildcard has all columns already.
        let has_all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
        let mut taken: HashSet<String> = HashSet::new();
        let explicit = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_lowercase()),
            SelectItem::UnnamedExpr(expr) => Some(title(expr).to_lowercase()),
            _ => None,
        });
        let all: HashSet<String> = explicit.collect();
        for item in &mut select.projection {
            let (own, quote, is_column) = match item {
                SelectItem::ExprWithAlias { alias, .. } => (alias.value.clone(), alias.quote_style, false),
                SelectItem::UnnamedExpr(expr) => {
                    let is_column = match expr {
                        Expr::Identifier(_) => true,
                        Expr::CompoundIdentifier(parts) => parts.len() == 2 && is_source(&parts[0]),
                        _ => false,
                    };
                    (title(expr), Some('"'), is_column)
                }
                _ => continue,
            };
            let repeats = !taken.insert(own.to_lowercase()) || (has_all && is_column);
            if !repeats {
                continue;
            }
            let fresh = (1..)
                .map(|n| format!("{own}{n}"))
                .find(|name| !all.contains(&name.to_lowercase()) && !taken.contains(&name.to_lowercase()));
            let Some(fresh) = fresh else { continue };
            taken.insert(fresh.to_lowercase());
            let alias = match quote {
                Some(quote) => Ident::with_quote(quote, fresh),
                None => Ident::new(fresh),
            };
            *item = match item.clone() {
                SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => {
                    SelectItem::ExprWithAlias { expr, alias }
                }
                other => other,
            };
        }
        ControlFlow::Continue(())
    }
}

/// The names by which a FROM clause's tables are called, in lower case.
fn source_names(from: &TableWithJoins) -> Vec<String> {
    let all = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    let name = |factor: &TableFactor| match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.to_lowercase())
        }
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().map(|ident| ident.value.to_lowercase()),
        _ => None,
    };
    all.filter_map(name).collect()
}

/// The name that a column has without one; members of structs are called by their whole path.
fn title(expr: &Expr, is_source: &dyn Fn(&Ident) -> bool) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) if parts.len() == 2 && is_source(&parts[0]) => parts[1].value.clone(),
        other => other.to_string(),
    }
}
