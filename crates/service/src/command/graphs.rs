//! Graph models and their snapshots. Source: graph-model-* and graph-snapshot-* pages; the parser's inventory of results.

use std::sync::Arc;

use serde_json::Value;
use tidewater_kql::KqlType;
use tidewater_kql::ast::Property;
use tidewater_kql::command::{GraphCommand, property_flag, property_text};
use tidewater_plan::{GraphModel, GraphRows, GraphStepKind};
use tidewater_store::{Commit, Database, Snapshot};
use uuid::Uuid;

use super::schema::quoted_name;
use super::{Request, data};
use crate::answer::ResultTable;
use crate::context::{Context, MAX_TIMEOUT};
use crate::error::{Error, Result};
use crate::keep;
use crate::rights::roles::{Named, admin_of_new};
use crate::service::Service;
use crate::stored::{self, GraphModelVersion, GraphSnapshot, StoredGraph};
use crate::table::{Columns, TableBuilder};
use crate::view::View;

const MODEL: Columns = &[("Name", KqlType::String), ("CreationTime", KqlType::DateTime), ("Id", KqlType::Guid)];

const SNAPSHOT: Columns = &[
    ("Name", KqlType::String),
    ("SnapshotTime", KqlType::DateTime),
    ("ModelName", KqlType::String),
    ("ModelId", KqlType::Guid),
    ("ModelCreationTime", KqlType::DateTime),
];

const MODEL_MADE: Columns = &[
    ("Name", KqlType::String),
    ("CreationTime", KqlType::DateTime),
    ("Id", KqlType::Guid),
    ("SnapshotCount", KqlType::Long),
    ("Model", KqlType::String),
    ("RetentionPolicy", KqlType::String),
    ("CachingPolicy", KqlType::String),
];

const MODEL_DETAILS: Columns = &[
    ("Name", KqlType::String),
    ("CreationTime", KqlType::DateTime),
    ("Id", KqlType::Guid),
    ("SnapshotCount", KqlType::Long),
    ("Model", KqlType::Dynamic),
];

const MODELS_DETAILS: Columns = &[
    ("Name", KqlType::String),
    ("CreationTime", KqlType::DateTime),
    ("Id", KqlType::Guid),
    ("SnapshotsCount", KqlType::Long),
    ("Model", KqlType::Dynamic),
    ("AuthorizedPrincipals", KqlType::Dynamic),
    ("RetentionPolicy", KqlType::Dynamic),
];

const SNAPSHOT_DETAILS: Columns = &[
    ("Name", KqlType::String),
    ("SnapshotTime", KqlType::DateTime),
    ("ModelName", KqlType::String),
    ("ModelId", KqlType::Guid),
    ("ModelCreationTime", KqlType::DateTime),
    ("NodesCount", KqlType::Long),
    ("EdgesCount", KqlType::Long),
    ("RetentionPolicy", KqlType::Dynamic),
];

const SNAPSHOT_MADE: Columns = &[
    ("Name", KqlType::String),
    ("SnapshotTime", KqlType::DateTime),
    ("ModelName", KqlType::String),
    ("ModelId", KqlType::Guid),
    ("ModelCreationTime", KqlType::DateTime),
    ("NodesCount", KqlType::Long),
    ("EdgesCount", KqlType::Long),
    ("RetentionPolicy", KqlType::String),
    ("CachingPolicy", KqlType::String),
];

/// Versions of one model; older ones without snapshots go.
const MAX_VERSIONS: usize = 100;

/// Runs a command about graphs.
pub async fn run(request: &Request<'_>, command: GraphCommand) -> Result<ResultTable> {
    let database = request.database()?;
    let found = |name: &str| stored::found::<StoredGraph>(&request.snapshot, database, name);
    match command {
        GraphCommand::PutModel { name, model, model_span: _ } => put(request, &name.text, model).await,
        GraphCommand::ShowModel { name, details, properties } => {
            let graph = found(&name.text)?;
            show(&[(name.text, graph)], details.then_some(Details::Short), Which::of(&properties)?)
        }
        GraphCommand::ShowModels { details, properties } => {
            let which = if property_flag(&properties, "showAll") { Which::All } else { Which::Latest };
            let all = stored::all::<StoredGraph>(&request.snapshot, database);
            show(&all, details.then_some(Details::Long), which)
        }
        GraphCommand::DropModel { name } => {
            let graph = found(&name.text)?;
            let mut commit = Commit::new();
            for table in graph.snapshots.iter().flat_map(|snapshot| &snapshot.tables) {
                commit = commit.drop_table(*table);
            }
            let commit = commit.edit(stored::edit(database, &name.text, Some(&graph), None)?);
            request.service.store().commit(commit).await?;
            show(&[(name.text, graph)], None, Which::Latest)
        }
        GraphCommand::MakeSnapshot { is_async, snapshot, model } => {
            let mut making = Making {
                service: request.service.clone(),
                context: request.context.clone(),
                snapshot: Arc::clone(&request.snapshot),
                model: model.text,
                name: snapshot.text,
            };
            making.check()?;
            if is_async {
                making.context.deadline = making.context.started + MAX_TIMEOUT;
                return data::in_background(request, async move { making.run().await }).await;
            }
            making.run().await
        }
        GraphCommand::ShowSnapshot { model, snapshot, details } => {
            let graph = found(&model.text)?;
            let one = graph.snapshots.iter().find(|known| known.name == snapshot.text);
            let one = one.ok_or_else(|| Error::entity_not_found("GraphSnapshot", &snapshot.text))?;
            if !details {
                return snapshots(&[(&model.text, &graph, one)]);
            }
            let mut out = TableBuilder::new(SNAPSHOT_DETAILS);
            let created = graph.version(one.version).map_or(0, |version| version.created);
            out.row(vec![
                one.name.as_str().into(),
                one.created.into(),
                model.text.into(),
                one.version.into(),
                created.into(),
                one.nodes.into(),
                one.edges.into(),
                "{}".into(),
            ]);
            out.finish()
        }
        GraphCommand::ShowSnapshots { model } => {
            let graphs = match model {
                Some(model) => vec![(model.text.clone(), found(&model.text)?)],
                None => stored::all::<StoredGraph>(&request.snapshot, database),
            };
            let mut all: Vec<(&str, &StoredGraph, &GraphSnapshot)> = Vec::new();
            for (name, graph) in &graphs {
                all.extend(graph.snapshots.iter().map(|snapshot| (name.as_str(), graph, snapshot)));
            }
            all.sort_by(|left, right| left.2.name.cmp(&right.2.name).then(left.2.created.cmp(&right.2.created)));
            snapshots(&all)
        }
        GraphCommand::DropSnapshot { model, snapshot } => {
            let graph = found(&model.text)?;
            let one = graph.snapshots.iter().find(|known| known.name == snapshot.text);
            let one = one.ok_or_else(|| Error::entity_not_found("GraphSnapshot", &snapshot.text))?.clone();
            drop_snapshots(request, database, &model.text, &graph, |known| known.name == one.name).await?;
            snapshots(&[(&model.text, &graph, &one)])
        }
        GraphCommand::DropSnapshots { model } => {
            let graph = found(&model.text)?;
            drop_snapshots(request, database, &model.text, &graph, |_| true).await?;
            let all: Vec<_> = graph.snapshots.iter().map(|snapshot| (model.text.as_str(), &graph, snapshot)).collect();
            snapshots(&all)
        }
    }
}

async fn drop_snapshots(
    request: &Request<'_>,
    database: &Database,
    name: &str,
    graph: &StoredGraph,
    goes: impl Fn(&GraphSnapshot) -> bool,
) -> Result<()> {
    let mut left = graph.clone();
    left.snapshots.retain(|snapshot| !goes(snapshot));
    let mut commit = Commit::new();
    for table in graph.snapshots.iter().filter(|snapshot| goes(snapshot)).flat_map(|snapshot| &snapshot.tables) {
        commit = commit.drop_table(*table);
    }
    let commit = commit.edit(stored::edit(database, name, Some(graph), Some(&left))?);
    request.service.store().commit(commit).await?;
    Ok(())
}

async fn put(request: &Request<'_>, name: &str, model: String) -> Result<ResultTable> {
    let database = request.database()?;
    let parsed = GraphModel::parse(database.name(), name, &model).map_err(Error::bad_request)?;
    let view = View::new(request.service, request.context, Arc::clone(&request.snapshot), &request.context.database)?;
    for (position, step) in parsed.steps.iter().enumerate() {
        let GraphRows::Query(query) = &step.rows else { continue };
        let running = keep::plan(request.service, request.context, &view, query).await;
        let running = running.map_err(|error| {
            Error::bad_request(format!("step {} of the graph model: {}", position + 1, error.message()))
        })?;
        let needed: Vec<&String> = match &step.kind {
            GraphStepKind::AddNodes { id } => vec![id],
            GraphStepKind::AddEdges { source, target } => vec![source, target],
        };
        for column in needed.into_iter().chain(&step.labels_column) {
            if running.schema().index_of(column).is_none() {
                return Err(Error::bad_request(format!(
                    "step {} of the graph model: the query gives no column '{column}'",
                    position + 1
                )));
            }
        }
    }
    let old = stored::find::<StoredGraph>(&request.snapshot, database, name);
    let mut new = old.clone().unwrap_or_default();
    new.versions.push(GraphModelVersion { id: Uuid::new_v4(), created: request.context.now_ticks, model });
    while new.versions.len() > MAX_VERSIONS {
        let used = |version: &GraphModelVersion| new.snapshots.iter().any(|snapshot| snapshot.version == version.id);
        match new.versions.iter().position(|version| !used(version)) {
            Some(at) if at + 1 < new.versions.len() => drop(new.versions.remove(at)),
            _ => break,
        }
    }
    let mut edits = vec![stored::edit(database, name, old.as_ref(), Some(&new))?];
    edits.extend(admin_of_new(request.context, database, Named::GraphModel, name, old.is_some()));
    request.service.store().edit_properties(edits).await?;
    let mut out = TableBuilder::new(MODEL_MADE);
    if let Some(version) = new.latest() {
        out.row(vec![
            name.into(),
            version.created.into(),
            version.id.into(),
            new.snapshots.len().into(),
            version.model.as_str().into(),
            "".into(),
            "".into(),
        ]);
    }
    out.finish()
}

/// Which versions are shown.
enum Which {
    Latest,
    All,
    One(Uuid),
}

impl Which {
    fn of(properties: &[Property]) -> Result<Which> {
        match property_text(properties, "id") {
            None => Ok(Which::Latest),
            Some(text) if text == "*" => Ok(Which::All),
            Some(text) => match Uuid::parse_str(&text) {
                Ok(id) => Ok(Which::One(id)),
                Err(_) => Err(Error::bad_request(format!("property 'id' must be a guid or '*', found '{text}'"))),
            },
        }
    }
}

/// The two forms of details.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Details {
    /// Of one model.
    Short,
    /// Of all models, with principals and policy.
    Long,
}

fn show(graphs: &[(String, StoredGraph)], details: Option<Details>, which: Which) -> Result<ResultTable> {
    let mut out = TableBuilder::new(match details {
        None => MODEL,
        Some(Details::Short) => MODEL_DETAILS,
        Some(Details::Long) => MODELS_DETAILS,
    });
    for (name, graph) in graphs {
        for (at, version) in graph.versions.iter().enumerate() {
            let shown = match which {
                Which::Latest => at + 1 == graph.versions.len(),
                Which::All => true,
                Which::One(id) => version.id == id,
            };
            if !shown {
                continue;
            }
            let mut cells = vec![name.as_str().into(), version.created.into(), version.id.into()];
            if details.is_some() {
                let model = serde_json::from_str::<Value>(&version.model);
                let model = model.unwrap_or_else(|_| Value::from(version.model.as_str()));
                let count = graph.snapshots.iter().filter(|snapshot| snapshot.version == version.id).count();
                cells.extend([count.into(), model.to_string().into()]);
            }
            if details == Some(Details::Long) {
                cells.extend(["[]".into(), "{}".into()]);
            }
            out.row(cells);
        }
    }
    out.finish()
}

fn snapshots(rows: &[(&str, &StoredGraph, &GraphSnapshot)]) -> Result<ResultTable> {
    let mut out = TableBuilder::new(SNAPSHOT);
    for (model, graph, snapshot) in rows {
        let created = graph.version(snapshot.version).map_or(0, |version| version.created);
        out.row(vec![
            snapshot.name.as_str().into(),
            snapshot.created.into(),
            (*model).into(),
            snapshot.version.into(),
            created.into(),
        ]);
    }
    out.finish()
}

/// A snapshot under construction, on its own feet so that it can go on in the background.
struct Making {
    service: Service,
    context: Context,
    snapshot: Arc<Snapshot>,
    model: String,
    name: String,
}

impl Making {
    fn check(&self) -> Result<(Arc<Database>, StoredGraph, GraphModelVersion)> {
        let name = &self.context.database;
        let database = self.snapshot.database(name).ok_or_else(|| Error::database_not_found(name))?;
        let graph: StoredGraph = stored::found(&self.snapshot, database, &self.model)?;
        if graph.snapshots.iter().any(|snapshot| snapshot.name == self.name) {
            return Err(Error::entity_exists("GraphSnapshot", &self.name));
        }
        let version = graph.latest().cloned().ok_or_else(|| Error::entity_not_found("GraphModel", &self.model))?;
        Ok((Arc::clone(database), graph, version))
    }

    async fn run(self) -> Result<ResultTable> {
        let (database, graph, version) = self.check()?;
        let parsed = GraphModel::parse(database.name(), &self.model, &version.model).map_err(Error::bad_request)?;
        let view = View::new(&self.service, &self.context, Arc::clone(&self.snapshot), &self.context.database)?;
        let mut commit = Commit::new();
        let (mut tables, mut ids, mut edges) = (Vec::new(), Vec::new(), 0);
        for step in &parsed.steps {
            let GraphRows::Query(query) = &step.rows else { continue };
            let running = keep::plan(&self.service, &self.context, &view, query).await?;
            // Everybody who may read the database reads a snapshot: it must not hold what one of them may not see.
            if let Some((_, name)) = view.secured().first() {
                return Err(Error::bad_request(format!(
                    "a snapshot of graph model '{}' cannot be made: '{name}' has a row level security policy, and a snapshot is \
                     the same for all who read it; graph('{}', true) makes the graph of each caller's own rows",
                    self.model, self.model
                )));
            }
            let table = keep::new_table(&self.service, database.id(), running.schema())?;
            let kept = keep::write(&self.service, &self.context, running, &table.target(), 0).await?;
            let columns: Vec<&String> = match &step.kind {
                GraphStepKind::AddNodes { id } => vec![id],
                GraphStepKind::AddEdges { source, target } => {
                    edges += kept.rows;
                    vec![source, target]
                }
            };
            for column in columns {
                ids.push(format!("(({query}) | project id = tostring({}))", quoted_name(column)));
            }
            tables.push(table.id());
            commit = commit.create(table).add_all(kept.staged, &[]);
        }
        // Ends of edges that no step adds as nodes are nodes too.
        let text = format!("union {} | distinct id | count", ids.join(", "));
        let nodes = self.count(&view, &text).await?;
        let created = self.context.now_ticks;
        let (nodes, id) = (nodes, version.id);
        let made = GraphSnapshot { name: self.name.clone(), created, version: id, tables, nodes, edges };
        let mut new = graph.clone();
        new.snapshots.push(made);
        let commit = commit.edit(stored::edit(&database, &self.model, Some(&graph), Some(&new))?);
        self.service.store().commit(commit).await?;
        let mut out = TableBuilder::new(SNAPSHOT_MADE);
        out.row(vec![
            self.name.as_str().into(),
            created.into(),
            self.model.as_str().into(),
            id.into(),
            version.created.into(),
            nodes.into(),
            edges.into(),
            "".into(),
            "".into(),
        ]);
        out.finish()
    }

    async fn count(&self, view: &View, text: &str) -> Result<u64> {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        use futures::StreamExt;
        let mut planned = self.service.plan(&self.context, text, view, ()).await?;
        if planned.results.is_empty() {
            return Ok(0);
        }
        let (mut rows, _) = self.service.plain_rows(&self.context, planned.results.remove(0)).await?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            if let Some(values) = batch.column(0).as_primitive_opt::<Int64Type>()
                && !values.is_empty()
            {
                count = u64::try_from(values.value(0)).unwrap_or(0);
            }
        }
        Ok(count)
    }
}
