//! KQL queries as jobs: one query whose result is one table. Source: query-service-api section 24.

use std::collections::{HashMap, HashSet};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use serde_json::{Map, Value};
use tidewater_kql::diagnostic::UNRESOLVED;
use tidewater_kql::parser::{is_command, parse_query};
use tidewater_plan::sql::{self, SqlFault, SqlRows, sql_columns};

use super::runner::{forbidden, of_service};
use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::query::MAX_TEXT_BYTES;
use crate::service::Service;

/// A planned query.
pub(super) struct Planned {
    /// Its rows with columns of SQL's types, as results show them.
    pub(super) rows: SqlRows,
    /// Its rows in the engine's forms of KQL's types, as tables keep them.
    pub(super) source: LogicalPlan,
}

/// Checks a text without the catalog; gives the values of its declared parameters, whose names may come with a `$`.
pub(super) fn prepare(text: &str, parameters: Map<String, Value>) -> Result<HashMap<String, Value>> {
    if text.len() > MAX_TEXT_BYTES {
        let size = text.len();
        return Err(Error::bad_request(format!("the text has {size} bytes, more than the limit of {MAX_TEXT_BYTES}")));
    }
    if is_command(text) {
        return Err(Error::bad_request("found a management command, expected a KQL query"));
    }
    let parsed = parse_query(text);
    if !parsed.is_clean() {
        return Err(Error::of_diagnostics(text, parsed.diagnostics));
    }
    Ok(parameters.into_iter().map(|(name, value)| (name.trim_start_matches('$').to_string(), value)).collect())
}

/// Plans a query over what its caller may read.
pub(super) async fn plan(service: &Service, context: &Context, text: &str) -> Result<Planned, SqlFault> {
    let view = service.readable(context).map_err(|error| fault(&error))?;
    let planned = service.plan(context, text, &view, ()).await.map_err(|error| fault(&error))?;
    let mut results = planned.results;
    let result = match (results.pop(), results.len()) {
        (Some(result), 0) => result,
        (None, _) => return Err(SqlFault::new(sql::SYNTAX, "found no query, expected one")),
        (Some(_), more) => {
            return Err(SqlFault::not_served(format!("a KQL job with {} results (one table is kept)", more + 1)));
        }
    };
    let names = scanned(&result.plan);
    let reads = view.asked().into_iter().filter(|(_, table)| names.contains(table)).collect();
    let plan = sql_columns(result.plan.clone(), &result.schema).map_err(|error| sql::fault_of(&error))?;
    Ok(Planned { rows: SqlRows { plan, schema: result.schema, reads }, source: result.plan })
}

/// The names of the tables that a plan reads.
fn scanned(plan: &LogicalPlan) -> HashSet<String> {
    let mut names = HashSet::new();
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.insert(scan.table_name.table().to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure never fails.
    drop(visited);
    names
}

/// A service error as a job's.
fn fault(error: &Error) -> SqlFault {
    match error.fault() {
        Fault::Diagnostics { diagnostics, .. } => {
            let code = match diagnostics.first() {
                Some(first) if first.is_syntax() => sql::SYNTAX,
                Some(first) if first.code == UNRESOLVED && first.message.contains("table") => sql::UNKNOWN_TABLE,
                Some(first) if first.code == UNRESOLVED => sql::UNKNOWN_COLUMN,
                _ => "42000",
            };
            let codes = diagnostics.first().map_or(String::new(), |first| format!("{}: ", first.code));
            SqlFault::new(code, format!("{codes}{}", error.message()))
        }
        Fault::NotServed => SqlFault::new(sql::NOT_SUPPORTED, error.message()),
        Fault::Forbidden => forbidden(error),
        Fault::DatabaseNotFound => SqlFault::new("3D000", error.message()),
        Fault::Cancelled => SqlFault::new(sql::CANCELLED, error.message()),
        Fault::Timeout => SqlFault::new(sql::LIMIT_EXCEEDED, error.message()),
        _ => of_service(error),
    }
}
