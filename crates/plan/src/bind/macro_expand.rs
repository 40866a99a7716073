//! `macro-expand`: a subquery for each entity of a group. Source: macro-expand-operator page.

use std::rc::Rc;

use tidewater_kql::ast::{Expr, ExprKind, Name, Property, Statement, StatementKind};
use tidewater_kql::{Span, diagnostic};

use crate::bind::join::is_true;
use crate::bind::scope::{Binding, Env};
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound, Stopped};

/// Entities of a group; each makes the subquery once more.
const MAX_ENTITIES: usize = 256;

impl Binder<'_> {
    /// The union of the subquery over the entities.
    pub fn macro_expand_operator(
        &mut self,
        parameters: &[Property],
        group: &Expr,
        name: Option<&Name>,
        statements: &[Statement],
        span: Span,
    ) -> Bound<Tabular> {
        let is_inner = self.is_inner("macro-expand", parameters)?;
        let is_fuzzy = parameters.iter().any(|parameter| parameter.name.text == "isfuzzy" && is_true(&parameter.value));
        let entities = match &group.kind {
            ExprKind::EntityGroup(entities) => Rc::new(entities.clone()),
            ExprKind::Name(name) => match self.lookup(&name.text) {
                Some(Binding::EntityGroup(entities)) => entities,
                Some(Binding::Failed) => return Err(Stopped),
                _ => match self.stored_entities(name) {
                    Some(entities) => Rc::new(entities),
                    None => {
                        let names = self.view.entity_group_names(&self.database);
                        return self.unresolved_entity("entity group", &name.text, &names, name.span);
                    }
                },
            },
            _ => return self.fail(diagnostic::GENERAL, group.span, "an entity group is expected here"),
        };
        if entities.len() > MAX_ENTITIES {
            let message = format!("an entity group has {} entities, more than {MAX_ENTITIES}", entities.len());
            return self.fail(diagnostic::GENERAL, group.span, message);
        }
        let outer = self.env;
        let mut inputs = Vec::with_capacity(entities.len());
        let mut failed = false;
        for entity in entities.iter() {
            let expand = |binder: &mut Self| {
                binder.enter(outer);
                if let Some(name) = name {
                    binder.define(&name.text, Binding::Entity(Rc::new(entity.clone()), outer));
                }
                binder.entity_result(statements, span)
            };
            let result = if is_fuzzy { self.attempt(expand) } else { expand(self) };
            self.env = outer;
            match result {
                Ok(tabular) => inputs.push(Input { rel: tabular.rel, table: None }),
                // An entity that does not resolve drops out; anything that waits for a value does not.
                Err(Stopped) if is_fuzzy && !self.is_waiting() => {}
                Err(Stopped) => failed = true,
            }
        }
        if failed {
            return Err(Stopped);
        }
        if inputs.is_empty() {
            return self.fail(diagnostic::UNRESOLVED, span, "none of the entities of 'macro-expand' could be resolved");
        }
        Ok(Tabular::of(self.united(inputs, None, "", is_inner, span)?))
    }

    /// The entities of a stored group.
    fn stored_entities(&self, name: &Name) -> Option<Vec<Expr>> {
        let entities = self.view.entity_group(&self.database, &name.text)?;
        let parse = |text: &String| {
            let parsed = tidewater_kql::parse_query(text);
            match parsed.tree.statements.into_iter().next() {
                // Mistakes inside are told at the group's name.
                Some(Statement { kind: StatementKind::Query(entity), .. }) if parsed.diagnostics.is_empty() => {
                    Some(Expr { kind: entity.kind, span: name.span })
                }
                _ => None,
            }
        };
        entities.iter().map(parse).collect()
    }

    /// The statements before the subquery are its own `let`s.
    fn entity_result(&mut self, statements: &[Statement], span: Span) -> Bound<Tabular> {
        let mut result = None;
        for statement in statements {
            match &statement.kind {
                StatementKind::Let { name, value } => self.let_statement(name, value),
                StatementKind::Query(query) if result.is_none() => result = Some(self.single_table(query)?),
                _ => {
                    let message = "only 'let' statements and one query may stand in 'macro-expand'";
                    return self.fail(diagnostic::GENERAL, statement.span, message);
                }
            }
        }
        match result {
            Some(tabular) => Ok(tabular),
            None => self.fail(diagnostic::GENERAL, span, "'macro-expand' has no subquery"),
        }
    }

    /// Reads an entity where its own names are visible.
    pub fn inside_entity<T>(&mut self, env: Env, body: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<T> {
        let outer = std::mem::replace(&mut self.env, env);
        let result = body(self);
        self.env = outer;
        result
    }
}
