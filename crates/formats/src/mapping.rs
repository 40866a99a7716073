//! Ingestion mappings: where the value of each column comes from, and what is done to it. Source: mappings page and the
//! pages of its kinds.

use serde_json::Value;
use tidewater_kql::TableSchema;

use crate::error::Error;
use crate::format::Format;

/// An ingestion mapping as a user writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// Its columns; table columns that it does not name stay null.
    pub columns: Vec<MappingColumn>,
}

/// One column of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingColumn {
    /// Name of the table's column.
    pub column: String,
    /// Where the value comes from.
    pub source: Source,
    /// What is done to it.
    pub transform: Option<Transform>,
    /// The type that the column gets where a table is made from the mapping.
    pub data_type: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Position in delimited text, from 0.
    Ordinal(usize),
    /// Path in a record: keys and indexes.
    Path(Vec<PathStep>),
    /// Name of a column of a file, or of a field of a record.
    Field(String),
    /// The same text for every record.
    Constant(String),
    /// Nowhere: the transformation makes it.
    Nothing,
}

/// What is done to a value on its way. Source: mappings page, "Mapping transformations".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// An array of objects becomes one object.
    PropertyBagArrayToDictionary,
    /// The name of the file.
    SourceLocation,
    /// The number of the record in its file, from 1.
    SourceLineNumber,
    /// A number of these units since 1970 becomes a datetime; nanoseconds in a unit.
    DateTimeFromUnix(i64),
    /// An object without what other columns are mapped from.
    DropMappedFields,
    /// Bytes as base64.
    BytesAsBase64,
}

const TRANSFORMS: [(&str, Transform); 9] = [
    ("PropertyBagArrayToDictionary", Transform::PropertyBagArrayToDictionary),
    ("SourceLocation", Transform::SourceLocation),
    ("SourceLineNumber", Transform::SourceLineNumber),
    ("DateTimeFromUnixSeconds", Transform::DateTimeFromUnix(1_000_000_000)),
    ("DateTimeFromUnixMilliseconds", Transform::DateTimeFromUnix(1_000_000)),
    ("DateTimeFromUnixMicroseconds", Transform::DateTimeFromUnix(1_000)),
    ("DateTimeFromUnixNanoseconds", Transform::DateTimeFromUnix(1)),
    ("DropMappedFields", Transform::DropMappedFields),
    ("BytesAsBase64", Transform::BytesAsBase64),
];

impl Transform {
    fn name(self) -> &'static str {
        TRANSFORMS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Whether the documentation offers it for a format.
    fn suits(self, format: Format) -> bool {
        let nested = matches!(
            format,
            Format::Json | Format::MultiJson | Format::Parquet | Format::Avro | Format::ApacheAvro | Format::Orc
        );
        match self {
            Transform::SourceLocation | Transform::SourceLineNumber => true,
            Transform::DateTimeFromUnix(_) => format != Format::W3cLogFile,
            Transform::PropertyBagArrayToDictionary | Transform::DropMappedFields => nested,
            Transform::BytesAsBase64 => matches!(format, Format::Avro | Format::ApacheAvro),
        }
    }

    fn needs_value(self) -> bool {
        !matches!(self, Transform::SourceLocation | Transform::SourceLineNumber)
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum PathStep {
    /// `.name`, `['name']`
    Key(String),
    /// `[0]`
    Index(usize),
}

/// How a column of the table is filled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub source: Source,
    pub transform: Option<Transform>,
    /// For [`Transform::DropMappedFields`]: paths, from its own, of what other columns are mapped from.
    pub dropped: Vec<Vec<PathStep>>,
}

impl Cell {
    /// A column that is filled as it is found.
    pub(crate) fn of(source: Source) -> Cell {
        Cell { source, transform: None, dropped: Vec::new() }
    }

    /// The path of a value in a record; a field is a path of one step.
    pub(crate) fn path(&self) -> Option<Vec<PathStep>> {
        path_of(&self.source)
    }
}

fn path_of(source: &Source) -> Option<Vec<PathStep>> {
    match source {
        Source::Field(name) => Some(vec![PathStep::Key(name.clone())]),
        Source::Path(steps) => Some(steps.clone()),
        _ => None,
    }
}

impl Mapping {
    /// Reads the JSON text of a mapping: an array of objects with `column` and, either flat or in
    /// `Properties`, `Ordinal`, `Path`, `Field`, `ConstValue` or `Transform`; member names in any case.
    ///
    /// *Errors*: what is not such an array, and transformations that nobody documents.
    pub fn parse(text: &str) -> Result<Mapping, Error> {
        let value = Mapping::json(text).map_err(|error| Error::Mapping(format!("not JSON: {error}")))?;
        let items = value.as_array().ok_or_else(|| Error::Mapping("expected a JSON array of columns".into()))?;
        Ok(Mapping { columns: items.iter().map(mapping_column).collect::<Result<_, _>>()? })
    }

    /// The JSON of a mapping's text. A comma before a closing bracket is no mistake: the service's own reader takes it,
    /// and the test suites of its clients write it. Source: kusto-rest section 8.
    pub fn json(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text).or_else(|error| serde_json::from_str(&without_last_commas(text)).map_err(|_| error))
    }

    /// How each column of `schema` is filled, in the schema's order.
    pub(crate) fn resolve(&self, schema: &TableSchema, format: Format) -> Result<Vec<Cell>, Error> {
        let mut cells = vec![Cell::of(Source::Nothing); schema.columns.len()];
        let named = matches!(format, Format::Parquet | Format::Avro | Format::ApacheAvro | Format::Orc);
        let is_json = matches!(format, Format::Json | Format::MultiJson);
        for item in &self.columns {
            let Some(at) = schema.index_of(&item.column) else {
                return Err(Error::Mapping(format!("the table has no column '{}'", item.column)));
            };
            let suits = match &item.source {
                Source::Constant(_) | Source::Nothing => true,
                Source::Ordinal(at) => {
                    format.delimiter().is_some() || (*at == 0 && matches!(format, Format::Txt | Format::Raw))
                }
                Source::Path(_) => is_json || named,
                Source::Field(_) => named || format == Format::W3cLogFile,
            };
            if !suits {
                return Err(Error::Mapping(format!(
                    "column '{}' does not suit the format {}",
                    item.column,
                    format.name()
                )));
            }
            if let Some(transform) = item.transform.filter(|transform| !transform.suits(format)) {
                return Err(Error::Mapping(format!(
                    "the transformation {} of column '{}' does not suit the format {}",
                    transform.name(),
                    item.column,
                    format.name()
                )));
            }
            let mut cell = Cell { source: item.source.clone(), transform: item.transform, dropped: Vec::new() };
            if let (Some(Transform::DropMappedFields), Some(own)) = (cell.transform, cell.path()) {
                let others = self.columns.iter().filter_map(|other| path_of(&other.source));
                let inner = others.filter_map(|path| Some(path.strip_prefix(own.as_slice())?.to_vec()));
                cell.dropped = inner.filter(|path| !path.is_empty()).collect();
            }
            cells[at] = cell;
        }
        Ok(cells)
    }
}

fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn mapping_column(item: &Value) -> Result<MappingColumn, Error> {
    let column = member(item, "column")
        .or_else(|| member(item, "name"))
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Mapping(format!("an item without 'column': {item}")))?
        .to_string();
    // Client libraries write members that they have no value for as null.
    let find = |name: &str| {
        let inner = member(item, "properties").and_then(|properties| member(properties, name));
        inner.or_else(|| member(item, name)).filter(|value| !value.is_null())
    };
    let transform = match find("transform").and_then(Value::as_str).map(str::trim) {
        None | Some("") => None,
        Some(name) if name.eq_ignore_ascii_case("none") => None,
        Some(name) => match TRANSFORMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, transform)) => Some(*transform),
            None => {
                return Err(Error::NotServed(format!("the mapping transformation '{name}' of column '{column}'")));
            }
        },
    };
    let source = if let Some(value) = find("constvalue").or_else(|| find("constantvalue")) {
        Source::Constant(value.as_str().map_or_else(|| value.to_string(), str::to_string))
    } else if transform.is_some_and(|transform| !transform.needs_value()) {
        Source::Nothing
    } else if let Some(value) = find("ordinal") {
        let ordinal = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        Source::Ordinal(
            ordinal.ok_or_else(|| Error::Mapping(format!("column '{column}': bad ordinal {value}")))? as usize
        )
    } else if let Some(path) = find("path").and_then(Value::as_str).filter(|path| !path.is_empty()) {
        match path.trim_start().starts_with('$') {
            true => {
                let steps = parse_path(path);
                Source::Path(steps.ok_or_else(|| Error::Mapping(format!("column '{column}': bad path '{path}'")))?)
            }
            // Source: pages of the kinds: what does not begin with `$` is a constant.
            false => Source::Constant(path.to_string()),
        }
    } else if let Some(field) = find("field").and_then(Value::as_str) {
        Source::Field(field.to_string())
    } else {
        return Err(Error::Mapping(format!("column '{column}' has no Ordinal, Path, Field, ConstValue or Transform")));
    };
    let data_type = find("datatype").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_string);
    Ok(MappingColumn { column, source, transform, data_type })
}

/// JSON text without the commas that stand before a closing bracket.
fn without_last_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    for c in text.chars() {
        if in_text {
            (in_text, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if c == '"' {
            in_text = true;
        } else if matches!(c, ']' | '}') {
            let kept = out.trim_end().strip_suffix(',').map_or(out.len(), str::len);
            out.truncate(kept);
        }
        out.push(c);
    }
    out
}

/// Reads `$.a.b[0]['c d'].['e']`. `None` for anything else.
fn parse_path(text: &str) -> Option<Vec<PathStep>> {
    let mut rest = text.trim().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.').filter(|after| !after.starts_with('[')) {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(PathStep::Key(after[..end].to_string()));
            rest = &after[end..];
            continue;
        }
        let bracket = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(after) = bracket.strip_prefix("['").or_else(|| bracket.strip_prefix("[\"")) {
            let quote = if bracket.starts_with("['") { "']" } else { "\"]" };
            let end = after.find(quote)?;
            steps.push(PathStep::Key(after[..end].to_string()));
            rest = &after[end + 2..];
        } else {
            let after = bracket.strip_prefix('[')?;
            let end = after.find(']')?;
            steps.push(PathStep::Index(after[..end].trim().parse().ok()?));
            rest = &after[end + 1..];
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_keys_and_indexes() {
        let steps = parse_path("$.a['b c'][2].d").unwrap();
        let key = |text: &str| PathStep::Key(text.into());
        assert_eq!(steps, [key("a"), key("b c"), PathStep::Index(2), key("d")]);
        assert_eq!(parse_path("$.['b c']").unwrap(), [key("b c")]);
        assert_eq!(parse_path("$").unwrap(), []);
        assert_eq!(parse_path("$.a..b"), None);
        assert_eq!(parse_path("$.a[x]"), None);
        assert_eq!(parse_path("a"), None);
    }

    #[test]
    fn members_are_matched_in_any_case_and_flat_forms_are_read() {
        let text = r#"[{"column":"a","Properties":{"Path":"$.x"}},{"Column":"b","ordinal":"3","ConstValue":null},
            {"Name":"c","constValue":7},{"column":"d","Properties":{"Path":"fixed"}},
            {"column":"e","Properties":{"Transform":"sourcelocation"}}]"#;
        let mapping = Mapping::parse(text).unwrap();
        let sources: Vec<_> = mapping.columns.iter().map(|column| column.source.clone()).collect();
        assert_eq!(sources[1..3], [Source::Ordinal(3), Source::Constant("7".into())]);
        assert_eq!(sources[3..], [Source::Constant("fixed".into()), Source::Nothing]);
        assert_eq!(mapping.columns[4].transform, Some(Transform::SourceLocation));
    }

    #[test]
    fn a_comma_before_a_closing_bracket_is_no_mistake() {
        let text = "[{\"column\":\"a,]\\\",}\",\"path\":\"$.x\" , } ,\n ]";
        assert_eq!(Mapping::parse(text).unwrap().columns[0].column, "a,]\",}");
        assert!(Mapping::parse("[,]").is_err() || Mapping::parse("[,]").unwrap().columns.is_empty());
        assert!(Mapping::parse("[{\"column\":\"a\",,}]").is_err());
    }

    #[test]
    fn what_is_not_a_mapping_is_refused() {
        assert!(matches!(Mapping::parse("{}"), Err(Error::Mapping(_))));
        assert!(matches!(Mapping::parse("[{\"column\":\"a\"}]"), Err(Error::Mapping(_))));
        let transform = r#"[{"column":"a","path":"$.x","transform":"GetPathElement"}]"#;
        assert!(matches!(Mapping::parse(transform), Err(Error::NotServed(_))));
    }

    #[test]
    fn a_transformation_suits_the_formats_that_its_page_lists() {
        let schema = TableSchema::new(vec![tidewater_kql::Column::new("a", tidewater_kql::KqlType::String)]);
        let mapping = |name: &str, place: &str| {
            Mapping::parse(&format!(r#"[{{"column":"a","Properties":{{{place},"transform":"{name}"}}}}]"#)).unwrap()
        };
        let field = r#""field":"x""#;
        assert!(mapping("DateTimeFromUnixSeconds", field).resolve(&schema, Format::W3cLogFile).is_err());
        assert!(mapping("BytesAsBase64", field).resolve(&schema, Format::Orc).is_err());
        assert!(mapping("BytesAsBase64", field).resolve(&schema, Format::Avro).is_ok());
        assert!(mapping("SourceLineNumber", field).resolve(&schema, Format::W3cLogFile).is_ok());
    }
}
