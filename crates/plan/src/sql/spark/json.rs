//! JSON of the dialect: `get_json_object`, `from_json`, `to_json`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, MapArray, StringArray, StringBuilder,
    StructArray, new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use serde_json::{Map, Number, Value};

use super::udf::{Row, as_texts, at, text};

/// How deep schemas and values may be.
const MAX_DEPTH: usize = 32;

pub(super) const ROWS: &[Row] = &[
    Row { name: "get_json_object", arity: (2, 2), returns: text, kernel: get_json_object },
    Row { name: "json_member", arity: (2, 2), returns: text, kernel: json_member },
    Row { name: "from_json", arity: (2, 2), returns: schema_type, kernel: from_json },
    Row { name: "to_json", arity: (1, 1), returns: text, kernel: to_json },
];

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The steps of `$.a['b'][0]`; none where the text is no path.
fn steps(path: &str) -> Result<Option<Vec<Step>>> {
    let Some(mut rest) = path.strip_prefix('$') else { return Ok(None) };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with(".*") || rest.starts_with("[*]") || rest.starts_with("..") {
            return exec_err!("get_json_object: the path '{path}' has a wildcard, which is not served");
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Ok(None);
            }
            steps.push(Step::Key(after[..end].to_string()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['") {
            let Some(end) = after.find("']") else { return Ok(None) };
            steps.push(Step::Key(after[..end].to_string()));
            rest = &after[end + 2..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(end) = after.find(']') else { return Ok(None) };
            let Ok(index) = after[..end].trim().parse() else { return Ok(None) };
            steps.push(Step::Index(index));
            rest = &after[end + 1..];
        } else {
            return Ok(None);
        }
    }
    Ok(Some(steps))
}

/// A member of an object by its name, a text without its quotes.
fn json_member(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (texts, names) = (as_texts(&values[0])?, as_texts(&values[1])?);
    let mut found = StringBuilder::new();
    for row in 0..texts.len() {
        let value = match (at(&texts, row), at(&names, row)) {
            (Some(text), Some(name)) => {
                serde_json::from_str::<Value>(text).ok().and_then(|value| value.get(name).cloned())
            }
            _ => None,
        };
        match value {
            None | Some(Value::Null) => found.append_null(),
            Some(Value::String(text)) => found.append_value(text),
            Some(other) => found.append_value(other.to_string()),
        }
    }
    Ok(Arc::new(found.finish()))
}

fn get_json_object(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let (texts, paths) = (as_texts(&values[0])?, as_texts(&values[1])?);
    let mut known: Option<(String, Option<Vec<Step>>)> = None;
    let mut found = StringBuilder::new();
    for row in 0..texts.len() {
        let (Some(text), Some(path)) = (at(&texts, row), at(&paths, row)) else {
            found.append_null();
            continue;
        };
        if known.as_ref().is_none_or(|(known, _)| known != path) {
            known = Some((path.to_string(), steps(path)?));
        }
        let Some((_, Some(steps))) = &known else {
            found.append_null();
            continue;
        };
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            found.append_null();
            continue;
        };
        let part = steps.iter().try_fold(&value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        });
        match part {
            None | Some(Value::Null) => found.append_null(),
            Some(Value::String(text)) => found.append_value(text),
            Some(value) => found.append_value(value.to_string()),
        }
    }
    Ok(Arc::new(found.finish()))
}

/// The type that the second argument tells, as in `a INT, b ARRAY<STRING>`.
fn schema_type(_: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let constant = constants.get(1).copied().flatten();
    let Some(text) = constant.and_then(|constant| constant.try_as_str().flatten()) else {
        return plan_err!("from_json: the schema must be a constant text");
    };
    match (Schema { text, at: 0 }).whole() {
        Some(ty) => Ok(ty),
        None => plan_err!("from_json: the schema '{text}' cannot be read (such as 'a INT, b ARRAY<STRING>')"),
    }
}

/// A reader of schemas.
struct Schema<'a> {
    text: &'a str,
    at: usize,
}

impl Schema<'_> {
    fn whole(mut self) -> Option<DataType> {
        let as_type = self.ty(0).filter(|_| self.ended());
        as_type.or_else(|| {
            self.at = 0;
            let fields = self.fields(0, None)?;
            self.ended().then_some(DataType::Struct(fields))
        })
    }

    fn ended(&mut self) -> bool {
        self.spaces();
        self.at == self.text.len()
    }

    fn spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn sign(&mut self, sign: char) -> bool {
        self.spaces();
        let found = self.text[self.at..].starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self) -> Option<String> {
        self.spaces();
        let rest = &self.text[self.at..];
        if let Some(quoted) = rest.strip_prefix('`') {
            let end = quoted.find('`')?;
            self.at += end + 2;
            return Some(quoted[..end].to_string());
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| rest[..end].to_string())
    }

    /// `name type`, `name: type`, ... up to a sign or the end.
    fn fields(&mut self, depth: usize, close: Option<char>) -> Option<Fields> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let name = self.word()?;
            self.sign(':');
            let ty = self.ty(depth + 1)?;
            fields.push(Field::new(name, ty, true));
            if !self.sign(',') {
                break;
            }
        }
        if let Some(close) = close
            && !self.sign(close)
        {
            return None;
        }
        Some(fields.into())
    }

    fn ty(&mut self, depth: usize) -> Option<DataType> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.word()?.to_ascii_lowercase().as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "string" | "varchar" => DataType::Utf8,
            "date" => DataType::Date32,
            "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "decimal" => {
                let (mut precision, mut scale) = (10, 0);
                if self.sign('(') {
                    precision = self.word()?.parse().ok().filter(|p| (1..=38).contains(p))?;
                    if self.sign(',') {
                        scale = self.word()?.parse().ok().filter(|s| *s >= 0 && *s <= precision as i8)?;
                    }
                    if !self.sign(')') {
                        return None;
                    }
                }
                DataType::Decimal128(precision, scale)
            }
            "array" => {
                if !self.sign('<') {
                    return None;
                }
                let inner = self.ty(depth + 1)?;
                if !self.sign('>') {
                    return None;
                }
                DataType::List(Arc::new(Field::new_list_field(inner, true)))
            }
            "map" => {
                if !self.sign('<') || !self.word()?.eq_ignore_ascii_case("string") || !self.sign(',') {
                    return None;
                }
                let inner = self.ty(depth + 1)?;
                if !self.sign('>') {
                    return None;
                }
                let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", inner, true)];
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
            }
            "struct" => {
                if !self.sign('<') {
                    return None;
                }
                DataType::Struct(self.fields(depth, Some('>'))?)
            }
            _ => return None,
        })
    }
}

fn from_json(values: &[ArrayRef], ty: &DataType) -> Result<ArrayRef> {
    let texts = as_texts(&values[0])?;
    let read: Vec<Option<Value>> = (0..texts.len()).map(|row| serde_json::from_str(at(&texts, row)?).ok()).collect();
    let read: Vec<Option<&Value>> = read.iter().map(Option::as_ref).collect();
    built(&read, ty)
}

/// Values of a type; null where a value is of another.
fn built(values: &[Option<&Value>], ty: &DataType) -> Result<ArrayRef> {
    let present = |value: &Option<&Value>, fits: fn(&Value) -> bool| value.is_some_and(fits);
    Ok(match ty {
        DataType::Boolean => {
            Arc::new(values.iter().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
        }
        DataType::Struct(fields) => {
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                let inner: Vec<Option<&Value>> =
                    values.iter().map(|value| value.and_then(|value| value.get(field.name()))).collect();
                columns.push(built(&inner, field.data_type())?);
            }
            let nulls: Vec<bool> = values.iter().map(|value| present(value, Value::is_object)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(nulls.into()), values.len())?)
        }
        DataType::List(field) => {
            let lists = values.iter().map(|value| value.and_then(Value::as_array));
            let inner: Vec<Option<&Value>> = lists.clone().flatten().flatten().map(Some).collect();
            let lengths: Vec<usize> = lists.clone().map(|list| list.map_or(0, Vec::len)).collect();
            let nulls: Vec<bool> = lists.map(|list| list.is_some()).collect();
            let inner = built(&inner, field.data_type())?;
            Arc::new(ListArray::try_new(
                Arc::clone(field),
                OffsetBuffer::from_lengths(lengths),
                inner,
                Some(nulls.into()),
            )?)
        }
        DataType::Map(field, _) => {
            let DataType::Struct(entry) = field.data_type() else {
                return plan_err!("from_json: found a map of {field}");
            };
            let maps = values.iter().map(|value| value.and_then(Value::as_object));
            let keys: StringArray = maps.clone().flatten().flat_map(Map::keys).map(Some).collect();
            let inner: Vec<Option<&Value>> = maps.clone().flatten().flat_map(Map::values).map(Some).collect();
            let lengths: Vec<usize> = maps.clone().map(|map| map.map_or(0, Map::len)).collect();
            let nulls: Vec<bool> = maps.map(|map| map.is_some()).collect();
            let entries =
                StructArray::try_new(entry.clone(), vec![Arc::new(keys), built(&inner, entry[1].data_type())?], None)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, Some(nulls.into()), false)?)
        }
        DataType::Utf8 => {
            let texts = values.iter().map(|value| match value {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(value) => Some(value.to_string()),
            });
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Date32 | DataType::Timestamp(..) => {
            let texts: StringArray = values.iter().map(|value| value.and_then(Value::as_str)).collect();
            safely(&(Arc::new(texts) as ArrayRef), ty)?
        }
        ty if ty.is_integer() => {
            let numbers: Int64Array = values.iter().map(|value| value.and_then(Value::as_i64)).collect();
            safely(&(Arc::new(numbers) as ArrayRef), ty)?
        }
        ty if ty.is_floating() => {
            let numbers: Float64Array = values.iter().map(|value| value.and_then(Value::as_f64)).collect();
            safely(&(Arc::new(numbers) as ArrayRef), ty)?
        }
        ty => {
            let texts: StringArray =
                values.iter().map(|value| value.and_then(Value::as_number).map(Number::to_string)).collect();
            safely(&(Arc::new(texts) as ArrayRef), ty)?
        }
    })
}

fn safely(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, ty, &CastOptions { safe: true, ..CastOptions::default() })?)
}

fn to_json(values: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let nested = |ty: &DataType| {
        matches!(ty, DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..))
    };
    if !nested(values[0].data_type()) {
        return exec_err!("to_json: found {}, expected a struct, an array or a map", values[0].data_type());
    }
    let found = json_of(&values[0], 0)?;
    let found: StringArray = found.into_iter().map(|value| value.map(|value| value.to_string())).collect();
    Ok(Arc::new(found))
}

/// Each value as JSON; fields that are null are left out, as in the dialect.
fn json_of(array: &ArrayRef, depth: usize) -> Result<Vec<Option<Value>>> {
    if depth > MAX_DEPTH {
        return exec_err!("to_json: the value is nested deeper than {MAX_DEPTH}");
    }
    let valid = |row: usize| array.is_valid(row);
    Ok(match array.data_type() {
        DataType::Null => vec![None; array.len()],
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for column in parts.columns() {
                columns.push(json_of(column, depth + 1)?);
            }
            let object = |row: usize| {
                let entries = fields.iter().zip(&columns);
                let entries = entries.filter_map(|(field, column)| Some((field.name().clone(), column[row].clone()?)));
                Value::Object(entries.collect())
            };
            (0..array.len()).map(|row| valid(row).then(|| object(row))).collect()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let inner = json_of(list.values(), depth + 1)?;
            let elements = |row: usize| {
                let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
                Value::Array(inner[range].iter().map(|value| value.clone().unwrap_or(Value::Null)).collect())
            };
            (0..array.len()).map(|row| valid(row).then(|| elements(row))).collect()
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (keys, inner) = (as_texts(map.keys())?, json_of(map.values(), depth + 1)?);
            let object = |row: usize| {
                let range = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
                let entries = range.filter_map(|at_entry| {
                    Some((at(&keys, at_entry)?.to_string(), inner[at_entry].clone().unwrap_or(Value::Null)))
                });
                Value::Object(entries.collect())
            };
            (0..array.len()).map(|row| valid(row).then(|| object(row))).collect()
        }
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map(Value::Bool)).collect(),
        ty if ty.is_integer() => {
            let numbers = safely(array, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|value| value.map(Value::from)).collect()
        }
        ty if ty.is_floating() => {
            let numbers = safely(array, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>().clone();
            let number =
                |value: f64| Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number);
            numbers.iter().map(|value| value.map(number)).collect()
        }
        DataType::Timestamp(..) => {
            let moments = super::udf::as_moments(array)?;
            let moment = |value: i64| {
                let ticks = super::pattern::ticks(value)?;
                let pattern = super::pattern::Pattern::read("yyyy-MM-dd'T'HH:mm:ss.SSSX").ok()?;
                Some(Value::from(pattern.write(ticks)))
            };
            moments.iter().map(|value| value.and_then(moment)).collect()
        }
        DataType::Decimal128(..) => {
            let texts = as_texts(array)?;
            let number = |text: &str| serde_json::from_str::<Value>(text).ok();
            texts.iter().map(|value| value.and_then(number)).collect()
        }
        _ => {
            let texts = if array.data_type().is_null() {
                new_null_array(&DataType::Utf8, array.len())
            } else {
                Arc::clone(array)
            };
            as_texts(&texts)?.iter().map(|value| value.map(Value::from)).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_types_or_lists_of_fields() {
        let read = |text: &str| (Schema { text, at: 0 }).whole();
        assert_eq!(read("INT"), Some(DataType::Int32));
        assert!(
            matches!(read("a INT, b ARRAY<STRING>, c STRUCT<d: DECIMAL(5,2)>"), Some(DataType::Struct(fields)) if fields.len() == 3)
        );
        assert!(matches!(read("MAP<STRING, BIGINT>"), Some(DataType::Map(..))));
        for text in ["", "a", "ARRAY<", "STRUCT<a>", "a NOSUCH", "DECIMAL(99)"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"ARRAY<".repeat(10_000)), None);
    }

    #[test]
    fn paths_have_keys_and_places() {
        let found = steps("$.a['b c'][2]").unwrap();
        assert_eq!(found, Some(vec![Step::Key("a".into()), Step::Key("b c".into()), Step::Index(2)]));
        assert_eq!(steps("a.b").unwrap(), None);
        assert!(steps("$[*]").is_err());
    }
}
