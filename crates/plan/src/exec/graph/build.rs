//! Making a graph of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewBuilder, new_null_array};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::{HashMap, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use tidewater_functions::dynamic::{Dynamic, Json};
use tidewater_kql::KqlType;

use super::data::{Graph, Topology, pick};
use crate::bound::ColumnId;

/// What becomes of the rows of a part; positions are those of its plan's columns.
#[derive(Clone, Debug)]
pub struct Part {
    /// The key of a node, or those of source and target.
    pub keys: Vec<usize>,
    pub partition: Option<usize>,
    pub labels: Option<usize>,
    /// Columns, and positions in the recipe's properties.
    pub properties: Vec<(usize, usize)>,
}

/// How a graph is made of parts.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub nodes: Vec<Part>,
    pub edges: Vec<Part>,
    /// The properties that somebody reads.
    pub node_properties: Vec<(ColumnId, KqlType)>,
    pub edge_properties: Vec<(ColumnId, KqlType)>,
    /// Of the nodes' properties those that are the key where a node has no other value.
    pub key_properties: Vec<usize>,
    pub key: KqlType,
    pub last_wins: bool,
}

/// A key of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Null,
    Number(i64),
    Bytes(&'a [u8]),
}

/// Keys of an array, by row.
enum Keys<'a> {
    Bool(&'a arrow::array::BooleanArray),
    Int(&'a arrow::array::Int32Array),
    Long(&'a arrow::array::Int64Array),
    Real(&'a arrow::array::Float64Array),
    Text(&'a arrow::array::StringViewArray),
    Bytes(&'a arrow::array::FixedSizeBinaryArray),
}

impl<'a> Keys<'a> {
    fn new(array: &'a ArrayRef) -> Result<Keys<'a>> {
        Ok(match array.data_type() {
            DataType::Boolean => Keys::Bool(array.as_boolean()),
            DataType::Int32 => Keys::Int(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Keys::Long(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Keys::Real(array.as_primitive::<Float64Type>()),
            DataType::Utf8View => Keys::Text(array.as_string_view()),
            DataType::FixedSizeBinary(_) => Keys::Bytes(array.as_fixed_size_binary()),
            other => return exec_err!("a node's id cannot be of type {other}"),
        })
    }

    fn get(&self, row: usize) -> Key<'a> {
        match self {
            Keys::Bool(array) if array.is_valid(row) => Key::Number(i64::from(array.value(row))),
            Keys::Int(array) if array.is_valid(row) => Key::Number(i64::from(array.value(row))),
            Keys::Long(array) if array.is_valid(row) => Key::Number(array.value(row)),
            // Both zeros are one number.
            Keys::Real(array) if array.is_valid(row) => Key::Number((array.value(row) + 0.0).to_bits() as i64),
            Keys::Text(array) if array.is_valid(row) => Key::Bytes(array.value(row).as_bytes()),
            // A string has no null.
            Keys::Text(_) => Key::Bytes(b""),
            Keys::Bytes(array) if array.is_valid(row) => Key::Bytes(array.value(row)),
            _ => Key::Null,
        }
    }
}

/// Numbers for keys, in the order of their first sight.
#[derive(Default)]
struct Numbers<'a> {
    known: HashMap<(u32, Key<'a>), u32>,
    /// Where each was seen first, among all rows that were numbered.
    first: Vec<u64>,
    rows: u64,
    partitions: Vec<u32>,
}

impl<'a> Numbers<'a> {
    fn number(&mut self, keys: &'a ArrayRef, partitions: Option<&[u32]>) -> Result<Vec<u32>> {
        let rows = keys.len();
        let keys = Keys::new(keys)?;
        let mut numbers = Vec::with_capacity(rows);
        for row in 0..rows {
            let partition = partitions.map_or(0, |partitions| partitions[row]);
            let next = self.first.len() as u32;
            let number = *self.known.entry((partition, keys.get(row))).or_insert(next);
            if number == next {
                self.first.push(self.rows + row as u64);
                self.partitions.push(partition);
            }
            numbers.push(number);
        }
        self.rows += rows as u64;
        if self.first.len() >= u32::MAX as usize {
            return exec_err!("a graph has more nodes than can be numbered");
        }
        Ok(numbers)
    }
}

/// A graph of these rows, a batch per part: those of nodes first.
pub fn build(recipe: &Recipe, batches: Vec<RecordBatch>, memory: MemoryReservation) -> Result<Graph> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    // Numbers, the table of keys, and the properties' copies.
    memory.try_grow(rows.saturating_mul(64))?;
    let parts: Vec<(&Part, &RecordBatch)> = recipe.nodes.iter().chain(&recipe.edges).zip(&batches).collect();
    let (node_parts, edge_parts) = parts.split_at(recipe.nodes.len());
    let is_partitioned = parts.iter().any(|(part, _)| part.partition.is_some());

    let partitions: Vec<Option<Vec<u32>>> = if is_partitioned {
        let mut numbers = Numbers::default();
        parts
            .iter()
            .map(|(part, batch)| part.partition.map(|column| numbers.number(batch.column(column), None)).transpose())
            .collect::<Result<_>>()?
    } else {
        vec![None; parts.len()]
    };
    let mut numbers = Numbers::default();
    let mut key_arrays: Vec<ArrayRef> = Vec::new();
    let mut node_rows = Vec::with_capacity(node_parts.len());
    for ((part, batch), partitions) in node_parts.iter().zip(&partitions) {
        let keys = batch.column(part.keys[0]);
        key_arrays.push(Arc::clone(keys));
        node_rows.push(numbers.number(keys, partitions.as_deref())?);
    }
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for ((part, batch), partitions) in edge_parts.iter().zip(&partitions[node_parts.len()..]) {
        for (ends, column) in [(&mut source, part.keys[0]), (&mut target, part.keys[1])] {
            let keys = batch.column(column);
            key_arrays.push(Arc::clone(keys));
            ends.extend(numbers.number(keys, partitions.as_deref())?);
        }
    }
    if source.len() >= u32::MAX as usize {
        return exec_err!("a graph has more edges than can be numbered");
    }
    let node_count = numbers.first.len();
    let first = std::mem::take(&mut numbers.first);
    let node_partitions = std::mem::take(&mut numbers.partitions);
    drop(numbers);
    let keys = pick(&key_arrays, &first, recipe.key)?;
    memory.try_grow(Topology::bytes(node_count, source.len()) + keys.get_array_memory_size())?;

    let mut nodes = HashMap::new();
    for (at, (id, ty)) in recipe.node_properties.iter().enumerate() {
        let array = node_property(recipe, at, *ty, node_parts, &node_rows, &keys)?;
        memory.try_grow(array.get_array_memory_size())?;
        nodes.insert(*id, array);
    }
    let mut edges = HashMap::new();
    for (at, (id, ty)) in recipe.edge_properties.iter().enumerate() {
        let arrays = edge_parts.iter().map(|(part, batch)| property(part, batch, at, *ty)).collect::<Vec<_>>();
        let array = joined(&arrays, *ty)?;
        memory.try_grow(array.get_array_memory_size())?;
        edges.insert(*id, array);
    }
    Ok(Graph {
        node_count,
        nodes,
        edges,
        keys,
        node_labels: node_labels(node_parts, &node_rows, node_count)?,
        edge_labels: edge_labels(edge_parts)?,
        partition: is_partitioned.then(|| Arc::new(node_partitions)),
        topology: Arc::new(Topology::new(node_count, source, target)),
        memory: vec![Arc::new(memory)],
    })
}

fn property(part: &Part, batch: &RecordBatch, at: usize, ty: KqlType) -> ArrayRef {
    match part.properties.iter().find(|(_, property)| *property == at) {
        Some((column, _)) => Arc::clone(batch.column(*column)),
        None => new_null_array(&ty.arrow(), batch.num_rows()),
    }
}

fn joined(arrays: &[ArrayRef], ty: KqlType) -> Result<ArrayRef> {
    match arrays {
        [] => Ok(new_null_array(&ty.arrow(), 0)),
        [array] => Ok(Arc::clone(array)),
        _ => {
            let views: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
            Ok(arrow::compute::concat(&views)?)
        }
    }
}

/// A property of all nodes: of a node's rows the first (or last) that has a value.
fn node_property(
    recipe: &Recipe,
    at: usize,
    ty: KqlType,
    parts: &[(&Part, &RecordBatch)],
    node_rows: &[Vec<u32>],
    keys: &ArrayRef,
) -> Result<ArrayRef> {
    let mut chosen = vec![u64::MAX; keys.len()];
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut base = 0u64;
    for ((part, batch), nodes) in parts.iter().zip(node_rows) {
        let Some((column, _)) = part.properties.iter().find(|(_, property)| *property == at) else { continue };
        let array = batch.column(*column);
        let texts = array.as_string_view_opt();
        for (row, node) in nodes.iter().enumerate() {
            let place = &mut chosen[*node as usize];
            if *place != u64::MAX && !recipe.last_wins {
                continue;
            }
            let has_value = match texts {
                Some(texts) => texts.is_valid(row) && !texts.value(row).is_empty(),
                None => array.is_valid(row),
            };
            if has_value {
                *place = base + row as u64;
            }
        }
        base += array.len() as u64;
        arrays.push(Arc::clone(array));
    }
    if recipe.key_properties.contains(&at) {
        let own =
            if keys.data_type() == &ty.arrow() { Arc::clone(keys) } else { arrow::compute::cast(keys, &ty.arrow())? };
        arrays.push(own);
        for (node, place) in chosen.iter_mut().enumerate().filter(|(_, place)| **place == u64::MAX) {
            *place = base + node as u64;
        }
    }
    pick(&arrays, &chosen, ty)
}

/// The labels of all nodes: those of all their rows, each once.
fn node_labels(parts: &[(&Part, &RecordBatch)], node_rows: &[Vec<u32>], node_count: usize) -> Result<Option<ArrayRef>> {
    if parts.iter().all(|(part, _)| part.labels.is_none()) {
        return Ok(None);
    }
    let mut found: Vec<Option<(&str, bool)>> = vec![None; node_count];
    let mut merged: HashMap<u32, Vec<String>> = HashMap::new();
    for ((part, batch), nodes) in parts.iter().zip(node_rows) {
        let Some(column) = part.labels else { continue };
        let Some(texts) = batch.column(column).as_string_view_opt() else { continue };
        for (row, node) in nodes.iter().enumerate().filter(|(row, _)| texts.is_valid(*row)) {
            let text = texts.value(row);
            match &mut found[*node as usize] {
                place @ None => *place = Some((text, false)),
                Some((first, is_merged)) if *first != text || *is_merged => {
                    let first = *first;
                    *is_merged = true;
                    let all = merged.entry(*node).or_insert_with(|| elements(first));
                    for label in elements(text) {
                        if !all.contains(&label) {
                            all.push(label);
                        }
                    }
                }
                Some(_) => {}
            }
        }
    }
    let mut labels = StringViewBuilder::with_capacity(node_count);
    for (node, place) in found.iter().enumerate() {
        match (place, merged.get(&(node as u32))) {
            (None, _) => labels.append_value("[]"),
            (Some(_), Some(all)) => labels.append_value(format!("[{}]", all.join(","))),
            (Some((text, _)), None) => labels.append_value(text),
        }
    }
    Ok(Some(Arc::new(labels.finish())))
}

/// The texts of an array's elements.
fn elements(array: &str) -> Vec<String> {
    Json::new(Some(array)).elements().map(|element| element.as_str().to_string()).collect()
}

fn edge_labels(parts: &[(&Part, &RecordBatch)]) -> Result<Option<ArrayRef>> {
    if parts.iter().all(|(part, _)| part.labels.is_none()) {
        return Ok(None);
    }
    let mut labels = StringViewBuilder::new();
    for (part, batch) in parts {
        let texts = part.labels.and_then(|column| batch.column(column).as_string_view_opt());
        for row in 0..batch.num_rows() {
            match texts {
                Some(texts) if texts.is_valid(row) => labels.append_value(texts.value(row)),
                _ => labels.append_value("[]"),
            }
        }
    }
    Ok(Some(Arc::new(labels.finish())))
}

/// A task that did not end.
pub fn lost(error: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Execution(format!("the graph could not be made: {error}"))
}
