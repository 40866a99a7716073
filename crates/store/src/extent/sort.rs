//! Sorting of a buffered chunk by the table's time column.
//!
//! Data that arrives in order, which is the usual case, is only checked. Anything else is sorted chunk by chunk,
//! a chunk becoming a row group: so pages and row groups of every file have narrow time ranges, and memory stays
//! bounded by the chunk.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

/// Rows of the batches a sorted chunk is cut into: small enough that gathering them costs little memory.
const OUTPUT_ROWS: usize = 64 * 1024;

/// Gives the rows of `batches` in ascending order of the int64 column at `column` to `write`; nulls come first,
/// equal values keep their order.
pub(crate) fn in_order<E: From<ArrowError>>(
    batches: Vec<RecordBatch>,
    column: usize,
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    if is_sorted(&batches, column) {
        return batches.into_iter().try_for_each(write);
    }
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut order: Vec<(i64, u32, u32)> = Vec::with_capacity(rows);
    for (index, batch) in batches.iter().enumerate() {
        let keys = batch.column(column).as_primitive::<Int64Type>();
        let index = index as u32;
        match keys.nulls() {
            None => order.extend(keys.values().iter().enumerate().map(|(row, key)| (*key, index, row as u32))),
            Some(_) => {
                order.extend(keys.iter().enumerate().map(|(row, key)| (key.unwrap_or(i64::MIN), index, row as u32)));
            }
        }
    }
    // Batch and row are part of the key, so an unstable sort keeps the order of equal times.
    order.sort_unstable();
    let references: Vec<&RecordBatch> = batches.iter().collect();
    let mut indices: Vec<(usize, usize)> = Vec::with_capacity(OUTPUT_ROWS.min(rows));
    for part in order.chunks(OUTPUT_ROWS) {
        indices.clear();
        indices.extend(part.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)));
        write(interleave_record_batch(&references, &indices)?)?;
    }
    Ok(())
}

fn is_sorted(batches: &[RecordBatch], column: usize) -> bool {
    let mut last = i64::MIN;
    for batch in batches {
        let keys = batch.column(column).as_primitive::<Int64Type>();
        let (sorted, end) = match keys.nulls() {
            None => (keys.values().is_sorted(), keys.values().first().copied().zip(keys.values().last().copied())),
            Some(_) => {
                let key = |row: usize| if keys.is_null(row) { i64::MIN } else { keys.value(row) };
                let rows = keys.len();
                let sorted = (1..rows).all(|row| key(row - 1) <= key(row));
                (sorted, (rows > 0).then(|| (key(0), key(rows - 1))))
            }
        };
        let Some((first, end)) = end else { continue };
        if !sorted || first < last {
            return false;
        }
        last = end;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn batch(keys: Vec<Option<i64>>, tags: Vec<i32>) -> RecordBatch {
        let fields = vec![Field::new("t", DataType::Int64, true), Field::new("n", DataType::Int32, true)];
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys)), Arc::new(Int32Array::from(tags))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    #[test]
    fn rows_come_out_by_time_and_ties_keep_their_order() {
        let batches =
            vec![batch(vec![Some(5), None, Some(1)], vec![0, 1, 2]), batch(vec![Some(5), Some(1)], vec![3, 4])];
        let mut seen = vec![];
        in_order::<ArrowError>(batches, 0, |batch| {
            seen.extend(batch.column(1).as_primitive::<arrow::datatypes::Int32Type>().values().iter().copied());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, vec![1, 2, 4, 0, 3]);
    }

    #[test]
    fn sorted_batches_pass_through_untouched() {
        let batches =
            vec![batch(vec![None, Some(1)], vec![0, 1]), batch(vec![], vec![]), batch(vec![Some(1)], vec![2])];
        let mut count = 0;
        in_order::<ArrowError>(batches, 0, |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 3);
    }
}
