//! The summary of a distribution behind `percentile` and `tdigest`.
//!
//! Shape: every distinct value with its weight, exactly, until there are more than `EXACT_LIMIT`
//! entries; then a merging t-digest (Dunning) of about `COMPRESSION` centroids. Percentiles are by
//! nearest rank while exact, and interpolated between centroids after that.
//!
//! As a dynamic value it is `[[type], [values], [weights]]`, as in the samples of the tdigest page
//! (there the type is a number: 7 stands for long; ours is the type's name, and both are read).

use std::mem::size_of;

use datafusion_common::Result;
use tidewater_kql::KqlType;
use tidewater_kql::value::{datetime, real, timespan};

use crate::aggregate::frame::Reader;

/// Values kept exactly for one group: percentiles of up to so many values are exact.
pub const EXACT_LIMIT: usize = 1 << 16;
/// About twice the number of centroids that remain.
const COMPRESSION: f64 = 400.0;
/// Values gathered between two compressions.
const BUFFER: usize = 4096;

/// A value on an integer scale that keeps the order of its type: numbers that fit are themselves,
/// reals are their ordered bits, with NaN below everything.
pub type Key = i64;

/// The key of a real.
pub fn key_of_real(value: f64) -> Key {
    if value.is_nan() {
        return Key::MIN;
    }
    let bits = (value + 0.0).to_bits() as i64;
    if bits < 0 { !bits ^ Key::MIN } else { bits }
}

/// The real of a key.
pub fn real_of_key(key: Key) -> f64 {
    if key == Key::MIN {
        return f64::NAN;
    }
    f64::from_bits(if key < 0 { !(key ^ Key::MIN) } else { key } as u64)
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Centroid {
    mean: f64,
    weight: f64,
}

/// Beyond the exact part: centroids, and what waits to become some.
#[derive(Clone, Debug, Default)]
struct Centroids {
    merged: Vec<Centroid>,
    waiting: Vec<Centroid>,
    least: f64,
    most: f64,
}

/// The summary of the values of one group.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    keys: Vec<Key>,
    // Empty while every weight is 1.
    weights: Vec<i64>,
    centroids: Option<Box<Centroids>>,
}

/// How a digest's keys read as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale(pub KqlType);

impl Scale {
    fn is_real(self) -> bool {
        matches!(self.0, KqlType::Real | KqlType::Decimal)
    }

    /// The number of a key.
    pub fn number(self, key: Key) -> f64 {
        if self.is_real() { real_of_key(key) } else { key as f64 }
    }

    /// The key of a number; whole numbers are rounded.
    pub fn key(self, number: f64) -> Key {
        if self.is_real() { key_of_real(number) } else { number.round() as i64 }
    }

    /// Writes a value as JSON.
    pub fn write_json(self, key: Key, out: &mut Vec<u8>) {
        match self.0 {
            KqlType::Real | KqlType::Decimal => real::write_json(real_of_key(key), out),
            KqlType::DateTime => {
                out.push(b'"');
                datetime::write_full(key, out);
                out.push(b'"');
            }
            KqlType::TimeSpan => {
                out.push(b'"');
                timespan::write(key, out);
                out.push(b'"');
            }
            KqlType::Bool => out.extend_from_slice(if key == 0 { b"false" } else { b"true" }),
            _ => out.extend_from_slice(itoa::Buffer::new().format(key).as_bytes()),
        }
    }

    /// Reads a value that `write_json` wrote.
    fn read_json(self, value: &serde_json::Value) -> Option<Key> {
        use serde_json::Value;
        match (self.0, value) {
            (KqlType::Real | KqlType::Decimal, Value::Number(number)) => Some(key_of_real(number.as_f64()?)),
            (KqlType::Real | KqlType::Decimal, Value::String(text)) => Some(key_of_real(real::parse(text)?)),
            (KqlType::DateTime, Value::String(text)) => datetime::parse(text),
            (KqlType::TimeSpan, Value::String(text)) => timespan::parse(text),
            (_, Value::Number(number)) => {
                number.as_i64().or_else(|| number.as_f64().map(|number| number.round() as i64))
            }
            _ => None,
        }
    }
}

impl Digest {
    /// Adds a value with its weight; weights below 1 count for nothing.
    pub fn add(&mut self, key: Key, weight: i64, scale: Scale) {
        if weight < 1 {
            return;
        }
        if let Some(centroids) = &mut self.centroids {
            centroids.add(scale.number(key), weight as f64);
            return;
        }
        if weight != 1 && self.weights.is_empty() {
            self.weights.resize(self.keys.len(), 1);
        }
        self.keys.push(key);
        if weight != 1 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
        if self.keys.len() > EXACT_LIMIT {
            self.shrink(scale);
        }
    }

    /// Gives up exactness, unless equal values fold to few enough.
    fn shrink(&mut self, scale: Scale) {
        self.fold();
        if self.keys.len() > EXACT_LIMIT / 2 {
            let mut centroids =
                Box::new(Centroids { least: f64::INFINITY, most: f64::NEG_INFINITY, ..Centroids::default() });
            for (key, weight) in self.entries() {
                centroids.add(scale.number(key), weight as f64);
            }
            *self = Digest { centroids: Some(centroids), ..Digest::default() };
        }
    }

    /// Sorts the exact values and joins equal ones.
    fn fold(&mut self) {
        if self.weights.is_empty() {
            self.keys.sort_unstable();
            let distinct = 1 + self.keys.windows(2).filter(|pair| pair[0] != pair[1]).count();
            // Plain keys are half the size: fold only where it pays.
            if distinct * 2 > self.keys.len() {
                return;
            }
            self.weights.resize(self.keys.len(), 1);
        }
        let mut entries: Vec<(Key, i64)> = self.entries().collect();
        entries.sort_unstable();
        self.keys.clear();
        self.weights.clear();
        for (key, weight) in entries {
            match self.weights.last_mut() {
                Some(last) if self.keys.last() == Some(&key) => *last = last.saturating_add(weight),
                _ => {
                    self.keys.push(key);
                    self.weights.push(weight);
                }
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = (Key, i64)> + '_ {
        self.keys.iter().enumerate().map(|(index, key)| (*key, self.weights.get(index).copied().unwrap_or(1)))
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.centroids.is_none()
    }

    /// The percentiles (0 to 100, in any order) as keys; `None` for an empty digest.
    pub fn percentiles(&mut self, percents: &[f64], scale: Scale) -> Option<Vec<Key>> {
        if let Some(centroids) = &mut self.centroids {
            centroids.compress();
            return Some(percents.iter().map(|percent| scale.key(centroids.percentile(*percent))).collect());
        }
        if self.keys.is_empty() {
            return None;
        }
        if self.weights.is_empty() {
            let last = self.keys.len() - 1;
            // Selection is linear, sorting pays from about ten percentiles on.
            if percents.len() > 8 {
                self.keys.sort_unstable();
                return Some(
                    percents
                        .iter()
                        .map(|percent| self.keys[rank(*percent, last as f64 + 1.0).min(last as u64) as usize])
                        .collect(),
                );
            }
            let select = |percent: &f64| {
                let place = rank(*percent, last as f64 + 1.0).min(last as u64) as usize;
                *self.keys.select_nth_unstable(place).1
            };
            return Some(percents.iter().map(select).collect());
        }
        let mut entries: Vec<(Key, i64)> = self.entries().collect();
        entries.sort_unstable();
        let total: f64 = entries.iter().map(|(_, weight)| *weight as f64).sum();
        let pick = |percent: &f64| {
            let rank = rank(*percent, total) as f64 + 1.0;
            let mut seen = 0.0;
            entries.iter().find(|(_, weight)| {
                seen += *weight as f64;
                seen >= rank
            })
        };
        let largest = entries[entries.len() - 1];
        Some(percents.iter().map(|percent| pick(percent).unwrap_or(&largest).0).collect())
    }

    /// How many values are not above `number`, and how many there are.
    pub fn rank(&mut self, number: f64, scale: Scale) -> (f64, f64) {
        if let Some(centroids) = &mut self.centroids {
            centroids.compress();
            return centroids.rank(number);
        }
        let mut total = 0.0;
        let mut below = 0.0;
        for (key, weight) in self.entries() {
            total += weight as f64;
            if scale.number(key) <= number {
                below += weight as f64;
            }
        }
        (below, total)
    }

    /// Adds all of another digest.
    pub fn merge(&mut self, other: &Digest, scale: Scale) {
        for (key, weight) in other.entries() {
            self.add(key, weight, scale);
        }
        if let Some(theirs) = &other.centroids {
            if self.centroids.is_none() {
                let mine = std::mem::take(self);
                self.centroids = Some(theirs.clone());
                self.merge(&mine, scale);
                return;
            }
            if let Some(mine) = &mut self.centroids {
                for centroid in theirs.merged.iter().chain(&theirs.waiting) {
                    mine.add(centroid.mean, centroid.weight);
                }
                mine.least = mine.least.min(theirs.least);
                mine.most = mine.most.max(theirs.most);
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        (self.keys.capacity() + self.weights.capacity()) * size_of::<i64>()
            + self.centroids.as_ref().map_or(0, |centroids| {
                (centroids.merged.capacity() + centroids.waiting.capacity()) * size_of::<Centroid>()
                    + size_of::<Centroids>()
            })
    }

    /// Writes what `decode` reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, word: u64| out.extend_from_slice(&word.to_le_bytes());
        if let Some(centroids) = &self.centroids {
            out.push(2);
            put(out, centroids.least.to_bits());
            put(out, centroids.most.to_bits());
            for centroid in centroids.merged.iter().chain(&centroids.waiting) {
                put(out, centroid.mean.to_bits());
                put(out, centroid.weight.to_bits());
            }
            return;
        }
        out.push(u8::from(!self.weights.is_empty()));
        for (key, weight) in self.entries() {
            put(out, key as u64);
            if !self.weights.is_empty() {
                put(out, weight as u64);
            }
        }
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Digest> {
        let mut reader = Reader::new(bytes);
        let mut digest = Digest::default();
        match reader.u8()? {
            2 => {
                let mut centroids = Centroids { least: reader.f64()?, most: reader.f64()?, ..Centroids::default() };
                while !reader.is_empty() {
                    centroids.waiting.push(Centroid { mean: reader.f64()?, weight: reader.f64()? });
                }
                digest.centroids = Some(Box::new(centroids));
            }
            form => {
                while !reader.is_empty() {
                    digest.keys.push(reader.i64()?);
                    if form == 1 {
                        digest.weights.push(reader.i64()?);
                    }
                }
            }
        }
        Ok(digest)
    }

    /// The digest as a dynamic value.
    pub fn write_json(&mut self, scale: Scale, out: &mut Vec<u8>) {
        let entries: Vec<(Key, f64)> = match &mut self.centroids {
            Some(centroids) => {
                centroids.compress();
                centroids.merged.iter().map(|centroid| (scale.key(centroid.mean), centroid.weight)).collect()
            }
            None => {
                self.fold();
                self.entries().map(|(key, weight)| (key, weight as f64)).collect()
            }
        };
        match scale.0 {
            KqlType::Long | KqlType::Int => out.extend_from_slice(b"[[7],["),
            ty => out.extend_from_slice(format!("[[\"{ty}\"],[").as_bytes()),
        }
        for (index, (key, _)) in entries.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            scale.write_json(*key, out);
        }
        out.extend_from_slice(b"],[");
        for (index, (_, weight)) in entries.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(itoa::Buffer::new().format(weight.round() as i64).as_bytes());
        }
        out.extend_from_slice(b"]]");
    }

    /// Reads a dynamic value that `write_json` wrote; `None` for anything else.
    pub fn read_json(text: &str) -> Option<(Digest, Scale)> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let [ty, values, weights] = value.as_array()?.as_slice() else { return None };
        let scale = match ty.as_array()?.first()? {
            serde_json::Value::String(name) => Scale(KqlType::parse(name)?),
            serde_json::Value::Number(number) if number.as_i64() == Some(7) => Scale(KqlType::Long),
            _ => return None,
        };
        let (values, weights) = (values.as_array()?, weights.as_array()?);
        if values.len() != weights.len() {
            return None;
        }
        let mut digest = Digest::default();
        for (value, weight) in values.iter().zip(weights) {
            digest.add(scale.read_json(value)?, weight.as_i64()?, scale);
        }
        Some((digest, scale))
    }
}

/// Place of a percentile among `count` values, from 0: nearest rank. The tolerance undoes the
/// rounding of decimal percents (99.9 per cent of 1,000 is the 999th).
fn rank(percent: f64, count: f64) -> u64 {
    let rank = (percent * count / 100.0 - 1e-12 * count).ceil();
    (rank - 1.0).max(0.0) as u64
}

impl Centroids {
    fn add(&mut self, mean: f64, weight: f64) {
        // A digest is about numbers: NaN has no place in it.
        if mean.is_nan() {
            return;
        }
        self.least = self.least.min(mean);
        self.most = self.most.max(mean);
        self.waiting.push(Centroid { mean, weight });
        if self.waiting.len() >= BUFFER {
            self.compress();
        }
    }

    /// One pass over all centroids in order: neighbours join while they stay within one unit of
    /// the scale function k1, which allows large centroids in the middle and single values at the ends.
    fn compress(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.waiting);
        all.append(&mut self.merged);
        all.sort_unstable_by(|a, b| a.mean.total_cmp(&b.mean));
        let total: f64 = all.iter().map(|centroid| centroid.weight).sum();
        let scale = |weight: f64| COMPRESSION / std::f64::consts::TAU * (2.0 * (weight / total).min(1.0) - 1.0).asin();
        let mut merged: Vec<Centroid> = Vec::with_capacity(COMPRESSION as usize);
        let (mut before, mut start) = (0.0, scale(0.0));
        for centroid in all.iter() {
            match merged.last_mut() {
                Some(last) if scale(before + centroid.weight) - start <= 1.0 => {
                    last.weight += centroid.weight;
                    if last.mean != centroid.mean {
                        last.mean += (centroid.mean - last.mean) * centroid.weight / last.weight;
                    }
                }
                _ => {
                    start = scale(before);
                    merged.push(*centroid);
                }
            }
            before += centroid.weight;
        }
        self.merged = merged;
        all.clear();
        self.waiting = all;
    }

    /// The middle of a centroid stands at the middle of its weight; between two middles the values
    /// are taken to be spread evenly.
    fn percentile(&self, percent: f64) -> f64 {
        let total: f64 = self.merged.iter().map(|centroid| centroid.weight).sum();
        let target = total * percent / 100.0;
        let mut left = (0.0, self.least);
        let mut before = 0.0;
        for centroid in &self.merged {
            let middle = (before + centroid.weight / 2.0, centroid.mean);
            if target <= middle.0 {
                return between(left, middle, target);
            }
            left = middle;
            before += centroid.weight;
        }
        between(left, (total, self.most), target)
    }

    fn rank(&self, number: f64) -> (f64, f64) {
        let total: f64 = self.merged.iter().map(|centroid| centroid.weight).sum();
        if number >= self.most {
            return (total, total);
        }
        if number < self.least {
            return (0.0, total);
        }
        let mut left = (self.least, 0.0);
        let mut before = 0.0;
        for centroid in &self.merged {
            let middle = (centroid.mean, before + centroid.weight / 2.0);
            if number < middle.0 {
                return (between(left, middle, number), total);
            }
            left = middle;
            before += centroid.weight;
        }
        (between(left, (self.most, total), number), total)
    }
}

/// The line through two points at `x`.
fn between(left: (f64, f64), right: (f64, f64), x: f64) -> f64 {
    if right.0 <= left.0 || left.1 == right.1 {
        return right.1;
    }
    let part = ((x - left.0) / (right.0 - left.0)).clamp(0.0, 1.0);
    left.1 + (right.1 - left.1) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Scale = Scale(KqlType::Long);

    fn of(values: impl IntoIterator<Item = i64>) -> Digest {
        let mut digest = Digest::default();
        values.into_iter().for_each(|value| digest.add(value, 1, LONG));
        digest
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let five = [15, 20, 35, 40, 50];
        for (percent, value) in [(0.0, 15), (5.0, 15), (30.0, 20), (40.0, 20), (50.0, 35), (100.0, 50)] {
            assert_eq!(of(five).percentiles(&[percent], LONG), Some(vec![value]));
        }
        assert_eq!(of([10, 20]).percentiles(&[50.0], LONG), Some(vec![10]));
        assert_eq!(of(1..=1000).percentiles(&[99.9, 0.1, 50.0], LONG), Some(vec![999, 1, 500]));
        assert_eq!(of([]).percentiles(&[50.0], LONG), None);
    }

    #[test]
    fn weights_repeat_a_value() {
        let mut digest = Digest::default();
        for (value, weight) in [(10, 8), (20, 6), (30, 3), (40, 1), (50, 0), (60, -4)] {
            digest.add(value, weight, LONG);
        }
        assert_eq!(digest.percentiles(&[50.0, 75.0, 99.9], LONG), Some(vec![20, 20, 40]));
        assert_eq!(digest.rank(25.0, LONG), (14.0, 18.0));
    }

    #[test]
    fn keys_of_reals_keep_their_order() {
        let values = [f64::NAN, f64::NEG_INFINITY, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY];
        let keys: Vec<Key> = values.iter().map(|value| key_of_real(*value)).collect();
        assert!(keys.is_sorted());
        for (value, key) in values.iter().zip(keys) {
            let back = real_of_key(key);
            assert!(back == *value || back.is_nan() && value.is_nan());
        }
    }

    #[test]
    fn many_values_are_estimated_closely() {
        let count = 4 * EXACT_LIMIT as i64;
        let values = (0..count).map(|index| index * 7919 % count);
        let mut digest = of(values);
        assert!(digest.centroids.is_some());
        let mut bytes = Vec::new();
        digest.encode(&mut bytes);
        for digest in [&mut digest, &mut Digest::decode(&bytes).unwrap()] {
            for percent in [0.0, 0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
                let value = digest.percentiles(&[percent], LONG).unwrap()[0] as f64;
                let error = (value / count as f64 - percent / 100.0).abs();
                assert!(error < 0.002, "{percent} per cent: {value} of {count}");
            }
        }
        let (rank, total) = digest.rank(count as f64 / 4.0, LONG);
        assert_eq!(total, count as f64);
        assert!((rank / total - 0.25).abs() < 0.002);
    }

    #[test]
    fn few_distinct_values_stay_exact_however_often_they_occur() {
        let mut digest = of((0..3 * EXACT_LIMIT as i64).map(|index| index % 10));
        assert!(digest.centroids.is_none());
        assert_eq!(digest.percentiles(&[10.0, 10.1, 100.0], LONG), Some(vec![0, 1, 9]));
    }

    #[test]
    fn a_digest_survives_its_bytes_and_its_json() {
        for mut digest in [of([]), of([3, 1, 2, 1]), of(0..2 * EXACT_LIMIT as i64)] {
            let expected = digest.percentiles(&[10.0, 50.0], LONG);
            let mut bytes = Vec::new();
            digest.encode(&mut bytes);
            assert_eq!(Digest::decode(&bytes).unwrap().percentiles(&[10.0, 50.0], LONG), expected);
            let mut json = Vec::new();
            digest.write_json(LONG, &mut json);
            let (mut back, scale) = Digest::read_json(std::str::from_utf8(&json).unwrap()).unwrap();
            assert_eq!(scale, LONG);
            let back = back.percentiles(&[10.0, 50.0], LONG);
            match (back, expected) {
                (Some(back), Some(expected)) if expected[0] > 1000 => {
                    assert!((back[0] - expected[0]).abs() < expected[0] / 50);
                }
                (back, expected) => assert_eq!(back, expected),
            }
        }
        for text in ["", "null", "[]", "[[7],[1],[]]", "[[\"nothing\"],[1],[1]]", "[[7],[{}],[1]]"] {
            assert!(Digest::read_json(text).is_none(), "{text}");
        }
    }
}
