//! What a query may see: a catalog snapshot in the shape the planner asks for.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tidewater_plan::{
    CatalogView, ExternalCall, ExternalSource, GraphModel, GraphRows, GraphVersion, MaterializedView, StoredFunction,
    TableHandle,
};
use tidewater_store::{Database, Snapshot, Store, Table, TableId};

use crate::context::now_ticks;
use crate::error::Error;
use crate::external::External;
use crate::service::Service;
use crate::stored::{self, StoredExternal, StoredGraph, StoredGroup, StoredQueryResult, StoredView};
use crate::views;

/// One snapshot, for the whole of one query.
#[derive(Clone)]
pub struct View {
    store: Store,
    external: Arc<External>,
    clusters: Vec<String>,
    now: i64,
    snapshot: Arc<Snapshot>,
    current: String,
    /// Tables that hide all others of their names: the rows of a piped command, those of an ingestion.
    extra: Vec<Extra>,
}

/// A table beside those of the snapshot.
#[derive(Clone)]
struct Extra {
    table: Arc<TableHandle>,
    hidden: Option<Arc<dyn TableProvider>>,
}

impl View {
    /// A view of `snapshot` for a request into `database`, which must exist.
    pub fn new(service: &Service, snapshot: Arc<Snapshot>, database: &str) -> crate::error::Result<View> {
        let current = match snapshot.database(database) {
            Some(database) => database.name().to_string(),
            None => return Err(Error::database_not_found(database)),
        };
        Ok(View {
            store: service.store().clone(),
            external: Arc::clone(&service.inner().external),
            clusters: service.inner().options.cluster_names.clone(),
            now: now_ticks(),
            snapshot,
            current,
            extra: Vec::new(),
        })
    }

    /// Shows `table` beside the snapshot's.
    pub fn with_table(mut self, table: TableHandle) -> View {
        self.extra.push(Extra { table: Arc::new(table), hidden: None });
        self
    }

    /// The same for rows that have hidden columns.
    pub fn with_rows(mut self, table: TableHandle, hidden: Arc<dyn TableProvider>) -> View {
        self.extra.push(Extra { table: Arc::new(table), hidden: Some(hidden) });
        self
    }

    fn extra(&self, database: &str, name: &str) -> Option<&Extra> {
        self.extra.iter().find(|extra| extra.table.name == name && extra.table.database == database)
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
        if let Some(extra) = self.extra(database, name) {
            return Some(Arc::clone(&extra.table));
        }
        let database = self.snapshot.database(database)?;
        let table = self.stored_table(database, name)?;
        let provider = self.store.provider(table);
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
            is_view: function.is_view,
        })
    }

    fn function_names(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => database.functions().map(|function| function.name.clone()).collect(),
            None => Vec::new(),
        }
    }

    fn hidden_rows(&self, database: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if let Some(extra) = self.extra(database, name) {
            return extra.hidden.clone();
        }
        let database = self.snapshot.database(database)?;
        Some(self.store.provider_with_hidden(self.stored_table(database, name)?))
    }

    fn cursor(&self) -> i64 {
        self.snapshot.cursor()
    }

    fn is_own_cluster(&self, name: &str) -> bool {
        let wanted = host_of(name);
        self.clusters.iter().any(|own| {
            let own = host_of(own);
            // `cluster("name")` means `name` among the hosts of a cloud: the first part is enough.
            own.eq_ignore_ascii_case(wanted)
                || own.split('.').next().is_some_and(|first| first.eq_ignore_ascii_case(wanted))
        })
    }

    fn cluster_endpoint(&self) -> String {
        self.clusters.first().map_or("localhost", |own| host_of(own)).to_string()
    }

    fn is_plugin_enabled(&self, name: &str) -> bool {
        crate::command::plugins::is_enabled(&self.snapshot, name)
    }

    fn external_data(&self, source: &ExternalSource) -> Result<Arc<dyn TableProvider>, String> {
        self.external.provider(source, None).map_err(|error| error.message().to_string())
    }

    fn external_call(&self, call: &ExternalCall) -> Result<Arc<dyn TableProvider>, String> {
        self.external.call(call).map_err(|error| error.message().to_string())
    }

    fn external_table(
        &self,
        database: &str,
        name: &str,
        mapping: Option<&str>,
    ) -> Option<Result<Arc<TableHandle>, String>> {
        let database = self.snapshot.database(database)?;
        let external: StoredExternal = stored::find(&self.snapshot, database, name)?;
        let text = match mapping.map(|mapping| (mapping, external.mappings.get(mapping))) {
            None => None,
            Some((_, Some(mapping))) => Some(mapping.text.as_str()),
            Some((mapping, None)) => {
                return Some(Err(format!("the external table '{name}' has no mapping '{mapping}'")));
            }
        };
        let provider = self.external.provider(&external.source, text);
        Some(provider.map_err(|error| error.message().to_string()).map(|provider| {
            Arc::new(TableHandle {
                database: database.name().to_string(),
                name: name.to_string(),
                schema: external.source.schema(),
                provider,
                is_filled: false,
            })
        }))
    }

    fn external_table_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredExternal>(database)
    }

    fn materialized_view(&self, database: &str, name: &str) -> Option<MaterializedView> {
        let database = self.snapshot.database(database)?;
        let view: StoredView = stored::find(&self.snapshot, database, name)?;
        Some(MaterializedView {
            name: name.to_string(),
            body: views::body(&self.snapshot, &view),
            materialized: views::materialized(&self.snapshot, &view),
            last_run: view.last_run,
        })
    }

    fn materialized_view_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredView>(database)
    }

    fn stored_query_result(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        let database = self.snapshot.database(database)?;
        let result: StoredQueryResult = stored::find(&self.snapshot, database, name)?;
        let lives = result.expires > self.now;
        lives.then(|| self.internal_table(database, name, result.table)).flatten()
    }

    fn stored_query_result_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredQueryResult>(database)
    }

    fn graph(&self, database: &str, name: &str, version: GraphVersion<'_>) -> Option<Arc<GraphModel>> {
        let database = self.snapshot.database(database)?;
        let graph: StoredGraph = stored::find(&self.snapshot, database, name)?;
        let snapshot = match version {
            GraphVersion::Transient => None,
            GraphVersion::Latest => graph.snapshots.iter().max_by_key(|snapshot| snapshot.created),
            GraphVersion::Snapshot(wanted) => Some(graph.snapshots.iter().find(|snapshot| snapshot.name == wanted)?),
        };
        let model = match snapshot {
            None => graph.latest()?,
            Some(snapshot) => graph.version(snapshot.version)?,
        };
        let mut parsed = GraphModel::parse(database.name(), name, &model.model).ok()?;
        if let Some(snapshot) = snapshot {
            for (step, id) in parsed.steps.iter_mut().zip(&snapshot.tables) {
                step.rows = GraphRows::Stored(self.internal_table(database, &snapshot.name, *id)?);
            }
        }
        Some(Arc::new(parsed))
    }

    fn graph_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredGraph>(database)
    }

    fn entity_group(&self, database: &str, name: &str) -> Option<Vec<String>> {
        let database = self.snapshot.database(database)?;
        stored::find::<StoredGroup>(&self.snapshot, database, name).map(|group| group.entities)
    }

    fn entity_group_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredGroup>(database)
    }
}

impl View {
    /// A user's table, or one that the texts of views name by its id.
    fn stored_table<'a>(&'a self, database: &'a Database, name: &str) -> Option<&'a Arc<Table>> {
        match name.strip_prefix(views::INTERNAL) {
            None => database.table(name),
            Some(id) => database.table_by_id(TableId::parse(id)?),
        }
    }

    /// The rows of an internal table under a name of its own.
    fn internal_table(&self, database: &Database, name: &str, id: TableId) -> Option<Arc<TableHandle>> {
        let table = database.table_by_id(id)?;
        Some(Arc::new(TableHandle {
            database: database.name().to_string(),
            name: name.to_string(),
            schema: table.schema().clone(),
            provider: self.store.provider(table),
            is_filled: true,
        }))
    }

    fn names<E: stored::Entity>(&self, database: &str) -> Vec<String> {
        match self.snapshot.database(database) {
            Some(database) => stored::names::<E>(&self.snapshot, database),
            None => Vec::new(),
        }
    }
}

/// The host of an address or name: `https://host:8080/x` is `host`.
fn host_of(name: &str) -> &str {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    match rest.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or(inner),
        None => rest.split(':').next().unwrap_or(rest),
    }
}
