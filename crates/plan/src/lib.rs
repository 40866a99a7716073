//! From query text and a catalog view to an engine plan.
//!
//! Input: KQL text, what the query may see (`catalog`), and the request's clock, parameters and
//! options (`PlanContext`). `bind` settles names and types in an engine-free tree (`bound`),
//! `lower` turns that into engine plans. No storage, clock or network: same input, same plan.

pub mod bind;
pub mod bound;
pub mod catalog;
pub mod error;
pub mod exec;
pub mod external;
pub mod external_call;
pub mod graph_model;
pub mod hidden;
pub mod lower;
pub mod options;
pub mod rules;
pub mod session;
pub mod sql;
pub mod tsql;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use tidewater_kql::TableSchema;

pub use bind::check_function;
pub use bind::evaluate::plugin_names;
pub use catalog::{CatalogView, MaterializedView, RowSecurity, StoredFunction, TableHandle};
pub use error::PlanError;
pub use external::{ExternalSource, Partition, PartitionValue, PathPiece, external_source};
pub use external_call::{ExternalCall, HttpCall, InferMode, InferSchema, SqlCall, SqlKind};
pub use graph_model::{GraphLabel, GraphModel, GraphRows, GraphStep, GraphStepKind, GraphVersion};
pub use lower::driver::plan_query;

/// What the functions of principals answer.
#[derive(Clone, Default)]
pub struct PrincipalFacts {
    /// `current_principal_details()`: a JSON text; empty when nothing is known.
    pub details: String,
    /// Whether the principal is, or belongs to, the principal that a text names.
    pub is_member_of: Option<MemberTest>,
}

/// See [`PrincipalFacts`].
pub type MemberTest = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl std::fmt::Debug for PrincipalFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrincipalFacts({})", self.details)
    }
}

/// What a request brings along beside its text.
#[derive(Clone, Debug, Default)]
pub struct PlanContext {
    /// `now()`: ticks since year 1, fixed for the whole query.
    pub now_ticks: i64,
    /// Values for `declare query_parameters`, by kusto-rest section 2.
    pub parameters: HashMap<String, serde_json::Value>,
    /// Request options by name.
    pub options: HashMap<String, serde_json::Value>,
    /// Start of `rand` and `sample`.
    pub seed: u64,
    /// `current_principal()`.
    pub current_principal: String,
    /// What else is known of the principal.
    pub principal: PrincipalFacts,
    /// The caller's id of the request.
    pub client_request_id: String,
}

/// A planned query.
#[derive(Clone, Debug)]
pub struct PlannedQuery {
    /// A result per query statement.
    pub results: Vec<PlannedResult>,
    /// From `set`, as they stand after the last statement.
    pub options: HashMap<String, serde_json::Value>,
}

/// A planned result table.
#[derive(Clone, Debug)]
pub struct PlannedResult {
    /// The table's name for a bare table reference, or that of `as`.
    pub name: Option<String>,
    /// The columns as the user sees them.
    pub schema: TableSchema,
    /// Output columns are `schema.arrow()` in names, types and order.
    pub plan: LogicalPlan,
    /// The visualization object of kusto-rest section 5.
    pub visualization: Option<serde_json::Value>,
    /// Whether the order of rows is promised.
    pub is_sorted: bool,
    /// From the `set` statements before this result.
    pub options: Arc<HashMap<String, serde_json::Value>>,
}
