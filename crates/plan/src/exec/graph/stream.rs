//! The work of one partition of a reader.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tokio::sync::OnceCell;

use super::BATCH;
use super::cell::GraphCell;
use super::data::{Graph, Wanted};
use super::search::{Plan, Progress, Search};
use super::shortest::{Best, ShortestSearch, is_plain};
use super::values::{Masks, MatchSpec, Values};
use crate::bound::{GraphColumn, Property};

/// What a reader makes of its graph.
#[derive(Debug)]
pub enum Reader {
    Match(MatchSpec),
    Rows { nodes: bool, columns: Vec<GraphColumn> },
}

/// What the partitions of one reader have in common.
#[derive(Default)]
pub struct Common {
    ready: OnceCell<Arc<Ready>>,
}

pub struct Ready {
    masks: Masks,
    plan: Arc<Plan>,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Common")
    }
}

/// One partition's work.
pub struct Work {
    pub reader: Arc<Reader>,
    pub cell: Arc<GraphCell>,
    pub common: Arc<Common>,
    pub context: Arc<TaskContext>,
    pub schema: SchemaRef,
    pub share: usize,
    pub shares: usize,
    pub state: WorkState,
}

pub enum WorkState {
    New,
    Matching { graph: Arc<Graph>, ready: Arc<Ready>, search: Searching },
    Rows { graph: Arc<Graph>, next: usize, end: usize },
    Done,
}

/// A search of any kind.
pub enum Searching {
    Plain(Box<Search>),
    Shortest(Box<ShortestSearch>, #[allow(dead_code, reason = "held as long as the search is")] MemoryReservation),
    Best(Box<Search>, Box<Best>, bool),
}

impl Work {
    /// The next batch.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if matches!(self.state, WorkState::New) {
                self.state = self.begin().await?;
            }
            let reader = Arc::clone(&self.reader);
            match (&mut self.state, reader.as_ref()) {
                (WorkState::Rows { graph, next, end }, Reader::Rows { nodes, columns }) => {
                    if *next >= *end {
                        return Ok(None);
                    }
                    let length = BATCH.min(*end - *next);
                    let arrays = columns.iter().map(|column| rows(graph, *nodes, *column, *next, length));
                    let arrays = arrays.collect::<Result<Vec<_>>>()?;
                    *next += length;
                    return batch(&self.schema, arrays, length).map(Some);
                }
                (WorkState::Matching { graph, ready, search }, Reader::Match(spec)) => {
                    match search.advance(graph, spec, ready)? {
                        Progress::Rows(matches) => {
                            let mut values = Values::new(graph, spec, &matches);
                            let arrays = spec.outputs.iter().map(|slot| values.slot(*slot));
                            let arrays = arrays.collect::<Result<Vec<_>>>()?;
                            return batch(&self.schema, arrays, matches.rows).map(Some);
                        }
                        Progress::Busy => tokio::task::yield_now().await,
                        Progress::Done => self.state = WorkState::Done,
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    async fn begin(&mut self) -> Result<WorkState> {
        let graph = self.cell.graph(&self.context).await?;
        let spec = match self.reader.as_ref() {
            Reader::Match(spec) => spec,
            Reader::Rows { nodes, .. } => {
                let count = if *nodes { graph.node_count } else { graph.edge_count() };
                let next = count * self.share / self.shares;
                let end = count * (self.share + 1) / self.shares;
                return Ok(WorkState::Rows { graph, next, end });
            }
        };
        let ready = self.common.ready.get_or_try_init(|| async {
            let masks = Masks::new(&graph, spec).await?;
            let plan = Arc::new(Plan::new(&graph, spec, &masks));
            Ok::<_, datafusion::error::DataFusionError>(Arc::new(Ready { masks, plan }))
        });
        let ready = Arc::clone(ready.await?);
        let memory =
            MemoryConsumer::new(format!("graph search {}", self.cell.id())).register(self.context.memory_pool());
        let plan = Arc::clone(&ready.plan);
        let search = match spec.shortest {
            None => Searching::Plain(Box::new(Search::new(plan, self.share, self.shares))),
            Some(shortest) if is_plain(spec) => {
                memory.try_grow(ShortestSearch::bytes(&graph))?;
                let search = ShortestSearch::new(&graph, spec, &ready.masks, shortest, self.share, self.shares);
                Searching::Shortest(Box::new(search), memory)
            }
            // All matches of a pair of nodes must meet in one place.
            Some(_) if self.share > 0 => return Ok(WorkState::Done),
            Some(shortest) => {
                let best = Box::new(Best::new(shortest, memory));
                Searching::Best(Box::new(Search::new(plan, 0, 1)), best, false)
            }
        };
        Ok(WorkState::Matching { graph, ready, search })
    }
}

impl Searching {
    fn advance(&mut self, graph: &Graph, spec: &MatchSpec, ready: &Ready) -> Result<Progress> {
        let masks = &ready.masks;
        match self {
            Searching::Plain(search) => search.advance(graph, spec, masks),
            Searching::Shortest(search, _) => search.advance(graph, spec, masks),
            Searching::Best(_, best, true) => Ok(best.next().map_or(Progress::Done, Progress::Rows)),
            Searching::Best(search, best, is_complete) => {
                match search.advance(graph, spec, masks)? {
                    Progress::Rows(matches) => best.add(spec, matches)?,
                    Progress::Busy => {}
                    Progress::Done => *is_complete = true,
                }
                Ok(Progress::Busy)
            }
        }
    }
}

fn rows(graph: &Graph, nodes: bool, column: GraphColumn, start: usize, length: usize) -> Result<ArrayRef> {
    let wanted = Wanted::Range(start, length);
    match (column, nodes) {
        (GraphColumn::Property(id), true) => graph.node_values(Property::Column(id), wanted),
        (GraphColumn::Property(id), false) => graph.edge_values(Property::Column(id), wanted),
        (GraphColumn::Partition, true) => graph.node_values(Property::Partition, wanted),
        (GraphColumn::Partition, false) => graph.edge_partitions(start, length),
        (GraphColumn::Source, _) => graph.end_keys(false, start, length),
        (GraphColumn::Target, _) => graph.end_keys(true, start, length),
        (GraphColumn::Key, _) => graph.node_values(Property::Key, wanted),
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
