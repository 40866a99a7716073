//! Window functions, plugins and functions of graphs agree with themselves: for columns, constants, slices, no rows and all nulls, however
//! the rows are cut into batches, extents and threads.

use tempfile::TempDir;
use tidewater_service::{Service, ServiceOptions};

use crate::cases::{rows_of, runtime};
use crate::open_service_with;
use crate::properties::answer;

const ROWS: usize = 96;

/// Inputs with the columns id, n, r, s, at, k.
const INPUTS: &[(&str, &str)] = &[
    ("columns", "P"),
    ("constants", "P | extend n = 3, r = 1.5, s = 'x', at = datetime(2024-01-02), k = 'a'"),
    ("one constant among columns", "P | extend k = 'b'"),
    ("a slice", "P | where id between (20 .. 41)"),
    ("no rows", "P | where id < 0"),
    ("all nulls", "P | extend n = long(null), r = real(null), s = '', at = datetime(null), k = ''"),
];

/// Window functions, over rows in order.
const WINDOWS: &[&str] = &[
    "row_number()",
    "row_number(5, k != prev(k))",
    "row_cumsum(n)",
    "row_cumsum(r, k != prev(k))",
    "row_rank_dense(k)",
    "row_rank_dense(n, k != prev(k))",
    "row_rank_min(k)",
    "row_window_session(at, 3d, 5h, k != prev(k))",
    "prev(n)",
    "prev(s, 2, 'none')",
    "next(at)",
    "next(r, 3, -1.0)",
];

/// Plugins and graphs; `I` is the input.
const PIPELINES: &[&str] = &[
    "I | evaluate activity_counts_metrics(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d)",
    "I | evaluate activity_engagement(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d, 3d)",
    "I | evaluate activity_metrics(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d, k)",
    "I | evaluate new_activity_metrics(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d)",
    "I | evaluate active_users_count(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d, 1d, 1, 1d)",
    "I | evaluate session_count(s, id, 0, 100, 10, 5)",
    "I | evaluate sliding_window_counts(s, at, datetime(2024-01-01), datetime(2024-01-06), 2d, 1d)",
    "I | evaluate funnel_sequence(s, at, datetime(2024-01-01), datetime(2024-01-06), 1d, 2d, k, dynamic(['a', 'b']))",
    "I | evaluate funnel_sequence_completion(s, at, datetime(2024-01-01), datetime(2024-01-06), 2d, k, dynamic(['a', 'b']), dynamic([1d]))",
    "I | sort by id asc | evaluate rows_near(k == 'b', 1) | project id",
    "I | evaluate rolling_percentile(r, 50, id, 10, 3)",
    "I | evaluate sequence_detect(id, 9, 20, one = (k == 'a'), two = (k == 'b'))",
    "I | project k, n, s | evaluate autocluster()",
    "I | project k, n, s | evaluate basket(0.2)",
    "I | project k, n, s | evaluate diffpatterns(k, 'a', 'b')",
    "I | project s, p = k == 'a' | evaluate diffpatterns_text(s, p)",
    "I | project k, n, id = id % 4 | evaluate pivot(k, sum(n), id)",
    "I | project id, k, n | sort by id asc | evaluate narrow() | where Column != 'id'",
    "I | project id, b = pack('u', n, 'v', s) | evaluate bag_unpack(b, 'x_') : (id: long, x_u: long, x_v: string)",
    "I | project id | evaluate identity()",
    "I | evaluate estimate_rows_count()",
    "I | summarize a = hll(n), b = hll(id) | evaluate dcount_intersect(a, b)",
    "I | getschema | evaluate schema_merge()",
    "I | project ip = strcat('10.0.', n, '.7') | evaluate ipv4_lookup(Networks, ip, net) | summarize count() by name",
    "I | project ip = strcat('10.0.', n, '.7') | evaluate ipv6_lookup(Networks, ip, net) | summarize count() by name",
    "I | project lon = r, lat = r | evaluate geo_polygon_lookup(Areas, area, lon, lat) | summarize count() by name",
    "I | project lon = r, lat = r | evaluate geo_line_lookup(Roads, line, lon, lat, 200000) | summarize count() by name",
    "I | project from = k, to = s | make-graph from --> to with_node_id = node | graph-to-table nodes",
    "I | where isnotempty(s) | project from = k, to = s, n | make-graph from --> to with_node_id = node | graph-match (a)-[e]->(b) where e.n > 2 project a.node, b.node, e.n",
    "I | where isnotempty(s) | project from = k, to = s | make-graph from --> to with_node_id = node | graph-match (a)-[e*1..2]->(b) project a = a.node, b = b.node, d = node_degree_in(b), o = node_degree_out(a), steps = array_length(e)",
    "I | where isnotempty(s) | project from = k, to = s | make-graph from --> to with_node_id = node | graph-match cycles = none (a)-[e*1..3]->(b) where all(e, true) and any(inner_nodes(e), true) project a.node, b.node, m = map(inner_nodes(e), node)",
    "I | project from = k, to = s | make-graph from --> to with_node_id = node | graph-mark-components with_component_id = c | graph-to-table nodes | summarize dcount(c)",
    "I | where isnotempty(s) | project from = k, to = s | make-graph from --> to with_node_id = node | graph-shortest-paths (a)-[e*1..3]->(b) where a.node == 'a' project b.node, steps = array_length(e)",
];

/// The input's rows and what plugins look up.
const TABLES: &[&str] = &[
    ".set-or-replace Networks <| datatable(net: string, name: string)['10.0.0.0/22', 'low', '10.0.4.0/24', 'high']",
    ".set-or-replace Areas <| print name = 'square', area = dynamic({'type': 'Polygon', 'coordinates': [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]})",
    ".set-or-replace Roads <| print name = 'road', line = dynamic({'type': 'LineString', 'coordinates': [[0, 0], [4, 0.5]]})",
];

async fn service(options: ServiceOptions, extents: usize) -> (Service, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let service = open_service_with(folder.path(), options);
    for table in TABLES {
        rows_of(&service, "NetDefaultDB", table).await.unwrap();
    }
    let rows = ROWS / extents;
    for extent in 0..extents {
        let verb = if extent == 0 { ".set-or-replace" } else { ".set-or-append" };
        let (first, last) = (extent * rows, (extent + 1) * rows - 1);
        let command = format!(
            "{verb} P <| range id from {first} to {last} step 1 | extend n = iff(id % 7 == 0, long(null), id % 5), \
             r = iff(id % 11 == 0, real(null), (id % 13) / 2.0), s = iff(id % 6 == 0, '', strcat('u', id % 4)), \
             at = iff(id % 17 == 0, datetime(null), datetime(2024-01-01) + id * 97m), k = iff(id % 3 == 0, 'a', 'b')"
        );
        rows_of(&service, "NetDefaultDB", &command).await.unwrap();
    }
    (service, folder)
}

#[test]
fn window_functions_plugins_and_graphs_agree_with_themselves() {
    runtime().block_on(async {
        let usual = service(ServiceOptions { threads: 2, ..ServiceOptions::default() }, 3).await;
        let plain = ServiceOptions { threads: 1, batch_rows: 7, unoptimized: true, ..ServiceOptions::default() };
        let plain = service(plain, 1).await;
        let spread = service(ServiceOptions { threads: 8, batch_rows: 3, ..ServiceOptions::default() }, 12).await;
        let windows = WINDOWS.iter().map(|call| format!("I | sort by id asc | project id, v = {call}"));
        let queries: Vec<String> = windows.chain(PIPELINES.iter().map(ToString::to_string)).collect();
        let mut faults = Vec::new();
        for query in &queries {
            for (input, text) in INPUTS {
                let asked = format!("let I = {text};\n{query}");
                let found = answer(&usual.0, &asked).await;
                if let Err(error) = &found
                    && (*input == "columns" || !error.starts_with("SEM") && !error.starts_with("KS"))
                {
                    faults.push(format!("{input}: {query}\n  {error}"));
                }
                for (how, service) in [("without the optimizer", &plain.0), ("over eight threads", &spread.0)] {
                    let other = answer(service, &asked).await;
                    if other != found {
                        faults.push(format!("{input}, {how}: {query}\n  found  {other:?}\n  wanted {found:?}"));
                    }
                }
            }
        }
        let shown: Vec<String> = faults.iter().map(|fault| fault.chars().take(700).collect()).collect();
        assert!(faults.is_empty(), "{} faults\n{}", faults.len(), shown.join("\n\n"));
    });
}
