//! `ipv4_lookup`, `ipv6_lookup`: the networks that match an address, or a network, of the source.
//!
//! Two networks match where they are equal under the shorter of their prefixes, as `ipv4_is_match()` has it. The
//! index has a hash table per length of prefix, and the networks in order for those inside one of the source.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{ArrayRef, AsArray};
use tidewater_functions::scalar::{ipv4, ipv6};

use super::lookup::{LookupIndex, LookupKind};

/// Addresses of a version. Argument: the address or network as text, on both sides.
#[derive(Clone, Copy, Debug)]
pub enum Networks {
    /// IPv4
    Four,
    /// IPv6, which IPv4 addresses are part of.
    Six,
}

impl Networks {
    /// The address in the upper bits, and the length of its prefix.
    fn parse(self, text: &str) -> Option<(u128, u8)> {
        match self {
            Networks::Four => ipv4::network(text).map(|(address, prefix)| (u128::from(address) << 96, prefix)),
            Networks::Six => ipv6::network(text),
        }
    }
}

impl LookupKind for Networks {
    fn name(&self) -> &'static str {
        match self {
            Networks::Four => "Ipv4Lookup",
            Networks::Six => "Ipv6Lookup",
        }
    }

    fn settings(&self) -> String {
        String::new()
    }

    fn index(&self) -> Box<dyn LookupIndex> {
        Box::new(Index { version: *self, tables: BTreeMap::new(), rows: Vec::new(), sorted: Vec::new() })
    }
}

/// No row follows.
const END: u32 = u32::MAX;

struct Index {
    version: Networks,
    /// For each prefix the first row of each network, as a place in `rows`.
    tables: BTreeMap<u8, HashMap<u128, u32>>,
    /// A row, and the place of the next one of the same network.
    rows: Vec<(u32, u32)>,
    /// Networks in order, with the place of their first row.
    sorted: Vec<(u128, u8, u32)>,
}

fn masked(address: u128, prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { address & (u128::MAX << (128 - u32::from(prefix.min(128)))) }
}

impl Index {
    fn push(&self, mut place: u32, found: &mut Vec<u32>) {
        while let Some((row, next)) = self.rows.get(place as usize) {
            found.push(*row);
            place = *next;
        }
    }
}

impl LookupIndex for Index {
    fn add(&mut self, keys: &[ArrayRef], at: usize, row: u32) {
        let Some((address, prefix)) = self.version.parse(keys[0].as_string_view().value(at)) else { return };
        let place = self.rows.len() as u32;
        let first = self.tables.entry(prefix).or_default().entry(address).or_insert(END);
        self.rows.push((row, *first));
        *first = place;
    }

    fn finish(&mut self) {
        let networks = self
            .tables
            .iter()
            .flat_map(|(prefix, table)| table.iter().map(|(address, place)| (*address, *prefix, *place)));
        self.sorted = networks.collect();
        self.sorted.sort_unstable();
    }

    fn find(&self, keys: &[ArrayRef], at: usize, found: &mut Vec<u32>) {
        let Some((address, prefix)) = self.version.parse(keys[0].as_string_view().value(at)) else { return };
        for (known, table) in self.tables.range(..=prefix) {
            if let Some(place) = table.get(&masked(address, *known)) {
                self.push(*place, found);
            }
        }
        // Networks inside that of the source.
        if self.tables.range(prefix.saturating_add(1)..).next().is_some() {
            let first = self.sorted.partition_point(|(other, _, _)| *other < address);
            for (other, inner, place) in &self.sorted[first..] {
                if masked(*other, prefix) != address {
                    break;
                }
                if *inner > prefix {
                    self.push(*place, found);
                }
            }
        }
    }

    fn size(&self) -> usize {
        // A hash table's entry is 32 bytes, an eighth of the places stay empty.
        self.rows.len() * (8 + 40 + 32)
    }
}
