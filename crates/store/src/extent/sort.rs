//! Sorting of a buffered chunk by the table's time column, newest first.
//!
//! A chunk becomes a row group, so pages and row groups of every file have narrow time ranges while memory stays
//! bounded by the chunk. Newest first, because that is how logs are asked for: a query for the last rows has its final
//! threshold after the first batch instead of raising it with every batch (measured: half the processor time).

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, interleave_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

/// Rows of the batches a sorted chunk is cut into: small enough that gathering them costs little memory.
const OUTPUT_ROWS: usize = 64 * 1024;

/// Gives the rows of `batches` in descending order of the int64 column at `column` to `write`; nulls come last.
pub(crate) fn newest_first<E: From<ArrowError>>(
    batches: Vec<RecordBatch>,
    column: usize,
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    match order_of(&batches, column) {
        Order::Descending => batches.into_iter().try_for_each(write),
        // How data usually arrives: each batch is turned round, which is cheaper than a sort.
        Order::Ascending => batches.into_iter().rev().try_for_each(|batch| {
            let rows = u32::try_from(batch.num_rows()).map_err(|_| too_many())?;
            write(take_record_batch(&batch, &UInt32Array::from_iter_values((0..rows).rev()))?)
        }),
        Order::None => sorted(&batches, column, write),
    }
}

fn too_many() -> ArrowError {
    ArrowError::InvalidArgumentError("a batch has more than 2^32 rows".into())
}

fn sorted<E: From<ArrowError>>(
    batches: &[RecordBatch],
    column: usize,
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut order: Vec<(i64, u32, u32)> = Vec::with_capacity(rows);
    for (index, batch) in batches.iter().enumerate() {
        let keys = batch.column(column).as_primitive::<Int64Type>();
        let index = u32::try_from(index).map_err(|_| too_many())?;
        u32::try_from(batch.num_rows()).map_err(|_| too_many())?;
        match keys.nulls() {
            None => order.extend(keys.values().iter().zip(0..).map(|(key, row)| (*key, index, row))),
            Some(_) => order.extend(keys.iter().zip(0..).map(|(key, row)| (key.unwrap_or(i64::MIN), index, row))),
        }
    }
    order.sort_unstable_by(|one, other| other.cmp(one));
    let references: Vec<&RecordBatch> = batches.iter().collect();
    let mut indices: Vec<(usize, usize)> = Vec::with_capacity(OUTPUT_ROWS.min(rows));
    for part in order.chunks(OUTPUT_ROWS) {
        indices.clear();
        indices.extend(part.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)));
        write(interleave_record_batch(&references, &indices)?)?;
    }
    Ok(())
}

/// All rows of `batches`, of which there is at least one, in the order of these columns; nulls come last.
pub(crate) fn by_columns(batches: &[RecordBatch], order: &[(usize, bool)]) -> Result<RecordBatch, ArrowError> {
    let first = batches.first().ok_or_else(|| ArrowError::InvalidArgumentError("there is nothing to sort".into()))?;
    let all = concat_batches(&first.schema(), batches)?;
    let columns: Vec<SortColumn> = order
        .iter()
        .map(|(at, ascending)| SortColumn {
            values: Arc::clone(all.column(*at)),
            options: Some(SortOptions { descending: !ascending, nulls_first: false }),
        })
        .collect();
    take_record_batch(&all, &lexsort_to_indices(&columns, None)?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    None,
}

/// The order of all rows, nulls below everything.
fn order_of(batches: &[RecordBatch], column: usize) -> Order {
    let (mut ascending, mut descending) = (true, true);
    let mut last: Option<i64> = None;
    for batch in batches {
        let keys = batch.column(column).as_primitive::<Int64Type>();
        let mut see = |key: i64| {
            if let Some(last) = last {
                ascending &= last <= key;
                descending &= last >= key;
            }
            last = Some(key);
            ascending || descending
        };
        let goes_on = match keys.nulls() {
            None => keys.values().iter().all(|key| see(*key)),
            Some(_) => keys.iter().all(|key| see(key.unwrap_or(i64::MIN))),
        };
        if !goes_on {
            return Order::None;
        }
    }
    if descending { Order::Descending } else { Order::Ascending }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;

    fn batch(keys: Vec<Option<i64>>, tags: Vec<i32>) -> RecordBatch {
        let fields = vec![Field::new("t", DataType::Int64, true), Field::new("n", DataType::Int32, true)];
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys)), Arc::new(Int32Array::from(tags))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn tags(batches: Vec<RecordBatch>) -> Vec<i32> {
        let mut seen = vec![];
        newest_first::<ArrowError>(batches, 0, |batch| {
            seen.extend(batch.column(1).as_primitive::<Int32Type>().values().iter().copied());
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn rows_are_sorted_by_several_columns() {
        let batches = [batch(vec![Some(2), Some(1), None], vec![7, 8, 9]), batch(vec![Some(1)], vec![10])];
        let sorted = by_columns(&batches, &[(0, true), (1, false)]).unwrap();
        assert_eq!(sorted.column(1).as_primitive::<Int32Type>().values(), &[10, 8, 7, 9]);
    }

    #[test]
    fn rows_come_out_newest_first_and_nulls_last() {
        let mixed = vec![batch(vec![Some(5), None, Some(1)], vec![0, 1, 2]), batch(vec![Some(5), Some(1)], vec![3, 4])];
        assert_eq!(tags(mixed), [3, 0, 4, 2, 1]);
        let ascending = vec![batch(vec![None, Some(1)], vec![0, 1]), batch(vec![Some(1), Some(2)], vec![2, 3])];
        assert_eq!(tags(ascending), [3, 2, 1, 0]);
        let descending =
            vec![batch(vec![Some(3), Some(1)], vec![0, 1]), batch(vec![], vec![]), batch(vec![None], vec![2])];
        assert_eq!(tags(descending), [0, 1, 2]);
        assert_eq!(tags(vec![]), [0; 0]);
    }
}
