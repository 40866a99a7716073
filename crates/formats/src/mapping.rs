//! Ingestion mappings: where the value of each column comes from. Source: mappings page.

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
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Position in delimited text, from 0.
    Ordinal(usize),
    /// Path in a JSON record: keys and indexes.
    Path(Vec<PathStep>),
    /// Name of a Parquet column, or of a field of a W3C log.
    Field(String),
    /// The same text for every record.
    Constant(String),
}

/// A step of a JSON path.
#[derive(Clone, Debug, PartialEq)]
pub enum PathStep {
    /// `.name`, `['name']`
    Key(String),
    /// `[0]`
    Index(usize),
}

impl Mapping {
    /// Reads the JSON text of a mapping: an array of objects with `column` and, either flat or in
    /// `Properties`, one of `Ordinal`, `Path`, `Field`, `ConstValue`; member names in any case.
    ///
    /// *Errors*: what is not such an array, and transformations, which are not served yet.
    pub fn parse(text: &str) -> Result<Mapping, Error> {
        let value: Value = serde_json::from_str(text).map_err(|error| Error::Mapping(format!("not JSON: {error}")))?;
        let items = value.as_array().ok_or_else(|| Error::Mapping("expected a JSON array of columns".into()))?;
        Ok(Mapping { columns: items.iter().map(mapping_column).collect::<Result<_, _>>()? })
    }

    /// The source of each column of `schema`, in the schema's order.
    pub(crate) fn resolve(&self, schema: &TableSchema, format: Format) -> Result<Vec<Option<Source>>, Error> {
        let mut sources = vec![None; schema.columns.len()];
        for item in &self.columns {
            let Some(at) = schema.index_of(&item.column) else {
                return Err(Error::Mapping(format!("the table has no column '{}'", item.column)));
            };
            let suits = match &item.source {
                Source::Constant(_) => true,
                Source::Ordinal(_) => format.delimiter().is_some(),
                Source::Path(_) => matches!(format, Format::Json | Format::MultiJson | Format::Parquet),
                Source::Field(_) => matches!(format, Format::Parquet | Format::W3cLogFile),
            };
            if !suits {
                return Err(Error::Mapping(format!(
                    "column '{}' does not suit the format {}",
                    item.column,
                    format.name()
                )));
            }
            sources[at] = Some(item.source.clone());
        }
        Ok(sources)
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
    let find = |name: &str| {
        member(item, "properties").and_then(|properties| member(properties, name)).or_else(|| member(item, name))
    };
    if let Some(transform) = find("transform").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        return Err(Error::NotServed(format!("the mapping transformation '{transform}' of column '{column}'")));
    }
    let source = if let Some(value) = find("constvalue").or_else(|| find("constantvalue")) {
        Source::Constant(value.as_str().map_or_else(|| value.to_string(), str::to_string))
    } else if let Some(value) = find("ordinal") {
        let ordinal = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        Source::Ordinal(
            ordinal.ok_or_else(|| Error::Mapping(format!("column '{column}': bad ordinal {value}")))? as usize
        )
    } else if let Some(path) = find("path").and_then(Value::as_str) {
        Source::Path(parse_path(path).ok_or_else(|| Error::Mapping(format!("column '{column}': bad path '{path}'")))?)
    } else if let Some(field) = find("field").and_then(Value::as_str) {
        Source::Field(field.to_string())
    } else {
        return Err(Error::Mapping(format!("column '{column}' has no Ordinal, Path, Field or ConstValue")));
    };
    Ok(MappingColumn { column, source })
}

/// Reads `$.a.b[0]['c d']`; the `$` may be missing. `None` for anything else.
fn parse_path(text: &str) -> Option<Vec<PathStep>> {
    let mut rest = text.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        return Some(vec![PathStep::Key(rest.to_string())]);
    }
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(PathStep::Key(after[..end].to_string()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['").or_else(|| rest.strip_prefix("[\"")) {
            let quote = if rest.starts_with("['") { "']" } else { "\"]" };
            let end = after.find(quote)?;
            steps.push(PathStep::Key(after[..end].to_string()));
            rest = &after[end + 2..];
        } else {
            let after = rest.strip_prefix('[')?;
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
        assert_eq!(parse_path("$.a..b"), None);
        assert_eq!(parse_path("$.a[x]"), None);
    }

    #[test]
    fn members_are_matched_in_any_case_and_flat_forms_are_read() {
        let text =
            r#"[{"column":"a","Properties":{"Path":"$.x"}},{"Column":"b","ordinal":"3"},{"Name":"c","constValue":7}]"#;
        let mapping = Mapping::parse(text).unwrap();
        assert_eq!(mapping.columns[1].source, Source::Ordinal(3));
        assert_eq!(mapping.columns[2].source, Source::Constant("7".into()));
    }

    #[test]
    fn what_is_not_a_mapping_is_refused() {
        assert!(matches!(Mapping::parse("{}"), Err(Error::Mapping(_))));
        assert!(matches!(Mapping::parse("[{\"column\":\"a\"}]"), Err(Error::Mapping(_))));
        let transform = r#"[{"column":"a","path":"$.x","transform":"SourceLocation"}]"#;
        assert!(matches!(Mapping::parse(transform), Err(Error::NotServed(_))));
    }
}
