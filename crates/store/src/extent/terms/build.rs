//! Making filters while a file is written.

use arrow::array::{Array, ArrayRef, AsArray};
use parquet::bloom_filter::Sbbf;
use tidewater_kql::term::each_term;

use crate::extent::terms::hash;

/// Bytes of the smallest filter: one block.
const BLOCK_BYTES: usize = 32;

/// Places of the texts and of the terms that were seen lately.
const RECENT: usize = 4096;
/// Texts of up to so many bytes lie in their views.
const INLINE_BYTES: u32 = 12;

/// The filters of one column in one row group.
pub(crate) struct ColumnTerms {
    /// Rows of a filter.
    rows: usize,
    false_positives: f64,
    filled: usize,
    /// Hashes of the filter's terms, few of them more than once.
    terms: Vec<u64>,
    /// Terms of the filter, each at the place that its hash gives: most of what comes again is among them.
    recent_terms: Vec<u64>,
    /// The same of short texts, as views.
    recent_texts: Vec<u128>,
    scratch: String,
    done: Vec<u8>,
    sizes: Vec<u32>,
}

impl ColumnTerms {
    pub(crate) fn new(rows: usize, false_positives: f64) -> Self {
        Self {
            rows: rows.max(1),
            false_positives,
            filled: 0,
            terms: Vec::new(),
            recent_terms: vec![0; RECENT],
            recent_texts: vec![0; RECENT],
            scratch: String::new(),
            done: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// Takes rows of a string column in the engine's form.
    pub(crate) fn add(&mut self, array: &ArrayRef) {
        let Some(texts) = array.as_string_view_opt() else { return };
        for (row, view) in texts.views().iter().enumerate() {
            if texts.is_valid(row) && !self.is_recent(*view) {
                let (terms, recent) = (&mut self.terms, &mut self.recent_terms);
                each_term(texts.value(row), &mut self.scratch, |term, _, _| {
                    let hash = hash(term);
                    let place = &mut recent[hash as usize % RECENT];
                    if *place != hash || hash == 0 {
                        *place = hash;
                        terms.push(hash);
                    }
                });
            }
            self.filled += 1;
            if self.filled == self.rows {
                self.seal();
            }
        }
    }

    /// Whether a text is short and was seen lately; it is from now on. The empty text, whose view is zero, has no terms.
    fn is_recent(&mut self, view: u128) -> bool {
        if view as u32 > INLINE_BYTES {
            return false;
        }
        let place = (view ^ (view >> 64)).wrapping_mul(0x9E37_79B9_7F4A_7C15) as u64 >> 32;
        let place = &mut self.recent_texts[place as usize % RECENT];
        std::mem::replace(place, view) == view
    }

    /// The bytes of all filters, and of each.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u32>) {
        if self.filled > 0 {
            self.seal();
        }
        (self.done, self.sizes)
    }

    fn seal(&mut self) {
        // Source: Parquet's own formula for filters whose blocks take eight bits of a value.
        let bits = -8.0 * self.terms.len() as f64 / (1.0 - self.false_positives.powf(1.0 / 8.0)).ln();
        let bytes = ((bits / 8.0) as usize).div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES;
        let start = self.done.len();
        let mut filter = Sbbf::new(&vec![0; bytes]);
        for term in self.terms.drain(..) {
            filter.insert(&term.cast_signed());
        }
        // Writing to memory does not fail.
        if filter.write_bitset(&mut self.done).is_err() {
            self.done.truncate(start);
        }
        self.sizes.push(u32::try_from(self.done.len() - start).unwrap_or(0));
        self.recent_terms.fill(0);
        self.recent_texts.fill(0);
        self.filled = 0;
    }
}
