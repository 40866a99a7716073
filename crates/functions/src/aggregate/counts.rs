//! `count` and `countif`: the engine's own `count`, over the literal 1.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::AggregateUDF;
use datafusion_functions_aggregate::count::count_udaf;
use tidewater_kql::KqlType;

use crate::aggregate::frame::{Groups, KqlAggregate, Rows, argument};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, Returns, required, sig};

const TO_LONG: Returns = Returns::Type(KqlType::Long);

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "count",
        signatures: &[sig(&[], TO_LONG), sig(&[required("expr", Accepts::Any)], TO_LONG)],
        name_prefix: "count_",
        imp: AggregateImp::Function { build, finish: None },
        skips_nulls: false,
        summary: "Number of rows.",
        docs: "count-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "cnt",
        signatures: &[sig(&[], TO_LONG)],
        name_prefix: "cnt_",
        imp: AggregateImp::Function { build, finish: None },
        skips_nulls: false,
        summary: "Obsolete form of `count`.",
        docs: "count-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "countif",
        signatures: &[sig(&[required("predicate", BOOL)], TO_LONG)],
        name_prefix: "countif_",
        imp: AggregateImp::Function { build, finish: None },
        predicate: Some(0),
        skips_nulls: false,
        summary: "Number of rows where `predicate` is true.",
        docs: "countif-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "passthrough",
        imp: AggregateImp::Refused("it is internal to the reference engine"),
        summary: "Internal to the reference engine.",
        ..Aggregate::ROW
    },
];

fn build(call: &AggregateCall<'_>) -> Result<AggregateUDF> {
    if call.types.is_empty() {
        return Ok(count_udaf().as_ref().clone());
    }
    // An argument changes nothing, null or not: every row counts.
    Ok(KqlAggregate::udf("kql_count_rows", DataType::Int64, vec![DataType::Int64], || {
        Box::new(RowCount { counts: Vec::new() })
    }))
}

struct RowCount {
    counts: Vec<i64>,
}

impl Groups for RowCount {
    fn len(&self) -> usize {
        self.counts.len()
    }

    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
    }

    fn update(&mut self, _args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        rows.each(|_, group| self.counts[group] += 1);
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let counts = argument::<Int64Array>(state, 0)?;
        rows.each_valid(counts.nulls(), |row, group| self.counts[group] += counts.value(row));
        Ok(())
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.counts[..groups].to_vec())))
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn remove(&mut self, groups: usize) {
        self.counts.drain(..groups);
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
