//! A measurement to be run by hand: `cargo test ... speed -- --ignored --nocapture` in an optimized build.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::tempdir;
use tidewater_kql::KqlType::{DateTime, Dynamic, Guid, Int, Real, String as Text};
use tidewater_store::{Commit, Store, StoreOptions};

use crate::common::{Random, schema, table};

const ROWS: i64 = 65_536;

fn columns() -> [(&'static str, tidewater_kql::KqlType); 8] {
    [
        ("t", DateTime),
        ("level", Text),
        ("host", Text),
        ("trace", Guid),
        ("ms", Real),
        ("status", Int),
        ("message", Text),
        ("properties", Dynamic),
    ]
}

fn batch(part: i64, random: &mut Random) -> RecordBatch {
    let mut guids = FixedSizeBinaryBuilder::new(16);
    for _ in 0..ROWS {
        guids.append_value((u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes()).unwrap();
    }
    let text =
        |f: &mut dyn FnMut(i64) -> String| Arc::new(StringViewArray::from_iter_values((0..ROWS).map(f))) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|n| START + (part * ROWS + n) * 10_000))),
        text(&mut |n| ["Info", "Warning", "Error"][n as usize % 3].to_string()),
        text(&mut |n| format!("host-{:04}", n % 500)),
        Arc::new(guids.finish()),
        Arc::new(Float64Array::from_iter_values((0..ROWS).map(|n| (n % 977) as f64 * 0.37))),
        Arc::new(Int32Array::from_iter_values((0..ROWS).map(|n| (200 + n % 7) as i32))),
        text(&mut |n| format!("request {} to /api/v1/items/{} took a while", random.next(), n % 1000)),
        text(&mut |n| format!("{{\"user\":{{\"id\":{}}},\"ok\":true}}", n % 10_000)),
    ];
    RecordBatch::try_new(self::schema(&self::columns()).arrow(), columns).unwrap()
}

/// Milliseconds of processor time of this process: steadier than the clock on a machine that others use too.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

const START: i64 = 638_000_000_000_000_000;

#[test]
#[ignore = "a measurement"]
fn writing_and_reading_eight_columns() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempdir().unwrap();
    let mut options = StoreOptions::default();
    if let Ok(rows) = std::env::var("TIDEWATER_TEST_ROW_GROUP") {
        options.write.row_group_rows = rows.parse().unwrap();
    }
    if std::env::var("TIDEWATER_TEST_NO_BLOOM").is_ok() {
        options.write.bloom_false_positives = None;
    }
    let store = Store::open(directory.path(), options).unwrap();
    let t = runtime.block_on(table(&store, "T", schema(&columns())));
    let mut random = Random::new(1);
    for _ in 0..2 {
        let batches: Vec<RecordBatch> = (0..64).map(|part| batch(part, &mut random)).collect();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let (start, processor) = (Instant::now(), processor_ms());
        let mut writer = store.writer(&t.target());
        for batch in batches {
            writer.write(batch).unwrap();
        }
        store.commit_blocking(Commit::new().add_all(writer.finish().unwrap(), &[])).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let processor = processor_ms() - processor;
        println!("{rows} rows in {seconds:.2} s: {:.0} rows/s, {processor} ms of processor", rows as f64 / seconds);
    }
    let snapshot = store.snapshot();
    let t = snapshot.table("db", "T").unwrap();
    println!("{} MB in {} extents", t.byte_size() >> 20, t.extents().len());
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    let context = SessionContext::new_with_config(config);
    context.register_table("t", store.provider(t)).unwrap();
    let hour = 36_000_000_000i64;
    let range = format!("t >= {} and t < {}", START + 2 * hour / 10, START + 3 * hour / 10);
    let guid = "arrow_cast(X'00000000000000000000000000000000', 'FixedSizeBinary(16)')";
    for sql in [
        "select count(*) from t".to_string(),
        format!("select t / {hour}, count(*) from t group by 1"),
        "select max(ms), min(t), sum(status) from t where ms >= 0".into(),
        "select level, count(*) from t group by level".into(),
        "select host, avg(ms) from t group by host".into(),
        format!("select count(*) from t where {range}"),
        format!("select * from t where {range} and level = 'Error' order by t desc limit 100"),
        "select * from t order by t desc limit 10".into(),
        "select * from t order by ms desc limit 10".into(),
        format!("select count(*) from t where trace = {guid}"),
        "select count(*) from t where trace = (select max(trace) from t where t = 638000000000000000)".into(),
        "select count(*) from t where trace = arrow_cast(X'70000000000000000000000000000000', 'FixedSizeBinary(16)')"
            .into(),
        "select count(*) from t where message = 'request 1234567890123456789 to /api/v1/items/7 took a while'".into(),
        "select count(*) from t where host = 'host-0123'".into(),
        "select count(distinct trace) from t".into(),
        "select count(*) from t where message like '%items/77 %'".into(),
    ] {
        let mut times = vec![];
        let processor = processor_ms();
        for _ in 0..5 {
            let start = Instant::now();
            let rows = runtime.block_on(async { context.sql(&sql).await.unwrap().collect().await.unwrap() });
            std::hint::black_box(rows);
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let processor = (processor_ms() - processor) / 5;
        println!("{:8.1} ms {processor:6} ms of processor  {sql}", times[1]);
    }
}

#[test]
#[ignore = "a measurement"]
fn planning_over_many_extents() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions { delta_mirror: false, ..StoreOptions::default() }).unwrap();
    let t = runtime.block_on(table(&store, "T", crate::common::numbers_schema()));
    let start = Instant::now();
    for n in 0..1000 {
        let mut writer = store.writer(&t.target());
        writer.write(crate::common::numbers(n..n + 1)).unwrap();
        store.commit_blocking(Commit::new().add_all(writer.finish().unwrap(), &[])).unwrap();
    }
    println!("1000 commits of a row: {:.2} ms each", start.elapsed().as_secs_f64());
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    for sql in [
        "select count(*) from t",
        "select max(s) from t",
        "select * from t where n = 777",
        "select * from t where n > 10",
    ] {
        let mut plan = vec![];
        let mut all = vec![];
        for _ in 0..5 {
            let snapshot = store.snapshot();
            context.deregister_table("t").unwrap();
            context.register_table("t", store.provider(snapshot.table("db", "T").unwrap())).unwrap();
            let start = Instant::now();
            runtime.block_on(async { context.sql(sql).await.unwrap().create_physical_plan().await.unwrap() });
            plan.push(start.elapsed().as_secs_f64() * 1000.0);
            runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
            all.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        plan.sort_by(f64::total_cmp);
        all.sort_by(f64::total_cmp);
        println!("{:8.1} ms to plan, {:8.1} ms to plan twice and run  {sql}", plan[2], all[2]);
    }
    drop(store);
    let start = Instant::now();
    let store = Store::open(directory.path(), StoreOptions { delta_mirror: false, ..StoreOptions::default() }).unwrap();
    println!("opened in {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    let start = Instant::now();
    let report = runtime.block_on(store.merge_table(t.id())).unwrap();
    println!("merged {} extents in {:.1} ms", report.merged.len(), start.elapsed().as_secs_f64() * 1000.0);
}
