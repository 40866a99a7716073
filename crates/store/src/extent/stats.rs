//! Per-column statistics of an extent: smallest and largest value and the number of nulls, in engine units.
//!
//! Bounds are true bounds always: a shortened text still lies below (or above) every value. Only bounds marked
//! `exact` are values of the column, which is what `min()`, `max()` and constant folding need.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, StringViewArray};
use arrow::compute::kernels::aggregate;
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};
use tidewater_kql::KqlType;
use uuid::Uuid;

/// Longest text kept as a bound, in bytes.
const MAX_TEXT: usize = 96;

/// A bound of a column's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// bool.
    #[serde(rename = "b")]
    Bool(bool),
    /// int, long, datetime and timespan (ticks).
    #[serde(rename = "i")]
    Int(i64),
    /// real, as its bits: JSON has no infinity.
    #[serde(rename = "r", with = "bits")]
    Real(f64),
    /// string.
    #[serde(rename = "s")]
    Text(String),
    /// guid and decimal: 16 bytes that sort as the values do.
    #[serde(rename = "x")]
    Bytes(Uuid),
}

mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

impl Bound {
    /// The bound as the engine's value for a column of this type; `None` when the two do not fit.
    pub fn scalar(&self, ty: KqlType) -> Option<ScalarValue> {
        Some(match (ty, self) {
            (KqlType::Bool, Bound::Bool(value)) => ScalarValue::Boolean(Some(*value)),
            (KqlType::Int, Bound::Int(value)) => ScalarValue::Int32(Some(i32::try_from(*value).ok()?)),
            (KqlType::Long | KqlType::DateTime | KqlType::TimeSpan, Bound::Int(value)) => {
                ScalarValue::Int64(Some(*value))
            }
            (KqlType::Real, Bound::Real(value)) => ScalarValue::Float64(Some(*value)),
            (KqlType::String | KqlType::Dynamic, Bound::Text(value)) => ScalarValue::Utf8View(Some(value.clone())),
            (KqlType::Guid | KqlType::Decimal, Bound::Bytes(value)) => {
                ScalarValue::FixedSizeBinary(16, Some(value.as_bytes().to_vec()))
            }
            _ => return None,
        })
    }
}

/// Statistics of one column of one extent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnStats {
    /// Null values.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub nulls: u64,
    /// No value is smaller; `None` when all are null or nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Bound>,
    /// No value is larger; `None` when all are null or nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Bound>,
    /// The bounds are values of the column.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// The file has the hidden column with the datetime's 100 ns digit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tick: bool,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Collects a column's statistics over its batches.
#[derive(Debug)]
pub(crate) struct Collector {
    ty: KqlType,
    nulls: u64,
    range: Range,
    /// Set when bounds would lie: a NaN has no place in the order.
    unknown: bool,
}

#[derive(Debug)]
enum Range {
    Empty,
    Bool(bool, bool),
    Int(i64, i64),
    Real(f64, f64),
    Text(String, String),
    Bytes([u8; 16], [u8; 16]),
}

impl Collector {
    pub(crate) fn new(ty: KqlType) -> Self {
        Self { ty, nulls: 0, range: Range::Empty, unknown: false }
    }

    /// Takes in an array of the engine's type for this column.
    pub(crate) fn add(&mut self, array: &ArrayRef) {
        if self.ty != KqlType::String {
            self.nulls += array.null_count() as u64;
        }
        match self.ty {
            KqlType::Bool => self.add_bool(array.as_boolean()),
            KqlType::Int => self.add_int::<Int32Type>(array),
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => self.add_int::<Int64Type>(array),
            KqlType::Real => self.add_real(array),
            KqlType::String => self.add_text(array.as_string_view()),
            KqlType::Guid | KqlType::Decimal => self.add_bytes(array.as_fixed_size_binary()),
            // JSON text has no order that a filter could use.
            KqlType::Dynamic => {}
        }
    }

    fn add_bool(&mut self, array: &BooleanArray) {
        if let (Some(low), Some(high)) = (aggregate::min_boolean(array), aggregate::max_boolean(array)) {
            self.range = match self.range {
                Range::Bool(min, max) => Range::Bool(min & low, max | high),
                _ => Range::Bool(low, high),
            };
        }
    }

    fn add_int<T: ArrowPrimitiveType>(&mut self, array: &ArrayRef)
    where
        T::Native: Into<i64>,
    {
        let array = array.as_primitive::<T>();
        if let (Some(low), Some(high)) = (aggregate::min(array), aggregate::max(array)) {
            let (low, high) = (low.into(), high.into());
            self.range = match self.range {
                Range::Int(min, max) => Range::Int(min.min(low), max.max(high)),
                _ => Range::Int(low, high),
            };
        }
    }

    fn add_real(&mut self, array: &ArrayRef) {
        let array = array.as_primitive::<arrow::datatypes::Float64Type>();
        // Both kernels order as `total_cmp` does: a NaN of either sign shows as one of the two.
        if let (Some(low), Some(high)) = (aggregate::min(array), aggregate::max(array)) {
            self.unknown |= low.is_nan() || high.is_nan();
            self.range = match self.range {
                Range::Real(min, max) => Range::Real(min.min(low), max.max(high)),
                _ => Range::Real(low, high),
            };
        }
    }

    fn add_text(&mut self, array: &StringViewArray) {
        let mut low = aggregate::min_string_view(array);
        let high = aggregate::max_string_view(array);
        if array.null_count() > 0 {
            // A null string reads as the empty one, which nothing precedes.
            low = Some("");
        }
        let (Some(low), Some(high)) = (low, high.or(low)) else { return };
        match &mut self.range {
            Range::Text(min, max) => {
                if low < min.as_str() {
                    low.clone_into(min);
                }
                if high > max.as_str() {
                    high.clone_into(max);
                }
            }
            range => *range = Range::Text(low.to_string(), high.to_string()),
        }
    }

    fn add_bytes(&mut self, array: &FixedSizeBinaryArray) {
        let mut bounds: Option<([u8; 16], [u8; 16])> = match self.range {
            Range::Bytes(min, max) => Some((min, max)),
            _ => None,
        };
        for value in array.iter().flatten() {
            let Ok(value) = <[u8; 16]>::try_from(value) else { continue };
            bounds = Some(match bounds {
                Some((min, max)) => (min.min(value), max.max(value)),
                None => (value, value),
            });
        }
        if let Some((min, max)) = bounds {
            self.range = Range::Bytes(min, max);
        }
    }

    pub(crate) fn finish(self, tick: bool) -> ColumnStats {
        let nulls = self.nulls;
        let (min, max, exact) = match self.range {
            _ if self.unknown => (None, None, false),
            Range::Empty => (None, None, false),
            Range::Bool(min, max) => (Some(Bound::Bool(min)), Some(Bound::Bool(max)), true),
            Range::Int(min, max) => (Some(Bound::Int(min)), Some(Bound::Int(max)), true),
            Range::Real(min, max) => {
                // The two zeros are equal to KQL and two values to the engine: the bounds must hold both.
                let exact = min != 0.0 && max != 0.0;
                let min = if min == 0.0 { -0.0 } else { min };
                let max = if max == 0.0 { 0.0 } else { max };
                (Some(Bound::Real(min)), Some(Bound::Real(max)), exact)
            }
            Range::Text(min, max) => {
                let low = shorten_down(&min);
                let high = shorten_up(&max);
                let exact = low.len() == min.len() && high.as_deref() == Some(max.as_str());
                (Some(Bound::Text(low.to_string())), high.map(Bound::Text), exact)
            }
            Range::Bytes(min, max) => {
                (Some(Bound::Bytes(Uuid::from_bytes(min))), Some(Bound::Bytes(Uuid::from_bytes(max))), true)
            }
        };
        ColumnStats { nulls, min, max, exact, tick }
    }
}

/// A prefix of at most [`MAX_TEXT`] bytes: never above the text.
fn shorten_down(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The shortest text of at most [`MAX_TEXT`] bytes that no text with this prefix exceeds; `None` if there is none.
fn shorten_up(text: &str) -> Option<String> {
    let prefix = shorten_down(text);
    if prefix.len() == text.len() {
        return Some(text.to_string());
    }
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // UTF-8 sorts as code points do; the surrogates between are no characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(other as u32 + 1),
        };
        // The next character may take a byte more than the last; drop one further rather than exceed the limit.
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    fn of(ty: KqlType, arrays: &[ArrayRef]) -> ColumnStats {
        let mut collector = Collector::new(ty);
        arrays.iter().for_each(|array| collector.add(array));
        collector.finish(false)
    }

    #[test]
    fn bounds_span_all_batches_and_nulls_are_counted() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
        let two: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), Some(2)]));
        let stats = of(KqlType::Long, &[one, two]);
        assert_eq!((stats.nulls, stats.min, stats.max), (1, Some(Bound::Int(-7)), Some(Bound::Int(5))));
        assert!(stats.exact);
    }

    #[test]
    fn a_column_with_a_nan_has_no_bounds() {
        for nan in [f64::NAN, -f64::NAN] {
            let array: ArrayRef = Arc::new(Float64Array::from(vec![1.0, nan, 3.0]));
            let stats = of(KqlType::Real, &[array]);
            assert_eq!((stats.min, stats.max, stats.exact), (None, None, false));
        }
    }

    #[test]
    fn bounds_at_zero_hold_both_zeros() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 0.0]));
        let stats = of(KqlType::Real, &[array]);
        let (Some(Bound::Real(min)), Some(Bound::Real(max))) = (stats.min, stats.max) else { panic!("no bounds") };
        assert!(min.is_sign_negative() && max.is_sign_positive() && !stats.exact);
    }

    #[test]
    fn null_strings_count_as_empty_and_not_as_null() {
        let array: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"), None]));
        let stats = of(KqlType::String, &[array]);
        assert_eq!((stats.nulls, stats.min), (0, Some(Bound::Text(String::new()))));
        let array: ArrayRef = Arc::new(StringViewArray::from(vec![None::<&str>]));
        let stats = of(KqlType::String, &[array]);
        assert_eq!(stats.max, Some(Bound::Text(String::new())));
    }

    #[test]
    fn a_shortened_text_still_bounds_the_whole() {
        for long in ["x".repeat(500), "\u{10ffff}".repeat(100), format!("{}\u{d7ff}tail", "a".repeat(93))] {
            let array: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str()]));
            let stats = of(KqlType::String, &[array]);
            assert!(!stats.exact);
            let Some(Bound::Text(min)) = stats.min else { panic!("no lower bound") };
            assert!(min.as_str() <= long.as_str());
            if let Some(Bound::Text(max)) = stats.max {
                assert!(max.as_str() > long.as_str());
            }
        }
    }

    #[test]
    fn stored_statistics_come_back_the_same() {
        let stats = ColumnStats {
            nulls: 3,
            min: Some(Bound::Real(f64::NEG_INFINITY)),
            max: Some(Bound::Real(-0.0)),
            exact: true,
            tick: true,
        };
        let text = serde_json::to_string(&stats).unwrap();
        let back: ColumnStats = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{back:?}"), format!("{stats:?}"));
    }
}
