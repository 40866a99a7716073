//! Commands that the parser knows by name only: which of them are served, and why the others are not.

use std::collections::BTreeMap;

use tidewater_kql::KqlType;
use tidewater_kql::command::PolicyKind;
use tidewater_kql::lexer::TokenKind;
use tidewater_plan::{GraphModel, GraphRows, GraphStepKind};

use super::words::Words;
use super::{Request, caches, journals, queued};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::journal::STREAMING;
use crate::policies;
use crate::policies::QueryAccelerationPolicy;
use crate::stored::{self, GraphSnapshot, StoredExternal, StoredGraph};
use crate::table::{Cell, Columns, TableBuilder};

/// The name of the only node.
const NODE: &str = "KEngine000000";

/// Whether a command of this name in the parser's table is served.
pub fn is_served(name: &str) -> bool {
    caches::is_served(name) || queued::is_served(name) || Served::of(name).is_some()
}

/// Why a command is refused, where there is more to say than its name: the parser's names leave words out.
pub fn refusal(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches(['.', ' ']).to_ascii_lowercase();
    let begins = |start: &str| text.starts_with(start);
    Some(match () {
        () if text.split_whitespace().nth(1) == Some("follower") => {
            "a follower reads the storage of another cluster, which this server has no part in"
        }
        () if begins("export to sql") || begins("export async to sql") => {
            "it copies in bulk into a SQL Server; '.export to csv' or 'parquet' writes files that every database loads"
        }
        () if begins("dup-next-") => {
            "it watches the ingestion service of the cloud; '.show ingestion failures' tells what went wrong here"
        }
        () if begins("show") && text.contains("operations mirroring-") => {
            "the Delta log of a table is kept up with every change: there are no exports of their own to tell of"
        }
        () => return None,
    })
}

/// What is served here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    ShowResultsCache,
    ClearResultsCache,
    ClearRemoteSchema,
    ClearArtifacts,
    Followers,
    GraphSnapshot,
    GraphSnapshots,
    StreamingStatistics,
    Acceleration,
}

impl Served {
    fn of(name: &str) -> Option<Served> {
        Some(match name {
            "show database cache query results" => Served::ShowResultsCache,
            "clear database cache query results" => Served::ClearResultsCache,
            "clear cache remote schema" => Served::ClearRemoteSchema,
            "clear cluster cache external artifacts" => Served::ClearArtifacts,
            "show follower database" | "show follower databases" => Served::Followers,
            "show graph snapshot data statistics" => Served::GraphSnapshot,
            "show graph snapshots data statistics" => Served::GraphSnapshots,
            "show streaming ingestion statistics" => Served::StreamingStatistics,
            "show external table operations query acceleration statistics"
            | "show external table query acceleration statistics"
            | "show external tables query acceleration statistics" => Served::Acceleration,
            _ => return None,
        })
    }
}

/// Runs a command that is known by name.
pub(super) async fn run(request: &Request<'_>, name: &str) -> Result<ResultTable> {
    if caches::is_served(name) {
        return caches::cleared();
    }
    if queued::is_served(name) {
        return queued::run(request, name).await;
    }
    match Served::of(name) {
        None => Err(Error::not_served(match refusal(request.text) {
            Some(why) => format!("the command '.{name}' ({why})"),
            None => format!("the command '.{name}'"),
        })),
        // There is no cache of results: each query reads the data as it is. Source: query-results-cache pages.
        Some(Served::ShowResultsCache) => {
            let mut out = TableBuilder::new(&[
                ("NodeId", KqlType::String),
                ("Hits", KqlType::Long),
                ("Misses", KqlType::Long),
                ("CacheCapacityInBytes", KqlType::Long),
                ("UsedBytes", KqlType::Long),
                ("Count", KqlType::Long),
            ]);
            let zero = Cell::Number(0);
            out.row(vec![NODE.into(), zero.clone(), zero.clone(), zero.clone(), zero.clone(), zero]);
            out.finish()
        }
        Some(Served::ClearResultsCache) => {
            let mut out = TableBuilder::new(&[("NodeId", KqlType::String), ("Count", KqlType::Long)]);
            out.row(vec![NODE.into(), Cell::Number(0)]);
            out.finish()
        }
        // A cluster that queries may name is this one, whose schema is read from the catalog each time. Source:
        // clear-cross-cluster-schema-cache page.
        Some(Served::ClearRemoteSchema) => {
            let named = Words::of(request.text).strings();
            let [_, database] = named.as_slice() else {
                return Err(Error::bad_request("cluster('...').database('...') is expected"));
            };
            let mut out = TableBuilder::new(&[("NodeId", KqlType::String), ("Status", KqlType::String)]);
            out.row(vec!["0".into(), format!("Cache cleared for database {database}").into()]);
            out.finish()
        }
        // Nothing from outside is kept. Source: clear-external-artifacts-cache-command page.
        Some(Served::ClearArtifacts) => {
            let mut out = TableBuilder::new(&[("ExternalArtifactUri", KqlType::String), ("State", KqlType::String)]);
            let named = Words::of(request.text).strings();
            if named.is_empty() {
                return Err(Error::bad_request("the addresses of artifacts are expected"));
            }
            for uri in named {
                out.row(vec![uri.into(), "Cleared successfully on all nodes".into()]);
            }
            out.finish()
        }
        Some(Served::Followers) => followers(),
        Some(Served::GraphSnapshot) => graph_snapshots(request, false),
        Some(Served::GraphSnapshots) => graph_snapshots(request, true),
        Some(Served::StreamingStatistics) => streaming_statistics(request).await,
        Some(Served::Acceleration) => acceleration(request, name.starts_with("show external tables")),
    }
}

/// No database here follows one of another cluster. Source: cluster-follower page.
fn followers() -> Result<ResultTable> {
    TableBuilder::new(&[
        ("DatabaseName", KqlType::String),
        ("LeaderClusterMetadataPath", KqlType::String),
        ("CachingPolicyOverride", KqlType::String),
        ("AuthorizedPrincipalsOverride", KqlType::String),
        ("AuthorizedPrincipalsModificationKind", KqlType::String),
        ("CachingPoliciesModificationKind", KqlType::String),
        ("IsAutoPrefetchEnabled", KqlType::Bool),
        ("TableMetadataOverrides", KqlType::String),
    ])
    .finish()
}

/// Sizes of what a snapshot of a graph keeps. Source: graph-snapshot-data-statistics-show page.
fn graph_snapshots(request: &Request<'_>, is_many: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let mut words = Words::of(request.text);
    let head = if is_many { "graph_snapshots" } else { "graph_snapshot" };
    words.skip_to(|_, text| text.eq_ignore_ascii_case(head));
    words.at += 1;
    let graphs = match words.kind() {
        Some(TokenKind::Star) if is_many => stored::all::<StoredGraph>(&request.snapshot, database),
        _ => {
            let name = words.name()?;
            let graph = stored::found::<StoredGraph>(&request.snapshot, database, &name)?;
            vec![(name, graph)]
        }
    };
    let wanted = match is_many {
        true => None,
        false => {
            words.expect(TokenKind::Dot, "'.'")?;
            Some(words.name()?)
        }
    };
    let mut out = TableBuilder::new(&[
        ("DatabaseName", KqlType::String),
        ("GraphModelName", KqlType::String),
        ("SnapshotName", KqlType::String),
        ("EntityKind", KqlType::String),
        ("TotalExtentSize", KqlType::Long),
        ("OriginalSize", KqlType::Long),
        ("DataCompressedSize", KqlType::Long),
        ("IndexSize", KqlType::Long),
        ("CompressionRatio", KqlType::Real),
        ("TotalElementCount", KqlType::Long),
    ]);
    let mut is_found = wanted.is_none();
    for (name, graph) in &graphs {
        for snapshot in &graph.snapshots {
            if wanted.as_ref().is_some_and(|wanted| *wanted != snapshot.name) {
                continue;
            }
            is_found = true;
            for (kind, elements, size) in sizes(request, name, graph, snapshot) {
                let ratio = if size.bytes == 0 { 0.0 } else { size.original as f64 / size.bytes as f64 };
                out.row(vec![
                    database.name().into(),
                    name.as_str().into(),
                    snapshot.name.as_str().into(),
                    kind.into(),
                    size.bytes.into(),
                    size.original.into(),
                    size.bytes.into(),
                    Cell::Number(0),
                    ratio.into(),
                    elements.into(),
                ]);
            }
        }
    }
    match wanted.filter(|_| !is_found) {
        Some(name) => Err(Error::entity_not_found("GraphSnapshot", &name)),
        None => out.finish(),
    }
}

#[derive(Clone, Copy, Default)]
struct Size {
    bytes: u64,
    original: u64,
}

/// What the tables of a snapshot take: one for each step of its model that has a query, in their order.
fn sizes(
    request: &Request<'_>,
    name: &str,
    graph: &StoredGraph,
    snapshot: &GraphSnapshot,
) -> [(&'static str, u64, Size); 2] {
    let model = graph.version(snapshot.version).map(|version| version.model.as_str()).unwrap_or_default();
    let steps = GraphModel::parse(&request.context.database, name, model).map(|model| model.steps).unwrap_or_default();
    let kinds = steps.iter().filter(|step| matches!(step.rows, GraphRows::Query(_))).map(|step| &step.kind);
    let (mut nodes, mut edges) = (Size::default(), Size::default());
    for (kind, id) in kinds.zip(&snapshot.tables) {
        let Some(table) = request.snapshot.table_by_id(*id) else { continue };
        let size = match kind {
            GraphStepKind::AddNodes { .. } => &mut nodes,
            GraphStepKind::AddEdges { .. } => &mut edges,
        };
        for extent in table.extents() {
            size.bytes += extent.bytes();
            size.original += extent.original_bytes();
        }
    }
    [("Nodes", snapshot.nodes, nodes), ("Edges", snapshot.edges, edges)]
}

/// Streaming ingestions of a minute are told together.
const BUCKET_TICKS: i64 = 60 * 10_000_000;
/// Source: streaming-ingestion-statistics page.
const STATISTICS_TICKS: i64 = 14 * 864_000_000_000;

const STREAMING_STATISTICS: Columns = &[
    ("Database", KqlType::String),
    ("Table", KqlType::String),
    ("StartTime", KqlType::DateTime),
    ("EndTime", KqlType::DateTime),
    ("Count", KqlType::Long),
    ("MinDuration", KqlType::TimeSpan),
    ("MaxDuration", KqlType::TimeSpan),
    ("AvgDuration", KqlType::TimeSpan),
    ("TotalDataSize", KqlType::Long),
    ("MinDataSize", KqlType::Long),
    ("MaxDataSize", KqlType::Long),
    ("TotalRowCount", KqlType::Long),
    ("MinRowCount", KqlType::Long),
    ("MaxRowCount", KqlType::Long),
    ("IngestionStatus", KqlType::String),
    ("NumOfRowStoresReferences", KqlType::Int),
    ("Principal", KqlType::String),
    ("NodeId", KqlType::String),
    ("IngestionProperties", KqlType::Dynamic),
];

/// Least, largest and sum of a bucket's numbers.
#[derive(Clone, Copy)]
struct Range {
    least: i64,
    largest: i64,
    sum: i64,
}

impl Range {
    const NONE: Range = Range { least: i64::MAX, largest: 0, sum: 0 };

    fn add(&mut self, value: i64) {
        self.least = self.least.min(value);
        self.largest = self.largest.max(value);
        self.sum = self.sum.saturating_add(value);
    }
}

/// `.show streamingingestion statistics`
async fn streaming_statistics(request: &Request<'_>) -> Result<ResultTable> {
    let since = request.context.now_ticks - STATISTICS_TICKS;
    let mut buckets: BTreeMap<_, (i64, [Range; 4])> = BTreeMap::new();
    for entry in journals::ended(request, STREAMING, None).await? {
        let Some(data) = entry.data.filter(|_| entry.updated_ticks >= since) else { continue };
        let status = match entry.failure.is_empty() {
            true => "Success".to_string(),
            false => entry.failure_code,
        };
        let at = entry.updated_ticks;
        let key = (at / BUCKET_TICKS, entry.database, data.table, status, entry.principal, data.properties);
        let (count, ranges) = buckets.entry(key).or_insert((0, [Range::NONE; 4]));
        *count += 1;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let values = [at, entry.duration_ticks, number(data.original_bytes), number(data.rows)];
        for (range, value) in ranges.iter_mut().zip(values) {
            range.add(value);
        }
    }
    let mut out = TableBuilder::new(STREAMING_STATISTICS);
    for ((_, database, table, status, principal, properties), (count, [at, duration, bytes, rows])) in buckets {
        out.row(vec![
            database.into(),
            table.into(),
            at.least.into(),
            at.largest.into(),
            count.into(),
            duration.least.into(),
            duration.largest.into(),
            (duration.sum / count.max(1)).into(),
            bytes.sum.into(),
            bytes.least.into(),
            bytes.largest.into(),
            rows.sum.into(),
            rows.least.into(),
            rows.largest.into(),
            status.into(),
            Cell::Number(0),
            principal.into(),
            NODE.into(),
            properties.into(),
        ]);
    }
    out.finish()
}

/// `.show external table T operations query_acceleration statistics`, and of all: those with the policy. Source:
/// show-external-table-operations-query-acceleration-statistics page.
fn acceleration(request: &Request<'_>, is_all: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let tables = match is_all {
        true => stored::all::<StoredExternal>(&request.snapshot, database),
        false => {
            let mut words = Words::of(request.text);
            words.skip_to(|_, text| text.eq_ignore_ascii_case("table"));
            words.at += 1;
            let name = words.name()?;
            let table = stored::found::<StoredExternal>(&request.snapshot, database, &name)?;
            vec![(name, table)]
        }
    };
    let mut out = TableBuilder::new(&[
        ("ExternalTableName", KqlType::String),
        ("IsEnabled", KqlType::Bool),
        ("Hot", KqlType::TimeSpan),
        ("HotSize", KqlType::Long),
        ("LastUpdatedDateTime", KqlType::DateTime),
        ("AccelerationPendingDataFilesCount", KqlType::Long),
        ("AccelerationPendingDataFilesSize", KqlType::Long),
        ("AccelerationCompletePercentage", KqlType::Real),
        ("NotHealthyReason", KqlType::String),
    ]);
    for (name, table) in tables {
        let policy = table.policies.get(PolicyKind::QueryAcceleration.word());
        let Some(policy) = policy.and_then(policies::parsed::<QueryAccelerationPolicy>) else { continue };
        let zero = Cell::Number(0);
        out.row(vec![
            name.into(),
            policy.is_enabled.into(),
            policy.hot.ticks().into(),
            zero.clone(),
            Cell::Null,
            zero.clone(),
            zero,
            0.0.into(),
            "no copies are kept: queries read the files where they are".into(),
        ]);
    }
    out.finish()
}
