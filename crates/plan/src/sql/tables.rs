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
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
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
    Volatility, cast, ident, lit,
};
use tidewater_functions::convert;
use tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;
use tidewater_kql::{KqlType, TableSchema};

use super::{SqlScope, TableName};
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

    /// The rows of a table that its policy of row level security shows, as the query language gives them; `None` where no
    /// policy holds.
    async fn shown(&self, handle: &TableHandle) -> Result<Option<LogicalPlan>> {
        let scope = &self.scope;
        let Some(policy) = scope.view.row_security(&handle.database, &handle.name) else { return Ok(None) };
        let is_forced = scope.context.options.get(FORCE).and_then(serde_json::Value::as_bool) == Some(true);
        if !policy.is_enabled && !is_forced {
            return Ok(None);
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

#[async_trait]
impl SchemaProvider for SqlSchema {
    fn table_names(&self) -> Vec<String> {
        match &self.database {
            Some(database) => self.scope.view.table_names(database),
            None => self.scope.search.iter().flat_map(|database| self.scope.view.table_names(database)).collect(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(handle) = self.scope.table(&self.name(name)) else { return Ok(None) };
        let shown = self.shown(&handle).await?;
        sql_table(&handle, shown).map(Some)
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
