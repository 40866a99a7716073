//! `make_list`, `make_set`, `make_bag` and their forms.
//!
//! Shape: the answer is a dynamic array (bag for `make_bag`) as text. Elements come in the order
//! of the rows as far as the engine keeps it; partial states are joined in any order.
//!
//! Nulls: left out, except by `make_list_with_nulls` and except for dynamics, where null is an
//! element like any other. An array among the values of a dynamic column gives its elements one
//! by one. Limits: 1,048,576 elements, or fewer by the argument `maxSize`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, StringViewArray,
    StringViewBuilder,
};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::AggregateUDF;
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, guid, json, real, timespan};

use crate::aggregate::distinct::{integer, utf8};
use crate::aggregate::frame::{CELL_STATE, Cells, Kind, KqlAggregate, Reader, argument, write_block};
use crate::aggregate::scan::{elements, entries};
use crate::aggregate::sets::TextSet;
use crate::aggregate::sums::decimal_at;
use crate::registry::{Aggregate, AggregateCall, AggregateImp};
use crate::signature::{Accepts, BOOL, DYNAMIC, LONG, Returns, optional, required, sig};

/// Most elements of a list, a set or a bag. Source: make_list page.
pub const MOST_ELEMENTS: usize = 1 << 20;
/// The limit of the forms from before 2018.
const OLD_LIMIT: i64 = 128;

const TO_DYNAMIC: Returns = Returns::Type(KqlType::Dynamic);
const MAX_SIZE: crate::signature::Param = optional("maxSize", LONG).constant();
const EXPR: crate::signature::Param = required("expr", Accepts::Any);
const BAG: crate::signature::Param = required("expr", DYNAMIC);
const IF: crate::signature::Param = required("predicate", BOOL);

/// The rows.
pub const ROWS: &[Aggregate] = &[
    Aggregate {
        name: "make_list",
        signatures: &[sig(&[EXPR, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "list_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::List, MOST_ELEMENTS as i64), finish: None },
        summary: "Array of the values of `expr`.",
        docs: "make-list-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_list_if",
        signatures: &[sig(&[EXPR, IF, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "list_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::List, MOST_ELEMENTS as i64), finish: None },
        predicate: Some(1),
        summary: "Array of the values of `expr` in the rows where `predicate` is true.",
        docs: "make-list-if-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_list_with_nulls",
        signatures: &[sig(&[EXPR], TO_DYNAMIC)],
        name_prefix: "list_",
        imp: AggregateImp::Function {
            build: |call| build(call, Shape::ListWithNulls, MOST_ELEMENTS as i64),
            finish: None,
        },
        skips_nulls: false,
        summary: "Array of the values of `expr`, nulls included.",
        docs: "make-list-with-nulls-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "makelist",
        signatures: &[sig(&[EXPR, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "list_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::List, OLD_LIMIT), finish: None },
        summary: "Obsolete form of `make_list`, limited to 128 values unless told otherwise.",
        docs: "make-list-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_set",
        signatures: &[sig(&[EXPR, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "set_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::Set, MOST_ELEMENTS as i64), finish: None },
        summary: "Array of the distinct values of `expr`.",
        docs: "make-set-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_set_if",
        signatures: &[sig(&[EXPR, IF, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "set_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::Set, MOST_ELEMENTS as i64), finish: None },
        predicate: Some(1),
        summary: "Array of the distinct values of `expr` in the rows where `predicate` is true.",
        docs: "make-set-if-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "makeset",
        signatures: &[sig(&[EXPR, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "set_",
        imp: AggregateImp::Function { build: |call| build(call, Shape::Set, OLD_LIMIT), finish: None },
        summary: "Obsolete form of `make_set`, limited to 128 values unless told otherwise.",
        docs: "make-set-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_bag",
        signatures: &[sig(&[BAG, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "bag_",
        imp: AggregateImp::Function { build: |call| build_bag(call, MOST_ELEMENTS as i64), finish: None },
        summary: "Bag of the entries of all bags in `expr`; the first value of a key stays.",
        docs: "make-bag-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_bag_if",
        signatures: &[sig(&[BAG, IF, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "bag_",
        imp: AggregateImp::Function { build: |call| build_bag(call, MOST_ELEMENTS as i64), finish: None },
        predicate: Some(1),
        summary: "Bag of the entries of all bags in `expr` in the rows where `predicate` is true.",
        docs: "make-bag-if-aggregation-function",
        ..Aggregate::ROW
    },
    Aggregate {
        name: "make_dictionary",
        signatures: &[sig(&[BAG, MAX_SIZE], TO_DYNAMIC)],
        name_prefix: "dictionary_",
        imp: AggregateImp::Function { build: |call| build_bag(call, OLD_LIMIT), finish: None },
        summary: "Obsolete form of `make_bag`, limited to 128 keys unless told otherwise.",
        docs: "make-bag-aggregation-function",
        ..Aggregate::ROW
    },
];

/// Which elements an array takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All but nulls.
    List,
    /// All.
    ListWithNulls,
    /// Each once, no nulls.
    Set,
}

fn limit(call: &AggregateCall<'_>, default: i64) -> Result<usize> {
    let size = match call.constants.get(1) {
        None => default,
        Some(Some(value)) => integer(value).unwrap_or(default),
        Some(None) => return plan_err!("the maximum size must be a constant"),
    };
    Ok(usize::try_from(size.clamp(0, MOST_ELEMENTS as i64)).unwrap_or(0))
}

fn build(call: &AggregateCall<'_>, shape: Shape, default: i64) -> Result<AggregateUDF> {
    Ok(make_array(call.types[0], shape, limit(call, default)?))
}

fn build_bag(call: &AggregateCall<'_>, default: i64) -> Result<AggregateUDF> {
    Ok(make_bag(limit(call, default)?))
}

/// `make_list` and its like over a column of type `ty`, of at most `limit` elements.
pub fn make_array(ty: KqlType, shape: Shape, limit: usize) -> AggregateUDF {
    let name = format!("kql_make_{shape:?}<{ty},{limit}>").to_lowercase();
    match shape {
        Shape::Set => KqlAggregate::ordered_udf(name, DataType::Utf8View, vec![CELL_STATE], move || {
            Cells::boxed(Set { ty, limit })
        }),
        _ => KqlAggregate::ordered_udf(name, DataType::Utf8View, vec![CELL_STATE], move || {
            Cells::boxed(List { ty, limit, keeps_nulls: shape == Shape::ListWithNulls })
        }),
    }
}

/// `make_bag`, of at most `limit` keys.
pub fn make_bag(limit: usize) -> AggregateUDF {
    let name = format!("kql_make_bag<{limit}>");
    KqlAggregate::ordered_udf(name, DataType::Utf8View, vec![CELL_STATE], move || Cells::boxed(Bag { limit }))
}

/// A column whose values can be written as JSON, one by one.
pub(crate) enum Column<'a> {
    Bools(&'a BooleanArray),
    Ints(&'a Int32Array),
    Longs(&'a Int64Array),
    Reals(&'a Float64Array),
    Decimals(&'a FixedSizeBinaryArray),
    Guids(&'a FixedSizeBinaryArray),
    DateTimes(&'a Int64Array),
    TimeSpans(&'a Int64Array),
    Strings(&'a StringViewArray),
    Dynamics(&'a StringViewArray),
}

impl<'a> Column<'a> {
    pub(crate) fn of(ty: KqlType, args: &'a [ArrayRef], position: usize) -> Result<Column<'a>> {
        Ok(match ty {
            KqlType::Bool => Column::Bools(argument(args, position)?),
            KqlType::Int => Column::Ints(argument(args, position)?),
            KqlType::Long => Column::Longs(argument(args, position)?),
            KqlType::Real => Column::Reals(argument(args, position)?),
            KqlType::Decimal => Column::Decimals(argument(args, position)?),
            KqlType::String => Column::Strings(argument(args, position)?),
            KqlType::DateTime => Column::DateTimes(argument(args, position)?),
            KqlType::TimeSpan => Column::TimeSpans(argument(args, position)?),
            KqlType::Guid => Column::Guids(argument(args, position)?),
            KqlType::Dynamic => Column::Dynamics(argument(args, position)?),
        })
    }

    /// Appends the value in a row, `null` for none; whether there was one. Datetimes, timespans,
    /// guids and decimals are strings inside a dynamic value.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let is_null = match self {
            Column::Bools(column) => column.is_null(row),
            Column::Ints(column) => column.is_null(row),
            Column::Longs(column) | Column::DateTimes(column) | Column::TimeSpans(column) => column.is_null(row),
            Column::Reals(column) => column.is_null(row),
            Column::Decimals(column) | Column::Guids(column) => column.is_null(row),
            Column::Strings(_) => false,
            Column::Dynamics(column) => column.is_null(row),
        };
        if is_null {
            out.extend_from_slice(b"null");
            return false;
        }
        let mut quoted = |write: &dyn Fn(&mut Vec<u8>)| {
            out.push(b'"');
            write(out);
            out.push(b'"');
        };
        match self {
            Column::Bools(column) => out.extend_from_slice(if column.value(row) { b"true" } else { b"false" }),
            Column::Ints(column) => out.extend_from_slice(itoa::Buffer::new().format(column.value(row)).as_bytes()),
            Column::Longs(column) => out.extend_from_slice(itoa::Buffer::new().format(column.value(row)).as_bytes()),
            Column::Reals(column) => real::write_json(column.value(row), out),
            Column::DateTimes(column) => quoted(&|out| datetime::write_full(column.value(row), out)),
            Column::TimeSpans(column) => quoted(&|out| timespan::write(column.value(row), out)),
            Column::Guids(column) => quoted(&|out| {
                if let Ok(bytes) = column.value(row).try_into() {
                    guid::write(bytes, out);
                }
            }),
            Column::Decimals(column) => quoted(&|out| {
                if let Some(value) = decimal_at(column, row) {
                    value.write(out);
                }
            }),
            Column::Strings(column) => json::quote(if column.is_null(row) { "" } else { column.value(row) }, out),
            Column::Dynamics(column) => out.extend_from_slice(column.value(row).as_bytes()),
        }
        true
    }

    /// The text of a dynamic array in this row, whose elements are spliced in.
    fn array_at(&self, row: usize) -> Option<&'a str> {
        match self {
            Column::Dynamics(column) if column.is_valid(row) => {
                Some(column.value(row)).filter(|text| text.starts_with('['))
            }
            _ => None,
        }
    }

    fn is_dynamic(&self) -> bool {
        matches!(self, Column::Dynamics(_))
    }
}

/// Most bytes of one value: the engine's strings are no longer.
const MOST_BYTES: usize = i32::MAX as usize - 16;

fn check_size(bytes: usize) -> Result<()> {
    if bytes > MOST_BYTES {
        return exec_err!("a dynamic value would be larger than {MOST_BYTES} bytes");
    }
    Ok(())
}

/// Elements, separated by commas, and their number.
#[derive(Default)]
struct Elements {
    text: Vec<u8>,
    count: usize,
}

impl Elements {
    fn push(&mut self, element: &[u8]) {
        if self.count > 0 {
            self.text.push(b',');
        }
        self.text.extend_from_slice(element);
        self.count += 1;
    }
}

struct List {
    ty: KqlType,
    limit: usize,
    keeps_nulls: bool,
}

impl List {
    fn splice(&self, cell: &mut Elements, array: &str) {
        for element in elements(array) {
            if cell.count >= self.limit {
                return;
            }
            cell.push(element.as_bytes());
        }
    }
}

impl Kind for List {
    type Cell = Elements;
    type Input<'a> = Column<'a>;

    fn empty(&self) -> Elements {
        Elements::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Column<'a>> {
        Column::of(self.ty, args, 0)
    }

    fn add(&self, cell: &mut Elements, input: &Column<'_>, row: usize) -> Result<()> {
        if cell.count >= self.limit {
            return Ok(());
        }
        if let Some(array) = input.array_at(row) {
            self.splice(cell, array);
            return check_size(cell.text.len());
        }
        let before = cell.text.len();
        if cell.count > 0 {
            cell.text.push(b',');
        }
        if input.write(row, &mut cell.text) || self.keeps_nulls || input.is_dynamic() {
            cell.count += 1;
        } else {
            cell.text.truncate(before);
        }
        check_size(cell.text.len())
    }

    fn encode(&self, cell: &Elements, out: &mut Vec<u8>) {
        out.extend_from_slice(&(cell.count as u64).to_le_bytes());
        out.extend_from_slice(&cell.text);
    }

    fn merge(&self, cell: &mut Elements, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        let count = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let text = reader.rest();
        if count == 0 {
            return Ok(());
        }
        if cell.count.saturating_add(count) > self.limit {
            let array = format!("[{}]", utf8(text)?);
            self.splice(cell, &array);
        } else {
            cell.push(text);
            cell.count += count - 1;
        }
        check_size(cell.text.len())
    }

    fn finish(&self, cells: &mut [Elements]) -> Result<ArrayRef> {
        let mut arrays = StringViewBuilder::with_capacity(cells.len());
        let mut array = String::new();
        for cell in cells {
            array.clear();
            array.push('[');
            array.push_str(utf8(&cell.text)?);
            array.push(']');
            arrays.append_value(&array);
        }
        Ok(Arc::new(arrays.finish()))
    }

    fn heap(&self, cell: &Elements) -> usize {
        cell.text.capacity()
    }
}

struct Set {
    ty: KqlType,
    limit: usize,
}

/// The elements of a set as JSON, and room to write the next one.
#[derive(Default)]
struct Members {
    texts: TextSet,
    scratch: Vec<u8>,
}

impl Set {
    fn insert(&self, texts: &mut TextSet, text: &[u8]) {
        if texts.len() < self.limit {
            let _known = texts.insert(text);
        }
    }
}

impl Kind for Set {
    type Cell = Members;
    type Input<'a> = Column<'a>;

    fn empty(&self) -> Members {
        Members::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Column<'a>> {
        Column::of(self.ty, args, 0)
    }

    fn add(&self, cell: &mut Members, input: &Column<'_>, row: usize) -> Result<()> {
        if let Some(array) = input.array_at(row) {
            elements(array).for_each(|element| self.insert(&mut cell.texts, element.as_bytes()));
            return Ok(());
        }
        cell.scratch.clear();
        if input.write(row, &mut cell.scratch) || input.is_dynamic() {
            self.insert(&mut cell.texts, &cell.scratch);
        }
        Ok(())
    }

    fn encode(&self, cell: &Members, out: &mut Vec<u8>) {
        cell.texts.iter().for_each(|text| write_block(text, out));
    }

    fn merge(&self, cell: &mut Members, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            self.insert(&mut cell.texts, reader.block()?);
        }
        Ok(())
    }

    fn finish(&self, cells: &mut [Members]) -> Result<ArrayRef> {
        let mut arrays = StringViewBuilder::with_capacity(cells.len());
        let mut array = Vec::new();
        for cell in cells {
            array.clear();
            array.push(b'[');
            for (index, text) in cell.texts.iter().enumerate() {
                if index > 0 {
                    array.push(b',');
                }
                array.extend_from_slice(text);
            }
            array.push(b']');
            check_size(array.len())?;
            arrays.append_value(utf8(&array)?);
        }
        Ok(Arc::new(arrays.finish()))
    }

    fn heap(&self, cell: &Members) -> usize {
        cell.texts.heap() + cell.scratch.capacity()
    }
}

struct Bag {
    limit: usize,
}

/// Keys as quoted JSON in order of arrival, and the value of each.
#[derive(Default)]
struct Entries {
    keys: TextSet,
    values: Vec<Box<str>>,
    bytes: usize,
}

impl Bag {
    fn insert(&self, cell: &mut Entries, key: &[u8], value: &str) {
        if cell.keys.len() < self.limit && cell.keys.insert(key).is_ok() {
            cell.bytes += value.len();
            cell.values.push(value.into());
        }
    }
}

impl Kind for Bag {
    type Cell = Entries;
    type Input<'a> = &'a StringViewArray;

    fn empty(&self) -> Entries {
        Entries::default()
    }

    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<&'a StringViewArray> {
        argument(args, 0)
    }

    fn add(&self, cell: &mut Entries, input: &&StringViewArray, row: usize) -> Result<()> {
        if input.is_valid(row) {
            entries(input.value(row)).for_each(|(key, value)| self.insert(cell, key.as_bytes(), value));
        }
        Ok(())
    }

    fn encode(&self, cell: &Entries, out: &mut Vec<u8>) {
        for (key, value) in cell.keys.iter().zip(&cell.values) {
            write_block(key, out);
            write_block(value.as_bytes(), out);
        }
    }

    fn merge(&self, cell: &mut Entries, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let key = reader.block()?;
            self.insert(cell, key, utf8(reader.block()?)?);
        }
        Ok(())
    }

    fn finish(&self, cells: &mut [Entries]) -> Result<ArrayRef> {
        let mut bags = StringViewBuilder::with_capacity(cells.len());
        let mut bag = Vec::new();
        for cell in cells {
            bag.clear();
            bag.push(b'{');
            for (index, (key, value)) in cell.keys.iter().zip(&cell.values).enumerate() {
                if index > 0 {
                    bag.push(b',');
                }
                bag.extend_from_slice(key);
                bag.push(b':');
                bag.extend_from_slice(value.as_bytes());
            }
            bag.push(b'}');
            check_size(bag.len())?;
            bags.append_value(utf8(&bag)?);
        }
        Ok(Arc::new(bags.finish()))
    }

    fn heap(&self, cell: &Entries) -> usize {
        cell.keys.heap() + cell.values.capacity() * size_of::<Box<str>>() + cell.bytes
    }
}
