//! T-SQL on the query endpoints: the statement's KQL is run like any other. Source: the T-SQL page of the reference.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::tsql::{self, Fault as SqlFault, Translated};

use crate::answer::QueryAnswer;
use crate::context::{Context, DEFAULT_QUERY_TIMEOUT};
use crate::error::{Error, Result};
use crate::journal::Mark;
use crate::service::Service;
use crate::table::TableBuilder;
use crate::view::View;
use crate::workload::gate::Permit;

/// Functions, views and subqueries of one statement whose schemas must be found out first.
const MAX_SCHEMAS: usize = 64;

/// Whether a text is T-SQL: the request says so, or its first line does.
pub(crate) fn is_asked(context: &Context, text: &str) -> bool {
    let language = context.options.text("query_language");
    language.is_some_and(|language| language.eq_ignore_ascii_case("sql")) || tsql::is_tsql(text)
}

impl Service {
    /// Runs a statement; `EXPLAIN` answers with its KQL.
    pub(crate) async fn run_tsql(
        &self,
        context: &Context,
        text: &str,
        view: &View,
        mark: &Arc<Mark>,
        permit: Permit,
    ) -> Result<QueryAnswer> {
        let translated = self.translated(context, text, view).await?;
        let mut context = Cow::Borrowed(context);
        if !translated.options.is_empty() {
            let own = context.to_mut();
            for (name, value) in &translated.options {
                own.options.set(name, value.clone());
            }
            own.apply_options(DEFAULT_QUERY_TIMEOUT)?;
        }
        if translated.explain {
            let mut table = TableBuilder::new(&[("Query", KqlType::String)]);
            table.row(vec![translated.text.as_str().into()]);
            let options = context.options.clone();
            return Ok(QueryAnswer { results: vec![table.finish()?], options });
        }
        self.run_planned(&context, &translated.text, view, mark, Some(permit)).await
    }

    async fn translated(&self, context: &Context, text: &str, view: &View) -> Result<Translated> {
        let mut known: HashMap<String, TableSchema> = HashMap::new();
        loop {
            let source = match tsql::translate(text, view, &known) {
                Ok(translated) => return Ok(translated),
                Err(SqlFault::Mistake(mistake)) => return Err(Error::of_diagnostics(text, vec![*mistake])),
                Err(SqlFault::Needs(source)) => source,
            };
            if known.len() == MAX_SCHEMAS {
                return Err(Error::bad_request(format!(
                    "the statement reads more than {MAX_SCHEMAS} functions, views and subqueries"
                )));
            }
            let planned = self.plan(context, &source, view, ()).await?;
            let schema = planned.results.into_iter().next().map(|result| result.schema);
            known.insert(source, schema.ok_or_else(|| Error::internal("a source of a statement has no result"))?);
        }
    }
}
