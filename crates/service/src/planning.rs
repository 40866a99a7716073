//! Planning on a task of its own, so that a request ends at its deadline or cancellation while a plan is being made.
//!
//! Planning is computation that rarely gives way. A request that does not wait for it any longer leaves it behind: it ends
//! at its next pause, or by the planner's own bounds, and until then keeps what was given to keep. Short texts are mostly
//! planned sooner than a task is begun, so they are tried at once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use tidewater_kql::diagnostic::UNRESOLVED;
use tidewater_plan::exec::output::trivial;
use tidewater_plan::session::execution_plan;
use tidewater_plan::{PlanError, PlannedQuery, plan_query};
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::query::{of_plan, plan_context};
use crate::service::Service;
use crate::usage::Phase;
use crate::view::View;

/// The longest text whose planning is tried at once.
const SHORT_BYTES: usize = 4096;

/// Ends a task that nobody waits for.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    /// Plans a text. `keep` lives as long as planning works, also when the request has ended.
    pub(crate) async fn plan(
        &self,
        context: &Context,
        text: &str,
        view: &View,
        keep: impl Send + 'static,
    ) -> Result<PlannedQuery> {
        let plan_context = plan_context(context)?;
        let (owned, seen, session) = (text.to_string(), view.clone(), self.session().clone());
        let planned = self.aside(context, text.len() <= SHORT_BYTES, async move {
            let _keep = keep;
            plan_query(&owned, &seen, &plan_context, &session).await
        });
        planned.await?.map_err(|error| {
            // What exists and may not be read does not resolve; that it is forbidden says more.
            let is_unresolved = matches!(&error, PlanError::Diagnostics { diagnostics, .. }
                if diagnostics.iter().any(|diagnostic| diagnostic.code == UNRESOLVED));
            view.denial().filter(|_| is_unresolved).unwrap_or_else(|| of_plan(error, text))
        })
    }

    /// The execution plan of a planned result.
    pub(crate) async fn physical(
        &self,
        context: &Context,
        session: &SessionContext,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(plan) = trivial(plan)? {
            return Ok(plan);
        }
        let (plan, session) = (plan.clone(), session.clone());
        self.aside(context, false, async move { execution_plan(&session, &plan).await }).await?.map_err(Error::from)
    }

    async fn aside<T: Send + 'static>(
        &self,
        context: &Context,
        is_short: bool,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        context.usage.end_with(&context.cancel, context.deadline);
        let measured = context.usage.future(Phase::Planning, Box::pin(work));
        let mut work = AssertUnwindSafe(measured).catch_unwind();
        let panicked = || Error::internal("planning the query panicked");
        if is_short && let std::task::Poll::Ready(done) = futures::poll!(&mut work) {
            return match context.ended() {
                Some(ended) => Err(ended),
                None => done.map_err(|_| panicked()),
            };
        }
        let mut task = Abandoned(self.spawn(work));
        tokio::select! {
            // A plan that comes too late is no plan, also where nobody looked at the clock in between.
            biased;
            () = context.cancel.cancelled() => Err(Error::cancelled(None)),
            () = tokio::time::sleep_until(context.deadline.into()) => Err(Error::timeout()),
            done = &mut task.0 => match (context.ended(), done) {
                (Some(ended), _) => Err(ended),
                (None, Ok(Ok(done))) => Ok(done),
                (None, _) => Err(panicked()),
            },
        }
    }
}
