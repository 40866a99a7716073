//! `mv-expand`: a row per element of its dynamics, which expand side by side.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, StringViewArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use tidewater_functions::dynamic::{Dynamic, Json, Kind};
use tidewater_kql::KqlType;
use tidewater_kql::value::json;

use super::cells::Cells;
use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// The operator: argument i is the dynamic of item i.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MvExpand {
    /// What becomes of each argument.
    pub items: Vec<Item>,
    /// The name of the column with the element's position, if wanted.
    pub index: Option<String>,
    /// Rows at most per row of the input.
    pub limit: u64,
}

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Bags give `[key, value]` instead of one-key bags.
    pub bag_as_array: bool,
    /// The type that elements are cast to; dynamic keeps them.
    pub to: KqlType,
}

impl Stage for MvExpand {
    fn name(&self) -> &'static str {
        "MvExpand"
    }

    fn settings(&self) -> String {
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| format!("{}:{}{}", item.name, item.to, ["", " array"][item.bag_as_array as usize]))
            .collect();
        format!("{}, index={}, limit={}", items.join(", "), self.index.as_deref().unwrap_or("none"), self.limit)
    }

    fn outputs(&self) -> Vec<Field> {
        let index = self.index.iter().map(|name| Field::new(name, DataType::Int64, true));
        self.items.iter().map(|item| item.to.field(&item.name)).chain(index).collect()
    }

    fn scope(&self) -> Scope {
        Scope::Rows
    }

    fn commutes_with_filters(&self) -> bool {
        true
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run {
            stage: self.clone(),
            batch_rows: setting.batch_rows.max(1),
            input: None,
            row: 0,
            current: None,
        }))
    }
}

struct Run {
    stage: MvExpand,
    batch_rows: usize,
    input: Option<Input>,
    row: usize,
    current: Option<Expansion>,
}

/// A row on its way: its elements and how far they are given out.
struct Expansion {
    items: Vec<VecDeque<Element>>,
    next: u64,
    rows: u64,
}

enum Element {
    /// A part of the row's JSON text.
    Part(std::ops::Range<usize>),
    /// Text that the row does not hold.
    Made(String),
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        self.input = Some(input);
        self.row = 0;
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        let Some(input) = &self.input else { return Ok(None) };
        let texts: Vec<&StringViewArray> = input.args.iter().map(|arg| arg.as_string_view()).collect();
        let mut sources: Vec<u32> = Vec::with_capacity(self.batch_rows);
        let mut cells: Vec<Cells> = self.stage.items.iter().map(|item| Cells::new(item.to)).collect();
        let mut index = Int64Builder::new();
        while sources.len() < self.batch_rows && self.row < input.rows {
            let row = self.row;
            let expansion = self.current.get_or_insert_with(|| expand(&self.stage, &texts, row));
            while expansion.next < expansion.rows && sources.len() < self.batch_rows {
                sources.push(row as u32);
                index.append_value(expansion.next as i64);
                expansion.next += 1;
                for ((elements, cells), text) in expansion.items.iter_mut().zip(&mut cells).zip(&texts) {
                    match elements.pop_front() {
                        None => cells.null(),
                        Some(Element::Part(range)) => cells.json(Json::new(text.value(row).get(range))),
                        Some(Element::Made(json)) => cells.json(Json::new(Some(&json))),
                    }
                }
            }
            if expansion.next == expansion.rows {
                self.current = None;
                self.row += 1;
            }
        }
        let rows = sources.len();
        let sources = UInt32Array::from(sources);
        let mut columns = Vec::with_capacity(input.kept.len() + cells.len() + 1);
        for kept in &input.kept {
            columns.push(take(kept, &sources, None)?);
        }
        columns.extend(cells.iter_mut().map(Cells::finish));
        if self.stage.index.is_some() {
            columns.push(Arc::new(index.finish()) as ArrayRef);
        }
        if self.row >= input.rows {
            self.input = None;
        }
        Ok(Some(Output { columns, rows }))
    }
}

/// The elements of one row. A null alone is one row; an empty array or bag none, unless another item is longer.
fn expand(stage: &MvExpand, texts: &[&StringViewArray], row: usize) -> Expansion {
    let mut rows = 0u64;
    let mut items = Vec::with_capacity(texts.len());
    let wanted = usize::try_from(stage.limit).unwrap_or(usize::MAX);
    for (item, text) in stage.items.iter().zip(texts) {
        let json = if text.is_null(row) { "null" } else { text.value(row) };
        let value = Json::new(Some(json));
        let list: VecDeque<Element> = match value.kind() {
            Kind::Null => {
                rows = rows.max(1);
                VecDeque::new()
            }
            Kind::Array => value.elements().take(wanted).map(|element| Element::Part(element.range_in(json))).collect(),
            Kind::Bag => {
                let entries = value.entries().take(wanted);
                entries.map(|(key, value)| Element::Made(entry(&key, value.as_str(), item.bag_as_array))).collect()
            }
            _ => VecDeque::from([Element::Part(value.range_in(json))]),
        };
        rows = rows.max(list.len() as u64);
        items.push(list);
    }
    Expansion { items, next: 0, rows: rows.min(stage.limit) }
}

fn entry(key: &str, value: &str, as_array: bool) -> String {
    let mut out = Vec::with_capacity(key.len() + value.len() + 6);
    out.push(if as_array { b'[' } else { b'{' });
    json::quote(key, &mut out);
    out.push(if as_array { b',' } else { b':' });
    out.extend_from_slice(value.as_bytes());
    out.push(if as_array { b']' } else { b'}' });
    String::from_utf8(out).expect("quoting and JSON text are UTF-8")
}
