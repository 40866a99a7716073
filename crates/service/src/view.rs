//! What a query may see: a catalog snapshot in the shape the planner asks for.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlanBuilder, col, ident, lit};
use tidewater_kql::KqlType;
use tidewater_plan::{CatalogView, StoredFunction, TableHandle};
use tidewater_store::{Snapshot, Store};

use crate::context::RequestOptions;
use crate::error::{Error, Result};

/// One snapshot, for the whole of one query.
pub struct View {
    store: Store,
    snapshot: Arc<Snapshot>,
    current: String,
    /// A table that hides all others of its name: the rows of a piped command.
    extra: Option<Arc<TableHandle>>,
    scope: Option<TimeScope>,
}

/// A filter on every table that has the column. Source: request property query_datetimescope_column.
#[derive(Clone, Debug)]
struct TimeScope {
    column: String,
    from: Option<i64>,
    to: Option<i64>,
}

impl View {
    /// A view of `snapshot` for a request into `database`, which must exist.
    pub fn new(store: &Store, snapshot: Arc<Snapshot>, database: &str, options: &RequestOptions) -> Result<View> {
        let current = match snapshot.database(database) {
            Some(database) => database.name().to_string(),
            None => return Err(Error::database_not_found(database)),
        };
        Ok(View { store: store.clone(), snapshot, current, extra: None, scope: TimeScope::of(options)? })
    }

    /// Shows `table` beside the snapshot's.
    pub fn with_table(mut self, table: TableHandle) -> View {
        self.extra = Some(Arc::new(table));
        self
    }
}

impl TimeScope {
    fn of(options: &RequestOptions) -> Result<Option<TimeScope>> {
        let Some(column) = options.text("query_datetimescope_column") else { return Ok(None) };
        let bound = |name: &str| match options.text(name) {
            None => Ok(None),
            Some(text) => match crate::query::datetime_option(text) {
                Some(ticks) => Ok(Some(ticks)),
                None => {
                    Err(Error::bad_request(format!("request property '{name}' must be a datetime, found '{text}'")))
                }
            },
        };
        let (from, to) = (bound("query_datetimescope_from")?, bound("query_datetimescope_to")?);
        if from.is_none() && to.is_none() {
            return Ok(None);
        }
        Ok(Some(TimeScope { column: column.to_string(), from, to }))
    }

    fn apply(&self, provider: Arc<dyn TableProvider>) -> datafusion::error::Result<Arc<dyn TableProvider>> {
        let mut plan = LogicalPlanBuilder::scan("scoped", provider_as_source(provider), None)?;
        let bound = |ticks: i64| lit(ScalarValue::Int64(Some(ticks)));
        if let Some(from) = self.from {
            plan = plan.filter(ident(&self.column).gt_eq(bound(from)))?;
        }
        if let Some(to) = self.to {
            plan = plan.filter(ident(&self.column).lt_eq(bound(to)))?;
        }
        // Without the qualifier, so that the view's columns are the table's.
        let schema = Arc::clone(plan.schema());
        let columns = schema.columns().into_iter().map(|column| col(column.clone()).alias(column.name));
        let plan = plan.project(columns)?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

impl CatalogView for View {
    fn current_database(&self) -> &str {
        &self.current
    }

    fn database_names(&self) -> Vec<String> {
        self.snapshot.databases().map(|database| database.name().to_string()).collect()
    }

    fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        if let Some(extra) = &self.extra
            && extra.name == name
            && extra.database == database
        {
            return Some(Arc::clone(extra));
        }
        let database = self.snapshot.database(database)?;
        let table = database.table(name)?;
        let mut provider = self.store.provider(table);
        if let Some(scope) = &self.scope {
            let at = table.schema().index_of(&scope.column);
            let fits = at.is_some_and(|at| table.schema().columns[at].ty == KqlType::DateTime);
            if fits {
                provider = scope.apply(provider).ok()?;
            }
        }
        Some(Arc::new(TableHandle {
            database: database.name().to_string(),
            name: table.name().to_string(),
            schema: table.schema().clone(),
            provider,
            // The store writes and reads every missing string as the empty one.
            is_filled: true,
        }))
    }

    fn table_names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => database.tables().map(|table| table.name().to_string()).collect(),
            None => Vec::new(),
        }
    }

    fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        let function = self.snapshot.database(database)?.function(name)?;
        Some(StoredFunction {
            name: function.name.clone(),
            parameters: function.parameters.clone(),
            body: function.body.clone(),
            folder: function.folder.clone().unwrap_or_default(),
            docstring: function.docstring.clone().unwrap_or_default(),
        })
    }

    fn function_names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => database.functions().map(|function| function.name.clone()).collect(),
            None => Vec::new(),
        }
    }
}
