//! `tidewater query`: runs a text and prints its results as a table, CSV or JSON.

use std::io::{IsTerminal, Read, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::{Map, Value, json};

use super::Target;
use super::client::{address, client, json as read_json, unreachable};

#[derive(clap::Args)]
pub struct Arguments {
    /// The KQL text or management command; '-' reads it from standard input
    text: String,
    /// Database
    #[arg(long, short, env = "TIDEWATER_DB", default_value = "NetDefaultDB", value_name = "NAME")]
    db: String,
    #[command(flatten)]
    target: Target,
    /// How results are printed
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// A value for a declared query parameter; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A request property such as servertimeout=00:10:00 or notruncation=true; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    option: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people
    Table,
    /// RFC 4180 with a header line
    Csv,
    /// One array of objects per result
    Json,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    let text = match arguments.text.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            text
        }
        text => text.to_string(),
    };
    let parameters = pairs(&arguments.param, "param")?;
    let options = pairs(&arguments.option, "option")?;
    let path = if tidewater_service::is_command(&text) { "/v1/rest/mgmt" } else { "/v1/rest/query" };
    let url = address(&arguments.target.url, path);
    let body = json!({"db": arguments.db, "csl": text, "properties": {"Options": options, "Parameters": parameters}});
    let response = client(&arguments.target)?
        .post(&url)
        .header("x-ms-app", "tidewater query")
        .json(&body)
        .send()
        .await
        .map_err(|error| unreachable(&arguments.target.url, &error))?;
    let answer = read_json(response, &url).await?;
    let tables = answer["Tables"].as_array().cloned().unwrap_or_default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failure = None;
    for (at, table) in results(&tables).iter().enumerate() {
        failure = failure.or(print(table, at, arguments.format, &mut out));
    }
    wrote(out.flush())?;
    match failure {
        Some(failure) => Err(format!("the result is partial: {failure}")),
        None => Ok(()),
    }
}

/// The results among an answer's tables: the table of contents at the end tells, when there is one.
fn results(tables: &[Value]) -> &[Value] {
    match tables {
        [rest @ .., contents] if rest.len() >= 2 => {
            let count =
                contents["Rows"].as_array().map_or(0, |rows| rows.iter().filter(|row| row[1] == "QueryResult").count());
            &rest[..count.min(rest.len())]
        }
        all => all,
    }
}

/// A table with one line, under its header, of the terminal's width.
pub fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// Prints a table; returns the words of a partial failure among its rows.
fn print(table: &Value, at: usize, format: Format, out: &mut impl Write) -> Option<String> {
    let names: Vec<&str> = items(&table["Columns"]).filter_map(|column| column["ColumnName"].as_str()).collect();
    let types: Vec<&str> = items(&table["Columns"])
        .map(|column| column["ColumnType"].as_str().or(column["DataType"].as_str()).unwrap_or("string"))
        .collect();
    let mut failure = None;
    let mut rows: Vec<&Vec<Value>> = Vec::new();
    for row in items(&table["Rows"]) {
        match row {
            Value::Array(cells) => rows.push(cells),
            other => {
                failure = Some(items(&other["Exceptions"]).filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
            }
        }
    }
    if at > 0 && format != Format::Json {
        let _ = writeln!(out);
    }
    let _ = match format {
        Format::Table => print_table(&names, &types, &rows, out),
        Format::Csv => print_csv(&names, &rows, out),
        Format::Json => print_json(&names, &rows, out),
    };
    failure
}

/// The elements of an array; none of anything else.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn print_table(names: &[&str], types: &[&str], rows: &[&Vec<Value>], out: &mut impl Write) -> std::io::Result<()> {
    let is_number = |at: usize| matches!(types.get(at), Some(&"int" | &"long" | &"real" | &"decimal"));
    let cell = |at: usize, text: String| {
        let cell = Cell::new(text);
        if is_number(at) { cell.set_alignment(CellAlignment::Right) } else { cell }
    };
    let mut table = bare_table();
    table.set_header(names.iter().enumerate().map(|(at, name)| cell(at, name.to_string())));
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(at, value)| cell(at, shown(value))));
    }
    writeln!(out, "{table}")?;
    writeln!(out, "({} {})", rows.len(), if rows.len() == 1 { "row" } else { "rows" })
}

fn print_csv(names: &[&str], rows: &[&Vec<Value>], out: &mut impl Write) -> std::io::Result<()> {
    let line = |cells: Vec<String>| cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",");
    writeln!(out, "{}", line(names.iter().map(|name| name.to_string()).collect()))?;
    for row in rows {
        writeln!(out, "{}", line(row.iter().map(shown).collect()))?;
    }
    Ok(())
}

fn csv_cell(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

fn print_json(names: &[&str], rows: &[&Vec<Value>], out: &mut impl Write) -> std::io::Result<()> {
    write!(out, "[")?;
    for (at, row) in rows.iter().enumerate() {
        let object: Map<String, Value> = names.iter().map(|name| name.to_string()).zip(row.iter().cloned()).collect();
        write!(out, "{}\n  {}", if at > 0 { "," } else { "" }, Value::Object(object))?;
    }
    writeln!(out, "{}]", if rows.is_empty() { "" } else { "\n" })
}

/// A reader that has seen enough is no fault.
pub fn wrote(outcome: std::io::Result<()>) -> Result<(), String> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// What `--FLAG NAME=VALUE` gave, as texts.
pub fn pairs(pairs: &[String], flag: &str) -> Result<Map<String, Value>, String> {
    let pairs = pairs.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_string(), Value::from(value))),
        None => Err(format!("--{flag} {pair}: expected name=value")),
    });
    pairs.collect()
}

/// A value as a cell of a table.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
