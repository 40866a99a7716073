//! Why a query could not be planned.

use datafusion::error::DataFusionError;
use tidewater_kql::Diagnostic;

/// A query that could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Mistakes in the text.
    #[error("{}", summary(.diagnostics))]
    Diagnostics {
        /// The text that the spans refer to.
        text: String,
        /// At least one.
        diagnostics: Vec<Diagnostic>,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] DataFusionError),
    /// A named limit was reached.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What grew too large.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    match diagnostics {
        [] => "the query is not valid".to_string(),
        [first, ..] => format!("{}: {}", first.code, first.message),
    }
}
