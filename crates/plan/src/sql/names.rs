//! Names in SQL are matched without regard to case, as the tables' own spelling is often mixed.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::SqlFault;
use crate::catalog::TableHandle;

/// Refuses `FROM t SNAPSHOT ...`, which the parser would read as an alias.
pub(super) fn refuse_snapshot_clause(statement: &Statement) -> Result<(), SqlFault> {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::Table { alias: Some(alias), .. }
                    if alias.name.quote_style.is_none() && alias.name.value.eq_ignore_ascii_case("snapshot") =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match Visit::visit(statement, &mut Finder) {
        ControlFlow::Break(()) => Err(SqlFault::not_served("the clause SNAPSHOT")),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Gives unquoted names of columns and qualifiers the spelling of the one thing they can mean.
pub(super) fn match_case(statement: &mut Statement, tables: &[Arc<TableHandle>]) {
    let mut known = Spellings::default();
    for table in tables {
        known.add(&table.name);
        for column in &table.schema.columns {
            known.add(&column.name);
        }
    }
    let mut collector = Collector { known };
    let _ = Visit::visit(&*statement, &mut collector);
    let _ = VisitMut::visit(statement, &mut Respell { known: collector.known });
}

/// Known names by their lower-case form.
#[derive(Default)]
struct Spellings {
    exact: HashSet<String>,
    folded: HashMap<String, Vec<String>>,
}

impl Spellings {
    fn add(&mut self, name: &str) {
        if self.exact.insert(name.to_string()) {
            self.folded.entry(name.to_lowercase()).or_default().push(name.to_string());
        }
    }

    fn respell(&self, ident: &mut Ident) {
        if ident.quote_style.is_some() || self.exact.contains(&ident.value) {
            return;
        }
        if let Some([only]) = self.folded.get(&ident.value.to_lowercase()).map(Vec::as_slice) {
            ident.value = only.clone();
        }
    }
}

/// Adds the names that the statement itself defines.
struct Collector {
    known: Spellings,
}

impl Visitor for Collector {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor
        {
            self.known.add(&alias.name.value);
            for column in &alias.columns {
                self.known.add(&column.name.value);
            }
        }
        if let TableFactor::Table { name, alias: None, .. } = factor
            && let Some(ident) = name.0.last().and_then(|part| part.as_ident())
        {
            self.known.add(&ident.value);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.known.add(&table.alias.name.value);
            for column in &table.alias.columns {
                self.known.add(&column.name.value);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.known.add(&alias.value);
            }
        }
        ControlFlow::Continue(())
    }
}

struct Respell {
    known: Spellings,
}

impl VisitorMut for Respell {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.known.respell(ident),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| self.known.respell(part)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
