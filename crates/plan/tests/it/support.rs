//! Runs KQL over tables in memory and prints the answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use tidewater_kql::value::{datetime, decimal::Decimal, guid, timespan};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::session::{SessionOptions, execution_plan, new_session};
use tidewater_plan::{
    CatalogView, GraphModel, GraphVersion, PlanContext, PlanError, PlannedQuery, PlannedResult, StoredFunction,
    TableHandle, plan_query,
};

/// A database in memory with a session of its own.
pub struct Database {
    pub session: SessionContext,
    tables: HashMap<String, Arc<TableHandle>>,
    order: Vec<String>,
    /// Graph models by name; of snapshots as `model/snapshot`.
    pub graphs: HashMap<String, Arc<GraphModel>>,
}

impl CatalogView for Database {
    fn current_database(&self) -> &str {
        "Test"
    }

    fn database_names(&self) -> Vec<String> {
        vec!["Test".to_string()]
    }

    fn table(&self, _database: &str, name: &str) -> Option<Arc<TableHandle>> {
        self.tables.get(name).cloned()
    }

    fn table_names(&self, _database: &str) -> Vec<String> {
        self.order.clone()
    }

    fn function(&self, _database: &str, _name: &str) -> Option<StoredFunction> {
        None
    }

    fn graph(&self, _database: &str, name: &str, version: GraphVersion<'_>) -> Option<Arc<GraphModel>> {
        match version {
            GraphVersion::Latest | GraphVersion::Transient => self.graphs.get(name).cloned(),
            GraphVersion::Snapshot(snapshot) => self.graphs.get(&format!("{name}/{snapshot}")).cloned(),
        }
    }

    fn graph_names(&self, _database: &str) -> Vec<String> {
        self.graphs.keys().filter(|name| !name.contains('/')).cloned().collect()
    }
}

/// What a scan was asked for.
#[derive(Debug, Default)]
pub struct Asked {
    pub columns: Vec<String>,
    pub filters: Vec<String>,
    pub limit: Option<usize>,
}

/// A table that notes what its scans are asked for.
#[derive(Debug)]
pub struct Watched {
    inner: MemTable,
    pub asked: Arc<Mutex<Asked>>,
}

#[async_trait]
impl TableProvider for Watched {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.inner.schema();
        *self.asked.lock().unwrap() = Asked {
            columns: projection.iter().flat_map(|all| all.iter()).map(|at| schema.field(*at).name().clone()).collect(),
            filters: filters.iter().map(|filter| filter.to_string()).collect(),
            limit,
        };
        self.inner.scan(state, projection, filters, limit).await
    }
}

impl Database {
    /// An empty database whose plans are laid out for four threads.
    pub fn new() -> Database {
        Database::with(SessionOptions { target_partitions: 4, ..SessionOptions::default() })
    }

    pub fn with(options: SessionOptions) -> Database {
        Database { session: new_session(&options), tables: HashMap::new(), order: Vec::new(), graphs: HashMap::new() }
    }

    /// Stores the answer of a query as a table of some partitions; what its scans are asked for can be read.
    pub async fn store(&mut self, name: &str, query: &str, partitions: usize) -> Arc<Mutex<Asked>> {
        let planned = self.plan(query).await.unwrap();
        let result = &planned.results[0];
        let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
        for (at, batch) in self.batches(result).await.into_iter().enumerate() {
            parts[at % partitions].push(batch);
        }
        let asked = Arc::default();
        let inner = MemTable::try_new(result.schema.arrow(), parts).unwrap();
        let provider = Arc::new(Watched { inner, asked: Arc::clone(&asked) });
        let handle = TableHandle {
            database: "Test".to_string(),
            name: name.to_string(),
            schema: result.schema.clone(),
            provider,
            is_filled: false,
        };
        self.tables.insert(name.to_string(), Arc::new(handle));
        self.order.push(name.to_string());
        asked
    }

    pub async fn plan(&self, query: &str) -> std::result::Result<PlannedQuery, PlanError> {
        let context = PlanContext { now_ticks: 638_000_000_000_000_000, seed: 5, ..PlanContext::default() };
        plan_query(query, self, &context, &self.session).await
    }

    pub async fn batches(&self, result: &PlannedResult) -> Vec<RecordBatch> {
        assert_eq!(result.plan.schema().as_arrow(), result.schema.arrow().as_ref());
        let plan = execution_plan(&self.session, &result.plan).await.unwrap();
        assert_eq!(plan.schema(), result.schema.arrow());
        let batches = datafusion::physical_plan::collect(plan, self.session.task_ctx()).await.unwrap();
        for batch in &batches {
            assert_eq!(batch.schema(), result.schema.arrow());
        }
        batches
    }

    /// The first result: a line of names and types, then the rows in their order.
    pub async fn answer(&self, query: &str) -> String {
        let planned = match self.plan(query).await {
            Ok(planned) => planned,
            Err(error) => panic!("{query}\n{error}"),
        };
        let result = &planned.results[0];
        let mut text = header(&result.schema);
        for batch in self.batches(result).await {
            for row in 0..batch.num_rows() {
                let cells = result.schema.columns.iter().enumerate();
                let cells: Vec<String> = cells.map(|(at, column)| cell(batch.column(at), row, column.ty)).collect();
                text.push('\n');
                text.push_str(&cells.join(" | "));
            }
        }
        text
    }

    /// The rows of the first result without their header.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        self.answer(query).await.lines().skip(1).map(str::to_string).collect()
    }

    /// The same in a fixed order, for answers without one.
    pub async fn sorted_rows(&self, query: &str) -> Vec<String> {
        let mut rows = self.rows(query).await;
        rows.sort();
        rows
    }

    /// The execution plan of the first result.
    pub async fn explain(&self, query: &str) -> String {
        let planned = self.plan(query).await.unwrap();
        let plan = execution_plan(&self.session, &planned.results[0].plan).await.unwrap();
        displayable(plan.as_ref()).indent(false).to_string()
    }
}

fn header(schema: &TableSchema) -> String {
    let columns: Vec<String> = schema.columns.iter().map(|column| format!("{}: {}", column.name, column.ty)).collect();
    columns.join(" | ")
}

fn cell(array: &dyn Array, row: usize, ty: KqlType) -> String {
    if array.is_null(row) {
        return if ty == KqlType::String { "\"\"".to_string() } else { "null".to_string() };
    }
    let whole = |array: &dyn Array| array.as_primitive::<Int64Type>().value(row);
    match ty {
        KqlType::Bool => array.as_boolean().value(row).to_string(),
        KqlType::Int => array.as_primitive::<Int32Type>().value(row).to_string(),
        KqlType::Long => whole(array).to_string(),
        KqlType::Real => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
        KqlType::DateTime => datetime::to_text(whole(array)),
        KqlType::TimeSpan => timespan::to_text(whole(array)),
        KqlType::Guid => guid::to_text(array.as_fixed_size_binary().value(row).try_into().unwrap()),
        KqlType::Decimal => Decimal::from_bytes(array.as_fixed_size_binary().value(row).try_into().unwrap()).to_text(),
        KqlType::String => format!("{:?}", array.as_string_view().value(row)),
        KqlType::Dynamic => array.as_string_view().value(row).to_string(),
    }
}
