//! What an answer says beside its rows: visualization.

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
