//! What a wrong query is told: codes, places, hints.

use super::{refusal, refused};

#[test]
fn unknown_names_are_reported_where_they_stand_with_the_nearest_known_one() {
    for (text, code, place, hint) in [
        ("Smal | count", "SEM0100", "Smal", Some("did you mean 'Small'?")),
        ("T | where amout > 1", "SEM0100", "amout", None),
        ("Small | project kk", "SEM0100", "kk", Some("did you mean 'k'?")),
        ("print strln('x')", "SEM0260", "strln", Some("did you mean 'strlen'?")),
        ("T | summarize summ(a)", "SEM0260", "summ", Some("did you mean 'sum'?")),
        ("let total = 1; print totl", "SEM0100", "totl", Some("did you mean 'total'?")),
        ("Small | project-away zz", "SEM0100", "zz", None),
    ] {
        let found = refusal(text);
        assert_eq!((found.code, found.span.text(text)), (code, place), "{text}");
        assert_eq!(found.hints.first().map(String::as_str), hint, "{text}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (text, code, part) in [
        ("print strlen()", "SEM0219", "strlen(): 1 argument is expected, but 0 given"),
        ("print substring('a')", "SEM0219", "2 to 3 arguments are expected"),
        ("print strlen(5)", "SEM0254", "must be string, but this is long"),
        ("print tostring(1, 2)", "SEM0219", "1 argument is expected, but 2 given"),
        ("T | project datetime_diff(s, t, t)", "SEM0040", "must be a constant"),
        ("print not('a')", "SEM0254", "must be bool"),
    ] {
        let found = refusal(text);
        assert_eq!(found.code, code, "{text}");
        assert!(found.message.contains(part), "{text}: {}", found.message);
    }
}

#[test]
fn aggregates_stand_in_summarize_only_and_columns_inside_them() {
    for text in [
        "T | where sum(a) > 1",
        "T | extend q = count()",
        "T | summarize sum(max(a))",
        "T | summarize count() by sum(a)",
        "T | summarize s",
        "T | summarize toupper(s), count() by s",
    ] {
        assert_eq!(refusal(text).code, "SEM0237", "{text}");
    }
}

#[test]
fn tables_and_scalars_are_not_mixed_up() {
    assert_eq!(refusal("print T").code, "SEM0085");
    assert_eq!(refusal("let n = T | count; print n").code, "SEM0085");
    assert_eq!(refusal("T | extend q = Small").code, "SEM0085");
    assert_eq!(refusal("let n = 5; n | count").code, "SEM0001");
    assert_eq!(refusal("1 + 2").code, "SEM0001");
    assert_eq!(refusal("Small | join (5) on k").code, "SEM0001");
}

#[test]
fn properties_belong_to_dynamic_values() {
    assert_eq!(refused("T | project s.a"), [("SEM0064", "a".to_string())]);
    assert_eq!(refused("T | project a[0]"), [("SEM0064", "[0]".to_string())]);
    assert_eq!(refusal("T | project d[1.5]").code, "SEM0254");
}

#[test]
fn renaming_never_hides_a_column() {
    assert_eq!(refused("Small | project-rename v = k"), [("SEM0034", "v".to_string())]);
    assert_eq!(refused("Small | project-rename k = v, v = k").len(), 2);
}
