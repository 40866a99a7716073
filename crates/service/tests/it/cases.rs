//! Runs the text cases under `cases/` through the service: the meaning of the language.
//!
//! A file holds tables and cases. A table is a line `table T (a: long, s: string)` and rows of cells
//! separated by ` | `. A case is a title, an optional `source:` and `pending:`, the query, and after
//! `----` the columns and rows of each result, or `---- error CODE at L:C-C`. Several requests in one
//! case are separated by a line `;;`: the last one is compared. `UPDATE_CASES=new` fills in empty answers.
//! `{database}` is the case's database, `{cases}` the folder of cases.
//!
//! A line `as: aaduser=ann@x.org;tenant groups=g1,g2` before a request says who sends it.
//!
//! A line `--` among a table's rows begins another extent. The answers under `cases/plans/` are execution plans
//! (see `plans`). `settings` runs the same cases under other settings of the engine.
//!
//! Lines `option: name = JSON` and `parameter: name = JSON` before the query are request properties. `---- name` also
//! compares the result's name, `---- nothing` stands for no result, and a line `render: {...}` under the columns compares
//! the given members of its visualization.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use tidewater_kql::value::{datetime, decimal::Decimal, guid, real, timespan};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_service::{
    ACCOUNT_AUTHORITY, CommandAnswer, Context, Error, Identity, PrincipalKind, QueryAnswer, RequestOptions,
    ResultTable, Service,
};

use crate::plans;

/// A result with its cells as texts in the form the case files use.
#[derive(Debug, PartialEq)]
struct Printed {
    name: String,
    visualization: Option<serde_json::Value>,
    columns: Vec<(String, KqlType)>,
    rows: Vec<Vec<String>>,
    is_sorted: bool,
}

#[derive(Debug)]
enum Answer {
    Results(Vec<Printed>),
    /// The lines of execution plans.
    Plans(Vec<String>),
    Error {
        code: String,
        place: Option<String>,
        message: String,
    },
}

#[derive(Debug, Default)]
struct Case {
    title: String,
    source: String,
    pending: bool,
    requests: Vec<String>,
    options: Vec<(String, serde_json::Value)>,
    parameters: Vec<(String, serde_json::Value)>,
    /// Text after the first `----`; empty when the answer is still to be filled in.
    expected: String,
    /// Line of the file at which `expected` ends.
    end_line: usize,
}

struct File {
    tables: Vec<Table>,
    cases: Vec<Case>,
}

/// A table that the cases of a file see.
struct Table {
    declaration: String,
    /// Rows, and lines `--` between extents.
    rows: Vec<String>,
}

impl Table {
    /// Commands that make and fill it; `scattered` gives every row an extent of its own.
    fn commands(&self, scattered: bool) -> Vec<String> {
        let rows: Vec<&str> = self.rows.iter().map(String::as_str).filter(|row| !scattered || *row != "--").collect();
        let mut parts: Vec<&[&str]> = match scattered {
            true => rows.chunks(1).collect(),
            false => rows.split(|row| *row == "--").collect(),
        };
        if parts.is_empty() {
            parts.push(&[]);
        }
        parts.into_iter().enumerate().map(|(at, rows)| table_command(&self.declaration, rows, at > 0)).collect()
    }
}

/// How cases are run.
pub(crate) struct Mode {
    /// Every row of a table is an extent of its own.
    pub(crate) scattered: bool,
    /// Of this many cases one is run, chosen by `seed`.
    pub(crate) one_of: u64,
    pub(crate) seed: u64,
    /// Empty answers are filled in.
    pub(crate) updates: bool,
    /// Plans are compared too: they hold for one setting of the engine only.
    pub(crate) plans: bool,
}

impl Mode {
    fn runs(&self, file: &str, title: &str) -> bool {
        let mut hash = self.seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in file.bytes().chain(title.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        (hash >> 16).is_multiple_of(self.one_of.max(1))
    }
}

/// Cargo runs tests in their package's directory; a path fixed at compile time would lead another checkout astray.
pub(crate) fn cases_root() -> PathBuf {
    PathBuf::from("../../cases")
}

fn read_file(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    let mut file = File { tables: Vec::new(), cases: Vec::new() };
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if let Some(declaration) = line.strip_prefix("table ") {
            let mut rows = Vec::new();
            while let Some((_, row)) = lines.next_if(|(_, next)| !next.trim().is_empty()) {
                rows.push(row.to_string());
            }
            file.tables.push(Table { declaration: declaration.to_string(), rows });
        } else if let Some(title) = line.strip_prefix("case ") {
            let mut case = Case { title: title.trim().to_string(), end_line: number + 1, ..Case::default() };
            let mut request = String::new();
            let mut in_answer = false;
            while let Some((at, line)) = lines.next_if(|(_, next)| !next.starts_with("case ")) {
                if !line.trim().is_empty() {
                    case.end_line = at + 1;
                }
                if let Some(source) = line.strip_prefix("source:").filter(|_| !in_answer && request.is_empty()) {
                    case.source = source.trim().to_string();
                } else if line.starts_with("pending:") && !in_answer && request.is_empty() {
                    case.pending = true;
                } else if let Some(option) = line.strip_prefix("option:").filter(|_| !in_answer) {
                    case.options.push(property(option));
                } else if let Some(parameter) = line.strip_prefix("parameter:").filter(|_| !in_answer) {
                    case.parameters.push(property(parameter));
                } else if line.starts_with("----") {
                    in_answer = true;
                    let _ = writeln!(case.expected, "{line}");
                } else if in_answer {
                    let _ = writeln!(case.expected, "{line}");
                } else if line == ";;" {
                    case.requests.push(std::mem::take(&mut request));
                } else {
                    let _ = writeln!(request, "{line}");
                }
            }
            case.requests.push(request);
            case.expected = case.expected.trim_end().to_string();
            file.cases.push(case);
        } else {
            let skippable = line.trim().is_empty() || line.starts_with("//");
            assert!(skippable, "{}:{}: neither table nor case: {line}", path.display(), number + 1);
        }
    }
    file
}

/// `name = JSON`.
fn property(text: &str) -> (String, serde_json::Value) {
    let (name, value) = text.split_once('=').expect("name = JSON");
    (name.trim().to_string(), serde_json::from_str(value.trim()).expect("JSON"))
}

/// `T (a: long)` and its rows as a command that makes and fills the table.
fn table_command(declaration: &str, rows: &[&str], is_more: bool) -> String {
    let (name, columns) = declaration.split_once('(').expect("table T (columns)");
    let columns = columns.trim_end().trim_end_matches(')');
    let types: Vec<KqlType> = columns
        .split(',')
        .map(|column| KqlType::parse(column.split_once(':').expect("name: type").1.trim()).expect("a KQL type"))
        .collect();
    let mut values = Vec::new();
    for row in rows {
        let cells = split_cells(row);
        assert_eq!(cells.len(), types.len(), "row of {declaration}: {row}");
        values.extend(cells.iter().zip(&types).map(|(cell, ty)| literal(cell, *ty)));
    }
    let verb = if is_more { ".set-or-append" } else { ".set-or-replace" };
    format!("{verb} ['{}'] <| datatable({columns}) [{}]", name.trim(), values.join(", "))
}

fn literal(cell: &str, ty: KqlType) -> String {
    match ty {
        KqlType::String => cell.to_string(),
        _ => format!("{ty}({cell})"),
    }
}

/// Splits at ` | ` outside of quotes, brackets and braces.
fn split_cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut depth, mut quoted, mut escaped) = (Vec::new(), String::new(), 0, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            '|' if !quoted && depth == 0 => {
                cells.push(std::mem::take(&mut cell).trim().to_string());
                continue;
            }
            _ => {}
        }
        cell.push(c);
    }
    cells.push(cell.trim().to_string());
    cells
}

fn print_cell(array: &dyn Array, row: usize, ty: KqlType) -> String {
    if array.is_null(row) {
        return if ty == KqlType::String { "\"\"".into() } else { "null".into() };
    }
    match ty {
        KqlType::Bool => array.as_boolean().value(row).to_string(),
        KqlType::Int => array.as_primitive::<Int32Type>().value(row).to_string(),
        KqlType::Long => array.as_primitive::<Int64Type>().value(row).to_string(),
        KqlType::Real => real::to_text(array.as_primitive::<Float64Type>().value(row)),
        KqlType::Decimal => Decimal::from_bytes(array.as_fixed_size_binary().value(row).try_into().unwrap()).to_text(),
        KqlType::String => serde_json::to_string(array.as_string_view().value(row)).unwrap(),
        KqlType::DateTime => {
            let mut out = Vec::new();
            datetime::write(array.as_primitive::<Int64Type>().value(row), &mut out);
            String::from_utf8(out).unwrap()
        }
        KqlType::TimeSpan => timespan::to_text(array.as_primitive::<Int64Type>().value(row)),
        KqlType::Guid => guid::to_text(array.as_fixed_size_binary().value(row).try_into().unwrap()),
        KqlType::Dynamic => array.as_string_view().value(row).to_string(),
    }
}

fn print_batches(schema: &TableSchema, batches: &[RecordBatch]) -> (Vec<(String, KqlType)>, Vec<Vec<String>>) {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = schema.columns.iter().enumerate();
            rows.push(cells.map(|(at, column)| print_cell(batch.column(at), row, column.ty)).collect());
        }
    }
    (schema.columns.iter().map(|column| (column.name.clone(), column.ty)).collect(), rows)
}

async fn run(service: &Service, database: &str, request: &str, case: &Case) -> Answer {
    let text = request.trim_end();
    let mut context = Context::new(database);
    let (text, caller) = caller_of(text);
    context.sign_in(std::sync::Arc::new(caller));
    context.options = RequestOptions::new(case.options.iter().cloned());
    context.parameters = case.parameters.iter().cloned().collect();
    if let Err(error) = context.apply_options(Duration::from_secs(240)) {
        return error_answer(text, &error);
    }
    let results = if text.trim_start().starts_with('.') {
        match service.command(context, text).await {
            Ok(CommandAnswer::Table(table)) => Ok(vec![table]),
            Ok(CommandAnswer::Query(QueryAnswer { results, .. })) => Ok(results),
            Err(error) => Err(error),
        }
    } else {
        service.query(context, text).await.map(|answer| answer.results)
    };
    match results {
        Err(error) => error_answer(text, &error),
        Ok(results) => {
            let mut printed = Vec::new();
            for table in results {
                let ResultTable { schema, is_sorted, name, visualization, .. } = &table;
                let (schema, is_sorted) = (schema.clone(), *is_sorted);
                let (name, visualization) = (name.clone(), visualization.clone());
                match table.collect().await {
                    Ok(batches) => {
                        let (columns, rows) = print_batches(&schema, &batches);
                        printed.push(Printed { name, visualization, columns, rows, is_sorted });
                    }
                    Err(error) => return error_answer(text, &error),
                }
            }
            Answer::Results(printed)
        }
    }
}

/// A line `as: principal [groups=a,b] [name=N]` before a request says who sends it; nobody who has signed in otherwise.
/// What stands after `;` is the tenant, an id with `@` is the UPN too.
fn caller_of(text: &str) -> (&str, Identity) {
    let Some((line, rest)) = text.strip_prefix("as: ").and_then(|text| text.split_once('\n')) else {
        return (text, Identity::anonymous());
    };
    let mut words = line.split_whitespace();
    let (kind, id) = words.next().and_then(|principal| principal.split_once('=')).expect("as: kind=id");
    let (id, tenant) = id.split_once(';').unwrap_or((id, ""));
    let mut identity = Identity {
        kind: if kind == "aadapp" { PrincipalKind::Application } else { PrincipalKind::User },
        id: id.to_string(),
        tenant: tenant.to_string(),
        upn: if id.contains('@') { id.to_string() } else { String::new() },
        authority: if tenant.is_empty() { ACCOUNT_AUTHORITY.to_string() } else { "https://issuer".to_string() },
        ..Identity::anonymous()
    };
    for word in words {
        match word.split_once('=').expect("name=value") {
            ("groups", groups) => identity.groups = groups.split(',').map(str::to_string).collect(),
            ("name", name) => identity.name = name.to_string(),
            other => panic!("as: {other:?}"),
        }
    }
    (rest, identity)
}

/// The rows of the first result, or the error's code and message.
pub(crate) async fn rows_of(service: &Service, database: &str, request: &str) -> Result<Vec<Vec<String>>, String> {
    match run(service, database, request, &Case::default()).await {
        Answer::Results(mut results) if !results.is_empty() => Ok(results.swap_remove(0).rows),
        Answer::Results(_) | Answer::Plans(_) => Ok(Vec::new()),
        Answer::Error { code, message, .. } => Err(format!("{code}: {message}")),
    }
}

fn error_answer(text: &str, error: &Error) -> Answer {
    match error.diagnostics().first() {
        Some(diagnostic) => {
            let (line, column) = diagnostic.span.line_column(text);
            let width = diagnostic.span.text(text).chars().count().max(1);
            let place = Some(format!("{line}:{column}-{}", column + width - 1));
            Answer::Error { code: diagnostic.code.to_string(), place, message: diagnostic.message.clone() }
        }
        None => Answer::Error { code: error.code().to_string(), place: None, message: error.message().to_string() },
    }
}

/// The answer in the form of a case file.
fn print_answer(answer: &Answer) -> String {
    match answer {
        Answer::Error { code, place: Some(place), .. } => format!("---- error {code} at {place}"),
        Answer::Error { code, place: None, .. } => format!("---- error {code}"),
        Answer::Plans(plans) => format!("----\n{}", plans.join("\n----\n")),
        Answer::Results(results) => {
            let mut out = String::new();
            for result in results {
                let header: Vec<String> = result.columns.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
                let _ = writeln!(out, "----\n{}", header.join(" | "));
                for row in &result.rows {
                    let _ = writeln!(out, "{}", row.join(" | "));
                }
            }
            out.trim_end().to_string()
        }
    }
}

/// Whether a printed cell shows the value: exact, reals within 1e-9, dynamics as JSON.
fn same_cell(expected: &str, found: &str, ty: KqlType) -> bool {
    if expected == found || expected == "_" {
        return true;
    }
    let close = |left: f64, right: f64| (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0);
    fn same_json(left: &serde_json::Value, right: &serde_json::Value, close: &dyn Fn(f64, f64) -> bool) -> bool {
        use serde_json::Value::*;
        match (left, right) {
            (Number(l), Number(r)) if l != r => close(l.as_f64().unwrap(), r.as_f64().unwrap()),
            (Array(l), Array(r)) => l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same_json(l, r, close)),
            (Object(l), Object(r)) => {
                l.len() == r.len() && l.iter().all(|(key, l)| r.get(key).is_some_and(|r| same_json(l, r, close)))
            }
            _ => left == right,
        }
    }
    match ty {
        KqlType::Real => match (real::parse(expected), real::parse(found)) {
            (Some(left), Some(right)) => close(left, right) || (left.is_nan() && right.is_nan()),
            _ => false,
        },
        KqlType::Dynamic => match (serde_json::from_str(expected), serde_json::from_str(found)) {
            (Ok(left), Ok(right)) => same_json(&left, &right, &close),
            _ => false,
        },
        _ => false,
    }
}

/// Compares the text of an expected answer with the found one; `Err` says what differs.
fn compare(expected: &str, answer: &Answer) -> Result<(), String> {
    let found = print_answer(answer);
    if let Some(error) = expected.strip_prefix("---- error ") {
        let matches = match answer {
            Answer::Error { code, place, message } => {
                let mut lines = error.lines();
                let first = lines.next().unwrap_or("").trim();
                let (wanted, at) = first.split_once(" at ").map_or((first, None), |(code, at)| (code, Some(at)));
                wanted == code
                    && at.is_none_or(|at| place.as_deref() == Some(at))
                    && lines.filter(|line| !line.trim().is_empty()).all(|part| message.contains(part.trim()))
            }
            Answer::Results(_) | Answer::Plans(_) => false,
        };
        let message = match answer {
            Answer::Error { message, .. } => message.as_str(),
            Answer::Results(_) | Answer::Plans(_) => "",
        };
        return if matches { Ok(()) } else { Err(format!("expected {expected}\nfound {found}\n{message}")) };
    }
    if let Answer::Plans(_) = answer {
        return match expected == found {
            true => Ok(()),
            false => Err(format!("expected the plan\n{expected}\nfound\n{found}")),
        };
    }
    let Answer::Results(results) = answer else {
        let Answer::Error { message, .. } = answer else { unreachable!() };
        return Err(format!("expected\n{expected}\nfound {found}: {message}"));
    };
    let differ = |why: &str| Err(format!("{why}\nexpected\n{expected}\nfound\n{found}"));
    if expected.trim() == "---- nothing" {
        return if results.is_empty() { Ok(()) } else { differ("results") };
    }
    let blocks: Vec<&str> = expected.strip_prefix("----").unwrap_or(expected).split("\n----").collect();
    if blocks.len() != results.len() {
        return differ("number of results");
    }
    for (block, result) in blocks.iter().zip(results) {
        let (name, block) = block.split_once('\n').unwrap_or((block, ""));
        if !name.trim().is_empty() && name.trim() != result.name {
            return differ(&format!("name of the result, which is '{}'", result.name));
        }
        let mut lines = block.lines().filter(|line| !line.trim().is_empty()).peekable();
        let header = lines.next_if(|line| !line.starts_with("render: ")).unwrap_or("");
        if let Some(wanted) = lines.next_if(|line| line.starts_with("render: "))
            && !renders(&wanted["render: ".len()..], result.visualization.as_ref())
        {
            return differ(&format!(
                "visualization, which is {:?}",
                result.visualization.as_ref().map(ToString::to_string)
            ));
        }
        let columns: Vec<String> = result.columns.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        let wanted = if header.is_empty() { Vec::new() } else { split_cells(header) };
        if wanted != columns {
            return differ("columns");
        }
        let mut rows: Vec<Vec<String>> = lines.map(split_cells).collect();
        if rows.len() != result.rows.len() {
            return differ("number of rows");
        }
        let same_row = |wanted: &[String], row: &[String]| {
            wanted.len() == row.len()
                && wanted.iter().zip(row).zip(&result.columns).all(|((w, f), (_, ty))| same_cell(w, f, *ty))
        };
        for (at, row) in result.rows.iter().enumerate() {
            let place = match result.is_sorted {
                true => rows.get(at).is_some_and(|wanted| same_row(wanted, row)).then_some(at),
                false => rows.iter().position(|wanted| same_row(wanted, row)),
            };
            match place {
                None => return differ("rows"),
                Some(place) if !result.is_sorted => drop(rows.swap_remove(place)),
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Whether a visualization has the wanted members; `none` wants no visualization.
fn renders(wanted: &str, found: Option<&serde_json::Value>) -> bool {
    if wanted.trim() == "none" {
        return found.is_none();
    }
    let wanted: serde_json::Value = serde_json::from_str(wanted).expect("JSON after render:");
    let (Some(wanted), Some(found)) = (wanted.as_object(), found) else { return false };
    wanted.iter().all(|(member, value)| found.get(member) == Some(value))
}

fn case_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            case_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "case") {
            out.push(path);
        }
    }
}

async fn must(service: &Service, database: &str, request: &str) {
    if let Answer::Error { code, message, .. } = run(service, database, request, &Case::default()).await {
        panic!("{request}: {code}: {message}");
    }
}

/// Runs one file; the failures, and the number of cases.
async fn run_file(service: &Service, path: &Path, number: usize, mode: &Mode) -> (Vec<String>, usize) {
    let file = read_file(path);
    let name = path.strip_prefix(cases_root()).unwrap_or(path).display().to_string();
    let is_plans = name.starts_with("plans");
    if is_plans && !mode.plans {
        return (Vec::new(), 0);
    }
    let mut count = 0;
    // Cases of commands and ingestion change what they see: each gets a database of its own.
    let stateful = ["commands", "ingest", "entities", "security"].iter().any(|folder| name.starts_with(folder));
    let root = cases_root().canonicalize().unwrap().display().to_string();
    let mut failures = Vec::new();
    let mut filled: Vec<(usize, String)> = Vec::new();
    let mut shared: Option<String> = None;
    for (at, case) in file.cases.iter().enumerate() {
        if !mode.runs(&name, &case.title) {
            continue;
        }
        count += 1;
        let database = format!("cases_{number}_{}", if stateful { at } else { 0 });
        if stateful || shared.is_none() {
            must(service, "NetDefaultDB", &format!(".create database {database}")).await;
            for table in &file.tables {
                for command in table.commands(mode.scattered) {
                    must(service, &database, &command).await;
                }
            }
            shared = Some(database.clone());
        }
        let mut answer = Answer::Results(Vec::new());
        for request in &case.requests {
            let request = &request.replace("{database}", &database).replace("{cases}", &root);
            answer = match is_plans {
                true => explained(service, &database, request).await,
                false => run(service, &database, request, case).await,
            };
        }
        let answers = case.expected.lines().any(|line| !line.trim().is_empty() && line.trim() != "----");
        if !answers && mode.updates {
            filled.push((case.end_line, print_answer(&answer)));
            continue;
        }
        if case.source.is_empty() {
            failures.push(format!("{name}: case {}: no source", case.title));
        }
        if let Err(why) = compare(&case.expected, &answer) {
            failures.push(format!("{name}: case {}\n{}\n{why}", case.title, case.requests.join(";;\n").trim_end()));
        }
    }
    if !filled.is_empty() {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        for (line, answer) in filled.into_iter().rev() {
            if lines[line - 1].trim() == "----" {
                lines[line - 1] = answer;
            } else {
                lines.insert(line, answer);
            }
        }
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    (failures, count)
}

/// The plans of a query; anything else is run.
async fn explained(service: &Service, database: &str, request: &str) -> Answer {
    if request.trim_start().starts_with('.') {
        return run(service, database, request, &Case::default()).await;
    }
    let text = request.trim_end();
    match service.explain(&Context::new(database), text).await {
        Ok(plans) => Answer::Plans(plans.iter().map(|plan| plans::normalized(plan)).collect()),
        Err(error) => error_answer(text, &error),
    }
}

/// Runs the wanted files; panics with what failed.
pub(crate) async fn run_files(service: &Service, mode: &Mode) {
    let mut files = Vec::new();
    case_files(&cases_root(), &mut files);
    let wanted = std::env::var("CASES").unwrap_or_default();
    files.retain(|path| path.display().to_string().contains(&wanted));
    assert!(!files.is_empty(), "no case file matches '{wanted}'");
    let (mut failures, mut count) = (Vec::new(), 0);
    for (number, path) in files.iter().enumerate() {
        let (failed, cases) = run_file(service, path, number, mode).await;
        failures.extend(failed);
        count += cases;
    }
    println!("{} cases passed, {} failed", count - failures.len().min(count), failures.len());
    assert!(failures.is_empty(), "{}\n\n{} of {count} cases failed", failures.join("\n\n"), failures.len());
}

/// A runtime with room on its threads' stacks for builds without optimization.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(8 << 20).enable_all().build().unwrap()
}

/// `CASES=operators/join` runs the files whose path contains that text.
#[test]
fn every_case_gives_its_answer() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = super::open_service(folder.path());
        let updates = std::env::var("UPDATE_CASES").is_ok_and(|value| value == "new");
        let mode = Mode { scattered: false, one_of: 1, seed: 0, updates, plans: true };
        run_files(&service, &mode).await;
    });
}
