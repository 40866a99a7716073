//! Sets that aggregates keep per group: of words, and of texts in their order of arrival.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::size_of;

/// Spreads every bit of a word over the whole word (the finish of MurmurHash3). Part of the stored
/// form of `hll()`: it must not change.
pub fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

/// Stable hash of bytes. Part of the stored form of `hll()`: it must not change.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, 0)
}

/// Hashes single words.
#[derive(Default)]
pub struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ hash_bytes(bytes));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }
}

type WordState = BuildHasherDefault<WordHasher>;

/// Words searched one by one, before a table pays.
const FEW: usize = 16;

/// A set of 64-bit words; small ones take little more than their words.
#[derive(Default)]
pub struct WordSet {
    few: Vec<u64>,
    many: Option<HashSet<u64, WordState>>,
}

impl WordSet {
    /// Adds a word; whether it is new.
    pub fn insert(&mut self, word: u64) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(word);
        }
        if self.few.contains(&word) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(word);
        } else {
            let mut many = HashSet::with_capacity_and_hasher(4 * FEW, WordState::default());
            many.extend(self.few.drain(..));
            many.insert(word);
            self.few = Vec::new();
            self.many = Some(many);
        }
        true
    }

    /// Whether it holds no word.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.many.as_ref().map_or(self.few.len(), HashSet::len)
    }

    /// The words, in no order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.few.iter().copied().chain(self.many.iter().flatten().copied())
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.few.capacity() * size_of::<u64>() + self.many.as_ref().map_or(0, |many| many.capacity() * 10)
    }
}

/// A set of byte strings that keeps their order of arrival.
#[derive(Default)]
pub struct TextSet {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    // First text with a hash; `next` leads to the others. Only kept beyond `FEW` texts.
    first: HashMap<u64, u32, WordState>,
    next: Vec<u32>,
}

const END: u32 = u32::MAX;

impl TextSet {
    /// Adds a text. `Ok(place)` where it is new, `Err(place)` where it was there already.
    pub fn insert(&mut self, text: &[u8]) -> Result<usize, usize> {
        let count = self.ends.len();
        if self.first.is_empty() {
            if let Some(place) = (0..count).find(|place| self.get(*place) == text) {
                return Err(place);
            }
            self.push(text);
            if count + 1 > FEW {
                (0..=count).for_each(|place| self.index(place));
            }
            return Ok(count);
        }
        let mut place = self.first.get(&hash_bytes(text)).copied().unwrap_or(END);
        while place != END {
            if self.get(place as usize) == text {
                return Err(place as usize);
            }
            place = self.next[place as usize];
        }
        self.push(text);
        self.index(count);
        Ok(count)
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn index(&mut self, place: usize) {
        let hash = hash_bytes(self.get(place));
        // Places stay below 2^32: that many texts would not fit in memory beside their index.
        let before = self.first.insert(hash, place as u32).unwrap_or(END);
        self.next.resize(self.next.len().max(place + 1), END);
        self.next[place] = before;
    }

    /// The text at a place.
    pub fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    /// Whether it holds no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The texts, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.next.capacity() * size_of::<u32>()
            + self.first.capacity() * 14
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_words_counts_each_once() {
        let mut set = WordSet::default();
        for round in 0..2 {
            for word in 0..1000u64 {
                assert_eq!(set.insert(word % 500), round == 0 && word < 500);
            }
        }
        assert_eq!(set.len(), 500);
        let mut words: Vec<u64> = set.iter().collect();
        words.sort_unstable();
        assert_eq!(words, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_set_of_texts_keeps_the_order_of_arrival() {
        let mut set = TextSet::default();
        let texts: Vec<String> = (0..200).map(|number| format!("text {}", (number * 7) % 100)).collect();
        for text in &texts {
            let known = set.iter().position(|other| other == text.as_bytes());
            match set.insert(text.as_bytes()) {
                Ok(place) => assert_eq!((known, place), (None, set.len() - 1)),
                Err(place) => assert_eq!(known, Some(place)),
            }
        }
        assert_eq!(set.len(), 100);
        assert_eq!(set.get(1), b"text 7");
    }
}
