//! `in`, `in~`, `has_any` and `has_all`.
//!
//! Constant lists become the engine's own `IN` where that has the meaning and the list is short, else a
//! prepared set: built once in planning, shared by all batches. Elements of dynamic arrays are compared by kind and
//! value, constants of other types take the operand's type. Source: kql-behaviour sections 3, 7 and 9.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, and,
    in_list as engine_in, is_not_null, is_null, lit, not, or,
};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{BinaryOp, InOp};

use super::text::{Ask, Case, Matcher, fold_into, folded, is_term_character};
use super::{Context, call, compare, literal};
use crate::call::{Call, Kernel};
use crate::convert;
use crate::dynamic::{Cells, Dynamic, Element, Json};
use crate::scalar::kernel::{BoolSlot, BytesSlot, Input, IntSlot, Integers, RealSlot, Slot, Texts, each};

/// Longer lists become a prepared set.
const MAX_ENGINE_LIST: usize = 256;
/// With more needles than this, `has_any` splits the text into terms and looks each up.
const MAX_SEARCHED_NEEDLES: usize = 8;

/// The type of `operand op (items)`; `None` where it is not defined.
pub fn in_list_type(op: InOp, operand: KqlType, items: &[KqlType]) -> Option<KqlType> {
    let is_text = matches!(operand, KqlType::String | KqlType::Dynamic);
    let is_defined = match op {
        InOp::In | InOp::NotIn => items.iter().all(|item| {
            *item == KqlType::Dynamic || operand == KqlType::Dynamic || compare::is_comparable(operand, *item)
        }),
        InOp::InTilde | InOp::NotInTilde | InOp::HasAny | InOp::HasAll => is_text,
    };
    is_defined.then_some(KqlType::Bool)
}

/// `operand op (items)`. An item that is a dynamic array stands for its elements.
pub fn in_list(
    op: InOp,
    operand: Expr,
    operand_ty: KqlType,
    items: Vec<(Expr, KqlType)>,
    context: Context,
) -> Result<Expr> {
    let types: Vec<KqlType> = items.iter().map(|(_, ty)| *ty).collect();
    if in_list_type(op, operand_ty, &types).is_none() {
        return plan_err!("'{}' is not defined for {operand_ty} and this list", op.text());
    }
    match op {
        InOp::In | InOp::NotIn if operand_ty == KqlType::Dynamic => {
            in_cells(op == InOp::NotIn, operand, operand_ty, items)
        }
        InOp::In | InOp::NotIn => typed_in(op == InOp::NotIn, operand, operand_ty, items, context),
        InOp::InTilde | InOp::NotInTilde => {
            let operand = convert::expr(operand, operand_ty, KqlType::String)?;
            folded_in(op == InOp::NotInTilde, operand, items)
        }
        InOp::HasAny | InOp::HasAll => {
            let operand = convert::expr(operand, operand_ty, KqlType::String)?;
            has_list(op == InOp::HasAll, operand, items)
        }
    }
}

/// Most texts of a list that [`asked_texts`] tells.
const MAX_ASKED: usize = 1024;

/// The texts that a call of `has_any`, `has_all` or a prepared `in` of strings looks for in its operand, and whether all of
/// them must be there; `None` for other functions, negated calls and very long lists. Every text stands in the
/// operand as whole terms.
pub fn asked_texts(function: &ScalarUDF) -> Option<(Vec<String>, bool)> {
    let prepared = &function.inner().downcast_ref::<ListUdf>()?.prepared;
    match &prepared.question {
        _ if prepared.is_negated => None,
        Question::Has(needles) => {
            (needles.needles.len() <= MAX_ASKED).then(|| (needles.needles.clone(), needles.wants_all))
        }
        Question::In(Set::Text(values) | Set::Folded(values)) => {
            (values.len() <= MAX_ASKED).then(|| (values.iter().cloned().collect(), false))
        }
        Question::In(_) => None,
    }
}

/// Alternatives joined by `or`, and negated as a whole.
fn any_of(is_negated: bool, parts: Vec<Expr>) -> Expr {
    let any = parts.into_iter().reduce(or).unwrap_or(lit(false));
    match (is_negated, literal(&any)) {
        (false, _) => any,
        (true, Some(ScalarValue::Boolean(Some(value)))) => lit(!*value),
        (true, _) => not(any),
    }
}

fn typed_in(
    is_negated: bool,
    operand: Expr,
    ty: KqlType,
    items: Vec<(Expr, KqlType)>,
    context: Context,
) -> Result<Expr> {
    let mut values = Vec::new();
    let mut parts = Vec::new();
    for (item, item_ty) in items {
        match literal(&item) {
            Some(value) if item_ty == KqlType::Dynamic => {
                let json = Json::new(value.try_as_str().flatten());
                for element in elements_or_itself(json) {
                    values.extend(typed_element(element, ty)?);
                }
            }
            Some(value) => values.extend(typed_constant(value, item_ty, ty)?),
            None if item_ty == KqlType::Dynamic => {
                parts.push(in_cells(false, operand.clone(), ty, vec![(item, item_ty)])?);
            }
            None => parts.push(compare::equality(false, operand.clone(), ty, item, item_ty, Context::Value)?),
        }
    }
    let set = Set::of(ty, values)?;
    if parts.is_empty() {
        return membership(is_negated, operand, ty, set, context);
    }
    if !set.is_empty() {
        parts.push(membership(false, operand, ty, set, Context::Value)?);
    }
    Ok(any_of(is_negated, parts))
}

fn elements_or_itself(value: Json<'_>) -> Vec<Json<'_>> {
    value.array().unwrap_or_else(|| vec![value])
}

/// A dynamic element as a constant of the operand's type; `None` when it is of another kind.
fn typed_element(element: Json<'_>, ty: KqlType) -> Result<Option<ScalarValue>> {
    let from_text = |ty| {
        let text = element.string().map(|text| ScalarValue::Utf8View(Some(text.into_owned())));
        text.map(|text| convert::constant(text, KqlType::String, ty)).transpose()
    };
    match ty {
        KqlType::String | KqlType::DateTime | KqlType::TimeSpan | KqlType::Guid => from_text(ty),
        KqlType::Bool => Ok(element.boolean().map(|value| ScalarValue::Boolean(Some(value)))),
        KqlType::Decimal if element.number().is_some() => {
            let text = ScalarValue::Utf8View(Some(element.as_str().to_string()));
            convert::constant(text, KqlType::String, ty).map(Some)
        }
        KqlType::Real => Ok(element.number().map(|number| ScalarValue::Float64(Some(number.to_real())))),
        KqlType::Long => {
            let value = element.number().and_then(|number| number.exact_long());
            Ok(value.map(|value| ScalarValue::Int64(Some(value))))
        }
        KqlType::Int => {
            let value = element.number().and_then(|number| i32::try_from(number.exact_long()?).ok());
            Ok(value.map(|value| ScalarValue::Int32(Some(value))))
        }
        KqlType::Decimal | KqlType::Dynamic => Ok(None),
    }
}

/// A constant as one of the operand's type; `None` when no value of that type equals it.
fn typed_constant(value: &ScalarValue, from: KqlType, to: KqlType) -> Result<Option<ScalarValue>> {
    if value.is_null() {
        return Ok(None);
    }
    let converted = convert::constant(value.clone(), from, to)?;
    if converted.is_null() {
        return Ok(None);
    }
    // 2.5 is no long, though it converts to one.
    let rank = |ty| KqlType::ALL.iter().position(|other| *other == ty);
    let is_narrowed = from != KqlType::String && to != KqlType::String && rank(to) < rank(from);
    if is_narrowed && convert::constant(converted.clone(), to, from)? != *value {
        return Ok(None);
    }
    Ok(Some(converted))
}

/// The values of a list, prepared.
#[derive(Debug, PartialEq)]
enum Set {
    Bool(Vec<bool>),
    Int(HashSet<i32>),
    Long(HashSet<i64>),
    /// The bits of values that are not NaN, zero always positive.
    Real(HashSet<u64>),
    Bytes(HashSet<[u8; 16]>),
    Text(HashSet<String>),
    /// Folded texts: the operand is folded before it is looked up.
    Folded(HashSet<String>),
}

fn real_key(value: f64) -> u64 {
    if value == 0.0 { 0 } else { value.to_bits() }
}

impl Set {
    fn of(ty: KqlType, values: Vec<ScalarValue>) -> Result<Set> {
        Ok(match ty {
            KqlType::Bool => {
                let mut bools: Vec<bool> = values.iter().filter_map(bool_value).collect();
                bools.sort_unstable();
                bools.dedup();
                Set::Bool(bools)
            }
            KqlType::Int => Set::Int(collect(values, |value| match value {
                ScalarValue::Int32(value) => value,
                _ => None,
            })),
            KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Set::Long(collect(values, |value| match value {
                ScalarValue::Int64(value) => value,
                _ => None,
            })),
            KqlType::Real => Set::Real(collect(values, |value| match value {
                ScalarValue::Float64(Some(value)) if !value.is_nan() => Some(real_key(value)),
                _ => None,
            })),
            KqlType::Decimal | KqlType::Guid => Set::Bytes(collect(values, |value| match value {
                ScalarValue::FixedSizeBinary(_, Some(bytes)) => bytes.try_into().ok(),
                _ => None,
            })),
            KqlType::String => Set::Text(collect(values, text_value)),
            KqlType::Dynamic => return plan_err!("a dynamic has no prepared set"),
        })
    }

    fn len(&self) -> usize {
        match self {
            Set::Bool(values) => values.len(),
            Set::Int(values) => values.len(),
            Set::Long(values) => values.len(),
            Set::Real(values) => values.len(),
            Set::Bytes(values) => values.len(),
            Set::Text(values) | Set::Folded(values) => values.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as constants for the engine's `IN`.
    fn constants(&self) -> Vec<Expr> {
        match self {
            Set::Bool(values) => values.iter().map(|value| lit(*value)).collect(),
            Set::Int(values) => sorted(values).into_iter().map(|value| lit(*value)).collect(),
            Set::Long(values) => sorted(values).into_iter().map(|value| lit(*value)).collect(),
            Set::Real(values) => sorted(values)
                .into_iter()
                .flat_map(|bits| {
                    let value = f64::from_bits(*bits);
                    // The engine tells the zeros apart.
                    std::iter::once(value).chain((value == 0.0).then_some(-0.0)).map(lit)
                })
                .collect(),
            Set::Bytes(values) => sorted(values)
                .into_iter()
                .map(|value| lit(ScalarValue::FixedSizeBinary(16, Some(value.to_vec()))))
                .collect(),
            Set::Text(values) | Set::Folded(values) => {
                sorted(values).into_iter().map(|value| lit(ScalarValue::Utf8View(Some(value.clone())))).collect()
            }
        }
    }
}

fn sorted<T: Ord>(values: &HashSet<T>) -> Vec<&T> {
    let mut values: Vec<&T> = values.iter().collect();
    values.sort_unstable();
    values
}

fn collect<T: Hash + Eq>(values: Vec<ScalarValue>, read: impl Fn(ScalarValue) -> Option<T>) -> HashSet<T> {
    values.into_iter().filter_map(read).collect()
}

fn bool_value(value: &ScalarValue) -> Option<bool> {
    match value {
        ScalarValue::Boolean(value) => *value,
        _ => None,
    }
}

fn text_value(value: ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8View(value) | ScalarValue::Utf8(value) | ScalarValue::LargeUtf8(value) => value,
        _ => None,
    }
}

/// Whether the operand is one of the set's values.
fn membership(is_negated: bool, operand: Expr, ty: KqlType, set: Set, context: Context) -> Result<Expr> {
    if set.is_empty() {
        return Ok(lit(is_negated));
    }
    let is_column = matches!(operand, Expr::Column(_));
    let is_plain = context == Context::Predicate && !is_negated && ty != KqlType::String;
    if set.len() > MAX_ENGINE_LIST || literal(&operand).is_some() || !(is_column || is_plain) {
        return Prepared { question: Question::In(set), is_negated }.call(operand);
    }
    let constants = set.constants();
    if let [constant] = &constants[..] {
        return compare::equality(is_negated, operand, ty, constant.clone(), ty, context);
    }
    let has_empty = matches!(&set, Set::Text(values) if values.contains(""));
    let within = engine_in(operand.clone(), constants, is_negated);
    // A null string is "", another null is in no list.
    let is_null_inside = has_empty != is_negated;
    Ok(if is_null_inside {
        or(is_null(operand), within)
    } else if context == Context::Predicate {
        within
    } else {
        and(is_not_null(operand), within)
    })
}

/// `in~`: the operand is a string.
fn folded_in(is_negated: bool, operand: Expr, items: Vec<(Expr, KqlType)>) -> Result<Expr> {
    let mut texts = HashSet::new();
    let mut parts = Vec::new();
    for (item, ty) in items {
        match literal(&item) {
            Some(value) if ty == KqlType::Dynamic => {
                let json = Json::new(value.try_as_str().flatten());
                let strings = elements_or_itself(json).into_iter().filter_map(|element| element.string());
                texts.extend(strings.map(|text| folded(&text).into_owned()));
            }
            Some(value) if !value.is_null() => {
                let text = text_value(convert::constant(value.clone(), ty, KqlType::String)?);
                texts.extend(text.map(|text| folded(&text).into_owned()));
            }
            Some(_) => {}
            None if ty == KqlType::Dynamic => {
                let types = [KqlType::String, ty];
                parts.push(call("in_folded", in_folded, vec![operand.clone(), item], &types, KqlType::Bool)?);
            }
            None => {
                let item = convert::expr(item, ty, KqlType::String)?;
                let (text, op) = (KqlType::String, BinaryOp::EqualTilde);
                parts.push(super::expr(op, operand.clone(), text, item, text, KqlType::Bool, Context::Value)?);
            }
        }
    }
    if !texts.is_empty() {
        parts.push(Prepared { question: Question::In(Set::Folded(texts)), is_negated: false }.call(operand)?);
    }
    Ok(any_of(is_negated, parts))
}

/// A string among the strings of a dynamic array, case ignored.
fn in_folded(call: &Call<'_>) -> Result<ColumnarValue> {
    let (operand, list) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let mut scratch = String::new();
    each(call, |row| {
        let matcher = Matcher::new(Ask::Equals, Case::Ignored, operand.text(row));
        elements_or_itself(Json::new(list.get(row)))
            .into_iter()
            .any(|element| element.string().is_some_and(|text| matcher.is_match(&text, &mut scratch)))
    })
}

/// `in` where the operand or the list is a dynamic that is not constant.
fn in_cells(is_negated: bool, operand: Expr, ty: KqlType, items: Vec<(Expr, KqlType)>) -> Result<Expr> {
    let (name, kernel) = if is_negated {
        ("not_in_cells", not_in_cells_kernel as Kernel)
    } else {
        ("in_cells", in_cells_kernel as Kernel)
    };
    let mut args = vec![operand];
    let mut types = vec![ty];
    for (item, ty) in items {
        args.push(item);
        types.push(ty);
    }
    call(name, kernel, args, &types, KqlType::Bool)
}

fn in_cells_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    among_cells(call, false)
}

fn not_in_cells_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    among_cells(call, true)
}

fn among_cells(call: &Call<'_>, is_negated: bool) -> Result<ColumnarValue> {
    let operand = Cells::of(call, 0)?;
    let items = (1..call.args.len()).map(|position| Cells::of(call, position)).collect::<Result<Vec<_>>>()?;
    let Cells::Dynamic(values) = &operand else {
        // A typed operand among the elements of dynamics.
        return each(call, |row| {
            let found = items.iter().any(|item| match item {
                Cells::Dynamic(list) => elements_or_itself(Json::new(list.get(row)))
                    .into_iter()
                    .any(|element| compare::equals_cell(element, &operand, row) == Some(true)),
                _ => false,
            });
            found != is_negated
        });
    };
    // The elements of constant lists, once.
    let constants: HashSet<Element<'_>> = items
        .iter()
        .filter_map(|item| match item {
            Cells::Dynamic(list) if list.is_constant() => Some(elements_or_itself(Json::new(list.get(0)))),
            _ => None,
        })
        .flatten()
        .filter(|element| !element.is_null())
        .map(Json::key)
        .collect();
    each(call, |row| {
        let value = Json::new(values.get(row));
        if value.is_null() {
            return is_negated;
        }
        let found = (!constants.is_empty() && constants.contains(&value.key()))
            || items.iter().any(|item| match item {
                Cells::Dynamic(list) if list.is_constant() => false,
                Cells::Dynamic(list) => {
                    let key = value.key();
                    elements_or_itself(Json::new(list.get(row))).into_iter().any(|element| element.key() == key)
                }
                item => compare::equals_cell(value, item, row) == Some(true),
            });
        found != is_negated
    })
}

/// `has_any` and `has_all`: the operand is a string. A null needle is in every text for `has_any` and left out for `has_all`.
fn has_list(wants_all: bool, operand: Expr, items: Vec<(Expr, KqlType)>) -> Result<Expr> {
    let mut needles: Vec<String> = Vec::new();
    let mut parts = Vec::new();
    let mut add = |needle: Option<String>| match needle {
        None if wants_all => {}
        needle => needles.push(needle.unwrap_or_default()),
    };
    for (item, ty) in items {
        match literal(&item) {
            Some(value) if ty == KqlType::Dynamic => {
                for element in elements_or_itself(Json::new(value.try_as_str().flatten())) {
                    add((!element.is_null()).then(|| element.text().into_owned()));
                }
            }
            Some(value) if value.is_null() && ty != KqlType::String => add(None),
            Some(value) => add(text_value(convert::constant(value.clone(), ty, KqlType::String)?)),
            None if ty == KqlType::Dynamic => {
                let (name, kernel) =
                    if wants_all { ("has_all", has_all as Kernel) } else { ("has_any", has_any as Kernel) };
                let types = [KqlType::String, ty];
                parts.push(call(name, kernel, vec![operand.clone(), item], &types, KqlType::Bool)?);
            }
            None => {
                let item = convert::expr(item, ty, KqlType::String)?;
                let text = KqlType::String;
                parts.push(super::expr(
                    BinaryOp::Has,
                    operand.clone(),
                    text,
                    item,
                    text,
                    KqlType::Bool,
                    Context::Value,
                )?);
            }
        }
    }
    needles.sort_unstable();
    needles.dedup();
    if !needles.is_empty() {
        let question = Question::Has(Needles::new(needles, wants_all));
        parts.push(Prepared { question, is_negated: false }.call(operand)?);
    }
    Ok(match wants_all {
        true => parts.into_iter().reduce(and).unwrap_or(lit(true)),
        false => any_of(false, parts),
    })
}

fn has_any(call: &Call<'_>) -> Result<ColumnarValue> {
    has_cells(call, false)
}

fn has_all(call: &Call<'_>) -> Result<ColumnarValue> {
    has_cells(call, true)
}

fn has_cells(call: &Call<'_>, wants_all: bool) -> Result<ColumnarValue> {
    let (text, list) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let mut scratch = String::new();
    each(call, |row| {
        let mut has = |element: Json<'_>| {
            Matcher::new(Ask::Has, Case::Ignored, &element.text()).is_match(text.text(row), &mut scratch)
        };
        let mut elements = elements_or_itself(Json::new(list.get(row))).into_iter();
        if wants_all {
            elements.all(|element| element.is_null() || has(element))
        } else {
            elements.any(|element| element.is_null() || has(element))
        }
    })
}

/// The needles of a constant `has_any` or `has_all`.
#[derive(Debug)]
struct Needles {
    wants_all: bool,
    needles: Vec<String>,
    matchers: Vec<Matcher>,
    /// The folded needles of a long `has_any`, when each is one term.
    terms: Option<HashSet<String>>,
}

impl Needles {
    fn new(needles: Vec<String>, wants_all: bool) -> Self {
        let matchers = needles.iter().map(|needle| Matcher::new(Ask::Has, Case::Ignored, needle)).collect();
        let is_term = |needle: &String| !needle.is_empty() && needle.chars().all(is_term_character);
        let terms = (!wants_all && needles.len() > MAX_SEARCHED_NEEDLES && needles.iter().all(is_term))
            .then(|| needles.iter().map(|needle| folded(needle).into_owned()).collect());
        Self { wants_all, needles, matchers, terms }
    }

    fn is_match(&self, text: &str, scratch: &mut String) -> bool {
        if let Some(terms) = &self.terms {
            fold_into(text, scratch);
            return scratch.split(|character| !is_term_character(character)).any(|term| terms.contains(term));
        }
        if self.wants_all {
            self.matchers.iter().all(|matcher| matcher.is_match(text, scratch))
        } else {
            self.matchers.iter().any(|matcher| matcher.is_match(text, scratch))
        }
    }
}

impl PartialEq for Needles {
    fn eq(&self, other: &Self) -> bool {
        self.wants_all == other.wants_all && self.needles == other.needles
    }
}

#[derive(Debug, PartialEq)]
enum Question {
    In(Set),
    Has(Needles),
}

/// A question about one operand with its list prepared.
#[derive(Debug, PartialEq)]
struct Prepared {
    question: Question,
    is_negated: bool,
}

impl Prepared {
    fn call(self, operand: Expr) -> Result<Expr> {
        if let Some(value) = literal(&operand) {
            let args = [ColumnarValue::Scalar(value.clone())];
            let call = Call { args: &args, types: &[KqlType::Dynamic], returns: KqlType::Bool, rows: 1 };
            return match self.answer(&call)? {
                ColumnarValue::Scalar(value) => Ok(lit(value)),
                ColumnarValue::Array(array) => Ok(lit(ScalarValue::try_from_array(&array, 0)?)),
            };
        }
        Ok(ScalarUDF::from(ListUdf::new(self)).call(vec![operand]))
    }

    /// Argument 0 is of the Arrow type that the question takes; the KQL type of the call is not looked at.
    fn answer(&self, call: &Call<'_>) -> Result<ColumnarValue> {
        fn among<S: Slot>(
            call: &Call<'_>,
            is_negated: bool,
            contains: impl Fn(S::Value<'_>) -> bool,
        ) -> Result<ColumnarValue> {
            let input = Input::<S>::of(call, 0)?;
            each(call, |row| input.get(row).is_some_and(&contains) != is_negated)
        }
        let is_negated = self.is_negated;
        let mut scratch = String::new();
        match &self.question {
            Question::In(Set::Bool(values)) => among::<BoolSlot>(call, is_negated, |value| values.contains(&value)),
            Question::In(Set::Int(values)) => among::<IntSlot>(call, is_negated, |value| values.contains(&value)),
            Question::In(Set::Long(values)) => {
                let input = Integers::of(call, 0)?;
                each(call, |row| input.get(row).is_some_and(|value| values.contains(&value)) != is_negated)
            }
            Question::In(Set::Real(values)) => {
                among::<RealSlot>(call, is_negated, |value| values.contains(&real_key(value)))
            }
            Question::In(Set::Bytes(values)) => among::<BytesSlot>(call, is_negated, |value| values.contains(&value)),
            Question::In(Set::Text(values)) => {
                let input = Texts::of(call, 0)?;
                each(call, |row| values.contains(input.text(row)) != is_negated)
            }
            Question::In(Set::Folded(values)) => {
                let input = Texts::of(call, 0)?;
                each(call, |row| {
                    fold_into(input.text(row), &mut scratch);
                    values.contains(&scratch) != is_negated
                })
            }
            Question::Has(needles) => {
                let input = Texts::of(call, 0)?;
                each(call, |row| needles.is_match(input.text(row), &mut scratch) != is_negated)
            }
        }
    }

    fn name(&self) -> String {
        let (name, count) = match &self.question {
            Question::In(Set::Folded(values)) => ("in_tilde", values.len()),
            Question::In(set) => ("in", set.len()),
            Question::Has(needles) if needles.wants_all => ("has_all", needles.needles.len()),
            Question::Has(needles) => ("has_any", needles.needles.len()),
        };
        let negation = if self.is_negated { "not_" } else { "" };
        // Names of expressions tell columns apart in the engine: two lists must not share one.
        format!("kql_{negation}{name}_{count}_{:016x}", self.digest())
    }

    fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        match &self.question {
            Question::In(set) => {
                for constant in set.constants() {
                    constant.hash(&mut hasher);
                }
            }
            Question::Has(needles) => needles.needles.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// The engine's view of a prepared question.
#[derive(Debug)]
struct ListUdf {
    name: String,
    prepared: Arc<Prepared>,
    signature: Signature,
}

impl ListUdf {
    fn new(prepared: Prepared) -> Self {
        Self {
            name: prepared.name(),
            prepared: Arc::new(prepared),
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl PartialEq for ListUdf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.prepared, &other.prepared) || (self.name == other.name && self.prepared == other.prepared)
    }
}

impl Eq for ListUdf {}

impl Hash for ListUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ListUdf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types = [KqlType::Dynamic];
        let call = Call { args: &args.args, types: &types, returns: KqlType::Bool, rows: args.number_rows };
        self.prepared.answer(&call)
    }
}
