//! Extents: immutable Parquet files with the statistics that the catalog keeps of them.

pub(crate) mod adapter;
pub(crate) mod expression;
pub(crate) mod ledger;
pub(crate) mod merge;
pub(crate) mod order;
pub(crate) mod prune;
pub(crate) mod rehome;
pub(crate) mod rest;
pub(crate) mod scan;
pub(crate) mod sort;
pub(crate) mod stats;
pub(crate) mod sweep;
pub(crate) mod terms;
pub(crate) mod write;

use std::sync::Arc;

use crate::extent::stats::ColumnStats;
use crate::files::DataFile;
use crate::id::{ExtentId, TableId};

/// A data file that is durable but that no commit names yet. Dropping it deletes the file.
#[derive(Debug)]
pub struct StagedExtent {
    pub(crate) id: ExtentId,
    pub(crate) table: TableId,
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) original_bytes: u64,
    pub(crate) columns: Vec<(String, ColumnStats)>,
    pub(crate) file: Arc<DataFile>,
    /// Set when the extent replaces older ones whose time it keeps.
    pub(crate) created: Option<i64>,
    /// Time and place in history of the extent that it replaces, where its rows have none of their own.
    pub(crate) origin: Option<(i64, i64)>,
}

impl StagedExtent {
    /// The id it will have.
    pub fn id(&self) -> ExtentId {
        self.id
    }

    /// The table it was written for.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the values before encoding.
    pub fn original_bytes(&self) -> u64 {
        self.original_bytes
    }

    /// Sets the creation time in ticks, for example of the source's `creationTime` property.
    pub fn with_created(mut self, ticks: i64) -> Self {
        self.created = Some(ticks);
        self
    }
}
