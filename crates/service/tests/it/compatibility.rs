//! The rows of `docs/compatibility.md` are made here: for every name of the language whether it is served.
//! `UPDATE_DOCS=1` writes them again; without it a stale page fails.
//!
//! The names are data (`inventory.tsv`); what becomes of each is asked of the code. Functions and options say it in
//! their registries, commands by what the parser makes of them, plugins by how they are refused; everything else is
//! tried: its text is run, and a claim to serve it that does not hold fails the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use tidewater_functions::registry::{AggregateImp, Imp, find_aggregate, find_scalar};
use tidewater_kql::command::Command;
use tidewater_kql::diagnostic::NOT_SERVED;
use tidewater_plan::options::{self, Effect};
use tidewater_service::{Context, Error, Fault, Service, is_served_by_name, refusal_by_name};

const INVENTORY: &str = include_str!("inventory.tsv");
const START: &str = "<!-- made from the code: start -->\n";
const END: &str = "<!-- made from the code: end -->\n";

/// What becomes of a name.
enum Status {
    /// It is served; more about it.
    Served(String),
    /// It is accepted and changes nothing: why.
    NoOp(String),
    /// It is refused by name: why.
    Refused(String),
    /// The trial failed otherwise: the text is wrong, or the claim.
    Broken(String),
}

/// How many of a kind are served, without effect, refused.
#[derive(Clone, Copy, Default)]
struct Counts(usize, usize, usize);

#[test]
fn the_page_of_compatibility_says_what_the_code_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(8 << 20).enable_all().build().unwrap();
    let (page, broken) = runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = super::open_service(folder.path());
        for table in [
            ".set-or-replace T <| datatable(a:long, s:string, t:datetime, d:dynamic) \
             [1, 'x1', datetime(2020-01-01), dynamic({'k': 1}), 2, 'x2', datetime(2020-01-02), dynamic({'k': 2})]",
            ".set-or-replace U <| datatable(a:long, b:string) [1, 'one']",
        ] {
            service.command(Context::new("NetDefaultDB"), table).await.unwrap();
        }
        rows(&service).await
    });
    assert!(broken.is_empty(), "trials that fail although nothing refuses them:\n{}", broken.join("\n"));
    let path = Path::new("../../docs/compatibility.md");
    let found = std::fs::read_to_string(path).unwrap();
    let (before, rest) = found.split_once(START).expect("the page has the mark of the start");
    let (_, after) = rest.split_once(END).expect("the page has the mark of the end");
    let wanted = format!("{before}{START}{page}{END}{after}");
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(found == wanted, "docs/compatibility.md is stale: run with UPDATE_DOCS=1");
    }
}

/// The tables of the page, and the trials that failed.
async fn rows(service: &Service) -> (String, Vec<String>) {
    let mut order: Vec<&str> = Vec::new();
    let mut tables: BTreeMap<&str, (Counts, String)> = BTreeMap::new();
    let mut broken = Vec::new();
    for line in INVENTORY.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut cells = line.split('\t');
        let (kind, name, trial) =
            (cells.next().unwrap(), cells.next().expect("a name"), cells.next().unwrap_or_default());
        if !order.contains(&kind) {
            order.push(kind);
        }
        let (counts, table) = tables.entry(kind).or_default();
        let (word, note) = match status(service, kind, name, trial).await {
            Status::Served(note) => {
                counts.0 += 1;
                ("served", note)
            }
            Status::NoOp(note) => {
                counts.1 += 1;
                ("no effect", note)
            }
            Status::Refused(note) => {
                counts.2 += 1;
                ("refused", note)
            }
            Status::Broken(why) => {
                broken.push(format!("{kind} {name}: {trial}\n    {why}"));
                continue;
            }
        };
        let clean = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(table, "| `{}` | {word} | {} |", clean(name), clean(&note));
    }
    let mut page = String::from("\n## In numbers\n\n| kind | served | no effect | refused |\n|---|---|---|---|\n");
    for kind in &order {
        let (Counts(served, no_effect, refused), _) = &tables[kind];
        let _ = writeln!(page, "| {kind} | {served} | {no_effect} | {refused} |");
    }
    for kind in &order {
        let (_, table) = &tables[kind];
        let _ = write!(page, "\n## Every {kind}\n\n| name | | |\n|---|---|---|\n{table}");
    }
    page.push('\n');
    (page, broken)
}

async fn status(service: &Service, kind: &str, name: &str, trial: &str) -> Status {
    match kind {
        "scalar function" | "series function" | "geo function" | "aggregation function" => function(name),
        "plugin" => plugin(service, name).await,
        "option" => option(name),
        "management command" => command(name),
        _ => tried(service, trial).await,
    }
}

fn function(name: &str) -> Status {
    let scalar = find_scalar(name).map(|row| match row.imp {
        Imp::Refused(why) => Status::Refused(why.to_string()),
        _ => Status::Served(String::new()),
    });
    let aggregate = || {
        find_aggregate(name).map(|row| match row.imp {
            AggregateImp::Refused(why) => Status::Refused(why.to_string()),
            _ => Status::Served(String::new()),
        })
    };
    scalar.or_else(aggregate).unwrap_or_else(|| Status::Refused("there is no such function here".to_string()))
}

/// A plugin that is served complains about its arguments at most. Some pages write a name with a capital.
async fn plugin(service: &Service, name: &str) -> Status {
    match tried(service, &format!("T | evaluate {}()", name.to_lowercase())).await {
        Status::Broken(message) if message.contains("Unknown plugin") => {
            Status::Broken("the binder does not know its name".to_string())
        }
        Status::Broken(_) => Status::Served(String::new()),
        other => other,
    }
}

fn option(name: &str) -> Status {
    let Some(row) = options::find(name) else {
        return Status::Broken("the registry of options does not know it".to_string());
    };
    let ways = if row.by_set { "" } else { "; `set` has no effect on it, as documented" };
    let note = format!("{}: {}{ways}", row.ty.text(), row.what);
    match row.effect {
        Effect::Served => Status::Served(note),
        Effect::NoOp => Status::NoOp(note),
        Effect::Refused => Status::Refused(note),
    }
}

/// Commands whose pages' titles are no beginning of their texts, with such a text.
const WRITTEN_OUT: &[(&str, &str)] = &[
    (".alter cluster caching policy", ".alter cluster policy caching hot = 1d"),
    (".alter extent tags", ".alter table T extent tags ('a')"),
    (".alter external table mapping", ".alter external table T mapping 'M' '[]'"),
    (".alter ingestion mapping", ".alter table T ingestion csv mapping 'M' '[]'"),
    (".alter materialized-view autoUpdateSchema", ".alter materialized-view V autoUpdateSchema true"),
    (".alter materialized-view docstring", ".alter materialized-view V docstring 'd'"),
    (".alter materialized-view folder", ".alter materialized-view V folder 'f'"),
    (".alter materialized-view lookback", ".alter materialized-view V lookback 1d"),
    (".alter policy managed_identity", ".alter database D policy managed_identity '[]'"),
    (".alter query acceleration policy", ".alter external table T policy query_acceleration '{}'"),
    (".alter tables", ".alter tables (T) policy retention '{}'"),
    (".alter-merge materialized-view", ".alter-merge materialized-view V policy retention softdelete = 1d"),
    (".alter-merge policy managed_identity", ".alter-merge database D policy managed_identity '[]'"),
    (".alter-merge query acceleration policy", ".alter-merge external table T policy query_acceleration '{}'"),
    (".alter-merge tables", ".alter-merge tables (T) policy retention '{}'"),
    (".clear materialized-view data", ".clear materialized-view V data"),
    (".clear table data", ".clear table T data"),
    (".clear database cache query_results", ".clear database cache query_results"),
    (".create external table mapping", ".create external table T mapping 'M' '[]'"),
    (".create ingestion mapping", ".create table T ingestion csv mapping 'M' '[]'"),
    (".create or alter continuous-export", ".create-or-alter continuous-export E to table X <| T"),
    (".create-or-alter ingestion mapping", ".create-or-alter table T ingestion csv mapping 'M' '[]'"),
    (".delete database", ".drop database D"),
    (".delete extent tags retention policy", ".delete table T policy extent_tags_retention"),
    (".delete external table", ".drop external table T"),
    (".delete policy managed_identity", ".delete database D policy managed_identity"),
    (".delete query acceleration policy", ".delete external table T policy query_acceleration"),
    (".delete table records - soft delete", ".delete table T records <| T"),
    (".disable | .enable materialized-view", ".disable materialized-view V"),
    (".drop extents", ".drop extents from T"),
    (".drop ingestion mapping", ".drop table T ingestion csv mapping 'M'"),
    (".drop table extent tags", ".drop table T extent tags ('a')"),
    (".export to storage", ".export to csv ('x') <| T"),
    (".export to SQL", ".export to sql T 'x' <| T"),
    (".replace extents", ".replace extents in table T <| { T }, { T }"),
    (".show .materialized-views", ".show materialized-views"),
    (".show .materialized-views details", ".show materialized-views details"),
    (".show database cache query_results", ".show database cache query_results"),
    (".add follower database", ".add follower database D viewers ('x')"),
    (".alter follower database", ".alter follower database D policy caching hot = 1d"),
    (".delete follower database", ".delete follower database D policy caching"),
    (".drop follower database", ".drop follower database D viewers ('x')"),
    (".cancel queued ingestion operation", ".cancel queued ingestion operation 'x'"),
    (".clear cache remote-schema", ".clear cache remote-schema cluster('c').database('d')"),
    (".clear cluster cache external-artifacts", ".clear cluster cache external-artifacts ('x')"),
    (".ingest-from-storage-queued into table", ".ingest-from-storage-queued into table T <| 'x'"),
    (".list blobs", ".list blobs ('x')"),
    (".show database operations mirroring-statistics", ".show database D operations mirroring-statistics"),
    (
        ".show external table operations query_acceleration statistics",
        ".show external table T operations query_acceleration statistics",
    ),
    (".show follower database", ".show follower database D"),
    (".show graph_snapshot data statistics", ".show graph_snapshot G.S data statistics"),
    (".show graph_snapshots data statistics", ".show graph_snapshots G data statistics"),
    (".show queued ingestion operations", ".show queued ingestion operations 'x'"),
    (".show table operations mirroring", ".show table T operations mirroring-status"),
    (".show table operations mirroring-exported-artifacts", ".show table T operations mirroring-exported-artifacts"),
    (".show table operations mirroring-failures", ".show table T operations mirroring-failures"),
    (".show table operations mirroring-statistics", ".show table T operations mirroring-statistics"),
    (".show materialized view details", ".show materialized-view V details"),
    (".show policy encoding", ".show table T policy encoding"),
    (".show policy extent_tags_retention", ".show table T policy extent_tags_retention"),
    (".show policy managed_identity", ".show database D policy managed_identity"),
    (".show query acceleration policy", ".show external table T policy query_acceleration"),
    (".show table data statistics", ".show table T data statistics"),
];

/// The parser has a rule of its own for what is served; the rest it knows by name.
fn command(name: &str) -> Status {
    let name = WRITTEN_OUT.iter().find(|(title, _)| *title == name).map_or(name, |(_, text)| text);
    // Names of commands leave out the names of what they are about, which a policy needs.
    let named = ["database", "table", "column", "materialized-view"].iter().fold(name.to_string(), |text, noun| {
        text.replace(&format!("{noun} policy "), &format!("{noun} X policy ")).replace("column X", "column X.Y")
    });
    let parsed = tidewater_kql::parse_command(&named);
    let is_unknown = parsed.diagnostics.iter().any(|found| found.message.contains("not a known management command"));
    match parsed.tree {
        Command::Other { name } if is_served_by_name(&name) => Status::Served(String::new()),
        Command::Other { .. } => Status::Refused(refusal_by_name(&named).unwrap_or_default().to_string()),
        _ if is_unknown => Status::Refused(refusal_by_name(&named).unwrap_or("unknown").to_string()),
        _ => Status::Served(String::new()),
    }
}

async fn tried(service: &Service, trial: &str) -> Status {
    let (needs_more, trial) = match trial.strip_prefix('?') {
        Some(trial) => (true, trial),
        None => (false, trial),
    };
    assert!(!trial.trim().is_empty(), "a name without a trial");
    for request in trial.split(" ;; ").map(str::trim) {
        let context = Context::new("NetDefaultDB");
        let failed = if request.starts_with('.') {
            service.command(context, request).await.err()
        } else {
            match service.query(context, request).await {
                Err(error) => Some(error),
                Ok(answer) => {
                    let mut failed = None;
                    for table in answer.results {
                        failed = failed.or(table.collect().await.err());
                    }
                    failed
                }
            }
        };
        match failed {
            None => {}
            Some(error) => match refusal(&error) {
                Some(why) => return Status::Refused(why),
                None if needs_more => {}
                None => return Status::Broken(error.message().to_string()),
            },
        }
    }
    Status::Served(String::new())
}

/// Why a feature is refused, if that is what an error says.
fn refusal(error: &Error) -> Option<String> {
    let message = match error.diagnostics().first() {
        Some(diagnostic) if diagnostic.code == NOT_SERVED => diagnostic.message.as_str(),
        Some(_) => return None,
        None if matches!(error.fault(), Fault::NotServed) => error.message(),
        None => return None,
    };
    Some(message.replace(" is not served yet", "").replace(" is not served", ""))
}
