//! Operators: what they give and what they refuse.

use std::sync::Arc;

use tidewater_plan::bound::{JoinKind, Rel, RelOp};

use super::{bound, columns, names, refusal, refused};

/// The operators from the result downwards, by the first input.
fn chain(text: &str) -> Vec<Arc<Rel>> {
    let query = bound(text);
    let mut found = vec![query.results[0].rel.clone()];
    loop {
        let input = match &found[found.len() - 1].op {
            RelOp::Project { input, .. }
            | RelOp::Filter { input, .. }
            | RelOp::Sort { input, .. }
            | RelOp::Limit { input, .. }
            | RelOp::Window { input, .. }
            | RelOp::Aggregate { input, .. }
            | RelOp::PartitionTop { input, .. } => input.clone(),
            RelOp::Join { left, .. } => left.clone(),
            _ => return found,
        };
        found.push(input);
    }
}

fn join_kind(text: &str) -> JoinKind {
    let found = chain(text).into_iter().find_map(|rel| match rel.op {
        RelOp::Join { kind, .. } => Some(kind),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn every_documented_kind_of_join_is_known() {
    for (kind, expected, columns) in [
        ("", JoinKind::InnerUnique, "k, v, k1, v1"),
        ("kind=innerunique", JoinKind::InnerUnique, "k, v, k1, v1"),
        ("kind=inner", JoinKind::Inner, "k, v, k1, v1"),
        ("kind=leftouter", JoinKind::LeftOuter, "k, v, k1, v1"),
        ("kind=rightouter", JoinKind::RightOuter, "k, v, k1, v1"),
        ("kind=fullouter", JoinKind::FullOuter, "k, v, k1, v1"),
        ("kind=leftsemi", JoinKind::LeftSemi, "k, v"),
        ("kind=rightsemi", JoinKind::RightSemi, "k, v"),
        ("kind=leftanti", JoinKind::LeftAnti, "k, v"),
        ("kind=anti", JoinKind::LeftAnti, "k, v"),
        ("kind=leftantisemi", JoinKind::LeftAnti, "k, v"),
        ("kind=rightanti", JoinKind::RightAnti, "k, v"),
        ("kind=rightantisemi", JoinKind::RightAnti, "k, v"),
    ] {
        let text = format!("Small | join {kind} (Small) on k");
        assert_eq!(join_kind(&text), expected, "{kind}");
        assert_eq!(names(&text), columns, "{kind}");
    }
    assert_eq!(refusal("Small | join kind=cross (Small) on k").code, "SEM0235");
}

#[test]
fn join_keys_must_be_columns_of_agreeing_types() {
    assert_eq!(refusal("Small | join (Small) on zz").code, "SEM0100");
    assert_eq!(refusal("Small | join (Small) on k + 1").code, "SEM0201");
    assert_eq!(refusal("T | join (Small) on $left.s == $right.k").code, "SEM0201");
    assert_eq!(refused("T | join (Small) on $right.k == $left.a").len(), 2);
    assert_eq!(refusal("T | join (T) on d").code, "SEM0001");
    assert_eq!(
        names("T | project i | join kind=inner (Small) on $left.i == $right.k and $left.i == $right.k"),
        "i, k, v"
    );
}

#[test]
fn the_two_sides_of_a_self_join_have_ids_of_their_own() {
    let query = bound("let L = Small | where k > 1; L | join kind=inner L on k");
    let ids: std::collections::HashSet<_> = query.results[0].rel.columns.iter().map(|column| column.id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn window_functions_need_serialized_rows() {
    assert_eq!(refusal("T | extend row_number()").code, "SEM0001");
    assert_eq!(refusal("T | sort by a | summarize count() by s | extend n = row_number()").code, "SEM0001");
    for before in ["sort by a", "serialize", "top 5 by a", "sort by a | where a > 1 | extend z = 1 | project a"] {
        assert!(columns(&format!("T | {before} | extend n = row_number()")).ends_with("n: long"), "{before}");
    }
    assert_eq!(
        columns("T | sort by a | project p = prev(i), q = next(s, 2, ''), c = row_cumsum(x), r = row_rank_dense(a)"),
        "p: int, q: string, c: real, r: long"
    );
}

#[test]
fn a_window_function_inside_another_is_computed_below_it() {
    let ops = chain("T | sort by a | extend n = row_number(1, prev(s) != s)");
    assert_eq!(ops.iter().filter(|rel| matches!(rel.op, RelOp::Window { .. })).count(), 2);
}

#[test]
fn order_is_promised_only_above_a_sort() {
    for (text, sorted) in [
        ("T", false),
        ("T | sort by a | where a > 1 | project a", true),
        ("T | top 5 by a", true),
        ("T | sort by a | count", false),
        ("T | sort by a | union Small", false),
        ("T | serialize", false),
    ] {
        assert_eq!(bound(text).results[0].rel.is_sorted, sorted, "{text}");
    }
}

#[test]
fn mv_expand_puts_expanded_columns_in_their_places() {
    assert_eq!(columns("T | project a, d, s | mv-expand d to typeof(long)"), "a: long, d: long, s: string");
    assert_eq!(columns("T | project a, d | mv-expand e = d, d.q"), "a: long, d: dynamic, e: dynamic, d_q: dynamic");
    assert_eq!(columns("T | project a, d | mv-expand with_itemindex=a d"), "a: long, d: dynamic, a1: long");
    assert_eq!(refusal("T | mv-expand a").code, "SEM0447");
}

#[test]
fn mv_apply_merges_the_subquerys_columns_with_the_rows() {
    assert_eq!(columns("T | project a, d | mv-apply d on (summarize n = count())"), "a: long, n: long");
    assert_eq!(
        columns("T | project a, d | mv-apply e = d to typeof(long) on (top 2 by e | project e, f = e + a)"),
        "a: long, d: dynamic, e: long, f: long"
    );
    assert_eq!(columns("T | project a, d | mv-apply d on (extend r = row_number())"), "a: long, d: dynamic, r: long");
}

#[test]
fn parse_takes_the_documented_patterns_only() {
    assert_eq!(names("Small | parse v with 'a' p: long 'b' k"), "k, v, p");
    assert_eq!(refusal("Small | parse v with p q").code, "SYN0002");
    assert_eq!(refusal("Small | parse v with 'a' p *").code, "SEM0476");
    assert_eq!(refusal("Small | parse-where kind=relaxed v with 'a' p").code, "SEM0477");
    assert_eq!(refusal("Small | parse kind=simple flags=i v with 'a' p").code, "SEM0472");
    assert_eq!(
        columns("Small | parse-kv v as (p: long, q: string) with (pair_delimiter=',')"),
        "k: long, v: string, p: long, q: string"
    );
}

#[test]
fn dynamic_values_are_no_keys() {
    for (text, code) in [
        ("T | summarize count() by d", "SEM0001"),
        ("T | distinct d", "SEM0001"),
        ("T | sort by d", "SEM0480"),
        ("T | top 3 by d.a", "SEM0480"),
        ("T | partition by d (count)", "SEM0001"),
    ] {
        assert_eq!(refusal(text).code, code, "{text}");
    }
}

#[test]
fn counts_of_rows_are_constant_integers() {
    assert_eq!(names("let n = 1 + 2; T | take n | project a"), "a");
    assert_eq!(names("T | take toscalar(Small | count) | project a"), "a");
    assert_eq!(refusal("T | take a").code, "SEM0100");
    assert_eq!(refusal("T | take 1.5").code, "SEM0254");
}

#[test]
fn fork_and_facet_give_several_results() {
    assert_eq!(columns("Small | fork (count) q = (take 1)"), "Count: long || k: long, v: string");
    assert_eq!(columns("Small | facet by k, v"), "k: long, count_k: long || v: string, count_v: long");
    assert_eq!(refusal("Small | fork (count) (take 1) | count").code, "SEM0001");
    assert_eq!(bound("Small | fork (count) q = (take 1)").results[1].name.as_deref(), Some("q"));
}

#[test]
fn plugins_whose_columns_depend_on_data_are_bound_when_it_is_known() {
    assert_eq!(columns("T | project a, d | evaluate bag_unpack(d)"), "a: long, name: string, size: long");
    assert_eq!(columns("T | project a, d | evaluate bag_unpack(d, 'p_')"), "a: long, p_name: string, p_size: long");
    assert_eq!(columns("T | project a, s | evaluate pivot(s, sum(a))"), "p: long, q: long");
    assert_eq!(columns("T | project a, s, b | evaluate pivot(s, count(), b)"), "b: long, p: long, q: long");
}

#[test]
fn render_leaves_the_rows_and_describes_the_chart() {
    let query = bound("T | sort by t asc | project t, a | render timechart with (title='x', ycolumns=a)");
    let chart = query.results[0].visualization.clone().unwrap();
    assert_eq!(chart["Visualization"], "timechart");
    assert_eq!(chart["Title"], "x");
    assert_eq!(chart["YColumns"], "a");
    assert_eq!(chart["IsQuerySorted"], true);
    assert_eq!(chart["XColumn"], serde_json::Value::Null);
    assert_eq!(refusal("T | render timechrt").hints, ["did you mean 'timechart'?"]);
}

#[test]
fn what_is_not_served_is_refused_by_its_name() {
    for (text, named) in [
        ("evaluate sql_request('c', 'SELECT 1')", "plugin 'sql_request'"),
        ("cluster('elsewhere').database('Main').T", "another cluster"),
    ] {
        let found = refusal(text);
        assert_eq!(found.code, "SEM0011", "{text}");
        assert!(found.message.contains(named), "{}", found.message);
    }
}
