//! Pattern matching: partial matches grow edge by edge, in batches, the deepest first.
//!
//! Each step of the plan holds at most one batch of input and the place it has come to, so memory is bounded by the
//! pattern's size, however many matches there are.

use std::sync::Arc;

use datafusion::error::Result;

use super::data::{Graph, Neighbours, Way};
use super::rows::{Lists, Matches};
use super::values::{Masks, MatchSpec, Values, allowed};
use super::{BATCH, BATCH_ENTRIES, BUDGET};
use crate::bound::Cycles;

/// What an algorithm has come to.
pub enum Progress {
    Rows(Matches),
    /// Its budget is used up: it goes on when asked again.
    Busy,
    Done,
}

/// A step of the plan: the start, or an edge of the pattern walked from a bound node.
#[derive(Clone, Debug)]
struct Step {
    edge: Option<Walked>,
    /// Positions of the conditions that can be tested after it.
    filters: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Walked {
    edge: usize,
    from: usize,
    to: usize,
    way: Way,
    /// From right to left.
    reversed: bool,
    /// The other end is bound already.
    closes: bool,
    range: Option<(u32, u32)>,
    /// Fewest hops from each node to a node that may be the end; `u32::MAX` where none is in reach.
    distances: Option<Vec<u32>>,
}

/// The order in which a pattern is matched.
pub struct Plan {
    start: usize,
    candidates: Vec<u32>,
    steps: Vec<Step>,
    never: bool,
}

impl Plan {
    /// Starts where the fewest nodes come into question, and goes on along what narrows most.
    pub fn new(graph: &Graph, spec: &MatchSpec, masks: &Masks) -> Plan {
        let count = |node: usize| masks.node(node).map_or(graph.node_count, |mask| mask.count_set_bits());
        let start = (0..spec.nodes).min_by_key(|node| count(*node)).unwrap_or(0);
        let candidates = match masks.node(start) {
            Some(mask) => mask.set_indices().map(|node| node as u32).collect(),
            None => (0..graph.node_count as u32).collect(),
        };
        let mut nodes = vec![false; spec.nodes];
        let mut edges = vec![false; spec.edges.len()];
        nodes[start] = true;
        let mut steps = vec![Step { edge: None, filters: Vec::new() }];
        loop {
            let next = spec
                .edges
                .iter()
                .enumerate()
                .filter(|(at, edge)| !edges[*at] && (nodes[edge.left] || nodes[edge.right]))
                .min_by_key(|(_, edge)| {
                    let closes = nodes[edge.left] && nodes[edge.right];
                    let new = if nodes[edge.left] { edge.right } else { edge.left };
                    (edge.range.is_some(), !closes, count(new))
                });
            let Some((at, edge)) = next else { break };
            let reversed = !nodes[edge.left];
            let (from, to) = if reversed { (edge.right, edge.left) } else { (edge.left, edge.right) };
            let closes = nodes[to];
            let way = Way::of(edge.direction, reversed);
            let mut walked = Walked { edge: at, from, to, way, reversed, closes, range: edge.range, distances: None };
            walked.distances = distances(graph, masks, &walked);
            edges[at] = true;
            nodes[to] = true;
            steps.push(Step { edge: Some(walked), filters: Vec::new() });
        }
        place_filters(spec, start, &mut steps);
        Plan { start, candidates, steps, never: spec.cycles == Cycles::None && spec.returns }
    }
}

/// Puts each condition behind the first step at which all that it reads is bound.
fn place_filters(spec: &MatchSpec, start: usize, steps: &mut [Step]) {
    let mut nodes = vec![false; spec.nodes];
    let mut edges = vec![false; spec.edges.len()];
    nodes[start] = true;
    let mut waiting: Vec<usize> = (0..spec.filters.len()).collect();
    for step in steps {
        if let Some(walked) = &step.edge {
            edges[walked.edge] = true;
            nodes[walked.to] = true;
        }
        let (ready, rest) = waiting.into_iter().partition(|filter| {
            let filter = &spec.filters[*filter];
            filter.nodes.iter().all(|node| nodes[*node]) && filter.edges.iter().all(|edge| edges[*edge])
        });
        step.filters = ready;
        waiting = rest;
    }
}

/// How far each node is from the nodes that an edge of variable length may end in, where those are few.
fn distances(graph: &Graph, masks: &Masks, walked: &Walked) -> Option<Vec<u32>> {
    let (_, most) = walked.range?;
    let ends = masks.node(walked.to).filter(|_| !walked.closes && most > 1)?;
    if ends.count_set_bits() > graph.node_count / 2 {
        return None;
    }
    let (edges, inner) = (masks.edge(walked.edge), masks.inner(walked.edge));
    let mut distances = vec![u32::MAX; graph.node_count];
    let mut frontier: Vec<u32> = ends.set_indices().map(|node| node as u32).collect();
    for node in &frontier {
        distances[*node as usize] = 0;
    }
    for distance in 1..=most {
        let mut next = Vec::new();
        for node in frontier {
            if distance > 1 && !allowed(inner, node) {
                continue;
            }
            let neighbours = graph.topology.neighbours(node, walked.way.back());
            for (edge, other) in (0..neighbours.len()).filter_map(|place| neighbours.at(place)) {
                if allowed(edges, edge) && distances[other as usize] == u32::MAX {
                    distances[other as usize] = distance;
                    next.push(other);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        frontier = next;
    }
    Some(distances)
}

/// What a step holds.
#[derive(Default)]
struct Level {
    input: Matches,
    row: usize,
    place: usize,
    walk: Walk,
}

impl Level {
    fn has_work(&self) -> bool {
        self.row < self.input.rows
    }
}

/// The path that an edge of variable length has come to.
#[derive(Default)]
pub struct Walk {
    is_active: bool,
    pub nodes: Vec<u32>,
    pub edges: Vec<u32>,
    places: Vec<usize>,
}

/// No edge is left to try from a node.
const EXHAUSTED: usize = usize::MAX;

impl Walk {
    /// Begins at a node.
    pub fn begin(&mut self, node: u32) {
        self.is_active = true;
        self.nodes.clear();
        self.edges.clear();
        self.places.clear();
        self.nodes.push(node);
        self.places.push(0);
    }

    /// The next edge from the path's end: `Some(None)` when one was passed over. `None` when all paths are done.
    pub fn next<'g>(&mut self, most: u32, neighbours: impl Fn(u32) -> Neighbours<'g>) -> Option<Option<(u32, u32)>> {
        loop {
            let (Some(node), Some(place)) = (self.nodes.last(), self.places.last_mut()) else {
                self.is_active = false;
                return None;
            };
            let around = neighbours(*node);
            if self.edges.len() < most as usize && *place < around.len() {
                let at = *place;
                *place += 1;
                return Some(around.at(at));
            }
            self.nodes.pop();
            self.places.pop();
            if self.edges.pop().is_none() {
                self.is_active = false;
                return None;
            }
        }
    }

    pub fn push(&mut self, edge: u32, node: u32) {
        self.edges.push(edge);
        self.nodes.push(node);
        self.places.push(0);
    }

    /// The path does not go on from its end.
    pub fn stop_here(&mut self) {
        if let Some(place) = self.places.last_mut() {
            *place = EXHAUSTED;
        }
    }
}

/// New rows of a step.
#[derive(Default)]
struct Grown {
    parents: Vec<u32>,
    edges: Vec<u32>,
    paths: Lists,
    nodes: Vec<u32>,
    trail: Lists,
}

impl Grown {
    fn is_full(&self) -> bool {
        self.parents.len() >= BATCH || self.paths.values().len() >= BATCH_ENTRIES
    }
}

/// A search under way.
pub struct Search {
    plan: Arc<Plan>,
    levels: Vec<Level>,
    next_start: usize,
    end_start: usize,
}

impl Search {
    /// The search from a share of the starting nodes.
    pub fn new(plan: Arc<Plan>, share: usize, shares: usize) -> Search {
        let count = plan.candidates.len();
        let levels = plan.steps.iter().map(|_| Level::default()).collect();
        let end_start = if plan.never { 0 } else { count * (share + 1) / shares };
        let next_start = (count * share / shares).min(end_start);
        Search { plan, levels, next_start, end_start }
    }

    /// Goes on.
    pub fn advance(&mut self, graph: &Graph, spec: &MatchSpec, masks: &Masks) -> Result<Progress> {
        let plan = Arc::clone(&self.plan);
        let mut budget = BUDGET;
        while budget > 0 {
            let deepest = (1..plan.steps.len()).rev().find(|level| self.levels[*level].has_work());
            let level = deepest.unwrap_or(0);
            let step = &plan.steps[level];
            let grown = match &step.edge {
                None if self.next_start >= self.end_start => return Ok(Progress::Done),
                None => self.start(spec, &plan, &mut budget),
                Some(walked) => {
                    let level = &mut self.levels[level];
                    match walked.range {
                        None => grow(graph, spec, masks, walked, level, &mut budget),
                        Some(range) => grow_paths(graph, spec, masks, walked, range, level, &mut budget),
                    }
                }
            };
            let grown = filtered(graph, spec, &step.filters, grown)?;
            if grown.rows == 0 {
                continue;
            }
            match self.levels.get_mut(level + 1) {
                None => return Ok(Progress::Rows(grown)),
                Some(next) => *next = Level { input: grown, ..Level::default() },
            }
        }
        Ok(Progress::Busy)
    }

    fn start(&mut self, spec: &MatchSpec, plan: &Plan, budget: &mut usize) -> Matches {
        let end = (self.next_start + BATCH).min(self.end_start);
        let nodes = plan.candidates[self.next_start..end].to_vec();
        self.next_start = end;
        *budget = budget.saturating_sub(nodes.len());
        let mut matches = Matches::new(spec.nodes, spec.edges.len());
        matches.rows = nodes.len();
        if spec.cycles == Cycles::None {
            for node in &nodes {
                matches.trail.push([*node]);
            }
        }
        matches.nodes[plan.start] = nodes;
        matches
    }
}

fn filtered(graph: &Graph, spec: &MatchSpec, filters: &[usize], mut matches: Matches) -> Result<Matches> {
    for filter in filters {
        if matches.rows == 0 {
            break;
        }
        let holds = Values::new(graph, spec, &matches).holds(&spec.filters[*filter].condition)?;
        if holds.count_set_bits() < matches.rows {
            let rows: Vec<u32> = holds.set_indices().map(|row| row as u32).collect();
            matches = matches.gather(&rows);
        }
    }
    Ok(matches)
}

/// Along an edge of one hop.
fn grow(
    graph: &Graph,
    spec: &MatchSpec,
    masks: &Masks,
    walked: &Walked,
    level: &mut Level,
    budget: &mut usize,
) -> Matches {
    let mut grown = Grown::default();
    let (edges, ends) = (masks.edge(walked.edge), masks.node(walked.to));
    while level.has_work() && !grown.is_full() && *budget > 0 {
        let row = level.row;
        let from = level.input.nodes[walked.from][row];
        let bound = walked.closes.then(|| level.input.nodes[walked.to][row]);
        let trail = level.input.trail(row);
        let neighbours = graph.topology.neighbours(from, walked.way);
        while level.place < neighbours.len() && !grown.is_full() && *budget > 0 {
            let found = neighbours.at(level.place);
            level.place += 1;
            *budget = budget.saturating_sub(1 + trail.len() / 8);
            let Some((edge, node)) = found else { continue };
            let fits = match bound {
                Some(bound) => bound == node,
                None => allowed(ends, node),
            };
            if !fits || !allowed(edges, edge) {
                continue;
            }
            match spec.cycles {
                Cycles::All => grown.trail.push([]),
                Cycles::UniqueEdges if trail.contains(&edge) => continue,
                Cycles::UniqueEdges => grown.trail.push([edge]),
                Cycles::None if bound.is_some() => grown.trail.push([]),
                Cycles::None if trail.contains(&node) => continue,
                Cycles::None => grown.trail.push([node]),
            }
            grown.parents.push(row as u32);
            grown.edges.push(edge);
            grown.nodes.push(node);
        }
        if level.place >= neighbours.len() {
            level.row += 1;
            level.place = 0;
        }
    }
    finished(walked, level, grown)
}

/// Along an edge of variable length.
fn grow_paths(
    graph: &Graph,
    spec: &MatchSpec,
    masks: &Masks,
    walked: &Walked,
    (fewest, most): (u32, u32),
    level: &mut Level,
    budget: &mut usize,
) -> Matches {
    let mut grown = Grown::default();
    let (edges, ends) = (masks.edge(walked.edge), masks.node(walked.to));
    let inner = masks.inner(walked.edge);
    while level.has_work() && !grown.is_full() && *budget > 0 {
        let row = level.row;
        let from = level.input.nodes[walked.from][row];
        let bound = walked.closes.then(|| level.input.nodes[walked.to][row]);
        let trail = level.input.trail(row);
        let is_end = |node: u32| match bound {
            Some(bound) => bound == node,
            None => allowed(ends, node),
        };
        let walk = &mut level.walk;
        if !walk.is_active {
            walk.begin(from);
            if fewest == 0 && is_end(from) {
                emit(spec, walked, row, walk, &mut grown);
            }
        }
        while !grown.is_full() && *budget > 0 {
            let Some(next) = walk.next(most, |node| graph.topology.neighbours(node, walked.way)) else {
                level.row += 1;
                break;
            };
            *budget = budget.saturating_sub(1 + (trail.len() + walk.edges.len()) / 8);
            let Some((edge, node)) = next else { continue };
            if !allowed(edges, edge) {
                continue;
            }
            let length = walk.edges.len() as u32 + 1;
            if let Some(distances) = &walked.distances
                && distances[node as usize] > most - length
            {
                continue;
            }
            let mut is_last = false;
            match spec.cycles {
                Cycles::All => {}
                Cycles::UniqueEdges if trail.contains(&edge) || walk.edges.contains(&edge) => continue,
                Cycles::UniqueEdges => {}
                // The other end is on the trail already: the path may end there, but not go through.
                Cycles::None if bound == Some(node) && !walk.nodes.contains(&node) => is_last = true,
                Cycles::None if trail.contains(&node) || walk.nodes.contains(&node) => continue,
                Cycles::None => {}
            }
            walk.push(edge, node);
            if length >= fewest && is_end(node) {
                emit(spec, walked, row, walk, &mut grown);
            }
            if is_last || length == most || !allowed(inner, node) {
                walk.stop_here();
            }
        }
    }
    finished(walked, level, grown)
}

fn emit(spec: &MatchSpec, walked: &Walked, row: usize, walk: &Walk, grown: &mut Grown) {
    let Some(end) = walk.nodes.last() else { return };
    grown.parents.push(row as u32);
    grown.nodes.push(*end);
    match walked.reversed {
        false => grown.paths.push(walk.edges.iter().copied()),
        true => grown.paths.push(walk.edges.iter().rev().copied()),
    }
    match spec.cycles {
        Cycles::All => grown.trail.push([]),
        Cycles::UniqueEdges => grown.trail.push(walk.edges.iter().copied()),
        Cycles::None => {
            let new = walk.nodes.len() - usize::from(walked.closes && walk.nodes.len() > 1);
            grown.trail.push(walk.nodes[1..new.max(1)].iter().copied());
        }
    }
}

fn finished(walked: &Walked, level: &Level, grown: Grown) -> Matches {
    let mut matches = level.input.extended(&grown.parents, &grown.trail);
    matches.nodes[walked.to] = grown.nodes;
    match walked.range {
        None => matches.edges[walked.edge] = grown.edges,
        Some(_) => matches.paths[walked.edge] = grown.paths,
    }
    matches
}
