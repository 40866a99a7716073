//! From the table's columns to those of one file: what the Parquet reader asks for every file it opens.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use tidewater_kql::KqlType;

use crate::catalog::snapshot::Shape;
use crate::catalog::{ROW_CURSOR, ROW_TIME, TICK_SUFFIX};
use crate::extent::expression::{EngineColumn, Sharpened, sharpen};
use crate::extent::rest::Decoding;

/// Knows how each table column is stored.
#[derive(Debug)]
pub(crate) struct ExtentAdapterFactory {
    columns: Arc<HashMap<String, (KqlType, String)>>,
}

impl ExtentAdapterFactory {
    pub(crate) fn new(shape: &Shape) -> Self {
        let columns = shape.columns.iter();
        let columns = columns.map(|column| (column.name.clone(), (column.ty, column.at_rest().to_string())));
        // A user's column of this name goes before: then nobody asks for the hidden one by it.
        let hidden = [ROW_TIME, ROW_CURSOR].map(|name| (name.to_string(), (KqlType::Long, name.to_string())));
        Self { columns: Arc::new(hidden.into_iter().chain(columns).collect()) }
    }
}

impl PhysicalExprAdapterFactory for ExtentAdapterFactory {
    fn create(&self, _table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(ExtentAdapter { columns: Arc::clone(&self.columns), file }))
    }
}

/// Rewrites expressions over the table's columns for one file.
#[derive(Debug)]
struct ExtentAdapter {
    columns: Arc<HashMap<String, (KqlType, String)>>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for ExtentAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let rewritten = expr.transform_up(|expr| {
            if let Some(column) = expr.downcast_ref::<Column>() {
                return self.column(column.name()).map(Transformed::yes);
            }
            if expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() {
                return Ok(Transformed::yes(Arc::new(Sharpened::new(expr)) as _));
            }
            Ok(Transformed::no(expr))
        });
        sharpen(rewritten.data()?)
    }
}

impl ExtentAdapter {
    fn column(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let (ty, at_rest) = self.columns.get(name).ok_or_else(|| internal_datafusion_err!("no column '{name}'"))?;
        let Ok(index) = self.file.index_of(at_rest) else {
            // Added after the file was written.
            let missing = match ty {
                KqlType::String => ScalarValue::Utf8View(Some(String::new())),
                _ => ScalarValue::try_new_null(&ty.arrow())?,
            };
            return Ok(Arc::new(Literal::new(missing)));
        };
        let found = self.file.field(index).data_type().clone();
        let stored: Arc<dyn PhysicalExpr> = Arc::new(Column::new(at_rest, index));
        let decoding = match ty {
            KqlType::DateTime if matches!(found, DataType::Timestamp(TimeUnit::Microsecond, _)) => Decoding::DateTime,
            KqlType::Guid => Decoding::Guid,
            KqlType::Decimal => Decoding::Decimal,
            KqlType::String if found != DataType::Utf8View => Decoding::Text { fill: true },
            KqlType::Dynamic if found != DataType::Utf8View => Decoding::Text { fill: false },
            _ if found == ty.arrow() => return Ok(stored),
            _ => return Ok(Arc::new(CastExpr::new(stored, ty.arrow(), None))),
        };
        let mut columns = vec![stored];
        if decoding == Decoding::DateTime {
            let hidden = format!("{at_rest}{TICK_SUFFIX}");
            if let Ok(index) = self.file.index_of(&hidden) {
                columns.push(Arc::new(Column::new(&hidden, index)));
            }
        }
        Ok(Arc::new(EngineColumn::new(decoding, columns, found)))
    }
}
