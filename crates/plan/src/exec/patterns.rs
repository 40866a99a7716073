//! Patterns of values that many rows share: `basket`, `autocluster`, `diffpatterns`, `diffpatterns_text`.
//!
//! A pattern sets some columns to values and leaves the others open. Rows are first reduced to the distinct
//! combinations of values with their weights. `basket` and `diffpatterns` search closed patterns level by level as the
//! Apriori algorithm does: a pattern's closure also sets the columns in which all of its rows agree, so that of several
//! patterns over the same rows only the most telling one is given, as in the examples of the basket page.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringViewArray};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewater_functions::turn;

use super::algorithm::{Group, GroupAlgorithm, GroupResult};
use super::cells::{Cell, Cells};
use crate::bound::Constant;

/// An open column.
const OPEN: u32 = u32::MAX;
/// Patterns that a search may find.
const MAX_PATTERNS: usize = 50_000;
/// Rows that a search may look at.
const MAX_VISITS: usize = 400_000_000;

/// What is searched.
#[derive(Clone, Debug)]
pub enum Search {
    /// Every pattern of enough rows.
    Basket {
        /// Share of the rows, from 0 to 1.
        threshold: f64,
        /// Columns that are set before the closure.
        dimensions: usize,
    },
    /// A few patterns that are large and telling.
    Cluster {
        /// How much size counts against tellingness, from 0 to 1.
        size_weight: f64,
        /// Beginnings of the search.
        seeds: usize,
    },
    /// Patterns whose shares in two sets differ.
    Difference {
        /// Least difference of the shares, from 0 to 1.
        threshold: f64,
        /// Columns that are set before the closure.
        dimensions: usize,
    },
    /// The same over the first words of a text.
    Text {
        /// Least difference of the shares, from 0 to 1.
        threshold: f64,
        /// Least number of words that are set.
        least: usize,
        /// Words that are looked at.
        words: usize,
    },
}

/// The operator. Arguments: the weight (real), the set (long: 0, 1, or another for neither), then the columns, or the text.
/// Columns: those of the plugin, in its order.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// What is searched.
    pub search: Search,
    /// What stands for an open column, by column; `None`: null.
    pub wildcards: Vec<Option<Constant>>,
}

impl GroupAlgorithm for Patterns {
    fn name(&self) -> &'static str {
        "Patterns"
    }

    fn settings(&self) -> String {
        format!("{:?} {:?}", self.search, self.wildcards)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let [weights, sides, values @ ..] = rows.args.as_slice() else {
            return internal_err!("a search for patterns has no columns");
        };
        let weights = Float64Array::from(weights.as_primitive::<Float64Type>().clone());
        let sides = sides.as_primitive::<Int64Type>();
        let side = |row: usize| match (sides.is_valid(row), sides.is_valid(row).then(|| sides.value(row))) {
            (true, Some(0)) => Some(0),
            (true, Some(1)) => Some(1),
            _ => None,
        };
        let weight = |row: usize| if weights.is_valid(row) { weights.value(row).max(0.0) } else { 0.0 };
        if let Search::Text { threshold, least, words } = self.search {
            let texts = values[0].as_string_view();
            let (data, dictionary) = words_of(texts, words, rows.rows, side, weight, rows.memory)?;
            let mut found = data.differences(threshold, words, true, rows.memory)?;
            found.retain(|found| found.set() >= least);
            let found = chosen(found, &data);
            return texts_result(&rows, &data, &found, &dictionary, words);
        }
        let data = Data::of_columns(values, rows.rows, side, weight, rows.memory)?;
        let found = match self.search {
            Search::Basket { threshold, dimensions } => data.basket(threshold, dimensions, rows.memory)?,
            Search::Cluster { size_weight, seeds } => data.clusters(size_weight, seeds)?,
            Search::Difference { threshold, dimensions } => {
                chosen(data.differences(threshold, dimensions, true, rows.memory)?, &data)
            }
            Search::Text { .. } => Vec::new(),
        };
        self.result(&rows, values, &data, &found)
    }
}

/// A pattern and the weight of its rows in both sets.
#[derive(Clone, Debug)]
struct Found {
    pattern: Vec<u32>,
    weight: [f64; 2],
}

impl Found {
    fn set(&self) -> usize {
        self.pattern.iter().filter(|code| **code != OPEN).count()
    }

    fn total(&self) -> f64 {
        self.weight[0] + self.weight[1]
    }

    /// Whether every column that is set in `other` is set here to the same.
    fn refines(&self, other: &Found) -> bool {
        self.pattern.iter().zip(&other.pattern).all(|(own, other)| *other == OPEN || own == other)
    }
}

/// Distinct rows as codes of their values.
#[derive(Default)]
struct Data {
    columns: usize,
    /// The codes of each distinct row, one row after the other.
    codes: Vec<u32>,
    /// The weight of each distinct row in both sets.
    weights: Vec<[f64; 2]>,
    /// A row of the input that has each code of each column.
    examples: Vec<Vec<u32>>,
    total: [f64; 2],
    /// Code 0 is the end of a text, which no pattern has.
    has_ends: bool,
}

impl Data {
    fn of_columns(
        values: &[ArrayRef],
        rows: usize,
        side: impl Fn(usize) -> Option<usize>,
        weight: impl Fn(usize) -> f64,
        memory: &MemoryReservation,
    ) -> Result<Data> {
        let mut data = Data { columns: values.len(), ..Data::default() };
        memory.try_grow(rows * (4 * values.len() + 64))?;
        let mut coded: Vec<Vec<u32>> = Vec::with_capacity(values.len());
        for array in values {
            let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
            let keys = converter.convert_columns(std::slice::from_ref(array))?;
            let mut known: HashMap<&[u8], u32> = HashMap::new();
            let mut examples = Vec::new();
            let mut codes = Vec::with_capacity(rows);
            for row in 0..rows {
                turn::check_at(row)?;
                let next = known.len() as u32;
                let code = *known.entry(keys.row(row).data()).or_insert_with(|| {
                    examples.push(row as u32);
                    next
                });
                codes.push(code);
            }
            // Codes in the order of the values: results do not depend on the order of the rows.
            let mut order: Vec<u32> = (0..examples.len() as u32).collect();
            order.sort_unstable_by(|left, right| {
                let key = |code: u32| keys.row(examples[code as usize] as usize);
                key(*left).cmp(&key(*right))
            });
            let mut ranks = vec![0; order.len()];
            order.iter().enumerate().for_each(|(rank, code)| ranks[*code as usize] = rank as u32);
            codes.iter_mut().for_each(|code| *code = ranks[*code as usize]);
            coded.push(codes);
            data.examples.push(order.iter().map(|code| examples[*code as usize]).collect());
        }
        let mut places: HashMap<Vec<u32>, usize> = HashMap::new();
        for row in 0..rows {
            turn::check_at(row)?;
            let (Some(side), weight) = (side(row), weight(row)) else { continue };
            if weight > 0.0 {
                data.add(coded.iter().map(|codes| codes[row]).collect(), side, weight, &mut places);
            }
        }
        Ok(data)
    }

    fn add(&mut self, row: Vec<u32>, side: usize, weight: f64, places: &mut HashMap<Vec<u32>, usize>) {
        self.total[side] += weight;
        let place = match places.get(&row) {
            Some(place) => *place,
            None => {
                self.codes.extend_from_slice(&row);
                self.weights.push([0.0; 2]);
                places.insert(row, self.weights.len() - 1);
                self.weights.len() - 1
            }
        };
        self.weights[place][side] += weight;
    }

    fn row(&self, place: usize) -> &[u32] {
        &self.codes[place * self.columns..(place + 1) * self.columns]
    }

    fn weight_of(&self, rows: &[u32]) -> [f64; 2] {
        rows.iter().fold([0.0; 2], |sum, row| {
            let weight = self.weights[*row as usize];
            [sum[0] + weight[0], sum[1] + weight[1]]
        })
    }

    /// The values that all of the rows share.
    fn closure(&self, rows: &[u32]) -> Vec<u32> {
        let Some((first, rest)) = rows.split_first() else { return vec![OPEN; self.columns] };
        let mut shared = self.row(*first as usize).to_vec();
        for row in rest {
            for (shared, code) in shared.iter_mut().zip(self.row(*row as usize)) {
                if *shared != *code {
                    *shared = OPEN;
                }
            }
        }
        if self.has_ends {
            shared.iter_mut().filter(|code| **code == 0).for_each(|code| *code = OPEN);
        }
        shared
    }

    /// The closed patterns that are `enough`, which a pattern is when a larger one is, without the open one.
    fn closed(
        &self,
        dimensions: usize,
        enough: &dyn Fn([f64; 2]) -> bool,
        is_partial: bool,
        memory: &MemoryReservation,
    ) -> Result<Vec<Found>> {
        let all: Vec<u32> = (0..self.weights.len() as u32).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let root = self.closure(&all);
        let mut known: HashSet<Vec<u32>> = HashSet::from([root.clone()]);
        let mut found = Vec::new();
        if root.iter().any(|code| *code != OPEN) {
            found.push(Found { pattern: root.clone(), weight: self.total });
        }
        let mut level = vec![(root, all)];
        let mut visits = 0usize;
        let mut reserved = 0usize;
        for _ in 0..dimensions.min(self.columns) {
            let mut next = Vec::new();
            let mut held = 0;
            for (pattern, rows) in &level {
                for column in (0..self.columns).filter(|column| pattern[*column] == OPEN) {
                    turn::check()?;
                    visits += rows.len();
                    let mut parts: HashMap<u32, Vec<u32>> = HashMap::new();
                    for row in rows {
                        parts.entry(self.row(*row as usize)[column]).or_default().push(*row);
                    }
                    let mut parts: Vec<(u32, Vec<u32>)> = parts.into_iter().collect();
                    parts.sort_unstable_by_key(|(code, _)| *code);
                    for (code, rows) in parts {
                        let weight = self.weight_of(&rows);
                        if !enough(weight) || self.has_ends && code == 0 {
                            continue;
                        }
                        visits += rows.len();
                        let closed = self.closure(&rows);
                        if known.insert(closed.clone()) {
                            held += 4 * (rows.len() + 3 * self.columns) + 128;
                            if held > reserved {
                                memory.try_grow(held - reserved)?;
                                reserved = held;
                            }
                            found.push(Found { pattern: closed.clone(), weight });
                            next.push((closed, rows));
                        }
                    }
                    if found.len() > MAX_PATTERNS || visits > MAX_VISITS {
                        if is_partial {
                            return Ok(found);
                        }
                        return exec_err!(
                            "basket() finds more than {MAX_PATTERNS} patterns or looks at more than {MAX_VISITS} rows: \
                             raise the threshold or project fewer columns"
                        );
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(found)
    }

    /// The largest first.
    fn basket(&self, threshold: f64, dimensions: usize, memory: &MemoryReservation) -> Result<Vec<Found>> {
        let total = self.total[0] + self.total[1];
        let enough = |weight: [f64; 2]| weight[0] + weight[1] >= threshold * total;
        let mut found = self.closed(dimensions, &enough, false, memory)?;
        found.sort_by(|left, right| {
            right
                .total()
                .total_cmp(&left.total())
                .then_with(|| left.set().cmp(&right.set()))
                .then_with(|| left.pattern.cmp(&right.pattern))
        });
        Ok(found)
    }

    fn shares(&self, weight: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|side| if self.total[side] > 0.0 { weight[side] / self.total[side] } else { 0.0 })
    }

    fn difference(&self, found: &Found) -> f64 {
        let shares = self.shares(found.weight);
        (shares[0] - shares[1]).abs()
    }

    /// Patterns whose shares differ enough. A difference needs a share of at least as much on one side.
    fn differences(
        &self,
        threshold: f64,
        dimensions: usize,
        is_partial: bool,
        memory: &MemoryReservation,
    ) -> Result<Vec<Found>> {
        let enough = |weight: [f64; 2]| self.shares(weight).iter().any(|share| *share >= threshold);
        let mut found = self.closed(dimensions, &enough, is_partial, memory)?;
        found.retain(|found| self.difference(found) >= threshold);
        Ok(found)
    }

    /// Local searches that begin at rows spread over the data: columns are opened and set again while that makes the
    /// weighted geometric mean of size and tellingness larger. How telling a value is are the bits of its rarity.
    fn clusters(&self, size_weight: f64, seeds: usize) -> Result<Vec<Found>> {
        let total = self.total[0] + self.total[1];
        if total <= 0.0 {
            return Ok(Vec::new());
        }
        let mut shares: Vec<Vec<f64>> = self.examples.iter().map(|codes| vec![0.0; codes.len()]).collect();
        for (place, weight) in self.weights.iter().enumerate() {
            for (column, code) in self.row(place).iter().enumerate() {
                shares[column][*code as usize] += (weight[0] + weight[1]) / total;
            }
        }
        let bits = |column: usize, code: u32| -shares[column][code as usize].log2();
        let mut order: Vec<usize> = (0..self.weights.len()).collect();
        order.sort_by(|left, right| {
            let weight = |place: usize| self.weights[place][0] + self.weights[place][1];
            weight(*right).total_cmp(&weight(*left)).then_with(|| self.row(*left).cmp(self.row(*right)))
        });
        let seeds = seeds.clamp(1, 1_000).min(order.len());
        let mut scored: Vec<(f64, Found)> = Vec::new();
        let mut known: HashSet<Vec<u32>> = HashSet::new();
        let mut visits = 0usize;
        for seed in 0..seeds {
            let row = self.row(order[seed * order.len() / seeds]).to_vec();
            let mut is_set = vec![true; self.columns];
            let mut score = |is_set: &[bool]| {
                visits += self.weights.len();
                let matches = |place: &usize| {
                    self.row(*place).iter().zip(&row).zip(is_set).all(|((code, own), is_set)| !is_set || code == own)
                };
                let rows: Vec<u32> = (0..self.weights.len()).filter(matches).map(|place| place as u32).collect();
                let weight = self.weight_of(&rows);
                let told: f64 =
                    (0..self.columns).filter(|column| is_set[*column]).map(|column| bits(column, row[column])).sum();
                (((weight[0] + weight[1]) / total).powf(size_weight) * told.powf(1.0 - size_weight), weight)
            };
            let (mut best, mut weight) = score(&is_set);
            for _ in 0..4 * self.columns {
                let mut better: Option<(f64, [f64; 2], usize)> = None;
                for column in 0..self.columns {
                    turn::check()?;
                    is_set[column] = !is_set[column];
                    let (value, rows) = score(&is_set);
                    if value > best * (1.0 + 1e-12) && better.as_ref().is_none_or(|(most, ..)| value > *most) {
                        better = Some((value, rows, column));
                    }
                    is_set[column] = !is_set[column];
                }
                let Some((value, rows, column)) = better else { break };
                (best, weight) = (value, rows);
                is_set[column] = !is_set[column];
            }
            let pattern: Vec<u32> =
                row.iter().zip(&is_set).map(|(code, is_set)| if *is_set { *code } else { OPEN }).collect();
            if pattern.iter().any(|code| *code != OPEN) && known.insert(pattern.clone()) {
                scored.push((best, Found { pattern, weight }));
            }
            if visits > MAX_VISITS {
                break;
            }
        }
        scored.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.pattern.cmp(&right.1.pattern)));
        let most = scored.first().map_or(0.0, |(score, _)| *score);
        // What is far worse than the best says little about the data.
        let good = scored.into_iter().filter(|(score, _)| *score * 2.0 >= most).map(|(_, found)| found);
        let mut kept: Vec<Found> = Vec::new();
        for found in good {
            if !kept.iter().any(|other| other.refines(&found) || found.refines(other)) {
                kept.push(found);
            }
        }
        kept.sort_by(|left, right| right.total().total_cmp(&left.total()));
        Ok(kept)
    }
}

/// The greatest differences first, none of which is a part or a generalization of another.
fn chosen(mut found: Vec<Found>, data: &Data) -> Vec<Found> {
    found.sort_by(|left, right| {
        let order = data.difference(right).total_cmp(&data.difference(left));
        order.then_with(|| left.set().cmp(&right.set())).then_with(|| left.pattern.cmp(&right.pattern))
    });
    let mut kept: Vec<Found> = Vec::new();
    for found in found {
        if !kept.iter().any(|other| other.refines(&found) || found.refines(other)) {
            kept.push(found);
        }
    }
    kept
}

/// The first words of texts as rows of codes, and the words.
fn words_of<'t>(
    texts: &'t StringViewArray,
    most: usize,
    rows: usize,
    side: impl Fn(usize) -> Option<usize>,
    weight: impl Fn(usize) -> f64,
    memory: &MemoryReservation,
) -> Result<(Data, Vec<&'t str>)> {
    let mut data = Data { columns: most, has_ends: true, ..Data::default() };
    memory.try_grow(rows * (4 * most + 64))?;
    // The end of a text is a word of its own, which is never shown.
    let mut words: Vec<&str> = vec![""];
    let mut known: HashMap<&str, u32> = HashMap::from([("", 0)]);
    let mut places = HashMap::new();
    for row in 0..rows {
        turn::check_at(row)?;
        let Some(side) = side(row) else { continue };
        let text = if texts.is_valid(row) { texts.value(row) } else { "" };
        let mut codes: Vec<u32> = Vec::with_capacity(most);
        for word in text.split_whitespace().take(most) {
            let next = words.len() as u32;
            codes.push(*known.entry(word).or_insert_with(|| {
                words.push(word);
                next
            }));
        }
        codes.resize(most, 0);
        data.add(codes, side, weight(row), &mut places);
    }
    memory.try_grow(words.len() * 48)?;
    Ok((data, words))
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

impl Patterns {
    /// Shares of one set are given to one digit, those of two sets to two. Source: examples of the pages.
    fn result(&self, rows: &Group<'_>, values: &[ArrayRef], data: &Data, found: &[Found]) -> Result<GroupResult> {
        let own = rows.columns.len().saturating_sub(values.len());
        let mut cells: Vec<Cells> = rows.columns.iter().map(|(_, ty)| Cells::new(*ty)).collect();
        for (segment, found) in found.iter().enumerate() {
            let shares = data.shares(found.weight);
            let whole = data.total[0] + data.total[1];
            let numbers: Vec<Cell> = match self.search {
                Search::Difference { .. } => vec![
                    Cell::Whole(segment as i64),
                    Cell::Whole(found.weight[0].round() as i64),
                    Cell::Whole(found.weight[1].round() as i64),
                    Cell::Real(rounded(100.0 * shares[0], 2)),
                    Cell::Real(rounded(100.0 * shares[1], 2)),
                    Cell::Real(rounded(100.0 * (shares[0] - shares[1]).abs(), 2)),
                ],
                _ => vec![
                    Cell::Whole(segment as i64),
                    Cell::Whole(found.total().round() as i64),
                    Cell::Real(rounded(100.0 * found.total() / whole, 1)),
                ],
            };
            if numbers.len() != own {
                return internal_err!("a search for patterns gives {} numbers, not {own}", numbers.len());
            }
            numbers.iter().zip(&mut cells).for_each(|(number, cells)| cells.cell(number));
            for (column, code) in found.pattern.iter().enumerate() {
                let ty = rows.columns[own + column].1;
                let cell = match (*code, self.wildcards.get(column)) {
                    (OPEN, Some(Some(wildcard))) => Cell::of(wildcard),
                    (OPEN, _) => Cell::Null,
                    (code, _) => Cell::read(&values[column], ty, data.examples[column][code as usize] as usize),
                };
                cells[own + column].cell(&cell);
            }
        }
        Ok(GroupResult { rows: vec![None; found.len()], columns: cells.iter_mut().map(Cells::finish).collect() })
    }
}

fn texts_result(rows: &Group<'_>, data: &Data, found: &[Found], words: &[&str], most: usize) -> Result<GroupResult> {
    let mut cells: Vec<Cells> = rows.columns.iter().map(|(_, ty)| Cells::new(*ty)).collect();
    let mut count = 0;
    for found in found {
        let last = found.pattern.iter().rposition(|code| *code != OPEN);
        let Some(last) = last else { continue };
        let shown: Vec<&str> = found.pattern[..=last]
            .iter()
            .map(|code| match *code {
                OPEN => "*",
                code => words[code as usize],
            })
            .collect();
        let mut text = shown.join(" ");
        if last + 1 < most {
            text.push_str(" *");
        }
        let shares = data.shares(found.weight);
        let numbers = [
            Cell::Whole(found.weight[0].round() as i64),
            Cell::Whole(found.weight[1].round() as i64),
            Cell::Real(rounded(100.0 * shares[0], 2)),
            Cell::Real(rounded(100.0 * shares[1], 2)),
            Cell::Text(text.as_str().into()),
        ];
        numbers.iter().zip(&mut cells).for_each(|(cell, cells)| cells.cell(cell));
        count += 1;
    }
    Ok(GroupResult { rows: vec![None; count], columns: cells.iter_mut().map(Cells::finish).collect() })
}
