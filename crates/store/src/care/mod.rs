//! Looking after a data directory as a whole: its version, checking and mending it, backing it up and bringing it back.

pub(crate) mod backup;
pub(crate) mod check;
mod queue;
pub(crate) mod stamp;
