//! A graph with its recipe, made once per query however many read it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::catalog::Session;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::build::{Recipe, build, lost};
use super::components::components;
use super::data::Graph;
use super::values::{Compiled, mask};
use crate::bound::{ColumnId, Property};

/// A graph, once somebody has asked for it.
pub struct GraphCell {
    id: u32,
    origin: Origin,
    physical: OnceCell<Vec<Arc<dyn ExecutionPlan>>>,
    graph: OnceCell<Arc<Graph>>,
}

/// Where a graph comes from.
pub enum Origin {
    /// Tables, a plan per part.
    Made { recipe: Arc<Recipe>, plans: Vec<LogicalPlan> },
    /// Another graph.
    Changed { input: Arc<GraphCell>, change: Change },
}

/// What makes another graph of a graph.
pub enum Change {
    /// A property more: the number of the component.
    Components { property: ColumnId, is_strong: bool },
    /// Fewer nodes; the properties that the condition reads, by its slots.
    WhereNodes { condition: Compiled, properties: Vec<ColumnId> },
    /// Fewer edges.
    WhereEdges { condition: Compiled, properties: Vec<ColumnId> },
}

impl std::fmt::Debug for GraphCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GraphCell {}", self.id)
    }
}

impl GraphCell {
    pub fn new(id: u32, origin: Origin) -> GraphCell {
        GraphCell { id, origin, physical: OnceCell::new(), graph: OnceCell::new() }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Plans the tables that the graph is made of.
    pub fn prepare<'a>(&'a self, session: &'a dyn Session) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match &self.origin {
                Origin::Changed { input, .. } => input.prepare(session).await,
                Origin::Made { plans, .. } => {
                    let planned = self.physical.get_or_try_init(|| async {
                        let mut planned = Vec::with_capacity(plans.len());
                        for plan in plans {
                            planned.push(session.create_physical_plan(plan).await?);
                        }
                        Ok::<_, DataFusionError>(planned)
                    });
                    planned.await.map(|_| ())
                }
            }
        })
    }

    /// The graph; the first to ask makes it.
    pub fn graph<'a>(&'a self, context: &'a Arc<TaskContext>) -> BoxFuture<'a, Result<Arc<Graph>>> {
        Box::pin(async move { self.graph.get_or_try_init(|| self.make(context)).await.cloned() })
    }

    async fn make(&self, context: &Arc<TaskContext>) -> Result<Arc<Graph>> {
        Ok(Arc::new(match &self.origin {
            Origin::Made { recipe, .. } => self.made(recipe, context).await?,
            Origin::Changed { input, change } => {
                let input = input.graph(context).await?;
                match change {
                    Change::Components { property, is_strong } => {
                        let (of, property, is_strong) = (Arc::clone(&input), *property, *is_strong);
                        let numbers = SpawnedTask::spawn_blocking(move || components(&of, is_strong));
                        input.with_property(property, numbers.await.map_err(lost)?)
                    }
                    Change::WhereNodes { condition, properties } => {
                        let read = |slot: usize| properties.get(slot).map(|id| Property::Column(*id));
                        input.with_nodes(&mask(&input, true, condition, read).await?)?
                    }
                    Change::WhereEdges { condition, properties } => {
                        let read = |slot: usize| properties.get(slot).map(|id| Property::Column(*id));
                        input.with_edges(&mask(&input, false, condition, read).await?)?
                    }
                }
            }
        }))
    }

    async fn made(&self, recipe: &Arc<Recipe>, context: &Arc<TaskContext>) -> Result<Graph> {
        let memory = MemoryConsumer::new(format!("graph {}", self.id)).register(context.memory_pool());
        let plans = self.physical.get().map(Vec::as_slice).unwrap_or_default();
        let mut tables = Vec::with_capacity(plans.len());
        for plan in plans {
            let mut rows = execute_stream(Arc::clone(plan), Arc::clone(context))?;
            let mut batches = Vec::new();
            while let Some(batch) = rows.next().await.transpose()? {
                memory.try_grow(batch.get_array_memory_size())?;
                batches.push(batch);
            }
            tables.push((plan.schema(), batches));
        }
        let recipe = Arc::clone(recipe);
        // The work is long and does not wait for anything: not on the threads that serve others.
        let work = SpawnedTask::spawn_blocking(move || {
            let tables = tables
                .iter()
                .map(|(schema, batches)| Ok(concat_batches(schema, batches)?))
                .collect::<Result<Vec<RecordBatch>>>()?;
            build(&recipe, tables, memory)
        });
        work.await.map_err(lost)?
    }
}
