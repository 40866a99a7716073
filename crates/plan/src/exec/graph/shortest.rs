//! Shortest paths: breadth first from one end, back along the distances from the other.
//!
//! A pattern of one edge of variable length, all of whose conditions are on its parts or on its two nodes, is searched
//! this way; any other pattern is matched, and the shortest matches of each pair of nodes are kept.

use arrow::buffer::BooleanBuffer;
use datafusion::common::HashMap;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::data::{Graph, Way};
use super::rows::{Lists, Matches};
use super::search::{Progress, Walk};
use super::values::{Masks, MatchSpec, Values, allowed};
use super::{BATCH, BATCH_ENTRIES, BUDGET};
use crate::bound::Shortest;

/// Whether breadth-first search answers a pattern.
pub fn is_plain(spec: &MatchSpec) -> bool {
    let [edge] = spec.edges.as_slice() else { return false };
    let reads_ends = spec.filters.iter().all(|filter| filter.edges.is_empty());
    spec.nodes == 2
        && edge.left == 0
        && edge.right == 1
        && edge.range.is_some_and(|(fewest, _)| fewest <= 1)
        && reads_ends
}

/// Shortest paths of the pattern `(0)-[0*fewest..most]-(1)`.
pub struct ShortestSearch {
    /// Search from the right end.
    reversed: bool,
    way: Way,
    fewest: u32,
    most: u32,
    all: bool,
    roots: Vec<u32>,
    next_root: usize,
    end_root: usize,
    /// Nodes at which paths may end.
    ends: usize,
    state: State,
    /// By node: hops from the root.
    distances: Vec<u32>,
    reached: Vec<u32>,
}

enum State {
    /// At the next root.
    Root,
    Spread {
        root: u32,
        place: usize,
        neighbour: usize,
        hits: Vec<(u32, u32)>,
        closed: bool,
    },
    /// Writing the paths to the hits.
    Back {
        root: u32,
        hits: Vec<(u32, u32)>,
        hit: usize,
        walk: Walk,
    },
    /// A path from a root back to itself over edges of any direction, by growing length.
    Round {
        root: u32,
        rest: Vec<(u32, u32)>,
        length: u32,
        walk: Walk,
        is_found: bool,
    },
}

const FAR: u32 = u32::MAX;

impl ShortestSearch {
    /// The search from a share of the nodes of that end which has fewer.
    pub fn new(
        graph: &Graph,
        spec: &MatchSpec,
        masks: &Masks,
        shortest: Shortest,
        share: usize,
        shares: usize,
    ) -> Self {
        let count = |node| masks.node(node).map_or(graph.node_count, BooleanBuffer::count_set_bits);
        let reversed = count(1) < count(0);
        let (root, end) = if reversed { (1, 0) } else { (0, 1) };
        let roots: Vec<u32> = match masks.node(root) {
            Some(mask) => mask.set_indices().map(|node| node as u32).collect(),
            None => (0..graph.node_count as u32).collect(),
        };
        let (fewest, most) = spec.edges[0].range.unwrap_or((1, 1));
        let (next_root, end_root) = (roots.len() * share / shares, roots.len() * (share + 1) / shares);
        ShortestSearch {
            reversed,
            way: Way::of(spec.edges[0].direction, reversed),
            fewest,
            most,
            all: shortest.all,
            roots,
            next_root,
            end_root,
            ends: count(end),
            state: State::Root,
            distances: vec![FAR; graph.node_count],
            reached: Vec::new(),
        }
    }

    /// Bytes that the search keeps.
    pub fn bytes(graph: &Graph) -> usize {
        graph.node_count * 12
    }

    /// Goes on.
    pub fn advance(&mut self, graph: &Graph, spec: &MatchSpec, masks: &Masks) -> Result<Progress> {
        let mut budget = BUDGET;
        let mut found = Found::default();
        while budget > 0 && !found.is_full() {
            match std::mem::replace(&mut self.state, State::Root) {
                State::Root => {
                    if self.next_root >= self.end_root {
                        return match found.rows() {
                            0 => Ok(Progress::Done),
                            _ => self.given(graph, spec, found),
                        };
                    }
                    let root = self.roots[self.next_root];
                    self.next_root += 1;
                    self.begin(root, masks);
                    budget -= 1;
                }
                State::Spread { root, place, neighbour, hits, closed } => {
                    self.spread(graph, masks, root, place, neighbour, hits, closed, &mut budget);
                }
                State::Back { root, hits, hit, walk } => {
                    self.back(graph, masks, root, hits, hit, walk, &mut found, &mut budget);
                }
                State::Round { root, rest, length, walk, is_found } => {
                    self.round(graph, masks, root, rest, length, walk, is_found, &mut found, &mut budget);
                }
            }
        }
        if found.rows() == 0 { Ok(Progress::Busy) } else { self.given(graph, spec, found) }
    }

    fn end_mask<'m>(&self, masks: &'m Masks) -> Option<&'m BooleanBuffer> {
        masks.node(if self.reversed { 0 } else { 1 })
    }

    fn begin(&mut self, root: u32, masks: &Masks) {
        for node in self.reached.drain(..) {
            self.distances[node as usize] = FAR;
        }
        self.distances[root as usize] = 0;
        self.reached.push(root);
        let mut hits = Vec::new();
        let mut closed = false;
        if self.fewest == 0 && allowed(self.end_mask(masks), root) {
            hits.push((root, 0));
            closed = true;
        }
        self.state = State::Spread { root, place: 0, neighbour: 0, hits, closed };
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one state")]
    fn spread(
        &mut self,
        graph: &Graph,
        masks: &Masks,
        root: u32,
        mut place: usize,
        mut neighbour: usize,
        mut hits: Vec<(u32, u32)>,
        mut closed: bool,
        budget: &mut usize,
    ) {
        let (edges, inner, ends) = (masks.edge(0), masks.inner(0), self.end_mask(masks));
        let is_both = self.way == Way::Both;
        // Over edges of any direction the way back to the root needs another search: an edge may not be walked twice.
        let looks_for_root = !closed && !is_both && allowed(ends, root);
        let needed = self.ends - usize::from(allowed(ends, root) && !closed && is_both);
        while place < self.reached.len() && hits.len() < needed {
            let node = self.reached[place];
            let distance = self.distances[node as usize];
            if distance >= self.most {
                break;
            }
            if node == root || allowed(inner, node) {
                let neighbours = graph.topology.neighbours(node, self.way);
                while neighbour < neighbours.len() {
                    if *budget == 0 {
                        self.state = State::Spread { root, place, neighbour, hits, closed };
                        return;
                    }
                    *budget -= 1;
                    let found = neighbours.at(neighbour);
                    neighbour += 1;
                    let Some((edge, other)) = found.filter(|(edge, _)| allowed(edges, *edge)) else { continue };
                    let _ = edge;
                    if other == root {
                        if looks_for_root && !closed {
                            closed = true;
                            hits.push((root, distance + 1));
                        }
                    } else if self.distances[other as usize] == FAR {
                        self.distances[other as usize] = distance + 1;
                        self.reached.push(other);
                        if allowed(ends, other) {
                            hits.push((other, distance + 1));
                        }
                    }
                }
            }
            place += 1;
            neighbour = 0;
        }
        let goes_round = is_both && self.fewest > 0 && self.most > 0 && allowed(ends, root);
        self.state = match goes_round {
            true => State::Round { root, rest: hits, length: 1, walk: Walk::default(), is_found: false },
            false => State::Back { root, hits, hit: 0, walk: Walk::default() },
        };
    }

    /// Walks from each hit towards the root, each hop one nearer.
    #[allow(clippy::too_many_arguments, reason = "the parts of one state")]
    fn back(
        &mut self,
        graph: &Graph,
        masks: &Masks,
        root: u32,
        hits: Vec<(u32, u32)>,
        mut hit: usize,
        mut walk: Walk,
        found: &mut Found,
        budget: &mut usize,
    ) {
        let (edges, inner) = (masks.edge(0), masks.inner(0));
        let way = self.way.back();
        while let Some(&(end, length)) = hits.get(hit) {
            if *budget == 0 || found.is_full() {
                self.state = State::Back { root, hits, hit, walk };
                return;
            }
            *budget -= 1;
            if length == 0 {
                found.push(root, root, [].into_iter(), self.reversed);
                hit += 1;
                continue;
            }
            if walk.nodes.is_empty() {
                walk.begin(end);
            }
            let Some(next) = walk.next(length, |node| graph.topology.neighbours(node, way)) else {
                hit += 1;
                continue;
            };
            let Some((edge, node)) = next.filter(|(edge, _)| allowed(edges, *edge)) else { continue };
            let left = length - walk.edges.len() as u32 - 1;
            let is_nearer =
                if left == 0 { node == root } else { self.distances[node as usize] == left && node != root };
            if !is_nearer || (left > 0 && !allowed(inner, node)) {
                continue;
            }
            walk.push(edge, node);
            if left == 0 {
                found.push(root, end, walk.edges.iter().rev().copied(), self.reversed);
                walk.stop_here();
                if !self.all {
                    walk = Walk::default();
                    hit += 1;
                }
            }
        }
        self.state = State::Root;
    }

    /// The shortest ways from a root back to itself, no edge twice.
    #[allow(clippy::too_many_arguments, reason = "the parts of one state")]
    fn round(
        &mut self,
        graph: &Graph,
        masks: &Masks,
        root: u32,
        rest: Vec<(u32, u32)>,
        mut length: u32,
        mut walk: Walk,
        mut is_found: bool,
        found: &mut Found,
        budget: &mut usize,
    ) {
        let (edges, inner) = (masks.edge(0), masks.inner(0));
        while length <= self.most && !(is_found && (walk.nodes.is_empty() || !self.all)) {
            if *budget == 0 || found.is_full() {
                self.state = State::Round { root, rest, length, walk, is_found };
                return;
            }
            *budget -= 1;
            if walk.nodes.is_empty() {
                walk.begin(root);
            }
            let Some(next) = walk.next(length, |node| graph.topology.neighbours(node, self.way)) else {
                length += u32::from(!is_found);
                continue;
            };
            let Some((edge, node)) = next else { continue };
            if !allowed(edges, edge) || walk.edges.contains(&edge) {
                continue;
            }
            let at = walk.edges.len() as u32 + 1;
            // The root must still be in reach.
            if self.distances[node as usize] > length - at || (at < length && !allowed(inner, node)) {
                continue;
            }
            walk.push(edge, node);
            if at == length {
                is_found = true;
                found.push(root, root, walk.edges.iter().copied(), self.reversed);
                walk.stop_here();
            }
        }
        self.state = State::Back { root, hits: rest, hit: 0, walk: Walk::default() };
    }

    fn given(&self, graph: &Graph, spec: &MatchSpec, found: Found) -> Result<Progress> {
        let mut matches = Matches::new(spec.nodes, spec.edges.len());
        matches.rows = found.rows();
        let (left, right) = if self.reversed { (found.ends, found.roots) } else { (found.roots, found.ends) };
        matches.nodes = vec![left, right];
        matches.paths[0] = found.paths;
        for filter in &spec.filters {
            let holds = Values::new(graph, spec, &matches).holds(&filter.condition)?;
            let rows: Vec<u32> = holds.set_indices().map(|row| row as u32).collect();
            matches = matches.gather(&rows);
        }
        Ok(if matches.rows == 0 { Progress::Busy } else { Progress::Rows(matches) })
    }
}

#[derive(Default)]
struct Found {
    roots: Vec<u32>,
    ends: Vec<u32>,
    paths: Lists,
}

impl Found {
    fn rows(&self) -> usize {
        self.roots.len()
    }

    fn is_full(&self) -> bool {
        self.roots.len() >= BATCH || self.paths.values().len() >= BATCH_ENTRIES
    }

    /// A path from the root to the end; turned round when the search is.
    fn push(&mut self, root: u32, end: u32, edges: impl DoubleEndedIterator<Item = u32>, reversed: bool) {
        self.roots.push(root);
        self.ends.push(end);
        if reversed { self.paths.push(edges.rev()) } else { self.paths.push(edges) }
    }
}

/// The length of the shortest matches, and where they are: batch and row.
type Tied = (u32, Vec<(u32, u32)>);

/// The shortest of all matches, by the nodes at the ends of the pattern.
pub struct Best {
    shortest: Shortest,
    batches: Vec<Matches>,
    best: HashMap<(u32, u32), Tied>,
    memory: MemoryReservation,
    given: usize,
}

impl Best {
    pub fn new(shortest: Shortest, memory: MemoryReservation) -> Best {
        Best { shortest, batches: Vec::new(), best: HashMap::new(), memory, given: 0 }
    }

    /// Looks at more matches.
    pub fn add(&mut self, spec: &MatchSpec, matches: Matches) -> Result<()> {
        let hops = spec.edges.iter().filter(|edge| edge.range.is_none()).count();
        let batch = self.batches.len() as u32;
        let mut is_kept = false;
        for row in 0..matches.rows {
            let paths = spec.edges.iter().enumerate().filter(|(_, edge)| edge.range.is_some());
            let length = (hops + paths.map(|(at, _)| matches.paths[at].row(row).len()).sum::<usize>()) as u32;
            let pair = (matches.nodes[self.shortest.first][row], matches.nodes[self.shortest.last][row]);
            let (best, rows) = self.best.entry(pair).or_insert((u32::MAX, Vec::new()));
            if length < *best {
                *best = length;
                rows.clear();
            }
            if length == *best && (self.shortest.all || rows.is_empty()) {
                rows.push((batch, row as u32));
                is_kept = true;
            }
        }
        if is_kept {
            self.memory.try_grow(matches.bytes() + matches.rows * 64)?;
            self.batches.push(matches);
        }
        Ok(())
    }

    /// The next of the shortest, once all have been looked at.
    pub fn next(&mut self) -> Option<Matches> {
        if self.given == 0 {
            // From here on by batch.
            let mut rows = vec![Vec::new(); self.batches.len()];
            for (_, (_, places)) in self.best.drain() {
                for (batch, row) in places {
                    rows[batch as usize].push(row);
                }
            }
            for (matches, rows) in self.batches.iter_mut().zip(&mut rows) {
                rows.sort_unstable();
                *matches = matches.gather(rows);
            }
        }
        loop {
            let matches = self.batches.get_mut(self.given)?;
            self.given += 1;
            if matches.rows > 0 {
                return Some(std::mem::take(matches));
            }
        }
    }
}
