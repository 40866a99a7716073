//! What must hold for any query: predicates split a table in three, parts add up to the whole, and the answer depends on
//! neither threads, batches, extents nor the optimizer.
//!
//! Seeds are fixed. `PROPERTY_ROUNDS=n` asks for more rounds, `PROPERTY_SEED=n` for others.

use tempfile::TempDir;
use tidewater_kql::KqlType;
use tidewater_service::{Service, ServiceOptions};

use crate::cases::{rows_of, runtime};
use crate::generate::{Expressions, Pipelines, Random, TYPES, datatable, table_columns};
use crate::open_service_with;

const ROWS: usize = 120;

/// What did not hold; panics with the first few when the property is done.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, found: &T, wanted: &T, what: impl FnOnce() -> String) {
        if found != wanted {
            self.0.push(format!("{}\n  found  {found:?}\n  wanted {wanted:?}", what()));
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if !self.0.is_empty() && !std::thread::panicking() {
            let shown = self.0.iter().take(12).map(|fault| fault.chars().take(1500).collect::<String>());
            panic!("{} faults\n{}", self.0.len(), shown.collect::<Vec<_>>().join("\n\n"));
        }
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn random(seed: u64) -> Random {
    let mut random = Random(seed.wrapping_add(number("PROPERTY_SEED", 0) as u64 * 7919));
    random.below(2);
    random
}

/// A service whose table `T` has generated rows in this many extents.
async fn service(options: ServiceOptions, extents: usize) -> (Service, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let service = open_service_with(folder.path(), options);
    let mut random = Random(0xDA7A);
    let rows = ROWS / extents;
    for extent in 0..extents {
        let verb = if extent == 0 { ".set-or-replace" } else { ".set-or-append" };
        let command = format!("{verb} T <| {}", datatable(&mut random, extent * rows, rows));
        rows_of(&service, "NetDefaultDB", &command).await.unwrap();
    }
    (service, folder)
}

async fn usual() -> (Service, TempDir) {
    service(ServiceOptions { threads: 2, ..ServiceOptions::default() }, 3).await
}

/// Rows as a set; reals to 12 digits, for sums are made in any order.
pub(crate) async fn answer(service: &Service, query: &str) -> Result<Vec<String>, String> {
    let mut rows: Vec<String> = rows_of(service, "NetDefaultDB", query)
        .await?
        .into_iter()
        .map(|row| row.into_iter().map(rounded).collect::<Vec<_>>().join(" | "))
        .collect();
    rows.sort();
    Ok(rows)
}

fn rounded(cell: String) -> String {
    match cell.parse::<f64>() {
        // Which of two equal zeros is the largest is not said.
        Ok(number) if cell.contains(['.', 'e', 'E']) && number.is_finite() => format!("{:.11e}", number + 0.0),
        _ => cell,
    }
}

#[test]
fn a_predicate_its_negation_and_its_nulls_split_a_table() {
    runtime().block_on(async {
        let (service, _folder) = usual().await;
        let (plain, _other) = service_plain().await;
        let (mut random, columns) = (random(1), table_columns());
        let rounds = number("PROPERTY_ROUNDS", 60);
        let (mut answered, mut faults) = (0, Faults::default());
        for round in 0..rounds {
            let p = Expressions { random: &mut random, columns: &columns }.predicate(1 + round % 3);
            let values = match answer(&service, &format!("T | project id, p = {p}")).await {
                Ok(values) => values,
                Err(error) if error.starts_with("SEM") || error.starts_with("KS") => continue,
                Err(error) => {
                    faults.0.push(format!("{p}\n{error}"));
                    continue;
                }
            };
            answered += 1;
            let expected = |value: &str| -> Vec<String> {
                let end = format!(" | {value}");
                let mut ids: Vec<String> =
                    values.iter().filter_map(|row| row.strip_suffix(&end).map(str::to_string)).collect();
                ids.sort();
                ids
            };
            assert_eq!(values.len(), ROWS, "{p}");
            for (test, value) in [(p.clone(), "true"), (format!("not({p})"), "false"), (format!("isnull({p})"), "null")]
            {
                let query = format!("T | where {test} | project id");
                let wanted = expected(value);
                faults.check(&answer(&service, &query).await, &Ok(wanted.clone()), || query.clone());
                faults.check(&answer(&plain, &query).await, &Ok(wanted.clone()), || {
                    format!("without the optimizer: {query}")
                });
                let query = format!("T | extend q = {p}, n = 1 | where {} | project id", test.replace(&p, "q"));
                faults.check(&answer(&service, &query).await, &Ok(wanted.clone()), || query.clone());
            }
        }
        assert!(answered * 10 > rounds * 8, "{answered} of {rounds} predicates have a meaning");
    });
}

async fn service_plain() -> (Service, TempDir) {
    service(ServiceOptions { threads: 1, batch_rows: 7, unoptimized: true, ..ServiceOptions::default() }, 1).await
}

async fn service_spread() -> (Service, TempDir) {
    service(ServiceOptions { threads: 8, batch_rows: 3, ..ServiceOptions::default() }, 12).await
}

#[test]
fn answers_of_generated_pipelines_do_not_depend_on_how_they_are_run() {
    runtime().block_on(async {
        let (usual, _a) = usual().await;
        // The same rows: the generator of the table runs through, however many extents they go to.
        let (plain, _b) = service_plain().await;
        let (spread, _c) = service_spread().await;
        let mut random = random(2);
        let rounds = number("PROPERTY_ROUNDS", 60);
        let (mut answered, mut refused, mut faults) = (0, Vec::new(), Faults::default());
        for _ in 0..rounds {
            let (query, _) = Pipelines { random: &mut random, next: 0, is_unique: true }.pipeline("T", 1);
            match answer(&usual, &query).await {
                Ok(rows) => {
                    answered += 1;
                    let rows = Ok(rows);
                    faults.check(&answer(&plain, &query).await, &rows, || format!("without the optimizer\n{query}"));
                    faults.check(&answer(&spread, &query).await, &rows, || format!("over eight threads\n{query}"));
                }
                Err(error) if error.starts_with("SEM") || error.starts_with("KS") => {
                    refused.push(format!("{query}\n    {error}"));
                }
                Err(error) => faults.0.push(format!("{query}\n{error}")),
            }
        }
        drop(faults);
        assert!(answered * 10 > rounds * 7, "{answered} of {rounds} pipelines have a meaning\n{}", refused.join("\n"));
    });
}

#[test]
fn aggregates_of_parts_add_up_to_those_of_the_whole() {
    runtime().block_on(async {
        let (service, _folder) = usual().await;
        let (mut random, columns) = (random(3), table_columns());
        let mut faults = Faults::default();
        for _ in 0..number("PROPERTY_ROUNDS", 60) / 3 {
            let key = Expressions { random: &mut random, columns: &columns }.of(KqlType::Long, 1);
            let test = Expressions { random: &mut random, columns: &columns }.predicate(1);
            for (part, whole) in [
                ("count()", "sum(x)"),
                ("countif(TEST)", "sum(x)"),
                ("sum(i)", "sum(x)"),
                ("sum(p)", "sum(x)"),
                ("max(l)", "max(x)"),
                ("min(r)", "min(x)"),
                ("max(t)", "max(x)"),
                ("min(e)", "min(x)"),
                ("hll(s)", "dcount_hll(hll_merge(x))"),
            ] {
                let (part, whole) = (part.replace("TEST", &test), whole.replace("TEST", &test));
                let split = format!("T | summarize x = {part} by key = {key} | summarize y = {whole}");
                let once = match part.as_str() {
                    "hll(s)" => "T | summarize y = dcount(s)".to_string(),
                    _ => format!("T | summarize y = {part}"),
                };
                let (split_rows, once_rows) = (answer(&service, &split).await, answer(&service, &once).await);
                faults.check(&split_rows, &once_rows, || format!("{split}\n{once}"));
            }
        }
    });
}

#[test]
fn sort_and_take_twice_are_sort_and_take() {
    runtime().block_on(async {
        let (service, _folder) = usual().await;
        let (mut random, columns) = (random(4), table_columns());
        let listed = async |query: &str| rows_of(&service, "NetDefaultDB", query).await;
        for round in 0..number("PROPERTY_ROUNDS", 60) / 2 {
            let ty = TYPES[round % 9];
            let key = Expressions { random: &mut random, columns: &columns }.of(ty, 1);
            let count = random.below(ROWS + 10);
            let keyed = format!("T | extend key = {key} | project id, key");
            let up = match listed(&format!("{keyed} | sort by key asc, id asc")).await {
                Ok(rows) => rows,
                Err(error) if error.starts_with("SEM") => continue,
                Err(error) => panic!("{key}\n{error}"),
            };
            let mut down = listed(&format!("{keyed} | sort by key desc, id desc")).await.unwrap();
            down.reverse();
            assert_eq!(up, down, "{key}");
            let sorted = format!("{keyed} | sort by key asc, id asc");
            assert_eq!(listed(&format!("{sorted} | sort by key asc, id asc")).await.unwrap(), up, "{key}");
            let taken = listed(&format!("{sorted} | take {count}")).await.unwrap();
            assert_eq!(taken, up[..count.min(ROWS)], "{key}");
            let again = format!("{sorted} | take {count} | sort by key asc, id asc | take {count}");
            assert_eq!(listed(&again).await.unwrap(), taken, "{key}");
            // `top` has one key: its rows have the same keys, whichever of equal ones they are.
            let top = listed(&format!("{keyed} | top {count} by key asc | project key")).await.unwrap();
            // Equal rows come in any order: both zeros are one.
            let zero = |cell: &String| if cell == "-0.0" { "0.0".to_string() } else { cell.clone() };
            let top: Vec<String> = top.iter().map(|row| zero(&row[0])).collect();
            let keys: Vec<String> = taken.iter().map(|row| zero(&row[1])).collect();
            assert_eq!(top, keys, "{key}");
            let count_of = |rows: Vec<Vec<String>>| rows.len();
            assert_eq!(count_of(listed(&format!("T | take {count} | take {count}")).await.unwrap()), count.min(ROWS));
        }
    });
}
