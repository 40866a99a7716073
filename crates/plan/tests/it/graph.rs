//! Graphs: stored models, agreement with joins and with a plain search, bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use tidewater_plan::session::{SessionOptions, execution_plan};
use tidewater_plan::{CatalogView, GraphModel, GraphRows, PlanError};

use crate::support::Database;

const MODEL: &str = r#"{
  "Schema": {
    "Nodes": { "Person": { "name": "string", "age": "long", "shoe": "int" }, "Firm": { "name": "string" } },
    "Edges": { "WORKS": { "since": "int" } }
  },
  "Definition": { "Steps": [
    { "Kind": "AddNodes", "Query": "People", "NodeIdColumn": "name", "Labels": ["Person"], "LabelsColumn": "more" },
    { "Kind": "AddNodes", "Query": "let big = 5; Firms | where size > big", "NodeIdColumn": "name", "Labels": ["Firm"] },
    { "Kind": "AddNodes", "Query": "datatable(name: string, age: long, tag: string) ['Ann', 41, 'x']", "NodeIdColumn": "name", "LabelsColumn": "tag" },
    { "Kind": "AddEdges", "Query": "Works", "SourceColumn": "who", "TargetColumn": "firm", "Labels": ["WORKS"] },
    { "Kind": "AddEdges", "Query": "Knows | project a, b, kind // the end", "SourceColumn": "a", "TargetColumn": "b", "LabelsColumn": "kind" }
  ] }
}"#;

async fn stored() -> Database {
    let mut database = Database::new();
    for (name, rows) in [
        (
            "People",
            "datatable(name: string, age: int, more: dynamic) ['Ann', 40, dynamic(['Boss', 'Vip']), 'Bob', 30, dynamic('New'), 'Cid', 20, dynamic(null)]",
        ),
        ("Firms", "datatable(name: string, size: long) ['Acme', 10, 'Tiny', 1]"),
        ("Works", "datatable(who: string, firm: string, since: int) ['Ann', 'Acme', 2001, 'Bob', 'Acme', 2010]"),
        ("Knows", "datatable(a: string, b: string, kind: string) ['Ann', 'Bob', 'KNOWS', 'Bob', 'Cid', 'LIKES']"),
    ] {
        database.store(name, rows, 1).await;
    }
    let model = GraphModel::parse("Test", "M", MODEL).unwrap();
    let mut snapshot = model.clone();
    // Of a snapshot the rows are kept: here those of the tables themselves.
    snapshot.steps.truncate(1);
    snapshot.steps.push(model.steps[4].clone());
    snapshot.steps[0].rows = GraphRows::Stored(database.table("Test", "People").unwrap());
    snapshot.steps[1].rows = GraphRows::Stored(database.table("Test", "Knows").unwrap());
    database.graphs.insert("M".into(), Arc::new(model));
    database.graphs.insert("M/old".into(), Arc::new(snapshot));
    database
}

#[tokio::test]
async fn a_stored_graph_is_made_of_its_steps() {
    let database = stored().await;
    assert_eq!(
        database.sorted_rows("graph('M') | graph-match (p) project p.name, p.age, p.size, labels(p)").await,
        [
            r#""Acme" | null | 10 | ["Firm"]"#,
            // The value of the last step counts, and labels are gathered.
            r#""Ann" | 41 | null | ["Person","Boss","Vip","x"]"#,
            r#""Bob" | 30 | null | ["Person","New"]"#,
            r#""Cid" | 20 | null | ["Person"]"#,
        ]
    );
    assert_eq!(
        database.sorted_rows("graph('M', true) | graph-match (p)-[e]->(q) where labels(q) has 'Firm' project p.name, e.since, labels(e), q.name").await,
        [r#""Ann" | 2001 | ["WORKS"] | "Acme""#, r#""Bob" | 2010 | ["WORKS"] | "Acme""#]
    );
    assert_eq!(
        database.sorted_rows("graph('M', false) | graph-match (p)-[e*2..2]->(q) where all(e, labels() has_any ('KNOWS', 'LIKES')) project q.name, map(e, labels()), map(inner_nodes(e), labels())").await,
        [r#""Cid" | [["KNOWS"],["LIKES"]] | [["Person","New"]]"#]
    );
    assert_eq!(
        database.answer("graph('M') | graph-match (p) where p.shoe == 1 project p.shoe").await,
        "p_shoe: int",
        "a property of the schema exists without rows"
    );
    assert_eq!(database.rows("graph('M', 'old') | graph-to-table nodes | count").await, ["3"]);
    assert_eq!(database.rows("graph('M', snapshot='old') | graph-to-table edges | count").await, ["2"]);
    assert_eq!(database.rows("let g = graph('M'); g | graph-to-table edges | count").await, ["4"]);
}

#[tokio::test]
async fn a_stored_graph_that_does_not_exist_is_told_by_name() {
    let database = stored().await;
    for (query, part) in [
        ("graph('N') | graph-to-table nodes", "graph model named 'N'"),
        ("graph('M', 'new') | graph-to-table nodes", "snapshot 'new' of graph model 'M'"),
        ("graph('M', 5) | graph-to-table nodes", "name of a snapshot or a bool"),
        ("graph('M') | where x == 1", "a graph stands before it"),
    ] {
        let Err(PlanError::Diagnostics { diagnostics, .. }) = database.plan(query).await else { panic!("{query}") };
        assert!(diagnostics[0].message.contains(part), "{query}: {}", diagnostics[0].message);
    }
}

/// Numbers that look random.
fn mixed(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn edges(seed: u64, nodes: u64, count: usize) -> Vec<(u64, u64)> {
    let mut next = mixed(seed);
    (0..count).map(|_| (next(nodes), next(nodes))).collect()
}

fn table(edges: &[(u64, u64)]) -> String {
    let cells: Vec<String> = edges.iter().enumerate().map(|(at, (s, t))| format!("{s}, {t}, {at}")).collect();
    format!("datatable(s: long, t: long, e: long) [{}]", cells.join(", "))
}

/// All paths of some hops by plain recursion.
fn paths(
    edges: &[(u64, u64)],
    way: &str,
    cycles: &str,
    most: usize,
    path: &mut Vec<usize>,
    nodes: &mut Vec<u64>,
    found: &mut Vec<(u64, u64, Vec<usize>)>,
) {
    if path.len() == most {
        return;
    }
    let at = *nodes.last().unwrap();
    for (edge, (source, target)) in edges.iter().enumerate() {
        let mut ends = Vec::new();
        if way != "<" && *source == at {
            ends.push(*target);
        }
        if way != ">" && *target == at && !(way == "-" && source == target) {
            ends.push(*source);
        }
        for end in ends {
            if cycles == "unique_edges" && path.contains(&edge) || cycles == "none" && nodes.contains(&end) {
                continue;
            }
            path.push(edge);
            nodes.push(end);
            found.push((nodes[0], end, path.clone()));
            paths(edges, way, cycles, most, path, nodes, found);
            path.pop();
            nodes.pop();
        }
    }
}

#[tokio::test]
async fn patterns_agree_with_a_plain_search() {
    let one = Database::with(SessionOptions { target_partitions: 1, ..SessionOptions::default() });
    let four = Database::new();
    for seed in 1..=6 {
        let edges = edges(seed, 6, 9);
        let source = format!("{} | make-graph s --> t with_node_id=n", table(&edges));
        for (way, left, right) in [(">", "-[p*1..3]-", ">"), ("<", "<-[p*1..3]-", ""), ("-", "-[p*1..3]-", "")] {
            for cycles in ["all", "none", "unique_edges"] {
                let mut expected = Vec::new();
                let mut all: Vec<u64> = edges.iter().flat_map(|(s, t)| [*s, *t]).collect();
                all.sort_unstable();
                all.dedup();
                for start in all {
                    paths(&edges, way, cycles, 3, &mut Vec::new(), &mut vec![start], &mut expected);
                }
                let mut expected: Vec<String> =
                    expected.iter().map(|(s, t, path)| format!("{s} | {t} | {path:?}").replace(", ", ",")).collect();
                expected.sort();
                let query = format!("{source} | graph-match cycles={cycles} (a){left}{right}(b) project a.n, b.n, p.e");
                assert_eq!(one.sorted_rows(&query).await, expected, "{query}");
                assert_eq!(four.sorted_rows(&query).await, expected, "{query}");
                // The same with ends that narrow the search from either side.
                let narrowed = format!(
                    "{source} | graph-match cycles={cycles} (a){left}{right}(b) where b.n == 2 project a.n, b.n, p.e"
                );
                let wanted: Vec<&String> = expected.iter().filter(|row| row.contains(" | 2 | ")).collect();
                assert_eq!(one.sorted_rows(&narrowed).await.iter().collect::<Vec<_>>(), wanted, "{narrowed}");
            }
        }
    }
}

#[tokio::test]
async fn shortest_paths_agree_with_a_plain_search() {
    let database = Database::new();
    for seed in 11..=18 {
        let edges = edges(seed, 7, 10);
        let source = format!("{} | make-graph s --> t with_node_id=n", table(&edges));
        for (way, arrow) in [(">", "-[p*1..4]->"), ("<", "<-[p*1..4]-"), ("-", "-[p*1..4]-")] {
            let mut found = Vec::new();
            let mut all: Vec<u64> = edges.iter().flat_map(|(s, t)| [*s, *t]).collect();
            all.sort_unstable();
            all.dedup();
            for start in all {
                paths(&edges, way, "unique_edges", 4, &mut Vec::new(), &mut vec![start], &mut found);
            }
            let best = |s: u64, t: u64| {
                found.iter().filter(|(a, b, _)| (*a, *b) == (s, t)).map(|(_, _, path)| path.len()).min()
            };
            let mut expected: Vec<String> = found
                .iter()
                .filter(|(s, t, path)| best(*s, *t) == Some(path.len()))
                .map(|(s, t, path)| format!("{s} | {t} | {path:?}").replace(", ", ","))
                .collect();
            expected.sort();
            let query = format!("{source} | graph-shortest-paths output=all (a){arrow}(b) project a.n, b.n, p.e");
            assert_eq!(database.sorted_rows(&query).await, expected, "{query}");
            // The general way, for a condition that reads the path, gives the same.
            let general = format!(
                "{source} | graph-shortest-paths output=all (a){arrow}(b) where any(p, e >= 0) project a.n, b.n, p.e"
            );
            assert_eq!(database.sorted_rows(&general).await, expected, "{general}");
            for end in ["a.n == 2", "b.n == 2"] {
                let narrowed = format!(
                    "{source} | graph-shortest-paths output=all (a){arrow}(b) where {end} project a.n, b.n, p.e"
                );
                let at = if end.starts_with('a') { 0 } else { 1 };
                let wanted: Vec<&String> =
                    expected.iter().filter(|row| row.split(" | ").nth(at) == Some("2")).collect();
                assert_eq!(database.sorted_rows(&narrowed).await.iter().collect::<Vec<_>>(), wanted, "{narrowed}");
            }
            let any = format!("{source} | graph-shortest-paths (a){arrow}(b) project a.n, b.n, array_length(p)");
            let mut pairs: Vec<String> = found
                .iter()
                .filter_map(|(s, t, _)| best(*s, *t).map(|length| format!("{s} | {t} | {length}")))
                .collect();
            pairs.sort();
            pairs.dedup();
            assert_eq!(database.sorted_rows(&any).await, pairs, "{any}");
        }
    }
}

#[tokio::test]
async fn patterns_of_several_edges_agree_with_joins() {
    let database = Database::new();
    for seed in 21..=24 {
        let edges = table(&edges(seed, 8, 20));
        let graph = format!("let E = {edges}; E | make-graph s --> t with_node_id=n");
        for (pattern, join) in [
            (
                "(a)-[x]->(b)-[y]->(c)",
                "E | project a = s, b = t, x = e | join kind=inner (E | project b = s, c = t, y = e) on b | where x != y",
            ),
            (
                "(a)-[x]->(b)<-[y]-(c)",
                "E | project a = s, b = t, x = e | join kind=inner (E | project c = s, b = t, y = e) on b | where x != y",
            ),
            (
                "(a)-[x]->(b), (a)-[y]->(c), (b)-[z]->(c)",
                "E | project a = s, b = t, x = e | join kind=inner (E | project a = s, c = t, y = e) on a \
                 | join kind=inner (E | project b = s, c = t, z = e) on b, c | where x != y and y != z and x != z",
            ),
        ] {
            let matched =
                format!("{graph} | graph-match {pattern} project a = a.n, b = b.n, c = c.n, x = x.e, y = y.e");
            let joined = format!("let E = {edges}; {join} | project a, b, c, x, y");
            assert_eq!(database.sorted_rows(&matched).await, database.sorted_rows(&joined).await, "{matched}");
        }
    }
}

const DENSE: &str = "range i from 1 to 40 step 1 | extend j = range(1, 40, 1) | mv-expand j to typeof(long) | where i != j | make-graph i --> j with_node_id=n";

#[tokio::test]
async fn an_endless_search_gives_way() {
    let database = Database::new();
    for query in [
        format!("{DENSE} | graph-match (a)-[e*15..20]->(b) where a.n == 1 and any(e, i < 0) project b.n"),
        format!("{DENSE} | graph-shortest-paths (a)-[e*15..20]->(b) where any(e, i < 0) project b.n"),
    ] {
        let planned = database.plan(&query).await.unwrap();
        let plan = execution_plan(&database.session, &planned.results[0].plan).await.unwrap();
        let start = Instant::now();
        let rows = datafusion::physical_plan::collect(plan, database.session.task_ctx());
        assert!(tokio::time::timeout(Duration::from_millis(500), rows).await.is_err(), "{query}");
        assert!(start.elapsed() < Duration::from_secs(20), "{query}");
    }
    // What is needed comes out although the whole never ends.
    let first = format!("{DENSE} | graph-match (a)-[e*15..20]->(b) project b.n | take 5 | count");
    assert_eq!(database.rows(&first).await, ["5"]);
}

#[tokio::test]
async fn a_graph_counts_its_memory() {
    let pool = Arc::new(GreedyMemoryPool::new(20 << 20));
    let runtime = Arc::new(RuntimeEnvBuilder::new().with_memory_pool(pool).build().unwrap());
    let database = Database::with(SessionOptions { target_partitions: 2, runtime, ..SessionOptions::default() });
    let query = "range x from 1 to 1000000 step 1 | project s = x, t = x + 1 | make-graph s --> t with_node_id=n | graph-match (a)-->(b) where a.n == 5 project b.n";
    let planned = database.plan(query).await.unwrap();
    let plan = execution_plan(&database.session, &planned.results[0].plan).await.unwrap();
    let error = datafusion::physical_plan::collect(plan, database.session.task_ctx()).await.unwrap_err();
    assert!(matches!(error.find_root(), datafusion::error::DataFusionError::ResourcesExhausted(_)), "{error}");
}

#[tokio::test]
async fn only_what_is_read_is_scanned() {
    let mut database = Database::new();
    let asked = database
        .store("E", "datatable(s: long, t: long, w: long, unused: string) [1, 2, 3, 'x', 2, 3, 4, 'y']", 1)
        .await;
    let query = "E | make-graph s --> t with_node_id=n | graph-match (a)-[e]->(b) where e.w == 4 project a.n, b.n";
    assert_eq!(database.rows(query).await, ["2 | 3"]);
    let mut columns = asked.lock().unwrap().columns.clone();
    columns.sort();
    assert_eq!(columns, ["s", "t", "w"]);
}
