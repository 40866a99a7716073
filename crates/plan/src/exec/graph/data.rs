//! A graph in memory: nodes and edges are numbered, neighbours lie in compressed rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringViewArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, take};
use datafusion::common::{HashMap, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewater_kql::KqlType;
use tidewater_kql::ast::EdgeDirection;

use crate::bound::{ColumnId, Property};

/// A graph.
pub struct Graph {
    pub node_count: usize,
    /// Properties of the nodes.
    pub nodes: HashMap<ColumnId, ArrayRef>,
    /// Properties of the edges.
    pub edges: HashMap<ColumnId, ArrayRef>,
    /// The nodes' ids.
    pub keys: ArrayRef,
    /// The nodes' labels, where some have any.
    pub node_labels: Option<ArrayRef>,
    /// The edges' labels.
    pub edge_labels: Option<ArrayRef>,
    /// The partition of each node.
    pub partition: Option<Arc<Vec<u32>>>,
    pub topology: Arc<Topology>,
    /// What all this takes, as long as it is there.
    pub memory: Vec<Arc<MemoryReservation>>,
}

/// Which nodes the edges connect.
pub struct Topology {
    pub source: Vec<u32>,
    pub target: Vec<u32>,
    outgoing: Rows,
    incoming: Rows,
}

/// Edges by node.
struct Rows {
    ends: Vec<u32>,
    edges: Vec<u32>,
}

impl Rows {
    fn new(node_count: usize, nodes: &[u32]) -> Rows {
        let mut starts = vec![0u32; node_count + 1];
        for node in nodes {
            starts[*node as usize + 1] += 1;
        }
        for node in 0..node_count {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut edges = vec![0u32; nodes.len()];
        for (edge, node) in nodes.iter().enumerate() {
            let place = &mut next[*node as usize];
            edges[*place as usize] = edge as u32;
            *place += 1;
        }
        Rows { ends: starts, edges }
    }

    fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.edges[self.ends[node] as usize..self.ends[node + 1] as usize]
    }
}

impl Topology {
    /// Edges between nodes below `node_count`.
    pub fn new(node_count: usize, source: Vec<u32>, target: Vec<u32>) -> Topology {
        let outgoing = Rows::new(node_count, &source);
        let incoming = Rows::new(node_count, &target);
        Topology { source, target, outgoing, incoming }
    }

    /// Bytes that a graph of this size takes here.
    pub fn bytes(node_count: usize, edge_count: usize) -> usize {
        4 * (2 * (node_count + 1) + 4 * edge_count)
    }

    /// Edges that leave a node.
    pub fn outgoing(&self, node: u32) -> &[u32] {
        self.outgoing.of(node)
    }

    /// Edges that lead to a node.
    pub fn incoming(&self, node: u32) -> &[u32] {
        self.incoming.of(node)
    }

    /// The edges by which a pattern's edge is walked from a node.
    pub fn neighbours(&self, node: u32, way: Way) -> Neighbours<'_> {
        let (first, second): (&[u32], &[u32]) = match way {
            Way::Out => (self.outgoing(node), &[]),
            Way::In => (&[], self.incoming(node)),
            Way::Both => (self.outgoing(node), self.incoming(node)),
        };
        Neighbours { topology: self, node, first, second, skips_loops: way == Way::Both }
    }

    /// Where an edge leads from one of its ends.
    pub fn across(&self, edge: u32, from: u32) -> u32 {
        let (source, target) = (self.source[edge as usize], self.target[edge as usize]);
        if source == from { target } else { source }
    }
}

/// How the edges of a pattern's edge are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
    Both,
}

impl Way {
    /// From the left node of a pattern's edge to the right one, or the other way.
    pub fn of(direction: EdgeDirection, reversed: bool) -> Way {
        match (direction, reversed) {
            (EdgeDirection::Forward, false) | (EdgeDirection::Backward, true) => Way::Out,
            (EdgeDirection::Forward, true) | (EdgeDirection::Backward, false) => Way::In,
            (EdgeDirection::Any, _) => Way::Both,
        }
    }

    /// The same edges walked back.
    pub fn back(self) -> Way {
        match self {
            Way::Out => Way::In,
            Way::In => Way::Out,
            Way::Both => Way::Both,
        }
    }
}

/// Edges from a node and where they lead.
pub struct Neighbours<'g> {
    topology: &'g Topology,
    node: u32,
    first: &'g [u32],
    second: &'g [u32],
    skips_loops: bool,
}

impl Neighbours<'_> {
    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// The edge at a place and its other end; `None` for the second sight of an edge from a node to itself.
    pub fn at(&self, place: usize) -> Option<(u32, u32)> {
        if let Some(edge) = self.first.get(place) {
            return Some((*edge, self.topology.target[*edge as usize]));
        }
        let edge = self.second[place - self.first.len()];
        let other = self.topology.source[edge as usize];
        if self.skips_loops && other == self.node { None } else { Some((edge, other)) }
    }
}

/// Which nodes or edges values are wanted of.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    Range(usize, usize),
    These(&'a [u32]),
}

impl Wanted<'_> {
    pub fn len(&self) -> usize {
        match self {
            Wanted::Range(_, length) => *length,
            Wanted::These(numbers) => numbers.len(),
        }
    }

    fn of(&self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Wanted::Range(start, length) => array.slice(*start, *length),
            Wanted::These(numbers) => take(array, &UInt32Array::from(numbers.to_vec()), None)?,
        })
    }

    fn longs(&self, value: impl Fn(u32) -> i64) -> ArrayRef {
        Arc::new(match self {
            Wanted::Range(start, length) => {
                (*start..start + length).map(|number| value(number as u32)).collect::<Int64Array>()
            }
            Wanted::These(numbers) => numbers.iter().map(|number| value(*number)).collect::<Int64Array>(),
        })
    }
}

impl Graph {
    pub fn edge_count(&self) -> usize {
        self.topology.source.len()
    }

    /// Values of nodes.
    pub fn node_values(&self, property: Property, wanted: Wanted<'_>) -> Result<ArrayRef> {
        let topology = &self.topology;
        match property {
            Property::Column(id) => match self.nodes.get(&id) {
                Some(array) => wanted.of(array),
                None => internal_err!("a property of the nodes was not read"),
            },
            Property::Key => wanted.of(&self.keys),
            Property::DegreeIn => Ok(wanted.longs(|node| topology.incoming(node).len() as i64)),
            Property::DegreeOut => Ok(wanted.longs(|node| topology.outgoing(node).len() as i64)),
            Property::Labels => labels(self.node_labels.as_ref(), wanted),
            Property::Partition => {
                Ok(wanted.longs(|node| self.partition.as_ref().map_or(0, |all| i64::from(all[node as usize]))))
            }
            Property::Length => internal_err!("a node has no length"),
        }
    }

    /// Values of edges.
    pub fn edge_values(&self, property: Property, wanted: Wanted<'_>) -> Result<ArrayRef> {
        match property {
            Property::Column(id) => match self.edges.get(&id) {
                Some(array) => wanted.of(array),
                None => internal_err!("a property of the edges was not read"),
            },
            Property::Labels => labels(self.edge_labels.as_ref(), wanted),
            _ => internal_err!("an edge has no such property"),
        }
    }

    /// Ids of the edges' sources or targets.
    pub fn end_keys(&self, of_targets: bool, start: usize, length: usize) -> Result<ArrayRef> {
        let ends = if of_targets { &self.topology.target } else { &self.topology.source };
        Wanted::These(&ends[start..start + length]).of(&self.keys)
    }

    /// The partition of an edge: that of its ends.
    pub fn edge_partitions(&self, start: usize, length: usize) -> Result<ArrayRef> {
        self.node_values(Property::Partition, Wanted::These(&self.topology.source[start..start + length]))
    }

    /// This graph with all its nodes and some of its edges.
    pub fn with_edges(&self, kept: &BooleanBuffer) -> Result<Graph> {
        let mask = BooleanArray::new(kept.clone(), None);
        let keep = |ends: &[u32]| kept.set_indices().map(|edge| ends[edge]).collect::<Vec<u32>>();
        let topology = Topology::new(self.node_count, keep(&self.topology.source), keep(&self.topology.target));
        Ok(Graph {
            node_count: self.node_count,
            nodes: self.nodes.clone(),
            edges: filtered(&self.edges, &mask)?,
            keys: Arc::clone(&self.keys),
            node_labels: self.node_labels.clone(),
            edge_labels: self.edge_labels.as_ref().map(|labels| filter(labels, &mask)).transpose()?,
            partition: self.partition.clone(),
            topology: Arc::new(topology),
            memory: self.memory.clone(),
        })
    }

    /// Some of the nodes, and the edges between them.
    pub fn with_nodes(&self, kept: &BooleanBuffer) -> Result<Graph> {
        let mut numbers = vec![u32::MAX; self.node_count];
        for (number, node) in kept.set_indices().enumerate() {
            numbers[node] = number as u32;
        }
        let (source, target) = (&self.topology.source, &self.topology.target);
        let inside =
            |edge: usize| numbers[source[edge] as usize] != u32::MAX && numbers[target[edge] as usize] != u32::MAX;
        let kept_edges = BooleanBuffer::collect_bool(self.edge_count(), inside);
        let renumbered =
            |ends: &[u32]| kept_edges.set_indices().map(|edge| numbers[ends[edge] as usize]).collect::<Vec<u32>>();
        let node_count = kept.count_set_bits();
        let topology = Topology::new(node_count, renumbered(source), renumbered(target));
        let mask = BooleanArray::new(kept.clone(), None);
        let edge_mask = BooleanArray::new(kept_edges, None);
        Ok(Graph {
            node_count,
            nodes: filtered(&self.nodes, &mask)?,
            edges: filtered(&self.edges, &edge_mask)?,
            keys: filter(&self.keys, &mask)?,
            node_labels: self.node_labels.as_ref().map(|labels| filter(labels, &mask)).transpose()?,
            edge_labels: self.edge_labels.as_ref().map(|labels| filter(labels, &edge_mask)).transpose()?,
            partition: self.partition.as_ref().map(|all| Arc::new(kept.set_indices().map(|node| all[node]).collect())),
            topology: Arc::new(topology),
            memory: self.memory.clone(),
        })
    }

    /// This graph with one more property of its nodes.
    pub fn with_property(&self, id: ColumnId, values: ArrayRef) -> Graph {
        let mut nodes = self.nodes.clone();
        nodes.insert(id, values);
        Graph {
            node_count: self.node_count,
            nodes,
            edges: self.edges.clone(),
            keys: Arc::clone(&self.keys),
            node_labels: self.node_labels.clone(),
            edge_labels: self.edge_labels.clone(),
            partition: self.partition.clone(),
            topology: Arc::clone(&self.topology),
            memory: self.memory.clone(),
        }
    }
}

fn filtered(columns: &HashMap<ColumnId, ArrayRef>, mask: &BooleanArray) -> Result<HashMap<ColumnId, ArrayRef>> {
    columns.iter().map(|(id, array)| Ok((*id, filter(array, mask)?))).collect()
}

fn labels(all: Option<&ArrayRef>, wanted: Wanted<'_>) -> Result<ArrayRef> {
    match all {
        Some(labels) => wanted.of(labels),
        None => Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n("[]", wanted.len())))),
    }
}

/// Picks from arrays laid end to end; `u64::MAX` is null.
pub fn pick(arrays: &[ArrayRef], places: &[u64], ty: KqlType) -> Result<ArrayRef> {
    if arrays.is_empty() {
        return Ok(new_null_array(&ty.arrow(), places.len()));
    }
    let views: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let all = arrow::compute::concat(&views)?;
    let places: UInt64Array = places.iter().map(|place| (*place != u64::MAX).then_some(*place)).collect();
    Ok(take(&all, &places, None)?)
}
