//! Dynamic arrays. What is not an array is null, or empty among several. Source: kql-behaviour section 7 and the
//! pages of the functions.

use std::cmp::Ordering;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::timespan::TICKS_PER_HOUR;
use tidewater_kql::value::{datetime, real, timespan};

use super::kernel::{Integers, MAX_TEXT, Texts, each, each_dynamic, each_text};
use super::rows::{TO_DYNAMIC, TO_LONG, TO_REAL, TO_STRING, row};
use crate::call::Call;
use crate::dynamic::{ArrayWriter, Cells, Dynamic, Json, Kind};
use crate::operator::equals_cell;
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, DYNAMIC, LONG, Signature, optional, repeated, required, sig};

const ANY: Accepts = Accepts::Any;
const ARRAY_TO_DYNAMIC: &[Signature] = &[sig(&[required("array", DYNAMIC)], TO_DYNAMIC)];
const ARRAYS: &[Signature] =
    &[sig(&[required("array", DYNAMIC), required("array", DYNAMIC), repeated("array", DYNAMIC)], TO_DYNAMIC)];
const ROTATE: &[Signature] = &[sig(&[required("array", DYNAMIC), required("count", LONG)], TO_DYNAMIC)];
const SHIFT: &[Signature] =
    &[sig(&[required("array", DYNAMIC), required("count", LONG), optional("default_value", ANY)], TO_DYNAMIC)];
const SORT: &[Signature] = &[sig(&[required("array", DYNAMIC), repeated("array", SORTED)], TO_DYNAMIC)];
/// The arrays to sort along, and the flag that may come last.
const SORTED: Accepts = Accepts::OneOf(&[KqlType::Dynamic, KqlType::Bool]);
const RANGED: Accepts = Accepts::OneOf(&[
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::DateTime,
    KqlType::TimeSpan,
]);

/// Elements that `range` and `repeat` make at most. Source: range() page.
const MAX_ELEMENTS: usize = 1 << 20;

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "array_length",
        &[sig(&[required("array", DYNAMIC)], TO_LONG)],
        array_length,
        "Number of elements; null for what is no array.",
        "array-length-function",
        aliases: &["arraylength"],
        examples: &[("print array_length(dynamic([1, 2]))", "2")],
    ),
    row!(
        "array_concat",
        &[sig(&[required("array", DYNAMIC), repeated("array", DYNAMIC)], TO_DYNAMIC)],
        array_concat,
        "The elements of all arrays in one.",
        "array-concat-function",
        examples: &[("print array_concat(dynamic([1]), dynamic([2]))", "[1,2]")],
    ),
    row!(
        "array_iff",
        &[sig(&[required("condition_array", DYNAMIC), required("when_true", ANY), required("when_false", ANY)], TO_DYNAMIC)],
        array_iff,
        "For each condition the element at its place of one array or the other.",
        "array-iff-function",
        aliases: &["array_iif"],
        examples: &[("print array_iff(dynamic([true,false]), dynamic([1,2]), dynamic([3,4]))", "[1,4]")],
    ),
    row!(
        "array_index_of",
        &[sig(
            &[
                required("array", DYNAMIC),
                required("value", ANY),
                optional("start", LONG),
                optional("length", LONG),
                optional("occurrence", LONG),
            ],
            TO_LONG,
        )],
        array_index_of,
        "Position of an occurrence of the value, -1 where there is none.",
        "array-index-of-function",
        examples: &[("print array_index_of(dynamic(['a','b']), 'b')", "1")],
    ),
    row!(
        "array_slice",
        &[sig(&[required("array", DYNAMIC), required("start", LONG), required("end", LONG)], TO_DYNAMIC)],
        array_slice,
        "The elements from one position to another, both included; negative ones count from the end.",
        "array-slice-function",
        examples: &[("print array_slice(dynamic([1,2,3]), 1, -1)", "[2,3]")],
    ),
    row!(
        "array_split",
        &[sig(
            &[required("array", DYNAMIC), required("index", Accepts::OneOf(&[KqlType::Int, KqlType::Long, KqlType::Dynamic]))],
            TO_DYNAMIC,
        )],
        array_split,
        "The array cut before one position or several.",
        "array-split-function",
        examples: &[("print array_split(dynamic([1,2,3]), 1)", "[[1],[2,3]]")],
    ),
    row!(
        "array_shift_left",
        SHIFT,
        array_shift_left,
        "The elements moved to the left, the places that fall free filled with a value.",
        "array-shift-left-function",
        examples: &[("print array_shift_left(dynamic([1,2,3]), 1)", "[2,3,null]")],
    ),
    row!(
        "array_shift_right",
        SHIFT,
        array_shift_right,
        "The elements moved to the right, the places that fall free filled with a value.",
        "array-shift-right-function",
        examples: &[("print array_shift_right(dynamic([1,2,3]), 1, 0)", "[0,1,2]")],
    ),
    row!(
        "array_rotate_left",
        ROTATE,
        array_rotate_left,
        "The elements moved to the left and in again at the right.",
        "array-rotate-left-function",
        examples: &[("print array_rotate_left(dynamic([1,2,3]), 1)", "[2,3,1]")],
    ),
    row!(
        "array_rotate_right",
        ROTATE,
        array_rotate_right,
        "The elements moved to the right and in again at the left.",
        "array-rotate-right-function",
        examples: &[("print array_rotate_right(dynamic([1,2,3]), 1)", "[3,1,2]")],
    ),
    row!(
        "array_reverse",
        ARRAY_TO_DYNAMIC,
        array_reverse,
        "The elements in reverse order.",
        "array-reverse-function",
        examples: &[("print array_reverse(dynamic([1,2]))", "[2,1]")],
    ),
    row!(
        "array_sort_asc",
        SORT,
        array_sort_asc,
        "The elements in ascending order; further arrays are ordered along.",
        "array-sort-asc-function",
        name_rule: NameRule::Affix("", "_sorted"),
        examples: &[("print array_sort_asc(dynamic([3,1,2]))", "[1,2,3]")],
    ),
    row!(
        "array_sort_desc",
        SORT,
        array_sort_desc,
        "The elements in descending order; further arrays are ordered along.",
        "array-sort-desc-function",
        name_rule: NameRule::Affix("", "_sorted"),
        examples: &[("print array_sort_desc(dynamic([3,1,2]))", "[3,2,1]")],
    ),
    row!(
        "array_sum",
        &[sig(&[required("array", DYNAMIC)], TO_REAL)],
        array_sum,
        "Sum of the numbers; null when there is none or an element is something else.",
        "array-sum-function",
        examples: &[("print array_sum(dynamic([1,2,3]))", "6.0")],
    ),
    row!(
        "range",
        &[sig(&[required("start", RANGED), required("stop", RANGED), optional("step", RANGED)], TO_DYNAMIC)],
        range,
        "The values from `start` to `stop` in equal steps, as an array.",
        "range-function",
        examples: &[("print range(1, 8, 3)", "[1,4,7]")],
    ),
    row!(
        "repeat",
        &[sig(&[required("value", ANY), required("count", LONG)], TO_DYNAMIC)],
        repeat,
        "An array of one value again and again.",
        "repeat-function",
        name_rule: NameRule::Affix("repeat_", ""),
        examples: &[("print repeat(1, 3)", "[1,1,1]")],
    ),
    row!(
        "zip",
        ARRAYS,
        zip,
        "An array of the arrays' first elements, of their second ones and so on.",
        "zip-function",
        examples: &[("print zip(dynamic([1,3]), dynamic([2,4]))", "[[1,2],[3,4]]")],
    ),
    row!(
        "strcat_array",
        &[sig(&[required("array", DYNAMIC), required("delimiter", Accepts::Text)], TO_STRING)],
        strcat_array,
        "The texts of the elements with the delimiter between them.",
        "strcat-array-function",
        aliases: &["array_strcat"],
        examples: &[("print strcat_array(dynamic([1, 2]), '->')", "1->2")],
    ),
    row!(
        "pack_array",
        &[sig(&[required("value", ANY), repeated("value", ANY)], TO_DYNAMIC)],
        pack_array,
        "An array of the values.",
        "pack-array-function",
        examples: &[("print pack_array(1, 'a')", "[1,\"a\"]")],
    ),
];

/// All arguments as dynamics.
fn dynamics(call: &Call<'_>) -> Result<Vec<Texts>> {
    (0..call.args.len()).map(|position| Texts::of(call, position)).collect()
}

fn optional_long(call: &Call<'_>, position: usize) -> Result<Option<Integers>> {
    if call.args.len() > position { Integers::of(call, position).map(Some) } else { Ok(None) }
}

/// The value of an optional argument, or the default when it was not given; `None` is null.
fn or_default(argument: &Option<Integers>, row: usize, default: i64) -> Option<i64> {
    match argument {
        Some(argument) => argument.get(row),
        None => Some(default),
    }
}

/// Writes an array.
fn write<'v>(out: &mut Vec<u8>, elements: impl IntoIterator<Item = Json<'v>>) {
    let mut array = ArrayWriter::new(out);
    elements.into_iter().for_each(|element| array.push(element));
    array.close();
}

/// A function of one array that gives an array.
fn of_array(call: &Call<'_>, f: impl Fn(usize, &[Json<'_>], &mut Vec<u8>) -> Option<()>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| match Json::new(input.get(row)).array() {
        Some(elements) => f(row, &elements, out).is_some(),
        None => false,
    })
}

fn array_length(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each(call, |row| {
        let value = Json::new(input.get(row));
        (value.kind() == Kind::Array).then(|| value.elements().count() as i64)
    })
}

fn array_concat(call: &Call<'_>) -> Result<ColumnarValue> {
    let arrays = dynamics(call)?;
    each_dynamic(call, |row, out| {
        write(out, arrays.iter().flat_map(|array| Json::new(array.get(row)).elements()));
        true
    })
}

/// An argument that is an array, taken element by element, or a value for every place.
struct Choice<'a> {
    cells: &'a Cells,
    row: usize,
    elements: Option<Vec<Json<'a>>>,
}

impl<'a> Choice<'a> {
    fn new(cells: &'a Cells, row: usize) -> Self {
        let elements = match cells {
            Cells::Dynamic(input) => Json::new(input.get(row)).array(),
            _ => None,
        };
        Self { cells, row, elements }
    }

    fn write(&self, position: usize, out: &mut Vec<u8>) {
        match &self.elements {
            Some(elements) => {
                let element = elements.get(position).copied().unwrap_or(Json::NULL);
                out.extend_from_slice(element.as_str().as_bytes());
            }
            None => self.cells.write_or_null(self.row, out),
        }
    }
}

fn array_iff(call: &Call<'_>) -> Result<ColumnarValue> {
    let (when_true, when_false) = (Cells::of(call, 1)?, Cells::of(call, 2)?);
    of_array(call, |row, conditions, out| {
        let (when_true, when_false) = (Choice::new(&when_true, row), Choice::new(&when_false, row));
        let mut array = ArrayWriter::new(out);
        for (position, condition) in conditions.iter().enumerate() {
            let holds = match condition.kind() {
                Kind::Bool => condition.boolean(),
                _ => condition.number().map(|number| number.to_real() != 0.0),
            };
            match holds {
                Some(true) => when_true.write(position, array.next()),
                Some(false) => when_false.write(position, array.next()),
                None => array.null(),
            }
        }
        array.close();
        Some(())
    })
}

fn array_index_of(call: &Call<'_>) -> Result<ColumnarValue> {
    let (input, value) = (Texts::of(call, 0)?, Cells::of(call, 1)?);
    let (start, length, occurrence) = (optional_long(call, 2)?, optional_long(call, 3)?, optional_long(call, 4)?);
    each(call, |row| {
        let elements = Json::new(input.get(row)).array()?;
        let (mut start, length) = (or_default(&start, row, 0)?, or_default(&length, row, -1)?);
        let occurrence = or_default(&occurrence, row, 1)?;
        if length < -1 || occurrence < 0 {
            return None;
        }
        if start < 0 {
            start = start.saturating_add(elements.len() as i64).max(0);
        }
        let end = if length < 0 { i64::MAX } else { start.saturating_add(length) };
        let found = elements
            .iter()
            .enumerate()
            .skip(usize::try_from(start).unwrap_or(usize::MAX))
            .take_while(|(position, _)| (*position as i64) < end)
            .filter(|(_, element)| equals_cell(**element, &value, row) == Some(true))
            .nth(usize::try_from(occurrence - 1).unwrap_or(usize::MAX));
        Some(found.map_or(-1, |(position, _)| position as i64))
    })
}

fn array_slice(call: &Call<'_>) -> Result<ColumnarValue> {
    let (start, end) = (Integers::of(call, 1)?, Integers::of(call, 2)?);
    of_array(call, |row, elements, out| {
        let length = elements.len() as i64;
        let from_end = |position: i64| if position < 0 { position.saturating_add(length) } else { position };
        let start = from_end(start.get(row)?).clamp(0, length);
        let end = from_end(end.get(row)?).saturating_add(1).clamp(start, length);
        write(out, elements[start as usize..end as usize].iter().copied());
        Some(())
    })
}

fn array_split(call: &Call<'_>) -> Result<ColumnarValue> {
    let at = Cells::of(call, 1)?;
    of_array(call, |row, elements, out| {
        let length = elements.len() as i64;
        let positions: Vec<i64> = match &at {
            Cells::Int(input) => vec![i64::from(input.get(row)?)],
            Cells::Long(input) => vec![input.get(row)?],
            Cells::Dynamic(input) => {
                let value = Json::new(input.get(row));
                let list = value.array().unwrap_or_else(|| vec![value]);
                list.into_iter().map(|position| position.number()?.exact_long()).collect::<Option<_>>()?
            }
            _ => return None,
        };
        let mut parts = ArrayWriter::new(out);
        let mut start = 0;
        for position in positions {
            let position = if position < 0 { position.saturating_add(length) } else { position };
            let end = position.clamp(start, length);
            write(parts.next(), elements[start as usize..end as usize].iter().copied());
            start = end;
        }
        write(parts.next(), elements[start as usize..].iter().copied());
        parts.close();
        Some(())
    })
}

fn array_shift_left(call: &Call<'_>) -> Result<ColumnarValue> {
    array_shift(call, 1)
}

fn array_shift_right(call: &Call<'_>) -> Result<ColumnarValue> {
    array_shift(call, -1)
}

fn array_shift(call: &Call<'_>, sign: i64) -> Result<ColumnarValue> {
    let count = Integers::of(call, 1)?;
    let default = if call.args.len() > 2 { Some(Cells::of(call, 2)?) } else { None };
    of_array(call, |row, elements, out| {
        let count = count.get(row)?.saturating_mul(sign);
        // Source: array_shift_left() page: places in an array of strings are filled with "".
        let is_text = !elements.is_empty() && elements.iter().all(|element| element.kind() == Kind::String);
        let mut array = ArrayWriter::new(out);
        for position in 0..elements.len() as i64 {
            let from = position.saturating_add(count);
            match usize::try_from(from).ok().and_then(|from| elements.get(from)) {
                Some(element) => array.push(*element),
                None => match &default {
                    Some(default) => default.write_or_null(row, array.next()),
                    None if is_text => array.string(""),
                    None => array.null(),
                },
            }
        }
        array.close();
        Some(())
    })
}

fn array_rotate_left(call: &Call<'_>) -> Result<ColumnarValue> {
    array_rotate(call, 1)
}

fn array_rotate_right(call: &Call<'_>) -> Result<ColumnarValue> {
    array_rotate(call, -1)
}

fn array_rotate(call: &Call<'_>, sign: i64) -> Result<ColumnarValue> {
    let count = Integers::of(call, 1)?;
    of_array(call, |row, elements, out| {
        let length = elements.len().max(1) as i64;
        let start = (count.get(row)?.rem_euclid(length) * sign).rem_euclid(length) as usize;
        let (right, left) = elements.split_at(start.min(elements.len()));
        write(out, left.iter().chain(right).copied());
        Some(())
    })
}

fn array_reverse(call: &Call<'_>) -> Result<ColumnarValue> {
    of_array(call, |_, elements, out| {
        write(out, elements.iter().rev().copied());
        Some(())
    })
}

/// Where an element comes in a sorted array. Source: array_sort_asc() page: numbers, datetimes and timespans, strings, guids,
/// all others.
enum SortKey {
    Number(f64, i64),
    Text(String),
    Other,
}

impl SortKey {
    fn of(element: Json<'_>) -> Option<SortKey> {
        match element.kind() {
            Kind::Null => None,
            Kind::Long | Kind::Double => {
                let number = element.number()?;
                // Longs that a real cannot hold are told apart by their own value.
                Some(SortKey::Number(number.to_real(), number.exact_long().unwrap_or(0)))
            }
            Kind::String => Some(SortKey::Text(element.string()?.into_owned())),
            Kind::Bool | Kind::Array | Kind::Bag => Some(SortKey::Other),
        }
    }

    fn compare(&self, other: &SortKey) -> Ordering {
        use SortKey::*;
        let class = |key: &SortKey| match key {
            Number(..) => 0,
            Text(_) => 1,
            Other => 2,
        };
        match (self, other) {
            (Number(one, exact), Number(other, other_exact)) => {
                one.total_cmp(other).then_with(|| exact.cmp(other_exact))
            }
            (Text(one), Text(other)) => one.cmp(other),
            _ => class(self).cmp(&class(other)),
        }
    }
}

fn array_sort_asc(call: &Call<'_>) -> Result<ColumnarValue> {
    array_sort(call, |one, other| one.compare(other))
}

fn array_sort_desc(call: &Call<'_>) -> Result<ColumnarValue> {
    array_sort(call, |one, other| other.compare(one))
}

/// One array gives the sorted array; several give an array of the arrays in the order of the first.
fn array_sort(call: &Call<'_>, compare: fn(&SortKey, &SortKey) -> Ordering) -> Result<ColumnarValue> {
    let mut arrays = Vec::new();
    let mut nulls_last = None;
    for (position, ty) in call.types.iter().enumerate() {
        match ty {
            KqlType::Bool => nulls_last = Some(super::kernel::Bools::of(call, position)?),
            _ => arrays.push(Texts::of(call, position)?),
        }
    }
    each_dynamic(call, |row, out| {
        let Some(first) = Json::new(arrays[0].get(row)).array() else { return false };
        let nulls_last = nulls_last.as_ref().and_then(|flag| flag.get(row)).unwrap_or(true);
        let keys: Vec<Option<SortKey>> = first.iter().map(|element| SortKey::of(*element)).collect();
        let mut order: Vec<usize> = (0..first.len()).collect();
        order.sort_by(|one, other| match (&keys[*one], &keys[*other]) {
            (Some(one), Some(other)) => compare(one, other),
            (None, None) => Ordering::Equal,
            (one, _) => (one.is_none() == nulls_last).cmp(&(one.is_some() == nulls_last)),
        });
        if let [_] = &arrays[..] {
            write(out, order.iter().map(|position| first[*position]));
            return true;
        }
        let mut all = ArrayWriter::new(out);
        for array in &arrays {
            match Json::new(array.get(row)).array().filter(|elements| elements.len() == order.len()) {
                Some(elements) => write(all.next(), order.iter().map(|position| elements[*position])),
                None => all.null(),
            }
        }
        all.close();
        true
    })
}

fn array_sum(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each(call, |row| {
        let mut sum = None;
        for element in Json::new(input.get(row)).elements() {
            if !element.is_null() {
                *sum.get_or_insert(0.0) += element.number()?.to_real();
            }
        }
        sum
    })
}

fn range(call: &Call<'_>) -> Result<ColumnarValue> {
    let has = |ty| call.types.contains(&ty);
    if has(KqlType::DateTime) || has(KqlType::TimeSpan) {
        return tick_range(call);
    }
    if has(KqlType::Decimal) || has(KqlType::Real) {
        return real_range(call);
    }
    let (start, stop, step) = (Integers::of(call, 0)?, Integers::of(call, 1)?, optional_long(call, 2)?);
    each_dynamic(call, |row, out| {
        let bounds = (start.get(row), stop.get(row), or_default(&step, row, 1));
        let (Some(start), Some(stop), Some(step)) = bounds else { return false };
        write_steps(start, stop, step, out, crate::dynamic::write_long)
    })
}

/// Writes `start`, `start + step`, ... up to `stop`; `false` when the step leads nowhere.
fn write_steps(start: i64, stop: i64, step: i64, out: &mut Vec<u8>, write: impl Fn(i64, &mut Vec<u8>)) -> bool {
    if step == 0 {
        return false;
    }
    let mut array = ArrayWriter::new(out);
    let mut value = start;
    for _ in 0..MAX_ELEMENTS {
        if (step > 0 && value > stop) || (step < 0 && value < stop) {
            break;
        }
        write(value, array.next());
        match value.checked_add(step) {
            Some(next) => value = next,
            None => break,
        }
    }
    array.close();
    true
}

fn tick_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let ticks = |position| Integers::of(call, position);
    let (start, stop, step) = (ticks(0)?, ticks(1)?, optional_long(call, 2)?);
    let is_datetime = call.types[0] == KqlType::DateTime;
    each_dynamic(call, |row, out| {
        let bounds = (start.get(row), stop.get(row), or_default(&step, row, TICKS_PER_HOUR));
        let (Some(start), Some(stop), Some(step)) = bounds else { return false };
        write_steps(start, stop, step, out, |value, out| {
            out.push(b'"');
            if is_datetime {
                datetime::write_full(value, out)
            } else {
                timespan::write(value, out)
            }
            out.push(b'"');
        })
    })
}

fn real_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let numbers = (0..call.args.len()).map(|position| Cells::of(call, position)).collect::<Result<Vec<_>>>()?;
    let number = |position: usize, row: usize| match numbers.get(position) {
        None => Some(1.0),
        Some(Cells::Int(input)) => input.get(row).map(f64::from),
        Some(Cells::Long(input)) => input.get(row).map(|value| value as f64),
        Some(Cells::Real(input)) => input.get(row),
        Some(Cells::Decimal(input)) => input.get(row).map(|value| Decimal::from_bytes(value).to_f64()),
        Some(_) => None,
    };
    each_dynamic(call, |row, out| {
        let (Some(start), Some(stop), Some(step)) = (number(0, row), number(1, row), number(2, row)) else {
            return false;
        };
        if step == 0.0 || !start.is_finite() || !step.is_finite() || stop.is_nan() {
            return false;
        }
        let mut array = ArrayWriter::new(out);
        for position in 0..MAX_ELEMENTS {
            let value = start + position as f64 * step;
            if (step > 0.0 && value > stop) || (step < 0.0 && value < stop) {
                break;
            }
            real::write_json(value, array.next());
        }
        array.close();
        true
    })
}

fn repeat(call: &Call<'_>) -> Result<ColumnarValue> {
    let (value, count) = (Cells::of(call, 0)?, Integers::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let Some(count) = count.get(row).and_then(|count| usize::try_from(count).ok()) else { return false };
        let mut array = ArrayWriter::new(out);
        for _ in 0..count.min(MAX_ELEMENTS) {
            let place = array.next();
            if place.len() > MAX_TEXT {
                break;
            }
            value.write_or_null(row, place);
        }
        array.close();
        true
    })
}

fn zip(call: &Call<'_>) -> Result<ColumnarValue> {
    let arrays = dynamics(call)?;
    each_dynamic(call, |row, out| {
        let arrays: Vec<Vec<Json<'_>>> =
            arrays.iter().map(|array| Json::new(array.get(row)).elements().collect()).collect();
        let longest = arrays.iter().map(Vec::len).max().unwrap_or(0);
        let mut zipped = ArrayWriter::new(out);
        for position in 0..longest {
            write(zipped.next(), arrays.iter().map(|array| array.get(position).copied().unwrap_or(Json::NULL)));
        }
        zipped.close();
        true
    })
}

fn pack_array(call: &Call<'_>) -> Result<ColumnarValue> {
    let values = (0..call.args.len()).map(|position| Cells::of(call, position)).collect::<Result<Vec<_>>>()?;
    each_dynamic(call, |row, out| {
        let mut array = ArrayWriter::new(out);
        values.iter().for_each(|value| value.write_or_null(row, array.next()));
        array.close();
        true
    })
}

/// Source: kql-behaviour section 7: what is no array is printed alone.
fn strcat_array(call: &Call<'_>) -> Result<ColumnarValue> {
    let (input, delimiter) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each_text(call, |row, out| {
        let value = Json::new(input.get(row));
        if value.kind() != Kind::Array {
            return out.push_str(&value.text());
        }
        for (position, element) in value.elements().enumerate() {
            if position > 0 {
                out.push_str(delimiter.text(row));
            }
            out.push_str(&element.text());
        }
    })
}
