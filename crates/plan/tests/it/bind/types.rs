//! Result types and implicit conversions. Source of the expectations: kql-behaviour section 2 and the reference parser.

use tidewater_plan::bound::Value;

use super::{columns, printed, refusal, refused};

/// The type of an expression over `T`.
fn ty(expression: &str) -> String {
    columns(&format!("T | project q = {expression}")).trim_start_matches("q: ").to_string()
}

#[test]
fn arithmetic_widens_and_two_ints_make_a_long() {
    for (expression, expected) in [
        ("i + i", "long"),
        ("i / a", "long"),
        ("a * x", "real"),
        ("x % de", "decimal"),
        ("-i", "long"),
        ("-int(5)", "int"),
        ("t - t", "timespan"),
        ("t - ts", "datetime"),
        ("ts + t", "datetime"),
        ("ts / ts", "real"),
        ("ts / 2", "timespan"),
        ("2.5 * ts", "timespan"),
        ("ts % ts", "timespan"),
        ("d.a + 1", "long"),
        ("2.5 * d.a", "real"),
        ("t - d.a", "timespan"),
    ] {
        assert_eq!(ty(expression), expected, "{expression}");
    }
}

#[test]
fn operators_are_refused_for_types_that_they_are_not_defined_for() {
    for expression in ["s + s", "t + t", "bo + 1", "g * 2", "t * 2", "d.a + d.b", "ts * ts", "ts - t"] {
        let found = refusal(&format!("T | project {expression}"));
        assert_eq!(found.code, "SEM0064", "{expression}: {}", found.message);
    }
}

#[test]
fn a_constant_is_read_as_the_type_of_the_column_that_it_is_compared_with() {
    for expression in ["t == '2020-01-01'", "a == '1'", "bo == 'true'", "g == 'x'", "s == 1", "a in ('1')", "bo == 1"] {
        assert_eq!(ty(expression), "bool", "{expression}");
    }
    assert_eq!(refusal("T | where s == a").code, "SEM0064");
    assert_eq!(refusal("T | where t == ts").code, "SEM0064");
    assert_eq!(refusal("T | where d.a == d.b").code, "SEM0001");
}

#[test]
fn strings_and_guids_have_no_order() {
    assert_eq!(refused("T | where s > 'a'"), [("SEM0064", ">".to_string())]);
    assert_eq!(refusal("T | where g > g").code, "SEM0064");
    assert_eq!(refusal("T | where t > 5").code, "SEM0064");
    assert_eq!(ty("bo < 1"), "bool");
    assert_eq!(ty("d.a >= 1.5"), "bool");
}

#[test]
fn text_operators_take_strings_and_dynamics() {
    assert_eq!(ty("s has 'x' and d contains 'y' and s in~ ('a') and d has_any ('x', 5)"), "bool");
    assert_eq!(refusal("T | where a has '1'").code, "SEM0064");
    assert_eq!(refusal("T | where s contains 1").code, "SEM0064");
    assert_eq!(refusal("T | where s has d.a").code, "SEM0064");
    assert_eq!(ty("s contains d.a"), "bool");
    assert_eq!(refusal("T | where a has_any ('1')").code, "SEM0064");
    assert_eq!(refusal("T | where s matches regex s").code, "SEM0040");
}

#[test]
fn between_takes_numbers_datetimes_and_spans() {
    assert_eq!(ty("a between (1 .. 5) and x !between (1 .. 5) and ts between (1h .. 2h)"), "bool");
    assert_eq!(ty("t between (datetime(2020) .. 7d)"), "bool");
    assert_eq!(refusal("T | where s between ('a' .. 'b')").code, "SEM0208");
    assert_eq!(refusal("T | where t between (1 .. 2)").code, "SEM0232");
}

#[test]
fn predicates_are_bools() {
    for predicate in ["a", "s", "d", "d.x"] {
        assert_eq!(refusal(&format!("T | where {predicate}")).code, "SEM0254", "{predicate}");
    }
    assert_eq!(ty("bo and d.x"), "bool");
    assert_eq!(refusal("T | where a and bo").code, "SEM0064");
}

#[test]
fn branches_are_brought_to_one_type() {
    for (expression, expected) in [
        ("iff(bo, i, a)", "long"),
        ("iff(bo, a, x)", "real"),
        ("iff(bo, d.a, 's')", "string"),
        ("case(bo, 1, a > 1, 2, 3.5)", "real"),
        ("coalesce(i, a)", "long"),
        ("max_of(a, x)", "real"),
        ("min_of(i, i)", "int"),
    ] {
        assert_eq!(ty(expression), expected, "{expression}");
    }
    assert_eq!(refusal("T | project iff(bo, 1, 's')").code, "SEM0254");
    assert_eq!(refusal("T | project iff(a, 1, 2)").code, "SEM0254");
    assert_eq!(refusal("T | project case(bo, 1, bo, 2)").code, "SEM0219");
}

#[test]
fn functions_have_the_types_of_the_reference() {
    for (expression, expected) in [
        ("strlen(s)", "long"),
        ("getyear(t)", "int"),
        ("dayofweek(t)", "timespan"),
        ("bin(i, 2)", "long"),
        ("bin(x, 2)", "real"),
        ("bin(t, 1h)", "datetime"),
        ("round(a)", "long"),
        ("round(de)", "decimal"),
        ("abs(i)", "long"),
        ("array_sum(d)", "real"),
        ("split(s, ',')", "dynamic"),
        ("extract('(a)', 1, s)", "string"),
        ("extract('(a)', 1, s, typeof(long))", "long"),
        ("todynamic(s)", "dynamic"),
        ("pack_all()", "dynamic"),
        ("pack_array(*)", "dynamic"),
        ("column_ifexists('a', 's')", "long"),
        ("column_ifexists('zz', 's')", "string"),
        ("pow(exponent = 2, base = x)", "real"),
    ] {
        assert_eq!(ty(expression), expected, "{expression}");
    }
}

#[test]
fn aggregates_have_the_types_of_the_reference() {
    assert_eq!(
        columns("T | summarize sum(i), avg(a), avg(ts), avg(de), min(bo), max(s), percentile(i, 50), dcount(d)"),
        "sum_i: long, avg_a: real, avg_ts: timespan, avg_de: decimal, min_bo: bool, max_s: string, percentile_i_50: long, \
         dcount_d: long"
    );
    for aggregate in ["sum(s)", "avg(bo)", "max(d)", "min(g)", "sum(d.a)"] {
        assert_eq!(refusal(&format!("T | summarize {aggregate}")).code, "SEM0254", "{aggregate}");
    }
}

#[test]
fn now_and_ago_are_fixed_for_the_whole_query() {
    assert_eq!(printed("print now()"), Value::DateTime(638_000_000_000_000_000));
    assert_eq!(printed("print ago(1s)"), Value::DateTime(637_999_999_990_000_000));
    assert_eq!(printed("print now(-1s)"), Value::DateTime(637_999_999_990_000_000));
    assert_eq!(refusal("print ago(1)").code, "SEM0254");
}

#[test]
fn a_datatable_converts_its_values() {
    assert_eq!(columns("datatable (a: real, t: datetime) [1, '2020-01-01']"), "a: real, t: datetime");
    assert_eq!(refusal("datatable (a: long, b: long) [1, 2, 3]").code, "SEM0001");
    assert_eq!(refusal("datatable (a: long, a: long) [1, 2]").code, "SEM0034");
}

#[test]
fn a_range_has_the_widest_of_its_types() {
    assert_eq!(columns("range x from int(1) to int(3) step int(1)"), "x: int");
    assert_eq!(columns("range x from 1 to 3 step 0.5"), "x: real");
    assert_eq!(columns("range x from ago(1d) to now() step 1h"), "x: datetime");
    assert_eq!(refusal("range x from 1 to 3 step 0").code, "SEM0235");
    assert_eq!(refusal("range x from 'a' to 'b' step 1").code, "SEM0254");
}
