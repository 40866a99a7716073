//! Filters of terms: they leave out rows that cannot match, and never one that does.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarUDF, Volatility, col, create_udf, lit, not};
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::tempdir;
use tidewater_kql::KqlType;
use tidewater_kql::term::each_term;
use tidewater_store::{Alteration, ScanLedger, Store, StoreOptions, WriteOptions};

use crate::common::{Random, append, data_files, schema, small, table};

/// Filters for every 50 rows.
fn options() -> StoreOptions {
    let write = WriteOptions { row_group_rows: 500, page_rows: 50, term_rows: 0, ..WriteOptions::default() };
    StoreOptions { write, ..small() }
}

fn open(path: &Path) -> Store {
    Store::open(path, options()).unwrap()
}

fn is_match(text: &str, needle: &str) -> bool {
    let terms = |text: &str| {
        let mut terms = BTreeSet::new();
        each_term(text, &mut String::new(), |term, _, _| {
            terms.insert(term.to_string());
        });
        terms
    };
    terms(needle).is_subset(&terms(text))
}

/// `has` under its name in plans; the language's own lives elsewhere.
fn has() -> ScalarUDF {
    let answer = |args: &[ColumnarValue]| {
        let rows = args.iter().find_map(|arg| match arg {
            ColumnarValue::Array(array) => Some(array.len()),
            ColumnarValue::Scalar(_) => None,
        });
        let (texts, needles) = (args[0].to_array(rows.unwrap_or(1))?, args[1].to_array(rows.unwrap_or(1))?);
        let (texts, needles) = (texts.as_string_view(), needles.as_string_view());
        let found = (0..texts.len()).map(|row| Some(is_match(texts.value(row), needles.value(row))));
        Ok(ColumnarValue::Array(Arc::new(found.collect::<BooleanArray>()) as ArrayRef))
    };
    let types = vec![DataType::Utf8View, DataType::Utf8View];
    create_udf("kql_has", types, DataType::Boolean, Volatility::Immutable, Arc::new(answer))
}

fn text(value: impl Into<String>) -> Expr {
    lit(ScalarValue::Utf8View(Some(value.into())))
}

const WORDS: [&str; 9] = ["get", "POST", "Ünï", "日本", "a", "42", "\u{212A}", "time_out", "x-y"];

fn words(random: &mut Random, most: u64) -> String {
    let count = random.below(most + 1);
    let words: Vec<&str> = (0..count).map(|_| WORDS[random.below(WORDS.len() as u64) as usize]).collect();
    words.join([" ", "/", ", "][random.below(3) as usize])
}

fn batch(rows: std::ops::Range<i64>, random: &mut Random) -> RecordBatch {
    let texts: Vec<String> =
        rows.clone().map(|n| format!("{} id{n} {}", words(random, 2), words(random, 1)).trim().to_string()).collect();
    let kinds: Vec<String> = rows.clone().map(|n| WORDS[(n / 300) as usize % WORDS.len()].to_string()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows)),
        Arc::new(StringViewArray::from_iter_values(texts)),
        Arc::new(StringViewArray::from_iter_values(kinds)),
    ];
    RecordBatch::try_new(logs().arrow(), columns).unwrap()
}

fn logs() -> tidewater_kql::TableSchema {
    schema(&[("n", KqlType::Long), ("s", KqlType::String), ("kind", KqlType::String)])
}

/// The rows that a filter finds, and how many were looked at.
async fn find(provider: &Arc<dyn TableProvider>, filter: Expr, partitions: usize) -> (Vec<i64>, u64) {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    let frame = context.read_table(Arc::clone(provider)).unwrap().filter(filter).unwrap();
    let frame = frame.select(vec![col("n")]).unwrap();
    let ledger = ScanLedger::default();
    let task = Arc::new(frame.task_ctx());
    let mut plan = Box::pin(frame.create_physical_plan());
    // The ledger is known to the thread that plans.
    let plan = std::future::poll_fn(|context| ledger.enter(|| plan.as_mut().poll(context))).await.unwrap();
    let batches = datafusion::physical_plan::collect(plan, task).await.unwrap();
    let mut found: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    found.sort_unstable();
    (found, ledger.totals().scanned_rows)
}

fn condition(random: &mut Random, depth: u32) -> Expr {
    let call = |column: &str, needle: String| has().call(vec![col(column), text(needle)]);
    let word = |random: &mut Random| WORDS[random.below(WORDS.len() as u64) as usize].to_string();
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 => call("s", words(random, 2)),
        1 => call("s", format!("ID{}", random.below(3000))),
        2 => call("kind", word(random)),
        3 => col("kind").eq(text(word(random))),
        4 => col("kind").in_list(vec![text(word(random)), text(word(random))], random.below(4) == 0),
        5 => col("s").like(text(format!("%id{}%", random.below(300)))),
        6 => condition(random, depth - 1).and(condition(random, depth - 1)),
        7 => condition(random, depth - 1).or(condition(random, depth - 1)),
        _ => not(condition(random, depth - 1)),
    }
}

#[tokio::test]
async fn filters_of_terms_lose_no_row() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    table(&store, "Logs", logs()).await;
    let mut random = Random::new(11);
    let all: Vec<RecordBatch> = (0..3).map(|part| batch(part * 1000..part * 1000 + 1000, &mut random)).collect();
    for part in &all {
        append(&store, "Logs", vec![part.clone()]).await;
    }
    let memory: Arc<dyn TableProvider> =
        Arc::new(datafusion::datasource::MemTable::try_new(logs().arrow(), vec![all]).unwrap());
    let stored = store.provider(store.snapshot().table("db", "Logs").unwrap());
    for round in 0..150 {
        let filter = condition(&mut random, 2);
        let (expected, _) = find(&memory, filter.clone(), 1).await;
        let (found, _) = find(&stored, filter.clone(), 1 + round % 3).await;
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn a_rare_term_is_looked_for_in_its_rows_only() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    table(&store, "Logs", logs()).await;
    append(&store, "Logs", vec![batch(0..3000, &mut Random::new(5))]).await;
    let look = async |store: &Store, filter: Expr| {
        find(&store.provider(store.snapshot().table("db", "Logs").unwrap()), filter, 2).await
    };
    let call = |needle: &str| has().call(vec![col("s"), text(needle)]);
    for filter in [call("id1234"), call("ID1234"), call("/id1234-"), call("id1234").and(col("n").gt(lit(3)))] {
        let (found, looked) = look(&store, filter.clone()).await;
        assert_eq!(found, [1234]);
        assert!(looked <= 400, "{filter}: {looked} rows");
    }
    let (found, looked) = look(&store, call("id1234").or(call("id77"))).await;
    assert_eq!(found, [77, 1234]);
    assert!(looked <= 600, "{looked} rows");
    let (found, looked) = look(&store, call("absent")).await;
    assert!(found.is_empty() && looked <= 400, "{looked} rows");
    // Parts of terms say nothing.
    let (found, looked) = look(&store, col("s").like(text("%id1234%"))).await;
    assert_eq!((found, looked), (vec![1234], 3000));

    // They hold for what a merge writes, for renamed columns and after a restart.
    append(&store, "Logs", vec![batch(3000..4000, &mut Random::new(6))]).await;
    let id = store.snapshot().table("db", "Logs").unwrap().id();
    assert_eq!(store.merge_table(id).await.unwrap().rows, 4000);
    let rename = Alteration::RenameColumns(vec![("s".into(), "message".into())]);
    store.alter_table(id, vec![rename]).await.unwrap();
    drop(store);
    let store = open(directory.path());
    let (found, looked) = look(&store, has().call(vec![col("message"), text("id3777")])).await;
    assert_eq!(found, [3777]);
    assert!(looked <= 400, "{looked} rows");
}

#[tokio::test]
async fn filters_that_cannot_be_read_are_done_without() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    table(&store, "Logs", logs()).await;
    append(&store, "Logs", vec![batch(0..1000, &mut Random::new(5))]).await;
    drop(store);
    let file = data_files(directory.path()).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let rule = b"{\"rule\":\"";
    let at = bytes.windows(rule.len()).position(|part| part == rule).unwrap();
    // Made by other tables of Unicode; and no directory at all.
    for (damage, place) in [(b'?', at + rule.len()), (b'x', at)] {
        bytes[place] = damage;
        std::fs::write(&file, &bytes).unwrap();
        let store = open(directory.path());
        let provider = store.provider(store.snapshot().table("db", "Logs").unwrap());
        let (found, looked) = find(&provider, has().call(vec![col("s"), text("id123")]), 1).await;
        assert_eq!((found, looked), (vec![123], 1000));
    }
}
