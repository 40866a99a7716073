//! A schema from the first records of an input.

use std::collections::HashSet;

use tidewater_kql::value::{datetime, guid, integer, real, timespan};
use tidewater_kql::{Column, KqlType, TableSchema};

use crate::column::JsonValue;
use crate::delimited::Cells;
use crate::error::Error;
use crate::input::Input;
use crate::json::{Splitter, members};
use crate::{DecodeOptions, Format};

/// Records looked at.
const SAMPLE_RECORDS: usize = 10_000;

/// What a sample shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// The columns.
    pub schema: TableSchema,
    /// Delimited text whose first record is a header.
    pub has_header: bool,
}

/// Infers columns from the first 10,000 records.
///
/// Delimited text: the first record is a header when all its cells are distinct, non-empty texts
/// that are no numbers or dates; otherwise columns are `Column1`, `Column2`, ... JSON: the union of
/// the members, in the order of their first appearance. A column whose values disagree is a string
/// (or dynamic, where nested values occur).
///
/// *Errors*: an empty input, and whatever `decode` finds wrong with it.
pub fn infer_schema(input: Input, options: &DecodeOptions) -> Result<Inferred, Error> {
    match options.format {
        Format::Parquet => {
            Ok(Inferred { schema: crate::parquet::infer(input, options.compression)?, has_header: false })
        }
        Format::Avro | Format::ApacheAvro => {
            Ok(Inferred { schema: crate::avro::infer(input, options.compression)?, has_header: false })
        }
        Format::Orc => Ok(Inferred { schema: crate::orc::infer(input, options.compression)?, has_header: false }),
        Format::Json | Format::MultiJson => infer_json(input, options),
        Format::Txt | Format::Raw => {
            let schema = TableSchema::new(vec![Column::new("Column1", KqlType::String)]);
            Ok(Inferred { schema, has_header: false })
        }
        Format::W3cLogFile => infer_w3c(input, options),
        Format::Csv | Format::Tsv | Format::Tsve | Format::Psv | Format::Scsv | Format::Sohsv => {
            infer_delimited(input, options)
        }
    }
}

/// The narrowest type that reads a text.
fn type_of_text(text: &str) -> KqlType {
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        KqlType::Bool
    } else if integer::parse_long(text).is_some() && !text.starts_with("0x") {
        KqlType::Long
    } else if looks_numeric(text) && real::parse(text).is_some() {
        KqlType::Real
    } else if text.len() == 36 && guid::parse(text).is_some() {
        KqlType::Guid
    } else if text.contains(':') && !text.contains('-') && timespan::parse(text).is_some() {
        KqlType::TimeSpan
    } else if text.len() >= 8 && text.as_bytes()[0].is_ascii_digit() && datetime::parse(text).is_some() {
        KqlType::DateTime
    } else if text.starts_with(['{', '[']) && tidewater_kql::value::json::canonical(text).is_some() {
        KqlType::Dynamic
    } else {
        KqlType::String
    }
}

fn looks_numeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
}

fn merge(left: Option<KqlType>, right: KqlType) -> KqlType {
    match (left, right) {
        (None, right) => right,
        (Some(left), right) if left == right => left,
        (Some(KqlType::Long), KqlType::Real) | (Some(KqlType::Real), KqlType::Long) => KqlType::Real,
        _ => KqlType::String,
    }
}

fn infer_delimited(input: Input, options: &DecodeOptions) -> Result<Inferred, Error> {
    let mut reader = Cells::new(input.reader(options.compression)?, options.format, options.max_record_bytes);
    let mut header: Option<Vec<String>> = None;
    let mut types: Vec<Option<KqlType>> = Vec::new();
    let mut record = csv::ByteRecord::new();
    for number in 0..SAMPLE_RECORDS {
        if !reader.read(&mut record, number as u64 + 1)? {
            break;
        }
        let row: Vec<String> = record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        if number == 0 && (options.ignore_first_record || is_header(&row)) {
            types.resize(row.len(), None);
            header = Some(row);
            continue;
        }
        types.resize(types.len().max(row.len()), None);
        for (ty, cell) in types.iter_mut().zip(&row) {
            if !cell.is_empty() && *ty != Some(KqlType::String) {
                *ty = Some(merge(*ty, type_of_text(cell)));
            }
        }
    }
    if types.is_empty() {
        return Err(Error::Input("no schema can be inferred from an empty input".into()));
    }
    let names = header.clone().unwrap_or_default();
    let columns = types.iter().enumerate().map(|(at, ty)| {
        let name = names.get(at).filter(|name| !name.is_empty()).cloned();
        Column::new(name.unwrap_or_else(|| format!("Column{}", at + 1)), ty.unwrap_or(KqlType::String))
    });
    Ok(Inferred { schema: TableSchema::new(columns.collect()), has_header: header.is_some() })
}

fn is_header(row: &[String]) -> bool {
    let distinct: HashSet<&String> = row.iter().collect();
    distinct.len() == row.len()
        && row.iter().all(|cell| !cell.is_empty() && cell.len() <= 1024 && type_of_text(cell) == KqlType::String)
}

fn infer_w3c(input: Input, options: &DecodeOptions) -> Result<Inferred, Error> {
    let mut lines = crate::w3c::Lines::open(input, options)?;
    let mut columns: Vec<(String, Option<KqlType>)> = Vec::new();
    for _ in 0..SAMPLE_RECORDS {
        if !lines.advance()? {
            break;
        }
        for (name, value) in lines.record() {
            let ty = value.map(|value| type_of_text(&value));
            match columns.iter_mut().find(|(known, _)| known == name) {
                None => columns.push((name.to_string(), ty)),
                Some((_, known)) => {
                    if let Some(ty) = ty {
                        *known = Some(merge(*known, ty));
                    }
                }
            }
        }
    }
    if columns.is_empty() {
        return Err(Error::Input("no schema can be inferred from an empty input".into()));
    }
    let columns = columns.into_iter().map(|(name, ty)| Column::new(name, ty.unwrap_or(KqlType::String)));
    Ok(Inferred { schema: TableSchema::new(columns.collect()), has_header: false })
}

fn infer_json(input: Input, options: &DecodeOptions) -> Result<Inferred, Error> {
    let mut splitter = Splitter::open(input, options)?;
    let mut text = Vec::new();
    let mut columns: Vec<(String, Option<KqlType>)> = Vec::new();
    for _ in 0..SAMPLE_RECORDS {
        let Some((record, byte)) = splitter.next(&mut text)? else { break };
        let fault = |message: String| Error::Record { record, byte, message };
        let text = std::str::from_utf8(&text).map_err(|error| fault(error.to_string()))?;
        for (name, raw) in members(text).map_err(|error| fault(format!("not a JSON object: {error}")))? {
            let ty = match JsonValue::of_raw(raw) {
                JsonValue::Null => None,
                JsonValue::Bool(_) => Some(KqlType::Bool),
                JsonValue::Number(number) => Some(type_of_text(number)),
                JsonValue::Nested(_) => Some(KqlType::Dynamic),
                JsonValue::String(value) => Some(match type_of_text(&value) {
                    found @ (KqlType::DateTime | KqlType::Guid) => found,
                    _ => KqlType::String,
                }),
            };
            match columns.iter_mut().find(|(known, _)| *known == name) {
                None => columns.push((name.into_owned(), ty)),
                Some((_, known)) => match (*known, ty) {
                    (_, None) => {}
                    (Some(KqlType::Dynamic), _) | (Some(_), Some(KqlType::Dynamic)) => *known = Some(KqlType::Dynamic),
                    (before, Some(ty)) => *known = Some(merge(before, ty)),
                },
            }
        }
    }
    if columns.is_empty() {
        return Err(Error::Input("no schema can be inferred from an empty input".into()));
    }
    let columns = columns.into_iter().map(|(name, ty)| Column::new(name, ty.unwrap_or(KqlType::String)));
    Ok(Inferred { schema: TableSchema::new(columns.collect()), has_header: false })
}
