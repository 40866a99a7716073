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
use datafusion::error::Result;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    ident,
};
use tidewater_functions::convert;
use tidewater_kql::KqlType;
use tidewater_kql::value::datetime::UNIX_EPOCH_TICKS;

use super::{SqlScope, TableName};
use crate::catalog::TableHandle;

/// The one catalog.
pub(super) const CATALOG: &str = "tidewater";
/// The schema of unqualified names: searches the scope's databases. Not a legal database name.
pub(super) const SEARCH: &str = "<search>";

/// The table as SQL sees it.
fn sql_table(handle: &TableHandle) -> Result<Arc<dyn TableProvider>> {
    let scan = LogicalPlanBuilder::scan("t", provider_as_source(Arc::clone(&handle.provider)), None)?;
    let columns = handle.schema.columns.iter().map(|column| {
        let value = ident(&column.name);
        let value = match column.ty {
            KqlType::DateTime => ScalarUDF::from(TicksToTimestamp::new()).call(vec![value]),
            KqlType::Guid => convert::expr(value, KqlType::Guid, KqlType::String)?,
            KqlType::Decimal => {
                cast(convert::expr(value, KqlType::Decimal, KqlType::String)?, DataType::Decimal128(38, 18))
            }
            _ => value,
        };
        Ok(value.alias(&column.name))
    });
    let plan = scan.project(columns.collect::<Result<Vec<Expr>>>()?)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

#[derive(Clone)]
pub(super) struct SqlCatalogs {
    scope: SqlScope,
}

impl SqlCatalogs {
    pub(super) fn new(scope: SqlScope) -> Self {
        Self { scope }
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
        self.scope.view.database_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let database = match name {
            SEARCH => None,
            name => Some(self.scope.view.database(name)?),
        };
        Some(Arc::new(SqlSchema { scope: self.scope.clone(), database }))
    }
}

struct SqlSchema {
    scope: SqlScope,
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
        self.scope.table(&self.name(name)).map(|handle| sql_table(&handle)).transpose()
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
