//! Commands about the server itself.

use tidewater_kql::KqlType;

use super::Request;
use crate::answer::ResultTable;
use crate::error::Result;
use crate::maintenance::machine_memory_bytes;
use crate::table::{Columns, TableBuilder};

/// `.show version`: ingestion clients look for `Engine`.
pub fn version(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[
        ("BuildVersion", KqlType::String),
        ("BuildTime", KqlType::DateTime),
        ("ServiceType", KqlType::String),
        ("ProductVersion", KqlType::String),
    ]);
    let version = request.service.version();
    let product = format!("Tidewater {version}");
    out.row(vec![version.into(), request.service.inner().started_ticks.into(), "Engine".into(), product.into()]);
    out.finish()
}

/// `.show cluster`: one node.
pub fn nodes(request: &Request<'_>) -> Result<ResultTable> {
    node(request, false)
}

/// `.show cluster details`: the same with the version.
pub fn details(request: &Request<'_>) -> Result<ResultTable> {
    node(request, true)
}

fn node(request: &Request<'_>, details: bool) -> Result<ResultTable> {
    let mut out = TableBuilder::new(if details { NODE_DETAILS } else { &NODE_DETAILS[..9] });
    let (total, available) = machine_memory_bytes().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cells = vec![
        "KEngine000000".into(),
        "".into(),
        "tidewater".into(),
        request.service.inner().started_ticks.into(),
        true.into(),
        total.into(),
        available.into(),
        cores.into(),
        "{}".into(),
    ];
    if details {
        cells.push(format!("Tidewater {}", request.service.version()).into());
    }
    out.row(cells);
    out.finish()
}

/// The last column is that of the details.
const NODE_DETAILS: Columns = &[
    ("NodeId", KqlType::String),
    ("Address", KqlType::String),
    ("Name", KqlType::String),
    ("StartTime", KqlType::DateTime),
    ("IsAdmin", KqlType::Bool),
    ("MachineTotalMemory", KqlType::Long),
    ("MachineAvailableMemory", KqlType::Long),
    ("ProcessorCount", KqlType::Int),
    ("EnvironmentDescription", KqlType::String),
    ("NetAndClsVersion", KqlType::String),
];
