//! `docs/reference/functions.md` is made from the rows of the functions. `UPDATE_DOCS=1` writes it again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use tidewater_functions::registry::{AggregateImp, Imp, aggregate_names, find_aggregate, find_scalar, scalar_names};

/// Name, whether it is served, and the sentence or the reason.
type Row = (bool, String);

fn table(out: &mut String, title: &str, rows: &BTreeMap<&str, Row>) {
    let served = rows.values().filter(|(served, _)| *served).count();
    let _ = writeln!(out, "## {title}: {served} of {} served\n\n| name | served | |\n|---|---|---|", rows.len());
    for (name, (served, text)) in rows {
        let _ = writeln!(out, "| `{name}` | {} | {} |", if *served { "yes" } else { "no" }, text.replace('|', "\\|"));
    }
    out.push('\n');
}

#[test]
fn the_reference_page_of_functions_is_up_to_date() {
    let scalars: BTreeMap<&str, Row> = scalar_names()
        .map(|name| {
            let row = find_scalar(name).unwrap();
            let alias = if row.name == name { String::new() } else { format!("The same as `{}`. ", row.name) };
            match row.imp {
                Imp::Refused(why) => (name, (false, format!("Refused: {why}."))),
                _ => (name, (true, format!("{alias}{}", row.summary))),
            }
        })
        .collect();
    let aggregates: BTreeMap<&str, Row> = aggregate_names()
        .map(|name| {
            let row = find_aggregate(name).unwrap();
            match row.imp {
                AggregateImp::Refused(why) => (name, (false, format!("Refused: {why}."))),
                _ => (name, (true, row.summary.to_string())),
            }
        })
        .collect();
    let mut page = String::from(
        "# Functions\n\nMade from the rows of the code by `UPDATE_DOCS=1 make test-crate CRATE=service`.\n\n",
    );
    table(&mut page, "Aggregate functions", &aggregates);
    table(&mut page, "Scalar functions", &scalars);
    let page = page.trim_end().to_string() + "\n";
    let path = Path::new("../../docs/reference/functions.md");
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "docs/reference/functions.md is stale: run with UPDATE_DOCS=1");
}
