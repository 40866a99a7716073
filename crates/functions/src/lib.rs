//! KQL's functions: rows of data and the kernels behind them.
//!
//! Input: a name and typed arguments from the binder. Output: an engine expression. Every name of
//! the language reference has a row in `registry`; what is not served says so (`Imp::Refused`).

pub mod aggregate;
pub mod call;
pub mod convert;
pub mod dynamic;
pub mod operator;
pub mod registry;
pub mod scalar;
pub mod signature;
pub mod turn;
pub mod udf;

pub use registry::{Aggregate, Imp, Scalar, find_aggregate, find_scalar};
pub use signature::{Accepts, Param, Returns, Signature};
