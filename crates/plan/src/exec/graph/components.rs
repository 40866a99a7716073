//! Connected components. Source: graph-mark-components page.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use datafusion::common::HashMap;

use super::data::Graph;

/// The number of each node's component: from 0 in every partition.
pub fn components(graph: &Graph, is_strong: bool) -> ArrayRef {
    let found = if is_strong { strong(graph) } else { weak(graph) };
    let mut next: HashMap<u32, i64> = HashMap::new();
    let mut numbers: HashMap<u32, i64> = HashMap::new();
    let numbered = found.iter().enumerate().map(|(node, component)| {
        *numbers.entry(*component).or_insert_with(|| {
            let next = next.entry(graph.partition.as_ref().map_or(0, |all| all[node])).or_insert(0);
            *next += 1;
            *next - 1
        })
    });
    Arc::new(numbered.collect::<Int64Array>())
}

/// Nodes that a path connects, whatever the direction of its edges.
fn weak(graph: &Graph) -> Vec<u32> {
    let mut parents: Vec<u32> = (0..graph.node_count as u32).collect();
    let root = |parents: &mut Vec<u32>, mut node: u32| {
        while parents[node as usize] != node {
            let above = parents[parents[node as usize] as usize];
            parents[node as usize] = above;
            node = above;
        }
        node
    };
    for (source, target) in graph.topology.source.iter().zip(&graph.topology.target) {
        let (left, right) = (root(&mut parents, *source), root(&mut parents, *target));
        parents[left.max(right) as usize] = left.min(right);
    }
    (0..graph.node_count as u32).map(|node| root(&mut parents, node)).collect()
}

/// Nodes with paths in both directions: Tarjan's algorithm, on a stack of its own.
fn strong(graph: &Graph) -> Vec<u32> {
    const NEW: u32 = u32::MAX;
    let count = graph.node_count;
    let mut order = vec![NEW; count];
    let mut low = vec![0u32; count];
    let mut component = vec![NEW; count];
    let mut open: Vec<u32> = Vec::new();
    let mut calls: Vec<(u32, usize)> = Vec::new();
    let mut next = 0u32;
    for root in 0..count as u32 {
        if order[root as usize] != NEW {
            continue;
        }
        calls.push((root, 0));
        while let Some((node, place)) = calls.last_mut() {
            let at = *node as usize;
            if *place == 0 && order[at] == NEW {
                order[at] = next;
                low[at] = next;
                next += 1;
                open.push(*node);
            }
            let edges = graph.topology.outgoing(*node);
            if let Some(edge) = edges.get(*place) {
                *place += 1;
                let other = graph.topology.target[*edge as usize];
                if order[other as usize] == NEW {
                    calls.push((other, 0));
                } else if component[other as usize] == NEW {
                    low[at] = low[at].min(order[other as usize]);
                }
                continue;
            }
            if low[at] == order[at] {
                while let Some(member) = open.pop() {
                    component[member as usize] = at as u32;
                    if member as usize == at {
                        break;
                    }
                }
            }
            calls.pop();
            if let Some((above, _)) = calls.last() {
                low[*above as usize] = low[*above as usize].min(low[at]);
            }
        }
    }
    component
}
