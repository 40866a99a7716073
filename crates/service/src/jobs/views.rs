//! Views of SQL: kept with their database, or with a session.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_plan::sql::{self, SqlFault, SqlScope, SqlView, SqlViews, Statement, TableName, plan_rows, qualified};
use tidewater_store::Snapshot;

use super::runner::{forbidden, of_service, target_database};
use crate::service::Service;
use crate::stored::{self, Entity};
use crate::view::View;

/// A view as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredSqlView {
    pub columns: Vec<String>,
    pub query: String,
}

impl Entity for StoredSqlView {
    const KIND: &'static str = "sql view";
    const NOUN: &'static str = "View";
}

/// The views of a snapshot, and those of a session.
pub(super) struct StoredViews {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) temporary: HashMap<String, SqlView>,
}

/// A stored view by its name, without regard to case where only one fits.
fn find(snapshot: &Snapshot, database: &str, name: &str) -> Option<(String, StoredSqlView)> {
    let database = snapshot.database(database)?;
    let own = match stored::find::<StoredSqlView>(snapshot, database, name) {
        Some(view) => return Some((name.to_string(), view)),
        None => {
            stored::names::<StoredSqlView>(snapshot, database).into_iter().find(|own| own.eq_ignore_ascii_case(name))?
        }
    };
    stored::find::<StoredSqlView>(snapshot, database, &own).map(|view| (own, view))
}

impl SqlViews for StoredViews {
    fn temporary(&self, name: &str) -> Option<SqlView> {
        self.temporary.get(&name.to_lowercase()).cloned()
    }

    fn stored(&self, database: &str, name: &str) -> Option<SqlView> {
        let (_, view) = find(&self.snapshot, database, name)?;
        Some(SqlView { columns: view.columns, query: view.query })
    }

    fn names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => stored::names::<StoredSqlView>(&self.snapshot, database),
            None => Vec::new(),
        }
    }
}

fn exists(name: &TableName) -> SqlFault {
    SqlFault::new(sql::TABLE_EXISTS, format!("the table or view '{}' exists already", name.table))
}

/// Makes a view that can be read; gives one of the session back, which the session keeps.
pub(super) async fn create(
    service: &Service,
    scope: &SqlScope,
    seen: &View,
    statement: &Statement,
) -> Result<Option<SqlView>, SqlFault> {
    let Statement::CreateView { view: name, columns, query, or_replace, if_not_exists, temporary } = statement else {
        return Ok(None);
    };
    let own = qualified(query, scope)?;
    let as_statement = datafusion::sql::sqlparser::ast::Statement::Query(Box::new(own.clone()));
    // A view that cannot be read is not made.
    let rows = plan_rows(&as_statement, scope, service.sql_session()).await?;
    if !columns.is_empty() && columns.len() != rows.schema.columns.len() {
        let message = format!("found {} names for {} columns", columns.len(), rows.schema.columns.len());
        return Err(SqlFault::new(sql::SYNTAX, message));
    }
    if *temporary {
        let known = scope.views.temporary(&name.table).is_some();
        return match (known, if_not_exists, or_replace) {
            (true, true, _) => Ok(scope.views.temporary(&name.table)),
            (true, false, false) => Err(exists(name)),
            _ => Ok(Some(SqlView { columns: columns.clone(), query: own.to_string() })),
        };
    }
    let database = target_database(scope, name)?;
    let snapshot = seen.snapshot();
    let Some(owner) = snapshot.database(&database) else {
        return Err(SqlFault::new("3D000", format!("the database '{database}' does not exist")));
    };
    if !seen.access().may_create(owner) {
        let action = format!("make entities in database '{}'", owner.name());
        return Err(forbidden(&seen.access().refused(&action)));
    }
    let whole = TableName { database: Some(database.clone()), table: name.table.clone() };
    if scope.table(&whole).is_some() {
        return Err(exists(name));
    }
    let old = find(snapshot, &database, &name.table);
    match (&old, if_not_exists, or_replace) {
        (Some(_), true, _) => return Ok(None),
        (Some(_), false, false) => return Err(exists(name)),
        _ => {}
    }
    let stored_name = old.as_ref().map_or(name.table.clone(), |(own, _)| own.clone());
    let view = StoredSqlView { columns: columns.clone(), query: own.to_string() };
    let old = old.map(|(_, view)| view);
    let edit = stored::edit(owner, &stored_name, old.as_ref(), Some(&view)).map_err(|error| of_service(&error))?;
    service.store().edit_properties(vec![edit]).await.map_err(|error| of_service(&error.into()))?;
    Ok(None)
}

/// Removes a view.
pub(super) async fn remove(
    service: &Service,
    scope: &SqlScope,
    seen: &View,
    name: &TableName,
    if_exists: bool,
) -> Result<(), SqlFault> {
    let databases = match &name.database {
        Some(_) => vec![target_database(scope, name)?],
        None => scope.search.clone(),
    };
    let snapshot = seen.snapshot();
    let found = databases.iter().find_map(|database| {
        let (own, view) = find(snapshot, database, &name.table)?;
        Some((snapshot.database(database)?, own, view))
    });
    let Some((owner, own, view)) = found else {
        return match if_exists {
            true => Ok(()),
            false => Err(SqlFault::new(sql::UNKNOWN_TABLE, format!("the view '{}' does not exist", name.table))),
        };
    };
    if !seen.access().may_create(owner) {
        let action = format!("drop entities in database '{}'", owner.name());
        return Err(forbidden(&seen.access().refused(&action)));
    }
    let edit = stored::edit::<StoredSqlView>(owner, &own, Some(&view), None).map_err(|error| of_service(&error))?;
    service.store().edit_properties(vec![edit]).await.map(drop).map_err(|error| of_service(&error.into()))
}
