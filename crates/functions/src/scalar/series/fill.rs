//! `series_fill_*`: missing elements replaced.
//!
//! Shape: an element is missing when it equals the placeholder, null unless given. Elements that
//! stay keep their text, so that whole numbers stay whole.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::value::real;

use super::{Item, quantile};
use crate::call::Call;
use crate::dynamic::{ArrayWriter, Cells, Dynamic, Json, write_long};
use crate::registry::{NameRule, Scalar};
use crate::scalar::kernel::{Bools, Texts, each_dynamic};
use crate::scalar::rows::{TO_DYNAMIC, row};
use crate::signature::{Accepts, BOOL, DYNAMIC, Param, Signature, optional, required, sig};

const SERIES: Param = required("series", DYNAMIC);
const PLACEHOLDER: Param = optional("missing_value_placeholder", Accepts::Number);
const FILL: &[Signature] = &[sig(&[SERIES, PLACEHOLDER], TO_DYNAMIC)];
const FILL_CONST: &[Signature] =
    &[sig(&[SERIES, required("constant_value", Accepts::Number), PLACEHOLDER], TO_DYNAMIC)];
const FILL_LINEAR: &[Signature] = &[sig(
    &[SERIES, PLACEHOLDER, optional("fill_edges", BOOL), optional("constant_value", Accepts::Number)],
    TO_DYNAMIC,
)];

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!("series_fill_forward", FILL, |call| nearest(call, false),
        "Missing elements take the value before them.", "series-fill-forward-function",
        name_rule: NameRule::PassThrough),
    row!("series_fill_backward", FILL, |call| nearest(call, true),
        "Missing elements take the value after them.", "series-fill-backward-function",
        name_rule: NameRule::PassThrough),
    row!("series_fill_const", FILL_CONST, constant,
        "Missing elements take a constant value.", "series-fill-const-function",
        name_rule: NameRule::PassThrough),
    row!("series_fill_linear", FILL_LINEAR, linear,
        "Missing elements take values on the line between their neighbours.", "series-fill-linear-function",
        name_rule: NameRule::PassThrough),
];

/// What counts as missing.
struct Placeholder {
    cells: Option<Cells>,
    json: Vec<u8>,
    item: Item,
}

impl Placeholder {
    fn of(call: &Call<'_>, position: usize) -> Result<Placeholder> {
        let cells = if position < call.args.len() { Some(Cells::of(call, position)?) } else { None };
        Ok(Placeholder { cells, json: Vec::new(), item: Item::None })
    }

    /// Reads the placeholder of a row.
    fn load(&mut self, row: usize) {
        self.json.clear();
        let has_value = self.cells.as_ref().is_some_and(|cells| cells.write(row, &mut self.json));
        if !has_value {
            self.json.extend_from_slice(b"null");
        }
        self.item = std::str::from_utf8(&self.json).map_or(Item::None, |text| Item::of(Json::new(Some(text))));
    }

    fn is_missing(&self, element: Json<'_>) -> bool {
        if element.as_str().as_bytes() == self.json {
            return true;
        }
        match (self.item.real(), Item::of(element).real()) {
            (Some(a), Some(b)) => a == b || a.is_nan() && b.is_nan(),
            _ => false,
        }
    }
}

fn series(text: Option<&str>) -> Option<Vec<Json<'_>>> {
    let text = text.filter(|text| text.starts_with('['))?;
    Some(Json::new(Some(text)).elements().collect())
}

fn nearest(call: &Call<'_>, is_backward: bool) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    let mut placeholder = Placeholder::of(call, 1)?;
    each_dynamic(call, |row, out| {
        let Some(mut elements) = series(texts.get(row)) else { return false };
        placeholder.load(row);
        if is_backward {
            elements.reverse();
        }
        let mut last = None;
        for element in &mut elements {
            if !placeholder.is_missing(*element) {
                last = Some(*element);
            } else if let Some(last) = last {
                *element = last;
            }
        }
        if is_backward {
            elements.reverse();
        }
        let mut array = ArrayWriter::new(out);
        elements.into_iter().for_each(|element| array.push(element));
        array.close();
        true
    })
}

fn constant(call: &Call<'_>) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    let constant = Cells::of(call, 1)?;
    let mut placeholder = Placeholder::of(call, 2)?;
    each_dynamic(call, |row, out| {
        let Some(elements) = series(texts.get(row)) else { return false };
        placeholder.load(row);
        let mut array = ArrayWriter::new(out);
        for element in elements {
            if !placeholder.is_missing(element) {
                array.push(element);
            } else {
                let place = array.next();
                if !constant.write(row, place) {
                    place.extend_from_slice(b"null");
                }
            }
        }
        array.close();
        true
    })
}

fn linear(call: &Call<'_>) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    let mut placeholder = Placeholder::of(call, 1)?;
    let edges = if call.args.len() > 2 { Some(Bools::of(call, 2)?) } else { None };
    let constant = if call.args.len() > 3 { Some(Cells::of(call, 3)?) } else { None };
    each_dynamic(call, |row, out| {
        let Some(elements) = series(texts.get(row)) else { return false };
        placeholder.load(row);
        let fills_edges = edges.as_ref().and_then(|edges| edges.get(row)).unwrap_or(true);
        let is_missing: Vec<bool> = elements.iter().map(|element| placeholder.is_missing(*element)).collect();
        let items: Vec<Item> = elements.iter().map(|element| Item::of(*element)).collect();
        let known: Vec<usize> =
            (0..items.len()).filter(|place| !is_missing[*place] && items[*place] != Item::None).collect();
        let is_whole = known.iter().all(|place| matches!(items[*place], Item::Long(_)));
        let mut array = ArrayWriter::new(out);
        let mut next = 0;
        for (place, element) in elements.iter().enumerate() {
            while next < known.len() && known[next] <= place {
                next += 1;
            }
            let (before, after) = (next.checked_sub(1).map(|at| known[at]), known.get(next).copied());
            match (before, after) {
                _ if !is_missing[place] => array.push(*element),
                (Some(before), Some(after)) => {
                    let part = (place - before) as f64 / (after - before) as f64;
                    let ends = [items[before], items[after]].map(|item| item.real().unwrap_or(f64::NAN));
                    let value = quantile(&ends, part);
                    // Toward zero, as in the page's second sample.
                    if is_whole {
                        write_long(value as i64, array.next())
                    } else {
                        real::write_json(value, array.next())
                    }
                }
                (Some(edge), None) | (None, Some(edge)) if fills_edges => array.push(elements[edge]),
                (None, None) => {
                    let place = array.next();
                    let has_value = match &constant {
                        None => {
                            real::write_json(0.0, place);
                            true
                        }
                        Some(constant) => constant.write(row, place),
                    };
                    if !has_value {
                        place.extend_from_slice(b"null");
                    }
                }
                _ => array.push(*element),
            }
        }
        array.close();
        true
    })
}
