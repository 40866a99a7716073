//! Plans: what the engine's optimizer makes of them, the order of rows, nulls in keys, size.

use std::time::{Duration, Instant};

use crate::support::Database;

#[tokio::test]
async fn filters_on_stored_columns_reach_the_scan_and_only_read_columns_are_asked_for() {
    let mut database = Database::new();
    let query = "range n from 1 to 100 step 1 | extend t = datetime(2020-01-01) + n * 1h, s = tostring(n), r = n * 0.5";
    let asked = database.store("T", query, 2).await;
    database
        .answer("T | where t > datetime(2020-01-02) and s == '40' | extend u = strcat(s, 'x') | project u, n")
        .await;
    let seen = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(seen.columns, ["n", "t", "s"]);
    assert_eq!(seen.filters, ["t > Int64(637135200000000000)", "s = Utf8View(\"40\")"]);

    database.answer("let U = T | project-rename moment = t; U | extend d = bin(moment, 1d) | where moment between (datetime(2020-01-01) .. 1d) | summarize count() by d").await;
    let seen = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(seen.columns, ["t"]);
    assert_eq!(seen.filters, ["t >= Int64(637134336000000000)", "t <= Int64(637135200000000000)"]);

    database.answer("T | where r > 3.5 or n in (1, 2) | count").await;
    let seen = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(seen.columns, ["n", "r"]);

    database.answer("T | count").await;
    let seen = std::mem::take(&mut *asked.lock().unwrap());
    assert!(seen.columns.is_empty());

    database.answer("T | take 5").await;
    assert_eq!(asked.lock().unwrap().limit, Some(5));
}

#[tokio::test]
async fn filters_pass_operators_that_only_add_columns() {
    let mut database = Database::new();
    let asked =
        database.store("T", "range n from 1 to 10 step 1 | extend s = strcat('k=', n), d = pack_array(n)", 1).await;
    for query in [
        "T | parse s with 'k=' v:long | where n > 5",
        "T | mv-expand d | where n > 5",
        "T | parse-kv s as (k: long) with (pair_delimiter=',', kv_delimiter='=') | where n > 5",
    ] {
        let rows = database.rows(query).await;
        assert_eq!(rows.len(), 5, "{query}");
        assert_eq!(asked.lock().unwrap().filters, ["n > Int64(5)"], "{query}");
    }
}

#[tokio::test]
async fn comparisons_of_bins_become_ranges_of_the_column() {
    let mut database = Database::new();
    let query = "range n from -50 to 50 step 1 | extend t = datetime(2020-01-31) + n * 7h";
    let asked = database.store("T", query, 2).await;
    let rows = |list: Vec<String>| list.into_iter().map(|row| row.parse::<i64>().unwrap()).collect::<Vec<_>>();
    for (predicate, filters) in [
        ("bin(t, 1d) == datetime(2020-02-01)", Some(2)),
        ("bin(t, 1d) != datetime(2020-02-01)", None),
        ("bin(t, 1d) > datetime(2020-02-01)", Some(1)),
        ("bin(t, 1d) <= datetime(2020-02-01)", Some(1)),
        // Not a bin's edge: computed as it stands.
        ("bin(t, 1d) >= datetime(2020-02-01 01:00)", None),
        ("startofday(t) == datetime(2020-02-02)", Some(2)),
        ("startofweek(t) == datetime(2020-02-02)", Some(2)),
        ("startofmonth(t) == datetime(2020-02-01)", Some(2)),
        ("startofyear(t) <= datetime(2020-01-01)", Some(1)),
        ("bin(n, 7) == -14", Some(2)),
        ("bin(n, 7) >= -13", None),
        ("bin_at(t, 1d, datetime(2020-01-01 12:00)) == datetime(2020-02-01 12:00)", Some(2)),
    ] {
        let found = rows(database.rows(&format!("T | where {predicate} | project n | sort by n asc")).await);
        if let Some(filters) = filters {
            let seen = asked.lock().unwrap().filters.clone();
            assert_eq!(seen.len(), filters, "{predicate}: {seen:?}");
            assert!(seen.iter().all(|filter| !filter.contains("kql_")), "{predicate}: {seen:?}");
        }
        // The same over rows that no rule has looked at.
        let exact = format!(
            "T | extend p = tostring({predicate}) | summarize l = make_list(n) by p | where p == 'True' | mv-expand l to typeof(long) | project l | sort by l asc"
        );
        assert_eq!(found, rows(database.rows(&exact).await), "{predicate}");
        assert!(!found.is_empty(), "{predicate}");
    }
    // Through a computed column, too.
    database.answer("T | extend d = bin(t, 1d) | where d == datetime(2020-02-01) | summarize count() by d").await;
    let seen = asked.lock().unwrap().filters.clone();
    assert!(!seen.is_empty() && seen.iter().all(|filter| !filter.contains("kql_")), "{seen:?}");
}

#[tokio::test]
async fn top_and_sorted_take_become_one_bounded_sort() {
    let mut database = Database::new();
    database.store("T", "range n from 1 to 50000 step 1 | extend s = tostring(n)", 3).await;
    for query in ["T | top 3 by n", "T | sort by n | take 3", "T | sort by n | extend u = n + 1 | take 3 | project s"] {
        let plan = database.explain(query).await;
        assert!(plan.contains("TopK(fetch=3)"), "{query}\n{plan}");
    }
    for query in
        ["T | top 0 by n", "T | sort by n | take 0", "T | take 0", "T | sort by n | take 0 | extend r = row_number()"]
    {
        assert!(database.rows(query).await.is_empty(), "{query}");
    }
    // A sort that nobody can see is not made.
    let plan = database.explain("T | sort by n | summarize count() by s").await;
    assert!(!plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn order_survives_filters_projections_and_threads() {
    let mut database = Database::new();
    database.store("T", "range n from 1 to 60000 step 1 | extend h = hash(n, 1000)", 4).await;
    let queries = [
        "T | sort by h asc, n desc | where n % 3 == 0 | extend s = strcat('x', h) | project k = h, s, n",
        "T | sort by h asc, n desc | project n, s = tostring(h), k = h | where s != '7'",
        "T | sort by h asc, n desc | mv-expand e = pack_array(1, 2) | project k = h, n, e",
        "T | top 40000 by h asc | where n % 2 == 0 | extend s = strcat('x', h) | project k = h, s",
        "let m = materialize(T | sort by h asc, n desc | project k = h, n); m | where n > 10",
    ];
    for query in queries {
        let keys = database.rows(&format!("{query} | project k")).await;
        let keys: Vec<i64> = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert!(keys.len() > 10_000 && keys.is_sorted(), "{query}");
    }
    // The order of a sort reaches window functions through whatever stands between.
    let query = "T | sort by h asc, n asc | where n % 7 == 0 | extend s = strcat(h, '') | project h, s, n \
                 | extend p = prev(h), r = row_number() | where p > h or r < 1 | count";
    assert_eq!(database.rows(query).await, ["0"]);
    assert_eq!(
        database.rows("T | sort by n desc | summarize l = make_list(n) | project a = l[0], b = l[1], c = l[-1]").await,
        ["60000 | 59999 | 1"]
    );
}

#[tokio::test]
async fn sorting_puts_null_and_nan_together_below_all_numbers() {
    let database = Database::new();
    let values = "datatable(x: real)[1.0, real(null), real(nan), -1.0, real(-inf), real(inf)]";
    let descending = ["inf", "1.0", "-1.0", "-inf", "NaN", "null"];
    assert_eq!(database.rows(&format!("{values} | sort by x")).await, descending);
    let mut ascending = descending;
    ascending.reverse();
    assert_eq!(database.rows(&format!("{values} | sort by x asc")).await, ascending);
    assert_eq!(database.rows(&format!("{values} | top 2 by x asc")).await, ascending[..2]);
    assert_eq!(database.rows(&format!("{values} | sort by x asc nulls last")).await.last().unwrap(), "null");
    assert_eq!(database.rows("datatable(s: string)['b', '', 'a'] | sort by s asc").await, ["\"\"", "\"a\"", "\"b\""]);
}

#[tokio::test]
async fn null_keys_are_groups_and_match_in_joins() {
    let database = Database::new();
    let tables = "let A = datatable(k: real, a: int)[1.0, 1, real(nan), 2, real(null), 3, -0.0, 4]; \
                  let B = datatable(k: real, b: int)[1.0, 10, real(nan), 20, real(null), 30, 0.0, 40];";
    assert_eq!(
        database.sorted_rows(&format!("{tables} A | join kind=inner B on k | project a, b")).await,
        ["1 | 10", "2 | 20", "3 | 30", "4 | 40"]
    );
    assert_eq!(database.rows(&format!("{tables} A | join kind=leftanti B on k | count")).await, ["0"]);
    assert_eq!(database.rows(&format!("{tables} union A, B | summarize count() by k | count")).await, ["4"]);
    // A missing string is the empty string, in keys as everywhere.
    let tables =
        "let A = datatable(k: string, a: int)['x', 1, '', 2]; let B = datatable(k: string, b: int)['', 20, 'w', 30];";
    assert_eq!(
        database.sorted_rows(&format!("{tables} A | join kind=fullouter B on k | extend m = isempty(k1)")).await,
        ["\"\" | 2 | \"\" | 20 | true", "\"\" | null | \"w\" | 30 | false", "\"x\" | 1 | \"\" | null | true"]
    );
    assert_eq!(
        database.sorted_rows(&format!("{tables} A | join kind=leftouter B on k | summarize count() by k1")).await,
        ["\"\" | 2"]
    );
}

#[tokio::test]
async fn innerunique_keeps_one_left_row_per_key_and_all_right_rows() {
    let database = Database::new();
    let tables = "let A = range n from 1 to 30000 step 1 | extend k = n % 100; let B = range m from 1 to 200 step 1 | extend k = m % 100;";
    assert_eq!(
        database.rows(&format!("{tables} A | join B on k | summarize count(), dcount(n), dcount(m)")).await,
        ["200 | 100 | 200"]
    );
    let plan = database.explain(&format!("{tables} A | summarize n = max(n) by k | join B on k")).await;
    assert!(!plan.contains("Dedupe"), "{plan}");
}

#[tokio::test]
async fn predicates_keep_rows_that_kql_keeps() {
    let database = Database::new();
    let values = "datatable(x: long, s: string)[1, 'a', long(null), '', 2, 'b']";
    for (predicate, kept) in [
        ("x != 1", vec!["null", "2"]),
        ("not(x == 1)", vec!["null", "2"]),
        ("not(x > 1)", vec!["1"]),
        ("x !in (1, 5)", vec!["null", "2"]),
        ("not(x in (1, 5))", vec!["null", "2"]),
        ("not(x !in (1, 5))", vec!["1"]),
        ("x between (0 .. 1)", vec!["1"]),
        ("x !between (0 .. 1)", vec!["2"]),
        ("isempty(s)", vec!["null"]),
        ("isnotempty(s)", vec!["1", "2"]),
        ("s != ''", vec!["1", "2"]),
        ("s == '' or x == 2", vec!["null", "2"]),
        ("not(s == 'a' and x == 1)", vec!["null", "2"]),
        ("x == 1 or x == 2 or x == 7", vec!["1", "2"]),
        ("iff(x > 1, true, false)", vec!["2"]),
        ("not(x > 1 or s == 'a')", vec![]),
    ] {
        assert_eq!(database.rows(&format!("{values} | where {predicate} | project x")).await, kept, "{predicate}");
    }
}

#[tokio::test]
async fn values_of_needs_are_computed_once_and_before() {
    let mut database = Database::new();
    database.store("T", "range n from 1 to 10 step 1", 2).await;
    assert_eq!(database.rows("T | where n > toscalar(T | summarize avg(n)) | count").await, ["5"]);
    assert_eq!(database.rows("let r = toscalar(print rand()); print r == r").await, ["true"]);
    assert_eq!(
        database.rows("T | where n in ((T | where n > toscalar(T | summarize max(n) - 3))) | count").await,
        ["3"]
    );
    assert_eq!(database.rows("print x = toscalar(T | where n > 100)").await, ["null"]);
    assert_eq!(
        database.answer("print d = dynamic({'b': 1, 'a': 'x'}) | evaluate bag_unpack(d)").await,
        "a: string | b: long\n\"x\" | 1"
    );
}

#[tokio::test]
async fn a_shared_computation_runs_once_for_all_readers() {
    let mut database = Database::new();
    database.store("T", "range n from 1 to 20000 step 1", 2).await;
    let query = "let m = materialize(T | extend r = rand()); union m, (m | where n > 0) | summarize count(), count_distinct(r) > 19000, count_distinct(r) < 20001";
    assert_eq!(database.rows(query).await, ["40000 | true | true"]);
    let query = "let m = materialize(T | extend r = rand()); m | join kind=inner m on n | where r != r1 | count";
    assert_eq!(database.rows(query).await, ["0"]);
}

#[tokio::test]
async fn large_lists_and_long_chains_plan_quickly() {
    let database = Database::new();
    let numbers: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let list = numbers.join(",");
    let chain = numbers[..20_000].iter().map(|n| format!("x == {n}")).collect::<Vec<_>>().join(" or ");
    let mixed = numbers[..1_000].iter().map(|n| format!("x + {n} == 7")).collect::<Vec<_>>().join(" or ");
    for (query, answer) in [
        (format!("range x from 99990 to 100010 step 1 | where x in ({list}) | count"), "10"),
        (format!("range x from 99990 to 100010 step 1 | where x !in ({list}) | count"), "11"),
        (format!("range x from 19990 to 20010 step 1 | where {chain} | count"), "10"),
        (format!("range x from 1 to 10 step 1 | where {mixed} | count"), "7"),
    ] {
        let start = Instant::now();
        assert_eq!(database.rows(&query).await, [answer]);
        assert!(start.elapsed() < Duration::from_secs(30), "{} took {:?}", &query[..60], start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_pipelines_neither_overflow_the_stack_nor_take_long() {
    let database = Database::new();
    let source = "range x from 1 to 10 step 1";
    for (step, times, answer) in [
        (" | where x > 0", 350, "10"),
        (" | extend x = x + 0", 350, "10"),
        (" | where x > 0 | extend x = x + 1", 150, "10"),
        (" | join kind=inner (range x from 1 to 10 step 1) on x | project x", 100, "10"),
        (" | union (range x from 1 to 1 step 1)", 150, "160"),
        (" | sort by x | take 10", 100, "10"),
        (" | serialize | extend p = prev(x), x = x | where isnull(p) or p < 100", 60, "10"),
        (" | summarize x = sum(x) by y = x", 150, "10"),
    ] {
        let query = format!("{source}{} | count", step.repeat(times));
        let start = Instant::now();
        assert_eq!(database.rows(&query).await, [answer], "{step}");
        assert!(start.elapsed() < Duration::from_secs(60), "{step} took {:?}", start.elapsed());
    }
}
