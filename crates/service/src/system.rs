//! `system.queries`: the register of queries as a table of both languages.
//!
//! It holds every job of the Query Service API and the PostgreSQL protocol, and every query that came through Kusto's API,
//! as far as the caller may see them: jobs of the caller's organisation and sandbox where the request names one, requests of
//! others only by the rules of `.show queries`. Source: query-service-api section 24.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as EngineResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_plan::TableHandle;
use tidewater_store::{JobRecord, Store};

use crate::error::Result;
use crate::jobs::{RegisteredJob, Tenant, registered};
use crate::journal::{CANCELLED, COMPLETED, Entry, IN_PROGRESS, Journal, QUERIES, Sort};
use crate::rights::Access;
use crate::table::{Cell, Columns, TableBuilder};
use crate::usage::Consumption;

/// The database that is there without having been made; one of this name that somebody made hides it.
pub(crate) const DATABASE: &str = "system";
/// Its table.
pub(crate) const TABLE: &str = "queries";
/// Records that are read at once.
const PAGE: usize = 1_000;

const COLUMNS: Columns = &[
    ("id", KqlType::String),
    ("language", KqlType::String),
    ("state", KqlType::String),
    ("client", KqlType::String),
    ("userId", KqlType::String),
    ("organisation", KqlType::String),
    ("sandbox", KqlType::String),
    ("database", KqlType::String),
    ("text", KqlType::String),
    ("created", KqlType::DateTime),
    ("updated", KqlType::DateTime),
    ("elapsedTime", KqlType::Long),
    ("rowCount", KqlType::Long),
    ("errorCode", KqlType::String),
    ("error", KqlType::String),
    ("name", KqlType::String),
    ("templateName", KqlType::String),
    ("scheduleId", KqlType::String),
    ("application", KqlType::String),
    ("totalCpu", KqlType::TimeSpan),
    ("memoryPeak", KqlType::Long),
    ("scannedRows", KqlType::Long),
    ("scannedBytes", KqlType::Long),
];

fn schema() -> TableSchema {
    TableSchema::new(COLUMNS.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
}

/// Where the register is read, and for whom.
#[derive(Clone)]
pub(crate) struct Register {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) access: Access,
    pub(crate) tenant: Option<Tenant>,
    /// Who asks, as jobs name their makers; none through Kusto's API.
    pub(crate) user: Option<String>,
}

/// Whether a name is the database's.
pub(crate) fn is_database(name: &str) -> bool {
    name.eq_ignore_ascii_case(DATABASE)
}

/// The table of this name, if there is one.
pub(crate) fn table(register: Register, name: &str) -> Option<Arc<TableHandle>> {
    (name == TABLE).then(|| {
        Arc::new(TableHandle {
            database: DATABASE.to_string(),
            name: TABLE.to_string(),
            schema: schema(),
            provider: Arc::new(QueriesTable { register }),
            is_filled: true,
        })
    })
}

struct QueriesTable {
    register: Register,
}

impl std::fmt::Debug for QueriesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueriesTable").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for QueriesTable {
    fn schema(&self) -> SchemaRef {
        schema().arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let whole = schema().arrow();
        let wanted = projection.cloned().unwrap_or_else(|| (0..whole.fields().len()).collect());
        let schema: SchemaRef = Arc::new(whole.project(&wanted)?);
        let rows = Arc::new(Rows { register: self.register.clone(), wanted, schema: Arc::clone(&schema) });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![rows], None, None, false, limit)?))
    }
}

/// The register's rows: jobs from the newest on, a page at a time, then the queries of Kusto's API.
struct Rows {
    register: Register,
    wanted: Vec<usize>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let sender = builder.tx();
        let (register, wanted) = (self.register.clone(), self.wanted.clone());
        builder.spawn(async move {
            let mut pages = register.job_pages();
            while let Some(rows) = pages.next(&register).await.map_err(crate::error::Error::into_engine)? {
                if sender.send(batch(rows, &wanted)).await.is_err() {
                    return Ok(());
                }
            }
            let entries = register.entries().await.map_err(crate::error::Error::into_engine)?;
            for part in entries.chunks(PAGE) {
                if sender.send(batch(part.iter().map(row_of_entry).collect(), &wanted)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(())
        });
        builder.build()
    }
}

fn batch(rows: Vec<Vec<Cell>>, wanted: &[usize]) -> EngineResult<RecordBatch> {
    let mut table = TableBuilder::new(COLUMNS);
    rows.into_iter().for_each(|row| table.row(row));
    let (_, batch) = table.into_batch().map_err(crate::error::Error::into_engine)?;
    Ok(batch.project(wanted)?)
}

/// Where a reading of all jobs stands.
struct JobPages {
    before: Option<i64>,
    /// Records of that time that were given already: those of other tenants may share it.
    given: Vec<(String, String)>,
}

impl JobPages {
    async fn next(&mut self, register: &Register) -> Result<Option<Vec<Vec<Cell>>>> {
        let Some(before) = self.before else { return Ok(None) };
        let records = register.page(before, PAGE + self.given.len()).await?;
        let full = records.len() >= PAGE + self.given.len();
        let last = records.last().map(|record| record.created);
        let key = |record: &JobRecord| (record.scope.clone(), record.id.clone());
        let fresh: Vec<&JobRecord> = records.iter().filter(|record| !self.given.contains(&key(record))).collect();
        let rows = fresh.iter().filter_map(|record| register.row_of_job(record)).collect();
        let given = records.iter().filter(|record| Some(record.created) == last).map(key).collect();
        self.given = given;
        self.before = last.filter(|_| full);
        Ok(Some(rows))
    }
}

impl Register {
    fn job_pages(&self) -> JobPages {
        JobPages { before: Some(i64::MAX), given: Vec::new() }
    }

    async fn page(&self, before: i64, limit: usize) -> Result<Vec<JobRecord>> {
        Ok(match &self.tenant {
            None => self.store.jobs().newest(crate::jobs::KIND, before, limit).await?,
            Some(tenant) => {
                let page = tidewater_store::JobPage {
                    order: tidewater_store::JobOrder::Created,
                    descending: true,
                    from: None,
                    to: Some(before),
                    limit,
                };
                self.store.jobs().list(crate::jobs::KIND, &tenant.scope(), page, |_| true).await?
            }
        })
    }

    fn row_of_job(&self, record: &JobRecord) -> Option<Vec<Cell>> {
        let RegisteredJob { job, tenant, language, database, text, used } = registered(record)?;
        let database = database.unwrap_or_default();
        // A job's record is its maker's and the administrators', as everywhere.
        let is_own = self.user.as_deref() == Some(job.user.as_str()) || self.access.is_own(&job.user);
        if !is_own && !self.access.is_cluster_admin() {
            return None;
        }
        let error = job.errors.first();
        let mut row = vec![
            job.id.into(),
            language.name().into(),
            job.state.name().into(),
            job.client.into(),
            job.user.into(),
            tenant.organisation.into(),
            tenant.sandbox.into(),
            database.into(),
            text.into(),
            ticks(job.created).into(),
            ticks(job.updated).into(),
            job.elapsed_ms.into(),
            job.row_count.into(),
            error.map(|error| error.code.as_str()).into(),
            error.map(|error| error.message.as_str()).into(),
            job.request.get("name").and_then(serde_json::Value::as_str).into(),
            job.template_name.as_deref().into(),
            job.schedule.as_ref().map(|run| run.schedule.as_str()).into(),
            "".into(),
        ];
        row.extend(figures(used.as_ref()));
        Some(row)
    }

    /// The queries of Kusto's API, newest first.
    async fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = self.journal.ended(QUERIES, None).await?;
        entries.extend(self.journal.running(|sort| sort == Sort::Query));
        entries.retain(|entry| !entry.is_job && self.access.may_see_request(&entry.principal, &entry.database));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_ticks));
        Ok(entries)
    }
}

fn ticks(micros: i64) -> i64 {
    micros.saturating_mul(10).saturating_add(UNIX_EPOCH_TICKS)
}

fn row_of_entry(entry: &Entry) -> Vec<Cell> {
    const TICKS_PER_MILLISECOND: i64 = 10_000;
    let state = match entry.state.as_str() {
        IN_PROGRESS => "IN_PROGRESS",
        COMPLETED => "SUCCESS",
        CANCELLED => "KILLED",
        _ if entry.failure_code == "Timeout" => "TIMEOUT",
        _ => "FAILED",
    };
    let has_ended = entry.state != IN_PROGRESS;
    let rows: u64 = entry.consumption.tables.iter().map(|table| table.rows).sum();
    let mut row = vec![
        entry.client_request_id.as_str().into(),
        "kql".into(),
        state.into(),
        "Kusto".into(),
        entry.principal.as_str().into(),
        "".into(),
        "".into(),
        entry.database.as_str().into(),
        entry.text.as_str().into(),
        entry.started_ticks.into(),
        entry.updated_ticks.into(),
        (entry.duration_ticks / TICKS_PER_MILLISECOND).into(),
        if has_ended { rows.into() } else { Cell::Null },
        entry.failure_code.as_str().into(),
        entry.failure.as_str().into(),
        "".into(),
        "".into(),
        "".into(),
        entry.application.as_str().into(),
    ];
    row.extend(figures(has_ended.then_some(&entry.consumption)));
    row
}

/// What a query took; nulls while that is open.
fn figures(used: Option<&Consumption>) -> [Cell; 4] {
    match used {
        None => [Cell::Null, Cell::Null, Cell::Null, Cell::Null],
        Some(used) => [
            (used.user_ticks + used.kernel_ticks).into(),
            used.peak_bytes.into(),
            used.scans.scanned_rows.into(),
            used.scans.scanned_bytes.into(),
        ],
    }
}
