//! `series_*`: functions over a dynamic array of numbers.
//!
//! Input: arrays as JSON text. Output: an array, a number, or several values at once. The latter
//! come as one dynamic array, which the binder splits into columns (`multi_columns`).

pub mod elements;
pub mod fill;
pub mod filters;
pub mod fit;
mod fourier;
pub mod seasons;
pub mod stats;

use datafusion_common::Result;
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, real};

use crate::call::Call;
use crate::dynamic::{ArrayWriter, BagWriter, Dynamic, Json, Number, write_long};
use crate::scalar::kernel::Texts;
use crate::scalar::rows::Numbers;
use crate::signature::Accepts;

/// A series, or a number that stands for each of its elements.
pub(crate) const SERIES_OR_NUMBER: Accepts =
    Accepts::OneOf(&[KqlType::Dynamic, KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal]);

/// The columns of a function of several values: suffix of the automatic name and type, in order.
///
/// The function itself gives a dynamic array of as many values (null for null in every column):
/// column `n` is element `n`, converted to the type. `series_stats(d)` is named `series_stats_d_min`, ...
pub fn multi_columns(name: &str) -> Option<&'static [(&'static str, KqlType)]> {
    use KqlType::{Dynamic, Long, Real};
    const FIT: &[(&str, KqlType)] = &[
        ("rsquare", Real),
        ("slope", Real),
        ("variance", Real),
        ("rvariance", Real),
        ("interception", Real),
        ("line_fit", Dynamic),
    ];
    const DECOMPOSED: &[(&str, KqlType)] =
        &[("baseline", Dynamic), ("seasonal", Dynamic), ("trend", Dynamic), ("residual", Dynamic)];
    const PERIODS: &[(&str, KqlType)] = &[("periods", Dynamic), ("scores", Dynamic)];
    const COMPLEX: &[(&str, KqlType)] = &[("real", Dynamic), ("imag", Dynamic)];
    Some(match name {
        "series_stats" => &[
            ("min", Real),
            ("min_idx", Long),
            ("max", Real),
            ("max_idx", Long),
            ("avg", Real),
            ("stdev", Real),
            ("variance", Real),
        ],
        "series_fit_line" => FIT,
        "series_fit_2lines" => &[
            ("rsquare", Real),
            ("split_idx", Long),
            ("variance", Real),
            ("rvariance", Real),
            ("line_fit", Dynamic),
            ("right_rsquare", Real),
            ("right_slope", Real),
            ("right_interception", Real),
            ("right_variance", Real),
            ("right_rvariance", Real),
            ("left_rsquare", Real),
            ("left_slope", Real),
            ("left_interception", Real),
            ("left_variance", Real),
            ("left_rvariance", Real),
        ],
        "series_fit_poly" => &[
            ("rsquare", Real),
            ("coefficients", Dynamic),
            ("variance", Real),
            ("rvariance", Real),
            ("poly_fit", Dynamic),
        ],
        "series_periods_detect" | "series_periods_validate" => PERIODS,
        "series_decompose" | "series_decompose_forecast" => DECOMPOSED,
        "series_decompose_anomalies" => &[("ad_flag", Dynamic), ("ad_score", Dynamic), ("baseline", Dynamic)],
        "series_fft" | "series_ifft" => COMPLEX,
        _ => return None,
    })
}

/// An element of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item {
    /// Null, or no number.
    None,
    /// A whole number, or the ticks of a datetime.
    Long(i64),
    /// Any other number.
    Real(f64),
}

impl Item {
    pub(crate) fn real(self) -> Option<f64> {
        match self {
            Item::None => None,
            Item::Long(value) => Some(value as f64),
            Item::Real(value) => Some(value),
        }
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Item::None => out.extend_from_slice(b"null"),
            Item::Long(value) => write_long(value, out),
            Item::Real(value) => real::write_json(value, out),
        }
    }

    /// The number in a JSON value.
    pub(crate) fn of(value: Json<'_>) -> Item {
        if let Some(number) = value.number() {
            return match number {
                Number::Long(value) => Item::Long(value),
                Number::Double(value) => Item::Real(value),
            };
        }
        // The specials are strings in a dynamic value, and so are datetimes, which count by their ticks.
        match value.as_str() {
            "\"NaN\"" => Item::Real(f64::NAN),
            "\"Infinity\"" => Item::Real(f64::INFINITY),
            "\"-Infinity\"" => Item::Real(f64::NEG_INFINITY),
            text if text.starts_with('"') && text.ends_with("Z\"") => {
                datetime::parse(&text[1..text.len() - 1]).map_or(Item::None, Item::Long)
            }
            _ => Item::None,
        }
    }
}

/// The elements of an array; `None` for anything else.
pub(crate) fn items(text: Option<&str>) -> Option<Vec<Item>> {
    let text = text.filter(|text| text.starts_with('['))?;
    Some(Json::new(Some(text)).elements().map(Item::of).collect())
}

/// The numbers of an array; `None` when it is no array, or an element is no number.
pub(crate) fn reals(text: Option<&str>) -> Option<Vec<f64>> {
    let text = text.filter(|text| text.starts_with('['))?;
    Json::new(Some(text)).elements().map(|element| Item::of(element).real()).collect()
}

/// An argument that is a series or a number.
pub(crate) enum Operands {
    Series(Texts),
    Numbers(Numbers),
}

/// The operand in a row.
pub(crate) enum Operand {
    Series(Vec<Item>),
    Number(Item),
}

impl Operands {
    pub(crate) fn of(call: &Call<'_>, position: usize) -> Result<Operands> {
        Ok(match call.types.get(position) {
            Some(KqlType::Dynamic) => Operands::Series(Texts::of(call, position)?),
            _ => Operands::Numbers(Numbers::of(call, position)?),
        })
    }

    /// `None` for a dynamic that is neither an array nor a number.
    pub(crate) fn get(&self, row: usize) -> Option<Operand> {
        match self {
            Operands::Series(texts) => {
                let text = texts.get(row)?;
                match items(Some(text)) {
                    Some(items) => Some(Operand::Series(items)),
                    None => match Item::of(Json::new(Some(text))) {
                        Item::None => None,
                        number => Some(Operand::Number(number)),
                    },
                }
            }
            Operands::Numbers(numbers) => Some(Operand::Number(match numbers {
                Numbers::Int(_) | Numbers::Long(_) => numbers.long(row).map_or(Item::None, Item::Long),
                Numbers::Real(_) | Numbers::Decimal(_) => numbers.real(row).map_or(Item::None, Item::Real),
            })),
        }
    }
}

/// An optional argument of a numeric type.
pub(crate) fn optional_numbers(call: &Call<'_>, position: usize) -> Result<Option<Numbers>> {
    if position < call.args.len() { Ok(Some(Numbers::of(call, position)?)) } else { Ok(None) }
}

/// Appends a JSON array of reals.
pub(crate) fn write_reals(values: &[f64], out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    for value in values {
        real::write_json(*value, array.next());
    }
    array.close();
}

/// One of several values that a function gives.
pub(crate) enum Value<'a> {
    Real(f64),
    Long(i64),
    Reals(&'a [f64]),
    Longs(&'a [i64]),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Real(value) => real::write_json(*value, out),
            Value::Long(value) => write_long(*value, out),
            Value::Reals(values) => write_reals(values, out),
            Value::Longs(values) => {
                let mut array = ArrayWriter::new(out);
                values.iter().for_each(|value| array.long(*value));
                array.close();
            }
        }
    }
}

/// Appends several values as one array.
pub(crate) fn write_values(values: &[Value<'_>], out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    values.iter().for_each(|value| value.write(array.next()));
    array.close();
}

/// Appends several values as a bag.
pub(crate) fn write_bag(values: &[(&str, Value<'_>)], out: &mut Vec<u8>) {
    let mut bag = BagWriter::new(out);
    values.iter().for_each(|(key, value)| value.write(bag.key(key)));
    bag.close();
}

/// The value below which `part` of the sorted values lie, interpolated. The values must not be empty.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests;
