//! Answers of the operators that the binder composes of simpler ones, and of needed values.

use crate::support::Database;

/// A query, whether its rows are compared in their order, and the rows.
async fn check(cases: &[(&str, &[&str])]) {
    let database = Database::new();
    for (query, expected) in cases {
        let rows = if query.contains("sort by") && !query.contains("(sort by") {
            database.rows(query).await
        } else {
            database.sorted_rows(query).await
        };
        assert_eq!(rows, *expected, "{query}");
    }
}

#[tokio::test]
async fn mv_apply_runs_its_subquery_per_row() {
    let arrays =
        "let A = datatable (a: long, d: dynamic) [1, dynamic([3, 1, 2]), 2, dynamic([]), 3, dynamic([9, 8])]; A ";
    let query = |rest: &str| format!("{arrays}{rest}");
    check(&[
        // A row without elements has no elements, but its aggregate over nothing.
        (&query("| mv-apply d to typeof(long) on (summarize n = count(), s = sum(d))"), &["1 | 3 | 6", "2 | 0 | 0", "3 | 2 | 17"]),
        (&query("| mv-apply e = d to typeof(long) on (top 1 by e | project e)| project a, e"), &["1 | 3", "3 | 9"]),
        (&query("| mv-apply d to typeof(long) on (where d > 2 | extend z = d + a)"), &["1 | 3 | 4", "3 | 8 | 11", "3 | 9 | 12"]),
        (
            &query("| mv-apply d to typeof(long) on (order by d asc | take 2 | summarize m = make_list(d))"),
            &["1 | [1,2]", "2 | []", "3 | [8,9]"],
        ),
        (
            &query("| mv-apply with_itemindex=i d to typeof(long) on (extend p = prev(d)) | project a, i, p | sort by a asc, i asc"),
            &["1 | 0 | null", "1 | 1 | 3", "1 | 2 | 1", "3 | 0 | null", "3 | 1 | 9"],
        ),
        (&query("| mv-apply d to typeof(long) on (summarize by d | count)"), &["1 | 3", "2 | 0", "3 | 2"]),
    ])
    .await;
}

#[tokio::test]
async fn partition_runs_its_subquery_per_key() {
    let table = "let A = datatable (k: string, v: long) ['a', 1, 'a', 5, 'b', 3, 'b', 2, '', 7]; A ";
    let query = |rest: &str| format!("{table}{rest}");
    check(&[
        (&query("| partition by k (top 1 by v)"), &["\"\" | 7", "\"a\" | 5", "\"b\" | 3"]),
        (&query("| partition by k (where v > 4 | count)"), &["0", "1", "1"]),
        (&query("| partition by k (summarize m = max(v) by k)"), &["\"\" | 7", "\"a\" | 5", "\"b\" | 3"]),
        (
            &query("| partition by k (sort by v asc | extend n = row_number(), c = row_cumsum(v))"),
            &["\"\" | 7 | 1 | 7", "\"a\" | 1 | 1 | 1", "\"a\" | 5 | 2 | 6", "\"b\" | 2 | 1 | 2", "\"b\" | 3 | 2 | 5"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn top_nested_ranks_each_level_inside_its_parents() {
    let table = "let A = datatable (k: string, j: string, v: long) ['a', 'x', 1, 'a', 'y', 5, 'b', 'x', 3, 'b', 'y', 2, 'c', 'z', 1]; A ";
    let query = |rest: &str| format!("{table}{rest}");
    check(&[
        (
            &query("| top-nested 2 of k by sum(v), top-nested 1 of j by max(v)"),
            &["\"a\" | 6 | \"y\" | 5", "\"b\" | 5 | \"x\" | 3"],
        ),
        (&query("| top-nested 1 of k by n = sum(v) + 1 asc"), &["\"c\" | 2"]),
        (&query("| top-nested of k by count(), top-nested of j by count() | count"), &["5"]),
    ])
    .await;
}

#[tokio::test]
async fn plugins_shape_their_columns_by_the_data() {
    check(&[
        (
            "datatable (k: long, d: dynamic) [1, dynamic({'a': 1, 'b': 'x'}), 2, dynamic({'a': 2.5, 'c': [1]})] | evaluate bag_unpack(d)",
            &["1 | 1 | \"x\" | null", "2 | 2.5 | \"\" | [1]"],
        ),
        (
            "datatable (k: string, j: string, v: long) ['a', 'x', 1, 'a', 'y', 5, 'b', 'x', 3] | evaluate pivot(j, sum(v))",
            &["\"a\" | 1 | 5", "\"b\" | 3 | 0"],
        ),
        ("datatable (k: long, s: string) [1, 'x'] | evaluate narrow()", &["0 | \"k\" | \"1\"", "0 | \"s\" | \"x\""]),
    ])
    .await;
}

#[tokio::test]
async fn needed_values_stand_where_they_were_asked_for() {
    check(&[
        ("let A = range x from 1 to 4 step 1; A | where x in (A | where x > 2) and x < toscalar(A | count)", &["3"]),
        ("range x from 1 to toscalar(print 3) step 1 | summarize sum(x)", &["6"]),
        ("print a = toscalar(datatable (z: long) []), b = toscalar(datatable (z: string) [])", &["null | \"\""]),
        ("print toscalar(range x from 1 to toscalar(print 4) step 1 | count)", &["4"]),
        ("datatable (s: string) ['x', 'y', 'z'] | where s in~ ((print 'X'), dynamic(['Y']))", &["\"x\"", "\"y\""]),
    ])
    .await;
}

#[tokio::test]
async fn materialized_rows_are_computed_once() {
    check(&[
        ("let m = materialize(range x from 1 to 50 step 1 | extend r = rand()); m | join kind=inner m on x, r | count", &["50"]),
        ("range x from 1 to 3 step 1 | as R | extend t = toscalar(R | summarize sum(x))", &["1 | 6", "2 | 6", "3 | 6"]),
    ])
    .await;
}

#[tokio::test]
async fn rows_are_sorted_by_expanded_values_and_not_by_what_they_came_from() {
    check(&[(
        "datatable (a: long, d: dynamic) [1, dynamic([3, 1]), 2, dynamic([2])] | mv-expand d to typeof(long) | sort by d asc",
        &["1 | 1", "2 | 2", "1 | 3"],
    )])
    .await;
}

#[tokio::test]
async fn a_union_aligns_by_name_and_type() {
    check(&[
        (
            "union withsource=from (print a = 1, b = 'x'), (print b = 'y', a = 's')",
            &["\"union_arg0\" | 1 | \"\" | \"x\"", "\"union_arg1\" | null | \"s\" | \"y\""],
        ),
        (
            "let V = view () { print a = 1 }; union withsource=from V, (print a = 2)",
            &["\"V\" | 1", "\"union_arg1\" | 2"],
        ),
        (
            "datatable (k: long, v: string) [1, 'foo bar', 2, 'b'] | search 'foo'",
            &["\"search_arg0\" | 1 | \"foo bar\""],
        ),
        ("datatable (k: long, v: string) [1, 'foo bar', 2, 'b'] | where * has '2'", &["2 | \"b\""]),
    ])
    .await;
}

#[tokio::test]
async fn the_same_aggregate_twice_is_computed_once_unless_it_draws_random_numbers() {
    check(&[
        ("datatable (a: long) [1, 2] | summarize sum(a), q = sum(a) + 1, any(a) == take_any(a)", &["3 | 4 | true"]),
        ("range x from 1 to 9 step 1 | summarize p = sum(rand()), q = sum(rand()) | project p == q", &["false"]),
    ])
    .await;
}
