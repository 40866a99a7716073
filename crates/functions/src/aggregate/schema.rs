//! `buildschema`: the least schema that admits all values of a dynamic column.
//!
//! Shape: a type name (`long`, `double`, `string`, `bool`, ...), a bag of property schemas, or
//! ``{"`indexer`": schema}`` for an array; several alternatives stand in an array, simple types
//! first as they came. Properties keep their order of arrival. Nulls say nothing. Source:
//! buildschema page.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::AggregateUDF;
use serde_json::{Map, Value};
use tidewater_kql::KqlType;

use crate::aggregate::distinct::utf8;
use crate::aggregate::frame::{CELL_STATE, Cells, Kind, KqlAggregate, Reader, argument, write_block};
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{DYNAMIC, Returns, required, sig};

const INDEXER: &str = "`indexer`";

/// The rows.
pub const ROWS: &[Aggregate] = &[Aggregate {
    name: "buildschema",
    signatures: &[sig(&[required("expr", DYNAMIC)], Returns::Type(KqlType::Dynamic))],
    name_prefix: "schema_",
    imp: AggregateImp::Function { build, finish: None },
    summary: "The least schema that admits all values of `expr`.",
    docs: "buildschema-aggregation-function",
    ..Aggregate::ROW
}];

fn build(_: &AggregateCall<'_>) -> Result<AggregateUDF> {
    Ok(buildschema())
}

/// `buildschema` over a dynamic column.
pub fn buildschema() -> AggregateUDF {
    KqlAggregate::ordered_udf("kql_buildschema", DataType::Utf8View, vec![CELL_STATE], || Cells::boxed(Build))
}

/// The alternatives seen at one place of the values.
#[derive(Default)]
struct Schema {
    names: Vec<String>,
    properties: Option<Vec<(String, Schema)>>,
    indexer: Option<Box<Schema>>,
    heap: usize,
}

impl Schema {
    fn named(&mut self, name: &str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_string());
            self.heap += name.len() + 24;
        }
    }

    fn property(&mut self, key: &str) -> &mut Schema {
        let properties = self.properties.get_or_insert_default();
        let place = match properties.iter().position(|(known, _)| known == key) {
            Some(place) => place,
            None => {
                properties.push((key.to_string(), Schema::default()));
                self.heap += key.len() + 128;
                properties.len() - 1
            }
        };
        &mut properties[place].1
    }

    /// Takes in a value. Depth is bounded: dynamic text is no deeper than `json::MAX_DEPTH`.
    fn admit(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.named("bool"),
            Value::Number(number) => self.named(if number.is_f64() { "double" } else { "long" }),
            Value::String(_) => self.named("string"),
            Value::Array(elements) => {
                let indexer = self.indexer.get_or_insert_default();
                let before = indexer.heap;
                elements.iter().for_each(|element| indexer.admit(element));
                self.heap += indexer.heap - before;
            }
            Value::Object(entries) => {
                self.properties.get_or_insert_default();
                for (key, value) in entries {
                    let property = self.property(key);
                    let before = property.heap;
                    property.admit(value);
                    let grown = property.heap - before;
                    self.heap += grown;
                }
            }
        }
    }

    /// Takes in a schema that `encode` wrote.
    fn join(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        for _ in 0..reader.u64()? {
            self.named(utf8(reader.block()?)?);
        }
        if reader.u8()? == 1 {
            self.properties.get_or_insert_default();
            for _ in 0..reader.u64()? {
                let property = self.property(utf8(reader.block()?)?);
                let before = property.heap;
                property.join(reader)?;
                let grown = property.heap - before;
                self.heap += grown;
            }
        }
        if reader.u8()? == 1 {
            let indexer = self.indexer.get_or_insert_default();
            let before = indexer.heap;
            indexer.join(reader)?;
            self.heap += indexer.heap - before;
        }
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.names.len() as u64).to_le_bytes());
        self.names.iter().for_each(|name| write_block(name.as_bytes(), out));
        out.push(u8::from(self.properties.is_some()));
        if let Some(properties) = &self.properties {
            out.extend_from_slice(&(properties.len() as u64).to_le_bytes());
            for (key, schema) in properties {
                write_block(key.as_bytes(), out);
                schema.encode(out);
            }
        }
        out.push(u8::from(self.indexer.is_some()));
        if let Some(indexer) = &self.indexer {
            indexer.encode(out);
        }
    }

    fn to_json(&self) -> Value {
        let mut alternatives: Vec<Value> = self.names.iter().cloned().map(Value::String).collect();
        if let Some(properties) = &self.properties {
            let bag = properties.iter().map(|(key, schema)| (key.clone(), schema.to_json()));
            alternatives.push(Value::Object(bag.collect()));
        }
        if let Some(indexer) = &self.indexer {
            alternatives.push(Value::Object(Map::from_iter([(INDEXER.to_string(), indexer.to_json())])));
        }
        match alternatives.len() {
            1 => alternatives.remove(0),
            _ => Value::Array(alternatives),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.properties.is_none() && self.indexer.is_none()
    }
}

struct Build;

impl Kind for Build {
    type Cell = Schema;
    type Input<'a> = &'a StringViewArray;

    fn empty(&self) -> Schema {
        Schema::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<&'a StringViewArray> {
        argument(args, 0)
    }

    fn add(&self, cell: &mut Schema, input: &&StringViewArray, row: usize) -> Result<()> {
        if input.is_valid(row)
            && let Ok(value) = serde_json::from_str(input.value(row))
        {
            cell.admit(&value);
        }
        Ok(())
    }

    fn encode(&self, cell: &Schema, out: &mut Vec<u8>) {
        cell.encode(out);
    }

    fn merge(&self, cell: &mut Schema, bytes: &[u8]) -> Result<()> {
        cell.join(&mut Reader::new(bytes))
    }

    fn finish(&self, cells: &mut [Schema]) -> Result<ArrayRef> {
        let mut schemas = StringViewBuilder::with_capacity(cells.len());
        for cell in cells {
            schemas.append_option((!cell.is_empty()).then(|| cell.to_json().to_string()));
        }
        Ok(Arc::new(schemas.finish()))
    }

    fn heap(&self, cell: &Schema) -> usize {
        cell.heap
    }
}
