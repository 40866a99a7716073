//! Row level security: the query of a policy stands wherever its table is named. Source: row-level-security-policy page.
//!
//! The policy's query is bound as if it stood before the user's first statement, so that nothing of the user's query reaches
//! it. The table is what it is inside its own policy; another table with a policy is not for policies to read. Above
//! the policy's rows stands a guard, through which no predicate of the user moves that could fail: an expression that
//! tells by failing never meets a row that the policy hides.

use std::sync::Arc;

use tidewater_kql::{Span, TableSchema, diagnostic};

use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, Rel};

/// Applies policies that are not enabled. Source: alter-table-row-level-security-policy-command page.
const FORCE: &str = "query_force_row_level_security";
/// Refuses tables with policies. Source: request-properties page.
const BLOCK: &str = "request_block_row_level_security";

/// As much of a materialized view as a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewPart {
    /// Its materialized part, and what came since.
    Whole,
    /// `materialized_view("V")`.
    Materialized,
}

/// A table or view whose policy is being bound.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    database: String,
    name: String,
    part: ViewPart,
}

/// What is being bound on behalf of the catalog.
#[derive(Clone, Debug)]
pub(crate) enum Securing {
    /// The query of a policy.
    Policy(Policy),
    /// The text of a view, in which policies hold whatever reads the view.
    View,
}

/// Policies and views inside each other.
const MAX_SECURING: usize = 32;

impl Binder<'_> {
    /// The policy that reads what is named now.
    fn active_policy(&self) -> Option<&Policy> {
        match self.securing.last()? {
            Securing::Policy(policy) => Some(policy),
            Securing::View => None,
        }
    }

    /// Whether something is bound for a policy, be it through a view.
    pub fn is_securing(&self) -> bool {
        self.securing.iter().any(|active| matches!(active, Securing::Policy(_)))
    }

    /// What a view's name stands for inside the view's own policy.
    pub fn secured_part(&self, database: &str, name: &str) -> Option<ViewPart> {
        let active = self.active_policy().filter(|active| active.database == database && active.name == name)?;
        Some(active.part)
    }

    /// The rows that the policy of a table or materialized view shows; `None` where none holds.
    pub fn secured(
        &mut self,
        database: &str,
        name: &str,
        part: ViewPart,
        schema: &TableSchema,
        span: Span,
    ) -> Bound<Option<Tabular>> {
        let active = self.active_policy().cloned();
        if let Some(active) = &active {
            if active.database == database && active.name == name {
                return Ok(None);
            }
            if active.database != database {
                let message = format!(
                    "the row level security policy of '{}' reads '{name}' of database '{database}': a policy reads its own \
                     database only",
                    active.name
                );
                return self.fail(diagnostic::GENERAL, span, message);
            }
        }
        let Some(policy) = self.view.row_security(database, name) else { return Ok(None) };
        if !policy.is_enabled && !self.flag(FORCE) {
            return Ok(None);
        }
        if let Some(active) = active {
            let message = format!(
                "the row level security policy of '{}' reads '{name}', which has such a policy itself",
                active.name
            );
            return self.fail(diagnostic::GENERAL, span, message);
        }
        if self.flag(BLOCK) {
            let message = format!("'{name}' has a row level security policy, and the request blocks such tables");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let is_this = |known: &Securing| match known {
            Securing::Policy(known) => known.database == database && known.name == name,
            Securing::View => false,
        };
        if self.securing.iter().any(is_this) || self.securing.len() >= MAX_SECURING {
            let message = format!("the row level security policy of '{name}' reads '{name}' through a view");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let query = policy.query.trim().trim_end_matches(';');
        let label = format!("row level security of {name}");
        let policy = Policy { database: database.to_string(), name: name.to_string(), part };
        self.securing.push(Securing::Policy(policy));
        // A function may be the policy of a table that the same function's caller reads.
        let calls = std::mem::take(&mut self.calls);
        let shown = self.policy_rows(database, &label, &format!("{{\n{query}\n}}"), span);
        self.calls = calls;
        self.securing.pop();
        let shown = shown?;
        let mut items = Vec::with_capacity(schema.columns.len());
        for column in &schema.columns {
            match shown.rel.column(&column.name) {
                Some(found) if found.ty == column.ty => items.push((column.name.clone(), BExpr::column(found))),
                _ => return self.other_columns(name, span),
            }
        }
        if shown.rel.columns.len() != items.len() {
            return self.other_columns(name, span);
        }
        let rel = self.project(Arc::clone(&shown.rel), items, span)?;
        let rel = Arc::new(Rel { is_guarded: true, ..rel.as_ref().clone() });
        let table = Some((Some(database.to_string()), name.to_string()));
        Ok(Some(Tabular { table, name: Some(name.to_string()), ..Tabular::of(rel) }))
    }

    fn other_columns<T>(&mut self, name: &str, span: Span) -> Bound<T> {
        let message =
            format!("the query of the row level security policy of '{name}' must give the columns of '{name}'");
        self.fail(diagnostic::GENERAL, span, message)
    }
}
