//! Queries: one snapshot, one plan, bounded streams.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::execute_stream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::exec::explain;
use tidewater_plan::session::{task_context, with_partitions};
use tidewater_plan::{PlanContext, PlanError, PlannedResult};

use crate::answer::{QueryAnswer, ResultTable};
use crate::context::{Context, MAX_TIMEOUT, RequestOptions};
use crate::error::{Error, Fault, Result};
use crate::journal::{Mark, Sort};
use crate::limits::{Bounds, bounded};
use crate::memory::{self, MemoryBounds};
use crate::service::Service;
use crate::table::{Columns, TableBuilder};
use crate::view::View;
use crate::workload;
use crate::workload::definition::{Limit, RequestLimits};
use crate::workload::gate::{Asked, Permit};

/// The longest query text.
pub const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;

impl Service {
    /// Runs a query. Its rows are computed while the answer's streams are read.
    pub async fn query(&self, mut context: Context, text: &str) -> Result<QueryAnswer> {
        let mark = self.inner().journal.begin(Sort::Query, &context, text);
        let outcome = self.query_marked(&mut context, text, &mark).await;
        outcome.map_err(|error| {
            let error = mark.explain(error);
            mark.fail(&error);
            error
        })
    }

    async fn query_marked(&self, context: &mut Context, text: &str, mark: &Arc<Mark>) -> Result<QueryAnswer> {
        let permit = self.admit(context, text, Asked::Query, Some(mark)).await?;
        let context = &*context;
        let view = self.readable(context)?;
        if crate::tsql::is_asked(context, text) {
            return self.run_tsql(context, text, &view, mark, permit).await;
        }
        self.run_planned(context, text, &view, mark, Some(permit)).await
    }

    /// How a query would run: the text of each result's execution plan. Only what binding waits for is computed.
    pub async fn explain(&self, context: &Context, text: &str) -> Result<Vec<String>> {
        let mut context = context.clone();
        let permit = self.admit(&mut context, text, Asked::Query, None).await?;
        let context = &context;
        let view = self.readable(context)?;
        let planned = self.plan(context, text, &view, permit).await?;
        let mut plans = Vec::with_capacity(planned.results.len());
        for result in planned.results {
            plans.push(explain::text(&self.physical(context, self.session(), &result.plan).await?));
        }
        Ok(plans)
    }

    /// The request's view of the catalog as it is now.
    ///
    /// *Errors*: there is no such database; its caller may not read it.
    pub(crate) fn readable(&self, context: &Context) -> Result<View> {
        let snapshot = self.inner().store.snapshot();
        let view = View::new(self, context, Arc::clone(&snapshot), &context.database)?;
        let database = snapshot.database(&context.database);
        view.access().require_query(database.ok_or_else(|| Error::database_not_found(&context.database))?)?;
        Ok(view)
    }

    /// Finds a request's workload group and lets it in, or refuses it.
    pub(crate) async fn admit(
        &self,
        context: &mut Context,
        text: &str,
        asked: Asked,
        mark: Option<&Arc<Mark>>,
    ) -> Result<Permit> {
        if self.is_stopping() {
            return Err(Error::new(Fault::Stopping, "the server is stopping"));
        }
        if text.len() > MAX_TEXT_BYTES {
            let size = text.len();
            return Err(Error::bad_request(format!(
                "the text has {size} bytes, which exceeds the limit of {MAX_TEXT_BYTES}"
            )));
        }
        let is_query = asked == Asked::Query;
        let name = self.classified(context, text, is_query).await;
        let workloads = self.inner().workloads.get();
        // Nobody's request is the service's own.
        let name = name.filter(|name| name != workload::INTERNAL && name != workload::VIEWS);
        let group = workloads.group(name.as_deref().unwrap_or(workload::DEFAULT));
        context.usage.set_workload_group(&group.name);
        if let Some(mark) = mark.filter(|_| !group.is_default()) {
            mark.note(|entry| entry.workload_group = group.name.clone());
        }
        if let Some(limit) = group.definition.limits.time {
            // What a command may take by itself is more than what a query may, which is what the default group says.
            let holds = match limit.relaxable {
                true => !context.has_timeout() && (is_query || !group.is_default()),
                false => true,
            };
            if holds {
                let most = Duration::from_nanos(limit.value.saturating_mul(100)).min(MAX_TIMEOUT);
                context.deadline = context.deadline.min(context.started + most);
            }
        }
        context.group = Some(Arc::clone(&group));
        self.inner().workloads.gate.enter(&group, context, asked).await
    }

    /// Plans a text over a view and wraps its results by limits. The permit lives as long as the streams.
    pub(crate) async fn run_planned(
        &self,
        context: &Context,
        text: &str,
        view: &View,
        mark: &Arc<Mark>,
        permit: Option<Permit>,
    ) -> Result<QueryAnswer> {
        let permit = Arc::new(permit);
        let planned = self.plan(context, text, view, Arc::clone(&permit)).await?;
        let script = RequestOptions::new(planned.options);
        let options = merged(&context.options, &script);
        if options.flag("validatepermissions") {
            let (table, rows) = (permitted()?, context.usage.open_table());
            context.usage.grow_table(rows, 1, 2);
            return Ok(QueryAnswer { results: vec![table], options });
        }
        let limits = context.limits();
        let bounds = memory_bounds(&context.options, &script, &limits);
        let runtime = memory::for_query(&self.inner().runtime_env, &context.usage, bounds);
        let session = self.session_for(&options, &limits)?;
        let mut results = Vec::with_capacity(planned.results.len());
        for result in planned.results {
            // What `set` says binds the statements that follow it.
            let script = RequestOptions::new(result.options.iter().map(|(name, value)| (name.clone(), value.clone())));
            let bounds = Bounds::of(&context.options, &script, &limits)?;
            if merged(&context.options, &script).flag("query_results_apply_getschema") {
                let at = context.usage.open_table();
                context.usage.grow_table(at, result.schema.columns.len() as u64, 0);
                results.push(schema_of(&result.schema)?);
                continue;
            }
            let (rows, result) = self.rows(context, &session, &runtime, result).await?;
            let mark = Arc::clone(mark);
            let told = {
                let mark = Arc::clone(&mark);
                move |error: Error| {
                    let error = mark.explain(error);
                    mark.fail(&error);
                    error
                }
            };
            let keep = (Arc::clone(&permit), mark);
            let rows = bounded(rows, bounds, context.deadline, context.cancel.clone(), &context.usage, keep);
            results.push(ResultTable {
                name: result.name.unwrap_or_else(|| "PrimaryResult".to_string()),
                schema: result.schema,
                visualization: result.visualization,
                is_sorted: result.is_sorted,
                rows: rows.map_err(told).boxed(),
            });
        }
        Ok(QueryAnswer { results, options })
    }

    /// The rows of a result under the service's own settings, for what is not a caller's answer.
    pub(crate) async fn plain_rows(
        &self,
        context: &Context,
        result: PlannedResult,
    ) -> Result<(BoxStream<'static, Result<arrow::array::RecordBatch>>, PlannedResult)> {
        let none = RequestOptions::default();
        let bounds = memory_bounds(&none, &none, &context.limits());
        let runtime = memory::for_query(&self.inner().runtime_env, &context.usage, bounds);
        self.rows(context, &self.inner().session, &runtime, result).await
    }

    /// The stream of a result, which begins to run when it is first read.
    async fn rows(
        &self,
        context: &Context,
        session: &SessionContext,
        runtime: &Arc<RuntimeEnv>,
        mut result: PlannedResult,
    ) -> Result<(BoxStream<'static, Result<arrow::array::RecordBatch>>, PlannedResult)> {
        let plan = std::mem::take(&mut result.plan);
        let physical = self.physical(context, session, &plan).await?;
        let task = task_context(session, Arc::clone(runtime));
        context.usage.end_with(&context.cancel, context.deadline);
        let started = futures::stream::once(async move {
            execute_stream(physical, task).map(|stream| stream.map_err(Error::from)).map_err(Error::from)
        });
        // A fault of an operator ends its query, not the process.
        let guarded = AssertUnwindSafe(started.try_flatten()).catch_unwind();
        let rows =
            guarded.map(|item| item.unwrap_or_else(|_| Err(Error::internal("an operator of the query panicked"))));
        Ok((context.usage.stream(rows.boxed()).boxed(), result))
    }

    /// The session that a query's options ask for: the shared one, or one with fewer threads.
    fn session_for(&self, options: &RequestOptions, limits: &RequestLimits) -> Result<SessionContext> {
        let shared = &self.inner().session;
        let asked = options.long("query_fanout_threads_percent")?.map(|percent| percent.clamp(1, 100) as u64);
        let percent = Limit::with(limits.threads_percent, asked).unwrap_or(100);
        if percent >= 100 {
            return Ok(shared.clone());
        }
        let threads = shared.copied_config().target_partitions() as u64;
        Ok(with_partitions(shared, (threads * percent / 100).max(1) as usize))
    }
}

/// The memory that request and script allow, the lower of two, within what the workload group allows.
fn memory_bounds(request: &RequestOptions, script: &RequestOptions, limits: &RequestLimits) -> MemoryBounds {
    let lower = |name: &str| {
        let values = [request.long(name).ok().flatten(), script.long(name).ok().flatten()];
        values.into_iter().flatten().filter(|bytes| *bytes > 0).min().map(|bytes| bytes as u64)
    };
    let within = |limit: Option<Limit>, name: &str| Limit::with(limit, lower(name)).map(|bytes| bytes as usize);
    MemoryBounds {
        query: within(limits.query_memory, "max_memory_consumption_per_query_per_node"),
        operator: within(limits.operator_memory, "maxmemoryconsumptionperiterator"),
    }
}

/// What the planner is told about a request.
pub(crate) fn plan_context(context: &Context) -> Result<PlanContext> {
    Ok(PlanContext {
        now_ticks: context.now_ticks,
        parameters: context.parameters.clone(),
        options: context.options.values().clone(),
        seed: context.activity_id.as_u64_pair().0,
        current_principal: context.principal.clone(),
        principal: crate::rights::described(&context.identity),
        client_request_id: context.client_request_id.clone(),
    })
}

/// Planning errors as the service's.
pub(crate) fn of_plan(error: PlanError, text: &str) -> Error {
    match error {
        PlanError::Diagnostics { text, diagnostics } => Error::of_diagnostics(&text, diagnostics),
        PlanError::Engine(error) => Error::from(error),
        other => {
            tracing::debug!(bytes = text.len(), "a query exceeds a limit of the planner");
            Error::bad_request(other.to_string())
        }
    }
}

/// The request's options with what the script sets beside them.
fn merged(request: &RequestOptions, script: &RequestOptions) -> RequestOptions {
    let mut options = request.clone();
    for (name, value) in script.values() {
        options.set(name, value.clone());
    }
    options
}

/// The answer to `validatepermissions`: one text. Source: request-properties page; the column's name is ours.
fn permitted() -> Result<ResultTable> {
    let mut table = TableBuilder::new(&[("Result", KqlType::String)]);
    table.row(vec!["OK".into()]);
    table.finish()
}

const SCHEMA: Columns = &[
    ("ColumnName", KqlType::String),
    ("ColumnOrdinal", KqlType::Int),
    ("DataType", KqlType::String),
    ("ColumnType", KqlType::String),
];

/// A result's schema as a table, in place of its rows.
fn schema_of(schema: &TableSchema) -> Result<ResultTable> {
    let mut table = TableBuilder::new(SCHEMA);
    for (at, column) in schema.columns.iter().enumerate() {
        table.row(vec![
            column.name.as_str().into(),
            at.into(),
            column.ty.system_name().into(),
            column.ty.name().into(),
        ]);
    }
    table.finish()
}
