//! Blocks of statements with a handler, and variables. Source: the page on the syntax of Query Service, anonymous block.

use datafusion::common::ScalarValue;
use futures::StreamExt;
use tidewater_plan::sql::{self, SqlFault, Statement, fault_of};

use super::super::session::{Applied, SessionObjects, needs_connection};
use super::{Done, Run, scope};
use crate::context::Context;
use crate::service::Service;

/// SQLSTATE of a query that gives more than one value.
const CARDINALITY: &str = "21000";

impl Run {
    /// One statement of a script; nothing where it was about the session.
    pub(super) async fn one(
        &self,
        service: &Service,
        context: &Context,
        statement: &Statement,
        objects: &mut SessionObjects,
    ) -> Result<Option<Done>, SqlFault> {
        if let Statement::DropView { view, .. } = statement
            && view.database.is_none()
            && objects.drop_view(&view.table)
        {
            return Ok(None);
        }
        let statement = sql::with_variables(statement, objects.variables())?;
        if let Statement::SetVariable { name, query } = &statement {
            let value = self.value(service, context, query, objects).await?;
            objects.set_variable(name, sql::literal(&value))?;
            return Ok(None);
        }
        let (statement, values) = match objects.apply(&statement)? {
            Applied::Nothing => return Ok(None),
            Applied::Statement(statement, values) => (statement, values),
            Applied::Rows(batch) => {
                let rows = futures::stream::iter([Ok(batch.clone())]);
                return self.keep(service, batch.schema(), rows).await.map(Some);
            }
        };
        let next = self.statement(service, context, &statement, objects, values).await?;
        if let Statement::CreateView { view, temporary: true, .. } = statement.as_ref() {
            objects.add_view(&view.table, next.view.clone())?;
        }
        Ok(Some(next))
    }

    /// A block: when a statement fails, those of the handler run in place of the ones after it, and the block has ended well.
    pub(super) async fn block(
        &self,
        service: &Service,
        context: &Context,
        (body, handler): (&[Statement], Option<&[Statement]>),
        objects: &mut SessionObjects,
        mut done: Done,
    ) -> Result<Done, SqlFault> {
        let whole = body.iter().chain(handler.unwrap_or_default());
        if let Some(what) = whole.clone().find_map(needs_connection) {
            return Err(SqlFault::not_served(format!("{what} in a block")));
        }
        let mut failed = None;
        for statement in body {
            match self.one(service, context, statement, objects).await {
                Ok(Some(next)) => done = done.then(service, next),
                Ok(None) => {}
                Err(fault) => {
                    failed = Some(fault);
                    break;
                }
            }
        }
        match (failed, handler) {
            (None, _) => Ok(done),
            (Some(fault), None) => Err(fault),
            (Some(fault), Some(handler)) => {
                tracing::debug!(code = fault.code, "a block's handler runs");
                for statement in handler {
                    if let Some(next) = self.one(service, context, statement, objects).await? {
                        done = done.then(service, next);
                    }
                }
                Ok(done)
            }
        }
    }

    /// The one value of a query; null where it has no row.
    async fn value(
        &self,
        service: &Service,
        context: &Context,
        query: &datafusion::sql::sqlparser::ast::Statement,
        objects: &SessionObjects,
    ) -> Result<ScalarValue, SqlFault> {
        let (mut scope, seen) = scope(service, context, self.body.database.as_deref())?;
        objects.scope(None).apply(&mut scope, seen.snapshot());
        let rows = self.plan(service, &scope, query).await;
        let rows = rows
            .map_err(|fault| super::forbidden_name(&fault, &seen).map_or(fault, |denial| super::forbidden(&denial)))?;
        if rows.schema.columns.len() != 1 {
            let message = format!("a variable takes one column, found {}", rows.schema.columns.len());
            return Err(SqlFault::new(sql::SYNTAX, message));
        }
        let mut stream = self.stream(service, &rows).await?;
        let mut found = None;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| fault_of(&error))?;
            if batch.num_rows() == 0 {
                continue;
            }
            if batch.num_rows() > 1 || found.is_some() {
                return Err(SqlFault::new(CARDINALITY, "a variable takes one row, found more"));
            }
            found = Some(ScalarValue::try_from_array(batch.column(0), 0).map_err(|error| fault_of(&error))?);
        }
        Ok(found.unwrap_or(ScalarValue::Null))
    }
}
