//! The catalog's statistics as the engine's: for leaving out files, and for the optimizer.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use tidewater_kql::KqlType;

use crate::catalog::ColumnRow;
use crate::catalog::snapshot::{Extent, Shape};
use crate::extent::stats::Bound;

/// Bounds of all extents of a table, for `PruningPredicate`.
pub(crate) struct ExtentStatistics<'a> {
    shape: &'a Shape,
    extents: &'a [Arc<Extent>],
}

impl<'a> ExtentStatistics<'a> {
    pub(crate) fn new(shape: &'a Shape, extents: &'a [Arc<Extent>]) -> Self {
        Self { shape, extents }
    }

    fn bounds(&self, column: &Column, pick: impl Fn(&Extent, &ColumnRow) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let row = self.shape.columns.iter().find(|row| row.name == column.name)?;
        let null = ScalarValue::try_new_null(&row.ty.arrow()).ok()?;
        let values = self.extents.iter().map(|extent| pick(extent, row).unwrap_or_else(|| null.clone()));
        ScalarValue::iter_to_array(values).ok()
    }
}

/// What a string column that an extent lacks holds in every row.
fn missing_text(ty: KqlType) -> Option<ScalarValue> {
    (ty == KqlType::String).then(|| ScalarValue::Utf8View(Some(String::new())))
}

fn bound(
    extent: &Extent,
    row: &ColumnRow,
    pick: impl Fn(&crate::extent::stats::ColumnStats) -> Option<&Bound>,
) -> Option<ScalarValue> {
    match extent.column(row.at_rest()) {
        Some(stats) => pick(stats)?.scalar(row.ty),
        None => missing_text(row.ty),
    }
}

fn null_count(extent: &Extent, row: &ColumnRow) -> u64 {
    match extent.column(row.at_rest()) {
        Some(stats) => stats.nulls,
        None if row.ty == KqlType::String => 0,
        None => extent.rows(),
    }
}

impl PruningStatistics for ExtentStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |extent, row| bound(extent, row, |stats| stats.min.as_ref()))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |extent, row| bound(extent, row, |stats| stats.max.as_ref()))
    }

    fn num_containers(&self) -> usize {
        self.extents.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let row = self.shape.columns.iter().find(|row| row.name == column.name)?;
        let counts = self.extents.iter().map(|extent| null_count(extent, row));
        Some(Arc::new(UInt64Array::from_iter_values(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.extents.iter().map(|extent| extent.rows()))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// An extent's statistics in engine units; made once per shape.
pub(crate) fn extent_statistics(extent: &Extent, shape: &Arc<Shape>) -> Arc<Statistics> {
    extent.statistics(shape, || {
        let columns = shape.columns.iter().map(|row| column_statistics(extent, row)).collect();
        Statistics {
            num_rows: Precision::Exact(count(extent.rows())),
            total_byte_size: Precision::Inexact(count(extent.original_bytes())),
            column_statistics: columns,
        }
    })
}

fn column_statistics(extent: &Extent, row: &ColumnRow) -> ColumnStatistics {
    let exact = extent.column(row.at_rest()).is_none_or(|stats| stats.exact);
    let precision = |value: Option<ScalarValue>| match value {
        Some(value) if exact => Precision::Exact(value),
        Some(value) => Precision::Inexact(value),
        None => Precision::Absent,
    };
    ColumnStatistics::new_unknown()
        .with_null_count(Precision::Exact(count(null_count(extent, row))))
        .with_min_value(precision(bound(extent, row, |stats| stats.min.as_ref())))
        .with_max_value(precision(bound(extent, row, |stats| stats.max.as_ref())))
}

/// Statistics of many extents together.
pub(crate) fn table_statistics(extents: &[Arc<Extent>], shape: &Arc<Shape>) -> Statistics {
    let mut columns = Vec::with_capacity(shape.columns.len());
    let each: Vec<Arc<Statistics>> = extents.iter().map(|extent| extent_statistics(extent, shape)).collect();
    for index in 0..shape.columns.len() {
        let mut nulls = Precision::Exact(0);
        let (mut min, mut max) = (Merged::Empty, Merged::Empty);
        for (extent, statistics) in extents.iter().zip(&each) {
            let column = &statistics.column_statistics[index];
            nulls = nulls.add(&column.null_count);
            // An extent of nothing but nulls has no bounds and moves none.
            if column.null_count == Precision::Exact(count(extent.rows())) {
                continue;
            }
            min.add(&column.min_value, |known, new| new < known);
            max.add(&column.max_value, |known, new| new > known);
        }
        columns.push(
            ColumnStatistics::new_unknown()
                .with_null_count(nulls)
                .with_min_value(min.into_precision())
                .with_max_value(max.into_precision()),
        );
    }
    Statistics {
        num_rows: Precision::Exact(count(extents.iter().map(|extent| extent.rows()).sum())),
        total_byte_size: Precision::Inexact(count(extents.iter().map(|extent| extent.original_bytes()).sum())),
        column_statistics: columns,
    }
}

/// A bound over several extents.
enum Merged {
    Empty,
    Known(ScalarValue, bool),
    Unknown,
}

impl Merged {
    fn add(&mut self, bound: &Precision<ScalarValue>, replaces: impl Fn(&ScalarValue, &ScalarValue) -> bool) {
        let (value, exact) = match bound {
            Precision::Exact(value) => (value, true),
            Precision::Inexact(value) => (value, false),
            Precision::Absent => {
                *self = Merged::Unknown;
                return;
            }
        };
        match self {
            Merged::Unknown => {}
            Merged::Empty => *self = Merged::Known(value.clone(), exact),
            Merged::Known(known, known_exact) => {
                // One inexact bound makes the result inexact: the true one may lie on either side of the exact ones.
                let exact = *known_exact && exact;
                if replaces(known, value) {
                    *known = value.clone();
                }
                *known_exact = exact;
            }
        }
    }

    fn into_precision(self) -> Precision<ScalarValue> {
        match self {
            Merged::Known(value, true) => Precision::Exact(value),
            Merged::Known(value, false) => Precision::Inexact(value),
            Merged::Empty | Merged::Unknown => Precision::Absent,
        }
    }
}
