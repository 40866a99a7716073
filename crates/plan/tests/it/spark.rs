//! The dialect of the Query Service in text cases: `tests/spark/*.case`, read as the cases of KQL are. `UPDATE_CASES=new` fills
//! empty answers in.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::context::SessionContext;
use tidewater_plan::session::{SessionOptions, new_session};
use tidewater_plan::sql::{SqlScope, Statement, fault_of, parse_statement, plan_rows};
use tidewater_plan::{CatalogView, PlanContext};

use crate::support::Database;

/// Events of two people: what sessions and attribution are worked out from.
const EVENTS: &str = "datatable(who: string, at: datetime, page: string, code: string, bought: bool)[
    'a', datetime(2019-07-15 06:04:10), 'Home', 'em:1', false,
    'a', datetime(2019-07-15 06:05:05), 'Kids', 'em:1', false,
    'a', datetime(2019-07-15 06:05:35), '', '', false,
    'a', datetime(2019-07-15 06:08:30), 'Cart', 'em:5', true,
    'a', datetime(2019-07-21 18:45:10), 'Home', 'em:4', false,
    'a', datetime(2019-07-21 18:56:56), 'Cart', '', true,
    'b', datetime(2019-07-23 12:25:12), 'Home', '', false,
    'b', datetime(2019-07-29 21:33:30), 'Shoes', 'sms:7', false]";

async fn answer(session: &SessionContext, scope: &SqlScope, text: &str) -> String {
    let statement = match parse_statement(text) {
        Ok(Statement::Rows(statement)) => statement,
        Ok(other) => return format!("{other:?}"),
        Err(fault) => return format!("error {fault}"),
    };
    let rows = match plan_rows(&statement, scope, session).await {
        Ok(rows) => rows,
        Err(fault) => return format!("error {fault}"),
    };
    let batches = async { session.execute_logical_plan(rows.plan).await?.collect().await }.await;
    let batches = match batches {
        Ok(batches) => batches,
        Err(error) => return format!("error {}", fault_of(&error)),
    };
    let mut out = String::new();
    for batch in &batches {
        let options = FormatOptions::default().with_null("null");
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            let _ = writeln!(out, "{}", cells.join(" | "));
        }
    }
    out.trim_end().to_string()
}

#[tokio::test]
async fn the_dialect_answers_its_cases() {
    let mut database = Database::new();
    database.store("events", EVENTS, 1).await;
    let context = Arc::new(PlanContext::default());
    let scope = SqlScope::new(Arc::new(database) as Arc<dyn CatalogView>, vec!["db".to_string()], context);
    let session = new_session(&SessionOptions { sql: true, target_partitions: 2, ..SessionOptions::default() });
    let fills = std::env::var("UPDATE_CASES").is_ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spark");
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let (text, mut written) = (std::fs::read_to_string(&path).unwrap(), String::new());
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let (head, wanted) = block.split_once("\n----").unwrap_or_else(|| panic!("no answer in {block}"));
            let lines: Vec<&str> = head.lines().collect();
            assert!(lines[0].starts_with("case ") && lines[1].starts_with("source: "), "{block}");
            let found = answer(&session, &scope, &lines[2..].join("\n")).await;
            let _ =
                write!(written, "{head}\n----\n{}\n\n", if wanted.trim().is_empty() { &found } else { wanted.trim() });
            if wanted.trim() != found && !(fills && wanted.trim().is_empty()) {
                wrong.push(format!("{}\n  found\n{found}\n  wanted\n{}", lines[0], wanted.trim()));
            }
        }
        if fills {
            std::fs::write(&path, written.trim_end().to_string() + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
