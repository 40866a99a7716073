//! HTTP, configuration and the command line of Tidewater.
//!
//! `kusto` is Kusto's REST interface, `queries` the Query Service API, `http` the server under it, `ui` the page, `config` the settings, `cli` the
//! commands. Everything a request means happens in `tidewater_service`; this crate reads requests
//! and writes answers.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
mod files;
pub mod health;
pub mod http;
pub mod kusto;
pub mod logs;
pub mod metrics;
pub mod origin;
pub mod postgres;
mod queries;
pub mod stall;
mod storage;
pub mod tls;
pub mod ui;

pub use app::App;
pub use config::Config;
