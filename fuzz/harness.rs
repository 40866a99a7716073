// Runs a text through the binder, or as a whole query over small tables, within bounds of rows, time and memory. What panics, hangs
// or grows without bound is a fault. Shared by the fuzz targets and by the seeded run in the planner's tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tidewater_plan::session::{SessionOptions, execution_plan, new_session};
use tidewater_plan::{CatalogView, PlanContext, PlannedResult, StoredFunction, TableHandle, plan_query};

/// Rows of a result that are looked at.
const MAX_ROWS: usize = 20_000;
/// Time for the rows of a query.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time after which an input is a fault: planning and what does not give way included.
pub const MOST_SECONDS: u64 = 40;
const MEMORY_BYTES: usize = 256 << 20;

/// The tables: names that queries of the case files use.
const TABLES: &[(&str, &str)] = &[
    (
        "T",
        "datatable(a: long, b: string, s: string, n: long, x: real, y: real, t: datetime, d: dynamic, k: string, v: long, id: long, l: long)[
         1, 'x', 'one two', 1, 1.5, real(nan), datetime(2020-01-01), dynamic({'a': [1, 2], 'b': 'c'}), 'k1', 10, 1, 5,
         long(null), '', '', 2, real(null), -0.0, datetime(null), dynamic(null), '', long(null), 2, 9223372036854775807,
         -5, 'ünï', 'x=1, y=\"two\"; z', 3, real(inf), 1e300, datetime(9999-12-31 23:59:59.9999999), dynamic([1, 'a', null, {}]), 'k1', 3, 3, -9223372036854775807]",
    ),
    (
        "U",
        "datatable(k: string, w: long, g: guid, e: decimal, p: timespan, f: bool, i: int)[
         'k1', 1, guid(74be27de-1e4e-49d9-b579-fe0b331d3642), decimal(1.5), 1h, true, 5,
         '', long(null), guid(null), decimal(null), timespan(null), bool(null), int(null)]",
    ),
    (
        "Logs",
        "datatable(Timestamp: datetime, Level: string, Service: string, Message: string, Status: int, Properties: dynamic)[
         datetime(2026-01-01), 'Error', 'web', 'GET /x', 500, dynamic({'region': 'eu'}),
         datetime(2026-01-02), 'Information', 'api', 'POST /y', 200, dynamic(null)]",
    ),
];

struct View {
    tables: Vec<Arc<TableHandle>>,
}

impl CatalogView for View {
    fn current_database(&self) -> &str {
        "Test"
    }

    fn database_names(&self) -> Vec<String> {
        vec!["Test".to_string()]
    }

    fn table(&self, _database: &str, name: &str) -> Option<Arc<TableHandle>> {
        self.tables.iter().find(|table| table.name == name).cloned()
    }

    fn table_names(&self, _database: &str) -> Vec<String> {
        self.tables.iter().map(|table| table.name.clone()).collect()
    }

    fn function(&self, _database: &str, name: &str) -> Option<StoredFunction> {
        (name == "F").then(|| StoredFunction {
            name: "F".to_string(),
            parameters: "(q: long = 1)".to_string(),
            body: "{ T | where a > q }".to_string(),
            folder: String::new(),
            docstring: String::new(),
            is_view: false,
        })
    }
}

/// Tables, a session and threads for many inputs.
pub struct Harness {
    view: View,
    session: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl Harness {
    pub fn new() -> Harness {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()
            .expect("threads can be made");
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY_BYTES)))
            .build_arc()
            .expect("the settings are right");
        let options = SessionOptions { target_partitions: 2, runtime: environment, ..SessionOptions::default() };
        let mut harness = Harness { view: View { tables: Vec::new() }, session: new_session(&options), runtime };
        for (name, text) in TABLES {
            let table = harness.runtime.block_on(async {
                let planned = plan_query(text, &harness.view, &context(), &harness.session).await.expect("a datatable");
                let result = &planned.results[0];
                let plan = execution_plan(&harness.session, &result.plan).await.expect("a plan");
                let batches = datafusion::physical_plan::collect(plan, harness.session.task_ctx()).await.expect("rows");
                let provider = Arc::new(MemTable::try_new(result.schema.arrow(), vec![batches]).expect("one schema"));
                TableHandle {
                    database: "Test".to_string(),
                    name: name.to_string(),
                    schema: result.schema.clone(),
                    provider,
                    is_filled: false,
                }
            });
            harness.view.tables.push(Arc::new(table));
        }
        harness
    }

    /// Plans a text as a query. Values that binding waits for are computed.
    pub fn bind(&self, text: &str) -> bool {
        let started = Instant::now();
        let planned = self.runtime.block_on(plan_query(text, &self.view, &context(), &self.session));
        in_time(started, text);
        planned.is_ok()
    }

    /// Plans and runs a text as a query; whether every row was computed without an error.
    pub fn query(&self, text: &str) -> bool {
        let started = Instant::now();
        let outcome = self.runtime.block_on(async {
            let Ok(planned) = plan_query(text, &self.view, &context(), &self.session).await else { return false };
            let run = async {
                let mut is_ok = true;
                for result in &planned.results {
                    is_ok &= self.run(result).await;
                }
                is_ok
            };
            tokio::time::timeout(PATIENCE, run).await.unwrap_or(false)
        });
        in_time(started, text);
        outcome
    }

    async fn run(&self, result: &PlannedResult) -> bool {
        let Ok(plan) = execution_plan(&self.session, &result.plan).await else { return false };
        assert_eq!(plan.schema(), result.schema.arrow(), "the plan gives other columns than were promised");
        let Ok(mut rows) = execute_stream(plan, self.session.task_ctx()) else { return false };
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let Ok(batch) = batch else { return false };
            assert_eq!(batch.schema(), result.schema.arrow(), "rows of other columns than were promised");
            count += batch.num_rows();
            if count > MAX_ROWS {
                break;
            }
        }
        true
    }
}

fn in_time(started: Instant, text: &str) {
    let spent = started.elapsed();
    assert!(spent < Duration::from_secs(MOST_SECONDS), "{spent:?} for\n{text}");
}

fn context() -> PlanContext {
    PlanContext { now_ticks: 638_000_000_000_000_000, parameters: HashMap::new(), seed: 7, ..PlanContext::default() }
}
