//! The sketch behind `dcount` and `hll`: exact while small, then HyperLogLog.
//!
//! Shape: a set of 64-bit hashes until it holds more than an eighth of the registers' number
//! (512 hashes at accuracy 0, 2,048 at 1, 8,192 at 2, 16,384 at 3, 32,768 at 4), which covers what
//! the documentation promises to count exactly; then one byte for each of 2^12 to 2^18 registers
//! and Ertl's estimator, whose relative error has a deviation of 1.04 / sqrt(registers): 1.6, 0.8,
//! 0.4, 0.29 and 0.2 per cent. Source: dcount page, "Estimation accuracy".
//!
//! As a dynamic value it is `[[limit, bits], [hashes as text], [registers in base64]]`, of which
//! the last or the last but one is empty, as in the samples of the hll page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use datafusion_common::{Result, internal_err};

use crate::aggregate::frame::Reader;
use crate::aggregate::sets::WordSet;

/// The accuracy of `dcount` without one.
pub const DEFAULT_ACCURACY: i64 = 1;

/// Index bits of each accuracy.
const BITS: [u8; 5] = [12, 14, 16, 17, 18];

enum Form {
    Exact(WordSet),
    Registers(Box<[u8]>),
}

/// A set of hashes, counted exactly or by estimate.
pub struct Sketch {
    bits: u8,
    form: Form,
}

impl Sketch {
    /// The index bits of an accuracy; `None` outside 0 to 4.
    pub fn bits_of(accuracy: i64) -> Option<u8> {
        BITS.get(usize::try_from(accuracy).ok()?).copied()
    }

    /// An empty sketch with that many index bits, one of those that `bits_of` gives.
    pub fn new(bits: u8) -> Sketch {
        Sketch { bits, form: Form::Exact(WordSet::default()) }
    }

    fn limit(&self) -> usize {
        1 << (self.bits - 3)
    }

    /// Adds a hash.
    pub fn insert(&mut self, hash: u64) {
        let limit = self.limit();
        match &mut self.form {
            Form::Registers(registers) => raise(registers, self.bits, hash),
            Form::Exact(hashes) => {
                if hashes.insert(hash) && hashes.len() > limit {
                    let mut registers = vec![0; 1 << self.bits].into_boxed_slice();
                    hashes.iter().for_each(|hash| raise(&mut registers, self.bits, hash));
                    self.form = Form::Registers(registers);
                }
            }
        }
    }

    /// Adds all of another sketch; the coarser accuracy of the two remains.
    pub fn merge(&mut self, other: &Sketch) {
        if other.bits < self.bits {
            self.coarsen(other.bits);
        }
        match &other.form {
            Form::Exact(hashes) => hashes.iter().for_each(|hash| self.insert(hash)),
            Form::Registers(theirs) => {
                let mut mine = match std::mem::replace(&mut self.form, Form::Exact(WordSet::default())) {
                    Form::Registers(mine) => mine,
                    Form::Exact(hashes) => {
                        let mut mine = vec![0; 1 << self.bits].into_boxed_slice();
                        hashes.iter().for_each(|hash| raise(&mut mine, self.bits, hash));
                        mine
                    }
                };
                fold(theirs, other.bits, &mut mine, self.bits);
                self.form = Form::Registers(mine);
            }
        }
    }

    fn coarsen(&mut self, bits: u8) {
        let from = std::mem::replace(self, Sketch::new(bits));
        match from.form {
            Form::Exact(hashes) => hashes.iter().for_each(|hash| self.insert(hash)),
            Form::Registers(registers) => {
                let mut mine = vec![0; 1 << bits].into_boxed_slice();
                fold(&registers, from.bits, &mut mine, bits);
                self.form = Form::Registers(mine);
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        matches!(&self.form, Form::Exact(hashes) if hashes.is_empty())
    }

    /// The number of distinct hashes.
    pub fn count(&self) -> i64 {
        match &self.form {
            Form::Exact(hashes) => hashes.len() as i64,
            Form::Registers(registers) => estimate(registers, self.bits).round() as i64,
        }
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        match &self.form {
            Form::Exact(hashes) => hashes.heap(),
            Form::Registers(registers) => registers.len(),
        }
    }

    /// Writes what `decode` reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.bits);
        match &self.form {
            Form::Exact(hashes) => {
                out.push(0);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Form::Registers(registers) => {
                out.push(1);
                out.extend_from_slice(registers);
            }
        }
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Sketch> {
        let mut reader = Reader::new(bytes);
        let (bits, form) = (reader.u8()?, reader.u8()?);
        if !BITS.contains(&bits) {
            return internal_err!("the partial state of a distinct count has {bits} index bits");
        }
        let mut sketch = Sketch::new(bits);
        if form == 1 {
            let registers = reader.rest();
            if registers.len() != 1 << bits {
                return internal_err!("the partial state of a distinct count is cut off");
            }
            sketch.form = Form::Registers(registers.into());
            return Ok(sketch);
        }
        while !reader.is_empty() {
            sketch.insert(reader.u64()?);
        }
        Ok(sketch)
    }

    /// The sketch as a dynamic value.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("[[{},{}],[", self.limit(), self.bits).as_bytes());
        match &self.form {
            Form::Exact(hashes) => {
                // Sorted, so that equal sets have equal texts.
                let mut hashes: Vec<i64> = hashes.iter().map(|hash| hash as i64).collect();
                hashes.sort_unstable();
                for (index, hash) in hashes.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    out.extend_from_slice(format!("{comma}\"{hash}\"").as_bytes());
                }
                out.extend_from_slice(b"],[]]");
            }
            Form::Registers(registers) => {
                let text = STANDARD_NO_PAD.encode(registers);
                out.extend_from_slice(format!("],[\"{text}\"]]").as_bytes());
            }
        }
    }

    /// Reads a dynamic value that `write_json` wrote; `None` for anything else.
    pub fn read_json(text: &str) -> Option<Sketch> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let [head, hashes, registers] = value.as_array()?.as_slice() else { return None };
        let bits = u8::try_from(head.as_array()?.get(1)?.as_u64()?).ok()?;
        if !BITS.contains(&bits) {
            return None;
        }
        let mut sketch = Sketch::new(bits);
        if let Some(registers) = registers.as_array()?.first() {
            let registers = STANDARD_NO_PAD.decode(registers.as_str()?).ok()?;
            if registers.len() != 1 << bits {
                return None;
            }
            sketch.form = Form::Registers(registers.into());
        }
        for hash in hashes.as_array()? {
            let hash = hash.as_i64().or_else(|| hash.as_str()?.parse().ok())?;
            sketch.insert(hash as u64);
        }
        Some(sketch)
    }
}

/// The sizes of the intersections of the first sketch, of the first two, the first three, and so on: counted where all
/// sets are small enough to be kept whole, else by the sizes of unions, which are estimates.
pub fn intersections(sketches: &[Sketch]) -> Vec<i64> {
    let exact: Option<Vec<Vec<u64>>> = sketches
        .iter()
        .map(|sketch| match &sketch.form {
            Form::Exact(hashes) => {
                let mut hashes: Vec<u64> = hashes.iter().collect();
                hashes.sort_unstable();
                Some(hashes)
            }
            Form::Registers(_) => None,
        })
        .collect();
    if let Some(sets) = exact {
        let mut sets = sets.into_iter();
        let mut common = sets.next().unwrap_or_default();
        let mut sizes: Vec<i64> = Vec::with_capacity(sketches.len());
        if !sketches.is_empty() {
            sizes.push(common.len() as i64);
        }
        for set in sets {
            common.retain(|hash| set.binary_search(hash).is_ok());
            sizes.push(common.len() as i64);
        }
        return sizes;
    }
    // Inclusion and exclusion: `sums[k]` is over the unions whose last set is k.
    let mut sums = vec![0.0; sketches.len()];
    let mut waiting: Vec<(Sketch, usize, f64)> = Vec::new();
    let copy = |sketch: &Sketch| {
        let mut copy = Sketch::new(sketch.bits);
        copy.merge(sketch);
        copy
    };
    for (place, sketch) in sketches.iter().enumerate() {
        waiting.push((copy(sketch), place, 1.0));
    }
    while let Some((union, last, sign)) = waiting.pop() {
        sums[last] += sign * union.count() as f64;
        for (place, sketch) in sketches.iter().enumerate().skip(last + 1) {
            let mut larger = copy(&union);
            larger.merge(sketch);
            waiting.push((larger, place, -sign));
        }
    }
    let (mut total, mut most) = (0.0f64, i64::MAX);
    let sizes = sums.iter().zip(sketches).map(|(sum, sketch)| {
        total += sum;
        most = most.min(sketch.count()).min(total.round() as i64).max(0);
        most
    });
    sizes.collect()
}

/// Raises the register of a hash to the position of the first set bit after the index.
fn raise(registers: &mut [u8], bits: u8, hash: u64) {
    let index = (hash >> (64 - bits)) as usize;
    let rank = ((hash << bits).leading_zeros() as u8).min(64 - bits) + 1;
    registers[index] = registers[index].max(rank);
}

/// Raises `to` by registers with as many or more index bits.
fn fold(from: &[u8], from_bits: u8, to: &mut [u8], to_bits: u8) {
    let extra = from_bits - to_bits;
    for (index, rank) in from.iter().copied().enumerate().filter(|(_, rank)| *rank > 0) {
        // The index bits that are dropped become the first bits of the rest.
        let dropped = index & ((1 << extra) - 1);
        let rank = match dropped {
            0 => rank + extra,
            dropped => extra - (usize::BITS - dropped.leading_zeros()) as u8 + 1,
        };
        let register = &mut to[index >> extra];
        *register = (*register).max(rank.min(64 - to_bits + 1));
    }
}

/// Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", algorithm 6: no
/// thresholds, no bias tables.
fn estimate(registers: &[u8], bits: u8) -> f64 {
    let most = 64 - usize::from(bits);
    let mut counts = vec![0u32; most + 2];
    for rank in registers {
        counts[usize::from(*rank).min(most + 1)] += 1;
    }
    let size = registers.len() as f64;
    let mut sum = size * tau(1.0 - f64::from(counts[most + 1]) / size);
    for count in counts[1..=most].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += size * sigma(f64::from(counts[0]) / size);
    size * size / (2.0 * std::f64::consts::LN_2 * sum)
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sets::mix;

    fn sketch(accuracy: i64, hashes: std::ops::Range<u64>) -> Sketch {
        let mut sketch = Sketch::new(Sketch::bits_of(accuracy).unwrap());
        hashes.for_each(|word| sketch.insert(mix(word + 1)));
        sketch
    }

    #[test]
    fn small_sets_are_counted_exactly_and_large_ones_within_four_deviations() {
        for (accuracy, sigma) in [(0, 0.0163), (1, 0.0082), (2, 0.0041), (3, 0.0029), (4, 0.0021)] {
            let exact = 1u64 << (Sketch::bits_of(accuracy).unwrap() - 3);
            assert_eq!(sketch(accuracy, 0..exact).count(), exact as i64);
            for count in [exact + 1, 3 * exact, 20 * exact, 200_000] {
                let error = (sketch(accuracy, 0..count).count() as f64 / count as f64 - 1.0).abs();
                assert!(error < 4.0 * sigma, "accuracy {accuracy}, {count} values: error {error}");
            }
        }
    }

    #[test]
    fn merging_gives_the_sketch_of_the_union_whatever_the_forms() {
        for (left, right) in [(0..100, 50..200), (0..100, 0..90_000), (0..90_000, 80_000..120_000)] {
            let union = sketch(1, left.start.min(right.start)..left.end.max(right.end));
            for flip in [false, true] {
                let (mut a, b) = (sketch(1, left.clone()), sketch(1, right.clone()));
                if flip {
                    let mut c = b;
                    c.merge(&a);
                    a = c;
                } else {
                    a.merge(&b);
                }
                assert_eq!(a.count(), union.count());
            }
        }
    }

    #[test]
    fn a_finer_sketch_folds_into_a_coarser_one() {
        for range in [0..1000, 0..100_000] {
            let coarse = sketch(0, range.clone());
            let mut merged = sketch(0, 0..0);
            merged.merge(&sketch(3, range.clone()));
            assert_eq!(merged.count(), coarse.count());
            let mut other = sketch(3, range);
            other.merge(&sketch(0, 0..0));
            assert_eq!(other.count(), coarse.count());
        }
    }

    #[test]
    fn a_sketch_survives_its_bytes_and_its_json() {
        for range in [0..0, 0..10, 0..50_000] {
            let sketch = sketch(1, range);
            let mut bytes = Vec::new();
            sketch.encode(&mut bytes);
            assert_eq!(Sketch::decode(&bytes).unwrap().count(), sketch.count());
            let mut json = Vec::new();
            sketch.write_json(&mut json);
            assert_eq!(Sketch::read_json(std::str::from_utf8(&json).unwrap()).unwrap().count(), sketch.count());
        }
        for text in
            ["", "null", "[]", "[[1,14],[],[],[]]", "[[1,99],[],[]]", "[[1,14],[\"x\"],[]]", "[[1,14],[],[\"AA\"]]"]
        {
            assert!(Sketch::read_json(text).is_none(), "{text}");
        }
    }
}
