//! Statements of a query.

use tidewater_kql::ast::{Expr, ExprKind, Literal, Name, Script, StatementKind};
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
                    Ok(found) => results.extend(found),
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
        if !tabular.branches.is_empty() {
            return Ok(tabular.branches);
        }
        Ok(vec![BoundResult { name: tabular.name, rel: tabular.rel, visualization: tabular.visualization }])
    }

    /// `set name [= value]`: kept as JSON under its name; a bare name is true.
    fn set_statement(&mut self, name: &Name, value: Option<&Expr>) -> Bound<()> {
        use serde_json::Value as Json;
        let value = match value {
            None => Json::Bool(true),
            Some(value) => match &value.kind {
                ExprKind::Literal(Literal::Bool(Some(flag))) => Json::Bool(*flag),
                ExprKind::Literal(Literal::Int(Some(number))) => Json::from(*number),
                ExprKind::Literal(Literal::Long(Some(number))) => Json::from(*number),
                ExprKind::Literal(Literal::Real(Some(number))) => Json::from(*number),
                ExprKind::Literal(Literal::String(text)) => Json::from(text.clone()),
                ExprKind::Literal(Literal::TimeSpan(Some(ticks))) => {
                    Json::from(tidewater_kql::value::timespan::to_text(*ticks))
                }
                ExprKind::Literal(Literal::DateTime(Some(ticks))) => {
                    Json::from(tidewater_kql::value::datetime::to_text(*ticks))
                }
                ExprKind::Literal(Literal::Dynamic(Some(text))) => {
                    serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.clone()))
                }
                ExprKind::Literal(_) => Json::Null,
                ExprKind::Name(word) => Json::from(word.text.clone()),
                _ => {
                    let message = format!("the value of option '{}' must be a literal", name.text);
                    return self.fail(diagnostic::NOT_CONSTANT, value.span, message);
                }
            },
        };
        self.options.insert(name.text.clone(), value);
        Ok(())
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
