//! Caches of schemas and policies, which clients clear after they have changed something. Every request here reads the
//! catalog as it is, so there is nothing to clear, and that has succeeded. Source: clear schema cache page.

use tidewater_kql::KqlType;

use crate::answer::ResultTable;
use crate::error::Result;
use crate::table::TableBuilder;

/// The commands, by their names in the parser's table.
pub(super) fn is_served(name: &str) -> bool {
    matches!(
        name,
        "clear database cache streaming ingestion schema"
            | "clear table cache streaming ingestion schema"
            | "refresh database cache"
    )
}

/// One node, which has nothing to clear.
pub(super) fn cleared() -> Result<ResultTable> {
    let mut table = TableBuilder::new(&[("NodeId", KqlType::String), ("Status", KqlType::String)]);
    table.row(vec!["KEngine000000".into(), "Succeeded".into()]);
    table.finish()
}
