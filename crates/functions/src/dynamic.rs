//! Dynamic values behind one trait: JSON text today, a binary form later.
//!
//! A dynamic column holds compact JSON text in the canonical form of `kql::value::json`; SQL null is
//! dynamic null, and so is a JSON `null` inside an array or bag. `Dynamic` reads a value lazily: nothing is
//! parsed that is not asked for. `Path` is a prepared access path, `access` builds the engine expression of
//! `d.a[0]`, `Cells` writes typed values as elements, `ArrayWriter` and `BagWriter` build new values.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{datetime, guid, json, real, timespan};

use crate::call::Call;
use crate::scalar::kernel::{Bools, Bytes16, Ints, Longs, Reals, Texts};

mod access;
mod path;
mod text;

pub use access::{access, access_at};
pub use path::{Path, Step};
pub use text::Json;

/// What a dynamic value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `dynamic(null)`, a JSON null, a missing value.
    Null,
    /// `true`, `false`
    Bool,
    /// A whole number that a long holds.
    Long,
    /// Any other number.
    Double,
    /// A string.
    String,
    /// An array.
    Array,
    /// A property bag.
    Bag,
}

impl Kind {
    /// The answer of `gettype`. Source: kql-behaviour section 6.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Bag => "dictionary",
        }
    }
}

/// 2^63, the first real above every long; its negative is the smallest long.
pub(crate) const LONG_BOUND: f64 = 9_223_372_036_854_775_808.0;

/// A number of a dynamic value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number that a long holds.
    Long(i64),
    /// Any other number.
    Double(f64),
}

impl Number {
    /// As a real.
    pub fn to_real(self) -> f64 {
        match self {
            Number::Long(value) => value as f64,
            Number::Double(value) => value,
        }
    }

    /// As a long if it is one exactly: `2.0` is 2.
    pub fn exact_long(self) -> Option<i64> {
        match self {
            Number::Long(value) => Some(value),
            Number::Double(value) if value.fract() == 0.0 && (-LONG_BOUND..LONG_BOUND).contains(&value) => {
                Some(value as i64)
            }
            Number::Double(_) => None,
        }
    }
}

/// A dynamic value, read lazily. Access never fails: what is not there, or is of another kind, is `None`.
pub trait Dynamic<'a>: Copy {
    /// What it is.
    fn kind(self) -> Kind;
    /// The value of a bool.
    fn boolean(self) -> Option<bool>;
    /// The value of a number.
    fn number(self) -> Option<Number>;
    /// The text of a string.
    fn string(self) -> Option<Cow<'a, str>>;
    /// A bag's property.
    fn property(self, key: &str) -> Option<Self>;
    /// An array's element; negative positions count from the end.
    fn element(self, position: i64) -> Option<Self>;
    /// The value at the end of a path.
    fn get(self, path: &Path) -> Option<Self>;
    /// An array's elements; none for any other kind.
    fn elements(self) -> impl Iterator<Item = Self>;
    /// A bag's properties in their order; none for any other kind.
    fn entries(self) -> impl Iterator<Item = (Cow<'a, str>, Self)>;
    /// Its JSON text.
    fn json(self) -> Cow<'a, str>;

    /// Whether it is null.
    fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The elements if it is an array.
    fn array(self) -> Option<Vec<Self>> {
        (self.kind() == Kind::Array).then(|| self.elements().collect())
    }

    /// The text by the rules of `tostring`: a string unquoted, null empty, anything else its JSON text.
    fn text(self) -> Cow<'a, str> {
        match self.kind() {
            Kind::Null => Cow::Borrowed(""),
            Kind::String => self.string().unwrap_or_default(),
            _ => self.json(),
        }
    }

    /// What `Element` equality and hashing go by.
    fn key(self) -> Element<'a> {
        match self.kind() {
            Kind::Null => Element::Null,
            Kind::Bool => Element::Bool(self.boolean() == Some(true)),
            Kind::Long | Kind::Double => match self.number() {
                Some(number) => match number.exact_long() {
                    Some(value) => Element::Long(value),
                    None => Element::Double(number.to_real()),
                },
                None => Element::Null,
            },
            Kind::String => Element::String(self.string().unwrap_or_default()),
            Kind::Array | Kind::Bag => {
                let mut sorted = Vec::new();
                write_sorted(self, &mut sorted, 0);
                Element::Nested(sorted)
            }
        }
    }
}

/// A value as `in`, the set functions and `array_index_of` compare it: by kind and value, numbers by
/// their value whatever their form (`2` is `2.0`), bags whatever the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Element<'a> {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// A number that is not whole, or too large for a long.
    Double(f64),
    /// string
    String(Cow<'a, str>),
    /// The text with sorted keys of an array or bag.
    Nested(Vec<u8>),
}

// JSON has no NaN: the doubles that occur are equal to themselves.
impl Eq for Element<'_> {}

impl Hash for Element<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Element::Null => {}
            Element::Bool(value) => value.hash(state),
            Element::Long(value) => value.hash(state),
            Element::Double(value) => value.to_bits().hash(state),
            Element::String(value) => value.hash(state),
            Element::Nested(value) => value.hash(state),
        }
    }
}

/// Values deeper than this are written as they stand by `write_sorted`.
const MAX_SORTED_DEPTH: usize = 256;

/// Appends the JSON text with the keys of every bag in order. Source: dynamic_to_json() page.
pub fn write_sorted<'a, D: Dynamic<'a>>(value: D, out: &mut Vec<u8>, depth: usize) {
    match value.kind() {
        Kind::Array if depth < MAX_SORTED_DEPTH => {
            let mut array = ArrayWriter::new(out);
            for element in value.elements() {
                write_sorted(element, array.next(), depth + 1);
            }
            array.close();
        }
        Kind::Bag if depth < MAX_SORTED_DEPTH => {
            let mut entries: Vec<_> = value.entries().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let mut bag = BagWriter::new(out);
            for (key, value) in entries {
                write_sorted(value, bag.key(&key), depth + 1);
            }
            bag.close();
        }
        _ => out.extend_from_slice(value.json().as_bytes()),
    }
}

/// The meaning of `parse_json`: valid JSON is its value in canonical form, other text a JSON string of it,
/// empty text null. Source: kql-behaviour section 7.
pub fn parse(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    match json::canonical(text) {
        Some(value) if value == "null" => None,
        Some(value) => Some(value),
        None => Some(quoted(text)),
    }
}

/// The JSON string of a text.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::quote(text, &mut out);
    String::from_utf8(out).expect("a quoted text is UTF-8")
}

/// Writes an array.
pub struct ArrayWriter<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> ArrayWriter<'a> {
    /// Opens an array at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, is_empty: true }
    }

    /// Where the next element is to be appended; exactly one value must be.
    #[allow(clippy::should_implement_trait, reason = "the next place, not an iterator's next item")]
    pub fn next(&mut self) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out
    }

    /// Appends a value.
    pub fn push<'v>(&mut self, value: impl Dynamic<'v>) {
        let json = value.json();
        self.next().extend_from_slice(json.as_bytes());
    }

    /// Appends a null.
    pub fn null(&mut self) {
        self.next().extend_from_slice(b"null");
    }

    /// Appends a string.
    pub fn string(&mut self, text: &str) {
        json::quote(text, self.next());
    }

    /// Appends a long.
    pub fn long(&mut self, value: i64) {
        write_long(value, self.next());
    }

    /// Ends the array.
    pub fn close(self) {
        self.out.push(b']');
    }
}

/// Writes a property bag. The caller sees to it that no key comes twice.
pub struct BagWriter<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> BagWriter<'a> {
    /// Opens a bag at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Where the value of this key is to be appended; exactly one value must be.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        json::quote(key, self.out);
        self.out.push(b':');
        self.out
    }

    /// Ends the bag.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

/// Appends a long.
pub fn write_long(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// An argument of any KQL type, written as a dynamic value: datetime, timespan, guid and decimal become
/// strings, reals keep a fraction, NaN and the infinities are strings. Source: kql-behaviour section 7.
pub enum Cells {
    /// bool
    Bool(Bools),
    /// int
    Int(Ints),
    /// long
    Long(Longs),
    /// real
    Real(Reals),
    /// decimal
    Decimal(Bytes16),
    /// string
    String(Texts),
    /// datetime
    DateTime(Longs),
    /// timespan
    TimeSpan(Longs),
    /// guid
    Guid(Bytes16),
    /// dynamic
    Dynamic(Texts),
}

impl Cells {
    /// The argument at this position.
    pub fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        Self::new(&call.args[position], call.types[position])
    }

    /// Reads an engine value of this KQL type.
    pub fn new(value: &ColumnarValue, ty: KqlType) -> Result<Self> {
        Ok(match ty {
            KqlType::Bool => Cells::Bool(Bools::new(value)?),
            KqlType::Int => Cells::Int(Ints::new(value)?),
            KqlType::Long => Cells::Long(Longs::new(value)?),
            KqlType::Real => Cells::Real(Reals::new(value)?),
            KqlType::Decimal => Cells::Decimal(Bytes16::new(value)?),
            KqlType::String => Cells::String(Texts::new(value)?),
            KqlType::DateTime => Cells::DateTime(Longs::new(value)?),
            KqlType::TimeSpan => Cells::TimeSpan(Longs::new(value)?),
            KqlType::Guid => Cells::Guid(Bytes16::new(value)?),
            KqlType::Dynamic => Cells::Dynamic(Texts::new(value)?),
        })
    }

    /// Appends the row's value as JSON; `false` and nothing appended for null. A null string is `""`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let quote = |text: &dyn Fn(&mut Vec<u8>), out: &mut Vec<u8>| {
            out.push(b'"');
            text(out);
            out.push(b'"');
        };
        match self {
            Cells::Bool(input) => match input.get(row) {
                Some(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
                None => return false,
            },
            Cells::Int(input) => match input.get(row) {
                Some(value) => write_long(i64::from(value), out),
                None => return false,
            },
            Cells::Long(input) => match input.get(row) {
                Some(value) => write_long(value, out),
                None => return false,
            },
            Cells::Real(input) => match input.get(row) {
                Some(value) => real::write_json(value, out),
                None => return false,
            },
            Cells::Decimal(input) => match input.get(row) {
                Some(value) => quote(&|out| Decimal::from_bytes(value).write(out), out),
                None => return false,
            },
            Cells::String(input) => json::quote(input.text(row), out),
            Cells::DateTime(input) => match input.get(row) {
                Some(value) => quote(&|out| datetime::write_full(value, out), out),
                None => return false,
            },
            Cells::TimeSpan(input) => match input.get(row) {
                Some(value) => quote(&|out| timespan::write(value, out), out),
                None => return false,
            },
            Cells::Guid(input) => match input.get(row) {
                Some(value) => quote(&|out| guid::write(&value, out), out),
                None => return false,
            },
            Cells::Dynamic(input) => match input.get(row) {
                Some("null") | None => return false,
                Some(value) => out.extend_from_slice(value.as_bytes()),
            },
        }
        true
    }

    /// Appends the row's value, `null` for null.
    pub fn write_or_null(&self, row: usize, out: &mut Vec<u8>) {
        if !self.write(row, out) {
            out.extend_from_slice(b"null");
        }
    }

    /// Whether the row's value is null or an empty string.
    pub fn is_null_or_empty(&self, row: usize) -> bool {
        match self {
            Cells::Bool(input) => input.get(row).is_none(),
            Cells::Int(input) => input.get(row).is_none(),
            Cells::Real(input) => input.get(row).is_none(),
            Cells::Long(input) | Cells::DateTime(input) | Cells::TimeSpan(input) => input.get(row).is_none(),
            Cells::Decimal(input) | Cells::Guid(input) => input.get(row).is_none(),
            Cells::String(input) => input.text(row).is_empty(),
            Cells::Dynamic(input) => matches!(input.get(row), None | Some("null" | "\"\"")),
        }
    }
}
