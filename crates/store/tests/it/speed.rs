//! A measurement to be run by hand: `cargo test ... speed -- --ignored --nocapture` in an optimized build.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use tempfile::tempdir;
use tidewater_kql::KqlType::{DateTime, Dynamic, Guid, Int, Real, String as Text};
use tidewater_store::{Commit, Store, StoreOptions};

use crate::common::{Random, schema, table};

#[test]
#[ignore = "a measurement"]
fn writing_eight_columns() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let columns = [
        ("t", DateTime),
        ("level", Text),
        ("host", Text),
        ("trace", Guid),
        ("ms", Real),
        ("status", Int),
        ("message", Text),
        ("properties", Dynamic),
    ];
    let schema = schema(&columns);
    let t = runtime.block_on(table(&store, "T", schema.clone()));
    let mut random = Random::new(1);
    let batches: Vec<RecordBatch> = (0..32)
        .map(|part: i64| {
            let rows = 65_536;
            let mut guids = FixedSizeBinaryBuilder::new(16);
            for _ in 0..rows {
                guids
                    .append_value((u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes())
                    .unwrap();
            }
            let text = |f: &mut dyn FnMut(i64) -> String| {
                Arc::new(StringViewArray::from_iter_values((0..rows).map(f))) as ArrayRef
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(
                    (0..rows).map(|n| 638_000_000_000_000_000 + (part * rows + n) * 10_000),
                )),
                text(&mut |n| ["Info", "Warning", "Error"][n as usize % 3].to_string()),
                text(&mut |n| format!("host-{:04}", n % 500)),
                Arc::new(guids.finish()),
                Arc::new(Float64Array::from_iter_values((0..rows).map(|n| (n % 977) as f64 * 0.37))),
                Arc::new(Int32Array::from_iter_values((0..rows).map(|n| (200 + n % 7) as i32))),
                text(&mut |n| format!("request {} to /api/v1/items/{} took a while", random.next(), n % 1000)),
                text(&mut |n| format!("{{\"user\":{{\"id\":{}}},\"ok\":true}}", n % 10_000)),
            ];
            RecordBatch::try_new(schema.arrow(), columns).unwrap()
        })
        .collect();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let start = Instant::now();
    let mut writer = store.writer(&t.target());
    for batch in batches {
        writer.write(batch).unwrap();
    }
    store.commit_blocking(Commit::new().add_all(writer.finish().unwrap(), &[])).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let bytes = store.snapshot().table("db", "T").unwrap().byte_size();
    println!("{rows} rows in {seconds:.2} s: {:.0} rows/s, {} MB", rows as f64 / seconds, bytes >> 20);
}
