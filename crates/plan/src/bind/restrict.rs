//! `restrict access to (...)`: what the rest of a query may see. Source: restrict-statement page.
//!
//! A restriction hides the tables and functions of databases that it does not name, and the tabular
//! definitions and patterns that stand before it and that it does not name. What is hidden does not
//! exist: names resolve as if nobody had made it. The bodies of what stays visible are not restricted,
//! so that a view can show a part of a table that is hidden itself. Of several restrictions all count.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tidewater_kql::ast::{Expr, ExprKind, Name};
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::project_names::matches_pattern;
use crate::bind::scope::{Binding, Place};
use crate::bind::{Binder, Bound, Stopped};
use crate::catalog::{CatalogView, MaterializedView, RowSecurity, StoredFunction, TableHandle};
use crate::external::ExternalSource;
use crate::external_call::ExternalCall;
use crate::{GraphModel, GraphVersion};

/// What a `restrict access` leaves visible.
pub(crate) struct Restriction {
    hidden: HashSet<Place>,
    /// Databases with names or wildcards.
    allowed: Vec<(String, String)>,
    outer: Option<Rc<Restriction>>,
}

impl Restriction {
    /// Whether a definition is hidden.
    pub fn hides(&self, place: Place) -> bool {
        self.hidden.contains(&place) || self.outer.as_ref().is_some_and(|outer| outer.hides(place))
    }

    fn allows(&self, database: &str, name: &str) -> bool {
        let named = |(own, pattern): &(String, String)| {
            own.eq_ignore_ascii_case(database) && (pattern == name || matches_pattern(pattern, name))
        };
        self.allowed.iter().any(named) && self.outer.as_ref().is_none_or(|outer| outer.allows(database, name))
    }
}

/// The catalog as the place that is being bound may see it.
pub(crate) struct RestrictedView<'a> {
    inner: &'a dyn CatalogView,
    restriction: Option<Rc<Restriction>>,
}

impl<'a> RestrictedView<'a> {
    /// All of a view.
    pub fn new(inner: &'a dyn CatalogView) -> RestrictedView<'a> {
        RestrictedView { inner, restriction: None }
    }

    /// What is hidden now.
    pub fn restriction(&self) -> Option<&Rc<Restriction>> {
        self.restriction.as_ref()
    }

    /// Goes over to another restriction; gives the one before.
    pub fn restrict(&mut self, restriction: Option<Rc<Restriction>>) -> Option<Rc<Restriction>> {
        std::mem::replace(&mut self.restriction, restriction)
    }

    /// Whether a table or function of a database may be named.
    pub fn allows(&self, database: &str, name: &str) -> bool {
        self.restriction.as_ref().is_none_or(|restriction| restriction.allows(database, name))
    }

    /// See `CatalogView`.
    pub fn current_database(&self) -> &str {
        self.inner.current_database()
    }

    /// See `CatalogView`.
    pub fn database_names(&self) -> Vec<String> {
        self.inner.database_names()
    }

    /// See `CatalogView`.
    pub fn database(&self, name: &str) -> Option<String> {
        self.inner.database(name)
    }

    /// See `CatalogView`.
    pub fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        self.allows(database, name).then(|| self.inner.table(database, name)).flatten()
    }

    /// See `CatalogView`. Not restricted: the policy of what may be named holds.
    pub fn row_security(&self, database: &str, name: &str) -> Option<RowSecurity> {
        self.inner.row_security(database, name)
    }

    /// See `CatalogView`.
    pub fn is_internal(&self, name: &str) -> bool {
        self.inner.is_internal(name)
    }

    /// See `CatalogView`.
    pub fn table_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.table_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`.
    pub fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        self.allows(database, name).then(|| self.inner.function(database, name)).flatten()
    }

    /// See `CatalogView`.
    pub fn graph(&self, database: &str, name: &str, version: GraphVersion<'_>) -> Option<Arc<GraphModel>> {
        self.allows(database, name).then(|| self.inner.graph(database, name, version)).flatten()
    }

    /// See `CatalogView`.
    pub fn graph_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.graph_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`.
    pub fn function_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.function_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`. Not restricted: rows come from a relation that was allowed.
    pub fn hidden_rows(&self, database: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.inner.hidden_rows(database, name)
    }

    /// See `CatalogView`.
    pub fn cursor(&self) -> i64 {
        self.inner.cursor()
    }

    /// See `CatalogView`.
    pub fn is_own_cluster(&self, name: &str) -> bool {
        self.inner.is_own_cluster(name)
    }

    /// See `CatalogView`.
    pub fn cluster_endpoint(&self) -> String {
        self.inner.cluster_endpoint()
    }

    /// See `CatalogView`.
    pub fn is_plugin_enabled(&self, name: &str) -> bool {
        self.inner.is_plugin_enabled(name)
    }

    /// See `CatalogView`.
    pub fn external_data(&self, source: &ExternalSource) -> Result<Arc<dyn TableProvider>, String> {
        self.inner.external_data(source)
    }

    /// See `CatalogView`.
    pub fn external_call(&self, call: &ExternalCall) -> Result<Arc<dyn TableProvider>, String> {
        self.inner.external_call(call)
    }

    /// See `CatalogView`.
    pub fn external_table(
        &self,
        database: &str,
        name: &str,
        mapping: Option<&str>,
    ) -> Option<Result<Arc<TableHandle>, String>> {
        self.allows(database, name).then(|| self.inner.external_table(database, name, mapping)).flatten()
    }

    /// See `CatalogView`.
    pub fn external_table_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.external_table_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`.
    pub fn materialized_view(&self, database: &str, name: &str) -> Option<MaterializedView> {
        self.allows(database, name).then(|| self.inner.materialized_view(database, name)).flatten()
    }

    /// See `CatalogView`.
    pub fn materialized_view_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.materialized_view_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`.
    pub fn entity_group(&self, database: &str, name: &str) -> Option<Vec<String>> {
        self.allows(database, name).then(|| self.inner.entity_group(database, name)).flatten()
    }

    /// See `CatalogView`.
    pub fn entity_group_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.entity_group_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }

    /// See `CatalogView`.
    pub fn stored_query_result(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        self.allows(database, name).then(|| self.inner.stored_query_result(database, name)).flatten()
    }

    /// See `CatalogView`.
    pub fn stored_query_result_names(&self, database: &str) -> Vec<String> {
        let mut names = self.inner.stored_query_result_names(database);
        names.retain(|name| self.allows(database, name));
        names
    }
}

impl Binder<'_> {
    /// `restrict access to (entities)`.
    pub fn restrict_statement(&mut self, entities: &[Expr], span: Span) -> Bound<()> {
        let mut definitions: Vec<String> = Vec::new();
        let mut allowed = Vec::new();
        let mut failed = false;
        for entity in entities {
            match &entity.kind {
                // A wildcard without a database means what the query itself defines.
                ExprKind::Star => definitions.push("*".to_string()),
                ExprKind::Wildcard(name) => definitions.push(name.text.clone()),
                ExprKind::Name(name) if self.lookup(&name.text).is_some() => definitions.push(name.text.clone()),
                ExprKind::Name(name) => match self.restricted_entity(name) {
                    Ok(entity) => allowed.push(entity),
                    Err(Stopped) => failed = true,
                },
                ExprKind::Member { base, name } => match self.database_of(base) {
                    Ok(database) => allowed.push((database, name.text.clone())),
                    Err(Stopped) => failed = true,
                },
                _ => {
                    let message = "'restrict access' takes names of tables, views, functions and patterns";
                    self.report(Diagnostic::new(diagnostic::GENERAL, entity.span, message));
                    failed = true;
                }
            }
        }
        if entities.is_empty() {
            return self.fail(diagnostic::SYNTAX, span, "'restrict access' names nothing");
        }
        let mut hidden = HashSet::new();
        for (place, name, binding) in self.visible_definitions() {
            let is_kept = definitions.iter().any(|pattern| *pattern == name || matches_pattern(pattern, &name));
            if !is_kept && self.is_tabular_binding(&binding) {
                hidden.insert(place);
            }
        }
        // After a mistake too, so that nothing hidden shows in what is said about the rest.
        let outer = self.view.restriction().cloned();
        self.view.restrict(Some(Rc::new(Restriction { hidden, allowed, outer })));
        if failed { Err(Stopped) } else { Ok(()) }
    }

    fn restricted_entity(&mut self, name: &Name) -> Bound<(String, String)> {
        let database = self.database.clone();
        let exists =
            self.view.table(&database, &name.text).is_some() || self.view.function(&database, &name.text).is_some();
        if exists {
            return Ok((database, name.text.clone()));
        }
        let mut names = self.visible_names();
        names.extend(self.view.table_names(&database));
        names.extend(self.view.function_names(&database));
        let message = format!("Failed to resolve table or column expression named '{}'", name.text);
        let diagnostic = Diagnostic::new(diagnostic::UNRESOLVED, name.span, message);
        Err(self.report(diagnostic.hint_nearest(&name.text, names.iter().map(String::as_str))))
    }

    fn is_tabular_binding(&mut self, binding: &Binding) -> bool {
        match binding {
            Binding::Table(_) | Binding::Graph(_) | Binding::Pattern(_) => true,
            Binding::Function(function) => self.is_tabular_function(function),
            Binding::Entity(entity, env) => {
                let (entity, env) = (entity.clone(), *env);
                let outer = std::mem::replace(&mut self.env, env);
                let result = self.is_tabular(&entity);
                self.env = outer;
                result
            }
            Binding::Scalar(_) | Binding::EntityGroup(_) | Binding::Failed => false,
        }
    }
}
