//! Property bags, sets (arrays of distinct values) and the dynamic value as a whole. Source: kql-behaviour section 7
//! and the pages of the functions.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::kernel::{Texts, each, each_dynamic, each_written};
use super::rows::{TO_BOOL, TO_DYNAMIC, TO_LONG, TO_REAL, TO_STRING, row};
use crate::call::Call;
use crate::convert;
use crate::dynamic::{ArrayWriter, BagWriter, Cells, Dynamic, Element, Json, Kind, Path, Step, write_sorted};
use crate::operator::equals_cell;
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, DYNAMIC, STRING, Signature, repeated, required, sig};

const ANY: Accepts = Accepts::Any;
const SETS: &[Signature] =
    &[sig(&[required("set", DYNAMIC), required("set", DYNAMIC), repeated("set", DYNAMIC)], TO_DYNAMIC)];

/// Values deeper than this have no path in `treepath`.
const MAX_PATH_DEPTH: usize = 256;

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "bag_pack",
        &[sig(
            &[required("key", STRING), required("value", ANY), repeated("key", STRING), repeated("value", ANY)],
            TO_DYNAMIC,
        )],
        bag_pack,
        "A bag of keys and values given in turn.",
        "pack-function",
        aliases: &["pack", "pack_dictionary"],
        examples: &[("print bag_pack('a', 1, 'b', 'x')", "{\"a\":1,\"b\":\"x\"}")],
    ),
    row!(
        "bag_keys",
        &[sig(&[required("object", DYNAMIC)], TO_DYNAMIC)],
        bag_keys,
        "The keys of a bag; null for what is no bag.",
        "bag-keys-function",
        examples: &[("print bag_keys(dynamic({'a': 1}))", "[\"a\"]")],
    ),
    row!(
        "bag_merge",
        &[sig(&[required("bag", DYNAMIC), required("bag", DYNAMIC), repeated("bag", DYNAMIC)], TO_DYNAMIC)],
        bag_merge,
        "The properties of all bags in one; where several have a key, the leftmost counts.",
        "bag-merge-function",
        examples: &[("print bag_merge(dynamic({'a': 1}), dynamic({'a': 2, 'b': 3}))", "{\"a\":1,\"b\":3}")],
    ),
    row!(
        "bag_has_key",
        &[sig(&[required("bag", DYNAMIC), required("key", STRING)], TO_BOOL)],
        bag_has_key,
        "Whether a bag has a key, which may be a path in JSONPath notation.",
        "bag-has-key-function",
        examples: &[("print bag_has_key(dynamic({'a': 1}), 'a')", "true")],
    ),
    row!(
        "bag_remove_keys",
        &[sig(&[required("bag", DYNAMIC), required("keys", DYNAMIC)], TO_DYNAMIC)],
        bag_remove_keys,
        "A bag without some keys, which may be paths in JSONPath notation.",
        "bag-remove-keys-function",
        examples: &[("print bag_remove_keys(dynamic({'a': 1, 'b': 2}), dynamic(['a']))", "{\"b\":2}")],
    ),
    row!(
        "bag_set_key",
        &[sig(&[required("bag", DYNAMIC), required("key", STRING), required("value", ANY)], TO_DYNAMIC)],
        bag_set_key,
        "A bag with the value of one key set; the key may be a path in JSONPath notation.",
        "bag-set-key-function",
        examples: &[("print bag_set_key(dynamic({'a': 1}), 'b', 2)", "{\"a\":1,\"b\":2}")],
    ),
    row!(
        "bag_zip",
        &[sig(&[required("keys", DYNAMIC), required("values", DYNAMIC)], TO_DYNAMIC)],
        bag_zip,
        "A bag of an array of keys and an array of values.",
        "bag-zip",
        examples: &[("print bag_zip(dynamic(['a', 'b']), dynamic([1]))", "{\"a\":1,\"b\":null}")],
    ),
    row!(
        "treepath",
        &[sig(&[required("object", DYNAMIC)], TO_DYNAMIC)],
        treepath,
        "The paths to everything inside a dynamic.",
        "treepath-function",
        name_rule: NameRule::Affix("tree_", ""),
        examples: &[("print treepath(dynamic({'a': [1]}))", "[\"['a']\",\"['a'][0]\"]")],
    ),
    row!(
        "dynamic_to_json",
        &[sig(&[required("expr", ANY)], TO_STRING)],
        dynamic_to_json,
        "The JSON text of a dynamic with the keys of every bag in order.",
        "dynamic-to-json-function",
        examples: &[("print dynamic_to_json(dynamic({'b': 2, 'a': 1}))", "{\"a\":1,\"b\":2}")],
    ),
    row!(
        "gettype",
        &[sig(&[required("value", ANY)], TO_STRING)],
        gettype,
        "The name of the value's type; for a dynamic, of what it holds.",
        "gettype-function",
        name_rule: NameRule::Affix("type_", ""),
        examples: &[("print gettype(dynamic([1]))", "array")],
    ),
    row!(
        "set_union",
        SETS,
        set_union,
        "The distinct values of all arrays.",
        "set-union-function",
        examples: &[("print set_union(dynamic([1,2]), dynamic([2,3]))", "[1,2,3]")],
    ),
    row!(
        "set_intersect",
        SETS,
        set_intersect,
        "The distinct values that are in all arrays.",
        "set-intersect-function",
        examples: &[("print set_intersect(dynamic([1,2]), dynamic([2,3]))", "[2]")],
    ),
    row!(
        "set_difference",
        SETS,
        set_difference,
        "The distinct values of the first array that are in no other.",
        "set-difference-function",
        examples: &[("print set_difference(dynamic([1,2]), dynamic([2,3]))", "[1]")],
    ),
    row!(
        "set_equals",
        &[sig(&[required("set1", DYNAMIC), required("set2", DYNAMIC)], TO_BOOL)],
        set_equals,
        "Whether two arrays have the same distinct values.",
        "set-equals-function",
        examples: &[("print set_equals(dynamic([1,2]), dynamic([2,1,1]))", "true")],
    ),
    row!(
        "set_has_element",
        &[sig(&[required("set", DYNAMIC), required("value", ANY)], TO_BOOL)],
        set_has_element,
        "Whether an array has a value.",
        "set-has-element-function",
        examples: &[("print set_has_element(dynamic([1,2]), 2)", "true")],
    ),
    row!(
        "jaccard_index",
        &[sig(&[required("set1", DYNAMIC), required("set2", DYNAMIC)], TO_REAL)],
        jaccard_index,
        "How many distinct values of two arrays are in both, as a part of all.",
        "jaccard-index-function",
        examples: &[("print jaccard_index(dynamic([1,2,3]), dynamic([1,2,3,4]))", "0.75")],
    ),
    row!(
        "estimate_data_size",
        &[sig(&[required("column", ANY), repeated("column", ANY)], TO_LONG)],
        estimate_data_size,
        "About how many bytes the values take.",
        "estimate-data-size-function",
        examples: &[("print estimate_data_size(1, 'ab')", "10")],
    ),
];

fn bag_pack(call: &Call<'_>) -> Result<ColumnarValue> {
    if !call.args.len().is_multiple_of(2) {
        return exec_err!("bag_pack(): every key needs a value");
    }
    let pairs = (0..call.args.len() / 2)
        .map(|pair| Ok((Texts::of(call, 2 * pair)?, Cells::of(call, 2 * pair + 1)?)))
        .collect::<Result<Vec<_>>>()?;
    // A key that comes again takes the last value; constant keys are looked at once.
    let repeats = |row: usize| {
        let mut seen = HashSet::new();
        !pairs.iter().all(|(key, _)| seen.insert(key.text(row)))
    };
    let is_constant = pairs.iter().all(|(key, _)| key.is_constant());
    let constant_repeats = is_constant && repeats(0);
    each_dynamic(call, |row, out| {
        let mut bag = BagWriter::new(out);
        if constant_repeats || (!is_constant && repeats(row)) {
            let mut places: HashMap<&str, usize> = HashMap::new();
            let mut kept: Vec<(&str, &Cells)> = Vec::new();
            for (key, value) in &pairs {
                let key = key.text(row);
                match places.get(key) {
                    Some(place) => kept[*place].1 = value,
                    None => {
                        places.insert(key, kept.len());
                        kept.push((key, value));
                    }
                }
            }
            kept.iter().for_each(|(key, value)| value.write_or_null(row, bag.key(key)));
        } else {
            pairs.iter().for_each(|(key, value)| value.write_or_null(row, bag.key(key.text(row))));
        }
        bag.close();
        true
    })
}

fn bag_keys(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let value = Json::new(input.get(row));
        if value.kind() != Kind::Bag {
            return false;
        }
        let mut array = ArrayWriter::new(out);
        value.entries().for_each(|(key, _)| array.string(&key));
        array.close();
        true
    })
}

fn bag_merge(call: &Call<'_>) -> Result<ColumnarValue> {
    let bags = (0..call.args.len()).map(|position| Texts::of(call, position)).collect::<Result<Vec<_>>>()?;
    each_dynamic(call, |row, out| {
        let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
        let mut is_bag = false;
        let mut merged = BagWriter::new(out);
        for bag in &bags {
            let bag = Json::new(bag.get(row));
            is_bag |= bag.kind() == Kind::Bag;
            for (key, value) in bag.entries() {
                if !seen.contains(&key) {
                    merged.key(&key).extend_from_slice(value.as_str().as_bytes());
                    seen.insert(key);
                }
            }
        }
        merged.close();
        is_bag
    })
}

fn bag_has_key(call: &Call<'_>) -> Result<ColumnarValue> {
    let (bag, key) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let prepared = key.constant_text().map(Path::of_key);
    each(call, |row| {
        let own;
        let path = match &prepared {
            Some(prepared) => prepared.as_ref(),
            None => {
                own = Path::of_key(key.text(row));
                own.as_ref()
            }
        };
        path.is_some_and(|path| Json::new(bag.get(row)).get(path).is_some())
    })
}

/// Writes a bag without the properties at these paths.
fn write_without(value: Json<'_>, paths: &[&[Step]], out: &mut Vec<u8>) {
    let mut bag = BagWriter::new(out);
    for (key, value) in value.entries() {
        let step = Step::key(&key);
        let below: Vec<&[Step]> =
            paths.iter().filter(|path| path.first() == Some(&step)).map(|path| &path[1..]).collect();
        if below.iter().any(|path| path.is_empty()) {
            continue;
        }
        let place = bag.key(&key);
        if below.is_empty() || value.kind() != Kind::Bag {
            place.extend_from_slice(value.as_str().as_bytes());
        } else {
            write_without(value, &below, place);
        }
    }
    bag.close();
}

fn bag_remove_keys(call: &Call<'_>) -> Result<ColumnarValue> {
    let (bag, keys) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let paths = |keys: Option<&str>| -> Vec<Path> {
        Json::new(keys).elements().filter_map(|key| Path::of_key(&key.string()?)).collect()
    };
    let prepared = keys.is_constant().then(|| paths(keys.get(0)));
    each_dynamic(call, |row, out| {
        let value = Json::new(bag.get(row));
        if value.kind() != Kind::Bag {
            return false;
        }
        let own;
        let paths = match &prepared {
            Some(prepared) => prepared,
            None => {
                own = paths(keys.get(row));
                &own
            }
        };
        let steps: Vec<&[Step]> = paths.iter().map(Path::steps).collect();
        write_without(value, &steps, out);
        true
    })
}

/// Writes a bag with the value at a path replaced or added; what is no bag on the way becomes one.
fn write_with(value: Json<'_>, path: &[Step], new: &dyn Fn(&mut Vec<u8>), out: &mut Vec<u8>) {
    let Some((first, below)) = path.split_first() else { return new(out) };
    let Step::Key(wanted) = first else { return out.extend_from_slice(b"null") };
    let mut is_set = false;
    let mut bag = BagWriter::new(out);
    for (key, value) in value.entries() {
        let is_here = Step::key(&key) == *first;
        let place = bag.key(&key);
        if is_here {
            write_with(value, below, new, place);
            is_set = true;
        } else {
            place.extend_from_slice(value.as_str().as_bytes());
        }
    }
    if !is_set {
        let quoted = format!("\"{wanted}\"");
        let key = Json::new(Some(&quoted)).string().unwrap_or_default();
        write_with(Json::NULL, below, new, bag.key(&key));
    }
    bag.close();
}

fn bag_set_key(call: &Call<'_>) -> Result<ColumnarValue> {
    let (bag, key, value) = (Texts::of(call, 0)?, Texts::of(call, 1)?, Cells::of(call, 2)?);
    let prepared = key.constant_text().map(Path::of_key);
    each_dynamic(call, |row, out| {
        let old = Json::new(bag.get(row));
        let path = match &prepared {
            Some(prepared) => prepared.clone(),
            None => Path::of_key(key.text(row)),
        };
        match path {
            Some(path) if old.kind() == Kind::Bag && !path.steps().is_empty() => {
                write_with(old, path.steps(), &|out| value.write_or_null(row, out), out);
                true
            }
            _ => false,
        }
    })
}

fn bag_zip(call: &Call<'_>) -> Result<ColumnarValue> {
    let (keys, values) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let keys = Json::new(keys.get(row));
        if keys.kind() != Kind::Array {
            return false;
        }
        let mut values = Json::new(values.get(row)).elements();
        let mut seen = HashSet::new();
        let mut bag = BagWriter::new(out);
        for key in keys.elements() {
            let value = values.next().unwrap_or(Json::NULL);
            let Some(key) = key.string() else { continue };
            if !seen.contains(&key) {
                bag.key(&key).extend_from_slice(value.as_str().as_bytes());
                seen.insert(key);
            }
        }
        bag.close();
        true
    })
}

/// Source: treepath() page: an array's elements share the path of position 0.
fn walk(value: Json<'_>, prefix: &mut String, seen: &mut HashSet<String>, paths: &mut Vec<String>, depth: usize) {
    if depth > MAX_PATH_DEPTH {
        return;
    }
    let length = prefix.len();
    let mut visit = |step: &str, value: Json<'_>, prefix: &mut String| {
        prefix.push_str(step);
        if seen.insert(prefix.clone()) {
            paths.push(prefix.clone());
        }
        walk(value, prefix, seen, paths, depth + 1);
        prefix.truncate(length);
    };
    match value.kind() {
        Kind::Bag => value.entries().for_each(|(key, value)| visit(&format!("['{key}']"), value, prefix)),
        Kind::Array => value.elements().for_each(|element| visit("[0]", element, prefix)),
        _ => {}
    }
}

fn treepath(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let value = Json::new(input.get(row));
        if !matches!(value.kind(), Kind::Bag | Kind::Array) {
            return false;
        }
        let mut paths = Vec::new();
        walk(value, &mut String::new(), &mut HashSet::new(), &mut paths, 0);
        let mut array = ArrayWriter::new(out);
        paths.iter().for_each(|path| array.string(path));
        array.close();
        true
    })
}

fn dynamic_to_json(call: &Call<'_>) -> Result<ColumnarValue> {
    if call.types[0] != KqlType::Dynamic {
        return match convert::kernel(call.types[0], KqlType::String) {
            Some(convert) => convert(call),
            None => exec_err!("dynamic_to_json() is not defined for {}", call.types[0]),
        };
    }
    let input = Texts::of(call, 0)?;
    each_written(call, |row, out| {
        let value = Json::new(input.get(row));
        if !value.is_null() {
            write_sorted(value, out, 0);
        }
    })
}

fn gettype(call: &Call<'_>) -> Result<ColumnarValue> {
    let ty = call.types[0];
    if ty != KqlType::Dynamic {
        return each_written(call, |_, out| out.extend_from_slice(ty.name().as_bytes()));
    }
    let input = Texts::of(call, 0)?;
    each_written(call, |row, out| out.extend_from_slice(Json::new(input.get(row)).kind().name().as_bytes()))
}

/// The distinct elements of an array in their order.
fn distinct(value: Option<&str>) -> Vec<(Json<'_>, Element<'_>)> {
    let mut seen = HashSet::new();
    Json::new(value)
        .elements()
        .map(|element| (element, element.key()))
        .filter(|(_, key)| seen.insert(key.clone()))
        .collect()
}

/// The keys of an array's elements.
fn keys(value: Option<&str>) -> HashSet<Element<'_>> {
    Json::new(value).elements().map(Dynamic::key).collect()
}

fn sets(call: &Call<'_>) -> Result<Vec<Texts>> {
    (0..call.args.len()).map(|position| Texts::of(call, position)).collect()
}

fn set_union(call: &Call<'_>) -> Result<ColumnarValue> {
    let sets = sets(call)?;
    each_dynamic(call, |row, out| {
        let mut seen = HashSet::new();
        let mut array = ArrayWriter::new(out);
        for element in sets.iter().flat_map(|set| Json::new(set.get(row)).elements()) {
            if seen.insert(element.key()) {
                array.push(element);
            }
        }
        array.close();
        true
    })
}

fn set_intersect(call: &Call<'_>) -> Result<ColumnarValue> {
    of_sets(call, |others, key| others.iter().all(|other| other.contains(key)))
}

fn set_difference(call: &Call<'_>) -> Result<ColumnarValue> {
    of_sets(call, |others, key| !others.iter().any(|other| other.contains(key)))
}

/// The distinct elements of the first array that the others let through.
fn of_sets(call: &Call<'_>, keeps: fn(&[HashSet<Element<'_>>], &Element<'_>) -> bool) -> Result<ColumnarValue> {
    let sets = sets(call)?;
    each_dynamic(call, |row, out| {
        let others: Vec<_> = sets[1..].iter().map(|set| keys(set.get(row))).collect();
        let mut array = ArrayWriter::new(out);
        for (element, key) in distinct(sets[0].get(row)) {
            if keeps(&others, &key) {
                array.push(element);
            }
        }
        array.close();
        true
    })
}

fn set_equals(call: &Call<'_>) -> Result<ColumnarValue> {
    let sets = sets(call)?;
    each(call, |row| keys(sets[0].get(row)) == keys(sets[1].get(row)))
}

fn set_has_element(call: &Call<'_>) -> Result<ColumnarValue> {
    let (set, value) = (Texts::of(call, 0)?, Cells::of(call, 1)?);
    each(call, |row| Json::new(set.get(row)).elements().any(|element| equals_cell(element, &value, row) == Some(true)))
}

fn jaccard_index(call: &Call<'_>) -> Result<ColumnarValue> {
    let sets = sets(call)?;
    each(call, |row| {
        let is_array = |set: &Texts| Json::new(set.get(row)).kind() == Kind::Array;
        if !sets.iter().all(is_array) {
            return None;
        }
        let (one, other) = (keys(sets[0].get(row)), keys(sets[1].get(row)));
        Some(one.intersection(&other).count() as f64 / one.union(&other).count() as f64)
    })
}

fn estimate_data_size(call: &Call<'_>) -> Result<ColumnarValue> {
    let mut fixed = 0;
    let mut texts = Vec::new();
    for (position, ty) in call.types.iter().enumerate() {
        match ty {
            KqlType::String | KqlType::Dynamic => texts.push(Texts::of(call, position)?),
            KqlType::Bool => fixed += 1,
            KqlType::Int => fixed += 4,
            KqlType::Long | KqlType::Real | KqlType::DateTime | KqlType::TimeSpan => fixed += 8,
            KqlType::Decimal | KqlType::Guid => fixed += 16,
        }
    }
    each(call, |row| fixed + texts.iter().map(|text| text.text(row).len() as i64).sum::<i64>())
}
