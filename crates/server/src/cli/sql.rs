//! `tidewater sql`: jobs of the Query Service API from the command line.

use std::io::{IsTerminal, Read, Write};

use clap::{Subcommand, ValueEnum};
use futures::StreamExt;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tidewater_kql::value::datetime;
use tidewater_service::context::now_ticks;

use super::Target;
use super::client::{address, client, unreachable};
use super::query::{bare_table, items, pairs, shown, wrote};

const PREFIX: &str = "/data/foundation/query";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
    /// The organisation whose jobs are meant
    #[arg(long, env = "TIDEWATER_ORG", default_value = "local", value_name = "NAME", global = true)]
    org: String,
    /// The sandbox
    #[arg(long, env = "TIDEWATER_SANDBOX", default_value = "prod", value_name = "NAME", global = true)]
    sandbox: String,
    /// Print the server's JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Submit a statement; prints its id, or its rows with --wait
    Submit(Submit),
    /// Show a query
    Status {
        /// Id of the query
        id: String,
    },
    /// List queries, newest first
    List {
        /// Most queries
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// A filter such as state==FAILED or created>2026-01-01; may be repeated
        #[arg(long, value_name = "FILTER")]
        property: Vec<String>,
    },
    /// Fetch the rows of a finished query
    Fetch {
        /// Id of the query
        id: String,
        #[command(flatten)]
        rows: Rows,
    },
    /// Cancel a query
    Cancel {
        /// Id of the query
        id: String,
    },
    /// Keep templates
    Template {
        #[command(subcommand)]
        command: Template,
    },
    /// Keep schedules
    Schedule {
        #[command(subcommand)]
        command: Schedule,
    },
}

#[derive(clap::Args)]
struct Submit {
    /// The SQL statement; '-' reads it from standard input
    #[arg(required_unless_present = "template")]
    sql: Option<String>,
    /// Id of a template to run instead
    #[arg(long, value_name = "ID", conflicts_with = "sql")]
    template: Option<String>,
    /// Database; all of them when absent
    #[arg(long, short, value_name = "NAME")]
    db: Option<String>,
    /// A name for the query
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A value for a placeholder $NAME; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Tell what the statement would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait for the end and print the rows
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    rows: Rows,
}

#[derive(clap::Args)]
struct Rows {
    /// Form of the rows
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write to instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people
    Table,
    /// One document with schema and rows
    Json,
    /// A line for each row
    Ndjson,
    /// RFC 4180 with a header line
    Csv,
    /// Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

#[derive(Subcommand)]
enum Template {
    /// Make a template; prints its id
    Create {
        /// Its name
        name: String,
        /// Its statement, with placeholders such as $day; '-' reads it from standard input
        sql: String,
        /// A default for a placeholder; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        param: Vec<String>,
    },
    /// List templates
    List,
    /// Show a template
    Show {
        /// Its id
        id: String,
    },
    /// Delete a template
    Delete {
        /// Its id
        id: String,
    },
}

#[derive(Subcommand)]
enum Schedule {
    /// Make a schedule; prints its id
    Create {
        /// Five cron fields, @once, @hourly, @daily, @weekly, @monthly or @yearly
        cron: String,
        /// The statement; '-' reads it from standard input
        sql: String,
        /// First time [default: now]
        #[arg(long, value_name = "TIME")]
        start: Option<String>,
        /// Last time
        #[arg(long, value_name = "TIME")]
        end: Option<String>,
        /// Zone of the cron fields, such as Europe/Berlin [default: UTC]
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
        /// Database; all of them when absent
        #[arg(long, short, value_name = "NAME")]
        db: Option<String>,
    },
    /// List schedules
    List,
    /// Show a schedule
    Show {
        /// Its id
        id: String,
    },
    /// List the runs of a schedule
    Runs {
        /// Its id
        id: String,
    },
    /// Run a schedule now
    Trigger {
        /// Its id
        id: String,
    },
    /// Let a schedule run
    Enable {
        /// Its id
        id: String,
    },
    /// Stop a schedule
    Disable {
        /// Its id
        id: String,
    },
    /// Delete a disabled schedule
    Delete {
        /// Its id
        id: String,
    },
}

/// The API with the caller's headers.
struct Api<'a> {
    client: Client,
    arguments: &'a Arguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    let api = Api { client: client(&arguments.target)?, arguments: &arguments };
    match &arguments.command {
        Command::Submit(submit) => api.submit(submit).await,
        Command::Status { id } => {
            let query = api.call(Method::GET, &format!("/queries/{id}"), None).await?;
            api.shown(&query, &["id", "state", "rowCount", "elapsedTime", "created", "updated"])
        }
        Command::List { limit, property } => {
            let filters: String = property.iter().map(|filter| format!("&property={}", escaped(filter))).collect();
            let page = api.call(Method::GET, &format!("/queries?limit={limit}{filters}"), None).await?;
            let columns = ["id", "state", "rowCount", "elapsedTime", "created", "client", "sql"];
            api.listed(&page, "queries", &columns)
        }
        Command::Fetch { id, rows } => api.fetch(id, rows).await,
        Command::Cancel { id } => api.change(Method::PATCH, &format!("/queries/{id}"), json!({"op": "cancel"})).await,
        Command::Template { command } => api.template(command).await,
        Command::Schedule { command } => api.schedule(command).await,
    }
}

impl Api<'_> {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, address(&self.arguments.target.url, &format!("{PREFIX}{path}")))
            .header("x-gw-ims-org-id", &self.arguments.org)
            .header("x-sandbox-name", &self.arguments.sandbox)
            .header("x-api-key", "tidewater-cli")
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|error| unreachable(&self.arguments.target.url, &error))?;
        let response = checked(response).await?;
        response.json().await.map_err(|error| format!("the server answered with broken JSON: {error}"))
    }

    /// A call whose answer is only a message.
    async fn change(&self, method: Method, path: &str, body: Value) -> Result<(), String> {
        let body = if method == Method::DELETE { None } else { Some(body) };
        let answer = self.call(method, path, body).await?;
        match self.arguments.json {
            true => print(&answer.to_string()),
            false => print(answer["message"].as_str().unwrap_or_default()),
        }
    }

    async fn submit(&self, submit: &Submit) -> Result<(), String> {
        let mut body = json!({"dbName": self.database(submit.db.as_deref())});
        match (&submit.sql, &submit.template) {
            (Some(sql), _) => body["sql"] = text(sql)?.into(),
            (None, Some(id)) => body["templateId"] = id.as_str().into(),
            (None, None) => return Err("expected a statement or --template".to_string()),
        }
        if let Some(name) = &submit.name {
            body["name"] = name.as_str().into();
        }
        if !submit.param.is_empty() {
            body["queryParameters"] = pairs(&submit.param, "param")?.into();
        }
        if submit.dry_run {
            let answer = self.call(Method::POST, "/queries?dryRun=true", Some(body)).await?;
            if self.arguments.json {
                return print(&answer.to_string());
            }
            let plan = answer["plan"].as_str().unwrap_or("the statement returns no rows");
            return print(&format!(
                "reads {} rows, {} bytes\n{plan}",
                answer["estimatedRows"], answer["estimatedBytes"]
            ));
        }
        let mut query = self.call(Method::POST, "/queries", Some(body)).await?;
        let id = query["id"].as_str().unwrap_or_default().to_string();
        if !submit.wait {
            return match self.arguments.json {
                true => print(&query.to_string()),
                false => print(&id),
            };
        }
        while matches!(query["state"].as_str(), Some("SUBMITTED" | "IN_PROGRESS")) {
            let request = self.request(Method::GET, &format!("/queries/{id}")).header("prefer", "wait=60");
            let response = request.send().await.map_err(|error| unreachable(&self.arguments.target.url, &error))?;
            query = checked(response).await?.json().await.map_err(|error| error.to_string())?;
        }
        match query["state"].as_str() {
            Some("SUCCESS") if query["_links"].get("results").is_some() => self.fetch(&id, &submit.rows).await,
            Some("SUCCESS") => print(&format!("{} rows written", query["rowCount"])),
            state => {
                let message = query["errors"][0]["message"].as_str().unwrap_or_default();
                Err(format!("the query ended as {}: {message}", state.unwrap_or_default()))
            }
        }
    }

    async fn fetch(&self, id: &str, rows: &Rows) -> Result<(), String> {
        let format = match rows.format {
            Format::Table | Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
        };
        let is_binary = matches!(rows.format, Format::Arrow | Format::Parquet);
        if is_binary && rows.output.is_none() && std::io::stdout().is_terminal() {
            return Err(format!("{format} is no text for a terminal: give --output FILE"));
        }
        // The table is made of this program's numbers, which are shorter than what decimals may hold.
        let numbers = if rows.format == Format::Table { "&numbers=string" } else { "" };
        let response = self.request(Method::GET, &format!("/queries/{id}/results?format={format}{numbers}"));
        let response = response.send().await.map_err(|error| unreachable(&self.arguments.target.url, &error))?;
        let response = checked(response).await?;
        let mut out: Box<dyn Write> = match &rows.output {
            Some(path) => {
                let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Box::new(std::io::BufWriter::new(file))
            }
            None => Box::new(std::io::BufWriter::new(std::io::stdout().lock())),
        };
        if rows.format == Format::Table {
            let answer: Value = response.json().await.map_err(|error| error.to_string())?;
            let names: Vec<&str> = items(&answer["schema"]).filter_map(|column| column["name"].as_str()).collect();
            let mut table = bare_table();
            table.set_header(&names);
            for row in items(&answer["rows"]) {
                table.add_row(names.iter().map(|name| shown(&row[*name])));
            }
            return wrote(writeln!(out, "{table}").and_then(|()| out.flush()));
        }
        let mut parts = response.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| format!("the rows broke off: {error}"))?;
            wrote(out.write_all(&part))?;
        }
        wrote(out.flush())
    }

    async fn template(&self, command: &Template) -> Result<(), String> {
        const PATH: &str = "/query-templates";
        match command {
            Template::Create { name, sql, param } => {
                let body = json!({"name": name, "sql": text(sql)?, "queryParameters": pairs(param, "param")?});
                self.made(&self.call(Method::POST, PATH, Some(body)).await?)
            }
            Template::List => {
                let page = self.call(Method::GET, &format!("{PATH}?limit=1000"), None).await?;
                self.listed(&page, "templates", &["id", "name", "created", "sql"])
            }
            Template::Show { id } => {
                let template = self.call(Method::GET, &format!("{PATH}/{id}"), None).await?;
                self.shown(&template, &["id", "name", "sql", "queryParameters", "created", "updated"])
            }
            Template::Delete { id } => self.change(Method::DELETE, &format!("{PATH}/{id}"), Value::Null).await,
        }
    }

    async fn schedule(&self, command: &Schedule) -> Result<(), String> {
        const PATH: &str = "/schedules";
        match command {
            Schedule::Create { cron, sql, start, end, time_zone, db } => {
                let now = datetime::to_text(now_ticks());
                let mut times = json!({"schedule": cron, "startDate": start.clone().unwrap_or(now)});
                for (name, value) in [("endDate", end), ("timeZone", time_zone)] {
                    if let Some(value) = value {
                        times[name] = value.as_str().into();
                    }
                }
                let query = json!({"dbName": self.database(db.as_deref()), "sql": text(sql)?});
                let body = json!({"query": query, "schedule": times});
                self.made(&self.call(Method::POST, PATH, Some(body)).await?)
            }
            Schedule::List => {
                let page = self.call(Method::GET, &format!("{PATH}?limit=1000"), None).await?;
                self.listed(&page, "schedules", &["id", "state", "schedule", "nextRun", "sql"])
            }
            Schedule::Show { id } => {
                let schedule = self.call(Method::GET, &format!("{PATH}/{id}"), None).await?;
                self.shown(&schedule, &["id", "state", "schedule", "query", "nextRun", "created", "updated"])
            }
            Schedule::Runs { id } => {
                let page = self.call(Method::GET, &format!("{PATH}/{id}/runs?limit=1000"), None).await?;
                self.listed(&page, "runsSchedules", &["id", "state", "externalTrigger", "created"])
            }
            Schedule::Trigger { id } => self.change(Method::POST, &format!("{PATH}/{id}/runs"), json!({})).await,
            Schedule::Enable { id } => {
                self.change(Method::PATCH, &format!("{PATH}/{id}"), json!({"op": "enable"})).await
            }
            Schedule::Disable { id } => {
                self.change(Method::PATCH, &format!("{PATH}/{id}"), json!({"op": "disable"})).await
            }
            Schedule::Delete { id } => self.change(Method::DELETE, &format!("{PATH}/{id}"), Value::Null).await,
        }
    }

    fn database(&self, name: Option<&str>) -> String {
        format!("{}:{}", self.arguments.sandbox, name.unwrap_or("all"))
    }

    fn made(&self, object: &Value) -> Result<(), String> {
        match self.arguments.json {
            true => print(&object.to_string()),
            false => print(object["id"].as_str().unwrap_or_default()),
        }
    }

    /// Prints some members of an object, a line each.
    fn shown(&self, object: &Value, names: &[&str]) -> Result<(), String> {
        if self.arguments.json {
            return print(&object.to_string());
        }
        let mut table = bare_table();
        for name in names {
            table.add_row([(*name).to_string(), shown(&object[*name])]);
        }
        for error in items(&object["errors"]) {
            table.add_row(["error".to_string(), format!("{}: {}", shown(&error["code"]), shown(&error["message"]))]);
        }
        print(&table.to_string())
    }

    /// Prints a page of a list.
    fn listed(&self, page: &Value, key: &str, names: &[&str]) -> Result<(), String> {
        if self.arguments.json {
            return print(&page[key].to_string());
        }
        let mut table = bare_table();
        table.set_header(names);
        for item in items(&page[key]) {
            table.add_row(names.iter().map(|name| match *name {
                "sql" => {
                    let query = item.get("request").or_else(|| item.get("query")).unwrap_or(item);
                    shown(query.get("sql").or_else(|| query.get("templateId")).unwrap_or(&Value::Null))
                }
                "schedule" => shown(&item["schedule"]["schedule"]),
                name => shown(&item[name]),
            }));
        }
        print(&table.to_string())
    }
}

/// The answer of a call that went well, or the error document's text.
async fn checked(response: reqwest::Response) -> Result<reqwest::Response, String> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err("the server wants you to sign in: give --token, or set TIDEWATER_TOKEN".to_string());
    }
    let body = response.bytes().await.unwrap_or_default();
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    match document["message"].as_str() {
        Some(message) => Err(message.to_string()),
        None => Err(format!("the server answered {status}: {}", String::from_utf8_lossy(&body))),
    }
}

fn text(given: &str) -> Result<String, String> {
    if given != "-" {
        return Ok(given.to_string());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(text)
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn print(text: &str) -> Result<(), String> {
    wrote(writeln!(std::io::stdout(), "{text}"))
}
