//! Stored graphs: a model's steps, and the rows that a snapshot of it holds.
//!
//! `CatalogView::graph` gives a `GraphModel`; `GraphModel::parse` makes one of the JSON text that
//! `.create-or-alter graph_model` takes. A snapshot is the same model whose steps read stored
//! tables in place of their queries. Source: graph-model-overview page.

use std::sync::Arc;

use serde_json::Value;
use tidewater_kql::{Column, KqlType};

use crate::catalog::TableHandle;

/// Labels of one schema and steps of one definition, each.
pub const MAX_MODEL_PARTS: usize = 1_000;

/// Which state of a stored graph is meant. Source: graph-function page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphVersion<'a> {
    /// `graph("M")`, `graph("M", false)`: the latest snapshot, or the model's queries while there is none.
    Latest,
    /// `graph("M", "S")`: the snapshot of that name.
    Snapshot(&'a str),
    /// `graph("M", true)`: the model's queries.
    Transient,
}

/// A graph model, or a snapshot of one.
#[derive(Clone, Debug, Default)]
pub struct GraphModel {
    /// The database in which the steps' queries are read.
    pub database: String,
    /// The model's name.
    pub name: String,
    /// `Schema.Nodes`: labels with the types of their properties.
    pub node_labels: Vec<GraphLabel>,
    /// `Schema.Edges`.
    pub edge_labels: Vec<GraphLabel>,
    /// `Definition.Steps` in their order.
    pub steps: Vec<GraphStep>,
}

/// A label of a model's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphLabel {
    /// The label.
    pub name: String,
    /// The properties of what carries it.
    pub properties: Vec<Column>,
}

/// A step of a model's definition.
#[derive(Clone, Debug)]
pub struct GraphStep {
    /// Nodes or edges, and their columns of ids.
    pub kind: GraphStepKind,
    /// Where the rows come from.
    pub rows: GraphRows,
    /// Labels of every element of the step.
    pub labels: Vec<String>,
    /// A column with more labels: a string or an array of strings.
    pub labels_column: Option<String>,
}

/// What a step adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphStepKind {
    /// `AddNodes`: `NodeIdColumn`.
    AddNodes {
        /// The column of the node's id.
        id: String,
    },
    /// `AddEdges`: `SourceColumn`, `TargetColumn`.
    AddEdges {
        /// The column of the source's id.
        source: String,
        /// The column of the target's id.
        target: String,
    },
}

/// The rows of a step.
#[derive(Clone, Debug)]
pub enum GraphRows {
    /// KQL text, expanded when the graph is queried.
    Query(String),
    /// What a snapshot keeps of that query's result.
    Stored(Arc<TableHandle>),
}

impl GraphModel {
    /// Reads the JSON text of a model. Line breaks inside strings and commas before a closing bracket are taken.
    ///
    /// Errors: a message that names the faulty member.
    pub fn parse(database: &str, name: &str, json: &str) -> Result<GraphModel, String> {
        let model: Value = serde_json::from_str(&strict_json(json))
            .map_err(|error| format!("the graph model is not valid JSON: {error}"))?;
        let schema = model.get("Schema");
        let labels = |member: &str| -> Result<Vec<GraphLabel>, String> {
            match schema.and_then(|schema| schema.get(member)) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(Value::Object(labels)) if labels.len() <= MAX_MODEL_PARTS => {
                    labels.iter().map(|(name, properties)| label(name, properties)).collect()
                }
                Some(_) => Err(format!("'Schema.{member}' must be an object of at most {MAX_MODEL_PARTS} labels")),
            }
        };
        let steps = model.get("Definition").and_then(|definition| definition.get("Steps"));
        let Some(Value::Array(steps)) = steps else {
            return Err("'Definition.Steps' must be an array of steps".to_string());
        };
        if steps.is_empty() || steps.len() > MAX_MODEL_PARTS {
            return Err(format!("'Definition.Steps' must have 1 to {MAX_MODEL_PARTS} steps"));
        }
        let steps =
            steps.iter().enumerate().map(|(position, value)| step(position, value)).collect::<Result<Vec<_>, _>>()?;
        if !steps.iter().any(|step| matches!(step.kind, GraphStepKind::AddEdges { .. })) {
            return Err("'Definition.Steps' must have at least one step of kind 'AddEdges'".to_string());
        }
        Ok(GraphModel {
            database: database.to_string(),
            name: name.to_string(),
            node_labels: labels("Nodes")?,
            edge_labels: labels("Edges")?,
            steps,
        })
    }
}

/// `"Person": { "Name": "string" }`.
fn label(name: &str, properties: &Value) -> Result<GraphLabel, String> {
    let Value::Object(properties) = properties else {
        return Err(format!("the label '{name}' must be an object of property types"));
    };
    let properties = properties
        .iter()
        .map(|(property, ty)| {
            let ty = ty.as_str().and_then(KqlType::parse);
            let ty = ty.ok_or_else(|| format!("the property '{property}' of label '{name}' has no known type"))?;
            Ok(Column::new(property, ty))
        })
        .collect::<Result<_, String>>()?;
    Ok(GraphLabel { name: name.to_string(), properties })
}

fn step(position: usize, value: &Value) -> Result<GraphStep, String> {
    let place = format!("step {} of the definition", position + 1);
    let text = |member: &str| -> Result<String, String> {
        match value.get(member).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(text) => Ok(text.to_string()),
            None => Err(format!("{place} must have '{member}'")),
        }
    };
    let kind = match text("Kind")?.as_str() {
        "AddNodes" => GraphStepKind::AddNodes { id: text("NodeIdColumn")? },
        "AddEdges" => GraphStepKind::AddEdges { source: text("SourceColumn")?, target: text("TargetColumn")? },
        other => return Err(format!("{place} has the kind '{other}', expected 'AddNodes' or 'AddEdges'")),
    };
    let labels = match value.get("Labels") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(labels)) => labels
            .iter()
            .map(|label| label.as_str().map(str::to_string))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("'Labels' of {place} must be an array of strings"))?,
        Some(_) => return Err(format!("'Labels' of {place} must be an array of strings")),
    };
    let labels_column = match value.get("LabelsColumn") {
        None | Some(Value::Null) => None,
        Some(_) => Some(text("LabelsColumn")?),
    };
    Ok(GraphStep { kind, rows: GraphRows::Query(text("Query")?), labels, labels_column })
}

/// The text as strict JSON: line breaks and tabs inside strings escaped, commas before a closing bracket left out.
fn strict_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        if in_string {
            match character {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ => out.push(character),
            }
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        let closes = || text[at + 1..].trim_start().starts_with(['}', ']']);
        if character == ',' && closes() {
            continue;
        }
        in_string = character == '"';
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{
      "Schema": { "Nodes": { "Person": { "Name": "string", "Born": "int" }, }, "Edges": { "KNOWS": {} } },
      "Definition": { "Steps": [
        { "Kind": "AddNodes", "Query": "People
| project Name", "NodeIdColumn": "Name", "Labels": ["Person"], "LabelsColumn": "More" },
        { "Kind": "AddEdges", "Query": "Knows", "SourceColumn": "A", "TargetColumn": "B", },
      ] } }"#;

    #[test]
    fn a_model_is_read_with_line_breaks_in_strings_and_trailing_commas() {
        let model = GraphModel::parse("db", "m", MODEL).unwrap();
        assert_eq!(
            model.node_labels[0].properties,
            [Column::new("Name", KqlType::String), Column::new("Born", KqlType::Int)]
        );
        assert_eq!(model.steps.len(), 2);
        assert!(matches!(&model.steps[0].rows, GraphRows::Query(text) if text == "People\n| project Name"));
        assert_eq!(model.steps[0].labels_column.as_deref(), Some("More"));
        assert_eq!(model.steps[1].kind, GraphStepKind::AddEdges { source: "A".into(), target: "B".into() });
    }

    #[test]
    fn a_faulty_model_is_told_by_its_member() {
        for (json, part) in [
            ("nonsense", "not valid JSON"),
            ("{}", "'Definition.Steps'"),
            (r#"{"Definition":{"Steps":[{"Kind":"AddNodes","Query":"T"}]}}"#, "'NodeIdColumn'"),
            (r#"{"Definition":{"Steps":[{"Kind":"Add","Query":"T"}]}}"#, "'Add'"),
            (r#"{"Definition":{"Steps":[{"Kind":"AddNodes","Query":"T","NodeIdColumn":"a"}]}}"#, "'AddEdges'"),
        ] {
            let error = GraphModel::parse("db", "m", json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
