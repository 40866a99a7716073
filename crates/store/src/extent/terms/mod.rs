//! Which terms stand in which rows of a data file: a Bloom filter of the terms of each string column for every few
//! thousand rows, kept inside the Parquet file, so that `has` on a rare word or `==` on an id reads those rows only.
//!
//! The filters of a row group follow its columns, outside of what Parquet's footer tells of; other readers pass over
//! them. A directory after the last row group says where they are, and an entry of the file's metadata, [`KEY`], where
//! the directory is. Filters never forget a term, so what they rule out is not there; what they let through is read and
//! filtered as ever. Form of the filters: Parquet's split block Bloom filters, here over hashes of folded terms.

pub(crate) mod build;
pub(crate) mod need;
pub(crate) mod read;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use tidewater_kql::term::{fold, is_term_character};
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Key of the file metadata whose value is the offset and the length of the directory.
pub(crate) const KEY: &str = "tidewater.terms";

/// The hash under which a folded term is kept. Part of the file format.
pub(crate) fn hash(term: &str) -> u64 {
    xxh64(term.as_bytes(), 0)
}

/// What tells one way of cutting and folding texts from another: both follow Unicode's tables, which grow. Filters made
/// by other tables are not used.
pub(crate) fn rule() -> &'static str {
    static RULE: LazyLock<String> = LazyLock::new(|| {
        let mut state = Xxh64::new(0);
        for character in ('\u{80}'..=char::MAX).filter(|character| is_term_character(*character)) {
            state.update(&u32::from(character).to_le_bytes());
            state.update(&u32::from(fold(character)).to_le_bytes());
        }
        format!("{:016x}", state.digest())
    });
    &RULE
}

/// Where a file's filters are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// [`rule`] of the writer.
    pub(crate) rule: String,
    /// Rows that a filter is about; the last of a row group may have fewer.
    pub(crate) rows: usize,
    pub(crate) groups: Vec<Group>,
}

/// The filters of a row group.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Filters>,
}

/// The filters of a column in a row group, one after the other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filters {
    /// Name of the column in the file.
    pub(crate) column: String,
    /// Where the first begins.
    pub(crate) offset: u64,
    /// Bytes of each.
    pub(crate) sizes: Vec<u32>,
}
