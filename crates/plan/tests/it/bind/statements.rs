//! `let`, functions, parameters, options, databases.

use serde_json::json;
use tidewater_plan::bound::Value;

use super::{bind_with, bound, columns, context, names, printed, refusal, refused};

#[test]
fn a_let_is_a_scalar_a_table_or_a_function() {
    assert_eq!(
        columns("let n = 5; let L = Small | where k > n; let f = (x: long) { x + n }; L | project q = f(k)"),
        "q: long"
    );
    assert_eq!(names("let f = () { Small }; f | count"), "Count");
    assert_eq!(columns("let one = () { 1 }; print q = one + one()"), "q: long");
}

#[test]
fn functions_take_defaults_and_named_arguments() {
    assert_eq!(printed("let f = (a: long, b: long = 2) { a * 10 + b }; let v = f(1); print v"), Value::Long(12));
    assert_eq!(printed("let f = (a: long, b: long) { a * 10 + b }; let v = f(b = 1, a = 2); print v"), Value::Long(21));
    assert_eq!(refusal("let f = (a: long) { a }; print f()").code, "SEM0219");
    assert_eq!(refusal("let f = (a: long) { a }; print f(1, 2)").code, "SEM0219");
    assert_eq!(refusal("let f = (a: long) { a }; print f(q = 2)").code, "SEM0219");
    assert_eq!(refusal("let f = (a: long) { a }; print f('x')").code, "SEM0254");
}

#[test]
fn tabular_arguments_must_have_the_declared_columns() {
    let f = "let f = (X: (k: long), n: long) { X | where k > n }; ";
    assert_eq!(names(&format!("{f}f(Small, 3)")), "k, v");
    assert_eq!(names(&format!("{f}Small | invoke f(3)")), "k, v");
    assert_eq!(refusal(&format!("{f}f(T, 3)")).code, "SEM0254");
    assert_eq!(columns("let f = (X: (*)) { X | count }; f(T)"), "Count: long");
}

#[test]
fn a_column_hides_a_let_inside_pipelines_but_not_inside_scalar_functions() {
    assert_eq!(columns("let k = 's'; Small | project q = k"), "q: long");
    assert_eq!(columns("let k = 's'; let f = () { k }; Small | project q = f()"), "q: string");
}

#[test]
fn names_are_known_only_after_their_definition() {
    assert_eq!(refusal("let a = b + 1; let b = 1; print a").code, "SEM0100");
    assert_eq!(refusal("let f = () { g() }; let g = () { 1 }; print f()").code, "SEM0260");
    assert_eq!(refusal("let a = 1; let a = 2; print a").code, "SEM0079");
}

#[test]
fn a_failed_definition_is_reported_once() {
    assert_eq!(refused("let a = nothing; print a, a + 1, f = a"), [("SEM0100", "nothing".to_string())]);
}

#[test]
fn several_mistakes_are_reported_together() {
    let found = refused("T | project zz, a + s, strlen(1, 2), unknown(a)");
    let codes: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["SEM0100", "SEM0064", "SEM0219", "SEM0260"]);
}

#[test]
fn several_queries_give_several_results() {
    assert_eq!(columns("print a = 1; Small | count"), "a: long || Count: long");
    assert_eq!(bound("Small").results[0].name.as_deref(), Some("Small"));
    assert_eq!(bound("Small | count").results[0].name, None);
    assert_eq!(bound("Small | as X | count | as Y").results[0].name.as_deref(), Some("Y"));
    assert_eq!(bound("let a = 1;").results.len(), 0);
}

#[test]
fn as_names_rows_for_the_rest_of_the_query() {
    assert_eq!(names("Small | as X | join kind=inner X on k"), "k, v, k1, v1");
    assert_eq!(names("Small | as hint.materialized=true X | union X"), "k, v");
}

#[test]
fn options_are_kept_under_their_names() {
    let options = bound(
        "set notruncation; set truncationmaxrecords = 10; set query_bin_auto_size = 1m; set queryconsistency = \
         'weakconsistency'; print 1",
    )
    .options;
    assert_eq!(options["notruncation"], json!(true));
    assert_eq!(options["truncationmaxrecords"], json!(10));
    assert_eq!(options["query_bin_auto_size"], json!("time(00:01:00)"));
    assert!(!options.contains_key("queryconsistency"), "only requests may set it");
}

fn with_parameters(text: &str, parameters: serde_json::Value) -> Result<Vec<Value>, Vec<(&'static str, String)>> {
    use tidewater_plan::bound::{BExprKind, RelOp};
    let mut context = context();
    context.parameters = serde_json::from_value(parameters).unwrap();
    match bind_with(text, &context) {
        Ok((query, _)) => {
            let RelOp::Project { items, .. } = &query.results[0].rel.op else { panic!("no projection") };
            Ok(items
                .iter()
                .map(|item| match &item.kind {
                    BExprKind::Constant(value) => value.clone(),
                    other => panic!("{other:?}"),
                })
                .collect())
        }
        Err(found) => Err(found.iter().map(|found| (found.code, found.span.text(text).to_string())).collect()),
    }
}

#[test]
fn query_parameters_are_read_as_their_declared_types() {
    let text = "declare query_parameters (s: string, n: long, t: datetime, p: timespan = 1h, b: bool, x: real); print s, n, t, p, b, x";
    let given = json!({"s": "plain", "n": "5", "t": "datetime(2020-01-01)", "b": true, "x": 2});
    assert_eq!(
        with_parameters(text, given).unwrap(),
        [
            Value::String("plain".into()),
            Value::Long(5),
            Value::DateTime(637_134_336_000_000_000),
            Value::TimeSpan(36_000_000_000),
            Value::Bool(true),
            Value::Real(2.0),
        ]
    );
    // A complete string literal is its value.
    let quoted = with_parameters("declare query_parameters (s: string); print s", json!({"s": "\"it\""}));
    assert_eq!(quoted.unwrap(), [Value::String("it".into())]);
}

#[test]
fn a_parameter_needs_a_value_of_its_type() {
    let text = "declare query_parameters (n: long); print n";
    assert_eq!(with_parameters(text, json!({})).unwrap_err(), [("SEM0025", "n".to_string())]);
    assert_eq!(with_parameters(text, json!({"n": "abc"})).unwrap_err(), [("SEM0025", "n".to_string())]);
    assert_eq!(
        with_parameters("declare query_parameters (n: long = 7); print n", json!({})).unwrap(),
        [Value::Long(7)]
    );
}

#[test]
fn tables_of_other_databases_are_reached_by_their_path() {
    assert_eq!(names("database('Other').Small"), "k, w");
    assert_eq!(names("database('oTHER').Small"), "k, w");
    assert_eq!(names("cluster('localhost').database('Other').Small"), "k, w");
    assert_eq!(names("table('Small') | union database('Other').Small"), "k, v, w");
    assert_eq!(names("alias database O = database('Other'); database('O').Small"), "k, w");
    assert_eq!(refusal("database('Othr').Small").hints, ["did you mean 'Other'?"]);
    assert_eq!(refusal("database('Other').T").code, "SEM0100");
}

#[test]
fn stored_functions_are_expanded_where_they_are_called() {
    assert_eq!(columns("print q = Twice(4)"), "q: long");
    assert_eq!(names("Big(3)"), "k, v");
    assert_eq!(names("Big"), "k, v");
    assert_eq!(columns("let outer = 's'; Captures()"), "y: string");
    // Its tables are those of its own database.
    assert_eq!(names("database('Other').Own()"), "k, w");
    // It hides a table of the same name, which `table` reaches.
    assert_eq!(names("Sales"), "shadow");
    assert_eq!(names("table('Sales')"), "k, amount");
}

#[test]
fn mistakes_in_a_stored_function_stand_at_its_call() {
    assert_eq!(refused("Loop()"), [("SEM0057", "Loop()".to_string())]);
    assert_eq!(refused("Broken()"), [("SYN0002", "Broken".to_string())]);
    let found = refusal("Small | union (Unknown())");
    assert_eq!(found.code, "SEM0100");
    assert!(found.message.starts_with("in function 'Unknown': "), "{}", found.message);
}

#[test]
fn needed_values_are_asked_for_before_binding_ends() {
    let passes = |text: &str| bind_with(text, &context()).unwrap().1;
    assert_eq!(passes("print 1"), 1);
    assert_eq!(passes("print toscalar(Small | count), toscalar(T | count)"), 2);
    assert_eq!(passes("print toscalar(Small | where k > toscalar(T | count) | count)"), 3);
    assert_eq!(passes("T | where a in (Small | project k)"), 2);
    assert_eq!(passes("range q from 1 to toscalar(Small | count) step 1"), 2);
    assert_eq!(printed("let n = toscalar(Small | count); print n"), Value::Long(3));
}

#[test]
fn a_subquery_sees_no_row_of_its_caller() {
    assert_eq!(refused("T | extend q = toscalar(Small | where k == a | count)"), [("SEM0100", "a".to_string())]);
}

#[test]
fn a_wildcard_means_tables_and_views() {
    assert_eq!(names("union S*"), "k, v, amount");
    assert_eq!(
        names(
            "let Sview = view () { print z = 1 }; let Sfun = () { print y = 1 }; union withsource=from S* | project z"
        ),
        "z"
    );
    assert_eq!(refusal("union Nothing*").code, "SEM0100");
    assert_eq!(names("union isfuzzy=true Nothing, Small"), "k, v");
    assert_eq!(refusal("union isfuzzy=true Nothing").code, "SEM0100");
}
