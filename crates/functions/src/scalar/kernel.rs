//! Arguments and results of kernels, row by row.
//!
//! A kernel reads its arguments as `Input`s, which answer alike for constants and columns, and
//! hands a closure over row numbers to one of the `each` functions. When every argument is a
//! constant the closure runs once and the answer is a scalar.
//!
//! ```ignore
//! fn strlen(call: &Call<'_>) -> Result<ColumnarValue> {
//!     let source = Texts::of(call, 0)?;
//!     each(call, |row| source.text(row).chars().count() as i64)
//! }
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, StringViewArray,
    make_view,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion_expr::ColumnarValue;

use crate::call::Call;
use crate::turn::Pace;

/// How the values of one Arrow array type are read.
pub trait Slot {
    /// The array.
    type Array: Array + Clone + 'static;
    /// A value of it.
    type Value<'a>;
    /// Its Arrow type.
    fn data_type() -> DataType;
    /// The value of a slot that is not null.
    fn value(array: &Self::Array, row: usize) -> Self::Value<'_>;
}

macro_rules! slots {
    ($($(#[$docs:meta])* $name:ident, $array:ty, $value:ty, $ty:expr, $read:expr;)*) => {$(
        $(#[$docs])*
        pub struct $name;
        impl Slot for $name {
            type Array = $array;
            type Value<'a> = $value;
            fn data_type() -> DataType {
                $ty
            }
            #[inline]
            fn value(array: &Self::Array, row: usize) -> Self::Value<'_> {
                let read: fn(&Self::Array, usize) -> Self::Value<'_> = $read;
                read(array, row)
            }
        }
    )*};
}

slots! {
    /// string, dynamic
    TextSlot, StringViewArray, &'a str, DataType::Utf8View, |array, row| array.value(row);
    /// long, datetime, timespan
    LongSlot, Int64Array, i64, DataType::Int64, |array, row| array.value(row);
    /// int
    IntSlot, Int32Array, i32, DataType::Int32, |array, row| array.value(row);
    /// real
    RealSlot, Float64Array, f64, DataType::Float64, |array, row| array.value(row);
    /// bool
    BoolSlot, BooleanArray, bool, DataType::Boolean, |array, row| array.value(row);
    /// decimal, guid
    BytesSlot, FixedSizeBinaryArray, [u8; 16], DataType::FixedSizeBinary(16), |array, row| {
        array.value(row).try_into().expect("the array's type says 16 bytes")
    };
}

/// An argument: a column, or a constant that every row sees.
pub struct Input<S: Slot> {
    array: S::Array,
    /// All ones for a column; zero for a constant, so that every row reads slot 0.
    mask: usize,
    has_nulls: bool,
}

/// string or dynamic
pub type Texts = Input<TextSlot>;
/// long, datetime or timespan
pub type Longs = Input<LongSlot>;
/// int
pub type Ints = Input<IntSlot>;
/// real
pub type Reals = Input<RealSlot>;
/// bool
pub type Bools = Input<BoolSlot>;
/// decimal or guid
pub type Bytes16 = Input<BytesSlot>;

impl<S: Slot> Input<S> {
    /// The argument at this position. Other Arrow forms of the same type (Utf8 from an engine function) are cast.
    pub fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        match call.args.get(position) {
            Some(value) => Self::new(value),
            None => exec_err!("argument {position} is missing"),
        }
    }

    /// Reads an engine value.
    pub fn new(value: &ColumnarValue) -> Result<Self> {
        let (array, mask) = match value {
            ColumnarValue::Array(array) => (Arc::clone(array), usize::MAX),
            ColumnarValue::Scalar(ScalarValue::Null) => (arrow::array::new_null_array(&S::data_type(), 1), 0),
            ColumnarValue::Scalar(value) => (value.to_array()?, 0),
        };
        let array =
            if *array.data_type() == S::data_type() { array } else { arrow::compute::cast(&array, &S::data_type())? };
        let has_nulls = array.null_count() > 0;
        match array.as_any().downcast_ref::<S::Array>() {
            Some(array) => Ok(Self { array: array.clone(), mask, has_nulls }),
            None => exec_err!("expected {}, found {}", S::data_type(), array.data_type()),
        }
    }

    /// The value for a row; `None` is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<S::Value<'_>> {
        let slot = row & self.mask;
        if self.has_nulls && self.array.is_null(slot) { None } else { Some(S::value(&self.array, slot)) }
    }

    /// Whether it is a constant.
    pub fn is_constant(&self) -> bool {
        self.mask == 0
    }

    /// A constant's value: `Some(None)` for a null constant, `None` for a column.
    pub fn constant(&self) -> Option<Option<S::Value<'_>>> {
        self.is_constant().then(|| self.get(0))
    }

    /// The array itself; one slot for a constant.
    pub fn array(&self) -> &S::Array {
        &self.array
    }
}

impl Input<TextSlot> {
    /// The text for a row; a null string is `""`.
    #[inline]
    pub fn text(&self, row: usize) -> &str {
        self.get(row).unwrap_or("")
    }

    /// A constant's text; `None` for a column.
    pub fn constant_text(&self) -> Option<&str> {
        self.is_constant().then(|| self.text(0))
    }
}

/// int or long, read as long.
pub enum Integers {
    /// int
    Int(Ints),
    /// long, datetime, timespan
    Long(Longs),
}

impl Integers {
    /// The argument at this position.
    pub fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        match call.args.get(position).map(ColumnarValue::data_type) {
            Some(DataType::Int32) => Ok(Integers::Int(Ints::of(call, position)?)),
            _ => Ok(Integers::Long(Longs::of(call, position)?)),
        }
    }

    /// The value for a row.
    #[inline]
    pub fn get(&self, row: usize) -> Option<i64> {
        match self {
            Integers::Int(input) => input.get(row).map(i64::from),
            Integers::Long(input) => input.get(row),
        }
    }
}

/// A row's result, and the array made of them.
pub trait Output: Sized {
    /// The array of one result per row.
    fn collect(results: impl ExactSizeIterator<Item = Self>) -> ArrayRef;
}

macro_rules! outputs {
    ($($value:ty, $array:ty;)*) => {$(
        impl Output for $value {
            fn collect(results: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                Arc::new(<$array>::from_iter_values(results))
            }
        }
        impl Output for Option<$value> {
            fn collect(results: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
                Arc::new(<$array>::from_iter(results))
            }
        }
    )*};
}

outputs! {
    i64, Int64Array;
    i32, Int32Array;
    f64, Float64Array;
}

impl Output for bool {
    fn collect(mut results: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let values = BooleanBuffer::collect_bool(results.len(), |_| results.next().unwrap_or(false));
        Arc::new(BooleanArray::new(values, None))
    }
}

impl Output for Option<bool> {
    fn collect(results: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        Arc::new(BooleanArray::from_iter(results))
    }
}

impl Output for Option<[u8; 16]> {
    fn collect(results: impl ExactSizeIterator<Item = Self>) -> ArrayRef {
        let rows = results.len();
        let mut values = Vec::with_capacity(rows * 16);
        let mut valid = Vec::with_capacity(rows);
        for result in results {
            valid.push(result.is_some());
            values.extend_from_slice(&result.unwrap_or_default());
        }
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(values), nulls))
    }
}

/// Rows to compute: one when every argument is a constant.
pub fn rows(call: &Call<'_>) -> usize {
    if call.is_constant() { 1 } else { call.rows }
}

/// The answer of a kernel from its array: a scalar when every argument is a constant.
pub fn answer(call: &Call<'_>, array: ArrayRef) -> Result<ColumnarValue> {
    if call.is_constant() {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

/// One result per row.
pub fn each<O: Output>(call: &Call<'_>, f: impl FnMut(usize) -> O) -> Result<ColumnarValue> {
    answer(call, O::collect((0..rows(call)).map(f)))
}

/// One result per row; the first error ends the call.
pub fn try_each<O: Output + Default>(call: &Call<'_>, mut f: impl FnMut(usize) -> Result<O>) -> Result<ColumnarValue> {
    let mut failed: Option<DataFusionError> = None;
    let mut pace = Pace::begin();
    let array = O::collect((0..rows(call)).map(|row| {
        if failed.is_some() {
            return O::default();
        }
        pace.at(row).and_then(|()| f(row)).unwrap_or_else(|error| {
            failed = Some(error);
            O::default()
        })
    }));
    match failed {
        Some(error) => Err(error),
        None => answer(call, array),
    }
}

/// The longest text that a kernel makes for a row. Closures that write in a loop stop when they are beyond it.
pub const MAX_TEXT: usize = 64 << 20;
/// The most text that a kernel makes for a batch.
const MAX_BATCH_TEXT: usize = 2 << 30;

/// Counts a row's text; fails when it, or the batch's, is too long.
fn count_text(total: &mut usize, length: usize) -> Result<()> {
    *total += length;
    if length > MAX_TEXT {
        return exec_err!("a text would be longer than {MAX_TEXT} bytes");
    }
    if *total > MAX_BATCH_TEXT {
        return exec_err!("the texts of one batch of rows would be longer than {MAX_BATCH_TEXT} bytes");
    }
    Ok(())
}

/// A string per row: the closure appends to an empty buffer. Strings are never null.
pub fn each_text(call: &Call<'_>, mut f: impl FnMut(usize, &mut String)) -> Result<ColumnarValue> {
    let rows = rows(call);
    let mut builder = TextBuilder::new(rows);
    let mut text = String::new();
    let mut total = 0;
    let mut pace = Pace::begin();
    for row in 0..rows {
        pace.at(row)?;
        text.clear();
        f(row, &mut text);
        count_text(&mut total, text.len())?;
        builder.push(&text);
    }
    answer(call, builder.finish())
}

/// A string per row, written as UTF-8 bytes to an empty buffer. Strings are never null.
pub fn each_written(call: &Call<'_>, mut f: impl FnMut(usize, &mut Vec<u8>)) -> Result<ColumnarValue> {
    each_dynamic(call, |row, out| {
        f(row, out);
        true
    })
}

/// A dynamic value per row: the closure appends JSON text to an empty buffer; `false` is null.
pub fn each_dynamic(call: &Call<'_>, mut f: impl FnMut(usize, &mut Vec<u8>) -> bool) -> Result<ColumnarValue> {
    let rows = rows(call);
    let mut builder = TextBuilder::new(rows);
    let mut json = Vec::new();
    let mut total = 0;
    let mut pace = Pace::begin();
    for row in 0..rows {
        pace.at(row)?;
        json.clear();
        if f(row, &mut json) {
            count_text(&mut total, json.len())?;
            match std::str::from_utf8(&json) {
                Ok(text) => builder.push(text),
                Err(_) => return exec_err!("a value is not UTF-8"),
            }
        } else {
            builder.push_null();
        }
    }
    answer(call, builder.finish())
}

/// What a row of `each_piece` answers.
pub enum Piece {
    /// A part of the source's text, given in bytes: not copied.
    Part(Range<usize>),
    /// A new text.
    Text(String),
    /// The text that was appended to the buffer (`each_piece_or_new` only).
    New,
    /// Null.
    Null,
}

/// Strings cut from a source argument: the result points into the source's buffers.
pub fn each_piece(call: &Call<'_>, source: &Texts, mut f: impl FnMut(usize, &str) -> Piece) -> Result<ColumnarValue> {
    each_piece_or_new(call, source, |row, text, _| f(row, text))
}

/// Strings that are parts of a source argument's or new: the closure may append to an empty buffer instead.
pub fn each_piece_or_new(
    call: &Call<'_>,
    source: &Texts,
    mut f: impl FnMut(usize, &str, &mut String) -> Piece,
) -> Result<ColumnarValue> {
    let rows = rows(call);
    let mut builder = TextBuilder::over(source, rows);
    let mut new = String::new();
    let mut total = 0;
    let mut pace = Pace::begin();
    for row in 0..rows {
        pace.at(row)?;
        new.clear();
        match f(row, source.text(row), &mut new) {
            Piece::Part(range) => builder.push_part(row, range),
            Piece::Text(text) => {
                count_text(&mut total, text.len())?;
                builder.push(&text);
            }
            Piece::New => {
                count_text(&mut total, new.len())?;
                builder.push(&new);
            }
            Piece::Null => builder.push_null(),
        }
    }
    answer(call, builder.finish())
}

/// Texts longer than this stand in a buffer; shorter ones in the view itself.
const INLINE: usize = 12;
/// A block of new texts is closed at this size. A view's offset has 32 bits.
const BLOCK: usize = 1 << 20;

/// Shared buffers are kept only if the parts make up at least this share of them: else a few short texts would hold
/// the memory of whole documents, and the engine would count it against the query.
const MIN_SHARED_SHARE: usize = 4;

/// Builds a string view array of new texts and of parts of an existing one.
pub struct TextBuilder {
    /// Whose texts `push_part` cuts; its buffers are the first of `buffers`.
    source: Option<(StringViewArray, usize)>,
    /// Bytes that stand in the source's buffers.
    shared: usize,
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    block: Vec<u8>,
    /// Filled from the first null on.
    valid: Option<Vec<bool>>,
}

/// The buffer and the offset of a long view, whose layout is length, prefix, buffer, offset: 32 bits each, the lowest first.
fn place(view: u128) -> (usize, usize) {
    ((view >> 64) as u32 as usize, (view >> 96) as u32 as usize)
}

/// The length of a view's text.
fn length(view: u128) -> usize {
    view as u32 as usize
}

impl TextBuilder {
    /// For `rows` texts.
    pub fn new(rows: usize) -> Self {
        let views = Vec::with_capacity(rows);
        Self { source: None, shared: 0, views, buffers: Vec::new(), block: Vec::new(), valid: None }
    }

    /// For texts of which some are parts of `source`'s.
    pub fn over(source: &Texts, rows: usize) -> Self {
        let buffers = source.array.data_buffers().to_vec();
        Self { source: Some((source.array.clone(), source.mask)), buffers, ..Self::new(rows) }
    }

    /// Appends a copy of a text.
    pub fn push(&mut self, text: &str) {
        let view = if text.len() <= INLINE {
            make_view(text.as_bytes(), 0, 0)
        } else {
            if !self.block.is_empty() && self.block.len() + text.len() > BLOCK {
                self.close_block();
            }
            let offset = self.block.len();
            self.block.extend_from_slice(text.as_bytes());
            make_view(text.as_bytes(), self.buffers.len() as u32, offset as u32)
        };
        self.push_view(view);
    }

    /// Appends the bytes `range` of the source's text for `row` without copying them. A range that is not one of whole
    /// characters of the text gives `""`.
    pub fn push_part(&mut self, row: usize, range: Range<usize>) {
        let Some((source, mask)) = &self.source else { return self.push("") };
        let slot = row & mask;
        let text = if source.is_null(slot) { "" } else { source.value(slot) };
        let start = range.start;
        let view = match text.get(range) {
            Some(part) if part.len() > INLINE => {
                let (buffer, offset) = place(source.views()[slot]);
                self.shared += part.len();
                make_view(part.as_bytes(), buffer as u32, (offset + start) as u32)
            }
            part => make_view(part.unwrap_or("").as_bytes(), 0, 0),
        };
        self.push_view(view);
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        self.valid.get_or_insert_with(|| vec![true; self.views.len()]).push(false);
        self.views.push(0);
    }

    fn push_view(&mut self, view: u128) {
        self.views.push(view);
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
    }

    // The block under construction has the number that it will have when closed.
    fn close_block(&mut self) {
        if !self.block.is_empty() {
            self.buffers.push(Buffer::from_vec(std::mem::take(&mut self.block)));
        }
    }

    /// Lets go of the source's buffers when little of them is used.
    fn release_source(&mut self) {
        let Some((source, _)) = self.source.take() else { return };
        let count = source.data_buffers().len();
        let held: usize = source.data_buffers().iter().map(Buffer::len).sum();
        if count == 0 || self.shared.saturating_mul(MIN_SHARED_SHARE) >= held || self.shared > u32::MAX as usize {
            return;
        }
        let mut copy = Vec::with_capacity(self.shared);
        for view in &mut self.views {
            let (buffer, offset) = place(*view);
            if length(*view) > INLINE && buffer < count {
                let text = &self.buffers[buffer][offset..offset + length(*view)];
                *view = make_view(text, self.buffers.len() as u32, copy.len() as u32);
                copy.extend_from_slice(text);
            }
        }
        self.buffers.push(Buffer::from_vec(copy));
        // The numbers of the other buffers stay.
        self.buffers[..count].fill(Buffer::from_vec(Vec::<u8>::new()));
    }

    /// The array.
    pub fn finish(mut self) -> ArrayRef {
        self.close_block();
        self.release_source();
        let nulls = self.valid.map(NullBuffer::from);
        // SAFETY: every view was made from a `&str` and names a buffer of `buffers` at an offset where
        // exactly that text stands: appended to a block, copied when the source was released, or a part, checked
        // to consist of whole characters, of a text of the source, whose buffers come first.
        let array = unsafe { StringViewArray::new_unchecked(self.views.into(), self.buffers, nulls) };
        Arc::new(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: Vec<Option<&str>>) -> Texts {
        Texts::new(&ColumnarValue::Array(Arc::new(StringViewArray::from(values)))).unwrap()
    }

    fn cut(source: &Texts, range: Range<usize>) -> StringViewArray {
        let mut builder = TextBuilder::over(source, 6);
        builder.push_part(0, range);
        builder.push_part(1, 0..0);
        builder.push_null();
        builder.push_part(2, 0..2);
        builder.push_part(2, 0..3);
        builder.push("another text that is longer than twelve bytes");
        let array = builder.finish();
        array.to_data().validate_full().unwrap();
        array.as_any().downcast_ref::<StringViewArray>().unwrap().clone()
    }

    #[test]
    fn parts_share_the_buffers_of_the_source_or_are_copied_when_they_are_few() {
        let long = "a text that is longer than twelve bytes, and then once more a text";
        let source = texts(vec![Some(long), None, Some("héllo")]);
        for (range, shares) in [(2..60, true), (2..15, false)] {
            let array = cut(&source, range.clone());
            let read: Vec<_> = array.iter().collect();
            let new = "another text that is longer than twelve bytes";
            assert_eq!(read, [Some(&long[range]), Some(""), None, Some(""), Some("hé"), Some(new)]);
            assert_eq!(!array.data_buffers()[0].is_empty(), shares);
        }
    }

    #[test]
    fn blocks_are_closed_and_numbered_as_they_fill() {
        let text = "x".repeat(700_000);
        let mut builder = TextBuilder::new(3);
        for _ in 0..3 {
            builder.push(&text);
        }
        let array = builder.finish();
        array.to_data().validate_full().unwrap();
        let array = array.as_any().downcast_ref::<StringViewArray>().unwrap();
        assert!(array.iter().all(|value| value == Some(text.as_str())));
    }

    #[test]
    fn a_constant_is_seen_by_every_row() {
        let input = Longs::new(&ColumnarValue::Scalar(ScalarValue::Int64(Some(7)))).unwrap();
        assert_eq!((input.get(0), input.get(99), input.constant()), (Some(7), Some(7), Some(Some(7))));
        let input = Texts::new(&ColumnarValue::Scalar(ScalarValue::Utf8View(None))).unwrap();
        assert_eq!((input.text(5), input.get(5)), ("", None));
    }
}
