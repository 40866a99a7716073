//! Result column names. Source of the expectations: kql-behaviour section 5 and the reference parser.

use super::{names, refused};

#[test]
fn print_items_are_named_by_their_place_in_the_list() {
    assert_eq!(names("print 1, a = 2, 3"), "print_0, a, print_2");
    assert_eq!(names("let q = 5; print q + 1, a = 1, q"), "print_0, a, print_2");
    assert_eq!(names("print 1, print_0 = 2"), "print_0, print_01");
}

#[test]
fn an_expression_without_a_name_is_numbered_among_the_nameless() {
    assert_eq!(names("T | project a + 1, x, b + 1"), "Column1, x, Column2");
    assert_eq!(names("T | project toupper(s), not(bo), 5"), "Column1, Column2, Column3");
}

#[test]
fn conversions_and_rounding_keep_the_name_of_their_argument() {
    assert_eq!(names("T | project tostring(a), bin(t, 1d), round(x, 2), startofday(t)"), "a, t, x, t1");
    assert_eq!(names("T | project strlen(s), strlen('x'), gettype(x)"), "strlen_s, strlen_, type_x");
}

#[test]
fn a_path_is_named_by_its_steps() {
    assert_eq!(names("T | project d.a, d['a'], d.a.b, d[0], d['x y']"), "d_a, d_a1, d_a_b, d_0, d_x y");
    assert_eq!(names("T | project d[-1], d[i]"), "d__1, d_");
    assert_eq!(names("T | project parse_json(s).a, dynamic({'a': 1}).a"), "s_a, a");
}

#[test]
fn a_taken_automatic_name_gets_the_first_free_suffix() {
    assert_eq!(names("T | project abs(a), a"), "a, a1");
    assert_eq!(names("T | summarize count(), count(), sum(a), sum(a)"), "count_, count_1, sum_a, sum_a1");
    assert_eq!(names("T | project i + 1, Column1 = 2"), "Column1, Column11");
    assert_eq!(names("T | project i + 1, Column1 = 2, Column11 = 3"), "Column1, Column12, Column11");
}

#[test]
fn the_same_explicit_name_twice_is_a_mistake() {
    assert_eq!(refused("T | project a, a"), [("SEM0034", "a".to_string())]);
    assert_eq!(refused("T | extend q = 1, q = 2"), [("SEM0034", "q".to_string())]);
    assert_eq!(refused("T | summarize by a, a"), [("SEM0034", "a".to_string())]);
}

#[test]
fn extend_replaces_in_place_and_appends_the_rest() {
    assert_eq!(names("Small | extend k = 1, z = 2"), "k, v, z");
    assert_eq!(names("Small | extend abs(k)"), "k, v");
    assert_eq!(names("Small | extend Column1 = 1 | extend k + 1"), "k, v, Column1, Column2");
    assert_eq!(names("Small | extend Column1 = 1 | project k + 1"), "Column1");
}

#[test]
fn aggregates_are_named_after_function_and_column() {
    assert_eq!(
        names("T | summarize countif(bo), countif(a > 1), dcount(s), make_list(a), make_set_if(a, bo), stdev(x)"),
        "countif_bo, countif_, dcount_s, list_a, set_a, stdev_x"
    );
    assert_eq!(names("T | summarize sum(tolong(d.a)) by b"), "b, sum_d_a");
}

#[test]
fn an_expression_around_an_aggregate_takes_its_name_where_it_passes_one_on() {
    assert_eq!(names("T | summarize round(sum(x), 2), 1 + count(), strlen(max(s))"), "sum_x, Column1, strlen_max_s");
    assert_eq!(names("T | summarize tostring(take_any(a)), tostring(percentile(a, 50))"), "Column1, Column2");
}

#[test]
fn percentiles_are_named_by_column_and_percentile() {
    assert_eq!(
        names("T | summarize percentile(a, 50), percentiles(x, 5, 99.9), percentiles_array(x, 5, 95)"),
        "percentile_a_50, percentile_x_5, percentile_x_99_9, percentiles_x"
    );
    assert_eq!(names("T | summarize q = percentiles(a, 5, 95)"), "q, percentile_a_95");
    assert_eq!(names("T | summarize (p, q) = percentiles(a, 5, 95)"), "p, q");
}

#[test]
fn arg_max_gives_the_columns_themselves() {
    assert_eq!(names("T | summarize arg_max(a, b, s)"), "a, b, s");
    assert_eq!(names("T | summarize arg_max(a, b + 1, s, a + 2)"), "a, max_a_arg1, s, max_a_arg3");
    assert_eq!(names("T | summarize q = arg_max(a, b)"), "q, b");
    assert_eq!(names("T | summarize (p, q) = arg_max(a, b, s)"), "p, q, s");
    assert_eq!(names("Small | summarize arg_max(k, *)"), "k, v");
    assert_eq!(names("Small | summarize arg_max(k, *) by v"), "v, k");
    assert_eq!(names("Small | summarize argmax(k, v)"), "max_k, max_k_v");
}

#[test]
fn a_star_leaves_out_bare_keys_but_not_expressions_of_columns() {
    assert_eq!(names("Small | project t = now(), k | summarize take_any(*) by bin(t, 1d)"), "t, t1, k");
    assert_eq!(names("Small | summarize arg_min(k, v, *)"), "k, v");
}

#[test]
fn keys_stand_before_aggregates() {
    assert_eq!(names("T | summarize n = count(), max(x) by s, bin(t, 1h), a + 1"), "s, t, Column1, n, max_x");
    assert_eq!(names("let q = 5; T | summarize count() by q"), "Column1, count_");
    assert_eq!(names("let q = 5; T | distinct q, gettype(a), a + 1"), "q, Column1, Column2");
}

#[test]
fn functions_of_several_values_have_a_column_for_each() {
    assert_eq!(
        names("print d = dynamic([1]) | project series_stats(d)"),
        "series_stats_d_min, series_stats_d_min_idx, series_stats_d_max, series_stats_d_max_idx, series_stats_d_avg, \
         series_stats_d_stdev, series_stats_d_variance"
    );
    assert_eq!(names("T | project (p, q) = array_sort_asc(d, d), array_sort_desc(d)"), "p, q, d_sorted");
}

#[test]
fn joins_rename_what_is_taken_and_keep_out_of_the_way_of_later_names() {
    assert_eq!(names("Small | join table('Sales') on k | project-away v"), "k, k1, amount");
    assert_eq!(names("print l = 1 | join (print l = 1, l1 = 2, l2 = 3) on l"), "l, l3, l1, l2");
    assert_eq!(names("Small | lookup (Small | project k, v, z = 1) on k"), "k, v, v1, z");
    assert_eq!(names("Small | lookup (print q = 1, z = 2) on $left.k == $right.q"), "k, v, z");
}

#[test]
fn a_union_splits_a_name_that_has_several_types() {
    assert_eq!(
        super::columns("union (print a = 1), (print a = 's', b = 2), (print a = 1.5)"),
        "a_long: long, a_string: string, a_real: real, b: long"
    );
    // A column that has such a name already keeps it.
    assert_eq!(
        super::columns("union (print x = 1), (print x = 's'), (print x_long = 3)"),
        "x_long1: long, x_string: string, x_long: long"
    );
    assert_eq!(super::columns("union kind=inner (print a = 1, b = 2), (print a = 3)"), "a: long");
    assert_eq!(
        super::columns("union withsource=l (print l = 's'), (print l = 1)"),
        "l: string, l_string: string, l_long: long"
    );
}

#[test]
fn operators_with_columns_of_their_own_name_them_as_documented() {
    assert_eq!(names("T | count"), "Count");
    assert_eq!(names("T | count as n"), "n");
    assert_eq!(names("T | top-hitters 3 of s"), "s, approximate_count_s");
    assert_eq!(names("T | top-hitters 3 of s by a"), "s, approximate_sum_a");
    assert_eq!(names("T | top-nested 3 of s by sum(a)"), "s, aggregated_s");
    assert_eq!(names("T | top-nested 3 of p = s by q = sum(a), top-nested of i by max(b)"), "p, q, i, aggregated_i");
    assert_eq!(names("T | getschema"), "ColumnName, ColumnOrdinal, DataType, ColumnType");
    assert_eq!(names("search in (Small) 'x'"), "$table, k, v");
    assert_eq!(names("find in (Small) where k > 1"), "source_, k, v");
    assert_eq!(names("T | make-series sum(a), n = count() on t step 1d by s"), "s, sum_a, n, t");
}

#[test]
fn reordering_takes_the_listed_columns_first() {
    assert_eq!(names("Small | project-reorder v"), "v, k");
    let wide = "print a10 = 1, a2 = 1, A3 = 1, b = 1, B = 1, a = 1";
    assert_eq!(names(&format!("{wide} | project-reorder * asc")), "a, a10, a2, A3, b, B");
    assert_eq!(names(&format!("{wide} | project-reorder * granny-asc")), "a, a2, A3, a10, b, B");
    assert_eq!(names(&format!("{wide} | project-reorder a* desc")), "a2, a10, a, A3, b, B");
    assert_eq!(names(&format!("{wide} | project-away a*")), "A3, b, B");
    assert_eq!(names(&format!("{wide} | project-keep b, a2")), "a2, b");
    assert_eq!(names(&format!("{wide} | project-rename z = a2")), "a10, z, A3, b, B, a");
}
