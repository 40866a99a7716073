//! Scans in the order of time give the same rows in the same order as a sort, whatever way the rows came.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::col;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use tempfile::tempdir;
use tidewater_kql::KqlType::{DateTime, Long};
use tidewater_store::{KeepOrder, Store, TimeOrder};

use crate::common::{Random, append, open, schema, table};

const START: i64 = 638_000_000_000_000_000;

fn context(partitions: usize, in_order: bool) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(partitions);
    config.options_mut().execution.parquet.pushdown_filters = true;
    let mut rules = PhysicalOptimizer::new().rules;
    if in_order {
        let place = rules.iter().position(|rule| rule.name() == "EnsureRequirements").unwrap();
        rules.insert(place, Arc::new(TimeOrder));
        rules.push(Arc::new(KeepOrder));
    }
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    SessionContext::new_with_state(builder.with_physical_optimizer_rules(rules).build())
}

fn batch(times: Vec<Option<i64>>) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(0..times.len() as i64);
    let columns = vec![Arc::new(Int64Array::from(times)) as _, Arc::new(numbers) as _];
    RecordBatch::try_new(schema(&[("t", DateTime), ("n", Long)]).arrow(), columns).unwrap()
}

async fn times(frame: DataFrame) -> (Vec<Option<i64>>, String) {
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let batches = frame.collect().await.unwrap();
    let column = |batch: &RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
    (batches.iter().flat_map(|batch| column(batch).iter().collect::<Vec<_>>()).collect(), text)
}

fn newest(store: &Store, context: &SessionContext, limit: Option<usize>) -> DataFrame {
    let provider = store.provider(store.snapshot().table("db", "T").unwrap());
    let frame = context.read_table(provider).unwrap();
    let frame = frame.filter(col("n").not_eq(datafusion::logical_expr::lit(3i64))).unwrap();
    let sorted = frame.sort(vec![col("t").sort(false, false)]).unwrap();
    match limit {
        Some(limit) => sorted.limit(0, Some(limit)).unwrap(),
        None => sorted,
    }
}

#[tokio::test]
async fn reading_in_order_gives_what_sorting_gives() {
    let (mut merged, mut sorted) = (0, 0);
    for seed in 0..12 {
        let mut random = Random::new(seed * 2 + 7);
        let directory = tempdir().unwrap();
        let store = open(&directory);
        table(&store, "T", schema(&[("t", DateTime), ("n", Long)])).await;
        // Rows come in time, late by up to so many, some of them with a seventh digit, in one case with nulls.
        let late = [1, 30, 400, 5000][seed as usize % 4];
        let unit = if seed % 3 == 0 { 1 } else { 10 };
        let mut now = START;
        for _ in 0..1 + random.below(4) {
            let rows = 300 + random.below(3500);
            let mut times = Vec::new();
            for _ in 0..rows {
                now += random.below(3) as i64 * unit;
                times.push((seed != 11 || random.below(500) > 0).then(|| now - random.below(late) as i64 * unit));
            }
            append(&store, "T", vec![batch(times)]).await;
        }
        for partitions in [1, 2, 4] {
            for limit in [None, Some(7), Some(1500)] {
                let (expected, _) = times(newest(&store, &context(partitions, false), limit)).await;
                let (found, plan) = times(newest(&store, &context(partitions, true), limit)).await;
                let first = found.iter().zip(&expected).position(|(one, other)| one != other);
                let is_same = (found.len(), first) == (expected.len(), None);
                assert!(is_same, "seed {seed}, {partitions} partitions, {limit:?}: row {first:?}\n{plan}");
                if plan.contains("SortExec") { sorted += 1 } else { merged += 1 }
            }
        }
    }
    // Both ways were gone.
    assert!(merged > 20 && sorted > 20, "{merged} merged, {sorted} sorted");
}

#[tokio::test]
async fn an_order_by_another_first_datetime_column_is_not_believed() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let made = table(&store, "T", schema(&[("t", DateTime), ("n", Long)])).await;
    append(&store, "T", vec![batch((0..100).map(|n| Some(START + n * 10)).collect())]).await;
    let wider = schema(&[("u", DateTime), ("t", DateTime), ("n", Long)]);
    store.alter_table(made.id(), vec![tidewater_store::Alteration::Columns(wider)]).await.unwrap();
    let provider = store.provider(store.snapshot().table("db", "T").unwrap());
    let frame = context(2, true).read_table(provider).unwrap();
    let frame = frame.select_columns(&["u", "n"]).unwrap().sort(vec![col("u").sort(false, false)]).unwrap();
    let (found, plan) = times(frame).await;
    assert_eq!((found.len(), plan.contains("SortExec")), (100, true), "{plan}");
}
