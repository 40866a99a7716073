//! Which group a request belongs to: a function of the user over the request's properties.
//! Source: request-classification-policy.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use futures::StreamExt;
use serde_json::{Value, json};
use tidewater_kql::lexer::{TokenKind, lex};
use tidewater_kql::value::json::quote;
use tidewater_plan::{CatalogView, PlanContext, StoredFunction, TableHandle, plan_query};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::query::{of_plan, plan_context};
use crate::service::Service;

/// Characters of a request's text that the function sees.
const MAX_TEXT_CHARACTERS: usize = 65_536;
/// A function that takes longer has failed.
const TIME: Duration = Duration::from_secs(1);

/// The properties of a request that the function may ask for, in the order in which policies list them.
const PROPERTIES: &[&str] = &[
    "current_database",
    "request_description",
    "current_application",
    "current_principal",
    "query_consistency",
    "request_text",
    "request_type",
];

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classification {
    /// Whether requests are told apart at all.
    pub is_enabled: bool,
    /// The body of the function.
    pub function: String,
}

impl Classification {
    /// From what is stored.
    pub fn of(value: &Value) -> Option<Classification> {
        let is_enabled = value.get("IsEnabled")?.as_bool()?;
        Some(Classification { is_enabled, function: value.get("ClassificationFunction")?.as_str()?.to_string() })
    }

    /// As it is stored and shown.
    pub fn value(&self) -> Value {
        let named = |property: &&&str| self.function.contains(**property);
        let properties: Vec<&&str> = PROPERTIES.iter().filter(named).collect();
        json!({
            "ClassificationProperties": properties,
            "IsEnabled": self.is_enabled,
            "ClassificationFunction": self.function,
        })
    }
}

/// A catalog without anything in it: the function must not name entities.
struct Nothing;

impl CatalogView for Nothing {
    fn current_database(&self) -> &str {
        ""
    }

    fn database_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn table(&self, _database: &str, _name: &str) -> Option<Arc<TableHandle>> {
        None
    }

    fn table_names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }

    fn function(&self, _database: &str, _name: &str) -> Option<StoredFunction> {
        None
    }
}

/// The request's text with its hidden literals starred out.
fn visible(text: &str) -> String {
    let end = text.char_indices().nth(MAX_TEXT_CHARACTERS).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    let mut out = String::with_capacity(text.len());
    for token in lex(text) {
        let part = token.span.text(text);
        let is_hidden = matches!(token.kind, TokenKind::String | TokenKind::OpenString) && part.starts_with(['h', 'H']);
        match is_hidden {
            true => out.push_str("*****"),
            false => out.push_str(part),
        }
    }
    out
}

/// The query that gives the group of a request with these properties.
fn query_of(function: &str, properties: &Value) -> String {
    let mut literal = Vec::new();
    quote(&properties.to_string(), &mut literal);
    let literal = String::from_utf8_lossy(&literal).into_owned();
    format!(
        "let request_properties = parse_json({literal});\nlet classify = () {{\n{function}\n}};\nprint WorkloadGroup = classify()"
    )
}

impl Service {
    /// The name that the policy's function gives to a request; `None` without a policy, or when the function fails.
    pub(crate) async fn classified(&self, context: &Context, text: &str, is_query: bool) -> Option<String> {
        let workloads = self.inner().workloads.get();
        let policy = workloads.classification.as_ref().filter(|policy| policy.is_enabled)?;
        let option = |name: &str| context.options.text(name).unwrap_or_default();
        let consistency = match option("queryconsistency") {
            "" if is_query => "strongconsistency",
            other => other,
        };
        let properties = json!({
            "current_database": context.database,
            "current_application": context.application,
            "current_principal": context.principal,
            "query_consistency": consistency,
            "request_description": option("request_description"),
            "request_text": visible(text),
            "request_type": if is_query { "Query" } else { "Command" },
        });
        match tokio::time::timeout(TIME, self.evaluated(context, &policy.function, &properties)).await {
            Ok(Ok(name)) => Some(name),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a request could not be classified");
                None
            }
            Err(_) => None,
        }
    }

    /// Tells whether a function can classify: it has one text as its value and names no entity.
    pub(crate) async fn check_classification(&self, context: &Context, function: &str) -> Result<()> {
        let properties: Value = PROPERTIES.iter().map(|name| (name.to_string(), Value::from(""))).collect();
        self.evaluated(context, function, &properties).await.map(drop)
    }

    async fn evaluated(&self, context: &Context, function: &str, properties: &Value) -> Result<String> {
        let text = query_of(function, properties);
        let plan_context = PlanContext { options: Default::default(), ..plan_context(context)? };
        let planned = plan_query(&text, &Nothing, &plan_context, self.session()).await;
        let mut planned = planned.map_err(|error| of_plan(error, &text))?;
        let wrong = || Error::bad_request("the classification function must give one value of type string");
        if planned.results.len() != 1 {
            return Err(wrong());
        }
        let result = planned.results.remove(0);
        let is_text = matches!(&result.schema.columns[..], [column] if column.ty == tidewater_kql::KqlType::String);
        if !is_text {
            return Err(wrong());
        }
        let (mut rows, _) = self.plain_rows(context, result).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let column = batch.column(0).as_string_view();
                return Ok(if column.is_null(0) { String::new() } else { column.value(0).to_string() });
            }
        }
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_literals_are_not_seen() {
        assert_eq!(visible("T | where s == h'secret' and t == 'open'"), "T | where s == ***** and t == 'open'");
    }

    #[test]
    fn a_policy_lists_the_properties_it_asks_for() {
        let function = "iff(request_properties.request_type == 'Query', 'a', request_properties.current_application)";
        let policy = Classification { is_enabled: true, function: function.into() };
        assert_eq!(policy.value()["ClassificationProperties"], json!(["current_application", "request_type"]));
        assert_eq!(Classification::of(&policy.value()), Some(policy));
    }
}
