//! Avro, ORC and Parquet: what is decoded, what mappings make of it, what damaged bytes do.

use std::path::PathBuf;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use tidewater_formats::*;
use tidewater_kql::value::datetime;
use tidewater_kql::{KqlType, TableSchema};

use crate::{bytes, fails, long, read, schema, text};

const FILES: [&str; 5] = ["events.avro", "events-deflate.avro", "events-snappy.avro", "events.orc", "events.parquet"];

fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../cases/ingest/data").join(name);
    std::fs::read(path).unwrap()
}

fn format(name: &str) -> Format {
    Format::of_path(name).unwrap()
}

fn mapped(name: &str, table: &TableSchema, mapping: &str) -> (Vec<arrow::record_batch::RecordBatch>, Rejects) {
    let mut options = DecodeOptions::new(format(name));
    options.mapping = Some(Mapping::parse(mapping).unwrap());
    options.location = format!("here/{name}");
    read(data(name), table, options)
}

#[test]
fn each_codec_of_avro_gives_the_same_rows() {
    let table = schema(&[("id", KqlType::Long), ("name", KqlType::String), ("either", KqlType::Dynamic)]);
    for name in &FILES[..3] {
        let (batches, rejects) = read(data(name), &table, DecodeOptions::new(Format::Avro));
        assert_eq!(long(&batches[0], 0), [Some(1), Some(2), Some(3)]);
        assert_eq!(text(&batches[0], 1), [Some("one".into()), Some("".into()), Some("drei".into())]);
        assert_eq!(text(&batches[0], 2), [Some("\"x\"".into()), Some("7".into()), None]);
        assert_eq!(rejects.count, 0);
    }
}

#[test]
fn logical_types_become_kqls() {
    let table = schema(&[
        ("at", KqlType::DateTime),
        ("micros", KqlType::DateTime),
        ("day", KqlType::DateTime),
        ("time", KqlType::TimeSpan),
        ("price", KqlType::String),
        ("guid", KqlType::String),
        ("kind", KqlType::String),
        ("micros", KqlType::String),
    ]);
    let (batches, _) = read(data("events.avro"), &table, DecodeOptions::new(Format::ApacheAvro));
    let ticks = |text: &str| vec![datetime::parse(text); 3];
    assert_eq!(long(&batches[0], 0), ticks("2024-01-02T03:04:05.678Z"));
    assert_eq!(long(&batches[0], 1), ticks("2024-01-02T03:04:05.678901Z"));
    assert_eq!(long(&batches[0], 2), ticks("2024-02-29"));
    assert_eq!(long(&batches[0], 3), [Some(37_230_000_040); 3]);
    let first = |at: usize| text(&batches[0], at)[0].clone().unwrap();
    assert_eq!(first(4), "12.34");
    assert_eq!(first(5), "74be27de-1e4e-49d9-b579-fe0b331d3642");
    assert_eq!(first(6), "B");
    assert_eq!(first(7), "2024-01-02T03:04:05.6789010Z");
}

#[test]
fn schemas_are_inferred_from_typed_files() {
    for name in FILES {
        let inferred = infer_schema(bytes(data(name)), &DecodeOptions::new(format(name))).unwrap().schema;
        let ty = |name: &str| inferred.index_of(name).map(|at| inferred.columns[at].ty);
        assert_eq!(ty("id"), Some(KqlType::Long), "{name}");
        assert_eq!(ty("name"), Some(KqlType::String), "{name}");
        assert_eq!(ty("at"), Some(KqlType::DateTime), "{name}");
        assert_eq!(ty("price"), Some(KqlType::Decimal), "{name}");
        assert_eq!(ty("props"), Some(KqlType::Dynamic), "{name}");
        assert_eq!(ty("raw"), Some(KqlType::String), "{name}");
    }
}

#[test]
fn paths_reach_into_records_and_lists() {
    let table = schema(&[("event", KqlType::String), ("second", KqlType::Long), ("all", KqlType::Dynamic)]);
    for (name, second) in
        [("events.avro", "$.props.list[1].n"), ("events.orc", "$.props.list[1]"), ("events.parquet", "$.props.list[1]")]
    {
        let mapping = format!(
            r#"[{{"column":"event","Properties":{{"Path":"$.props.EventName"}}}},
                {{"column":"second","Properties":{{"Path":"{second}"}}}},
                {{"column":"all","Properties":{{"Path":"$"}}}}]"#
        );
        let (batches, rejects) = mapped(name, &table, &mapping);
        assert_eq!(text(&batches[0], 0)[0].as_deref(), Some("CustomEvent"), "{name}");
        assert_eq!(long(&batches[0], 1)[0], Some(2), "{name}");
        let whole = text(&batches[0], 2)[0].clone().unwrap();
        assert!(whole.starts_with("{\"id\":1,") && whole.contains("\"EventName\":\"CustomEvent\""), "{whole}");
        assert_eq!(rejects.count, 0, "{name}: {:?}", rejects.samples);
    }
}

#[test]
fn transformations_work_on_typed_files() {
    let table = schema(&[
        ("t", KqlType::DateTime),
        ("s", KqlType::String),
        ("line", KqlType::Long),
        ("place", KqlType::String),
        ("props", KqlType::Dynamic),
        ("event", KqlType::String),
        ("fixed", KqlType::Long),
    ]);
    for name in ["events.avro", "events.orc", "events.parquet"] {
        let (batches, rejects) = mapped(
            name,
            &table,
            r#"[{"column":"t","Properties":{"Field":"seconds","Transform":"DateTimeFromUnixSeconds"}},
                {"column":"s","Properties":{"Path":"$.seconds","Transform":"DateTimeFromUnixMilliseconds"}},
                {"column":"line","Properties":{"Transform":"SourceLineNumber"}},
                {"column":"place","Properties":{"Transform":"SourceLocation"}},
                {"column":"props","Properties":{"Path":"$.props","Transform":"DropMappedFields"}},
                {"column":"event","Properties":{"Path":"$.props.EventName"}},
                {"column":"fixed","Properties":{"ConstValue":"7"}}]"#,
        );
        assert_eq!(long(&batches[0], 0)[0], datetime::parse("2023-11-14T22:13:20Z"), "{name}");
        assert_eq!(text(&batches[0], 1)[0].as_deref(), Some("1970-01-20T16:13:20.0000000Z"), "{name}");
        assert_eq!(long(&batches[0], 2), [Some(1), Some(2), Some(3)]);
        assert_eq!(text(&batches[0], 3)[2], Some(format!("here/{name}")));
        let props = text(&batches[0], 4)[0].clone().unwrap();
        assert!(props.starts_with("{\"Revenue\":0.456,\"list\":["), "{name}: {props}");
        assert_eq!(text(&batches[0], 5)[0].as_deref(), Some("CustomEvent"));
        assert_eq!(long(&batches[0], 6), [Some(7); 3]);
        assert_eq!(rejects.count, 0, "{name}: {:?}", rejects.samples);
    }
}

#[test]
fn bytes_become_base64_where_they_are_bytes() {
    let table =
        schema(&[("a", KqlType::String), ("b", KqlType::String), ("c", KqlType::String), ("d", KqlType::Dynamic)]);
    let (batches, _) = mapped(
        "events.avro",
        &table,
        r#"[{"column":"a","Properties":{"Path":"$.raw","Transform":"BytesAsBase64"}},
            {"column":"b","Properties":{"Path":"$.bytes","Transform":"BytesAsBase64"}},
            {"column":"c","Properties":{"Path":"$.name","Transform":"BytesAsBase64"}},
            {"column":"d","Properties":{"Path":"$.bytes"}}]"#,
    );
    let first = |at: usize| text(&batches[0], at)[0].clone();
    assert_eq!(first(0).as_deref(), Some("44MiXA=="));
    assert_eq!(first(1).as_deref(), Some("44MiXA=="));
    assert_eq!(first(2).as_deref(), Some(""));
    assert_eq!(first(3).as_deref(), Some("[227,131,34,92]"));
}

#[test]
fn the_transformations_of_json_are_those_of_its_page() {
    let table = schema(&[
        ("Time", KqlType::DateTime),
        ("EventName", KqlType::String),
        ("Props", KqlType::Dynamic),
        ("bag", KqlType::Dynamic),
        ("n", KqlType::Long),
    ]);
    let record = r#"{"Time":"2012-01-15T10:45","Props":{"EventName":"CustomEvent","Revenue":0.456},"events":[{"n1":"v1"},{"n2":"v2"}]}"#;
    let mut options = DecodeOptions::new(Format::Json);
    options.mapping = Some(
        Mapping::parse(
            r#"[{"Column":"Time","Properties":{"Path":"$.Time"}},
                {"Column":"EventName","Properties":{"Path":"$.Props.EventName"}},
                {"Column":"Props","Properties":{"Path":"$.Props","Transform":"DropMappedFields"}},
                {"Column":"bag","Properties":{"Path":"$.events","Transform":"PropertyBagArrayToDictionary"}},
                {"Column":"n","Properties":{"Transform":"SourceLineNumber"}}]"#,
        )
        .unwrap(),
    );
    let (batches, _) = read(format!("{record}\n{record}\n"), &table, options);
    assert_eq!(text(&batches[0], 2)[0].as_deref(), Some("{\"Revenue\":0.456}"));
    assert_eq!(text(&batches[0], 3)[0].as_deref(), Some("{\"n1\":\"v1\",\"n2\":\"v2\"}"));
    assert_eq!(long(&batches[0], 4), [Some(1), Some(2)]);
}

#[test]
fn lines_of_text_take_a_mapping_of_one_ordinal() {
    let table = schema(&[("n", KqlType::Long), ("line", KqlType::String), ("c", KqlType::String)]);
    let mut options = DecodeOptions::new(Format::Txt);
    options.mapping = Some(
        Mapping::parse(
            r#"[{"column":"line","Properties":{"Ordinal":"0"}},{"column":"n","Properties":{"Transform":"SourceLineNumber"}},
                {"column":"c","Properties":{"ConstValue":"k"}}]"#,
        )
        .unwrap(),
    );
    let (batches, _) = read("a\nb\n", &table, options.clone());
    assert_eq!(text(&batches[0], 1), [Some("a".into()), Some("b".into())]);
    assert_eq!(long(&batches[0], 0), [Some(1), Some(2)]);
    options.mapping = Some(Mapping::parse(r#"[{"column":"line","Properties":{"Ordinal":"1"}}]"#).unwrap());
    assert!(fails("a\n", &table, options).contains("does not suit the format txt"));
}

#[test]
fn a_number_that_is_no_moment_is_null_and_counted() {
    let table = schema(&[("t", KqlType::DateTime)]);
    let mut options = DecodeOptions::new(Format::Csv);
    options.mapping = Some(
        Mapping::parse(r#"[{"column":"t","Properties":{"Ordinal":0,"Transform":"DateTimeFromUnixMilliseconds"}}]"#)
            .unwrap(),
    );
    let (batches, rejects) = read("1700000000000\nx\n\n9223372036854775807\n", &table, options);
    assert_eq!(long(&batches[0], 0)[0], datetime::parse("2023-11-14T22:13:20Z"));
    assert!(long(&batches[0], 0)[1..].iter().all(Option::is_none));
    assert_eq!(rejects.count, 2);
}

/// A generator of the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn damaged_files_are_errors_or_rows_and_never_more() {
    let table = schema(&[
        ("id", KqlType::Long),
        ("name", KqlType::String),
        ("at", KqlType::DateTime),
        ("price", KqlType::Decimal),
        ("props", KqlType::Dynamic),
        ("either", KqlType::Dynamic),
    ]);
    let quiet = std::panic::take_hook();
    // Readers that meet damaged bytes may panic inside; that is caught, and no news.
    std::panic::set_hook(Box::new(|_| {}));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut errors = 0;
    for name in FILES {
        let whole = data(name);
        for round in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + round % 4 {
                let at = numbers.next(bytes.len());
                bytes[at] = numbers.next(256) as u8;
            }
            if round % 5 == 0 {
                bytes.truncate(numbers.next(whole.len()));
            }
            let options = DecodeOptions::new(format(name));
            let outcome = decode(Input::Bytes(bytes.clone().into()), &table, options.clone())
                .and_then(|decoder| decoder.take(100).collect::<Result<Vec<_>, _>>());
            match outcome {
                Ok(batches) => assert!(batches.iter().all(|batch| batch.num_columns() == 6)),
                Err(error) => {
                    assert!(error.is_bad_input(), "{name}: {error}");
                    errors += 1;
                }
            }
            let _ = infer_schema(Input::Bytes(bytes.into()), &options);
        }
    }
    std::panic::set_hook(quiet);
    assert!(errors > 300, "{errors}");
}

#[test]
fn a_file_of_another_format_is_refused_by_name() {
    let table = schema(&[("id", KqlType::Long)]);
    for (format, word) in [(Format::Avro, "Avro"), (Format::Orc, "ORC"), (Format::Parquet, "Parquet")] {
        for content in ["", "id\n1\n", "Obj\u{1}"] {
            let message = fails(content, &table, DecodeOptions::new(format));
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn a_column_that_the_file_lacks_is_null() {
    let table = schema(&[("nope", KqlType::Long)]);
    for name in FILES {
        let (batches, _) = read(data(name), &table, DecodeOptions::new(format(name)));
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, 3, "{name}");
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().null_count(), 3);
    }
}
