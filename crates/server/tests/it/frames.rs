//! Answers of both versions byte for byte, made from given rows: every type, every layout, every failure.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use futures::StreamExt;
use tidewater_kql::value::{datetime, decimal::Decimal};
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_server::kusto::error::Scene;
use tidewater_server::kusto::sink::{Coding, Message, Sink};
use tidewater_server::kusto::v2::{Layout, Placement, Progressive};
use tidewater_server::kusto::{v1, v2};
use tidewater_service::{CommandAnswer, Context, Error, QueryAnswer, RequestOptions, ResultTable};

use crate::support::{golden, scrubbed};

fn all_types() -> (TableSchema, RecordBatch) {
    let columns = KqlType::ALL.iter().map(|ty| Column::new(format!("v_{ty}"), *ty)).collect();
    let schema = TableSchema::new(columns);
    let decimal = Decimal::parse("12345.6789").unwrap().bytes().to_vec();
    let guid: Vec<u8> = (0..16).map(|n| n * 16 + n).collect();
    let fixed = |value: Vec<u8>| {
        let rows = vec![Some(value), None].into_iter();
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows, 16).unwrap())
    };
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int32Array::from(vec![Some(-7), None])),
        Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
        Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None])),
        fixed(decimal),
        Arc::new(StringViewArray::from(vec![Some("quote \" slash \\ line\nend\u{2028}é"), None])),
        Arc::new(Int64Array::from(vec![datetime::parse("2014-05-25T08:20:03.123456Z"), None])),
        Arc::new(Int64Array::from(vec![Some(864_000_000_000 + 36_610_000_001), None])),
        fixed(guid),
        Arc::new(StringViewArray::from(vec![Some(r#"{"a":[1,"x",null]}"#), None])),
    ];
    let batch = RecordBatch::try_new(schema.arrow(), arrays).unwrap();
    (schema, batch)
}

fn numbers(name: &str, rows: Vec<i64>, error: Option<Error>) -> ResultTable {
    let schema = TableSchema::new(vec![Column::new("A", KqlType::Int)]);
    let array = Int32Array::from_iter_values(rows.iter().map(|n| *n as i32));
    let batch = RecordBatch::try_new(schema.arrow(), vec![Arc::new(array)]).unwrap();
    let mut table = ResultTable::of_batch(name, schema, batch.clone());
    let items = std::iter::once(Ok(batch)).chain(error.map(Err));
    table.rows = futures::stream::iter(items.collect::<Vec<_>>()).boxed();
    table
}

fn answer(results: Vec<ResultTable>) -> QueryAnswer {
    QueryAnswer { results, options: RequestOptions::default() }
}

fn context() -> Context {
    let mut context = Context::new("D");
    context.client_request_id = "test;1".into();
    context
}

fn scene(context: &Context) -> Scene {
    Scene::of(context, "the query", "DN.RunQuery")
}

const PLAIN: Layout =
    Layout { newlines: false, fragmented: false, progressive: None, placement: Placement::InData, defer: false };
/// What Go always asks for.
const GO: Layout =
    Layout { newlines: true, fragmented: true, progressive: None, placement: Placement::EndOfTable, defer: false };
/// What a client with a progress bar asks for.
const PROGRESSIVE: Layout =
    Layout { progressive: Some(Progressive { rows: 2, period: std::time::Duration::from_secs(3600) }), ..PLAIN };

async fn collected(mut messages: tokio::sync::mpsc::Receiver<Message>) -> Result<String, Error> {
    let mut body = Vec::new();
    let mut ended = false;
    while let Some(message) = messages.recv().await {
        match message {
            Message::Whole(bytes, Coding::Identity) => {
                body.extend_from_slice(&bytes);
                ended = true;
            }
            Message::First(bytes, Coding::Identity) | Message::Part(bytes) => body.extend_from_slice(&bytes),
            Message::End => ended = true,
            Message::Failed(error) => return Err(error),
            _ => panic!("nobody asked for compression"),
        }
    }
    assert!(ended, "a body ends by a message");
    Ok(String::from_utf8(body).unwrap())
}

async fn second_version(answer: QueryAnswer, layout: Layout) -> Result<String, Error> {
    let (sink, messages) = Sink::new(Coding::Identity);
    let context = context();
    let scene = scene(&context);
    let task = tokio::spawn(async move { v2::encode(answer, layout, &context, &scene, sink).await });
    let text = collected(messages).await;
    task.await.unwrap().unwrap();
    text
}

async fn first_version(answer: CommandAnswer, defer: bool) -> Result<String, Error> {
    let (sink, messages) = Sink::new(Coding::Identity);
    let context = context();
    let scene = scene(&context);
    let task = tokio::spawn(async move { v1::encode_command(answer, defer, &context, &scene, sink).await });
    let text = collected(messages).await;
    task.await.unwrap().unwrap();
    text
}

fn check(name: &str, text: &str) {
    serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    golden(name, &format!("{}\n", scrubbed(text).trim_end()));
}

fn truncated() -> Error {
    Error::result_too_large("2 records")
}

#[tokio::test]
async fn every_type_has_its_wire_form_in_both_versions() {
    let (schema, batch) = all_types();
    let table = || ResultTable::of_batch("AllDataTypes", schema.clone(), batch.clone());
    check("v2/all_types.json", &second_version(answer(vec![table()]), PLAIN).await.unwrap());
    check("v2/all_types_go.json", &second_version(answer(vec![table()]), GO).await.unwrap());
    let query = CommandAnswer::Query(answer(vec![table()]));
    check("v1/all_types.json", &first_version(query, false).await.unwrap());
    check("v1/command.json", &first_version(CommandAnswer::Table(table()), false).await.unwrap());
}

#[tokio::test]
async fn several_results_and_empty_ones_are_framed() {
    let results = || {
        let mut sorted = numbers("PrimaryResult", vec![1, 2], None);
        sorted.is_sorted = true;
        sorted.visualization = Some(serde_json::json!({"Visualization": "timechart", "Title": "a \"b\""}));
        answer(vec![sorted, numbers("T", vec![], None)])
    };
    check("v2/two_results.json", &second_version(results(), PLAIN).await.unwrap());
    check("v2/two_results_go.json", &second_version(results(), GO).await.unwrap());
    let lines = Layout { newlines: true, ..PLAIN };
    check("v2/two_results_lines.json", &second_version(results(), lines).await.unwrap());
    check("v1/two_results.json", &first_version(CommandAnswer::Query(results()), false).await.unwrap());
    check("v2/no_results.json", &second_version(answer(vec![]), PLAIN).await.unwrap());
}

#[tokio::test]
async fn truncation_is_told_where_the_caller_asked_for_it() {
    let results = || answer(vec![numbers("PrimaryResult", vec![1, 2], Some(truncated())), numbers("T", vec![3], None)]);
    check("v2/truncated.json", &second_version(results(), PLAIN).await.unwrap());
    check("v2/truncated_go.json", &second_version(results(), GO).await.unwrap());
    let fragments = Layout { fragmented: true, ..PLAIN };
    check("v2/truncated_fragments.json", &second_version(results(), fragments).await.unwrap());
    let at_end = Layout { placement: Placement::EndOfDataset, ..PLAIN };
    check("v2/truncated_end_of_dataset.json", &second_version(results(), at_end).await.unwrap());
    let deferred = Layout { defer: true, ..PLAIN };
    check("v2/truncated_deferred.json", &second_version(results(), deferred).await.unwrap());
    check("v1/truncated.json", &first_version(CommandAnswer::Query(results()), false).await.unwrap());
    check("v1/truncated_deferred.json", &first_version(CommandAnswer::Query(results()), true).await.unwrap());
}

#[tokio::test]
async fn progressive_answers_come_in_fragments_of_the_size_asked_for() {
    let frames = |text: String| -> Vec<serde_json::Value> { serde_json::from_str(&text).unwrap() };
    let results = answer(vec![numbers("PrimaryResult", vec![1, 2, 3, 4, 5], None), numbers("T", vec![], None)]);
    let whole = frames(second_version(results, PROGRESSIVE).await.unwrap());
    assert_eq!((&whole[0]["IsProgressive"], &whole[0]["IsFragmented"]), (&true.into(), &false.into()));
    let fragment = |rows: serde_json::Value| serde_json::json!({"FrameType": "TableFragment", "TableFragmentType": "DataAppend", "TableId": 1, "Rows": rows});
    let columns = serde_json::json!([{"ColumnName": "A", "ColumnType": "int"}]);
    let header = |id: i64, name: &str| {
        serde_json::json!({
            "FrameType": "TableHeader", "TableId": id, "TableKind": "PrimaryResult", "TableName": name, "Columns": columns
        })
    };
    let ended = |id: i64, rows: i64| {
        [
            serde_json::json!({"FrameType": "TableProgress", "TableId": id, "TableProgress": 100.0}),
            serde_json::json!({"FrameType": "TableCompletion", "TableId": id, "RowCount": rows}),
        ]
    };
    let mut expected = vec![header(1, "PrimaryResult")];
    expected.extend([[[1], [2]], [[3], [4]]].map(|rows| fragment(serde_json::json!(rows))));
    expected.push(fragment(serde_json::json!([[5]])));
    expected.extend(ended(1, 5));
    expected.push(header(2, "T"));
    expected.extend(ended(2, 0));
    assert_eq!(whole[2..whole.len() - 2], expected);

    let failing = answer(vec![numbers("PrimaryResult", vec![1, 2, 3], Some(truncated()))]);
    let cut = frames(second_version(failing, PROGRESSIVE).await.unwrap());
    let kinds: Vec<&str> = cut[2..].iter().map(|frame| frame["FrameType"].as_str().unwrap()).collect();
    let fragments = ["TableHeader", "TableFragment", "TableFragment", "TableFragment"];
    assert_eq!(kinds, [&fragments[..], &["TableCompletion", "DataSetCompletion"]].concat());
    assert!(cut[5]["Rows"][0]["OneApiErrors"].is_array(), "the failure is the last row");
}

/// A result that takes its time: progress is told meanwhile, and what is there already goes out.
#[tokio::test]
async fn progress_is_told_while_nothing_comes() {
    let mut table = numbers("T", vec![1], None);
    let slow = futures::stream::once(async {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        numbers("T", vec![2], None).rows.next().await.unwrap()
    });
    table.rows = table.rows.chain(slow).boxed();
    let layout =
        Layout { progressive: Some(Progressive { rows: 1000, period: std::time::Duration::from_millis(20) }), ..PLAIN };
    let text = second_version(answer(vec![table]), layout).await.unwrap();
    let frames: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut kinds: Vec<&str> = frames.iter().map(|frame| frame["FrameType"].as_str().unwrap()).collect();
    kinds.dedup();
    let table = ["TableHeader", "TableFragment", "TableProgress", "TableFragment", "TableProgress", "TableCompletion"];
    assert_eq!(kinds[2..8], table, "{text}");
    let progress: Vec<f64> = frames.iter().filter_map(|frame| frame["TableProgress"].as_f64()).collect();
    assert_eq!((progress[0], progress.last()), (0.0, Some(&100.0)));
    let completion = frames.iter().find(|frame| frame["FrameType"] == "TableCompletion").unwrap();
    assert_eq!(completion["RowCount"], 2);
}

/// Where a reader of each kind finds a partial failure: Python among the rows, Java and JavaScript on the last frame, Go on
/// the table's completion.
#[tokio::test]
async fn partial_failures_stand_where_each_reader_looks() {
    let results = || answer(vec![numbers("PrimaryResult", vec![1, 2], Some(truncated()))]);
    for (fragmented, progressive) in [(false, None), (true, None), (false, PROGRESSIVE.progressive)] {
        for placement in [Placement::InData, Placement::EndOfTable, Placement::EndOfDataset] {
            for defer in [false, true] {
                let layout = Layout { fragmented, progressive, placement, defer, ..PLAIN };
                let text = second_version(results(), layout).await.unwrap();
                let frames: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
                let rows =
                    frames.iter().filter(|frame| frame["TableId"] == 1).filter_map(|frame| frame["Rows"].as_array());
                let in_rows = rows.flatten().any(|row| row.get("OneApiErrors").is_some());
                let completion = frames.iter().find(|frame| frame["FrameType"] == "TableCompletion");
                let on_completion = completion.is_some_and(|frame| frame.get("OneApiErrors").is_some());
                let last = frames.last().unwrap();
                let is_in_parts = fragmented || progressive.is_some();
                assert_eq!(in_rows, !defer && placement == Placement::InData, "{layout:?}");
                assert_eq!(on_completion, !defer && is_in_parts && placement == Placement::EndOfTable, "{layout:?}");
                assert_eq!(last["HasErrors"], !defer, "{layout:?}");
                assert_eq!(last.get("OneApiErrors").is_some(), !defer, "{layout:?}");
                let told = frames.iter().filter(|frame| frame["TableKind"] == "QueryCompletionInformation");
                let errors = told.flat_map(|frame| frame["Rows"].as_array().unwrap()).filter(|row| row[5] == 2).count();
                assert_eq!(errors, usize::from(defer), "{layout:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_fault_before_the_first_byte_is_no_frame() {
    let failing = || answer(vec![numbers("T", vec![1], Some(Error::bad_request("bad value")))]);
    assert_eq!(second_version(failing(), PLAIN).await.unwrap_err().message(), "bad value");
    assert_eq!(second_version(failing(), GO).await.unwrap_err().message(), "bad value");
    let query = CommandAnswer::Query(failing());
    assert_eq!(first_version(query, false).await.unwrap_err().message(), "bad value");
}

/// More rows than a chunk holds, then a fault: it can only be told inside.
#[tokio::test]
async fn a_fault_after_the_first_byte_is_told_in_the_frames() {
    let rows: Vec<i64> = (0..100_000).collect();
    let failing = || answer(vec![numbers("T", rows.clone(), Some(Error::out_of_memory("x")))]);
    for layout in [PLAIN, GO] {
        let text = second_version(failing(), layout).await.unwrap();
        let frames: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let last = frames.last().unwrap();
        assert_eq!(last["HasErrors"], true);
        let error = &last["OneApiErrors"][0]["error"];
        assert_eq!((&error["code"], &error["@permanent"]), (&"LimitsExceeded".into(), &false.into()));
        assert!(error["@message"].as_str().unwrap().contains("80DA0007"));
        let kinds: Vec<&str> = frames.iter().filter_map(|frame| frame["TableKind"].as_str()).collect();
        assert!(!kinds.contains(&"QueryCompletionInformation"));
    }
    let text = first_version(CommandAnswer::Query(failing()), false).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["Tables"].as_array().unwrap().len(), 1);
    assert_eq!(value["Tables"][0]["Rows"].as_array().unwrap().len(), 100_001);
    assert!(value["Exceptions"][0].as_str().unwrap().contains("E_LOW_MEMORY_CONDITION"));
}

#[tokio::test]
async fn long_results_come_in_fragments_of_bounded_size() {
    let rows: Vec<i64> = (0..100_000).collect();
    let text = second_version(answer(vec![numbers("T", rows, None)]), GO).await.unwrap();
    let mut count = 0;
    let mut fragments = 0;
    for line in text.lines().filter(|line| line.len() > 1) {
        assert!(line.len() < 200_000, "a line of {} bytes", line.len());
        // Go cuts the first byte of every line.
        let frame: serde_json::Value = serde_json::from_str(&line[1..]).unwrap();
        if frame["FrameType"] == "TableFragment" {
            fragments += 1;
            count += frame["Rows"].as_array().unwrap().len();
        }
        if frame["FrameType"] == "TableCompletion" {
            assert_eq!(frame["RowCount"], 100_000);
        }
    }
    assert_eq!(count, 100_000);
    assert!(fragments > 1);
}

/// A client that does not read holds the encoder back after a few chunks.
#[tokio::test]
async fn a_slow_client_holds_the_encoder_back() {
    let (sink, mut messages) = Sink::new(Coding::Identity);
    let produced = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let (schema, batch) = all_types();
    let mut table = ResultTable::of_batch("T", schema, batch.clone());
    table.rows = futures::stream::iter(0..200_000)
        .map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(batch.clone())
        })
        .boxed();
    let context = context();
    let scene = scene(&context);
    let task = tokio::spawn(async move { v2::encode(answer(vec![table]), PLAIN, &context, &scene, sink).await });
    assert!(matches!(messages.recv().await, Some(Message::First(..))));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(produced.load(std::sync::atomic::Ordering::Relaxed) < 50_000);
    drop(messages);
    assert!(task.await.unwrap().is_err(), "the encoder notices that nobody reads");
}
