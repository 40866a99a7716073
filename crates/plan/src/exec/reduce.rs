//! `reduce`: texts that agree in their frequent words are one group.
//!
//! The algorithm is that of the paper which the reduce-operator page names (Vaarandi, "A data
//! clustering algorithm for mining patterns from event logs"): words are counted by their place in
//! the text, the frequent ones of a text make its pattern, and patterns of enough texts are groups.
//! Words of digits only are taken for values, never for parts of a pattern: that is what the page's
//! first example shows. What is in no group is counted as `others`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray, StringViewBuilder};
use datafusion::common::internal_err;
use datafusion::error::Result;

use super::algorithm::{Group, GroupAlgorithm, GroupResult};

/// The pattern of texts that are in no group.
const OTHERS: &str = "others";

/// The operator. Argument: the text. Columns: pattern, count, representative.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// Share of the rows that a word, and a pattern, must occur in.
    pub threshold: f64,
    /// Characters between words; `None`: everything but letters and digits.
    pub characters: Option<String>,
    /// A result row for every row instead of every group.
    pub keeps_rows: bool,
}

impl GroupAlgorithm for Reduce {
    fn name(&self) -> &'static str {
        "Reduce"
    }

    fn settings(&self) -> String {
        format!("{} {:?} {}", self.threshold, self.characters, self.keeps_rows)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let Some(texts) = rows.args.first().map(|array| array.as_string_view().clone()) else {
            return internal_err!("reduce has no text");
        };
        rows.memory.try_grow(texts.get_buffer_memory_size() + rows.rows * 64)?;
        let groups = self.groups(&texts);
        Ok(if self.keeps_rows { groups.by_row() } else { groups.by_group() })
    }
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part<'a> {
    Word(&'a str),
    Between(&'a str),
}

/// A group while it is counted.
struct Found {
    pattern: String,
    count: u64,
    first: usize,
}

struct Groups<'a> {
    texts: &'a StringViewArray,
    /// The largest first, `others` last.
    found: Vec<Found>,
    /// The group of each row.
    of_row: Vec<usize>,
}

impl Reduce {
    fn is_between(&self, character: char) -> bool {
        match &self.characters {
            Some(characters) => characters.contains(character),
            None => !character.is_alphanumeric(),
        }
    }

    fn parts<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Part<'t>> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let is_between = self.is_between(rest.chars().next()?);
            let end = rest
                .char_indices()
                .find(|(_, character)| self.is_between(*character) != is_between)
                .map_or(rest.len(), |(at, _)| at);
            let (part, after) = rest.split_at(end);
            rest = after;
            Some(if is_between { Part::Between(part) } else { Part::Word(part) })
        })
    }

    fn words<'t>(&'t self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.parts(text).filter_map(|part| match part {
            Part::Word(word) => Some(word),
            Part::Between(_) => None,
        })
    }

    fn groups<'t>(&self, texts: &'t StringViewArray) -> Groups<'t> {
        let rows = texts.len();
        // A single occurrence is no pattern, unless there is nothing else.
        let least = ((self.threshold * rows as f64).ceil() as u64).max(2).min(rows as u64);
        let mut counts: HashMap<(usize, &str), u64> = HashMap::new();
        for text in (0..rows).map(|row| texts.value(row)) {
            for (place, word) in self.words(text).enumerate() {
                *counts.entry((place, word)).or_default() += 1;
            }
        }
        let is_value = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        counts.retain(|(_, word), count| *count >= least && !is_value(word));
        let mut numbers: HashMap<(usize, &str), u32> = HashMap::with_capacity(counts.len());
        for key in counts.into_keys() {
            let number = numbers.len() as u32;
            numbers.insert(key, number);
        }
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        // How many texts each candidate has, and the first of them.
        let mut members: Vec<(u64, usize)> = Vec::new();
        let mut candidates = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut key = Vec::new();
            for (place, word) in self.words(texts.value(row)).enumerate() {
                key.extend(numbers.get(&(place, word)));
            }
            if key.is_empty() {
                candidates.push(None);
                continue;
            }
            let candidate = *known.entry(key).or_insert_with(|| {
                members.push((0, row));
                members.len() - 1
            });
            members[candidate].0 += 1;
            candidates.push(Some(candidate));
        }
        // The texts of a candidate may go on differently behind its last word.
        let mut goes_on = vec![false; members.len()];
        for (row, candidate) in candidates.iter().enumerate() {
            if let Some(candidate) = candidate {
                let last = self.words(texts.value(row)).enumerate().last();
                goes_on[*candidate] |= last.is_some_and(|word| !numbers.contains_key(&word));
            }
        }
        let mut found: Vec<Found> = Vec::new();
        let mut places = vec![usize::MAX; members.len()];
        let mut order: Vec<usize> = (0..members.len()).filter(|at| members[*at].0 >= least).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(members[*at].0), members[*at].1));
        for at in order {
            let (count, first) = members[at];
            places[at] = found.len();
            let pattern = self.pattern(texts.value(first), &numbers, goes_on[at]);
            found.push(Found { pattern, count, first });
        }
        let mut others: Option<usize> = None;
        let mut of_row = Vec::with_capacity(rows);
        for (row, candidate) in candidates.into_iter().enumerate() {
            let place = candidate.map_or(usize::MAX, |candidate| places[candidate]);
            if place != usize::MAX {
                of_row.push(place);
                continue;
            }
            let place = *others.get_or_insert_with(|| {
                found.push(Found { pattern: OTHERS.to_string(), count: 0, first: row });
                found.len() - 1
            });
            found[place].count += 1;
            of_row.push(place);
        }
        Groups { texts, found, of_row }
    }

    /// The frequent words of a text with `*` for what differs.
    fn pattern(&self, text: &str, frequent: &HashMap<(usize, &str), u32>, goes_on: bool) -> String {
        let mut pattern = String::with_capacity(text.len());
        let parts: Vec<Part<'_>> = self.parts(text).collect();
        let mut place = 0;
        let is_frequent: Vec<bool> = parts
            .iter()
            .map(|part| match part {
                Part::Word(word) => {
                    place += 1;
                    frequent.contains_key(&(place - 1, *word))
                }
                Part::Between(_) => false,
            })
            .collect();
        let last = is_frequent.iter().rposition(|frequent| *frequent).unwrap_or(0);
        for (at, part) in parts.iter().enumerate().take(last + 1) {
            match part {
                Part::Word(word) if is_frequent[at] => pattern.push_str(word),
                Part::Word(_) if self.characters.is_some() && pattern.ends_with('*') => {}
                Part::Word(_) => pattern.push('*'),
                // Characters that were named belong to what differs beside them.
                Part::Between(text) => {
                    let beside = |at: Option<usize>| {
                        at.and_then(|at| parts.get(at).map(|part| matches!(part, Part::Word(_)) && !is_frequent[at]))
                            .unwrap_or(false)
                    };
                    if self.characters.is_none() || !(beside(at.checked_sub(1)) || beside(Some(at + 1))) {
                        pattern.push_str(text);
                    }
                }
            }
        }
        let behind = parts.get(last + 1);
        if goes_on {
            if let (Some(Part::Between(text)), None) = (behind, &self.characters) {
                pattern.push_str(text);
            }
            pattern.push('*');
        } else if let Some(Part::Between(text)) = behind {
            pattern.push_str(text);
        }
        pattern
    }
}

impl Groups<'_> {
    fn representative(&self, group: &Found) -> &str {
        if group.pattern == OTHERS { "" } else { self.texts.value(group.first) }
    }

    fn by_group(&self) -> GroupResult {
        let mut patterns = StringViewBuilder::new();
        let mut representatives = StringViewBuilder::new();
        for group in &self.found {
            patterns.append_value(&group.pattern);
            representatives.append_value(self.representative(group));
        }
        let counts = Int64Array::from_iter_values(self.found.iter().map(|group| group.count as i64));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(patterns.finish()), Arc::new(counts), Arc::new(representatives.finish())];
        GroupResult { rows: self.found.iter().map(|group| Some(group.first as u32)).collect(), columns }
    }

    fn by_row(&self) -> GroupResult {
        let groups = || self.of_row.iter().map(|group| &self.found[*group]);
        let patterns = StringViewArray::from_iter_values(groups().map(|group| &group.pattern));
        let counts = Int64Array::from_iter_values(groups().map(|group| group.count as i64));
        let representatives = StringViewArray::from_iter_values(groups().map(|group| self.representative(group)));
        let columns: Vec<ArrayRef> = vec![Arc::new(patterns), Arc::new(counts), Arc::new(representatives)];
        GroupResult { rows: (0..self.of_row.len()).map(|row| Some(row as u32)).collect(), columns }
    }
}
