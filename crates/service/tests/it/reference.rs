//! `docs/reference/functions.md` is made from the rows of the functions, `library.md` from the texts of the functions
//! library. `UPDATE_DOCS=1` writes them again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use tidewater_functions::registry::{AggregateImp, Imp, aggregate_names, find_aggregate, find_scalar, scalar_names};
use tidewater_service::library;

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
    compare(&page, Path::new("../../docs/reference/functions.md"));
}

#[test]
fn the_reference_page_of_the_functions_library_is_up_to_date() {
    let functions: Vec<_> = library::functions().collect();
    let mut page = format!(
        "# Functions library\n\nMade from the texts of the code by `UPDATE_DOCS=1 make test-crate CRATE=service`.\n\n\
         With the setting `library = true` the server has the database `{}`: the functions of the documentation's functions \
         library that can be written in KQL, written anew. They are called as `database('{0}').comb_fl(4, 2)`, or as \
         `comb_fl(4, 2)` and `T | invoke entropy_fl('p')` from any database that has no function of that name. \
         Everybody may read the database, and nobody may change it.\n\n\
         | function | | folder |\n|---|---|---|\n",
        library::LIBRARY_DATABASE
    );
    for function in &functions {
        let call = format!("{}{}", function.name, function.parameters).replace('|', "\\|");
        let _ = writeln!(page, "| `{call}` | {} | {} |", function.docstring.replace('|', "\\|"), function.folder);
    }
    let _ = write!(page, "\n## Not here\n\n| function | why |\n|---|---|\n");
    let mut absent: Vec<(&str, &str)> =
        library::ABSENT.iter().flat_map(|(names, why)| names.iter().map(move |name| (*name, *why))).collect();
    absent.sort_unstable();
    for (name, why) in absent {
        let _ = writeln!(page, "| `{name}` | {why} |");
    }
    compare(&page, Path::new("../../docs/reference/library.md"));
}

/// Writes the page when that is asked for, and fails when it is not what it should be.
fn compare(page: &str, path: &Path) {
    let page = page.trim_end().to_string() + "\n";
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "{} is stale: run with UPDATE_DOCS=1", path.display());
}
