//! Statements of a query.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, ExprKind, Name, Script, StatementKind};
use tidewater_kql::{Span, diagnostic};

use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::BoundResult;

impl Binder<'_> {
    /// Every statement, so that mistakes in several are reported at once.
    pub fn script(&mut self, script: &Script) -> Bound<Vec<BoundResult>> {
        let mut results = Vec::new();
        let mut stopped = None;
        for statement in &script.statements {
            match &statement.kind {
                StatementKind::Let { name, value } => self.let_statement(name, value),
                StatementKind::Set { name, value } => {
                    if let Err(failed) = self.set_statement(name, value.as_ref()) {
                        stopped = Some(failed);
                    }
                }
                StatementKind::QueryParameters(parameters) => self.query_parameters(parameters),
                StatementKind::Pattern(declaration) => self.pattern_statement(declaration),
                StatementKind::Restrict(entities) => {
                    if let Err(failed) = self.restrict_statement(entities, statement.span) {
                        stopped = Some(failed);
                    }
                }
                StatementKind::Alias { name, value } => self.alias_statement(name, value),
                StatementKind::Query(query) => match self.query_statement(query) {
                    Ok(found) => {
                        // `set` binds the statements that follow it. Source: set-statement page.
                        let options = Arc::new(self.options.clone());
                        self.result_options.extend(found.iter().map(|_| Arc::clone(&options)));
                        results.extend(found);
                    }
                    Err(failed) => stopped = Some(failed),
                },
            }
        }
        match stopped {
            Some(stopped) => Err(stopped),
            None => Ok(results),
        }
    }

    fn query_statement(&mut self, query: &Expr) -> Bound<Vec<BoundResult>> {
        if matches!(query.kind, ExprKind::Error) {
            return Err(self.syntax_error(query.span));
        }
        let names_nothing = match &query.kind {
            // An unknown name is an unknown table rather than a scalar.
            ExprKind::Name(name) => self.lookup(&name.text).is_none(),
            _ => false,
        };
        if !names_nothing && !self.is_tabular(query) {
            if let ExprKind::Name(name) = &query.kind
                && matches!(self.lookup(&name.text), Some(Binding::Failed))
            {
                return Err(Stopped);
            }
            // Its own mistakes come first.
            self.expr(query, &mut crate::bind::row::Row::none())?;
            let message = "a query is a tabular expression; 'print' shows a scalar";
            return self.fail(diagnostic::GENERAL, query.span, message);
        }
        let tabular = self.tabular(query)?;
        if let Some(graph) = &tabular.graph {
            return self.graph_results(graph, query.span);
        }
        for result in &tabular.branches {
            self.within_columns(&result.rel, query.span)?;
        }
        if !tabular.branches.is_empty() {
            return Ok(tabular.branches);
        }
        self.within_columns(&tabular.rel, query.span)?;
        Ok(vec![BoundResult { name: tabular.name, rel: tabular.rel, visualization: tabular.visualization }])
    }

    fn alias_statement(&mut self, name: &Name, value: &Expr) {
        let database = self.database_of(value).ok();
        self.aliases.insert(name.text.clone(), database);
    }

    /// A tabular expression stands where the language has it, but a scalar was found.
    pub fn table_expected<T>(&mut self, span: Span) -> Bound<T> {
        self.fail(diagnostic::GENERAL, span, "a tabular expression is expected here, but this is a scalar")
    }
}
