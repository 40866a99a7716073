//! The Delta mirror: a `_delta_log` beside the data files, so that other engines read the tables.

use std::sync::Arc;

use crate::catalog::snapshot::{Removed, Snapshot};
use crate::error::Result;
use crate::store::StoreOptions;

/// The background writer of all tables' logs.
#[derive(Debug)]
pub(crate) struct Mirror;

impl Mirror {
    pub(crate) fn start(_options: &StoreOptions, _snapshot: &Arc<Snapshot>) -> Result<Self> {
        Ok(Mirror)
    }

    pub(crate) fn notify(&self, _snapshot: Arc<Snapshot>, _removed: Removed) {}

    pub(crate) fn flush(&self) -> Result<()> {
        Ok(())
    }
}
