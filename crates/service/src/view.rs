//! What a query may see: a catalog snapshot in the shape the planner asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use datafusion::catalog::TableProvider;
use tidewater_kql::command::PolicyKind;
use tidewater_plan::{
    CatalogView, ExternalCall, ExternalSource, GraphModel, GraphRows, GraphVersion, MaterializedView, RowSecurity,
    StoredFunction, TableHandle,
};
use tidewater_store::{Database, PropertyOwner, Snapshot, Store, Table, TableId};

use crate::context::{Context, now_ticks};
use crate::error::Error;
use crate::external::External;
use crate::external::callouts;
use crate::library;
use crate::policies::{self, CalloutPolicy, RowLevelSecurityPolicy};
use crate::rights::Access;
use crate::service::Service;
use crate::stored::{self, StoredExternal, StoredGraph, StoredGroup, StoredQueryResult, StoredView};
use crate::system::{self, Register};
use crate::views;

/// One snapshot, for the whole of one query: as much of it as the caller may read.
#[derive(Clone)]
pub struct View {
    store: Store,
    external: Arc<External>,
    clusters: Vec<String>,
    now: i64,
    snapshot: Arc<Snapshot>,
    access: Access,
    /// The server's own work: policies on rows do not hold.
    is_server: bool,
    /// A policy that is looked at before it is stored: database, name and policy.
    proposed: Option<Arc<(String, String, RowSecurity)>>,
    /// The tables and materialized views with an enabled policy of row level security that were asked for.
    secured: Arc<Mutex<Vec<(String, String)>>>,
    /// What exists and was asked for, but may not be read: `read table 'T' of database 'D'`.
    denied: Arc<Mutex<Option<String>>>,
    current: String,
    /// What the database `system` is read from.
    register: Register,
    /// The tables that were asked for and may be read.
    asked: Arc<Mutex<BTreeSet<(String, String)>>>,
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
    /// Which addresses the cluster's policy forbids.
    fn callouts(&self) -> Option<CalloutPolicy> {
        policies::own(&self.snapshot, PropertyOwner::Cluster)
    }

    /// A view of `snapshot` for a request into `database`, which must exist; what its caller may not read is hidden.
    pub fn new(
        service: &Service,
        context: &Context,
        snapshot: Arc<Snapshot>,
        database: &str,
    ) -> crate::error::Result<View> {
        let access = Access::of(&service.inner().options.rights, context, Arc::clone(&snapshot));
        let mut view = View::with_access(service, access, snapshot, database)?;
        view.register.tenant = context.tenant.clone();
        view.register.user = context.tenant.as_ref().map(|_| context.user.clone());
        Ok(view)
    }

    /// A view of everything, for the server's own work.
    pub fn of_server(service: &Service, snapshot: Arc<Snapshot>, database: &str) -> crate::error::Result<View> {
        let view = View::with_access(service, Access::everything(Arc::clone(&snapshot)), snapshot, database)?;
        Ok(View { is_server: true, ..view })
    }

    /// A view of everything by whose policies the caller's rows are shown, one of which is not stored yet: that of a table or
    /// materialized view of `database`.
    pub fn with_policy(
        service: &Service,
        snapshot: Arc<Snapshot>,
        database: &str,
        name: &str,
        policy: RowSecurity,
    ) -> crate::error::Result<View> {
        let view = View::with_access(service, Access::everything(Arc::clone(&snapshot)), snapshot, database)?;
        let current = view.current.clone();
        Ok(view.proposing(&current, name, policy))
    }

    /// The same with a policy of a table or materialized view that is not stored yet.
    pub fn proposing(self, database: &str, name: &str, policy: RowSecurity) -> View {
        let proposed = Some(Arc::new((database.to_string(), name.to_string(), policy)));
        View { proposed, ..self }
    }

    /// The tables and materialized views with an enabled policy of row level security that were asked for, be it applied or
    /// not: as database and name.
    pub fn secured(&self) -> Vec<(String, String)> {
        self.secured.lock().clone()
    }

    fn with_access(
        service: &Service,
        access: Access,
        snapshot: Arc<Snapshot>,
        database: &str,
    ) -> crate::error::Result<View> {
        let current = match snapshot.database(database) {
            Some(database) => database.name().to_string(),
            None => return Err(Error::database_not_found(database)),
        };
        Ok(View {
            store: service.store().clone(),
            external: Arc::clone(&service.inner().external),
            clusters: service.inner().options.cluster_names.clone(),
            now: now_ticks(),
            register: Register {
                store: service.store().clone(),
                journal: service.inner().journal.clone(),
                access: access.clone(),
                tenant: None,
                user: None,
            },
            asked: Arc::default(),
            snapshot,
            access,
            is_server: false,
            proposed: None,
            secured: Arc::default(),
            denied: Arc::default(),
            current,
            extra: Vec::new(),
        })
    }

    /// The catalog as it was when the request began.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What the caller may do.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The refusal of what was asked for and may not be read, if there was such a thing.
    pub fn denial(&self) -> Option<Error> {
        self.denied.lock().as_ref().map(|action| self.access.refused(action))
    }

    /// The tables that were asked for by name and may be read, as (database, table).
    pub fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().iter().cloned().collect()
    }

    /// Whether a name means the database `system`, which one that was made hides.
    fn is_system(&self, name: &str) -> bool {
        // The server's own work is done for many, and shows nobody what others ask.
        !self.is_server && system::is_database(name) && self.snapshot.database(name).is_none()
    }

    fn deny(&self, action: String) {
        self.denied.lock().get_or_insert(action);
    }

    /// A database whose data the caller may read.
    fn open(&self, name: &str) -> Option<&Arc<Database>> {
        let database = self.snapshot.database(name)?;
        if !self.access.may_query(database) {
            self.deny(format!("read database '{}'", database.name()));
            return None;
        }
        Some(database)
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
        let visible = self.snapshot.databases().filter(|database| self.access.may_query(database));
        visible.map(|database| database.name().to_string()).collect()
    }

    fn database(&self, name: &str) -> Option<String> {
        if self.is_system(name) {
            return Some(system::DATABASE.to_string());
        }
        self.open(name).map(|database| database.name().to_string())
    }

    fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        if let Some(extra) = self.extra(database, name) {
            return Some(Arc::clone(&extra.table));
        }
        if self.is_system(database) {
            return system::table(self.register.clone(), name);
        }
        let database = self.open(database)?;
        let table = self.readable_table(database, name)?;
        self.asked.lock().insert((database.name().to_string(), table.name().to_string()));
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
        if self.is_system(database) {
            return vec![system::TABLE.to_string()];
        }
        let Some(database) = self.open(database) else { return Vec::new() };
        let readable = database.tables().filter(|table| self.access.may_read(database, table));
        readable.map(|table| table.name().to_string()).collect()
    }

    fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        let known = self.open(database)?.function(name);
        let library = || library::function(&self.snapshot, name).filter(|_| database == self.current);
        let function = known.map(AsRef::as_ref).or_else(library)?;
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
        match self.open(database) {
            Some(database) => database.functions().map(|function| function.name.clone()).collect(),
            None => Vec::new(),
        }
    }

    fn hidden_rows(&self, database: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if let Some(extra) = self.extra(database, name) {
            return extra.hidden.clone();
        }
        let database = self.open(database)?;
        Some(self.store.provider_with_hidden(self.readable_table(database, name)?))
    }

    fn row_security(&self, database: &str, name: &str) -> Option<RowSecurity> {
        let policy = self.policy_of(database, name)?;
        if policy.is_enabled {
            let mut secured = self.secured.lock();
            if !secured.iter().any(|(known, table)| known == database && table == name) {
                secured.push((database.to_string(), name.to_string()));
            }
        }
        // The server's own work, and rows under a table's name that are not its own.
        (!self.is_server && self.extra(database, name).is_none()).then_some(policy)
    }

    fn is_internal(&self, name: &str) -> bool {
        !self.is_server && name.starts_with(views::INTERNAL)
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
        let allowed = self.callouts().map_or(Ok(()), |policy| callouts::check_source(&policy, source));
        allowed.and_then(|()| self.external.named(source)).map_err(|error| error.message().to_string())
    }

    fn external_call(&self, call: &ExternalCall) -> Result<Arc<dyn TableProvider>, String> {
        let checked = self.callouts().map_or(Ok(()), |policy| callouts::check_call(&policy, call));
        checked.and_then(|()| self.external.call(call)).map_err(|error| error.message().to_string())
    }

    fn external_table(
        &self,
        database: &str,
        name: &str,
        mapping: Option<&str>,
    ) -> Option<Result<Arc<TableHandle>, String>> {
        let database = self.open(database)?;
        let external: StoredExternal = stored::find(&self.snapshot, database, name)?;
        // None can be made; one of a former version must not be passed over.
        let policy = external.policies.get(PolicyKind::RowLevelSecurity.word()).map(row_security);
        if policy.is_some_and(|policy| policy.is_enabled) && !self.is_server {
            return Some(Err(format!(
                "the external table '{name}' has a row level security policy, which is not served"
            )));
        }
        let text = match mapping.map(|mapping| (mapping, external.mappings.get(mapping))) {
            None => None,
            Some((_, Some(mapping))) => Some(mapping.text.as_str()),
            Some((mapping, None)) => {
                return Some(Err(format!("the external table '{name}' has no mapping '{mapping}'")));
            }
        };
        let allowed = self.callouts().map_or(Ok(()), |policy| callouts::check_source(&policy, &external.source));
        let provider = allowed.and_then(|()| self.external.provider(&external.source, text));
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
        let database = self.open(database)?;
        let view: StoredView = stored::find(&self.snapshot, database, name)?;
        Some(MaterializedView {
            name: name.to_string(),
            schema: view.plan.schema.clone(),
            body: views::body(&self.snapshot, &view),
            materialized: views::materialized(&self.snapshot, &view),
            last_run: view.last_run,
        })
    }

    fn materialized_view_names(&self, database: &str) -> Vec<String> {
        self.names::<StoredView>(database)
    }

    fn stored_query_result(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        let database = self.open(database)?;
        let result: StoredQueryResult = stored::find(&self.snapshot, database, name)?;
        // A stored result is for the principal that stored it. Source: stored-query-results page.
        if !self.access.is_own(&result.principal) {
            return None;
        }
        let lives = result.expires > self.now;
        lives.then(|| self.internal_table(database, name, result.table)).flatten()
    }

    fn stored_query_result_names(&self, database: &str) -> Vec<String> {
        let Some(database) = self.open(database) else { return Vec::new() };
        let all = stored::all::<StoredQueryResult>(&self.snapshot, database);
        all.into_iter().filter(|(_, result)| self.access.is_own(&result.principal)).map(|(name, _)| name).collect()
    }

    fn graph(&self, database: &str, name: &str, version: GraphVersion<'_>) -> Option<Arc<GraphModel>> {
        let database = self.open(database)?;
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
        let database = self.open(database)?;
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

    /// A table that the caller may read; internal ones are read for what is visible itself.
    fn readable_table<'a>(&'a self, database: &'a Arc<Database>, name: &str) -> Option<&'a Arc<Table>> {
        let table = self.stored_table(database, name)?;
        if !table.is_internal() && !self.access.may_read(database, table) {
            self.deny(format!("read table '{}' of database '{}'", table.name(), database.name()));
            return None;
        }
        Some(table)
    }

    /// The policy of row level security of a user's table or a materialized view.
    fn policy_of(&self, database: &str, name: &str) -> Option<RowSecurity> {
        if let Some(proposed) = &self.proposed
            && proposed.0 == database
            && proposed.1 == name
        {
            return Some(proposed.2.clone());
        }
        let database = self.snapshot.database(database)?;
        match database.table(name) {
            Some(table) => {
                let owner = PropertyOwner::Table(table.id());
                self.snapshot.property(&policies::key(owner, PolicyKind::RowLevelSecurity)).map(row_security)
            }
            None => {
                let view: StoredView = stored::find(&self.snapshot, database, name)?;
                view.policies.get(PolicyKind::RowLevelSecurity.word()).map(row_security)
            }
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
        match self.open(database) {
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

/// A stored policy; one that cannot be read shows nothing.
fn row_security(value: &serde_json::Value) -> RowSecurity {
    match policies::parsed::<RowLevelSecurityPolicy>(value) {
        Some(policy) => RowSecurity { is_enabled: policy.is_enabled, query: policy.query },
        None => RowSecurity { is_enabled: true, query: String::new() },
    }
}
