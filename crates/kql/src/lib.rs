//! KQL as text: tokens, tree, types, value texts and diagnostics.
//!
//! Input: the text of a query, a management command or a single value. Output: a tree with spans
//! and diagnostics (`parse_query`, `parse_command`), or a typed value (`value`). This crate knows
//! nothing of arrays, the engine or files.

pub mod ast;
pub mod command;
pub mod diagnostic;
pub mod entity_command;
pub mod lexer;
pub mod management_command;
pub mod parser;
pub mod policy_command;
pub mod printer;
pub mod running_command;
pub mod security_command;
pub mod span;
pub mod stack;
pub mod term;
pub mod types;
pub mod value;

pub use diagnostic::Diagnostic;
pub use parser::{Parsed, is_command, parse_command, parse_function_body, parse_literal, parse_query};
pub use span::Span;
pub use types::{Column, KqlType, TableSchema};
