//! Engine columns as expressions over the columns of a file, and filters on them as filters on the file's values.
//!
//! A datetime is 64-bit ticks to the engine and a timestamp in the file. [`EngineColumn`] computes the one from the
//! other. Statistics of row groups and pages know nothing of it, so [`sharpen`] turns `ticks >= literal` into the
//! equal comparison of timestamps, and equality of guids into equality of their texts. Filters that change while a
//! query runs (TopK) are wrapped in [`Sharpened`], which does the same each time the engine looks at them.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, in_list, lit,
};
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::guid;

use crate::extent::rest::{Decoding, TICKS_PER_MICROSECOND, split_ticks};

/// A column as the engine wants it, computed from one or two columns of a file.
#[derive(Debug)]
pub(crate) struct EngineColumn {
    decoding: Decoding,
    /// The stored column, then the hidden one if the file has it.
    stored: Vec<Arc<dyn PhysicalExpr>>,
    /// Arrow type of the stored column as the reader gives it.
    stored_type: DataType,
}

impl EngineColumn {
    pub(crate) fn new(decoding: Decoding, stored: Vec<Arc<dyn PhysicalExpr>>, stored_type: DataType) -> Self {
        Self { decoding, stored, stored_type }
    }

    /// The text under which a guid or decimal is stored, as a value of the stored column's type.
    fn stored_text(&self, value: &ScalarValue) -> Option<ScalarValue> {
        let ScalarValue::FixedSizeBinary(16, Some(bytes)) = value else { return None };
        let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
        let text = match self.decoding {
            Decoding::Guid => guid::to_text(&bytes),
            Decoding::Decimal => {
                let text = Decimal::from_bytes(bytes).to_text();
                // Bytes that no decimal has would find another value's text.
                (Decimal::parse(&text)?.bytes() == bytes).then_some(text)?
            }
            _ => return None,
        };
        match self.stored_type {
            DataType::Utf8 => Some(ScalarValue::Utf8(Some(text))),
            DataType::Utf8View => Some(ScalarValue::Utf8View(Some(text))),
            _ => None,
        }
    }
}

impl PartialEq for EngineColumn {
    fn eq(&self, other: &Self) -> bool {
        self.decoding == other.decoding && self.stored == other.stored
    }
}

impl Eq for EngineColumn {}

impl Hash for EngineColumn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.decoding.hash(state);
        self.stored.hash(state);
    }
}

impl Display for EngineColumn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.stored.as_slice() {
            [one] => write!(f, "{one}"),
            [one, ..] => write!(f, "{one}+tick"),
            [] => f.write_str("?"),
        }
    }
}

impl PhysicalExpr for EngineColumn {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(self.decoding.engine_type())
    }

    fn nullable(&self, _input_schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let stored = self.stored.iter().map(|column| column.evaluate(batch)?.into_array(rows));
        let stored = stored.collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(self.decoding.decode(&stored)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.stored.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { decoding: self.decoding, stored: children, stored_type: self.stored_type.clone() }))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// A filter that changes while the query runs; its snapshots are sharpened.
#[derive(Debug)]
pub(crate) struct Sharpened {
    filter: Arc<dyn PhysicalExpr>,
}

impl Sharpened {
    pub(crate) fn new(filter: Arc<dyn PhysicalExpr>) -> Self {
        Self { filter }
    }
}

impl PartialEq for Sharpened {
    fn eq(&self, other: &Self) -> bool {
        self.filter.as_ref() == other.filter.as_ref()
    }
}

impl Eq for Sharpened {}

impl Hash for Sharpened {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.filter.hash(state);
    }
}

impl Display for Sharpened {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.filter, f)
    }
}

impl PhysicalExpr for Sharpened {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.filter.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.filter.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.filter.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.filter]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(filter) => Ok(Arc::new(Self { filter })),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.filter.fmt_sql(f)
    }

    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        // Snapshots are taken from the leaves up, so the filter below is its current, plain expression by now.
        Ok(Some(sharpen(Arc::clone(&self.filter))?))
    }
}

/// Rewrites comparisons of engine columns with literals as comparisons of stored values, wherever both always agree,
/// null for null.
pub(crate) fn sharpen(filter: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    filter.transform_up(|expr| Ok(sharpen_one(&expr)?.map_or_else(|| Transformed::no(expr), Transformed::yes))).data()
}

fn sharpen_one(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let sides = (binary.left(), binary.right());
        if let (Some(column), Some(literal)) = (engine_column(sides.0), literal(sides.1)) {
            return Ok(compare(column, *binary.op(), literal));
        }
        if let (Some(literal), Some(column)) = (literal(sides.0), engine_column(sides.1)) {
            return Ok(binary.op().swap().and_then(|op| compare(column, op, literal)));
        }
        return Ok(None);
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return match engine_column(list.expr()) {
            Some(column) => contained(column, list),
            None => Ok(None),
        };
    }
    // A datetime is null where its stored timestamp is, a guid where its text is.
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        let stored = engine_column(is_null.arg()).filter(|column| can_be_null(column)).map(|column| &column.stored[0]);
        return Ok(stored.map(|stored| Arc::new(IsNullExpr::new(Arc::clone(stored))) as _));
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        let stored = engine_column(is_not_null.arg()).filter(|column| can_be_null(column));
        let stored = stored.map(|column| &column.stored[0]);
        return Ok(stored.map(|stored| Arc::new(IsNotNullExpr::new(Arc::clone(stored))) as _));
    }
    Ok(None)
}

fn engine_column(expr: &Arc<dyn PhysicalExpr>) -> Option<&EngineColumn> {
    expr.downcast_ref::<EngineColumn>().filter(|column| !column.stored.is_empty())
}

fn can_be_null(column: &EngineColumn) -> bool {
    column.decoding != Decoding::Text { fill: true }
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    expr.downcast_ref::<Literal>().map(Literal::value).filter(|value| !value.is_null())
}

fn compare(column: &EngineColumn, op: Operator, value: &ScalarValue) -> Option<Arc<dyn PhysicalExpr>> {
    match column.decoding {
        Decoding::DateTime => {
            let ScalarValue::Int64(Some(ticks)) = value else { return None };
            compare_time(&column.stored, op, *ticks)
        }
        Decoding::Guid => {
            // Bytes sort as the text does, so every comparison carries over.
            let text = column.stored_text(value)?;
            is_comparison(op).then(|| binary(Arc::clone(&column.stored[0]), op, lit(text)))
        }
        Decoding::Decimal => {
            let text = column.stored_text(value)?;
            matches!(op, Operator::Eq | Operator::NotEq).then(|| binary(Arc::clone(&column.stored[0]), op, lit(text)))
        }
        Decoding::Text { .. } => None,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn binary(left: Arc<dyn PhysicalExpr>, op: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn micros(value: i64) -> Arc<dyn PhysicalExpr> {
    lit(ScalarValue::TimestampMicrosecond(Some(value), Some("UTC".into())))
}

fn digit(value: i64) -> Arc<dyn PhysicalExpr> {
    lit(ScalarValue::Int8(i8::try_from(value).ok()))
}

/// Compares `stored[0]` microseconds, and `stored[1]` digits if there are, with a number of ticks.
///
/// The first conjunct is on the timestamps alone, because page statistics serve one column at a time.
fn compare_time(stored: &[Arc<dyn PhysicalExpr>], op: Operator, ticks: i64) -> Option<Arc<dyn PhysicalExpr>> {
    use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    let (whole, rest) = split_ticks(ticks);
    let time = |op: Operator| binary(Arc::clone(&stored[0]), op, micros(whole));
    let Some(digits) = stored.get(1) else {
        // Without a hidden column every digit is zero.
        return Some(match (op, rest) {
            (Gt | LtEq, _) | (Eq | NotEq | Lt | GtEq, 0) => time(op),
            (Lt, _) => time(LtEq),
            (GtEq, _) => time(Gt),
            // False for every value and null for null.
            (Eq, _) => binary(time(Lt), And, time(Gt)),
            (NotEq, _) => binary(time(LtEq), Or, time(Gt)),
            _ => return None,
        });
    };
    let tick = |op: Operator| binary(Arc::clone(digits), op, digit(rest));
    Some(match (op, rest) {
        (GtEq | Lt, 0) => time(op),
        (Gt | LtEq, _) if rest == TICKS_PER_MICROSECOND - 1 => time(op),
        (GtEq | Gt, _) => binary(time(GtEq), And, binary(time(Gt), Or, tick(op))),
        (LtEq | Lt, _) => binary(time(LtEq), And, binary(time(Lt), Or, tick(op))),
        (Eq, _) => binary(time(Eq), And, tick(Eq)),
        (NotEq, _) => binary(time(NotEq), Or, tick(NotEq)),
        _ => return None,
    })
}

/// `column in (literals)` on stored values.
fn contained(column: &EngineColumn, list: &InListExpr) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let mut values = Vec::with_capacity(list.list().len());
    for value in list.list() {
        let Some(value) = literal(value) else { return Ok(None) };
        let stored = match (column.decoding, value, column.stored.len()) {
            (Decoding::Guid | Decoding::Decimal, value, _) => column.stored_text(value),
            (Decoding::DateTime, ScalarValue::Int64(Some(ticks)), 1) => match split_ticks(*ticks) {
                (whole, 0) => Some(ScalarValue::TimestampMicrosecond(Some(whole), Some("UTC".into()))),
                // No value of this file has a seventh digit.
                _ => continue,
            },
            _ => None,
        };
        let Some(stored) = stored else { return Ok(None) };
        values.push(lit(stored));
    }
    if values.is_empty() {
        return Ok(None);
    }
    let stored = &column.stored[0];
    // `in_list` looks up types only, which the stored column's position in the file does not change.
    let schema = one_column_schema(stored, &column.stored_type);
    in_list(Arc::clone(stored), values, &list.negated(), &schema).map(Some)
}

/// A schema in which this column expression resolves.
fn one_column_schema(column: &Arc<dyn PhysicalExpr>, data_type: &DataType) -> Schema {
    let index = column.downcast_ref::<Column>().map_or(0, Column::index);
    Schema::new((0..=index).map(|n| Field::new(format!("c{n}"), data_type.clone(), true)).collect::<Vec<_>>())
}
