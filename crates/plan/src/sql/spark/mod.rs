//! The dialect that users of the Query Service write: Spark's functions and those that Adobe defines, over the engine's.
//!
//! Input: a session to be (`register`) and the tree of a statement (`rewrite`). What the engine has under another name or in another
//! shape is rewritten in the tree; what it has not is a function of our own. KQL does not see any of it.
//! Source: query-service-api section 21; the page on Spark SQL functions in Query Service; Spark's own function reference.

mod calls;
mod division;
mod generators;
mod hash;
mod json;
mod moments;
mod pattern;
mod text;
mod time;
mod udf;
mod windows;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use datafusion::sql::sqlparser::ast::Statement as Ast;

use super::{SqlFault, SqlScope};

/// Functions of the dialect that are refused, with what they would need.
pub const REFUSED: &[(&str, &str)] = &[
    ("from_xml", "XML is not read"),
    ("history_meta", "a table's past states are not kept"),
    ("inline", "explode() gives the structs, whose fields can be read"),
    ("inline_outer", "explode_outer() gives the structs, whose fields can be read"),
    ("map_concat", "maps are not joined"),
    ("schema_of_json", "from_json() takes the schema as a text"),
    ("sentences", "texts are not split by a language's rules"),
    ("window", "date_trunc() and date_bin() give windows of time"),
    ("xpath", "XML is not read"),
    ("xpath_boolean", "XML is not read"),
    ("xpath_double", "XML is not read"),
    ("xpath_float", "XML is not read"),
    ("xpath_int", "XML is not read"),
    ("xpath_long", "XML is not read"),
    ("xpath_number", "XML is not read"),
    ("xpath_short", "XML is not read"),
    ("xpath_string", "XML is not read"),
    ("zip_with", "transform() takes one array"),
];

/// Functions of the dialect whose names are also other names of functions of the engine. Which of the two a session finds is not
/// sure, so calls are given a name that is.
const CLASHING: &[(&str, &str)] = &[
    ("date_format", "spark_date_format"),
    ("length", "spark_length"),
    ("pow", "spark_pow"),
    ("substring", "spark_substring"),
];

/// The sure name of a function whose own is not.
fn sure_name(name: &str) -> Option<&'static str> {
    CLASHING.iter().find(|(clashing, _)| *clashing == name).map(|(_, sure)| *sure)
}

/// Adds the functions of the dialect to a session; where the engine has one of the same name, theirs is put in its place.
pub fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.scalar_functions().get_or_insert_with(Vec::new).extend(scalar_functions());
    let aggregates = builder.aggregate_functions().get_or_insert_with(Vec::new);
    // The engine's avg() takes decimals too.
    let given = datafusion_spark::all_default_aggregate_functions().into_iter();
    aggregates.extend(given.filter(|function| function.name() != "avg"));
    aggregates.extend(moments::functions());
    builder.expr_planners().get_or_insert_with(Vec::new).insert(0, Arc::new(division::Division));
    builder.window_functions().get_or_insert_with(Vec::new).extend(windows::functions());
    builder
}

fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let own = [time::ROWS, text::ROWS, json::ROWS, hash::ROWS].concat();
    let own: Vec<_> = own.into_iter().map(|row| udf::function(row, Volatility::Immutable)).collect();
    let given = datafusion_spark::all_default_scalar_functions().into_iter();
    // One of two functions with the same name would stay in the session under its other names, and come back by chance.
    let is_own = |name: &str| own.iter().any(|function| function.name() == name);
    let given: Vec<_> = given.filter(|function| !is_kept(function.name()) && !is_own(function.name())).collect();
    let all = given.into_iter().chain(own);
    let named = |function: Arc<ScalarUDF>| match sure_name(function.name()) {
        Some(sure) => Arc::new(function.as_ref().clone().with_aliases([sure])),
        None => function,
    };
    all.map(named).collect()
}

/// Functions of the engine that mean the same and take more types, or that tools ask for in their standard form.
fn is_kept(name: &str) -> bool {
    matches!(
        name,
        "concat" | "date_part" | "date_trunc" | "round" | "abs" | "like" | "ilike" | "array_repeat" | "array_contains"
    )
}

/// Brings a statement of the dialect into the engine's form.
pub(super) fn rewrite(statement: &mut Ast, scope: &SqlScope) -> Result<(), SqlFault> {
    generators::rewrite(statement)?;
    calls::rewrite(statement, scope)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::execution::SessionStateDefaults;

    use super::*;

    #[test]
    fn names_that_the_engine_has_for_others_are_known() {
        let ours = scalar_functions();
        let ours: BTreeSet<&str> = ours.iter().map(|function| function.name()).collect();
        let all = scalar_functions();
        let engine = SessionStateDefaults::default_scalar_functions();
        let others = engine.iter().filter(|function| !ours.contains(function.name())).chain(&all);
        let clashing: BTreeSet<&str> = others
            .flat_map(|function| function.aliases())
            .map(String::as_str)
            .filter(|name| ours.contains(name))
            .collect();
        assert_eq!(clashing, CLASHING.iter().map(|(name, _)| *name).collect());
    }
}
