//! Running queries, commands and ingestion: rights, limits, journals; one [`Context`] per request.
//!
//! Fronts (HTTP of two APIs) make a context and call [`Service`]; answers are typed streams of batches.
//! Nothing here knows wire formats or status codes. `query` goes through `plan` over a catalog snapshot
//! (`view`); `command` has a file per noun; `ingest` decodes and commits data; `limits` ends what runs
//! too long, too large or for nobody.

pub mod answer;
pub mod care;
mod command;
pub mod context;
mod dashboards;
pub mod error;
mod explain;
mod export;
mod external;
mod identity;
pub mod ingest;
pub mod jobs;
mod journal;
mod keep;
pub mod library;
mod limits;
mod maintenance;
mod memory;
mod permissions;
mod planning;
mod policies;
mod query;
pub mod queued;
mod rights;
pub mod roots;
mod samples;
mod secrets;
mod service;
mod stored;
mod system;
mod table;
mod tsql;
mod updates;
mod usage;
mod view;
mod views;
mod workload;

pub use answer::{CommandAnswer, QueryAnswer, ResultTable};
pub use command::{is_served_by_name, refusal_by_name};
pub use context::{Context, RequestOptions};
pub use dashboards::{Changed, Dashboard, MAX_DASHBOARD_BYTES};
pub use error::{Error, Fault, Kind, Result};
pub use explain::explain_function;
pub use export::{FileEncoder, FileFormat};
pub use identity::{ACCOUNT_AUTHORITY, Identity, PrincipalKind, ServerRole};
pub use ingest::{IngestAnswer, IngestRequest};
pub use permissions::{DatabasePermissions, Permissions};
pub use rights::{PrincipalName, Rights};
pub use samples::SAMPLES_DATABASE;
pub use secrets::obfuscated;
pub use service::{Service, ServiceOptions};
pub use tidewater_kql::parser::is_command;
pub use usage::{Consumption, TableSize, Usage};
