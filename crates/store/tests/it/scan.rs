//! What queries read: every value as it was written, the same rows as from memory, and no more of a file than needed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, col, lit, not};
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::tempdir;
use tidewater_kql::KqlType::{self, Bool, DateTime, Decimal, Dynamic, Guid, Int, Long, Real, String as Text, TimeSpan};
use tidewater_kql::TableSchema;
use tidewater_kql::value::decimal;
use tidewater_store::{Alteration, Store, Table};

use crate::common::{Random, append, numbers, numbers_schema, open, rows, schema, table};

const EPOCH: i64 = 621_355_968_000_000_000;
const DAY: i64 = 864_000_000_000;

pub fn all_types() -> TableSchema {
    schema(&[
        ("n", Long),
        ("b", Bool),
        ("i", Int),
        ("r", Real),
        ("s", Text),
        ("t", DateTime),
        ("exact", DateTime),
        ("span", TimeSpan),
        ("g", Guid),
        ("d", Decimal),
        ("j", Dynamic),
    ])
}

/// A value of a column, from a small range so that filters match; `None` now and then.
fn value(ty: KqlType, name: &str, random: &mut Random) -> Option<ScalarValue> {
    if name != "n" && random.below(10) == 0 {
        return None;
    }
    let small = random.below(50) as i64;
    Some(match ty {
        Bool => ScalarValue::Boolean(Some(small % 2 == 0)),
        Int => ScalarValue::Int32(Some(small as i32 - 25)),
        Long => ScalarValue::Int64(Some(small * 1_000_000_007)),
        Real => ScalarValue::Float64(Some([0.0, -0.0, 1.5, f64::INFINITY, -3.25][random.below(5) as usize])),
        Text => ScalarValue::Utf8View(Some(format!("text {}", "x".repeat(small as usize * 4)))),
        // Whole microseconds in one column, every digit in the other.
        DateTime if name == "t" => ScalarValue::Int64(Some(EPOCH + small * DAY / 7 * 10)),
        DateTime => ScalarValue::Int64(Some(EPOCH - 3 + small)),
        TimeSpan => ScalarValue::Int64(Some(small - 25)),
        Guid => {
            let bytes = (random.below(40) as u128 * 0x0101_0101_0101_0101_0101).to_be_bytes();
            ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec()))
        }
        Decimal => {
            let text = format!("{}.{}", small - 25, small);
            ScalarValue::FixedSizeBinary(16, Some(decimal::Decimal::parse(&text).unwrap().bytes().to_vec()))
        }
        Dynamic => ScalarValue::Utf8View(Some(format!("{{\"a\":{small}}}"))),
    })
}

pub fn random_batch(first: i64, rows: i64, random: &mut Random) -> RecordBatch {
    let schema = all_types();
    let columns = schema.columns.iter().map(|column| {
        if column.name == "n" {
            return Arc::new(Int64Array::from_iter_values(first..first + rows)) as ArrayRef;
        }
        let null = ScalarValue::try_new_null(&column.ty.arrow()).unwrap();
        let values = (0..rows).map(|_| value(column.ty, &column.name, random).unwrap_or_else(|| null.clone()));
        ScalarValue::iter_to_array(values.collect::<Vec<_>>()).unwrap()
    });
    RecordBatch::try_new(schema.arrow(), columns.collect()).unwrap()
}

/// The batch with null strings as the engine shows them.
fn filled(batch: &RecordBatch) -> RecordBatch {
    let columns =
        batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| match field.name() == "s" {
            true => {
                let texts = column.as_any().downcast_ref::<StringViewArray>().unwrap();
                Arc::new(StringViewArray::from_iter_values(texts.iter().map(Option::unwrap_or_default))) as ArrayRef
            }
            false => Arc::clone(column),
        });
    RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
}

fn sorted(batch: &RecordBatch) -> RecordBatch {
    let order = arrow::compute::sort_to_indices(batch.column(0), None, None).unwrap();
    take_record_batch(batch, &order).unwrap()
}

fn context() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    SessionContext::new_with_config(config)
}

async fn ids(provider: Arc<dyn TableProvider>, filter: Expr) -> Vec<i64> {
    let frame = context().read_table(provider).unwrap().filter(filter).unwrap().select(vec![col("n")]).unwrap();
    let mut ids = vec![];
    for batch in frame.collect().await.unwrap() {
        ids.extend(batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values());
    }
    ids.sort_unstable();
    ids
}

/// A store with three extents of random rows, and the same rows in memory.
async fn both(store: &Store) -> (Arc<Table>, RecordBatch) {
    table(store, "All", all_types()).await;
    let mut random = Random::new(3);
    let mut batches = vec![];
    for extent in 0..3 {
        let batch = random_batch(extent * 2500, 2500, &mut random);
        append(store, "All", vec![batch.clone()]).await;
        batches.push(filled(&batch));
    }
    let expected = concat_batches(&all_types().arrow(), &batches).unwrap();
    (store.snapshot().table("db", "All").unwrap().clone(), expected)
}

#[tokio::test]
async fn every_value_of_every_type_comes_back() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let (table, expected) = both(&store).await;
    assert_eq!(store.provider(&table).schema(), all_types().arrow());
    assert_eq!(sorted(&rows(&store, &table).await), expected);
}

#[tokio::test]
async fn filters_find_the_same_rows_as_in_memory() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let (table, expected) = both(&store).await;
    let provider = store.provider(&table);
    let memory: Arc<dyn TableProvider> =
        Arc::new(MemTable::try_new(all_types().arrow(), vec![vec![expected]]).unwrap());
    let mut random = Random::new(5);
    let schema = all_types();
    let mut matched = 0;
    for _ in 0..250 {
        let comparison = |random: &mut Random| {
            let column = &schema.columns[1 + random.below(schema.columns.len() as u64 - 1) as usize];
            let mut literal = || loop {
                if let Some(value) = value(column.ty, &column.name, random) {
                    return value;
                }
            };
            let (one, two, three) = (literal(), literal(), literal());
            // A tick beside a stored value is where rounding would show.
            let one = match (one, column.ty) {
                (ScalarValue::Int64(Some(ticks)), DateTime) => {
                    ScalarValue::Int64(Some(ticks + random.below(3) as i64 - 1))
                }
                (other, _) => other,
            };
            let left = col(column.name.as_str());
            let right = || lit(one.clone());
            match random.below(11) {
                0 => left.eq(right()),
                1 => left.not_eq(right()),
                2 => left.lt(right()),
                3 => left.lt_eq(right()),
                4 => left.gt(right()),
                5 => left.gt_eq(right()),
                6 => left.in_list(vec![right(), lit(two), lit(three)], random.below(2) == 0),
                7 => left.is_null(),
                8 => left.is_not_null(),
                9 => right().lt(left),
                _ => not(left.gt_eq(right())),
            }
        };
        let first = comparison(&mut random);
        let filter = match random.below(4) {
            0 => first.and(comparison(&mut random)),
            1 => first.or(comparison(&mut random)),
            _ => first,
        };
        let found = ids(Arc::clone(&provider), filter.clone()).await;
        let wanted = ids(Arc::clone(&memory), filter.clone()).await;
        assert_eq!(found, wanted, "{filter}");
        matched += found.len();
    }
    assert!(matched > 1000, "the filters match something");
}

#[tokio::test]
async fn joins_and_tops_on_every_type_agree_with_memory() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let (table, expected) = both(&store).await;
    let memory: Arc<dyn TableProvider> =
        Arc::new(MemTable::try_new(all_types().arrow(), vec![vec![expected]]).unwrap());
    let answers = async |provider: Arc<dyn TableProvider>| {
        let context = context();
        context.register_table("a", Arc::clone(&provider)).unwrap();
        context.register_table("b", provider).unwrap();
        let mut answers = vec![];
        for column in ["b", "i", "r", "s", "t", "exact", "span", "g", "d", "j"] {
            // A small build side, whose values the join sends to the scan of the other.
            let join = format!("SELECT count(*) FROM a JOIN b ON a.{column} = b.{column} WHERE b.n < 5");
            let top =
                format!("SELECT n FROM (SELECT * FROM a ORDER BY {column} DESC NULLS LAST, n LIMIT 20) ORDER BY n");
            let low =
                format!("SELECT n FROM (SELECT * FROM a ORDER BY {column} ASC NULLS FIRST, n LIMIT 900) ORDER BY n");
            let groups = format!("SELECT count(*) FROM (SELECT DISTINCT {column} FROM a WHERE {column} IS NOT NULL)");
            for sql in [join, top, low, groups] {
                let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
                let numbers = batches.iter().flat_map(|batch| {
                    let numbers = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                    numbers.values().to_vec()
                });
                answers.push((sql, numbers.collect::<Vec<_>>()));
            }
        }
        answers
    };
    let found = answers(store.provider(&table)).await;
    for (found, wanted) in found.into_iter().zip(answers(memory).await) {
        assert_eq!(found, wanted);
    }
}

#[tokio::test]
async fn columns_added_later_are_empty_in_older_extents() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let old = table(&store, "T", numbers_schema()).await;
    append(&store, "T", vec![numbers(0..10)]).await;
    let more = schema(&[("more", Text), ("when", DateTime), ("g", Guid)]);
    store.alter_table(old.id(), vec![Alteration::MergeColumns(more)]).await.unwrap();
    let new = store.snapshot().table("db", "T").unwrap().clone();
    let provider = store.provider(&new);
    assert_eq!(ids(Arc::clone(&provider), col("more").eq(lit(""))).await.len(), 10);
    assert_eq!(ids(Arc::clone(&provider), col("more").is_null()).await.len(), 0);
    assert_eq!(ids(Arc::clone(&provider), col("when").is_null()).await.len(), 10);
    assert_eq!(ids(Arc::clone(&provider), col("when").gt(lit(5i64))).await.len(), 0);
    assert_eq!(ids(provider, col("g").is_not_null()).await.len(), 0);
}

fn by_time(count: i64, step: i64, first: i64) -> RecordBatch {
    let schema = schema(&[("t", DateTime), ("n", Long), ("g", Guid), ("s", Text)]).arrow();
    let mut guids = FixedSizeBinaryBuilder::new(16);
    for n in first..first + count {
        guids.append_value((n as u128).to_be_bytes()).unwrap();
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((first..first + count).map(|n| EPOCH + n * step))),
        Arc::new(Int64Array::from_iter_values(first..first + count)),
        Arc::new(guids.finish()),
        Arc::new(StringViewArray::from_iter_values((first..first + count).map(|n| format!("message {n}")))),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

async fn timed(store: &Store, name: &str, step: i64) -> Arc<dyn TableProvider> {
    table(store, name, schema(&[("t", DateTime), ("n", Long), ("g", Guid), ("s", Text)])).await;
    for extent in 0..4 {
        append(store, name, vec![by_time(5000, step, extent * 5000)]).await;
    }
    store.provider(store.snapshot().table("db", name).unwrap())
}

/// Runs a query; gives its rows, and the scan's metrics summed by name.
async fn run(frame: datafusion::dataframe::DataFrame) -> (Vec<RecordBatch>, std::collections::HashMap<String, usize>) {
    let task = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await.unwrap();
    let rows = datafusion::physical_plan::collect(Arc::clone(&plan), task).await.unwrap();
    let mut sums = std::collections::HashMap::new();
    add_metrics(&plan, &mut sums);
    (rows, sums)
}

fn add_metrics(plan: &Arc<dyn ExecutionPlan>, sums: &mut std::collections::HashMap<String, usize>) {
    for metric in plan.metrics().iter().flat_map(|metrics| metrics.iter()) {
        let pruned = match metric.value() {
            MetricValue::PruningMetrics { pruning_metrics, .. } => pruning_metrics.pruned(),
            other => other.as_usize(),
        };
        *sums.entry(metric.value().name().to_string()).or_default() += pruned;
    }
    plan.children().into_iter().for_each(|child| add_metrics(child, sums));
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn a_time_range_reads_only_the_pages_that_can_hold_it() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    // Steps of whole seconds, and steps that need the hidden column.
    for (name, step) in [("whole", 10_000_000), ("fine", 10_000_001)] {
        let provider = timed(&store, name, step).await;
        let filter = col("t").gt_eq(lit(EPOCH + 7_300 * step)).and(col("t").lt(lit(EPOCH + 7_350 * step)));
        let frame = context().read_table(provider).unwrap().filter(filter).unwrap();
        let (rows, metrics) = run(frame).await;
        assert_eq!(count(&rows), 50);
        let plan = format!("{metrics:?}");
        assert!(metrics["bytes_scanned"] < 30_000, "{plan}");
        assert_eq!(metrics["row_groups_pruned_statistics"], 4, "one extent of five row groups is left: {plan}");
        assert!(metrics["page_index_rows_pruned"] >= 800, "{plan}");
    }
}

#[tokio::test]
async fn a_guid_is_looked_up_by_its_text() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let provider = timed(&store, "T", 10).await;
    let guid = lit(ScalarValue::FixedSizeBinary(16, Some(12_345u128.to_be_bytes().to_vec())));
    let frame = context().read_table(provider).unwrap().filter(col("g").eq(guid)).unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("FilterExec"), "the scan filters: {text}");
    let (rows, metrics) = run(frame).await;
    assert_eq!(count(&rows), 1);
    assert_eq!(metrics["row_groups_pruned_statistics"], 4, "{metrics:?}");
}

#[tokio::test]
async fn a_value_that_is_not_there_is_ruled_out_by_bloom_filters() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    table(&store, "All", all_types()).await;
    append(&store, "All", vec![random_batch(0, 5000, &mut Random::new(8))]).await;
    let provider = store.provider(store.snapshot().table("db", "All").unwrap());
    // Within the bounds of all row groups, but no value of any.
    let guid = lit(ScalarValue::FixedSizeBinary(16, Some((0x1111_0000_0000_0000_0000_u128).to_be_bytes().to_vec())));
    for filter in [col("g").eq(guid), col("s").eq(lit("text xxxxx"))] {
        let (rows, metrics) = run(context().read_table(Arc::clone(&provider)).unwrap().filter(filter).unwrap()).await;
        assert_eq!(count(&rows), 0);
        assert!(metrics["row_groups_pruned_bloom_filter"] >= 4, "{metrics:?}");
    }
}

#[tokio::test]
async fn the_newest_rows_are_found_without_reading_the_old_ones() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    for (name, step) in [("whole", 10_000_000), ("fine", 10_000_001)] {
        let provider = timed(&store, name, step).await;
        let frame = context().read_table(provider).unwrap();
        let frame = frame.sort(vec![col("t").sort(false, false)]).unwrap().limit(0, Some(10)).unwrap();
        let (rows, metrics) = run(frame).await;
        let newest = concat_batches(&rows[0].schema(), &rows).unwrap();
        let numbers = newest.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(numbers.values().to_vec(), (19_990..20_000).rev().collect::<Vec<i64>>());
        let skipped = metrics.get("row_groups_pruned_dynamic_filter").copied().unwrap_or_default()
            + metrics["files_ranges_pruned_statistics"]
            + metrics["row_groups_pruned_statistics"];
        assert!(skipped > 0, "{metrics:?}");
    }
}

#[tokio::test]
async fn row_groups_that_a_top_has_outrun_are_skipped_while_reading() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    for (name, step) in [("whole", 10_000_000), ("fine", 10_000_001)] {
        let table = table(&store, name, schema(&[("t", DateTime), ("n", Long), ("g", Guid), ("s", Text)])).await;
        append(&store, name, vec![by_time(20_000, step, 0)]).await;
        for (column, ascending) in [("t", false), ("t", true), ("g", false)] {
            let frame = context().read_table(store.provider(store.snapshot().table("db", name).unwrap())).unwrap();
            let frame = frame.sort(vec![col(column).sort(ascending, true)]).unwrap().limit(0, Some(10)).unwrap();
            let (rows, metrics) = run(frame).await;
            let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
            let numbers = rows.column(1).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
            let expected: Vec<i64> = if ascending { (0..10).collect() } else { (19_990..20_000).rev().collect() };
            assert_eq!(numbers, expected);
            let skipped = metrics["row_groups_pruned_dynamic_filter"];
            assert!(skipped >= 15, "{name} by {column}: {metrics:?}");
        }
        drop(table);
    }
}

#[tokio::test]
async fn counting_rows_opens_no_file() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let provider = timed(&store, "T", 10).await;
    let context = context();
    context.register_table("t", provider).unwrap();
    for (sql, want) in [
        ("SELECT count(*) FROM t", 20_000),
        ("SELECT max(n) FROM t", 19_999),
        ("SELECT min(t) FROM t", EPOCH),
        ("SELECT max(t) FROM t", EPOCH + 199_990),
        ("SELECT count(g) FROM t", 20_000),
    ] {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert!(!text.contains("DataSourceExec"), "{sql}: {text}");
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(rows[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0), want, "{sql}");
    }
    for (sql, want) in [
        ("SELECT count(*) FROM t WHERE n >= 15000", 5000),
        ("SELECT count(*) FROM (SELECT * FROM t LIMIT 7)", 7),
        ("SELECT count(*) FROM (SELECT n FROM t WHERE n >= 15000 LIMIT 7)", 7),
        ("SELECT count(*) FROM (SELECT n FROM t ORDER BY n LIMIT 7000)", 7000),
        ("SELECT max(n) FROM (SELECT n FROM t ORDER BY n LIMIT 7)", 6),
        ("SELECT count(*) FROM t a JOIN t b ON a.n = b.n WHERE a.n < 10", 10),
    ] {
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(rows[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0), want, "{sql}");
    }
}

#[tokio::test]
async fn a_limit_takes_no_more_files_than_it_needs() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let provider = timed(&store, "T", 10).await;
    let frame = context().read_table(provider).unwrap().limit(0, Some(5)).unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert_eq!(text.matches(".parquet").count(), 1, "{text}");
    assert_eq!(count(&run(frame).await.0), 5);
}

#[tokio::test]
async fn rows_out_of_order_are_sorted_by_time_within_row_groups() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    table(&store, "T", schema(&[("t", DateTime), ("n", Long), ("g", Guid), ("s", Text)])).await;
    let batch = by_time(3000, 10, 0);
    let reversed = arrow::array::UInt32Array::from_iter_values((0..3000).rev());
    append(&store, "T", vec![take_record_batch(&batch, &reversed).unwrap()]).await;
    let read = rows(&store, store.snapshot().table("db", "T").unwrap()).await;
    let times = read.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
    assert!(times.chunks(1000).all(|chunk| chunk.is_sorted_by(|one, next| one >= next)), "each row group is sorted");
    assert_eq!(sorted(&read).column(1).len(), 3000);
}

#[tokio::test]
async fn an_empty_table_and_a_table_without_columns_can_be_read() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let empty = table(&store, "Empty", all_types()).await;
    assert_eq!(rows(&store, &empty).await.num_rows(), 0);
    let bare = table(&store, "Bare", schema(&[])).await;
    let batches = context().read_table(store.provider(&bare)).unwrap().collect().await.unwrap();
    assert_eq!(count(&batches), 0);
}

#[tokio::test]
async fn nan_and_the_two_zeros_are_never_pruned_away() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", schema(&[("n", Long), ("r", Real)])).await;
    let arrow: SchemaRef = t.arrow_schema().clone();
    let batch = |first: i64, values: Vec<f64>| {
        let numbers = Int64Array::from_iter_values(first..first + values.len() as i64);
        RecordBatch::try_new(arrow.clone(), vec![Arc::new(numbers), Arc::new(Float64Array::from(values))]).unwrap()
    };
    append(&store, "T", vec![batch(0, vec![0.0, 0.0])]).await;
    append(&store, "T", vec![batch(2, vec![-0.0])]).await;
    append(&store, "T", vec![batch(3, vec![1.0, f64::NAN])]).await;
    let provider = || store.provider(store.snapshot().table("db", "T").unwrap());
    let zeros = ids(provider(), col("r").eq(lit(0.0)).or(col("r").eq(lit(-0.0)))).await;
    assert_eq!(zeros, [0, 1, 2]);
    assert_eq!(ids(provider(), col("r").gt_eq(lit(0.5))).await, [3, 4]);
    // The statistics of a row group leave its NaN out; the engine's order puts it above everything.
    append(&store, "T", vec![batch(5, vec![0.1, f64::NAN, 0.1])]).await;
    append(&store, "T", vec![batch(8, vec![0.1; 1500]), batch(1508, vec![f64::NAN; 3])]).await;
    assert_eq!(ids(provider(), col("r").gt_eq(lit(0.5))).await, [3, 4, 6, 1508, 1509, 1510]);
    assert_eq!(ids(provider(), col("r").not_eq(lit(0.1)).and(col("n").gt(lit(4i64)))).await, [6, 1508, 1509, 1510]);
}

#[tokio::test]
async fn wrong_batches_are_refused() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    let mut writer = store.writer(&t.target());
    let wrong = RecordBatch::try_new(
        schema(&[("n", Int), ("s", Bool)]).arrow(),
        vec![Arc::new(Int32Array::from(vec![1])), Arc::new(BooleanArray::from(vec![true]))],
    );
    let error = writer.write(wrong.unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "column 'n': found Int32, expected Int64");
}
