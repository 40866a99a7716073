//! What an answer says beside its rows: visualization, completion, resources used.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tidewater_service::ResultTable;

/// The members of the visualization object, in their order, with the values they have without `render`.
/// Source: kusto-rest section 5.
const VISUALIZATION: &[(&str, Unset)] = &[
    ("Visualization", Unset::Null),
    ("Title", Unset::Null),
    ("XColumn", Unset::Null),
    ("Series", Unset::Null),
    ("YColumns", Unset::Null),
    ("AnomalyColumns", Unset::Null),
    ("XTitle", Unset::Null),
    ("YTitle", Unset::Null),
    ("XAxis", Unset::Null),
    ("YAxis", Unset::Null),
    ("Legend", Unset::Null),
    ("YSplit", Unset::Null),
    ("Accumulate", Unset::False),
    ("IsQuerySorted", Unset::Sorted),
    ("Kind", Unset::Null),
    ("Ymin", Unset::Nan),
    ("Ymax", Unset::Nan),
    ("Xmin", Unset::Null),
    ("Xmax", Unset::Null),
];

#[derive(Clone, Copy)]
enum Unset {
    Null,
    False,
    Nan,
    Sorted,
}

/// The JSON text of a result's visualization.
pub fn visualization(table: &ResultTable) -> String {
    let asked = table.visualization.as_ref().and_then(Value::as_object);
    let mut members = Map::new();
    for (name, unset) in VISUALIZATION {
        let given = asked.and_then(|asked| asked.get(*name)).cloned();
        let value = given.unwrap_or(match unset {
            Unset::Null => Value::Null,
            Unset::False => Value::Bool(false),
            Unset::Nan => json!("NaN"),
            Unset::Sorted => Value::Bool(table.is_sorted),
        });
        members.insert(name.to_string(), value);
    }
    if let Some(asked) = asked {
        for (name, value) in asked {
            members.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Value::Object(members).to_string()
}

/// Rows and bytes of one result, for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableSize {
    /// Rows sent.
    pub rows: u64,
    /// Bytes of JSON they took.
    pub bytes: u64,
}

/// The JSON text of resources used.
pub fn resources(elapsed: Duration, sizes: &[TableSize]) -> String {
    let sizes: Vec<Value> =
        sizes.iter().map(|size| json!({"table_row_count": size.rows, "table_size": size.bytes})).collect();
    json!({
        "ExecutionTime": elapsed.as_secs_f64(),
        "resource_usage": {
            "cache": {"memory": {"hits": 0, "misses": 0, "total": 0}, "disk": {"hits": 0, "misses": 0, "total": 0}},
            "cpu": {"user": "00:00:00", "kernel": "00:00:00", "total cpu": "00:00:00"},
            "memory": {"peak_per_node": 0},
        },
        "input_dataset_statistics": {
            "extents": {"total": 0, "scanned": 0},
            "rows": {"total": 0, "scanned": 0},
        },
        "dataset_statistics": sizes,
    })
    .to_string()
}
