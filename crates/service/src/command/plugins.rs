//! `.show plugins`, `.enable plugin`, `.disable plugin`: the state is a property of the cluster.

use serde_json::json;
use tidewater_kql::KqlType;
use tidewater_store::{PropertyKey, PropertyOwner, Snapshot};

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::table::TableBuilder;

/// The kind of the properties that hold the state of plugins.
const PROPERTY: &str = "plugin";

fn key(name: &str) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Cluster, kind: PROPERTY.to_string(), name: name.to_string() }
}

/// Whether a plugin may be used: all may, unless somebody has switched them off.
pub(crate) fn is_enabled(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.property(&key(name)).and_then(|value| value["IsEnabled"].as_bool()).unwrap_or(true)
}

/// `.show plugins`
pub fn show(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[("PluginName", KqlType::String), ("IsEnabled", KqlType::Bool)]);
    for name in tidewater_plan::plugin_names() {
        out.row(vec![(*name).into(), is_enabled(&request.snapshot, name).into()]);
    }
    out.finish()
}

/// `.enable plugin P`, `.disable plugin P`
pub async fn enable(request: &Request<'_>, name: &str, enable: bool) -> Result<ResultTable> {
    let known = tidewater_plan::plugin_names().iter().find(|known| known.eq_ignore_ascii_case(name));
    let Some(known) = known else { return Err(Error::entity_not_found("Plugin", name)) };
    let value = if enable { None } else { Some(json!({ "IsEnabled": false })) };
    request.service.store().put_property(key(known), value).await?;
    let mut out = TableBuilder::new(&[("PluginName", KqlType::String), ("IsEnabled", KqlType::Bool)]);
    out.row(vec![(*known).into(), enable.into()]);
    out.finish()
}
