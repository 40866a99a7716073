//! Formats over real bytes: what is decoded, what is counted, what is refused.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod typed;

use std::io::Write;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use tidewater_formats::*;
use tidewater_kql::{Column, KqlType, TableSchema};

fn schema(columns: &[(&str, KqlType)]) -> TableSchema {
    TableSchema::new(columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
}

fn bytes(data: impl AsRef<[u8]>) -> Input {
    Input::Bytes(data.as_ref().to_vec().into())
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn read(data: impl AsRef<[u8]>, schema: &TableSchema, options: DecodeOptions) -> (Vec<RecordBatch>, Rejects) {
    let mut decoder = decode(bytes(data), schema, options).unwrap();
    let batches = decoder.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    (batches, decoder.rejects().clone())
}

fn fails(data: impl AsRef<[u8]>, schema: &TableSchema, options: DecodeOptions) -> String {
    match decode(bytes(data), schema, options) {
        Err(error) => error.to_string(),
        Ok(decoder) => decoder.collect::<Result<Vec<_>, _>>().unwrap_err().to_string(),
    }
}

fn long(batch: &RecordBatch, at: usize) -> Vec<Option<i64>> {
    batch.column(at).as_primitive::<Int64Type>().iter().collect()
}

fn text(batch: &RecordBatch, at: usize) -> Vec<Option<String>> {
    batch.column(at).as_string_view().iter().map(|value| value.map(str::to_string)).collect()
}

#[test]
fn csv_cells_are_converted_by_column_type() {
    let table =
        schema(&[("a", KqlType::Long), ("s", KqlType::String), ("t", KqlType::DateTime), ("d", KqlType::Dynamic)]);
    let data = "1,\"x, \"\"y\"\"\",2020-01-02,\"{\"\"k\"\": 1}\"\n,,,\n";
    let (batches, rejects) = read(data, &table, DecodeOptions::new(Format::Csv));
    assert_eq!(long(&batches[0], 0), [Some(1), None]);
    assert_eq!(text(&batches[0], 1), [Some("x, \"y\"".into()), Some("".into())]);
    assert_eq!(long(&batches[0], 2), [Some(637_135_200_000_000_000), None]);
    assert_eq!(text(&batches[0], 3), [Some("{\"k\":1}".into()), None]);
    assert_eq!(rejects.count, 0);
}

#[test]
fn a_csv_value_of_the_wrong_type_is_null_and_counted_with_its_place() {
    let table = schema(&[("a", KqlType::Long), ("b", KqlType::Long)]);
    let (batches, rejects) = read("1,2\nx,3\n", &table, DecodeOptions::new(Format::Csv));
    assert_eq!(long(&batches[0], 0), [Some(1), None]);
    assert_eq!(long(&batches[0], 1), [Some(2), Some(3)]);
    assert_eq!((rejects.count, rejects.samples[0].record, rejects.samples[0].column.as_str()), (1, 2, "a"));
}

#[test]
fn short_csv_records_end_in_nulls_and_long_ones_are_cut() {
    let table = schema(&[("a", KqlType::Long), ("b", KqlType::Long)]);
    let (batches, _) = read("1\n1,2,3", &table, DecodeOptions::new(Format::Csv));
    assert_eq!(long(&batches[0], 1), [None, Some(2)]);
}

#[test]
fn quoted_csv_cells_keep_their_line_breaks() {
    let table = schema(&[("s", KqlType::String), ("a", KqlType::Long)]);
    let (batches, _) = read("\"one\ntwo\",7\r\n", &table, DecodeOptions::new(Format::Csv));
    assert_eq!(text(&batches[0], 0), [Some("one\ntwo".into())]);
    assert_eq!(long(&batches[0], 1), [Some(7)]);
}

#[test]
fn the_header_is_left_out_when_asked_and_a_byte_order_mark_always() {
    let table = schema(&[("a", KqlType::Long)]);
    let options = DecodeOptions { ignore_first_record: true, ..DecodeOptions::new(Format::Csv) };
    let (batches, rejects) = read("\u{feff}a\n5\n", &table, options);
    assert_eq!((long(&batches[0], 0), rejects.count), (vec![Some(5)], 0));
    let (batches, _) = read("\u{feff}5\n", &table, DecodeOptions::new(Format::Csv));
    assert_eq!(long(&batches[0], 0), [Some(5)]);
}

#[test]
fn every_delimiter_has_its_format() {
    let table = schema(&[("a", KqlType::Long), ("s", KqlType::String)]);
    let cases = [(Format::Tsv, "1\tx"), (Format::Psv, "1|x"), (Format::Scsv, "1;x"), (Format::Sohsv, "1\u{1}x")];
    for (format, data) in cases {
        let (batches, _) = read(data, &table, DecodeOptions::new(format));
        assert_eq!(text(&batches[0], 1), [Some("x".into())], "{format:?}");
    }
    let (batches, _) = read("1\ta\\tb\\\\", &table, DecodeOptions::new(Format::Tsve));
    assert_eq!(text(&batches[0], 1), [Some("a\tb\\".into())]);
}

#[test]
fn json_lines_are_matched_by_member_name() {
    let table = schema(&[("a", KqlType::Long), ("s", KqlType::String), ("d", KqlType::Dynamic), ("r", KqlType::Real)]);
    let data =
        "{\"s\":\"h\\u00e9\",\"a\":1,\"d\":{\"x\": [1, 2]},\"r\":2}\n\n{\"a\":null,\"z\":1,\"s\":5,\"d\":\"t\"}\n";
    let (batches, rejects) = read(data, &table, DecodeOptions::new(Format::Json));
    assert_eq!(long(&batches[0], 0), [Some(1), None]);
    assert_eq!(text(&batches[0], 1), [Some("hé".into()), Some("5".into())]);
    assert_eq!(text(&batches[0], 2), [Some("{\"x\":[1,2]}".into()), Some("\"t\"".into())]);
    assert_eq!(batches[0].column(3).as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [Some(2.0), None]);
    assert_eq!(rejects.count, 0);
}

#[test]
fn multijson_takes_objects_over_lines_and_arrays() {
    let table = schema(&[("a", KqlType::Long)]);
    for data in
        ["{\"a\":\n1}\n{\"a\":2}", "[{\"a\":1},\n {\"a\":2}]", "{\"a\":1}{\"a\":2}", " [ {\"a\":1} , {\"a\":2} ] "]
    {
        let (batches, _) = read(data, &table, DecodeOptions::new(Format::MultiJson));
        assert_eq!(long(&batches[0], 0), [Some(1), Some(2)], "{data}");
    }
}

#[test]
fn json_faults_name_record_and_byte() {
    let table = schema(&[("a", KqlType::Long)]);
    let json = || DecodeOptions::new(Format::Json);
    let message = fails("{\"a\":1}\n{\"a\":", &table, json());
    assert!(message.starts_with("record 2 (byte 8): not a JSON object"), "{message}");
    let message = fails("[1]", &table, json());
    assert!(message.contains("multijson"), "{message}");
    let message = fails("{\"a\":1", &table, DecodeOptions::new(Format::MultiJson));
    assert!(message.contains("ends inside a JSON value"), "{message}");
    let message = fails(b"{\"a\":\"\xff\"}", &table, json());
    assert!(message.contains("invalid UTF-8"), "{message}");
    let deep = format!("{{\"a\":{}", "[".repeat(200_000));
    fails(&deep, &table, json());
}

#[test]
fn invalid_utf8_in_csv_names_the_record() {
    let table = schema(&[("s", KqlType::String)]);
    let message = fails(b"ok\nb\xffd\n", &table, DecodeOptions::new(Format::Csv));
    assert!(message.starts_with("record 2 (byte 3): invalid UTF-8"), "{message}");
}

#[test]
fn gzip_is_read_and_a_truncated_one_is_refused() {
    let table = schema(&[("a", KqlType::Long)]);
    let options = || DecodeOptions { compression: Compression::Gzip, ..DecodeOptions::new(Format::Csv) };
    let data: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    let packed = gzip(data.as_bytes());
    let (batches, _) = read(&packed, &table, options());
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 50_000);
    let message = fails(&packed[..packed.len() / 2], &table, options());
    assert!(message.contains("truncated"), "{message}");
    let message = fails("this is certainly not gzip", &table, options());
    assert!(message.contains("could not be read"), "{message}");
}

#[test]
fn a_record_above_the_limit_is_refused() {
    let table = schema(&[("s", KqlType::String)]);
    for format in [Format::Csv, Format::Json, Format::MultiJson, Format::Txt, Format::Raw] {
        let options = DecodeOptions { max_record_bytes: 1000, ..DecodeOptions::new(format) };
        let data = format!("{{\"s\":\"{}\"}}", "x".repeat(5000));
        assert!(fails(data, &table, options).contains("limit of 1000 bytes"), "{format:?}");
    }
}

#[test]
fn batches_hold_at_most_the_rows_asked_for() {
    let table = schema(&[("a", KqlType::Long)]);
    let options = DecodeOptions { batch_rows: 3, ..DecodeOptions::new(Format::Csv) };
    let (batches, _) = read("1\n2\n3\n4\n5\n6\n7", &table, options);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 3, 1]);
}

#[test]
fn a_mapping_picks_paths_ordinals_and_constants() {
    let table = schema(&[("a", KqlType::Long), ("c", KqlType::String)]);
    let mapping = Mapping::parse(r#"[{"column":"a","path":"$.x['y z'][1]"},{"column":"c","constvalue":"k"}]"#).unwrap();
    let options = DecodeOptions { mapping: Some(mapping), ..DecodeOptions::new(Format::MultiJson) };
    let (batches, _) = read(r#"{"x":{"y z":[1,42]}}"#, &table, options);
    assert_eq!((long(&batches[0], 0), text(&batches[0], 1)), (vec![Some(42)], vec![Some("k".into())]));
    let mapping = Mapping::parse(r#"[{"column":"a","Properties":{"Ordinal":"1"}}]"#).unwrap();
    let options = DecodeOptions { mapping: Some(mapping), ..DecodeOptions::new(Format::Csv) };
    let (batches, _) = read("x,9", &table, options);
    assert_eq!((long(&batches[0], 0), text(&batches[0], 1)), (vec![Some(9)], vec![Some("".into())]));
}

#[test]
fn a_mapping_to_an_unknown_column_or_of_another_format_is_refused() {
    let table = schema(&[("a", KqlType::Long)]);
    for (text, word) in
        [(r#"[{"column":"b","ordinal":0}]"#, "no column 'b'"), (r#"[{"column":"a","path":"$.x"}]"#, "suit")]
    {
        let options = DecodeOptions { mapping: Some(Mapping::parse(text).unwrap()), ..DecodeOptions::new(Format::Csv) };
        assert!(fails("1", &table, options).contains(word));
    }
}

#[test]
fn txt_is_a_record_per_line_and_raw_is_one_record() {
    let table = schema(&[("s", KqlType::String)]);
    let (batches, _) = read("one\r\n\ntwo", &table, DecodeOptions::new(Format::Txt));
    assert_eq!(text(&batches[0], 0), [Some("one".into()), Some("".into()), Some("two".into())]);
    let (batches, _) = read("one\ntwo", &table, DecodeOptions::new(Format::Raw));
    assert_eq!(text(&batches[0], 0), [Some("one\ntwo".into())]);
}

#[test]
fn a_schema_is_inferred_from_csv_with_and_without_a_header() {
    let inferred =
        infer_schema(bytes("name,n,when\na,1,2020-01-01\nb,2.5,2020-01-02 03:04\n"), &DecodeOptions::new(Format::Csv));
    let inferred = inferred.unwrap();
    assert!(inferred.has_header);
    assert_eq!(
        inferred.schema,
        schema(&[("name", KqlType::String), ("n", KqlType::Real), ("when", KqlType::DateTime)])
    );
    let inferred = infer_schema(bytes("1,x\n"), &DecodeOptions::new(Format::Csv)).unwrap();
    assert_eq!(inferred.schema, schema(&[("Column1", KqlType::Long), ("Column2", KqlType::String)]));
    assert!(infer_schema(bytes(""), &DecodeOptions::new(Format::Csv)).is_err());
}

#[test]
fn a_schema_is_inferred_from_json() {
    let data = "{\"a\":1,\"b\":\"x\"}\n{\"b\":\"y\",\"c\":{\"k\":1},\"a\":1.5,\"t\":\"2020-01-01T00:00:00Z\"}";
    let inferred = infer_schema(bytes(data), &DecodeOptions::new(Format::Json)).unwrap();
    let expected = [("a", KqlType::Real), ("b", KqlType::String), ("c", KqlType::Dynamic), ("t", KqlType::DateTime)];
    assert_eq!(inferred.schema, schema(&expected));
}

mod parquet_files {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::{Field, Int32Type, Schema};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn file() -> Vec<u8> {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int32Array::from(vec![Some(7), None]))),
            (
                "t",
                Arc::new(
                    TimestampNanosecondArray::from(vec![Some(1_577_934_245_123_456_700), None]).with_timezone("UTC"),
                ),
            ),
            ("s", Arc::new(StringArray::from(vec![Some("x"), None]))),
            ("l", Arc::new(list)),
            ("dict", Arc::new(vec!["p", "q"].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("dec", Arc::new(Decimal128Array::from(vec![Some(12345), None]).with_precision_and_scale(10, 2).unwrap())),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch =
            RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
        let mut out = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut out, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        out
    }

    #[test]
    fn columns_are_matched_by_name_and_converted() {
        let table = schema(&[
            ("t", KqlType::DateTime),
            ("i", KqlType::Long),
            ("s", KqlType::String),
            ("l", KqlType::Dynamic),
            ("dict", KqlType::String),
            ("missing", KqlType::Real),
        ]);
        let (batches, rejects) = read(file(), &table, DecodeOptions::new(Format::Parquet));
        assert_eq!(long(&batches[0], 0), [Some(637_135_310_451_234_567), None]);
        assert_eq!(long(&batches[0], 1), [Some(7), None]);
        assert_eq!(text(&batches[0], 2), [Some("x".into()), Some("".into())]);
        assert_eq!(text(&batches[0], 3), [Some("[1,null]".into()), None]);
        assert_eq!(text(&batches[0], 4), [Some("p".into()), Some("q".into())]);
        assert_eq!(batches[0].column(5).null_count(), 2);
        assert_eq!(rejects.count, 0);
        assert_eq!(batches[0].schema(), table.arrow());
    }

    #[test]
    fn a_decimal_keeps_its_digits() {
        let table = schema(&[("dec", KqlType::Decimal)]);
        let (batches, _) = read(file(), &table, DecodeOptions::new(Format::Parquet));
        let value = batches[0].column(0).as_fixed_size_binary().value(0).try_into().unwrap();
        assert_eq!(tidewater_kql::value::decimal::Decimal::from_bytes(value).to_text(), "123.45");
    }

    #[test]
    fn a_schema_is_inferred() {
        let inferred = infer_schema(bytes(file()), &DecodeOptions::new(Format::Parquet)).unwrap();
        let types: Vec<KqlType> = inferred.schema.columns.iter().map(|column| column.ty).collect();
        use KqlType::*;
        assert_eq!(types, [Int, DateTime, String, Dynamic, String, Decimal]);
    }

    #[test]
    fn a_broken_file_is_refused() {
        let table = schema(&[("i", KqlType::Long)]);
        let whole = file();
        assert!(fails(&whole[..whole.len() - 10], &table, DecodeOptions::new(Format::Parquet)).contains("Parquet"));
        assert!(fails("PAR1", &table, DecodeOptions::new(Format::Parquet)).contains("Parquet"));
        // A type mismatch keeps the rows.
        let table = schema(&[("s", KqlType::Long)]);
        let (batches, rejects) = read(whole, &table, DecodeOptions::new(Format::Parquet));
        assert_eq!((batches[0].num_rows(), rejects.count), (2, 1));
    }
}

/// A zip archive as other programs write it: local headers, packed bytes, directory, end.
fn zip(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data, deflated) in files {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let packed = match deflated {
            true => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Level::default());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            false => data.to_vec(),
        };
        let start = out.len() as u32;
        let mut head = Vec::new();
        for half in [20_u16, 0, if *deflated { 8 } else { 0 }, 0, 0x21] {
            head.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), packed.len() as u32, data.len() as u32] {
            head.extend(word.to_le_bytes());
        }
        head.extend((name.len() as u16).to_le_bytes());
        head.extend(0_u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        out.extend(name.as_bytes());
        out.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&head);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start, size) = (files.len() as u16, out.len() as u32, directory.len() as u32);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    for half in [count, count] {
        out.extend(half.to_le_bytes());
    }
    for word in [size, start] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0, 0]);
    out
}

fn packed(compression: Compression) -> DecodeOptions {
    DecodeOptions { compression, ..DecodeOptions::new(Format::Csv) }
}

#[test]
fn zip_archives_with_one_file_and_zstd_frames_are_read() {
    let table = schema(&[("a", KqlType::Long)]);
    let data = b"1\n2\n";
    for deflated in [true, false] {
        let archive = zip(&[("dir/x.csv", data, deflated)]);
        let (batches, _) = read(&archive, &table, packed(Compression::Zip));
        assert_eq!(long(&batches[0], 0), [Some(1), Some(2)]);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let batches: Vec<_> =
            decode(Input::File(file), &table, packed(Compression::Zip)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(long(&batches[0], 0), [Some(1), Some(2)]);
    }
    let mut frames = zstd::encode_all(&data[..], 0).unwrap();
    frames.extend(zstd::encode_all(&b"3\n"[..], 0).unwrap());
    let (batches, _) = read(&frames, &table, packed(Compression::Zstd));
    assert_eq!(long(&batches[0], 0), [Some(1), Some(2), Some(3)]);
}

#[test]
fn damaged_and_strange_archives_are_refused() {
    let table = schema(&[("a", KqlType::Long)]);
    let two = zip(&[("a.csv", b"1\n", true), ("b.csv", b"2\n", true)]);
    assert!(fails(&two, &table, packed(Compression::Zip)).contains("several files"));
    assert!(fails(zip(&[]), &table, packed(Compression::Zip)).contains("no file"));
    assert!(fails(b"1\n2\n", &table, packed(Compression::Zip)).contains("zip archive"));
    let mut damaged = zip(&[("a.csv", b"1\n2\n3\n", false)]);
    let at = damaged.windows(2).position(|pair| pair == b"2\n").unwrap();
    damaged[at] = b'7';
    assert!(fails(&damaged, &table, packed(Compression::Zip)).contains("checksum"));
    let whole = zstd::encode_all(&[b'1'; 10_000][..], 0).unwrap();
    assert!(!fails(&whole[..whole.len() - 5], &table, packed(Compression::Zstd)).is_empty());
    assert!(!fails(b"plain", &table, packed(Compression::Zstd)).is_empty());
}

#[test]
fn utf_16_with_a_byte_order_mark_is_read() {
    let table = schema(&[("s", KqlType::String)]);
    let mut data = vec![0xff, 0xfe];
    data.extend("é🌊\nb\n".encode_utf16().flat_map(u16::to_le_bytes));
    let (batches, _) = read(&data, &table, DecodeOptions::new(Format::Csv));
    assert_eq!(text(&batches[0], 0), [Some("é🌊".into()), Some("b".into())]);
    data.pop();
    assert!(!fails(&data, &table, DecodeOptions::new(Format::Csv)).is_empty());
}

const LOG: &str = "#Software: Microsoft Internet Information Services 10.0\n\
    #Fields: date time cs-uri-stem sc-status cs(User-Agent)\n\
    2020-01-02 03:04:05 /a%20b 200 Mozilla/5.0+(X11)\n\
    #Fields: sc-status date\n404 2020-01-03\n\n";

#[test]
fn records_of_w3c_logs_follow_their_fields() {
    let table =
        schema(&[("sc-status", KqlType::Long), ("cs(User-Agent)", KqlType::String), ("date", KqlType::DateTime)]);
    let (batches, rejects) = read(LOG, &table, DecodeOptions::new(Format::W3cLogFile));
    assert_eq!(long(&batches[0], 0), [Some(200), Some(404)]);
    assert_eq!(text(&batches[0], 1), [Some("Mozilla/5.0+(X11)".into()), Some("".into())]);
    assert_eq!(long(&batches[0], 2), [Some(637_135_200_000_000_000), Some(637_136_064_000_000_000)]);
    assert_eq!(rejects.count, 0);
    let mapping = Mapping::parse(
        r#"[{"Column":"path","Properties":{"Field":"cs-uri-stem"}},{"Column":"k","Properties":{"ConstValue":"7"}}]"#,
    );
    let options = DecodeOptions { mapping: Some(mapping.unwrap()), ..DecodeOptions::new(Format::W3cLogFile) };
    let table = schema(&[("path", KqlType::String), ("k", KqlType::Long)]);
    let (batches, _) = read(LOG, &table, options);
    assert_eq!(text(&batches[0], 0), [Some("/a%20b".into()), Some("".into())]);
    assert_eq!(long(&batches[0], 1), [Some(7), Some(7)]);
    let inferred = infer_schema(bytes(LOG), &DecodeOptions::new(Format::W3cLogFile)).unwrap();
    let columns: Vec<_> = inferred.schema.columns.iter().map(|column| (column.name.as_str(), column.ty)).collect();
    assert_eq!(columns[3], ("sc-status", KqlType::Long));
    assert_eq!(columns.len(), 5);
    let w3c = || DecodeOptions::new(Format::W3cLogFile);
    assert!(fails("1 2\n", &table, w3c()).contains("#Fields:"));
    assert!(fails("#Fields: a b\n1\n", &table, w3c()).contains("found 1 values, expected 2"));
}

/// Gives the same bytes again and again, and counts them.
struct Endless(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl std::io::Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.fetch_add(out.len(), std::sync::atomic::Ordering::Relaxed);
        out.fill(b'x');
        Ok(out.len())
    }
}

#[test]
fn a_record_without_end_is_left_at_the_limit() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let table = schema(&[("s", KqlType::String)]);
    for format in [Format::Csv, Format::Json, Format::MultiJson, Format::Txt, Format::Raw] {
        let taken = Arc::new(AtomicUsize::new(0));
        let input = Input::Stream(Box::new(Endless(Arc::clone(&taken))));
        let options = DecodeOptions { max_record_bytes: 1 << 20, ..DecodeOptions::new(format) };
        let mut decoder = decode(input, &table, options).unwrap();
        assert!(decoder.next().unwrap().is_err(), "{format:?}");
        assert!(taken.load(Ordering::Relaxed) < 4 << 20, "{format:?} took {taken:?}");
    }
}
