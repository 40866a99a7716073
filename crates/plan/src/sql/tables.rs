//! The catalog as SQL sees it: databases as schemas, KQL columns as ordinary SQL types.
//!
//! | KQL | SQL |
//! |---|---|
//! | datetime | timestamp in microseconds (a comparison with a literal becomes one of ticks and prunes) |
//! | timespan | bigint, ticks of 100 ns |
//! | guid | text |
//! | decimal | decimal(38, 18); a value that does not fit is an error |
//! | dynamic | JSON text |
//! | others | the same |

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableType, Volatility, cast, ident, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use tidewater_functions::convert;
use tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
use tidewater_kql::{KqlType, TableSchema};

use super::{SqlScope, Statement, TableName, parse_statement, plan_rows};
use crate::catalog::TableHandle;
use crate::{PlanError, plan_query};

/// Applies policies that are not enabled.
const FORCE: &str = "query_force_row_level_security";
/// The one catalog.
pub const CATALOG: &str = "tidewater";
/// The schema of unqualified names: searches the scope's databases. Not a legal database name.
pub(super) const SEARCH: &str = "<search>";

/// The table as SQL sees it: its rows, or those that its policy shows.
fn sql_table(handle: &TableHandle, shown: Option<LogicalPlan>) -> Result<Arc<dyn TableProvider>> {
    let plan = match shown {
        Some(plan) => plan,
        None => LogicalPlanBuilder::scan("t", provider_as_source(Arc::clone(&handle.provider)), None)?.build()?,
    };
    Ok(Arc::new(ViewTable::new(sql_columns(plan, &handle.schema)?, None)))
}

/// The type that a column of a KQL type has in SQL.
pub fn sql_type(ty: KqlType) -> DataType {
    match ty {
        KqlType::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        KqlType::Guid => DataType::Utf8View,
        KqlType::Decimal => DataType::Decimal128(38, 18),
        ty => ty.arrow(),
    }
}

/// A plan in the engine's forms of KQL's types with its columns as SQL sees them.
pub fn sql_columns(plan: LogicalPlan, schema: &TableSchema) -> Result<LogicalPlan> {
    let columns = schema.columns.iter().map(|column| {
        let value = ident(&column.name);
        let value = match column.ty {
            KqlType::DateTime => ScalarUDF::from(TicksToTimestamp::new()).call(vec![value]),
            KqlType::Guid => convert::expr(value, KqlType::Guid, KqlType::String)?,
            KqlType::Decimal => {
                // The text of a null is the empty one.
                let text = nullif(convert::expr(value, KqlType::Decimal, KqlType::String)?, lit(""));
                cast(text, DataType::Decimal128(38, 18))
            }
            _ => value,
        };
        Ok(value.alias(&column.name))
    });
    LogicalPlanBuilder::from(plan).project(columns.collect::<Result<Vec<Expr>>>()?)?.build()
}

/// Stands for the rows of a materialized view, which the query language gives.
#[derive(Debug)]
struct Materialized {
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Materialized {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Plan("a materialized view is read through its query".to_string()))
    }
}

impl SqlScope {
    /// What can be read beside tables: external tables and materialized views.
    pub(super) fn beside_tables(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        let own = |names: Vec<String>| {
            let exact = names.iter().find(|own| *own == name).cloned();
            exact.or_else(|| names.into_iter().find(|own| own.eq_ignore_ascii_case(name)))
        };
        if let Some(own) = own(self.view.materialized_view_names(database)) {
            let schema = self.view.materialized_view(database, &own)?.schema;
            let provider = Arc::new(Materialized { schema: schema.arrow() });
            let database = database.to_string();
            return Some(Arc::new(TableHandle { database, name: own, schema, provider, is_filled: true }));
        }
        let own = own(self.view.external_table_names(database))?;
        self.view.external_table(database, &own, None)?.ok()
    }

    fn is_materialized(&self, handle: &TableHandle) -> bool {
        self.view.table(&handle.database, &handle.name).is_none()
            && self.view.materialized_view_names(&handle.database).contains(&handle.name)
    }
}

/// The catalog of a scope.
#[derive(Clone)]
pub struct SqlCatalogs {
    scope: SqlScope,
    session: SessionContext,
}

impl SqlCatalogs {
    /// Over what a statement sees; `session` plans the queries of policies.
    pub fn new(scope: SqlScope, session: SessionContext) -> Self {
        Self { scope, session }
    }
}

impl std::fmt::Debug for SqlCatalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlCatalogs")
    }
}

impl CatalogProviderList for SqlCatalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_string()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for SqlCatalogs {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.scope.view.database_names();
        names.extend(self.scope.schemas.keys().cloned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(schema) = self.scope.schemas.get(name) {
            return Some(Arc::clone(schema));
        }
        let database = match name {
            SEARCH => None,
            name => Some(self.scope.view.database(name)?),
        };
        Some(Arc::new(SqlSchema { scope: self.scope.clone(), session: self.session.clone(), database }))
    }
}

struct SqlSchema {
    scope: SqlScope,
    session: SessionContext,
    database: Option<String>,
}

impl std::fmt::Debug for SqlSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqlSchema({:?})", self.database)
    }
}

impl SqlSchema {
    fn name(&self, table: &str) -> TableName {
        TableName { database: self.database.clone(), table: table.to_string() }
    }

    /// The rows of a materialized view, or those of a table that its policy of row level security shows, as the query
    /// language gives them; `None` where the table gives them itself.
    async fn shown(&self, handle: &TableHandle) -> Result<Option<LogicalPlan>> {
        let scope = &self.scope;
        if !scope.is_materialized(handle) {
            let Some(policy) = scope.view.row_security(&handle.database, &handle.name) else { return Ok(None) };
            let is_forced = scope.context.options.get(FORCE).and_then(serde_json::Value::as_bool) == Some(true);
            if !policy.is_enabled && !is_forced {
                return Ok(None);
            }
        }
        let text = |name: &str| serde_json::Value::from(name).to_string();
        let query = format!("database({}).table({})", text(&handle.database), text(&handle.name));
        let planned = Box::pin(plan_query(&query, scope.view.as_ref(), &scope.context, &self.session)).await;
        let mut planned = planned.map_err(|error| match error {
            PlanError::Engine(error) => error,
            PlanError::Diagnostics { diagnostics, .. } => {
                let told = diagnostics.into_iter().next().map(|first| first.message).unwrap_or_default();
                DataFusionError::Plan(format!("table '{}' cannot be read: {told}", handle.name))
            }
            other => DataFusionError::Plan(format!("table '{}' cannot be read: {other}", handle.name)),
        })?;
        match planned.results.pop() {
            Some(result) if result.schema == handle.schema => Ok(Some(result.plan)),
            // Never the table itself instead.
            _ => Err(DataFusionError::Plan(format!("table '{}' cannot be read by its policy", handle.name))),
        }
    }
}

impl SqlSchema {
    /// A view, for who asks what columns it has: statements have its query in its place.
    async fn view(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(database) = &self.database else { return Ok(None) };
        let Some(view) = self.scope.view_of(&self.name(name)) else { return Ok(None) };
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let text = format!("SELECT * FROM {}.{}", quoted(database), quoted(name));
        let Ok(Statement::Rows(query)) = parse_statement(&text) else { return Ok(None) };
        // One that cannot be read any more, or not by this caller, is not there for them.
        match Box::pin(plan_rows(&query, &self.scope, &self.session)).await {
            Ok(rows) => Ok(Some(Arc::new(ViewTable::new(rows.plan, Some(view.query))))),
            Err(_) => Ok(None),
        }
    }
}

#[async_trait]
impl SchemaProvider for SqlSchema {
    fn table_names(&self) -> Vec<String> {
        let all = |database: &String| {
            let mut names = self.scope.view.table_names(database);
            names.extend(self.scope.view.external_table_names(database));
            names.extend(self.scope.view.materialized_view_names(database));
            names.extend(self.scope.views.names(database));
            names
        };
        match &self.database {
            Some(database) => all(database),
            None => self.scope.search.iter().flat_map(all).collect(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(handle) = self.scope.table(&self.name(name)) else { return self.view(name).await };
        let shown = self.shown(&handle).await?;
        sql_table(&handle, shown).map(Some)
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let Some(handle) = self.scope.table(&self.name(name)) else {
            return Ok(self.scope.view_of(&self.name(name)).map(|_| TableType::View));
        };
        Ok(Some(if self.scope.is_materialized(&handle) { TableType::View } else { TableType::Base }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.scope.table(&self.name(name)).is_some()
    }
}

/// Ticks since year 1 as a timestamp in microseconds since 1970; the seventh digit is cut.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TicksToTimestamp {
    signature: Signature,
}

impl TicksToTimestamp {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable) }
    }
}

fn micros(ticks: i64) -> i64 {
    (ticks - UNIX_EPOCH_TICKS).div_euclid(10)
}

/// The first tick of a microsecond; `None` beyond what ticks hold.
fn first_tick(micros: i64) -> Option<i64> {
    micros.checked_mul(10)?.checked_add(UNIX_EPOCH_TICKS)
}

impl ScalarUDFImpl for TicksToTimestamp {
    fn name(&self) -> &str {
        "ticks_to_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Scalar(ScalarValue::Int64(ticks)) => {
                ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(ticks.map(micros), None))
            }
            value => {
                let array = value.to_array(args.number_rows)?;
                let array: PrimitiveArray<TimestampMicrosecondType> = array.as_primitive::<Int64Type>().unary(micros);
                ColumnarValue::Array(Arc::new(array))
            }
        })
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, _: &SimplifyContext) -> Result<PreimageResult> {
        let at = match literal {
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _) => Some(*at),
            Expr::Literal(ScalarValue::TimestampMillisecond(Some(at), _), _) => at.checked_mul(1_000),
            Expr::Literal(ScalarValue::TimestampSecond(Some(at), _), _) => at.checked_mul(1_000_000),
            Expr::Literal(ScalarValue::TimestampNanosecond(Some(at), _), _) if at % 1000 == 0 => Some(at / 1000),
            _ => None,
        };
        let bounds = at.and_then(|at| Some((first_tick(at)?, first_tick(at.checked_add(1)?)?)));
        Ok(match bounds {
            Some((low, high)) => PreimageResult::Range {
                expr: args[0].clone(),
                interval: Box::new(Interval::try_new(ScalarValue::Int64(Some(low)), ScalarValue::Int64(Some(high)))?),
            },
            None => PreimageResult::None,
        })
    }
}
